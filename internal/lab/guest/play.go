package guest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// queueEvery, flowEvery and loadedEvery are the distances of readings.
	queueEvery  = 50 * time.Millisecond
	flowEvery   = 100 * time.Millisecond
	loadedEvery = 10 * time.Millisecond
	// loadedOver is how much of the past decides whether a line is loaded.
	loadedOver = 100 * time.Millisecond
	// heap is how much memory may come together before garbage is collected: a quarter of the machine's.
	heap = 256 << 20
)

// event is something the scenario asks for at an instant.
type event struct {
	at time.Duration
	do func(late time.Duration) error
}

// play is a scenario under way.
type play struct {
	plan   Plan
	dir    string
	say    io.Writer
	world  *world
	truth  *truth
	flows  []*flow
	procs  []*supervised
	out    *report.Recorder
	start  time.Time
	router *qdiscs
	isps   []*qdiscs
	gone   []bool // links whose qdiscs are away

	mu   sync.Mutex
	errs []error
}

// Play plays the plan and writes the run's files into dir. kernel is what the machine says it is. What goes wrong in the
// middle does not end it: all of it is told at the end.
func Play(ctx context.Context, plan Plan, dir, kernel string, say io.Writer) error {
	// One processor for the ground truth, which gives it back once in 5 ms, and one for all the rest. Collecting garbage
	// waits for both with everything at rest, so it waits until there is much.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heap)
	p := &play{plan: plan, dir: dir, say: say, gone: make([]bool, len(plan.Scenario.Links))}
	meta := report.Meta{
		Schema: report.MetaSchema, Controller: plan.Controller, Scenario: plan.Scenario, Clock: "real", Kernel: kernel,
		Version: plan.Version,
	}
	if plan.Virtual {
		meta.Clock, meta.ControllerCPUS = "virtual", -1
	}
	if err := p.prepare(ctx); err != nil {
		return errors.Join(err, p.stop())
	}
	err := p.scenario(ctx)
	p.failed(err)
	p.failed(p.stop())
	p.failed(p.write(&meta))
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...)
}

// failed keeps an error for the end.
func (p *play) failed(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) < 20 {
		p.errs = append(p.errs, err)
	}
}

// prepare makes the world and starts what runs from before the start.
func (p *play) prepare(ctx context.Context) error {
	sc := &p.plan.Scenario
	var err error
	if p.world, err = build(sc, p.plan.Shaper); err != nil {
		return err
	}
	if p.router, err = openQdiscs(router); err != nil {
		return err
	}
	for i := range sc.Links {
		q, err := openQdiscs(isp(i))
		if err != nil {
			return err
		}
		p.isps = append(p.isps, q)
	}
	if p.out, err = report.Create(p.dir); err != nil {
		return err
	}
	if p.truth, err = newTruth(len(sc.Links), sc.Duration, p.failed); err != nil {
		return err
	}
	for k, f := range sc.Flows {
		fl := &flow{index: k, spec: f}
		if err := fl.listen(ctx, p.failed); err != nil {
			return err
		}
		p.flows = append(p.flows, fl)
	}
	for _, pr := range p.plan.Processes {
		s := &supervised{spec: pr, dir: p.dir}
		p.procs = append(p.procs, s)
		if err := s.run(); err != nil {
			return err
		}
	}
	return wait(ctx, settle)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// scenario plays it from start to end.
func (p *play) scenario(ctx context.Context) error {
	sc := &p.plan.Scenario
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := p.events(ctx)
	p.truth.run(ctx)
	p.start = time.Now()
	for _, s := range p.procs {
		s.began(p.start)
	}
	fmt.Fprintf(p.say, "start of %s, %v, %d events\n", sc.Name, sc.Duration, len(events))
	var loads []*loadMeter
	for i := range sc.Links {
		for _, d := range directions {
			if path := sc.Links[i].Path(d); path.LoadedDelay > 0 {
				loads = append(loads, &loadMeter{play: p, link: i, dir: d})
			}
		}
	}
	var nextQueue, nextFlow, nextLoad, said time.Duration
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now := time.Since(p.start)
		for len(events) > 0 && events[0].at <= now {
			p.failed(events[0].do(time.Since(p.start) - events[0].at))
			events = events[1:]
		}
		if now >= nextQueue {
			p.failed(p.queues(now))
			nextQueue = after(nextQueue, now, queueEvery)
		}
		if now >= nextFlow {
			for _, f := range p.flows {
				p.failed(f.sample(now.Seconds(), p.out.Flows.Write))
			}
			nextFlow = after(nextFlow, now, flowEvery)
		}
		next := min(nextQueue, nextFlow)
		if len(loads) > 0 {
			if now >= nextLoad {
				for _, l := range loads {
					p.failed(l.tick(now))
				}
				nextLoad = after(nextLoad, now, loadedEvery)
			}
			next = min(next, nextLoad)
		}
		if now >= said+10*time.Second {
			said = now
			fmt.Fprintf(p.say, "%.0f of %.0f s\n", now.Seconds(), sc.Duration.Seconds())
		}
		if now >= sc.Duration {
			break
		}
		if len(events) > 0 {
			next = min(next, events[0].at)
		}
		timer.Reset(max(0, min(next, sc.Duration)-time.Since(p.start)))
	}
	cancel() // the flows end, and what they queued drains while late answers are awaited
	time.Sleep(late)
	p.truth.close()
	return nil
}

