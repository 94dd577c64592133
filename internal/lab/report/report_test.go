package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		write(t, name, got)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs; look at it with -update and git diff\n%.2000s", name, cmp.Diff(string(want), string(got)))
	}
}

// example is the run of the golden files: coarse, so that they stay small, with an outage, faults and text to escape.
func example() *Raw {
	return synth{
		controller: "wanctl", seed: 3, step: 40,
		steps: []scenario.Step{
			{Rate: 40 * unit.Mbps},
			{At: seconds(8), Rate: 20 * unit.Mbps},
			{At: seconds(14), Rate: 40 * unit.Mbps},
			{At: seconds(16), Rate: 0},
			{At: seconds(16.7), Rate: 40 * unit.Mbps},
		},
		faults: []scenario.Fault{{At: seconds(5), For: seconds(0.5), Kind: scenario.KillController}},
	}.raw()
}

func TestGoldenReport(t *testing.T) {
	raw := example()
	raw.Meta.ControllerExits = []ControllerExit{{AtS: 17.5, Status: "exit status <3> | _x_"}}
	dir, again := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, again} {
		if err := Save(d, raw, evaluate(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{ResultFile, MarkdownFile, HTMLFile, "link0-download.svg", "link0-upload.svg"} {
		a, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(again, name))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same twice (%v)", name, err)
		}
		golden(t, name, a)
	}
}

func TestAResultReadsBack(t *testing.T) {
	want := evaluate(t, example())
	var b bytes.Buffer
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadResult(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	for in, want := range map[string]string{
		"[]": "want the result.json of a laboratory run",
		"{}": "schema is 0, this program reads 1; evaluate the run's directory again",
		strings.Replace(text, `"controller": "wanctl"`, `"controller": ""`, 1): "names no controller",
	} {
		if _, err := ReadResult(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", in, err, want)
		}
	}
}

// The page loads nothing from elsewhere, runs nothing, and shows hostile text as text.
func TestThePageIsSelfContainedAndEscaped(t *testing.T) {
	raw := example()
	evil := `"><script>alert(1)</script><img src=x onerror=y>`
	s := &raw.Meta.Scenario
	s.Name, s.About, s.Links[0].Name, s.Phases[0].Name = evil, evil, evil, evil
	raw.Meta.Controller, raw.Meta.Kernel = evil, evil
	raw.Meta.ControllerExits = []ControllerExit{{Status: evil}}
	raw.Cut = []string{evil}
	res := evaluate(t, raw)
	plots, err := Plots(raw, res)
	if err != nil {
		t.Fatal(err)
	}
	var page, md bytes.Buffer
	if err := errors.Join(WriteHTML(&page, res, plots), WriteMarkdown(&md, res, plots, "")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "This run is not valid") || !strings.Contains(md.String(), "This run is not valid") {
		t.Error("an invalid run does not say so")
	}
	for name, text := range map[string]string{"page": page.String(), "markdown": md.String()} {
		if m := regexp.MustCompile(`<(script|img|link|iframe)|url\(|@import|(src|href)=`).FindString(
			strings.ReplaceAll(text, "src=x onerror", "")); m != "" {
			t.Errorf("the %s has %q in it", name, m)
		}
	}
	for _, p := range plots {
		wellFormed(t, p.Name, p.SVG)
	}
}

func wellFormed(t *testing.T, name string, b []byte) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(b))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, ok := tok.(xml.StartElement); ok && !slices.Contains([]string{"svg", "title", "desc", "style", "rect", "line", "path", "text"}, e.Name.Local) {
			t.Errorf("%s has an element %s", name, e.Name.Local)
		}
	}
}

// A peak of one probe among many stays visible, and a picture does not grow with the run.
func TestPeaksSurviveThinning(t *testing.T) {
	c := &canvas{from: 0, to: 100}
	var points []point
	for i := range 200000 {
		p := point{t: float64(i) / 2000, v: 1}
		if i == 77777 {
			p.v = 42
		}
		points = append(points, p)
	}
	cols := c.columns(points)
	if len(cols) > plotInner+1 {
		t.Errorf("%d columns on %d units", len(cols), plotInner)
	}
	if m := slices.MaxFunc(cols, func(a, b column) int { return int(a.high - b.high) }); m.high != 42 || m.low != 1 {
		t.Errorf("the highest column is %+v, want a peak of 42", m)
	}
	c.path("x", points, func(v float64) float64 { return v })
	if s := c.String(); !strings.Contains(s, " 42") || len(s) > 200 {
		t.Errorf("drawn as %d bytes: %.200s", len(s), s)
	}
}

func TestTicksAreRoundAndCover(t *testing.T) {
	for limit, want := range map[float64][]float64{
		42: {0, 20, 40, 60}, 1: {0, 0.5, 1}, 945: {0, 500, 1000}, 0: {0, 0.5, 1}, 8: {0, 2, 4, 6, 8},
	} {
		if d := cmp.Diff(want, ticks(limit, 4)); d != "" {
			t.Errorf("up to %v: want -, got +\n%s", limit, d)
		}
	}
}

func TestMissingFilesOfTheRunLeaveEmptyPanels(t *testing.T) {
	raw := example()
	raw.Probes, raw.Queues, raw.Capacity, raw.Flows, raw.States = nil, nil, nil, nil, nil
	res := evaluate(t, raw)
	plots, err := Plots(raw, res)
	if err != nil || res.Valid {
		t.Fatalf("error %v, valid %v", err, res.Valid)
	}
	for _, p := range plots {
		wellFormed(t, p.Name, p.SVG)
		if !bytes.Contains(p.SVG, []byte("the controller says no states")) {
			t.Errorf("%s does not say that there are no states", p.Name)
		}
	}
}
