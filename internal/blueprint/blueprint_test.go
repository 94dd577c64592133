package blueprint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/flow"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// twoLines is a household with two lines, and steering between them.
func twoLines() Wanted {
	return Wanted{
		Lines: []Line{
			{
				Name: "Spectrum", WAN: "ether1", Queues: link.Pair[string]{Down: "WAN-Download-Spectrum", Up: "WAN-Upload-Spectrum"},
				Limits: link.Rates{Down: 940 * unit.Mbps, Up: 38 * unit.Mbps}, Overhead: 18, Mpu: 64, Cells: "none", AckFilter: true,
			},
			{
				Name: "ATT", WAN: "ether2", Queues: link.Pair[string]{Down: "WAN-Download-ATT", Up: "WAN-Upload-ATT"},
				Limits: link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, Overhead: 22, Cells: "ptm",
			},
		},
		Steering: &Steering{
			Policy: flow.Policy{
				Primary: "Spectrum", Alternates: []string{"ATT"}, Idle: flow.DefaultIdle,
				Classes: []flow.Class{
					{Name: "voip", Matches: []flow.Match{
						{Protocol: flow.UDP, Ports: flow.Ports{{First: 3478, Last: 3481}, {First: 5060, Last: 5061}}, DSCP: -1},
						{Protocol: flow.TCP, Ports: flow.Ports{{First: 5060, Last: 5061}}, DSCP: -1},
					}},
					{Name: "dscp", Matches: []flow.Match{{DSCP: 46}}},
				},
			},
			Comments: []string{"ADAPTIVE: Steer latency-sensitive to ATT"},
		},
		Account: &Account{Name: "wanctl", Policies: []string{"read", "write", "ssh"}, Address: "192.168.88.5"},
	}
}

// factory is a router as it comes, with two lines plugged in.
func factory() Inventory {
	return Inventory{
		Interface: {
			{".id": "*1", "name": "ether1", "type": "ether"},
			{".id": "*2", "name": "ether2", "type": "ether"},
			{".id": "*3", "name": "bridge", "type": "bridge"},
		},
		Filter: {
			{".id": "*1", "chain": "forward", "action": "passthrough", "dynamic": "true", "comment": "special dummy rule to show fasttrack counters"},
			{".id": "*2", "chain": "input", "action": "accept", "connection-state": "established,related,untracked"},
			{".id": "*3", "chain": "forward", "action": "fasttrack-connection", "connection-state": "established,related", "comment": "defconf: fasttrack"},
			{".id": "*4", "chain": "forward", "action": "accept", "connection-state": "established,related,untracked"},
		},
		NAT: {
			{".id": "*1", "chain": "srcnat", "action": "masquerade", "out-interface-list": "WAN", "comment": "defconf: masquerade"},
		},
		ListMember: {{".id": "*1", "list": "WAN", "interface": "ether1"}},
		Route: {
			{".id": "*1", "dst-address": "0.0.0.0/0", "gateway": "10.10.110.1", "immediate-gw": "10.10.110.1%ether1", "dynamic": "true", "routing-table": "main"},
			{".id": "*2", "dst-address": "0.0.0.0/0", "gateway": "10.10.111.1", "immediate-gw": "10.10.111.1%ether2", "distance": "2"},
		},
		Settings: {{"rp-filter": "no"}},
		Group:    {{".id": "*1", "name": "full", "policy": "local,telnet,ssh,ftp,reboot,read,write"}},
		User:     {{".id": "*1", "name": "admin", "group": "full"}},
	}
}

// router carries plans out on an inventory, as a router would.
type router struct {
	t   rapid.TB
	inv Inventory
	ids int
}

