package steer_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/archtest/mutant"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// TestMutants breaks one line of the machine at a time and demands that the property that forbids it notices.
func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }

// turn draws what the world does next.
func turn(t *rapid.T, w *world) {
	w.rtt = rapid.SampledFrom([]float64{0, 24, 24, 30, 45, 104, 104, 224}).Draw(t, "rtt")
	w.queue.QueuedPackets = rapid.SampledFrom([]int64{0, 20, 80}).Draw(t, "depth")
	w.drop(rapid.SampledFrom([]int64{0, 0, 1, 50}).Draw(t, "drops"))
	w.state = rapid.SampledFrom([]link.State{link.Green, link.Yellow, link.SoftRed, link.Red}).Draw(t, "state")
	w.feedDelta = rapid.SampledFrom([]float64{0, 30, 60, 90}).Draw(t, "feed delta")
	w.atFloor = rapid.Bool().Draw(t, "floor")
	w.cuts += uint64(rapid.IntRange(0, 1).Draw(t, "cuts"))
	w.feed = rapid.IntRange(0, 9).Draw(t, "feed") > 0
	w.feedAnswered = rapid.IntRange(0, 5).Draw(t, "feed answered") > 0
	w.queueOK = rapid.IntRange(0, 9).Draw(t, "queue") > 0
	w.altRTT = rapid.SampledFrom([]float64{0, 28, 28, 28, 36, 60, 100}).Draw(t, "alternate")
}

// trouble draws what the router and the people around it do next.
func trouble(t *rapid.T, w *world) {
	w.reachable = rapid.IntRange(0, 5).Draw(t, "reachable") > 0
	w.loses = rapid.IntRange(0, 5).Draw(t, "loses") == 0
	switch rapid.IntRange(0, 20).Draw(t, "event") {
	case 0:
		w.rule = !w.rule // somebody else
	case 1, 2, 3:
		if w.pending != nil {
			w.rule, w.pending = *w.pending, nil // a lost write arrives late
		}
	}
}

// evening plays random turns, each held for a while, and hands every cycle's input and decision to look.
func evening(t *rapid.T, w *world, turns int, look func(in steer.Input, d steer.Decision)) {
	for range turns {
		turn(t, w)
		trouble(t, w)
		for range rapid.IntRange(1, 8).Draw(t, "cycles") {
			play(w, look)
		}
	}
}

func play(w *world, look func(in steer.Input, d steer.Decision)) {
	in := w.input()
	look(in, w.step())
}

// anyConfig draws a configuration of either mode, with short timers.
func anyConfig(t *rapid.T) steer.Config {
	c := config()
	c.Thresholds.RedSamples = rapid.IntRange(1, 4).Draw(t, "red samples")
	c.CakeAware = rapid.IntRange(0, 4).Draw(t, "cake aware") > 0
	if rapid.Bool().Draw(t, "vote all") {
		c.Vote = steer.VoteAll
	}
	c.V3.Enabled = rapid.Bool().Draw(t, "v3")
	c.V3.DryRun = rapid.Bool().Draw(t, "dry")
	shorten(&c)
	return c
}

func shorten(c *steer.Config) {
	c.V3.SteerThreshold, c.V3.Sustain = 60, 4*time.Second
	c.V3.RecoverySustain, c.V3.HoldDown = 6*time.Second, 10*time.Second
	c.V3.Flap.MaxToggles = 3
}

// TestPropertyUsableAlternate: nothing is sent to a line that was not measured to be usable, and nothing stays there
// while the primary is measured.
func TestPropertyUsableAlternate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		w := newWorld(t, c)
		// The alternate's average, by the definition alone.
		ewma, set, lastHeard, wanted := 0.0, false, w.now, false
		red := float64(c.Thresholds.RedRTT)
		if !c.CakeAware {
			red = float64(c.RTTOnly.Bad)
		}
		evening(t, w, 60, func(in steer.Input, d steer.Decision) {
			r := in.Alternates[0].RTT
			switch delta := max(0, float64(r.Value)-w.altBase); {
			case !r.OK:
				set = false
			case !set:
				ewma, set = delta, true
			default:
				ewma += 0.3 * (delta - ewma)
			}
			if r.OK {
				lastHeard = in.Now
			}
			const hair = 1e-9
			lead := float64(d.EWMA) - ewma
			switch {
			case d.Rules[0].Wanted && !wanted && (!set || ewma > red+hair || lead < 10-hair || lead < 0.2*float64(d.EWMA)-hair):
				t.Fatalf("%v: steering begins: alternate measured %v, %.3f ms, primary %v", in.Now, set, ewma, d.EWMA)
			case d.Rules[0].Wanted && d.Rules[0].Write && (!set || ewma > red+hair):
				t.Fatalf("%v: the rule is written: alternate measured %v, %.3f ms", in.Now, set, ewma)
			case d.Rules[0].Wanted && d.Measured && (set && ewma > red+hair || in.Now.Sub(lastHeard) > 5*time.Second):
				t.Fatalf("%v: stays: alternate measured %v, %.3f ms, heard at %v", in.Now, set, ewma, lastHeard)
			}
			wanted = d.Rules[0].Wanted
		})
	})
}

