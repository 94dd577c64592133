package shaper

import (
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Followed is a cycle of a line whose rates another law decides.
type Followed struct {
	Now unit.Time
	// OK is false when no reflector answers: the states stay as they are.
	OK bool
	// RTT, Baseline and Delta are the line's, in ms; the load average is their sum of baseline and delta.
	RTT, Baseline, Delta unit.Millis
	// Rates are what that law wants now, Reason why.
	Rates  link.Rates
	Reason link.Pair[link.Reason]
}

// Follow advances the states of a line by its delta, and takes the rates as they are. Everything that reads decisions,
// counts cuts or keeps states over a restart works as under the policy "steps".
func (c *Controller) Follow(in Followed) link.Decision {
	c.notes = c.notes[:0]
	if !c.advance(in.Now) {
		return c.decision(false, c.still(link.CauseHold))
	}
	for _, dir := range directions {
		s, to := c.get(dir), in.Rates.Get(dir)
		if to < s.rate {
			s.cuts++
		}
		s.rate, s.lastCut = to, 0
		r := in.Reason.Get(dir)
		r.From, r.To = c.out.Get(dir), to
		in.Reason.Set(dir, r)
	}
	c.out = in.Rates
	ok := in.OK && valid(link.RTT{OK: true, Value: in.RTT})
	if ok {
		c.rtt, c.baseline, c.load, c.primed = in.RTT, in.Baseline, in.Baseline+in.Delta, true
		for _, dir := range directions {
			s := c.get(dir)
			s.state = s.classify(in.Delta, c.cfg.direction(dir), c.d.sustain)
		}
	}
	return c.decision(ok, in.Reason)
}
