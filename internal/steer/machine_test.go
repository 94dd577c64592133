package steer_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// TestOwnMinimum: without a feed of the alternate, the minimum of 10 min of own probes is its baseline.
func TestOwnMinimum(t *testing.T) {
	w := newWorld(t, config())
	w.altFeed = false
	w.altRTT = 30
	w.step()
	w.altRTT = 38
	for range 12 {
		w.step()
	}
	near := func(d steer.Decision, want float64) bool {
		return math.Abs(float64(d.Reason.Alternates[0].EWMA)-want) < 0.2
	}
	if d := w.step(); !near(d, 8) {
		t.Fatalf("8 ms over the minimum give %v", d.Reason.Alternates[0].EWMA)
	}
	d := w.until(t, 320, "the minimum is forgotten", func(d steer.Decision) bool { return near(d, 0) })
	if age := d.Now.Sub(unit.Time(100 * time.Second)); age < 10*time.Minute || age > 11*time.Minute {
		t.Errorf("forgotten after %v, want 10 min and what the average takes", age)
	}
	if n := len(w.m.Snapshot().Alternates[0].Minima); n > 21 {
		t.Errorf("%d buckets are kept", n)
	}
	w.altRTT = 600 // outside the bounds of a baseline
	for range 320 {
		d = w.step()
	}
	if d.Reason.Alternates[0].Verdict != steer.NoBaseline {
		t.Errorf("a baseline of 600 ms: %v", d.Reason.Alternates[0].Verdict)
	}
}

// TestAlternateByFeed: an alternate without own probes is measured by its feed alone.
func TestAlternateByFeed(t *testing.T) {
	w := newWorld(t, config())
	w.altFeedOnly = true
	w.step()
	w.congested()
	w.until(t, 6, "steered", degraded)
	w.altRTT = 0
	d := w.until(t, 6, "home after the feed fell silent", good)
	if !strings.Contains(d.Transition.Why, "not measured") {
		t.Errorf("why: %s", d.Transition.Why)
	}
}

// TestUnfitAlternate: RED, but the other line is no better: an alert, once, and nothing is written.
func TestUnfitAlternate(t *testing.T) {
	for name, k := range map[string]struct {
		want steer.Verdict
		turn func(w *world)
	}{
		"no margin in ms": {steer.NoMargin, func(w *world) { w.rtt, w.altRTT = 42, 40 }},
		"no share":        {steer.NoMargin, func(w *world) { w.rtt, w.altRTT = 84, 42 }},
		"congested":       {steer.Congested, func(w *world) { w.altRTT = 60 }},
		"silent":          {steer.Silent, func(w *world) { w.altRTT = 0 }},
		"no baseline":     {steer.NoBaseline, func(w *world) { w.altFeedOnly, w.altBase = true, 900 }},
	} {
		c := config()
		if name == "no share" {
			c.Alternates[0].MarginMS, c.Alternates[0].MarginShare = 0, 900_000
		}
		w := newWorld(t, c)
		said := 0
		for range 30 {
			w.congested()
			k.turn(w)
			d := w.step()
			said += strings.Count(keys(d), "no_usable_alternate")
			if d.Rules[0].Wanted || d.Rules[0].Write || d.Reason.Alternates[0].Verdict != k.want {
				t.Fatalf("%s: verdict %v, want %v; rule %+v", name, d.Reason.Alternates[0].Verdict, k.want, d.Rules[0])
			}
		}
		if said != 1 || len(w.writes) != 0 {
			t.Errorf("%s: said %d times, %d writes", name, said, len(w.writes))
		}
	}
}

