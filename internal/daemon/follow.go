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
	sensor   *reflector.Sensor
	observed Observer

	probes   []link.Probe
	counters []link.Counters
	samples  []link.Sample
	out      tracking.Output
	notes    []link.Note
	idleFor  idleness
}

// idleness follows since when a line has carried next to nothing.
type idleness struct{ since unit.Time }

// idleShare is the use of a direction, in parts of its capacity, below which it counts as idle, and idleAfter how long
// both have to be before a round trip is the path's own.
const (
	idleShare = 0.10
	idleAfter = time.Second
)

func (i *idleness) step(now unit.Time, use link.Pair[float64], known bool) bool {
	if !known || use.Down >= idleShare || use.Up >= idleShare {
		i.since = now
	}
	return now.Sub(i.since) >= idleAfter
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
	return &tracked{law: law, sensor: reflector.NewSensor(opt.Reflector.Hosts), observed: o}, nil
}

// step takes in what was observed since the last one and lets the law decide.
func (t *tracked) step(now unit.Time, replies []link.Reply, applied link.Rates) {
	t.probes, t.counters = t.observed.Take(t.probes[:0], t.counters)
	for _, p := range t.probes {
		t.sensor.Sent(p)
	}
	use, known := t.law.Use(now)
	idle := t.idleFor.step(now, use, known)
	t.samples = t.samples[:0]
	for _, r := range replies {
		if s, ok := t.sensor.Reply(r, idle); ok {
			t.samples = append(t.samples, s)
		}
	}
	t.out = t.law.Step(tracking.Input{
		Now: now, Counters: t.counters, Samples: t.samples, Silence: t.sensor.Silence(now), Applied: applied,
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
	w.track.step(now, w.replies, applied)
}

// cycle makes the decision of a cycle from what the law wants.
func (w *WAN) cycle(now unit.Time) link.Decision {
	t := w.track
	l := t.sensor.Level(now, w.win.MaxAge())
	if l.OK && l.At > w.answeredAt {
		w.answeredAt = l.At
	}
	delta := max(l.Delta, t.sensor.Silence(now).Over)
	if floor := max(t.out.Unremovable.Down, t.out.Unremovable.Up); l.OK {
		delta = max(delta-floor, 0)
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
	w.track = t
	return nil
}
