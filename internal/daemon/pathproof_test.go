package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wanctl/internal/health"
	"wanctl/internal/lab/rosim"
)

// What the router says of the probes' way is said once, and a wrong way makes the line unwell.
func TestPathOfProbes(t *testing.T) {
	t.Parallel()
	const source = "192.168.88.5"
	for name, tt := range map[string]struct {
		dialect rosim.Tracking
		through string
		config  string
		says    string
		wrong   bool
	}{
		"through its WAN":  {rosim.TrackingOn, "ether2", "", "sends the probes of 192.168.88.5 out through ether2", false},
		"named":            {rosim.TrackingOn, "ether2", "interfaces: {wan: ether2}", "out through ether2, as", false},
		"through another":  {rosim.TrackingOn, "ether1", "", "reaches 192.0.2.1 through ether1 (as 198.51.100.2), so another line is measured", true},
		"not translated":   {rosim.TrackingOn, "", "", "192.0.2.1 left as 192.168.88.5, which tells no interface", false},
		"not shown":        {rosim.TrackingOff, "ether2", "", "has no echo to 192.0.2.1", false},
		"no such menu":     {rosim.TrackingAbsent, "ether2", "", "is not proved: read connection tracking", false},
		"not permitted":    {rosim.TrackingDenied, "ether2", "", "permission denied", false},
		"another's source": {rosim.TrackingOn, "ether2", "ping_interface: lo", "is not proved: look for this host's", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := rosim.DefaultOptions()
			o.Tracking = tt.dialect
			w := newWorld(t, o)
			if strings.HasPrefix(tt.config, "ping_interface") {
				w.set("wan_name: ATT", "wan_name: ATT\n"+tt.config)
			} else {
				w.set("wan_name: ATT", "wan_name: ATT\nping_source_ip: "+source+"\n"+tt.config)
			}
			if err := w.router.Track(source, "192.0.2.1", tt.through); err != nil {
				t.Fatal(err)
			}
			a := w.autorate()
			a.way.Retry = 10 * time.Millisecond
			run := start(t, a)
			w.pings.until(t, tt.says+"; log:\n"+w.log.String(), func() bool { return w.log.has(tt.says) })
			w.measures(20)
			if n := strings.Count(w.log.String(), tt.says); n != 1 {
				t.Errorf("said %d times:\n%s", n, w.log)
			}
			why := strings.Join(a.status.Load().Why, "\n")
			if got := strings.Contains(why, "another line is measured"); got != tt.wrong {
				t.Errorf("the status says %q", why)
			}
			run.mustEnd()
			w.sane()
		})
	}
}

// A stop does not wait for a router that takes its time over its connections.
func TestStopDuringTheLookAtThePath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.set("wan_name: ATT", "wan_name: ATT\nping_source_ip: 192.168.88.5")
	a := w.autorate()
	a.way.Retry = time.Hour
	run := start(t, a)
	w.pings.until(t, "the question", func() bool {
		for _, c := range w.router.Commands() {
			if strings.Contains(c.Line, "/ip/firewall/connection") {
				return true
			}
		}
		return false
	})
	run.mustEnd()
	if w.log.has("not proved") {
		t.Errorf("a look that was ended has a result:\n%s", w.log)
	}
}

// Asked once for a person, each reason why nothing is proved is a whole sentence.
func TestProvePathSaysWhyNot(t *testing.T) {
	t.Parallel()
	o := rosim.DefaultOptions()
	o.Tracking = rosim.TrackingAbsent
	w := newWorld(t, o)
	f, ds := w.parse(w.text)
	if f == nil {
		t.Fatal(ds)
	}
	router, err := w.hands.shaper(f.WAN, w.clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	source := netip.MustParseAddr("192.168.88.5")
	for want, tt := range map[string]struct {
		router any
		source netip.Addr
	}{
		"probes have no source address": {router, netip.Addr{}},
		"this router cannot be asked":   {nil, source},
		"read connection tracking":      {router, source},
	} {
		v, text := ProvePath(t.Context(), tt.router, health.PathFacts{Source: tt.source, WAN: "ether2"})
		if v != health.PathUnproved || !strings.HasPrefix(text, "by which line the probes leave is not proved: "+want) {
			t.Errorf("%v, %q", v, text)
		}
	}
}
