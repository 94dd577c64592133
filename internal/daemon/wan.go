package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/filter"
	"wanctl/internal/health"
	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/shaper"
	"wanctl/internal/state"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// Prober hands up what a WAN's probes brought back. The pinger and the simulated network are the two there are.
type Prober interface {
	// Drain appends the replies since the last call to dst. It never blocks.
	Drain(dst []link.Reply) []link.Reply
}

// WANOptions are what one WAN's loop needs, apart from its hands.
type WANOptions struct {
	Name      string
	Shaper    shaper.Config
	Reflector reflector.Config
	Actuate   actuate.Config
	// Tracking, where not nil, is the law that decides the rates, in the place of the states' own.
	Tracking *tracking.Config
	// Candidates are the hosts that the prober can reach, of which a line that tracks its capacity uses some.
	Candidates []reflector.Candidate
	// IRTT says that the prober's host after the candidates is an IRTT server.
	IRTT bool
	// TCPCheck lets a line that tracks its capacity compare ICMP with TCP handshakes, whose replies the prober hands up with
	// the hosts after all others.
	TCPCheck bool
	// Observed is where a line that tracks its capacity finds its probes and counters; nil leaves it the router's reports.
	Observed Observer
	// Place is where the queues are.
	Place health.Place
	// OnExit and Base decide what a stop leaves on the router.
	OnExit actuate.ExitMode
	Base   link.Rates
	// Jitter returns the next random number in [0, 1), for backoff and for who of the reflectors is replaced for no fault.
	Jitter func() float64
	// Outside tells a line that tracks its capacity what its probes and counters do not; nil tells nothing.
	Outside func() link.Outside
}

// WouldWrite is the key of the notes in which a dry run says what it would have written.
const WouldWrite = "would_write"

// noReply is the key of the note that tells an outage of measuring.
const noReply = "no_reply"

// evenJitter stands for chance where none is given.
const evenJitter = 0.5

// WAN is one line's loop without a goroutine, a clock or a socket: sense, decide, act and record as plain calls. The
// live program, the simulation and the tests all drive this same value. It is not safe for concurrent use.
type WAN struct {
	opt    WANOptions
	prober Prober
	win    *reflector.Window
	ctl    *shaper.Controller
	act    *actuate.Actuator
	proof  *health.Shaping
	// track is nil under the policy of steps.
	track *tracked

	replies []link.Reply
	load    link.Load
	// capped bounds the download and upload while the router's CPU, not the line, is the limit; 0 is no bound.
	capped link.Rates
	// report is the newest whole reading of the router.
	report link.Report

	started    unit.Time
	decided    bool // a measured cycle exists
	last       link.Decision
	answeredAt unit.Time
	warnedAt   unit.Time // when the last outage was last told
	tickedAt   unit.Time // when the last cycle was made
	awoke      unit.Time // when the first was after a pause that is no outage: nobody was asked in it
	silent     bool      // it was told and is not over
	seq        uint64
	shares     shares
	memory     tracking.Memory                       // of an earlier run, for a later one, while the policy is another
	carried    link.Pair[[link.States]time.Duration] // time per state of earlier runs, from the state file
	out        actuate.Output
	wrote      link.Rates // what the router last took from us
	left       remains    // what a stop left there
	findings   []health.Finding
	flight     uint64 // the operation under way, 0 when there is none
	foreign    uint64 // one that went to a router that is not ours any more
}

// NewWAN builds a loop that starts at now. saved, when not nil, is a state file's content.
func NewWAN(opt WANOptions, prober Prober, now unit.Time, saved *state.WAN) (*WAN, error) {
	ctl, err := shaper.New(opt.Shaper)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Name, err)
	}
	if opt.Jitter == nil {
		opt.Jitter = func() float64 { return evenJitter }
	}
	if opt.Outside == nil {
		opt.Outside = func() link.Outside { return link.Outside{} }
	}
	w := &WAN{
		opt: opt, prober: prober, started: now,
		win: reflector.New(opt.Reflector), ctl: ctl, act: actuate.New(opt.Actuate), proof: health.NewShaping(opt.Place),
	}
	if opt.Tracking != nil {
		if w.track, err = newTracked(opt); err != nil {
			return nil, fmt.Errorf("%s: %w", opt.Name, err)
		}
	}
	if saved != nil {
		ctl.Restore(saved.Controller)
		if w.track != nil {
			w.track.law.Restore(ctl.Rates())
			w.track.law.Remember(saved.Memory)
		}
		w.memory = saved.Memory
		w.act.Restore(saved.Actuator)
		w.carried = saved.TimeInState
	}
	return w, nil
}

