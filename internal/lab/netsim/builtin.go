package netsim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The links of every built-in scenario, as indices in Scenario.Links.
const (
	Cable = 0
	VDSL  = 1
)

type builtin struct {
	name, about string
	build       func(*Scenario)
}

func builtins() []builtin {
	return []builtin{
		{"idle", "two quiet lines: nothing may move", idle},
		{"full", "bulk both ways for a minute at a capacity that does not change", full},
		{"drop", "the cable's capacity halves for 20 s under bulk", drop},
		{"square", "the cable's capacity alternates every 10 s under bulk", square},
		{"ramp", "the cable's capacity sinks to a third in a minute and comes back", ramp},
		{"provider-congestion", "delay and loss beyond the link for two minutes while our own queue stays empty", provider},
		{"path-change", "the cable's path becomes 18 ms longer for good while a camera uploads", pathChange},
		{"blackout", "the cable carries nothing for 15 s", blackout},
		{"reflector-lies", "one reflector at a time is slow, dead, rate-limited or elsewhere", reflectorLies},
		{"evening", "ten minutes of a household: two degradations, an RTT-only episode, a congestion at the provider", evening},
		{"day", "24 hours of a household with congestion in the evening", day},
	}
}

// Names returns the built-in scenarios in the order of their telling.
func Names() []string {
	var names []string
	for _, b := range builtins() {
		names = append(names, b.name)
	}
	return names
}

// Builtin returns a built-in scenario with this seed.
func Builtin(name string, seed uint64) (Scenario, error) {
	all := builtins()
	i := slices.IndexFunc(all, func(b builtin) bool { return b.name == name })
	if i < 0 {
		return Scenario{}, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(Names(), ", "))
	}
	s := household()
	s.Name, s.About, s.Seed = all[i].name, all[i].about, seed
	all[i].build(&s)
	return s, nil
}

// household is a house with a cable line sold as 900/38 and a VDSL line of 85/16, and three resolvers to ask.
func household() Scenario {
	return Scenario{
		Duration: time.Minute,
		Series:   time.Second,
		Links: []LinkSpec{
			{
				Name:   "Spectrum",
				Down:   PathSpec{Capacity: Constant(900 * unit.Mbps), Delay: 12 * time.Millisecond, Depth: 150 * time.Millisecond},
				Up:     PathSpec{Capacity: Constant(38 * unit.Mbps), Delay: 12 * time.Millisecond, Depth: 250 * time.Millisecond},
				Jitter: 700 * time.Microsecond,
			},
			{
				Name:   "ATT",
				Down:   PathSpec{Capacity: Constant(85 * unit.Mbps), Delay: 14 * time.Millisecond, Depth: 200 * time.Millisecond},
				Up:     PathSpec{Capacity: Constant(16 * unit.Mbps), Delay: 14 * time.Millisecond, Depth: 300 * time.Millisecond},
				Jitter: 300 * time.Microsecond,
			},
		},
		Hosts: []Host{
			{Name: "1.1.1.1", Noise: 200 * time.Microsecond},
			{Name: "8.8.8.8", Offset: 600 * time.Microsecond, Noise: 300 * time.Microsecond},
			{Name: "9.9.9.9", Offset: 900 * time.Microsecond, Noise: 300 * time.Microsecond},
		},
	}
}

// talk is a call on the cable for the whole scenario: the ground truth of what people feel.
func talk() Flow { return Flow{Kind: Talk, Link: Cable} }

func bulk(d link.Direction, count int, start, stop time.Duration) Flow {
	return Flow{Kind: Bulk, Link: Cable, Dir: d, Count: count, Start: start, Stop: stop}
}

func idle(s *Scenario) { s.Flows = []Flow{talk()} }

func full(s *Scenario) {
	s.Duration = 90 * time.Second
	s.Flows = []Flow{
		talk(),
		bulk(link.Down, 8, 10*time.Second, 70*time.Second),
		bulk(link.Up, 2, 30*time.Second, 70*time.Second),
	}
}

func drop(s *Scenario) {
	s.Duration = 90 * time.Second
	s.Flows = []Flow{talk(), bulk(link.Down, 4, 5*time.Second, 85*time.Second)}
	s.Events = []Event{{Kind: CapacityShare, At: 30 * time.Second, For: 20 * time.Second, Link: Cable, Share: unit.One / 2}}
}

func square(s *Scenario) {
	s.Duration = 2 * time.Minute
	s.Links[Cable].Down.Capacity = Steps(20*time.Second, Point{0, 900 * unit.Mbps}, Point{10 * time.Second, 500 * unit.Mbps})
	s.Flows = []Flow{talk(), bulk(link.Down, 4, 5*time.Second, 115*time.Second)}
}

