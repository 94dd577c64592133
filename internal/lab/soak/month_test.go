package soak

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/lab/memnet"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/unit"
)

// Both lines of the example household and steering, as three processes would run them: each with its files, its log, its
// connection with the router by another door (SSH, API and REST over TLS) and its reloads, in a bubble of virtual time. Their
// probes go through the simulated network, and so do the queues of the emulated router.
//
// Not in it: the sockets of the probes and of `wanctl status`, which no virtual time waits for, systemd's, and a kernel's
// queues. The real run has the first two.

// Where things are in memory.
const (
	routerHost = "192.0.2.1"
	portSSH    = 22
	portAPI    = 8729
	portREST   = 443
	password   = "correct horse battery staple"
)

// world is the bubble's.
type world struct {
	t *testing.T
	*site
	router *rosim.Router
	nets   map[int]*memnet.Network
	// doors are the router sections of all ways in.
	doors []string
	began time.Time
	// shift is what the host's clocks are off by, after a suspension and after the time of day was set.
	shift struct{ boot, wall atomic.Int64 }
	// password is the router's now.
	password string
	steered  atomic.Bool
	moves    atomic.Int64
	status   sync.Map // of name: func() daemon.Status
	stderr   tail

	// What follows is the simulated network, of whoever holds mu.
	mu       sync.Mutex
	net      *netsim.Net
	day      time.Time // when it began
	limits   map[string]unit.Rate
	carried  map[string]link.Queue // by the networks of the days before
	carriedI map[string][2]unit.Bytes
	pingers  map[*pinger]bool
	newest   [2]reading

	tasks map[string]*running
	figures
}

// Now is the host's time since boot.
func (w *world) Now() unit.Time {
	return unit.Time(time.Hour) + unit.Time(time.Since(w.began)) + unit.Time(w.shift.boot.Load())
}

// Wall is the host's time of day.
func (w *world) Wall() time.Time { return time.Now().Add(time.Duration(w.shift.wall.Load())) }