// TestPropertyVoteFlips: in vote mode each steering has its own row of consecutive RED behind it.
func TestPropertyVoteFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		c.V3.Enabled = false
		w := newWorld(t, c)
		need := c.Thresholds.RedSamples
		if !c.CakeAware {
			need = c.RTTOnly.BadSamples
		}
		row, wanted := 0, false
		evening(t, w, 60, func(in steer.Input, d steer.Decision) {
			switch d.Congestion {
			case steer.Red:
				row++
			case steer.Green, steer.Yellow:
				row = 0
			case steer.Unknown, steer.Down:
			}
			if d.Rules[0].Wanted && !wanted && (row < need || d.Congestion != steer.Red) {
				t.Fatalf("%v: steering begins after %d RED, want %d", in.Now, row, need)
			}
			if !d.Rules[0].Wanted && wanted {
				row = 0
			}
			wanted = d.Rules[0].Wanted
		})
	})
}

// TestPropertyFlapBrake: where the penalty puts entering out of reach, a window never sees more than two changes of
// state over the allowed ones: the one that was too many, and the way home after it.
func TestPropertyFlapBrake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config()
		c.V3.Enabled, c.V3.DryRun = true, false
		shorten(&c)
		c.V3.SteerThreshold, c.V3.Flap.PenaltyAdd = 50, 50 // 95 is the highest score there is
		c.V3.Flap.MaxToggles = rapid.IntRange(1, 5).Draw(t, "toggles")
		c.V3.Flap.Window, c.V3.Flap.PenaltyFor = 10*time.Minute, 10*time.Minute
		w := newWorld(t, c)
		var changes []unit.Time
		look := func(in steer.Input, d steer.Decision) {
			if d.Transition == nil {
				return
			}
			changes = append(changes, in.Now)
			n := 0
			for _, at := range changes {
				if in.Now.Sub(at) < c.V3.Flap.Window {
					n++
				}
			}
			if n > c.V3.Flap.MaxToggles+2 {
				t.Fatalf("%v: %d changes of state within %v, allowed %d", in.Now, n, c.V3.Flap.Window, c.V3.Flap.MaxToggles)
			}
		}
		for range 20 {
			w.altRTT = 28
			for range rapid.IntRange(4, 20).Draw(t, "bad") {
				w.congested()
				w.rtt, w.state = 224, link.Red
				play(w, look)
			}
			for range rapid.IntRange(4, 20).Draw(t, "well") {
				w.calm()
				w.altRTT = rapid.SampledFrom([]float64{28, 28, 28, 200}).Draw(t, "alternate")
				play(w, look)
			}
		}
		if len(changes) == 0 {
			t.Fatal("nothing was ever steered: the property was not tried")
		}
	})
}

// TestPropertyReplay: equal inputs give equal decisions, also when the memory went through the state file between.
func TestPropertyReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		w := newWorld(t, c)
		var ins []steer.Input
		var outs []steer.Decision
		// What only a new process waits for (silence since its start, the first reading of the rule) is left out.
		for range 40 {
			turn(t, w)
			if w.rtt == 0 {
				w.rtt = 24
			}
			if w.altRTT == 0 {
				w.altRTT = 28
			}
			for range rapid.IntRange(1, 8).Draw(t, "cycles") {
				play(w, func(in steer.Input, d steer.Decision) { ins, outs = append(ins, in), append(outs, d) })
				w.read()
			}
		}
		again := newWorld(t, c).m
		cut := rapid.IntRange(1, len(ins)-1).Draw(t, "cut")
		settled := func(d steer.Decision) bool { return d.Rules[0].Wanted == (d.State == steer.Degraded) }
		for cut < len(ins) && !settled(outs[cut-1]) {
			cut++
		}
		for i, in := range ins {
			if i == cut {
				again = reborn(t, c, again)
			}
			if diff := cmp.Diff(alike(outs[i]), alike(again.Step(in))); diff != "" {
				t.Fatalf("cycle %d of %d, restored at %d (-first +again):\n%s", i, len(ins), cut, diff)
			}
		}
	})
}

