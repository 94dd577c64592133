// Package blueprint says what a RouterOS router lacks for a configuration to work: it compares what is there with what is
// wanted and returns the changes, in an order that is safe. It knows menus and properties, and neither how commands are
// written nor how they get to the router.
package blueprint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/flow"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Row is one item of a menu: its properties by name, and its id as ".id". An absent property is at RouterOS's default.
type Row map[string]string

// Inventory is what the router holds, by menu ("/queue/tree"), each in the router's order.
type Inventory map[string][]Row

// The menus a plan looks at.
const (
	QueueType   = "/queue/type"
	QueueTree   = "/queue/tree"
	QueueSimple = "/queue/simple"
	Interface   = "/interface"
	Mangle      = "/ip/firewall/mangle"
	Filter      = "/ip/firewall/filter"
	NAT         = "/ip/firewall/nat"
	Mangle6     = "/ipv6/firewall/mangle"
	Filter6     = "/ipv6/firewall/filter"
	Address6    = "/ipv6/address"
	AddressList = "/ip/firewall/address-list"
	Route       = "/ip/route"
	Table       = "/routing/table"
	Settings    = "/ip/settings"
	ListMember  = "/interface/list/member"
	DHCPClient  = "/ip/dhcp-client"
	Group       = "/user/group"
	User        = "/user"
)

// Menus are all menus that [New] reads, with the properties it needs of each.
func Menus() map[string][]string {
	firewall := []string{
		".id", "chain", "action", "comment", "disabled", "dynamic", "invalid", "connection-state", "connection-mark", "packet-mark",
		"in-interface", "in-interface-list", "out-interface", "out-interface-list", "dst-address-type", "protocol", "dst-port", "src-address", "dst-address", "dst-address-list", "dscp",
	}
	nat := slices.DeleteFunc(slices.Clone(firewall), func(k string) bool { return k == "connection-state" }) // NAT sees new connections alone
	mangle := append(slices.Clone(firewall), "new-connection-mark", "new-packet-mark", "new-routing-mark", "passthrough", "jump-target",
		"src-address-list", "address-list", "address-list-timeout", "tcp-flags", "connection-bytes")
	return map[string][]string{
		QueueType: {
			".id", "name", "kind", "cake-bandwidth", "cake-diffserv", "cake-flowmode", "cake-nat", "cake-wash", "cake-ack-filter", "cake-rtt",
			"cake-overhead", "cake-mpu", "cake-atm", "cake-autorate-ingress",
		},
		QueueTree: {
			".id", "name", "parent", "packet-mark", "queue", "max-limit", "limit-at", "bucket-size", "burst-limit", "burst-threshold", "burst-time",
			"priority", "disabled", "comment", "invalid",
		},
		QueueSimple: {
			".id", "name", "target", "dst", "parent", "packet-marks", "queue", "max-limit", "limit-at", "bucket-size", "burst-limit", "burst-threshold",
			"burst-time", "priority", "total-max-limit", "time", "disabled", "dynamic", "invalid", "comment",
		},
		Interface:   {".id", "name", "type", "running", "disabled"},
		Mangle:      mangle,
		Filter:      firewall,
		NAT:         nat,
		Mangle6:     mangle,
		Filter6:     firewall,
		AddressList: {".id", "list", "address", "comment", "disabled", "dynamic"},
		Address6:    {".id", "address", "interface", "disabled", "link-local"},
		Route:       {".id", "dst-address", "gateway", "immediate-gw", "routing-table", "distance", "disabled", "dynamic", "active", "comment", "check-gateway"},
		Table:       {".id", "name", "fib", "disabled", "comment"},
		Settings:    {"rp-filter"},
		ListMember:  {".id", "list", "interface", "disabled"},
		DHCPClient:  {".id", "interface", "gateway", "disabled"},
		Group:       {".id", "name", "policy", "comment"},
		User:        {".id", "name", "group", "address", "disabled", "comment"},
		Scheduler:   heartbeatKeys,
	}
}

// Owner begins the comment of everything that a plan adds, and Prefix the name of what has no comment: by these an undo
// finds them.
const (
	Owner  = "wanctl: "
	Prefix = "wanctl-"
)

// Arg is one property and its value.
type Arg struct{ Key, Value string }

// Verb is what a change does.
type Verb uint8

// The verbs.
const (
	Add Verb = iota
	Set
	Move
	Remove
)

var verbNames = [...]string{Add: "add", Set: "set", Move: "move", Remove: "remove"}

