package report

import (
	"cmp"
	"fmt"
	"slices"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// check says whether the run is sound. What it finds wrong makes the figures say something about the machine, or about
// nothing, instead of the controller.
func check(res *Result, raw *Raw, tracks []track, end float64) {
	bad := func(format string, args ...any) { res.Invalid = append(res.Invalid, fmt.Sprintf(format, args...)) }
	note := func(format string, args ...any) { res.Notes = append(res.Notes, fmt.Sprintf(format, args...)) }
	for _, c := range raw.Cut {
		bad("The record is not complete: %s.", c)
	}
	if end < res.DurationS {
		bad("The record ends at %.1f s of %.1f s.", end, res.DurationS)
	}
	var lags []float64
	for _, c := range raw.Capacity {
		lags = append(lags, float64(c.Lag))
	}
	slices.Sort(lags)
	if len(lags) > 0 {
		res.CapacityLagP99 = ptr(roundMS(rank(lags, 0.99)))
		if *res.CapacityLagP99 >= MaxLagMS {
			bad("Capacity was changed %.1f ms late (p99), the limit is %.0f ms: the machine was too slow.", *res.CapacityLagP99, MaxLagMS)
		}
	}
	for i := range tracks {
		tracks[i].check(raw, end, bad, note)
	}
	for _, e := range res.ControllerExits {
		note("The controller ended by itself at %.1f s (%s).", e.AtS, e.Status)
	}
	res.Valid = len(res.Invalid) == 0
}

func (t *track) check(raw *Raw, end float64, bad, note func(string, ...any)) {
	name := t.link.Name
	if want := unit.ToMillis(t.link.Delay); t.base.Measured && !near(t.base.RoundTrip, want, BaseErrorMS) {
		bad("Link %s measures %.2f ms idle and the scenario says %.2f ms: the machine was not idle, or the topology is wrong.",
			name, t.base.RoundTrip, want)
	}
	if !t.base.Measured {
		note("Link %s was not idle for a second at the start: its base delay is the scenario's, not measured.", name)
	}
	for _, d := range directions {
		l := &t.lanes[d]
		if at, hole := longestHole(raw, t.index, d, end); hole > GapS {
			bad("No %s probe was sent on link %s for %.1f s from %.1f s on.", d, name, hole, at)
		}
		if !slices.ContainsFunc(raw.Capacity, func(c Capacity) bool { return c.Link == t.index && c.Dir == d }) {
			bad("No capacity was recorded for the %s of link %s.", d, name)
		}
		if loads(&raw.Meta.Scenario, t.index, d) && len(l.line.covered()) == 0 {
			bad("The bottleneck of the %s of link %s was never read.", d, name)
		}
		t.checkShaper(raw, d, bad, note)
	}
}

func near(a, b, within unit.Millis) bool { return a-b <= within && b-a <= within }

// longestHole is the longest time without a UDP probe, answered or not.
func longestHole(raw *Raw, index int, d link.Direction, end float64) (at, length float64) {
	last := 0.0
	look := func(t float64) {
		if t-last > length {
			at, length = last, t-last
		}
		last = max(last, t)
	}
	for _, p := range raw.Probes {
		if !p.ICMP && p.Link == index && p.Dir == d && p.At >= 0 && p.At < end {
			look(p.At)
		}
	}
	look(end)
	return at, length
}

// checkShaper holds the readings against the controller's name: without a shaper only "none" may run.
func (t *track) checkShaper(raw *Raw, d link.Direction, bad, note func(string, ...any)) {
	rates, none := &t.lanes[d].shaper.rates, raw.Meta.Controller == "none"
	switch n := len(rates.at); {
	case none && n > 0:
		bad("There is a shaper on the %s of link %s, and the controller is none.", d, t.link.Name)
		return
	case none:
		return
	case n == 0:
		bad("There was never a shaper on the %s of link %s.", d, t.link.Name)
		return
	}
	// Where the scenario takes the queues away there is nothing to read.
	var planned spans
	for _, f := range raw.Meta.Scenario.Faults {
		if f.Kind == scenario.RouterReboot || f.Kind == scenario.QdiscGone && f.Link == t.index {
			planned = append(planned, span{f.At.Seconds(), (f.At + f.For).Seconds() + GapS})
		}
	}
	planned = union(planned)
	read := append(slices.Clone(rates.at), t.loaded.to)
	last := t.loaded.from
	var gone spans
	for _, at := range read {
		if at > last {
			gone = append(gone, spans{{last, at}}.without(planned)...)
			last = at
		}
	}
	if len(gone) == 0 {
		return
	}
	worst := slices.MaxFunc(gone, func(a, b span) int { return cmp.Compare(a.to-a.from, b.to-b.from) })
	if worst.to-worst.from > GapS {
		note("There was no shaper on the %s of link %s from %.1f s to %.1f s.", d, t.link.Name, worst.from, worst.to)
	}
}
