package probe

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
)

// twoLines lays two lines to a far side, which answers for 198.51.100.1 and 2001:db8:ff::1. The main routes lead
// over the first line; mark 7 leads over the second.
func twoLines(t testing.TB) *far {
	needRoot(t)
	n := newFar(t)
	n.line("cable", "10.1.0", "2001:db8:1")
	n.line("dsl", "10.2.0", "2001:db8:2")
	n.run(func() error { return runIP("address add 198.51.100.1/32 dev lo") })
	n.address6("2001:db8:ff::1", 128, "lo")
	for _, r := range []string{
		"route replace default via 10.1.0.2 dev cable",
		"route replace default via 10.2.0.2 dev dsl table 77",
		"-6 route replace default via 2001:db8:1::2 dev cable",
		"-6 route replace default via 2001:db8:2::2 dev dsl table 77",
		"rule add fwmark 7 lookup 77",
		"-6 rule add fwmark 7 lookup 77",
	} {
		ip(t, r)
	}
	t.Cleanup(func() {
		ip(t, "rule delete fwmark 7 lookup 77")
		ip(t, "-6 rule delete fwmark 7 lookup 77")
	})
	return n
}

// carried returns how many packets an interface sent.
func carried(t testing.TB, device string) int {
	t.Helper()
	out, err := exec.Command("ip", "-s", "-json", "link", "show", "dev", device).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Stats struct{ TX struct{ Packets int } } `json:"stats64"`
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return list[0].Stats.TX.Packets
}

// levels returns the findings of at least a level, as kind and text.
func levels(list []Finding, least link.Level) (out []string) {
	for _, f := range list {
		if f.Level >= least {
			out = append(out, f.Kind.String()+": "+f.Text)
		}
	}
	return out
}

// TestBinding: echoes leave through the line they are bound to, whatever the main routes say.
func TestBinding(t *testing.T) {
	twoLines(t)
	allowDatagram(t)
	for _, tt := range []struct {
		name string
		o    Options
		via  string
	}{
		{"unbound", Options{}, "cable"},
		{"mark", Options{Mark: 7}, "dsl"},
		{"interface", Options{Interface: "dsl"}, "dsl"},
		{"interface and mark", Options{Interface: "dsl", Mark: 7}, "dsl"},
		{"source and mark", Options{Source: netip.MustParseAddr("10.2.0.1"), Mark: 7}, "dsl"},
	} {
		for _, kind := range []socketKind{rawKind, datagram} {
			for f, target := range map[family]string{v4: "198.51.100.1", v6: "2001:db8:ff::1"} {
				t.Run(tt.name+" "+kind.String()+" "+f.String(), func(t *testing.T) {
					o := tt.o
					o.Targets, o.kind, o.Timeout = []string{target}, kind, MaxTimeout
					if o.Interface == "dsl" && o.Mark == 0 { // bound by interface alone: the far end is the target
						o.Targets = []string{map[family]string{v4: "10.2.0.2", v6: "2001:db8:2::2"}[f]}
					}
					p := open(t, o)
					p.probe(0)
					readReply(t, p, f)
					if s := p.Stats()[0]; s.Received != 1 {
						t.Errorf("account %+v", s)
					}
					device, err := p.o.binding().routeDevice(p.targets[0].addr)
					if err != nil || device != tt.via {
						t.Errorf("route through %q, %v; want %s", device, err, tt.via)
					}
					if bad := levels(p.Check(t.Context()), link.Warning); (len(bad) > 0) != (tt.name == "unbound") {
						t.Errorf("findings %q", bad)
					}
				})
			}
		}
	}
}

// TestMarkMovesPackets counts packets on both lines.
func TestMarkMovesPackets(t *testing.T) {
	twoLines(t)
	for _, d := range []string{"cable", "dsl"} {
		sysctl(t, "net.ipv6.conf."+d+".disable_ipv6", "1") // its own chatter would move the counters
	}
	p := open(t, Options{Targets: []string{"198.51.100.1"}, Mark: 7})
	p.probe(0) // learns the neighbour
	readReply(t, p, v4)
	cable, dsl := carried(t, "cable"), carried(t, "dsl")
	p.probe(0)
	readReply(t, p, v4)
	if carried(t, "cable") != cable || carried(t, "dsl") == dsl {
		t.Errorf("cable sent %d then %d packets, dsl %d then %d: the marked echo took the wrong line", cable, carried(t, "cable"), dsl, carried(t, "dsl"))
	}
}