// Tick runs one cycle: the newest replies, the decision, and what it wants from the router.
func (w *WAN) Tick(now unit.Time) Outcome[actuate.Op] {
	w.seq++
	if w.tickedAt != 0 && now.Sub(w.tickedAt) > filter.Gap(w.opt.Shaper.Period) {
		w.awoke = now
	}
	w.tickedAt = now
	d := w.decide(now)
	if d.Measured {
		w.decided = true
		w.shares.add(now, d.State)
	}
	w.last = d
	notes := d.Notes
	if n, ok := w.outage(now, d.Measured); ok {
		notes = append(notes, n)
	}
	o := w.drive(now, nil, notes)
	if d.Measured {
		o.Line = Line(w.opt.Name, d)
	}
	return o
}

// decide makes a cycle's decision.
func (w *WAN) decide(now unit.Time) link.Decision {
	if w.track != nil {
		w.follow(now)
		return w.cycle(now)
	}
	w.replies = w.prober.Drain(w.replies[:0])
	w.heard(now)
	rtt := w.win.Fuse(now)
	if rtt.OK && rtt.At > w.answeredAt {
		w.answeredAt = rtt.At
	}
	return w.ctl.Step(shaper.Input{Now: now, RTT: rtt, Replies: w.replies, Load: w.load})
}

// heard takes the drained replies into the window.
func (w *WAN) heard(now unit.Time) {
	for i := range w.replies {
		r := &w.replies[i]
		// One that came in since this cycle's instant was taken is not from the future: it would void its window.
		// Nor is it one with contradicting times where the cycle's instant was taken before the probe left: on a busy
		// host that would leave the slowest reflector alone in the window.
		r.Received = min(r.Received, now)
		r.Sent = min(r.Sent, r.Received)
		if r.Host < w.opt.Reflector.Hosts { // the others are TCP's, which is measured otherwise
			w.win.Add(*r)
		}
	}
}

// Deliver hands the loop the result of the operation it asked for.
func (w *WAN) Deliver(now unit.Time, r actuate.Result) Outcome[actuate.Op] {
	var notes []link.Note
	if r.Op.ID == w.flight {
		w.flight = 0
	}
	switch {
	case r.Op.ID == w.foreign && w.foreign != 0:
		w.foreign = 0
		r = actuate.Result{Op: r.Op, Err: errOldRouter, Class: actuate.Transient}
	case r.Err == nil, r.Read.Down && r.Read.Up:
		notes = w.prove(r.Report)
		if w.track != nil {
			w.track.reported(r.Report)
		}
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		// What reads back as another rate was not taken.
		if want := r.Op.Want.Get(d); r.Op.Write && !r.Report.Unwritten && want > 0 && (r.Err == nil || r.Read.Get(d)) &&
			r.Report.Get(d).MaxLimit == want {
			w.wrote.Set(d, want)
		}
	}
	return w.drive(now, &r, notes)
}

// errOldRouter stands for whatever the router of an older configuration still says.
var errOldRouter = errors.New("the router's settings changed while an operation was under way")

// Wake is called at the instant an Outcome named, and when something arrived that may not wait for the next cycle.
func (w *WAN) Wake(now unit.Time) Outcome[actuate.Op] {
	if w.track != nil {
		w.follow(now)
	}
	return w.drive(now, nil, nil)
}

// drive lets the actuator look at the newest decision.
func (w *WAN) drive(now unit.Time, r *actuate.Result, notes []link.Note) Outcome[actuate.Op] {
	w.out = w.act.Step(actuate.Input{
		Calm: w.track != nil && w.track.pace.begun && !w.track.pace.active,
		Now:  now, Want: w.wanted(), Has: w.decided, Result: r, Jitter: w.opt.Jitter(),
	})
	w.load = w.out.Load
	if op := w.out.Would; op != nil {
		notes = append(notes, link.Note{Level: link.Info, Key: WouldWrite, Text: "dry run: would set " + ratesText(op.Want)})
	}
	if op := w.out.Op; op != nil {
		w.flight = op.ID
	}
	o := Outcome[actuate.Op]{Notes: append(notes, w.out.Notes...), Op: w.out.Op, Wake: w.out.Wake}
	if w.track != nil {
		if at := w.track.out.Wake; at > now && (o.Wake == 0 || at < o.Wake) {
			o.Wake = at
		}
	}
	return o
}

