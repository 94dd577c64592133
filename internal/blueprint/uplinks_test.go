package blueprint

import (
	"fmt"
	"slices"
	"testing"
)

// Lines come first, the nearest in front, however the router writes their routes; then what none ends at.
func TestUplinks(t *testing.T) {
	inv := Inventory{
		Interface: {
			{"name": "lo", "type": "loopback", "running": "true"},
			{"name": "bridge", "type": "bridge", "running": "true"},
			{"name": "ether1", "type": "ether", "running": "true"},
			{"name": "ether2", "type": "ether", "running": "true"},
			{"name": "ether3", "type": "ether"},
			{"name": "ether4", "type": "ether", "disabled": "true"},
			{"name": "pppoe-out1", "type": "pppoe-out", "running": "true"},
			{"name": "lte1", "type": "lte", "running": "true"},
		},
		Route: {
			{"dst-address": "0.0.0.0/0", "gateway": "10.0.0.1", "immediate-gw": "10.0.0.1%ether1", "distance": "2", "dynamic": "true"},
			{"dst-address": "0.0.0.0/0", "gateway": "pppoe-out1", "immediate-gw": "pppoe-out1"},
			{"dst-address": "0.0.0.0/0", "gateway": "10.9.0.1%ether3", "disabled": "true"},
			{"dst-address": "0.0.0.0/0", "gateway": "10.0.0.1%ether1", "distance": "1", "routing-table": "wanctl-a", "comment": "wanctl: default route of a"},
			{"dst-address": "10.7.0.0/16", "gateway": "10.0.7.1%ether3"},
		},
		DHCPClient: {{"interface": "lte1", "gateway": "100.64.0.1"}, {"interface": "ether3", "gateway": "10.3.0.1", "disabled": "true"}},
	}
	var got []string
	for _, u := range Uplinks(inv) {
		got = append(got, fmt.Sprintf("%s %s %v %q %d %v", u.Name, u.Type, u.Running, u.Gateway, u.Distance, u.Line()))
	}
	want := []string{
		`pppoe-out1 pppoe-out true "pppoe-out1" 1 true`, `ether1 ether true "10.0.0.1" 2 true`, `lte1 lte true "100.64.0.1" 0 true`,
		`ether2 ether true "" 0 false`, `ether3 ether false "" 0 false`, `lo loopback true "" 0 false`, `bridge bridge true "" 0 false`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}
