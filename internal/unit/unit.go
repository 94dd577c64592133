// Package unit holds the quantities every other package speaks in: a type for each, with its unit in the type.
package unit

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Rate is a bit rate in bit/s. Configurations speak of Mbit/s, where 1 Mbit is 1 000 000 bit.
type Rate int64

// The usual multiples of a Rate.
const (
	BitPerSecond Rate = 1
	Kbps              = 1000 * BitPerSecond
	Mbps              = 1000 * Kbps
	Gbps              = 1000 * Mbps
)

// MaxRate bounds every configured rate: 100 Gbit/s.
const MaxRate = 100 * Gbps

// FromMbps converts a configured Mbit/s figure to the nearest whole bit/s.
// It fails for figures that are not finite, negative or above [MaxRate].
func FromMbps(f float64) (Rate, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("rate %v Mbit/s is not a finite number", f)
	}
	if f < 0 || f > float64(MaxRate/Mbps) {
		return 0, fmt.Errorf("rate %v Mbit/s is outside 0 to %d Mbit/s", f, MaxRate/Mbps)
	}
	return Rate(math.Round(f * 1e6)), nil
}

// Mbps returns the rate in Mbit/s.
func (r Rate) Mbps() float64 { return float64(r) / 1e6 }

// String prints the rate as the cycle line does: whole Mbit/s rounded half to even ("95M"), and below
// 10 Mbit/s one decimal unless it is whole ("5.5M", "6M").
func (r Rate) String() string {
	m := r.Mbps()
	if math.Abs(m) < 10 {
		tenths := math.RoundToEven(m * 10)
		if math.Mod(tenths, 10) != 0 {
			return strconv.FormatFloat(tenths/10, 'f', 1, 64) + "M"
		}
		return strconv.FormatFloat(tenths/10, 'f', 0, 64) + "M"
	}
	return strconv.FormatFloat(math.RoundToEven(m), 'f', 0, 64) + "M"
}

// Scale returns floor(r × p) for p in parts per million, exactly, and saturates instead of overflowing.
// Rates below zero scale to zero: a shaper has no negative rate.
func (r Rate) Scale(p PPM) Rate {
	if r <= 0 || p <= 0 {
		return 0
	}
	return Rate(mulDiv(uint64(r), uint64(p), uint64(One)))
}

// Over returns how many bytes r carries in d, at least 0 and saturating instead of overflowing.
func (r Rate) Over(d time.Duration) Bytes {
	if r <= 0 || d <= 0 {
		return 0
	}
	return Bytes(mulDiv(uint64(r), uint64(d), bitNanosPerByte))
}

// Bytes is an amount of data or the depth of a queue, in bytes.
type Bytes int64

// Per returns the mean rate that moves b in d; 0 when d is not positive.
func (b Bytes) Per(d time.Duration) Rate {
	if b <= 0 || d <= 0 {
		return 0
	}
	return Rate(mulDiv(uint64(b), bitNanosPerByte, uint64(d)))
}

// bitNanosPerByte turns bit/s over nanoseconds into bytes.
const bitNanosPerByte = 8 * uint64(time.Second)

// PPM is a dimensionless factor or share in parts per million. Rates move by PPM, not by floats, so that the same
// input gives the same rate on every architecture.
type PPM int64

// One is the factor 1.0.
const One PPM = 1_000_000

// FromFactor converts a configured factor such as 0.85 to the nearest PPM.
// It fails for values that are not finite or lie outside -1e6 to 1e6.
func FromFactor(f float64) (PPM, error) {
	if math.IsNaN(f) || math.Abs(f) > 1e6 {
		return 0, fmt.Errorf("factor %v is not a number between -1000000 and 1000000", f)
	}
	return PPM(math.Round(f * 1e6)), nil
}

// Factor returns p as a plain number: 850000 is 0.85.
func (p PPM) Factor() float64 { return float64(p) / 1e6 }

// String prints the factor as a percentage with at most four decimals: "85%".
func (p PPM) String() string {
	s := strconv.FormatFloat(float64(p)/1e4, 'f', 4, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".") + "%"
}

// ShareOf returns part/whole as PPM, 0 when whole is not positive.
func ShareOf(part, whole int64) PPM {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return PPM(mulDiv(uint64(part), uint64(One), uint64(whole)))
}

// mulDiv returns a × b ÷ c rounded down, saturating at the largest int64. c must not be 0.
func mulDiv(a, b, c uint64) int64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, c)
	if q > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(q)
}

// Time is an instant in nanoseconds on the host's monotonic clock since boot (suspend included where the
// kernel offers it). Its zero means "never". It says nothing about the time of day.
type Time int64

// Add returns t moved by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// String prints the instant as seconds since boot with millisecond precision: "12.345s".
func (t Time) String() string {
	return strconv.FormatFloat(float64(t)/1e9, 'f', 3, 64) + "s"
}

// Millis is a delay in milliseconds, the unit of every threshold in the configuration.
type Millis float64

// ToMillis converts a duration.
func ToMillis(d time.Duration) Millis { return Millis(float64(d) / 1e6) }

// Duration returns m as a duration, rounded to the nanosecond.
func (m Millis) Duration() time.Duration { return time.Duration(math.Round(float64(m) * 1e6)) }

// String prints the delay as the cycle line does: "28.0ms". What rounds to nothing has no sign.
func (m Millis) String() string {
	s := strconv.FormatFloat(float64(m), 'f', 1, 64)
	if s == "-0.0" {
		s = "0.0"
	}
	return s + "ms"
}
