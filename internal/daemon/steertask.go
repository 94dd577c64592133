package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/policy"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Steer is the task that moves new connections between two WANs.
type Steer struct {
	Common
	*progress
	id    string
	path  string
	load  Loader[*config.Steering]
	cfg   *config.Steering // of the loop's goroutine once it runs
	warns config.Diagnostics

	log      *Log
	boot     string
	machine  *Steering
	loop     *loop[SteerOp, SteerResult]
	pingers  []Pinger // the primary's, then the alternates', of which some may be nil
	loss     *sentProbes
	router   Switch
	hand     atomic.Pointer[switchHand] // the same for operations, which run beside the loop
	saver    *saver
	status   atomic.Pointer[Status]
	started  unit.Time
	active   time.Duration // steered, since start
	lastTick unit.Time
	state    steer.State
	tending  *tending
	counted  atomic.Pointer[policy.Counts] // nil where nothing counts
	stop     func()                        // ends the pingers in use and waits for them
	readers  []FeedReader
	told     *history // where transitions are told in full; nil without a state file
	// owner is the claim on the rules; nil where nothing is written, or where routers know no marks.
	owner *ownership
}

// switchHand is a router with the patience for one operation.
type switchHand struct {
	Switch
	timeout time.Duration
}

// NewSteer prepares steering by the configuration file at path.
func NewSteer(c Common, path string, load Loader[*config.Steering]) (*Steer, error) {
	cfg, ds := load()
	if err := ds.Err(); err != nil {
		return nil, err
	}
	return &Steer{
		Common: c, progress: newProgress(c.Clock.Now(), cfg.Steer.Interval), id: SteeringID(cfg), path: path, load: load,
		cfg: cfg, warns: ds, stop: func() {},
	}, nil
}

// String is the name of its files and sockets.
func (s *Steer) String() string { return s.id }

// openRouter takes the lock, the log and the router: what a reset needs. The returned list gives them back.
func (s *Steer) openRouter() (undo undoList, err error) {
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	if s.boot, err = BootID(); err != nil {
		return nil, err
	}
	unlock, anonymous, err := takeLocks(s.Dirs.Run, s.cfg.LockFile, s.String(), s.path, s.Clock.Wall())
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = unlock() })
	// Taken before anything can fail: see Autorate.open.
	noteErr := errors.Join(anonymous, takeHandover(s.Dirs.Run, s.String()))
	if s.log, err = s.OpenLog(s.String(), s.cfg.Logging); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = s.log.Close() })
	if noteErr != nil {
		s.log.Warn(noteErr.Error())
	}
	if s.router, err = s.Hands.steering(s.cfg, s.Clock, s.log); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = s.router.Close() })
	s.hand.Store(&switchHand{s.router, s.cfg.Timeouts.Router})
	s.claim(s.cfg)
	undo = append(undo, func() { s.owner.stop(false) })
	return undo, nil
}

// open takes everything the loop needs. The returned function gives it all back.
func (s *Steer) open(ctx context.Context) (closeAll func(), err error) {
	undo, err := s.openRouter()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	s.tendNow(ctx) // before the first probe, which may need its routes
	sweep(s.cfg.StateFile)
	var saved state.Steering
	found, notes := loadState(s.cfg.StateFile, func(r io.Reader) (err error) {
		saved, err = state.ReadSteering(r, s.cfg.Steer.Primary)
		return err
	}, nil) // a rule is found as it is and set right by what is measured now
	for _, n := range notes {
		s.log.Warn(n)
	}
	restored := &saved
	switch {
	case !found:
		restored = nil
	case saved.BootID != s.boot:
		saved.Machine = saved.Machine.OtherBoot()
	}
	if s.pingers, err = s.openPings(s.cfg); err != nil {
		return nil, err
	}
	undo = append(undo, func() { closePings(s.pingers) })
	opt := SteeringOptionsOf(s.cfg, s.DryRun)
	opt.Jitter = rand.Float64
	s.readers = s.feeds(s.cfg)
	sights := s.sights(probers(s.pingers))
	if s.machine, err = NewSteering(opt, sights[0], sights[1:], restored); err != nil {
		return nil, err
	}
	s.started = s.Clock.Now()
	if !s.DryRun { // a dry run changes nothing
		s.told = &history{
			path: HistoryFile(s.cfg.StateFile), head: state.Event{BootID: s.boot, Name: SteeringID(s.cfg), Primary: s.cfg.Steer.Primary},
		}
	}
	mode := ""
	if s.DryRun {
		mode = "; dry run: the rule is never touched"
	}
	s.log.Info(fmt.Sprintf("wanctl %s steers away from %s every %s, router %s, %s%s",
		s.Version, s.cfg.Steer.Primary, s.cfg.Steer.Interval, s.router, rulesText(s.cfg), mode))
	logWarnings(s.log, s.warns)
	checkProbes(ctx, s.log, s.pingers...)
	bound := func(a config.Alternate) bool { return a.Source.IsValid() }
	warnUnproved(s.log, s.cfg.Router.Transport, s.cfg.Probe.Bound() || slices.ContainsFunc(s.cfg.Alternates, bound))
	return undo.run, nil
}

