package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// BestSchema is the version of [Best]'s JSON form.
const BestSchema = 1

// Slack is how much worse than the best a ratio may be: 10 %.
const Slack = 0.10

// SlackMS is how much worse than the best a delay may be in any case, in ms: one packet at 12 Mbit/s. Without it a
// controller that is good would be held to the kernel's dice.
const SlackMS = 1.0

// Best keeps the best figures ever reached, as ratios to [Static] in the same set of runs. Absolute figures depend on
// scenario and machine and are never kept.
type Best struct {
	Schema  int         `json:"schema"`
	Entries []BestEntry `json:"best"`
}

// BestEntry is one direction of one link under one controller, over loaded time.
type BestEntry struct {
	Controller string `json:"controller"`
	Scenario   string `json:"scenario"`
	Link       string `json:"link"`
	Dir        string `json:"dir"`
	// P95 and P99 are added delay ÷ static's, less is better. Use is the share of capacity delivered ÷ static's, more is
	// better; null where nothing fills the direction.
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
	Use *float64 `json:"use"`
}

// Violation is a figure that got worse.
type Violation struct {
	Controller string `json:"controller"`
	Scenario   string `json:"scenario"`
	Link       string `json:"link"`
	Dir        string `json:"dir"`
	// Figure is empty when the comparison itself was not possible.
	Figure Figure `json:"figure,omitempty"`
	// Best and Now are ratios to static.
	Best float64 `json:"best,omitempty"`
	Now  float64 `json:"now,omitempty"`
	// Why is a sentence with all of it.
	Why string `json:"why"`
}

func (v Violation) String() string { return v.Why }

// maxBest bounds the ratchet's file.
const maxBest = 4 << 20

// ReadBest reads a ratchet's file.
func ReadBest(r io.Reader) (*Best, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBest+1))
	if err != nil {
		return nil, fmt.Errorf("read the best figures: %w", err)
	}
	if len(b) > maxBest {
		return nil, fmt.Errorf("read the best figures: longer than %d MiB, is it the right file?", maxBest>>20)
	}
	best := &Best{}
	if err := json.Unmarshal(b, best); err != nil {
		return nil, fmt.Errorf("read the best figures (want what the ratchet wrote): %w", err)
	}
	if best.Schema != BestSchema {
		return nil, fmt.Errorf("read the best figures: schema is %d, this program reads %d; make the file anew from a full set of runs",
			best.Schema, BestSchema)
	}
	seen := map[BestEntry]bool{}
	for i, e := range best.Entries {
		for name, v := range map[string]*float64{"p95": e.P95, "p99": e.P99, "use": e.Use} {
			if v != nil && !(*v > 0 && *v < 1e6) {
				return nil, fmt.Errorf("read the best figures: best[%d].%s is %v, want a ratio above 0", i, name, *v)
			}
		}
		k := e.key()
		if seen[k] {
			return nil, fmt.Errorf("read the best figures: best[%d] is there twice (%s of %s under %s); keep the better one", i, e.Dir, e.Scenario, e.Controller)
		}
		seen[k] = true
	}
	return best, nil
}

// Write writes the file, in a stable order so that a change reads well.
func (b *Best) Write(w io.Writer) error {
	c := Best{Schema: BestSchema, Entries: slices.Clone(b.Entries)}
	if c.Entries == nil {
		c.Entries = []BestEntry{}
	}
	slices.SortFunc(c.Entries, func(a, b BestEntry) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Link, b.Link), cmp.Compare(a.Dir, b.Dir),
			cmp.Compare(a.Controller, b.Controller))
	})
	out, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return fmt.Errorf("write the best figures: %w", err)
	}
	_, err = w.Write(append(out, '\n'))
	return err
}

// key is the entry without its figures.
func (e BestEntry) key() BestEntry {
	return BestEntry{Controller: e.Controller, Scenario: e.Scenario, Link: e.Link, Dir: e.Dir}
}

// ratchetFigures are the ratios of one direction.
func ratchetFigures(e *BestEntry) []struct {
	figure Figure
	value  **float64
	more   bool
} {
	return []struct {
		figure Figure
		value  **float64
		more   bool
	}{{FigureP95, &e.P95, false}, {FigureP99, &e.P99, false}, {FigureUse, &e.Use, true}}
}

