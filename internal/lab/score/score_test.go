package score

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wanctl/configs"
	"wanctl/internal/config"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func site(t *testing.T, name string) *config.File { t.Helper(); return siteWith(t, name, "", "") }

// siteWith is a shipped file with some text replaced.
func siteWith(t *testing.T, name, old, replacement string) *config.File {
	t.Helper()
	b, err := configs.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s has no %q", name, old)
	}
	b = bytes.Replace(b, []byte(old), []byte(replacement), 1)
	f, ds := config.Parse(name, bytes.NewReader(b), config.Options{})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	return f
}

func setup(t *testing.T, scenario string, c Control) Setup {
	t.Helper()
	s, err := netsim.Builtin(scenario, 3)
	if err != nil {
		t.Fatal(err)
	}
	return Setup{
		Scenario: s, Latency: 50 * time.Millisecond,
		Lines: []Line{
			{Control: c, Config: site(t, "spectrum_config.yaml").WAN},
			{Control: c, Config: site(t, "att_config.yaml").WAN},
		},
	}
}

func play(t *testing.T, s Setup) Result {
	t.Helper()
	r, err := New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Advance(r.Net().End())
	if !r.Done() {
		t.Fatal("the run is not done at its end")
	}
	return r.Result()
}

// fast is the setting for lines that move: 50 ms, floors at 50/40/30/20 % and a ceiling at 95 % of nominal.
func fast(c config.WAN, down, up unit.Rate) *config.WAN {
	c.Period, c.PingCount = 50*time.Millisecond, 1
	sc := &c.Shaper
	sc.Period, sc.CutInterval, sc.AlphaLoad = c.Period, 100*time.Millisecond, 0.99
	for _, d := range []struct {
		to      *[link.States]unit.Rate
		ceiling *unit.Rate
		nominal unit.Rate
	}{{&sc.Down.Floor, &sc.Down.Ceiling, down}, {&sc.Up.Floor, &sc.Up.Ceiling, up}} {
		for i, share := range []unit.PPM{500_000, 400_000, 300_000, 200_000} {
			d.to[i] = d.nominal.Scale(share)
		}
		*d.ceiling = d.nominal.Scale(950_000)
	}
	sc.Down.Target, sc.Down.Warn, sc.Down.Critical = 5, 15, 30
	sc.Up.Target, sc.Up.Warn = 5, 15
	sc.Down.FactorDown, sc.Up.FactorDown = 850_000, 850_000
	return &c
}

// The closed loop must help: while the capacity is halved the fast setting stays far below what a fixed rate gives.
func TestTheLoopHelps(t *testing.T) {
	static := play(t, setup(t, "drop", Static))
	s := setup(t, "drop", Loop)
	s.Lines[0].Config = fast(*s.Lines[0].Config, 900*unit.Mbps, 38*unit.Mbps)
	loop := play(t, s)
	if a, b := loop.Lines[0].Line.P95, static.Lines[0].Line.P95; a*3 > b {
		t.Errorf("p95 is %s with the loop and %s without: not a third", a, b)
	}
	if u := loop.Lines[0].Use.Down; u < 700_000 {
		t.Errorf("the loop uses only %s of the capacity", u)
	}
	if w := loop.Lines[0].Writes; w == 0 || w > 400 {
		t.Errorf("%d router writes in 90 s", w)
	}
}

func TestNoneHasNoShaper(t *testing.T) {
	s := setup(t, "full", None)
	s.Lines[0].Config, s.Lines[1].Config = nil, nil
	r := play(t, s)
	if r.Lines[0].Line.P50 < 50 {
		t.Errorf("an unshaped full line adds %s", r.Lines[0].Line.P50)
	}
	if r.Lines[0].Control != "none" || r.Lines[0].Writes != 0 {
		t.Errorf("%+v", r.Lines[0])
	}
}

