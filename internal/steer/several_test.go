package steer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// threeLines is a primary with two alternates.
func threeLines() steer.Config {
	c := config()
	c.Alternates = append(c.Alternates, steer.Candidate{Name: "lte", Checked: true, MarginMS: 10, MarginShare: 200_000})
	return c
}

// with is a configuration with changes.
func with(c steer.Config, change func(*steer.Config)) func() steer.Config {
	return func() steer.Config { change(&c); return c }
}

// severalStories are about several alternates, and about what bounds steering beyond the vote.
func severalStories() map[string]tale {
	return map[string]tale{
		"best_of_two": {"The best of two alternates", threeLines, func(_ *testing.T, s *story) {
			s.tell = true
			s.say("A calm line, two alternates. Both rules are read at start.")
			s.run(2)
			s.say("Congestion. att has 5 ms on top, lte none: to lte. The other rule is read once more.")
			s.altRTT = 33
			s.run(5, (*world).congested)
			s.say("lte fills up: home at once, although the primary is RED. Two RED later att takes over.")
			s.run(8, func(w *world) { w.others[0].rtt = 90 })
			s.say("Both are congested: nothing is left but an alert.")
			s.run(6, func(w *world) { w.altRTT = 100 })
			s.say("att is well again.")
			s.run(6, func(w *world) { w.altRTT = 28 })
			s.say("A restart while steered to att, then calm.")
			s.run(1)
			s.restart(s.t)
			s.run(3)
			s.calm()
			s.run(24)
		}},
		"foreign_other": {"Somebody enables the other line's rule", threeLines, func(_ *testing.T, s *story) {
			s.altRTT = 33
			s.run(2)
			s.run(4, (*world).congested)
			s.say("Steered to lte. Somebody enables att's rule: the next reading shows it, and it is disabled.")
			s.rule = true
			s.run(34, (*world).congested)
			s.say("Calm. Now somebody enables lte's.")
			s.calm()
			s.run(24)
			s.others[0].rule = true
			s.run(34)
		}},
		"barred": {"An alternate whose rule is not there", threeLines, func(_ *testing.T, s *story) {
			s.others[0].barred = true
			s.run(2)
			s.say("Congestion: lte would be the better one.")
			s.altRTT = 33
			s.run(4, (*world).congested)
			s.say("att is congested, too.")
			s.run(3, func(w *world) { w.altRTT = 100 })
		}},
		"room": {"The alternate's room", with(config(), func(c *steer.Config) {
			c.Alternates[0].MaxLoad, c.Alternates[0].Room = 800_000, 10*unit.Mbps
		}), func(_ *testing.T, s *story) {
			s.tell = true
			s.run(2)
			s.say("Its feed tells no load: that is no obstacle, and is said.")
			s.run(3, (*world).congested)
			s.say("Home again. Now it carries 85 of 100 Mbit/s.")
			s.calm()
			s.run(24)
			s.altRate, s.altCarried = 100*unit.Mbps, 85*unit.Mbps
			s.run(4, (*world).congested)
			s.say("10 of 18 leave 8: more than half, and less than 10 Mbit/s free.")
			s.altRate, s.altCarried = 18*unit.Mbps, 10*unit.Mbps
			s.run(2, (*world).congested)
			s.say("5 of 18 leave 13.")
			s.altCarried = 5 * unit.Mbps
			s.run(3, (*world).congested)
		}},
		"grace": {"The rate controller acts first", with(config(), func(c *steer.Config) { c.Limits.Grace = 10 * time.Second }), func(_ *testing.T, s *story) {
			s.tell = true
			s.run(2)
			s.say("RED. The controller has ten seconds to cut; then it is steering's turn.")
			s.run(9, (*world).congested)
			s.calm()
			s.run(24)
			s.say("The same with a controller on its floor: it has nothing left to do.")
			s.run(9, func(w *world) {
				w.congested()
				w.queue.QueuedPackets, w.feedDelta, w.atFloor = 0, 90, true
			})
			s.calm()
			s.atFloor = false
			s.run(24)
			s.say("The same without a feed but the state file: there is nobody to wait for.")
			s.baselineOnly = true
			s.run(4, (*world).congested)
		}},
		"hold_down": {"A hold-down for the vote", with(config(), func(c *steer.Config) { c.Limits.HoldDown = 2 * time.Minute }), func(_ *testing.T, s *story) {
			s.tell = true
			s.run(2)
			s.run(4, (*world).congested)
			s.say("Fifteen GREEN are not enough before two minutes are over.")
			s.calm()
			s.run(62)
			s.say("A hold-down does not keep anything on an alternate that is RED.")
			s.run(4, (*world).congested)
			s.run(4, func(w *world) { w.altRTT = 100 })
		}},
		"cap": {"The longest time steered", with(config(), func(c *steer.Config) {
			c.Limits.SteeredMax, c.Limits.Cap = time.Minute, steer.CapReturn
		}), func(_ *testing.T, s *story) {
			s.tell = true
			s.run(2)
			s.say("Congestion without an end: home after a minute, and at rest.")
			s.run(45, (*world).congested)
			s.say("The primary is well for fifteen cycles: steering may begin anew.")
			s.calm()
			s.run(24)
			s.run(4, (*world).congested)
			s.say("With cap: alert it is only said, once.")
			c := s.cfg
			c.Limits.Cap = steer.CapAlert
			if err := s.m.Reconfigure(c); err != nil {
				panic(err)
			}
			s.run(40, (*world).congested)
		}},
		"herd": {"An alternate that our own connections fill", with(threeLines(), func(c *steer.Config) { c.Herd.Enabled, c.Herd.MaxBackOff = true, 3*time.Minute }), func(_ *testing.T, s *story) {
			s.tell = true
			ours := func(w *world) {
				w.congested()
				if w.altRTT = 28; w.rule {
					w.altRTT = 50
				}
			}
			s.others[0].rtt = 0
			s.run(2)
			s.say("att is fine until connections move there: it is over YELLOW within seconds. Home, and a minute's rest for it.")
			s.run(10, ours)
			s.run(60, ours)
			s.say("The third time in a row: four minutes would be next, three are the most.")
			s.run(60, ours)
			s.say("Meanwhile lte answers again: there is another line.")
			s.others[0].rtt = 20
			s.run(6, ours)
			s.say("lte degrades, too, but only after two minutes: that is not us.")
			s.run(60, ours)
			s.others[0].rtt = 60
			s.run(4, ours)
		}},
		"flap_vote": {"The vote's flap brake", with(config(), func(c *steer.Config) {
			c.Flap.Enabled, c.Flap.MaxToggles, c.Flap.PenaltyFor = true, 2, 3*time.Minute
		}), func(_ *testing.T, s *story) {
			s.tell = true
			s.run(2)
			for i := range 2 {
				s.say("It breaks down, time %d.", i+1)
				s.run(4, (*world).congested)
				s.run(24, (*world).calm)
			}
			s.say("The third time two RED are not enough, and 15 ms better neither: four, and 20 ms.")
			s.run(4, (*world).congested)
			s.run(2, (*world).calm)
			s.say("Well for the rest of the penalty, then two RED are enough.")
			s.run(90, (*world).calm)
			s.run(4, (*world).congested)
		}},
		"confirmations": {"Further confirmations", with(config(), func(c *steer.Config) {
			c.Confirm.QueueDelay, c.Confirm.Loss, c.Confirm.Queue = 20, 50_000, false
		}), func(_ *testing.T, s *story) {
			s.tell = true
			late := func(w *world) { w.rtt, w.queue.QueuedPackets = 104, 80 }
			s.run(2)
			s.say("Delay, and 80 packets that do not count: confirm.queue is off. CAKE tells no delay, nobody counts the probes.")
			s.run(4, late)
			s.say("The queue adds 19 ms, then 20.")
			s.queue.Cake.Tins.N = 1
			s.queue.Cake.Tins.Tin[0] = link.Tin{BulkFlows: 1, AvgDelay: 19}
			s.run(2, late)
			s.queue.Cake.Tins.Tin[0].AvgDelay = 20
			s.run(4, late)
			s.calm()
			s.queue.Cake = link.Cake{}
			s.run(24)
			s.say("Of 19 probes 5 are lost: too few to tell. Of 20, one is.")
			s.loss = steer.Loss{Known: true, Probes: 19, Lost: 5}
			s.run(4, late)
			s.loss = steer.Loss{Known: true, Probes: 20, Lost: 1}
			s.run(4, late)
		}},
	}
}

