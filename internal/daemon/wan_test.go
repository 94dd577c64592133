package daemon

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/routeros"
	"wanctl/internal/state"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// attText is the VDSL line of the shipped examples at its own pace.
const attText = `wan_name: ATT
router: {host: 127.0.0.1, user: wanctl, ssh_key: /k, known_hosts: /h}
queues: {download: WAN-Download-ATT, upload: WAN-Upload-ATT}
continuous_monitoring:
  interval_ms: 2000
  baseline_rtt_initial: 28
  download: {floor_mbps: 25, ceiling_mbps: 95, step_up_mbps: 2, factor_down: 0.90}
  upload: {floor_mbps: 6, ceiling_mbps: 18, step_up_mbps: 0.5, factor_down: 0.95}
  thresholds: {target_bloat_ms: 3, warn_bloat_ms: 10, alpha_baseline: 0.015, alpha_load: 0.20}
  ping_hosts: [192.0.2.1]
`

// pure is a WAN on a clock that is turned by hand, with a router that is told what to answer.
type pure struct {
	t     *testing.T
	wan   *WAN
	now   unit.Time
	rtt   unit.Millis // 0 is silence
	limit link.Rates  // the router's
	ops   []actuate.Op
	notes []link.Note
	// Mute keeps results back: the operation stays under way.
	Mute bool
	held *actuate.Op
	// Deaf answers every write, and keeps the limits.
	Deaf bool
	// Fail, when not nil, is every operation's error.
	Fail  error
	Class actuate.ErrClass
}

