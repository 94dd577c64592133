package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"wanctl/internal/cake"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What the lines are, in Mbit/s, and the byte FIFO in front of a line's bottleneck.
const (
	nominalDown = 50.0
	nominalUp   = 20.0
	// fifo is how long a full buffer takes to drain at the nominal rate.
	fifo = 400 * time.Millisecond
	// ours is the same for the bulk leaf of our own shaper.
	ours = 20 * time.Millisecond
)

var (
	// sources are the client's addresses, one per WAN; the router sends each through its own.
	sources = []string{"10.0.0.2", "10.0.0.3"}
	// reflectors are addresses of the server, which any WAN leads to.
	reflectors = []string{"198.51.100.1", "198.51.100.2", "198.51.100.3"}
	// wanNames and the emulated router's queues and interfaces.
	wanNames = []string{"Spectrum", "ATT"}
)

func nominal(d link.Direction) float64 {
	if d == link.Up {
		return nominalUp
	}
	return nominalDown
}

// house is a client, its router, one provider per WAN, and a server.
type house struct {
	t              *testing.T
	dir            string
	client, router string
	isps           []string
	server         string
	buffer         time.Duration // of each bottleneck, at the nominal rate

	rulePlace string // where the emulated steering rule is carried out; empty: nowhere

	received counter // payload that bulk flows delivered
	kernel   struct{ client, router, server *cake.Conn }
	events   *events
}

// newHouse builds the namespaces with the queues at 95 % of each line.
func newHouse(t *testing.T, wans int, buffer time.Duration) *house {
	t.Helper()
	h := &house{
		t: t, dir: t.TempDir(), buffer: buffer,
		client: namespace(t, "client"), router: namespace(t, "router"), server: namespace(t, "server"),
	}
	check := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// gso_max_segs: segments must reach the queues as the packets they would be on a wire.
	veth := func(ns, dev, peerNS, peer string) {
		t.Helper()
		check(
			batch("ip", ns, fmt.Sprintf("link add %s type veth peer name %s netns %s", dev, peer, peerNS),
				"link set "+dev+" up gso_max_segs 1"),
			batch("ip", peerNS, "link set "+peer+" up gso_max_segs 1"),
		)
	}
	veth(h.client, "eth0", h.router, "lan")
	clientUp := []string{"link set lo up", "addr add 10.0.0.2/24 dev eth0", "addr add 10.0.0.3/24 dev eth0", "route add default via 10.0.0.1 src 10.0.0.2"}
	routerUp := []string{"link set lo up", "addr add 10.0.0.1/24 dev lan"}
	serverUp := []string{"link set lo up"}
	for _, r := range reflectors {
		serverUp = append(serverUp, "addr add "+r+"/32 dev lo")
	}
	lan := []string{"qdisc add dev lan root handle 1: htb default 120"}
	for w := range wans {
		isp := namespace(t, "isp")
		h.isps = append(h.isps, isp)
		wan, core := fmt.Sprintf("wan%d", w), fmt.Sprintf("eth%d", w)
		veth(h.router, wan, isp, "customer")
		veth(isp, "core", h.server, core)
		check(batch("ip", isp, "link set lo up",
			fmt.Sprintf("addr add 10.%d.0.2/24 dev customer", w+1), fmt.Sprintf("addr add 10.%d.1.1/24 dev core", w+1),
			fmt.Sprintf("route add 10.0.0.0/24 via 10.%d.0.1", w+1), fmt.Sprintf("route add 198.51.100.0/24 via 10.%d.1.2", w+1)))
		routerUp = append(routerUp, fmt.Sprintf("addr add 10.%d.0.1/24 dev %s", w+1, wan))
		table := "main"
		if w > 0 {
			table = fmt.Sprint(100 + w)
			routerUp = append(routerUp, "rule add from "+sources[w]+" lookup "+table)
		}
		routerUp = append(routerUp, fmt.Sprintf("route add default via 10.%d.0.2 table %s", w+1, table))
		serverUp = append(serverUp, fmt.Sprintf("addr add 10.%d.1.2/24 dev %s", w+1, core),
			fmt.Sprintf("route add %s/32 via 10.%d.1.1", sources[w], w+1))

		lan = append(lan, shaperLines("lan", w+1, nominalDown)...)
		lan = append(lan, filterLines("lan", w+1, "match ip dst "+sources[w]+"/32")...)
		up := append([]string{"qdisc add dev " + wan + " root handle 1: htb default 120"}, shaperLines(wan, 1, nominalUp)...)
		defer func() {
			check(batch("tc", h.router, append(up, filterLines(wan, 1, "")...)...),
				batch("tc", isp, h.bottleneck("add", link.Down, nominalDown), h.bottleneck("add", link.Up, nominalUp)))
		}()
	}
	check(batch("ip", h.client, clientUp...), batch("ip", h.router, routerUp...), batch("ip", h.server, serverUp...),
		batch("tc", h.router, lan...))
	for _, ns := range append([]string{h.router, h.server}, h.isps...) {
		check(within(ns, func() error {
			for _, f := range []string{"conf/all/rp_filter", "conf/default/rp_filter"} {
				if err := os.WriteFile("/proc/sys/net/ipv4/"+f, []byte("0"), 0); err != nil {
					return err
				}
			}
			return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
		}))
	}
	for _, c := range []struct {
		ns   string
		conn **cake.Conn
	}{{h.client, &h.kernel.client}, {h.router, &h.kernel.router}, {h.server, &h.kernel.server}} {
		conn, err := cake.Open(cake.Options{NetNS: c.ns})
		check(err)
		t.Cleanup(func() { conn.Close() })
		*c.conn = conn
	}
	serveBulk(t, h)
	return h
}

