// Package actuate decides which router operation is due now for one line: what to write, when to read, when to wait.
//
// It is a pure state machine. Wishes go out as an [Op], results come back as data in a later [Actuator.Step]. At most
// one operation is in flight, so decisions coalesce to the newest while the router is slow. A decrease is never held
// back by a budget; an increase is, because a router's flash wears with every write.
package actuate

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Limits that the documented behaviour rests on (docs/files.md, docs/routeros.md). They are choices: nobody has published how
// much flash one rate change wears, and an RB5009 serves about 50 requests a second.
const (
	// HeldAtMost is how long a raise waits in the dead band, and how far apart raises are once the day's budget is
	// spent. Together with the backoff it bounds the time until the wanted rate is on a router that works.
	HeldAtMost = 60 * time.Second
	// DefaultAssertEvery is how often the router's own values are read when nothing else reads them.
	DefaultAssertEvery = 60 * time.Second
	// DefaultReadEvery is the least time between two readings of the counters.
	DefaultReadEvery = time.Second
	// WidestDeadBand is the dead band for raises when the day's budget is empty.
	WidestDeadBand unit.PPM = 100_000

	watchFor     = time.Minute      // how long a difference keeps us re-reading every cycle
	watchEvery   = time.Second      // and at most how often
	foreignAfter = 3                // differences within watchFor that make a foreign writer
	foreignFor   = 10 * time.Minute // how long raises stop for one
	day          = 24 * time.Hour
)

var both = [...]link.Direction{link.Down, link.Up}

// Config is what one line's actuator needs to know. Zero durations take the defaults above.
type Config struct {
	// Ceiling bounds every rate written. A direction without one (policy tracking) is bounded by [unit.MaxRate].
	Ceiling link.Rates
	// Quantum is the step the router keeps rates in, 0 and 1 being bit/s: Linux keeps whole bytes per second, 8 bit/s. Rates
	// are rounded down to it, so that what is read back is what was written.
	Quantum unit.Rate
	// Burst is how many writes per second the transport bears before raises wait: SSH 2, REST and API 5, netlink 20.
	// Below 1 it is 1.
	Burst int
	// Daily is the target for writes in 24 hours; 0 is none (netlink wears nothing).
	Daily int
	// StaticDeadBand is the dead band for raises while the daily budget is untouched: 0 for policy steps.
	StaticDeadBand unit.PPM
	// RaiseEvery is the least time between two raises of a direction; a cut never waits. 0 for policy steps.
	RaiseEvery time.Duration
	// ReadEvery is the least time between two operations when the later is only there to read counters.
	ReadEvery time.Duration
	// Reads asks for such reads. Without it counters come with writes and re-assertions only.
	Reads bool
	// AssertEvery is the longest time between two readings of the rates in force.
	AssertEvery time.Duration
	// DryRun reads but never writes; [Output.Would] says what would have been written.
	DryRun bool
}

func (c Config) withDefaults() Config {
	c.Burst = min(max(c.Burst, 1), 1000)
	c.Quantum = max(c.Quantum, 1)
	c.Daily = max(c.Daily, 0)
	c.StaticDeadBand = max(c.StaticDeadBand, 0)
	c.RaiseEvery = max(c.RaiseEvery, 0)
	if c.ReadEvery <= 0 {
		c.ReadEvery = DefaultReadEvery
	}
	if c.AssertEvery <= 0 {
		c.AssertEvery = DefaultAssertEvery
	}
	return c
}

// Op is one round trip to the router. Every one reads both queues, the WAN interface's counters and the uptime; a
// writing one sets rates first, decreases before increases (the hand's duty).
type Op struct {
	// ID counts up from 1 and comes back in the Result.
	ID uint64
	// Write says that Want is to be set.
	Write bool
	// Want holds the rates to set, each above 0 and at most the ceiling. 0 leaves that direction alone.
	Want link.Rates
}

// ErrClass is what a failed operation means for the next one.
type ErrClass uint8

// The classes.
const (
	// None is success. A read-back that differs from what was written is None too: it is judged here.
	None ErrClass = iota
	// Transient is a failure before anything reached the router's command line: unreachable, timeout, refused.
	Transient
	// Unknown is a connection lost after sending: the write may or may not have happened.
	Unknown
	// Fatal is a failure that trying again makes worse: wrong credentials, a changed host key.
	Fatal
	// Misconfigured is a failure that a person has to mend on the router: no such queue, no permission.
	Misconfigured
)

// String returns the class's name.
func (c ErrClass) String() string {
	switch c {
	case None:
		return "none"
	case Transient:
		return "transient"
	case Unknown:
		return "unknown outcome"
	case Fatal:
		return "fatal"
	case Misconfigured:
		return "configuration"
	}
	return "invalid"
}

