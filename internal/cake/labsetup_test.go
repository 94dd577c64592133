//go:build lab

package cake

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// frame sends raw frames of an Ethernet type from the provider.
func frame(t testing.TB, ethertype uint16, n int) {
	t.Helper()
	inside(t, provider, func() error {
		i, err := net.InterfaceByName("isp")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		b := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, byte(ethertype >> 8), byte(ethertype)}, make([]byte, 100)...)
		if ethertype == 0x8100 { // a tag of VLAN 5 in front of IPv4
			copy(b[14:], []byte{0, 5, 8, 0, 0x45})
		}
		for range n {
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set up twice is set up once; everything that comes in passes the ifb; taken away leaves what was there before.
func TestLabApplyAndRemove(t *testing.T) {
	site(t)
	c := lab(t)
	state := func() string {
		return tool(t, "tc -n "+router+" qdisc show") + tool(t, "ip -n "+router+" -o link show") + tool(t, "tc -n "+router+" filter show dev wan ingress")
	}
	untouched := state()
	p := apply(t, c, PlanApply)
	if len(p.Steps) != 6 {
		t.Errorf("steps: %v", p.Steps)
	}
	// What iproute2 says of it, so that what is printed and what is done are the same.
	shown := tool(t, "tc -n "+router+" qdisc show dev wan root") + tool(t, "tc -n "+router+" qdisc show dev ifb4wan root")
	for _, want := range []string{
		"cake 7761: root refcnt 2 bandwidth 8Mbit diffserv3 dual-srchost nat nowash no-ack-filter split-gso rtt 100ms noatm overhead 18 mpu 64",
		"cake 7761: root refcnt 2 bandwidth 40Mbit diffserv3 dual-dsthost nat wash ingress no-ack-filter split-gso rtt 100ms noatm overhead 18 mpu 64",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("tc shows\n%s\nwant\n%s", shown, want)
		}
	}
	if again := apply(t, c, PlanApply); len(again.Steps) > 0 || len(again.Notes) > 0 {
		t.Errorf("the second time: %+v", again)
	}
	// A controller's rate is not a difference.
	if _, err := c.SetBandwidth("wan", 3*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	if again := apply(t, c, PlanApply); len(again.Steps) > 0 {
		t.Errorf("after a change of the rate: %+v", again)
	}
	for name, f := range map[string]func(){
		"IPv4":  func() { send(t, provider, "192.0.2.1:9", 30, 500) },
		"IPv6":  func() { send(t, provider, "[2001:db8::1]:9", 30, 500) },
		"VLAN":  func() { frame(t, 0x8100, 30) },
		"PPPoE": func() { frame(t, 0x8864, 30) },
		"ARP":   func() { frame(t, 0x0806, 30) },
	} {
		met := func() int64 { q := read(t, c, "ifb4wan"); return q.Packets + q.QueuedPackets }
		before := met()
		f()
		if got := met() - before; got < 30 {
			t.Errorf("%s: %d of 30 packets met the ifb", name, got)
		}
	}
	// An option of ours that differs is changed in place.
	tool(t, "tc -n "+router+" qdisc change dev wan root handle 7761: cake overhead 44 wash")
	was := read(t, c, "wan")
	if p := apply(t, c, PlanApply); len(p.Steps) != 1 || p.Steps[0].Op != ChangeCake {
		t.Errorf("after an option was changed: %v", p.Steps)
	}
	if is := read(t, c, "wan"); is.Overhead != 18 || is.Wash || is.Bandwidth != was.Bandwidth || is.Packets < was.Packets {
		t.Errorf("changed to %+v from %+v", is.Settings, was.Settings)
	}
	// An ifb that was taken away is made again, and the redirection follows it.
	tool(t, "ip -n "+router+" link del dev ifb4wan")
	p = apply(t, c, PlanApply)
	before := read(t, c, "ifb4wan")
	send(t, provider, "192.0.2.1:9", 30, 500)
	if got := read(t, c, "ifb4wan"); got.Packets+got.QueuedPackets-before.Packets < 30 {
		t.Errorf("the redirection does not lead to the new ifb: %v", p.Steps)
	}
	apply(t, c, PlanRemove)
	if left := state(); left != untouched {
		t.Errorf("after the removal:\n%s\nbefore all:\n%s", left, untouched)
	}
	if p := apply(t, c, PlanRemove); len(p.Steps) > 0 {
		t.Errorf("removed twice: %v", p.Steps)
	}
}

// What somebody else made is named and stays, on the way in and on the way out.
func TestLabSomebodysOwn(t *testing.T) {
	site(t)
	c := lab(t)
	problems := func() string {
		f, err := c.Look(labSetup.Upload, labSetup.Download)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(PlanApply(labSetup, f).Problems, "\n")
	}
	tool(t, "ip -n "+router+" link add ifb9 numtxqueues 4 type ifb")
	tool(t, "ip -n "+router+" link set ifb9 up")
	labMQ := labSetup
	labMQ.Upload = "ifb9"
	f, err := c.Look("ifb9", "ifb4wan")
	if err != nil {
		t.Fatal(err)
	}
	if p := PlanApply(labMQ, f); !strings.Contains(strings.Join(p.Problems, "\n"), "--replace-mq") {
		t.Errorf("several hardware queues: %+v (root %+v)", p, f.Upload.Root.Qdisc)
	}
	for set, want := range map[string]string{
		"qdisc add dev wan root handle 9: cake bandwidth 5mbit":                             "somebody's own CAKE (handle 9:)",
		"qdisc add dev wan root handle 9: fq_codel":                                         "somebody's own fq_codel (handle 9:)",
		"qdisc add dev wan root handle 9: htb":                                              "somebody's own htb (handle 9:)",
		"qdisc add dev wan clsact":                                                          "",
		"filter add dev wan ingress pref 5 matchall action mirred egress redirect dev ifb9": "redirects what comes in to ifb9",
	} {
		if strings.HasPrefix(set, "filter") {
			tool(t, "tc -n "+router+" qdisc add dev wan clsact")
		}
		tool(t, "tc -n "+router+" "+set)
		if got := problems(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: problems %q, want %q", set, got, want)
		}
		if strings.Contains(set, "root") {
			tool(t, "tc -n "+router+" qdisc del dev wan root")
		} else {
			tool(t, "tc -n "+router+" qdisc del dev wan clsact")
		}
	}
	// A clsact that was there is used and stays.
	tool(t, "tc -n "+router+" qdisc add dev wan clsact")
	apply(t, c, PlanApply)
	apply(t, c, PlanRemove)
	if left := tool(t, "tc -n "+router+" qdisc show dev wan"); !strings.Contains(left, "clsact") || strings.Contains(left, "cake") {
		t.Errorf("left: %s", left)
	}
}