// shaperLines are our shaper for one WAN: class 1:N with a leaf for sparse traffic and one for the rest, which own
// next to nothing and borrow all else from 1:N.
func shaperLines(dev string, n int, mbps float64) []string {
	rate := mbps * 0.95
	return []string{
		fmt.Sprintf("class add dev %s parent 1: classid 1:%d htb rate %.0fbit ceil %.0fbit burst 4000 cburst 4000", dev, n, rate*1e6, rate*1e6),
		fmt.Sprintf("class add dev %s parent 1:%d classid 1:%d10 htb rate 200kbit ceil 1gbit prio 0 quantum 1514", dev, n, n),
		fmt.Sprintf("class add dev %s parent 1:%d classid 1:%d20 htb rate 200kbit ceil 1gbit prio 1 quantum 1514", dev, n, n),
		fmt.Sprintf("qdisc add dev %s parent 1:%d10 handle %d10: bfifo limit 30000", dev, n, n),
		fmt.Sprintf("qdisc add dev %s parent 1:%d20 handle %d20: bfifo limit %d", dev, n, n, bytesIn(rate, ours)),
	}
}

// filterLines put what is sparse into the sparse leaf of class 1:N, and the rest into its bulk leaf: ICMP, UDP of less
// than 256 bytes, and TCP of less than 128, which is acknowledgements without data (CAKE, too, lets those pass, as
// flows of their own). also restricts both.
func filterLines(dev string, n int, also string) []string { return filtersAt(dev, "1:", n, also) }

// classFilterLines are the same for packets that are in class 1:N already.
func classFilterLines(dev string, n int) []string {
	return filtersAt(dev, fmt.Sprintf("1:%d", n), n, "")
}

func filtersAt(dev, parent string, n int, also string) []string {
	line := func(prio int, match string, leaf int) string {
		return fmt.Sprintf("filter add dev %s parent %s protocol ip prio %d u32 %s %s flowid 1:%d%d", dev, parent, prio, match, also, n, leaf)
	}
	return []string{
		line(4*n-3, "match ip protocol 1 0xff", 10),
		line(4*n-2, "match ip protocol 17 0xff match u16 0 0xff00 at 2", 10),
		line(4*n-1, "match ip protocol 6 0xff match u16 0 0xff80 at 2", 10),
		line(4*n, "match u8 0 0 at 0", 20),
	}
}

func bytesIn(mbps float64, d time.Duration) int { return int(mbps * 1e6 / 8 * d.Seconds()) }

// bottleneck is the tc line for a provider's bottleneck. Its buffer is a number of bytes, so it does not shrink with
// the rate.
func (h *house) bottleneck(verb string, dir link.Direction, mbps float64) string {
	dev := "customer"
	if dir == link.Up {
		dev = "core"
	}
	return fmt.Sprintf("qdisc %s dev %s root tbf rate %.0fbit burst 6000 limit %d", verb, dev, mbps*1e6, bytesIn(nominal(dir), h.buffer))
}

// setLine changes what a line carries.
func (h *house) setLine(wan int, dir link.Direction, mbps float64) {
	h.t.Helper()
	if err := batch("tc", h.isps[wan], h.bottleneck("change", dir, mbps)); err != nil {
		h.t.Fatal(err)
	}
}

// arrived is how many bytes have arrived at the end of one direction, headers included.
func (h *house) arrived(dir link.Direction) unit.Bytes {
	h.t.Helper()
	conn := h.kernel.client
	if dir == link.Up {
		conn = h.kernel.server
	}
	i, err := conn.Interface("eth0")
	if err != nil {
		h.t.Fatal(err)
	}
	return i.Rx
}

