package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/archtest/mutant"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }

// line produces reports of a router whose queues and interface carry what its fields say.
type line struct {
	Every        time.Duration
	WAN          link.Rates // carried by the interface
	Through      link.Rates // carried by the queues
	Limit        link.Rates
	Queued       link.Pair[unit.Bytes]
	Parent       string
	NoWAN        bool
	report       link.Report
	shaping      *Shaping
	notes        []link.Note
	lastFindings []Finding
}

func newLine(carried link.Rates) *line {
	return &line{
		Every: time.Second, WAN: carried, Through: carried, Limit: link.Rates{Down: 100 * unit.Mbps, Up: 20 * unit.Mbps},
		report: link.Report{At: unit.Time(time.Hour), Uptime: time.Hour}, shaping: NewShaping(RouterOS), Parent: "bridge",
	}
}

func (l *line) run(d time.Duration) {
	for end := l.report.At.Add(d); l.report.At < end; {
		r := &l.report
		r.At, r.Uptime = r.At.Add(l.Every), r.Uptime+l.Every
		r.HasWAN = !l.NoWAN
		r.WANRx += l.WAN.Down.Over(l.Every)
		r.WANTx += l.WAN.Up.Over(l.Every)
		r.Down.Bytes += l.Through.Down.Over(l.Every)
		r.Up.Bytes += l.Through.Up.Over(l.Every)
		r.Down.MaxLimit, r.Up.MaxLimit = l.Limit.Down, l.Limit.Up
		r.Down.QueuedBytes, r.Up.QueuedBytes = l.Queued.Down, l.Queued.Up
		r.Down.Parent, r.Up.Parent = l.Parent, l.Parent
		f, notes := l.shaping.Step(*r)
		l.lastFindings = f
		l.notes = append(l.notes, notes...)
	}
}

func (l *line) keys() string {
	var out []string
	for _, n := range l.notes {
		out = append(out, n.Level.String()+" "+n.Key)
	}
	return strings.Join(out, ", ")
}

func m(down, up float64) link.Rates {
	return link.Rates{Down: unit.Rate(down * 1e6), Up: unit.Rate(up * 1e6)}
}

func TestProof(t *testing.T) {
	for _, c := range []struct {
		name         string
		wan, through link.Rates
		parent       string
		noWAN        bool
		verdict      link.Pair[Verdict]
		cause        Cause // of the download's finding
		or           []Cause
	}{
		{name: "all passes", wan: m(50, 5), through: m(50, 5), verdict: link.Pair[Verdict]{Down: Proved, Up: Proved}},
		{name: "exactly nine tenths", wan: m(50, 5), through: m(45, 4.5), verdict: link.Pair[Verdict]{Down: Proved, Up: Proved}},
		{name: "the queue counts more header than the interface", wan: m(50, 5), through: m(53, 5.4), verdict: link.Pair[Verdict]{Down: Proved, Up: Proved}},
		{name: "idle proves nothing", wan: m(0.09, 0.01), through: m(0, 0)},
		{name: "one direction idle", wan: m(50, 0.05), through: m(50, 0), verdict: link.Pair[Verdict]{Down: Proved}},
		{name: "no interface counters", wan: m(50, 5), through: m(0, 0), noWAN: true},
		{name: "nothing under global", wan: m(50, 5), through: m(0, 5), parent: "global", verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: FastTrack, or: []Cause{WrongMark, Offload}},
		{name: "nothing in a simple queue", wan: m(50, 5), through: m(0.4, 5), verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: FastTrack, or: []Cause{WrongTarget, Offload}},
		{name: "a simple queue whose target is the line", wan: m(50, 5), through: m(5, 5), verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: WrongTarget},
		{name: "nothing on an interface", wan: m(50, 5), through: m(0, 5), parent: "bridge", verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: WrongMark, or: []Cause{WrongParent, Offload}},
		{name: "a part under global", wan: m(50, 5), through: m(20, 5), parent: "global", verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: FastTrack, or: []Cause{WrongMark}},
		{name: "a part on an interface", wan: m(50, 5), through: m(44, 5), parent: "bridge", verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: WrongMark, or: []Cause{Offload}},
		{name: "the download's queue sees the upload", wan: m(50, 5), through: m(5, 5), parent: "ether1", verdict: link.Pair[Verdict]{Down: Bypassed, Up: Proved}, cause: WrongParent},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine(c.wan)
			l.Through, l.Parent, l.NoWAN = c.through, c.parent, c.noWAN
			l.run(30 * time.Second)
			if got := l.shaping.Verdicts(); got != c.verdict {
				t.Errorf("verdict %s/%s, want %s/%s", got.Down, got.Up, c.verdict.Down, c.verdict.Up)
			}
			if c.verdict.Down != Bypassed {
				if len(l.lastFindings) != 0 || len(l.notes) != 0 {
					t.Errorf("findings %+v, notes %v", l.lastFindings, l.notes)
				}
				return
			}
			if len(l.lastFindings) != 1 {
				t.Fatalf("findings: %+v", l.lastFindings)
			}
			f := l.lastFindings[0]
			if f.Direction != link.Down || f.Cause != c.cause || !cmp.Equal(f.Or, c.or) || f.At != l.report.At || f.Cap != 0 {
				t.Errorf("finding %+v, want cause %s or %v", f, c.cause, c.or)
			}
			if want := unit.ShareOf(int64(c.through.Down), int64(c.wan.Down)); f.Share-want > 10 || want-f.Share > 10 {
				t.Errorf("share %s, want %s", f.Share, want)
			}
			if l.keys() != "alert not_shaping" {
				t.Errorf("notes: %s", l.keys())
			}
			for _, w := range append([]Cause{c.cause}, c.or...) {
				if !strings.Contains(f.Text, causeWords[w]) {
					t.Errorf("the text does not name %s: %q", w, f.Text)
				}
			}
			if c.parent != "" && !strings.Contains(f.Text, c.parent) {
				t.Errorf("the text does not name the parent: %q", f.Text)
			}
		})
	}
}

