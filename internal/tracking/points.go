package tracking

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// point is a proved departure: by the instant at, everything sent up to the instant sent had left the upload's queue. How
// much that is, the ledger says; it may be known better later.
type point struct{ at, sent unit.Time }

// points are the departures of one queue, and those of the clear time before it.
type points struct {
	ring [16]point
	n    int
	// before are the newest departures while nothing queued.
	before [4]point
	m      int
}

func (p *points) clear() { p.n, p.m = 0, 0 }

// add takes a departure in while a queue stands. Those that are too old for the newest are forgotten. A reply that was
// overtaken proves nothing that the one before it does not.
func (p *points) add(x point) {
	if last, ok := p.last(); ok && x.sent <= last.sent || p.n > 0 && x.at <= last.at {
		return
	}
	k := 0
	for k < p.n && (x.at.Sub(p.ring[k].at) > pointsFor || p.n-k >= len(p.ring)) {
		k++
	}
	p.n = copy(p.ring[:], p.ring[k:p.n])
	p.ring[p.n] = x
	p.n++
}

// pass takes a departure in while nothing queues.
func (p *points) pass(x point) {
	p.n = 0
	if p.m > 0 && (x.at <= p.before[p.m-1].at || x.sent <= p.before[p.m-1].sent) {
		return
	}
	if p.m == len(p.before) {
		p.m = copy(p.before[:], p.before[1:])
	}
	p.before[p.m] = x
	p.m++
}

// last is the newest departure of the queue.
func (p *points) last() (point, bool) {
	switch {
	case p.n > 0:
		return p.ring[p.n-1], true
	case p.m > 0:
		return p.before[p.m-1], true
	}
	return point{}, false
}

// departed is the rate of departure over the standing queue, and over how many points it is known.
func (c *Controller) departed() (rate float64, n int) {
	p := &c.ways[link.Up].points
	if p.n < 2 {
		return 0, p.n
	}
	return c.between(p.ring[0], p.ring[p.n-1]), p.n
}

// firstDeparted is the rate from the last departure of the clear time to the first of the queue.
func (c *Controller) firstDeparted() (float64, bool) {
	p := &c.ways[link.Up].points
	if p.n == 0 || p.m == 0 {
		return 0, false
	}
	a, b := p.before[p.m-1], p.ring[0]
	if b.at.Sub(a.at) < leastSpan {
		return 0, false
	}
	return c.between(a, b), true
}

// passed is the rate of departure over the last four clear replies, where the counters of all of them have been read.
func (c *Controller) passed() (float64, bool) {
	p := &c.ways[link.Up].points
	if p.n > 0 || p.m < len(p.before) {
		return 0, false
	}
	a, b := p.before[0], p.before[p.m-1]
	if b.at.Sub(a.at) < leastWindow || c.ledger.n == 0 || b.sent > c.ledger.newest(0).at.Add(leastSpan) {
		return 0, false
	}
	return c.between(a, b), true
}

func (c *Controller) between(a, b point) float64 {
	x, _ := c.ledger.at(a.sent)
	y, _ := c.ledger.at(b.sent)
	return (y.moved[link.Up] - x.moved[link.Up]) / max(b.at.Sub(a.at), time.Millisecond).Seconds()
}

// depart books what a reply proves about the upload.
func (c *Controller) depart(s link.Sample, delta float64) {
	c.ways[link.Up].points.add(point{s.Sent.Add(millis(delta)), s.Sent})
}

// heard is one reply: when its probe left, when it arrived, and its delta in ms.
type heard struct {
	sent, at unit.Time
	delta    float64
}

// when is the instant whose counters tell what a direction carried as the reply says: what was sent before its probe, and
// what had come in before it.
func (h heard) when(d link.Direction) unit.Time {
	if d == link.Up {
		return h.sent
	}
	return h.at
}

// recent are the newest replies of an episode.
type recent struct {
	ring [16]heard
	n    int
}

func (r *recent) add(sent, at unit.Time, delta float64) {
	r.ring[r.n%len(r.ring)] = heard{sent, at, delta}
	r.n++
}

// back returns the reply i places before the newest.
func (r *recent) back(i int) heard { return r.ring[(r.n-1-i)%len(r.ring)] }

// halves returns three replies that divide the newest part of what has been heard since an instant in two halves, each at
// least [halfFor] long, and the least and greatest delta in it.
func (r *recent) halves(since, now unit.Time) (first, middle, last heard, least, most float64, ok bool) {
	n := min(r.n, len(r.ring))
	if n == 0 {
		return first, middle, last, 0, 0, false
	}
	last = r.back(0)
	least, most = last.delta, last.delta
	for i := 1; i < n; i++ {
		h := r.back(i)
		if h.at < since || now.Sub(h.at) > 4*halfFor {
			break
		}
		least, most = min(least, h.delta), max(most, h.delta)
		switch {
		case middle.at == 0 && last.at.Sub(h.at) >= halfFor && last.sent.Sub(h.sent) >= halfFor:
			middle = h
		case middle.at != 0 && middle.at.Sub(h.at) >= halfFor && middle.sent.Sub(h.sent) >= halfFor:
			return h, middle, last, least, most, true
		}
	}
	return first, middle, last, 0, 0, false
}

// newest is the delta heard last.
func (r *recent) newest() float64 {
	if r.n == 0 {
		return 0
	}
	return r.back(0).delta
}

// span returns the least and the greatest of the deltas since then, and how many there are.
func (r *recent) span(since unit.Time) (least, most float64, n int) {
	for i := range min(r.n, len(r.ring)) {
		h := r.back(i)
		if h.at < since {
			break
		}
		if n == 0 || h.delta < least {
			least = h.delta
		}
		most = max(most, h.delta)
		n++
	}
	return least, most, n
}
