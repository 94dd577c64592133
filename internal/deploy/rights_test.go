package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/install"
	"wanctl/internal/remote"
)

func authorized(k ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(k)) }

func password(words string) func(context.Context, Host) (string, error) {
	return func(context.Context, Host) (string, error) { return words, nil }
}

// Debian's own sudo, with a password: it reaches sudo's standard input, and nothing else.
func TestSudoWithPassword(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{sudoers: "deployer ALL=(ALL:ALL) ALL", home: "ro"})
	b.emulate()
	h := b.host("deployer", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	s, _ := b.deploy(Options{Hosts: []Host{h}, Password: password("wrong horse")})
	if r := one(t, s, Unreached); !strings.Contains(r.Error, "sudo does not accept the password") {
		t.Errorf("%+v", r)
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	if r := one(t, s, Unreached); !strings.Contains(r.Error, "there is nobody to ask for it") {
		t.Errorf("%+v", r)
	}
	var seen []string
	s, l := b.deploy(Options{Hosts: []Host{h}, Password: password(secretWord), Report: func(string, install.Event) {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range lines {
			if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), secretWord) {
				seen = append(seen, string(text))
			}
		}
	}})
	one(t, s, install.Installed)
	if len(seen) > 0 || strings.Contains(fmt.Sprintf("%+v", s)+l.String(), secretWord) {
		t.Errorf("the password is in a command line, or was printed: %q", seen)
	}
	if v := b.healthyWith("ATT"); v != s.Hosts[0].To {
		t.Errorf("%s runs", v)
	}
	left, err := os.ReadDir(filepath.Join(b.dir, "home"))
	if err != nil || len(left) > 0 {
		t.Errorf("the home directory was written to: %v %v", left, err)
	}
}

// sudo without a password, and sudo that does not know the user.
func TestSudoOtherwise(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{sudoers: "deployer ALL=(ALL:ALL) NOPASSWD: ALL"})
	b.emulate()
	h := b.host("deployer", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Installed)

	c := newBox(t, boxOptions{})
	h = c.host("deployer", h.WANs...)
	s, _ = c.deploy(Options{Hosts: []Host{h}, Password: password(secretWord)})
	if r := one(t, s, Unreached); !strings.Contains(r.Error, "sudo refuses: ") || !strings.Contains(r.Hint, "/etc/sudoers") {
		t.Errorf("%+v", r)
	}
}

// A user without root's rights gets everything prepared, also with a home that cannot be written, and the one step that
// remains does the rest.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	for _, home := range []string{"", "ro"} {
		b := newBox(t, boxOptions{home: home})
		b.emulate()
		h := b.host("deployer", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
		h.Sudo = false
		s, _ := b.deploy(Options{Hosts: []Host{h}})
		r := one(t, s, install.Remains)
		if s.OK || !s.Remains() || len(r.Remaining) != 1 || len(b.running()) != 0 {
			t.Fatalf("%+v", s)
		}
		if in := strings.HasPrefix(r.Remaining[0], b.dir+"/home/.local/share/wanctl-deploy/"); in != (home == "") {
			t.Errorf("home %q: %s", home, r.Remaining[0])
		}
		if home == "ro" {
			t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(strings.Fields(r.Remaining[0])[0])) })
		}
		cmd := exec.Command("sh", "-c", r.Remaining[0])
		cmd.Env = append(os.Environ(), "PATH="+b.root+"/shim:"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "\ninstalled one-") {
			t.Fatalf("%s: %v\n%s", r.Remaining[0], err, out)
		}
		b.healthyWith("ATT")
	}
}

