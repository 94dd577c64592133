package cli

type runCmd struct {
	Files []string `arg:"" name:"file" help:"WAN and steering configuration files, in any mix."`
	runFlags
}

// Help says when to use it.
func (runCmd) Help() string {
	return `The same as one "wanctl autorate" and one "wanctl steer" beside each other, in one process.

Example:

    wanctl run att_config.yaml spectrum_config.yaml steering_config_v2.yaml`
}

// Run runs a task per file.
func (c runCmd) Run(app *App) error { return app.run(c.Files, c.runFlags, wantWAN|wantSteering) }
