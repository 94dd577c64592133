package routeros

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"wanctl/internal/unit"
)

// door is one way into a router: it makes connections, and knows how a task is said there.
type door interface {
	// say returns the text that would leave first for a checked task; it fails when the guard does not let it.
	say(t task) (string, error)
	// enter connects and logs in, within ctx.
	enter(ctx context.Context, op string) (line, *Error)
	// fingerprint connects without logging in and names the router's key or certificate.
	fingerprint(ctx context.Context) (string, *Error)
	// String returns user@host:port.
	String() string
}

// line is one authenticated connection. One goroutine at a time carries tasks over it; the rest may be called beside.
type line interface {
	// carry does a checked task within ctx. What was read stands in the reply, also beside an error. A connection that
	// failed in any way is closed.
	carry(ctx context.Context, t task) (reply, *Error)
	// alive says whether the connection is not known to have ended; ended is closed when it has, whoever ended it.
	alive() bool
	ended() <-chan struct{}
	close()
}

// site is which router, as its doors reach it and errors name it.
type site struct {
	opt  Options
	addr string
}

func siteOf(o Options) site {
	return site{opt: o, addr: net.JoinHostPort(o.Host, strconv.Itoa(o.Port))}
}

// doorOf makes the one door that the options name.
func doorOf(o Options) door {
	s := siteOf(o)
	switch o.Transport {
	case API:
		return apiDoor{s}
	case REST:
		return restDoor{s}
	case SSH, Auto:
	}
	return sshDoor{s}
}

// room bounds an answer, in bytes.
func (s site) room(own int) int {
	if s.opt.answer > 0 {
		return s.opt.answer
	}
	return own
}

func (s site) String() string { return s.opt.User + "@" + s.addr }

func (s site) err(kind Kind, op string, err error, hint string) *Error {
	return &Error{Kind: kind, Op: op, Router: s.String(), Err: err, Hint: hint}
}

func (s site) now() unit.Time {
	if s.opt.Now == nil {
		return 0
	}
	return s.opt.Now()
}

// keepAlive finds a peer that vanished between two commands, so that the next one starts with a new connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// open makes the connection. Until finish is called it is closed when ctx ends; finish says whether it did not.
func (s site) open(ctx context.Context) (raw net.Conn, finish func() bool, err error) {
	dial := s.opt.Dial
	if dial == nil {
		dial = dialTCP
	}
	raw, err = dial(ctx, s.addr)
	if err != nil {
		return nil, nil, err
	}
	return raw, context.AfterFunc(ctx, func() { _ = raw.Close() }), nil
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	return dialer.DialContext(ctx, "tcp", addr)
}

// reach opens the connection of a door that is to be entered, or says why there is none.
func (s site) reach(ctx context.Context, op string) (raw net.Conn, finish func() bool, failed *Error) {
	raw, finish, err := s.open(ctx)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return nil, nil, s.err(Timeout, op, fmt.Errorf("not connected: %w", context.Cause(ctx)), "the caller gave up")
	case err != nil:
		return nil, nil, s.err(Unreachable, op, because(ctx, err), "check address and port, that the router is up, that /ip/service has "+
			s.opt.Transport.service(s.opt.Plain)+" enabled and that its address list and firewall let this host in")
	}
	return raw, finish, nil
}

// because prefers the reason a context ended over the error that its end caused.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
