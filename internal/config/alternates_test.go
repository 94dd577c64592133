package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/unit"
)

// TestAlternates reads a config of more than two lines: each alternate has its own rule, probes, feed and demands, in the
// order of the file.
func TestAlternates(t *testing.T) {
	f, ds := parseFile(t, "testdata/good/steering_lines.yaml")
	if f == nil {
		t.Fatal(ds)
	}
	s := f.Steering
	want := []Alternate{
		{
			Name: "ATT", RuleComment: "ADAPTIVE: Steer to ATT", PingHost: "1.1.1.1", Queue: "ADown", StateSource: "/run/wanctl/att_feed.json",
			MarginMS: 10, MarginShare: 200_000, MaxLoad: 800_000,
		},
		{
			Name: "lte", RuleComment: "ADAPTIVE: Steer to LTE", Source: netip.MustParseAddr("10.10.120.248"), PingHost: "9.9.9.9", Queue: "LDown",
			StateSource: "/run/wanctl/lte_feed.json", MarginMS: 30, MarginShare: 200_000, Room: 2_500_000 * unit.BitPerSecond,
		},
		{
			Name: "Sat", RuleComment: "ADAPTIVE: Steer to Sat", Source: netip.MustParseAddr("10.10.130.248"), PingHost: "1.1.1.1",
			MarginMS: 10, MarginShare: 500_000, MaxLoad: 500_000,
		},
		{Name: "Dark", RuleComment: "ADAPTIVE: Steer to Dark", PingHost: "1.1.1.1", MarginMS: 10, MarginShare: 200_000},
	}
	if d := cmp.Diff(want, s.Alternates, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for i, a := range s.Alternates {
		if a.Checked() != (i < 3) {
			t.Errorf("%s: checked is %v", a.Name, a.Checked())
		}
	}
}
