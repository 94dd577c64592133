package shaper

import (
	"math"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// instant returns the cable line with averages that follow at once, so that delta is rtt − 24 exactly.
func instant(period time.Duration) Config {
	c := spectrum()
	c.Period, c.AlphaLoad, c.AlphaBaseline = period, 1, 0.001
	return c
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		name     string
		deltas   []unit.Millis
		down, up link.State
	}{
		{"calm", []unit.Millis{0}, link.Green, link.Green},
		{"target belongs to GREEN", []unit.Millis{15}, link.Green, link.Green},
		{"just over target", []unit.Millis{15.001}, link.Yellow, link.Yellow},
		{"warn belongs to YELLOW", []unit.Millis{45}, link.Yellow, link.Yellow},
		{"over warn: at once RED up, not yet SOFT_RED down", []unit.Millis{45.001}, link.Yellow, link.Red},
		{"over warn twice", []unit.Millis{46, 46}, link.Yellow, link.Red},
		{"over warn three times", []unit.Millis{46, 46, 46}, link.SoftRed, link.Red},
		{"critical belongs to SOFT_RED", []unit.Millis{46, 46, 80}, link.SoftRed, link.Red},
		{"over critical: at once RED", []unit.Millis{80.001}, link.Red, link.Red},
		{"RED breaks the streak", []unit.Millis{46, 46, 90, 46, 46}, link.Yellow, link.Red},
		{"YELLOW breaks the streak", []unit.Millis{46, 46, 30, 46, 46}, link.Yellow, link.Red},
		{"a skipped cycle does not", []unit.Millis{46, 46, -24, -24, 46}, link.SoftRed, link.Red},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, instant(2*time.Second))
			for _, delta := range c.deltas {
				d.feed(1, 24+delta, 0, 0) // -24 is no reply
			}
			d.must(t, "state", d.last.State, link.Pair[link.State]{Down: c.down, Up: c.up})
		})
	}
}

// Counts of cycles keep their time at other periods.
func TestCountsOfCycles(t *testing.T) {
	for _, c := range []struct {
		period           time.Duration
		sustained, climb int // samples
	}{
		{2 * time.Second, 3, 5},
		{50 * time.Millisecond, 120, 200},
		{300 * time.Millisecond, 20, 34},
		{4 * time.Second, 2, 3},
		{60 * time.Second, 1, 1},
	} {
		d := start(t, instant(c.period))
		d.feed(c.sustained-1, 74, 0, 0)
		if c.sustained > 1 {
			d.must(t, c.period.String()+": before SOFT_RED", d.last.State.Down, link.Yellow)
		}
		d.must(t, c.period.String()+": SOFT_RED", d.feed(1, 74, 0, 0).State.Down, link.SoftRed)
		low := d.last.Rates.Down
		d.feed(c.climb-1, 24, 0, 0)
		if c.climb > 1 {
			d.must(t, c.period.String()+": before the climb", d.last.Rates.Down, 550*unit.Mbps)
		}
		if got := d.feed(1, 24, 0, 0); got.Rates.Down <= 550*unit.Mbps || got.Reason.Down.Cause != link.CauseRaise {
			t.Errorf("%v: cycle %d of GREEN did not climb from %v: %+v", c.period, c.climb, low, got.Reason.Down)
		}
	}
}

// Steps lose no fraction: what 2 s grow at any period is the configured step.
func TestStepUpAccumulates(t *testing.T) {
	for _, c := range []struct {
		period time.Duration
		step   unit.Rate
		cycles int
		want   unit.Rate
	}{
		{50 * time.Millisecond, 500 * unit.Kbps, 40, 500 * unit.Kbps},
		{50 * time.Millisecond, 500 * unit.Kbps, 1, 12_500},
		{50 * time.Millisecond, 7, 40, 7},
		{50 * time.Millisecond, 7, 39, 6},
		{70 * time.Millisecond, 100_001, 200, 700_007},
		{333 * time.Millisecond, 1, 7, 1},
		{2 * time.Second, unit.Mbps, 3, 3 * unit.Mbps},
		{60 * time.Second, 10 * unit.Kbps, 2, 600 * unit.Kbps},
	} {
		k := instant(c.period)
		k.Up.StepUp = c.step
		d := start(t, k)
		d.feed(1, 600, 0, 0) // one cut: 38 → 34.2
		d.feed(d.d.climb-1, 24, 0, 0)
		low := d.last.Rates.Up
		d.must(t, "held", low, 34_200_000*unit.BitPerSecond)
		if got := d.feed(c.cycles, 24, 0, 0).Rates.Up - low; got != c.want {
			t.Errorf("%v per 2 s at %v: %d cycles grew %d bit/s, want %d", c.step, c.period, c.cycles, got, c.want)
		}
	}
}