// On Linux other things keep packets from a queue, and none of RouterOS's is named.
func TestProofOnLinux(t *testing.T) {
	for _, c := range []struct {
		name         string
		wan, through link.Rates
		want         []Finding
	}{
		{name: "all passes", wan: m(50, 5), through: m(50, 5)},
		{name: "nothing is redirected", wan: m(50, 5), through: m(0, 5), want: []Finding{{Direction: link.Down, Cause: NotRedirected, Or: []Cause{WrongInterface, Offload}}}},
		{name: "nothing is queued", wan: m(50, 5), through: m(50, 0), want: []Finding{{Direction: link.Up, Cause: Offload, Or: []Cause{WrongInterface}}}},
		{name: "the upload at the wrong interface", wan: m(50, 5), through: m(50, 50), want: nil},
		{name: "the download at the wrong interface", wan: m(50, 5), through: m(5, 5), want: []Finding{{Direction: link.Down, Cause: WrongInterface}}},
	} {
		l := newLine(c.wan)
		l.shaping, l.Parent, l.Through = NewShaping(Linux), "", c.through
		l.run(30 * time.Second)
		if len(l.lastFindings) != len(c.want) {
			t.Errorf("%s: findings %+v", c.name, l.lastFindings)
			continue
		}
		for i, f := range l.lastFindings {
			w := c.want[i]
			if f.Direction != w.Direction || f.Cause != w.Cause || !cmp.Equal(f.Or, w.Or) {
				t.Errorf("%s: %+v, want %+v", c.name, f, w)
			}
			for _, word := range []string{"FastTrack", "mangle", "bridge", "L3", "parent"} {
				if strings.Contains(f.Text, word) {
					t.Errorf("%s: the text speaks of %s: %s", c.name, word, f.Text)
				}
			}
		}
	}
	l := newLine(m(50, 5))
	l.shaping, l.Through, l.Queued = NewShaping(Linux), m(50, 5), link.Pair[unit.Bytes]{Down: 1000}
	l.run(30 * time.Second)
	if len(l.lastFindings) != 1 || !strings.Contains(l.lastFindings[0].Text, "this host's CPU") {
		t.Errorf("this host is the limit: %+v", l.lastFindings)
	}
}

// What the queue dropped has met it: a flood that does not yield is shaped all the same.
func TestDropsAreProof(t *testing.T) {
	l := newLine(m(50, 5))
	l.shaping, l.Through = NewShaping(Linux), m(20, 5)
	for range 60 { // 30 of 50 Mbit/s are dropped, in packets of 1250 bytes
		l.report.Down.Packets += int64(l.Through.Down.Over(time.Second) / 1250)
		l.report.Down.Dropped += int64((30 * unit.Mbps).Over(time.Second) / 1250)
		l.run(time.Second)
	}
	if got := l.shaping.Verdicts(); got.Down != Proved || len(l.lastFindings) > 0 {
		t.Errorf("verdict %s, findings %+v", got.Down, l.lastFindings)
	}
}

