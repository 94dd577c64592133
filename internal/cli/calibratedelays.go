package cli

import (
	"context"
	"fmt"
	"sync"

	"wanctl/internal/capacity"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/probe"
)

// delays are the probes of a WAN while its line is tested.
type delays struct {
	pinger *probe.Pinger
	sent   *daemon.Observed
	end    func()
	mu     sync.Mutex
	crash  any
}

// openDelays starts the probes that a configuration names, and an IRTT server in the place of its own where one is named.
// A panic in them calls interrupt, and comes out of rethrow.
func openDelays(ctx context.Context, cfg *config.WAN, irtt string, interrupt func(), say func(string)) (*delays, error) {
	d := &delays{sent: daemon.NewObserved(nil)}
	o := daemon.ProbeOptions(cfg)
	o.OnSend = d.sent.Sent
	o.Log = func(n link.Note) {
		if n.Level >= link.Warning {
			say(n.Text)
		}
	}
	if irtt != "" {
		host, port, err := capacity.ParseServer(irtt, probe.DefaultIRTTPort)
		if err != nil {
			return nil, fmt.Errorf("IRTT server %w", err)
		}
		o.IRTT = probe.IRTT{Host: host, Port: port, Key: o.IRTT.Key}
	}
	p, err := probe.Open(o)
	if err != nil {
		return nil, err
	}
	d.pinger = p
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				d.mu.Lock()
				d.crash = r
				d.mu.Unlock()
				interrupt()
			}
		}()
		_ = p.Run(ctx) // it ends with ctx; without probes there is no delay, and the report shows none
	}()
	d.end = sync.OnceFunc(func() {
		cancel()
		<-done
		_ = p.Close()
	})
	return d, nil
}

// Collect returns the replies that came and the probes that left since the call before.
func (d *delays) Collect() ([]link.Reply, []link.Probe) {
	probes, _ := d.sent.Take(nil, nil)
	return d.pinger.Drain(nil), probes
}

// rethrow lets a panic of the probes go on.
func (d *delays) rethrow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crash != nil {
		panic(d.crash)
	}
}

func (d *delays) close() { d.end() }
