package netsim

import (
	"math"
	"math/rand/v2"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Net is a scenario under way. It is not safe for concurrent use.
type Net struct {
	world    *World
	scenario Scenario
	lines    []*line
	calls    []*Call
	totals   []float64
	probers  uint64
	place    func(Kind) int
}

// New builds the scenario's network at [Epoch]. It fails with everything that is wrong with the scenario.
func New(s Scenario) (*Net, error) {
	s.Step = s.step()
	if err := s.Validate(); err != nil {
		return nil, err
	}
	n := &Net{world: NewWorld(), scenario: s, totals: make([]float64, len(s.Flows))}
	for i, l := range s.Links {
		n.lines = append(n.lines, newLine(l, i, &s))
	}
	for i := range s.Events {
		e := &n.scenario.Events[i]
		n.world.At(Epoch.Add(e.At), func() { n.happen(e, true) })
		if e.For > 0 {
			n.world.At(Epoch.Add(e.At+e.For), func() { n.happen(e, false) })
		}
	}
	for i := range s.Flows {
		n.plan(i)
	}
	return n, nil
}

// World returns the clock, for planning what the caller does in virtual time.
func (n *Net) World() *World { return n.world }

// Now returns the virtual time.
func (n *Net) Now() unit.Time { return n.world.now }

// End is the instant at which the scenario ends.
func (n *Net) End() unit.Time { return Epoch.Add(n.scenario.Duration) }

// Scenario returns the scenario, its defaults filled in.
func (n *Net) Scenario() Scenario { return n.scenario }

// Run plays the world up to until.
func (n *Net) Run(until unit.Time) {
	n.world.Run(until)
	for i := range n.lines {
		n.line(i)
	}
}

// line returns a line integrated up to now.
func (n *Net) line(i int) *line {
	l := n.lines[i]
	l.advance(n.world.now)
	return l
}

// SetPlacement names who decides the link of each new connection of a sensitive kind that may take any; without one,
// or for an index out of range, that is link 0.
func (n *Net) SetPlacement(f func(Kind) int) { n.place = f }

// SetShaper sets our shaper's rate on a link from now on; 0 or less removes it. Queues keep their content.
func (n *Net) SetShaper(linkIndex int, d link.Direction, r unit.Rate) {
	n.line(linkIndex).paths.Get(d).rate = float64(max(r, 0)) / 8e9
}

// Counters returns what the link's router would report now: both queues, the WAN interface (received before the
// download's shaper, sent after the upload's) and the uptime. Byte counters stand one integration step back, so that
// the difference of two readings is exact.
func (n *Net) Counters(linkIndex int) link.Report { return n.line(linkIndex).report(n.world.now) }

// View returns the truth about a link now.
func (n *Net) View(linkIndex int) View { return n.line(linkIndex).view() }

// Traffic returns what is known of a link's bytes since the start.
func (n *Net) Traffic(linkIndex int) (t link.Pair[Traffic]) {
	l := n.line(linkIndex)
	for _, d := range []link.Direction{link.Down, link.Up} {
		t.Set(d, l.paths.Get(d).traffic())
	}
	return t
}

// Capacity returns the mean of what a direction can carry between two instants, past or to come, with the events that
// are on now; 0 for an empty span. Only who measures against perfect knowledge may ask.
func (n *Net) Capacity(linkIndex int, d link.Direction, from, to unit.Time) unit.Rate {
	p := n.line(linkIndex).paths.Get(d)
	from = max(from, Epoch)
	if to <= from {
		return 0
	}
	carried := p.supply.bytes(int64(from.Sub(Epoch)), int64(to.Sub(Epoch))) * p.scale
	return unit.Rate(carried / to.Sub(from).Seconds() * 8)
}

// Truth returns what is known of a link since the start. The result is the caller's.
func (n *Net) Truth(linkIndex int) *Truth {
	l := n.line(linkIndex)
	t := &Truth{}
	t.Line.merge(&l.truth.Line)
	for _, c := range n.calls {
		if c.Link == linkIndex {
			t.Calls.merge(&c.Delays)
		}
	}
	t.Traffic = n.Traffic(linkIndex)
	return t
}

// Series returns the link's time series so far; the caller must not change it.
func (n *Net) Series(linkIndex int) []Sample { return n.line(linkIndex).gauge.collected }

// Calls returns every call so far, in the order of their start; the caller must not change them.
func (n *Net) Calls() []*Call {
	for i := range n.lines {
		n.line(i)
	}
	return n.calls
}

// CallDelays returns the delays of all calls on all links together: what people on the phone felt.
func (n *Net) CallDelays() *Delays {
	all := &Delays{}
	for _, c := range n.Calls() {
		all.merge(&c.Delays)
	}
	return all
}

// FlowBytes returns what each flow of the scenario has delivered, all its connections together.
func (n *Net) FlowBytes() []unit.Bytes {
	out := make([]unit.Bytes, len(n.totals))
	for i := range n.lines {
		n.line(i)
	}
	for i, b := range n.totals {
		out[i] = unit.Bytes(b)
	}
	return out
}

// happen starts or ends an event.
func (n *Net) happen(e *Event, begins bool) {
	for i := range n.lines {
		if e.Link != i && e.Link != AnyLink {
			continue
		}
		l := n.line(i)
		if begins {
			l.active = append(l.active, e)
		} else {
			for k, a := range l.active {
				if a == e {
					l.active = append(l.active[:k:k], l.active[k+1:]...)
					break
				}
			}
		}
		l.settle()
	}
}

// settle makes the active events felt.
func (l *line) settle() {
	l.black, l.provider = false, nil
	for _, d := range []link.Direction{link.Down, link.Up} {
		p, spec := l.paths.Get(d), l.spec.path(d)
		p.scale, p.prop = 1, int64(spec.Delay)
		pass := 1 - spec.Loss.Factor()
		for _, e := range l.active {
			if !e.Dir.has(d) && e.Kind != Blackout {
				continue
			}
			switch e.Kind {
			case CapacityShare:
				p.scale *= e.Share.Factor()
			case PathChange:
				p.prop = max(p.prop+int64(e.Delay), 0)
			case LineLoss:
				pass *= 1 - e.Loss.Factor()
			case Blackout:
				p.scale, l.black = 0, true
			case ProviderCongestion, HostDead, HostSlow, HostRateLimited, eventKinds:
			}
		}
		p.loss = 1 - pass
	}
	for _, e := range l.active {
		if e.Kind == ProviderCongestion {
			l.provider = append(l.provider, e)
		}
	}
	l.stir()
}

// plan prepares one flow of the scenario.
func (n *Net) plan(i int) {
	f := &n.scenario.Flows[i]
	stop := f.Stop
	if stop == 0 {
		stop = n.scenario.Duration
	}
	chance := stream(n.scenario.Seed, 4, uint64(i))
	if f.Arrive == nil {
		n.world.At(Epoch.Add(f.Start), func() { n.begin(i, Epoch.Add(stop), 1, 0) })
		return
	}
	var next func()
	next = func() {
		a := f.Arrive
		life := a.Min + time.Duration(chance.Float64()*float64(a.Max-a.Min))
		size, luck, phase := min(chance.ExpFloat64(), 8), chance.Float64(), chance.Float64()
		at := n.world.now.Add(a.gap(chance))
		if at < Epoch.Add(stop) {
			n.world.At(at, next)
		}
		hour := int(n.world.now.Sub(Epoch)/time.Hour) % 24
		if len(a.Hours) == 24 && luck >= a.Hours[hour].Factor() {
			return
		}
		end := n.world.now.Add(life)
		if a.Max == 0 {
			end = 0
		}
		n.begin(i, end, size, phase)
	}
	if at := Epoch.Add(f.Start + f.Arrive.gap(chance)); at < Epoch.Add(stop) {
		n.world.At(at, next)
	}
}

func (a *Arrivals) gap(chance *rand.Rand) time.Duration {
	if a.Spread > 0 {
		return a.Every + time.Duration((2*chance.Float64()-1)*float64(a.Spread))
	}
	return max(time.Duration(chance.ExpFloat64()*float64(a.Every)), time.Millisecond)
}

// begin starts one instance of a flow that lasts until end; 0 lets it end by itself.
func (n *Net) begin(i int, end unit.Time, size, phase float64) {
	f := &n.scenario.Flows[i]
	if f.Kind.Sensitive() {
		n.call(i, end)
		return
	}
	l := n.line(f.Link)
	p := l.paths.Get(f.Dir)
	var mine []*flow
	for range max(f.Count, 1) {
		fl := newFlow(l.t, &n.totals[i])
		fl.rate = float64(f.Limit) / 8e9
		switch f.Kind {
		case Bulk:
			fl.bulk, fl.backlog = true, math.Inf(1)
			if f.Size > 0 {
				fl.backlog, fl.closing = float64(f.Size), true
			}
		case Steady:
			fl.open, fl.rate = true, float64(f.Rate)/8e9
		case Web:
			fl.backlog, fl.closing = max(float64(f.Size)*size, Packet), true
		case Video, Talk, Game:
		}
		mine = append(mine, fl)
	}
	p.flows = append(p.flows, mine...)
	stop := func() {}
	if f.Kind == Video {
		chunk := float64(f.Rate.Over(f.Period))
		stop = n.world.Every(f.Period, time.Duration(phase*float64(f.Period)), func() {
			n.line(f.Link)
			for _, fl := range mine {
				// A viewer who has a minute's worth outstanding stops asking.
				fl.offer(l.t, min(chunk, max(chunk*float64(time.Minute/f.Period+1)-fl.backlog, 0)))
			}
		})
	}
	if end == 0 {
		return
	}
	n.world.At(end, func() {
		stop()
		n.line(f.Link)
		for _, fl := range mine {
			fl.closing, fl.stopped = true, true
			if !fl.open {
				fl.backlog, fl.gone = 0, 0
			}
		}
	})
}

// call starts one call, which stays on its link to its end.
func (n *Net) call(i int, end unit.Time) {
	f := &n.scenario.Flows[i]
	for range max(f.Count, 1) {
		at := f.Link
		if at == AnyLink {
			at = 0
			if n.place != nil {
				if at = n.place(f.Kind); at < 0 || at >= len(n.lines) {
					at = 0
				}
			}
		}
		c := &Call{Flow: i, Kind: f.Kind, Link: at, Start: n.world.now}
		n.calls = append(n.calls, c)
		l := n.line(at)
		l.calls = append(l.calls, c)
		n.world.At(end, func() {
			n.line(at)
			for k, o := range l.calls {
				if o == c {
					l.calls = append(l.calls[:k:k], l.calls[k+1:]...)
					break
				}
			}
			c.End = n.world.now
		})
	}
}
