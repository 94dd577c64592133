package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/install"
)

// The thin slice: nothing was there, and after one command a line is controlled.
func TestFirstDeployment(t *testing.T) {
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att_config.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)

	s, l := b.deploy(Options{Hosts: []Host{h}, DryRun: true})
	one(t, s, Planned)
	if !s.OK || !strings.Contains(l.String(), "would: install "+att) {
		t.Errorf("a dry run says %v\n%s", s.OK, l)
	}
	if _, err := os.Stat(filepath.Join(b.root, "usr/local")); err == nil {
		t.Error("a dry run changed the host")
	}

	s, l = b.deploy(Options{Hosts: []Host{h}})
	r := one(t, s, install.Installed)
	if !s.OK || len(r.Running) != 1 || r.Running[0].Name != "ATT" || r.Running[0].Version != "one" || r.Doctor == nil {
		t.Errorf("%+v\n%s", r, l)
	}
	if v := b.healthyWith("ATT"); v != r.To {
		t.Errorf("%s runs, want %s", v, r.To)
	}
	if text := b.read("etc/wanctl/att.yaml"); text != b.wan("ATT", "") {
		t.Errorf("the configuration is\n%s", text)
	}

	// It may hold a password: it is for root and the group that the units are in.
	if mode, gid := b.owned("etc/wanctl/att.yaml"); mode != 0o640 || !strings.Contains(b.read("etc/group"), fmt.Sprintf("wanctl-config:x:%d:", gid)) {
		t.Errorf("the configuration has mode %o, and belongs to group %d of\n%s", mode, gid, b.read("etc/group"))
	}

	// The same again is no change, and no restart.
	pid := b.running()["ATT"].PID
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Unchanged)
	if now := b.running()["ATT"].PID; now != pid {
		t.Errorf("an unchanged version was restarted: %d, then %d", pid, now)
	}

	// A timer that runs a process per cycle would end the service: it gives way, and comes back with what was.
	for _, verb := range []string{"stop", "disable"} {
		if err := b.manager.one(verb, "wanctl@att.service", false); err != nil {
			t.Fatal(err)
		}
	}
	timers := []string{"wanctl-once@att.timer", "cake-att-continuous.timer"}
	for _, u := range timers {
		b.write("root/run/fake/"+u+".pid", "1", 0o644)
		b.write("root/run/fake/"+u+".enabled", "", 0o644)
	}
	s, l = b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Installed)
	b.healthyWith("ATT")
	for _, u := range timers {
		if b.manager.active(u) || exists(b.root, "run/fake", u+".enabled") || !strings.Contains(l.String(), u+" is stopped and disabled") {
			t.Errorf("%s is still there:\n%s", u, l)
		}
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	one(t, s, install.RolledBack)
	for _, u := range timers {
		if !b.manager.active(u) || !exists(b.root, "run/fake", u+".enabled") {
			t.Errorf("%s did not come back", u)
		}
	}
	if len(b.running()) != 0 {
		t.Errorf("%v", b.running())
	}
}

func exists(elem ...string) bool {
	_, err := os.Lstat(filepath.Join(elem...))
	return err == nil
}

