package deploy

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/install"
	"wanctl/internal/remote"
)

// upload is about how many bytes an upload has.
const upload = 16 << 20

// The connection is lost at every point there is. Whatever happens, the host ends with a version that is well, and what is
// said of it is true.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	type point struct {
		name   string
		budget int64  // cut after that many bytes to the host
		step   string // or when this step is told
		kill   bool   // by killing the server's session
		stay   bool   // and nobody gets in again
		want   install.Outcome
	}
	points := []point{
		{name: "in the handshake", budget: 300, want: Unreached},
		{name: "in the login", budget: 2500, want: Unreached},
		{name: "at the facts", budget: 4200, want: install.Refused},
		{name: "early in the upload", budget: 300 << 10, want: install.Refused},
		{name: "late in the upload", budget: upload * 3 / 4, want: install.Refused},
		{name: "after the upload", step: "send", kill: true, want: install.Installed},
		{name: "at the check", step: "check", want: install.Installed},
		{name: "at the switch", step: "switch", kill: true, want: install.Installed},
		{name: "at the switch for good", step: "switch", kill: true, stay: true, want: Unknown},
		{name: "at the start", step: "start", want: install.Installed},
		{name: "when it is healthy", step: "health", kill: true, want: install.Installed},
	}
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	runs := one(t, s, install.Installed).To
	for n, p := range points {
		b.write("configs/att.yaml", b.wan("ATT", fmt.Sprintf("# %d", n)), 0o644)
		if p.budget > 0 {
			b.mu.Lock()
			b.budget = p.budget
			b.mu.Unlock()
		}
		checks := 0
		o := Options{Hosts: []Host{h}, Report: func(_ string, e install.Event) {
			if e.Step == "check" {
				checks++ // the first is ours, the second the host's
			}
			if p.step == "" || e.Step != p.step || p.step == "check" && checks != 2 {
				return
			}
			if p.stay {
				b.mu.Lock()
				b.refuse = true
				b.mu.Unlock()
			}
			if p.kill {
				b.kill()
			} else {
				b.cut()
			}
		}}
		if p.stay {
			o.Return = time.Second
		}
		s, l := b.deploy(o)
		b.mu.Lock()
		b.budget, b.refuse = -1, false
		b.mu.Unlock()
		r := s.Hosts[0]
		ok := r.Outcome == p.want
		if p.name == "at the facts" || p.name == "in the login" { // which of the two it is hangs on the length of the banner
			ok = r.Outcome == Unreached || r.Outcome == install.Refused
		}
		if p.name == "after the upload" { // the host may not have begun
			ok = ok || r.Outcome == install.Refused
		}
		if !ok {
			t.Errorf("%s: outcome %q, want %q: %+v\n%s", p.name, r.Outcome, p.want, r, l)
		}
		want := runs
		if r.Outcome == install.Installed {
			want = r.To
		}
		if r.Outcome == Unknown { // the host ends it by itself
			eventually(t, p.name+": the host ends it", func() error {
				v := b.healthyWith("ATT")
				if v == runs {
					return fmt.Errorf("%s runs", v)
				}
				want = v
				return nil
			})
		}
		eventually(t, p.name+": the lock is free", func() error { return b.atRest() })
		if got := b.healthyWith("ATT"); got != want {
			t.Errorf("%s: %s runs, want %s", p.name, got, want)
		}
		runs = want
		eventually(t, p.name+": what was uploaded is removed", func() error {
			left, err := filepath.Glob(filepath.Join(b.root, "usr/local/lib/wanctl/staging/*/*.part"))
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%v", left)
			}
			return err
		})
	}
}

