package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"wanctl/internal/flow"
	"wanctl/internal/unit"
)

// both asks the kernel and flow.House, which must say the same.
type both struct {
	*house
	model *flow.House
	now   unit.Time
}

func (h *house) both() *both { return &both{h, flow.NewHouse(h.opt.Policy), unit.Time(time.Hour)} }

func (b *both) steer(line string) { b.house.steer(line); b.model.Steer(line) }

// lineOf is the number of a placement's line; where the main table decides it is none of ours, or the first.
func (b *both) lineOf(p flow.Placement) int {
	if p.Cause == flow.OtherFamily {
		return 1
	}
	return 1 + slices.IndexFunc(b.opt.Lines, func(l Line) bool { return l.Name == p.Line })
}

// place sends a connection's first packet.
func (b *both) place(p flow.Packet) flow.Placement {
	b.t.Helper()
	at := b.model.Place(b.now, p)
	if got, want := b.send(p, 0), b.lineOf(at); got != want {
		b.t.Errorf("%v %v to %v (DSCP %d, pick-up %t): the kernel took line %d and the model %d (%q, %v)",
			p.Protocol, p.From, p.To, p.DSCP, p.Pickup, got, want, at.Line, at.Cause)
	}
	return at
}

func (b *both) overrides() {
	prefix := netip.MustParsePrefix
	b.opt.Policy.Overrides = []flow.Override{
		{Hosts: flow.Hosts{Net: prefix("192.168.1.50/32")}, Line: dsl},
		{Hosts: flow.Hosts{List: "kids"}, Line: dsl, Never: true},
		{Hosts: flow.Hosts{Net: prefix("192.168.1.60/32")}, To: prefix("198.51.100.0/25"), Line: cable, Never: true},
		{Hosts: flow.Hosts{Net: prefix("192.168.1.80/30")}, Line: cable, Never: true},
		{Hosts: flow.Hosts{Net: prefix("192.168.1.82/32")}, Line: dsl, Never: true},
		{Hosts: flow.Hosts{List: "kids"}, To: prefix("198.51.100.200/32"), Line: dsl},
		{Hosts: flow.Hosts{Net: prefix("192.168.1.90/32")}, Line: cable},
		{Hosts: flow.Hosts{List: "nobody"}, Line: dsl},
		{Hosts: flow.Hosts{Net: prefix("fd00:1::50/128")}, Line: dsl},
		{Hosts: flow.Hosts{Net: prefix("192.168.1.90/32")}, To: prefix("2001:db8::/32"), Line: dsl},
	}
	b.opt.Policy.Lists = map[string][]netip.Prefix{
		"kids":   {prefix("192.168.1.70/31"), prefix("192.168.1.72/32"), prefix("192.168.1.71/32"), prefix("255.255.255.255/32")},
		"nobody": nil,
	}
	b.opt.Policy.Elsewhere = []netip.Prefix{prefix("10.0.0.0/8")}
	b.opt.Policy.Sources = map[netip.Addr]string{netip.MustParseAddr("192.168.1.2"): dsl}
}

// anyPacket draws one that the house may send.
func anyPacket(r *rand.Rand) flow.Packet {
	hosts := []string{"10", "11", "12", "2", "50", "60", "70", "71", "72", "73", "80", "81", "82", "90"}
	peers := []string{"198.51.100.7", "198.51.100.8", "198.51.100.53", "198.51.100.130", "198.51.100.200", "10.1.1.1"}
	ports := []uint16{22, 53, 80, 443, 3477, 3478, 3481, 3482, 5060, 7000, 40000}
	p := flow.Packet{
		Protocol: []flow.Protocol{flow.TCP, flow.UDP, flow.UDP, flow.TCP, flow.ICMP}[r.IntN(5)],
		From:     netip.AddrPortFrom(netip.MustParseAddr(lanNet+hosts[r.IntN(len(hosts))]), uint16(1024+r.IntN(60000))),
		To:       netip.AddrPortFrom(netip.MustParseAddr(peers[r.IntN(len(peers))]), ports[r.IntN(len(ports))]),
		DSCP:     []int{0, 0, 0, 46, 26}[r.IntN(5)],
	}
	if p.Protocol == flow.ICMP {
		p.To = netip.AddrPortFrom(p.To.Addr(), 0)
	}
	p.Pickup = p.Protocol == flow.TCP && r.IntN(4) == 0
	return sensible(p)
}

