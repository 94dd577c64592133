package reflector

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestDefaultReflectors(t *testing.T) {
	all := DefaultReflectors()
	addrs, operators := map[netip.Addr]bool{}, map[string]int{}
	for _, c := range all {
		if !c.Addr.Is4() || c.Addr.IsPrivate() {
			t.Errorf("%v is no public IPv4 address", c.Addr)
		}
		addrs[c.Addr] = true
		operators[c.Operator]++
	}
	if len(addrs) != len(all) || len(all) < 12 || len(operators) < 6 || operators["cloudflare"] != 2 {
		t.Errorf("%d candidates, %d addresses, operators %v", len(all), len(addrs), operators)
	}
	p := NewPool(PoolConfig{Candidates: all, Use: 5})
	if d := cmp.Diff([]int{0, 1, 2, 3, 4}, p.InUse()); d != "" {
		t.Error(d)
	}
	all[0].Operator = "changed"
	if s := (Candidate{Name: "modem", Addr: all[0].Addr}).String(); s != "modem" || all[0].String() != "1.1.1.1" {
		t.Errorf("they are called %s and %s", s, all[0])
	}
	if DefaultReflectors()[0].Operator != "cloudflare" {
		t.Error("the list can be changed")
	}
}

// hosts makes candidates, one for each letter, which is the operator.
func hosts(operators string) (out []Candidate) {
	for i, o := range operators {
		out = append(out, Candidate{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Operator: string(o)})
	}
	return out
}

func TestNewPool(t *testing.T) {
	for _, tt := range []struct {
		operators string
		use       int
		want      []int
	}{
		{"", 5, []int{}},
		{"a", 5, []int{0}},
		{"abc", 0, []int{0, 1, 2}},
		{"aabbc", 3, []int{0, 2, 4}},
		{"aaaab", 4, []int{0, 4, 1, 2}},
		{"abcdef", 4, []int{0, 1, 2, 3}},
		{strings.Repeat("a", MaxHosts+1), 999, append([]int{0}, seq(1, MaxHosts)...)},
	} {
		if d := cmp.Diff(tt.want, NewPool(PoolConfig{Candidates: hosts(tt.operators), Use: tt.use}).InUse()); d != "" {
			t.Errorf("%q, %d (-want +got):\n%s", tt.operators, tt.use, d)
		}
	}
}

