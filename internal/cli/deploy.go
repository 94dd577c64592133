package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"wanctl/internal/deploy"
	"wanctl/internal/install"
	"wanctl/internal/remote"
)

type deployCmd struct {
	Inventory string        `arg:"" name:"inventory" help:"Hosts, and what runs on them (YAML)."`
	DryRun    bool          `help:"Check everything, say what would be done, and change nothing."`
	Only      []string      `placeholder:"HOST" help:"Deploy to this host alone; may be repeated."`
	Rollback  bool          `help:"Put the version before into force on the hosts instead."`
	KeepGoing bool          `help:"Go on with the other hosts when one fails."`
	BinaryDir string        `placeholder:"DIR" help:"Directory with wanctl-linux-amd64, -arm64 and -arm, for hosts of other architectures than this program's."`
	Healthy   time.Duration `default:"1m" help:"How long the new version may take to be healthy before the one before is put back."`
	JSON      bool          `help:"Print a summary as JSON at the end, and the steps to standard error."`
}

// Help says how it goes.
func (deployCmd) Help() string {
	return `One command for all hosts of an inventory (docs/inventory.yaml has every key). First every host is checked: reachable, its
key the recorded one, architecture, rights, space, configurations; nothing is changed anywhere before all are good. Then, host
by host: program, configurations and units are sent and compared by checksum, the new program checks the configurations
there, the version is switched by one rename, the running one hands over, and the new one has a minute to be healthy.
Else the host puts the version before back by itself. It does so, too, when the connection is lost in the middle.

An earlier system (cake-*-continuous and wan-steering units, its processes and cron lines) is stopped and disabled, what it
learnt is imported, and its files are archived to .obsolete_DATE; --rollback brings it back.

No secret is ever part of a command line. WANCTL_DEPLOY_PASSPHRASE holds the key's passphrase and
WANCTL_DEPLOY_SUDO_PASSWORD sudo's password; else they are asked for on the terminal.

Exit codes: 0 all hosts run what they should, 1 a host failed or was rolled back, 2 steps remain (they are printed), 64 the
command line or the inventory makes no sense.

Examples:

    wanctl deploy configs/deploy/inventory.yaml --dry-run
    wanctl deploy configs/deploy/inventory.yaml --only cake-att --json
    wanctl deploy configs/deploy/inventory.yaml --rollback`
}

// Run deploys.
func (c deployCmd) Run(app *App) error {
	hosts, err := c.hosts(app)
	if err != nil {
		return err
	}
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, cancel := app.context()
	defer cancel()
	steps := *app
	if c.JSON { // what a program reads stays free of them
		steps.Stdout, steps.Terminal = app.Stderr, false
	}
	width := 0
	for _, h := range hosts {
		width = max(width, len(h.Name))
	}
	ask := newAsker(app)
	s := deploy.Deploy(ctx, deploy.Options{
		Hosts: hosts, Programs: &deploy.Programs{Own: own, Dir: c.BinaryDir}, By: app.deployer(), Run: runName(),
		DryRun: c.DryRun, Rollback: c.Rollback, KeepGoing: c.KeepGoing, Healthy: c.Healthy, Return: c.Healthy + 2*time.Minute,
		Agent: app.Getenv("SSH_AUTH_SOCK"), Passphrase: ask.passphrase, Password: ask.sudo,
		Report: func(host string, e install.Event) { showEvent(&steps, fmt.Sprintf("%-*s", width, host), e) },
	})
	if c.JSON {
		if err := app.printJSON("summary", s); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(app.Stdout)
		for _, h := range s.Hosts {
			showResult(app, h.Host, h.Result)
		}
	}
	switch {
	case s.OK:
		return nil
	case s.Remains():
		return exitCode(exitRemains)
	}
	return exitCode(exitFailed)
}

// hosts reads the inventory and picks what --only names.
func (c deployCmd) hosts(app *App) ([]deploy.Host, error) {
	f, err := os.Open(c.Inventory)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, ds := deploy.Parse(c.Inventory, f, remote.Home)
	fmt.Fprint(app.Stderr, ds)
	if ds.HasErrors() {
		return nil, exitCode(exitUsage)
	}
	if c.Healthy < time.Second || c.Healthy > time.Hour {
		fmt.Fprintf(app.Stderr, "wanctl: --healthy %s: give 1s to 1h\n", c.Healthy)
		return nil, exitCode(exitUsage)
	}
	if len(c.Only) == 0 {
		return all, nil
	}
	var names []string
	for _, h := range all {
		names = append(names, h.Name)
	}
	for _, o := range c.Only {
		if !slices.Contains(names, o) {
			fmt.Fprintf(app.Stderr, "wanctl: --only %s: the inventory has %s\n", o, strings.Join(names, ", "))
			return nil, exitCode(exitUsage)
		}
	}
	return slices.DeleteFunc(all, func(h deploy.Host) bool { return !slices.Contains(c.Only, h.Name) }), nil
}

// asker asks for each secret once, from the environment or the terminal.
type asker struct {
	app   *App
	known map[string]string
}

func newAsker(app *App) *asker { return &asker{app, map[string]string{}} }

func (a *asker) ask(ctx context.Context, variable, what, question string) (string, error) {
	if v, ok := a.app.LookupEnv(variable); ok {
		return v, nil
	}
	if v, ok := a.known[question]; ok {
		return v, nil
	}
	if a.app.AskSecret == nil {
		return "", errors.New("there is no terminal to ask for " + what + ": put it into " + variable)
	}
	v, err := a.app.AskSecret(ctx, question)
	if err == nil {
		a.known[question] = v
	}
	return v, err
}

func (a *asker) passphrase(ctx context.Context, file string) (string, error) {
	return a.ask(ctx, "WANCTL_DEPLOY_PASSPHRASE", "the passphrase", fmt.Sprintf("Passphrase of %s: ", file))
}

func (a *asker) sudo(ctx context.Context, h deploy.Host) (string, error) {
	return a.ask(ctx, "WANCTL_DEPLOY_SUDO_PASSWORD", "sudo's password", fmt.Sprintf("Password of %s on %s, for sudo: ", h.User, h.Name))
}
