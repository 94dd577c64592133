package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/daemon"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// aHistory writes two changes beside the state file that the shipped steering configuration would have in dir.
func aHistory(t *testing.T, dir string) {
	t.Helper()
	var b bytes.Buffer
	at := time.Date(2026, 11, 1, 20, 0, 0, 0, time.Local)
	for _, e := range []state.Event{
		{Time: at, Name: "steering", Primary: "Spectrum", Account: steer.Account{
			Transition: steer.Transition{From: steer.Good, To: steer.Degraded, Target: "LTE", At: unit.Time(10 * time.Second), Why: "2 consecutive RED"},
			Decided:    unit.Time(8 * time.Second), Lasted: 90 * time.Second, Congestion: steer.Red, Red: 2, Need: 2,
			Votes: []steer.VoteRecord{{Name: "delay", Says: steer.Over, Value: 52.56, Mark: 15, Unit: "ms"}, {Name: "controller", Says: steer.Missing}},
			Alternates: []steer.View{{Name: "ATT", Verdict: steer.NoMargin, Measured: true, EWMA: 48}, {
				Name: "LTE", Verdict: steer.Better, Measured: true, EWMA: 2, Room: steer.Room{Known: true, Load: 250_000, Free: 30 * unit.Mbps},
			}},
			Lacks: []string{"ATT (delta 48.0ms) is not better"}, Brakes: []string{"hold-down for another 1m0s"},
		}},
		{Time: at.Add(time.Minute), Name: "steering", Primary: "Spectrum", Account: steer.Account{
			Transition: steer.Transition{From: steer.Degraded, To: steer.Good, Target: "LTE", Why: "the rule was read back at the end of the process"},
			Score:      12, Threshold: 70,
		}},
	} {
		if err := state.WriteEvent(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString("torn\n")
	if err := os.WriteFile(daemon.HistoryFile(filepath.Join(dir, "steering_state.json")), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSteerHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	aHistory(t, dir)
	config := filepath.Join(dir, "steer.yaml")
	text := `wan_name: steering
topology: {primary_wan: Spectrum, alternate_wan: ATT}
router: {host: 192.0.2.1, user: wanctl, ssh_key: /k}
mangle_rule: {comment: Steer}
cake_state_sources: {primary: /run/wanctl/spectrum_feed.json}
alternate: {ping_source_ip: 192.0.2.3}
measurement: {interval_seconds: 2, ping_host: 192.0.2.2, ping_count: 3}
state: {file: "` + filepath.Join(dir, "steering_state.json") + `"}
cake_queues: {primary_download: D}
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	line := filepath.Join("..", "..", "configs", "att_config.yaml")
	run := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		app := &App{Stdout: &o, Stderr: &e, ReadFile: os.ReadFile, UID: 1000, LookupEnv: os.LookupEnv, Getenv: func(n string) string {
			return map[string]string{"STATE_DIRECTORY": dir, "RUNTIME_DIRECTORY": dir}[n]
		}}
		code = Main(append([]string{"steer", "history"}, args...), app)
		return code, o.String(), e.String()
	}
	const last = `2026-11-01 20:01:00, steering of Spectrum
  DEGRADED → GOOD from LTE: the rule was read back at the end of the process. Score 12 of 70.
`
	const whole = `2026-11-01 20:00:00, steering of Spectrum
  GOOD → DEGRADED to LTE: 2 consecutive RED. GOOD had lasted 1m30s. Decided 2s before the rule was
  read back, at RED after 2 RED of 2, 0 GREEN, 0s without RED. Votes: delay over (52.56 ms, mark
  15); controller missing. Alternates: ATT no margin (delta 48.0ms, room unknown); LTE better (delta
  2.0ms, 25% loaded, 30M free). Refused: ATT (delta 48.0ms) is not better. Brakes: hold-down for
  another 1m0s.

` + last
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"by its configuration", []string{config}, whole},
		{"by its own name", []string{filepath.Join(dir, "steering_state_history.jsonl")}, whole},
		{"every one of the state directory", nil, whole},
		{"the newest", []string{config, "-n", "1"}, last},
		{"all", []string{config, "-n", "0"}, whole},
	} {
		code, out, errs := run(c.args...)
		if d := cmp.Diff(c.want, out); code != exitOK || d != "" || !strings.Contains(errs, "damaged lines left out: 1") {
			t.Errorf("%s: %d, %s(-want +got):\n%s", c.name, code, errs, d)
		}
	}
	var all []state.Event
	if code, out, _ := run(config, "--json"); code != exitOK || json.Unmarshal([]byte(out), &all) != nil || len(all) != 2 || all[0].Target != "LTE" {
		t.Errorf("as JSON: %d, %s", code, out)
	}
	for _, c := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"a line", "is not a steering configuration", exitFailed, []string{line}},
		{"no such file", "cannot be opened", exitFailed, []string{filepath.Join(dir, "none.yaml")}},
		{"no history", "is not there yet", exitOK, []string{filepath.Join(dir, "none.jsonl")}},
		{"a number below 0", "how many changes", exitUsage, []string{"--number=-1"}},
	} {
		if code, _, errs := run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d, %q", c.name, code, errs)
		}
	}
	if err := os.Remove(filepath.Join(dir, "steering_state_history.jsonl")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(); code != exitFailed || !strings.Contains(errs, "name the steering configuration file") {
		t.Errorf("an empty state directory: %d, %q", code, errs)
	}
}

// Steering runs by its file alone, as ever, beside the commands below it.
func TestSteerByItsFile(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"steer", "none.yaml"}, {"steer", "--config", "none.yaml"}, {"steer", "none.yaml", "--reset"}, {"steer", "run", "none.yaml", "--dry-run"},
	} {
		var out, errs bytes.Buffer
		app := &App{Stdout: &out, Stderr: &errs, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }, LookupEnv: os.LookupEnv}
		if code := Main(args, app); code != exitFailed || !strings.Contains(errs.String(), "none.yaml: error: cannot be opened") {
			t.Errorf("%v: %d, %q", args, code, errs.String())
		}
	}
}