// Run steers until ctx ends, and then disables the rule, unless another process takes over. It fails when that could
// not be done.
func (s *Steer) Run(ctx context.Context) error {
	closeAll, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	s.startPings()
	defer func() { s.stop() }()
	s.saver = newSaver(s.cfg.StateFile, s.log)
	s.publish(s.Clock.Now())
	stopStatus, err := s.serveStatus(s.String(), &s.status, s.progress, s.log)
	if err != nil {
		s.log.Warn(err.Error() + "; `wanctl status` will not see steering")
	}
	defer stopStatus()
	s.loop = newLoop(s.Clock, s.cfg.Steer.Interval, core[SteerOp, SteerResult](s.machine), s.log)
	s.loop.do, s.loop.after = s.do, s.record
	s.machine.Yield(s.owner != nil)
	s.tending = s.startTending()
	s.loop.run(ctx)
	s.tending.end()
	err = s.leave()
	s.saver.close(s.encodeState(s.Clock.Now()))
	return err
}

func (s *Steer) do(ctx context.Context, op SteerOp) SteerResult {
	h := s.hand.Load()
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	began := s.Clock.Now()
	r := SteerExchange(ctx, h.Switch, op, s.Clock.Now)
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.Debug(fmt.Sprintf("router operation %d: %s, took %s, error: %v", op.ID, r.text(),
			s.Clock.Now().Sub(began).Round(time.Millisecond), r.Err))
	}
	return r
}

// of says which rule is meant, beyond the first.
func (op SteerOp) of() string {
	if op.Alternate == 0 {
		return ""
	}
	return fmt.Sprintf(" of alternate %d", op.Alternate+1)
}

// text is what was asked and answered.
func (r SteerResult) text() string {
	switch r.Op.Kind {
	case OpReadQueue:
		return fmt.Sprintf("read the queue: %d packets, %d dropped, %d queued", r.Queue.Packets, r.Queue.Dropped, r.Queue.QueuedPackets)
	case OpReadRule:
		return fmt.Sprintf("read the rule%s: enabled %t", r.Op.of(), r.Rule)
	case OpSetRule:
		return fmt.Sprintf("set the rule%s to enabled %t: reads back enabled %t", r.Op.of(), r.Op.Enable, r.Rule)
	}
	return "nothing"
}

// SteerExchange is one operation on steering's router.
func SteerExchange(ctx context.Context, r Switch, op SteerOp, now func() unit.Time) SteerResult {
	res := SteerResult{Op: op}
	switch op.Kind {
	case OpReadQueue:
		res.Queue, res.Err = r.Queue(ctx)
	case OpReadRule:
		res.Rule, res.Err = r.Rule(ctx, op.Alternate)
	case OpSetRule:
		res.Rule, res.Err = r.SetRule(ctx, op.Alternate, op.Enable)
	}
	res.At = now()
	return res
}

func (s *Steer) record(now unit.Time, o Outcome[SteerOp], ticked bool) {
	d := s.machine.Decision()
	if s.owner.step(now, s.machine.met(), s.log) {
		s.machine.Yield(s.owner.withheld)
	}
	s.publish(now)
	if ticked {
		if s.lastTick != 0 && d.State == steer.Degraded {
			s.active += now.Sub(s.lastTick)
		}
		s.lastTick = now
		s.made(now)
		s.tending.again()
	}
	if o.Line == "" {
		return
	}
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug(s.machine.Detail(now))
	}
	if d.Account != nil {
		s.tell(*d.Account)
	}
	// A transition is saved at once: a restart must find the rule it left.
	if s.saver.due(now, false) || d.State != s.state {
		s.saver.save(s.encodeState(now))
	}
	s.state = d.State
}

func (s *Steer) encodeState(now unit.Time) func(io.Writer) error {
	st := s.machine.State(now, s.boot, s.Clock.Wall())
	return func(w io.Writer) error { return state.WriteSteering(w, st) }
}

// leave gives the router its normal routing back.
func (s *Steer) leave() error {
	if s.DryRun {
		return nil
	}
	handed, err := HandedOver(s.Dirs.Run, s.String(), s.boot, s.Clock.Now())
	if err != nil {
		s.log.Warn(err.Error())
	}
	if handed {
		s.log.Info("handing over: the rule stays as it is")
		return nil
	}
	if other := s.owner.elsewhere(); other != nil {
		s.log.Info("exit: " + controlledBy(other))
		return nil
	}
	defer func() { s.owner.stop(true) }()
	if err := disableRules(s.router, len(s.cfg.Alternates)); err != nil {
		err = fmt.Errorf("exit: %w; the %s may still be enabled: disable it by hand, or run `wanctl release %s`",
			err, rulesText(s.cfg), s.path)
		s.log.Error(err.Error())
		return err
	}
	s.leftAt(steer.None, nil)
	s.log.Info("exit: the rule is disabled")
	return nil
}

// Reload takes a changed configuration over, whole or not at all. The logs are opened again in any case.
func (s *Steer) Reload(ctx context.Context) error { return s.log.reloaded(s.reload(ctx)) }

