package report

import (
	"fmt"
	"strconv"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// sheet is a table as text; Markdown and HTML print the same ones.
type sheet struct {
	Title string
	Head  []string
	Rows  [][]string
}

// ms prints a delay with the digits that mean something.
func ms(m unit.Millis) string {
	f := float64(m)
	switch {
	case f >= 100 || f <= -100:
		return strconv.FormatFloat(round(f, 0), 'f', 0, 64)
	default:
		return strconv.FormatFloat(round(f, 1), 'f', 1, 64)
	}
}

func fixed(f float64, decimals int) string {
	return strconv.FormatFloat(round(f, decimals), 'f', decimals, 64)
}

func percent(f float64) string { return fixed(100*f, 1) + " %" }

// orDash prints what may be missing.
func orDash[T any](p *T, show func(T) string, missing string) string {
	if p == nil {
		return missing
	}
	return show(*p)
}

func count[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func sec1(f float64) string { return fixed(f, 1) }

// about is the run in rows of two.
func about(r *Result) sheet {
	writes := orDash(r.ControllerWrites, count[int64], "unknown")
	exits := []string{}
	for _, e := range r.ControllerExits {
		exits = append(exits, fmt.Sprintf("%s s: %s", sec1(e.AtS), e.Status))
	}
	if len(exits) == 0 {
		exits = []string{"none"}
	}
	noCPU := "unknown"
	if r.Clock == "virtual" {
		noCPU = "unknown: work takes no time under a virtual clock"
	}
	return sheet{Title: "The run", Head: []string{"what", "value"}, Rows: [][]string{
		{"controller", r.Controller},
		{"scenario", r.Scenario},
		{"seed", strconv.FormatUint(r.Seed, 10)},
		{"duration", fixed(r.DurationS, 0) + " s"},
		{"took outside", sec1(r.WallS) + " s"},
		{"clock", r.Clock},
		{"kernel", r.Kernel},
		{"version", r.Version},
		{"capacity lag, p99", orDash(r.CapacityLagP99, func(m unit.Millis) string { return fixed(float64(m), 2) + " ms" }, "unknown")},
		{"controller CPU", orDash(r.ControllerCPUS, func(f float64) string { return fixed(f, 2) + " s" }, noCPU)},
		{"controller memory", orDash(r.ControllerRSS, func(b unit.Bytes) string { return mebibytes(b) + " MiB" }, "unknown")},
		{"rate writes", writes},
		{"controller exits", strings.Join(exits, "; ")},
	}}
}

// sheets are the tables of a link. Empty ones are left out.
func (l *LinkResult) sheets() []sheet {
	all := []sheet{
		l.outageSheet(), l.delaySheet(), l.trafficSheet(), l.dropSheet(), l.riseSheet(), l.controlSheet(), l.flowSheet(),
	}
	var out []sheet
	for _, s := range all {
		if len(s.Rows) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (l *LinkResult) windows() []Window {
	return append([]Window{l.Loaded, l.Steady, l.Transient}, l.Phases...)
}

func (l *LinkResult) delaySheet() sheet {
	s := sheet{
		Title: "Added delay, ms",
		Head:  []string{"window", "probe", "p50", "p95", "p99", "max", "over 30 ms, s", "over 100 ms, s", "of, s", "sent", "lost"},
	}
	for _, w := range l.windows() {
		for _, c := range []struct {
			name string
			d    Delays
		}{
			{"UDP download", w.UDP.Down},
			{"UDP upload", w.UDP.Up},
			{"UDP round trip", w.RoundTrip},
			{"ICMP round trip", w.ICMP},
		} {
			if c.d.Sent == 0 {
				continue
			}
			a := []string{"–", "–", "–", "–"}
			if v := c.d.Added; v != nil {
				a = []string{ms(v.P50), ms(v.P95), ms(v.P99), ms(v.Max)}
			}
			s.Rows = append(s.Rows, append(append([]string{w.Name, c.name}, a...),
				sec1(c.d.OverS), sec1(c.d.FarOverS), sec1(c.d.CountedS), count(c.d.Sent), count(c.d.Lost)))
		}
	}
	return s
}

func (l *LinkResult) trafficSheet() sheet {
	s := sheet{
		Title: "Capacity delivered",
		Head:  []string{"window", "direction", "share", "Mbit/s", "of Mbit/s", "provider drops", "shaper drops", "shaper marks"},
	}
	for _, w := range l.windows() {
		for _, d := range directions {
			if t := w.Traffic.Get(d); t != nil && t.CountedS > 0 {
				s.Rows = append(s.Rows, []string{
					w.Name, d.String(), orDash(t.Share, percent, "–"), fixed(t.Mbps, 2), fixed(t.CapacityMbps, 2),
					count(t.ProviderDrops), count(t.ShaperDrops), count(t.ShaperMarks),
				})
			}
		}
	}
	return s
}

func (l *LinkResult) outageSheet() sheet {
	s := sheet{Title: "The line itself was out (in no other figure)", Head: []string{"direction", "from, s", "to, s", "drain, s", "cause"}}
	for _, o := range l.Outages {
		s.Rows = append(s.Rows, []string{o.Dir, fixed(o.FromS, 2), fixed(o.ToS, 2), fixed(o.DrainS, 2), o.Cause})
	}
	return s
}

func (l *LinkResult) dropSheet() sheet {
	s := sheet{
		Title: "After capacity fell",
		Head:  []string{"direction", "at, s", "from Mbit/s", "to Mbit/s", "settled after, s", "bad, s", "of, s", "peak, ms"},
	}
	for _, d := range directions {
		for _, v := range l.Directions.Get(d).Drops {
			s.Rows = append(s.Rows, []string{
				d.String(), fixed(v.AtS, 2), fixed(v.FromMbps, 1), fixed(v.ToMbps, 1), orDash(v.SettledS, sec1, "never"), sec1(v.BadS),
				sec1(v.PhaseS), orDash(v.Peak, ms, "–"),
			})
		}
	}
	return s
}

func (l *LinkResult) riseSheet() sheet {
	s := sheet{Title: "After capacity came back", Head: []string{"direction", "at, s", "from Mbit/s", "to Mbit/s", "80 % used after, s"}}
	for _, d := range directions {
		for _, v := range l.Directions.Get(d).Rises {
			s.Rows = append(s.Rows, []string{
				d.String(), fixed(v.AtS, 2), fixed(v.FromMbps, 1), fixed(v.ToMbps, 1), orDash(v.RegainedS, sec1, "never"),
			})
		}
	}
	return s
}

func (l *LinkResult) controlSheet() sheet {
	s := sheet{
		Title: "Controller and silence",
		Head: []string{
			"direction", "rate changes seen", link.Green.String(), link.Yellow.String(), link.SoftRed.String(), link.Red.String(),
			"said nothing", "all probes lost for, s", "share of time",
		},
	}
	for _, d := range directions {
		v := l.Directions.Get(d)
		row := []string{d.String(), orDash(v.RateChanges, count[int], "–"), "–", "–", "–", "–", "–"}
		if st := v.States; st != nil {
			for i, f := range []float64{st.Green, st.Yellow, st.SoftRed, st.Red, st.Unknown} {
				row[2+i] = percent(f)
			}
		}
		s.Rows = append(s.Rows, append(row, fixed(v.Silence.LongestS, 2), percent(v.Silence.Share)))
	}
	return s
}

func (l *LinkResult) flowSheet() sheet {
	s := sheet{Title: "Flows", Head: []string{"flow", "kind", "direction", "Mbit/s", "got nothing for, s", "share of time"}}
	for _, f := range l.Flows {
		s.Rows = append(s.Rows, []string{
			count(f.Flow), f.Kind, f.Dir, fixed(f.Mbps, 3),
			orDash(f.Starved, func(v Stall) string { return fixed(v.LongestS, 2) }, "–"),
			orDash(f.Starved, func(v Stall) string { return percent(v.Share) }, "–"),
		})
	}
	return s
}

// baseLine says what "added" is added to.
func (l *LinkResult) baseLine() string {
	how := "the scenario's word: the line was not idle at the start"
	if l.Base.Measured {
		how = "measured before the first flow"
	}
	return fmt.Sprintf("Idle delay: %s ms down, %s ms up, %s ms round trip, %s ms by ICMP (%s). Loaded from %s to %s s.",
		fixed(float64(l.Base.Down), 2), fixed(float64(l.Base.Up), 2), fixed(float64(l.Base.RoundTrip), 2), fixed(float64(l.Base.ICMP), 2), how,
		sec1(l.Loaded.FromS), sec1(l.Loaded.ToS))
}

// legend explains the windows under the tables.
const legend = "loaded: from 3 s after the first flow began to the end of the last. transient: within 5 s after a change of capacity " +
	"of 20 % or more, or a fault; steady: the rest. Time in which the line itself was out counts nowhere. " +
	"A lost probe counts as over 30 and over 100 ms; percentiles are over answered ones."
