package calibrate

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// four is a cable line's configuration, with a key for every floor.
func four() Setting {
	return Setting{
		Critical: 80, Baseline: 24, BaselineMin: 1, BaselineMax: 500,
		Ways: link.Pair[Way]{
			Down: Way{
				Floors:    [link.States]unit.Rate{550 * unit.Mbps, 350 * unit.Mbps, 275 * unit.Mbps, 200 * unit.Mbps},
				FloorKeys: [link.States]string{"floor_green_mbps", "floor_yellow_mbps", "floor_soft_red_mbps", "floor_red_mbps"},
				Ceiling:   940 * unit.Mbps, CeilingKey: "ceiling_mbps", Target: 15, Warn: 45,
			},
			Up: Way{
				Floors:    [link.States]unit.Rate{8 * unit.Mbps, 8 * unit.Mbps, 8 * unit.Mbps, 8 * unit.Mbps},
				FloorKeys: [link.States]string{link.Red: "floor_mbps"},
				Ceiling:   38 * unit.Mbps, CeilingKey: "ceiling_mbps",
			},
		},
	}
}

// script plays stretches of two seconds: a line of one capacity a direction under a limit, with a demand.
type script struct {
	h        History
	now      unit.Time
	rx, tx   unit.Bytes
	baseline unit.Millis
	average  unit.Millis
}

// play lets the line carry what it can of a demand for so many stretches, each with a cycle.
func (s *script) play(n int, demand, limit, capacity link.Rates, noise func() unit.Millis) {
	const period = 2 * time.Second
	for range n {
		s.now = s.now.Add(period)
		queue := unit.Millis(0)
		if noise != nil {
			queue = noise()
		}
		carried := link.Rates{}
		for _, d := range both {
			into := min(demand.Get(d), limit.Get(d))
			carried.Set(d, min(into, capacity.Get(d)))
			if into > capacity.Get(d) {
				queue += 60
			}
		}
		s.average += (queue - s.average) / 5
		s.rx, s.tx = s.rx+carried.Down.Over(period), s.tx+carried.Up.Over(period)
		c := link.Decision{Now: s.now, Measured: true, RTT: s.baseline + queue, Baseline: s.baseline, Delta: s.average, Rates: limit}
		s.h.Add(Moment{
			Now: s.now, Hour: int(time.Duration(s.now).Hours()) % 24, Cycle: &c, InForce: limit,
			Counters: []link.Counters{{At: s.now, Rx: s.rx, Tx: s.tx}},
			Replies:  []link.Reply{{Host: 0, Sent: s.now.Add(-24 * time.Millisecond), Received: s.now, RTT: s.baseline + queue}},
			Probes:   []link.Probe{{Host: 0, Sent: s.now.Add(-24 * time.Millisecond)}},
		})
	}
}

func recorded(set Setting) *script {
	s := &script{baseline: 24}
	s.h.Begin(set, []string{"192.0.2.1"})
	return s
}

func advice(t rapid.TB, r Report, key string) Advice {
	for _, a := range r.Advice {
		if strings.HasSuffix(a.Key, key) {
			return a
		}
	}
	t.Fatalf("no advice on %s in %+v", key, r.Advice)
	return Advice{}
}

func number(t rapid.TB, a Advice) float64 {
	v, err := strconv.ParseFloat(a.Value, 64)
	if err != nil {
		t.Fatalf("%+v: %v", a, err)
	}
	return v
}

func mb(down, up float64) link.Rates {
	return link.Rates{Down: unit.Rate(down * 1e6), Up: unit.Rate(up * 1e6)}
}

var (
	idle     = mb(0.2, 0.1)
	download = mb(2000, 5)
	upload   = mb(5, 2000)
)

