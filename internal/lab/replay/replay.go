// Package replay runs the loop of a line again over a recording of it: the same calls, with what they took in at the time.
// The answers must be the recorded ones to the bit, or the first that is not is found. It also shows what another
// configuration would have decided on the same inputs, and turns recordings of other programs into ours.
package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// File is one file of a recording.
type File struct {
	Name string
	R    io.Reader
}

// Difference is a place where the loop answers otherwise than it did.
type Difference struct {
	// File and Record say where: records count from 1, the header.
	File   string `json:"file"`
	Record int    `json:"record"`
	// At is the time since the recording began.
	At time.Duration `json:"at_ns"`
	// Call is the kind of call, and What the part of its answer.
	Call string `json:"call"`
	What string `json:"what"`
	// Recorded and Replayed are the two values.
	Recorded string `json:"recorded"`
	Replayed string `json:"replayed"`
}

// String is the difference in one sentence.
func (d *Difference) String() string {
	return fmt.Sprintf("%s, record %d, %s after the beginning, %s: %s was %s and is %s now",
		d.File, d.Record, d.At.Round(time.Microsecond), d.Call, d.What, d.Recorded, d.Replayed)
}

// Result is what a replay found.
type Result struct {
	Schema  int       `json:"schema"`
	WAN     string    `json:"wan"`
	Program string    `json:"program"`
	Source  string    `json:"source"`
	Began   time.Time `json:"began"`
	// Files and Records were read; Skipped records are of kinds that this version does not know.
	Files   int `json:"files"`
	Records int `json:"records"`
	Skipped int `json:"skipped"`
	// Calls are how many the loop answered, Cycles how many of them were cycles, Span the time between first and last.
	Calls  int           `json:"calls"`
	Cycles int           `json:"cycles"`
	Span   time.Duration `json:"span_ns"`
	// Whole says that all is known that the recorded loop knew, so that every answer must be the same. Otherwise Partial
	// says why not, and differences are to be expected. Gaps are places where calls are missing.
	Whole   bool     `json:"whole"`
	Partial string   `json:"partial,omitempty"`
	Gaps    []string `json:"gaps,omitempty"`
	// Ends say how each file ended that was cut off or not closed.
	Ends []string `json:"ends,omitempty"`
	// Against says that another configuration decided; Notes tell how it was fitted to the inputs.
	Against bool     `json:"against"`
	Notes   []string `json:"notes,omitempty"`
	// First is the first answer that differs, nil when none does; Different counts them, DifferentCycles those of cycles.
	First           *Difference `json:"first,omitempty"`
	Different       int         `json:"different"`
	DifferentCycles int         `json:"different_cycles"`
	// Was and Is are the two series of decisions.
	Was Summary `json:"recorded"`
	Is  Summary `json:"replayed"`
}

// player is a replay under way.
type player struct {
	res     Result
	wan     *daemon.WAN
	feed    *feed
	against *config.WAN
	head    *journal.Header // the first
	next    int             // the segment that must follow
	flight  uint64          // of the replayed loop
	at      struct {
		file   string
		record int
	}
	first, last unit.Time
	began       bool
	// fresh says that no call was made since the loop was built.
	fresh  bool
	broken error
	// inexact says why the loop's whole state is not known, until an image tells it.
	inexact string
	was, is series
}

// feed is what the loop takes in during a call.
type feed struct {
	replies  []link.Reply
	probes   []link.Probe
	counters []link.Counters
	jitter   float64
	outside  link.Outside
}

// Drain hands the replies of the call up.
func (f *feed) Drain(dst []link.Reply) []link.Reply {
	dst = append(dst, f.replies...)
	f.replies = f.replies[:0]
	return dst
}

// Count does nothing: what was counted is recorded.
func (*feed) Count() {}

// Take hands up what was observed.
func (f *feed) Take(probes []link.Probe, counters []link.Counters) ([]link.Probe, []link.Counters) {
	probes, counters = append(probes, f.probes...), append(counters, f.counters...)
	f.probes, f.counters = f.probes[:0], f.counters[:0]
	return probes, counters
}