// Result is what became of an Op. Exactly one must come back for each.
type Result struct {
	Op Op
	// Report is the reading; valid in both directions when Err is nil.
	Report link.Report
	// Err names the operation, the thing and the way out.
	Err   error
	Class ErrClass
	// Sent says that the command had left when it failed; a Transient failure of a write is then of Unknown outcome.
	Sent bool
	// Read says, when Err is not nil, which directions Report covers all the same: one queue may be missing while the
	// other was set and read back. Where it covers both, an error that is neither Fatal nor Misconfigured is a
	// read-back that differs, and is judged from the Report.
	Read link.Pair[bool]
}

// Input is what happened since the last Step.
type Input struct {
	Now unit.Time
	// Want is the newest decision; Has is false until one exists, and nothing is written before.
	Want link.Rates
	Has  bool
	// Result is that of the operation in flight, when it has ended.
	Result *Result
	// Calm says that nothing happens on the line: counters are read no more often than [DefaultReadEvery].
	Calm bool
	// Jitter is randomness from outside, 0 to 1, that spreads retries.
	Jitter float64
}

// Output is what to do now and what is known.
type Output struct {
	// Op is to be started now; nil is none. It is the only one in flight.
	Op *Op
	// Would is what a dry run would have started now.
	Would *Op
	// Wake is when to step again at the latest if nothing happens before; 0: only an event can change anything.
	Wake unit.Time
	// Applied are the rates last read back and AppliedAt when; Confirmed says per direction that nothing has made
	// them doubtful since (a lost connection, a write of unknown outcome).
	Applied   link.Rates
	Confirmed link.Pair[bool]
	AppliedAt unit.Time
	// Load is what the line carried between the last two readings.
	Load link.Load
	// Notes are new with this Step; the slice belongs to the caller.
	Notes  []link.Note
	Status Status
}

// Actuator decides for one line. It is not safe for concurrent use.
type Actuator struct {
	cfg  Config
	now  unit.Time
	calm bool // as of the last Step

	want link.Rates // newest decision, clamped; 0: none yet

	op     *Op // in flight
	nextID uint64
	opAt   unit.Time // when the last operation was issued

	applied   link.Rates
	appliedAt unit.Time
	seen      link.Pair[bool] // applied holds a value at all
	known     link.Pair[bool] // and nothing has made it doubtful
	maybe     link.Rates      // a write of unknown outcome may have set these
	met       bool            // the router has answered this process once
	pretend   link.Rates      // dry run: the rates in force as if we had written
	refused   link.Pair[refusal]
	heldSince link.Pair[unit.Time]
	raisedAt  link.Pair[unit.Time] // when a raise was last issued
	hold      link.Pair[Hold]

	budget budget
	meter  meter
	path   path
	// writing counts writes that failed in a row while reads work: those may not go on for ever at one a second.
	writing Backoff

	// yielded says that another controller writes, or that it is not known yet that none does.
	yielded bool

	watchUntil   unit.Time
	diffs        [foreignAfter]unit.Time // newest first
	foreignUntil unit.Time
	muted        uint64 // differences since the foreign writer was announced

	counts counts
	notes  []link.Note
	wake   unit.Time
}

// New returns an actuator that knows nothing of the router yet: its first operation reads.
func New(cfg Config) *Actuator {
	cfg = cfg.withDefaults()
	return &Actuator{cfg: cfg, budget: newBudget(cfg), meter: meter{longest: longestInterval(cfg)}}
}

// Reconfigure takes a new configuration over. Counts of the day's writes stay; the router is read again before the
// next write, and an actuator that had stopped trying starts anew.
func (a *Actuator) Reconfigure(cfg Config) {
	a.cfg = cfg.withDefaults()
	a.budget.resize(a.cfg)
	a.meter.longest = longestInterval(a.cfg)
	a.path = path{since: a.path.since} // an open row of failures still ends with a note
	a.writing = Backoff{}
	a.pretend = link.Rates{}
	a.refused = link.Pair[refusal]{}
	a.known = link.Pair[bool]{}
	for _, d := range both {
		if w := a.want.Get(d); w > 0 {
			a.want.Set(d, a.clamp(d, w))
		}
	}
}

// Yield lets another controller write, or ends that: nothing is written, and what is read is no surprise. Afterwards the
// router is read before the first write.
func (a *Actuator) Yield(on bool) {
	if a.yielded && !on {
		a.known = link.Pair[bool]{}
	}
	a.yielded = on
}

