package probe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind says what is wrong, or what a [Finding] is about.
type Kind uint8

// The kinds.
const (
	// KindOptions: the options contradict themselves or are out of bounds.
	KindOptions Kind = iota
	// KindPermission: neither a datagram nor a raw ICMP socket may be opened.
	KindPermission
	// KindMark: the process may not set the firewall mark.
	KindMark
	// KindSource: the source address does not exist on this host (any more, or yet).
	KindSource
	// KindInterface: there is no such interface (any more, or yet), or it is down.
	KindInterface
	// KindFamily: the kernel does not speak this IP version, or the source address is of the other one.
	KindFamily
	// KindSocket: the socket failed in another way, or, as a finding, which sort of socket is in use.
	KindSocket
	// KindRoute: no route to the target from this source, or, as a finding, the way it takes.
	KindRoute
	// KindResolve: a host name has no usable address (yet).
	KindResolve
	// KindSend: the kernel refused an echo.
	KindSend
	// KindUnbound: nothing ties the probes to a line.
	KindUnbound
	// KindDuplicate: two targets are the same address.
	KindDuplicate
)

var kindNames = [...]string{
	KindOptions: "options", KindPermission: "permission", KindMark: "mark", KindSource: "source", KindInterface: "interface",
	KindFamily: "family", KindSocket: "socket", KindRoute: "route", KindResolve: "resolve", KindSend: "send",
	KindUnbound: "unbound", KindDuplicate: "duplicate",
}

// String returns the kind's short name, stable for logs and tests.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is a failure of the pinger: what was tried, on what, and the way out.
type Error struct {
	Kind Kind
	// Op is what was tried, such as "open ICMP socket".
	Op string
	// Thing is what it was tried on: an address, an interface, a host.
	Thing string
	// Hint is the way out.
	Hint string
	Err  error
}

// Error prints operation, thing, cause and hint.
func (e *Error) Error() string {
	s := e.Op
	if e.Thing != "" {
		s += " " + e.Thing
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrClosed is returned by calls on a closed [Pinger].
var ErrClosed = errors.New("the pinger is closed")

// ErrRunning is returned when a [Pinger] that probes already is told to probe.
var ErrRunning = errors.New("the pinger is running already")

// heals says that the failure may go away by itself: an interface that is not up yet, an address not assigned yet.
// The pinger then keeps trying instead of giving up.
func heals(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.Kind {
	case KindOptions, KindPermission, KindMark:
		return false
	case KindSource, KindInterface, KindFamily, KindSocket, KindRoute, KindResolve, KindSend, KindUnbound, KindDuplicate:
		return true
	}
	return true
}

// sendHint says what a refused echo means.
func sendHint(err error) string {
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "no route from here; look at the routes and rules that belong to the probe's source, interface or mark"
	case errors.Is(err, unix.EPERM):
		return "a local firewall rule drops the echo on its way out"
	case errors.Is(err, unix.EACCES):
		return "a prohibit route or a broadcast address stands in the way"
	case errors.Is(err, unix.EINVAL):
		return "a blackhole route, or the source address is gone"
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
		return "the interface's send queue is full; nothing to do if it passes"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENETDOWN):
		return "the interface is down or gone; probing resumes by itself when it is back"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "the source address is gone; probing resumes by itself when it is back"
	}
	return "probing goes on; look at the interface and its routes if it lasts"
}
