package netsim

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestWorldOrder(t *testing.T) {
	w := NewWorld()
	var got []string
	say := func(s string) func() { return func() { got = append(got, s) } }
	w.At(Epoch.Add(2*time.Second), say("b"))
	w.At(Epoch.Add(time.Second), say("a"))
	w.At(Epoch.Add(2*time.Second), say("c"))
	w.At(0, say("past is now"))
	w.At(Epoch.Add(3*time.Second), func() { w.At(w.Now(), say("d")) })
	w.At(Epoch.Add(9*time.Second), say("never"))
	if at, ok := w.Next(); !ok || at != Epoch {
		t.Errorf("next is %v, %v", at, ok)
	}
	w.Run(Epoch.Add(5 * time.Second))
	if diff := cmp.Diff([]string{"past is now", "a", "b", "c", "d"}, got); diff != "" {
		t.Error(diff)
	}
	if w.Run(Epoch); w.Now() != Epoch.Add(5*time.Second) {
		t.Errorf("the clock went back to %v", w.Now())
	}
}

func TestWorldEvery(t *testing.T) {
	w := NewWorld()
	var at []time.Duration
	var stop func()
	stop = w.Every(2*time.Second, time.Second, func() {
		if at = append(at, w.Now().Sub(Epoch)); len(at) == 3 {
			stop()
		}
	})
	w.Every(0, 0, func() { t.Error("a period of nothing fired") })
	w.Run(Epoch.Add(time.Minute))
	if diff := cmp.Diff([]time.Duration{time.Second, 3 * time.Second, 5 * time.Second}, at); diff != "" {
		t.Error(diff)
	}
	if _, ok := w.Next(); ok {
		t.Error("a stopped series stays planned")
	}
}

func TestWorldIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := NewWorld()
		type stamp struct{ at, seq int }
		var got []stamp
		for i, at := range rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "times") {
			w.At(Epoch+unit.Time(at), func() { got = append(got, stamp{at, i}) })
		}
		w.Run(Epoch + 20)
		if !slices.IsSortedFunc(got, func(a, b stamp) int { return (a.at-b.at)*1000 + a.seq - b.seq }) {
			t.Errorf("order %v", got)
		}
	})
}

func TestCapacities(t *testing.T) {
	const s = int64(time.Second)
	m := func(f float64) float64 { return f * 1e6 / 8 } // bytes of f Mbit
	steps := Steps(20*time.Second, Point{0, 8 * unit.Mbps}, Point{10 * time.Second, 4 * unit.Mbps})
	ramp := Ramp(0, Point{0, 10 * unit.Mbps}, Point{10 * time.Second, 20 * unit.Mbps})
	saw := Ramp(10*time.Second, Point{0, 10 * unit.Mbps}, Point{5 * time.Second, 20 * unit.Mbps})
	for _, c := range []struct {
		name     string
		capacity Capacity
		from, to int64
		want     float64
	}{
		{"constant", Constant(8 * unit.Mbps), 3 * s, 4 * s, m(8)},
		{"steps, across", steps, 9 * s, 11 * s, m(12)},
		{"steps, looped", steps, 29 * s, 31 * s, m(12)},
		{"steps, round the end", steps, 39 * s, 41 * s, m(12)},
		{"steps, many rounds", steps, 0, 200 * s, m(1200)},
		{"ramp", ramp, 0, 10 * s, m(150)},
		{"ramp, held", ramp, 20 * s, 21 * s, m(20)},
		{"saw", saw, 10 * s, 20 * s, m(150)},
	} {
		if err := c.capacity.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		sup := c.capacity.compile()
		got := sup.bytes(c.from, c.to)
		if math.Abs(got-c.want) > 1e-6*c.want {
			t.Errorf("%s: %v bytes, want %v", c.name, got, c.want)
		}
		if end := sup.after(c.from, c.want, 1); c.to-c.from < horizon && math.Abs(float64(end-c.to)) > 2 {
			t.Errorf("%s: %v bytes are gone at %d, want %d", c.name, c.want, end, c.to)
		}
		if end := sup.after(c.from, c.want, 0); end-c.from != horizon {
			t.Errorf("%s: nothing leaves, and it takes %d", c.name, end-c.from)
		}
	}
}

