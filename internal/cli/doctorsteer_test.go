package cli

import (
	"net/netip"
	"strings"
	"testing"

	"wanctl/internal/flow"
	"wanctl/internal/lab/rosim"
)

// The doctor says which share of what steering is for uses IPv6: of a house where that is little, and of one where it is much.
func TestDoctorCountsIPv6(t *testing.T) {
	for name, house := range map[string]struct {
		four, six int
		want      string
	}{
		"little":     {95, 5, ""}, // a check that passes is not printed
		"much":       {20, 60, "75 % of the new latency-sensitive connections use IPv6, and are not steered"},
		"not enough": {4, 4, "how many of the connections use IPv6 is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRouterBench(t, "7.22.3", "api")
			b.trust()
			if out, failed := b.router.Exec(t.Context(), "admin", "/ipv6/address/add address=2001:db8::1/64 interface=bridge"); failed {
				t.Fatal(out)
			}
			b.must(exitOK, append([]string{"router", "apply", "--yes", "--user", "admin"}, b.all()...)...)
			call := func(from, to string, port uint16, answered bool) {
				k := rosim.Packet{
					In: "bridge", Protocol: flow.UDP, From: netip.AddrPortFrom(netip.MustParseAddr(from), 40000), To: netip.AddrPortFrom(netip.MustParseAddr(to), port),
				}
				var c rosim.Tracked
				for range 3 { // the first packet is new, and those behind it are not
					if _, err := b.router.Forward(k, &c); err != nil {
						t.Fatal(err)
					}
					c.Answered = answered
				}
			}
			for range house.four {
				call("192.168.88.10", "203.0.113.7", 3478, false)
			}
			for range house.six {
				call("2001:db8::10", "2001:db8:1::7", 3478, true)
				call("2001:db8::10", "2001:db8:1::7", 9, true) // of no class
			}
			_, out, _ := b.run(append([]string{"doctor", "--watch", "1ms"}, b.all()...)...)
			if !strings.Contains(out, house.want) || house.want == "" && strings.Contains(out, "steering.ipv6") {
				t.Errorf("the doctor says\n%s\nwant %q", out, house.want)
			}
			if again := b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...); !strings.Contains(again, "nothing to do") {
				t.Errorf("a second plan: %s", again)
			}
			b.must(exitOK, append([]string{"router", "undo", "--yes", "--user", "admin"}, b.all()...)...)
			if left, _ := b.router.Exec(t.Context(), "admin", "/ipv6/firewall/mangle/print count-only"); strings.TrimSpace(left) != "0" {
				t.Errorf("%s rules are left", left)
			}
		})
	}
}
