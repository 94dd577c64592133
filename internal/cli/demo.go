package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/lab/score"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

type demoCmd struct {
	Headless bool          `help:"No live view: plain lines, as fast as it goes."`
	Duration time.Duration `default:"10m" help:"How much of the evening is played, in virtual time."`
	Seed     uint64        `default:"1" help:"Decides every chance of the evening."`
	Speed    float64       `default:"20" help:"How many times faster than real time the live view runs."`
	Policy   string        `enum:"tracking,steps" default:"tracking" help:"How the lines are controlled: tracking measures what they carry; steps is the earlier Python system's, every 2 s."`
	JSON     bool          `help:"Print both runs' figures as JSON instead of the table."`
}

// Help says what is real and what is not.
func (demoCmd) Help() string {
	return `An evening of a household with a cable and a VDSL line: the cable degrades twice, one episode of delay alone, one
congestion at the provider. The same evening is played twice with the same seed: with queues that stay at their ceilings,
and with two controllers and steering, through a real SSH connection to an emulated router on loopback whose host key is
verified. Network and time are simulated; the controllers and the SSH client are those of "wanctl run". Needs no root and
no network.

Example:

    wanctl demo --headless --seed 7
    wanctl demo --policy steps`
}

// command is how long a router command takes in the demo's virtual time: what SSH to an RB5009 was measured at.
const command = 150 * time.Millisecond

// Run plays the evening twice.
func (c demoCmd) Run(app *App) error {
	switch {
	case !(c.Speed >= 0.1 && c.Speed <= 1e6):
		return fmt.Errorf("--speed %g is outside 0.1 to 1000000", c.Speed)
	case c.Duration <= 0:
		return fmt.Errorf("--duration %s is not a time to play", c.Duration)
	}
	site, err := app.sites(c.Policy)
	if err != nil {
		return err
	}
	ctx, cancel := app.context()
	defer cancel()
	// A reader that has seen enough (`wanctl demo | head`) ends the showing; it must not leave the demo's keys behind.
	signal.Ignore(syscall.SIGPIPE)
	out := &readersEnd{w: app.Stdout, end: cancel}
	shown := *app
	shown.Stdout, app = out, &shown
	d := demo{app: app, site: site, live: app.Terminal && !c.Headless && !c.JSON, speed: c.Speed, quiet: c.JSON}
	without, with, err := d.play(ctx, c.Seed, c.Duration)
	if out.gone {
		return errors.Join(exitCode(exitFailed), err)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return app.printJSON("figures", struct {
			Without score.Result `json:"without"`
			With    score.Result `json:"with"`
		}{without, with})
	}
	return compare(app.Stdout, without, with)
}

// readersEnd passes on what is written, and calls end when nobody reads it any more.
type readersEnd struct {
	w    io.Writer
	end  func()
	gone bool
}

func (r *readersEnd) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if errors.Is(err, syscall.EPIPE) && !r.gone {
		r.gone = true
		r.end()
	}
	return n, err
}

// demo is one showing.
type demo struct {
	app   *App
	site  *sites
	live  bool
	quiet bool
	speed float64
	// events are what the last showing told.
	events []event
}

// play returns the figures of the same evening without and with wanctl.
func (d *demo) play(ctx context.Context, seed uint64, length time.Duration) (without, with score.Result, err error) {
	evening, err := netsim.Builtin("evening", seed)
	if err != nil {
		return without, with, err
	}
	if length > 0 && length < evening.Duration {
		evening.Duration = length
	}
	if with, err = d.controlled(ctx, evening); err != nil {
		return without, with, err
	}
	bare, err := score.New(siteSetup(evening, d.site, "static", command), nil)
	if err != nil {
		return without, with, err
	}
	// A showing that was stopped is compared with as much of the other.
	bare.Advance(netsim.Epoch.Add(time.Duration(with.DurationS * float64(time.Second))))
	return bare.Result(), with, nil
}

