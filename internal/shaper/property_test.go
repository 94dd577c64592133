package shaper

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// drawConfig draws any valid configuration, from lines of a few Mbit/s to a Gbit/s.
func drawConfig(t *rapid.T, name string) Config {
	period := rapid.SampledFrom([]time.Duration{50 * time.Millisecond, 333 * time.Millisecond, time.Second, 2 * time.Second, 7 * time.Second, time.Minute})
	c := Config{
		Period:      period.Draw(t, name+" period"),
		BaselineMin: 1, BaselineMax: 500,
		BaselineInitial: unit.Millis(rapid.SampledFrom([]float64{0, 1, 24, 500}).Draw(t, name+" initial baseline")),
		AlphaBaseline:   rapid.Float64Range(0.001, 1).Draw(t, name+" alpha baseline"),
		AlphaLoad:       rapid.Float64Range(0.01, 1).Draw(t, name+" alpha load"),
		BaselineUpdate:  unit.Millis(rapid.Float64Range(0.5, 10).Draw(t, name+" update threshold")),
		SoftRed:         rapid.SampledFrom([]SoftRedAction{Clamp, Hold}).Draw(t, name+" soft red"),
		Lift:            rapid.SampledFrom([]FloorLift{LiftState, LiftGreen}).Draw(t, name+" lift"),
		CutInterval:     rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 2 * time.Second, 10 * time.Second}).Draw(t, name+" cut interval"),
		RebaselineAfter: rapid.SampledFrom([]time.Duration{5 * time.Second, 2 * time.Minute, 10 * time.Minute}).Draw(t, name+" rebaseline"),
		Down:            drawDirection(t, name+" down"),
		Up:              drawDirection(t, name+" up"),
	}
	c.Down.FourState = rapid.Bool().Draw(t, name+" four states")
	if err := c.Validate(); err != nil {
		t.Fatalf("the generator is wrong: %v", err)
	}
	return c
}

func drawDirection(t *rapid.T, name string) Direction {
	grow := func(from unit.Rate, what string) unit.Rate {
		return from + unit.Rate(rapid.Int64Range(0, 300_000_000).Draw(t, name+" "+what))
	}
	var d Direction
	d.Floor[link.Red] = unit.Rate(rapid.Int64Range(1, 50_000_000).Draw(t, name+" red floor"))
	d.Floor[link.SoftRed] = grow(d.Floor[link.Red], "soft-red floor")
	d.Floor[link.Yellow] = grow(d.Floor[link.SoftRed], "yellow floor")
	d.Floor[link.Green] = grow(d.Floor[link.Yellow], "green floor")
	d.Ceiling = grow(d.Floor[link.Green], "ceiling")
	d.StepUp = unit.Rate(rapid.Int64Range(1, 100_000_000).Draw(t, name+" step"))
	d.FactorDown = unit.PPM(rapid.Int64Range(100_000, 1_000_000).Draw(t, name+" factor"))
	d.FactorDownYellow = unit.PPM(rapid.SampledFrom([]int64{1_000_000, 990_000, 500_000}).Draw(t, name+" yellow factor"))
	d.Target = unit.Millis(rapid.Float64Range(0.5, 20).Draw(t, name+" target"))
	d.Warn = d.Target + unit.Millis(rapid.Float64Range(0.5, 40).Draw(t, name+" warn"))
	d.Critical = d.Warn + unit.Millis(rapid.Float64Range(0.5, 60).Draw(t, name+" critical"))
	return d
}

// drawInputs draws a line's life: stretches of one kind of weather, with silence, impossible samples, jumps of the
// clock in both directions, and now and then a stretch long enough for a test dip.
func drawInputs(t *rapid.T, period time.Duration) []Input {
	var ins []Input
	now := boot
	for range rapid.IntRange(1, 12).Draw(t, "stretches") {
		rtt := unit.Millis(rapid.SampledFrom([]float64{0, 20, 24, 27, 31, 38, 60, 90, 150, 400, 9999, 10_001, -3, math.NaN(), math.Inf(1)}).Draw(t, "rtt"))
		n := rapid.IntRange(1, 40).Draw(t, "cycles")
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			n = min(int(40*time.Minute/period), 3000)
		}
		load := link.Load{
			Known: rapid.IntRange(0, 3).Draw(t, "known") > 0,
			Rates: link.Rates{
				Down: unit.Rate(rapid.SampledFrom([]int64{0, 900_000, 40_000_000}).Draw(t, "down")),
				Up:   unit.Rate(rapid.SampledFrom([]int64{0, 900_000, 2_000_000}).Draw(t, "up")),
			},
		}
		late := time.Duration(rapid.SampledFrom([]int64{0, 0, 1, 9}).Draw(t, "load age")) * time.Second
		sink := unit.Millis(rapid.SampledFrom([]float64{0, 0, 100}).Draw(t, "fall in a dip"))
		switch rapid.IntRange(0, 11).Draw(t, "clock") {
		case 0:
			now = now.Add(rapid.SampledFrom([]time.Duration{time.Hour, 24 * time.Hour, 300 * 24 * time.Hour}).Draw(t, "forward"))
		case 1:
			ins = append(ins, Input{Now: now.Add(-time.Hour), RTT: link.RTT{OK: true, Value: 30}}, Input{Now: -1})
		}
		for i := range n {
			jitter := unit.Millis(i%5) / 4
			in := Input{Now: now, Load: load, RTT: link.RTT{OK: rtt != 0, Value: rtt + jitter, At: now, Hosts: 2}}
			in.Load.At = now.Add(-late)
			for h := range 2 {
				in.Replies = append(in.Replies, link.Reply{Host: h, Sent: now.Add(-period / 2), Received: now, RTT: rtt + jitter - sink})
			}
			ins = append(ins, in)
			now = now.Add(period)
		}
	}
	return ins
}

