package tracking

import (
	"errors"
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Profile is how much delay a line may trade for throughput.
type Profile uint8

// The profiles.
const (
	// Balanced answers queues of 8 ms and more.
	Balanced Profile = iota
	// Latency answers smaller queues and keeps further below the capacity.
	Latency
	// Throughput lets queues of 20 ms stand.
	Throughput
)

var profileNames = [...]string{Balanced: "balanced", Latency: "latency", Throughput: "throughput"}

// String returns the word the configuration uses.
func (p Profile) String() string {
	if int(p) < len(profileNames) {
		return profileNames[p]
	}
	return fmt.Sprintf("Profile(%d)", uint8(p))
}

// Bounds of the rates.
const (
	// Unlimited is the rate to start with where no maximum is known: above every line that a router of this class shapes.
	Unlimited = 10 * unit.Gbps
	// Least is the lowest rate where no minimum is given: a call still fits.
	Least = 256 * unit.Kbps
)

// Config is what one line's controller needs to know. The zero value works: it starts without limits.
type Config struct {
	Profile Profile
	// Min and Max bound the rates; 0 is no bound.
	Min, Max link.Rates
	// Hosts is how many reflectors there are. With one, a single late reply counts; with more, two must agree.
	Hosts int
}

// Validate reports everything that is wrong with the configuration; nil when nothing is.
func (c Config) Validate() error {
	var errs []error
	if int(c.Profile) >= len(profileNames) {
		errs = append(errs, fmt.Errorf("tracking: no profile %v; want latency, balanced or throughput", c.Profile))
	}
	for _, d := range both {
		lo, hi := c.Min.Get(d), c.Max.Get(d)
		if lo < 0 || hi < 0 || hi > unit.MaxRate || hi > 0 && lo > hi {
			errs = append(errs, fmt.Errorf("tracking: %v between %v and %v: want 0 ≤ min ≤ max ≤ %v, 0 for none", d, lo, hi, unit.MaxRate))
		}
	}
	return errors.Join(errs...)
}

var both = [...]link.Direction{link.Down, link.Up}

// bounds are a direction's limits.
func (c *Config) bounds(d link.Direction) (lo, hi float64) {
	lo, hi = float64(c.Min.Get(d)), float64(c.Max.Get(d))
	if hi == 0 {
		hi = float64(Unlimited)
	}
	if lo == 0 {
		lo = min(float64(Least), hi)
	}
	return lo, hi
}

// law is a profile in numbers; delays are in milliseconds. All were found by trying (docs/control.md).
type law struct {
	// on is the least delta that means a queue, and hover the part of it at which growth comes to rest.
	on, hover float64
	// share is how much of the measured capacity is used while a queue drains and right after it. Above 1 the queue is
	// kept instead of emptied: a line whose capacity jumps is then never idle.
	share float64
	// target is the queue that a drain aims for, and drain the time in which a download's shall get there. An upload's is
	// our own sending: there is nobody to wait for.
	target, drain float64
	// usual is the quantile, in percent, of what was measured at this time of day before, to which an idle line's rate goes.
	usual int
}

func (p Profile) law() law {
	switch p {
	case Latency:
		return law{on: 5, hover: 0.5, share: 0.95, target: 0, drain: 120, usual: 25}
	case Throughput:
		return law{on: 40, hover: 0.7, share: 1.05, target: 20, drain: 250, usual: 75}
	case Balanced:
	}
	return law{on: 8, hover: 0.5, share: 0.98, target: 2, drain: 120, usual: 50}
}

// shared is a profile's law for two loaded directions of which only the round trip is known: a queue that is kept on one
// way would stand in the other's light.
func (p Profile) shared() law {
	if p == Throughput {
		return law{on: 20, hover: 0.5, share: 1.0, target: 8, drain: 120, usual: 75}
	}
	return p.law()
}

// Constants of the law, the same in every profile.
const (
	// packet is a full packet on the wire, in bits.
	packet = 1514 * 8
	// off is the part of the threshold below which a queue is gone.
	off = 0.6
	// sigmas is how many times a reflector's noise a delta must exceed.
	sigmas = 3
	// drainUp is the time in which an upload's queue shall drain, in ms.
	drainUp = 120.0
	// leastDown and leastUp are the deepest cuts, as a share of the capacity: a download's senders starve below, while an
	// upload's queue is our own.
	leastDown, leastUp = 0.4, 0.2
	// hint bounds what a single late reply may do to a rate.
	hint = 0.95
	// idleShare is the use below which a direction has no part in a queue, busyShare the use above which it may own one,
	// fullShare the use above which our rate is what limits it.
	idleShare, busyShare, fullShare = 0.15, 0.3, 0.88

	// window is the longest time, and leastWindow the shortest, over which a download's capacity is measured.
	window, leastWindow = 150 * time.Millisecond, 50 * time.Millisecond
	// pointsFor is the longest time over which an upload's departures are measured.
	pointsFor = 250 * time.Millisecond
	// settle is the time after a queue in which nothing grows, and the longest that it may become.
	settle, longSettle = 200 * time.Millisecond, 1600 * time.Millisecond
	// silent is how late an unanswered probe must be to speak, in ms.
	silent = 30.0
	// plainQueue is a delay of one direction, in ms, that is a queue whatever the direction carries.
	plainQueue = 50.0
	// lately is over which time the use of a direction is judged, spareFor over which it must have been low for no queue
	// to be its, and risenFor over which what it carries is compared.
	lately, spareFor, risenFor = 100 * time.Millisecond, time.Second, 8 * time.Second

	// nearRate, farRate and mostRate are growth per second: close to the capacity last measured, at first beyond it, and
	// at most; acceleration is by how much growth itself grows per second. provenRate leads back to a capacity that was
	// doubted without cause.
	nearRate, farRate, mostRate, acceleration, provenRate = 0.08, 0.5, 3.0, 5.0, 1.0
	// near is how far beyond the capacity last measured growth stays slow.
	near = 1.04
	// varyWeight is the weight of a new queue in how much the capacity varies from one to the next. Both growths get
	// varyRate times that on top, and from lively on, no growth waits: what jumps down by half in a second jumps up as
	// well.
	varyWeight, varyRate, lively = 0.25, 6.0, 0.15
	// mostAhead is how far the rate may run ahead of the one in force.
	mostAhead = 1.25
	// freshFor is how old the newest reply may be for anything to grow: two turns on an idle line.
	freshFor = time.Second
	// longestStep bounds the time that one step may grow for.
	longestStep = 0.1
)
