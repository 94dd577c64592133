package report

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/unit"
)

// figured makes a result of one link with the given figures of its download.
func figured(controller string, p95, use float64, change ...func(*Result)) *Result {
	d := Delays{CountedS: 50, Sent: 10000, Added: &Added{P50: unit.Millis(p95 / 4), P95: unit.Millis(p95), P99: unit.Millis(2 * p95)}, OverS: p95 / 10}
	l := LinkResult{
		Name: "a", Base: Base{Down: 10, Up: 10, RoundTrip: 20},
		Flows: []FlowResult{{Kind: "bulk", Dir: "download"}},
	}
	l.Loaded = Window{Name: "loaded"}
	l.Loaded.UDP.Down = d
	l.Loaded.Traffic.Down = &Traffic{CountedS: 50, Share: ptr(use)}
	l.Steady, l.Transient = l.Loaded, l.Loaded
	l.Steady.Name, l.Transient.Name = "steady", "transient"
	r := &Result{Schema: Schema, Controller: controller, Scenario: "drop", Seed: 1, Valid: true, Links: []LinkResult{l}}
	for _, c := range change {
		c(r)
	}
	return r
}

func invalid(r *Result) { r.Valid, r.Invalid = false, []string{"The machine was too slow."} }

func settled(s *float64) func(*Result) {
	return func(r *Result) {
		r.Links[0].Directions.Down.Drops = []Drop{{BadS: 4, SettledS: s}, {BadS: 1, SettledS: ptr(0.5)}}
	}
}

func TestComparisonIsTheMedianBesideStatic(t *testing.T) {
	c := Compare([]*Result{
		figured("wanctl", 40, 0.90, settled(ptr(2.0))),
		figured("wanctl", 60, 0.80, settled(nil)),
		figured("wanctl", 50, 0.85, settled(ptr(3.0))),
		figured("wanctl", 1, 1, invalid),
		figured(Static, 500, 1.0, settled(nil)),
		figured("none", 1000, 1.0),
	})
	if d := cmp.Diff([]string{"none", "static", "wanctl"}, c.Controllers); d != "" {
		t.Errorf("columns: want -, got +\n%s", d)
	}
	if len(c.Rows) != 2 || c.Rows[0].Dir != "download" || c.Rows[1].Dir != "upload" {
		t.Fatalf("rows %+v, want one each direction", c.Rows)
	}
	got := c.Rows[0].Cells["wanctl"]
	for f, want := range map[Figure]Stat{
		FigureP95:     {Median: 50, Min: 40, Max: 60, Runs: 3, Ratio: ptr(0.1)},
		FigureUse:     {Median: 0.85, Min: 0.8, Max: 0.9, Runs: 3, Ratio: ptr(0.85)},
		FigureBad:     {Median: 5, Min: 5, Max: 5, Runs: 3, Ratio: ptr(1.0)},
		FigureSettled: {Median: 3, Min: 2, Max: Number(math.Inf(1)), Runs: 3},
	} {
		if d := cmp.Diff(want, got[f]); d != "" {
			t.Errorf("%s: want -, got +\n%s", f, d)
		}
	}
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "drop under wanctl is left out: The machine was too slow.") {
		t.Errorf("notes %q", c.Notes)
	}
	if _, ok := c.Rows[1].Cells["wanctl"][FigureUse]; ok {
		t.Error("a direction without a bulk flow has a share of capacity")
	}
}

func TestARatioOfTinyDelaysIsNotANumberToWorryAbout(t *testing.T) {
	c := Compare([]*Result{figured("x", 0.3, 1), figured(Static, 0.1, 1)})
	if r := c.Rows[0].Cells["x"][FigureP95].Ratio; r == nil || *r != 1 {
		t.Errorf("0.3 ms against 0.1 ms is %v, want 1", r)
	}
}