// Steering reads both lines' feeds, so it works without probes of its own on the alternate.
func TestSteeringMovesAndComesBack(t *testing.T) {
	for _, own := range []bool{true, false} {
		s := setup(t, "evening", Loop)
		st := site(t, "steering_config_v2.yaml").Steering
		if !own {
			st.Alternates[0].Source = netip.Addr{} // its feed alone
		}
		s.Steering = &Steering{Config: st, Primary: netsim.Cable, Alternate: netsim.VDSL}
		r := play(t, s)
		if r.Steering.Actions < 2 || r.OnOther == 0 || r.OnOther == r.CallCount {
			t.Errorf("own probes %v: %d changes, %d of %d calls on the alternate", own, r.Steering.Actions, r.OnOther, r.CallCount)
		}
		if r.Steering.Writes < r.Steering.Actions {
			t.Errorf("%d changes and only %d rule writes", r.Steering.Actions, r.Steering.Writes)
		}
		var b bytes.Buffer
		if err := r.Text(&b); err != nil || !strings.Contains(b.String(), "GOOD → DEGRADED") {
			t.Errorf("the text lacks the change: %v\n%s", err, &b)
		}
		if j, err := json.Marshal(r); err != nil || !bytes.Contains(j, []byte(`"schema":1`)) {
			t.Errorf("%v %s", err, j)
		}
	}
}

// A line that tracks its capacity does not cut in vain, so neither its floor nor its cuts tell of a congestion at the
// provider: that its delay stays although it answers does.
func TestSteeringConfirmsWhatTrackingCannotRemove(t *testing.T) {
	s := setup(t, "provider-congestion", Loop)
	s.Lines[0].Config = siteWith(t, "spectrum_config.yaml", "interval_ms: 2000", "policy: tracking").WAN
	s.Steering = &Steering{
		Config: site(t, "steering_config_v2.yaml").Steering, Primary: netsim.Cable, Alternate: netsim.VDSL,
	}
	if r := play(t, s); r.Steering.Actions < 2 || r.OnOther == 0 {
		t.Errorf("%d changes, %d of %d calls on the alternate", r.Steering.Actions, r.OnOther, r.CallCount)
	}
}

func TestSetupsThatCannotRun(t *testing.T) {
	s := setup(t, "drop", Loop)
	s.Lines = s.Lines[:1]
	if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "2 links and 1") {
		t.Errorf("a line too few: %v", err)
	}
	s = setup(t, "drop", Static)
	s.Lines[1].Config = nil
	if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("no configuration: %v", err)
	}
	s = setup(t, "drop", Static)
	s.Steering = &Steering{Config: site(t, "steering_config_v2.yaml").Steering, Alternate: 1}
	if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "controller on its primary") {
		t.Errorf("steering without a loop: %v", err)
	}
	s = setup(t, "drop", Loop)
	s.Scenario.Duration = -1
	if _, err := New(s, nil); err == nil {
		t.Error("a negative duration passed")
	}
}

// A day of two lines and steering at 2 s cycles, against the clock.
func BenchmarkDay(b *testing.B) {
	files := map[string]*config.File{}
	for _, n := range []string{"spectrum_config.yaml", "att_config.yaml", "steering_config_v2.yaml"} {
		raw, err := configs.Files.ReadFile(n)
		if err != nil {
			b.Fatal(err)
		}
		f, ds := config.Parse(n, bytes.NewReader(raw), config.Options{})
		if err := ds.Err(); err != nil {
			b.Fatal(err)
		}
		files[n] = f
	}
	day, err := netsim.Builtin("day", 1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := New(Setup{
			Scenario: day, Latency: 150 * time.Millisecond,
			Lines: []Line{
				{Control: Loop, Config: files["spectrum_config.yaml"].WAN}, {Control: Loop, Config: files["att_config.yaml"].WAN},
			},
			Steering: &Steering{Config: files["steering_config_v2.yaml"].Steering, Primary: 0, Alternate: 1},
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Advance(r.Net().End())
	}
	b.ReportMetric(day.Duration.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "times-real-time")
}

// One reflector at a time is slow, dead or rate-limited: with three of them no line leaves GREEN, no rate is changed after the
// first, and the calls notice nothing.
func TestALyingReflectorMovesNothing(t *testing.T) {
	r := play(t, setup(t, "reflector-lies", Loop))
	for _, l := range r.Lines {
		for _, d := range []link.Direction{link.Down, link.Up} {
			if s := l.States.Get(d); s[link.Green] != 1_000_000 {
				t.Errorf("%s, %v: the shares of the states are %v, want GREEN alone", l.Name, d, s)
			}
		}
		if l.Writes > 1 {
			t.Errorf("%s: %d writes", l.Name, l.Writes)
		}
		if l.Line.Max > 1 {
			t.Errorf("%s: a delay of %s was added", l.Name, l.Line.Max)
		}
	}
	want := []link.Rates{{Down: 940 * unit.Mbps, Up: 38 * unit.Mbps}, {Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}}
	for i, l := range r.Lines {
		if l.Final != want[i] {
			t.Errorf("%s ends at %v, want the ceiling", l.Name, l.Final)
		}
	}
}
