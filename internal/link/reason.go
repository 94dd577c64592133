package link

import (
	"fmt"
	"time"

	"wanctl/internal/unit"
)

// Cause is why a direction's rate is what it is: a small closed list, for logs, metrics and tests.
type Cause uint8

// The causes.
const (
	// CauseStart is the rate a controller starts with.
	CauseStart Cause = iota
	// CauseNoReply skipped the cycle: no reflector answered within the window.
	CauseNoReply
	// CauseHold keeps the rate: the state asks for neither more nor less.
	CauseHold
	// CauseCut lowered the rate: RED, or a configured YELLOW decay.
	CauseCut
	// CauseCutWait would have cut, but the last cut is younger than cut_interval_ms.
	CauseCutWait
	// CauseClamp lowered the rate to the SOFT_RED floor.
	CauseClamp
	// CauseRaise raised the rate by a step.
	CauseRaise
	// CauseFloor lifted the rate to the state's floor, or a cut stopped there.
	CauseFloor
	// CauseCeiling holds the rate at the configured ceiling.
	CauseCeiling
	// CauseDip lowered the rate for a moment to learn whether the delay is the path's own.
	CauseDip
	// CauseCapacity set the rate to what was measured, after a queue was gone.
	CauseCapacity
	// CauseBlackout left the rate as it is: nothing comes through the line at all.
	CauseBlackout
	// CauseUnremovable gave the rate back: the delay does not fall when it is cut.
	CauseUnremovable
	// CauseUsual raised the rate of an idle line toward what it carries at this time of day.
	CauseUsual
	// CauseFollow bounds the rate by what is delivered: the probes do not feel what data feels.
	CauseFollow
)

var causeNames = [...]string{
	CauseStart: "start", CauseNoReply: "no_reply", CauseHold: "hold", CauseCut: "cut", CauseCutWait: "cut_wait",
	CauseClamp: "clamp", CauseRaise: "raise", CauseFloor: "floor", CauseCeiling: "ceiling", CauseDip: "dip", CauseCapacity: "capacity", CauseBlackout: "blackout", CauseUnremovable: "unremovable",
	CauseUsual: "usual", CauseFollow: "follow",
}

// String returns the cause's name in logs, files and metrics.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// MarshalText writes the cause's name.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a cause's name.
func (c *Cause) UnmarshalText(b []byte) error {
	for i, n := range causeNames {
		if n == string(b) {
			*c = Cause(i)
			return nil
		}
	}
	return fmt.Errorf("unknown cause %q", b)
}

// Reason is a cause with its numbers: why one direction's rate moved, or did not.
type Reason struct {
	Cause Cause `json:"cause"`
	// From and To are the rate before and after the cycle.
	From unit.Rate `json:"from"`
	To   unit.Rate `json:"to"`
}

// Level is how urgent a note is.
type Level uint8

// The levels.
const (
	Info Level = iota
	Warning
	Alert
)

// String returns the level's name.
func (l Level) String() string {
	switch l {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Alert:
		return "alert"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Note is a rare event that a person should read, as data: the judgement has no log, so it hands notes up.
type Note struct {
	Level Level
	// Key is stable and short ("baseline_moved", "foreign_writer"): for tests, metrics and rate limiting.
	Key string
	// Text is one complete sentence with its numbers and, for a problem, what to do.
	Text string
}

// Decision is what a line's controller wants after a cycle. The same value becomes log line, metric, terminal row
// and journal record.
type Decision struct {
	Now unit.Time
	// Measured is false when the cycle was skipped because no reflector answered; the rest is then unchanged.
	Measured bool
	// RTT is the cycle's sample; Load and Baseline the two averages after it; Delta is Load - Baseline.
	RTT, Load, Baseline, Delta unit.Millis
	State                      Pair[State]
	// Rates is what the router shall shape to now.
	Rates  Rates
	Reason Pair[Reason]
	// Notes are rare; the slice is valid until the next Step.
	Notes []Note
}

// Feed is a controller's public snapshot of one cycle, which steering reads.
type Feed struct {
	WAN string
	// Seq counts cycles since the controller started; At is the cycle's instant and Period its length.
	Seq    uint64
	At     unit.Time
	Period time.Duration
	// Measured is false while no reflector answers; AnsweredAt is when the newest reply arrived.
	Measured   bool
	AnsweredAt unit.Time
	// RTT, Load, Baseline and Delta are the line's as connections feel it: Load and Delta with the part that no rate takes
	// away, which a decision's leave out.
	RTT, Load, Baseline, Delta unit.Millis
	State                      Pair[State]
	Rates                      Rates
	// DownAtFloor says that the download rate stands on the lowest floor.
	DownAtFloor bool
	// Vain says that Delta is over the warn threshold under a controller that answers a queue within a second: where it
	// stays so, cutting does not help, or there is nothing to cut.
	Vain bool
	// DownCuts counts the cuts of the download since start.
	DownCuts uint64
	// Warn is the download's warn threshold.
	Warn unit.Millis
	// Carried is what the line carried lately; unknown while its counters are.
	Carried Load
}
