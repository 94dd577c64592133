package actuate

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/archtest/mutant"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }

func drawConfig(t *rapid.T) Config {
	return Config{
		Ceiling:        mb(95, 18),
		Burst:          rapid.SampledFrom([]int{1, 2, 5, 20}).Draw(t, "burst"),
		Daily:          rapid.SampledFrom([]int{0, 5, 40, 5000}).Draw(t, "daily"),
		StaticDeadBand: unit.PPM(rapid.SampledFrom([]int{0, 0, 30_000}).Draw(t, "band")),
		Reads:          rapid.Bool().Draw(t, "reads"),
		Quantum:        unit.Rate(rapid.SampledFrom([]int{0, 8, 1000}).Draw(t, "quantum")),
	}
}

func drawBench(t *rapid.T, cfg Config) *bench {
	b := newBench(cfg, mb(
		rapid.Float64Range(0, 120).Draw(t, "held down"), rapid.Float64Range(1, 30).Draw(t, "held up")))
	b.quiet = true
	b.Cycle = rapid.SampledFrom([]time.Duration{ms(200), ms(500), 2 * time.Second, 10 * time.Second}).Draw(t, "cycle")
	b.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
	return b
}

// drawWant draws sound rates and, now and then, ones that no controller should ever want.
func drawWant(t *rapid.T) link.Rates {
	r := mb(rapid.Float64Range(1, 95).Draw(t, "down"), rapid.Float64Range(1, 18).Draw(t, "up"))
	switch rapid.IntRange(0, 9).Draw(t, "odd") {
	case 0:
		r.Down = 0
	case 1:
		r.Up = -5
	case 2:
		r.Down = 500 * mbit
	}
	return r
}

// play lets the controller decide and, if troubled, the router fail, for a while.
func play(t *rapid.T, b *bench, troubled bool) {
	for range rapid.IntRange(1, 40).Draw(t, "acts") {
		kind := rapid.IntRange(0, 3).Draw(t, "act")
		if troubled && rapid.Bool().Draw(t, "trouble") {
			kind = rapid.IntRange(4, 11).Draw(t, "which")
		}
		switch kind {
		case 0, 1:
			b.decide(drawWant(t))
		case 2:
			b.Router.Latency = ms(rapid.IntRange(1, 4000).Draw(t, "latency"))
		case 3:
			b.run(time.Duration(rapid.IntRange(1, 90_000).Draw(t, "run ms")) * time.Millisecond)
		case 4:
			b.Router.Fault = failing(Transient, "unreachable")
		case 5:
			b.Router.LoseReply = true
		case 6:
			b.Router.Fault = failing(Misconfigured, "no such queue")
		case 7:
			b.Router.Fault = func(op Op) (Result, bool) {
				if op.Write {
					b.Router.set(link.Rates{Up: op.Want.Up})
				}
				return Result{Err: errors.New("no download queue"), Class: Misconfigured, Read: link.Pair[bool]{Up: true}, Report: b.Router.report(b.now)}, true
			}
		case 8:
			b.Router.Fault = func(op Op) (Result, bool) {
				return Result{Err: errors.New("read only"), Class: Misconfigured, Sent: true}, op.Write
			}
		case 9:
			b.Router.Boot, b.Router.moved = b.now, link.Pair[unit.Bytes]{}
		case 10:
			b.Router.Rates = mb(float64(rapid.IntRange(0, 200).Draw(t, "foreign down")), 18)
		case 11:
			b.Router.Fault = nil
		}
		b.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause ms")) * time.Millisecond)
	}
}

