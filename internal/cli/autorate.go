package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
)

// runFlags are shared by the commands that run loops.
type runFlags struct {
	Once    bool   `help:"Run a single cycle and exit, for a timer."`
	DryRun  bool   `help:"Measure, decide and log, and never write to a router."`
	Debug   bool   `help:"Log DEBUG lines too, into logging.debug_log where it is set."`
	LogJSON bool   `name:"log-json" help:"Log as JSON, one object a line."`
	RunDir  string `name:"run-dir" placeholder:"DIR" help:"Directory for locks, feeds and status sockets, where a file names none."`
}

type autorateCmd struct {
	Files   []string `arg:"" optional:"" name:"file" help:"WAN configuration files."`
	Configs []string `name:"configs" placeholder:"FILE" sep:"none" help:"A WAN configuration file, as the earlier system wanted it spelled."`
	runFlags
}

// Validate asks for a file.
func (c *autorateCmd) Validate() error {
	if len(c.Configs)+len(c.Files) == 0 {
		return errors.New("name at least one WAN configuration file")
	}
	return nil
}

// Help says what the command does to a router.
func (autorateCmd) Help() string {
	return `Sets the max-limit of the two queues each file names, on Linux the rate of CAKE at the two interfaces, and nothing else. A stop (SIGTERM) leaves base_mbps or the
ceiling on the router (on_exit); SIGHUP reads the files again.

Example:

    wanctl autorate configs/att_config.yaml configs/spectrum_config.yaml`
}

// Run controls the WANs.
func (c autorateCmd) Run(app *App) error {
	return app.run(append(c.Configs, c.Files...), c.runFlags, wantWAN)
}

// heapSlack is by how many percent the heap of a running controller may grow before it is cleaned up: it allocates next to
// nothing once it runs, and a small host has 2 MB more.
const heapSlack = 40

// kinds restricts which files a command takes.
type kinds uint8

const (
	wantWAN kinds = 1 << iota
	wantSteering
)

// run starts a task per file.
func (a *App) run(paths []string, f runFlags, want kinds) error {
	// A reader of our stderr that went away must not kill us before the router has its exit rates.
	signal.Ignore(syscall.SIGPIPE)
	tasks, err := a.tasks(paths, f, want)
	if err != nil {
		return err
	}
	ctx, cancel := a.context()
	defer cancel()
	if f.Once {
		var errs []error
		for _, t := range tasks {
			if err := t.Once(ctx); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", t, err))
			}
		}
		return errors.Join(errs...)
	}
	hup := make(chan os.Signal, 1)
	defer a.Notify(hup, syscall.SIGHUP)()
	reload := make(chan struct{})
	go func() {
		for {
			select {
			case <-hup:
				select {
				case reload <- struct{}{}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapSlack)
	}
	p := &daemon.Process{
		Clock: daemon.HostClock{}, Reload: reload,
		Log: daemon.NewLogger(a.Stderr, "wanctl", f.LogJSON),
	}
	for _, t := range tasks {
		p.Tasks = append(p.Tasks, t)
	}
	return p.Run(ctx)
}

// task is a daemon task that can also run once.
type task interface {
	daemon.Task
	Once(ctx context.Context) error
}

// tasks reads all files first, so that one bad file keeps everything from starting.
func (a *App) tasks(paths []string, f runFlags, want kinds) ([]task, error) {
	files := make([]*parsed, len(paths))
	bad := false
	seen := map[string]string{}
	for i, p := range paths {
		f, ds := a.parse(p, f.RunDir)
		fmt.Fprint(a.Stderr, ds.Errors())
		if f == nil {
			bad = true
			continue
		}
		files[i] = &parsed{f, ds}
		name := ""
		switch {
		case files[i].WAN != nil:
			name = files[i].WAN.Name
			if want&wantWAN == 0 {
				bad = true
				fmt.Fprintf(a.Stderr, "%s: error: this is the configuration of WAN %s, not of steering (use `wanctl autorate`, or `wanctl run` for both)\n", p, name)
			}
		case files[i].Steering != nil:
			name = daemon.SteeringID(files[i].Steering)
			if want&wantSteering == 0 {
				bad = true
				fmt.Fprintf(a.Stderr, "%s: error: this is a steering configuration, not one of a WAN (use `wanctl steer`, or `wanctl run` for both)\n", p)
			}
		}
		if other, ok := seen[name]; ok {
			bad = true
			fmt.Fprintf(a.Stderr, "%s: error: wan_name %s is also that of %s; each name can run once\n", p, name, other)
		}
		seen[name] = p
	}
	whole := make([]*config.File, 0, len(files))
	for _, f := range files {
		if f != nil {
			whole = append(whole, f.File)
		}
	}
	cross := config.CrossCheck(whole...)
	fmt.Fprint(a.Stderr, cross)
	if bad || cross.HasErrors() {
		return nil, errors.New("nothing was started; `wanctl check FILE…` shows all findings")
	}
	if err := a.alone(whole, f.DryRun); err != nil {
		return nil, err
	}
	c := daemon.Common{
		Clock: daemon.HostClock{}, Dirs: a.dirs(f.RunDir), Version: version(), DryRun: f.DryRun,
		Sharing: daemon.SharingOf(whole...),
		OpenLog: func(name string, files config.Logging) (*daemon.Log, error) {
			return daemon.OpenLog(daemon.LogOptions{Name: name, Files: files, Stderr: a.Stderr, JSON: f.LogJSON, Verbose: f.Debug})
		},
	}
	var out []task
	for i, file := range files {
		read := a.reader(paths[i], f.RunDir, file)
		var t task
		var err error
		if file.WAN != nil {
			t, err = daemon.NewAutorate(c, paths[i], func() (*config.WAN, config.Diagnostics) {
				f, ds := read()
				if f != nil && f.WAN == nil {
					return nil, append(ds, otherKind(paths[i], "that of a WAN"))
				}
				if f == nil {
					return nil, ds
				}
				return f.WAN, ds
			})
		} else {
			t, err = daemon.NewSteer(c, paths[i], func() (*config.Steering, config.Diagnostics) {
				f, ds := read()
				if f != nil && f.Steering == nil {
					return nil, append(ds, otherKind(paths[i], "that of steering"))
				}
				if f == nil {
					return nil, ds
				}
				return f.Steering, ds
			})
		}
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// reader returns what was read already the first time, and reads the file anew after that.
func (a *App) reader(path, run string, first *parsed) func() (*config.File, config.Diagnostics) {
	return func() (*config.File, config.Diagnostics) {
		p := first
		if first = nil; p == nil {
			f, ds := a.parse(path, run)
			return f, ds
		}
		return p.File, p.ds
	}
}

func otherKind(path, kind string) config.Diagnostic {
	return config.Diagnostic{
		File: path, Severity: config.Error, Message: "is no longer a configuration of the same kind",
		Hint: "give back " + kind + ", or stop this process",
	}
}

// parsed is a file with what was found in it.
type parsed struct {
	*config.File
	ds config.Diagnostics
}