// TestPendingSteering: a steering that cannot be written is dropped when its reason is gone.
func TestPendingSteering(t *testing.T) {
	for name, k := range map[string]struct {
		cfg  steer.Config
		turn func(w *world)
		want string
	}{
		"not RED any more":  {config(), (*world).calm, "is YELLOW"},
		"alternate gone":    {config(), func(w *world) { w.altRTT = 0 }, "not measured"},
		"primary down":      {config(), func(w *world) { w.rtt, w.feedAnswered = 0, false }, "is down"},
		"the score fell":    {v3Config(false), (*world).calm, "score fell"},
		"alternate is worn": {v3Config(false), func(w *world) { w.altRTT = 250 }, "congested"},
	} {
		w := newWorld(t, k.cfg)
		w.step()
		w.reachable = false
		w.until(t, 40, name+": wanted", func(d steer.Decision) bool {
			w.congested()
			w.rtt, w.state = 224, link.Red
			return d.Rules[0].Wanted
		})
		late := 0
		for range 20 {
			late += strings.Count(keys(w.step()), "rule_pending")
		}
		if late != 1 {
			t.Errorf("%s: the delay was told %d times", name, late)
		}
		k.turn(w)
		var text string
		w.until(t, 20, name+": withdrawn", func(d steer.Decision) bool {
			for _, n := range d.Notes {
				if n.Key == "steer_withdrawn" {
					text = n.Text
				}
			}
			return !d.Rules[0].Wanted
		})
		if !strings.Contains(text, k.want) {
			t.Errorf("%s: %q", name, text)
		}
		if d := w.step(); d.State != steer.Good || d.Rules[0].Write || !d.Rules[0].Read {
			t.Errorf("%s: afterwards %v %+v", name, d.State, d.Rules[0])
		}
	}
}

// TestPendingReturn: a return that cannot be written is dropped only when a new steering would be due.
func TestPendingReturn(t *testing.T) {
	w := newWorld(t, config())
	w.step()
	w.congested()
	w.until(t, 6, "steered", degraded)
	w.calm()
	w.reachable = false
	w.until(t, 40, "return wanted", func(d steer.Decision) bool { return !d.Rules[0].Wanted })
	w.yellow()
	for range 5 {
		if d := w.step(); d.Rules[0].Wanted || !d.Rules[0].Write || d.State != steer.Degraded {
			t.Fatalf("a YELLOW stops the return: %+v", d.Rules[0])
		}
	}
	w.congested()
	w.until(t, 10, "wanted again", func(d steer.Decision) bool { return d.Rules[0].Wanted })
	w.reachable = true
	for range 3 {
		if d := w.step(); d.Transition != nil || d.State != steer.Degraded || !d.Rules[0].Wanted {
			t.Fatalf("%v %+v %+v", d.State, d.Rules[0], d.Transition)
		}
	}
	if !w.rule || len(w.writes) != 1 {
		t.Errorf("rule %v after %d writes, want it untouched", w.rule, len(w.writes))
	}
}

// TestLateWrite: a write that arrives long after it was abandoned is found and undone within seconds.
func TestLateWrite(t *testing.T) {
	w := newWorld(t, config())
	w.step()
	w.congested()
	w.loses = true
	w.until(t, 6, "lost", func(steer.Decision) bool { return w.pending != nil })
	w.calm()
	w.loses = false
	w.until(t, 10, "confirmed off", func(d steer.Decision) bool { return !d.Rules[0].Wanted && !d.Rules[0].Read })
	w.rule = *w.pending
	d := w.until(t, 7, "set back", func(d steer.Decision) bool { return d.Rules[0].Write })
	if d.Rules[0].Wanted || d.State != steer.Good {
		t.Errorf("%v %+v", d.State, d.Rules[0])
	}
	w.step()
	if w.rule {
		t.Error("the rule is still enabled")
	}
}

func TestBreak(t *testing.T) {
	w := newWorld(t, config())
	w.step()
	w.congested()
	w.step()
	if d := w.step(); d.Reason.Red != 1 {
		t.Fatalf("%d RED", d.Reason.Red)
	}
	w.now = w.now.Add(time.Minute)
	if d := w.step(); d.Reason.Red != 1 || float64(d.EWMA) != 80 || d.Drops != 0 {
		t.Errorf("after a minute's pause: %d RED, ewma %v", d.Reason.Red, d.EWMA)
	}
	w.until(t, 6, "steered", degraded)
	w.now = unit.Time(time.Second)
	w.altAnsweredAt, w.feedHeard = 0, 0
	d := w.step()
	if d.State != steer.Degraded || !d.Averaged || float64(d.EWMA) != 80 {
		t.Errorf("after a reboot: %s", steer.Line(d))
	}
	if h := w.m.Snapshot().History; len(h) != 1 || h[0].At != 0 {
		t.Errorf("history after a reboot: %+v", h)
	}
}

