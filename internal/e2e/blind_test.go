package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
)

// icmpFirst makes a provider's bottleneck for the download that carries so much, in which ICMP overtakes all else.
func (h *house) icmpFirst(mbps float64) {
	h.t.Helper()
	rate := fmt.Sprintf("rate %.0fbit ceil %.0fbit", mbps*1e6, mbps*1e6)
	if err := batch("tc", h.isps[0], "qdisc del dev customer root",
		"qdisc add dev customer root handle 1: htb default 20",
		"class add dev customer parent 1: classid 1:1 htb "+rate+" burst 6000 cburst 6000",
		fmt.Sprintf("class add dev customer parent 1:1 classid 1:10 htb rate 1mbit ceil %.0fbit prio 0 quantum 1514", mbps*1e6),
		fmt.Sprintf("class add dev customer parent 1:1 classid 1:20 htb rate 1mbit ceil %.0fbit prio 1 quantum 1514", mbps*1e6),
		"qdisc add dev customer parent 1:10 handle 10: bfifo limit 30000",
		fmt.Sprintf("qdisc add dev customer parent 1:20 handle 20: bfifo limit %d", bytesIn(mbps, h.buffer)),
		"filter add dev customer parent 1: protocol ip prio 1 u32 match ip protocol 1 0xff flowid 1:10"); err != nil {
		h.t.Fatal(err)
	}
}

// TestBlindToICMP: the line's bottleneck lets ICMP overtake everything, so that no echo sees its queue. Handshakes do: the
// reflectors refuse them, which is an answer. From then on the delay is what TCP tells. Nothing is written, so that the queue
// stands.
func TestBlindToICMP(t *testing.T) {
	requireKernel(t)
	h := newHouse(t, 1, fifo)
	h.icmpFirst(nominalDown / 2)
	tr := probeTruth(t, h)
	h.emulate()
	const name = "Spectrum"
	path := h.write(name+".yaml", strings.NewReplacer("DIR", h.dir, "PORT", fmt.Sprint(routerPort), "HOSTS", strings.Join(reflectors, ", ")).Replace(`wan_name: Spectrum
router: {host: 127.0.0.1, port: PORT, user: wanctl, ssh_key: DIR/client_key, known_hosts: DIR/known_hosts}
queues: {download: WAN-Download-Spectrum, upload: WAN-Upload-Spectrum}
continuous_monitoring:
  enabled: false
  policy: tracking
  interval_ms: 500
  download: {max_mbps: 47.5}
  upload: {max_mbps: 19}
  ping_hosts: [HOSTS]
ping_source_ip: 10.0.0.2
logging: {main_log: DIR/Spectrum.log}
lock_file: DIR/Spectrum.lock
state_file: DIR/Spectrum_state.json
feed_file: DIR/Spectrum_feed.json
`))
	p, _ := start(t, h.client, h.dir, "autorate", "autorate", "--run-dir", h.dir, "--configs", path)
	h.showLog(name + ".log")
	said := func(what string) []string { return h.logLines(name+".log", what) }
	await := func(what string, d time.Duration) time.Time {
		t.Helper()
		h.await(what, d, func() bool {
			select {
			case <-p.done:
				t.Fatalf("autorate ended: %v", p.err)
			default:
			}
			return len(said(what)) > 0
		})
		return time.Now()
	}
	await("delta=", 15*time.Second)
	time.Sleep(8 * time.Second) // what TCP takes on an idle line is learnt
	bulk(t, h, link.Down, sources[0], bulkFlows)
	began := time.Now()
	found := await("ICMP is treated unlike data", 90*time.Second)
	lines := len(said("delta="))
	time.Sleep(8 * time.Second)
	truly := tr.between(began.Add(2*time.Second), time.Now())
	var deltas []float64
	for _, l := range said("delta=")[lines:] {
		_, rest, _ := strings.Cut(l, "delta=")
		ms, _, _ := strings.Cut(rest, "ms")
		d, err := strconv.ParseFloat(ms, 64)
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		deltas = append(deltas, d)
	}
	t.Logf("found after %v: %s", found.Sub(began).Round(time.Second), said("ICMP is treated unlike data")[0])
	t.Logf("a small flow meets %v; the deltas from then on have a median of %.0f ms", truly, quantile(deltas, 0.5))
	if truly.p50 < 50 {
		t.Fatalf("the line did not bloat: %v", truly)
	}
	if d := quantile(deltas, 0.5); d < truly.p50/2 || d > 2*truly.p50 {
		t.Errorf("the delta is %.0f ms, and a small flow meets %v", d, truly)
	}
}