func build(t *rapid.T, c Config) *Controller {
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Whatever happens, a rate stays between the lowest floor and the ceiling, and off a test dip not under the floor of
// its state where that floor lifts.
func TestPropertyWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "first")
		k := build(t, c)
		ins := drawInputs(t, c.Period)
		change := rapid.IntRange(0, 2*len(ins)).Draw(t, "reload at")
		for i, in := range ins {
			if i == change {
				c = drawConfig(t, "second")
				if err := k.Reconfigure(c); err != nil {
					t.Fatal(err)
				}
			}
			got := k.Step(in)
			for _, dir := range directions {
				d, rate, state := c.direction(dir), got.Rates.Get(dir), got.State.Get(dir)
				if rate < d.Floor[link.Red] || rate > d.Ceiling {
					t.Fatalf("step %d: %v at %d, outside %d to %d", i, dir, rate, d.Floor[link.Red], d.Ceiling)
				}
				cause := got.Reason.Get(dir).Cause
				if !got.Measured || cause == link.CauseDip {
					continue
				}
				if (c.Lift == LiftState || state == link.Green) && rate < d.Floor[state] {
					t.Fatalf("step %d: %v %v at %d, under its floor %d", i, dir, state, rate, d.Floor[state])
				}
				if state == link.SoftRed && c.SoftRed == Clamp && rate > d.Floor[state] {
					t.Fatalf("step %d: %v SOFT_RED at %d, over %d", i, dir, rate, d.Floor[state])
				}
			}
			if got.Measured && (got.Baseline < c.BaselineMin || got.Baseline > c.BaselineMax || math.IsNaN(float64(got.Delta)) || got.Load <= 0) {
				t.Fatalf("step %d: load %v, baseline %v, delta %v", i, got.Load, got.Baseline, got.Delta)
			}
		}
	})
}

// says reports whether a decision carries a note of that key.
func says(d link.Decision, key string) bool {
	return slices.ContainsFunc(d.Notes, func(n link.Note) bool { return n.Key == key })
}

// In GREEN no rate ever falls, a test dip apart. A skipped cycle moves nothing, a dip's end apart.
func TestPropertyNoDecreaseInGreen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		k := build(t, c)
		before := k.Rates()
		for i, in := range drawInputs(t, c.Period) {
			got := k.Step(in)
			for _, dir := range directions {
				r := got.Reason.Get(dir)
				if r.From != before.Get(dir) || r.To != got.Rates.Get(dir) {
					t.Fatalf("step %d: %v %d → %d, but the reason says %+v", i, dir, before.Get(dir), got.Rates.Get(dir), r)
				}
				if r.Cause == link.CauseDip {
					if r.To < r.From && !says(got, "test_dip") {
						t.Fatalf("step %d: %v fell for a test dip that did not begin, %d → %d", i, dir, r.From, r.To)
					}
					continue
				}
				if got.Measured && got.State.Get(dir) == link.Green && r.To < r.From {
					t.Fatalf("step %d: %v fell in GREEN, %d → %d (%v)", i, dir, r.From, r.To, r.Cause)
				}
				if !got.Measured && r.To != r.From {
					t.Fatalf("step %d: %v moved in a skipped cycle, %d → %d (%v)", i, dir, r.From, r.To, r.Cause)
				}
			}
			before = got.Rates
		}
	})
}

// same compares two decisions to the bit.
func same(a, b link.Decision) bool {
	if !slices.Equal(a.Notes, b.Notes) {
		return false
	}
	return a.Now == b.Now && a.Measured == b.Measured && a.RTT == b.RTT && a.Load == b.Load && a.Baseline == b.Baseline &&
		a.Delta == b.Delta && a.State == b.State && a.Rates == b.Rates && a.Reason == b.Reason
}

