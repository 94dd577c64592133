package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	nftexpr "github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"wanctl/internal/flow"
)

// everything is all of the router's rules, routes and nftables.
func (h *house) everything() string {
	h.t.Helper()
	var all strings.Builder
	for _, args := range [][]string{{"-4", "rule"}, {"-6", "rule"}, {"-4", "route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}} {
		b, _ := exec.Command("ip", append([]string{"-n", h.router}, args...)...).CombinedOutput()
		all.Write(b)
	}
	h.in(func() error {
		tables, err := readTables()
		if err != nil {
			return err
		}
		for _, t := range tables {
			if err := t.readSets(); err != nil {
				return err
			}
			fmt.Fprintf(&all, "%+v\n", *t)
		}
		return nil
	})
	return all.String()
}

// somebody makes what others have: a table with a mark of their own, a rule and a route.
func (h *house) somebody(field uint32) {
	h.t.Helper()
	run(h.t, h.router, "rule add fwmark 0x1/0xff lookup 99 priority 1000", "route add default via 172.16.0.1 table 99")
	h.in(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "somebody"})
		pre := c.AddChain(&nftables.Chain{
			Name: "pre", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: pre, Exprs: []nftexpr.Any{
			&nftexpr.Ct{Key: nftexpr.CtKeyMARK, Register: 1},
			&nftexpr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: host32(^field), Xor: host32(field)},
			&nftexpr.Ct{Key: nftexpr.CtKeyMARK, Register: 1, SourceRegister: true},
		}})
		return c.Flush()
	})
}

func (h *house) remove() Plan {
	h.t.Helper()
	var p Plan
	h.in(func() (err error) { p, err = h.opt.Remove(); return err })
	return p
}

func (h *house) plan() Plan {
	h.t.Helper()
	var p Plan
	h.in(func() (err error) { p, err = h.opt.Plan(); return err })
	return p
}

func TestNothingIsLeftBehind(t *testing.T) {
	for _, six := range []bool{false, true} {
		h := build(t, 3, six)
		h.somebody(0x5)
		before := h.everything()
		h.apply()
		h.steer(lte)
		h.send(udp("192.168.1.10:5060", "198.51.100.7:5060"), 0)
		if h.everything() == before {
			t.Fatal("nothing was made")
		}
		if p := h.remove(); len(p.Steps) < 10 {
			t.Errorf("%d steps", len(p.Steps))
		}
		if after := h.everything(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if p := h.remove(); len(p.Steps) != 0 {
			t.Errorf("a second removal: %+v", p)
		}
	}
}

// TestForeignBitsOfMarksStay has somebody write their own field of each connection's mark.
func TestForeignBitsOfMarksStay(t *testing.T) {
	h := build(t, 2, false)
	h.somebody(0x5)
	h.apply()
	h.steer(dsl)
	if n := h.send(udp("192.168.1.10:5060", "198.51.100.7:5060"), 0); n != 2 {
		t.Fatalf("line %d", n)
	}
	for _, c := range h.connections() {
		if c.mark != 0x00420005 {
			t.Errorf("%+v", c)
		}
	}
}

func TestWhatSomebodyChangesIsMended(t *testing.T) {
	h := build(t, 2, false)
	h.opt.Policy.Lists = map[string][]netip.Prefix{"kids": {netip.MustParsePrefix("192.168.1.70/31")}}
	h.opt.Policy.Overrides = []flow.Override{{Hosts: flow.Hosts{List: "kids"}, Line: dsl}}
	h.opt.Policy.Sources = map[netip.Addr]string{netip.MustParseAddr("192.168.1.2"): dsl}
	h.apply()
	nftly := func(f func(c *nftables.Conn, t *nftables.Table) error) {
		h.in(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			if err := f(c, &nftables.Table{Family: nftables.TableFamilyINet, Name: h.opt.Table()}); err != nil {
				return err
			}
			return c.Flush()
		})
	}
	rules := func(c *nftables.Conn, tb *nftables.Table, name string) []*nftables.Rule {
		all, err := c.GetRules(tb, &nftables.Chain{Name: name, Table: tb})
		if err != nil {
			t.Error(err)
		}
		return all
	}
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"ruleset": {func() { nftly(func(c *nftables.Conn, _ *nftables.Table) error { c.FlushRuleset(); return nil }) }, ""},
		"chain": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error {
				c.FlushChain(&nftables.Chain{Name: choose, Table: tb})
				return nil
			})
		}, "the chain choose has 0 rules"},
		"one rule": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error { return c.DelRule(rules(c, tb, nat)[0]) })
		}, "the chain nat has 1 rules, not 2"},
		"another rule": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error {
				r := rules(c, tb, nat)[0]
				r.Exprs = append(r.Exprs[:len(r.Exprs)-1], &nftexpr.Counter{}, &nftexpr.Masq{})
				c.ReplaceRule(r)
				return nil
			})
		}, "rule 1 of the chain nat is not"},
		"element": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error {
				s := &nftables.Set{Name: listSet(0, v4), Table: tb, KeyType: nftables.TypeIPAddr, Interval: true}
				return c.SetAddElements(s, []nftables.SetElement{{Key: []byte{192, 168, 1, 9}}, {Key: []byte{192, 168, 1, 10}, IntervalEnd: true}})
			})
		}, "the set hosts_1_ipv4 holds something else"},
		"another chain": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error {
				c.AddChain(&nftables.Chain{Name: "x", Table: tb})
				return nil
			})
		}, "chains, not"},
		"another set": {func() {
			nftly(func(c *nftables.Conn, tb *nftables.Table) error {
				return c.AddSet(&nftables.Set{Name: "x", Table: tb, KeyType: nftables.TypeIPAddr}, nil)
			})
		}, "sets, not"},
		"rule": {func() { run(t, h.router, "rule del priority 30562") }, ""},
		"all rules": {func() {
			run(t, h.router, "rule del priority 30561", "rule del priority 30561", "rule del priority 30562")
		}, ""},
		"an extra rule": {func() { run(t, h.router, "rule add from 192.0.2.1 lookup 30561 priority 30562 protocol 119") }, ""},
		"route":         {func() { run(t, h.router, "route flush table 30562") }, ""},
		"route's hop": {func() {
			run(t, h.router, "route change default via 172.16.2.9 dev wan2 table 30562 metric 1 proto 119")
		}, ""},
		"an old route": {func() {
			run(t, h.router, "rule add from 192.0.2.1 lookup 777 priority 30562 protocol 119", "route add default via 172.16.2.1 table 777 proto 119")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h.steer(dsl)
			was := sorted(h.everything())
			c.do()
			did := h.apply()
			if len(did.Steps) == 0 {
				t.Fatal("nothing was found")
			}
			if c.want != "" && !strings.Contains(did.Steps[0].Why, c.want) {
				t.Errorf("the reason is %q", did.Steps[0].Why)
			}
			if again := h.apply(); len(again.Steps) != 0 {
				t.Errorf("a second call changes: %s", again.Steps[0].Command)
			}
			if is := sorted(h.everything()); is != was {
				t.Errorf("before:\n%s\nafter:\n%s", was, is)
			}
			if name != "ruleset" { // what was flushed is gone
				h.in(func() error {
					if to, err := h.opt.Steered(); err != nil || to != dsl {
						return fmt.Errorf("steering went on to %q, %w", to, err)
					}
					return nil
				})
			}
		})
	}
}

