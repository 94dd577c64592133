package actuate

import (
	"time"

	"wanctl/internal/unit"
)

// hoursKept covers 24 whole hours and the one that runs: the sliding day is counted in hours, in fixed space.
const hoursKept = 25

// mostWrites bounds a restored count, so that a damaged file cannot overflow the sum.
const mostWrites = 1 << 20

// budget counts writes. All writes count; only raises wait.
type budget struct {
	recent []unit.Time // the newest Burst writes, a ring
	oldest int

	daily  int
	static unit.PPM
	hours  [hoursKept]int // newest first
	hour   int64          // number of the newest hour since boot
	ticked bool

	lastRaise unit.Time
	alertedAt unit.Time
}

func newBudget(cfg Config) budget {
	return budget{recent: make([]unit.Time, cfg.Burst), daily: cfg.Daily, static: cfg.StaticDeadBand}
}

// resize takes new limits over and keeps the counts. The writes of the last second are forgotten.
func (b *budget) resize(cfg Config) {
	b.daily, b.static = cfg.Daily, cfg.StaticDeadBand
	if len(b.recent) != cfg.Burst {
		b.recent, b.oldest = make([]unit.Time, cfg.Burst), 0
	}
}

// roll moves the sliding day to now. Counts restored from another boot, whose clock stood elsewhere, are taken as
// the newest hours: that errs on the side of fewer writes.
func (b *budget) roll(now unit.Time) {
	h := int64(now) / int64(time.Hour)
	if !b.ticked {
		b.ticked = true
		b.hour = min(b.hour, h)
		b.lastRaise = min(b.lastRaise, now)
		if b.alertedAt > now {
			b.alertedAt = 0
		}
	}
	for n := min(h-b.hour, hoursKept); n > 0; n-- {
		copy(b.hours[1:], b.hours[:hoursKept-1])
		b.hours[0] = 0
	}
	b.hour = h
}

func (b *budget) used() int {
	sum := 0
	for _, n := range b.hours {
		sum += n
	}
	return sum
}

// band is the dead band for raises: from the static one, untouched, to the widest, empty.
func (b *budget) band() unit.PPM {
	if b.daily == 0 || b.static >= WidestDeadBand {
		return b.static
	}
	used := unit.PPM(min(b.used(), b.daily))
	return b.static + (WidestDeadBand-b.static)*used/unit.PPM(b.daily)
}

// burstFree is when the next raise fits into the writes per second.
func (b *budget) burstFree() unit.Time {
	if t := b.recent[b.oldest]; t > 0 {
		return t.Add(time.Second)
	}
	return 0
}

// raiseFree is when the day's budget lets the next raise pass.
func (b *budget) raiseFree() unit.Time {
	if b.daily == 0 || b.used() < b.daily || b.lastRaise == 0 {
		return 0
	}
	return b.lastRaise.Add(HeldAtMost)
}

// refund takes the newest write back: it was not sent. What it counts for in the last second stays.
func (b *budget) refund() { b.hours[0] = max(b.hours[0]-1, 0) }

// spend books one write; it reports whether this is the day's first one over the budget.
func (b *budget) spend(now unit.Time, raise bool) (alert bool) {
	b.recent[b.oldest] = now
	b.oldest = (b.oldest + 1) % len(b.recent)
	b.hours[0]++
	if raise {
		b.lastRaise = now
	}
	if b.daily > 0 && b.used() > b.daily && (b.alertedAt == 0 || now.Sub(b.alertedAt) >= day) {
		b.alertedAt = now
		return true
	}
	return false
}
