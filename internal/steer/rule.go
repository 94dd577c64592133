package steer

import (
	"fmt"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// rereadAfter is how old the newest reading of a rule may become.
	rereadAfter = time.Minute
	// doubtFor is how long an abandoned write may still arrive at the router, and doubtReread how often the rule is
	// read meanwhile.
	doubtFor    = time.Minute
	doubtReread = 10 * time.Second
	// lateAfter is when a wish that is not carried out is told.
	lateAfter = 30 * time.Second
)

// rules is what the machine knows and wants of the router's rules, of which at most one shall be enabled. Nothing of it
// outlives the process: at start the rules are read and set to the stored state.
type rules struct {
	// wanted is the place of the rule that shall be enabled, None for none; since when, or since when it was found undone by
	// others, and why, with the whole account.
	wanted  int
	since   unit.Time
	why     string
	account *Account
	// late says that the wish's delay was told.
	late bool
	one  []rule
}

// rule is one of them.
type rule struct {
	// read says that a reading exists: seq, enabled and at are the newest one's; barred that it cannot be enabled.
	read    bool
	seq     uint64
	enabled bool
	barred  bool
	at      unit.Time
	// confirmed says that a reading taken after the wish showed it done; begun that this was so once in this process.
	confirmed, begun bool
	// wrote says that a write was asked for and no reading came since; tried that one was asked for since the wish.
	wrote, tried bool
	// doubt is until when a write of an earlier wish may still arrive.
	doubt unit.Time
	// reconciled says that the difference found at start was told.
	reconciled bool
}

// off reports whether the rule is known to be disabled, with nothing on its way that could change that.
func (r *rule) off(now unit.Time) bool { return r.read && !r.enabled && !r.wrote && now >= r.doubt }

// rebase brings the instants of a clock that was set back to now: every rule is read anew.
func (rs *rules) rebase(now unit.Time) {
	rs.since = min(rs.since, now)
	for i := range rs.one {
		rs.one[i].at, rs.one[i].confirmed, rs.one[i].doubt = now, false, min(rs.one[i].doubt, now.Add(doubtFor))
	}
}

// Reread forgets what was read of the rules: another hand switches them from now on. They are read before anything is
// written; state and wish stay.
func (m *Machine) Reread() {
	for i := range m.rules.one {
		m.rules.one[i].read = false
	}
}

// settle takes a new wish.
func (m *Machine) settle(to int, why string, k cycle) {
	rs := &m.rules
	target := to
	if to == None {
		target = rs.wanted
	}
	rs.account = m.account(k, target, why)
	for i := range rs.one {
		r := &rs.one[i]
		if r.tried && !r.confirmed {
			r.doubt = k.now.Add(doubtFor)
		}
		r.confirmed, r.tried = false, false
	}
	if to == None {
		m.mem.Red, m.mem.RedSince = 0, 0
		if v := m.cfg.V3; v.Enabled && !v.DryRun {
			m.mem.Confidence.High, m.mem.Confidence.HighFor = false, 0
		}
	}
	rs.wanted, rs.since, rs.why, rs.late = to, k.now, why, false
}

// absorb takes the rules' newest readings. Only here the state changes: when the readings show the wish done.
func (m *Machine) absorb(in Input) (*Transition, *Account) {
	rs := &m.rules
	for i := range rs.one {
		_, read := in.at(i)
		m.take(i, read, in.Now)
	}
	to, target := Good, m.target()
	if rs.wanted != None {
		to, target = Degraded, rs.wanted
	}
	if to == m.mem.State || target == None || !m.done(target, in.Now) {
		return nil, nil
	}
	t := Transition{From: m.mem.State, To: to, Target: m.cfg.Alternates[target].Name, At: in.Now, Why: rs.why}
	var a Account // of a wish of an earlier process nothing more is known
	if rs.account != nil {
		a = *rs.account
	}
	a.Transition, a.Lasted = t, m.lasted(in.Now)
	m.mem.State, m.mem.Target, m.mem.Since, m.mem.CapTold = to, "", in.Now, false
	m.mem.History = append(m.mem.History, t)
	m.trim()
	if to == Degraded {
		m.mem.Target = t.Target
		m.mem.Green, m.mem.NotRed = 0, 0
	}
	m.toggled(to, in.Now)
	return &t, &a
}

// done says that the readings show the wish done: the target's rule was read as wanted after the wish, and no other one is
// enabled. Coming home must not wait for a rule that cannot be read; going away does.
func (m *Machine) done(target int, now unit.Time) bool {
	for i := range m.rules.one {
		r := &m.rules.one[i]
		switch {
		case i == target && !r.confirmed, i != target && r.read && r.enabled:
			return false
		case i != target && m.rules.wanted != None && !r.off(now):
			return false
		}
	}
	return true
}

