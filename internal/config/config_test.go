package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/link"
	"wanctl/internal/shaper"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// legacy is a complete WAN config, the stock of many tests.
const legacy = `wan_name: line
router: {host: 192.168.88.1, user: wanctl, ssh_key: /etc/wanctl/router.key}
queues: {download: Down, upload: Up}
continuous_monitoring:
  download: {floor_mbps: 25, ceiling_mbps: 95}
  upload: {floor_mbps: 6, ceiling_mbps: 18}
  thresholds: {target_bloat_ms: 3, warn_bloat_ms: 10}
  ping_hosts: [1.1.1.1, 8.8.8.8, 9.9.9.9]
  use_median_of_three: true
`

// steering is a complete steering config.
const steeringText = `topology: {primary_wan: Spectrum, alternate_wan: ATT}
router: {host: 192.168.88.1, user: wanctl, ssh_key: /etc/wanctl/router.key}
mangle_rule: {comment: "ADAPTIVE: Steer"}
cake_state_sources: {primary: /run/wanctl/spectrum_feed.json}
alternate: {ping_source_ip: 192.168.88.3}
measurement: {interval_seconds: 2, ping_host: 1.1.1.1, ping_count: 3}
cake_queues: {primary_download: Down, primary_upload: Up}
`

func mustParse(t *testing.T, name, text string, opt Options) *File {
	t.Helper()
	f, ds := Parse(name, strings.NewReader(text), opt)
	if f == nil {
		t.Fatalf("refused:\n%v", ds)
	}
	return f
}

