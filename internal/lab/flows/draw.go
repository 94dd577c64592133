package flows

import (
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/flow"
)

// Lines are those of every house; Draw takes the first two or three.
var Lines = []string{"Cable", "DSL", "LTE"}

// The few hosts of every house, so that connections meet.
var (
	// Clients are in the LAN; Probers are, too, and a line is measured from each.
	Clients = []netip.Addr{addr("192.168.1.10"), addr("192.168.1.11"), addr("192.168.1.50"), addr("192.168.1.70")}
	Probers = []netip.Addr{addr("192.168.1.2"), addr("192.168.1.3"), addr("192.168.1.4")}
	// Peers are on the internet, Neighbours where the main table knows another way.
	Peers      = []netip.Addr{addr("203.0.113.7"), addr("203.0.113.8"), addr("198.51.100.9")}
	Neighbours = []netip.Addr{addr("10.1.1.1")}
	// Elsewhere are the neighbours' networks.
	Elsewhere = []netip.Prefix{prefix("10.0.0.0/8")}
)

// Options say what a backend can play.
type Options struct {
	// Steps is the greatest number of them; 0 is 40.
	Steps int
	// Waits are the times that may pass; none are waits around the policy's idle time and the heavy pairs'.
	Waits []time.Duration
	// Idle are the policies' idle times; none are 0, one minute and the default.
	Idle []time.Duration
	// NoInbound, NoPickups and NoHeavy leave out connections from outside, TCP that is seen first in its midst, and
	// connections that move much.
	NoInbound, NoPickups, NoHeavy bool
}

// Draw makes a story up.
func Draw(t *rapid.T, o Options) Story {
	lines := Lines[:rapid.IntRange(2, len(Lines)).Draw(t, "lines")]
	p := drawPolicy(t, o, lines)
	if len(o.Waits) == 0 {
		o.Waits = []time.Duration{
			time.Second, 25 * time.Second, flow.KeptFor, p.Idle - 1, p.Idle, p.Idle / 2, flow.HeavyFor / 2, flow.HeavyFor,
		}
	}
	if o.Steps == 0 {
		o.Steps = 40
	}
	s := Story{Policy: p}
	var opened []flow.Packet
	const (
		opens = iota
		packets
		toggles
		waits
	)
	kinds := []int{opens, opens, packets, opens, toggles, packets, opens, waits, packets, toggles}
	for range rapid.SampledFrom([]int{o.Steps, o.Steps / 2, 3}).Draw(t, "steps") {
		switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); {
		case kind == toggles:
			s.Steps = append(s.Steps, Step{Toggle: true, Target: rapid.SampledFrom(append([]string{""}, p.Alternates...)).Draw(t, "target")})
		case kind == waits:
			if d := rapid.SampledFrom(o.Waits).Draw(t, "wait"); d > 0 {
				s.Steps = append(s.Steps, Step{Wait: d})
			}
		case kind == packets && len(opened) > 0:
			moved := []int64{1000, flow.HeavyBytes}
			if !o.NoHeavy {
				moved = append(moved, flow.HeavyBytes+1, 2*flow.HeavyBytes, 50*flow.HeavyBytes)
			}
			s.Steps = append(s.Steps, Step{
				Again: true, Connection: rapid.IntRange(0, len(opened)-1).Draw(t, "connection"), Moved: rapid.SampledFrom(moved).Draw(t, "moved"),
			})
		default:
			k := drawPacket(t, o, p, len(opened))
			if len(opened) > 0 && k.In == "" && rapid.Bool().Draw(t, "old acquaintances") { // most talk to whom they talked to
				e := rapid.SampledFrom(opened).Draw(t, "earlier")
				if e.In == "" {
					k.Protocol, k.DSCP, k.From, k.To = e.Protocol, e.DSCP, netip.AddrPortFrom(e.From.Addr(), k.From.Port()), e.To
					k.Pickup = k.Pickup && k.Protocol == flow.TCP
				}
			}
			s.Steps = append(s.Steps, Step{Packet: k})
			opened = append(opened, k)
		}
	}
	return s
}

