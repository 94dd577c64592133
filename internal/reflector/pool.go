package reflector

import (
	"fmt"
	"math"
	"slices"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The rules of a pool. Offences, comparison and exploration are those of cake-autorate, which proved them in the field.
const (
	// LeastUse is the fewest reflectors in use: with three, one liar is outvoted.
	LeastUse = 3
	// leastOperators is how many operators those in use belong to, where the candidates allow it.
	leastOperators = 3
	// patience is how long an answer may take, or timesUsual its usual round trip, whichever is longer.
	patience   = time.Second
	timesUsual = 3
	// A reflector goes after offences probes without an answer among its newest remembered ones.
	offences   = 3
	remembered = 60
	// lineFactor tells a bad reflector from a bad line: what the best of the others lost too counts that often against it.
	lineFactor = 3
	// compareEvery is how often the reflectors are compared; one goes that is further than the nearest by more than
	// farther, or whose delay has risen by more than slower above the median of the others.
	compareEvery                = time.Minute
	farther         unit.Millis = 20
	slower          unit.Millis = 10
	leastReplies                = 10    // before a reflector is compared
	deltaAlpha                  = 0.095 // of the average of a reflector's delta, per reply (cake-autorate)
	usualAlpha                  = 0.01  // of the average of its round trip, per reply: 25 s at four a second
	baselineWindow              = 5 * time.Minute
	baselineBuckets             = 10
	// exploreEvery is how often one is replaced for no fault, so that a better one can be found.
	exploreEvery = time.Hour
	// rest is how long one that was replaced is not tried again while there is another.
	rest = 10 * time.Minute
	// leastGap is the least time between two replacements: those that stay must be able to tell what the line does.
	leastGap = time.Second
	// aliveFor is after what time without any reply the line may be down, and nobody is compared or explored.
	aliveFor = 5 * time.Second
)

// PoolConfig describes a pool.
type PoolConfig struct {
	// Candidates are all hosts that may be used, best first; replies name them by index. At most [MaxHosts].
	Candidates []Candidate
	// Use is how many are in use at a time: at least [LeastUse], at most all.
	Use int
}

// PoolEvents are what happened since the last step, of any host and in any order.
type PoolEvents struct {
	// Sent are the probes that left, Replies those that were answered.
	Sent    []link.Probe
	Replies []link.Reply
	// Random is a fresh random number. It is looked at when one is replaced for exploration only.
	Random uint64
}

// Why says why a reflector was replaced.
type Why uint8

// The reasons.
const (
	// WhySilent: it left too many probes unanswered while another answered.
	WhySilent Why = iota
	// WhyFar: its baseline is too far above that of the nearest.
	WhyFar
	// WhySlow: its delay has risen too far above that of the others.
	WhySlow
	// WhyExplore: no fault; another one gets its turn.
	WhyExplore
)

// String returns the reason's name in logs and metrics.
func (w Why) String() string {
	switch w {
	case WhySilent:
		return "silent"
	case WhyFar:
		return "far"
	case WhySlow:
		return "slow"
	case WhyExplore:
		return "explore"
	}
	return fmt.Sprintf("Why(%d)", uint8(w))
}

// Change is one replacement, by the candidates' indices.
type Change struct {
	Out, In int
	Why     Why
	// Lost is how many of its newest probes the one that goes left unanswered (WhySilent).
	Lost int
	// Excess is by how much it was further or slower (WhyFar, WhySlow).
	Excess unit.Millis
}

// fate is what became of a probe.
type fate uint8

const (
	open fate = iota
	answered
	lost
)

type sent struct {
	at   unit.Time
	fate fate
}

// member is what is known of a candidate since it was taken into use.
type member struct {
	replaced   unit.Time // when it was last put away
	rested     bool      // it was never put away
	probes     [remembered]sent
	used, next int
	early      unit.Time // when the newest probe left whose answer came before it was told of; 0 is none
	replies    int
	baseline   *filter.Minimum
	usual      filter.EWMA
	delta      filter.EWMA
}

// Pool decides which of many candidates are probed. It is not safe for concurrent use.
type Pool struct {
	candidates []Candidate
	members    []member
	inUse      []int
	operators  int // that those in use must belong to
	cursor     int // where the next candidate is looked for
	started    bool
	now        unit.Time
	heard      unit.Time // the newest reply
	changed    unit.Time // the newest replacement
	compareAt  unit.Time
	exploreAt  unit.Time
	scratch    []float64
}

// NewPool returns a pool that uses the first candidates of as many operators as there are. Figures outside their bounds
// are brought to the nearer bound.
func NewPool(c PoolConfig) *Pool {
	all := slices.Clone(c.Candidates[:min(len(c.Candidates), MaxHosts)])
	use := min(max(c.Use, LeastUse), len(all))
	p := &Pool{
		candidates: all, members: make([]member, len(all)), inUse: make([]int, 0, use), scratch: make([]float64, 0, use),
	}
	for i := range p.members {
		p.members[i].rested = true
		p.members[i].baseline = filter.NewMinimum(baselineWindow, baselineBuckets)
		p.members[i].clear()
	}
	for i := range all { // one of each operator, then the rest
		if len(p.inUse) < use && !p.hasOperator(all[i].Operator) {
			p.inUse = append(p.inUse, i)
		}
	}
	p.operators = min(len(p.inUse), leastOperators)
	for i := range all {
		if len(p.inUse) < use && !slices.Contains(p.inUse, i) {
			p.inUse = append(p.inUse, i)
		}
	}
	return p
}

// InUse returns the indices of the candidates to probe. The slice is valid until the next step.
func (p *Pool) InUse() []int { return p.inUse }

// Note tells a person of a replacement.
func (p *Pool) Note(c Change) link.Note {
	why := "it is another one's turn"
	switch c.Why {
	case WhySilent:
		why = fmt.Sprintf("it left %d of its last %d probes unanswered while others answered", c.Lost, remembered)
	case WhyFar:
		why = fmt.Sprintf("it is %.1f ms further than the nearest in use", float64(c.Excess))
	case WhySlow:
		why = fmt.Sprintf("its delay has risen by %.1f ms more than that of the others", float64(c.Excess))
	case WhyExplore:
	}
	return link.Note{
		Level: link.Info, Key: "reflector_replaced",
		Text: fmt.Sprintf("Reflector %v is replaced by %v: %s.", p.candidates[c.Out], p.candidates[c.In], why),
	}
}

// Step takes in what happened until now and replaces at most one reflector.
func (p *Pool) Step(now unit.Time, e PoolEvents) (Change, bool) {
	p.now = max(p.now, now)
	if !p.started {
		p.started = true
		p.compareAt, p.exploreAt = p.now.Add(compareEvery), p.now.Add(exploreEvery)
	}
	for _, s := range e.Sent {
		if slices.Contains(p.inUse, s.Host) {
			p.members[s.Host].send(s.Sent)
		}
	}
	for _, r := range e.Replies {
		if slices.Contains(p.inUse, r.Host) && r.RTT > 0 && r.RTT <= MaxRTT {
			r.Received = min(r.Received, p.now)
			p.members[r.Host].reply(r)
			p.heard = max(p.heard, r.Received)
		}
	}
	for _, h := range p.inUse {
		p.members[h].judge(p.now)
	}
	c, ok := p.choose(e.Random)
	if ok {
		p.replace(c)
	}
	return c, ok
}

// choose returns the replacement that is due.
func (p *Pool) choose(random uint64) (c Change, ok bool) {
	if len(p.inUse) == len(p.candidates) || p.changed != 0 && p.now.Sub(p.changed) < leastGap {
		return c, false
	}
	if c, ok = p.silent(); ok {
		return c, true
	}
	if p.heard == 0 || p.now.Sub(p.heard) > aliveFor {
		return c, false
	}
	if p.now >= p.compareAt {
		p.compareAt = p.now.Add(compareEvery)
		if c, ok = p.compare(); ok {
			return c, true
		}
	}
	if p.now >= p.exploreAt {
		p.exploreAt = p.now.Add(exploreEvery)
		out := p.inUse[random%uint64(len(p.inUse))]
		if in, found := p.successor(out, false); found {
			return Change{Out: out, In: in, Why: WhyExplore}, true
		}
	}
	return c, false
}

// silent finds the reflector that lost most while another one answered. When all fail together it is the line.
func (p *Pool) silent() (c Change, ok bool) {
	for _, h := range p.inUse {
		n := 0
		if m := &p.members[h]; m.lost() < offences {
			continue
		}
		for _, other := range p.inUse {
			if other != h {
				n = max(n, p.members[h].excess(&p.members[other]))
			}
		}
		if n > c.Lost {
			if in, found := p.successor(h, true); found {
				c, ok = Change{Out: h, In: in, Why: WhySilent, Lost: n}, true
			}
		}
	}
	return c, ok
}

// compare finds the reflector that is furthest beyond what the others show to be possible.
func (p *Pool) compare() (c Change, ok bool) {
	nearest, known := unit.Millis(0), 0
	for _, h := range p.inUse {
		if b, mature := p.members[h].base(p.now); mature {
			if known == 0 || b < nearest {
				nearest = b
			}
			known++
		}
	}
	if known < 2 {
		return c, false
	}
	for _, h := range p.inUse {
		b, mature := p.members[h].base(p.now)
		if !mature {
			continue
		}
		why, excess := WhyFar, b-nearest
		if excess <= farther {
			why, excess = WhySlow, p.risen(h)
			if excess <= slower {
				continue
			}
		}
		if in, found := p.successor(h, false); found && excess > c.Excess {
			c, ok = Change{Out: h, In: in, Why: why, Excess: excess}, true
		}
	}
	return c, ok
}

// risen returns by how much a reflector's delta is above the median of the others'.
func (p *Pool) risen(h int) unit.Millis {
	p.scratch = p.scratch[:0]
	for _, other := range p.inUse {
		if _, mature := p.members[other].base(p.now); mature && other != h {
			d, _ := p.members[other].delta.Value()
			p.scratch = append(p.scratch, d)
		}
	}
	d, _ := p.members[h].delta.Value()
	return unit.Millis(d - filter.Median(p.scratch))
}

// successor returns the next candidate that may take the place of one in use: one that has rested and leaves enough
// operators. Where there is none and the place must be filled, the one that has rested longest.
func (p *Pool) successor(out int, must bool) (in int, ok bool) {
	longest := -1
	for i := range p.candidates {
		c := (p.cursor + i) % len(p.candidates)
		if slices.Contains(p.inUse, c) || p.operatorsWith(out, c) < p.operators {
			continue
		}
		m := &p.members[c]
		if m.rested || p.now.Sub(m.replaced) >= rest {
			return c, true
		}
		if longest < 0 || m.replaced < p.members[longest].replaced {
			longest = c
		}
	}
	return longest, must && longest >= 0
}

// replace carries out a change.
func (p *Pool) replace(c Change) {
	p.members[c.Out].replaced, p.members[c.Out].rested = p.now, false
	p.members[c.In].clear()
	p.inUse[slices.Index(p.inUse, c.Out)] = c.In
	p.cursor = (c.In + 1) % len(p.candidates)
	p.changed = p.now
}

// hasOperator says whether one in use belongs to an operator.
func (p *Pool) hasOperator(name string) bool {
	return slices.ContainsFunc(p.inUse, func(h int) bool { return p.candidates[h].Operator == name })
}

// operatorsWith counts the operators of those in use after a replacement.
func (p *Pool) operatorsWith(out, in int) (n int) {
	name := func(h int) string {
		if h == out {
			h = in
		}
		return p.candidates[h].Operator
	}
	for i, h := range p.inUse {
		if !slices.ContainsFunc(p.inUse[:i], func(g int) bool { return name(g) == name(h) }) {
			n++
		}
	}
	return n
}

// clear forgets what is known of a candidate but for when it was put away.
func (m *member) clear() {
	m.used, m.next, m.replies, m.early = 0, 0, 0, 0
	m.baseline.Reset()
	m.usual, m.delta = filter.NewEWMA(usualAlpha), filter.NewEWMA(deltaAlpha)
}

// send remembers a probe. Its answer may have come in before.
func (m *member) send(at unit.Time) {
	m.probes[m.next] = sent{at: at}
	if at != 0 && at == m.early {
		m.probes[m.next].fate = answered
	}
	m.next = (m.next + 1) % remembered
	m.used = min(m.used+1, remembered)
}

// wait is how long an answer may take.
func (m *member) wait() time.Duration {
	u, _ := m.usual.Value()
	return max(patience, unit.Millis(timesUsual*u).Duration())
}

// reply takes in an answer. One that came too late tells what is usual here and undoes nothing.
func (m *member) reply(r link.Reply) {
	if r.RTT.Duration() < m.wait() {
		m.early = r.Sent
		for i := range m.probes[:m.used] {
			if s := &m.probes[i]; s.at == r.Sent {
				if m.early = 0; s.fate == open {
					s.fate = answered
				}
			}
		}
	}
	rtt := float64(r.RTT)
	m.replies++
	m.usual.Add(rtt)
	m.baseline.Add(r.Received, rtt)
	if b, ok := m.baseline.Min(r.Received); ok {
		m.delta.Add(rtt - b)
	}
}

// judge gives up probes that had time enough.
func (m *member) judge(now unit.Time) {
	wait := m.wait()
	for i := range m.probes[:m.used] {
		if s := &m.probes[i]; s.fate == open && now.Sub(s.at) >= wait {
			s.fate = lost
		}
	}
}

// base returns the baseline of a reflector that has answered often enough to be compared.
func (m *member) base(now unit.Time) (unit.Millis, bool) {
	b, ok := m.baseline.Min(now)
	return unit.Millis(b), ok && m.replies >= leastReplies
}

// span returns from when to before when the fate of all probes is known.
func (m *member) span() (from, to unit.Time, ok bool) {
	for i, s := range m.probes[:m.used] {
		if i == 0 || s.at < from {
			from = s.at
		}
		if s.fate != open && s.at >= to {
			to = s.at + 1
		}
	}
	for _, s := range m.probes[:m.used] {
		if s.fate == open {
			to = min(to, s.at)
		}
	}
	return from, to, to > from
}

// lost returns how many of the remembered probes were given up.
func (m *member) lost() (n int) {
	for _, s := range m.probes[:m.used] {
		if s.fate == lost {
			n++
		}
	}
	return n
}

// excess returns how many probes were lost that another reflector shows not to be the line's fault, 0 when they are no
// reason to go: over the time in which both were probed the other one lost far less, and it has answered a later one.
func (m *member) excess(other *member) int {
	from, to, ok := m.span()
	otherFrom, otherTo, otherOK := other.span()
	if !ok || !otherOK {
		return 0
	}
	from, to = max(from, otherFrom), min(to, otherTo)
	mine, newest := m.count(lost, from, to)
	theirs, _ := other.count(lost, from, to)
	if _, heard := other.count(answered, newest, math.MaxInt64); heard == 0 || mine < offences+lineFactor*theirs {
		return 0
	}
	return mine
}

// count returns how many probes of a span of time had a fate, and when the newest of them left.
func (m *member) count(f fate, from, to unit.Time) (n int, newest unit.Time) {
	for _, s := range m.probes[:m.used] {
		if s.fate == f && s.at >= from && s.at < to {
			n++
			newest = max(newest, s.at)
		}
	}
	return n, newest
}
