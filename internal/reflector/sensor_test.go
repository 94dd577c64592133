package reflector

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// line is a sensor at the end of a made-up line, whose reflectors are probed in turn. Its clock counts from one hour.
type line struct {
	sensor *Sensor
	now    unit.Time
	every  time.Duration // between two probes
	hosts  int
	turn   int
	// rtt is the round trip of a probe that leaves now, after so long; 0 is no answer.
	rtt func(h int, t time.Duration) unit.Millis
	// busy says that the line carries something.
	busy bool
	idle unit.Time
	// way, where not nil, gives the delay up of a probe, and its clock.
	way     func(h int, t time.Duration) (up unit.Millis, clock uint32)
	pending []link.Reply
	samples []link.Sample // of the newest run
}

const began = unit.Time(time.Hour)

func newLine(hosts int, rtt func(h int, t time.Duration) unit.Millis) *line {
	return &line{sensor: NewSensor(hosts), now: began, every: 50 * time.Millisecond, hosts: hosts, rtt: rtt, idle: began.Add(-time.Minute)}
}

// run lets time pass, probe by probe and reply by reply.
func (l *line) run(d time.Duration) {
	l.samples = nil
	for end := l.now.Add(d); l.now < end; {
		next := l.now.Add(l.every)
		h := l.turn % l.hosts
		l.turn++
		l.sensor.Sent(link.Probe{Host: h, Sent: l.now})
		if rtt := l.rtt(h, l.now.Sub(began)); rtt > 0 {
			r := link.Reply{Host: h, Sent: l.now, Received: l.now.Add(rtt.Duration()), RTT: rtt}
			if l.way != nil {
				up, clock := l.way(h, l.now.Sub(began))
				r.OneWay, r.Clock, r.Delay = true, clock, link.Pair[unit.Millis]{Up: up, Down: rtt - up}
			}
			l.pending = append(l.pending, r)
		}
		slices.SortStableFunc(l.pending, func(a, b link.Reply) int { return int(a.Received - b.Received) })
		for len(l.pending) > 0 && l.pending[0].Received < next {
			l.reply(l.pending[0])
			l.pending = l.pending[1:]
		}
		l.now = next
	}
}

func (l *line) reply(r link.Reply) {
	idle := l.idle
	if l.busy {
		idle = 0
	}
	if s, ok := l.sensor.Reply(r, idle); ok {
		l.samples = append(l.samples, s)
	}
}

// work says whether the line carries something from now on.
func (l *line) work(busy bool) {
	if l.busy = busy; !busy {
		l.idle = l.now
	}
}

// worst is the greatest delta of the newest run.
func (l *line) worst() (d unit.Millis) {
	for _, s := range l.samples {
		d = max(d, s.Delta)
	}
	return d
}

func (l *line) level() Level { return l.sensor.Level(l.now, 2*time.Second) }

// far is a path of that many ms, of which each reflector is one further.
func far(ms unit.Millis) func(int, time.Duration) unit.Millis {
	return func(h int, _ time.Duration) unit.Millis { return ms + unit.Millis(h) }
}

// A baseline is the least that was seen, and rises on an idle line alone, when the least of five minutes has left its
// window.
func TestBaseline(t *testing.T) {
	l := newLine(3, far(20))
	l.run(time.Second)
	if d := cmp.Diff([]unit.Millis{20, 21, 22}, l.sensor.Baselines()); d != "" {
		t.Fatal(d)
	}
	l.rtt = far(17)
	l.run(time.Second)
	if d := cmp.Diff([]unit.Millis{17, 18, 19}, l.sensor.Baselines()); d != "" {
		t.Fatal("what is less counts at once: " + d)
	}
	l.work(true)
	l.rtt = far(21)
	l.run(20 * time.Minute)
	if d := cmp.Diff([]unit.Millis{17, 18, 19}, l.sensor.Baselines()); d != "" {
		t.Fatal("it rose under load: " + d)
	}
	if l.worst() != 4 {
		t.Errorf("the delta is %v", l.worst())
	}
	l.work(false)
	l.run(2 * time.Second)
	if d := cmp.Diff([]unit.Millis{17, 18, 19}, l.sensor.Baselines()); d != "" {
		t.Fatal("it rose before the line had been calm for long enough: " + d)
	}
	l.run(5 * time.Second)
	if d := cmp.Diff([]unit.Millis{21, 22, 23}, l.sensor.Baselines()); d != "" {
		t.Fatal("nothing less was seen for five minutes, and the line is idle: " + d)
	}

	// While what was less is in the window, the baseline stays.
	l.rtt = far(24)
	l.run(4*time.Minute + 30*time.Second)
	if d := cmp.Diff([]unit.Millis{21, 22, 23}, l.sensor.Baselines()); d != "" {
		t.Fatal("it rose within five minutes: " + d)
	}
	l.run(time.Minute)
	if d := cmp.Diff([]unit.Millis{24, 25, 26}, l.sensor.Baselines()); d != "" {
		t.Fatal("it stayed beyond five minutes: " + d)
	}
}

