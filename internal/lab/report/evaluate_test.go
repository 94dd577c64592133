package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func evaluate(t testing.TB, raw *Raw) *Result {
	t.Helper()
	r, err := Evaluate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hand is a record of 30 s whose figures can be worked out by hand: base 10 ms each way, probes every 10 ms, a bulk download
// from 5 to 25 s on 10 Mbit/s, of which 9 leave the bottleneck. delay is the added delay of download probes; negative is
// lost.
func hand(delay func(t float64) float64, capacity ...Capacity) *Raw {
	s := scenario.Scenario{
		Name: "hand", Duration: 30 * time.Second,
		Links: []scenario.Link{{
			Name: "l", Delay: 20 * time.Millisecond,
			Down: scenario.Path{Nominal: 10 * unit.Mbps, FIFO: 100 * time.Millisecond}, Up: scenario.Path{Nominal: unit.Mbps},
		}},
		Flows:  []scenario.Flow{{Kind: scenario.Bulk, Count: 1, From: 5 * time.Second, To: 25 * time.Second}},
		Phases: []scenario.Phase{{Name: "late", From: 20 * time.Second, To: 25 * time.Second}},
	}
	raw := &Raw{Meta: Meta{Schema: MetaSchema, Controller: "static", Scenario: s, ControllerCPUS: -1}}
	raw.Capacity = append([]Capacity{{Rate: 10 * unit.Mbps}, {Dir: link.Up, Rate: unit.Mbps}}, capacity...)
	for i := range 3000 {
		t := float64(i) / 100
		d := delay(t)
		raw.Probes = append(raw.Probes,
			Probe{At: t, Delay: unit.Millis(10 + max(0, d)), Lost: d < 0},
			Probe{At: t, Dir: link.Up, Delay: 10})
		if i%10 == 0 {
			raw.Probes = append(raw.Probes, Probe{At: t, ICMP: true, Delay: unit.Millis(20 + max(0, d)), Lost: d < 0})
			bytes := unit.Bytes(math.Round(9e6 / 8 * min(max(0, t-5), 20)))
			for _, d := range directions {
				raw.Queues = append(raw.Queues,
					Queue{At: t, Dir: d, Line: true, Queue: link.Queue{Bytes: bytes, Dropped: int64(i)}},
					Queue{At: t, Dir: d, Queue: link.Queue{MaxLimit: 9 * unit.Mbps, Dropped: int64(2 * i), Marked: int64(3 * i)}})
			}
			raw.Flows = append(raw.Flows, Flow{At: t, Bytes: bytes})
		}
	}
	return raw
}

func TestDelaysByHand(t *testing.T) {
	// Of the 17 s from 8 to 25 s, one second is at 200 ms, one at 50 ms, one is lost, the rest at 2 ms.
	r := evaluate(t, hand(func(t float64) float64 {
		switch {
		case t < 5 || t >= 25:
			return 0
		case t >= 10 && t < 11:
			return 200
		case t >= 12 && t < 13:
			return 50
		case t >= 14 && t < 15:
			return -1
		}
		return 2
	}))
	if !r.Valid {
		t.Fatalf("the run is invalid: %v", r.Invalid)
	}
	l := &r.Links[0]
	if want := (Base{Measured: true, Down: 10, Up: 10, RoundTrip: 20, ICMP: 20}); l.Base != want {
		t.Errorf("base %+v, want %+v", l.Base, want)
	}
	want := Delays{CountedS: 17, Sent: 1700, Lost: 100, OverS: 3, FarOverS: 2, Added: &Added{P50: 2, P95: 200, P99: 200, Max: 200}}
	if d := cmp.Diff(want, l.Loaded.UDP.Down); d != "" {
		t.Errorf("download: want -, got +\n%s", d)
	}
	want.Sent, want.Lost = 170, 10
	if d := cmp.Diff(want, l.Loaded.ICMP); d != "" {
		t.Errorf("icmp: want -, got +\n%s", d)
	}
	if got := l.Loaded.RoundTrip; got.Lost != 100 || got.Added == nil || got.Added.Max != 200 || got.Sent != 1700 {
		t.Errorf("round trip: %+v", got)
	}
	if got := l.Loaded.UDP.Up; got.Lost != 0 || got.OverS != 0 || got.Added.Max != 0 {
		t.Errorf("the upload was quiet and is %+v", got)
	}
	if got := l.Directions.Down.Silence; got != (Stall{LongestS: 1, Share: round(1.0/17, 4)}) {
		t.Errorf("silence %+v, want 1 s of 17", got)
	}
	if p := l.Phase("late"); p == nil || p.UDP.Down.CountedS != 5 || p.UDP.Down.Added.P99 != 2 {
		t.Errorf("phase late: %+v", p)
	}
	if l.Phase("none such") != nil {
		t.Error("a phase that is not there was found")
	}
}

func TestTrafficByHand(t *testing.T) {
	r := evaluate(t, hand(func(float64) float64 { return 1 }))
	tr := r.Links[0].Loaded.Traffic
	want := &Traffic{CountedS: 17, Share: ptr(0.9), Mbps: 9, CapacityMbps: 10, ProviderDrops: 1700, ShaperDrops: 3400, ShaperMarks: 5100}
	if d := cmp.Diff(want, tr.Down); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if tr.Up != nil {
		t.Errorf("nothing fills the upload, and it has %+v", tr.Up)
	}
	f := r.Links[0].Flows
	if len(f) != 1 || f[0].Mbps != 9 || *f[0].Starved != (Stall{}) {
		t.Errorf("flows %+v, want one of 9 Mbit/s that never starved", f)
	}
}

func TestARestartedCounterTakesNothingAway(t *testing.T) {
	raw := hand(func(float64) float64 { return 1 })
	at := unit.Bytes(9e6 / 8 * 10)
	for i := range raw.Queues {
		if q := &raw.Queues[i]; q.At >= 15 {
			q.Bytes -= at
		}
	}
	if got := evaluate(t, raw).Links[0].Loaded.Traffic.Down; math.Abs(*got.Share-0.9) > 0.006 {
		t.Errorf("share is %v, want 0.9 without at most the one interval of the restart", *got.Share)
	}
}

func TestSettlingAndRegaining(t *testing.T) {
	// The line is halved from 10 to 20 s: 300 ms for 2.5 s, then 5 ms.
	raw := hand(func(t float64) float64 {
		switch {
		case t >= 10 && t < 12.5:
			return 300
		case t >= 5 && t < 25:
			return 5
		}
		return 0
	}, Capacity{At: 10, Rate: 5 * unit.Mbps}, Capacity{At: 20, Rate: 10 * unit.Mbps})
	// 4.5 Mbit/s from 10 to 21.5 s, then 9.
	for i := range raw.Queues {
		q := &raw.Queues[i]
		q.Bytes -= unit.Bytes(4.5e6 / 8 * min(max(0, q.At-10), 11.5))
	}
	d := evaluate(t, raw).Links[0].Directions.Down
	// 95 % of the rest is within 30 ms once 5 % of it are left of the bad time: 0.05 × (7.5 + x) = x, x = 0.39.
	want := []Drop{{AtS: 10, FromMbps: 10, ToMbps: 5, PhaseS: 10, BadS: 2.5, SettledS: ptr(2.11), Peak: ptr(unit.Millis(300))}}
	if d := cmp.Diff(want, d.Drops); d != "" {
		t.Errorf("drops: want -, got +\n%s", d)
	}
	if len(d.Rises) != 1 || d.Rises[0].RegainedS == nil || math.Abs(*d.Rises[0].RegainedS-1.3) > 0.1 {
		t.Errorf("rises %s, want one regained 1.2 to 1.4 s after 20 s", cmp.Diff(nil, d.Rises))
	}

	l := evaluate(t, raw).Links[0]
	if l.Transient.UDP.Down.CountedS != 10 || l.Steady.UDP.Down.CountedS != 7 {
		t.Errorf("transient %v s, steady %v s, want 10 and 7", l.Transient.UDP.Down.CountedS, l.Steady.UDP.Down.CountedS)
	}
	if l.Steady.UDP.Down.Added.Max != 5 || l.Transient.UDP.Down.Added.Max != 300 {
		t.Errorf("the steady part peaks at %v, the transient at %v", l.Steady.UDP.Down.Added.Max, l.Transient.UDP.Down.Added.Max)
	}
}

func TestNeverSettledNeverRegained(t *testing.T) {
	raw := hand(func(t float64) float64 {
		if t < 5 {
			return 0
		}
		return 31
	}, Capacity{At: 10, Rate: 5 * unit.Mbps}, Capacity{At: 20, Rate: 100 * unit.Mbps})
	d := evaluate(t, raw).Links[0].Directions.Down
	if len(d.Drops) != 1 || d.Drops[0].SettledS != nil || d.Drops[0].BadS != 10 {
		t.Errorf("drops %+v, want one that never settled in 10 bad seconds", d.Drops)
	}
	if len(d.Rises) != 1 || d.Rises[0].RegainedS != nil {
		t.Errorf("rises %+v, want one never regained", d.Rises)
	}
}

// A trace changes all the time; nothing can settle between two of its bins.
func TestATraceHasNoEvents(t *testing.T) {
	var c []Capacity
	for i := range 1000 {
		c = append(c, Capacity{At: 9 + float64(i)/100, Rate: unit.Rate(5+3*(i%2)) * unit.Mbps})
	}
	d := evaluate(t, hand(func(float64) float64 { return 0 }, c...)).Links[0].Directions.Down
	if len(d.Drops) != 0 || len(d.Rises) != 1 {
		t.Errorf("%d drops and %d rises, want none and the last step's", len(d.Drops), len(d.Rises))
	}
}

func TestOutagesAreReportedApart(t *testing.T) {
	// Out from 12 to 14 s: what is sent then waits. What was sent up to 60 ms before was in a queue of 50 ms then: that stays
	// its own. After it the FIFO of 1 Mbit drains at 10 Mbit/s within 0.1 s.
	raw := hand(func(t float64) float64 {
		switch {
		case t >= 12 && t < 14.1:
			return (14.1 - t) * 1000
		case t >= 11.945 && t < 12:
			return 2050
		case t >= 11.9 && t < 11.945:
			return -1
		}
		return 0
	}, Capacity{At: 12, Rate: 0}, Capacity{At: 14, Rate: 10 * unit.Mbps})
	l := evaluate(t, raw).Links[0]
	want := []Outage{{Dir: "download", FromS: 12, ToS: 14, DrainS: 0.1, Cause: "capacity"}}
	if d := cmp.Diff(want, l.Outages); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	got := l.Loaded.UDP.Down
	if got.CountedS != 14.9 || got.Lost != 0 || got.Added.Max != 50 || got.Added.P99 != 0 || math.Abs(got.OverS-0.05) > 0.01 || got.FarOverS != 0 {
		t.Errorf("the outage is in the figures: %+v, added %+v", got, got.Added)
	}
	if l.Loaded.UDP.Up.CountedS != 17 || l.Loaded.RoundTrip.CountedS != 14.9 {
		t.Errorf("counted %v s up and %v s for the round trip, want 17 and 14.9", l.Loaded.UDP.Up.CountedS, l.Loaded.RoundTrip.CountedS)
	}
	if len(l.Directions.Down.Drops) != 0 {
		t.Errorf("the outage is a drop: %+v", l.Directions.Down.Drops)
	}
	if got := l.Loaded.Traffic.Down; got.CountedS != 14.9 || *got.Share != 0.9 {
		t.Errorf("traffic %+v", got)
	}
}

func TestShortSilenceOfATraceIsNoOutage(t *testing.T) {
	raw := hand(func(float64) float64 { return 0 }, Capacity{At: 12, Rate: 0}, Capacity{At: 12.09, Rate: 10 * unit.Mbps})
	if o := evaluate(t, raw).Links[0].Outages; len(o) != 0 {
		t.Errorf("outages %+v, want none below 0.1 s", o)
	}
}

func TestALinkThatIsDownIsOneOutageOfBothDirections(t *testing.T) {
	raw := hand(func(t float64) float64 {
		if t >= 12 && t < 14 {
			return -1
		}
		return 0
	})
	raw.Meta.Scenario.Faults = []scenario.Fault{{At: 12 * time.Second, For: 2 * time.Second, Kind: scenario.LinkDown}}
	raw.Meta.Scenario.Links[0].Up = raw.Meta.Scenario.Links[0].Down
	raw.Capacity[1].Rate = 10 * unit.Mbps
	l := evaluate(t, raw).Links[0]
	want := []Outage{{Dir: "both", FromS: 12, ToS: 14, DrainS: 0.1, Cause: "link-down"}}
	if d := cmp.Diff(want, l.Outages); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if l.Loaded.UDP.Down.Lost != 0 || l.Directions.Down.Silence.LongestS != 0 {
		t.Errorf("the fault is in the figures: %+v, %+v", l.Loaded.UDP.Down, l.Directions.Down.Silence)
	}
}

func TestStarvation(t *testing.T) {
	raw := hand(func(float64) float64 { return 0 })
	for i := range raw.Flows {
		if f := &raw.Flows[i]; f.At >= 10 {
			f.Bytes = unit.Bytes(9e6 / 8 * (5 + max(0, min(f.At, 25)-11.7)))
		}
	}
	if got := *evaluate(t, raw).Links[0].Flows[0].Starved; got != (Stall{LongestS: 1.7, Share: 0.1}) {
		t.Errorf("%+v, want 1.7 s, a tenth of 17", got)
	}
}

func TestStatesAndRateChanges(t *testing.T) {
	raw := hand(func(float64) float64 { return 0 })
	for i := range 120 {
		at := float64(i) / 4
		s := State{At: at}
		if at >= 8 && at < 16.5 {
			s.State.Down = link.Red
		}
		if at < 20 { // the controller says nothing any more
			raw.States = append(raw.States, s)
		}
	}
	for i := range raw.Queues {
		if q := &raw.Queues[i]; !q.Line && q.Dir == link.Down && q.At >= 10 && q.At < 12 {
			q.MaxLimit = 5 * unit.Mbps
		}
	}
	d := evaluate(t, raw).Links[0].Directions
	want := StateShares{Red: 0.5, Green: round(4.25/17, 4), Unknown: round(4.25/17, 4)}
	if d.Down.States == nil || *d.Down.States != want {
		t.Errorf("states %+v, want %+v", d.Down.States, want)
	}
	if *d.Down.RateChanges != 2 || *d.Up.RateChanges != 0 {
		t.Errorf("%d and %d changes of rate, want 2 and 0", *d.Down.RateChanges, *d.Up.RateChanges)
	}
}

func TestUnknownIsNull(t *testing.T) {
	raw := hand(func(float64) float64 { return 0 })
	r := evaluate(t, raw)
	if r.ControllerCPUS != nil || r.ControllerRSS != nil || r.ControllerWrites != nil {
		t.Errorf("cpu %v, rss %v, writes %v, want all unknown", r.ControllerCPUS, r.ControllerRSS, r.ControllerWrites)
	}
	raw.Meta.ControllerCPUS, raw.Meta.ControllerRSS, raw.Meta.ControllerWrites = 0, 7, ptr(int64(3))
	r = evaluate(t, raw)
	if r.ControllerCPUS == nil || *r.ControllerCPUS != 0 || *r.ControllerRSS != 7 || *r.ControllerWrites != 3 {
		t.Errorf("cpu %v, rss %v, writes %v", r.ControllerCPUS, r.ControllerRSS, r.ControllerWrites)
	}
}

func TestAnUnsoundRunIsInvalidWithTheReason(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(*Raw)
		want  string
	}{
		"late capacity": {func(r *Raw) { r.Capacity[0].Lag = 2 }, "Capacity was changed 2.0 ms late"},
		"wrong base": {func(r *Raw) {
			for i := range r.Probes {
				r.Probes[i].Delay += 0.3
			}
		}, "Link l measures 20.60 ms idle and the scenario says 20.00 ms"},
		"no shaper":   {func(r *Raw) { keepQueues(r, func(q Queue) bool { return q.Line }) }, "There was never a shaper on the upload of link l"},
		"shaped none": {func(r *Raw) { r.Meta.Controller = "none" }, "There is a shaper on the download of link l, and the controller is none"},
		"no line":     {func(r *Raw) { keepQueues(r, func(q Queue) bool { return !q.Line }) }, "The bottleneck of the download of link l was never read"},
		"no capacity": {func(r *Raw) { r.Capacity = r.Capacity[:1] }, "No capacity was recorded for the upload of link l"},
		"cut":         {func(r *Raw) { r.Cut = []string{"flows.csv is missing"} }, "The record is not complete: flows.csv is missing."},
		"short":       {func(r *Raw) { keepProbes(r, func(p Probe) bool { return p.At < 20 }) }, "The record ends at 20.0 s of 30.0 s"},
		"hole": {func(r *Raw) {
			keepProbes(r, func(p Probe) bool { return p.Dir != link.Up || p.At < 10 || p.At > 11.5 })
		}, "No upload probe was sent on link l for 1.5 s from 10.0 s on"},
		"no probes": {func(r *Raw) { r.Probes = nil }, "The record ends at 0.0 s of 30.0 s"},
	} {
		raw := hand(func(float64) float64 { return 0 })
		c.spoil(raw)
		r := evaluate(t, raw)
		if r.Valid || !strings.Contains(strings.Join(r.Invalid, "\n"), c.want) {
			t.Errorf("%s: valid %v, reasons %q, want %q", what, r.Valid, r.Invalid, c.want)
		}
	}
}

