package tracking

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// kept is how many readings the ledger holds: at twenty probes a second and a reading at each of their ends, over ten
// seconds.
const kept = 512

// ledger remembers what had been counted when: the bits that crossed the line, and those that our rates allowed.
type ledger struct {
	ring  [kept]entry
	n     int64 // readings made; on a 32-bit host an int would be full in two years
	asked [2]float64
	rate  [2]float64 // in force since the newest reading
}

type entry struct {
	at    unit.Time
	moved [2]float64 // bits, by direction
	asked [2]float64
}

func (l *ledger) size() int { return int(min(l.n, kept)) }

// newest returns the reading i places before the newest.
func (l *ledger) newest(i int) *entry { return &l.ring[(l.n-1-int64(i))%kept] }

// add takes a reading in. One that is older than the newest is ignored, and one whose counters went back starts anew:
// the interface was made again.
func (l *ledger) add(c link.Counters) {
	e := entry{at: c.At, moved: [2]float64{link.Down: float64(c.Rx) * 8, link.Up: float64(c.Tx) * 8}}
	if l.n > 0 {
		last := l.newest(0)
		if c.At <= last.at {
			return
		}
		if e.moved[link.Down] < last.moved[link.Down] || e.moved[link.Up] < last.moved[link.Up] {
			*l = ledger{rate: l.rate}
		} else {
			dt := c.At.Sub(last.at).Seconds()
			for d := range l.asked {
				l.asked[d] += float64(l.rate[d] * dt)
			}
		}
	}
	e.asked = l.asked
	l.ring[l.n%kept] = e
	l.n++
}

// at returns what had been counted at t: between two readings in proportion, and after the newest what must have been
// moved since, at the pace of the last readings and at most at our rate. Before the oldest it returns that one, with its
// own instant.
func (l *ledger) at(t unit.Time) (e entry, ok bool) {
	if l.n == 0 {
		return e, false
	}
	if e = *l.newest(0); t > e.at {
		dt := t.Sub(e.at).Seconds()
		for d := range e.moved {
			e.asked[d] += float64(l.rate[d] * dt)
			e.moved[d] += float64(l.pace(link.Direction(d)) * dt)
		}
		e.at = t
		return e, true
	}
	return l.known(t), true
}

// known is the same without the guess: the newest reading for everything after it.
func (l *ledger) known(t unit.Time) entry {
	e := *l.newest(0)
	if t >= e.at {
		return e
	}
	for i := 1; i < l.size(); i++ {
		before := l.newest(i)
		if before.at > t {
			e = *before
			continue
		}
		part := float64(t.Sub(before.at)) / float64(e.at.Sub(before.at))
		for d := range e.moved {
			e.moved[d] = before.moved[d] + float64((e.moved[d]-before.moved[d])*part)
			e.asked[d] = before.asked[d] + float64((e.asked[d]-before.asked[d])*part)
		}
		e.at = t
		break
	}
	return e
}

// pace is how fast a direction moves since the newest reading, as far as it can be known: at our rate, where that was the
// limit before, else as before.
func (l *ledger) pace(d link.Direction) float64 {
	rate, use, ok := l.recent(d, l.newest(0).at, lately)
	switch {
	case !ok:
		return 0
	case use > fullShare:
		return l.rate[d]
	}
	return min(rate, l.rate[d])
}

// leastSpan is the shortest time over which two readings make a rate, stale how old the newest may be.
const (
	leastSpan = 10 * time.Millisecond
	stale     = 3 * time.Second
)

// recent returns what a direction carried in the time before t, in bit/s, and what share that is of what its rate allowed:
// over span, or over the last two readings where they are further apart.
func (l *ledger) recent(d link.Direction, t unit.Time, span time.Duration) (rate, use float64, ok bool) {
	if l.size() < 2 {
		return 0, 0, false
	}
	last := l.newest(0)
	if t.Sub(last.at) > stale {
		return 0, 0, false
	}
	if t < last.at {
		return l.carried(d, t.Add(-span), t)
	}
	return l.carried(d, min(last.at.Add(-span), l.newest(1).at), last.at)
}

// carried is the same from one instant to another.
func (l *ledger) carried(d link.Direction, from, to unit.Time) (rate, use float64, ok bool) {
	if l.n == 0 {
		return 0, 0, false
	}
	a, b := l.known(from), l.known(to)
	span := b.at.Sub(a.at)
	if span < leastSpan {
		return 0, 0, false
	}
	moved, asked := b.moved[d]-a.moved[d], b.asked[d]-a.asked[d]
	rate = moved / span.Seconds()
	if asked > 0 {
		use = moved / asked
	}
	return rate, use, true
}

// through returns what came through while a queue stood, from queued on, up to t: over the last window, or, where
// readings are sparse, between two of them.
func (l *ledger) through(d link.Direction, queued, t unit.Time) (rate float64, ok bool) {
	if l.size() < 2 {
		return 0, false
	}
	last := l.newest(0)
	from := min(max(queued, t.Add(-window)), t.Add(-leastWindow))
	if t.Sub(last.at) <= leastSpan { // read beside the probes
		rate, _, ok = l.carried(d, from, t)
		return rate, ok && rate > 0
	}
	// The oldest reading inside the window, or the newest one before it that the queue had been met by.
	for i := 1; i < l.size(); i++ {
		a := l.newest(i)
		if a.at < queued {
			return 0, false
		}
		if last.at.Sub(a.at) >= leastWindow {
			rate, _, ok = l.carried(d, a.at, last.at)
			return rate, ok && rate > 0
		}
	}
	return 0, false
}
