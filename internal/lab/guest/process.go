package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/lab/report"
	"wanctl/internal/unit"
)

// readyIn is how long a process has until it says that it is ready; stopIn how long it has to end.
const (
	readyIn = 30 * time.Second
	stopIn  = 20 * time.Second
)

// supervised is a process of the plan, over all its starts.
type supervised struct {
	spec  Process
	dir   string
	start time.Time // of the scenario; zero before it

	mu    sync.Mutex
	cmd   *exec.Cmd
	done  chan struct{}
	asked bool // its end was asked for
	exits []report.ControllerExit
	cpuS  float64
	rss   unit.Bytes
}

// run starts the process and waits until it is ready.
func (s *supervised) run() error {
	path := filepath.Join(s.dir, s.spec.Name+".out")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("output of %s: %w", s.spec.Name, err)
	}
	cmd := exec.Command(s.spec.Args[0], s.spec.Args[1:]...)
	cmd.Env = append(os.Environ(), s.spec.Env...)
	found := make(chan struct{})
	said := &tail{want: []byte(s.spec.Ready), found: found}
	cmd.Stdout = io.MultiWriter(out, said)
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Second // a grandchild may hold the output
	if err := within(router, cmd.Start); err != nil {
		out.Close()
		return fmt.Errorf("start %s (%s): %w", s.spec.Name, strings.Join(s.spec.Args, " "), err)
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.done, s.asked = cmd, done, false
	s.mu.Unlock()
	go func() {
		defer close(done)
		_ = cmd.Wait()
		out.Close()
		s.ended(cmd)
	}()
	if s.spec.Ready == "" {
		return nil
	}
	timer := time.NewTimer(readyIn)
	defer timer.Stop()
	select {
	case <-found:
		return nil
	case <-done:
		return fmt.Errorf("%s ended before it was ready (%s): %s", s.spec.Name, cmd.ProcessState, said)
	case <-timer.C:
		return fmt.Errorf("%s was not ready after %v: %s", s.spec.Name, readyIn, said)
	}
}

// ended takes an exit down.
func (s *supervised) ended(cmd *exec.Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cpuS += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if u, ok := cmd.ProcessState.SysUsage().(*unix.Rusage); ok {
		s.rss = max(s.rss, unit.Bytes(u.Maxrss)*1024)
	}
	if !s.asked {
		e := report.ControllerExit{Status: cmd.ProcessState.String()}
		if !s.start.IsZero() {
			e.AtS = time.Since(s.start).Seconds()
		}
		s.exits = append(s.exits, e)
	}
}

// began tells that the scenario started.
func (s *supervised) began(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = t
}

// kill ends it without a warning.
func (s *supervised) kill() {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.asked = true
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	s.peak(cmd.Process.Pid)
	_ = cmd.Process.Kill()
	<-done
}

// stop asks it to end, and ends it if it does not.
func (s *supervised) stop() error {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.asked = true
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	s.peak(cmd.Process.Pid)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.spec.Name, err)
	}
	timer := time.NewTimer(stopIn)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("%s did not end within %v of SIGTERM", s.spec.Name, stopIn)
	}
}

// peak reads the most memory that a process had.
func (s *supervised) peak(pid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			if kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err == nil {
				s.mu.Lock()
				s.rss = max(s.rss, unit.Bytes(kb)*1024)
				s.mu.Unlock()
			}
		}
	}
}
