package netsim

import (
	"errors"
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// AnyLink lets a latency-sensitive flow take the link that the placement names, and a host event hit every link.
const AnyLink = -1

// Bounds of a scenario.
const (
	maxDuration = 366 * 24 * time.Hour
	maxLinks    = 16
	maxFlows    = 1000
	maxHosts    = 64
	maxEvents   = 100_000
	maxCount    = 256
)

// DefaultStep is the integration step of a scenario that names none.
const DefaultStep = 10 * time.Millisecond

// Scenario is one story: links, what loads them, whom the probes ask and what happens. Times count from its start.
type Scenario struct {
	Name, About string
	Duration    time.Duration
	// Seed decides every chance; equal scenarios run equally.
	Seed uint64
	// Step is the integration step of a busy link, 1 to 50 ms; 0 is DefaultStep.
	Step time.Duration
	// Series is the distance of the time series' points, a multiple of Step; 0 keeps none.
	Series time.Duration
	Links  []LinkSpec
	Flows  []Flow
	Hosts  []Host
	Events []Event
}

// LinkSpec is one WAN.
type LinkSpec struct {
	Name     string
	Down, Up PathSpec
	// Jitter is the standard deviation of the noise that each probe's round trip gets on top (its absolute value).
	Jitter time.Duration
	// EchoFirst says that the provider lets echoes pass its queues: probes do not feel what data does.
	EchoFirst bool
}

func (s LinkSpec) path(d link.Direction) PathSpec {
	if d == link.Up {
		return s.Up
	}
	return s.Down
}

// PathSpec is one direction of a WAN.
type PathSpec struct {
	Capacity Capacity
	// Delay is the one-way propagation, all the way to the far end.
	Delay time.Duration
	// FIFO is the depth of the ISP's queue in bytes, or Depth in time at the nominal rate where FIFO is 0.
	FIFO  unit.Bytes
	Depth time.Duration
	// Loss is lost at random on the line.
	Loss unit.PPM
	// LoadedDelay is added by the line itself while it carries more than LoadedShare of its capacity, as radio
	// schedulers do: delay that no shaper can take away.
	LoadedDelay time.Duration
	LoadedShare unit.PPM
}

func (p PathSpec) depth() unit.Bytes {
	if p.FIFO > 0 {
		return p.FIFO
	}
	return p.Capacity.Nominal().Over(p.Depth)
}

// Kind is what a flow is.
type Kind uint8

// The kinds of flows.
const (
	// Bulk are connections that send as fast as they may, or at their source's Limit.
	Bulk Kind = iota
	// Video fetches a chunk of Rate × Period once per Period.
	Video
	// Steady sends at Rate whatever happens: a camera over UDP.
	Steady
	// Web is a short burst of Size on Count connections.
	Web
	// Talk is a call: sparse, 50 packets a second each way; its delay is measured, its load is only booked.
	Talk
	// Game is as sparse as a call.
	Game
)

var kindNames = [...]string{Bulk: "bulk", Video: "video", Steady: "steady", Web: "web", Talk: "call", Game: "game"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Sensitive says that the kind cares for delay, so that steering places its new connections.
func (k Kind) Sensitive() bool { return k == Talk || k == Game }

// Flow is a load, once from Start to Stop or, with Arrive, again and again in that time.
type Flow struct {
	Kind Kind
	// Link is an index in Scenario.Links. A sensitive kind may say AnyLink.
	Link int
	Dir  link.Direction
	// Count is the number of connections; 0 is one.
	Count int
	// Start and Stop bound it; Stop 0 is the scenario's end.
	Start, Stop time.Duration
	// Rate is the mean rate of Video and the rate of Steady, for each connection.
	Rate unit.Rate
	// Period is the distance of Video's chunks.
	Period time.Duration
	// Limit is what the source of a Bulk, Video or Web connection can send at most; 0 is no limit.
	Limit unit.Rate
	// Size is what a Bulk connection moves before it ends (0: endless), and the mean of a Web burst's connections.
	Size unit.Bytes
	// Arrive makes the flow a series of arrivals.
	Arrive *Arrivals
}

// Arrivals are a seeded series.
type Arrivals struct {
	// Every is the mean distance. With Spread it is uniform in Every±Spread, without it is exponential (Poisson).
	Every, Spread time.Duration
	// Min and Max bound the uniform lifetime; both 0 lets a Web burst or a Bulk of a Size end by itself.
	Min, Max time.Duration
	// Hours, when set, holds for each of 24 hours from the scenario's start the share of arrivals that take place.
	Hours []unit.PPM
}

// Host is somebody who answers probes.
type Host struct {
	Name string
	// Offset is its round trip beyond the link's own; Noise the standard deviation of its own jitter.
	Offset, Noise time.Duration
	// Loss is the share of probes that it does not answer.
	Loss unit.PPM
	// PerSecond is how many probes it answers through one link, half a second's worth of them at once; 0 is all.
	PerSecond int
}

// Ways says which directions something concerns.
type Ways uint8

// The ways.
const (
	BothWays Ways = iota
	DownOnly
	UpOnly
)

func (w Ways) has(d link.Direction) bool {
	return w == BothWays || (w == DownOnly) == (d == link.Down)
}

// EventKind is what happens.
type EventKind uint8

// The kinds of events.
const (
	// CapacityShare multiplies a link's capacity by Share.
	CapacityShare EventKind = iota
	// ProviderCongestion adds Delay (one way, swinging by Wobble) and Loss beyond our link, whatever our rate.
	ProviderCongestion
	// PathChange adds Delay (may be negative) to the propagation.
	PathChange
	// LineLoss adds random loss.
	LineLoss
	// Blackout lets nothing through in either direction.
	Blackout
	// HostDead silences Host.
	HostDead
	// HostSlow adds Delay to Host's answers; a negative one stands for a nearer instance of an anycast address.
	HostSlow
	// HostRateLimited drops the share Loss of Host's answers.
	HostRateLimited
	eventKinds
)

// Event is something that happens to a link or a host.
type Event struct {
	Kind EventKind
	At   time.Duration
	// For is how long; 0 is for ever.
	For  time.Duration
	Link int
	Dir  Ways
	Host int
	// Share, Delay, Wobble and Loss are as the kind says.
	Share, Wobble, Loss unit.PPM
	Delay               time.Duration
}

// Validate reports everything that is wrong with the scenario at once.
func (s *Scenario) Validate() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("scenario %q: "+format, append([]any{s.Name}, args...)...))
		}
	}
	step := s.step()
	bad(s.Name != "", "it has no name")
	bad(s.Duration > 0 && s.Duration <= maxDuration, "duration %v is outside 0 to %v", s.Duration, maxDuration)
	bad(step >= time.Millisecond && step <= 50*time.Millisecond, "step %v is outside 1ms to 50ms", step)
	bad(s.Series >= 0 && s.Series%step == 0, "series %v is no multiple of the step %v", s.Series, step)
	bad(len(s.Links) >= 1 && len(s.Links) <= maxLinks, "%d links; want 1 to %d", len(s.Links), maxLinks)
	bad(len(s.Flows) <= maxFlows, "%d flows; at most %d", len(s.Flows), maxFlows)
	bad(len(s.Hosts) <= maxHosts, "%d hosts; at most %d", len(s.Hosts), maxHosts)
	bad(len(s.Events) <= maxEvents, "%d events; at most %d", len(s.Events), maxEvents)
	for i, l := range s.Links {
		bad(l.Name != "", "link %d has no name", i)
		bad(l.Jitter >= 0, "link %q: jitter %v is negative", l.Name, l.Jitter)
		for _, d := range []link.Direction{link.Down, link.Up} {
			p := l.path(d)
			err := p.Capacity.Validate()
			bad(err == nil, "link %q, %v: %w", l.Name, d, err)
			bad(p.Delay >= 0 && p.Delay <= 10*time.Second, "link %q, %v: delay %v is outside 0 to 10s", l.Name, d, p.Delay)
			bad(err != nil || p.depth() >= 2*Packet, "link %q, %v: a FIFO of %d bytes holds no two packets; set FIFO or Depth",
				l.Name, d, p.depth())
			bad(p.LoadedDelay >= 0 && p.LoadedDelay <= 10*time.Second && share(p.LoadedShare),
				"link %q, %v: a delay of %v while over %v loaded is outside 0 to 10s over 0 to 100%%", l.Name, d, p.LoadedDelay, p.LoadedShare)
			bad(share(p.Loss), "link %q, %v: loss %v is outside 0 to 100%%", l.Name, d, p.Loss)
		}
	}
	for i, f := range s.Flows {
		if err := f.validate(len(s.Links)); err != nil {
			bad(false, "flow %d (%v): %w", i, f.Kind, err)
		}
	}
	for i, h := range s.Hosts {
		bad(h.Name != "" && h.Offset >= 0 && h.Noise >= 0 && h.PerSecond >= 0 && share(h.Loss),
			"host %d %q: it needs a name, no negative offset, noise or number of answers, and a loss of 0 to 100%%", i, h.Name)
	}
	for i, e := range s.Events {
		if err := e.validate(len(s.Links), len(s.Hosts)); err != nil {
			bad(false, "event %d: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Scenario) step() time.Duration {
	if s.Step == 0 {
		return DefaultStep
	}
	return s.Step
}

func share(p unit.PPM) bool { return p >= 0 && p <= unit.One }

func (f Flow) validate(links int) error {
	switch {
	case int(f.Kind) >= len(kindNames):
		return errors.New("no such kind")
	case f.Link >= links || f.Link < AnyLink:
		return fmt.Errorf("link %d does not exist", f.Link)
	case f.Link == AnyLink && !f.Kind.Sensitive():
		return errors.New("only calls and games may take any link; name one")
	case f.Dir > link.Up:
		return fmt.Errorf("no direction %v", f.Dir)
	case f.Count < 0 || f.Count > maxCount:
		return fmt.Errorf("count %d is outside 0 to %d", f.Count, maxCount)
	case f.Start < 0 || (f.Stop != 0 && f.Stop <= f.Start):
		return fmt.Errorf("it stops at %v, not after its start at %v", f.Stop, f.Start)
	case f.Rate < 0 || f.Limit < 0 || f.Size < 0 || f.Rate > unit.MaxRate || f.Limit > unit.MaxRate:
		return errors.New("rate, limit or size is out of range")
	case (f.Kind == Video || f.Kind == Steady) && f.Rate == 0:
		return errors.New("it needs a rate")
	case f.Kind == Video && f.Period < 100*time.Millisecond:
		return fmt.Errorf("period %v is under 100ms", f.Period)
	case f.Kind == Web && f.Size == 0:
		return errors.New("it needs a size")
	}
	a := f.Arrive
	switch {
	case a == nil:
		return nil
	case a.Every < 10*time.Millisecond || a.Spread < 0 || a.Spread >= a.Every:
		return fmt.Errorf("arrivals every %v±%v; want at least 10ms and a spread below it", a.Every, a.Spread)
	case a.Min < 0 || a.Max < a.Min:
		return fmt.Errorf("lifetimes of %v to %v are no range", a.Min, a.Max)
	case a.Max == 0 && f.Kind != Web && (f.Kind != Bulk || f.Size == 0):
		return errors.New("its arrivals never end; set Min and Max")
	case len(a.Hours) != 0 && len(a.Hours) != 24:
		return fmt.Errorf("%d hours; want 24 or none", len(a.Hours))
	}
	for h, p := range a.Hours {
		if !share(p) {
			return fmt.Errorf("hour %d: share %v is outside 0 to 100%%", h, p)
		}
	}
	return nil
}

func (e Event) validate(links, hosts int) error {
	host := e.Kind == HostDead || e.Kind == HostSlow || e.Kind == HostRateLimited
	switch {
	case e.Kind >= eventKinds:
		return fmt.Errorf("no such kind %d", e.Kind)
	case e.At < 0 || e.For < 0:
		return fmt.Errorf("at %v for %v: times cannot be negative", e.At, e.For)
	case e.Link >= links || e.Link < AnyLink || (e.Link == AnyLink && !host):
		return fmt.Errorf("link %d does not exist", e.Link)
	case host && (e.Host < 0 || e.Host >= hosts):
		return fmt.Errorf("host %d does not exist", e.Host)
	case e.Dir > UpOnly:
		return fmt.Errorf("no ways %d", e.Dir)
	case e.Share < 0 || e.Share > 100*unit.One || !share(e.Wobble) || !share(e.Loss):
		return errors.New("share, wobble or loss is out of range")
	case e.Delay > 10*time.Second || e.Delay < -10*time.Second || (e.Kind == ProviderCongestion && e.Delay < 0):
		return fmt.Errorf("delay %v is out of range", e.Delay)
	}
	return nil
}
