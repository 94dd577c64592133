package cli

import (
	"errors"
	"fmt"
	"slices"

	"wanctl/internal/daemon"
)

type handoverCmd struct {
	Files  []string `arg:"" name:"file" help:"Configuration files of what is about to be restarted."`
	RunDir string   `name:"run-dir" placeholder:"DIR" help:"Run directory of the running process."`
}

// Help says when to call it.
func (handoverCmd) Help() string {
	return `Call it right before a restart or an upgrade. A process that is stopped within the next minute then leaves rates and
rule as they are, and the one that follows goes on from there without a write. The units of systemd call it themselves.

Example:

    wanctl handover /etc/wanctl/att.yaml && rc-service wanctl.att restart`
}

// Run writes a note per file.
func (c handoverCmd) Run(app *App) error {
	names, err := app.names(c.Files, c.RunDir)
	if err != nil {
		return err
	}
	dirs := app.dirs(c.RunDir)
	running, _, err := daemon.ReadStatus(dirs.Run)
	if err != nil {
		fmt.Fprintln(app.Stderr, "wanctl:", err)
	}
	var errs []error
	for _, n := range names {
		boot, err := daemon.BootSeen(dirs.Run, n)
		if err != nil {
			return err
		}
		if err := daemon.WriteHandover(dirs.Run, n, boot, daemon.HostClock{}.Now()); err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(running, func(s daemon.Status) bool { return s.Name == n }) {
			fmt.Fprintf(app.Stderr, "wanctl: %s: nothing of that name runs here (no process answers in %s): is it another --run-dir?\n", n, dirs.Run)
		}
		fmt.Fprintf(app.Stdout, "%s: the next stop within %s hands over\n", n, daemon.HandoverValid)
	}
	return errors.Join(errs...)
}

// names are the wan_names of files.
func (a *App) names(paths []string, run string) ([]string, error) {
	var out []string
	bad := false
	for _, p := range paths {
		f, ds := a.parse(p, run)
		if f == nil {
			fmt.Fprint(a.Stderr, ds.Errors())
			bad = true
			continue
		}
		if f.WAN != nil {
			out = append(out, f.WAN.Name)
		} else {
			out = append(out, daemon.SteeringID(f.Steering))
		}
	}
	if bad {
		return nil, exitCode(exitFailed)
	}
	return out, nil
}
