package daemon

import (
	"fmt"
	"slices"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/unit"
)

// Probing is whom to probe and how often.
type Probing struct {
	// Hosts are the targets in use, by their index.
	Hosts []int
	// Interval is the time between two probes to one of them; an IRTT server has every second turn.
	Interval time.Duration
	// TCP are those of the targets with which there are TCP handshakes, in turn, and TCPEvery the time between two; 0 is none.
	TCP      []int
	TCPEvery time.Duration
}

// pace decides how often a line that tracks its capacity is probed. While anything happens there, each probe shortens the
// time to an answer; while nothing does, few are enough to keep the baselines and to notice an outage, and reflectors are
// other people's machines.
type pace struct {
	begun, active bool
	busyAt, woke  unit.Time
}

const (
	// activeStep and idleStep are the times between two probes in all: 20 and 2 a second. hostStep is the least between
	// two to one host (the pinger's own bound).
	activeStep, idleStep, hostStep = 50 * time.Millisecond, 500 * time.Millisecond, 200 * time.Millisecond
	// idleAfter is how long nothing may have happened on an idle line, which is how long a line counts as active at first.
	idleAfter = 10 * time.Second
	// wakingDelta is a delay that no idle line has, in ms, and wakingNoise how many times a reflector's noise is none.
	wakingDelta, wakingNoise = 8, 3
	// heldUp is how many probes must be overdue at a time to be the line's matter; a single one may have been lost.
	heldUp = 2
	// agesOfIdle is how many turns of an idle line's reflector may fail before it counts as silent, and afterWaking how
	// long that holds when the line wakes: each has its turn in that time.
	agesOfIdle, afterWaking = 3, time.Second
)

// signs are what may happen on a line.
type signs struct {
	// Use is what share of its capacity each direction uses; without Counted nobody knows.
	Use     link.Pair[float64]
	Counted bool
	// Overdue is how many probes are held up now, Raised that a reply was late.
	Overdue int
	Raised  bool
}

// peak remembers the most that a line carried lately. Where nothing has measured its capacity yet and its limit is far above
// that, what it carries is a small share of the limit and may be all that it can.
type peak struct {
	at   unit.Time
	most link.Pair[float64] // in bit/s, less each time by what it forgets
}

const (
	// peakFor is how fast a peak is forgotten, and telling the least rate that says anything: below it, a line may be at rest. A line
	// that is shaped below what it carries has no queue that measures it, so the greatest load is all that is known of it, and a camera
	// that uploads day and night would keep a line busy whose peak was forgotten over night: of a path that became longer nothing
	// would ever be learnt. An old peak does little harm: the first queue of a line that carries less is measured within a
	// second, long before enough replies on an idle line would raise a baseline.
	peakFor = 7 * 24 * time.Hour
	telling = 2 * unit.Mbps
)

// raise returns what share of its capacity each direction uses, at least by what it carries where its capacity is not known.
func (p *peak) raise(now unit.Time, use link.Pair[float64], load link.Load, capacity link.Rates) link.Pair[float64] {
	kept := max(1-float64(now.Sub(p.at))/float64(peakFor), 0)
	p.at = now
	for _, d := range bothWays {
		rate := float64(load.Get(d))
		most := max(float64(p.most.Get(d)*kept), rate)
		p.most.Set(d, most)
		if load.Known && rate >= float64(telling) && capacity.Get(d) == 0 {
			use.Set(d, max(use.Get(d), rate/most))
		}
	}
	return use
}

// step looks at what happens and says whether the line is active. One probe that is overdue is worth a closer look, which
// ends with the next answer; all else wakes the line for ten seconds.
func (p *pace) step(now unit.Time, s signs) bool {
	busy := !s.Counted || s.Use.Down >= idleShare || s.Use.Up >= idleShare || s.Overdue >= heldUp || s.Raised
	if busy || !p.begun {
		p.begun, p.busyAt = true, now
	}
	active := now.Sub(p.busyAt) < idleAfter || s.Overdue > 0
	if active && !p.active {
		p.woke = now
	}
	p.active = active
	return active
}

// every is the time between two probes to one of so many hosts, or between two turns of the half of them that an IRTT server
// leaves them.
func (p *pace) every(hosts int, server bool) time.Duration {
	if p.begun && !p.active {
		return time.Duration(hosts) * idleStep
	}
	least := hostStep
	if server {
		least /= 2
	}
	return max(least, time.Duration(hosts)*activeStep)
}

// age is how old a reply may be to count, where it is so old that on an active line. turns are what all have in all until one
// has its next.
func (p *pace) age(now unit.Time, turns int, active time.Duration) time.Duration {
	if p.active && now.Sub(p.woke) >= afterWaking {
		return active
	}
	return max(active, agesOfIdle*time.Duration(turns)*idleStep)
}

// raised says that a sample's delay is none of an idle line.
func raised(s link.Sample) bool { return s.Delta > max(wakingDelta, wakingNoise*s.Noise) }

// newPool returns the pool of a line's candidates.
func newPool(opt WANOptions) *reflector.Pool {
	return reflector.NewPool(reflector.PoolConfig{Candidates: opt.Candidates, Use: reflector.DefaultUse})
}

// newSensors returns what hears a line's probes.
func newSensors(opt WANOptions) *reflector.Sensors {
	reflectors := opt.Reflector.Hosts
	if opt.IRTT {
		reflectors--
	}
	return reflector.NewSensors(reflector.SensorsConfig{Reflectors: reflectors, IRTT: opt.IRTT, TCP: opt.TCPCheck})
}

// probes says whether a target is in use. An IRTT server always is.
func (w *WAN) probes(host int) bool {
	return w.track == nil || slices.Contains(w.track.pool.InUse(), host) || w.opt.IRTT && host == w.opt.Reflector.Hosts-1
}

// Probing returns whom the line wants probed and how often, valid until its next step. ok is false under the policy of
// steps, whose prober keeps its own pace.
func (w *WAN) Probing() (p Probing, ok bool) {
	if w.track == nil {
		return p, false
	}
	hosts := w.track.pool.InUse()
	p = Probing{Hosts: hosts, Interval: w.track.pace.every(len(hosts), w.opt.IRTT)}
	p.TCP, p.TCPEvery = w.track.sensor.TCP()
	return p, true
}

// pace tells the pinger whom the line wants probed and how often, when that has changed.
func (a *Autorate) pace() {
	p, ok := a.wan.Probing()
	if !ok {
		return
	}
	if !slices.Equal(p.Hosts, a.probing.Hosts) {
		if err := a.pinger.Use(p.Hosts); err != nil {
			a.log.Error(fmt.Sprintf("choose reflectors: %v; all are probed", err))
		}
		a.probing.Hosts = slices.Clone(p.Hosts)
	}
	if p.Interval != a.probing.Interval {
		a.pinger.SetInterval(p.Interval)
		a.probing.Interval = p.Interval
	}
	if p.TCPEvery != a.probing.TCPEvery || !slices.Equal(p.TCP, a.probing.TCP) {
		if err := a.pinger.ProbeTCP(p.TCP, p.TCPEvery); err != nil {
			a.log.Error(fmt.Sprintf("choose reflectors for TCP: %v; they stay as they were", err))
		}
		a.probing.TCP, a.probing.TCPEvery = slices.Clone(p.TCP), p.TCPEvery
	}
}