// TestPropertyCutAtOnce: whenever a read-back rate is above the wanted one and the router answers, the cut is in the
// operation issued in that very Step, or one is still in flight. No budget, band or foreign writer delays it.
func TestPropertyCutAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBench(t, drawConfig(t))
		b.seen = func(_ Input, out Output) {
			if out.Status.Link != Connected || (out.Status.InFlight && out.Op == nil) {
				return
			}
			for _, d := range both {
				want := out.Status.Want.Get(d)
				if want == 0 || !out.Confirmed.Get(d) || !over(out.Applied.Get(d), want) {
					continue
				}
				if out.Op == nil || !out.Op.Write || out.Op.Want.Get(d) != want {
					t.Fatalf("%s: router holds %s %s, wanted %s, but the operation is %+v", b.now, d, say(out.Applied.Get(d)), say(want), out.Op)
				}
			}
		}
		b.Router.Fault = nil
		for range 4 {
			play(t, b, false)
			b.Router.Rates.Down = unit.Rate(rapid.IntRange(0, 200).Draw(t, "foreign")) * mbit
			b.Router.LoseReply = rapid.Bool().Draw(t, "lose")
			b.run(time.Duration(rapid.IntRange(0, 5000).Draw(t, "after ms")) * time.Millisecond)
		}
	})
}

// TestPropertyBounds: whatever is wanted and whatever fails, nothing above the ceiling and nothing that means
// "unlimited" is ever written, and a write always writes something.
func TestPropertyBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		b := drawBench(t, cfg)
		b.seen = func(_ Input, out Output) {
			if out.Op == nil || !out.Op.Write {
				return
			}
			if out.Op.Want == (link.Rates{}) {
				t.Fatalf("%s: a write without a rate", b.now)
			}
			for _, d := range both {
				if w := out.Op.Want.Get(d); w < 0 || w > cfg.Ceiling.Get(d) {
					t.Fatalf("%s: %s would be set to %s, ceiling %s", b.now, d, say(w), say(cfg.Ceiling.Get(d)))
				}
				if w := out.Op.Want.Get(d); cfg.Quantum > 0 && w%cfg.Quantum != 0 {
					t.Fatalf("%s: %s would be set to %d bit/s, and the router keeps multiples of %d", b.now, d, w, cfg.Quantum)
				}
			}
		}
		play(t, b, true)
		for _, m := range []ExitMode{ExitBase, ExitLast, ExitCeiling} {
			base := drawWant(t)
			out := b.Act.Exit(m, base)
			for _, d := range both {
				if w := out.Get(d); w <= 0 || w > cfg.Ceiling.Get(d) {
					t.Fatalf("exit %s with base %s leaves %s %d", m, rates(base), d, w)
				}
			}
		}
	})
}

// TestPropertyNoIdleWrites: a write changes each rate it names, and a sound router sees at most one write per
// change of decision.
func TestPropertyNoIdleWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		troubled := rapid.Bool().Draw(t, "troubled")
		b := drawBench(t, drawConfig(t))
		var last link.Rates
		changes := 0
		b.seen = func(_ Input, out Output) {
			if w := out.Status.Want; w != last {
				last = w
				changes++
			}
			if out.Op == nil || !out.Op.Write {
				return
			}
			for _, d := range both {
				if w := out.Op.Want.Get(d); w != 0 && w == out.Applied.Get(d) {
					t.Fatalf("%s: %s is written although the router holds it (%s)", b.now, d, say(w))
				}
			}
		}
		play(t, b, troubled)
		b.run(3 * time.Minute)
		if !troubled && b.writes > 2*changes { // a mixed decision may need a second write for its raise
			t.Fatalf("%d writes for %d decisions", b.writes, changes)
		}
	})
}

