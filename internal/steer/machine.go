package steer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// notRedFor is how much measured time without RED brings connections home, so that a lasting YELLOW does not keep
	// them on the alternate for ever.
	notRedFor = time.Minute
	// blindFor is how long neither line may be measured before connections come home.
	blindFor = 30 * time.Second
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
	rules    rules
	// orphan is a stored target that is no alternate any more.
	orphan string
	notes  []link.Note
	said   said
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
	m.rules.wanted = None
	return m, nil
}

func (m *Machine) configure(c Config) {
	m.cfg = c
	for s := Good; s <= Degraded; s++ {
		m.names[s] = strings.ToUpper(c.Primary) + "_" + s.String()
	}
	if len(m.rules.one) != len(c.Alternates) {
		m.rules.one = make([]rule, len(c.Alternates))
	}
	m.bind()
	m.trim()
}

// bind puts the memories of the alternates into the configuration's order; one of a time when there was a single alternate
// has no name and is the first one's.
func (m *Machine) bind() {
	bound := make([]AlternateMemory, len(m.cfg.Alternates))
	for i, c := range m.cfg.Alternates {
		for j, mem := range m.mem.Alternates {
			if mem.Name == c.Name || i == 0 && j == 0 && mem.Name == "" {
				bound[i] = mem
			}
		}
		bound[i].Name = c.Name
	}
	m.mem.Alternates = bound
}

// place finds an alternate by its name, and the first by none; it returns [None] for a line that is not among them.
func (m *Machine) place(name string) int {
	if name == "" {
		return 0
	}
	return slices.IndexFunc(m.cfg.Alternates, func(c Candidate) bool { return c.Name == name })
}

// target is the place of the alternate that the state Degraded sends connections to, else [None].
func (m *Machine) target() int {
	if m.mem.State != Degraded {
		return None
	}
	return m.place(m.mem.Target)
}

