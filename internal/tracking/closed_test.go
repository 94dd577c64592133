package tracking

import (
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The tests here close the loop: the controller commands the plant's shaper and sees what becomes of it. Their bounds are
// generous; what the law can really do is measured elsewhere (docs/control.md).

func mbps(f float64) unit.Rate { return unit.Rate(f * 1e6) }

// sold are the limits that anybody would write down for a line: from a tenth to six fifths of what it is sold as.
func sold(down, up float64) Config {
	return Config{
		Min: link.Rates{Down: mbps(0.1 * down), Up: mbps(0.1 * up)},
		Max: link.Rates{Down: mbps(1.2 * down), Up: mbps(1.2 * up)},
	}
}

func (p *plant) carries(d link.Direction, from, to time.Duration, percent float64) {
	p.t.Helper()
	got := p.used(d, from, to)
	p.t.Logf("%v carries %.1f %% from %v to %v", d, got, from, to)
	if got < percent {
		p.t.Errorf("%v carries %.1f %% of the capacity from %v to %v, want %.0f", d, got, from, to, percent)
	}
}

func (p *plant) queues(d link.Direction, from, to time.Duration, q, ms float64) {
	p.t.Helper()
	got := p.queued(d, from, to, q)
	p.t.Logf("%v queues %.1f ms from %v to %v (%.2f)", d, got, from, to, q)
	if got > ms {
		p.t.Errorf("%v queues %.1f ms from %v to %v (quantile %.2f), want %.0f at most", d, got, from, to, q, ms)
	}
}

// within checks that the rates wanted stay within bounds, in Mbit/s.
func (p *plant) within(d link.Direction, from, to time.Duration, least, most float64) {
	p.t.Helper()
	lo, hi := p.wanted(d, from, to)
	p.t.Logf("%v wants %.2f to %.2f from %v to %v", d, lo, hi, from, to)
	if lo < least || hi > most {
		p.t.Errorf("%v: the rate goes from %.2f to %.2f Mbit/s between %v and %v, want it within %.2f and %.2f", d, lo, hi, from, to, least, most)
	}
}

const s = time.Second

// each runs a test by round trips and by one-way delays.
func each(t *testing.T, do func(t *testing.T, oneWay bool)) {
	t.Helper()
	t.Run("round trips", func(t *testing.T) { do(t, false) })
	t.Run("one way", func(t *testing.T) { do(t, true) })
}

// alone is a line of which only one direction is in use.
func alone(t *testing.T, cfg Config, d link.Direction, down, up float64) *plant {
	t.Helper()
	p := newPlant(t, cfg, down, up)
	p.loaded[1-d] = never
	return p
}

// eachAlone is either direction of a line of 40 and 10 Mbit/s in use alone, with round trips and with one-way delays.
func eachAlone(t *testing.T, do func(t *testing.T, p *plant, d link.Direction)) {
	t.Helper()
	each(t, func(t *testing.T, oneWay bool) {
		for _, d := range both {
			p := alone(t, sold(40, 10), d, 40, 10)
			p.oneWay = oneWay
			do(t, p, d)
		}
	})
}

func TestConstantLineOneDirection(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.run(10 * s)
		p.carries(d, 3*s, 10*s, 93)
		p.queues(d, 3*s, 10*s, 0.95, 14)
	})
}

func TestConstantLineBothWays(t *testing.T) {
	p := newPlant(t, sold(40, 10), 40, 10)
	p.oneWay = true
	p.run(15 * s)
	for _, d := range both {
		p.carries(d, 8*s, 15*s, 90)
		p.queues(d, 8*s, 15*s, 0.95, 30)
	}
}

