package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/google/nftables"
	"golang.org/x/net/ipv4"

	"wanctl/internal/cake"
	"wanctl/internal/unit"
)

// linuxHouse is a house whose router is the host that wanctl runs on: a client, a router with real nftables, two or three
// providers, and a server that tells everybody from which address it is talked to.
type linuxHouse struct {
	*house
	// shaped says that the lines have CAKE, which their controllers set.
	shaped bool
	// starts are the processes that steered, and called the strangers that were called.
	starts, called int
}

var linuxLines = []string{"Cable", "DSL", "LTE"}

const (
	signalPort, mediaPort = 5060, 16384
	sshPort               = "22"
	linuxNominal          = 200.0
)

// firstStranger is where the addresses begin that nobody has a call with.
const firstStranger = 30

// peer is an address of the server's; every call has its own, because those of one pair stay together.
func peer(n int) string { return fmt.Sprintf("198.51.100.%d", n) }

func newLinuxHouse(t *testing.T, lines int) *linuxHouse {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), client: namespace(t, "client"), router: namespace(t, "router"), server: namespace(t, "server")}
	check := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	veth := func(ns, dev, peerNS, peerDev string) {
		check(batch("ip", ns, fmt.Sprintf("link add %s type veth peer name %s netns %s", dev, peerDev, peerNS), "link set "+dev+" up gso_max_segs 1"),
			batch("ip", peerNS, "link set "+peerDev+" up gso_max_segs 1"))
	}
	veth(h.client, "eth0", h.router, "lan")
	check(batch("ip", h.client, "link set lo up", "addr add 10.0.0.2/24 dev eth0", "route add default via 10.0.0.1"),
		batch("ip", h.router, "link set lo up", "addr add 10.0.0.1/24 dev lan"), batch("ip", h.server, "link set lo up"))
	var addrs []string
	for n := 1; n < 250; n++ {
		addrs = append(addrs, "addr add "+peer(n)+"/32 dev lo")
	}
	check(batch("ip", h.server, addrs...))
	for w := range lines {
		isp := namespace(t, "isp")
		h.isps = append(h.isps, isp)
		wan, core := fmt.Sprintf("wan%d", w), fmt.Sprintf("eth%d", w)
		veth(h.router, wan, isp, "customer")
		veth(isp, "core", h.server, core)
		check(
			batch("ip", isp, "link set lo up", fmt.Sprintf("addr add 10.%d.0.2/24 dev customer", w+1), fmt.Sprintf("addr add 10.%d.1.1/24 dev core", w+1),
				fmt.Sprintf("route add 198.51.100.0/24 via 10.%d.1.2", w+1)),
			batch("ip", h.router, fmt.Sprintf("addr add 10.%d.0.1/24 dev %s", w+1, wan), fmt.Sprintf("route add default via 10.%d.0.2 metric %d", w+1, 100*(w+1))),
			batch("ip", h.server, fmt.Sprintf("addr add 10.%d.1.2/24 dev %s", w+1, core), fmt.Sprintf("route add 10.%d.0.0/24 via 10.%d.1.1", w+1, w+1)),
			batch("tc", isp, tbf("add", "customer", linuxNominal), tbf("add", "core", linuxNominal)),
		)
	}
	for _, ns := range append([]string{h.router, h.server}, h.isps...) {
		check(within(ns, func() error {
			for f, v := range map[string]string{"conf/all/rp_filter": "0", "conf/default/rp_filter": "0", "ip_forward": "1"} {
				if err := os.WriteFile("/proc/sys/net/ipv4/"+f, []byte(v), 0); err != nil {
					return err
				}
			}
			for w := range lines {
				_ = os.WriteFile(fmt.Sprintf("/proc/sys/net/ipv4/conf/wan%d/rp_filter", w), []byte("0"), 0)
			}
			return nil
		}))
	}
	conn, err := cake.Open(cake.Options{NetNS: h.client})
	check(err)
	t.Cleanup(func() { conn.Close() })
	h.kernel.client = conn
	lh := &linuxHouse{house: h}
	lh.serve()
	return lh
}

// tbf is a provider's bottleneck of 400 ms at 20 Mbit/s; its buffer is a number of bytes.
func tbf(verb, dev string, mbps float64) string {
	return fmt.Sprintf("qdisc %s dev %s root tbf rate %.0fbit burst 8000 limit %d", verb, dev, mbps*1e6, bytesIn(20, 400*time.Millisecond))
}

// serve answers on every address: with the address that a packet came from.
func (h *linuxHouse) serve() {
	h.t.Helper()
	for _, port := range []int{signalPort, mediaPort, mediaPort + 2, 53} {
		var pc net.PacketConn
		if err := within(h.server, func() (err error) {
			pc, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
			return err
		}); err != nil {
			h.t.Fatal(err)
		}
		p := ipv4.NewPacketConn(pc)
		if err := p.SetControlMessage(ipv4.FlagDst, true); err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 2048)
			for {
				_, cm, from, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = p.WriteTo([]byte(from.String()), &ipv4.ControlMessage{Src: cm.Dst}, from)
			}
		}()
	}
	listenTCP(h.t, h.server, ":"+sshPort, nil, func(c net.Conn) {
		fmt.Fprintln(c, c.RemoteAddr())
		echo(c)
	})
	listenTCP(h.t, h.server, ":"+downPort, cubic, send)
}