// sensible gives a probe a peer on the internet, and lets nobody come in by a line from a network that the main table reaches
// elsewhere. To such a network Linux goes by the main table whatever the pin says: the host's own addresses are probes'
// sources, too, and talk with the house. RouterOS's mangle is more obedient.
func sensible(p flow.Packet) flow.Packet {
	const probes = "192.168.1.10"
	elsewhere, out := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("203.0.113.7")
	if p.From.Addr().Less(netip.MustParseAddr(probes)) && elsewhere.Contains(p.To.Addr()) {
		p.To = netip.AddrPortFrom(out, p.To.Port())
	}
	if p.In != "" && elsewhere.Contains(p.From.Addr()) {
		p.From = netip.AddrPortFrom(out, p.From.Port())
	}
	return p
}

// TestTheKernelDoesWhatFlowSays sends random first packets while steering goes on and off, with affinity and overrides.
func TestTheKernelDoesWhatFlowSays(t *testing.T) {
	for _, lines := range []int{2, 3} {
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			h := build(t, lines, false)
			b := h.both()
			b.overrides()
			b.model = flow.NewHouse(h.opt.Policy)
			h.apply()
			r := rand.New(rand.NewPCG(1, uint64(lines)))
			for range 400 {
				if r.IntN(8) == 0 {
					b.steer(append([]string{""}, b.opt.Policy.Alternates...)[r.IntN(lines)])
				}
				b.place(anyPacket(r))
			}
			if t.Failed() {
				t.Log(h.opt.ruleset([]int{1, 2, 3}[:lines]))
			}
		})
	}
}

func TestInboundConnectionsAreAnsweredByTheirLine(t *testing.T) {
	h := build(t, 2, false)
	b := h.both()
	h.apply()
	for n, at := range []string{cable, dsl} {
		for k, proto := range []flow.Protocol{flow.UDP, flow.TCP} {
			in := packet(proto, fmt.Sprintf("198.51.100.%d:5060", 20+2*n+k), "192.168.1.10:5060")
			in.In = at
			if p := b.model.Place(b.now, in); p.Line != at {
				t.Fatalf("the model: %+v", p)
			}
			for _, target := range []string{dsl, ""} {
				b.steer(target)
				h.receive(n+1, in, tcpSYN)
				answer := packet(proto, in.To.String(), in.From.String())
				if got, _ := h.sendWith(answer, tcpSYN|tcpACK, 0); got != n+1 {
					t.Errorf("%v in by %s, steered to %q: answered by line %d", proto, at, target, got)
				}
			}
		}
	}
}

func (h *house) pair(client, peer string) Pair {
	h.t.Helper()
	var p Pair
	h.in(func() (err error) {
		p, err = h.opt.Pair(netip.MustParseAddr(client), netip.MustParseAddr(peer))
		return err
	})
	return p
}

// TestACallStaysTogetherWhileItTalks: its half of before goes on, and everything that comes later joins it, until both have
// been silent.
func TestACallStaysTogetherWhileItTalks(t *testing.T) {
	h := build(t, 2, false)
	h.opt.Policy.Idle = 3 * time.Second
	h.in(func() error {
		if _, err := h.opt.Pair(netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("198.51.100.7")); !IsMissing(err) {
			return fmt.Errorf("where nothing was made: %w", err)
		}
		return nil
	})
	h.apply()
	if p := h.pair("fd00:1::10", "2001:db8::7"); p != (Pair{}) { // which is not steered
		t.Errorf("%+v", p)
	}
	signal, media := udp("192.168.1.10:5060", "198.51.100.7:5060"), udp("192.168.1.10:16384", "198.51.100.7:16384")
	if n := h.send(signal, 0); n != 1 {
		t.Fatalf("line %d", n)
	}
	h.steer(dsl)
	if n := h.send(media, 0); n != 1 {
		t.Errorf("the media went by line %d", n)
	}
	if p := h.pair("192.168.1.10", "198.51.100.7"); p.Line != cable || p.Left <= 0 || p.Left > 3*time.Second || p.Heavy != 0 {
		t.Errorf("%+v", p)
	}
	if p := h.pair("192.168.1.10", "198.51.100.8"); p != (Pair{}) {
		t.Errorf("%+v", p)
	}
	for range 8 { // longer than it may idle; the peer talks, too
		time.Sleep(500 * time.Millisecond)
		h.answer(1, signal, 0)
	}
	if n := h.send(udp("192.168.1.10:5060", "198.51.100.7:5061"), 0); n != 1 {
		t.Errorf("while it talks: line %d", n)
	}
	time.Sleep(3500 * time.Millisecond)
	if n := h.send(udp("192.168.1.10:5061", "198.51.100.7:5060"), 0); n != 2 {
		t.Errorf("after it was silent: line %d", n)
	}
	// The old connection talks again: it keeps its line, and what comes next joins it.
	if n := h.send(signal, 0); n != 1 {
		t.Errorf("the old one moved to line %d", n)
	}
	if n := h.send(udp("192.168.1.10:5062", "198.51.100.7:5060"), 0); n != 1 {
		t.Errorf("who talked last counts: line %d", n)
	}
}

