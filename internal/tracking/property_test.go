package tracking

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func drawConfig(t *rapid.T, name string) Config {
	c := Config{Profile: rapid.SampledFrom([]Profile{Balanced, Latency, Throughput}).Draw(t, name+" profile"), Hosts: rapid.IntRange(0, 5).Draw(t, name+" hosts")}
	for _, d := range both {
		lo := rapid.SampledFrom([]int64{0, 1, 64_000, 1_000_000, 90_000_000}).Draw(t, name+" min")
		hi := rapid.SampledFrom([]int64{0, lo, lo + 1, 3 * lo, 100_000_000_000}).Draw(t, name+" max")
		c.Min.Set(d, unit.Rate(lo))
		c.Max.Set(d, unit.Rate(hi))
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("the generator is wrong: %v", err)
	}
	return c
}

// drawn are values that a line gives, and absurd ones that it does not.
var (
	drawnMillis = []float64{0, 0.3, 1, 5, 9, 12, 20, 40, 41, 90, 250, 2000, 9999, -3, 1e12, -1e300, math.MaxFloat64}
	drawnRates  = []unit.Rate{0, 0, 0, 1, 3_000_000, 20_000_000, math.MaxInt64, -1, math.MinInt64}
	drawnBytes  = []unit.Bytes{0, 0, 1, 1500, 20_000, 250_000, 4_000_000, math.MaxInt32, -1500, math.MaxInt64 / 2}
	drawnSteps  = []time.Duration{0, time.Microsecond, time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, 4 * time.Second, time.Hour}
	drawnLates  = []time.Duration{0, 0, 0, time.Millisecond, 20 * time.Millisecond, 75 * time.Millisecond, 2 * time.Second, -time.Second, 24 * time.Hour}
)

func millisOf(t *rapid.T, what string) unit.Millis {
	return unit.Millis(rapid.SampledFrom(drawnMillis).Draw(t, what))
}

// drawInputs draws a line's life in stretches of one kind, with counters that go on, stand, jump and start again, clocks
// that stand still, samples in any order, and rates in force that nobody asked for.
func drawInputs(t *rapid.T) []Input {
	var ins []Input
	now := launch
	var rx, tx unit.Bytes
	for range rapid.IntRange(1, 8).Draw(t, "stretches") {
		step := rapid.SampledFrom(drawnSteps).Draw(t, "step")
		down, up := rapid.SampledFrom(drawnBytes).Draw(t, "down"), rapid.SampledFrom(drawnBytes).Draw(t, "up")
		counters, samples := rapid.IntRange(0, 3).Draw(t, "counters"), rapid.IntRange(0, 3).Draw(t, "samples")
		late, sent := rapid.SampledFrom(drawnLates).Draw(t, "late"), rapid.SampledFrom(drawnLates).Draw(t, "sent before")
		delta, wayDown, wayUp, noise := millisOf(t, "delta"), millisOf(t, "way down"), millisOf(t, "way up"), min(millisOf(t, "noise"), 1e300)
		oneWay := rapid.Bool().Draw(t, "one way")
		grow := unit.Millis(rapid.SampledFrom([]float64{0, 0, 1, 7, -2}).Draw(t, "growth"))
		outside := link.Outside{Minute: rapid.SampledFrom([]int{0, 1, noon, minutesOfDay, minutesOfDay + 1, -1}).Draw(t, "minute"), Blind: rapid.Bool().Draw(t, "blind")}
		silence := link.Silence{Over: millisOf(t, "over"), Hosts: rapid.IntRange(0, 3).Draw(t, "silent hosts")}
		applied := link.Rates{Down: rapid.SampledFrom(drawnRates).Draw(t, "applied"), Up: rapid.SampledFrom(drawnRates).Draw(t, "applied")}
		if rapid.IntRange(0, 9).Draw(t, "counters start again") == 0 {
			rx, tx = 0, 0
		}
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(step)
			in := Input{Now: now, Applied: applied, Outside: outside}
			for k := range counters {
				rx, tx = rx+down, tx+up
				in.Counters = append(in.Counters, link.Counters{At: now.Add(-late).Add(time.Duration(k) * time.Millisecond), Rx: rx, Tx: tx})
			}
			for k := range samples {
				s := link.Sample{Host: (i + k) % 4, Received: now.Add(-late), Delta: delta, Noise: noise, OneWay: oneWay}
				s.Sent = s.Received.Add(-sent)
				if oneWay {
					s.Way = link.Pair[unit.Millis]{Down: wayDown, Up: wayUp}
				}
				in.Samples = append(in.Samples, s)
				delta += grow
			}
			if in.Silence = silence; silence.Hosts > 0 {
				in.Silence.Sent = now.Add(-sent)
			}
			ins = append(ins, in)
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

// Whatever happens, the rates stay within their bounds, and all that is said is finite.
func TestPropertyWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "first")
		k := build(t, c)
		ins := drawInputs(t)
		change := rapid.IntRange(0, 2*len(ins)).Draw(t, "reload at")
		before := link.Rates{Down: k.Rate(link.Down), Up: k.Rate(link.Up)}
		for i, in := range ins {
			if i == change {
				c = drawConfig(t, "second")
				if err := k.Reconfigure(c); err != nil {
					t.Fatal(err)
				}
				k.Restore(link.Rates{Down: rapid.SampledFrom(drawnRates).Draw(t, "restored")})
				before = link.Rates{Down: k.Rate(link.Down), Up: k.Rate(link.Up)}
			}
			got := k.Step(in)
			use, _ := k.Use(in.Now)
			for _, d := range both {
				lo, hi := c.bounds(d)
				if r := got.Rates.Get(d); float64(r) < lo || float64(r) > hi || r <= 0 {
					t.Fatalf("step %d: %v at %d, outside %.0f to %.0f", i, d, r, lo, hi)
				}
				if r := got.Reason.Get(d); r.From != before.Get(d) || r.To != got.Rates.Get(d) {
					t.Fatalf("step %d: %v goes from %d to %d, but the reason says %+v", i, d, before.Get(d), got.Rates.Get(d), r)
				}
				if r := got.Capacity.Get(d); r < 0 {
					t.Fatalf("step %d: %v can carry %d", i, d, r)
				}
				if f := float64(got.Unremovable.Get(d)); !(f >= 0 && f <= worstFloor) {
					t.Fatalf("step %d: %v of %v is unremovable", i, f, d)
				}
				if u := use.Get(d); !(u >= 0) || math.IsInf(u, 0) {
					t.Fatalf("step %d: %v is used by %v", i, d, u)
				}
				w := &k.ways[d]
				for _, x := range []float64{w.rate, w.capacity, w.settled, w.vary, w.climb, w.proven, w.delta, w.on} {
					if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
						t.Fatalf("step %d: %v is in the state %+v", i, d, *w)
					}
				}
			}
			if got.Wake != 0 && got.Wake <= in.Now {
				t.Fatalf("step %d: at %v it wants to be woken at %v", i, in.Now, got.Wake)
			}
			before = got.Rates
		}
	})
}

