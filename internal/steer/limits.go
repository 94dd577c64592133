package steer

import (
	"fmt"
	"math"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// maxAlternates bounds the lines that connections may move to.
const maxAlternates = 8

// Confirm says which signals confirm a RED delay (confirm.*). The defaults are drops with marks, queue and controller.
type Confirm struct {
	// Drops and Queue are the local signals of the queue, Controller the rate controller's own distress.
	Drops, Queue, Controller bool
	// Marks counts packets that the queue marked (ECN) with those it dropped.
	Marks bool
	// QueueDelay is the delay that the queue itself adds from which it confirms (queue_delay_ms), where the queue tells it;
	// 0 turns it off.
	QueueDelay unit.Millis
	// Loss is the share of steering's own newest probes without an answer from which it confirms (loss_percent); 0 turns it
	// off.
	Loss unit.PPM
}

// Cap is what happens when a steering reaches its longest time.
type Cap uint8

// What can happen.
const (
	// CapAlert raises an alert, and nothing changes.
	CapAlert Cap = iota
	// CapReturn brings connections home, and steers again only after the primary was well.
	CapReturn
)

var capNames = [...]string{CapAlert: "alert", CapReturn: "return"}

// String returns "alert" or "return", the words the configuration uses.
func (c Cap) String() string {
	if int(c) < len(capNames) {
		return capNames[c]
	}
	return fmt.Sprintf("Cap(%d)", uint8(c))
}

// UnmarshalText reads "alert" or "return".
func (c *Cap) UnmarshalText(b []byte) error { return readWord(c, capNames[:], "cap", b) }

// Limits bound a steering in time (limits.*). The zero value bounds nothing.
type Limits struct {
	// HoldDown is how long the vote leaves connections on the alternate at least (hold_down_seconds). An alternate that turns
	// RED or falls silent, or a blindness, ends a steering before.
	HoldDown time.Duration
	// SteeredMax is the longest time a steering should take (steered_max_hours), 0 for any; Cap is what happens then.
	SteeredMax time.Duration
	Cap        Cap
	// Grace is how long a row of RED must last before the vote steers (autorate_grace_seconds), while the primary's rate
	// controller is alive and not at its end: it acts first.
	Grace time.Duration
}

// VoteFlap is the vote's brake on a line that comes and goes (flap_brake.*).
type VoteFlap struct {
	// Enabled turns the brake on (enabled).
	Enabled bool
	// Window is the time over which changes of state are counted (window_minutes), MaxToggles how many are still
	// unremarkable (max_toggles), and PenaltyFor how long the one that was too many is felt (penalty_seconds).
	Window     time.Duration
	MaxToggles int
	PenaltyFor time.Duration
	// RedFactor multiplies the consecutive RED that entering takes (red_factor), MarginFactor the margins by which the
	// alternate must be better (margin_factor); 1 to 100.
	RedFactor, MarginFactor int
}

// Herd is what is done about an alternate that degrades because connections moved there (herd_damping.*).
type Herd struct {
	// Enabled turns it on (enabled).
	Enabled bool
	// Within is how soon after the move its delay must go over YELLOW to be ours (within_seconds).
	Within time.Duration
	// BackOff is how long the line is left alone after the first time (backoff_minutes). It doubles with each time in a row,
	// up to MaxBackOff (backoff_max_minutes).
	BackOff, MaxBackOff time.Duration
}

func (c Config) validateAlternates(bad func(string, ...any)) {
	if n := len(c.Alternates); n < 1 || n > maxAlternates {
		bad("alternates: %d lines to move to are outside 1 to %d", n, maxAlternates)
	}
	for i, a := range c.Alternates {
		at := "alternate"
		switch {
		case i > 0:
			at = "alternates." + a.Name
		case a.Name != "" && a.Name == c.Primary:
			bad("topology.alternate_wan: %q is the primary too; name the other line", a.Name)
		}
		if i > 0 && strings.EqualFold(a.Name, c.Primary) {
			bad("%s: is the primary too; name another line", at)
		}
		if a.Name == "" && len(c.Alternates) > 1 {
			bad("topology.alternate_wan: one of several alternates has no name")
		}
		for _, b := range c.Alternates[:i] {
			if strings.EqualFold(a.Name, b.Name) {
				bad("%s: is named twice", at)
			}
		}
		if m := float64(a.MarginMS); math.IsNaN(m) || m < 0 || m > maxMillis {
			bad("%s.margin_ms: %v is outside 0 to %d", at, m, maxMillis)
		}
		if m := a.MarginShare; m < 0 || m > unit.One {
			bad("%s.margin_share: %v is outside 0 to 1", at, m.Factor())
		}
		if m := a.MaxLoad; m < 0 || m > unit.One {
			bad("%s.max_load: %v is outside 0 to 1", at, m.Factor())
		}
		if a.Room < 0 {
			bad("%s.room_mbps: %v is below 0", at, a.Room)
		}
	}
}

func (f Confirm) validate(bad func(string, ...any), c Config) {
	if m := float64(f.QueueDelay); math.IsNaN(m) || m < 0 || m > maxMillis {
		bad("confirm.queue_delay_ms: %v is outside 0 to %d", m, maxMillis)
	}
	if f.Loss < 0 || f.Loss > unit.One {
		bad("confirm.loss_percent: %v is outside 0 to 100", f.Loss.Factor()*100)
	}
	if c.CakeAware && c.Vote == VoteAll && (!f.Drops || !f.Queue) {
		bad("vote: all demands drops and queue; leave confirm.drops and confirm.queue on, or write vote: any")
	}
}

// within reports a duration that is outside 0 to a day.
func within(bad func(string, ...any), key string, d time.Duration) {
	if d < 0 || d > maxTimer {
		bad("%s: %v is outside 0 to %v", key, d, maxTimer)
	}
}

func (l Limits) validate(bad func(string, ...any)) {
	within(bad, "limits.hold_down_seconds", l.HoldDown)
	within(bad, "limits.autorate_grace_seconds", l.Grace)
	if l.SteeredMax < 0 || l.SteeredMax > maxSteered {
		bad("limits.steered_max_hours: %v is outside 0 to %v", l.SteeredMax, maxSteered)
	}
	if l.Cap > CapReturn {
		bad("limits.cap: %v is neither alert nor return", l.Cap)
	}
}

// maxSteered bounds limits.steered_max_hours: four weeks.
const maxSteered = 28 * 24 * time.Hour

func (f VoteFlap) validate(bad func(string, ...any)) {
	within(bad, "flap_brake.window_minutes", f.Window)
	within(bad, "flap_brake.penalty_seconds", f.PenaltyFor)
	if f.Enabled && f.Window <= 0 {
		bad("flap_brake.window_minutes must be above 0 while the brake is enabled")
	}
	samples(bad, "flap_brake.max_toggles", f.MaxToggles)
	for _, n := range []struct {
		key string
		n   int
	}{{"red_factor", f.RedFactor}, {"margin_factor", f.MarginFactor}} {
		if n.n < 1 || n.n > maxFactor {
			bad("flap_brake.%s: %d is outside 1 to %d", n.key, n.n, maxFactor)
		}
	}
}

// maxFactor bounds what the brake multiplies by.
const maxFactor = 100

func (h Herd) validate(bad func(string, ...any)) {
	within(bad, "herd_damping.within_seconds", h.Within)
	within(bad, "herd_damping.backoff_minutes", h.BackOff)
	within(bad, "herd_damping.backoff_max_minutes", h.MaxBackOff)
	if h.BackOff > h.MaxBackOff {
		bad("herd_damping: want backoff_minutes (%v) <= backoff_max_minutes (%v)", h.BackOff, h.MaxBackOff)
	}
}
