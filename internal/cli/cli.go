// Package cli is the command line: one file per command, each a thin wire between flags and the rooms below.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
)

// Exit codes, the same for every command.
const (
	exitOK = 0
	// exitFailed is a command that could not do its work, a file with errors, or a degraded status.
	exitFailed = 1
	// exitNotRunning is `wanctl status` with nobody there.
	exitNotRunning = 2
	// exitUsage is a command line that makes no sense (EX_USAGE of sysexits.h).
	exitUsage = 64
)

// Version is set by the build; a plain `go build` takes it from the module.
var Version = ""

func version() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return "devel"
}

// App is the world a command sees.
type App struct {
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	LookupEnv      func(string) (string, bool)
	ReadFile       func(string) ([]byte, error)
	UID            int
	// Terminal says that Stdout is one, Width how wide it is.
	Terminal bool
	Width    int
	// OpenQueues connects `wanctl qdisc` with the kernel; nil is the real one.
	OpenQueues func() (Queues, error)
	// OpenPolicies connects `wanctl policy` and the doctor with the kernel's steering; nil is the real one.
	OpenPolicies func(*config.Steering) Policies
	// Stdin is where questions are answered, nil where nobody is; AskSecret asks for a secret on the terminal, nil without one.
	Stdin     io.Reader
	AskSecret func(ctx context.Context, question string) (string, error)
	// Notify delivers signals; the returned function stops that.
	Notify func(chan<- os.Signal, ...os.Signal) (stop func())
}

// System is the real world.
func System() *App {
	fd := int(os.Stdout.Fd())
	w, _, err := term.GetSize(fd)
	app := &App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile,
		UID: os.Getuid(), Terminal: err == nil && os.Getenv("TERM") != "dumb", Width: w,
		Notify: func(c chan<- os.Signal, sig ...os.Signal) func() {
			signal.Notify(c, sig...)
			return func() { signal.Stop(c) }
		},
	}
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		app.AskSecret = func(ctx context.Context, question string) (string, error) {
			return app.typedUnseen(ctx, in, question)
		}
	}
	return app
}

// typedUnseen reads a line from a terminal that does not show it. ([term.ReadPassword] goes on reading at the end of the input.)
func (a *App) typedUnseen(ctx context.Context, terminal int, question string) (string, error) {
	was, err := unix.IoctlGetTermios(terminal, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("ask for a password: %w", err)
	}
	quiet := *was
	quiet.Lflag = quiet.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	fmt.Fprint(a.Stderr, question)
	if err := unix.IoctlSetTermios(terminal, unix.TCSETS, &quiet); err != nil {
		return "", fmt.Errorf("ask for a password: %w", err)
	}
	defer fmt.Fprintln(a.Stderr)
	typed, err := a.readTyped(ctx)
	return typed, errors.Join(err, unix.IoctlSetTermios(terminal, unix.TCSETS, was))
}

// unlessEnded waits for what cannot be interrupted, a reading of the terminal, or until ctx ends.
func unlessEnded(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", errors.New("interrupted")
	}
}