// String returns the router's command.
func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return "invalid"
}

// Change is one command.
type Change struct {
	Verb Verb
	Menu string
	// ID is the item; empty for Add, and for the settings of a menu without items.
	ID string
	// Before is the id of the item that an Add or a Move puts it in front of; empty is the end.
	Before string
	// Item names the thing to a person: "queue WAN-Download".
	Item string
	// Args are what is set, and Was what those were; both empty for Move and Remove.
	Args, Was []Arg
	// Why says what a user has from it.
	Why string
	// Privileged says that the change needs the policy right, which wanctl's own user shall not have.
	Privileged bool
}

// Severity is how much a problem matters.
type Severity uint8

// The severities.
const (
	// Hint is worth knowing.
	Hint Severity = iota
	// Blocker keeps the plan from being carried out.
	Blocker
)

// Problem is something that a plan does not change by itself.
type Problem struct {
	Severity Severity
	// What is the finding, Way the way out.
	What, Way string
	// Shapes says that it is something which shapes the lines' traffic a second time.
	Shapes bool `json:"-"`
	// Heartbeat says that it keeps a heartbeat from being made.
	Heartbeat bool `json:"-"`
}

// Plan is what to do.
type Plan struct {
	Changes  []Change
	Problems []Problem
}

// Blocked says whether a problem keeps the plan from being carried out.
func (p Plan) Blocked() bool {
	return slices.ContainsFunc(p.Problems, func(q Problem) bool { return q.Severity == Blocker })
}

// Line is a WAN whose queues wanctl sets.
type Line struct {
	Name string
	// WAN is the interface the line is on, LAN the one its download leaves by; LAN may be empty where the router has one
	// bridge only.
	WAN, LAN string
	// Sources are the addresses, each once, from which the line is probed; with steering they are sent by it.
	Sources []string
	// Queues are the names of the two queues in the tree, both empty with Simple, the name of the one simple queue.
	Queues link.Pair[string]
	Simple string
	// Limits are the max-limits of queues that are not there yet, and what a heartbeat restores; those of the others are the
	// controller's.
	Limits link.Rates
	// Overhead and Mpu are in bytes, Cells is CAKE's "none", "atm" or "ptm"; Raw leaves all three at RouterOS's defaults.
	Raw           bool
	Overhead, Mpu int
	Cells         string
	// AckFilter drops superfluous acknowledgements on the upload.
	AckFilter bool
	// Heartbeat lets the router put Limits on the queues when the controller's mark has gone.
	Heartbeat bool
}

// Steering is the set-up of several lines between which new connections are steered.
type Steering struct {
	// Policy says by which line a connection goes. Its Sources and Elsewhere are not looked at: a plan takes them from the
	// lines and from the router's routes.
	Policy flow.Policy
	// Comments are those of the rules that are switched, one for each of the policy's alternates.
	Comments []string
	// ByList says that the rules are always enabled, and take what is on the list [link.SteerList] of their line.
	ByList bool
	// Heartbeat lets the router disable the rules when the controller's mark has gone. What is on lists goes by itself.
	Heartbeat bool
}

// Account is the router's user that wanctl logs in as.
type Account struct {
	Name string
	// Policies are the rights it needs, and no more.
	Policies []string
	// Address is where it logs in from; empty is anywhere.
	Address string
}

// Wanted is what a configuration asks for.
type Wanted struct {
	Lines    []Line
	Steering *Steering
	Account  *Account
}

// New compares a router with what is wanted.
func New(inv Inventory, w Wanted) Plan {
	p := planner{inv: inv, want: w}
	p.account()
	p.queueTypes()
	for i := range w.Lines {
		p.queues(&w.Lines[i])
	}
	p.marks()
	p.steering()
	p.collisions()
	p.fastTrack()
	p.others()
	p.heartbeats()
	p.beside()
	return p.plan
}

// planner is a plan in the making.
type planner struct {
	inv  Inventory
	want Wanted
	plan Plan
}

func (p *planner) hint(what, way string) {
	p.plan.Problems = append(p.plan.Problems, Problem{Severity: Hint, What: what, Way: way})
}

func (p *planner) block(what, way string) {
	p.plan.Problems = append(p.plan.Problems, Problem{Severity: Blocker, What: what, Way: way})
}

// marked says whether downloads are told apart by packet marks: with more than one line they all leave by the LAN.
func (p *planner) marked() bool { return len(p.want.Lines) > 1 }

