package reflector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// site is a made-up line with all sorts of probes, which come at the pace that the sensors wish. Its clock counts from one hour.
type site struct {
	t      *testing.T
	s      *Sensors
	cfg    SensorsConfig
	now    unit.Time
	loaded bool
	idle   unit.Time
	// queue is what stands in front of the line in each direction, in ms, and each sort of probes meets that share of it.
	queue link.Pair[float64]
	meets struct{ icmp, irtt, tcp float64 }
	// proxied answers TCP in so many ms, before the line; 0 is nothing there. deaf reflectors do no TCP, and down loses all.
	proxied float64
	deaf    []int
	down    bool
	// stamps are the reflectors that tell one-way delays.
	stamps []int
	chance *rand.Rand

	turn, tcpTurn int
	tcpDue        unit.Time
	pending       []link.Reply
	samples       []link.Sample
	notes         []string
	handshakes    int
}

func newSite(t *testing.T, c SensorsConfig) *site {
	w := &site{t: t, s: NewSensors(c), cfg: c, now: began, idle: began.Add(-time.Minute), chance: rand.New(rand.NewPCG(1, 2))}
	w.meets.icmp, w.meets.irtt, w.meets.tcp = 1, 1, 1
	return w
}

// load has the line carry much from now on, with a queue, or next to nothing.
func (w *site) load(down, up float64) {
	w.queue = link.Pair[float64]{Down: down, Up: up}
	if w.loaded = down+up > 0; w.loaded {
		w.idle = 0
	} else {
		w.idle = w.now
	}
}

// tcpHost is the first of the hosts that TCP's replies come from.
func (w *site) tcpHost() int {
	if w.cfg.IRTT {
		return w.cfg.Reflectors + 1
	}
	return w.cfg.Reflectors
}

// send has a probe leave to a host that is base ms away, and meet a share of the queue.
func (w *site) send(host int, base, share float64, oneWay bool) {
	w.s.Sent(link.Probe{Host: host, Sent: w.now})
	if w.down {
		return
	}
	base += w.chance.Float64()
	down, up := base/2+w.queue.Down*share, base/2+w.queue.Up*share
	rtt := unit.Millis(down + up)
	r := link.Reply{Host: host, Sent: w.now, Received: w.now.Add(rtt.Duration()), RTT: rtt}
	if oneWay {
		r.OneWay, r.Clock, r.Delay = true, 1, link.Pair[unit.Millis]{Down: unit.Millis(down - 500), Up: unit.Millis(up + 500)}
	}
	w.pending = append(w.pending, r)
}

// run lets time pass, 50 ms at a time; each has a turn of ICMP, or of the IRTT server.
func (w *site) run(d time.Duration) {
	w.samples, w.notes, w.handshakes = nil, nil, 0
	inUse := make([]int, w.cfg.Reflectors)
	for i := range inUse {
		inUse[i] = i
	}
	for end := w.now.Add(d); w.now < end; w.now = w.now.Add(50 * time.Millisecond) {
		for _, n := range w.s.Watch(w.now, w.loaded, w.idle, inUse) {
			w.notes = append(w.notes, n.Text)
		}
		w.turn++
		if n := w.cfg.Reflectors; w.cfg.IRTT && w.turn%2 == 0 {
			w.send(n, 30, w.meets.irtt, true)
		} else {
			h := w.turn % n
			if w.cfg.IRTT {
				h = w.turn / 2 % n
			}
			w.send(h, 20+float64(h), w.meets.icmp, slices.Contains(w.stamps, h))
		}
		if hosts, every := w.s.TCP(); every > 0 {
			if len(hosts) == 0 {
				w.t.Fatal("handshakes with nobody")
			}
			if w.now >= w.tcpDue {
				w.tcpTurn++
				w.handshakes++
				w.tcpDue = w.now.Add(every)
				switch h := hosts[w.tcpTurn%len(hosts)]; {
				case slices.Contains(w.deaf, h):
					w.s.Sent(link.Probe{Host: w.tcpHost() + h, Sent: w.now})
				case w.proxied > 0:
					w.send(w.tcpHost()+h, w.proxied, 0, false)
				default:
					w.send(w.tcpHost()+h, 23+float64(h), w.meets.tcp, false)
				}
			}
		} else {
			w.tcpDue = w.now
		}
		slices.SortStableFunc(w.pending, func(a, b link.Reply) int { return int(a.Received - b.Received) })
		for len(w.pending) > 0 && w.pending[0].Received <= w.now.Add(50*time.Millisecond) {
			if s, ok := w.s.Reply(w.pending[0], w.idle); ok {
				w.samples = append(w.samples, s)
			}
			w.pending = w.pending[1:]
		}
	}
}

