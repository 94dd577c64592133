package shaper

import (
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func keys(d link.Decision) (ks []string) {
	for _, n := range d.Notes {
		ks = append(ks, n.Key)
	}
	return ks
}

// until steps for at most d and returns the decision that carries the note, and whether there was one.
func (d *drive) until(t *testing.T, span time.Duration, key string, step func() link.Decision) (link.Decision, bool) {
	t.Helper()
	for range d.cycles(span) {
		if got := step(); says(got, key) {
			return got, true
		}
	}
	return d.last, false
}

func TestIdle(t *testing.T) {
	c := spectrum()
	c.Up.Floor, c.Up.Ceiling = one(unit.Mbps), 8*unit.Mbps // 10 % would be 0.8
	d := start(t, c)
	d.feed(1, 24, 0, 0)
	yes := link.Load{Known: true, At: d.now, Rates: link.Rates{Down: 94*unit.Mbps - 1, Up: unit.Mbps - 1}}
	for _, x := range []struct {
		name     string
		bend     func(*link.Load)
		down, up bool
	}{
		{"just under", func(*link.Load) {}, true, true},
		{"10 % of the ceiling is not idle", func(l *link.Load) { l.Down++ }, false, true},
		{"1 Mbit/s is not idle", func(l *link.Load) { l.Up++ }, true, false},
		{"unknown", func(l *link.Load) { l.Known = false }, false, false},
		{"5 s old", func(l *link.Load) { l.At = d.now.Add(-5 * time.Second) }, true, true},
		{"older", func(l *link.Load) { l.At = d.now.Add(-5*time.Second - 1) }, false, false},
		{"from the future", func(l *link.Load) { l.At = d.now + 1 }, false, false},
		{"impossible", func(l *link.Load) { l.Down = -1 }, false, true},
	} {
		l := yes
		x.bend(&l)
		d.must(t, x.name, d.idle(l), link.Pair[bool]{Down: x.down, Up: x.up})
	}
}

// The baseline moves to the least sample of the idle time, at every speed after the same time.
func TestRebaselineIdle(t *testing.T) {
	for _, period := range []time.Duration{50 * time.Millisecond, 2 * time.Second, 10 * time.Second} {
		d := start(t, instant(period))
		d.feed(d.cycles(20*time.Second), 24, 1, 0.1)
		began := d.at
		i := 0
		got, ok := d.until(t, 5*time.Minute, "baseline_moved", func() link.Decision {
			i++
			return d.feed(1, 44+unit.Millis(i%4), 1, 0.1)
		})
		if took := got.Now.Sub(began); !ok || took != 2*time.Minute {
			t.Errorf("%v: moved %v after %v, want 2m0s", period, ok, took)
		}
		d.must(t, period.String()+": baseline", got.Baseline, unit.Millis(44))
	}
}

func TestRebaselineNeeds(t *testing.T) {
	idle := func(d *drive, span time.Duration) bool {
		_, ok := d.until(t, span, "baseline_moved", func() link.Decision { return d.feed(1, 44, 1, 0.1) })
		return ok
	}
	busy := func(d *drive, span time.Duration) { d.feed(d.cycles(span), 44, 300, 0.1) }
	for _, x := range []struct {
		name string
		play func(d *drive) bool
		want bool
	}{
		{"120 s at a stretch", func(d *drive) bool { return idle(d, 122*time.Second) }, true},
		{"119 s are not enough", func(d *drive) bool { return idle(d, 119*time.Second) }, false},
		{"two halves with traffic between", func(d *drive) bool {
			idle(d, 64*time.Second)
			busy(d, 5*time.Minute)
			return idle(d, 60*time.Second)
		}, true},
		{"two halves more than 10 min apart", func(d *drive) bool {
			idle(d, 64*time.Second)
			busy(d, 11*time.Minute)
			return idle(d, 60*time.Second)
		}, false},
		{"blocks under 5 s do not count", func(d *drive) bool {
			for range 100 {
				if idle(d, 4*time.Second) {
					return true
				}
				busy(d, 2*time.Second)
			}
			return false
		}, false},
		{"blocks of 6 s do", func(d *drive) bool {
			for range 40 {
				if idle(d, 8*time.Second) {
					return true
				}
				busy(d, 4*time.Second)
			}
			return false
		}, true},
		{"a good sample between voids what was collected", func(d *drive) bool {
			idle(d, 100*time.Second)
			d.feed(1, 24, 1, 0.1)
			return idle(d, 100*time.Second)
		}, false},
		{"silence breaks a block but does not void it", func(d *drive) bool {
			idle(d, 64*time.Second)
			d.feed(20, 0, 1, 0.1)
			return idle(d, 62*time.Second)
		}, true},
		{"silence is not idle time", func(d *drive) bool {
			idle(d, 64*time.Second)
			d.feed(30, 0, 1, 0.1)
			return idle(d, 20*time.Second)
		}, false},
		{"an unknown load proves nothing", func(d *drive) bool {
			for range 100 {
				if says(d.one(44, link.Load{}, nil), "baseline_moved") {
					return true
				}
			}
			return false
		}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := start(t, instant(2*time.Second))
			d.feed(10, 24, 1, 0.1)
			if got := x.play(d); got != x.want {
				t.Errorf("moved %v, want %v (%v)", got, x.want, d.Snapshot().Path)
			}
		})
	}
}

