package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// sample is a ground-truth probe on its way to a figure. Milliseconds.
type sample struct {
	at, delay float64
	// added is without base and without time in an outage.
	added float64
	lost  bool
}

// lane is one direction of a link: its raw series in the form that figures want.
type lane struct {
	path     *scenario.Path
	capacity steps
	// out is when the line was out, dead the same with the drain allowance.
	out, dead spans
	udp       []sample
	line      counter
	drops     counter
	shaper    struct {
		drops, marks counter
		// rates are the readings of the shaper's rate.
		rates steps
	}
}

// track is one link.
type track struct {
	index  int
	link   *scenario.Link
	lanes  [2]lane
	rtt    []sample
	icmp   []sample
	dead   spans
	states []State
	loaded span
	// busy is whether a flow uses the link at all.
	busy bool
	base Base
}

// Evaluate turns the record of a run into its figures. It is pure: the same record gives the same figures. It fails only
// for a record whose description makes no sense; a run that is not sound is marked as invalid.
func Evaluate(raw *Raw) (*Result, error) {
	if raw == nil {
		return nil, errors.New("evaluate a run: there is none; load one first")
	}
	m := &raw.Meta
	if err := checkMeta(m); err != nil {
		return nil, fmt.Errorf("evaluate a run: %w", err)
	}
	s := &m.Scenario
	res := &Result{
		Schema: Schema, Controller: m.Controller, Scenario: s.Name, About: s.About, Seed: s.Seed, Untuned: s.Untuned,
		Clock: m.Clock, Kernel: m.Kernel, Version: m.Version, DurationS: s.Duration.Seconds(), WallS: m.WallS,
		ControllerWrites: m.ControllerWrites, ControllerExits: slices.Clone(m.ControllerExits),
	}
	if m.ControllerCPUS >= 0 {
		res.ControllerCPUS = ptr(round(m.ControllerCPUS, 3))
	}
	if m.ControllerRSS > 0 {
		res.ControllerRSS = ptr(m.ControllerRSS)
	}
	if res.ControllerExits == nil {
		res.ControllerExits = []ControllerExit{}
	}
	end := recordEnd(raw)
	tracks := newTracks(raw, end)
	for i := range tracks {
		res.Links = append(res.Links, tracks[i].result(raw))
	}
	check(res, raw, tracks, end)
	return res, nil
}

// recordEnd is the scenario's end, or earlier: the last probe of a run that was cut short.
func recordEnd(raw *Raw) float64 {
	end, last := raw.Meta.Scenario.Duration.Seconds(), 0.0
	for _, p := range raw.Probes {
		last = max(last, p.At)
	}
	if last < end-GapS {
		return last
	}
	return end
}

func newTracks(raw *Raw, end float64) []track {
	s := &raw.Meta.Scenario
	tracks := make([]track, len(s.Links))
	for i := range tracks {
		t := &tracks[i]
		t.index, t.link = i, &s.Links[i]
		for _, d := range directions {
			t.lanes[d].path = t.link.Path(d)
		}
		t.loaded, t.busy = loadedSpan(s, i, end)
	}
	for _, c := range raw.Capacity {
		tracks[c.Link].lanes[c.Dir].capacity.add(c.At, float64(c.Rate))
	}
	for _, q := range raw.Queues {
		l := &tracks[q.Link].lanes[q.Dir]
		if q.Line {
			l.line.add(q.At, int64(q.Bytes))
			l.drops.add(q.At, q.Dropped)
			continue
		}
		l.shaper.rates.add(q.At, float64(q.MaxLimit))
		l.shaper.drops.add(q.At, q.Dropped)
		l.shaper.marks.add(q.At, q.Marked)
	}
	for _, st := range raw.States {
		tracks[st.Link].states = append(tracks[st.Link].states, st)
	}
	for i := range tracks {
		t := &tracks[i]
		t.findOutages(s, end)
		t.takeProbes(raw, s, end)
	}
	return tracks
}

// loadedSpan is the loaded time of a link and whether a flow makes it so.
func loadedSpan(s *scenario.Scenario, index int, end float64) (span, bool) {
	first, last, busy := math.Inf(1), 0.0, false
	for _, f := range s.Flows {
		if f.Link == index {
			first, last, busy = min(first, f.From.Seconds()), max(last, f.To.Seconds()), true
		}
	}
	if !busy {
		return span{0, end}, false
	}
	to := min(last, end)
	return span{min(max(0, first)+RampS, to), to}, true
}

