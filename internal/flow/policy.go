package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"wanctl/internal/unit"
)

const (
	// HeavyBytes is what a connection has moved, both ways together, when its two hosts are heavy, and HeavyFor how long
	// they stay so without more: a page is lighter, a film or a download is not.
	HeavyBytes = 1_000_000
	HeavyFor   = 10 * time.Minute
	// DefaultIdle is how long the hosts of a call stay together after its last packet: a call on hold sends at least
	// every 25 s (RFC 5626's keep-alive is 120 s at most).
	DefaultIdle = 5 * time.Minute
)

// Policy is the rules by which the lines of a house share its connections.
type Policy struct {
	// Primary carries what nothing else is said of; Alternates may be steered to.
	Primary    string
	Alternates []string
	// Overrides are the user's word, the first that matches counting: an always ends the search, a never bars its line.
	Overrides []Override
	// Lists are the hosts of lists by name.
	Lists map[string][]netip.Prefix
	// Classes are what may move, in the order of their admission.
	Classes []Class
	// Sources are addresses whose packets measure a line, by address.
	Sources map[netip.Addr]string
	// Elsewhere are the networks that the main table reaches by other ways than by a line.
	Elsewhere []netip.Prefix
	// Idle is how long client and peer stay together without a packet of theirs.
	Idle time.Duration
	// Six says that IPv6 can take every line, because its addresses are translated on each.
	Six bool
}

// Lines returns the primary and the alternates.
func (p *Policy) Lines() []string { return append([]string{p.Primary}, p.Alternates...) }

// Class returns the first class that a packet is of; nil when there is none.
func (p *Policy) Class(k Packet) *Class {
	for i := range p.Classes {
		if p.Classes[i].Has(k) {
			return &p.Classes[i]
		}
	}
	return nil
}

// applies says whether an override is about a packet.
func (p *Policy) applies(o Override, k Packet) bool {
	if o.To.IsValid() && !o.To.Contains(k.To.Addr()) {
		return false
	}
	if o.Hosts.List == "" {
		return o.Hosts.Net.Contains(k.From.Addr())
	}
	return slices.ContainsFunc(p.Lists[o.Hosts.List], func(n netip.Prefix) bool { return n.Contains(k.From.Addr()) })
}

// Cause is why a connection takes its line.
type Cause uint8

// The causes, in the order in which they are looked at.
const (
	// Inbound came in by the line and is answered by it.
	Inbound Cause = iota
	// Probe comes from an address that measures the line.
	Probe
	// OtherFamily is IPv6 where IPv6 cannot be steered: the main table decides.
	OtherFamily
	// OtherWay goes where the main table knows another way than a line.
	OtherWay
	// Always is a user's override.
	Always
	// Together follows the connections between the same two hosts.
	Together
	// Steered is of a class that is steered now.
	Steered
	// Barred would have taken a line that an override bars.
	Barred
	// Ordinary takes the primary.
	Ordinary
)

var causes = [...]string{
	Inbound: "inbound", Probe: "probe", OtherFamily: "other family", OtherWay: "other way", Always: "always",
	Together: "together", Steered: "steered", Barred: "barred", Ordinary: "ordinary",
}

// String returns the cause's word.
func (c Cause) String() string {
	if int(c) < len(causes) {
		return causes[c]
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// Placement is where a new connection goes.
type Placement struct {
	// Line is empty where the main table decides.
	Line  string
	Cause Cause
	// Class is the class it is of; empty when it is of none.
	Class string
	// Override is what a user said, where that decided.
	Override *Override
	// Heavy says that its hosts have moved too much for its class.
	Heavy bool
}

// Pair is a client of the LAN and its peer.
type Pair struct{ Client, Peer netip.Addr }

type group struct {
	line  string
	until unit.Time
}

// House follows a policy: what a router does with connections that its rules see one after the other.
type House struct {
	policy Policy
	// target is the alternate that new connections of the classes are steered to; empty when they are not.
	target string
	groups map[Pair]group
	heavy  map[Pair]unit.Time
}

// NewHouse returns a house in which nothing is steered and nobody talks.
func NewHouse(p Policy) *House {
	return &House{policy: p, groups: map[Pair]group{}, heavy: map[Pair]unit.Time{}}
}

// Steer sends new connections of the classes to an alternate from now on; "" ends that.
func (h *House) Steer(alternate string) { h.target = alternate }

// Place says by which line a new connection goes, and remembers whom it joins.
func (h *House) Place(now unit.Time, k Packet) Placement {
	out := h.place(now, k)
	if out.Class != "" && out.Line != "" && !out.Heavy && out.Cause != Inbound && out.Cause != Probe {
		h.groups[pair(k)] = group{out.Line, now.Add(h.policy.Idle)}
	}
	return out
}

func pair(k Packet) Pair { return Pair{k.From.Addr(), k.To.Addr()} }

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
		out.Heavy = class.Light && h.heavy[pair(k)] > now
	}
	barred := map[string]*Override{}
	for i := range p.Overrides {
		switch o := &p.Overrides[i]; {
		case !p.applies(*o, k):
		case o.Never:
			barred[o.Line] = o
		case barred[o.Line] == nil:
			out.Line, out.Cause, out.Override = o.Line, Always, o
			return out
		}
	}
	g, together := h.groups[pair(k)]
	switch {
	case together && g.until > now && barred[g.line] == nil && !out.Heavy:
		out.Line, out.Cause = g.line, Together
	case h.target != "" && class != nil && !out.Heavy && !k.Pickup && barred[h.target] == nil:
		out.Line, out.Cause = h.target, Steered
	case barred[p.Primary] != nil:
		out.Cause, out.Override = Barred, barred[p.Primary]
		for _, line := range p.Alternates {
			if barred[line] == nil {
				out.Line = line
				break
			}
		}
	case h.target != "" && class != nil && !out.Heavy && !k.Pickup:
		out.Cause, out.Override = Barred, barred[h.target]
	}
	return out
}

// Seen tells of a packet of a placed connection, in either direction, after moved bytes both ways together.
func (h *House) Seen(now unit.Time, k Packet, at Placement, moved int64) {
	if at.Class == "" || at.Line == "" || at.Heavy || at.Cause == Inbound || at.Cause == Probe {
		return
	}
	h.groups[pair(k)] = group{at.Line, now.Add(h.policy.Idle)}
	for i := range h.policy.Classes {
		if c := &h.policy.Classes[i]; c.Name == at.Class && c.Light && moved > HeavyBytes {
			h.heavy[pair(k)] = now.Add(HeavyFor)
		}
	}
}