func TestStories(t *testing.T) {
	limits := mb(940, 38)
	for name, c := range map[string]struct {
		play    func(*script)
		key     string
		verdict Verdict
		value   string
		reason  string
	}{
		"too little":               {func(s *script) { s.play(20, download, limits, mb(600, 38), nil) }, "download.ceiling_mbps", TooLittle, "", "full for 34s only"},
		"a lower line":             {func(s *script) { s.play(100, download, limits, mb(600, 38), nil) }, "download.ceiling_mbps", Change, "571", "it carried 602M"},
		"the other direction":      {func(s *script) { s.play(100, upload, limits, mb(900, 20), nil) }, "upload.ceiling_mbps", Change, "19", "it carried 20M"},
		"not accused by it":        {func(s *script) { s.play(100, upload, limits, mb(900, 20), nil) }, "download.ceiling_mbps", TooLittle, "", "full for 0s only"},
		"neither, both full":       {func(s *script) { s.play(100, mb(2000, 2000), limits, mb(900, 37), nil) }, "download.ceiling_mbps", TooLittle, "", "full for 0s only"},
		"as good as it is":         {func(s *script) { s.play(100, download, mb(900, 38), mb(890, 38), nil) }, "download.ceiling_mbps", Change, "843", "it carried 888M"},
		"held at the ceiling":      {func(s *script) { s.play(100, download, limits, mb(2000, 100), nil) }, "download.ceiling_mbps", Change, "987", "may carry more"},
		"not held for long enough": {func(s *script) { s.play(40, download, limits, mb(2000, 100), nil) }, "download.ceiling_mbps", TooLittle, "", "full for 0s only"},
		"mostly held, seldom less": {func(s *script) {
			s.play(2000, download, limits, mb(2000, 100), nil)
			s.play(40, download, limits, mb(500, 100), nil)
		}, "download.ceiling_mbps", Keep, "", "carried it without a queue"},
		"at its floor":          {func(s *script) { s.play(100, download, mb(200, 38), mb(150, 38), nil) }, "download.floor_red_mbps", Change, "119", "it stood at this floor with a queue"},
		"floors follow":         {func(s *script) { s.play(100, download, mb(550, 38), mb(300, 38), nil) }, "download.floor_green_mbps", Change, "270", "keeps a queue standing"},
		"and stay in order":     {func(s *script) { s.play(100, download, mb(550, 38), mb(300, 38), nil) }, "download.floor_yellow_mbps", Change, "270", "at its worst the full line carried"},
		"one that is low stays": {func(s *script) { s.play(100, download, mb(550, 38), mb(300, 38), nil) }, "download.floor_red_mbps", Keep, "", "carried"},
		"a line that varies": {func(s *script) {
			s.play(50, download, mb(550, 38), mb(300, 38), nil)
			s.play(50, download, limits, mb(800, 38), nil)
		}, "download.ceiling_mbps", Change, "763", "it varies"},
		"a quiet line":            {func(s *script) { s.play(400, idle, limits, mb(900, 38), nil) }, "target_bloat_ms", Keep, "", "idle, the average is under 0.0ms"},
		"not quiet for long":      {func(s *script) { s.play(200, idle, limits, mb(900, 38), nil) }, "target_bloat_ms", TooLittle, "", "the line was idle for 5m"},
		"a noisy line":            {func(s *script) { s.play(400, idle, limits, mb(900, 38), func() unit.Millis { return 20 }) }, "target_bloat_ms", Change, "30", "GREEN must not end there"},
		"a hopeless line":         {func(s *script) { s.play(400, idle, limits, mb(900, 38), func() unit.Millis { return 300 }) }, "target_bloat_ms", TooLittle, "", "mend that first"},
		"a far baseline":          {func(s *script) { s.baseline = 40; s.play(400, idle, limits, mb(900, 38), nil) }, "baseline_rtt_initial", Change, "40", "it is 40.0ms"},
		"a baseline at its bound": {func(s *script) { s.baseline = 480; s.play(400, idle, limits, mb(900, 38), nil) }, "baseline_rtt_bounds.max", Change, "963", "keeps it from being learnt"},
		"a load leaves no noise": {func(s *script) {
			s.play(400, idle, limits, mb(900, 38), nil)
			s.play(100, download, limits, mb(600, 38), nil)
			s.play(400, idle, limits, mb(900, 38), nil)
		}, "target_bloat_ms", Keep, "", "idle"},
	} {
		t.Run(name, func(t *testing.T) {
			s := recorded(four())
			c.play(s)
			a := advice(t, s.h.Report("x", four(), nil), c.key)
			if a.Verdict != c.verdict || a.Value != c.value || !strings.Contains(a.Reason, c.reason) {
				t.Errorf("%+v", a)
			}
		})
	}
}

