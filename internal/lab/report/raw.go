// Package report turns what a laboratory run wrote down into figures, tables and pictures.
package report

import (
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The files of a run's directory. The machine writes them, [Load] reads them.
const (
	// MetaFile is a [Meta] as JSON.
	MetaFile = "meta.json"
	// ProbesFile has a line per ground-truth probe: class,link,dir,t_s,delay_ms. delay_ms is empty for one that was
	// lost. class is "udp" (one way; dir is download or upload) or "icmp" (dir is empty: a round trip).
	ProbesFile = "probes.csv"
	// QueuesFile has a line per reading: t_s,link,dir,place,rate_bps,bytes,packets,backlog_bytes,backlog_packets,drops,marks.
	// place is "shaper" (our CAKE) or "line" (the provider's bottleneck).
	QueuesFile = "queues.csv"
	// CapacityFile has a line per change: t_s,link,dir,rate_bps,lag_ms. lag_ms is how late it was made.
	CapacityFile = "capacity.csv"
	// FlowsFile has a line per reading: t_s,flow,link,dir,bytes. bytes is what the receivers of all connections of that
	// flow and direction got so far.
	FlowsFile = "flows.csv"
	// StatesFile has a line per controller's cycle: t_s,link,state_down,state_up,rtt_ms,baseline_ms,rate_down_bps,rate_up_bps.
	StatesFile = "states.csv"
	// ResultFile is the [Result] as JSON.
	ResultFile = "result.json"
)

// Meta is what is known about a run besides its series.
type Meta struct {
	// Schema is [MetaSchema].
	Schema     int               `json:"schema"`
	Controller string            `json:"controller"`
	Scenario   scenario.Scenario `json:"scenario"`
	// Clock is "virtual" or "real".
	Clock   string `json:"clock"`
	Kernel  string `json:"kernel"`
	Version string `json:"version"`
	// WallS is how long the run took outside, in seconds; filled in outside.
	WallS float64 `json:"wall_s"`
	// ControllerExits are the exits nobody asked for.
	ControllerExits []ControllerExit `json:"controller_exits,omitempty"`
	// ControllerCPUS is CPU seconds, -1 where the clock hides them; ControllerRSS the most resident memory in bytes, 0
	// if unknown.
	ControllerCPUS float64    `json:"controller_cpu_s"`
	ControllerRSS  unit.Bytes `json:"controller_rss_bytes"`
	// ControllerWrites is how many rate writes the controller made, where something counted them.
	ControllerWrites *int64 `json:"controller_writes,omitempty"`
}

// MetaSchema is the version of [Meta] and of the files beside it.
const MetaSchema = 1

// ControllerExit is an exit of a controller under test that the scenario did not ask for.
type ControllerExit struct {
	AtS    float64 `json:"at_s"`
	Status string  `json:"status"`
}

// Raw is a run as it was written down. Slices are ordered by time.
type Raw struct {
	Meta   Meta
	Probes []Probe
	Queues []Queue
	// Capacity is what was really set.
	Capacity []Capacity
	Flows    []Flow
	States   []State
	// Cut says what is missing of the record, one sentence each: a file that is not there, a last line that broke off. A
	// run that was cut short is still read.
	Cut []string
}

// Probe is one ground-truth probe. Times are seconds from the scenario's start.
type Probe struct {
	// ICMP is a round trip by echo; else it is one way by UDP in Dir.
	ICMP bool
	Link int
	Dir  link.Direction
	At   float64
	// Delay is all of it, propagation included; meaningless when Lost.
	Delay unit.Millis
	Lost  bool
}

// Queue is one reading of a queue. Counters are cumulative.
type Queue struct {
	At   float64
	Link int
	Dir  link.Direction
	// Line: the provider's bottleneck, else our shaper.
	Line bool
	link.Queue
}

// Capacity is one change of a line.
type Capacity struct {
	At   float64
	Link int
	Dir  link.Direction
	Rate unit.Rate
	Lag  unit.Millis
}

// Flow is what one flow had received at an instant.
type Flow struct {
	At    float64
	Flow  int
	Link  int
	Dir   link.Direction
	Bytes unit.Bytes
}

// State is what a controller said in one cycle.
type State struct {
	At            float64
	Link          int
	State         link.Pair[link.State]
	RTT, Baseline unit.Millis
	Rates         link.Rates
}
