package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// listenTCP accepts connections on the far side until the test ends, and sends how each ended.
func (n *far) listenTCP(addr string) (port int, ended chan error) {
	n.t.Helper()
	var l net.Listener
	n.run(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	ended = make(chan error, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
			ended <- err
		}
	})
	n.t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port, ended
}

// shaken waits for the reply to a handshake.
func shaken(p *Pinger) link.Reply {
	var got []link.Reply
	for len(got) == 0 {
		<-p.arrived
		got = p.Drain(nil)
	}
	return got[0]
}

// TestTCPHandshake: a connection that is accepted or refused is a reply, and nothing of it is left.
func TestTCPHandshake(t *testing.T) {
	n := twoLines(t)
	port, ended := n.listenTCP("[::]:0")
	for _, tt := range []struct {
		name   string
		target string
		o      Options
	}{
		{"accepted, by mark", "198.51.100.1", Options{Mark: 7, TCPPort: port}},
		{"accepted over IPv6, by mark", "2001:db8:ff::1", Options{Mark: 7, TCPPort: port}},
		{"accepted, by interface", "10.2.0.2", Options{Interface: "dsl", TCPPort: port}},
		{"accepted, by address and mark", "198.51.100.1", Options{Source: netip.MustParseAddr("10.2.0.1"), Mark: 7, TCPPort: port}},
		{"refused", "198.51.100.1", Options{Mark: 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var left []link.Probe
			tt.o.Targets, tt.o.OnSend = []string{"127.0.0.1", tt.target}, func(p link.Probe) { left = append(left, p) }
			p := open(t, tt.o)
			_, end, err := p.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(end)
			dsl := carried(t, "dsl")
			p.connectTCP(t.Context(), 1)
			r := shaken(p)
			if r.Host != 3 || r.RTT <= 0 || r.RTT > 500 || r.OneWay || r.Sent > r.Received || len(left) != 1 || left[0] != (link.Probe{Host: 3, Sent: r.Sent}) {
				t.Errorf("reply %+v to %+v", r, left)
			}
			if s := p.Stats()[1]; s.TCPSent != 1 || s.TCPReceived != 1 || s.Sent != 0 || s.Received != 0 {
				t.Errorf("account %+v", s)
			}
			if carried(t, "dsl") == dsl {
				t.Error("nothing went over the line")
			}
			if tt.o.TCPPort != 0 {
				if err := <-ended; !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("the connection ended with %v, not with a reset", err)
				}
			}
		})
	}
}

// TestTCPUnanswered: what is not answered within a second, or cannot leave, is no reply.
func TestTCPUnanswered(t *testing.T) {
	needRoot(t)
	n := newFar(t)
	n.line("cable", "10.1.0", "2001:db8:1")
	ip(t, "neigh replace 10.1.0.77 lladdr 02:00:00:00:00:77 dev cable") // nobody
	ip(t, "route replace unreachable 203.0.113.9")
	t.Cleanup(func() { ip(t, "route delete unreachable 203.0.113.9") })
	book := newNotebook()
	p := open(t, Options{Targets: []string{"10.1.0.77", "203.0.113.9", "nowhere.example"}, Log: book.log, Resolver: &fakeDNS{Failures: 99}})
	ctx, end, err := p.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for h := range 3 {
		p.connectTCP(ctx, h)
	}
	p.tookTCP(&p.targets[0], link.Probe{}, tcpTimeout+1, nil)
	if n := book.with("probe_tcp"); len(n) != 1 {
		t.Errorf("notes %q", n)
	}
	began := time.Now()
	end() // nobody waits for the handshake
	if d := time.Since(began); d > tcpTimeout/2 {
		t.Errorf("the end took %v", d)
	}
	for i, s := range p.Stats() {
		if s.TCPReceived != 0 || s.TCPSent != map[int]uint64{0: 1}[i] {
			t.Errorf("account %+v", s)
		}
	}
	if got := p.Drain(nil); len(got) != 0 {
		t.Errorf("replies %+v", got)
	}

	file := pending(t)
	if err := awaitTCP(t.Context(), file, time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after its time: %v", err)
	}
	_ = file.Close()
	if err := awaitTCP(t.Context(), file, time.Now()); err == nil {
		t.Error("a closed socket was awaited")
	}
}

// pending is a connection that nobody answers.
func pending(t *testing.T) *os.File {
	t.Helper()
	p := open(t, Options{Targets: []string{"127.0.0.1"}})
	fd, err := p.tcpSocket(v4)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sockaddr(netip.MustParseAddr("10.1.0.77"), "", 443)); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "tcp")
}

// TestTCPPace: handshakes come as often as asked and no more than five a second, whatever is asked and changed.
func TestTCPPace(t *testing.T) {
	needRoot(t)
	var mu sync.Mutex
	var sent []link.Probe
	p := open(t, Options{Targets: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, Interval: time.Hour, OnSend: func(l link.Probe) {
		mu.Lock()
		defer mu.Unlock()
		if l.Host >= 3 {
			sent = append(sent, l)
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	for _, err := range []error{p.ProbeTCP([]int{2, 0}, 1), p.ProbeTCP([]int{2, 0}, 2), p.ProbeTCP([]int{2, 0}, time.Millisecond)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 4; {
		<-p.Arrived()
		for _, r := range p.Drain(nil) {
			if r.Host >= 3 {
				n++
			}
		}
	}
	if err := p.ProbeTCP(nil, 0); err != nil {
		t.Error(err)
	}
	if err := p.ProbeTCP([]int{1}, time.Hour); err != nil { // at once, but not too soon
		t.Error(err)
	}
	for last := -1; last != 4; {
		<-p.Arrived()
		for _, r := range p.Drain(nil) {
			last = r.Host
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var hosts []int
	for i, s := range sent {
		hosts = append(hosts, s.Host-3)
		if i > 0 && s.Sent.Sub(sent[i-1].Sent) < minInterval {
			t.Errorf("two handshakes within %v", s.Sent.Sub(sent[i-1].Sent))
		}
	}
	if !slices.Equal(hosts, []int{2, 0, 2, 0, 1}) {
		t.Errorf("handshakes with %v", hosts)
	}
}

func TestTCPRefusesBadHosts(t *testing.T) {
	needRoot(t)
	p := open(t, Options{Targets: []string{"127.0.0.1", "127.0.0.2"}, IRTT: IRTT{Host: "127.0.0.1"}})
	for _, tt := range []struct {
		hosts []int
		every time.Duration
	}{{[]int{2}, 1}, {[]int{-1}, 1}, {[]int{0, 0}, 1}, {nil, 1}} {
		wantKind(t, p.ProbeTCP(tt.hosts, tt.every), KindOptions)
	}
	if p.Hosts() != 3 || p.tcp.every != 0 {
		t.Errorf("%d hosts, plan %+v", p.Hosts(), p.tcp)
	}
	_, err := Open(Options{Targets: []string{"127.0.0.1"}, TCPPort: 70_000})
	wantKind(t, err, KindOptions)
	var none unit.Time
	if p.tookTCP(&p.targets[0], link.Probe{Host: 3, Sent: none}, time.Millisecond, unix.EHOSTUNREACH); len(p.Drain(nil)) != 0 {
		t.Error("an unreachable host answered")
	}
}
