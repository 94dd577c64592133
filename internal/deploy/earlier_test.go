package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/install"
)

// The earlier system as it was: units, timers, programs, configurations, locks, state and a cron line. Its programs are
// loops of sh here, which really run.
func (b *box) earlierSystem() {
	loop := "#!/bin/sh\n# stands for the earlier system's program\nwhile :; do sleep 1; done\n"
	b.write("root/home/kevin/wanctl/autorate_continuous.py", loop, 0o755)
	b.write("root/home/kevin/wanctl/wan_steering_daemon.py", loop, 0o755)
	b.write("root/home/kevin/wanctl/cake_stats.py", "# a module\n", 0o644)
	b.write("root/home/kevin/wanctl/notes.txt", "kept", 0o644)
	b.write("root/home/kevin/wanctl/configs/spectrum_config.yaml", "wan_name: Spectrum\nlock_file: \"/tmp/wanctl_spectrum.lock\"  # old place\nlock_timeout: 300\ncontinuous_monitoring: {}\n", 0o644)
	b.write("root/home/kevin/wanctl/configs/steering_config.yaml", "wan_name: Spectrum\nstate:\n  history_size: 10\n  file: /tmp/steering_state.json\n", 0o644)
	b.write("root/tmp/wanctl_spectrum.lock", "", 0o644)
	b.write("root/tmp/steering_state.json", `{"current_state": "SPECTRUM_GOOD"}`, 0o644)
	b.write("root/tmp/wanctl_spectrum_state.json", `{"download": {"green_streak": 7, "soft_red_streak": 0, "red_streak": 0, "current_rate": 64000000},
"upload": {"green_streak": 9, "soft_red_streak": 0, "red_streak": 0, "current_rate": 11000000},
"ewma": {"baseline_rtt": 0.21, "load_rtt": NaN}, "last_applied": {"dl_rate": 64000000, "ul_rate": 11000000}, "timestamp": "2026-01-07T02:35:00"}`, 0o644)
	b.write("root/etc/group", "wanctl-config:x:990:\n", 0o644) // what a deployment makes stays after it
	unit := func(what, script, config string) string {
		return "[Unit]\nDescription=" + what + "\n\n[Service]\nType=oneshot\nUser=kevin\nWorkingDirectory=/home/kevin/wanctl\nExecStart=/bin/sh /home/kevin/wanctl/" +
			script + " " + config + "\n"
	}
	timer := "[Timer]\nOnUnitActiveSec=2s\n\n[Install]\nWantedBy=timers.target\n"
	b.write("root/etc/systemd/system/cake-spectrum-continuous.service", unit("CAKE", "autorate_continuous.py", "--configs /home/kevin/wanctl/configs/spectrum_config.yaml"), 0o644)
	b.write("root/etc/systemd/system/cake-spectrum-continuous.timer", timer, 0o644)
	b.write("root/etc/systemd/system/wan-steering.service", unit("Steering", "wan_steering_daemon.py", "--config configs/steering_config.yaml"), 0o644)
	b.write("root/etc/systemd/system/wan-steering.timer", timer, 0o644)
	b.write("root/var/spool/cron/crontabs/kevin", "# backups\n0 3 * * * tar cf /b.tar /home\n@reboot python3 /home/kevin/wanctl/autorate_continuous.py --configs x\n", 0o600)
	for _, u := range []string{"cake-spectrum-continuous.timer", "wan-steering.timer"} {
		for _, verb := range []string{"enable", "start"} {
			if err := b.manager.one(verb, u, false); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// earlierRuns says whether it does.
func (b *box) earlierRuns() bool {
	return len(install.FindEarlier(b.root, "/proc").Processes) > 0
}

// The earlier system is stopped before anything of ours starts, what it learnt is taken over, its files are archived, and
// going back brings it back.
func TestEarlierSystem(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	b.earlierSystem()
	eventually(t, "the earlier system runs", func() error {
		if !b.earlierRuns() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	before := tree(t, b.root, "home", "tmp", "etc", "var/spool")
	h := b.host("root", b.write("configs/spectrum_config.yaml", b.wan("Spectrum", ""), 0o644))

	// One that does not come well leaves the earlier one running, untouched.
	sick := strings.ReplaceAll(b.wan("Spectrum", ""), "WAN-Download-Spectrum", "No-Such-Queue")
	b.write("configs/spectrum_config.yaml", sick, 0o644)
	s, _ := b.deploy(Options{Hosts: []Host{h}, Healthy: 20 * time.Second})
	if r := one(t, s, install.RolledBack); r.Hint != "the earlier system runs again" {
		t.Errorf("%+v", r)
	}
	if !b.earlierRuns() || len(b.running()) > 0 {
		t.Errorf("the earlier system runs: %v, ours: %v", b.earlierRuns(), b.running())
	}
	same(t, "after a failed deployment", before, tree(t, b.root, "home", "tmp", "etc", "var/spool"))

	b.write("configs/spectrum_config.yaml", b.wan("Spectrum", ""), 0o644)
	ours := 0
	s, l := b.deploy(Options{Hosts: []Host{h}, Report: func(_ string, e install.Event) {
		if e.Step == "earlier system" && e.State == install.Done && b.earlierRuns() {
			t.Error("it runs on, and is said to be stopped")
		}
		if e.Step == "start" {
			ours++
			if b.earlierRuns() {
				t.Error("ours was started beside it")
			}
		}
	}})
	one(t, s, install.Installed)
	if ours != 1 || !strings.Contains(l.String(), "import: Spectrum: baseline 0.2ms, rates 64M/11M, of the earlier system") {
		t.Errorf("what it learnt is not said:\n%s", l)
	}
	b.healthyWith("Spectrum")
	if log := b.read("run/Spectrum.log"); !strings.Contains(log, "DL=64M") && !strings.Contains(log, "DL=66M") {
		t.Errorf("the line did not go on from 64M:\n%s", log)
	}
	archive := filepath.Join("home/kevin/wanctl", ".obsolete_"+time.Now().Format("20060102"))
	for _, f := range []string{
		"autorate_continuous.py", "wan_steering_daemon.py", "cake_stats.py", "configs/spectrum_config.yaml", "configs/steering_config.yaml",
		"tmp/wanctl_spectrum.lock", "tmp/wanctl_spectrum_state.json", "tmp/steering_state.json",
		"units/cake-spectrum-continuous.service", "units/cake-spectrum-continuous.timer", "units/wan-steering.service", "units/wan-steering.timer",
	} {
		if _, err := os.Stat(filepath.Join(b.root, archive, f)); err != nil {
			t.Error(err)
		}
	}
	for _, gone := range []string{"home/kevin/wanctl/autorate_continuous.py", "tmp/wanctl_spectrum_state.json", "etc/systemd/system/wan-steering.timer"} {
		if _, err := os.Stat(filepath.Join(b.root, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if cron := b.read("var/spool/cron/crontabs/kevin"); !strings.Contains(cron, "# disabled by wanctl deploy on ") || !strings.Contains(cron, "\n0 3 * * * tar") {
		t.Errorf("the cron table is\n%s", cron)
	}
	if b.read("home/kevin/wanctl/notes.txt") != "kept" {
		t.Error("somebody's notes")
	}
	if text := b.read("etc/systemd/system/cake-spectrum-continuous.service"); !strings.Contains(text, "wanctl@spectrum.service") {
		t.Errorf("its unit's name is no alias:\n%s", text)
	}

	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	one(t, s, install.RolledBack)
	eventually(t, "the earlier system runs again", func() error {
		if !b.earlierRuns() || len(b.running()) > 0 {
			return fmt.Errorf("%v %v", b.earlierRuns(), b.running())
		}
		return nil
	})
	same(t, "after going back", before, tree(t, b.root, "home", "tmp", "etc", "var/spool"))
}

// tree is what there is below directories: paths with contents.
func tree(t *testing.T, root string, dirs ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, d := range dirs {
		err := filepath.WalkDir(filepath.Join(root, d), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			if target, err := os.Readlink(path); err == nil {
				out[rel] = "-> " + target
				return nil
			}
			b, err := os.ReadFile(path)
			out[rel] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func same(t *testing.T, when string, want, got map[string]string) {
	t.Helper()
	for p, text := range want {
		if got[p] != text {
			t.Errorf("%s %s is %q, was %q", when, p, got[p], text)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s there is %s", when, p)
		}
	}
}

// One of its processes that ends at no signal keeps the deployment from starting beside it.
func TestEarlierSystemThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	b.write("root/home/kevin/wanctl/autorate_continuous.py", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", 0o755)
	b.write("root/etc/systemd/system/stubborn.service", "[Service]\nExecStart=/bin/sh /home/kevin/wanctl/autorate_continuous.py\n", 0o644)
	if err := b.manager.one("start", "stubborn.service", false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(b.manager.pid("stubborn.service"), syscall.SIGKILL) })
	eventually(t, "it runs", func() error {
		if !b.earlierRuns() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	s, _ := b.deploy(Options{Hosts: []Host{h}})
	if r := one(t, s, install.RolledBack); !strings.Contains(r.Error, "of the earlier system does not end") {
		t.Errorf("%+v", r)
	}
	if len(b.running()) > 0 {
		t.Error("ours was started beside it")
	}
}

// A running version whose state this one cannot read: what it learnt is taken over all the same, and going back it finds
// its own state. The other version is real: this one, built with another number of its formats.
func TestUnknownStateSchema(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	seal := filepath.Join("..", "state", "seal.go")
	text := mustRead(t, seal)
	newer := strings.Replace(text, "\nconst Schema = 1\n", "\nconst Schema = 99\n", 1)
	if newer == text {
		t.Fatal("internal/state has no constant Schema = 1 any more: mend this test")
	}
	abs, err := filepath.Abs(seal)
	if err != nil {
		t.Fatal(err)
	}
	overlay := b.write("overlay.json", fmt.Sprintf(`{"Replace": {%q: %q}}`, abs, b.write("seal.go", newer, 0o644)), 0o644)
	other, err := build("amd64", "two", "-overlay", overlay)
	if err != nil {
		t.Fatal(err)
	}
	h := b.host("root", b.write("configs/att.yaml", b.wan("ATT", ""), 0o644))
	s, _ := b.deploy(Options{Hosts: []Host{h}, Programs: &Programs{Own: other}})
	two := one(t, s, install.Installed).To
	b.healthyWith("ATT")

	s, l := b.deploy(Options{Hosts: []Host{h}})
	r := one(t, s, install.Installed)
	if v := b.healthyWith("ATT"); v != r.To || r.From != two {
		t.Errorf("%s runs: %+v", v, r)
	}
	if !strings.Contains(l.String(), "import: ATT: baseline 0.") || !strings.Contains(l.String(), "rates 90M/17M, of wanctl, schema 99") {
		t.Errorf("nothing was taken over:\n%s", l)
	}
	s, _ = b.deploy(Options{Hosts: []Host{h}, Rollback: true})
	if r := one(t, s, install.RolledBack); r.To != two {
		t.Errorf("%+v", r)
	}
	if v := b.healthyWith("ATT"); v != two {
		t.Errorf("%s runs", v)
	}
	state := filepath.Join(b.root, "var/lib/wanctl/ATT_state.json")
	if text := mustRead(t, state); !strings.Contains(text, `"schema": 99`) {
		t.Errorf("its state is not its own:\n%s", text)
	}
	if _, err := os.Stat(state + ".corrupt"); err == nil {
		t.Error("it found a state that it could not read")
	}
}
