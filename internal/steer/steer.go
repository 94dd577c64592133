// Package steer decides which of several lines carries the new latency-sensitive connections of a house.
package steer

import (
	"fmt"
	"slices"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// State is where new latency-sensitive connections go.
type State uint8

// None is the place of no alternate.
const None = -1

// The two states.
const (
	// Good leaves everything on the primary: the rule is disabled.
	Good State = iota
	// Degraded sends new latency-sensitive connections to an alternate: its rule is enabled.
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

// UnmarshalText reads an assessment's word.
func (c *Congestion) UnmarshalText(b []byte) error {
	return readWord(c, congestionNames[:], "assessment", b)
}

// readWord reads one of a type's words.
func readWord[T ~uint8](to *T, words []string, what string, b []byte) error {
	i := slices.Index(words, string(b))
	if i < 0 {
		return fmt.Errorf("unknown %s %q", what, b)
	}
	*to = T(i)
	return nil
}

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

// UnmarshalText reads a signal's word.
func (s *Signal) UnmarshalText(b []byte) error { return readWord(s, signalNames[:], "signal", b) }

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
	// NoRoom means that it carries too much already.
	NoRoom
	// BackOff means that it degraded lately because connections had moved there, and is left alone for a while.
	BackOff
	// Barred means that its rule cannot be switched.
	Barred
)

var verdictNames = [...]string{
	NotChecked: "not_checked", Better: "better", Silent: "silent", NoBaseline: "no_baseline",
	Congested: "congested", NoMargin: "no_margin", NoRoom: "no_room", BackOff: "back_off", Barred: "barred",
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

// UnmarshalText reads a verdict's word.
func (v *Verdict) UnmarshalText(b []byte) error { return readWord(v, verdictNames[:], "verdict", b) }

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

// Loss is what became of the newest of steering's own probes of the primary that have had time to be answered.
type Loss struct {
	// Known says that the two figures are; Probes is how many left, Lost how many of them nobody answered.
	Known        bool
	Probes, Lost int
}

// Alternate is what is known of another line.
type Alternate struct {
	// RTT is from steering's own probes through the alternate.
	RTT link.RTT
	// Autorate is the alternate's own controller, where it has one.
	Autorate Autorate
}

// Rule is the newest read-back of one of the router's rules.
type Rule struct {
	// Known says that it was read at all.
	Known bool
	// Barred says that it is not there, or must not be enabled as it stands; Enabled is then false.
	Barred bool
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
	// Loss is of the same probes.
	Loss Loss
	// Autorate is the primary's controller.
	Autorate Autorate
	Queue    QueueReading
	// Alternates and their Rules are in the order of Config.Alternates; of one that is missing nothing is known.
	Alternates []Alternate
	Rules      []Rule
}

// at returns what is known of an alternate, and its rule.
func (in Input) at(i int) (a Alternate, r Rule) {
	if i < len(in.Alternates) {
		a = in.Alternates[i]
	}
	if i < len(in.Rules) {
		r = in.Rules[i]
	}
	return a, r
}

// RuleWish is what the machine wants of one of the router's rules. The wishes of a cycle never ask for two enabled rules: one
// is to be enabled only after all others were read as disabled.
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
	// QueueDelay and Loss confirm where the configuration says so: the delay that the queue itself adds, and the share of
	// steering's own probes that nobody answered.
	QueueDelay Signal `json:"queue_delay"`
	Loss       Signal `json:"loss"`
	// Red and Green are the consecutive cycles so far, NotRed the measured time since the last RED one. Need is how many RED
	// entering takes now, the flap brake included.
	Red    int           `json:"red"`
	Green  int           `json:"green"`
	NotRed time.Duration `json:"not_red_ns"`
	Need   int           `json:"need"`
	// Alternates are the verdicts on the other lines, in the order of Config.Alternates.
	Alternates []View `json:"alternates"`
	// Brakes are what holds steering back, or keeps it, beyond the vote; each is one clause.
	Brakes []string `json:"brakes,omitempty"`
	// Score is the confidence mode's, 0 to 100; Threshold is what entering is compared with, the flap brake's
	// penalty included. Both are 0 while that mode is off.
	Score     int `json:"score"`
	Threshold int `json:"threshold"`
}

// View is what one cycle saw of an alternate.
type View struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Measured says that EWMA, its delta's average, is known.
	Measured bool        `json:"measured"`
	EWMA     unit.Millis `json:"delta_ewma_ms"`
	Room     Room        `json:"room"`
}

// Room is what a line has left, by its feed.
type Room struct {
	// Known says that the feed is fresh and tells rate and load.
	Known bool `json:"known"`
	// Load is the share of its rate that the fuller direction carries, Free what the narrower one has left.
	Load unit.PPM  `json:"load_ppm"`
	Free unit.Rate `json:"free_bps"`
}

// Transition is one change of state.
type Transition struct {
	From State `json:"from"`
	To   State `json:"to"`
	// Target is the alternate that connections moved to, or came home from; empty where it has no name.
	Target string `json:"target,omitempty"`
	// At is the cycle that read the rule back; 0 when it happened in another boot.
	At unit.Time `json:"at"`
	// Why is one clause with its numbers.
	Why string `json:"why"`
}

// Decision is the outcome of a cycle.
type Decision struct {
	Now unit.Time
	// State is the state after the cycle, Name the same with the primary's name: SPECTRUM_GOOD.
	State State
	Name  string
	// Target is the place of the alternate that the state Degraded sends connections to, else [None]. To is its name, where
	// there are several.
	Target     int
	To         string
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
	// Rules are the wishes for the alternates' rules, in the order of Config.Alternates; Wanted is the place of the one that
	// shall be enabled, [None] for none.
	Rules  []RuleWish
	Wanted int
	Reason Reason
	// Transition is not nil in the cycle that changed the state, and Account tells all of it.
	Transition *Transition
	Account    *Account
	// Intent is not nil in the cycle that made a wish: its account so far.
	Intent *Account
	// WouldSteer is the dry run's sentence in the cycle in which the confidence mode would have acted, else empty.
	WouldSteer string
	// Notes are rare; each condition is told when it begins.
	Notes []link.Note
}