// TestCheckFindings: every way to be bound wrongly has a finding that names it.
func TestCheckFindings(t *testing.T) {
	twoLines(t)
	ip(t, "link add spare type veth peer name spare2")
	t.Cleanup(func() { ip(t, "link delete spare") })
	ip(t, "route replace unreachable 203.0.113.9")
	t.Cleanup(func() { ip(t, "route delete unreachable 203.0.113.9") })
	four := netip.MustParseAddr
	for _, tt := range []struct {
		name  string
		o     Options
		level link.Level
		want  []string
	}{
		{"proved", Options{Targets: []string{"198.51.100.1"}, Source: four("10.1.0.1")}, link.Info, []string{
			"socket: Probes over IPv4 use a raw ICMP socket.",
			"route: Probes to 198.51.100.1 leave from 10.1.0.1 through cable.",
		}},
		{"unbound", Options{Targets: []string{"198.51.100.1"}}, link.Warning, []string{
			"unbound: Probes are not bound to a source address, interface or mark: with more than one line they may measure another.",
		}},
		{"the other line's address", Options{Targets: []string{"198.51.100.1"}, Source: four("10.2.0.1")}, link.Warning, []string{
			"route: Probes to 198.51.100.1 leave through cable, but their source address 10.2.0.1 is on dsl: the answer may measure another line. " +
				"Add a rule for the source address, or bind by interface.",
		}},
		{"no such address", Options{Targets: []string{"198.51.100.1"}, Source: four("192.0.2.77")}, link.Warning, []string{
			`source: No probe can be sent over IPv4: bind to source address 192.0.2.77: cannot assign requested address ` +
				`(no interface of this host has that address; "ip address" lists them).`,
		}},
		{"no such interface", Options{Targets: []string{"198.51.100.1"}, Interface: "ppp9"}, link.Warning, []string{
			`interface: No probe can be sent over IPv4: bind to interface ppp9: no such device (there is no such interface; "ip link" lists them).`,
		}},
		{"interface down", Options{Targets: []string{"198.51.100.1"}, Interface: "spare"}, link.Warning, []string{
			"interface: Interface spare is down.",
			"route: Target 198.51.100.1 cannot be reached: find a route to 198.51.100.1: network is unreachable (no route from here; " +
				"look at the routes and rules that belong to the probe's source, interface or mark).",
		}},
		{"address and interface differ", Options{Targets: []string{"10.1.0.2"}, Source: four("10.2.0.1"), Interface: "cable"}, link.Warning, []string{
			"source: Source address 10.2.0.1 is on interface dsl, but probes are bound to cable: replies may go elsewhere.",
		}},
		{"unreachable", Options{Targets: []string{"203.0.113.9", "198.51.100.1"}, Source: four("10.1.0.1")}, link.Warning, []string{
			"route: Target 203.0.113.9 cannot be reached: find a route to 203.0.113.9: no route to host (no route from here; " +
				"look at the routes and rules that belong to the probe's source, interface or mark).",
		}},
		{"ourselves", Options{Targets: []string{"10.1.0.1"}, Source: four("10.1.0.1")}, link.Warning, []string{
			"route: Target 10.1.0.1 is an address of this host: probing it says nothing about a line.",
		}},
		{"twice", Options{Targets: []string{"198.51.100.1", "reflector.example"}, Source: four("10.1.0.1")}, link.Warning, []string{
			"duplicate: Targets 198.51.100.1 and reflector.example are the same host: their median believes it twice.",
		}},
		{"no DNS", Options{Targets: []string{"nowhere.example"}, Source: four("10.1.0.1"), Resolver: &fakeDNS{Failures: 9}}, link.Warning, []string{
			"resolve: Target nowhere.example is not probed yet: look up nowhere.example: lookup nowhere.example: no such host (an IP address as target needs no DNS).",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Resolver == nil {
				tt.o.Resolver = &fakeDNS{Answers: addrs("198.51.100.1")}
			}
			p := open(t, tt.o)
			list := p.Check(t.Context())
			got := levels(list, tt.level)
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("findings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for _, f := range list {
				if n := f.Note(); n.Key != "probe_"+f.Kind.String() || n.Text != f.Text || n.Level != f.Level {
					t.Errorf("note %+v of %+v", n, f)
				}
				if (f.Level == link.Alert) != (f.Err != nil) {
					t.Errorf("level and error disagree: %+v", f)
				}
			}
		})
	}
}

