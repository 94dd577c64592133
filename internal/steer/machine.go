package steer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// notRedFor is how much measured time without RED brings connections home, so that a lasting YELLOW does not keep
	// them on the alternate for ever.
	notRedFor = time.Minute
	// blindFor is how long neither line may be measured before connections come home.
	blindFor = 30 * time.Second
	// gapCycles and gapLeast say from which pause on two cycles are no longer consecutive, whichever is longer.
	gapCycles = 5
	gapLeast  = 10 * time.Second
	// settling is how long after start a missing measurement is not worth a word: the first probes are on their way.
	settling = 5 * time.Second
)

// Machine is steering's judgement for one primary line. It is not safe for concurrent use.
type Machine struct {
	cfg   Config
	names [Degraded + 1]string
	mem   Snapshot
	// started is the instant of the first Step of this process, 0 before it.
	started unit.Time
	// measured says that the last cycle's delta was known.
	measured bool
	rule     rule
	notes    []link.Note
	said     said
}

// said remembers which conditions were told already.
type said struct{ start, noFeed, unknown, down, queue, blocked bool }

// New returns a machine in state GOOD that has measured nothing yet.
func New(c Config) (*Machine, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("steering of %q: %w", c.Primary, err)
	}
	m := &Machine{}
	m.configure(c)
	return m, nil
}

func (m *Machine) configure(c Config) {
	m.cfg = c
	for s := Good; s <= Degraded; s++ {
		m.names[s] = strings.ToUpper(c.Primary) + "_" + s.String()
	}
	m.trim()
}

// Reconfigure puts another configuration in force. State, streaks and averages stay. A configuration that does not
// validate, or that names another primary, is refused whole.
func (m *Machine) Reconfigure(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("steering of %q: reload: %w", m.cfg.Primary, err)
	}
	if c.Primary != m.cfg.Primary {
		return fmt.Errorf("steering of %q: reload: %w", m.cfg.Primary,
			errors.New("topology.primary_wan cannot change while running; restart to steer for another line"))
	}
	if c.Alternate != m.cfg.Alternate {
		m.mem.Alternate = AlternateMemory{}
	}
	if c.V3.Enabled && !c.V3.DryRun {
		m.mem.Confidence.Steered = m.mem.State == Degraded
	}
	m.configure(c)
	m.said.start = false
	return nil
}

func (m *Machine) note(level link.Level, key, text string) {
	m.notes = append(m.notes, link.Note{Level: level, Key: key, Text: text})
}

// Step advances the machine to in.Now. It never blocks, logs or fails.
func (m *Machine) Step(in Input) Decision {
	m.notes = nil
	d := Decision{Now: in.Now}
	dt := m.advance(in.Now)
	m.open(in)

	d.Transition = m.absorb(in.Rule, in.Now)

	delta, c, why := m.sensePrimary(in)
	d.QueueKnown = m.senseQueue(in.Queue, in.Now)
	r := m.signals(d.QueueKnown, in)
	ctl := r.Controller
	if c.measured() {
		m.mem.Delta.add(m.cfg.Thresholds.RTTAlpha, delta)
		c = m.vote(d.QueueKnown, ctl, in.Now, &r)
		d.Measured, d.Delta = true, unit.Millis(delta)
	}
	m.tellBlind(c, why)
	d.Degraded = m.cfg.CakeAware && !d.QueueKnown
	m.tellQueue(d.Degraded, in.Now)

	alt := m.senseAlternate(in)
	dt = m.count(c, dt)
	blind := m.countBlind(c, alt, in.Now)
	confident := m.cfg.V3.Enabled && !in.Autorate.BaselineOnly
	if confident {
		r.Threshold = m.mem.Confidence.threshold(m.cfg.V3, in.Now)
		if c.measured() {
			r.Score = m.mem.Confidence.score(in.Autorate, d.QueueKnown, m.mem.Delta.Value, m.cfg.Interval)
			m.mem.Confidence.observe(m.cfg.V3, r.Score, c, delta, in.Now, dt)
		}
		if m.cfg.V3.DryRun {
			d.WouldSteer = m.rehearse(c, alt, blind, r.Score, in.Now)
			confident = false
		}
	}
	m.judge(cycle{c: c, alt: alt, blind: blind, confident: confident, score: r.Score, now: in.Now})

	d.Rule = m.wish(alt, in.Now)
	d.State, d.Name, d.Congestion = m.mem.State, m.names[m.mem.State], c
	d.Averaged, d.EWMA = m.mem.Delta.Set, unit.Millis(m.mem.Delta.Value)
	if d.QueueKnown {
		d.Drops, d.Queue = m.mem.Reading.NewDropped, m.mem.Reading.Depth
	}
	d.QueueEWMA = m.mem.Queue.Value
	r.Red, r.Green, r.NotRed = m.mem.Red, m.mem.Green, m.mem.NotRed
	r.Alternate, r.AlternateEWMA = alt.verdict, alt.ewma
	d.Reason = r
	d.Notes = m.notes
	return d
}

