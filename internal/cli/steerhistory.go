package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/daemon"
	"wanctl/internal/state"
)

type steerHistoryCmd struct {
	File   string `arg:"" optional:"" help:"Steering configuration file, or a history itself (.jsonl). Without it: every history in the state directory."`
	JSON   bool   `help:"Print the changes as JSON."`
	Number int    `short:"n" default:"20" placeholder:"N" help:"The newest N changes; 0: all that are kept."`
	RunDir string `name:"run-dir" placeholder:"DIR" help:"Run directory of the process."`
}

// Help says what is printed.
func (steerHistoryCmd) Help() string {
	return `Prints each change of steering's state, oldest first, with everything that was known when it was decided: what every
signal said, with its figure and its mark; the verdict on each other line, with its delay and room; what held steering back
or kept it; and how long the state before had lasted. Changes are kept beside the state file, in two files of at most 256 KiB.

Example:

    wanctl steer history /etc/wanctl/steering_config_v2.yaml -n 5`
}

// Validate refuses a number that is none.
func (c steerHistoryCmd) Validate() error {
	if c.Number < 0 {
		return errors.New("-n: write how many changes to print, or 0 for all")
	}
	return nil
}

// Run prints them.
func (c steerHistoryCmd) Run(app *App) error {
	files, err := c.files(app)
	if err != nil {
		return err
	}
	all := []state.Event{}
	for _, f := range files {
		events, bad, err := daemon.ReadHistory(f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(app.Stderr, "wanctl: %s is not there yet: nothing was ever steered, or its process writes elsewhere\n", f)
			continue
		case err != nil:
			return err
		case bad > 0:
			fmt.Fprintf(app.Stderr, "wanctl: %s: damaged lines left out: %d\n", f, bad)
		}
		all = append(all, events...)
	}
	slices.SortStableFunc(all, func(a, b state.Event) int { return a.Time.Compare(b.Time) })
	if c.Number > 0 && len(all) > c.Number {
		all = all[len(all)-c.Number:]
	}
	if c.JSON {
		return app.printJSON("history", all)
	}
	for i, e := range all {
		if i > 0 {
			fmt.Fprintln(app.Stdout)
		}
		fmt.Fprintf(app.Stdout, "%s, %s of %s\n%s\n", e.Time.Local().Format(time.DateTime), e.Name, e.Primary, wrapped(e.Text(), paragraph))
	}
	return nil
}

// files are the histories that are meant.
func (c steerHistoryCmd) files(app *App) ([]string, error) {
	if strings.HasSuffix(c.File, ".jsonl") {
		return []string{c.File}, nil
	}
	if c.File == "" {
		dir := app.dirs(c.RunDir).State
		found, err := filepath.Glob(filepath.Join(dir, daemon.HistoryFile("*.json")))
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no history in %s: name the steering configuration file", dir)
		}
		return found, err
	}
	s, err := app.steeringOf(c.File, c.RunDir)
	if err != nil {
		return nil, err
	}
	return []string{daemon.HistoryFile(s.StateFile)}, nil
}

// paragraph is how wide a change is told.
const paragraph = 100

// wrapped breaks a text into indented lines of at most width characters.
func wrapped(text string, width int) string {
	var b strings.Builder
	n := 0
	for _, w := range strings.Fields(text) {
		switch length := len([]rune(w)); {
		case n == 0:
			b.WriteString("  ")
			n = 2 + length
		case n+1+length > width:
			b.WriteString("\n  ")
			n = 2 + length
		default:
			b.WriteString(" ")
			n += 1 + length
		}
		b.WriteString(w)
	}
	return b.String()
}
