package cli

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/cake"
	"wanctl/internal/checkup"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/policy"
	"wanctl/internal/probe"
)

// linuxQueues looks a line's queues up in the kernel.
func (a *App) linuxQueues(w *config.WAN, l *checkup.Line) {
	l.Queues = link.Pair[checkup.Queue]{Down: checkup.Queue{Name: w.Interfaces.Download}, Up: checkup.Queue{Name: w.Interfaces.Upload}}
	k, err := a.queues()
	if err != nil {
		return
	}
	defer func() { _ = k.Close() }()
	s := setupOf(w)
	found, err := k.Look(s.Upload, s.Download)
	if err != nil {
		return
	}
	if p := cake.PlanApply(s, found); len(p.Steps) == 0 && len(p.Problems) == 0 {
		l.Queues.Down.Found, l.Queues.Down.Cake, l.Queues.Up.Found, l.Queues.Up.Cake = true, true, true, true
	}
}

// linuxFacts are those of this host.
func linuxFacts() *checkup.Linux {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	return &checkup.Linux{NetAdmin: mayChangeQueues(), Forwarding: err == nil && strings.TrimSpace(string(b)) == "1"}
}

// capNetAdmin is CAP_NET_ADMIN's bit in the capability sets of /proc (linux/capability.h).
const capNetAdmin = 12

// mayChangeQueues says whether this process has CAP_NET_ADMIN.
func mayChangeQueues() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(l, "CapEff:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && n>>capNetAdmin&1 == 1
		}
	}
	return false
}

// linuxSteering looks at this host's steering.
func (a *App) linuxSteering(ctx context.Context, s *config.Steering, out *checkup.Steering) {
	h := &checkup.SteeringHost{}
	out.Host = h
	o := daemon.PolicyOptionsOf(s)
	for _, c := range o.Policy.Classes {
		out.Light = out.Light || c.Light
	}
	k := a.policiesOf(s)
	p, err := k.Plan()
	if err != nil {
		p.Problems = append(p.Problems, err.Error())
	}
	h.Problems, h.Notes = p.Problems, p.Notes
	for _, step := range p.Steps {
		h.Missing = append(h.Missing, step.Command)
	}
	host := o.ReadHost()
	h.Accounting, h.Tracked, h.TrackedMax = host.Accounting, host.Tracked.Count, host.Tracked.Max
	if n, err := k.Counts(); err == nil && !s.Linux.Six {
		out.ShareIPv6 = n.ShareIPv6()
	}
	h.Gateways = gateways(ctx, o)
}

// gateways asks the lines' next hops for an answer of any kind: the kernel looks for them where it has something to send.
func gateways(ctx context.Context, o *policy.Options) (out []checkup.Gateway) {
	found, err := o.Gateways()
	if err != nil {
		return nil
	}
	for _, g := range found {
		if g.Addr.IsValid() {
			probed(ctx, probe.Options{
				Targets: []string{g.Addr.String()}, Interface: g.Interface, Interval: time.Second, Timeout: time.Second, Now: daemon.HostClock{}.Now,
			})
		}
	}
	if found, err = o.Gateways(); err != nil {
		return nil
	}
	for _, g := range found {
		if g.Addr.IsValid() {
			out = append(out, checkup.Gateway{Line: g.Line, Addr: g.Addr.String(), Known: g.Known, Answers: g.Answers})
		}
	}
	return out
}
