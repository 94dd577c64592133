package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// foreignFormat is the one form of other programs' recordings that is read: JSON lines, the first of which names it.
// Each has a type and a time; read are ping_reply (one-way delays in ms, each with the reflector's unknown offset),
// control_evaluation (byte counters) and requested_rates (what was set, in kbit/s).
const foreignFormat = "legacy-control-trace-v1"

// Limits of an import.
const (
	longestLine = 1 << 20
	mostEvents  = 10_000_000
	// longestSpan is how long a recording may be.
	longestSpan = 24 * time.Hour
	// MostHosts is how many reflectors a configuration may name.
	MostHosts = 16
	// foreignEpoch is where an imported recording begins: 0 stands for never.
	foreignEpoch = unit.Time(time.Hour)
	// answerTime is how long a router operation takes on an import.
	answerTime = time.Millisecond
)

// Imported says what was found in another program's recording.
type Imported struct {
	Program string        `json:"program"`
	Span    time.Duration `json:"span_ns"`
	// Reflectors answered; Replies were taken in, LeftOut are those of reflectors beyond the most a line may have.
	Reflectors int `json:"reflectors"`
	Replies    int `json:"replies"`
	LeftOut    int `json:"left_out"`
	// Counters are readings of the line's bytes, Rates changes of what it was shaped to.
	Counters int `json:"counters"`
	Rates    int `json:"rates"`
	// Unread are lines of other types, Bad lines that could not be read.
	Unread int `json:"unread"`
	Bad    int `json:"bad"`
}

// foreignLine is one line of the file.
type foreignLine struct {
	Timestamp struct {
		Mono int64 `json:"mono_ns"`
		Unix int64 `json:"unix_us"`
	} `json:"timestamp"`
	Type    string `json:"type"`
	Format  string `json:"format"`
	Program string `json:"program_version"`
	Control struct {
		Tick    float64 `json:"tick_interval_secs"`
		DownMin float64 `json:"download_min_kbit"`
		UpMin   float64 `json:"upload_min_kbit"`
	} `json:"control"`
	Reflector string  `json:"reflector"`
	Down      float64 `json:"down_time_ms"`
	Up        float64 `json:"up_time_ms"`
	Loop      int64   `json:"loop_mono_ns"`
	Rx        int64   `json:"rx_bytes"`
	Tx        int64   `json:"tx_bytes"`
	DownKbit  float64 `json:"download_kbit"`
	UpKbit    float64 `json:"upload_kbit"`
}

// event is something that happened to a line.
type event struct {
	at       unit.Time
	probe    *link.Probe
	reply    *link.Reply
	counters *link.Counters
	rates    *link.Rates
}

// foreign is a file that was read whole.
type foreign struct {
	head   foreignLine
	lines  []foreignLine
	found  Imported
	began  time.Time
	events []event
	hosts  []string
	// counters are all readings in the order of time.
	counters []link.Counters
}

// Import turns another program's recording into one of ours: what that program saw goes through a loop that tracks
// capacity, which reads the rates the other had set and never writes.
func Import(in io.Reader, tape daemon.Tape) (Imported, error) { return convert(in, tape, longestSpan) }

func convert(in io.Reader, tape daemon.Tape, longest time.Duration) (Imported, error) {
	var f foreign
	if err := f.read(in); err != nil {
		return f.found, err
	}
	f.arrange()
	switch {
	case len(f.events) == 0:
		return f.found, errors.New("import: it holds no replies, counters or rates")
	case f.found.Span > longest:
		return f.found, fmt.Errorf("import: it is longer than %s", longest)
	}
	return f.found, f.play(tape)
}

func (f *foreign) read(in io.Reader) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(make([]byte, 0, 64<<10), longestLine)
	for n := 1; sc.Scan(); n++ {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		var l foreignLine
		err := json.Unmarshal(sc.Bytes(), &l)
		switch {
		case f.head.Format == "" && (err != nil || l.Format != foreignFormat):
			return fmt.Errorf("import: its first line does not name the format %q, the only one that is read", foreignFormat)
		case f.head.Format == "":
			f.head = l
		case err != nil:
			f.found.Bad++ // the last one, where the file was cut off
		case l.Type == "ping_reply", l.Type == "control_evaluation", l.Type == "requested_rates":
			f.lines = append(f.lines, l)
		default:
			f.found.Unread++
		}
		if len(f.lines) > mostEvents {
			return fmt.Errorf("import: it has more than %d lines", mostEvents)
		}
	}
	// A compressed file that was cut off gives what it holds.
	if err := sc.Err(); err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || len(f.lines) == 0) {
		return fmt.Errorf("import: %w", err)
	}
	if f.head.Format == "" {
		return errors.New("import: it is empty")
	}
	f.found.Program = f.head.Program
	f.began = time.UnixMicro(f.head.Timestamp.Unix).UTC()
	return nil
}

