package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"wanctl/internal/daemon"
	"wanctl/internal/probe"
	"wanctl/internal/state"
	"wanctl/internal/steer"
)

// programDir is where wanctl is built, the first of PATH.
var programDir string

// program builds wanctl once, so that stories and documents run it as a real process: the program that is shipped, so its processes
// begin ten times as fast as the test binary would under the race detector. Where WANCTL_LONG is set they are under it, too.
var program = sync.OnceValue(func() error {
	args := []string{"build", "-o", filepath.Join(programDir, "wanctl")}
	cgo := "CGO_ENABLED=0"
	if os.Getenv("WANCTL_LONG") != "" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "wanctl/cmd/wanctl")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build wanctl: %w\n%s", err, out)
	}
	return nil
})

func TestMain(m *testing.M) {
	// Stories wait much more than they compute, so more of them than processors go at once.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err) // there is always such a flag
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wanctl-cli-")
		if err == nil {
			defer os.RemoveAll(dir)
			programDir = dir
			err = os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

const (
	storyBound = 60 * time.Second      // how long a story waits for what it expects; only a failure takes that long
	storyPause = 50 * time.Millisecond // between two looks
)

// TestStories plays testdata/script: the real program, real SSH to an emulated router and real ICMP to loopback.
//
// Besides testscript's own commands there are:
//
//	fill TEMPLATE OUT [KEY=VALUE…]           a configuration from a template; {{router}} is what the emulator says of itself;
//	                                         a VALUE of @FILE is that file's text; $PORT is then the emulator's
//	exits CODE PROGRAM…                      runs and compares the exit code
//	eventually [-code N] [-out RE] [-err RE] PROGRAM…
//	eventually -file PATH RE                 looks again and again, up to a generous bound
//	signal NAME LOCK                         signals the process that holds a lock file
//	steered FILE                             writes a state in which Spectrum is steered away from
//	webserver                                a server at $URL: /endless, paced, and /dies, which ends in the middle
//	router COMMAND                           the machine's own ssh client, logged in to the emulator of directory emu;
//	                                         a PROGRAM, too
func TestStories(t *testing.T) {
	t.Parallel()
	if err := program(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RUNTIME_DIRECTORY", filepath.Join(e.WorkDir, "run"))
			e.Setenv("STATE_DIRECTORY", filepath.Join(e.WorkDir, "state"))
			e.Setenv("REPO", repository)
			return os.CopyFS(filepath.Join(e.WorkDir, "site"), os.DirFS(filepath.Join(repository, "testdata", "script", "site")))
		},
		Condition: func(cond string) (bool, error) {
			if cond == "icmp" {
				return canPing(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fill": fill, "exits": exits, "router": router, "eventually": eventually, "signal": signalHolder, "steered": steered,
			"webserver": webserver,
		},
	})
}

var repository = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err) // the process has no working directory
	}
	return dir
}()

// canPing says whether this user may send ICMP echoes by any of the two ways.
func canPing() bool {
	p, err := probe.Open(probe.Options{
		Targets: []string{"127.0.0.1"}, Interval: time.Second, Timeout: time.Second, Now: daemon.HostClock{}.Now,
	})
	if err != nil {
		return false
	}
	return p.Close() == nil
}

var placeholder = regexp.MustCompile(`\{\{([a-z_]+)(?:=([^}]*))?\}\}`)

func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fill TEMPLATE OUT [KEY=VALUE…]")
	}
	values := map[string]string{"work": ts.Getenv("WORK")}
	if b, err := os.ReadFile(ts.MkAbs("emu/router.yaml")); err == nil {
		values["router"] = strings.TrimSpace(string(b))
		ts.Setenv("PORT", routerField(ts, "port"))
	}
	given := map[string]string{}
	for _, a := range args[2:] {
		k, v, ok := strings.Cut(a, "=")
		if !ok {
			ts.Fatalf("fill: %q is not KEY=VALUE", a)
		}
		if path, ok := strings.CutPrefix(v, "@"); ok {
			v = strings.TrimSpace(ts.ReadFile(path))
		}
		given[k] = v
	}
	unused := maps.Clone(given)
	maps.Copy(values, given)
	out := placeholder.ReplaceAllStringFunc(ts.ReadFile(args[0]), func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		delete(unused, m[1])
		if v, ok := values[m[1]]; ok {
			return v
		}
		if !strings.Contains(s, "=") {
			ts.Fatalf("fill: %s has no value for %s", args[0], s)
		}
		return m[2]
	})
	if len(unused) > 0 {
		ts.Fatalf("fill: %s has no place for %v", args[0], unused)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out), 0o600))
}