func seq(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// bench runs a pool against hosts that behave as told. Each of those in use is probed four times a second in turn.
type bench struct {
	pool    *Pool
	now     unit.Time
	turn    int
	rtt     func(host int, at unit.Time) unit.Millis // 0 is no answer
	random  uint64
	pending []link.Reply
	changes []Change
	at      []unit.Time
}

func newBench(operators string, use int, rtt func(host int, at unit.Time) unit.Millis) *bench {
	return &bench{pool: NewPool(PoolConfig{Candidates: hosts(operators), Use: use}), now: unit.Time(time.Hour), rtt: rtt}
}

// run lets time pass.
func (b *bench) run(d time.Duration) {
	use := b.pool.InUse()
	step := 250 * time.Millisecond / time.Duration(len(use))
	for end := b.now.Add(d); b.now < end; b.now = b.now.Add(step) {
		var e PoolEvents
		e.Random = b.random
		h := b.pool.InUse()[b.turn%len(use)]
		b.turn++
		e.Sent = append(e.Sent, link.Probe{Host: h, Sent: b.now})
		if rtt := b.rtt(h, b.now); rtt > 0 {
			b.pending = append(b.pending, link.Reply{Host: h, Sent: b.now, Received: b.now.Add(rtt.Duration()), RTT: rtt})
		}
		b.pending = slices.DeleteFunc(b.pending, func(r link.Reply) bool {
			if r.Received <= b.now {
				e.Replies = append(e.Replies, r)
			}
			return r.Received <= b.now
		})
		if c, ok := b.pool.Step(b.now, e); ok {
			b.changes = append(b.changes, c)
			b.at = append(b.at, b.now)
		}
	}
}

func steady(int, unit.Time) unit.Millis { return 20 }

// TestThreeOffences: three of sixty and no fewer, counted over the newest sixty only, of which the newest four are not
// given up yet.
func TestThreeOffences(t *testing.T) {
	for _, tt := range []struct {
		every int // one probe of so many is lost
		want  int
	}{{30, 0}, {28, 0}, {27, 1}, {15, 1}, {1, 1}} {
		n := 0
		b := newBench("abcdef", 5, func(h int, _ unit.Time) unit.Millis {
			if h == 1 {
				if n++; n%tt.every == 0 {
					return 0
				}
			}
			return 20
		})
		b.run(50 * time.Second)
		if len(b.changes) != tt.want {
			t.Errorf("one lost of %d: changes %+v", tt.every, b.changes)
			continue
		}
		if tt.want > 0 {
			if d := cmp.Diff(Change{Out: 1, In: 5, Why: WhySilent, Lost: 3}, b.changes[0]); d != "" {
				t.Errorf("one lost of %d: %s", tt.every, d)
			}
		}
	}
}

// TestPatience: late for others is not late for one that is always far.
func TestPatience(t *testing.T) {
	slow := func(usual, now unit.Millis) int {
		n := 0
		b := newBench("abcdef", 5, func(h int, _ unit.Time) unit.Millis {
			if h != 2 {
				return 20
			}
			if n++; n > 40 {
				return now
			}
			return usual
		})
		b.run(20 * time.Second)
		return len(b.changes)
	}
	for _, tt := range []struct {
		usual, now unit.Millis
		want       int
	}{{20, 990, 0}, {20, 1010, 1}, {500, 1400, 0}, {500, 1700, 1}} {
		if got := slow(tt.usual, tt.now); got != tt.want {
			t.Errorf("usually %v, now %v: %d changes, want %d", tt.usual, tt.now, got, tt.want)
		}
	}
}

// TestCompare: once a minute the furthest or the slowest goes, if it is too far or too slow.
func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name string
		rtt  func(h int, at unit.Time) unit.Millis
		want []Change
	}{
		{"alike", steady, nil},
		{"20 ms further", func(h int, _ unit.Time) unit.Millis { return unit.Millis(20 + h%2*20) }, nil},
		{"the furthest first", func(h int, _ unit.Time) unit.Millis { return unit.Millis(20 + 11*h) }, []Change{
			{Out: 4, In: 5, Why: WhyFar, Excess: 44},
			{Out: 5, In: 6, Why: WhyFar, Excess: 55},
			{Out: 6, In: 7, Why: WhyFar, Excess: 66},
		}},
		{"one is slower", func(h int, at unit.Time) unit.Millis {
			if h == 3 && at > unit.Time(time.Hour+20*time.Second) {
				return 31
			}
			return 20
		}, []Change{{Out: 3, In: 5, Why: WhySlow, Excess: 11}}},
		{"all are slower", func(_ int, at unit.Time) unit.Millis {
			if at > unit.Time(time.Hour+20*time.Second) {
				return 200
			}
			return 20
		}, nil},
	} {
		b := newBench("abcdefgh", 5, tt.rtt)
		b.run(3*time.Minute + 30*time.Second)
		for i := range b.changes {
			b.changes[i].Excess = unit.Millis(float64(int(float64(b.changes[i].Excess)*10+0.5)) / 10)
		}
		if d := cmp.Diff(tt.want, b.changes); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		for _, at := range b.at {
			if off := at.Sub(unit.Time(time.Hour)) % compareEvery; off > time.Second {
				t.Errorf("%s: changed at %v", tt.name, at)
			}
		}
	}
}

// TestExplore: each hour the one that chance names, and not while the line may be down.
func TestExplore(t *testing.T) {
	down := false
	b := newBench("abcdefgh", 5, func(int, unit.Time) unit.Millis {
		if down {
			return 0
		}
		return 20
	})
	b.random = 13 // of five: the fourth
	b.run(2*time.Hour + 30*time.Minute)
	b.random = 5
	down = true
	b.run(time.Hour)
	down = false
	b.run(time.Minute)
	want := []Change{{Out: 3, In: 5, Why: WhyExplore}, {Out: 5, In: 6, Why: WhyExplore}, {Out: 0, In: 7, Why: WhyExplore}}
	if d := cmp.Diff(want, b.changes); d != "" {
		t.Error(d)
	}
	if at := b.at[2].Sub(unit.Time(time.Hour)); at < 3*time.Hour+30*time.Minute {
		t.Errorf("explored after %v, while nobody answered", at)
	}
}

// TestOneLeft: four of five die at once; they go one by one, and the one that answers stays.
func TestOneLeft(t *testing.T) {
	b := newBench("aabbccddee", 5, func(h int, at unit.Time) unit.Millis {
		if h%2 == 0 && h != 4 && at > unit.Time(time.Hour+30*time.Second) {
			return 0
		}
		return 20
	})
	b.run(50 * time.Second)
	if d := cmp.Diff([]int{1, 3, 4, 5, 7}, slices.Sorted(slices.Values(b.pool.InUse()))); d != "" {
		t.Errorf("%s\n%+v", d, b.changes)
	}
	for i := 1; i < len(b.at); i++ {
		if b.at[i].Sub(b.at[i-1]) < leastGap {
			t.Errorf("two changes within %v", b.at[i].Sub(b.at[i-1]))
		}
	}
}

