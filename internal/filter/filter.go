// Package filter cleans one series of numbers: averages, medians and minima, with smoothing constants that mean the
// same at every sampling period.
package filter

import (
	"math"
	"slices"
	"time"
)

// Reference is the period for which smoothing constants and counts of cycles are stated in configurations: the
// default control period.
const Reference = 2 * time.Second

// precision is the grain to which a computed smoothing constant is rounded, so that a last-bit difference between
// two architectures' power functions never reaches a state.
const precision = 1e9

// AlphaAt returns the smoothing constant that has at another period the effect alpha has at [Reference]:
// 1 − (1−alpha)^(period/2 s), rounded to 1e-9. Alpha outside 0 to 1, or NaN, is taken as the nearer bound (NaN: 0);
// a period of 0 or less gives 0.
func AlphaAt(alpha float64, period time.Duration) float64 {
	if period <= 0 || math.IsNaN(alpha) || alpha <= 0 {
		return 0
	}
	if alpha >= 1 {
		return 1
	}
	a := 1 - math.Pow(1-alpha, float64(period)/float64(Reference))
	return math.Round(a*precision) / precision
}

// Cycles returns how many samples at period last as long as n cycles of [Reference], rounded up: ⌈n·2 s/period⌉.
// It is 0 for n ≤ 0, and n where the period is 0 or less.
func Cycles(n int, period time.Duration) int {
	if n <= 0 {
		return 0
	}
	if period <= 0 {
		return n
	}
	span := time.Duration(n) * Reference
	return int((span + period - 1) / period)
}

// gapCycles and gapLeast say from which pause on two cycles are no longer consecutive, whichever is longer.
const (
	gapCycles = 5
	gapLeast  = 10 * time.Second
)

// Gap is how long no cycle may be made until what was before it is too old to judge what comes after. A ticker stops while a
// host sleeps, the clock of ages does not.
func Gap(period time.Duration) time.Duration { return max(gapLeast, gapCycles*period) }

// Blend returns (1−alpha)·old + alpha·sample with both products rounded on their own: the same bits on every
// architecture. A sample equal to the average leaves it exactly as it is, where the formula would wander by a last bit.
func Blend(old, sample, alpha float64) float64 {
	if old == sample {
		return old
	}
	return float64((1-alpha)*old) + float64(alpha*sample)
}

// EWMA is an exponentially weighted moving average whose first sample initialises it. The zero value has alpha 0
// and therefore keeps its first sample; use [NewEWMA].
type EWMA struct {
	alpha  float64
	value  float64
	primed bool
}

// NewEWMA returns an average that gives each new sample the weight alpha, 0 to 1.
func NewEWMA(alpha float64) EWMA { return EWMA{alpha: alpha} }

// Add takes a sample in and returns the average after it. A sample that is NaN or infinite is ignored.
func (e *EWMA) Add(x float64) float64 {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
	case !e.primed:
		e.Set(x)
	default:
		e.value = Blend(e.value, x, e.alpha)
	}
	return e.value
}

// Value returns the average, and false as long as no sample was taken in.
func (e *EWMA) Value() (float64, bool) { return e.value, e.primed }

// Set replaces the average, as after reading it from a file. A value that is NaN or infinite is ignored.
func (e *EWMA) Set(x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return
	}
	e.value, e.primed = x, true
}

// SetAlpha changes the weight of new samples and keeps the average.
func (e *EWMA) SetAlpha(alpha float64) { e.alpha = alpha }

// small is how many values Median sorts without allocating.
const small = 64

// Median returns the middle value of xs, or the mean of the two middle ones; 0 for none. It leaves xs as it is and
// allocates only beyond 64 values. NaN sorts below every number.
func Median(xs []float64) float64 {
	n := len(xs)
	if n == 0 {
		return 0
	}
	var room [small]float64
	s := append(room[:0], xs...)
	if n <= small {
		for i := 1; i < n; i++ {
			for j := i; j > 0 && less(s[j], s[j-1]); j-- {
				s[j], s[j-1] = s[j-1], s[j]
			}
		}
	} else {
		slices.Sort(s)
	}
	if n%2 == 1 {
		return s[n/2]
	}
	return s[n/2-1]/2 + s[n/2]/2
}

// less orders as slices.Sort does: NaN first.
func less(a, b float64) bool { return a < b || (math.IsNaN(a) && !math.IsNaN(b)) }
