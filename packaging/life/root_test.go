package life

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorder takes systemctl's place in a root that is not booted, and writes down what it was asked for.
const recorder = "#!/bin/sh\necho \"$*\" >>/calls\n"

// managed is a root that looks booted to a maintainer script; calls returns what the service manager was asked for since.
func managed(t *testing.T) (dir string, calls func() string) {
	t.Helper()
	dir = unpacked(t)
	put(t, dir, "run/systemd/system/.here", "")
	put(t, dir, "calls", "")
	systemctl := filepath.Join(dir, "usr/bin/systemctl")
	if err := os.Rename(systemctl, systemctl+".real"); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "usr/bin/systemctl", recorder)
	if err := os.Chmod(systemctl, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, func() string {
		said := slurp(t, dir, "calls")
		put(t, dir, "calls", "")
		return said
	}
}

// used is what a host has after a while: configurations, secrets, state, logs, enabled services.
func used(t *testing.T, dir string) {
	t.Helper()
	put(t, dir, "etc/wanctl/att.yaml", "wan_name: ATT\n")
	put(t, dir, "etc/wanctl/ssh/router.key", "secret")
	put(t, dir, "etc/default/wanctl", slurp(t, dir, "etc/default/wanctl")+"WANCTL_FLAGS=--debug\n")
	for _, d := range []string{"lib", "log"} { // as the service manager lays them out for a user that it lends
		put(t, dir, "var/"+d+"/private/wanctl/ATT", "kept")
		if err := os.Symlink("private/wanctl", filepath.Join(dir, "var", d, "wanctl")); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	for _, unit := range []string{"wanctl@att.service", "wanctl-steer.service", "cake-att-continuous.service", "wanctl-once@att.timer"} {
		chroot(t, dir, "systemctl.real", "--root=/", "enable", unit)
	}
	put(t, dir, "etc/systemd/system/wanctl@att.service.d/linux.conf", "[Service]\n")
}

// wantCalls compares what the service manager was asked for with what each line must begin with.
func wantCalls(t *testing.T, when, got string, want ...string) {
	t.Helper()
	lines := strings.FieldsFunc(got, func(r rune) bool { return r == '\n' })
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("%s asks the service manager for %q, want %q", when, lines, want)
	}
}

func TestDebLifeCycle(t *testing.T) {
	dir, calls := managed(t)
	build(t, "1.0.0", "amd64")
	packages := build(t, "1.1.0", "amd64")
	for _, v := range []string{"1.0.0", "1.1.0"} {
		put(t, dir, v+".deb", slurp(t, packages, "wanctl_"+v+"_amd64.deb"))
	}
	users := slurp(t, dir, "etc/passwd")
	// The manager's own directories for lent users are made when it lends the first one; here they are there.
	for _, d := range []string{"var/lib/private", "var/log/private"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := files(t, dir)

	// A deployment's units would stand before the package's.
	deployed := filepath.Join(dir, "usr/local/lib/wanctl")
	put(t, dir, "usr/local/lib/wanctl/current", "")
	cmd := exec.Command("chroot", dir, "dpkg", "-i", "/1.0.0.deb")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "use one or the other") || exists(dir, "usr/bin/wanctl") {
		t.Errorf("a host with a deployed version gets the package: %v\n%s", err, out)
	}
	if err := os.RemoveAll(deployed); err != nil {
		t.Fatal(err)
	}

	chroot(t, dir, "dpkg", "-i", "/1.0.0.deb")
	wantCalls(t, "an installation", calls(), "daemon-reload")
	if got := chroot(t, dir, "wanctl", "version"); !strings.HasPrefix(got, "wanctl v1.0.0 ") {
		t.Errorf("installed is %q", got)
	}
	for _, f := range []string{
		"usr/lib/systemd/system/wanctl@.service", "usr/share/man/man1/wanctl.1.gz", "usr/share/man/man5/wanctl-config.5.gz", "etc/wanctl/secrets",
		"usr/share/bash-completion/completions/wanctl", "usr/share/zsh/vendor-completions/_wanctl", "usr/share/fish/vendor_completions.d/wanctl.fish",
		"usr/share/doc/wanctl/copyright", "usr/share/doc/wanctl/examples/att_config.yaml", "usr/share/wanctl/systemd/linux.conf",
	} {
		if !exists(dir, f) {
			t.Errorf("%s is not installed", f)
		}
	}
	if slurp(t, dir, "etc/passwd") != users {
		t.Error("the installation adds a user: the units are lent one")
	}
	if !strings.Contains(slurp(t, dir, "etc/group"), "\nwanctl-config:x:") {
		t.Error("the units' group is not there")
	}
	used(t, dir)

	chroot(t, dir, "dpkg", "-i", "/1.1.0.deb")
	wantCalls(t, "an upgrade", calls(), "daemon-reload", "try-restart wanctl-once@*.timer ")
	if got := chroot(t, dir, "wanctl", "version"); !strings.HasPrefix(got, "wanctl v1.1.0 ") {
		t.Errorf("the upgrade installed %q", got)
	}
	kept := func(when string) {
		t.Helper()
		for _, f := range []string{"etc/wanctl/att.yaml", "etc/wanctl/ssh/router.key", "var/lib/wanctl/ATT", "var/log/wanctl/ATT"} {
			if !exists(dir, f) {
				t.Errorf("%s takes %s away", when, f)
			}
		}
		if !strings.Contains(slurp(t, dir, "etc/default/wanctl"), "--debug") {
			t.Errorf("%s undoes a change of /etc/default/wanctl", when)
		}
	}
	kept("an upgrade")

	chroot(t, dir, "dpkg", "--remove", "wanctl")
	wantCalls(t, "a removal", calls(), "list-units ", "stop ", "daemon-reload")
	kept("a removal")
	if exists(dir, "usr/bin/wanctl") || exists(dir, "usr/lib/systemd/system/wanctl@.service") {
		t.Error("a removal leaves the program or its units")
	}

	chroot(t, dir, "dpkg", "--purge", "wanctl")
	after := files(t, dir)
	for f := range after {
		if !before[f] {
			t.Errorf("a purge leaves %s", f)
		}
	}
	for f := range before {
		if !after[f] {
			t.Errorf("the package took %s along, which is not its own", f)
		}
	}
	if out := chroot(t, dir, "dpkg", "--audit"); out != "" {
		t.Errorf("dpkg is not content: %s", out)
	}
}

