package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/unit"
)

// TestLinuxSteersByItself lets the real program steer on the real kernel: calls, sessions and queries over two lines, a
// congestion, a flush of all rules, a recovery, a stop and a removal. What was begun stays
// on its line throughout: the server tells by the address that it sees.
func TestLinuxSteersByItself(t *testing.T) {
	requireKernel(t)
	h := newLinuxHouse(t, 2)
	foreignTable(t, h.router)
	before := everything(t, h.router)
	file := h.run()
	steering := h.steer(file)
	h.state(0, 15*time.Second, "[CABLE_GOOD]", "GREEN")
	if h.said("the nftables table wanctl_steering is made") != 1 {
		t.Error("it does not say what it made")
	}
	if h.said("is not proved") != 0 {
		t.Error("it doubts what it can see: by which line its own probes leave")
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
	h.bottleneckAt(0, linuxLeft)
	stopBulk := h.download(5, 4)
	began := time.Now()
	h.state(0, 40*time.Second, "[CABLE_DEGRADED]")
	t.Logf("steered %.1f s after the congestion began", time.Since(began).Seconds())

	call := h.voice(20)
	call.must("a call of the congestion", 2)
	h.leg(21, 53).must("a query", 2)
	h.reloadSteered(steering, file)
	call.must("the call of the congestion, after reloads", 2)
	old.must("the call of before, after reloads", 1)
	if s := h.session(22); s.line != 2 {
		t.Errorf("a session of the congestion is on line %d", s.line)
	}
	old.must("the call of before, congested", 1)
	h.goes("the session of before", ssh)
	h.leg(10, mediaPort+2).must("more media of the call of before", 1)
	for peer, want := range map[string]string{
		peer(10): "line:      Cable: 10.0.0.2 and " + peer(10) + " have a call by it",
		peer(24): "line:      DSL: it is of the class voip, and that is steered",
	} {
		if out := h.wanctl("steer", "explain", "--run-dir", h.dir, file, "udp", "10.0.0.2:9", peer+":5060"); !strings.Contains(out, want) {
			t.Errorf("steer explain does not say %q:\n%s", want, out)
		}
	}

	// The new call feels nothing, and the downloads keep the line.
	from, at := h.down(), time.Now()
	p95 := asked(t, call.media, 2)
	took := time.Since(at)
	got := (h.down() - from).Per(took)
	t.Logf("the new call: p95 %.2f ms; downloads: %.1f of %.0f Mbit/s", p95, got.Mbps(), linuxLeft)
	if p95 > 20 {
		t.Errorf("the new call has a p95 of %.1f ms, want under 20", p95)
	}
	if got < unit.Rate(0.9*linuxLeft*1e6) {
		t.Errorf("the downloads have %.1f Mbit/s of %.0f", got.Mbps(), linuxLeft)
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
	if err := steering.stop(); err != nil {
		t.Errorf("steer: %v", err)
	}
	call.must("the call of the congestion, after the stop", 2)
	h.wanctl("policy", "remove", file)
	if after := everything(t, h.router); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// reloadSteered reloads steering while it steers: with other classes, which makes the table anew, and with a file that is
// refused. New connections go where they went, without a word of the kernel that they do not.
func (h *linuxHouse) reloadSteered(steering *process, file string) {
	h.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	made, changes := h.said("table wanctl_steering is made"), h.said("→")
	for _, c := range []struct{ old, to, word string }{
		{"traffic_classes:\n", "traffic_classes:\n  web: true\n", "configuration reloaded"},
		{"alternate_wan: DSL", "alternate_wan: Other", "reload refused"},
		{"", "", "configuration reloaded"},
	} {
		before := h.said(c.word)
		h.write(filepath.Base(file), strings.Replace(string(text), c.old, c.to, 1))
		if err := steering.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			h.t.Fatal(err)
		}
		h.state(before, 5*time.Second, c.word)
		h.newCalls(2, 3*time.Second)
		lines := h.said("[CABLE_DEGRADED]")
		h.state(lines+2, 5*time.Second, "[CABLE_DEGRADED]")
		h.newCalls(2, time.Second)
	}
	if n := h.said("table wanctl_steering is made") - made; n != 2 {
		h.t.Errorf("the table was made %d times by two reloads that change it", n)
	}
	if h.said("somebody ended that") != 0 || h.said("→") != changes {
		h.t.Error("a reload ended steering for a moment")
	}
}

// TestLinuxSteeringIsKilled: a controller that is killed while it steers leaves normal routing behind within a minute, and
// what was begun where it began. It measures nothing but that, so it runs beside others.
func TestLinuxSteeringIsKilled(t *testing.T) {
	requireKernel(t)
	t.Parallel()
	h := newLinuxHouse(t, 2)
	file := h.run()
	first := h.steer(file)
	h.state(0, 30*time.Second, "[CABLE_GOOD]", "GREEN")
	h.bottleneckAt(0, linuxLeft)
	h.download(5, 4)
	h.newCalls(2, 60*time.Second)
	call := h.voice(20)
	call.must("a call of the congestion", 2)

	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	kill(t, first)
	h.newCalls(1, 65*time.Second)
	t.Logf("as ever %.1f s after the kill", time.Since(killed).Seconds())
	call.must("the call of the congestion, after the kill", 2)

	// Another controller finds the line as bad as it was.
	h.steer(file)
	h.newCalls(2, 60*time.Second)
	call.must("the call of the congestion, steered again", 2)
}

// TestLinuxSteersBetweenThreeLines takes one line after the other away from the real program: the primary is congested, the
// line that it steers to dies, then all are congested at once, and one after the other is well again.
func TestLinuxSteersBetweenThreeLines(t *testing.T) {
	requireKernel(t)
	t.Parallel()
	h := newLinuxHouse(t, 3)
	file := h.run()
	h.steer(file)
	h.state(0, 30*time.Second, "[CABLE_GOOD]", "GREEN")
	old := h.voice(10)
	old.must("a call of before", 1)

	h.bottleneckAt(0, linuxLeft)
	stop := []func(){h.download(5, 4)}
	h.await("new calls leave by another line", 60*time.Second, func() bool { return h.newCall() > 1 })
	one := h.newCall()
	if one != 2 && one != 3 {
		t.Fatalf("a new call leaves by line %d", one)
	}
	other := 5 - one
	call := h.voice(11)
	call.must("a call of the congestion", one)

	if err := batch("ip", h.isps[one-1], "link set core down"); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	h.newCalls(other, 60*time.Second)
	t.Logf("new calls are on the third line %.1f s after the second died", time.Since(died).Seconds())
	second := h.voice(12)
	second.must("a call after the alternate died", other)
	if err := batch("ip", h.isps[one-1], "link set core up", fmt.Sprintf("route add 198.51.100.0/24 via 10.%d.1.2", one)); err != nil {
		t.Fatal(err)
	}
	call.must("the call whose line was dead", one)

	// All are bad: everything goes where it would go without steering, and somebody is told.
	told := h.said("nothing can be done")
	for _, line := range []int{2, 3} {
		h.bottleneckAt(line-1, linuxLeft)
		stop = append(stop, h.download(5+line, 4))
	}
	h.newCalls(1, 60*time.Second)
	h.state(told, 30*time.Second, "Cable is congested and nothing can be done")
	h.voice(13).must("a call while all are bad", 1)
	call.must("the call of the congestion, congested itself", one)

	// The alternates are well again, and then the primary.
	for i, end := range stop[1:] {
		end()
		h.bottleneckAt(i+1, linuxNominal)
	}
	h.await("new calls leave by another line again", 60*time.Second, func() bool { return h.newCall() > 1 })
	stop[0]()
	h.bottleneckAt(0, linuxNominal)
	h.newCalls(1, 60*time.Second)
	old.must("the call of before", 1)
	call.must("the call of the congestion", one)
	second.must("the call after the alternate died", other)
}

// linuxLeft is what a provider has left of a congested line, in Mbit/s.
const linuxLeft = 20.0

// wanctl runs the program on the router.
func (h *linuxHouse) wanctl(args ...string) string {
	h.t.Helper()
	bin, err := program()
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := exec.Command("ip", append([]string{"netns", "exec", h.router, bin}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("wanctl %v: %v: %s", args, err, b)
	}
	return string(b)
}

// steer starts steering.
func (h *linuxHouse) steer(file string) *process {
	h.t.Helper()
	h.starts++
	p, _ := start(h.t, h.router, h.dir, fmt.Sprintf("steer %d", h.starts), "steer", "--run-dir", h.dir, "--config", file)
	return p
}

// newCall is the line by which a call to somebody new leaves; 0 when it is not answered.
func (h *linuxHouse) newCall() int {
	h.t.Helper()
	h.called++
	is, _ := h.leg(firstStranger+h.called, signalPort).ask()
	return is
}

// newCalls waits until calls to somebody new leave by a line. It asks every half second: there are so many strangers.
func (h *linuxHouse) newCalls(line int, d time.Duration) {
	h.t.Helper()
	h.await(fmt.Sprintf("new calls leave by line %d", line), d, func() bool {
		if h.newCall() == line {
			return true
		}
		time.Sleep(500 * time.Millisecond)
		return false
	})
}

// download fills a line from one of the server's addresses; the returned function ends it.
func (h *linuxHouse) download(n, flows int) (stop func()) {
	h.t.Helper()
	var conns []net.Conn
	for range flows {
		c, err := dialTCP(h.client, "", net.JoinHostPort(peer(n), downPort), cubic)
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
