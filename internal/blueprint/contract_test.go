package blueprint

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"wanctl/internal/flow"
	"wanctl/internal/lab/flows"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The interfaces of the router that the contract is played on.
const lanSide = "bridge"

func wanOf(line string) string {
	return fmt.Sprintf("ether%d", slices.Index(flows.Lines, line)+1)
}

// site is an emulated router that follows a plan.
type site struct {
	t      rapid.TB
	r      *rosim.Router
	now    unit.Time
	lines  []string
	byList bool
	open   []*rosim.Tracked
}

// houseOf is what a policy asks of a router, and what the router has when the plan is made.
func houseOf(p flow.Policy, byList bool) (Wanted, Inventory) {
	w := Wanted{Steering: &Steering{Policy: p, ByList: byList}}
	inv := Inventory{Interface: {{".id": "*9", "name": lanSide, "type": "bridge"}}, Settings: {{"rp-filter": "no"}}}
	for i, l := range p.Lines() {
		line := Line{
			Name: l, WAN: wanOf(l), LAN: lanSide, Queues: link.Pair[string]{Down: l + "-down", Up: l + "-up"},
			Limits: link.Rates{Down: unit.Mbps, Up: unit.Mbps}, Cells: "none",
		}
		for a, of := range p.Sources {
			if of == l {
				line.Sources = append(line.Sources, a.String())
			}
		}
		w.Lines = append(w.Lines, line)
		if i > 0 {
			w.Steering.Comments = append(w.Steering.Comments, "STEER "+l)
		}
		inv[Interface] = append(inv[Interface], Row{".id": "*" + line.WAN[5:], "name": line.WAN, "type": "ether"})
		gateway := fmt.Sprintf("172.30.%d.1", i)
		inv[Route] = append(inv[Route], Row{
			".id": fmt.Sprintf("*%d", i), "dst-address": "0.0.0.0/0", "gateway": gateway, "immediate-gw": gateway + "%" + line.WAN, "distance": fmt.Sprint(i + 1),
		})
	}
	return w, inv
}

func newSite(t rapid.TB, p flow.Policy, byList bool) *site {
	s := &site{t: t, now: unit.Time(time.Hour), lines: p.Lines(), byList: byList}
	o := rosim.BareOptions()
	o.Now = func() unit.Time { return s.now }
	o.Interfaces = append(o.Interfaces, rosim.Interface{Name: lanSide, Type: "bridge"})
	o.Addresses = append(o.Addresses, rosim.Address{Address: "192.168.1.1/24", Interface: lanSide}, rosim.Address{Address: "10.0.0.1/8", Interface: "ether8"})
	o.HostKeys = hostKeys
	o.Certificate = certificate
	var err error
	if s.r, err = rosim.NewRouter(o); err != nil {
		t.Fatal(err)
	}
	// The rates need no queues here: only what steering rests on is carried out.
	w, inv := houseOf(p, byList)
	plan := New(inv, w)
	if plan.Blocked() {
		t.Fatalf("%+v", plan.Problems)
	}
	s.run("/ip/route/add dst-address=0.0.0.0/0 gateway=172.30.0.1%" + wanOf(p.Primary))
	for _, menu := range []string{Table, Route, AddressList, Mangle} {
		for _, c := range plan.Changes {
			if c.Menu != menu || strings.HasPrefix(c.Item, "packets of ") {
				continue
			}
			if c.Verb != Add {
				t.Fatalf("on a new router: %+v", c)
			}
			line := c.Menu + "/add"
			for _, a := range c.Args {
				line += fmt.Sprintf(" %s=%q", a.Key, a.Value)
			}
			s.run(strings.ReplaceAll(line, ` fib="yes"`, " fib"))
		}
	}
	return s
}

func (s *site) run(line string) {
	if out, failed := s.r.Exec(context.Background(), "admin", line); failed {
		s.t.Fatalf("%s: %s", line, out)
	}
}

// packet is a connection's packet as the router sees it.
func packet(k flow.Packet, first bool) rosim.Packet {
	p := rosim.Packet{In: lanSide, Protocol: k.Protocol, From: k.From, To: k.To, DSCP: k.DSCP}
	if k.In != "" {
		p.In = wanOf(k.In)
	}
	p.Syn = k.Protocol == flow.TCP && first && !k.Pickup
	p.Ack = k.Protocol == flow.TCP && !p.Syn
	return p
}

// Steer switches as the daemon does: every other rule first.
func (s *site) Steer(alternate string) error {
	for _, l := range s.lines[1:] {
		on := l == alternate
		switch {
		case s.byList:
			s.run(":foreach i in=[/ip/firewall/address-list/find list=" + link.SteerList(l) + "] do={/ip/firewall/address-list/remove $i}")
			for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
				if on {
					s.run("/ip/firewall/address-list/add list=" + link.SteerList(l) + " timeout=1d address=" + half)
				}
			}
		case on:
			s.run(`/ip/firewall/mangle/enable [find comment="STEER ` + l + `"]`)
		default:
			s.run(`/ip/firewall/mangle/disable [find comment="STEER ` + l + `"]`)
		}
	}
	return nil
}

