package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/shaper"
)

type shaperConfig = shaper.Config

func simulate(t *testing.T, c simCmd) string {
	t.Helper()
	app := quietApp()
	var out bytes.Buffer
	app.Stdout = &out
	if c.Control == "" {
		c.Control = "wanctl"
	}
	if err := c.Run(app); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSimIsExactToTheByte(t *testing.T) {
	for _, name := range []string{"drop", "evening"} {
		c := simCmd{Scenario: name, Seed: 9, Latency: 150 * time.Millisecond, JSON: true}
		if a, b := simulate(t, c), simulate(t, c); a != b {
			t.Errorf("%s: two runs of one seed differ:\n%s\n%s", name, a, b)
		}
	}
}

func TestSimRunsEveryScenario(t *testing.T) {
	for _, name := range netsim.Names() {
		if name == "day" {
			continue // its hours are played by the benchmark
		}
		out := simulate(t, simCmd{Scenario: name, Seed: 1})
		if !strings.Contains(out, "scenario "+name) || !strings.Contains(out, "Spectrum") {
			t.Errorf("%s prints:\n%s", name, out)
		}
	}
	if out := simulate(t, simCmd{}); !strings.Contains(out, "reflector-lies") {
		t.Errorf("the list lacks a scenario:\n%s", out)
	}
}

func TestSimFaults(t *testing.T) {
	for want, c := range map[string]simCmd{
		`no scenario "dorp"`: {Scenario: "dorp"},
		"open the trace":     {Scenario: "drop", Trace: "/nowhere/x.down"},
		"cannot be opened":   {Scenario: "drop", Configs: []string{"/nowhere/wan.yaml"}},
	} {
		c.Control = "wanctl"
		if err := c.Run(quietApp()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
