package cli

import (
	"cmp"
	"errors"
	"fmt"

	"wanctl/internal/daemon"
)

type steerCmd struct {
	Do      steerRunCmd     `cmd:"" name:"run" default:"withargs" help:"Steer. It is what wanctl steer FILE does."`
	Explain steerExplainCmd `cmd:"" help:"Say by which line a connection would leave now, and why."`
	History steerHistoryCmd `cmd:"" help:"Print the changes of state, each with everything that was known when it was decided."`
}

type steerRunCmd struct {
	File   string `arg:"" optional:"" help:"Steering configuration file."`
	Config string `name:"config" placeholder:"FILE" help:"The same, as the earlier system wanted it spelled."`
	Reset  bool   `help:"Disable the rule, verify that, forget the state, and exit; 1 when it could not be verified."`
	runFlags
}

// Validate asks for one file.
func (c *steerRunCmd) Validate() error {
	if (c.File == "") == (c.Config == "") {
		return errors.New("name one steering configuration file")
	}
	c.File = cmp.Or(c.File, c.Config)
	return nil
}

// Help says what the command does to a router.
func (steerCmd) Help() string {
	return `Only new connections of the classes in the configuration move, and a connection keeps its line for life.

On RouterOS it enables and disables one firewall mangle rule per other line, found by its exact comment, and nothing else;
never more than one of them is enabled. A rule must mark new connections (action=mark-connection connection-state=new), so that
established ones keep their WAN. With "mangle_rule.switch: list" it keeps an address list that expires instead of the rule.

With "transport: linux" this host steers: it makes an nftables table, rules and routes of its own, mends them while it runs, and
steers for a minute at a time, so that nothing stays steered when it dies. "wanctl policy" shows them, and takes them away.

Example:

    wanctl steer configs/steering_config_v2.yaml --dry-run`
}

// Help shows a way to try it.
func (steerRunCmd) Help() string {
	return `Example:

    wanctl steer run configs/steering_config_v2.yaml --dry-run`
}

// Run steers.
func (c steerRunCmd) Run(app *App) error {
	if !c.Reset {
		return app.run([]string{c.File}, c.runFlags, wantSteering)
	}
	if c.DryRun {
		return errors.New("--reset writes to the router: it cannot be a dry run")
	}
	tasks, err := app.tasks([]string{c.File}, c.runFlags, wantSteering)
	if err != nil {
		return err
	}
	ctx, cancel := app.context()
	defer cancel()
	s, ok := tasks[0].(*daemon.Steer)
	if !ok {
		return fmt.Errorf("%s: is not a steering configuration", c.File)
	}
	return s.Reset(ctx)
}