// A path that becomes longer is relearnt on an idle line within seconds, and not while something flows; one that jumps
// about is none.
func TestPathChange(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rtt   func(h int, t time.Duration) unit.Millis
		busy  bool
		hosts int
		after time.Duration // by when it is known
		want  unit.Millis   // of the first reflector
	}{
		{"idle", far(60), false, 5, 12 * time.Second, 60},
		{"idle, one reflector", far(60), false, 1, 12 * time.Second, 60},
		{"idle, very far", far(600), false, 5, 13 * time.Second, 600},
		{"loaded", far(60), true, 5, time.Minute, 20},
		{"not a step", far(24), false, 5, time.Minute, 20},
		{"congestion further on", func(h int, t time.Duration) unit.Millis {
			return 100 + unit.Millis(h) + unit.Millis(20*math.Abs(math.Sin(t.Seconds()*3)))
		}, false, 5, time.Minute, 20},
		{"not stable", func(h int, t time.Duration) unit.Millis {
			return 40 + unit.Millis(h) + unit.Millis(30*math.Abs(math.Sin(t.Seconds()*3)))
		}, false, 5, time.Minute, 20},
	} {
		l := newLine(tt.hosts, far(20))
		l.run(30 * time.Second)
		l.work(tt.busy)
		l.idle = began
		l.rtt = tt.rtt
		l.run(tt.after)
		l.run(2 * time.Second)
		if got := l.sensor.Baselines()[0]; got != tt.want {
			t.Errorf("%s: the baseline is %v, want %v", tt.name, got, tt.want)
		}
		if tt.want != 20 && l.worst() != 0 {
			t.Errorf("%s: a delta of %v is left", tt.name, l.worst())
		}
	}
}

