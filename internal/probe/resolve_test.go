package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeDNS is a resolver that fails the first Failures lookups of a name, then answers, and remembers when it was asked.
type fakeDNS struct {
	mu       sync.Mutex
	Failures int
	Answers  []netip.Addr
	Start    time.Time
	Asked    []time.Duration
	Block    bool // wait for the context
}

func (d *fakeDNS) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	d.mu.Lock()
	d.Asked = append(d.Asked, time.Since(d.Start))
	block := d.Block
	d.mu.Unlock()
	if block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Failures > 0 {
		d.Failures--
		return nil, &net.DNSError{Err: "no such host", Name: host}
	}
	return d.Answers, nil
}

// unopened makes a pinger with one named target and no sockets.
func unopened(t testing.TB, o Options) (*Pinger, *notebook) {
	t.Helper()
	book := newNotebook()
	o.Log, o.Targets = book.log, []string{"reflector.example"}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	p := &Pinger{o: o, targets: []target{{name: "reflector.example"}}}
	p.quiet.log = o.Log
	return p, book
}

func TestResolveBacksOffUntilDNSIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{Failures: 9, Answers: addrs("2001:db8::1", "192.0.2.1"), Start: time.Now()}
		c := newClock()
		p, book := unopened(t, c.options(Options{Resolver: dns}))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.resolveLoop(ctx, 0) }()

		synctest.Wait()
		wantKind(t, p.Stats()[0].Err, KindResolve)
		time.Sleep(5 * time.Minute) // of the bubble's own time
		synctest.Wait()
		if got := p.Stats()[0]; got.Addr != netip.MustParseAddr("192.0.2.1") || got.Err != nil {
			t.Errorf("after DNS came up: address %v, error %v", got.Addr, got.Err)
		}
		dns.mu.Lock()
		asked := dns.Asked
		dns.mu.Unlock()
		if len(asked) != 10 {
			t.Fatalf("asked %d times: %v", len(asked), asked)
		}
		for i := 1; i < len(asked); i++ {
			top := min(time.Minute, time.Second<<(i-1))
			if gap := asked[i] - asked[i-1]; gap > top || gap < top*3/4 {
				t.Errorf("pause %d was %v, want %v to %v", i, gap, top*3/4, top)
			}
		}
		if n := len(book.with("probe_resolve")); n != 1 {
			t.Errorf("%d notes about failures within a minute of the pinger's clock, want 1", n)
		}
		if d := cmp.Diff([]string{"Target reflector.example is 192.0.2.1."}, book.with("probe_resolved")); d != "" {
			t.Error(d)
		}

		time.Sleep(refreshEvery)
		synctest.Wait()
		dns.mu.Lock()
		n := len(dns.Asked)
		dns.mu.Unlock()
		if n != 11 {
			t.Errorf("asked %d times after the refresh, want 11", n)
		}
		cancel()
		<-ended
	})
}

func TestResolveEndsWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{Block: true, Start: time.Now()}
		p, book := unopened(t, Options{Resolver: dns, Now: newClock().now})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.resolveLoop(ctx, 0) }()
		synctest.Wait()
		cancel()
		<-ended
		if n := book.with("probe_resolve"); n != nil {
			t.Errorf("an ordered end was noted as a failure: %q", n)
		}
		if err := p.resolve(t.Context(), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a silent DNS server: %v, want the deadline", err)
		}
	})
}

func TestResolveKeepsWhatItHas(t *testing.T) {
	dns := &fakeDNS{Answers: addrs("192.0.2.1", "192.0.2.2")}
	p, book := unopened(t, Options{Resolver: dns, Now: newClock().now})
	step := func(want string, answers ...string) {
		t.Helper()
		dns.Answers = addrs(answers...)
		_ = p.resolve(t.Context(), 0)
		if got := p.Stats()[0].Addr.String(); got != want {
			t.Errorf("answers %v: address %s, want %s", answers, got, want)
		}
	}
	step("192.0.2.1", "192.0.2.1", "192.0.2.2")
	step("192.0.2.1", "192.0.2.2", "192.0.2.1") // another order
	step("192.0.2.2", "192.0.2.2")              // moved
	step("192.0.2.2", "224.0.0.1")              // nothing usable
	if e := wantKind(t, p.Stats()[0].Err, KindResolve); e.Hint == "" {
		t.Error("no hint")
	}
	step("2001:db8::1", "2001:db8::1")
	dns.Failures = 1
	step("2001:db8::1", "2001:db8::2")
	if d := cmp.Diff([]string{"Target reflector.example keeps its address 192.0.2.2: look up reflector.example: no address that can be " +
		"probed through this line (an IP address as target needs no DNS)."}, book.with("probe_resolve")); d != "" {
		t.Error(d)
	}
}

func TestChoose(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	for _, tt := range []struct {
		name string
		b    binding
		list []netip.Addr
		old  netip.Addr
		want string
	}{
		{"nothing", binding{}, nil, netip.Addr{}, "invalid IP"},
		{"IPv4 first", binding{}, addrs("2001:db8::1", "192.0.2.1"), netip.Addr{}, "192.0.2.1"},
		{"IPv6 only", binding{}, addrs("2001:db8::1"), netip.Addr{}, "2001:db8::1"},
		{"mapped", binding{}, addrs("::ffff:192.0.2.1"), netip.Addr{}, "192.0.2.1"},
		{"old one stays", binding{}, addrs("192.0.2.1", "2001:db8::9"), six, "2001:db8::9"},
		{"IPv6 source", binding{source: six}, addrs("192.0.2.1", "2001:db8::1"), netip.Addr{}, "2001:db8::1"},
		{"IPv4 source excludes IPv6", binding{source: four}, addrs("2001:db8::1"), netip.Addr{}, "invalid IP"},
		{"unless the mark binds", binding{source: four, mark: 1}, addrs("2001:db8::1"), netip.Addr{}, "2001:db8::1"},
		{"multicast", binding{}, addrs("224.0.0.1", "0.0.0.0", "255.255.255.255"), netip.Addr{}, "invalid IP"},
	} {
		if got := tt.b.choose(tt.list, tt.old).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestPlausibleName(t *testing.T) {
	for _, s := range []string{"dns.google", "a", "one.one.one.one", "x-1.example.", "_probe.example", "1e100.net"} {
		if !plausibleName(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", ".", "1.2.3", "1.1.1.1.1", "300.1.1.1", "a..b", "-a", "a-", "a b", "a/b", "é.example", "::1%", string(make([]byte, 254))} {
		if plausibleName(s) {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		if got := backoff(n, 0); got != want {
			t.Errorf("backoff(%d) = %v, want %v", n, got, want)
		}
		if got := backoff(n, 0.999); got < want*3/4 || got >= want {
			t.Errorf("backoff(%d) with luck = %v", n, got)
		}
	}
}
