package cli

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// TestPrintStatus is the text people read, beyond what the stories reach: trouble, silence, a dry run and a line that
// steers.
func TestPrintStatus(t *testing.T) {
	shares := func(g, y, s, r unit.PPM) link.Pair[[link.States]unit.PPM] {
		a := [link.States]unit.PPM{g, y, s, r}
		return link.Pair[[link.States]unit.PPM]{Down: a, Up: a}
	}
	for _, c := range []struct {
		name string
		in   daemon.Status
		want string
	}{
		{
			"a line in trouble",
			daemon.Status{
				Name: "ATT", Version: "1.2", PID: 7, UptimeS: 3725, Why: []string{"router link: gone", "2 reflectors are silent"},
				Vitals: daemon.Vitals{ResidentBytes: 13_140_000, HeapLiveBytes: 2_260_000, Goroutines: 24, Descriptors: 12},
				WAN: &daemon.WANStatus{
					State: link.Pair[link.State]{Down: link.SoftRed, Up: link.Red}, AgeS: 0.44, RTT: 30, Load: 61.2, Baseline: 28, Delta: 33.2,
					Decided: link.Rates{Down: 275 * unit.Mbps, Up: 5_500_000}, Router: "wanctl@r:22", Link: "stopped", Writes: 12,
					LastErr: "3s ago: no", DryRun: true, Carried: &link.Rates{Down: unit.Mbps, Up: 0},
					Hour: shares(500_000, 250_000, 250_000, 0), Day: shares(1_000_000, 0, 0, 0), Ever: shares(999_000, 1_000, 0, 0),
					Probes: []daemon.ProbeStatus{{Host: "1.1.1.1", AgeS: 0.2}, {Host: "8.8.8.8", AgeS: 42.4}, {Host: "9.9.9.9", AgeS: -1}},
				},
			},
			`ATT: DEGRADED, up 1h2m5s, process 7, wanctl 1.2
  why:       router link: gone
  why:       2 reflectors are silent
  process:   13.1 MB resident, 2.3 MB of heap in use, 24 goroutines, 12 descriptors
  state:     SOFT_RED/RED (download/upload), measured 0.4 s ago
  delay:     RTT 30.0ms, load 61.2ms, baseline 28.0ms, delta 33.2ms
  rates:     decided 275M/5.5M, applied -/-, read back -/-
  carried:   1M/-
  router:    wanctl@r:22, stopped (not tried again before a reload or restart), 12 writes in 24 h, nothing is written (dry run)
  error:     3s ago: no
  in 1 h:    GREEN 50.0%/50.0%, YELLOW 25.0%/25.0%, SOFT_RED 25.0%/25.0%, RED 0.0%/0.0%
  in 24 h:   GREEN 100.0%/100.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  overall:   GREEN 99.9%/99.9%, YELLOW 0.1%/0.1%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  probes:    1.1.1.1 answers, 8.8.8.8 silent for 42 s, 9.9.9.9 no answer yet
`,
		},
		{
			"a line that tracks its capacity",
			daemon.Status{Name: "lte", Version: "1.2", PID: 7, Healthy: true, WAN: &daemon.WANStatus{
				Router: "r", Link: "connected", Policy: "tracking", Tracking: &daemon.TrackingStatus{
					Capacity: link.Rates{Down: 38_200_000}, Unremovable: link.Pair[unit.Millis]{Up: 12.4},
					OneWay: true, Reflectors: 5, Reserve: 15, ProbesPerS: 20,
				},
			}},
			`lte: healthy, up 0s, process 7, wanctl 1.2
  state:     GREEN/GREEN (download/upload), measured 0.0 s ago
  delay:     RTT 0.0ms, load 0.0ms, baseline 0.0ms, delta 0.0ms
  rates:     decided -/-, applied -/-, read back -/-
  policy:    tracking, measured 38M/-, unremovable delay 0.0ms/12.4ms, by one-way delays, 20 probes/s to 5 reflectors (15 in reserve)
  router:    r, connected, 0 writes in 24 h
  in 1 h:    GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  in 24 h:   GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  overall:   GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
`,
		},
		{
			"a line nobody answered on yet",
			daemon.Status{Name: "ATT", Version: "1.2", PID: 7, Healthy: true, WAN: &daemon.WANStatus{AgeS: -1, Router: "r", Link: "backing_off"}},
			`ATT: healthy, up 0s, process 7, wanctl 1.2
  state:     GREEN/GREEN (download/upload), no reply yet
  delay:     RTT 0.0ms, load 0.0ms, baseline 0.0ms, delta 0.0ms
  rates:     decided -/-, applied -/-, read back -/-
  router:    r, backing off, 0 writes in 24 h
  in 1 h:    GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  in 24 h:   GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
  overall:   GREEN 0.0%/0.0%, YELLOW 0.0%/0.0%, SOFT_RED 0.0%/0.0%, RED 0.0%/0.0%
`,
		},
		{
			"steering",
			daemon.Status{Name: "steering", Version: "1.2", PID: 7, Healthy: true, UptimeS: 60, Steer: &daemon.SteeringStatus{
				State: "SPECTRUM_DEGRADED", Congestion: "RED", Delta: 41.5, EWMA: 38, Rule: "enabled", Router: "r", SharePPM: 12_345, DryRun: true, Measured: true, Averaged: true,
				AgeS: 0.44, Queue: 12, QueueAgeS: 1.5, RuleAgeS: 20,
				LastErr: "1s ago: slow", Transitions: []daemon.TransitionStatus{{Text: "GOOD → DEGRADED, 3s ago: drops"}},
			}},
			`steering: healthy, up 1m0s, process 7, wanctl 1.2
  state:     SPECTRUM_DEGRADED, congestion RED, active 1.23% of the time
  delay:     delta 41.5ms, averaged 38.0ms, measured 0.4 s ago
  queue:     12 packets, read 1.5 s ago
  rule:      enabled on r, read 20.0 s ago, nothing is written (dry run)
  error:     1s ago: slow
  change:    GOOD → DEGRADED, 3s ago: drops
`,
		},
		{
			"steering between several lines",
			daemon.Status{Name: "steering", Version: "1.2", PID: 7, Healthy: true, UptimeS: 60, Steer: &daemon.SteeringStatus{
				State: "SPECTRUM_DEGRADED", To: "LTE", Congestion: "RED", Measured: true, Averaged: true, Delta: 80, EWMA: 80, QueueAgeS: -1,
				Rule: "enabled to LTE", Router: "r", RuleAgeS: 2, Brakes: []string{"hold-down for another 1m0s"},
				Alternates: []daemon.AlternateStatus{
					{View: steer.View{Name: "ATT", Verdict: steer.BackOff, Measured: true, EWMA: 3}, Rule: "disabled"},
					{View: steer.View{Name: "LTE", Verdict: steer.Better, Measured: true, EWMA: 1, Room: steer.Room{Known: true, Load: 250_000, Free: 30 * unit.Mbps}}, Rule: "enabled"},
				},
				Transitions: []daemon.TransitionStatus{{Text: "GOOD → DEGRADED to LTE, 3s ago: 2 consecutive RED"}},
			}},
			`steering: healthy, up 1m0s, process 7, wanctl 1.2
  state:     SPECTRUM_DEGRADED to LTE, congestion RED, active 0.00% of the time
  delay:     delta 80.0ms, averaged 80.0ms, measured 0.0 s ago
  queue:     not read
  rule:      enabled to LTE on r, read 2.0 s ago
  alternate: ATT back off (delta 3.0ms, room unknown), rule disabled
  alternate: LTE better (delta 1.0ms, 25% loaded, 30M free), rule enabled
  brake:     hold-down for another 1m0s
  change:    GOOD → DEGRADED to LTE, 3s ago: 2 consecutive RED
`,
		},
		{
			"steering that has seen nothing yet",
			daemon.Status{Name: "steering", Version: "1.2", PID: 7, Healthy: true, Steer: &daemon.SteeringStatus{
				State: "SPECTRUM_GOOD", Congestion: "UNKNOWN", Rule: "not read yet", Router: "r", AgeS: -1, QueueAgeS: -1, RuleAgeS: -1,
			}},
			`steering: healthy, up 0s, process 7, wanctl 1.2
  state:     SPECTRUM_GOOD, congestion UNKNOWN, active 0.00% of the time
  delay:     delta ?, averaged ?, no reply yet
  queue:     not read
  rule:      not read yet on r
`,
		},
	} {
		var b bytes.Buffer
		printStatus(&b, c.in)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// A socket nobody answers on is a dead process's: it is named, and nothing runs.
func TestStatusOfADeadSocket(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ATT.sock"), nil, 0o600); err != nil { // connections to it are refused as to a dead one's
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	app := &App{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := Main([]string{"status", "--run-dir", dir}, app); code != exitNotRunning {
		t.Errorf("exit code %d, want %d\n%s%s", code, exitNotRunning, &out, &errs)
	}
	if !strings.Contains(out.String(), "ATT: not running, and it did not stop by itself") {
		t.Errorf("it says %q", out.String())
	}
}

// The emulator's snippet is complete or absent, and one that listens nowhere does not leave the last one's behind.
func TestEmulateSaysWhereItListensOnlyWhenItDoes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "router.yaml"), []byte("router: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	app := &App{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := Main([]string{"emulate", "--dir", dir, "--listen", "256.0.0.1:1"}, app); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(errs.String(), "choose another with --listen") {
		t.Errorf("it says %q", errs.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "router.yaml")); !os.IsNotExist(err) {
		t.Errorf("router.yaml of the last run is still there: %v", err)
	}
	for _, args := range [][]string{
		{"--queue", "x=fast"}, {"--simple-queue", "x=5"}, {"--simple-queue", "x=5/y"}, {"--simple-queue", "x=-1/5"}, {"--queue", "x=-1"}, {"--fault", "soon:reboot"}, {"--fault", "1s:nothing"}, {"--dialect", "none"},
	} {
		errs.Reset()
		if code := Main(append([]string{"emulate", "--dir", dir, "--listen", "127.0.0.1:0"}, args...), app); code != exitFailed || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, says %q", args, code, errs.String())
		}
	}
}

// A process that does not speak is an error, and does not hide the others.
func TestStatusShowsWhatItCouldRead(t *testing.T) {
	dir := t.TempDir()
	serve := func(name, text string) {
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, text)
		}()
	}
	serve("ATT", `{"name":"ATT","healthy":true,"wan":{}}`)
	serve("Other", "?")
	var out, errs bytes.Buffer
	app := &App{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := Main([]string{"status", "--run-dir", dir}, app); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(out.String(), "ATT: healthy") || !strings.Contains(errs.String(), "Other.sock") {
		t.Errorf("it prints %q and says %q", &out, &errs)
	}
}