// findOutages notes where each direction of the line was out. See [Outage].
func (t *track) findOutages(s *scenario.Scenario, end float64) {
	for d := range t.lanes {
		l := &t.lanes[d]
		if len(l.capacity.at) == 0 {
			// Nothing was recorded: the scenario's word is the best there is (and the run is invalid).
			for _, st := range l.path.Steps {
				l.capacity.add(st.At.Seconds(), float64(st.Rate))
			}
		}
		var low spans
		for i, v := range l.capacity.value {
			if v < float64(OutageRate) {
				low = append(low, span{l.capacity.at[i], min(l.capacity.until(i), end)})
			}
		}
		for _, o := range union(low) {
			if o.to-o.from >= OutageS {
				l.out = append(l.out, o)
			}
		}
		for _, f := range s.Faults {
			if f.Kind == scenario.LinkDown && f.Link == t.index {
				l.out = union(l.out, spans{{f.At.Seconds(), min((f.At + f.For).Seconds(), end)}})
			}
		}
		var dead spans
		for _, o := range l.out {
			dead = append(dead, span{o.from, o.to + l.drain(o.to)})
		}
		l.dead = union(dead)
		t.dead = union(t.dead, l.dead)
	}
}

// drain is how long the provider's full buffer takes to empty from an instant on, at most [DrainMaxS].
func (l *lane) drain(from float64) float64 {
	bits, at := float64(8*l.path.Nominal.Over(l.path.FIFO)), from
	for i, v := range l.capacity.value {
		to := l.capacity.until(i)
		if to <= from {
			continue
		}
		at = max(at, l.capacity.at[i])
		if float64((to-at)*v) >= bits && v > 0 {
			return round(min(DrainMaxS, at-from+bits/v), 3)
		}
		if v > 0 {
			bits -= float64((to - at) * v)
		}
		at = to
	}
	return DrainMaxS
}

// takeProbes sorts the probes of a link and finds base and added delays.
func (t *track) takeProbes(raw *Raw, s *scenario.Scenario, end float64) {
	out := union(t.lanes[0].out, t.lanes[1].out)
	for _, p := range raw.Probes {
		if p.Link != t.index || p.At < 0 || p.At >= end {
			continue
		}
		v := sample{at: p.At, delay: float64(p.Delay), lost: p.Lost}
		if p.ICMP {
			v.added = v.delay - 1000*out.overlap(p.At, p.At+v.delay/1000)
			t.icmp = append(t.icmp, v)
			continue
		}
		l := &t.lanes[p.Dir]
		v.added = v.delay - 1000*l.out.overlap(p.At, p.At+v.delay/1000)
		l.udp = append(l.udp, v)
	}
	t.findBase(s, end)
	for d := range t.lanes {
		l := &t.lanes[d]
		base := t.base.Down
		if link.Direction(d) == link.Up {
			base = t.base.Up
		}
		subtract(l.udp, base)
		// What was in the buffer when the line went out is lost with it.
		l.udp = forgiven(l.udp, l.dead, float64(base)/1000+l.path.FIFO.Seconds())
	}
	subtract(t.icmp, t.base.ICMP)
	lead := float64(t.base.ICMP)/1000 + max(t.lanes[0].path.FIFO, t.lanes[1].path.FIFO).Seconds()
	t.icmp = forgiven(t.icmp, t.dead, lead)
	t.rtt = roundTrips(t.lanes[link.Up].udp, t.lanes[link.Down].udp)
}

func subtract(v []sample, base unit.Millis) {
	for i := range v {
		v[i].added -= float64(base)
	}
}

// forgiven takes out the lost probes of up to lead seconds before an outage.
func forgiven(v []sample, dead spans, lead float64) []sample {
	var before spans
	for _, o := range dead {
		before = append(before, span{o.from - lead, o.from})
	}
	before = union(before)
	return slices.DeleteFunc(v, func(p sample) bool { return p.lost && before.has(p.at) })
}

// findBase takes the idle delays; see [Base].
func (t *track) findBase(s *scenario.Scenario, end float64) {
	idle := end
	for _, f := range s.Flows {
		if f.Link == t.index {
			idle = min(idle, f.From.Seconds())
		}
	}
	quiet := spans{{0, idle}}.without(t.dead)
	// The machine's propagation is all in the download.
	far := unit.ToMillis(t.link.Delay)
	t.base = Base{Down: far, RoundTrip: far, ICMP: far}
	down, okDown := median(t.lanes[link.Down].udp, quiet)
	up, okUp := median(t.lanes[link.Up].udp, quiet)
	if !okDown || !okUp || quiet.length() < 1 {
		return
	}
	t.base = Base{Measured: true, Down: down, Up: up, RoundTrip: roundMS(float64(down + up)), ICMP: far}
	if icmp, ok := median(t.icmp, quiet); ok {
		t.base.ICMP = icmp
	}
}

func median(v []sample, in spans) (unit.Millis, bool) {
	var d []float64
	for _, p := range v {
		if !p.lost && in.has(p.at) {
			d = append(d, p.delay)
		}
	}
	slices.Sort(d)
	if len(d) == 0 {
		return 0, false
	}
	return roundMS(rank(d, 0.5)), true
}