// shipped parses one of the example configs, which must be without a finding.
func shipped(t *testing.T, name string) *File {
	t.Helper()
	r, err := os.Open("../../configs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	f, ds := Parse("configs/"+name, r, Options{})
	if f == nil || len(ds) > 0 {
		t.Fatalf("findings:\n%v", ds)
	}
	return f
}

func floors(green, yellow, soft, red unit.Rate) (f [link.States]unit.Rate) {
	f[link.Green], f[link.Yellow], f[link.SoftRed], f[link.Red] = green, yellow, soft, red
	return f
}

// TestSites holds the two shipped sites to the figures of the production sites.
func TestSites(t *testing.T) {
	const m = unit.Mbps
	common := shaper.Config{
		Period: 2 * time.Second, BaselineMin: 1, BaselineMax: 500, AlphaLoad: 0.2, BaselineUpdate: 3,
		SoftRed: shaper.Clamp, Lift: shaper.LiftState, CutInterval: 2 * time.Second, RebaselineAfter: 2 * time.Minute,
	}
	spectrum, att := common, common
	spectrum.BaselineInitial, spectrum.AlphaBaseline = 24, 0.02
	spectrum.Down = shaper.Direction{
		FourState: true, Floor: floors(550*m, 350*m, 275*m, 200*m), Ceiling: 940 * m, StepUp: 10 * m,
		FactorDown: 850_000, FactorDownYellow: unit.One, Target: 15, Warn: 45, Critical: 80,
	}
	spectrum.Up = shaper.Direction{
		Floor: floors(8*m, 8*m, 8*m, 8*m), Ceiling: 38 * m, StepUp: m,
		FactorDown: 900_000, FactorDownYellow: unit.One, Target: 15, Warn: 45, Critical: 80,
	}
	att.BaselineInitial, att.AlphaBaseline = 28, 0.015
	att.Down = shaper.Direction{
		Floor: floors(25*m, 25*m, 25*m, 25*m), Ceiling: 95 * m, StepUp: 2 * m,
		FactorDown: 900_000, FactorDownYellow: unit.One, Target: 3, Warn: 10, Critical: 80,
	}
	att.Up = shaper.Direction{
		Floor: floors(6*m, 6*m, 6*m, 6*m), Ceiling: 18 * m, StepUp: m / 2,
		FactorDown: 950_000, FactorDownYellow: unit.One, Target: 3, Warn: 10, Critical: 80,
	}
	for _, c := range []struct {
		file, name string
		shaper     shaper.Config
		base       link.Rates
	}{
		{"spectrum_config.yaml", "Spectrum", spectrum, link.Rates{Down: 940 * m, Up: 38 * m}},
		{"att_config.yaml", "ATT", att, link.Rates{Down: 95 * m, Up: 18 * m}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := shipped(t, c.file).WAN
			lower := strings.ToLower(c.name)
			want := &WAN{
				Name: c.name,
				Router: Router{
					Host: "10.10.99.1", Port: 22, User: "wanctl", KeyFile: "/etc/wanctl/ssh/router.key",
					KnownHosts: "/etc/wanctl/ssh/known_hosts", Transport: "ssh", VerifySSL: true,
				},
				Queues:  Queues{Download: "WAN-Download-" + c.name, Upload: "WAN-Upload-" + c.name},
				Qdisc:   Qdisc{Framing: Framing{Raw: true}},
				Enabled: true, Policy: "steps", Profile: "balanced", Period: 2 * time.Second, OnExit: ExitBase, Base: c.base,
				PingHosts: []string{"1.1.1.1", "8.8.8.8", "9.9.9.9"}, MedianOfThree: true, PingCount: 3,
				Timeouts: Timeouts{Router: 15 * time.Second, Ping: time.Second},
				Logging: Logging{
					Main: "/var/log/wanctl/" + lower + ".log", Debug: "/var/log/wanctl/" + lower + "_debug.log", MaxBytes: 10 << 20, Backups: 4,
				},
				LockFile: "/run/wanctl/" + lower + ".lock", FeedFile: "/run/wanctl/" + lower + "_feed.json",
				StateFile: "/var/lib/wanctl/" + lower + "_state.json", Shaper: c.shaper,
				Journal: Journal{Segment: 8_000_000, Keep: 8}, Text: w.Text, // see TestTextReadsTheSame
			}
			if d := cmp.Diff(want, w, cmpopts.EquateComparable(Probe{})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if _, err := shaper.New(w.Shaper); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShippedSteering holds the shipped steering config to the defaults of the decision and to its two lines.
func TestShippedSteering(t *testing.T) {
	f := shipped(t, "steering_config_v2.yaml")
	s := f.Steering
	want := steer.Default()
	want.Primary, want.HistorySize = "Spectrum", 60
	want.Alternates[0].Name, want.Alternates[0].Checked = "ATT", true
	if d := cmp.Diff(want, s.Steer); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := steer.New(s.Steer); err != nil {
		t.Error(err)
	}
	if s.Alternates[0].RuleComment != "ADAPTIVE: Steer latency-sensitive to ATT" || s.Alternates[0].Source.String() != "10.10.110.248" {
		t.Errorf("got %+v", s)
	}
	if ds := CrossCheck(f, shipped(t, "spectrum_config.yaml"), shipped(t, "att_config.yaml")); len(ds) > 0 {
		t.Errorf("the three do not fit together:\n%v", ds)
	}
}

// TestMinimal holds the defaults to the documented figures, which stand here a second time on purpose.
func TestMinimal(t *testing.T) {
	w := shipped(t, "minimal.yaml").WAN
	const m = unit.Mbps
	want := shaper.Config{
		Period: 2 * time.Second, BaselineMin: 1, BaselineMax: 500, AlphaBaseline: 0.02, AlphaLoad: 0.2, BaselineUpdate: 3,
		SoftRed: shaper.Clamp, Lift: shaper.LiftGreen, CutInterval: 2 * time.Second, RebaselineAfter: 2 * time.Minute,
		Down: shaper.Direction{
			Floor: floors(100*m, 100*m, 100*m, 100*m), Ceiling: 450 * m, StepUp: 10 * m,
			FactorDown: 850_000, FactorDownYellow: unit.One, Target: 15, Warn: 45, Critical: 80,
		},
		Up: shaper.Direction{
			Floor: floors(8*m, 8*m, 8*m, 8*m), Ceiling: 38 * m, StepUp: m,
			FactorDown: 900_000, FactorDownYellow: unit.One, Target: 15, Warn: 45, Critical: 80,
		},
	}
	if d := cmp.Diff(want, w.Shaper); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !w.Enabled || w.Router.Port != 22 || w.Router.Transport != "ssh" || w.PingCount != 3 ||
		w.Timeouts.Router != 15*time.Second || w.Timeouts.Ping != time.Second || w.OnExit != ExitBase {
		t.Errorf("got %+v", w)
	}
	s := mustParse(t, "steering.yaml", steeringText, Options{}).Steering
	wantSteer := steer.Default()
	wantSteer.Primary, wantSteer.Alternates[0].Name, wantSteer.Alternates[0].Checked = "Spectrum", "ATT", true
	if d := cmp.Diff(wantSteer, s.Steer); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s.Name != "steering" || s.Timeouts != (Timeouts{Router: 30 * time.Second, Ping: 2 * time.Second, PingTotal: 10 * time.Second}) {
		t.Errorf("got %+v", s)
	}
}

// TestFast reads the setting for lines that move, and every choice that is not the default.
func TestFast(t *testing.T) {
	text := strings.NewReplacer(
		"{floor_mbps: 25, ceiling_mbps: 95}", "{floor_green_mbps: 80, floor_yellow_mbps: 60, floor_red_mbps: 30, "+
			"ceiling_mbps: 95, base_mbps: 85, factor_down_yellow: 0.96}",
		"ceiling_mbps: 18}", "ceiling_mbps: 18, target_bloat_ms: 6, warn_bloat_ms: 20}",
		"{target_bloat_ms: 3, warn_bloat_ms: 10}", "{target_bloat_ms: 5, warn_bloat_ms: 15, hard_red_bloat_ms: 30, "+
			"alpha_load: 0.99, baseline_rtt_bounds: {min: 2, max: 60}}",
		"  use_median_of_three: true\n", "  use_median_of_three: no\n  enabled: off\n  interval_ms: 50\n  cut_interval_ms: 100\n"+
			"  ping_count: 1\n  soft_red_action: hold\n  floor_lift: green\n  on_exit: ceiling\n  rebaseline_after_s: 60.5\n"+
			"  ping_source_ip: \"2001:db8::2\"\n  ping_interface: wan0\n  ping_fwmark: 0x10\n",
		"host: 192.168.88.1", "host: \"[2001:db8::1]\", port: 2222",
	).Replace(legacy) + "interfaces: {wan: \"ether1 wan\"}\n"
	w := mustParse(t, "line.yaml", text, Options{}).WAN
	if w.Enabled || w.MedianOfThree || len(w.Reflectors()) != 1 || w.Period != 50*time.Millisecond || w.OnExit != ExitCeiling ||
		w.Base != (link.Rates{Down: 85 * unit.Mbps, Up: 18 * unit.Mbps}) || w.Interfaces.WAN != "ether1 wan" ||
		w.Router.Host != "2001:db8::1" || w.Router.Port != 2222 {
		t.Errorf("got %+v", w)
	}
	if !w.Probe.Bound() || w.Probe.Source.String() != "2001:db8::2" || w.Probe.Interface != "wan0" || w.Probe.Mark != 16 {
		t.Errorf("got %+v", w.Probe)
	}
	s := w.Shaper
	if s.SoftRed != shaper.Hold || s.Lift != shaper.LiftGreen || s.CutInterval != 100*time.Millisecond ||
		s.RebaselineAfter != 60500*time.Millisecond || s.AlphaLoad != 0.99 || s.BaselineMin != 2 || s.BaselineMax != 60 {
		t.Errorf("got %+v", s)
	}
	if !s.Down.FourState || s.Down.Floor != floors(80*unit.Mbps, 60*unit.Mbps, 60*unit.Mbps, 30*unit.Mbps) || s.Down.Critical != 30 ||
		s.Down.Target != 5 || s.Up.Target != 6 || s.Up.Warn != 20 || s.Down.FactorDownYellow != 960_000 {
		t.Errorf("got %+v", s.Down)
	}
}

// TestLines finds the two lines of a steering config in every way it may name them.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		file                                             string
		primary, alternate, source, other, queue, queue2 string
		configured                                       bool
	}{
		{"earlier_steering", "spectrum", "", "/home/user/wanctl/spectrum_state.json", "", "WAN-Download-Spectrum", "", false},
		{"steering_minimal", "Spectrum", "ATT", "/run/wanctl/spectrum_feed.json", "", "Down", "", true},
		{"steering_names", "Spectrum", "ATT", "/run/wanctl/spectrum_feed.json", "/run/wanctl/att_feed.json", "Down", "ADown", true},
		{"steering_first_source", "cable", "dsl", "/run/c.json", "/run/d.json", "Down", "", true},
		{"steering_alone", "primary", "", "/run/wanctl/spectrum_feed.json", "", "", "", false},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, ds := parseFile(t, "testdata/good/"+c.file+".yaml")
			if f == nil {
				t.Fatal(ds)
			}
			s := f.Steering
			got := []any{
				s.Steer.Primary, s.Alternates[0].Name, s.Source, s.Alternates[0].StateSource, s.Queues.Download, s.Alternates[0].Queue,
				s.Steer.Alternates[0].Checked,
			}
			want := []any{c.primary, c.alternate, c.source, c.other, c.queue, c.queue2, c.configured}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	w := &WAN{Queues: Queues{Download: "D", Upload: "U"}, Probe: Probe{Interface: "wan0"}}
	s := &Steering{}
	s.Adopt(w)
	if s.Queues != w.Queues || s.Probe != w.Probe {
		t.Errorf("got %+v", s)
	}
	own := &Steering{Queues: Queues{Download: "A", Upload: "B"}, Probe: Probe{Mark: 3}}
	own.Adopt(w)
	if own.Queues != (Queues{Download: "A", Upload: "B"}) || own.Probe != (Probe{Mark: 3}) {
		t.Errorf("overwrote what the file says: %+v", own)
	}
}

// TestDirs fills paths that a config leaves open.
func TestDirs(t *testing.T) {
	opt := Options{Dirs: Dirs{Run: "/run/wanctl", State: "/var/lib/wanctl"}}
	w := mustParse(t, "line.yaml", legacy, opt).WAN
	if w.LockFile != "/run/wanctl/line.lock" || w.FeedFile != "/run/wanctl/line_feed.json" || w.StateFile != "/var/lib/wanctl/line_state.json" {
		t.Errorf("got %s %s %s", w.LockFile, w.FeedFile, w.StateFile)
	}
	w = mustParse(t, "line.yaml", legacy+"lock_file: /a\nstate_file: /b\nfeed_file: /c\n", opt).WAN
	if w.LockFile != "/a" || w.StateFile != "/b" || w.FeedFile != "/c" {
		t.Errorf("got %s %s %s", w.LockFile, w.StateFile, w.FeedFile)
	}
	for name, want := range map[string]string{"": "steering", "wan_name: line\n": "line_steering"} {
		s := mustParse(t, "steering.yaml", name+steeringText, opt).Steering
		if s.LockFile != "/run/wanctl/"+want+".lock" || s.StateFile != "/var/lib/wanctl/"+want+"_state.json" {
			t.Errorf("got %s %s", s.LockFile, s.StateFile)
		}
	}
}

// endless is a file without end.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '#'
	}
	e.read += len(b)
	return len(b), nil
}

func TestTooLarge(t *testing.T) {
	r := &endless{}
	f, ds := Parse("huge.yaml", io.LimitReader(r, 10<<20), Options{})
	if f != nil || len(ds) != 1 || !strings.Contains(ds[0].String(), "larger than 1024 KiB") {
		t.Errorf("got %v", ds)
	}
	if r.read > 2*MaxSize {
		t.Errorf("read %d bytes of it", r.read)
	}
	if f, ds = Parse("line.yaml", strings.NewReader(legacy+strings.Repeat("#", MaxSize-len(legacy))), Options{}); f == nil {
		t.Errorf("a file of just the limit was refused: %v", ds)
	}
}

func TestUnreadable(t *testing.T) {
	f, ds := Parse("line.yaml", iotest.ErrReader(errors.New("input/output error")), Options{})
	if want := "line.yaml: error: cannot be read: input/output error\n"; f != nil || ds.String() != want {
		t.Errorf("got %q, want %q", ds, want)
	}
}

// TestMany bounds the findings, and does not let an error drown in them.
func TestMany(t *testing.T) {
	var b strings.Builder
	b.WriteString(legacy)
	for i := range 150 {
		fmt.Fprintf(&b, "zz_%d: 1\n", i)
	}
	f, ds := Parse("line.yaml", strings.NewReader(b.String()), Options{})
	if f != nil || len(ds) != maxDiagnostics+1 || !strings.Contains(ds[maxDiagnostics].Message, "50 more") {
		t.Errorf("%d findings, the last: %v", len(ds), ds[len(ds)-1])
	}
	p := &parser{}
	for i := range maxDiagnostics {
		p.warnf(pos{Line: i, Column: 1}, "", "", "w")
	}
	p.errorf(pos{Line: 1, Column: 1}, "", "", "e")
	if !p.diagnostics().HasErrors() {
		t.Error("the error that did not fit was lost")
	}
}

// TestHostile reads large files (a quarter of the limit) of the worst kinds: each must end in a short list of errors. Whoever makes one
// of them take quadratic time notices it as a test that does not end.
func TestHostile(t *testing.T) {
	const size = MaxSize / 4
	fill := func(head, piece string) string { return head + strings.Repeat(piece, (size-len(head))/len(piece)) }
	var keys strings.Builder
	for i := 0; keys.Len() < size; i++ {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"unknown keys": "continuous_monitoring: {}\n" + keys.String(),
		"one key":      fill("continuous_monitoring: 1\n", "a: 1\n"),
		"open lists":   fill("a: ", "["),
		"open maps":    fill("a: ", "{a: "),
		"long list":    fill("continuous_monitoring: {ping_hosts: [", "a, "),
		"sequence":     fill("continuous_monitoring:\n", "- a\n"),
		"anchors":      fill("continuous_monitoring: {}\nx:\n", "- &a b\n"),
		"aliases":      fill("x: &a b\ncontinuous_monitoring:\n", "- *a\n"),
		"long text":    fill("wan_name: \"", "a b "),
		"one word":     fill("continuous_monitoring: {}\nwan_name: ", "x"),
		"block text":   fill("wan_name: |\n", " a\n"),
		"comments":     fill("", "# a\n"),
		"documents":    fill("a: 1\n", "---\n"),
		"questions":    fill("", "? "),
		"dashes":       fill("", "- "),
		"colons":       fill("a", ": "),
		"merges":       fill("continuous_monitoring: {}\n", "<<: {a: 1}\n"),
		"tags":         fill("a: ", "!a "),
	} {
		t.Run(name, func(t *testing.T) {
			f, ds := Parse("hostile.yaml", strings.NewReader(text), Options{})
			if f != nil || !ds.HasErrors() || len(ds) > maxDiagnostics+1 || len(ds.String()) > 64<<10 {
				t.Errorf("%d findings in %d bytes", len(ds), len(ds.String()))
			}
		})
	}
}

// TestNamedLike finds the config that was picked by mistake.
func TestNamedLike(t *testing.T) {
	for file, warns := range map[string]bool{
		"line.yaml": false, "/etc/wanctl/line_config.yaml": false, "LINE-2.yml": false, "wan1.yaml": false, "config.yaml": false,
		"-": false, "/etc/wanctl/spectrum_config.yaml": true, "att.yaml": true,
	} {
		_, ds := Parse(file, strings.NewReader(legacy), Options{})
		if got := len(ds) > 0; got != warns || ds.HasErrors() {
			t.Errorf("%s: %v", file, ds)
		}
	}
}

func TestDiagnosticJSON(t *testing.T) {
	_, ds := Parse("a.yaml", strings.NewReader("x: 1\n"), Options{})
	b, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	var back Diagnostics
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ds, back); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !strings.Contains(string(b), `"line":1,"column":1,"severity":"error","message":"is neither`) {
		t.Errorf("got %s", b)
	}
	if err := ds.Err(); err == nil || err.Error() != strings.TrimSpace(ds.String()) {
		t.Errorf("got %v", err)
	}
	if (Diagnostics{{Severity: Warning}}).Err() != nil || len(Diagnostics{{Severity: Warning}, {Severity: Error}}.Warnings()) != 1 {
		t.Error("a warning is no error")
	}
	if json.Unmarshal([]byte(`[{"severity":"bad"}]`), &back) == nil {
		t.Error("an unknown severity was read")
	}
	if _, err := Severity(9).MarshalText(); err == nil || Severity(9).String() != "Severity(9)" || Warning.String() != "warning" {
		t.Error("an unknown severity was written")
	}
}

func TestOnExitText(t *testing.T) {
	for v := ExitBase; v <= ExitCeiling; v++ {
		b, err := v.MarshalText()
		var back OnExit
		if err != nil || back.UnmarshalText(b) != nil || back != v {
			t.Errorf("%v: %s %v", v, b, err)
		}
	}
	var e OnExit
	if e.UnmarshalText([]byte("never")) == nil || OnExit(7).String() != "OnExit(7)" {
		t.Error("an unknown word was read")
	}
	if _, err := OnExit(7).MarshalText(); err == nil {
		t.Error("an unknown value was written")
	}
}