// alike leaves out what a new process says for itself.
func alike(d steer.Decision) steer.Decision {
	d.Notes, d.Rules[0].Read = nil, false
	return d
}

// reborn takes a machine's memory through JSON into a new one.
func reborn(t *rapid.T, c steer.Config, m *steer.Machine) *steer.Machine {
	text, err := json.Marshal(m.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var s steer.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	fresh, err := steer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	fresh.Restore(s)
	if diff := cmp.Diff(m.Snapshot(), fresh.Snapshot()); diff != "" {
		t.Fatalf("the memory did not survive (-want +got):\n%s", diff)
	}
	return fresh
}

// TestPropertyReturns: whatever happened, when everything stays GREEN the rule ends disabled and the state GOOD.
func TestPropertyReturns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		w := newWorld(t, c)
		if rapid.Bool().Draw(t, "steered first") {
			w.m.Restore(steer.Snapshot{State: steer.Degraded})
			w.rule = true
		}
		evening(t, w, 30, func(steer.Input, steer.Decision) {})
		w.calm()
		w.feed, w.feedAnswered, w.atFloor, w.queueOK, w.altRTT = true, true, false, true, 28
		w.reachable, w.loses, w.pending = true, false, nil
		var d steer.Decision
		for range 90 {
			d = w.step()
		}
		if d.State != steer.Good || d.Rules[0].Wanted || w.rule || d.Congestion != steer.Green {
			t.Fatalf("after 3 min of GREEN: %s, wanted %v, router %v", steer.Line(d), d.Rules[0].Wanted, w.rule)
		}
	})
}

// TestPropertyUnknown: a cycle that measured nothing moves no streak and begins no steering.
func TestPropertyUnknown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, anyConfig(t))
		last := steer.Decision{Wanted: steer.None}
		evening(t, w, 80, func(in steer.Input, d steer.Decision) {
			blind := d.Congestion == steer.Unknown || d.Congestion == steer.Down
			if blind == in.RTT.OK && in.Autorate.Fresh {
				t.Fatalf("%v: probe answered %v, feed fresh, assessed %v", in.Now, in.RTT.OK, d.Congestion)
			}
			if blind && d.Transition == nil && d.Wanted == last.Wanted {
				was, is := last.Reason, d.Reason
				if was.Red != is.Red || was.Green != is.Green || was.NotRed != is.NotRed {
					t.Fatalf("%v: %v moved the streaks from %+v to %+v", in.Now, d.Congestion, was, is)
				}
			}
			if blind && d.Wanted != steer.None && last.Wanted == steer.None {
				t.Fatalf("%v: steering begins in %v", in.Now, d.Congestion)
			}
			last = d
		})
	})
}

// TestPropertyReadBack: a change of state needs a reading that shows the wanted rule and is younger than the wish,
// whatever the router and the people around it do to the rule.
func TestPropertyReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, anyConfig(t))
		// newest is the reading that was known when the wish was made.
		state, wanted, newest := steer.Good, false, steer.Rule{}
		look := func(in steer.Input, d steer.Decision) {
			if (d.State != state) != (d.Transition != nil) {
				t.Fatalf("%v: state %v after %v, transition %+v", in.Now, d.State, state, d.Transition)
			}
			if d.State != state {
				on := d.State == steer.Degraded
				if !in.Rules[0].Known || in.Rules[0].Enabled != on || wanted != on || in.Rules[0].Seq <= newest.Seq {
					t.Fatalf("%v: %v on reading %+v; wanted %v since reading %+v", in.Now, d.State, in.Rules[0], wanted, newest)
				}
			}
			state = d.State
			if d.Rules[0].Wanted != wanted {
				wanted, newest = d.Rules[0].Wanted, in.Rules[0]
			}
		}
		w.reachable = false // readings come as drawn, not from the hand
		for range 80 {
			turn(t, w)
			for range rapid.IntRange(1, 8).Draw(t, "cycles") {
				if rapid.IntRange(0, 2).Draw(t, "reading") == 0 {
					w.rule = rapid.Bool().Draw(t, "rule")
					w.read()
				}
				play(w, look)
			}
		}
	})
}