// Policy tracking measures capacity itself; what it measured counts, and limits that are not given are not missed.
func TestTracking(t *testing.T) {
	set := four()
	set.Tracking = true
	set.Ways.Up.Ceiling, set.Ways.Up.CeilingKey, set.Ways.Up.FloorKeys = 0, "max_mbps", [link.States]string{}
	s := recorded(set)
	for i := range 100 {
		s.now = s.now.Add(2 * time.Second)
		s.rx, s.tx = s.rx+(700*unit.Mbps).Over(2*time.Second), s.tx+(16*unit.Mbps).Over(2*time.Second)
		c := link.Decision{Now: s.now, Measured: true, RTT: 25, Baseline: 24}
		s.h.Add(Moment{
			Now: s.now, Hour: -1, Cycle: &c, InForce: mb(800, 20), Capacity: mb(800, 20), Counters: []link.Counters{{At: s.now, Rx: s.rx, Tx: s.tx}},
		})
		_ = i
	}
	r := s.h.Report("x", set, nil)
	if a := advice(t, r, "download.ceiling_mbps"); a.Value != "763" {
		t.Errorf("%+v", a)
	}
	if a := advice(t, r, "upload.max_mbps"); a.Verdict != Keep || !strings.Contains(a.Reason, "needs no ceiling: full for 3m14s, it carried 20M") {
		t.Errorf("%+v", a)
	}
}

// A reflector that loses what others answer is named, and the hours that differ.
func TestReflectorsAndHours(t *testing.T) {
	var h History
	h.Begin(four(), []string{"good", "bad", "unused"})
	at := unit.Time(0)
	for i := range 4000 {
		at = at.Add(time.Second)
		m := Moment{Now: at, Hour: i / 2000, InForce: mb(940, 38), Counters: []link.Counters{{At: at, Rx: unit.Bytes(i), Tx: unit.Bytes(i)}}}
		rtt := unit.Millis(20 + 10*(i/2000))
		m.Cycle = &link.Decision{Now: at, Measured: true, RTT: rtt, Baseline: rtt}
		for host := range 2 {
			m.Probes = append(m.Probes, link.Probe{Host: host, Sent: at})
			if host == 0 || i%5 > 0 {
				m.Replies = append(m.Replies, link.Reply{Host: host, Sent: at, Received: at, RTT: rtt})
			}
		}
		h.Add(m)
	}
	r := h.Report("x", four(), nil)
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{
		"Replace in ping_hosts what loses probes that others answer: bad lost 20% of 4000.", "depends on the hour: 19.9ms from 0:00, 30.0ms from 1:00.",
		"has seen 2 of the 24 hours",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in\n%s", want, notes)
		}
	}
	if len(r.Reflectors) != 2 {
		t.Errorf("%+v", r.Reflectors)
	}
}

// Holes, resets, moments out of order and nonsense are not measured.
func TestHostileHistories(t *testing.T) {
	s := recorded(four())
	s.play(50, download, mb(940, 38), mb(600, 38), nil)
	was := s.h.Report("x", four(), nil)
	nan := unit.Millis(0)
	nan /= nan
	for _, m := range []Moment{
		{Now: s.now - 5, InForce: mb(940, 38), Counters: []link.Counters{{At: s.now + 1e9, Rx: 1 << 60}}},
		{Now: s.now + 1, Hour: 99, Cycle: &link.Decision{Measured: true, RTT: nan, Baseline: 24}},
		{Now: s.now + 2, Replies: []link.Reply{{Host: 7, RTT: 3}, {Host: -1}}, Probes: []link.Probe{{Host: 99}}},
		{Now: s.now + 3, Counters: []link.Counters{{At: s.now + 3, Rx: 0, Tx: 0}}},                                           // reset
		{Now: s.now + 4, Counters: []link.Counters{{At: s.now.Add(time.Hour), Rx: 1 << 60, Tx: 1 << 60}}},                    // a hole
		{Now: s.now + 5, Counters: []link.Counters{{At: s.now.Add(time.Hour + time.Millisecond), Rx: 1 << 61, Tx: 1 << 61}}}, // too near
	} {
		s.h.Add(m)
	}
	is := s.h.Report("x", four(), nil)
	if d := cmp.Diff(was.Ways, is.Ways); d != "" {
		t.Errorf("they count:\n%s", d)
	}
	var none History
	none.Add(Moment{Now: 1})
	if r := none.Report("x", four(), nil); len(r.Changes()) != 0 || r.Cycles != 0 {
		t.Errorf("%+v", r)
	}
}