// With round trips alone neither direction starves the other.
func TestBothWaysByRoundTrips(t *testing.T) {
	p := newPlant(t, sold(40, 10), 40, 10)
	p.run(30 * s)
	p.carries(link.Down, 12*s, 30*s, 90)
	p.carries(link.Up, 12*s, 30*s, 70)
	for _, d := range both {
		p.queues(d, 12*s, 30*s, 0.95, 20)
	}
	p = newPlant(t, sold(100, 20), 100, 20)
	p.run(20 * s)
	for _, d := range both {
		p.carries(d, 8*s, 20*s, 82)
		p.queues(d, 8*s, 20*s, 0.95, 32)
	}
}

func TestDropAndBack(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{6, full / 2}, [2]float64{12, full})
		p.run(18 * s)
		p.carries(d, 7*s, 12*s, 92)
		p.carries(d, 14*s, 18*s, 88)
		p.queues(d, 7*s, 12*s, 0.95, 18)
		p.queues(d, 6*s, 7*s, 0.6, 40)
	})
}

func TestDropToAThird(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{6, 0.3 * full})
		p.run(12 * s)
		p.carries(d, 7*s, 12*s, 92)
		p.queues(d, 7*s, 12*s, 0.95, 20)
		if took := p.after(6*s+200*time.Millisecond, func(m moment) bool { return m.delay[d] < 10 }); took < 0 || took > 0.8 {
			t.Errorf("%v queues for %.2f s after the drop", d, took)
		}
	})
}

// Without limits it starts with none, and finds the capacity from the first queue.
func TestNoLimits(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		for _, d := range both {
			p := alone(t, Config{}, d, 40, 10)
			p.oneWay = oneWay
			p.run(1 * s)
			p.within(d, 0, s, Unlimited.Mbps(), Unlimited.Mbps())
			p.run(9 * s)
			p.carries(d, 3*s, 10*s, 93)
			p.queues(d, 3*s, 10*s, 0.95, 14)
			p.within(1-d, 0, 10*s, Unlimited.Mbps(), Unlimited.Mbps())
		}
	})
}

func TestNoLimitsBothWays(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		p := newPlant(t, Config{}, 40, 10)
		p.oneWay = oneWay
		p.run(25 * s)
		for _, d := range both {
			p.carries(d, 15*s, 25*s, 70)
			p.queues(d, 15*s, 25*s, 0.95, 30)
		}
	})
}

// The limits hold, also where the line is beyond them.
func TestLimitsHold(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		cfg := Config{Min: link.Rates{Down: mbps(15), Up: mbps(4)}, Max: link.Rates{Down: mbps(25), Up: mbps(6)}}
		for _, d := range both {
			p := alone(t, cfg, d, 40, 10)
			p.oneWay = oneWay
			full := [2]float64{40, 10}[d]
			p.capacity[d] = steps([2]float64{0, full}, [2]float64{5, full / 10}, [2]float64{7, full})
			p.run(11 * s)
			lo, hi := cfg.Min.Get(d).Mbps(), cfg.Max.Get(d).Mbps()
			p.within(d, 0, 11*s, lo, hi)
			p.within(d, 6*s, 6500*time.Millisecond, lo, lo)
			p.within(d, 10*s, 11*s, 0.9*hi, hi)
		}
	})
}

// A delay that comes with use and that no rate takes away does not cost the use.
func TestUnremovableDelay(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		p := alone(t, sold(40, 10), link.Up, 40, 10)
		p.oneWay, p.floor = oneWay, 68
		p.run(20 * s)
		p.carries(link.Up, 8*s, 20*s, 90)
		p.queues(link.Up, 8*s, 20*s, 0.95, 35)
		if got := p.out.Unremovable.Up; got < 50 || got > 75 {
			t.Errorf("%v ms are taken for unremovable, want about 68", got)
		}
		if !p.says("unremovable_delay") {
			t.Error("nobody was told")
		}
	})
}