// atRest says whether no deployment is at work, and none was left in the middle.
func (b *box) atRest() error {
	if _, err := os.Stat(filepath.Join(b.root, "usr/local/lib/wanctl/unfinished")); err == nil {
		return fmt.Errorf("one is in the middle")
	}
	f, err := os.Open(filepath.Join(b.root, "usr/local/lib/wanctl/deploy.lock"))
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// The process that does the work is killed: the next deployment undoes what it left, then does its own.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	first := one(t, s, install.Installed).To
	b.write("configs/att.yaml", strings.ReplaceAll(b.wan("ATT", ""), "WAN-Download-ATT", "No-Such-Queue"), 0o644)
	s, _ = b.deploy(Options{Hosts: []Host{h}, Report: func(_ string, e install.Event) {
		if e.Step == "start" {
			b.killWorker()
		}
	}})
	if r := one(t, s, install.Broken); !strings.Contains(r.Hint, "the next deployment undoes what this one left") {
		t.Errorf("%+v", r)
	}
	if b.atRest() == nil {
		t.Fatal("the deployment was over before it was killed")
	}
	// Even a way back is one: it ends with what ran before.
	b.write("configs/att.yaml", b.wan("ATT", "# mended"), 0o644)
	s, l := b.deploy(Options{Hosts: []Host{h}})
	r := one(t, s, install.Installed)
	if r.From != first || !strings.Contains(l.String(), "recover") {
		t.Errorf("%+v\n%s", r, l)
	}
	b.healthyWith("ATT")
}

// killWorker kills the process that holds the deployment's lock.
func (b *box) killWorker() {
	var pid int
	if _, err := fmt.Sscanf(b.read("usr/local/lib/wanctl/deploy.lock"), `{"pid":%d`, &pid); err != nil {
		b.t.Error(err)
		return
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		b.t.Error(err)
		return
	}
	_ = p.Kill()
}

