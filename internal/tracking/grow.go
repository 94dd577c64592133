package tracking

import (
	"time"

	"wanctl/internal/link"
)

// clear takes a reply in while no queue stands: what came through is a lower bound of the capacity.
func (c *Controller) clear(e *episode, s link.Sample, delta float64) {
	if e.ways[link.Up] {
		w := &c.ways[link.Up]
		w.points.pass(point{s.Sent.Add(millis(delta)), s.Sent})
		if rate, ok := c.passed(); ok && w.capacity > 0 {
			w.capacity = max(w.capacity, rate)
		}
	}
	if e.ways[link.Down] {
		if w := &c.ways[link.Down]; w.capacity > 0 {
			if rate, _, ok := c.ledger.recent(link.Down, s.Received, lately); ok {
				w.capacity = max(w.capacity, rate)
			}
		}
	}
	c.settleFloor(e, s)
}

// grow raises a direction's rate, where our own rate is what limits it and no queue stands.
func (c *Controller) grow(d link.Direction) {
	w := &c.ways[d]
	dt := min(max(c.now.Sub(w.grown).Seconds(), 0), longestStep)
	w.grown = c.now
	if c.now.Sub(c.heardAt) > freshFor {
		w.busy, w.idle = c.now, c.now
		return // nobody says whether a queue stands
	}
	if c.each[d].on || c.each[d].suspect || c.round.on || c.round.suspect || w.capacity <= 0 && w.rate >= float64(Unlimited) {
		w.busy, w.idle = c.now, c.now
		return
	}
	if !c.limited(d) {
		w.climb, w.busy = 0, c.now
		if w.cause != link.CauseStart && w.cause != link.CauseCeiling && w.cause != link.CauseFloor {
			w.cause = link.CauseHold
		}
		c.recall(d)
		return
	}
	w.idle = c.now
	if still := w.climb == 0 || w.cause == link.CauseCeiling; still && c.now.Sub(w.busy) >= steadyFor {
		if rate, _, ok := c.ledger.recent(d, c.now, steadyFor/2); ok {
			c.remember(d, rate)
		}
	}
	doubted := w.proven > 0 && w.rate < 0.95*w.proven
	if w.proven > 0 && !doubted {
		w.proven = 0
	}
	wait := time.Duration(float64(w.quiet) * (1 - float64(0.75*min(w.vary/lively, 1))))
	if !doubted && c.now.Sub(w.since) < wait {
		return
	}
	level := w.delta / (c.law.hover * w.on)
	k := max(-1, 1-level)
	g := nearRate + float64(varyRate*w.vary)
	switch {
	case doubted:
		g = provenRate
	case w.settled > 0 && w.rate < near*w.settled || level > 1:
		w.climb = 0
	default:
		w.climb = min(max(farRate+float64(varyRate*w.vary), w.climb+float64(w.climb*acceleration*dt)), mostRate)
		g = w.climb
	}
	if w.on <= 0 || k == 0 || k < 0 && !c.oneWay() && c.use(1-d, c.now, 2*lately) > busyShare {
		return // with round trips alone what stands there may be the other's
	}
	cause := link.CauseRaise
	if k < 0 { // back to where it comes to rest, and no further: with round trips alone the queue may be the other's
		cause, g = link.CauseHold, nearRate
	}
	to := w.rate + float64(w.rate*g*k*dt)
	if k > 0 { // not ahead of what the router has been told: that is what the clear replies are about
		to = min(to, max(w.rate, mostAhead*c.ledger.rate[d]))
	}
	c.set(d, to, cause)
}
