package report

import (
	"math"
	"slices"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// rank is the percentile of an ordered series by nearest rank.
func rank(v []float64, p float64) float64 {
	return v[max(0, min(len(v)-1, int(math.Ceil(p*float64(len(v))))-1))]
}

// delays is the figures of the probes sent in a part of time.
func delays(v []sample, in spans) Delays {
	d := Delays{CountedS: round(in.length(), 3)}
	var added []float64
	over, far := 0, 0
	for _, p := range v {
		if !in.has(p.at) {
			continue
		}
		d.Sent++
		if p.lost {
			d.Lost++
		} else {
			added = append(added, p.added)
		}
		if p.beyond(OverMS) {
			over++
		}
		if p.beyond(FarOverMS) {
			far++
		}
	}
	if d.Sent == 0 {
		return d
	}
	d.OverS = round(in.length()*float64(over)/float64(d.Sent), 3)
	d.FarOverS = round(in.length()*float64(far)/float64(d.Sent), 3)
	if len(added) > 0 {
		slices.Sort(added)
		d.Added = &Added{
			P50: roundMS(rank(added, 0.50)), P95: roundMS(rank(added, 0.95)), P99: roundMS(rank(added, 0.99)),
			Max: roundMS(added[len(added)-1]),
		}
	}
	return d
}

func (p sample) beyond(limit unit.Millis) bool { return p.lost || p.added > float64(limit) }

func (l *lane) traffic(in spans) *Traffic {
	in = in.without(l.dead).intersect(l.line.covered())
	s, bits := in.length(), 8*l.line.over(in)
	t := &Traffic{
		CountedS: round(s, 3), ProviderDrops: int64(math.Round(l.drops.over(in))),
		ShaperDrops: int64(math.Round(l.shaper.drops.over(in))), ShaperMarks: int64(math.Round(l.shaper.marks.over(in))),
	}
	offered := l.capacity.integral(in)
	if s > 0 {
		t.Mbps, t.CapacityMbps = round(bits/s/1e6, 3), round(offered/s/1e6, 3)
	}
	if offered > 0 {
		t.Share = ptr(round(bits/offered, 4))
	}
	return t
}

func (t *track) direction(s *scenario.Scenario, d link.Direction, loaded spans) DirResult {
	l := &t.lanes[d]
	r := DirResult{Drops: []Drop{}, Rises: []Rise{}, Silence: silence(l.udp, loaded.without(l.dead))}
	c := &l.capacity
	for i := 1; i < len(c.at); i++ {
		was, now, at := c.value[i-1], c.value[i], c.at[i]
		if at < t.loaded.from || now < float64(OutageRate) || math.Abs(now-was) < StepShare*was || now == was {
			continue
		}
		end := t.loaded.to
		for j := i + 1; j < len(c.at); j++ {
			if math.Abs(c.value[j]-now) >= StepShare*now {
				end = min(end, c.at[j])
				break
			}
		}
		switch {
		case end-at < HoldS:
		case now < was:
			r.Drops = append(r.Drops, l.drop(was, now, span{at, end}))
		default:
			if until, ok := filledUntil(s, t.index, d, at); ok {
				r.Rises = append(r.Rises, l.rise(was, now, span{at, min(end, until)}))
			}
		}
	}
	r.States = stateShares(t.states, d, loaded)
	if n := len(l.shaper.rates.at); n > 0 {
		changes := 0
		for i := 1; i < n; i++ {
			if l.shaper.rates.value[i] != l.shaper.rates.value[i-1] {
				changes++
			}
		}
		r.RateChanges = &changes
	}
	return r
}

// filledUntil says whether a bulk flow fills the direction at an instant, and how long the last of those does.
func filledUntil(s *scenario.Scenario, index int, d link.Direction, at float64) (float64, bool) {
	until, ok := 0.0, false
	for _, f := range s.Flows {
		if f.Kind == scenario.Bulk && f.Link == index && f.Dir == d && f.From.Seconds() <= at && f.To.Seconds() > at {
			until, ok = max(until, f.To.Seconds()), true
		}
	}
	return until, ok
}

func (l *lane) drop(was, now float64, phase span) Drop {
	in := spans{phase}.without(l.dead)
	r := Drop{
		AtS: round(phase.from, 3), FromMbps: round(was/1e6, 3), ToMbps: round(now/1e6, 3), PhaseS: round(phase.to-phase.from, 3),
		BadS: delays(l.udp, in).OverS,
	}
	n, bad, peak := 0, 0, math.Inf(-1)
	for _, p := range slices.Backward(l.udp) {
		if !in.has(p.at) {
			continue
		}
		n++
		if p.beyond(OverMS) {
			bad++
		}
		if !p.lost {
			peak = max(peak, p.added)
		}
		if phase.to-p.at >= HoldS && float64(bad) <= (1-SettledShare)*float64(n) {
			r.SettledS = ptr(round(p.at-phase.from, 2))
		}
	}
	if !math.IsInf(peak, -1) {
		r.Peak = ptr(roundMS(peak))
	}
	return r
}

func (l *lane) rise(was, now float64, phase span) Rise {
	r := Rise{AtS: round(phase.from, 3), FromMbps: round(was/1e6, 3), ToMbps: round(now/1e6, 3)}
	covered := spans{phase}.intersect(l.line.covered())
	if len(covered) == 0 {
		return r
	}
	end := covered[0].to
	for _, at := range append([]float64{phase.from}, l.line.at...) {
		if at < phase.from {
			continue
		}
		if at+RegainedForS > end {
			break
		}
		if 8*l.line.over(spans{{at, at + RegainedForS}}) >= RegainedShare*now*RegainedForS {
			r.RegainedS = ptr(round(at-phase.from, 2))
			break
		}
	}
	return r
}

// stalls sums up silences.
func stalls(silent, in spans) Stall {
	var s Stall
	total := 0.0
	for _, v := range union(silent) {
		n := in.overlap(v.from, v.to)
		s.LongestS = max(s.LongestS, n)
		if n >= StallS-1e-9 {
			total += n
		}
	}
	s.LongestS = round(s.LongestS, 3)
	if n := in.length(); n > 0 {
		s.Share = round(total/n, 4)
	}
	return s
}

// silence is when every probe was lost: from the first lost one's sending to the next answered one's.
func silence(v []sample, in spans) Stall {
	var silent spans
	from := math.Inf(1)
	for _, p := range v {
		switch {
		case p.lost:
			from = min(from, p.at)
		case !math.IsInf(from, 1):
			silent = append(silent, span{from, p.at})
			from = math.Inf(1)
		}
	}
	if n := len(in); n > 0 && from < in[n-1].to {
		silent = append(silent, span{from, in[n-1].to})
	}
	return stalls(silent, in)
}

func stateShares(states []State, d link.Direction, loaded spans) *StateShares {
	if len(states) == 0 {
		return nil
	}
	var in [link.States]float64
	for i, s := range states {
		to := s.At + StateHoldS
		if i+1 < len(states) {
			to = min(to, states[i+1].At)
		}
		in[s.State.Get(d)] += loaded.overlap(s.At, to)
	}
	whole := loaded.length()
	if whole == 0 {
		return nil
	}
	share := func(s link.State) float64 { return round(in[s]/whole, 4) }
	known := in[link.Green] + in[link.Yellow] + in[link.SoftRed] + in[link.Red]
	return &StateShares{
		Green: share(link.Green), Yellow: share(link.Yellow), SoftRed: share(link.SoftRed), Red: share(link.Red),
		Unknown: max(0, round(1-known/whole, 4)),
	}
}

// flows is what the flows of a link received.
func (t *track) flows(raw *Raw) []FlowResult {
	out := []FlowResult{}
	for i, f := range raw.Meta.Scenario.Flows {
		if f.Link != t.index {
			continue
		}
		for _, d := range directions {
			// A call goes both ways; of the web, the answers count.
			switch f.Kind {
			case scenario.Call:
			case scenario.Web:
				if d == link.Up {
					continue
				}
			default:
				if f.Dir != d {
					continue
				}
			}
			out = append(out, t.flow(raw, i, &f, d))
		}
	}
	return out
}

func (t *track) flow(raw *Raw, index int, f *scenario.Flow, d link.Direction) FlowResult {
	r := FlowResult{Flow: index, Kind: string(f.Kind), Dir: d.String()}
	var c counter
	for _, v := range raw.Flows {
		if v.Flow == index && v.Dir == d {
			c.add(v.At, int64(v.Bytes))
		}
	}
	in := union(spans{{f.From.Seconds() + RampS, f.To.Seconds()}}).without(t.lanes[d].dead).intersect(c.covered())
	if n := in.length(); n > 0 {
		r.Mbps = round(8*c.over(in)/n/1e6, 3)
	}
	if f.Kind == scenario.Video || f.Kind == scenario.Web {
		return r
	}
	var silent spans
	for i := 1; i < len(c.at); i++ {
		if c.total[i] == c.total[i-1] {
			silent = append(silent, span{c.at[i-1], c.at[i]})
		}
	}
	r.Starved = ptr(stalls(silent, in))
	return r
}
