package calibrate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What evidence a recommendation needs.
const (
	// leastLine is how many stretches with a full line a limit is told from, over at least leastLineFor.
	leastLine    = 30
	leastLineFor = time.Minute
	// leastClipped is how long the ceiling must have been reached without a queue to be called too low.
	leastClipped = 2 * time.Minute
	// leastIdle is how many cycles on an idle line thresholds and baselines are told from, over at least leastIdleFor.
	leastIdle    = 100
	leastIdleFor = 10 * time.Minute
	// leastSent is how many probes the loss of a reflector is told from.
	leastSent = 200
	// wholeDay is the least that has seen an evening.
	wholeDay = 20
)

// What is recommended of what was measured.
const (
	// ceilingShare of what the line carries leaves its own queue empty while the shaper's fills. The usual advice for shapers
	// is 85 to 95 %; a controller that also cuts can take the upper end.
	ceilingShare unit.PPM = 950_000
	// redShare of the least that the line carried: there the queue drains whatever comes.
	redShare unit.PPM = 800_000
	// greenShare of it: a floor that lifts the rate in GREEN must be carried even then.
	greenShare unit.PPM = 900_000
	// probing is by how much a ceiling is raised that was reached without a queue: what lies above was never seen.
	probing unit.PPM = 1_050_000
	// same is within what a value is as good as the one in force.
	same unit.PPM = 70_000
	// noiseFactor is how far a threshold stays above what an idle line's averages reach in 99 of 100 cycles.
	noiseFactor = 1.5
	// mostNoise is the worst idle line that a threshold is recommended for.
	mostNoise unit.Millis = 100
	// warnFactor and criticalFactor are between the thresholds of the shipped examples.
	warnFactor     = 3
	criticalFactor = 1.5
	// baselineOff is what an initial baseline may be off: below it learning goes on (baseline_update_threshold_ms).
	baselineOff unit.Millis = 3
	// leastInitial and mostInitial are what baseline_rtt_initial takes, mostBound what baseline_rtt_bounds takes (docs/configuration.md).
	leastInitial, mostInitial, mostBound unit.Millis = 1, 500, 10_000
	// lossOff is the loss that makes a reflector worse than another that loses less than lossFine.
	lossOff, lossFine unit.PPM = 50_000, 20_000
)

// Verdict is what becomes of a key.
type Verdict string

// The verdicts.
const (
	// Keep is a value that the evidence supports.
	Keep Verdict = "keep"
	// Change is another value.
	Change Verdict = "change"
	// TooLittle is that there is not enough evidence.
	TooLittle Verdict = "too little"
)

// Advice is about one key of the configuration.
type Advice struct {
	// Key is the key's path, Now its value in the configuration and Value the recommended one, as YAML has them; empty for none.
	Key     string  `json:"key"`
	Now     string  `json:"now,omitempty"`
	Value   string  `json:"value,omitempty"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"`
	// Samples and Hours are the evidence.
	Samples int     `json:"samples"`
	Hours   float64 `json:"hours"`
}

// adviser writes advice into a report.
type adviser struct {
	report *Report
	set    Setting
}

func (a *adviser) add(v Advice) { a.report.Advice = append(a.report.Advice, v) }

// addUnder adds the same advice under each name that the file gives the value by, or under the usual one.
func (a *adviser) addUnder(given []string, usual string, v Advice) {
	if len(given) == 0 {
		given = []string{usual}
	}
	for _, key := range given {
		v.Key = section + key
		a.add(v)
	}
}

const (
	section    = "continuous_monitoring."
	thresholds = section + "thresholds."
)

// known is what is known of a direction's line, and from what.
type known struct {
	line Rates
	// low is what the line carried at its worst; 0 where one short test cannot tell.
	low    unit.Rate
	source string
	hours  float64
	n      int
	ok     bool
}

// tested is what the test found of a direction, nil where it was not loaded.
func (a *adviser) tested(d link.Direction) *ActiveWay {
	if a.report.Active == nil {
		return nil
	}
	return a.report.Active.Ways.Get(d)
}

