package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/preset"
	"wanctl/internal/routeros"
)

type initCmd struct {
	Dir   string `default:"/etc/wanctl" placeholder:"DIR" help:"Where the files are written; secrets go to DIR/secrets, host keys to DIR/ssh."`
	Yes   bool   `help:"Ask nothing: what is not given by a flag and has no default is named, and nothing is done."`
	Force bool   `help:"Overwrite files that are there."`

	Router       string `placeholder:"HOST" help:"The MikroTik router's address; default: asked for, with the gateway of this host's default route proposed."`
	Linux        bool   `help:"This host is the router itself, and shapes with its own CAKE."`
	Transport    string `default:"auto" enum:"auto,api,rest,ssh" help:"The door into the router: api, rest or ssh; auto is the first of these that shows itself."`
	Port         int    `placeholder:"N" help:"TCP port of that door; default: its usual one."`
	Fingerprint  string `placeholder:"TEXT" help:"What the router is known by, compared before anything is sent to it; default: shown, and asked for."`
	User         string `default:"wanctl" placeholder:"NAME" help:"wanctl's own user on the router, with the least rights that do."`
	Admin        string `placeholder:"NAME" help:"Log in as this user, who may make wanctl's own; with the password in WANCTL_ADMIN_PASSWORD, or asked for."`
	SSHKey       string `name:"ssh-key" placeholder:"FILE" help:"Private key of wanctl's own user, who is there already; default: a password."`
	PasswordFile string `placeholder:"FILE" help:"File of its password, which is taken from WANCTL_ROUTER_PASSWORD, else from there, else asked for, and is written there; default: DIR/secrets/router.password."`

	Line      []string `placeholder:"KEY=VALUE,…" sep:"none" help:"A line, with all its answers: see above. Once for each."`
	LAN       []string `name:"lan" placeholder:"INTERFACE" help:"Interface towards the house; default: the router's one bridge, asked for with --linux and steering."`
	Policy    string   `default:"tracking" enum:"tracking,steps" help:"The law that moves the rates: tracking or steps."`
	PingHosts []string `name:"ping-host" placeholder:"HOST" help:"A reflector to probe, instead of well-known resolvers. At least three are best."`
	NoMeasure bool     `help:"Do not measure the idle lines."`

	CapacityFrom string        `placeholder:"HOST[:PORT]" help:"Load each line through this iperf3 server of yours, and propose what it carries instead of asking what it is sold as."`
	CapacityTime time.Duration `default:"15s" help:"How long each direction is loaded for that, 8s to 45s: the first two seconds do not count, and five are a figure."`

	Steer   *bool  `negatable:"" help:"Write a steering file for two lines or more; default: asked for, and done with --yes."`
	Primary string `placeholder:"NAME" help:"The line that steering moves connections from; default: the one of the nearest default route."`

	Apply  *bool `negatable:"" help:"Make what the router, or this host, lacks; default: asked for, and not done with --yes."`
	Doctor *bool `negatable:"" help:"Examine the result; default: asked for, and not done with --yes."`
}

// Help teaches the questions and their flags.
func (initCmd) Help() string {
	return `Finds the router, shows what it is known by and asks whether that is right, logs in, shows interfaces and queues, measures
the idle lines and writes a commented file for each, and one for steering, every proposed number with its reason. All are
checked before the first is written, and either all are written or none. Nothing on the router is changed, unless you say so
at the end. An answer in brackets is taken by Enter; Ctrl-C ends everything, and leaves nothing behind. When the doctor looked at
the result, its exit code is this command's.

A --line is a list of KEY=VALUE: wan (the router's interface, or this host's), access (` + strings.Join(preset.Words(), ", ") + `) and
rates (DOWN/UP in Mbit/s, as sold; "measured" with --capacity-from; "unknown" where the queues are there already) are needed; name, download and upload
(queues of the tree), simple (a simple queue in their place), source (the address of this host that takes the line; needed
with two lines or more, "none" for none) and baseline (ms, instead of measuring) may be given.

Examples:

    wanctl init
    wanctl init --linux --dir /etc/wanctl
    wanctl init --yes --router 192.168.88.1 --fingerprint SHA256:… --admin admin --line wan=ether1,access=cable,rates=450/38 --apply`
}

// wizard is a first set-up under way. Until commit nothing is written but into a directory of its own.
type wizard struct {
	initCmd
	app *App
	ctx context.Context //nolint:containedctx // one call, from its first question to its last
	// scratch is that directory, made when it is needed.
	scratch string
	house   preset.House
	// door is how the router is entered, as whoever logged in; own proves itself as wanctl's user.
	door routeros.Options
	view *routerView
	// adminPassword is that of --admin, and password that of wanctl's own user where it is to be written.
	adminPassword, password string
	known                   bool // the router's key is recorded already, or pinned
	ruled                   bool // the router has rules that send each line's probes by it
	answers                 []lineAnswers
	written                 map[string][]byte // what the files hold since commit, by path
	done                    progress
}

// progress says which answers are there already, for telling what was missing when they end.
type progress struct{ trust, login, lines bool }

