package score

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func shipped(name string) (Case, error) {
	s, err := scenario.Builtin(name, scenario.Options{})
	if err != nil {
		return Case{}, err
	}
	return ScenarioCase(s)
}

// bench plays scenarios under policies, both by name.
func bench(t *testing.T, scenarios, policies []string, o BenchOptions) *Bench {
	t.Helper()
	var cases []Case
	for _, n := range scenarios {
		c, err := shipped(n)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	p, err := PolicyNamed(policies)
	if err != nil {
		t.Fatal(err)
	}
	b, err := RunBench(t.Context(), cases, p, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Bench) row(t *testing.T, scenario, line string, d link.Direction, policy string) *Row {
	t.Helper()
	for i := range b.Rows {
		if r := &b.Rows[i]; r.Case == scenario && r.Link == line && r.Dir == d.String() && r.Policy == policy {
			return r
		}
	}
	t.Fatalf("no row of %s, %s %s, %s", scenario, line, d, policy)
	return nil
}

// The figures on the right are those of the kernel's laboratory, with real CAKE and TCP: of docs/lab for none, nominal
// (there called static) and steps, and for the reference model of the program that it models, measured on a prototype of
// that laboratory as round trips.
func TestTheBenchAgreesWithTheKernel(t *testing.T) {
	b := bench(t, []string{"drop", "drop30", "drop70", "square", "full", "full-drop"}, []string{"none", "nominal", "steps", "reference"},
		BenchOptions{Delay: time.Millisecond})
	for _, c := range []struct {
		scenario, line string
		dir            link.Direction
		policy         string
		share          float64
		p95            unit.Millis
	}{
		{"drop", "wan1", link.Down, "none", 1.000, 782},
		{"drop", "wan1", link.Down, "nominal", 0.962, 763},
		{"drop", "wan1", link.Down, "steps", 0.744, 37},
		{"drop", "wan1", link.Down, "reference", 0.98, 82},
		{"drop", "wan2", link.Up, "nominal", 0.965, 384},
		{"drop", "wan2", link.Up, "steps", 0.790, 2.7},
		{"drop", "wan2", link.Up, "reference", 0.98, 91},
		{"drop30", "wan1", link.Down, "steps", 0.730, 49},
		{"drop30", "wan1", link.Down, "reference", 0.93, 89},
		{"drop70", "wan1", link.Down, "steps", 0.842, 1.1},
		{"drop70", "wan1", link.Down, "reference", 1, 76},
		{"square", "wan1", link.Down, "steps", 0.655, 37},
		{"square", "wan1", link.Down, "nominal", 0.965, 96},
		{"square", "wan1", link.Down, "reference", 0.92, 111},
		{"full", "wan1", link.Down, "nominal", 0.950, 0},
		{"full", "wan2", link.Down, "nominal", 0.943, 0.8},
		{"full", "wan2", link.Up, "nominal", 0.950, 0.9},
		{"full-drop", "wan1", link.Down, "nominal", 0.961, 158},
		{"full-drop", "wan1", link.Down, "steps", 0.756, 30},
		{"full-drop", "wan2", link.Down, "steps", 0.748, 27},
		{"full-drop", "wan2", link.Down, "reference", 0.97, 68},
		{"full-drop", "wan2", link.Up, "steps", 0.553, 3.1},
	} {
		r := b.row(t, c.scenario, c.line, c.dir, c.policy)
		if math.Abs(r.Share-c.share) > 0.03 {
			t.Errorf("%s, %s %s, %s: %.1f %% delivered, the kernel's are %.1f %%", c.scenario, c.line, c.dir, c.policy, 100*r.Share, 100*c.share)
		}
		if off := math.Abs(float64(r.P95 - c.p95)); off > max(2, 0.16*float64(c.p95)) {
			t.Errorf("%s, %s %s, %s: p95 is %v, the kernel's %v", c.scenario, c.line, c.dir, c.policy, r.P95, c.p95)
		}
	}
}

func TestOraclesAreBounds(t *testing.T) {
	b := bench(t, []string{"lte", "lte-taxi", "starlink"}, []string{"static", "steps", "reference", "clairvoyant", "sensor"}, BenchOptions{})
	for _, g := range b.Groups() {
		var oracle, best Point
		for _, p := range g.Points {
			switch {
			case p.Policy == "clairvoyant":
				oracle = p
			case !p.Oracle && p.Frontier:
				best.Share = max(best.Share, p.Share)
			}
			if p.Oracle && p.Frontier {
				t.Errorf("%s: an oracle is on the frontier", g.Name)
			}
		}
		for _, p := range g.Points {
			if !p.Oracle && p.beats(&oracle) {
				t.Errorf("%s: %s (%.1f %%, %v) beats who knows the future (%.1f %%, %v)", g.Name, p.Policy, 100*p.Share, p.P95, 100*oracle.Share, oracle.P95)
			}
		}
	}
}

func TestTheBenchDoesNotDependOnItsWorkers(t *testing.T) {
	// Four of the policies, and all of them where WANCTL_LONG is set.
	policies, runs := []string{"static", "steps", "tracking", "reference"}, 2*4
	if os.Getenv("WANCTL_LONG") != "" {
		policies, runs = []string{"all"}, 2*len(Policies())
	}
	all := 0
	one := bench(t, []string{"drop70", "lte"}, policies, BenchOptions{Workers: 1, Delay: time.Millisecond})
	many := bench(t, []string{"drop70", "lte"}, policies, BenchOptions{Workers: 7, Delay: time.Millisecond, OnRun: func(done, of int) {
		all++
		if done != all || of != runs {
			t.Errorf("told %d of %d", done, of)
		}
	}})
	if diff := cmp.Diff(one, many); diff != "" {
		t.Error(diff)
	}
	again := bench(t, []string{"drop70"}, []string{"steps"}, BenchOptions{Seed: 2, Jitter: time.Millisecond})
	if again.Rows[0].P95 == one.row(t, "drop70", "wan1", link.Down, "steps").P95 {
		t.Error("noise and another seed change nothing")
	}
}

func TestTheBenchFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := shipped("drop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RunBench(ctx, []Case{c}, Policies(), BenchOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled bench ends with %v", err)
	}
	if _, err := RunBench(t.Context(), nil, Policies(), BenchOptions{}); err == nil {
		t.Error("a bench without a case passed")
	}
	if _, err := PolicyNamed([]string{"magic"}); err == nil || !strings.Contains(err.Error(), "reference-owd") {
		t.Errorf("an unknown policy gives %v", err)
	}
	for name, want := range map[string]string{"idle": "loads no line", "router-reboot": "no fault"} {
		if _, err := shipped(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// recording is a mahimahi file of this many packets a second and seconds.
func recording(rate, length int) string {
	var b strings.Builder
	for i := range rate * length {
		fmt.Fprintln(&b, (i+1)*1000/rate)
	}
	return b.String()
}

func TestRecordingsBecomeCases(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lte/a.down": recording(1000, 20), "lte/a.up": recording(400, 15), "b.csv": "t_s,mbps\n0,20\n10,10\n20,0\n",
		"README.md": "not a recording\n", "short": recording(1000, 3),
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases, skipped, err := RecordingCases(dir, 25*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, fmt.Sprintf("%s (%s) %s %d", c.Name, c.Group, c.Scenario.Duration, len(c.Scenario.Flows)))
		if _, err := Story(c.Scenario); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	want := []string{
		"b, download (.) 25s 1", "b, upload (.) 25s 1",
		"lte/a.down, download (lte) 20s 1", "lte/a.down, upload (lte) 20s 1",
		"lte/a.up, download (lte) 15s 1", "lte/a.up, upload (lte) 15s 1",
		"lte/a, both (lte, both) 15s 2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
	if len(skipped) != 2 || !strings.Contains(fmt.Sprint(skipped), "README.md") || !strings.Contains(fmt.Sprint(skipped), "only 3s long") {
		t.Errorf("skipped are %v", skipped)
	}
	p, err := PolicyNamed([]string{"static", "steps"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := RunBench(t.Context(), cases, p, BenchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.row(t, "lte/a, both", "wan1", link.Up, "static"); math.Abs(r.Share-0.95) > 0.02 || r.P95 > 5 {
		t.Errorf("95 %% of a line that stays delivers %.1f %% at %v", 100*r.Share, r.P95)
	}
	// The line is out from 20 s on: that is in no figure but its own.
	if r := b.row(t, "b, download", "wan1", link.Down, "static"); r.OutageS < 4.9 || r.CountedS > 14.1 || r.Share < 0.5 {
		t.Errorf("with an outage: %+v", r)
	}
	if _, _, err := RecordingCases(filepath.Join(dir, "nowhere"), time.Minute); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("no directory: %v", err)
	}
	if _, _, err := RecordingCases(t.TempDir(), time.Minute); err == nil || !strings.Contains(err.Error(), "holds no recording") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestDarkness(t *testing.T) {
	const sec = time.Second
	s := &scenario.Scenario{Duration: 30 * sec, Links: []scenario.Link{{Down: scenario.Path{
		Nominal: 10 * unit.Mbps, FIFO: sec,
		Steps: []scenario.Step{
			{At: 0, Rate: 10 * unit.Mbps},
			{At: 5 * sec, Rate: 0},
			{At: 6 * sec, Rate: 100 * unit.Kbps},
			{At: 7 * sec, Rate: 10 * unit.Mbps},
			{At: 20 * sec, Rate: 0},
			{At: 20*sec + 80*time.Millisecond, Rate: 10 * unit.Mbps},
		},
	}}}}
	s.Faults = []scenario.Fault{{Kind: scenario.LinkDown, At: 10 * sec, For: 2 * sec}}
	k := darkOf(s, 0, link.Down)
	// The buffer takes a second to drain; 80 ms are no outage.
	if diff := cmp.Diff([]stretch{{5 * sec, 8 * sec}, {10 * sec, 13 * sec}}, k.dead, cmp.AllowUnexported(stretch{})); diff != "" {
		t.Errorf("dead (-want +got):\n%s", diff)
	}
	for at, want := range map[time.Duration]bool{4 * sec: false, 5 * sec: true, 7900 * time.Millisecond: true, 8 * sec: false} {
		if got := (&dark{dead: k.dead}).has(at); got != want {
			t.Errorf("dead at %v: %v", at, got)
		}
	}
	if got := k.without(4500*time.Millisecond, 3*sec); got != sec {
		t.Errorf("of a wait of 3 s through an outage of 2 s, %v are left", got)
	}
	if got := k.length(stretch{6 * sec, 11 * sec}); got != 2*sec {
		t.Errorf("it was out for %v", got)
	}
	if got := quartile(s.Links[0].Down.Steps, 30*sec); got != 10*unit.Mbps {
		t.Errorf("the 25th percentile of its seconds is %v", got)
	}
}

func TestTheFrontier(t *testing.T) {
	points := []Point{
		{Policy: "full", Share: 1, P95: 300},
		{Policy: "fast", Share: 0.8, P95: 10},
		{Policy: "beaten", Share: 0.79, P95: 11},
		{Policy: "as good", Share: 0.8, P95: 10.1},
		{Policy: "fuller", Share: 0.85, P95: 20},
		{Policy: "knows all", Share: 0.99, P95: 1, Oracle: true},
	}
	mark(points)
	var on []string
	for _, p := range points {
		if p.Frontier {
			on = append(on, p.Policy)
		}
	}
	if diff := cmp.Diff([]string{"full", "fast", "as good", "fuller"}, on); diff != "" {
		t.Errorf("on the frontier (-want +got):\n%s", diff)
	}
}

// Means of groups are those of their cases: plain ones of shares, geometric ones of delays.
func TestGroupsAreMeans(t *testing.T) {
	row := func(name, policy string, share float64, p95 unit.Millis) Row {
		return Row{Case: name, Group: "g", Link: "wan1", Dir: "download", Policy: policy, Share: share, P95: p95, CountedS: 10, OverS: 1}
	}
	b := &Bench{Rows: []Row{row("a", "x", 0.5, 10), row("a", "y", 0.6, 20), row("b", "x", 0.9, 1000), row("b", "y", 0.6, 2000)}}
	g := b.Groups()
	if len(g) != 1 || g[0].Cases != 2 || g[0].Name != "g, download" {
		t.Fatalf("groups are %+v", g)
	}
	if p := g[0].Points[0]; math.Abs(p.Share-0.7) > 1e-9 || math.Abs(float64(p.P95)-100) > 1e-6 || math.Abs(p.Over-0.1) > 1e-9 || p.Won != 2 || !p.Frontier {
		t.Errorf("x is %+v", p)
	}
	if p := g[0].Points[1]; p.Won != 1 || p.Frontier {
		t.Errorf("y is %+v", p)
	}
}

func TestTheBenchPrints(t *testing.T) {
	b := bench(t, []string{"drop", "lte"}, []string{"none", "steps", "clairvoyant"}, BenchOptions{Delay: time.Millisecond})
	var out bytes.Buffer
	if err := b.Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"drop, wan1 download\n", "lte, wan1 upload\n", "all groups, means of 4\n", "* steps", "o clairvoyant", "  C clairvoyant\n", "1000 ms", "4 of 4", "on the frontier",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > 120 || strings.TrimRight(line, " ") != line {
			t.Errorf("too long, or blank at its end: %q", line)
		}
	}
	d := xml.NewDecoder(bytes.NewReader(b.SVG()))
	circles := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	// Two policies in four panels, in that of all, and in the legend.
	if circles != 2*6 {
		t.Errorf("%d circles are drawn", circles)
	}
	if (&Bench{}).SVG() != nil || (&Bench{}).Text(&out) != nil {
		t.Error("an empty bench draws something")
	}
}
