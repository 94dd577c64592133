package tracking

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Bounds of a delay that cutting does not take away.
const (
	// worstFloor is the greatest that is believed, in ms, and flat how much the delay may swing.
	worstFloor, flat = 150.0, 0.2
	// firstLooks is how many figures of a queue's capacity are its first ones.
	firstLooks = 3
	// halfFor is how long each half of it has to last, and lessSent what part of the first's the second half carries.
	halfFor  = 75 * time.Millisecond
	lessSent = 0.7
	// longFlat is how long alone is enough, with so many replies.
	longFlat    = 600 * time.Millisecond
	longReplies = 8
)

// unremovable looks whether a delay stands still while less and less is sent into it, or comes out of it: then it is no
// queue. A queue's delay changes by r/C − 1, so it cannot stand still at two rates that differ by a third. Radio schedulers,
// retransmission and other people's queues add delays that no shaper takes away.
func (c *Controller) unremovable(e *episode, s link.Sample) {
	t := s.Received
	if !e.all && c.shared(e, t) {
		return // it may be the other's queue
	}
	first, middle, last, least, most, ok := e.recent.halves(e.start, t)
	if !ok || len(c.notes) == cap(c.notes) || most-least > max(flat*least, 5) || least > worstFloor {
		return
	}
	// One that stands still for long needs no second rate: any queue would have drained by a part of itself.
	if l, m, n := e.recent.span(t.Add(-longFlat)); n < longReplies || e.start > t.Add(-longFlat) || m-l > max(flat*l, 5) {
		for _, d := range both {
			if !e.drains(d) {
				continue
			}
			early, _, ok1 := c.ledger.carried(d, first.when(d), middle.when(d))
			late, _, ok2 := c.ledger.carried(d, middle.when(d), last.when(d))
			if !ok1 || !ok2 || late > lessSent*early {
				return
			}
		}
	}
	for _, d := range both {
		if !e.drains(d) {
			continue
		}
		if lo, _ := c.cfg.bounds(d); c.ways[d].rate <= lo {
			if _, use, ok := c.ledger.recent(d, t, 2*lately); !ok || use < 0.95 {
				return // the line carries less than we may set: then nothing drains
			}
		}
		// Nothing is proved as long as the router has not been told: what is carried may be less for the source's own reasons.
		if c.ledger.rate[d] > 0.9*e.entry[d] {
			return
		}
		// A source that does not respond keeps its queue full whatever we do: that is no floor.
		// And while more comes down than our rate lets through, there is a queue that it comes from.
		if rate, use, ok := c.ledger.recent(d, t, lately); !ok || e.entry[d] <= 0 || rate > 0.8*e.entry[d] || d == link.Down && use > 1.15 {
			return
		}
	}
	e.leaveOut(most, t, e.entry)
	for _, d := range both {
		if e.drains(d) {
			w := &c.ways[d]
			w.capacity = max(e.entry[d], e.trial.saved[d].capacity)
			c.set(d, 0.95*w.capacity, link.CauseUnremovable)
			w.settled, w.since, w.quiet = w.capacity, t, settle
			w.points.clear()
		}
	}
	e.on, e.suspect = false, false
	c.note(link.Info, "unremovable_delay", "%.0f ms of delay under load do not fall when the rate is cut: no shaper can remove "+
		"them, and they are left out of the control.", most)
}

// shared says that an episode's delay may be the queue of the direction that is not taken for its owner.
func (c *Controller) shared(e *episode, t unit.Time) bool {
	other := 1 - e.owner
	return e.ways[other] && c.use(other, t, 2*lately) >= idleShare
}

// leaveOut takes ms of an episode's delay for one that cutting does not take away, found at t under such loads.
func (e *episode) leaveOut(ms float64, t unit.Time, load [2]float64) {
	e.floor, e.floorRate = ms, [2]float64{}
	for _, d := range both {
		if e.drains(d) {
			e.floorRate[d] = load[d]
		}
	}
	e.low, e.lowAt = ms, t
}

// floorLoad is the load, as a part of that in which an unremovable delay was found, at which it must show again.
const floorLoad = 0.7

// settleFloor lowers an unremovable delay to what is left of it under load; without load nothing is learnt of it.
func (c *Controller) settleFloor(e *episode, s link.Sample) {
	if e.floor == 0 {
		return
	}
	loaded := false
	for _, d := range both {
		if rate, _, ok := c.ledger.recent(d, s.Received, 2*lately); ok && e.floorRate[d] > 0 {
			loaded = loaded || rate > floorLoad*e.floorRate[d]
		}
	}
	raw := e.recent.newest()
	if !loaded {
		e.low, e.lowAt = raw, s.Received
		return
	}
	if raw > e.floor {
		raw = e.floor
	}
	e.low = max(e.low, raw)
	if s.Received.Sub(e.lowAt) >= 300*time.Millisecond {
		// All of the last 300 ms stayed below: the greatest of them is what is left.
		e.floor = min(e.floor, e.low)
		e.low, e.lowAt = raw, s.Received
	}
}