func TestGoldenComparison(t *testing.T) {
	var all []*Result
	for _, c := range []string{"wanctl", "static", "none"} {
		for seed := range uint64(2) {
			all = append(all, evaluate(t, synth{controller: c, seed: seed + 1, step: 10}.raw()))
		}
	}
	c := Compare(append(all, figured("exec:x|y", 1, 1, invalid)))
	var text, md, js bytes.Buffer
	for _, err := range []error{c.WriteText(&text), c.WriteMarkdown(&md), c.WriteJSON(&js)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "compare.txt", text.Bytes())
	golden(t, "compare.md", md.Bytes())
	if !json.Valid(js.Bytes()) || !strings.Contains(js.String(), `"ratio_to_static"`) {
		t.Errorf("the JSON is %.300s", js.String())
	}
}

func TestNeverIsNullInJSON(t *testing.T) {
	b, err := json.Marshal(stat([]float64{math.Inf(1)}))
	if want := `{"median":null,"min":null,"max":null,"runs":1,"ratio_to_static":null}`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
}

func TestTheRatchet(t *testing.T) {
	set := func(p95, use float64) []*Result {
		return []*Result{figured("wanctl", p95, use), figured(Static, 500, 0.95), figured("none", 900, 1)}
	}
	best, n := Tighten(nil, set(50, 0.90))
	if n != 3 || len(best.Entries) != 1 {
		t.Fatalf("%d figures in %d entries, want 3 in 1: %+v", n, len(best.Entries), best.Entries)
	}
	for what, c := range map[string]struct {
		now  []*Result
		want []string
	}{
		"the same":         {set(50, 0.90), nil},
		"better":           {set(20, 0.95), nil},
		"a little worse":   {set(54.9, 0.82), nil},
		"slower":           {set(56, 0.90), []string{"added_p95_ms of the download of link a in drop under wanctl rose to 0.112 × static's (56 of 500 ms), the best is 0.1: more than 10 % worse.", "added_p99_ms"}},
		"less used":        {set(50, 0.80), []string{"use of the download of link a in drop under wanctl fell to 0.8421 × static's, the best is 0.9474: more than 10 % worse."}},
		"static is slow":   {[]*Result{figured("wanctl", 100, 0.90), figured(Static, 1000, 0.95)}, nil},
		"no static":        {[]*Result{figured("wanctl", 50, 0.90)}, []string{"cannot be compared"}},
		"not valid":        {[]*Result{figured("wanctl", 50, 0.90, invalid), figured(Static, 500, 0.95)}, []string{"cannot be compared"}},
		"not played":       {[]*Result{figured("other", 5000, 0.1), figured(Static, 500, 0.95)}, nil},
		"the line is gone": {[]*Result{figured("wanctl", 50, 0.90, renamed), figured(Static, 500, 0.95)}, []string{"cannot be compared"}},
		"no bulk flow": {
			[]*Result{figured("wanctl", 50, 0.90, idle), figured(Static, 500, 0.95)},
			[]string{"The best use of the download of link a in drop under wanctl is 0.9474 × static's, and this set has no such figure."},
		},
	} {
		got := CheckRatchet(best, c.now)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %q", what, got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i].Why, want) {
				t.Errorf("%s: %q, want %q", what, got[i].Why, want)
			}
		}
	}
}

func renamed(r *Result) { r.Links[0].Name = "b" }

func idle(r *Result) { r.Links[0].Flows = nil }

// A good controller may be a packet's time worse, however small its ratio.
func TestTheRatchetLetsThePacketsDiceRoll(t *testing.T) {
	best, _ := Tighten(nil, []*Result{figured("wanctl", 2, 1), figured(Static, 500, 1)})
	if v := CheckRatchet(best, []*Result{figured("wanctl", 2.4, 1), figured(Static, 500, 1)}); len(v) != 0 {
		t.Errorf("0.4 ms worse, 20 %%: %v", v)
	}
	if v := CheckRatchet(best, []*Result{figured("wanctl", 3.2, 1), figured(Static, 500, 1)}); len(v) != 2 {
		t.Errorf("1.2 and 2.4 ms worse: %v", v)
	}
}

