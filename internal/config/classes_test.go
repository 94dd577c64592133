package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func classNames(s *Steering) (names []string) {
	for _, c := range s.Classes {
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
		"dns_resolvers: [9.9.9.9], custom: [\"udp 10000-20000 to 203.0.113.5\", \"tcp 8443\", \"tcp 1,2-9 to 198.51.100.7/24\"]}\n", Options{}).Steering
	if d := cmp.Diff([]string{"voip", "web", "dns", "custom"}, classNames(s)); d != "" {
		t.Error(d)
	}
	want := []ClassMatch{
		{Protocol: "udp", Ports: "10000-20000", DSCP: -1, To: netip.MustParsePrefix("203.0.113.5/32")},
		{Protocol: "tcp", Ports: "8443", DSCP: -1},
		{Protocol: "tcp", Ports: "1,2-9", DSCP: -1, To: netip.MustParsePrefix("198.51.100.0/24")},
	}
	if got := s.Classes[3].Matches; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := s.Classes[2].Matches; len(got) != 2 || got[0].To != netip.MustParsePrefix("9.9.9.9/32") || got[1].Ports != "53,853" {
		t.Errorf("%+v", got)
	}
}

// What is shipped fits into a rule each.
func TestShippedClasses(t *testing.T) {
	for _, c := range shippedClasses {
		for _, m := range c.Matches {
			if m.Ports != "" && checkPorts(m.Ports) != nil || m.Protocol == "" && m.Ports != "" || m.DSCP < 0 && m.Ports == "" {
				t.Errorf("%s: %+v, %v", c.Name, m, checkPorts(m.Ports))
			}
		}
	}
}

func TestBadClasses(t *testing.T) {
	for line, want := range map[string]string{
		"custom: [udp]":                  "1 words",
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
	} {
		_, ds := Parse("s.yaml", strings.NewReader(steeringText+"traffic_classes: {"+line+"}\n"), Options{})
		if err := ds.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
