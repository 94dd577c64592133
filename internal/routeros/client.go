// Package routeros is the hand on a MikroTik router: it sets and reads the rates of two queues, and switches and reads one
// mangle rule, over one persistent connection: the SSH command line, the binary API, or REST.
//
// What is meant is the same through every door; how it is said is the door's. One command runs at a time, and nothing
// leaves that is not of a few known shapes. The client tries each call once and keeps no schedule: when to try again is
// its caller's decision.
package routeros

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Client is one router. It connects on its first command and keeps the connection; after any failure of the
// connection the next command makes a new one. It may be used from several goroutines, whose commands take turns.
type Client struct {
	opt  Options
	door door
	// turn holds a token while a command runs; last is its holder's.
	turn chan struct{}
	// last are the rates last read back, by queue, to know a decrease from an increase.
	last map[string]unit.Rate
	// parents are the WAN interfaces last read of queues whose line names none, by upload queue.
	parents map[string]string
	// aims says of simple queues that were read with a WAN at hand whether their rates are the right way round.
	aims map[string]bool

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	logins atomic.Uint64

	mu   sync.Mutex
	line line // nil while there is none
}

// New checks the options, the key file included, and returns a client that has not connected yet.
func New(o Options) (*Client, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	c := &Client{opt: o, turn: make(chan struct{}, 1), last: map[string]unit.Rate{}, parents: map[string]string{}, aims: map[string]bool{}}
	if c.door = doorOf(o); o.Transport == Auto {
		c.door = newAutoDoor(o)
	}
	if o.KeyFile != "" && (o.Transport == SSH || o.Transport == Auto) {
		if _, hint, err := loadKey(o.KeyFile); err != nil {
			return nil, c.err(Auth, "prepare login", err, hint)
		}
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c, nil
}

// String returns user@host:port; user@host while Auto has chosen no door.
func (c *Client) String() string { return c.door.String() }

// Logins counts the connections made so far: a growing number means that the router, or the way to it, drops them.
func (c *Client) Logins() uint64 { return c.logins.Load() }

// Connected says whether a connection stands that is not known to have ended.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line != nil && c.line.alive()
}

// Close ends the connection and whatever runs on it. Later calls fail.
func (c *Client) Close() error {
	c.cancel(errClosed)
	c.drop()
	return nil
}

// drop closes and forgets the connection.
func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil {
		c.line.close()
		c.line = nil
	}
}

func (c *Client) err(kind Kind, op string, err error, hint string) *Error {
	return &Error{Kind: kind, Op: op, Router: c.String(), Err: err, Hint: hint}
}

// bound limits a call to the configured time and to the client's life.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.Timeout,
		fmt.Errorf("no answer within %v: %w", c.opt.Timeout, context.DeadlineExceeded))
	ctx, closed := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(c.ctx, func() { closed(errClosed) })
	return ctx, func() {
		unhook()
		closed(nil)
		cancel()
	}
}

// do runs one call: take the turn, check, connect where needed, carry, judge. A task that would set rates over a
// connection made in place of a lost one only reads; unwritten says so.
func (c *Client) do(ctx context.Context, t task, judge func(r reply, failed *Error, unwritten bool) *Error) error {
	ctx, done, err := c.enter(ctx, t.op)
	if err != nil {
		return err
	}
	defer done()
	if err := t.check(); err != nil {
		return c.err(Syntax, t.op, err, "correct the name or value in the configuration; nothing was sent")
	}
	t.order, t.same = c.order(t.queues, t.want)
	t.parent = c.parents[t.queues.name(link.Up)]
	said, err := c.door.say(t)
	if err != nil {
		e := c.err(Syntax, t.op, err, ourFault)
		e.Command = said
		return e
	}
	l, again, failed := c.connection(ctx, t.op)
	if failed != nil {
		failed.Command = said
		return failed
	}
	unwritten := t.writes() && (again || !c.aimed(t.queues))
	if unwritten {
		t.want = nil
	}
	r, failed := l.carry(ctx, t)
	if !l.alive() {
		c.drop()
	}
	carried := failed == nil
	if carried {
		failed = c.matches(t, r.found)
	}
	if failed = judge(r, failed, unwritten); failed == nil {
		return nil
	}
	failed.Sent = failed.Sent || carried
	if failed.Command == "" {
		failed.Command = said
	}
	return failed
}

