package daemon

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/routeros"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// steerWorld is a world whose tasks steer: probes and feed follow congested.
type steerWorld struct {
	*world
	congested atomic.Bool
}

func newSteerWorld(t *testing.T) *steerWorld {
	t.Helper()
	s := &steerWorld{world: newWorld(t, rosim.DefaultOptions())}
	s.text = s.steerText()
	s.text = strings.Replace(s.text, "interval_seconds: 2", "interval_seconds: 0.5", 1)
	s.clock = fastClock{8}
	s.pings.Clock = s.clock
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	var seq uint64
	s.pings.Pattern = func(int64) unit.Millis {
		seq++                                             // autorate's cycle, as often as steering looks
		now := s.clock.Now().Add(-500 * time.Millisecond) // before the cycle that reads it
		f := link.Feed{WAN: "Spectrum", Seq: seq, At: now, Period: 3 * time.Second, Measured: true, AnsweredAt: now, Baseline: 24, Warn: 45}
		rtt := unit.Millis(25)
		if s.congested.Load() {
			f.Delta, f.State.Down, f.DownAtFloor, rtt = 80, link.Red, true, 120
		}
		var b strings.Builder
		if err := state.WriteFeed(&b, f, boot, s.clock.Wall()); err != nil {
			t.Error(err)
		}
		if err := replaceFile(s.path("feed.json"), []byte(b.String()), false); err != nil {
			t.Error(err)
		}
		return rtt
	}
	s.hands.Probe = func(probe.Options) (Pinger, error) { return s.pings, nil }
	return s
}

func (s *steerWorld) task() *Steer {
	s.t.Helper()
	task, err := NewSteer(s.common(), "steer.yaml", s.loadSteer)
	if err != nil {
		s.t.Fatal(err)
	}
	return task
}

func (s *steerWorld) enabled() bool {
	on, _ := s.router.RuleEnabled(rosim.SteeringComment)
	return on
}