// TestOrderOfAlternates: the lowest delay wins, then the most room, then the order; what is measured comes before what is not.
func TestOrderOfAlternates(t *testing.T) {
	type line struct {
		rtt, carried float64
		unchecked    bool
	}
	for name, k := range map[string]struct {
		lines []line
		want  string
	}{
		"the lowest delay":           {[]line{{rtt: 30}, {rtt: 26}, {rtt: 28}}, "b"},
		"the most room":              {[]line{{rtt: 30, carried: 50}, {rtt: 30, carried: 60}, {rtt: 30, carried: 20}}, "c"},
		"a known room":               {[]line{{rtt: 30, carried: -1}, {rtt: 30, carried: 99}}, "b"},
		"the order":                  {[]line{{rtt: 30, carried: 50}, {rtt: 30, carried: 50}}, "a"},
		"measured before unchecked":  {[]line{{unchecked: true}, {rtt: 30}}, "b"},
		"unchecked where none else":  {[]line{{unchecked: true}, {rtt: 0}}, "a"},
		"none better, none measured": {[]line{{rtt: 0}, {rtt: 200}}, ""},
	} {
		c := config()
		c.Alternates = nil
		var alts []steer.Alternate
		for i, l := range k.lines {
			c.Alternates = append(c.Alternates, steer.Candidate{Name: string(rune('a' + i)), Checked: !l.unchecked, MarginMS: 10})
			a := steer.Alternate{Autorate: steer.Autorate{Known: true, Fresh: true, Feed: link.Feed{
				Baseline: 24, Rates: link.Rates{Down: 100 * unit.Mbps, Up: 100 * unit.Mbps},
			}}}
			a.Autorate.Feed.Carried = link.Load{Known: l.carried >= 0, Rates: link.Rates{Down: unit.Rate(l.carried) * unit.Mbps}}
			a.RTT = reply(l.rtt, 1)
			alts = append(alts, a)
		}
		w := newWorld(t, c)
		w.congested()
		got := ""
		for range 4 {
			in := w.input()
			in.Alternates = slices.Clone(alts)
			for i := range in.Alternates {
				in.Alternates[i].RTT.At = in.Now
			}
			if d := w.m.Step(in); d.Wanted != steer.None {
				got = c.Alternates[d.Wanted].Name
				break
			}
			w.now = w.now.Add(c.Interval)
		}
		if got != k.want {
			t.Errorf("%s: %q is chosen, want %q", name, got, k.want)
		}
	}
}

