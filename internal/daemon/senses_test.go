package daemon

import (
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/unit"
)

const irttServer = "  irtt: {server: stamps.example, hmac_key: \"${KEY}\"}\n"

// A queue of the upload, whoever can tell that it is the upload's: an IRTT server beside reflectors that tell round trips
// alone, and two reflectors. Where a lone reflector can, it is not believed, and the queue is drained all the same.
func TestQueueIsFound(t *testing.T) {
	const queue = 25
	for _, tt := range []struct {
		name  string
		hosts string
		knows func(h int) bool
		spare bool // the download
	}{
		{"an IRTT server", fiveHosts + irttServer, func(h int) bool { return h == 5 }, true},
		{"two reflectors", fiveHosts, func(h int) bool { return h == 1 || h == 3 }, true},
		{"one reflector", fiveHosts, func(h int) bool { return h == 1 }, false},
		{"nobody", fiveHosts, func(int) bool { return false }, false},
	} {
		p := newProbed(t, tt.hosts)
		base, q := p.RTT, unit.Millis(0)
		p.RTT = func(h int) unit.Millis { return base(h) + q }
		p.Way = func(h int, rtt unit.Millis) (unit.Millis, bool) { return (rtt-q)/2 + q, tt.knows(h) }
		p.run(20 * time.Second)
		p.Carried = link.Rates{Down: 60 * unit.Mbps, Up: 15 * unit.Mbps}
		p.run(5 * time.Second)
		if w := p.wan.wanted(); w.Up != 20*unit.Mbps {
			t.Fatalf("%s: %+v without a queue", tt.name, w)
		}
		for q < queue { // slowly, so that no probe is much later than those before it
			q++
			p.run(100 * time.Millisecond)
		}
		w := p.wan.wanted()
		if w.Up >= 15*unit.Mbps && (tt.spare || w.Down >= 60*unit.Mbps) {
			t.Errorf("%s: %+v with a queue of %d ms", tt.name, w, queue)
		}
		if tt.spare && w.Down != 100*unit.Mbps {
			t.Errorf("%s: %+v, and the queue is the upload's", tt.name, w)
		}
		if s := p.wan.tracking(p.now); s.OneWay != tt.spare {
			t.Errorf("%s: one-way delays %v", tt.name, s.OneWay)
		}
	}
}

// A line that lets ICMP by: the handshakes show it, and the queue is drained by them.
func TestBlindLine(t *testing.T) {
	p := newProbed(t, fiveHosts)
	queue := unit.Millis(0)
	p.TCP = func(h int) unit.Millis { return 22 + unit.Millis(h) + queue }
	p.run(30 * time.Second)
	p.Carried = link.Rates{Down: 60 * unit.Mbps, Up: unit.Mbps}
	queue = 120
	p.run(4 * time.Second)
	if s := p.wan.tracking(p.now); s.Blind || s.TCPCheck == "" || p.wan.wanted().Down != 100*unit.Mbps {
		t.Fatalf("%+v, %+v", s, p.wan.wanted())
	}
	p.run(26 * time.Second)
	s := p.wan.tracking(p.now)
	if !s.Blind || !strings.Contains(s.TCPCheck, "ICMP is treated unlike data") || p.noted("blind") != 1 {
		t.Errorf("%+v, noted %d times", s, p.noted("blind"))
	}
	p.run(5 * time.Second)
	if w := p.wan.wanted(); w.Down >= 60*unit.Mbps {
		t.Errorf("%+v with a queue of %v that ICMP does not see", w, queue)
	}
	if d := p.wan.Decision(); !d.Measured || d.Delta < 100 {
		t.Errorf("a delta of %v", d.Delta)
	}
	if d := p.wan.Detail(p.now); strings.Contains(d, "host 5") || strings.Count(d, "replies") != 5 {
		t.Errorf("%s", d)
	}

	// Other probes are judged anew.
	p.wan.SetProber(p)
	if s := p.wan.tracking(p.now); s.Blind {
		t.Error("new probes are blind")
	}
}

// Without the check there are no handshakes, and steps has none in any case.
func TestNoTCPCheck(t *testing.T) {
	p := newProbed(t, fiveHosts+"  tcp_check: false\n")
	p.run(30 * time.Second)
	p.Carried = link.Rates{Down: 60 * unit.Mbps}
	p.run(time.Minute)
	if s := p.wan.tracking(p.now); p.shakes != 0 || s.TCPCheck != "" {
		t.Errorf("%d handshakes, %+v", p.shakes, s)
	}
}

