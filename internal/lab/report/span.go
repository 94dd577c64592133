package report

import (
	"math"
	"slices"
	"sort"
)

// span is a half-open piece of time, in seconds.
type span struct{ from, to float64 }

// spans are ordered and apart.
type spans []span

// union returns the time that is in any of them.
func union(all ...spans) spans {
	var in spans
	for _, s := range all {
		in = append(in, s...)
	}
	slices.SortFunc(in, func(a, b span) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	var out spans
	for _, s := range in {
		switch n := len(out); {
		case s.to <= s.from:
		case n > 0 && s.from <= out[n-1].to:
			out[n-1].to = max(out[n-1].to, s.to)
		default:
			out = append(out, s)
		}
	}
	return out
}

// intersect returns the time that is in both.
func (a spans) intersect(b spans) spans {
	var out spans
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if from, to := max(a[i].from, b[j].from), min(a[i].to, b[j].to); from < to {
			out = append(out, span{from, to})
		}
		if a[i].to < b[j].to {
			i++
		} else {
			j++
		}
	}
	return out
}

// without returns the time of a that is not in b.
func (a spans) without(b spans) spans {
	var rest spans
	at := math.Inf(-1)
	for _, s := range b {
		rest = append(rest, span{at, s.from})
		at = s.to
	}
	return a.intersect(append(rest, span{at, math.Inf(1)}))
}

func (a spans) length() float64 {
	n := 0.0
	for _, s := range a {
		n += s.to - s.from
	}
	return n
}

func (a spans) has(t float64) bool {
	i := sort.Search(len(a), func(i int) bool { return a[i].to > t })
	return i < len(a) && a[i].from <= t
}

// overlap returns how much of [from, to) is in a.
func (a spans) overlap(from, to float64) float64 {
	n := 0.0
	for i := sort.Search(len(a), func(i int) bool { return a[i].to > from }); i < len(a) && a[i].from < to; i++ {
		n += min(to, a[i].to) - max(from, a[i].from)
	}
	return n
}

// steps is a value that holds until the next: a capacity in bit/s.
type steps struct{ at, value []float64 }

func (s *steps) add(at, value float64) {
	if n := len(s.at); n > 0 && s.at[n-1] == at {
		s.value[n-1] = value
		return
	}
	s.at, s.value = append(s.at, at), append(s.value, value)
}

// until returns where step i ends.
func (s *steps) until(i int) float64 {
	if i+1 < len(s.at) {
		return s.at[i+1]
	}
	return math.Inf(1)
}

// integral returns the value's integral over time. Before the first step the value is the first.
func (s *steps) integral(over spans) float64 {
	sum := 0.0
	for _, o := range over {
		for i := max(0, sort.SearchFloat64s(s.at, o.from)-1); i < len(s.at); i++ {
			from := s.at[i]
			if i == 0 {
				from = math.Inf(-1)
			}
			if from >= o.to {
				break
			}
			if d := min(o.to, s.until(i)) - max(o.from, from); d > 0 {
				sum += float64(d * s.value[i])
			}
		}
	}
	return sum
}

// counter is a cumulative count at instants; it may restart from zero, which adds nothing and takes nothing away.
type counter struct {
	at, total []float64
	last      float64
}

func (c *counter) add(at float64, raw int64) {
	v, n := float64(raw), len(c.at)
	step := v
	if n > 0 && v >= c.last {
		step = v - c.last
	}
	c.last = v
	if n == 0 {
		c.at, c.total = append(c.at, at), append(c.total, 0)
		return
	}
	if c.at[n-1] == at {
		c.total[n-1] += step
		return
	}
	c.at, c.total = append(c.at, at), append(c.total, c.total[n-1]+step)
}

// covered is the time between the first and the last reading.
func (c *counter) covered() spans {
	if len(c.at) < 2 {
		return nil
	}
	return spans{{c.at[0], c.at[len(c.at)-1]}}
}

// value is the count at t, linear between readings.
func (c *counter) value(t float64) float64 {
	i := sort.SearchFloat64s(c.at, t)
	switch {
	case len(c.at) == 0 || i == 0:
		return 0
	case i == len(c.at):
		return c.total[i-1]
	}
	part := (t - c.at[i-1]) / (c.at[i] - c.at[i-1])
	return c.total[i-1] + float64(part*(c.total[i]-c.total[i-1]))
}

func (c *counter) over(in spans) float64 {
	n := 0.0
	for _, s := range in {
		n += c.value(s.to) - c.value(s.from)
	}
	return n
}