func drawPolicy(t *rapid.T, o Options, lines []string) flow.Policy {
	idle := o.Idle
	if len(idle) == 0 {
		idle = []time.Duration{0, time.Minute, flow.DefaultIdle}
	}
	p := flow.Policy{
		Primary: lines[0], Alternates: slices.Clone(lines[1:]), Elsewhere: Elsewhere, Sources: map[netip.Addr]string{},
		Lists: map[string][]netip.Prefix{"kids": {prefix("192.168.1.70/31")}, "office": {prefix("192.168.1.10/32"), prefix("192.168.1.50/32")}},
		Idle:  rapid.SampledFrom(idle).Draw(t, "idle"),
	}
	for i, l := range lines {
		if rapid.Bool().Draw(t, "probed") {
			p.Sources[Probers[i]] = l
		}
	}
	p.Classes = drawClasses(t)
	hosts := []flow.Hosts{{Net: prefix("192.168.1.50/32")}, {Net: prefix("192.168.1.0/26")}, {List: "kids"}, {List: "office"}}
	to := []netip.Prefix{{}, {}, prefix("203.0.113.0/24"), prefix("198.51.100.9/32")}
	for range rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "overrides") {
		p.Overrides = append(p.Overrides, flow.Override{
			Hosts: rapid.SampledFrom(hosts).Draw(t, "hosts"), To: rapid.SampledFrom(to).Draw(t, "to"),
			Line: rapid.SampledFrom(lines).Draw(t, "line"), Never: rapid.Bool().Draw(t, "never"),
		})
	}
	return p
}

// drawClasses are some of a few classes in any order, overlapping ones among them.
func drawClasses(t *rapid.T) []flow.Class {
	udp := func(ports ...flow.PortRange) flow.Match {
		return flow.Match{Protocol: flow.UDP, Ports: ports, DSCP: -1}
	}
	tcp := func(ports ...flow.PortRange) flow.Match {
		return flow.Match{Protocol: flow.TCP, Ports: ports, DSCP: -1}
	}
	one := func(n uint16) flow.PortRange { return flow.PortRange{First: n, Last: n} }
	narrow := udp(flow.PortRange{First: 400, Last: 500})
	narrow.To = prefix("203.0.113.7/32")
	all := []flow.Class{
		{Name: "voip", Matches: []flow.Match{udp(flow.PortRange{First: 3478, Last: 3481}, one(5060)), tcp(one(5060))}},
		{Name: "remote", Matches: []flow.Match{tcp(one(22))}},
		{Name: "dscp", Matches: []flow.Match{{DSCP: 46}, {DSCP: 26}}},
		{Name: "web", Matches: []flow.Match{tcp(one(443)), udp(one(443))}, Light: true},
		{Name: "custom", Matches: []flow.Match{narrow}},
	}
	order := rapid.Permutation(all).Draw(t, "classes")
	return order[:rapid.IntRange(2, len(order)).Draw(t, "how many classes")]
}

func drawPacket(t *rapid.T, o Options, p flow.Policy, n int) flow.Packet {
	k := flow.Packet{Protocol: rapid.SampledFrom([]flow.Protocol{flow.UDP, flow.TCP}).Draw(t, "protocol")}
	clients := append(slices.Concat(Clients, Clients), Probers[:1+len(p.Alternates)]...)
	client := rapid.SampledFrom(clients).Draw(t, "client")
	peer := rapid.SampledFrom(append(slices.Concat(Peers, Peers), Neighbours...)).Draw(t, "peer")
	port := rapid.SampledFrom([]uint16{22, 80, 443, 443, 450, 3478, 5060, 16384}).Draw(t, "port")
	own := uint16(20_000 + n) // each connection has its own
	k.DSCP = rapid.SampledFrom([]int{0, 0, 0, 46, 26, 8}).Draw(t, "dscp")
	k.From, k.To = netip.AddrPortFrom(client, own), netip.AddrPortFrom(peer, port)
	if !o.NoInbound && rapid.IntRange(0, 9).Draw(t, "inbound") == 0 {
		k.In = rapid.SampledFrom(p.Lines()).Draw(t, "in by")
		k.From, k.To = netip.AddrPortFrom(peer, own), netip.AddrPortFrom(client, port)
		return k
	}
	k.Pickup = !o.NoPickups && k.Protocol == flow.TCP && rapid.IntRange(0, 4).Draw(t, "pickup") == 0
	return k
}