// line weighs the history and the test.
func (a *adviser) line(d link.Direction) known {
	w := a.report.Ways.Get(d)
	var k known
	if w.Line.N >= leastLine && w.Line.For >= leastLineFor {
		k = known{
			line: w.Line, low: w.Line.Least, hours: w.Line.For.Hours(), n: w.Line.N, ok: true,
			source: fmt.Sprintf("full for %s, it carried %s (%s to %s in 8 of 10 cases)", round(w.Line.For), w.Line.P50, w.Line.P10, w.Line.P90),
		}
	}
	t := a.tested(d)
	if t == nil || !t.Enough || t.Limited {
		return k
	}
	text := fmt.Sprintf("the test carried %s (%s to %s in 8 of 10 seconds)", t.P50, t.P10, t.P90)
	switch {
	case !k.ok:
		k = known{line: t.Rates, hours: t.For.Hours(), n: t.N, ok: true, source: text}
	case t.P50 > k.line.P90:
		k.line.P50, k.line.P90 = t.P50, max(t.P90, t.P50)
		k.source = text + ", and " + k.source
	default:
		k.source += "; " + text
	}
	return k
}

// limits recommends what bounds a direction's rate.
func (a *adviser) limits(d link.Direction) {
	w, set := a.report.Ways.Get(d), a.set.Ways.Get(d)
	k := a.line(d)
	adv := Advice{Key: section + d.String() + "." + set.CeilingKey, Now: mbps(set.Ceiling), Samples: k.n, Hours: k.hours}
	ceiling := set.Ceiling
	want, varies := k.line.P50, k.low > 0 && !k.line.steady()
	if varies {
		want = k.line.P90
	}
	want = tidy(want.Scale(ceilingShare))
	t := a.tested(d)
	switch {
	case a.set.Tracking && set.Ceiling == 0:
		adv.Verdict, adv.Reason = Keep, "policy tracking measures what the line carries and needs no ceiling"
		if k.ok {
			adv.Reason += ": " + k.source
		}
	case w.Clipped >= leastClipped && k.ok && want < set.Ceiling && w.Clipped > 4*w.Line.For:
		adv.Verdict = Keep
		adv.Reason = fmt.Sprintf("for %s the line carried it without a queue, and was full below it for %s only", round(w.Clipped), round(w.Line.For))
	case w.Clipped >= leastClipped && !k.ok:
		ceiling = tidy(set.Ceiling.Scale(probing))
		adv.Verdict, adv.Value, adv.Samples, adv.Hours = Change, mbps(ceiling), w.ClippedN, w.Clipped.Hours()
		adv.Reason = fmt.Sprintf("for %s the line was held at the ceiling and had no queue of its own: it may carry more, which was never seen; "+
			"go up in such steps, or test it with --lift", round(w.Clipped))
	case !k.ok && t != nil && t.Limited:
		adv.Verdict = TooLittle
		adv.Reason = fmt.Sprintf("the test carried %s, about what the limit of %s that was in force lets through: the line may carry more; test it with --lift", t.P50, t.Limit)
	case !k.ok:
		adv.Verdict = TooLittle
		adv.Reason = fmt.Sprintf("the line was full for %s only (%s and %d samples are needed): use it, or test it with --iperf3 or --http", round(w.Line.For), leastLineFor, leastLine)
	case near(want, set.Ceiling):
		adv.Verdict, adv.Reason = Keep, k.source
	default:
		adv.Verdict, adv.Value, ceiling = Change, mbps(want), want
		adv.Reason = k.source
		if varies {
			adv.Reason += "; it varies, so the ceiling lets its good times be used"
		}
	}
	a.add(adv)
	a.floors(d, k, ceiling)
	a.base(d, k, ceiling)
}

