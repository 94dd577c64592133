package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program is the binary under test, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wanctl-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	out := filepath.Join(dir, "wanctl")
	cmd := exec.Command("go", "build", "-o", out, "wanctl/cmd/wanctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build wanctl: %w\n%s", err, b)
	}
	return out, nil
})

var built string // directory of program

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// possible says why these tests cannot run here; nil when they can.
var possible = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	for _, p := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("iproute2: %w", err)
		}
	}
	ns := fmt.Sprintf("wanctl-try-%d", os.Getpid())
	if err := ip("netns", "add", ns); err != nil {
		return fmt.Errorf("network namespaces: %w", err)
	}
	defer func() { _ = ip("netns", "del", ns) }()
	return errors.Join(
		batch("ip", ns, "link add try0 type veth peer name try1", "link set try0 up", "link set try1 up"),
		batch(
			"tc", ns, "qdisc add dev try0 root handle 1: htb default 2",
			"class add dev try0 parent 1: classid 1:2 htb rate 1mbit", "qdisc add dev try0 parent 1:2 bfifo limit 20000",
			"filter add dev try0 parent 1: protocol ip prio 1 u32 match ip protocol 1 0xff flowid 1:2",
			"qdisc add dev try1 root tbf rate 1mbit burst 6000 limit 20000",
		))
})

func requireKernel(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long: real time on real queues (run without -short)")
	}
	if err := possible(); err != nil {
		t.Skipf("needs root: with network namespaces, HTB, TBF, bfifo and u32: %v", err)
	}
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
}

func ip(args ...string) error { return command("ip", args, "") }

// batch runs lines of ip or tc in a namespace, all of them or none after the first that fails.
func batch(tool, ns string, lines ...string) error {
	return command(tool, []string{"-n", ns, "-batch", "-"}, strings.Join(lines, "\n")+"\n")
}

func command(name string, args []string, in string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(in)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(b), in)
	}
	return nil
}

var spaces atomic.Int64

// namespace makes a network namespace that goes away with the test.
func namespace(t *testing.T, role string) string {
	t.Helper()
	ns := fmt.Sprintf("wanctl-%d-%d-%s", os.Getpid(), spaces.Add(1), role)
	if err := ip("netns", "add", ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ip("netns", "del", ns); err != nil {
			t.Error(err)
		}
	})
	// Without it every interface would announce itself over IPv6, and the counters would move by themselves.
	if err := within(ns, func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return nil
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return ns
}

// within runs f on a thread that is in a namespace: sockets f opens belong to it wherever they are used later.
func within(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := os.Open(filepath.Join("/run/netns", ns))
		if err != nil {
			done <- err
			return
		}
		defer fd.Close()
		if err := unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", ns, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// process is a program of ours in a namespace.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// start runs the binary in a namespace; it is stopped with the test. What it prints goes to a file, shown when the
// test fails.
func start(t *testing.T, ns, dir, name string, args ...string) (*process, *os.File) {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return startAs(t, ns, dir, name, append([]string{bin}, args...)...)
}

// startAs does so by a whole command line.
func startAs(t *testing.T, ns, dir, name string, args ...string) (*process, *os.File) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".out"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
	p.cmd.Env = append(os.Environ(), "HOME="+dir)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s said:\n%s", name, tail(b, 3000))
		}
	})
	return p, log
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// stop ends the process as a service manager would; it must obey within ten seconds, with status 0.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("did not stop within ten seconds of SIGTERM")
	}
}

// listenTCP accepts connections in a namespace until the test ends.
func listenTCP(t *testing.T, ns, addr string, control func(string, string, syscall.RawConn) error, serve func(net.Conn)) {
	t.Helper()
	var ln net.Listener
	if err := within(ns, func() (err error) {
		lc := net.ListenConfig{Control: control}
		ln, err = lc.Listen(t.Context(), "tcp4", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
}

// dialTCP connects from a namespace and, where given, a source address.
func dialTCP(ns, source, addr string, control func(string, string, syscall.RawConn) error) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 10 * time.Second, Control: control}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	err = within(ns, func() error {
		c, err = d.Dial("tcp4", addr)
		return err
	})
	return c, err
}

// cubic makes a socket use the congestion control that the figures are stated for.
func cubic(_, _ string, rc syscall.RawConn) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("cubic: %w (needs root: and a kernel with Cubic)", err)
	}
	return nil
}

// echo sends back what comes.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }
