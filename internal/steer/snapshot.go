package steer

import (
	"math"
	"slices"
	"time"

	"wanctl/internal/unit"
)

// maxStreak bounds the streaks that are counted and restored.
const maxStreak = 1_000_000

// Snapshot is everything the machine remembers, for the state file. All instants are of the boot it was taken in.
type Snapshot struct {
	// At is the last cycle's instant.
	At    unit.Time `json:"at"`
	State State     `json:"state"`
	// Target is the alternate that the state DEGRADED sends connections to; empty is the first. Since is when the state
	// changed, or was first seen.
	Target string    `json:"target,omitempty"`
	Since  unit.Time `json:"since"`
	// Delta and Queue are the averages of the delta in ms and of the queue's depth in packets.
	Delta Average `json:"delta"`
	Queue Average `json:"queue"`
	// Red and Green are the streaks, NotRed the measured time since the last RED.
	Red    int           `json:"red"`
	Green  int           `json:"green"`
	NotRed time.Duration `json:"not_red_ns"`
	// RedSince is when the row of RED began; 0 when there is none.
	RedSince unit.Time `json:"red_since"`
	// Blind is since when neither line was measured; 0 when one is.
	Blind unit.Time `json:"blind"`
	// Answered is when steering's own probes of the primary were answered last.
	Answered unit.Time `json:"answered"`
	// Measured says that the last cycle's delta was known.
	Measured bool    `json:"measured"`
	Reading  Reading `json:"reading"`
	// The places of the local signals over their marks.
	DropsOver   Mark          `json:"drops_over"`
	QueueRed    Mark          `json:"queue_red"`
	QueueYellow Mark          `json:"queue_yellow"`
	DelayOver   Mark          `json:"delay_over"`
	LossOver    Mark          `json:"loss_over"`
	Controller  ControllerRun `json:"controller"`
	// QueueDelay is what the queue said it adds, where HasDelay; LossPPM the share of our own probes that nobody answered.
	HasDelay   bool        `json:"has_delay"`
	QueueDelay unit.Millis `json:"queue_delay_ms"`
	LossPPM    unit.PPM    `json:"loss_ppm"`
	// Alternates are the memories of the other lines, in the order of the configuration.
	Alternates []AlternateMemory `json:"alternates,omitempty"`
	Confidence Confidence        `json:"confidence"`
	// Flap is the vote's brake. CapTold says that the longest time steered was told, Rest that it ended the steering and the
	// primary was not well since.
	Flap    Brake `json:"flap"`
	CapTold bool  `json:"cap_told"`
	Rest    bool  `json:"rest"`
	// History holds the last transitions, oldest first, at most state.history_size.
	History []Transition `json:"history,omitempty"`
}

// Snapshot returns a copy of the machine's memory. A wish that is not carried out yet is not part of it: the next
// process reads the rule and sets it to State.
func (m *Machine) Snapshot() Snapshot {
	s := m.mem.clone()
	s.Measured = m.measured
	return s
}

func (s Snapshot) clone() Snapshot {
	s.Alternates = slices.Clone(s.Alternates)
	for i := range s.Alternates {
		s.Alternates[i].Minima = slices.Clone(s.Alternates[i].Minima)
	}
	s.Flap.Toggles = slices.Clone(s.Flap.Toggles)
	s.Confidence.Drops = slices.Clone(s.Confidence.Drops)
	s.Confidence.Toggles = slices.Clone(s.Confidence.Toggles)
	s.History = slices.Clone(s.History)
	return s
}

// Restore puts a stored memory in place of the machine's. Numbers that cannot be are discarded one by one; the rule is
// wanted as the stored state says and is read before anything else.
func (m *Machine) Restore(s Snapshot) {
	m.mem = s.clone().checked()
	m.bind()
	m.measured = m.mem.Measured
	m.started = 0
	m.rules = rules{wanted: m.target(), why: "as stored", one: make([]rule, len(m.cfg.Alternates))}
	if m.mem.State == Degraded && m.rules.wanted == None {
		m.orphan = m.mem.Target
		m.mem.State, m.mem.Target, m.mem.Since = Good, "", 0
	}
	if n := len(m.mem.History); n > 0 {
		m.rules.why = m.mem.History[n-1].Why
		if m.mem.Since == 0 && m.mem.History[n-1].To == m.mem.State {
			m.mem.Since = m.mem.History[n-1].At
		}
	}
	if v := m.cfg.V3; v.Enabled && !v.DryRun {
		m.mem.Confidence.Steered = m.mem.State == Degraded
	}
	m.trim()
}

// trim bounds the lists by the configuration in force.
func (m *Machine) trim() {
	if n := len(m.mem.History) - m.cfg.HistorySize; n > 0 {
		m.mem.History = append(m.mem.History[:0], m.mem.History[n:]...)
	}
	if n := len(m.mem.Flap.Toggles) - (m.cfg.Flap.MaxToggles + 1); n > 0 {
		m.mem.Flap.Toggles = append(m.mem.Flap.Toggles[:0], m.mem.Flap.Toggles[n:]...)
	}
	if n := len(m.mem.Confidence.Toggles) - (m.cfg.V3.Flap.MaxToggles + 1); n > 0 {
		m.mem.Confidence.Toggles = append(m.mem.Confidence.Toggles[:0], m.mem.Confidence.Toggles[n:]...)
	}
}