// An IRTT server shares the pace, is always in use, and its silence is nobody else's.
func TestPaceWithIRTT(t *testing.T) {
	p := newProbed(t, fiveHosts+irttServer)
	p.rests()
	if !p.wan.probes(5) || p.wan.probes(6) {
		t.Error("the server is not in use")
	}
	if l := p.wan.track.level(p.now, p.wan.win.MaxAge()); l.Hosts != 6 {
		t.Errorf("%d hosts count", l.Hosts)
	}
	honest := p.RTT
	p.RTT = func(h int) unit.Millis {
		if h == 5 {
			return 0
		}
		return honest(h)
	}
	p.run(time.Minute)
	if n := p.run(10 * time.Minute); n > 1205 || p.silent > 0 || p.worst > 1 || p.noted("no_reply") > 0 {
		t.Errorf("%d probes in 10 min of an idle line with a dead server, %d cycles without a measurement, a delta of %v", n, p.silent, p.worst)
	}
}

// The options say how a line is probed; a key of another place is a change, its value is not looked at.
func TestProbeOptionsOfIRTT(t *testing.T) {
	parse := func(more string) *config.WAN {
		t.Helper()
		f, ds := config.Parse("line.yaml", strings.NewReader(`wan_name: line
router: {transport: linux}
interfaces: {download: ifb0, upload: eth0}
continuous_monitoring:
  policy: tracking
`+fiveHosts+more), config.Options{Env: func(string) (string, bool) { return "s3cret", true }})
		if err := ds.Err(); err != nil {
			t.Fatal(err)
		}
		return f.WAN
	}
	c := parse(irttServer + "  tcp_check_port: 853\n")
	o := probeOptions(c, HostClock{}, nil)
	if key, err := o.IRTT.Key(); o.IRTT.Host != "stamps.example" || o.IRTT.Port != 2112 || key != "s3cret" || err != nil || o.TCPPort != 853 || len(o.Targets) != 5 {
		t.Errorf("%+v, %v", o, err)
	}
	if w := WANOptionsOf(c, true); !w.IRTT || !w.TCPCheck || w.Reflector.Hosts != 6 || len(w.Candidates) != 5 || w.Tracking.Hosts != 6 {
		t.Errorf("%+v", w)
	}
	for _, tt := range []struct {
		more string
		want bool
	}{
		{irttServer + "  tcp_check_port: 853\n", false},
		{irttServer, true},
		{"  irtt: {server: \"stamps.example:1\", hmac_key: \"${KEY}\"}\n  tcp_check_port: 853\n", true},
		{"  tcp_check_port: 853\n", true},
	} {
		if got := probesDiffer(o, probeOptions(parse(tt.more), HostClock{}, nil)); got != tt.want {
			t.Errorf("%q: differs %v", tt.more, got)
		}
	}
	var none probe.IRTT
	if o := probeOptions(parse(""), HostClock{}, nil); o.IRTT.Host != none.Host || o.IRTT.Key != nil {
		t.Errorf("%+v", o.IRTT)
	}
}

// A line whose limit is far above what it can carry is no idle one because it carries a small share of the limit.
func TestPeak(t *testing.T) {
	var p peak
	now := unit.Time(time.Hour)
	carry := func(after time.Duration, down, up unit.Rate) link.Pair[float64] {
		now = now.Add(after)
		return p.raise(now, link.Pair[float64]{Down: 0.02, Up: 0.3}, link.Load{Known: true, Rates: link.Rates{Down: down, Up: up}}, link.Rates{})
	}
	for i, tt := range []struct {
		after    time.Duration
		down, up unit.Rate
		want     link.Pair[float64]
	}{
		{0, unit.Mbps, 0, link.Pair[float64]{Down: 0.02, Up: 0.3}}, // too little to tell
		{time.Second, 20 * unit.Mbps, 2 * unit.Mbps, link.Pair[float64]{Down: 1, Up: 1}},
		{0, 5 * unit.Mbps, 2 * unit.Mbps, link.Pair[float64]{Down: 0.25, Up: 1}},
		{0, unit.Mbps, 0, link.Pair[float64]{Down: 0.02, Up: 0.3}},
		{peakFor / 2, 5 * unit.Mbps, 0, link.Pair[float64]{Down: 0.5, Up: 0.3}}, // half of the peak is forgotten
		{2 * peakFor, 5 * unit.Mbps, 0, link.Pair[float64]{Down: 1, Up: 0.3}},
	} {
		if got := carry(tt.after, tt.down, tt.up); got != tt.want {
			t.Errorf("%d: %+v, want %+v", i, got, tt.want)
		}
	}
	at20 := link.Load{Known: true, Rates: link.Rates{Down: 20 * unit.Mbps, Up: 20 * unit.Mbps}}
	if got := p.raise(now, link.Pair[float64]{}, at20, link.Rates{Down: 900 * unit.Mbps}); got != (link.Pair[float64]{Up: 1}) {
		t.Errorf("a camera is not all that a line of a known capacity carries: %+v", got)
	}
	if got := p.raise(now, link.Pair[float64]{}, link.Load{}, link.Rates{}); got != (link.Pair[float64]{}) {
		t.Errorf("nothing is known and %+v is used", got)
	}
}
