package netsim

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"wanctl/internal/unit"
)

// Packet is the size of a full packet in bytes: what CoDel drops, mahimahi delivers and TCP counts in.
const Packet = 1500

// horizon bounds how far ahead a delay is computed; a packet that would wait longer is lost.
const horizon = int64(60 * time.Second)

// Point is a rate from an instant on; At counts from the scenario's start.
type Point struct {
	At   time.Duration
	Rate unit.Rate
}

// Capacity is what one direction of a line can carry over time.
type Capacity struct {
	// Points are ordered by At; the first is at 0. A rate of 0 is an outage.
	Points []Point
	// Linear interpolates between the points instead of stepping.
	Linear bool
	// Loop repeats the pattern after this time; 0 holds the last rate for ever. It must lie after the last point.
	Loop time.Duration
	// Trace, when set, replaces all of the above.
	Trace *Trace
}

// Constant is a capacity that never changes.
func Constant(r unit.Rate) Capacity { return Capacity{Points: []Point{{0, r}}} }

// Steps changes from rate to rate at once; loop 0 holds the last rate.
func Steps(loop time.Duration, points ...Point) Capacity { return Capacity{Points: points, Loop: loop} }

// Ramp goes from point to point in straight lines; loop 0 holds the last rate.
func Ramp(loop time.Duration, points ...Point) Capacity {
	return Capacity{Points: points, Loop: loop, Linear: true}
}

// Recorded replays a trace for ever.
func Recorded(t *Trace) Capacity { return Capacity{Trace: t} }

// Nominal is the rate a line is sold as: the first point's, or the mean of a trace.
func (c Capacity) Nominal() unit.Rate {
	switch {
	case c.Trace != nil:
		return c.Trace.Mean()
	case len(c.Points) > 0:
		return c.Points[0].Rate
	}
	return 0
}

// Validate reports what makes the capacity unusable.
func (c Capacity) Validate() error {
	if c.Trace != nil {
		if len(c.Trace.at) == 0 || c.Trace.period <= 0 {
			return errors.New("capacity: the trace is empty; load it with LoadMahimahi")
		}
		return nil
	}
	if len(c.Points) == 0 {
		return errors.New("capacity: no points; use Constant, Steps, Ramp or Recorded")
	}
	if c.Points[0].At != 0 {
		return fmt.Errorf("capacity: the first point is at %v; it must be at 0", c.Points[0].At)
	}
	if c.Nominal() <= 0 {
		return errors.New("capacity: the first rate is the nominal one and must be above 0")
	}
	for i, p := range c.Points {
		if p.Rate < 0 || p.Rate > unit.MaxRate {
			return fmt.Errorf("capacity: rate %d of point %d is outside 0 to %d bit/s", p.Rate, i, unit.MaxRate)
		}
		if i > 0 && p.At <= c.Points[i-1].At {
			return fmt.Errorf("capacity: point %d at %v is not after the one before it", i, p.At)
		}
	}
	if last := c.Points[len(c.Points)-1].At; c.Loop != 0 && c.Loop <= last {
		return fmt.Errorf("capacity: loop %v must be after the last point at %v", c.Loop, last)
	}
	return nil
}

// compile makes the capacity answerable. Times are nanoseconds since the scenario's start.
func (c Capacity) compile() supply {
	if c.Trace != nil {
		return &opportunities{trace: c.Trace}
	}
	s := &pieces{loop: int64(c.Loop)}
	add := func(at int64, r float64) {
		s.at = append(s.at, at)
		s.rate = append(s.rate, r/8e9)
	}
	if !c.Linear {
		for _, p := range c.Points {
			add(int64(p.At), float64(p.Rate))
		}
		return s
	}
	// A straight line becomes steps of 100 ms, and of a thousandth of the whole where that is longer.
	span := max(c.Loop, c.Points[len(c.Points)-1].At)
	grain := max(int64(100*time.Millisecond), int64(span)/1000)
	ends := c.Points
	if c.Loop > 0 {
		ends = append(append([]Point(nil), ends...), Point{c.Loop, c.Points[0].Rate})
	}
	for i := 0; i+1 < len(ends); i++ {
		a, b := ends[i], ends[i+1]
		width := int64(b.At - a.At)
		for off := int64(0); off < width; off += grain {
			mid := float64(off+min(grain, width-off)/2) / float64(width)
			add(int64(a.At)+off, float64(a.Rate)+float64(mid*float64(b.Rate-a.Rate)))
		}
	}
	if c.Loop == 0 {
		last := c.Points[len(c.Points)-1]
		add(int64(last.At), float64(last.Rate))
	}
	return s
}

// supply answers what a capacity carries. Rates are bytes per nanosecond.
type supply interface {
	// bytes is what can leave between two instants.
	bytes(from, to int64) float64
	// after is when b bytes have left, counted from t; at most t+horizon.
	after(t int64, b, scale float64) int64
	// steady is the rate at t and how long it stays; ok is false for a supply that changes all the time.
	steady(t int64) (rate float64, until int64, ok bool)
}

// pieces is a piecewise constant supply.
type pieces struct {
	at   []int64
	rate []float64
	loop int64
	cur  int
}

// piece returns the rate at t and the instant at which it ends.
func (s *pieces) piece(t int64) (rate float64, until int64) {
	base := int64(0)
	if s.loop > 0 {
		base = t - t%s.loop
		t -= base
	}
	if s.at[s.cur] > t || (s.cur+1 < len(s.at) && s.at[s.cur+1] <= t) {
		s.cur = max(0, sort.Search(len(s.at), func(i int) bool { return s.at[i] > t })-1)
	}
	switch {
	case s.cur+1 < len(s.at):
		until = base + s.at[s.cur+1]
	case s.loop > 0:
		until = base + s.loop
	default:
		until = math.MaxInt64
	}
	return s.rate[s.cur], until
}

func (s *pieces) steady(t int64) (rate float64, until int64, ok bool) {
	rate, until = s.piece(t)
	return rate, until, true
}

func (s *pieces) bytes(from, to int64) float64 {
	sum := 0.0
	for from < to {
		r, until := s.piece(from)
		end := min(until, to)
		sum += float64(r * float64(end-from))
		from = end
	}
	return sum
}

func (s *pieces) after(t int64, b, scale float64) int64 {
	limit := t + horizon
	for b > 0 && t < limit {
		r, until := s.piece(t)
		r *= scale
		end := min(until, limit)
		can := float64(r * float64(end-t))
		if can >= b {
			return t + int64(math.Ceil(b/r))
		}
		b -= can
		t = end
	}
	return min(t, limit)
}