// advance moves the machine's clock and returns the time since the last cycle, 0 after a break.
func (m *Machine) advance(now unit.Time) time.Duration {
	if m.started == 0 {
		m.started = now
	}
	last := m.mem.At
	m.mem.At = now
	switch {
	case last == 0:
		return 0
	case now < last:
		m.started = now
		m.mem = m.mem.OtherBoot()
		m.mem.At = now
		m.measured = false
		return 0
	case now.Sub(last) > max(gapLeast, gapCycles*m.cfg.Interval):
		m.mem = m.mem.afterBreak()
		m.measured = false
		return 0
	}
	return now.Sub(last)
}

// open tells once what the machine has to do without.
func (m *Machine) open(in Input) {
	if !m.said.start {
		m.said.start = true
		if !m.cfg.AlternateCheck.Configured && !in.Alternate.Configured {
			m.note(link.Warning, "no_alternate_check", fmt.Sprintf("The configuration names no way to measure %s: "+
				"connections are steered there without checking that it is the better line; give alternate.ping_source_ip "+
				"or alternate.state_source.", m.alternateName()))
		}
	}
	if in.Autorate.Known && in.Autorate.BaselineOnly && !m.said.noFeed {
		m.said.noFeed = true
		text := "Only the state file of %s's rate controller can be read, not its feed: the vote has no floor confirmation"
		if m.cfg.V3.Enabled {
			text += " and steering_v3 is off"
		}
		m.note(link.Warning, "no_feed", fmt.Sprintf(text+"; point cake_state_sources at the feed.", m.cfg.Primary))
	}
}

// signals fills in what the confirmations say.
func (m *Machine) signals(queue bool, in Input) Reason {
	r := Reason{Drops: Missing, Queue: Missing, Controller: m.mem.Controller.update(in.Autorate, in.Now)}
	if queue {
		r.Drops, r.Queue = m.mem.DropsOver.signal(in.Now), m.mem.QueueRed.signal(in.Now)
	}
	return r
}

// tellBlind says once that the primary cannot be assessed, and once that it can again.
func (m *Machine) tellBlind(c Congestion, why string) {
	switch {
	case c == Down && !m.said.down:
		m.said.down = true
		m.note(link.Alert, "primary_down", fmt.Sprintf("%s is down: %s; nothing new is steered and the router's own "+
			"failover acts.", m.cfg.Primary, why))
	case c == Unknown && !m.said.unknown && !m.said.down && m.mem.At.Sub(m.started) >= settling:
		m.said.unknown = true
		m.note(link.Warning, "primary_unknown", fmt.Sprintf("%s cannot be assessed: %s.", m.cfg.Primary, why))
	case c.measured() && (m.said.unknown || m.said.down):
		m.said.unknown, m.said.down = false, false
		m.note(link.Info, "primary_measured", m.cfg.Primary+" is measured again.")
	}
}

// tellQueue says once that the queue's statistics are missing, and once that they are back.
func (m *Machine) tellQueue(missing bool, now unit.Time) {
	switch {
	case missing && !m.said.queue:
		if m.mem.Reading.At == 0 && now.Sub(m.started) < settling {
			return
		}
		m.said.queue = true
		m.note(link.Warning, "queue_unread", fmt.Sprintf("The statistics of %s's download queue cannot be read: "+
			"the vote goes on without drops and queue; see the router's connection.", m.cfg.Primary))
	case !missing && m.said.queue:
		m.said.queue = false
		m.note(link.Info, "queue_read", fmt.Sprintf("The statistics of %s's download queue are read again.", m.cfg.Primary))
	}
}

// count moves the streaks by one assessment and returns the measured time it adds.
func (m *Machine) count(c Congestion, dt time.Duration) time.Duration {
	if !c.measured() || !m.measured {
		dt = 0
	}
	m.measured = c.measured()
	s := &m.mem
	switch c {
	case Red:
		s.Red, s.Green, s.NotRed = min(s.Red+1, maxStreak), 0, 0
	case Yellow:
		s.Red, s.Green, s.NotRed = 0, 0, min(s.NotRed+dt, maxTimer)
	case Green:
		s.Red, s.Green, s.NotRed = 0, min(s.Green+1, maxStreak), min(s.NotRed+dt, maxTimer)
	case Unknown, Down:
	}
	return dt
}