// arrange puts what happened into the order of time, for the reflectors that answered most.
func (f *foreign) arrange() {
	answers := map[string]int{}
	for _, l := range f.lines {
		if l.Type == "ping_reply" && l.Reflector != "" {
			answers[l.Reflector]++
		}
	}
	for h := range answers {
		f.hosts = append(f.hosts, h)
	}
	f.found.Reflectors = len(f.hosts)
	slices.SortFunc(f.hosts, func(a, b string) int {
		if answers[a] != answers[b] {
			return answers[b] - answers[a]
		}
		return strings.Compare(a, b)
	})
	f.hosts = f.hosts[:min(len(f.hosts), MostHosts)]
	at := func(mono int64) unit.Time {
		return foreignEpoch.Add(min(max(time.Duration(mono), 0), longestSpan+time.Hour))
	}
	for _, l := range f.lines {
		switch l.Type {
		case "ping_reply":
			h := slices.Index(f.hosts, l.Reflector)
			if h < 0 {
				f.found.LeftOut++
				continue
			}
			f.found.Replies++
			got := at(l.Timestamp.Mono)
			r := link.Reply{Host: h, Received: got, OneWay: true, Clock: 1}
			r.Delay.Down, r.Delay.Up = unit.Millis(l.Down), unit.Millis(l.Up)
			r.RTT = r.Delay.Down + r.Delay.Up // their clock's offset is in both, with opposite signs
			r.Sent = max(got.Add(-max(r.RTT, 0).Duration()), 1)
			f.events = append(f.events, event{at: r.Sent, probe: &link.Probe{Host: h, Sent: r.Sent}}, event{at: got, reply: &r})
		case "control_evaluation":
			f.found.Counters++
			k := link.Counters{At: at(l.Loop), Rx: unit.Bytes(l.Rx), Tx: unit.Bytes(l.Tx)}
			f.events = append(f.events, event{at: k.At, counters: &k})
		case "requested_rates":
			f.found.Rates++
			r := link.Rates{Down: kbit(l.DownKbit), Up: kbit(l.UpKbit)}
			f.events = append(f.events, event{at: at(l.Timestamp.Mono), rates: &r})
		}
	}
	slices.SortStableFunc(f.events, func(a, b event) int { return int(min(max(a.at-b.at, -1), 1)) })
	for _, e := range f.events {
		if e.counters != nil {
			f.counters = append(f.counters, *e.counters)
		}
	}
	if n := len(f.events); n > 0 {
		f.found.Span = f.events[n-1].at.Sub(f.events[0].at)
	}
}

// kbit is a rate; one that cannot be is none.
func kbit(k float64) unit.Rate {
	if !(k > 0 && k <= float64(unit.MaxRate/unit.Kbps)) {
		return 0
	}
	return unit.Rate(k * float64(unit.Kbps))
}

// config is what such a line would be configured as here.
func (f *foreign) config() (*config.WAN, error) {
	hosts := f.hosts
	if len(hosts) == 0 {
		hosts = []string{"192.0.2.1"}
	}
	period := int(min(max(f.head.Control.Tick*1000, 50), 60_000))
	var b strings.Builder
	fmt.Fprintf(&b, "wan_name: imported\nrouter: {transport: linux}\ninterfaces: {download: d0, upload: u0}\ncontinuous_monitoring:\n"+
		"  policy: tracking\n  interval_ms: %d\n", period)
	for _, d := range []struct {
		name string
		kbit float64
	}{{"download", f.head.Control.DownMin}, {"upload", f.head.Control.UpMin}} {
		if d.kbit > 0 && d.kbit < 1e8 {
			fmt.Fprintf(&b, "  %s: {min_mbps: %s}\n", d.name, strconv.FormatFloat(d.kbit/1000, 'f', -1, 64))
		}
	}
	fmt.Fprintf(&b, "  ping_hosts:\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "    - %q\n", h)
	}
	file, ds := config.Parse("imported", strings.NewReader(b.String()), config.Options{})
	if err := ds.Err(); err != nil {
		return nil, fmt.Errorf("import: no configuration can be made of it: %w", err)
	}
	return file.WAN, nil
}

