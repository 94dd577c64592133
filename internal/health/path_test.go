package health

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	ip := netip.MustParseAddr
	own := []OwnAddress{{ip("198.51.100.2"), "ether1"}, {ip("203.0.113.2"), "ether2"}, {ip("192.168.88.1"), "bridge"}}
	here, other, plain := ip("203.0.113.2"), ip("198.51.100.2"), ip("192.168.88.5")
	one, two := ip("1.1.1.1"), ip("8.8.8.8")
	for _, tt := range []struct {
		name    string
		wan     string
		targets []netip.Addr
		echoes  []Echo
		want    PathVerdict
		says    string
	}{
		{"both through it", "ether2", []netip.Addr{one, two}, []Echo{{one, here}, {two, here}}, PathProved, "shows for 1.1.1.1, 8.8.8.8."},
		{"one is not tracked", "ether2", []netip.Addr{one, two}, []Echo{{two, here}}, PathProved, "shows for 8.8.8.8."},
		{"one leaves elsewhere", "ether2", []netip.Addr{one, two}, []Echo{{one, here}, {two, other}}, PathElsewhere, "it reaches 8.8.8.8 through ether1 (as 198.51.100.2)"},
		{"all leave elsewhere", "ether2", []netip.Addr{one}, []Echo{{one, other}}, PathElsewhere, "src-address=192.168.88.5"},
		{"not tracked", "ether2", []netip.Addr{one}, nil, PathUnproved, "no echo to 1.1.1.1"},
		{"somebody else's are tracked", "ether2", []netip.Addr{one}, []Echo{{two, other}}, PathUnproved, "no echo to 1.1.1.1"},
		{"not translated", "ether2", []netip.Addr{one}, []Echo{{one, plain}}, PathUnproved, "1.1.1.1 left as 192.168.88.5"},
		{"translated to an address of nobody", "ether2", []netip.Addr{one}, []Echo{{one, ip("100.64.0.9")}}, PathUnproved, "tells no interface"},
		{"no WAN", "", []netip.Addr{one}, []Echo{{one, here}}, PathUnproved, "interfaces.wan"},
		{"no targets", "ether2", nil, nil, PathUnproved, "no reflector"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, text := JudgePath(PathFacts{Source: plain, Targets: tt.targets, WAN: tt.wan, Echoes: tt.echoes, Own: own})
			if got != tt.want || !strings.Contains(text, tt.says) || !strings.HasSuffix(text, ".") {
				t.Errorf("%s, %q; want %s with %q", got, text, tt.want, tt.says)
			}
		})
	}
	if got := fmt.Sprint(PathUnproved, PathProved, PathElsewhere, PathVerdict(9)); got != "unproved proved elsewhere invalid" {
		t.Error(got)
	}
}