func keepQueues(r *Raw, keep func(Queue) bool) {
	var out []Queue
	for _, q := range r.Queues {
		if keep(q) {
			out = append(out, q)
		}
	}
	r.Queues = out
}

func keepProbes(r *Raw, keep func(Probe) bool) {
	var out []Probe
	for _, p := range r.Probes {
		if keep(p) {
			out = append(out, p)
		}
	}
	r.Probes = out
}

func TestAShaperThatVanishesIsNotedUnlessTheScenarioTakesIt(t *testing.T) {
	raw := hand(func(float64) float64 { return 0 })
	keepQueues(raw, func(q Queue) bool { return q.Line || q.At < 12 || q.At > 14 })
	r := evaluate(t, raw)
	if n := strings.Join(r.Notes, "\n"); !r.Valid || !strings.Contains(n, "There was no shaper on the download of link l from 11.9 s to 14.1 s.") {
		t.Errorf("valid %v, notes %q", r.Valid, r.Notes)
	}
	raw.Meta.Scenario.Faults = []scenario.Fault{{At: 12 * time.Second, For: 2 * time.Second, Kind: scenario.QdiscGone}}
	if r := evaluate(t, raw); len(r.Notes) != 0 {
		t.Errorf("the scenario took the shaper away, and the notes are %q", r.Notes)
	}
}