func (r *router) carry(p Plan) {
	r.t.Helper()
	for _, c := range p.Changes {
		rows := r.inv[c.Menu]
		at := func(id string) int {
			i := slices.IndexFunc(rows, func(row Row) bool { return row[".id"] == id })
			if i < 0 {
				r.t.Fatalf("%v %s: there is no %q", c.Verb, c.Menu, id)
			}
			return i
		}
		switch c.Verb {
		case Add:
			r.ids++
			row := Row{".id": "*" + strings.ToUpper(strconv.FormatInt(int64(1000+r.ids), 16))}
			for _, a := range c.Args {
				if _, twice := row[a.Key]; twice {
					r.t.Fatalf("%s: %s is given twice", c.Item, a.Key)
				}
				row[a.Key] = a.Value
			}
			i := len(rows)
			if c.Before != "" {
				i = at(c.Before)
			}
			r.inv[c.Menu] = slices.Insert(rows, i, row)
		case Set:
			row := r.inv[c.Menu][0]
			if c.ID != "" {
				row = rows[at(c.ID)]
			}
			for k, a := range c.Args {
				if row[a.Key] != c.Was[k].Value {
					r.t.Fatalf("%s: %s was %q, and the plan says %q", c.Item, a.Key, row[a.Key], c.Was[k].Value)
				}
				row[a.Key] = a.Value
				if a.Value == "" {
					delete(row, a.Key)
				}
			}
		case Move:
			i := at(c.ID)
			row := rows[i]
			rows = slices.Delete(rows, i, i+1)
			r.inv[c.Menu] = slices.Insert(rows, at(c.Before), row)
		case Remove:
			i := at(c.ID)
			r.inv[c.Menu] = slices.Delete(rows, i, i+1)
		}
	}
}

func clone(inv Inventory) Inventory {
	out := Inventory{}
	for menu, rows := range inv {
		for _, r := range rows {
			out[menu] = append(out[menu], maps.Clone(r))
		}
	}
	return out
}

// row finds the one item with this value.
func (r *router) row(menu, key, value string) Row {
	r.t.Helper()
	for _, row := range r.inv[menu] {
		if row[key] == value {
			return row
		}
	}
	r.t.Fatalf("%s has no %s=%s", menu, key, value)
	return nil
}

// index is an item's place in its menu.
func (r *router) index(menu, comment string) int {
	return slices.IndexFunc(r.inv[menu], commented(comment))
}

func TestFromTheFactory(t *testing.T) {
	w := twoLines()
	r := &router{t: t, inv: factory()}
	p := New(clone(r.inv), w)
	if p.Blocked() {
		t.Fatalf("%+v", p.Problems)
	}
	r.carry(p)
	if again := New(clone(r.inv), w); len(again.Changes) > 0 {
		t.Errorf("a second plan changes %+v", again.Changes)
	}
	if q := r.row(QueueTree, "name", "WAN-Download-ATT"); q["parent"] != "bridge" || q["packet-mark"] != MarkOf("ATT") || q["max-limit"] != "95000000" ||
		q["bucket-size"] != "0.01" || q["queue"] != "wanctl-ATT-download" {
		t.Errorf("%v", q)
	}
	if q := r.row(QueueType, "name", "wanctl-Spectrum-upload"); q["cake-ack-filter"] != "filter" || q["cake-nat"] != "yes" || q["cake-overhead"] != "18" ||
		q["cake-mpu"] != "64" || q["cake-atm"] != "none" || q["cake-bandwidth"] != "0" {
		t.Errorf("%v", q)
	}
	if q := r.row(Route, "routing-table", "wanctl-ATT"); q["gateway"] != "10.10.111.1%ether2" {
		t.Errorf("%v", q)
	}
	// ether1 is masqueraded already, as a member of a list; ether2 is not.
	if n := r.index(NAT, Owner+"source NAT of Spectrum"); n >= 0 {
		t.Error("a second source NAT for Spectrum")
	}
	r.row(NAT, "out-interface", "ether2")
	for _, note := range []string{"no FastTrack in by ATT", "no FastTrack out by Spectrum"} {
		if i := r.index(Filter, Owner+note); i < 0 || i > r.index(Filter, "defconf: fasttrack") {
			t.Errorf("%s: is at %d", note, i)
		}
	}
	order := []string{
		Owner + "calls on ATT", Owner + "new connections", Owner + "inbound on Spectrum", Owner + "inbound on ATT", Owner + "elsewhere: 10.0.0.0/8",
		Owner + "elsewhere: 224.0.0.0/4", Owner + "class voip 1", Owner + "class voip 2", Owner + "class dscp", Owner + "together on Spectrum", w.Steering.Comments[0],
		Owner + "new on Spectrum", Owner + "new call on ATT", Owner + "end of classes", Owner + "route of Spectrum", Owner + "route of ATT",
	}
	last := -1
	for _, c := range order {
		i := r.index(Mangle, c)
		if i <= last {
			t.Errorf("%q is at %d, after %d", c, i, last)
		}
		last = i
	}
	switched := r.row(Mangle, "comment", w.Steering.Comments[0])
	if switched["disabled"] != "yes" || switched["action"] != "mark-connection" || switched["connection-state"] != "new" || switched["connection-mark"] != "no-mark" {
		t.Errorf("%v", switched)
	}
	if u := r.row(User, "name", "wanctl"); u["group"] != "wanctl-group" || u["address"] != "192.168.88.5" {
		t.Errorf("%v", u)
	}
	if !hints(p, "comes from DHCP") || !hints(p, "no longer FastTracked") {
		t.Errorf("%+v", p.Problems)
	}

	// Steering enabled its rule meanwhile: no plan takes that back.
	switched["disabled"] = "no"
	if again := New(clone(r.inv), w); len(again.Changes) > 0 {
		t.Errorf("a plan switches steering's rule: %+v", again.Changes)
	}
	switched["disabled"] = "yes"

	r.carry(Undo(clone(r.inv), p.Changes))
	if d := cmp.Diff(full(factory()), full(r.inv)); d != "" {
		t.Errorf("after the undo (-before +after):\n%s", d)
	}
}

