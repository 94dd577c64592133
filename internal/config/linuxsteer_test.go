package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// linuxSteerText is a complete config of a host that steers by itself.
const linuxSteerText = `topology: {primary_wan: Cable, alternate_wan: DSL}
router: {transport: linux}
interfaces: {lan: [br-lan]}
lines:
  Cable: {interface: wan1}
  dsl: {interface: wan2, gateway: 192.0.2.1, table: 200, nat: false}
cake_state_sources: {primary: /run/wanctl/Cable_feed.json, DSL: /run/wanctl/DSL_feed.json}
measurement: {interval_seconds: 2, ping_host: 1.1.1.1, ping_count: 3}
cake_queues: {primary_download: ifb4wan}
`

func TestSteeringOnLinux(t *testing.T) {
	s := mustParse(t, "s.yaml", linuxSteerText, Options{}).Steering
	want := &LinuxSteering{
		LAN: []string{"br-lan"}, Mask: 0x00ff0000, Priority: 30561,
		Lines: []LinuxLine{
			{Name: "Cable", Interface: "wan1", Table: 30561, NAT: true},
			{Name: "DSL", Interface: "wan2", Gateway: netip.MustParseAddr("192.0.2.1"), Table: 200},
		},
	}
	if d := cmp.Diff(want, s.Linux, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s.Alternates[0].RuleComment == "" || s.Router != (Router{Transport: TransportLinux}) {
		t.Errorf("%+v, %+v", s.Alternates[0], s.Router)
	}
	six := strings.NewReplacer("wan1}", "wan1, nat6: true, gateway6: fe80::1}", "nat: false}", "nat6: true}").Replace(linuxSteerText) +
		"policy: {ipv6: true, mark_mask: \"0xf0\", rule_priority: 100}\n"
	if l := mustParse(t, "s.yaml", six, Options{}).Steering.Linux; !l.Six || l.Mask != 0xf0 || l.Priority != 100 ||
		l.Lines[0].Gateway6 != netip.MustParseAddr("fe80::1") {
		t.Errorf("%+v", l)
	}
	s = mustParse(t, "s.yaml", strings.Replace(linuxSteerText, "cake_queues: {primary_download: ifb4wan}\n", "", 1), Options{}).Steering
	s.Adopt(mustParse(t, "w.yaml", linuxText, Options{}).WAN)
	if s.Queues != (Queues{Download: "ifb4wan", Upload: "wan"}) {
		t.Errorf("adopted %+v", s.Queues)
	}
	if s := mustParse(t, "s.yaml", steeringText, Options{}).Steering; s.Linux != nil {
		t.Errorf("on RouterOS: %+v", s.Linux)
	}
}

func TestSteeringOnLinuxFindings(t *testing.T) {
	for name, c := range map[string]struct{ old, text, want string }{
		"no lan":         {"interfaces: {lan: [br-lan]}\n", "", "interfaces.lan: is required"},
		"no interface":   {"  Cable: {interface: wan1}\n", "", "lines.Cable.interface: is required"},
		"other line":     {"  Cable:", "  LTE: {interface: wan3}\n  Cable:", "lines.LTE: is none of the lines (name the primary or an alternate: Cable, DSL)"},
		"dot":            {"  Cable:", "  LTE.two: {interface: wan3}\n  Cable:", `lines.LTE.two: "LTE.two" has a dot, which separates keys (call it otherwise, here and wherever it is named)`},
		"same interface": {"wan1", "wan2", "DSL has the same interface wan2 as Cable"},
		"same table":     {"wan1}", "wan1, table: 200}", "DSL has the same table 200 as Cable"},
		"lan is a line":  {"[br-lan]", "[wan1]", "Cable has the same interface wan1 as interfaces.lan"},
		"own table":      {"table: 200", "table: 254", "254 is one of the kernel's own tables"},
		"IPv6 gateway":   {"gateway: 192.0.2.1", "gateway: fe80::1", "fe80::1 is an IPv6 address"},
		"IPv4 gateway":   {"gateway: 192.0.2.1", "gateway6: 192.0.2.1", "192.0.2.1 is an IPv4 address"},
		"IPv6":           {"interfaces:", "policy: {ipv6: true}\ninterfaces:", "policy.ipv6: needs nat6 on every line"},
		"mask":           {"interfaces:", "policy: {mark_mask: \"0x0f0f\"}\ninterfaces:", "0x0f0f is not at least 4 bits in a row"},
		"mask's digits":  {"interfaces:", "policy: {mark_mask: \"255\"}\ninterfaces:", `"255" is no hexadecimal number of 32 bits`},
		"rule":           {"interfaces:", "mangle_rule: {comment: x}\ninterfaces:", "mangle_rule.comment: has no effect with transport linux"},
		"host":           {"transport: linux", "transport: linux, host: 192.0.2.1", "router.host: has no effect with transport linux"},
	} {
		text := strings.Replace(linuxSteerText, c.old, c.text, 1)
		if text == linuxSteerText {
			t.Errorf("%s: nothing was changed", name)
		}
		_, ds := Parse("s.yaml", strings.NewReader(text), Options{})
		if !strings.Contains(ds.String(), c.want) {
			t.Errorf("%s: the findings do not tell %q:\n%v", name, c.want, ds)
		}
	}
	_, ds := Parse("s.yaml", strings.NewReader(steeringText+"lines: {ATT: {interface: wan1}}\n"), Options{})
	if want := "lines: has no effect but with transport linux"; !strings.Contains(ds.String(), want) {
		t.Errorf("the findings do not tell %q:\n%v", want, ds)
	}
	many := strings.Replace(linuxSteerText, "interfaces:", "policy: {mark_mask: \"0xf0\"}\ninterfaces:", 1) + "alternates:\n"
	for _, n := range []string{"A", "B", "C"} {
		many += "  " + n + ": {ping_source_ip: 10.0.0." + string(n[0]-'A'+'1') + "}\n"
	}
	if _, ds := Parse("s.yaml", strings.NewReader(many), Options{}); !strings.Contains(ds.String(), "0xf0 tells 3 lines apart, and there are 5") {
		t.Errorf("too many lines:\n%v", ds)
	}
}

func TestSteeringOnLinuxAndItsLines(t *testing.T) {
	line := strings.NewReplacer("wan_name: line", "wan_name: Cable", "upload: wan}", "upload: eth7}").Replace(linuxText)
	ds := CrossCheck(mustParse(t, "s.yaml", linuxSteerText, Options{}), mustParse(t, "w.yaml", line, Options{}))
	if want := "wan1 is not the upload interface of Cable, eth7"; !strings.Contains(ds.String(), want) {
		t.Errorf("the findings do not tell %q:\n%v", want, ds)
	}
}
