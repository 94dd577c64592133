package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The pace by its signs, tenths of a second at a time.
func TestPace(t *testing.T) {
	calm := signs{Counted: true}
	for _, tt := range []struct {
		name string
		sign signs
		last time.Duration // how long the line stays active after that
	}{
		{"nothing", calm, 0},
		{"a download of 9 %", signs{Counted: true, Use: link.Pair[float64]{Down: 0.09}}, 0},
		{"a download of 10 %", signs{Counted: true, Use: link.Pair[float64]{Down: 0.1}}, idleAfter},
		{"an upload of 10 %", signs{Counted: true, Use: link.Pair[float64]{Up: 0.1}}, idleAfter},
		{"nobody counts", signs{}, idleAfter},
		{"a late reply", signs{Counted: true, Raised: true}, idleAfter},
		{"one probe overdue", signs{Counted: true, Overdue: 1}, 100 * time.Millisecond},
		{"two probes overdue", signs{Counted: true, Overdue: 2}, idleAfter},
	} {
		var p pace
		now := unit.Time(time.Hour)
		for p.step(now, calm) {
			now = now.Add(100 * time.Millisecond)
		}
		if d := now.Sub(unit.Time(time.Hour)); d != idleAfter {
			t.Errorf("%s: active for %v after the start", tt.name, d)
		}
		var active time.Duration
		for s := tt.sign; p.step(now, s); s = calm {
			now, active = now.Add(100*time.Millisecond), active+100*time.Millisecond
		}
		if active != tt.last {
			t.Errorf("%s: active for %v, want %v", tt.name, active, tt.last)
		}
	}
}

func TestPaceIntervals(t *testing.T) {
	for _, tt := range []struct {
		hosts        int
		server       bool
		active, idle time.Duration
	}{
		{1, false, hostStep, 500 * time.Millisecond},
		{3, false, hostStep, 1500 * time.Millisecond},
		{5, false, 250 * time.Millisecond, 2500 * time.Millisecond},
		{1, true, hostStep / 2, 500 * time.Millisecond},
		{3, true, 150 * time.Millisecond, 1500 * time.Millisecond},
		{5, true, 250 * time.Millisecond, 2500 * time.Millisecond},
	} {
		var p pace
		if got := p.every(tt.hosts, tt.server); got != tt.active {
			t.Errorf("%d at first: %v", tt.hosts, got)
		}
		now := unit.Time(time.Hour)
		p.step(now, signs{Counted: true})
		p.step(now.Add(idleAfter), signs{Counted: true})
		if got := p.every(tt.hosts, tt.server); got != tt.idle {
			t.Errorf("%d idle: %v", tt.hosts, got)
		}
		// An idle line's replies may be three turns old, and still so right after it woke.
		now = now.Add(time.Minute)
		if got := p.age(now, tt.hosts, 2*time.Second); got != max(2*time.Second, 3*tt.idle) {
			t.Errorf("%d idle: replies count for %v", tt.hosts, got)
		}
		p.step(now, signs{})
		for after, want := range map[time.Duration]time.Duration{0: max(2*time.Second, 3*tt.idle), time.Second: 2 * time.Second} {
			if got := p.age(now.Add(after), tt.hosts, 2*time.Second); got != want {
				t.Errorf("%d, %v after it woke: replies count for %v, want %v", tt.hosts, after, got, want)
			}
		}
		if got := p.every(tt.hosts, tt.server); got != tt.active {
			t.Errorf("%d active: %v", tt.hosts, got)
		}
	}
}

// probed is a tracking WAN in virtual time whose probes leave as it wishes. Nothing queues; the line carries Carried.
type probed struct {
	t    *testing.T
	wan  *WAN
	obs  *Observed
	now  unit.Time
	next unit.Time // when the next probe leaves
	tick unit.Time
	wake unit.Time
	turn int
	// RTT is a reflector's round trip; 0 is no answer.
	RTT func(h int) unit.Millis
	// Way, where not nil, splits what a reflector's probes take, where its clock is known.
	Way func(h int, rtt unit.Millis) (up unit.Millis, ok bool)
	// TCP is what handshakes with a reflector take; nil is no answer.
	TCP     func(h int) unit.Millis
	tcpTurn int
	tcpNext unit.Time
	shakes  int
	// Carried is what crosses the line.
	Carried link.Rates
	count   link.Counters
	came    []link.Reply
	waiting []link.Reply
	sent    int
	notes   []link.Note
	silent  int // cycles without a measurement
	worst   unit.Millis
}