// floors recommends lower floors where the line carried less than they allow, or than a recommended ceiling.
func (a *adviser) floors(d link.Direction, k known, ceiling unit.Rate) {
	w, set := a.report.Ways.Get(d), a.set.Ways.Get(d)
	key := section + d.String() + "."
	above := ceiling
	if above == 0 {
		above = unit.MaxRate
	}
	for s := link.Green; s <= link.Red; s++ {
		if set.FloorKeys[s] == "" {
			continue
		}
		now := set.Floors[s]
		adv := Advice{Key: key + set.FloorKeys[s], Now: mbps(now), Samples: k.n, Hours: k.hours, Verdict: Keep}
		want := now
		share := greenShare
		if s >= link.SoftRed {
			share = redShare
		}
		switch {
		case k.low > 0:
			want = min(now, tidy(k.low.Scale(share)))
			adv.Reason = fmt.Sprintf("at its worst the full line carried %s", k.low)
			if want < now {
				adv.Reason += ", and this floor keeps a queue standing then"
			}
			if s == link.Red && w.Floored > 0 {
				adv.Reason += fmt.Sprintf("; for %s, in %d rows, it stood at this floor with a queue", round(w.Floored), w.FlooredRows)
			}
		case k.ok:
			adv.Verdict, adv.Reason = TooLittle, "one test does not tell how far the line falls: let the controller record a few days (journal.dir)"
		default:
			adv.Verdict, adv.Reason = TooLittle, "the line was never seen full"
		}
		if want > above {
			want = above
			adv.Reason += "; it may not be above the recommended ceiling"
		}
		if want < now && want > 0 {
			adv.Verdict, adv.Value = Change, mbps(want)
			above = want
		} else {
			above = min(above, now)
		}
		a.add(adv)
	}
}

// base recommends what a stop leaves on the router, where what is configured would be more than the line carries.
func (a *adviser) base(d link.Direction, k known, ceiling unit.Rate) {
	set := a.set.Ways.Get(d)
	adv := Advice{Key: section + d.String() + ".base_mbps", Now: mbps(set.Base), Samples: k.n, Hours: k.hours}
	base := set.Base
	if base == 0 { // a stop leaves the ceiling
		base = ceiling
	}
	if !k.ok || base == 0 {
		return
	}
	want := tidy(k.line.P10.Scale(ceilingShare))
	if ceiling > 0 {
		want = min(want, ceiling)
	}
	if base <= k.line.P10.Scale(unit.One+same) && (ceiling == 0 || base <= ceiling) {
		return
	}
	adv.Verdict, adv.Value = Change, mbps(want)
	adv.Reason = fmt.Sprintf("a stop leaves it on the router, with nobody to cut: the line has to carry it always (%s)", k.source)
	a.add(adv)
}

// thresholds recommends where states begin.
func (a *adviser) thresholds() {
	r, set := a.report, a.set.Ways.Down
	enough := r.IdleDelta.N >= leastIdle && r.Idle >= leastIdleFor
	adv := func(name string, now unit.Millis) Advice {
		return Advice{Key: thresholds + name, Now: ms(now), Verdict: Keep, Samples: r.IdleDelta.N, Hours: r.Idle.Hours()}
	}
	target, warn, critical := adv("target_bloat_ms", set.Target), adv("warn_bloat_ms", set.Warn), adv("critical_bloat_ms", a.set.Critical)
	noise := r.IdleDelta.P99
	switch {
	case !enough:
		target.Verdict = TooLittle
		target.Reason = fmt.Sprintf("the line was idle for %s (%s and %d cycles are needed)", round(r.Idle), leastIdleFor, leastIdle)
		a.add(target)
		return
	case noise > mostNoise:
		target.Verdict = TooLittle
		target.Reason = fmt.Sprintf("idle, the average reaches %s in one of 100 cycles: mend that first, no threshold helps against it", noise)
		a.add(target)
		return
	case noise < set.Target:
		target.Reason = fmt.Sprintf("idle, the average is under %s in 99 of 100 cycles", noise)
		a.add(target)
	default:
		set.Target = unit.Millis(math.Ceil(float64(noise) * noiseFactor))
		target.Verdict, target.Value = Change, ms(set.Target)
		target.Reason = fmt.Sprintf("idle, without any queue, the average reaches %s in one of 100 cycles: GREEN must not end there", noise)
		a.add(target)
	}
	const follows = "has to stay above the threshold before it"
	if set.Warn <= set.Target {
		set.Warn = set.Target * warnFactor
		warn.Verdict, warn.Value, warn.Reason = Change, ms(set.Warn), follows
		a.add(warn)
	}
	if a.set.Critical > 0 && a.set.Critical <= set.Warn {
		critical.Verdict, critical.Value, critical.Reason = Change, ms(unit.Millis(math.Ceil(float64(set.Warn)*criticalFactor))), follows
		a.addUnder(a.set.CriticalKeys, "thresholds.critical_bloat_ms", critical)
	}
	up := a.set.Ways.Up
	own := func(name string, now, value unit.Millis, reason string) {
		v := adv("", now)
		v.Key, v.Verdict, v.Value, v.Reason = section+"upload."+name, Change, ms(value), reason
		a.add(v)
	}
	switch {
	case up.Target == 0:
		up.Target = set.Target
	case up.Target <= noise:
		was := up.Target
		up.Target = unit.Millis(math.Ceil(float64(noise) * noiseFactor))
		own("target_bloat_ms", was, up.Target, fmt.Sprintf("idle, without any queue, the average reaches %s in one of 100 cycles", noise))
	}
	switch {
	case up.Warn == 0 && set.Warn > up.Target:
	case up.Warn <= up.Target:
		own("warn_bloat_ms", up.Warn, up.Target*warnFactor, follows)
	}
}

