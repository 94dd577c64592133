package daemon

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

const (
	lteRule = "ADAPTIVE: Steer latency-sensitive to LTE"
	lteText = "thresholds: {green_samples_required: 3}\nalternate: {ping_source_ip: 10.0.0.2}\n" +
		"alternates: {LTE: {comment: \"" + lteRule + "\", ping_source_ip: 10.0.0.3}}\n"
)

// ruleTo is a rule of the safe form for another line.
func ruleTo(comment, mark string) rosim.Rule {
	return rosim.Rule{
		Chain: "prerouting", Action: "mark-connection", Comment: comment, Disabled: true,
		Matchers: map[string]string{"connection-state": "new", "new-connection-mark": mark},
	}
}

// severalBench is a bench with two alternates, each with its own line and rule. ATT is a bit slower.
type severalBench struct {
	*steerBench
	att, lte *slowLine
}

// slowLine is an alternate as its probes show it.
type slowLine struct {
	rtt unit.Millis // 0 is silent
	now func() unit.Time
}

func (l *slowLine) Drain(dst []link.Reply) []link.Reply {
	if l.rtt == 0 {
		return dst
	}
	return append(dst, link.Reply{Sent: l.now().Add(-l.rtt.Duration()), Received: l.now(), RTT: l.rtt})
}

// ReadFeed has the baseline, and nothing else that counts.
func (l *slowLine) ReadFeed(now unit.Time) (steer.Autorate, error) {
	return steer.Autorate{Known: true, Fresh: true, Feed: link.Feed{Seq: 1, At: now, Period: time.Second, Baseline: 20}}, nil
}

func newSeveralBench(t *testing.T, o rosim.Options, dry, withRule bool) *severalBench {
	t.Helper()
	b := &severalBench{steerBench: newSteerBenchOf(t, o, dry, lteText)}
	if withRule {
		if err := b.router.AddRule(ruleTo(lteRule, "c-lte")); err != nil {
			t.Fatal(err)
		}
	}
	now := func() unit.Time { return b.now }
	b.att, b.lte = &slowLine{25, now}, &slowLine{20, now}
	b.loop.SetSights(Sight{Prober: lineProber{&b.line, now}, Feed: &b.line}, []Sight{{Prober: b.att, Feed: b.att}, {Prober: b.lte, Feed: b.lte}})
	return b
}

// on says which of the two rules are enabled on the router.
func (b *severalBench) on() (att, lte bool) {
	att, _ = b.router.RuleEnabled(rosim.SteeringComment)
	lte, _ = b.router.RuleEnabled(lteRule)
	return att, lte
}

// neverTwo holds every change of the rules to what steering promises.
func (b *severalBench) neverTwo() {
	b.t.Helper()
	is := map[string]bool{}
	for _, c := range b.router.RuleHistory() {
		if is[c.Comment] = c.To; is[rosim.SteeringComment] && is[lteRule] {
			b.t.Errorf("both rules were enabled: %+v", b.router.RuleHistory())
		}
	}
}

// Of two other lines the better one gets the connections; when it turns RED they come home, and the second one gets them.
func TestSteersToTheBestOfTwo(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		for _, slow := range []time.Duration{0, 900 * time.Millisecond} {
			t.Run(dialect+"/"+slow.String(), func(t *testing.T) {
				t.Parallel()
				b := newSeveralBench(t, routerOf(dialect), false, true)
				b.Slow = slow
				b.cycles(5)
				b.line.Congested = true
				b.cycles(18)
				if att, lte := b.on(); att || !lte || b.loop.Decision().To != "LTE" {
					t.Fatalf("after 36 s of congestion: ATT %t, LTE %t\n%q", att, lte, b.lines)
				}
				if last := b.lines[len(b.lines)-1]; !strings.HasSuffix(last, "congestion=RED to=LTE") {
					t.Errorf("the line is %q", last)
				}
				b.lte.rtt = 90
				b.cycles(20)
				if att, lte := b.on(); !att || lte || b.loop.Decision().To != "ATT" {
					t.Errorf("with LTE congested: ATT %t, LTE %t\n%q", att, lte, b.lines)
				}
				b.line.Congested = false
				b.cycles(25)
				if att, lte := b.on(); att || lte || b.loop.Decision().State != steer.Good {
					t.Errorf("after 50 s of health: ATT %t, LTE %t\n%q", att, lte, b.lines)
				}
				b.neverTwo()
				if n := b.router.Writes(rosim.SteeringComment) + b.router.Writes(lteRule); n != 4 {
					t.Errorf("%d writes, want each rule once each way", n)
				}
			})
		}
	}
}

