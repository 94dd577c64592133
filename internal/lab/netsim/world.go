// Package netsim is a network in virtual time: links with bottlenecks, shapers, flows and probes, the same to the byte
// for the same scenario and seed.
//
// A busy direction is integrated in small fixed steps on an absolute grid (Scenario.Step), an idle one in long jumps.
// What observers do (reading counters, sending probes) never changes what the flows do.
package netsim

import (
	"time"

	"wanctl/internal/unit"
)

// Epoch is the instant at which every world starts: one hour after the simulated host's boot, since the zero
// [unit.Time] means "never". Scenario times count from it.
const Epoch = unit.Time(time.Hour)

type event struct {
	at  unit.Time
	seq uint64
	fn  func()
}

func (e event) before(o event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return e.seq < o.seq
}

// World is a virtual clock with its queue of events. Events of one instant run in the order in which they were
// planned. It is not safe for concurrent use.
type World struct {
	now  unit.Time
	seq  uint64
	heap []event
}

// NewWorld returns a world that stands at [Epoch].
func NewWorld() *World { return &World{now: Epoch} }

// Now returns the virtual time.
func (w *World) Now() unit.Time { return w.now }

// At plans fn for t; a t in the past means now.
func (w *World) At(t unit.Time, fn func()) {
	w.seq++
	w.heap = append(w.heap, event{max(t, w.now), w.seq, fn})
	i := len(w.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !w.heap[i].before(w.heap[up]) {
			break
		}
		w.heap[i], w.heap[up] = w.heap[up], w.heap[i]
		i = up
	}
}

// Every plans fn for now+phase and each period after it, until stop is called. A period that is not positive plans
// nothing.
func (w *World) Every(period, phase time.Duration, fn func()) (stop func()) {
	live := period > 0
	at := w.now.Add(max(phase, 0))
	var tick func()
	tick = func() {
		if !live {
			return
		}
		at = at.Add(period)
		w.At(at, tick)
		fn()
	}
	if live {
		w.At(at, tick)
	}
	return func() { live = false }
}

// Next returns the instant of the next planned event; ok is false when nothing is planned.
func (w *World) Next() (at unit.Time, ok bool) {
	if len(w.heap) == 0 {
		return 0, false
	}
	return w.heap[0].at, true
}

// Run plays every event up to and including until and leaves the clock there. An until in the past does nothing.
func (w *World) Run(until unit.Time) {
	for len(w.heap) > 0 && w.heap[0].at <= until {
		e := w.pop()
		w.now = e.at
		e.fn()
	}
	w.now = max(w.now, until)
}

func (w *World) pop() event {
	h := w.heap
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	w.heap = h
	return top
}