// TestNothingElseLeft: one that was put away comes back early for a dead one only.
func TestNothingElseLeft(t *testing.T) {
	dead := 2
	b := newBench("abcd", 3, func(h int, _ unit.Time) unit.Millis {
		if h == dead {
			return 0
		}
		return unit.Millis(20 + h*30)
	})
	b.run(time.Minute + 10*time.Second) // 3 is far, and 2 has not rested
	dead = 3
	b.run(5 * time.Second)
	want := []Change{{Out: 2, In: 3, Why: WhySilent, Lost: 3}, {Out: 3, In: 2, Why: WhySilent, Lost: 3}}
	if d := cmp.Diff(want, b.changes); d != "" {
		t.Error(d)
	}
	for _, c := range b.changes {
		if n := b.pool.Note(c); n.Level != link.Info || !strings.Contains(n.Text, "192.0.2.") || n.Key != "reflector_replaced" {
			t.Errorf("note %+v", n)
		}
	}
}

func TestWhyString(t *testing.T) {
	got := fmt.Sprint(WhySilent, WhyFar, WhySlow, WhyExplore, Why(9))
	if got != "silent far slow explore Why(9)" {
		t.Error(got)
	}
}

// Whatever happens: as many as wanted are in use, of three operators where there are three, one goes at a time with a
// gap in between, and one that was put away comes back early only when nothing else is left for a silent one.
func TestPropertyPoolBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		operators := rapid.StringOfN(rapid.SampledFrom([]rune("abcd")), 1, 9, -1).Draw(t, "operators")
		p := NewPool(PoolConfig{Candidates: hosts(operators), Use: rapid.IntRange(0, 7).Draw(t, "use")})
		count := func(list []int) int {
			seen := map[byte]bool{}
			for _, h := range list {
				seen[operators[h]] = true
			}
			return len(seen)
		}
		size := len(p.InUse())
		if size < min(LeastUse, len(operators)) {
			t.Fatalf("%d of %d in use", size, len(operators))
		}
		least := min(count(seq(0, len(operators))), LeastUse)
		now, last := unit.Time(time.Hour), unit.Time(0)
		away := map[int]unit.Time{}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		loss := make([]float64, len(operators))
		far := make([]float64, len(operators))
		for i := range loss {
			loss[i] = rapid.SampledFrom([]float64{0, 0, 0.02, 0.2, 1}).Draw(t, "loss")
			far[i] = rapid.Float64Range(0, 60).Draw(t, "far")
		}
		for range rapid.IntRange(100, 1000).Draw(t, "steps") {
			before := slices.Clone(p.InUse())
			var e PoolEvents
			for range random.IntN(4) {
				s := link.Probe{Host: random.IntN(len(operators)), Sent: now.Add(-time.Duration(random.IntN(2000)) * time.Millisecond)}
				e.Sent = append(e.Sent, s)
				if random.Float64() >= loss[s.Host] {
					rtt := unit.Millis(20 + far[s.Host] + 5*random.Float64())
					e.Replies = append(e.Replies, link.Reply{Host: s.Host, Sent: s.Sent, Received: s.Sent.Add(rtt.Duration()), RTT: rtt})
				}
			}
			e.Random = random.Uint64()
			c, ok := p.Step(now, e)
			after := p.InUse()
			if !ok {
				if !slices.Equal(before, after) {
					t.Fatalf("%v became %v without a word", before, after)
				}
			} else {
				i := slices.Index(before, c.Out)
				if i < 0 || slices.Contains(before, c.In) {
					t.Fatalf("%+v of %v", c, before)
				}
				free := func(h int) bool {
					left := slices.Clone(before)
					left[i] = h
					return !slices.Contains(before, h) && count(left) >= least
				}
				resting := func(h int) bool { at, was := away[h]; return was && now.Sub(at) < rest }
				if resting(c.In) {
					for h := range len(operators) {
						if c.Why != WhySilent || free(h) && !resting(h) {
							t.Fatalf("%+v: %d comes back after %v, and %d was free", c, c.In, now.Sub(away[c.In]), h)
						}
					}
				}
				before[i] = c.In
				if !slices.Equal(before, after) {
					t.Fatalf("%+v gave %v", c, after)
				}
				if last != 0 && now.Sub(last) < leastGap {
					t.Fatalf("two changes within %v", now.Sub(last))
				}
				last, away[c.Out] = now, now
			}
			if len(after) != size || count(after) < least {
				t.Fatalf("in use: %v of %s", after, operators)
			}
			now = now.Add(time.Duration(random.IntN(400)) * time.Millisecond)
			if random.IntN(500) == 0 {
				now = now.Add(20 * time.Minute)
			}
		}
	})
}

