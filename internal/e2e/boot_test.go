package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What several of bootFiles say.
const (
	bootRouter     = `router: {host: router.test, port: PORT, user: wanctl, ssh_key: DIR/client_key, known_hosts: DIR/known_hosts}`
	bootMonitoring = `continuous_monitoring:
  interval_ms: 200
  baseline_rtt_initial: 1
  baseline_rtt_bounds: {min: 0.01, max: 500}
  download: {floor_mbps: 25, ceiling_mbps: 90}
  upload: {floor_mbps: 6, ceiling_mbps: 17}
  thresholds: {target_bloat_ms: 300, warn_bloat_ms: 500}
  ping_hosts: [reflector.test]`
)

// bootFiles are a line on a router, one on this host, and steering, of which nothing is there yet when the host boots: no
// interface, no address, no name server, no router.
var bootFiles = map[string]string{
	"fibre.yaml": `wan_name: Fibre
ROUTER
queues: {download: WAN-Download-ATT, upload: WAN-Upload-ATT}
ping_source_ip: 192.0.2.2
ping_interface: wan0
MONITORING
logging: {main_log: DIR/Fibre.log}
`,
	"cake.yaml": `wan_name: Cake
router: {transport: linux}
interfaces: {download: ifb4wan0, upload: wan0}
MONITORING
logging: {main_log: DIR/Cake.log}
`,
	"steering.yaml": `wan_name: steering
topology: {primary_wan: Fibre, alternate_wan: Other}
ROUTER
mangle_rule: {comment: "ADAPTIVE: Steer latency-sensitive to ATT"}
cake_state_sources: {primary: DIR/Fibre_feed.json}
measurement: {interval_seconds: 0.5, ping_host: reflector.test, ping_count: 1, ping_source_ip: 192.0.2.2, ping_interface: wan0}
cake_queues: {primary_download: WAN-Download-ATT}
thresholds: {baseline_rtt_bounds: {min: 0.01, max: 500}}
logging: {main_log: DIR/steering.log}
`,
}

