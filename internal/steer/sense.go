package steer

import (
	"fmt"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// downAfter is how long nobody's probes must be unanswered before the line counts as down.
	downAfter = 10 * time.Second
	// wornAfter is how long a local signal may stand over its mark before it is taken for the line's normal state.
	wornAfter = 10 * time.Minute
	// vainFor is how long the rate controller must stand on its floor, or cut in vain, before that confirms a delay.
	vainFor = 10 * time.Second
	// fell is the share of its peak under which a delta counts as falling after a cut. The figure in the feed is an
	// average already; a tenth is more than it wavers on a line that does not improve.
	fell = 0.9
	// queueHeld is how long at least a queue reading votes when no newer one came.
	queueHeld = 5 * time.Second
)

// Average is an exponentially weighted moving average that its first sample initialises.
type Average struct {
	Value float64 `json:"value"`
	Set   bool    `json:"set"`
}

// add takes a sample with weight a.
func (v *Average) add(a, x float64) {
	if !v.Set {
		*v = Average{Value: x, Set: true}
		return
	}
	v.Value = filter.Blend(v.Value, x, a)
}

// Mark is a signal's place over its mark.
type Mark struct {
	Over bool `json:"over"`
	// Since is when it went over without coming back.
	Since unit.Time `json:"since"`
}

func (k *Mark) update(over bool, now unit.Time) {
	switch {
	case !over:
		*k = Mark{}
	case !k.Over:
		*k = Mark{Over: true, Since: now}
	}
}

func (k Mark) signal(now unit.Time) Signal {
	switch {
	case !k.Over:
		return Quiet
	case now.Sub(k.Since) >= wornAfter:
		return Worn
	}
	return Over
}

// Reading is the last reading of the queue's counters with the deltas it gave.
type Reading struct {
	// At is when it was read; 0 when there was none.
	At unit.Time `json:"at"`
	// The counters as read.
	Packets int64 `json:"packets"`
	Dropped int64 `json:"dropped"`
	Marked  int64 `json:"marked"`
	// The deltas since the reading before.
	NewPackets int64 `json:"new_packets"`
	NewDropped int64 `json:"new_dropped"`
	NewMarked  int64 `json:"new_marked"`
	// Depth is the number of packets queued.
	Depth int64 `json:"depth"`
}

