package probe

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
)

// everySocket runs a test with both sorts of sockets over both IP versions. The addresses a and b are of this host.
func everySocket(t *testing.T, run func(t *testing.T, kind socketKind, f family, a, b string)) {
	needRoot(t)
	allowDatagram(t)
	addAddress6(t, "2001:db8::2", 128, "lo")
	t.Cleanup(func() { ip(t, "-6 address delete 2001:db8::2/128 dev lo") })
	for _, kind := range []socketKind{datagram, rawKind} {
		t.Run(kind.String()+" "+v4.String(), func(t *testing.T) { run(t, kind, v4, "127.0.0.1", "127.0.0.2") })
		t.Run(kind.String()+" "+v6.String(), func(t *testing.T) { run(t, kind, v6, "::1", "2001:db8::2") })
	}
}

// TestRunMeasures lets the kernel answer: real sockets, real pace.
func TestRunMeasures(t *testing.T) {
	everySocket(t, func(t *testing.T, kind socketKind, _ family, a, b string) {
		start := bootTime()
		var left []link.Probe
		p := open(t, Options{
			Targets: []string{a, b}, Source: netip.MustParseAddr(a), Interval: 1, kind: kind,
			OnSend: func(s link.Probe) { left = append(left, s) },
		})
		if got := p.Interval(); got != minInterval {
			t.Errorf("a nanosecond was asked for and %v is used", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		var got []link.Reply
		for hosts := [2]int{}; hosts[0] < 2 || hosts[1] < 2; {
			<-p.Arrived()
			n := len(got)
			got = p.Drain(got)
			for _, r := range got[n:] {
				hosts[r.Host]++
			}
		}
		if err := p.Run(ctx); !errors.Is(err, ErrRunning) {
			t.Errorf("a second Run: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		now := bootTime()
		if s := p.Stats(); uint64(len(left)) != s[0].Sent+s[1].Sent {
			t.Errorf("told of %d probes that left, and %d + %d did", len(left), s[0].Sent, s[1].Sent)
		}
		for _, r := range got {
			if !slices.Contains(left, link.Probe{Host: r.Host, Sent: r.Sent}) {
				t.Errorf("reply %+v answers none of the probes that left, %+v", r, left)
			}
			if r.Sent < start || r.Received < r.Sent || r.Received > now || r.RTT <= 0 || r.RTT > 1000 {
				t.Errorf("implausible reply %+v", r)
			}
		}
		for _, s := range p.Stats() {
			if s.Received < 2 || s.Sent < s.Received || s.Late+s.Forged+s.WrongSource+s.Duplicates+s.SendErrors > 0 || s.Err != nil || s.LastReply < start {
				t.Errorf("account %+v", s)
			}
		}
		if s := p.Totals(); s != (Totals{}) {
			t.Errorf("totals %+v", s)
		}
	})
}

// TestUse: only those in use are probed, at their own pace, and the others are not waited for.
func TestUse(t *testing.T) {
	needRoot(t)
	silence(t)
	p := open(t, Options{Targets: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}})
	for _, bad := range [][]int{nil, {3}, {-1}, {0, 1, 0}} {
		wantKind(t, p.Use(bad), KindOptions)
	}
	p.probe(0)
	p.probe(1)
	if err := p.Use([]int{2, 1}); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s[0].Unanswered != 0 || s[1].Unanswered == 0 || s[0].Sent != 1 {
		t.Errorf("accounts %+v", s)
	}
	var hosts []int
	ctx, cancel := context.WithCancel(t.Context())
	p.o.OnSend = func(s link.Probe) {
		if hosts = append(hosts, s.Host); len(hosts) == 3 {
			if err := p.Use([]int{0}); err != nil {
				t.Error(err)
			}
		}
		if len(hosts) == 5 {
			cancel()
		}
	}
	p.SetInterval(1)
	if err := p.Run(ctx); err != nil {
		t.Error(err)
	}
	if want := []int{2, 1, 2, 0, 0}; !slices.Equal(hosts, want) {
		t.Errorf("probed %v, want %v", hosts, want)
	}
	if s := p.Stats(); s[0].Unanswered == 0 || s[1].Unanswered != 0 || s[2].Unanswered != 0 {
		t.Errorf("accounts %+v", s)
	}
	if p.Interval() != minInterval {
		t.Errorf("interval %v", p.Interval())
	}
}

// TestMirror drives a pinger echo by echo against a reflector that lies, dawdles and stutters.
func TestMirror(t *testing.T) {
	everySocket(t, func(t *testing.T, kind socketKind, f family, a, b string) {
		silence(t)
		c, book := newClock(), newNotebook()
		p := open(t, c.options(Options{Targets: []string{a, b}, Timeout: time.Second, Log: book.log, kind: kind}))
		m, other := newMirror(t, a), newMirror(t, b)
		stats := func() TargetStats { return p.Stats()[0] }

		first := c.now()
		p.probe(0)
		r := m.next()
		c.advance(300 * time.Millisecond)
		p.probe(0)
		r2 := m.next()
		if s := stats(); s.Sent != 2 || s.Unanswered != first {
			t.Fatalf("after two echoes: %+v", s)
		}

		// Forged: a number and an address can be guessed, the nonce cannot.
		m.answer(r, func(b []byte) { b[headerLen] ^= 1 })
		readReply(t, p, f)
		m.answer(r, func(b []byte) { clear(b[headerLen:]) })
		readReply(t, p, f)
		if s := stats(); s.Forged != 2 || s.Received != 0 || s.Unanswered != first {
			t.Fatalf("after two forgeries: %+v", s)
		}
		// The right secret from the wrong address.
		other.answer(r, nil)
		readReply(t, p, f)
		if s := stats(); s.WrongSource != 1 || s.Received != 0 {
			t.Fatalf("after an answer from elsewhere: %+v", s)
		}
		// Never sent.
		m.answer(r, func(b []byte) { b[6]++ })
		readReply(t, p, f)
		if s := p.Totals(); s.Stray != 1 {
			t.Fatalf("after a stray: %+v", s)
		}
		// Genuine, in spite of all that.
		m.answer(r, nil)
		readReply(t, p, f)
		if s := stats(); s.Received != 1 || s.Unanswered != first.Add(300*time.Millisecond) || s.LastReply > c.now() || s.LastReply < first {
			t.Fatalf("after the genuine answer: %+v", s)
		}
		// Once more.
		m.answer(r, nil)
		readReply(t, p, f)
		if s := stats(); s.Duplicates != 1 || s.Received != 1 {
			t.Fatalf("after a duplicate: %+v", s)
		}
		// Late: counted, not handed up, and its repetition is a duplicate.
		c.advance(time.Second + time.Millisecond)
		m.answer(r2, nil)
		readReply(t, p, f)
		m.answer(r2, nil)
		readReply(t, p, f)
		if s := stats(); s.Late != 1 || s.Duplicates != 2 || s.Received != 1 || s.Unanswered != 0 {
			t.Fatalf("after a late answer: %+v", s)
		}
		replies := p.Drain(nil)
		if len(replies) != 1 || replies[0].Host != 0 || replies[0].Sent != first || replies[0].RTT <= 0 {
			t.Errorf("handed up %+v, want the one genuine reply", replies)
		}
		// The second host's reply carries its index; answers out of order do not bring an old silence back.
		at := c.now()
		p.probe(1)
		q1 := other.next()
		c.advance(time.Millisecond)
		p.probe(1)
		q2 := other.next()
		other.answer(q2, nil)
		readReply(t, p, f)
		if s := p.Stats()[1]; s.Unanswered != 0 {
			t.Errorf("after the newest echo was answered: %+v", s)
		}
		other.answer(q1, nil)
		readReply(t, p, f)
		if s := p.Stats()[1]; s.Received != 2 || s.Unanswered != 0 {
			t.Errorf("after answers out of order: %+v", s)
		}
		replies = p.Drain(replies[:0])
		if len(replies) != 2 || replies[0].Host != 1 || replies[1].Sent != at {
			t.Errorf("handed up %+v", replies)
		}

		if n := book.with("probe_forged"); len(n) != 1 || !strings.Contains(n[0], a+" claims to answer our echo to "+a) {
			t.Errorf("notes about forgeries: %q", n)
		}
		if n := book.with("probe_wrong_source"); len(n) != 1 || !strings.Contains(n[0], "is answered by "+b) {
			t.Errorf("notes about wrong sources: %q", n)
		}
		c.advance(time.Minute)
		p.probe(0)
		m.answer(m.next(), func(b []byte) { clear(b[headerLen:]) })
		readReply(t, p, f)
		if n := book.with("probe_forged"); len(n) != 2 || !strings.HasSuffix(n[1], "(1 more since the last such note.)") {
			t.Errorf("notes about forgeries after a minute: %q", n)
		}
	})
}

// TestTakeIgnoresOthers feeds packets that a filter would normally keep away.
func TestTakeIgnoresOthers(t *testing.T) {
	needRoot(t)
	p := open(t, Options{Targets: []string{"127.0.0.1"}, kind: rawKind})
	p.id = 7
	from := netip.MustParseAddr("127.0.0.1")
	p.take(p.conns[v4], reply(v4, true, 8, 0, testNonce[:]), from, arrival{})
	p.take(p.conns[v4], []byte("nonsense"), from, arrival{})
	if got, want := p.Totals(), (Totals{Stray: 1, Malformed: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestAllSilent: targets that do not answer are silence, not failure.
func TestAllSilent(t *testing.T) {
	needRoot(t)
	silence(t)
	c := newClock()
	p := open(t, c.options(Options{Targets: []string{"127.0.0.1", "127.0.0.2"}, Timeout: time.Millisecond}))
	start := c.now()
	replies, err := p.Once(t.Context(), 2)
	if err != nil || len(replies) != 0 {
		t.Errorf("got %v, %v", replies, err)
	}
	for _, s := range p.Stats() {
		if s.Sent != 2 || s.Received != 0 || s.LastReply != 0 || s.Unanswered != start || s.Err != nil {
			t.Errorf("account %+v", s)
		}
	}
}

// TestOneDead: one dead host takes nothing from the others.
func TestOneDead(t *testing.T) {
	needRoot(t)
	ip(t, "route replace blackhole 203.0.113.1")
	t.Cleanup(func() { ip(t, "route delete blackhole 203.0.113.1") })
	book := newNotebook()
	p := open(t, Options{Targets: []string{"127.0.0.1", "203.0.113.1", "127.0.0.3"}, Log: book.log, OnSend: func(s link.Probe) {
		if s.Host == 1 {
			t.Error("told that a probe left which the kernel refused")
		}
	}})
	replies, err := p.Once(t.Context(), 2)
	if err != nil || len(replies) != 4 {
		t.Errorf("got %v, %v; want 4 replies", replies, err)
	}
	s := p.Stats()
	if s[0].Received != 2 || s[2].Received != 2 || s[1].SendErrors != 2 || s[1].Sent != 0 || s[1].Unanswered != 0 {
		t.Errorf("accounts %+v", s)
	}
	if e := wantKind(t, s[1].Err, KindSend); !errors.Is(e, unix.EINVAL) {
		t.Errorf("error %v", e)
	}
	if n := book.with("probe_send"); len(n) != 1 || !strings.Contains(n[0], "203.0.113.1") || !strings.Contains(n[0], "blackhole") {
		t.Errorf("notes %q", n)
	}
	if p.Totals().Reopened != 0 {
		t.Error("one dead target made the others' socket be opened anew")
	}
}

func TestOnceFails(t *testing.T) {
	needRoot(t)
	dns := &fakeDNS{Failures: 100}
	p := open(t, Options{Targets: []string{"reflector.example"}, Resolver: dns, Timeout: 5 * time.Second})
	if _, err := p.Once(t.Context(), 1); err == nil {
		t.Error("no echo left, and Once is content")
	} else {
		wantKind(t, err, KindResolve)
	}
	dns.Failures, dns.Answers = 0, addrs("127.0.0.5")
	if r, err := p.Once(t.Context(), 1); err != nil || len(r) != 1 {
		t.Errorf("after DNS came back: %v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Once(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Once(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestRunResolves: a name is probed as soon as DNS answers, an address without DNS at all.
func TestRunResolves(t *testing.T) {
	needRoot(t)
	dns := &fakeDNS{Answers: addrs("127.0.0.7")}
	p := open(t, Options{Targets: []string{"127.0.0.1", "reflector.example"}, Resolver: dns})
	if len(dns.Asked) != 0 {
		t.Error("Open waits for DNS")
	}
	ended := make(chan error)
	go func() { ended <- p.Run(t.Context()) }()
	for p.Stats()[1].Received == 0 {
		<-p.arrived
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run after Close: %v", err)
	}
	if err := p.Run(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Run on a closed pinger: %v", err)
	}
	if len(dns.Asked) != 1 {
		t.Errorf("DNS was asked %d times", len(dns.Asked))
	}
}

// without runs f on a thread of its own that lacks capabilities.
func without(t *testing.T, f func(), caps ...uint) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var d [2]unix.CapUserData
		if err := unix.Capget(&h, &d[0]); err != nil {
			done <- err
			return
		}
		for _, c := range caps {
			d[c/32].Effective &^= 1 << (c % 32)
		}
		if err := unix.Capset(&h, &d[0]); err != nil {
			done <- err
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPermission(t *testing.T) {
	needRoot(t)
	sysctl(t, "net.ipv4.ping_group_range", "1\t0")
	without(t, func() {
		for _, target := range []string{"127.0.0.1", "::1"} {
			_, err := Open(Options{Targets: []string{target}})
			if err == nil {
				t.Errorf("%s: opened without any permission", target)
				continue
			}
			for _, want := range []string{"net.ipv4.ping_group_range", "CAP_NET_RAW"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: error %q does not name %s", target, err, want)
				}
			}
			var e *Error
			if !errors.As(err, &e) || e.Kind != KindPermission {
				t.Errorf("%s: error %v is not of kind permission", target, err)
			}
		}
	}, unix.CAP_NET_RAW)
	// Raw where datagram is forbidden.
	if p := open(t, Options{Targets: []string{"127.0.0.1"}}); p.conns[v4].kind != rawKind {
		t.Errorf("opened a %s socket", p.conns[v4].kind)
	}
	// Datagram where allowed, without any capability.
	allowDatagram(t)
	without(t, func() {
		p, err := Open(Options{Targets: []string{"127.0.0.1", "::1"}})
		if err != nil {
			t.Error(err)
			return
		}
		if p.conns[v4].kind != datagram || p.conns[v6].kind != datagram {
			t.Errorf("opened %s and %s sockets", p.conns[v4].kind, p.conns[v6].kind)
		}
		_ = p.Close()
		_, err = Open(Options{Targets: []string{"127.0.0.1"}, Mark: 7})
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindMark || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || !strings.Contains(err.Error(), "0x7") {
			t.Errorf("mark without capability: %v", err)
		}
	}, unix.CAP_NET_RAW, unix.CAP_NET_ADMIN)
}

// exchange sends one echo and reads its answer.
func exchange(t testing.TB, p *Pinger, f family) {
	p.probe(0)
	if err := p.readOne(p.conns[f]); err != nil {
		t.Fatal(err)
	}
}

func TestNoAllocations(t *testing.T) {
	everySocket(t, func(t *testing.T, kind socketKind, f family, a, _ string) {
		p := open(t, Options{Targets: []string{a}, kind: kind})
		dst := make([]link.Reply, 0, 8)
		got := 0
		allocs := testing.AllocsPerRun(200, func() {
			exchange(t, p, f)
			dst = p.Drain(dst[:0])
			got += len(dst)
		})
		if allocs != 0 {
			t.Errorf("%v allocations per echo and reply", allocs)
		}
		if got < 200 {
			t.Errorf("only %d replies", got)
		}
		if n := p.Totals().Unstamped; n != 0 {
			t.Errorf("%d replies without a kernel stamp", n)
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	needRoot(b)
	for _, tt := range []struct {
		f family
		a string
	}{{v4, "127.0.0.1"}, {v6, "::1"}} {
		b.Run(tt.f.String(), func(b *testing.B) {
			p := open(b, Options{Targets: []string{tt.a}, kind: rawKind})
			dst := make([]link.Reply, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				exchange(b, p, tt.f)
				dst = p.Drain(dst[:0])
			}
		})
	}
}

// BenchmarkReply is the cost of one reply alone, without the kernel's.
func BenchmarkReply(b *testing.B) {
	p := &Pinger{o: Options{Timeout: time.Second}, targets: make([]target, 1), arrived: make(chan struct{}, 1)}
	from := netip.MustParseAddr("192.0.2.1")
	p.targets[0].addr = from
	c := &conn{fam: v4, kind: datagram}
	packet := reply(v4, false, 0, 0, testNonce[:])
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		p.table.next = 0
		s := p.table.add(0, from)
		s.nonce, s.at, s.stamp = testNonce, 1, now
		p.take(c, packet, from, arrival{read: now.Add(time.Millisecond), now: 2})
		p.buffer.size = 0
	}
	if p.targets[0].received == 0 {
		b.Fatal("no reply was accepted")
	}
}
