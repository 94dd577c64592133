package daemon

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// steerText is the cable line's steering without an alternate check.
const steerText = `wan_name: steering
topology: {primary_wan: Spectrum, alternate_wan: ATT}
router: {host: 127.0.0.1, port: PORT, user: wanctl, LOGIN}
mangle_rule: {comment: "ADAPTIVE: Steer latency-sensitive to ATT"}
cake_state_sources: {primary: "DIR/feed.json"}
measurement: {interval_seconds: 2, ping_host: 192.0.2.1, ping_count: 1}
cake_queues: {primary_download: WAN-Download-Spectrum}
thresholds: {green_samples_required: 3}
`

func (w *world) steerText() string {
	login := strings.ReplaceAll(strings.ReplaceAll(w.login(), "\n ", ","), "${ROUTER_PASSWORD}", `"${ROUTER_PASSWORD}"`)
	return strings.NewReplacer("PORT", strconv.Itoa(w.port), "LOGIN", login, "DIR", w.dir).Replace(steerText)
}

func (w *world) loadSteer() (*config.Steering, config.Diagnostics) {
	f, ds := w.parse(w.text)
	if f == nil {
		return nil, ds
	}
	f.Steering.Timeouts.Router = w.timeout
	return f.Steering, ds
}

// line is an autorate as steering reads it.
type line struct {
	Congested bool
	Err       error
	Silent    bool // steering's own probes have no reply
}

func (l *line) ReadFeed(now unit.Time) (steer.Autorate, error) {
	f := link.Feed{WAN: "Spectrum", Seq: 1, At: now, Period: 50 * time.Millisecond, Measured: true, AnsweredAt: now, Baseline: 24, Warn: 45}
	if l.Congested {
		f.Delta, f.State.Down, f.DownAtFloor = 80, link.Red, true
	}
	return steer.Autorate{Known: l.Err == nil, Fresh: l.Err == nil, Feed: f}, l.Err
}

// Drain makes a line a prober.
type lineProber struct {
	*line
	now func() unit.Time
}

func (p lineProber) Drain(dst []link.Reply) []link.Reply {
	if p.Silent {
		return dst
	}
	rtt := unit.Millis(25)
	if p.Congested {
		rtt = 120
	}
	return append(dst, link.Reply{Sent: p.now().Add(-rtt.Duration()), Received: p.now(), RTT: rtt})
}

// steerBench drives a Steering by hand: its time is virtual, its router is asked over real SSH.
type steerBench struct {
	*world
	line line
	loop *Steering
	// options are the loop's.
	options SteeringOptions
	hand    Switch
	now     unit.Time
	lines   []string
	notes   []link.Note
	ops     []SteerOp
	// Slow is how long the router takes for an operation, on the virtual clock.
	Slow time.Duration
	// Before, when not nil, is called before each operation.
	Before func(SteerOp)
	// pending is the result of the operation under way, which comes at due.
	pending *SteerResult
	due     unit.Time
}

func newSteerBench(t *testing.T, o rosim.Options, dry bool) *steerBench {
	t.Helper()
	return newSteerBenchOf(t, o, dry, "thresholds: {green_samples_required: 3}\n")
}

// newSteerBenchOf is one with more of a configuration.
func newSteerBenchOf(t *testing.T, o rosim.Options, dry bool, more string) *steerBench {
	t.Helper()
	return newSteerBenchWith(t, o, dry, func(text string) string {
		return strings.Replace(text, "thresholds: {green_samples_required: 3}\n", more, 1)
	})
}