// One reflector's own path may change at any time: the others, whose delays are near their baselines once in a round, show
// that no queue is meant. Two rounds of four seconds must say so.
func TestLonePathChange(t *testing.T) {
	queue := func(t time.Duration) unit.Millis { // never gone for long
		return unit.Millis(30 * math.Abs(math.Sin(t.Seconds())))
	}
	for _, tt := range []struct {
		name  string
		hosts int
		more  func(h int, t time.Duration) unit.Millis
		want  []unit.Millis
	}{
		{"one of five", 5, func(h int, _ time.Duration) unit.Millis {
			if h == 2 {
				return 25
			}
			return 0
		}, []unit.Millis{20, 21, 47, 23, 24}},
		{"two of five", 5, func(h int, _ time.Duration) unit.Millis {
			if h < 2 {
				return 25
			}
			return 0
		}, []unit.Millis{45, 46, 22, 23, 24}},
		{"further than what the others answer meanwhile", 5, func(h int, _ time.Duration) unit.Millis {
			if h == 2 {
				return 400
			}
			return 0
		}, []unit.Millis{20, 21, 422, 23, 24}},
		{"most of five: a queue", 5, func(h int, _ time.Duration) unit.Millis {
			if h < 3 {
				return 25
			}
			return 0
		}, []unit.Millis{20, 21, 22, 23, 24}},
		{"one of two: who lies?", 2, func(h int, _ time.Duration) unit.Millis { return unit.Millis(h * 25) }, []unit.Millis{20, 21}},
		{"now and then", 5, func(h int, t time.Duration) unit.Millis {
			if h == 2 && int(t.Seconds())%8 < 5 {
				return 25
			}
			return 0
		}, []unit.Millis{20, 21, 22, 23, 24}},
		{"a little", 5, func(h int, _ time.Duration) unit.Millis {
			if h == 2 {
				return 3
			}
			return 0
		}, []unit.Millis{20, 21, 22, 23, 24}},
	} {
		l := newLine(tt.hosts, far(20))
		l.run(10 * time.Second)
		l.work(true)
		l.rtt = func(h int, t time.Duration) unit.Millis { return far(20)(h, t) + queue(t) + tt.more(h, t) }
		l.run(7 * time.Second)
		if got := l.sensor.Baselines()[2%tt.hosts]; got > 24 {
			t.Errorf("%s: one round was enough", tt.name)
		}
		l.run(8 * time.Second)
		l.run(10 * time.Second)
		if d := cmp.Diff(tt.want, l.sensor.Baselines(), about(1)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// about compares milliseconds.
func about(by unit.Millis) cmp.Option {
	return cmp.Comparer(func(a, b unit.Millis) bool { return max(a-b, b-a) <= by })
}

// Noise is the root mean square of the deltas of an idle line, told once there are enough of them. What stands out adds
// little, and no line is as noisy as to be blind.
func TestNoise(t *testing.T) {
	chance := rand.New(rand.NewPCG(7, 0))
	spread := func(ms float64) func(h int, t time.Duration) unit.Millis {
		return func(h int, _ time.Duration) unit.Millis {
			return 20 + unit.Millis(h) + unit.Millis(ms*chance.Float64())
		}
	}
	for _, tt := range []struct {
		name string
		rtt  func(h int, t time.Duration) unit.Millis
		lo   unit.Millis
		hi   unit.Millis
	}{
		{"none", far(20), 0, 0},
		{"up to 3 ms", spread(3), 1.3, 2.2}, // √(3²/3)
		{"up to 30 ms", spread(30), 13, 20},
		{"up to 300 ms", spread(300), 18, 20},
		{"1 of 50 stands out", func(h int, t time.Duration) unit.Millis {
			if t.Milliseconds()%2500 == 0 {
				return 900
			}
			return far(20)(h, t)
		}, 0, 3.5},
	} {
		l := newLine(5, tt.rtt)
		l.run(2*time.Second - l.every)
		for _, s := range l.samples[:20] {
			if s.Noise != 0 {
				t.Errorf("%s: known after %v", tt.name, s.Received.Sub(began))
			}
		}
		l.run(2 * time.Minute)
		for _, s := range l.samples[len(l.samples)-200:] {
			if s.Noise < tt.lo || s.Noise > tt.hi {
				t.Errorf("%s: %v, want %v to %v", tt.name, s.Noise, tt.lo, tt.hi)
				break
			}
		}
	}

	l := newLine(5, spread(1))
	l.run(time.Minute)
	l.rtt = func(h int, _ time.Duration) unit.Millis { return 120 + unit.Millis(h) + unit.Millis(chance.Float64()) }
	l.run(15 * time.Second)
	if n := l.samples[len(l.samples)-1].Noise; n > 2 {
		t.Errorf("a longer path is no noise: %v", n)
	}

	l = newLine(5, far(20))
	l.run(10 * time.Second)
	l.work(true)
	l.rtt = far(120)
	l.run(time.Minute)
	if n := l.samples[len(l.samples)-1].Noise; n != 0 {
		t.Errorf("a queue is no noise: %v", n)
	}
}

// A reflector much further away than the others is heard, and one in front of the queue does not make the others old.
func TestOvertaken(t *testing.T) {
	l := newLine(5, func(h int, t time.Duration) unit.Millis {
		if h == 4 {
			return 420
		}
		return far(20)(h, t)
	})
	l.run(5 * time.Second)
	if got := l.level(); got.Hosts != 5 || got.Delta != 0 {
		t.Errorf("with a far one: %+v", got)
	}

	l = newLine(5, func(h int, _ time.Duration) unit.Millis {
		if h < 2 {
			return 1 // the modem, and the provider's first router
		}
		return 20
	})
	l.run(5 * time.Second)
	l.work(true)
	l.rtt = func(h int, _ time.Duration) unit.Millis {
		if h < 2 {
			return 1
		}
		return 620
	}
	l.run(5 * time.Second)
	if got := l.level(); got.Hosts != 5 || got.Delta != 600 {
		t.Errorf("with two in front of the queue: %+v", got)
	}
}

// Replies that come out of order: those to probes that left well before most others were answered tell of the past.
func TestOutOfOrder(t *testing.T) {
	s := NewSensor(3)
	at := func(h int, sent, received int64) link.Reply {
		return link.Reply{Host: h, Sent: ms(sent), Received: ms(received), RTT: unit.Millis(received - sent)}
	}
	idle := ms(1)
	for h := range 3 {
		if _, ok := s.Reply(at(h, 10_000, 10_020), idle); !ok {
			t.Fatal("a first reply makes no sample")
		}
	}
	for _, c := range []struct {
		r    link.Reply
		want bool
	}{
		{at(0, 10_400, 10_420), true},
		{at(1, 10_200, 10_421), true}, // one of three has answered a later one
		{at(2, 10_450, 10_470), true},
		{at(1, 10_250, 10_471), false}, // two of three
		{at(1, 10_331, 10_472), true},  // not long before
		{at(0, 10_100, 10_473), false}, // its own, too
		{at(1, 10_500, 10_520), true},
	} {
		if _, ok := s.Reply(c.r, idle); ok != c.want {
			t.Errorf("%v to %v of %d: %t", c.r.Sent, c.r.Received, c.r.Host, ok)
		}
	}
}

// What is impossible makes no sample.
func TestSensorDiscards(t *testing.T) {
	s := NewSensor(2)
	good := link.Reply{Sent: ms(1000), Received: ms(1020), RTT: 20}
	for i, change := range []func(*link.Reply){
		func(r *link.Reply) { r.RTT = unit.Millis(math.NaN()) },
		func(r *link.Reply) { r.RTT = 0 },
		func(r *link.Reply) { r.RTT = -3 },
		func(r *link.Reply) { r.RTT = MaxRTT + 1 },
		func(r *link.Reply) { r.Host = -1 },
		func(r *link.Reply) { r.Host = 2 },
		func(r *link.Reply) { r.Received = r.Sent - 1 },
	} {
		r := good
		change(&r)
		if _, ok := s.Reply(r, ms(1)); ok {
			t.Errorf("%d: %+v was taken", i, r)
		}
	}
	if l := s.Level(ms(1030), time.Second); l != (Level{}) {
		t.Errorf("%+v", l)
	}
	if _, ok := s.Reply(good, ms(1)); !ok {
		t.Error("a good one was discarded")
	}
}

// Silence: the oldest probe that is late beyond its reflector's baseline, and how many are.
func TestSilence(t *testing.T) {
	l := newLine(5, far(20))
	l.run(10 * time.Second)
	if q := l.sensor.Silence(l.now); q != (link.Silence{}) {
		t.Errorf("all is answered: %+v", q)
	}
	stop := l.now
	l.rtt = func(int, time.Duration) unit.Millis { return 0 }
	l.run(50 * time.Millisecond)
	first := link.Probe{Sent: stop, Host: (l.turn - 1) % 5}
	base := 20 + unit.Millis(first.Host)
	if q := l.sensor.Silence(stop.Add((base + 4).Duration())); q != (link.Silence{}) {
		t.Errorf("hardly late: %+v", q)
	}
	want := link.Silence{Sent: stop, Over: 6, Hosts: 1}
	if d := cmp.Diff(want, l.sensor.Silence(stop.Add((base + 6).Duration())), about(1e-6)); d != "" {
		t.Error(d)
	}
	l.run(250 * time.Millisecond)
	if q := l.sensor.Silence(l.now); q.Sent != stop || q.Hosts != 6 || math.Abs(float64(q.Over-300+base)) > 1e-6 {
		t.Errorf("nobody answers: %+v", q)
	}

	// A reply to what left later ends the silence of all that left before it: they are lost.
	h := l.turn % 5
	l.sensor.Sent(link.Probe{Host: h, Sent: l.now})
	l.reply(link.Reply{Host: h, Sent: l.now, Received: l.now.Add(20 * time.Millisecond), RTT: 20})
	if q := l.sensor.Silence(l.now.Add(time.Second)); q != (link.Silence{}) {
		t.Errorf("after an answer: %+v", q)
	}
	// One to a probe that is not remembered ends nothing.
	l.sensor.Sent(link.Probe{Host: h, Sent: l.now.Add(time.Millisecond)})
	l.reply(link.Reply{Host: h, Sent: l.now.Add(-time.Hour), Received: l.now, RTT: 20})
	if q := l.sensor.Silence(l.now.Add(time.Second)); q.Hosts != 1 {
		t.Errorf("after a strange answer: %+v", q)
	}
	l.sensor.Sent(link.Probe{Host: 5, Sent: l.now})
	l.sensor.Sent(link.Probe{Host: -1, Sent: l.now})
	if q := l.sensor.Silence(l.now.Add(time.Second)); q.Hosts != 1 {
		t.Errorf("probes to nobody are late: %+v", q)
	}
}

// Nothing is known of how long a reflector takes that never answered, and one that leaves its probes unanswered while
// others answer says nothing by it, until it answers again.
func TestDeafReflector(t *testing.T) {
	var dead bool
	l := newLine(5, func(h int, t time.Duration) unit.Millis {
		if h == 3 && dead {
			return 0
		}
		return far(20)(h, t)
	})
	// late is whether the reflector's newest probe counts when the others' are answered: it is the fourth of five.
	late := func() bool {
		for l.turn%5 != 4 {
			l.run(l.every)
		}
		return l.sensor.Silence(l.now).Hosts > 0
	}
	dead = true
	for range 4 {
		l.run(l.every)
	}
	if late() {
		t.Error("one that never answered is late")
	}
	dead = false
	l.run(time.Second)
	dead = true
	for i, want := range []bool{true, true, false, false} {
		l.run(l.every)
		if got := late(); got != want {
			t.Errorf("silent for the %d. time: late is %t", i+1, got)
		}
	}
	dead = false
	l.run(time.Second)
	dead = true
	l.run(l.every)
	if !late() {
		t.Error("it has answered again and is taken for deaf")
	}
}

// When nobody answers it is the line: no reflector is taken for deaf, however long.
func TestSilentLine(t *testing.T) {
	l := newLine(5, far(20))
	l.run(5 * time.Second)
	l.rtt = func(int, time.Duration) unit.Millis { return 0 }
	l.run(time.Minute)
	q := l.sensor.Silence(l.now)
	if q.Hosts < openProbes-5 || q.Over < 3000 {
		t.Errorf("after a minute without an answer: %+v", q)
	}
}

// A probe to a far reflector, which nobody can expect back yet, does not hide that those sent after it are late.
func TestFarReflectorHidesNoSilence(t *testing.T) {
	l, sent := newLine(2, nil), began
	for h, rtt := range []unit.Millis{200, 10} {
		l.reply(link.Reply{Host: h, Sent: sent, Received: sent.Add(rtt.Duration()), RTT: rtt})
		l.sensor.Sent(link.Probe{Host: h, Sent: sent.Add(time.Second)})
	}
	q := l.sensor.Silence(sent.Add(time.Second + 50*time.Millisecond))
	if d := cmp.Diff(link.Silence{Sent: sent.Add(time.Second), Over: 40, Hosts: 1}, q, about(1e-6)); d != "" {
		t.Error(d)
	}
}

// What is overdue is late beyond what its reflector's newest answer took: a path that became longer is not held up.
func TestOverdue(t *testing.T) {
	l := newLine(5, far(20))
	l.run(10 * time.Second)
	if n := l.sensor.Overdue(l.now.Add(20 * time.Millisecond)); n != 0 {
		t.Errorf("all is answered and %d are overdue", n)
	}
	l.rtt = far(320)
	l.run(150 * time.Millisecond)
	if n := l.sensor.Overdue(l.now); n != 2 {
		t.Errorf("%d of three are 30 ms late", n)
	}
	l.run(2 * time.Second)
	for range 50 {
		l.run(l.every)
		if n := l.sensor.Overdue(l.now); n != 0 {
			t.Fatalf("%d are overdue on a path that has become longer", n)
		}
	}
	// Nor does their silence say anything, until it lasts longer than the newest answer took.
	if n := l.sensor.Silence(l.now).Hosts; n != 0 {
		t.Errorf("%d are late by being as far as they are", n)
	}
	l.rtt = far(900)
	l.run(500 * time.Millisecond)
	if q := l.sensor.Silence(l.now); q.Hosts < 3 || q.Over < 300 {
		t.Errorf("%d are late, by %v", q.Hosts, q.Over)
	}
}

// One-way delays are over baselines of their own, by a clock that is off by any amount: what queues one way shows there
// and not on the other. A clock that was set says nothing about what it said before, and one that steps unnoticed makes no
// way longer than the whole.
func TestOneWay(t *testing.T) {
	clock, off := uint32(1), unit.Millis(5000)
	var queue link.Pair[unit.Millis]
	l := newLine(5, func(h int, _ time.Duration) unit.Millis { return 20 + unit.Millis(h) + queue.Down + queue.Up })
	l.way = func(int, time.Duration) (unit.Millis, uint32) { return 8 + off + queue.Up, clock }
	most := func(what string, want link.Pair[unit.Millis]) {
		t.Helper()
		l.run(2 * time.Second)
		var got link.Pair[unit.Millis]
		for _, s := range l.samples[20:] {
			if !s.OneWay {
				t.Fatalf("%s: no one-way delays", what)
			}
			got.Down, got.Up = max(got.Down, s.Way.Down), max(got.Up, s.Way.Up)
		}
		if d := cmp.Diff(want, got, about(1e-6)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	most("nothing queues", link.Pair[unit.Millis]{})
	l.work(true)
	queue = link.Pair[unit.Millis]{Up: 40}
	most("up", queue)
	queue = link.Pair[unit.Millis]{Down: 70}
	most("down", queue)
	queue = link.Pair[unit.Millis]{}
	off += 300
	most("stepped unnoticed", link.Pair[unit.Millis]{Up: clockGrain})
	off, clock = -900, 2
	most("set", link.Pair[unit.Millis]{})
	queue = link.Pair[unit.Millis]{Up: 25}
	most("set, and up", queue)

	// The clocks drift apart: on an idle line the baselines follow within a minute.
	queue = link.Pair[unit.Millis]{}
	l.work(false)
	from := l.now
	l.way = func(_ int, t time.Duration) (unit.Millis, uint32) {
		return 8 - 900 + unit.Millis(t-from.Sub(began))/unit.Millis(10*time.Second), clock
	}
	l.run(10 * time.Minute)
	for _, s := range l.samples {
		if s.Way.Up > clockGrain || s.Way.Down > clockGrain {
			t.Fatalf("drift is taken for a queue: %+v", s)
		}
	}
	at := l.sensor.hosts[0].way[link.Up].value
	if now := -892 + l.now.Sub(from).Seconds()/10; at < now-7.5 || at > now {
		t.Errorf("the baseline is %v and the delay %v", at, now)
	}

	l.way = nil
	l.run(time.Second)
	if s := l.samples[len(l.samples)-1]; s.OneWay || s.Way != (link.Pair[unit.Millis]{}) {
		t.Errorf("without one-way delays: %+v", s)
	}
}

// A reply that is too old is no part of the level, and the level is as old as its newest reply.
func TestLevelAge(t *testing.T) {
	s := NewSensor(3)
	for h, at := range []int64{1000, 2000, 3000} {
		s.Reply(link.Reply{Host: h, Sent: ms(at), Received: ms(at + 20), RTT: unit.Millis(20 * (h + 1))}, ms(1))
	}
	for _, c := range []struct {
		now  int64
		want Level
	}{
		{3020, Level{OK: true, RTT: 40, Baseline: 40, At: ms(3020), Hosts: 3}},
		{3021, Level{OK: true, RTT: 50, Baseline: 50, At: ms(3020), Hosts: 2}},
		{5020, Level{OK: true, RTT: 60, Baseline: 60, At: ms(3020), Hosts: 1}},
		{5021, Level{}},
	} {
		if d := cmp.Diff(c.want, s.Level(ms(c.now), 2*time.Second)); d != "" {
			t.Errorf("at %d ms (-want +got):\n%s", c.now, d)
		}
	}
}

// One or two liars of five, wherever they are and whatever they say and lose, never move the level out of what the honest
// ones measured: neither its round trip nor its baseline nor its delta.
func TestPropertyLiarsOfFive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		liars := rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 1, 2, rapid.ID).Draw(t, "liars")
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		most := rapid.SampledFrom([]float64{0.01, 30, 300, 9000}).Draw(t, "lie")
		loss := rapid.SampledFrom([]float64{0, 0.1, 0.7}).Draw(t, "loss")
		queue := unit.Millis(rapid.SampledFrom([]float64{0, 5, 80, 700}).Draw(t, "queue"))
		fly := rapid.Bool().Draw(t, "jumpy")
		fixed := unit.Millis(most * chance.Float64())
		l := newLine(5, func(h int, at time.Duration) unit.Millis {
			switch {
			case !slices.Contains(liars, h):
				if at < 3*time.Second {
					return 20 + unit.Millis(h)
				}
				return 20 + unit.Millis(h) + queue*unit.Millis(0.5+0.5*math.Sin(at.Seconds()))
			case chance.Float64() < loss:
				return 0
			case fly:
				return unit.Millis(0.01 + most*chance.Float64())
			}
			return 0.01 + fixed
		})
		l.run(3 * time.Second)
		l.work(rapid.Bool().Draw(t, "busy"))
		for range 40 {
			l.run(500 * time.Millisecond)
			honest := 0
			lo := Level{RTT: 1e9, Baseline: 1e9, Delta: 1e9}
			hi := Level{RTT: -1e9, Baseline: -1e9, Delta: -1e9}
			for i := range l.sensor.hosts {
				h := &l.sensor.hosts[i]
				if slices.Contains(liars, i) || l.now.Sub(h.heard) > 2*time.Second {
					continue
				}
				honest++
				b := unit.Millis(h.base.value)
				lo.RTT, lo.Baseline, lo.Delta = min(lo.RTT, h.rtt), min(lo.Baseline, b), min(lo.Delta, h.delta)
				hi.RTT, hi.Baseline, hi.Delta = max(hi.RTT, h.rtt), max(hi.Baseline, b), max(hi.Delta, h.delta)
			}
			if honest < 3 {
				t.Fatalf("only %d honest ones are heard: the liars silence them", honest)
			}
			g := l.level()
			if g.RTT < lo.RTT || g.RTT > hi.RTT || g.Baseline < lo.Baseline || g.Baseline > hi.Baseline || g.Delta < lo.Delta || g.Delta > hi.Delta {
				t.Fatalf("%+v lies outside %+v to %+v of the honest ones", g, lo, hi)
			}
		}
	})
}

// Under load no baseline ever rises while all reflectors see the same, whatever queues, however long.
func TestPropertyLoadRaisesNoBaseline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		hosts := rapid.IntRange(1, 6).Draw(t, "hosts")
		loss := rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(t, "loss")
		noise := rapid.Float64Range(0, 3).Draw(t, "noise")
		var queue float64
		l := newLine(hosts, func(h int, _ time.Duration) unit.Millis {
			if chance.Float64() < loss {
				return 0
			}
			return unit.Millis(20 + float64(h) + queue + noise*chance.Float64())
		})
		l.run(10 * time.Second)
		before := l.sensor.Baselines()
		l.work(true)
		for range rapid.IntRange(1, 8).Draw(t, "parts") {
			queue = rapid.Float64Range(0, 900).Draw(t, "queue")
			l.run(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second / 4)
			now := l.sensor.Baselines()
			for h := range now {
				if before[h] != 0 && now[h] > before[h] {
					t.Fatalf("the baseline of %d rose from %v to %v", h, before[h], now[h])
				}
			}
			before = now
		}
	})
}