// TestPropertyRaiseBudgets: a raise never exceeds the writes per second, and with the day's budget spent raises are
// a minute apart. The count here is exact and independent.
func TestPropertyRaiseBudgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		b := drawBench(t, cfg)
		var writes []unit.Time
		var lastRaise unit.Time
		b.seen = func(_ Input, out Output) {
			if out.Op == nil || !out.Op.Write {
				return
			}
			raise := false
			for _, d := range both {
				w := out.Op.Want.Get(d)
				raise = raise || (w > 0 && !over(out.Applied.Get(d), w))
			}
			if raise {
				recent := 0
				for _, at := range writes {
					if b.now.Sub(at) < time.Second {
						recent++
					}
				}
				if recent >= cfg.Burst {
					t.Fatalf("%s: a raise after %d writes within a second, burst %d", b.now, recent, cfg.Burst)
				}
				if cfg.Daily > 0 && len(writes) >= cfg.Daily && lastRaise > 0 && b.now.Sub(lastRaise) < HeldAtMost {
					t.Fatalf("%s: budget of %d spent (%d), yet two raises within %s", b.now, cfg.Daily, len(writes), b.now.Sub(lastRaise))
				}
				lastRaise = b.now
			}
			writes = append(writes, b.now)
		}
		play(t, b, rapid.Bool().Draw(t, "troubled"))
		if cfg.Daily > 0 && len(writes) > cfg.Daily && b.now.Sub(writes[0]) < day {
			if !b.out.Status.OverBudget() {
				t.Fatalf("%d writes are over the budget of %d and the status does not say so", len(writes), cfg.Daily)
			}
		}
	})
}

// TestPropertyDailyBound: a controller that raises as often as it can, all day, gets at most the budget and one raise a
// minute onto the router.
func TestPropertyDailyBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Ceiling: mb(10_000, 10_000), Burst: 20, Daily: rapid.IntRange(1, 3000).Draw(t, "daily")}
		low := mb(0.001, 0.001)
		b := newBench(cfg, low)
		b.quiet, b.Want = true, low
		b.Cycle = 10 * time.Second
		raises := 0
		b.seen = func(_ Input, out Output) {
			if out.Op != nil && out.Op.Write && !over(out.Applied.Down, out.Op.Want.Down) {
				raises++
			}
		}
		grow := unit.PPM(rapid.IntRange(1_001_000, 1_200_000).Draw(t, "grow"))
		for range int(day / b.Cycle) {
			b.Want = link.Rates{Down: b.Want.Down.Scale(grow) + 1, Up: b.Want.Up.Scale(grow) + 1}
			if b.Want.Down > cfg.Ceiling.Down/2 {
				b.Want = low // begin again below
			}
			b.run(b.Cycle)
		}
		if limit := cfg.Daily + int(day/HeldAtMost) + 1; raises > limit {
			t.Fatalf("%d raises in a day, at most %d expected", raises, limit)
		}
	})
}

// TestPropertyEventually: after any trouble, once the router works and the decision stands, the wanted rate is on it
// within the longest hold and backoff; after a foreign writer within its ten minutes.
func TestPropertyEventually(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		b := drawBench(t, cfg)
		play(t, b, true)
		limit := backoffMost + HeldAtMost + DefaultAssertEvery + 10*time.Second
		b.Router.Fault, b.Router.LoseReply, b.Router.Latency = nil, false, ms(50)
		want := mb(rapid.Float64Range(1, 95).Draw(t, "last down"), rapid.Float64Range(1, 18).Draw(t, "last up"))
		if rapid.Bool().Draw(t, "nudge") { // a raise that fits into the dead band
			b.decide(want)
			b.run(limit)
			want.Down = min(want.Down.Scale(1_010_000)+1, mb(95, 18).Down)
		}
		b.decide(want)
		b.run(limit)
		if b.out.Status.ForeignUntil > 0 { // declared in the trouble, or by its last change
			b.run(foreignFor)
		}
		if q := cfg.Quantum; q > 0 { // as near as the router can hold it
			want = link.Rates{Down: want.Down - want.Down%q, Up: want.Up - want.Up%q}
		}
		if b.Router.Rates != want || b.out.Applied != want || !b.out.Confirmed.Down || !b.out.Confirmed.Up {
			t.Fatalf("after %s the router holds %s, read back %s (confirmed %v), wanted %s; status %+v",
				limit, rates(b.Router.Rates), rates(b.out.Applied), b.out.Confirmed, rates(want), b.out.Status)
		}
		if h := b.out.Status.Hold; h != (link.Pair[Hold]{}) {
			t.Fatalf("nothing is due, yet status says %s/%s", h.Down, h.Up)
		}
	})
}