// item is something that shall be on the router.
type item struct {
	menu, name string
	is         func(Row) bool
	args       []Arg
	before     string // for a new one
	why        string
	privileged bool
}

// at is the first of the rows that is the item, -1 when none is. What the router made itself never is.
func (it item) at(rows []Row) int {
	return slices.IndexFunc(rows, func(r Row) bool { return !Truth(r["dynamic"]) && it.is(r) })
}

// need adds what is missing and sets what differs.
func (p *planner) need(it item) {
	i := it.at(p.inv[it.menu])
	if i < 0 {
		p.plan.Changes = append(p.plan.Changes, Change{
			Verb: Add, Menu: it.menu, Item: it.name, Args: it.args, Before: it.before, Why: it.why, Privileged: it.privileged,
		})
		return
	}
	r := p.inv[it.menu][i]
	p.single(it, p.inv[it.menu][i+1:])
	c := Change{Verb: Set, Menu: it.menu, ID: r[".id"], Item: it.name, Why: it.why, Privileged: it.privileged}
	c.Args = Missing(r, it.args)
	if Owned(it.menu, r) && Truth(r["disabled"]) && !slices.ContainsFunc(it.args, func(a Arg) bool { return a.Key == "disabled" }) {
		c.Args = append(c.Args, Arg{"disabled", "no"})
	}
	for _, a := range c.Args {
		c.Was = append(c.Was, Arg{a.Key, r[a.Key]})
	}
	if len(c.Args) > 0 {
		p.plan.Changes = append(p.plan.Changes, c)
	}
}

// single takes further items like one away, or says that they are in the way where wanctl did not make them.
func (p *planner) single(it item, others []Row) {
	for _, r := range others {
		switch {
		case Truth(r["dynamic"]) || !it.is(r):
		case Owned(it.menu, r):
			p.plan.Changes = append(p.plan.Changes, Change{
				Verb: Remove, Menu: it.menu, ID: r[".id"], Item: it.name, Why: "it is there twice", Privileged: it.privileged,
			})
		default:
			p.block(fmt.Sprintf("%s is there twice in %s", it.name, it.menu), "remove one of those with the comment "+describe(r))
			return
		}
	}
}

// Missing are those of some properties that an item does not have.
func Missing(r Row, args []Arg) (missing []Arg) {
	for _, a := range args {
		if !same(a.Key, r[a.Key], a.Value) {
			missing = append(missing, a)
		}
	}
	return missing
}

// ordered does the same for rules that must stand in this order, whatever else stands between them.
func (p *planner) ordered(items []item) {
	rows := p.inv[items[0].menu]
	at := make([]int, len(items))
	for i, it := range items {
		at[i] = it.at(rows)
	}
	// From the last to the first, each has to be in front of the next that is there. One that is not goes directly in front
	// of it, so that all that was in front of that one is in front of both.
	next, nextAt := "", len(rows)
	before := make([]string, len(items))
	for i, it := range slices.Backward(items) {
		before[i] = next
		if at[i] < 0 {
			continue
		}
		id := rows[at[i]][".id"]
		if at[i] > nextAt {
			p.plan.Changes = append(p.plan.Changes, Change{
				Verb: Move, Menu: it.menu, ID: id, Before: next, Item: it.name, Why: "rules work in their order, and this one comes too late",
			})
		} else {
			nextAt = at[i]
		}
		next = id
	}
	for i, it := range items {
		it.before = before[i]
		p.need(it)
	}
}

func named(name string) func(Row) bool { return func(r Row) bool { return r["name"] == name } }

func commented(comment string) func(Row) bool {
	return func(r Row) bool { return r["comment"] == comment }
}

func comment(text string) Arg { return Arg{"comment", Owner + text} }

func number(rate unit.Rate) string { return strconv.FormatInt(int64(rate), 10) }

// Enabled says whether an item acts.
func Enabled(r Row) bool { return !Truth(r["disabled"]) && !Truth(r["invalid"]) }

// describe names a foreign row to a person.
func describe(r Row) string {
	switch {
	case r["comment"] != "":
		return `"` + r["comment"] + `"`
	case r["name"] != "":
		return `"` + r["name"] + `"`
	}
	return r[".id"]
}

// Owned says whether an item of a menu is one that a plan added.
func Owned(menu string, r Row) bool {
	switch menu {
	case QueueType:
		return strings.HasPrefix(r["name"], Prefix)
	}
	return strings.HasPrefix(r["comment"], Owner)
}
