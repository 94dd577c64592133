package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"wanctl/internal/deploy"
	"wanctl/internal/install"
	"wanctl/packaging"
)

type installCmd struct {
	Bundle   string `arg:"" optional:"" name:"bundle" help:"What is to be in force: the bundle.json that wanctl deploy sent beside this program."`
	Rollback bool   `help:"Put the version before into force instead."`
	Root     string `placeholder:"DIR" help:"With --rollback: the directory that is put before every path; default: the one this program is installed under."`
	By       string `placeholder:"NAME" help:"With --rollback: who does it, for the lock; default: the user."`
	RunName  string `name:"run" placeholder:"NAME" help:"With --rollback: name of the log."`
	JSON     bool   `help:"Print steps and result as JSON, one object a line."`
}

// Help says who calls it.
func (installCmd) Help() string {
	return `Puts a version of wanctl that was sent to this host into force: program, configurations and units, as one change. wanctl
deploy calls it; where its user may not, it prints this command for root. The new version checks the configurations
first, and is replaced by the one before when it is not healthy within a minute. An earlier system is stopped and disabled,
what it learnt is imported, and its files are archived; --rollback brings it back.

The work is done by a process of its own, which ends it when the terminal or the connection is lost. Exit codes: 0 in force
and healthy, or already so; 1 refused or rolled back; 2 steps remain, which are printed; 3 neither version is known to be well.

Examples:

    wanctl install /usr/local/lib/wanctl/staging/x7Ah2kQw/bundle.json
    wanctl install --rollback`
}

// Validate wants a bundle, or a way back.
func (c *installCmd) Validate() error {
	if (c.Bundle == "") != c.Rollback {
		return errors.New("name a bundle, or --rollback")
	}
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		return fmt.Errorf("--root %s: give a full path", c.Root)
	}
	return nil
}

// workerVariable tells the process that does the work from the one that shows it.
const workerVariable = "WANCTL_INSTALL_WORKER"

// exitRemains is a deployment that left steps to somebody else, exitLost one after which nobody knows what is well.
const (
	exitRemains = 2
	exitLost    = 3
)

// Run shows, or does, the work.
func (c installCmd) Run(app *App) error {
	if app.Getenv(workerVariable) != "" {
		c.work(app)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	root, run := c.Root, c.RunName
	args := []string{"install"}
	if c.Rollback {
		if root == "" {
			root = install.RootOf(self)
		}
		if run == "" {
			run = "rollback-" + runName()
		}
		args = append(args, "--rollback", "--root", root, "--by", c.by(app))
	} else {
		b, err := install.ReadBundle(c.Bundle)
		if err != nil {
			return err
		}
		path, err := filepath.Abs(c.Bundle)
		if err != nil {
			return err
		}
		root, run = b.Root, b.Run
		args = append(args, path)
	}
	ctx, cancel := app.context()
	defer cancel()
	log := install.LogOf(root, run)
	var result *install.Result
	logger := install.Logger{W: app.Stdout}
	err = install.Detached(ctx, log, append([]string{self}, args...), append(os.Environ(), workerVariable+"=1"), func(l install.Line) {
		switch {
		case l.Result != nil && c.JSON:
			result = l.Result
			logger.Result(*l.Result)
		case l.Result != nil:
			result = l.Result
		case c.JSON:
			logger.Event(*l.Event)
		default:
			showEvent(app, "", *l.Event)
		}
	})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; the work goes on without a watcher, and its result will be in %s", log)
	case err != nil:
		return err
	}
	if !c.JSON {
		showResult(app, "", *result)
	}
	return exitOf(result.Outcome, c.Rollback)
}

func exitOf(o install.Outcome, back bool) error {
	switch {
	case o == install.Installed, o == install.Unchanged, back && o == install.RolledBack:
		return nil
	case o == install.Remains:
		return exitCode(exitRemains)
	case o == install.Broken:
		return exitCode(exitLost)
	}
	return exitCode(exitFailed)
}

// work is the process that nobody's hangup ends: half of a deployment is none.
func (c installCmd) work(app *App) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	log := install.Logger{W: app.Stdout}
	self, err := os.Executable()
	if err != nil {
		log.Result(install.Result{Outcome: install.Refused, Error: err.Error()})
		return
	}
	opt := install.Options{Program: self, Units: packaging.Systemd, Report: log.Event, Now: time.Now}
	if c.Rollback {
		log.Result(install.Rollback(context.Background(), c.Root, c.By, opt))
		return
	}
	b, err := install.ReadBundle(c.Bundle)
	if err != nil {
		log.Result(install.Result{Outcome: install.Refused, Error: err.Error()})
		return
	}
	log.Result(install.Install(context.Background(), b, opt))
}

// by is who deploys.
func (c installCmd) by(app *App) string {
	if c.By != "" {
		return c.By
	}
	return app.deployer()
}

// deployer is user@machine.
func (a *App) deployer() string {
	user := a.Getenv("SUDO_USER")
	if user == "" {
		user = a.Getenv("USER")
	}
	if user == "" {
		user = strconv.Itoa(a.UID)
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return user + "@" + machine
}

// runName names a deployment after its moment and process.
func runName() string {
	return time.Now().UTC().Format("20060102T150405.000") + "-" + strconv.Itoa(os.Getpid())
}

// marks are how the states of a step look; colours are for terminals.
var marks = map[install.State]struct{ sign, colour string }{
	install.Done: {"ok", "32"}, install.Note: {"..", "36"}, install.Warning: {"!!", "33"}, install.Failed: {"XX", "31"},
}

func (a *App) paint(colour, text string) string {
	if !a.Terminal || a.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// showEvent prints one step: host, mark, step and text.
func showEvent(app *App, host string, e install.Event) {
	m := marks[e.State]
	if host != "" {
		host += "  "
	}
	for i, line := range strings.Split(e.Text, "\n") {
		step := e.Step
		if i > 0 {
			step = ""
		}
		fmt.Fprintf(app.Stdout, "%s%s %-15s %s\n", host, app.paint(m.colour, m.sign), step, line)
	}
}

// showResult prints how it ended.
func showResult(app *App, host string, r install.Result) {
	colour := "31"
	switch r.Outcome {
	case install.Installed, install.Unchanged, deploy.Planned:
		colour = "32"
	case install.Remains, install.RolledBack, deploy.Untouched:
		colour = "33"
	case install.Refused, install.Broken:
	}
	if host != "" {
		host += ": "
	}
	version := r.To
	if r.To == "" && r.Outcome != install.RolledBack {
		version = r.From
	}
	fmt.Fprintf(app.Stdout, "%s%s %s\n", host, app.paint(colour, string(r.Outcome)), version)
	if r.Error != "" {
		fmt.Fprintf(app.Stdout, "  error: %s\n", strings.ReplaceAll(r.Error, "\n", "\n         "))
	}
	if r.Hint != "" {
		fmt.Fprintf(app.Stdout, "  way out: %s\n", r.Hint)
	}
	for i, s := range r.Remaining {
		if i == 0 {
			fmt.Fprintln(app.Stdout, "  what remains, as root there:")
		}
		fmt.Fprintf(app.Stdout, "    %s\n", s)
	}
}