func TestReconfigure(t *testing.T) {
	w := newWorld(t, config())
	w.step()
	w.congested()
	w.until(t, 6, "steered", degraded)
	bad := config()
	bad.Thresholds.RedSamples = 0
	other := config()
	other.Primary = "cable"
	lte := config()
	lte.Alternates[0].Name = "lte"
	more := config()
	more.Alternates = append(more.Alternates, steer.Candidate{Name: "lte"})
	for _, c := range []steer.Config{bad, other, lte, more} {
		if err := w.m.Reconfigure(c); err == nil {
			t.Errorf("accepted: %+v", c)
		}
	}
	next := config()
	next.Thresholds.RedRTT, next.Thresholds.YellowRTT = 200, 200
	next.V3.Enabled, next.V3.DryRun = true, false
	before := w.m.Snapshot()
	if err := w.m.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	after := w.m.Snapshot()
	if after.State != steer.Degraded || after.Delta != before.Delta || after.Red != before.Red || !after.Alternates[0].Delta.Set ||
		!after.Confidence.Steered {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	w.cfg = next
	w.queue.QueuedPackets = 0
	if d := w.step(); d.Congestion == steer.Red {
		t.Errorf("the old thresholds are still in force: %s", steer.Line(d))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	c := config()
	c.HistorySize = 3
	w := newWorld(t, c)
	for range 3 {
		w.congested()
		w.until(t, 10, "steered", degraded)
		w.calm()
		w.until(t, 50, "home", good)
	}
	h := w.m.Snapshot().History
	if len(h) != 3 || h[2].To != steer.Good || h[0].At >= h[2].At {
		t.Errorf("history: %+v", h)
	}
}

// TestRestoreRubbish: a stored memory with impossible figures never reaches a decision.
func TestRestoreRubbish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		num := func(l string) float64 {
			return rapid.SampledFrom([]float64{0, 1, 50, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300}).Draw(t, l)
		}
		at := func(l string) unit.Time {
			return rapid.SampledFrom([]unit.Time{0, 1, -1, 9e10, 1e11, math.MaxInt64, math.MinInt64}).Draw(t, l)
		}
		n := func(l string) int { return rapid.SampledFrom([]int{0, 3, -1, math.MaxInt}).Draw(t, l) }
		s := steer.Snapshot{
			At: at("at"), State: steer.State(rapid.IntRange(0, 3).Draw(t, "state")),
			Delta: steer.Average{Value: num("delta"), Set: true}, Queue: steer.Average{Value: num("queue"), Set: true},
			Red: n("red"), Green: n("green"), NotRed: time.Duration(n("not red")), Blind: at("blind"), Answered: at("answered"),
			Reading:    steer.Reading{At: at("reading"), Packets: int64(n("packets")), Depth: int64(n("depth"))},
			DropsOver:  steer.Mark{Over: true, Since: at("drops")},
			Controller: steer.ControllerRun{Since: at("controller"), Peak: num("peak")},
			Target:     rapid.SampledFrom([]string{"", "att", "gone"}).Draw(t, "target"), Since: at("since"), RedSince: at("red since"),
			Alternates: []steer.AlternateMemory{{
				At: at("alternate"), Delta: steer.Average{Value: num("alternate delta"), Set: true},
				Minima: slices.Repeat([]steer.Minimum{{From: at("bucket"), RTT: num("minimum")}}, 40),
				Herd:   steer.HerdMemory{Count: n("herd"), Until: at("until")},
			}, {Name: "gone"}},
			Confidence: steer.Confidence{
				HighFor: time.Duration(n("high")), Drops: []float64{num("d"), 1, 2, 3},
				Brake: steer.Brake{Penalty: at("penalty"), Toggles: slices.Repeat([]unit.Time{at("toggle")}, 9)},
			},
			Flap:       steer.Brake{Penalty: at("brake"), Toggles: slices.Repeat([]unit.Time{at("change")}, 9)},
			HasDelay:   true,
			QueueDelay: unit.Millis(num("queue delay")), LossPPM: unit.PPM(n("loss")), DelayOver: steer.Mark{Over: true, Since: at("delay over")},
			History: []steer.Transition{{From: 7}, {From: steer.Good, To: steer.Degraded, At: at("history")}},
		}
		w := newWorld(t, v3Config(rapid.Bool().Draw(t, "dry")))
		w.m.Restore(s)
		w.congested()
		for range 5 {
			d := w.step()
			sane := func(x float64) bool { return x >= 0 && x <= 1e300 }
			if !sane(float64(d.EWMA)) || !sane(d.QueueEWMA) || d.Reason.Red < 0 || d.State > steer.Degraded || d.Reason.Score > 95 {
				t.Fatalf("%s: %+v", steer.Line(d), d.Reason)
			}
		}
		out := w.m.Snapshot()
		if _, err := json.Marshal(out); err != nil {
			t.Fatalf("the memory cannot be stored: %v", err)
		}
		if len(out.Alternates) != 1 || len(out.Alternates[0].Minima) > 22 || len(out.Confidence.Toggles) > 4 || len(out.Flap.Toggles) > 4 || len(out.History) > 50 {
			t.Fatalf("lists grew: %+v", out)
		}
	})
}

