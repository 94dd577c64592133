package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
)

// Finding is one result of [Pinger.Check].
type Finding struct {
	// Level is Info for what is proved, Warning for what cannot be proved or looks wrong, Alert for what stops probes.
	Level link.Level
	Kind  Kind
	// Target is the target concerned; empty when it concerns all.
	Target string
	// Text is one complete sentence.
	Text string
	// Err is the cause of an Alert, of type [*Error]; else nil.
	Err error
}

// Note returns the finding as a note with the key "probe_" and the kind's name.
func (f Finding) Note() link.Note {
	return link.Note{Level: f.Level, Key: "probe_" + f.Kind.String(), Text: f.Text}
}

// Check proves as far as this host can that probes leave through their line: the address exists, binding works, each
// target has a route from there, and which interface it takes. Names without an address are looked up first. It sends
// no packet but those of DNS. What it cannot see is what happens behind the first router.
func (p *Pinger) Check(ctx context.Context) []Finding {
	p.resolveAll(ctx)
	b := p.o.binding()
	var out []Finding
	add := func(l link.Level, k Kind, target string, err error, format string, args ...any) {
		out = append(out, Finding{Level: l, Kind: k, Target: target, Err: err, Text: fmt.Sprintf(format, args...)})
	}
	if !b.bound() {
		add(link.Warning, KindUnbound, "", nil, "Probes are not bound to a source address, interface or mark: with more than one line they may measure another.")
	}
	home := b.lookOver(add)

	p.mu.Lock()
	used := p.families()
	p.mu.Unlock()
	var broken [families]bool
	for _, f := range used {
		c, err := p.openAsAsked(f)
		if err != nil {
			broken[f] = true
			add(link.Alert, kindOf(err), "", err, "No probe can be sent over %s: %v.", f, err)
			continue
		}
		add(link.Info, KindSocket, "", nil, "Probes over %s use a %s ICMP socket.", f, c.kind)
		if p.lacksTimestamps(f, c) {
			add(link.Info, KindSocket, "", nil, "%s", noTimestamps)
		}
		_ = c.close()
	}
	seen := make(map[netip.Addr]string)
	for i, t := range p.Stats() {
		server := i == len(p.o.Targets) // it may be one of the targets, too
		switch {
		case !t.Addr.IsValid():
			add(link.Alert, KindResolve, t.Target, t.Err, "Target %s is not probed yet: %v.", t.Target, t.Err)
			continue
		case seen[t.Addr] != "" && !server:
			add(link.Warning, KindDuplicate, t.Target, nil, "Targets %s and %s are the same host: their median believes it twice.", seen[t.Addr], t.Target)
		}
		seen[t.Addr] = t.Target
		if !broken[familyOf(t.Addr)] {
			b.checkRoute(t.Target, t.Addr, home, add)
		}
	}
	return out
}

// addFinding appends a finding.
type addFinding func(l link.Level, k Kind, target string, err error, format string, args ...any)

// kindOf returns an error's kind.
func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindSocket
}

// lookOver reports on the interface by itself and whether the source address is on it. It returns the interface that
// carries the source address, "" when none does or there is no source.
func (b binding) lookOver(add addFinding) (home string) {
	if b.source.IsValid() {
		home = addressOwner(b.source)
	}
	if b.device == "" {
		return home
	}
	i, err := net.InterfaceByName(b.device)
	switch {
	case err != nil:
		return home // opening the socket says so
	case i.Flags&net.FlagUp == 0:
		e := &Error{Kind: KindInterface, Op: "probe through", Thing: b.device, Err: unix.ENETDOWN, Hint: `"ip link set dev ` + b.device + ` up"`}
		add(link.Alert, KindInterface, "", e, "Interface %s is down.", b.device)
	case home != "" && home != b.device:
		add(link.Warning, KindSource, "", nil, "Source address %v is on interface %s, but probes are bound to %s: replies may go elsewhere.", b.source, home, b.device)
	}
	return home
}

// addressOwner returns the name of the interface that carries an address, or "".
func addressOwner(a netip.Addr) string {
	list, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, x := range addrs {
			if n, ok := x.(*net.IPNet); ok {
				if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == a.WithZone("") {
					return i.Name
				}
			}
		}
	}
	return ""
}

// checkRoute proves that a target has a route through the binding and says which.
func (b binding) checkRoute(target string, a netip.Addr, home string, add addFinding) {
	local, err := b.connect(a)
	if err != nil {
		add(link.Alert, kindOf(err), target, err, "Target %s cannot be reached: %v.", target, err)
		return
	}
	if local == a {
		add(link.Warning, KindRoute, target, nil, "Target %s is an address of this host: probing it says nothing about a line.", target)
		return
	}
	device, err := b.routeDevice(a)
	switch {
	case err != nil:
		add(link.Warning, KindRoute, target, nil, "Target %s has a route from %v, but which interface it takes could not be read: %v.", target, local, err)
	case b.source.IsValid() && b.device == "" && b.mark == 0 && home != "lo" && home != device:
		add(link.Warning, KindRoute, target, nil, "Probes to %s leave through %s, but their source address %v is on %s: the answer may measure another line. "+
			"Add a rule for the source address, or bind by interface.", target, device, local, home)
	default:
		add(link.Info, KindRoute, target, nil, "Probes to %s leave from %v through %s.", target, local, device)
	}
}

// connect returns the local address that packets to a would carry. A connected UDP socket finds a route as an echo
// would and sends nothing.
func (b binding) connect(a netip.Addr) (netip.Addr, error) {
	f := familyOf(a)
	fd, err := b.udpSocket(f)
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	const anyPort = 9 // discard; nothing is sent
	if err := unix.Connect(fd, sockaddr(a, b.device, anyPort)); err != nil {
		return netip.Addr{}, &Error{Kind: KindRoute, Op: "find a route to", Thing: a.String(), Err: err, Hint: sendHint(err)}
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, &Error{Kind: KindRoute, Op: "read the local address towards", Thing: a.String(), Err: err}
	}
	switch s := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(s.Addr), nil
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(s.Addr).Unmap(), nil
	}
	return netip.Addr{}, &Error{Kind: KindRoute, Op: "read the local address towards", Thing: a.String(), Err: errors.New("unknown address family")}
}

// prove says whether a socket can be tied to the line now.
func (b binding) prove(f family) error {
	fd, err := b.udpSocket(f)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// udpSocket opens a UDP socket tied to the line.
func (b binding) udpSocket(f family) (int, error) {
	fd, _, err := datagramSocket(f, udpKind)
	if err != nil {
		return -1, err
	}
	if err := b.apply(fd, f); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