// anything draws a setting and a history that nobody would expect.
func anything(t *rapid.T) (Setting, *script) {
	set := four()
	for _, d := range both {
		w := set.Ways.Get(d)
		w.Ceiling = unit.Rate(rapid.Int64Range(1_000_000, 2_000_000_000).Draw(t, "ceiling"))
		floor := w.Ceiling
		for s := link.Green; s <= link.Red; s++ {
			if w.FloorKeys[s] != "" || s == link.Green {
				floor = unit.Rate(rapid.Int64Range(int64(floor)/20+1, int64(floor)).Draw(t, "floor"))
			}
			w.Floors[s] = floor
		}
		if rapid.Bool().Draw(t, "base") {
			w.Base = unit.Rate(rapid.Int64Range(int64(floor), int64(w.Ceiling)).Draw(t, "base"))
		}
		w.Target = unit.Millis(rapid.IntRange(1, 100).Draw(t, "target"))
		w.Warn = w.Target + unit.Millis(rapid.IntRange(1, 200).Draw(t, "warn"))
		if d == link.Up {
			if rapid.Bool().Draw(t, "no own target") {
				w.Target, w.Warn = 0, 0
			}
		}
		set.Ways.Set(d, w)
	}
	set.Critical = 0
	if rapid.Bool().Draw(t, "critical") {
		set.Critical = set.Ways.Down.Warn + unit.Millis(rapid.IntRange(1, 100).Draw(t, "critical"))
	}
	s := recorded(set)
	s.baseline = unit.Millis(rapid.IntRange(2, 400).Draw(t, "baseline"))
	for range rapid.IntRange(0, 5).Draw(t, "parts") {
		pair := func(name string) link.Rates {
			return link.Rates{
				Down: unit.Rate(rapid.Int64Range(100_000, 3_000_000_000).Draw(t, name)), Up: unit.Rate(rapid.Int64Range(100_000, 3_000_000_000).Draw(t, name)),
			}
		}
		demand := pair("demand")
		if rapid.Bool().Draw(t, "idle") {
			demand = idle
		}
		limit := link.Rates{}
		for _, d := range both {
			w := set.Ways.Get(d)
			limit.Set(d, unit.Rate(rapid.Int64Range(int64(w.Floors[link.Red]), int64(w.Ceiling)).Draw(t, "limit")))
		}
		noise := unit.Millis(rapid.IntRange(0, 40).Draw(t, "noise"))
		s.play(rapid.IntRange(1, 400).Draw(t, "stretches"), demand, limit, pair("capacity"), func() unit.Millis { return noise })
	}
	return set, s
}

func anyTest(t *rapid.T) *Active {
	if !rapid.Bool().Draw(t, "tested") {
		return nil
	}
	var a Active
	for _, d := range both {
		if !rapid.Bool().Draw(t, "loaded") {
			continue
		}
		p := unit.Rate(rapid.Int64Range(int64(leastRate), 3_000_000_000).Draw(t, "p10"))
		w := &ActiveWay{Rates: Rates{P10: p, P50: p + p/8, P90: p + p/4, Least: p, N: 10, For: 10 * time.Second}, Enough: true}
		w.Limited = rapid.Bool().Draw(t, "limited")
		a.Ways.Set(d, w)
	}
	return &a
}

// applied is a setting with the recommended changes in it.
func applied(t rapid.TB, set Setting, r Report) Setting {
	for _, a := range r.Changes() {
		v := number(t, a)
		key := strings.TrimPrefix(a.Key, section)
		name, leaf, _ := strings.Cut(key, ".")
		d := link.Down
		if name == link.Up.String() {
			d = link.Up
		}
		w := set.Ways.Get(d)
		rate := unit.Rate(v*1e6 + 0.5)
		switch leaf {
		case w.CeilingKey:
			w.Ceiling = rate
		case "base_mbps":
			w.Base = rate
		case "target_bloat_ms":
			w.Target = unit.Millis(v)
		case "warn_bloat_ms":
			w.Warn = unit.Millis(v)
		case "critical_bloat_ms":
			set.Critical = unit.Millis(v)
		default:
			for s, k := range w.FloorKeys {
				if k == leaf {
					w.Floors[s] = rate
				}
			}
		}
		set.Ways.Set(d, w)
	}
	return set
}