// TestInterfaceComesBack: the interface is deleted under a running socket, then made anew, as PPPoE does.
func TestInterfaceComesBack(t *testing.T) {
	needRoot(t)
	allowDatagram(t)
	for _, kind := range []socketKind{rawKind, datagram} {
		for f, target := range map[family]string{v4: "10.3.0.2", v6: "2001:db8:3::2"} {
			t.Run(kind.String()+" "+f.String(), func(t *testing.T) {
				n := newFar(t)
				n.line("ppp0", "10.3.0", "2001:db8:3")
				c, book := newClock(), newNotebook()
				p := open(t, c.options(Options{Targets: []string{target}, Interface: "ppp0", Timeout: MaxTimeout, Log: book.log, kind: kind}))
				_, end, err := p.begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(end)
				p.probe(0)
				<-p.arrived

				ip(t, "link delete ppp0")
				for range 3 {
					c.advance(reopenEvery)
					p.probe(0)
				}
				s := p.Stats()[0]
				if s.Sent != 1 || s.SendErrors != 3 || s.Err == nil {
					t.Errorf("while the interface was gone: %+v", s)
				}
				if x := strings.Join(append(book.with("probe_send"), book.with("probe_socket")...), "\n"); !strings.Contains(x, "there is no such interface") {
					t.Errorf("notes %q do not name the cause", x)
				}

				n.line("ppp0", "10.3.0", "2001:db8:3")
				p.probe(0) // within the same second: too early
				if s := p.Stats()[0]; s.Sent != 1 {
					t.Errorf("opened anew before %v had passed: %+v", reopenEvery, s)
				}
				c.advance(reopenEvery)
				p.probe(0)
				<-p.arrived
				if s := p.Stats()[0]; s.Received != 2 || s.Err != nil {
					t.Errorf("after the interface came back: %+v", s)
				}
				if n := p.Totals().Reopened; n != 1 {
					t.Errorf("opened anew %d times", n)
				}
				if len(book.with("probe_socket_open")) != 1 {
					t.Error("the return was not noted")
				}
			})
		}
	}
}

// TestInterfaceSwapped: the interface was replaced between two echoes, so only the old socket knows that it is gone.
func TestInterfaceSwapped(t *testing.T) {
	needRoot(t)
	n := newFar(t)
	n.line("ppp0", "10.3.0", "2001:db8:3")
	c := newClock()
	p := open(t, c.options(Options{Targets: []string{"10.3.0.2", "2001:db8:3::2"}, Interface: "ppp0", Timeout: MaxTimeout}))
	_, end, err := p.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	ip(t, "link delete ppp0")
	n.line("ppp0", "10.3.0", "2001:db8:3")
	for host := range 2 {
		p.probe(host) // finds out
		p.probe(host) // opens anew
		<-p.arrived
		if s := p.Stats()[host]; s.SendErrors != 1 || s.Received != 1 {
			t.Errorf("account %+v", s)
		}
	}
}

// TestAddressComesLater: the pinger starts before the line has its address.
func TestAddressComesLater(t *testing.T) {
	needRoot(t)
	c, book := newClock(), newNotebook()
	p := open(t, c.options(Options{Targets: []string{"127.0.0.1"}, Source: netip.MustParseAddr("10.9.0.1"), Log: book.log}))
	_, end, err := p.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	p.probe(0)
	wantKind(t, p.Stats()[0].Err, KindSource)
	if n := book.with("probe_socket"); len(n) != 1 || !strings.Contains(n[0], "no interface of this host has that address") {
		t.Errorf("notes %q", n)
	}
	ip(t, "address add 10.9.0.1/32 dev lo")
	t.Cleanup(func() { _ = runIP("address delete 10.9.0.1/32 dev lo") })
	c.advance(reopenEvery)
	p.probe(0)
	<-p.arrived
	if s := p.Stats()[0]; s.Received != 1 || s.Err != nil {
		t.Errorf("after the address came: %+v", s)
	}

	// Gone again under the open socket: noted with its cause; probing resumes when it is back.
	ip(t, "address delete 10.9.0.1/32 dev lo")
	c.advance(time.Minute)
	p.probe(0)
	if s := p.Stats()[0]; s.SendErrors != 2 || s.Err == nil {
		t.Errorf("after the address went: %+v", s)
	}
	if n := book.with("probe_send"); len(n) != 1 || !strings.Contains(n[0], "no interface of this host has that address") {
		t.Errorf("notes %q", n)
	}
	ip(t, "address add 10.9.0.1/32 dev lo")
	c.advance(reopenEvery)
	p.probe(0)
	<-p.arrived
	if n := book.with("probe_send_ok"); len(n) != 1 {
		t.Errorf("the recovery was not noted: %q", n)
	}
}