// TestNothingIsThereAtBoot starts the real program before its interface, its address, its name server and its router are
// there: it is ready at once, says once what is missing, and works by itself when all of it has come.
func TestNothingIsThereAtBoot(t *testing.T) {
	requireKernel(t)
	t.Parallel()
	dir := t.TempDir()
	host, gateway := namespace(t, "host"), namespace(t, "gw")
	if err := errors.Join(batch("ip", host, "link set lo up"), batch("ip", gateway, "link set lo up")); err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	put := func(name, text string) {
		t.Helper()
		text = strings.NewReplacer("ROUTER", bootRouter, "MONITORING", bootMonitoring).Replace(text)
		text = strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(routerPort)).Replace(text)
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range bootFiles {
		put(name, text)
	}
	put("resolv.conf", "")
	emulator(t, gateway, dir) // it waits at an address that nobody can reach yet

	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	bin, _ := program()
	// Within a mount namespace of its own, which `ip netns exec` makes, the host's name servers are ours to say.
	p, out := startAs(t, host, dir, "run", "sh", "-c", `mount --bind "$1" /etc/resolv.conf; export NOTIFY_SOCKET="$2" STATE_DIRECTORY="$3"; shift 3; exec "$@"`,
		"sh", path("resolv.conf"), path("notify"), path("state"), bin, "run", "--run-dir", dir, path("fibre.yaml"), path("cake.yaml"), path("steering.yaml"))
	began := time.Now()
	if err := manager.SetReadDeadline(began.Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 4096); ; {
		n, err := manager.Read(b)
		if err != nil {
			said, _ := os.ReadFile(out.Name())
			t.Fatalf("not ready: %v\n%s", err, said)
		}
		if strings.HasPrefix(string(b[:n]), "READY=1") {
			break
		}
	}
	t.Logf("ready %.2f s after the start", time.Since(began).Seconds())

	read := func(name string) string {
		b, _ := os.ReadFile(path(name))
		return string(b)
	}
	await := func(what string, cond func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); !cond(); time.Sleep(50 * time.Millisecond) {
			select {
			case <-p.done:
				t.Fatalf("waiting until %s: it ended: %v", what, p.err)
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s\nFibre.log:\n%s\nCake.log:\n%s\nsteering.log:\n%s", what, read("Fibre.log"), read("Cake.log"), read("steering.log"))
			}
		}
	}
	missing := map[string][]string{
		"Fibre.log":    {"Target reflector.test is not probed yet", "wan0: no such device", "lookup router.test", "no reflector has answered"},
		"Cake.log":     {"no such device", "Target reflector.test is not probed yet"},
		"steering.log": {"lookup router.test", "Target reflector.test is not probed yet"},
	}
	for name, words := range missing {
		for _, w := range words {
			await(name+" says "+w, func() bool { return strings.Contains(read(name), w) })
		}
	}
	time.Sleep(5 * time.Second) // 25 cycles of a line in which everything goes wrong
	for name, words := range missing {
		for _, w := range words {
			if n := strings.Count(read(name), w); n > 4 {
				t.Errorf("%s says %q %d times:\n%s", name, w, n, read(name))
			}
		}
	}

	// The line comes up.
	if err := errors.Join(
		batch("ip", host, "link add wan0 type veth peer name gw0 netns "+gateway, "link add ifb4wan0 type veth peer name ifb4peer"),
		batch("ip", gateway, "address add 192.0.2.1/24 dev gw0", "link set gw0 up"),
		batch("ip", host, "address add 192.0.2.2/24 dev wan0", "link set wan0 up", "link set ifb4wan0 up", "route add default via 192.0.2.1"),
	); err != nil {
		t.Fatal(err)
	}
	names(t, gateway, "192.0.2.1")
	put("resolv.conf", "nameserver 192.0.2.1\n")
	up := time.Now()
	healthy := func(name string) bool {
		cmd := exec.Command(bin, "status", "--json", "--run-dir", dir)
		b, _ := cmd.Output() // the line without CAKE is degraded
		var all struct {
			Controllers []struct {
				Name    string
				Healthy bool
			}
		}
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		for _, c := range all.Controllers {
			if c.Name == name {
				return c.Healthy
			}
		}
		return false
	}
	await("the line is controlled", func() bool { return strings.Contains(read("Fibre.log"), "Fibre: [GREEN/GREEN]") && healthy("Fibre") })
	await("steering works", func() bool { return strings.Contains(read("steering.log"), "congestion=GREEN") && healthy("steering") })
	await("the other line is measured", func() bool { return strings.Contains(read("Cake.log"), "Cake: [GREEN/GREEN]") })
	t.Logf("all works %.1f s after the line came up", time.Since(up).Seconds())
	for _, w := range []string{"The router answers", "Target reflector.test is 192.0.2.1"} {
		if !strings.Contains(read("Fibre.log"), w) {
			t.Errorf("Fibre.log does not say %q:\n%s", w, read("Fibre.log"))
		}
	}
	if err := p.stop(); err == nil { // the line without CAKE cannot be given back
		t.Error("a stop that could not give a line back succeeded")
	}
	p.err = nil // as it must be
	if !strings.Contains(read("Fibre.log"), "exit: left DL=90M, UL=17M on the router") {
		t.Errorf("Fibre.log ends\n%s", tail([]byte(read("Fibre.log")), 500))
	}
}

// emulator serves an emulated router in a namespace, whose files go to dir.
func emulator(t *testing.T, ns, dir string) {
	t.Helper()
	p, out := start(t, ns, dir, "emulate", "emulate", "--listen", fmt.Sprintf("0.0.0.0:%d", routerPort), "--dir", dir)
	listening(t, p, out)
	// It is known by the name that the controllers call it.
	b, err := os.ReadFile(filepath.Join(dir, "known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, ok := strings.Cut(string(b), " ")
	if !ok {
		t.Fatalf("known_hosts: %q", b)
	}
	if err := os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(fmt.Sprintf("[router.test]:%d %s", routerPort, key)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names serves DNS in a namespace: every name is at that address.
func names(t *testing.T, ns, addr string) {
	t.Helper()
	var c net.PacketConn
	if err := within(ns, func() (err error) {
		c, err = net.ListenPacket("udp4", addr+":53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { c.Close(); wg.Wait() })
	wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()},
				}}
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(reply, from)
			}
		}
	})
}