// full drops empty menus.
func full(inv Inventory) Inventory {
	maps.DeleteFunc(inv, func(_ string, rows []Row) bool { return len(rows) == 0 })
	return inv
}

func hints(p Plan, text string) bool {
	return slices.ContainsFunc(p.Problems, func(q Problem) bool { return strings.Contains(q.What, text) && q.Way != "" })
}

// One line alone needs no marks, and FastTrack stays.
func TestOneLine(t *testing.T) {
	w := twoLines()
	w.Lines, w.Steering, w.Account = w.Lines[1:], nil, nil
	r := &router{t: t, inv: factory()}
	p := New(clone(r.inv), w)
	r.carry(p)
	if len(r.inv[Mangle]) > 0 || len(r.inv[Filter]) != len(factory()[Filter]) || len(r.inv[User]) != 1 {
		t.Errorf("%+v", p.Changes)
	}
	if q := r.row(QueueTree, "name", "WAN-Download-ATT"); q["packet-mark"] != "no-mark" {
		t.Errorf("%v", q)
	}
	if !hints(p, "counts as the line's download") {
		t.Errorf("%+v", p.Problems)
	}
}

// Queues that somebody made keep their place, mark and limit; what makes them bloat is put right, and put back by an undo.
func TestQueuesThatAreThere(t *testing.T) {
	w := twoLines()
	w.Steering, w.Account = nil, nil
	before := factory()
	before[QueueType] = []Row{{".id": "*A", "name": "wanctl-ATT-upload", "kind": "cake", "cake-bandwidth": "18M", "cake-rtt": "00:00:00.100"}}
	before[QueueTree] = []Row{
		{".id": "*1", "name": "WAN-Download-Spectrum", "parent": "global", "packet-mark": "dl", "max-limit": "550M", "queue": "default-small", "bucket-size": "0.1"},
		{".id": "*2", "name": "WAN-Upload-Spectrum", "parent": "bridge", "max-limit": "38000000", "queue": "wanctl-Spectrum-upload", "bucket-size": "0.010", "burst-time": "00:00:01"},
		{".id": "*3", "name": "somebody's", "parent": "ether1", "comment": "guests"},
		{".id": "*4", "name": "WAN-Download-ATT", "parent": "bridge", "max-limit": "95000000", "disabled": "true"},
	}
	before[QueueSimple] = []Row{{".id": "*1", "name": "kids", "target": "192.168.88.0/24"}, {".id": "*2", "name": "off", "disabled": "true"}}
	before[Address6] = []Row{{".id": "*1", "address": "fe80::1/64", "link-local": "true"}, {".id": "*2", "address": "2001:db8::1/64", "link-local": "false"}}
	before[Filter6] = []Row{{".id": "*1", "chain": "forward", "action": "fasttrack-connection"}}
	r := &router{t: t, inv: clone(before)}
	p := New(clone(r.inv), w)
	r.carry(p)
	q := r.row(QueueTree, "name", "WAN-Download-Spectrum")
	if q["parent"] != "global" || q["packet-mark"] != "dl" || q["max-limit"] != "550M" || q["queue"] != "wanctl-Spectrum-download" || q["bucket-size"] != "0.01" {
		t.Errorf("%v", q)
	}
	if q := r.row(QueueTree, "name", "WAN-Upload-Spectrum"); q["burst-time"] != "0s" || q["bucket-size"] != "0.010" {
		t.Errorf("%v", q)
	}
	if q := r.row(QueueTree, "name", "WAN-Download-ATT"); q["disabled"] != "no" {
		t.Errorf("%v", q)
	}
	if len(r.inv[Mangle6]) != 1 || len(r.inv[Filter6]) != 5 {
		t.Errorf("IPv6 has no twins: %v, %v", r.inv[Mangle6], r.inv[Filter6])
	}
	for _, text := range []string{"hangs under global", "hangs under bridge, and not under ether1", "has no packet mark", `simple queue "kids"`, `queue "guests" hangs under ether1`} {
		if !hints(p, text) {
			t.Errorf("nothing says %q: %+v", text, p.Problems)
		}
	}
	if hints(p, `"off"`) {
		t.Error("a disabled queue is told")
	}
	// Somebody changes one of the values meanwhile: an undo leaves it.
	q["bucket-size"] = "0.05"
	undo := Undo(clone(r.inv), p.Changes)
	r.carry(undo)
	if !hints(undo, "bucket-size is 0.05") {
		t.Errorf("%+v", undo.Problems)
	}
	q["bucket-size"] = "0.1"
	delete(before, QueueType) // by its name it was wanctl's
	for _, row := range r.inv[QueueTree] {
		for k, v := range row {
			if v == defaults[k] {
				delete(row, k)
			}
		}
	}
	for _, row := range before[QueueTree] {
		for k, v := range row {
			if v == defaults[k] {
				delete(row, k)
			}
		}
	}
	if d := cmp.Diff(full(before), full(r.inv)); d != "" {
		t.Errorf("after the undo (-before +after):\n%s", d)
	}
}

