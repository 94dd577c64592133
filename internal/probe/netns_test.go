package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ip runs an ip command in the calling thread's namespace: for most tests that of the whole process.
func ip(t testing.TB, args string) {
	t.Helper()
	if err := runIP(args); err != nil {
		t.Fatal(err)
	}
}

func runIP(args string) error {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// far is a second network namespace: what lies behind the lines.
type far struct {
	t   testing.TB
	tid int
	do  chan func() error
	err chan error
}

func newFar(t testing.TB) *far {
	t.Helper()
	n := &far{t: t, do: make(chan func() error), err: make(chan error)}
	go func() {
		runtime.LockOSThread() // never unlocked: the namespace ends with the thread
		n.tid = unix.Gettid()
		n.err <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.do {
			n.err <- f()
		}
	}()
	t.Cleanup(func() { close(n.do) })
	if err := <-n.err; err != nil {
		t.Fatal(err)
	}
	n.run(func() error { return runIP("link set lo up") })
	return n
}

// run calls f in the far namespace.
func (n *far) run(f func() error) {
	n.t.Helper()
	n.do <- f
	if err := <-n.err; err != nil {
		n.t.Fatalf("far side: %v", err)
	}
}

// line lays a veth cable to the far side: name here with .1, its other end there with .2, in IPv4 and IPv6. It returns
// when packets can pass.
func (n *far) line(name, net4, net6 string) {
	n.t.Helper()
	there := "far-" + name
	ip(n.t, "link add "+name+" type veth peer name "+there)
	n.t.Cleanup(func() { _ = runIP("link delete " + name) }) // may be gone already
	ip(n.t, "link set "+there+" netns "+strconv.Itoa(n.tid))
	near, err := subscribe()
	if err != nil {
		n.t.Fatal(err)
	}
	defer near.close()
	ip(n.t, "link set "+name+" up")
	n.run(func() error {
		return after(operational(there), func() error { return runIP("link set " + there + " up") })
	})
	if err := near.wait(operational(name)); err != nil {
		n.t.Fatal(err)
	}
	ip(n.t, "address add "+net4+".1/24 dev "+name)
	addAddress6(n.t, net6+"::1", 64, name)
	n.run(func() error { return runIP("address add " + net4 + ".2/24 dev " + there) })
	n.address6(net6+"::2", 64, there)
}

// address6 gives an interface of the far side an IPv6 address.
func (n *far) address6(a string, bits int, device string) {
	n.t.Helper()
	n.run(func() error { return addressAndRoute(a, bits, device) })
}

// addAddress6 gives an interface an IPv6 address.
func addAddress6(t testing.TB, a string, bits int, device string) {
	t.Helper()
	if err := addressAndRoute(a, bits, device); err != nil {
		t.Fatal(err)
	}
}

// addressAndRoute adds an IPv6 address and waits until it works: the kernel enters its local route a little later.
func addressAndRoute(a string, bits int, device string) error {
	return after(routed(netip.MustParseAddr(a)), func() error {
		return runIP(fmt.Sprintf("-6 address add %s/%d dev %s nodad", a, bits, device))
	})
}

// event is a kernel message with its attributes.
type event struct {
	kind  uint16
	body  []byte
	attrs []syscall.NetlinkRouteAttr
}

// operational says that an interface passes packets (RFC 2863); before, it drops them.
func operational(name string) func(event) bool {
	const operUp = 6 // IF_OPER_UP, linux/if.h
	return func(e event) bool {
		named, up := false, false
		for _, a := range e.attrs {
			switch a.Attr.Type {
			case unix.IFLA_IFNAME:
				named = strings.TrimRight(string(a.Value), "\x00") == name
			case unix.IFLA_OPERSTATE:
				up = a.Value[0] == operUp
			}
		}
		return e.kind == unix.RTM_NEWLINK && named && up
	}
}

// routed says that the local route of an IPv6 address was entered.
func routed(a netip.Addr) func(event) bool {
	return func(e event) bool {
		if e.kind != unix.RTM_NEWROUTE || e.body[0] != unix.AF_INET6 || e.body[7] != unix.RTN_LOCAL {
			return false
		}
		for _, x := range e.attrs {
			if x.Attr.Type == unix.RTA_DST {
				got, _ := netip.AddrFromSlice(x.Value)
				return got == a
			}
		}
		return false
	}
}

// subscription hears of the links and IPv6 routes of the namespace it was made in.
type subscription int

func subscribe() (subscription, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(int64(10 * time.Second))
	return subscription(fd), errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.Bind(fd, &unix.SockaddrNetlink{
			Family: unix.AF_NETLINK, Groups: 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1),
		}))
}

func (s subscription) close() { _ = unix.Close(int(s)) }

// wait returns after an event that is as wanted.
func (s subscription) wait(wanted func(event) bool) error {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(int(s), buf, 0)
		if err != nil {
			return fmt.Errorf("the awaited link or route does not come: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for i := range msgs {
			attrs, err := syscall.ParseNetlinkRouteAttr(&msgs[i])
			if err == nil && wanted(event{kind: msgs[i].Header.Type, body: msgs[i].Data, attrs: attrs}) {
				return nil
			}
		}
	}
}

// after calls act and waits for the event it causes.
func after(wanted func(event) bool, act func() error) error {
	s, err := subscribe()
	if err != nil {
		return err
	}
	defer s.close()
	if err := act(); err != nil {
		return err
	}
	return s.wait(wanted)
}
