package routeros

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
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

// carry sends the task's one line and reads the answer.
func (k *sshLine) carry(ctx context.Context, t task) (reply, *Error) {
	said, err := sayLine(t)
	if err != nil {
		e := k.err(Syntax, t.op, err, ourFault)
		e.Command = said
		return reply{}, e
	}
	var r reply
	a, failed := k.exchange(ctx, t.op, said)
	if failed == nil {
		_, names := t.names()
		if r, failed = k.read(t.op, a, len(names)); failed != nil {
			failed.Sent = true
		}
		r.at = a.at
	}
	if failed != nil {
		failed.Command = said
	}
	return r, failed
}

// read takes an answer apart and judges it: what the router reported as failed, and what is missing. The reply is returned beside an error: parts of it may stand.
//
// Success needs all of it: no exit status but 0, nothing on stderr, no known error text, every mark up to the end. A
// router that sends no status at all is believed when its answer is complete: the marks are stronger evidence.
func (k *sshLine) read(op string, a answer, names int) (reply, *Error) {
	fail := func(kind Kind, err error, hint string) *Error {
		e := k.err(kind, op, err, hint)
		e.Reply = clip(a.out + a.errText)
		return e
	}
	r, bad := parseReply(a.out)
	text := strings.TrimSpace(r.text + "\n" + strings.TrimSpace(a.errText))
	kind, known := classify(text)
	switch {
	case known, strings.TrimSpace(a.errText) != "", a.status > 0 && text != "":
		e := fail(kind, errors.New("the router reported an error"), hintFor(kind, k.opt))
		e.Reply = clip(text)
		return r, e
	case a.status > 0:
		return r, fail(Reply, fmt.Errorf("the router ended the command with exit status %d", a.status), hintFor(Reply, k.opt))
	case a.status < 0 && !r.end:
		return r, fail(Reply, errors.New("the router ended the command early and without an exit status"), hintFor(Reply, k.opt))
	case bad != nil:
		return r, fail(Reply, bad, hintFor(Reply, k.opt))
	case !r.end:
		return r, fail(Reply, errors.New("the answer ends early"), hintFor(Reply, k.opt))
	case len(r.found) != names:
		return r, fail(Reply, errors.New("the answer is not the command's"), hintFor(Reply, k.opt))
	}
	return r, nil
}

// exchange sends one line and waits for its answer. A connection that failed in any way is not used again.
func (k *sshLine) exchange(ctx context.Context, op, line string) (answer, *Error) {
	begin := k.now()
	a, sent, err := k.run(ctx, line)
	a.at = begin + (k.now()-begin)/2
	if err == nil {
		return a, nil
	}
	k.close()
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
	e := k.err(kind, op, err, hint)
	e.Sent, e.Reply = sent, clip(a.out+a.errText)
	return a, e
}

// errTooLong ends an answer without end.
var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxReply)

// errRefused is an SSH server that gives us a channel and takes no command on it.
var errRefused = errors.New("the router takes no command on its SSH connection")

// bounded keeps at most room bytes; at the first byte more it calls full and refuses.
type bounded struct {
	room int
	mu   sync.Mutex
	buf  bytes.Buffer
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > b.room {
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
func (k *sshLine) run(ctx context.Context, line string) (a answer, sent bool, err error) {
	release := context.AfterFunc(ctx, k.close)
	defer release()
	session, err := k.ssh.NewSession()
	if err != nil {
		return a, false, err
	}
	defer func() { _ = session.Close() }() // after a normal end the channel is closed already
	out, errs := &bounded{full: k.close, room: k.room(maxReply)}, &bounded{full: k.close, room: maxReply}
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
func (k *sshLine) answers() bool {
	_, _, err := k.ssh.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}