// tail keeps the end of what is written.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines = append(t.lines, string(b)); len(t.lines) > 40 {
		t.lines = append([]string(nil), t.lines[20:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, site: &site{dir: memory(t), router: map[string]string{}}, nets: map[int]*memnet.Network{}, began: time.Now(), password: password,
		limits: map[string]unit.Rate{}, carried: map[string]link.Queue{}, carriedI: map[string][2]unit.Bytes{},
		pingers: map[*pinger]bool{}, tasks: map[string]*running{},
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o := rosim.DefaultOptions()
	o.Applier, o.Seed = w, 1
	o.Latency, o.Jitter, o.StallEvery = 60*time.Millisecond, 80*time.Millisecond, 5000
	o.Now = func() unit.Time { return unit.Time(time.Since(w.began)) }
	o.Listen = func(a net.Addr) (net.Listener, error) {
		for port, n := range w.nets {
			if a.String() == addr(port) {
				return n.Listen(a)
			}
		}
		return nil, fmt.Errorf("no network %s", a)
	}
	for i := range o.Users {
		if o.Users[i].Name == rosim.DefaultUser {
			o.Users[i].Password = w.password
		}
	}
	var err error
	w.router, err = rosim.NewRouter(o)
	check(err)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	check(err)
	key, err := ssh.NewPublicKey(public)
	check(err)
	w.router.AuthorizeKey(rosim.DefaultUser, key)
	w.put(t, "id", string(pem.EncodeToMemory(block)))
	w.put(t, "known_hosts", w.router.KnownHosts(addr(portSSH)))
	w.put(t, "password", w.password+"\n")
	w.doors = []string{
		sshRouter(routerHost, portSSH, w.path("id"), w.path("known_hosts")),
		passwordRouter(routerHost, portAPI, "api", w.path("password"), w.router.CertificateFingerprint()),
		passwordRouter(routerHost, portREST, "rest", w.path("password"), w.router.CertificateFingerprint()),
	}
	w.site.router[att], w.site.router[spectrum], w.site.router[steering] = w.doors[0], w.doors[1], w.doors[2]
	return w
}

func addr(port int) string { return fmt.Sprintf("%s:%d", routerHost, port) }

// serve opens the router's doors.
func (w *world) serve(ctx context.Context) (stopped func()) {
	ctx, cancel := context.WithCancel(ctx)
	doors := map[int]func(context.Context, net.Listener) error{
		portSSH: w.router.Serve, portAPI: w.router.ServeAPITLS, portREST: w.router.ServeRESTTLS,
	}
	for port := range doors {
		w.nets[port] = &memnet.Network{From: "192.0.2.7:40000"}
	}
	done := make(chan error, len(doors))
	for port, serve := range doors {
		ln, err := w.nets[port].Listen(memnet.Addr(addr(port)))
		if err != nil {
			w.t.Fatal(err)
		}
		go func() { done <- serve(ctx, ln) }()
	}
	return func() {
		cancel()
		for range doors {
			if err := <-done; err != nil {
				w.t.Errorf("the router: %v", err)
			}
		}
	}
}

// running is one process.
type running struct {
	stop   context.CancelFunc
	reload chan struct{}
	done   chan error
}

func (w *world) start(name string) {
	w.t.Helper()
	path := w.path(name + ".yaml")
	common := daemon.Common{
		Clock: w, Dirs: w.dirs(), Version: "soak",
		Hands: daemon.Hands{
			Probe: w.probe,
			Dial: func(_ context.Context, at string) (net.Conn, error) {
				for port, n := range w.nets {
					if at == addr(port) {
						return n.Dial()
					}
				}
				return nil, fmt.Errorf("no way to %s", at)
			},
		},
		OpenLog: func(name string, files config.Logging) (*daemon.Log, error) {
			return daemon.OpenLog(daemon.LogOptions{Name: name, Files: files, Stderr: &w.stderr})
		},
		ServeStatus: func(_ string, get func() daemon.Status) (func(), error) {
			w.status.Store(name, get)
			return func() { w.status.Delete(name) }, nil
		},
	}
	parse := func() (*config.File, config.Diagnostics) {
		f, err := os.Open(path)
		if err != nil {
			w.t.Fatal(err)
		}
		defer f.Close()
		return config.Parse(path, f, config.Options{ReadFile: os.ReadFile, Dirs: config.Dirs{Run: w.dirs().Run, State: w.dirs().State}})
	}
	var task daemon.Task
	var err error
	if name == steering {
		task, err = daemon.NewSteer(common, path, func() (*config.Steering, config.Diagnostics) {
			f, ds := parse()
			if f == nil {
				return nil, ds
			}
			return f.Steering, ds
		})
	} else {
		task, err = daemon.NewAutorate(common, path, func() (*config.WAN, config.Diagnostics) {
			f, ds := parse()
			if f == nil {
				return nil, ds
			}
			return f.WAN, ds
		})
	}
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, reload: make(chan struct{}), done: make(chan error, 1)}
	p := &daemon.Process{
		Tasks: []daemon.Task{task}, Clock: w, Reload: r.reload,
		Log: slog.New(daemon.NewTextHandler(&w.stderr, name, slog.LevelWarn)),
	}
	go func() { r.done <- p.Run(ctx) }()
	<-task.Ready()
	w.tasks[name] = r
}

// end stops a process as its service manager would.
func (w *world) end(name string) {
	r := w.tasks[name]
	r.stop()
	if err := <-r.done; err != nil {
		w.t.Errorf("%s at %s: %v", name, w.when(), err)
	}
}

func (w *world) when() string {
	d := time.Since(w.began)
	return fmt.Sprintf("day %d %s", d/(24*time.Hour), (d % (24 * time.Hour)).Round(time.Second))
}

