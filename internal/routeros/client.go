// Package routeros is the hand on a MikroTik router: it sets and reads the rates of two queues, and switches and reads one
// mangle rule, over one persistent SSH connection.
//
// Each command is one line on an exec channel of its own, one at a time. A line that is none of a few known shapes is
// never sent. The client tries each command once and keeps no schedule: when to try again is its caller's decision.
package routeros

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// DefaultTimeout bounds one call where [Options] are silent.
const DefaultTimeout = 15 * time.Second

// Options say which router, and how to log in.
type Options struct {
	// Host is a name or an address; Port 0 means 22.
	Host string
	Port int
	User string
	// KeyFile is a private key without a passphrase; Password is asked at each login, after the host key was
	// verified. At least one of them is needed; the key is tried first.
	KeyFile  string
	Password func() (string, error)
	// KnownHosts is the file that records the router's host key; empty: the user's ~/.ssh/known_hosts.
	KnownHosts string
	// Timeout bounds each call as a whole: waiting for its turn, connecting, logging in and the command. 0 means [DefaultTimeout].
	Timeout time.Duration
	// Now stamps the reports; nil leaves their At zero.
	Now func() unit.Time
}

// Client is one router. It connects on its first command and keeps the connection; after any failure of the
// connection the next command makes a new one. It may be used from several goroutines, whose commands take turns.
type Client struct {
	opt  Options
	addr string
	// turn holds a token while a command runs; last is its holder's.
	turn chan struct{}
	// last are the rates last read back, by queue, to know a decrease from an increase.
	last map[string]unit.Rate

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	logins atomic.Uint64

	mu   sync.Mutex
	conn *conn // nil while there is none
}

// errClosed is what every call gets after Close.
var errClosed = errors.New("the client is closed")

