package scenario

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("differs from %s (-want +got):\n%s", path, d)
	}
}

func parse(text string, o Options) (*Scenario, error) {
	return Parse("story.yaml", strings.NewReader(text), o)
}

// TestBad holds everything that is said about every bad file to its golden text.
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(paths) < 15 {
		t.Fatalf("bad files: %d, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parse(string(text), Options{})
			if s != nil || err == nil {
				t.Fatal("a bad file was accepted")
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// TestGood holds what the parser makes of a file that uses every key to its golden text, long capacities cut.
func TestGood(t *testing.T) {
	text, err := os.ReadFile("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(string(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Links {
		for _, p := range []*Path{&s.Links[i].Down, &s.Links[i].Up} {
			p.Steps = p.Steps[:min(len(p.Steps), 12)]
		}
	}
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/everything.json", string(b)+"\n")
}

func TestDefaults(t *testing.T) {
	s, err := parse("links: [{down: 40, up: 8}]\nflows: [{}]\n", Options{})
	if err != nil {
		t.Fatal(err)
	}
	ms := time.Millisecond
	path := func(r unit.Rate) Path {
		return Path{Nominal: r, FIFO: 300 * ms, Steps: []Step{{0, r}}, LoadedShare: 300_000}
	}
	want := &Scenario{
		Name: "story", Duration: time.Minute, Seed: 1,
		Links:      []Link{{Name: "wan1", Delay: 20 * ms, Down: path(40 * unit.Mbps), Up: path(8 * unit.Mbps), ICMP: ICMPAlike}},
		Flows:      []Flow{{Kind: Bulk, Count: 1, From: 5 * time.Second, To: time.Minute, Congestion: "cubic"}},
		Reflectors: []Reflector{{}, {Extra: 2 * ms}, {Extra: 5 * ms}, {Extra: 10 * ms}, {Extra: 15 * ms}},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The host hands a scenario to the machine as JSON: nothing may be lost.
func TestJSONRoundTrip(t *testing.T) {
	for _, name := range Names() {
		s, err := Builtin(name, Options{Seed: 1<<63 + 1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Scenario
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*s, back) {
			t.Errorf("%s: %s", name, cmp.Diff(*s, back))
		}
	}
}

func TestTooLarge(t *testing.T) {
	_, err := parse("about: |\n"+strings.Repeat("  word\n", 10<<20/7), Options{})
	if err == nil || !strings.Contains(err.Error(), "is larger than 256 KiB") {
		t.Errorf("%v", err)
	}
	_, err = parse("links: "+strings.Repeat("[", 1000), Options{})
	if err == nil {
		t.Error("a thousand brackets were accepted")
	}
}

func TestManyFindings(t *testing.T) {
	var b strings.Builder
	b.WriteString("links: [{down: 40, up: 8}]\nflows:\n")
	for range 32 {
		b.WriteString("  - {count: 0, kind: none}\n")
	}
	_, err := parse(b.String(), Options{})
	var ds Diagnostics
	if !errors.As(err, &ds) || len(ds) != maxDiagnostics+1 || !strings.Contains(err.Error(), "14 more findings are not shown") {
		t.Errorf("%d findings: %v", len(ds), err)
	}
}

// steps writes a capacity as the tables of figures do: "0s 40M, 20s 20M".
func steps(p Path) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.At.String()+" "+s.Rate.String())
	}
	return strings.Join(out, ", ")
}

// The figures that the prototype published are only comparable when the same numbers are played.
func TestThePrototypesNumbers(t *testing.T) {
	for _, c := range []struct {
		name  string
		link  int
		delay int    // ms
		want  string // fifo; down; up
	}{
		{"drop", 0, 20, "400ms; 0s 40M, 20s 20M, 40s 40M; 0s 8M"},
		{"drop", 1, 28, "200ms; 0s 85M; 0s 16M, 20s 8M, 40s 16M"},
		{"drop30", 0, 20, "400ms; 0s 40M, 20s 12M, 40s 40M; 0s 8M"},
		{"drop70", 0, 20, "400ms; 0s 40M, 20s 28M, 40s 40M; 0s 8M"},
		{"full-drop", 0, 20, "150ms; 0s 900M, 20s 450M, 40s 900M; 0s 38M"},
		{"full-drop", 1, 28, "300ms; 0s 85M, 20s 42M, 40s 85M; 0s 16M"},
		{"full", 0, 20, "150ms; 0s 900M; 0s 38M"},
		{"full", 1, 28, "300ms; 0s 85M; 0s 16M"},
		{"idle", 0, 20, "400ms; 0s 40M; 0s 8M"},
		{"idle", 1, 28, "400ms; 0s 12M; 0s 3M"},
		{"lte", 1, 28, "300ms; 0s 12M; 0s 3M"},
		{"square5", 0, 20, "400ms; 0s 40M, 10s 20M, 15s 40M, 20s 20M, 25s 40M, 30s 20M, 35s 40M, 40s 20M, 45s 40M, 50s 20M, 55s 40M; 0s 8M"},
	} {
		s, err := Builtin(c.name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := s.Links[c.link]
		if got := l.Down.FIFO.String() + "; " + steps(l.Down) + "; " + steps(l.Up); got != c.want || l.Delay != time.Duration(c.delay)*time.Millisecond {
			t.Errorf("%s: %v, %s; want %d ms, %s", c.name, l.Delay, got, c.delay, c.want)
		}
	}
	for name, nominal := range map[string][2]float64{
		"lte": {50, 15}, "s-leocc": {63.72, 15}, "s-taxi1": {26.28, 15}, "s-verizon": {9.24, 11.88},
	} {
		s, err := Builtin(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l := s.Links[0]; l.Down.Nominal.Mbps() != nominal[0] || l.Up.Nominal.Mbps() != nominal[1] || l.Down.FIFO != 600*time.Millisecond {
			t.Errorf("%s: %v/%v, %v", name, l.Down.Nominal, l.Up.Nominal, l.Down.FIFO)
		}
	}
}

func TestCapacities(t *testing.T) {
	for _, c := range []struct{ down, want string }{
		{"5", "0s 5M"},
		{"{mbps: 5, steps: [{at: 1s, mbps: 5}, {at: 2s, mbps: 4}]}", "0s 5M, 2s 4M"},
		{"{mbps: 4, square: {mbps: 2, period: 2s, from: 0s, to: 2.5s}}", "0s 2M, 1s 4M, 2s 2M, 2.5s 4M"},
		{"{mbps: 4, square: {mbps: 2, period: 30s}}", "0s 4M, 15s 2M, 30s 4M, 45s 2M"},
		{"{mbps: 4, ramp: [{at: 300ms, mbps: 1}]}", "0s 3.5M, 100ms 2.5M, 200ms 1.5M, 300ms 1M"},
		{"{mbps: 4, outages: [{at: 1s, for: 1s}, {at: 2s, for: 1s}]}", "0s 4M, 1s 0M, 3s 4M"},
		{"{mbps: 4, steps: [{at: 2s, mbps: 3}], outages: [{at: 1s, for: 2s}]}", "0s 4M, 1s 0M, 3s 3M"},
		{"{mbps: 4, steps: [{at: 3s, mbps: 3}], outages: [{at: 1s, for: 2s}]}", "0s 4M, 1s 0M, 3s 3M"},
		{"{mbps: 4, outages: [{at: 59s, for: 10s}]}", "0s 4M, 59s 0M"},
	} {
		s, err := parse("links: [{down: "+c.down+", up: 8}]", Options{})
		if err != nil {
			t.Errorf("%s: %v", c.down, err)
		} else if got := steps(s.Links[0].Down); got != c.want {
			t.Errorf("%s: %s, want %s", c.down, got, c.want)
		}
	}
}