func newPure(t *testing.T, text string) *pure {
	t.Helper()
	f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
	if f == nil {
		t.Fatal(ds)
	}
	p := &pure{t: t, now: unit.Time(time.Hour), rtt: 28, limit: ceiling}
	wan, err := NewWAN(WANOptionsOf(f.WAN, false), p, p.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.wan = wan
	return p
}

func (p *pure) Drain(dst []link.Reply) []link.Reply {
	if p.rtt == 0 {
		return dst
	}
	for range 3 {
		dst = append(dst, link.Reply{Sent: p.now.Add(-p.rtt.Duration()), Received: p.now, RTT: p.rtt})
	}
	return dst
}

func (p *pure) answer(op actuate.Op) {
	r := actuate.Result{Op: op, Err: p.Fail, Class: p.Class}
	if p.Fail == nil {
		for _, d := range []link.Direction{link.Down, link.Up} {
			if w := op.Want.Get(d); op.Write && w > 0 && !p.Deaf {
				p.limit.Set(d, w)
			}
		}
		r.Sent = true
		r.Report = link.Report{At: p.now, Uptime: time.Hour + time.Duration(p.now)}
		r.Report.Down.MaxLimit, r.Report.Up.MaxLimit = p.limit.Down, p.limit.Up
	}
	p.handle(p.wan.Deliver(p.now, r))
}

func (p *pure) handle(o Outcome[actuate.Op]) {
	p.notes = append(p.notes, o.Notes...)
	if o.Op == nil {
		return
	}
	if p.held != nil {
		p.t.Fatal("a second operation while one is under way")
	}
	p.ops = append(p.ops, *o.Op)
	if p.Mute {
		op := *o.Op
		p.held = &op
		return
	}
	p.answer(*o.Op)
}

// cycle runs one and returns its line.
func (p *pure) cycle() string {
	p.now = p.now.Add(2 * time.Second)
	o := p.wan.Tick(p.now)
	p.handle(o)
	return o.Line
}

func (p *pure) writes() (n int) {
	for _, op := range p.ops {
		if op.Write {
			n++
		}
	}
	return n
}

func (p *pure) noted(key string) (n int) {
	for _, note := range p.notes {
		if note.Key == key {
			n++
		}
	}
	return n
}

// The line of a cycle is the documented one, to the letter.
func TestLine(t *testing.T) {
	p := newPure(t, attText)
	if got, want := p.cycle(), "ATT: [GREEN/GREEN] RTT=28.0ms, load_ewma=28.0ms, baseline=28.0ms, delta=0.0ms | DL=95M, UL=18M"; got != want {
		t.Errorf("the line is\n%s, want\n%s", got, want)
	}
	p.rtt = 100
	if got, want := p.cycle(), "ATT: [RED/RED] RTT=100.0ms, load_ewma=42.4ms, baseline=28.0ms, delta=14.4ms | DL=86M, UL=17M"; got != want {
		t.Errorf("the line is\n%s, want\n%s", got, want)
	}
	for range 60 {
		p.cycle()
	}
	if got := p.cycle(); !strings.HasSuffix(got, "DL=25M, UL=6M") {
		t.Errorf("at the floors the line is %s", got)
	}
}

func TestLogPrefix(t *testing.T) {
	log, buf := testLog(t)
	log.Info("x")
	line := buf.String()
	stamp, rest, ok := strings.Cut(line, " [ATT] [INFO] ")
	if _, err := time.Parse("2006-01-02 15:04:05,000", stamp); !ok || err != nil || rest != "x\n" {
		t.Errorf("the line is %q: %v", line, err)
	}
}

// At most one write per change of decision, none when nothing changed, none before there is a decision.
func TestWritesFollowDecisions(t *testing.T) {
	p := newPure(t, attText)
	p.rtt = 0
	for range 20 {
		if line := p.cycle(); line != "" {
			t.Fatalf("a skipped cycle has the line %q", line)
		}
	}
	if p.writes() != 0 {
		t.Errorf("%d writes without a measurement", p.writes())
	}
	p.rtt = 28
	for range 20 {
		p.cycle()
	}
	if p.writes() != 0 {
		t.Errorf("%d writes of the ceiling that was there already", p.writes())
	}
	p.rtt = 100
	p.cycle()
	if p.writes() != 1 || p.limit == ceiling {
		t.Errorf("%d writes for the first cut, limits %v", p.writes(), p.limit)
	}
	n, last := p.writes(), p.wan.Decision().Rates
	for range 40 {
		p.cycle()
		if now := p.wan.Decision().Rates; now != last {
			n++
			last = now
		}
		if p.writes() != n {
			t.Fatalf("%d writes for %d changes", p.writes(), n)
		}
	}
}

// While the router is slow decisions coalesce to the newest; the loop goes on.
func TestDecisionsCoalesce(t *testing.T) {
	p := newPure(t, attText)
	p.cycle()
	p.rtt, p.Mute = 100, true
	for range 10 {
		if p.cycle() == "" {
			t.Fatal("a cycle was skipped")
		}
	}
	p.Mute = false
	op := *p.held
	p.held = nil
	p.answer(op)
	if p.limit != p.wan.Decision().Rates || p.writes() > 2 {
		t.Errorf("%d writes, limits %v, decision %v", p.writes(), p.limit, p.wan.Decision().Rates)
	}
}

func TestOutageIsTold(t *testing.T) {
	p := newPure(t, attText)
	p.cycle()
	p.rtt = 0
	for range 150 { // five minutes
		p.cycle()
	}
	if n := p.noted("no_reply"); n != 5 {
		t.Errorf("told %d times in five minutes", n)
	}
	// A line that comes and goes is not told more often.
	for range 30 {
		p.rtt = 28
		p.cycle()
		p.rtt = 0
		for range 5 {
			p.cycle()
		}
	}
	if n := p.noted("no_reply"); n > 5+7 {
		t.Errorf("told %d times in eleven minutes", n)
	}
	if back := p.noted("probes_back"); back > p.noted("no_reply") {
		t.Errorf("told %d times that it is back", back)
	}
}

// A reply that arrived in the moment of the cycle does not void it.
func TestAReplyOfThisMoment(t *testing.T) {
	p := newPure(t, attText)
	ahead := &late{p}
	p.wan.SetProber(ahead)
	if p.cycle() == "" {
		t.Error("the cycle was skipped")
	}
}

type late struct{ *pure }

func (l *late) Drain(dst []link.Reply) []link.Reply {
	from := len(dst)
	dst = l.pure.Drain(dst)
	for i := range dst[from:] {
		dst[from+i].Received = dst[from+i].Received.Add(time.Millisecond)
	}
	return dst
}

// After a reload the router is tried again, streaks stay, and what an old router still answers is not believed.
func TestReconfigure(t *testing.T) {
	p := newPure(t, attText)
	p.cycle()
	p.rtt, p.Fail, p.Class = 100, &routeros.Error{Kind: routeros.Auth, Err: errOldRouter}, actuate.Fatal
	for range 5 {
		p.cycle()
	}
	n := len(p.ops)
	for range 50 {
		p.cycle()
	}
	if len(p.ops) != n {
		t.Errorf("%d tries after the router refused us", len(p.ops)-n)
	}
	p.Fail, p.Class = nil, actuate.None
	before := p.wan.Decision()
	if err := p.wan.Reconfigure(p.wan.opt); err != nil {
		t.Fatal(err)
	}
	p.cycle()
	if p.limit != p.wan.Decision().Rates || p.wan.Decision().State != before.State {
		t.Errorf("after the reload the limits are %v, the decision %v", p.limit, p.wan.Decision().Rates)
	}

	p.Mute = true
	p.cycle()
	if p.held == nil {
		t.Fatal("nothing is under way")
	}
	p.wan.SetRouter()
	op := *p.held
	p.held, p.Mute = nil, false
	p.limit = link.Rates{Down: 1 * unit.Mbps, Up: 1 * unit.Mbps}
	p.answer(op)
	if got := p.wan.Applied(); got.Down == 1*unit.Mbps {
		t.Errorf("the old router's rates %v were believed", got)
	}
	bad := p.wan.opt
	bad.Shaper.Down.Ceiling = 0
	if err := p.wan.Reconfigure(bad); err == nil {
		t.Error("a ceiling of 0 was taken over")
	}
}

// What the router last took from us is not what it answered to and did not take.
func TestWhatWasNotTaken(t *testing.T) {
	p := newPure(t, attText)
	p.Deaf, p.rtt = true, 100
	for range 5 {
		p.cycle()
	}
	if p.writes() == 0 || p.wan.wrote != (link.Rates{}) {
		t.Errorf("after %d writes that were not taken the last taken is %v", p.writes(), p.wan.wrote)
	}
	p.Deaf = false
	for range 10 {
		p.cycle()
	}
	if p.wan.wrote != p.limit {
		t.Errorf("the last taken is %v, the router has %v", p.wan.wrote, p.limit)
	}
}

func TestStateCarriesWhatWasLeft(t *testing.T) {
	p := newPure(t, attText)
	p.rtt = 100
	for range 5 {
		p.cycle()
	}
	p.wan.Left(remains{rates: base, read: link.Pair[bool]{Down: true, Up: true}})
	s := p.wan.State(p.now, "b", time.Unix(1, 0))
	if s.Applied != base || s.Actuator.Applied != base || s.EWMA.LoadRTT != p.wan.Decision().Load || s.BootID != "b" {
		t.Errorf("the state is %+v", s)
	}
	again, err := NewWAN(p.wan.opt, p, p.now, &s)
	if err != nil {
		t.Fatal(err)
	}
	p.wan, p.limit, p.notes = again, base, nil
	p.cycle()
	if n := p.noted("rate_differs"); n != 0 {
		t.Errorf("the next start is surprised by what the last one left: %v", p.notes)
	}
	if p.wan.Decision().State.Down != link.Red {
		t.Errorf("the state restored is %v", p.wan.Decision().State)
	}
	if f := p.wan.Feed(); f.Seq != 1 || f.At != p.now || f.Period != 2*time.Second || !f.Measured {
		t.Errorf("the feed is %+v", f)
	}
	if got := p.wan.timeInState().Down[link.Red]; got <= 0 {
		t.Errorf("time in RED is %v", got)
	}
}

// What the line was measured to carry outlives a restart, and the time in which another policy decides.
func TestMemoryOutlivesRestartsAndPolicies(t *testing.T) {
	options := func(text string) WANOptions {
		f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
		if f == nil {
			t.Fatal(ds)
		}
		return WANOptionsOf(f.WAN, false)
	}
	tracks, steps := options(trackingText), options(attText)
	p := newPure(t, trackingText)
	first := p.wan.State(p.now, "b", time.Unix(1, 0))
	first.Memory.Down[7] = tracking.Measured{95 * unit.Mbps, 93 * unit.Mbps}
	restart := func(opt WANOptions, s state.WAN) state.WAN {
		w, err := NewWAN(opt, p, p.now, &s)
		if err != nil {
			t.Fatal(err)
		}
		p.wan = w
		return w.State(p.now, "b", time.Unix(1, 0))
	}
	kept := func(when string, s state.WAN) state.WAN {
		if d := cmp.Diff(first.Memory, s.Memory); d != "" {
			t.Errorf("%s it remembers (-before +now):\n%s", when, d)
		}
		return s
	}
	s := kept("after a restart", restart(tracks, first))
	s = kept("under steps", restart(steps, s))
	kept("tracking again", restart(tracks, s))
	for _, opt := range []WANOptions{steps, tracks} {
		if err := p.wan.Reconfigure(opt); err != nil {
			t.Fatal(err)
		}
		kept("after a reload", p.wan.State(p.now, "b", time.Unix(1, 0)))
	}
}

func TestMinuteOfDay(t *testing.T) {
	for at, want := range map[string]int{"00:00:00": 1, "00:00:59": 1, "12:30:00": 751, "23:59:59": 1440} {
		wall, err := time.Parse(time.TimeOnly, at)
		if got := MinuteOfDay(wall); err != nil || got != want {
			t.Errorf("%s is minute %d, %v, want %d", at, got, err, want)
		}
	}
}

func TestShares(t *testing.T) {
	var s shares
	at := unit.Time(time.Hour)
	st := func(d link.State) link.Pair[link.State] { return link.Pair[link.State]{Down: d, Up: link.Green} }
	s.add(at, st(link.Green))
	for range 60 { // a minute at the longest period, always a little late
		at = at.Add(time.Minute + time.Second)
		s.add(at, st(link.Red))
	}
	at = at.Add(10 * time.Hour) // nobody measured
	s.add(at, st(link.Yellow))
	if got := s.total.Down; got[link.Red] != 61*time.Minute || got[link.Yellow] != 0 {
		t.Errorf("times are %v", got)
	}
	for range 1800 { // an hour at 2 s
		at = at.Add(2 * time.Second)
		s.add(at, st(link.Green))
	}
	if got := s.since(at, time.Hour).Down; got[link.Green] != 1_000_000 || got[link.Red] != 0 {
		t.Errorf("the last hour is %v", got)
	}
	if got := s.since(at, 24*time.Hour).Down; got[link.Green] < 450_000 || got[link.Green] > 550_000 {
		t.Errorf("the last day is %v", got)
	}
}

// A timer's single run: one cycle, its write, the record, and an error when nothing answered.
func TestOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routerOf("usual"))
	w.pings.set(100)
	w.set("alpha_load: 0.99", "alpha_load: 1")
	if err := w.autorate().Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.limits(); got != (link.Rates{Down: 47_500_000, Up: 9 * unit.Mbps}) {
		t.Errorf("limits are %v after one cut", got)
	}
	if n := w.router.Writes(attDown); n != 1 {
		t.Errorf("%d writes", n)
	}
	if w.savedWAN().Controller.Sides.Down.Rate != 47_500_000 || w.feed().Rates.Down != 47_500_000 {
		t.Error("the run left no record")
	}
	w.pings.set(0)
	if err := w.autorate().Once(t.Context()); err == nil || !strings.Contains(err.Error(), "no reflector answered") {
		t.Errorf("a run without an answer: %v", err)
	}
	w.router.Refuse()
	w.pings.set(100)
	if err := w.autorate().Once(t.Context()); err == nil {
		t.Error("a run without a router succeeded")
	}
	w.sane()
}