// TestStoredTargetIsGone: a restart with a configuration that lacks the line which was steered to: an alert names it.
func TestStoredTargetIsGone(t *testing.T) {
	w := newWorld(t, threeLines())
	w.altRTT = 33
	w.step()
	w.congested()
	w.until(t, 6, "steered", degraded)
	s := w.m.Snapshot()
	if s.Target != "lte" {
		t.Fatalf("steered to %q", s.Target)
	}
	w = newWorld(t, config())
	w.m.Restore(s)
	d := w.step()
	if !strings.Contains(keys(d), "rule_orphan") || d.State != steer.Good || d.Wanted != steer.None {
		t.Errorf("%v, wanted %d: %+v", d.State, d.Wanted, d.Notes)
	}
	if d := w.step(); strings.Contains(keys(d), "rule_orphan") {
		t.Error("it is told twice")
	}
}

// TestClockSetBack: the clock of a restored virtual machine may jump; rules are read anew, nothing is believed of before, and
// what is steered stays so.
func TestClockSetBack(t *testing.T) {
	for _, jump := range []time.Duration{-80 * time.Second, -3 * time.Second, time.Hour} {
		w := newWorld(t, threeLines())
		w.altRTT = 33
		w.step()
		w.congested()
		w.until(t, 6, "steered", degraded)
		w.step()
		w.now = w.now.Add(jump)
		w.feedHeard, w.altAnsweredAt = 0, 0
		d := w.step()
		if d.State != steer.Degraded || d.To != "lte" || float64(d.EWMA) != 80 {
			t.Errorf("%v: %s", jump, steer.Line(d))
		}
		if jump < 0 && (!d.Rules[0].Read || !d.Rules[1].Read) {
			t.Errorf("%v: the rules are not read: %+v", jump, d.Rules)
		}
		w.calm()
		w.until(t, 60, "home", good)
	}
}

// TestStaleFeedHasNoWeight: a feed that is stale speaks neither for RED nor for GREEN, whatever it says.
func TestStaleFeedHasNoWeight(t *testing.T) {
	w := newWorld(t, config())
	w.step()
	before := w.step().Reason
	for range 20 {
		w.congested()
		w.feed, w.atFloor, w.feedDelta = false, true, 90
		d := w.step()
		if d.Congestion != steer.Unknown || d.Reason.Red != 0 || d.Reason.Green != before.Green || d.Reason.Controller != steer.Missing {
			t.Fatalf("%s %+v", steer.Line(d), d.Reason)
		}
	}
	// An alternate's stale feed tells neither a baseline nor a room.
	in := w.input()
	in.Alternates[0].Autorate = steer.Autorate{Known: true, Feed: link.Feed{
		Baseline: 28, Measured: true, RTT: 28, AnsweredAt: in.Now, Rates: link.Rates{Down: 9, Up: 9}, Carried: link.Load{Known: true},
	}}
	in.Alternates[0].RTT = link.RTT{}
	if v := w.m.Step(in).Reason.Alternates[0]; v.Measured || v.Room.Known || v.Verdict != steer.Silent {
		t.Errorf("%+v", v)
	}
}

