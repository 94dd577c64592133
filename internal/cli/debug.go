package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"wanctl/internal/daemon"
)

type debugCmd struct {
	Name   string        `arg:"" name:"name" help:"wan_name of the controller, or its configuration file."`
	Switch string        `arg:"" enum:"on,off" help:"on or off."`
	For    time.Duration `name:"for" default:"10m" placeholder:"TIME" help:"How long details are logged, at most 24h."`
	RunDir string        `name:"run-dir" placeholder:"DIR" help:"Run directory of the running process."`
}

// Validate bounds the time.
func (c *debugCmd) Validate() error {
	if c.For < time.Second || c.For > daemon.MaxDebug {
		return fmt.Errorf("--for %s: want 1s to %s", c.For, daemon.MaxDebug)
	}
	return nil
}

// Help says where the lines go, and who may ask for them.
func (debugCmd) Help() string {
	return `Asks a running controller through its socket to log DEBUG lines, as --debug would have from its start: what each reflector says, what each
router operation did and took. They go into logging.debug_log, without one where the other lines go. It ends by itself, so that
it fills no disk; wanctl status says while it is on.

Who may ask is who may open the socket: the user of the process and its group.

Example:

    wanctl debug /etc/wanctl/cable.yaml on --for 30m`
}

// Run asks.
func (c debugCmd) Run(app *App) error {
	name := c.Name
	if _, err := os.Stat(name); err == nil {
		names, err := app.names([]string{name}, c.RunDir)
		if err != nil {
			return err
		}
		name = names[0]
	}
	t := c.For
	if c.Switch == "off" {
		t = 0
	}
	dir := app.dirs(c.RunDir).Run
	got, err := daemon.SetDebug(dir, name, t)
	switch {
	case err == nil && got == nil:
		fmt.Fprintf(app.Stdout, "%s: details are not logged\n", name)
	case err == nil:
		fmt.Fprintf(app.Stdout, "%s: %s\n", name, debugText(got))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w (only the user of the process and its group may ask it)", name, err)
	case daemon.NobodyThere(err):
		fmt.Fprintf(app.Stderr, "wanctl: %s: nothing of that name runs here (no process answers in %s): is it another --run-dir?\n", name, dir)
		return exitCode(exitNotRunning)
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// debugText says that details are logged.
func debugText(d *daemon.DebugStatus) string {
	if d.LeftS < 0 {
		return fmt.Sprintf("details are logged into %s until it ends (--debug)", d.Into)
	}
	left := time.Duration(d.LeftS * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("details are logged into %s for %s more", d.Into, left)
}