func TestCapacityErrors(t *testing.T) {
	for want, c := range map[string]Capacity{
		"no points":   {},
		"must be at":  Steps(0, Point{1, 1}),
		"nominal":     Constant(0),
		"rate -1":     Steps(0, Point{0, 1}, Point{1, -1}),
		"not after":   Steps(0, Point{0, 1}, Point{0, 2}),
		"loop":        Steps(1, Point{0, 1}, Point{1, 2}),
		"trace is em": Recorded(&Trace{}),
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if r := (Capacity{}).Nominal(); r != 0 {
		t.Errorf("nothing carries %v", r)
	}
}

func TestMahimahi(t *testing.T) {
	tr, err := LoadMahimahi(strings.NewReader("1\n1\n5\r\n\n10\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Len() != 10*time.Millisecond || tr.Mean() != 4*1500*8*100 {
		t.Errorf("length %v, mean %v", tr.Len(), tr.Mean())
	}
	s := Recorded(tr).compile()
	const ms = int64(time.Millisecond)
	if got := s.bytes(0, 1000*ms); got != 400*Packet {
		t.Errorf("a second carries %v bytes", got)
	}
	for _, c := range []struct {
		at    int64
		bytes float64
		want  int64
	}{{0, 0, 1}, {0, 1500, 1}, {0, 1501, 1}, {0, 3001, 5}, {2, 1, 5}, {10, 1, 11}, {0, 4 * Packet, 10}, {0, 6 * Packet, 11}} {
		if got := s.after(c.at*ms, c.bytes, 1); got != c.want*ms {
			t.Errorf("%v bytes from %d ms are gone at %v, want %d ms", c.bytes, c.at, time.Duration(got), c.want)
		}
	}
	if got := s.after(0, 1, 0); got != horizon {
		t.Errorf("a trace in a blackout delivers at %d", got)
	}
}

func TestMahimahiErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "line 1: no timestamp above 0",
		"0\n0\n":                            "line 2: no timestamp above 0",
		"1\ntwo\n":                          `line 2: "two" is not a whole number`,
		"1\n-2\n":                           "line 2: -2 ms is outside",
		"5\n\n4\n":                          "line 3: 4 ms after 5 ms",
		"99999999999\n":                     "line 1: 99999999999 ms is outside",
		"1\n" + strings.Repeat("1", 5000):   "line 2: bufio.Scanner: token too long",
		"1.5\n":                             `line 1: "1.5" is not a whole number`,
		strings.Repeat("x", 100) + "\n1\n2": `line 1: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is not`,
	} {
		if _, err := LoadMahimahi(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: want %q, got %v", in, want, err)
		}
	}
}

// A trace's share of use under saturating bulk, and its outage, come out as recorded.
func TestTraceCapacityIsUsed(t *testing.T) {
	var b strings.Builder
	for ms := 1; ms <= 4000; ms++ {
		// 24 Mbit/s for two seconds, 12 for one and a half, then nothing for half a second.
		if ms <= 2000 {
			b.WriteString(itoa(ms) + "\n" + itoa(ms) + "\n")
		} else if ms <= 3500 || ms == 4000 {
			b.WriteString(itoa(ms) + "\n")
		}
	}
	tr, err := LoadMahimahi(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	s := plain(40*time.Second, Flow{Kind: Bulk, Count: 4}, Flow{Kind: Talk})
	s.Links[0].Down.Capacity = Recorded(tr)
	n := start(t, s)
	n.Run(n.End())
	truth := n.Truth(0)
	within(t, "use", truth.Traffic.Down.Use(), 0.97, 1.0001)
	within(t, "offered", float64(truth.Traffic.Down.Offered), 0.98*10*5501*Packet, 10*5501*Packet)
	within(t, "outage", truth.Calls.Outage.Seconds(), 3.5, 4.2)
	within(t, "p50", float64(truth.Calls.Down.Quantile(0.5)), 100, 700)
	if r, _, ok := s.Links[0].Down.Capacity.compile().steady(0); ok || r != 0 {
		t.Error("a trace calls itself steady")
	}
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

func TestHistogramQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h, left, right Histogram
		var all []time.Duration
		for i, us := range rapid.SliceOfN(rapid.IntRange(0, 30_000_000), 1, 200).Draw(t, "µs") {
			d := time.Duration(us) * time.Microsecond
			all = append(all, d)
			h.Add(d, 1)
			[]*Histogram{&left, &right}[i%2].Add(d, 1)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.01, 0.5, 0.95, 0.99, 1} {
			rank := max(int(math.Ceil(q*float64(len(all)))), 1)
			want := float64(unit.ToMillis(all[rank-1]))
			if got := float64(h.Quantile(q)); math.Abs(got-want) > want/60+1e-9 {
				t.Errorf("q%v of %v is %v, want %v", q, all, got, want)
			}
		}
		if h.Max() != unit.ToMillis(all[len(all)-1]) || h.Count() != uint64(len(all)) {
			t.Errorf("max %v, count %d", h.Max(), h.Count())
		}
		left.Merge(&right)
		if left.Quantile(0.9) != h.Quantile(0.9) || math.Abs(float64(left.Mean()-h.Mean())) > 1e-6 {
			t.Error("merging differs from adding")
		}
	})
	var none Histogram
	none.Add(time.Second, 0)
	none.Merge(&Histogram{})
	if none.Quantile(0.5) != 0 || none.Mean() != 0 || none.Max() != 0 {
		t.Error("nothing has quantiles")
	}
	none.Add(-time.Second, 2)
	if none.Quantile(1) != 0 || none.Count() != 2 {
		t.Error("a negative delay does not count as 0")
	}
}

