package steer_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

func TestLine(t *testing.T) {
	d := steer.Decision{Name: "SPECTRUM_GOOD", Measured: true, Averaged: true, QueueKnown: true, EWMA: 0.1}
	if got, want := steer.Line(d), "[SPECTRUM_GOOD] rtt=0.0ms ewma=0.1ms drops=0 q=0 | congestion=GREEN"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d = steer.Decision{Name: "SPECTRUM_DEGRADED", Congestion: steer.Unknown}
	if got, want := steer.Line(d), "[SPECTRUM_DEGRADED] rtt=? ewma=? drops=? q=? | congestion=UNKNOWN"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// keys returns the keys of a decision's notes.
func keys(d steer.Decision) string {
	var ks []string
	for _, n := range d.Notes {
		ks = append(ks, n.Key)
	}
	return strings.Join(ks, " ")
}

func TestBaseline(t *testing.T) {
	for name, k := range map[string]struct {
		turn func(in *steer.Input)
		want steer.Congestion
	}{
		"never read":    {func(in *steer.Input) { in.Autorate = steer.Autorate{} }, steer.Unknown},
		"stale":         {func(in *steer.Input) { in.Autorate.Fresh = false }, steer.Unknown},
		"below bounds":  {func(in *steer.Input) { in.Autorate.Feed.Baseline = 0.9 }, steer.Unknown},
		"above bounds":  {func(in *steer.Input) { in.Autorate.Feed.Baseline = 501 }, steer.Unknown},
		"not a number":  {func(in *steer.Input) { in.Autorate.Feed.Baseline = unit.Millis(math.NaN()) }, steer.Unknown},
		"state file":    {func(in *steer.Input) { in.Autorate.BaselineOnly = true }, steer.Green},
		"no reply":      {func(in *steer.Input) { in.RTT.OK = false }, steer.Unknown},
		"reply is NaN":  {func(in *steer.Input) { in.RTT.Value = unit.Millis(math.NaN()) }, steer.Unknown},
		"reply is late": {func(in *steer.Input) { in.RTT.Value = 10_001 }, steer.Unknown},
		"all well":      {func(*steer.Input) {}, steer.Green},
	} {
		w := newWorld(t, config())
		in := w.input()
		k.turn(&in)
		if d := w.m.Step(in); d.Congestion != k.want || d.Measured != (k.want == steer.Green) {
			t.Errorf("%s: %s, want %v", name, steer.Line(d), k.want)
		}
	}
}

// TestStateFileOnly: with a state file instead of a feed, the floor confirms nothing and v3 is off, said once.
func TestStateFileOnly(t *testing.T) {
	w := newWorld(t, v3Config(false))
	said := 0
	for range 40 {
		in := w.input()
		in.RTT.Value, in.Autorate.BaselineOnly = 224, true
		in.Autorate.Feed.DownAtFloor, in.Autorate.Feed.Delta, in.Autorate.Feed.State.Down = true, 200, link.Red
		d := w.m.Step(in)
		said += strings.Count(keys(d), "no_feed")
		if d.Congestion != steer.Yellow || d.Reason.Controller != steer.Missing || d.Reason.Score != 0 || d.Rules[0].Wanted {
			t.Fatalf("%s %+v", steer.Line(d), d.Reason)
		}
		w.now = w.now.Add(w.cfg.Interval)
	}
	if said != 1 {
		t.Errorf("said %d times, want once", said)
	}
}

// TestDown: the line is down when neither steering's probes nor, by a fresh feed, autorate's were answered for 10 s.
func TestDown(t *testing.T) {
	for name, k := range map[string]struct {
		feed, answered bool
		want           steer.Congestion
	}{
		"autorate is answered":     {true, true, steer.Unknown},
		"autorate is silent too":   {true, false, steer.Down},
		"autorate's feed is stale": {false, true, steer.Down},
	} {
		w := newWorld(t, config())
		last := w.step().Now
		w.rtt, w.feed, w.feedAnswered = 0, k.feed, k.answered
		alerts := 0
		for range 20 {
			d := w.step()
			alerts += strings.Count(keys(d), "primary_down")
			want := k.want
			if d.Now.Sub(last) < 10*time.Second {
				want = steer.Unknown
			}
			if d.Congestion != want {
				t.Errorf("%s, %v after the last reply: %v, want %v", name, d.Now.Sub(last), d.Congestion, want)
			}
		}
		if (alerts == 1) != (k.want == steer.Down) || alerts > 1 {
			t.Errorf("%s: %d alerts", name, alerts)
		}
	}
}

func TestController(t *testing.T) {
	for name, k := range map[string]struct {
		turn func(i int, w *world)
		want steer.Signal
	}{
		"on the floor":            {func(_ int, w *world) { w.atFloor = true }, steer.Over},
		"cuts in vain":            {func(_ int, w *world) { w.cuts++ }, steer.Over},
		"one cut, no improvement": {func(i int, w *world) { w.cuts = uint64(min(i, 1)) }, steer.Over},
		"answers in vain":         {func(_ int, w *world) { w.vain = true }, steer.Over},
		"answers for a while":     {func(i int, w *world) { w.vain = i%4 != 0 }, steer.Quiet},
		"cuts with success":       {func(i int, w *world) { w.cuts++; w.feedDelta = 400 * math.Pow(0.85, float64(i)) }, steer.Quiet},
		"no cut":                  {func(int, *world) {}, steer.Quiet},
		"under warn":              {func(_ int, w *world) { w.atFloor, w.feedDelta = true, 45 }, steer.Quiet},
		"restarted":               {func(i int, w *world) { w.atFloor = true; w.cuts = uint64(100 - i) }, steer.Quiet},
		"no warn known":           {func(_ int, w *world) { w.atFloor, w.warn = true, 0 }, steer.Missing},
		"not measuring":           {func(_ int, w *world) { w.atFloor, w.feedAnswered = true, false }, steer.Missing},
		"interrupted":             {func(i int, w *world) { w.atFloor = i%4 != 0 }, steer.Quiet},
	} {
		w := newWorld(t, config())
		var d steer.Decision
		for i := range 8 {
			w.rtt, w.feedDelta = 124, 90
			k.turn(i, w)
			d = w.step()
		}
		if d.Reason.Controller != k.want {
			t.Errorf("%s: %v, want %v", name, d.Reason.Controller, k.want)
		}
	}
}

func TestDrops(t *testing.T) {
	for name, k := range map[string]struct {
		packets, dropped, marked int64
		want                     steer.Signal
		drops                    int64
	}{
		"none":                  {1000, 0, 0, steer.Quiet, 0},
		"one in a thousand":     {1000, 1, 0, steer.Over, 1},
		"one in more":           {1001, 1, 0, steer.Quiet, 1},
		"marks count":           {2000, 1, 1, steer.Over, 1},
		"marks alone":           {1000, 0, 5, steer.Over, 0},
		"nothing but drops":     {0, 3, 0, steer.Over, 3},
		"no packet at all":      {0, 0, 0, steer.Quiet, 0},
		"a counter below zero":  {-90_000, 0, 0, steer.Missing, 0},
		"reset, then one":       {-49_000, -39, 0, steer.Over, 1},
		"only dropped restarts": {9000, -31, 0, steer.Over, 9},
	} {
		w := newWorld(t, config())
		w.queue = link.Queue{Packets: 50_000, Dropped: 40, Marked: 7}
		w.m.Step(w.input())
		w.now = w.now.Add(w.cfg.Interval)
		w.queue.Packets += k.packets
		w.queue.Dropped += k.dropped
		w.queue.Marked += k.marked
		if d := w.m.Step(w.input()); d.Reason.Drops != k.want || d.Drops != k.drops {
			t.Errorf("%s: %v with %d drops, want %v with %d", name, d.Reason.Drops, d.Drops, k.want, k.drops)
		}
	}
}

// TestHeldReading: a reading votes until it is too old, and is averaged once only.
func TestHeldReading(t *testing.T) {
	w := newWorld(t, config())
	w.congested()
	w.step()
	w.queue.QueuedPackets = 20
	first := w.step()
	for i := range 4 {
		in := w.input()
		in.Queue.Fresh, in.Queue.At = false, first.Now
		d := w.m.Step(in)
		known := in.Now.Sub(first.Now) <= 5*time.Second
		if d.QueueKnown != known || d.Degraded == known || d.QueueEWMA != first.QueueEWMA {
			t.Errorf("cycle %d after %v: known %v, average %v after %v", i, in.Now.Sub(first.Now), d.QueueKnown, d.QueueEWMA, first.QueueEWMA)
		}
		w.now = w.now.Add(w.cfg.Interval)
	}
}

func TestVoteAll(t *testing.T) {
	c := config()
	c.Vote = steer.VoteAll
	w := newWorld(t, c)
	w.step()
	for range 4 {
		w.congested()
		w.atFloor, w.feedDelta = true, 90
		if d := w.step(); d.Congestion == steer.Red {
			t.Fatalf("RED without drops: %+v", d.Reason)
		}
	}
	w.drop(50)
	if d := w.step(); d.Congestion != steer.Red {
		t.Errorf("delay, drops and queue together give %v: %+v", d.Congestion, d.Reason)
	}
}
