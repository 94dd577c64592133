package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"wanctl/internal/flow"
)

const (
	trafficClasses = "traffic_classes"
	customClass    = trafficClasses + ".custom"
	dnsResolvers   = trafficClasses + ".dns_resolvers"
)

func portsOf(s string) flow.Ports {
	p, err := flow.ParsePorts(s)
	if err != nil {
		panic(err) // of the table below, which a test reads
	}
	return p
}

func udp(s string) flow.Match { return flow.Match{Protocol: flow.UDP, Ports: portsOf(s), DSCP: -1} }
func tcp(s string) flow.Match { return flow.Match{Protocol: flow.TCP, Ports: portsOf(s), DSCP: -1} }

// shippedClasses are the classes in the order of their admission. Where each port comes from stands in docs/steering.md,
// with the vendors' pages as they were on 2026-11-26. In short: SIP 5060-5061 (RFC 3261, IANA), STUN and TURN 3478 and 5349
// (RFC 8489, RFC 8656); Teams 3478-3481, Meet 3478 and 19302-19309, Zoom 3478-3479 and 8801-8810, Webex 5004 and 9000,
// FaceTime 3478-3497, 16384-16387 and 16393-16402, all over UDP; WhatsApp publishes none, and begins with STUN. Xbox 88,
// 3074 and 3544 (without the IPsec ports, which VPNs have, too); PlayStation 3478-3480 and 9295-9304; Steam 3478, 4379-4380 and
// 27000-27100 (without TCP 27015-27050, which is its downloads); a Switch has no ports of its own. SSH 22 and RDP 3389
// (IANA); APNs 2197 and 5223, FCM 5228-5230; WireGuard 51820 (its own default). Code points: RFC 4594, EF 46 and AF31 26.
var shippedClasses = []struct {
	flow.Class
	def, doc string
}{
	{
		flow.Class{Name: "voip", Matches: []flow.Match{
			udp("3478-3497,5004,5060-5061,5349,8801-8810,9000,16384-16387,16393-16402,19302-19309"), tcp("5060-5061,5349"),
		}},
		"true", "Calls and meetings: SIP, STUN, Teams, Zoom, Meet, Webex, FaceTime. Media of other ports follows its call: see together_minutes.",
	},
	{
		flow.Class{Name: "gaming", Matches: []flow.Match{udp("88,3074,3478-3480,3544,4379-4380,9295-9304,27000-27100"), tcp("3074,3478-3480")}},
		"true", "Games: Xbox, PlayStation, Steam.",
	},
	{flow.Class{Name: "remote", Matches: []flow.Match{tcp("22,3389"), udp("3389")}}, "true", "SSH and remote desktops."},
	{flow.Class{Name: "push", Matches: []flow.Match{tcp("2197,5223,5228-5230")}}, "true", "Push notifications: APNs, FCM."},
	{flow.Class{Name: "wireguard", Matches: []flow.Match{udp("51820")}}, "true", "WireGuard tunnels."},
	{flow.Class{Name: "dscp", Matches: []flow.Match{{DSCP: 46}, {DSCP: 26}}}, "true", "What hosts of the LAN mark EF or AF31."},
	{
		flow.Class{Name: "web", Matches: []flow.Match{tcp("443"), udp("443")}, Light: true},
		"false", "HTTPS and QUIC, but for hosts that have just moved much: pages may move, downloads and films stay.",
	},
}

func classKeys() []key {
	keys := []key{section(trafficClasses, "What steering may move: new connections of these kinds. wanctl router plan makes the router's rules of them.")}
	for _, c := range shippedClasses {
		keys = append(keys, key{path: trafficClasses + "." + c.Name, typ: typeBool, def: c.def, doc: c.doc})
	}
	return append(keys,
		key{
			path: dnsResolvers, typ: typeList, form: formAddr, defWords: "none", off: true,
			doc: "Resolvers that answer the same whichever line asks, so that queries to them may move. A provider's own is none.", example: "[9.9.9.9]",
		},
		key{
			path: customClass, typ: typeList, form: formPlain, defWords: "none", off: true,
			doc: "Further kinds, each PROTOCOL PORTS, or PROTOCOL PORTS to ADDRESS.", example: `["udp 10000-20000 to 203.0.113.5", "tcp 8443"]`,
		})
}

// classes reads the section's classes.
func (p *parser) classes() (classes []flow.Class) {
	for _, c := range shippedClasses {
		if p.flag(trafficClasses + "." + c.Name) {
			classes = append(classes, c.Class)
		}
	}
	dns := flow.Class{Name: "dns"}
	for _, s := range p.values[dnsResolvers].list {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			p.errorf(p.at(dnsResolvers), dnsResolvers, "name its IPv4 address", "%q: only IPv4 is steered", s)
			continue
		}
		for _, m := range []flow.Match{udp("53"), tcp("53,853")} {
			m.To = netip.PrefixFrom(a, 32)
			dns.Matches = append(dns.Matches, m)
		}
	}
	if dns.Matches != nil {
		classes = append(classes, dns)
	}
	custom := flow.Class{Name: "custom"}
	for _, s := range p.values[customClass].list {
		m, err := parseMatch(s)
		if err != nil {
			p.errorf(p.at(customClass), customClass, `write "udp 10000-20000", or "tcp 22 to 203.0.113.5"`, "%q: %v", s, err)
			continue
		}
		p.overlaps(s, m, append(slices.Clone(classes), custom))
		custom.Matches = append(custom.Matches, m)
	}
	if custom.Matches != nil {
		classes = append(classes, custom)
	}
	return classes
}

// overlaps says of a custom match which class has some of it already.
func (p *parser) overlaps(s string, m flow.Match, classes []flow.Class) {
	for _, c := range classes {
		if slices.ContainsFunc(c.Matches, m.Same) {
			p.errorf(p.at(customClass), customClass, "remove it", "%q is in the class %s already", s, c.Name)
			return
		}
	}
	for _, c := range classes {
		for _, other := range c.Matches {
			if c.Name != "custom" && m.Overlaps(other) {
				p.warnf(p.at(customClass), customClass, "narrow it, or switch the other off where that is wrong",
					"%q overlaps the class %s (%s), which is admitted first", s, c.Name, other)
				return
			}
		}
	}
}

// parseMatch reads a custom class.
func parseMatch(s string) (m flow.Match, err error) {
	words := strings.Fields(s)
	if len(words) != 2 && (len(words) != 4 || words[2] != "to") {
		return m, notSoManyWords(len(words))
	}
	m.DSCP = -1
	if m.Protocol, err = flow.ParseProtocol(words[0]); err != nil || m.Protocol != flow.TCP && m.Protocol != flow.UDP {
		return m, fmt.Errorf("the protocol is %q, want tcp or udp", words[0])
	}
	if m.Ports, err = flow.ParsePorts(words[1]); err != nil {
		return m, err
	}
	if len(words) == 4 {
		m.To, err = parseNet(words[3])
	}
	return m, err
}

func notSoManyWords(n int) error {
	if n == 1 {
		return errors.New("one word is too little")
	}
	return fmt.Errorf("%d words in an order that says nothing", n)
}

// parseNet reads an IPv4 address or network.
func parseNet(s string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(s)
	if err != nil {
		a, aerr := netip.ParseAddr(s)
		if aerr != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no address", s)
		}
		n = netip.PrefixFrom(a, a.BitLen())
	}
	if !n.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%s: only IPv4 is steered", s)
	}
	return n.Masked(), nil
}