// TestWhatMovesMuchIsNotLight sends more than a page over a web connection.
func TestWhatMovesMuchIsNotLight(t *testing.T) {
	h := build(t, 2, false)
	b := h.both()
	h.apply()
	b.steer(dsl)
	web := tcp("192.168.1.10:40000", "198.51.100.7:443")
	at := b.place(web)
	if at.Line != dsl {
		t.Fatalf("%+v", at)
	}
	h.answer(2, web, tcpSYN|tcpACK)
	more := web
	more.Pickup = true
	const size = 1400
	sent := int64(2 * (40 + 4)) // the kernel counts IP packets
	for sent < flow.HeavyBytes {
		if n := h.send(more, size); n != 2 {
			t.Fatalf("line %d", n)
		}
		sent += size + 44
		b.model.Seen(b.now, web, at, sent)
	}
	if got := b.place(tcp("192.168.1.10:40001", "198.51.100.7:443")); !got.Heavy || got.Line != cable {
		t.Errorf("after a download: %+v", got)
	}
	if p := h.pair("192.168.1.10", "198.51.100.7"); p.Line != dsl || p.Heavy <= 9*time.Minute || p.Heavy > flow.HeavyFor {
		t.Errorf("%+v", p)
	}
	b.place(tcp("192.168.1.10:40002", "198.51.100.8:443"))
	b.place(tcp("192.168.1.11:40002", "198.51.100.7:443"))
	b.place(tcp("192.168.1.10:40003", "198.51.100.7:22")) // not light: together with the pair's
}

// TestAConnectionThatWasForgottenIsPickedUpWhereItWas takes its entry away, as a full table or a restart does.
func TestAConnectionThatWasForgottenIsPickedUpWhereItWas(t *testing.T) {
	h := build(t, 2, false)
	h.apply()
	ssh := tcp("192.168.1.10:40000", "198.51.100.7:22")
	alone := tcp("192.168.1.11:40000", "198.51.100.7:23")
	if a, b := h.send(ssh, 0), h.send(alone, 0); a != 1 || b != 1 {
		t.Fatalf("lines %d, %d", a, b)
	}
	h.steer(dsl)
	h.in(forgetConnections)
	ssh.Pickup, alone.Pickup = true, true
	if n := h.send(ssh, 0); n != 1 {
		t.Errorf("picked up by line %d", n)
	}
	alone.DSCP = 46 // of a class now, and no opening
	if n := h.send(alone, 0); n != 1 {
		t.Errorf("picked up by line %d", n)
	}
	// What was steered has its group.
	steered := tcp("192.168.1.12:40000", "198.51.100.7:22")
	if n := h.send(steered, 0); n != 2 {
		t.Fatalf("line %d", n)
	}
	h.steer("")
	h.in(forgetConnections)
	steered.Pickup = true
	if n := h.send(steered, 0); n != 2 {
		t.Errorf("what was steered was picked up by line %d", n)
	}
}

func TestIPv6(t *testing.T) {
	for _, six := range []bool{true, false} {
		t.Run(fmt.Sprint(six), func(t *testing.T) {
			h := build(t, 2, true)
			h.opt.Policy.Six = six
			b := h.both()
			b.overrides()
			b.opt.Policy.Sources[netip.MustParseAddr("fd00:1::2")] = dsl
			b.model = flow.NewHouse(h.opt.Policy)
			h.apply()
			b.place(udp("[fd00:1::10]:5060", "[2001:db8::7]:5060"))
			b.steer(dsl)
			b.place(udp("[fd00:1::10]:5060", "[2001:db8::7]:5061")) // together
			b.place(udp("[fd00:1::11]:5060", "[2001:db8::7]:5060"))
			b.place(udp("[fd00:1::11]:9", "[2001:db8::8]:9"))
			b.place(udp("[fd00:1::2]:9", "[2001:db8::8]:9"))
			b.place(udp("[fd00:1::50]:9", "[2001:db8::8]:9"))
			ef := udp("[fd00:1::12]:9", "[2001:db8::9]:9")
			ef.DSCP = 46
			b.place(ef)
			web := tcp("[fd00:1::12]:9", "[2001:db8::10]:443")
			b.place(web)
			b.place(packet(flow.ICMP, "[fd00:1::13]:0", "[2001:db8::9]:0"))
			b.place(udp("192.168.1.13:5060", "198.51.100.9:5060"))
			var c Counts
			h.in(func() (err error) { c, err = h.opt.Counts(); return err })
			if c.New != 1 || c.New6 != 5 || c.ShareIPv6() < 0.83 || c.ShareIPv6() > 0.84 {
				t.Errorf("counted %+v", c)
			}
		})
	}
}