// Run asks, writes, and does what it is told to do with what was written.
func (c initCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	w := &wizard{initCmd: c, app: app, ctx: ctx}
	var files []string
	err := w.unlessHungUp(func() (err error) { files, err = w.write(); return err })
	w.close()
	if err != nil {
		return w.ended(err)
	}
	if w.ctx.Err() == nil {
		cancel() // what comes now has its own way with signals
		w.ctx, cancel = app.context()
		defer cancel()
	}
	return w.after(files)
}

// unlessHungUp calls f with a context that ends, and stays so, when the terminal goes away or somebody quits from it: f leaves
// nothing half done, where these signals would.
func (w *wizard) unlessHungUp(f func() error) error {
	outer := w.ctx
	ctx, interrupt := context.WithCancel(outer)
	defer interrupt()
	defer w.app.onHangup(interrupt)()
	w.ctx = ctx
	err := f()
	if ctx.Err() == nil {
		w.ctx = outer
	}
	return err
}

// write is everything until the files are there.
func (w *wizard) write() (files []string, err error) {
	for _, s := range w.Line {
		a, err := parseLine(s)
		if err != nil {
			return nil, fmt.Errorf("--line %s: %w", s, err)
		}
		w.answers = append(w.answers, a)
	}
	if w.Yes {
		if lacks := w.missing(); len(lacks) > 0 {
			return nil, unanswered{lacks}
		}
	}
	for _, path := range []*string{&w.Dir, &w.PasswordFile, &w.SSHKey} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil { // the files are read from anywhere
			return nil, fmt.Errorf("find %s: %w", *path, err)
		}
	}
	w.house.Dir, w.house.Run = w.Dir, w.app.dirs("").Run
	if err := w.place(); err != nil {
		return nil, err
	}
	var steps []func() error
	if !w.Linux {
		steps = append(steps, w.meet, w.enter)
	}
	for _, step := range append(steps, w.lines, w.measure, w.steering) {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return w.commit()
}

// close leaves the router and takes away what was only for now.
func (w *wizard) close() {
	if w.view != nil {
		w.view.close()
	}
	if w.scratch != "" {
		_ = os.RemoveAll(w.scratch)
	}
}

// unanswered is what nobody gave.
type unanswered struct{ flags []string }

func (u unanswered) Error() string { return "missing: " + strings.Join(u.flags, "; ") }

// errEnded is the end of the answers.
var errEnded = errors.New("the answers ended")

// ended says what an early end leaves, and what was missing.
func (w *wizard) ended(err error) error {
	var u unanswered
	switch {
	case w.ctx.Err() != nil:
		fmt.Fprintln(w.app.Stdout)
		err = errors.New("interrupted")
	case errors.As(err, &u), errors.Is(err, errEnded):
		fmt.Fprintln(w.app.Stdout)
		if lacks := w.missing(); len(u.flags) == 0 && len(lacks) > 0 {
			err = fmt.Errorf("%w; missing: %s", err, strings.Join(lacks, "; "))
		}
	}
	var code exitCode
	if errors.As(err, &code) {
		fmt.Fprintln(w.app.Stderr, "wanctl: nothing was written")
		return err
	}
	return fmt.Errorf("%w\nnothing was written", err)
}

// missing are the flags of the questions that nothing answers, as far as that can be said before anything was asked.
func (w *wizard) missing() (flags []string) {
	if w.Router == "" && !w.Linux {
		flags = append(flags, "--router HOST, or --linux")
	}
	if w.CapacityFrom == "" && slices.ContainsFunc(w.answers, func(a lineAnswers) bool { return a.rates == measuredRates }) {
		flags = append(flags, "--capacity-from HOST, for rates="+measuredRates)
	}
	if !w.done.trust && !w.Linux && w.Fingerprint == "" && !w.Yes { // with --yes it may be recorded already
		flags = append(flags, "--fingerprint TEXT")
	}
	if !w.done.login && !w.Linux && !w.canLogIn() {
		flags = append(flags, routerVariable+" (or --password-file, --ssh-key), or --admin NAME and "+adminVariable+" to have the user made")
	}
	if w.done.lines {
		return flags
	}
	if len(w.answers) == 0 {
		return append(flags, "--line wan=INTERFACE,access=WORD,rates=DOWN/UP for each line")
	}
	if w.Linux && len(w.answers) > 1 && len(w.LAN) == 0 && (w.Steer == nil || *w.Steer) {
		flags = append(flags, "--lan INTERFACE")
	}
	for i := range w.answers {
		if lacks := w.answers[i].missing(len(w.answers) > 1, w.Linux); len(lacks) > 0 {
			flags = append(flags, fmt.Sprintf("--line %s: %s", w.answers[i].wan, strings.Join(lacks, ", ")))
		}
	}
	return flags
}

// canLogIn says whether somebody's secret is at hand without a question.
func (w *wizard) canLogIn() bool {
	has := func(name string) bool { v, ok := w.app.LookupEnv(name); return ok && v != "" }
	return w.SSHKey != "" || has(routerVariable) || w.Admin != "" && has(adminVariable) || exists(w.passwordFile())
}
