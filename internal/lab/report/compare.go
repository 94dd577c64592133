package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Static is the controller that others are held against: CAKE at a fixed rate.
const Static = "static"

// RatioFloorMS is what a delay counts as at least when a ratio of delays is formed, in ms: that 0.2 ms is twice 0.1 ms is
// nobody's concern.
const RatioFloorMS = 1.0

// Figure names a figure of a comparison.
type Figure string

// The figures, over loaded time. Delays are those of the sparse UDP flow, one way, in ms.
const (
	FigureP50 Figure = "added_p50_ms"
	FigureP95 Figure = "added_p95_ms"
	FigureP99 Figure = "added_p99_ms"
	// FigureUse is the share of capacity delivered. Only directions with a bulk flow have it: others do not ask for more.
	FigureUse Figure = "use"
	// FigureOver is seconds over 30 ms in loaded time.
	FigureOver Figure = "over_30ms_s"
	// FigureBad is the bad seconds after falls of capacity together, FigureSettled the longest settling after one; never is
	// +Inf.
	FigureBad     Figure = "bad_s"
	FigureSettled Figure = "settled_s"
)

// Stat is a figure over several runs: the median, and how far they are apart.
type Stat struct {
	Median Number `json:"median"`
	Min    Number `json:"min"`
	Max    Number `json:"max"`
	Runs   int    `json:"runs"`
	// Ratio is the median ÷ static's of the same set; null where there is none, or static's is 0.
	Ratio *float64 `json:"ratio_to_static"`
}

// Number is a figure that may be +Inf ("never"), which JSON shows as null.
type Number float64

// MarshalJSON writes null for never.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(n), 0) || math.IsNaN(float64(n)) {
		return []byte("null"), nil
	}
	return json.Marshal(round(float64(n), 4))
}

// Comparison is controllers side by side.
type Comparison struct {
	// Controllers are the columns: none and static first, then in order of appearance.
	Controllers []string        `json:"controllers"`
	Rows        []ComparisonRow `json:"rows"`
	// Notes name what was left out, and why, and what controllers cost where the clock shows it.
	Notes []string `json:"notes"`
}

// ComparisonRow is one direction of one link of one scenario.
type ComparisonRow struct {
	Scenario string `json:"scenario"`
	Link     string `json:"link"`
	Dir      string `json:"dir"`
	// Cells are by controller; one without a valid run has no cell.
	Cells map[string]map[Figure]Stat `json:"cells"`
}