// TestAccountIsWhole: a transition's account has the votes with their figures, the verdicts, and how long the state before lasted.
func TestAccountIsWhole(t *testing.T) {
	w := newWorld(t, with(threeLines(), func(c *steer.Config) { c.Limits.HoldDown = time.Minute })())
	w.step()
	w.others[0].rtt = 0
	w.congested()
	d := w.until(t, 6, "steered", degraded)
	a := d.Account
	if a.Target != "att" || a.Decided != d.Now.Add(-2*time.Second) || a.Lasted != 8*time.Second || a.Red != 2 || a.Need != 2 || a.Congestion != steer.Red {
		t.Errorf("%+v", a)
	}
	text := a.Text()
	for _, want := range []string{
		"GOOD → DEGRADED to att: 2 consecutive RED", "GOOD had lasted 8s", "delay over (", "ms, mark 15)", "drops quiet (0 per 1000 packets, mark 1)",
		"queue over (", "controller quiet", "att better (delta 0.0ms, room unknown)", "lte silent (not measured, room unknown)",
		"Refused: lte was not measured in the last 5s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the account does not tell %q:\n%s", want, text)
		}
	}
	w.calm()
	a = w.until(t, 60, "home", good).Account
	if text := a.Text(); !strings.Contains(text, "DEGRADED → GOOD from att") || a.Lasted < time.Minute {
		t.Errorf("%v: %s", a.Lasted, text)
	}
}

// TestConfirmationsOff: a signal that the configuration leaves out is missing, and confirms nothing; marks count as it says.
func TestConfirmationsOff(t *testing.T) {
	for name, k := range map[string]struct {
		off  func(*steer.Confirm)
		turn func(w *world)
		says func(steer.Reason) steer.Signal
	}{
		"drops":      {func(c *steer.Confirm) { c.Drops = false }, func(w *world) { w.drop(50) }, func(r steer.Reason) steer.Signal { return r.Drops }},
		"queue":      {func(c *steer.Confirm) { c.Queue = false }, func(w *world) { w.queue.QueuedPackets = 80 }, func(r steer.Reason) steer.Signal { return r.Queue }},
		"controller": {func(c *steer.Confirm) { c.Controller = false }, func(w *world) { w.atFloor, w.feedDelta = true, 90 }, func(r steer.Reason) steer.Signal { return r.Controller }},
	} {
		for _, off := range []bool{false, true} {
			c := config()
			if off {
				k.off(&c.Confirm)
			}
			w := newWorld(t, c)
			w.step()
			var d steer.Decision
			for range 8 {
				w.rtt = 104
				k.turn(w)
				d = w.step()
			}
			if red := d.Congestion == steer.Red; red == off || (k.says(d.Reason) == steer.Missing) != off {
				t.Errorf("%s off %v: %v, it says %v", name, off, d.Congestion, k.says(d.Reason))
			}
		}
	}
	for _, marks := range []bool{false, true} {
		c := config()
		c.Confirm.Marks = marks
		w := newWorld(t, c)
		w.step()
		w.queue.Marked += 50
		if d := w.step(); (d.Reason.Drops == steer.Over) != marks {
			t.Errorf("marks %v: 50 marks make the drops %v", marks, d.Reason.Drops)
		}
	}
}

// TestHerdNeedsACleanStart: a line that was over YELLOW already when connections moved there was not filled by them.
func TestHerdNeedsACleanStart(t *testing.T) {
	for _, clean := range []bool{true, false} {
		c := config()
		c.Herd.Enabled = true
		c.Thresholds.GreenRTT, c.Thresholds.YellowRTT, c.Thresholds.RedRTT = 5, 5, 40
		w := newWorld(t, c)
		if !clean {
			w.altRTT = 36
		}
		w.step()
		w.congested()
		w.rtt = 224
		w.until(t, 8, "steered", degraded)
		w.altRTT = 40 // 12 ms on top: over YELLOW, not RED
		left := false
		for range 10 {
			left = left || !degraded(w.step())
		}
		if left != clean {
			t.Errorf("clean %v: left %v", clean, left)
		}
	}
}
