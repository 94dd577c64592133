package daemon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// patience ends a test that waits for something that never comes. Nothing is asserted about it.
const patience = 20 * time.Second

// fastClock is the host's clock, Speed times as fast: waits that the core measures pass in a fraction of a second, while
// the loop's ticker keeps real time.
type fastClock struct{ Speed int64 }

func (c fastClock) Now() unit.Time  { return HostClock{}.Now() * unit.Time(c.Speed) }
func (c fastClock) Wall() time.Time { return time.Unix(1_767_753_300, 0) }

// handClock stands still until it is set.
type handClock struct{ at atomic.Int64 }

func (c *handClock) Now() unit.Time  { return unit.Time(c.at.Load()) }
func (c *handClock) Wall() time.Time { return time.Unix(1_767_753_300, 0) }

// scripted is a pinger without a network: each look finds one reply of RTT, or silence.
type scripted struct {
	Clock Clock
	// Pattern, when not nil, gives the n-th look's round trip instead of RTT.
	Pattern func(n int64) unit.Millis

	rtt   atomic.Int64 // in µs, 0 is silence
	looks atomic.Int64
	mu    sync.Mutex
	look  chan struct{} // closed at the next look
	runs  atomic.Int64  // Runs in progress
	// used and interval are what it was told last.
	used     atomic.Pointer[[]int]
	interval atomic.Int64
	tcp      atomic.Pointer[Probing]
	seen     atomic.Pointer[probe.Options]
}

func newScripted(c Clock, rtt unit.Millis) *scripted {
	s := &scripted{Clock: c, look: make(chan struct{})}
	s.set(rtt)
	return s
}

func (s *scripted) set(rtt unit.Millis) { s.rtt.Store(int64(rtt * 1000)) }

func (s *scripted) reply() (link.Reply, bool) {
	rtt := unit.Millis(s.rtt.Load()) / 1000
	if s.Pattern != nil {
		rtt = s.Pattern(s.looks.Load())
	}
	now := s.Clock.Now()
	return link.Reply{Sent: now.Add(-rtt.Duration()), Received: now, RTT: rtt}, rtt > 0
}

func (s *scripted) Drain(dst []link.Reply) []link.Reply {
	s.looks.Add(1)
	if r, ok := s.reply(); ok {
		dst = append(dst, r)
	}
	s.mu.Lock()
	close(s.look)
	s.look = make(chan struct{})
	s.mu.Unlock()
	return dst
}

func (s *scripted) Run(ctx context.Context) error {
	s.runs.Add(1)
	defer s.runs.Add(-1)
	<-ctx.Done()
	return nil
}

func (s *scripted) Once(_ context.Context, count int) (out []link.Reply, err error) {
	for range count {
		if r, ok := s.reply(); ok {
			out = append(out, r)
		}
	}
	return out, nil
}
func (s *scripted) Check(context.Context) []probe.Finding { return nil }
func (s *scripted) Close() error                          { return nil }
func (s *scripted) Arrived() <-chan struct{}              { return nil }

func (s *scripted) Use(hosts []int) error {
	s.used.Store(&hosts)
	return nil
}

func (s *scripted) SetInterval(d time.Duration) { s.interval.Store(int64(d)) }

func (s *scripted) ProbeTCP(hosts []int, every time.Duration) error {
	s.tcp.Store(&Probing{TCP: slices.Clone(hosts), TCPEvery: every})
	return nil
}

func (s *scripted) Stats() (out []probe.TargetStats) {
	if o := s.seen.Load(); o != nil {
		for _, t := range o.Targets {
			a, _ := netip.ParseAddr(t)
			out = append(out, probe.TargetStats{Target: t, Addr: a})
		}
	}
	return out
}

func (s *scripted) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look
}

// until waits for cond, which is looked at after each cycle.
func (s *scripted) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		next := s.next()
		if cond() {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// cycles waits for n more cycles.
func (s *scripted) cycles(t *testing.T, n int64) {
	t.Helper()
	from := s.looks.Load()
	s.until(t, fmt.Sprintf("%d more cycles", n), func() bool { return s.looks.Load() >= from+n })
}

// shared is a buffer for several writers.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *shared) has(text string) bool { return strings.Contains(s.String(), text) }

const (
	attDown, attUp = "WAN-Download-ATT", "WAN-Upload-ATT"
	secret         = "correct horse battery staple"
)

var (
	ceiling = link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}
	floor   = link.Rates{Down: 25 * unit.Mbps, Up: 6 * unit.Mbps}
	base    = link.Rates{Down: 60 * unit.Mbps, Up: 12 * unit.Mbps}
)

