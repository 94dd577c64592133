package flow

import (
	"net/netip"
	"testing"
	"time"

	"wanctl/internal/unit"
)

const (
	cable = "Cable"
	dsl   = "DSL"
	lte   = "LTE"
)

func testPolicy() Policy {
	return Policy{
		Primary: cable, Alternates: []string{dsl, lte},
		Classes: []Class{
			{Name: "voip", Matches: []Match{{Protocol: UDP, Ports: Ports{{3478, 3481}, {5060, 5061}}, DSCP: -1}}},
			{Name: "dscp", Matches: []Match{{DSCP: 46}}},
			{Name: "web", Matches: []Match{{Protocol: TCP, Ports: Ports{{443, 443}}, DSCP: -1}}, Light: true},
		},
		Overrides: []Override{
			{Hosts: Hosts{Net: netip.MustParsePrefix("192.168.1.50/32")}, Line: dsl},
			{Hosts: Hosts{List: "kids"}, Line: dsl, Never: true},
			{Hosts: Hosts{Net: netip.MustParsePrefix("192.168.1.60/32")}, To: netip.MustParsePrefix("203.0.113.0/24"), Line: cable, Never: true},
		},
		Lists:     map[string][]netip.Prefix{"kids": {netip.MustParsePrefix("192.168.1.70/31")}},
		Sources:   map[netip.Addr]string{netip.MustParseAddr("192.168.1.2"): dsl},
		Elsewhere: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Idle:      DefaultIdle,
	}
}

func packet(protocol Protocol, from, to string) Packet {
	return Packet{Protocol: protocol, From: netip.MustParseAddrPort(from), To: netip.MustParseAddrPort(to)}
}

func TestWhereAConnectionGoes(t *testing.T) {
	const at = unit.Time(time.Hour)
	sip := packet(UDP, "192.168.1.10:5060", "203.0.113.7:5060")
	for _, c := range []struct {
		name   string
		target string
		before []Packet // placed while nothing was steered
		packet Packet
		line   string
		cause  Cause
	}{
		{name: "of a class, nothing steered", packet: sip, line: cable, cause: Ordinary},
		{name: "of a class, steered", target: dsl, packet: sip, line: dsl, cause: Steered},
		{name: "of no class", target: dsl, packet: packet(TCP, "192.168.1.10:40000", "203.0.113.7:80"), line: cable, cause: Ordinary},
		{name: "with its elder", target: dsl, before: []Packet{sip}, packet: packet(UDP, "192.168.1.10:16384", "203.0.113.7:16384"), line: cable, cause: Together},
		{name: "other client", target: dsl, before: []Packet{sip}, packet: packet(UDP, "192.168.1.11:5060", "203.0.113.7:5060"), line: dsl, cause: Steered},
		{name: "always", packet: packet(TCP, "192.168.1.50:1", "203.0.113.7:80"), line: dsl, cause: Always},
		{name: "never there", target: dsl, packet: packet(UDP, "192.168.1.71:5060", "203.0.113.7:5060"), line: cable, cause: Barred},
		{name: "never there, of no class", target: dsl, packet: packet(UDP, "192.168.1.71:5060", "203.0.113.7:9"), line: cable, cause: Ordinary},
		{name: "another alternate", target: lte, packet: packet(UDP, "192.168.1.71:5060", "203.0.113.7:5060"), line: lte, cause: Steered},
		{name: "never the primary", packet: packet(TCP, "192.168.1.60:1", "203.0.113.7:80"), line: dsl, cause: Barred},
		{name: "never the primary, elsewhere", packet: packet(TCP, "192.168.1.60:1", "198.51.100.7:80"), line: cable, cause: Ordinary},
		{name: "probe", packet: packet(ICMP, "192.168.1.2:0", "203.0.113.7:0"), line: dsl, cause: Probe},
		{name: "other way", target: dsl, packet: packet(UDP, "192.168.1.10:5060", "10.1.1.1:5060"), cause: OtherWay},
		{name: "inbound", target: dsl, packet: Packet{In: cable, Protocol: UDP, From: sip.To, To: sip.From}, line: cable, cause: Inbound},
		{name: "IPv6", target: dsl, packet: packet(UDP, "[2001:db8::1]:5060", "[2001:db8:1::1]:5060"), cause: OtherFamily},
		{name: "picked up", target: dsl, packet: Packet{Protocol: TCP, From: sip.From, To: netip.MustParseAddrPort("203.0.113.7:22"), DSCP: 46, Pickup: true}, line: cable, cause: Ordinary},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHouse(testPolicy())
			for _, p := range c.before {
				h.Place(at, p)
			}
			h.Steer(c.target)
			if got := h.Place(at+1, c.packet); got.Line != c.line || got.Cause != c.cause {
				t.Errorf("got %q (%v), want %q (%v)", got.Line, got.Cause, c.line, c.cause)
			}
		})
	}
}

func TestTheHostsOfACallStayTogetherUntilTheyAreIdle(t *testing.T) {
	h, now := NewHouse(testPolicy()), unit.Time(time.Hour)
	sip := packet(UDP, "192.168.1.10:5060", "203.0.113.7:5060")
	first := h.Place(now, sip)
	h.Steer(dsl)
	now = now.Add(4 * time.Minute)
	h.Seen(now, sip, first, 1000)
	now = now.Add(DefaultIdle - 1)
	if got := h.Place(now, sip); got.Line != cable || got.Cause != Together {
		t.Errorf("a call that talks: %+v", got)
	}
	now = now.Add(DefaultIdle)
	if got := h.Place(now, sip); got.Line != dsl || got.Cause != Steered {
		t.Errorf("a call that was over: %+v", got)
	}
}

func TestWhatMovesMuchIsNotLight(t *testing.T) {
	h, now := NewHouse(testPolicy()), unit.Time(time.Hour)
	h.Steer(dsl)
	web := packet(TCP, "192.168.1.10:40000", "203.0.113.7:443")
	first := h.Place(now, web)
	if first.Line != dsl || first.Heavy {
		t.Fatalf("the first: %+v", first)
	}
	h.Seen(now, web, first, HeavyBytes)
	if got := h.Place(now, web); got.Heavy {
		t.Errorf("at the limit: %+v", got)
	}
	h.Seen(now, web, first, HeavyBytes+1)
	if got := h.Place(now, web); !got.Heavy || got.Line != cable || got.Cause != Ordinary {
		t.Errorf("after a download: %+v", got)
	}
	now = now.Add(HeavyFor)
	if got := h.Place(now, web); got.Heavy || got.Line != dsl {
		t.Errorf("long after it: %+v", got)
	}
}
