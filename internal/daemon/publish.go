package daemon

import (
	"fmt"
	"os"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/health"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// publish makes the newest status readable from other goroutines.
func (a *Autorate) publish(now unit.Time) {
	w := a.wan
	d, act := w.last, w.out.Status
	s := &WANStatus{
		State: d.State, Policy: a.cfg.Policy, Tracking: w.tracking(now), Measured: d.Measured, AgeS: ageSeconds(now, w.answeredAt),
		RTT: d.RTT, Load: d.Load, Baseline: d.Baseline, Delta: d.Delta,
		Decided: d.Rates, Applied: w.wrote, ReadBack: w.out.Applied, Reason: d.Reason,
		Router: fmt.Sprint(a.router), Link: act.Link.String(), Writes: act.Writes24h, DryRun: act.DryRun,
		Hour: w.shares.since(now, time.Hour), Day: w.shares.since(now, 24*time.Hour), Ever: sharesOf(w.shares.total),
	}
	s.Ours, s.Owner = a.owner.ours()
	for _, d := range []link.Direction{link.Down, link.Up} {
		if s.Applied.Get(d) == 0 { // nothing had to be written yet
			s.Applied.Set(d, s.ReadBack.Get(d))
		}
	}
	s.ReadAgeS = ageSeconds(now, w.out.AppliedAt)
	if w.report.At != 0 {
		queues := w.report.Pair
		s.Queues = &queues
	}
	if act.LastError != "" {
		s.LastErr = fmt.Sprintf("%s ago: %s", now.Sub(act.LastErrorAt).Round(time.Second), act.LastError)
	}
	if w.load.Known {
		s.Carried = &link.Rates{Down: w.load.Down, Up: w.load.Up}
	}
	for _, f := range w.findings {
		s.Findings = append(s.Findings, f.Text)
	}
	hosts := a.cfg.Hosts()
	for i, p := range a.pinger.Stats() {
		if i < len(hosts) && w.probes(i) {
			s.Probes = append(s.Probes, ProbeStatus{
				Host: hosts[i], Sent: p.Sent, Received: p.Received, Late: p.Late, AgeS: ageSeconds(now, p.LastReply),
			})
		}
	}
	why := w.why(now)
	if other := a.owner.why(); other != "" {
		why = append([]string{other}, why...)
	}
	if !a.feedOK {
		why = append(why, "the feed "+a.cfg.FeedFile+" cannot be written, so steering cannot see this WAN")
	}
	if a.saver.failing.Load() {
		why = append(why, "the state file "+a.cfg.StateFile+" cannot be written, so a restart would start from older state")
	}
	if wrong := a.way.wrong.Load(); wrong != nil {
		why = append(why, *wrong)
	}
	a.log.stands(now, why)
	st := a.head(now, a.String(), w.started, why)
	st.WAN = s
	a.status.Store(st)
}

// oneWayFor is how old the newest one-way delay may be to be what the law goes by: an idle line's reflectors take turns.
const oneWayFor = 5 * time.Second

// tracking is what a line that tracks its capacity has found out; nil under the policy of steps.
func (w *WAN) tracking(now unit.Time) *TrackingStatus {
	t := w.track
	if t == nil {
		return nil
	}
	s := &TrackingStatus{
		Capacity: t.out.Capacity, Unremovable: t.out.Unremovable,
		OneWay:     t.oneWayAt != 0 && now.Sub(t.oneWayAt) < oneWayFor,
		Reflectors: len(t.pool.InUse()), Reserve: len(w.opt.Candidates) - len(t.pool.InUse()),
	}
	if every := t.pace.every(s.Reflectors, t.server); every > 0 {
		s.ProbesPerS = float64(s.Reflectors) / every.Seconds()
	}
	s.Blind, s.TCPCheck = t.sensor.Blind(), t.sensor.Finding()
	return s
}

func (c *Common) head(now unit.Time, name string, started unit.Time, why []string) *Status {
	return &Status{
		Name: name, Version: c.Version, PID: os.Getpid(), UptimeS: now.Sub(started).Seconds(),
		Healthy: len(why) == 0, Why: why, at: now,
	}
}

// asOf is the status as it must be read at now: ages have grown since it was made, and a loop that stands still is not
// well, whatever it said last.
func (s *Status) asOf(now unit.Time, p *progress, log *Log) Status {
	out := *s
	out.Debug = log.debugging()
	late := now.Sub(s.at).Seconds()
	out.UptimeS += late
	out.Vitals = vitals()
	if s.WAN != nil {
		w := *s.WAN
		for _, age := range []*float64{&w.AgeS, &w.ReadAgeS} {
			if *age >= 0 {
				*age += late
			}
		}
		out.WAN = &w
	}
	if s.Steer != nil {
		t := *s.Steer
		for _, age := range []*float64{&t.AgeS, &t.QueueAgeS, &t.RuleAgeS} {
			if *age >= 0 {
				*age += late
			}
		}
		out.Steer = &t
	}
	if last, stale := p.Progress(); now.Sub(last) > stale {
		out.Healthy = false
		out.Why = append([]string{fmt.Sprintf("its loop has made no cycle for %s", now.Sub(last).Round(time.Second))}, s.Why...)
	}
	return out
}

// refusedFor is how long a refusal counts: it is tried again at least once a minute.
const refusedFor = 70 * time.Second

// startTime is how long a controller may have nothing to say without being unwell.
const startTime = 10 * time.Second

// why names what keeps the line from being well, causes before their effects; nothing when it is well. Congestion is not
// among it: that is what the controller is for.
func (w *WAN) why(now unit.Time) []string {
	act := w.out.Status
	if now.Sub(w.started) < startTime && act.Link != actuate.Stopped {
		return nil
	}
	f := health.Facts{
		RouterUp: act.Link == actuate.Connected, RouterError: act.LastError, RouterFor: now.Sub(act.Since),
		Findings: w.findings, Hosts: w.opt.Reflector.Hosts, Delta: w.last.Delta,
	}
	if act.Link == actuate.Starting {
		f.RouterError = "it has not answered yet"
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		if at := act.HeldSince.Get(d); at != 0 && !act.DryRun {
			f.Waiting, f.WaitingFor, f.WaitingWhy = true, max(f.WaitingFor, now.Sub(at)), act.Hold.Get(d).String()
		}
	}
	if t := w.track; t != nil {
		f.Hosts = len(t.pool.InUse())
		if t.server {
			f.Hosts++
		}
		f.Answering = min(t.level(now, w.win.MaxAge()).Hosts, f.Hosts)
	} else {
		for _, h := range w.win.Hosts(now) {
			if h.OK {
				f.Answering++
			}
		}
	}
	if f.Answering == 0 {
		f.SilentFor = now.Sub(w.asked())
	}
	var why []string
	for _, l := range health.Explain(f) {
		if l.Level > link.Info {
			why = append(why, l.String())
		}
	}
	switch {
	case act.Link == actuate.Connected && act.LastErrorClass == actuate.Misconfigured && now.Sub(act.LastErrorAt) < refusedFor:
		why = append(why, act.LastError)
	case act.ForeignUntil > now:
		why = append(why, "somebody else changes the queues; raises are stopped for a while")
	case act.OverBudget():
		why = append(why, fmt.Sprintf("%d router writes in 24 h are more than the budget of %d", act.Writes24h, act.Budget))
	}
	return why
}

// publish makes the newest status readable from other goroutines.
func (s *Steer) publish(now unit.Time) {
	m := s.machine
	d := m.last
	st := &SteeringStatus{
		State: d.Name, Congestion: d.Congestion.String(), Measured: d.Measured, Averaged: d.Averaged, Delta: d.Delta, EWMA: d.EWMA,
		AgeS: ageSeconds(now, m.answered), Queue: m.queue.QueuedPackets, QueueAgeS: ageSeconds(now, m.queue.At),
		Rule: RuleUnread, Switch: s.cfg.Switch, RuleAgeS: unknownAge, Router: fmt.Sprint(s.router), DryRun: s.DryRun,
		Brakes: d.Reason.Brakes, Connections: connectionsOf(s.counted.Load()),
	}
	s.publishRules(now, st)
	if up := now.Sub(s.started); up > 0 {
		st.SharePPM = unit.ShareOf(int64(s.active), int64(up))
	}
	history := m.machine.Snapshot().History
	for _, t := range history[max(0, len(history)-shownTransitions):] {
		when := "in an earlier boot"
		if t.At != 0 {
			when = now.Sub(t.At).Round(time.Second).String() + " ago"
		}
		st.Transitions = append(st.Transitions, TransitionStatus{
			From: t.From, To: t.To, AgeS: ageSeconds(now, t.At), Why: t.Why,
			Target: t.Target, Text: fmt.Sprintf("%s → %s%s, %s: %s", t.From, t.To, s.toWhom(t), when, t.Why),
		})
	}
	var why []string
	if other := s.owner.why(); other != "" {
		why = append(why, other)
	}
	young := now.Sub(s.started) < startTime
	troubles := []*trouble{&m.way}
	for i := range m.rules {
		troubles = append(troubles, &m.rules[i].no)
	}
	for _, t := range append(troubles, &m.queueNo) {
		switch {
		case t.kind == "":
			continue
		case t.Stopped():
			why = append(why, "the router refused us for good; it is not tried again until a reload or restart: "+t.text)
		default:
			why = append(why, t.text)
		}
		if st.LastErr == "" {
			st.LastErr = t.text
		}
	}
	switch {
	case len(why) > 0: // the cause; what follows are its effects
	case d.Congestion == steer.Unknown && !young:
		why = append(why, "the primary's delay cannot be told: no reply to steering's own probes, or no fresh baseline from autorate")
	case d.Congestion == steer.Down:
		why = append(why, "the primary is down: nobody's probes are answered")
	case d.Degraded:
		why = append(why, "the vote has to do without the queue's statistics")
	}
	s.log.stands(now, why)
	head := s.head(now, s.String(), s.started, why)
	head.Steer = st
	s.status.Store(head)
}

// publishRules tells of the rules: of the only one, or of those that are enabled, and of each alternate where there are
// several.
func (s *Steer) publishRules(now unit.Time, st *SteeringStatus) {
	m, several := s.machine, len(s.machine.rules) > 1
	st.To = m.last.To
	var on []string
	read := true
	for i := range m.rules {
		r := &m.rules[i]
		a := AlternateStatus{Rule: RuleUnread, RuleAgeS: ageSeconds(now, r.at)}
		if i < len(m.last.Reason.Alternates) {
			a.View = m.last.Reason.Alternates[i]
		}
		a.Name = m.opt.Steer.Alternates[i].Name
		if r.Known {
			is := r.Enabled && r.pretend == nil || r.pretend != nil && r.real
			if a.Rule = onOff[is]; is {
				on = append(on, a.Name)
			}
		}
		read = read && r.Known
		if i == 0 || a.RuleAgeS < 0 || a.RuleAgeS > st.RuleAgeS && st.RuleAgeS >= 0 { // the oldest
			st.RuleAgeS = a.RuleAgeS
		}
		if st.Rule = a.Rule; several {
			st.Alternates = append(st.Alternates, a)
		}
	}
	if !several {
		return
	}
	switch {
	case len(on) > 0:
		st.Rule = "enabled to " + strings.Join(on, ", ")
	case read:
		st.Rule = "all disabled"
	default:
		st.Rule = RuleUnread
	}
}

// toWhom names a transition's alternate, where there are several.
func (s *Steer) toWhom(t steer.Transition) string {
	switch {
	case len(s.cfg.Alternates) < 2 || t.Target == "":
		return ""
	case t.To == steer.Degraded:
		return " to " + t.Target
	}
	return " from " + t.Target
}

// shownTransitions is how many of the last changes the status shows.
const shownTransitions = 5
