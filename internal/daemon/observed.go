package daemon

import (
	"sync"

	"wanctl/internal/link"
)

// Counter reads what a line has carried, at once: where that costs microseconds and no round trip.
type Counter interface {
	Counters() (link.Counters, error)
}

// Observer is what a line that tracks its capacity sees between two steps, beside its replies. [Observed] and the
// replay of a recording are the two there are.
type Observer interface {
	// Count reads the counters now.
	Count()
	// Take appends what was collected to the given slices, and forgets it.
	Take([]link.Probe, []link.Counters) ([]link.Probe, []link.Counters)
}

// mostObserved bounds what is kept while nobody takes it: over ten seconds of probes.
const mostObserved = 512

// Observed collects, between two steps of a line that tracks its capacity, which probes left and what had been counted
// then. Its methods may be called from any goroutine.
type Observed struct {
	mu sync.Mutex
	// counter may be nil: counters then come with the router's reports alone.
	counter  Counter
	probes   []link.Probe
	counters []link.Counters
}

// NewObserved returns one that reads this counter beside each probe and reply; nil reads none.
func NewObserved(c Counter) *Observed { return &Observed{counter: c} }

// SetCounter replaces the counter.
func (o *Observed) SetCounter(c Counter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counter = c
}

// Sent books a probe that left now.
func (o *Observed) Sent(p link.Probe) {
	c, ok := o.read()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.probes) < mostObserved {
		o.probes = append(o.probes, p)
	}
	o.keep(c, ok)
}

// Count reads the counters now.
func (o *Observed) Count() {
	c, ok := o.read()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(c, ok)
}

func (o *Observed) read() (link.Counters, bool) {
	o.mu.Lock()
	from := o.counter
	o.mu.Unlock()
	if from == nil {
		return link.Counters{}, false
	}
	// A failure shows in the next operation on the queues, which tells it and what to do.
	c, err := from.Counters()
	return c, err == nil
}

func (o *Observed) keep(c link.Counters, ok bool) {
	if !ok || len(o.counters) == mostObserved {
		return
	}
	// Two goroutines may have read in one order and come here in the other.
	n := len(o.counters)
	o.counters = append(o.counters, c)
	for ; n > 0 && o.counters[n-1].At > c.At; n-- {
		o.counters[n] = o.counters[n-1]
	}
	o.counters[n] = c
}

// Take appends what was collected to the given slices, and forgets it.
func (o *Observed) Take(probes []link.Probe, counters []link.Counters) ([]link.Probe, []link.Counters) {
	o.mu.Lock()
	defer o.mu.Unlock()
	probes, counters = append(probes, o.probes...), append(counters, o.counters...)
	o.probes, o.counters = o.probes[:0], o.counters[:0]
	return probes, counters
}
