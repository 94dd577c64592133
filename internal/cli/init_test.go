package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/preset"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// seat is a person's terminal with a program on it.
type seat struct {
	t    *testing.T
	tty  *os.File // the end that a person sits at
	cmd  *exec.Cmd
	mu   sync.Mutex
	more chan struct{} // something was printed, or all was
	all  []byte
	at   int // how far it was read
	over bool
}

// sit starts wanctl on a pseudo-terminal of its own, which is its controlling one: a Ctrl-C there is a signal.
func sit(t *testing.T, env []string, args ...string) *seat {
	t.Helper()
	k := &seat{t: t, more: make(chan struct{}, 1), cmd: exec.CommandContext(t.Context(), "wanctl", args...)}
	k.cmd.Env = append(os.Environ(), env...)
	var err error
	if k.tty, err = pty.Start(k.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.tty.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := k.tty.Read(b) // EIO when the program has gone
			k.mu.Lock()
			k.all = append(k.all, b[:n]...)
			k.over = k.over || err != nil
			k.mu.Unlock()
			select {
			case k.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// sees waits until something is printed, and returns it.
func (k *seat) sees(expr string) string {
	k.t.Helper()
	re := regexp.MustCompile(expr)
	late := time.After(storyBound)
	for {
		k.mu.Lock()
		rest, over := k.all[k.at:], k.over
		if m := re.FindIndex(rest); m != nil {
			found := string(rest[m[0]:m[1]])
			k.at += m[1]
			k.mu.Unlock()
			return found
		}
		k.mu.Unlock()
		if over {
			k.t.Fatalf("%q was not printed before the end:\n%s", expr, k.text())
		}
		select {
		case <-k.more:
		case <-late:
			k.t.Fatalf("%q was not printed within %v:\n%s", expr, storyBound, k.text())
		}
	}
}

func (k *seat) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return string(k.all)
}

// types waits for a question and answers it.
func (k *seat) types(question, answer string) {
	k.t.Helper()
	k.sees(question)
	if _, err := io.WriteString(k.tty, answer); err != nil {
		k.t.Fatal(err)
	}
}

// secret answers a question, once the terminal shows no more what is typed.
func (k *seat) secret(question, answer string) {
	k.t.Helper()
	k.sees(question)
	for end := time.Now().Add(storyBound); k.echoes(); { // the question is printed a moment before
		if time.Now().After(end) {
			k.t.Fatalf("%q would show what is typed", question)
		}
	}
	if _, err := io.WriteString(k.tty, answer); err != nil {
		k.t.Fatal(err)
	}
}

// echoes says whether the terminal shows what is typed.
func (k *seat) echoes() bool {
	s, err := unix.IoctlGetTermios(int(k.tty.Fd()), unix.TCGETS)
	if err != nil {
		k.t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}

// ends waits for the end, and returns all that was printed.
func (k *seat) ends(code int) string {
	k.t.Helper()
	late := time.AfterFunc(storyBound, func() { _ = k.cmd.Process.Kill() })
	err := k.cmd.Wait()
	late.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		k.t.Fatal(err)
	}
	if got := k.cmd.ProcessState.ExitCode(); got != code {
		k.t.Fatalf("it ended with %d, want %d:\n%s", got, code, k.text())
	}
	for end := time.Now().Add(storyBound); ; { // what it printed last may still be under way
		k.mu.Lock()
		over := k.over
		k.mu.Unlock()
		if over || time.Now().After(end) {
			break
		}
		select {
		case <-k.more:
		case <-time.After(storyBound):
		}
	}
	if out := k.text(); strings.Contains(out, "boss") {
		k.t.Errorf("the password is shown:\n%s", out)
	}
	return k.text()
}

// home is a house to be set up: a router as it comes from its box, with two lines plugged in, and an empty directory.
type home struct {
	t      *testing.T
	router *rosim.Router
	port   int
	dir    string
	env    []string
}

// boxDay is what the emulated router's calendar begins with.
var boxDay = time.Date(2026, 3, 2, 9, 17, 5, 0, time.UTC)

func newHome(t *testing.T) *home {
	t.Helper()
	if err := program(); err != nil {
		t.Fatal(err)
	}
	o := rosim.DefaultOptions()
	o.Version = "7.24.2"
	o.Users = []rosim.User{{Name: "admin", Password: "boss", Group: "full"}}
	o.Now = func() unit.Time { return unit.Time(time.Since(boxDay)) } // so that its clock is right
	r, err := fromItsBox(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, router: r, port: served(t, r, r.Serve, "127.0.0.1:0"), dir: t.TempDir()}
	h.env = []string{"STATE_DIRECTORY=" + filepath.Join(h.dir, "state"), "RUNTIME_DIRECTORY=" + filepath.Join(h.dir, "run"), "TMPDIR=" + h.dir + "/tmp"}
	if err := os.Mkdir(filepath.Join(h.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	return h
}

// sits begins the wizard. The port is not the usual one, and the reflectors are this host's own.
func (h *home) sits(more ...string) *seat {
	h.t.Helper()
	return sit(h.t, h.env, append([]string{
		"init", "--dir", h.etc(), "--transport", "ssh", "--port", fmt.Sprint(h.port),
		"--ping-host", "127.0.0.1", "--ping-host", "127.64.0.1", "--ping-host", "127.128.0.1",
	}, more...)...)
}

func (h *home) etc() string { return filepath.Join(h.dir, "etc") }

// files are all files below the house's directory, with their modes.
func (h *home) files() (all []string) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == h.dir {
			return err
		}
		i, err := d.Info()
		all = append(all, fmt.Sprintf("%s %v", strings.TrimPrefix(path, h.dir+"/"), i.Mode()))
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// must runs a command to its end, as a process of its own.
func (h *home) must(args ...string) string {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), "wanctl", args...)
	c.Env = append(os.Environ(), h.env...)
	out, err := c.CombinedOutput()
	if err != nil {
		h.t.Fatalf("wanctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A person sets a house up, and is clumsy about it; then nothing is left to do.
func TestInitByHand(t *testing.T) {
	t.Parallel()
	if !canPing() {
		t.Fatal("this host may not ping: the idle lines cannot be measured")
	}
	h := newHome(t)
	k := h.sits()
	k.types(`Address of the MikroTik router, or "linux" if this host is the router`, "admin@127.0.0.1\n")
	k.types(`no address: write a name or an address alone, no user and no URL`, "127.0.0.1:22\n")
	k.types(`holds a port: write the host alone, and --port 22 with --transport`, "127.0.0.1\n")
	k.sees(`shows ssh-ed25519 SHA256:`)
	k.types(`Is this the router's own\?.*\[y/N\] `, "perhaps\n")
	k.types(`Please answer yes or no`, "yes\n")
	k.types(`Log in as .* \[admin\]: `, "\n")
	k.secret(`Password of admin on 127.0.0.1: `, "\n")
	k.secret(`An empty password proves nothing(?s:.*)Password of admin on 127.0.0.1: `, "chef\n")
	k.secret(`The router refuses that password for admin(?s:.*)Password of admin on 127.0.0.1: `, "boss\n")
	k.sees(`RouterOS 7.24.2 \(stable\) on RB5009`)
	k.sees(`The router has no user wanctl: it will be made with the rights read, write, ssh`)
	k.sees(`1  ether1 \(ether\): default route by 10.10.110.1, distance 1`)
	k.sees(`2  ether2 \(ether\): default route by 10.10.111.1, distance 2`)
	k.types(`Which of them are lines to the internet, by number \[1 2\]: `, "1 99\n")
	k.types(`"99" is none of the numbers`, "1 1\n")
	k.types(`1 is named twice`, "\n")
	k.types(`A name for the line on ether1 \[ether1\]: `, "my cable\n")
	k.types(`"my cable" cannot be a name`, "steering\n")
	k.types(`"steering" has another meaning`, "cable\n")
	k.types(`1  cable \(DOCSIS\)(?s:.*)What kind of line is cable: `, "\n")
	k.types(`There is nothing to propose`, "docsis\n")
	k.types(`"docsis" is none of the numbers 1 to 10`, "1\n")
	k.types(`This host's address for probes of cable, or none`, "nowhere\n")
	k.types(`"nowhere" is no IPv4 address`, "127.0.0.2\n")
	k.types(`What is cable sold as, download/upload in Mbit/s, as 450/38: `, "fast\n")
	k.types(`"fast" is not download and upload in Mbit/s`, "unknown\n")
	k.types(`the rates are needed: its queues are to be made`, "450/0\n")
	k.types(`the upload "0" is no rate`, "450/38\n")
	k.types(`A name for the line on ether2 \[ether2\]: `, "Cable\n")
	k.types(`"Cable" is the name of another line`, "lte\n")
	k.types(`What kind of line is lte: `, "8\n")
	k.types(`This host's address for probes of lte, or none`, "127.0.0.2\n")
	k.types(`127.0.0.2 is another line's`, "127.0.0.3\n")
	k.types(`What does lte give in its best hour.*: `, "150/30\n")
	k.sees(`Measuring cable, which should be idle … 0\.\d+ ms \(the least of a few echoes each, 127.0.0.1 `)
	k.sees(`Measuring lte, which should be idle … not now: it is not proved that probes take it`)
	k.types(`While one line is congested, begin new calls and games on another \[yes\]: `, "maybe\n")
	k.types(`please answer yes or no`, "\n")
	k.types(`Which line carries everything as long as it is well \[1\]: `, "\n")
	k.sees(`wrote .*/etc/cable.yaml`)
	k.types(`Show what the router lacks for that, and make it once you agree \[yes\]: `, "\n")
	k.types(`Make these \d+ changes on admin@127.0.0.1:\d+\? \[y/N\] `, "y\n")
	k.sees(`and verified`)
	k.types(`Have the doctor look at it \[yes\]: `, "\n")
	k.sees(`checks passed`)
	k.ends(exitOK)
	last := k.sees(`Next:\s+wanctl run .*`)

	// What it wrote is complete, and nothing but that is there; what it says comes next can be typed.
	want := []string{
		"etc drwxr-xr-x", "etc/cable.yaml -rw-r-----", "etc/lte.yaml -rw-r-----", "etc/secrets drwx------",
		"etc/secrets/router.password -rw-------", "etc/ssh drwx------", "etc/ssh/known_hosts -rw-------", "etc/steering.yaml -rw-r-----",
	}
	if got := slices.DeleteFunc(h.files(), func(s string) bool { return !strings.HasPrefix(s, "etc") }); !slices.Equal(got, want) {
		t.Errorf("there is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	files := strings.Fields(last)[3:]
	if len(files) != 3 {
		t.Fatalf("the next command is %q", last)
	}
	if out := h.must(append([]string{"check"}, files...)...); strings.Contains(out, "warning") {
		t.Errorf("check says %s", out)
	}
	h.must(append([]string{"doctor", "--watch", "10ms"}, files...)...)
	if out := h.must(append([]string{"router", "plan"}, files...)...); !strings.Contains(out, "nothing to do") {
		t.Errorf("a plan says %s", out)
	}
	password, err := os.ReadFile(filepath.Join(h.etc(), "secrets", "router.password"))
	if err != nil || len(password) < 20 || strings.Contains(k.text(), strings.TrimSpace(string(password))) {
		t.Errorf("the password of wanctl's user: %d bytes, %v", len(password), err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), "boss") || strings.Contains(string(text), strings.TrimSpace(string(password))) {
			t.Errorf("%s holds a secret, or: %v", f, err)
		}
	}

	// A second time the key, the user and its password are known, and what is there stays unless somebody says otherwise.
	before := h.files()
	k = h.sits("--router", "127.0.0.1")
	k.sees(`which .*/etc/ssh/known_hosts records`)
	k.types(`Which of them are lines to the internet, by number \[1 2\]: `, "1\n")
	k.types(`A name for the line on ether1 \[ether1\]: `, "cable\n")
	k.types(`What kind of line is cable: `, "5\n")
	k.sees(`1  the queues WAN-Download-cable and WAN-Upload-cable that are there`)
	k.types(`5  two other queues of the tree(?s:.*)Which \[\d\]: `, "5\n")
	k.types(`1  WAN-Download-cable(?s:.*)Which has the download of cable: `, "1\n")
	k.types(`1  WAN-Upload-cable(?s:.*)Which has its upload: `, "1\n")
	k.types(`What is cable sold as, .* \[unknown\]: `, "\n")
	k.types(`There already, with another content: .*/cable.yaml(?s:.*)Overwrite \[no\]: `, "\n")
	if out := k.ends(exitFailed); !strings.Contains(out, "what is there stays") {
		t.Errorf("it prints %s", out)
	}
	if after := h.files(); !slices.Equal(after, before) {
		t.Errorf("after a no there is\n%s\nbefore\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

// Wherever a person gives up, nothing is left behind.
func TestInitGivenUp(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	before := h.files()
	upTo := func(k *seat, last string) {
		for _, s := range []struct{ question, answer string }{
			{`Address of the MikroTik router.*: `, "127.0.0.1\n"},
			{`Is this the router's own\?.*\[y/N\] `, "y\n"},
			{`Log in as .*: `, "\n"},
			{`Password of admin on 127.0.0.1: `, "boss\n"},
			{`Which of them are lines.*: `, "1\n"},
			{`A name for the line.*: `, "cable\n"},
			{`What kind of line is cable: `, "1\n"},
		} {
			if s.question == last {
				return
			}
			if strings.HasPrefix(s.question, "Password") {
				k.secret(s.question, s.answer)
				continue
			}
			k.types(s.question, s.answer)
		}
	}
	const (
		trusts = `Is this the router's own\?.*\[y/N\] `
		ctrlC  = "\x03"
		ctrlD  = "\x04"
	)
	for name, story := range map[string]struct {
		flags []string
		do    func(k *seat)
		says  []string
	}{
		"another key": {nil, func(k *seat) { upTo(k, trusts); k.types(trusts, "n\n") }, []string{"nothing was recorded"}},
		"not that key": {
			[]string{"--router", "127.0.0.1", "--fingerprint", "SHA256:other"}, func(*seat) {}, []string{"somebody may be in between"},
		},
		"wrong password": {nil, func(k *seat) {
			upTo(k, `Password of admin on 127.0.0.1: `)
			for range loginTries {
				k.secret(`Password of admin on 127.0.0.1: `, "guess\n")
			}
		}, []string{"authentication failed"}},
		"Ctrl-C at a password": {nil, func(k *seat) {
			upTo(k, `Password of admin on 127.0.0.1: `)
			k.secret(`Password of admin on 127.0.0.1: `, ctrlC)
		}, []string{"interrupted"}},
		"Ctrl-C at a question": {nil, func(k *seat) { upTo(k, ""); k.types(`What is cable sold as.*: `, "450"+ctrlC) }, []string{"interrupted"}},
		"the terminal goes away": {nil, func(k *seat) {
			upTo(k, "")
			k.sees(`What is cable sold as.*: `)
			if err := k.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				k.t.Fatal(err)
			}
		}, []string{"interrupted"}},
		"end at the first": {nil, func(k *seat) { k.types(`Address of the MikroTik router.*: `, ctrlD) }, []string{`the answers ended at "Address of the MikroTik router`, "--router HOST", "--fingerprint", "--line wan=INTERFACE"}},
		"end at the last":  {nil, func(k *seat) { upTo(k, ""); k.types(`What is cable sold as.*: `, ctrlD) }, []string{"the answers ended", "missing: --line ether1: rates=DOWN/UP"}},
		"end at a password": {nil, func(k *seat) {
			upTo(k, `Password of admin on 127.0.0.1: `)
			k.secret(`Password of admin on 127.0.0.1: `, ctrlD)
		}, []string{"the answers ended", adminVariable}},
		"nobody there": {[]string{"--router", "127.0.0.1", "--port", "1"}, func(*seat) {}, []string{"no door of the router 127.0.0.1 shows itself", "connection refused"}},
		"no directory": {[]string{"--dir", "/proc/wanctl"}, func(k *seat) { upTo(k, ""); k.types(`What is cable sold as.*: `, "450/38\n") }, []string{"make the directory of /proc/wanctl/cable.yaml", "run as root, or --dir"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := h.sits(story.flags...)
			k.t = t
			story.do(k)
			out := strings.ReplaceAll(k.ends(exitFailed), "\r\n", "\n")
			for _, want := range append(story.says, "nothing was written") {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said:\n%s", want, out)
				}
			}
			if !k.echoes() {
				t.Error("the terminal still hides what is typed")
			}
			if after := h.files(); !slices.Equal(after, before) {
				t.Errorf("it left\n%s", strings.Join(after, "\n"))
			}
		})
	}
}

// A script sets a router up through each door that proves itself by a certificate, as a user of its own.
func TestInitByScript(t *testing.T) {
	for transport, user := range map[string]string{"api": "newcomer", "rest": "wanctl"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			b := newRouterBench(t, "7.24.2", transport)
			etc, before := filepath.Join(b.dir, "etc"), b.config()
			b.put("own.password", "sesame\n")
			args := []string{
				"init", "--yes", "--dir", etc, "--router", "127.0.0.1", "--transport", transport, "--port", fmt.Sprint(b.port), "--user", user, "--admin", "admin",
				"--line", "wan=ether1,name=Cable,access=fibre-pppoe,rates=900/400,simple=WAN-Cable", "--no-measure", "--apply",
				"--ping-host", "127.0.0.1", "--ping-host", "127.64.0.1", "--ping-host", "127.128.0.1",
			}
			if user == "wanctl" { // who is there already
				args = append(args, "--password-file", filepath.Join(b.dir, "own.password"))
			}
			out := b.must(exitFailed, args...)
			m := regexp.MustCompile(`shows (sha256:[0-9a-f]{64})\n`).FindStringSubmatch(out)
			if m == nil || !strings.Contains(out, "missing: --fingerprint TEXT") || exists(etc) {
				t.Fatalf("without a fingerprint: %s", out)
			}
			if out := b.must(exitFailed, append(args, "--fingerprint", strings.Replace(m[1], "sha256:", "sha256:00", 1))...); !strings.Contains(out, "somebody may be in between") || exists(etc) {
				t.Errorf("another fingerprint: %s", out)
			}
			if b.config() != before {
				t.Error("the router was changed")
			}
			out = b.must(exitOK, append(args, "--fingerprint", m[1])...)
			for _, want := range []string{"and verified", "wrote " + etc + "/Cable.yaml", "Next:"} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said: %s", want, out)
				}
			}
			file := filepath.Join(etc, "Cable.yaml")
			b.must(exitOK, "check", file)
			if out := b.must(exitOK, "router", "plan", file); !strings.Contains(out, "nothing to do") {
				t.Errorf("a plan as the user %s says %s", user, out)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"tls_pin: " + m[1], "simple: WAN-Cable", "overhead: 50", "user: " + user, "max_mbps: 855", "max_mbps: 380"} {
				if !strings.Contains(string(text), want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			if code, out, _ := b.run("doctor", "--watch", "10ms", file); strings.Contains(out, "router.rights") && user == "newcomer" || strings.Contains(out, "router.plan") || strings.Contains(out, "Cable.queues") {
				t.Errorf("the doctor: %d\n%s", code, out)
			}
		})
	}
}

// This host's default routes, the best first, as the kernel writes them.
func TestDefaultRoutes(t *testing.T) {
	const file = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"lte0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0\n" +
		"eth0\t00000000\t0158A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" +
		"eth0\t0058A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n" +
		"eth1\t00000000\t0159A8C0\t0201\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth2\t00000000\t015AA8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"half\t00000000\n"
	var got []string
	for _, r := range defaultRoutes([]byte(file)) {
		got = append(got, fmt.Sprintf("%s by %v, %d", r.iface, r.gateway, r.metric))
	}
	want := []string{"eth0 by 192.168.88.1, 100", "lte0 by invalid IP, 700"} // an unreachable route and one that is down are none
	if !slices.Equal(got, want) {                                            // on a machine of the usual order of bytes
		t.Errorf("%q, want %q", got, want)
	}
}

// Which of an interface's addresses last, as the kernel tells it.
func TestPermanentAddresses(t *testing.T) {
	ne := binary.NativeEndian
	message := func(index uint32, flags uint8, at [4]byte) []byte {
		b := ne.AppendUint32(nil, 16+8+8)
		b = ne.AppendUint16(b, unix.RTM_NEWADDR)
		b = append(b, make([]byte, 10)...)
		b = append(b, unix.AF_INET, 24, flags, 0)
		b = ne.AppendUint32(b, index)
		b = ne.AppendUint16(ne.AppendUint16(b, 8), unix.IFA_LOCAL)
		return append(b, at[:]...)
	}
	dump := slices.Concat(
		message(3, 0, [4]byte{192, 0, 2, 1}), message(4, unix.IFA_F_PERMANENT, [4]byte{192, 0, 2, 2}),
		message(3, unix.IFA_F_PERMANENT|unix.IFA_F_SECONDARY, [4]byte{192, 0, 2, 3}), message(3, unix.IFA_F_SECONDARY, [4]byte{192, 0, 2, 4}),
	)
	if got := permanent(dump, 3); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.0.2.3")}) {
		t.Errorf("%v last", got)
	}
	for cut := range dump {
		permanent(dump[:cut], 3) // no panic
	}
	if got := permanentAddress("lo"); got != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("the loopback has %v for good", got)
	}
}

// Without a word about the door, it is the best that shows itself; one that is not there is told.
func TestInitFindsTheDoor(t *testing.T) {
	t.Parallel()
	r, err := rosim.NewRouter(rosim.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("127.77.%d.1", os.Getpid()%250) // an address of this host alone, where the usual port is free
	served(t, r, r.ServeAPITLS, net.JoinHostPort(host, "8729"))
	var out, errs strings.Builder
	app := &App{
		Stdout: &out, Stderr: &errs, ReadFile: os.ReadFile, Getenv: func(string) string { return "" },
		LookupEnv: func(n string) (string, bool) { return "secret", n == routerVariable },
		Notify:    func(chan<- os.Signal, ...os.Signal) func() { return func() {} },
	}
	etc := filepath.Join(t.TempDir(), "etc")
	args := []string{"init", "--yes", "--dir", etc, "--router", host, "--line", "wan=ether1,access=cable,rates=450/38"}
	if code := Main(args, app); code != exitFailed || !strings.Contains(out.String(), "@"+host+":8729 shows sha256:") || !strings.Contains(errs.String(), "missing: --fingerprint") {
		t.Errorf("%d\n%s%s", code, &out, &errs)
	}
	// A key is for ssh alone, which is not there.
	errs.Reset()
	if code := Main(append(args, "--ssh-key", "/dev/null"), app); code != exitFailed || !strings.Contains(errs.String(), "no door of the router "+host+" shows itself") || exists(etc) {
		t.Errorf("%d\n%s", code, &errs)
	}
}

// When the last of several files cannot be put in its place, those before it are as they were, and nothing else is left.
func TestInitWritesAllOrNone(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("old.yaml"), []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at("taken.yaml/inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := &wizard{app: &App{Stdout: &out}, ctx: t.Context()}
	w.Linux = true
	files := []outFile{
		{path: at("old.yaml"), content: []byte("new\n"), mode: configMode, was: []byte("old\n")},
		{path: at("new/new.yaml"), content: []byte("new\n"), mode: configMode},
		{path: at("new/secret"), content: []byte("new\n"), mode: secretMode},
		{path: at("taken.yaml"), content: []byte("new\n"), mode: configMode},
	}
	if err := w.put(slices.Clone(files)); err == nil || !strings.Contains(err.Error(), "write "+at("taken.yaml")) {
		t.Errorf("it says %v", err)
	}
	left := func() (names []string) {
		_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
			names = append(names, strings.TrimPrefix(path, dir))
			return nil
		})
		return names
	}
	if got := left(); !slices.Equal(got, []string{"", "/old.yaml", "/taken.yaml", "/taken.yaml/inside"}) || out.String() != "" {
		t.Errorf("it left %q and said %q", got, &out)
	}
	if b, err := os.ReadFile(at("old.yaml")); err != nil || string(b) != "old\n" {
		t.Errorf("the old file holds %q, %v", b, err)
	}
	// Interrupted before the first has its name, none has it; else all have, and what is there already is not written again.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.ctx = ctx
	if err := w.put(slices.Clone(files[:3])); !errors.Is(err, context.Canceled) || len(left()) != 4 {
		t.Errorf("interrupted: %v, %q", err, left())
	}
	w.ctx = t.Context()
	files[0].was = []byte("new\n")
	if err := w.put(slices.Clone(files[:3])); err != nil || out.String() != "wrote "+at("new/new.yaml")+"\nwrote "+at("new/secret")+"\n" {
		t.Errorf("%v: %s", err, &out)
	}
}

// While the router is asked whether it still shows the key that was accepted, nothing secret is on the disk; and where the files
// cannot be put in their places afterwards, the key is not recorded.
func TestInitRecordsAllOrNone(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	at := func(name string) string { return filepath.Join(h.dir, name) }
	line := h.router.KnownHosts(net.JoinHostPort("127.0.0.1", fmt.Sprint(h.port)))
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("accepted", line)
	put("taken.yaml/inside", "")
	w := &wizard{app: &App{Stdout: io.Discard}, ctx: t.Context()}
	w.door = routeros.Options{Host: "127.0.0.1", Port: h.port, User: "admin", Password: func() (string, error) { return "boss", nil }, KnownHosts: at("accepted"), Timeout: storyBound}
	w.house.Router = &preset.Router{KnownHosts: at("etc/ssh/known_hosts")}
	files := []outFile{
		{path: at("secret"), content: []byte("sesame\n"), mode: secretMode},
		{path: at("taken.yaml"), content: []byte("new\n"), mode: configMode},
	}
	before := h.files()
	if err := w.put(slices.Clone(files)); err == nil || !strings.Contains(err.Error(), "write "+at("taken.yaml")) {
		t.Errorf("it says %v", err)
	}
	if after := h.files(); !slices.Equal(after, before) {
		t.Errorf("it left\n%s\nbefore\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	const others = "198.51.100.7 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIKMHU7Hr2mWgmwYDIQgTb6hDLgoMDGx/UM3COIlbVcq\n"
	put("etc/ssh/known_hosts", others)
	if err := w.put(slices.Clone(files)); err == nil {
		t.Error("it says nothing")
	}
	if b, err := os.ReadFile(at("etc/ssh/known_hosts")); err != nil || string(b) != others {
		t.Errorf("a record that was there holds %q, %v", b, err)
	}
	// A router with another key leaves no trace either, nor one that is gone while the secret would be written.
	other, err := rosim.NewRouter(rosim.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	put("accepted", other.KnownHosts(net.JoinHostPort("127.0.0.1", fmt.Sprint(h.port))))
	before = h.files()
	if err := w.put(slices.Clone(files[:1])); err == nil || !slices.Equal(h.files(), before) {
		t.Errorf("another key: %v, and there is\n%s", err, strings.Join(h.files(), "\n"))
	}
	put("accepted", line)
	if err := w.put(slices.Clone(files[:1])); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(at("etc/ssh/known_hosts")); err != nil || string(b) == others || !strings.HasPrefix(string(b), others) {
		t.Errorf("the record holds %q, %v", b, err)
	}
}

// A router that shows another key than the recorded one is not asked about: nothing is sent to it.
func TestInitAnotherKey(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	other, err := rosim.NewRouter(rosim.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(h.etc(), "ssh", "known_hosts")
	if err := os.MkdirAll(filepath.Dir(known), 0o700); err != nil {
		t.Fatal(err)
	}
	line := other.KnownHosts(net.JoinHostPort("127.0.0.1", fmt.Sprint(h.port)))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--fingerprint", "SHA256:whatever"}} {
		k := h.sits(append(more, "--router", "127.0.0.1", "--admin", "admin")...)
		out := k.ends(exitFailed)
		for _, want := range []string{known + " records another key for it", "ssh-keygen -f " + known + " -R", "nothing was written"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not said:\n%s", want, out)
			}
		}
	}
	if b, err := os.ReadFile(known); err != nil || string(b) != line {
		t.Errorf("the record holds %q, %v", b, err)
	}
}

// What a person edited since it was written is not overwritten by what is measured later.
func TestInitAgainLeavesEdits(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var out strings.Builder
	w := &wizard{app: &App{Stdout: &out}, ctx: t.Context()}
	w.Linux = true
	first := func() (files []outFile) {
		for _, name := range []string{"edited.yaml", "gone.yaml", "ours.yaml", "same.yaml"} {
			files = append(files, outFile{path: at(name), content: []byte("first\n"), mode: configMode})
		}
		return files
	}
	if err := w.put(first()); err != nil {
		t.Fatal(err)
	}
	w.wrote(first())
	if err := errors.Join(os.WriteFile(at("edited.yaml"), []byte("mine\n"), 0o600), os.Remove(at("gone.yaml"))); err != nil {
		t.Fatal(err)
	}
	second := first()
	for i := range second[:3] {
		second[i].content = []byte("second\n")
	}
	out.Reset()
	if err := w.replace(second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"edited.yaml": "mine\n", "ours.yaml": "second\n", "same.yaml": "first\n"} {
		if b, err := os.ReadFile(at(name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, want)
		}
	}
	want := at("edited.yaml") + " was changed meanwhile and stays as it is: what was measured is not in it\n" +
		at("gone.yaml") + " was changed meanwhile and stays as it is: what was measured is not in it\nwrote " + at("ours.yaml") + "\n"
	if out.String() != want || exists(at("gone.yaml")) {
		t.Errorf("it says\n%s\nwant\n%s", &out, want)
	}
}