func (s *Steer) reload(ctx context.Context) error {
	if err := s.log.Reopen(); err != nil {
		s.log.Warn(err.Error())
	}
	cfg, ds := s.load()
	if err := ds.Err(); err != nil {
		return err
	}
	logWarnings(s.log, ds)
	var err error
	if !s.loop.ask(ctx, func() { err = s.adopt(cfg) }) {
		return ctx.Err()
	}
	return err
}

// adopt runs on the loop's goroutine.
func (s *Steer) adopt(cfg *config.Steering) (err error) {
	if err := sameSteering(s.cfg, cfg); err != nil {
		return err
	}
	pingers, router, loss := s.pingers, s.router, s.loss
	replaced := false
	defer func() {
		if err == nil {
			return
		}
		if router != nil && router != s.router { // nil where none could be made
			_ = router.Close()
		}
		s.loss = loss
		if replaced {
			closePings(pingers)
		}
	}()
	if steerRouterDiffers(s.cfg, cfg) {
		if router, err = s.Hands.steering(cfg, s.Clock, s.log); err != nil {
			return err
		}
	}
	if s.probesDiffer(cfg) {
		opened, err := s.openPings(cfg)
		if err != nil {
			return err
		}
		pingers, replaced = opened, true
	}
	if err := s.machine.Reconfigure(SteeringOptionsOf(cfg, s.DryRun)); err != nil {
		return err
	}
	if replaced {
		s.stop()
		closePings(s.pingers)
		s.pingers = pingers
		sights := s.sights(probers(s.pingers))
		s.machine.SetSights(sights[0], sights[1:])
		s.startPings()
	}
	if router != s.router {
		last := s.router
		s.router = router
		s.machine.SetRouter()
		_ = last.Close() // an operation under way there ends as any lost one
		s.claim(cfg)
		s.machine.Yield(s.owner != nil)
	}
	s.hand.Store(&switchHand{router, cfg.Timeouts.Router})
	s.log.limit(cfg.Logging)
	s.cfg = cfg
	s.period(cfg.Steer.Interval)
	s.loop.period = cfg.Steer.Interval
	return nil
}

// Once runs one cycle and leaves the rule as it decided, for the next run of a timer.
func (s *Steer) Once(ctx context.Context) error {
	closeAll, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	var failed error
	// Nothing is written before the rule was read, and there is only one cycle.
	for i := range s.cfg.Alternates {
		r := s.do(ctx, SteerOp{Kind: OpReadRule, Alternate: i})
		failed = errors.Join(failed, r.Err)
		logNotes(s.log, s.machine.Deliver(s.Clock.Now(), r).Notes)
	}
	if s.owner != nil {
		if failed == nil {
			s.owner.settle(s.Clock.Now, s.log)
		}
		s.machine.Yield(s.owner.withheld)
	}
	probing, cancel := ctx, func() {}
	if total := s.cfg.Timeouts.PingTotal; total > 0 {
		probing, cancel = context.WithTimeout(ctx, total)
	}
	defer cancel()
	heard := make([]Prober, len(s.pingers))
	for i, p := range s.pingers {
		if p == nil {
			continue
		}
		replies, err := probeOnce(probing, p, 1, s.cfg.PingCount, s.cfg.Timeouts.Ping)
		if err != nil {
			return err
		}
		heard[i] = &gathered{replies}
	}
	sights := s.sights(heard)
	s.machine.SetSights(sights[0], sights[1:])
	o := s.machine.Tick(s.Clock.Now())
	var intent *steer.Account
	for n := 0; ; n++ {
		logNotes(s.log, o.Notes)
		if o.Line != "" {
			intent = s.machine.Decision().Intent
			s.log.Line(slog.LevelInfo, o.Line)
		}
		if o.Op == nil || n == maxOnceOps || ctx.Err() != nil {
			break
		}
		r := s.do(ctx, *o.Op)
		failed = errors.Join(failed, r.Err)
		o = s.machine.Deliver(s.Clock.Now(), r)
		if op := r.Op; op.Kind == OpSetRule && r.Err == nil {
			left := steer.None
			if r.Rule {
				left = op.Alternate
			}
			s.leftAt(left, intent)
		}
	}
	return errors.Join(failed, saveState(s.cfg.StateFile, s.encodeState(s.Clock.Now())))
}

// Reset disables the rule, verifies it and forgets the state. It fails when the rule could not be verified.
func (s *Steer) Reset(context.Context) error {
	if s.DryRun {
		return errors.New("reset: it writes to the router, so it cannot be a dry run")
	}
	undo, err := s.openRouter()
	if err != nil {
		return err
	}
	defer undo.run()
	if other := s.owner.elsewhere(); other != nil {
		return fmt.Errorf("reset: %s; stop that one first", controlledBy(other))
	}
	if err := disableRules(s.router, len(s.cfg.Alternates)); err != nil {
		return fmt.Errorf("reset: %w; the state file is left as it was", err)
	}
	for _, p := range []string{s.cfg.StateFile, s.cfg.StateFile + ".bak"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reset: forget the state: %w", err)
		}
	}
	s.log.Info("reset: the rule is disabled and verified, the state is forgotten")
	return nil
}
