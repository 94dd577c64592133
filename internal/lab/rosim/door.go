package rosim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// The doors by their names in /ip/service.
const (
	doorSSH     = "ssh"
	doorAPI     = "api"
	doorAPITLS  = "api-ssl"
	doorREST    = "www"
	doorRESTTLS = "www-ssl"
)

// door is one service of the router as it is served: its listener and its connections. Guarded by Router.mu.
type door struct {
	name            string
	session         func(ctx context.Context, g *gate)
	addr            net.Addr
	listener        net.Listener
	conns           map[*gate]struct{}
	serving, closed bool
	wg              sync.WaitGroup
}

// gate is a connection that can be made silent: half-open, as after a lost route. A silent connection stays so.
type gate struct {
	net.Conn
	door   *door
	silent atomic.Bool
	cancel context.CancelFunc
	// stream is what a session speaks over: the gate itself, or TLS on top of it.
	stream net.Conn
	// active is the connection's row of /user/active; guarded by Router.mu.
	active *item
}

func (g *gate) Read(b []byte) (int, error) {
	for {
		n, err := g.Conn.Read(b)
		if err != nil || !g.silent.Load() {
			return n, err
		}
	}
}

func (g *gate) Write(b []byte) (int, error) {
	if g.silent.Load() {
		return len(b), nil
	}
	return g.Conn.Write(b)
}

func (g *gate) Close() error {
	g.cancel()
	return g.Conn.Close()
}

// reset closes the connection as a host does that does not want it: with a TCP reset where there is TCP.
func (g *gate) reset() {
	if c, ok := g.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = g.Close()
}

// source is the other side's address; the zero value when the connection has none, as in memory.
func (g *gate) source() netip.Addr {
	p, err := netip.ParseAddrPort(g.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap()
}

// within says whether an address is in a comma-separated list of addresses and prefixes; an empty list holds every
// address.
func within(a netip.Addr, list string) bool {
	if list == "" {
		return true
	}
	for w := range strings.SplitSeq(list, ",") {
		if p, ok := parseSource(w); ok && p.Contains(a) {
			return true
		}
	}
	return false
}

func parseSource(w string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(w); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(w)
	return p, err == nil
}

// Serve answers SSH connections on ln until ctx ends, then closes every connection, waits for all its goroutines and
// returns nil. It returns an error only when it cannot listen any more. Each door of a router serves once.
func (r *Router) Serve(ctx context.Context, ln net.Listener) error { return r.serve(ctx, doorSSH, ln) }

// ServeAPI answers the binary API in clear on ln, in the manner of Serve.
func (r *Router) ServeAPI(ctx context.Context, ln net.Listener) error {
	return r.serve(ctx, doorAPI, ln)
}

// ServeAPITLS answers the binary API over TLS on ln, in the manner of Serve.
func (r *Router) ServeAPITLS(ctx context.Context, ln net.Listener) error {
	return r.serve(ctx, doorAPITLS, ln)
}

// ServeREST answers REST over HTTP in clear on ln, in the manner of Serve.
func (r *Router) ServeREST(ctx context.Context, ln net.Listener) error {
	return r.serve(ctx, doorREST, ln)
}

// ServeRESTTLS answers REST over HTTPS on ln, in the manner of Serve.
func (r *Router) ServeRESTTLS(ctx context.Context, ln net.Listener) error {
	return r.serve(ctx, doorRESTTLS, ln)
}

// Addr returns the address Serve listens on; nil before Serve was called.
func (r *Router) Addr() net.Addr { return r.doorAddr(doorSSH) }

// APIAddr returns the address ServeAPI listens on; nil before it was called.
func (r *Router) APIAddr() net.Addr { return r.doorAddr(doorAPI) }

// APITLSAddr returns the address ServeAPITLS listens on; nil before it was called.
func (r *Router) APITLSAddr() net.Addr { return r.doorAddr(doorAPITLS) }

// RESTAddr returns the address ServeREST listens on; nil before it was called.
func (r *Router) RESTAddr() net.Addr { return r.doorAddr(doorREST) }

// RESTTLSAddr returns the address ServeRESTTLS listens on; nil before it was called.
func (r *Router) RESTTLSAddr() net.Addr { return r.doorAddr(doorRESTTLS) }

func (r *Router) doorAddr(name string) net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doors[name].addr
}