func TestBlockers(t *testing.T) {
	for text, spoil := range map[string]func(Inventory, *Wanted){
		"needs the files of all these lines": func(_ Inventory, w *Wanted) { w.Lines = w.Lines[:1] },
		"which interface the line is on":     func(_ Inventory, w *Wanted) { w.Lines[0].WAN = "" },
		`has no interface "ether7"`:          func(_ Inventory, w *Wanted) { w.Lines[1].WAN = "ether7" },
		"by which interface the download":    func(inv Inventory, _ *Wanted) { inv[Interface] = inv[Interface][:2] },
		"not exactly one bridge": func(inv Inventory, _ *Wanted) {
			inv[Interface] = append(inv[Interface], Row{"name": "b2", "type": "bridge"})
		},
		"with which max-limit":              func(_ Inventory, w *Wanted) { w.Lines[0].Limits = link.Rates{} },
		"no default route leaves by ether2": func(inv Inventory, _ *Wanted) { inv[Route] = inv[Route][:1] },
		"no traffic class is switched on":   func(_ Inventory, w *Wanted) { w.Steering.Policy.Classes = nil },
	} {
		inv, w := factory(), twoLines()
		spoil(inv, &w)
		p := New(inv, w)
		found := slices.ContainsFunc(p.Problems, func(q Problem) bool {
			return q.Severity == Blocker && strings.Contains(q.What, text) && q.Way != ""
		})
		if !found || !p.Blocked() {
			t.Errorf("nothing says %q: %+v", text, p.Problems)
		}
	}
}

func TestHints(t *testing.T) {
	for text, change := range map[string]func(Inventory, *Wanted){
		`mangle rule "QoS" marks connections (bulk)`: func(inv Inventory, _ *Wanted) {
			inv[Mangle] = []Row{{".id": "*1", "action": "mark-connection", "new-connection-mark": "bulk", "comment": "QoS"}}
		},
		"mangle rule *1 chooses routes": func(inv Inventory, _ *Wanted) {
			inv[Mangle] = []Row{{".id": "*1", "action": "mark-routing", "new-routing-mark": "x"}}
		},
		"connections over IPv6 are not steered": func(inv Inventory, _ *Wanted) { inv[Address6] = []Row{{"address": "2001:db8::1/64"}} },
		"mangle rule \"VIP\" accepts packets before": func(inv Inventory, _ *Wanted) {
			inv[Mangle] = []Row{{".id": "*1", "chain": "prerouting", "action": "accept", "comment": "VIP"}}
		},
		"mangle rule *1 marks packets (bulk)": func(inv Inventory, w *Wanted) {
			inv[Mangle] = []Row{{".id": "*1", "chain": "forward", "action": "mark-packet", "new-packet-mark": "bulk"}}
			w.Steering = nil
		},
		"1997 further mangle rules mark connections as well": func(inv Inventory, _ *Wanted) {
			for i := range 2000 {
				inv[Mangle] = append(inv[Mangle], Row{".id": fmt.Sprintf("*%X", i+1), "action": "mark-connection"})
			}
		},
		"class dscp: what goes to 10.1.2.3 never moves": func(_ Inventory, w *Wanted) {
			w.Steering.Policy.Classes[1].Matches[0].To = netip.MustParsePrefix("10.1.2.3/32")
		},
		"the main table has 40 routes": func(inv Inventory, _ *Wanted) {
			for i := range 40 {
				inv[Route] = append(inv[Route], Row{"dst-address": fmt.Sprintf("198.51.%d.0/24", i), "gateway": "wg"})
			}
		},
		"user wanctl is in the group full": func(inv Inventory, _ *Wanted) { inv[User] = append(inv[User], Row{"name": "wanctl", "group": "full"}) },
	} {
		inv, w := factory(), twoLines()
		change(inv, &w)
		if p := New(inv, w); !hints(p, text) || p.Blocked() {
			t.Errorf("nothing says %q: %+v", text, p.Problems)
		}
	}
	// What is off, or the router's own, is no collision.
	inv := factory()
	inv[Mangle] = []Row{
		{".id": "*1", "action": "mark-connection", "disabled": "true"},
		{".id": "*2", "action": "mark-routing", "dynamic": "true"},
		{".id": "*3", "action": "mark-routing", "invalid": "true"},
		{".id": "*4", "action": "change-mss"},
	}
	if p := New(inv, twoLines()); hints(p, "mangle rule") {
		t.Errorf("%+v", p.Problems)
	}
}