// alike compares two outputs to the bit.
func alike(a, b Output) bool {
	notes := slices.Equal(a.Notes, b.Notes)
	a.Notes, b.Notes = nil, nil
	return notes && cmp.Equal(a, b)
}

// Equal inputs give equal outputs: nothing but the input decides.
func TestPropertyEqualInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		a, b := build(t, c), build(t, c)
		for i, in := range drawInputs(t) {
			x := a.Step(in)
			if y := b.Step(in); !alike(x, y) {
				t.Fatalf("step %d:\n%s", i, cmp.Diff(x, y))
			}
		}
	})
}

// A step back in time changes nothing.
func TestPropertyBackInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, "the")
		a, b := build(t, c), build(t, c)
		ins := drawInputs(t)
		for i, in := range ins {
			x := a.Step(in)
			if y := b.Step(in); !alike(x, y) {
				t.Fatalf("step %d:\n%s", i, cmp.Diff(x, y))
			}
			if rapid.IntRange(0, 3).Draw(t, "a stray") == 0 {
				stray := rapid.SampledFrom(ins).Draw(t, "which")
				stray.Now = in.Now.Add(-rapid.SampledFrom([]time.Duration{1, time.Millisecond, time.Hour, 1000 * time.Hour}).Draw(t, "ago"))
				if z := b.Step(stray); z.Rates != x.Rates {
					t.Fatalf("step %d: a step back in time went to %v from %v", i, z.Rates, x.Rates)
				}
			}
		}
	})
}

// busy is a controller that has seen two seconds of a line with these loads in Mbit/s, under limits of 100 and rates in
// force that are what limits the loads. The function fills in what the line goes on to tell.
func busy(t *rapid.T, load [2]float64, oneWay bool) (*Controller, unit.Time, func(*Input)) {
	k := build(t, Config{Hosts: 5, Max: link.Rates{Down: mbps(100), Up: mbps(100)}})
	force := link.Rates{Down: mbps(max(load[0], 1)), Up: mbps(max(load[1], 1))}
	k.Restore(force)
	now := launch
	read := func(in *Input) {
		past := in.Now.Sub(launch).Seconds()
		in.Applied = force
		in.Counters = []link.Counters{{At: in.Now, Rx: unit.Bytes(load[0] * 1e6 / 8 * past), Tx: unit.Bytes(load[1] * 1e6 / 8 * past)}}
	}
	for i := range 40 {
		now = now.Add(50 * time.Millisecond)
		in := Input{Now: now, Samples: []link.Sample{{Host: i % 5, Sent: now.Add(-20 * time.Millisecond), Received: now, OneWay: oneWay}}}
		read(&in)
		k.Step(in)
	}
	return k, now, read
}