// wanBytes is what a WAN's interface on the router has carried, both ways.
func (h *house) wanBytes(wan int) unit.Bytes {
	h.t.Helper()
	i, err := h.kernel.router.Interface(fmt.Sprintf("wan%d", wan))
	if err != nil {
		h.t.Fatal(err)
	}
	return i.Rx + i.Tx
}

const routerPort = 2222

// emulate starts the emulated router, which drives the queues of all WANs.
func (h *house) emulate() {
	h.t.Helper()
	journal := filepath.Join(h.dir, "journal")
	if err := syscall.Mkfifo(journal, 0o600); err != nil {
		h.t.Fatal(err)
	}
	f, err := os.OpenFile(journal, os.O_RDWR, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.events = &events{changed: make(chan struct{})}
	h.t.Cleanup(func() { f.Close() })
	go h.events.read(f)
	args := []string{"emulate", "--listen", fmt.Sprintf("127.0.0.1:%d", routerPort), "--dir", h.dir, "--journal", journal}
	for w := range h.isps {
		args = append(args,
			"--apply", fmt.Sprintf("WAN-Download-%s=dev:lan,class:1:%d,netns:%s", wanNames[w], w+1, h.router),
			"--apply", fmt.Sprintf("WAN-Upload-%s=dev:wan%d,class:1:1,netns:%s", wanNames[w], w, h.router),
			"--apply-iface", fmt.Sprintf("ether%d=dev:wan%d,netns:%s", w+1, w, h.router))
	}
	if h.rulePlace != "" {
		args = append(args, "--apply-rule", h.rulePlace)
	}
	p, out := start(h.t, h.client, h.dir, "emulate", args...)
	listening(h.t, p, out)
}

// listening waits until an emulator has said where it listens.
func listening(t *testing.T, p *process, out *os.File) {
	t.Helper()
	await(t, "the emulator listens", 10*time.Second, func() bool {
		b, _ := os.ReadFile(out.Name())
		select {
		case <-p.done:
			t.Fatalf("the emulator ended: %s", b)
		default:
		}
		return bytes.Contains(b, []byte("known_hosts:"))
	})
}

func (h *house) await(what string, d time.Duration, cond func() bool) {
	h.t.Helper()
	await(h.t, what, d, cond)
}

// await looks every 20 ms.
func await(t *testing.T, what string, d time.Duration, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(d)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("after %v not yet: %s", d, what)
		}
		<-tick.C
	}
}

// event is a line of the emulator's journal.
type event struct {
	Kind, By, Line, Reply, Outcome, Name string
	At                                   float64
	Limit                                unit.Rate
	Enabled                              bool
}

type events struct {
	mu      sync.Mutex
	all     []event
	changed chan struct{}
}

func (e *events) read(f *os.File) {
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var ev event
		if json.Unmarshal(s.Bytes(), &ev) != nil {
			continue
		}
		e.mu.Lock()
		e.all = append(e.all, ev)
		close(e.changed)
		e.changed = make(chan struct{})
		e.mu.Unlock()
	}
}

// of returns the events of one kind about one thing.
func (e *events) of(kind, name string) []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event
	for _, ev := range e.all {
		if ev.Kind == kind && (name == "" || ev.Name == name) {
			out = append(out, ev)
		}
	}
	return out
}

// await returns once cond holds of the events so far.
func (e *events) await(t *testing.T, what string, d time.Duration, cond func() bool) {
	t.Helper()
	end := time.After(d)
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("after %v not yet: %s", d, what)
		}
	}
}

// limit is the newest max-limit a queue was given; 0 before the first.
func (e *events) limit(queue string) unit.Rate {
	l := e.of("limit", queue)
	if len(l) == 0 {
		return 0
	}
	return l[len(l)-1].Limit
}

// setting is one way to configure a WAN's controller.
type setting struct {
	Interval, Cut, PingCount         int
	AlphaLoad                        float64
	Target, Warn, Critical           float64
	FactorDown, StepDown             float64
	FactorUp, StepUp                 float64
	Name, Dir, Source                string
	Port                             int
	Hosts                            string
	Green, Yellow, Soft, Red         float64
	CeilDown, CeilUp                 float64
	UpGreen, UpYellow, UpSoft, UpRed float64
}

// fast is the setting for lines that move; slow the one the earlier Python system ran with.
var (
	fast = setting{
		Interval: 50, Cut: 100, PingCount: 1, AlphaLoad: 0.99, Target: 5, Warn: 15, Critical: 30,
		FactorDown: 0.85, FactorUp: 0.85, StepDown: 2, StepUp: 1,
	}
	slow = setting{
		Interval: 2000, Cut: 2000, PingCount: 3, AlphaLoad: 0.20, Target: 15, Warn: 45, Critical: 80,
		FactorDown: 0.85, FactorUp: 0.90, StepDown: 2, StepUp: 1,
	}
)

