package steer

import (
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Brake counts changes of state, and grips when there were too many.
type Brake struct {
	// Toggles are the times of the last changes of state, oldest first, no more than the brake counts.
	Toggles []unit.Time `json:"toggles,omitempty"`
	// Penalty is until when the brake grips; 0 when it does not.
	Penalty unit.Time `json:"penalty"`
}

// toggled records a change of state and says whether it was one too many.
func (b *Brake) toggled(window time.Duration, most int, penalty time.Duration, now unit.Time) (gripped bool) {
	kept := b.Toggles[:0]
	for _, t := range b.Toggles {
		if now.Sub(t) < window {
			kept = append(kept, t)
		}
	}
	b.Toggles = append(kept, now)
	n := len(b.Toggles) - (most + 1)
	if n < 0 {
		return false
	}
	b.Toggles = append(b.Toggles[:0], b.Toggles[n:]...)
	b.Penalty = now.Add(penalty)
	return true
}

// flapping says that the vote's brake grips.
func (m *Machine) flapping(now unit.Time) bool { return m.cfg.Flap.Enabled && now < m.mem.Flap.Penalty }

// need is how many consecutive RED the vote takes now.
func (m *Machine) need(now unit.Time) int {
	red, _ := m.cfg.streaks()
	if m.flapping(now) {
		red *= m.cfg.Flap.RedFactor
	}
	return red
}

// margins are by how much an alternate must be better now.
func (m *Machine) margins(c Candidate, now unit.Time) (ms float64, share float64) {
	ms, share = float64(c.MarginMS), c.MarginShare.Factor()
	if m.flapping(now) {
		ms, share = ms*float64(m.cfg.Flap.MarginFactor), min(1, share*float64(m.cfg.Flap.MarginFactor))
	}
	return ms, share
}

// graced says for how much longer the vote waits for the rate controller to act first, 0 when it does not.
func (m *Machine) graced(k cycle) time.Duration {
	if !k.controls || k.why.Controller == Over || m.mem.RedSince == 0 || m.rules.wanted != None {
		return 0
	}
	return max(0, m.cfg.Limits.Grace-k.now.Sub(m.mem.RedSince))
}

// held says for how much longer the vote keeps a steering at least.
func (m *Machine) held(now unit.Time) time.Duration {
	if m.mem.State != Degraded {
		return 0
	}
	return max(0, m.cfg.Limits.HoldDown-now.Sub(m.mem.Since))
}

// capped says that the steering has reached its longest time.
func (m *Machine) capped(now unit.Time) bool {
	return m.cfg.Limits.SteeredMax > 0 && m.mem.State == Degraded && now.Sub(m.mem.Since) >= m.cfg.Limits.SteeredMax
}

// tellCap alerts once per steering that it has reached its longest time.
func (m *Machine) tellCap(now unit.Time) {
	if !m.capped(now) || m.mem.CapTold {
		return
	}
	m.mem.CapTold = true
	what := "it goes on (limits.cap: alert)"
	if m.cfg.Limits.Cap == CapReturn {
		what = "connections come home (limits.cap: return)"
	}
	m.note(link.Alert, "steered_cap", fmt.Sprintf("New connections have gone to %s for %v, the most that limits.steered_max_hours "+
		"allows: %s; see why %s does not recover.", m.alternateName(m.target()), m.cfg.Limits.SteeredMax, what, m.cfg.Primary))
}

// rested ends the rest after a return by the cap: the primary was well for as long as a return takes.
func (m *Machine) rested() {
	_, green := m.cfg.streaks()
	if m.mem.Rest && m.mem.State == Good && (m.mem.Green >= green || m.mem.NotRed >= notRedFor) {
		m.mem.Rest = false
		m.note(link.Info, "steer_rested", m.cfg.Primary+" was well again: steering may begin anew after its longest time.")
	}
}

// HerdMemory is what is kept of an alternate that our own connections may fill.
type HerdMemory struct {
	// Clean says that its delay was not over YELLOW when connections moved there.
	Clean bool `json:"clean"`
	// Count is how often in a row connections came home because of it, Until until when it is left alone.
	Count int       `json:"count"`
	Until unit.Time `json:"until"`
}

// yellow is the delay over which an alternate counts as degraded.
func (c Config) yellow() unit.Millis {
	if c.CakeAware {
		return c.Thresholds.YellowRTT
	}
	return c.RTTOnly.Recovery
}

// herded says that the alternate degraded because connections moved there, and how soon.
func (m *Machine) herded(t int, a alternate, now unit.Time) (after time.Duration, yes bool) {
	h := m.mem.Alternates[t].Herd
	after = now.Sub(m.mem.Since)
	return after, m.cfg.Herd.Enabled && m.mem.State == Degraded && h.Clean && after <= m.cfg.Herd.Within &&
		a.view.Measured && a.view.EWMA > m.cfg.yellow()
}

// blame leaves an alternate alone for a while, longer with each time in a row.
func (m *Machine) blame(t int, now unit.Time) {
	h := &m.mem.Alternates[t].Herd
	h.Count = min(h.Count+1, maxStreak)
	off := m.cfg.Herd.BackOff
	for n := 1; n < h.Count && off < m.cfg.Herd.MaxBackOff; n++ {
		off *= 2
	}
	off = min(off, m.cfg.Herd.MaxBackOff)
	h.Until = now.Add(off)
	m.note(link.Warning, "herd", fmt.Sprintf("The connections that moved to %s are what slowed it down, for the %s time in a row: it is left alone for %v.",
		m.alternateName(t), ordinal(h.Count), off))
}

// forgive ends the row when a steering has outlasted the time in which a slowdown would have been ours.
func (m *Machine) forgive(now unit.Time) {
	if t := m.target(); t != None && m.mem.State == Degraded && now.Sub(m.mem.Since) > m.cfg.Herd.Within {
		m.mem.Alternates[t].Herd = HerdMemory{}
	}
}

func ordinal(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// brakes says what holds steering back or keeps it now, beyond the vote.
func (m *Machine) brakes(k cycle) (all []string) {
	say := func(format string, a ...any) { all = append(all, fmt.Sprintf(format, a...)) }
	round := func(d time.Duration) time.Duration { return d.Round(time.Second) }
	if m.flapping(k.now) {
		say("flap brake for another %v: %d RED instead of %d, margins times %d", round(m.mem.Flap.Penalty.Sub(k.now)), m.need(k.now),
			m.need(k.now)/m.cfg.Flap.RedFactor, m.cfg.Flap.MarginFactor)
	}
	if v := m.cfg.V3; v.Enabled && k.now < m.mem.Confidence.Penalty && v.Flap.Enabled {
		say("flap brake of steering_v3 for another %v: a score of %d instead of %d", round(m.mem.Confidence.Penalty.Sub(k.now)),
			m.mem.Confidence.threshold(v, k.now), v.SteerThreshold)
	}
	for i := range m.cfg.Alternates {
		if left := m.mem.Alternates[i].Herd.Until.Sub(k.now); left > 0 && m.cfg.Herd.Enabled {
			say("%s is left alone for another %v", m.alternateName(i), round(left))
		}
	}
	if left := m.graced(k); left > 0 && !k.confident {
		say("the rate controller has another %v to act first", round(left))
	}
	if left := m.held(k.now); left > 0 && !k.confident {
		say("hold-down for another %v", round(left))
	}
	if m.mem.Rest {
		say("at rest after the longest time steered, until %s was well", m.cfg.Primary)
	}
	return all
}
