// Package shaper decides the rates one line's router shall shape to, from round-trip times: the policy "steps", a
// ladder of congestion states with cuts, holds and slow climbs.
//
// A [Controller] is pure: time comes in with each [Input], the wish goes out as a link.Decision, and nothing else
// is touched. The same controller therefore runs on a live line, in a simulated day and under a fuzzer.
package shaper

import (
	"fmt"
	"math"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// maxRTT is the longest round trip a sample may claim; longer ones are discarded.
const maxRTT unit.Millis = 10_000

// Input is what a cycle knows.
type Input struct {
	// Now is the cycle's instant. A Step earlier than the one before it, or before the clock's zero, is ignored.
	Now unit.Time
	// RTT is the fused round trip. Not OK, NaN, ≤ 0 or over 10 s: the cycle is skipped.
	RTT link.RTT
	// Replies are the replies that arrived since the last Step, in any order. They judge a test dip and are not kept.
	Replies []link.Reply
	// Load is the newest measured throughput. Unknown or older than 5 s, the line is not provably idle.
	Load link.Load
}

// Controller is one line's rate controller. It is not safe for concurrent use.
type Controller struct {
	cfg Config
	d   derived

	now      unit.Time // of the last Step
	started  bool      // a Step has been made
	restored bool      // Restore was called and no Step made since

	primed         bool // load and baseline hold figures
	load, baseline unit.Millis
	rtt            unit.Millis // the newest sample

	side link.Pair[side]
	path path

	out   link.Rates // what the last decision said
	notes []link.Note
}

// side is the state of one direction.
type side struct {
	state link.State
	// rate is the decided rate, without a test dip.
	rate unit.Rate
	// green and soft count the samples in a row that were GREEN, or between warn and critical.
	green, soft int
	// rest is the part of a step too small for a whole bit/s, in bit/s × µs per 2 s.
	rest int64
	// lastCut is when RED last lowered the rate; 0 for never.
	lastCut unit.Time
	cuts    uint64
}

// New returns a controller that starts at the ceilings, GREEN, with the configured initial baseline.
func New(c Config) (*Controller, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	k := &Controller{cfg: c, d: c.derive(), notes: make([]link.Note, 0, 4)}
	if c.BaselineInitial != 0 {
		k.load, k.baseline, k.primed = c.BaselineInitial, c.BaselineInitial, true
	}
	k.side.Down.rate, k.side.Up.rate = c.Down.Ceiling, c.Up.Ceiling
	k.out = k.output()
	return k, nil
}

// Config returns the configuration in force.
func (c *Controller) Config() Config { return c.cfg }

// Rates returns the rates of the last decision; before the first, those to start with.
func (c *Controller) Rates() link.Rates { return c.out }

// Cuts returns how often RED lowered each direction's rate, over restarts that restore a snapshot.
func (c *Controller) Cuts() link.Pair[uint64] {
	return link.Pair[uint64]{Down: c.side.Down.cuts, Up: c.side.Up.cuts}
}

// AtFloor reports whether a direction's decided rate stands on its lowest floor.
func (c *Controller) AtFloor(d link.Direction) bool {
	return c.get(d).rate <= c.cfg.direction(d).Floor[link.Red]
}

// Reconfigure puts another configuration in force. Averages, streaks (as time, not as counts) and the watch for a
// path change stay; rates are clamped to the new floors and ceilings and the baseline to its new bounds. On an error
// the old configuration stays in force, whole.
func (c *Controller) Reconfigure(n Config) error {
	if err := n.Validate(); err != nil {
		return err
	}
	old := c.cfg.Period
	c.cfg, c.d = n, n.derive()
	c.settle(old)
	return nil
}

// settle brings the state into the bounds of the configuration in force; old is the period it was counted in.
func (c *Controller) settle(old time.Duration) {
	if c.primed {
		c.baseline = c.bound(c.baseline)
	}
	for _, dir := range directions {
		s, d := c.get(dir), c.cfg.direction(dir)
		s.rate = min(max(s.rate, d.Floor[link.Red]), d.Ceiling)
		s.green, s.soft = rescale(s.green, old, c.cfg.Period), rescale(s.soft, old, c.cfg.Period)
		s.rest %= stepScale
		if s.state == link.SoftRed && !d.FourState {
			s.state = link.Yellow
		}
	}
	c.out = c.output()
}

// directions are both, in the order of every table.
var directions = [...]link.Direction{link.Down, link.Up}

// maxStreak bounds a streak: longer ones mean the same.
const maxStreak = 1 << 30

// rescale turns a streak counted in one period into samples of another, rounded down.
func rescale(n int, from, to time.Duration) int {
	if from == to || from <= 0 {
		return n
	}
	return int(min(float64(n)*float64(from)/float64(to), maxStreak))
}

// get returns one direction's state for changing.
func (c *Controller) get(d link.Direction) *side {
	if d == link.Up {
		return &c.side.Up
	}
	return &c.side.Down
}

// Step advances the controller to in.Now. It never blocks, logs or fails.
func (c *Controller) Step(in Input) link.Decision {
	c.notes = c.notes[:0]
	if !c.advance(in.Now) {
		return c.decision(false, c.still(link.CauseHold))
	}
	c.collect(in.Replies)
	dipped := c.dipping()
	c.endDip()
	if !valid(in.RTT) {
		reason := c.still(link.CauseNoReply)
		c.returnRates(&reason)
		return c.decision(false, reason)
	}
	high := c.sense(in.RTT.Value)
	c.watch(in, high)
	var reason link.Pair[link.Reason]
	delta := c.load - c.baseline
	for _, dir := range directions {
		s := c.get(dir)
		s.state = s.classify(delta, c.cfg.direction(dir), c.d.sustain)
		reason.Set(dir, c.decide(dir, dipped.Get(dir)))
	}
	if c.dipDue(high) {
		c.startDip(in, delta, &reason)
	}
	c.out = c.output()
	for _, dir := range directions {
		r := reason.Get(dir)
		r.To = c.out.Get(dir)
		reason.Set(dir, r)
	}
	return c.decision(true, reason)
}

// advance takes the clock to now. It refuses to go back, except once after a restore: the snapshot may be of another
// boot, whose clock started elsewhere.
func (c *Controller) advance(now unit.Time) bool {
	switch {
	case now < 0:
		return false
	case c.restored && now < c.now:
		c.Restore(c.Snapshot().Rebase(now))
	case c.started && now < c.now:
		return false
	}
	c.now, c.started, c.restored = now, true, false
	return true
}

// valid reports whether a sample may enter the averages.
func valid(r link.RTT) bool {
	return r.OK && !math.IsNaN(float64(r.Value)) && r.Value > 0 && r.Value <= maxRTT
}

// sense takes a sample into the averages, in the order the law prescribes, and reports whether the delay is high.
func (c *Controller) sense(m unit.Millis) bool {
	c.rtt = m
	if !c.primed {
		c.load, c.baseline, c.primed = m, c.bound(m), true
	}
	c.load = unit.Millis(filter.Blend(float64(c.load), float64(m), c.d.alphaLoad))
	if c.load-c.baseline < c.cfg.BaselineUpdate {
		c.baseline = c.bound(unit.Millis(filter.Blend(float64(c.baseline), float64(m), c.d.alphaBaseline)))
	}
	return c.load-c.baseline >= c.cfg.BaselineUpdate
}

// bound keeps a baseline inside its configured bounds.
func (c *Controller) bound(m unit.Millis) unit.Millis {
	return min(max(m, c.cfg.BaselineMin), c.cfg.BaselineMax)
}

// still is a decision's reasons when no rate moves.
func (c *Controller) still(cause link.Cause) link.Pair[link.Reason] {
	return link.Pair[link.Reason]{
		Down: link.Reason{Cause: cause, From: c.out.Down, To: c.out.Down},
		Up:   link.Reason{Cause: cause, From: c.out.Up, To: c.out.Up},
	}
}

func (c *Controller) decision(measured bool, reason link.Pair[link.Reason]) link.Decision {
	d := link.Decision{
		Now:      c.now,
		Measured: measured,
		RTT:      c.rtt,
		Load:     c.load,
		Baseline: c.baseline,
		Delta:    c.load - c.baseline,
		State:    link.Pair[link.State]{Down: c.side.Down.state, Up: c.side.Up.state},
		Rates:    c.out,
		Reason:   reason,
	}
	if len(c.notes) > 0 {
		d.Notes = c.notes
	}
	return d
}

func (c *Controller) note(l link.Level, key, format string, a ...any) {
	c.notes = append(c.notes, link.Note{Level: l, Key: key, Text: fmt.Sprintf(format, a...)})
}
