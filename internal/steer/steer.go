// Package steer decides which of two lines carries the new latency-sensitive connections of a house.
package steer

import (
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// State is where new latency-sensitive connections go.
type State uint8

// The two states.
const (
	// Good leaves everything on the primary: the rule is disabled.
	Good State = iota
	// Degraded sends new latency-sensitive connections to the alternate: the rule is enabled.
	Degraded
)

// String returns "GOOD" or "DEGRADED"; log lines and files put the primary's name before it.
func (s State) String() string {
	switch s {
	case Good:
		return "GOOD"
	case Degraded:
		return "DEGRADED"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes the state's word.
func (s State) MarshalText() ([]byte, error) {
	if s > Degraded {
		return nil, fmt.Errorf("no steering state %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads a state's word.
func (s *State) UnmarshalText(b []byte) error {
	for v := Good; v <= Degraded; v++ {
		if v.String() == string(b) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("unknown steering state %q (want GOOD or DEGRADED)", b)
}

// Congestion is one cycle's assessment of the primary.
type Congestion uint8

// The assessments.
const (
	// Green is a healthy line.
	Green Congestion = iota
	// Yellow is a delay without confirmation, or a queue that begins to stand.
	Yellow
	// Red is a delay that another signal confirms.
	Red
	// Unknown means that the delay over the baseline could not be computed.
	Unknown
	// Down means that nobody's probes were answered for 10 s.
	Down
)

var congestionNames = [...]string{Green: "GREEN", Yellow: "YELLOW", Red: "RED", Unknown: "UNKNOWN", Down: "DOWN"}

// String returns the word that ends the cycle's line.
func (c Congestion) String() string {
	if int(c) < len(congestionNames) {
		return congestionNames[c]
	}
	return fmt.Sprintf("Congestion(%d)", uint8(c))
}

// MarshalText writes the assessment's word.
func (c Congestion) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// measured reports whether the delay was known.
func (c Congestion) measured() bool { return c <= Red }

// Signal is what one confirmation of a RED delay says.
type Signal uint8

// What a confirmation can say.
const (
	// Quiet is under its mark.
	Quiet Signal = iota
	// Over is over its mark and confirms.
	Over
	// Worn has been over its mark for 10 min without a break and has no weight any more.
	Worn
	// Missing could not be read: it is not counted either way.
	Missing
)

var signalNames = [...]string{Quiet: "quiet", Over: "over", Worn: "worn", Missing: "missing"}

// String returns the signal's word.
func (s Signal) String() string {
	if int(s) < len(signalNames) {
		return signalNames[s]
	}
	return fmt.Sprintf("Signal(%d)", uint8(s))
}

// MarshalText writes the signal's word.
func (s Signal) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Verdict is what the check of the alternate line says.
type Verdict uint8

// The verdicts.
const (
	// NotChecked means that the configuration names no way to measure the alternate.
	NotChecked Verdict = iota
	// Better means that the alternate may take connections.
	Better
	// Silent means that it was not measured in the last 5 s.
	Silent
	// NoBaseline means that it answers, but there is no acceptable baseline to compare with.
	NoBaseline
	// Congested means that its delay is RED by the primary's thresholds.
	Congested
	// NoMargin means that it is healthy, but not better by the margins.
	NoMargin
)

var verdictNames = [...]string{
	NotChecked: "not_checked", Better: "better", Silent: "silent", NoBaseline: "no_baseline",
	Congested: "congested", NoMargin: "no_margin",
}

// String returns the verdict's word.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText writes the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Autorate is what a line's rate controller published.
type Autorate struct {
	// Known says that it was ever read.
	Known bool
	// Fresh says that it is young enough: a feed younger than three of its periods or 2 s, whichever is longer; a
	// state file (BaselineOnly) younger than 6 min.
	Fresh bool
	// BaselineOnly says that Feed comes from a state file: only its Baseline means anything.
	BaselineOnly bool
	Feed         link.Feed
}

// live reports whether the whole feed may be believed.
func (a Autorate) live() bool { return a.Known && a.Fresh && !a.BaselineOnly }

// QueueReading is the newest reading of the primary's download queue.
type QueueReading struct {
	// OK is false when the newest attempt to read failed, or none was made.
	OK bool
	// Fresh says that it was read since the last Step.
	Fresh bool
	// At is when it was read.
	At unit.Time
	link.Queue
}

// Alternate is what is known of the other line.
type Alternate struct {
	// Configured repeats [AlternateCheck].Configured for callers that learn it late; either one turns the check on.
	Configured bool
	// RTT is from steering's own probes through the alternate.
	RTT link.RTT
	// Autorate is the alternate's own controller, where it has one.
	Autorate Autorate
}

// Rule is the newest read-back of the router's rule.
type Rule struct {
	// Known says that it was read at all.
	Known bool
	// Enabled is what the router said.
	Enabled bool
	// Seq grows with each reading, and never stands for two readings.
	Seq uint64
}

// Input is everything one cycle may know.
type Input struct {
	// Now is the cycle's instant; it must not be 0 and must grow.
	Now unit.Time
	// RTT is from steering's own probes of the primary.
	RTT link.RTT
	// Autorate is the primary's controller.
	Autorate  Autorate
	Queue     QueueReading
	Alternate Alternate
	Rule      Rule
}

// RuleWish is what the machine wants of the router's rule.
type RuleWish struct {
	// Wanted is the rule's wanted state: true is enabled.
	Wanted bool
	// Write says that the rule must be set to Wanted and read back. It stays true until a reading shows it done:
	// the hand that writes has at most one exchange in flight and spaces failed ones out.
	Write bool
	// Read says that a reading is wanted. Together with Write it means that the outcome of an earlier write is
	// unknown: read first.
	Read bool
}

// Reason is why a cycle was assessed and decided as it was.
type Reason struct {
	// Delay says that the delta's EWMA is over the RED mark.
	Delay bool `json:"delay"`
	// Drops, Queue and Controller are the confirmations: drops and marks per 1 000 packets, the queue's EWMA, and the
	// rate controller that stands on its floor or cuts in vain.
	Drops      Signal `json:"drops"`
	Queue      Signal `json:"queue"`
	Controller Signal `json:"controller"`
	// Red and Green are the consecutive cycles so far, NotRed the measured time since the last RED one.
	Red    int           `json:"red"`
	Green  int           `json:"green"`
	NotRed time.Duration `json:"not_red_ns"`
	// Alternate is the verdict on the other line, AlternateEWMA its delta's average where it has one.
	Alternate     Verdict     `json:"alternate"`
	AlternateEWMA unit.Millis `json:"alternate_ewma_ms"`
	// Score is the confidence mode's, 0 to 100; Threshold is what entering is compared with, the flap brake's
	// penalty included. Both are 0 while that mode is off.
	Score     int `json:"score"`
	Threshold int `json:"threshold"`
}

// Transition is one change of state.
type Transition struct {
	From State `json:"from"`
	To   State `json:"to"`
	// At is the cycle that read the rule back; 0 when it happened in another boot.
	At unit.Time `json:"at"`
	// Why is one clause with its numbers.
	Why string `json:"why"`
}

// Decision is the outcome of a cycle.
type Decision struct {
	Now unit.Time
	// State is the state after the cycle, Name the same with the primary's name: SPECTRUM_GOOD.
	State      State
	Name       string
	Congestion Congestion
	// Measured says that Delta was known in this cycle; Averaged that EWMA ever was; QueueKnown that Drops and Queue
	// come from a reading young enough to vote.
	Measured, Averaged, QueueKnown bool
	// Delta is the round trip over the baseline, at least 0; EWMA its average.
	Delta, EWMA unit.Millis
	// Drops are the packets dropped between the last two readings of the queue, Queue its depth in packets as read,
	// QueueEWMA the depth's average.
	Drops, Queue int64
	QueueEWMA    float64
	// Degraded says that the vote had to do without the queue's statistics.
	Degraded bool
	Rule     RuleWish
	Reason   Reason
	// Transition is not nil in the cycle that changed the state.
	Transition *Transition
	// WouldSteer is the dry run's sentence in the cycle in which the confidence mode would have acted, else empty.
	WouldSteer string
	// Notes are rare; each condition is told when it begins.
	Notes []link.Note
}
