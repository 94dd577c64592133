package filter

import (
	"math"
	"time"

	"wanctl/internal/unit"
)

// Minimum is the smallest sample of a sliding window of time. It keeps one figure per bucket, so its memory is fixed
// whatever the sampling rate; a sample leaves the window when its whole bucket has, that is up to one bucket late.
type Minimum struct {
	width   time.Duration
	buckets []bucket
}

type bucket struct {
	// index is the bucket's place in time, in widths since the clock's zero.
	index int64
	min   float64
	used  bool
}

// maxBuckets bounds the memory of one Minimum.
const maxBuckets = 4096

// NewMinimum returns an empty window. Window below 1 ms counts as 1 ms; buckets is held between 1 and 4096.
func NewMinimum(window time.Duration, buckets int) *Minimum {
	buckets = min(max(buckets, 1), maxBuckets)
	window = max(window, time.Millisecond)
	width := max((window+time.Duration(buckets)-1)/time.Duration(buckets), 1)
	// One more than asked: the oldest bucket is still partly inside the window.
	return &Minimum{width: width, buckets: make([]bucket, buckets+1)}
}

// Add takes in the sample x of the instant at, in any order. NaN, infinities and samples too old for the window
// (beside newer ones) are ignored.
func (m *Minimum) Add(at unit.Time, x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) || at < 0 {
		return
	}
	i := int64(at) / int64(m.width)
	b := &m.buckets[i%int64(len(m.buckets))]
	switch {
	case !b.used || b.index < i:
		*b = bucket{index: i, min: x, used: true}
	case b.index == i:
		b.min = min(b.min, x)
	}
}

// Min returns the smallest sample of the window that ends at now, and false when there is none. Samples later than
// now are not in it.
func (m *Minimum) Min(now unit.Time) (float64, bool) {
	last := int64(now) / int64(m.width)
	first := last - int64(len(m.buckets)) + 1
	least, ok := 0.0, false
	for i := range m.buckets {
		b := &m.buckets[i]
		if !b.used || b.index < first || b.index > last {
			continue
		}
		if !ok || b.min < least {
			least, ok = b.min, true
		}
	}
	return least, ok
}

// Reset empties the window.
func (m *Minimum) Reset() { clear(m.buckets) }