// newSteerBenchWith is one whose configuration is edited.
func newSteerBenchWith(t *testing.T, o rosim.Options, dry bool, edit func(string) string) *steerBench {
	t.Helper()
	w := newWorld(t, o)
	w.text = edit(w.steerText())
	cfg, ds := w.loadSteer()
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	b := &steerBench{world: w, now: unit.Time(time.Hour)}
	clock := &handClock{}
	hand, err := DialSwitch(cfg, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hand.Close() })
	b.hand = hand
	prober := lineProber{&b.line, func() unit.Time { return b.now }}
	b.options = SteeringOptionsOf(cfg, dry)
	if b.loop, err = NewSteering(b.options, Sight{Prober: prober, Feed: &b.line}, nil, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// cycle plays one period: all events that fall into it.
func (b *steerBench) cycle() {
	next := b.now.Add(2 * time.Second)
	o := b.loop.Tick(b.now)
	for {
		b.notes = append(b.notes, o.Notes...)
		if o.Line != "" {
			b.lines = append(b.lines, o.Line)
		}
		if o.Op != nil {
			if b.pending != nil {
				b.t.Fatal("two operations at once")
			}
			b.ops = append(b.ops, *o.Op)
			if b.Before != nil {
				b.Before(*o.Op)
			}
			ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
			r := SteerExchange(ctx, b.hand, *o.Op, func() unit.Time { return b.now })
			cancel()
			b.pending, b.due = &r, b.now.Add(b.Slow+time.Millisecond)
		}
		wake := o.Wake
		switch {
		case b.pending != nil && (wake == 0 || b.due <= wake) && b.due < next:
			b.now = b.due
			r := *b.pending
			b.pending = nil
			o = b.loop.Deliver(b.now, r)
		case wake != 0 && wake < next:
			b.now = wake
			o = b.loop.Wake(b.now)
		default:
			b.now = next
			return
		}
	}
}

func (b *steerBench) cycles(n int) {
	for range n {
		b.cycle()
	}
}

func (b *steerBench) enabled() bool {
	b.t.Helper()
	on, ok := b.router.RuleEnabled(rosim.SteeringComment)
	if !ok {
		b.t.Fatal("the rule is gone")
	}
	return on
}

// noted counts the notes with a text.
func (b *steerBench) noted(text string) (n int) {
	for _, note := range b.notes {
		if strings.Contains(note.Text, text) {
			n++
		}
	}
	return n
}

func TestSteersOnceAndBack(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		for _, slow := range []time.Duration{0, 900 * time.Millisecond, 1300 * time.Millisecond, 3 * time.Second} {
			t.Run(dialect+"/"+slow.String(), func(t *testing.T) {
				t.Parallel()
				b := newSteerBench(t, routerOf(dialect), false)
				b.Slow = slow
				b.cycles(5)
				if want := "[SPECTRUM_GOOD] rtt=1.0ms ewma=1.0ms drops=0 q=0 | congestion=GREEN"; slow < time.Second && b.lines[4] != want {
					t.Errorf("the line is %q, want %q", b.lines[4], want)
				}
				b.line.Congested = true
				b.cycles(18)
				if !b.enabled() || b.loop.Decision().State != steer.Degraded {
					t.Fatalf("after 36 s of congestion the rule is %t, the state %v\n%q\n%v", b.enabled(), b.loop.Decision().State, b.lines, b.ops)
				}
				b.line.Congested = false
				b.cycles(25)
				if b.enabled() || b.loop.Decision().State != steer.Good {
					t.Fatalf("after 50 s of health the rule is %t, the state %v\n%q", b.enabled(), b.loop.Decision().State, b.lines)
				}
				if n := b.router.Writes(rosim.SteeringComment); n != 2 {
					t.Errorf("the rule was written %d times, want once each way", n)
				}
				if len(b.lines) != 48 {
					t.Errorf("%d lines in 48 cycles", len(b.lines))
				}
			})
		}
	}
}

