package netsim

import (
	"math"
	"math/bits"
	"time"

	"wanctl/internal/unit"
)

// subBits gives 32 buckets per octave: a quantile is right within 1.6 %.
const subBits = 5

// Histogram counts delays in logarithmic buckets from 1 µs (exact below 64 µs) without bound on their number of
// samples. The zero value is ready.
type Histogram struct {
	counts []uint32
	total  uint64
	max    time.Duration
	sum    float64
}

func bucketOf(us uint64) int {
	if us < 2<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return shift<<subBits + int(us>>shift)
}

// middleOf is the middle of a bucket, in µs.
func middleOf(i int) float64 {
	if i < 2<<subBits {
		return float64(i)
	}
	shift := i>>subBits - 1
	low := uint64(i-shift<<subBits) << shift
	return float64(low) + float64(uint64(1)<<shift)/2
}

// Add counts a delay weight times; a negative delay counts as 0.
func (h *Histogram) Add(d time.Duration, weight int64) {
	if weight <= 0 {
		return
	}
	d = max(d, 0)
	i := bucketOf(uint64(d / time.Microsecond))
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]uint32, i+1-len(h.counts))...)
	}
	h.counts[i] += uint32(weight)
	h.total += uint64(weight)
	h.max = max(h.max, d)
	h.sum += float64(float64(d) * float64(weight))
}

// Merge adds all of o's samples.
func (h *Histogram) Merge(o *Histogram) {
	if len(o.counts) > len(h.counts) {
		h.counts = append(h.counts, make([]uint32, len(o.counts)-len(h.counts))...)
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.total += o.total
	h.max = max(h.max, o.max)
	h.sum += o.sum
}

// Count returns the number of samples.
func (h *Histogram) Count() uint64 { return h.total }

// Max returns the largest sample, exactly.
func (h *Histogram) Max() unit.Millis { return unit.ToMillis(h.max) }

// Mean returns the mean, 0 without samples.
func (h *Histogram) Mean() unit.Millis {
	if h.total == 0 {
		return 0
	}
	return unit.Millis(h.sum / float64(h.total) / 1e6)
}

// Quantile returns the delay that the share q (0 to 1) of the samples does not exceed; 0 without samples.
func (h *Histogram) Quantile(q float64) unit.Millis {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	seen := uint64(0)
	for i, c := range h.counts {
		seen += uint64(c)
		if seen >= rank {
			return min(unit.Millis(middleOf(i)/1e3), h.Max())
		}
	}
	return h.Max()
}
