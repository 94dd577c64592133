package routeros

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// maxReply bounds what is kept of an answer, in bytes: ours are under 2 kB.
const maxReply = 64 << 10

// answer is what came back from one command.
type answer struct {
	out, errText string
	// status is the exit status, -1 when the router ended the command without one.
	status int
	// at is the middle of the round trip.
	at unit.Time
}

// command runs one call: take the turn, build the line, connect where needed, send, judge. anew, where it is not nil,
// builds the line for a connection that had to be made in place of a lost one.
func (c *Client) command(ctx context.Context, op string, build, anew func() (string, error), judge func(answer) *Error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if c.ctx.Err() != nil {
		return c.err(Unreachable, op, errClosed, "")
	}
	select {
	case <-ctx.Done():
		return c.ended(ctx, op)
	case c.turn <- struct{}{}:
	}
	defer func() { <-c.turn }()
	if ctx.Err() != nil {
		return c.ended(ctx, op)
	}
	line, err := build()
	if err != nil {
		return c.err(Syntax, op, err, "correct the name or value in the configuration; nothing was sent")
	}
	if err := guard(line); err != nil {
		e := c.err(Syntax, op, err, "this is a fault of wanctl's: please report it")
		e.Command = line
		return e
	}
	k, again, failed := c.connection(ctx, op)
	if failed == nil && again && anew != nil {
		if line, err = anew(); err == nil {
			err = guard(line)
		}
		if err != nil {
			return c.err(Syntax, op, err, "this is a fault of wanctl's: please report it")
		}
	}
	var a answer
	if failed == nil {
		a, failed = c.exchange(ctx, k, op, line)
	}
	if failed == nil {
		if failed = judge(a); failed != nil {
			failed.Sent = true
		}
	}
	if failed != nil {
		failed.Command = line
		return failed
	}
	return nil
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
func (c *Client) connection(ctx context.Context, op string) (k *conn, again bool, failed *Error) {
	c.mu.Lock()
	k = c.conn
	c.mu.Unlock()
	if k != nil && k.alive() {
		return k, false, nil
	}
	c.drop()
	k, failed = c.dial(ctx, op)
	if failed != nil {
		if c.ctx.Err() != nil { // whatever it looked like, Close ended it
			failed = c.err(Unreachable, op, errClosed, "")
		}
		return nil, false, failed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil { // closed meanwhile: Close saw no connection to end
		k.close()
		return nil, false, c.err(Unreachable, op, errClosed, "")
	}
	c.conn = k
	return k, c.logins.Add(1) > 1, nil
}

// exchange sends one line and waits for its answer. A connection that failed in any way is not used again.
func (c *Client) exchange(ctx context.Context, k *conn, op, line string) (answer, *Error) {
	begin := c.now()
	a, sent, err := k.run(ctx, line)
	a.at = begin + (c.now()-begin)/2
	if err == nil {
		return a, nil
	}
	c.drop()
	kind, hint := Unreachable, "the kept connection had ended; the next command makes a new one"
	var rejected *ssh.OpenChannelError
	switch {
	case errors.Is(err, errTooLong):
		kind, hint = Reply, "is this port really a router's?"
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errClosed):
		err, hint = errClosed, ""
		if sent {
			kind = Lost
		}
	case ctx.Err() != nil:
		kind, err, hint = Timeout, context.Cause(ctx), "the router is overloaded, or the way to it is broken; the connection was closed"
	case sent:
		kind, hint = Lost, "whether the router carried the command out is not known; the next command makes a new connection"
	case errors.Is(err, errRefused):
		hint = "is this port really a router's? RouterOS takes commands of every user that may log in over SSH"
	case errors.As(err, &rejected):
		hint = "the router opens no further channel: see /ip/service ssh max-sessions"
	}
	e := c.err(kind, op, err, hint)
	e.Sent, e.Reply = sent, clip(a.out+a.errText)
	return a, e
}

func (c *Client) now() unit.Time {
	if c.opt.Now == nil {
		return 0
	}
	return c.opt.Now()
}

// errTooLong ends an answer without end.
var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxReply)

// errRefused is an SSH server that gives us a channel and takes no command on it.
var errRefused = errors.New("the router takes no command on its SSH connection")

// bounded keeps at most maxReply bytes; at the first byte more it calls full and refuses.
type bounded struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > maxReply {
		b.over = true
		b.full()
		return 0, errTooLong
	}
	return b.buf.Write(p)
}

// get returns what was kept; a writer may still be at work after a failure.
func (b *bounded) get() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String(), b.over
}

// run executes one line on a channel of its own. It returns within ctx: when that ends, the connection is closed,
// which ends every wait. sent says that the line had left.
func (k *conn) run(ctx context.Context, line string) (a answer, sent bool, err error) {
	release := context.AfterFunc(ctx, k.close)
	defer release()
	session, err := k.ssh.NewSession()
	if err != nil {
		return a, false, err
	}
	defer func() { _ = session.Close() }() // after a normal end the channel is closed already
	out, errs := &bounded{full: k.close}, &bounded{full: k.close}
	session.Stdout, session.Stderr = out, errs
	// An open stdin that is never written: RouterOS may take the end of its input for the end of the console.
	if _, err = session.StdinPipe(); err != nil {
		return a, false, err
	}
	if err = session.Start(line); err != nil {
		if k.answers() { // the channel works, only the command was refused
			return a, false, errRefused
		}
		return a, true, err
	}
	err = session.Wait()
	var long, longErr bool
	a.out, long = out.get()
	a.errText, longErr = errs.get()
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case long || longErr:
		return a, true, errTooLong
	case errors.As(err, &exit):
		a.status, err = exit.ExitStatus(), nil
	case errors.As(err, &missing):
		// Either the router closed this channel without a status, or the connection is gone: a request tells.
		a.status = -1
		if k.answers() {
			err = nil
		}
	}
	return a, true, err
}

// answers says whether the connection still stands: any reply to a request that nobody knows proves it.
func (k *conn) answers() bool {
	_, _, err := k.ssh.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}
