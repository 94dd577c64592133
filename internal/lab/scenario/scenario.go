// Package scenario reads the stories that the laboratory plays: lines whose capacity changes, what loads them, whom the
// probes ask, and what breaks.
package scenario

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Scenario is one story. Times count from its start. A parsed scenario is complete: every default is filled in, and
// every capacity is a list of steps, whatever it came from.
type Scenario struct {
	// Name is the file's, About one sentence.
	Name     string        `json:"name"`
	About    string        `json:"about"`
	Duration time.Duration `json:"duration"`
	// Seed decides what the scenario itself draws (synthetic traces). The kernel draws its own.
	Seed  uint64 `json:"seed"`
	Links []Link `json:"links"`
	Flows []Flow `json:"flows"`
	// Reflectors answer probes; their order is the controller's.
	Reflectors []Reflector `json:"reflectors"`
	Faults     []Fault     `json:"faults"`
	// Phases are the spans that figures are also given for, in order.
	Phases []Phase `json:"phases"`
	// CommandDelay is how long the router takes for a command (controllers that have a router).
	CommandDelay time.Duration `json:"command_delay"`
	// Untuned marks a scenario that no parameter may be chosen by.
	Untuned bool `json:"untuned,omitempty"`
	// Recordings are the traces that were read from files; where a twin stood in there is none.
	Recordings []string `json:"recordings,omitempty"`
}

// Link is one WAN.
type Link struct {
	Name string `json:"name"`
	// Delay is the idle round trip to the server.
	Delay time.Duration `json:"delay"`
	Down  Path          `json:"down"`
	Up    Path          `json:"up"`
	// ICMP says how the provider treats echoes.
	ICMP ICMP `json:"icmp"`
}

// Path returns one direction.
func (l *Link) Path(d link.Direction) *Path {
	if d == link.Up {
		return &l.Up
	}
	return &l.Down
}

// ICMP is a provider's treatment of echoes.
type ICMP string

// The treatments.
const (
	// ICMPAlike queues them with everything else.
	ICMPAlike ICMP = "alike"
	// ICMPFirst lets them pass the queue: probes by ICMP are blind to what TCP and UDP feel.
	ICMPFirst ICMP = "first"
)

// Path is one direction of a link.
type Path struct {
	// Nominal is what the line is sold as and what controllers are told: as written, or the 95th percentile of a trace.
	Nominal unit.Rate `json:"nominal"`
	// FIFO is how long the provider's full buffer takes to drain at Nominal. It is a number of bytes.
	FIFO time.Duration `json:"fifo"`
	// Steps is the capacity over time; the first is at 0. A rate of 0 is an outage of the line.
	Steps []Step `json:"steps"`
	// Loss is lost at random.
	Loss unit.PPM `json:"loss"`
	// LoadedDelay is added by the line itself while it carries more than LoadedShare of its capacity, as radio
	// schedulers do: delay that no shaper can take away.
	LoadedDelay time.Duration `json:"loaded_delay"`
	LoadedShare unit.PPM      `json:"loaded_share"`
}

// Step is a capacity from an instant on.
type Step struct {
	At   time.Duration `json:"at"`
	Rate unit.Rate     `json:"rate"`
}

// Kind is what a flow is.
type Kind string

// The kinds of flows.
const (
	// Bulk are TCP connections that move as much as they can.
	Bulk Kind = "bulk"
	// Video is one TCP connection each that moves Size once per Every, on and off.
	Video Kind = "video"
	// Web is one TCP connection each: a request upwards, Size back, the next one Every after the last began.
	Web Kind = "web"
	// Call is UDP: Size bytes each way once per Every (default 160 bytes, 20 ms).
	Call Kind = "call"
	// Steady is UDP in one direction at Rate, whatever happens (a camera).
	Steady Kind = "steady"
)

// Flow is a load on one link from From to To.
type Flow struct {
	Kind Kind `json:"kind"`
	// Link is an index in Scenario.Links.
	Link int            `json:"link"`
	Dir  link.Direction `json:"dir"`
	// Count is the number of connections.
	Count int           `json:"count"`
	From  time.Duration `json:"from"`
	To    time.Duration `json:"to"`
	// Congestion is the sender's congestion control: cubic, reno or bbr.
	Congestion string        `json:"congestion"`
	Size       unit.Bytes    `json:"size"`
	Every      time.Duration `json:"every"`
	Rate       unit.Rate     `json:"rate"`
}

// Reflector is a host that answers probes, over every link.
type Reflector struct {
	// Extra is its distance on top of the link's idle round trip. It may not be negative.
	Extra time.Duration `json:"extra"`
	// PerSecond is how many probes it answers; 0 is all.
	PerSecond int `json:"per_second"`
	// Changes happen to it, in order.
	Changes []ReflectorChange `json:"changes"`
}

// ReflectorChange is what becomes of a reflector at an instant.
type ReflectorChange struct {
	At time.Duration `json:"at"`
	// Dead: it answers nothing from now on.
	Dead bool `json:"dead"`
	// Extra replaces Reflector.Extra: a re-route, or a lie.
	Extra time.Duration `json:"extra"`
}

// FaultKind is what breaks.
type FaultKind string

// The faults.
const (
	// LinkDown loses every packet of a link, both ways, for a time.
	LinkDown FaultKind = "link-down"
	// KillController ends the controller with SIGKILL; it is started again after For.
	KillController FaultKind = "kill-controller"
	// RouterReboot restarts the router: its queues come back at their rates of the start, and it answers nothing for
	// a time (controllers that have a router); on Linux the qdiscs are made anew.
	RouterReboot FaultKind = "router-reboot"
	// QdiscGone takes a link's queues away for a time.
	QdiscGone FaultKind = "qdisc-gone"
)

// Fault is something that breaks.
type Fault struct {
	At   time.Duration `json:"at"`
	Kind FaultKind     `json:"kind"`
	// Link is an index in Scenario.Links; KillController and RouterReboot have none.
	Link int           `json:"link"`
	For  time.Duration `json:"for"`
}

// Phase is a span that figures are given for.
type Phase struct {
	Name string        `json:"name"`
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}