// baselines recommends where learning starts and ends.
func (a *adviser) baselines() {
	r := a.report
	adv := Advice{Key: section + "baseline_rtt_initial", Now: ms(a.set.Baseline), Verdict: Keep, Samples: r.Baseline.N, Hours: r.Idle.Hours()}
	is := r.Baseline.P50
	enough := r.Baseline.N >= leastIdle && r.Idle >= leastIdleFor
	source := "learnt while idle"
	if t := r.Active; !enough && t != nil && t.RTT.N >= leastIdle/4 {
		is, enough, source = t.RTT.P50, true, "measured in the test without load"
		adv.Samples, adv.Hours = t.RTT.N, 0
	}
	is10 := unit.Millis(math.Round(float64(is)*10) / 10)
	switch off := is - a.set.Baseline; {
	case !enough:
		adv.Verdict = TooLittle
		adv.Reason = fmt.Sprintf("the line was idle for %s", round(r.Idle))
	case a.set.Baseline == 0:
		adv.Reason = fmt.Sprintf("none is given, so a first start measures it; it is %s, %s", is, source)
	case (off > baselineOff || off < -baselineOff) && (is10 < leastInitial || is10 > mostInitial):
		adv.Reason = fmt.Sprintf("it is %s, %s, and the key takes %g to %g ms only", is, source, leastInitial, mostInitial)
		r.Notes = append(r.Notes, fmt.Sprintf("Remove baseline_rtt_initial: the baseline is %s, which it does not take (%g to %g ms); without it a first start "+
			"measures the baseline.", is, leastInitial, mostInitial))
	case off > baselineOff || off < -baselineOff:
		adv.Verdict, adv.Value = Change, ms(is10)
		adv.Reason = fmt.Sprintf("it is %s, %s: until that is learnt anew, a start without a state file is wrong by the difference", is, source)
	default:
		adv.Reason = fmt.Sprintf("it is %s, %s", is, source)
	}
	a.add(adv)
	const kept = "the baseline is %s: the bound keeps it from being learnt"
	if v := min(unit.Millis(math.Ceil(float64(is)*2)), mostBound); enough && is >= a.set.BaselineMax*9/10 && v > a.set.BaselineMax {
		a.addUnder(a.set.BaselineMaxKeys, "baseline_rtt_bounds.max", Advice{
			Now: ms(a.set.BaselineMax), Value: ms(v), Verdict: Change, Reason: fmt.Sprintf(kept, is), Samples: adv.Samples, Hours: adv.Hours,
		})
	}
	if v := unit.Millis(math.Round(float64(is)*50) / 100); enough && is <= a.set.BaselineMin*11/10 && v > 0 && v < a.set.BaselineMin {
		a.addUnder(a.set.BaselineMinKeys, "baseline_rtt_bounds.min", Advice{
			Now: ms(a.set.BaselineMin), Value: ms(v), Verdict: Change, Reason: fmt.Sprintf(kept, is), Samples: adv.Samples, Hours: adv.Hours,
		})
	}
}

// hosts recommends to replace reflectors that lose what others do not.
func (a *adviser) hosts() {
	if a.set.Tracking {
		return // it replaces them by itself
	}
	var fine bool
	for _, f := range a.report.Reflectors {
		fine = fine || f.Sent >= leastSent && f.Lost < lossFine
	}
	var bad []string
	samples := 0
	for _, f := range a.report.Reflectors {
		if fine && f.Sent >= leastSent && f.Lost >= lossOff {
			bad = append(bad, fmt.Sprintf("%s lost %s of %d", f.Name, f.Lost, f.Sent))
			samples += f.Sent
		}
	}
	if len(bad) > 0 {
		a.report.Notes = append(a.report.Notes, "Replace in ping_hosts what loses probes that others answer: "+strings.Join(bad, "; ")+".")
	}
}

