// Package calibrate finds out what a line carries and how it answers load, from the history of its controller and from a test,
// and which limits and thresholds follow from that. It decides only what its figures bear, and says how much evidence there is.
package calibrate

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Setting is what a configuration says of a line.
type Setting struct {
	// Tracking is the policy that measures capacity; every limit is then optional, and 0 is none.
	Tracking bool
	Ways     link.Pair[Way]
	// Critical is where RED begins in a download of four states, 0 where it has three.
	Critical unit.Millis
	// Baseline is baseline_rtt_initial, 0 for none; BaselineMin and BaselineMax bound what is learnt.
	Baseline, BaselineMin, BaselineMax unit.Millis
	// CriticalKeys, BaselineMinKeys and BaselineMaxKeys are the paths under continuous_monitoring that give these values: another
	// name of a key takes the advice in its place, for both names with two values are refused. None is the usual one.
	CriticalKeys, BaselineMinKeys, BaselineMaxKeys []string
}

// Way is one direction of a [Setting].
type Way struct {
	// Floors are the least rates by state, and FloorKeys the keys that name them: empty for a state that has none of its own.
	Floors    [link.States]unit.Rate
	FloorKeys [link.States]string
	// Ceiling is the greatest rate, under CeilingKey, and Base what a stop leaves, where base_mbps is given.
	Ceiling    unit.Rate
	CeilingKey string
	Base       unit.Rate
	// Target and Warn are the greatest delays over the baseline in GREEN and YELLOW; an upload's are 0 where it has none of
	// its own.
	Target, Warn unit.Millis
}

// Moment is what one call of a controller's loop took in and answered.
type Moment struct {
	Now unit.Time
	// Hour is the hour of the local day, 0 to 23, and anything else where it is not known.
	Hour int
	// Cycle is a cycle's decision; nil for a call that was none.
	Cycle *link.Decision
	// InForce are the limits on the router, 0 for none, Capacity what a policy that tracks it measured last.
	InForce, Capacity link.Rates
	Counters          []link.Counters
	Replies           []link.Reply
	Probes            []link.Probe
}

// What makes a stretch of time a loaded, a full or an idle one.
const (
	// leastStretch is the least time between two readings that a rate is told from: below it the readings' own times matter.
	leastStretch = 900 * time.Millisecond
	// longestStretch is the longest: in more, the load and the delay are no longer of one moment.
	longestStretch = 10 * time.Second
	// loadedShare of the rate in force is load that can fill the line.
	loadedShare unit.PPM = 500_000
	// fullShare of it is a shaper that is the bottleneck.
	fullShare unit.PPM = 850_000
	// heldShare of it is all that the limit lets through: headers, and a sender that answers a shaper's queue, take the rest.
	heldShare unit.PPM = 930_000
	// idleShare of the ceiling, and idleRate, are what an idle line carries at most (the controller's own bound of idle).
	idleShare unit.PPM = 100_000
	idleRate           = unit.Mbps
	// settled is how long a line must have been idle until its averages tell of an idle line: at alpha_load 0.20 for 2 s, what
	// a load has left of them is then a thousandth.
	settled = time.Minute
	// standing is the least queue that is told from noise, whatever the target.
	standing unit.Millis = 5
	// mostPending bounds what is kept of one stretch.
	mostPending = 1024
)

// History gathers the moments of any number of recordings of one line. Its zero value is empty.
type History struct {
	set   Setting
	hosts []int // of the recording's reflectors, in reflectors

	reflectors []reflector
	hours      [24]hour
	ways       link.Pair[*way]

	cycles, silent int
	span           time.Duration
	idle, loaded   time.Duration
	idleDelta      sketch // averages, of an idle line
	loadedQueue    sketch // single measurements over the baseline, of a loaded one
	baseline       sketch

	first, last unit.Time
	from        link.Counters
	counting    bool
	open        stretch       // since the last reading of counters that was used
	quiet       time.Duration // idle without a break until now
}

// stretch is what happened between two readings of counters that are used.
type stretch struct {
	cycles      []link.Decision
	hours       []int
	replies     []link.Reply
	least, most unit.Millis // the queue, by the cycles
	inForce     link.Rates  // the least
	capacity    link.Rates
}

type reflector struct {
	name        string
	sent, heard int
	rtt         sketch
}

type hour struct {
	cycles int
	idle   sketch
	queue  sketch
	line   [2]sketch // by direction
}

