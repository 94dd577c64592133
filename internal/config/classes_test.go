package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/flow"
)

func classNames(s *Steering) (names []string) {
	for _, c := range s.Policy.Classes {
		names = append(names, c.Name)
	}
	return names
}

// Each class is switched on by itself; without a word all are on but the one that is nearly everything.
func TestClasses(t *testing.T) {
	if d := cmp.Diff([]string{"voip", "gaming", "remote", "push", "wireguard", "dscp"}, classNames(mustParse(t, "s.yaml", steeringText, Options{}).Steering)); d != "" {
		t.Error(d)
	}
	s := mustParse(t, "s.yaml", steeringText+"traffic_classes: {gaming: false, remote: false, push: false, wireguard: false, dscp: false, web: true, "+
		"dns_resolvers: [9.9.9.9], custom: [\"udp 10000-18000 to 203.0.113.5\", \"tcp 8443\", \"tcp 1,2-9 to 198.51.100.7/24\"]}\n", Options{}).Steering
	if d := cmp.Diff([]string{"voip", "web", "dns", "custom"}, classNames(s)); d != "" {
		t.Error(d)
	}
	if c := s.Policy.Classes[1]; !c.Light {
		t.Errorf("%+v", c)
	}
	want := []string{"udp 10000-18000 to 203.0.113.5", "tcp 8443", "tcp 1,2-9 to 198.51.100.0/24"}
	for i, m := range s.Policy.Classes[3].Matches {
		if m.String() != want[i] {
			t.Errorf("%s, want %s", m, want[i])
		}
	}
	if got := s.Policy.Classes[2].Matches; len(got) != 2 || got[0].To != netip.MustParsePrefix("9.9.9.9/32") || got[1].Ports.String() != "53,853" {
		t.Errorf("%+v", got)
	}
}

// What is shipped fits into a rule each, in the order in which it is admitted.
func TestShippedClasses(t *testing.T) {
	var names []string
	for _, c := range shippedClasses {
		names = append(names, c.Name)
		for _, m := range c.Matches {
			if m.Ports != nil && m.Protocol == flow.Any || m.DSCP < 0 && m.Ports == nil || m.To.IsValid() {
				t.Errorf("%s: %+v", c.Name, m)
			}
			if again, err := flow.ParsePorts(m.Ports.String()); m.Ports != nil && (err != nil || !slices.Equal(again, m.Ports)) {
				t.Errorf("%s: %s, %v", c.Name, m.Ports, err)
			}
		}
	}
	if d := cmp.Diff([]string{"voip", "gaming", "remote", "push", "wireguard", "dscp", "web"}, names); d != "" {
		t.Error(d)
	}
	defer func() {
		if recover() == nil {
			t.Error("a bad entry of the table is taken")
		}
	}()
	portsOf("x")
}

// Overlapping is told, and which of two is admitted first.
func TestOverlappingClasses(t *testing.T) {
	for custom, want := range map[string]string{
		"udp 3000-4000":                "overlaps the class voip",
		"tcp 22 to 203.0.113.9":        "overlaps the class remote (tcp 22,3389), which is admitted first",
		"udp 4000":                     "",
		"tcp 88":                       "",
		"udp 53 to 9.9.9.0/24":         "overlaps the class dns",
		"udp 3478-3480 to 203.0.113.9": "overlaps the class voip",
	} {
		_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {dscp: false, dns_resolvers: [9.9.9.9], custom: [\""+custom+"\"]}\n"), Options{})
		if err := ds.Err(); err != nil {
			t.Errorf("%s: %v", custom, err)
		}
		told := ""
		for _, d := range ds {
			if d.Key == customClass {
				told = d.Message
			}
		}
		if want == "" && told != "" || !strings.Contains(told, want) {
			t.Errorf("%s: %q, want %q", custom, told, want)
		}
	}
}

