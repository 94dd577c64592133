package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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

	// The same again is no change, and no restart.
	pid := b.running()["ATT"].PID
	s, _ = b.deploy(Options{Hosts: []Host{h}})
	one(t, s, install.Unchanged)
	if now := b.running()["ATT"].PID; now != pid {
		t.Errorf("an unchanged version was restarted: %d, then %d", pid, now)
	}
}