// Whatever was seen, a configuration with the recommendations in it is one that the controller takes.
func TestPropertyRecommendationsFitTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, s := anything(t)
		r := s.h.Report("x", set, anyTest(t))
		got := applied(t, set, r)
		for _, d := range both {
			w := got.Ways.Get(d)
			above := w.Ceiling
			for s := link.Green; s <= link.Red; s++ {
				if w.FloorKeys[s] == "" {
					continue
				}
				if w.Floors[s] > above || w.Floors[s] <= 0 {
					t.Fatalf("%s floor of %s is %d, above it %d\n%+v", d, s, w.Floors[s], above, r.Advice)
				}
				above = w.Floors[s]
			}
			if w.Base > w.Ceiling {
				t.Fatalf("%s base %d above the ceiling %d\n%+v", d, w.Base, w.Ceiling, r.Advice)
			}
			target, warn := w.Target, w.Warn
			if target == 0 {
				target = got.Ways.Down.Target
			}
			if warn == 0 {
				warn = got.Ways.Down.Warn
			}
			if target >= warn {
				t.Fatalf("%s target %v, warn %v\n%+v", d, target, warn, r.Advice)
			}
		}
		if got.Critical > 0 && got.Critical <= got.Ways.Down.Warn {
			t.Fatalf("warn %v, critical %v\n%+v", got.Ways.Down.Warn, got.Critical, r.Advice)
		}
	})
}

// A ceiling is never put above what the line was seen to carry, but for the step up from one that was reached without a queue.
func TestPropertyNothingUnseenIsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, s := anything(t)
		test := anyTest(t)
		r := s.h.Report("x", set, test)
		for _, d := range both {
			w := set.Ways.Get(d)
			a := advice(t, r, d.String()+"."+w.CeilingKey)
			if a.Verdict != Change {
				continue
			}
			is := unit.Rate(number(t, a)*1e6 + 0.5)
			seen := max(r.Ways.Get(d).Carried.P90, w.Ceiling.Scale(probing))
			if test != nil && test.Ways.Get(d) != nil && !test.Ways.Get(d).Limited {
				seen = max(seen, test.Ways.Get(d).P90)
			}
			if is > seen.Scale(1_010_000) {
				t.Fatalf("%s: %d is recommended and %d was seen\n%+v", d, is, seen, a)
			}
		}
	})
}

// A line of one capacity, full for long enough, gets a ceiling just below it, whatever it was configured as.
func TestPropertyKnownLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := unit.Rate(rapid.Int64Range(2_000_000, 900_000_000).Draw(t, "capacity"))
		d := rapid.SampledFrom(both[:]).Draw(t, "direction")
		set := four()
		w := set.Ways.Get(d)
		w.Ceiling = capacity.Scale(unit.PPM(rapid.IntRange(1_200_000, 1_900_000).Draw(t, "ceiling")))
		for s := range w.Floors {
			w.Floors[s] = capacity / 4
		}
		set.Ways.Set(d, w)
		s := recorded(set)
		full, limits := link.Rates{Down: 100_000, Up: 100_000}, mb(10_000, 10_000)
		can := mb(10_000, 10_000)
		full.Set(d, 2*capacity)
		limits.Set(d, w.Ceiling)
		can.Set(d, capacity)
		s.play(rapid.IntRange(40, 200).Draw(t, "stretches"), full, limits, can, nil)
		a := advice(t, s.h.Report("x", set, nil), d.String()+".ceiling_mbps")
		if got := number(t, a) * 1e6; got > 0.97*float64(capacity) || got < 0.92*float64(capacity) {
			t.Fatalf("%s carries %d, recommended %+v", d, capacity, a)
		}
	})
}

// A download that begins or ends within a stretch does not make the line look slower than it is.
func TestPropertyEdgesOfLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := recorded(four())
		can, limits := mb(600, 38), mb(940, 38)
		for range rapid.IntRange(8, 12).Draw(t, "downloads") {
			edge := func(name string) link.Rates { return mb(rapid.Float64Range(1, 590).Draw(t, name), 0.1) }
			play := func(n int, demand link.Rates, queue unit.Millis) {
				s.play(n, demand, limits, can, func() unit.Millis { return queue })
			}
			play(2, idle, 0)
			play(1, edge("begin"), 60)
			play(rapid.IntRange(6, 9).Draw(t, "stretches"), download, 0)
			play(1, edge("end"), 60)
		}
		if w := s.h.Report("x", four(), nil).Ways.Down.Line; w.Least < 590*unit.Mbps || w.N < 30 {
			t.Fatalf("a line of 600M at its worst: %+v", w)
		}
	})
}