// ratesText names the directions that are to be set.
func ratesText(r link.Rates) string {
	var parts []string
	if r.Down > 0 {
		parts = append(parts, "DL="+r.Down.String())
	}
	if r.Up > 0 {
		parts = append(parts, "UL="+r.Up.String())
	}
	return strings.Join(parts, ", ")
}

// wanted is the decision, below the router's own limit where one was found, and never under the lowest floor.
func (w *WAN) wanted() link.Rates {
	r := w.last.Rates
	if w.track != nil {
		r = w.track.out.Rates // newer than the last cycle's
	}
	if w.capped.Down > 0 {
		r.Down = min(r.Down, max(w.capped.Down, w.opt.Shaper.Down.Floor[link.Red]))
	}
	if w.capped.Up > 0 {
		r.Up = min(r.Up, max(w.capped.Up, w.opt.Shaper.Up.Floor[link.Red]))
	}
	return r
}

const (
	outageAfter     = 2 * time.Second // shorter silences are a lost probe
	outageNoteEvery = time.Minute
)

func (w *WAN) outage(now unit.Time, measured bool) (link.Note, bool) {
	if measured {
		if !w.silent {
			return link.Note{}, false
		}
		w.silent = false
		return link.Note{Level: link.Info, Key: "probes_back", Text: "reflectors answer again; control goes on"}, true
	}
	age := now.Sub(w.asked())
	if age < outageAfter || (w.warnedAt != 0 && now.Sub(w.warnedAt) < outageNoteEvery) {
		return link.Note{}, false
	}
	w.warnedAt, w.silent = now, true
	return link.Note{Level: link.Warning, Key: noReply, Text: fmt.Sprintf(
		"no reflector has answered for %s; rates stay where they are until one does",
		age.Round(time.Second))}, true
}

// asked is since when somebody should have answered.
func (w *WAN) asked() unit.Time { return max(w.started, w.answeredAt, w.awoke) }

// prove watches that the queues carry the interface's bytes and that the router keeps up.
func (w *WAN) prove(r link.Report) []link.Note {
	w.report = r
	findings, notes := w.proof.Step(r)
	w.findings = findings
	w.capped = w.proof.Caps()
	return notes
}

// Decision is the newest one.
func (w *WAN) Decision() link.Decision { return w.last }

// carriedFor is how old the newest load may be in a feed.
const carriedFor = 10 * time.Second

// Feed is the loop's public snapshot after the newest cycle.
func (w *WAN) Feed() link.Feed {
	d := w.last
	f := link.Feed{
		WAN: w.opt.Name, Seq: w.seq, At: d.Now, Period: w.opt.Shaper.Period,
		Measured: d.Measured, AnsweredAt: w.answeredAt,
		RTT: d.RTT, Load: d.Load, Baseline: d.Baseline, Delta: d.Delta, State: d.State, Rates: d.Rates,
		DownAtFloor: w.ctl.AtFloor(link.Down), DownCuts: w.ctl.Cuts().Down,
		Warn: w.opt.Shaper.Down.Warn,
	}
	if w.load.Known && d.Now.Sub(w.load.At) <= carriedFor {
		f.Carried = w.load
	}
	if w.track != nil && d.Measured {
		beyond := w.track.unremovable()
		f.Load, f.Delta = f.Load+beyond, f.Delta+beyond
		f.Vain = f.Delta > f.Warn
	}
	return f
}

// State is what the durable file keeps.
func (w *WAN) State(now unit.Time, bootID string, wall time.Time) state.WAN {
	snap, act, applied := w.ctl.Snapshot(), w.act.Snapshot(), w.out.Applied
	for _, d := range bothWays {
		switch {
		case w.left.read.Get(d):
			act.Applied.Set(d, w.left.rates.Get(d))
			applied.Set(d, w.left.rates.Get(d))
		case w.left.open.Get(d): // either rate would be a guess, and a wrong one accuses somebody of our own write
			act.Applied.Set(d, 0)
			applied.Set(d, 0)
		}
	}
	return state.WAN{
		Name: w.opt.Name, BootID: bootID, At: now, Saved: wall,
		EWMA:       state.EWMA{BaselineRTT: w.last.Baseline, LoadRTT: w.last.Load},
		Controller: snap, Actuator: act, Applied: applied,
		TimeInState: w.timeInState(), Memory: w.remembered(),
	}
}

