package rosim

import "time"

// The flag legends are the ones the console prints above a list.
const (
	legendQueue  = "Flags: X - disabled, I - invalid"
	legendSimple = "Flags: X - disabled, I - invalid; D - dynamic"
	legendIface  = "Flags: X - DISABLED, R - RUNNING"
	legendUser   = "Flags: X - DISABLED"
	legendNone   = ""
)

// The paths of the menus that something refers to.
const (
	queueTreePath     = "/queue/tree"
	queueTypePath     = "/queue/type"
	simplePath        = "/queue/simple"
	interfacePath     = "/interface"
	interfaceListPath = "/interface/list"
	addressPath       = "/ip/address"
	manglePath        = "/ip/firewall/mangle"
	filterPath        = "/ip/firewall/filter"
	routingTablePath  = "/routing/table"
	settingsPath      = "/ip/settings"
	resourcePath      = "/system/resource"
	clockPath         = "/system/clock"
	webserverPath     = "/ip/service/webserver"
)

func queueTreeProps() []prop {
	return []prop{
		{name: "name", set: true, quoted: true},
		{name: "parent", set: true, refs: []string{interfacePath, queueTreePath}, also: []string{"global"}},
		{name: "packet-mark", set: true, keep: true, def: str("")},
		{name: "limit-at", kind: propRate, set: true, def: num(0)},
		{name: "queue", set: true, refs: []string{queueTypePath}, def: str("default-small")},
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
		{name: "priority", kind: propPair, set: true, def: str("8/8")},
		{name: "queue", set: true, def: str("default-small/default-small")},
		{name: "limit-at", kind: propPair, set: true, def: str("0/0")},
		{name: "max-limit", kind: propPair, set: true, def: str("0/0")},
		{name: "burst-limit", kind: propPair, set: true, def: str("0/0")},
		{name: "burst-threshold", kind: propPair, set: true, def: str("0/0")},
		{name: "burst-time", set: true, def: str("0s/0s")},
		{name: "bucket-size", set: true, def: str("0.1/0.1")},
		{name: "comment", set: true, quoted: true},
		{name: "disabled", kind: propBool, set: true, flag: true, def: truth(false)},
		{name: "invalid", kind: propBool, flag: true, def: truth(false)},
		{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
		{name: "total-queue", def: str("default-small")},
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

// matchers are the conditions and settings of firewall rules that are printed first.
var matchers = []string{
	"connection-mark", "routing-mark", "packet-mark", "protocol", "src-address", "dst-address",
	"src-address-list", "dst-address-list", "dst-address-type", "in-interface", "in-interface-list",
	"out-interface", "out-interface-list", "src-port", "dst-port", "port", "dscp", "packet-size",
	"connection-bytes", "connection-rate", "tcp-flags", "jump-target", "ttl",
}

// ruleProps are the properties of every firewall menu; a menu has those of them that its schema knows.
func ruleProps() []prop {
	props := []prop{
		{name: "chain", set: true},
		{name: "action", set: true, def: str("accept")},
		{name: "new-connection-mark", set: true},
		{name: "new-packet-mark", set: true},
		{name: "new-routing-mark", set: true, refs: []string{routingTablePath}},
		{name: "new-dscp", kind: propNumber, set: true},
		{name: "passthrough", kind: propBool, set: true},
		{name: "connection-state", kind: propList, set: true},
	}
	for _, n := range matchers {
		p := prop{name: n, set: true}
		switch n {
		case "in-interface", "out-interface":
			p.refs, p.also = []string{interfacePath}, []string{"all-ethernet", "all-ppp", "all-vlan", "all-wireless"}
		case "in-interface-list", "out-interface-list":
			p.refs = []string{interfaceListPath}
		case "dscp":
			p.kind = propDSCP
		}
		props = append(props, p)
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

func settingsProps() []prop {
	return []prop{
		{name: "ip-forward", kind: propBool, def: truth(true)},
		{name: "send-redirects", kind: propBool, def: truth(true)},
		{name: "accept-source-route", kind: propBool, def: truth(false)},
		{name: "accept-redirects", kind: propBool, def: truth(false)},
		{name: "secure-redirects", kind: propBool, def: truth(true)},
		{name: "rp-filter", def: str("no")},
		{name: "tcp-syncookies", kind: propBool, def: truth(false)},
		{name: "max-neighbor-entries", kind: propNumber, def: num(16384)},
		{name: "arp-timeout", kind: propTime, def: span(30 * time.Second)},
		{name: "icmp-rate-limit", kind: propNumber, def: num(10)},
		{name: "icmp-rate-mask", def: str("0x1818")},
		{name: "allow-fast-path", kind: propBool, def: truth(true)},
		{name: "ipv4-fast-path-active", kind: propBool, def: truth(false)},
		{name: "ipv4-fast-path-packets", kind: propNumber, def: num(0)},
		{name: "ipv4-fast-path-bytes", kind: propNumber, def: num(0)},
		{name: "ipv4-fasttrack-active", kind: propBool, def: truth(false)},
		{name: "ipv4-fasttrack-packets", kind: propNumber, def: num(0)},
		{name: "ipv4-fasttrack-bytes", kind: propNumber, def: num(0)},
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
		{name: "address", kind: propPrefix},
		{name: "network"},
		{name: "interface", refs: []string{interfacePath}},
		{name: "comment", quoted: true},
		{name: "disabled", kind: propBool, flag: true, def: truth(false)},
		{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
	}
}

func address6Props() []prop {
	return []prop{
		{name: "address", kind: propPrefix},
		{name: "interface", refs: []string{interfacePath}},
		{name: "comment", quoted: true},
		{name: "advertise", kind: propBool, def: truth(true)},
		{name: "disabled", kind: propBool, flag: true, def: truth(false)},
		{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
		{name: "invalid", kind: propBool, flag: true, def: truth(false)},
		{name: "global", kind: propBool, flag: true, def: truth(true)},
		{name: "link-local", kind: propBool, flag: true, def: truth(false)},
	}
}

func userProps() []prop {
	return []prop{
		{name: "name", quoted: true},
		{name: "group", refs: []string{groupPath}},
		{name: "address", kind: propSources, keep: true, def: str("")},
		{name: "password", kind: propSecret},
		{name: "last-logged-in"},
		{name: "inactivity-timeout", kind: propTime, def: span(10 * time.Minute)},
		{name: "inactivity-policy", def: str("none")},
		{name: "comment", quoted: true},
		{name: "disabled", kind: propBool, flag: true, def: truth(false)},
	}
}
