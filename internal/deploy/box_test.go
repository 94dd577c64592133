package deploy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/daemon"
	"wanctl/internal/install"
)

// program is the binary that is deployed, built once.
var program = sync.OnceValues(func() (string, error) { return build("amd64", "one") })

// programDir holds what is built.
var programDir string

func build(arch, version string, more ...string) (string, error) {
	out := filepath.Join(programDir, "wanctl-"+arch+"-"+version)
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w -X wanctl/internal/cli.Version=" + version, "-o", out}, more...)
	cmd := exec.Command("go", append(args, "wanctl/cmd/wanctl")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build wanctl for %s: %w\n%s", arch, err, b)
	}
	return out, nil
}

func TestMain(m *testing.M) {
	if os.Getenv(pretendAs) == "systemctl" {
		os.Exit(systemctl(os.Getenv(pretendRoot), os.Args[1:]))
	}
	dir, err := os.MkdirTemp("", "wanctl-deploy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programDir = dir
	flag.Parse()
	// They wait much more than they compute, so more of them than processors go at once.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err) // there is always such a flag
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// possible says why no OpenSSH server can be run here; nil when one can.
var possible = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("not root: other users, sudo and mounts are needed")
	}
	for _, p := range []string{"/usr/sbin/sshd", "/usr/bin/sudo", "/usr/bin/unshare", "/usr/bin/systemd-sysusers"} {
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("openssh-server, sudo, util-linux and systemd: %w", err)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	return exec.Command("unshare", "-m", "true").Run()
})

// secretWord is the password of the user deployer, and hashed what its shadow has.
const (
	secretWord = "correct horse"
	hashed     = "$6$wanctltest$P3UsRLRcoDNbF1zyr6DgQ9ESJjHfaRzaiM1w4FBeVRyAvEZuUbBuw54Zq5s5k7H10wX3BalVbQPLzeGvVowS/1"
)

// box is a host: a real OpenSSH server over a throw-away root, with users of its own.
type box struct {
	t              *testing.T
	dir, root      string
	port           int // the way in, which can be cut
	sshd           int // the server's own
	key            string
	known          string
	mu             sync.Mutex
	conns          []net.Conn
	budget         int64 // bytes that may still go to the host; negative: any number
	refuse         bool
	manager        manager
	emulator       string
	emulatorRouter string
}

type boxOptions struct {
	noSystemd bool
	sudoers   string // lines for the user deployer
	mounts    string // more shell in the mount namespace
	home      string // "ro": the user's home cannot be written
}

func newBox(t *testing.T, o boxOptions) *box {
	t.Helper()
	if err := possible(); err != nil {
		t.Skipf("no OpenSSH server can be run here: %v", err)
	}
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := &box{t: t, dir: dir, root: filepath.Join(dir, "root"), budget: -1}
	b.manager = manager{b.root}
	for _, d := range []string{"usr/bin", "etc/systemd/system", "run/fake", "shim", "home/kevin/wanctl/configs", "var/spool/cron/crontabs"} {
		b.mkdir(filepath.Join(b.root, d))
	}
	if !o.noSystemd {
		b.mkdir(filepath.Join(b.root, "run/systemd/system"))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.write("root/shim/systemctl", fmt.Sprintf("#!/bin/sh\n%s=systemctl %s=%s exec %s \"$@\"\n", pretendAs, pretendRoot, b.root, self), 0o755)
	t.Cleanup(func() { b.manager.halt() })
	b.serve(o)
	b.listen()
	return b
}

func (b *box) mkdir(path string) {
	b.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) write(name, text string, mode os.FileMode) string {
	b.t.Helper()
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(b.dir, name)
	}
	b.mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *box) read(elem ...string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{b.root}, elem...)...))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// newKey makes a key pair; with a passphrase it is locked.
