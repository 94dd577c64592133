package steer_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

func TestConfigValidate(t *testing.T) {
	if err := config().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	nan := math.NaN()
	cases := []struct {
		want string
		turn func(*steer.Config)
	}{
		{"primary_wan", func(c *steer.Config) { c.Primary = "" }},
		{"alternate_wan", func(c *steer.Config) { c.Alternates[0].Name = c.Primary }},
		{"interval_seconds", func(c *steer.Config) { c.Interval = 499 * time.Millisecond }},
		{"interval_seconds", func(c *steer.Config) { c.Interval = 61 * time.Second }},
		{"vote", func(c *steer.Config) { c.Vote = 7 }},
		{"baseline_rtt_bounds", func(c *steer.Config) { c.BaselineMin = 0 }},
		{"baseline_rtt_bounds", func(c *steer.Config) { c.BaselineMax = c.BaselineMin }},
		{"history_size", func(c *steer.Config) { c.HistorySize = 0 }},
		{"yellow_rtt_ms", func(c *steer.Config) { c.Thresholds.YellowRTT = unit.Millis(nan) }},
		{"green_rtt_ms", func(c *steer.Config) { c.Thresholds.GreenRTT = 16 }},
		{"red_rtt_ms", func(c *steer.Config) { c.Thresholds.RedRTT = 14 }},
		{"min_drops_red", func(c *steer.Config) { c.Thresholds.MinDropsRed = nan }},
		{"min_queue_yellow", func(c *steer.Config) { c.Thresholds.MinQueueYellow = 0 }},
		{"min_queue_red", func(c *steer.Config) { c.Thresholds.MinQueueRed = 9 }},
		{"rtt_ewma_alpha", func(c *steer.Config) { c.Thresholds.RTTAlpha = 1.1 }},
		{"queue_ewma_alpha", func(c *steer.Config) { c.Thresholds.QueueAlpha = 0 }},
		{"red_samples_required", func(c *steer.Config) { c.Thresholds.RedSamples = 0 }},
		{"green_samples_required", func(c *steer.Config) { c.Thresholds.GreenSamples = 1001 }},
		{"recovery_threshold_ms", func(c *steer.Config) { c.RTTOnly.Recovery = 26 }},
		{"bad_samples", func(c *steer.Config) { c.RTTOnly.BadSamples = 0 }},
		{"good_samples", func(c *steer.Config) { c.RTTOnly.GoodSamples = -1 }},
		{"margin_ms", func(c *steer.Config) { c.Alternates[0].MarginMS = -1 }},
		{"margin_share", func(c *steer.Config) { c.Alternates[0].MarginShare = unit.One + 1 }},
		{"steer_threshold", func(c *steer.Config) { c.V3.SteerThreshold = 101 }},
		{"recovery_threshold", func(c *steer.Config) { c.V3.RecoveryThreshold = 70 }},
		{"sustain_duration_sec", func(c *steer.Config) { c.V3.Sustain = -1 }},
		{"hold_down_duration_sec", func(c *steer.Config) { c.V3.HoldDown = 25 * time.Hour }},
		{"window_minutes", func(c *steer.Config) { c.V3.Flap.Window = 0 }},
		{"max_toggles", func(c *steer.Config) { c.V3.Flap.MaxToggles = 0 }},
		{"penalty_threshold_add", func(c *steer.Config) { c.V3.Flap.PenaltyAdd = -5 }},
		{"lines to move to", func(c *steer.Config) { c.Alternates = nil }},
		{"lines to move to", func(c *steer.Config) {
			for i := range 9 {
				c.Alternates = append(c.Alternates, steer.Candidate{Name: fmt.Sprint(i)})
			}
		}},
		{"alternates.Spectrum: is the primary", func(c *steer.Config) { c.Alternates = append(c.Alternates, steer.Candidate{Name: "Spectrum"}) }},
		{"alternates.ATT: is named twice", func(c *steer.Config) { c.Alternates = append(c.Alternates, steer.Candidate{Name: "ATT"}) }},
		{"has no name", func(c *steer.Config) { c.Alternates = append(c.Alternates, steer.Candidate{}) }},
		{"alternate.max_load", func(c *steer.Config) { c.Alternates[0].MaxLoad = -1 }},
		{"alternate.room_mbps", func(c *steer.Config) { c.Alternates[0].Room = -1 }},
		{"confirm.queue_delay_ms", func(c *steer.Config) { c.Confirm.QueueDelay = unit.Millis(nan) }},
		{"confirm.loss_percent", func(c *steer.Config) { c.Confirm.Loss = unit.One + 1 }},
		{"vote: all demands", func(c *steer.Config) { c.Vote, c.Confirm.Drops = steer.VoteAll, false }},
		{"limits.hold_down_seconds", func(c *steer.Config) { c.Limits.HoldDown = -1 }},
		{"limits.autorate_grace_seconds", func(c *steer.Config) { c.Limits.Grace = 25 * time.Hour }},
		{"limits.steered_max_hours", func(c *steer.Config) { c.Limits.SteeredMax = 700 * time.Hour }},
		{"limits.cap", func(c *steer.Config) { c.Limits.Cap = 9 }},
		{"flap_brake.window_minutes", func(c *steer.Config) { c.Flap.Enabled, c.Flap.Window = true, 0 }},
		{"flap_brake.max_toggles", func(c *steer.Config) { c.Flap.MaxToggles = 0 }},
		{"flap_brake.penalty_seconds", func(c *steer.Config) { c.Flap.PenaltyFor = -1 }},
		{"flap_brake.red_factor", func(c *steer.Config) { c.Flap.RedFactor = 0 }},
		{"flap_brake.margin_factor", func(c *steer.Config) { c.Flap.MarginFactor = 101 }},
		{"herd_damping.within_seconds", func(c *steer.Config) { c.Herd.Within = -1 }},
		{"backoff_minutes (1h0m0s) <= backoff_max_minutes", func(c *steer.Config) { c.Herd.BackOff = time.Hour }},
		{"AQM target", func(c *steer.Config) { c.V3.CakeTarget = unit.Millis(nan) }},
	}
	all := config()
	for _, k := range cases {
		c := config()
		k.turn(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("want an error about %s, got %v", k.want, err)
		}
		if _, err := steer.New(c); err == nil {
			t.Errorf("%s: New accepts it", k.want)
		}
		k.turn(&all)
	}
	if n := strings.Count(all.Validate().Error(), "\n") + 1; n < 20 {
		t.Errorf("all at once gives %d errors, want them all", n)
	}
}