// New checks the options, the key file included, and returns a client that has not connected yet.
func New(o Options) (*Client, error) {
	if o.Port == 0 {
		o.Port = 22
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	switch {
	case o.Host == "" || strings.ContainsFunc(o.Host, odd):
		return nil, fmt.Errorf("router host %q is empty or holds white space", o.Host)
	case o.Port < 1 || o.Port > 65535:
		return nil, fmt.Errorf("router port %d is outside 1 to 65535", o.Port)
	case o.User == "" || strings.ContainsFunc(o.User, odd):
		return nil, fmt.Errorf("router user %q is empty or holds white space", o.User)
	case o.Timeout < 0:
		return nil, fmt.Errorf("router timeout %v is negative", o.Timeout)
	case o.KeyFile == "" && o.Password == nil:
		return nil, fmt.Errorf("no way to log in to router %s: it needs a private key or a password", o.Host)
	}
	if o.KnownHosts == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("router %s: no known_hosts file is named and there is no home directory: %w", o.Host, err)
		}
		o.KnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	c := &Client{
		opt: o, addr: net.JoinHostPort(o.Host, strconv.Itoa(o.Port)),
		turn: make(chan struct{}, 1), last: map[string]unit.Rate{},
	}
	if o.KeyFile != "" {
		if _, hint, err := loadKey(o.KeyFile); err != nil {
			return nil, c.err(Auth, "prepare login", err, hint)
		}
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c, nil
}

// String returns user@host:port.
func (c *Client) String() string { return c.opt.User + "@" + c.addr }

// Logins counts the connections made so far: a growing number means that the router, or the way to it, drops them.
func (c *Client) Logins() uint64 { return c.logins.Load() }

// Connected says whether a connection stands that is not known to have ended.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.alive()
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
	if c.conn != nil {
		c.conn.close()
		c.conn = nil
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

// Exchange sets the rates that are not zero, decreases first, and reads both queues, the WAN interface and the
// router's uptime back, all in one round trip. A nil want only reads; a zero rate leaves that direction as it is.
//
// The report's rates are the router's own: a direction is confirmed when the error is nil. When only one of the two
// queues could be read, the error's Read field says which part of the report stands all the same. A WAN interface that
// does not exist is no error: the report then has none.
//
// A write whose connection had to be made anew is not sent: somebody may have changed the queues while it was gone, and
// that must not be overwritten unseen. The report is then a reading and says Unwritten.
func (c *Client) Exchange(ctx context.Context, q Queues, want *link.Rates) (link.Report, error) {
	op := "read queues"
	if want != nil && *want != (link.Rates{}) {
		op = "set rates"
	}
	var report link.Report
	build := func() (string, error) { return exchangeLine(q, want, c.order(q, want)) }
	anew := func() (string, error) {
		report.Unwritten = want != nil && *want != (link.Rates{})
		want = nil
		return build()
	}
	err := c.command(ctx, op, build, anew, func(a answer) *Error {
		r, err := c.read(op, a, queueThing, q.Down, q.Up)
		report.At = a.at
		for d := link.Down; d <= link.Up; d++ {
			if read := r.queues.Get(d); read != nil {
				report.Set(d, *read)
				c.last[q.name(d)] = read.MaxLimit
			}
		}
		if r.uptime != nil {
			report.Uptime = *r.uptime
		}
		if r.wan != nil {
			report.HasWAN, report.WANRx, report.WANTx = true, r.wan[0], r.wan[1]
		}
		if err == nil && (r.queues.Down == nil || r.queues.Up == nil || r.uptime == nil) {
			err = c.err(Reply, op, errors.New("the answer is not complete"), hintFor(Reply, c.opt.User))
		}
		if err == nil && want != nil {
			err = c.compare(op, q, *want, report)
		}
		if err != nil {
			err.Read = link.Pair[bool]{Down: r.queues.Down != nil, Up: r.queues.Up != nil}
		}
		return err
	})
	return report, err
}

// name returns the queue of a direction.
func (q Queues) name(d link.Direction) string {
	if d == link.Up {
		return q.Up
	}
	return q.Down
}

// order puts the direction whose rate falls before the other: download first where both or neither do, or where the
// router's present rates are not known.
func (c *Client) order(q Queues, want *link.Rates) [2]link.Direction {
	falls := func(d link.Direction) bool {
		last, known := c.last[q.name(d)]
		if !known || want == nil || want.Get(d) <= 0 {
			return false
		}
		return last == 0 || want.Get(d) < last // 0 is unlimited
	}
	if falls(link.Up) && !falls(link.Down) {
		return [2]link.Direction{link.Up, link.Down}
	}
	return [2]link.Direction{link.Down, link.Up}
}

// compare says which written rate did not come back.
func (c *Client) compare(op string, q Queues, want link.Rates, report link.Report) *Error {
	var wrong []string
	for d := link.Down; d <= link.Up; d++ {
		if w, is := want.Get(d), report.Get(d).MaxLimit; w > 0 && w != is {
			wrong = append(wrong, fmt.Sprintf("queue %q has max-limit %d after %d was written", q.name(d), is, w))
		}
	}
	if wrong == nil {
		return nil
	}
	return c.err(Mismatch, op, errors.New(strings.Join(wrong, ", and ")),
		"look for another writer of these queues (scripts, schedulers, a second wanctl): /system/history/print")
}

// Queue reads one queue by its exact name.
func (c *Client) Queue(ctx context.Context, name string) (link.Queue, error) {
	const op = "read queue"
	var queue link.Queue
	err := c.command(ctx, op, func() (string, error) { return queueLine(name) }, nil, func(a answer) *Error {
		r, err := c.read(op, a, queueThing, name)
		if err == nil && r.queues.Down == nil {
			err = c.err(Reply, op, errors.New("the answer is not complete"), hintFor(Reply, c.opt.User))
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
	err := c.command(ctx, op, func() (string, error) { return ruleLine(comment, verb) }, nil, func(a answer) *Error {
		r, err := c.read(op, a, ruleThing, comment)
		if r.rule != nil {
			rule = *r.rule
			rule.Comment = comment
		}
		switch {
		case err != nil:
			return err
		case r.rule == nil:
			return c.err(Reply, op, errors.New("the answer is not complete"), hintFor(Reply, c.opt.User))
		case want != nil && *want != rule.Enabled:
			return c.err(Mismatch, op, fmt.Errorf("the rule %q reads back as enabled=%t", comment, rule.Enabled),
				"look for another writer of the rule: /system/history/print")
		}
		return nil
	})
	return rule, err
}
