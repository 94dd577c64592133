package shaper

import (
	"errors"
	"fmt"
	"math"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// SoftRedAction is what a sustained SOFT_RED does to the rate.
type SoftRedAction uint8

// The actions.
const (
	// Clamp brings the rate down to the SOFT_RED floor, then holds.
	Clamp SoftRedAction = iota
	// Hold leaves the rate where it is.
	Hold
)

// String returns the word the configuration uses: "clamp" or "hold".
func (a SoftRedAction) String() string {
	switch a {
	case Clamp:
		return "clamp"
	case Hold:
		return "hold"
	}
	return fmt.Sprintf("SoftRedAction(%d)", uint8(a))
}

// FloorLift is when a rate under its state's floor is lifted to it.
type FloorLift uint8

// The moments.
const (
	// LiftState lifts at once in every state, even while the delay is still high.
	LiftState FloorLift = iota
	// LiftGreen lifts in GREEN only.
	LiftGreen
)

// String returns the word the configuration uses: "state" or "green".
func (l FloorLift) String() string {
	switch l {
	case LiftState:
		return "state"
	case LiftGreen:
		return "green"
	}
	return fmt.Sprintf("FloorLift(%d)", uint8(l))
}

// Config is everything one line's controller needs to know. [Config.Validate] states the bounds of each field.
type Config struct {
	// Period is the time from one Step to the next, 50 ms to 60 s in whole microseconds.
	Period time.Duration
	// BaselineInitial is the unloaded round trip to start from; 0 lets the first valid sample set it.
	BaselineInitial unit.Millis
	// BaselineMin and BaselineMax bound the learnt baseline.
	BaselineMin, BaselineMax unit.Millis
	// AlphaBaseline and AlphaLoad are the weights of a new sample, stated for a 2 s period.
	AlphaBaseline, AlphaLoad float64
	// BaselineUpdate freezes the baseline while the load average is this much over it, or more.
	BaselineUpdate unit.Millis
	// SoftRed and Lift choose between the law's variants.
	SoftRed SoftRedAction
	Lift    FloorLift
	// CutInterval is the least time between two cuts of one direction; half a period less is enough.
	CutInterval time.Duration
	// RebaselineAfter is how long the delay must be high on an idle line before the baseline moves, 5 s to 10 min.
	RebaselineAfter time.Duration
	// Down and Up are the two directions' limits. Up is never FourState.
	Down, Up Direction
}

// Direction is the law of one direction.
type Direction struct {
	// FourState has SOFT_RED between YELLOW and RED; without it RED begins at Warn.
	FourState bool
	// Floor is the least rate per state. A direction with a single floor repeats it.
	Floor [link.States]unit.Rate
	// Ceiling is the greatest rate, and the rate to start with.
	Ceiling unit.Rate
	// StepUp is how much the rate grows in 2 s of lasting GREEN.
	StepUp unit.Rate
	// FactorDown multiplies the rate at each cut in RED; FactorDownYellow in each 2 s of YELLOW, 1.0 to hold.
	FactorDown, FactorDownYellow unit.PPM
	// Target, Warn and Critical are the greatest delays over the baseline of GREEN, YELLOW and SOFT_RED. Critical
	// has no meaning without FourState.
	Target, Warn, Critical unit.Millis
}

// Bounds of the configuration.
const (
	// MinPeriod and MaxPeriod bound Config.Period.
	MinPeriod = 50 * time.Millisecond
	MaxPeriod = time.Minute
	// MinFactor is the deepest single cut: to 10 %.
	MinFactor = unit.One / 10
	// maxCutInterval bounds Config.CutInterval.
	maxCutInterval = 10 * time.Minute
	// maxThreshold bounds the thresholds on delta: the longest believable round trip.
	maxThreshold = maxRTT
)

// Validate reports everything that is wrong with the configuration, each with its bounds; nil when nothing is.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("shaper configuration: "+format, a...)) }
	if c.Period < MinPeriod || c.Period > MaxPeriod || c.Period%time.Microsecond != 0 {
		bad("period %v: want %v to %v in whole microseconds", c.Period, MinPeriod, MaxPeriod)
	}
	if !finite(c.BaselineMin) || !finite(c.BaselineMax) || c.BaselineMin <= 0 || c.BaselineMin >= c.BaselineMax || c.BaselineMax > maxRTT {
		bad("baseline bounds %v to %v: want 0 < min < max ≤ %v", c.BaselineMin, c.BaselineMax, maxRTT)
	} else if i := c.BaselineInitial; !finite(i) || i != 0 && (i < c.BaselineMin || i > c.BaselineMax) {
		bad("initial baseline %v: want it within the bounds %v to %v, or 0 to measure it", i, c.BaselineMin, c.BaselineMax)
	}
	for _, a := range []struct {
		name  string
		alpha float64
	}{{"baseline", c.AlphaBaseline}, {"load", c.AlphaLoad}} {
		if math.IsNaN(a.alpha) || a.alpha <= 0 || a.alpha > 1 {
			bad("alpha of the %s %v: want over 0 and at most 1", a.name, a.alpha)
		}
	}
	if !finite(c.BaselineUpdate) || c.BaselineUpdate <= 0 || c.BaselineUpdate > maxThreshold {
		bad("baseline update threshold %v: want over 0 ms and at most %v", c.BaselineUpdate, maxThreshold)
	}
	if c.SoftRed > Hold {
		bad("soft-red action %v: want clamp or hold", c.SoftRed)
	}
	if c.Lift > LiftGreen {
		bad("floor lift %v: want state or green", c.Lift)
	}
	if c.CutInterval < 0 || c.CutInterval > maxCutInterval {
		bad("cut interval %v: want 0 to %v", c.CutInterval, maxCutInterval)
	}
	if c.RebaselineAfter < blockLeast || c.RebaselineAfter > blockWindow {
		bad("rebaseline after %v: want %v to %v", c.RebaselineAfter, blockLeast, blockWindow)
	}
	if c.Up.FourState {
		bad("upload: four states are for the download only; leave the upload with three")
	}
	errs = append(errs, c.Down.validate(link.Down)...)
	errs = append(errs, c.Up.validate(link.Up)...)
	return errors.Join(errs...)
}