// The gateway is found in each of the forms that a router has it in.
func TestGateway(t *testing.T) {
	for name, inv := range map[string]Inventory{
		"immediate":    {Route: {{"dst-address": "0.0.0.0/0", "gateway": "192.0.2.1", "immediate-gw": "192.0.2.1%ether2"}}},
		"scoped":       {Route: {{"dst-address": "0.0.0.0/0", "gateway": "192.0.2.1%ether2"}}},
		"dhcp alone":   {DHCPClient: {{"interface": "ether2", "gateway": "192.0.2.1"}}},
		"recursive":    {Route: {{"dst-address": "0.0.0.0/0", "gateway": "8.8.8.8", "immediate-gw": "192.0.2.1%ether2"}}},
		"not disabled": {Route: {{"dst-address": "0.0.0.0/0", "gateway": "192.0.2.9%ether2", "disabled": "true"}, {"dst-address": "0.0.0.0/0", "gateway": "192.0.2.1%ether2"}}},
	} {
		p := planner{inv: inv}
		if gw, _ := p.gateway("ether2"); gw != "192.0.2.1%ether2" {
			t.Errorf("%s: %q", name, gw)
		}
	}
	p := planner{inv: Inventory{Route: {{"dst-address": "0.0.0.0/0", "gateway": "pppoe-out1", "dynamic": "true"}}}}
	if gw, dynamic := p.gateway("pppoe-out1"); gw != "pppoe-out1" || dynamic {
		t.Errorf("%q, %t: an interface as the gateway follows by itself", gw, dynamic)
	}
}

// What the main table reaches by other ways than the lines stays out of their tables, which have a default route alone.
func TestElsewhere(t *testing.T) {
	inv := factory()
	inv[Route] = append(inv[Route],
		Row{"dst-address": "198.51.100.0/24", "gateway": "wg-office", "routing-table": "main"},
		Row{"dst-address": "198.51.100.128/25", "gateway": "wg-office"},
		Row{"dst-address": "203.0.113.0/24", "gateway": "ether2", "dynamic": "true"},
		Row{"dst-address": "192.168.20.0/24", "gateway": "guests"},
		Row{"dst-address": "192.0.2.0/24", "gateway": "ether1", "routing-table": "other"},
		Row{"dst-address": "192.0.3.0/24", "gateway": "ether1", "disabled": "true"})
	p := planner{inv: inv}
	want := append(slices.Clone(private), "198.51.100.0/24", "203.0.113.0/24")
	if d := cmp.Diff(want, p.elsewhere()); d != "" {
		t.Error(d)
	}
	r := &router{t: t, inv: inv}
	r.carry(New(clone(inv), twoLines()))
	way := r.row(Mangle, "comment", Owner+"elsewhere: 198.51.100.0/24")
	if way["chain"] != fresh || way["action"] != "return" || way["dst-address"] != "198.51.100.0/24" {
		t.Errorf("%v", way)
	}
	// The router's own word on a forwarded connection goes to the LAN, whatever the connection's mark.
	if a := r.row(Mangle, "comment", Owner+"answers by ATT"); a["chain"] != "output" || a["out-interface"] != "ether1" {
		t.Errorf("%v", a)
	}
}