// The user's word: hosts, lists, lines, and how long a call stays together.
func TestOverrides(t *testing.T) {
	s := mustParse(t, "s.yaml", steeringText+`traffic_classes:
  always: ["192.168.1.50 att", "@kids to 203.0.113.7/24 ATT", "@router ATT", "192.168.1.7 Spectrum"]
  never: ["192.168.1.64/26 ATT"]
  lists: {kids: [192.168.1.70, 192.168.1.96/28]}
  together_minutes: 2.5
`, Options{}).Steering
	want := []flow.Override{
		{Hosts: flow.Hosts{Net: netip.MustParsePrefix("192.168.1.64/26")}, Line: "ATT", Never: true},
		{Hosts: flow.Hosts{Net: netip.MustParsePrefix("192.168.1.50/32")}, Line: "ATT"},
		{Hosts: flow.Hosts{List: "kids"}, To: netip.MustParsePrefix("203.0.113.0/24"), Line: "ATT"},
		{Hosts: flow.Hosts{List: "router"}, Line: "ATT"},
		{Hosts: flow.Hosts{Net: netip.MustParsePrefix("192.168.1.7/32")}, Line: s.Policy.Primary},
	}
	if d := cmp.Diff(want, s.Policy.Overrides, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Error(d)
	}
	if got := s.Policy.Lists["kids"]; len(got) != 2 || got[1].String() != "192.168.1.96/28" || s.Policy.Idle != 150*time.Second {
		t.Errorf("%v, %v", got, s.Policy.Idle)
	}
	if s.Policy.Primary != "Spectrum" || !slices.Equal(s.Policy.Alternates, []string{"ATT"}) || s.Switch != SwitchRule {
		t.Errorf("%+v", s.Policy)
	}
	if idle := mustParse(t, "s.yaml", steeringText, Options{}).Steering.Policy.Idle; idle != flow.DefaultIdle {
		t.Errorf("%v", idle)
	}
}