// A rule that cannot be set stays as it is, is not tried in every cycle, is told once, and the cycles go on.
func TestSteeringRouterFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		begin, end func(*world) error
		says       string
	}{
		{
			"two rules with the comment",
			func(w *world) error { return w.router.DuplicateRule(rosim.SteeringComment) },
			func(w *world) error {
				if err := w.router.RemoveRules(rosim.SteeringComment); err != nil {
					return err
				}
				return w.router.AddRule(rosim.Rule{
					Chain: "prerouting", Action: "mark-connection", Comment: rosim.SteeringComment, Disabled: true,
					Matchers: map[string]string{"connection-state": "new", "new-connection-mark": "c-att"},
				})
			},
			"2 of the kind mangle rule",
		},
		{
			"permission denied",
			func(w *world) error { return w.router.SetReadOnly(rosim.DefaultUser, true) },
			func(w *world) error { return w.router.SetReadOnly(rosim.DefaultUser, false) },
			"permission",
		},
		{
			"a rule of another form",
			func(w *world) error {
				if err := w.router.RemoveRules(rosim.SteeringComment); err != nil {
					return err
				}
				return w.router.AddRule(rosim.Rule{
					Chain: "prerouting", Action: "mark-routing", Comment: rosim.SteeringComment, Disabled: true,
					Matchers: map[string]string{"connection-state": "new", "new-routing-mark": "to_ATT"},
				})
			},
			func(w *world) error {
				if err := w.router.RemoveRules(rosim.SteeringComment); err != nil {
					return err
				}
				return w.router.AddRule(rosim.Rule{
					Chain: "prerouting", Action: "mark-connection", Comment: rosim.SteeringComment, Disabled: true,
					Matchers: map[string]string{"connection-state": "new", "new-connection-mark": "c-att"},
				})
			},
			"allow_legacy_rule",
		},
		{
			"unreachable",
			func(w *world) error { w.router.Refuse(); return nil },
			func(w *world) error { return w.router.Return() },
			"unreachable",
		},
	} {
		for _, dialect := range []string{"usual", "reflect", "zero-silent"} {
			t.Run(tt.name+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				b := newSteerBench(t, routerOf(dialect), false)
				b.cycles(3)
				if err := tt.begin(b.world); err != nil {
					t.Fatal(err)
				}
				b.line.Congested = true
				from := len(b.ops)
				b.cycles(60) // two minutes
				if on, _ := b.router.RuleEnabled(rosim.SteeringComment); on {
					t.Error("the rule was enabled")
				}
				sets := 0
				for _, op := range b.ops[from:] {
					if op.Kind == OpSetRule {
						sets++
					}
				}
				if sets > 10 {
					t.Errorf("%d tries in two minutes", sets)
				}
				if n := b.noted(tt.says); n < 1 || n > 3 {
					t.Errorf("%q was noted %d times: %v", tt.says, n, b.notes)
				}
				if len(b.lines) != 63 || b.loop.Decision().State != steer.Good {
					t.Errorf("%d lines in 63 cycles, state %v", len(b.lines), b.loop.Decision().State)
				}
				if err := tt.end(b.world); err != nil {
					t.Fatal(err)
				}
				b.cycles(45) // at most a minute until the next try
				if !b.enabled() || b.loop.Decision().State != steer.Degraded {
					t.Errorf("when the fault is over the rule is %t, the state %v; %v", b.enabled(), b.loop.Decision().State, b.notes)
				}
			})
		}
	}
}

// A queue that cannot be read costs its vote and nothing else: the rule is set all the same.
func TestSteeringWithoutItsQueue(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			b := newSteerBench(t, routerOf(dialect), false)
			if err := b.router.RenameQueue("WAN-Download-Spectrum", "other"); err != nil {
				t.Fatal(err)
			}
			b.cycles(30)
			reads := 0
			for _, op := range b.ops {
				if op.Kind == OpReadQueue {
					reads++
				}
			}
			if reads > 10 {
				t.Errorf("%d tries to read it in a minute", reads)
			}
			b.line.Congested = true
			b.cycles(12)
			if !b.enabled() || b.loop.Decision().State != steer.Degraded {
				t.Errorf("the rule is %t, the state %v\n%v", b.enabled(), b.loop.Decision().State, b.ops)
			}
			if len(b.lines) != 42 {
				t.Errorf("%d lines in 42 cycles", len(b.lines))
			}
		})
	}
}