func (d Direction) validate(dir link.Direction) (errs []error) {
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("shaper configuration: %v: "+format, append([]any{dir}, a...)...))
	}
	f := d.Floor
	if f[link.Red] <= 0 || f[link.Red] > f[link.SoftRed] || f[link.SoftRed] > f[link.Yellow] || f[link.Yellow] > f[link.Green] || f[link.Green] > d.Ceiling {
		bad("floors red %d, soft-red %d, yellow %d, green %d and ceiling %d bit/s: want them over 0 and in rising order",
			f[link.Red], f[link.SoftRed], f[link.Yellow], f[link.Green], d.Ceiling)
	}
	if d.Ceiling > unit.MaxRate {
		bad("ceiling %v: want at most %v", d.Ceiling, unit.MaxRate)
	}
	if d.StepUp <= 0 || d.StepUp > unit.MaxRate {
		bad("step up %v: want over 0 and at most %v", d.StepUp, unit.MaxRate)
	}
	if d.FactorDown < MinFactor || d.FactorDown > unit.One {
		bad("cut factor %v: want %v to %v", d.FactorDown, MinFactor, unit.One)
	}
	if d.FactorDownYellow < MinFactor || d.FactorDownYellow > unit.One {
		bad("yellow factor %v: want %v to %v", d.FactorDownYellow, MinFactor, unit.One)
	}
	if !finite(d.Target) || !finite(d.Warn) || d.Target <= 0 || d.Target >= d.Warn || d.Warn > maxThreshold {
		bad("target %v and warn %v: want 0 < target < warn ≤ %v", d.Target, d.Warn, maxThreshold)
	}
	if d.FourState && (!finite(d.Critical) || d.Critical <= d.Warn || d.Critical > maxThreshold) {
		bad("critical %v: want over warn %v and at most %v", d.Critical, d.Warn, maxThreshold)
	}
	return errs
}

func finite(m unit.Millis) bool { return !math.IsNaN(float64(m)) && !math.IsInf(float64(m), 0) }

// derived is what a configuration means at its period.
type derived struct {
	alphaBaseline, alphaLoad float64
	// sustain and climb are the samples in a row after which SOFT_RED is sustained and GREEN climbs.
	sustain, climb int
	// cutAfter is the least age of the last cut.
	cutAfter time.Duration
	// decay is the YELLOW factor of one cycle in parts per 1e9, by direction.
	decay link.Pair[uint64]
	// dip is how long a test dip lasts: the whole cycles that reach its shortest length.
	dip time.Duration
	// gap is the longest time between two samples that still counts as observed.
	gap time.Duration
}

// Counts of 2 s cycles in the law.
const (
	sustainCycles = 3 // SOFT_RED counts after 6 s
	climbCycles   = 5 // GREEN climbs from the fifth cycle on
)

func (c Config) derive() derived {
	// A power that enters state is rounded to 1e-9 once, here: every architecture then moves by the same integers.
	decay := func(d Direction) uint64 {
		return uint64(math.Round(math.Pow(d.FactorDownYellow.Factor(), float64(c.Period)/float64(filter.Reference)) * billion))
	}
	return derived{
		alphaBaseline: filter.AlphaAt(c.AlphaBaseline, c.Period),
		alphaLoad:     filter.AlphaAt(c.AlphaLoad, c.Period),
		sustain:       filter.Cycles(sustainCycles, c.Period),
		climb:         filter.Cycles(climbCycles, c.Period),
		cutAfter:      c.CutInterval - c.Period/2,
		decay:         link.Pair[uint64]{Down: decay(c.Down), Up: decay(c.Up)},
		dip:           dipLeast + (c.Period-dipLeast%c.Period)%c.Period,
		gap:           max(3*c.Period, gapLeast),
	}
}

// direction returns the law of one direction.
func (c *Config) direction(d link.Direction) *Direction {
	if d == link.Up {
		return &c.Up
	}
	return &c.Down
}
