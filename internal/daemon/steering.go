package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// FeedReader reads what an autorate process last published about a line.
type FeedReader interface {
	// ReadFeed returns the newest snapshot. With an error it returns the one before, if there is one, with its age.
	ReadFeed(now unit.Time) (a steer.Autorate, err error)
}

// SteeringOptions are what the steering loop needs, apart from its hands.
type SteeringOptions struct {
	Name      string
	Steer     steer.Config
	PingCount int
	// ReadQueue says that the primary's queue counters are part of the vote.
	ReadQueue bool
	// DryRun decides and logs, and never touches the rule.
	DryRun bool
	Jitter func() float64
}

// SteerOpKind is what steering wants from the router.
type SteerOpKind uint8

// The operations.
const (
	// OpReadQueue reads the primary's download queue.
	OpReadQueue SteerOpKind = iota
	// OpReadRule reads whether the rule is enabled.
	OpReadRule
	// OpSetRule changes the rule and reads it back.
	OpSetRule
)

// SteerOp is one operation; one is in flight at a time.
type SteerOp struct {
	ID     uint64
	Kind   SteerOpKind
	Enable bool
}

// SteerResult is the outcome of a SteerOp.
type SteerResult struct {
	Op    SteerOp
	At    unit.Time
	Queue link.Queue
	Rule  bool
	Err   error
}

// Steering is the steering loop without a goroutine, a clock or a socket. It is not safe for concurrent use.
type Steering struct {
	opt     SteeringOptions
	machine *steer.Machine
	primary Prober
	alt     Prober // nil when the configuration measures no alternate by probes
	feeds   [2]FeedReader
	wins    [2]*reflector.Window

	replies []link.Reply
	notes   []link.Note
	queue   steer.QueueReading
	rule    steer.Rule
	// ruleAt is when the rule was read last, answered when the newest reply to the primary's probes came.
	ruleAt   unit.Time
	answered unit.Time
	last     steer.Decision
	left     *steer.State // what a stop left the rule at
	ops      uint64
	busy     bool
	foreign  uint64 // the operation under way when the router was changed: its result counts no more
	// counters says that this cycle's counters are still to be asked for; wish is what the last decision wants of the
	// rule and no operation was begun for.
	counters bool
	wish     steer.RuleWish
	// pretend is the rule as a dry run would have it, nil until it would have set it; real is what was last read, and
	// origin the state it must not change.
	pretend *bool
	real    bool
	origin  steer.Snapshot
	// stepAt is when the cycle's decision is due even without the counters that were asked for; 0 when it was made.
	stepAt unit.Time
	// way is the way to the router; queue and rule are what a router that answers refuses.
	way     trouble
	queueNo trouble
	ruleNo  trouble
	// unread is what keeps a feed from being read, and when it was last told.
	unread [2]feedTrouble
	began  unit.Time
	// yielded says that another controller switches the rule, or that it is not known yet that none does.
	yielded bool
}

// trouble is a row of failures of one thing: when to try again, and what it is.
type trouble struct {
	actuate.Backoff
	kind, text string
	by         SteerOpKind
}

// feedTrouble is a feed that cannot be read.
type feedTrouble struct {
	text string
	told unit.Time
}

// NewSteering builds a loop. alternate may be nil; so may the alternate's feed.
func NewSteering(opt SteeringOptions, primary, alternate Prober, feed, altFeed FeedReader, saved *state.Steering) (*Steering, error) {
	m, err := steer.New(opt.Steer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Name, err)
	}
	if saved != nil {
		m.Restore(saved.Machine)
	}
	if opt.Jitter == nil {
		opt.Jitter = func() float64 { return 0.5 }
	}
	s := &Steering{
		opt: opt, machine: m, primary: primary, alt: alternate, feeds: [2]FeedReader{feed, altFeed},
	}
	s.origin = m.Snapshot()
	s.emptyWindows()
	return s, nil
}

// queueWait is how long a cycle's decision waits for its counters.
const queueWait = time.Second

// Tick begins a cycle: it asks for the counters, and decides when they are there or have taken too long. A cycle whose
// counters were still awaited is dropped: the loop was late.
func (s *Steering) Tick(now unit.Time) Outcome[SteerOp] {
	s.notes = s.notes[:0]
	if s.began == 0 {
		s.began = now
	}
	var o Outcome[SteerOp]
	s.counters = s.opt.ReadQueue
	s.next(now, &o)
	if o.Op != nil && s.opt.ReadQueue { // the counters, or the rule with the counters to follow
		s.stepAt = now.Add(min(queueWait, s.opt.Steer.Interval/2))
		o.Wake = s.stepAt
	} else {
		s.step(now, &o)
	}
	return s.done(o)
}

