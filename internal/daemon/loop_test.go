package daemon

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// bubbleClock is the clock of a synctest bubble.
type bubbleClock struct{ start time.Time }

func (c bubbleClock) Now() unit.Time { return unit.Time(time.Since(c.start)) + 1 }
func (bubbleClock) Wall() time.Time  { return time.Now() }

// logged is a core that writes down what it is told. Ops says which ticks want an operation.
type logged struct {
	Ops   func(tick int) bool
	Wakes time.Duration // after each tick

	ticks     []time.Duration
	delivered []time.Duration
	woken     []time.Duration
	flight    int
}

func (c *logged) at(now unit.Time) time.Duration { return time.Duration(now - 1) }

func (c *logged) Tick(now unit.Time) (o Outcome[int]) {
	c.ticks = append(c.ticks, c.at(now))
	if c.flight == 0 && c.Ops != nil && c.Ops(len(c.ticks)) {
		c.flight = len(c.ticks)
		n := c.flight
		o.Op = &n
	}
	if c.Wakes > 0 {
		o.Wake = now.Add(c.Wakes)
	}
	return o
}

func (c *logged) Deliver(now unit.Time, r int) (o Outcome[int]) {
	if r != c.flight {
		panic("a result of another operation")
	}
	c.flight = 0
	c.delivered = append(c.delivered, c.at(now))
	return o
}

func (c *logged) Wake(now unit.Time) (o Outcome[int]) {
	c.woken = append(c.woken, c.at(now))
	return o
}

// runLoop drives a core for d in a bubble's time.
func runLoop(t *testing.T, c *logged, period, d time.Duration, do func(context.Context, int) int, during func(*loop[int, int])) {
	t.Helper()
	log, _ := testLog(t)
	l := newLoop(bubbleClock{time.Now()}, period, core[int, int](c), log)
	l.do = do
	l.after = func(unit.Time, Outcome[int], bool) {}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if during != nil {
		go during(l)
	}
	l.run(ctx)
}

func every(period time.Duration, n int) (out []time.Duration) {
	for i := range n {
		out = append(out, time.Duration(i)*period)
	}
	return out
}

func TestLoopIsFixedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &logged{Ops: func(n int) bool { return n == 2 }}
		// The router takes five cycles for its one operation: no cycle waits for it.
		do := func(_ context.Context, op int) int { time.Sleep(10 * time.Second); return op }
		runLoop(t, c, 2*time.Second, 21*time.Second, do, nil)
		if want := every(2*time.Second, 11); !slices.Equal(c.ticks, want) {
			t.Errorf("cycles at %v, want %v", c.ticks, want)
		}
		if want := []time.Duration{12 * time.Second}; !slices.Equal(c.delivered, want) {
			t.Errorf("results at %v, want %v", c.delivered, want)
		}
	})
}

func TestLoopDropsWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &logged{}
		during := func(l *loop[int, int]) {
			time.Sleep(3 * time.Second)
			l.ask(t.Context(), func() { time.Sleep(9 * time.Second) }) // the loop itself is held up
		}
		runLoop(t, c, 2*time.Second, 17*time.Second, nil, during)
		// One late cycle at 12 s, then the old rhythm; not four at once.
		if len(c.ticks) > 6 {
			t.Errorf("cycles piled up: %v", c.ticks)
		}
		if c.ticks[len(c.ticks)-1] != 16*time.Second {
			t.Errorf("cycles at %v: the rhythm is lost", c.ticks)
		}
	})
}

func TestLoopWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &logged{Wakes: 300 * time.Millisecond}
		runLoop(t, c, time.Second, 2500*time.Millisecond, nil, nil)
		want := []time.Duration{300 * time.Millisecond, 1300 * time.Millisecond, 2300 * time.Millisecond}
		if !slices.Equal(c.woken, want) {
			t.Errorf("woken at %v, want %v", c.woken, want)
		}
	})
}

func TestLoopTakesANewPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &logged{}
		during := func(l *loop[int, int]) {
			time.Sleep(4500 * time.Millisecond)
			l.ask(t.Context(), func() { l.period = 500 * time.Millisecond })
		}
		runLoop(t, c, 2*time.Second, 6200*time.Millisecond, nil, during)
		const ms = time.Millisecond
		want := []time.Duration{0, 2000 * ms, 4000 * ms, 5000 * ms, 5500 * ms, 6000 * ms}
		if !slices.Equal(c.ticks, want) {
			t.Errorf("cycles at %v, want %v", c.ticks, want)
		}
	})
}

// Whatever is under way at the end is taken in, also when its result comes with the end of the worker; nothing new
// starts, and a router that does not answer is given up after grace.
func TestLoopEndTakesTheLastResultIn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes time.Duration
	}{
		{"at the same instant", 3 * time.Second}, {"shortly after", 3500 * time.Millisecond}, {"never by itself", time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // which of two ready events is taken first is chance
				synctest.Test(t, func(t *testing.T) {
					c := &logged{Ops: func(int) bool { return true }}
					var begun atomic.Int64
					do := func(ctx context.Context, op int) int {
						begun.Add(1)
						select {
						case <-time.After(tt.takes):
						case <-ctx.Done():
						}
						return op
					}
					from := time.Now()
					runLoop(t, c, time.Second, 3*time.Second, do, nil)
					if took := time.Since(from); took > 3*time.Second+grace {
						t.Errorf("the end took %v", took)
					}
					if int(begun.Load()) != len(c.delivered) {
						t.Errorf("%d operations, %d results taken in", begun.Load(), len(c.delivered))
					}
				})
			}
		})
	}
}

func TestAskAfterTheEnd(t *testing.T) {
	l := newLoop[int, int](HostClock{}, time.Second, &logged{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l.ask(ctx, func() { t.Error("ran") }) {
		t.Error("a request was taken by a loop that does not run")
	}
}

func TestNotesBecomeLines(t *testing.T) {
	log, buf := testLog(t)
	logNotes(log, []link.Note{{Level: link.Info, Text: "a"}, {Level: link.Warning, Text: "b"}, {Level: link.Alert, Text: "c"}})
	for _, want := range []string{"[ATT] [INFO] a\n", "[ATT] [WARNING] b\n", "[ATT] [ERROR] c\n"} {
		if !buf.has(want) {
			t.Errorf("no %q in\n%s", want, buf)
		}
	}
}