// TestScore adds up the confidence mode's parts.
func TestScore(t *testing.T) {
	c := v3Config(true)
	c.V3.CakeTarget = 5
	pressed := link.Queue{MaxLimit: 100 * unit.Mbps, QueuedBytes: 700_000} // 56 ms, over ten targets
	for name, k := range map[string]struct {
		turn func(w *world)
		want int
	}{
		"calm":           {func(*world) {}, 0},
		"yellow":         {func(w *world) { w.state = link.Yellow }, 10},
		"soft red":       {func(w *world) { w.state = link.SoftRed }, 25},
		"red":            {func(w *world) { w.state = link.Red }, 50},
		"delta over 80":  {func(w *world) { w.rtt = 24 + 81 }, 15},
		"delta over 120": {func(w *world) { w.rtt = 24 + 121 }, 25},
		"drops rising":   {grow, 10},
		"drops steady":   {func(w *world) { w.drop(5) }, 0},
		"queue pressed":  {func(w *world) { w.queue.MaxLimit, w.queue.QueuedBytes = pressed.MaxLimit, pressed.QueuedBytes }, 10},
		"queue short":    {func(w *world) { w.queue.MaxLimit, w.queue.QueuedBytes = unit.Gbps, pressed.QueuedBytes }, 0},
		"everything at once": {func(w *world) {
			w.state, w.rtt = link.Red, 224
			grow(w)
			w.queue.MaxLimit, w.queue.QueuedBytes = pressed.MaxLimit, pressed.QueuedBytes
		}, 95},
	} {
		w := newWorld(t, c)
		var d steer.Decision
		var soft []int
		for range 6 {
			k.turn(w)
			d = w.step()
			soft = append(soft, d.Reason.Score)
		}
		if d.Reason.Score != k.want {
			t.Errorf("%s: %v, want %d at the end", name, soft, k.want)
		}
		if name == "soft red" && !slices.Equal(soft[:3], []int{0, 0, 25}) {
			t.Errorf("SOFT_RED scores from its third cycle on: %v", soft)
		}
	}
}

