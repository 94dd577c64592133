package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// TestCalibrateMeasuresTheLine measures a line of 50/20 Mbit/s behind limits of 30/11 with a real iperf3 server, and finds the
// line, with the limits back afterwards.
func TestCalibrateMeasuresTheLine(t *testing.T) {
	requireKernel(t)
	iperf3, err := exec.LookPath("iperf3")
	if err != nil {
		t.Skip("needs iperf3: ", err)
	}
	h := newHouse(t, 1, fifo)
	h.emulate()
	file := h.configure(0, slow)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h.write("Spectrum.yaml", strings.NewReplacer("ceiling_mbps: 47.5", "ceiling_mbps: 30", "ceiling_mbps: 19", "ceiling_mbps: 11").Replace(string(text)))
	run := func(args ...string) []byte {
		t.Helper()
		bin, err := program()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ip", append([]string{"netns", "exec", h.client, bin}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+h.dir, "STATE_DIRECTORY="+h.dir, "RUNTIME_DIRECTORY="+h.dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		t.Logf("wanctl %s:\n%s", strings.Join(args, " "), stderr.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("release", file)

	serveIperf3(t, h.server, iperf3, reflectors[0])
	found := run("calibrate", file, "--iperf3", reflectors[0], "--lift", "--json", "--idle", "2s", "--time", "10s")
	var r struct {
		Test struct {
			RTT  struct{ P50 float64 }
			Ways link.Pair[struct {
				P10, P50, P90 unit.Rate
				Enough        bool
				Delay         struct{ P50, P95 float64 }
			}]
		}
		Advice []struct{ Key, Value, Verdict string }
	}
	if err := json.Unmarshal(found, &r); err != nil {
		t.Fatal(err)
	}
	t.Logf("idle RTT %.1f ms; download %+v; upload %+v", r.Test.RTT.P50, r.Test.Ways.Down, r.Test.Ways.Up)
	if r.Test.RTT.P50 > 5 {
		t.Errorf("the idle line has %.1f ms", r.Test.RTT.P50)
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		w, truth := r.Test.Ways.Get(d), nominal(d)
		if got := w.P50.Mbps(); math.Abs(got-truth) > truth/10 || !w.Enough {
			t.Errorf("%s: %.1f Mbit/s on a line of %.0f", d, got, truth)
		}
		if w.Delay.P95 < 3 { // idle it is a tenth; how much of its 400 ms the FIFO has after ten seconds is Cubic's affair
			t.Errorf("%s: full, its queue adds %.1f ms at p95", d, w.Delay.P95)
		}
	}
	for queue, want := range map[string]unit.Rate{"WAN-Download-Spectrum": 30 * unit.Mbps, "WAN-Upload-Spectrum": 11 * unit.Mbps} {
		// The emulator writes down what it has done beside its answers.
		h.events.await(t, fmt.Sprintf("%s is back at %s", queue, want), 10*time.Second, func() bool { return h.events.limit(queue) == want })
	}
}

// serveIperf3 runs an iperf3 server in a namespace until the test ends.
func serveIperf3(t *testing.T, ns, iperf3, addr string) {
	t.Helper()
	server := exec.Command("ip", "netns", "exec", ns, iperf3, "-s", "-B", addr, "--forceflush")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	b := make([]byte, 4096)
	for said := ""; !strings.Contains(said, "listening on"); {
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("iperf3 -s: %v after %q", err, said)
		}
		said += string(b[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
}
