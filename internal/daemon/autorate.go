package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// Common is what every task shares.
type Common struct {
	Clock   Clock
	Dirs    Dirs
	Hands   Hands
	Version string
	// DryRun decides and logs and never writes to a router.
	DryRun bool
	// Sharing divides the routers' budgets among the controllers of the process; nil leaves each line all of it.
	Sharing Sharing
	// Tape, when not nil, records a line in the place of what its configuration says of a journal.
	Tape func(*config.WAN) (Tape, error)
	// OpenLog opens a task's log.
	OpenLog func(name string, files config.Logging) (*Log, error)
	// ServeStatus answers at a socket with what get returns, until stop is called; nil is what `wanctl status` asks.
	ServeStatus func(path string, get func() Status) (stop func(), err error)
}

// serveStatus publishes a task's status.
func (c Common) serveStatus(name string, status *atomic.Pointer[Status], p *progress, log *Log) (stop func(), err error) {
	get := func() Status { return status.Load().asOf(c.Clock.Now(), p, log) }
	if c.ServeStatus != nil {
		return c.ServeStatus(socketPath(c.Dirs.Run, name), get)
	}
	return serveStatus(socketPath(c.Dirs.Run, name), answers{status: get, debug: log.debugFor})
}

// Loader reads and validates a configuration, at start and at each reload. With errors among the diagnostics there is no
// configuration.
type Loader[T any] func() (T, config.Diagnostics)

// Autorate is the task that controls one WAN.
type Autorate struct {
	Common
	*progress
	name  string
	path  string
	load  Loader[*config.WAN]
	cfg   *config.WAN // of the loop's goroutine once it runs
	warns config.Diagnostics

	log  *Log
	boot string
	wan  *Taped
	// tape is the journal in use on disk, nil for none.
	tape   *segments
	loop   *loop[actuate.Op, actuate.Result]
	pinger Pinger
	router Shaper
	hand   atomic.Pointer[shaperHand] // the same for operations, which run beside the loop
	saver  *saver
	// observed is what a line that tracks its capacity sees between its steps.
	observed *Observed
	feedOK   bool
	feed     bytes.Buffer
	rates    link.Rates
	// applied is what the router had at the last cycle.
	applied link.Rates
	status  atomic.Pointer[Status]
	// probing is what the pinger was told last.
	probing Probing
	// published is when status was last made.
	published unit.Time
	// stopPings ends the pinger in use and waits for it.
	stopPings func()
	way       pathProof
	// owner is the claim on the router's queues; nil where nothing is written, or where routers know no marks.
	owner *ownership
}

// shaperHand is a router with the patience for one operation.
type shaperHand struct {
	Shaper
	timeout time.Duration
}

// NewAutorate prepares the task of the configuration file at path.
func NewAutorate(c Common, path string, load Loader[*config.WAN]) (*Autorate, error) {
	cfg, ds := load()
	if err := ds.Err(); err != nil {
		return nil, err
	}
	return &Autorate{
		Common: c, progress: newProgress(c.Clock.Now(), cfg.Period), name: cfg.Name, path: path, load: load,
		cfg: cfg, warns: ds, stopPings: func() {}, way: pathProof{Retry: pathRetry},
	}, nil
}

// String is the WAN's name.
func (a *Autorate) String() string { return a.name }

