package probe

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type turn struct {
	Host int
	At   time.Duration
}

func TestPaceStaggersEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second-1)
		defer cancel()
		start := time.Now()
		var got []turn
		pace(ctx, newGait(plan{hosts: everyone(3), interval: 900 * time.Millisecond}, start), 0, nil, nil, func(h int) { got = append(got, turn{h, time.Since(start)}) })
		ms := time.Millisecond
		want := []turn{{0, 0}, {1, 300 * ms}, {2, 600 * ms}, {0, 900 * ms}, {1, 1200 * ms}, {2, 1500 * ms}, {0, 1800 * ms}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestPaceCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []int
		pace(t.Context(), newGait(plan{hosts: everyone(3), interval: 0}, start), 6, nil, nil, func(h int) { got = append(got, h) })
		if d := cmp.Diff([]int{0, 1, 2, 0, 1, 2}, got); d != "" {
			t.Error(d)
		}
		if took := time.Since(start); took < 5*minInterval/3 || took > 2*minInterval {
			t.Errorf("six echoes to three hosts took %v", took)
		}
	})
}

func TestPaceEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		pace(ctx, newGait(plan{hosts: everyone(1), interval: time.Second}, time.Now()), 0, nil, nil, func(int) {
			if n++; n == 3 {
				cancel()
			}
		})
		if n != 3 {
			t.Errorf("sent %d echoes, want 3", n)
		}
		cancelled, stop := context.WithCancel(t.Context())
		stop()
		pace(cancelled, newGait(plan{hosts: everyone(1), interval: time.Second}, time.Now()), 0, nil, nil, func(int) { t.Error("sent after the end") })
	})
}

// TestPaceAfterStop: a process that was stopped does not make up for it with a burst.
func TestPaceAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		start := time.Now()
		var got []turn
		pace(ctx, newGait(plan{hosts: everyone(2), interval: 2 * time.Second}, start), 0, nil, nil, func(h int) {
			got = append(got, turn{h, time.Since(start)})
			if len(got) == 3 {
				time.Sleep(10 * time.Second)
			}
		})
		s := time.Second
		want := []turn{{0, 0}, {1, s}, {0, 2 * s}, {1, 12 * s}, {0, 13 * s}, {1, 14 * s}}
		if d := cmp.Diff(want, got[:6]); d != "" {
			t.Error(d)
		}
	})
}

// TestSetInterval: a change of pace ends the wait in progress and makes no burst.
func TestSetInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pinger{targets: make([]target, 4), asked: plan{hosts: everyone(4), interval: 40 * time.Second}, changed: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var got []turn
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			pace(ctx, newGait(p.plan(), start), 0, p.changed, p.plan, func(h int) { got = append(got, turn{h, time.Since(start)}) })
		}()
		at := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))) }
		s, ms := time.Second, time.Millisecond
		at(4 * s) // the wait for the second turn would last until 10 s
		p.SetInterval(1)
		if got := p.Interval(); got != minInterval {
			t.Errorf("a nanosecond was asked for and %v is used", got)
		}
		at(4*s + 120*ms)
		p.SetInterval(4 * s)
		at(4*s + 130*ms)
		p.SetInterval(0) // one second, the default
		p.SetInterval(4 * s)
		at(7 * s)
		cancel()
		<-ended
		want := []turn{{0, 0}, {1, 4 * s}, {2, 4*s + 50*ms}, {3, 4*s + 100*ms}, {0, 5*s + 100*ms}, {1, 6*s + 100*ms}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		p.SetInterval(-1)
		if got := p.Interval(); got != DefaultInterval {
			t.Errorf("nothing was asked for and %v is used", got)
		}
	})
}