// A cut is due when none was made in the last cut interval less half a period, whatever the state was in between.
func TestCutInterval(t *testing.T) {
	cuts := func(d *drive, n int, rtt unit.Millis) (at []int) {
		for i := range n {
			if got := d.feed(1, rtt, 0, 0); got.Reason.Up.Cause == link.CauseCut {
				at = append(at, i)
			}
		}
		return at
	}
	for _, c := range []struct {
		name             string
		period, interval time.Duration
		cycles           int
		want             []int
	}{
		{"2 s, the default", 2 * time.Second, 2 * time.Second, 4, []int{0, 1, 2, 3}},
		{"50 ms, the default", 50 * time.Millisecond, 2 * time.Second, 90, []int{0, 40, 80}},
		{"50 ms, fast", 50 * time.Millisecond, 100 * time.Millisecond, 7, []int{0, 2, 4, 6}},
		{"no interval: each cycle, not more", 50 * time.Millisecond, 0, 3, []int{0, 1, 2}},
		{"slower than the interval: each cycle", 10 * time.Second, 2 * time.Second, 3, []int{0, 1, 2}},
		{"3 s at 2 s: the fourth half", 2 * time.Second, 3 * time.Second, 4, []int{0, 1, 2, 3}},
		{"4 s at 2 s: every other", 2 * time.Second, 4 * time.Second, 5, []int{0, 2, 4}},
	} {
		k := instant(c.period)
		k.CutInterval = c.interval
		d := start(t, k)
		got := cuts(d, c.cycles, 124)
		if len(got) != len(c.want) {
			t.Errorf("%s: cut in cycles %v, want %v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: cut in cycles %v, want %v", c.name, got, c.want)
				break
			}
		}
		d.must(t, c.name+": counted", d.Cuts().Up, uint64(len(c.want)))
	}

	// GREEN in between does not make the next cut due sooner.
	d := start(t, instant(50*time.Millisecond))
	d.feed(1, 124, 0, 0)
	d.feed(10, 24, 0, 0)
	got := d.feed(1, 124, 0, 0)
	d.must(t, "cause", got.Reason.Up.Cause, link.CauseCutWait)
	d.must(t, "rate", got.Rates.Up, 34_200_000*unit.BitPerSecond)
}

// RED stops at its floor, and standing there is not a cut.
func TestRedFloor(t *testing.T) {
	d := start(t, instant(2*time.Second))
	got := d.feed(9, 124, 0, 0)
	d.must(t, "cut", got.Reason.Down, link.Reason{Cause: link.CauseCut, From: 256_141_092, To: 217_719_928})
	if d.AtFloor(link.Down) {
		t.Error("at the floor already")
	}
	got = d.feed(1, 124, 0, 0)
	d.must(t, "the cut that stops there", got.Reason.Down, link.Reason{Cause: link.CauseFloor, From: 217_719_928, To: 200 * unit.Mbps})
	got = d.feed(3, 124, 0, 0)
	d.must(t, "standing there", got.Reason.Down, link.Reason{Cause: link.CauseFloor, From: 200 * unit.Mbps, To: 200 * unit.Mbps})
	d.must(t, "cuts", d.Cuts().Down, uint64(10))
	if !d.AtFloor(link.Down) || d.AtFloor(link.Up) {
		t.Errorf("AtFloor = %v, %v; want the download only", d.AtFloor(link.Down), d.AtFloor(link.Up))
	}
}

// A factor of 1.0 cuts nothing, and says so.
func TestCrippledFactor(t *testing.T) {
	k := instant(2 * time.Second)
	k.Down.FactorDown = unit.One
	d := start(t, k)
	got := d.feed(5, 124, 0, 0)
	d.must(t, "reason", got.Reason.Down, link.Reason{Cause: link.CauseHold, From: 940 * unit.Mbps, To: 940 * unit.Mbps})
	d.must(t, "cuts", d.Cuts().Down, uint64(0))
}

func TestFloorLift(t *testing.T) {
	for _, c := range []struct {
		lift                   FloorLift
		yellow, softRed, green unit.Rate
	}{
		{LiftState, 350, 275, 550},
		{LiftGreen, 200, 200, 550},
	} {
		k := instant(2 * time.Second)
		k.Lift = c.lift
		d := start(t, k)
		d.feed(20, 124, 0, 0)
		d.must(t, "RED", d.last.Rates.Down, 200*unit.Mbps)
		d.must(t, c.lift.String()+": YELLOW", d.feed(2, 74, 0, 0).Rates.Down, c.yellow*unit.Mbps)
		d.must(t, c.lift.String()+": SOFT_RED", d.feed(1, 74, 0, 0).Rates.Down, c.softRed*unit.Mbps)
		d.must(t, c.lift.String()+": GREEN", d.feed(1, 24, 0, 0).Rates.Down, c.green*unit.Mbps)
	}
	// Where SOFT_RED comes at once, its own floor lifts too.
	d := start(t, instant(10*time.Second))
	d.feed(20, 124, 500, 20)
	d.must(t, "SOFT_RED from RED", d.feed(1, 74, 500, 20).Rates.Down, 275*unit.Mbps)
}