// open takes the lock and everything else the loop needs. The returned function gives it all back.
func (a *Autorate) open(ctx context.Context) (closeAll func(), err error) {
	var undo undoList
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	if a.boot, err = BootID(); err != nil {
		return nil, err
	}
	unlock, anonymous, err := takeLocks(a.Dirs.Run, a.cfg.LockFile, a.cfg.Name, a.path, a.Clock.Wall())
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = unlock() })
	// The note is taken before anything can fail: a successor that does not come up must not keep `wanctl release` from
	// giving the router back.
	now := a.Clock.Now()
	handed, noteErr := HandedOver(a.Dirs.Run, a.cfg.Name, a.boot, now)
	noteErr = errors.Join(anonymous, noteErr, takeHandover(a.Dirs.Run, a.cfg.Name))
	if a.log, err = a.OpenLog(a.cfg.Name, a.cfg.Logging); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = a.log.Close() })

	if noteErr != nil {
		a.log.Warn(noteErr.Error())
	}
	sweep(a.cfg.StateFile)
	var saved state.WAN
	found, notes := loadState(a.cfg.StateFile, func(r io.Reader) (err error) {
		saved, err = state.ReadWAN(r, a.cfg.Name)
		return err
	}, func(r io.Reader) (err error) {
		saved, err = state.ReadNewerWAN(r, a.cfg.Name)
		return err
	})
	for _, n := range notes {
		a.log.Warn(n)
	}
	restored := &saved
	switch {
	case !found:
		restored = nil
	case saved.BootID != a.boot: // its instants are of another clock
		saved.Controller = saved.Controller.Rebase(now)
	}
	if a.router, err = a.Hands.shaper(a.cfg, a.Clock, a.log); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = a.router.Close() })
	if !a.DryRun && a.cfg.Enabled {
		a.unlift()
	}
	a.observed = NewObserved(counterOf(a.router))
	if a.pinger, err = a.Hands.probe(a.probeOptions(a.cfg)); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = a.pinger.Close() })
	a.hand.Store(&shaperHand{a.router, a.cfg.Timeouts.Router})
	opt := a.options(a.cfg)
	opt.Jitter, opt.Observed = rand.Float64, a.observed
	opt.Outside = func() link.Outside { return link.Outside{Minute: MinuteOfDay(a.Clock.Wall().Local())} }
	rec := Recording{Program: a.Version, Source: journal.FromAutorate, Boot: a.boot, Config: a.cfg, Wall: a.Clock.Wall}
	if a.Tape != nil {
		rec.Source = journal.FromRecord
	}
	if a.wan, err = NewTaped(opt, a.pinger, now, restored, rec); err != nil {
		return nil, err
	}
	a.feedOK = true
	a.hello(found, handed)
	a.claim(a.cfg)
	undo = append(undo, func() { a.owner.stop(false) })
	checkProbes(ctx, a.log, a.pinger)
	return undo.run, nil
}

// probeOptions are those of the line's probes; of a line that tracks its capacity each is booked as it leaves.
func (a *Autorate) probeOptions(cfg *config.WAN) probe.Options {
	o := probeOptions(cfg, a.Clock, a.log)
	if cfg.Tracking != nil {
		o.OnSend, o.Timestamps = a.observed.Sent, cfg.OneWay
	}
	return o
}

// arrivals tells of replies, to a line that decides on each.
func (a *Autorate) arrivals(cfg *config.WAN) <-chan struct{} {
	if cfg.Tracking == nil {
		return nil
	}
	return a.pinger.Arrived()
}

// counterOf is a router's quick counters, where it has them.
func counterOf(router Shaper) Counter {
	if c, ok := router.(Counter); ok {
		return c
	}
	return nil
}

// undoList gives back, in reverse, what was taken.
type undoList []func()

func (u *undoList) run() {
	for i := len(*u) - 1; i >= 0; i-- {
		(*u)[i]()
	}
	*u = nil
}

// hello logs what this controller starts from.
func (a *Autorate) hello(restored, handed bool) {
	from := "from the ceiling"
	switch {
	case restored && handed:
		from = "taking over from the last process"
	case restored:
		from = "from the saved state"
	}
	mode := ""
	switch {
	case a.DryRun:
		mode = "; dry run: the router is read and never written"
	case !a.cfg.Enabled:
		mode = "; continuous_monitoring.enabled is false: the router is read and never written"
	}
	a.log.Info(fmt.Sprintf("wanctl %s starts %s, every %s, router %s%s",
		a.Version, from, a.cfg.Period, a.router, mode))
	logWarnings(a.log, a.warns)
}