// On an idle line any path that becomes stable is known after a while: no delta is left for ever.
func TestPropertyIdleForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, 6).Draw(t, "hosts")
		var more []unit.Millis
		l := newLine(hosts, func(h int, _ time.Duration) unit.Millis { return 20 + more[h] })
		l.every = time.Duration(rapid.SampledFrom([]int{50, 500}).Draw(t, "pace")) * time.Millisecond
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			more = rapid.SliceOfN(rapid.Map(rapid.Float64Range(0, 700), func(ms float64) unit.Millis { return unit.Millis(ms) }), hosts, hosts).Draw(t, "more")
			if rapid.Bool().Draw(t, "busy") {
				l.work(true)
				l.run(time.Duration(rapid.IntRange(0, 30).Draw(t, "load")) * time.Second)
				l.work(false)
			}
			l.run(time.Duration(rapid.IntRange(0, 30).Draw(t, "idle")) * time.Second)
		}
		l.run(6 * time.Minute)
		l.run(10 * time.Second)
		for _, s := range l.samples {
			if s.Delta > 0.001 {
				t.Fatalf("a delta of %v is left of %v", s.Delta, more)
			}
		}
	})
}

// Whatever comes: deltas are never negative nor more than the round trip, no way is longer than the whole by more than a
// tick of a clock, noise stays within its bound, and silence is not told of what was answered.
func TestPropertySamplesAreSane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSensor(rapid.IntRange(1, 5).Draw(t, "hosts"))
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		now, idle := began, unit.Time(0)
		var open []link.Probe
		for range rapid.IntRange(50, 2000).Draw(t, "steps") {
			now = now.Add(time.Duration(1+chance.IntN(100)) * time.Millisecond)
			switch chance.IntN(5) {
			case 0:
				if idle = 0; chance.IntN(2) == 0 {
					idle = now.Add(-time.Duration(chance.IntN(10)) * time.Second)
				}
			case 1, 2:
				p := link.Probe{Host: chance.IntN(len(s.hosts)), Sent: now}
				s.Sent(p)
				open = append(open, p)
			default:
				if len(open) == 0 {
					continue
				}
				i := chance.IntN(len(open))
				p := open[i]
				open = slices.Delete(open, i, i+1)
				r := link.Reply{Host: p.Host, Sent: p.Sent, Received: now, RTT: unit.ToMillis(now.Sub(p.Sent))}
				if chance.IntN(2) == 0 {
					r.OneWay, r.Clock = true, uint32(chance.IntN(2))
					r.Delay.Up = unit.Millis(chance.NormFloat64() * 1000)
					r.Delay.Down = unit.Millis(chance.NormFloat64() * 1000)
				}
				if a, ok := s.Reply(r, idle); ok {
					if a.Delta < 0 || a.Delta > r.RTT || a.Way.Down > a.Delta+clockGrain || a.Way.Up > a.Delta+clockGrain ||
						a.Noise < 0 || a.Noise > mostNoise || a.Host != r.Host || a.Sent != r.Sent || a.Received != r.Received {
						t.Fatalf("%+v made %+v", r, a)
					}
				}
			}
			q := s.Silence(now)
			if q.Hosts > 0 && !slices.ContainsFunc(open, func(p link.Probe) bool { return p.Sent == q.Sent }) {
				t.Fatalf("%+v, and that probe is answered", q)
			}
			if q.Hosts < 0 || q.Hosts > openProbes || q.Over < 0 || q.Hosts == 0 && q != (link.Silence{}) {
				t.Fatalf("%+v", q)
			}
		}
	})
}

