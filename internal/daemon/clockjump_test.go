package daemon

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// jumpClock is a clock of which somebody sets the time of day, and whose host sleeps.
type jumpClock struct {
	Clock
	slept, set atomic.Int64
}

func (c *jumpClock) Now() unit.Time  { return c.Clock.Now() + unit.Time(c.slept.Load()) }
func (c *jumpClock) Wall() time.Time { return c.Clock.Wall().Add(time.Duration(c.set.Load())) }

const night = 8 * time.Hour

// The time of day decides nothing, and a host that slept goes on where it was: neither moves a rate, a state or an age.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	clock := &jumpClock{Clock: w.clock}
	w.pings.Clock = clock
	task := func() *Autorate {
		c := w.common()
		c.Clock = clock
		a, err := NewAutorate(c, "test.yaml", w.loadWAN)
		if err != nil {
			t.Fatal(err)
		}
		w.task = a
		return a
	}
	run := start(t, task())
	w.owned()
	w.pings.set(100)
	w.untilLimits(floor)
	same := func(after string) {
		t.Helper()
		w.measures(3)
		if got := w.feed(); got.Rates != floor || got.Baseline < 27 || got.Baseline > 29 {
			t.Errorf("after %s: %v, baseline %v", after, got.Rates, got.Baseline)
		}
		if s := w.task.status.Load().asOf(clock.Now(), w.task.progress, nil); s.WAN.AgeS > 60 || s.WAN.AgeS < 0 || !s.WAN.Measured || s.UptimeS < 0 {
			t.Errorf("after %s: %+v", after, s.WAN)
		}
	}
	for name, by := range map[string]time.Duration{"a jump ahead": 13 * time.Hour, "a jump back": -20 * time.Hour} {
		clock.set.Add(int64(by))
		same(name)
	}
	// A restart, with the time of day far behind the state's.
	run.mustEnd()
	clock.set.Add(-int64(100 * 24 * time.Hour))
	run = start(t, task())
	w.untilLimits(floor)
	same("a restart with an older time")
	// This clock is fast: a busy machine makes pauses of seconds of it.
	if regexp.MustCompile(`no cycle was made for \d+h`).MatchString(w.log.String()) || w.log.has(".corrupt") {
		t.Errorf("the time of day was taken for a pause:\n%s", w.log)
	}

	clock.slept.Add(int64(night))
	w.pings.until(t, "the night", func() bool { return w.log.has("no cycle was made for 8h0m") })
	same("a night")
	if w.log.has("no reflector has answered for 8h") {
		t.Errorf("the night is told as an outage:\n%s", w.log)
	}
	w.pings.set(28)
	w.untilLimits(ceiling)
	run.mustEnd()
	w.sane()
}

// After a night of sleep the first cycles have no reply: that is no outage of the night's length, and nothing is cut for it.
func TestALineSleeps(t *testing.T) {
	p := newPure(t, attText)
	for range 20 {
		p.cycle()
	}
	before := p.wan.Decision()
	p.now = p.now.Add(night)
	p.rtt = 0
	for range 2 {
		p.cycle()
	}
	p.rtt = 28
	for range 20 {
		if p.cycle() == "" {
			t.Error("a cycle with replies is skipped")
		}
	}
	d := p.wan.Decision()
	if d.Rates != before.Rates || d.State != before.State || d.Baseline != before.Baseline {
		t.Errorf("before the night %+v, after it %+v", before, d)
	}
	for _, n := range p.notes {
		if n.Level > link.Info && strings.Contains(n.Text, "8h") {
			t.Errorf("the night is told: %s", n.Text)
		}
	}
}

// So it is with a line that tracks its capacity.
func TestATrackedLineSleeps(t *testing.T) {
	p := newProbed(t, `  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]`)
	p.Carried = link.Rates{Down: 30 * unit.Mbps, Up: 3 * unit.Mbps}
	p.run(30 * time.Second)
	before := p.wan.Decision()
	p.now = p.now.Add(night)
	p.tick, p.next, p.notes, p.silent = p.now, p.now, nil, 0
	p.waiting = nil // what was under way is lost
	p.run(30 * time.Second)
	d := p.wan.Decision()
	if d.Rates.Down < before.Rates.Down || d.Rates.Up < before.Rates.Up || !d.Measured || p.silent > 6 {
		t.Errorf("before the night %v, after it %v (measured %t, %d cycles without)", before.Rates, d.Rates, d.Measured, p.silent)
	}
	for _, n := range p.notes {
		if n.Level > link.Info {
			t.Errorf("the night is told: %s", n.Text)
		}
	}
}

// Steering sleeps while it steers: the rule stays, no line is called down, and the way back takes as many GREEN cycles as ever.
func TestSteeringSleeps(t *testing.T) {
	t.Parallel()
	b := newSteerBench(t, routerOf(someDialects[0]), false)
	b.line.Congested = true
	b.cycles(12)
	if !b.enabled() {
		t.Fatalf("not steered: %q", b.lines)
	}
	writes := b.router.Writes(rosim.SteeringComment)
	notes := len(b.notes)
	b.now = b.now.Add(night)
	b.line.Silent = true
	b.cycles(1)
	b.line.Silent, b.line.Congested = false, false
	b.cycles(2)
	if !b.enabled() || b.router.Writes(rosim.SteeringComment) != writes {
		t.Errorf("a night ended steering; lines %q", b.lines)
	}
	for _, n := range b.notes[notes:] {
		if n.Level > link.Info {
			t.Errorf("the night is told: %s", n.Text)
		}
	}
	b.cycles(40)
	if b.enabled() {
		t.Errorf("the line is well, and still steered away from: %q", b.lines)
	}
}

// A watchdog that wakes up after a night finds no standstill: the loops' next cycles are due just then. A loop that then makes
// none is stuck as ever.
func TestWatchdogSleeps(t *testing.T) {
	m := newManager(t, 30*time.Millisecond)
	clock := &handClock{}
	clock.at.Store(int64(time.Hour))
	task := &fakeTask{progress: newProgress(clock.Now(), 2*time.Second)}
	var out shared
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&Process{Tasks: []Task{task}, Clock: clock, Log: slog.New(NewTextHandler(&out, "wanctl", slog.LevelInfo))}).Run(ctx)
	}()
	task.made(clock.Now())
	m.until("READY=1")
	for range 5 {
		clock.at.Add(int64(night))
		m.until("WATCHDOG=1")
		task.made(clock.Now()) // as a loop does when it wakes
		m.until("WATCHDOG=1")
	}
	if out.String() != "" {
		t.Errorf("nights are standstills:\n%s", &out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
