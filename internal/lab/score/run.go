// Package score drives the daemon's own loops through a simulated network in virtual time, and says what the people on
// the lines would have felt.
package score

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Control is who sets a line's rates.
type Control uint8

// The controls.
const (
	// None leaves the line without a shaper.
	None Control = iota
	// Static shapes to the configured ceilings for ever.
	Static
	// Loop runs the configuration's controller.
	Loop
)

// String returns the control's name.
func (c Control) String() string {
	switch c {
	case None:
		return "none"
	case Static:
		return "static"
	case Loop:
		return "wanctl"
	}
	return fmt.Sprintf("Control(%d)", uint8(c))
}

// Line says how one link of the scenario is controlled.
type Line struct {
	Control Control
	// Config is needed for Static and Loop.
	Config *config.WAN
	// Router is the hand of a Loop; nil is a router in virtual time without faults.
	Router daemon.Shaper
	// Tape, when not nil, records a Loop.
	Tape daemon.Tape
	// OneWay lets the reflectors tell their own clock to a Loop that tracks capacity.
	OneWay bool
	// Data probes for a Loop as data, which is slower than echoes and cannot be told from it; Blind tells the Loop that echoes
	// are not to be believed on this line.
	Data, Blind bool
}

// Steering says how new connections are placed.
type Steering struct {
	Config *config.Steering
	// Router is its hand; nil is a router in virtual time without faults.
	Router daemon.Switch
	// Primary and Alternate are link indices.
	Primary, Alternate int
}

// Setup is one run.
type Setup struct {
	Scenario netsim.Scenario
	Lines    []Line
	Steering *Steering
	// Latency is how long a router command takes in virtual time.
	Latency time.Duration
	// Timeless hides the time of day from the loops, which then remember no capacity by it. A run's day begins at midnight.
	Timeless bool
}

// Run is a run under way. It is not safe for concurrent use.
type Run struct {
	setup Setup
	net   *netsim.Net
	lines []*line
	steer *steering
	notes func(name string, n link.Note)
}

type line struct {
	run     *Run
	index   int
	wan     *daemon.Taped
	router  daemon.Shaper
	writes  int
	wake    uint64 // counts outcomes: a wake of an older one is void
	lastLog string
	prober  *netsim.Prober
}

type steering struct {
	run    *Run
	loop   *daemon.Steering
	router daemon.Switch
	cfg    *Steering
	writes int
	wake   uint64
	// ruleOn is what the router routes new connections by.
	ruleOn      func() bool
	transitions []steer.Transition
	degraded    time.Duration
	last        unit.Time
}

