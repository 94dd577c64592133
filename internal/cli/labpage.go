package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"wanctl/internal/lab/kernel"
	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
)

// writeComparison leaves the table of a set of runs beside them.
func writeComparison(dir string, results []*report.Result) error {
	c := report.Compare(results)
	var md, js bytes.Buffer
	if err := c.WriteMarkdown(&md); err != nil {
		return err
	}
	if err := c.WriteJSON(&js); err != nil {
		return err
	}
	if err := putFile(filepath.Join(dir, "comparison.md"), md.String()); err != nil {
		return err
	}
	return putFile(filepath.Join(dir, "comparison.json"), js.String())
}

// pictured is the controller whose runs a page shows.
const pictured = kernel.Fast

// writeLabPage writes the page for one version of the program: the table of all runs, and what happened in those under
// the controller. runs are the results' directories.
func writeLabPage(dir string, runs []string, results []*report.Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--docs: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return fmt.Errorf("--docs: %w", err)
	}
	for _, f := range old { // of an earlier version
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("--docs: %w", err)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The lab's figures for wanctl %s\n\n", results[0].Version)
	b.WriteString("Scenarios on a real kernel with real CAKE and TCP, in virtual time. `make lab` plays all of them again and writes this page.\n" +
		"How to read the figures: [lab-figures.md](../lab-figures.md). What is played: [scenarios.md](../scenarios.md).\n\n")
	for _, r := range results {
		if !r.Valid {
			fmt.Fprintf(&b, "- %s under %s is not valid: %s\n", r.Scenario, r.Controller, strings.Join(r.Invalid, " "))
		}
	}
	b.WriteByte('\n')
	if err := report.Compare(results).WriteMarkdown(&b); err != nil {
		return err
	}
	shown := map[string]bool{} // of several runs, the first
	for i, r := range results {
		if r.Controller != pictured || shown[r.Scenario] {
			continue
		}
		shown[r.Scenario] = true
		if err := picture(&b, dir, runs[i]); err != nil {
			return err
		}
	}
	return writePage(filepath.Join(dir, "README.md"), b.Bytes())
}

// picture puts a run's plots of the directions that carry flows on the page.
func picture(b *bytes.Buffer, dir, run string) error {
	if i, err := os.Stat(run); err == nil && !i.IsDir() {
		run = filepath.Dir(run)
	}
	raw, err := report.Load(run)
	if err != nil {
		return err
	}
	res, err := report.Evaluate(raw)
	if err != nil {
		return fmt.Errorf("figures of %s: %w", run, err)
	}
	plots, err := report.Plots(raw, res)
	if err != nil {
		return err
	}
	s := &raw.Meta.Scenario
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", s.Name, s.About)
	for _, p := range plots {
		name := s.Name + "-" + p.Name
		if !slices.ContainsFunc(s.Flows, func(f scenario.Flow) bool { return f.Link == p.Link && (f.Dir == p.Dir || f.Kind == scenario.Call) }) {
			continue
		}
		if err := writePage(filepath.Join(dir, name), p.SVG); err != nil {
			return err
		}
		fmt.Fprintf(b, "![%s under %s](%s)\n\n", p.Alt, pictured, name)
	}
	return nil
}

// writePage writes a file that anybody may read.
func writePage(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