// logWarnings logs what a configuration that works is warned of.
func logWarnings(log *Log, ds config.Diagnostics) {
	for _, w := range ds.Warnings() {
		log.Warn(w.String())
	}
}

// Run controls the WAN until ctx ends, and then leaves on the router what the configuration says. It fails when that
// could not be done.
func (a *Autorate) Run(ctx context.Context) error {
	closeAll, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := a.startTape(a.cfg); err != nil {
		return err
	}
	if a.owner != nil {
		a.wan.Yield(a.Clock.Now(), true)
	}
	if !provable(a.cfg, a.router) {
		warnUnproved(a.log, a.cfg.Router.Transport, a.cfg.Probe.Bound())
	}
	defer a.way.stop()
	a.pace()
	a.stopPings = startPings(a.pinger, a.log)
	defer func() { a.stopPings() }()
	a.saver = newSaver(a.cfg.StateFile, a.log)
	a.publish(a.Clock.Now())
	stopStatus, err := a.serveStatus(a.cfg.Name, &a.status, a.progress, a.log)
	if err != nil {
		a.log.Warn(err.Error() + "; `wanctl status` will not see this WAN")
	}
	defer stopStatus()

	a.loop = newLoop(a.Clock, a.cfg.Period, core[actuate.Op, actuate.Result](a.wan), a.log)
	a.loop.do, a.loop.after = a.do, a.record
	a.loop.arrivals = a.arrivals(a.cfg)
	a.loop.run(ctx)
	var left string
	left, err = a.leave()
	a.saver.close(a.encodeState(a.Clock.Now()))
	a.stopTape("stopped; " + left)
	return err
}

// startTape begins the recording of a configuration, if it has one. A journal that cannot be made keeps nobody from
// controlling.
func (a *Autorate) startTape(cfg *config.WAN) error {
	now := a.Clock.Now()
	if a.Tape != nil {
		tape, err := a.Tape(cfg)
		if err == nil {
			a.wan.Record(tape, now)
		}
		return err
	}
	if cfg.Journal.Dir == "" {
		return nil
	}
	s, err := openSegments(cfg.Journal, cfg.Name, a.Clock.Wall, a.log)
	if err != nil {
		a.log.Error(fmt.Sprintf("%v; control goes on unrecorded", err))
		return nil
	}
	a.tape = s
	a.wan.Record(s, now)
	return nil
}

func (a *Autorate) stopTape(why string) {
	now := a.Clock.Now()
	a.wan.Stop(now, why)
	a.wan.Record(nil, now)
	if a.tape != nil {
		a.tape.close()
		a.tape = nil
	}
}