// lasted is for how long the state has lasted, 0 when that is not known.
func (m *Machine) lasted(now unit.Time) time.Duration {
	if m.mem.Since == 0 {
		return 0
	}
	return now.Sub(m.mem.Since)
}

// take takes one rule's reading.
func (m *Machine) take(i int, in Rule, now unit.Time) {
	r := &m.rules.one[i]
	if !in.Known || r.read && in.Seq == r.seq {
		return
	}
	r.read, r.seq, r.enabled, r.barred, r.at, r.wrote = true, in.Seq, in.Enabled, in.Barred, now, false
	if in.Enabled != (m.rules.wanted == i) {
		m.tellMismatch(i, now)
		r.confirmed = false
		return
	}
	r.confirmed, r.begun = true, true
}

// toggled tells the brakes of a change of state.
func (m *Machine) toggled(to State, now unit.Time) {
	if f := m.cfg.Flap; !f.Enabled {
		m.mem.Flap.Toggles = nil
	} else if m.mem.Flap.toggled(f.Window, f.MaxToggles, f.PenaltyFor, now) {
		m.note(link.Warning, "flap_brake", fmt.Sprintf("The line flaps: more than %d changes of state within %v: for %v steering needs %d RED, "+
			"and margins times %d.", f.MaxToggles, f.Window, f.PenaltyFor, m.need(now), f.MarginFactor))
	}
	if v := m.cfg.V3; v.Enabled && !v.DryRun {
		m.mem.Confidence.Target = m.mem.Target
		if braked := m.mem.Confidence.toggled(v, to == Degraded, now); braked != "" {
			m.note(link.Warning, "flap_brake", "The line flaps: "+braked+".")
		}
	}
}

// ruleName is what a rule is called in notes.
func (m *Machine) ruleName(i int) string {
	if len(m.cfg.Alternates) == 1 {
		return "the steering rule"
	}
	return "the steering rule to " + m.alternateName(i)
}

// tellMismatch says who may have set a rule to something else than wanted.
func (m *Machine) tellMismatch(i int, now unit.Time) {
	r := &m.rules.one[i]
	is := map[bool]string{true: "enabled", false: "disabled"}
	name, must := m.ruleName(i), m.rules.wanted == i
	switch {
	case r.confirmed:
		m.rules.since, m.rules.late = now, false
		m.note(link.Warning, "rule_foreign", fmt.Sprintf("Somebody else set %s: it is %s and must be %s "+
			"in state %s; it is corrected.", name, is[r.enabled], is[must], m.names[m.mem.State]))
	case !r.begun && !r.tried && !r.reconciled:
		r.reconciled = true
		m.note(link.Info, "rule_reconcile", fmt.Sprintf("%s was found %s at start and must be %s in state %s; "+
			"it is corrected.", strings.ToUpper(name[:1])+name[1:], is[r.enabled], is[must], m.names[m.mem.State]))
	case now < r.doubt && !r.tried:
		m.note(link.Info, "rule_late", fmt.Sprintf("An abandoned write reached the router after all: %s is %s "+
			"and is set back.", name, is[r.enabled]))
	}
}

// wish says what the hand shall do to the rules now.
func (m *Machine) wish(alts []alternate, now unit.Time) []RuleWish {
	rs := &m.rules
	all := make([]RuleWish, len(rs.one))
	for i := range rs.one {
		r := &rs.one[i]
		want := rs.wanted == i
		w := RuleWish{Wanted: want}
		w.Write = r.read && r.enabled != want && (!want || alts[i].bears() && m.othersOff(i, now))
		stale := rereadAfter
		if now < r.doubt {
			stale = doubtReread
		}
		w.Read = !r.read || r.wrote || !w.Write && (!r.confirmed || now.Sub(r.at) >= stale)
		if w.Write {
			r.wrote, r.tried = true, true
		}
		if !r.confirmed && r.tried && !rs.late && now.Sub(max(rs.since, m.started)) >= lateAfter {
			rs.late = true
			m.note(link.Warning, "rule_pending", fmt.Sprintf("%s could not be set and read back for %v; "+
				"it is tried again until it works or the reason is gone.", strings.ToUpper(m.ruleName(i)[:1])+m.ruleName(i)[1:], lateAfter))
		}
		all[i] = w
	}
	return all
}

// othersOff reports whether all rules but one are known to be disabled.
func (m *Machine) othersOff(i int, now unit.Time) bool {
	for j := range m.rules.one {
		if j != i && !m.rules.one[j].off(now) {
			return false
		}
	}
	return true
}