// heard counts the newest run's samples by the sort of probes they are of.
func (w *site) heard() (icmp, irtt, tcp int) {
	for _, s := range w.samples {
		switch {
		case s.Host < w.cfg.Reflectors:
			icmp++
		case s.Host >= w.tcpHost():
			tcp++
		default:
			irtt++
		}
	}
	return icmp, irtt, tcp
}

// worst is the greatest delta of the newest run.
func (w *site) worst() (d unit.Millis) {
	for _, s := range w.samples {
		d = max(d, s.Delta)
	}
	return d
}

var all = SensorsConfig{Reflectors: 5, TCP: true}

// Where the line lets ICMP by, TCP shows it within three comparisons, and its round trips are the samples from then on.
func TestBlind(t *testing.T) {
	w := newSite(t, all)
	w.run(30 * time.Second)
	if got := w.s.Finding(); got != "not compared yet" || w.handshakes < 5*leastOffsets || w.handshakes > 5*leastOffsets+3 {
		t.Fatalf("%d handshakes on an idle line, %q", w.handshakes, got)
	}
	w.meets.icmp = 0.02
	w.load(60, 0)
	w.run(8 * time.Second)
	if icmp, _, tcp := w.heard(); w.s.Blind() || tcp != 0 || icmp == 0 || len(w.notes) != 0 {
		t.Fatalf("blind after one comparison, %d samples of ICMP and %d of TCP, notes %q", icmp, tcp, w.notes)
	}
	if got := w.s.Finding(); got != "TCP took 59 ms longer than ICMP in the newest comparison" {
		t.Errorf("finding %q", got)
	}
	w.run(15 * time.Second)
	if !w.s.Blind() || len(w.notes) != 1 || !strings.Contains(w.notes[0], "ICMP is treated unlike data: under load TCP handshakes take 59 ms longer") {
		t.Fatalf("not blind: notes %q, %q", w.notes, w.s.Finding())
	}
	w.run(10 * time.Second)
	if icmp, _, tcp := w.heard(); icmp != 0 || tcp < 38 || tcp > 41 || w.worst() < 59 {
		t.Errorf("%d samples of ICMP and %d of TCP, up to %v", icmp, tcp, w.worst())
	}
	if l := w.s.Level(w.now, time.Second); !l.OK || l.Hosts != 5 || l.Delta < 55 || l.Baseline < 23 || l.RTT < 80 {
		t.Errorf("level %+v", l)
	}
	if got := w.s.Finding(); !strings.Contains(got, "ICMP is treated unlike data: TCP takes") {
		t.Errorf("finding %q", got)
	}

	// What TCP does not answer is held up.
	w.down = true
	w.run(2 * time.Second)
	if q := w.s.Silence(w.now); q.Hosts < 3 || q.Over < 800 || w.s.Overdue(w.now) < 3 {
		t.Errorf("silence %+v, %d overdue", q, w.s.Overdue(w.now))
	}
	w.down = false

	// An idle line is asked less, and still known.
	w.load(0, 0)
	w.run(30 * time.Second)
	w.run(60 * time.Second)
	if w.handshakes < 28 || w.handshakes > 31 || !w.s.Blind() {
		t.Errorf("%d handshakes in a minute", w.handshakes)
	}
	if l := w.s.Level(w.now, time.Second); !l.OK || l.Delta > 2 {
		t.Errorf("level %+v", l)
	}
	if icmp, _, tcp := w.heard(); icmp != 0 || tcp < 28 {
		t.Errorf("%d samples of ICMP and %d of TCP", icmp, tcp)
	}

	// A queue that is kept short is seen by neither, which is no agreement.
	w.meets.icmp = 0
	w.load(6, 0)
	w.run(20 * time.Minute)
	if !w.s.Blind() {
		t.Error("ICMP is believed because there is no queue to be seen")
	}
	// Both see one again: for five minutes they must.
	w.meets.icmp = 1
	w.load(30, 0)
	w.run(agreeFor - 30*time.Second)
	_, _, tcp := w.heard()
	if tcp == 0 || w.s.Blind() && w.s.check.beliefs[ofICMP].agreed < agreeing {
		t.Errorf("%d samples of TCP, %d comparisons agreed", tcp, w.s.check.beliefs[ofICMP].agreed)
	}
	w.run(time.Minute)
	if w.s.Blind() {
		t.Errorf("still blind: %+v", w.s.check.beliefs[ofICMP])
	}
	w.run(time.Second)
	if icmp, _, tcp := w.heard(); icmp == 0 || tcp != 0 || w.s.Finding() != "ICMP agrees with TCP under load" {
		t.Errorf("%d samples of ICMP and %d of TCP, %q", icmp, tcp, w.s.Finding())
	}
}