// world is an emulated router on loopback, a directory and probes that are made up.
type world struct {
	t      *testing.T
	router *rosim.Router
	dir    string
	port   int
	clock  Clock
	pings  *scripted
	log    *shared
	hands  Hands
	asked  atomic.Int64 // how often the password was fetched
	// text is the WAN's configuration file; timeout replaces its timeouts.ssh_command.
	text    string
	timeout time.Duration
	dryRun  bool
	door    string
	// task is the line's controller, once it was made.
	task *Autorate
}

// hungUp waits until the router has no connection left, and so has counted how the last one ended.
func (w *world) hungUp() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.router.Await(ctx, func() bool { return w.router.Sessions() == 0 }); err != nil {
		w.t.Fatal(err)
	}
}

// doors are the ways into a router that the daemon's faults are tried through: API and REST over TLS, with a pin.
var doors = []string{config.TransportSSH, config.TransportAPI, config.TransportREST}

func newWorld(t *testing.T, o rosim.Options) *world {
	t.Helper()
	return newWorldBy(t, o, config.TransportSSH)
}

// newWorldBy is one whose router is reached through a door.
func newWorldBy(t *testing.T, o rosim.Options, door string) *world {
	t.Helper()
	serve := map[string]func(*rosim.Router, context.Context, net.Listener) error{
		config.TransportSSH: (*rosim.Router).Serve, config.TransportAPI: (*rosim.Router).ServeAPITLS, config.TransportREST: (*rosim.Router).ServeRESTTLS,
	}[door]
	if door != config.TransportSSH {
		o.Users = slices.Clone(o.Users)
		for i := range o.Users {
			if o.Users[i].Name == rosim.DefaultUser {
				o.Users[i].Password = secret
			}
		}
	}
	r, err := rosim.NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(r, ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	<-r.Ready()
	clock := fastClock{20}
	w := &world{
		t: t, router: r, dir: t.TempDir(), port: ln.Addr().(*net.TCPAddr).Port, clock: clock, pings: newScripted(clock, 28),
		log: &shared{}, timeout: patience, door: door,
	}
	w.hands.Probe = func(o probe.Options) (Pinger, error) {
		w.pings.seen.Store(&o)
		return w.pings, nil
	}
	w.put("known_hosts", r.KnownHosts(ln.Addr().String()))
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	w.put("id", string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	r.AuthorizeKey(rosim.DefaultUser, key)
	w.text = fmt.Sprintf(wanText, w.port, w.login())
	return w
}

// login are the keys of a router section that say how one logs in.
func (w *world) login() string {
	if w.door == config.TransportSSH {
		return fmt.Sprintf("ssh_key: %s\n  known_hosts: %s", w.path("id"), w.path("known_hosts"))
	}
	return fmt.Sprintf("transport: %s\n  password: ${ROUTER_PASSWORD}\n  tls_pin: sha256:%s", w.door, w.router.CertificateFingerprint())
}

// wanText is a fast VDSL line with one floor per direction.
const wanText = `wan_name: ATT
router:
  host: 127.0.0.1
  port: %d
  user: wanctl
  %s
queues: {download: WAN-Download-ATT, upload: WAN-Upload-ATT}
continuous_monitoring:
  interval_ms: 50
  baseline_rtt_initial: 28
  cut_interval_ms: 100
  on_exit: base
  download: {floor_mbps: 25, ceiling_mbps: 95, base_mbps: 60, step_up_mbps: 80, factor_down: 0.5}
  upload: {floor_mbps: 6, ceiling_mbps: 18, base_mbps: 12, step_up_mbps: 80, factor_down: 0.5}
  thresholds: {target_bloat_ms: 3, warn_bloat_ms: 10, alpha_load: 0.99}
  ping_hosts: [192.0.2.1]
  ping_count: 1
`

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) put(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// set replaces a part of the configuration.
func (w *world) set(old, to string) {
	w.t.Helper()
	if !strings.Contains(w.text, old) {
		w.t.Fatalf("the configuration has no %q", old)
	}
	w.text = strings.Replace(w.text, old, to, 1)
}

func (w *world) dirs() Dirs { return Dirs{State: w.dir, Run: w.dir} }

func (w *world) parse(text string) (*config.File, config.Diagnostics) {
	return config.Parse("test.yaml", strings.NewReader(text), config.Options{
		Env: func(name string) (string, bool) {
			w.asked.Add(1)
			return secret, name == "ROUTER_PASSWORD"
		},
		ReadFile: os.ReadFile, Dirs: config.Dirs{Run: w.dir, State: w.dir},
	})
}

func (w *world) loadWAN() (*config.WAN, config.Diagnostics) {
	f, ds := w.parse(w.text)
	if f == nil {
		return nil, ds
	}
	f.WAN.Timeouts.Router = w.timeout
	return f.WAN, ds
}

func (w *world) common() Common {
	return Common{
		Clock: w.clock, Dirs: w.dirs(), Hands: w.hands, Version: "test", DryRun: w.dryRun,
		OpenLog: func(name string, files config.Logging) (*Log, error) {
			return OpenLog(LogOptions{Name: name, Files: files, Stderr: w.log})
		},
	}
}

func (w *world) autorate() *Autorate {
	w.t.Helper()
	a, err := NewAutorate(w.common(), "test.yaml", w.loadWAN)
	if err != nil {
		w.t.Fatal(err)
	}
	w.task = a
	return a
}

// owned waits until the controller has left its mark and begun to control.
func (w *world) owned() {
	w.t.Helper()
	w.pings.until(w.t, "a first reading and our mark; log:\n"+w.log.String(), func() bool {
		s := w.task.status.Load()
		return s != nil && s.WAN.Ours && w.log.has("The router answers")
	})
}

// confirmed waits until the controller has read these rates back.
func (w *world) confirmed(want link.Rates) {
	w.t.Helper()
	w.pings.until(w.t, fmt.Sprintf("%v read back; log:\n%s", want, w.log), func() bool {
		s := w.task.status.Load()
		return s != nil && s.WAN.ReadBack == want
	})
}

// running is a task under way.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, task Task) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- task.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if r.done != nil {
			<-r.done
		}
	})
	select {
	case <-task.Ready():
	case err := <-r.done:
		r.done = nil
		t.Fatalf("%s ended at once: %v", task, err)
	}
	return r
}

