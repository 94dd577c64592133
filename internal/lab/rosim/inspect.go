package rosim

import (
	"context"
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Outcome is how an exec request ended.
type Outcome string

// The outcomes.
const (
	// OutcomePending is a request that has no reply yet.
	OutcomePending Outcome = "pending"
	// OutcomeDone ran and was answered.
	OutcomeDone Outcome = "done"
	// OutcomeFailed was answered with an error text.
	OutcomeFailed Outcome = "failed"
	// OutcomeInjected was answered with the text of a fault and did not run.
	OutcomeInjected Outcome = "injected"
	// OutcomeCutBefore lost its connection before it ran, OutcomeCutAfter after it ran and before the reply,
	// OutcomeCutReply in the middle of the reply.
	OutcomeCutBefore Outcome = "cut-before"
	OutcomeCutAfter  Outcome = "cut-after"
	OutcomeCutReply  Outcome = "cut-reply"
	// OutcomeLost was held back or delayed until its connection had gone, and did not run.
	OutcomeLost Outcome = "lost"
	// OutcomeGarbled ran, and something else was sent in place of its reply.
	OutcomeGarbled Outcome = "garbled"
)

// Command is one request: an exec request, a sentence of the API, or an HTTP request of REST.
type Command struct {
	Seq uint64
	At  unit.Time
	// Door is the service it came through, as /ip/service names it: ssh, api, api-ssl, www or www-ssl.
	Door string
	User string
	// Line is the command line, the words of the sentence with blanks between, or method, path and body. A password
	// in it is replaced by asterisks, except in a command line.
	Line string
	// Reply is what was printed, lines ending in LF.
	Reply   string
	Outcome Outcome
	// Wrote says that it changed configuration.
	Wrote bool
}

// LimitChange is one write of a queue's max-limit, also one that set what was there already. By is the user, or
// "fault" for the other writer of [Router.ForeignSet].
type LimitChange struct {
	At       unit.Time
	Queue    string
	From, To unit.Rate
	By       string
}

// RuleChange is one write of a mangle rule's disabled flag; From and To say whether the rule is enabled.
type RuleChange struct {
	At       unit.Time
	Comment  string
	From, To bool
	By       string
}

// MaxLimit returns a queue's rate in force; 0 is unlimited, false is no such queue. A direction of a simple queue is
// "NAME/download" or "NAME/upload".
func (r *Router) MaxLimit(queue string) (unit.Rate, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it, d, half := r.queueNamed(queue)
	if it == nil {
		return 0, false
	}
	if half {
		return pairOf(it.vals["max-limit"]).Get(d), true
	}
	return unit.Rate(it.vals["max-limit"].num), true
}

// Queue returns a queue's counters as the router would print them; false is no such queue. Names are those of [Router.MaxLimit].
func (r *Router) Queue(name string) (link.Queue, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	it, d, half := r.queueNamed(name)
	if it == nil {
		return link.Queue{}, false
	}
	if half {
		of := func(k string) int64 { return int64(pairOf(it.vals[k]).Get(d)) }
		return link.Queue{
			MaxLimit: unit.Rate(of("max-limit")), Bytes: unit.Bytes(of("bytes")), Packets: of("packets"), Dropped: of("dropped"),
			QueuedBytes: unit.Bytes(of("queued-bytes")), QueuedPackets: of("queued-packets"),
		}, true
	}
	return link.Queue{
		MaxLimit: unit.Rate(it.vals["max-limit"].num), Bytes: unit.Bytes(it.vals["bytes"].num),
		Packets: it.vals["packets"].num, Dropped: it.vals["dropped"].num,
		QueuedBytes: unit.Bytes(it.vals["queued-bytes"].num), QueuedPackets: it.vals["queued-packets"].num,
		Parent: it.text("parent"),
	}, true
}

// Interface returns an interface's byte counters as the router would print them; false is no such interface.
func (r *Router) Interface(name string) (rx, tx unit.Bytes, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	it := named(r.interfaces(), name)
	if it == nil {
		return 0, 0, false
	}
	return unit.Bytes(it.vals["rx-byte"].num), unit.Bytes(it.vals["tx-byte"].num), true
}

// RuleEnabled says whether the first mangle rule with exactly this comment is enabled; ok is false when there is none.
func (r *Router) RuleEnabled(comment string) (enabled, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hits := commented(r.mangle(), comment)
	if len(hits) == 0 {
		return false, false
	}
	return hits[0].vals["disabled"].num == 0, true
}

// Uptime returns how long the router has been up.
func (r *Router) Uptime() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.now().Sub(r.booted), 0)
}

// Commands returns the newest exec requests in order of arrival, at most 20 000.
func (r *Router) Commands() []Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	return newest(r.commands)
}

// LimitHistory returns the newest writes of max-limit in order, at most 20 000.
func (r *Router) LimitHistory() []LimitChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return newest(r.limits)
}

// RuleHistory returns the newest writes of a rule's disabled flag in order, at most 20 000.
func (r *Router) RuleHistory() []RuleChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return newest(r.rules)
}

// Forget drops the records of commands and changes so far, for who watches this process's memory over a long time.
func (r *Router) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands, r.limits, r.rules = nil, nil, nil
}

// Writes returns how many times users have changed the queue of that name or the mangle rule of that comment.
func (r *Router) Writes(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes[name]
}

// FlashSectors returns how many sectors were written since the router started.
func (r *Router) FlashSectors() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sectors
}

// Logins returns how many logins have succeeded, and Rejected how many connections were refused or failed to log in.
func (r *Router) Logins() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logins
}

// Rejected returns how many connections were turned away or failed to log in.
func (r *Router) Rejected() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rejected
}

// Sessions returns how many connections are open.
func (r *Router) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, d := range r.doors {
		n += len(d.conns)
	}
	return n
}

// InFlight returns how many exec requests have no reply yet.
func (r *Router) InFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inFlight
}

// Await returns once cond holds, checking at the end of ctx and after every event: a request arrived or ended, a login, a
// connection that came or went, a change of configuration, a fault. cond may call any method of the router.
func (r *Router) Await(ctx context.Context, cond func() bool) error {
	for {
		r.mu.Lock()
		event := r.changed
		r.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-event:
		case <-ctx.Done():
			if cond() { // an event may be there at the same time
				return nil
			}
			return fmt.Errorf("rosim: waiting for the router: %w", ctx.Err())
		}
	}
}

// AwaitIdle returns once no exec request is without its reply.
func (r *Router) AwaitIdle(ctx context.Context) error {
	return r.Await(ctx, func() bool { return r.InFlight() == 0 })
}