// TestReadFailure: a socket whose reading fails is replaced.
func TestReadFailure(t *testing.T) {
	needRoot(t)
	book := newNotebook()
	c := newClock()
	p := open(t, c.options(Options{Targets: []string{"127.0.0.1"}, Log: book.log}))
	_, end, err := p.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	old := p.conns[v4]
	if err := old.file.SetReadDeadline(time.Unix(1, 0)); err != nil { // makes the read in progress fail
		t.Fatal(err)
	}
	<-book.wrote
	if p.Totals().ReadErrors != 1 || len(book.with("probe_read")) != 1 {
		t.Errorf("totals %+v, notes %q", p.Totals(), book.notes)
	}
	p.probe(0)
	<-p.arrived
	if s := p.Stats()[0]; s.Received != 1 || p.Totals().Reopened != 1 {
		t.Errorf("account %+v, totals %+v", s, p.Totals())
	}
}

func TestParseRoute(t *testing.T) {
	ne := binary.NativeEndian
	message := func(kind uint16, body []byte) []byte {
		b := ne.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
		b = ne.AppendUint16(b, kind)
		b = append(b, make([]byte, unix.SizeofNlMsghdr-6)...)
		return append(b, body...)
	}
	attr := func(kind uint16, v ...byte) []byte {
		return append(ne.AppendUint16(ne.AppendUint16(nil, uint16(4+len(v))), kind), v...)
	}
	route := func(attrs ...byte) []byte {
		return message(unix.RTM_NEWROUTE, append(make([]byte, unix.SizeofRtMsg), attrs...))
	}
	out := attr(unix.RTA_OIF, ne.AppendUint32(nil, 7)...)
	refused := int32(-int(unix.ENETUNREACH))
	for _, tt := range []struct {
		name string
		b    []byte
		want int
		err  string
	}{
		{"route", route(out...), 7, ""},
		{"behind others", append(message(unix.NLMSG_ERROR, make([]byte, 4)), route(append(attr(unix.RTA_MARK, 1, 2, 3, 4), out...)...)...), 7, ""},
		{"refused", message(unix.NLMSG_ERROR, ne.AppendUint32(nil, uint32(refused))), 0, "network is unreachable"},
		{"no interface", route(attr(unix.RTA_MARK, 1, 2, 3, 4)...), 0, "names no interface"},
		{"attribute too long", route(0xff, 0, unix.RTA_OIF, 0), 0, "parse the route"},
		{"message too long", []byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, "parse the route"},
		{"empty", nil, 0, "names no interface"},
	} {
		got, err := parseRoute(tt.b)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %d, %v; want %d, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// TestLinkLocal: an IPv6 gateway is often known by its link-local address only.
func TestLinkLocal(t *testing.T) {
	needRoot(t)
	n := newFar(t)
	n.line("cable", "10.1.0", "2001:db8:1")
	n.address6("fe80::2", 64, "far-cable")
	addAddress6(t, "fe80::1", 64, "cable")
	for _, o := range []Options{
		{Targets: []string{"fe80::2%cable"}},
		{Targets: []string{"fe80::2"}, Interface: "cable"},
		{Targets: []string{"fe80::2"}, Interface: "cable", Source: netip.MustParseAddr("fe80::1")},
	} {
		o.Timeout = MaxTimeout // finding the neighbour takes its time
		p := open(t, o)
		p.probe(0)
		readReply(t, p, v6)
		if s := p.Stats()[0]; s.Received != 1 {
			t.Errorf("%+v: account %+v", o, s)
		}
	}
}