// A line whose rule is not there, or is of another form, is left out, and the other one is used; two rules with one comment
// could both be enabled, so nothing is steered.
func TestSteeringWithABrokenRule(t *testing.T) {
	t.Parallel()
	legacy := ruleTo(lteRule, "")
	legacy.Action, legacy.Matchers = "mark-routing", map[string]string{"connection-state": "new", "new-routing-mark": "to_LTE"}
	for name, c := range map[string]struct {
		rules []rosim.Rule
		says  string
		att   bool
	}{
		"not there":         {nil, "LTE", true},
		"of another form":   {[]rosim.Rule{legacy}, "allow_legacy_rule", true},
		"two with the name": {[]rosim.Rule{ruleTo(lteRule, "c-lte"), ruleTo(lteRule, "c-lte")}, "2 of the kind mangle rule", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSeveralBench(t, rosim.DefaultOptions(), false, false)
			for _, r := range c.rules {
				if err := b.router.AddRule(r); err != nil {
					t.Fatal(err)
				}
			}
			b.line.Congested = true
			b.cycles(40)
			if att, lte := b.on(); att != c.att || lte {
				t.Errorf("ATT %t, LTE %t: %v", att, lte, b.notes)
			}
			if n := b.noted(c.says); n < 1 || n > 3 {
				t.Errorf("%q was noted %d times: %v", c.says, n, b.notes)
			}
			if len(c.rules) == 1 && b.loop.Decision().Reason.Alternates[1].Verdict != steer.Barred {
				t.Errorf("the verdict is %+v", b.loop.Decision().Reason.Alternates[1])
			}
			b.neverTwo()
		})
	}
}

// Somebody else's hand on the other line's rule is seen within a minute, and undone.
func TestSteeringCorrectsAnotherRule(t *testing.T) {
	t.Parallel()
	b := newSeveralBench(t, rosim.DefaultOptions(), false, true)
	b.line.Congested = true
	b.cycles(20)
	if err := b.router.ForeignRule(rosim.SteeringComment, true); err != nil {
		t.Fatal(err)
	}
	b.cycles(35)
	if att, lte := b.on(); att || !lte {
		t.Errorf("ATT %t, LTE %t", att, lte)
	}
	if n := b.noted("Somebody else set the steering rule to ATT"); n != 1 {
		t.Errorf("told %d times: %v", n, b.notes)
	}
}

// A dry run says to whom it would steer.
func TestSteeringDryRunOfSeveral(t *testing.T) {
	t.Parallel()
	b := newSeveralBench(t, rosim.DefaultOptions(), true, true)
	b.line.Congested = true
	b.cycles(20)
	b.line.Congested = false
	b.cycles(20)
	for _, want := range []string{"dry run: would enable the steering rule to LTE", "dry run: would disable the steering rule to LTE"} {
		if n := b.noted(want); n != 1 {
			t.Errorf("%q: %d times: %v", want, n, b.notes)
		}
	}
	if len(b.router.RuleHistory()) != 0 {
		t.Errorf("a dry run wrote: %+v", b.router.RuleHistory())
	}
}

