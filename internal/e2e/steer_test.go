package e2e

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// rule is the comment of the emulated router's steering rule.
const rule = "ADAPTIVE: Steer latency-sensitive to ATT"

var steeringConfig = template.Must(template.New("").Parse(`wan_name: steering
topology:
  primary_wan: Spectrum
  primary_wan_config: {{.Dir}}/Spectrum.yaml
  alternate_wan: ATT
router:
  host: 127.0.0.1
  port: {{.Port}}
  user: wanctl
  ssh_key: {{.Dir}}/client_key
  known_hosts: {{.Dir}}/known_hosts
mangle_rule:
  comment: "{{.Rule}}"
cake_state_sources:
  primary: {{.Dir}}/Spectrum_feed.json
  ATT: {{.Dir}}/ATT_feed.json
alternate:
  ping_source_ip: {{.Alternate}}
measurement:
  interval_seconds: 0.5
  ping_host: {{.Host}}
  ping_count: 3
  ping_source_ip: {{.Primary}}
cake_queues:
  primary_download: WAN-Download-Spectrum
  primary_upload: WAN-Upload-Spectrum
thresholds:
  red_samples_required: 2
  green_samples_required: 6
  # A full FIFO of 20 ms, about 100 packets, is how this stand-in works; CAKE would keep it short.
  min_queue_yellow: 400
  min_queue_red: 500
state:
  file: {{.Dir}}/steering_state.json
timeouts:
  ping: 2
logging:
  main_log: {{.Dir}}/steering.log
lock_file: {{.Dir}}/steering.lock
`))

// steer starts steering between WANs 0 and 1.
func (h *house) steer() *process {
	h.t.Helper()
	var b bytes.Buffer
	if err := steeringConfig.Execute(&b, map[string]any{
		"Dir": h.dir, "Port": routerPort, "Rule": rule, "Primary": sources[0], "Alternate": sources[1], "Host": reflectors[0],
	}); err != nil {
		h.t.Fatal(err)
	}
	p, _ := start(h.t, h.client, h.dir, "steer", "steer", "--run-dir", h.dir, "--config", h.write("steering.yaml", b.String()))
	h.showLog("steering.log")
	return p
}

// call is a small TCP connection that talks all the time: 160 bytes every 20 ms, echoed by the server.
type call struct {
	net.Conn
	name   string
	echoed atomic.Int64
}

// place opens a call. Which WAN it takes is the router's business.
func (h *house) place(name string) *call {
	h.t.Helper()
	c := &call{name: name}
	var err error
	if c.Conn, err = dialTCP(h.client, "", net.JoinHostPort(reflectors[0], echoPort), nil); err != nil {
		h.t.Fatal(err)
	}
	chat(h.t, c.Conn, c.Conn, 160, 20*time.Millisecond, &c.echoed)
	return c
}

// talk waits until every call has had an echo of n more bytes.
func (h *house) talk(n int64, calls ...*call) {
	h.t.Helper()
	for _, c := range calls {
		from := c.echoed.Load()
		h.await("the call "+c.name+" goes on", 20*time.Second, func() bool { return c.echoed.Load() >= from+n })
	}
}

// said is what a call must have had echoed before it is judged where its bytes went: its payload alone is twice that.
const said = 32_000

// span is what both WANs carried for a while.
type span struct {
	took time.Duration
	wan  [2]unit.Bytes
}

// during says what the WANs carried while f ran.
func (h *house) during(f func()) span {
	h.t.Helper()
	begin, before := time.Now(), [2]unit.Bytes{h.wanBytes(0), h.wanBytes(1)}
	f()
	return span{time.Since(begin), [2]unit.Bytes{h.wanBytes(0) - before[0], h.wanBytes(1) - before[1]}}
}