// Deliver hands the loop the result of the operation it asked for.
func (s *Steering) Deliver(now unit.Time, r SteerResult) Outcome[SteerOp] {
	s.notes = s.notes[:0]
	s.busy = false
	if r.Op.ID == s.foreign && s.foreign != 0 {
		s.foreign, r.Err = 0, errOldRouter
	}
	s.learn(now, r)
	if r.Op.Kind != OpReadQueue {
		s.wish = steer.RuleWish{} // of a decision that did not know this result
	}
	var o Outcome[SteerOp]
	if r.Op.Kind != OpReadQueue || s.stepAt == 0 {
		s.next(now, &o)
	}
	switch {
	case s.stepAt == 0:
	case o.Op != nil:
		o.Wake = s.stepAt
	default: // the counters are there, or cannot be had now
		s.step(now, &o)
	}
	return s.done(o)
}

// Wake is called at the instant an outcome named.
func (s *Steering) Wake(now unit.Time) Outcome[SteerOp] {
	s.notes = s.notes[:0]
	var o Outcome[SteerOp]
	switch {
	case s.stepAt == 0:
	case now >= s.stepAt:
		s.step(now, &o)
	default:
		o.Wake = s.stepAt
	}
	return s.done(o)
}

func (s *Steering) done(o Outcome[SteerOp]) Outcome[SteerOp] {
	o.Notes = s.notes
	return o
}

// of is the trouble that an operation of one kind can have with a router that answers.
func (s *Steering) of(k SteerOpKind) *trouble {
	if k == OpReadQueue {
		return &s.queueNo
	}
	return &s.ruleNo
}

// may says whether an operation of that kind can begin now.
func (s *Steering) may(k SteerOpKind, now unit.Time) bool {
	return !s.busy && s.way.May(now) && s.of(k).May(now)
}

// next begins the operation that is due: the rule's before the counters, so that a slow router cannot starve it, and a
// queue that cannot be read does not either.
func (s *Steering) next(now unit.Time, o *Outcome[SteerOp]) {
	if o.Op != nil {
		return
	}
	switch {
	// The machine wants a reading before each write but its first, because that may have been carried out. Where the
	// newest reading stands and no write was begun since, there is nothing to find out.
	case s.wish.Write && (!s.wish.Read || s.rule.Known) && s.may(OpSetRule, now):
		o.Op = s.op(OpSetRule, s.wish.Wanted)
		s.wish = steer.RuleWish{}
	case s.wish.Read && (!s.wish.Write || !s.rule.Known) && s.may(OpReadRule, now):
		o.Op = s.op(OpReadRule, false)
		s.wish = steer.RuleWish{}
	case s.counters && s.may(OpReadQueue, now):
		o.Op = s.op(OpReadQueue, false)
		s.counters = false
	}
}

func (s *Steering) op(k SteerOpKind, enable bool) *SteerOp {
	s.ops++
	s.busy = true
	return &SteerOp{ID: s.ops, Kind: k, Enable: enable}
}

// learn takes a result into the next decision's input.
func (s *Steering) learn(now unit.Time, r SteerResult) {
	of := s.of(r.Op.Kind)
	if r.Err != nil {
		if answered(r.Err) {
			s.over(&s.way, "the router answers again")
		} else {
			of = &s.way
		}
		s.failed(of, now, r)
		if r.Op.Kind == OpReadQueue {
			s.queue.OK, s.queue.Fresh = false, false
		} else {
			s.rule.Known = false // the outcome of a write is unknown, and an old reading proves nothing
		}
		return
	}
	s.over(&s.way, "the router answers again")
	switch r.Op.Kind {
	case OpReadQueue:
		s.over(of, "the queue can be read again")
		s.queue = steer.QueueReading{OK: true, Fresh: true, At: r.At, Queue: r.Queue}
	case OpReadRule:
		if of.by == OpReadRule { // a rule that can be read may still refuse to be set: only a write ends that
			s.over(of, "the rule can be read again")
		}
		s.rule, s.ruleAt = readingOf(s.pretended(r.Rule), s.rule.Seq+1), r.At
	case OpSetRule:
		s.over(of, "the rule can be set again")
		s.rule, s.ruleAt = readingOf(r.Rule, s.rule.Seq+1), r.At
	}
}