// An upload section with per-state floors has them lift as the download's do.
func TestUploadWithFloors(t *testing.T) {
	k := instant(2 * time.Second)
	k.Up.Floor = [link.States]unit.Rate{link.Green: 20 * unit.Mbps, link.Yellow: 12 * unit.Mbps, link.SoftRed: 12 * unit.Mbps, link.Red: 6 * unit.Mbps}
	d := start(t, k)
	d.must(t, "RED", d.feed(30, 124, 0, 0).Rates.Up, 6*unit.Mbps)
	d.must(t, "YELLOW", d.feed(1, 54, 0, 0).Rates.Up, 12*unit.Mbps)
	d.must(t, "GREEN", d.feed(1, 24, 0, 0).Rates.Up, 20*unit.Mbps)
}

// A decay in YELLOW is a factor per 2 s at any period and stops at the YELLOW floor; under it the rate is held.
func TestYellowDecay(t *testing.T) {
	at := map[time.Duration]unit.Rate{}
	for _, period := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 4 * time.Second} {
		k := instant(period)
		k.Down.FactorDownYellow = 950_000
		d := start(t, k)
		at[period] = d.feed(d.cycles(20*time.Second), 54, 0, 0).Rates.Down
		d.must(t, period.String()+": cause", d.last.Reason.Down.Cause, link.CauseCut)
		d.must(t, period.String()+": the other direction holds", d.last.Rates.Up, 38*unit.Mbps)
		d.must(t, period.String()+": floor", d.feed(d.cycles(time.Minute), 54, 0, 0).Rates.Down, 350*unit.Mbps)
		d.must(t, period.String()+": held there", d.last.Reason.Down.Cause, link.CauseHold)
		d.must(t, period.String()+": RED cuts only", d.Cuts().Down, uint64(0))
	}
	want := 940e6 * math.Pow(0.95, 10)
	for period, got := range at {
		if math.Abs(float64(got)-want) > 1e-4*want {
			t.Errorf("%v: %d bit/s after 20 s, want %.0f", period, got, want)
		}
	}
	k := instant(2 * time.Second)
	k.Down.FactorDownYellow, k.Lift = 950_000, LiftGreen
	d := start(t, k)
	d.feed(20, 124, 0, 0)
	d.must(t, "under the floor", d.feed(20, 54, 0, 0).Rates.Down, 200*unit.Mbps)
}

// GREEN reaches the ceiling exactly and stays.
func TestCeiling(t *testing.T) {
	d := start(t, instant(2*time.Second))
	d.feed(1, 124, 0, 0)
	d.feed(4, 24, 0, 0)
	d.must(t, "799", d.last.Rates.Down, 799*unit.Mbps)
	got := d.feed(15, 24, 0, 0)
	d.must(t, "the last step is shorter", got.Reason.Down, link.Reason{Cause: link.CauseRaise, From: 939 * unit.Mbps, To: 940 * unit.Mbps})
	d.must(t, "then it stays", d.feed(1, 24, 0, 0).Reason.Down, link.Reason{Cause: link.CauseCeiling, From: 940 * unit.Mbps, To: 940 * unit.Mbps})
}

func TestBaseline(t *testing.T) {
	c := spectrum()
	c.AlphaLoad, c.AlphaBaseline = 1, 0.5
	for _, x := range []struct {
		name string
		rtt  unit.Millis
		want unit.Millis
	}{
		{"under the threshold it follows", 26.5, 25.25},
		{"at the threshold it is frozen", 27, 24},
		{"above too", 90, 24},
		{"down it always follows", 4, 14},
	} {
		d := start(t, c)
		d.must(t, x.name, d.feed(1, x.rtt, 0, 0).Baseline, x.want)
	}
	d := start(t, c)
	d.must(t, "not under its bound", d.feed(60, 0.5, 0, 0).Baseline, unit.Millis(1))

	c.BaselineInitial = 0
	d = start(t, c)
	got := d.feed(2, 0, 0, 0)
	d.must(t, "before the first sample", got.Baseline, unit.Millis(0))
	got = d.feed(1, 31, 0, 0)
	d.must(t, "the first sample is the baseline", got.Baseline, unit.Millis(31))
	d.must(t, "and the load", got.Load, unit.Millis(31))
	d = start(t, c)
	d.must(t, "within its bounds", d.feed(1, 800, 0, 0).Baseline, unit.Millis(500))
}