func (s *steerWorld) saved() state.Steering {
	s.t.Helper()
	cfg, _ := s.loadSteer()
	var st state.Steering
	if err := readFile(cfg.StateFile, func(r io.Reader) (err error) {
		st, err = state.ReadSteering(r, "Spectrum")
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// The life of a steering process: it steers, hands over without a write, comes home at its stop, and does not steer again
// at the next start because it once did.
func TestSteeringLife(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	run := start(t, s.task())
	s.congested.Store(true)
	s.pings.until(t, "steered", func() bool { return s.enabled() && s.log.has("[SPECTRUM_DEGRADED]") })

	boot, _ := BootID()
	if err := WriteHandover(s.dir, s.task().String(), boot, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	run.mustEnd()
	if !s.enabled() || s.saved().Machine.State != steer.Degraded {
		t.Fatalf("a hand-over left the rule at %t, the state %v", s.enabled(), s.saved().Machine.State)
	}
	writes := s.router.Writes(rosim.SteeringComment)
	f, _ := s.parse(s.text)
	rel := Releaser{Clock: s.clock, Dirs: s.dirs(), Hands: s.hands, IfNotHandedOver: true}
	if said, err := rel.Release(f); err != nil || !strings.Contains(said, "handed over") {
		t.Errorf("a release after the hand-over: %q, %v", said, err)
	}
	run = start(t, s.task())
	s.pings.cycles(t, 4)
	if n := s.router.Writes(rosim.SteeringComment); n != writes || !s.enabled() {
		t.Errorf("the successor wrote the rule %d times, it is %t", n-writes, s.enabled())
	}

	// A stop with the router gone fails and says so; the state is what it is.
	run.mustEnd()
	if s.enabled() || s.saved().Machine.State != steer.Good {
		t.Errorf("a stop left the rule at %t, the state %v", s.enabled(), s.saved().Machine.State)
	}
	s.congested.Store(false)
	writes = s.router.Writes(rosim.SteeringComment)
	run = start(t, s.task())
	s.pings.cycles(t, 3)
	run.mustEnd()
	if _, err := (Releaser{Clock: s.clock, Dirs: s.dirs(), Hands: s.hands}).Release(f); err != nil {
		t.Error(err)
	}
	if n := s.router.Writes(rosim.SteeringComment); n != writes {
		t.Errorf("a rule that was disabled was disabled %d times more", n-writes)
	}
	for _, c := range s.router.RuleHistory()[2:] {
		if c.To {
			t.Error("a start after a stop enabled the rule")
		}
	}
}

func TestSteeringReset(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	s.congested.Store(true)
	run := start(t, s.task())
	s.pings.until(t, "steered", s.enabled)
	if err := s.task().Reset(t.Context()); err == nil {
		t.Error("a reset of a running steering was done")
	}
	s.pings.until(t, "known to be steered", func() bool { return s.log.has("[SPECTRUM_DEGRADED]") })
	s.router.Refuse()
	if err := run.end(); err == nil {
		t.Error("a stop that left the rule enabled succeeded")
	}
	cfg, _ := s.loadSteer()
	if err := s.router.Return(); err != nil {
		t.Fatal(err)
	}
	if err := s.router.SetReadOnly(rosim.DefaultUser, true); err != nil {
		t.Fatal(err)
	}
	err := s.task().Reset(t.Context())
	var e *routeros.Error
	if !errors.As(err, &e) || e.Kind != routeros.Permission {
		t.Errorf("a reset that may not write returned %v", err)
	}
	if !s.enabled() || s.saved().Machine.State != steer.Degraded {
		t.Errorf("a reset that failed left the rule at %t, the state %v", s.enabled(), s.saved().Machine.State)
	}
	if err := s.router.SetReadOnly(rosim.DefaultUser, false); err != nil {
		t.Fatal(err)
	}
	s.hands.Probe = func(probe.Options) (Pinger, error) { return nil, errors.New("no probes for a reset") }
	if err := s.task().Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.enabled() {
		t.Error("the rule is enabled after a reset")
	}
	if _, err := os.Stat(cfg.StateFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state file after a reset: %v", err)
	}
}

// Single runs by a timer carry streaks and state from one to the next and move the rule.
func TestSteeringOnce(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	s.congested.Store(true)
	once := func(n int) {
		t.Helper()
		for range n {
			s.pings.Pattern(0) // autorate's newest
			if err := s.task().Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	clock := &handClock{}
	clock.at.Store(int64(time.Hour))
	s.clock, s.pings.Clock = clock, clock
	for range 12 {
		clock.at.Add(int64(2 * time.Second))
		once(1)
	}
	if !s.enabled() || s.saved().Machine.State != steer.Degraded {
		t.Fatalf("after 24 s of congestion the rule is %t, the state %v\n%s", s.enabled(), s.saved().Machine.State, s.log)
	}
	s.congested.Store(false)
	for range 20 {
		clock.at.Add(int64(2 * time.Second))
		once(1)
	}
	if s.enabled() || s.saved().Machine.State != steer.Good {
		t.Fatalf("after 40 s of health the rule is %t, the state %v\n%s", s.enabled(), s.saved().Machine.State, s.log)
	}
	if n := s.router.Writes(rosim.SteeringComment); n != 2 {
		t.Errorf("%d writes", n)
	}
}

// A release after a crash disables the rule and stores it.
func TestReleaseSteering(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	if err := s.router.ForeignRule(rosim.SteeringComment, true); err != nil {
		t.Fatal(err)
	}
	cfg, _ := s.loadSteer()
	if err := saveState(cfg.StateFile, func(w io.Writer) error {
		return state.WriteSteering(w, state.Steering{Name: "steering", Primary: "Spectrum", Machine: steer.Snapshot{State: steer.Degraded}})
	}); err != nil {
		t.Fatal(err)
	}
	f, _ := s.parse(s.text)
	rel := Releaser{Clock: s.clock, Dirs: s.dirs(), Hands: s.hands, IfNotHandedOver: true}
	said, err := rel.Release(f)
	if err != nil || !strings.Contains(said, "is disabled") {
		t.Fatalf("%q, %v", said, err)
	}
	if s.enabled() || s.saved().Machine.State != steer.Good {
		t.Errorf("the rule is %t, the state %v", s.enabled(), s.saved().Machine.State)
	}
	if err := s.router.RemoveRules(rosim.SteeringComment); err != nil {
		t.Fatal(err)
	}
	if _, err := rel.Release(f); err == nil {
		t.Error("a release without the rule succeeded")
	}
}

func TestSteeringReload(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	task := s.task()
	run := start(t, task)
	good := s.text
	s.text = "wan_name: ["
	if err := task.Reload(t.Context()); err == nil {
		t.Error("a broken file was taken over")
	}
	s.text = strings.Replace(good, "alternate_wan: ATT", "alternate_wan: Other", 1)
	if err := task.Reload(t.Context()); err == nil {
		t.Error("another alternate was taken over")
	}
	s.text = strings.Replace(good, "ping_host: 192.0.2.1", "ping_host: 192.0.2.9", 1)
	s.text = strings.Replace(s.text, "user: wanctl", "user: operator", 1)
	if err := task.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.pings.until(t, "the unknown user's refusal", func() bool { return s.log.has("not trying again until a reload") })
	s.text = good
	if err := task.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.congested.Store(true)
	s.pings.until(t, "steered", s.enabled)
	run.mustEnd()
	if n := s.pings.runs.Load(); n != 0 {
		t.Errorf("%d pingers run after the end", n)
	}
	if s.enabled() {
		t.Error("a stop left the rule enabled")
	}
}

// Reloads while connections go elsewhere, those that are refused and those that change probes, thresholds, the way to the router
// or the period: the state stays, and the rule is written neither then nor in the cycles after it.
func TestReloadWhileSteered(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	task := s.task()
	run := start(t, task)
	s.congested.Store(true)
	steered := func() bool { return s.enabled() && task.status.Load().Steer.State == "SPECTRUM_DEGRADED" }
	s.pings.until(t, "steered", steered)
	writes, good := s.router.Writes(rosim.SteeringComment), s.text
	since := task.status.Load().Steer.Transitions
	for _, c := range []struct {
		name, old, to string
		refused       string
	}{
		{"broken", "wan_name:", "wan_name: [", "any"},
		{"another alternate", "alternate_wan: ATT", "alternate_wan: Other", "cannot change while running"},
		{"another rule", rosim.SteeringComment, "another rule", "comments of the rules cannot change"},
		{"another state", "wan_name:", "state: {file: /nowhere/else.json}\nwan_name:", "state.file"},
		{"probes, thresholds and period", "thresholds: {green_samples_required: 3}", "thresholds: {green_samples_required: 2, red_rtt_ms: 20}", ""},
		{"the router anew", "wan_name:", "allow_legacy_rule: true\nlogging: {max_bytes: 100000}\nwan_name:", ""},
		{"the vote by confidence, dry", "wan_name:", "steering_v3: {enabled: true, dry_run: {enabled: true}}\nwan_name:", ""},
	} {
		s.text = strings.Replace(good, c.old, c.to, 1)
		if c.old != "" && s.text == good {
			t.Fatalf("%s: the configuration has no %q", c.name, c.old)
		}
		if c.refused == "" {
			s.text = strings.NewReplacer("ping_host: 192.0.2.1", "ping_host: 192.0.2.9", "interval_seconds: 0.5", "interval_seconds: 0.6").Replace(s.text)
		}
		err := task.Reload(t.Context())
		if (err != nil) != (c.refused != "") || err != nil && c.name != "broken" && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v", c.name, err)
		}
		cycles := int64(1)
		if err == nil {
			cycles = 3 // a new way to the router reads the rule first
		}
		s.pings.cycles(t, cycles)
		s.text = good
		now := task.status.Load().Steer
		if !steered() || now.State != "SPECTRUM_DEGRADED" || now.Rule != RuleEnabled || len(now.Transitions) != len(since) || now.Transitions[0].Why != since[0].Why {
			t.Errorf("%s: %+v", c.name, now)
		}
		if n := s.router.Writes(rosim.SteeringComment); n != writes {
			t.Errorf("%s: the rule was written %d times; log:\n%s", c.name, n-writes, s.log)
		}
		if got := s.saved(); got.Machine.State != steer.Degraded {
			t.Errorf("%s: the state file has %v", c.name, got.Machine.State)
		}
	}
	// It goes on from there: the line recovers, and the rule is disabled, once.
	s.text = strings.Replace(good, "green_samples_required: 3", "green_samples_required: 1", 1)
	if err := task.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.congested.Store(false)
	s.pings.until(t, "back", func() bool { return !s.enabled() && task.status.Load().Steer.State == "SPECTRUM_GOOD" })
	run.mustEnd()
	if h := s.router.RuleHistory(); len(h) != 2 {
		t.Errorf("the rule was changed %d times: %+v", len(h), h)
	}
}

// A single dry run reads the rule, so that one that would be refused is known before it is needed.
func TestSteeringOnceDry(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	s.dryRun = true
	s.pings.Pattern(0)
	if err := s.task().Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.router.RemoveRules(rosim.SteeringComment); err != nil {
		t.Fatal(err)
	}
	s.pings.Pattern(0)
	var e *routeros.Error
	if err := s.task().Once(t.Context()); !errors.As(err, &e) || e.Kind != routeros.NoSuchItem {
		t.Errorf("without the rule a dry run returned %v", err)
	}
}

// --debug tells per cycle what each signal says, and each operation on the router; the status has an age for each figure.
func TestSteeringDebug(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	c := s.common()
	c.OpenLog = func(name string, files config.Logging) (*Log, error) {
		return OpenLog(LogOptions{Name: name, Files: files, Stderr: s.log, Verbose: true})
	}
	task, err := NewSteer(c, "steer.yaml", s.loadSteer)
	if err != nil {
		t.Fatal(err)
	}
	run := start(t, task)
	for _, want := range []string{
		"[DEBUG] router operation 1: read the queue: ", ": read the rule: enabled false, took ", "[DEBUG] answered ",
		"drops quiet, queue quiet, controller quiet, queue read ", ", rule disabled, read ", ", wanted disabled",
	} {
		s.pings.until(t, want, func() bool { return s.log.has(want) })
	}
	s.pings.cycles(t, 2)
	all, _, err := ReadStatus(s.dir)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	if st := all[0].Steer; st.AgeS < 0 || st.QueueAgeS < 0 || st.RuleAgeS < 0 {
		t.Errorf("ages are %v, %v, %v", st.AgeS, st.QueueAgeS, st.RuleAgeS)
	}
	run.mustEnd()
}