// TestAGatewayThatChangesIsFollowed, as it does with a new lease.
func TestAGatewayThatChangesIsFollowed(t *testing.T) {
	h := build(t, 2, false)
	h.apply()
	for _, via := range []string{"172.16.2.77", "172.16.2.1"} {
		run(t, h.router, "route del default dev wan2", "route add default via "+via+" dev wan2 metric 200")
		if p := h.apply(); len(p.Steps) != 1 || !strings.HasPrefix(p.Steps[0].Command, "ip -4 route replace default via "+via+" dev wan2") {
			t.Errorf("%+v", p.Steps)
		}
		if p := h.plan(); len(p.Steps) != 0 {
			t.Errorf("%+v", p.Steps)
		}
	}
}

// sorted leaves out in which order rules of the same priority were made.
func sorted(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestACallOutlivesItsTable replaces the table while hosts talk.
func TestACallOutlivesItsTable(t *testing.T) {
	h := build(t, 2, false)
	h.apply()
	h.send(udp("192.168.1.10:5060", "198.51.100.7:5060"), 0)
	h.steer(dsl)
	h.opt.Policy.Classes = h.opt.Policy.Classes[:2]
	if p := h.apply(); len(p.Steps) != 1 || p.Steps[0].Table != h.opt.Table() {
		t.Fatalf("%+v", p)
	}
	if n := h.send(udp("192.168.1.10:5061", "198.51.100.7:5061"), 0); n != 1 {
		t.Errorf("the second half of the call by line %d", n)
	}
	if n := h.send(udp("192.168.1.11:5061", "198.51.100.7:5061"), 0); n != 2 {
		t.Errorf("another call by line %d", n)
	}
}

// TestLinesKeepTheirNumbers adds a line before another: marks of running connections mean what they meant.
func TestLinesKeepTheirNumbers(t *testing.T) {
	h := build(t, 3, false)
	three, policy := h.opt.Lines, h.opt.Policy
	h.opt.Lines = []Line{three[0], three[2]}
	h.opt.Policy.Alternates = []string{lte}
	h.apply()
	h.steer(lte)
	call := udp("192.168.1.10:5060", "198.51.100.7:5060")
	if n := h.send(call, 0); n != 3 {
		t.Fatalf("line %d", n)
	}
	h.opt.Lines, h.opt.Policy = three, policy
	h.apply()
	if n := h.send(call, 0); n != 3 {
		t.Errorf("after a line was added, it leaves by line %d", n)
	}
	h.steer(dsl)
	if n := h.send(udp("192.168.1.11:5060", "198.51.100.7:5060"), 0); n != 2 {
		t.Errorf("the new line is line %d", n)
	}
}

func TestASteeringThatIsNotToldAgainEnds(t *testing.T) {
	h := build(t, 2, false)
	h.apply()
	h.steer(dsl)
	h.in(func() error { // as it is when most of the minute is over
		t, err := h.opt.own()
		if err != nil {
			return err
		}
		left, err := h.opt.left(t, dsl)
		if err != nil || left > SteerFor || left < SteerFor-5*time.Second {
			return fmt.Errorf("left are %v, %w", left, err)
		}
		set := steerSet(h.opt.steerID(t, dsl))
		return commit(append([]change{{unix.NFT_MSG_DELSETELEM, 0, join(text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), text(unix.NFTA_SET_ELEM_LIST_SET, set))}},
			elementChanges(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, t.name, set, []element{{key: []byte{unix.NFPROTO_IPV4}, left: 3 * time.Second}})...))
	})
	if n := h.send(udp("192.168.1.10:5060", "198.51.100.7:5060"), 0); n != 2 {
		t.Errorf("before: line %d", n)
	}
	time.Sleep(3200 * time.Millisecond)
	if n := h.send(udp("192.168.1.11:5060", "198.51.100.7:5060"), 0); n != 1 {
		t.Errorf("after: line %d", n)
	}
	h.in(func() error {
		if to, err := h.opt.Steered(); err != nil || to != "" {
			return fmt.Errorf("it says %q, %w", to, err)
		}
		return nil
	})
}