// turn replaces the network by the next day's. The router's counters go on.
func (w *world) turn(s netsim.Scenario) {
	fresh, err := netsim.New(s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.net != nil {
		for name := range interfaceOf {
			rx, tx := w.bytes(name)
			w.carriedI[name] = [2]unit.Bytes{rx, tx}
		}
		for name, at := range queueOf {
			q, _ := w.queue(name)
			for iface, line := range interfaceOf { // nothing stays behind in the old network that an interface has counted
				switch n := w.carriedI[iface]; {
				case line != at.line:
				case at.dir == link.Down:
					q.Bytes = max(q.Bytes, n[0])
				default:
					q.Bytes = max(q.Bytes, n[1])
				}
			}
			w.carried[name] = q
		}
	}
	w.net, w.day, w.newest = fresh, time.Now(), [2]reading{}
	w.net.SetPlacement(func(netsim.Kind) int {
		if w.steered.Load() {
			return netsim.VDSL
		}
		return netsim.Cable
	})
	for name, limit := range w.limits {
		w.net.SetShaper(queueOf[name].line, queueOf[name].dir, limit)
	}
	for p := range w.pingers {
		p.renew()
	}
}

// advance plays the network up to now.
func (w *world) advance() { w.net.Run(netsim.Epoch.Add(time.Since(w.day))) }

// host is a network's instant on the host's clock.
func (w *world) host(t unit.Time) unit.Time {
	return w.Now().Add(-time.Since(w.day) + t.Sub(netsim.Epoch))
}

type place struct {
	line int
	dir  link.Direction
}

var (
	queueOf = map[string]place{
		"WAN-Download-Spectrum": {netsim.Cable, link.Down}, "WAN-Upload-Spectrum": {netsim.Cable, link.Up},
		"WAN-Download-ATT": {netsim.VDSL, link.Down}, "WAN-Upload-ATT": {netsim.VDSL, link.Up},
	}
	interfaceOf = map[string]int{"ether1": netsim.Cable, "ether2": netsim.VDSL}
)

// Apply, ApplyRule, Queue and Interface are the network behind the router.
func (w *world) Apply(queue string, limit unit.Rate) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := queueOf[queue]; ok {
		w.limits[queue] = limit
		w.advance()
		w.net.SetShaper(at.line, at.dir, limit)
	}
	return nil
}

func (w *world) ApplyRule(_ string, enabled bool) error {
	if w.steered.Swap(enabled) != enabled {
		w.moves.Add(1)
	}
	return nil
}

func (w *world) Queue(name string) (link.Queue, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance()
	return w.queue(name)
}

func (w *world) queue(name string) (q link.Queue, ok bool) {
	at, ok := queueOf[name]
	if !ok {
		return q, false
	}
	q = w.counters(at.line).Get(at.dir)
	was := w.carried[name]
	q.Bytes, q.Packets, q.Dropped = q.Bytes+was.Bytes, q.Packets+was.Packets, q.Dropped+was.Dropped
	return q, true
}

func (w *world) Interface(name string) (rx, tx unit.Bytes, ok bool) {
	if _, ok := interfaceOf[name]; !ok {
		return 0, 0, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance()
	rx, tx = w.bytes(name)
	return rx, tx, true
}

// reading is a line's counters as they were a moment ago.
type reading struct {
	at time.Time
	link.Report
}

// counters are a line's now. The router asks for all of them several times in one instant of the bubble's time.
func (w *world) counters(line int) link.Report {
	if r := &w.newest[line]; !r.at.Equal(time.Now()) {
		r.at, r.Report = time.Now(), w.net.Counters(line)
	}
	return w.newest[line].Report
}

func (w *world) bytes(name string) (rx, tx unit.Bytes) {
	r, was := w.counters(interfaceOf[name]), w.carriedI[name]
	return r.WANRx + was[0], r.WANTx + was[1]
}

// pinger has its probes go through the network.
type pinger struct {
	*netsim.Prober
	w       *world
	opt     probe.Options
	net     netsim.ProberOptions
	arrived chan struct{}
}

func (w *world) probe(o probe.Options) (daemon.Pinger, error) {
	p := &pinger{w: w, opt: o, arrived: make(chan struct{}, 1)}
	p.net = netsim.ProberOptions{Interval: max(o.Interval, 200*time.Millisecond), Timeout: o.Timeout}
	if o.Source.String() == attSource {
		p.net.Link = netsim.VDSL
	}
	for _, t := range o.Targets {
		p.net.Hosts = append(p.net.Hosts, map[string]int{"1.1.1.1": 0, "8.8.8.8": 1, "9.9.9.9": 2}[t])
	}
	if o.OnSend != nil {
		p.net.OnSend = func(s link.Probe) {
			s.Sent = w.host(s.Sent)
			o.OnSend(s)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance()
	w.pingers[p] = true
	p.renew()
	return p, nil
}

func (p *pinger) renew() {
	var err error
	if p.Prober, err = p.w.net.NewProber(p.net); err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *pinger) Drain(dst []link.Reply) []link.Reply {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.advance()
	n := len(dst)
	dst = p.Prober.Drain(dst)
	for i := range dst[n:] {
		r := &dst[n+i]
		r.Sent, r.Received = p.w.host(r.Sent), p.w.host(r.Received)
	}
	return dst
}

func (p *pinger) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (p *pinger) Close() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.Stop()
	delete(p.w.pingers, p)
	return nil
}

func (p *pinger) Stats() (all []probe.TargetStats) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for i, s := range p.Prober.Stats() {
		a, _ := netip.ParseAddr(p.opt.Targets[i])
		all = append(all, probe.TargetStats{Target: p.opt.Targets[i], Addr: a, Sent: s.Sent, Received: s.Answered, Late: s.Late})
	}
	return all
}

func (p *pinger) SetInterval(d time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.advance()
	p.net.Interval = d
	p.Prober.SetInterval(d)
}

func (p *pinger) Use(hosts []int) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.advance()
	return p.Prober.Use(hosts)
}