// afterBreak forgets what a pause makes meaningless: averages, streaks and whatever must last without a break.
func (s Snapshot) afterBreak() Snapshot {
	out := Snapshot{
		At: s.At, State: s.State, Target: s.Target, Since: s.Since, Answered: s.Answered, History: s.History,
		Confidence: Confidence{
			Steered: s.Confidence.Steered, Since: s.Confidence.Since, Target: s.Confidence.Target, Brake: s.Confidence.Brake,
		},
		Flap: s.Flap, CapTold: s.CapTold, Rest: s.Rest,
	}
	for _, a := range s.Alternates {
		a.Delta = Average{}
		out.Alternates = append(out.Alternates, a)
	}
	return out
}

// OtherBoot returns what is left of a snapshot whose instants belong to another boot of the host: the state and the
// history, its instants set to 0.
func (s Snapshot) OtherBoot() Snapshot {
	out := Snapshot{
		State: s.State, Target: s.Target, Rest: s.Rest, History: slices.Clone(s.History),
		Confidence: Confidence{Steered: s.Confidence.Steered, Target: s.Confidence.Target},
	}
	for i := range out.History {
		out.History[i].At = 0
	}
	for _, a := range s.Alternates {
		out.Alternates = append(out.Alternates, AlternateMemory{Name: a.Name})
	}
	return out
}

// checked replaces every figure that no machine could have stored by nothing.
func (s Snapshot) checked() Snapshot {
	if s.State > Degraded {
		s.State = Good
	}
	if s.At < 0 {
		s = s.OtherBoot()
	}
	if s.State == Good {
		s.Target, s.CapTold = "", false
	}
	for i := range s.Alternates {
		s.Alternates[i].check(s.At)
	}
	for _, v := range []*Average{&s.Delta, &s.Queue} {
		if !v.Set || !(v.Value >= 0) || math.IsInf(v.Value, 0) {
			*v = Average{}
		}
	}
	for _, n := range []*int{&s.Red, &s.Green, &s.Confidence.SoftRed, &s.Confidence.Pressure} {
		if *n < 0 || *n > maxStreak {
			*n = 0
		}
	}
	for _, d := range []*time.Duration{&s.NotRed, &s.Confidence.HighFor, &s.Confidence.LowFor} {
		if *d < 0 || *d > maxTimer {
			*d = 0
		}
	}
	for _, t := range []*unit.Time{&s.Blind, &s.Answered, &s.Since, &s.RedSince, &s.Controller.Since, &s.Confidence.Since} {
		if *t < 0 || *t > s.At {
			*t = 0
		}
	}
	for _, k := range []*Mark{&s.DropsOver, &s.QueueRed, &s.QueueYellow, &s.DelayOver, &s.LossOver} {
		if !k.Over || k.Since <= 0 || k.Since > s.At {
			*k = Mark{}
		}
	}
	if r := s.Reading; r.At < 0 || r.At > s.At || min(r.Packets, r.Dropped, r.Marked, r.Depth) < 0 ||
		min(r.NewPackets, r.NewDropped, r.NewMarked) < 0 {
		s.Reading = Reading{}
	}
	if p := s.Controller.Peak; !(p >= 0) || math.IsInf(p, 0) {
		s.Controller = ControllerRun{}
	}
	for _, p := range []*unit.Time{&s.Confidence.Penalty, &s.Flap.Penalty} {
		if *p < 0 || *p > s.At.Add(maxTimer) {
			*p = 0
		}
	}
	if d := s.QueueDelay; d != 0 && !positive(d) {
		s.HasDelay, s.QueueDelay = false, 0
	}
	if s.LossPPM < 0 || s.LossPPM > unit.One {
		s.LossPPM = 0
	}
	s.checkLists()
	return s
}

// checkLists drops the entries of the bounded lists that no machine could have stored.
func (s *Snapshot) checkLists() {
	late := func(t unit.Time) bool { return t < 0 || t > s.At }
	s.Flap.Toggles = slices.DeleteFunc(s.Flap.Toggles, late)
	slices.Sort(s.Flap.Toggles)
	s.Confidence.Drops = slices.DeleteFunc(s.Confidence.Drops, func(d float64) bool { return !(d >= 0) || math.IsInf(d, 0) })
	if n := len(s.Confidence.Drops) - 3; n > 0 {
		s.Confidence.Drops = s.Confidence.Drops[n:]
	}
	s.Confidence.Toggles = slices.DeleteFunc(s.Confidence.Toggles, late)
	slices.Sort(s.Confidence.Toggles)
	s.History = slices.DeleteFunc(s.History, func(t Transition) bool {
		return late(t.At) || t.From > Degraded || t.To > Degraded || t.From == t.To
	})
}

// check drops what no machine could have stored by the instant at.
func (a *AlternateMemory) check(at unit.Time) {
	late := func(t unit.Time) bool { return t < 0 || t > at }
	if v := &a.Delta; !v.Set || !(v.Value >= 0) || math.IsInf(v.Value, 0) {
		*v = Average{}
	}
	if late(a.At) {
		a.At = 0
	}
	if a.Herd.Count < 0 || a.Herd.Count > maxStreak || a.Herd.Until < 0 || a.Herd.Until > at.Add(maxTimer) {
		a.Herd = HerdMemory{}
	}
	a.Minima = slices.DeleteFunc(a.Minima, func(b Minimum) bool { return late(b.From) || !positive(unit.Millis(b.RTT)) })
	slices.SortStableFunc(a.Minima, func(a, b Minimum) int { return int(min(1, max(-1, a.From-b.From))) })
	if n := len(a.Minima) - int(minimumWindow/minimumBucket) - 1; n > 0 {
		a.Minima = a.Minima[n:]
	}
}