// grammar is the whole command line.
type grammar struct {
	Init      initCmd      `cmd:"" help:"Set wanctl up: find the router and the lines, measure, and write the files."`
	Check     checkCmd     `cmd:"" help:"Check configuration files and say everything that is wrong with them."`
	Autorate  autorateCmd  `cmd:"" help:"Control the rates of one or more WANs."`
	Steer     steerCmd     `cmd:"" help:"Move new latency-sensitive connections to the healthier WAN."`
	Run       runCmd       `cmd:"" help:"Run any mix of WANs and steering in one process."`
	Status    statusCmd    `cmd:"" help:"Show what the running controllers see and do."`
	Debug     debugCmd     `cmd:"" help:"Have a running controller log details for a while."`
	Record    recordCmd    `cmd:"" help:"Record a WAN without ever writing to its router, or convert a recording."`
	Replay    replayCmd    `cmd:"" help:"Run the controller again over a recording, and compare."`
	Calibrate calibrateCmd `cmd:"" help:"Measure what a WAN's line carries, and recommend limits and thresholds."`
	Release   releaseCmd   `cmd:"" help:"Put the exit rates back and disable the steering rule, as a stop would."`
	Qdisc     qdiscCmd     `cmd:"" help:"Set up and take away the CAKE queues of this host."`
	Policy    policyCmd    `cmd:"" help:"Set up and take away the rules by which this host steers."`
	Doctor    doctorCmd    `cmd:"" help:"Check everything a set-up rests on, and say what puts right what is not so."`
	Router    routerCmd    `cmd:"" help:"Set a MikroTik router up for wanctl, and take that away."`
	Handover  handoverCmd  `cmd:"" help:"Announce a restart, so that the next stop leaves the router as it is."`
	Deploy    deployCmd    `cmd:"" help:"Bring wanctl to the hosts of an inventory, over SSH."`
	Install   installCmd   `cmd:"" help:"Put a version that was sent to this host into force, or go back."`
	State     stateCmd     `cmd:"" help:"Take over what another program has learnt."`
	Demo      demoCmd      `cmd:"" help:"Play an evening on two simulated lines through an emulated router."`
	Sim       simCmd       `cmd:"" help:"Run a scenario in virtual time and print its figures."`
	Emulate   emulateCmd   `cmd:"" help:"Serve an emulated RouterOS router over SSH."`
	Lab       labCmd       `cmd:"" help:"Play scenarios on a real kernel with real CAKE, in virtual time."`
	LabGuest  labGuestCmd  `cmd:"" name:"lab-guest" hidden:"" help:"Play a plan inside the lab's machine."`
	Version   versionCmd   `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" help:"Print a script that completes wanctl's commands in a shell."`
	Man        manCmd        `cmd:"" help:"Print a manual page."`
}

const description = `wanctl keeps latency flat while a line is full.

Per WAN it measures round-trip times, decides what the line can carry now (GREEN, YELLOW, SOFT_RED, RED) and sets the
rates of the router's CAKE queues. A steering loop moves new latency-sensitive connections to the healthier WAN when
congestion is confirmed.

Start with "wanctl demo": it needs no router, no root and no network.

Exit codes: 0 done, 1 failed (or degraded, for status; a warning, for doctor), 2 not running (status), broken (doctor) or
steps remain (deploy, install), 64 wrong usage.`

// newParser builds the command line. exit is called where --help would end the process.
func newParser(app *App, exit func(int)) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("wanctl"), kong.Description(description), kong.UsageOnError(),
		kong.Writers(app.Stdout, app.Stderr), kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: false}),
		kong.Bind(app), kong.Vars{"dialects": dialectNames()},
	)
}

// Main runs one command line and returns its exit code.
func Main(args []string, app *App) int {
	exited := -1
	parser, err := newParser(app, func(code int) { exited = code })
	if err != nil {
		fmt.Fprintln(app.Stderr, "wanctl:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		var pe *kong.ParseError
		if errors.As(err, &pe) {
			parser.Stdout = app.Stderr // what a program reads stays free of it
			_ = pe.Context.PrintUsage(true)
		}
		fmt.Fprintln(app.Stderr, "wanctl:", err)
		return exitUsage
	}
	err = ctx.Run()
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintln(app.Stderr, "wanctl:", line)
	}
	return exitFailed
}

// exitCode ends a command that has already said what there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// context returns one that ends at the first SIGTERM or SIGINT. Further SIGTERMs are swallowed until the process ends:
// `timeout` signals a child and its group, a service manager may repeat itself, and what a stop owes the router takes
// seconds, but bounded ones. The third SIGINT kills, for somebody at a keyboard who cannot wait.
func (a *App) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	term, keys := make(chan os.Signal, 1), make(chan os.Signal, 2)
	stopTerm, stopKeys := a.Notify(term, syscall.SIGTERM), a.Notify(keys, os.Interrupt)
	over := make(chan struct{})
	go func() {
		for pressed := 0; ; {
			select {
			case <-term:
				cancel()
			case <-keys:
				cancel()
				if pressed++; pressed == 2 {
					stopKeys() // the next one has its usual effect
				}
			case <-over:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		stopKeys()
		if ctx.Err() == nil { // else the process is about to end, by its own exit code
			stopTerm()
		}
		cancel()
		close(over)
	})
}

// printJSON prints a value for scripts; what names it in an error.
func (a *App) printJSON(what string, v any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print the %s: %w", what, err)
	}
	return nil
}

// dirs are the directories for files that no configuration names.
func (a *App) dirs(run string) daemon.Dirs {
	d := daemon.DefaultDirs(a.Getenv, a.UID)
	if run != "" {
		d.Run = run
	}
	return d
}
