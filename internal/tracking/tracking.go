// Package tracking decides one line's shaper rates by measuring what the line can carry: the policy "tracking".
//
// While a queue stands in front of a line, the line is never idle, so what comes through it in that time is its capacity:
// what is received before our shaper, for the download, and the slope of the departures that answered probes prove, for
// the upload. The rate is set just under that figure, and below it by what drains the queue in a given time. While no
// queue stands and our rate is the limit, the rate grows, slowly around the capacity last measured and faster beyond.
//
// A [Controller] is pure: time comes in with each [Input] and the wish goes out as an [Output].
package tracking

import (
	"fmt"
	"math"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Input is what happened since the last Step.
type Input struct {
	// Now is the instant. A Step earlier than the one before it is ignored.
	Now unit.Time
	// Counters are the readings made since, oldest first.
	Counters []link.Counters
	// Samples are the replies that arrived, in the order of their arrival.
	Samples []link.Sample
	// Silence is what unanswered probes tell now.
	Silence link.Silence
	// Applied are the rates in force; 0 stands for the rate last decided.
	Applied link.Rates
	// What is neither counted nor answered: the time of day, and whether the samples are to be believed.
	link.Outside
}

// Output is what the controller wants and why.
type Output struct {
	Rates  link.Rates
	Reason link.Pair[link.Reason]
	// Capacity is what each direction was last measured to carry; 0 is not yet.
	Capacity link.Rates
	// Unremovable is the part of each direction's delay that cutting the rate does not take away.
	Unremovable link.Pair[unit.Millis]
	// Delay is each direction's newest delay, without its unremovable part; of the line's where only round trips are known.
	Delay link.Pair[unit.Millis]
	// Blind says that the probes are known to feel less than data does.
	Blind bool
	// Queue says in which directions a queue is being drained.
	Queue link.Pair[bool]
	// Wake is when to Step again if nothing happens before; 0 is never.
	Wake unit.Time
	// Notes are rare; the slice is valid until the next Step.
	Notes []link.Note
}

// Controller is one line's rate controller. It is not safe for concurrent use.
type Controller struct {
	cfg     Config
	law     law
	now     unit.Time
	started bool
	ledger  ledger
	ways    [2]way
	// each is a direction's episode where one-way delays are known; round is the line's where only round trips are.
	each     [2]episode
	round    episode
	oneWayAt unit.Time // of the newest sample with one-way delays
	heardAt  unit.Time // of the newest sample
	dark     unit.Time // when nothing at all came in last
	muted    unit.Time // the newest sample after which silence has been found to mean nothing
	outside  link.Outside
	notes    []link.Note
}

// way is the state of one direction.
type way struct {
	// rate is what is decided, capacity what was last measured (0: never), settled what it was when the last queue was
	// gone; all in bit/s.
	rate, capacity, settled float64
	// most is the most that it ever carried for as long as a use is judged, in bit/s.
	most float64
	// since is when the last queue was gone, and quiet how long nothing grows after that.
	since unit.Time
	quiet time.Duration
	// vary is how much the capacity changes from one queue to the next, as a share of it.
	vary float64
	// climb is the growth per second beyond the settled capacity; 0 when not climbing.
	climb float64
	// proven is a capacity that a guess put in doubt; 0 is none.
	proven float64
	// delta is the newest delay of this direction, in ms, without its unremovable part, and on its threshold.
	delta, on float64
	// grown is until when growth was granted.
	grown  unit.Time
	points points
	cause  link.Cause
	// past is what was measured by the time of day, noted when last. busy is since when our rate has been the limit, idle
	// since when it has not, or the last step toward the usual rate.
	past              [slots]slot
	noted, busy, idle unit.Time
}

// New returns a controller that starts at the maxima, or at [Unlimited] where there are none.
func New(cfg Config) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Controller{cfg: cfg, law: cfg.Profile.law(), notes: make([]link.Note, 0, 4)}
	for _, d := range both {
		_, hi := cfg.bounds(d)
		c.ways[d] = way{rate: hi, quiet: settle, cause: link.CauseStart}
		c.each[d].ways = [2]bool{d == link.Down, d == link.Up}
	}
	c.round.ways = [2]bool{true, true}
	return c, nil
}

// Reconfigure puts another configuration in force; what was measured stays.
func (c *Controller) Reconfigure(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	c.cfg, c.law = cfg, cfg.Profile.law()
	for _, d := range both {
		c.set(d, c.ways[d].rate, c.ways[d].cause)
	}
	return nil
}

// Step advances the controller to in.Now. It never blocks, logs or fails.
func (c *Controller) Step(in Input) Output {
	c.notes = c.notes[:0]
	if in.Now < 0 || c.started && in.Now < c.now {
		return c.output(link.Rates{Down: c.Rate(link.Down), Up: c.Rate(link.Up)}, 0)
	}
	before := link.Rates{Down: c.Rate(link.Down), Up: c.Rate(link.Up)}
	for _, r := range in.Counters {
		c.ledger.add(r)
	}
	c.law = c.cfg.Profile.law()
	if !c.oneWay() && c.use(link.Down, in.Now, 2*lately) > busyShare && c.use(link.Up, in.Now, 2*lately) > busyShare {
		c.law = c.cfg.Profile.shared()
	}
	for _, s := range in.Samples {
		c.sample(s)
	}
	c.now, c.started = in.Now, true
	c.look(in.Outside)
	overdue := c.silence(in.Silence)
	c.deaf()
	for _, d := range both {
		c.grow(d)
		if rate, _, ok := c.ledger.recent(d, c.now, 2*lately); ok {
			c.ways[d].most = max(c.ways[d].most, rate)
		}
	}
	if c.outside.Blind {
		for _, d := range both {
			c.follow(d)
		}
	}
	for _, d := range both {
		c.ledger.rate[d] = c.ways[d].rate
		if a := in.Applied.Get(d); a > 0 {
			c.ledger.rate[d] = float64(a)
		}
	}
	c.answered()
	return c.output(before, c.wake(in, overdue))
}

