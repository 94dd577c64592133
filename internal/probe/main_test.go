package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// inNamespace marks the process that TestMain started anew in a network namespace of its own.
const inNamespace = "WANCTL_PROBE_TEST_NAMESPACE"

// TestMain moves the whole test binary into an empty network namespace when it may, so that tests can set addresses,
// routes and sysctls without touching the host.
func TestMain(m *testing.M) {
	if os.Getuid() == 0 && os.Getenv(inNamespace) == "" {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err == nil {
			self, err := os.Executable()
			if err == nil {
				err = unix.Exec(self, os.Args, append(os.Environ(), inNamespace+"=1"))
			}
			fmt.Fprintln(os.Stderr, "cannot start anew in a network namespace:", err)
			os.Exit(1)
		}
		runtime.UnlockOSThread()
	}
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot set up the test's namespace: %v: %s\n", err, out)
			os.Exit(1)
		}
		// Some hosts drop packets that come in on another line than the main route's.
		for _, f := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+f+"/rp_filter", []byte("0"), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, "cannot set up the test's namespace:", err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// needRoot skips a test outside the namespace.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root: opens raw sockets and changes addresses, routes and sysctls in a network namespace of its own")
	}
}

// sysctl sets a value for the length of a test.
func sysctl(t testing.TB, name, value string) {
	t.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, old, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// allowDatagram lets everybody open datagram ICMP sockets.
func allowDatagram(t testing.TB) { sysctl(t, "net.ipv4.ping_group_range", "0\t2147483647") }

// silence stops the kernel from answering echoes.
func silence(t testing.TB) {
	sysctl(t, "net.ipv4.icmp_echo_ignore_all", "1")
	sysctl(t, "net.ipv6.icmp.echo_ignore_all", "1")
}

// clock is a clock that a test moves.
type clock struct{ atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.Store(int64(time.Hour))
	return c
}

func (c *clock) now() unit.Time            { return unit.Time(c.Load()) }
func (c *clock) advance(d time.Duration)   { c.Add(int64(d)) }
func (c *clock) options(o Options) Options { o.Now = c.now; return o }
func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// notebook keeps notes.
type notebook struct {
	mu    sync.Mutex
	notes []link.Note
	wrote chan struct{}
}

func newNotebook() *notebook { return &notebook{wrote: make(chan struct{}, 1)} }

func (b *notebook) log(n link.Note) {
	b.mu.Lock()
	b.notes = append(b.notes, n)
	b.mu.Unlock()
	select {
	case b.wrote <- struct{}{}:
	default:
	}
}

// with returns the texts of the notes with a key.
func (b *notebook) with(key string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.notes {
		if n.Key == key {
			out = append(out, n.Text)
		}
	}
	return out
}

// open opens a pinger for the length of a test.
func open(t testing.TB, o Options) *Pinger {
	t.Helper()
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// readReply reads one packet within five seconds.
func readReply(t testing.TB, p *Pinger, f family) {
	t.Helper()
	c := p.conns[f]
	if c == nil {
		t.Fatalf("no %s socket is open", f)
	}
	if err := c.file.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := p.readOne(c); err != nil {
		t.Fatalf("read %s reply: %v", f, err)
	}
}

// wantKind fails unless err is an *Error of the kind.
func wantKind(t testing.TB, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got error %v, want one of kind %v", err, kind)
	}
	return e
}

// mirror is a reflector that answers as a test tells it. The kernel's own answers must be silenced.
type mirror struct {
	t    testing.TB
	addr netip.Addr
	fd   int
}

// request is an echo request as the mirror got it.
type request struct {
	from netip.Addr
	msg  []byte // ICMP message
}

func newMirror(t testing.TB, addr string) *mirror {
	t.Helper()
	m := &mirror{t: t, addr: netip.MustParseAddr(addr)}
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if m.addr.Is6() {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(err)
	}
	m.fd = fd
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, sockaddr(m.addr, "", 0)); err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	return m
}

// next waits for an echo request.
func (m *mirror) next() request {
	m.t.Helper()
	buf := make([]byte, 512)
	for {
		n, from, err := unix.Recvfrom(m.fd, buf, 0)
		if err != nil {
			m.t.Fatalf("mirror %v: %v", m.addr, err)
		}
		b, want := buf[:n], byte(typeEcho6)
		if m.addr.Is4() {
			b, want = b[20:], typeEcho4
		}
		if b[0] != want {
			continue
		}
		var a netip.Addr
		switch s := from.(type) {
		case *unix.SockaddrInet4:
			a = netip.AddrFrom4(s.Addr)
		case *unix.SockaddrInet6:
			a = netip.AddrFrom16(s.Addr)
		}
		return request{from: a, msg: append([]byte(nil), b...)}
	}
}

// answer sends an echo reply, changed by edit, from the mirror's address.
func (m *mirror) answer(r request, edit func([]byte)) {
	m.t.Helper()
	b := append([]byte(nil), r.msg...)
	b[0] = typeEchoReply6
	if m.addr.Is4() {
		b[0] = typeEchoReply4
	}
	if edit != nil {
		edit(b)
	}
	if m.addr.Is4() {
		b[2], b[3] = 0, 0
		sum := checksum(b)
		b[2], b[3] = byte(sum>>8), byte(sum)
	}
	if err := unix.Sendto(m.fd, b, 0, sockaddr(r.from, "", 0)); err != nil {
		m.t.Fatalf("mirror %v: %v", m.addr, err)
	}
}