// since returns how far a counter moved. A counter that went down was reset: all it shows is new.
func since(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

// usable reports whether a fused round trip can be believed.
func usable(r link.RTT) bool { return r.OK && positive(r.Value) }

// age returns how old an instant is, at least 0; an instant that never was is as old as time.
func age(now, at unit.Time) time.Duration {
	switch {
	case at == 0:
		return time.Duration(1<<63 - 1)
	case at > now:
		return 0
	}
	return now.Sub(at)
}

// accepted reports whether b may serve as a baseline.
func (c Config) accepted(b unit.Millis) bool { return b >= c.BaselineMin && b <= c.BaselineMax }

// sensePrimary returns the delta over the baseline and, when that is not known, Unknown or Down with the cause.
func (m *Machine) sensePrimary(in Input) (delta float64, c Congestion, why string) {
	answered := usable(in.RTT)
	if answered {
		m.mem.Answered = max(m.mem.Answered, min(in.RTT.At, in.Now))
	}
	a := in.Autorate
	switch {
	case !answered:
		own := min(age(in.Now, m.mem.Answered), in.Now.Sub(m.started))
		heard := a.live() && age(in.Now, a.Feed.AnsweredAt) < downAfter
		if own >= downAfter && !heard {
			return 0, Down, fmt.Sprintf("no probe was answered for %v", downAfter)
		}
		return 0, Unknown, "steering's own probes have no reply"
	case !a.Known:
		return 0, Unknown, "no baseline was read yet"
	case !a.Fresh:
		return 0, Unknown, "the baseline is stale"
	case !m.cfg.accepted(a.Feed.Baseline):
		return 0, Unknown, fmt.Sprintf("the baseline %v lies outside %v to %v",
			a.Feed.Baseline, m.cfg.BaselineMin, m.cfg.BaselineMax)
	}
	return max(0, float64(in.RTT.Value-a.Feed.Baseline)), Green, ""
}

// senseQueue takes a new reading of the queue and returns whether a reading may vote.
func (m *Machine) senseQueue(q QueueReading, now unit.Time) bool {
	r := &m.mem.Reading
	good := q.OK && q.Packets >= 0 && q.Dropped >= 0 && q.Marked >= 0 && q.QueuedPackets >= 0
	if !good {
		return false
	}
	if q.At == 0 {
		q.At = now
	}
	if !q.Fresh || q.At == r.At {
		return age(now, r.At) <= max(queueHeld, 2*m.cfg.Interval)
	}
	next := Reading{At: q.At, Packets: q.Packets, Dropped: q.Dropped, Marked: q.Marked, Depth: q.QueuedPackets}
	if r.At != 0 {
		next.NewPackets = since(q.Packets, r.Packets)
		next.NewDropped = since(q.Dropped, r.Dropped)
		next.NewMarked = since(q.Marked, r.Marked)
		if d := q.At.Sub(r.At); d > 0 {
			m.mem.Confidence.addDrops(float64(next.NewDropped) / d.Seconds())
		}
	}
	m.mem.Confidence.addPressure(m.cfg.V3.CakeTarget, q.Queue)
	*r = next
	t := m.cfg.Thresholds
	m.mem.Queue.add(t.QueueAlpha, float64(next.Depth))
	lost := m.lostNew()
	m.mem.DropsOver.update(lost > 0 && lost*1000 >= t.MinDropsRed*float64(next.NewPackets), now)
	m.mem.QueueRed.update(m.mem.Queue.Value >= t.MinQueueRed, now)
	m.mem.QueueYellow.update(m.mem.Queue.Value >= t.MinQueueYellow, now)
	m.mem.HasDelay, m.mem.QueueDelay = q.Cake.Tins.N > 0, q.Cake.Delay()
	m.mem.DelayOver.update(m.mem.HasDelay && m.cfg.Confirm.QueueDelay > 0 && m.mem.QueueDelay >= m.cfg.Confirm.QueueDelay, now)
	return true
}

// lostNew are the packets that count as dropped since the reading before.
func (m *Machine) lostNew() float64 {
	r := &m.mem.Reading
	if !m.cfg.Confirm.Marks {
		return float64(r.NewDropped)
	}
	return float64(r.NewDropped) + float64(r.NewMarked)
}

// leastProbes is of how many probes at least a share of lost ones means something.
const leastProbes = 20

// senseLoss takes what became of steering's own probes and says whether it is known.
func (m *Machine) senseLoss(l Loss, now unit.Time) bool {
	if !l.Known || l.Probes < leastProbes || l.Lost < 0 || l.Lost > l.Probes {
		return false
	}
	m.mem.LossPPM = unit.ShareOf(int64(l.Lost), int64(l.Probes))
	m.mem.LossOver.update(m.cfg.Confirm.Loss > 0 && m.mem.LossPPM >= m.cfg.Confirm.Loss, now)
	return true
}

// signals fills in what the confirmations say. One that the configuration leaves out is missing: it counts neither way.
func (m *Machine) signals(queue bool, in Input) Reason {
	f := m.cfg.Confirm
	r := Reason{Drops: Missing, Queue: Missing, Controller: m.mem.Controller.update(in.Autorate, in.Now), QueueDelay: Missing, Loss: Missing}
	if !f.Controller {
		r.Controller = Missing
	}
	if queue && f.Drops {
		r.Drops = m.mem.DropsOver.signal(in.Now)
	}
	if queue && f.Queue {
		r.Queue = m.mem.QueueRed.signal(in.Now)
	}
	if queue && f.QueueDelay > 0 && m.mem.HasDelay {
		r.QueueDelay = m.mem.DelayOver.signal(in.Now)
	}
	if m.senseLoss(in.Loss, in.Now) && f.Loss > 0 {
		r.Loss = m.mem.LossOver.signal(in.Now)
	}
	return r
}

// ControllerRun is how long the rate controller has been without success.
type ControllerRun struct {
	// Seen says that Cuts holds a figure of an earlier cycle.
	Seen bool   `json:"seen"`
	Cuts uint64 `json:"cuts"`
	// Cutting says that a cut was made and that delta has not fallen from its peak since.
	Cutting bool    `json:"cutting"`
	Peak    float64 `json:"peak"`
	// Since is when the run began; 0 when there is none.
	Since unit.Time `json:"since"`
}

// update takes the controller's feed and says whether it confirms a delay: for 10 s, with delta over its warn
// threshold, it has stood on its lowest floor, cut without delta falling, or answered in vain.
func (r *ControllerRun) update(a Autorate, now unit.Time) Signal {
	f := a.Feed
	if !a.live() || !f.Measured || f.Warn <= 0 {
		*r = ControllerRun{}
		return Missing
	}
	cut := r.Seen && f.DownCuts > r.Cuts
	if !(f.Delta > f.Warn) || r.Seen && f.DownCuts < r.Cuts {
		*r = ControllerRun{Seen: true, Cuts: f.DownCuts}
		return Quiet
	}
	r.Seen, r.Cuts = true, f.DownCuts
	delta := float64(f.Delta)
	if cut && !r.Cutting {
		r.Cutting, r.Peak = true, delta
	}
	if r.Cutting {
		r.Peak = max(r.Peak, delta)
		r.Cutting = delta >= fell*r.Peak
	}
	switch {
	case !r.Cutting && !f.DownAtFloor && !f.Vain:
		r.Since = 0
	case r.Since == 0:
		r.Since = now
	}
	if r.Since != 0 && now.Sub(r.Since) >= vainFor {
		return Over
	}
	return Quiet
}

// vote assesses a cycle whose delta is known.
func (m *Machine) vote(queue bool, now unit.Time, why *Reason) Congestion {
	ewma := m.mem.Delta.Value
	if !m.cfg.CakeAware {
		why.Delay = ewma > float64(m.cfg.RTTOnly.Bad)
		switch {
		case why.Delay:
			return Red
		case ewma > float64(m.cfg.RTTOnly.Recovery):
			return Yellow
		}
		return Green
	}
	t := m.cfg.Thresholds
	why.Delay = ewma > float64(t.RedRTT)
	confirmed := why.Drops == Over || why.Queue == Over || why.Controller == Over || why.QueueDelay == Over || why.Loss == Over
	if m.cfg.Vote == VoteAll {
		confirmed = why.Drops == Over && why.Queue == Over
	}
	switch {
	case why.Delay && confirmed:
		return Red
	case ewma > float64(t.YellowRTT), queue && m.cfg.Confirm.Queue && m.mem.QueueYellow.signal(now) == Over:
		return Yellow
	}
	return Green
}