// New prepares a run at the scenario's start. onNote, when not nil, gets every note of every loop.
func New(s Setup, onNote func(name string, n link.Note)) (*Run, error) {
	if len(s.Lines) != len(s.Scenario.Links) {
		return nil, fmt.Errorf("scenario %q has %d links and %d were set up", s.Scenario.Name, len(s.Scenario.Links), len(s.Lines))
	}
	net, err := netsim.New(s.Scenario)
	if err != nil {
		return nil, err
	}
	if onNote == nil {
		onNote = func(string, link.Note) {}
	}
	r := &Run{setup: s, net: net, notes: onNote}
	for i, l := range s.Lines {
		ln, err := r.line(i, l)
		if err != nil {
			return nil, err
		}
		r.lines = append(r.lines, ln)
	}
	if s.Steering != nil {
		if err := r.steering(s.Steering); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Net is the simulated network, for an emulated router that applies to it.
func (r *Run) Net() *netsim.Net { return r.net }

func (r *Run) line(i int, l Line) (*line, error) {
	ln := &line{run: r, index: i}
	if l.Control == None {
		return ln, nil
	}
	if l.Config == nil {
		return nil, fmt.Errorf("link %d is to be controlled and has no configuration", i)
	}
	ceiling := link.Rates{Down: l.Config.Shaper.Down.Ceiling, Up: l.Config.Shaper.Up.Ceiling}
	r.net.SetShaper(i, link.Down, ceiling.Down)
	r.net.SetShaper(i, link.Up, ceiling.Up)
	if l.Control == Static {
		return ln, nil
	}
	if ln.router = l.Router; ln.router == nil {
		ln.router = virtualShaper{r.net, i}
	}
	opt := daemon.WANOptionsOf(l.Config, false)
	po := r.prober(i, len(l.Config.Reflectors()), l.Config.Period, l.Config.PingCount)
	if l.Config.Tracking != nil {
		po.OneWay = l.OneWay
		opt.Candidates = opt.Candidates[:len(po.Hosts)] // the scenario has no more
		if ln.track(&opt, &po); l.Data {
			po.Data, po.Interval = true, time.Duration(len(po.Hosts))*dataEvery
		}
	}
	opt.Outside = func() link.Outside {
		if r.setup.Timeless {
			return link.Outside{Blind: l.Blind}
		}
		return link.Outside{Blind: l.Blind, Minute: daemon.MinuteOfDay(midnight.Add(r.net.Now().Sub(netsim.Epoch)))}
	}
	var err error
	if ln.prober, err = r.net.NewProber(po); err != nil {
		return nil, err
	}
	rec := daemon.Recording{Program: "the simulator", Source: journal.FromSimulation, Config: l.Config}
	if ln.wan, err = daemon.NewTaped(opt, ln.prober, r.net.Now(), nil, rec); err != nil {
		return nil, err
	}
	if l.Tape != nil {
		ln.wan.Record(l.Tape, r.net.Now())
	}
	// Loops of one house do not run in step; the offset is fixed, so that a run can be repeated.
	phase := l.Config.Period/3 + time.Duration(i)*l.Config.Period/7
	r.net.World().Every(l.Config.Period, phase, func() { ln.handle(ln.wan.Tick(r.net.Now())) })
	return ln, nil
}

// dataEvery is how often a line is probed as data: each probe is a connection.
const dataEvery = time.Second / 3

// midnight is when a run's day begins.
var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// The pinger's own bounds: echoes a second to one host, and through one line.
const (
	hostPerSecond = 5
	linePerSecond = 20
)

// track lets every probe and reply reach the loop as it happens.
func (l *line) track(opt *daemon.WANOptions, po *netsim.ProberOptions) {
	net := l.run.net
	seen := daemon.NewObserved(nil)
	if opt.Observed = seen; l.run.setup.Latency < latencyOfOwnQueues {
		seen.SetCounter(netCounter{net, l.index})
	}
	po.Interval = max(time.Second/hostPerSecond, time.Duration(len(po.Hosts))*time.Second/linePerSecond)
	po.OnSend = seen.Sent
	po.OnReply = func(link.Reply) { l.handle(l.wan.Wake(net.Now())) }
}

// latencyOfOwnQueues is below what a router's command takes: then the queues are this host's, and their counters with them.
const latencyOfOwnQueues = 5 * time.Millisecond

type netCounter struct {
	net   *netsim.Net
	index int
}

func (n netCounter) Counters() (link.Counters, error) {
	r := n.net.Counters(n.index)
	return link.Counters{At: r.At, Rx: r.WANRx, Tx: r.WANTx}, nil
}

func (r *Run) prober(i, hosts int, period time.Duration, count int) netsim.ProberOptions {
	if n := len(r.setup.Scenario.Hosts); n < hosts {
		hosts = n
	}
	o := netsim.ProberOptions{
		Link: i, Interval: max(period/time.Duration(count), time.Second/hostPerSecond, time.Duration(hosts)*time.Second/linePerSecond),
	}
	for h := range hosts {
		o.Hosts = append(o.Hosts, h)
	}
	return o
}

// handle does what a loop's outcome asks for, in virtual time.
func (l *line) handle(o daemon.Outcome[actuate.Op]) {
	r, world := l.run, l.run.net.World()
	name := r.setup.Scenario.Links[l.index].Name
	for _, n := range o.Notes {
		r.notes(name, n)
	}
	if o.Line != "" {
		l.lastLog = o.Line
	}
	if p, ok := l.wan.Probing(); ok && !r.setup.Lines[l.index].Data {
		l.prober.SetInterval(p.Interval)
		if err := l.prober.Use(p.Hosts); err != nil {
			r.notes(name, link.Note{Level: link.Alert, Key: "probes", Text: err.Error()})
		}
	}
	l.wake++
	if o.Op != nil {
		op := *o.Op
		if op.Write {
			l.writes++
		}
		// The command takes effect half-way through its round trip.
		world.At(r.net.Now().Add(r.setup.Latency/2), func() {
			res := daemon.Exchange(context.Background(), l.router, op)
			res.Report.At = r.net.Now()
			world.At(r.net.Now().Add(r.setup.Latency/2), func() { l.handle(l.wan.Deliver(r.net.Now(), res)) })
		})
	}
	if o.Wake != 0 {
		mine := l.wake
		world.At(max(o.Wake, r.net.Now()), func() {
			if l.wake == mine {
				l.handle(l.wan.Wake(r.net.Now()))
			}
		})
	}
}

func (r *Run) steering(cfg *Steering) error {
	if r.lines[cfg.Primary].wan == nil {
		return errors.New("steering needs a controller on its primary line")
	}
	s := &steering{run: r, cfg: cfg, router: cfg.Router}
	rule := &virtualSwitch{net: r.net, index: cfg.Primary}
	if s.router == nil {
		s.router = rule
	}
	opt := daemon.SteeringOptionsOf(cfg.Config, false)
	interval, count := cfg.Config.Steer.Interval, cfg.Config.PingCount
	primary, err := r.net.NewProber(r.prober(cfg.Primary, 1, interval, count))
	if err != nil {
		return err
	}
	alternate := daemon.Sight{Feed: altFeed(r.lines[cfg.Alternate].wan)}
	if cfg.Config.Alternates[0].Source.IsValid() {
		if alternate.Prober, err = r.net.NewProber(r.prober(cfg.Alternate, 1, interval, count)); err != nil {
			return err
		}
	}
	s.loop, err = daemon.NewSteering(opt, daemon.Sight{Prober: primary, Feed: feedOf{r.lines[cfg.Primary].wan.WAN}}, []daemon.Sight{alternate}, nil)
	if err != nil {
		return err
	}
	s.ruleOn = func() bool { return rule.enabled }
	if known, ok := s.router.(interface{ RuleEnabled() bool }); ok {
		s.ruleOn = known.RuleEnabled
	}
	r.net.SetPlacement(func(netsim.Kind) int {
		if s.ruleOn() {
			return cfg.Alternate
		}
		return cfg.Primary
	})
	r.net.World().Every(interval, interval/2, func() { s.tick() })
	r.steer = s
	return nil
}

func (s *steering) tick() {
	now := s.run.net.Now()
	if s.last != 0 && s.loop.Decision().State == steer.Degraded {
		s.degraded += now.Sub(s.last)
	}
	s.last = now
	s.handle(s.loop.Tick(now))
}

func (s *steering) handle(o daemon.Outcome[daemon.SteerOp]) {
	r, world := s.run, s.run.net.World()
	for _, n := range o.Notes {
		r.notes("steering", n)
	}
	if o.Line != "" {
		if t := s.loop.Decision().Transition; t != nil {
			s.transitions = append(s.transitions, *t)
		}
	}
	s.wake++
	if o.Op != nil {
		op := *o.Op
		if op.Kind == daemon.OpSetRule {
			s.writes++
		}
		world.At(r.net.Now().Add(r.setup.Latency/2), func() {
			res := daemon.SteerExchange(context.Background(), s.router, op, r.net.Now)
			world.At(r.net.Now().Add(r.setup.Latency/2), func() { s.handle(s.loop.Deliver(r.net.Now(), res)) })
		})
	}
	if o.Wake != 0 {
		mine := s.wake
		world.At(max(o.Wake, r.net.Now()), func() {
			if s.wake == mine {
				s.handle(s.loop.Wake(r.net.Now()))
			}
		})
	}
}

// Advance plays the run up to an instant, at most to its end.
func (r *Run) Advance(to unit.Time) { r.net.Run(min(to, r.net.End())) }

// Done says whether the scenario is over.
func (r *Run) Done() bool { return r.net.Now() >= r.net.End() }

// Decision is the newest one of a link's loop; ok is false for a link without one.
func (r *Run) Decision(i int) (d link.Decision, ok bool) {
	if r.lines[i].wan == nil {
		return d, false
	}
	return r.lines[i].wan.Decision(), true
}

// LogLine is the newest cycle line of a link's loop.
func (r *Run) LogLine(i int) string { return r.lines[i].lastLog }

// SteeringLine is the newest cycle line of steering and whether its rule is on; empty without steering.
func (r *Run) SteeringLine() (text string, on bool) {
	if r.steer == nil || r.steer.last == 0 {
		return "", false
	}
	return steer.Line(r.steer.loop.Decision()), r.steer.ruleOn()
}

// feedOf reads a loop's feed as it is, as a feed file would give it.
type feedOf struct{ wan *daemon.WAN }

func (f feedOf) ReadFeed(now unit.Time) (steer.Autorate, error) {
	feed := f.wan.Feed()
	if feed.Seq == 0 {
		return steer.Autorate{}, errors.New("no cycle yet")
	}
	return steer.Autorate{Known: true, Fresh: now.Sub(feed.At) < max(3*feed.Period, 2*time.Second), Feed: feed}, nil
}

func altFeed(w *daemon.Taped) daemon.FeedReader {
	if w == nil {
		return nil
	}
	return feedOf{w.WAN}
}

// virtualShaper is a router that does at once what it is told.
type virtualShaper struct {
	net   *netsim.Net
	index int
}

func (v virtualShaper) Exchange(_ context.Context, want *link.Rates) (link.Report, error) {
	if want != nil {
		for _, d := range []link.Direction{link.Down, link.Up} {
			if rate := want.Get(d); rate > 0 {
				v.net.SetShaper(v.index, d, rate)
			}
		}
	}
	return v.net.Counters(v.index), nil
}

func (virtualShaper) Close() error   { return nil }
func (virtualShaper) String() string { return "virtual router" }

// virtualSwitch is a rule that obeys, beside the primary's queue.
type virtualSwitch struct {
	net     *netsim.Net
	index   int
	enabled bool
}

func (v *virtualSwitch) Queue(context.Context) (link.Queue, error) {
	return v.net.Counters(v.index).Down, nil
}
func (v *virtualSwitch) Rule(context.Context, int) (bool, error) { return v.enabled, nil }
func (v *virtualSwitch) SetRule(_ context.Context, _ int, on bool) (bool, error) {
	v.enabled = on
	return on, nil
}
func (v *virtualSwitch) Close() error { return nil }