// Step takes in what happened and says which operation is due now. It never blocks, logs or fails.
func (a *Actuator) Step(in Input) Output {
	a.now = max(a.now, in.Now, 1)
	a.notes, a.wake, a.hold, a.calm = nil, 0, link.Pair[Hold]{}, in.Calm
	a.budget.roll(a.now)
	if in.Result != nil {
		a.take(*in.Result, in.Jitter)
	}
	if in.Has {
		for _, d := range both {
			if w := in.Want.Get(d); w > 0 {
				a.want.Set(d, a.clamp(d, w))
			}
		}
	}
	a.endForeign()

	var out Output
	op := a.choose()
	if op != nil && op.Write {
		a.issue(*op)
		if a.cfg.DryRun {
			out.Would, op = op, nil
			if a.readDue() {
				op = &Op{}
			}
		}
	}
	if op != nil {
		a.nextID++
		op.ID = a.nextID
		flight := *op
		a.op, a.opAt = &flight, a.now
	}
	if a.op != nil {
		a.wake = 0 // only its result changes anything
	}
	out.Op = op
	out.Wake = a.wake
	out.Applied, out.Confirmed, out.AppliedAt = a.applied, a.known, a.appliedAt
	out.Load = a.meter.load
	out.Notes = a.notes
	out.Status = a.status()
	return out
}

func (a *Actuator) clamp(d link.Direction, r unit.Rate) unit.Rate {
	r = a.whole(r)
	top := a.cfg.Ceiling.Get(d)
	if top <= 0 || top > unit.MaxRate {
		top = unit.MaxRate
	}
	top = a.whole(top)
	return min(r, top)
}

// whole rounds down to what the router can keep. Less than one step of that stays as it is, for the router to refuse.
func (a *Actuator) whole(r unit.Rate) unit.Rate {
	if w := r - r%a.cfg.Quantum; w > 0 {
		return w
	}
	return r
}

// by asks to be woken at t.
func (a *Actuator) by(t unit.Time) {
	t = max(t, a.now.Add(time.Millisecond))
	if a.wake == 0 || t < a.wake {
		a.wake = t
	}
}

// choose returns the operation that is due now, nil for none.
func (a *Actuator) choose() *Op {
	switch {
	case a.path.stopped:
		a.holdAll(HoldStopped)
		return nil
	case a.op != nil:
		a.holdAll(HoldFlight)
		return nil
	case a.path.fails > 0:
		a.holdAll(HoldBackoff)
		if due := a.path.due(a.cutWaits()); a.now < due {
			a.by(due)
			return nil
		}
		return &Op{}
	}
	for _, d := range both {
		if !a.known.Get(d) && !a.refused.Get(d).unread {
			a.hold.Set(d, HoldRead)
			return &Op{}
		}
	}
	if want := a.plan(); want != (link.Rates{}) {
		return &Op{Write: true, Want: want}
	}
	if a.readDue() {
		return &Op{}
	}
	return nil
}

// readDue says whether a read of its own is due, and asks to be woken for the next.
func (a *Actuator) readDue() bool {
	next := a.opAt.Add(a.cfg.AssertEvery)
	if a.cfg.Reads {
		every := a.cfg.ReadEvery
		if a.calm {
			every = max(every, DefaultReadEvery)
		}
		next = min(next, a.opAt.Add(every))
	}
	for _, d := range both {
		if r := a.refused.Get(d); r.unread {
			a.hold.Set(d, HoldRefused)
			next = min(next, r.due(a.cutWaits()))
		}
	}
	if a.now >= next {
		return true
	}
	a.by(next)
	// Watching for a foreign writer goes with the caller's cycles: it needs no waking of its own.
	return a.now < a.watchUntil && a.now.Sub(a.opAt) >= watchEvery
}

// issue books a write that is about to start.
func (a *Actuator) issue(op Op) {
	raise := false
	for _, d := range both {
		w := op.Want.Get(d)
		if w == 0 {
			continue
		}
		a.heldSince.Set(d, 0)
		a.hold.Set(d, HoldFlight)
		if !over(a.inForce(d), w) {
			raise = true
			a.raisedAt.Set(d, a.now)
		}
		if a.cfg.DryRun {
			a.hold.Set(d, HoldDryRun)
			a.pretend.Set(d, w)
		}
	}
	// A dry run costs nothing, and the next process must not pay for it.
	if !a.cfg.DryRun && a.budget.spend(a.now, raise) {
		a.note(link.Alert, "write_budget", "%d router writes in 24 hours are more than the budget of %d: raises go at "+
			"most once a minute until the count falls; a longer interval_ms or a smaller step_up_mbps needs fewer writes.",
			a.budget.used(), a.cfg.Daily)
	}
	if !a.cfg.DryRun {
		a.counts.writes++
	}
}
