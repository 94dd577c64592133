package steer

import (
	"errors"
	"fmt"
	"math"
	"time"

	"wanctl/internal/unit"
)

// Vote is how the local signals of the primary confirm a RED delay.
type Vote uint8

// The two ways of voting.
const (
	// VoteAny takes one confirmation of any kind.
	VoteAny Vote = iota
	// VoteAll demands delay, drops and queue together, as the earlier Python system did.
	VoteAll
)

// String returns "any" or "all", the words the configuration uses.
func (v Vote) String() string {
	switch v {
	case VoteAny:
		return "any"
	case VoteAll:
		return "all"
	}
	return fmt.Sprintf("Vote(%d)", uint8(v))
}

// MarshalText writes the configuration's word.
func (v Vote) MarshalText() ([]byte, error) {
	if v > VoteAll {
		return nil, fmt.Errorf("no vote %d", uint8(v))
	}
	return []byte(v.String()), nil
}

// UnmarshalText reads "any" or "all".
func (v *Vote) UnmarshalText(b []byte) error {
	switch string(b) {
	case "any":
		*v = VoteAny
	case "all":
		*v = VoteAll
	default:
		return fmt.Errorf("unknown vote %q (want any or all)", b)
	}
	return nil
}

// Config is everything the steering decision depends on. [Default] fills every field but the two names; a zero
// Config is not valid.
type Config struct {
	// Primary is the name of the line that is steered away from (topology.primary_wan). In capitals it names the states.
	Primary string
	// Alternates are the lines that connections may move to (topology.alternate_wan, alternates.*), in the order in which
	// equals are preferred; at least one, at most 8.
	Alternates []Candidate
	// Interval is the period of Step (measurement.interval_seconds), 0.5 s to 60 s.
	Interval time.Duration
	// CakeAware chooses the vote; false is the RTT-only mode (mode.cake_aware).
	CakeAware bool
	// Vote is how local signals confirm (vote).
	Vote Vote
	// BaselineMin and BaselineMax bound an acceptable baseline (thresholds.baseline_rtt_bounds).
	BaselineMin, BaselineMax unit.Millis
	// Thresholds are the vote's.
	Thresholds Thresholds
	// RTTOnly holds the thresholds of the RTT-only mode.
	RTTOnly RTTOnly
	// Confirm says which signals confirm a RED delay (confirm.*).
	Confirm Confirm
	// Limits bound a steering in time (limits.*).
	Limits Limits
	// Flap is the vote's brake on a line that comes and goes (flap_brake.*).
	Flap VoteFlap
	// Herd is what is done about an alternate that our own connections fill (herd_damping.*).
	Herd Herd
	// V3 is the confidence mode (steering_v3).
	V3 V3
	// HistorySize bounds the transitions kept in a Snapshot (state.history_size), 1 to 10000.
	HistorySize int
}

// Thresholds are the vote's thresholds (thresholds.*).
type Thresholds struct {
	// GreenRTT is only checked for order (green_rtt_ms).
	GreenRTT unit.Millis
	// YellowRTT and RedRTT are compared with the delta's EWMA, strictly (yellow_rtt_ms, red_rtt_ms).
	YellowRTT, RedRTT unit.Millis
	// MinDropsRed is in drops and marks per 1 000 packets (min_drops_red), at least; above 0.
	MinDropsRed float64
	// MinQueueYellow and MinQueueRed are compared with the EWMA of the queue's depth in packets, at least
	// (min_queue_yellow, min_queue_red).
	MinQueueYellow, MinQueueRed float64
	// RTTAlpha and QueueAlpha are the weights of a new sample (rtt_ewma_alpha, queue_ewma_alpha), above 0 to 1.
	RTTAlpha, QueueAlpha float64
	// RedSamples and GreenSamples are consecutive cycles (red_samples_required, green_samples_required), 1 to 1000.
	RedSamples, GreenSamples int
}

// RTTOnly are the thresholds of the RTT-only mode (cake_aware: false): nothing but the delta's EWMA is read.
type RTTOnly struct {
	// Bad is the delta's EWMA above which a cycle is RED (bad_threshold_ms), Recovery the one up to which it is
	// GREEN (recovery_threshold_ms); between the two it is YELLOW.
	Bad, Recovery unit.Millis
	// BadSamples and GoodSamples are consecutive cycles (bad_samples, good_samples), 1 to 1000.
	BadSamples, GoodSamples int
}

// Candidate is a line that connections may move to, and what is demanded of it first (alternate.*, alternates.NAME.*).
type Candidate struct {
	// Name is the line's; empty where the configuration names neither it nor its feed, with one alternate only.
	Name string
	// Checked says that the configuration names a way to measure the line. Without it nothing is checked.
	Checked bool
	// MarginMS is how far the alternate's delta EWMA must lie below the primary's (margin_ms), and MarginShare the
	// same as a share of the primary's (margin_share, 0 to 1). Both must hold.
	MarginMS    unit.Millis
	MarginShare unit.PPM
	// MaxLoad is the share of its rate that it may carry in either direction (max_load, 0 to 1; 0 demands nothing), Room what
	// must be free in each (room_mbps; 0 demands nothing). Both are by its feed; what is not known is no obstacle.
	MaxLoad unit.PPM
	Room    unit.Rate
}