// A stop disables every rule, whatever keeps one of them from it.
func TestDisableRules(t *testing.T) {
	t.Parallel()
	b := newSeveralBench(t, rosim.DefaultOptions(), false, true)
	for _, c := range []string{rosim.SteeringComment, lteRule} {
		if err := b.router.ForeignRule(c, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := disableRules(b.hand, 2); err != nil {
		t.Fatal(err)
	}
	if att, lte := b.on(); att || lte {
		t.Errorf("ATT %t, LTE %t", att, lte)
	}
	if err := b.router.ForeignRule(lteRule, true); err != nil {
		t.Fatal(err)
	}
	if err := b.router.RemoveRules(rosim.SteeringComment); err != nil {
		t.Fatal(err)
	}
	if err := disableRules(b.hand, 2); err == nil || !strings.Contains(err.Error(), rosim.SteeringComment) {
		t.Errorf("without the first rule: %v", err)
	}
	if _, lte := b.on(); lte {
		t.Error("the missing first rule kept the second enabled")
	}
}

// Loss is counted over the newest probes that have had time to be answered.
func TestProbeLoss(t *testing.T) {
	s := &sentProbes{}
	at := unit.Time(time.Hour)
	send := func(n int, every time.Duration, answered func(i int) bool) {
		for i := range n {
			s.sent(link.Probe{Sent: at})
			if answered(i) {
				s.heard([]link.Reply{{Sent: at}})
			}
			at = at.Add(every)
		}
	}
	all := func(int) bool { return true }
	send(lossWindow-1, time.Second, all)
	if l := s.loss(at); l.Known {
		t.Errorf("known after %d probes: %+v", lossWindow-1, l)
	}
	send(1, time.Second, all)
	if l := s.loss(at); l != (steer.Loss{Known: true, Probes: 20}) {
		t.Errorf("nothing was lost: %+v", l)
	}
	send(20, time.Second, func(i int) bool { return i%5 != 0 })
	if l := s.loss(at.Add(5 * time.Second)); l != (steer.Loss{Known: true, Probes: 20, Lost: 4}) {
		t.Errorf("every fifth was lost: %+v", l)
	}
	send(3, 0, func(int) bool { return false }) // under way
	if l := s.loss(at.Add(time.Second)); l.Lost != 4 {
		t.Errorf("what is under way counts as lost: %+v", l)
	}
	send(500, time.Second, all)
	if len(s.all) != mostSent || s.loss(at).Lost != 0 {
		t.Errorf("%d probes are kept, %+v", len(s.all), s.loss(at))
	}
	p := heard{lineProber{&line{}, func() unit.Time { return at }}, s}
	s.sent(link.Probe{Sent: at.Add(-unit.Millis(25).Duration())})
	if got := p.Drain(nil); len(got) != 1 || !s.all[len(s.all)-1].answered {
		t.Errorf("a reply on its way was not counted: %+v", got)
	}
}

// The history is put aside when it is full, and read with its older generation.
func TestHistoryRotates(t *testing.T) {
	dir := t.TempDir()
	path := HistoryFile(filepath.Join(dir, "steering_state.json"))
	if path != filepath.Join(dir, "steering_state_history.jsonl") {
		t.Fatalf("the history is %s", path)
	}
	if _, _, err := ReadHistory(path); !os.IsNotExist(err) {
		t.Errorf("no history: %v", err)
	}
	h := history{path: path, head: state.Event{Name: "steering", Primary: "Spectrum"}}
	at := time.Date(2026, 11, 1, 20, 0, 0, 0, time.UTC)
	a := steer.Account{Transition: steer.Transition{To: steer.Degraded, Why: strings.Repeat("x", 2000)}}
	const n = 400
	for i := range n {
		if err := h.tell(at.Add(time.Duration(i)*time.Minute), a); err != nil {
			t.Fatal(err)
		}
	}
	all, bad, err := ReadHistory(path)
	if err != nil || bad != 0 || len(all) < 120 || len(all) >= n || !all[len(all)-1].Time.Equal(at.Add((n-1)*time.Minute)) {
		t.Errorf("%d changes, %d bad, %v", len(all), bad, err)
	}
	for _, p := range []string{path, path + ".1"} {
		if info, err := os.Stat(p); err != nil || info.Size() > historyMax+4096 {
			t.Errorf("%s: %v, %v", p, info, err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{filepath.Join(dir, "link"), filepath.Join(dir, "none", "x")} {
		if err := (&history{path: p}).tell(at, a); err == nil {
			t.Errorf("%s: a change was told", p)
		}
	}
}

// What steering did is in the history: the way out with all that was known, and the way home at the stop.
func TestSteeringHistory(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	cfg, _ := s.loadSteer()
	run := start(t, s.task())
	s.congested.Store(true)
	s.pings.until(t, "steered", func() bool { return s.enabled() && s.log.has("[SPECTRUM_DEGRADED]") })
	run.mustEnd()
	all, bad, err := ReadHistory(HistoryFile(cfg.StateFile))
	if err != nil || bad != 0 || len(all) != 2 {
		t.Fatalf("%+v, %d, %v", all, bad, err)
	}
	out, home := all[0], all[1]
	if out.To != steer.Degraded || out.Target != "ATT" || len(out.Votes) != 4 || out.BootID == "" || out.Primary != "Spectrum" || out.Time.IsZero() {
		t.Errorf("%+v", out)
	}
	if home.To != steer.Good || home.Target != "ATT" || !strings.Contains(home.Why, "end of the process") {
		t.Errorf("%+v", home)
	}
	st := s.saved()
	if len(st.Machine.History) != 2 || st.Schema != state.SteeringSchema {
		t.Errorf("the state has %+v", st.Machine.History)
	}
}

// A state of another site is kept aside and said, and steering starts from the defaults.
func TestSteeringStateOfAnotherSite(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	cfg, _ := s.loadSteer()
	if err := saveState(cfg.StateFile, func(w io.Writer) error {
		return state.WriteSteering(w, state.Steering{Name: "steering", Primary: "Cable", Machine: steer.Snapshot{State: steer.Degraded}})
	}); err != nil {
		t.Fatal(err)
	}
	run := start(t, s.task())
	s.pings.until(t, "told", func() bool { return s.log.has(`it steers away from "Cable", not from "Spectrum"`) })
	run.mustEnd()
	if s.router.Writes(rosim.SteeringComment) != 0 || s.saved().Machine.State != steer.Good {
		t.Errorf("another site's state moved the rule: %v", s.saved().Machine.State)
	}
	if _, err := os.Stat(cfg.StateFile + ".corrupt"); err != nil {
		t.Errorf("it was not kept: %v", err)
	}
	if _, err := os.Stat(HistoryFile(cfg.StateFile)); !os.IsNotExist(err) {
		t.Errorf("a history without a change: %v", err)
	}
}

// The status names the line that connections go to, and what is known of each, where there are several.
func TestStatusOfSeveral(t *testing.T) {
	t.Parallel()
	b := newSeveralBench(t, rosim.DefaultOptions(), false, true)
	b.line.Congested = true
	b.cycles(20)
	s := &Steer{cfg: &config.Steering{Alternates: make([]config.Alternate, 2)}, machine: b.loop, state: steer.Degraded}
	st := &SteeringStatus{}
	s.publishRules(b.now, st)
	if st.To != "LTE" || st.Rule != "enabled to LTE" || len(st.Alternates) != 2 || st.Alternates[0].Rule != "disabled" ||
		st.Alternates[1].Rule != "enabled" || st.RuleAgeS < 0 {
		t.Errorf("%+v", st)
	}
	for _, c := range []struct {
		t    steer.Transition
		want string
	}{
		{steer.Transition{To: steer.Degraded, Target: "LTE"}, " to LTE"}, {steer.Transition{To: steer.Good, Target: "LTE"}, " from LTE"}, {steer.Transition{}, ""},
	} {
		if got := s.toWhom(c.t); got != c.want {
			t.Errorf("%+v: %q", c.t, got)
		}
	}
	b.line.Congested = false
	b.cycles(20)
	st = &SteeringStatus{}
	if s.publishRules(b.now, st); st.Rule != "all disabled" || st.To != "" {
		t.Errorf("%+v", st)
	}
	b.loop.SetRouter()
	st = &SteeringStatus{}
	if s.publishRules(b.now, st); st.Rule != "not read yet" {
		t.Errorf("%+v", st)
	}
}