// Equal inputs give equal outputs: nothing but the input decides.
func TestPropertyEqualInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		a, b := build(t, c), build(t, c)
		for i, in := range drawInputs(t, c.Period) {
			x := a.Step(in)
			y := b.Step(in)
			if !same(x, y) {
				t.Fatalf("step %d:\n%s", i, cmp.Diff(x, y))
			}
		}
		if diff := cmp.Diff(a.Snapshot(), b.Snapshot()); diff != "" {
			t.Fatalf("snapshots:\n%s", diff)
		}
	})
}

// A controller restored from a snapshot, through JSON, goes on exactly as the one it was taken from.
func TestPropertyRestoreContinues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		a := build(t, c)
		b := a
		ins := drawInputs(t, c.Period)
		at := rapid.IntRange(1, len(ins)).Draw(t, "restart at")
		if dips := dipSteps(build(t, c), ins); len(dips) > 0 && rapid.Bool().Draw(t, "restart in a dip") {
			at = rapid.SampledFrom(dips).Draw(t, "which moment")
		}
		for i, in := range ins {
			if i == at {
				text, err := json.Marshal(a.Snapshot())
				if err != nil {
					t.Fatal(err)
				}
				var s Snapshot
				if err := json.Unmarshal(text, &s); err != nil {
					t.Fatal(err)
				}
				b = build(t, c)
				b.Restore(s)
			}
			if a.started && in.Now < a.now {
				continue // a restored controller may not know yet that the clock must not go back
			}
			x := a.Step(in)
			if i < at {
				continue
			}
			if y := b.Step(in); !same(x, y) {
				t.Fatalf("step %d, restarted at %d:\n%s", i, at, cmp.Diff(x, y))
			}
		}
		if diff := cmp.Diff(a.Snapshot(), b.Snapshot()); diff != "" {
			t.Fatalf("snapshots:\n%s", diff)
		}
	})
}

// dipSteps returns before which steps a test dip is in progress or waits for its judgement.
func dipSteps(k *Controller, ins []Input) (at []int) {
	for i, in := range ins {
		if i > 0 && k.path.dip.phase != noDip {
			at = append(at, i)
		}
		k.Step(in)
	}
	return at
}

// The baseline never rises on a sample taken while the delay is high, except where a note says so.
func TestPropertyBaselineFrozenUnderLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		c.BaselineInitial = 24
		k := build(t, c)
		before := unit.Millis(24)
		for i, in := range drawInputs(t, c.Period) {
			got := k.Step(in)
			if got.Baseline > before && !says(got, "baseline_moved") && got.Load-before >= c.BaselineUpdate {
				t.Fatalf("step %d: baseline %v → %v at load %v without a note", i, before, got.Baseline, got.Load)
			}
			before = got.Baseline
		}
	})
}

// line is a closed loop: over its capacity each Mbit/s of rate costs a fixed delay, as on a provider's managed queue.
type line struct {
	base, slope, capacity float64 // ms, ms per Mbit/s, Mbit/s of download
	extra                 float64 // ms that no rate removes
}

func (l line) rtt(r link.Rates) unit.Millis {
	return unit.Millis(l.base + l.extra + min(l.slope*max(0, r.Down.Mbps()-l.capacity), 400))
}

func (l line) play(k *drive, d time.Duration) link.Decision {
	for range k.cycles(d) {
		k.one(l.rtt(k.Rates()), link.Load{}, nil)
	}
	return k.last
}

