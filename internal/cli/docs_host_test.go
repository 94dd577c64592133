package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"wanctl/internal/lab/rosim"
)

// A page whose blocks are tagged `sh host`, `console host` or `routeros host` is typed from its top to its bottom on a host of
// its own: namespaces in which /etc, /var, /run, /usr/local, root's home and the repository can be written without
// consequences, wanctl is installed, reflectors answer, and a RouterOS router with two lines is at 192.168.88.1, as it comes
// from its box. The person who types is root, has admin's key and password (in WANCTL_ADMIN_PASSWORD), and answers every
// question with yes.
//
// A line that starts a controller leaves it running beside the lines that follow, as in a second window, until another
// one of the kind is started or the page ends; then it gets a Ctrl-C, and has to end well. Every other line of a `sh host`
// block has to succeed, and one that only looks is typed again only after one that does something; a `console host` block is
// compared with what it prints, "…" standing for anything.
func TestPagesOnAHost(t *testing.T) {
	t.Parallel()
	if err := program(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, name := range documents(t) {
		if name != helpPage && !slices.ContainsFunc(fences(t, name), func(f fence) bool { return onHost(f.info) }) {
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
			if os.Geteuid() != 0 {
				args = append(args, "--map-root-user")
			}
			if err := exec.CommandContext(t.Context(), "unshare", append(args, "true")...).Run(); err != nil {
				t.Skipf("no namespaces can be made here: %v", err)
			}
			c := exec.CommandContext(t.Context(), "unshare", append(args, self, repository, t.TempDir(), name)...)
			c.Env = append(os.Environ(), hostVariable+"=1")
			out, err := c.CombinedOutput()
			switch {
			case err != nil && bytes.HasPrefix(out, []byte(noHost)):
				t.Skipf("no host can be made here: %s", out)
			case err != nil:
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if ran < 2 {
		t.Errorf("%d pages are typed on a host", ran)
	}
}

// onHost says whether a block is typed on a host.
func onHost(info string) bool {
	return slices.Contains([]string{"sh host", "console host", "routeros host"}, info)
}

// hostVariable in its environment makes the test binary the host of a page.
const hostVariable = "WANCTL_PAGE_HOST"

func init() {
	if os.Getenv(hostVariable) == "" {
		return
	}
	if err := errors.Join(os.Unsetenv(hostVariable), runPageHost(os.Args[1:])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// noHost begins what it says where this machine does not allow it to be one.
const noHost = "build the host"

// What is where on the host of a page.
const (
	routerAddress = "192.168.88.1"
	adminPassword = "boss"
	notifySocket  = "/run/notify"
)

// pageHost is the host, seen from the inside.
type pageHost struct {
	router *rosim.Router
	repo   string
	// running is the controller in the second window, and what it said.
	running *exec.Cmd
	said    *bytes.Buffer
	notify  *net.UnixConn
	// server is an emulated router in a third window.
	server *exec.Cmd
	// looked are the lines that only look, typed since the last one that does something: they are not typed again.
	looked map[string]bool
}

// runPageHost plays a page. It is the first process of its namespaces.
func runPageHost(args []string) error {
	repo, scratch, name := args[0], args[1], args[2]
	h := &pageHost{repo: repo, looked: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := h.build(scratch); err != nil {
		return err
	}
	if err := h.typedBefore(name); err != nil {
		return err
	}
	served, err := h.plugIn(ctx)
	if err != nil {
		return err
	}
	if name == helpPage {
		if err := h.recordings(); err != nil {
			return err
		}
	}
	if slices.Contains(settled, name) {
		if err := h.settle(ctx); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(repo, name))
	if err != nil {
		return err
	}
	var problems []error
	for _, f := range fencesOf(name, string(text)) {
		if name == helpPage && f.info == "sh norun" {
			f.info, f.lines = "sh host", slices.DeleteFunc(f.lines, func(line string) bool { return notTyped.MatchString(line) })
		}
		if onHost(f.info) {
			problems = append(problems, h.play(ctx, f))
		}
	}
	problems = append(problems, h.stop())
	cancel()
	return errors.Join(append(problems, <-served)...)
}

// build lays the directories that may be written over the real ones, and brings the network up.
func (h *pageHost) build(scratch string) error {
	script := `set -e
mount -t tmpfs page "$1"
for d in /etc /var /usr/local "$2"; do
	mkdir -p "$1/up$d" "$1/work$d"
	mount -t overlay page -o "lowerdir=$d,upperdir=$1/up$d,workdir=$1/work$d" "$d"
done
mount -t tmpfs page /run
mount -t tmpfs -o mode=700 page /root
rm -rf /etc/wanctl /var/lib/wanctl /usr/local/bin/wanctl
mkdir -p "$2/bin" /usr/local/bin /root/.ssh "$1/shim" /etc/wanctl
cp -L "$(command -v wanctl)" "$2/bin/wanctl"
ln -sf "$2/bin/wanctl" /usr/local/bin/wanctl
printf '#!/bin/sh\nexec "$@"\n' >"$1/shim/sudo"
cat >"$1/shim/editor" <<-'EOF'
	#!/bin/sh
	# What a person has to change: this wire is shorter than any line's.
	sed -i 's/^continuous_monitoring:.*/&\n  baseline_rtt_bounds: {min: 0.001, max: 500}/' "$1"
	EOF
chmod 755 "$1/shim/sudo" "$1/shim/editor"
mkdir /run/netns
ip netns add router
ip link add lan type veth peer name bridge netns router
for l in lo lan; do ip link set $l up; done
for l in lo bridge; do ip -n router link set $l up; done
for a in 5 6; do ip addr add 192.168.88.$a/24 dev lan; done
for a in ` + routerAddress + `/24 10.10.110.2/32 10.10.111.2/32 1.1.1.1/32 8.8.8.8/32 9.9.9.9/32; do ip -n router addr add $a dev bridge; done
ip route add default via ` + routerAddress + `
`
	c := exec.Command("bash", "-c", script, "build", scratch, h.repo)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", noHost, err, out)
	}
	for _, v := range []string{"STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "SUDO_USER"} {
		if err := os.Unsetenv(v); err != nil {
			return err
		}
	}
	for k, v := range map[string]string{
		"HOME": "/root", "PATH": filepath.Join(scratch, "shim") + ":/usr/local/bin:" + os.Getenv("PATH"), "WANCTL_ADMIN_PASSWORD": adminPassword,
		"NOTIFY_SOCKET": notifySocket,
	} {
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	var err error
	h.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifySocket, Net: "unixgram"})
	return err
}

// bare are the pages that begin before there is a user on the router.
var bare = []string{"README.md", "docs/SSH_SECURITY_SETUP.md"}

// typedBefore writes the configurations of a house with two lines, into /etc/wanctl and where the person is. Unless the page is
// a bare one, their user logs in with a password.
func (h *pageHost) typedBefore(name string) error {
	minimal, err := os.ReadFile(filepath.Join(h.repo, "configs/minimal.yaml"))
	if err != nil {
		return err
	}
	steering, err := os.ReadFile(filepath.Join(h.repo, "configs/steering_config_v2.yaml"))
	if err != nil {
		return err
	}
	secret := "password: file:/etc/wanctl/secrets/router.password #"
	if slices.Contains(bare, name) {
		secret = "ssh_key:"
	}
	cable := strings.NewReplacer("ssh_key:", secret, "continuous_monitoring:", "ping_source_ip: 192.168.88.5\ncontinuous_monitoring:\n  baseline_rtt_bounds: {min: 0.001, max: 500}").Replace(string(minimal))
	dsl := strings.NewReplacer("cable", "dsl", "WAN-Download", "WAN-Download-DSL", "WAN-Upload", "WAN-Upload-DSL", "ether1", "ether2", "docsis", "vdsl-ptm",
		"192.168.88.5", "192.168.88.6", ": 100\n", ": 25\n", ": 450\n", ": 95\n", ": 38\n", ": 18\n").Replace(cable)
	steer := strings.NewReplacer("ssh_key:", secret, "10.10.99.1", routerAddress, "spectrum_config", "cable", "Spectrum's", "cable's", "WAN-Download-Spectrum", "WAN-Download",
		"WAN-Upload-Spectrum", "WAN-Upload", "Spectrum", "cable", "spectrum_feed", "cable_feed", "10.10.110.248", "192.168.88.6", "alternate_wan: ATT", "alternate_wan: dsl",
		"thresholds:", "thresholds:\n  baseline_rtt_bounds: {min: 0.001, max: 500}").Replace(string(steering))
	files := map[string]string{"secrets/router.password": "SOMETHING-LONG-AND-RANDOM\n"}
	switch name {
	case "README.md":
	case helpPage: // which calls the same lines by the names of the shipped examples
		names := strings.NewReplacer("wan_name: cable", "wan_name: Spectrum", "wan_name: dsl", "wan_name: ATT", "primary_wan: cable", "primary_wan: Spectrum", "alternate_wan: dsl", "alternate_wan: ATT", "cable_feed", "Spectrum_feed")
		for _, f := range []struct{ text, a, b string }{{cable, "cable", "spectrum_config"}, {dsl, "dsl", "att_config"}, {steer, "steering", "steering_config_v2"}} {
			text := names.Replace(f.text)
			files[f.a+".yaml"], files[f.b+".yaml"] = text, text
			if err := os.WriteFile(filepath.Join(h.repo, "configs", f.b+".yaml"), []byte(text), 0o600); err != nil {
				return err
			}
		}
	default:
		files["cable.yaml"], files["dsl.yaml"], files["steering.yaml"] = cable, dsl, steer
	}
	for name, text := range files {
		path := filepath.Join("/etc/wanctl", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return err
		}
		if strings.HasSuffix(name, ".yaml") {
			if err := os.Symlink(path, filepath.Join(h.repo, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordings makes what the help's examples replay and import: the recording that one of them makes, under other names, and
// a router's own configuration.
func (h *pageHost) recordings() error {
	if err := os.Mkdir(filepath.Join(h.repo, "journal"), 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.Symlink("att.journal", filepath.Join(h.repo, "ATT.journal")), os.Symlink("../att.journal", filepath.Join(h.repo, "journal", "ATT-1.journal")),
		os.WriteFile(filepath.Join(h.repo, "house.rsc"), []byte(h.router.Export()), 0o600),
	)
}

// helpPage is the page of the help's examples, and notTyped are those of its lines that cannot be typed on a host: helpRuns
// names the tests that run their commands.
const helpPage = "docs/cli.md"

var notTyped = regexp.MustCompile(`^wanctl (?:init|calibrate \S+ --iperf3|qdisc|policy|deploy|install|state|handover|demo|lab (?:image|run|compare)|record --import|sim bench)\b`)

// settled are the pages that begin where everything is set up and runs.
var settled = []string{"docs/TROUBLESHOOTING.md", "docs/UPGRADING.md", helpPage}

// settle sets the router up and starts both lines and steering.
func (h *pageHost) settle(ctx context.Context) error {
	for _, line := range []string{
		"wanctl router trust cable.yaml", "wanctl router apply cable.yaml dsl.yaml steering.yaml --user admin", "wanctl run /etc/wanctl/cable.yaml /etc/wanctl/dsl.yaml /etc/wanctl/steering.yaml",
	} {
		if out, err := h.typed(ctx, line); err != nil {
			return fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return nil
}

// plugIn starts the router, and gives admin's key to the person who types.
func (h *pageHost) plugIn(ctx context.Context) (<-chan error, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "admin")
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	o := rosim.DefaultOptions()
	o.Version = "7.24.2"
	o.Users = []rosim.User{{Name: "admin", Password: adminPassword, Group: "full", Keys: []ssh.PublicKey{key}}}
	o.AllowPasswordWithKey = true
	if h.router, err = fromItsBox(o); err != nil {
		return nil, err
	}
	ln, err := listenIn("/run/netns/router", routerAddress+":22")
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- h.router.Serve(ctx, ln) }()
	<-h.router.Ready()
	// The key answers for admin alone, and not where a command names another one.
	config := "Host " + routerAddress + "\n\tStrictHostKeyChecking accept-new\n\tLogLevel ERROR\nMatch user admin\n\tIdentityFile /root/.ssh/admin\n"
	return served, errors.Join(os.WriteFile("/root/.ssh/admin", pem.EncodeToMemory(block), 0o600), os.WriteFile("/root/.ssh/config", []byte(config), 0o600))
}

// listenIn listens in another network namespace.
func listenIn(path, addr string) (net.Listener, error) {
	there, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	var ln net.Listener
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and it is never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", path, err)
			return
		}
		l, err := net.Listen("tcp", addr)
		ln = l
		done <- err
	}()
	err = <-done
	return ln, err
}

// play types a block.
func (h *pageHost) play(ctx context.Context, f fence) error {
	var problems []error
	switch f.info {
	case "routeros host":
		for _, line := range f.lines {
			if reply, failed := h.router.Exec(ctx, "admin", line); failed || reply != "" {
				problems = append(problems, fmt.Errorf("%s: %s: the router says %q", f.where, line, reply))
			}
		}
	case "sh host":
		for _, line := range statements(f.lines) {
			if !looks.MatchString(line) {
				clear(h.looked)
			} else if h.looked[line] {
				continue
			}
			h.looked[line] = true
			if out, err := h.typed(ctx, line); err != nil {
				problems = append(problems, fmt.Errorf("%s: %s: %w\n%s", f.where, line, err, out))
			}
		}
	case "console host":
		problems = append(problems, session(f, func(line string) string {
			out, _ := h.typed(ctx, line) // an example may show a failure: its text is what counts
			return out
		}))
	}
	return errors.Join(problems...)
}

// statements are lines with those that belong together as one: here-documents, and what ends in a backslash.
func statements(lines []string) []string {
	var all []string
	end := ""
	for i, line := range lines {
		switch {
		case end != "" || i > 0 && strings.HasSuffix(lines[i-1], `\`):
			all[len(all)-1] += "\n" + line
			if line == end {
				end = ""
			}
		case strings.TrimSpace(line) != "":
			all = append(all, line)
		}
		if m := hereDocument.FindStringSubmatch(line); m != nil && end == "" {
			end = m[1]
		}
	}
	return all
}

var (
	hereDocument = regexp.MustCompile(`<<'?([A-Z]+)'?$`)
	controls     = regexp.MustCompile(`^(?:sudo )?wanctl (?:autorate|run|steer (?:run )?\S+\.yaml)`)
	patient      = regexp.MustCompile(`^(?:sudo )?wanctl status`) // a person looks again until all is measured
	gives        = regexp.MustCompile(`^(?:sudo )?wanctl (?:release|router undo)`)
	looks        = regexp.MustCompile(`^(?:sudo )?(?:wanctl (?:doctor|check|status|router plan|router show|steer history|steer explain|version)|cat|df|ls)\b[^|>]*$`)
	server       = regexp.MustCompile(`^wanctl emulate (?:.* )?--[a-z]+ [^l]`)
)

// typed runs a line and returns what it prints.
func (h *pageHost) typed(ctx context.Context, line string) (string, error) {
	switch {
	case line == "make build":
		return "", nil // what it builds lies in bin already
	case controls.MatchString(line) && !strings.Contains(line, "--once"):
		return h.start(ctx, line)
	case server.MatchString(line):
		return h.serve(ctx, strings.TrimSuffix(line, "&"))
	}
	if gives.MatchString(line) { // which a controller that runs would do itself, or miss
		if err := h.stop(); err != nil {
			return "", err
		}
	}
	line = strings.ReplaceAll(line, "--for 10m", "--for 2s")
	for end := time.Now().Add(storyBound); ; {
		out, err := h.command(ctx, line).CombinedOutput()
		if err == nil || !patient.MatchString(line) || time.Now().After(end) {
			return string(out), err
		}
	}
}

func (h *pageHost) command(ctx context.Context, line string) *exec.Cmd {
	c := exec.CommandContext(ctx, "bash", "-c", "set -o pipefail\n"+line)
	c.Dir = h.repo
	c.Stdin = strings.NewReader(strings.Repeat("yes\n", 8))
	return c
}

// start starts a controller and waits until it says that it is ready.
func (h *pageHost) start(ctx context.Context, line string) (string, error) {
	if err := h.stop(); err != nil {
		return "", err
	}
	h.said = &bytes.Buffer{}
	c := h.command(ctx, "exec "+strings.TrimPrefix(line, "sudo "))
	c.Stdout, c.Stderr = h.said, h.said
	if err := c.Start(); err != nil {
		return "", err
	}
	h.running = c
	if err := h.notify.SetReadDeadline(time.Now().Add(storyBound)); err != nil {
		return "", err
	}
	for b := make([]byte, 4096); ; {
		n, err := h.notify.Read(b)
		if err != nil {
			return "", errors.Join(fmt.Errorf("it did not say that it is ready: %w", err), h.stop())
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			return "", nil
		}
	}
}

// stop ends the controller in the second window as Ctrl-C does.
func (h *pageHost) stop() error {
	if h.running == nil {
		return nil
	}
	c := h.running
	h.running = nil
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, h.said)
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, h.said)
	}
	return nil
}

// serve starts an emulated router and waits until it listens; it runs until there is another, or the page ends.
func (h *pageHost) serve(ctx context.Context, line string) (string, error) {
	if c := h.server; c != nil {
		if err := errors.Join(c.Process.Signal(syscall.SIGINT), c.Wait()); err != nil {
			return "", err
		}
	}
	c := h.command(ctx, "exec "+line)
	out, err := c.StdoutPipe()
	if err != nil {
		return "", err
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	h.server = nil
	if err := c.Start(); err != nil {
		return "", err
	}
	var said strings.Builder
	for b := make([]byte, 4096); !strings.Contains(said.String(), "listening on "); {
		n, err := out.Read(b)
		said.Write(b[:n])
		if err != nil {
			err = errors.Join(err, c.Wait())
			return said.String() + errs.String(), err
		}
	}
	h.server = c
	return said.String(), nil
}
