package rosim

import "strings"

// propKind is how a property is written, stored and printed.
type propKind uint8

const (
	propString  propKind = iota
	propNumber           // a plain integer
	propRate             // bit/s, written with k, M or G
	propBool             // yes or no
	propTime             // a duration
	propDecimal          // thousandths, printed as a decimal; as-value shows the thousandths
	propPercent          // an integer printed with %
	propSize             // bytes, printed in MiB
	propList             // words with commas between them; an array to scripts
)

// prop is one property of a menu's items.
type prop struct {
	name   string
	kind   propKind
	set    bool     // an argument of set and add
	stat   bool     // a counter: shown by print stats, gone from print detail
	flag   bool     // shown as a letter before the item, not as key=value
	keep   bool     // printed even when unset
	quoted bool     // always in quotes in key=value output
	enum   []string // the values it may have; nil for any
	def    value    // the value of an added item
}

// style is the layout of a menu's plain print.
type style uint8

const (
	stylePairs  style = iota // key=value after a number
	styleTable               // columns under a header
	styleSingle              // one record, a property on each line
)

// menu is one level of the command tree.
type menu struct {
	path     string // "/queue/tree"
	name     string
	subs     []*menu
	cmds     []*command
	props    []prop
	style    style
	legend   string     // the Flags: line
	flags    [][]letter // flag letters by column
	brief    []string   // columns of a table print
	stats    []string   // columns of print stats, in order
	group    bool       // print stats groups digits whatever the dialect says
	required []string   // arguments add insists on
	singular string     // the word in "already have … with such name"
	items    []*item    // the router's records
	lastID   uint64     // ids count up in each menu and are never used again
}

// letter is a flag's letter and the boolean property it stands for.
type letter struct {
	c    byte
	prop string
}

// paramKind is what an argument takes.
type paramKind uint8

const (
	paramValue paramKind = iota
	paramFlag            // a bare word
	paramCode            // a block in braces
	paramName            // a variable name
)

// command is one verb with its arguments.
type command struct {
	name       string
	positional []string // unnamed arguments, in order
	params     map[string]paramKind
	where      bool // takes the keyword where
	bareWhere  bool // a condition may follow without the keyword
	write      bool // needs the write policy
	run        func(*run, *call) (value, error)
}

// menuProp returns a menu's property by name, nil when it has none.
func (m *menu) prop(name string) *prop {
	for i := range m.props {
		if m.props[i].name == name {
			return &m.props[i]
		}
	}
	return nil
}

// sub finds a submenu by name or unambiguous abbreviation.
func (m *menu) sub(w string) *menu {
	var hit *menu
	n := 0
	for _, s := range m.subs {
		if s.name == w {
			return s
		}
		if strings.HasPrefix(s.name, w) {
			hit, n = s, n+1
		}
	}
	if n == 1 && m.abbreviates(w) {
		return hit
	}
	return nil
}

// cmd finds a command by name or unambiguous abbreviation.
func (m *menu) cmd(w string) *command {
	var hit *command
	n := 0
	for _, c := range m.cmds {
		if c.name == w {
			return c
		}
		if strings.HasPrefix(c.name, w) {
			hit, n = c, n+1
		}
	}
	if n == 1 && m.abbreviates(w) {
		return hit
	}
	return nil
}

// abbreviates says whether w stands for exactly one child of m, submenu or command.
func (m *menu) abbreviates(w string) bool {
	n := 0
	for _, s := range m.subs {
		if strings.HasPrefix(s.name, w) {
			n++
		}
	}
	for _, c := range m.cmds {
		if strings.HasPrefix(c.name, w) {
			n++
		}
	}
	return n == 1
}

var mangleActions = []string{
	"accept", "add-dst-to-address-list", "add-src-to-address-list", "change-dscp", "change-mss", "change-ttl",
	"clear-df", "fasttrack-connection", "jump", "log", "mark-connection", "mark-packet", "mark-routing",
	"passthrough", "return", "route", "set-priority", "sniff-pc", "sniff-tzsp", "strip-ipv4-options",
}

// The flag legends are the ones the console prints above a list.
const (
	legendQueue  = "Flags: X - disabled, I - invalid"
	legendSimple = "Flags: X - disabled, I - invalid; D - dynamic"
	legendIface  = "Flags: X - DISABLED, R - RUNNING"
	legendUser   = "Flags: X - DISABLED"
)

