package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// HeavyBytes is what a connection has moved, both ways together, when its two hosts are heavy: a page is lighter, a film
	// or a download is not.
	HeavyBytes = 1_000_000
	// HeavyFor is how long they stay so without more.
	HeavyFor = 10 * time.Minute
	// DefaultIdle is how long the hosts of a call stay together after its last packet: a call on hold sends at least
	// every 25 s (RFC 5626's keep-alive is 120 s at most).
	DefaultIdle = 5 * time.Minute
)

// Policy is the rules by which the lines of a house share its connections.
type Policy struct {
	// Primary carries what nothing else is said of; Alternates may be steered to.
	Primary    string
	Alternates []string
	// Overrides are the user's word: a never bars its line wherever it stands, and of the others the first that matches and
	// whose line is not barred counts.
	Overrides []Override
	// Lists are the hosts of lists by name.
	Lists map[string][]netip.Prefix
	// Classes are what may move, in the order of their admission.
	Classes []Class
	// Sources are addresses whose packets measure a line, by address.
	Sources map[netip.Addr]string
	// Elsewhere are the networks that the main table reaches by other ways than by a line.
	Elsewhere []netip.Prefix
	// Idle is how long client and peer stay together without a packet of theirs; 0 is not at all.
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