func TestWords(t *testing.T) {
	for _, v := range []steer.Vote{steer.VoteAny, steer.VoteAll} {
		text, err := v.MarshalText()
		var back steer.Vote
		if err != nil || back.UnmarshalText(text) != nil || back != v {
			t.Errorf("vote %v: %q %v, back %v", v, text, err, back)
		}
	}
	for _, v := range []steer.State{steer.Good, steer.Degraded} {
		text, err := v.MarshalText()
		var back steer.State
		if err != nil || back.UnmarshalText(text) != nil || back != v {
			t.Errorf("state %v: %q %v, back %v", v, text, err, back)
		}
	}
	if _, err := steer.State(9).MarshalText(); err == nil {
		t.Error("state 9 has a text")
	}
	if _, err := steer.Vote(9).MarshalText(); err == nil {
		t.Error("vote 9 has a text")
	}
	for s := steer.Quiet; s <= steer.Missing; s++ {
		var back steer.Signal
		if text, err := s.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("signal %v: %q %v, back %v", s, text, err, back)
		}
	}
	for v := steer.NotChecked; v <= steer.Barred; v++ {
		var back steer.Verdict
		if text, err := v.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != v {
			t.Errorf("verdict %v: %q %v, back %v", v, text, err, back)
		}
	}
	for c := steer.Green; c <= steer.Down; c++ {
		var back steer.Congestion
		if text, err := c.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != c {
			t.Errorf("assessment %v: %q %v, back %v", c, text, err, back)
		}
	}
	for c := steer.CapAlert; c <= steer.CapReturn; c++ {
		var back steer.Cap
		if back.UnmarshalText([]byte(c.String())) != nil || back != c {
			t.Errorf("cap %v, back %v", c, back)
		}
	}
	if new(steer.Signal).UnmarshalText([]byte("loud")) == nil || new(steer.Cap).UnmarshalText(nil) == nil || steer.Cap(9).String() != "Cap(9)" {
		t.Error("an unknown word is accepted")
	}
	if new(steer.Vote).UnmarshalText([]byte("some")) == nil || new(steer.State).UnmarshalText([]byte("BAD")) == nil {
		t.Error("an unknown word is accepted")
	}
	for want, got := range map[string]fmt.Stringer{
		"DOWN": steer.Down, "Congestion(9)": steer.Congestion(9), "worn": steer.Worn, "Signal(9)": steer.Signal(9),
		"no_margin": steer.NoMargin, "Verdict(9)": steer.Verdict(9), "State(9)": steer.State(9), "Vote(9)": steer.Vote(9),
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got.String(), want)
		}
	}
	text, err := json.Marshal(map[string]any{"r": steer.Reason{Queue: steer.Over, Alternates: []steer.View{{Verdict: steer.Better}}}, "c": steer.Red})
	if want := `"queue":"over"`; err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), `"c":"RED"`) {
		t.Errorf("%s %v, want %s", text, err, want)
	}
}
