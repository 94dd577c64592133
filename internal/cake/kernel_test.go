package cake

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// space makes a namespace with an interface wanctl0 that has the classes 1:1, 1:10 and 1:20, the last of them full.
func space(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network namespace with HTB classes")
	}
	ns := fmt.Sprintf("wanctl-cake-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	run := func(in, name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(in)
		if b, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, b)
		}
		return nil
	}
	if err := run("", "ip", "netns", "add", ns); err != nil {
		t.Skipf("needs root: network namespaces: %v", err)
	}
	t.Cleanup(func() {
		if err := run("", "ip", "netns", "del", ns); err != nil {
			t.Error(err)
		}
	})
	err := errors.Join(
		run(`link add wanctl0 type veth peer name wanctl1
link set wanctl0 up addrgenmode none
link set wanctl1 up addrgenmode none
addr add 192.0.2.1/24 dev wanctl0
neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wanctl0
`, "ip", "-n", ns, "-batch", "-"),
		run(`qdisc add dev wanctl0 root handle 1: htb default 20
class add dev wanctl0 parent 1: classid 1:1 htb rate 19mbit
class add dev wanctl0 parent 1:1 classid 1:10 htb rate 200kbit ceil 40gbit prio 0 quantum 1514
class add dev wanctl0 parent 1:1 classid 1:20 htb rate 200kbit ceil 1gbit prio 1 quantum 1514
qdisc add dev wanctl0 parent 1:20 handle 20: bfifo limit 30000
`, "tc", "-n", ns, "-batch", "-"))
	if err != nil {
		t.Skipf("needs root: and a kernel with HTB, bfifo and veth: %v", err)
	}
	return ns
}