// notes say what the figures do not tell.
func (a *adviser) notes() {
	r := a.report
	note := func(format string, v ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, v...)) }
	switch seen := len(r.ByHour); {
	case r.Cycles == 0 && r.Active == nil:
		note("There is no history: give the WAN a journal (journal.dir) and let it run for some days.")
	case r.Cycles > 0 && seen < wholeDay:
		note("The history has seen %d of the 24 hours of a day: what the line carries at others, in the evening above all, is not in it.", seen)
	}
	if r.Cycles > 0 && r.Silent*10 > r.Cycles {
		note("In %d of %d cycles no reflector answered.", r.Silent, r.Cycles)
	}
	for _, d := range both {
		if w := r.Ways.Get(d); w.Uncured >= leastLineFor {
			note("For %s the %s was at its floor and carried all that it allows, and the delay stayed: that was not this line's queue, but a "+
				"path that had changed, or congestion further on.", round(w.Uncured), d)
		}
	}
	lo, hi := extremes(r.ByHour, func(h *HourReport) (float64, bool) { return float64(h.RTT.P50), h.RTT.N >= leastIdle })
	if lo != nil && float64(hi.RTT.P50-lo.RTT.P50) > float64(baselineOff) {
		note("The idle round trip depends on the hour: %s from %d:00, %s from %d:00.", lo.RTT.P50, lo.Hour, hi.RTT.P50, hi.Hour)
	}
	for _, d := range both {
		lo, hi := extremes(r.ByHour, func(h *HourReport) (float64, bool) { l := h.Line.Get(d); return float64(l.P50), l.N >= leastLine })
		if lo != nil && !near(lo.Line.Get(d).P50, hi.Line.Get(d).P50) {
			note("What the %s carries depends on the hour: %s from %d:00, %s from %d:00.", d, lo.Line.Get(d).P50, lo.Hour, hi.Line.Get(d).P50, hi.Hour)
		}
	}
	for _, d := range both {
		t := a.tested(d)
		if t == nil {
			continue
		}
		if !t.Enough {
			note("The test of the %s is too short to tell a rate: %d s were left of it.", d, t.N)
		} else if !t.steady() {
			note("In the test the %s varied between %s and %s: repeat it at other hours.", d, t.P10, t.P90)
		}
		if t.Sent >= leastIdle/4 && t.Lost >= lossFine {
			note("With the %s loaded %.1f%% of the probes were lost.", d, float64(t.Lost)/1e4)
		}
	}
}

// extremes are the least and the greatest of the hours that have enough to tell; nil where not two have.
func extremes(hours []HourReport, of func(*HourReport) (float64, bool)) (lo, hi *HourReport) {
	for i := range hours {
		h := &hours[i]
		v, ok := of(h)
		if !ok {
			continue
		}
		if lo == nil {
			lo, hi = h, h
		}
		if least, _ := of(lo); v < least {
			lo = h
		}
		if most, _ := of(hi); v > most {
			hi = h
		}
	}
	if lo == hi {
		return nil, nil
	}
	return lo, hi
}

// near says that two rates are the same for the purpose.
func near(a, b unit.Rate) bool {
	return max(a, b)-min(a, b) <= max(a, b).Scale(same)
}

// tidy cuts a rate to three digits, so that nobody takes more for known.
func tidy(r unit.Rate) unit.Rate {
	step := unit.Rate(1)
	for step*1000 <= r {
		step *= 10
	}
	return r / step * step
}

// mbps is a rate as a configuration has it; empty for none.
func mbps(r unit.Rate) string {
	if r == 0 {
		return ""
	}
	return strconv.FormatFloat(r.Mbps(), 'f', -1, 64)
}

// ms is a delay as a configuration has it; empty for none.
func ms(m unit.Millis) string {
	if m == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(m), 'f', -1, 64)
}

// round makes a time short to read.
func round(d time.Duration) time.Duration {
	if d >= time.Hour {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}
