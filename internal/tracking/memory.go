package tracking

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// While a line is idle nothing is learnt of its capacity, and what was measured last is worth less and less: a rate that is
// below what the line carried at this time of day before goes there. One above stays: what begins to send does not send
// that much at once, and the first late replies correct it as soon from there (docs/control.md).
const (
	// slots divide the day; each keeps so many capacities, the newest, and says something from enough of them on.
	slots, kepts, enough = 12, 16, 8
	minutesOfDay         = 24 * 60
	// firstApart is how far two of them are apart while a slot is not full, apart how far after that: a full slot holds what
	// was measured in two hours and a half of use, which are some days.
	firstApart, apart = 20 * time.Second, 10 * time.Minute
	// steadyFor is how long our rate has been the limit when what comes through is what the line carries.
	steadyFor = 2 * time.Second
	// usualEvery is the time between two steps toward the usual rate, usualPart how much of the way each goes: in steps,
	// because a router may save each rate to flash. Together they make a time constant of 42 s. usualNear is how near is near
	// enough.
	usualEvery = 15 * time.Second
	usualPart  = 0.3
	usualNear  = 0.03
)

// slot is what was measured in one part of the day, in a ring.
type slot struct {
	ring [kepts]unit.Rate
	n    int // how many ever
}

func (s *slot) add(r unit.Rate) {
	s.ring[s.n%kepts] = r
	s.n++
}

// quantile is the rate that percent of what is kept is below.
func (s *slot) quantile(percent int) (unit.Rate, bool) {
	n := min(s.n, kepts)
	if n < enough {
		return 0, false
	}
	sorted := s.ring
	slices.Sort(sorted[:n])
	return sorted[(n-1)*percent/100], true
}

// slot returns a direction's slot of this time of day; nil where that is not known.
func (c *Controller) slot(d link.Direction) *slot {
	m := c.outside.Minute
	if m < 1 || m > minutesOfDay {
		return nil
	}
	return &c.ways[d].past[(m-1)*slots/minutesOfDay]
}

// remember keeps what a direction is measured to carry now.
func (c *Controller) remember(d link.Direction, rate float64) {
	w, s := &c.ways[d], c.slot(d)
	if s == nil || rate < 1 {
		return
	}
	gap := firstApart
	if s.n >= kepts {
		gap = apart
	}
	if w.noted != 0 && c.now.Sub(w.noted) < gap {
		return
	}
	w.noted = c.now
	s.add(unit.Rate(min(rate, float64(unit.MaxRate))))
}

// usually is the rate for what the line carries at this time of day, as the profile reckons with it.
func (c *Controller) usually(d link.Direction) (float64, bool) {
	s := c.slot(d)
	if s == nil {
		return 0, false
	}
	r, ok := s.quantile(c.law.usual)
	return float64(r) * min(c.law.share, 1), ok
}

// recall takes the rate of a direction that does not use it a step toward the usual capacity, at times.
func (c *Controller) recall(d link.Direction) {
	w := &c.ways[d]
	if _, _, ok := c.ledger.recent(d, c.now, lately); !ok {
		w.idle = c.now
		return // nobody says that it is idle
	}
	if c.now.Sub(w.idle) < usualEvery {
		return
	}
	w.idle = c.now
	usual, ok := c.usually(d)
	if !ok || w.rate > (1-usualNear)*usual {
		return
	}
	if w.settled > 0 && w.settled < usual { // what was known of it fades the same way
		w.settled += float64((usual - w.settled) * usualPart)
	}
	c.set(d, w.rate+float64((usual-w.rate)*usualPart), link.CauseUsual)
}

// Measured are capacities that were measured, oldest first.
type Measured []unit.Rate

// MarshalText prints them in bit/s, with blanks between.
func (m Measured) MarshalText() (b []byte, _ error) {
	for i, r := range m {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(r), 10)
	}
	return b, nil
}

// UnmarshalText reads what [Measured.MarshalText] printed. It fails for what no line carries, and for more than are kept.
func (m *Measured) UnmarshalText(b []byte) error {
	*m = nil
	for _, f := range bytes.Fields(b) {
		r, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil || r < 1 || r > int64(unit.MaxRate) || len(*m) == kepts {
			return fmt.Errorf("measured capacities %.100q: want up to %d whole numbers of bit/s from 1 to %d", b, kepts, unit.MaxRate)
		}
		*m = append(*m, unit.Rate(r))
	}
	return nil
}

// Memory is what the directions of a line carried, in each part of the local day, of which the first begins at midnight.
type Memory link.Pair[[slots]Measured]

// Memory returns what was measured, for another run.
func (c *Controller) Memory() (m Memory) {
	for _, d := range both {
		var day [slots]Measured
		for i := range day {
			s := &c.ways[d].past[i]
			for k := max(0, s.n-kepts); k < s.n; k++ {
				day[i] = append(day[i], s.ring[k%kepts])
			}
		}
		(*link.Pair[[slots]Measured])(&m).Set(d, day)
	}
	return m
}

// Remember takes over what an earlier run has measured, in the place of what this one has.
func (c *Controller) Remember(m Memory) {
	for _, d := range both {
		for i, past := range link.Pair[[slots]Measured](m).Get(d) {
			c.ways[d].past[i] = slot{}
			for _, r := range past {
				if r > 0 && r <= unit.MaxRate {
					c.ways[d].past[i].add(r)
				}
			}
		}
	}
}