func TestProofNeedsTenSecondsOfTraffic(t *testing.T) {
	l := newLine(m(50, 5))
	l.Through = link.Rates{}
	l.run(11 * time.Second) // eleven readings: ten intervals, of which the worst does not count
	if len(l.lastFindings) != 0 {
		t.Fatalf("accused too soon: %+v", l.lastFindings)
	}
	l.WAN = m(0.01, 0.01)
	l.run(time.Minute)
	if len(l.lastFindings) != 0 {
		t.Fatalf("accused while idle: %+v", l.lastFindings)
	}
	l.WAN = m(50, 5)
	l.run(2 * time.Second) // the second reading settles what the first one lacks
	if len(l.lastFindings) != 2 {
		t.Fatalf("ten seconds of traffic, findings: %+v", l.lastFindings)
	}
}

func TestProofForgetsOldTraffic(t *testing.T) {
	l := newLine(m(50, 5))
	l.Through = link.Rates{}
	l.run(10 * time.Second)
	l.WAN = link.Rates{}
	l.run(10 * time.Minute)
	l.WAN = m(50, 5)
	l.run(10 * time.Second)
	if len(l.lastFindings) != 0 {
		t.Errorf("traffic of ten minutes ago was counted: %+v", l.lastFindings)
	}
}

func TestFindingEndsAndIsSaidOnce(t *testing.T) {
	l := newLine(m(50, 5))
	l.Parent = "global"
	for range 20 { // swings around the limit
		l.Through = m(5, 5)
		l.run(12 * time.Second)
		l.Through = m(50, 5)
		l.run(12 * time.Second)
	}
	if l.keys() != "alert not_shaping, info shaping_proved" {
		t.Errorf("notes in eight minutes of swinging: %s", l.keys())
	}
	l.run(5 * time.Minute)
	l.Through = m(5, 5)
	l.run(20 * time.Second)
	if !strings.HasSuffix(l.keys(), "alert not_shaping") || len(l.lastFindings) != 1 {
		t.Errorf("a new finding after ten minutes: %s", l.keys())
	}
}

// TestBurstThatBypasses: a bypass that is concentrated in one second of twelve is found, though nine tenths of the time
// all bytes pass the queue.
func TestBurstThatBypasses(t *testing.T) {
	l := newLine(m(20, 5))
	l.run(5 * time.Minute) // counters hold more than a second can carry
	for range 3 {
		l.WAN.Down, l.Through.Down = 200*unit.Mbps, 0
		l.run(time.Second)
		l.WAN, l.Through = m(20, 5), m(20, 5)
		l.run(time.Second)
		if got := l.shaping.Verdicts(); got.Down != Bypassed || got.Up != Proved || len(l.lastFindings) != 1 {
			t.Errorf("verdict %s/%s, findings %+v", got.Down, got.Up, l.lastFindings)
		}
		l.run(10 * time.Second)
	}
	if l.keys() != "alert not_shaping, info shaping_proved" {
		t.Errorf("notes: %s", l.keys())
	}
}

func TestHolesAndResets(t *testing.T) {
	for _, c := range []struct {
		name string
		hole func(l *line)
	}{
		{"the router restarts", func(l *line) { l.report.Uptime, l.report.WANRx, l.report.Down.Bytes = 0, 0, 0 }},
		{"the router restarts and its counters passed the old values", func(l *line) { l.report.Uptime, l.report.WANRx = 0, l.report.WANRx+1<<40 }},
		{"a queue's counters are reset", func(l *line) { l.report.Down.Bytes = 0 }},
		{"a queue's counters are reset and pass their old values between two readings", func(l *line) {
			l.report.Down.Bytes = 0
			l.Every, l.WAN.Down, l.Through.Down = 10*time.Second, 200*unit.Mbps, 200*unit.Mbps
		}},
		{"nobody read for an hour", func(l *line) { l.report.At += unit.Time(time.Hour); l.report.WANRx += 1 << 40 }},
	} {
		l := newLine(m(50, 5))
		l.run(30 * time.Second)
		c.hole(l)
		l.run(30 * time.Second)
		if got := l.shaping.Verdicts(); got.Down != Proved || len(l.notes) != 0 {
			t.Errorf("%s: verdict %s, notes %+v", c.name, got.Down, l.notes)
		}
	}
}

