package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/shaper"
)

type shaperConfig = shaper.Config

func simulate(t *testing.T, c simPlayCmd) string {
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
		c := simPlayCmd{Scenario: name, Seed: 9, Latency: 150 * time.Millisecond, JSON: true}
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
		out := simulate(t, simPlayCmd{Scenario: name, Seed: 1})
		if !strings.Contains(out, "scenario "+name) || !strings.Contains(out, "Spectrum") {
			t.Errorf("%s prints:\n%s", name, out)
		}
	}
	if out := simulate(t, simPlayCmd{}); !strings.Contains(out, "reflector-lies") {
		t.Errorf("the list lacks a scenario:\n%s", out)
	}
}

func TestSimFaults(t *testing.T) {
	for want, c := range map[string]simPlayCmd{
		`no scenario "dorp"`: {Scenario: "dorp"},
		"the simulated house has one: leave alternates out": {Scenario: "drop", Configs: []string{filepath.Join(repository, "configs", "steering_three_lines.yaml")}},
		"open the trace":   {Scenario: "drop", Trace: "/nowhere/x.down"},
		"cannot be opened": {Scenario: "drop", Configs: []string{"/nowhere/wan.yaml"}},
	} {
		c.Control = "wanctl"
		if err := c.Run(quietApp()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func benchmark(t *testing.T, c simBenchCmd) (string, string, error) {
	t.Helper()
	app := quietApp()
	var out, told bytes.Buffer
	app.Stdout, app.Stderr = &out, &told
	err := c.Run(app)
	return out.String(), told.String(), err
}

func TestSimBench(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "frontier.svg")
	c := simBenchCmd{Scenario: []string{"drop", "square5"}, Policy: []string{"steps", "static"}, Delay: time.Millisecond, Plot: plot}
	out, told, err := benchmark(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"drop, wan1 download", "drop, wan2 upload", "square, wan1 download", "* steps", "all groups, means of 3"} {
		if !strings.Contains(out, want) {
			t.Errorf("it prints no %q:\n%s", want, out)
		}
	}
	if told != "" {
		t.Errorf("progress where no terminal is: %q", told)
	}
	if b, err := os.ReadFile(plot); err != nil || !bytes.HasPrefix(b, []byte("<svg ")) {
		t.Errorf("the plot is %.20q, %v", b, err)
	}
	c.JSON = true
	if out, _, err = benchmark(t, c); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema int
		Rows   []struct {
			Policy string
			Share  float64
		}
		Groups []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 6 || len(got.Groups) != 3 || got.Schema != 1 || got.Rows[0].Policy != "static" || got.Rows[0].Share < 0.3 {
		t.Errorf("as JSON it is %+v", got)
	}
}

func TestSimBenchPlaysRecordings(t *testing.T) {
	dir := t.TempDir()
	var line strings.Builder
	for ms := range 12_000 {
		fmt.Fprintln(&line, ms)
	}
	for name, text := range map[string]string{"a.down": line.String(), "notes.txt": "none\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, told, err := benchmark(t, simBenchCmd{Scenario: []string{"none"}, Policy: []string{"static"}, Traces: dir, Length: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "., upload") || !strings.Contains(told, "skipped: "+filepath.Join(dir, "notes.txt")) {
		t.Errorf("it prints:\n%s\n%s", out, told)
	}
}

func TestSimBenchTellsItsProgressOnATerminal(t *testing.T) {
	app := quietApp()
	var told bytes.Buffer
	app.Stdout, app.Stderr, app.Terminal = io.Discard, &told, true
	if err := (simBenchCmd{Scenario: []string{"drop70"}, Policy: []string{"none", "static"}}).Run(app); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told.String(), "\r2 of 2 runs in ") {
		t.Errorf("it tells %q", told.String())
	}
}

func TestSimBenchFaults(t *testing.T) {
	for want, c := range map[string]simBenchCmd{
		`no policy "magic"`:  {Policy: []string{"magic"}},
		"did you mean drop":  {Scenario: []string{"dorp"}},
		"cannot be read":     {Scenario: []string{"drop"}, Traces: "/nowhere"},
		"write the plot":     {Scenario: []string{"drop70"}, Policy: []string{"none"}, Plot: "/nowhere/x.svg"},
		"needs a case":       {Scenario: []string{"none"}, Policy: []string{"none"}},
		"is outside 0 to 1s": {Scenario: []string{"drop70"}, Policy: []string{"none"}, Delay: time.Minute},
	} {
		if _, _, err := benchmark(t, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if out, _, err := benchmark(t, simBenchCmd{Policy: []string{"list"}}); err != nil || !strings.Contains(out, "clairvoyant") {
		t.Errorf("the list is %q, %v", out, err)
	}
}