// end stops the task and returns what it returned.
func (r *running) end() error {
	r.stop()
	err := <-r.done
	r.done = nil
	return err
}

func (r *running) mustEnd() {
	r.t.Helper()
	if err := r.end(); err != nil {
		r.t.Fatal(err)
	}
}

// limits are the rates in force on the router; 0 for a queue that is not there.
func (w *world) limits() link.Rates {
	var out link.Rates
	out.Down, _ = w.router.MaxLimit(attDown)
	out.Up, _ = w.router.MaxLimit(attUp)
	return out
}

func (w *world) untilLimits(want link.Rates) {
	w.t.Helper()
	w.pings.until(w.t, fmt.Sprintf("limits %v; log:\n%s", want, w.log), func() bool { return w.limits() == want })
}

// sane fails unless every rate that was ever written lies between 0 and the ceiling.
func (w *world) sane() {
	w.t.Helper()
	for _, c := range w.router.LimitHistory() {
		top := ceiling.Down
		if c.Queue == attUp {
			top = ceiling.Up
		}
		if c.By == rosim.DefaultUser && (c.To <= 0 || c.To > top) {
			w.t.Errorf("%s was set from %v to %v: the ceiling is %v", c.Queue, c.From, c.To, top)
		}
	}
	if w.log.has("panic") {
		w.t.Errorf("a panic:\n%s", w.log)
	}
}

func (w *world) feed() link.Feed {
	w.t.Helper()
	f, err := os.Open(w.path("ATT_feed.json"))
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.Open(w.feedPath())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	feed, _, err := state.ReadFeed(f)
	if err != nil {
		w.t.Fatal(err)
	}
	return feed
}

func (w *world) feedPath() string {
	w.t.Helper()
	cfg, ds := w.loadWAN()
	if err := ds.Err(); err != nil {
		w.t.Fatal(err)
	}
	return cfg.FeedFile
}

// measures fails unless the loop goes on measuring: the feed grows by at least n cycles.
func (w *world) measures(n int64) {
	w.t.Helper()
	w.pings.cycles(w.t, 2) // the feed is this loop's, and not the one of the last process
	before := w.feed().Seq
	w.pings.cycles(w.t, n+1)
	if after := w.feed(); after.Seq < before+uint64(n) || !after.Measured {
		w.t.Errorf("the feed went from cycle %d to %d (measured %t) in %d cycles", before, after.Seq, after.Measured, n)
	}
}