// TestSteeringMovesNewConnectionsOnly shrinks the primary line far below the floor of its controller: congestion that
// shaping cannot cure. The rule is enabled once, read back, and disabled after the line has recovered. Connections are
// tracked: what was connected stays where it was by its mark alone, since all of them have the same address, and the bytes
// that each WAN carries tell.
func TestSteeringMovesNewConnectionsOnly(t *testing.T) {
	requireKernel(t)
	const shrunk = nominalDown / 10 // half of the red floor
	h := newHouse(t, 2, fifo/10)    // so that the shrunk line has the 400 ms
	h.track()
	listenTCP(t, h.server, ":"+echoPort, nil, echo)
	h.emulate()
	h.autorate(fast, 0, 1)
	bulk(t, h, link.Down, "", bulkFlows)
	st := h.steer()
	h.await("steering has assessed the line", 10*time.Second, func() bool { return len(h.logLines("steering.log", "[SPECTRUM_GOOD]", "GREEN")) > 0 })

	before := h.place("before")
	quiet := h.during(func() { h.talk(said, before) })
	// The alternate carries probes alone; a call on it would be heard over them.
	probes := func(d time.Duration) unit.Bytes {
		return unit.Bytes(1.5 * float64(quiet.wan[1]) * d.Seconds() / quiet.took.Seconds())
	}
	if quiet.wan[1] >= said {
		t.Fatalf("before the congestion the alternate carries %d bytes in %v: the call, or too many probes to tell", quiet.wan[1], quiet.took)
	}
	shrunkAt := time.Now()
	h.setLine(0, link.Down, shrunk)
	enabled := func(want ...bool) func() bool {
		return func() bool { return len(h.events.of("rule", rule)) >= len(want) }
	}
	h.events.await(t, "the rule is enabled", 60*time.Second, enabled(true))
	t.Logf("the rule was enabled %.1f s after the line shrank to %.0f Mbit/s", time.Since(shrunkAt).Seconds(), shrunk)
	h.await("the state follows the rule", 5*time.Second, func() bool { return len(h.logLines("steering.log", "[SPECTRUM_DEGRADED]")) > 0 })

	// The established call and bulk talk on, and nothing of it is on the alternate.
	s := h.during(func() { h.talk(said, before); time.Sleep(2 * time.Second) })
	t.Logf("while steered, with what was established: %s carries %.2f Mbit/s, %s %.3f", wanNames[0],
		s.wan[0].Per(s.took).Mbps(), wanNames[1], s.wan[1].Per(s.took).Mbps())
	if moved := s.wan[1] - probes(s.took); moved >= said {
		t.Errorf("%d bytes on the alternate beside probes: established connections changed their WAN", moved)
	}
	if on := s.wan[0].Per(s.took).Mbps(); on < shrunk/2 {
		t.Errorf("established connections carry %.2f Mbit/s on their WAN, want the %.0f it has", on, shrunk)
	}

	// A new call takes the alternate: all of it, and nothing else with it.
	during := h.place("during")
	s = h.during(func() { h.talk(said, during, before); time.Sleep(time.Second) })
	t.Logf("while steered, with a new call: %s carries %.2f Mbit/s, %s %.3f", wanNames[0],
		s.wan[0].Per(s.took).Mbps(), wanNames[1], s.wan[1].Per(s.took).Mbps())
	if s.wan[1] < 2*said {
		t.Errorf("%d bytes on the alternate: the new call, which had %d echoed, is not there", s.wan[1], said)
	}
	if on := s.wan[1].Per(s.took).Mbps(); on > 1 {
		t.Errorf("%.2f Mbit/s on the alternate: more than the one new call", on)
	}

	recovered := time.Now()
	h.setLine(0, link.Down, nominalDown)
	h.events.await(t, "the rule is disabled", 80*time.Second, enabled(true, false))
	t.Logf("the rule was disabled %.1f s after the line had recovered", time.Since(recovered).Seconds())
	h.await("the state follows the rule", 5*time.Second, func() bool {
		l := h.logLines("steering.log", "congestion=")
		return strings.Contains(l[len(l)-1], "[SPECTRUM_GOOD]")
	})
	// The call of the congestion stays on the alternate, although the rule is disabled.
	if s = h.during(func() { h.talk(said, during) }); s.wan[1] < 2*said {
		t.Errorf("%d bytes on the alternate: the call placed during the congestion, which had %d echoed, left its WAN", s.wan[1], said)
	}
	during.Close()
	after := h.place("after")
	s = h.during(func() { h.talk(said, before, after) })
	if moved := s.wan[1] - probes(s.took); moved >= said {
		t.Errorf("%d bytes on the alternate beside probes: a call placed after the recovery is there", moved)
	}

	changes := h.events.of("rule", rule)
	if len(changes) != 2 || !changes[0].Enabled || changes[1].Enabled {
		t.Errorf("the rule was written %d times, want once enabled and once disabled: %+v", len(changes), changes)
	}
	for verb, disabled := range map[string]string{"enable": "false", "disable": "true"} {
		var lines []event
		for _, c := range h.events.of("command", "") {
			if strings.Contains(c.Line, "/ip/firewall/mangle "+verb+" $r") {
				lines = append(lines, c)
			}
		}
		if len(lines) != 1 {
			t.Errorf("%d requests to %s the rule, want 1: %+v", len(lines), verb, lines)
			continue
		}
		// The same request reads the rule back: the value of disabled is in its answer.
		if !strings.Contains(lines[0].Line, "get $r disabled") || !strings.Contains(lines[0].Reply, disabled) {
			t.Errorf("%s was not read back: %q answered %q", verb, lines[0].Line, lines[0].Reply)
		}
	}
	if err := st.stop(); err != nil {
		t.Errorf("steer: %v", err)
	}
	if r := h.events.of("rule", rule); r[len(r)-1].Enabled {
		t.Error("steering left its rule enabled")
	}
}

// TestProbesLeaveThroughTheirWAN gives the controller of either WAN its source address and looks which line carries
// the probes.
func TestProbesLeaveThroughTheirWAN(t *testing.T) {
	requireKernel(t)
	for wan, name := range wanNames {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, 2, fifo)
			h.emulate()
			h.autorate(fast, wan)
			own, other := h.wanBytes(wan), h.wanBytes(1-wan)
			// An echo of 64 bytes or so and its reply; 15 a second.
			const enough = 30 * 2 * 60
			h.await("probes on "+name, 20*time.Second, func() bool { return h.wanBytes(wan) >= own+enough })
			// Neighbour discovery aside, the other line must be silent.
			if stray := h.wanBytes(1-wan) - other; stray > enough/10 {
				t.Errorf("%d bytes on the other WAN while %d of probes went through %s", stray, h.wanBytes(wan)-own, name)
			}
		})
	}
}