// A disk that is full, or becomes so, changes nothing.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	lib := "root/usr/local/lib/wanctl"
	b := newBox(t, boxOptions{mounts: "mkdir -p $BOX/" + lib + " && mount -t tmpfs -o size=96m tmpfs $BOX/" + lib})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	runs := one(t, s, install.Installed).To
	shell := func(text string, args ...string) string {
		t.Helper()
		c, err := remote.Dial(context.Background(), remote.Options{Name: "cake", Address: "127.0.0.1", Port: b.port, User: "root", Key: b.key, KnownHosts: b.known})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		out, err := c.Run(context.Background(), remote.Script{Op: "fill", Text: text, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	dir := filepath.Join(b.dir, lib)
	fill := func(leave int) {
		shell(`cat /dev/zero >"$1/filler" 2>/dev/null; truncate -s -"$2" "$1/filler"`, dir, fmt.Sprint(leave))
	}
	for _, c := range []struct {
		name, step string
		leave      int
		want       install.Outcome
		text       string
	}{
		{"before", "", 5 << 20, Unreached, "5 MiB free for "},
		{"during the upload", "check", 5 << 20, install.Refused, "No space left on device"},
		{"after the upload", "send", 2 << 20, install.Refused, "no space left on device"},
	} {
		b.write("configs/att.yaml", b.wan("ATT", "# "+c.name), 0o644)
		if c.step == "" {
			fill(c.leave)
		}
		done := false
		s, _ := b.deploy(Options{Hosts: []Host{h}, Report: func(_ string, e install.Event) {
			if e.Step == c.step && !done {
				done = true
				fill(c.leave)
			}
		}})
		r := one(t, s, c.want)
		if !strings.Contains(r.Error, c.text) {
			t.Errorf("%s: %+v", c.name, r)
		}
		shell(`rm -f "$1/filler"`, dir)
		if left := shell(`find "$1/staging" "$1/versions" -mindepth 1 -maxdepth 1`, dir); strings.Count(left, "\n") != 1 {
			t.Errorf("%s: left behind:\n%s", c.name, left)
		}
		if got := b.healthyWith("ATT"); got != runs {
			t.Errorf("%s: %s runs, want %s", c.name, got, runs)
		}
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Installed)
}

// A program that the host cannot run is never sent, whatever its file is called.
func TestWrongArchitecture(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", "")+"router: {host: 192.0.2.1, user: wanctl, ssh_key: /k}\n", 0o644))
	text, err := os.ReadFile(theProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(text[18:], 183) // e_machine: EM_AARCH64
	dir := filepath.Join(b.dir, "binaries")
	b.write("binaries/wanctl-linux-amd64", string(text), 0o755)
	script := b.write("binaries/wanctl-linux-arm", "#!/bin/sh\n", 0o755)
	arm := h
	arm.Arch = "arm64"
	for name, c := range map[string]struct {
		host     Host
		programs *Programs
		want     string
	}{
		"another inside than its name": {h, &Programs{Own: theProgram(t), Dir: dir}, "wanctl-linux-amd64 is built for arm64, and the host is amd64"},
		"own of another kind":          {h, &Programs{Own: filepath.Join(dir, "wanctl-linux-amd64")}, "name a directory with wanctl-linux-amd64 (--binary-dir)"},
		"no such file":                 {h, &Programs{Own: theProgram(t), Dir: b.dir}, "there is no "},
		"not static":                   {h, &Programs{Own: "/bin/sh"}, "is not static"},
		"no program":                   {h, &Programs{Own: script}, "is no Linux program (no ELF file)"},
		"the inventory is wrong":       {arm, nil, "the inventory says arch: arm64, and the host is amd64 (x86_64)"},
	} {
		s, _ := b.deploy(Options{Hosts: []Host{c.host}, Programs: c.programs})
		if r := one(t, s, Unreached); !strings.Contains(r.Error, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := os.Stat(filepath.Join(b.root, "usr/local")); err == nil {
		t.Error("something was sent")
	}
}

// Who is not the host that is meant, or does not let us in, gets nothing.
func TestTrustAndLogin(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	good := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	other := filepath.Join(b.dir, "other_key")
	otherKey := newKey(t, other, "")
	locked := filepath.Join(b.dir, "locked_key")
	lockedKey := newKey(t, locked, "open sesame")
	b.write("authorized_keys", mustRead(t, filepath.Join(b.dir, "authorized_keys"))+authorized(lockedKey), 0o644)
	asked := 0
	say := func(words string) func(context.Context, string) (string, error) {
		return func(_ context.Context, file string) (string, error) {
			asked++
			if file != locked {
				t.Errorf("asked for the passphrase of %s", file)
			}
			return words, nil
		}
	}
	recorded := mustRead(t, b.known)
	for _, c := range []struct {
		name   string
		change func(h *Host, o *Options)
		want   []string
	}{
		{"changed key", func(*Host, *Options) { b.trust(otherKey) }, []string{"but " + b.known + " records another; nothing secret was sent", "ssh-keygen -f"}},
		{"unknown host", func(*Host, *Options) { b.write("known_hosts", "", 0o600) }, []string{"ssh-ed25519 SHA256:", "is not in " + b.known, "ssh-keyscan -p"}},
		{"no known_hosts", func(h *Host, _ *Options) { h.KnownHosts = b.dir + "/none" }, []string{"cannot use the known_hosts file"}},
		{"a key nobody knows", func(h *Host, _ *Options) { h.Key = other }, []string{`does not let user "root" in`, "authorized_keys"}},
		{"a key that is not there", func(h *Host, _ *Options) { h.Key = b.dir + "/none" }, []string{"read the private key", "name an existing private key"}},
		{"an open key", func(h *Host, _ *Options) {
			h.Key = other + ".open"
			b.write(h.Key, mustRead(t, other), 0o644)
		}, []string{"is open to other users (mode 0644)", "chmod 600"}},
		{"a passphrase and nobody there", func(h *Host, _ *Options) { h.Key = locked }, []string{"has a passphrase, and there is nobody to ask for it", "ssh-agent"}},
		{"a wrong passphrase", func(h *Host, o *Options) { h.Key, o.Passphrase = locked, say("open barley") }, []string{"the passphrase is not its own"}},
		{"no agent", func(h *Host, o *Options) { h.Key, o.Agent = "", b.dir+"/no.sock" }, []string{"ask the ssh-agent"}},
	} {
		h, o := good, Options{}
		c.change(&h, &o)
		o.Hosts = []Host{h}
		s, _ := b.deploy(o)
		r := one(t, s, Unreached)
		for _, w := range c.want {
			if !strings.Contains(r.Error+"\n"+r.Hint, w) {
				t.Errorf("%s: %q is not in %s\n%s", c.name, w, r.Error, r.Hint)
			}
		}
		if said := fmt.Sprintf("%+v", s); strings.Contains(said, "sesame") || strings.Contains(said, "barley") {
			t.Errorf("%s: the secret is in %+v", c.name, s)
		}
		b.write("known_hosts", recorded, 0o600)
	}
	h := good
	h.Key = locked
	s, _ := b.deploy(Options{Hosts: []Host{h}, Passphrase: say("open sesame"), DryRun: true})
	one(t, s, Planned)
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
