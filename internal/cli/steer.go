package cli

import (
	"errors"
	"fmt"

	"wanctl/internal/daemon"
)

type steerCmd struct {
	Config string `name:"config" required:"" placeholder:"FILE" help:"Steering configuration file."`
	Reset  bool   `help:"Disable the rule, verify that, forget the state, and exit; 1 when it could not be verified."`
	runFlags
}

// Help says what the command does to a router.
func (steerCmd) Help() string {
	return `Enables and disables one firewall mangle rule, found by its exact comment, and nothing else. The rule must mark
new connections (action=mark-connection connection-state=new), so that established ones keep their WAN.

Example:

    wanctl steer --config configs/steering_config_v2.yaml --dry-run`
}

// Run steers.
func (c steerCmd) Run(app *App) error {
	if !c.Reset {
		return app.run([]string{c.Config}, c.runFlags, wantSteering)
	}
	if c.DryRun {
		return errors.New("--reset writes to the router: it cannot be a dry run")
	}
	tasks, err := app.tasks([]string{c.Config}, c.runFlags, wantSteering)
	if err != nil {
		return err
	}
	ctx, cancel := app.context()
	defer cancel()
	s, ok := tasks[0].(*daemon.Steer)
	if !ok {
		return fmt.Errorf("%s: is not a steering configuration", c.Config)
	}
	return s.Reset(ctx)
}