// startPings runs a pinger beside a loop, until stop is called, which waits for it. Its end is not the loop's: a lost
// socket is an outage of measuring.
func startPings(p Pinger, log *Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			log.Error(fmt.Sprintf("probing stopped: %v; restart wanctl", err))
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// do carries out one router operation; it runs beside the loop.
func (a *Autorate) do(ctx context.Context, op actuate.Op) actuate.Result {
	h := a.hand.Load()
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	began := a.Clock.Now()
	res := Exchange(ctx, h.Shaper, op)
	if a.log.Enabled(ctx, slog.LevelDebug) {
		a.log.Debug(fmt.Sprintf("router operation %d: set %q, read back DL=%s, UL=%s, took %s, error: %v", op.ID, ratesText(op.Want),
			res.Report.Down.MaxLimit, res.Report.Up.MaxLimit, a.Clock.Now().Sub(began).Round(time.Millisecond), res.Err))
	}
	return res
}

// Exchange is one operation on a line's router, with its error classed.
func Exchange(ctx context.Context, router Shaper, op actuate.Op) actuate.Result {
	var want *link.Rates
	if op.Write {
		want = &op.Want
	}
	rep, err := router.Exchange(ctx, want)
	class, sent := classify(err)
	// One queue may be missing while the other was set and read back: covers tells.
	return actuate.Result{Op: op, Report: rep, Err: err, Class: class, Sent: sent, Read: covers(err)}
}

// record writes what a cycle or a result changed.
func (a *Autorate) record(now unit.Time, _ Outcome[actuate.Op], ticked bool) {
	if a.owner.step(now, a.wan.out.Status.Link == actuate.Connected, a.log) {
		a.wan.Yield(now, a.owner.withheld)
	}
	a.pace()
	if !ticked || now.Sub(a.published) >= publishEvery {
		a.publish(now)
		a.published = now
	}
	if !ticked {
		return
	}
	a.made(now)
	a.provePath()
	a.writeFeed()
	rates, applied := a.wan.Decision().Rates, a.wan.Applied()
	if a.saver.due(now, rates != a.rates || applied != a.applied) {
		a.saver.save(a.encodeState(now))
	}
	a.rates, a.applied = rates, applied
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		a.log.Debug(a.wan.Detail(now))
	}
}

// publishEvery is how old the status may be on a fast loop: nobody asks twice in that time.
const publishEvery = 500 * time.Millisecond

func (a *Autorate) writeFeed() {
	a.feed.Reset()
	err := state.WriteFeed(&a.feed, a.wan.Feed(), a.boot, a.Clock.Wall())
	if err == nil {
		err = replaceFile(a.cfg.FeedFile, a.feed.Bytes(), false)
	}
	switch {
	case err != nil && a.feedOK:
		a.feedOK = false
		a.log.Error(fmt.Sprintf("%v; steering cannot see this WAN until it can be written: make room or mend its rights", err))
	case err == nil && !a.feedOK:
		a.feedOK = true
		a.log.Info("the feed " + a.cfg.FeedFile + " can be written again")
	}
}

func (a *Autorate) encodeState(now unit.Time) func(io.Writer) error {
	s := a.wan.State(now, a.boot, a.Clock.Wall())
	return func(w io.Writer) error { return state.WriteWAN(w, s) }
}

const (
	exitTime  = 6 * time.Second // what a stop spends on the router at most, after [grace]
	exitRetry = time.Second
)

// leave puts the exit rates on the router, unless another process takes over or nothing may be written. It says which of
// them it was.
func (a *Autorate) leave() (left string, err error) {
	if a.DryRun || !a.cfg.Enabled {
		a.log.Info("exit: nothing was written, so nothing is put back; a controlling process would leave " + ratesText(a.wan.ExitRates()))
		return "nothing may be written", nil
	}
	handed, err := HandedOver(a.Dirs.Run, a.cfg.Name, a.boot, a.Clock.Now())
	if err != nil {
		a.log.Warn(err.Error())
	}
	if handed {
		a.log.Info("handing over: the rates stay as they are")
		return "handing over", nil
	}
	if other := a.owner.elsewhere(); other != nil {
		a.log.Info("exit: " + controlledBy(other))
		return "another controls the router", nil
	}
	defer func() { a.owner.stop(true) }()
	want := a.wan.ExitRates()
	has, err := setRates(a.router, want, a.wan.remains())
	a.wan.Left(has)
	if err != nil {
		err = fmt.Errorf("exit: %w; the router has %s; set the queues to %s by hand, or run `wanctl release %s`",
			err, &has, ratesText(has.lacks(want)), a.path)
		a.log.Error(err.Error())
		return err.Error(), err
	}
	a.log.Info(fmt.Sprintf("exit: left %s on the router", ratesText(want)))
	return "left " + ratesText(want), nil
}

// Reload takes a changed configuration over, whole or not at all. The logs are opened again in any case, because the
// same signal comes after a rotation.
func (a *Autorate) Reload(ctx context.Context) error { return a.log.reloaded(a.reload(ctx)) }

