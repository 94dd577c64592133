package routeros

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// gate is something a server waits at until a test lets it go on.
type gate struct {
	arrived chan string
	open    chan struct{}
}

func newGate() *gate { return &gate{make(chan string, 64), make(chan struct{})} }

// at stops commands that hold a text.
func (g *gate) at(text string) func(string) {
	return func(line string) {
		if strings.Contains(line, text) {
			g.arrived <- line
			<-g.open
		}
	}
}

// TestMenusCutWrites: a connection that is cut after the router set a rate, or before it heard of it, leaves the outcome unknown; the next
// call reads and does not write.
func TestMenusCutWrites(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		for _, carried := range []bool{true, false} {
			c := dialer(t, o)
			if _, err := c.Exchange(t.Context(), att, nil); err != nil {
				t.Fatal(err)
			}
			m.then(nil)
			cut := func(line string) (string, int) {
				if strings.Contains(line, "/queue/tree/set") {
					if carried {
						m.menus["/queue/tree"][1]["max-limit"] = "50000000"
					}
					p.cut()
				}
				return "", 0
			}
			m.failing(func(line string) (string, int) {
				text, status := cut(line)
				if strings.Contains(line, "/set") {
					return "failure: cut", 400 // never heard
				}
				return text, status
			})
			_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 50 * unit.Mbps})
			if e := failure(t, err, Lost, "not known"); !e.Sent || c.Connected() {
				t.Errorf("%#v", e)
			}
			m.failing(nil)
			before := m.changed()
			r, err := c.Exchange(t.Context(), att, &link.Rates{Down: 60 * unit.Mbps})
			if err != nil || !r.Unwritten || m.changed() != before || (r.Down.MaxLimit == 50*unit.Mbps) != carried {
				t.Errorf("after the cut: %+v, %v", r, err)
			}
			if r, err = c.Exchange(t.Context(), att, &link.Rates{Down: 95 * unit.Mbps}); err != nil || r.Unwritten || r.Down.MaxLimit != 95*unit.Mbps {
				t.Errorf("then: %+v, %v", r, err)
			}
			if c.Logins() != 2 {
				t.Errorf("%d logins", c.Logins())
			}
		}
	})
}

func TestMenusKeptConnectionThatEnded(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		c := dialer(t, o)
		want := link.Rates{Down: 50 * unit.Mbps, Up: 5 * unit.Mbps}
		if r, err := c.Exchange(t.Context(), att, &want); err != nil || r.Unwritten {
			t.Fatalf("the first connection's write: %+v, %v", r, err)
		}
		gone := c.line.ended()
		p.cut()
		<-gone
		if c.Connected() {
			t.Error("still called connected")
		}
		before := m.changed()
		if r, err := c.Exchange(t.Context(), att, &want); err != nil || !r.Unwritten || m.changed() != before {
			t.Errorf("after the cut: %+v, %v", r, err)
		}
		gone = c.line.ended()
		p.cut()
		<-gone
		// A rule is switched by its reading on the same connection, so it is not put off.
		if r, err := c.SetRule(t.Context(), "STEER", true); err != nil || !r.Enabled {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestMenusStalls(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		g := newGate()
		defer close(g.open)
		c := dialer(t, o)
		if err := c.warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The caller gives up.
		m.then(func(line string) {
			if strings.Contains(line, "/set") {
				m.mu.Unlock() // others may go on
				g.at("")(line)
				m.mu.Lock()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-g.arrived
			cancel()
		}()
		_, err := c.Exchange(ctx, att, &link.Rates{Down: unit.Mbps})
		if e := failure(t, err, Timeout); !e.Sent || !errors.Is(err, context.Canceled) || c.Connected() || !contains(e.Command, "max-limit") {
			t.Errorf("%#v", e)
		}
		// The timeout strikes.
		c = dialer(t, o)
		if err := c.warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.opt.Timeout = 50 * time.Millisecond
		_, err = c.Exchange(t.Context(), att, &link.Rates{Down: 2 * unit.Mbps})
		if e := failure(t, err, Timeout, "no answer within 50ms"); !e.Sent || !errors.Is(err, context.DeadlineExceeded) || c.Connected() {
			t.Errorf("%#v", e)
		}
		// The client is closed.
		c = dialer(t, o)
		if err := c.warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for len(g.arrived) > 0 {
			<-g.arrived
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, err = c.Exchange(t.Context(), att, &link.Rates{Down: 3 * unit.Mbps}) })
		<-g.arrived
		_ = c.Close()
		wg.Wait()
		if e := failure(t, err, Lost, "closed"); !e.Sent {
			t.Errorf("%#v", e)
		}
		_, err = c.Queue(t.Context(), "q")
		failure(t, err, Unreachable, "closed")
	})
}

// TestMenusStalledLogin: whatever does not answer a login is no connection, and nothing was sent.
func TestMenusStalledLogin(t *testing.T) {
	for _, d := range []Transport{API, REST} {
		heard := make(chan struct{}, 9)
		p := serve(t, nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			heard <- struct{}{}
			_, _ = c.Read(make([]byte, 1))
		})
		o := p.options(d)
		c := dialer(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-heard
			cancel()
		}()
		_, err := c.Exchange(ctx, att, &link.Rates{Down: 1})
		if e := failure(t, err, Timeout); e.Sent || !errors.Is(err, context.Canceled) {
			t.Errorf("%#v", e)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Exchange(done, att, nil)
		failure(t, err, Timeout, "not sent")
		go func() {
			<-heard
			_ = c.Close()
		}()
		_, err = c.Exchange(t.Context(), att, nil)
		failure(t, err, Unreachable, "closed")
		// Nobody listens any more.
		_ = p.listener.Close()
		c = dialer(t, o)
		_, err = c.Exchange(t.Context(), att, nil)
		if e := failure(t, err, Unreachable, "/ip/service has "+d.service(true)); e.Sent {
			t.Errorf("%#v", e)
		}
	}
}

// A TLS server that accepts and says nothing, and one that hangs up.
func TestMenusStalledHandshake(t *testing.T) {
	id := goodIdentity(t)
	for _, d := range []Transport{API, REST} {
		heard := make(chan struct{}, 9)
		p := serve(t, nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			heard <- struct{}{}
			_, _ = c.Read(make([]byte, 4096))
		})
		o := p.options(d)
		o.Plain, o.Roots = false, id.roots
		c := dialer(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-heard
			cancel()
		}()
		_, err := c.Exchange(ctx, att, nil)
		failure(t, err, Timeout, "no TLS handshake")
		p = serve(t, nil, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })
		o.Port = p.port()
		_, err = dialer(t, o).Exchange(t.Context(), att, nil)
		failure(t, err, Unreachable, "no TLS handshake", "address list of /ip/service "+d.service(false))
	}
}