type way struct {
	line                  sketch // what it carried while a queue stood, or what was measured
	lineFor               time.Duration
	carried               sketch // while loaded
	rates                 sketch // in force while loaded
	loaded, clipped, over time.Duration
	floored               time.Duration
	flooredRows           int
	atFloor               bool
	// before says that the stretch before was loaded, and pending waits for the one after.
	before      bool
	pending     full
	uncured     time.Duration
	least, most unit.Rate
	bytes       unit.Bytes
	clippedN    int
}

// full is a stretch in which a line was full.
type full struct {
	rate unit.Rate
	took time.Duration
	hour int
}

var both = [...]link.Direction{link.Down, link.Up}

// Begin starts a recording, or a part of one that does not go on from the part before: with the configuration that was in
// force, and the reflectors that replies name by index.
func (h *History) Begin(s Setting, reflectors []string) {
	if h.ways.Down == nil {
		h.ways = link.Pair[*way]{Down: &way{}, Up: &way{}}
	}
	h.set, h.counting, h.quiet, h.open = s, false, 0, stretch{}
	for _, d := range both {
		w := h.ways.Get(d)
		w.before, w.pending, w.atFloor = false, full{}, false
	}
	h.span += h.last.Sub(h.first)
	h.first, h.last = 0, 0
	h.hosts = h.hosts[:0]
	for _, name := range reflectors {
		at := -1
		for i := range h.reflectors {
			if h.reflectors[i].name == name {
				at = i
			}
		}
		if at < 0 {
			at = len(h.reflectors)
			h.reflectors = append(h.reflectors, reflector{name: name})
		}
		h.hosts = append(h.hosts, at)
	}
}

// Add takes a moment in. Moments of a recording come in the order of their times; one that does not is passed over.
func (h *History) Add(m Moment) {
	if h.ways.Down == nil || m.Now < h.last {
		return
	}
	if h.first == 0 {
		h.first = m.Now
	}
	h.last = m.Now
	for _, p := range m.Probes {
		if r := h.host(p.Host); r != nil {
			r.sent++
		}
	}
	for _, r := range m.Replies {
		if to := h.host(r.Host); to != nil {
			to.heard++
		}
		if s := &h.open; len(s.replies) < mostPending {
			s.replies = append(s.replies, r)
		}
	}
	for _, d := range both {
		w := m.InForce.Get(d)
		if was := h.open.inForce.Get(d); w > 0 && (was == 0 || w < was) {
			h.open.inForce.Set(d, w)
		}
		if c := m.Capacity.Get(d); c > 0 {
			h.open.capacity.Set(d, c)
		}
	}
	if c := m.Cycle; c != nil {
		h.decided(c, m.Hour)
	}
	for _, k := range m.Counters {
		h.count(k)
	}
}

func (h *History) host(i int) *reflector {
	if i < 0 || i >= len(h.hosts) {
		return nil
	}
	return &h.reflectors[h.hosts[i]]
}

// decided takes a cycle in.
func (h *History) decided(c *link.Decision, hourOf int) {
	h.cycles++
	if !c.Measured || !(c.RTT > 0) || !(c.Baseline > 0) {
		h.silent++
		return
	}
	s := &h.open
	queue := c.RTT - c.Baseline
	if len(s.cycles) == 0 {
		s.least, s.most = queue, queue
	}
	s.least, s.most = min(s.least, queue), max(s.most, queue)
	if len(s.cycles) < mostPending {
		s.cycles, s.hours = append(s.cycles, *c), append(s.hours, hourOf)
	}
}

// count takes a reading of the counters in, and closes the stretch it ends.
func (h *History) count(k link.Counters) {
	took := k.At.Sub(h.from.At)
	switch {
	case !h.counting, k.Rx < h.from.Rx, k.Tx < h.from.Tx, took > longestStretch:
		if h.counting && took > longestStretch {
			h.quiet = 0
			h.ways.Down.pending, h.ways.Up.pending = full{}, full{}
		}
	case took < leastStretch, len(h.open.cycles) == 0:
		return
	default:
		var carried link.Rates
		for _, d := range both {
			n := k.Of(d) - h.from.Of(d)
			h.ways.Get(d).bytes += n
			carried.Set(d, n.Per(took))
		}
		h.stretch(&h.open, took, carried)
	}
	h.from, h.counting = k, true
	h.open = stretch{cycles: h.open.cycles[:0], hours: h.open.hours[:0], replies: h.open.replies[:0]}
}