// A rule of ours that somebody switched off is switched on again, but for steering's.
func TestOwnRulesThatAreOff(t *testing.T) {
	r := &router{t: t, inv: factory()}
	r.carry(New(clone(r.inv), twoLines()))
	for _, menu := range []string{Mangle, Filter, NAT} {
		for _, row := range r.inv[menu] {
			if Owned(menu, row) {
				row["disabled"] = "true"
			}
		}
	}
	p := New(clone(r.inv), twoLines())
	r.carry(p)
	for _, menu := range []string{Mangle, Filter, NAT} {
		for _, row := range r.inv[menu] {
			if Owned(menu, row) && Truth(row["disabled"]) {
				t.Errorf("%s stays off: %v", menu, row)
			}
		}
	}
	if again := New(clone(r.inv), twoLines()); len(p.Changes) == 0 || len(again.Changes) > 0 {
		t.Errorf("%s, then %s", show(p), show(again))
	}
}

// Masquerading of a part is none: hairpin NAT has no out-interface either.
func TestPartialMasquerade(t *testing.T) {
	inv := factory()
	inv[NAT] = append(inv[NAT], Row{".id": "*2", "chain": "srcnat", "action": "masquerade", "dst-address": "192.168.88.0/24", "comment": "hairpin"})
	r := &router{t: t, inv: inv}
	r.carry(New(clone(inv), twoLines()))
	r.row(NAT, "out-interface", "ether2")
}

// Several FastTrack rules: the exclusions stand before the first of each chain.
func TestFastTrackChains(t *testing.T) {
	inv := factory()
	inv[Filter] = append(inv[Filter],
		Row{".id": "*5", "chain": "forward", "action": "fasttrack-connection"},
		Row{".id": "*6", "chain": "lan-wan", "action": "fasttrack-connection", "comment": "own"},
		Row{".id": "*7", "chain": "late", "action": "fasttrack-connection", "disabled": "true"})
	r := &router{t: t, inv: inv}
	r.carry(New(clone(inv), twoLines()))
	if len(r.inv[Filter]) != len(inv[Filter]) || len(inv[Filter]) != 7+8 {
		t.Errorf("%v", r.inv[Filter])
	}
	if i := r.index(Filter, Owner+"no FastTrack in by ATT in lan-wan"); i < 0 || i > r.index(Filter, "own") || r.inv[Filter][i]["chain"] != "lan-wan" {
		t.Errorf("at %d: %v", i, r.inv[Filter])
	}
	if again := New(clone(r.inv), twoLines()); len(again.Changes) > 0 {
		t.Errorf("a second plan: %s", show(again))
	}
}

// A group's set adds the rights that it names and takes none away that it does not.
func TestGroupLosesRights(t *testing.T) {
	inv := factory()
	inv[Group] = append(inv[Group], Row{".id": "*9", "name": "wanctl-group", "policy": "read,write,ssh,reboot,!ftp", "comment": Owner + "rights of wanctl's user"})
	for _, c := range New(inv, twoLines()).Changes {
		if c.Menu == Group {
			if c.Verb != Set || len(c.Args) != 1 || c.Args[0].Value != "read,write,ssh,!reboot" {
				t.Errorf("%+v", c)
			}
			return
		}
	}
	t.Error("the group is left alone")
}

// A second line: the first one's queue was made without marks, and gets its own; a line that moved takes its queues along.
func TestFromOneLineToTwo(t *testing.T) {
	one, two := twoLines(), twoLines()
	one.Lines, one.Steering = one.Lines[:1], nil
	r := &router{t: t, inv: factory()}
	r.carry(New(clone(r.inv), one))
	other := twoLines()
	other.Lines, other.Steering = other.Lines[1:], nil
	if p := New(clone(r.inv), other); !p.Blocked() || !hints(p, "has the queue WAN-Download-Spectrum of another line") {
		t.Errorf("the second line by itself: %+v", p.Problems)
	}
	p := New(clone(r.inv), two)
	r.carry(p)
	if q := r.row(QueueTree, "name", "WAN-Download-Spectrum"); q["packet-mark"] != MarkOf("Spectrum") {
		t.Errorf("%v", q)
	}
	if p := New(clone(r.inv), one); len(p.Changes) > 0 || p.Blocked() {
		t.Errorf("the first line by itself: %s %+v", show(p), p.Problems)
	}
	two.Lines[1].WAN = "ether9"
	r.inv[Interface] = append(r.inv[Interface], Row{".id": "*9", "name": "ether9"})
	two.Steering = nil
	r.carry(New(clone(r.inv), two))
	if q := r.row(QueueTree, "name", "WAN-Upload-ATT"); q["parent"] != "ether9" {
		t.Errorf("%v", q)
	}
}