// The end of the disbelief takes agreement while there is a queue, without an exception, for long enough.
func TestBeliefReturns(t *testing.T) {
	var b belief
	now := began
	for range mostOf {
		b.judge(now, 40, 2)
	}
	if !b.blind {
		t.Fatal("not blind")
	}
	step := func(tcp, other float64) bool {
		now = now.Add(agreeFor / agreeing)
		return b.judge(now, tcp, other)
	}
	for _, tt := range []struct {
		tcp, other float64
		changed    bool
	}{
		{20, 18, false},
		{20, 18, false},
		{20, 18, false},
		{40, 2, false}, // apart: from the beginning
		{20, 18, false},
		{20, 18, false},
		{20, 8, false}, // not apart, and no agreement either
		{3, 3, false},
		{20, 18, false},
		{20, 18, true},
	} {
		if got := step(tt.tcp, tt.other); got != tt.changed || b.blind == tt.changed {
			t.Fatalf("%+v: changed %v, blind %v", tt, got, b.blind)
		}
	}
	if b.made != 1 {
		t.Errorf("%+v", b)
	}
	// Agreement in a hurry is none yet.
	for range mostOf {
		b.judge(now, 40, 2)
	}
	for range 3 * agreeing {
		now = now.Add(time.Second)
		if b.judge(now, 20, 18) {
			t.Fatal("believed within seconds")
		}
	}
}

// Agreement, or a lone comparison that finds them apart, changes nothing; comparisons are rare then, and none is made on an
// idle line.
func TestComparisonsAreRare(t *testing.T) {
	w := newSite(t, all)
	w.run(30 * time.Second)
	w.run(time.Hour)
	if w.handshakes != 60 {
		t.Errorf("%d handshakes in an idle hour", w.handshakes)
	}
	w.load(40, 0)
	w.run(time.Hour)
	if n := w.handshakes; n < 20*handshakes-6 || n > 21*handshakes+6 || w.s.Blind() {
		t.Errorf("%d handshakes in a loaded hour", n)
	}
	if icmp, _, tcp := w.heard(); tcp != 0 || icmp == 0 || w.s.Finding() != "ICMP agrees with TCP under load" {
		t.Errorf("%d samples of TCP, %q", tcp, w.s.Finding())
	}
	for range 3 { // once in a while something else slows a handshake
		w.s.check.next = 0
		w.meets.tcp = 2
		w.run(3 * time.Second)
		w.meets.tcp = 1
		w.run(20 * time.Minute)
	}
	if w.s.Blind() || len(w.notes) != 0 {
		t.Errorf("blind by what was now and then: %q", w.notes)
	}
}

