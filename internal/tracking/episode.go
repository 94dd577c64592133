package tracking

import (
	"math"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// episode is a time in which a queue stands: from the reply that is late to the one that is not.
type episode struct {
	// ways are the directions whose queues its delays may be of.
	ways [2]bool
	// on says that it is under way, suspect that one reply was late and a second has to agree.
	on, suspect bool
	host        int
	// start is when the first late reply arrived, and late its delta in ms: start - late is when it met the queue.
	start unit.Time
	late  float64
	// owner is the direction whose queue it is taken for; all says that both are drained.
	owner link.Direction
	all   bool
	trial trial
	// foreign says that a delay stands which began while neither direction carried enough for it.
	foreign bool
	// looks counts how often it was looked at since its verdict.
	looks int
	// entry are the greatest capacities of the first looks, load what was carried when the queue was met.
	entry, load [2]float64
	// peak is its greatest delta, in ms, onset how that came, and row those before it that ended like it.
	peak   float64
	onset  onset
	row    row
	recent recent
	// measured says that the download was, in this episode; until then before, the reply heard before, tells.
	measured bool
	before   struct {
		at    unit.Time
		delta float64
	}
	// floor is the delay that cutting did not take away, in ms, floorRate what the directions carried that it was found in,
	// and low the greatest delta under such load since lowAt.
	floor, low float64
	floorRate  [2]float64
	lowAt      unit.Time
}

// drains says whether a direction's queue is what the episode drains.
func (e *episode) drains(d link.Direction) bool { return e.owner == d || e.all }

// threshold is the delta above which a queue is meant.
func (c *Controller) threshold(e *episode, noise unit.Millis) float64 {
	return max(c.law.on, sigmas*float64(noise)) + c.serial(e)
}

// hear takes a reply's delay into an episode.
func (c *Controller) hear(e *episode, s link.Sample, raw float64) {
	e.recent.add(s.Sent, s.Received, raw)
	if !c.metered(s.Received) {
		return // nothing can be measured: the rates stay
	}
	delta, on := max(raw-e.floor, 0), c.threshold(e, s.Noise)
	if delta <= on {
		e.foreign = false
	}
	defer func() { e.before.at, e.before.delta = s.Received, delta }()
	for _, d := range both {
		if e.ways[d] {
			c.ways[d].delta, c.ways[d].on = delta, on
		}
	}
	switch {
	case e.on && delta < off*on:
		c.end(e)
		c.cliff(e, s)
		c.clear(e, s, delta)
	case e.on:
		e.peak = max(e.peak, raw)
		e.onset.hear(&e.recent, e.start)
		c.drain(e, s.Received, delta, &s)
	case delta <= on || c.bystander(e, s.Received, delta):
		e.suspect = false
		c.clear(e, s, delta)
	case !e.suspect && c.cfg.Hosts > 1:
		e.suspect, e.host, e.start, e.late = true, s.Host, s.Received, delta
		e.onset = onset{}
		e.onset.hear(&e.recent, e.start)
		c.suspect(e, s, delta)
	case e.suspect && e.host == s.Host && c.cfg.Hosts > 1:
		// The same reflector again: another one has to agree.
	default:
		if !e.suspect {
			e.start, e.late, e.onset = s.Received, delta, onset{}
		}
		c.begin(e)
		e.onset.hear(&e.recent, e.start)
		c.drain(e, s.Received, delta, &s)
	}
}

// metered says that there are counters to measure by.
func (c *Controller) metered(t unit.Time) bool {
	return c.ledger.size() >= 2 && t.Sub(c.ledger.newest(0).at) < stale
}

// bystander says that a delay rises while what could cause it carries too little for a queue: what it carries would be taken
// for all that it can.
func (c *Controller) bystander(e *episode, t unit.Time, delta float64) bool {
	if e.ways[link.Down] && e.ways[link.Up] {
		if !c.spare(link.Down, t) || !c.spare(link.Up, t) {
			return false
		}
		e.foreign = e.foreign || !c.risen(link.Down, t) && !c.risen(link.Up, t)
		return e.foreign
	}
	if delta > plainQueue {
		return false
	}
	d := link.Down
	if e.ways[link.Up] {
		d = link.Up
	}
	rate, _, ok := c.ledger.recent(d, t, 2*lately)
	// Less than a packet standing is no queue.
	return ok && (c.use(d, t, 2*lately) < idleShare || rate*delta/1000 < packet)
}

// spare says that a direction carries, and carried before, so little that no queue is its.
func (c *Controller) spare(d link.Direction, t unit.Time) bool {
	return c.use(d, t, 2*lately) < idleShare && c.use(d, t, spareFor) < idleShare
}

// risen says that a direction whose capacity is not known carries the most that it ever did, and has just begun to: its
// maximum may be far too high, and this be all that it can.
func (c *Controller) risen(d link.Direction, t unit.Time) bool {
	w := &c.ways[d]
	rate, _, ok := c.ledger.recent(d, t, 2*lately)
	if w.capacity > 0 || !ok || rate < 0.8*w.most {
		return false
	}
	before, _, ok := c.ledger.carried(d, t.Add(-risenFor), t.Add(-spareFor))
	return !ok || rate > 1.2*before
}

// suspect is the answer to a single late reply: stop growing, and take back a little of what is in use.
func (c *Controller) suspect(e *episode, s link.Sample, delta float64) {
	for _, d := range both {
		w := &c.ways[d]
		if !e.ways[d] {
			continue
		}
		if d == link.Up {
			c.depart(s, delta)
		}
		w.climb = 0
		if c.limited(d) && w.capacity > 0 {
			c.set(d, max(hint*w.rate, min(w.rate, w.capacity*c.law.share)), link.CauseCut)
		}
	}
}

// begin starts an episode whose first late reply is in e.start and e.late.
func (c *Controller) begin(e *episode) {
	e.on, e.suspect, e.all = true, false, false
	e.entry, e.looks, e.measured, e.peak = [2]float64{}, 0, false, e.late+e.floor
	e.trial = trial{}
	for _, d := range both {
		w := &c.ways[d]
		w.climb = 0
		e.trial.saved[d] = belief{w.capacity, w.rate}
		e.load[d], _, _ = c.ledger.carried(d, e.start.Add(-millis(e.late)-2*lately), e.start.Add(-millis(e.late)))
	}
	switch {
	case !e.ways[link.Down]:
		e.owner = link.Up
	case !e.ways[link.Up]:
		e.owner = link.Down
	default:
		c.accuse(e)
	}
}

// end ends an episode: its directions go back to just under what was measured.
func (c *Controller) end(e *episode) {
	guessed := e.trial.guessed
	for _, d := range both {
		w := &c.ways[d]
		if !e.ways[d] {
			continue
		}
		if !e.drains(d) {
			if guessed {
				w.proven = max(e.trial.saved[d].capacity, w.capacity)
			}
			continue
		}
		if w.capacity > 0 {
			c.set(d, c.law.share*w.capacity, link.CauseCapacity)
		}
		if top := max(w.capacity, w.settled); w.settled > 0 {
			change := math.Abs(w.capacity-w.settled) / top
			w.vary += float64((change - w.vary) * varyWeight)
		}
		if guessed && same(w.capacity, w.settled) {
			w.quiet = min(2*w.quiet, longSettle)
		} else {
			w.quiet = settle
		}
		if guessed {
			w.proven = e.trial.saved[d].capacity
		}
		w.settled, w.since = w.capacity, c.now
		w.points.clear()
		if !e.all {
			c.remember(d, w.capacity)
		}
	}
	e.on, e.suspect = false, false
}

// same says that two capacities are within 3 % of each other.
func same(a, b float64) bool { return b > 0 && a > 0.97*b && a < 1.03*b }

// drain runs the law of the directions that an episode is of. s is the reply it is heard by; nil is silence.
func (c *Controller) drain(e *episode, t unit.Time, delta float64, s *link.Sample) {
	if s != nil && e.ways[link.Down] && e.ways[link.Up] {
		c.judge(e, *s, delta)
	}
	for _, d := range both {
		if !e.drains(d) {
			if d == link.Up && e.ways[d] && s != nil {
				c.depart(*s, delta)
			}
			continue
		}
		if d == link.Down {
			c.drainDown(e, t, delta, s)
		} else {
			c.drainUp(t, delta, s)
		}
		if e.looks < firstLooks {
			e.entry[d] = max(e.entry[d], c.ways[d].capacity)
		}
	}
	e.looks++
	if s != nil {
		c.unremovable(e, *s)
	}
}

// drainDown measures the download by what comes in before the shaper, from when the late probe met the queue. Where that
// has not been counted yet, the queue's growth tells: what goes in is our rate, and it takes 1 + growth times as long to
// come out.
func (c *Controller) drainDown(e *episode, t unit.Time, delta float64, s *link.Sample) {
	w := &c.ways[link.Down]
	if rate, ok := c.ledger.through(link.Down, max(e.start.Add(-millis(e.late)), c.dark), t); ok {
		w.capacity = rate
		e.measured = true
	} else if !e.measured && s != nil && s.Received > e.before.at && delta > e.before.delta {
		growth := (delta - e.before.delta) / (float64(s.Received.Sub(e.before.at)) / 1e6)
		w.capacity = lesser(w.capacity, c.ledger.rate[link.Down]*max(1-growth, leastDown))
	}
	if w.capacity > 0 {
		c.set(link.Down, w.capacity*max(leastDown, c.law.share-(delta-c.law.target)/c.law.drain), link.CauseCut)
	}
}

// drainUp measures the upload by when what was sent before each late probe had left.
func (c *Controller) drainUp(t unit.Time, delta float64, s *link.Sample) {
	w := &c.ways[link.Up]
	if s != nil {
		c.depart(*s, delta)
	}
	if rate, n := c.departed(); n >= 2 {
		w.capacity = rate
	} else if rate, ok := c.firstDeparted(); ok && n == 1 {
		w.capacity = lesser(w.capacity, rate)
	}
	p, ok := w.points.last()
	now, has := c.ledger.at(t)
	if !ok || !has || w.capacity <= 0 {
		return
	}
	gone, _ := c.ledger.at(p.sent)
	queue := max(0, now.moved[link.Up]-gone.moved[link.Up]-float64(w.capacity*t.Sub(p.at).Seconds()))
	want := float64(c.law.share*w.capacity) - (queue-float64(c.law.target/1000*w.capacity))/(drainUp/1000)
	c.set(link.Up, max(leastUp*w.capacity, want), link.CauseCut)
}

// lesser is the lesser of two capacities, of which a may be unknown.
func lesser(a, b float64) float64 {
	if a <= 0 {
		return b
	}
	return min(a, b)
}

// silence takes in what unanswered probes tell, and says whether they tell anything.
func (c *Controller) silence(q link.Silence) bool {
	over := float64(q.Over)
	if q.Hosts == 0 || c.heardAt == 0 || c.now.Sub(c.heardAt) >= deafAfter {
		return false
	}
	if c.oneWay() {
		// Which way it is late is not known before it arrives: it counts for what is queueing already, else for what is
		// loaded.
		switch {
		case c.each[link.Down].on || c.each[link.Down].suspect:
			return c.overdue(&c.each[link.Down], q, over)
		case c.each[link.Up].on || c.each[link.Up].suspect:
			return c.overdue(&c.each[link.Up], q, over)
		case c.use(link.Down, c.now, 2*lately) < busyShare:
			return c.overdue(&c.each[link.Up], q, over)
		case c.use(link.Up, c.now, 2*lately) < busyShare:
			return c.overdue(&c.each[link.Down], q, over)
		}
		return true
	}
	return c.overdue(&c.round, q, over)
}

// overdue lets silence speak in an episode, and says whether there is any.
func (c *Controller) overdue(e *episode, q link.Silence, over float64) bool {
	delta := over - e.floor
	least := silent
	if e.suspect {
		least = c.threshold(e, 0)
	}
	last := 0.0
	for _, d := range both {
		if e.ways[d] {
			last = max(last, c.ways[d].delta)
		}
	}
	if delta <= least || e.on && delta <= last || !e.suspect && q.Hosts < 2 && c.cfg.Hosts > 1 {
		return q.Hosts > 0
	}
	if c.muted == c.heardAt || e.on && c.unfed(e, c.now) {
		// The download gets what its rate lets through and no more: no queue holds the replies back, they are lost.
		c.muted = c.heardAt
		c.dismiss(e)
		return true
	}
	if c.blackout() {
		c.dark = c.now
		for _, d := range both {
			c.ways[d].cause = link.CauseBlackout
		}
		return true
	}
	if !e.on {
		if c.bystander(e, c.now, delta) {
			return true
		}
		if !e.suspect {
			e.start, e.late, e.onset = c.now, delta, onset{}
		}
		c.begin(e)
	}
	if w := &c.ways[link.Up]; e.drains(link.Up) && w.capacity > 0 {
		// Nothing sent after that probe has left: that bounds what can have, while a queue stands.
		if p, ok := w.points.last(); ok && w.points.n > 0 {
			if sent, has := c.ledger.at(q.Sent); has && c.now > p.at {
				gone, _ := c.ledger.at(p.sent)
				w.capacity = min(w.capacity, max(sent.moved[link.Up]-gone.moved[link.Up]+packet, packet)/c.now.Sub(p.at).Seconds())
			}
		}
	}
	c.drain(e, c.now, delta, nil)
	return true
}

// blackout says that nothing comes in at all: the line is away, and no rate can help.
func (c *Controller) blackout() bool {
	rate, _, ok := c.ledger.recent(link.Down, c.now, lately)
	return ok && rate*lately.Seconds() < packet
}

func millis(ms float64) time.Duration { return time.Duration(ms * 1e6) }
