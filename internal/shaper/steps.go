package shaper

import (
	"math/bits"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// stepScale is 2 s in µs: StepUp is stated for that long, and a period is a whole number of µs.
const stepScale = 2_000_000

// billion is the grain of a cycle's YELLOW factor.
const billion = 1_000_000_000

// classify returns the state of a delay, and keeps the streaks. Equality belongs to the milder state.
func (s *side) classify(delta unit.Millis, d *Direction, sustain int) link.State {
	green, soft := s.green, s.soft
	s.green, s.soft = 0, 0
	switch {
	case delta <= d.Target:
		s.green = min(green+1, maxStreak)
		return link.Green
	case delta <= d.Warn:
		return link.Yellow
	case !d.FourState || delta > d.Critical:
		return link.Red
	}
	s.soft = min(soft+1, maxStreak)
	if s.soft < sustain {
		return link.Yellow
	}
	return link.SoftRed
}

// decide runs the law for one direction and returns why its rate is what it is now; To is filled in by the caller.
// A direction in a test dip keeps its decided rate, so that the dip's end returns to it.
func (c *Controller) decide(dir link.Direction, wasDipped bool) link.Reason {
	from := c.out.Get(dir)
	if c.dipping().Get(dir) {
		return link.Reason{Cause: link.CauseDip, From: from}
	}
	s := c.get(dir)
	before := s.rate
	to, cause := c.law(dir, s)
	s.rate = to
	if wasDipped && to == before {
		cause = link.CauseDip
	}
	return link.Reason{Cause: cause, From: from}
}

// law returns the next rate of a direction in its state, and the cause.
func (c *Controller) law(dir link.Direction, s *side) (unit.Rate, link.Cause) {
	d := c.cfg.direction(dir)
	floor := d.Floor[s.state]
	switch s.state {
	case link.Red:
		return c.cut(s, d.FactorDown, floor)
	case link.SoftRed:
		if c.cfg.SoftRed == Clamp && s.rate > floor {
			return floor, link.CauseClamp
		}
		return c.lift(s.rate, floor)
	case link.Yellow:
		if factor := c.d.decay.Get(dir); factor < billion && s.rate > floor {
			return lower(scaleBillion(s.rate, factor), floor)
		}
		return c.lift(s.rate, floor)
	case link.Green:
		return c.climb(s, d, floor)
	}
	return s.rate, link.CauseHold
}

// cut lowers the rate by a factor, unless the last cut is too young. It is made where it changes something: standing
// on the floor is no cut.
func (c *Controller) cut(s *side, factor unit.PPM, floor unit.Rate) (unit.Rate, link.Cause) {
	if s.rate <= floor {
		return floor, link.CauseFloor
	}
	if s.lastCut != 0 && c.now.Sub(s.lastCut) < c.d.cutAfter {
		return s.rate, link.CauseCutWait
	}
	to, cause := lower(s.rate.Scale(factor), floor)
	if to == s.rate {
		return to, link.CauseHold // a factor of 1.0 cuts nothing
	}
	s.lastCut = c.now
	s.cuts++
	return to, cause
}

// lower returns a lowered rate held at the floor.
func lower(to, floor unit.Rate) (unit.Rate, link.Cause) {
	if to < floor {
		return floor, link.CauseFloor
	}
	return to, link.CauseCut
}

// lift returns the held rate, lifted to the state's floor where the configuration says so.
func (c *Controller) lift(rate, floor unit.Rate) (unit.Rate, link.Cause) {
	if c.cfg.Lift == LiftState && rate < floor {
		return floor, link.CauseFloor
	}
	return rate, link.CauseHold
}

// climb is GREEN: not under its floor, and up by a step per 2 s once it has lasted.
func (c *Controller) climb(s *side, d *Direction, floor unit.Rate) (unit.Rate, link.Cause) {
	if s.rate >= d.Ceiling {
		s.rest = 0
		return d.Ceiling, link.CauseCeiling
	}
	to := max(s.rate, floor)
	if s.green < c.d.climb {
		if to > s.rate {
			return to, link.CauseFloor
		}
		return to, link.CauseHold
	}
	// 100 Gbit/s × 60 s in µs is 6e18, within an int64; the rest is under 2e6.
	due := int64(d.StepUp)*c.cfg.Period.Microseconds() + s.rest
	s.rest = due % stepScale
	to += unit.Rate(due / stepScale)
	if to >= d.Ceiling {
		to, s.rest = d.Ceiling, 0
	}
	return to, link.CauseRaise
}

// scaleBillion returns floor(r × f) for f in parts per 1e9, 0 to 1e9.
func scaleBillion(r unit.Rate, f uint64) unit.Rate {
	hi, lo := bits.Mul64(uint64(r), f)
	q, _ := bits.Div64(hi, lo, billion)
	return unit.Rate(q)
}