// roundTrips matches each upload probe with the first download probe sent after it arrived.
func roundTrips(up, down []sample) []sample {
	const within = 0.1
	var out []sample
	for _, u := range up {
		if u.lost {
			out = append(out, u)
			continue
		}
		there := u.at + u.delay/1000
		i, _ := slices.BinarySearchFunc(down, there, func(d sample, at float64) int {
			if d.at < at {
				return -1
			}
			return 1
		})
		if i == len(down) || down[i].at-there > within {
			continue
		}
		d := down[i]
		out = append(out, sample{at: u.at, delay: u.delay + d.delay, added: u.added + d.added, lost: d.lost})
	}
	return out
}

func (t *track) result(raw *Raw) LinkResult {
	s := &raw.Meta.Scenario
	r := LinkResult{
		Name: t.link.Name, Base: t.base, Outages: t.outages(s), Phases: []Window{}, Flows: t.flows(raw),
	}
	loaded := spans{t.loaded}
	if t.loaded.to <= t.loaded.from {
		loaded = nil
	}
	rough := t.transients(s)
	r.Loaded = t.window(s, "loaded", t.loaded, loaded)
	r.Steady = t.window(s, "steady", t.loaded, loaded.without(rough))
	r.Transient = t.window(s, "transient", t.loaded, loaded.intersect(rough))
	for _, p := range s.Phases {
		ps := span{p.From.Seconds(), p.To.Seconds()}
		r.Phases = append(r.Phases, t.window(s, p.Name, ps, union(spans{ps})))
	}
	for _, d := range directions {
		r.Directions.Set(d, t.direction(s, d, loaded))
	}
	return r
}

func (t *track) outages(s *scenario.Scenario) []Outage {
	out := []Outage{}
	for _, d := range directions {
		for _, o := range t.lanes[d].out {
			v := Outage{
				Dir: d.String(), FromS: round(o.from, 3), ToS: round(o.to, 3), DrainS: t.lanes[d].drain(o.to), Cause: "capacity",
			}
			for _, f := range s.Faults {
				if f.Kind == scenario.LinkDown && f.Link == t.index && o.overlap(f.At.Seconds(), (f.At+f.For).Seconds()) {
					v.Cause = "link-down"
				}
			}
			same := func(b Outage) bool {
				return b.FromS == v.FromS && b.ToS == v.ToS && b.DrainS == v.DrainS && b.Cause == v.Cause
			}
			if i := slices.IndexFunc(out, same); i >= 0 {
				out[i].Dir = "both"
				continue
			}
			out = append(out, v)
		}
	}
	slices.SortStableFunc(out, func(a, b Outage) int {
		if a.FromS < b.FromS {
			return -1
		}
		if a.FromS > b.FromS {
			return 1
		}
		return 0
	})
	return out
}

func (a span) overlap(from, to float64) bool { return a.from < to && from < a.to }

// transients is the time shortly after something happened to the link.
func (t *track) transients(s *scenario.Scenario) spans {
	var out spans
	after := func(at float64) { out = append(out, span{at, at + TransientS}) }
	for d := range t.lanes {
		c := &t.lanes[d].capacity
		for i := 1; i < len(c.at); i++ {
			if math.Abs(c.value[i]-c.value[i-1]) >= StepShare*c.value[i-1] && c.value[i] != c.value[i-1] {
				after(c.at[i])
			}
		}
	}
	for _, f := range s.Faults {
		if f.Kind == scenario.KillController || f.Kind == scenario.RouterReboot || f.Link == t.index {
			out = append(out, span{f.At.Seconds(), (f.At + f.For + time.Duration(TransientS*float64(time.Second))).Seconds()})
		}
	}
	return union(out)
}

// window is the figures of a part of time; in is what of from…to counts.
func (t *track) window(s *scenario.Scenario, name string, whole span, in spans) Window {
	w := Window{Name: name, FromS: round(whole.from, 3), ToS: round(whole.to, 3)}
	for _, d := range directions {
		l := &t.lanes[d]
		w.UDP.Set(d, delays(l.udp, in.without(l.dead)))
		if loads(s, t.index, d) {
			w.Traffic.Set(d, l.traffic(in))
		}
	}
	w.RoundTrip = delays(t.rtt, in.without(t.dead))
	w.ICMP = delays(t.icmp, in.without(t.dead))
	return w
}

// loads says whether a flow fills the direction, or tries to.
func loads(s *scenario.Scenario, index int, d link.Direction) bool {
	return slices.ContainsFunc(s.Flows, func(f scenario.Flow) bool {
		switch f.Kind {
		case scenario.Call:
			return false
		case scenario.Web:
			return f.Link == index && d == link.Down
		default:
			return f.Link == index && f.Dir == d
		}
	})
}
