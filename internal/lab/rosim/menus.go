package rosim

import "time"

// newMenus are the menus that are emulated, as far as the schema does not say it: how they are printed, what their
// properties hold, and the values that an added item has.
func newMenus() []*menu {
	return append(queueMenus(), append(append(firewallMenus(), networkMenus()...), systemMenus()...)...)
}

func queueMenus() []*menu {
	return []*menu{
		{
			path: "/queue/simple", props: simpleQueueProps(), legend: legendSimple, required: []string{"target"}, singular: "queue", defaultName: "queue",
			flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}, {{'D', "dynamic"}}},
			stats: []string{
				"name", "target", "rate", "packet-rate", "queued-bytes", "queued-packets", "bytes", "packets", "dropped",
			},
		},
		{
			path: "/queue/tree", props: queueTreeProps(), legend: legendQueue, required: []string{"parent"}, singular: "queue", defaultName: "queue",
			flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}},
			stats: []string{
				"name", "parent", "packet-mark", "rate", "packet-rate", "queued-bytes", "queued-packets", "bytes", "packets", "dropped",
			},
		},
		{
			path: queueTypePath, props: queueTypeProps(), legend: "Flags: * - default", required: []string{"name", "kind"},
			flags: [][]letter{{{'*', "default"}}},
		},
		{
			path: "/queue/interface", style: styleTable, legend: legendNone, brief: []string{"interface", "queue", "active-queue"},
			props: []prop{
				{name: "interface", refs: []string{interfacePath}},
				{name: "queue", refs: []string{queueTypePath}},
				{name: "active-queue"},
				{name: "default-queue"},
			},
		},
		{
			path: interfacePath, props: interfaceProps(), style: styleTable, legend: legendIface,
			flags: [][]letter{{{'X', "disabled"}, {'R', "running"}}},
			brief: []string{"name", "type", "actual-mtu", "l2mtu", "mac-address"},
			stats: []string{
				"name", "rx-byte", "tx-byte", "rx-packet", "tx-packet", "rx-drop", "tx-drop", "tx-queue-drop", "rx-error", "tx-error",
			},
			group: true,
		},
		{
			path: interfaceListPath, style: styleTable, legend: "Flags: * - BUILTIN; D - DYNAMIC", required: []string{"name"},
			flags: [][]letter{{{'*', "builtin"}}, {{'D', "dynamic"}}}, brief: []string{"name"},
			props: []prop{
				{name: "name", quoted: true},
				{name: "include", keep: true, def: str("")},
				{name: "exclude", keep: true, def: str("")},
				{name: "builtin", kind: propBool, flag: true, def: truth(false)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: "/interface/list/member", style: styleTable, legend: "Flags: X - DISABLED; D - DYNAMIC", required: []string{"list", "interface"},
			flags: [][]letter{{{'X', "disabled"}}, {{'D', "dynamic"}}}, brief: []string{"list", "interface"},
			props: []prop{
				{name: "list", refs: []string{interfaceListPath}},
				{name: "interface", refs: []string{interfacePath}},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		},
	}
}

func firewallMenus() []*menu {
	rules := func(path string, props []prop) *menu {
		return &menu{
			path: path, props: props, legend: legendSimple, required: []string{"chain"}, most: 512,
			flags: [][]letter{{{'X', "disabled"}, {'I', "invalid"}}, {{'D', "dynamic"}}},
			stats: []string{"chain", "action", "bytes", "packets"}, group: true,
		}
	}
	addresses := func(path string) *menu {
		return &menu{
			path: path, style: styleTable, legend: "Flags: X - DISABLED; D - DYNAMIC", required: []string{"list"}, most: 1024,
			flags: [][]letter{{{'X', "disabled"}}, {{'D', "dynamic"}}}, brief: []string{"list", "address", "creation-time", "timeout"},
			props: []prop{
				{name: "list"},
				{name: "address"},
				{name: "creation-time"},
				{name: "timeout", kind: propTime},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		}
	}
	return []*menu{
		{
			path: addressPath, props: addressProps(), style: styleTable, legend: "Flags: X - DISABLED, D - DYNAMIC",
			required: []string{"address", "interface"},
			flags:    [][]letter{{{'X', "disabled"}}, {{'D', "dynamic"}}}, brief: []string{"address", "network", "interface"},
		},
		{
			path: connectionPath, props: connectionProps(), style: styleTable,
			legend: "Flags: S - SEEN-REPLY, A - ASSURED, C - CONFIRMED, s - SRCNAT",
			flags:  [][]letter{{{'S', "seen-reply"}}, {{'A', "assured"}}, {{'C', "confirmed"}}, {{'s', "srcnat"}}},
			brief:  []string{"protocol", "src-address", "dst-address", "reply-dst-address", "timeout"},
		},
		rules(manglePath, ruleProps()),
		rules(filterPath, ruleProps()),
		rules("/ip/firewall/nat", ruleProps()),
		rules("/ip/firewall/raw", ruleProps()),
		addresses(addressListPath),
		{
			path: "/ipv6/address", props: address6Props(), style: styleTable, legend: "Flags: X - DISABLED, I - INVALID; D - DYNAMIC; G - GLOBAL, L - LINK-LOCAL",
			required: []string{"address", "interface"},
			flags:    [][]letter{{{'X', "disabled"}, {'I', "invalid"}}, {{'D', "dynamic"}}, {{'G', "global"}, {'L', "link-local"}}},
			brief:    []string{"address", "from-pool", "interface", "advertise"},
		},
		rules("/ipv6/firewall/mangle", ruleProps()),
		rules("/ipv6/firewall/filter", ruleProps()),
		rules("/ipv6/firewall/nat", ruleProps()),
		addresses(address6ListPath),
	}
}

func networkMenus() []*menu {
	routes := func(path string) *menu {
		return &menu{
			path: path, style: styleTable, legend: "Flags: X - DISABLED, A - ACTIVE; D - DYNAMIC",
			flags: [][]letter{{{'X', "disabled"}, {'A', "active"}}, {{'D', "dynamic"}}},
			brief: []string{"dst-address", "gateway", "routing-table", "distance"},
			props: []prop{
				{name: "dst-address", def: str("0.0.0.0/0")},
				{name: "gateway", keep: true, def: str("")},
				{name: "routing-table", refs: []string{routingTablePath}, def: str("main")},
				{name: "distance", kind: propNumber, def: num(1)},
				{name: "scope", kind: propNumber, def: num(30)},
				{name: "target-scope", kind: propNumber, def: num(10)},
				{name: "check-gateway"},
				{name: "pref-src", keep: true, def: str("")},
				{name: "suppress-hw-offload", kind: propBool, def: truth(false)},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "active", kind: propBool, flag: true, def: truth(true)},
				{name: "static", kind: propBool, flag: true, def: truth(true)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		}
	}
	v6 := routes("/ipv6/route")
	v6.props[0].def = str("::/0")
	return []*menu{
		{
			path: routingTablePath, legend: "Flags: D - dynamic; X - disabled, I - invalid",
			flags: [][]letter{{{'D', "dynamic"}}, {{'X', "disabled"}, {'I', "invalid"}}},
			props: []prop{
				{name: "name", quoted: true},
				{name: "fib", kind: propFlag},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "invalid", kind: propBool, flag: true, def: truth(false)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: "/routing/rule", legend: "Flags: X - disabled, I - inactive",
			flags: [][]letter{{{'X', "disabled"}, {'I', "inactive"}}},
			props: []prop{
				{name: "src-address"},
				{name: "dst-address"},
				{name: "routing-mark"},
				{name: "interface", refs: []string{interfacePath}},
				{name: "action", def: str("lookup")},
				{name: "table", refs: []string{routingTablePath}},
				{name: "min-prefix", kind: propNumber},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "inactive", kind: propBool, flag: true, def: truth(false)},
			},
		},
		routes("/ip/route"),
		v6,
		{path: settingsPath, style: styleSingle, props: settingsProps()},
		{
			path: "/tool/netwatch", style: styleTable, legend: legendUser, required: []string{"host"},
			flags: [][]letter{{{'X', "disabled"}}}, brief: []string{"type", "host", "timeout", "interval", "status", "since"},
			props: []prop{
				{name: "name", quoted: true, keep: true, def: str("")},
				{name: "type", def: str("simple")},
				{name: "host"},
				{name: "interval", kind: propTime, def: span(10 * time.Second)},
				{name: "timeout", kind: propTime, def: span(3 * time.Second)},
				{name: "start-delay", kind: propTime, def: span(3 * time.Second)},
				{name: "startup-delay", kind: propTime, def: span(5 * time.Minute)},
				{name: "up-script", quoted: true, keep: true, def: str("")},
				{name: "down-script", quoted: true, keep: true, def: str("")},
				{name: "test-script", quoted: true, keep: true, def: str("")},
				{name: "status", def: str("unknown")},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{path: "/tool"},
	}
}

func systemMenus() []*menu {
	return []*menu{
		{path: "/system/identity", props: []prop{{name: "name"}}, style: styleSingle},
		{path: resourcePath, props: resourceProps(), style: styleSingle},
		{
			path: clockPath, style: styleSingle,
			props: []prop{
				{name: "time", live: true},
				{name: "date", live: true},
				{name: "time-zone-autodetect", kind: propBool, def: truth(true)},
				{name: "time-zone-name", def: str("manual")},
				{name: "gmt-offset", def: str("+00:00")},
				{name: "dst-active", kind: propBool, def: truth(false)},
			},
		},
		{
			path: "/system/scheduler", style: styleTable, legend: legendUser, required: []string{"name"},
			flags: [][]letter{{{'X', "disabled"}}}, brief: []string{"name", "start-time", "interval", "on-event", "run-count"},
			props: []prop{
				{name: "name", quoted: true},
				{name: "start-date"},
				{name: "start-time"},
				{name: "interval", kind: propTime, def: span(0)},
				{name: "on-event", quoted: true, keep: true, def: str("")},
				{name: "owner"},
				{name: "policy", kind: propList},
				{name: "run-count", kind: propNumber, def: num(0)},
				{name: "next-run"},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: "/system/script", legend: "Flags: I - invalid", flags: [][]letter{{{'I', "invalid"}}},
			props: []prop{
				{name: "name", quoted: true},
				{name: "owner"},
				{name: "policy", kind: propList},
				{name: "dont-require-permissions", kind: propBool, def: truth(false)},
				{name: "run-count", kind: propNumber, def: num(0)},
				{name: "source", quoted: true, keep: true, def: str("")},
				{name: "invalid", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: userPath, props: userProps(), style: styleTable, legend: legendUser, brief: []string{"name", "group", "address"},
			flags: [][]letter{{{'X', "disabled"}}}, required: []string{"name", "group", "password"}, guard: policyPolicy, singular: "user",
		},
		{
			path: groupPath, legend: legendNone, guard: policyPolicy,
			props: []prop{
				{name: "name", quoted: true},
				{name: "policy", kind: propPolicy},
				{name: "skin", def: str("default")},
			},
		},
		{
			path: keysPath, style: styleTable, legend: legendNone, guard: policyPolicy, brief: []string{"user", "bits", "key-type", "info"},
			props: []prop{
				{name: "user", refs: []string{userPath}},
				{name: "key", quoted: true},
				{name: "bits", kind: propNumber},
				{name: "key-type"},
				{name: "fingerprint"},
				{name: "info"},
			},
		},
		{
			path: activePath, style: styleTable, legend: "Flags: R - RADIUS; M - BY-ROMON", guard: policyPolicy,
			flags: [][]letter{{{'R', "radius"}}, {{'M', "by-romon"}}}, brief: []string{"when", "name", "address", "via"},
			props: []prop{
				{name: "when"},
				{name: "name"},
				{name: "address"},
				{name: "via"},
				{name: "group"},
				{name: "radius", kind: propBool, flag: true, def: truth(false)},
				{name: "by-romon", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: servicePath, style: styleTable, legend: "Flags: D - DYNAMIC; X - DISABLED, I - INVALID",
			flags: [][]letter{{{'D', "dynamic"}}, {{'X', "disabled"}, {'I', "invalid"}}},
			brief: []string{"name", "port", "proto", "certificate", "vrf", "max-sessions"},
			props: []prop{
				{name: "name"},
				{name: "port", kind: propNumber},
				{name: "proto", def: str("tcp")},
				{name: "address", kind: propSources, keep: true, def: str("")},
				{name: "available-from", kind: propSources},
				{name: "certificate"},
				{name: "tls-version"},
				{name: "vrf", def: str("main")},
				{name: "max-sessions", kind: propNumber, def: num(20)},
				{name: "disabled", kind: propBool, flag: true, def: truth(false)},
				{name: "invalid", kind: propBool, flag: true, def: truth(false)},
				{name: "dynamic", kind: propBool, flag: true, def: truth(false)},
			},
		},
		{
			path: webserverPath, style: styleSingle,
			props: []prop{
				{name: "acme-plain", kind: propBool, def: truth(true)},
				{name: "crl-plain", kind: propBool, def: truth(true)},
				{name: "graphs-plain", kind: propBool, def: truth(true)},
				{name: "graphs-secure", kind: propBool, def: truth(true)},
				{name: "index-plain", kind: propBool, def: truth(true)},
				{name: "index-secure", kind: propBool, def: truth(true)},
				{name: "rest-plain", kind: propBool, def: truth(true)},
				{name: "rest-secure", kind: propBool, def: truth(true)},
				{name: "scep-plain", kind: propBool, def: truth(true)},
				{name: "webfig-plain", kind: propBool, def: truth(true)},
				{name: "webfig-secure", kind: propBool, def: truth(true)},
			},
		},
	}
}
