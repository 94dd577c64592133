package rosim

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wanctl/internal/flow"
)

// walker is a router with two lines, and with rules.
func walker(t *testing.T, rules ...string) *Router {
	t.Helper()
	o := BareOptions()
	o.Interfaces = append(o.Interfaces, Interface{Name: "bridge", Type: "bridge"}, Interface{Name: "pppoe-out1", Type: "pppoe-out"})
	o.Addresses = []Address{{Address: "192.168.1.1/24", Interface: "bridge"}, {Address: "10.1.0.2/24", Interface: "ether1"}, {Address: "10.2.0.2/24", Interface: "ether2"}}
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range append([]string{
		"/routing/table/add name=two fib", "/routing/table/add name=empty fib", "/ip/route/add dst-address=0.0.0.0/0 gateway=10.1.0.1",
		"/ip/route/add dst-address=0.0.0.0/0 gateway=10.2.0.1%ether2 routing-table=two", "/ip/route/add dst-address=203.0.113.0/24 gateway=pppoe-out1",
		"/ip/route/add dst-address=198.51.100.0/24 gateway=198.18.0.1", "/interface/list/add name=WAN", "/interface/list/member/add list=WAN interface=ether1",
		"/ip/firewall/address-list/add list=kids address=192.168.1.64/26",
	}, rules...) {
		if out, failed := r.Exec(t.Context(), "admin", line); failed {
			t.Fatalf("%s: %s", line, out)
		}
	}
	return r
}

var aCall = Packet{
	In: "bridge", Protocol: flow.UDP, From: netip.MustParseAddrPort("192.168.1.70:50000"), To: netip.MustParseAddrPort("9.9.9.9:3478"), DSCP: 46,
}

// Each matcher selects what it says, and what is behind an exclamation mark not.
func TestForwardMatches(t *testing.T) {
	tcp := aCall
	tcp.Protocol, tcp.Syn = flow.TCP, true
	midst := tcp
	midst.Syn, midst.Ack = false, true
	echo := aCall
	echo.Protocol = flow.ICMP
	outside := aCall
	outside.In = "ether1"
	own := aCall
	own.To = netip.MustParseAddrPort("192.168.1.1:53")
	moved := Tracked{Bytes: 1_000_001, Answered: true, Mark: "m"}
	for _, c := range []struct {
		rule   string
		packet Packet
		conn   Tracked
		hit    bool
	}{
		{"connection-state=new", aCall, Tracked{}, true},
		{"connection-state=new,established", aCall, moved, true},
		{"connection-state=new", aCall, moved, false},
		{"connection-mark=no-mark", aCall, Tracked{}, true},
		{"connection-mark=!no-mark", aCall, Tracked{}, false},
		{"connection-mark=!no-mark", aCall, moved, true},
		{"connection-mark=m", aCall, moved, true},
		{"packet-mark=no-mark", aCall, Tracked{}, true},
		{"routing-mark=two", aCall, Tracked{}, false},
		{"in-interface=bridge", aCall, Tracked{}, true},
		{"in-interface=!bridge", aCall, Tracked{}, false},
		{"in-interface-list=WAN", outside, Tracked{}, true},
		{"in-interface-list=WAN", aCall, Tracked{}, false},
		{"protocol=udp", aCall, Tracked{}, true},
		{"protocol=17", aCall, Tracked{}, true},
		{"protocol=tcp", aCall, Tracked{}, false},
		{"src-address=192.168.1.64/26", aCall, Tracked{}, true},
		{"dst-address=!9.9.9.9", aCall, Tracked{}, false},
		{"src-address-list=kids", aCall, Tracked{}, true},
		{"dst-address-list=kids", aCall, Tracked{}, false},
		{"dst-address-type=local", own, Tracked{}, true},
		{"dst-address-type=!local", aCall, Tracked{}, true},
		{"protocol=udp src-port=50000", aCall, Tracked{}, true},
		{"protocol=udp dst-port=3478-3481,5060", aCall, Tracked{}, true},
		{"dst-port=3478", echo, Tracked{}, false},
		{"dscp=46", aCall, Tracked{}, true},
		{"dscp=!46", aCall, Tracked{}, false},
		{"protocol=tcp tcp-flags=syn,!ack", tcp, Tracked{}, true},
		{"protocol=tcp tcp-flags=syn,!ack", midst, Tracked{}, false},
		{"connection-bytes=1000001-0", aCall, moved, true},
		{"connection-bytes=0-1000000", aCall, moved, false},
	} {
		r := walker(t, "/ip/firewall/mangle/add chain=prerouting action=mark-packet new-packet-mark=hit passthrough=no "+c.rule)
		conn := c.conn
		got, err := r.Forward(c.packet, &conn)
		if err != nil || (got.PacketMark == "hit") != c.hit {
			t.Errorf("%s: %+v, %v; want %t", c.rule, got, err, c.hit)
		}
		packets, _ := r.Exec(t.Context(), "admin", ":put [/ip/firewall/mangle/get [find] packets]")
		if (strings.TrimSpace(packets) == "1") != c.hit {
			t.Errorf("%s counts %s", c.rule, packets)
		}
	}
}