// A radio adds its delay above a third of the line's load and none below: the rate must not swing around that load.
func TestKnee(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		for _, x := range []struct{ ms, at, from, percent float64 }{
			{68, 0.35, 8, 85}, {68, 0.30, 8, 85}, {68, 0.50, 8, 60}, {40, 0.50, 3, 85}, {100, 0.50, 3, 95}, {100, 0.25, 3, 85},
		} {
			p := alone(t, sold(40, 10), link.Up, 40, 10)
			p.oneWay, p.floor, p.floorAt, p.floorSteps = oneWay, x.ms, x.at, true
			p.run(20 * s)
			p.carries(link.Up, time.Duration(x.from*float64(s)), 20*s, x.percent)
			if got := float64(p.out.Unremovable.Up); got < x.ms-1 || got > x.ms+6 {
				t.Errorf("%v ms are taken for unremovable, want %v", got, x.ms)
			}
		}
	})
}

// jumpy feeds a controller with an upload's replies, each 50 ms and a new reflector: the delay and what was carried, in Mbit/s.
type jumpy struct {
	c     *Controller
	now   unit.Time
	sent  unit.Bytes
	probe int
	rate  unit.Rate // in force
}

func newJumpy(t *testing.T) *jumpy {
	t.Helper()
	c, err := New(Config{Hosts: 5, Max: link.Rates{Down: mbps(48), Up: mbps(12)}})
	if err != nil {
		t.Fatal(err)
	}
	return &jumpy{c: c, now: launch}
}

func (j *jumpy) reply(delta unit.Millis, carried float64) Output {
	j.now = j.now.Add(50 * time.Millisecond)
	j.sent += mbps(carried).Over(50 * time.Millisecond)
	j.probe++
	at := j.now.Add(20 * time.Millisecond).Add(delta.Duration())
	o := j.c.Step(Input{
		Now: at, Counters: []link.Counters{{At: j.now, Tx: j.sent}}, Applied: link.Rates{Up: j.rate},
		Samples: []link.Sample{{Host: j.probe % 5, Sent: j.now, Received: at, Delta: delta}},
	})
	j.rate = o.Rates.Up
	return o
}

// As a kernel's line does it: the delay comes at once as the load passes 3 Mbit/s, acknowledgements stay away for as long, and
// with the load the delay goes. What the upload had is given back each time; the third time the delay is left out, and is
// not forgotten below that load, where it is not.
func TestJumps(t *testing.T) {
	l := newJumpy(t)
	reply := l.reply
	for row := range 3 {
		for range 12 {
			reply(2, 3.3)
		}
		before := l.rate
		for _, delta := range []unit.Millis{70, 68, 40} {
			if o := reply(delta, 2); delta == 68 && o.Rates.Up >= before/2 {
				t.Errorf("jump %d is not answered: %v after %v", row+1, o.Rates.Up, before)
			}
		}
		o := reply(4, 2)
		if o.Rates.Up < before {
			t.Errorf("after jump %d the rate is %v, and was %v before", row+1, o.Rates.Up, before)
		}
		if found := o.Unremovable.Up > 0; found != (row == 2) {
			t.Errorf("after jump %d %v ms are left out", row+1, o.Unremovable.Up)
		}
	}
	for range 40 {
		reply(3, 2.7)
	}
	if o := reply(70, 3.4); o.Unremovable.Up < 68 || o.Queue.Up {
		t.Errorf("%v ms are left out, and 70 ms drained (%v), after two seconds below that load", o.Unremovable.Up, o.Queue.Up)
	}
	for range 40 {
		reply(3, 6)
	}
	if o := reply(3, 6); o.Unremovable.Up > 4 {
		t.Errorf("%v ms are left out, and twice the load had none of it for two seconds", o.Unremovable.Up)
	}
}

// A delay that goes on growing as long as nothing is cut is a queue, however suddenly it came: what it measures holds.
func TestJumpThatGrowsIsAQueue(t *testing.T) {
	l := newJumpy(t)
	for range inRow - 1 {
		for range 12 {
			l.reply(2, 3.3)
		}
		before := l.rate
		for _, delta := range []unit.Millis{70, 110, 70, 30} {
			l.reply(delta, 2)
		}
		if o := l.reply(4, 2); o.Rates.Up >= before || o.Unremovable.Up > 0 {
			t.Fatalf("after a queue of 110 ms the rate is %v, and was %v; %v ms are left out", o.Rates.Up, before, o.Unremovable.Up)
		}
		l.rate = before // somebody raises it: the next queue is met as this one was
		l.c.Restore(link.Rates{Up: before})
	}
}