// owned is the mode of what a path leads to, and its group.
func (b *box) owned(name string) (os.FileMode, uint32) {
	b.t.Helper()
	info, err := os.Stat(filepath.Join(b.root, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Gid
}

// A line of the host itself gets its right, and its queues before its controller.
func TestLineOfTheHostItself(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	lin := b.write("configs/lin.yaml", strings.Replace(b.wan("Lin", ""), "queues: {download: WAN-Download-Lin, upload: WAN-Upload-Lin}",
		"router: {transport: linux}\ninterfaces: {download: ifb4nowan, upload: nowan}\nqdisc: {access: docsis}", 1), 0o644)
	h := b.host("root", lin)
	dropIns := []string{"wanctl@lin.service.d/50-linux.conf", "wanctl@lin.service.d/50-qdisc.conf", "wanctl-qdisc@.service"}
	seen := false
	s, l := b.deploy(Options{Hosts: []Host{h}, Healthy: 2 * time.Second, Report: func(_ string, e install.Event) {
		if e.Step == "start" && e.State == install.Done {
			seen = true
			for _, u := range dropIns {
				if !exists(b.root, "etc/systemd/system", u) {
					t.Errorf("%s is missing", u)
				}
			}
		}
	}})
	r := one(t, s, install.RolledBack)
	log := b.read("run/fake.log")
	queues, line := strings.Index(log, "restart wanctl-qdisc@lin.service\n"), strings.Index(log, "restart wanctl@lin.service\n")
	if !seen || queues < 0 || line < queues || !strings.Contains(l.String(), "the queues are not as the configuration has them") || !strings.Contains(r.Error, "Lin ") {
		t.Errorf("%+v\n%s\n%s", r, l, log)
	}
	for _, u := range dropIns {
		if exists(b.root, "etc/systemd/system", u) {
			t.Errorf("%s is left", u)
		}
	}
}

// limits are what the router was told, from the emulator's journal.
func (b *box) limits() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "router.jsonl"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// An upgrade hands over: the router never sees the exit rates. Going back is one command.
func TestUpgradeAndBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	first := one(t, s, install.Installed)
	b.healthyWith("ATT")

	b.write("configs/att.yaml", b.wan("ATT", "# the second one"), 0o644)
	// Somebody edited the file on the host.
	edited := filepath.Join(b.root, "etc/wanctl/att.yaml")
	if err := os.Remove(edited); err != nil { // as sed -i does it
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(edited, []byte(b.wan("ATT", "# by hand")), 0o640), os.Chown(edited, 0, 4711)); err != nil {
		t.Fatal(err)
	}
	s, l := b.deploy(Options{Hosts: []Host{h}})
	second := one(t, s, install.Installed)
	if second.From != first.To || second.To == first.To {
		t.Errorf("from %s to %s, and %s was there", second.From, second.To, first.To)
	}
	if !strings.Contains(l.String(), "etc/wanctl/att.yaml was edited on the host") {
		t.Errorf("nobody was told of the edit:\n%s", l)
	}
	if v := b.healthyWith("ATT"); v != second.To {
		t.Errorf("%s runs", v)
	}
	if strings.Contains(b.limits(), "80M") || strings.Contains(b.limits(), "80000000") {
		t.Errorf("the router saw the exit rate:\n%s", b.limits())
	}

	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	back := one(t, s, install.RolledBack)
	if !s.OK || back.To != first.To {
		t.Errorf("%+v", back)
	}
	if v := b.healthyWith("ATT"); v != first.To {
		t.Errorf("%s runs, want %s", v, first.To)
	}
	if !strings.Contains(b.read("etc/wanctl/att.yaml"), "# by hand") {
		t.Error("the edit is gone")
	}
	if mode, gid := b.owned("etc/wanctl/att.yaml"); mode != 0o640 || gid != 4711 {
		t.Errorf("the edited file came back with mode %o for group %d", mode, gid)
	}

	// Before the first there was nothing, and going back leaves nothing.
	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	one(t, s, install.RolledBack)
	if len(b.running()) != 0 {
		t.Errorf("still running: %v", b.running())
	}
	for _, gone := range []string{"usr/bin/wanctl", "etc/wanctl/att.yaml", "etc/systemd/system/wanctl@.service", "usr/local/lib/wanctl/current"} {
		if _, err := os.Lstat(filepath.Join(b.root, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	if r := one(t, s, install.Refused); !strings.Contains(r.Error, "no version that was deployed") {
		t.Errorf("%+v", r)
	}
}

// A version that is not healthy in time is replaced by the one before, on the host itself.
func TestUnhealthyGoesBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	att := b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	h := b.host("root", att)

	// As the first one: then nothing may be left.
	sick := strings.ReplaceAll(b.wan("ATT", ""), "WAN-Download-ATT", "No-Such-Queue")
	b.write("configs/att.yaml", sick, 0o644)
	s, _ := b.deploy(Options{Hosts: []Host{h}, Healthy: 20 * time.Second})
	r := one(t, s, install.RolledBack)
	if !strings.Contains(r.Error, "not healthy within 20s: ATT ") || s.OK || len(b.running()) != 0 {
		t.Errorf("%+v, running: %v", r, b.running())
	}

	b.write("configs/att.yaml", b.wan("ATT", ""), 0o644)
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	good := one(t, s, install.Installed)
	for name, text := range map[string]string{"sick": sick, "does not start": strings.ReplaceAll(b.wan("ATT", ""), b.root+"/run/ATT.log", "/proc/no/such/log") + "lock_file: /proc/no/lock\n"} {
		b.write("configs/att.yaml", text, 0o644)
		s, _ = b.deploy(Options{Hosts: []Host{h}, Healthy: 20 * time.Second})
		if r := one(t, s, install.RolledBack); r.From != good.To {
			t.Errorf("%s: %+v", name, r)
		}
		if v := b.healthyWith("ATT"); v != good.To {
			t.Errorf("%s: %s runs, want %s", name, v, good.To)
		}
	}
}

// What the new program refuses on the host itself never comes into force.
func TestRefusedOnTheHost(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	primary := b.write("root/etc/wanctl/spectrum_config.yaml", "wan_name: [broken\n", 0o644)
	steering := b.write("configs/steering_config_v2.yaml", fmt.Sprintf(`wan_name: steering
topology: {primary_wan: Spectrum, alternate_wan: ATT, primary_wan_config: %s}
%s
mangle_rule: {comment: "ADAPTIVE: Steer latency-sensitive to ATT"}
cake_state_sources: {primary: %s/run/wanctl/Spectrum_feed.json}
measurement: {interval_seconds: 0.5, ping_host: 127.0.0.1, ping_count: 1}
cake_queues: {primary_download: WAN-Download-Spectrum, primary_upload: WAN-Upload-Spectrum}
thresholds: {green_rtt_ms: 5, yellow_rtt_ms: 300, red_rtt_ms: 300, min_queue_yellow: 100000, min_queue_red: 200000, baseline_rtt_bounds: {min: 0.01, max: 500}}
logging: {main_log: %s/run/steering.log}
`, primary, b.emulatorRouter, b.root, b.root), 0o644)
	h := b.host("root")
	h.Steering = steering
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	r := one(t, s, install.Refused)
	if !strings.Contains(r.Error, "wanctl check refuses the configurations on this host") || !strings.Contains(r.Error, "spectrum_config.yaml:2:1: error: not valid YAML") {
		t.Errorf("%+v", r)
	}
	if entries, err := os.ReadDir(filepath.Join(b.root, "usr/local/lib/wanctl/versions")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}

	// With its line's file in the same deployment both run. The name that the steering names leads to the new file.
	h.WANs = []string{b.write("configs/spectrum_config.yaml", b.wan("Spectrum", ""), 0o644)}
	if err := os.Remove(primary); err != nil {
		t.Fatal(err)
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	r = one(t, s, install.Installed)
	if len(r.Running) != 2 {
		t.Errorf("%+v", r.Running)
	}
	b.healthyWith("Spectrum")
	b.healthyWith("steering")
	if b.read("etc/wanctl/spectrum_config.yaml") != b.read("etc/wanctl/spectrum.yaml") {
		t.Error("the line's file is not there under its own name")
	}
}

// Two deployments at once: the second changes nothing and names the first.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	var second Summary
	s, _ := b.deploy(Options{Hosts: []Host{h}, Report: func(_ string, e install.Event) {
		if e.Step == "switch" {
			second, _ = b.deploy(Options{Hosts: []Host{h}})
		}
	}})
	one(t, s, install.Installed)
	r := one(t, second, install.Refused)
	if !strings.Contains(r.Error, "another deployment is at work on this host: deployment of one by test@here since ") {
		t.Errorf("%+v", r)
	}

	// A version that is in force but does not run is put into force anew, and then again it is no change.
	if err := b.manager.one("stop", "wanctl@att.service", false); err != nil {
		t.Fatal(err)
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	if r := one(t, s, install.Installed); r.To != r.From+".2" || b.healthyWith("ATT") != r.To {
		t.Errorf("%+v", r)
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Unchanged)
}

// One host that is not reached keeps all of them as they are, unless told to go on.
func TestAllOrNothingBeforeTheFirstChange(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	gone := h
	gone.Name, gone.Port = "gone", freePort(t)
	b.write("known_hosts", strings.ReplaceAll(mustRead(t, b.known), fmt.Sprint(b.port), fmt.Sprint(gone.Port))+mustRead(t, b.known), 0o600)
	s, _ := b.deploy(Options{Hosts: []Host{h, gone}})
	if s.OK || s.Hosts[0].Outcome != Untouched || s.Hosts[1].Outcome != Unreached || s.Hosts[1].Hint == "" {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(b.root, "usr/local")); err == nil {
		t.Error("the good host was changed")
	}
	s, _ = b.deploy(Options{Hosts: []Host{h, gone}, KeepGoing: true})
	if s.OK || s.Hosts[0].Outcome != install.Installed || s.Hosts[1].Outcome != Unreached {
		t.Errorf("%+v", s)
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