func queueTreeProps() []prop {
	return []prop{
		{name: "name", set: true, quoted: true},
		{name: "parent", set: true},
		{name: "packet-mark", set: true, keep: true, def: str("")},
		{name: "limit-at", kind: propRate, set: true, def: num(0)},
		{name: "queue", set: true, def: str("default-small")},
		{name: "priority", kind: propNumber, set: true, def: num(8)},
		{name: "max-limit", kind: propRate, set: true, def: num(0)},
		{name: "burst-limit", kind: propRate, set: true, def: num(0)},
		{name: "burst-threshold", kind: propRate, set: true, def: num(0)},
		{name: "burst-time", kind: propTime, set: true, def: span(0)},
		{name: "bucket-size", kind: propDecimal, set: true, def: num(100)},
		{name: "comment", set: true, quoted: true},
		{name: "disabled", kind: propBool, set: true, flag: true, def: truth(false)},
		{name: "invalid", kind: propBool, flag: true, def: truth(false)},
		{name: "rate", kind: propNumber, stat: true, def: num(0)},
		{name: "packet-rate", kind: propNumber, stat: true, def: num(0)},
		{name: "queued-bytes", kind: propNumber, stat: true, def: num(0)},
		{name: "queued-packets", kind: propNumber, stat: true, def: num(0)},
		{name: "bytes", kind: propNumber, stat: true, def: num(0)},
		{name: "packets", kind: propNumber, stat: true, def: num(0)},
		{name: "dropped", kind: propNumber, stat: true, def: num(0)},
	}
}

