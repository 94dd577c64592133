package tracking

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const noon = 12*60 + 1

// day is a memory of a line that carried these rates, in Mbit/s, in both directions at noon.
func day(rates ...float64) (m Memory) {
	for _, r := range rates {
		m.Down[slots/2] = append(m.Down[slots/2], mbps(r))
	}
	m.Up = m.Down
	return m
}

// idle lets a controller see a line that carries next to nothing, replies and counters included, and returns what it does
// on the way.
func idle(c *Controller, from unit.Time, span time.Duration, minute int, each func(Output)) unit.Time {
	var moved unit.Bytes
	if c.ledger.n > 0 {
		moved = unit.Bytes(c.ledger.newest(0).moved[link.Down] / 8)
	}
	end := from.Add(span)
	for i := 0; from < end; i++ {
		from, moved = from.Add(500*time.Millisecond), moved+200
		each(c.Step(Input{
			Now: from, Counters: []link.Counters{{At: from, Rx: moved, Tx: moved}}, Outside: link.Outside{Minute: minute},
			Samples: []link.Sample{{Host: i % 5, Sent: from.Add(-20 * time.Millisecond), Received: from}},
		}))
	}
	return from
}

// An idle line goes to what it carried at this time of day, each profile to its own part of it; from above it does not, at
// another time of day neither, and a few figures are no memory.
func TestUsualRate(t *testing.T) {
	week := day(31, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40)
	for _, x := range []struct {
		name    string
		profile Profile
		memory  Memory
		start   float64
		minute  int
		want    float64
	}{
		{"balanced", Balanced, week, 10, noon, 0.98 * 35},
		{"latency", Latency, week, 10, noon, 0.95 * 32},
		{"throughput", Throughput, week, 10, noon, 37},
		{"the newest count", Balanced, day(90, 90, 90, 90, 90, 90, 90, 90, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20), 10, noon, 0.98 * 20},
		{"from above", Balanced, week, 60, noon, 60},
		{"near", Balanced, week, 33.9, noon, 33.9},
		{"at night", Balanced, week, 10, 1, 10},
		{"at no time", Balanced, week, 10, 0, 10},
		{"at a time that is none", Balanced, week, 10, 1441, 10},
		{"hardly any", Balanced, day(35, 35, 35, 35, 35, 35, 35), 10, noon, 10},
		{"none", Balanced, Memory{}, 10, noon, 10},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, err := New(Config{Profile: x.profile, Hosts: 5, Max: link.Rates{Down: mbps(80), Up: mbps(80)}})
			if err != nil {
				t.Fatal(err)
			}
			c.Restore(link.Rates{Down: mbps(x.start), Up: mbps(x.start)})
			c.Remember(x.memory)
			steps := 0
			at := idle(c, launch, usualEvery-s, x.minute, func(o Output) {
				if r := o.Rates.Down.Mbps(); r != x.start {
					t.Fatalf("at %v before it has been idle for long", r)
				}
			})
			idle(c, at, 4*time.Minute, x.minute, func(o Output) {
				for _, d := range both {
					if why := o.Reason.Get(d); why.From != why.To {
						steps++
						if why.Cause != link.CauseUsual {
							t.Fatalf("%v goes from %v to %v because of %v", d, why.From, why.To, why.Cause)
						}
					}
				}
			})
			got := c.Rate(link.Up).Mbps()
			if got < (1-usualNear)*x.want-0.001 || got > x.want+0.001 {
				t.Errorf("an idle line is at %.2f Mbit/s after four minutes, want %.2f", got, x.want)
			}
			if steps > 2*12 {
				t.Errorf("it took %d steps, each of which a router may save to flash", steps)
			}
		})
	}
}

// A line that nobody counts, or whose probes nobody answers, is not known to be idle.
func TestUsualRateNeedsAnIdleLine(t *testing.T) {
	for name, leaveOut := range map[string]func(*Input){
		"no counters": func(in *Input) { in.Counters = nil },
		"no replies":  func(in *Input) { in.Samples = nil },
	} {
		c, err := New(sold(40, 10))
		if err != nil {
			t.Fatal(err)
		}
		c.Restore(link.Rates{Down: mbps(10), Up: mbps(4)})
		c.Remember(day(35, 35, 35, 35, 35, 35, 35, 35))
		at := idle(c, launch, s, noon, func(Output) {})
		for i := range 200 {
			at = at.Add(500 * time.Millisecond)
			in := Input{
				Now: at, Counters: []link.Counters{{At: at, Rx: 1000, Tx: 1000}}, Outside: link.Outside{Minute: noon},
				Samples: []link.Sample{{Host: i % 5, Sent: at.Add(-20 * time.Millisecond), Received: at}},
			}
			leaveOut(&in)
			c.Step(in)
		}
		if r := c.Rate(link.Down); r != mbps(10) {
			t.Errorf("%s: the rate is %v, want that of before", name, r)
		}
	}
}

