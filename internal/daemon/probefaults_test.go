package daemon

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/unit"
)

// threeHosts are the reflectors of a line with the median: each answers with its own round trip, in µs; 0 is silence.
type threeHosts struct {
	*scripted
	rtts [3]atomic.Int64
}

func (h *threeHosts) all(rtts ...unit.Millis) {
	for i, r := range rtts {
		h.rtts[i].Store(int64(r * 1000))
	}
}

func (h *threeHosts) Drain(dst []link.Reply) []link.Reply {
	dst = h.scripted.Drain(dst) // silent: it tells that a cycle is made
	now := h.Clock.Now()
	for i := range h.rtts {
		if rtt := unit.Millis(h.rtts[i].Load()) / 1000; rtt > 0 {
			dst = append(dst, link.Reply{Host: i, Sent: now.Add(-rtt.Duration()), Received: now, RTT: rtt})
		}
	}
	return dst
}

// newHostsWorld is a world whose line has three reflectors.
func newHostsWorld(t *testing.T, dialect string) (*world, *threeHosts) {
	t.Helper()
	w := newWorld(t, routerOf(dialect))
	w.set("ping_hosts: [192.0.2.1]", "ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]\n  use_median_of_three: true")
	h := &threeHosts{scripted: w.pings}
	w.pings.set(0)
	h.all(28, 28, 28)
	w.hands.Probe = func(probe.Options) (Pinger, error) { return h, nil }
	return w, h
}

// One reflector that lies or is dead moves neither the line nor the router, and does not keep a cut from being made when
// the others say so.
func TestOneBadReflector(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]unit.Millis{"slow": 3000, "dead": 0, "too quick": 1} {
		for _, dialect := range someDialects {
			t.Run(name+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				w, h := newHostsWorld(t, dialect)
				run := start(t, w.autorate())
				w.pings.until(t, "a first reading", func() bool { return w.log.has("The router answers") })
				h.all(28, bad, 28)
				w.measures(60)
				if got := w.limits(); got != ceiling {
					t.Errorf("one bad reflector moved the limits to %v", got)
				}
				if n := len(w.router.LimitHistory()); n != 0 {
					t.Errorf("%d writes because of one bad reflector", n)
				}
				if w.log.has("[YELLOW") || w.log.has("[RED") || w.log.has("/RED]") || !w.log.has("ATT: [GREEN/GREEN] RTT=28.0ms") {
					t.Errorf("the line's states are\n%s", w.log)
				}
				h.all(100, bad, 100)
				w.untilLimits(floor)
				run.mustEnd()
				if got := w.limits(); got != base {
					t.Errorf("a stop left %v, want the base", got)
				}
				w.sane()
			})
		}
	}
}

// When nobody answers, whatever was in force stays: at the ceiling as at the floor. No cycle has a line, nothing is
// written, and a stop leaves the base.
func TestAllReflectorsSilent(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]struct {
		rtt  unit.Millis
		want link.Rates
	}{"at the ceiling": {28, ceiling}, "at the floor": {100, floor}} {
		for _, dialect := range someDialects {
			t.Run(name+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				w, h := newHostsWorld(t, dialect)
				run := start(t, w.autorate())
				h.all(before.rtt, before.rtt, before.rtt)
				w.pings.until(t, "a first reading", func() bool { return w.log.has("The router answers") })
				w.untilLimits(before.want)
				w.measures(3)
				h.all(0, 0, 0)
				w.pings.until(t, "a warning", func() bool { return w.log.has("no reflector has answered") })
				writes := len(w.router.LimitHistory())
				lines := strings.Count(w.log.String(), "ATT: [")
				w.pings.cycles(t, 40)
				if got := w.limits(); got != before.want {
					t.Errorf("silence moved the limits to %v", got)
				}
				if n := len(w.router.LimitHistory()) - writes; n != 0 {
					t.Errorf("%d writes without a measurement", n)
				}
				if n := strings.Count(w.log.String(), "ATT: [") - lines; n != 0 {
					t.Errorf("%d lines of cycles without a measurement", n)
				}
				if f := w.feed(); f.Measured {
					t.Error("silence is published as measured")
				}
				h.all(100, 100, 100)
				w.untilLimits(floor)
				run.mustEnd()
				if got := w.limits(); got != base {
					t.Errorf("a stop left %v, want the base", got)
				}
				w.sane()
			})
		}
	}
}

// Probes that cannot leave by their source address are an outage of measuring, told with the address: nothing is written,
// and a stop leaves the base as ever. No probe leaves by another address, which would measure another line.
func TestWrongSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.text += "ping_source_ip: 203.0.113.77\n"
	p, err := probe.Open(probe.Options{Targets: []string{"192.0.2.1"}, Interval: time.Second, Timeout: time.Second, Now: w.clock.Now})
	if err != nil {
		t.Skipf("needs root: this user may open no ICMP socket: %v", err)
	}
	_ = p.Close()
	watched := &watchedPinger{scripted: w.pings}
	w.hands.Probe = func(o probe.Options) (Pinger, error) {
		p, err := probe.Open(o)
		watched.Pinger = p
		return watched, err
	}
	run := start(t, w.autorate())
	w.pings.until(t, "a warning", func() bool { return w.log.has("no reflector has answered") })
	if !w.log.has("203.0.113.77") {
		t.Errorf("the address is not told:\n%s", w.log)
	}
	w.pings.cycles(t, 40)
	if n := len(w.router.LimitHistory()); n != 0 || w.limits() != ceiling {
		t.Errorf("%d writes without a measurement, limits %v", n, w.limits())
	}
	if w.feed().Measured || w.log.has("ATT: [") {
		t.Errorf("something is published as measured:\n%s", w.log)
	}
	for _, s := range watched.Stats() {
		if s.Sent != s.SendErrors && s.Received != 0 {
			t.Errorf("probes were answered: %+v", s)
		}
	}
	run.mustEnd()
	if got := w.limits(); got != base {
		t.Errorf("a stop left %v, want the base", got)
	}
	w.sane()
}

// watchedPinger is a real pinger whose cycles can be waited for.
type watchedPinger struct {
	Pinger
	scripted *scripted
}

func (p *watchedPinger) Drain(dst []link.Reply) []link.Reply {
	p.scripted.set(0)
	return p.Pinger.Drain(p.scripted.Drain(dst))
}