// The same evidence twice cuts once: a rate is set from what was measured, never from the rate before.
func TestPropertyCutsDoNotCompound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(both[:]).Draw(t, "direction")
		oneWay := rapid.Bool().Draw(t, "one way")
		var load [2]float64
		load[d] = rapid.Float64Range(1, 90).Draw(t, "load")
		k, now, read := busy(t, load, oneWay)
		for range rapid.IntRange(1, 12).Draw(t, "replies") {
			now = now.Add(50 * time.Millisecond)
			delta := unit.Millis(rapid.Float64Range(0, 120).Draw(t, "delta"))
			in := Input{Now: now, Samples: []link.Sample{{
				Host: rapid.IntRange(0, 4).Draw(t, "host"), Received: now, Sent: now.Add(-20 * time.Millisecond).Add(-delta.Duration()), Delta: delta, OneWay: oneWay,
			}}}
			if oneWay {
				in.Samples[0].Way.Set(d, delta)
			}
			read(&in)
			once := k.Step(in)
			for range rapid.IntRange(1, 20).Draw(t, "times") {
				again := k.Step(in)
				if w := &k.ways[d]; again.Rates.Get(d) < once.Rates.Get(d) && w.rate < k.law.share*w.capacity-1 && k.draining(d) {
					t.Fatalf("%v was cut to %v, and to %v by the same reply", d, once.Rates.Get(d), again.Rates.Get(d))
				}
				if w := &k.ways[d]; k.draining(d) && w.rate < leastUp*w.capacity-1 {
					t.Fatalf("%v is at %.0f, of %.0f measured", d, w.rate, w.capacity)
				}
			}
		}
	})
}

// A direction that carries nothing is not cut by round trips, whatever they are, while the other is in use.
func TestPropertyIdleIsNotCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(both[:]).Draw(t, "idle direction")
		var load [2]float64
		load[1-d] = rapid.Float64Range(1, 90).Draw(t, "load")
		k, now, read := busy(t, load, false)
		before := k.Rate(d)
		for i := range rapid.IntRange(1, 60).Draw(t, "replies") {
			now = now.Add(50 * time.Millisecond)
			delta := unit.Millis(rapid.Float64Range(0, 200).Draw(t, "delta"))
			in := Input{Now: now, Samples: []link.Sample{{Host: i % 5, Received: now, Sent: now.Add(-20 * time.Millisecond).Add(-delta.Duration()), Delta: delta}}}
			if rapid.IntRange(0, 4).Draw(t, "silent") == 0 {
				in.Samples = nil
				in.Silence = link.Silence{Sent: now.Add(-100 * time.Millisecond), Over: delta, Hosts: 2}
			}
			read(&in)
			if got := k.Step(in).Rates.Get(d); got < before {
				t.Fatalf("after %d replies the idle %v is cut from %v to %v", i+1, d, before, got)
			}
		}
	})
}

// Growth does not run ahead of what is in force by more than a quarter, however long the router takes.
func TestPropertyGrowthIsBoundByApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(both[:]).Draw(t, "direction")
		oneWay := rapid.Bool().Draw(t, "one way")
		var load [2]float64
		load[d] = rapid.Float64Range(1, 70).Draw(t, "load")
		k, now, read := busy(t, load, oneWay)
		limit := unit.Rate(mostAhead*load[d]*1e6) + 1
		for i := range rapid.IntRange(20, 80).Draw(t, "replies") {
			now = now.Add(rapid.SampledFrom([]time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 90 * time.Millisecond}).Draw(t, "step"))
			delta := unit.Millis(rapid.Float64Range(0, 3).Draw(t, "delta"))
			in := Input{Now: now, Samples: []link.Sample{{Host: i % 5, Received: now, Sent: now.Add(-20 * time.Millisecond), Delta: delta, OneWay: oneWay}}}
			read(&in)
			if got := k.Step(in).Rates.Get(d); got > limit {
				t.Fatalf("after %d replies %v grows to %v while %v Mbit/s are in force", i+1, d, got, load[d])
			}
		}
	})
}
