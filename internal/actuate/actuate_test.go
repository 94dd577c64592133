package actuate

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestPause(t *testing.T) {
	for _, c := range []struct {
		fails  int
		jitter float64
		want   time.Duration
	}{
		{0, 0.5, time.Second},
		{1, 0, time.Second},
		{1, 1, time.Second},
		{2, 0, time.Second},
		{2, 1, 2 * time.Second},
		{3, 0.5, 3 * time.Second},
		{6, 1, 32 * time.Second},
		{7, 1, 60 * time.Second},
		{7, 0, 30 * time.Second},
		{1 << 40, 1, 60 * time.Second},
		{3, -7, 2 * time.Second},
		{3, 99, 4 * time.Second},
		{3, math.NaN(), 3 * time.Second},
	} {
		if got := pause(c.fails, c.jitter); got != c.want {
			t.Errorf("pause(%d, %v) = %s, want %s", c.fails, c.jitter, got, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b Backoff
	now := unit.Time(5 * time.Second)
	if !b.May(now) {
		t.Error("a fresh backoff does not let the first try pass")
	}
	b.Failed(now, Transient, 1)
	b.Failed(now, Transient, 1)
	if b.May(now.Add(1999*time.Millisecond)) || !b.May(now.Add(2*time.Second)) || b.Fails() != 2 {
		t.Errorf("after two failures: %+v", b)
	}
	b.Failed(now, Fatal, 1)
	if b.May(now.Add(time.Hour)) || !b.Stopped() {
		t.Error("a fatal failure does not stop the trying")
	}
	b.Succeeded()
	if !b.May(now) || b.Stopped() {
		t.Error("a success does not end the row")
	}
}

func TestExit(t *testing.T) {
	ceiling, none := mb(95, 18), link.Rates{}
	for _, c := range []struct {
		name          string
		mode          ExitMode
		ceiling, base link.Rates
		want          link.Rates // the decision
		read          link.Rates
		leaves        link.Rates
	}{
		{"base", ExitBase, ceiling, mb(80, 16), mb(30, 6), mb(30, 6), mb(80, 16)},
		{"no base: ceiling", ExitBase, ceiling, none, mb(30, 6), mb(30, 6), ceiling},
		{"base in one direction", ExitBase, ceiling, mb(80, 0), mb(30, 6), mb(30, 6), mb(80, 18)},
		{"base above the ceiling", ExitBase, ceiling, mb(800, 16), none, none, mb(95, 16)},
		{"last", ExitLast, ceiling, mb(80, 16), mb(30, 6), mb(40, 7), mb(30, 6)},
		{"last, nothing decided: what was read", ExitLast, ceiling, mb(80, 16), none, mb(40, 7), mb(40, 7)},
		{"last, read back unlimited", ExitLast, ceiling, mb(80, 16), none, none, mb(80, 16)},
		{"last, read back above the ceiling", ExitLast, ceiling, none, none, mb(500, 500), ceiling},
		{"ceiling", ExitCeiling, ceiling, mb(80, 16), mb(30, 6), mb(30, 6), ceiling},
		{"no ceiling known, no base: the decision", ExitBase, none, none, mb(30, 6), none, mb(30, 6)},
		{"nothing known: left alone", ExitCeiling, none, none, none, none, none},
		{"invalid mode is base", ExitMode(9), ceiling, mb(80, 16), none, none, mb(80, 16)},
	} {
		b := newBench(Config{Ceiling: c.ceiling}, c.read)
		b.quiet, b.Want, b.Has = true, c.want, c.want != none
		b.Router.Fault = func(op Op) (Result, bool) { return Result{Err: errors.New("x")}, op.Write }
		b.run(ms(60))
		if got := b.Act.Exit(c.mode, c.base); got != c.leaves {
			t.Errorf("%s: leaves %s, want %s", c.name, rates(got), rates(c.leaves))
		}
	}
}

func TestLoad(t *testing.T) {
	report := func(at time.Duration, uptime time.Duration, bytes unit.Bytes, wan bool) link.Report {
		r := link.Report{At: unit.Time(at), Uptime: uptime, HasWAN: wan, WANRx: 2 * bytes, WANTx: bytes}
		r.Down.Bytes, r.Up.Bytes = bytes, bytes/10
		return r
	}
	const s = time.Second
	known := func(at time.Duration, down, up unit.Rate) link.Load {
		return link.Load{Known: true, At: unit.Time(at), Rates: link.Rates{Down: down, Up: up}}
	}
	for _, c := range []struct {
		name string
		in   []link.Report
		want link.Load
	}{
		{"one reading says nothing", []link.Report{report(1*s, 9*s, 500, true)}, link.Load{At: unit.Time(1 * s)}},
		{"the interface's counters", []link.Report{report(1*s, 9*s, 0, true), report(2*s, 10*s, 1000, true)}, known(2*s, 16000, 8000)},
		{"the queues' where it has none", []link.Report{report(1*s, 9*s, 0, false), report(2*s, 10*s, 1000, false)}, known(2*s, 8000, 800)},
		{"the queues' where only one reading has it", []link.Report{report(1*s, 9*s, 0, false), report(2*s, 10*s, 1000, true)}, known(2*s, 8000, 800)},
		{"nothing moved is known", []link.Report{report(1*s, 9*s, 7, true), report(2*s, 10*s, 7, true)}, known(2*s, 0, 0)},
		{"a counter went down", []link.Report{report(1*s, 9*s, 900, true), report(2*s, 10*s, 100, true)}, link.Load{At: unit.Time(2 * s)}},
		{"and the next interval is known", []link.Report{report(1*s, 9*s, 900, true), report(2*s, 10*s, 100, true), report(3*s, 11*s, 1100, true)}, known(3*s, 16000, 8000)},
		{"the router restarted", []link.Report{report(1*s, 9*s, 0, true), report(2*s, 1*s, 900, true)}, link.Load{At: unit.Time(2 * s)}},
		{"a report without an uptime is no restart", []link.Report{report(1*s, 9*s, 0, true), report(2*s, 0, 1000, true)}, known(2*s, 16000, 8000)},
		{"too soon: the older base stays", []link.Report{report(1*s, 9*s, 0, true), report(1*s+s/10, 9*s, 900, true), report(2*s, 10*s, 1000, true)}, known(2*s, 16000, 8000)},
		{"at 0.2 s it counts", []link.Report{report(1*s, 9*s, 0, true), report(1*s+s/5, 9*s, 100, true)}, known(1*s+s/5, 8000, 4000)},
		{"too long ago", []link.Report{report(1*s, 9*s, 0, true), report(12*s, 20*s, 100, true)}, link.Load{At: unit.Time(12 * s)}},
	} {
		m := meter{longest: longestInterval(Config{})}
		for _, r := range c.in {
			m.rebooted(r)
			m.add(r)
		}
		if d := cmp.Diff(c.want, m.load); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	if got := longestInterval(Config{Reads: true, ReadEvery: 30 * time.Second}); got != time.Minute {
		t.Errorf("counters read every 30 s: longest interval %s", got)
	}
}

func TestSnapshotSurvivesRestart(t *testing.T) {
	b := newBench(Config{Ceiling: mb(95, 18), Burst: 2, Daily: 3}, mb(95, 18))
	b.quiet = true
	for i := range 5 {
		b.decide(mb(60-float64(i), 18))
		b.run(time.Second)
	}
	text, err := json.Marshal(b.Act.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var snap Snapshot
	if err := json.Unmarshal(text, &snap); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b.Act.Snapshot(), snap); d != "" {
		t.Fatal(d)
	}
	again := New(b.Act.cfg)
	again.Restore(snap)
	out := again.Step(Input{Now: b.now})
	if out.Status.Writes24h != 5 || !out.Status.OverBudget() || out.Applied != mb(56, 18) || out.Confirmed.Down {
		t.Errorf("after the restart: %+v, applied %s", out.Status, rates(out.Applied))
	}
	if len(out.Notes) != 0 {
		t.Errorf("the alert of the day is repeated: %v", out.Notes)
	}
}

func TestRestoreFromAnotherBoot(t *testing.T) {
	later := unit.Time(500 * time.Hour)
	a := New(Config{Ceiling: mb(95, 18), Daily: 100})
	a.Restore(Snapshot{
		Applied: link.Rates{Down: -3, Up: 1 << 60}, Hour: 400, Writes: append(make([]int, 23), 60, 41, 9, 9), LastRaise: later, Alerted: later,
	})
	now := unit.Time(10 * time.Second)
	out := a.Step(Input{Now: now})
	if out.Applied != (link.Rates{}) {
		t.Errorf("impossible rates were restored: %s", rates(out.Applied))
	}
	if out.Status.Writes24h != 101 {
		t.Errorf("%d writes counted, want 101", out.Status.Writes24h)
	}
	if got := a.budget.raiseFree(); got != now.Add(HeldAtMost) {
		t.Errorf("the next raise is free at %s", got)
	}
	out = a.Step(Input{Now: unit.Time(time.Hour)})
	if out.Status.Writes24h != 60 {
		t.Errorf("an hour later %d writes are counted, want 60", out.Status.Writes24h)
	}
	out = a.Step(Input{Now: later})
	if out.Status.Writes24h != 0 {
		t.Errorf("long after, %d writes are counted", out.Status.Writes24h)
	}
	b := New(Config{})
	b.Restore(Snapshot{Hour: -1, Writes: []int{-5, math.MaxInt}, LastRaise: -1, Alerted: -1})
	if got := b.Step(Input{Now: 1}).Status.Writes24h; got != mostWrites {
		t.Errorf("a damaged snapshot counts %d writes", got)
	}
}

func TestTimeDoesNotRunBackwards(t *testing.T) {
	b := newBench(att(), mb(95, 18))
	b.quiet = true
	b.run(10 * time.Second)
	out := b.Act.Step(Input{Now: 5, Want: mb(50, 18), Has: true})
	if out.Op == nil || !out.Op.Write || out.Wake != 0 {
		t.Errorf("a cut at a time before the last: %+v", out)
	}
}

func TestForeignResultIsIgnored(t *testing.T) {
	a := New(att())
	out := a.Step(Input{Now: 1})
	if out.Op == nil || out.Op.Write {
		t.Fatalf("the first operation is %+v", out.Op)
	}
	r := Result{Op: Op{ID: out.Op.ID + 1}}
	out = a.Step(Input{Now: 2, Result: &r})
	if !out.Status.InFlight || out.Status.Reads != 0 {
		t.Errorf("another operation's result was taken: %+v", out.Status)
	}
}

func TestErrorsAreKeptShort(t *testing.T) {
	a := New(att())
	out := a.Step(Input{Now: 1})
	r := Result{Op: *out.Op, Err: errors.New(strings.Repeat("ä", 5000))}
	out = a.Step(Input{Now: 2, Result: &r})
	if n := len(out.Status.LastError); n > longestError+3 || !strings.HasSuffix(out.Status.LastError, "ä…") {
		t.Errorf("the error kept has %d bytes and ends in %q", n, out.Status.LastError[n-8:])
	}
	if out.Status.LastErrorClass != Transient || out.Status.Link != BackingOff {
		t.Errorf("an error without a class is %s, link %s", out.Status.LastErrorClass, out.Status.Link)
	}
	op := a.Step(Input{Now: unit.Time(time.Minute)}).Op
	r = Result{Op: *op, Class: Unknown}
	if out = a.Step(Input{Now: unit.Time(time.Minute + 1), Result: &r}); out.Status.LastError == "" || out.Status.Failures != 2 {
		t.Errorf("a class without an error: %+v", out.Status)
	}
}

// TestCutShortensBackoff: the router has been away long enough for a pause of 60 s; a decision below what it holds
// brings the next try to 5 s after the last.
func TestCutShortensBackoff(t *testing.T) {
	b := newBench(att(), mb(95, 18))
	b.quiet = true
	b.run(time.Second)
	b.Router.Fault = failing(Transient, "unreachable")
	b.run(5 * time.Minute)
	s := b.out.Status
	if wait := s.RetryAt.Sub(s.LastErrorAt); wait != 45*time.Second {
		t.Fatalf("the pause has grown to %s only", wait)
	}
	b.decide(mb(50, 18))
	if got := b.out.Status; b.out.Op == nil && got.RetryAt.Sub(got.LastErrorAt) > backoffCut {
		t.Errorf("with a cut waiting the next try is at %s, the last was at %s", got.RetryAt, got.LastErrorAt)
	}
	tries := b.reads
	b.run(time.Minute)
	if n := b.reads - tries; n < 11 {
		t.Errorf("%d tries in a minute while a cut waits", n)
	}
}

// TestUnknownRouterMayNeedACut: as long as the router was never read, a decision under the ceiling counts as a cut.
func TestUnknownRouterMayNeedACut(t *testing.T) {
	for _, c := range []struct {
		ceiling link.Rates
		want    link.Rates
		cut     bool
	}{{mb(95, 18), mb(95, 18), false}, {mb(95, 18), mb(95, 17), true}, {link.Rates{}, mb(95, 18), true}} {
		a := New(Config{Ceiling: c.ceiling})
		a.Step(Input{Now: 1, Want: c.want, Has: true})
		if got := a.cutWaits(); got != c.cut {
			t.Errorf("ceiling %s, wanted %s: a cut waits is %v", rates(c.ceiling), rates(c.want), got)
		}
	}
}

func TestReconfigure(t *testing.T) {
	b := newBench(att(), mb(95, 18))
	b.quiet = true
	b.run(3 * time.Second)
	cfg := att()
	cfg.Ceiling, cfg.Burst, cfg.Daily = mb(60, 10), 5, 100
	b.Act.Reconfigure(cfg)
	b.step(nil)
	if b.out.Op == nil || b.out.Op.Write {
		t.Fatalf("after a reload the router is read first, not %+v", b.out.Op)
	}
	b.run(time.Second)
	if b.Router.Rates != mb(60, 10) {
		t.Errorf("a lowered ceiling leaves the router at %s", rates(b.Router.Rates))
	}
	if s := b.out.Status; s.Budget != 100 || s.Writes24h != 1 {
		t.Errorf("status after the reload: %+v", s)
	}
}

// TestReadBackThatDiffers: an error that comes with a full report is judged from the report, not taken for a lost
// connection.
func TestReadBackThatDiffers(t *testing.T) {
	b := newBench(att(), mb(95, 18))
	b.quiet = true
	b.run(time.Second)
	b.Router.Fault = func(op Op) (Result, bool) {
		b.Router.Rates.Down = 81 * mbit
		return Result{
			Report: b.Router.report(b.now), Err: errors.New("read-back differs"), Class: Unknown, Sent: true, Read: link.Pair[bool]{Down: true, Up: true},
		}, op.Write
	}
	var last unit.Time
	b.seen = func(_ Input, out Output) {
		if out.Op != nil && out.Op.Write {
			if last > 0 && b.now.Sub(last) > backoffCut+b.Router.Latency {
				t.Errorf("%s: the decrease was tried %s after the last try", b.now, b.now.Sub(last))
			}
			last = b.now
		}
	}
	b.decide(mb(80, 18))
	b.run(5 * time.Minute)
	if s := b.out.Status; s.Link != Connected || s.Hold.Down != HoldRefused || !strings.Contains(s.LastError, "reads 81 Mbit/s after 80 Mbit/s") {
		t.Errorf("status %+v", s)
	}
	if b.out.Status.ForeignUntil == 0 || b.writes < 55 || b.writes > 65 {
		t.Errorf("%d writes in five minutes of a cut that is not taken, raises stopped until %s", b.writes, b.out.Status.ForeignUntil)
	}
	b.seen, b.writes = nil, 0
	b.decide(mb(90, 18))
	b.run(2 * time.Minute)
	if s := b.out.Status; b.writes > 0 || s.Hold.Down != HoldForeign {
		t.Errorf("%d raises against a foreign writer, download waits for %s", b.writes, s.Hold.Down)
	}
}

// TestRaiseThatIsNotTaken: three raises in a minute that read back as another rate are a foreign writer's doing, and
// stop.
func TestRaiseThatIsNotTaken(t *testing.T) {
	b := newBench(att(), mb(50, 18))
	b.quiet, b.Want = true, mb(50, 18)
	b.run(time.Second)
	b.Router.Fault = func(Op) (Result, bool) { return Result{Report: b.Router.report(b.now)}, true }
	b.decide(mb(80, 18))
	b.run(2 * time.Second)
	if b.writes != 2 || b.out.Status.ForeignUntil != 0 {
		t.Fatalf("%d tries in two seconds, raises stopped until %s", b.writes, b.out.Status.ForeignUntil)
	}
	b.run(9 * time.Minute)
	if b.writes != 3 || b.out.Status.Hold.Down != HoldForeign {
		t.Errorf("%d tries, download waits for %s: want three, then a foreign writer", b.writes, b.out.Status.Hold.Down)
	}
}

// The alert says where the router may tell who it was, and it comes once.
func TestForeignWriterAlert(t *testing.T) {
	b := newBench(att(), mb(95, 18))
	b.quiet = true
	alerts := 0
	b.seen = func(_ Input, out Output) {
		for _, n := range out.Notes {
			if n.Key == "foreign_writer" {
				alerts++
				if !strings.Contains(n.Text, "/system/history/print") || n.Level != link.Alert {
					t.Errorf("the alert says %q", n.Text)
				}
			}
		}
	}
	b.decide(mb(60, 12))
	b.run(time.Second)
	b.Router.Fault = func(op Op) (Result, bool) {
		if op.Write {
			b.Router.set(op.Want)
		} else {
			b.Router.Rates = mb(95, 18)
		}
		return Result{Report: b.Router.report(b.now)}, true
	}
	b.run(9 * time.Minute)
	if alerts != 1 {
		t.Errorf("%d alerts in nine minutes of foreign writing", alerts)
	}
	b.run(2 * time.Minute)
	if alerts != 2 {
		t.Errorf("%d alerts after it went on past ten minutes", alerts)
	}
}

func TestSteadyStateAllocates(t *testing.T) {
	a := New(Config{Ceiling: mb(95, 18)})
	out := a.Step(Input{Now: 1, Want: mb(95, 18), Has: true})
	r := Result{Op: *out.Op}
	r.Report.Down.MaxLimit, r.Report.Up.MaxLimit = mb(95, 18).Down, mb(95, 18).Up
	now := unit.Time(2)
	a.Step(Input{Now: now, Result: &r})
	if n := testing.AllocsPerRun(100, func() {
		now++
		a.Step(Input{Now: now, Want: mb(95, 18), Has: true})
	}); n != 0 {
		t.Errorf("a Step with nothing to do allocates %v times", n)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	add := func(s string) {
		if s == "" || s == "invalid" || seen[s] {
			t.Errorf("name %q is empty or used twice", s)
		}
		seen[s] = true
	}
	for c := None; c <= Misconfigured; c++ {
		add(c.String())
	}
	clear(seen)
	for h := HoldNone; h <= HoldDryRun; h++ {
		text, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		add(string(text))
	}
	clear(seen)
	for l := Starting; l <= Stopped; l++ {
		text, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		add(string(text))
	}
	for m := ExitBase; m <= ExitCeiling; m++ {
		add(m.String())
	}
	for _, s := range []string{ErrClass(99).String(), Hold(99).String(), LinkState(99).String(), ExitMode(99).String()} {
		if s != "invalid" {
			t.Errorf("an impossible value is called %q", s)
		}
	}
}

// On a line on which nothing happens the counters are read once a second, however often they are otherwise.
func TestCalmLinesAreReadLess(t *testing.T) {
	for _, c := range []struct {
		calm bool
		want int
	}{{false, 10}, {true, 2}} {
		a := New(Config{Burst: 20, Reads: true, ReadEvery: 200 * time.Millisecond})
		now, reads := unit.Time(time.Hour), 0
		var result *Result
		for range 200 { // two seconds
			out := a.Step(Input{Now: now, Calm: c.calm, Result: result})
			result = nil
			if out.Op != nil {
				reads++
				var r link.Report
				r.Down.MaxLimit, r.Up.MaxLimit, r.At, r.Uptime = unit.Mbps, unit.Mbps, now, time.Duration(now)
				result = &Result{Op: *out.Op, Report: r}
			}
			now = now.Add(10 * time.Millisecond)
		}
		if reads < c.want-1 || reads > c.want+1 {
			t.Errorf("calm %v: %d reads in two seconds, want about %d", c.calm, reads, c.want)
		}
	}
}

// Raises keep their distance, and the ceiling is worth a write of its own; cuts wait for neither.
func TestRaisesKeepTheirDistance(t *testing.T) {
	a := New(Config{
		Ceiling: link.Rates{Down: 100 * unit.Mbps, Up: 100 * unit.Mbps}, Burst: 20, StaticDeadBand: 30_000, RaiseEvery: 200 * time.Millisecond,
	})
	now := unit.Time(time.Hour)
	has := link.Rates{Down: 50 * unit.Mbps, Up: 50 * unit.Mbps}
	var result *Result
	step := func(down unit.Rate) (wrote unit.Rate) {
		out := a.Step(Input{Now: now, Has: true, Want: link.Rates{Down: down, Up: 50 * unit.Mbps}, Result: result})
		result = nil
		if out.Op != nil {
			if out.Op.Write {
				has.Down, wrote = out.Op.Want.Down, out.Op.Want.Down
			}
			var r link.Report
			r.Down.MaxLimit, r.Up.MaxLimit, r.At, r.Uptime = has.Down, has.Up, now, time.Duration(now)
			result = &Result{Op: *out.Op, Report: r}
		}
		now = now.Add(10 * time.Millisecond)
		return wrote
	}
	step(50 * unit.Mbps) // reads
	for _, c := range []struct {
		want, wrote unit.Rate
		wait        time.Duration
	}{
		{60 * unit.Mbps, 60 * unit.Mbps, 0},
		{70 * unit.Mbps, 0, 0}, // too soon
		{40 * unit.Mbps, 40 * unit.Mbps, 0},
		{41 * unit.Mbps, 0, time.Second}, // not worth it
		{99 * unit.Mbps, 99 * unit.Mbps, 0},
		{100 * unit.Mbps, 100 * unit.Mbps, time.Second}, // the ceiling
	} {
		now = now.Add(c.wait)
		if result != nil { // the last one's result first, with nothing new
			step(has.Down)
		}
		if got := step(c.want); got != c.wrote {
			t.Errorf("wanting %v writes %v, want %v", c.want, got, c.wrote)
		}
	}
}
