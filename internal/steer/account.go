package steer

import (
	"fmt"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// Account is a transition with everything that was known when it was decided.
type Account struct {
	Transition
	// Decided is the cycle that decided; At, later, is the one that read the rule back. Lasted is for how long the state before
	// had lasted, 0 when that is not known.
	Decided unit.Time     `json:"decided_ns"`
	Lasted  time.Duration `json:"lasted_ns"`
	// Congestion and the following are the decision's.
	Congestion Congestion    `json:"congestion"`
	Votes      []VoteRecord  `json:"votes,omitempty"`
	Red        int           `json:"red"`
	Green      int           `json:"green"`
	NotRed     time.Duration `json:"not_red_ns"`
	Need       int           `json:"need"`
	// Score and Threshold are the confidence mode's, both 0 while it is off.
	Score     int `json:"score"`
	Threshold int `json:"threshold"`
	// Alternates are the verdicts on all other lines, Lacks why each that was refused was.
	Alternates []View   `json:"alternates,omitempty"`
	Lacks      []string `json:"lacks,omitempty"`
	Brakes     []string `json:"brakes,omitempty"`
}

// VoteRecord is what one signal said, with its figure.
type VoteRecord struct {
	Name string `json:"name"`
	Says Signal `json:"says"`
	// Value is the figure and Mark what it is compared with, in Unit. Both are 0 for a signal without a figure.
	Value float64 `json:"value"`
	Mark  float64 `json:"mark"`
	Unit  string  `json:"unit,omitempty"`
}

// String is the vote in words: "queue over (80 packets, mark 50)".
func (v VoteRecord) String() string {
	if v.Unit == "" || v.Says == Missing {
		return v.Name + " " + v.Says.String()
	}
	return fmt.Sprintf("%s %s (%.4g %s, mark %.4g)", v.Name, v.Says, v.Value, v.Unit, v.Mark)
}

// String is the alternate in words: "ATT better (delta 2.0ms, 10% loaded, 80M free)".
func (v View) String() string {
	name := v.Name
	if name == "" {
		name = "the alternate"
	}
	delta := "not measured"
	if v.Measured {
		delta = "delta " + v.EWMA.String()
	}
	return fmt.Sprintf("%s %s (%s, %s)", name, strings.ReplaceAll(v.Verdict.String(), "_", " "), delta, v.Room)
}

// String is the room in words.
func (r Room) String() string {
	if !r.Known {
		return "room unknown"
	}
	return fmt.Sprintf("%.0f%% loaded, %v free", r.Load.Factor()*100, r.Free)
}

// Text is the account as one paragraph, without its time.
func (a Account) Text() string {
	var b strings.Builder
	to := ""
	if a.Target != "" {
		to = map[bool]string{true: " to ", false: " from "}[a.To == Degraded] + a.Target
	}
	fmt.Fprintf(&b, "%s → %s%s: %s.", a.From, a.To, to, a.Why)
	if a.Lasted > 0 {
		fmt.Fprintf(&b, " %s had lasted %v.", a.From, a.Lasted.Round(time.Second))
	}
	if a.Decided != 0 && a.At != 0 {
		fmt.Fprintf(&b, " Decided %v before the rule was read back,", a.At.Sub(a.Decided).Round(time.Millisecond))
		fmt.Fprintf(&b, " at %s after %d RED of %d, %d GREEN, %v without RED.", a.Congestion, a.Red, a.Need, a.Green, a.NotRed.Round(time.Second))
	}
	if a.Threshold > 0 {
		fmt.Fprintf(&b, " Score %d of %d.", a.Score, a.Threshold)
	}
	list := func(what string, all []string) {
		if len(all) > 0 {
			fmt.Fprintf(&b, " %s: %s.", what, strings.Join(all, "; "))
		}
	}
	var votes, lines []string
	for _, v := range a.Votes {
		votes = append(votes, v.String())
	}
	for _, v := range a.Alternates {
		lines = append(lines, v.String())
	}
	list("Votes", votes)
	list("Alternates", lines)
	list("Refused", a.Lacks)
	list("Brakes", a.Brakes)
	return b.String()
}

// account gathers what is known when a wish is made; to is the alternate it is about.
func (m *Machine) account(k cycle, to int, why string) *Account {
	a := &Account{
		Decided: k.now, Congestion: k.c, Votes: m.votes(k), Red: m.mem.Red, Green: m.mem.Green, NotRed: m.mem.NotRed, Need: m.need(k.now),
		Score: k.why.Score, Threshold: k.why.Threshold, Brakes: m.brakes(k),
	}
	a.Why = why
	for i, v := range k.alts {
		a.Alternates = append(a.Alternates, v.view)
		if i != to && !v.admits() {
			a.Lacks = append(a.Lacks, m.lacks(i, v, k.now))
		}
	}
	return a
}

// votes records what every signal said in a cycle.
func (m *Machine) votes(k cycle) []VoteRecord {
	t, r := m.cfg.Thresholds, &m.mem.Reading
	delay := Quiet
	switch {
	case !k.c.measured():
		delay = Missing
	case k.why.Delay:
		delay = Over
	}
	if !m.cfg.CakeAware {
		return []VoteRecord{{"delay", delay, m.mem.Delta.Value, float64(m.cfg.RTTOnly.Bad), "ms"}}
	}
	all := []VoteRecord{{"delay", delay, m.mem.Delta.Value, float64(t.RedRTT), "ms"}}
	f := m.cfg.Confirm
	if f.Drops {
		perMille := 0.0
		if r.NewPackets > 0 {
			perMille = m.lostNew() * 1000 / float64(r.NewPackets)
		}
		all = append(all, VoteRecord{"drops", k.why.Drops, perMille, t.MinDropsRed, "per 1000 packets"})
	}
	if f.Queue {
		all = append(all, VoteRecord{"queue", k.why.Queue, m.mem.Queue.Value, t.MinQueueRed, "packets"})
	}
	if f.Controller {
		all = append(all, VoteRecord{Name: "controller", Says: k.why.Controller})
	}
	if f.QueueDelay > 0 {
		all = append(all, VoteRecord{"queue delay", k.why.QueueDelay, float64(m.mem.QueueDelay), float64(f.QueueDelay), "ms"})
	}
	if f.Loss > 0 {
		all = append(all, VoteRecord{"loss", k.why.Loss, m.mem.LossPPM.Factor() * 100, f.Loss.Factor() * 100, "%"})
	}
	return all
}
