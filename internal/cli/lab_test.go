//go:build lab

package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// These tests run the commands on a kernel with CAKE, as root in a machine of their own: the lab's. The line's interface is
// this machine's; the provider, with three reflectors, is a namespace.

const labConfig = `wan_name: lab
router: {transport: linux}
interfaces: {download: ifb4wan, upload: wan}
qdisc: {access: docsis}
continuous_monitoring:
  interval_ms: 50
  cut_interval_ms: 100
  ping_count: 1
  floor_lift: green
  download: {floor_mbps: 10, ceiling_mbps: 40, base_mbps: 38}
  upload: {floor_mbps: 2, ceiling_mbps: 8.000004}
  thresholds: {target_bloat_ms: 5, warn_bloat_ms: 15, critical_bloat_ms: 30, alpha_load: 0.99}
  ping_hosts: [192.0.2.2, 192.0.2.3, 192.0.2.4]
  use_median_of_three: true
`

func labTool(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	b, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, b)
	}
	return string(b)
}

// loud is a writer that several goroutines may use.
type loud struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *loud) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *loud) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// labHost is the machine with a configuration file.
type labHost struct {
	t          *testing.T
	dir, file  string
	out, errs  loud
	onSignal   map[os.Signal]chan<- os.Signal
	onSignalMu sync.Mutex
}

