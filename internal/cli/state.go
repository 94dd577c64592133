package cli

import (
	"fmt"
	"os"

	"wanctl/internal/daemon"
)

type stateCmd struct {
	Import stateImportCmd `cmd:"" help:"Take over what another program, or another version, has learnt of a line."`
}

// Help says what there is.
func (stateCmd) Help() string {
	return `What a controller has learnt lies in its state file.

Example:

    wanctl state import /home/kevin/wanctl/spectrum_state.json --config /etc/wanctl/spectrum.yaml`
}

type stateImportCmd struct {
	File   string `arg:"" name:"file" help:"State file of the earlier system, or of a version of wanctl whose format this one does not know."`
	Config string `required:"" placeholder:"FILE" help:"Configuration of the WAN that it is of."`
	Force  bool   `help:"Replace a state that this version has written; it is kept as .before."`
	RunDir string `name:"run-dir" placeholder:"DIR" help:"Run directory of the running processes."`
}

// Help says what is taken over.
func (stateImportCmd) Help() string {
	return `Writes the state file of a WAN with the baseline, the load, the rates and the streaks of another file. It wants the WAN's
controller to be stopped. Rates are clamped to the configuration at the next start.

Example:

    wanctl state import /home/kevin/wanctl/spectrum_state.json --config /etc/wanctl/spectrum.yaml`
}

// Run imports.
func (c stateImportCmd) Run(app *App) error {
	file, ds := app.parse(c.Config, c.RunDir)
	fmt.Fprint(app.Stderr, ds.Errors())
	if file == nil {
		return exitCode(exitFailed)
	}
	if file.WAN == nil {
		return fmt.Errorf("%s: is no configuration of a WAN: steering reads the router, and has nothing to import", c.Config)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := daemon.Adopt(file.WAN, app.dirs(c.RunDir), f, c.Force, daemon.HostClock{})
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	_, err = fmt.Fprintf(app.Stdout, "%s: baseline %s, load %s, rates %s/%s, of %s, are in %s\n",
		file.WAN.Name, l.Baseline, l.Load, l.Rates.Down, l.Rates.Up, l.From, file.WAN.StateFile)
	return err
}