// failed books a failure and tells it when it is another than the last.
func (s *Steering) failed(t *trouble, now unit.Time, r SteerResult) {
	err := r.Err
	class, _ := classify(err)
	t.Failed(now, class, s.opt.Jitter())
	kind := kindOf(err)
	if kind == "" {
		kind = class.String()
	}
	fresh := kind != t.kind
	t.kind, t.text, t.by = kind, err.Error(), r.Op.Kind
	if !fresh {
		return
	}
	level, after := link.Warning, "trying again with growing pauses; measuring goes on"
	switch class {
	case actuate.Fatal:
		level, after = link.Alert, "not trying again until a reload or restart: it would only lock the account; measuring goes on"
	case actuate.Misconfigured:
		level = link.Alert
	case actuate.None, actuate.Transient, actuate.Unknown:
	}
	s.notes = append(s.notes, link.Note{Level: level, Key: "router_error", Text: t.text + "; " + after})
}

// over ends a row of failures.
func (s *Steering) over(t *trouble, text string) {
	if t.kind != "" {
		s.notes = append(s.notes, link.Note{Level: link.Info, Key: "router_back", Text: text})
	}
	*t = trouble{}
}

// step makes the cycle's decision.
func (s *Steering) step(now unit.Time, o *Outcome[SteerOp]) {
	s.stepAt, s.counters = 0, false
	in := steer.Input{Now: now, RTT: s.fuse(0, s.primary, now), Queue: s.queue, Rule: s.rule}
	if in.RTT.OK {
		s.answered = in.RTT.At
	}
	in.Autorate = s.feed(0, now)
	in.Alternate = steer.Alternate{
		Configured: s.opt.Steer.AlternateCheck.Configured, RTT: s.fuse(1, s.alt, now), Autorate: s.feed(1, now),
	}
	d := s.machine.Step(in)
	s.queue.Fresh = false
	s.last = d
	s.notes = append(s.notes, d.Notes...)
	if s.opt.DryRun || s.yielded { // what was only pretended, or left to another, cannot be late
		s.notes = slices.DeleteFunc(s.notes, func(n link.Note) bool { return n.Key == "steer_withdrawn" })
	}
	if d.WouldSteer != "" { // the machine says it once per change
		s.notes = append(s.notes, link.Note{Level: link.Info, Key: "would_steer", Text: "dry run of steering_v3: " + d.WouldSteer})
	}
	o.Line = steer.Line(d)
	s.wish = d.Rule
	switch {
	case s.opt.DryRun:
		s.rehearse()
	case s.yielded:
		s.wish.Read = s.wish.Read || s.wish.Write && !s.rule.Known
		s.wish.Write = false
	}
	s.next(now, o)
}

// Yield says that another controller switches the rule, or that it is not known yet that none does; off, that this one may.
func (s *Steering) Yield(on bool) { s.yielded = on }

// met says that the router answers, and how the rule stands.
func (s *Steering) met() bool { return s.ruleAt != 0 && s.way.kind == "" }

// rehearse says what a dry run would have written, and goes on as if it had been: the rule is read and its form looked
// at as ever, and the way back can be told.
func (s *Steering) rehearse() {
	if s.wish.Write && s.rule.Known {
		on, verb := s.wish.Wanted, "disable"
		if on {
			verb = "enable"
		}
		s.pretend = &on
		s.rule = readingOf(on, s.rule.Seq+1)
		s.notes = append(s.notes, link.Note{Level: link.Info, Key: "would_set", Text: "dry run: would " + verb + " the steering rule"})
	}
	s.wish.Write = false
}

// pretended is a reading as a dry run goes on with it: as it would have left the rule, until somebody else sets it.
func (s *Steering) pretended(is bool) bool {
	if is != s.real {
		s.pretend = nil
	}
	s.real = is
	if s.opt.DryRun && s.pretend != nil {
		return *s.pretend
	}
	return is
}

func (s *Steering) fuse(i int, p Prober, now unit.Time) link.RTT {
	if p == nil {
		return link.RTT{}
	}
	s.replies = p.Drain(s.replies[:0])
	for _, r := range s.replies {
		r.Received = min(r.Received, now) // as in WAN.Tick
		s.wins[i].Add(r)
	}
	return s.wins[i].Fuse(now)
}

func (s *Steering) feed(i int, now unit.Time) steer.Autorate {
	if s.feeds[i] == nil {
		return steer.Autorate{}
	}
	a, err := s.feeds[i].ReadFeed(now) // after an error a is what was read last, with its age
	t := &s.unread[i]
	switch {
	case err == nil:
		if t.told != 0 {
			s.notes = append(s.notes, link.Note{Level: link.Info, Key: "feed_read", Text: "the feed can be read again"})
		}
		*t = feedTrouble{}
	case now.Sub(s.began) < feedPatience && errors.Is(err, fs.ErrNotExist): // autorate may be starting, too
	case t.told == 0 || t.text != err.Error() && now.Sub(t.told) >= time.Minute:
		*t = feedTrouble{text: err.Error(), told: now}
		s.notes = append(s.notes, link.Note{
			Level: link.Warning, Key: "feed_unread",
			Text: t.text + "; steering cannot judge without it: is autorate running, and does cake_state_sources name its feed_file?",
		})
	}
	return a
}

