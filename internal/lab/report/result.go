package report

import (
	"math"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Schema is the version of [Result]'s JSON form.
const Schema = 1

// The constants of the figures. They are part of [Schema]: another value is another figure.
const (
	// RampS is how long after the first flow's start loaded time begins, in seconds: TCP's own start is nobody's merit.
	RampS = 3.0
	// TransientS is how long after a change of capacity by [StepShare], a fault's begin and a fault's end a window counts as
	// transient, in seconds.
	TransientS = 5.0
	// OverMS is the limit of added delay that a call begins to hear.
	OverMS unit.Millis = 30
	// FarOverMS is the one that everybody feels.
	FarOverMS unit.Millis = 100
	// StepShare is the least change of capacity that is an event.
	StepShare = 0.2
	// HoldS is how long the new capacity has to stay within [StepShare] for the change to be an event, in seconds: before that
	// nothing can settle.
	HoldS = 2.0
	// SettledShare of the probes of the rest of the phase are within [OverMS] once a direction has settled.
	SettledShare = 0.95
	// RegainedShare of the new capacity has to be delivered for a direction to have regained it after a rise.
	RegainedShare = 0.8
	// RegainedForS is for how long it has to, in seconds.
	RegainedForS = 1.0
	// OutageRate is one packet of 1500 bytes per 100 ms. Below it for OutageS seconds or longer, nobody can shape the delay
	// away: the line is out.
	OutageRate unit.Rate = 1500 * 8 * 10
	OutageS              = 0.1
	// DrainMaxS bounds the drain allowance after an outage, in seconds.
	DrainMaxS = 2.0
	// StallS is the shortest silence that counts as starvation, in seconds.
	StallS = 0.2
	// StateHoldS is how long a controller's state is believed without another row, in seconds.
	StateHoldS = 1.0
	// MaxLagMS is the limit of the 99th percentile of the lag of capacity changes. Beyond it the machine was too slow.
	MaxLagMS unit.Millis = 2
	// BaseErrorMS is how far the idle round trip may be from the scenario's.
	BaseErrorMS unit.Millis = 0.5
	// GapS is the longest hole in the record that passes, in seconds.
	GapS = 1.0
)

// Result is the figures of one run. Times are seconds from the scenario's start.
//
// Time in which a line was out is in no figure but [LinkResult.Outages]. What is left of a window is its counted time.
type Result struct {
	Schema     int    `json:"schema"`
	Controller string `json:"controller"`
	Scenario   string `json:"scenario"`
	About      string `json:"about"`
	Seed       uint64 `json:"seed"`
	// Untuned: no parameter was chosen by this scenario.
	Untuned   bool    `json:"untuned,omitempty"`
	Clock     string  `json:"clock"`
	Kernel    string  `json:"kernel"`
	Version   string  `json:"version"`
	DurationS float64 `json:"duration_s"`
	WallS     float64 `json:"wall_s"`
	// Valid is false when the run fails a check of its own soundness; Invalid says which, one sentence each.
	Valid   bool     `json:"valid"`
	Invalid []string `json:"invalid,omitempty"`
	// Notes are worth knowing and do not make the run invalid.
	Notes []string `json:"notes,omitempty"`
	// CapacityLagP99 is how late the player made its changes of capacity; null when it made none.
	CapacityLagP99 *unit.Millis `json:"capacity_lag_p99_ms"`
	// ControllerCPUS is CPU seconds and ControllerRSS bytes of memory at most; null is unknown.
	ControllerCPUS *float64    `json:"controller_cpu_s"`
	ControllerRSS  *unit.Bytes `json:"controller_rss_bytes"`
	// ControllerWrites is as the controller's side counted them; null is unknown. See [DirResult.RateChanges].
	ControllerWrites *int64           `json:"controller_writes"`
	ControllerExits  []ControllerExit `json:"controller_exits"`
	Links            []LinkResult     `json:"links"`
}

// LinkResult is one link.
type LinkResult struct {
	Name string `json:"name"`
	Base Base   `json:"base"`
	// Outages of the line itself.
	Outages []Outage `json:"outages"`
	// Loaded is from [RampS] after the first flow's start to the last flow's end, on this link; everything where it has no
	// flow. Steady is Loaded without Transient; Transient is the part of Loaded within [TransientS] after an event.
	Loaded    Window `json:"loaded"`
	Steady    Window `json:"steady"`
	Transient Window `json:"transient"`
	// Phases are the scenario's, as they are written there: without [RampS].
	Phases []Window `json:"phases"`
	// Directions, over loaded time.
	Directions link.Pair[DirResult] `json:"directions"`
	Flows      []FlowResult         `json:"flows"`
}

// Base is the delay of an idle line: the median of the probes sent before the link's first flow began, with at least a
// second of them; else what the scenario says, all of it in the download. Added delay is what exceeds it.
type Base struct {
	Measured  bool        `json:"measured"`
	Down      unit.Millis `json:"download_ms"`
	Up        unit.Millis `json:"upload_ms"`
	RoundTrip unit.Millis `json:"round_trip_ms"`
	// ICMP is the echo's round trip.
	ICMP unit.Millis `json:"icmp_ms"`
}

// Outage is a span in which a direction of a line carried less than [OutageRate], or in which the link was down by a
// fault. It ends with the drain allowance: the time the provider's full buffer takes to empty at the capacity that came
// back, at most [DrainMaxS]. It is a property of the scenario, the same for every controller.
type Outage struct {
	// Dir is "download", "upload" or "both".
	Dir   string  `json:"dir"`
	FromS float64 `json:"from_s"`
	ToS   float64 `json:"to_s"`
	// DrainS follows ToS.
	DrainS float64 `json:"drain_s"`
	// Cause is "capacity" or "link-down".
	Cause string `json:"cause"`
}

// Window is the figures of a span of time.
type Window struct {
	Name  string  `json:"name"`
	FromS float64 `json:"from_s"`
	ToS   float64 `json:"to_s"`
	// Delays of the sparse UDP flow, one way.
	UDP link.Pair[Delays] `json:"udp"`
	// RoundTrip is the way up and then the way down, by the first download probe sent after the upload probe arrived, within
	// 100 ms.
	RoundTrip Delays `json:"udp_round_trip"`
	// ICMP are echoes. A provider may treat them unlike everything else.
	ICMP Delays `json:"icmp"`
	// Traffic is null for a direction without a flow that fills it (bulk, video, web or steady).
	Traffic link.Pair[*Traffic] `json:"traffic"`
}

// Delays are added delays: a probe's delay without the base, and without what it spent in an outage of the line. A
// probe belongs to the window in which it was sent.
type Delays struct {
	// CountedS is the window without outages and their drain allowance, in both directions for a round trip.
	CountedS float64 `json:"counted_s"`
	Sent     int     `json:"sent"`
	Lost     int     `json:"lost"`
	// Added is over the answered probes; null when none was.
	Added *Added `json:"added_ms"`
	// OverS and FarOverS are the seconds beyond [OverMS] and [FarOverMS]: the share of probes that took longer or were lost,
	// of counted time. For a call, what never comes is late.
	OverS    float64 `json:"over_30ms_s"`
	FarOverS float64 `json:"over_100ms_s"`
}

// Added are percentiles by nearest rank, in ms.
type Added struct {
	P50 unit.Millis `json:"p50"`
	P95 unit.Millis `json:"p95"`
	P99 unit.Millis `json:"p99"`
	Max unit.Millis `json:"max"`
}

// Traffic is what one direction carried in counted time.
type Traffic struct {
	CountedS float64 `json:"counted_s"`
	// Share is the bytes that left the provider's bottleneck ÷ the integral of its capacity; null when that is 0.
	Share *float64 `json:"share"`
	// Mbps and CapacityMbps are means, in Mbit/s.
	Mbps         float64 `json:"mbps"`
	CapacityMbps float64 `json:"capacity_mbps"`
	// ProviderDrops were dropped at the provider's bottleneck, in packets; ShaperDrops and ShaperMarks by our CAKE.
	ProviderDrops int64 `json:"provider_drops"`
	ShaperDrops   int64 `json:"shaper_drops"`
	ShaperMarks   int64 `json:"shaper_marks"`
}

// DirResult is what belongs to one direction of a link.
type DirResult struct {
	// Drops and Rises are changes of capacity by [StepShare] or more in loaded time that held for [HoldS].
	Drops []Drop `json:"drops"`
	Rises []Rise `json:"rises"`
	// Silence is when the sparse flow lost everything.
	Silence Stall `json:"silence"`
	// States are shares of loaded time; null when the controller said none.
	States *StateShares `json:"states"`
	// RateChanges counts changes of the shaper's rate from one reading of the queues to the next over the whole run. It is a
	// lower bound of the writes: two between the same readings are one, and a write of the same rate is none. Null without
	// a shaper.
	RateChanges *int `json:"rate_changes"`
}

// Drop is how a fall of capacity was borne. Its phase lasts until the capacity leaves the new level by [StepShare], or
// loaded time ends.
type Drop struct {
	AtS      float64 `json:"at_s"`
	FromMbps float64 `json:"from_mbps"`
	ToMbps   float64 `json:"to_mbps"`
	PhaseS   float64 `json:"phase_s"`
	// SettledS is the time until [SettledShare] of the rest of the phase's one-way probes are within [OverMS], with [HoldS]
	// of the phase left; null is never.
	SettledS *float64 `json:"settled_s"`
	// BadS is the seconds of the phase beyond [OverMS], counted like [Delays.OverS].
	BadS float64 `json:"bad_s"`
	// Peak is the most added delay, in ms; null when no probe arrived.
	Peak *unit.Millis `json:"peak_ms"`
}

// Rise is how soon regained capacity was used. Only directions with bulk flows have rises.
type Rise struct {
	AtS      float64 `json:"at_s"`
	FromMbps float64 `json:"from_mbps"`
	ToMbps   float64 `json:"to_mbps"`
	// RegainedS is the time until the second of [RegainedForS] begins in which [RegainedShare] of the new capacity left
	// the bottleneck; null is never.
	RegainedS *float64 `json:"regained_s"`
}

// Stall is how long something got nothing.
type Stall struct {
	// LongestS is the longest time, Share the share of counted time spent in those of [StallS] or longer.
	LongestS float64 `json:"longest_s"`
	Share    float64 `json:"share"`
}

// StateShares are shares of loaded time. Unknown is the time with no row of the last [StateHoldS] seconds.
type StateShares struct {
	Green   float64 `json:"GREEN"`
	Yellow  float64 `json:"YELLOW"`
	SoftRed float64 `json:"SOFT_RED"`
	Red     float64 `json:"RED"`
	Unknown float64 `json:"unknown"`
}

// FlowResult is what a flow received in one direction, from [RampS] after its start to its end.
type FlowResult struct {
	// Flow is the index in the scenario.
	Flow int     `json:"flow"`
	Kind string  `json:"kind"`
	Dir  string  `json:"dir"`
	Mbps float64 `json:"mbps"`
	// Starved is when its receivers got nothing, by whole intervals between readings; null for flows that pause by themselves.
	Starved *Stall `json:"starved"`
}

// Phase returns the figures of a phase of the scenario, nil when there is none of that name.
func (l *LinkResult) Phase(name string) *Window {
	for i := range l.Phases {
		if l.Phases[i].Name == name {
			return &l.Phases[i]
		}
	}
	return nil
}

// Greedy says whether a bulk flow filled the direction, so that its share of capacity says something about the
// controller.
func (l *LinkResult) Greedy(d link.Direction) bool {
	for _, f := range l.Flows {
		if f.Kind == "bulk" && f.Dir == d.String() {
			return true
		}
	}
	return false
}

// round keeps the decimals that mean something, so that files stay readable and do not differ by a float's last bit.
func round(f float64, decimals int) float64 {
	p := math.Pow10(decimals)
	if f = math.Round(f*p) / p; f == 0 {
		return 0 // not -0
	}
	return f
}

func roundMS(m float64) unit.Millis { return unit.Millis(round(m, 3)) }

func ptr[T any](v T) *T { return &v }