func (p *pinger) Arrived() <-chan struct{}              { return p.arrived }
func (p *pinger) ProbeTCP([]int, time.Duration) error   { return nil }
func (p *pinger) Check(context.Context) []probe.Finding { return nil }
func (p *pinger) Once(context.Context, int) ([]link.Reply, error) {
	return nil, errors.New("the soak has no single cycles")
}

// season is how long a run is and what its days are like.
type season struct {
	days int
	day  time.Duration
	// logMax is where a log is put aside, in bytes; 0 is the default.
	logMax int
	// scenario is what happens on the lines on a day.
	scenario func(day int) netsim.Scenario
	// seep, where not nil, leaks something every day, and nothing else happens.
	seep func(day int)
	// said, where not nil, is told of each day's end.
	said func(line string)
}

// fault is what happens at a share of each day, and what ends it.
type fault struct {
	at    float64
	name  string
	begin func()
	// for so long, at most a fiftieth of the day; 0 has no end.
	lasts time.Duration
	end   func()
	// every so many days; 0 is each.
	every int
}

// faults are a day's. What lies on the lines is the scenario's.
func (w *world) faults(day int) []fault {
	r := w.router
	reload := func(names ...string) {
		for _, n := range names {
			w.tasks[n].reload <- struct{}{}
		}
	}
	all := []string{att, spectrum, steering}
	rewrite := func(changed bool) {
		for _, n := range all {
			w.put(w.t, n+".yaml", w.text(w.t, n, changed))
		}
		reload(all...)
	}
	return []fault{
		{at: 0.05, name: "restart", begin: func() {
			for _, n := range all {
				if day%2 == 0 { // as an upgrade does
					boot, err := daemon.BootID()
					if err != nil {
						w.t.Fatal(err)
					}
					if err := daemon.WriteHandover(w.dirs().Run, n, boot, w.Now()); err != nil {
						w.t.Error(err)
					}
				}
				w.end(n)
				if n == att { // by another door
					w.site.router[att] = w.doors[(day+1)%len(w.doors)]
					w.put(w.t, "ATT.yaml", w.text(w.t, att, false))
				}
				w.start(n)
			}
		}},
		{at: 0.10, name: "log renamed", begin: func() { // by somebody else, beside our own rotation
			log := w.path("log", "steering.log")
			if err := os.Rename(log, log+".old"); err != nil {
				w.t.Error(err)
			}
			reload(steering)
		}},
		{at: 0.15, name: "router reboot", begin: func() { r.Reboot(0) }},
		{at: 0.20, name: "disconnect", begin: r.Disconnect},
		{at: 0.25, name: "router stalled", begin: r.Stall, lasts: 10 * time.Minute, end: r.Unstall},
		{at: 0.30, name: "connection cut", begin: func() {
			for _, c := range []rosim.Cut{rosim.CutBefore, rosim.CutAfter, rosim.CutReply, rosim.CutSilent} {
				r.CutNext(c)
			}
			r.CutWrites(2)
		}},
		{at: 0.34, name: "nonsense answered", begin: func() {
			for _, g := range []rosim.Garble{rosim.GarbleHTML, rosim.GarbleShape, rosim.GarbleBytes} {
				r.GarbleNext(g)
			}
			r.FailNext("failure: try again later")
		}},
		{at: 0.38, name: "half-open connections", begin: func() { r.HalfOpen(true) }, lasts: 5 * time.Minute, end: func() { r.HalfOpen(false) }},
		{at: 0.42, name: "router slow", begin: func() { r.Slow(2*time.Second, 2*time.Second) }, lasts: 10 * time.Minute, end: func() { r.Slow(60*time.Millisecond, 80*time.Millisecond) }},
		{at: 0.46, name: "connections refused", begin: r.Refuse, lasts: 20 * time.Minute, end: func() {
			if err := r.Return(); err != nil {
				w.t.Error(err)
			}
		}},
		{at: 0.50, name: "password changed", begin: func() {
			w.password = fmt.Sprintf("%s %d", password, day)
			if err := r.SetPassword(rosim.DefaultUser, w.password); err != nil {
				w.t.Error(err)
			}
			r.Disconnect()
		}, lasts: 30 * time.Minute, end: func() {
			w.put(w.t, "password", w.password+"\n")
			reload(all...)
		}},
		{at: 0.54, name: "bad file refused", begin: func() {
			w.put(w.t, "Spectrum.yaml", "wan_name: [")
			reload(spectrum)
		}, lasts: time.Minute, end: func() { w.put(w.t, "Spectrum.yaml", w.text(w.t, spectrum, false)) }},
		{at: 0.58, name: "reload", begin: func() { rewrite(true) }, lasts: 10 * time.Minute, end: func() { rewrite(false) }},
		{at: 0.62, name: "foreign write", begin: func() {
			if err := r.ForeignSet("WAN-Download-ATT", 50*unit.Mbps); err != nil {
				w.t.Error(err)
			}
		}},
		{at: 0.66, name: "clock set", begin: func() {
			w.shift.wall.Add(int64([]time.Duration{time.Hour, -time.Hour}[day%2]))
		}},
		{at: 0.70, name: "suspension", every: 3, begin: func() { w.shift.boot.Add(int64(20 * time.Minute)) }},
	}
}