// TestGaitBounds: whatever is asked, of whatever hosts, however often it changes and however late the turns come, no
// window of a second holds more than 20 echoes or more than 5 to one host, and every host has its turn.
func TestGaitBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, MaxTargets).Draw(t, "hosts")
		asked := time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "interval"))
		start := time.Unix(1000, 0)
		use := everyone(hosts)
		g := newGait(plan{hosts: use, interval: asked}, start)
		now := start
		var all []time.Time
		byHost := make([][]time.Time, hosts)
		turns := 0 // since the hosts last changed
		for range 300 {
			h, then := g.next(now)
			if turns++; turns >= len(use) {
				for _, u := range use {
					if n := len(byHost[u]); u != h && (n == 0 || byHost[u][n-1].Before(all[len(all)+1-len(use)])) {
						t.Fatalf("host %d is left out", u)
					}
				}
			}
			if !slices.Contains(use, h) {
				t.Fatalf("a turn went to host %d, which is not in use", h)
			}
			all = append(all, now)
			byHost[h] = append(byHost[h], now)
			late := time.Duration(0)
			if rapid.IntRange(0, 9).Draw(t, "jitter") == 0 {
				late = time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "late"))
			}
			for rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(max(then.Sub(now), 0))).Draw(t, "waited")))
				asked = time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "interval"))
				if rapid.Bool().Draw(t, "other hosts") {
					use = rapid.Permutation(everyone(hosts)).Draw(t, "use")[:rapid.IntRange(1, hosts).Draw(t, "many")]
					turns = 0
				}
				then = g.change(plan{hosts: use, interval: asked}, now)
				step := max((plan{hosts: use, interval: asked}).legal()/time.Duration(len(use)), minInterval)
				if least := all[len(all)-1].Add(step); then.After(least) && then.After(now) {
					t.Fatalf("the change puts the turn off from %v to %v", least, then)
				}
			}
			if now = then.Add(late); then.Before(all[len(all)-1]) {
				t.Fatal("the next turn lies in the past")
			}
		}
		within := func(times []time.Time, limit int) {
			for i := limit; i < len(times); i++ {
				if d := times[i].Sub(times[i-limit]); d < time.Second {
					t.Fatalf("%d echoes within %v", limit+1, d)
				}
			}
		}
		within(all, 20)
		for _, times := range byHost {
			within(times, 5)
		}
	})
}

// TestGaitKeepsPhase: small delays do not add up when there is room to make up for them.
func TestGaitKeepsPhase(t *testing.T) {
	start := time.Unix(1000, 0)
	g := newGait(plan{hosts: everyone(1), interval: time.Second}, start)
	now := start
	for range 1000 {
		_, then := g.next(now)
		now = then.Add(3 * time.Millisecond)
	}
	if got := now.Sub(start); got != 1000*time.Second+3*time.Millisecond {
		t.Errorf("1000 turns took %v", got)
	}
}

func TestLegalInterval(t *testing.T) {
	for _, tt := range []struct {
		hosts       int
		asked, want time.Duration
	}{
		{1, 0, 200 * time.Millisecond},
		{3, 50 * time.Millisecond, 200 * time.Millisecond},
		{4, 50 * time.Millisecond, 200 * time.Millisecond},
		{5, 50 * time.Millisecond, 250 * time.Millisecond},
		{64, time.Second, 3200 * time.Millisecond},
		{3, 2 * time.Second, 2 * time.Second},
	} {
		if got := (plan{hosts: everyone(tt.hosts), interval: tt.asked}).legal(); got != tt.want {
			t.Errorf("%d hosts, %v asked: %v, want %v", tt.hosts, tt.asked, got, tt.want)
		}
	}
}

// TestGaitServer: an IRTT server has every second turn, no sooner than it wants, and what all get together and each of the
// others keeps within the same bounds, however late the turns come.
func TestGaitServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, MaxTargets-1).Draw(t, "hosts")
		p := plan{
			hosts: everyone(hosts), interval: time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "interval")),
			server: hosts, pause: serverInterval,
		}
		if rapid.Bool().Draw(t, "slow server") {
			p.pause = time.Duration(rapid.Int64Range(int64(serverInterval), int64(longestInterval)).Draw(t, "pause"))
		}
		now := time.Unix(1000, 0)
		g := newGait(p, now)
		byHost := make([][]time.Time, hosts+1)
		var all []time.Time
		newest := -1
		for range 300 {
			h, then := g.next(now)
			if h == hosts && newest == h {
				t.Fatal("two turns in a row were the server's")
			}
			if n := len(byHost[hosts]); h != hosts && newest != hosts && n > 0 && now.Sub(byHost[hosts][n-1]) >= p.pause {
				t.Fatal("the server was left out")
			}
			all, byHost[h], newest = append(all, now), append(byHost[h], now), h
			if now = then; rapid.IntRange(0, 9).Draw(t, "jitter") == 0 {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "late")))
			}
		}
		within := func(times []time.Time, limit int, span time.Duration) {
			for i := limit; i < len(times); i++ {
				if d := times[i].Sub(times[i-limit]); d < span {
					t.Fatalf("%d probes within %v", limit+1, d)
				}
			}
		}
		within(all, 20, time.Second)
		for _, times := range byHost[:hosts] {
			within(times, 5, time.Second)
		}
		within(byHost[hosts], 1, p.pause-p.pause/onTime)
	})
}