func TestMenusPasswordThatCannotBeHad(t *testing.T) {
	cause := errors.New("no such variable")
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		for want, get := range map[string]func() (string, error){
			cause.Error():   func() (string, error) { return "", cause },
			"it is empty":   func() (string, error) { return "", nil },
			"it is longer ": func() (string, error) { return strings.Repeat("x", maxSecret+1), nil },
		} {
			o.Password = get
			_, err := dialer(t, o).Exchange(t.Context(), att, nil)
			if e := failure(t, err, Auth, "cannot get the password", want); e.Sent {
				t.Errorf("%#v", e)
			}
		}
		if len(m.sent()) != 0 {
			t.Error("something was asked")
		}
	})
}

func TestMenusCommandsTakeTurns(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		c := dialer(t, o)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { _, errs[i] = c.Exchange(t.Context(), att, &link.Rates{Down: unit.Rate(i+1) * unit.Mbps}) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if p.conns.Load() != 1 {
			t.Errorf("%d connections", p.conns.Load())
		}
	})
}

// An answer that comes after the deadline is not taken for the next command's.
func TestMenusLateAnswer(t *testing.T) {
	id := goodIdentity(t)
	for _, d := range []Transport{API, REST} {
		m := newModel()
		g := newGate()
		m.after = func(line string) {
			if strings.Contains(line, "name=Other") {
				m.mu.Unlock()
				g.at("")(line)
				m.mu.Lock()
			}
		}
		script := m.api
		if d == REST {
			script = web(m.rest)
		}
		p := serve(t, &id, script)
		c := dialer(t, p.options(d))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-g.arrived
			cancel()
		}()
		_, err := c.Queue(ctx, "Other")
		failure(t, err, Timeout)
		close(g.open) // the answer leaves now
		q, err := c.Queue(t.Context(), att.Down)
		if err != nil || q.MaxLimit != 95*unit.Mbps {
			t.Errorf("%+v, %v", q, err)
		}
	}
}

// Each door looks at what it is about to send itself, whoever built it.
func TestMenusGuard(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		if err := c.warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := len(m.sent())
		for _, a := range []ask{
			{menu: "/system", verb: "reboot"},
			{menu: treeMenu, verb: "set", id: "*1", key: "max-limit", value: "0"},
			{menu: treeMenu, verb: "set", id: "*1000002", key: "queue", value: "default"},
			{menu: "/user", verb: "print", list: []string{"name"}},
		} {
			_, e := c.line.(asker).ask(t.Context(), "o", a)
			failure(t, e, Syntax, "not sent", "report it")
			if e.Sent || e.Command == "" {
				t.Errorf("%#v", e)
			}
		}
		if len(m.sent()) != before {
			t.Errorf("it sent %q", m.sent()[before:])
		}
	})
}

// A caller who gives up while the connection is being made gets no connection.
func TestMenusGivenUpWhileConnecting(t *testing.T) {
	for _, d := range []Transport{API, REST} {
		p := serve(t, nil, func(net.Conn) {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, e := doorOf(p.options(d)).enter(ctx, "o")
		failure(t, e, Timeout, "not connected")
		// Closed between the handshake and the first request.
		l := &restLine{site: siteOf(p.options(d)), gone: make(chan struct{})}
		l.close()
		failure(t, l.connect(t.Context(), "o"), Unreachable)
	}
}
