package steer_test

import (
	"encoding/json"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// world is two lines, a router and the hand between them: what the machine sees, as plain figures to turn.
type world struct {
	cfg steer.Config
	m   *steer.Machine
	now unit.Time

	// baselineOnly says that the primary's feed is a state file.
	baselineOnly bool
	// The primary: a round trip of 0 is no reply.
	rtt, baseline float64
	feed          bool // the feed is fresh
	feedAnswered  bool
	state         link.State
	atFloor, vain bool
	cuts          uint64
	feedDelta     float64
	warn          float64
	feedHeard     unit.Time

	// The queue: counters and depth.
	queueOK bool
	queue   link.Queue

	// The alternate: a round trip of 0 is no reply.
	alternate     bool
	altRTT        float64
	altFeed       bool
	altBase       float64
	altFeedOnly   bool
	altAnsweredAt unit.Time

	// What the alternate carries of its rate; an unset rate is not told.
	altRate, altCarried unit.Rate
	// What became of our own probes of the primary.
	loss steer.Loss

	// Further alternates, each with its rule.
	others []other

	// The router.
	reachable bool
	rule      bool
	seq       uint64
	reading   steer.Rule
	loses     bool   // a write is sent, its outcome is lost
	pending   *bool  // a lost write that may still arrive
	writes    []bool // every write that reached the router
}

// other is an alternate beside the first. Its baseline is 20 ms; a round trip of 0 is no reply.
type other struct {
	rtt     float64
	rule    bool
	reading steer.Rule
	barred  bool
}

func config() steer.Config {
	c := steer.Default()
	c.Primary, c.Alternates[0].Name = "spectrum", "att"
	c.Alternates[0].Checked = true
	return c
}

// newWorld is a calm evening: both lines at their baseline, empty queues, the rule disabled.
func newWorld(tb rapid.TB, c steer.Config) *world {
	tb.Helper()
	m, err := steer.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{
		cfg: c, m: m, now: unit.Time(100 * time.Second),
		rtt: 24, baseline: 24, feed: true, feedAnswered: true, warn: 45, queueOK: true,
		alternate: true, altRTT: 28, altFeed: true, altBase: 28, reachable: true,
	}
	for range len(c.Alternates) - 1 {
		w.others = append(w.others, other{rtt: 20})
	}
	return w
}

// input is what the machine may know now.
func (w *world) input() steer.Input {
	in := steer.Input{Now: w.now, Rules: []steer.Rule{w.reading}, Alternates: make([]steer.Alternate, 1)}
	in.RTT = reply(w.rtt, w.now)
	if w.feedAnswered && w.feed {
		w.feedHeard = w.now
	}
	in.Autorate = steer.Autorate{Known: true, Fresh: w.feed, BaselineOnly: w.baselineOnly, Feed: link.Feed{
		WAN: w.cfg.Primary, At: w.now, Period: 2 * time.Second, Measured: w.feedAnswered, AnsweredAt: w.feedHeard,
		RTT: unit.Millis(w.rtt), Baseline: unit.Millis(w.baseline), Delta: unit.Millis(w.feedDelta),
		State: link.Pair[link.State]{Down: w.state}, DownAtFloor: w.atFloor, Vain: w.vain, DownCuts: w.cuts, Warn: unit.Millis(w.warn),
	}}
	in.Queue = steer.QueueReading{OK: w.queueOK, Fresh: true, At: w.now, Queue: w.queue}
	if w.alternate {
		in.Alternates[0] = steer.Alternate{Autorate: steer.Autorate{Known: w.altFeed, Fresh: w.altFeed, Feed: link.Feed{
			Baseline: unit.Millis(w.altBase),
		}}}
		if w.altRTT > 0 {
			w.altAnsweredAt = w.now
		}
		if w.altFeedOnly {
			f := &in.Alternates[0].Autorate.Feed
			f.Measured, f.RTT, f.AnsweredAt = w.altRTT > 0, unit.Millis(w.altRTT), w.altAnsweredAt
		} else {
			in.Alternates[0].RTT = reply(w.altRTT, w.now)
		}
		if w.altRate > 0 {
			f := &in.Alternates[0].Autorate.Feed
			f.Rates = link.Rates{Down: w.altRate, Up: w.altRate}
			f.Carried = link.Load{Known: true, Rates: link.Rates{Down: w.altCarried}}
		}
	}
	in.Loss = w.loss
	for _, o := range w.others {
		in.Rules = append(in.Rules, o.reading)
		in.Alternates = append(in.Alternates, steer.Alternate{
			RTT: reply(o.rtt, w.now), Autorate: steer.Autorate{Known: true, Fresh: true, Feed: link.Feed{Baseline: 20}},
		})
	}
	return in
}

func reply(ms float64, at unit.Time) link.RTT {
	if ms <= 0 {
		return link.RTT{}
	}
	return link.RTT{OK: true, Value: unit.Millis(ms), At: at, Hosts: 1}
}

// step plays one cycle and then what the hand does with the wish before the next one.
func (w *world) step() steer.Decision {
	d := w.m.Step(w.input())
	w.hand(d.Rules[0])
	w.handOthers(d.Rules[1:])
	w.now = w.now.Add(w.cfg.Interval)
	w.queue.Packets += 1000
	return d
}

func (w *world) hand(wish steer.RuleWish) {
	if !w.reachable {
		return
	}
	switch {
	case wish.Read:
		w.read()
	case wish.Write && w.loses:
		w.pending = &wish.Wanted
	case wish.Write:
		w.rule = wish.Wanted
		w.writes = append(w.writes, w.rule)
		w.read()
	}
}

// handOthers carries out the wishes for the further rules.
func (w *world) handOthers(wishes []steer.RuleWish) {
	if !w.reachable {
		return
	}
	for i, wish := range wishes {
		o := &w.others[i]
		if !wish.Read && !wish.Write {
			continue
		}
		if wish.Write && !wish.Read {
			o.rule = wish.Wanted
		}
		w.seq++
		o.reading = steer.Rule{Known: true, Enabled: o.rule, Barred: o.barred, Seq: w.seq}
	}
}

func (w *world) read() {
	w.seq++
	w.reading = steer.Rule{Known: true, Enabled: w.rule, Seq: w.seq}
}

// restart replaces the machine by one that has only its stored memory.
func (w *world) restart(tb rapid.TB) {
	tb.Helper()
	text, err := json.Marshal(w.m.Snapshot())
	if err != nil {
		tb.Fatal(err)
	}
	var s steer.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		tb.Fatal(err)
	}
	m, err := steer.New(w.cfg)
	if err != nil {
		tb.Fatal(err)
	}
	m.Restore(s)
	w.m, w.reading = m, steer.Rule{}
	for i := range w.others {
		w.others[i].reading = steer.Rule{}
	}
}

func (w *world) congested()   { w.rtt, w.queue.QueuedPackets = 104, 80 }
func (w *world) calm()        { w.rtt, w.queue.QueuedPackets, w.state, w.feedDelta = 24, 0, link.Green, 0 }
func (w *world) yellow()      { w.rtt, w.queue.QueuedPackets = 48, 0 }
func (w *world) drop(n int64) { w.queue.Dropped += n }

// until steps until the predicate holds and returns that decision; it fails after limit cycles.
func (w *world) until(tb rapid.TB, limit int, what string, ok func(steer.Decision) bool) steer.Decision {
	tb.Helper()
	for range limit {
		if d := w.step(); ok(d) {
			return d
		}
	}
	tb.Fatalf("%s: not within %d cycles", what, limit)
	return steer.Decision{}
}

func degraded(d steer.Decision) bool { return d.State == steer.Degraded }
func good(d steer.Decision) bool     { return d.State == steer.Good }

func describe(w steer.RuleWish) string {
	s := ""
	if w.Read {
		s += " read"
	}
	if w.Write {
		s += fmt.Sprintf(" write %s", map[bool]string{true: "on", false: "off"}[w.Wanted])
	}
	return s
}