// What there is too little of recommends nothing.
func TestPropertyTooLittleIsSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := four()
		s := recorded(set)
		s.play(rapid.IntRange(0, leastLine-1).Draw(t, "stretches"), rapid.SampledFrom([]link.Rates{idle, download, upload}).Draw(t, "demand"),
			mb(940, 38), mb(rapid.Float64Range(1, 2000).Draw(t, "down"), rapid.Float64Range(1, 100).Draw(t, "up")), nil)
		r := s.h.Report("x", set, nil)
		if c := r.Changes(); len(c) > 0 {
			t.Fatalf("after %d cycles: %+v", r.Cycles, c)
		}
		for _, a := range r.Advice {
			if a.Verdict != TooLittle || a.Reason == "" {
				t.Fatalf("after %d cycles: %+v", r.Cycles, a)
			}
		}
	})
}

// The order in which recordings are read changes nothing.
func TestPropertyOrderOfRecordings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		down, up := rapid.Float64Range(50, 900).Draw(t, "down"), rapid.Float64Range(5, 36).Draw(t, "up")
		parts := []func(*script){
			func(s *script) { s.play(100, download, mb(940, 38), mb(down, 38), nil) },
			func(s *script) { s.play(100, upload, mb(940, 38), mb(900, up), nil) },
			func(s *script) { s.play(400, idle, mb(940, 38), mb(900, 38), nil) },
		}
		told := func(order []int) Report {
			s := recorded(four())
			for _, i := range order {
				s.now, s.rx, s.tx, s.average = 1, 0, 0, 0
				s.h.Begin(four(), []string{"192.0.2.1"})
				parts[i](s)
			}
			return s.h.Report("x", four(), nil)
		}
		a, b := told([]int{0, 1, 2}), told(rapid.Permutation([]int{0, 1, 2}).Draw(t, "order"))
		if d := cmp.Diff(a, b); d != "" {
			t.Fatal(d)
		}
	})
}

// loadedSpan is a test's reading of a line with one rate, after a start that is slower.
func loadedSpan(d link.Direction, rate unit.Rate, took time.Duration, delay unit.Millis) *link.Span {
	s := &link.Span{From: 1}
	s.To = s.From.Add(took)
	n := unit.Bytes(0)
	for at := time.Duration(0); at <= took; at += 100 * time.Millisecond {
		c := link.Counters{At: s.From.Add(at)}
		if d == link.Down {
			c.Rx = n
		} else {
			c.Tx = n
		}
		s.Counters = append(s.Counters, c)
		now := rate
		if at < 2*time.Second {
			now /= 10
		}
		n += now.Over(100 * time.Millisecond)
		p := link.Probe{Sent: s.From.Add(at)}
		s.Probes = append(s.Probes, p)
		if len(s.Probes)%10 > 0 {
			s.Replies = append(s.Replies, link.Reply{Sent: p.Sent, Received: p.Sent, RTT: delay})
		}
	}
	return s
}