// TestPropertyOneInFlight: no operation starts before the result of the last one, IDs never repeat, and the time to
// wake is never in the past.
func TestPropertyOneInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBench(t, drawConfig(t))
		var id uint64
		flying := false
		b.seen = func(in Input, out Output) {
			if in.Result != nil {
				flying = false
			}
			if out.Op != nil {
				if flying {
					t.Fatalf("%s: a second operation %+v", b.now, out.Op)
				}
				if out.Op.ID <= id {
					t.Fatalf("%s: operation %d after %d", b.now, out.Op.ID, id)
				}
				flying, id = true, out.Op.ID
			}
			if flying != out.Status.InFlight {
				t.Fatalf("%s: in flight is %v, status says %v", b.now, flying, out.Status.InFlight)
			}
			if out.Wake != 0 && out.Wake <= b.now || !flying && out.Wake == 0 && out.Status.Link != Stopped {
				t.Fatalf("%s: wake at %s", b.now, out.Wake)
			}
		}
		play(t, b, true)
	})
}

// TestPropertySameInputSameOutput: the inputs of one run, played again, give the same outputs.
func TestPropertySameInputSameOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		b := drawBench(t, cfg)
		var ins []Input
		var outs []Output
		b.seen = func(in Input, out Output) {
			if in.Result != nil {
				r := *in.Result
				in.Result = &r
			}
			ins, outs = append(ins, in), append(outs, out)
		}
		play(t, b, true)
		again := New(cfg)
		for i, in := range ins {
			if d := cmp.Diff(outs[i], again.Step(in)); d != "" {
				t.Fatalf("step %d at %s differs:\n%s", i, in.Now, d)
			}
		}
	})
}

// TestPropertyNeverAccusesItself: lost answers, refusals and restarts alone are never taken for somebody else's writes.
func TestPropertyNeverAccusesItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBench(t, drawConfig(t))
		for range rapid.IntRange(1, 30).Draw(t, "acts") {
			switch rapid.IntRange(0, 4).Draw(t, "act") {
			case 0, 1:
				b.decide(drawWant(t))
			case 2:
				b.Router.LoseReply = true
			case 3:
				b.Router.Fault = failing(Transient, "unreachable")
			case 4:
				b.Router.Fault = nil
			}
			b.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause ms")) * time.Millisecond)
		}
		if s := b.out.Status; s.Differences > 0 || s.ForeignUntil > 0 {
			t.Fatalf("%d differences, foreign until %s, though nobody else writes", s.Differences, s.ForeignUntil)
		}
	})
}

// TestPropertyReadsArePaced: operations that only read are at least ReadEvery apart while all is well, and a
// re-assertion is never older than AssertEvery.
func TestPropertyReadsArePaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		b := drawBench(t, cfg)
		var last unit.Time
		b.seen = func(_ Input, out Output) {
			well := out.Status.Link == Connected && out.Confirmed.Down && out.Confirmed.Up
			if out.Op != nil {
				if !out.Op.Write && well && last > 0 && b.now.Sub(last) < time.Second {
					t.Fatalf("%s: a read %s after the last operation", b.now, b.now.Sub(last))
				}
				last = b.now
			}
			if well && !out.Status.InFlight && b.now.Sub(out.AppliedAt) > DefaultAssertEvery+b.Router.Latency {
				t.Fatalf("%s: the rates were read back %s ago", b.now, b.now.Sub(out.AppliedAt))
			}
		}
		play(t, b, false)
		b.run(10 * time.Minute)
	})
}