// What probe.Open refuses is an error, not a pointer to nothing.
func TestHandsMakeNoNilPinger(t *testing.T) {
	if p, err := (Hands{}).probe(probe.Options{}); err == nil || p != nil {
		t.Errorf("%v, %v", p, err)
	}
}

// What somebody set while the connection was gone is read, logged and counted before it is overwritten, even when the
// first command after it is a cut.
func TestAForeignChangeDuringACut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	cfg, ds := w.loadWAN()
	if cfg == nil {
		t.Fatal(ds)
	}
	hand, err := DialShaper(cfg, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hand.Close() })
	p := &pure{t: t, now: unit.Time(time.Hour), rtt: 28}
	if p.wan, err = NewWAN(WANOptionsOf(cfg, false), p, p.now, nil); err != nil {
		t.Fatal(err)
	}
	cycle := func() (ops []actuate.Op) {
		p.now = p.now.Add(50 * time.Millisecond)
		o := p.wan.Tick(p.now)
		for p.notes = append(p.notes, o.Notes...); o.Op != nil; p.notes = append(p.notes, o.Notes...) {
			ops = append(ops, *o.Op)
			r := Exchange(t.Context(), hand, *o.Op)
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			r.Report.At = p.now
			o = p.wan.Deliver(p.now, r)
		}
		return ops
	}
	cycle()
	w.router.Disconnect()
	client := hand.(rosShaper).Client
	for client.Connected() {
		runtime.Gosched()
	}
	if err := w.router.ForeignSet(attDown, 40*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	p.rtt = 100
	ops := cycle()
	for n := 0; n < 5 && len(ops) == 0; n++ {
		ops = cycle()
	}
	if len(ops) != 2 || !ops[0].Write || !ops[1].Write {
		t.Fatalf("the cut was %+v", ops)
	}
	if p.noted("rate_differs") != 1 || p.wan.out.Status.Differences != 1 {
		t.Errorf("%d differences, notes %v", p.wan.out.Status.Differences, p.notes)
	}
	if got := w.limits(); got != p.wan.Decision().Rates {
		t.Errorf("limits are %v, decided %v", got, p.wan.Decision().Rates)
	}
	if n := p.wan.out.Status.Writes24h; n != 1 {
		t.Errorf("%d writes are counted for the one that was sent", n)
	}
}
