package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Tolerances of [Agree].
const (
	// SteadyTolerance is for figures of steady time.
	SteadyTolerance = 0.02
	// TransientTolerance is for those of transient time.
	TransientTolerance = 0.05
	// AgreeFloorMS is how far delays may be apart in any case, in ms: the time of one packet at 24 Mbit/s. A percentile of a
	// queue moves in packets.
	AgreeFloorMS = 0.5
)

// Disagreement is a figure that sets of the same runs do not agree on.
type Disagreement struct {
	Controller, Scenario, Link string
	// Window is "steady" or "transient".
	Window string
	// What is the figure and its direction.
	What string
	// Low and High are the extremes of the sets' medians, Apart is (High − Low) ÷ their mean.
	Low, High, Apart float64
	Why              string
}

func (d Disagreement) String() string { return d.Why }

// Agree says where repetitions differ. Each set is reduced to its medians per controller and scenario (three runs, or
// one), and the sets are held against each other. Figures are p50, p95 and p99 of whole delay (base and added, since a
// line's delay is what repeats; one way each and round trip) and, in directions with bulk flows, the share of capacity
// delivered. In steady time ([LinkResult.Steady]) they may be [SteadyTolerance] apart, in transient time
// [TransientTolerance]; delays [AgreeFloorMS] in any case. Sets that do not hold the same valid runs are an error.
func Agree(sets ...[]*Result) ([]Disagreement, error) {
	if len(sets) < 2 {
		return nil, errors.New("compare repetitions: want at least two sets of results")
	}
	medians := make([]map[repeated]float64, len(sets))
	for i, set := range sets {
		m, err := repeatedMedians(set)
		if err != nil {
			return nil, fmt.Errorf("compare repetitions: set %d: %w", i+1, err)
		}
		medians[i] = m
	}
	var out []Disagreement
	for k := range medians[0] {
		low, high := math.Inf(1), math.Inf(-1)
		for i, m := range medians {
			v, ok := m[k]
			if !ok || len(m) != len(medians[0]) {
				return nil, fmt.Errorf("compare repetitions: sets 1 and %d do not hold the same runs; play the same scenarios with the same seed and controllers", i+1)
			}
			low, high = min(low, v), max(high, v)
		}
		apart, limit := 0.0, SteadyTolerance
		if mean := (low + high) / 2; mean > 0 {
			apart = (high - low) / mean
		}
		if k.window == "transient" {
			limit = TransientTolerance
		}
		if apart <= limit || k.delay && high-low <= AgreeFloorMS {
			continue
		}
		out = append(out, Disagreement{
			Controller: k.controller, Scenario: k.scenario, Link: k.link, Window: k.window, What: k.what, Low: low, High: high, Apart: round(apart, 4),
			Why: fmt.Sprintf("%s of link %s in %s under %s, %s time: %.4g and %.4g are %.1f %% apart, the limit is %.0f %%.", k.what, k.link,
				k.scenario, k.controller, k.window, low, high, 100*apart, 100*limit),
		})
	}
	slices.SortFunc(out, func(a, b Disagreement) int { return cmp.Or(cmp.Compare(b.Apart, a.Apart), cmp.Compare(a.Why, b.Why)) })
	return out, nil
}

// repeated names one figure of a run that can be repeated.
type repeated struct {
	controller, scenario string
	seed                 uint64
	link, window, what   string
	delay                bool
}

func repeatedMedians(set []*Result) (map[repeated]float64, error) {
	values := map[repeated][]float64{}
	for _, r := range set {
		if !r.Valid {
			return nil, fmt.Errorf("the run of %s under %s is not valid: %s", r.Scenario, r.Controller, r.Invalid[0])
		}
		for i := range r.Links {
			l := &r.Links[i]
			for _, w := range []*Window{&l.Steady, &l.Transient} {
				k := repeated{controller: r.Controller, scenario: r.Scenario, seed: r.Seed, link: l.Name, window: w.Name}
				l.repeatable(w, func(what string, delay bool, v float64) {
					k.what, k.delay = what, delay
					values[k] = append(values[k], v)
				})
			}
		}
	}
	if len(values) == 0 {
		return nil, errors.New("it holds no figures; want results of the laboratory")
	}
	out := map[repeated]float64{}
	for k, v := range values {
		out[k] = float64(stat(v).Median)
	}
	return out, nil
}

func (l *LinkResult) repeatable(w *Window, add func(what string, delay bool, v float64)) {
	delay := func(name string, base float64, d Delays) {
		if d.Added == nil {
			return
		}
		add("p50 of "+name, true, base+float64(d.Added.P50))
		add("p95 of "+name, true, base+float64(d.Added.P95))
		add("p99 of "+name, true, base+float64(d.Added.P99))
	}
	delay("download delay", float64(l.Base.Down), w.UDP.Down)
	delay("upload delay", float64(l.Base.Up), w.UDP.Up)
	delay("round trip", float64(l.Base.RoundTrip), w.RoundTrip)
	for _, d := range directions {
		if t := w.Traffic.Get(d); t != nil && t.Share != nil && l.Greedy(d) {
			add("share of capacity, "+d.String(), false, *t.Share)
		}
	}
}
