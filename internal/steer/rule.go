package steer

import (
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// rereadAfter is how old the newest reading of the rule may become.
	rereadAfter = time.Minute
	// doubtFor is how long an abandoned write may still arrive at the router, and doubtReread how often the rule is
	// read meanwhile.
	doubtFor    = time.Minute
	doubtReread = 10 * time.Second
	// lateAfter is when a wish that is not carried out is told.
	lateAfter = 30 * time.Second
)

// rule is what the machine knows and wants of the router's rule. Nothing of it outlives the process: at start the
// rule is read and set to the stored state.
type rule struct {
	// wanted is the wish, since when it stands, or was found undone by others, and why.
	wanted bool
	since  unit.Time
	why    string
	// read says that a reading exists: seq, enabled and at are the newest one's.
	read    bool
	seq     uint64
	enabled bool
	at      unit.Time
	// confirmed says that a reading taken after the wish showed it done; begun that this was so once in this process.
	confirmed, begun bool
	// wrote says that a write was asked for and no reading came since; tried that one was asked for since the wish.
	wrote, tried bool
	// doubt is until when a write of an earlier wish may still arrive.
	doubt unit.Time
	// late says that the wish's delay was told, reconciled that the difference found at start was.
	late, reconciled bool
}

// settle takes a new wish.
func (m *Machine) settle(on bool, why string, now unit.Time) {
	r := &m.rule
	if r.tried && !r.confirmed {
		r.doubt = now.Add(doubtFor)
	}
	r.wanted, r.since, r.why = on, now, why
	r.confirmed, r.tried, r.late = false, false, false
	if !on {
		m.mem.Red = 0
		if v := m.cfg.V3; v.Enabled && !v.DryRun {
			m.mem.Confidence.High, m.mem.Confidence.HighFor = false, 0
		}
	}
}

// absorb takes the rule's newest reading. Only here the state changes: when the reading shows the wish done.
func (m *Machine) absorb(in Rule, now unit.Time) *Transition {
	r := &m.rule
	if !in.Known || r.read && in.Seq == r.seq {
		return nil
	}
	r.read, r.seq, r.enabled, r.at, r.wrote = true, in.Seq, in.Enabled, now, false
	if in.Enabled != r.wanted {
		m.tellMismatch(now)
		r.confirmed = false
		return nil
	}
	r.confirmed, r.begun = true, true
	to := Good
	if r.wanted {
		to = Degraded
	}
	if to == m.mem.State {
		return nil
	}
	t := Transition{From: m.mem.State, To: to, At: now, Why: r.why}
	m.mem.State = to
	m.mem.History = append(m.mem.History, t)
	m.trim()
	if to == Degraded {
		m.mem.Green, m.mem.NotRed = 0, 0
	}
	if v := m.cfg.V3; v.Enabled && !v.DryRun {
		if braked := m.mem.Confidence.toggled(v, to == Degraded, now); braked != "" {
			m.note(link.Warning, "flap_brake", "The line flaps: "+braked+".")
		}
	}
	return &t
}

// tellMismatch says who may have set the rule to something else than wanted.
func (m *Machine) tellMismatch(now unit.Time) {
	r := &m.rule
	is := map[bool]string{true: "enabled", false: "disabled"}
	switch {
	case r.confirmed:
		r.since, r.late = now, false
		m.note(link.Warning, "rule_foreign", fmt.Sprintf("Somebody else set the steering rule: it is %s and must be %s "+
			"in state %s; it is corrected.", is[r.enabled], is[r.wanted], m.names[m.mem.State]))
	case !r.begun && !r.tried && !r.reconciled:
		r.reconciled = true
		m.note(link.Info, "rule_reconcile", fmt.Sprintf("The steering rule was found %s at start and must be %s in state %s; "+
			"it is corrected.", is[r.enabled], is[r.wanted], m.names[m.mem.State]))
	case now < r.doubt && !r.tried:
		m.note(link.Info, "rule_late", fmt.Sprintf("An abandoned write reached the router after all: the steering rule is %s "+
			"and is set back.", is[r.enabled]))
	}
}

// wish says what the hand shall do to the rule now.
func (m *Machine) wish(alt alternate, now unit.Time) RuleWish {
	r := &m.rule
	w := RuleWish{Wanted: r.wanted}
	w.Write = r.read && r.enabled != r.wanted && (!r.wanted || alt.bears())
	stale := rereadAfter
	if now < r.doubt {
		stale = doubtReread
	}
	w.Read = !r.read || r.wrote || !w.Write && (!r.confirmed || now.Sub(r.at) >= stale)
	if w.Write {
		r.wrote, r.tried = true, true
	}
	if !r.late && !r.confirmed && r.tried && now.Sub(max(r.since, m.started)) >= lateAfter {
		r.late = true
		m.note(link.Warning, "rule_pending", fmt.Sprintf("The steering rule could not be set and read back for %v; "+
			"it is tried again until it works or the reason is gone.", lateAfter))
	}
	return w
}
