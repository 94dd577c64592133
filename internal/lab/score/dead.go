package score

import (
	"slices"
	"time"

	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// stretch is a part of a run, from its start on.
type stretch struct{ from, to time.Duration }

// dark is when one direction of a line was out, by the rules of the kernel lab's report: too slow for one packet in
// 100 ms, or broken; and when its full buffer has drained after that. Nobody can shape that away.
type dark struct {
	out, dead []stretch
	// at remembers where the last question was answered: times rise.
	at int
}

func darkOf(s *scenario.Scenario, index int, d link.Direction) *dark {
	path, k := s.Links[index].Path(d), &dark{}
	for i := 0; i < len(path.Steps); {
		j := i
		for j < len(path.Steps) && path.Steps[j].Rate < report.OutageRate {
			j++
		}
		if i == j {
			i++
			continue
		}
		from, to := path.Steps[i].At, until(path.Steps, j-1, s.Duration)
		if (to - from).Seconds() >= report.OutageS {
			k.out = append(k.out, stretch{from, to})
		}
		i = j
	}
	for _, f := range s.Faults {
		if f.Kind == scenario.LinkDown && f.Link == index {
			k.out = append(k.out, stretch{f.At, min(f.At+f.For, s.Duration)})
		}
	}
	slices.SortFunc(k.out, func(a, b stretch) int { return int(a.from - b.from) })
	for _, o := range k.out {
		end := o.to + drain(path, o.to, s.Duration)
		if n := len(k.dead); n > 0 && k.dead[n-1].to >= o.from {
			k.dead[n-1].to = max(k.dead[n-1].to, end)
			continue
		}
		k.dead = append(k.dead, stretch{o.from, end})
	}
	return k
}

// until is when a step ends.
func until(steps []scenario.Step, i int, end time.Duration) time.Duration {
	if i+1 < len(steps) {
		return steps[i+1].At
	}
	return end
}

// drain is how long a full buffer takes to empty from an instant on, at most report.DrainMaxS.
func drain(p *scenario.Path, from, end time.Duration) time.Duration {
	const most = time.Duration(report.DrainMaxS * float64(time.Second))
	left := p.Nominal.Over(p.FIFO)
	for i, st := range p.Steps {
		begin, to := max(st.At, from), until(p.Steps, i, end)
		if to <= from {
			continue
		}
		carries := st.Rate.Over(to - begin)
		if carries >= left && st.Rate > 0 {
			took := time.Duration(float64(left) * 8 / float64(st.Rate) * float64(time.Second))
			return min(most, begin-from+took)
		}
		left -= carries
	}
	return most
}

// has says whether t lies in what does not count. Questions come in the order of time.
func (k *dark) has(t time.Duration) bool {
	for k.at < len(k.dead) && k.dead[k.at].to <= t {
		k.at++
	}
	return k.at < len(k.dead) && k.dead[k.at].from <= t
}

// without is a wait from t on less the outages that it went through.
func (k *dark) without(t, wait time.Duration) time.Duration {
	rest := wait
	for _, o := range k.out {
		if both := min(o.to, t+wait) - max(o.from, t); both > 0 {
			rest -= both
		}
	}
	return rest
}

// seconds are the means of the whole seconds of a capacity.
func seconds(steps []scenario.Step, end time.Duration) []unit.Rate {
	var out []unit.Rate
	i := 0
	for at := time.Duration(0); at+time.Second <= end; at += time.Second {
		sum := unit.Bytes(0)
		for t := at; t < at+time.Second; {
			for i+1 < len(steps) && steps[i+1].At <= t {
				i++
			}
			to := min(at+time.Second, until(steps, i, end))
			sum += steps[i].Rate.Over(to - t)
			t = to
		}
		out = append(out, sum.Per(time.Second))
	}
	return out
}

// quartile is the 25th percentile of a capacity's seconds; of the whole where it is shorter than one.
func quartile(steps []scenario.Step, end time.Duration) unit.Rate {
	all := seconds(steps, end)
	if len(all) == 0 {
		return steps[0].Rate
	}
	slices.Sort(all)
	return max(all[len(all)/4], unit.Kbps)
}

// length is how long the line was out within a stretch.
func (k *dark) length(in stretch) (sum time.Duration) {
	for _, o := range k.out {
		sum += max(0, min(o.to, in.to)-max(o.from, in.from))
	}
	return sum
}
