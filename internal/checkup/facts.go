package checkup

import (
	"net/netip"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Facts are what was gathered. What could not be is left out.
type Facts struct {
	Router   *Router
	Linux    *Linux
	Lines    []Line
	Steering *Steering
}

// Stage is how far a login got.
type Stage uint8

// The stages.
const (
	// NotReached: nothing answers.
	NotReached Stage = iota
	// NotTrusted: something answers, and its key or certificate is not the recorded one.
	NotTrusted
	// NotAdmitted: it is the router, and it refuses the credentials.
	NotAdmitted
	// NotReadable: we are in, and may not read.
	NotReadable
	// Open: all of it works.
	Open
)

// Router is a MikroTik router.
type Router struct {
	// Name is user@host:port, Door which service that is ("ssh", "rest", "api").
	Name, Door string
	// Unproved says why nothing proves that it is the router: "without TLS"; empty is that something does. Near says that it
	// is reached on this host, where nobody is in between.
	Unproved string
	Near     bool
	// Stage is how far we got, Err and Way why not further and what to do.
	Stage    Stage
	Err, Way string
	// Version is RouterOS's, "7.22.3 (stable)".
	Version string
	// Skew is the router's clock less ours, where HasSkew.
	Skew    time.Duration
	HasSkew bool
	// User is our user and Group its group; Rights are that group's, nil when they cannot be read; Needs are those it needs.
	User, Group   string
	Rights, Needs []string
	// Load is the CPU's, in percent, and Model the board's name; -1 and empty where not known.
	Load  int
	Model string
	// Inventory is what it holds, beyond blueprint's menus those in [Menus].
	Inventory blueprint.Inventory
	// Plan is what a plan would change.
	Plan blueprint.Plan
	// Heartbeat says that the files ask for schedulers.
	Heartbeat bool
	// Sectors is how many flash sectors a rate change wrote, where it was measured.
	Sectors    float64
	HasSectors bool
}

// Menus of the router that only a checkup reads.
const (
	Netwatch  = "/tool/netwatch"
	Scheduler = blueprint.Scheduler
	Script    = "/system/script"
	Switch    = "/interface/ethernet/switch"
)

// Menus are they, with the properties it needs of each.
func Menus() map[string][]string {
	return map[string][]string{
		Netwatch: {".id", "host", "disabled", "comment", "up-script", "down-script"},
		Script:   {".id", "name", "comment", "source"},
		Switch:   {".id", "name", "l3-hw-offloading"},
	}
}

// Linux is this host as the router.
type Linux struct {
	// NetAdmin says that queues may be changed here.
	NetAdmin bool
	// Forwarding says that packets are forwarded.
	Forwarding bool
}

// Queue is one queue of a line.
type Queue struct {
	// Name is the queue's, or its interface's on Linux; Found and Cake say that it is there and that it is CAKE.
	// Off says that the queue is disabled, or that the router flags it as invalid.
	Name             string
	Found, Cake, Off bool
	// Limit is its rate now.
	Limit unit.Rate
	// Passed are the bytes that it passed while we watched.
	Passed unit.Bytes
}

// Reflector is one host that is probed.
type Reflector struct {
	Host string
	Addr netip.Addr
	// Sent and Answered count probes; Least is the least round trip, in ms.
	Sent, Answered int
	Least          unit.Millis
}

// Line is one WAN.
type Line struct {
	Name string
	// Interface is the one it is on.
	Interface string
	// Queues are the line's; both are the halves of one where Simple says that it has a simple queue.
	Queues link.Pair[Queue]
	Simple bool
	// Holder says which other controller holds the line, by its mark on the router; empty for none.
	Holder string
	// Watched is how long the counters were watched, Crossed what crossed the interface meanwhile.
	Watched    time.Duration
	Crossed    link.Pair[unit.Bytes]
	HasCrossed bool
	Reflectors []Reflector
	// Path says by which line our probes leave: "proved", "wrong", or empty where it cannot be told. PathText says it, or why not,
	// in a sentence; it is empty where nobody was asked.
	Path, PathText string
	// Baseline is the configured one and its bounds, 0 where there are none.
	Baseline, BaselineMin, BaselineMax unit.Millis
	// Running says that its controller runs, and then Findings what it found.
	Running  bool
	Findings []string
}

// Steering is the dual-WAN set-up.
type Steering struct {
	Primary, Alternate string
	// Rule says what is wrong with the rule that is switched, empty is nothing; HasRule says that it was looked at.
	Rule    string
	HasRule bool
	// Answered and Sent count probes over the alternate, and Least is their least round trip.
	Sent, Answered int
	Least          unit.Millis
	// Holder is as a line's.
	Holder string
	// ShareIPv6 is the share of the new connections of steered classes that use IPv6; negative is not known.
	ShareIPv6 float64
	// Host is set where this host is the router; Light says that it keeps what moves much from moving.
	Host  *SteeringHost
	Light bool
}