// A path that becomes longer under load costs no use.
func TestPathChangeUnderLoad(t *testing.T) {
	for _, d := range both {
		p := alone(t, sold(40, 10), d, 40, 10)
		p.further = func(host int, at time.Duration) float64 {
			if at > 6*s {
				return 40 + 3*float64(host)
			}
			return 3 * float64(host)
		}
		p.run(20 * s)
		p.carries(d, 12*s, 20*s, 85)
		p.queues(d, 12*s, 20*s, 0.95, 30)
	}
}

// liars are reflectors whose replies take longer than the path, for a reason of their own.
func (p *plant) liars(late func(host int) float64) {
	honest := p.further
	p.further = func(host int, at time.Duration) float64 {
		if at < 3*s {
			return honest(host, at)
		}
		return honest(host, at) + late(host)
	}
}

// One reflector's delay is its own.
func TestOneLiar(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		for _, d := range both {
			p := alone(t, sold(40, 10), d, 40, 10)
			p.oneWay = oneWay
			p.liars(func(host int) float64 {
				if host == 2 {
					return 40
				}
				return 0
			})
			p.run(12 * s)
			p.carries(d, 4*s, 12*s, 85)
			if full := [2]float64{40, 10}[d]; !oneWay || d == link.Down { // a silent probe is not asked which way it is late
				p.within(d, 4*s, 12*s, 0.9*full, 1.1*full)
			}
		}
	})
}

// Two that are late at random agree now and then; that costs little.
func TestTwoLiars(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.liars(func(host int) float64 {
			if host > 2 && p.chance() < 0.5 {
				return 40
			}
			return 0
		})
		p.run(12 * s)
		p.carries(d, 4*s, 12*s, 75)
	})
}

// While the line is away no rate helps: none is cut for it, and nothing is learned.
func TestBlackout(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		p := alone(t, sold(40, 10), link.Down, 40, 10)
		p.oneWay = oneWay
		for _, d := range both {
			full := [2]float64{40, 10}[d]
			p.capacity[d] = steps([2]float64{0, full}, [2]float64{6, 0}, [2]float64{6.4, full})
		}
		p.run(10 * s)
		// It takes a tenth of a second to tell that nothing comes in at all.
		p.within(link.Down, 6*s, 6390*time.Millisecond, 19, 45)
		p.carries(link.Down, 7500*time.Millisecond, 10*s, 85)
		p.queues(link.Down, 7500*time.Millisecond, 10*s, 0.95, 20)
		if u := p.out.Unremovable; u.Down != 0 || u.Up != 0 {
			t.Errorf("%v ms are taken for unremovable", u)
		}
	})
}

// A router that tells its counters three times a second and takes its time for each command.
func TestSparseCountersSlowCommands(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.readings, p.late, p.slow = 300*time.Millisecond, 75*time.Millisecond, 150*time.Millisecond
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{8, full / 2}, [2]float64{14, full})
		p.run(20 * s)
		p.carries(d, 4*s, 8*s, 68)
		p.carries(d, 9*s, 14*s, 75)
		p.carries(d, 16*s, 20*s, 75)
		p.queues(d, 4*s, 8*s, 0.95, 60)
		p.queues(d, 10*s, 14*s, 0.95, 100)
	})
}

// What a reflector's replies vary by on a clear line is no queue.
func TestNoise(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.noise = 6
		p.liars(func(int) float64 { return 14 * p.chance() })
		p.run(12 * s)
		p.carries(d, 4*s, 12*s, 85)
		p.queues(d, 4*s, 12*s, 0.95, 45)
	})
}