func TestTightenOnlyEverTightens(t *testing.T) {
	first, _ := Tighten(nil, []*Result{figured("wanctl", 50, 0.90), figured(Static, 500, 0.95)})
	second, n := Tighten(first, []*Result{figured("wanctl", 40, 0.80), figured(Static, 500, 0.95)})
	if e := second.Entries[0]; n != 2 || *e.P95 != 0.08 || *e.Use != 0.9474 {
		t.Errorf("%d changes to p95 %v, use %v; want 2 to 0.08 and the old 0.9474", n, *e.P95, *e.Use)
	}
	if *first.Entries[0].P95 != 0.1 {
		t.Error("the old best was changed under its owner's feet")
	}
	var a, b bytes.Buffer
	if err := second.Write(&a); err != nil {
		t.Fatal(err)
	}
	text := a.String()
	back, err := ReadBest(&a)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Write(&b); err != nil || b.String() != text {
		t.Errorf("written again it differs (%v)\n%s\n%s", err, text, b.String())
	}
}

func TestABrokenRatchetFileSaysSo(t *testing.T) {
	for in, want := range map[string]string{
		"x":                                "want what the ratchet wrote",
		"{}":                               "schema is 0, this program reads 1",
		`{"schema":1,"best":[{"p95":-1}]}`: "best[0].p95 is -1, want a ratio above 0",
		`{"schema":1,"best":[{"link":"a"},{"link":"a"}]}`: "best[1] is there twice",
	} {
		if _, err := ReadBest(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func TestRepetitionsAgree(t *testing.T) {
	steady := func(ms unit.Millis) func(*Result) {
		return func(r *Result) {
			a := *r.Links[0].Steady.UDP.Down.Added
			a.P95 = ms
			r.Links[0].Steady.UDP.Down.Added = &a
		}
	}
	one := func(c ...func(*Result)) []*Result { return []*Result{figured("wanctl", 100, 0.90, c...)} }
	for what, c := range map[string]struct {
		sets [][]*Result
		want []string
	}{
		"the same":      {[][]*Result{one(), one(), one()}, nil},
		"2 % of 110 ms": {[][]*Result{one(), one(steady(102))}, nil},
		"3 % of 110 ms": {[][]*Result{one(), one(steady(103.4))}, []string{"p95 of download delay of link a in drop under wanctl, steady time: 110 and 113.4 are 3.0 % apart, the limit is 2 %."}},
		"transient 4 %": {[][]*Result{{figured("wanctl", 100, 0.90)}, {figured("wanctl", 100, 0.90, func(r *Result) {
			r.Links[0].Transient.Traffic.Down = &Traffic{Share: ptr(0.94)}
		})}}, nil},
		"the median of three against one": {[][]*Result{one(), {one(steady(10))[0], one(steady(500))[0], one()[0]}}, nil},
		"steady share 4 %": {
			[][]*Result{one(), one(func(r *Result) { r.Links[0].Steady.Traffic.Down = &Traffic{Share: ptr(0.94)} })},
			[]string{"share of capacity, download"},
		},
	} {
		got, err := Agree(c.sets...)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v, want %q", what, got, err, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i].Why, want) {
				t.Errorf("%s: %q, want %q", what, got[i].Why, want)
			}
		}
	}
	for want, sets := range map[string][][]*Result{
		"want at least two sets":                           {one()},
		"do not hold the same runs":                        {one(), one(func(r *Result) { r.Seed = 2 })},
		"set 2: the run of drop under wanctl is not valid": {one(), one(invalid)},
		"holds no figures":                                 {{}, {}},
	} {
		if _, err := Agree(sets...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The kernel's dice of two synthetic runs are within the tolerances, and another line's are not.
func TestSyntheticRepetitionsAgree(t *testing.T) {
	run := func(seed uint64) []*Result {
		return []*Result{evaluate(t, synth{controller: "static", seed: seed, step: 5}.raw())}
	}
	if d, err := Agree(run(1), run(2), run(3)); err != nil || len(d) > 0 {
		t.Errorf("%v, %v", d, err)
	}
	other := evaluate(t, synth{controller: "none", seed: 1, step: 5}.raw())
	other.Controller = "static"
	if d, err := Agree(run(1), []*Result{other}); err != nil || len(d) == 0 {
		t.Errorf("none passes for static: %v", err)
	}
}