// Without systemd everything is in place, and how to start it is printed. The same goes for a version that runs already.
func TestNoSystemd(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{noSystemd: true})
	b.emulate()
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	r := one(t, s, install.Remains)
	start := filepath.Join(b.root, "usr/bin/wanctl") + " run " + filepath.Join(b.root, "etc/wanctl/att.yaml")
	if len(r.Remaining) != 1 || r.Remaining[0] != start {
		t.Fatalf("%q", r.Remaining)
	}
	run := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", "exec "+line)
		cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+filepath.Join(b.root, "run/wanctl"), "STATE_DIRECTORY="+filepath.Join(b.root, "var/lib/wanctl"))
		if strings.Contains(line, "wanctl run") {
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
			return
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	run(r.Remaining[0])
	first := b.healthyWith("ATT")
	pid := b.running()["ATT"].PID

	b.write("configs/att.yaml", b.wan("ATT", "# 2"), 0o644)
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	r = one(t, s, install.Remains)
	if len(r.Remaining) != 3 || r.Remaining[1] != fmt.Sprintf("kill %d", pid) {
		t.Fatalf("%q", r.Remaining)
	}
	run(r.Remaining[0])
	run(r.Remaining[1])
	eventually(t, "the first ends", func() error {
		if lives(pid) {
			return fmt.Errorf("%d", pid)
		}
		return nil
	})
	run(r.Remaining[2])
	if v := b.healthyWith("ATT"); v == first || v != r.To {
		t.Errorf("%s runs, want %s", v, r.To)
	}
}

// A process that no unit started is not pulled away from under somebody.
func TestRunByHand(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	cmd := exec.Command(theProgram(t), "autorate", att, "--run-dir", filepath.Join(b.root, "run/wanctl"))
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+b.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	b.healthyWith("ATT")
	s, _ := b.deploy(Options{Hosts: []Host{b.host("root", att)}})
	if r := one(t, s, install.Refused); !strings.Contains(r.Error, "ATT is run by a process that wanctl@att.service did not start") {
		t.Errorf("%+v", r)
	}
}

// A host whose program belongs to a package is left to the package.
func TestPackageIsThere(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	for _, c := range []struct{ file, text, want, remove string }{
		{"var/lib/dpkg/info/wanctl.list", "/usr/bin/wanctl\n", "the Debian package wanctl is installed", "apt-get remove wanctl"},
		{"usr/lib/systemd/system/wanctl@.service", "[Unit]\n", "the rpm package wanctl is installed", "rpm -e wanctl"},
		{"lib/apk/db/installed", "P:busybox\nV:1\n\nC:Q1\nP:wanctl\nV:1.0.0\n", "the apk package wanctl is installed", "apk del wanctl"},
	} {
		path := b.write("root/"+c.file, c.text, 0o644)
		s, _ := b.deploy(Options{Hosts: []Host{h}})
		if r := one(t, s, install.Refused); !strings.Contains(r.Error, c.want) || !strings.Contains(r.Hint, c.remove) {
			t.Errorf("%+v", r)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(b.root, "usr/bin/wanctl")); err == nil {
		t.Error("it was installed all the same")
	}
}

// A key in a running ssh-agent needs neither file nor passphrase.
func TestAgent(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("no %s here (Debian package openssh-client)", p)
		}
	}
	b := newBox(t, boxOptions{})
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", "")+"router: {host: 192.0.2.1, user: wanctl, ssh_key: /k}\n", 0o644))
	h.Key = ""
	sock := filepath.Join(b.dir, "agent.sock")
	agent := exec.Command("ssh-agent", "-D", "-a", sock)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	add := func() error {
		cmd := exec.Command("ssh-add", "-q", b.key)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+sock)
		return cmd.Run()
	}
	eventually(t, "the agent takes the key", add)
	s, _ := b.deploy(Options{Hosts: []Host{h}, Agent: sock, DryRun: true})
	one(t, s, Planned)
}

// What runs on a host is fixed; only parameters differ, and none of them can be more than one word.
func TestQuoting(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "/a/b-c_1.yaml": "/a/b-c_1.yaml", "a b": "'a b'", "$(reboot)": "'$(reboot)'", "it's": `'it'\''s'`, "a\nb": "'a\nb'", ";": "';'",
	} {
		if got := remote.Quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+remote.Quote(in)).Output()
		if err != nil || string(out) != in {
			t.Errorf("%q: sh makes %q of it, %v", in, out, err)
		}
	}
}