// A path longer than the bounds allow is said, with the way out.
func TestRebaselineBound(t *testing.T) {
	c := instant(2 * time.Second)
	c.BaselineMax = 40
	d := start(t, c)
	d.feed(2, 24, 1, 0.1)
	got, ok := d.until(t, 3*time.Minute, "baseline_bound", func() link.Decision { return d.feed(1, 60, 1, 0.1) })
	if !ok || got.Baseline != 40 {
		t.Errorf("baseline %v, notes %v", got.Baseline, keys(got))
	}
}

// dipLine plays a line on which the given round trips answer outside and inside a test dip.
type dipLine struct {
	*drive
	load link.Load
	// out and in are the round trips outside a dip and of probes sent in it; hosts answer at these distances.
	out, in unit.Millis
	hosts   []unit.Millis
	silent  bool // in the dip
}

func (l *dipLine) step() link.Decision {
	dipped := l.dipping().Down || l.dipping().Up
	rtt := l.out
	if dipped {
		rtt = l.in
	}
	sent := l.at.Add(-l.cfg.Period / 2)
	var rs []link.Reply
	for h, further := range l.hosts {
		if dipped && l.silent {
			break
		}
		rs = append(rs, link.Reply{Host: h, Sent: sent, Received: sent, RTT: rtt + further}, link.Reply{Host: h, Sent: sent - 1, Received: sent, RTT: rtt + further + 3})
	}
	if l.load.Known {
		l.load.At = l.at
	}
	return l.one(rtt, l.load, rs)
}

