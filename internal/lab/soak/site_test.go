package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/configs"
	"wanctl/internal/cli"
	"wanctl/internal/daemon"
)

// The soak itself; without them the tests run it in short, to prove that it works.
var (
	days     = flag.Int("soak.days", 0, "play so many simulated days of 24 hours")
	realTime = flag.Duration("soak.real", 0, "run the real processes for so long")
	period   = flag.Duration("soak.period", 2*time.Second, "the controllers' period in the simulated run")
	program  = flag.String("soak.program", "", "wanctl binary of the real run; empty: this test's own")
	out      = flag.String("soak.json", "", "directory for the reports as JSON, with all samples")
)

// In another life this test's binary is wanctl, or a program that leaks.
const (
	asWanctl = "WANCTL_SOAK_PROGRAM"
	asLeak   = "WANCTL_SOAK_LEAK"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asWanctl) != "":
		os.Exit(cli.Main(os.Args[1:], cli.System()))
	case os.Getenv(asLeak) != "":
		leak(os.Getenv(asLeak))
	}
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	os.Exit(m.Run())
}

var interrupt = make(chan os.Signal, 1)

// interrupted says that somebody wants to see what there is so far. A simulated day is played to its end.
func interrupted() bool {
	select {
	case s := <-interrupt:
		interrupt <- s // for the other run
		return true
	default:
		return false
	}
}

const (
	spectrum, att, steering = "Spectrum", "ATT", "steering"
	// attSource is the host's second address, which the router sends through ATT, as the shipped configurations have it.
	attSource = "10.10.110.248"
)

// site is the shipped configurations of both lines and steering, with their files under one directory.
type site struct {
	dir string
	// router is each one's router section, without the head.
	router map[string]string
	// logMax is logging.max_bytes; 0 leaves the default.
	logMax int
}

// The limits of what is on disk, in both runs.
var (
	// stateBytes are the history's two generations of 256 KiB, and what each state file with its backup has.
	stateBytes = Limit{Growth: 64e3, Bound: 1.2e6, Why: "steering's history is kept under two times 256 KiB"}
	runBytes   = Limit{Growth: 4e3, Why: "locks and feeds, replaced whole"}
	// logBytes: a log is put aside when it is full, and the oldest is dropped.
	logBytes = Limit{Growth: 64e3, Why: "bounded by logging.max_bytes and backup_count"}
)

// logFiles is how many a log may have: itself and logging.backup_count's default.
const logFiles = 5

// logFileBound is how many there may be: of each log as many, and the one that somebody else renames.
const logFileBound = 3*logFiles + 1

// logBound is what all three logs may take.
func (s *site) logBound() float64 {
	most := s.logMax
	if most == 0 {
		most = 10 << 20
	}
	return float64(len(exampleOf) * logFiles * most)
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}
func (s *site) dirs() daemon.Dirs { return daemon.Dirs{Run: s.path("run"), State: s.path("state")} }

var exampleOf = map[string]string{
	spectrum: "spectrum_config.yaml", att: "att_config.yaml", steering: "steering_config_v2.yaml",
}

// text is a configuration file; changed has other values in what a reload may change.
func (s *site) text(t *testing.T, name string, changed bool) string {
	t.Helper()
	b, err := configs.Files.ReadFile(exampleOf[name])
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	replace := func(old, by string) {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %q", exampleOf[name], old)
		}
		text = strings.ReplaceAll(text, old, by)
	}
	from := strings.Index(text, "router:\n")
	to := from + strings.Index(text[from:], "\n\n")
	text = text[:from] + "router:\n" + s.router[name] + text[to:]
	replace("/run/wanctl/", s.path("run")+"/")
	replace("/var/lib/wanctl/", s.path("state")+"/")
	replace("/var/log/wanctl/", s.path("log")+"/")
	if s.logMax > 0 {
		replace("logging:\n", fmt.Sprintf("logging:\n  max_bytes: %d\n", s.logMax))
	}
	if name != steering {
		replace("interval_ms: 2000", fmt.Sprintf("interval_ms: %d", period.Milliseconds()))
	}
	switch name {
	case att:
		text += "\nping_source_ip: " + attSource + "\n"
		if changed {
			replace("warn_bloat_ms: 10 ", "warn_bloat_ms: 12 ")
		}
	case spectrum:
		if changed { // new probes, too
			replace("ping_hosts: [1.1.1.1, 8.8.8.8, 9.9.9.9]", "ping_hosts: [1.1.1.1, 9.9.9.9, 8.8.8.8]")
		}
	case steering:
		replace("/etc/wanctl/spectrum_config.yaml", s.path("Spectrum.yaml"))
		if changed {
			replace("ping_host: 1.1.1.1", "ping_host: 8.8.8.8")
		}
	}
	return text
}

func (s *site) put(t *testing.T, name, text string) {
	t.Helper()
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sshRouter and passwordRouter are router sections.
func sshRouter(host string, port int, key, known string) string {
	return fmt.Sprintf("  host: %s\n  port: %d\n  user: wanctl\n  ssh_key: %s\n  known_hosts: %s", host, port, key, known)
}

func passwordRouter(host string, port int, transport, file, fingerprint string) string {
	return fmt.Sprintf("  host: %s\n  port: %d\n  user: wanctl\n  transport: %s\n  password: file:%s\n  tls_pin: sha256:%s", host, port, transport, file, fingerprint)
}

// memory is a directory on a memory file system where there is one: a month's worth of fsyncs is no part of what is proved.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wanctl-soak-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// figures are the series of a run, by process or directory and name.
type figures struct{ report Report }

// count counts what the run went through.
func (f *figures) count(what string, times int) {
	if f.report.Happened == nil {
		f.report.Happened = map[string]int{}
	}
	f.report.Happened[what] += times
}

// add notes a figure, and makes its series at the first.
func (f *figures) add(of, name string, unit Unit, limit Limit, hours, value float64) {
	if raced && strings.HasPrefix(name, "resident") {
		return // the race detector's shadow grows with every address that was ever used
	}
	for _, s := range f.report.Series {
		if s.Of == of && s.Name == name {
			s.Add(hours, value)
			return
		}
	}
	s := &Series{Of: of, Name: name, Unit: unit, Limit: limit}
	s.Add(hours, value)
	f.report.Series = append(f.report.Series, s)
}

// judge prints a run's table, writes it down where that is asked for, and fails for what grows.
func judge(t *testing.T, r *Report, name string) {
	t.Helper()
	r.Judged()
	var table strings.Builder
	r.Print(&table)
	if *days > 0 || *realTime > 0 {
		say("\n" + table.String())
	} else {
		t.Log("\n" + table.String())
	}
	if *out != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(*out, name+".json"), append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, g := range r.Grew() {
		t.Errorf("%s grows", g)
	}
}

func say(line string) { fmt.Fprintln(os.Stderr, line) }
