package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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

	if os.Getenv("WANCTL_LONG") != "" { // 19 s of load
		initMeasures(h, files[0], flags)
	}

	// A leased address is not in the files: it is another one tomorrow, and the probes are bound to the interface anyhow.
	if err := batch("ip", h.router, "addr change 10.2.0.1/24 dev wan1 valid_lft 86400 preferred_lft 86400"); err != nil {
		t.Fatal(err)
	}
	h.wanctl(append(flags, "--force", "--no-measure", "--line", "wan=wan1,name=dsl,access=vdsl,rates=95/18", "--line", "wan=wan0,name=cable,access=cable,rates=450/38")...)
	for i, want := range []bool{false, true, false} {
		if b, err := os.ReadFile(files[i]); err != nil || strings.Contains(string(b), "ping_source_ip: 10.") != want || strings.Contains(string(b), "10.2.0.1") {
			t.Errorf("%v, with a leased address:\n%s", err, b)
		}
	}
	h.wanctl(append([]string{"check"}, files...)...)

	// A line that cannot be measured is one whose controller measures it.
	if err := batch("ip", h.router, "link set wan1 down"); err != nil {
		t.Fatal(err)
	}
	h.wanctl(append(flags, "--force", "--line", "wan=wan1,name=dsl,access=vdsl,rates=95/18")...)
	if b, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(b), "is measured at start: no reflector answers") || !strings.Contains(string(b), "no default route") {
		t.Errorf("%v\n%s", err, b)
	}
}

// A server of the owner's tells what the lines carry: the providers' bottlenecks, less what they take for their frames.
func initMeasures(h *linuxHouse, file string, flags []string) {
	t := h.t
	t.Helper()
	iperf3, err := exec.LookPath("iperf3")
	if err != nil {
		t.Skip("needs iperf3: ", err)
	}
	serveIperf3(t, h.server, iperf3, peer(9))
	h.wanctl(append(flags, "--force", "--no-steer", "--capacity-from", peer(9), "--capacity-time", "8s", "--line", "wan=wan1,name=dsl,access=vdsl,rates=measured")...)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"down", "up"} {
		m := regexp.MustCompile(`(?s)` + d + `load:.*?max_mbps: ([0-9.]+) +# as measured`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("no measured %sload in\n%s", d, b)
		}
		if rate, err := strconv.ParseFloat(string(m[1]), 64); err != nil || rate < 0.85*linuxNominal || rate > linuxNominal {
			t.Errorf("the %sload carries %s of %v Mbit/s", d, m[1], linuxNominal)
		}
	}
}
