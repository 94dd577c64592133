package scenario

import (
	"sort"
	"strings"
	"time"

	"wanctl/internal/unit"
)

const (
	// maxSteps bounds what all capacities of a scenario unfold to: the machine reads them all at its start.
	maxSteps = 200_000
	// rampGrain is how fine a straight line is cut into steps.
	rampGrain = 100 * time.Millisecond
)

// shapes are the ways a capacity can change; a path has at most one.
var shapes = []string{"steps", "ramp", "square", "trace", "twin"}

// capacity unfolds one direction's capacity.
func (p *parser) capacity(s *Scenario, sec *section, stream uint64) (unit.Rate, []Step) {
	var given []string
	for _, name := range shapes {
		if sec.mentions(name) && (name != "twin" || !sec.mentions("trace")) {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		p.errorf(sec.place(given[1]), sec.path, "keep one of them", "has %s, and a capacity changes in one way", strings.Join(given, " and "))
		return 0, nil
	}
	nominal := mbps(sec.num("mbps"))
	shape := "constant"
	if len(given) == 1 {
		shape = given[0]
	}
	if shape != "trace" && shape != "twin" && !p.require(sec, "mbps") {
		nominal = unit.Mbps // so that the rest of the section is looked at, too
	}
	var steps []Step
	switch shape {
	case "constant":
		steps = []Step{{0, nominal}}
	case "steps":
		steps = p.points(s, sec, "steps", nominal)
	case "ramp":
		steps = ramp(p.points(s, sec, "ramp", nominal))
	case "square":
		steps = p.square(s, sec.vals["square"].sec, nominal)
	case "trace", "twin":
		var p95 unit.Rate
		p95, steps = p.varying(s, sec, stream)
		if !sec.mentions("mbps") {
			nominal = p95
		}
	}
	steps = merge(p.outages(s, sec, steps), s.Duration)
	if p.steps += len(steps); p.steps > maxSteps {
		p.errorf(sec.at, sec.path, "make the bin or period larger, or the scenario shorter",
			"the scenario's capacities have more than %d steps", maxSteps)
		return nominal, nil
	}
	return nominal, steps
}

// points reads a list of instants and rates; the first one, at 0, is the nominal rate.
func (p *parser) points(s *Scenario, sec *section, name string, nominal unit.Rate) []Step {
	out := []Step{{0, nominal}}
	for _, c := range sec.sections(name) {
		if !p.require(c, "at", "mbps") {
			continue
		}
		at, last := c.dur("at"), out[len(out)-1].At
		if at == 0 {
			p.errorf(c.place("at"), join(c.path, "at"), "set "+join(sec.path, "mbps"), "the rate at the start is the line's mbps")
			continue
		}
		p.inOrder(s, c, last, false)
		out = append(out, Step{at, mbps(c.num("mbps"))})
	}
	return out
}

// ramp cuts straight lines between points into steps that have the lines' mean.
func ramp(points []Step) []Step {
	var out []Step
	for i := 0; i+1 < len(points); i++ {
		a, b := points[i], points[i+1]
		width := b.At - a.At
		for off := time.Duration(0); off < width; off += rampGrain {
			mid := float64(off+min(rampGrain, width-off)/2) / float64(width)
			out = append(out, Step{a.At + off, a.Rate + unit.Rate(mid*float64(b.Rate-a.Rate))})
		}
	}
	return append(out, points[len(points)-1])
}

// square alternates between the given rate and the nominal one, the given first.
func (p *parser) square(s *Scenario, sec *section, nominal unit.Rate) []Step {
	out := []Step{{0, nominal}}
	if sec == nil || !p.require(sec, "mbps") || sec.bad("period") || sec.bad("from") || sec.bad("to") {
		return out
	}
	half := sec.dur("period") / 2
	from, to := sec.durOr("from", half), min(sec.durOr("to", s.Duration), s.Duration)
	if from >= to {
		p.errorf(sec.place("from"), join(sec.path, "from"), "", "%s is not before the end of the changes at %s", short(from), short(to))
		return out
	}
	low := mbps(sec.num("mbps"))
	if from == 0 {
		out = nil
	}
	rate := low
	for at := from; at < to; at += half {
		out = append(out, Step{at, rate})
		rate = nominal + low - rate
	}
	if to < s.Duration {
		out = append(out, Step{to, nominal})
	}
	return out
}

// outages lays spans without capacity over the steps.
func (p *parser) outages(s *Scenario, sec *section, steps []Step) []Step {
	last := time.Duration(0)
	for i, c := range sec.sections("outages") {
		if !p.require(c, "at", "for") {
			continue
		}
		from := c.dur("at")
		if i > 0 && from < last {
			p.errorf(c.place("at"), join(c.path, "at"), "write them in order and apart", "%s is before the outage above ends at %s", short(from), short(last))
			continue
		}
		p.inOrder(s, c, 0, true)
		last = from + c.dur("for")
		steps = silence(steps, from, last)
	}
	if sec.has("outages") && len(steps) > 0 && steps[0].Rate == 0 {
		p.errorf(sec.place("outages"), join(sec.path, "outages"), "let the first one begin later", "the line has no capacity at its start")
	}
	return steps
}

// silence sets the rate to 0 between two instants.
func silence(steps []Step, from, to time.Duration) []Step {
	var out []Step
	after := unit.Rate(0)
	for _, st := range steps {
		if st.At <= to {
			after = st.Rate
		}
		if st.At < from || st.At > to {
			out = append(out, st)
		}
	}
	out = append(out, Step{from, 0}, Step{to, after})
	sort.SliceStable(out, func(i, j int) bool { return out[i].At < out[j].At })
	return out
}

// merge drops steps that change nothing, and those after the end.
func merge(steps []Step, end time.Duration) []Step {
	var out []Step
	for _, st := range steps {
		if n := len(out); st.At >= end || (n > 0 && out[n-1].Rate == st.Rate) {
			continue
		}
		out = append(out, st)
	}
	return out
}

// varying unfolds a recording, or its twin where there is no directory of recordings. The rate is the 95th percentile
// of the bins.
func (p *parser) varying(s *Scenario, sec *section, stream uint64) (unit.Rate, []Step) {
	steps, here := []Step(nil), sec.place("twin")
	if sec.has("trace") {
		here = sec.place("trace")
		if !sec.mentions("twin") {
			p.errorf(here, join(sec.path, "twin"), "a twin is played where the recording is not at hand", "is required beside trace")
		}
	}
	var t *twin
	if v := sec.vals["twin"]; v.sec != nil {
		t = p.twin(v.sec)
	}
	// A typing mistake in the part that is not played is found all the same, by p.twin above and p.trace here.
	tr := p.trace(sec.vals["trace"].sec)
	switch {
	case tr != nil && p.opt.TracesDir != "":
		var err error
		if steps, err = tr.steps(p.opt.TracesDir, s.Duration); err != nil {
			p.errorf(here, join(sec.path, "trace"), "", "%v", err)
			return 0, nil
		}
		s.Recordings = append(s.Recordings, tr.file)
	case t != nil:
		if s.Duration/t.bin > maxSteps {
			p.errorf(here, join(sec.path, "twin.bin"), "make the bin larger", "%s makes more than %d steps", short(t.bin), maxSteps)
			return 0, nil
		}
		steps = t.steps(s.Duration, s.Seed, stream)
	}
	if len(steps) == 0 {
		return 0, nil
	}
	p95 := quantile(steps, 0.95)
	if p95 < mbps(0.1) && !sec.mentions("mbps") {
		p.errorf(here, sec.path, "give mbps, or choose another part of the trace", "carries nearly nothing in %s, so it has no nominal rate", short(s.Duration))
	}
	return p95, steps
}

// quantile returns the rate that a share q of equally long steps does not exceed.
func quantile(steps []Step, q float64) unit.Rate {
	rates := make([]unit.Rate, len(steps))
	for i, st := range steps {
		rates[i] = st.Rate
	}
	sort.Slice(rates, func(i, j int) bool { return rates[i] < rates[j] })
	return rates[min(len(rates)-1, int(q*float64(len(rates))))]
}