// The direction that carries nothing is not touched while the other drains.
func TestIdleDirection(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		for _, d := range both {
			p := newPlant(t, sold(40, 10), 40, 10)
			p.oneWay = oneWay
			p.loaded[1-d] = func(at time.Duration) bool { return at >= s && at < 5*s }
			full := [2]float64{40, 10}[d]
			p.capacity[d] = steps([2]float64{0, full}, [2]float64{8, full / 2}, [2]float64{11, 0.3 * full}, [2]float64{14, full})
			p.run(18 * s)
			r, _ := p.wanted(1-d, 7900*time.Millisecond, 8*s)
			p.within(1-d, 8*s, 18*s, 0.95*r, 1.05*r)
		}
	})
}

// A direction that carries a little, and whose own delay wanders by some ms while the other one is full, is left alone: what
// it carries is not what it can.
func TestBystander(t *testing.T) {
	c, err := New(Config{Hosts: 5})
	if err != nil {
		t.Fatal(err)
	}
	now := unit.Time(time.Hour)
	var down, up unit.Bytes
	for i := range 200 {
		now = now.Add(50 * time.Millisecond)
		down, up = down+60_000, up+2_000_000 // 10 and 320 Mbit/s
		delay := unit.Millis(1)
		if i > 100 {
			delay = 12
		}
		c.Step(Input{
			Now: now, Counters: []link.Counters{{At: now, Rx: down, Tx: up}},
			Samples: []link.Sample{{
				Host: i % 5, Sent: now.Add(-30 * time.Millisecond), Received: now, Delta: delay, OneWay: true,
				Way: link.Pair[unit.Millis]{Down: delay, Up: 1},
			}},
		})
	}
	if r := c.Rate(link.Down); r != Unlimited {
		t.Errorf("the download is at %v for 12 ms while it carries 10 Mbit/s and the upload 320", r)
	}
}

// steady feeds a controller that knows round trips only: what each direction carries, in Mbit/s, and the delay, in ms, of
// each twentieth of a second.
func steady(t *testing.T, cfg Config, ticks int, at func(i int) (down, up, ms float64)) *Controller {
	t.Helper()
	cfg.Hosts = 5
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	now := unit.Time(time.Hour)
	var rx, tx unit.Bytes
	for i := range ticks {
		now = now.Add(50 * time.Millisecond)
		down, up, ms := at(i)
		rx, tx = rx+unit.Bytes(down*1e6/8/20), tx+unit.Bytes(up*1e6/8/20)
		c.Step(Input{
			Now: now, Counters: []link.Counters{{At: now, Rx: rx, Tx: tx}},
			Samples: []link.Sample{{
				Host: i % 5, Sent: now.Add(-30 * time.Millisecond), Received: now, Delta: unit.Millis(ms),
			}},
		})
	}
	return c
}

// A delay of a line that carries next to nothing, and carried no more before, is somebody else's: at the provider, say.
func TestNobodysDelay(t *testing.T) {
	for _, delay := range []float64{12, 60, 120, 400} {
		c := steady(t, sold(900, 38), 1000, func(i int) (down, up, ms float64) {
			down, up = 16, 2
			if i%80 < 6 {
				down = 60 // a piece of a film
			}
			if i > 200 {
				ms = delay
			}
			return down, up, ms
		})
		if got, want := (link.Rates{Down: c.Rate(link.Down), Up: c.Rate(link.Up)}), sold(900, 38).Max; got != want {
			t.Errorf("%.0f ms: the rates are %v, want them left at %v", delay, got, want)
		}
	}
}

// A maximum may be far above the line: what is then full uses little of it, and its queue is found all the same.
func TestMaximumFarTooHigh(t *testing.T) {
	c := steady(t, Config{Max: link.Rates{Down: mbps(1000), Up: mbps(1000)}}, 300, func(i int) (down, up, ms float64) {
		down, up = 0.5, 0.5
		if i >= 100 {
			down, ms = 50, min(5*float64(i-100), 200)
		}
		return down, up, ms
	})
	if r := c.Rate(link.Down); r > mbps(50) {
		t.Errorf("the download is at %v on a line of 50 Mbit/s with a queue of 200 ms", r)
	}
}