// V3 is the confidence mode (steering_v3.*). All times are real times, whatever the interval.
type V3 struct {
	// Enabled turns scoring on (enabled).
	Enabled bool
	// SteerThreshold is the score from which congestion is sustained (confidence.steer_threshold), RecoveryThreshold
	// the one up to which recovery is (confidence.recovery_threshold); 0 to 100, recovery below steer.
	SteerThreshold, RecoveryThreshold int
	// Sustain and RecoverySustain are how long each must hold (sustain_duration_sec, recovery_sustain_sec).
	Sustain, RecoverySustain time.Duration
	// HoldDown is how long a steering stays at least (timers.hold_down_duration_sec).
	HoldDown time.Duration
	// Flap is the flap brake.
	Flap Flap
	// DryRun leaves the vote's counters in charge and only tells what the confidence mode would do
	// (dry_run.enabled).
	DryRun bool
	// CakeTarget is the AQM's target delay, 5 ms for CAKE's default; 0 where the queue's pressure cannot be known
	// (RouterOS), and the score's queue part is then never given.
	CakeTarget unit.Millis
}

// Flap is the brake on a line that comes and goes (steering_v3.flap_detection.*).
type Flap struct {
	// Enabled turns the brake on (enabled).
	Enabled bool
	// Window is the time over which changes of state are counted (window_minutes).
	Window time.Duration
	// MaxToggles is how many changes in the window are still unremarkable (max_toggles).
	MaxToggles int
	// PenaltyAdd is added to the threshold that entering is compared with (penalty_threshold_add), for PenaltyFor
	// after the change that was one too many (penalty_duration_sec).
	PenaltyAdd int
	PenaltyFor time.Duration
}

// Default returns the documented defaults. Primary and the name of the one alternate are the caller's to fill.
func Default() Config {
	return Config{
		Interval:    2 * time.Second,
		CakeAware:   true,
		Vote:        VoteAny,
		BaselineMin: 1,
		BaselineMax: 500,
		Thresholds: Thresholds{
			GreenRTT: 5, YellowRTT: 15, RedRTT: 15,
			MinDropsRed: 1, MinQueueYellow: 10, MinQueueRed: 50,
			RTTAlpha: 0.3, QueueAlpha: 0.4,
			RedSamples: 2, GreenSamples: 15,
		},
		RTTOnly:    RTTOnly{Bad: 25, Recovery: 12, BadSamples: 8, GoodSamples: 15},
		Alternates: []Candidate{{MarginMS: 10, MarginShare: 200_000}},
		Confirm:    Confirm{Drops: true, Marks: true, Queue: true, Controller: true},
		Flap:       VoteFlap{Window: 30 * time.Minute, MaxToggles: 3, PenaltyFor: 30 * time.Minute, RedFactor: 2, MarginFactor: 2},
		Herd:       Herd{Within: time.Minute, BackOff: time.Minute, MaxBackOff: 30 * time.Minute},
		V3: V3{
			SteerThreshold: 70, RecoveryThreshold: 20,
			Sustain: 20 * time.Second, RecoverySustain: time.Minute,
			HoldDown: 10 * time.Minute,
			Flap: Flap{
				Enabled: true, Window: 30 * time.Minute, MaxToggles: 3,
				PenaltyAdd: 20, PenaltyFor: 30 * time.Minute,
			},
			DryRun: true,
		},
		HistorySize: 50,
	}
}

// Validate reports everything that is wrong at once, in the configuration's own words; nil means the config works.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }

	if c.Primary == "" {
		bad("topology.primary_wan: the primary line has no name; give the one its own config carries")
	}
	c.validateAlternates(bad)
	if c.Interval < 500*time.Millisecond || c.Interval > time.Minute {
		bad("measurement.interval_seconds: %v is outside 0.5 s to 60 s", c.Interval)
	}
	if c.Vote > VoteAll {
		bad("vote: %v is neither any nor all", c.Vote)
	}
	if !positive(c.BaselineMin) || !positive(c.BaselineMax) || c.BaselineMin >= c.BaselineMax {
		bad("thresholds.baseline_rtt_bounds: %v to %v is no range of positive delays", c.BaselineMin, c.BaselineMax)
	}
	if c.HistorySize < 1 || c.HistorySize > maxHistory {
		bad("state.history_size: %d is outside 1 to %d", c.HistorySize, maxHistory)
	}
	c.Thresholds.validate(bad)
	c.RTTOnly.validate(bad)
	c.Confirm.validate(bad, c)
	c.Limits.validate(bad)
	c.Flap.validate(bad)
	c.Herd.validate(bad)
	c.V3.validate(bad)
	return errors.Join(errs...)
}