// controlled plays the evening with the controllers on a real SSH connection to an emulated router.
func (d *demo) controlled(ctx context.Context, evening netsim.Scenario) (res score.Result, err error) {
	b, err := newBench()
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	setup := siteSetup(evening, d.site, "wanctl", command)
	for i := range setup.Lines {
		cfg := *setup.Lines[i].Config
		cfg.Router = b.router(cfg.Router)
		hand, err := daemon.DialShaper(&cfg, b)
		if err != nil {
			return res, err
		}
		setup.Lines[i].Config, setup.Lines[i].Router = &cfg, &outsideShaper{hand, b}
		b.lines = append(b.lines, &cfg)
	}
	steering := *setup.Steering.Config
	steering.Router = b.router(steering.Router)
	hand, err := daemon.DialSwitch(&steering, b)
	if err != nil {
		return res, err
	}
	setup.Steering.Config, setup.Steering.Router = &steering, &outsideSwitch{hand, b, steering.Alternates[0].RuleComment}
	view := newView(d, evening)
	run, err := score.New(setup, view.note)
	if err != nil {
		return res, err
	}
	b.net = run.Net()
	view.run = run
	if err := b.serve(context.WithoutCancel(ctx)); err != nil {
		return res, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for !run.Done() && ctx.Err() == nil {
		run.Advance(run.Net().Now().Add(time.Second))
		view.frame(ctx)
	}
	view.end()
	d.events = view.events
	return run.Result(), nil
}

// bench is the emulated router with its keys, and the clock that it and the clients share. The simulated network belongs
// to whoever holds mu: the run, except while a command is on its way through the router.
type bench struct {
	dir    string
	host   ssh.Signer
	client ssh.Signer
	mu     sync.Mutex
	net    *netsim.Net
	lines  []*config.WAN
	now    atomic.Int64
	sim    *rosim.Router
	ln     net.Listener
	stop   context.CancelFunc
	ended  chan error
}

func newBench() (*bench, error) {
	dir, err := os.MkdirTemp("", "wanctl-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the demo's keys: %w", err)
	}
	b := &bench{dir: dir, ended: make(chan error, 1), stop: func() { close(make(chan struct{})) }}
	if b.host, b.client, err = emulatorKeys(dir, "ed25519"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if b.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on loopback for the demo: %w", err), os.RemoveAll(dir))
	}
	o := rosim.DefaultOptions()
	o.HostKeys, o.Now, o.Applier = []ssh.Signer{b.host}, b.Now, b
	if b.sim, err = rosim.NewRouter(o); err != nil {
		return nil, errors.Join(err, b.ln.Close(), os.RemoveAll(dir))
	}
	b.sim.AuthorizeKey(rosim.DefaultUser, b.client.PublicKey())
	return b, os.WriteFile(b.known(), []byte(b.sim.KnownHosts(b.ln.Addr().String())), 0o600)
}

func (b *bench) known() string { return filepath.Join(b.dir, "known_hosts") }

// serve starts the router.
func (b *bench) serve(ctx context.Context) error {
	ctx, b.stop = context.WithCancel(ctx)
	go func() { b.ended <- b.sim.Serve(ctx, b.ln) }()
	select {
	case <-b.sim.Ready():
		return nil
	case err := <-b.ended:
		b.ended <- nil
		return fmt.Errorf("emulated router: %w", err)
	}
}

func (b *bench) close() error {
	b.stop()
	err := b.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// router is how the clients reach it: as a user's configuration would say.
func (b *bench) router(r config.Router) config.Router {
	host, port, _ := net.SplitHostPort(b.ln.Addr().String())
	r.Host, r.User, r.KeyFile, r.KnownHosts = host, rosim.DefaultUser, filepath.Join(b.dir, "client_key"), b.known()
	r.Port, _ = strconv.Atoi(port)
	return r
}

// Now is the virtual clock.
func (b *bench) Now() unit.Time { return unit.Time(b.now.Load()) }

// Wall is for log lines, of which the demo has none.
func (b *bench) Wall() time.Time { return time.Time{} }

// outside lets the router have the network while f waits for its answer.
func (b *bench) outside(f func()) {
	b.now.Store(int64(b.net.Now()))
	b.mu.Unlock()
	defer b.mu.Lock()
	f()
}

type outsideShaper struct {
	daemon.Shaper
	b *bench
}

func (o *outsideShaper) Exchange(ctx context.Context, want *link.Rates) (r link.Report, err error) {
	o.b.outside(func() { r, err = o.Shaper.Exchange(ctx, want) })
	return r, err
}

type outsideSwitch struct {
	daemon.Switch
	b       *bench
	comment string
}

func (o *outsideSwitch) Queue(ctx context.Context) (q link.Queue, err error) {
	o.b.outside(func() { q, err = o.Switch.Queue(ctx) })
	return q, err
}

func (o *outsideSwitch) Rule(ctx context.Context, alternate int) (on bool, err error) {
	o.b.outside(func() { on, err = o.Switch.Rule(ctx, alternate) })
	return on, err
}

func (o *outsideSwitch) SetRule(ctx context.Context, alternate int, on bool) (is bool, err error) {
	o.b.outside(func() { is, err = o.Switch.SetRule(ctx, alternate, on) })
	return is, err
}

// RuleEnabled is what the router routes new connections by.
func (o *outsideSwitch) RuleEnabled() bool {
	on, _ := o.b.sim.RuleEnabled(o.comment)
	return on
}

// at finds a queue by name.
func (b *bench) at(queue string) (i int, d link.Direction, ok bool) {
	for i, l := range b.lines {
		switch queue {
		case l.Queues.Download:
			return i, link.Down, true
		case l.Queues.Upload:
			return i, link.Up, true
		}
	}
	return 0, link.Down, false
}

// Apply sets the simulated shaper when the router's max-limit changes.
func (b *bench) Apply(queue string, limit unit.Rate) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, d, ok := b.at(queue)
	if !ok || b.net == nil {
		return nil
	}
	b.net.SetShaper(i, d, limit)
	return nil
}

// Queue returns the simulated counters.
func (b *bench) Queue(name string) (link.Queue, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, d, ok := b.at(name)
	if !ok || b.net == nil {
		return link.Queue{}, false
	}
	return b.net.Counters(i).Get(d), true
}

// Interface returns the simulated line's counters: ether1 is the cable, ether2 the VDSL line.
func (b *bench) Interface(name string) (rx, tx unit.Bytes, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := map[string]int{"ether1": netsim.Cable, "ether2": netsim.VDSL}
	at, ok := i[name]
	if !ok || b.net == nil {
		return 0, 0, false
	}
	r := b.net.Counters(at)
	return r.WANRx, r.WANTx, true
}