func simpleQueueProps() []prop {
	return []prop{
		{name: "name", set: true, quoted: true},
		{name: "target", set: true},
		{name: "parent", set: true, def: str("none")},
		{name: "packet-marks", set: true, keep: true, def: str("")},
		{name: "priority", set: true, def: str("8/8")},
		{name: "queue", set: true, def: str("default-small/default-small")},
		{name: "limit-at", set: true, def: str("0/0")},
		{name: "max-limit", set: true, def: str("0/0")},
		{name: "burst-limit", set: true, def: str("0/0")},
		{name: "burst-threshold", set: true, def: str("0/0")},
		{name: "burst-time", set: true, def: str("0s/0s")},
		{name: "bucket-size", set: true, def: str("0.1/0.1")},
		{name: "comment", set: true, quoted: true},
		{name: "disabled", kind: propBool, set: true, flag: true, def: truth(false)},
		{name: "invalid", kind: propBool, flag: true, def: truth(false)},
		{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
		{name: "rate", stat: true, def: str("0/0")},
		{name: "packet-rate", stat: true, def: str("0/0")},
		{name: "queued-bytes", stat: true, def: str("0/0")},
		{name: "queued-packets", stat: true, def: str("0/0")},
		{name: "bytes", stat: true, def: str("0/0")},
		{name: "packets", stat: true, def: str("0/0")},
		{name: "dropped", stat: true, def: str("0/0")},
	}
}

func queueTypeProps() []prop {
	return []prop{
		{name: "name", set: true, quoted: true},
		{name: "kind", set: true, enum: []string{
			"bfifo", "cake", "codel", "fq-codel", "mq-pfifo", "none", "pcq", "pfifo", "red", "sfq",
		}},
		{name: "cake-bandwidth", kind: propRate, set: true},
		{name: "cake-diffserv", set: true, enum: []string{"besteffort", "diffserv3", "diffserv4", "diffserv8", "precedence"}},
		{name: "cake-flowmode", set: true, enum: []string{
			"flowblind", "srchost", "dsthost", "hosts", "flows", "dual-srchost", "dual-dsthost", "triple-isolate",
		}},
		{name: "cake-nat", kind: propBool, set: true},
		{name: "cake-wash", kind: propBool, set: true},
		{name: "cake-ack-filter", set: true, enum: []string{"none", "filter", "aggressive"}},
		{name: "cake-rtt", kind: propTime, set: true},
		{name: "cake-rtt-scheme", set: true, enum: []string{
			"none", "datacentre", "lan", "metro", "regional", "internet", "oceanic", "satellite", "interplanetary",
		}},
		{name: "cake-autorate-ingress", kind: propBool, set: true},
		{name: "default", kind: propBool, flag: true, def: truth(false)},
	}
}

func mangleProps() []prop {
	props := []prop{
		{name: "chain", set: true},
		{name: "action", set: true, enum: mangleActions, def: str("accept")},
		{name: "new-connection-mark", set: true},
		{name: "new-packet-mark", set: true},
		{name: "new-routing-mark", set: true},
		{name: "new-dscp", kind: propNumber, set: true},
		{name: "passthrough", kind: propBool, set: true},
		{name: "connection-state", kind: propList, set: true},
	}
	for _, n := range []string{
		"connection-mark", "routing-mark", "packet-mark", "protocol", "src-address", "dst-address",
		"src-address-list", "dst-address-list", "dst-address-type", "in-interface", "in-interface-list",
		"out-interface", "out-interface-list", "src-port", "dst-port", "port", "dscp", "packet-size",
		"connection-bytes", "connection-rate", "tcp-flags", "jump-target", "ttl",
	} {
		props = append(props, prop{name: n, set: true})
	}
	return append(
		props,
		prop{name: "log", kind: propBool, set: true, def: truth(false)},
		prop{name: "log-prefix", set: true, quoted: true, keep: true, def: str("")},
		prop{name: "comment", set: true, quoted: true},
		prop{name: "disabled", kind: propBool, set: true, flag: true, def: truth(false)},
		prop{name: "invalid", kind: propBool, flag: true, def: truth(false)},
		prop{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
		prop{name: "bytes", kind: propNumber, stat: true, def: num(0)},
		prop{name: "packets", kind: propNumber, stat: true, def: num(0)},
	)
}

func interfaceProps() []prop {
	return []prop{
		{name: "name", set: true, quoted: true},
		{name: "default-name", quoted: true},
		{name: "type", quoted: true, def: str("ether")},
		{name: "mtu", kind: propNumber, set: true, def: num(1500)},
		{name: "actual-mtu", kind: propNumber, def: num(1500)},
		{name: "l2mtu", kind: propNumber, set: true, def: num(1596)},
		{name: "mac-address"},
		{name: "comment", set: true, quoted: true},
		{name: "disabled", kind: propBool, set: true, flag: true, def: truth(false)},
		{name: "running", kind: propBool, flag: true, def: truth(true)},
		{name: "rx-byte", kind: propNumber, stat: true, def: num(0)},
		{name: "tx-byte", kind: propNumber, stat: true, def: num(0)},
		{name: "rx-packet", kind: propNumber, stat: true, def: num(0)},
		{name: "tx-packet", kind: propNumber, stat: true, def: num(0)},
		{name: "rx-drop", kind: propNumber, stat: true, def: num(0)},
		{name: "tx-drop", kind: propNumber, stat: true, def: num(0)},
		{name: "tx-queue-drop", kind: propNumber, stat: true, def: num(0)},
		{name: "rx-error", kind: propNumber, stat: true, def: num(0)},
		{name: "tx-error", kind: propNumber, stat: true, def: num(0)},
	}
}

func resourceProps() []prop {
	return []prop{
		{name: "uptime", kind: propTime},
		{name: "version"},
		{name: "build-time"},
		{name: "free-memory", kind: propSize},
		{name: "total-memory", kind: propSize},
		{name: "cpu"},
		{name: "cpu-count", kind: propNumber},
		{name: "cpu-load", kind: propPercent},
		{name: "write-sect-since-reboot", kind: propNumber},
		{name: "write-sect-total", kind: propNumber},
		{name: "architecture-name"},
		{name: "board-name"},
		{name: "platform"},
	}
}

func connectionProps() []prop {
	return []prop{
		{name: "protocol"},
		{name: "src-address"},
		{name: "dst-address"},
		{name: "reply-src-address"},
		{name: "reply-dst-address"},
		{name: "connection-mark"},
		{name: "timeout", kind: propTime},
		{name: "seen-reply", kind: propBool, flag: true, def: truth(false)},
		{name: "assured", kind: propBool, flag: true, def: truth(false)},
		{name: "confirmed", kind: propBool, flag: true, def: truth(false)},
		{name: "srcnat", kind: propBool, flag: true, def: truth(false)},
	}
}

func addressProps() []prop {
	return []prop{
		{name: "address"},
		{name: "network"},
		{name: "interface"},
		{name: "comment", quoted: true},
		{name: "disabled", kind: propBool, flag: true, def: truth(false)},
		{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
	}
}

func userProps() []prop {
	return []prop{
		{name: "name", quoted: true},
		{name: "group"},
		{name: "address", keep: true, def: str("")},
		{name: "comment", quoted: true},
		{name: "disabled", kind: propBool, flag: true, def: truth(false)},
	}
}

// newTree builds the command tree of a router. Only what is named here exists: every path, command and argument is
// one of the RouterOS 7.12 to 7.24 trees, and anything else is refused as the console refuses it.
func newTree() *menu {
	list := []string{"as-value", "count-only", "detail", "terse", "without-paging", "show-ids"}
	tree := &menu{
		path: "/queue/tree", props: queueTreeProps(), legend: legendQueue, required: []string{"parent"}, singular: "queue",
		flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}},
		stats: []string{
			"name", "parent", "packet-mark", "rate", "packet-rate", "queued-bytes", "queued-packets", "bytes", "packets", "dropped",
		},
	}
	tree.cmds = tree.editable(append(list, "stats", "brief"))
	simple := &menu{
		path: "/queue/simple", props: simpleQueueProps(), legend: legendSimple, required: []string{"target"}, singular: "queue",
		flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}, {{'D', "dynamic"}}},
		stats: []string{
			"name", "target", "rate", "packet-rate", "queued-bytes", "queued-packets", "bytes", "packets", "dropped",
		},
	}
	simple.cmds = simple.fixed(append(list, "stats", "brief"))
	types := &menu{
		path: "/queue/type", props: queueTypeProps(), legend: "Flags: * - default",
		flags: [][]letter{{{'*', "default"}}},
	}
	types.cmds = types.readable(append(list, "brief"))
	mangle := &menu{
		path: "/ip/firewall/mangle", props: mangleProps(), legend: legendSimple, required: []string{"chain"},
		flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}, {{'D', "dynamic"}}},
		stats: []string{"chain", "action", "bytes", "packets"}, group: true,
	}
	mangle.cmds = append(mangle.editable(append(list, "stats")), mangle.moveCommand(), mangle.unsetCommand())
	iface := &menu{
		path: "/interface", props: interfaceProps(), style: styleTable, legend: legendIface,
		flags: [][]letter{{{'X', "disabled"}, {'R', "running"}}},
		brief: []string{"name", "type", "actual-mtu", "l2mtu", "mac-address"},
		stats: []string{
			"name", "rx-byte", "tx-byte", "rx-packet", "tx-packet", "rx-drop", "tx-drop", "tx-queue-drop", "rx-error", "tx-error",
		},
		group: true,
	}
	iface.cmds = iface.fixed(append(list, "stats", "stats-detail", "brief"))
	resource := &menu{path: "/system/resource", props: resourceProps(), style: styleSingle}
	resource.cmds = resource.single(false)
	identity := &menu{path: "/system/identity", props: []prop{{name: "name", set: true}}, style: styleSingle}
	identity.cmds = identity.single(true)
	user := &menu{
		path: "/user", props: userProps(), style: styleTable, legend: legendUser, brief: []string{"name", "group", "address"},
		flags: [][]letter{{{'X', "disabled"}}},
	}
	user.cmds = user.readable(append(list, "brief"))

	connection := &menu{
		path: "/ip/firewall/connection", props: connectionProps(), style: styleTable,
		legend: "Flags: S - SEEN-REPLY, A - ASSURED, C - CONFIRMED, s - SRCNAT",
		flags:  [][]letter{{{'S', "seen-reply"}}, {{'A', "assured"}}, {{'C', "confirmed"}}, {{'s', "srcnat"}}},
		brief:  []string{"protocol", "src-address", "dst-address", "reply-dst-address", "timeout"},
	}
	connection.cmds = connection.readable(append(list, "brief"))
	address := &menu{
		path: "/ip/address", props: addressProps(), style: styleTable, legend: "Flags: X - DISABLED, D - DYNAMIC",
		flags: [][]letter{{{'X', "disabled"}}, {{'D', "dynamic"}}}, brief: []string{"address", "network", "interface"},
	}
	address.cmds = address.readable(append(list, "brief"))

	root := &menu{path: "/", subs: []*menu{
		{path: "/queue", subs: []*menu{simple, tree, types}},
		iface,
		{path: "/ip", subs: []*menu{address, {path: "/ip/firewall", subs: []*menu{connection, mangle}}}},
		{path: "/system", subs: []*menu{identity, resource}},
		user,
	}}
	root.walk(func(m *menu) { m.name = m.path[strings.LastIndexByte(m.path, '/')+1:] })
	return root
}

