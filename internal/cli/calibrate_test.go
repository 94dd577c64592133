package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"wanctl/internal/calibrate"
	"wanctl/internal/config"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/score"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// recordedHouse plays a scenario with the shipped examples and returns where the two lines' recordings are.
func recordedHouse(t *testing.T, s netsim.Scenario, policy string) string {
	t.Helper()
	app := quietApp()
	site, err := app.simSites(nil, policy)
	if err != nil {
		t.Fatal(err)
	}
	setup := siteSetup(s, site, "wanctl", 150*time.Millisecond)
	dir := t.TempDir()
	tapes, err := simPlayCmd{Journal: dir}.record(setup.Lines)
	if err != nil {
		t.Fatal(err)
	}
	run, err := score.New(setup, nil)
	if err != nil {
		t.Fatal(err)
	}
	run.Advance(run.Net().End())
	for _, tape := range tapes {
		if err := tape.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// calibrated runs the command and returns what it prints.
func calibrated(t *testing.T, args ...string) (out, complaints string, code int) {
	t.Helper()
	app := quietApp()
	var stdout, stderr bytes.Buffer
	app.Stdout, app.Stderr, app.ReadFile = &stdout, &stderr, os.ReadFile
	state := t.TempDir()
	app.Getenv = func(name string) string {
		return map[string]string{"STATE_DIRECTORY": state, "RUNTIME_DIRECTORY": state}[name]
	}
	code = Main(append([]string{"calibrate"}, args...), app)
	return stdout.String(), stderr.String(), code
}

func findings(t *testing.T, args ...string) (r struct {
	calibrate.Report
	YAML string `json:"yaml"`
},
) {
	t.Helper()
	out, complaints, code := calibrated(t, append(args, "--json")...)
	if code != 0 {
		t.Fatalf("%d: %s", code, complaints)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func example(name string) string { return filepath.Join(repository, "configs", name) }

// builtin is a scenario of the simulator.
func builtin(t *testing.T, name string) netsim.Scenario {
	t.Helper()
	s, err := netsim.Builtin(name, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// steady fills both lines, one direction at a time, at capacities that do not change: 900/38 and 85/16 Mbit/s.
func steady(t *testing.T) netsim.Scenario {
	s := builtin(t, "idle")
	s.Name, s.Duration = "steady", 12*time.Minute
	for l := range s.Links {
		s.Flows = append(s.Flows,
			netsim.Flow{Kind: netsim.Bulk, Link: l, Dir: link.Down, Count: 4, Start: 30 * time.Second, Stop: 330 * time.Second},
			netsim.Flow{Kind: netsim.Bulk, Link: l, Dir: link.Up, Count: 2, Start: 360 * time.Second, Stop: 660 * time.Second})
	}
	return s
}

// truth is what a direction of a line carries by its scenario: usually, and at its worst, 0 where chance decides.
type truth struct {
	dir          link.Direction
	usual, least float64
}

// TestCalibrationAgainstTheTruth compares what a recording tells of a line with what the simulated line is. docs/measurements.md
// has its figures: go test ./internal/cli -run TestCalibrationAgainstTheTruth -v
func TestCalibrationAgainstTheTruth(t *testing.T) {
	type lines map[string][]truth
	cases := []struct {
		name, policy string
		scenario     netsim.Scenario
		lines        lines
	}{
		{"steady", "steps", steady(t), lines{
			"Spectrum": {{link.Down, 900, 900}},
			"ATT":      {{link.Down, 85, 85}, {link.Up, 16, 16}},
		}},
		{"evening", "tracking", builtin(t, "evening"), lines{"Spectrum": {{link.Down, 600, 575}}}},
		{"square", "tracking", builtin(t, "square"), lines{"Spectrum": {{link.Down, 700, 500}}}},
	}
	if os.Getenv("WANCTL_LONG") != "" {
		day := lines{"Spectrum": {{link.Down, 900, 0}}, "ATT": {{link.Down, 85, 85}, {link.Up, 16, 16}}}
		for _, policy := range []string{"steps", "tracking"} {
			cases = append(cases, struct {
				name, policy string
				scenario     netsim.Scenario
				lines        lines
			}{"day", policy, builtin(t, "day"), day})
		}
	}
	for _, c := range cases {
		dir := recordedHouse(t, c.scenario, c.policy)
		for wan, truths := range c.lines {
			r := findings(t, example(strings.ToLower(wan)+"_config.yaml"), filepath.Join(dir, wan+".journal"))
			for _, want := range truths {
				w := r.Ways.Get(want.dir)
				t.Logf("%-8s %-8s %-8s %-8s truth %5.1f, least %5.1f; found %5.1f, least %5.1f (%d stretches, %s full)", c.name, c.policy, wan, want.dir,
					want.usual, want.least, w.Line.P50.Mbps(), w.Line.Least.Mbps(), w.Line.N, w.Line.For.Round(time.Second))
				if got := w.Line.P50.Mbps(); got < 0.9*want.usual || got > 1.1*want.usual {
					t.Errorf("%s of %s carries %v, found %v", want.dir, wan, want.usual, got)
				}
				if got := w.Line.Least.Mbps(); want.least > 0 && (got < 0.9*want.least || got > 1.1*want.least) {
					t.Errorf("%s of %s carries at least %v, found %v", want.dir, wan, want.least, got)
				}
			}
			merged(t, strings.ToLower(wan)+"_config.yaml", r.YAML)
		}
	}
}

// merged puts a fragment into a configuration, as a person would, and has it checked.
func merged(t *testing.T, name, fragment string) {
	t.Helper()
	text, err := os.ReadFile(example(name))
	if err != nil {
		t.Fatal(err)
	}
	if _, ds := config.Parse(name, strings.NewReader(mergedText(t, string(text), fragment)), config.Options{Dirs: config.Dirs{Run: "/run", State: "/state"}}); ds.Err() != nil {
		t.Errorf("with the recommendations:\n%s\n%v", fragment, ds.Err())
	}
}

func merge(to, from map[string]any) {
	for k, v := range from {
		a, inside := to[k].(map[string]any)
		b, section := v.(map[string]any)
		if inside && section {
			merge(a, b)
			continue
		}
		to[k] = v
	}
}

// A recording that is cut off, of another line, twice there, compressed or none at all: each is used, or said.
func TestCalibrateHostileRecordings(t *testing.T) {
	dir := recordedHouse(t, builtin(t, "square"), "steps")
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := read("Spectrum.journal")
	cut := write("cut.journal", whole[:len(whole)/2])
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(whole)
	_ = z.Close()
	packed := write("packed.journal.gz", zipped.Bytes())
	torn := write("torn.journal.gz", zipped.Bytes()[:zipped.Len()/2])
	junk := write("junk.journal", []byte("hello\n"))
	empty := write("empty.journal", nil)
	spectrum, att := filepath.Join(dir, "Spectrum.journal"), filepath.Join(dir, "ATT.journal")
	cfg := example("spectrum_config.yaml")

	all := findings(t, cfg, spectrum)
	if all.Cycles != 60 || len(all.Notes) != 1 {
		t.Errorf("%d cycles, %q", all.Cycles, all.Notes)
	}
	if r := findings(t, cfg, packed); r.Cycles != all.Cycles {
		t.Errorf("compressed: %d cycles", r.Cycles)
	}
	if r := findings(t, cfg, spectrum, packed); r.Cycles != all.Cycles || !strings.Contains(strings.Join(r.Notes, "\n"), "the same part of a recording as") {
		t.Errorf("twice: %d cycles, %q", r.Cycles, r.Notes)
	}
	for _, path := range []string{cut, torn} {
		if r := findings(t, cfg, path); r.Cycles == 0 || r.Cycles >= all.Cycles || !strings.Contains(strings.Join(r.Notes, "\n"), "cut off or damaged") {
			t.Errorf("%s: %d cycles, %q", path, r.Cycles, r.Notes)
		}
	}
	for want, args := range map[string][]string{
		`it is a recording of "ATT", and the configuration is of "Spectrum"`: {att},
		"not a journal this version of wanctl can read":                      {junk},
		"it does not begin with":                                             {empty},
		"no such file":                                                       {filepath.Join(dir, "none")},
	} {
		if _, complaints, code := calibrated(t, append([]string{cfg}, args...)...); code != exitFailed || !strings.Contains(complaints, want) {
			t.Errorf("%s: %d, %s", want, code, complaints)
		}
	}

	// By itself it takes the recordings in journal.dir: those of the line, and not of one whose name begins alike.
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ring := filepath.Join(dir, "ring[1]")
	if err := os.Mkdir(ring, 0o755); err != nil {
		t.Fatal(err)
	}
	own := write("own.yaml", append(text, fmt.Sprintf("\njournal: {dir: %q}\n", ring)...))
	if out, complaints, code := calibrated(t, own); code != 0 || !strings.Contains(out, "There is no recording in "+ring) {
		t.Errorf("%d, %s\n%s", code, complaints, out)
	}
	write("ring[1]/Spectrum-20260107T023500.000Z-0000.journal", whole)
	write("ring[1]/Spectrum-2-20260107T023500.000Z-0000.journal", read("ATT.journal"))
	write("ring[1]/Spectrum-20260107T023500.000Z-0001.journal", []byte("junk"))
	if r := findings(t, own); r.Cycles != all.Cycles || !strings.Contains(strings.Join(r.Notes, "\n"), "was passed over") {
		t.Errorf("its own: %d cycles, %q", r.Cycles, r.Notes)
	}

	out, _, _ := calibrated(t, cfg, spectrum)
	for _, want := range []string{"Spectrum: 0.0 h of history in 1 files, 60 cycles", "full, it carried", "hour  cycles", "reflector  ", "download.ceiling_mbps", "# Spectrum: "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// Segments that follow each other are one recording.
func TestSegmentsGoOn(t *testing.T) {
	h := &past{seen: map[segment]string{}}
	h.Begin(calibrate.Setting{}, nil)
	if h.next == (segment{n: 1}) {
		t.Error("nothing was read and something follows")
	}
	dir := recordedHouse(t, builtin(t, "idle"), "steps")
	if err := h.file(filepath.Join(dir, "ATT.journal"), "ATT"); err != nil {
		t.Fatal(err)
	}
	if h.next.n != 1 || h.next.run == 0 {
		t.Errorf("next is %+v", h.next)
	}
}

// What limits a file gives, and under which names, decides what can be recommended.
func TestSettingOf(t *testing.T) {
	parse := func(name string, more ...string) calibrate.Setting {
		t.Helper()
		b, err := os.ReadFile(example(name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(more...).Replace(string(b))
		f, ds := config.Parse(name, strings.NewReader(text), config.Options{Dirs: config.Dirs{Run: "/run", State: "/state"}})
		if ds.Err() != nil {
			t.Fatal(ds.Err())
		}
		s, err := settingOf(f.WAN, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := parse("spectrum_config.yaml")
	if w := s.Ways.Down; w.FloorKeys[link.Red] != "floor_red_mbps" || w.Floors[link.Green] != 550*unit.Mbps || w.CeilingKey != "ceiling_mbps" || w.Base != 0 || s.Critical != 80 {
		t.Errorf("%+v", s)
	}
	s = parse("att_config.yaml")
	if w := s.Ways.Down; w.FloorKeys != [link.States]string{link.Red: "floor_mbps"} || w.Target != 3 || s.Ways.Up.Target != 0 || s.Critical != 0 {
		t.Errorf("%+v", s)
	}
	s = parse("minimal.yaml")
	if w := s.Ways.Down; s.Tracking && (w.Ceiling != 0 || w.CeilingKey != "ceiling_mbps") {
		t.Errorf("%+v", s)
	}
}

// mergedText is a file with a recommended part in it.
func mergedText(t *testing.T, text, fragment string) string {
	t.Helper()
	var whole, part map[string]any
	for _, c := range []struct {
		text string
		to   *map[string]any
	}{{text, &whole}, {fragment, &part}} {
		if err := yaml.Unmarshal([]byte(c.text), c.to); err != nil {
			t.Fatalf("%v:\n%s", err, c.text)
		}
	}
	merge(whole, part)
	b, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is recommended of an idle line can be put into its file as it stands, whatever the baseline, the noise and the names that
// the file uses.
func TestFragmentsAreTaken(t *testing.T) {
	b, err := os.ReadFile(example("spectrum_config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	plain := string(b)
	change := func(pairs ...string) string {
		text := strings.NewReplacer(pairs...).Replace(plain)
		if text == plain {
			t.Fatalf("nothing of %q is there", pairs)
		}
		return text
	}
	const section = "continuous_monitoring:\n"
	texts := map[string]string{
		"the usual names": plain,
		"earlier names":   change("critical_bloat_ms", "hard_red_bloat_ms", "  thresholds:\n", "  thresholds:\n    baseline_rtt_bounds: {min: 10, max: 60}\n"),
		"both names": change("    critical_bloat_ms: 80", "    hard_red_bloat_ms: 80\n    critical_bloat_ms: 80",
			"  thresholds:\n", "  thresholds:\n    baseline_rtt_bounds: {min: 10, max: 60}\n", section, section+"  baseline_rtt_bounds: {min: 10, max: 60}\n"),
		"bounds as wide as can be": change(section, section+"  baseline_rtt_bounds: {min: 0.001, max: 10000}\n"),
	}
	for name, text := range texts {
		for _, baseline := range []unit.Millis{0.0009, 0.3, 0.96, 10, 24, 60, 490, 600, 4000, 9500} {
			for _, noise := range []unit.Millis{0, 14, 100} {
				f, ds := config.Parse("it", strings.NewReader(text), config.Options{Dirs: config.Dirs{Run: "/run", State: "/state"}})
				if ds.Err() != nil {
					t.Fatalf("%s: %v", name, ds.Err())
				}
				set, err := settingOf(f.WAN, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				var h calibrate.History
				h.Begin(set, nil)
				for now := unit.Time(1); now < unit.Time(15*time.Minute); now = now.Add(2 * time.Second) {
					h.Add(calibrate.Moment{
						Now: now, Cycle: &link.Decision{Now: now, Measured: true, RTT: baseline + noise, Baseline: baseline, Delta: noise},
						Counters: []link.Counters{{At: now}},
					})
				}
				report := h.Report("Spectrum", set, nil)
				part := fragmentOf(&report)
				if _, ds := config.Parse("it", strings.NewReader(mergedText(t, text, part)), config.Options{Dirs: config.Dirs{Run: "/run", State: "/state"}}); ds.Err() != nil {
					t.Errorf("%s, baseline %v, noise %v: %v with\n%s", name, baseline, noise, ds.Err(), part)
				}
				if removes := strings.Contains(strings.Join(report.Notes, "\n"), "Remove baseline_rtt_initial"); removes != (baseline < 0.95 || baseline > 500) {
					t.Errorf("%s, baseline %v: %q", name, baseline, report.Notes)
				}
			}
		}
	}
}