const (
	// maxHistory bounds the transitions a snapshot may carry.
	maxHistory = 10_000
	// maxMillis bounds every configured delay, the age at which a reply is no longer believed: 10 s.
	maxMillis = 10_000
	// maxSamples bounds every configured streak.
	maxSamples = 1000
	// maxTimer bounds every configured duration: a day.
	maxTimer = 24 * time.Hour
)

// positive reports whether m is a usable delay: above 0 up to 10 s.
func positive(m unit.Millis) bool { return m > 0 && m <= maxMillis }

func (t Thresholds) validate(bad func(string, ...any)) {
	switch {
	case !positive(t.GreenRTT), !positive(t.YellowRTT), !positive(t.RedRTT):
		bad("thresholds: green_rtt_ms %v, yellow_rtt_ms %v and red_rtt_ms %v must lie above 0 up to %d",
			float64(t.GreenRTT), float64(t.YellowRTT), float64(t.RedRTT), maxMillis)
	case t.GreenRTT > t.YellowRTT || t.YellowRTT > t.RedRTT:
		bad("thresholds: want green_rtt_ms (%v) <= yellow_rtt_ms (%v) <= red_rtt_ms (%v)",
			float64(t.GreenRTT), float64(t.YellowRTT), float64(t.RedRTT))
	}
	if !(t.MinDropsRed > 0) || t.MinDropsRed > 1000 {
		bad("thresholds.min_drops_red: %v drops per 1000 packets is outside above 0 to 1000", t.MinDropsRed)
	}
	const maxQueue = 1e6
	switch {
	case !(t.MinQueueYellow > 0), !(t.MinQueueRed > 0), t.MinQueueYellow > maxQueue, t.MinQueueRed > maxQueue:
		bad("thresholds: min_queue_yellow %v and min_queue_red %v must lie above 0 up to %v packets",
			t.MinQueueYellow, t.MinQueueRed, maxQueue)
	case t.MinQueueYellow > t.MinQueueRed:
		bad("thresholds: want min_queue_yellow (%v) <= min_queue_red (%v)", t.MinQueueYellow, t.MinQueueRed)
	}
	if !(t.RTTAlpha > 0) || t.RTTAlpha > 1 {
		bad("thresholds.rtt_ewma_alpha: %v is outside above 0 to 1", t.RTTAlpha)
	}
	if !(t.QueueAlpha > 0) || t.QueueAlpha > 1 {
		bad("thresholds.queue_ewma_alpha: %v is outside above 0 to 1", t.QueueAlpha)
	}
	samples(bad, "thresholds.red_samples_required", t.RedSamples)
	samples(bad, "thresholds.green_samples_required", t.GreenSamples)
}

func (r RTTOnly) validate(bad func(string, ...any)) {
	if !positive(r.Bad) || !positive(r.Recovery) || r.Recovery > r.Bad {
		bad("thresholds: want 0 < recovery_threshold_ms (%v) <= bad_threshold_ms (%v) <= %d",
			float64(r.Recovery), float64(r.Bad), maxMillis)
	}
	samples(bad, "thresholds.bad_samples", r.BadSamples)
	samples(bad, "thresholds.good_samples", r.GoodSamples)
}

func (v V3) validate(bad func(string, ...any)) {
	const conf, flap = "steering_v3.confidence: ", "steering_v3.flap_detection: "
	if v.SteerThreshold < 1 || v.SteerThreshold > 100 || v.RecoveryThreshold < 0 || v.RecoveryThreshold >= v.SteerThreshold {
		bad(conf+"want 0 <= recovery_threshold (%d) < steer_threshold (%d) <= 100", v.RecoveryThreshold, v.SteerThreshold)
	}
	timer := func(key string, d time.Duration) {
		if d < 0 || d > maxTimer {
			bad("steering_v3.%s: %v is outside 0 to %v", key, d, maxTimer)
		}
	}
	timer("confidence.sustain_duration_sec", v.Sustain)
	timer("confidence.recovery_sustain_sec", v.RecoverySustain)
	timer("timers.hold_down_duration_sec", v.HoldDown)
	timer("flap_detection.penalty_duration_sec", v.Flap.PenaltyFor)
	timer("flap_detection.window_minutes", v.Flap.Window)
	if v.Flap.Enabled && v.Flap.Window <= 0 {
		bad(flap + "window_minutes must be above 0 while the brake is enabled")
	}
	if v.Flap.MaxToggles < 1 || v.Flap.MaxToggles > maxSamples {
		bad(flap+"max_toggles %d is outside 1 to %d", v.Flap.MaxToggles, maxSamples)
	}
	if v.Flap.PenaltyAdd < 0 || v.Flap.PenaltyAdd > 100 {
		bad(flap+"penalty_threshold_add %d is outside 0 to 100", v.Flap.PenaltyAdd)
	}
	if v.CakeTarget < 0 || v.CakeTarget > maxMillis || math.IsNaN(float64(v.CakeTarget)) {
		bad("the queue's AQM target %v is outside 0 to %d ms", v.CakeTarget, maxMillis)
	}
}

func samples(bad func(string, ...any), key string, n int) {
	if n < 1 || n > maxSamples {
		bad("%s: %d is outside 1 to %d", key, n, maxSamples)
	}
}
