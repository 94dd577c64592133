package daemon

import (
	"bytes"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// Tape is where a [Taped] writes. Its methods must not block.
type Tape interface {
	// Put takes a record, which is valid until Put returns. A header begins a new file.
	Put(journal.Record)
	// Full says that a header must come before the next record.
	Full() bool
}

// Recording says what a [Taped] writes of itself.
type Recording struct {
	// Program is wanctl's version, Source what records and Boot the boot's name.
	Program string
	Source  journal.Source
	Boot    string
	// Config is the configuration in force.
	Config *config.WAN
	// Wall tells the time of day; nil is its zero.
	Wall func() time.Time
}

// Taped is a WAN whose inputs and outputs are recorded, call by call, while it has a tape: enough to run it again over
// them. It is used like the WAN. It is not safe for concurrent use.
type Taped struct {
	*WAN
	rec Recording
	// tape is nil while nothing is recorded.
	tape Tape

	// begun is when the loop began and saved what it began with; touched says that it was called since, run when the
	// recording began.
	begun   unit.Time
	saved   *state.WAN
	touched bool
	run     unit.Time
	midway  bool
	segment int
	call    journal.Call
	caked   unit.Time // when CAKE's statistics were last recorded
}

// cakeEvery is how often CAKE's own statistics are recorded: nothing is decided from them, and they are many.
const cakeEvery = time.Second

// NewTaped builds a WAN as [NewWAN] does; nothing is recorded before Record.
func NewTaped(opt WANOptions, prober Prober, now unit.Time, saved *state.WAN, rec Recording) (*Taped, error) {
	t := &Taped{rec: rec, begun: now, saved: saved}
	if jitter := opt.Jitter; jitter != nil {
		opt.Jitter = func() float64 {
			t.call.Jitter = jitter()
			return t.call.Jitter
		}
	} else {
		opt.Jitter = func() float64 {
			t.call.Jitter = evenJitter
			return evenJitter
		}
	}
	if outside := opt.Outside; outside != nil {
		opt.Outside = func() link.Outside {
			t.call.Outside = outside()
			return t.call.Outside
		}
	}
	if opt.Observed == nil {
		opt.Observed = NewObserved(nil)
	}
	opt.Observed = tapedObserver{opt.Observed, t}
	w, err := NewWAN(opt, tapedProber{prober, t}, now, saved)
	if err != nil {
		return nil, err
	}
	t.WAN = w
	return t, nil
}

// Record begins a recording on a tape at now; nil ends it. The caller closes the tape it had.
func (t *Taped) Record(tape Tape, now unit.Time) {
	t.tape, t.segment, t.midway = tape, 0, t.touched
	if tape == nil {
		return
	}
	if t.run = now; !t.midway {
		t.run = t.begun
	}
	t.begin(now)
}

// begin writes the header of a segment.
func (t *Taped) begin(now unit.Time) {
	saved := t.saved
	if t.touched {
		s := t.State(now, t.rec.Boot, t.wall())
		saved = &s
	} else {
		now = t.begun
	}
	h := &journal.Header{
		Program: t.rec.Program, WAN: t.opt.Name, Source: t.rec.Source, Boot: t.rec.Boot, Run: t.run, Segment: t.segment,
		Midway: t.midway, Now: now, Wall: t.wall(), Config: t.rec.Config.Text, Reflectors: t.rec.Config.Hosts(),
		DryRun: t.opt.Actuate.DryRun, Burst: t.opt.Actuate.Burst, Daily: t.opt.Actuate.Daily,
	}
	if saved != nil {
		var b bytes.Buffer
		if err := state.WriteWAN(&b, *saved); err == nil { // only what no state is fails
			h.State = b.Bytes()
		}
	}
	t.segment++
	t.tape.Put(h)
	if t.touched {
		layout, data := t.Image()
		t.tape.Put(&journal.Image{Layout: layout, Data: data})
	}
}

func (t *Taped) wall() time.Time {
	if t.rec.Wall == nil {
		return time.Time{}
	}
	return t.rec.Wall()
}

// room begins a segment where one is due. It comes before what is then recorded: a segment begins with what the loop
// knew before it.
func (t *Taped) room(now unit.Time) {
	if t.tape != nil && t.tape.Full() {
		t.begin(now)
	}
}

// put records what was done.
func (t *Taped) put(r journal.Record) {
	if t.touched = true; t.tape != nil {
		t.tape.Put(r)
	}
}

// Tick is [WAN.Tick], recorded.
func (t *Taped) Tick(now unit.Time) Outcome[actuate.Op] {
	return t.made(journal.Tick, now, nil, func() Outcome[actuate.Op] { return t.WAN.Tick(now) })
}

// Deliver is [WAN.Deliver], recorded.
func (t *Taped) Deliver(now unit.Time, r actuate.Result) Outcome[actuate.Op] {
	return t.made(journal.Deliver, now, &r, func() Outcome[actuate.Op] { return t.WAN.Deliver(now, r) })
}

// Wake is [WAN.Wake], recorded.
func (t *Taped) Wake(now unit.Time) Outcome[actuate.Op] {
	return t.made(journal.Wake, now, nil, func() Outcome[actuate.Op] { return t.WAN.Wake(now) })
}

// made makes a call and records it.
func (t *Taped) made(kind journal.CallKind, now unit.Time, r *actuate.Result, call func() Outcome[actuate.Op]) Outcome[actuate.Op] {
	t.room(now)
	c := &t.call
	c.Replies, c.Probes, c.Counters = c.Replies[:0], c.Probes[:0], c.Counters[:0]
	o := call()
	if t.touched = true; t.tape == nil {
		return o
	}
	c.Kind, c.Now = kind, now
	if c.Result = (actuate.Result{}); r != nil {
		c.Result = *r
		if now.Sub(t.caked) < cakeEvery {
			c.Result.Report.Down.Cake, c.Result.Report.Up.Cake = link.Cake{}, link.Cake{}
		} else {
			t.caked = now
		}
	}
	c.Output = t.Answered(kind, o)
	t.tape.Put(c)
	return o
}

// Answered is what the newest call answered, as it is recorded and compared.
func (w *WAN) Answered(kind journal.CallKind, o Outcome[actuate.Op]) journal.Output {
	out := journal.Output{Wanted: w.wanted(), Wake: o.Wake, Notes: o.Notes}
	if kind == journal.Tick {
		out.Decision = w.last
		out.Decision.Notes = nil
	}
	if w.track != nil {
		l := &w.track.out
		out.Law = journal.Law{
			Capacity: l.Capacity, Queue: l.Queue,
			Cause: link.Pair[link.Cause]{Down: l.Reason.Down.Cause, Up: l.Reason.Up.Cause},
		}
	}
	if o.Op != nil {
		out.HasOp, out.Op = true, *o.Op
	}
	return out
}

// Reconfigure is [WAN.Reconfigure], recorded, with the configuration that the options are of.
func (t *Taped) Reconfigure(now unit.Time, opt WANOptions, cfg *config.WAN) error {
	t.room(now)
	if err := t.WAN.Reconfigure(opt); err != nil {
		return err
	}
	t.rec.Config = cfg
	t.put(&journal.Reconfigure{
		Now: now, Config: cfg.Text, Reflectors: cfg.Hosts(), DryRun: opt.Actuate.DryRun, Burst: opt.Actuate.Burst, Daily: opt.Actuate.Daily,
	})
	return nil
}

// SetProber is [WAN.SetProber], recorded.
func (t *Taped) SetProber(now unit.Time, p Prober) {
	t.room(now)
	t.WAN.SetProber(tapedProber{p, t})
	t.put(&journal.Probes{Now: now})
}

// SetRouter is [WAN.SetRouter], recorded.
func (t *Taped) SetRouter(now unit.Time) {
	t.room(now)
	t.WAN.SetRouter()
	t.put(&journal.Router{Now: now})
}

// Yield is [WAN.Yield], recorded.
func (t *Taped) Yield(now unit.Time, on bool) {
	t.room(now)
	t.WAN.Yield(on)
	t.put(&journal.Yield{On: on})
}

// Stop records that the loop ends.
func (t *Taped) Stop(now unit.Time, why string) {
	if t.tape != nil && !t.tape.Full() {
		t.tape.Put(&journal.End{Now: now, Why: why})
	}
}

type tapedProber struct {
	Prober
	t *Taped
}

func (p tapedProber) Drain(dst []link.Reply) []link.Reply {
	n := len(dst)
	dst = p.Prober.Drain(dst)
	if p.t.tape != nil {
		p.t.call.Replies = append(p.t.call.Replies, dst[n:]...)
	}
	return dst
}

type tapedObserver struct {
	Observer
	t *Taped
}

func (o tapedObserver) Take(probes []link.Probe, counters []link.Counters) ([]link.Probe, []link.Counters) {
	n, m := len(probes), len(counters)
	probes, counters = o.Observer.Take(probes, counters)
	if c := &o.t.call; o.t.tape != nil {
		c.Probes, c.Counters = append(c.Probes, probes[n:]...), append(c.Counters, counters[m:]...)
	}
	return probes, counters
}
