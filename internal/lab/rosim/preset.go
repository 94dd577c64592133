package rosim

import (
	"fmt"
	"time"

	"wanctl/internal/unit"
)

// SteeringComment is the comment of the rule that [DefaultOptions] has for steering to toggle.
const SteeringComment = "ADAPTIVE: Steer latency-sensitive to ATT"

// DefaultUser is the account of [DefaultOptions]: it has neither key nor password until one is given.
const DefaultUser = "wanctl"

// DefaultOptions describe the router of the two production sites: a cable line (Spectrum, ether1) and a VDSL line
// (ATT, ether2), each with a download and an upload queue at its ceiling, and the steering rule, disabled. Uploads
// hang on their WAN interface, downloads on the LAN bridge and are told apart by packet marks. The user
// wanctl cannot log in before AuthorizeKey or a password in Users.
func DefaultOptions() Options {
	rule := func(chain, action, comment string, disabled bool, kv ...string) Rule {
		m := map[string]string{}
		for i := 0; i+1 < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return Rule{Chain: chain, Action: action, Comment: comment, Disabled: disabled, Matchers: m}
	}
	return Options{
		Identity: "rb5009",
		Uptime:   26*time.Hour + 14*time.Minute + 9*time.Second,
		Users: []User{
			{Name: "admin"},
			{Name: DefaultUser},
		},
		Interfaces: []Interface{
			{Name: "ether1", Comment: "Spectrum"}, {Name: "ether2", Comment: "ATT"}, {Name: "ether3"}, {Name: "bridge", Type: "bridge"},
		},
		Addresses: []Address{
			{Address: "198.51.100.2/24", Interface: "ether1"},
			{Address: "203.0.113.2/24", Interface: "ether2"},
			{Address: "192.168.88.1/24", Interface: "bridge"},
		},
		QueueTypes: []QueueType{
			{Name: "cake-download", Kind: "cake", Settings: map[string]string{
				"cake-flowmode": "dual-dsthost", "cake-diffserv": "diffserv4", "cake-nat": "no", "cake-rtt": "100ms",
			}},
			{Name: "cake-upload", Kind: "cake", Settings: map[string]string{
				"cake-flowmode": "dual-srchost", "cake-diffserv": "diffserv4", "cake-nat": "yes", "cake-rtt": "100ms",
			}},
		},
		Queues: []Queue{
			{
				Name: "WAN-Download-Spectrum", Parent: "bridge", PacketMark: "dl-spectrum", Type: "cake-download",
				MaxLimit: 940 * unit.Mbps, Offered: 120 * unit.Mbps, WAN: "ether1", Down: true,
			},
			{
				Name: "WAN-Upload-Spectrum", Parent: "ether1", PacketMark: "no-mark", Type: "cake-upload",
				MaxLimit: 38 * unit.Mbps, Offered: 6 * unit.Mbps, WAN: "ether1",
			},
			{
				Name: "WAN-Download-ATT", Parent: "bridge", PacketMark: "dl-att", Type: "cake-download",
				MaxLimit: 95 * unit.Mbps, Offered: 12 * unit.Mbps, WAN: "ether2", Down: true,
			},
			{
				Name: "WAN-Upload-ATT", Parent: "ether2", PacketMark: "no-mark", Type: "cake-upload",
				MaxLimit: 18 * unit.Mbps, Offered: 2 * unit.Mbps, WAN: "ether2",
			},
		},
		Rules: []Rule{
			rule("prerouting", "mark-connection", SteeringComment, true,
				"connection-state", "new", "connection-mark", "no-mark", "new-connection-mark", "c-att",
				"protocol", "udp", "dst-port", "3478-3481,5060-5061", "passthrough", "yes"),
			rule("prerouting", "mark-routing", "ADAPTIVE: Route marked connections to ATT", false,
				"connection-mark", "c-att", "new-routing-mark", "via-att", "passthrough", "no"),
			rule("forward", "mark-packet", "Shape Spectrum download", false,
				"in-interface", "ether1", "new-packet-mark", "dl-spectrum", "passthrough", "no"),
			rule("forward", "mark-packet", "Shape ATT download", false,
				"in-interface", "ether2", "new-packet-mark", "dl-att", "passthrough", "no"),
		},
	}
}

// BareOptions describe a router with nothing configured: the ports of an RB5009, and the same accounts as
// [DefaultOptions] has. It is where an import begins.
func BareOptions() Options {
	o := Options{Users: []User{{Name: "admin", Group: "full"}, {Name: DefaultUser}}}
	for i := range 8 {
		o.Interfaces = append(o.Interfaces, Interface{Name: fmt.Sprintf("ether%d", i+1)})
	}
	o.Interfaces = append(o.Interfaces, Interface{Name: "sfp-sfpplus1"})
	return o
}