// Rate is what is decided for a direction.
func (c *Controller) Rate(d link.Direction) unit.Rate { return unit.Rate(math.Floor(c.ways[d].rate)) }

func (c *Controller) output(before link.Rates, wake unit.Time) Output {
	o := Output{Wake: wake, Notes: c.notes, Blind: c.outside.Blind}
	for _, d := range both {
		w := &c.ways[d]
		o.Rates.Set(d, c.Rate(d))
		o.Reason.Set(d, link.Reason{Cause: w.cause, From: before.Get(d), To: c.Rate(d)})
		o.Capacity.Set(d, unit.Rate(min(w.capacity, float64(unit.MaxRate)))) // counters may claim anything
		o.Unremovable.Set(d, unit.Millis(c.each[d].floor))
		o.Queue.Set(d, c.draining(d))
		o.Delay.Set(d, unit.Millis(w.delta))
	}
	if !c.oneWay() {
		o.Unremovable = link.Pair[unit.Millis]{Down: unit.Millis(c.round.floor), Up: unit.Millis(c.round.floor)}
	}
	return o
}

// draining says whether a queue of that direction is being drained.
func (c *Controller) draining(d link.Direction) bool {
	return c.each[d].on || c.round.on && c.round.drains(d)
}

const (
	// tick is how often an episode is looked at between replies, and doze how long nothing may come in before the
	// silence itself is looked at.
	tick, doze = 10 * time.Millisecond, 60 * time.Millisecond
)

func (c *Controller) wake(in Input, overdue bool) unit.Time {
	switch {
	case overdue, (c.round.suspect || c.each[0].suspect || c.each[1].suspect) && in.Silence.Sent != 0:
		return in.Now.Add(tick)
	case c.heardAt != 0 && in.Now.Sub(c.heardAt) < 2*deafAfter:
		return in.Now.Add(doze)
	}
	return 0
}

// oneWay says whether one-way delays are known now.
func (c *Controller) oneWay() bool {
	return c.oneWayAt != 0 && c.heardAt.Sub(c.oneWayAt) < 2*time.Second
}

// sample takes one reply in.
func (c *Controller) sample(s link.Sample) {
	c.heardAt = max(c.heardAt, s.Received)
	c.now = max(c.now, s.Received)
	was := c.oneWay()
	if s.OneWay {
		c.oneWayAt = max(c.oneWayAt, s.Received)
		if !was && c.round.on {
			c.end(&c.round)
		}
		for _, d := range both {
			c.hear(&c.each[d], s, float64(s.Way.Get(d)))
		}
		return
	}
	if !was {
		c.hear(&c.round, s, float64(s.Delta))
	}
}

// serial is the time a full packet takes on the line, as far as it is known, in ms: a probe that waits for one in each
// direction has met no queue.
func (c *Controller) serial(e *episode) float64 {
	sum := 0.0
	for _, d := range both {
		if w := &c.ways[d]; e.ways[d] {
			rate := w.rate
			if w.capacity > 0 {
				rate = min(rate, w.capacity)
			}
			sum += packet * 1000 / rate
		}
	}
	return sum
}

// set decides a rate within the bounds.
func (c *Controller) set(d link.Direction, r float64, cause link.Cause) {
	lo, hi := c.cfg.bounds(d)
	w := &c.ways[d]
	switch {
	case math.IsNaN(r) || r >= hi:
		r = hi
		if cause != link.CauseCut {
			cause = link.CauseCeiling
		}
	case r <= lo:
		r, cause = lo, link.CauseFloor
	}
	w.rate, w.cause = r, cause
}

// limited says whether our rate was what limited a direction lately.
func (c *Controller) limited(d link.Direction) bool {
	_, use, ok := c.ledger.recent(d, c.now, lately)
	return ok && use > fullShare
}

// use is how much of its rate, or of its capacity where that is less, a direction has used in the time before t.
func (c *Controller) use(d link.Direction, t unit.Time, span time.Duration) float64 {
	rate, use, ok := c.ledger.recent(d, t, span)
	if !ok {
		return 0
	}
	if w := &c.ways[d]; w.capacity > 0 {
		use = max(use, min(rate/w.capacity, 1))
	} else if other, _, ok := c.ledger.recent(1-d, t, span); ok && c.ways[d].rate >= float64(Unlimited) && rate+other > 0 {
		use = rate / max(rate, other) // nothing is known yet: judge by the other direction
	}
	return use
}

// Use is what share of their capacity, as far as it is known, the directions have used lately; known is false without
// counters.
func (c *Controller) Use(now unit.Time) (use link.Pair[float64], known bool) {
	if e := c.ledger.size(); e < 2 {
		return use, false
	}
	for _, d := range both {
		use.Set(d, c.use(d, now, 2*lately))
	}
	return use, true
}

// Restore starts from the rates of an earlier run, which are what it had measured; 0 leaves a direction as it is.
func (c *Controller) Restore(r link.Rates) {
	for _, d := range both {
		if v := r.Get(d); v > 0 {
			c.set(d, float64(v), link.CauseStart)
		}
	}
}

func (c *Controller) note(l link.Level, key, format string, a ...any) {
	c.notes = append(c.notes, link.Note{Level: l, Key: key, Text: fmt.Sprintf(format, a...)})
}