func TestRPMLifeCycle(t *testing.T) {
	rpm := need(t, "rpm", "rpm")
	dir, calls := managed(t)
	build(t, "1.0.0", "amd64")
	packages := build(t, "1.1.0", "amd64")
	run := func(args ...string) string {
		t.Helper()
		return output(t, nil, rpm, append([]string{"--root", dir, "--dbpath", "/var/lib/rpm", "--nodeps", "--noplugins"}, args...)...)
	}
	before := files(t, dir)

	run("-i", filepath.Join(packages, "wanctl_1.0.0_amd64.rpm"))
	wantCalls(t, "an installation", calls(), "daemon-reload")
	if got := chroot(t, dir, "wanctl", "version"); !strings.HasPrefix(got, "wanctl v1.0.0 ") {
		t.Errorf("installed is %q", got)
	}
	if got := run("-V", "wanctl"); got != "" {
		t.Errorf("the installation differs from the package: %s", got)
	}
	used(t, dir)

	run("-U", filepath.Join(packages, "wanctl_1.1.0_amd64.rpm"))
	wantCalls(t, "an upgrade", calls(), "daemon-reload", "try-restart wanctl-once@*.timer ")
	if got := chroot(t, dir, "wanctl", "version"); !strings.HasPrefix(got, "wanctl v1.1.0 ") {
		t.Errorf("the upgrade installed %q", got)
	}
	if !strings.Contains(slurp(t, dir, "etc/default/wanctl"), "--debug") || !exists(dir, "etc/wanctl/att.yaml") {
		t.Error("an upgrade undoes changes")
	}

	run("-e", "wanctl")
	wantCalls(t, "a removal", calls(), "list-units ", "stop ", "daemon-reload")
	// What used made, which rpm keeps, and directories of other packages, which this Debian root does not have.
	mine := []string{"/etc/wanctl", "/etc/default/wanctl.rpmsave", "/etc/systemd/", "/var/lib/", "/var/log/", "/usr/share/fish", "/usr/share/zsh"}
	for f := range files(t, dir) {
		if !before[f] && !slices.ContainsFunc(mine, func(m string) bool { return strings.HasPrefix(f, m) }) {
			t.Errorf("a removal leaves %s", f)
		}
	}
	if !exists(dir, "etc/wanctl/att.yaml") || !exists(dir, "var/lib/wanctl/ATT") {
		t.Error("a removal takes what the package does not own")
	}
}