// A controller with long cycles tells it less often.
func TestASteeringLastsAsLongAsItIsHeld(t *testing.T) {
	h := build(t, 2, false)
	h.opt.Hold = 3 * time.Minute
	h.apply()
	h.steer(dsl)
	h.in(func() error {
		t, err := h.opt.own()
		if err != nil {
			return err
		}
		if left, err := h.opt.left(t, dsl); err != nil || left > h.opt.Hold || left < h.opt.Hold-5*time.Second {
			return fmt.Errorf("left are %v, %w", left, err)
		}
		return nil
	})
}

// TestWhatStandsInTheWayIsSaidFirst: nothing is changed.
func TestWhatStandsInTheWayIsSaidFirst(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*house)
		want string
	}{
		"forwarding":   {func(h *house) { write(h.t, h.router, "ipv4/ip_forward", "0") }, "sysctl -w net.ipv4.ip_forward=1"},
		"rp_filter":    {func(h *house) { write(h.t, h.router, "ipv4/conf/wan2/rp_filter", "1") }, "sysctl -w net.ipv4.conf.wan2.rp_filter=2"},
		"interface":    {func(h *house) { h.opt.Lines[1].Interface = "wan9" }, "lines.DSL.interface: there is no interface wan9"},
		"lan":          {func(h *house) { h.opt.LAN = []string{"lan9"} }, "interfaces.lan: there is no interface lan9"},
		"gateway":      {func(h *house) { run(h.t, h.router, "route del default dev wan2") }, "write lines.DSL.gateway"},
		"marks":        {func(h *house) { h.somebody(0x00010000) }, "changes the bits 0x00010000 of connection marks"},
		"priority":     {func(h *house) { run(h.t, h.router, "rule add from 192.0.2.1 lookup main priority 30562") }, "set policy.rule_priority"},
		"table":        {func(h *house) { run(h.t, h.router, "rule add from 192.0.2.1 lookup 30562 priority 9") }, "set lines.DSL.table"},
		"route":        {func(h *house) { run(h.t, h.router, "route add 192.0.2.0/24 via 172.16.2.1 table 30562") }, "somebody else has a route in it"},
		"rule's bits":  {func(h *house) { run(h.t, h.router, "rule add fwmark 0x10000/0xf0000 lookup main priority 9") }, "set policy.mark_mask"},
		"another ours": {func(h *house) { o := h.opt; o.Name = "other"; h.in(func() error { _, err := o.Apply(); return err }) }, "another wanctl steers this host (table inet wanctl_other)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, 2, false)
			c.do(h)
			before := h.everything()
			h.in(func() error {
				p, err := h.opt.Apply()
				var e *Error
				if !errors.As(err, &e) || e.Kind != Refused || !strings.Contains(err.Error(), c.want) || len(p.Problems) == 0 {
					return fmt.Errorf("got %w, want %q", err, c.want)
				}
				return nil
			})
			if h.everything() != before {
				t.Error("something was changed")
			}
		})
	}
}

