package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
)

// binary is the static program under test.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wanctl-lab-test")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "wanctl")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "wanctl/cmd/wanctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build wanctl: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// machine is the image, or the test is skipped: it takes minutes to build, and Debian's sources.
func machine(t *testing.T) Image {
	t.Helper()
	cache, err := CacheDir(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	img, err := Find(t.Context(), cache)
	if errors.Is(err, ErrNoImage) {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func warden() []string { return []string{binary, "lab", "ward"} }

func session(t *testing.T, sc *scenario.Scenario, controller string) Session {
	t.Helper()
	return Session{
		Scenario: sc, Controller: controller, Dir: filepath.Join(t.TempDir(), "run"), Image: machine(t), Binary: binary,
		Warden: warden(), Version: "test", Now: time.Now, Timeout: 5 * time.Minute,
	}
}

func builtin(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Builtin(name, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play runs a session whose figures can be believed.
func play(t *testing.T, s Session) *report.Result {
	t.Helper()
	raw, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := report.Evaluate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Valid {
		t.Fatalf("%s under %s is not valid: %v", r.Scenario, r.Controller, r.Invalid)
	}
	return r
}

// The closed loop helps: while the capacity is halved, the setting for lines that move keeps the added delay to a third
// of what a fixed rate gives, and uses the line.
func TestTheLoopHelps(t *testing.T) {
	machine(t)
	results := map[string]*report.Result{}
	for _, c := range []string{Static, Fast} {
		t.Run(c, func(t *testing.T) {
			results[c] = play(t, session(t, builtin(t, "drop"), c))
		})
	}
	if t.Failed() {
		return
	}
	for i, d := range []link.Direction{link.Down, link.Up} { // wan1 has the download, wan2 the upload
		name := results[Static].Links[i].Name
		was, is := results[Static].Links[i].Phase("halved"), results[Fast].Links[i].Phase("halved")
		a, b := was.UDP.Get(d).Added, is.UDP.Get(d).Added
		share := is.Traffic.Get(d).Share
		if a == nil || b == nil || share == nil {
			t.Fatalf("%s: figures are missing: %+v %+v", name, was, is)
		}
		t.Logf("%s %s halved: added p95 %.1f ms under wanctl, %.1f ms with a fixed rate; %.1f %% of the line used",
			name, d, b.P95, a.P95, *share*100)
		if b.P95*3 > a.P95 {
			t.Errorf("%s %s: p95 is %.1f ms, more than a third of the fixed rate's %.1f ms", name, d, b.P95, a.P95)
		}
		if *share < 0.85 {
			t.Errorf("%s %s: only %.1f %% of the line is used", name, d, *share*100)
		}
	}
}

// A machine that panics, hangs or is interrupted is an error that shows its console, and leaves nothing behind.
func TestMachinesThatFail(t *testing.T) {
	img := machine(t)
	run := func(t *testing.T, ctx context.Context, command string, timeout time.Duration) (*MachineError, string) {
		t.Helper()
		dir := t.TempDir()
		_, err := Machine{Image: img, Dir: dir, Command: command, Timeout: timeout, Warden: warden()}.Run(ctx)
		var me *MachineError
		if !errors.As(err, &me) {
			t.Fatalf("got %v, want a MachineError", err)
		}
		nothingLeft(t, dir)
		return me, dir
	}
	t.Run("panic", func(t *testing.T) {
		e, _ := run(t, t.Context(), "echo c >/proc/sysrq-trigger; sleep 5", time.Minute)
		if !strings.Contains(e.Error(), "sysrq triggered crash") {
			t.Errorf("the console's end is not shown: %v", e)
		}
	})
	t.Run("hang", func(t *testing.T) {
		e, _ := run(t, t.Context(), "while :; do :; done", 5*time.Second)
		if !strings.Contains(e.Error(), "longer than 5s") {
			t.Errorf("it does not say that it took too long: %v", e)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		run(t, ctx, "while :; do :; done", time.Minute)
	})
	t.Run("status", func(t *testing.T) {
		dir := t.TempDir()
		status, err := Machine{Image: img, Dir: dir, Command: "echo hello; exit 7", Warden: warden()}.Run(t.Context())
		if out, _ := os.ReadFile(filepath.Join(dir, "stdout")); err != nil || status != 7 || string(out) != "hello\n" {
			t.Errorf("status %d, error %v, output %q", status, err, out)
		}
		nothingLeft(t, dir)
	})
}

// nothingLeft fails when a process still has the directory in its command line, or its scratch directory is there.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, umlDir)); !os.IsNotExist(err) {
		t.Errorf("%s is left behind", umlDir)
	}
}

func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err == nil && bytes.Contains(b, []byte(dir)) {
			found = append(found, p+": "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

// The one who asked for a run is killed without a warning: the machine goes, too.
func TestKilledRunLeavesNothing(t *testing.T) {
	machine(t)
	dir := t.TempDir()
	cmd := exec.Command(binary, "lab", "run", "drop", "--controller", "none", "--out", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until := func(what string, cond func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%s", what, &out)
			}
		}
	}
	started := func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "drop.none.1", "stdout"))
		return bytes.Contains(b, []byte("start of drop"))
	}
	until("the scenario starts", started)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	until("the machine is gone", func() bool { return len(processesOf(t, dir)) == 0 })
	until("its scratch directory is gone", func() bool {
		_, err := os.Stat(filepath.Join(dir, "drop.none.1", umlDir))
		return os.IsNotExist(err)
	})
}