func ramp(s *Scenario) {
	s.Duration = 3 * time.Minute
	s.Links[Cable].Down.Capacity = Ramp(0, Point{0, 900 * unit.Mbps}, Point{20 * time.Second, 900 * unit.Mbps},
		Point{80 * time.Second, 300 * unit.Mbps}, Point{140 * time.Second, 900 * unit.Mbps})
	s.Flows = []Flow{talk(), bulk(link.Down, 4, 5*time.Second, 175*time.Second)}
}

func provider(s *Scenario) {
	s.Duration = 5 * time.Minute
	s.Flows = []Flow{
		talk(),
		{Kind: Video, Link: Cable, Rate: 12 * unit.Mbps, Period: 4 * time.Second, Limit: 60 * unit.Mbps},
		{
			Kind: Talk, Link: AnyLink,
			Arrive: &Arrivals{Every: 20 * time.Second, Spread: 4 * time.Second, Min: 40 * time.Second, Max: 80 * time.Second},
		},
	}
	s.Events = []Event{congestion(60*time.Second, 2*time.Minute, 180*time.Millisecond)}
}

// congestion is one beyond the cable that no rate of ours can cure.
func congestion(at, span, delay time.Duration) Event {
	return Event{
		Kind: ProviderCongestion, At: at, For: span, Link: Cable, Dir: DownOnly,
		Delay: delay, Wobble: unit.One / 10, Loss: 2000,
	}
}

func camera() Flow { return Flow{Kind: Steady, Link: Cable, Dir: link.Up, Rate: 2 * unit.Mbps} }

func pathChange(s *Scenario) {
	s.Duration = 8 * time.Minute
	s.Flows = []Flow{talk(), camera()}
	s.Events = []Event{{Kind: PathChange, At: time.Minute, Link: Cable, Delay: 9 * time.Millisecond}}
}

func blackout(s *Scenario) {
	s.Duration = 2 * time.Minute
	s.Flows = []Flow{talk(), bulk(link.Down, 2, 10*time.Second, 100*time.Second)}
	s.Events = []Event{{Kind: Blackout, At: 40 * time.Second, For: 15 * time.Second, Link: Cable}}
}

func reflectorLies(s *Scenario) {
	s.Duration = 5 * time.Minute
	s.Flows = []Flow{talk(), camera()}
	lie := func(kind EventKind, at time.Duration, host int, delay time.Duration, loss unit.PPM) Event {
		return Event{Kind: kind, At: at, For: 40 * time.Second, Link: AnyLink, Host: host, Delay: delay, Loss: loss}
	}
	s.Events = []Event{
		lie(HostSlow, 30*time.Second, 0, 120*time.Millisecond, 0),
		lie(HostDead, 90*time.Second, 1, 0, 0),
		lie(HostRateLimited, 150*time.Second, 2, 0, 700_000),
		lie(HostSlow, 210*time.Second, 1, 45*time.Millisecond, 0),
	}
}

func evening(s *Scenario) {
	const sec = time.Second
	s.Duration = 10 * time.Minute
	paced := func(start, stop time.Duration) Flow {
		f := bulk(link.Down, 8, start, stop)
		f.Limit = 100 * unit.Mbps
		return f
	}
	s.Flows = []Flow{
		{
			Kind: Talk, Link: AnyLink, Start: 1,
			Arrive: &Arrivals{Every: 25 * sec, Spread: 5 * sec, Min: 60 * sec, Max: 120 * sec},
		},
		camera(),
		{Kind: Video, Link: Cable, Rate: 16 * unit.Mbps, Period: 4 * sec, Limit: 60 * unit.Mbps},
		{Kind: Video, Link: Cable, Start: 10 * sec, Rate: 8 * unit.Mbps, Period: 5 * sec, Limit: 40 * unit.Mbps},
		{Kind: Video, Link: VDSL, Start: 20 * sec, Rate: 5 * unit.Mbps, Period: 5 * sec, Limit: 20 * unit.Mbps},
		{Kind: Web, Link: Cable, Count: 2, Size: 400_000, Limit: 80 * unit.Mbps, Arrive: &Arrivals{Every: 3 * sec}},
		// A game's update and a new phone's restore, each as fast as its source can: below the cable's 900.
		paced(35*sec, 112*sec),
		paced(255*sec, 318*sec),
		// Photos go up.
		bulk(link.Up, 2, 128*sec, 160*sec),
		bulk(link.Up, 2, 335*sec, 360*sec),
	}
	s.Events = []Event{
		{Kind: CapacityShare, At: 60 * sec, For: 45 * sec, Link: Cable, Dir: DownOnly, Share: 667_000},
		// Mild, and with our queues empty: over the warn threshold of 45 ms, under the critical one of 80.
		{
			Kind: ProviderCongestion, At: 190 * sec, For: 40 * sec, Link: Cable, Dir: DownOnly,
			Delay: 60 * time.Millisecond, Wobble: 50_000,
		},
		{Kind: CapacityShare, At: 270 * sec, For: 40 * sec, Link: Cable, Dir: DownOnly, Share: 639_000},
		congestion(390*sec, 100*sec, 120*time.Millisecond),
	}
}