func TestNamesOfKinds(t *testing.T) {
	if Talk.String() != "call" || Kind(99).String() != "Kind(99)" || !Game.Sensitive() || Bulk.Sensitive() {
		t.Error("kinds are misnamed")
	}
}

func TestCodelDropsOnlyAStandingQueue(t *testing.T) {
	var c codel
	const ms = int64(time.Millisecond)
	drops := func(from, to, sojourn int64) (n int) {
		for now := from; now < to; now += 10 * ms {
			n += c.drops(now, sojourn, codelTarget, 10*Packet)
		}
		return n
	}
	if n := drops(1000*ms, 1090*ms, 20*ms); n != 0 {
		t.Errorf("%d drops within the first interval", n)
	}
	if n := drops(1090*ms, 1110*ms, 20*ms); n != 1 {
		t.Errorf("%d drops at the end of the interval, want 1", n)
	}
	slow, fast := drops(1110*ms, 1410*ms, 20*ms), drops(2110*ms, 2410*ms, 20*ms)
	if slow < 2 || fast <= slow {
		t.Errorf("the pace does not grow: %d, then %d in 300 ms", slow, fast)
	}
	if n := drops(2410*ms, 3000*ms, 4*ms); n != 0 {
		t.Errorf("%d drops below the target", n)
	}
}

// A shaper that stood nearly still for a moment leaves no sender deaf to losses: a queue that would take minutes at that
// rate is not what it takes to hear of the next loss.
func TestAShaperThatStoodStillLeavesNobodyDeaf(t *testing.T) {
	s := plain(20*time.Second, Flow{Kind: Bulk, Count: 4})
	n := start(t, s)
	n.SetShaper(0, link.Down, 38*unit.Mbps)
	n.World().At(Epoch.Add(5*time.Second), func() { n.SetShaper(0, link.Down, unit.Kbps) })
	n.World().At(Epoch.Add(5300*time.Millisecond), func() { n.SetShaper(0, link.Down, 20*unit.Mbps) })
	n.Run(Epoch.Add(10 * time.Second))
	was := n.Traffic(0).Down
	n.Run(n.End())
	is := n.Traffic(0).Down
	within(t, "the share that the shaper drops", float64(is.FairDropped-was.FairDropped)/float64(is.Sent-was.Sent), 0, 0.02)
	within(t, "the FIFO's delay", float64(phase(n, 10*time.Second, 20*time.Second).Quantile(0.95)), 0, 10)
}

