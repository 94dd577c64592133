// Package link holds the nouns every room shares: what was measured on a line, what was decided for it, and why.
package link

import (
	"fmt"
	"time"

	"wanctl/internal/unit"
)

// Direction is a way through a line, seen from the house.
type Direction uint8

// The two directions.
const (
	Down Direction = iota
	Up
)

// String returns "download" or "upload", the names the configuration uses.
func (d Direction) String() string {
	switch d {
	case Down:
		return "download"
	case Up:
		return "upload"
	}
	return fmt.Sprintf("Direction(%d)", uint8(d))
}

// State is how congested one direction of a line is. Order is severity.
type State uint8

// The states, from healthy to congested.
const (
	Green State = iota
	Yellow
	SoftRed
	Red
)

// States is the number of states.
const States = 4

// String returns the name used in log lines and files: GREEN, YELLOW, SOFT_RED, RED.
func (s State) String() string {
	switch s {
	case Green:
		return "GREEN"
	case Yellow:
		return "YELLOW"
	case SoftRed:
		return "SOFT_RED"
	case Red:
		return "RED"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) {
	if s > Red {
		return nil, fmt.Errorf("no state %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	for v := Green; v <= Red; v++ {
		if v.String() == string(b) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("unknown state %q (want GREEN, YELLOW, SOFT_RED or RED)", b)
}

// Pair holds one value per direction.
type Pair[T any] struct {
	Down T `json:"download"`
	Up   T `json:"upload"`
}

// Get returns the value of one direction.
func (p Pair[T]) Get(d Direction) T {
	if d == Up {
		return p.Up
	}
	return p.Down
}

// Set stores the value of one direction.
func (p *Pair[T]) Set(d Direction, v T) {
	if d == Up {
		p.Up = v
		return
	}
	p.Down = v
}

// Rates are the shaper rates of a line, or the rates a line carried.
type Rates = Pair[unit.Rate]

// Reply is one answered probe.
type Reply struct {
	// Host is the index of the target in the configured list of reflectors.
	Host int
	// Sent is when the probe left, Received when its reply reached the kernel.
	Sent, Received unit.Time
	// RTT is the round trip; kernel queueing on our own host is already taken out.
	RTT unit.Millis
	// OneWay says that Delay is known: the reflector answered with its own clock.
	OneWay bool
	// Delay is how long the probe took up and its reply down, by two clocks: each holds their unknown offset, with
	// opposite signs, and may be negative. Only changes of it mean anything.
	Delay Pair[unit.Millis]
	// Clock changes when the offset may have: when the host's clock was set, and learnt anew. Delays compare only within
	// one. It is 0 without OneWay.
	Clock uint32
}

// Probe is a probe that left.
type Probe struct {
	// Host is the index of its target in the configured list of reflectors.
	Host int
	Sent unit.Time
}

// Sample is what one reply tells of queueing: its delay beyond what its reflector takes when nothing queues.
type Sample struct {
	// Host is the index of the reflector.
	Host int
	// Sent is when the probe left, Received when its reply arrived.
	Sent, Received unit.Time
	// Delta is the round trip over the reflector's baseline, at least 0.
	Delta unit.Millis
	// OneWay says that Way, the same for each direction, is known.
	OneWay bool
	Way    Pair[unit.Millis]
	// Noise is what the reflector's deltas are on a clear line, as a root mean square; 0 while not known.
	Noise unit.Millis
}

// Silence is what unanswered probes tell. The zero value is nothing.
type Silence struct {
	// Sent is when the oldest probe left that nothing sent later has overtaken.
	Sent unit.Time
	// Over is by how much it is late, beyond its reflector's baseline: what queues is at least that long.
	Over unit.Millis
	// Hosts is how many probes in a row, of different reflectors where there are several, are late.
	Hosts int
}

// Counters is one reading of what crossed a line's bottleneck, as seen on our side of it: counted since the interface
// was made, and starting from zero again with it.
type Counters struct {
	At unit.Time
	// Rx came in on the WAN before the download's shaper, Tx left on it after the upload's.
	Rx, Tx unit.Bytes
}

// Of returns what went in one direction.
func (c Counters) Of(d Direction) unit.Bytes {
	if d == Up {
		return c.Tx
	}
	return c.Rx
}

// Span is what was read in a part of a test of a line.
type Span struct {
	From, To unit.Time
	// Counters are cumulative readings of what the test itself carried, in bytes of IP packets.
	Counters []Counters
	// Replies came in it, Probes left in it.
	Replies []Reply
	Probes  []Probe
}

// Outside is what a line's loop is told beside its probes and counters.
type Outside struct {
	// Minute is the minute of the local day, from 1 to 1440; 0 is not known.
	Minute int
	// Blind says that the round trips of the probes do not tell the truth for data: a provider lets ICMP pass its queue. What
	// is handed in as samples is then of probes that look like data, and of no others.
	Blind bool
}

// RTT is a fused round-trip time: what the believed reflectors say together.
type RTT struct {
	// OK is false when no host had a reply in its window; every other field is then zero.
	OK bool
	// Value is the fused figure.
	Value unit.Millis
	// At is when the newest reply that entered the figure was received.
	At unit.Time
	// Hosts is how many reflectors entered the figure.
	Hosts int
}

// Load is what a line carried lately, from byte counters.
type Load struct {
	// Known is false until two counter readings exist, and after a counter reset until the next reading.
	Known bool
	// At is when the later of the two readings was taken.
	At unit.Time
	Rates
}

// Queue is one queue as its router reports it. Counters are cumulative and may restart from zero.
type Queue struct {
	// MaxLimit is the shaper rate in force; 0 is unlimited.
	MaxLimit unit.Rate `json:"max_limit"`
	// Bytes, Packets, Dropped and Marked count since the router's last reset, what left the queue. RouterOS leaves Dropped
	// at 0 for CAKE leaves and has no Marked.
	Bytes   unit.Bytes `json:"bytes"`
	Packets int64      `json:"packets"`
	Dropped int64      `json:"dropped"`
	Marked  int64      `json:"marked,omitempty"`
	// QueuedBytes and QueuedPackets are the depth now.
	QueuedBytes   unit.Bytes `json:"queued_bytes"`
	QueuedPackets int64      `json:"queued_packets"`
	// Parent is what the queue hangs on: an interface, another queue or "global". Empty when not reported.
	Parent string `json:"parent,omitempty"`
	// Cake is what CAKE itself tells, where the queue is read from a Linux kernel; RouterOS shows none of it.
	Cake Cake `json:"cake,omitzero"`
}

// Report is one reading of a router: both queues of a line, its WAN interface and the router's uptime, taken in one
// round trip. The queues' MaxLimit is the read-back that confirms a write.
type Report struct {
	// At is the middle of the round trip that read it.
	At unit.Time
	// Uptime is the router's own; it goes down when the router rebooted.
	Uptime time.Duration
	Pair[Queue]
	// HasWAN says that the WAN interface is known; WANRx and WANTx are then its byte counters.
	HasWAN       bool
	WANRx, WANTx unit.Bytes
	// Unwritten says that a write was wanted and not sent: the connection had been lost, so the router's own values were
	// read first.
	Unwritten bool
}

// Applied returns the shaper rates the report read back.
func (r Report) Applied() Rates { return Rates{Down: r.Down.MaxLimit, Up: r.Up.MaxLimit} }