// line is the one that a packet of a connection leaves by. For one from outside it is the answer's, which says which line
// the connection is pinned to.
func (s *site) line(k flow.Packet, p rosim.Packet, c *rosim.Tracked) (string, error) {
	got, err := s.r.Forward(p, c)
	if err != nil {
		return "", err
	}
	if got.PacketMark != "" {
		return "", fmt.Errorf("the packet goes on with the mark %q", got.PacketMark)
	}
	if k.In != "" {
		back := rosim.Packet{In: lanSide, Protocol: k.Protocol, From: k.To, To: k.From, Ack: true}
		if got, err = s.r.Peek(back, rosim.Tracked{Mark: c.Mark, Answered: true, Bytes: c.Bytes}); err != nil {
			return "", err
		}
	}
	for _, l := range s.lines {
		if got.Out == wanOf(l) {
			return l, nil
		}
	}
	return "", nil
}

func (s *site) Open(n int, k flow.Packet) (string, error) {
	c := &rosim.Tracked{Bytes: 60}
	s.open = append(s.open, c)
	if n != len(s.open)-1 {
		return "", fmt.Errorf("connection %d", n)
	}
	return s.line(k, packet(k, true), c)
}

func (s *site) More(n int, k flow.Packet, moved int64) (string, error) {
	c := s.open[n]
	c.Bytes = moved
	c.Answered = c.Answered || k.Protocol == flow.TCP || moved > 1000 // a little UDP may never be answered
	return s.line(k, packet(k, false), c)
}

func (s *site) Wait(d time.Duration) error { s.now = s.now.Add(d); return nil }

// Whatever the rules, the traffic, and when steering is switched: the router that follows a plan takes the line that the
// rules mean, by either way of switching, and no connection ever changes its line. What RouterOS cannot remember is what
// flow.House.Hosts says, and nothing else.
func TestPropertyTheRouterDoesWhatTheRulesMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		story := flows.Draw(t, flows.Options{})
		byList := rapid.Bool().Draw(t, "by list")
		s := newSite(t, story.Policy, byList)
		h := flow.NewHouse(story.Policy)
		h.Hosts = true
		if err := flows.Play(story, h, s, s.now); err != nil {
			t.Fatalf("%v\n%s\n%s", err, story, s.rules())
		}
	})
}

// A packet is of the first of its classes, whichever that is: a heavy peer's DSCP traffic on the web's port moves where DSCP is
// admitted first.
func TestAPacketIsOfItsFirstClass(t *testing.T) {
	web := flow.Class{Name: "web", Matches: []flow.Match{{Protocol: flow.TCP, Ports: flow.Ports{{First: 443, Last: 443}}, DSCP: -1}}, Light: true}
	dscp := flow.Class{Name: "dscp", Matches: []flow.Match{{DSCP: 46}}}
	page := flow.Packet{Protocol: flow.TCP, From: netip.MustParseAddrPort("192.168.1.10:40000"), To: netip.MustParseAddrPort("203.0.113.7:443")}
	call := page
	call.From, call.DSCP = netip.MustParseAddrPort("192.168.1.11:40001"), 46
	for want, classes := range map[string][]flow.Class{"Cable": {web, dscp}, "DSL": {dscp, web}} {
		story := flows.Story{
			Policy: flow.Policy{Primary: "Cable", Alternates: []string{"DSL"}, Classes: classes},
			Steps: []flows.Step{
				{Packet: page},
				{Again: true, Moved: flow.HeavyBytes + 1},
				{Toggle: true, Target: "DSL"},
				{Packet: call},
			},
		}
		s := newSite(t, story.Policy, false)
		h := flow.NewHouse(story.Policy)
		h.Hosts = true
		if err := flows.Play(story, h, s, s.now); err != nil {
			t.Error(err)
		}
		if line, err := s.line(call, packet(call, false), s.open[1]); line != want || err != nil {
			t.Errorf("%s first: %q, %v", classes[0].Name, line, err)
		}
	}
}

func (s *site) rules() string {
	out, _ := s.r.Exec(context.Background(), "admin", "/ip/firewall/mangle/export terse")
	return out
}

// What a packet costs: how many rules it is compared with, of a household's own configuration.
func TestPacketsOfRunningConnectionsPassFewRules(t *testing.T) {
	p := flow.Policy{
		Primary: flows.Lines[0], Alternates: flows.Lines[1:2], Idle: flow.DefaultIdle,
		Classes: []flow.Class{{Name: "voip", Matches: []flow.Match{{Protocol: flow.UDP, Ports: flow.Ports{{First: 3478, Last: 3497}}, DSCP: -1}}}},
	}
	s := newSite(t, p, false)
	bulk := flow.Packet{Protocol: flow.TCP, From: netip.MustParseAddrPort("192.168.1.10:40000"), To: netip.MustParseAddrPort("203.0.113.7:80")}
	c := &rosim.Tracked{}
	first, err := s.r.Forward(packet(bulk, true), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Answered = true
	next, err := s.r.Forward(packet(bulk, false), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the first packet of a connection is compared with %d rules, each further one with %d", first.Rules, next.Rules)
	if next.Rules != 5 { // two lines' calls, new connections, two lines' routes
		t.Errorf("a packet of a running connection passes %d rules", next.Rules)
	}
	if out, _ := s.r.Exec(t.Context(), "admin", "/ip/firewall/address-list/print count-only"); strings.TrimSpace(out) != "0" {
		t.Errorf("bulk fills lists: %s entries", out)
	}
}

// One key and certificate do for all routers of this test: nobody connects.
var (
	hostKeys    = testHostKeys()
	certificate = testCertificate()
)

func testHostKeys() []ssh.Signer {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		panic(err)
	}
	return []ssh.Signer{s}
}

func testCertificate() tls.Certificate {
	c, err := rosim.NewCertificate("")
	if err != nil {
		panic(err)
	}
	return c
}