func TestInvalidSamplesSkipTheCycle(t *testing.T) {
	d := start(t, spectrum())
	d.feed(2, 24, 0, 0)
	before := d.feed(3, 100, 0, 0)
	for _, bad := range []unit.Millis{unit.Millis(math.NaN()), -1, 10_000.1, unit.Millis(math.Inf(1)), unit.Millis(math.Inf(-1))} {
		got := d.feed(1, bad, 0, 0)
		if got.Measured || got.Rates != before.Rates || got.State != before.State || got.Load != before.Load || got.Baseline != before.Baseline || got.RTT != 100 {
			t.Errorf("%v: %+v", bad, got)
		}
		d.must(t, "cause", got.Reason.Down, link.Reason{Cause: link.CauseNoReply, From: before.Rates.Down, To: before.Rates.Down})
	}
	if got := d.feed(1, 10_000, 0, 0); !got.Measured {
		t.Error("10 s exactly was not believed")
	}
}

// Time that goes back is ignored; a huge gap is only a gap.
func TestWildClock(t *testing.T) {
	d := start(t, spectrum())
	before := d.feed(5, 300, 0, 0)
	for _, now := range []unit.Time{d.at.Add(-time.Hour), 0, -5, math.MinInt64} {
		got := d.Step(Input{Now: now, RTT: link.RTT{OK: true, Value: 24}})
		if got.Measured || got.Now != before.Now || got.Load != before.Load || got.Rates != before.Rates || got.Reason.Down.Cause != link.CauseHold {
			t.Errorf("a step at %v: %+v", now, got)
		}
	}
	got := d.Step(Input{Now: math.MaxInt64, RTT: link.RTT{OK: true, Value: 24}, Load: link.Load{Known: true, At: math.MinInt64}})
	if !got.Measured || got.Load >= before.Load {
		t.Errorf("a step in 292 years: %+v", got)
	}
	k := start(t, spectrum())
	if got := k.Step(Input{Now: -1, RTT: link.RTT{OK: true, Value: 24}}); got.Measured || got.Rates.Down != 940*unit.Mbps {
		t.Errorf("a first step before the clock's zero: %+v", got)
	}
}

// An outage of any length moves nothing, and the streaks go on where they stopped.
func TestSilence(t *testing.T) {
	d := start(t, instant(2*time.Second))
	d.feed(1, 124, 0, 0)
	before := d.feed(4, 24, 0, 0)
	d.must(t, "four GREEN cycles", before.Reason.Down.Cause, link.CauseHold)
	got := d.feed(3000, 0, 0, 0)
	if got.Measured || got.Rates != before.Rates || got.State != before.State || got.Load != before.Load || len(got.Notes) > 0 {
		t.Errorf("after 100 min of silence: %+v", got)
	}
	d.must(t, "the fifth", d.feed(1, 24, 0, 0).Reason.Down.Cause, link.CauseRaise)
}

// steady returns inputs of a busy line without anything to say.
func steady(n int) []Input {
	ins := make([]Input, n)
	for i := range ins {
		now := boot + unit.Time(i)*unit.Time(50*time.Millisecond)
		ins[i] = Input{
			Now: now, RTT: link.RTT{OK: true, Value: 24 + unit.Millis(i/40%3)*20, At: now, Hosts: 3},
			Replies: []link.Reply{{Host: 0, Sent: now, Received: now, RTT: 24}},
			Load:    link.Load{Known: true, At: now, Rates: link.Rates{Down: 5 * unit.Mbps, Up: 2 * unit.Mbps}},
		}
	}
	return ins
}

func TestNoAllocations(t *testing.T) {
	c := spectrum()
	c.Period = 50 * time.Millisecond
	d := start(t, c)
	ins := steady(2001)
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		d.Step(ins[i])
		i++
	}); n != 0 {
		t.Errorf("%v allocations per step, want 0", n)
	}
}

func BenchmarkStep(b *testing.B) {
	c := spectrum()
	c.Period = 50 * time.Millisecond
	d := start(b, c)
	ins := steady(2000)
	lap := ins[len(ins)-1].Now.Add(c.Period).Sub(ins[0].Now)
	b.ReportAllocs()
	i, by := 0, time.Duration(0)
	for b.Loop() {
		in := ins[i]
		in.Now = in.Now.Add(by)
		in.RTT.At, in.Load.At = in.Now, in.Now
		d.Step(in)
		if i++; i == len(ins) {
			i, by = 0, by+lap
		}
	}
}
