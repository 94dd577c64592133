package rosim

import (
	"context"
	"time"

	"wanctl/internal/unit"
)

// reply is what a command comes to: its text for the log, its bytes for the connection.
type reply struct {
	log           string
	wire          []byte
	failed, wrote bool
}

// voice is how a door answers a command.
type voice interface {
	// failure is the reply that carries an error's text.
	failure(text string) reply
	// spoil is what takes the place of a reply under a fault.
	spoil(how Garble, instead reply) []byte
	send(b []byte) error
}

// arrive enters a request in the log and takes the faults that are meant for it.
func (r *Router) arrive(door, user, line string) (seq uint64, p plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.seq++
	r.inFlight++
	r.commands = trimmed(append(r.commands, Command{
		Seq: r.seq, At: now, Door: door, User: user, Line: line, Outcome: OutcomePending,
	}))
	p = r.fault.take()
	p.wait = r.fault.latency
	if r.fault.jitter > 0 {
		p.wait += time.Duration(r.random.Int64N(int64(r.fault.jitter) + 1))
	}
	p.wait += r.clamp(now) + r.hiccup()
	r.notify()
	return r.seq, p
}

// The slow-down of one measured virtual router: bursts beyond a certain number of commands cost 20 ms each until
// 5 s have passed without one.
const (
	clampDelay = 20 * time.Millisecond
	clampIdle  = 5 * time.Second
)

func (r *Router) clamp(now unit.Time) time.Duration {
	if r.opt.ClampAfter <= 0 {
		return 0
	}
	if now.Sub(r.burstLast) >= clampIdle {
		r.burst = 0
	}
	r.burstLast = now
	if r.burst++; r.burst > r.opt.ClampAfter {
		return clampDelay
	}
	return 0
}

// The occasional stall of the same router.
const (
	shortestHiccup = 2 * time.Second
	longestHiccup  = 8 * time.Second
)

func (r *Router) hiccup() time.Duration {
	if r.opt.StallEvery <= 0 || r.random.IntN(r.opt.StallEvery) > 0 {
		return 0
	}
	return shortestHiccup + time.Duration(r.random.Int64N(int64(longestHiccup-shortestHiccup)+1))
}

// depart enters a request's end in the log.
func (r *Router) depart(seq uint64, out string, how Outcome, wrote bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	if i := int64(len(r.commands)) - 1 - int64(r.seq-seq); i >= 0 {
		c := &r.commands[i]
		c.Reply, c.Outcome, c.Wrote = out, how, wrote
	}
	r.notify()
}

// transact takes one command through the faults and the time it needs, and answers it. sent says that the whole reply
// went out.
func (r *Router) transact(ctx context.Context, g *gate, user, line string, v voice, do func(context.Context) reply) (a reply, sent bool) {
	seq, p := r.arrive(g.door.name, user, line)
	if p.cut == CutBefore {
		_ = g.Close()
		r.depart(seq, "", OutcomeCutBefore, false)
		return reply{}, false
	}
	if r.awaitClear(ctx) != nil || g.silent.Load() {
		r.depart(seq, "", OutcomeLost, false)
		return reply{}, false
	}
	how := OutcomeDone
	if p.text != "" {
		if r.sleep(ctx, p.wait) != nil {
			r.depart(seq, "", OutcomeLost, false)
			return reply{}, false
		}
		a, how = v.failure(p.text), OutcomeInjected
	} else {
		ran := true
		a = r.timed(ctx, g, v, func(ctx context.Context) reply {
			if r.sleep(ctx, p.wait) != nil || g.silent.Load() {
				ran = false
				return reply{}
			}
			return do(ctx)
		})
		switch {
		case !ran && !a.failed:
			r.depart(seq, "", OutcomeLost, false)
			return reply{}, false
		case a.failed:
			how = OutcomeFailed
		}
	}
	switch {
	case p.cut == CutAfter, r.cutsWrite(a.wrote):
		_ = g.Close()
		r.depart(seq, a.log, OutcomeCutAfter, a.wrote)
		return a, false
	case p.cut == CutReply, p.cut == CutSilent:
		_ = v.send(a.wire[:len(a.wire)/2])
		if p.cut == CutReply {
			_ = g.Close()
		} else {
			g.silent.Store(true)
		}
		r.depart(seq, a.log, OutcomeCutReply, a.wrote)
		return a, false
	case p.garble != "":
		r.depart(seq, a.log, OutcomeGarbled, a.wrote)
		return a, v.send(v.spoil(p.garble, a)) == nil
	}
	// The log is complete before the client can read the reply, so a test that has the reply has the entry.
	r.depart(seq, a.log, how, a.wrote)
	return a, v.send(a.wire) == nil
}

// timed runs a command within the door's limit, which only REST has.
func (r *Router) timed(ctx context.Context, g *gate, v voice, do func(context.Context) reply) reply {
	if g.door.name != doorREST && g.door.name != doorRESTTLS {
		return do(ctx)
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if r.sleep(limited, restLimit) == nil {
			cancel(errSessionClosed)
		}
	}()
	a := do(limited)
	if context.Cause(limited) == errSessionClosed { //nolint:errorlint // our own mark
		a = v.failure(errSessionClosed.Error())
	}
	cancel(nil)
	<-over
	return a
}