// TestScoreOfTheUnknown: what could not be read in a cycle scores nothing in it, and the rest goes on.
func TestScoreOfTheUnknown(t *testing.T) {
	c := v3Config(true)
	c.V3.CakeTarget = 5
	everything := func(w *world) {
		w.state, w.rtt = link.Red, 224
		grow(w)
		w.queue.MaxLimit, w.queue.QueuedBytes = 100*unit.Mbps, 700_000
	}
	for name, k := range map[string]struct {
		turn func(in *steer.Input)
		want int
	}{
		"all is read":               {func(*steer.Input) {}, 95},
		"the queue is not read":     {func(in *steer.Input) { in.Queue.OK = false }, 75},
		"its last reading is young": {func(in *steer.Input) { in.Queue.Fresh = false }, 95},
		"autorate did not measure":  {func(in *steer.Input) { in.Autorate.Feed.Measured = false }, 45},
	} {
		w := newWorld(t, c)
		for range 8 {
			everything(w)
			w.step()
		}
		everything(w)
		in := w.input()
		k.turn(&in)
		if d := w.m.Step(in); !d.Measured || d.Reason.Score != k.want {
			t.Errorf("%s: score %d, want %d", name, d.Reason.Score, k.want)
		}
	}

	w := newWorld(t, c)
	var scores []int
	for i := range 7 {
		w.state, w.feedAnswered = link.SoftRed, i != 3
		scores = append(scores, w.step().Reason.Score)
	}
	if want := []int{0, 0, 25, 0, 0, 0, 25}; !slices.Equal(scores, want) {
		t.Errorf("SOFT_RED with a cycle that was not measured scores %v, want %v", scores, want)
	}
}

// TestRealTimes: the confidence mode takes the same time at any period.
func TestRealTimes(t *testing.T) {
	for _, period := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
		c := v3Config(false)
		c.Interval = period
		w := newWorld(t, c)
		w.step()
		bad := func(d steer.Decision) bool { return d.Reason.Score >= 70 }
		w.congested()
		w.rtt, w.state = 224, link.Red
		from := w.until(t, 20, "over the threshold", bad).Now
		took := w.until(t, 60, "wanted", func(d steer.Decision) bool { return d.Rules[0].Wanted }).Now.Sub(from)
		if took != 20*time.Second {
			t.Errorf("%v: steers after %v, want 20s", period, took)
		}
		steered := w.until(t, 5, "steered", degraded).Now
		w.calm()
		took = w.until(t, 1500, "home", func(d steer.Decision) bool { return !d.Rules[0].Wanted }).Now.Sub(steered)
		if took < 660*time.Second || took > 660*time.Second+period {
			t.Errorf("%v: home after %v, want 600s and 60s", period, took)
		}
	}
}

// TestDryRunLeavesTheVote: the confidence mode's thoughts change nothing.
func TestDryRunLeavesTheVote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, dry := newWorld(t, config()), newWorld(t, v3Config(true))
		for range 40 {
			turn(t, plain)
			trouble(t, plain)
			reading, m, cfg := dry.reading, dry.m, dry.cfg
			writes, rule, seq, pending := dry.writes, dry.rule, dry.seq, dry.pending
			*dry = *plain
			dry.m, dry.cfg, dry.reading, dry.writes, dry.rule, dry.seq, dry.pending = m, cfg, reading, writes, rule, seq, pending
			dry.rule = plain.rule
			for range rapid.IntRange(1, 12).Draw(t, "cycles") {
				a, b := plain.step(), dry.step()
				if a.State != b.State || a.Rules[0] != b.Rules[0] || a.Congestion != b.Congestion {
					t.Fatalf("%s %+v\n%s %+v", steer.Line(a), a.Rules[0], steer.Line(b), b.Rules[0])
				}
			}
		}
	})
}

// TestAlternateIsFresh: an own probe of the alternate counts by when its reply came in, not by when it is looked at.
func TestAlternateIsFresh(t *testing.T) {
	for _, k := range []struct {
		age  time.Duration
		want steer.Verdict
	}{
		{0, steer.NoMargin},
		{5 * time.Second, steer.NoMargin},
		{5*time.Second + 1, steer.Silent},
	} {
		w := newWorld(t, config())
		in := w.input()
		in.Alternates[0].RTT.At = in.Now.Add(-k.age)
		if d := w.m.Step(in); d.Reason.Alternates[0].Verdict != k.want {
			t.Errorf("a reply of %v ago: %v, want %v", k.age, d.Reason.Alternates[0].Verdict, k.want)
		}
	}
}
