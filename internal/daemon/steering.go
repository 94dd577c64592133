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
	// Renew is how often a rule that is enabled is enabled again, where it does not stay so by itself; 0 is never.
	Renew  time.Duration
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
	ID   uint64
	Kind SteerOpKind
	// Alternate says whose rule is read or set, by its place in the configuration.
	Alternate int
	Enable    bool
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
	// sights are the lines as they are seen, the primary first, then the alternates as the configuration has them.
	sights []Sight
	wins   []*reflector.Window
	rules  []switched

	replies []link.Reply
	notes   []link.Note
	queue   steer.QueueReading
	// answered is when the newest reply to the primary's probes came.
	answered unit.Time
	last     steer.Decision
	left     *int // the alternate a stop left connections going to, steer.None for none
	ops      uint64
	busy     bool
	foreign  uint64 // the operation under way when the router was changed: its result counts no more
	// counters says that this cycle's counters are still to be asked for.
	counters bool
	// origin is the state that a dry run must not change.
	origin steer.Snapshot
	// stepAt is when the cycle's decision is due even without the counters that were asked for; 0 when it was made.
	stepAt unit.Time
	// way is the way to the router; queueNo is what a router that answers refuses of the queue.
	way     trouble
	queueNo trouble
	// unread is what keeps a feed from being read, and when it was last told.
	unread []feedTrouble
	began  unit.Time
	// yielded says that another controller switches the rules, or that it is not known yet that none does.
	yielded bool
}

