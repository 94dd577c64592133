package cli

import (
	"errors"
	"fmt"

	"wanctl/internal/daemon"
)

type releaseCmd struct {
	Files           []string `arg:"" name:"file" help:"WAN and steering configuration files."`
	IfNotHandedOver bool     `help:"Do nothing for a file whose process announced a hand-over within the last minute."`
	RunDir          string   `name:"run-dir" placeholder:"DIR" help:"Run directory of the process."`
}

// Help says when to call it.
func (releaseCmd) Help() string {
	return `Does on the router what a clean stop would have done: puts base_mbps (or the ceiling) on both queues of a WAN, and
disables the steering rule, each read back. It refuses while the file's process runs, because that would only undo it.
A unit calls it with --if-not-handed-over as its ExecStopPost, for a crash.

Example:

    wanctl release /etc/wanctl/att_config.yaml /etc/wanctl/steering_config_v2.yaml`
}

// Run releases each file's part of the router.
func (c releaseCmd) Run(app *App) error {
	files, whole := app.parseAll(c.Files, c.RunDir)
	if !whole {
		return exitCode(exitFailed)
	}
	r := daemon.Releaser{Clock: daemon.HostClock{}, Dirs: app.dirs(c.RunDir), IfNotHandedOver: c.IfNotHandedOver}
	var errs []error
	for _, f := range files {
		said, err := r.Release(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(app.Stdout, said)
	}
	return errors.Join(errs...)
}