// commandOf replaces router by an ssh client that is logged in to the emulator.
func commandOf(ts *testscript.TestScript, args []string) []string {
	if len(args) == 0 {
		ts.Fatalf("no program to run")
	}
	if args[0] != "router" {
		return args
	}
	field := func(name string) string { return routerField(ts, name) }
	return append([]string{
		"ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "UserKnownHostsFile=" + field("known_hosts"), "-i", field("ssh_key"), "-p", field("port"),
		field("user") + "@" + field("host"),
	}, args[1:]...)
}

// routerField is a line of what the emulator said of itself.
func routerField(ts *testscript.TestScript, name string) string {
	m := regexp.MustCompile(`(?m)^ *` + name + `: (.*)$`).FindStringSubmatch(ts.ReadFile("emu/router.yaml"))
	if m == nil {
		ts.Fatalf("emu/router.yaml has no %s", name)
	}
	return m[1]
}

// run executes a program and returns its exit code.
func run(ts *testscript.TestScript, args []string) int {
	args = commandOf(ts, args)
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	}
	ts.Fatalf("%s: %v", args[0], err)
	return -1
}

func router(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: router COMMAND")
	}
	if code := run(ts, append([]string{"router"}, args...)); code != 0 {
		ts.Fatalf("the router's ssh ended with %d", code)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1:]); got != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("eventually cannot be negated")
	}
	code := -1
	var want []func() error
	match := func(what, expr string) func() error {
		re, err := regexp.Compile("(?m)" + expr)
		ts.Check(err)
		return func() error {
			if what != "stdout" && what != "stderr" {
				if _, err := os.Stat(ts.MkAbs(what)); err != nil {
					return err
				}
			}
			if s := ts.ReadFile(what); !re.MatchString(s) {
				return fmt.Errorf("no match for %q in %s:\n%s", expr, what, s)
			}
			return nil
		}
	}
options:
	for len(args) >= 2 {
		switch args[0] {
		case "-code":
			n, err := strconv.Atoi(args[1])
			ts.Check(err)
			code = n
		case "-out":
			want = append(want, match("stdout", args[1]))
		case "-err":
			want = append(want, match("stderr", args[1]))
		case "-file":
			if len(args) != 3 {
				ts.Fatalf("usage: eventually -file PATH RE")
			}
			want, args = append(want, match(args[1], args[2])), nil
			break options
		default:
			break options
		}
		args = args[2:]
	}
	if args != nil && code < 0 {
		code = 0
	}
	look := func() error {
		if args != nil {
			if got := run(ts, args); got != code {
				return fmt.Errorf("ended with %d, want %d", got, code)
			}
		}
		for _, w := range want {
			if err := w(); err != nil {
				return err
			}
		}
		return nil
	}
	every := time.NewTicker(storyPause)
	defer every.Stop()
	for end := time.Now().Add(storyBound); ; {
		err := look()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not within %s: %v", storyBound, err)
		}
		<-every.C
	}
}

func signalHolder(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|INT|HUP|KILL LOCK")
	}
	var holder struct{ PID int }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &holder))
	for _, c := range ts.BackgroundCmds() {
		if c.Process.Pid == holder.PID {
			if err := c.Process.Signal(signals[args[0]]); !errors.Is(err, os.ErrProcessDone) { // it may end between two of them
				ts.Check(err)
			}
			return
		}
	}
	ts.Fatalf("%s names process %d, which this story did not start", args[1], holder.PID)
}

func steered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: steered FILE")
	}
	boot, err := daemon.BootID()
	ts.Check(err)
	c := daemon.HostClock{}
	var b bytes.Buffer
	ts.Check(state.WriteSteering(&b, state.Steering{
		Name: "steering", Primary: "Spectrum", BootID: boot, At: c.Now(), Saved: c.Wall(),
		Machine: steer.Snapshot{At: c.Now(), State: steer.Degraded},
	}))
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, b.Bytes(), 0o600))
}

// webserver serves what a line can be loaded with, at a pace that leaves the machine to others, until the story ends.
func webserver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: webserver")
	}
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, r *http.Request, pieces int) {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		piece := make([]byte, 100_000)
		for range pieces {
			if _, err := w.Write(piece); err != nil {
				return
			}
			select {
			case <-pace.C:
			case <-r.Context().Done():
				return
			}
		}
	}
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, r *http.Request) { send(w, r, 1<<30) })
	mux.HandleFunc("GET /dies", func(w http.ResponseWriter, r *http.Request) {
		send(w, r, 50)
		panic(http.ErrAbortHandler)
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	ts.Defer(s.CloseClientConnections)
	ts.Setenv("URL", s.URL)
}