// A radio adds its delay while the line is loaded, whoever shapes it, and takes it back gently.
func TestARadioAddsDelayUnderLoad(t *testing.T) {
	s := plain(30*time.Second, Flow{Kind: Bulk, Dir: link.Up, Start: 5 * time.Second, Stop: 20 * time.Second})
	s.Step = 2 * time.Millisecond
	s.Links[0].Up.LoadedDelay, s.Links[0].Up.LoadedShare = 60*time.Millisecond, 300_000
	n := start(t, s)
	n.SetShaper(0, link.Up, 6*unit.Mbps)
	p, err := n.NewProber(ProberOptions{Hosts: []int{0}, Interval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n.Run(n.End())
	last := time.Duration(0)
	for _, r := range p.Drain(nil) {
		at, added := r.Sent.Sub(Epoch), r.RTT-20
		switch {
		case at < 5*time.Second || at > 21*time.Second:
			within(t, "an echo on the idle line", float64(added), 0, 0.01)
		case at > 6*time.Second && at < 20*time.Second:
			within(t, "an echo under load", float64(added), 60, 63)
		}
		if here := r.Received.Sub(Epoch); here < last {
			t.Fatalf("an echo of %v overtook the one before it", at)
		} else {
			last = here
		}
	}
	within(t, "delivered under it", n.Truth(0).Traffic.Up.Use(), 0.60, 0.76)
	// A third of the line's shaper is below the share: then nothing is added.
	n = start(t, s)
	n.SetShaper(0, link.Up, 2*unit.Mbps)
	n.Run(n.End())
	within(t, "lightly loaded", float64(n.Truth(0).Line.Up.Quantile(0.99)), 0, 10)
}

func TestAHostAnswersNoMoreThanItsQuota(t *testing.T) {
	s := plain(20 * time.Second)
	s.Hosts[0].PerSecond = 4
	n := start(t, s)
	p, err := n.NewProber(ProberOptions{Hosts: []int{0, 1}, Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n.Run(n.End())
	within(t, "answers of who counts them", float64(p.Stats()[0].Answered), 79, 82)
	within(t, "answers of who does not", float64(p.Stats()[1].Answered), 398, 400)
}

// Acknowledgements take their part of the other direction: a download that fills its line takes 2.2 % of its rate from the
// upload, whose bulk gives way, and neither is lost to the books.
func TestAcknowledgementsLoadTheOtherDirection(t *testing.T) {
	s := plain(30*time.Second, Flow{Kind: Bulk, Count: 4}, Flow{Kind: Bulk, Dir: link.Up})
	n := start(t, s)
	n.SetShaper(0, link.Down, 38*unit.Mbps)
	n.SetShaper(0, link.Up, 2*unit.Mbps)
	n.Run(n.End())
	b, echoes := n.FlowBytes(), unit.Bytes(n.echoes).Per(30*time.Second).Mbps()
	within(t, "acknowledgements of both, Mbit/s", echoes, 0.75, 0.87)
	within(t, "the upload, Mbit/s", b[1].Per(30*time.Second).Mbps(), 1.0, 1.25)
	within(t, "the line's upload, Mbit/s", n.Truth(0).Traffic.Up.Delivered.Per(30*time.Second).Mbps(), 1.85, 2)
	s.Flows = []Flow{{Kind: Bulk, Stop: 5 * time.Second}}
	n = start(t, s)
	n.Run(n.End())
	if f := n.lines[0].paths.Up.flows; len(f) != 0 {
		t.Errorf("%d acknowledging flows outlive what they acknowledge", len(f))
	}
}

// A prober changes its pace and its hosts at once, and neither bunches echoes nor puts them off.
func TestAProberChangesItsPace(t *testing.T) {
	s := plain(time.Minute)
	for len(s.Hosts) < 4 {
		s.Hosts = append(s.Hosts, s.Hosts[0])
	}
	n := start(t, s)
	var at []time.Duration
	var who []int
	p, err := n.NewProber(ProberOptions{Hosts: []int{0, 1, 2, 3}, Interval: 400 * time.Millisecond, OnSend: func(p link.Probe) {
		at, who = append(at, p.Sent.Sub(Epoch)), append(who, p.Host)
	}})
	if err != nil {
		t.Fatal(err)
	}
	do := func(ms int, f func()) { n.World().At(Epoch.Add(time.Duration(ms)*time.Millisecond), f) }
	do(450, func() { p.SetInterval(4 * time.Second) }) // 0 1 2 3 0, and then one a second
	do(2650, func() { p.SetInterval(400 * time.Millisecond) })
	do(2660, func() { p.SetInterval(400 * time.Millisecond) }) // no change
	do(2661, func() { p.SetInterval(0) })
	do(2990, func() {
		if err := p.Use([]int{3, 1}); err != nil {
			t.Error(err)
		}
	})
	n.Run(Epoch.Add(3500 * time.Millisecond))
	var got []int
	for i := range at {
		got = append(got, int(at[i].Milliseconds()), who[i])
	}
	want := []int{0, 0, 100, 1, 200, 2, 300, 3, 400, 0, 1400, 1, 2400, 2, 2650, 3, 2750, 0, 2850, 1, 2950, 2, 3150, 3, 3350, 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("when and who (-want +got):\n%s", diff)
	}
	for _, bad := range [][]int{nil, {4}, {-1}, {1, 1}} {
		if p.Use(bad) == nil {
			t.Errorf("%v were used", bad)
		}
	}
}
