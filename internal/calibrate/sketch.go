package calibrate

import (
	"math"
	"slices"

	"wanctl/internal/unit"
)

// sketch counts values in buckets that are 1 % apart, so that a month takes no more room than an hour.
type sketch struct {
	n       int
	buckets map[int]int
}

// sketchStep is the ratio of two buckets, sketchLeast the value below which all are one.
const (
	sketchStep  = 1.01
	sketchLeast = 0.01
)

func (s *sketch) add(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	if s.buckets == nil {
		s.buckets = map[int]int{}
	}
	b := 0
	if v > sketchLeast {
		b = 1 + int(math.Log(v/sketchLeast)/math.Log(sketchStep))
	}
	s.buckets[b]++
	s.n++
}

// quantile is the middle of the bucket that holds the nearest rank; 0 of nothing.
func (s *sketch) quantile(q float64) float64 {
	rank := max(1, int(math.Ceil(q*float64(s.n))))
	for _, b := range s.keys() {
		if rank -= s.buckets[b]; rank <= 0 {
			if b == 0 {
				return 0
			}
			return sketchLeast * math.Pow(sketchStep, float64(b)-0.5)
		}
	}
	return 0
}

func (s *sketch) keys() []int {
	keys := make([]int, 0, len(s.buckets))
	for b := range s.buckets {
		keys = append(keys, b)
	}
	slices.Sort(keys)
	return keys
}

func (s *sketch) rate(q float64) unit.Rate    { return unit.Rate(math.Round(s.quantile(q))) }
func (s *sketch) delay(q float64) unit.Millis { return unit.Millis(s.quantile(q)) }