// stretch judges a stretch of time in which the line carried so much.
func (h *History) stretch(s *stretch, took time.Duration, carried link.Rates) {
	idle, loaded := true, false
	share := link.Pair[unit.PPM]{}
	for _, d := range both {
		set := h.set.Ways.Get(d)
		idle = idle && carried.Get(d) < max(set.Ceiling.Scale(idleShare), idleRate)
		limit := s.inForce.Get(d)
		if limit == 0 {
			limit = set.Ceiling
		}
		share.Set(d, unit.ShareOf(int64(carried.Get(d)), int64(limit)))
		loaded = loaded || share.Get(d) >= loadedShare
	}
	if h.quiet += took; !idle {
		h.quiet = 0
	}
	quiet := h.quiet >= settled
	if quiet {
		h.idle += took
	}
	if loaded {
		h.loaded += took
	}
	at := -1
	for i := range s.cycles {
		c := &s.cycles[i]
		if n := s.hours[i]; n >= 0 && n < len(h.hours) {
			at = n
			h.hours[n].cycles++
		}
		switch {
		case quiet:
			h.idleDelta.add(float64(max(c.Delta, 0)))
			h.baseline.add(float64(c.Baseline))
			if at >= 0 {
				h.hours[at].idle.add(float64(c.RTT))
			}
		case loaded:
			h.loadedQueue.add(float64(max(c.RTT-c.Baseline, 0)))
			if at >= 0 {
				h.hours[at].queue.add(float64(max(c.RTT-c.Baseline, 0)))
			}
		}
	}
	if quiet {
		for _, r := range s.replies {
			if to := h.host(r.Host); to != nil {
				to.rtt.add(float64(r.RTT))
			}
		}
	}
	for _, d := range both {
		other := link.Up
		if d == link.Up {
			other = link.Down
		}
		h.direction(d, s, took, carried.Get(d), share.Get(d), share.Get(other), at)
	}
}

// direction judges a stretch for one direction.
func (h *History) direction(d link.Direction, s *stretch, took time.Duration, carried unit.Rate, share, others unit.PPM, at int) {
	w, set, rate := h.ways.Get(d), h.set.Ways.Get(d), s.inForce.Get(d)
	if rate > 0 {
		if w.least == 0 || rate < w.least {
			w.least = rate
		}
		w.most = max(w.most, rate)
	}
	floor := set.Floors[link.Red]
	stands := max(set.Target, h.set.Ways.Down.Target, standing)
	// Which direction has a queue is not told by a round trip: it counts for the one that is nearer to its limit, and for none
	// where both are full. The other one may carry much all the same, acknowledgements.
	queue, free := s.least > stands && others < min(share, fullShare), s.most <= stands
	loaded := share >= loadedShare
	held := floor > 0 && rate <= floor.Scale(1_020_000) // at the floor
	if loaded {
		w.loaded += took
		w.carried.add(float64(carried))
		w.rates.add(float64(rate))
		switch atCeiling := set.Ceiling > 0 && rate >= set.Ceiling.Scale(980_000); {
		case atCeiling && share >= heldShare && free:
			w.clipped += took
			w.clippedN++
		case atCeiling && queue:
			w.over += took
		case held && queue:
			w.floored += took
			if !w.atFloor {
				w.flooredRows++
			}
		}
		if held && share >= heldShare && s.least > standing {
			// All that the floor allows was carried, and the delay should be gone: one that stays is not this line's queue.
			w.uncured += took
		}
	}
	w.atFloor = loaded && held && queue
	// A load begins and ends within a stretch: what counts lies between two others.
	if p := w.pending; p.rate > 0 && loaded {
		w.line.add(float64(p.rate))
		w.lineFor += p.took
		if p.hour >= 0 {
			h.hours[p.hour].line[d].add(float64(p.rate))
		}
	}
	w.pending = full{}
	if loaded && w.before && (!held || share < heldShare) {
		w.pending = full{rate: fullRate(s.capacity.Get(d), carried, queue), took: took, hour: at}
	}
	w.before = loaded
}

// fullRate is what a line carries that is full, by what was measured last, which may be long past, or else by a queue that stands;
// 0 where it is not full.
func fullRate(measured, carried unit.Rate, queue bool) unit.Rate {
	switch {
	case measured > 0 && carried >= measured.Scale(loadedShare) && carried <= measured.Scale(unit.One+same):
		return measured
	case measured == 0 && queue:
		return carried
	}
	return 0
}
