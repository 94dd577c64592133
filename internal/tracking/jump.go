package tracking

import (
	"math"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Bounds of a delay that comes and goes with the load, as a whole: a radio adds it above some load. The rate would swing
// around that load for ever, in episodes that begin and end at once at the same height.
const (
	// cliffFor is how quickly an episode ends from near its peak that is none of a queue's: a queue that is drained in 120 ms
	// takes two or three times as long. Of one that also came at once, jumpFor is enough. cliffLeast is the peak, in ms, from
	// which on that can be told (and twice the threshold).
	cliffFor, jumpFor = 110 * time.Millisecond, 160 * time.Millisecond
	cliffLeast        = 25.0
	// inRow is how many of the same height, within alikeBy of it, in a row are such a delay.
	inRow   = 3
	alikeBy = 0.25
	// jumpGrowth is the growth of a delay from one probe to the next, in ms per ms, from which on it has to go on growing if
	// it is a queue's, and jumpFlat by how much of the jump it does at most if it is not.
	jumpGrowth, jumpFlat = 0.5, 0.1
	// jumpLoad is how far above the load at which it came such a delay must show again.
	jumpLoad = 1.2
)

// onset is how an episode's delay came.
type onset struct {
	// before is the reply heard before the first late one.
	before, first heard
	// later is the greatest delta of those whose probes left after the first late one and before the first cut, n how many
	// they are.
	later float64
	n     int
}

// hear takes in the newest reply of an episode that began at start.
func (o *onset) hear(r *recent, start unit.Time) {
	h := r.back(0)
	switch {
	case o.first.at == 0:
		o.first = h
		if r.n > 1 {
			o.before = r.back(1)
		}
	case h.sent > o.first.sent && h.sent <= start:
		o.later = max(o.later, h.delta)
		o.n++
	}
}

// sudden says that the delay came at once and did not grow on although nothing had been cut yet. A queue that grows by so
// much from one probe to the next has more coming in than it lets out, and goes on growing.
func (o *onset) sudden(floor float64) bool {
	span := float64(unit.ToMillis(o.first.sent.Sub(o.before.sent)))
	jump := o.first.delta - max(o.before.delta, floor)
	return o.before.at != 0 && o.n > 0 && jump > jumpGrowth*span && o.later < o.first.delta+float64(jumpFlat*jump)
}

// row are episodes of the same height that ended like no queue does.
type row struct {
	// cliffs is how many ended at once, jumps how many of them had also come at once.
	cliffs, jumps int
	// height is the greatest delta of the newest, most that of all jumps; load is the most that was carried when one came,
	// and saved the most that was known before one.
	height, most float64
	load         [2]float64
	saved        [2]belief
}

// add takes an episode in that ended so long after it was last near its peak.
func (r *row) add(e *episode, fell time.Duration, tall bool) {
	if math.Abs(e.peak-r.height) > alikeBy*r.height {
		*r = row{}
	}
	r.height = e.peak
	if r.cliffs++; !tall || fell > cliffFor {
		r.cliffs = 0
	}
	if r.jumps++; !tall || fell > jumpFor || !e.onset.sudden(e.floor) {
		*r = row{cliffs: r.cliffs, height: r.height}
		return
	}
	r.most = max(r.most, e.peak)
	for d, was := range e.trial.saved {
		r.load[d] = max(r.load[d], e.load[d])
		r.saved[d] = belief{max(r.saved[d].capacity, was.capacity), max(r.saved[d].rate, was.rate)}
	}
}

// cliff looks how an episode ended. What jumped, and may not be the other direction's, was no queue: the rate is given back.
// Several of the same height in a row are a delay that no rate takes away.
func (c *Controller) cliff(e *episode, s link.Sample) {
	high := unit.Time(0)
	for i := range min(e.recent.n, len(e.recent.ring)) {
		if h := e.recent.back(i); h.delta-e.floor >= 0.8*(e.peak-e.floor) {
			high = h.at
			break
		}
	}
	r := &e.row
	r.add(e, s.Received.Sub(high), high != 0 && e.peak-e.floor >= max(cliffLeast, 2*c.law.on))
	jumps, was := r.jumps >= inRow, *r
	if r.jumps > 0 && !jumps && !e.all && !c.shared(e, s.Received) {
		c.giveBack(e, e.trial.saved, link.CauseCapacity)
	}
	if !jumps && r.cliffs < inRow || e.peak > worstFloor || len(c.notes) == cap(c.notes) {
		return
	}
	*r = row{height: e.peak}
	if !jumps {
		e.leaveOut(e.peak, s.Received, [2]float64{c.ways[link.Down].capacity, c.ways[link.Up].capacity})
	} else {
		e.leaveOut(min(was.most, worstFloor), s.Received, [2]float64{was.load[link.Down] * jumpLoad / floorLoad, was.load[link.Up] * jumpLoad / floorLoad})
		c.giveBack(e, was.saved, link.CauseUnremovable)
	}
	for _, d := range both {
		if e.drains(d) {
			c.ways[d].quiet = settle
		}
	}
	c.note(link.Info, "unremovable_delay", "%.0f ms of delay come with the load and go with it: no shaper can remove them, and they "+
		"are left out of the control.", e.floor)
}

// giveBack gives the directions of an episode that was none back what was known of them.
func (c *Controller) giveBack(e *episode, was [2]belief, cause link.Cause) {
	for _, d := range both {
		if w := &c.ways[d]; e.drains(d) {
			w.capacity = max(w.capacity, was[d].capacity)
			w.settled = was[d].capacity
			c.set(d, was[d].rate, cause)
		}
	}
}