// after is the next instant of a series that never piles up.
func after(last, now, every time.Duration) time.Duration {
	return max(last+every, now-now%every+every)
}

// events are all that the scenario asks for, in order.
func (p *play) events(ctx context.Context) []event {
	sc := &p.plan.Scenario
	var all []event
	add := func(at time.Duration, do func(time.Duration) error) { all = append(all, event{at, do}) }
	for i := range sc.Links {
		for _, d := range directions {
			for k, s := range sc.Links[i].Path(d).Steps {
				add(s.At, func(late time.Duration) error {
					var err error
					if k > 0 {
						err = p.world.setCapacity(i, d, s.Rate)
					}
					return errors.Join(err, p.out.Capacity.Write(report.Capacity{At: s.At.Seconds(), Link: i, Dir: d, Rate: s.Rate, Lag: unit.ToMillis(late)}))
				})
			}
		}
	}
	for k, f := range sc.Flows {
		var end context.CancelFunc
		add(f.From, func(time.Duration) error {
			var fctx context.Context
			fctx, end = context.WithCancel(ctx)
			p.flows[k].start(fctx, p.failed)
			return nil
		})
		add(f.To, func(time.Duration) error {
			if end != nil {
				end()
			}
			return nil
		})
	}
	for r := range sc.Reflectors {
		for _, c := range sc.Reflectors[r].Changes {
			add(c.At, func(time.Duration) error { return p.world.change(r, c) })
		}
	}
	for _, f := range sc.Faults {
		begin, finish := p.fault(f)
		add(f.At, begin)
		add(f.At+f.For, finish)
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all
}

// fault is how something breaks, and how it is whole again.
func (p *play) fault(f scenario.Fault) (begin, finish func(time.Duration) error) {
	nothing := func(time.Duration) error { return nil }
	each := func(role Role, do func(*supervised) error) func(time.Duration) error {
		return func(time.Duration) error {
			var errs []error
			for _, s := range p.procs {
				if s.spec.Role == role {
					errs = append(errs, do(s))
				}
			}
			return errors.Join(errs...)
		}
	}
	kill := func(s *supervised) error { s.kill(); return nil }
	run := func(s *supervised) error { return s.run() }
	switch f.Kind {
	case scenario.LinkDown:
		return func(time.Duration) error { return p.world.linkDown(f.Link, true) },
			func(time.Duration) error { return p.world.linkDown(f.Link, false) }
	case scenario.KillController:
		return each(ControllerRole, kill), each(ControllerRole, run)
	case scenario.RouterReboot:
		if p.plan.Shaper == 0 {
			return nothing, nothing
		}
		return func(at time.Duration) error {
				errs := []error{each(RouterRole, kill)(at)}
				for i := range p.gone {
					errs = append(errs, p.world.shape(i))
				}
				return errors.Join(errs...)
			},
			each(RouterRole, run)
	case scenario.QdiscGone:
		if p.plan.Shaper == 0 {
			return nothing, nothing
		}
		return func(time.Duration) error { p.gone[f.Link] = true; return p.world.unshape(f.Link) },
			func(time.Duration) error { p.gone[f.Link] = false; return p.world.shape(f.Link) }
	}
	return nothing, nothing
}

// queues reads every queue.
func (p *play) queues(now time.Duration) error {
	var errs []error
	put := func(i int, d link.Direction, from *qdiscs, dev string, line bool) {
		q, ok := from.root[dev]
		if !ok {
			return // it is away: a gap in the record
		}
		errs = append(errs, p.out.Queues.Write(report.Queue{At: now.Seconds(), Link: i, Dir: d, Line: line, Queue: q}))
	}
	if p.plan.Shaper > 0 {
		errs = append(errs, p.router.read())
	}
	for i, q := range p.isps {
		errs = append(errs, q.read())
		for _, d := range directions {
			put(i, d, q, wire(i, d), true)
			if p.plan.Shaper > 0 && !p.gone[i] {
				put(i, d, p.router, Device(i, d), false)
			}
		}
	}
	return errors.Join(errs...)
}

// loadMeter adds what a line adds while it is loaded.
type loadMeter struct {
	play  *play
	link  int
	dir   link.Direction
	past  []reading
	since time.Duration
}

type reading struct {
	at    time.Duration
	bytes unit.Bytes
}

func (l *loadMeter) tick(now time.Duration) error {
	p := l.play
	q := p.isps[l.link]
	if err := q.read(); err != nil {
		return err
	}
	sent := q.root[wire(l.link, l.dir)].Bytes
	l.past = append(l.past, reading{now, sent})
	for len(l.past) > 2 && now-l.past[1].at >= loadedOver {
		l.past = l.past[1:]
	}
	path := p.plan.Scenario.Links[l.link].Path(l.dir)
	carried := (sent - l.past[0].bytes).Per(now - l.past[0].at)
	want := time.Duration(0)
	if now-l.past[0].at >= loadedOver && carried > capacityAt(path, now).Scale(path.LoadedShare) {
		want = path.LoadedDelay
	}
	passed := now - l.since
	l.since = now
	return p.world.setLoaded(l.link, l.dir, want, passed)
}

// capacityAt is a path's capacity at an instant.
func capacityAt(p *scenario.Path, at time.Duration) unit.Rate {
	k, found := slices.BinarySearchFunc(p.Steps, at, func(s scenario.Step, at time.Duration) int { return cmp.Compare(s.At, at) })
	if !found {
		k--
	}
	return p.Steps[max(0, k)].Rate
}

// stop ends everything that was started.
func (p *play) stop() error {
	var errs []error
	for _, s := range slices.Backward(p.procs) {
		errs = append(errs, s.stop())
	}
	if p.world != nil {
		errs = append(errs, p.world.close())
	}
	return errors.Join(errs...)
}

// write completes the run's files.
func (p *play) write(meta *report.Meta) error {
	errs := []error{p.truth.each(p.out.Probes.Write)}
	for _, s := range p.procs {
		for i, path := range s.spec.Lines {
			errs = append(errs, states(path, i, p.start, p.out.States.Write))
		}
		if s.spec.Role != ControllerRole {
			continue
		}
		meta.ControllerExits = append(meta.ControllerExits, s.exits...)
		meta.ControllerRSS += s.rss
		if !p.plan.Virtual {
			meta.ControllerCPUS += s.cpuS
		}
	}
	return errors.Join(append(errs, p.out.Close(), writeMeta(p.dir, meta))...)
}

// writeMeta comes last: a run without it did not come to its end.
func writeMeta(dir string, m *report.Meta) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the run: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, report.MetaFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("describe the run: %w", err)
	}
	return nil
}