func TestOldReportIsNotCounted(t *testing.T) {
	l := newLine(m(50, 5))
	l.run(30 * time.Second)
	old := l.report
	old.At -= unit.Time(time.Second)
	old.WANRx += 1 << 40
	if f, notes := l.shaping.Step(old); len(f) != 0 || len(notes) != 0 {
		t.Errorf("findings %+v, notes %v", f, notes)
	}
	l.run(2 * time.Second)
	if got := l.shaping.Verdicts(); got.Down != Proved {
		t.Errorf("verdict %s after an old report", got.Down)
	}
}

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		name    string
		through float64
		queued  unit.Bytes
		limit   float64
		cap     float64
	}{
		{"a standing queue at three quarters", 75, 2_000_000, 100, 75},
		{"just enough", 80, 2_000_000, 100, 0},
		{"no queue: the users want no more", 30, 0, 100, 0},
		{"unlimited has no rate to reach", 30, 2_000_000, 0, 0},
		{"a tenth of the rate", 10, 2_000_000, 100, 10},
		{"less than a tenth is a dead line", 9.9, 2_000_000, 100, 0},
		{"next to nothing is a dead line", 0.0008, 2_000_000, 500, 0},
		{"a standing queue that moves nothing gives no figure to cap at", 0, 2_000_000, 100, 0},
	} {
		l := newLine(m(c.through, 5))
		l.Limit = m(c.limit, 20)
		l.Queued.Down = c.queued
		l.run(40 * time.Second)
		if got := l.shaping.Caps(); got != m(c.cap, 0) {
			t.Errorf("%s: capped at %s/%s", c.name, got.Down, got.Up)
		}
		if c.cap > 0 && (len(l.lastFindings) != 1 || l.lastFindings[0].Cause != CPU || l.keys() != "alert router_cpu") {
			t.Errorf("%s: %+v, notes %s", c.name, l.lastFindings, l.keys())
		}
	}
}

// TestCPUIsSteady: what stops and starts, or dies, is not the router's limit; what wavers still is.
func TestCPUIsSteady(t *testing.T) {
	for _, c := range []struct {
		name    string
		every   time.Duration
		through []float64 // of 100 Mbit/s, a second each, over and over
		limited bool
	}{
		{"steady", time.Second, []float64{60}, true},
		{"wavering between 45 and 75", time.Second, []float64{45, 75}, true},
		{"a stall of 2 s in ten", time.Second, []float64{85, 85, 85, 85, 85, 85, 85, 85, 0, 0}, false},
		{"dying away", time.Second, []float64{95, 95, 95, 95, 95, 50, 0.0008, 0.0008, 0.0008, 0.0008}, false},
		{"a stall between fast readings", 200 * time.Millisecond, []float64{85, 85, 85, 85, 85, 85, 85, 85, 20, 20}, false},
		{"steady in fast readings", 200 * time.Millisecond, []float64{60}, true},
		{"steady in slow readings", 4 * time.Second, []float64{60}, true},
	} {
		l := newLine(m(50, 5))
		l.Queued.Down, l.Every = 2_000_000, c.every
		for i := range 60 {
			l.Through.Down = m(c.through[i%len(c.through)], 0).Down
			l.WAN.Down = l.Through.Down
			l.run(max(time.Second, c.every))
			if limited := l.shaping.Caps().Down; limited > 0 && !c.limited {
				t.Errorf("%s: after %d s capped at %s", c.name, i, limited)
				break
			}
		}
		if limited := l.shaping.Caps().Down; c.limited && (limited < 55*unit.Mbps || limited > 65*unit.Mbps) {
			t.Errorf("%s: capped at %s, want about 60 Mbit/s", c.name, limited)
		}
	}
}

// TestCPUWholeStory: a router that delivers 60 of 100 Mbit/s is capped there, stays quiet while the cap is obeyed, and
// is tried again after ten minutes.
func TestCPUWholeStory(t *testing.T) {
	l := newLine(m(5, 60))
	l.Limit = m(100, 100)
	l.Queued.Up = 500_000
	l.run(15 * time.Second)
	if got := l.shaping.Caps(); got != m(0, 60) {
		t.Fatalf("capped at %s/%s", got.Down, got.Up)
	}
	l.Limit.Up = 60 * unit.Mbps
	l.run(9 * time.Minute)
	if l.keys() != "alert router_cpu" || l.shaping.Caps().Up == 0 {
		t.Fatalf("while capped: notes %s, cap %s", l.keys(), l.shaping.Caps().Up)
	}
	l.run(2 * time.Minute)
	if l.keys() != "alert router_cpu, info router_cpu_over" || l.shaping.Caps().Up != 0 {
		t.Errorf("after ten minutes: notes %s, cap %s", l.keys(), l.shaping.Caps().Up)
	}
}