func (m *menu) walk(f func(*menu)) {
	f(m)
	for _, s := range m.subs {
		s.walk(f)
	}
}

// at returns the menu of a path such as "/queue/tree"; nil when there is none.
func (m *menu) at(path string) *menu {
	var hit *menu
	m.walk(func(s *menu) {
		if s.path == path {
			hit = s
		}
	})
	return hit
}

func (m *menu) settable(more ...string) map[string]paramKind {
	p := map[string]paramKind{}
	for i := range m.props {
		if m.props[i].set {
			p[m.props[i].name] = paramValue
		}
	}
	for _, n := range more {
		p[n] = paramValue
	}
	return p
}

// readable is what every list has: print, find, get.
func (m *menu) readable(flags []string) []*command {
	params := map[string]paramKind{"proplist": paramValue, "from": paramValue}
	for _, f := range flags {
		params[f] = paramFlag
	}
	return []*command{
		{name: "print", params: params, where: true, run: runPrint},
		{name: "find", where: true, bareWhere: true, run: runFind},
		{
			name: "get", positional: []string{"number", "value-name"}, run: runGet,
			params: map[string]paramKind{"number": paramValue, "value-name": paramValue},
		},
	}
}

func numbers() map[string]paramKind { return map[string]paramKind{"numbers": paramValue} }

