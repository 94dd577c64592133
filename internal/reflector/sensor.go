package reflector

import (
	"math"
	"slices"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Figures of a [Sensor]. The rule for a path change needs an idle line, because on a loaded one a queue looks the same.
const (
	// baseFor is how far back a baseline's minimum looks, and baseParts in how many parts.
	baseFor   = 5 * time.Minute
	baseParts = 30
	// driftFor is the same for one-way delays, whose clocks drift apart: 20 ppm are 1.2 ms a minute.
	driftFor   = time.Minute
	driftParts = 12
	// calm is how many replies on an idle line in a row let a baseline rise.
	calm = 8
	// stepFor is how long a shift must last on an idle line to be the path's, stepLeast what a shift is, in ms.
	stepFor   = 5 * time.Second
	stepLeast = 5.0
	// stepSpread is how far apart, in ms, the replies of a shifted path may always lie, and spreadTimes by how much further
	// than before, or than that while nothing is known: a path that became longer is as steady as it was, congestion further on
	// is not.
	stepSpread, spreadTimes = 3.0, 2.0
	// roundFor is over how long a reflector is compared with the others, and leastLows how many replies that takes.
	roundFor  = 4 * time.Second
	leastLows = 4
	// noiseWeight is the weight of a new reply in a reflector's noise.
	noiseWeight = 1.0 / 32
	// noiseRoom is what a single reply may always add to it, and mostNoise the most it is believed to be, in ms.
	noiseRoom, mostNoise = 5.0, 20.0
	// calmAfter is how long a line must have been idle before a probe leaves that finds the path empty, and overtaken by how
	// much a probe may be older than those already answered, beyond its reflector's distance.
	calmAfter, overtaken = time.Second, 100 * time.Millisecond
	// openProbes is how many probes are remembered as under way.
	openProbes = 64
	// lateLeast is how late an unanswered probe is that counts as such, in ms, and deaf how many unanswered ones in a row
	// make a reflector's silence its own.
	lateLeast = 5.0
	deaf      = 2
	// overdue is how much longer than usual a probe must be unanswered to be held up now, in ms, and noiseTimes how many
	// times its reflector's noise is usual.
	overdue, noiseTimes = 30.0, 3
	// clockGrain is what a one-way delay may exceed the round trip's by, in ms: reflectors tell whole milliseconds.
	clockGrain = 1.0
)

// Sensor turns the replies of several reflectors into samples: delays over each reflector's own baseline. It is not safe
// for concurrent use.
type Sensor struct {
	hosts []host
	open  [openProbes]flight
	// first is the number of the oldest probe that nothing sent later has overtaken, sent that of the next. On a
	// 32-bit host an int would be full in two years.
	first, sent int64
	newest      unit.Time // when the newest answered probe left
	round       unit.Time // when the comparison in progress began
}

type flight struct {
	probe    link.Probe
	answered bool
}

// host is one reflector.
type host struct {
	base  base    // of round trips
	way   [2]base // of one-way delays, by the clock numbered so
	clock uint32
	// noise is the mean of the squared delta on an idle line; noisy how many entered it.
	noise float64
	noisy int
	// calmer are both when the newest two stretches of idle replies began.
	calmer [2]struct {
		noise float64
		noisy int
	}
	// low is the least delta of the round in progress, of so many replies; alone is that of the last round, where it stood
	// out.
	low, alone float64
	lows       int
	// missed counts probes in a row that were overtaken unanswered.
	missed int
	// took is its newest round trip, in ms, also one that tells of the past: until then its silence says nothing new.
	took float64
	// delta is the newest, heard when.
	delta unit.Millis
	rtt   unit.Millis
	heard unit.Time
	// newest is when its newest answered probe left, early the same of an answer that came before the probe was told of.
	newest, early unit.Time
}

// NewSensor returns a sensor for that many reflectors.
func NewSensor(hosts int) *Sensor {
	s := &Sensor{hosts: make([]host, min(max(hosts, 1), MaxHosts))}
	for i := range s.hosts {
		h := &s.hosts[i]
		h.base = newBase(baseFor, baseParts)
		for d := range h.way {
			h.way[d] = newBase(driftFor, driftParts)
		}
	}
	return s
}

// Sent takes in that a probe left. Its answer may have come in before.
func (s *Sensor) Sent(p link.Probe) {
	if p.Host < 0 || p.Host >= len(s.hosts) {
		return
	}
	if s.sent-s.first == openProbes {
		s.first++ // forgotten, not overtaken: when nobody answers it is the line, and no reflector is deaf for it
	}
	s.open[s.sent%openProbes] = flight{probe: p}
	s.sent++
	if p.Sent != 0 && s.hosts[p.Host].early == p.Sent {
		s.landed(s.sent - 1)
	}
}

// overtake forgets what was sent before number n; what of it was not answered has been lost.
func (s *Sensor) overtake(n int64) {
	for ; s.first < n; s.first++ {
		if f := &s.open[s.first%openProbes]; !f.answered {
			s.hosts[f.probe.Host].missed++
		}
	}
}

// answered books a reply against its probe.
func (s *Sensor) answered(r link.Reply) {
	for n := s.first; n < s.sent; n++ {
		f := &s.open[n%openProbes]
		if f.probe.Host == r.Host && f.probe.Sent == r.Sent {
			s.landed(n)
			return
		}
	}
	s.hosts[r.Host].early = r.Sent
}

// landed books that probe number n was answered.
func (s *Sensor) landed(n int64) {
	s.open[n%openProbes].answered = true
	s.overtake(n) // what left before it waits in no queue, or it would have come first
	for s.first < s.sent && s.open[s.first%openProbes].answered {
		s.first++
	}
}

// past says whether a reply tells of the past: most reflectors have answered a probe that left well after its own, by more
// than what this one is further away than the nearest. Most, because one in front of the queue is always quicker than those behind it.
func (s *Sensor) past(r link.Reply) bool {
	if !s.hosts[r.Host].base.known {
		return false
	}
	nearest := s.hosts[r.Host].base.value
	for i := range s.hosts {
		if b := &s.hosts[i].base; b.known {
			nearest = min(nearest, b.value)
		}
	}
	room := overtaken + unit.Millis(s.hosts[r.Host].base.value-nearest).Duration()
	heard, later := 0, 0
	for i := range s.hosts {
		at := s.hosts[i].newest
		if at == 0 || s.newest.Sub(at) > MaxRTT.Duration() {
			continue
		}
		heard++
		if at.Sub(r.Sent) > room {
			later++
		}
	}
	return 2*later > heard
}

// Reply takes one reply in. idleSince is since when the line has carried next to nothing, 0 while it carries something:
// what left well after that met no queue of ours, and what it took is the path's own. A reply with an impossible round
// trip, from an unknown host, or to a probe that left well before those that most reflectors have answered, makes no
// sample.
func (s *Sensor) Reply(r link.Reply, idleSince unit.Time) (link.Sample, bool) {
	if math.IsNaN(float64(r.RTT)) || r.RTT <= 0 || r.RTT > MaxRTT || r.Host < 0 || r.Host >= len(s.hosts) || r.Received < r.Sent {
		return link.Sample{}, false
	}
	s.answered(r)
	h := &s.hosts[r.Host]
	h.missed = 0
	past := s.past(r)
	h.took = max(float64(r.RTT), h.base.value)
	h.newest, s.newest = max(h.newest, r.Sent), max(s.newest, r.Sent)
	idle := empty(r.Sent, idleSince)
	delta := float64(r.RTT) - h.base.value
	if !past {
		delta = h.settle(r, idle)
	}
	if h.lows == 0 || delta < h.low {
		h.low = delta
	}
	h.lows++
	s.lone(r.Received)
	if past {
		return link.Sample{}, false // it counts in its reflector's round all the same: its path may have become that long
	}
	if idle {
		// One that stands out is no noise: something happened.
		d := min(delta, max(noiseRoom, noiseTimes*math.Sqrt(h.noise)))
		h.noise = min(filter.Blend(h.noise, d*d, max(noiseWeight, 1/float64(h.noisy+1))), mostNoise*mostNoise)
		h.noisy = min(h.noisy+1, 1<<20)
	}
	h.delta, h.rtt, h.heard = unit.Millis(delta), r.RTT, r.Received
	out := link.Sample{Host: r.Host, Sent: r.Sent, Received: r.Received, Delta: unit.Millis(delta)}
	if h.noisy >= calm {
		out.Noise = unit.Millis(math.Sqrt(h.noise))
	}
	if r.OneWay {
		if r.Clock != h.clock { // delays by another clock say nothing about those by this one
			h.clock = r.Clock
			for d := range h.way {
				h.way[d] = newBase(driftFor, driftParts)
			}
		}
		out.OneWay = true
		for _, d := range []link.Direction{link.Down, link.Up} {
			// A clock that steps or drifts cannot make one way longer than the whole.
			way := h.way[d].add(r.Received, float64(r.Delay.Get(d)), idle)
			out.Way.Set(d, unit.Millis(min(way, delta+clockGrain)))
		}
	}
	return out, true
}

// empty says that what leaves at an instant finds the path empty, on a line that has been idle since some time, 0 for not.
func empty(at, idleSince unit.Time) bool { return idleSince != 0 && at.Sub(idleSince) >= calmAfter }

// settle takes a round trip into the baseline and returns its excess. A step that turns out to be the path's was no noise.
func (h *host) settle(r link.Reply, idle bool) float64 {
	steps := h.base.steps
	delta := h.base.add(r.Received, float64(r.RTT), idle)
	if h.base.calm == 1 {
		h.calmer[1], h.calmer[0].noise, h.calmer[0].noisy = h.calmer[0], h.noise, h.noisy
	}
	if h.base.steps != steps {
		h.noise, h.noisy = h.calmer[1].noise, h.calmer[1].noisy
	}
	return delta
}

// lone moves the baselines of reflectors that were slow for a whole round of time in which the others were not: their own
// paths changed. A queue in front of the line is met by all.
func (s *Sensor) lone(now unit.Time) {
	if s.round == 0 {
		s.round = now
	}
	if now.Sub(s.round) < roundFor {
		return
	}
	s.round = now
	var lows [MaxHosts]float64
	n := 0
	for i := range s.hosts {
		if h := &s.hosts[i]; h.lows >= leastLows {
			lows[n] = h.low
			n++
		}
	}
	apart := n >= 3 && filter.Median(lows[:n]) <= stepLeast/2
	for i := range s.hosts {
		h := &s.hosts[i]
		switch {
		case !apart || h.lows < leastLows || h.low < stepLeast:
			h.alone = 0
		case h.alone == 0:
			h.alone = h.low
		default: // for the second time in a row
			h.base.shift(min(h.alone, h.low))
			h.alone = 0
		}
		h.lows = 0
	}
}

// Silence says what the probes tell that nothing has answered yet.
func (s *Sensor) Silence(now unit.Time) link.Silence {
	var q link.Silence
	for n := s.first; n < s.sent; n++ {
		f := &s.open[n%openProbes]
		h := &s.hosts[f.probe.Host]
		if f.answered || !h.base.known || h.missed >= deaf {
			continue
		}
		waited := float64(now.Sub(f.probe.Sent)) / 1e6
		over := waited - h.base.value
		if over < lateLeast || waited <= h.took {
			continue // one that left later may be late, if its reflector is nearer, or has answered sooner lately
		}
		if q.Hosts == 0 {
			q.Sent, q.Over = f.probe.Sent, unit.Millis(over)
		}
		q.Hosts++
	}
	return q
}

// Overdue says how many probes are unanswered for so much longer than their reflectors' newest answers took, beyond their
// noise, that something holds them up now. After a path change everything is late for a while; that alone is not it.
func (s *Sensor) Overdue(now unit.Time) (n int) {
	for i := s.first; i < s.sent; i++ {
		f := &s.open[i%openProbes]
		h := &s.hosts[f.probe.Host]
		if f.answered || !h.base.known || h.missed >= deaf {
			continue
		}
		usual := float64(h.rtt) + noiseTimes*math.Sqrt(h.noise)
		if float64(now.Sub(f.probe.Sent))/1e6-usual > overdue {
			n++
		}
	}
	return n
}

// Level is what the believed reflectors say together.
type Level struct {
	// OK is false while no reflector has answered lately; all else is then zero.
	OK bool
	// RTT, Baseline and Delta are medians over the reflectors' newest replies, in ms.
	RTT, Baseline, Delta unit.Millis
	// At is when the newest of them arrived, and Hosts how many there are.
	At    unit.Time
	Hosts int
}

// Level returns the line's delay at now, from each reflector's newest reply that is no older than age. With three
// reflectors or more, one liar cannot move it beyond what the others say; with five, two cannot.
func (s *Sensor) Level(now unit.Time, age time.Duration) Level {
	var l levels
	s.gather(&l, now, age)
	return l.level()
}

// gather adds what each reflector's newest reply says that is no older than age.
func (s *Sensor) gather(l *levels, now unit.Time, age time.Duration) {
	for i := range s.hosts {
		h := &s.hosts[i]
		if h.heard == 0 || now.Sub(h.heard) > age {
			continue
		}
		l.rtts[l.n], l.bases[l.n], l.deltas[l.n] = float64(h.rtt), h.base.value, float64(h.delta)
		l.n++
		l.at = max(l.at, h.heard)
	}
}

// base is a delay that nothing queueing takes: the least of a window of idle time, and whatever was less since.
type base struct {
	window *filter.Minimum
	known  bool
	value  float64
	// The stretch of idle replies in progress: how many, since when, and their least and greatest.
	calm        int
	since       unit.Time
	least, most float64
	steps       int // how often a shift turned out to be the path's
	// spread is how far the replies of the newest such stretch at the baseline lay apart.
	spread      float64
	spreadKnown bool
}

func newBase(window time.Duration, parts int) base {
	return base{window: filter.NewMinimum(window, parts)}
}

// add takes a delay in and returns its excess over the baseline.
func (b *base) add(at unit.Time, x float64, idle bool) float64 {
	if !b.known {
		b.known, b.value = true, x
	}
	if idle || x <= b.value {
		b.window.Add(at, x)
	}
	if x < b.value {
		b.value = x
	}
	if !idle {
		b.calm = 0
		return x - b.value
	}
	if b.calm == 0 {
		b.since, b.least, b.most = at, x, x
	}
	b.calm++
	b.least, b.most = min(b.least, x), max(b.most, x)
	if b.calm < calm {
		return x - b.value
	}
	if least, ok := b.window.Min(at); ok {
		b.value = max(b.value, least)
	}
	if at.Sub(b.since) >= stepFor {
		shift, spread := b.least-b.value, b.most-b.least
		room := max(stepSpread, spreadTimes*b.spread)
		if !b.spreadKnown {
			room = spreadTimes * stepSpread
		}
		switch {
		case shift <= stepLeast:
			if b.spreadKnown { // a stretch with the shift in it lies far apart
				spread = min(spread, 1.5*b.spread+1)
			}
			b.spread, b.spreadKnown = spread, true
		case spread < room:
			b.window.Reset()
			b.window.Add(at, b.least)
			b.value = b.least
			b.steps++
		}
		b.calm = 0
	}
	return max(x-b.value, 0)
}

// shift moves the baseline up by ms.
func (b *base) shift(ms float64) {
	b.value += ms
	b.window.Reset()
	b.calm = 0
}

// Baselines returns the round trip of each reflector when nothing queues, in ms; 0 is not known.
func (s *Sensor) Baselines() []unit.Millis {
	out := make([]unit.Millis, len(s.hosts))
	for i := range s.hosts {
		out[i] = unit.Millis(s.hosts[i].base.value)
	}
	return slices.Clip(out)
}