func (a *Autorate) reload(ctx context.Context) error {
	if err := a.log.Reopen(); err != nil {
		a.log.Warn(err.Error())
	}
	cfg, ds := a.load()
	if err := ds.Err(); err != nil {
		return err
	}
	logWarnings(a.log, ds)
	var err error
	if !a.loop.ask(ctx, func() { err = a.adopt(cfg) }) {
		return ctx.Err()
	}
	return err
}

// adopt runs on the loop's goroutine.
func (a *Autorate) adopt(cfg *config.WAN) (err error) {
	if err := sameWAN(a.cfg, cfg); err != nil {
		return err
	}
	pinger, router := a.pinger, a.router
	defer func() {
		if err == nil {
			return
		}
		if pinger != nil && pinger != a.pinger { // nil where none could be made
			_ = pinger.Close()
		}
		if router != nil && router != a.router {
			_ = router.Close()
		}
	}()
	if o := a.probeOptions(cfg); probesDiffer(o, a.probeOptions(a.cfg)) || !cfg.IRTT.Key.Equal(a.cfg.IRTT.Key) || (cfg.Tracking == nil) != (a.cfg.Tracking == nil) {
		if pinger, err = a.Hands.probe(o); err != nil {
			return err
		}
	}
	if routerDiffers(a.cfg, cfg) {
		if router, err = a.Hands.shaper(cfg, a.Clock, a.log); err != nil {
			return err
		}
	}
	now := a.Clock.Now()
	if err := a.wan.Reconfigure(now, a.options(cfg), cfg); err != nil {
		return err
	}
	claim := router != a.router || cfg.Enabled != a.cfg.Enabled
	if router != a.router {
		old := a.router
		a.router = router
		a.observed.SetCounter(counterOf(router))
		a.way.stop()
		a.wan.SetRouter(now)
		_ = old.Close() // an operation under way there ends as any lost one
	}
	if claim {
		a.claim(cfg)
		a.wan.Yield(now, a.owner != nil)
	}
	a.hand.Store(&shaperHand{router, cfg.Timeouts.Router})
	a.log.limit(cfg.Logging)
	if pinger != a.pinger {
		a.way.stop()
		a.stopPings()
		_ = a.pinger.Close()
		a.pinger, a.probing = pinger, Probing{}
		a.wan.SetProber(now, pinger)
		a.pace()
		a.stopPings = startPings(pinger, a.log)
	}
	if cfg.Journal != a.cfg.Journal && a.Tape == nil {
		a.stopTape("the journal's settings changed")
		_ = a.startTape(cfg) // only a Tape's own failure ends anything
	}
	a.cfg = cfg
	a.period(cfg.Period)
	a.loop.period = cfg.Period
	a.loop.arrivals = a.arrivals(cfg)
	return nil
}

// warnUnproved says where probes are bound to a line and the router cannot be asked what becomes of them. Where this host is
// the router, checkProbes has told.
func warnUnproved(log *Log, transport string, bound bool) {
	if bound && transport != config.TransportLinux {
		log.Warn("that the router sends these probes out through their WAN is not proved: look for this host's " +
			"connections in its /ip/firewall/connection, or pull the other line and see that the measuring goes on")
	}
}

// checkTime bounds the look at how probes leave: names may have to be looked up.
const checkTime = 5 * time.Second

// checkProbes looks how probes leave, all lines at once: where names are not answered for, a start waits for it once.
func checkProbes(ctx context.Context, log *Log, pingers ...Pinger) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	found := make([][]probe.Finding, len(pingers))
	var looks sync.WaitGroup
	for i, p := range pingers {
		if p != nil {
			looks.Go(func() { found[i] = p.Check(ctx) })
		}
	}
	looks.Wait()
	for _, f := range slices.Concat(found...) {
		logNotes(log, []link.Note{f.Note()})
	}
}