// What is not ICMP's doing makes nobody blind.
func TestNotBlind(t *testing.T) {
	for _, tt := range []struct {
		name    string
		queue   float64
		set     func(w *site)
		finding string
	}{
		{"both see the queue", 60, func(*site) {}, "ICMP agrees with TCP under load"},
		{"TCP sees less", 60, func(w *site) { w.meets.tcp = 0.1 }, "ICMP agrees with TCP under load"},
		{"a queue too short to tell", 14, func(w *site) { w.meets.icmp = 0 }, "ICMP agrees with TCP under load"},
		{"a proxy answers TCP", 60, func(w *site) { w.proxied, w.meets.icmp = 2, 0 }, "not compared yet"},
		{"nobody does TCP", 60, func(w *site) { w.deaf, w.meets.icmp = []int{0, 1, 2, 3, 4}, 0 }, "no reflector answers TCP"},
	} {
		w := newSite(t, all)
		tt.set(w)
		w.run(30 * time.Second)
		w.load(tt.queue, 0)
		w.run(5 * time.Minute)
		if got := w.s.Finding(); w.s.Blind() || got != tt.finding {
			t.Errorf("%s: blind %v, %q", tt.name, w.s.Blind(), got)
		}
	}
}

// Reflectors that do no TCP are left alone for an hour, while the others do the work. When all of them are, a person is told
// once. An outage shows nothing about them.
func TestDeafToTCP(t *testing.T) {
	w := newSite(t, all)
	w.deaf = []int{1, 3}
	w.run(40 * time.Second)
	if hosts, every := w.s.TCP(); !slices.Equal(hosts, []int{0, 2, 4}) || every != keepTCP || len(w.notes) != 0 {
		t.Errorf("handshakes with %v every %v, notes %q", hosts, every, w.notes)
	}
	w.deaf = []int{0, 1, 2, 3, 4}
	w.run(30 * time.Minute)
	if hosts, every := w.s.TCP(); len(hosts) != 0 || every != 0 || len(w.notes) != 1 || !strings.Contains(w.notes[0], "No reflector in use answers TCP") {
		t.Errorf("handshakes with %v every %v, notes %q", hosts, every, w.notes)
	}
	w.deaf = nil
	w.run(90 * time.Minute)
	if hosts, _ := w.s.TCP(); len(hosts) != 5 || len(w.notes) != 0 {
		t.Errorf("an hour later handshakes with %v, notes %q", hosts, w.notes)
	}

	w = newSite(t, all)
	w.run(30 * time.Second)
	w.down = true
	w.run(30 * time.Minute)
	if hosts, _ := w.s.TCP(); len(hosts) != 5 {
		t.Errorf("after an outage there are handshakes with %v", hosts)
	}
}

// Where TCP has taken the place of ICMP and falls silent itself, ICMP is better than nothing, and the line is as blind as it was.
func TestBlindAndTCPLost(t *testing.T) {
	w := newSite(t, all)
	w.run(30 * time.Second)
	w.meets.icmp = 0
	w.load(60, 0)
	w.run(30 * time.Second)
	if !w.s.Blind() {
		t.Fatal("not blind")
	}
	w.deaf = []int{0, 1, 2, 3, 4}
	w.run(20 * time.Second)
	w.run(20 * time.Second)
	if icmp, _, tcp := w.heard(); icmp == 0 || tcp != 0 || !w.s.Blind() {
		t.Errorf("%d samples of ICMP and %d of TCP, blind %v", icmp, tcp, w.s.Blind())
	}
	if l := w.s.Level(w.now, time.Second); !l.OK || l.RTT > 30 {
		t.Errorf("level %+v", l)
	}
}

