package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/health"
	"wanctl/internal/routeros"
)

// pathReader is a router that tells where the echoes from an address leave it.
type pathReader interface {
	Path(ctx context.Context, source netip.Addr) (routeros.Path, error)
}

// pathProof is the look, once after a start, at the way that the probes take behind this host. It runs beside the loop
// and over a connection of its own: a router with many connections takes its time to find ours, and a cut must not wait.
type pathProof struct {
	// Retry is the pause between tries.
	Retry time.Duration
	begun bool
	end   func()
	// wrong is the sentence that says that another line is measured; nil while nothing says so.
	wrong atomic.Pointer[string]
}

const (
	pathTries = 3
	pathRetry = 5 * time.Second
)

// stop ends a look that is under way; the next begin starts anew.
func (p *pathProof) stop() {
	if p.end != nil {
		p.end()
	}
	p.begun, p.end = false, nil
	p.wrong.Store(nil)
}

// provable says whether a router can be asked about the probes of a configuration.
func provable(c *config.WAN, router Shaper) bool {
	_, asks := router.(pathReader)
	return asks && c.Probe.Source.Is4()
}

// provePath begins the look when there is something to see: probes are answered, and the router is there.
func (a *Autorate) provePath() {
	if a.way.begun || !provable(a.cfg, a.router) || !a.wan.Decision().Measured || !a.wan.remains().known.Up {
		return
	}
	a.way.begun = true
	facts := health.PathFacts{Source: a.cfg.Probe.Source, WAN: a.cfg.Interfaces.WAN}
	if facts.WAN == "" {
		facts.WAN = a.wan.report.Up.Parent
	}
	for i, t := range a.pinger.Stats() {
		if t.Addr.IsValid() && a.wan.probes(i) {
			facts.Targets = append(facts.Targets, t.Addr)
		}
	}
	cfg := a.cfg
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.way.end = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		v, text := a.lookAtPath(ctx, cfg, facts)
		switch {
		case ctx.Err() != nil:
		case v == health.PathProved:
			a.log.Info(text)
		case v == health.PathElsewhere:
			a.way.wrong.Store(&text)
			a.log.Warn(text)
		default:
			a.log.Warn(text)
		}
	}()
}

// lookAtPath asks the router until it can tell, a few times.
func (a *Autorate) lookAtPath(ctx context.Context, cfg *config.WAN, facts health.PathFacts) (v health.PathVerdict, text string) {
	cannot := func(err error) string {
		return fmt.Sprintf("That the router sends the probes of %s out through their WAN is not proved: %v; pull the other line and see "+
			"that the measuring goes on.", facts.Source, err)
	}
	router, err := a.Hands.shaper(cfg, a.Clock, nil)
	if err != nil {
		return v, cannot(err)
	}
	defer func() { _ = router.Close() }()
	reader, ok := router.(pathReader)
	if !ok {
		return v, cannot(errors.New("it cannot be asked"))
	}
	for n := 1; ; n++ {
		path, err := reader.Path(ctx, facts.Source)
		if err == nil {
			v, text = health.JudgePath(pathOf(facts, path))
		} else {
			text = cannot(err)
		}
		class, _ := classify(err)
		if v != health.PathUnproved || class == actuate.Fatal || class == actuate.Misconfigured || n == pathTries || !pause(ctx, a.way.Retry) {
			return v, text
		}
	}
}

// pathOf adds what the router said to what is known.
func pathOf(f health.PathFacts, p routeros.Path) health.PathFacts {
	for _, e := range p.Echoes {
		f.Echoes = append(f.Echoes, health.Echo{To: e.To, As: e.As})
	}
	for _, o := range p.Addresses {
		f.Own = append(f.Own, health.OwnAddress{Addr: o.Prefix.Addr(), Interface: o.Interface})
	}
	return f
}

// ProvePath asks a router once by which line probes leave that were sent just now, and answers with a sentence as
// [health.JudgePath] does; a router that cannot tell proves nothing.
func ProvePath(ctx context.Context, router any, facts health.PathFacts) (health.PathVerdict, string) {
	unproved := func(why string) (health.PathVerdict, string) {
		return health.PathUnproved, "by which line the probes leave is not proved: " + why
	}
	reader, ok := router.(pathReader)
	switch {
	case !facts.Source.Is4():
		return unproved("probes have no source address of their own (ping_source_ip)")
	case !ok:
		return unproved("this router cannot be asked")
	}
	path, err := reader.Path(ctx, facts.Source)
	if err != nil {
		return unproved(err.Error())
	}
	return health.JudgePath(pathOf(facts, path))
}
