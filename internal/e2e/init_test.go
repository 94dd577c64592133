package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A host with two lines is set up by flags: its lines are found by their default routes, each is measured through its own
// interface, and what is written says how the kernel is to be set up.
func TestInitOnLinux(t *testing.T) {
	requireKernel(t)
	h := newLinuxHouse(t, 2)
	etc := filepath.Join(h.dir, "etc")
	flags := []string{
		"init", "--linux", "--yes", "--dir", etc, "--lan", "lan",
		"--ping-host", peer(1), "--ping-host", peer(2), "--ping-host", peer(3),
	}
	h.wanctl(append(flags, "--line", "wan=wan1,name=dsl,access=vdsl,rates=95/18", "--line", "wan=wan0,name=cable,access=cable,rates=450/38")...)
	files := []string{filepath.Join(etc, "dsl.yaml"), filepath.Join(etc, "cable.yaml"), filepath.Join(etc, "steering.yaml")}
	for i, want := range [][]string{
		{"upload: wan1 ", "default route by 10.2.0.2, distance 200", "download: ifb4wan1", "the idle line has 0.", "ping_interface: wan1", "ping_source_ip: 10.2.0.1"},
		{"upload: wan0 ", "default route by 10.1.0.2, distance 100", "download: ifb4wan0", "the idle line has 0.", "ping_interface: wan0", "ping_source_ip: 10.1.0.1"},
		{"primary_wan: cable", "alternate_wan: dsl", "lan: [lan]", "dsl: {interface: wan1}", "primary_download: ifb4wan0"}, // the nearest default route is the primary's
	} {
		b, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s lacks %q:\n%s", files[i], w, b)
			}
		}
	}
	h.wanctl(append([]string{"check"}, files...)...)
	h.wanctl("policy", "plan", files[2])

	// A line that cannot be measured is one whose controller measures it.
	if err := batch("ip", h.router, "link set wan1 down"); err != nil {
		t.Fatal(err)
	}
	h.wanctl(append(flags, "--force", "--line", "wan=wan1,name=dsl,access=vdsl,rates=95/18")...)
	if b, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(b), "is measured at start: no reflector answers") || !strings.Contains(string(b), "no default route") {
		t.Errorf("%v\n%s", err, b)
	}
}