// A dry run reads the rule and looks at its form, says once per change what it would do, goes on as if that had been done,
// and neither writes nor stores it.
func TestSteeringDryRun(t *testing.T) {
	t.Parallel()
	b := newSteerBench(t, rosim.DefaultOptions(), true)
	b.line.Congested = true
	b.cycles(60)
	if n := b.noted("dry run: would enable the steering rule"); n != 1 {
		t.Errorf("told %d times: %v", n, b.notes)
	}
	if want := "[SPECTRUM_DEGRADED]"; !strings.HasPrefix(b.lines[59], want) || !strings.HasSuffix(b.lines[59], "congestion=RED") {
		t.Errorf("the line is %q", b.lines[59])
	}
	if s := b.loop.State(b.now, "boot", time.Time{}).Machine; s.State != steer.Good || len(s.History) != 0 {
		t.Errorf("a dry run stores the state %v, %v", s.State, s.History)
	}
	reads := 0
	for _, op := range b.ops {
		if op.Kind == OpReadRule {
			reads++
		}
	}
	if reads < 2 { // at start, and each minute
		t.Errorf("the rule was read %d times in two minutes", reads)
	}
	b.line.Congested = false
	b.cycles(30)
	if n := b.noted("dry run: would disable the steering rule"); n != 1 || b.loop.Decision().State != steer.Good {
		t.Errorf("the way back was told %d times, the state is %v: %v", n, b.loop.Decision().State, b.notes)
	}
	// Somebody else's change is seen, whatever was pretended.
	if err := b.router.ForeignRule(rosim.SteeringComment, true); err != nil {
		t.Fatal(err)
	}
	b.cycles(60)
	if n := b.noted("Somebody else set the steering rule"); n != 1 {
		t.Errorf("another's change was told %d times: %v", n, b.notes)
	}
	if b.router.Writes(rosim.SteeringComment) != 0 || b.noted("withdrawn") != 0 {
		t.Errorf("a dry run wrote the rule %d times: %v", b.router.Writes(rosim.SteeringComment), b.notes)
	}
	for _, c := range b.router.Commands() {
		if c.Wrote {
			t.Errorf("wrote: %s", c.Line)
		}
	}
}

// A rule that would be refused is refused in a dry run, too.
func TestSteeringDryRunChecksTheForm(t *testing.T) {
	t.Parallel()
	b := newSteerBench(t, rosim.DefaultOptions(), true)
	if err := b.router.RemoveRules(rosim.SteeringComment); err != nil {
		t.Fatal(err)
	}
	if err := b.router.AddRule(rosim.Rule{
		Chain: "prerouting", Action: "mark-routing", Comment: rosim.SteeringComment, Disabled: true,
		Matchers: map[string]string{"connection-state": "new", "new-routing-mark": "to_ATT"},
	}); err != nil {
		t.Fatal(err)
	}
	b.line.Congested = true
	b.cycles(30)
	b.line.Congested = false
	b.cycles(30)
	if b.noted("allow_legacy_rule") != 1 || b.noted("would enable") != 0 || b.noted("withdrawn") != 0 {
		t.Errorf("%v", b.notes)
	}
	if b.loop.Decision().State != steer.Good {
		t.Errorf("the state is %v", b.loop.Decision().State)
	}
}

