package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Outcome is what a call of a loop wants done by its hands; O is the kind of router operation. Slices are valid until
// the next call.
type Outcome[O any] struct {
	// Line is the cycle's log line without prefix; empty on a skipped cycle and between cycles.
	Line string
	// Notes are to be logged.
	Notes []link.Note
	// Op, when not nil, is to be carried out on the router now, and its result handed to Deliver.
	Op *O
	// Wake is when Wake shall be called if nothing else happens before; 0 is never.
	Wake unit.Time
}

// core is a loop without goroutines: a WAN or Steering.
type core[O, R any] interface {
	Tick(now unit.Time) Outcome[O]
	Deliver(now unit.Time, r R) Outcome[O]
	Wake(now unit.Time) Outcome[O]
}

// loop drives a core in real time. It owns the core: everything else reaches it through requests. Router operations
// run beside it on one goroutine, one at a time, so that a slow router never delays a cycle.
type loop[O, R any] struct {
	clock  Clock
	period time.Duration
	core   core[O, R]
	// do carries out an operation. It must end soon after ctx does.
	do func(ctx context.Context, op O) R
	// after records; ticked says that a cycle was made and not only a result taken in.
	after func(now unit.Time, o Outcome[O], ticked bool)
	// arrivals, where not nil, tells of something that may not wait for the next cycle.
	arrivals <-chan struct{}
	// requests are run between events, on the loop's goroutine.
	requests chan func()
	log      *Log
}

func newLoop[O, R any](clock Clock, period time.Duration, c core[O, R], log *Log) *loop[O, R] {
	return &loop[O, R]{clock: clock, period: period, core: c, log: log, requests: make(chan func())}
}

// grace is how long a router operation that is under way at the end may still take. With exitTime it stays under the
// 10 s that Docker gives a container before it kills it.
const grace = 3 * time.Second

// run goes on until ctx ends, and returns when the operation under way has ended too.
func (l *loop[O, R]) run(ctx context.Context) {
	ops, results := make(chan O, 1), make(chan R, 1)
	opCtx, stopOps := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOps()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for op := range ops {
			results <- l.do(opCtx, op)
		}
	}()
	defer func() {
		close(ops)
		t := time.AfterFunc(grace, stopOps)
		defer t.Stop()
		// All results are taken in, so that what the router confirmed last is what the state file says.
		deliver := func(r R) { l.note(l.core.Deliver(l.clock.Now(), r).Notes) }
		for {
			select {
			case r := <-results:
				deliver(r)
			case <-done: // nothing more can come, but the last one may lie there
				select {
				case r := <-results:
					deliver(r)
				default:
				}
				return
			}
		}
	}()

	// A ticker drops what a slow receiver missed: cycles never pile up.
	tick := time.NewTicker(l.period)
	defer tick.Stop()
	period := l.period
	wake := time.NewTimer(time.Hour)
	wake.Stop()
	defer wake.Stop()
	var wakeC <-chan time.Time

	var last unit.Time
	handle := func(now unit.Time, o Outcome[O], ticked bool) {
		if ticked {
			if last != 0 && now.Sub(last) > filter.Gap(period) {
				l.log.Line(slog.LevelWarn, fmt.Sprintf("no cycle was made for %s: this host slept, or the process was stopped; measuring begins anew",
					now.Sub(last).Round(time.Second)))
			}
			last = now
		}
		l.note(o.Notes)
		if o.Line != "" {
			l.log.Line(slog.LevelInfo, o.Line)
		}
		if o.Op != nil {
			ops <- *o.Op // one in flight: there is room
		}
		wakeC = nil
		if o.Wake != 0 {
			wake.Reset(max(o.Wake.Sub(now), 0))
			wakeC = wake.C
		}
		l.after(now, o, ticked)
		if l.period != period { // a reload changed it
			period = l.period
			tick.Reset(period)
		}
	}
	now := l.clock.Now()
	handle(now, l.core.Tick(now), true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := l.clock.Now()
			handle(now, l.core.Tick(now), true)
		case r := <-results:
			now := l.clock.Now()
			handle(now, l.core.Deliver(now, r), false)
		case <-l.arrivals:
			now := l.clock.Now()
			handle(now, l.core.Wake(now), false)
		case <-wakeC:
			now := l.clock.Now()
			handle(now, l.core.Wake(now), false)
		case f := <-l.requests:
			f()
			if l.period != period {
				period = l.period
				tick.Reset(period)
			}
		}
	}
}

// ask runs f on the loop's goroutine and waits for it; false when ctx ended first.
func (l *loop[O, R]) ask(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case l.requests <- func() { f(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *loop[O, R]) note(notes []link.Note) { logNotes(l.log, notes) }

func logNotes(log *Log, notes []link.Note) {
	for _, n := range notes {
		level := noteLevel(n.Level)
		if everyTime[n.Key] {
			log.Line(level, n.Text)
			continue
		}
		log.Log(context.Background(), level, n.Text)
	}
}

// noteLevel is a note's level in a log.
func noteLevel(l link.Level) slog.Level {
	switch l {
	case link.Info:
	case link.Warning:
		return slog.LevelWarn
	case link.Alert:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// everyTime are the notes that are said as often as they come: those of a dry run are its purpose, and of an outage its age is
// told once a minute.
var everyTime = map[string]bool{noReply: true, WouldWrite: true, wouldSet: true, wouldSteer: true}