// Jumps, returns, marks, lists, and where a packet goes in the end.
func TestForwardGoesThroughChains(t *testing.T) {
	add := "/ip/firewall/mangle/add chain="
	r := walker(t,
		add+"prerouting action=jump jump-target=new connection-state=new",
		add+"new action=add-src-to-address-list address-list=callers address-list-timeout=1m",
		add+"new action=add-dst-to-address-list address-list=for-good address-list-timeout=none-dynamic",
		add+"new action=add-src-to-address-list address-list=kids address-list-timeout=1m",
		add+"new action=return dst-address=9.9.9.9",
		add+"new action=mark-connection new-connection-mark=two",
		add+"prerouting action=mark-connection new-connection-mark=no-mark connection-mark=two dscp=0",
		add+"prerouting action=log disabled=yes src-mac-address=00:00:00:00:00:01",
		add+"prerouting action=mark-routing new-routing-mark=two connection-mark=two passthrough=yes",
		add+"prerouting action=accept protocol=tcp",
		add+"prerouting action=mark-routing new-routing-mark=empty dscp=8")
	forward := func(to string, change func(*Packet), c *Tracked) Forwarded {
		t.Helper()
		p := aCall
		p.To = netip.MustParseAddrPort(to)
		change(&p)
		got, err := r.Forward(p, c)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(*Packet) {}
	var c Tracked
	if got := forward("9.9.9.9:1", same, &c); c.Mark != "" || got.Out != "ether1" {
		t.Errorf("%+v, %+v", got, c)
	}
	if got := forward("8.8.8.8:1", same, &c); c.Mark != "two" || got.RoutingMark != "two" || got.Out != "ether2" {
		t.Errorf("%+v, %+v", got, c)
	}
	if got := forward("8.8.8.8:1", func(p *Packet) { p.DSCP = 0 }, &Tracked{Mark: "two", Answered: true}); got.Out != "ether1" {
		t.Errorf("%+v", got)
	}
	if got := forward("8.8.8.8:1", func(p *Packet) { p.DSCP = 8 }, &Tracked{Answered: true}); got.RoutingMark != "empty" || got.Out != "ether1" {
		t.Errorf("a table without a way: %+v", got)
	}
	if got := forward("8.8.8.8:1", func(p *Packet) { p.DSCP, p.Protocol = 8, flow.TCP }, &Tracked{Answered: true}); got.RoutingMark != "" {
		t.Errorf("behind accept: %+v", got)
	}
	for to, out := range map[string]string{"203.0.113.7:1": "pppoe-out1", "192.168.1.9:1": "bridge", "198.51.100.1:1": "ether1"} {
		if got := forward(to, func(p *Packet) { p.Protocol = flow.TCP }, &Tracked{Answered: true}); got.Out != out {
			t.Errorf("%s: %+v", to, got)
		}
	}
	lists, _ := r.Exec(t.Context(), "admin", ":foreach i in=[/ip/firewall/address-list/find dynamic=yes] do={:put [/ip/firewall/address-list/get $i list]}")
	if got := strings.Fields(lists); len(got) != 4 { // callers, kids, and two peers for good
		t.Errorf("%q", got)
	}
	// Looking leaves no trace.
	before, _ := r.Exec(t.Context(), "admin", ":put [/ip/firewall/mangle/get [find new-connection-mark=two] packets]")
	if got, err := r.Peek(aCall, Tracked{}); err != nil || got.Out != "ether1" {
		t.Errorf("%+v, %v", got, err)
	}
	if after, _ := r.Exec(t.Context(), "admin", ":put [/ip/firewall/mangle/get [find new-connection-mark=two] packets]"); after != before {
		t.Errorf("%s, and %s before", after, before)
	}
	six := aCall
	six.From, six.To = netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")
	if got, err := r.Forward(six, &Tracked{}); err != nil || got != (Forwarded{}) {
		t.Errorf("IPv6: %+v, %v", got, err)
	}
}

// An entry that a rule wrote is renewed by the next packet, and goes by itself.
func TestForwardRenewsEntries(t *testing.T) {
	r, clock := steady(t, nil)
	run := func(line string) string {
		out, failed := r.Exec(t.Context(), DefaultUser, line)
		if failed {
			t.Fatal(out)
		}
		return strings.TrimSpace(out)
	}
	run("/ip/firewall/mangle/add chain=prerouting action=add-dst-to-address-list address-list=peers address-list-timeout=1m")
	entries := ":put [:len [/ip/firewall/address-list/find list=peers]]"
	for range 2 {
		if _, err := r.Forward(aCall, &Tracked{}); err != nil {
			t.Fatal(err)
		}
		clock.advance(59 * time.Second)
		if n := run(entries); n != "1" {
			t.Errorf("%s entries", n)
		}
	}
	clock.advance(time.Second)
	if n := run(entries); n != "0" {
		t.Errorf("%s entries after a minute", n)
	}
}

// What is not modelled is an error, and never a guess.
func TestForwardRefusesWhatItDoesNotKnow(t *testing.T) {
	for rule, want := range map[string]string{
		"action=mark-packet new-packet-mark=x ttl=equal:1": "ttl=equal:1 is not modelled",
		"action=route": "action=route is not modelled",
		"action=mark-packet new-packet-mark=x dst-address-type=broadcast":           "dst-address-type=broadcast is not modelled",
		"action=mark-packet new-packet-mark=x tcp-flags=urg":                        "tcp-flags=urg is not modelled",
		"action=mark-packet new-packet-mark=x connection-bytes=5":                   "connection-bytes=5 is not modelled",
		"action=mark-packet new-packet-mark=x src-address=10.0.0.1-10.0.0.9":        "is not modelled",
		"action=mark-packet new-packet-mark=x dst-port=x":                           `"x" is no port`,
		"action=jump jump-target=prerouting":                                        "jumps are under way",
		"action=add-dst-to-address-list address-list=l address-list-timeout=sooner": "address-list-timeout=sooner is not modelled",
	} {
		r := walker(t, "/ip/firewall/mangle/add chain=prerouting "+rule)
		if _, err := r.Forward(aCall, &Tracked{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", rule, err)
		}
	}
	r := walker(t, "/ip/firewall/mangle/add chain=prerouting action=add-dst-to-address-list address-list=l")
	p := aCall
	var err error
	for i := range 1100 {
		p.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, byte(i >> 8), byte(i)}), 1)
		if _, err = r.Forward(p, &Tracked{}); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("%v", err)
	}
}
