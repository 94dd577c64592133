//go:build lab

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/unit"
)

// In the lab's machine nothing is built: the program lies beside the tests.
func init() { program = func() (string, error) { return filepath.Abs("wanctl") } }

// TestLabSteeringOverCake lets everything work together on the real kernel: CAKE on both lines, a controller for each that
// sets it, and steering. The primary's provider then carries less than the controller's floor, which no shaping cures: the
// controller says so, and new calls take the other line.
func TestLabSteeringOverCake(t *testing.T) {
	requireKernel(t)
	h := newLinuxHouse(t, 2)
	h.shaped = true
	before := everything(t, h.router)
	file := h.run()
	steering := h.steer(file)
	h.state(0, 30*time.Second, "[CABLE_GOOD]", "GREEN")
	old, ssh := h.voice(10), h.session(11)
	old.must("a call of before", 1)
	if ssh.line != 1 {
		t.Fatalf("a session of before is on line %d", ssh.line)
	}

	// A full line alone is CAKE's to bear: nothing is steered for it.
	stopBulk := h.download(5, 4)
	time.Sleep(15 * time.Second)
	if h.said("[CABLE_DEGRADED]") > 0 {
		t.Error("it steered because the line was full, though its queue was short")
	}
	from, at := h.down(), time.Now()
	was := asked(t, old.media, 1)
	full := (h.down() - from).Per(time.Since(at))

	h.bottleneckAt(0, linuxLeft)
	began := time.Now()
	h.state(0, 60*time.Second, "[CABLE_DEGRADED]")
	took := time.Since(began)
	if out, err := exec.Command("tc", "-n", h.router, "qdisc", "show", "dev", "ifb4wan0").CombinedOutput(); err != nil || !strings.Contains(string(out), "bandwidth 30Mbit") {
		t.Errorf("CAKE is not at the floor: %v: %s", err, out)
	}
	call := h.voice(20)
	call.must("a call of the congestion", 2)
	old.must("the call of before, congested", 1)
	h.goes("the session of before", ssh)
	from, at = h.down(), time.Now()
	is := asked(t, call.media, 2)
	got := (h.down() - from).Per(time.Since(at))
	t.Logf("full: p95 %.2f ms at %s; congested: steered after %.1f s, new calls' p95 %.2f ms, downloads %s of %.0fM", was, full, took.Seconds(), is, got, linuxLeft)
	if was > 20 || is > 20 {
		t.Errorf("a call has a p95 of %.1f ms on the full line, and of %.1f ms on the other while it is congested; want under 20", was, is)
	}
	if got < unit.Rate(0.9*linuxLeft*1e6) {
		t.Errorf("the downloads have %s of %.0fM", got, linuxLeft)
	}

	stopBulk()
	h.bottleneckAt(0, linuxNominal)
	h.state(h.said("[CABLE_GOOD]"), 90*time.Second, "[CABLE_GOOD]")
	h.voice(4).must("a call after the recovery", 1)
	call.must("the call of the congestion, after the recovery", 2)
	old.must("the call of before, after the recovery", 1)
	if err := steering.stop(); err != nil {
		t.Errorf("steer: %v", err)
	}
	h.wanctl("policy", "remove", file)
	if after := everything(t, h.router); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
