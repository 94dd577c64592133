package flow

import (
	"net/netip"
	"slices"
	"time"

	"wanctl/internal/unit"
)

// Pair is a client of the LAN and its peer.
type Pair struct{ Client, Peer netip.Addr }

// KeptFor is how long a house of hosts passes over packets to a peer that it has just noted, so that a connection that
// moves much costs it next to nothing: its groups end up to that much earlier than Idle after their last packet.
const KeptFor = 30 * time.Second

// House follows a policy: what a router does with connections that its rules see one after the other.
type House struct {
	// Hosts says that the house remembers peers where it should remember pairs, because lists of addresses are all its
	// router has (RouterOS). Then
	//   - whoever talks with a peer that somebody has a call with joins that call's line, and a peer may have several: the
	//     first of the lines counts;
	//   - every packet to such a peer by its line keeps the group, of a class or not, KeptFor aside;
	//   - a peer from which somebody fetched much is heavy for all, for HeavyFor from when it was found so.
	Hosts bool

	policy Policy
	// target is the alternate that new connections of the classes are steered to; empty when they are not.
	target string
	groups map[Pair]group
	heavy  map[Pair]unit.Time
	peers  map[call]unit.Time
	kept   map[call]unit.Time
}

type group struct {
	line  string
	until unit.Time
}

// call is a peer that somebody talks with by a line.
type call struct {
	line string
	peer netip.Addr
}

// NewHouse returns a house in which nothing is steered and nobody talks.
func NewHouse(p Policy) *House {
	return &House{
		policy: p, groups: map[Pair]group{}, heavy: map[Pair]unit.Time{}, peers: map[call]unit.Time{}, kept: map[call]unit.Time{},
	}
}

// Steer sends new connections of the classes to an alternate from now on; "" ends that.
func (h *House) Steer(alternate string) { h.target = alternate }

// Place says by which line a new connection goes, and remembers whom it joins.
func (h *House) Place(now unit.Time, k Packet) Placement {
	out := h.place(now, k)
	if out.groups() {
		h.Join(now, k, out.Line)
	}
	return out
}

// groups says whether a connection is one that others between its hosts join.
func (at Placement) groups() bool {
	return at.Class != "" && at.Line != "" && !at.Heavy && at.Cause != Inbound && at.Cause != Probe
}

// pair is whose traffic counts together.
func (h *House) pair(k Packet) Pair {
	if h.Hosts {
		return Pair{Peer: k.To.Addr()}
	}
	return Pair{k.From.Addr(), k.To.Addr()}
}

// Join notes that the hosts of a packet have a call by a line, as of now.
func (h *House) Join(now unit.Time, k Packet, line string) {
	until := now.Add(h.policy.Idle)
	if h.Hosts {
		h.peers[call{line, k.To.Addr()}] = until
		return
	}
	h.groups[h.pair(k)] = group{line, until}
}

// together is the line of the connections that a new one joins; empty where there is none that it may take.
func (h *House) together(now unit.Time, k Packet, barred map[string]*Override) string {
	if !h.Hosts {
		if g, ok := h.groups[h.pair(k)]; ok && g.until > now && barred[g.line] == nil {
			return g.line
		}
		return ""
	}
	for _, line := range h.policy.Lines() {
		if barred[line] == nil && h.peers[call{line, k.To.Addr()}] > now {
			return line
		}
	}
	return ""
}

func (h *House) place(now unit.Time, k Packet) Placement {
	p := &h.policy
	six := k.To.Addr().Is6()
	switch {
	case six && !p.Six:
		return Placement{Cause: OtherFamily}
	case k.In != "":
		return Placement{Line: k.In, Cause: Inbound}
	case p.Sources[k.From.Addr()] != "":
		return Placement{Line: p.Sources[k.From.Addr()], Cause: Probe}
	case slices.ContainsFunc(p.Elsewhere, func(n netip.Prefix) bool { return n.Contains(k.To.Addr()) }):
		return Placement{Cause: OtherWay}
	}
	class := p.Class(k)
	out := Placement{Line: p.Primary, Cause: Ordinary}
	if class != nil {
		out.Class = class.Name
		out.Heavy = class.Light && h.heavy[h.pair(k)] > now
	}
	barred := p.barred(k)
	for i := range p.Overrides {
		if o := &p.Overrides[i]; !o.Never && p.applies(*o, k) && barred[o.Line] == nil {
			out.Line, out.Cause, out.Override = o.Line, Always, o
			return out
		}
	}
	// Opened says that the connection may be steered: it is of a class, light where it must be, and begins now.
	opened := h.target != "" && class != nil && !out.Heavy && !k.Pickup
	joined := ""
	if !out.Heavy {
		joined = h.together(now, k, barred)
	}
	switch {
	case joined != "":
		out.Line, out.Cause = joined, Together
	case opened && barred[h.target] == nil:
		out.Line, out.Cause = h.target, Steered
	case barred[p.Primary] != nil:
		out.Cause, out.Override = Barred, barred[p.Primary]
		for _, line := range p.Alternates {
			if barred[line] == nil {
				out.Line = line
				break
			}
		}
	case opened:
		out.Cause, out.Override = Barred, barred[h.target]
	}
	return out
}

// barred are the lines that a packet must not take, by the override that says so.
func (p *Policy) barred(k Packet) map[string]*Override {
	lines := map[string]*Override{}
	for i := range p.Overrides {
		if o := &p.Overrides[i]; o.Never && lines[o.Line] == nil && p.applies(*o, k) {
			lines[o.Line] = o
		}
	}
	return lines
}

// Seen tells of a further packet of a placed connection, from whoever opened it, when the connection has moved that many
// bytes both ways together.
func (h *House) Seen(now unit.Time, k Packet, at Placement, moved int64) {
	if h.Hosts {
		h.heard(now, k, at, moved)
		return
	}
	if !at.groups() {
		return
	}
	h.Join(now, k, at.Line)
	for i := range h.policy.Classes {
		if c := &h.policy.Classes[i]; c.Name == at.Class && c.Light && moved > HeavyBytes {
			h.heavy[h.pair(k)] = now.Add(HeavyFor)
		}
	}
}

// heard is Seen in a house of hosts, which does not know of a connection what it was when it was opened, but its line.
func (h *House) heard(now unit.Time, k Packet, at Placement, moved int64) {
	if at.Cause == Inbound || at.Cause == OtherFamily {
		return
	}
	if c := (call{at.Line, k.To.Addr()}); h.peers[c] > now && h.kept[c] <= now {
		h.peers[c], h.kept[c] = now.Add(h.policy.Idle), now.Add(KeptFor)
	}
	for _, c := range h.policy.Classes {
		if p := h.pair(k); c.Light && c.Has(k) && moved > HeavyBytes && h.heavy[p] <= now {
			h.heavy[p] = now.Add(HeavyFor)
		}
	}
}
