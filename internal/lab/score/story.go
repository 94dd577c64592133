package score

import (
	"errors"
	"fmt"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/unit"
)

// benchStep is the integration step of a bench's run: a probe's age is told in milliseconds, and a queue of 10 ms is
// what the policies aim at.
const benchStep = 2 * time.Millisecond

// Story tells a scenario of the kernel's laboratory in the simulator's words, so that both play the same. It fails with
// everything that the simulator cannot tell.
func Story(s *scenario.Scenario) (netsim.Scenario, error) {
	var errs []error
	cannot := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("scenario %s: the simulator has no "+format, append([]any{s.Name}, a...)...))
	}
	out := netsim.Scenario{Name: s.Name, About: s.About, Duration: s.Duration, Seed: max(s.Seed, 1), Step: benchStep}
	for _, l := range s.Links {
		out.Links = append(out.Links, netsim.LinkSpec{
			Name: l.Name, Down: pathOf(&l.Down, l.Delay/2), Up: pathOf(&l.Up, l.Delay/2),
			EchoFirst: l.ICMP == scenario.ICMPFirst,
		})
	}
	for _, f := range s.Flows {
		if f.Congestion == "bbr" {
			cannot("sender of BBR")
		}
		out.Flows = append(out.Flows, flowOf(&f))
	}
	for i, r := range s.Reflectors {
		out.Hosts = append(out.Hosts, netsim.Host{Name: fmt.Sprintf("reflector %d", i+1), Offset: r.Extra, PerSecond: r.PerSecond})
		for k, c := range r.Changes {
			e := netsim.Event{Kind: netsim.HostSlow, At: c.At, Link: netsim.AnyLink, Host: i, Delay: c.Extra - r.Extra}
			if c.Dead {
				e.Kind, e.Delay = netsim.HostDead, 0
			}
			if k+1 < len(r.Changes) {
				e.For = r.Changes[k+1].At - c.At
			}
			out.Events = append(out.Events, e)
		}
	}
	for _, f := range s.Faults {
		if f.Kind != scenario.LinkDown {
			cannot("fault %s", f.Kind)
			continue
		}
		out.Events = append(out.Events, netsim.Event{Kind: netsim.Blackout, At: f.At, For: f.For, Link: f.Link})
	}
	if err := errors.Join(errs...); err != nil {
		return netsim.Scenario{}, err
	}
	return out, out.Validate()
}

// outage is what a line carries that carries nothing: as on the kernel, where a rate of nothing would silence the line for
// longer than that lasts.
const outage = 100 * unit.Kbps

func pathOf(p *scenario.Path, delay time.Duration) netsim.PathSpec {
	out := netsim.PathSpec{
		Delay: delay, Loss: p.Loss,
		// As the kernel's: at least ten full packets with their headers.
		FIFO: max(15_140, p.Nominal.Over(p.FIFO)),
	}
	if p.LoadedDelay > 0 {
		out.LoadedDelay, out.LoadedShare = p.LoadedDelay, p.LoadedShare
	}
	for _, st := range p.Steps {
		out.Capacity.Points = append(out.Capacity.Points, netsim.Point{At: st.At, Rate: max(st.Rate, outage)})
	}
	return out
}

// flowOf tells a flow. The simulator's senders are all Cubic's, which Reno's differ little from here.
func flowOf(f *scenario.Flow) netsim.Flow {
	out := netsim.Flow{Link: f.Link, Dir: f.Dir, Count: f.Count, Start: f.From, Stop: f.To}
	switch f.Kind {
	case scenario.Bulk:
		out.Kind = netsim.Bulk
	case scenario.Video:
		out.Kind, out.Period, out.Rate = netsim.Video, f.Every, f.Size.Per(f.Every)
	case scenario.Web:
		out.Kind, out.Size = netsim.Web, f.Size
		out.Arrive = &netsim.Arrivals{Every: f.Every}
	case scenario.Call:
		out.Kind = netsim.Talk
	case scenario.Steady:
		out.Kind, out.Rate = netsim.Steady, f.Rate
	}
	return out
}