func TestCountersStartAgain(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.reset = 6 * s
		p.run(10 * s)
		full := [2]float64{40, 10}[d]
		p.within(d, 5*s, 10*s, 0.7*full, 1.15*full)
		p.carries(d, 7*s, 10*s, 90)
	})
}

func TestProbesLost(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.lost = func(int) bool { return p.chance() < 0.02 }
		p.run(15 * s)
		p.carries(d, 4*s, 15*s, 90)
		p.queues(d, 4*s, 15*s, 0.95, 15)
	})
}

// A reply that was overtaken on the way changes little.
func TestReplyOutOfOrder(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.liars(func(host int) float64 {
			if p.ms%1000 < 50 {
				return 90
			}
			return 0
		})
		p.run(12 * s)
		p.carries(d, 4*s, 12*s, 65)
	})
}

// No reply for ten seconds: the rates stay within their bounds, and the loop closes again afterwards.
func TestLongSilence(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.lost = func(int) bool { return p.at() > 5*s && p.at() < 15*s }
		p.run(20 * s)
		full := [2]float64{40, 10}[d]
		p.within(d, 5*s, 15*s, 0.1*full, 1.2*full)
		if p.log[14999].wanted != p.log[8500].wanted {
			t.Errorf("the rates go from %v to %v while there is nothing to go by", p.log[8500].wanted, p.log[14999].wanted)
		}
		p.within(1-d, 5*s, 20*s, [2]float64{48, 12}[1-d], [2]float64{48, 12}[1-d])
		p.carries(d, 17*s, 20*s, 90)
	})
}

// With both directions in use and round trips alone, the first guess may be wrong: the delay's response turns it over.
func TestWrongVerdict(t *testing.T) {
	for _, d := range both {
		p := newPlant(t, sold(40, 10), 40, 10)
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{12, full / 2})
		p.run(20 * s)
		p.queues(d, 13*s, 20*s, 0.95, 25)
		p.carries(d, 13*s, 20*s, 70)
		p.carries(1-d, 13*s, 20*s, 68)
	}
}

// A source that does not care keeps its queue full whatever our rate: that is no delay of the path.
func TestFloodIsNoFloor(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		p := alone(t, sold(40, 10), link.Down, 40, 10)
		p.oneWay, p.flood[link.Down] = oneWay, 0
		p.run(3 * s)
		p.loaded[link.Down] = never
		p.flood[link.Down] = 52
		p.buffer = 60
		p.run(5 * s)
		if u := p.out.Unremovable; u.Down != 0 {
			t.Errorf("%v ms of a flood's queue are taken for unremovable", u.Down)
		}
	})
}

// While the router takes its time, growth does not run ahead of what it has been told.
func TestGrowthWaitsForTheRouter(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.slow = 600 * time.Millisecond
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full / 4}, [2]float64{6, full})
		p.tell = func(p *plant, _ []link.Sample) {
			if r := p.out.Reason.Get(d); r.Cause == link.CauseRaise && r.To > r.From && float64(r.To) > 1.251*float64(p.force.Get(d)) {
				t.Fatalf("at %v %v grows to %v while %v is in force", p.at(), d, r.To, p.force.Get(d))
			}
		}
		p.run(14 * s)
		p.carries(d, 10*s, 14*s, 50)
		p.queues(d, 10*s, 14*s, 0.95, 80)
	})
}