// An IRTT server that sees what TCP sees takes ICMP's place, with TCP beside it: the line is not blind. One that does not see
// it is not used.
func TestBlindWithIRTT(t *testing.T) {
	for _, sees := range []bool{true, false} {
		w := newSite(t, SensorsConfig{Reflectors: 5, IRTT: true, TCP: true})
		w.run(30 * time.Second)
		w.meets.icmp = 0
		if !sees {
			w.meets.irtt = 0
		}
		w.load(0, 60)
		w.run(time.Minute)
		notes := strings.Join(w.notes, "\n")
		w.run(10 * time.Second)
		icmp, irtt, tcp := w.heard()
		if icmp != 0 || tcp < 38 || (irtt > 0) != sees || w.s.Blind() == sees {
			t.Errorf("sees %v: %d samples of ICMP, %d of IRTT, %d of TCP, blind %v", sees, icmp, irtt, tcp, w.s.Blind())
		}
		want := []string{"the IRTT server and TCP are used in its place", ""}
		if !sees {
			want = []string{"TCP's round trips are used in its place", "IRTT is treated unlike data: under load"}
		}
		for _, x := range want {
			if !strings.Contains(notes, x) {
				t.Errorf("sees %v: notes\n%s", sees, notes)
			}
		}
		up := 0
		for _, s := range w.samples {
			if s.OneWay && s.Way.Up > 55 && s.Way.Down < 3 {
				up++
			}
		}
		if sees && up < len(w.samples)*9/10 {
			t.Errorf("%d of %d samples know where the queue is", up, len(w.samples))
		}
		if l := w.s.Level(w.now, time.Second); !l.OK || l.Delta < 55 || (l.Hosts == 6) != sees {
			t.Errorf("sees %v: level %+v", sees, l)
		}
	}
}

// One-way delays of a lone reflector are not used: nobody could confirm them. Two may, and an IRTT server's need nobody's.
func TestLoneOneWay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    SensorsConfig
		stamps []int
		want   []int // the hosts whose samples tell the ways
	}{
		{"none", SensorsConfig{Reflectors: 5}, nil, nil},
		{"one of five", SensorsConfig{Reflectors: 5}, []int{2}, nil},
		{"two of five", SensorsConfig{Reflectors: 5}, []int{2, 4}, []int{2, 4}},
		{"the only one", SensorsConfig{Reflectors: 1}, []int{0}, []int{0}},
		{"a server", SensorsConfig{Reflectors: 3, IRTT: true}, nil, []int{0, 1, 2, 3}},
		{"a server and one", SensorsConfig{Reflectors: 3, IRTT: true}, []int{1}, []int{0, 1, 2, 3}},
	} {
		for _, way := range []link.Pair[float64]{{Up: 40}, {Down: 40}} {
			w := newSite(t, tt.cfg)
			w.stamps = tt.stamps
			w.run(20 * time.Second)
			w.load(way.Down, way.Up)
			w.run(time.Second) // the replies of the idle line are in
			w.run(10 * time.Second)
			var got []int
			for _, s := range w.samples {
				if !s.OneWay {
					continue
				}
				if !slices.Contains(got, s.Host) {
					got = append(got, s.Host)
				}
				if d := float64(s.Way.Up) - way.Up; d < -2 || d > 3 {
					t.Errorf("%s, a queue of %+v: %+v", tt.name, way, s)
				}
				if d := float64(s.Way.Down) - way.Down; d < -2 || d > 3 {
					t.Errorf("%s, a queue of %+v: %+v", tt.name, way, s)
				}
			}
			if slices.Sort(got); !slices.Equal(got, tt.want) {
				t.Errorf("%s: samples of %v tell the ways, want %v", tt.name, got, tt.want)
			}
		}
	}
}

// What the server does not see cannot be shared out, and what it said long ago is not lent.
func TestLend(t *testing.T) {
	w := newSite(t, SensorsConfig{Reflectors: 3, IRTT: true})
	w.run(20 * time.Second)
	w.meets.irtt = 0
	w.load(40, 0)
	w.run(time.Second)
	w.run(5 * time.Second)
	for _, s := range w.samples {
		if s.OneWay != (s.Host == 3) {
			t.Fatalf("%+v", s)
		}
	}
	s := NewSensors(SensorsConfig{Reflectors: 1, IRTT: true})
	s.ways = split{at: began, down: 10, up: 30}
	for _, tt := range []struct {
		delta unit.Millis
		after time.Duration
		want  link.Pair[unit.Millis]
	}{
		{40, lendFor, link.Pair[unit.Millis]{Down: 10, Up: 30}},
		{20, 0, link.Pair[unit.Millis]{Down: 5, Up: 15}},
		{80, 0, link.Pair[unit.Millis]{Down: 20, Up: 60}},
		{81, 0, link.Pair[unit.Millis]{}},
		{40, lendFor + 1, link.Pair[unit.Millis]{}},
	} {
		x := link.Sample{Delta: tt.delta, Received: began.Add(tt.after)}
		if s.lend(&x); x.Way != tt.want || x.OneWay != (tt.want.Up > 0) {
			t.Errorf("%+v: %+v", tt, x)
		}
	}
	s.ways = split{at: began}
	x := link.Sample{Delta: 4, Received: began}
	if s.lend(&x); !x.OneWay || x.Way.Up != 2 || x.Way.Down != 2 {
		t.Errorf("a short delay is shared as %+v", x)
	}
}