// A cycle's decision waits for its counters, but never longer than half an interval or a second.
func TestSteeringWaitsForItsCounters(t *testing.T) {
	for _, tt := range []struct{ interval, wait time.Duration }{
		{2 * time.Second, time.Second}, {500 * time.Millisecond, 250 * time.Millisecond}, {10 * time.Second, time.Second},
	} {
		cfg := steer.Default()
		cfg.Primary, cfg.Interval, cfg.Alternates[0].Name = "Spectrum", tt.interval, "ATT"
		now := unit.Time(time.Hour)
		l := &line{}
		s, err := NewSteering(SteeringOptions{Name: "steering", Steer: cfg, PingCount: 1, ReadQueue: true},
			Sight{Prober: lineProber{l, func() unit.Time { return now }}, Feed: l}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		o := s.Tick(now)
		if o.Op == nil || o.Op.Kind != OpReadQueue || o.Line != "" || o.Wake != now.Add(tt.wait) {
			t.Fatalf("%v: the cycle began with %+v", tt.interval, o)
		}
		now = now.Add(tt.wait - 1)
		if early := s.Wake(now); early.Line != "" || early.Wake != now+1 {
			t.Errorf("%v: woken early it did %+v", tt.interval, early)
		}
		now++
		if o := s.Wake(now); o.Line == "" {
			t.Errorf("%v: no decision after %v", tt.interval, tt.wait)
		}
		if o := s.Deliver(now+1, SteerResult{Op: *o.Op, At: now}); o.Line != "" {
			t.Errorf("%v: the late counters made a second decision", tt.interval)
		}
		// A loop so late that the next cycle comes before the wait is over makes one decision, not two.
		s.Tick(now.Add(tt.interval))
		if o := s.Tick(now.Add(2 * tt.interval)); strings.Count(o.Line, "congestion") != 1 {
			t.Errorf("%v: the late cycle's line is %q", tt.interval, o.Line)
		}
	}
}

// What keeps the feed from being read is told: at once when it is wrong, after a while when it is not there yet.
func TestAFeedThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newSteerBench(t, rosim.DefaultOptions(), false)
	b.line.Err = fs.ErrNotExist
	b.cycles(2)
	if n := b.noted("cake_state_sources"); n != 0 {
		t.Errorf("told %d times while autorate may be starting", n)
	}
	b.cycles(20)
	if n := b.noted("cake_state_sources"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if line := b.lines[len(b.lines)-1]; !strings.HasSuffix(line, "congestion=UNKNOWN") {
		t.Errorf("without a baseline the line is %q", line)
	}
	b.line.Err = errors.New("it is the feed of ATT")
	b.cycles(40)
	if n := b.noted("it is the feed of ATT"); n != 1 {
		t.Errorf("another cause was told %d times", n)
	}
	b.line.Err = nil
	b.cycles(2)
	if b.noted("can be read again") != 1 || !strings.HasSuffix(b.lines[len(b.lines)-1], "congestion=GREEN") {
		t.Errorf("%v\n%q", b.notes, b.lines[len(b.lines)-1])
	}
}

// The dry run of steering_v3 says once per change what it would do, and the counters stay in charge.
func TestSteeringV3DryRunSaysWhatItWould(t *testing.T) {
	t.Parallel()
	b := newSteerBenchOf(t, rosim.DefaultOptions(), false, `steering_v3:
  enabled: true
  confidence: {steer_threshold: 60, sustain_duration_sec: 4, recovery_sustain_sec: 4}
  timers: {hold_down_duration_sec: 10}
  dry_run: {enabled: true}
thresholds: {red_samples_required: 100}
`)
	b.cycles(3)
	b.line.Congested = true
	b.cycles(30)
	if n := b.noted("would steer new connections to ATT"); n != 1 {
		t.Errorf("told %d times in a minute of congestion: %v", n, b.notes)
	}
	if b.enabled() || b.router.Writes(rosim.SteeringComment) != 0 {
		t.Error("a dry run of steering_v3 moved the rule")
	}
	b.line.Congested = false
	b.cycles(30)
	if n := b.noted("would steer back to Spectrum"); n != 1 {
		t.Errorf("the way back was told %d times: %v", n, b.notes)
	}
	for _, n := range b.notes {
		if strings.Contains(n.Text, "would steer") && n.Level != link.Info {
			t.Errorf("%q is at the level %v", n.Text, n.Level)
		}
	}
}