func TestDip(t *testing.T) {
	three := []unit.Millis{-14, 0, 22}
	both := link.Rates{Down: 500 * unit.Mbps, Up: 20 * unit.Mbps}
	for _, x := range []struct {
		name    string
		period  time.Duration
		load    link.Rates
		unknown bool
		out, in unit.Millis
		hosts   []unit.Millis
		silent  bool
		dipped  link.Rates
		verdict string
		base    unit.Millis
	}{
		{name: "the path's own", load: both, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
		{name: "falls by less than half", load: both, out: 50, in: 38, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 38},
		{name: "falls by half", load: both, out: 50, in: 37, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "test_dip_fell", base: 24},
		{name: "a queue of ours", load: both, out: 50, in: 28, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "test_dip_fell", base: 24},
		{name: "only the loaded direction", load: link.Rates{Down: 500 * unit.Mbps}, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 38e6}, verdict: "baseline_moved", base: 50},
		{name: "an unknown load is loaded", unknown: true, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
		{name: "in RED, not below the floor", load: both, out: 150, in: 150, hosts: three, dipped: link.Rates{Down: 200e6, Up: 8e6}, verdict: "baseline_moved", base: 150},
		{name: "in GREEN too", load: both, out: 34, in: 34, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 34},
		{name: "nobody answers", load: both, out: 50, in: 50, hosts: three, silent: true, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "test_dip_unclear", base: 24},
		{name: "too few answer", load: both, out: 50, in: 50, hosts: three[:2], dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "test_dip_unclear", base: 24},
		{name: "a fast loop, for one second", period: 50 * time.Millisecond, load: both, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
		{name: "two periods, because one is under a second", period: 700 * time.Millisecond, load: both, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
		{name: "four periods of 300 ms", period: 300 * time.Millisecond, load: both, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
		{name: "a slow loop, for a period", period: 20 * time.Second, load: both, out: 50, in: 50, hosts: three, dipped: link.Rates{Down: 470e6, Up: 19e6}, verdict: "baseline_moved", base: 50},
	} {
		t.Run(x.name, func(t *testing.T) {
			period := x.period
			if period == 0 {
				period = 2 * time.Second
			}
			c := instant(period)
			c.AlphaLoad = 0.5
			d := start(t, c)
			d.feed(3, 24, 1, 0.1)
			l := &dipLine{drive: d, load: link.Load{Known: !x.unknown, Rates: x.load}, out: x.out, in: x.in, hosts: x.hosts, silent: x.silent}
			began := d.at
			got, ok := d.until(t, 35*time.Minute, "test_dip", l.step)
			if waited := got.Now.Sub(began); !ok || waited < 30*time.Minute || waited > 31*time.Minute {
				t.Fatalf("dip %v after %v", ok, waited)
			}
			before := link.Rates{Down: got.Reason.Down.From, Up: got.Reason.Up.From}
			d.must(t, "dipped rates", got.Rates, x.dipped)
			dipAt := got.Now
			for l.path.dip.phase == inDip {
				got = l.step()
			}
			if long := got.Now.Sub(dipAt); long < max(period, time.Second) || long >= time.Second+period && long != period {
				t.Errorf("the dip lasted %v, want at least %v in whole cycles of %v", long, max(period, time.Second), period)
			}
			d.must(t, "rates after it", got.Rates, before)
			if !says(got, x.verdict) {
				got, ok = d.until(t, 5*time.Minute, x.verdict, l.step)
				if !ok {
					t.Fatalf("no verdict; dip %+v", d.Snapshot().Path.Dip)
				}
			}
			if d := float64(got.Baseline - x.base); d > 0.1 || d < -0.1 {
				t.Errorf("baseline %v, want %v", got.Baseline, x.base)
			}
			if x.verdict != "baseline_moved" {
				next, ok := d.until(t, 40*time.Minute, "test_dip", l.step)
				if apart := next.Now.Sub(dipAt); ok && apart < 30*time.Minute {
					t.Errorf("the next dip came after %v", apart)
				}
			}
		})
	}
}

// While no direction is loaded a dip would prove nothing: it waits.
func TestDipWaitsForLoad(t *testing.T) {
	d := start(t, instant(2*time.Second))
	d.feed(3, 24, 1, 0.1)
	blink := func(i int) (float64, float64) { // idle for 4 s at a time, which counts for nothing
		if i%4 == 3 {
			return 500, 1
		}
		return 1, 0.1
	}
	for i := range d.cycles(29 * time.Minute) {
		down, up := blink(i)
		if got := d.feed(1, 50, down, up); len(got.Notes) > 0 {
			t.Fatalf("after %d cycles: %v", i, keys(got))
		}
	}
	var dip link.Decision
	for i := range d.cycles(3 * time.Minute) {
		down, up := blink(i)
		if got := d.feed(1, 50, down, up); says(got, "test_dip") {
			dip = got
			if down < 500 {
				t.Errorf("it dipped on an idle line")
			}
			break
		}
	}
	d.must(t, "only the loaded direction", dip.Rates, link.Rates{Down: 470 * unit.Mbps, Up: 38 * unit.Mbps})
}

// A dip is temporary whatever happens in it: silence does not hold it, and a delay that falls by itself ends the question.
func TestDipEnds(t *testing.T) {
	both := link.Rates{Down: 500 * unit.Mbps, Up: 20 * unit.Mbps}
	into := func() *dipLine {
		d := start(t, instant(time.Second))
		d.feed(3, 24, 1, 0.1)
		l := &dipLine{drive: d, load: link.Load{Known: true, Rates: both}, out: 50, in: 50, hosts: []unit.Millis{0, 0, 0}}
		if _, ok := d.until(t, 31*time.Minute, "test_dip", l.step); !ok {
			t.Fatal("no dip")
		}
		return l
	}
	full := link.Rates{Down: 940 * unit.Mbps, Up: 38 * unit.Mbps}

	l := into()
	got := l.feed(1, 0, 500, 20)
	l.must(t, "silent: rates return", got.Rates, full)
	l.must(t, "silent: and say why", got.Reason.Down, link.Reason{Cause: link.CauseDip, From: 470 * unit.Mbps, To: full.Down})
	l.must(t, "silent: not measured", got.Measured, false)
	l.feed(100, 0, 500, 20)
	got = l.step()
	if !says(got, "test_dip_unclear") || got.Baseline > 25 {
		t.Errorf("after the silence: %v, baseline %v", keys(got), got.Baseline)
	}

	l = into()
	got = l.feed(1, 24, 500, 20)
	l.must(t, "fallen: rates return", got.Rates, full)
	if !says(got, "test_dip_fell") {
		t.Errorf("fallen: %v", keys(got))
	}
	if got := l.feed(5, 24, 500, 20); l.path.dip.phase != noDip || got.Baseline > 25 {
		t.Errorf("fallen: still judging, baseline %v", got.Baseline)
	}

	// The same within the dip of a fast loop: it runs to its end and is not judged.
	d := start(t, instant(50*time.Millisecond))
	d.feed(3, 24, 1, 0.1)
	f := &dipLine{drive: d, load: link.Load{Known: true, Rates: both}, out: 50, in: 24, hosts: []unit.Millis{0}}
	first, _ := d.until(t, 31*time.Minute, "test_dip", f.step)
	got = f.step()
	f.must(t, "fast: still lowered", got.Rates, first.Rates)
	if !says(got, "test_dip_fell") {
		t.Errorf("fast: %v", keys(got))
	}
	for range 19 {
		got = f.step()
	}
	f.must(t, "fast: rates return after 1 s", got.Rates, full)
	f.must(t, "fast: nothing to judge", f.path.dip.phase, noDip)
}

// With one host in the figure, the first that answered the dip speaks, not whoever is nearest.
func TestDipOneHost(t *testing.T) {
	d := dip{hosts: 1}
	if _, ok := d.fused(); ok {
		t.Error("nobody answered, yet there is a figure")
	}
	d.min[0], d.min[1], d.min[2] = 40, 10, 12
	if m, ok := d.fused(); !ok || m != 40 {
		t.Errorf("fused = %v, %v; want 40", m, ok)
	}
	d.hosts = 3
	if m, ok := d.fused(); !ok || m != 12 {
		t.Errorf("fused = %v, %v; want 12", m, ok)
	}
}

// Replies that cannot be true, or belong to probes sent before or after the dip, judge nothing.
func TestDipIgnoresOtherReplies(t *testing.T) {
	d := start(t, spectrum())
	d.feed(1, 24, 0, 0)
	d.collect([]link.Reply{{Host: 0, Sent: boot, RTT: 5}})
	d.path.dip = dip{phase: judging, start: boot + 10, end: boot + 20, hosts: 1}
	d.collect([]link.Reply{
		{Host: 0, Sent: boot + 9, RTT: 1},
		{Host: 0, Sent: boot + 20, RTT: 1},
		{Host: 0, Sent: boot + 15, RTT: -1},
		{Host: -1, Sent: boot + 15, RTT: 1},
		{Host: dipHosts, Sent: boot + 15, RTT: 1},
		{Host: 0, Sent: boot + 15, RTT: 30},
		{Host: 0, Sent: boot + 16, RTT: 29},
	})
	if m, ok := d.path.dip.fused(); !ok || m != 29 {
		t.Errorf("fused = %v, %v; want 29", m, ok)
	}
}
