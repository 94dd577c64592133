package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/unit"
)

// TestLinuxSteersByItself lets the real program steer on the real kernel: calls, sessions and queries over two lines, a
// congestion, a flush of all rules, a kill while steered, a restart, a recovery, a stop and a removal. What was begun stays
// on its line throughout: the server tells by the address that it sees.
func TestLinuxSteersByItself(t *testing.T) {
	requireKernel(t)
	h := newLinuxHouse(t, 2)
	foreignTable(t, h.router)
	before := everything(t, h.router)
	file := h.run()
	steer := func(name string) *process {
		p, _ := start(t, h.router, h.dir, name, "steer", "--run-dir", h.dir, "--config", file)
		return p
	}
	first := steer("steer")
	h.state(0, 15*time.Second, "[CABLE_GOOD]", "GREEN")
	if h.said("the nftables table wanctl_steering is made") != 1 {
		t.Error("it does not say what it made")
	}

	old, ssh := h.voice(10), h.session(11)
	old.must("a call of before", 1)
	if ssh.line != 1 {
		t.Fatalf("a session of before is on line %d", ssh.line)
	}

	// Somebody flushes everything.
	made := h.said("is made")
	c := nft(t, h.router)
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	foreignTable(t, h.router)
	h.state(made, 3*time.Second, "is made")
	old.must("after a flush", 1)
	h.goes("the session after a flush", ssh)

	// The primary's provider has 20 Mbit/s left, and downloads fill its buffer.
	const left = 20.0
	h.bottleneckAt(0, left)
	stopBulk := h.download(4)
	began := time.Now()
	h.state(0, 40*time.Second, "[CABLE_DEGRADED]")
	t.Logf("steered %.1f s after the congestion began", time.Since(began).Seconds())

	call := h.voice(20)
	call.must("a call of the congestion", 2)
	h.leg(21, 53).must("a query", 2)
	if s := h.session(22); s.line != 2 {
		t.Errorf("a session of the congestion is on line %d", s.line)
	}
	old.must("the call of before, congested", 1)
	h.goes("the session of before", ssh)
	h.leg(10, mediaPort+2).must("more media of the call of before", 1)

	// The new call feels nothing, and the downloads keep the line.
	from, at := h.down(), time.Now()
	var rtt []float64
	for range 150 {
		is, d := call.media.ask()
		if is != 2 {
			t.Errorf("a packet of the call by line %d", is)
		}
		rtt = append(rtt, d.Seconds()*1000)
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(at)
	got := (h.down() - from).Per(took)
	t.Logf("the new call: p95 %.2f ms; downloads: %.1f of %.0f Mbit/s", quantile(rtt, 0.95), got.Mbps(), left)
	if p := quantile(rtt, 0.95); p > 20 {
		t.Errorf("the new call has a p95 of %.1f ms, want under 20", p)
	}
	if got < unit.Rate(0.9*left*1e6) {
		t.Errorf("the downloads have %.1f Mbit/s of %.0f", got.Mbps(), left)
	}

	// A dead controller: the host routes as ever within a minute, and what was begun stays.
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	kill(t, first)
	n := 30
	h.await("new calls are on the primary again", 65*time.Second, func() bool {
		n++
		is, _ := h.leg(n, signalPort).ask()
		time.Sleep(time.Second)
		return is == 1
	})
	t.Logf("as ever %.1f s after the kill", time.Since(killed).Seconds())
	call.must("the call of the congestion, after the kill", 2)

	// Another controller finds the line as bad as it was.
	second := steer("steer again")
	h.await("new calls leave by the alternate again", 40*time.Second, func() bool {
		n++
		is, _ := h.leg(n, signalPort).ask()
		return is == 2
	})

	if os.Getenv("WANCTL_LONG") != "" { // a minute more
		h.alternateDies(&n)
		call.must("the call of the congestion, after its line was dead", 2)
	}

	stopBulk()
	h.bottleneckAt(0, linuxNominal)
	good := h.said("[CABLE_GOOD]")
	h.state(good, 60*time.Second, "[CABLE_GOOD]")
	h.voice(4).must("a call after the recovery", 1)
	call.must("the call of the congestion, after the recovery", 2)
	old.must("the call of before, after the recovery", 1)
	h.goes("the session of before", ssh)

	// A stop leaves the pins, a removal nothing at all.
	if err := second.stop(); err != nil {
		t.Errorf("steer: %v", err)
	}
	call.must("the call of the congestion, after the stop", 2)
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command("ip", "netns", "exec", h.router, bin, "policy", "remove", file).CombinedOutput(); err != nil {
		t.Fatalf("policy remove: %v: %s", err, b)
	}
	if after := everything(t, h.router); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// alternateDies takes the alternate away while new calls go there, and gives it back while the primary is still bad.
func (h *linuxHouse) alternateDies(n *int) {
	h.t.Helper()
	newCall := func(line int) func() bool {
		return func() bool {
			*n++
			is, _ := h.leg(*n, signalPort).ask()
			return is == line
		}
	}
	if err := batch("ip", h.isps[1], "link set core down"); err != nil {
		h.t.Fatal(err)
	}
	h.await("new calls leave by the primary while the alternate is dead", 60*time.Second, newCall(1))
	if err := batch("ip", h.isps[1], "link set core up", "route add 198.51.100.0/24 via 10.2.1.2"); err != nil {
		h.t.Fatal(err)
	}
	h.await("new calls leave by the alternate, which lives", 60*time.Second, newCall(2))
}

// download fills the line; the returned function ends it.
func (h *linuxHouse) download(flows int) (stop func()) {
	h.t.Helper()
	var conns []net.Conn
	for range flows {
		c, err := dialTCP(h.client, "", net.JoinHostPort(peer(5), downPort), cubic)
		if err != nil {
			h.t.Fatal(err)
		}
		conns = append(conns, c)
		go func() { _, _ = io.Copy(io.Discard, c) }()
	}
	stop = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	h.t.Cleanup(stop)
	return stop
}

// kill waits for a process that was killed, and keeps the test from asking it to stop.
func kill(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-p.done:
		p.err = nil
	case <-time.After(10 * time.Second):
		t.Fatal("it does not die")
	}
}