// Somebody's queue keeps its mark, and no rule of ours takes that off its packets.
func TestQueueWithItsOwnMark(t *testing.T) {
	for mark, want := range map[string]string{"dl": "keeps its packet mark dl", "no-mark": "takes packets without a mark", "": "has no packet mark"} {
		inv := factory()
		inv[QueueTree] = []Row{{".id": "*1", "name": "WAN-Download-ATT", "parent": "bridge", "packet-mark": mark}}
		r := &router{t: t, inv: inv}
		p := New(clone(inv), twoLines())
		r.carry(p)
		if !hints(p, want) {
			t.Errorf("%q: %+v", mark, p.Problems)
		}
		if marks := r.index(Mangle, Owner+"download of ATT") >= 0; marks != (mark != "dl") {
			t.Errorf("%q: a rule marks ATT's packets: %t", mark, marks)
		}
	}
}

// What two programs added at the same time is there once in the end; of the rule that is switched there may be one.
func TestTwice(t *testing.T) {
	r := &router{t: t, inv: factory()}
	r.carry(New(clone(r.inv), twoLines()))
	want := clone(r.inv)
	for _, menu := range []string{Mangle, Filter, NAT, Route} {
		for i, row := range slices.Clone(r.inv[menu]) {
			if Owned(menu, row) {
				twin := maps.Clone(row)
				twin[".id"] = fmt.Sprintf("*F%X", i)
				r.inv[menu] = append(r.inv[menu], twin)
			}
		}
	}
	r.carry(New(clone(r.inv), twoLines()))
	if d := cmp.Diff(want, r.inv); d != "" {
		t.Errorf("(-once +now):\n%s", d)
	}
	twin := maps.Clone(r.row(Mangle, "comment", twoLines().Steering.Comments[0]))
	twin[".id"] = "*FF"
	r.inv[Mangle] = append(r.inv[Mangle], twin)
	if p := New(r.inv, twoLines()); !p.Blocked() || !hints(p, "is switched is there twice") {
		t.Errorf("%+v", p.Problems)
	}
}

// What probes a line goes through it, whatever else matches it.
func TestProbesGoTheirWay(t *testing.T) {
	w := twoLines()
	w.Lines[0].Sources, w.Lines[1].Sources = []string{"192.168.88.5"}, []string{"192.168.88.6"}
	r := &router{t: t, inv: factory()}
	r.carry(New(clone(r.inv), w))
	rule := r.row(Mangle, "src-address", "192.168.88.6")
	if rule["new-connection-mark"] != ConnectionMark("ATT") || rule["chain"] != fresh || rule["connection-mark"] != "no-mark" ||
		r.index(Mangle, rule["comment"]) > r.index(Mangle, Owner+"class voip 1") {
		t.Errorf("%v", rule)
	}
	r.row(Mangle, "src-address", "192.168.88.5")
	if again := New(clone(r.inv), w); len(again.Changes) > 0 {
		t.Errorf("a second plan: %s", show(again))
	}
	w.Lines[0].Sources = w.Lines[1].Sources
	r = &router{t: t, inv: factory()}
	p := New(clone(r.inv), w)
	r.carry(p)
	if !hints(p, "is probed from 192.168.88.6, too") || slices.ContainsFunc(r.inv[Mangle], func(row Row) bool { return row["src-address"] != "" }) {
		t.Errorf("%+v", p.Problems)
	}
}

func TestStrictFilter(t *testing.T) {
	inv := factory()
	inv[Settings] = []Row{{"rp-filter": "strict"}}
	r := &router{t: t, inv: inv}
	r.carry(New(clone(inv), twoLines()))
	if inv[Settings][0]["rp-filter"] != "loose" {
		t.Errorf("%v", inv[Settings])
	}
}

