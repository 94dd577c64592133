package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wanctl/internal/systemd"
	"wanctl/internal/unit"
)

// Task is one long-running part: a WAN's controller or steering.
type Task interface {
	// Run goes on until ctx ends and has then done what a stop owes the router.
	Run(ctx context.Context) error
	// Ready is closed once the task does its work.
	Ready() <-chan struct{}
	// Reload reads its configuration again. A bad one is refused whole and the old one stays.
	Reload(ctx context.Context) error
	// Progress is when the task's loop last made a cycle, and Stale how old that may get.
	Progress() (last unit.Time, stale time.Duration)
	String() string
}

// Process runs tasks together and tells the service manager about them.
type Process struct {
	Tasks []Task
	Clock Clock
	Log   *slog.Logger
	// Reload delivers a value per wish to reload (SIGHUP).
	Reload <-chan struct{}
}

// Run goes on until ctx ends or a task fails, which ends the others.
func (p *Process) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range p.Tasks {
		g.Go(func() error {
			if err := t.Run(ctx); err != nil {
				var held *LockHeldError // which names it already
				if errors.As(err, &held) && held.Name == t.String() {
					return err
				}
				return fmt.Errorf("%s: %w", t, err)
			}
			return nil
		})
	}
	g.Go(func() error { return p.tell(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// tell speaks to the service manager: ready once every task is, alive while every loop makes progress.
func (p *Process) tell(ctx context.Context) error {
	for _, t := range p.Tasks {
		select {
		case <-t.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	looked := p.Clock.Now() // before anybody is told: what sleeps from then on is seen to have slept
	p.say(systemd.Ready(p.status()))
	defer func() { p.say(systemd.Stopping()) }()
	every, err := systemd.WatchdogInterval()
	if err != nil {
		p.Log.Warn(err.Error())
	}
	var tick <-chan time.Time
	if every > 0 {
		t := time.NewTicker(every / 3)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.Reload:
			p.say(systemd.Reloading())
			for _, t := range p.Tasks {
				if err := t.Reload(ctx); err != nil {
					p.Log.Error(fmt.Sprintf("%s: reload refused, the old configuration stays: %v", t, err))
					continue
				}
				p.Log.Info(fmt.Sprintf("%s: configuration reloaded", t))
			}
			p.say(systemd.Ready(p.status()))
		case <-tick:
			// Who looks late himself has slept with the whole host, as the loops have: their next cycle is due just now.
			now := p.Clock.Now()
			slept := now.Sub(looked) > every
			looked = now
			if t, ok := p.stuck(now); ok && !slept {
				p.Log.Error(fmt.Sprintf("%s: its loop makes no progress; the watchdog is not fed", t))
				continue
			}
			p.say(systemd.Alive())
		}
	}
}

func (p *Process) status() string {
	s := "running"
	for i, t := range p.Tasks {
		sep := ", "
		if i == 0 {
			sep = " "
		}
		s += sep + t.String()
	}
	return s
}

func (p *Process) stuck(now unit.Time) (Task, bool) {
	for _, t := range p.Tasks {
		if last, stale := t.Progress(); now.Sub(last) > stale {
			return t, true
		}
	}
	return nil, false
}

func (p *Process) say(err error) {
	if err != nil {
		p.Log.Warn(err.Error())
	}
}

// progress is a loop's sign of life, read from other goroutines.
type progress struct {
	last  atomic.Int64
	stale atomic.Int64
	ready chan struct{}
	once  sync.Once
}

func newProgress(now unit.Time, period time.Duration) *progress {
	p := &progress{ready: make(chan struct{})}
	p.period(period)
	p.last.Store(int64(now))
	return p
}

// period sets the loop's period: three cycles or 10 s without one are too long.
func (p *progress) period(d time.Duration) { p.stale.Store(int64(max(3*d, 10*time.Second))) }

func (p *progress) made(now unit.Time) {
	p.last.Store(int64(now))
	p.once.Do(func() { close(p.ready) })
}

// Progress and Ready are the parts of [Task] it serves.
func (p *progress) Progress() (unit.Time, time.Duration) {
	return unit.Time(p.last.Load()), time.Duration(p.stale.Load())
}

func (p *progress) Ready() <-chan struct{} { return p.ready }
