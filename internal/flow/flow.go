// Package flow says what the first packet of a connection looks like, which kind of traffic it is, and by which line a
// house's rules send it. What the backends make of the same rules is compared with it.
package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocol is a protocol number of the Internet header, as IANA assigns them; 0 is any.
type Protocol uint8

// The protocols that have ports, and the echo's.
const (
	Any  Protocol = 0
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
)

// String returns the protocol's name, or its number.
func (p Protocol) String() string {
	switch p {
	case Any:
		return "any"
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return strconv.Itoa(int(p))
}

// ParseProtocol reads "tcp", "udp", "icmp" or "any".
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range []Protocol{Any, ICMP, TCP, UDP} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("the protocol is %q, want tcp, udp, icmp or any", s)
}

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Ports are the ports of one rule; none are all of them.
type Ports []PortRange

// MaxPorts is how many ports one rule holds, a range counting twice (iptables' multiport, which RouterOS is built on).
const MaxPorts = 15

// ParsePorts reads "5060-5061,3478".
func ParsePorts(s string) (ports Ports, err error) {
	n := 0
	for part := range strings.SplitSeq(s, ",") {
		ends := strings.Split(part, "-")
		if len(ends) > 2 {
			return nil, fmt.Errorf("%q is no port and no range", part)
		}
		n += len(ends)
		var port [2]uint16
		for i, e := range ends {
			v, err := strconv.ParseUint(e, 10, 16)
			if err != nil || v == 0 {
				return nil, fmt.Errorf("%q is no port", e)
			}
			port[i] = uint16(v)
		}
		if len(ends) == 1 {
			port[1] = port[0]
		} else if port[0] >= port[1] {
			return nil, fmt.Errorf("the range %q has no beginning below its end", part)
		}
		ports = append(ports, PortRange{port[0], port[1]})
	}
	if n > MaxPorts {
		return nil, fmt.Errorf("%d ports, a range counting twice, are more than the %d that one rule holds", n, MaxPorts)
	}
	return ports, nil
}

// String writes the ports as ParsePorts reads them.
func (p Ports) String() string {
	var words []string
	for _, r := range p {
		w := strconv.Itoa(int(r.First))
		if r.Last != r.First {
			w += "-" + strconv.Itoa(int(r.Last))
		}
		words = append(words, w)
	}
	return strings.Join(words, ",")
}

// Contain says whether a port is among them.
func (p Ports) Contain(port uint16) bool {
	return len(p) == 0 || slices.ContainsFunc(p, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

func (p Ports) overlap(o Ports) bool {
	return len(p) == 0 || len(o) == 0 || slices.ContainsFunc(p, func(r PortRange) bool {
		return slices.ContainsFunc(o, func(q PortRange) bool { return r.First <= q.Last && q.First <= r.Last })
	})
}

// Packet is the first packet of a connection, as the router sees it before it is translated.
type Packet struct {
	Protocol Protocol
	// From and To are the two ends; the ports are 0 where the protocol has none.
	From, To netip.AddrPort
	// DSCP is the code point, 0 to 63.
	DSCP int
	// In is the line it came in by; empty when it comes from the LAN.
	In string
	// Pickup says that a TCP connection is not being opened: tracking sees it for the first time in its midst.
	Pickup bool
}

// Match selects packets; zero fields select all, DSCP -1 any.
type Match struct {
	Protocol Protocol
	// Ports are destination ports.
	Ports Ports
	DSCP  int
	// To is the destination; the zero prefix is any.
	To netip.Prefix
}

// Selects says whether the match selects a packet.
func (m Match) Selects(p Packet) bool {
	return (m.Protocol == Any || m.Protocol == p.Protocol) &&
		m.Ports.Contain(p.To.Port()) &&
		(m.DSCP < 0 || m.DSCP == p.DSCP) &&
		(!m.To.IsValid() || m.To.Contains(p.To.Addr()))
}

// String returns the match in words: "udp 3478-3481,5060 to 203.0.113.7", "dscp 46".
func (m Match) String() string {
	var words []string
	if m.Protocol != Any {
		words = append(words, m.Protocol.String())
	}
	if len(m.Ports) > 0 {
		words = append(words, m.Ports.String())
	}
	if m.DSCP >= 0 {
		words = append(words, "dscp", strconv.Itoa(m.DSCP))
	}
	if m.To.IsValid() {
		words = append(words, "to", Hosts{Net: m.To}.String())
	}
	if words == nil {
		return "everything"
	}
	return strings.Join(words, " ")
}

// Same says whether two matches are written alike.
func (m Match) Same(o Match) bool {
	return m.Protocol == o.Protocol && slices.Equal(m.Ports, o.Ports) && m.DSCP == o.DSCP && m.To == o.To
}

// Overlaps says whether a packet can be selected by both.
func (m Match) Overlaps(o Match) bool {
	return (m.Protocol == Any || o.Protocol == Any || m.Protocol == o.Protocol) &&
		m.Ports.overlap(o.Ports) &&
		(m.DSCP < 0 || o.DSCP < 0 || m.DSCP == o.DSCP) &&
		(!m.To.IsValid() || !o.To.IsValid() || m.To.Overlaps(o.To))
}

// Class is a kind of latency-sensitive traffic.
type Class struct {
	Name    string
	Matches []Match
	// Light takes only pairs of hosts that have moved little of late: a class whose ports carry downloads, too.
	Light bool
}

// Has says whether a packet is of the class.
func (c Class) Has(p Packet) bool {
	return slices.ContainsFunc(c.Matches, func(m Match) bool { return m.Selects(p) })
}

// Hosts are addresses of the LAN: a prefix, or a list by its name.
type Hosts struct {
	Net  netip.Prefix
	List string
}

// String returns the prefix, or the list's name behind an @.
func (h Hosts) String() string {
	if h.List != "" {
		return "@" + h.List
	}
	if h.Net.IsSingleIP() {
		return h.Net.Addr().String()
	}
	return h.Net.String()
}

// Override is a user's word on some hosts: always this line, or never.
type Override struct {
	Hosts Hosts
	// To restricts it to a destination; the zero prefix does not.
	To    netip.Prefix
	Line  string
	Never bool
}

// String returns the override in the configuration's words.
func (o Override) String() string {
	s := o.Hosts.String()
	if o.To.IsValid() {
		s += " to " + Hosts{Net: o.To}.String()
	}
	word := "always"
	if o.Never {
		word = "never"
	}
	return s + " " + word + " " + o.Line
}
