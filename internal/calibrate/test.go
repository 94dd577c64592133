package calibrate

import (
	"slices"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Test is an active test of a line: without load, and with one direction loaded at a time.
type Test struct {
	Idle link.Span
	// Ways are nil for a direction that was not loaded.
	Ways link.Pair[*link.Span]
	// Limits were in force meanwhile, as the router told; 0 is none, or lifted. LimitShare of them is IP packets, where they count
	// what the line adds to each too; 0 is all.
	Limits     link.Rates
	LimitShare unit.PPM
}

// What is left out of a direction's time, and into how long slices the rest is cut.
const (
	// warmUp is the time in which new connections do not yet fill a line, at least, and warmShare of the whole.
	warmUp    = 2 * time.Second
	warmShare = 4
	// slice is long against a round trip and the variation of one connection, and short against the test.
	slice = time.Second
	// leastSlices is below what a spread means something.
	leastSlices = 5
	// limitedShare of what a limit lets through may be bounded by it: what TCP does not use of a queue's rate is less.
	limitedShare unit.PPM = 900_000
	// leastRate is below what nothing is configured.
	leastRate = 100 * unit.Kbps
)

// Quantiles of delays, in ms.
type Quantiles struct {
	P5  unit.Millis `json:"p5"`
	P50 unit.Millis `json:"p50"`
	P95 unit.Millis `json:"p95"`
	P99 unit.Millis `json:"p99"`
	N   int         `json:"samples"`
}

// Rates of quantiles, in bit/s.
type Rates struct {
	// Least is the 3 % quantile: what stands out below it may be a stretch in which the load began.
	Least unit.Rate `json:"least"`
	P10   unit.Rate `json:"p10"`
	P50   unit.Rate `json:"p50"`
	P90   unit.Rate `json:"p90"`
	// N slices or stretches of time, For in all.
	N   int           `json:"samples"`
	For time.Duration `json:"time_ns"`
}

// steadySpread is how far apart P10 and P90 of a line may be, in parts of the median, that carries one rate: a queue's, and
// retransmissions', own variation is less.
const steadySpread unit.PPM = 250_000

// steady says that one rate describes it.
func (r Rates) steady() bool { return r.P90-r.P10 <= r.P50.Scale(steadySpread) }

// Active is what a test found.
type Active struct {
	// RTT is the round trip without load, over all reflectors.
	RTT  Quantiles             `json:"rtt"`
	Ways link.Pair[*ActiveWay] `json:"ways"`
}

// ActiveWay is one direction under load.
type ActiveWay struct {
	// Rate is what was carried, in bytes of IP packets.
	Rates
	// Delay is the round trip over what each reflector takes without load.
	Delay Quantiles `json:"delay"`
	// Sent is how many probes left under that load, early enough to be answered before its end, and Lost the share of them that
	// was not.
	Sent int      `json:"probes"`
	Lost unit.PPM `json:"lost_ppm"`
	// Limit was in force, and Limited says that it, and not the line, may have bounded the rate.
	Limit   unit.Rate `json:"limit,omitempty"`
	Limited bool      `json:"limited"`
	// Enough says that the rate is a figure to rely on.
	Enough bool `json:"enough"`
}

// lateness is how long after a probe its reply may still come when the test ends: those sent later count as neither.
const lateness = time.Second

// Judge turns readings into figures: the first part of each direction's load is left out, the rest cut into slices whose
// median and spread count, never the best.
func (t *Test) Judge() Active {
	var a Active
	base := map[int]unit.Millis{}
	byHost := map[int][]unit.Millis{}
	var all []unit.Millis
	for _, r := range t.Idle.Replies {
		if r.RTT > 0 {
			byHost[r.Host] = append(byHost[r.Host], r.RTT)
			all = append(all, r.RTT)
		}
	}
	for h, v := range byHost {
		base[h] = quantile(v, 0.5)
	}
	a.RTT = quantilesOf(all)
	for _, d := range both {
		s := t.Ways.Get(d)
		if s == nil {
			continue
		}
		w := &ActiveWay{Limit: t.Limits.Get(d)}
		within := w.Limit // in IP packets
		if t.LimitShare > 0 {
			within = within.Scale(t.LimitShare)
		}
		warm := s.From.Add(max(warmUp, s.To.Sub(s.From)/warmShare))
		slices := slicesOf(s, d, warm)
		w.Rates = ratesOf(slices)
		w.For = slice * time.Duration(len(slices))
		w.Enough = len(slices) >= leastSlices && w.P10 >= leastRate
		w.Limited = w.Limit > 0 && w.P90 >= within.Scale(limitedShare)
		var delays []unit.Millis
		answered := map[link.Probe]bool{}
		for _, r := range s.Replies {
			answered[link.Probe{Host: r.Host, Sent: r.Sent}] = true
			if b, known := base[r.Host]; known && r.Sent >= warm {
				delays = append(delays, max(r.RTT-b, 0))
			}
		}
		w.Delay = quantilesOf(delays)
		lost := 0
		for _, p := range s.Probes {
			if p.Sent < warm || p.Sent > s.To.Add(-lateness) {
				continue
			}
			if w.Sent++; !answered[p] {
				lost++
			}
		}
		w.Lost = unit.ShareOf(int64(lost), int64(w.Sent))
		a.Ways.Set(d, w)
	}
	return a
}

// slicesOf are the mean rates of whole slices after an instant.
func slicesOf(s *link.Span, d link.Direction, from unit.Time) (out []unit.Rate) {
	var begin link.Counters
	for _, c := range s.Counters {
		if c.At < from {
			continue
		}
		if begin.At == 0 {
			begin = c
			continue
		}
		took := c.At.Sub(begin.At)
		if took < slice {
			continue
		}
		out = append(out, (c.Of(d) - begin.Of(d)).Per(took))
		begin = c
	}
	return out
}

func ratesOf(v []unit.Rate) Rates {
	return Rates{Least: quantile(v, 0.03), P10: quantile(v, 0.10), P50: quantile(v, 0.50), P90: quantile(v, 0.90), N: len(v)}
}

func quantilesOf(v []unit.Millis) Quantiles {
	return Quantiles{P5: quantile(v, 0.05), P50: quantile(v, 0.50), P95: quantile(v, 0.95), P99: quantile(v, 0.99), N: len(v)}
}

// quantile is the nearest-rank quantile, 0 of nothing.
func quantile[T unit.Rate | unit.Millis](v []T, q float64) T {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	rank := int(float64(q*float64(len(s)))+0.9999999) - 1
	return s[min(len(s)-1, max(0, rank))]
}