// stage is an import under way.
type stage struct {
	f        *foreign
	wan      *daemon.Taped
	seen     *daemon.Observed
	readings []link.Counters
	arrived  []link.Reply
	rates    link.Rates
	wake     unit.Time
	answer   *actuate.Result
	answerAt unit.Time
	start    unit.Time
}

// Drain hands up what has arrived.
func (s *stage) Drain(dst []link.Reply) []link.Reply {
	dst = append(dst, s.arrived...)
	s.arrived = s.arrived[:0]
	return dst
}

// Count does nothing: counters come when they were read.
func (*stage) Count() {}

// Take hands up the probes that left and the counters that were read.
func (s *stage) Take(probes []link.Probe, counters []link.Counters) ([]link.Probe, []link.Counters) {
	probes, counters = s.seen.Take(probes, counters)
	counters = append(counters, s.readings...)
	s.readings = s.readings[:0]
	return probes, counters
}

func (f *foreign) play(tape daemon.Tape) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	s := &stage{f: f, seen: daemon.NewObserved(nil), start: f.events[0].at}
	opt := daemon.WANOptionsOf(cfg, true)
	opt.Observed = s
	s.wan, err = daemon.NewTaped(opt, s, s.start, nil, daemon.Recording{
		Program: "another program " + f.head.Program, Source: journal.FromImport, Config: cfg,
		Wall: func() time.Time { return f.began.Add(s.start.Sub(foreignEpoch)) },
	})
	if err != nil {
		return err
	}
	s.wan.Record(tape, s.start)
	tick := s.start.Add(cfg.Period)
	for _, e := range f.events {
		for s.before(e.at, &tick, cfg.Period) {
			continue
		}
		s.take(e)
	}
	s.wan.Stop(f.events[len(f.events)-1].at, "the end of what was imported")
	return nil
}

// before makes the first call that is due before an instant, a cycle at that instant, too; false when none is.
func (s *stage) before(end unit.Time, tick *unit.Time, period time.Duration) bool {
	due, answer := *tick, s.answer != nil && s.answerAt < *tick
	if answer {
		due = s.answerAt
	}
	switch {
	case s.wake != 0 && s.wake < due && s.wake < end:
		s.handle(s.wake, s.wan.Wake(s.wake))
	case due > end:
		return false
	case answer:
		s.deliver(due)
	default:
		*tick = tick.Add(period)
		s.handle(due, s.wan.Tick(due))
	}
	return true
}

// take lets an event happen.
func (s *stage) take(e event) {
	switch {
	case e.probe != nil:
		s.seen.Sent(*e.probe)
	case e.reply != nil:
		s.arrived = append(s.arrived, *e.reply)
		s.handle(e.at, s.wan.Wake(e.at))
	case e.counters != nil:
		s.readings = append(s.readings, *e.counters)
	case e.rates != nil:
		s.rates = *e.rates
	}
}

func (s *stage) handle(now unit.Time, o daemon.Outcome[actuate.Op]) {
	s.wake = 0
	if o.Wake > now {
		s.wake = o.Wake
	}
	if o.Op != nil {
		s.answer, s.answerAt = &actuate.Result{Op: *o.Op}, now.Add(answerTime)
	}
}

// counted is what had been counted at an instant, between two readings.
func (f *foreign) counted(now unit.Time) link.Counters {
	i := sort.Search(len(f.counters), func(i int) bool { return f.counters[i].At > now })
	switch {
	case len(f.counters) == 0:
		return link.Counters{}
	case i == 0:
		return f.counters[0]
	case i == len(f.counters):
		return f.counters[i-1]
	}
	a, b := f.counters[i-1], f.counters[i]
	part := float64(now.Sub(a.At)) / float64(b.At.Sub(a.At))
	return link.Counters{
		At: now, Rx: a.Rx + unit.Bytes(part*float64(b.Rx-a.Rx)), Tx: a.Tx + unit.Bytes(part*float64(b.Tx-a.Tx)),
	}
}

// deliver answers an operation with the rates that the other program had set, and with its counters.
func (s *stage) deliver(now unit.Time) {
	r := *s.answer
	s.answer = nil
	// The line's own counters stay what and when they were read: one that is older than it says would make a burst of the
	// next. Those of the queues are between two of them.
	k := s.f.counted(now)
	r.Report = link.Report{At: now, Uptime: time.Duration(now)}
	r.Report.Down = link.Queue{MaxLimit: s.rates.Down, Bytes: k.Rx}
	r.Report.Up = link.Queue{MaxLimit: s.rates.Up, Bytes: k.Tx}
	s.handle(now, s.wan.Deliver(now, r))
}