// sampleAt is the share of a day at which it is looked at: what was disturbed the day before is well again.
const sampleAt = 0.02

// play runs a season in the bubble the caller is in.
func (w *world) play(s season) {
	// The figures are taken after a collection: how seldom the others are only makes the run quicker.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	w.logMax = s.logMax
	for name := range exampleOf {
		w.put(w.t, name+".yaml", w.text(w.t, name, false))
	}
	stopped := w.serve(context.Background())
	w.turn(s.scenario(0))
	for _, n := range []string{att, spectrum, steering} {
		w.start(n)
	}
	began := hostSeconds()
	for day := range s.days {
		if interrupted() {
			break
		}
		midnight := time.Now()
		if day > 0 {
			w.turn(s.scenario(day))
		}
		at := func(share float64) { time.Sleep(time.Until(midnight.Add(time.Duration(share * float64(s.day))))) }
		at(sampleAt)
		if s.seep != nil {
			s.seep(day)
		}
		line := w.sample(day, s.day)
		if s.said != nil {
			s.said(fmt.Sprintf("day %2d of %d, %4.0f s: %s", day+1, s.days, hostSeconds()-began, line))
		}
		for _, f := range w.faults(day) {
			if s.seep != nil || f.every != 0 && day%f.every != f.every-1 {
				continue
			}
			at(f.at)
			w.count(f.name, 1)
			f.begin()
			if f.end != nil {
				time.Sleep(min(f.lasts, s.day/50))
				f.end()
			}
		}
		at(1)
	}
	w.count("steering moves", int(w.moves.Load()))
	w.count("logins", w.router.Logins())
	w.report.Hours, w.report.RealTime = time.Since(w.began).Hours(), (hostSeconds()-began)/3600
	for n := range w.tasks {
		w.end(n)
	}
	stopped()
}

// hostSeconds is real time, which goes on outside of the bubble.
func hostSeconds() float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return float64(ts.Nano()) / 1e9
}

// The limits of the simulated month. All three processes, the emulated router and the simulated network are in one, so
// what grows in any of them is seen, and figures at rest are compared: they do not depend on what happens to be under way.
var (
	// exact: at rest their numbers are the same every day, so what is over one is one every so many days.
	exact = Limit{Growth: 1.5, Why: "the same every day: one more in all is chance, two are a leak"}
	heap  = Limit{Growth: 400e3, Why: "18 kB a day: in a year a third of what a process takes, and more than two collections differ by"}
	// What the process holds in RAM is judged by the real run alone: here the simulated network's evenings need some hundred MB for
	// a moment, and the runtime keeps its books of that.
	// What stacks hold: what is set aside for them depends on how the runtime happened to put them side by side, in steps of 32 kB.
	stacks = Limit{Growth: 200e3, Why: "the stacks of as many goroutines, of 2 to 32 kB each"}
	// a day's log: what the seed draws differs from day to day.
	logDay = Limit{Growth: 2e6, Why: "a tenth of a day's lines: days differ by what their seeds draw"}
)