// Other limits come into force at once, and what was measured stays.
func TestReconfigure(t *testing.T) {
	for _, d := range both {
		p := alone(t, sold(40, 10), d, 40, 10).run(5 * s)
		capacity := p.out.Capacity.Get(d)
		half := Config{Hosts: 5, Profile: Latency, Max: link.Rates{Down: mbps(20), Up: mbps(5)}}
		if err := p.ctl.Reconfigure(half); err != nil {
			t.Fatal(err)
		}
		if got := p.ctl.Rate(d); got != half.Max.Get(d) {
			t.Errorf("%v stays at %v over its new maximum %v", d, got, half.Max.Get(d))
		}
		p.run(2 * s)
		if got := p.out.Capacity.Get(d); got < capacity*9/10 {
			t.Errorf("%v was known to carry %v, and is now thought to carry %v", d, capacity, got)
		}
		p.within(d, 5*s+100*time.Millisecond, 7*s, 0, half.Max.Get(d).Mbps())
		if err := p.ctl.Reconfigure(Config{Hosts: 5, Profile: Throughput}); err != nil {
			t.Fatal(err)
		}
		p.run(9 * s)
		p.carries(d, 14*s, 16*s, 85)
		before := p.ctl.Rate(d)
		if p.ctl.Reconfigure(Config{Profile: 9}) == nil || p.ctl.Rate(d) != before {
			t.Error("a configuration that is none was taken")
		}
	}
}

// Rates of an earlier run are where it goes on from.
func TestRestore(t *testing.T) {
	for _, d := range both {
		p := alone(t, Config{}, d, 40, 10)
		p.ctl.Restore(link.Rates{Down: mbps(39), Up: mbps(9.8)})
		p.force = link.Rates{Down: p.ctl.Rate(link.Down), Up: p.ctl.Rate(link.Up)}
		p.run(6 * s)
		p.within(d, 0, s, []float64{39, 9.8}[d], []float64{39, 9.8}[d])
		p.carries(d, 2*s, 6*s, 93)
		p.queues(d, 2*s, 6*s, 0.99, 15)
	}
	c, err := New(sold(40, 10))
	if err != nil {
		t.Fatal(err)
	}
	c.Restore(link.Rates{Down: unit.Gbps})
	if c.Rate(link.Down) != mbps(48) || c.Rate(link.Up) != mbps(12) {
		t.Errorf("restored to %v and %v, want the maxima", c.Rate(link.Down), c.Rate(link.Up))
	}
}

// The profiles differ in what they are called after.
func TestProfiles(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		for _, d := range both {
			var queue, use [3]float64
			for _, profile := range []Profile{Balanced, Latency, Throughput} {
				cfg := sold(40, 10)
				cfg.Profile = profile
				p := alone(t, cfg, d, 40, 10)
				p.oneWay = oneWay
				p.run(8 * s)
				queue[profile], use[profile] = p.queued(d, 3*s, 8*s, 0.95), p.used(d, 3*s, 8*s)
			}
			t.Logf("%v: queues %.1f, use %.1f", d, queue, use)
			if !(queue[Latency] < queue[Balanced] && queue[Balanced] < queue[Throughput]) {
				t.Errorf("%v queues %.1f ms under balanced, latency, throughput", d, queue)
			}
			if use[Throughput] < 96 || use[Throughput] < use[Latency] {
				t.Errorf("%v carries %.1f %% under balanced, latency, throughput", d, use)
			}
		}
	})
}

// A delay that no rate took away and that is gone at last is believed to be gone: what queues then is a queue.
func TestFloorGoes(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		p := alone(t, sold(40, 10), link.Up, 40, 10)
		p.oneWay, p.floor = oneWay, 68
		p.run(8 * s)
		if u := p.out.Unremovable.Up; u < 50 {
			t.Fatalf("%v are taken for unremovable, want about 68 ms", u)
		}
		p.floor = 0
		p.run(32 * s) // meanwhile a queue takes its place, and goes only as it is found to
		if u := p.out.Unremovable.Up; u > 25 {
			t.Errorf("%v are still taken for unremovable", u)
		}
		p.queues(link.Up, 36*s, 40*s, 0.95, 40)
		p.carries(link.Up, 12*s, 40*s, 90)
	})
}