// Hosts are numbered through; what is none of them is nobody's.
func TestSensorsNumbering(t *testing.T) {
	for _, tt := range []struct {
		cfg  SensorsConfig
		want string // of hosts -1 to 6: i is ICMP, s the server, t TCP
	}{
		{SensorsConfig{Reflectors: 2}, ".ii....."},
		{SensorsConfig{Reflectors: 2, IRTT: true}, ".iis...."},
		{SensorsConfig{Reflectors: 2, TCP: true}, ".iitt..."},
		{SensorsConfig{Reflectors: 2, IRTT: true, TCP: true}, ".iistt.."},
		{SensorsConfig{}, ".i......"},
	} {
		s := NewSensors(tt.cfg)
		got := ""
		for h := -1; h < 7; h++ {
			s.Sent(link.Probe{Host: h, Sent: began})
			of, _ := s.target(h)
			switch of {
			case nil:
				got += "."
				if _, ok := s.Reply(link.Reply{Host: h, Sent: began, Received: began + 1, RTT: 1}, 0); ok {
					t.Errorf("host %d of %+v makes a sample", h, tt.cfg)
				}
			case s.icmp:
				got += "i"
			case s.irtt:
				got += "s"
			default:
				got += "t"
			}
		}
		if got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.cfg, got, tt.want)
		}
		if n := s.Watch(began, true, 0, []int{0, 1}); n != nil || !tt.cfg.TCP && s.Finding() != "" {
			t.Errorf("%+v: notes %v, finding %q", tt.cfg, n, s.Finding())
		}
	}
	if _, ok := NewSensors(all).Reply(link.Reply{Host: 0, RTT: -1}, 0); ok {
		t.Error("an impossible reply makes a sample")
	}
}

// Whatever comes, in whatever order, handshakes are no more often than five a second, with reflectors in use alone, and nobody
// is believed blind who was never found apart.
func TestPropertySensors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := SensorsConfig{Reflectors: rapid.IntRange(1, 6).Draw(t, "reflectors"), IRTT: rapid.Bool().Draw(t, "irtt"), TCP: true}
		s := NewSensors(c)
		now := began
		honest := rapid.Bool().Draw(t, "honest")
		inUse := []int{0, c.Reflectors - 1}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "later")))
			h := rapid.IntRange(-1, 2*c.Reflectors+2).Draw(t, "host")
			s.Sent(link.Probe{Host: h, Sent: now})
			rtt := unit.Millis(20)
			if !honest {
				rtt = unit.Millis(rapid.Float64Range(-1, 20_000).Draw(t, "rtt"))
			}
			idle := unit.Time(0)
			if rapid.Bool().Draw(t, "idle") {
				idle = now.Add(-time.Minute)
			}
			if x, ok := s.Reply(link.Reply{Host: h, Sent: now, Received: now.Add(rtt.Duration()), RTT: rtt, OneWay: h%2 == 0}, idle); ok && (x.Delta < 0 || x.Host != h) {
				t.Fatalf("%+v", x)
			}
			s.Watch(now, idle == 0, idle, inUse)
			hosts, every := s.TCP()
			if (every > 0) != (len(hosts) > 0) || every > 0 && every < 200*time.Millisecond {
				t.Fatalf("handshakes with %v every %v", hosts, every)
			}
			for _, h := range hosts {
				if !slices.Contains(inUse, h) {
					t.Fatalf("handshakes with %v, in use are %v", hosts, inUse)
				}
			}
			if honest && s.Blind() {
				t.Fatal(fmt.Sprint("blind: ", s.Finding()))
			}
			s.Level(now, time.Second)
			s.Silence(now)
			s.Overdue(now)
		}
	})
}