func TestJudge(t *testing.T) {
	test := Test{Idle: link.Span{Replies: []link.Reply{{RTT: 20}, {RTT: 22}, {RTT: 20}, {Host: 3, RTT: -1}}}, Limits: link.Rates{Up: 20 * unit.Mbps}}
	test.Ways.Down, test.Ways.Up = loadedSpan(link.Down, 90*unit.Mbps, 12*time.Second, 65), loadedSpan(link.Up, 19*unit.Mbps, 6*time.Second, 20)
	a := test.Judge()
	if d := a.Ways.Down; d.P50 != 90*unit.Mbps || d.N != 9 || !d.Enough || d.Limited || d.Delay.P50 != 45 || d.Lost < 90_000 || d.Lost > 110_000 || a.RTT.P50 != 20 {
		t.Errorf("%+v, %+v", d, a.RTT)
	}
	if u := a.Ways.Up; u.Enough || !u.Limited || u.N != 4 {
		t.Errorf("%+v", u)
	}
	var h History
	r := h.Report("x", four(), &a)
	if v := advice(t, r, "download.ceiling_mbps"); v.Value != "85.5" || !strings.Contains(v.Reason, "the test carried 90M") {
		t.Errorf("%+v", v)
	}
	if v := advice(t, r, "upload.ceiling_mbps"); v.Verdict != TooLittle || !strings.Contains(v.Reason, "about what the limit of 20M that was in force lets through") {
		t.Errorf("%+v", v)
	}
	if v := advice(t, r, "download.floor_red_mbps"); v.Verdict != Change || !strings.Contains(v.Reason, "may not be above") {
		t.Errorf("%+v", v)
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "With the download loaded 9.9% of the probes") || !strings.Contains(notes, "The test of the upload is too short") {
		t.Error(notes)
	}
	// Seconds that differ are TCP's: the median counts, and that it varied is said.
	wild := Active{Ways: link.Pair[*ActiveWay]{Down: &ActiveWay{Rates: Rates{P10: 50 * unit.Mbps, P50: 80 * unit.Mbps, P90: 100 * unit.Mbps, N: 10}, Enough: true}}}
	r = h.Report("x", four(), &wild)
	if v := advice(t, r, "download.ceiling_mbps"); v.Value != "76" || !strings.Contains(strings.Join(r.Notes, "\n"), "varied between 50M and 100M") {
		t.Errorf("%+v, %q", v, r.Notes)
	}
	empty := Test{Ways: link.Pair[*link.Span]{Down: &link.Span{}, Up: &link.Span{From: 5, To: 4, Counters: []link.Counters{{At: 9}}}}}
	if e := empty.Judge(); e.Ways.Down.Enough || e.Ways.Up.Enough {
		t.Errorf("%+v", e)
	}
}

// A limit that counts cells is reached by less than its figure: a ceiling that was recommended by that would fall with each test.
func TestLimitsOfFramedLines(t *testing.T) {
	const limit = 20 * unit.Mbps
	set := four()
	set.Ways.Up.Ceiling = limit
	for _, c := range []struct {
		share   unit.PPM
		carried unit.Rate
		limited bool
	}{
		{857_633, 17_100 * unit.Kbps, true}, // 1500 of 33 cells of 53 bytes
		{857_633, 15_600 * unit.Kbps, true},
		{857_633, 15_200 * unit.Kbps, false},
		{0, 17_100 * unit.Kbps, false},
		{0, 18_100 * unit.Kbps, true},
	} {
		test := Test{Limits: link.Rates{Up: limit}, LimitShare: c.share}
		test.Ways.Up = loadedSpan(link.Up, c.carried, 15*time.Second, 20)
		a := test.Judge()
		var h History
		v := advice(t, h.Report("x", set, &a), "upload.ceiling_mbps")
		if a.Ways.Up.Limited != c.limited || (v.Verdict == Change) == c.limited {
			t.Errorf("%v of %v, share %v: %+v, %+v", c.carried, limit, c.share, a.Ways.Up, v)
		}
	}
}

// The figure of a test is that of most of its time: no burst and no stall moves it far.
func TestPropertyRobustRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := unit.Rate(rapid.Int64Range(1_000_000, 5_000_000_000).Draw(t, "rate"))
		s := loadedSpan(link.Down, rate, 15*time.Second, 30)
		at := rapid.IntRange(45, len(s.Counters)-1).Draw(t, "at")
		burst := rate.Over(time.Duration(rapid.IntRange(0, 3_000).Draw(t, "ms")) * time.Millisecond)
		for i := at; i < len(s.Counters); i++ {
			s.Counters[i].Rx += burst
		}
		test := Test{Ways: link.Pair[*link.Span]{Down: s}}
		a := test.Judge().Ways.Down
		if lo, hi := rate-rate/100, rate+rate/100; a.P50 < lo || a.P50 > hi {
			t.Fatalf("%d was measured of %d", a.P50, rate)
		}
	})
}

func TestSketch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sketch
		v := rapid.SliceOfN(rapid.Float64Range(0.02, 1e10), 1, 200).Draw(t, "values")
		for _, x := range v {
			s.add(x)
		}
		rates := make([]unit.Millis, len(v))
		for i, x := range v {
			rates[i] = unit.Millis(x)
		}
		for _, q := range []float64{0.03, 0.1, 0.5, 0.9, 1} {
			want := float64(quantile(rates, q))
			if got := s.quantile(q); got < want*0.985 || got > want*1.015 {
				t.Fatalf("quantile %v is %v, want %v", q, got, want)
			}
		}
	})
}
