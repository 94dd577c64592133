package steer

import (
	"fmt"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The parts of the score. They add up to 95 at most, on RouterOS to 85: its queues tell no pressure.
const (
	scoreRed      = 50
	scoreSoftRed  = 25
	scoreYellow   = 10
	scoreSevere   = 25 // delta EWMA over severeDelta
	scoreHigh     = 15 // delta EWMA over highDelta
	scoreDrops    = 10 // drops per second rising over three readings
	scorePressure = 10 // the queue held more than ten AQM targets in the last two readings
)

const (
	severeDelta = 120 // ms
	highDelta   = 80  // ms
	// recoveredDelta is the delta, not averaged, under which a cycle counts towards recovery, in ms.
	recoveredDelta = 10
	// pressureTargets is how many AQM targets of backlog mean a queue more than half full.
	pressureTargets = 10
	// softRedCycles is for how many cycles of 2 s SOFT_RED must stand to score.
	softRedCycles = 3
)

// Confidence is the memory of the confidence mode.
type Confidence struct {
	// Steered is what the mode would have: the machine's state while it decides, its own while it runs dry. Since is
	// when that changed, Target where it would have connections.
	Steered bool      `json:"steered"`
	Since   unit.Time `json:"since"`
	Target  string    `json:"target,omitempty"`
	// High and Low say that the last measured cycle spoke for steering or for recovery; HighFor and LowFor for how
	// much measured time without a break.
	High    bool          `json:"high"`
	HighFor time.Duration `json:"high_ns"`
	Low     bool          `json:"low"`
	LowFor  time.Duration `json:"low_ns"`
	// SoftRed counts consecutive cycles in which autorate was SOFT_RED.
	SoftRed int `json:"soft_red"`
	// Drops are the drops per second of the last three readings, oldest first.
	Drops []float64 `json:"drops,omitempty"`
	// Pressure counts consecutive readings with a queue more than half full.
	Pressure int `json:"pressure"`
	// Brake raises the threshold while it grips.
	Brake
}

func (f *Confidence) addDrops(perSecond float64) {
	if len(f.Drops) == 3 {
		f.Drops = append(f.Drops[:0], f.Drops[1:]...)
	}
	f.Drops = append(f.Drops, perSecond)
}

// addPressure judges one reading's backlog: the time the queue needs to drain, against ten AQM targets.
func (f *Confidence) addPressure(target unit.Millis, q link.Queue) {
	if target <= 0 || q.MaxLimit <= 0 || q.QueuedBytes <= 0 ||
		float64(q.QueuedBytes)*8000 <= pressureTargets*float64(target)*float64(q.MaxLimit) {
		f.Pressure = 0
		return
	}
	f.Pressure = min(f.Pressure+1, 2)
}

// score adds up one measured cycle. What is not known in it scores nothing: the controller's state without a live feed
// of a measured cycle, drops and pressure without queue figures young enough to vote.
func (f *Confidence) score(a Autorate, queue bool, ewma float64, period time.Duration) int {
	score, state := 0, link.Green
	if a.live() && a.Feed.Measured {
		state = a.Feed.State.Down
	}
	if state == link.SoftRed {
		f.SoftRed = min(f.SoftRed+1, maxSamples)
	} else {
		f.SoftRed = 0
	}
	switch state {
	case link.Red:
		score = scoreRed
	case link.SoftRed:
		if f.SoftRed >= filter.Cycles(softRedCycles, period) {
			score = scoreSoftRed
		}
	case link.Yellow:
		score = scoreYellow
	case link.Green:
	}
	switch {
	case ewma > severeDelta:
		score += scoreSevere
	case ewma > highDelta:
		score += scoreHigh
	}
	if d := f.Drops; queue && len(d) == 3 && d[0] < d[1] && d[1] < d[2] {
		score += scoreDrops
	}
	if queue && f.Pressure == 2 {
		score += scorePressure
	}
	return score
}

// threshold is the score that entering is compared with, the brake's penalty included.
func (f *Confidence) threshold(v V3, now unit.Time) int {
	if v.Flap.Enabled && now < f.Penalty {
		return v.SteerThreshold + v.Flap.PenaltyAdd
	}
	return v.SteerThreshold
}

// observe moves the two clocks by one measured cycle; dt is the measured time since the last one, 0 after a break.
func (f *Confidence) observe(v V3, score int, c Congestion, delta float64, now unit.Time, dt time.Duration) {
	tick := func(on bool, was *bool, held *time.Duration) {
		switch {
		case !on:
			*held = 0
		case *was:
			*held += dt
		}
		*was = on
	}
	tick(score >= f.threshold(v, now), &f.High, &f.HighFor)
	calm := f.Steered && now.Sub(f.Since) >= v.HoldDown &&
		score <= v.RecoveryThreshold && c == Green && delta < recoveredDelta
	tick(calm, &f.Low, &f.LowFor)
}

// toggled records a change of state and says so when it makes the brake grip.
func (f *Confidence) toggled(v V3, steered bool, now unit.Time) (braked string) {
	f.Steered, f.Since = steered, now
	f.High, f.HighFor, f.Low, f.LowFor = false, 0, false, 0
	if !v.Flap.Enabled {
		f.Toggles = nil
		return ""
	}
	if f.Brake.toggled(v.Flap.Window, v.Flap.MaxToggles, v.Flap.PenaltyFor, now) {
		return fmt.Sprintf("more than %d changes of state within %v: for %v steering needs a score of %d instead of %d",
			v.Flap.MaxToggles, v.Flap.Window, v.Flap.PenaltyFor, v.SteerThreshold+v.Flap.PenaltyAdd, v.SteerThreshold)
	}
	return ""
}

// due says that the mode wants to steer.
func (f *Confidence) due(v V3) bool { return f.High && f.HighFor >= v.Sustain }

// recovered says that the mode wants to go back.
func (f *Confidence) recovered(v V3) bool { return f.Low && f.LowFor >= v.RecoverySustain }

// rehearse is the dry run: it lives through what the mode would have done and returns the sentence to log.
func (m *Machine) rehearse(k cycle) string {
	f, v, now := &m.mem.Confidence, m.cfg.V3, k.now
	t := max(m.place(f.Target), 0)
	said := ""
	switch {
	case !f.Steered && k.c.measured() && f.due(v) && k.best != None:
		f.Target = m.cfg.Alternates[k.best].Name
		said = fmt.Sprintf("would steer new connections to %s: score %d was at least %d for %v",
			m.alternateName(k.best), k.score, f.threshold(v, now), v.Sustain)
	case !f.Steered:
		return ""
	case k.c.measured() && k.alts[t].lost():
		said = "would steer back to " + m.cfg.Primary + ": " + m.lacks(t, k.alts[t], now)
	case k.blind:
		said = fmt.Sprintf("would steer back to %s: nothing was measured for %v", m.cfg.Primary, blindFor)
	case k.c.measured() && f.recovered(v):
		said = fmt.Sprintf("would steer back to %s: score at most %d, GREEN and delta under %d ms for %v",
			m.cfg.Primary, v.RecoveryThreshold, recoveredDelta, v.RecoverySustain)
	default:
		return ""
	}
	if braked := f.toggled(v, !f.Steered, now); braked != "" {
		m.note(link.Warning, "flap_brake", "Dry run of steering_v3: "+braked+".")
	}
	return said
}