// The machine delays the download by all of the scenario's round trip, and the upload by nothing.
func TestWithoutIdleTimeTheScenarioSaysTheBase(t *testing.T) {
	raw := hand(func(float64) float64 { return 7 })
	for i := range raw.Probes {
		switch p := &raw.Probes[i]; {
		case p.ICMP:
		case p.Dir == link.Down:
			p.Delay += 10
		default:
			p.Delay -= 10
		}
	}
	raw.Meta.Scenario.Flows[0].From = 500 * time.Millisecond
	l := evaluate(t, raw).Links[0]
	if want := (Base{Down: 20, RoundTrip: 20, ICMP: 20}); l.Base != want {
		t.Errorf("base %+v, want %+v", l.Base, want)
	}
	if d, u := l.Loaded.UDP.Down.Added, l.Loaded.UDP.Up.Added; d.P50 != 7 || u.P50 != 0 {
		t.Errorf("download %+v, want 7 ms added; upload %+v, want none", d, u)
	}
}

func TestTheSyntheticControllersDifferAsRealOnesDo(t *testing.T) {
	by := map[string]*Window{}
	for _, c := range []string{"none", "static", "wanctl"} {
		r := evaluate(t, synth{controller: c, seed: 1, step: 5}.raw())
		if !r.Valid {
			t.Fatalf("%s: %v", c, r.Invalid)
		}
		by[c] = r.Links[0].Phase("halved")
	}
	none, static, ours := by["none"].UDP.Down, by["static"].UDP.Down, by["wanctl"].UDP.Down
	if none.Added.P95 < 500 || static.Added.P95 < 500 || ours.Added.P95 > static.Added.P95/2 || ours.OverS >= static.OverS {
		t.Errorf("halved: none %+v, static %+v, wanctl %+v", none.Added, static.Added, ours.Added)
	}
}

func TestSpansAreSets(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) spans {
		var s spans
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			from := float64(rapid.IntRange(0, 40).Draw(t, "from"))
			s = append(s, span{from, from + float64(rapid.IntRange(0, 9).Draw(t, "for"))})
		}
		return s
	})
	in := func(s spans, t float64) bool {
		for _, v := range s {
			if v.from <= t && t < v.to {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		ua, ub := union(a), union(b)
		both, less := ua.intersect(ub), ua.without(ub)
		n := 0.0
		for i := range 60 {
			at := float64(i)
			if ua.has(at) != in(a, at) || both.has(at) != (in(a, at) && in(b, at)) || less.has(at) != (in(a, at) && !in(b, at)) {
				t.Fatalf("at %v: union %v, both %v, less %v", at, ua, both, less)
			}
			if in(a, at) {
				n++
			}
		}
		if ua.length() != n || ua.overlap(0, 60) != n {
			t.Fatalf("%v is %v long, overlap %v, want %v", ua, ua.length(), ua.overlap(0, 60), n)
		}
	})
}