// feedPatience is how long after the start a feed may be missing without a word.
const feedPatience = 5 * time.Second

// Decision is the newest one.
func (s *Steering) Decision() steer.Decision { return s.last }

// Detail is the debug line of a cycle: what each signal says, how far the streaks are, and what is wanted of the rule.
func (s *Steering) Detail(now unit.Time) string {
	d := s.last
	r := d.Reason
	var b strings.Builder
	age := func(at unit.Time) string {
		if at == 0 {
			return "never"
		}
		return now.Sub(at).Round(time.Millisecond).String() + " ago"
	}
	fmt.Fprintf(&b, "answered %s, delay over %t, drops %s, queue %s, controller %s, queue read %s", age(s.answered), r.Delay,
		r.Drops, r.Queue, r.Controller, age(s.queue.At))
	fmt.Fprintf(&b, ", %d RED, %d GREEN, not RED for %s, alternate %s (averaged %s)", r.Red, r.Green, r.NotRed.Round(time.Second),
		r.Alternate, r.AlternateEWMA)
	if r.Threshold > 0 {
		fmt.Fprintf(&b, ", score %d of %d", r.Score, r.Threshold)
	}
	word := map[bool]string{true: "enabled", false: "disabled"}
	is := "unknown"
	if s.rule.Known {
		is = word[s.rule.Enabled]
	}
	fmt.Fprintf(&b, ", rule %s, read %s, wanted %s", is, age(s.ruleAt), word[d.Rule.Wanted])
	return b.String()
}

// State is what the durable file keeps.
func (s *Steering) State(now unit.Time, bootID string, wall time.Time) state.Steering {
	return state.Steering{
		Name: s.opt.Name, Primary: s.opt.Steer.Primary, BootID: bootID, At: now, Saved: wall,
		Machine: s.snapshot(),
	}
}

// Left notes what a stop, or a single run, left the rule at after it was read back: that is the state, and the next
// start must not undo it.
func (s *Steering) Left(enabled bool) {
	st := steer.Good
	if enabled {
		st = steer.Degraded
	}
	s.left = &st
}

func (s *Steering) snapshot() steer.Snapshot {
	snap := s.machine.Snapshot()
	if s.opt.DryRun { // the next start sets the rule to the stored state
		snap.State, snap.History = s.origin.State, s.origin.History
		if !s.opt.Steer.V3.DryRun {
			snap.Confidence = s.origin.Confidence
		}
	}
	if s.left != nil && *s.left != snap.State {
		snap = movedTo(snap, *s.left, "the rule was read back at the end of the process")
	}
	return snap
}

// movedTo is a machine's memory after a change of state that was made and read back behind its back.
func movedTo(snap steer.Snapshot, to steer.State, why string) steer.Snapshot {
	if snap.State == to {
		return snap
	}
	snap.History = append(snap.History, steer.Transition{From: snap.State, To: to, At: snap.At, Why: why})
	snap.State, snap.Confidence.Steered = to, to == steer.Degraded
	snap.Red, snap.Green, snap.NotRed = 0, 0, 0
	return snap
}

// Reconfigure takes a new configuration over; streaks and state stay.
func (s *Steering) Reconfigure(opt SteeringOptions) error {
	if err := s.machine.Reconfigure(opt.Steer); err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	opt.Jitter = s.opt.Jitter
	changed := opt.PingCount != s.opt.PingCount || opt.Steer.Interval != s.opt.Steer.Interval
	s.opt = opt
	if changed {
		s.emptyWindows()
	}
	s.way, s.queueNo, s.ruleNo = trouble{}, trouble{}, trouble{} // a reload is how a person says to try again
	return nil
}

// SetProbers replaces the probes, after a reload that changed them. Replies of the old ones may be of other hosts.
func (s *Steering) SetProbers(primary, alternate Prober) {
	s.primary, s.alt = primary, alternate
	s.emptyWindows()
}

func (s *Steering) emptyWindows() {
	win := reflector.Config{Hosts: 1, Count: s.opt.PingCount, Period: s.opt.Steer.Interval}
	s.wins = [2]*reflector.Window{reflector.New(win), reflector.New(win)}
}

// SetRouter says that operations go to another router, or to another queue or rule, from now on.
func (s *Steering) SetRouter() {
	if s.busy {
		s.foreign = s.ops
	}
	s.queue = steer.QueueReading{}
	s.rule.Known = false
}
