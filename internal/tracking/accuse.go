package tracking

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// trial is the question whose queue it is, where only round trips are known: a guess, tested by how the delay responds to
// the cut.
type trial struct {
	// guessed says that both directions were loaded, so that the owner is only a guess.
	guessed bool
	// verdict is when the answer to it was in force, as far as is known: a router takes its time; inForce says that it is.
	verdict unit.Time
	inForce bool
	// before is the delta at the verdict, in ms, against the replies that contradict it, swaps the verdicts turned over.
	before  float64
	against int
	swaps   int
	saved   [2]belief
	// cleared is when the download had been cut and nothing more came than the cut let through: no queue stood there.
	cleared unit.Time
}

// belief is what was known of a direction before it was accused.
type belief struct{ capacity, rate float64 }

// Times of the test by response: what left before them cannot show an answer to the cut. A download's senders have to
// hear of it first.
const (
	respondUp, respondDown = 50 * time.Millisecond, 150 * time.Millisecond
	mostSwaps              = 3
	// unfedAfter is how long a cut of the download has been in force when unfedUse of it, or less, says that no queue feeds it.
	unfedAfter = 150 * time.Millisecond
	unfedUse   = 1.04
	// clearedFor is how long it is then believed that no queue stands in the download.
	clearedFor = 250 * time.Millisecond
	// deafAfter is after how long without any reply the probes are taken for lost.
	deafAfter = 2 * time.Second
)

// accuse decides whose queue an episode is.
func (c *Controller) accuse(e *episode) {
	t := e.start
	var use [2]float64
	for _, d := range both {
		use[d] = c.use(d, t, 2*lately)
	}
	e.trial.verdict, e.trial.before = c.now, e.late
	alone := func(d link.Direction) bool {
		other := &c.ways[1-d]
		return use[1-d] < busyShare || use[1-d] < 0.6 && other.rate <= 1.05*other.capacity
	}
	switch down, up := alone(link.Down), alone(link.Up); {
	case down && up:
		e.owner = link.Down
		if use[link.Up] > use[link.Down] {
			e.owner = link.Up
		}
		return
	case down:
		e.owner = link.Down
		return
	case up:
		e.owner = link.Up
		return
	}
	e.trial.guessed = true
	e.owner = link.Down
	if c.starved(link.Down, 0.01, t) && !c.starved(link.Up, 0.06, t) {
		e.owner = link.Up
	}
}

// starved says that a direction carried less lately than just before: its acknowledgements wait in the other's queue,
// while the owner of a queue is served at its full rate.
func (c *Controller) starved(d link.Direction, by float64, t unit.Time) bool {
	last, _, ok := c.ledger.recent(d, t, lately)
	if !ok {
		return false
	}
	best := 0.0
	for back := 25 * time.Millisecond; back <= 300*time.Millisecond; back += 25 * time.Millisecond {
		if r, _, ok := c.ledger.recent(d, t.Add(-back), lately); ok {
			best = max(best, r)
		}
	}
	return last < (1-by)*best
}

// judge turns a verdict over that the delay does not respond to.
func (c *Controller) judge(e *episode, s link.Sample, delta float64) {
	t := &e.trial
	if !t.inForce {
		return
	}
	if c.use(link.Up, s.Received, 2*lately) >= idleShare && c.unfed(e, s.Received) {
		t.cleared, e.all = s.Received, false
		c.acquit(e, link.Down, delta)
		return
	}
	if e.all || s.Received.Sub(t.cleared) < clearedFor {
		return
	}
	since := s.Sent.Sub(t.verdict)
	var contradicts bool
	if e.owner == link.Up {
		contradicts = since > respondUp && delta > t.before-float64(0.1*float64(s.Received.Sub(t.verdict).Milliseconds()))
	} else {
		contradicts = since > respondDown && delta > 0.8*t.before
	}
	if !contradicts {
		return
	}
	if t.against++; t.against < 2 {
		return
	}
	other := 1 - e.owner
	if c.use(other, c.now, 2*lately) < idleShare {
		return // nothing moves there: it cannot be its queue
	}
	if t.swaps++; t.swaps >= mostSwaps {
		t.guessed, e.all = true, true
		return
	}
	c.acquit(e, e.owner, delta)
}

// acquit gives a direction back what it had, and takes the other.
func (c *Controller) acquit(e *episode, d link.Direction, delta float64) {
	t := &e.trial
	w, was := &c.ways[d], t.saved[d]
	w.capacity = was.capacity
	c.set(d, was.rate, link.CauseCapacity)
	e.owner = 1 - d
	e.entry, e.looks = [2]float64{}, 0
	t.guessed = true
	t.verdict, t.before, t.against, t.inForce = c.now, delta, 0, false
}

// unfed says that a download that is being drained gets no more than its own rate lets through: a queue in front of it
// would go on feeding it at the line's full rate. It takes counters that are read beside the probes, and the time that the
// senders need to follow the cut.
func (c *Controller) unfed(e *episode, t unit.Time) bool {
	if !e.drains(link.Down) || t.Sub(e.trial.verdict) < unfedAfter || c.ledger.n == 0 ||
		t.Sub(c.ledger.newest(0).at) > leastSpan {
		return false
	}
	if lo, _ := c.cfg.bounds(link.Down); c.ways[link.Down].rate <= lo {
		return false // the line may carry less than we may set
	}
	_, use, ok := c.ledger.recent(link.Down, t, lately)
	return ok && use < unfedUse && c.ledger.rate[link.Down] < 0.95*e.entry[link.Down]
}

// deaf ends the episodes of a line that nothing has answered for longer than a queue would take: what silence says then is
// that the probes are lost, and nothing about the rates. They go back to what was known before.
func (c *Controller) deaf() {
	if c.heardAt == 0 || c.now.Sub(c.heardAt) < deafAfter {
		return
	}
	for _, e := range [...]*episode{&c.round, &c.each[link.Down], &c.each[link.Up]} {
		c.dismiss(e)
	}
}

// dismiss ends an episode that was none: its directions get back what they had.
func (c *Controller) dismiss(e *episode) {
	for _, d := range both {
		if w, was := &c.ways[d], e.trial.saved[d]; e.on && e.ways[d] && e.drains(d) {
			w.capacity = was.capacity
			c.set(d, was.rate, link.CauseHold)
			w.points.clear()
		}
	}
	e.on, e.suspect = false, false
}

// answered notes when the router has taken the answer to a verdict.
func (c *Controller) answered() {
	e := &c.round
	if t := &e.trial; e.on && !t.inForce {
		if now := c.ledger.rate[e.owner]; now <= 1.01*c.ways[e.owner].rate || now < 0.97*t.saved[e.owner].rate {
			t.inForce, t.verdict = true, c.now
		}
	}
}