func TestSensorNoAllocations(t *testing.T) {
	s := NewSensor(5)
	now, h := began, 0
	if n := testing.AllocsPerRun(5000, func() {
		now = now.Add(50 * time.Millisecond)
		h = (h + 1) % 5
		s.Sent(link.Probe{Host: h, Sent: now})
		s.Reply(link.Reply{Host: h, Sent: now, Received: now.Add(time.Millisecond), RTT: 1, OneWay: true, Clock: 1}, began)
		s.Silence(now)
		s.Overdue(now)
		s.Level(now, time.Second)
	}); n != 0 {
		t.Errorf("%v allocations per reply", n)
	}
}

// A near reflector's answer may be heard of before the probe is: the probe is not under way for that.
func TestAnswerBeforeItsProbe(t *testing.T) {
	l := newLine(3, far(20))
	l.run(2 * time.Second)
	for range 20 {
		for h := range 3 {
			r := link.Reply{Host: h, Sent: l.now, Received: l.now.Add(time.Millisecond), RTT: 1}
			l.sensor.Reply(r, l.idle)
			l.sensor.Sent(link.Probe{Host: h, Sent: l.now})
			l.now = l.now.Add(50 * time.Millisecond)
		}
		if q, n := l.sensor.Silence(l.now), l.sensor.Overdue(l.now); q.Hosts != 0 || n != 0 {
			t.Fatalf("all is answered, and %d probes are overdue, silence %+v", n, q)
		}
	}
}

// A controller that has sent as many probes as 32 bits count goes on.
func TestSensorAfterTwoYears(t *testing.T) {
	var s Sensor
	if unsafe.Sizeof(s.sent) != 8 || unsafe.Sizeof(s.first) != 8 {
		t.Fatal("the count of probes is not of 64 bits on every machine")
	}
	l := newLine(2, func(int, time.Duration) unit.Millis { return 20 })
	l.sensor.first, l.sensor.sent = math.MaxInt32-10, math.MaxInt32-10
	l.run(10 * time.Second)
	if got := l.sensor.Level(l.now, time.Second); !got.OK || got.Hosts != 2 {
		t.Errorf("%+v", got)
	}
}
