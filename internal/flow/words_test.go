package flow

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

func TestProtocols(t *testing.T) {
	for _, p := range []Protocol{Any, ICMP, TCP, UDP} {
		if got, err := ParseProtocol(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if Protocol(47).String() != "47" {
		t.Error(Protocol(47))
	}
	if _, err := ParseProtocol("sctp"); err == nil {
		t.Error("sctp")
	}
}

func TestPorts(t *testing.T) {
	for text, want := range map[string]string{
		"5060": "", "5060-5061,3478": "", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15": "",
		"x": `"x" is no port`, "0": `"0" is no port`, "70000": `"70000" is no port`, "1-2-3": "no port and no range", "9-9": "no beginning below its end",
		"9-8": "no beginning below its end", "": `"" is no port`, "1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16": "16 ports",
	} {
		p, err := ParsePorts(text)
		if want == "" && (err != nil || p.String() != text) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	p := Ports{{5, 7}, {9, 9}}
	for port, in := range map[uint16]bool{4: false, 5: true, 7: true, 8: false, 9: true, 10: false} {
		if p.Contain(port) != in {
			t.Errorf("%d: %t", port, !in)
		}
	}
	if !Ports(nil).Contain(1) {
		t.Error("no ports are all of them")
	}
}

func TestWords(t *testing.T) {
	net := netip.MustParsePrefix
	for _, c := range []struct{ got, want string }{
		{Match{DSCP: -1}.String(), "everything"},
		{Match{Protocol: UDP, Ports: Ports{{3478, 3481}, {5060, 5060}}, DSCP: 46, To: net("203.0.113.7/32")}.String(), "udp 3478-3481,5060 dscp 46 to 203.0.113.7"},
		{Override{Hosts: Hosts{List: "kids"}, Line: "ATT", Never: true}.String(), "@kids never ATT"},
		{Override{Hosts: Hosts{Net: net("192.168.1.0/24")}, To: net("203.0.113.0/24"), Line: "ATT"}.String(), "192.168.1.0/24 to 203.0.113.0/24 always ATT"},
		{Inbound.String(), "inbound"},
		{Ordinary.String(), "ordinary"},
		{Cause(99).String(), "Cause(99)"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	a := Match{Protocol: UDP, Ports: Ports{{1, 2}}, DSCP: -1}
	b := a
	if !a.Same(b) {
		t.Error("a match is not itself")
	}
	for _, change := range []func(*Match){
		func(m *Match) { m.Protocol = TCP }, func(m *Match) { m.Ports = Ports{{1, 3}} }, func(m *Match) { m.DSCP = 0 }, func(m *Match) { m.To = net("9.9.9.9/32") },
	} {
		c := a
		if change(&c); a.Same(c) {
			t.Errorf("%s is the same as %s", a, c)
		}
	}
}

// A house of hosts remembers peers: who talks with a peer of somebody's call joins it, and a peer that moved much is heavy for all.
func TestAHouseOfHosts(t *testing.T) {
	now := unit.Time(1)
	h := NewHouse(testPolicy())
	h.Hosts = true
	sip := packet(UDP, "192.168.1.10:5060", "203.0.113.7:5060")
	first := h.Place(now, sip)
	h.Steer(dsl)
	other := packet(UDP, "192.168.1.11:5060", "203.0.113.7:5060")
	if got := h.Place(now, other); got.Line != cable || got.Cause != Together {
		t.Errorf("another client of the peer: %+v", got)
	}
	// Packets keep the peer, noted once in KeptFor.
	now = now.Add(DefaultIdle - 1)
	h.Seen(now, sip, first, 1000)
	now = now.Add(KeptFor - 1)
	h.Seen(now, sip, first, 1000) // noted just now: it adds nothing
	now = now.Add(DefaultIdle - KeptFor)
	if got := h.Place(now, other); got.Cause != Together {
		t.Errorf("a call that talks: %+v", got)
	}
	now = now.Add(DefaultIdle)
	if got := h.Place(now, other); got.Line != dsl || got.Cause != Steered {
		t.Errorf("after it: %+v", got)
	}
	web := packet(TCP, "192.168.1.10:40000", "198.51.100.7:443")
	h.Seen(now, web, h.Place(now, web), HeavyBytes+1)
	if got := h.Place(now, packet(TCP, "192.168.1.11:40000", "198.51.100.7:443")); !got.Heavy || got.Line != cable {
		t.Errorf("another client of a heavy peer: %+v", got)
	}
	inbound := Packet{In: dsl, Protocol: UDP, From: sip.To, To: sip.From}
	h.Seen(now, inbound, h.Place(now, inbound), HeavyBytes+1)
	h.Seen(now, packet(UDP, "[2001:db8::1]:1", "[2001:db8::2]:443"), Placement{Cause: OtherFamily}, HeavyBytes+1)
	if len(h.heavy) != 1 {
		t.Errorf("%v", h.heavy)
	}
	// What is placed by other rules is nobody's call.
	pairs := NewHouse(testPolicy())
	for _, k := range []Packet{inbound, packet(UDP, "192.168.1.2:1", "203.0.113.7:5060"), packet(UDP, "192.168.1.10:1", "203.0.113.7:9")} {
		pairs.Seen(now, k, pairs.Place(now, k), HeavyBytes+1)
	}
	if len(pairs.groups)+len(pairs.heavy) != 0 {
		t.Errorf("%v %v", pairs.groups, pairs.heavy)
	}
}

func drawMatch(t *rapid.T, name string) Match {
	m := Match{Protocol: rapid.SampledFrom([]Protocol{Any, TCP, UDP}).Draw(t, name+" protocol"), DSCP: rapid.IntRange(-1, 1).Draw(t, name+" dscp")}
	for range rapid.IntRange(0, 2).Draw(t, name+" ranges") {
		first := rapid.Uint16Range(1, 8).Draw(t, name+" first")
		m.Ports = append(m.Ports, PortRange{first, rapid.Uint16Range(first, 9).Draw(t, name+" last")})
	}
	m.To = rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("10.0.0.1/32")}).Draw(t, name+" to")
	return m
}

// Two matches overlap exactly when some packet is selected by both; and every match is what its words say.
func TestPropertyMatchesOverlapWhereAPacketIsOfBoth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawMatch(t, "a"), drawMatch(t, "b")
		both := false
		for _, protocol := range []Protocol{TCP, UDP} {
			for port := uint16(1); port <= 9; port++ {
				for host := range byte(5) {
					for dscp := range 3 {
						k := Packet{Protocol: protocol, To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), port), DSCP: dscp}
						both = both || a.Selects(k) && b.Selects(k)
					}
				}
			}
		}
		if a.Overlaps(b) != both || b.Overlaps(a) != both {
			t.Fatalf("%s and %s: overlap %t, and a packet of both %t", a, b, a.Overlaps(b), both)
		}
		if a.Same(b) != (a.String() == b.String()) {
			t.Fatalf("%s and %s: same %t", a, b, a.Same(b))
		}
		if len(a.Ports) > 0 {
			again, err := ParsePorts(a.Ports.String())
			if !slices.Equal(again, a.Ports) || err != nil {
				t.Fatalf("%v as %v, %v", a.Ports, again, err)
			}
		}
	})
}
