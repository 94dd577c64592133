package shaper

import (
	"math"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// A path that became longer for good would freeze the baseline for ever: the delay stays over the update threshold
// whatever the rate. Two rules notice it. On an idle line a lasting delay is the path's own, so the baseline moves to
// the least of those samples. On a line that is never idle the rate is halved for a moment: a queue of ours would
// drain, a longer path would not.
const (
	// blockLeast is the shortest idle stretch that counts, blockWindow how far back stretches are summed.
	blockLeast  = 5 * time.Second
	blockWindow = 10 * time.Minute
	// blockRoom holds every block that fits the window: 600 s in blocks of 5 s are 120, and the rest is spare.
	blockRoom = 128
	// idleShare of the ceiling, or idleLeast where that is more, is the load under which a direction is idle.
	idleShare = unit.One / 10
	idleLeast = unit.Mbps
	// loadFresh is how old a measured load may be.
	loadFresh = 5 * time.Second
	// dipAfter is how long the delay must have been high, dipEvery how far apart dips are.
	dipAfter = 30 * time.Minute
	dipEvery = 30 * time.Minute
	// dipLeast is a dip's shortest length, dipShare what is left of the rate in it.
	dipLeast = time.Second
	dipShare = unit.One / 2
	// dipGrace is how long after a dip its replies may still come, beyond the round trip itself; dipStale is when a
	// dip that could not be judged is given up.
	dipGrace = time.Second
	dipStale = time.Minute
	// dipHosts bounds the hosts a dip follows.
	dipHosts = 32
	// gapLeast is the shortest silence that breaks an idle stretch and is not counted as high.
	gapLeast = 5 * time.Second
)

// path is the watch for a path change.
type path struct {
	// seen is when the last valid sample was taken in, high whether the delay was high then.
	seen unit.Time
	high bool
	// highFor is how long it has been high without a break, in observed time.
	highFor time.Duration
	// open is the idle stretch in progress; blocks are the finished ones, oldest first from head.
	open    block
	isOpen  bool
	blocks  [blockRoom]block
	head, n int
	lastDip unit.Time
	dip     dip
}

// block is one stretch of high delay on an idle line.
type block struct {
	start, end unit.Time
	min        unit.Millis
}

func (b block) length() time.Duration { return b.end.Sub(b.start) }

// phase is how far a test dip is.
type phase uint8

const (
	noDip phase = iota
	inDip
	// judging waits for the last replies to probes sent in the dip.
	judging
)

// dip is a test dip in progress.
type dip struct {
	phase      phase
	start, end unit.Time
	// sides are the directions that were lowered.
	sides link.Pair[bool]
	// level and delta are the load average and its distance from the baseline when it began.
	level, delta unit.Millis
	// void says that the question answered itself meanwhile: the dip runs to its end and is not judged.
	void bool
	// hosts is how many reflectors made the figure then.
	hosts int
	// min is the least round trip per host among the replies to probes sent in the dip; 0 for none.
	min [dipHosts]unit.Millis
}

// idle reports per direction whether the line is provably idle.
func (c *Controller) idle(l link.Load) link.Pair[bool] {
	age := c.now.Sub(l.At)
	if !l.Known || age < 0 || age > loadFresh {
		return link.Pair[bool]{}
	}
	under := func(r unit.Rate, d *Direction) bool {
		return r >= 0 && r < max(d.Ceiling.Scale(idleShare), idleLeast)
	}
	return link.Pair[bool]{Down: under(l.Down, &c.cfg.Down), Up: under(l.Up, &c.cfg.Up)}
}

// watch follows high delay over time, moves the baseline when an idle line has shown it long enough, and judges a
// finished dip.
func (c *Controller) watch(in Input, high bool) {
	p := &c.path
	dt := c.now.Sub(p.seen)
	whole := p.seen != 0 && dt <= c.d.gap
	wasHigh := p.high
	p.seen, p.high = c.now, high
	if !high {
		// The old baseline is still reachable: whatever was collected against it is void.
		if p.dip.phase != noDip && !p.dip.void {
			c.note(link.Info, "test_dip_fell", "With the test dip the delay fell to %v: it is a queue's, the baseline stays at %v.", c.load-c.baseline, c.baseline)
		}
		p.forget()
		return
	}
	if wasHigh && whole {
		p.highFor += dt
	}
	idle := c.idle(in.Load)
	p.follow(c.now, in.RTT.Value, idle.Down && idle.Up, whole)
	if total, least := p.idleHigh(c.now); total >= c.cfg.RebaselineAfter {
		c.move(least, "the delay stayed high for %.0f s on an idle line", total.Seconds())
		return
	}
	c.judge()
}

// forget drops everything that speaks for a path change. A dip in progress runs to its end unjudged.
func (p *path) forget() {
	p.highFor, p.isOpen, p.head, p.n = 0, false, 0, 0
	if p.dip.phase == judging {
		p.dip = dip{}
	}
	p.dip.void = p.dip.phase == inDip
}

// follow takes one sample into the idle stretches.
func (p *path) follow(now unit.Time, m unit.Millis, idle, whole bool) {
	if p.isOpen && (!idle || !whole) {
		p.isOpen = false
		if p.open.length() >= blockLeast {
			if p.n == blockRoom {
				p.head, p.n = (p.head+1)%blockRoom, p.n-1
			}
			p.blocks[(p.head+p.n)%blockRoom] = p.open
			p.n++
		}
	}
	switch {
	case !idle:
	case !p.isOpen:
		p.open, p.isOpen = block{start: now, end: now, min: m}, true
	default:
		p.open.end, p.open.min = now, min(p.open.min, m)
	}
}

// idleHigh returns how long the delay was high on an idle line within the window, and the least sample of that time.
func (p *path) idleHigh(now unit.Time) (total time.Duration, least unit.Millis) {
	since := now.Add(-blockWindow)
	for p.n > 0 && p.blocks[p.head].end <= since {
		p.head, p.n = (p.head+1)%blockRoom, p.n-1
	}
	least = maxRTT
	add := func(b block) {
		total += b.end.Sub(max(b.start, since))
		least = min(least, b.min)
	}
	for i := range p.n {
		add(p.blocks[(p.head+i)%blockRoom])
	}
	if p.isOpen && p.open.length() >= blockLeast {
		add(p.open)
	}
	return total, least
}

// move puts the baseline on a new path's round trip and says so.
func (c *Controller) move(to unit.Millis, why string, a ...any) {
	old := c.baseline
	c.baseline = c.bound(to)
	c.path.forget()
	c.path.dip = dip{}
	c.note(link.Info, "baseline_moved", "The path's round trip changed: baseline %v → %v, because "+why+".",
		append([]any{old, c.baseline}, a...)...)
	if c.baseline != to {
		c.note(link.Warning, "baseline_bound", "The path's round trip of %v lies outside baseline_rtt_bounds (%v to %v): widen them, or rates stay low.",
			to, c.cfg.BaselineMin, c.cfg.BaselineMax)
	}
}

// dipping returns the directions that are lowered by a test dip now.
func (c *Controller) dipping() link.Pair[bool] {
	if c.path.dip.phase != inDip {
		return link.Pair[bool]{}
	}
	return c.path.dip.sides
}

// output returns the decided rates with a test dip in them.
func (c *Controller) output() link.Rates {
	out := link.Rates{Down: c.side.Down.rate, Up: c.side.Up.rate}
	for _, dir := range directions {
		if c.dipping().Get(dir) {
			out.Set(dir, max(out.Get(dir).Scale(dipShare), c.cfg.direction(dir).Floor[link.Red]))
		}
	}
	return out
}

// dipDue reports whether it is time to learn by a dip whose the delay is.
func (c *Controller) dipDue(high bool) bool {
	p := &c.path
	return high && p.high && p.highFor >= dipAfter && p.dip.phase == noDip && (p.lastDip == 0 || c.now.Sub(p.lastDip) >= dipEvery)
}

// startDip lowers each loaded direction for a moment. Where both are idle it waits.
func (c *Controller) startDip(in Input, delta unit.Millis, reason *link.Pair[link.Reason]) {
	idle := c.idle(in.Load)
	sides := link.Pair[bool]{Down: !idle.Down, Up: !idle.Up}
	if !sides.Down && !sides.Up {
		return
	}
	c.path.lastDip = c.now
	c.path.dip = dip{
		phase: inDip, start: c.now, sides: sides,
		level: c.load, delta: delta, hosts: min(max(in.RTT.Hosts, 1), dipHosts),
	}
	which := link.Down.String()
	if sides.Up {
		which = link.Up.String()
		if sides.Down {
			which = "download and upload"
		}
	}
	for _, dir := range directions {
		if sides.Get(dir) {
			r := reason.Get(dir)
			r.Cause = link.CauseDip
			reason.Set(dir, r)
		}
	}
	to := c.output()
	c.note(link.Info, "test_dip", "The delay has been high for %.0f min on a busy line: the %s goes to half of its rate, or its lowest floor, for %v (%v down, %v up) to learn whether the delay is the path's own.",
		c.path.highFor.Minutes(), which, c.d.dip, to.Down, to.Up)
}

// endDip ends a dip whose time is over, measured or not: a dip never outlives its length. A tick up to half a period
// early still ends it.
func (c *Controller) endDip() {
	d := &c.path.dip
	if d.phase == inDip && c.now.Sub(d.start) >= c.d.dip-c.cfg.Period/2 {
		d.phase, d.end = judging, c.now
		if d.void {
			*d = dip{}
		}
	}
}

// returnRates makes a skipped cycle say what the end of a dip did to the rates.
func (c *Controller) returnRates(reason *link.Pair[link.Reason]) {
	out := c.output()
	for _, dir := range directions {
		r := reason.Get(dir)
		if r.To = out.Get(dir); r.To != r.From {
			r.Cause = link.CauseDip
		}
		reason.Set(dir, r)
	}
	c.out = out
}

// collect keeps per host the least round trip among the replies to probes sent in the dip.
func (c *Controller) collect(replies []link.Reply) {
	d := &c.path.dip
	if d.phase == noDip {
		return
	}
	for _, r := range replies {
		if r.Host < 0 || r.Host >= dipHosts || math.IsNaN(float64(r.RTT)) || r.RTT <= 0 || r.RTT > maxRTT {
			continue
		}
		if r.Sent < d.start || d.phase == judging && r.Sent >= d.end {
			continue
		}
		if d.min[r.Host] == 0 || r.RTT < d.min[r.Host] {
			d.min[r.Host] = r.RTT
		}
	}
}

// fused returns what the hosts' least round trips say together, as the cycle's figure is fused: their median, two:
// their mean. It is false when fewer hosts answered in the dip than made the figure before it: another set of hosts
// has another round trip. Where one host made the figure, the first that answered speaks.
func (d *dip) fused() (unit.Millis, bool) {
	var values [dipHosts]float64
	n := 0
	for _, m := range d.min {
		if m == 0 {
			continue
		}
		values[n] = float64(m)
		n++
		if d.hosts == 1 {
			break
		}
	}
	return unit.Millis(filter.Median(values[:n])), n >= d.hosts
}

// judge decides whose the delay is, once the replies of a dip are in.
func (c *Controller) judge() {
	d := &c.path.dip
	waited := c.now.Sub(d.end)
	if d.phase != judging || waited < dipGrace+d.level.Duration() {
		return
	}
	least, ok := d.fused()
	switch {
	case !ok || waited > dipGrace+d.level.Duration()+dipStale:
		c.note(link.Info, "test_dip_unclear", "The test dip is not judged: too few probes sent in it were answered. The next is due in %.0f min.", dipEvery.Minutes())
	case least <= d.level-d.delta/2:
		c.note(link.Info, "test_dip_fell", "In the test dip the round trip fell from %v to %v: the delay is a queue's, the baseline stays at %v.", d.level, least, c.baseline)
	default:
		c.move(least, "lowering the rate did not lower the delay (%v before, %v in the test dip)", d.level, least)
		return
	}
	*d = dip{}
}