// flood sends more than the classes carry at once.
func flood(t *testing.T, ns string) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			f, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			c, err := net.Dial("udp4", "192.0.2.2:9")
			if err != nil {
				return err
			}
			defer c.Close()
			for range 200 {
				if _, err := c.Write(make([]byte, 1400)); err != nil && !errors.Is(err, unix.ENOBUFS) {
					return err
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, ns string) *Conn {
	t.Helper()
	c, err := Open(Options{NetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSetRateOnTheKernel(t *testing.T) {
	c := open(t, space(t))
	h := Handle(0x10001)
	leaf, err := c.Class("wanctl0", 0x10020)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []unit.Rate{8 * unit.Mbps, 95_500_001, 40 * unit.Gbps, unit.MaxRate, MinRate, 8 * unit.Mbps} {
		for _, again := range []bool{false, true} {
			got, err := c.SetRate("wanctl0", h, r)
			if err != nil || got.Rate != wireRate(r) || got.Ceil != wireRate(r) {
				t.Fatalf("set %d (again: %v): %+v, %v", r, again, got, err)
			}
			if ms := got.Burst(); ms < 2*0.99 && r > 12*unit.Mbps || ms > 25 && r >= unit.Mbps {
				t.Errorf("at %d bit/s the burst is %v", r, ms)
			}
		}
	}
	after, err := c.Class("wanctl0", 0x10020)
	if err != nil {
		t.Fatal(err)
	}
	leaf.Bytes, leaf.Packets, leaf.QueuedBytes, leaf.QueuedPackets, leaf.Dropped = after.Bytes, after.Packets, after.QueuedBytes, after.QueuedPackets, after.Dropped
	if leaf != after {
		t.Errorf("its leaf changed from %+v to %+v", leaf, after)
	}
	// Priority and quantum of a leaf survive.
	got, err := c.SetRate("wanctl0", 0x10020, unit.Mbps)
	if err != nil || got.Prio != 1 || got.Quantum != 1514 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCountersOfTheKernel(t *testing.T) {
	ns := space(t)
	c := open(t, ns)
	before, err := c.Class("wanctl0", 0x10001)
	if err != nil {
		t.Fatal(err)
	}
	flood(t, ns)
	got, err := c.Class("wanctl0", 0x10001)
	if err != nil {
		t.Fatal(err)
	}
	if got.Bytes <= before.Bytes || got.Packets <= before.Packets || got.QueuedPackets == 0 || got.QueuedBytes == 0 || got.Dropped == 0 {
		t.Errorf("after a flood: %+v", got)
	}
	i, err := c.Interface("wanctl0")
	if err != nil || i.Tx == 0 {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestFailuresOnTheKernel(t *testing.T) {
	c := open(t, space(t))
	kind := func(err error) Kind {
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("not a typed error: %v", err)
		}
		return e.Kind
	}
	if _, err := c.SetRate("wanctl0", 0x10099, unit.Mbps); kind(err) != NoSuchClass {
		t.Error(err)
	}
	if _, err := c.SetRate("wanctl9", 0x10001, unit.Mbps); kind(err) != NoSuchInterface {
		t.Error(err)
	}
	if _, err := c.SetRate("wanctl0", 0x10001, 0); kind(err) != Range {
		t.Error(err)
	}
	if _, err := Open(Options{NetNS: "wanctl-no-such-namespace"}); kind(err) != NoSuchNamespace {
		t.Error(err)
	}
}

// A thread without the capability gets the error that names it.
func TestWithoutTheCapability(t *testing.T) {
	ns := space(t)
	got := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: its capabilities are gone
		c, err := Open(Options{NetNS: ns})
		if err != nil {
			got <- err
			return
		}
		defer c.Close()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			got <- err
			return
		}
		_, err = c.SetRate("wanctl0", 0x10001, unit.Mbps)
		got <- err
	}()
	err := <-got
	var e *Error
	if !errors.As(err, &e) || e.Kind != Permission || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
}

// record writes the golden files from this machine's kernel.
func record(t *testing.T) {
	t.Helper()
	ns := space(t)
	c := open(t, ns)
	flood(t, ns)
	i, err := c.Interface("wanctl0")
	if err != nil {
		t.Fatal(err)
	}
	link, err := encodeLinkRequest("wanctl0")
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]netlink.Message{
		"classes.hex": {
			Header: netlink.Header{Type: unix.RTM_GETTCLASS, Flags: netlink.Request | netlink.Dump}, Data: encodeClassRequest(i.Index),
		},
		"interface.hex": {Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: link},
	} {
		msgs, err := c.nl.Execute(m)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, m := range msgs {
			b.WriteString(hex.EncodeToString(m.Data) + "\n")
		}
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A root that is not CAKE is named on every kernel, and reading it twenty times a second allocates nothing.
func TestOtherRootsOnTheKernel(t *testing.T) {
	c := open(t, space(t))
	var e *Error
	var q Cake
	if err := c.ReadCake("wanctl0", &q); !errors.As(err, &e) || e.Kind != NotCake || !strings.Contains(err.Error(), "somebody's htb (handle 1:)") {
		t.Errorf("htb: %v", err)
	}
	if _, err := c.SetBandwidth("wanctl0", unit.Mbps); !errors.As(err, &e) || e.Kind != NotCake {
		t.Errorf("htb: %v", err)
	}
	if err := c.ReadCake("wanctl9", &q); !errors.As(err, &e) || e.Kind != NoSuchInterface {
		t.Errorf("no interface: %v", err)
	}
	f, err := c.Look("wanctl0", "wanctl9")
	if err != nil {
		t.Fatal(err)
	}
	if p := PlanApply(Setup{Upload: "wanctl0", Download: "wanctl9"}, f); !f.Upload.HasRoot || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "somebody's own htb") {
		t.Errorf("%+v", p)
	}
	var i Interface
	if n := testing.AllocsPerRun(100, func() {
		if err := c.ReadInterface("wanctl0", &i); err != nil {
			t.Fatal(err)
		}
		var found [2]seen
		if err := c.readCakes([2]int32{i.Index}, [2]*Cake{&q}, &found); err != nil || !found[0].root {
			t.Fatal(err, found)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkReading is what one exchange asks: two interfaces and the list of qdiscs.
func BenchmarkReading(b *testing.B) {
	c, err := Open(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var i Interface
	var q Cake
	b.ReportAllocs()
	for b.Loop() {
		var found [2]seen
		if err := errors.Join(
			c.ReadInterface("lo", &i), c.readLink("lo", &i, false), c.readCakes([2]int32{i.Index}, [2]*Cake{&q}, &found),
		); err != nil {
			b.Fatal(err)
		}
	}
}