// When all fail together it is the line: no outage replaces anybody, however long, during it or after.
func TestPropertyPoolOutage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type span struct{ from, to unit.Time }
		var outages []span
		at := unit.Time(time.Hour)
		for range rapid.IntRange(1, 4).Draw(t, "outages") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "gap")))
			s := span{from: at, to: at.Add(time.Duration(rapid.Int64Range(int64(600*time.Millisecond), int64(20*time.Second)).Draw(t, "outage")))}
			outages = append(outages, s)
			at = s.to
		}
		jitter := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		b := newBench("abcdefgh", rapid.IntRange(3, 6).Draw(t, "use"), func(h int, at unit.Time) unit.Millis {
			for _, o := range outages {
				if at >= o.from && at < o.to {
					return 0
				}
			}
			return unit.Millis(20 + float64(h) + 8*jitter.Float64())
		})
		b.run(at.Sub(b.now) + 30*time.Second)
		if len(b.changes) != 0 {
			t.Fatalf("outages %v: changes %+v", outages, b.changes)
		}
	})
}

// One that dies while others answer goes within three probes, a patience and a moment; the others stay.
func TestPropertyPoolDead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		use := rapid.IntRange(3, 6).Draw(t, "use")
		dead := rapid.IntRange(0, use-1).Draw(t, "dead")
		dies := unit.Time(time.Hour).Add(time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(t, "dies")))
		b := newBench("aabbccddee", use, nil)
		dead = b.pool.InUse()[dead]
		b.rtt = func(h int, at unit.Time) unit.Millis {
			if h == dead && at >= dies {
				return 0
			}
			return unit.Millis(20 + h)
		}
		const soon = 3*250*time.Millisecond + patience + 200*time.Millisecond
		b.run(dies.Sub(b.now) + soon)
		if len(b.changes) != 1 || b.changes[0].Out != dead || b.changes[0].Why != WhySilent {
			t.Fatalf("%d died at %v: changes %+v at %v", dead, dies, b.changes, b.at)
		}
	})
}

func TestPoolNoAllocations(t *testing.T) {
	p := NewPool(PoolConfig{Candidates: DefaultReflectors(), Use: 5})
	now := unit.Time(time.Hour)
	e := PoolEvents{Sent: make([]link.Probe, 1), Replies: make([]link.Reply, 1)}
	h := 0
	if n := testing.AllocsPerRun(5000, func() {
		now = now.Add(50 * time.Millisecond)
		h = (h + 1) % 5
		e.Sent[0] = link.Probe{Host: h, Sent: now}
		e.Replies[0] = link.Reply{Host: h, Sent: now, Received: now, RTT: 20}
		p.Step(now, e)
	}); n != 0 {
		t.Errorf("%v allocations per step", n)
	}
}

func BenchmarkPoolStep(b *testing.B) {
	p := NewPool(PoolConfig{Candidates: DefaultReflectors(), Use: 5})
	now := unit.Time(time.Hour)
	e := PoolEvents{Sent: make([]link.Probe, 1), Replies: make([]link.Reply, 1)}
	h := 0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(50 * time.Millisecond)
		h = (h + 1) % 5
		e.Sent[0] = link.Probe{Host: h, Sent: now}
		e.Replies[0] = link.Reply{Host: h, Sent: now, Received: now, RTT: 20}
		p.Step(now, e)
	}
}

// A near reflector's answers may be heard of before its probes are: none of them is lost.
func TestPoolHearsAnswersFirst(t *testing.T) {
	p := NewPool(PoolConfig{Candidates: []Candidate{{Name: "a", Operator: "a"}, {Name: "b", Operator: "b"}, {Name: "c", Operator: "c"}, {Name: "d", Operator: "d"}}, Use: 3})
	now := began
	for range 200 {
		for h := range 3 {
			at := now
			r := link.Reply{Host: h, Sent: at, Received: at.Add(time.Millisecond), RTT: 1}
			e := []PoolEvents{{Replies: []link.Reply{r}}, {Sent: []link.Probe{{Host: h, Sent: at}}}}
			if h != 0 { // the others are told of in time
				e[0], e[1] = e[1], e[0]
			}
			for _, e := range e {
				now = now.Add(25 * time.Millisecond)
				if c, ok := p.Step(now, e); ok {
					t.Fatalf("%+v: %s", c, p.Note(c).Text)
				}
			}
		}
	}
}
