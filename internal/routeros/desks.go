package routeros

import (
	"fmt"
	"slices"
)

// desk is a menu that an [Admin] may read, and what of it may be set.
type desk struct {
	readable, writable []string
	// ordered menus are worked through from the top; single ones have one item without an id.
	ordered, single bool
}

var firewallKeys = []string{
	"chain", "action", "comment", "disabled", "connection-state", "connection-mark", "packet-mark", "in-interface", "in-interface-list",
	"out-interface", "out-interface-list", "dst-address-type", "protocol", "dst-port", "src-address", "dst-address", "dst-address-list", "dscp",
}

var mangleKeys = append(slices.Clone(firewallKeys), "new-connection-mark", "new-packet-mark", "new-routing-mark", "passthrough", "jump-target",
	"src-address-list", "address-list", "address-list-timeout", "tcp-flags", "connection-bytes")

// and puts further properties behind some.
func and(keys []string, more ...string) []string { return append(slices.Clone(keys), more...) }

var (
	typeKeys = []string{
		"name", "kind", "cake-bandwidth", "cake-diffserv", "cake-flowmode", "cake-nat", "cake-wash", "cake-ack-filter", "cake-rtt", "cake-overhead",
		"cake-mpu", "cake-atm", "cake-autorate-ingress",
	}
	treeKeys = []string{
		"name", "parent", "packet-mark", "queue", "max-limit", "limit-at", "bucket-size", "burst-limit", "burst-threshold", "burst-time", "priority",
		"disabled", "comment",
	}
	simpleKeys = []string{
		"name", "target", "dst", "parent", "packet-marks", "queue", "max-limit", "limit-at", "bucket-size", "burst-limit", "burst-threshold",
		"burst-time", "priority", "total-max-limit", "time", "disabled", "comment",
	}
	routeKeys = []string{"dst-address", "gateway", "routing-table", "distance", "disabled", "comment", "check-gateway"}
	listKeys  = []string{"list", "address", "comment", "disabled"}
	tableKeys = []string{"name", "fib", "disabled", "comment"}
	groupKeys = []string{"name", "policy", "comment"}
	beatKeys  = []string{"name", "interval", "start-time", "policy", "on-event", "disabled", "comment"}
	userKeys  = []string{"name", "group", "address", "disabled", "comment"}
)

// desks are written out apart from what asks for them: a menu or property that is not here is neither read nor set.
var desks = map[string]desk{
	"/queue/type":                {readable: typeKeys, writable: typeKeys},
	"/queue/tree":                {readable: and(treeKeys, "invalid", "bytes"), writable: treeKeys},
	"/queue/simple":              {readable: and(simpleKeys, "dynamic", "invalid"), writable: simpleKeys, ordered: true},
	"/interface":                 {readable: []string{"name", "type", "running", "disabled", "rx-byte", "tx-byte"}},
	"/ip/firewall/mangle":        {readable: and(mangleKeys, "dynamic", "invalid", "packets"), writable: mangleKeys, ordered: true},
	"/ip/firewall/filter":        {readable: and(firewallKeys, "dynamic", "invalid"), writable: firewallKeys, ordered: true},
	"/ip/firewall/nat":           {readable: and(firewallNATKeys, "dynamic", "invalid"), writable: firewallNATKeys, ordered: true},
	"/ipv6/firewall/mangle":      {readable: and(mangleKeys, "dynamic", "invalid", "packets"), writable: mangleKeys, ordered: true},
	"/ip/firewall/address-list":  {readable: and(listKeys, "dynamic"), writable: listKeys},
	"/ipv6/firewall/filter":      {readable: and(firewallKeys, "dynamic", "invalid"), writable: firewallKeys, ordered: true},
	"/ipv6/address":              {readable: []string{"address", "interface", "disabled", "link-local"}},
	"/ip/route":                  {readable: and(routeKeys, "immediate-gw", "dynamic", "active"), writable: routeKeys},
	"/routing/table":             {readable: tableKeys, writable: tableKeys},
	"/ip/settings":               {readable: []string{"rp-filter"}, writable: []string{"rp-filter"}, single: true},
	"/interface/list/member":     {readable: []string{"list", "interface", "disabled"}},
	"/ip/dhcp-client":            {readable: []string{"interface", "gateway", "disabled"}},
	"/user/group":                {readable: groupKeys, writable: groupKeys},
	"/user":                      {readable: userKeys, writable: and(userKeys, "password")},
	"/system/resource":           {readable: []string{"version", "uptime", "board-name", "cpu-load", "write-sect-total"}, single: true},
	"/system/clock":              {readable: []string{"date", "time", "gmt-offset"}, single: true},
	"/system/identity":           {readable: []string{"name"}, single: true},
	"/tool/netwatch":             {readable: []string{"host", "disabled", "comment", "up-script", "down-script"}},
	"/system/scheduler":          {readable: beatKeys, writable: beatKeys},
	"/system/script":             {readable: []string{"name", "comment", "source"}},
	"/interface/ethernet/switch": {readable: []string{"name", "l3-hw-offloading"}},
}

// firewallNATKeys are the same without what NAT rules cannot match.
var firewallNATKeys = slices.DeleteFunc(slices.Clone(firewallKeys), func(k string) bool { return k == "connection-state" })

// valueless are properties that are set by naming them: they have no value to write.
var valueless = []string{"fib"}

// checkDesk refuses what is not on a desk.
func checkDesk(menu string, properties []string) error {
	d, ok := desks[menu]
	if !ok {
		return fmt.Errorf("%s is no menu that wanctl reads", menu)
	}
	for _, p := range properties {
		if p != ".id" && !slices.Contains(d.readable, p) {
			return fmt.Errorf("%s: %s is no property that wanctl reads", menu, p)
		}
	}
	return nil
}
