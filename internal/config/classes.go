package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ClassMatch selects new connections of a class; zero fields match all.
type ClassMatch struct {
	// Protocol is "tcp", "udp", or empty for both.
	Protocol string
	// Ports are destination ports, and ranges of them: "5060-5061,3478".
	Ports string
	// DSCP is a code point, -1 for any.
	DSCP int
	// To is the destination, invalid for any.
	To netip.Prefix
}

// Class is a kind of latency-sensitive traffic that steering may move.
type Class struct {
	Name    string
	Matches []ClassMatch
}

func udp(ports string) ClassMatch { return ClassMatch{Protocol: "udp", Ports: ports, DSCP: -1} }
func tcp(ports string) ClassMatch { return ClassMatch{Protocol: "tcp", Ports: ports, DSCP: -1} }

// shippedClasses are the classes in the order of their admission. Sources of the ports: IANA's registry of service names
// for SIP (5060, 5061), STUN (3478), SSH (22), RDP (3389); the vendors' own lists for the rest: Teams (3478-3481), Zoom (8801-8810),
// Meet (19302-19309), Steam (27000-27100), Xbox (3074), PlayStation (9295-9304 beside STUN's), APNs (5223, 2197), FCM (5228-5230),
// WireGuard (51820). Code points: RFC 4594, EF 46 and AF31 26.
var shippedClasses = []struct {
	Class
	def, doc string
}{
	{Class{"voip", []ClassMatch{udp("3478-3481,5060-5061,8801-8810,19302-19309"), tcp("5060-5061")}}, "true", "Calls and meetings: SIP, STUN, Teams, Zoom, Meet."},
	{Class{"gaming", []ClassMatch{udp("3074,9295-9304,27000-27100"), tcp("3074")}}, "true", "Games: Xbox, PlayStation, Steam."},
	{Class{"remote", []ClassMatch{tcp("22,3389"), udp("3389")}}, "true", "SSH and remote desktops."},
	{Class{"push", []ClassMatch{tcp("2197,5223,5228-5230")}}, "true", "Push notifications: APNs, FCM."},
	{Class{"wireguard", []ClassMatch{udp("51820")}}, "true", "WireGuard tunnels."},
	{Class{"dscp", []ClassMatch{{DSCP: 46}, {DSCP: 26}}}, "true", "What hosts of the LAN mark EF or AF31."},
	{Class{"web", []ClassMatch{tcp("443"), udp("443")}}, "false", "Everything over HTTPS and QUIC, downloads and films too: only for an alternate with room."},
}

// maxPorts is how many ports one rule holds, a range counting twice (iptables' multiport, which RouterOS is built on).
const maxPorts = 15

func classKeys() []key {
	keys := []key{section("traffic_classes", "What steering may move: new connections of these kinds. wanctl router plan makes the router's rules of them.")}
	for _, c := range shippedClasses {
		keys = append(keys, key{path: "traffic_classes." + c.Name, typ: typeBool, def: c.def, doc: c.doc})
	}
	return append(keys,
		key{
			path: "traffic_classes.dns_resolvers", typ: typeList, form: formAddr, defWords: "none", off: true,
			doc: "Resolvers that answer the same whichever line asks, so that queries to them may move. A provider's own is none.", example: "[9.9.9.9]",
		},
		key{
			path: "traffic_classes.custom", typ: typeList, form: formPlain, defWords: "none", off: true,
			doc: "Further kinds, each PROTOCOL PORTS, or PROTOCOL PORTS to ADDRESS.", example: `["udp 10000-20000 to 203.0.113.5", "tcp 8443"]`,
		})
}

// classes reads the section.
func (p *parser) classes() (classes []Class) {
	const at = "traffic_classes."
	for _, c := range shippedClasses {
		if p.flag(at + c.Name) {
			classes = append(classes, c.Class)
		}
	}
	dns := Class{Name: "dns"}
	for _, s := range p.values[at+"dns_resolvers"].list {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			p.errorf(p.at(at+"dns_resolvers"), at+"dns_resolvers", "name its IPv4 address", "%q: only IPv4 is steered", s)
			continue
		}
		for _, m := range []ClassMatch{udp("53"), tcp("53,853")} {
			m.To = netip.PrefixFrom(a, 32)
			dns.Matches = append(dns.Matches, m)
		}
	}
	if dns.Matches != nil {
		classes = append(classes, dns)
	}
	custom := Class{Name: "custom"}
	for _, s := range p.values[at+"custom"].list {
		m, err := parseMatch(s)
		if err != nil {
			p.errorf(p.at(at+"custom"), at+"custom", `write "udp 10000-20000", or "tcp 22 to 203.0.113.5"`, "%q: %v", s, err)
			continue
		}
		custom.Matches = append(custom.Matches, m)
	}
	if custom.Matches != nil {
		classes = append(classes, custom)
	}
	return classes
}

// parseMatch reads a custom class.
func parseMatch(s string) (m ClassMatch, err error) {
	words := strings.Fields(s)
	if len(words) != 2 && (len(words) != 4 || words[2] != "to") {
		return m, fmt.Errorf("%d words", len(words))
	}
	m.DSCP = -1
	if m.Protocol = words[0]; m.Protocol != "tcp" && m.Protocol != "udp" {
		return m, fmt.Errorf("the protocol is %q, want tcp or udp", m.Protocol)
	}
	m.Ports = words[1]
	if err := checkPorts(m.Ports); err != nil {
		return m, err
	}
	if len(words) == 4 {
		if m.To, err = netip.ParsePrefix(words[3]); err != nil {
			a, aerr := netip.ParseAddr(words[3])
			if aerr != nil {
				return m, fmt.Errorf("%q is no address", words[3])
			}
			m.To = netip.PrefixFrom(a, a.BitLen())
		}
		if !m.To.Addr().Is4() {
			return m, fmt.Errorf("%s: only IPv4 is steered", words[3])
		}
		m.To = m.To.Masked()
	}
	return m, nil
}

// checkPorts says what is wrong with ports and ranges of them.
func checkPorts(s string) error {
	n := 0
	for part := range strings.SplitSeq(s, ",") {
		ends := strings.Split(part, "-")
		if len(ends) > 2 {
			return fmt.Errorf("%q is no port and no range", part)
		}
		n += len(ends)
		var port [2]uint64
		for i, e := range ends {
			v, err := strconv.ParseUint(e, 10, 16)
			if err != nil || v == 0 {
				return fmt.Errorf("%q is no port", e)
			}
			port[i] = v
		}
		if len(ends) == 2 && port[0] >= port[1] {
			return fmt.Errorf("the range %q has no beginning below its end", part)
		}
	}
	if n > maxPorts {
		return fmt.Errorf("%d ports, a range counting twice, are more than the %d that one rule holds", n, maxPorts)
	}
	return nil
}