func newKey(t *testing.T, path, passphrase string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// serve starts the server.
func (b *box) serve(o boxOptions) {
	t := b.t
	t.Helper()
	host := newKey(t, filepath.Join(b.dir, "host_key"), "")
	b.key = filepath.Join(b.dir, "client_key")
	client := newKey(t, b.key, "")
	b.write("authorized_keys", string(ssh.MarshalAuthorizedKey(client)), 0o644)
	b.sshd = freePort(t)
	b.write("passwd", "root:x:0:0:root:/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/false\n"+
		"deployer:x:30001:30001::"+b.dir+"/home:/bin/sh\n", 0o644)
	b.write("shadow", "root:*:19000:0:99999:7:::\nsshd:!:19000::::::\ndeployer:"+hashed+":19000:0:99999:7:::\n", 0o640)
	b.write("group", "root:x:0:\nnogroup:x:65534:\ndeployer:x:30001:\n", 0o644)
	b.write("sudoers", "Defaults env_reset\nDefaults use_pty\nDefaults secure_path=\""+b.root+"/shim:/usr/sbin:/usr/bin:/sbin:/bin\"\nroot ALL=(ALL:ALL) ALL\n"+o.sudoers+"\n", 0o440)
	b.mkdir(filepath.Join(b.dir, "home"))
	if o.home != "ro" {
		if err := os.Chown(filepath.Join(b.dir, "home"), 30001, 30001); err != nil {
			t.Fatal(err)
		}
	}
	config := b.write("sshd_config", fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host_key
AuthorizedKeysFile %s/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 50
SetEnv PATH=%s/shim:%s/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin RUNTIME_DIRECTORY=%s/run/wanctl STATE_DIRECTORY=%s/var/lib/wanctl
`, b.sshd, b.dir, b.dir, b.root, b.root, b.root, b.root), 0o644)
	script := fmt.Sprintf("set -e\nfor f in passwd shadow group sudoers; do mount --bind %s/$f /etc/$f; done\nBOX=%s\n%s\nexec /usr/sbin/sshd -D -e -f %s", b.dir, b.dir, o.mounts, config)
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		b.cut()
		_ = syscall.Kill(cmd.Process.Pid, syscall.SIGTERM)
		<-gone
		if t.Failed() {
			t.Logf("sshd said:\n%s", said.String())
		}
	})
	eventually(t, "the OpenSSH server listens", func() error {
		select {
		case <-gone:
			return fmt.Errorf("it ended: %s", said.String())
		default:
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.sshd))
		if err == nil {
			c.Close()
		}
		return err
	})
	b.known = b.write("known_hosts", "", 0o600)
	b.trust(host)
}

// trust records a host key for the way in.
func (b *box) trust(key ssh.PublicKey) {
	b.t.Helper()
	if b.port == 0 {
		b.port = freePort(b.t)
	}
	b.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", b.port, ssh.MarshalAuthorizedKey(key)), 0o600)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// listen is the way in: everything passes through here, so that it can be cut at any byte.
func (b *box) listen() {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			refuse := b.refuse
			b.mu.Unlock()
			if refuse {
				c.Close()
				continue
			}
			s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.sshd))
			if err != nil {
				c.Close()
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, c, s)
			b.mu.Unlock()
			go b.pump(s, c, true)
			go b.pump(c, s, false)
		}
	}()
}

func (b *box) pump(to, from net.Conn, up bool) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if up && b.spend(int64(n)) {
				b.cut()
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// spend counts bytes to the host, and says when there may be no more.
func (b *box) spend(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.budget < 0 {
		return false
	}
	if b.budget -= n; b.budget <= 0 {
		b.budget = -1
		return true
	}
	return false
}

// cut ends every connection.
func (b *box) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.Close()
	}
	b.conns = nil
}

// kill ends the server's sessions the hard way: the processes of every connection.
func (b *box) kill() {
	out, err := exec.Command("pgrep", "-f", "^sshd: (root|deployer)").Output()
	if err == nil {
		for _, f := range strings.Fields(string(out)) {
			pid, _ := strconv.Atoi(f)
			if b.descends(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	b.cut()
}

// descends says whether a process is one of this box's server: it has our port in its environment or its parent does.
func (b *box) descends(pid int) bool {
	for range 4 {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return false
		}
		if strings.Contains(string(line), b.dir) {
			return true
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		var state string
		if _, err := fmt.Sscanf(rest, "%s %d", &state, &pid); err != nil {
			return false
		}
	}
	return false
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
	}
}

// emulate starts an emulated router beside the host.
func (b *box) emulate() {
	t := b.t
	t.Helper()
	bin := theProgram(t)
	b.emulator = filepath.Join(b.dir, "emu")
	cmd := exec.Command(bin, "emulate", "--listen", "127.0.0.1:0", "--dir", b.emulator, "--journal", filepath.Join(b.dir, "router.jsonl"))
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+b.dir)
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
	})
	eventually(t, "the emulator listens", func() error {
		text, err := os.ReadFile(filepath.Join(b.emulator, "router.yaml"))
		b.emulatorRouter = string(text)
		return err
	})
}

func theProgram(t *testing.T) string {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// wan is the text of a line's configuration.
func (b *box) wan(name, more string) string {
	return fmt.Sprintf(`wan_name: %s
%s
queues: {download: WAN-Download-%s, upload: WAN-Upload-%s}
continuous_monitoring:
  interval_ms: 200
  download: {floor_mbps: 25, ceiling_mbps: 90, base_mbps: 80, step_up_mbps: 2}
  upload: {floor_mbps: 6, ceiling_mbps: 17, base_mbps: 15}
  thresholds: {target_bloat_ms: 300, warn_bloat_ms: 500}
  baseline_rtt_bounds: {min: 0.01, max: 500}
  ping_hosts: [127.0.0.1, 127.0.0.2, 127.0.0.3]
  use_median_of_three: true
logging: {main_log: %s/run/%s.log}
%s
`, name, b.emulatorRouter, name, name, b.root, name, more)
}

// host is the inventory's entry.
func (b *box) host(user string, wans ...string) Host {
	h := Host{Name: "cake", Address: "127.0.0.1", Port: b.port, User: user, Key: b.key, KnownHosts: b.known, Sudo: user != "root", Root: b.root}
	h.WANs = wans
	return h
}

// told collects what a deployment says.
type told struct {
	mu     sync.Mutex
	events []string
	on     func(install.Event)
}

func (l *told) report(host string, e install.Event) {
	l.mu.Lock()
	l.events = append(l.events, fmt.Sprintf("%s %s %s: %s", host, e.State, e.Step, e.Text))
	l.mu.Unlock()
	if l.on != nil {
		l.on(e)
	}
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.events, "\n")
}

var runs struct {
	sync.Mutex
	n int
}

// deploy runs a deployment.
func (b *box) deploy(o Options) (Summary, *told) {
	b.t.Helper()
	l := &told{}
	runs.Lock()
	runs.n++
	o.Run = fmt.Sprintf("test-%d-%d", os.Getpid(), runs.n)
	runs.Unlock()
	if o.Programs == nil {
		o.Programs = &Programs{Own: theProgram(b.t)}
	}
	if o.Report != nil {
		hook := o.Report
		l.on = func(e install.Event) { hook("", e) }
	}
	o.Report, o.By = l.report, "test@here"
	if o.Healthy == 0 {
		o.Healthy = time.Minute
	}
	if o.Return == 0 {
		o.Return = 2 * time.Minute
	}
	s := Deploy(context.Background(), o)
	b.t.Cleanup(func() {
		if b.t.Failed() || testing.Verbose() {
			b.t.Logf("%s said:\n%s", o.Run, l)
		}
	})
	return s, l
}

// one is the only host's result.
func one(t *testing.T, s Summary, want install.Outcome) HostResult {
	t.Helper()
	if len(s.Hosts) != 1 {
		t.Fatalf("%d results", len(s.Hosts))
	}
	if s.Hosts[0].Outcome != want {
		t.Fatalf("outcome %q, want %q: %+v", s.Hosts[0].Outcome, want, s.Hosts[0])
	}
	return s.Hosts[0]
}

// running are the controllers on the host by name.
func (b *box) running() map[string]daemon.Status {
	all, _, _ := daemon.ReadStatus(filepath.Join(b.root, "run/wanctl"))
	out := map[string]daemon.Status{}
	for _, s := range all {
		out[s.Name] = s
	}
	return out
}

// healthyWith waits until a controller is well, and says which version's program it runs.
func (b *box) healthyWith(name string) (version string) {
	b.t.Helper()
	eventually(b.t, name+" is healthy", func() error {
		s, ok := b.running()[name]
		if !ok || !s.Healthy {
			return fmt.Errorf("%+v", s.Why)
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.PID))
		version = filepath.Base(filepath.Dir(exe))
		return err
	})
	return version
}