// Disabled says whether /ip/service has switched a service off, named as there: ssh, api, api-ssl, www or www-ssl. Its
// connections are then closed as they come.
func (r *Router) Disabled(service string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.service(service).disabled
}

// newDoors makes the doors; none is served yet.
func (r *Router) newDoors() map[string]*door {
	doors := map[string]*door{}
	for name, session := range map[string]func(context.Context, *gate){
		doorSSH: r.session,
		doorAPI: r.apiSession, doorAPITLS: r.overTLS(r.apiSession),
		doorREST: r.restSession, doorRESTTLS: r.overTLS(r.restSession),
	} {
		doors[name] = &door{name: name, session: session, conns: map[*gate]struct{}{}}
	}
	return doors
}

func (r *Router) serve(ctx context.Context, name string, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	d := r.doors[name]
	if d.serving {
		r.mu.Unlock()
		return fmt.Errorf("rosim: the router serves %s already", name)
	}
	d.serving, d.addr = true, ln.Addr()
	if r.fault.refused {
		_ = ln.Close()
	} else {
		d.listener = ln
	}
	first := r.life == nil
	if first {
		r.life = ctx
		r.wg.Go(func() { r.clockwork(ctx) })
		for _, f := range r.opt.Faults {
			r.wg.Go(func() {
				if r.sleep(ctx, f.After) == nil {
					_ = r.Inject(f.Fault)
				}
			})
		}
		close(r.ready)
	}
	r.notify()
	r.mu.Unlock()

	stop := context.AfterFunc(ctx, func() { r.shut(d) })
	defer stop()
	err := r.accept(ctx, d)
	cancel()
	r.shut(d)
	d.wg.Wait()
	if first {
		r.wg.Wait()
	}
	return err
}

// shut closes a door's listener and every connection of it for good.
func (r *Router) shut(d *door) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.closed = true
	d.unlisten()
	d.disconnect()
	r.notify()
}

// unlisten closes the listener; the caller holds the lock.
func (d *door) unlisten() {
	if d.listener != nil {
		_ = d.listener.Close()
		d.listener = nil
	}
}

// disconnect closes every connection; the caller holds the lock.
func (d *door) disconnect() {
	for g := range d.conns {
		_ = g.Close()
	}
}

func (r *Router) accept(ctx context.Context, d *door) error {
	for {
		r.mu.Lock()
		ln, event := d.listener, r.changed
		r.mu.Unlock()
		if ln == nil {
			select {
			case <-event:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		c, err := ln.Accept()
		if err != nil {
			if r.listens(d, ln) {
				return fmt.Errorf("rosim: accept %s on %v: %w", d.name, d.addr, err)
			}
			continue // the listener was closed: by the end of ctx, or by a fault that may bring another
		}
		r.admit(ctx, d, c)
	}
}

func (r *Router) listens(d *door, ln net.Listener) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.listener == ln && !d.closed
}

// admit takes a connection in, or closes it when the router is full or gone, or when /ip/service does not let it in. How
// RouterOS turns away a connection above max-sessions is not published; here it is closed before the first byte.
func (r *Router) admit(ctx context.Context, d *door, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	g := &gate{Conn: c, door: d, cancel: cancel}
	g.stream = g
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(d.name)
	outside := !within(g.source(), s.address) || !within(g.source(), s.availableFrom)
	if d.closed || d.listener == nil || r.fault.full || s.disabled || outside || len(d.conns) >= s.maxSessions {
		r.rejected++
		r.notify()
		if outside {
			g.reset()
		}
		_ = g.Close()
		return
	}
	g.silent.Store(r.fault.halfOpen)
	d.conns[g] = struct{}{}
	r.notify()
	d.wg.Go(func() {
		d.session(ctx, g)
		_ = g.Close()
		r.mu.Lock()
		delete(d.conns, g)
		r.loggedOut(g)
		r.notify()
		r.mu.Unlock()
	})
}

func (r *Router) turnAway() { r.withLock(func() { r.rejected++ }) }

var errStopped = errors.New("rosim: the router has stopped serving")
