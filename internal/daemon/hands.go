package daemon

import (
	"context"
	"net"
	"time"

	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/routeros"
)

// Pinger is a prober that can be run.
type Pinger interface {
	Prober
	// Run sends and reads until ctx ends.
	Run(ctx context.Context) error
	// Arrived is signalled when a reply has come that Drain hands up.
	Arrived() <-chan struct{}
	// SetInterval changes the time between two probes to one host, and Use whom of the targets it probes, by index.
	SetInterval(d time.Duration)
	Use(hosts []int) error
	// ProbeTCP has TCP handshakes with some of the targets, in turn, every so often beside the other probes; 0 ends it.
	ProbeTCP(hosts []int, every time.Duration) error
	// Once sends count probes to each target and returns the replies that came in time.
	Once(ctx context.Context, count int) ([]link.Reply, error)
	// Check looks whether probes can leave as they are meant to.
	Check(ctx context.Context) []probe.Finding
	Stats() []probe.TargetStats
	Close() error
}

// Hands make the hands a task works with. The zero value makes the real ones; tests put their own in.
type Hands struct {
	Probe  func(probe.Options) (Pinger, error)
	Shaper func(*config.WAN, Clock) (Shaper, error)
	Switch func(*config.Steering, Clock) (Switch, error)
	// Dial connects the real hands with a RouterOS router at host:port; nil is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

func (h Hands) probe(o probe.Options) (Pinger, error) {
	if h.Probe != nil {
		return h.Probe(o)
	}
	p, err := probe.Open(o)
	if err != nil {
		return nil, err // and not a nil pointer in an interface
	}
	return p, nil
}

func (h Hands) shaper(c *config.WAN, clock Clock, log *Log) (Shaper, error) {
	if h.Shaper != nil {
		return h.Shaper(c, clock)
	}
	return h.dialShaper(c, clock, log)
}

// DialShaper returns the hand on a configuration's queues: a router's, which connects with its first command, or this
// host's own.
func DialShaper(c *config.WAN, clock Clock) (Shaper, error) { return Hands{}.dialShaper(c, clock, nil) }

func (h Hands) dialShaper(c *config.WAN, clock Clock, log *Log) (Shaper, error) {
	if onLinux(c) {
		l, err := cake.OpenLine(lineOptions(c, clock))
		if err != nil {
			return nil, err // and not a nil pointer in an interface
		}
		return l, nil
	}
	cl, err := h.client(c.Router, c.Timeouts, clock, log)
	if err != nil {
		return nil, err
	}
	return rosShaper{cl, routeros.Queues{
		Down: c.Queues.Download, Up: c.Queues.Upload, Simple: c.Queues.Simple, WAN: c.Interfaces.WAN,
	}}, nil
}

func (h Hands) client(r config.Router, t config.Timeouts, clock Clock, log *Log) (*routeros.Client, error) {
	o := clientOptions(r, t, clock, log)
	o.Dial = h.Dial
	return routeros.New(o)
}

func (h Hands) steering(c *config.Steering, clock Clock, log *Log) (Switch, error) {
	if h.Switch != nil {
		return h.Switch(c, clock)
	}
	return h.dialSwitch(c, clock, log)
}

// DialSwitch returns steering's hand. It connects with its first command.
func DialSwitch(c *config.Steering, clock Clock) (Switch, error) {
	return Hands{}.dialSwitch(c, clock, nil)
}

func (h Hands) dialSwitch(c *config.Steering, clock Clock, log *Log) (Switch, error) {
	if c.Linux != nil {
		return newLinuxSwitch(c, clock, log), nil
	}
	cl, err := h.client(c.Router, c.Timeouts, clock, log)
	if err != nil {
		return nil, err
	}
	q := rosQueue{cl, c.Queues.Download, c.Queues.Simple}
	if c.Switch == config.SwitchList {
		return newListSwitch(q, c), nil
	}
	return &rosSwitch{rosQueue: q, comments: ruleComments(c), legacy: c.AllowLegacyRule}, nil
}