// Reconfigure puts another configuration in force. State, streaks and averages stay. A configuration that does not
// validate, or that names other lines, is refused whole.
func (m *Machine) Reconfigure(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("steering of %q: reload: %w", m.cfg.Primary, err)
	}
	same := func(a, b Candidate) bool { return a.Name == b.Name }
	if c.Primary != m.cfg.Primary || !slices.EqualFunc(c.Alternates, m.cfg.Alternates, same) {
		return fmt.Errorf("steering of %q: reload: %w", m.cfg.Primary,
			errors.New("the primary and the alternates cannot change while running; restart to steer between other lines"))
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

	if m.mem.Since == 0 {
		m.mem.Since = in.Now // at least
	}
	d.Transition, d.Account = m.absorb(in)

	delta, c, why := m.sensePrimary(in)
	d.QueueKnown = m.senseQueue(in.Queue, in.Now)
	r := m.signals(d.QueueKnown, in)
	if c.measured() {
		m.mem.Delta.add(m.cfg.Thresholds.RTTAlpha, delta)
		c = m.vote(d.QueueKnown, in.Now, &r)
		d.Measured, d.Delta = true, unit.Millis(delta)
	}
	m.tellBlind(c, why)
	d.Degraded = m.cfg.CakeAware && !d.QueueKnown
	m.tellQueue(d.Degraded, in.Now)

	alts := m.senseAlternates(in)
	dt = m.count(c, dt, in.Now)
	k := cycle{
		c: c, alts: alts, best: choose(alts), controls: in.Autorate.live(), why: &r, now: in.Now,
		confident: m.cfg.V3.Enabled && !in.Autorate.BaselineOnly,
	}
	k.blind = m.countBlind(k)
	if k.confident {
		r.Threshold = m.mem.Confidence.threshold(m.cfg.V3, in.Now)
		if c.measured() {
			r.Score = m.mem.Confidence.score(in.Autorate, d.QueueKnown, m.mem.Delta.Value, m.cfg.Interval)
			m.mem.Confidence.observe(m.cfg.V3, r.Score, c, delta, in.Now, dt)
		}
		k.score = r.Score
		if m.cfg.V3.DryRun {
			d.WouldSteer = m.rehearse(k)
			k.confident = false
		}
	}
	was := m.rules.account
	if m.judge(k); m.rules.account != was {
		intent := *m.rules.account
		d.Intent = &intent
	}

	d.Rules, d.Wanted = m.wish(alts, in.Now), m.rules.wanted
	d.State, d.Name, d.Congestion = m.mem.State, m.names[m.mem.State], c
	if d.Target = m.target(); d.Target != None && len(m.cfg.Alternates) > 1 {
		d.To = m.cfg.Alternates[d.Target].Name
	}
	d.Averaged, d.EWMA = m.mem.Delta.Set, unit.Millis(m.mem.Delta.Value)
	if d.QueueKnown {
		d.Drops, d.Queue = m.mem.Reading.NewDropped, m.mem.Reading.Depth
	}
	d.QueueEWMA = m.mem.Queue.Value
	r.Red, r.Green, r.NotRed, r.Need = m.mem.Red, m.mem.Green, m.mem.NotRed, m.need(in.Now)
	for _, a := range alts {
		r.Alternates = append(r.Alternates, a.view)
	}
	r.Brakes = m.brakes(k)
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
		m.rules.rebase(now)
		return 0
	case now.Sub(last) > filter.Gap(m.cfg.Interval):
		m.started = now // while this host slept nobody was asked, so nobody was silent
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
		for i, c := range m.cfg.Alternates {
			if c.Checked {
				continue
			}
			at := "alternate"
			if i > 0 {
				at = "alternates." + c.Name
			}
			m.note(link.Warning, "no_alternate_check", fmt.Sprintf("The configuration names no way to measure %s: "+
				"connections are steered there without checking that it is the better line; give %s.ping_source_ip "+
				"or %s.state_source.", m.alternateName(i), at, at))
		}
	}
	if m.orphan != "" {
		m.note(link.Alert, "rule_orphan", fmt.Sprintf("The stored state sent connections to %s, which is no alternate any more: its rule "+
			"may still be enabled; disable it by hand.", m.orphan))
		m.orphan = ""
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
func (m *Machine) count(c Congestion, dt time.Duration, now unit.Time) time.Duration {
	if !c.measured() || !m.measured {
		dt = 0
	}
	m.measured = c.measured()
	s := &m.mem
	switch c {
	case Red:
		if s.Red == 0 {
			s.RedSince = now
		}
		s.Red, s.Green, s.NotRed = min(s.Red+1, maxStreak), 0, 0
	case Yellow:
		s.Red, s.RedSince, s.Green, s.NotRed = 0, 0, 0, min(s.NotRed+dt, maxTimer)
	case Green:
		s.Red, s.RedSince, s.Green, s.NotRed = 0, 0, min(s.Green+1, maxStreak), min(s.NotRed+dt, maxTimer)
	case Unknown, Down:
	}
	return dt
}

// countBlind says that neither line was measured for long enough to come home.
func (m *Machine) countBlind(k cycle) bool {
	answers := false
	for i, a := range k.alts {
		answers = answers || a.answers && (m.rules.wanted == None || m.rules.wanted == i)
	}
	if k.c.measured() || answers {
		m.mem.Blind = 0
		return false
	}
	if m.mem.Blind == 0 {
		m.mem.Blind = k.now
	}
	return k.now.Sub(m.mem.Blind) >= blindFor
}

// cycle is what one cycle gives the decision.
type cycle struct {
	c    Congestion
	alts []alternate
	// best is the place of the alternate that connections would move to, None when there is none.
	best      int
	blind     bool
	confident bool
	// controls says that the primary's rate controller is alive.
	controls bool
	score    int
	why      *Reason
	now      unit.Time
}

// judge decides which rule shall be enabled, if any.
func (m *Machine) judge(k cycle) {
	if k.c.measured() && !m.due(k) {
		m.said.blocked = false
	}
	m.forgive(k.now)
	m.rested()
	m.tellCap(k.now)
	switch {
	case m.rules.wanted == None:
		m.enter(k)
	case m.mem.State == Good:
		if gone := m.gone(k); gone != "" {
			m.settle(None, "", k)
			m.note(link.Info, "steer_withdrawn", "Steering was not carried out in time and is withdrawn: "+gone+".")
		}
	default:
		m.leave(k)
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
	return k.c == Red && m.mem.Red >= m.need(k.now)
}

// enter begins a steering, or says why it cannot be done.
func (m *Machine) enter(k cycle) {
	if !m.due(k) || !k.confident && m.graced(k) > 0 {
		return
	}
	blocked := func(why string) {
		if !m.said.blocked {
			m.said.blocked = true
			m.note(link.Alert, "no_usable_alternate", fmt.Sprintf("%s is congested and nothing can be done: %s.", m.cfg.Primary, why))
		}
	}
	t := k.best
	if m.mem.State == Degraded && m.target() != None {
		t = m.target() // the way home from there is not done yet
		if !k.alts[t].admits() {
			t = None
		}
	}
	switch {
	case m.mem.Rest:
		blocked("steering is at rest after its longest time (limits.steered_max_hours), until " + m.cfg.Primary + " was well")
		return
	case t == None:
		blocked(m.lacking(k.alts, k.now))
		return
	}
	why := fmt.Sprintf("%d consecutive RED", m.mem.Red)
	if k.confident {
		why = fmt.Sprintf("score %d, at least %d for %v", k.score, m.mem.Confidence.threshold(m.cfg.V3, k.now), m.cfg.V3.Sustain)
	}
	a, c := k.alts[t], m.cfg.Alternates[t]
	if a.configured {
		why += fmt.Sprintf(", delta %v against %s's %v", unit.Millis(m.mem.Delta.Value), m.alternateName(t), a.view.EWMA)
	}
	if c.MaxLoad > 0 || c.Room > 0 {
		why += ", " + a.view.Room.String()
	}
	m.mem.Alternates[t].Herd.Clean = a.view.Measured && a.view.EWMA <= m.cfg.yellow()
	m.settle(t, why, k)
}

// gone says why a steering that is not carried out yet has lost its reason; empty when it has not.
func (m *Machine) gone(k cycle) string {
	t := m.rules.wanted
	switch {
	case k.c == Down:
		return m.cfg.Primary + " is down"
	case !k.alts[t].admits():
		return m.lacks(t, k.alts[t], k.now)
	case k.confident && !m.mem.Confidence.High:
		return "the score fell"
	case !k.confident && m.mem.Red < m.need(k.now):
		return m.cfg.Primary + " is " + k.c.String()
	}
	return ""
}

// leave brings connections home when there is a reason.
func (m *Machine) leave(k cycle) {
	t := m.rules.wanted
	if after, ours := m.herded(t, k.alts[t], k.now); ours && k.c.measured() {
		why := fmt.Sprintf("%s slowed down (delta %v) %v after connections moved there", m.alternateName(t), k.alts[t].view.EWMA, after.Round(time.Second))
		m.blame(t, k.now)
		m.settle(None, why, k)
		return
	}
	if why := m.home(t, k); why != "" {
		m.settle(None, why, k)
		m.mem.Rest = m.capped(k.now) && m.cfg.Limits.Cap == CapReturn
	}
}

// home says why connections shall come home; empty when they stay.
func (m *Machine) home(t int, k cycle) string {
	if !k.c.measured() {
		if k.blind {
			return fmt.Sprintf("nothing was measured for %v", blindFor)
		}
		return ""
	}
	_, green := m.cfg.streaks()
	switch v := m.cfg.V3; {
	case k.alts[t].lost():
		return m.lacks(t, k.alts[t], k.now)
	case m.capped(k.now) && m.cfg.Limits.Cap == CapReturn:
		return fmt.Sprintf("%v steered, the most that is allowed", m.cfg.Limits.SteeredMax)
	case k.confident && m.mem.Confidence.recovered(v):
		return fmt.Sprintf("score at most %d, GREEN and delta under %d ms for %v", v.RecoveryThreshold, recoveredDelta, v.RecoverySustain)
	case k.confident:
		return ""
	case m.held(k.now) > 0:
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