// What a line carries is remembered where it was measured: 20 s apart at first, so that a short use does not fill a day.
func TestRemembers(t *testing.T) {
	for _, d := range both {
		p := alone(t, sold(40, 10), d, 40, 10)
		p.outside.Minute = noon
		p.run(65 * s)
		m := p.ctl.Memory()
		for i, got := range link.Pair[[slots]Measured](m).Get(d) {
			if i != slots/2 {
				if len(got) > 0 {
					t.Errorf("%v: slot %d has %v", d, i, got)
				}
				continue
			}
			if len(got) < 3 || len(got) > 4 {
				t.Errorf("%v: %d capacities were kept in 65 s", d, len(got))
			}
			full := []float64{40, 10}[d]
			for _, r := range got {
				if r.Mbps() < 0.9*full || r.Mbps() > 1.05*full {
					t.Errorf("%v: %v was kept of a line of %v", d, r, full)
				}
			}
		}
		if got := link.Pair[[slots]Measured](m).Get(1 - d); len(slices.Concat(got[:]...)) > 0 {
			t.Errorf("the idle direction has %v", got)
		}
		c, err := New(sold(40, 10))
		if err != nil {
			t.Fatal(err)
		}
		c.Remember(m)
		if again := c.Memory(); !cmp.Equal(m, again) {
			t.Errorf("taken over as\n%s", cmp.Diff(m, again))
		}
	}
}

func TestMeasuredText(t *testing.T) {
	want := Measured{1, 256_000, unit.MaxRate}
	b, err := want.MarshalText()
	var got Measured
	if err != nil || got.UnmarshalText(b) != nil || !cmp.Equal(want, got) {
		t.Errorf("%v prints %q, %v, and reads as %v", want, b, err, got)
	}
	if got.UnmarshalText(nil) != nil || got != nil {
		t.Errorf("nothing reads as %v", got)
	}
	for _, bad := range []string{"x", "0", "-5", "1.5", "100000000001", strings.Repeat("7 ", kepts+1)} {
		if err := got.UnmarshalText([]byte(bad)); err == nil || !strings.Contains(err.Error(), "want up to 16 whole numbers") {
			t.Errorf("%q reads as %v, %v", bad, got, err)
		}
	}
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Remember(Memory{Down: [slots]Measured{{-1, 0, unit.MaxRate + 1}}})
	if m := c.Memory(); len(m.Down[0]) > 0 {
		t.Errorf("%v were taken over", m.Down[0])
	}
}

// Whatever was remembered, the rate of an idle line only rises, to nothing that was never measured, and never leaves its
// limits.
func TestPropertyUsualIsMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t, "the")
		c := build(t, cfg)
		rate := rapid.Map(rapid.Float64Range(1, 99_000), mbps)
		past := rapid.SliceOfN(rate, 0, 40).Draw(t, "measured")
		if rapid.Bool().Draw(t, "a line that hardly varies") {
			for i := range past {
				past[i] = past[0] + unit.Rate(i)
			}
		}
		var m Memory
		m.Down[slots/2], m.Up[slots/2] = past, past
		c.Remember(m)
		c.Restore(link.Rates{Down: rate.Draw(t, "down"), Up: rate.Draw(t, "up")})
		most := unit.Rate(0)
		for _, r := range past {
			most = max(most, r)
		}
		idle(c, launch, 3*time.Minute, noon, func(o Output) {
			for _, d := range both {
				why := o.Reason.Get(d)
				lo, hi := cfg.bounds(d)
				if why.To < why.From || why.To > why.From && (float64(why.To) > max(float64(most), lo) || len(past) < enough) {
					t.Fatalf("%v goes from %d to %d, and %d was the most that was ever measured", d, why.From, why.To, most)
				}
				if float64(why.To) < lo || float64(why.To) > hi {
					t.Fatalf("%v is at %d, outside %.0f to %.0f", d, why.To, lo, hi)
				}
			}
		})
	})
}

// A line whose counters were read as often as 32 bits count goes on.
func TestLedgerAfterTwoYears(t *testing.T) {
	l := ledger{n: math.MaxInt32 - 3}
	if unsafe.Sizeof(l.n) != 8 {
		t.Fatal("the count of readings is not of 64 bits on every machine")
	}
	for i := range 10 {
		l.add(link.Counters{At: unit.Time(i+1) * unit.Time(time.Second), Rx: unit.Bytes(i) * 1000})
	}
	if got := l.newest(0); l.size() != kept || got.at != unit.Time(10*time.Second) || got.moved[link.Down] != 72_000 {
		t.Errorf("%+v, %d kept", got, l.size())
	}
}
