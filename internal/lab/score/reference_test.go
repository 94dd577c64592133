package score

import (
	"math"
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// bed is a reference model of 10/20/40 Mbit/s each way, at 30, 60 and 10 ms, whose clock a test moves.
type bed struct {
	*testing.T
	*Reference
	now   unit.Time
	bytes link.Pair[unit.Bytes]
}

func onBed(t *testing.T, change func(*ReferenceConfig)) *bed {
	t.Helper()
	c := ReferenceDefaults()
	limits := ReferenceLimits{Min: 10 * unit.Mbps, Base: 20 * unit.Mbps, Max: 40 * unit.Mbps}
	c.Limits = link.Pair[ReferenceLimits]{Down: limits, Up: limits}
	if change != nil {
		change(&c)
	}
	b := &bed{T: t, now: netsim.Epoch}
	b.Reference = NewReference(c, 3, b.now)
	b.learn()
	return b
}

// learn teaches all three reflectors a round trip of 20 ms, so well that nothing is left of the first guess.
func (b *bed) learn() {
	for range 30 {
		for h := range 3 {
			b.answer(h, 20)
		}
	}
}

func (b *bed) wait(d time.Duration) { b.now = b.now.Add(d) }

// answer hands in a round trip, without time passing.
func (b *bed) answer(host int, rtt unit.Millis) {
	b.Reply(b.now, link.Reply{Host: host, Received: b.now, RTT: rtt})
}

// late hands in n replies whose half round trips lie over the baseline by delta.
func (b *bed) late(n int, delta unit.Millis) {
	for range n {
		b.answer(0, 20+2*delta)
	}
}

// carry lets rates flow for a time and reads the counters before and after.
func (b *bed) carry(d time.Duration, r link.Rates) {
	b.Counters(b.now, b.bytes)
	b.wait(d)
	b.bytes.Down += r.Down.Over(d)
	b.bytes.Up += r.Up.Over(d)
	b.Counters(b.now, b.bytes)
}

func (b *bed) down(what string, want unit.Rate) {
	b.Helper()
	// Whole kbit/s, and baselines that have crept by a thousandth of a delta.
	if got := b.Rates().Down; math.Abs(float64(got-want)) > 0.0005*float64(want)+1000 {
		b.Errorf("%s: the download's rate is %d, want %d", what, got, want)
	}
}

// A baseline falls by nine tenths of the way at once, and rises by a thousandth.
func TestReferenceBaseline(t *testing.T) {
	b := refBaseline{value: refBaselineFirst}
	if delta := b.follow(20); b.value != 28 || delta != -8 {
		t.Errorf("after 20 ms the baseline is %v and the delta %v", b.value, delta)
	}
	b.value = 20
	if delta := b.follow(120); math.Abs(float64(b.value-20.1)) > 1e-9 || math.Abs(float64(delta-99.9)) > 1e-9 {
		t.Errorf("after 120 ms the baseline is %v and the delta %v", b.value, delta)
	}
	// Each reflector has its own.
	m := onBed(t, nil)
	for range 30 {
		m.answer(1, 300)
	}
	if m.hosts[0].Down.value > 11 || m.hosts[1].Down.value < 14 {
		t.Errorf("baselines are %v", m.hosts)
	}
}

// By two clocks the first sample is the baseline, and a jump of a clock makes it anew.
func TestReferenceClocks(t *testing.T) {
	b := onBed(t, func(c *ReferenceConfig) { c.OneWay = true })
	const noon, night = unit.Millis(1_000_000), unit.Millis(-80_000_000)
	tell := func(offset, up, down unit.Millis) {
		b.Reply(b.now, link.Reply{
			Host: 2, Received: b.now, RTT: up + down, OneWay: true, Delay: link.Pair[unit.Millis]{Down: down - offset, Up: up + offset},
		})
	}
	b.hosts[2] = link.Pair[refBaseline]{}
	for range 6 {
		tell(noon, 10, 10)
	}
	tell(noon, 50, 10)
	up, down := b.dirs.Up.ring[(b.dirs.Up.next+5)%6], b.dirs.Down.ring[(b.dirs.Down.next+5)%6]
	if math.Abs(float64(up-40)) > 0.1 || math.Abs(float64(down)) > 0.1 {
		t.Errorf("deltas are %v up and %v down, want 40 and 0", up, down)
	}
	tell(night, 10, 10)
	if up := b.dirs.Up.ring[(b.dirs.Up.next+5)%6]; up != 0 {
		t.Errorf("after a clock's jump the delta is %v", up)
	}
}

// The threshold is 30 ms and what the largest packet takes at the rate.
func TestReferenceThreshold(t *testing.T) {
	for _, c := range []struct {
		rate  unit.Rate
		delta unit.Millis
		late  bool
	}{
		{20 * unit.Mbps, 30.5, false}, // 12112 bits take 0.61 ms
		{20 * unit.Mbps, 30.7, true},
		{unit.Mbps, 42, false}, // 12.1 ms
		{unit.Mbps, 42.3, true},
	} {
		x := &refDirection{limits: ReferenceLimits{Max: unit.MaxRate}}
		x.set(float64(c.rate))
		cfg := ReferenceDefaults()
		x.decide(netsim.Epoch, &cfg, c.delta)
		if x.late[0] != c.late {
			t.Errorf("at %v a delta of %v is late: %v", c.rate, c.delta, x.late[0])
		}
	}
}

// Three of the last six, whatever came between.
func TestReferenceThreeOfSix(t *testing.T) {
	b := onBed(t, nil)
	b.late(2, 70)
	b.late(4, 0)
	b.down("two of six", 20*unit.Mbps)
	b.late(1, 70) // the first two have left the ring, or are about to
	b.down("two of six again", 20*unit.Mbps)
	b.late(2, 70)
	if b.Rates().Down >= 20*unit.Mbps {
		t.Error("three of six cut nothing")
	}
}

// A cut is 1 % at the threshold, 25 % at 60 ms and beyond, and in between in proportion to the mean of all six.
func TestReferenceCut(t *testing.T) {
	for _, c := range []struct {
		mean   unit.Millis
		factor float64
	}{{20, 0.99}, {30.6056, 0.99}, {45.6056, 0.87}, {60.6056, 0.75}, {500, 0.75}} {
		x := &refDirection{limits: ReferenceLimits{Max: unit.MaxRate}}
		x.set(20e6)
		cfg := ReferenceDefaults()
		if got := x.cut(&cfg, c.mean); math.Abs(got-c.factor) > 1e-6 {
			t.Errorf("at a mean of %v the factor is %v, want %v", c.mean, got, c.factor)
		}
	}
	b := onBed(t, nil)
	b.late(3, 100) // a mean of 50 ms over six, less what the baseline has followed
	b.down("three late ones", unit.Rate(20e6*(0.99-0.24*(49.9-30.6)/30)))
}

// A rate grows by 4 % up to 10 ms, by nothing at the threshold; once per reading of the counters, and only above 75 %
// of the rate.
func TestReferenceGrowth(t *testing.T) {
	for _, c := range []struct {
		mean   unit.Millis
		factor float64
	}{{-5, 1.04}, {10, 1.04}, {20.6056, 1.02}, {30.6056, 1}, {80, 1}} {
		x := &refDirection{limits: ReferenceLimits{Max: unit.MaxRate}}
		x.set(20e6)
		cfg := ReferenceDefaults()
		if got := x.growth(&cfg, c.mean); math.Abs(got-c.factor) > 1e-6 {
			t.Errorf("at a mean of %v the factor is %v, want %v", c.mean, got, c.factor)
		}
	}
	b := onBed(t, nil)
	b.carry(200*time.Millisecond, link.Rates{Down: 15100 * unit.Kbps, Up: 14900 * unit.Kbps})
	b.late(5, 0)
	b.down("once a reading", 20800*unit.Kbps)
	if got := b.Rates().Up; got != 20*unit.Mbps {
		t.Errorf("a load under 75 %% grows the upload to %d", got)
	}
	b.carry(200*time.Millisecond, link.Rates{Down: 20 * unit.Mbps})
	b.late(5, 0)
	b.down("the next reading", 21632*unit.Kbps)
}

// Neither a cut nor a rise within 300 ms of a cut.
func TestReferenceRefractory(t *testing.T) {
	b := onBed(t, nil)
	b.late(6, 500)
	once := b.Rates().Down
	b.wait(300 * time.Millisecond)
	b.late(6, 500)
	b.down("not again at 300 ms", once)
	b.wait(time.Millisecond)
	b.late(1, 500)
	b.down("but after it", unit.Rate(float64(once)*0.75))
	cut := b.Rates().Down
	b.carry(200*time.Millisecond, link.Rates{Down: 20 * unit.Mbps, Up: 20 * unit.Mbps})
	b.late(6, 0)
	b.down("no rise either", cut)
	b.wait(101 * time.Millisecond)
	b.late(1, 0)
	b.down("until it is over", unit.Rate(float64(cut)*1.04))
}

// Without load a rate walks to its base by a hundredth a second, from both sides, and stays there.
func TestReferenceDecay(t *testing.T) {
	for _, c := range []struct {
		from, once unit.Rate
	}{{30 * unit.Mbps, 29700 * unit.Kbps}, {15 * unit.Mbps, 15150 * unit.Kbps}, {20050 * unit.Kbps, 20 * unit.Mbps}, {19950 * unit.Kbps, 20 * unit.Mbps}} {
		b := onBed(t, nil)
		b.dirs.Down.set(float64(c.from))
		b.wait(1001 * time.Millisecond)
		b.late(3, 0)
		b.down("the first second", c.once)
		b.wait(time.Second)
		b.late(3, 0)
		b.down("not sooner than after a second", c.once)
		for range 300 {
			b.wait(1001 * time.Millisecond)
			b.late(1, 0)
		}
		b.down("in the end", 20*unit.Mbps)
	}
}

func TestReferenceLimits(t *testing.T) {
	b := onBed(t, nil)
	for range 20 {
		b.wait(time.Second)
		b.late(6, 500)
	}
	if got := b.Rates().Down; got != 10*unit.Mbps {
		t.Errorf("the lowest rate is %d", got)
	}
	b = onBed(t, nil)
	for range 40 {
		b.carry(200*time.Millisecond, link.Rates{Down: 40 * unit.Mbps, Up: 40 * unit.Mbps})
		b.late(1, 0)
	}
	if got := b.Rates().Down; got != 40*unit.Mbps {
		t.Errorf("the highest rate is %d", got)
	}
}

// No reply for 250 ms while a direction carries nothing is a stall, and any reply ends it.
func TestReferenceStall(t *testing.T) {
	b := onBed(t, nil)
	b.carry(200*time.Millisecond, link.Rates{Down: 9 * unit.Kbps, Up: 9 * unit.Mbps})
	b.wait(50 * time.Millisecond)
	b.Tick(b.now)
	if b.Stalled() {
		t.Error("stalled after 250 ms already")
	}
	b.wait(time.Millisecond)
	b.Tick(b.now)
	if !b.Stalled() {
		t.Error("not stalled after 251 ms")
	}
	b.answer(0, 20)
	if b.Stalled() {
		t.Error("a reply ends no stall")
	}
	b.carry(300*time.Millisecond, link.Rates{Down: 9 * unit.Mbps, Up: 9 * unit.Mbps})
	b.Tick(b.now)
	if b.Stalled() {
		t.Error("stalled while both directions carry something")
	}
}

// After a minute without load nothing is listened to, until something flows.
func TestReferenceSleep(t *testing.T) {
	b := onBed(t, nil)
	for range 310 {
		b.carry(200*time.Millisecond, link.Rates{Down: 1900 * unit.Kbps, Up: 100 * unit.Kbps})
	}
	if !b.Asleep() {
		t.Fatal("it does not sleep")
	}
	b.late(6, 500)
	b.down("asleep", 20*unit.Mbps)
	b.carry(200*time.Millisecond, link.Rates{Up: 3 * unit.Mbps})
	b.late(6, 500)
	if b.Asleep() || b.Rates().Down == 20*unit.Mbps {
		t.Error("it does not wake up")
	}
}

func TestReferenceIgnoresStaleReplies(t *testing.T) {
	b := onBed(t, nil)
	for range 6 {
		b.Reply(b.now.Add(501*time.Millisecond), link.Reply{Received: b.now, RTT: 900})
	}
	b.down("after stale replies", 20*unit.Mbps)
}

// Counters are read each 200 ms, and less often where ten of the largest packets take longer to go round.
func TestReferenceReadsCountersSlowerOnSlowLines(t *testing.T) {
	b := onBed(t, nil)
	if got := b.ReadEvery(); got != 200*time.Millisecond {
		t.Errorf("at 20 Mbit/s counters are read each %v", got)
	}
	b.dirs.Up.limits.Min = 100 * unit.Kbps
	b.dirs.Up.set(500e3)
	if got := b.ReadEvery(); got < 245*time.Millisecond || got > 250*time.Millisecond {
		t.Errorf("at half a Mbit/s counters are read each %v", got)
	}
}
