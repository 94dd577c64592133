package reflector

import (
	"slices"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Figures of the comparison of other probes with TCP handshakes.
const (
	// apart is by how much TCP must be the slower under load, in ms, to say that the others do not see the queue: in mostOf of
	// the newest comparisons.
	apart       = 15.0
	comparisons = 4
	mostOf      = 3
	// loadedFor is how long a direction must have been loaded before a comparison begins.
	loadedFor = 2 * time.Second
	// handshakes make a comparison, which lasts at most patienceTCP; then leastPairs will do.
	handshakes  = 6
	leastPairs  = 4
	patienceTCP = 4 * time.Second
	// restFor is the time between two comparisons, and doubtFor when the newest found them apart, or could not be made.
	restFor  = 3 * time.Minute
	doubtFor = 5 * time.Second
	// pairLoaded and pairIdle are how old the reply may be that a handshake is compared with: on an idle line they are rare.
	pairLoaded = time.Second
	pairIdle   = 6 * time.Second
	// offsets is of how many handshakes on an idle line the median tells by how much TCP is slower there anyway.
	offsets      = 5
	leastOffsets = 3
	// triesTCP handshakes without an answer for silentTCP show that a reflector that answers otherwise does no TCP, which holds
	// for askAgain.
	triesTCP  = 3
	silentTCP = 2 * time.Second
	askAgain  = time.Hour
	// agreeing comparisons in a row, each of them while there was a queue to be seen, and none apart for agreeFor, end the
	// disbelief.
	agreeing = 4
	agreeFor = 5 * time.Minute
	// lostFor is how long TCP may be silent where it is gone by.
	lostFor = 10 * time.Second
)

// The times between two handshakes: while offsets are learnt, to keep them on an idle line, in a comparison, and where TCP is
// gone by, on a line that carries something and on one that does not.
const (
	learnTCP   = 400 * time.Millisecond
	keepTCP    = time.Minute
	compareTCP = 200 * time.Millisecond
	followTCP  = 250 * time.Millisecond
	dozeTCP    = 2 * time.Second
)

// kind is a sort of probes that is compared with TCP.
type kind uint8

const (
	ofICMP kind = iota
	ofIRTT
	kinds
)

// belief is what the comparisons say about a sort of probes.
type belief struct {
	apart  [comparisons]bool // in the newest comparisons
	made   int
	blind  bool
	since  unit.Time // when it became so, or was last found apart
	agreed int       // comparisons in a row that agreed while there was a queue to be seen
	excess float64   // of TCP in the newest comparison that found them apart, in ms
}

// judge takes in a comparison, the delays of both beyond what they are on an idle line, and says whether the belief changed.
func (b *belief) judge(now unit.Time, tcp, other float64) (changed bool) {
	off := tcp-other > apart
	b.apart[b.made%comparisons] = off
	if off {
		b.excess = tcp - other
	}
	if b.made++; b.made == 2*comparisons { // no count grows for ever
		b.made = comparisons
	}
	switch {
	case b.blind && off:
		b.since, b.agreed = now, 0
	case b.blind && tcp >= apart && other >= tcp/2: // a short queue is seen by both even so
		b.agreed++
		if b.agreed >= agreeing && now.Sub(b.since) >= agreeFor {
			*b = belief{made: 1}
			return true
		}
	case !b.blind:
		n := 0
		for _, a := range b.apart {
			if a {
				n++
			}
		}
		if n >= mostOf {
			b.blind, b.since, b.agreed = true, now, 0
			return true
		}
	}
	return false
}

// off says that the newest comparison found them apart.
func (b *belief) off() bool { return b.apart[(b.made+comparisons-1)%comparisons] }

// pair is a handshake beside what the other probes said then.
type pair struct {
	tcp   float64
	other [kinds]float64
	known [kinds]bool
}

// shake is what is known of a reflector's TCP.
type shake struct {
	offset [offsets]float64 // by how much it is slower than ICMP on an idle line, in ms
	known  int
	tries  int       // handshakes since the newest that was answered
	asked  unit.Time // when the first of them began
}

// offsetOver returns by how much TCP is slower than ICMP, which takes base, on an idle line. Where it is much the faster
// something nearer answers, a proxy, and it says nothing about the line.
func (s *shake) offsetOver(base float64) (ms float64, ok bool) {
	if s.known < leastOffsets {
		return 0, false
	}
	ms = filter.Median(s.offset[:min(s.known, offsets)])
	return ms, ms > -base/2
}

// silent says that the reflector does no TCP.
func (s *shake) silent(now unit.Time) bool {
	d := now.Sub(s.asked)
	return s.tries >= triesTCP && d >= silentTCP && d < askAgain
}

// check compares TCP handshakes with the other probes of a line, and says when there shall be some.
type check struct {
	beliefs [kinds]belief
	shakes  [MaxHosts]shake
	loaded  unit.Time // since when; 0 is not
	idle    bool

	comparing bool
	began     unit.Time // the comparison under way
	next      unit.Time // when another may begin
	pairs     [handshakes]pair
	paired    int
	heard     unit.Time // the newest handshake that was answered
	use       []int     // whom to connect to
	every     time.Duration
	mute      bool // nobody answers TCP
}

// begun takes in that a handshake with a reflector began.
func (c *check) begun(h int, at unit.Time, icmp *host) {
	s := &c.shakes[h]
	if icmp.heard == 0 || at.Sub(icmp.heard) > pairIdle {
		return // it may be the line
	}
	if s.tries >= triesTCP && at.Sub(s.asked) >= askAgain {
		s.tries = 0
	}
	if s.tries == 0 {
		s.asked = at
	}
	s.tries++
}

// answered takes in the reply to a handshake with a reflector. idle says that it met an idle line.
func (c *check) answered(r link.Reply, h int, icmp, irtt *host, idle bool) {
	s := &c.shakes[h]
	s.tries, c.heard = 0, max(c.heard, r.Received)
	age := pairLoaded
	if idle {
		age = pairIdle
	}
	if icmp.heard == 0 || r.Received.Sub(icmp.heard) > age {
		return
	}
	if idle {
		s.offset[s.known%offsets] = float64(r.RTT - icmp.rtt)
		if s.known++; s.known == 2*offsets { // no count grows for ever
			s.known = offsets
		}
	}
	offset, ok := s.offsetOver(icmp.base.value)
	if !ok || !c.comparing || c.paired == handshakes || r.Sent < c.began {
		return
	}
	p := &c.pairs[c.paired]
	c.paired++
	*p = pair{tcp: max(float64(r.RTT)-icmp.base.value-offset, 0)}
	p.other[ofICMP], p.known[ofICMP] = max(float64(icmp.rtt)-icmp.base.value, 0), true
	if irtt != nil && irtt.heard != 0 && r.Received.Sub(irtt.heard) <= age {
		p.other[ofIRTT], p.known[ofIRTT] = max(float64(irtt.delta), 0), true
	}
}

// step advances the comparison to now and says which beliefs have changed. loaded says that a direction carries much, idle
// that the line carries next to nothing.
func (c *check) step(now unit.Time, loaded, idle bool) (changed [kinds]bool) {
	switch c.idle = idle; {
	case !loaded:
		c.loaded, c.comparing = 0, false
	case c.loaded == 0:
		c.loaded = now
	}
	switch over := now.Sub(c.began) >= patienceTCP; {
	case c.comparing && (c.paired == handshakes || over && c.paired >= leastPairs):
		c.comparing = false
		changed = c.conclude(now)
	case c.comparing && over:
		c.comparing, c.next = false, now.Add(doubtFor)
	}
	if !c.comparing && c.loaded != 0 && now.Sub(c.loaded) >= loadedFor && now >= c.next {
		c.comparing, c.began, c.paired = true, now, 0
	}
	return changed
}

// conclude judges a comparison.
func (c *check) conclude(now unit.Time) (changed [kinds]bool) {
	c.next = now.Add(restFor)
	for k := range kinds {
		var tcp, other [handshakes]float64
		n := 0
		for _, p := range c.pairs[:c.paired] {
			if p.known[k] {
				tcp[n], other[n] = p.tcp, p.other[k]
				n++
			}
		}
		if n < leastPairs {
			continue
		}
		b := &c.beliefs[k]
		changed[k] = b.judge(now, filter.Median(tcp[:n]), filter.Median(other[:n]))
		if b.off() {
			c.next = min(c.next, now.Add(doubtFor))
		}
	}
	if c.beliefs[ofICMP].blind {
		c.next = now // there are handshakes all the time
	}
	return changed
}

// plan says with which of the reflectors in use there shall be handshakes now, and how often. icmp are all there are.
func (c *check) plan(now unit.Time, inUse []int, icmp []host) {
	c.use, c.every = c.use[:0], 0
	learning, known := 0, 0
	for _, h := range inUse {
		if h >= len(icmp) || c.shakes[h].silent(now) {
			continue
		}
		if s := &c.shakes[h]; s.known < leastOffsets {
			learning++
		} else if _, ok := s.offsetOver(icmp[h].base.value); ok {
			known++
		}
		c.use = append(c.use, h)
	}
	c.mute = len(inUse) > 0 && len(c.use) == 0
	only := func(keep func(s *shake, h int) bool) {
		c.use = slices.DeleteFunc(c.use, func(h int) bool { return !keep(&c.shakes[h], h) })
	}
	switch {
	case c.mute:
	case c.beliefs[ofICMP].blind:
		if c.every = followTCP; c.idle {
			c.every = dozeTCP
		}
	case c.idle && learning > 0:
		c.every = learnTCP
		only(func(s *shake, _ int) bool { return s.known < leastOffsets })
	case c.comparing && known > 0:
		c.every = compareTCP
		only(func(s *shake, h int) bool { _, ok := s.offsetOver(icmp[h].base.value); return ok })
	case c.idle:
		c.every = keepTCP
	}
	if c.every == 0 {
		c.use = c.use[:0]
	}
}