// countBlind says that neither line was measured for long enough to come home.
func (m *Machine) countBlind(c Congestion, alt alternate, now unit.Time) bool {
	if c.measured() || alt.answers {
		m.mem.Blind = 0
		return false
	}
	if m.mem.Blind == 0 {
		m.mem.Blind = now
	}
	return now.Sub(m.mem.Blind) >= blindFor
}

// cycle is what one cycle gives the decision.
type cycle struct {
	c         Congestion
	alt       alternate
	blind     bool
	confident bool
	score     int
	now       unit.Time
}

// judge decides whether the rule shall be enabled.
func (m *Machine) judge(k cycle) {
	if k.c.measured() && !m.due(k) {
		m.said.blocked = false
	}
	switch {
	case !m.rule.wanted:
		m.enter(k)
	case m.mem.State == Good:
		if gone := m.gone(k); gone != "" {
			m.settle(false, "", k.now)
			m.note(link.Info, "steer_withdrawn", "Steering was not carried out in time and is withdrawn: "+gone+".")
		}
	default:
		if why := m.leave(k); why != "" {
			m.settle(false, why, k.now)
		}
	}
}

// due says that the decision mode in force wants to steer now.
func (m *Machine) due(k cycle) bool {
	if !k.c.measured() {
		return false
	}
	if k.confident {
		return m.mem.Confidence.due(m.cfg.V3)
	}
	red, _ := m.cfg.streaks()
	return k.c == Red && m.mem.Red >= red
}

// enter begins a steering, or says why it cannot be done.
func (m *Machine) enter(k cycle) {
	if !m.due(k) {
		return
	}
	if !k.alt.admits() {
		if !m.said.blocked {
			m.said.blocked = true
			m.note(link.Alert, "no_usable_alternate", fmt.Sprintf("%s is congested and nothing can be done: %s.",
				m.cfg.Primary, m.lacks(k.alt)))
		}
		return
	}
	why := fmt.Sprintf("%d consecutive RED", m.mem.Red)
	if k.confident {
		why = fmt.Sprintf("score %d, at least %d for %v", k.score, m.mem.Confidence.threshold(m.cfg.V3, k.now), m.cfg.V3.Sustain)
	}
	if k.alt.configured {
		why += fmt.Sprintf(", delta %v against %s's %v", unit.Millis(m.mem.Delta.Value), m.alternateName(), k.alt.ewma)
	}
	m.settle(true, why, k.now)
}

// gone says why a steering that is not carried out yet has lost its reason; empty when it has not.
func (m *Machine) gone(k cycle) string {
	red, _ := m.cfg.streaks()
	switch {
	case k.c == Down:
		return m.cfg.Primary + " is down"
	case !k.alt.admits():
		return m.lacks(k.alt)
	case k.confident && !m.mem.Confidence.High:
		return "the score fell"
	case !k.confident && m.mem.Red < red:
		return m.cfg.Primary + " is " + k.c.String()
	}
	return ""
}

// leave says why connections shall come home; empty when they stay.
func (m *Machine) leave(k cycle) string {
	if !k.c.measured() {
		if k.blind {
			return fmt.Sprintf("nothing was measured for %v", blindFor)
		}
		return ""
	}
	_, green := m.cfg.streaks()
	switch v := m.cfg.V3; {
	case k.alt.configured && (k.alt.red || k.alt.silent):
		return m.lacks(k.alt)
	case k.confident && m.mem.Confidence.recovered(v):
		return fmt.Sprintf("score at most %d, GREEN and delta under %d ms for %v", v.RecoveryThreshold, recoveredDelta, v.RecoverySustain)
	case k.confident:
		return ""
	case m.mem.Green >= green:
		return fmt.Sprintf("%d consecutive GREEN", m.mem.Green)
	case m.mem.NotRed >= notRedFor:
		return fmt.Sprintf("%v without RED", notRedFor)
	}
	return ""
}

// streaks returns how many consecutive RED steer and how many GREEN bring home.
func (c Config) streaks() (red, green int) {
	if c.CakeAware {
		return c.Thresholds.RedSamples, c.Thresholds.GreenSamples
	}
	return c.RTTOnly.BadSamples, c.RTTOnly.GoodSamples
}