func newLabHost(t *testing.T) *labHost {
	t.Helper()
	// The link goes first and by itself: the interfaces of a deleted namespace only go some time after it.
	t.Cleanup(func() { labTool(t, "ip netns del wanctl-p") })
	t.Cleanup(func() { labTool(t, "ip link del wan") })
	for _, l := range []string{
		"ip netns add wanctl-p", "ip link add wan type veth peer name isp netns wanctl-p", "ip addr add 192.0.2.1/24 dev wan",
		"ip -n wanctl-p addr add 192.0.2.2/24 dev isp", "ip -n wanctl-p addr add 192.0.2.3/24 dev isp", "ip -n wanctl-p addr add 192.0.2.4/24 dev isp",
		"ip link set wan up", "ip -n wanctl-p link set isp up",
	} {
		labTool(t, l)
	}
	h := &labHost{t: t, dir: t.TempDir(), onSignal: map[os.Signal]chan<- os.Signal{}}
	h.file = filepath.Join(h.dir, "lab.yaml")
	if err := os.WriteFile(h.file, []byte(labConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *labHost) app(out, errs *loud) *App {
	env := map[string]string{"STATE_DIRECTORY": filepath.Join(h.dir, "state"), "RUNTIME_DIRECTORY": filepath.Join(h.dir, "run")}
	return &App{
		Stdout: out, Stderr: errs, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Getenv: func(n string) string { return env[n] },
		Notify: func(c chan<- os.Signal, sig ...os.Signal) func() {
			h.onSignalMu.Lock()
			defer h.onSignalMu.Unlock()
			for _, s := range sig {
				h.onSignal[s] = c
			}
			return func() {}
		},
	}
}

// run runs a command to its end.
func (h *labHost) run(args ...string) (code int, out, errs string) {
	h.t.Helper()
	var o, e loud
	code = Main(args, h.app(&o, &e))
	return code, o.String(), e.String()
}

func (h *labHost) must(args ...string) string {
	h.t.Helper()
	code, out, errs := h.run(args...)
	if code != exitOK {
		h.t.Fatalf("wanctl %s: %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// status asks the running controller.
func (h *labHost) status() *daemon.Status {
	h.t.Helper()
	all, _, err := daemon.ReadStatus(filepath.Join(h.dir, "run"))
	if err != nil || len(all) != 1 {
		return nil
	}
	return &all[0]
}

// until waits for something of the controller.
func (h *labHost) until(what string, ok func(*daemon.Status) bool) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(90 * time.Second)
	defer deadline.Stop()
	var last *daemon.Status
	for {
		select {
		case <-tick.C:
			if last = h.status(); last != nil && ok(last) {
				return
			}
		case <-deadline.C:
			text, _ := json.MarshalIndent(last, "", " ")
			h.t.Fatalf("not within 90 s: %s\n%s\n%s", what, text, h.errs.String())
		}
	}
}

func (h *labHost) signal(s os.Signal) {
	h.onSignalMu.Lock()
	defer h.onSignalMu.Unlock()
	h.onSignal[s] <- s
}

func TestLabController(t *testing.T) {
	h := newLabHost(t)
	if code, _, errs := h.run("autorate", "--once", "--configs", h.file); code != exitFailed || !strings.Contains(errs, "wanctl qdisc plan") {
		t.Errorf("without queues: %d\n%s", code, errs)
	}
	if out := h.must("qdisc", "plan", h.file); strings.Count(out, "\n  ") != 6 {
		t.Errorf("the plan is\n%s", out)
	}
	h.must("qdisc", "apply", h.file)
	if out := h.must("qdisc", "apply", h.file); out != "lab: nothing to do\n" {
		t.Errorf("the second time: %s", out)
	}
	labTool(t, "tc qdisc change dev wan root handle 7761: cake bandwidth 3mbit")
	if code, _, errs := h.run("autorate", "--once", "--configs", h.file); code != exitOK {
		t.Errorf("one cycle: %d\n%s", code, errs)
	}
	if out := labTool(t, "tc qdisc show dev wan root"); !strings.Contains(out, "bandwidth 8Mbit") {
		t.Errorf("after one cycle: %s", out)
	}

	done := make(chan int)
	go func() { done <- Main([]string{"autorate", "--configs", h.file}, h.app(&h.out, &h.errs)) }()
	ceiling := link.Rates{Down: 40 * unit.Mbps, Up: 8 * unit.Mbps}
	h.until("the ceiling is read back", func(s *daemon.Status) bool { return s.WAN.ReadBack == ceiling && s.WAN.Measured })
	h.until("queues are shown", func(s *daemon.Status) bool {
		return s.WAN.Queues != nil && s.WAN.Queues.Down.Cake.Tins.N == 3 && s.WAN.Queues.Up.Packets > 0 && s.WAN.Queues.Down.Packets > 0
	})
	if out := h.must("status"); !strings.Contains(out, "this host (ifb4wan, wan)") || !strings.Contains(out, "queues:") {
		t.Errorf("status prints\n%s", out)
	}
	// Readings ride on every round of probes.
	age := func(s *daemon.Status) bool { return s.WAN.ReadAgeS >= 0 && s.WAN.ReadAgeS < 1 }
	h.until("readings are young", age)

	// Somebody else's rate is corrected.
	labTool(t, "tc qdisc change dev ifb4wan root cake bandwidth 5mbit")
	h.until("a foreign rate is corrected", func(s *daemon.Status) bool { return s.WAN.ReadBack == ceiling })
	// A queue that is removed is told, and found again without a restart.
	labTool(t, "tc qdisc del dev wan root")
	h.until("the missing queue is told", func(s *daemon.Status) bool { return strings.Contains(s.WAN.LastErr, "its CAKE qdisc is gone") })
	h.must("qdisc", "apply", h.file)
	labTool(t, "tc qdisc change dev wan root handle 7761: cake bandwidth 2mbit")
	h.until("it is found again", func(s *daemon.Status) bool { return s.WAN.ReadBack == ceiling && s.WAN.Link == "up" })
	// The ifb with everything on it, too.
	labTool(t, "ip link del dev ifb4wan")
	h.until("the missing ifb is told", func(s *daemon.Status) bool { return strings.Contains(s.WAN.LastErr, "ifb4wan") })
	h.must("qdisc", "apply", h.file)
	h.until("it is found again", func(s *daemon.Status) bool { return s.WAN.ReadBack == ceiling })

	// Another interface is another controller's.
	if err := os.WriteFile(h.file, []byte(strings.Replace(labConfig, "ifb4wan", "ifb5wan", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.signal(syscall.SIGHUP)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 500 && !strings.Contains(h.errs.String(), "interfaces cannot change"); n++ {
		<-tick.C
	}
	if !strings.Contains(h.errs.String(), "interfaces cannot change while running") {
		t.Errorf("the reload was not refused:\n%s", h.errs.String())
	}
	if err := os.WriteFile(h.file, []byte(labConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	h.signal(syscall.SIGTERM)
	if code := <-done; code != exitOK {
		t.Errorf("the stop ends with %d\n%s", code, h.errs.String())
	}
	if out := labTool(t, "tc qdisc show dev ifb4wan root"); !strings.Contains(out, "bandwidth 38Mbit") {
		t.Errorf("after the stop: %s", out)
	}
	for _, bad := range []string{"RouterOS", "FastTrack", "daily"} {
		if strings.Contains(h.errs.String(), bad) {
			t.Errorf("the log speaks of %s:\n%s", bad, h.errs.String())
		}
	}

	labTool(t, "tc qdisc change dev ifb4wan root cake bandwidth 5mbit")
	if out := h.must("release", h.file); !strings.Contains(out, "DL=38M, UL=8M are on the router") {
		t.Errorf("release prints %s", out)
	}
	if out := labTool(t, "tc qdisc show dev ifb4wan root"); !strings.Contains(out, "bandwidth 38Mbit") {
		t.Errorf("after the release: %s", out)
	}
	h.must("qdisc", "remove", h.file)
	if out := labTool(t, "tc qdisc show") + labTool(t, "ip link"); strings.Contains(out, "cake") || strings.Contains(out, "ifb4wan") || strings.Contains(out, "ingress") {
		t.Errorf("after the removal: %s", out)
	}
}

// A dry run decides, reads and leaves the queues alone.
func TestLabDryRun(t *testing.T) {
	h := newLabHost(t)
	h.must("qdisc", "apply", h.file)
	labTool(t, "tc qdisc change dev wan root handle 7761: cake bandwidth 3mbit")
	code, _, errs := h.run("autorate", "--once", "--dry-run", "--configs", h.file)
	if code != exitOK || !strings.Contains(errs, "would set DL=40M, UL=8M") {
		t.Errorf("%d\n%s", code, errs)
	}
	if out := labTool(t, "tc qdisc show dev wan root"); !strings.Contains(out, "bandwidth 3Mbit") {
		t.Errorf("the dry run wrote: %s", out)
	}
	h.must("qdisc", "remove", h.file)
}

// An emulated router's queue sets a real CAKE, and shows its counters.
func TestLabEmulatedQueue(t *testing.T) {
	newLabHost(t)
	labTool(t, "tc qdisc add dev wan root cake bandwidth 10mbit")
	a, err := newApplier([]string{"WAN-Upload=dev:wan,cake"}, []string{"ether1=dev:wan"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply("WAN-Upload", 7*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	labTool(t, "ping -c 3 192.0.2.2")
	q, ok := a.Queue("WAN-Upload")
	if !ok || q.MaxLimit != 7*unit.Mbps || q.Packets < 3 || q.Cake.Tins.N != 0 {
		t.Errorf("the queue shows %+v, %v", q, ok)
	}
	if out := labTool(t, "tc qdisc show dev wan root"); !strings.Contains(out, "bandwidth 7Mbit") {
		t.Errorf("tc shows %s", out)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Traffic that passes both queues proves them; traffic that is not redirected is told, and by Linux's names.
func TestLabProof(t *testing.T) {
	h := newLabHost(t)
	h.must("qdisc", "apply", h.file)
	done := make(chan int)
	go func() { done <- Main([]string{"autorate", "--configs", h.file}, h.app(&h.out, &h.errs)) }()
	h.until("it measures", func(s *daemon.Status) bool { return s.WAN.Measured })
	// 100 packets a second of 1.4 kB for 12 s, and their answers: 1.1 Mbit/s each way.
	const flood = "ip netns exec wanctl-p ping -q -i 0.01 -s 1400 -c 1200 192.0.2.1"
	labTool(t, flood)
	h.until("the load is known", func(s *daemon.Status) bool { return s.WAN.Carried != nil })
	if s := h.status(); s == nil || len(s.WAN.Findings) > 0 {
		t.Errorf("traffic through both queues: %+v", s)
	}
	labTool(t, "tc filter del dev wan ingress pref 30561 protocol all matchall")
	labTool(t, flood)
	h.until("the bypass is told", func(s *daemon.Status) bool {
		return len(s.WAN.Findings) == 1 && strings.Contains(s.WAN.Findings[0], "download") &&
			strings.Contains(s.WAN.Findings[0], "not redirected") && !strings.Contains(s.WAN.Findings[0], "FastTrack")
	})
	h.must("qdisc", "apply", h.file)
	labTool(t, flood)
	h.until("it is proved again", func(s *daemon.Status) bool { return len(s.WAN.Findings) == 0 })
	h.signal(syscall.SIGTERM)
	if code := <-done; code != exitOK {
		t.Errorf("the stop ends with %d\n%s", code, h.errs.String())
	}
	h.must("qdisc", "remove", h.file)
}
