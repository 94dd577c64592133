package daemon

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/probe"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// childDir tells this test binary to be a wanctl that is about to be killed.
const childDir = "WANCTL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Most tests wait for a ticker or a socket, not for a core.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// victim controls a line whose delay never rests, so that rates, writes and saves never do either.
func victim(dir string) error {
	clock := fastClock{400} // a changed rate is saved every 10 s of this clock
	pings := newScripted(clock, 28)
	pings.Pattern = func(n int64) unit.Millis {
		if (n+int64(os.Getpid()))%2 == 0 {
			return 100
		}
		return 28
	}
	a, err := NewAutorate(Common{
		Clock: clock, Dirs: Dirs{State: dir, Run: dir}, Version: "test",
		Hands: Hands{Probe: func(probe.Options) (Pinger, error) { return pings, nil }},
		OpenLog: func(name string, _ config.Logging) (*Log, error) {
			return OpenLog(LogOptions{Name: name, Files: config.Logging{Main: filepath.Join(dir, "log")}, Stderr: os.Stderr})
		},
	}, "victim.yaml", func() (*config.WAN, config.Diagnostics) {
		b, err := os.ReadFile(filepath.Join(dir, "victim.yaml"))
		if err != nil {
			panic(err)
		}
		f, ds := config.Parse("victim.yaml", strings.NewReader(string(b)), config.Options{
			ReadFile: os.ReadFile, Dirs: config.Dirs{Run: dir, State: dir},
		})
		if f == nil {
			return nil, ds
		}
		return f.WAN, ds
	})
	if err != nil {
		return err
	}
	go func() {
		<-a.Ready()
		fmt.Println("ready")
	}()
	return a.Run(context.Background())
}

// child starts this test's other life, a controller in a directory, and waits until it is up.
func child(t *testing.T, dir, what string) (*exec.Cmd, *shared) {
	t.Helper()
	stderr := new(shared)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nothing where the test did it
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s did not come up: %q, %v\n%s", what, line, err, stderr)
	}
	return cmd, stderr
}

// SIGKILL at a random moment, 25 times, and a hundred times where WANCTL_LONG is set: the next start comes up, the state or its backup is whole, and the router
// is never unlimited or above the ceiling.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds := 25
	if os.Getenv("WANCTL_LONG") != "" {
		rounds = 100
	}
	w := newWorld(t, rosim.DefaultOptions())
	// Cuts and raises in turn, each a write: GREEN lifts at once.
	w.set("{floor_mbps: 25, ", "{floor_green_mbps: 90, floor_yellow_mbps: 50, floor_red_mbps: 25, ")
	w.set("warn_bloat_ms: 10,", "warn_bloat_ms: 10, critical_bloat_ms: 20,")
	w.set("alpha_load: 0.99", "alpha_load: 1")
	w.put("victim.yaml", w.text)
	f, ds := w.parse(w.text)
	if f == nil {
		t.Fatal(ds)
	}
	path := f.WAN.StateFile
	seed := uint64(1)
	if s, err := strconv.ParseUint(os.Getenv("WANCTL_SEED"), 10, 64); err == nil {
		seed = s
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	for round := range rounds {
		cmd, stderr := child(t, w.dir, fmt.Sprintf("round %d (seed %d)", round, seed))
		// The random moment: some writes into the child's life, however slow this machine is, and then any time.
		writes := len(w.router.LimitHistory()) + rnd.IntN(4)
		for end := time.Now().Add(patience); len(w.router.LimitHistory()) < writes; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d (seed %d): the child does not write\n%s", round, seed, stderr)
			}
		}
		time.Sleep(time.Duration(rnd.IntN(75)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		whole := 0
		for _, p := range []string{path, path + ".bak"} {
			err := readFile(p, func(r io.Reader) error {
				_, err := state.ReadWAN(r, "ATT")
				return err
			})
			switch {
			case err == nil:
				whole++
			case !os.IsNotExist(err):
				t.Errorf("round %d (seed %d): %s: %v", round, seed, p, err)
			}
		}
		if whole == 0 && round > 3 {
			t.Errorf("round %d (seed %d): neither the state nor its backup can be read", round, seed)
		}
		for q, top := range map[string]unit.Rate{attDown: ceiling.Down, attUp: ceiling.Up} {
			if r, ok := w.router.MaxLimit(q); !ok || r <= 0 || r > top {
				t.Fatalf("round %d (seed %d): %s is at %v, its ceiling is %v", round, seed, q, r, top)
			}
		}
		if strings.Contains(stderr.String(), "panic") || strings.Contains(stderr.String(), "DATA RACE") {
			t.Fatalf("round %d (seed %d):\n%s", round, seed, stderr)
		}
	}
	w.sane()
	if n := len(w.router.LimitHistory()); n < rounds {
		t.Errorf("only %d writes in %d rounds: nothing was interrupted", n, rounds)
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 15 {
		t.Errorf("%d files are left behind: %v", len(entries), entries)
	}
	if log, err := os.ReadFile(w.path("log")); err != nil || strings.Contains(string(log), ".corrupt") {
		t.Errorf("a state was found corrupt (%v)", err)
	}
	// What a release after the last kill does.
	if _, err := (Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands, IfNotHandedOver: true}).Release(f); err != nil {
		t.Fatal(err)
	}
	if w.limits() != base {
		t.Errorf("a release left %v", w.limits())
	}
}
