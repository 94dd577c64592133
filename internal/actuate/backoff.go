package actuate

import (
	"math"
	"time"

	"wanctl/internal/unit"
)

const (
	backoffFirst = time.Second
	backoffMost  = 60 * time.Second
	backoffCut   = 5 * time.Second // at most this while a decrease waits
)

// Backoff says when to try again after failures in a row. The zero value has seen none.
type Backoff struct {
	fails   int
	failed  unit.Time
	retry   unit.Time
	stopped bool
}

// Failed books a failure. After a Fatal one there is no next try.
func (b *Backoff) Failed(now unit.Time, class ErrClass, jitter float64) {
	b.fails++
	b.failed = now
	b.retry = now.Add(pause(b.fails, jitter))
	b.stopped = b.stopped || class == Fatal
}

// Succeeded ends the row of failures.
func (b *Backoff) Succeeded() { *b = Backoff{} }

// May says whether a try is due; it always is while nothing has failed.
func (b *Backoff) May(now unit.Time) bool {
	return !b.stopped && (b.fails == 0 || now >= b.retry)
}

// Fails is the number of failures in a row.
func (b *Backoff) Fails() int { return b.fails }

// Stopped says that a Fatal failure ended the trying.
func (b *Backoff) Stopped() bool { return b.stopped }

// due is when to try again: at most 5 s after the failure while a decrease waits.
func (b *Backoff) due(cutWaits bool) unit.Time {
	if cutWaits {
		return min(b.retry, b.failed.Add(backoffCut))
	}
	return b.retry
}

// pause is the wait after the n-th failure in a row: it doubles from 1 s to 60 s, and its upper half is random so
// that several lines behind one router do not return in step.
func pause(n int, jitter float64) time.Duration {
	if math.IsNaN(jitter) {
		jitter = 0.5
	}
	jitter = min(max(jitter, 0), 1)
	whole := min(backoffFirst<<min(max(n-1, 0), 6), backoffMost)
	half := whole / 2
	return max(half+time.Duration(float64(half)*jitter), backoffFirst)
}

// path is the way to the router.
type path struct {
	Backoff
	noted   uint8 // classes already noted in this row of failures, a bit each
	since   unit.Time
	upSince unit.Time
}

// refusal is one direction's rate not being taken by a router that answers.
type refusal struct {
	Backoff
	want     unit.Rate // what it did not take; 0 when the queue could not even be read
	unread   bool      // the queue cannot be read
	readBack bool      // the write was accepted, yet another rate was read back
}

func (r refusal) on() bool { return r.fails > 0 }