func TestWhatIsWorthKnowing(t *testing.T) {
	h := build(t, 2, false)
	run(t, h.router, "rule add fwmark 0xca6c lookup main priority 9", "route del default dev wan1", "link set wan2 down")
	h.opt.Lines[0].Gateway, h.opt.Lines[1].Gateway = netip.MustParseAddr("172.16.1.1"), netip.MustParseAddr("172.16.2.1")
	p := h.apply()
	all := strings.Join(p.Notes, "\n")
	for _, want := range []string{"compares the whole mark", "wan2 is down"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said: %s", want, all)
		}
	}
	// It comes up again, and its route with it.
	run(t, h.router, "link set wan2 up", "route add default via 172.16.2.1 dev wan2 metric 10")
	p = h.apply()
	if len(p.Steps) != 1 || !strings.Contains(p.Steps[0].Command, "route replace default via 172.16.2.1 dev wan2 table 30562") {
		t.Errorf("%+v", p.Steps)
	}
	if all := strings.Join(p.Notes, "\n"); !strings.Contains(all, "does not lead by wan1") {
		t.Error(all)
	}
	// The gateway of the main table goes: the last one stays.
	h.opt.Lines[1].Gateway = netip.Addr{}
	run(t, h.router, "route del default dev wan2")
	p = h.apply()
	if len(p.Steps) != 0 || !strings.Contains(strings.Join(p.Notes, "\n"), "its last gateway stays in use") {
		t.Errorf("%+v", p)
	}
	var g []Gateway
	h.send(tcp("192.168.1.50:1", "198.51.100.1:80"), 0)
	h.in(func() (err error) { g, err = h.opt.Gateways(); return err })
	if len(g) != 2 || g[1].Addr != netip.MustParseAddr("172.16.2.1") {
		t.Errorf("%+v", g)
	}
}

// TestNoConnectionChangesItsLine steers to and fro at random while calls come and go, and compares in every cycle what the
// kernel says of each connection with what it said when that was young.
func TestNoConnectionChangesItsLine(t *testing.T) {
	h := build(t, 3, false)
	h.apply()
	cycles := 100
	if os.Getenv("WANCTL_LONG") != "" {
		cycles = 1000
	}
	r := rand.New(rand.NewPCG(7, 7))
	type call struct {
		halves []flow.Packet
		line   int
	}
	var calls []call
	young := map[string]connection{}
	moved, used := 0, map[uint32]int{}
	targets := []string{"", dsl, lte}
	for n := range cycles {
		h.steer(targets[r.IntN(len(targets))])
		from := fmt.Sprintf("192.168.1.%d", 10+n%80)
		to := fmt.Sprintf("198.51.%d.%d", 100+n/200, 1+n%200)
		c := call{halves: []flow.Packet{udp(from+":5060", to+":5060"), udp(from+":16384", to+":16384"), tcp(from+":40000", to+":22")}}
		c.line = h.send(c.halves[0], 0)
		h.steer(targets[r.IntN(len(targets))]) // between its halves
		for i, p := range c.halves {
			if is := h.send(p, 0); is != c.line {
				t.Fatalf("cycle %d: half %d of a call is on line %d, and the call on %d", n, i, is, c.line)
			}
		}
		h.answer(c.line, c.halves[2], tcpSYN|tcpACK)
		calls = append(calls, c)
		for range 3 {
			o := calls[r.IntN(len(calls))]
			p := o.halves[r.IntN(len(o.halves))]
			p.Pickup = p.Protocol == flow.TCP
			if is := h.send(p, 0); is != o.line {
				t.Fatalf("cycle %d: %v moved from line %d to %d", n, p, o.line, is)
			}
		}
		for k, c := range h.connections() {
			y, known := young[k]
			switch {
			case !known:
				young[k] = c
				used[c.mark>>16&0x3f]++
			case y.mark != c.mark || y.outside != c.outside:
				moved++
				t.Errorf("cycle %d: %s: was %+v, is %+v", n, k, y, c)
			}
		}
	}
	t.Logf("%d cycles, %d connections, by line %v, %d moved", cycles, len(young), used, moved)
	if len(used) != 3 || len(young) < 3*cycles {
		t.Errorf("%d connections by line %v", len(young), used)
	}
}

// BenchmarkLookedAtOnceACycle is what a controller does when nobody changed anything.
func BenchmarkLookedAtOnceACycle(b *testing.B) {
	h := build(b, 2, false)
	h.apply()
	h.in(func() error {
		for b.Loop() {
			if p, err := h.opt.Apply(); err != nil || len(p.Steps) != 0 {
				return fmt.Errorf("%+v, %w", p, err)
			}
		}
		return nil
	})
}