// Sight is how a line is seen: by probes, by its controller's feed, or both. Nil is without.
type Sight struct {
	Prober Prober
	Feed   FeedReader
	// Loss says what became of the newest probes; nil where it is not counted.
	Loss func(now unit.Time) steer.Loss
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

// NewSteering builds a loop. The alternates are seen in the order of the configuration; those that are missing are not seen.
func NewSteering(opt SteeringOptions, primary Sight, alternates []Sight, saved *state.Steering) (*Steering, error) {
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
	s := &Steering{opt: opt, machine: m, rules: make([]switched, len(opt.Steer.Alternates))}
	s.sights = make([]Sight, 1+len(s.rules))
	s.unread = make([]feedTrouble, len(s.sights))
	s.see(primary, alternates)
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
	if r.Op.Kind != OpReadQueue { // the wishes are of a decision that did not know this result
		s.rules[r.Op.Alternate].wish = steer.RuleWish{}
		for i := range s.rules {
			if w := &s.rules[i].wish; w.Wanted {
				w.Write = false // whether all others are disabled has to be judged anew
			}
		}
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

// learn takes a result into the next decision's input.
func (s *Steering) learn(now unit.Time, r SteerResult) {
	of, rule := s.of(r.Op), &s.rules[r.Op.Alternate]
	if r.Err != nil {
		if answered(r.Err) {
			s.over(&s.way, "the router answers again")
		} else {
			of = &s.way
		}
		s.failed(of, now, r)
		switch {
		case r.Op.Kind == OpReadQueue:
			s.queue.OK, s.queue.Fresh = false, false
		case len(s.rules) > 1 && r.Op.Kind == OpReadRule && !r.Rule && unswitchable(r.Err):
			// It is disabled, or not there: the other lines can be used without it.
			rule.Rule, rule.at = readingOf(false, rule.Seq+1), r.At
			rule.Barred = true
		default:
			rule.Known = false // the outcome of a write is unknown, and an old reading proves nothing
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
		rule.Rule, rule.at = readingOf(rule.pretended(r.Rule, s.opt.DryRun), rule.Seq+1), r.At
	case OpSetRule:
		s.over(of, "the rule can be set again")
		rule.Rule, rule.at = readingOf(r.Rule, rule.Seq+1), r.At
		if r.Rule {
			rule.renewed = r.At
		}
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
	in := steer.Input{Now: now, RTT: s.fuse(0, now), Queue: s.queue}
	if in.RTT.OK {
		s.answered = in.RTT.At
	}
	if loss := s.sights[0].Loss; loss != nil {
		in.Loss = loss(now)
	}
	in.Autorate = s.feed(0, now)
	for i, r := range s.rules {
		in.Alternates = append(in.Alternates, steer.Alternate{RTT: s.fuse(i+1, now), Autorate: s.feed(i+1, now)})
		in.Rules = append(in.Rules, r.Rule)
	}
	d := s.machine.Step(in)
	s.queue.Fresh = false
	s.last = d
	s.notes = append(s.notes, d.Notes...)
	if s.opt.DryRun || s.yielded { // what was only pretended, or left to another, cannot be late
		s.notes = slices.DeleteFunc(s.notes, func(n link.Note) bool { return n.Key == "steer_withdrawn" })
	}
	if d.WouldSteer != "" { // the machine says it once per change
		s.notes = append(s.notes, link.Note{Level: link.Info, Key: wouldSteer, Text: "dry run of steering_v3: " + d.WouldSteer})
	}
	o.Line = steer.Line(d)
	for i := range s.rules {
		s.rules[i].wish = d.Rules[i]
		switch w := &s.rules[i].wish; {
		case s.opt.DryRun:
			s.rehearse(i)
		case s.yielded:
			w.Read = w.Read || w.Write && !s.rules[i].Known
			w.Write = false
		}
	}
	s.next(now, o)
}

// Yield says that another controller switches the rules, or that it is not known yet that none does; off, that this one may.
func (s *Steering) Yield(on bool) { s.yielded = on }

// met says that the router answers, and has told of every rule.
func (s *Steering) met() bool {
	return s.way.kind == "" && !slices.ContainsFunc(s.rules, func(r switched) bool { return r.at == 0 })
}

func (s *Steering) fuse(i int, now unit.Time) link.RTT {
	p := s.sights[i].Prober
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
	if s.sights[i].Feed == nil {
		return steer.Autorate{}
	}
	a, err := s.sights[i].Feed.ReadFeed(now) // after an error a is what was read last, with its age
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

// The keys of the notes in which a dry run says what it would have done.
const (
	wouldSteer = "would_steer"
	wouldSet   = "would_set"
)

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
	fmt.Fprintf(&b, ", %d of %d RED, %d GREEN, not RED for %s", r.Red, r.Need, r.Green, r.NotRed.Round(time.Second))
	for _, v := range r.Alternates {
		fmt.Fprintf(&b, ", %s", v)
	}
	if r.Threshold > 0 {
		fmt.Fprintf(&b, ", score %d of %d", r.Score, r.Threshold)
	}
	for _, brake := range r.Brakes {
		b.WriteString(", " + brake)
	}
	for i, rule := range s.rules {
		fmt.Fprintf(&b, ", rule %s, read %s, wanted %s", rule.word(), age(rule.at), onOff[d.Wanted == i])
	}
	return b.String()
}

// State is what the durable file keeps.
func (s *Steering) State(now unit.Time, bootID string, wall time.Time) state.Steering {
	return state.Steering{
		Name: s.opt.Name, Primary: s.opt.Steer.Primary, BootID: bootID, At: now, Saved: wall,
		Machine: s.snapshot(),
	}
}

// Left notes which alternate a stop, or a single run, left connections going to, [steer.None] for none, after its rule was
// read back: that is the state, and the next start must not undo it.
func (s *Steering) Left(alternate int) { s.left = &alternate }

func (s *Steering) snapshot() steer.Snapshot {
	snap := s.machine.Snapshot()
	if s.opt.DryRun { // the next start sets the rule to the stored state
		snap.State, snap.Target, snap.Since, snap.History = s.origin.State, s.origin.Target, s.origin.Since, s.origin.History
		snap.Flap, snap.CapTold, snap.Rest = s.origin.Flap, s.origin.CapTold, s.origin.Rest
		if !s.opt.Steer.V3.DryRun {
			snap.Confidence = s.origin.Confidence
		}
	}
	if s.left != nil {
		to, target := steer.Good, ""
		if *s.left != steer.None {
			to, target = steer.Degraded, s.opt.Steer.Alternates[*s.left].Name
		}
		snap = movedTo(snap, to, target, "the rule was read back at the end of the process")
	}
	return snap
}

// movedTo is a machine's memory after a change of state that was made and read back behind its back.
func movedTo(snap steer.Snapshot, to steer.State, target, why string) steer.Snapshot {
	if snap.State == to {
		return snap
	}
	t := steer.Transition{From: snap.State, To: to, Target: target, At: snap.At, Why: why}
	if to == steer.Good {
		t.Target = snap.Target
	}
	snap.History = append(snap.History, t)
	snap.State, snap.Target, snap.Since, snap.Confidence.Steered = to, target, snap.At, to == steer.Degraded
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
	s.way, s.queueNo = trouble{}, trouble{} // a reload is how a person says to try again
	for i := range s.rules {
		s.rules[i].no = trouble{}
	}
	return nil
}

// see takes how the lines are seen.
func (s *Steering) see(primary Sight, alternates []Sight) {
	clear(s.sights)
	s.sights[0] = primary
	copy(s.sights[1:], alternates)
}

// SetSights replaces how the lines are seen, after a reload that changed the probes. Replies of the old ones may be of other
// hosts.
func (s *Steering) SetSights(primary Sight, alternates []Sight) {
	s.see(primary, alternates)
	s.emptyWindows()
}

func (s *Steering) emptyWindows() {
	win := reflector.Config{Hosts: 1, Count: s.opt.PingCount, Period: s.opt.Steer.Interval}
	s.wins = make([]*reflector.Window, len(s.sights))
	for i := range s.wins {
		s.wins[i] = reflector.New(win)
	}
}

// SetRouter says that operations go to another router, or to another queue or rule, from now on.
func (s *Steering) SetRouter() {
	if s.busy {
		s.foreign = s.ops
	}
	s.queue = steer.QueueReading{}
	for i := range s.rules {
		s.rules[i].Known = false
	}
	s.machine.Reread() // at once: what keeps a rule enabled by being told again has to know that it is
}