// CheckRatchet holds results against the best: the medians of the runs, as ratios to static in the same set. An entry
// of a scenario or controller that was not played is not looked at; one that was played and cannot be compared is a
// violation, so that nothing passes by being broken.
func CheckRatchet(best *Best, results []*Result) []Violation {
	var out []Violation
	c := Compare(results)
	for _, e := range best.Entries {
		played := func(controller string) bool {
			return slices.ContainsFunc(results, func(r *Result) bool { return r.Scenario == e.Scenario && r.Controller == controller })
		}
		if !played(e.Controller) {
			continue
		}
		v := Violation{Controller: e.Controller, Scenario: e.Scenario, Link: e.Link, Dir: e.Dir}
		i := slices.IndexFunc(c.Rows, func(r ComparisonRow) bool {
			return r.Scenario == e.Scenario && r.Link == e.Link && r.Dir == e.Dir
		})
		if i < 0 || c.Rows[i].Cells[e.Controller] == nil || c.Rows[i].Cells[Static] == nil {
			v.Why = fmt.Sprintf("The %s of link %s in %s cannot be compared with the best of %s: there is no valid run of both %s and %s in this set.",
				e.Dir, e.Link, e.Scenario, e.Controller, e.Controller, Static)
			out = append(out, v)
			continue
		}
		out = append(out, e.worse(v, c.Rows[i].Cells)...)
	}
	return out
}

func (e BestEntry) worse(v Violation, cells map[string]map[Figure]Stat) []Violation {
	var out []Violation
	for _, f := range ratchetFigures(&e) {
		if *f.value == nil {
			continue
		}
		best, now := **f.value, cells[e.Controller][f.figure]
		v.Figure, v.Best, v.Now = f.figure, best, 0
		where := fmt.Sprintf("%s of the %s of link %s in %s under %s", f.figure, e.Dir, e.Link, e.Scenario, e.Controller)
		switch static := cells[Static][f.figure]; {
		case now.Ratio == nil:
			v.Why = fmt.Sprintf("The best %s is %.4g × static's, and this set has no such figure.", where, best)
		case f.more && *now.Ratio < best*(1-Slack):
			v.Why = fmt.Sprintf("%s fell to %.4g × static's, the best is %.4g: more than %.0f %% worse.", where, *now.Ratio, best, 100*Slack)
		case !f.more && *now.Ratio > best*(1+Slack) && (*now.Ratio-best)*max(float64(static.Median), RatioFloorMS) > SlackMS:
			v.Why = fmt.Sprintf("%s rose to %.4g × static's (%s of %s ms), the best is %.4g: more than %.0f %% worse.", where, *now.Ratio,
				short(now), short(static), best, 100*Slack)
		default:
			continue
		}
		if now.Ratio != nil {
			v.Now = *now.Ratio
		}
		out = append(out, v)
	}
	return out
}

// Tighten returns best with every better figure of the results and with the entries that are new, and how many figures
// changed. Only controllers other than none and static have entries.
func Tighten(best *Best, results []*Result) (*Best, int) {
	out := &Best{Schema: BestSchema}
	if best != nil {
		out.Entries = slices.Clone(best.Entries)
	}
	changed := 0
	c := Compare(results)
	for _, row := range c.Rows {
		for _, name := range c.Controllers {
			cell, static := row.Cells[name], row.Cells[Static]
			if column0(name) < 2 || cell == nil || static == nil {
				continue
			}
			e := BestEntry{Controller: name, Scenario: row.Scenario, Link: row.Link, Dir: row.Dir}
			i := slices.IndexFunc(out.Entries, func(o BestEntry) bool { return o.key() == e })
			if i >= 0 {
				e = out.Entries[i]
			}
			before := changed
			for _, f := range ratchetFigures(&e) {
				now := cell[f.figure].Ratio
				if now == nil || *now <= 0 || *f.value != nil && (f.more && *now <= **f.value || !f.more && *now >= **f.value) {
					continue
				}
				*f.value = ptr(*now)
				changed++
			}
			switch {
			case changed == before:
			case i >= 0:
				out.Entries[i] = e
			default:
				out.Entries = append(out.Entries, e)
			}
		}
	}
	return out, changed
}