// One configuration means the same at 50 ms and at 2 s: a shock of a given length takes the rate down as far (give or
// take two cuts, since the slow loop may notice a cycle later or earlier), and under constant conditions both settle at
// the same rates within 2 %. Before those begin both have been on their floors and have come back from below, because
// where a rate is held in YELLOW depends on where it came from.
//
// Constant conditions are a round trip that does not depend on the rate, for every step that a configuration may have;
// or a line whose delay answers the rate, for steps that it can bear. A rate in GREEN rises by a step per 2 s, and the
// average is 1/alpha_load of those behind: what GREEN ends at is exceeded by up to step / alpha_load · (ms per Mbit/s).
// Where that is more than warn_bloat_ms − target_bloat_ms, YELLOW is passed through, the rate is cut or clamped and climbs
// again: a limit cycle, at any speed, whose rates nobody can compare. The line's delay rises faster than the baseline can
// follow: a creeping one is absorbed, and where it stops being absorbed is a knife's edge.
func TestPropertySameRatesAtEverySpeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := spectrum()
		c.AlphaLoad = rapid.Float64Range(0.1, 0.5).Draw(t, "alpha load")
		c.AlphaBaseline = rapid.Float64Range(0.002, 0.02).Draw(t, "alpha baseline")
		c.Lift = rapid.SampledFrom([]FloorLift{LiftState, LiftGreen}).Draw(t, "lift")
		c.SoftRed = rapid.SampledFrom([]SoftRedAction{Clamp, Hold}).Draw(t, "soft red")
		c.Down.FourState = rapid.Bool().Draw(t, "four states")
		c.Down.FactorDown = unit.PPM(rapid.Int64Range(700_000, 950_000).Draw(t, "factor"))
		c.Down.FactorDownYellow = unit.PPM(rapid.SampledFrom([]int64{1_000_000, 1_000_000, 950_000}).Draw(t, "yellow factor"))
		shock := line{base: 24, extra: rapid.Float64Range(85, 300).Draw(t, "shock")}
		length := time.Duration(rapid.IntRange(4, 40).Draw(t, "shock seconds")) * time.Second
		after := line{base: 24, capacity: rapid.Float64Range(700, 1000).Draw(t, "capacity")}
		recovery := 3 * time.Minute
		if rapid.Bool().Draw(t, "the delay answers the rate") {
			recovery = 20 * time.Second // still under the capacity, which both then meet from below
			c.Down.StepUp = unit.Rate(rapid.Int64Range(1_000_000, 10_000_000).Draw(t, "step"))
			band := float64(c.Down.Warn - c.Down.Target)
			after.slope = rapid.Float64Range(0.3, 0.8*band*c.AlphaLoad).Draw(t, "ms per step") / c.Down.StepUp.Mbps()
		} else {
			c.Down.StepUp = rapid.OneOf(
				rapid.SampledFrom([]unit.Rate{100 * unit.Kbps, 10 * unit.Mbps, 1000 * unit.Mbps}), // the bounds and the default
				rapid.Map(rapid.Int64Range(100_000, 1_000_000_000), func(n int64) unit.Rate { return unit.Rate(n) }),
			).Draw(t, "any step")
			after.extra = rapid.SampledFrom([]float64{0, 2, 30, 60, 120}).Draw(t, "lasting delay")
		}
		if c.Down.FactorDownYellow < unit.One {
			// A decay in YELLOW never settles at a capacity, and what it leaves for SOFT_RED to hold is a transient.
			after.capacity, c.SoftRed = 1000, Clamp
		}

		run := func(period time.Duration) (atShock link.Decision, settled link.Decision) {
			f := c
			f.Period = period
			k := start(t, f)
			line{base: 24}.play(k, 20*time.Second)
			atShock = shock.play(k, length)
			line{base: 24, extra: 300}.play(k, 2*time.Minute)
			line{base: 24}.play(k, recovery)
			return atShock, after.play(k, 15*time.Minute)
		}
		slowShock, slow := run(2 * time.Second)
		fastShock, fast := run(50 * time.Millisecond)
		for _, dir := range directions {
			factor := math.Pow(c.direction(dir).FactorDown.Factor(), 2) * 0.999
			a, b := slowShock.Rates.Get(dir).Mbps(), fastShock.Rates.Get(dir).Mbps()
			red := slowShock.State.Get(dir) == link.Red && fastShock.State.Get(dir) == link.Red
			clamped := c.direction(dir).FourState && c.SoftRed == Clamp
			if red && !clamped && (a < b*factor || b < a*factor) {
				t.Fatalf("%v after the shock: %.3f Mbit/s at 2 s, %.3f at 50 ms", dir, a, b)
			}
			a, b = slow.Rates.Get(dir).Mbps(), fast.Rates.Get(dir).Mbps()
			if math.Abs(a-b) > 0.02*max(a, b) {
				t.Fatalf("%v settles at %.3f Mbit/s at 2 s (%v), at %.3f at 50 ms (%v)", dir, a, slow.State.Get(dir), b, fast.State.Get(dir))
			}
		}
	})
}

// The other side of that bound, at the default step: what a line can bear settles, what it cannot makes a limit cycle.
func TestStepThatALineCannotBear(t *testing.T) {
	for _, period := range []time.Duration{2 * time.Second, 50 * time.Millisecond} {
		for slope, settles := range map[float64]bool{0.5: true, 1.2: false} { // 25 and 60 ms, where the band is 30
			c := spectrum()
			c.Period = period
			k := start(t, c)
			line{base: 24, extra: 300}.play(k, 2*time.Minute)
			l := line{base: 24, slope: slope, capacity: 800}
			l.play(k, 15*time.Minute)
			low, high := k.Rates().Down, k.Rates().Down
			for range 150 {
				r := l.play(k, 2*time.Second).Rates.Down
				low, high = min(low, r), max(high, r)
			}
			if got := low == high; got != settles || !settles && low > high/2 {
				t.Errorf("%g ms per Mbit/s at %s: between %s and %s", slope, period, low, high)
			}
		}
	}
}