// Counters counts what was carried.
func (p *probed) Counters() (link.Counters, error) {
	d := p.now.Sub(p.count.At).Seconds()
	p.count.Rx += unit.Bytes(float64(p.Carried.Down) * d / 8)
	p.count.Tx += unit.Bytes(float64(p.Carried.Up) * d / 8)
	p.count.At = p.now
	return p.count, nil
}

func (p *probed) Drain(dst []link.Reply) []link.Reply {
	dst = append(dst, p.came...)
	p.came = p.came[:0]
	return dst
}

func newProbed(t *testing.T, hosts string) *probed {
	t.Helper()
	f, ds := config.Parse("line.yaml", strings.NewReader(`wan_name: line
router: {transport: linux}
interfaces: {download: ifb0, upload: eth0}
continuous_monitoring:
  policy: tracking
  interval_ms: 500
  download: {min_mbps: 10, max_mbps: 100}
  upload: {min_mbps: 2, max_mbps: 20}
`+hosts), config.Options{})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	p := &probed{t: t, now: unit.Time(time.Hour), RTT: func(h int) unit.Millis { return 20 + unit.Millis(h) }}
	p.next, p.tick = p.now, p.now
	p.count.At = p.now
	p.obs = NewObserved(p)
	opt := WANOptionsOf(f.WAN, true)
	opt.Observed = p.obs
	var err error
	if p.wan, err = NewWAN(opt, p, p.now, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// probing is what the line wishes now.
func (p *probed) probing() Probing {
	w, ok := p.wan.Probing()
	if !ok {
		p.t.Fatal("it wishes nothing")
	}
	return w
}

// run lets time pass in steps of 5 ms and returns how many probes left.
func (p *probed) run(d time.Duration) int {
	before, last := p.sent, unit.Time(0)
	for end := p.now.Add(d); p.now < end; p.now = p.now.Add(5 * time.Millisecond) {
		w := p.probing()
		step := w.Interval / time.Duration(len(w.Hosts))
		if last != 0 {
			p.next = last.Add(step) // a new pace takes effect at once
		}
		if p.now >= p.next {
			h := w.Hosts[p.turn%len(w.Hosts)]
			if p.wan.opt.IRTT {
				if h = w.Hosts[p.turn/2%len(w.Hosts)]; p.turn%2 == 1 {
					h = p.wan.opt.Reflector.Hosts - 1
				}
			}
			p.turn++
			p.sent++
			last = p.now
			p.next = p.now.Add(step)
			p.leave(h, p.RTT(h))
		}
		if w.TCPEvery > 0 && p.now >= p.tcpNext {
			h := w.TCP[p.tcpTurn%len(w.TCP)]
			p.tcpTurn++
			p.shakes++
			p.tcpNext = p.now.Add(w.TCPEvery)
			rtt := unit.Millis(0)
			if p.TCP != nil {
				rtt = p.TCP(h)
			}
			p.leave(p.wan.opt.Reflector.Hosts+h, rtt)
		} else if w.TCPEvery == 0 {
			p.tcpNext = p.now
		}
		p.waiting = slices.DeleteFunc(p.waiting, func(r link.Reply) bool {
			if r.Received <= p.now {
				p.came = append(p.came, r)
			}
			return r.Received <= p.now
		})
		if p.now >= p.tick {
			p.tick = p.tick.Add(500 * time.Millisecond)
			o := p.wan.Tick(p.now)
			p.notes = append(p.notes, o.Notes...)
			p.wake = o.Wake
			if d := p.wan.Decision(); !d.Measured {
				p.silent++
			} else {
				p.worst = max(p.worst, d.Delta)
			}
		}
		if len(p.came) > 0 || p.wake != 0 && p.now >= p.wake {
			o := p.wan.Wake(p.now)
			p.notes = append(p.notes, o.Notes...)
			p.wake = o.Wake
		}
	}
	return p.sent - before
}

// rests has the line carry nothing: it is probed twenty times a second at first, and twice when it has come to rest.
func (p *probed) rests() {
	p.t.Helper()
	if n := p.run(10 * time.Second); n < 195 || n > 201 {
		p.t.Errorf("%d probes in the first 10 s", n)
	}
	p.run(5 * time.Second)
	p.silent, p.worst = 0, 0
	if n := p.run(10 * time.Minute); n < 1195 || n > 1205 {
		p.t.Errorf("%d probes in 10 min of an idle line", n)
	}
}

// leave has a probe leave that is answered after rtt, or not at all.
func (p *probed) leave(h int, rtt unit.Millis) {
	p.obs.Sent(link.Probe{Host: h, Sent: p.now})
	if rtt <= 0 {
		return
	}
	r := link.Reply{Host: h, Sent: p.now, Received: p.now.Add(rtt.Duration()), RTT: rtt}
	if p.Way != nil {
		if up, ok := p.Way(h, rtt); ok {
			r.OneWay, r.Clock, r.Delay = true, 1, link.Pair[unit.Millis]{Up: up + 5000, Down: rtt - up - 5000}
		}
	}
	p.waiting = append(p.waiting, r)
}

func (p *probed) noted(key string) (n int) {
	for _, note := range p.notes {
		if note.Key == key {
			n++
		}
	}
	return n
}

const fiveHosts = "  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5]\n"

// An idle line is probed twice a second, a used one twenty times, and nothing flaps meanwhile.
func TestPaceOfALine(t *testing.T) {
	p := newProbed(t, fiveHosts)
	p.rests()
	p.Carried = link.Rates{Down: 30 * unit.Mbps}
	p.run(time.Second)
	if n := p.run(30 * time.Second); n < 595 || n > 601 {
		t.Errorf("%d probes in 30 s of a used line", n)
	}
	p.Carried = link.Rates{}
	p.run(15 * time.Second)
	if n := p.run(time.Minute); n < 119 || n > 121 {
		t.Errorf("%d probes in a minute after that", n)
	}
	if why := p.wan.why(p.now); p.silent > 0 || p.worst > 1 || len(why) > 1 { // no router ever answered here
		t.Errorf("%d cycles without a measurement, a delta of %v, why %q", p.silent, p.worst, why)
	}
}

// Lost probes of an idle line wake it and change nothing else; a dead reflector does not keep it awake.
func TestIdleLineLosesProbes(t *testing.T) {
	n := 0
	for _, tt := range []struct {
		name string
		lost func(h int) bool
		most int // probes in ten minutes
	}{
		{"one in 20", func(int) bool { n++; return n%20 == 0 }, 1400},
		{"a dead one", func(h int) bool { return h == 3 }, 1300},
		{"two dead ones", func(h int) bool { return h == 3 || h == 1 }, 1300},
	} {
		p := newProbed(t, fiveHosts)
		p.run(15 * time.Second)
		honest := p.RTT
		p.RTT = func(h int) unit.Millis {
			if tt.lost(h) {
				return 0
			}
			return honest(h)
		}
		p.run(30 * time.Second)
		p.silent, p.worst = 0, 0
		probes := p.run(10 * time.Minute)
		if probes > tt.most || p.silent > 0 || p.worst > 1 || p.noted("no_reply") > 0 {
			t.Errorf("%s: %d probes, %d cycles without a measurement, a delta of %v, notes %v", tt.name, probes, p.silent, p.worst, p.notes)
		}
		for _, y := range p.wan.why(p.now) {
			if strings.Contains(y, "reflectors") {
				t.Errorf("%s: %s", tt.name, y)
			}
		}
	}
}

// An outage on an idle line is noticed as soon as on a used one, and told once.
func TestIdleLineGoesDown(t *testing.T) {
	p := newProbed(t, fiveHosts)
	p.run(30 * time.Second)
	up := p.RTT
	p.RTT = func(int) unit.Millis { return 0 }
	p.silent = 0
	p.run(2600 * time.Millisecond)
	if p.silent == 0 {
		t.Error("after 2.6 s it still measures")
	}
	p.run(500 * time.Millisecond)
	if n := p.noted("no_reply"); n != 1 {
		t.Errorf("the outage was told %d times", n)
	}
	if n := p.run(30 * time.Second); n < 590 {
		t.Errorf("%d probes in 30 s of the outage", n)
	}
	p.RTT = up
	p.silent = 0
	p.run(time.Second)
	p.silent = 0
	p.run(time.Minute)
	if p.silent > 0 || p.noted("probes_back") != 1 {
		t.Errorf("%d cycles without a measurement, told back %d times", p.silent, p.noted("probes_back"))
	}
}

// A path that becomes longer while the line is idle is learnt within seconds.
func TestIdleLineTakesALongerPath(t *testing.T) {
	p := newProbed(t, fiveHosts)
	p.run(30 * time.Second)
	p.RTT = func(h int) unit.Millis { return 65 + unit.Millis(h) }
	p.run(14 * time.Second)
	p.worst = 0
	p.run(20 * time.Second)
	if d := p.wan.Decision(); p.worst != 0 || d.Baseline < 65 || d.Baseline > 69 {
		t.Errorf("a delta of %v is left, over a baseline of %v", p.worst, d.Baseline)
	}
}

// With more candidates than are in use a silent one is replaced, once, and told once; with five nothing is.
func TestReflectorIsReplaced(t *testing.T) {
	for hosts, want := range map[string]int{
		"": 1, fiveHosts: 0,
		"  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, 192.0.2.6]\n": 1,
	} {
		p := newProbed(t, hosts)
		p.RTT = func(int) unit.Millis { return 20 }
		p.run(30 * time.Second)
		if got := fmt.Sprint(p.probing().Hosts); got != "[0 1 2 3 4]" {
			t.Errorf("%q: %s in use", hosts, got)
		}
		p.RTT = func(h int) unit.Millis {
			if h == 2 {
				return 0
			}
			return 20
		}
		p.run(30 * time.Second)
		if got := p.noted("reflector_replaced"); got != want || want == 1 && fmt.Sprint(p.probing().Hosts) != "[0 1 5 3 4]" {
			t.Errorf("%q: %d replaced, %v in use", hosts, got, p.probing().Hosts)
		}
		f := p.wan.Feed()
		if !f.Measured || f.RTT != 20 || f.Delta != 0 {
			t.Errorf("%q: %+v", hosts, f)
		}
	}
}

// A new prober has other hosts, perhaps: all begins anew.
func TestNewProberBeginsAnew(t *testing.T) {
	p := newProbed(t, "")
	p.RTT = func(h int) unit.Millis {
		if h == 0 {
			return 0
		}
		return 20
	}
	p.run(time.Minute)
	if w := p.probing(); slices.Contains(w.Hosts, 0) || w.Interval != 2500*time.Millisecond {
		t.Fatalf("%+v", w)
	}
	p.wan.SetProber(p)
	if w := p.probing(); fmt.Sprint(w.Hosts) != "[0 1 2 3 4]" || w.Interval != 250*time.Millisecond {
		t.Errorf("%+v", w)
	}
}

// The pinger gets all candidates as targets and is told, once, which five to use and how often; the status says so.
func TestPingerFollowsTheLine(t *testing.T) {
	w := newWorld(t, rosim.DefaultOptions())
	w.set("continuous_monitoring:\n", "continuous_monitoring:\n  policy: tracking\n")
	w.set("  ping_hosts: [192.0.2.1]\n  ping_count: 1\n", "")
	a := w.autorate()
	r := start(t, a)
	defer r.mustEnd()
	if o := w.pings.seen.Load(); len(o.Targets) != 20 || o.Targets[1] != "8.8.8.8" {
		t.Errorf("targets %v", o.Targets)
	}
	if used := w.pings.used.Load(); used == nil || fmt.Sprint(*used) != "[0 1 2 3 4]" {
		t.Errorf("used %v", used)
	}
	if d := time.Duration(w.pings.interval.Load()); d != 250*time.Millisecond {
		t.Errorf("an interval of %v", d)
	}
	w.pings.until(t, "the line is idle", func() bool { return time.Duration(w.pings.interval.Load()) == 2500*time.Millisecond })
	w.pings.until(t, "the status says so", func() bool {
		all, _, err := ReadStatus(w.dir)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		s := all[0].WAN
		return s.Policy == "tracking" && s.Tracking != nil && s.Tracking.Reflectors == 5 && s.Tracking.Reserve == 15 &&
			s.Tracking.ProbesPerS == 2 && !s.Tracking.OneWay && len(s.Probes) == 5
	})
}