// Run replays the files of one recording, in their order. against, when not nil, decides in the place of the recorded
// configuration. It fails for files that cannot be read and for such that are not of one recording.
func Run(files []File, against *config.WAN) (Result, error) {
	p := &player{feed: &feed{}, against: against}
	p.res.Schema, p.res.Whole, p.res.Against = 1, true, against != nil
	if len(files) == 0 {
		return p.res, errors.New("replay: no file was given")
	}
	for _, f := range files {
		if err := p.file(f); err != nil {
			return p.res, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	p.res.Span = p.last.Sub(p.first)
	p.res.Was, p.res.Is = p.was.summary(), p.is.summary()
	return p.res, nil
}

func (p *player) file(f File) error {
	r, err := journal.NewReader(f.R)
	if err != nil {
		return err
	}
	p.at.file, p.at.record = f.Name, 1
	p.res.Files++
	if err := p.begin(r.Header()); err != nil {
		return err
	}
	ended := false
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		p.at.record++
		if err := p.record(rec); err != nil {
			return err
		}
		_, ended = rec.(*journal.End)
	}
	p.res.Records += p.at.record
	p.res.Skipped += r.Skipped()
	switch {
	case r.Torn() != nil:
		p.res.Ends = append(p.res.Ends, fmt.Sprintf("%s is cut off or damaged (%v); what is before that was used", f.Name, r.Torn()))
	case !ended:
		p.res.Ends = append(p.res.Ends, f.Name+" was not closed: its writer was killed, or is still at work")
	}
	if r.Torn() != nil || !ended {
		p.next = -1 // what follows does not go on from here
	}
	return nil
}

// begin starts a loop from a header, or goes on where the last file ended.
func (p *player) begin(h *journal.Header) error {
	if p.head == nil {
		head := *h
		p.head = &head
		p.res.WAN, p.res.Program, p.res.Source, p.res.Began = h.WAN, h.Program, string(h.Source), h.Wall
		switch {
		case h.Midway:
			p.inexact = "the recording began while the loop was running"
		case h.Segment > 0:
			p.inexact = fmt.Sprintf("it begins with segment %d; with all segments from 0 on, every answer is compared", h.Segment)
		}
	} else {
		switch {
		case h.WAN != p.head.WAN:
			return fmt.Errorf("it is a recording of %q, the files before it are of %q", h.WAN, p.head.WAN)
		case h.Boot != p.head.Boot || h.Run != p.head.Run:
			return errors.New("it is of another recording than the files before it: replay them apart")
		case h.Segment < p.next:
			return fmt.Errorf("it is segment %d, and came after segment %d: name the files in their order", h.Segment, p.next-1)
		case h.Segment == p.next && h.Lost == p.head.Lost:
			p.next++
			return nil // the loop goes on
		case h.Lost > p.head.Lost:
			p.inexact = fmt.Sprintf("%d records before %s were lost, because the disk was too slow", h.Lost-p.head.Lost, p.at.file)
		case p.next < 0:
			p.inexact = "what follows a file that is cut off starts from the state in its header"
		default:
			p.inexact = fmt.Sprintf("segment %d is missing", p.next)
		}
		p.gap(p.inexact)
		p.head.Lost = h.Lost
	}
	p.next = h.Segment + 1
	cfg, err := p.config(h.Config)
	if err != nil {
		return err
	}
	opt := p.options(cfg, h.DryRun, h.Burst, h.Daily, h.Reflectors)
	var saved *state.WAN
	if len(h.State) > 0 {
		s, err := state.ReadWAN(bytes.NewReader(h.State), h.WAN)
		if err != nil {
			return fmt.Errorf("the state in its header: %w", err)
		}
		saved = &s
	}
	opt.Jitter, opt.Observed = func() float64 { return p.feed.jitter }, p.feed
	opt.Outside = func() link.Outside { return p.feed.outside }
	p.flight, p.fresh = 0, true
	if p.wan, err = daemon.NewWAN(opt, p.feed, h.Now, saved); err != nil {
		return fmt.Errorf("the configuration in its header: %w", err)
	}
	return nil
}

// image takes over all that the recorded loop knew, where this version can read it.
func (p *player) image(i *journal.Image) {
	if !p.fresh || p.against != nil {
		return
	}
	switch err := p.wan.SetImage(i.Layout, i.Data); {
	case err == nil:
		p.inexact = ""
	case errors.Is(err, daemon.ErrLayout):
		p.inexact += ", and " + err.Error()
	default:
		p.broken = err
	}
}

// gap notes that calls are missing from here on.
func (p *player) gap(why string) { p.res.Gaps = append(p.res.Gaps, why) }

// partial notes that from here on the loop does not know all that the recorded one did.
func (p *player) partial(why string) {
	p.res.Whole = false
	if p.res.Partial != "" {
		p.res.Partial += "; "
	}
	p.res.Partial += why
}

// config reads a recorded configuration, unless another decides.
func (p *player) config(text string) (*config.WAN, error) {
	if p.against != nil {
		return p.against, nil
	}
	f, ds := config.Parse("the recording", strings.NewReader(text), config.Options{})
	if err := ds.Err(); err != nil {
		return nil, fmt.Errorf("the recorded configuration is none for this version: %w", err)
	}
	if f.WAN == nil {
		return nil, errors.New("the recorded configuration is not of a WAN")
	}
	return f.WAN, nil
}

// options are those the loop had, or those of the other configuration, fitted to the inputs: to the hosts that were probed.
func (p *player) options(cfg *config.WAN, dry bool, burst, daily int, probed []string) daemon.WANOptions {
	if p.against == nil {
		o := daemon.WANOptionsOf(cfg, dry)
		o.Actuate.Burst, o.Actuate.Daily = burst, daily
		return o
	}
	// It decides and never writes: the rates in force are those the recording reads back.
	o, hosts := daemon.WANOptionsOf(cfg, true), len(probed)
	o.IRTT = hosts > 1 && strings.HasPrefix(probed[hosts-1], config.IRTTScheme)
	if o.Reflector.Hosts != hosts {
		p.fitted(fmt.Sprintf("the recording has %d reflectors, the configuration %d: all of the recording count", hosts, o.Reflector.Hosts))
		o.Reflector.Hosts = hosts
		o.Reflector.Median = cfg.Tracking != nil || hosts >= 3
		if o.Tracking != nil {
			t := *o.Tracking
			t.Hosts, o.Tracking = hosts, &t
		}
	}
	if recorded, err := p.recordedPeriod(); err == nil && recorded != cfg.Period {
		p.fitted(fmt.Sprintf("cycles come every %s, as recorded, and not every %s", recorded, cfg.Period))
		o.Shaper.Period, o.Reflector.Period = recorded, recorded
	}
	return o
}

func (p *player) fitted(note string) {
	if !slices.Contains(p.res.Notes, note) {
		p.res.Notes = append(p.res.Notes, note)
	}
}

func (p *player) recordedPeriod() (time.Duration, error) {
	f, ds := config.Parse("the recording", strings.NewReader(p.head.Config), config.Options{})
	if err := ds.Err(); err != nil {
		return 0, err
	}
	if f.WAN == nil {
		return 0, errors.New("the recorded configuration is not of a WAN")
	}
	return f.WAN.Period, nil
}

func (p *player) record(rec journal.Record) error {
	switch r := rec.(type) {
	case *journal.Image:
		p.image(r)
		return p.broken
	case *journal.Call:
		if p.inexact != "" {
			p.partial(p.inexact)
			p.inexact = ""
		}
		p.fresh = false
		p.call(r)
	case *journal.Reconfigure:
		if p.against != nil {
			return nil
		}
		cfg, err := p.config(r.Config)
		if err != nil {
			return err
		}
		return p.wan.Reconfigure(p.options(cfg, r.DryRun, r.Burst, r.Daily, r.Reflectors))
	case *journal.Probes:
		p.wan.SetProber(p.feed)
	case *journal.Router:
		p.wan.SetRouter()
	case *journal.Yield:
		p.wan.Yield(r.On)
	}
	return nil
}

// call makes one call again and compares.
func (p *player) call(c *journal.Call) {
	f := p.feed
	f.replies, f.probes, f.counters = append(f.replies, c.Replies...), append(f.probes, c.Probes...), append(f.counters, c.Counters...)
	f.jitter, f.outside = c.Jitter, c.Outside
	if !p.began {
		p.first, p.began = c.Now, true
	}
	p.last = c.Now
	p.res.Calls++
	var o daemon.Outcome[actuate.Op]
	switch c.Kind {
	case journal.Tick:
		p.res.Cycles++
		o = p.wan.Tick(c.Now)
	case journal.Deliver:
		r := c.Result
		if p.against != nil && p.flight != 0 {
			// Whatever was asked for then, its reading answers what is asked for now.
			r.Op = actuate.Op{ID: p.flight}
			p.flight = 0
		}
		o = p.wan.Deliver(c.Now, r)
	case journal.Wake:
		o = p.wan.Wake(c.Now)
	}
	if o.Op != nil {
		p.flight = o.Op.ID
	}
	got := p.wan.Answered(c.Kind, o)
	p.was.add(c, &c.Output)
	p.is.add(c, &got)
	what, was, is := compare(c.Kind, &c.Output, &got)
	if what == "" {
		return
	}
	p.res.Different++
	if c.Kind == journal.Tick && cycleDiffers(&c.Output, &got) {
		p.res.DifferentCycles++
	}
	if p.res.First == nil {
		p.res.First = &Difference{
			File: p.at.file, Record: p.at.record, At: c.Now.Sub(p.head.Now), Call: c.Kind.String(), What: what, Recorded: was, Replayed: is,
		}
	}
}
