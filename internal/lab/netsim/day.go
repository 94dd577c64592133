package netsim

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// household hours: the share of possible arrivals in each hour from midnight.
var (
	leisure = hours(15, 5, 2, 1, 1, 2, 8, 15, 12, 10, 12, 18, 25, 20, 20, 25, 35, 50, 70, 90, 100, 95, 70, 35)
	office  = hours(2, 0, 0, 0, 0, 0, 5, 25, 80, 100, 95, 80, 40, 75, 95, 90, 70, 50, 45, 60, 65, 40, 15, 5)
)

func hours(percent ...int) []unit.PPM {
	out := make([]unit.PPM, len(percent))
	for i, p := range percent {
		out[i] = unit.PPM(p) * unit.One / 100
	}
	return out
}

// day is 24 hours from midnight. Which congestions come, when and how bad, the seed decides.
func day(s *Scenario) {
	s.Duration = 24 * time.Hour
	s.Series = time.Minute
	arrivals := func(every, shortest, longest time.Duration, hours []unit.PPM) *Arrivals {
		return &Arrivals{Every: every, Min: shortest, Max: longest, Hours: hours}
	}
	s.Flows = []Flow{
		{Kind: Talk, Link: AnyLink, Arrive: arrivals(6*time.Minute, time.Minute, 15*time.Minute, office)},
		{Kind: Game, Link: AnyLink, Arrive: arrivals(30*time.Minute, 10*time.Minute, 40*time.Minute, leisure)},
		camera(),
		{
			Kind: Video, Link: Cable, Rate: 16 * unit.Mbps, Period: 4 * time.Second, Limit: 80 * unit.Mbps,
			Arrive: arrivals(40*time.Minute, 20*time.Minute, 100*time.Minute, leisure),
		},
		{
			Kind: Video, Link: VDSL, Rate: 5 * unit.Mbps, Period: 5 * time.Second, Limit: 20 * unit.Mbps,
			Arrive: arrivals(90*time.Minute, 20*time.Minute, 60*time.Minute, leisure),
		},
		{Kind: Web, Link: Cable, Count: 2, Size: 500_000, Arrive: &Arrivals{Every: 8 * time.Second, Hours: leisure}},
		{Kind: Web, Link: VDSL, Size: 200_000, Arrive: &Arrivals{Every: 20 * time.Second, Hours: office}},
		{Kind: Bulk, Link: Cable, Count: 4, Arrive: arrivals(25*time.Minute, 20*time.Second, 4*time.Minute, leisure)},
		{Kind: Bulk, Link: VDSL, Count: 2, Arrive: arrivals(3*time.Hour, 20*time.Second, 3*time.Minute, leisure)},
		{Kind: Bulk, Link: VDSL, Dir: link.Up, Arrive: arrivals(3*time.Hour, 20*time.Second, 3*time.Minute, leisure)},
		{
			Kind: Bulk, Link: Cable, Dir: link.Up, Count: 2,
			Arrive: arrivals(45*time.Minute, 20*time.Second, 4*time.Minute, leisure),
		},
		// Last night's backup.
		{Kind: Bulk, Link: Cable, Dir: link.Up, Start: 3 * time.Hour, Stop: 3*time.Hour + 40*time.Minute},
	}
	chance := stream(s.Seed, 5, 0)
	between := func(from, to time.Duration) time.Duration {
		return from + time.Duration(chance.Float64()*float64(to-from)).Truncate(time.Second)
	}
	// The neighbourhood's evening: the cable's node is short of capacity again and again.
	for at := between(18*time.Hour, 19*time.Hour); at < 23*time.Hour; at += between(15*time.Minute, 50*time.Minute) {
		s.Events = append(s.Events, Event{
			Kind: CapacityShare, At: at, For: between(time.Minute, 8*time.Minute), Link: Cable, Dir: DownOnly,
			Share: 350_000 + unit.PPM(chance.IntN(350_000)),
		})
	}
	// Beyond it: twice a transit link is full, and twice nearly so.
	for range 2 {
		bad := congestion(between(8*time.Hour, 22*time.Hour), between(2*time.Minute, 12*time.Minute),
			120*time.Millisecond+time.Duration(chance.IntN(100))*time.Millisecond)
		mild := congestion(between(8*time.Hour, 22*time.Hour), between(time.Minute, 6*time.Minute),
			time.Duration(25+chance.IntN(40))*time.Millisecond)
		mild.Loss = 0
		s.Events = append(s.Events, bad, mild)
	}
	s.Events = append(
		s.Events,
		Event{Kind: PathChange, At: between(4*time.Hour, 5*time.Hour), Link: Cable, Delay: 3 * time.Millisecond},
		Event{Kind: Blackout, At: between(5*time.Hour, 6*time.Hour), For: between(20*time.Second, 90*time.Second), Link: Cable},
		Event{
			Kind: CapacityShare, At: between(12*time.Hour, 20*time.Hour), For: 10 * time.Minute, Link: VDSL, Dir: DownOnly,
			Share: 600_000,
		},
		Event{
			Kind: HostSlow, At: between(9*time.Hour, 21*time.Hour), For: 30 * time.Minute, Link: AnyLink, Host: 1,
			Delay: 60 * time.Millisecond,
		},
		Event{
			Kind: HostRateLimited, At: between(9*time.Hour, 21*time.Hour), For: 30 * time.Minute, Link: AnyLink, Host: 2,
			Loss: unit.One / 2,
		},
	)
}
