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
	n     int // readings made
	asked [2]float64
	rate  [2]float64 // in force since the newest reading
}

type entry struct {
	at    unit.Time
	moved [2]float64 // bits, by direction
	asked [2]float64
}

func (l *ledger) size() int { return min(l.n, kept) }

// newest returns the reading i places before the newest.
func (l *ledger) newest(i int) *entry { return &l.ring[(l.n-1-i)%kept] }

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

// at returns what had been counted at t, between two readings. Before the oldest and after the newest it returns those
// themselves: the instant it speaks of is returned with it.
func (l *ledger) at(t unit.Time) (e entry, ok bool) {
	n := l.size()
	if n == 0 {
		return e, false
	}
	if e = *l.newest(0); t >= e.at {
		return e, true
	}
	for i := 1; i < n; i++ {
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
		return e, true
	}
	return e, true
}

// leastSpan is the shortest time over which two readings make a rate.
const leastSpan = 10 * time.Millisecond

// carried returns what a direction carried from one instant to another, in bit/s, and what share that is of what its
// rate allowed.
func (l *ledger) carried(d link.Direction, from, to unit.Time) (rate, use float64, ok bool) {
	a, ok := l.at(from)
	if !ok {
		return 0, 0, false
	}
	b, _ := l.at(to)
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