// fixed is a list whose items can be changed, not added or removed.
func (m *menu) fixed(flags []string) []*command {
	pos := []string{"numbers"}
	return append(
		m.readable(flags),
		&command{name: "set", positional: pos, params: m.settable("numbers"), write: true, run: runSet},
		&command{name: "enable", positional: pos, params: numbers(), write: true, run: runEnable},
		&command{name: "disable", positional: pos, params: numbers(), write: true, run: runDisable},
		&command{
			name: "comment", positional: pos, write: true, run: runSet,
			params: map[string]paramKind{"numbers": paramValue, "comment": paramValue},
		},
		&command{name: "reset-counters", positional: pos, params: numbers(), write: true, run: runResetCounters},
	)
}

// editable is a list whose items can also be added and removed.
func (m *menu) editable(flags []string) []*command {
	add := m.settable()
	if m.path == "/ip/firewall/mangle" {
		add["place-before"] = paramValue
	}
	return append(
		m.fixed(flags),
		&command{name: "reset-counters-all", write: true, run: runResetAll},
		&command{name: "add", params: add, write: true, run: runAdd},
		&command{name: "remove", positional: []string{"numbers"}, params: numbers(), write: true, run: runRemove},
	)
}

func (m *menu) moveCommand() *command {
	return &command{
		name: "move", positional: []string{"numbers", "destination"}, write: true, run: runMove,
		params: map[string]paramKind{"numbers": paramValue, "destination": paramValue},
	}
}

func (m *menu) unsetCommand() *command {
	return &command{
		name: "unset", positional: []string{"numbers", "value-name"}, write: true, run: runUnset,
		params: map[string]paramKind{"numbers": paramValue, "value-name": paramValue},
	}
}

// single is a menu with one record and no items.
func (m *menu) single(set bool) []*command {
	cmds := []*command{
		{name: "print", params: map[string]paramKind{"as-value": paramFlag, "without-paging": paramFlag}, run: runPrint},
		{
			name: "get", positional: []string{"value-name"}, run: runGet,
			params: map[string]paramKind{"value-name": paramValue},
		},
	}
	if set {
		cmds = append(cmds, &command{name: "set", params: m.settable(), write: true, run: runSet})
	}
	return cmds
}