// sample takes the figures of a day and returns them as a line.
func (w *world) sample(n int, day time.Duration) string {
	w.router.Forget()
	for name, r := range w.tasks {
		select {
		case err := <-r.done:
			w.t.Fatalf("%s ended at %s: %v\n%s", name, w.when(), err, &w.stderr)
		default:
		}
		get, ok := w.status.Load(name)
		if !ok {
			w.t.Fatalf("%s has no status at %s", name, w.when())
		}
		if s := get.(func() daemon.Status)(); !s.Healthy { //nolint:forcetypeassert // what start stored
			w.t.Errorf("%s at %s: %s\n%s", name, w.when(), strings.Join(s.Why, "; "), &w.stderr)
		}
	}
	runtime.GC()
	debug.FreeOSMemory() // collects again: what finalizers let go is free then
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	stack := []metrics.Sample{{Name: "/gc/scan/stack:bytes"}} // what the collection found on them
	metrics.Read(stack)
	p, err := ReadProcess(os.Getpid())
	if err != nil {
		w.t.Fatal(err)
	}
	at := time.Since(w.began).Hours()
	add := func(of, name string, unit Unit, limit Limit, v float64) { w.add(of, name, unit, limit, at, v) }
	add("all", "heap after collection", Bytes, heap, float64(m.HeapAlloc))
	add("all", "stacks", Bytes, stacks, float64(stack[0].Value.Uint64()))
	add("all", "goroutines", Count, exact, float64(runtime.NumGoroutine()))
	add("all", "descriptors", Count, exact, float64(p.Descriptors))
	add("router", "connections", Count, exact, float64(w.router.Sessions()))
	for _, d := range []struct {
		name  string
		bytes Limit
	}{{"state", stateBytes}, {"run", runBytes}} {
		files, bytes, err := ReadTree(w.path(d.name))
		if err != nil {
			w.t.Fatal(err)
		}
		add(d.name, "files", Count, exact, float64(files))
		add(d.name, "bytes", Bytes, d.bytes, float64(bytes))
	}
	files, bytes, err := ReadTree(w.path("log"))
	if err != nil {
		w.t.Fatal(err)
	}
	add("log", "files", Count, exact.upTo(logFileBound), float64(files))
	add("log", "bytes", Bytes, logBytes.upTo(w.logBound()), float64(bytes))
	written, err := w.logged(time.Now().Add(-day))
	if err != nil {
		w.t.Fatal(err)
	}
	if n > 0 { // the first day is not over yet
		add("log", "bytes in a day", Bytes, logDay, float64(written))
	}
	return fmt.Sprintf("heap %s, %s resident, %d goroutines, %d descriptors, %d steering moves", Bytes.text(float64(m.HeapAlloc)),
		Bytes.text(float64(p.Resident)), runtime.NumGoroutine(), p.Descriptors, w.moves.Load())
}

// logged counts the bytes of the lines since an instant.
func (w *world) logged(since time.Time) (bytes int64, err error) {
	from := since.Format(time.DateTime)
	paths, err := filepath.Glob(w.path("log", "*"))
	if err != nil {
		return 0, err
	}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := lines.Bytes(); string(line[:min(len(line), len(from))]) >= from {
				bytes += int64(len(line)) + 1
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

// short is a season that takes seconds: its days are evenings of ten minutes.
func short() season {
	return season{days: 8, day: 10 * time.Minute, logMax: 64 << 10, scenario: builtin("evening")}
}

func builtin(name string) func(day int) netsim.Scenario {
	return func(day int) netsim.Scenario {
		s, err := netsim.Builtin(name, uint64(day+1))
		if err != nil {
			panic(err)
		}
		return s
	}
}

// Simulated time leaves nothing behind.
func TestSimulated(t *testing.T) {
	s := short()
	if *days > 0 {
		s = season{days: *days, day: 24 * time.Hour, scenario: builtin("day"), said: say}
	} else if *realTime > 0 {
		return // only the other one is wanted
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.report.What = "two lines and steering, simulated"
		w.play(s)
		judge(t, &w.report, "simulated")
		if n := w.report.Happened["steering moves"]; n < s.days/2 {
			t.Errorf("steering moved and returned %d times in %d days: too little to be proved by", n, s.days)
		}
	})
}