// lineAt is the number of the line, from 1, that an address seen by the server belongs to.
func (h *linuxHouse) lineAt(addr string) int {
	h.t.Helper()
	a, err := netip.ParseAddrPort(strings.TrimSpace(addr))
	if err != nil {
		h.t.Fatalf("the server saw %q", addr)
	}
	return int(a.Addr().As4()[1])
}

// leg is one UDP flow of a call.
type leg struct {
	h    *linuxHouse
	conn net.Conn
}

func (h *linuxHouse) leg(n, port int) *leg {
	h.t.Helper()
	var c net.Conn
	if err := within(h.client, func() (err error) {
		c, err = net.Dial("udp4", net.JoinHostPort(peer(n), strconv.Itoa(port)))
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return &leg{h, c}
}

// ask sends a packet and returns the line that its answer tells, 0 without an answer, and the round trip.
func (l *leg) ask() (int, time.Duration) {
	l.h.t.Helper()
	b := make([]byte, 2048)
	at := time.Now()
	if _, err := l.conn.Write(make([]byte, 160)); err != nil {
		return 0, 0
	}
	_ = l.conn.SetReadDeadline(at.Add(2 * time.Second))
	n, err := l.conn.Read(b)
	if err != nil {
		return 0, 0
	}
	return l.h.lineAt(string(b[:n])), time.Since(at)
}

// asked is the p95 of 150 round trips of a call's packets, in ms, all of which have to take the line.
func asked(t *testing.T, l *leg, line int) float64 {
	t.Helper()
	var rtt []float64
	for range 150 {
		is, d := l.ask()
		if is != line {
			t.Errorf("a packet of the call by line %d, want %d", is, line)
		}
		rtt = append(rtt, d.Seconds()*1000)
		time.Sleep(20 * time.Millisecond)
	}
	return quantile(rtt, 0.95)
}

// must asks until it is answered, and wants the line.
func (l *leg) must(what string, line int) {
	l.h.t.Helper()
	for range 5 {
		if is, _ := l.ask(); is != 0 {
			if is != line {
				l.h.t.Errorf("%s: leaves by line %d, want %d", what, is, line)
			}
			return
		}
	}
	l.h.t.Errorf("%s: no answer", what)
}

// voice is a call: signalling, media a moment later, and a second stream of media.
type voice struct{ signal, media, video *leg }

func (h *linuxHouse) voice(n int) voice {
	v := voice{signal: h.leg(n, signalPort)}
	v.signal.ask()
	v.media = h.leg(n, mediaPort)
	v.video = h.leg(n, mediaPort+2)
	return v
}

func (v voice) must(what string, line int) {
	v.signal.h.t.Helper()
	v.signal.must(what+": signalling", line)
	v.media.must(what+": media", line)
	v.video.must(what+": video", line)
}

// session is a long TCP connection that types all the time.
type session struct {
	conn   net.Conn
	line   int
	echoed atomic.Int64
}

func (h *linuxHouse) session(n int) *session {
	h.t.Helper()
	c, err := dialTCP(h.client, "", net.JoinHostPort(peer(n), sshPort), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	first, err := r.ReadString('\n')
	if err != nil {
		h.t.Fatal(err)
	}
	s := &session{conn: c, line: h.lineAt(first)}
	chat(h.t, c, r, 64, 50*time.Millisecond, &s.echoed)
	return s
}

// goes wants the session to be alive: TCP cannot change its address.
func (h *linuxHouse) goes(what string, s *session) {
	h.t.Helper()
	from := s.echoed.Load()
	h.await(what+" goes on", 20*time.Second, func() bool { return s.echoed.Load() > from })
}

var linuxWAN = template.Must(template.New("").Parse(`wan_name: {{.Name}}
router: {transport: linux}
interfaces: {download: ifb4{{.Dev}}, upload: {{.Dev}}}
{{if .Shaped}}qdisc: {access: ethernet}
{{end}}continuous_monitoring:
  enabled: {{.Shaped}}
  interval_ms: 100
  baseline_rtt_initial: 1
{{- if .Shaped}}
  cut_interval_ms: 100
  download: {floor_mbps: 30, ceiling_mbps: 60}
  upload: {floor_mbps: 10, ceiling_mbps: 20}
  thresholds: {target_bloat_ms: 5, warn_bloat_ms: 15, alpha_load: 0.9}
{{- else}}
  download: {floor_mbps: 10, ceiling_mbps: 200}
  upload: {floor_mbps: 10, ceiling_mbps: 200}
  thresholds: {target_bloat_ms: 15, warn_bloat_ms: 45}
{{- end}}
  ping_hosts: [198.51.100.1, 198.51.100.2, 198.51.100.3]
  use_median_of_three: true
ping_source_ip: {{.Source}}
logging: {main_log: {{.Dir}}/{{.Name}}.log}
lock_file: {{.Dir}}/{{.Name}}.lock
state_file: {{.Dir}}/{{.Name}}_state.json
feed_file: {{.Dir}}/{{.Name}}_feed.json
`))

var linuxSteering = template.Must(template.New("").Parse(`wan_name: steering
topology: {primary_wan: Cable, alternate_wan: DSL}
router: {transport: linux}
interfaces: {lan: [lan]}
lines:
  Cable: {interface: wan0}
  DSL: {interface: wan1}
{{- if .Three}}
  LTE: {interface: wan2}
alternates: {LTE: {ping_source_ip: 10.3.0.1}}
{{- end}}
traffic_classes:
  custom: ["udp 53 to 198.51.100.0/24"]
  always: ["10.0.0.2 to 198.51.100.7 DSL"{{if .Three}}, "10.0.0.2 to 198.51.100.8 LTE"{{end}}]
cake_state_sources: {primary: {{.Dir}}/Cable_feed.json, DSL: {{.Dir}}/DSL_feed.json{{if .Three}}, LTE: {{.Dir}}/LTE_feed.json{{end}}}
alternate: {ping_source_ip: 10.2.0.1}
measurement: {interval_seconds: 0.5, ping_host: 198.51.100.1, ping_count: 3, ping_source_ip: 10.1.0.1}
{{if .Shaped}}cake_queues: {primary_download: ifb4wan0}
thresholds: {green_samples_required: 6}
{{else}}mode: {cake_aware: false}
thresholds: {bad_threshold_ms: 25, recovery_threshold_ms: 12, bad_samples: 4, good_samples: 6}
{{end -}}
state: {file: {{.Dir}}/steering_state.json}
logging: {main_log: {{.Dir}}/steering.log}
lock_file: {{.Dir}}/steering.lock
`))

// run starts the lines' controllers, which measure, and shape where the lines are shaped; it returns steering's file.
func (h *linuxHouse) run() (file string) {
	h.t.Helper()
	args := []string{"autorate", "--run-dir", h.dir, "--configs"}
	for w := range h.isps {
		wan := h.write(linuxLines[w]+".yaml", execute(h.t, linuxWAN, map[string]any{
			"Name": linuxLines[w], "Dev": fmt.Sprintf("wan%d", w), "Source": fmt.Sprintf("10.%d.0.1", w+1), "Dir": h.dir, "Shaped": h.shaped,
		}))
		if args = append(args, wan); h.shaped {
			h.wanctl("qdisc", "apply", wan)
		}
	}
	file = h.write("steering.yaml", execute(h.t, linuxSteering, map[string]any{"Dir": h.dir, "Three": len(h.isps) == 3, "Shaped": h.shaped}))
	start(h.t, h.router, h.dir, "autorate", args...)
	for w := range h.isps {
		h.showLog(linuxLines[w] + ".log")
	}
	h.showLog("steering.log")
	return file
}

func execute(t *testing.T, tmpl *template.Template, v any) string {
	t.Helper()
	var b strings.Builder
	if err := tmpl.Execute(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// state waits for a line of the log, from a place in it on.
func (h *linuxHouse) state(from int, d time.Duration, words ...string) {
	h.t.Helper()
	h.await("the log says "+strings.Join(words, " "), d, func() bool { return len(h.logLines("steering.log", words...)) > from })
}

func (h *linuxHouse) said(words ...string) int { return len(h.logLines("steering.log", words...)) }

// down is how many bytes have come to the client.
func (h *linuxHouse) down() unit.Bytes {
	h.t.Helper()
	i, err := h.kernel.client.Interface("eth0")
	if err != nil {
		h.t.Fatal(err)
	}
	return i.Rx
}

// bottleneckAt changes what a line carries.
func (h *linuxHouse) bottleneckAt(line int, mbps float64) {
	h.t.Helper()
	if err := batch("tc", h.isps[line], tbf("change", "customer", mbps)); err != nil {
		h.t.Fatal(err)
	}
}

// everything is all of a namespace's rules, routes and nftables, told by others than wanctl.
func everything(t *testing.T, ns string) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{{"-4", "rule"}, {"-6", "rule"}, {"-4", "route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}} {
		b, err := exec.Command("ip", append([]string{"-n", ns}, args...)...).CombinedOutput()
		if err != nil && args[0] == "-4" {
			t.Fatalf("ip %v: %v: %s", args, err, b)
		}
		all.Write(b)
	}
	c := nft(t, ns)
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, tb := range tables {
		fmt.Fprintf(&all, "table %d %s\n", tb.Family, tb.Name)
		chains, err := c.ListChainsOfTableFamily(tb.Family)
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range chains {
			if ch.Table.Name != tb.Name {
				continue
			}
			rules, err := c.GetRules(tb, ch)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "chain %s %s: %d rules\n", ch.Name, ch.Type, len(rules))
		}
		sets, err := c.GetSets(tb)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sets {
			fmt.Fprintf(&all, "set %s\n", s.Name)
		}
	}
	return all.String()
}

// foreignTable is somebody else's, which must survive everything.
func foreignTable(t *testing.T, ns string) {
	t.Helper()
	c := nft(t, ns)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "somebody"})
	c.AddChain(&nftables.Chain{Name: "else", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}