// enter bounds a call and waits for its turn, which done gives back.
func (c *Client) enter(ctx context.Context, op string) (bounded context.Context, done func(), err error) {
	ctx, cancel := c.bound(ctx)
	if c.ctx.Err() != nil {
		cancel()
		return nil, nil, c.err(Unreachable, op, errClosed, "")
	}
	select {
	case <-ctx.Done():
		defer cancel()
		return nil, nil, c.ended(ctx, op)
	case c.turn <- struct{}{}:
	}
	if ctx.Err() != nil {
		<-c.turn
		defer cancel()
		return nil, nil, c.ended(ctx, op)
	}
	return ctx, func() { <-c.turn; cancel() }, nil
}

// ended is the error of a call whose time or whose client ended before it began.
func (c *Client) ended(ctx context.Context, op string) *Error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errClosed) {
		return c.err(Unreachable, op, cause, "")
	}
	return c.err(Timeout, op, fmt.Errorf("not sent: %w", cause), "an earlier command still runs, or the caller gave up")
}

// connection returns the kept connection or makes one; again says that it was made in place of an earlier one.
func (c *Client) connection(ctx context.Context, op string) (l line, again bool, failed *Error) {
	c.mu.Lock()
	l = c.line
	c.mu.Unlock()
	if l != nil && l.alive() {
		return l, false, nil
	}
	c.drop()
	l, failed = c.door.enter(ctx, op)
	if failed != nil {
		if c.ctx.Err() != nil { // whatever it looked like, Close ended it
			failed = c.err(Unreachable, op, errClosed, "")
		}
		return nil, false, failed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil { // closed meanwhile: Close saw no connection to end
		l.close()
		return nil, false, c.err(Unreachable, op, errClosed, "")
	}
	c.line = l
	return l, c.logins.Add(1) > 1, nil
}

// Exchange sets the rates that are not zero, decreases first, and reads both queues, the WAN interface and the
// router's uptime back, in one turn: over SSH in one round trip, over API and REST in a few. A nil want only reads; a
// zero rate leaves that direction as it is.
//
// The report's rates are the router's own: a direction is confirmed when the error is nil. When only one of the two
// queues could be read, the error's Read field says which part of the report stands all the same. A WAN interface that
// does not exist is no error: the report then has none.
//
// A write whose connection had to be made anew is not sent: somebody may have changed the queues while it was gone, and
// that must not be overwritten unseen. The report is then a reading and says Unwritten. So is the first of a simple
// queue, and each while its target is the line itself: that tells which of its two rates is the download's.
func (c *Client) Exchange(ctx context.Context, q Queues, want *link.Rates) (link.Report, error) {
	t := task{purpose: bothQueues, op: "read queues", queues: q, want: want}
	if t.writes() {
		t.op = "set rates"
	}
	var report link.Report
	err := c.do(ctx, t, func(r reply, err *Error, unwritten bool) *Error {
		report.At, report.Unwritten = r.at, unwritten
		for d := link.Down; d <= link.Up; d++ {
			if read := r.queues.Get(d); read != nil {
				report.Set(d, *read)
				c.last[q.name(d)] = read.MaxLimit
			}
		}
		if r.way != "" {
			c.parents[q.name(link.Up)] = r.way
		}
		if r.uptime != nil {
			report.Uptime = *r.uptime
		}
		if r.wan != nil {
			report.HasWAN, report.WANRx, report.WANTx = true, r.wan[0], r.wan[1]
		}
		if err == nil && (r.queues.Down == nil || r.queues.Up == nil || r.uptime == nil) {
			err = c.incomplete(t.op)
		}
		if err == nil {
			err = c.reversed(t.op, q, r)
		}
		if err == nil && want != nil && !unwritten {
			err = c.compare(t.op, q, *want, report)
		}
		if err != nil {
			err.Read = link.Pair[bool]{Down: r.queues.Down != nil, Up: r.queues.Up != nil}
		}
		return err
	})
	return report, err
}

func (c *Client) incomplete(op string) *Error {
	return c.err(Reply, op, errors.New("the answer is not complete"), hintFor(Reply, c.opt))
}

// order puts the direction whose rate falls before the other: download first where both or neither do, or where the
// router's present rates are not known. same says that they are known and move alike.
func (c *Client) order(q Queues, want *link.Rates) (order [2]link.Direction, same bool) {
	falls := func(d link.Direction) (falls, known bool) {
		last, known := c.last[q.name(d)]
		if !known || want == nil || want.Get(d) <= 0 {
			return false, false
		}
		return last == 0 || want.Get(d) < last, true // 0 is unlimited
	}
	down, knowDown := falls(link.Down)
	up, knowUp := falls(link.Up)
	same = knowDown && knowUp && down == up
	if up && !down {
		return [2]link.Direction{link.Up, link.Down}, same
	}
	return [2]link.Direction{link.Down, link.Up}, same
}

// compare says which written rate did not come back.
func (c *Client) compare(op string, q Queues, want link.Rates, report link.Report) *Error {
	var wrong []string
	for d := link.Down; d <= link.Up; d++ {
		if w, is := want.Get(d), report.Get(d).MaxLimit; w > 0 && w != is {
			wrong = append(wrong, fmt.Sprintf("queue %q has max-limit %d%s after %d was written", q.name(d), is, q.half(d), w))
		}
	}
	if wrong == nil {
		return nil
	}
	return c.err(Mismatch, op, errors.New(strings.Join(wrong, ", and ")),
		"look for another writer of these queues (scripts, schedulers, a second wanctl): /system/history/print")
}

// Queue reads one queue of the tree by its exact name.
func (c *Client) Queue(ctx context.Context, name string) (link.Queue, error) {
	t := task{purpose: oneQueue, op: "read queue", queue: name}
	var queue link.Queue
	err := c.do(ctx, t, func(r reply, err *Error, _ bool) *Error {
		if err == nil && r.queues.Down == nil {
			err = c.incomplete(t.op)
		}
		if err == nil {
			queue = *r.queues.Down
			c.last[name] = queue.MaxLimit
		}
		return err
	})
	return queue, err
}

// Rule reads the one rule of /ip/firewall/mangle that carries exactly this comment. Dynamic rules do not count.
func (c *Client) Rule(ctx context.Context, comment string) (Rule, error) {
	return c.rule(ctx, "read mangle rule", comment, "", nil)
}

// SetRule enables or disables that rule and reads it back. When more than one rule carries the comment, none is changed.
// It does not ask whether the rule has the right form: see [Rule.Steerable].
func (c *Client) SetRule(ctx context.Context, comment string, enabled bool) (Rule, error) {
	if enabled {
		return c.rule(ctx, "enable mangle rule", comment, "enable", &enabled)
	}
	return c.rule(ctx, "disable mangle rule", comment, "disable", &enabled)
}

func (c *Client) rule(ctx context.Context, op, comment, verb string, want *bool) (Rule, error) {
	var rule Rule
	t := task{purpose: oneRule, op: op, comment: comment, verb: verb}
	err := c.do(ctx, t, func(r reply, err *Error, _ bool) *Error {
		if r.rule != nil {
			rule = *r.rule
			rule.Comment = comment
		}
		switch {
		case err != nil:
			return err
		case r.rule == nil:
			return c.incomplete(op)
		case want != nil && *want != rule.Enabled:
			return c.err(Mismatch, op, fmt.Errorf("the rule %q reads back as enabled=%t", comment, rule.Enabled),
				"look for another writer of the rule: /system/history/print")
		}
		return nil
	})
	return rule, err
}

// Path reads what the router's connection tracking has of ICMP connections from an IPv4 address. It may take long where
// there are many connections, so it is not for a connection that a cut may have to use meanwhile.
func (c *Client) Path(ctx context.Context, source netip.Addr) (Path, error) {
	var path Path
	err := c.do(ctx, task{purpose: echoPath, op: "read connection tracking", source: source}, func(r reply, err *Error, _ bool) *Error {
		path = r.path
		return err
	})
	return path, err
}

// Fingerprint connects without logging in and returns what the router shows to be known by, whether it is recorded or
// not: its host key, "ssh-ed25519 SHA256:…", or its certificate, "sha256:…" as router.tls_pin takes it.
func (c *Client) Fingerprint(ctx context.Context) (string, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	seen, failed := c.door.fingerprint(ctx)
	if failed != nil {
		return "", failed
	}
	return seen, nil
}

// Known says whether a host key that [Client.Fingerprint] returned is the recorded one. Another recorded key is an error of the
// kind [HostKey]. Certificates are not recorded.
func (c *Client) Known(seen string) (bool, error) {
	d, ok := c.door.(sshDoor)
	if !ok {
		return false, nil
	}
	known, failed := d.known("compare host key", seen)
	if failed != nil {
		return false, failed
	}
	return known, nil
}

// Trust records what [Client.Fingerprint] returned, after a person has compared it: it adds the host key to the known_hosts
// file, whose name it returns, if the router still shows it. A key that is recorded already is never replaced.
// Certificates are trusted by [Options].Pin.
func (c *Client) Trust(ctx context.Context, seen string) (file string, err error) {
	d, ok := c.door.(sshDoor)
	if !ok {
		return "", c.err(Certificate, "record certificate", errors.New("a certificate is trusted by its pin"), "put it into router.tls_pin")
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if failed := d.record(ctx, seen); failed != nil {
		return "", failed
	}
	return c.opt.KnownHosts, nil
}
