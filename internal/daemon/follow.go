package daemon

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/shaper"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// tracked is what a WAN needs beyond its cycles to track the line's capacity: it is stepped whenever a reply arrives.
type tracked struct {
	law      *tracking.Controller
	sensor   *reflector.Sensors
	observed Observer
	pool     *reflector.Pool
	pace     pace
	server   bool // an IRTT server is probed beside the pool
	peak     peak
	// oneWayAt is when a sample with one-way delays arrived last.
	oneWayAt unit.Time

	probes   []link.Probe
	counters []link.Counters
	samples  []link.Sample
	out      tracking.Output
	notes    []link.Note
	idleFor  idleness
}

// idleness follows since when a line has carried next to nothing; 0 while it carries something.
type idleness struct{ since unit.Time }

// loadedShare is the use of a direction, in parts of its capacity, from which a queue may stand that the probes should see.
const loadedShare = 0.30

// idleShare is the use of a direction, in parts of its capacity, below which it counts as idle.
const idleShare = 0.10

func (i *idleness) step(now unit.Time, use link.Pair[float64], known bool) unit.Time {
	switch {
	case !known || use.Down >= idleShare || use.Up >= idleShare:
		i.since = 0
	case i.since == 0:
		i.since = now
	}
	return i.since
}

func newTracked(opt WANOptions) (*tracked, error) {
	law, err := tracking.New(*opt.Tracking)
	if err != nil {
		return nil, err
	}
	o := opt.Observed
	if o == nil {
		o = NewObserved(nil)
	}
	return &tracked{law: law, sensor: newSensors(opt), pool: newPool(opt), observed: o, server: opt.IRTT}, nil
}

// reset forgets the reflectors: other ones are probed from now on.
func (t *tracked) reset(opt WANOptions) {
	t.sensor, t.pool, t.pace, t.server = newSensors(opt), newPool(opt), pace{}, opt.IRTT
}

// step takes in what was observed since the last one and lets the law decide. load is what the router last counted, random
// a fresh number in [0, 1).
func (t *tracked) step(now unit.Time, replies []link.Reply, load link.Load, applied link.Rates, random float64, outside link.Outside) {
	t.probes, t.counters = t.observed.Take(t.probes[:0], t.counters)
	for _, p := range t.probes {
		t.sensor.Sent(p)
	}
	if c, ok := t.pool.Step(now, reflector.PoolEvents{
		Sent: t.probes, Replies: replies, Random: uint64(random * (1 << 32)),
	}); ok {
		t.notes = append(t.notes, t.pool.Note(c))
	}
	use, known := t.law.Use(now)
	use = t.peak.raise(now, use, load, t.out.Capacity)
	// What is late after a path change is not held up: the line is idle all the same, or the path could never be learnt.
	idle := t.idleFor.step(now, use, known && t.sensor.Overdue(now) < heldUp)
	t.samples = t.samples[:0]
	late := false
	for _, r := range replies {
		if s, ok := t.sensor.Reply(r, idle); ok {
			t.samples = append(t.samples, s)
			late = late || raised(s)
			if s.OneWay {
				t.oneWayAt = max(t.oneWayAt, s.Received)
			}
		}
	}
	t.pace.step(now, signs{Use: use, Counted: known, Overdue: t.sensor.Overdue(now), Raised: late})
	t.notes = append(t.notes, t.sensor.Watch(now, known && (use.Down >= loadedShare || use.Up >= loadedShare), idle, t.pool.InUse())...)
	outside.Blind = outside.Blind || t.sensor.Blind()
	t.out = t.law.Step(tracking.Input{
		Now: now, Counters: t.counters, Samples: t.samples, Silence: t.sensor.Silence(now), Applied: applied,
		Outside: outside,
	})
	t.counters = t.counters[:0]
	t.notes = append(t.notes, t.out.Notes...)
}

// reported takes the counters of a router's report in, for the next step.
func (t *tracked) reported(r link.Report) {
	if r.HasWAN && (len(t.counters) == 0 || t.counters[len(t.counters)-1].At < r.At) {
		t.counters = append(t.counters, link.Counters{At: r.At, Rx: r.WANRx, Tx: r.WANTx})
	}
}

// follow steps the law of a line that tracks its capacity, between its cycles as in them.
func (w *WAN) follow(now unit.Time) {
	w.track.observed.Count()
	w.replies = w.prober.Drain(w.replies[:0])
	w.heard(now)
	var applied link.Rates
	for _, d := range bothWays {
		if w.out.Confirmed.Get(d) {
			applied.Set(d, w.out.Applied.Get(d))
		}
	}
	w.track.step(now, w.replies, w.load, applied, w.opt.Jitter(), w.opt.Outside())
}

// turns are how many probes leave until each of the pool had its turn.
func (t *tracked) turns() int {
	n := len(t.pool.InUse())
	if t.server {
		n *= 2
	}
	return n
}

// level is what the reflectors say together; age is how old a reply may be while the line is active.
func (t *tracked) level(now unit.Time, age time.Duration) reflector.Level {
	return t.sensor.Level(now, t.pace.age(now, t.turns(), age))
}

// unremovable is the part of the line's delta that no rate takes away.
func (t *tracked) unremovable() unit.Millis {
	return max(t.out.Unremovable.Down, t.out.Unremovable.Up)
}

// cycle makes the decision of a cycle from what the law wants.
func (w *WAN) cycle(now unit.Time) link.Decision {
	t := w.track
	l := t.level(now, w.win.MaxAge())
	if l.OK && l.At > w.answeredAt {
		w.answeredAt = l.At
	}
	delta := l.Delta
	if q := t.sensor.Silence(now); q.Hosts >= heldUp { // a single probe may have been lost
		delta = max(delta, q.Over)
	}
	if l.OK {
		delta = max(delta-t.unremovable(), 0)
	}
	if t.out.Blind { // the law may hear others, who know more
		delta = max(delta, t.out.Delay.Down, t.out.Delay.Up)
	}
	d := w.ctl.Follow(shaper.Followed{
		Now: now, OK: l.OK, RTT: l.RTT, Baseline: l.Baseline, Delta: delta, Rates: t.out.Rates, Reason: t.out.Reason,
	})
	d.Notes = append(d.Notes, t.notes...)
	t.notes = t.notes[:0]
	return d
}

// reconfigureTracking takes another policy, or another law, over. A line that begins to track starts from its rates.
func (w *WAN) reconfigureTracking(opt WANOptions) error {
	switch {
	case opt.Tracking == nil:
		w.memory = w.remembered()
		w.track = nil
		return nil
	case w.track != nil:
		return w.track.law.Reconfigure(*opt.Tracking)
	}
	opt.Observed = w.opt.Observed
	t, err := newTracked(opt)
	if err != nil {
		return err
	}
	t.law.Restore(w.ctl.Rates())
	t.law.Remember(w.memory)
	w.track = t
	return nil
}