// remembered is what the line was measured to carry by the time of day: by the law, or, while another policy decides, by
// the one before.
func (w *WAN) remembered() tracking.Memory {
	if w.track != nil {
		return w.track.law.Memory()
	}
	return w.memory
}

func (w *WAN) timeInState() link.Pair[[link.States]time.Duration] {
	t := w.carried
	for i := range link.States {
		t.Down[i] += w.shares.total.Down[i]
		t.Up[i] += w.shares.total.Up[i]
	}
	return t
}

// StateShares are the shares of the measured time spent in each state since the start.
func (w *WAN) StateShares() link.Pair[[link.States]unit.PPM] { return sharesOf(w.shares.total) }

// Applied are the rates last read back from the router.
func (w *WAN) Applied() link.Rates { return w.out.Applied }

// remains is what the router has, as far as the operations of this loop tell.
func (w *WAN) remains() remains { return remains{rates: w.out.Applied, known: w.out.Confirmed} }

// Left notes what a stop left on the router, so that the next start is not surprised by it.
func (w *WAN) Left(r remains) { w.left = r }

// ExitRates is what a stop shall leave on the router.
func (w *WAN) ExitRates() link.Rates {
	base := w.opt.Base
	if w.track != nil {
		for _, d := range bothWays {
			if base.Get(d) == 0 {
				base.Set(d, w.track.out.Capacity.Get(d))
			}
		}
	}
	return w.act.Exit(w.opt.OnExit, base)
}

// Reconfigure takes a new configuration over: averages and streaks stay, rates are clamped to the new bounds.
func (w *WAN) Reconfigure(opt WANOptions) error {
	if err := w.ctl.Reconfigure(opt.Shaper); err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	if err := w.reconfigureTracking(opt); err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	if opt.Reflector != w.opt.Reflector {
		w.win = reflector.New(opt.Reflector)
	}
	// Always: a reload is how a person says that the router can be tried again.
	w.act.Reconfigure(opt.Actuate)
	opt.Jitter, opt.Observed, opt.Outside = w.opt.Jitter, w.opt.Observed, w.opt.Outside
	w.opt = opt
	return nil
}

// SetProber replaces the probes, after a reload that changed them. Replies of the old ones may be of other hosts.
func (w *WAN) SetProber(p Prober) {
	w.prober = p
	w.win = reflector.New(w.opt.Reflector)
	if w.track != nil {
		w.track.reset(w.opt)
	}
}

// SetRouter says that operations go to another router, or to other queues, from now on: what was proved of the old one
// counts no more, and neither does the result that is still to come from it.
func (w *WAN) SetRouter() {
	w.foreign = w.flight
	w.report = link.Report{}
	w.proof, w.findings, w.capped = health.NewShaping(w.opt.Place), nil, link.Rates{}
}

// Yield says that another controller writes to the router, or that it is not known yet that none does; off, that this one may.
func (w *WAN) Yield(on bool) { w.act.Yield(on) }

// Line is the log line of a measured cycle, as the earlier Python system wrote it.
func Line(name string, d link.Decision) string {
	return fmt.Sprintf("%s: [%s/%s] RTT=%s, load_ewma=%s, baseline=%s, delta=%s | DL=%s, UL=%s",
		name, d.State.Down, d.State.Up, d.RTT, d.Load, d.Baseline, d.Delta, d.Rates.Down, d.Rates.Up)
}

// Detail is the debug line of a cycle: what each host says, and why the rates are what they are.
func (w *WAN) Detail(now unit.Time) string {
	var b strings.Builder
	for _, h := range w.win.Hosts(now) {
		if !w.probes(h.Host) {
			continue
		}
		if h.OK {
			fmt.Fprintf(&b, "host %d %s (%d replies, %s old), ", h.Host, h.RTT, h.Replies, now.Sub(h.At).Round(time.Millisecond))
		} else {
			fmt.Fprintf(&b, "host %d silent, ", h.Host)
		}
	}
	d, act := w.last, w.out.Status
	fmt.Fprintf(&b, "because %s/%s, held %s/%s", d.Reason.Down.Cause, d.Reason.Up.Cause, act.Hold.Down, act.Hold.Up)
	if w.load.Known {
		fmt.Fprintf(&b, ", carried DL=%s, UL=%s", w.load.Down, w.load.Up)
	}
	return b.String()
}
