package shaper

import (
	"math"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestValidate(t *testing.T) {
	nan := unit.Millis(math.NaN())
	for _, c := range []struct {
		name string
		bend func(*Config)
		says string // empty: valid
	}{
		{"the cable line", func(*Config) {}, ""},
		{"the VDSL line", func(c *Config) { *c = att() }, ""},
		{"no initial baseline", func(c *Config) { c.BaselineInitial = 0 }, ""},
		{"the fastest loop", func(c *Config) { c.Period = 50 * time.Millisecond }, ""},
		{"critical has no meaning with three states", func(c *Config) { c.Down.FourState, c.Down.Critical = false, nan }, ""},
		{"floors equal to the ceiling", func(c *Config) { c.Up.Floor = one(c.Up.Ceiling) }, ""},
		{"too fast", func(c *Config) { c.Period = 49 * time.Millisecond }, "period 49ms: want 50ms to 1m0s"},
		{"too slow", func(c *Config) { c.Period = 61 * time.Second }, "period"},
		{"a period with nanoseconds", func(c *Config) { c.Period = time.Second + 1 }, "whole microseconds"},
		{"no bounds", func(c *Config) { c.BaselineMax = 0 }, "baseline bounds"},
		{"bounds beyond belief", func(c *Config) { c.BaselineMax = 10_001 }, "baseline bounds"},
		{"bounds not a number", func(c *Config) { c.BaselineMin = nan }, "baseline bounds"},
		{"initial baseline out of bounds", func(c *Config) { c.BaselineInitial = 501 }, "initial baseline 501.0ms"},
		{"initial baseline not a number", func(c *Config) { c.BaselineInitial = nan }, "initial baseline"},
		{"alpha 0", func(c *Config) { c.AlphaLoad = 0 }, "alpha of the load 0"},
		{"alpha over 1", func(c *Config) { c.AlphaBaseline = 1.1 }, "alpha of the baseline 1.1"},
		{"alpha not a number", func(c *Config) { c.AlphaLoad = math.NaN() }, "alpha of the load NaN"},
		{"update threshold", func(c *Config) { c.BaselineUpdate = 0 }, "baseline update threshold"},
		{"soft red", func(c *Config) { c.SoftRed = 2 }, "soft-red action SoftRedAction(2): want clamp or hold"},
		{"lift", func(c *Config) { c.Lift = 7 }, "floor lift FloorLift(7): want state or green"},
		{"cut interval", func(c *Config) { c.CutInterval = -1 }, "cut interval"},
		{"rebaseline too soon", func(c *Config) { c.RebaselineAfter = 4 * time.Second }, "rebaseline after 4s: want 5s to 10m0s"},
		{"rebaseline beyond the window", func(c *Config) { c.RebaselineAfter = 11 * time.Minute }, "rebaseline after"},
		{"four states up", func(c *Config) { c.Up.FourState, c.Up.Critical = true, 80 }, "upload: four states are for the download only"},
		{"floors out of order", func(c *Config) { c.Down.Floor[link.Yellow] = 600 * unit.Mbps }, "download: floors red 200000000"},
		{"floor over the ceiling", func(c *Config) { c.Up.Floor = one(39 * unit.Mbps) }, "upload: floors"},
		{"no floor", func(c *Config) { c.Up.Floor = one(0) }, "upload: floors"},
		{"ceiling beyond belief", func(c *Config) { c.Down.Ceiling = unit.MaxRate + 1 }, "download: ceiling"},
		{"no step", func(c *Config) { c.Up.StepUp = 0 }, "upload: step up"},
		{"factor over 1", func(c *Config) { c.Down.FactorDown = unit.One + 1 }, "download: cut factor"},
		{"factor under 0.1", func(c *Config) { c.Down.FactorDown = 99_999 }, "cut factor 9.9999%: want 10% to 100%"},
		{"yellow factor", func(c *Config) { c.Down.FactorDownYellow = 0 }, "yellow factor"},
		{"target not under warn", func(c *Config) { c.Up.Target = c.Up.Warn }, "upload: target 45.0ms and warn 45.0ms"},
		{"warn not a number", func(c *Config) { c.Up.Warn = nan }, "upload: target"},
		{"critical not over warn", func(c *Config) { c.Down.Critical = 45 }, "download: critical"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := spectrum()
			c.bend(&k)
			err := k.Validate()
			_, newErr := New(k)
			switch {
			case c.says == "" && (err != nil || newErr != nil):
				t.Errorf("refused: %v, %v", err, newErr)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("error %v, want %q in it", err, c.says)
			case c.says != "" && newErr == nil:
				t.Error("New took what Validate refuses")
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Config{}.Validate()
	for _, want := range []string{"period", "baseline bounds", "alpha of the load", "rebaseline", "download: floors", "upload: floors", "upload: cut factor"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from %v", want, err)
		}
	}
}

func TestWords(t *testing.T) {
	if Clamp.String() != "clamp" || Hold.String() != "hold" || LiftState.String() != "state" || LiftGreen.String() != "green" {
		t.Error("a word of the configuration changed")
	}
}

func TestReconfigure(t *testing.T) {
	d := start(t, spectrum())
	d.feed(8, 24, 0, 0)
	d.feed(4, 300, 0, 0)
	before := d.Snapshot()
	if err := d.Reconfigure(Config{}); err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	if d.Config() != spectrum() || d.Snapshot().Sides != before.Sides {
		t.Error("a refused configuration changed something")
	}
	c := att()
	c.BaselineMin, c.BaselineInitial = 26, 28
	if err := d.Reconfigure(c); err != nil {
		t.Fatal(err)
	}
	d.must(t, "rates are clamped", d.Rates(), link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps})
	after := d.Snapshot()
	d.must(t, "load stays", after.Load, before.Load)
	d.must(t, "baseline is brought into its bounds", after.Baseline, unit.Millis(26))
}

// Streaks keep their time when the period changes, and SOFT_RED does not outlive the four states.
func TestReconfigurePeriod(t *testing.T) {
	c := spectrum()
	d := start(t, c)
	d.feed(5, 300, 0, 0)
	d.feed(40, 24, 0, 0)
	green := d.Snapshot().Sides.Down.Green
	c.Period = 500 * time.Millisecond
	if err := d.Reconfigure(c); err != nil {
		t.Fatal(err)
	}
	d.must(t, "four times as many samples", d.Snapshot().Sides.Down.Green, 4*green)
	c.Period = 60 * time.Second
	if err := d.Reconfigure(c); err != nil {
		t.Fatal(err)
	}
	d.must(t, "rounded down", d.Snapshot().Sides.Down.Green, 4*green/120)

	d = start(t, spectrum())
	d.feed(40, 84, 0, 0)
	d.must(t, "state", d.last.State.Down, link.SoftRed)
	if err := d.Reconfigure(att()); err != nil {
		t.Fatal(err)
	}
	d.must(t, "state under three states", d.feed(1, 0, 0, 0).State.Down, link.Yellow)
}