var wanConfig = template.Must(template.New("").Parse(`wan_name: {{.Name}}
router:
  host: 127.0.0.1
  port: {{.Port}}
  user: wanctl
  ssh_key: {{.Dir}}/client_key
  known_hosts: {{.Dir}}/known_hosts
queues:
  download: WAN-Download-{{.Name}}
  upload: WAN-Upload-{{.Name}}
continuous_monitoring:
  interval_ms: {{.Interval}}
  cut_interval_ms: {{.Cut}}
  baseline_rtt_initial: 1
  download:
    floor_green_mbps: {{.Green}}
    floor_yellow_mbps: {{.Yellow}}
    floor_soft_red_mbps: {{.Soft}}
    floor_red_mbps: {{.Red}}
    ceiling_mbps: {{.CeilDown}}
    step_up_mbps: {{.StepDown}}
    factor_down: {{.FactorDown}}
  upload:
    floor_green_mbps: {{.UpGreen}}
    floor_yellow_mbps: {{.UpYellow}}
    floor_soft_red_mbps: {{.UpSoft}}
    floor_red_mbps: {{.UpRed}}
    ceiling_mbps: {{.CeilUp}}
    step_up_mbps: {{.StepUp}}
    factor_down: {{.FactorUp}}
  thresholds:
    target_bloat_ms: {{.Target}}
    warn_bloat_ms: {{.Warn}}
    critical_bloat_ms: {{.Critical}}
    alpha_load: {{.AlphaLoad}}
  ping_hosts: {{.Hosts}}
  use_median_of_three: true
  ping_count: {{.PingCount}}
ping_source_ip: {{.Source}}
timeouts:
  ping: 2
logging:
  main_log: {{.Dir}}/{{.Name}}.log
lock_file: {{.Dir}}/{{.Name}}.lock
state_file: {{.Dir}}/{{.Name}}_state.json
feed_file: {{.Dir}}/{{.Name}}_feed.json
`))

// configure writes a WAN's file: floors at 50, 40, 30 and 20 % of the line, the ceiling at 95 %.
func (h *house) configure(wan int, s setting) string {
	h.t.Helper()
	s.Name, s.Dir, s.Port, s.Source = wanNames[wan], h.dir, routerPort, sources[wan]
	s.Hosts = "[" + strings.Join(reflectors, ", ") + "]"
	s.CeilDown, s.Green, s.Yellow, s.Soft, s.Red = share(nominalDown)
	s.CeilUp, s.UpGreen, s.UpYellow, s.UpSoft, s.UpRed = share(nominalUp)
	var b bytes.Buffer
	if err := wanConfig.Execute(&b, s); err != nil {
		h.t.Fatal(err)
	}
	return h.write(s.Name+".yaml", b.String())
}

func share(mbps float64) (ceiling, green, yellow, soft, red float64) {
	return mbps * 95 / 100, mbps * 50 / 100, mbps * 40 / 100, mbps * 30 / 100, mbps * 20 / 100
}

func (h *house) write(name, text string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// autorate starts one process with the controllers of some WANs and waits until the emulated router has every ceiling.
func (h *house) autorate(s setting, wans ...int) *process {
	h.t.Helper()
	args := []string{"autorate", "--run-dir", h.dir, "--configs"}
	want := map[string]unit.Rate{}
	for _, w := range wans {
		args = append(args, h.configure(w, s))
		down, _, _, _, _ := share(nominalDown)
		up, _, _, _, _ := share(nominalUp)
		want["WAN-Download-"+wanNames[w]] = unit.Rate(down * 1e6)
		want["WAN-Upload-"+wanNames[w]] = unit.Rate(up * 1e6)
	}
	p, _ := start(h.t, h.client, h.dir, "autorate", args...)
	for _, w := range wans {
		h.showLog(wanNames[w] + ".log")
	}
	h.events.await(h.t, "the router has every ceiling", 15*time.Second, func() bool {
		select {
		case <-p.done:
			h.t.Fatalf("autorate ended: %v", p.err)
		default:
		}
		for q, r := range want {
			if h.events.limit(q) != r {
				return false
			}
		}
		return true
	})
	return p
}

// showLog shows the end of a log file when the test fails.
func (h *house) showLog(name string) {
	h.t.Cleanup(func() {
		if h.t.Failed() {
			b, _ := os.ReadFile(filepath.Join(h.dir, name))
			h.t.Logf("%s ends:\n%s", name, tail(b, 2000))
		}
	})
}

// logLines are the lines of a log file that contain all words.
func (h *house) logLines(name string, words ...string) []string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	var out []string
	for l := range strings.Lines(string(b)) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) }) {
			out = append(out, strings.TrimSpace(l))
		}
	}
	return out
}
