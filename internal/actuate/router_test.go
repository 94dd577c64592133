package actuate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const mbit = unit.Mbps

func mb(down, up float64) link.Rates {
	return link.Rates{Down: unit.Rate(down * 1e6), Up: unit.Rate(up * 1e6)}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// router is a router that answers after Latency of virtual time. Its rates, counters and faults are public.
type router struct {
	Rates   link.Rates
	Boot    unit.Time
	Latency time.Duration
	// Carry is what both the queues and the interface move.
	Carry link.Rates
	// Fault answers instead of the router; ok false lets the operation through.
	Fault func(op Op) (r Result, ok bool)
	// LoseReply carries the next operation out and loses the answer.
	LoseReply bool
	// NoWAN leaves the interface's counters out.
	NoWAN bool

	moved link.Pair[unit.Bytes]
	at    unit.Time
}

func (r *router) report(now unit.Time) link.Report {
	dt := now.Sub(r.at)
	r.at = now
	r.moved.Down += r.Carry.Down.Over(dt)
	r.moved.Up += r.Carry.Up.Over(dt)
	rep := link.Report{At: now, Uptime: now.Sub(r.Boot), HasWAN: !r.NoWAN, WANRx: r.moved.Down, WANTx: r.moved.Up}
	rep.Down = link.Queue{MaxLimit: r.Rates.Down, Bytes: r.moved.Down}
	rep.Up = link.Queue{MaxLimit: r.Rates.Up, Bytes: r.moved.Up}
	return rep
}

func (r *router) set(want link.Rates) {
	for _, d := range both {
		if w := want.Get(d); w > 0 {
			r.Rates.Set(d, w)
		}
	}
}

func (r *router) do(op Op, now unit.Time) Result {
	if r.Fault != nil {
		if res, ok := r.Fault(op); ok {
			res.Op = op
			return res
		}
	}
	if op.Write {
		r.set(op.Want)
	}
	if r.LoseReply {
		r.LoseReply = false
		return Result{Op: op, Err: errors.New("router 192.0.2.1: connection lost"), Class: Unknown, Sent: true}
	}
	return Result{Op: op, Report: r.report(now)}
}

func failing(class ErrClass, text string) func(Op) (Result, bool) {
	return func(Op) (Result, bool) { return Result{Err: errors.New(text), Class: class}, true }
}

// bench plays an actuator against a router in virtual time: a Step per cycle, at each wake and with each result.
type bench struct {
	Act    *Actuator
	Router *router
	Cycle  time.Duration
	Jitter float64
	Want   link.Rates
	Has    bool

	now       unit.Time
	nextCycle unit.Time
	wake      unit.Time
	flight    *Op
	doneAt    unit.Time
	out       Output
	log       strings.Builder
	quiet     bool
	// seen is called after each Step with its input.
	seen func(Input, Output)

	writes, reads, steps int
}

func newBench(cfg Config, rates link.Rates) *bench {
	start := unit.Time(1000 * time.Second)
	return &bench{
		Act: New(cfg), Router: &router{Rates: rates, Latency: ms(50), at: start, Boot: start - unit.Time(300*time.Second)},
		Cycle: 2 * time.Second, Jitter: 0.5, now: start, nextCycle: start, Has: true, Want: cfg.Ceiling,
	}
}

func (b *bench) step(res *Result) {
	in := Input{Now: b.now, Want: b.Want, Has: b.Has, Result: res, Jitter: b.Jitter}
	was := b.out
	b.out = b.Act.Step(in)
	b.steps++
	b.wake = b.out.Wake
	if op := b.out.Op; op != nil {
		if b.flight != nil {
			panic("two operations in flight")
		}
		b.flight, b.doneAt = op, b.now.Add(b.Router.Latency)
		if op.Write {
			b.writes++
		} else {
			b.reads++
		}
	}
	if !b.quiet {
		b.tell(was)
	}
	if b.seen != nil {
		b.seen(in, b.out)
	}
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(&b.log, "%9.3f  %s\n", float64(b.now-unit.Time(1000*time.Second))/1e9, fmt.Sprintf(format, args...))
}

func rates(r link.Rates) string {
	one := func(v unit.Rate) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf("%g", v.Mbps())
	}
	return one(r.Down) + "/" + one(r.Up)
}

func (b *bench) tell(was Output) {
	for _, n := range b.out.Notes {
		b.say("%s %s: %s", n.Level, n.Key, n.Text)
	}
	if b.out.Applied != was.Applied {
		b.say("router holds %s", rates(b.out.Applied))
	}
	if op := b.out.Op; op != nil {
		if op.Write {
			b.say("write %s", rates(op.Want))
		} else if b.out.Status.Link != Connected || !b.out.Confirmed.Down || !b.out.Confirmed.Up {
			b.say("read")
		}
	}
	if op := b.out.Would; op != nil {
		b.say("would write %s", rates(op.Want))
	}
	if h := b.out.Status.Hold; h != was.Status.Hold && worth(h) {
		b.say("waiting: download %s, upload %s", h.Down, h.Up)
	}
}

func worth(h link.Pair[Hold]) bool {
	for _, d := range both {
		if v := h.Get(d); v != HoldNone && v != HoldFlight && v != HoldRead {
			return true
		}
	}
	return false
}

// run plays d of virtual time.
func (b *bench) run(d time.Duration) {
	end := b.now.Add(d)
	for {
		next := b.nextCycle
		if b.flight != nil && b.doneAt < next {
			next = b.doneAt
		}
		if b.flight == nil && b.wake != 0 && b.wake < next {
			next = b.wake
		}
		if next >= end {
			b.now = end
			return
		}
		b.now = next
		var res *Result
		if b.flight != nil && b.doneAt <= b.now {
			r := b.Router.do(*b.flight, b.now)
			res, b.flight = &r, nil
		}
		if b.now >= b.nextCycle {
			b.nextCycle = b.nextCycle.Add(b.Cycle)
		}
		b.step(res)
	}
}

// decide says what the controller wants and steps at once, as the end of a cycle does.
func (b *bench) decide(want link.Rates) {
	b.Want = want
	if !b.quiet {
		b.say("-- wanted %s", rates(want))
	}
	b.step(nil)
}

func (b *bench) remark(format string, args ...any) { b.say("-- "+format, args...) }