func TestSame(t *testing.T) {
	for _, k := range []struct {
		key, is, want string
		same          bool
	}{
		{"max-limit", "10M", "10000000", true},
		{"max-limit", "10M", "1000000", false},
		{"max-limit", "x", "10", false},
		{"limit-at", "1G", "1000000000", true},
		{"burst-limit", "", "0", true},
		{"burst-limit", "5k", "0", false},
		{"burst-time", "00:00:00", "0s", true},
		{"burst-time", "1d00:00:01", "24h1s", true},
		{"burst-time", "1w", "168h", true},
		{"burst-time", "1x2d", "1s", false},
		{"burst-time", "a:b", "0s", false},
		{"cake-rtt", "00:00:00.100", "100ms", true},
		{"cake-rtt", "", "100ms", true},
		{"cake-rtt", "1:2", "100ms", false},
		{"bucket-size", "0.010", "0.01", true},
		{"bucket-size", "", "0.01", false},
		{"cake-overhead", "", "18", false},
		{"disabled", "true", "yes", true},
		{"disabled", "", "no", true},
		{"disabled", "false", "yes", false},
		{"connection-state", "related;established", "established,related", true},
		{"policy", "read,write,ssh,!ftp,!web", "ssh,read,write", true},
		{"policy", "read,write,ssh,web", "ssh,read,write", false},
		{"address", "192.0.2.1/32", "192.0.2.1", true},
		{"address", "192.0.2.0/24", "192.0.2.1", false},
		{"action", "accept", "drop", false},
	} {
		if got := same(k.key, k.is, k.want); got != k.same {
			t.Errorf("%s: %q and %q: %t", k.key, k.is, k.want, got)
		}
	}
}

// Whatever of it is there already, in whatever order, and whatever else: a plan that was carried out leaves nothing to do,
// puts the rules in their order, touches nobody else's rule, and an undo takes all of it away.
func TestPropertyPlansConverge(t *testing.T) {
	whole := func(t rapid.TB) Inventory {
		r := &router{t: t, inv: factory(), ids: 500}
		r.carry(New(clone(r.inv), twoLines()))
		return r.inv
	}(t)
	rapid.Check(t, func(t *rapid.T) {
		inv := clone(whole)
		for menu, rows := range inv {
			kept := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
				return (Owned(menu, r) || r["comment"] == twoLines().Steering.Comments[0]) && rapid.Bool().Draw(t, "gone")
			})
			if menu == Mangle && len(kept) > 1 {
				kept = rapid.Permutation(kept).Draw(t, "order")
			}
			for _, r := range kept {
				if Owned(menu, r) && rapid.IntRange(0, 9).Draw(t, "spoil") == 0 {
					for _, k := range []string{"action", "parent", "gateway", "policy", "cake-flowmode"} {
						if _, has := r[k]; has && menu != QueueTree {
							r[k] = "spoilt"
						}
					}
				}
			}
			inv[menu] = kept
		}
		foreign := Row{".id": "*FF", "chain": "prerouting", "action": "change-mss", "comment": "theirs"}
		inv[Mangle] = slices.Insert(inv[Mangle], rapid.IntRange(0, len(inv[Mangle])).Draw(t, "at"), foreign)
		r := &router{t: t, inv: inv}
		p := New(clone(inv), twoLines())
		for _, c := range p.Changes {
			if c.ID == "*FF" || c.Item == "" || c.Why == "" {
				t.Fatalf("%+v", c)
			}
		}
		r.carry(p)
		if again := New(clone(r.inv), twoLines()); len(again.Changes) > 0 {
			t.Fatalf("a second plan changes %s", show(again))
		}
		last := -1
		for _, c := range []string{"class voip 1", "class voip 2", "class dscp", "new on Spectrum", "end of classes", "route of ATT"} {
			i := r.index(Mangle, Owner+c)
			if i <= last {
				t.Fatalf("%s is at %d, after %d", c, i, last)
			}
			last = i
		}
		r.carry(Undo(clone(r.inv), append(New(factory(), twoLines()).Changes, p.Changes...)))
		for menu, rows := range r.inv {
			for _, row := range rows {
				if Owned(menu, row) {
					t.Fatalf("%s is left: %v", menu, row)
				}
			}
		}
		if r.index(Mangle, "theirs") < 0 {
			t.Fatal("somebody else's rule is gone")
		}
	})
}

func show(p Plan) string {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "\n%v %s %s %v was %v before %q", c.Verb, c.Menu, c.Item, c.Args, c.Was, c.Before)
	}
	return b.String()
}

func TestVerbs(t *testing.T) {
	if Add.String() != "add" || Remove.String() != "remove" || Verb(9).String() != "invalid" {
		t.Error("verbs")
	}
	if len(Menus()) < 15 || !slices.Contains(Menus()[Mangle], "new-connection-mark") || slices.Contains(Menus()[Filter], "new-connection-mark") {
		t.Errorf("%v", Menus())
	}
}
