package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/unit"
)

// manager is systemd's end of the notification socket.
type manager struct {
	t *testing.T
	c *net.UnixConn
}

func newManager(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	return &manager{t, c}
}

// until reads messages up to one with that beginning and returns those before it.
func (m *manager) until(prefix string) (before []string) {
	m.t.Helper()
	if err := m.c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	for {
		n, err := m.c.Read(b)
		if err != nil {
			m.t.Fatalf("waiting for %s after %q: %v", prefix, before, err)
		}
		if s := string(b[:n]); strings.HasPrefix(s, prefix) {
			return before
		} else {
			before = append(before, s)
		}
	}
}

// ours are the goroutines that run this package's code beside the tests.
func ours() (out []string) {
	b := make([]byte, 1<<20)
	for _, g := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(g, "wanctl/internal/daemon.") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "rosim") {
			out = append(out, g)
		}
	}
	return out
}

// The whole conversation with the service manager, and that nothing runs on after the end. Not parallel: it looks at all
// goroutines.
func TestServiceManager(t *testing.T) {
	m := newManager(t, 60*time.Millisecond)
	s := newSteerWorld(t)
	w := newWorld(t, rosim.DefaultOptions())
	s.clock, s.pings.Clock = w.clock, w.clock
	reload := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{Tasks: []Task{w.autorate(), s.task()}, Clock: w.clock, Log: slog.New(NewTextHandler(w.log, "wanctl", slog.LevelInfo)), Reload: reload}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if before := m.until("READY=1\nSTATUS=running ATT, steering"); len(before) != 0 {
		t.Errorf("before it was ready it said %q", before)
	}
	if w.pings.looks.Load() == 0 {
		t.Error("ready before the first cycle")
	}
	m.until("WATCHDOG=1")
	// Lost probes are not a lost process.
	w.pings.set(0)
	w.pings.cycles(t, 60)
	for range 3 {
		m.until("WATCHDOG=1")
	}
	reload <- struct{}{}
	m.until("RELOADING=1\nMONOTONIC_USEC=")
	m.until("READY=1")
	if !w.log.has("ATT: configuration reloaded") {
		t.Error("nothing of the reload in the log")
	}
	good := w.text
	w.text = "wan_name: ["
	reload <- struct{}{}
	m.until("RELOADING=1")
	m.until("READY=1")
	if !w.log.has("reload refused, the old configuration stays") {
		t.Error("a broken file was not refused")
	}
	w.text = good
	all, dead, err := ReadStatus(w.dir)
	if err != nil || len(dead) != 0 || len(all) != 1 || all[0].Name != "ATT" || all[0].WAN == nil || all[0].PID != os.Getpid() {
		t.Errorf("the status is %+v, %v, %v", all, dead, err)
	}
	if all, _, err := ReadStatus(s.dir); err != nil || len(all) != 1 || all[0].Steer == nil || !strings.HasPrefix(all[0].Steer.State, "SPECTRUM_") {
		t.Errorf("the status is %+v, %v", all, err)
	}
	cancel()
	m.until("STOPPING=1")
	if err := <-done; err != nil {
		t.Error(err)
	}
	left := ours()
	for n := 0; n < 1000 && len(left) > 0; n++ { // one that said it is done may be on its last instruction
		runtime.Gosched()
		left = ours()
	}
	if len(left) != 0 {
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	if all, dead, err := ReadStatus(w.dir); err != nil || len(all)+len(dead) != 0 {
		t.Errorf("the status after the end is %+v, %v, %v", all, dead, err)
	}
}

// fakeTask is a task that is what its fields say.
type fakeTask struct {
	*progress
	Err     error
	Reloads int
}

func (f *fakeTask) Run(ctx context.Context) error {
	if f.Err != nil {
		return f.Err
	}
	<-ctx.Done()
	return nil
}
func (f *fakeTask) Reload(context.Context) error { f.Reloads++; return nil }
func (f *fakeTask) String() string               { return "fake" }

// A loop that makes no cycle is not reported alive, and is again once it makes one.
func TestWatchdogStopsWithTheLoop(t *testing.T) {
	m := newManager(t, 30*time.Millisecond)
	clock := &handClock{}
	clock.at.Store(int64(time.Hour))
	task := &fakeTask{progress: newProgress(clock.Now(), 2*time.Second)}
	log, buf := testLog(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	reload := make(chan struct{})
	go func() {
		done <- (&Process{Tasks: []Task{task}, Clock: clock, Log: log.Logger, Reload: reload}).Run(ctx)
	}()
	task.made(clock.Now())
	m.until("READY=1")
	m.until("WATCHDOG=1")
	clock.at.Add(int64(10*time.Second) + 1)
	for !buf.has("makes no progress") { // the first look after the clock moved takes it for sleep
		runtime.Gosched()
	}
	reload <- struct{}{} // what came before this was before the loop stuck
	m.until("READY=1")
	reload <- struct{}{}
	if alive := m.until("RELOADING=1"); len(alive) != 0 {
		t.Errorf("a stuck loop is reported: %q", alive)
	}
	m.until("READY=1")
	task.made(clock.Now())
	m.until("WATCHDOG=1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStale(t *testing.T) {
	for period, want := range map[time.Duration]time.Duration{50 * time.Millisecond: 10 * time.Second, time.Minute: 3 * time.Minute} {
		if _, stale := newProgress(1, period).Progress(); stale != want {
			t.Errorf("at a period of %v the loop is stuck after %v, want %v", period, stale, want)
		}
	}
}

func TestAFailedTaskEndsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := testLog(t)
		boom := errors.New("boom")
		good := &fakeTask{progress: newProgress(0, time.Second)}
		err := (&Process{
			Tasks: []Task{good, &fakeTask{progress: newProgress(0, time.Second), Err: boom}}, Clock: &handClock{}, Log: log.Logger,
		}).Run(t.Context())
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), "fake") {
			t.Errorf("%v", err)
		}
	})
}

// A dead process's socket is named, and a client that says nothing holds nobody up.
func TestStatusSocket(t *testing.T) {
	dir := t.TempDir()
	stop, err := serveStatus(socketPath(dir, "ATT"), answers{status: func() Status { return Status{Name: "ATT", Healthy: true} }})
	if err != nil {
		t.Fatal(err)
	}
	dumb, err := net.Dial("unix", socketPath(dir, "ATT"))
	if err != nil {
		t.Fatal(err)
	}
	defer dumb.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir, "Dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	all, dead, err := ReadStatus(dir)
	if err != nil || len(all) != 1 || !all[0].Healthy || len(dead) != 1 || dead[0] != "Dead" {
		t.Errorf("%+v, %q, %v", all, dead, err)
	}
	stop()
	if _, err := os.Stat(socketPath(dir, "ATT")); err == nil {
		t.Error("the socket is left behind")
	}
	stop2, err := serveStatus(socketPath(dir, "Dead"), answers{status: func() Status { return Status{Name: "Dead"} }})
	if err != nil {
		t.Errorf("a dead process's socket is in the way: %v", err)
	}
	stop2()
	if _, err := serveStatus("/proc/nowhere/x.sock", answers{}); err == nil {
		t.Error("a socket in /proc was made")
	}
}

func TestBootAndClock(t *testing.T) {
	if id, err := BootID(); err != nil || len(id) != 36 {
		t.Errorf("%q, %v", id, err)
	}
	var c HostClock
	if a, b := c.Now(), c.Now(); a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
	if ageSeconds(5, 0) != unknownAge || ageSeconds(unit.Time(3*time.Second), unit.Time(time.Second)) != 2 {
		t.Error("ages are wrong")
	}
}