func TestQueueMustStandWithoutABreak(t *testing.T) {
	l := newLine(m(50, 5))
	for range 20 {
		l.Queued.Down = 1000
		l.run(8 * time.Second)
		l.Queued.Down = 0
		l.run(time.Second)
	}
	if got := l.shaping.Caps(); got.Down != 0 {
		t.Errorf("a queue that empties every 9 s gave a cap of %s", got.Down)
	}
}

// TestPropertyProof: whatever the traffic, the pace of readings and a reset now and then, a queue that carries everything is never
// accused, and one that misses a fifth of the bytes always is, after enough traffic.
func TestPropertyProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		honest := rapid.Bool().Draw(t, "honest")
		l := newLine(link.Rates{})
		l.Every = time.Duration(rapid.SampledFrom([]int{50, 200, 1000, 2000, 60_000}).Draw(t, "every ms")) * time.Millisecond
		reset := rapid.IntRange(0, 12).Draw(t, "reset in part")
		for part := range rapid.IntRange(1, 12).Draw(t, "parts") {
			l.WAN = m(rapid.Float64Range(0, 900).Draw(t, "down"), rapid.Float64Range(0, 40).Draw(t, "up"))
			share := unit.PPM(rapid.IntRange(900_010, 1_100_000).Draw(t, "share"))
			if !honest {
				share = unit.PPM(rapid.IntRange(0, 800_000).Draw(t, "share"))
			}
			l.Through = link.Rates{Down: l.WAN.Down.Scale(share) + 8000, Up: l.WAN.Up.Scale(share) + 8000}
			if part == reset {
				l.report.Down.Bytes, l.report.WANTx = 0, 0
			}
			l.run(time.Duration(rapid.IntRange(30, 60).Draw(t, "seconds")) * time.Second)
			if honest && len(l.lastFindings) != 0 {
				t.Fatalf("accused: %+v", l.lastFindings)
			}
		}
		l.WAN = m(100, 10)
		l.Through = link.Rates{Down: l.WAN.Down.Scale(700_000), Up: l.WAN.Up.Scale(700_000)}
		l.run(30*time.Second + 3*l.Every)
		if len(l.lastFindings) != 2 {
			t.Fatalf("seven tenths for half a minute and no accusation: %+v", l.lastFindings)
		}
	})
}

// TestBurstBetweenReadings: of each burst one counter tells at one reading and the other at the next, and nothing else happens.
func TestBurstBetweenReadings(t *testing.T) {
	for name, first := range map[string]bool{"the interface first": true, "the queue first": false} {
		l := newLine(link.Rates{})
		l.run(time.Minute)
		l.report.Down.Bytes, l.report.WANRx = 1<<40, 1<<40
		l.run(time.Second)
		for i := range 30 { // each somewhat more, so that the newest counts
			for _, wan := range []bool{first, !first} {
				l.WAN, l.Through = link.Rates{}, link.Rates{}
				if wan {
					l.WAN.Down = unit.Rate(80+10*i) * unit.Mbps
				} else {
					l.Through.Down = unit.Rate(80+10*i) * unit.Mbps
				}
				l.run(time.Second)
			}
			l.WAN, l.Through = link.Rates{}, link.Rates{}
			l.run(3 * time.Second)
		}
		if got := l.shaping.Verdicts(); got.Down != Proved || len(l.notes) != 0 {
			t.Errorf("%s: verdict %s, notes %+v", name, got.Down, l.notes)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for c := FastTrack; c <= CPU; c++ {
		text, err := c.MarshalText()
		if err != nil || seen[string(text)] || len(text) == 0 {
			t.Errorf("cause %d is called %q (%v)", c, text, err)
		}
		seen[string(text)] = true
	}
	for v := Unproved; v <= Bypassed; v++ {
		if seen[v.String()] || v.String() == "invalid" {
			t.Errorf("verdict %d is called %q", v, v)
		}
		seen[v.String()] = true
	}
	for p := RouterLink; p < parts; p++ {
		if seen[p.String()] || p.String() == "invalid" {
			t.Errorf("part %d is called %q", p, p)
		}
		seen[p.String()] = true
	}
	for _, s := range []string{Cause(99).String(), Verdict(99).String(), parts.String()} {
		if s != "invalid" {
			t.Errorf("an impossible value is called %q", s)
		}
	}
}
