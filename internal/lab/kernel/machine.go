package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine runs one command on the lab's kernel.
type Machine struct {
	Image Image
	// Dir is the directory that the machine sees as /lab, and its current one. The command's output is in its files
	// stdout and stderr, the kernel's console in console.
	Dir string
	// Command is a line for the machine's shell.
	Command string
	// RealTime lets the machine's clock run with the host's: figures then depend on the host's speed, and CPU time means
	// something. Otherwise the clock is virtual: work takes no time, and waiting is skipped.
	RealTime bool
	// Memory is the machine's, in MiB; 0 is 1024.
	Memory int
	// Timeout is how long it may take outside; 0 is 20 minutes. A machine in virtual time that never waits never ends.
	Timeout time.Duration
	// Warden is the command that runs a machine for as long as its standard input is open: this program, with the
	// arguments that lead to [Ward].
	Warden []string
}

// MachineError is a machine that did not come to its command's end. The end of its console says more.
type MachineError struct {
	What    string
	Console string // the last lines
	Path    string // the whole console
}

// Error says what happened and shows the console's end.
func (e *MachineError) Error() string {
	return fmt.Sprintf("%s; its console (%s) ended with:\n%s", e.What, e.Path, indent(e.Console))
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// files of a machine's directory.
const (
	consoleFile = "console"
	cmdFile     = "cmd"
	rcFile      = "rc"
	umlDir      = ".machine"
)

// consoleLines is how much of a console an error shows.
const consoleLines = 15

// Run runs the machine and returns its command's exit status. When ctx ends, or this process does, the machine is gone.
func (m Machine) Run(ctx context.Context) (int, error) {
	dir, err := filepath.Abs(m.Dir)
	if err != nil {
		return 0, fmt.Errorf("the machine's directory: %w", err)
	}
	if strings.ContainsAny(dir, ", ") {
		return 0, fmt.Errorf("the machine's directory %q: a path with a comma or a blank cannot be handed to its kernel; choose another", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, umlDir), 0o755); err != nil {
		return 0, fmt.Errorf("the machine's directory: %w", err)
	}
	defer os.RemoveAll(filepath.Join(dir, umlDir))
	_ = os.Remove(filepath.Join(dir, rcFile)) // of an earlier run
	if err := os.WriteFile(filepath.Join(dir, cmdFile), []byte(m.Command+"\n"), 0o644); err != nil {
		return 0, fmt.Errorf("the machine's command: %w", err)
	}
	console, err := os.Create(filepath.Join(dir, consoleFile))
	if err != nil {
		return 0, fmt.Errorf("the machine's console: %w", err)
	}
	defer console.Close()
	timeout := m.Timeout
	if timeout == 0 {
		timeout = 20 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %v", timeout))
	defer cancel()
	memory := m.Memory
	if memory == 0 {
		memory = 1024
	}
	args := []string{
		m.Image.Kernel, "mem=" + strconv.Itoa(memory) + "M", "initrd=" + m.Image.Initrd, "hostfs=" + dir,
		"uml_dir=" + filepath.Join(dir, umlDir), "con=null", "con0=null,fd:1", "quiet", "panic=-1",
	}
	if !m.RealTime {
		args = append(args, "time-travel=inf-cpu")
	}
	cmd := exec.Command(m.Warden[0], append(m.Warden[1:], args...)...)
	cmd.Stdout, cmd.Stderr = console, console
	// The kernel keeps its memory in a file of TMPDIR: in memory, not on a disk.
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(dir))
	life, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("start the machine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the machine: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { life.Close() })
	werr := cmd.Wait()
	stop()
	rc, rerr := os.ReadFile(filepath.Join(dir, rcFile))
	if status, err := strconv.Atoi(strings.TrimSpace(string(rc))); rerr == nil && err == nil && ctx.Err() == nil {
		return status, nil
	}
	e := &MachineError{Path: filepath.Join(dir, consoleFile), Console: lastLines(filepath.Join(dir, consoleFile), consoleLines)}
	switch {
	case ctx.Err() != nil:
		e.What = fmt.Sprintf("the machine was ended: %v", context.Cause(ctx))
	case werr != nil:
		e.What = fmt.Sprintf("the machine failed (%v)", werr)
	default:
		e.What = "the machine ended without a word about its command"
	}
	return 0, e
}

// memoryDir is a place in memory where files can be mapped executable, else dir.
func memoryDir(dir string) string {
	const shm = "/dev/shm"
	var s syscall.Statfs_t
	if err := syscall.Statfs(shm, &s); err != nil || s.Flags&noexec != 0 || uint64(s.Bsize)*s.Bavail < 1<<30 {
		return dir
	}
	return shm
}

// noexec is ST_NOEXEC of statvfs(3).
const noexec = 8

// lastLines is the end of a console or log, for people.
func lastLines(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	// A panic's cause comes before its stack.
	if at := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "Kernel panic") }); at >= 0 {
		lines = lines[at:min(len(lines), at+n)]
	} else if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	for i := range lines {
		if len(lines[i]) > 300 {
			lines[i] = lines[i][:300] + "…"
		}
	}
	return strings.Join(lines, "\n")
}

// group makes a command the leader of a group of its own, all of which ends with its context.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

// Ward runs a machine for as long as life can be read, and leaves nothing of it behind. It is a process of its own, so
// that it outlives the one that asked for the machine, even when that is killed.
func Ward(args []string, life io.Reader, console *os.File) error {
	if len(args) == 0 {
		return errors.New("no machine to run")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = console, console
	// A user-mode kernel has a process per address space, all in its group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread ends that started the process.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, life)
		close(gone)
	}()
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	select {
	case err := <-done:
		kill() // its processes that are left
		return err
	case <-gone:
	}
	kill()
	err := <-done
	for _, a := range args { // what the one that asked would have removed
		if dir, ok := strings.CutPrefix(a, "uml_dir="); ok {
			_ = os.RemoveAll(dir)
		}
	}
	return err
}