// Compare puts results side by side. Several runs of the same controller and scenario become their median. Runs that are
// not valid are left out and named.
func Compare(results []*Result) *Comparison {
	c := &Comparison{Controllers: []string{}, Rows: []ComparisonRow{}, Notes: []string{}}
	values := map[string]map[string]map[Figure][]float64{} // by row, controller
	var rows []ComparisonRow
	key := func(r ComparisonRow) string { return r.Scenario + "\x00" + r.Link + "\x00" + r.Dir }
	for _, r := range results {
		if !slices.Contains(c.Controllers, r.Controller) {
			c.Controllers = append(c.Controllers, r.Controller)
		}
		if cpu, rss := r.ControllerCPUS, r.ControllerRSS; cpu != nil && rss != nil {
			c.Notes = append(c.Notes, fmt.Sprintf("%s took %s s of CPU and at most %s MiB in a run of %s.",
				r.Controller, fixed(*cpu, 2), mebibytes(*rss), r.Scenario))
		}
		if !r.Valid {
			c.Notes = append(c.Notes, fmt.Sprintf("A run of %s under %s is left out: %s", r.Scenario, r.Controller, strings.Join(r.Invalid, " ")))
			continue
		}
		for i := range r.Links {
			for _, d := range directions {
				row := ComparisonRow{Scenario: r.Scenario, Link: r.Links[i].Name, Dir: d.String()}
				k := key(row)
				if values[k] == nil {
					values[k] = map[string]map[Figure][]float64{}
					rows = append(rows, row)
				}
				if values[k][r.Controller] == nil {
					values[k][r.Controller] = map[Figure][]float64{}
				}
				for f, v := range r.Links[i].figures(d) {
					values[k][r.Controller][f] = append(values[k][r.Controller][f], v)
				}
			}
		}
	}
	slices.SortStableFunc(c.Controllers, func(a, b string) int { return cmp.Compare(column0(a), column0(b)) })
	for _, row := range rows {
		row.Cells = map[string]map[Figure]Stat{}
		for controller, of := range values[key(row)] {
			row.Cells[controller] = map[Figure]Stat{}
			for f, v := range of {
				row.Cells[controller][f] = stat(v)
			}
		}
		for _, of := range row.Cells {
			for f, s := range of {
				if base, ok := row.Cells[Static][f]; ok {
					s.Ratio = ratio(f, float64(s.Median), float64(base.Median))
					of[f] = s
				}
			}
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

func mebibytes(b unit.Bytes) string { return fixed(float64(b)/(1<<20), 1) }

// column0 orders the two that everything is held against before the rest.
func column0(controller string) int {
	switch controller {
	case "none":
		return 0
	case Static:
		return 1
	}
	return 2
}

// figures are a direction's; what was not measured is left out.
func (l *LinkResult) figures(d link.Direction) map[Figure]float64 {
	out := map[Figure]float64{}
	u := l.Loaded.UDP.Get(d)
	if a := u.Added; a != nil {
		out[FigureP50], out[FigureP95], out[FigureP99] = float64(a.P50), float64(a.P95), float64(a.P99)
	}
	if u.Sent > 0 {
		out[FigureOver] = u.OverS
	}
	if t := l.Loaded.Traffic.Get(d); t != nil && t.Share != nil && l.Greedy(d) {
		out[FigureUse] = *t.Share
	}
	for _, v := range l.Directions.Get(d).Drops {
		settled := math.Inf(1)
		if v.SettledS != nil {
			settled = *v.SettledS
		}
		out[FigureBad] += v.BadS
		out[FigureSettled] = max(out[FigureSettled], settled)
	}
	return out
}

// stat sums up several runs. The median of an even number is the mean of the middle two.
func stat(v []float64) Stat {
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	m := v[n/2]
	if n%2 == 0 && v[n/2-1] != m {
		m = (v[n/2-1] + m) / 2
	}
	return Stat{Median: Number(m), Min: Number(v[0]), Max: Number(v[n-1]), Runs: n}
}

// ratio is now ÷ base, with delays of at least [RatioFloorMS].
func ratio(f Figure, now, base float64) *float64 {
	if f == FigureP50 || f == FigureP95 || f == FigureP99 {
		now, base = max(now, RatioFloorMS), max(base, RatioFloorMS)
	}
	if base <= 0 || math.IsInf(base, 0) || math.IsInf(now, 0) {
		return nil
	}
	return ptr(round(now/base, 4))
}

// lines of a row: what each prints of a cell.
var comparisonLines = []struct {
	name   string
	wanted Figure
	cell   func(map[Figure]Stat) string
}{
	{"added p50/p95/p99, ms", FigureP95, func(c map[Figure]Stat) string {
		return short(c[FigureP50]) + "/" + short(c[FigureP95]) + spread(c[FigureP95]) + "/" + short(c[FigureP99])
	}},
	{"p95 ÷ static", FigureP95, func(c map[Figure]Stat) string {
		return orDash(c[FigureP95].Ratio, func(f float64) string { return fixed(f, 3) }, "–")
	}},
	{"capacity delivered", FigureUse, func(c map[Figure]Stat) string { return percent(float64(c[FigureUse].Median)) }},
	{"over 30 ms, s", FigureOver, func(c map[Figure]Stat) string { return sec1(float64(c[FigureOver].Median)) }},
	{"bad after drops, s", FigureBad, func(c map[Figure]Stat) string { return sec1(float64(c[FigureBad].Median)) }},
	{"settled after, s", FigureSettled, func(c map[Figure]Stat) string {
		if math.IsInf(float64(c[FigureSettled].Median), 1) {
			return "never"
		}
		return sec1(float64(c[FigureSettled].Median))
	}},
}

// short prints a delay of a table that has many: whole from 10 ms on.
func short(s Stat) string {
	if s.Median >= 10 {
		return fixed(float64(s.Median), 0)
	}
	return fixed(float64(s.Median), 1)
}

// spread shows how far the runs are apart, when there are several.
func spread(s Stat) string {
	if s.Runs < 2 {
		return ""
	}
	return "±" + fixed(float64(s.Max-s.Min)/2, 1)
}

// table is the comparison as text, one row per figure so that the controllers stay side by side.
func (c *Comparison) table() (head []string, rows [][]string) {
	head = append([]string{"scenario", "link", "direction", "figure"}, c.Controllers...)
	for _, r := range c.Rows {
		for _, l := range comparisonLines {
			row, has := []string{r.Scenario, r.Link, r.Dir, l.name}, false
			for _, name := range c.Controllers {
				cell := "–"
				if _, ok := r.Cells[name][l.wanted]; ok {
					cell, has = l.cell(r.Cells[name]), true
				}
				row = append(row, cell)
			}
			if has {
				rows = append(rows, row)
			}
		}
	}
	return head, rows
}

// WriteText writes the table for a terminal.
func (c *Comparison) WriteText(w io.Writer) error {
	head, rows := c.table()
	width := make([]int, len(head))
	for _, r := range append([][]string{head}, rows...) {
		for i, s := range r {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	var b bytes.Buffer
	last := []string{"", "", ""}
	for n, r := range append([][]string{head}, rows...) {
		first := n > 0 && !slices.Equal(last, r[:3])
		if first && n > 1 {
			b.WriteByte('\n')
		}
		var line strings.Builder
		for i, s := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			switch {
			case i > 3:
				line.WriteString("  " + pad + s)
			case i < 3 && n > 0 && !first:
				line.WriteString(strings.Repeat(" ", width[i]+2))
			default:
				line.WriteString(s + pad + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		last = r[:3]
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteMarkdown writes the table for a page.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	head, rows := c.table()
	var b bytes.Buffer
	b.WriteByte('|')
	for _, h := range head {
		fmt.Fprintf(&b, " %s |", markdown(h))
	}
	fmt.Fprintf(&b, "\n|---|---|---|---|%s\n", strings.Repeat("--:|", len(c.Controllers)))
	for _, r := range rows {
		b.WriteByte('|')
		for _, s := range r {
			fmt.Fprintf(&b, " %s |", markdown(s))
		}
		b.WriteByte('\n')
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\n%s\n", markdown(n))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteJSON writes the comparison for programs.
func (c *Comparison) WriteJSON(w io.Writer) error {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