// A router on the internet, and probes without an address of their own: what would take the controller's own traffic.
func TestOwnTraffic(t *testing.T) {
	away := strings.Replace(steeringText, "host: 192.168.88.1", "host: 203.0.113.1", 1)
	for line, want := range map[string]string{
		`remote: true`: "the class remote (tcp 22,3389) takes the controller's own ssh to the router (203.0.113.1:22), too",
		`remote: false, always: ["192.168.1.0/24 ATT"]`:         `"192.168.1.0/24 always ATT" takes the controller's own ssh`,
		`remote: false, always: ["192.168.1.9 ATT"]`:            "",
		`remote: false, always: ["192.168.1.9 to 1.1.1.1 ATT"]`: "takes the probes of Spectrum to 1.1.1.1, too, which then measure ATT",
		`remote: false, never: ["192.168.1.0/24 ATT"]`:          "",
		`remote: false, dns_resolvers: [203.0.113.1]`:           "",
		`remote: false, custom: ["tcp 20-30"]`:                  "the class custom (tcp 20-30) takes the controller's own ssh",
	} {
		_, ds := Parse("s.yaml", strings.NewReader(away+"traffic_classes: {"+line+"}\n"), Options{})
		err := ds.Err()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if f, ds := Parse("s.yaml", strings.NewReader(away), Options{}); f == nil || !strings.Contains(ds[0].String(), "the class remote (tcp 22,3389) takes") {
		t.Errorf("a class that is on by itself: %v", ds)
	}
	_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {always: [\"192.168.88.0/24 ATT\"]}\n"), Options{})
	if err := ds.Err(); err == nil || !strings.Contains(err.Error(), "give the primary's probes an address of their own") {
		t.Errorf("the whole LAN: %v", err)
	}
	api := strings.Replace(steeringText, "ssh_key: /etc/wanctl/router.key", "transport: api, port: 53, password: file:/x, insecure: true", 1)
	_, ds = Parse("s.yaml", strings.NewReader(api+"traffic_classes: {dns_resolvers: [192.168.88.1]}\n"), Options{})
	if err := ds.Err(); err == nil || !strings.Contains(err.Error(), "traffic_classes.dns_resolvers: the class dns (tcp 53,853 to 192.168.88.1) takes") {
		t.Errorf("resolver and router: %v", err)
	}
}

func TestBadOverrides(t *testing.T) {
	for line, want := range map[string]string{
		`always: [ATT]`: "one word is too little",
		`always: ["192.168.1.50 at 9.9.9.9 ATT"]`:                               "4 words",
		`always: ["here ATT"]`:                                                  `"here" is no address`,
		`always: ["2001:db8::1 ATT"]`:                                           "only IPv4",
		`always: ["192.168.1.50 to x ATT"]`:                                     `"x" is no address`,
		`always: ["192.168.1.50 AT"]`:                                           "did you mean ATT?",
		`never: ["192.168.1.50 nowhere"]`:                                       `there is no line "nowhere"`,
		`never: ["@a/b ATT"]`:                                                   "the list's name",
		`never: ["@kids ATT", "@kids att"]`:                                     "is there twice",
		`always: ["@kids ATT"], never: ["@kids ATT"]`:                           "is under never, too",
		`always: ["@kids ATT", "@kids Spectrum"]`:                               "the same hosts take ATT before it",
		`lists: {"a b": [192.168.1.1]}`:                                         "traffic_classes.lists.a b",
		`lists: {kids: [x]}`:                                                    `"x" is no address`,
		`lists: {kids: [192.168.1.1, 192.168.1.1/32]}`:                          "is there twice",
		`together_minutes: 0.5`:                                                 "shorter than the pauses",
		`together_minutes: 500`:                                                 "0 to 120",
		`alwais: ["192.168.1.50 ATT"]`:                                          "did you mean",
		`custom: ["tcp 5000-6000 to 9.9.9.9", "tcp 5000-6000 to 9.9.9.9/32"]`:   `"tcp 5000-6000 to 9.9.9.9/32" is in the class custom already`,
		`custom: ["tcp 22 to 192.168.88.1"]`:                                    "takes the controller's own ssh to the router (192.168.88.1:22), too",
		`dns_resolvers: [192.168.88.1], custom: ["tcp 1-99 to 192.168.0.0/16"]`: "the class custom (tcp 1-99 to 192.168.0.0/16) takes the controller's own ssh",
		`always: ["192.168.1.50 to 192.168.88.1 ATT"]`:                          `"192.168.1.50 to 192.168.88.1 always ATT" takes the controller's own ssh`,
	} {
		_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {"+line+"}\n"), Options{})
		if err := ds.Err(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "s.yaml:") {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// Who may take no line takes the primary, and is told so once.
func TestEveryLineBarred(t *testing.T) {
	for line, want := range map[string]int{
		`never: ["192.168.1.50 ATT", "192.168.1.50 Spectrum"]`:                                    1,
		`never: ["@kids Spectrum", "@kids ATT"]`:                                                  1,
		`never: ["192.168.1.50 ATT", "192.168.1.51 Spectrum"]`:                                    0,
		`never: ["192.168.1.50 to 9.9.9.9 ATT", "192.168.1.50 Spectrum"]`:                         0,
		`never: ["192.168.1.50 ATT"], always: ["192.168.1.50 Spectrum", "192.168.1.51 Spectrum"]`: 0,
	} {
		_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {"+line+"}\n"), Options{})
		if n := strings.Count(ds.String(), "bars every line, so that "); ds.Err() != nil || n != want {
			t.Errorf("%s: %d, want %d: %v", line, n, want, ds)
		}
	}
}

func TestBadClasses(t *testing.T) {
	for line, want := range map[string]string{
		"custom: [udp]":                  "one word is too little",
		"custom: [\"udp 5 at 9.9.9.9\"]": "4 words",
		"custom: [\"sctp 5\"]":           `the protocol is "sctp"`,
		"custom: [\"udp x\"]":            `"x" is no port`,
		"custom: [\"udp 0\"]":            `"0" is no port`,
		"custom: [\"udp 1-2-3\"]":        `"1-2-3" is no port and no range`,
		"custom: [\"udp 9-9\"]":          "no beginning below its end",
		"custom: [\"udp 1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16\"]": "16 ports",
		"custom: [\"udp 5 to here\"]":                              `"here" is no address`,
		"custom: [\"udp 5 to 2001:db8::1\"]":                       "only IPv4",
		"dns_resolvers: [\"2620:fe::fe\"]":                         "only IPv4",
		"dns_resolvers: [one]":                                     "traffic_classes.dns_resolvers",
		"voip: maybe":                                              "traffic_classes.voip",
		"viop: true":                                               "did you mean",
		"dns: true":                                                `did you mean "dns_resolvers"?`,
	} {
		_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {"+line+"}\n"), Options{})
		if err := ds.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
