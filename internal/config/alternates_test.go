package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/steer"
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

// TestShippedThreeLines holds the pattern for new files to what it says: everything that is off by default is on.
func TestShippedThreeLines(t *testing.T) {
	s := shipped(t, "steering_three_lines.yaml").Steering
	c := s.Steer
	switch {
	case len(s.Alternates) != 2 || len(c.Alternates) != 2 || c.Alternates[1].Name != "LTE" || !c.Alternates[1].Checked:
		t.Errorf("alternates: %+v", c.Alternates)
	case c.Alternates[0].MaxLoad != 800_000 || c.Alternates[1].MarginMS != 30 || c.Alternates[1].Room != 2*unit.Mbps:
		t.Errorf("demands: %+v", c.Alternates)
	case c.Confirm != (steer.Confirm{Drops: true, Marks: true, Queue: true, Controller: true, Loss: 50_000}):
		t.Errorf("confirmations: %+v", c.Confirm)
	case c.Limits != (steer.Limits{HoldDown: time.Minute, Grace: 6 * time.Second, SteeredMax: 6 * time.Hour}):
		t.Errorf("limits: %+v", c.Limits)
	case !c.Flap.Enabled || c.Flap.MaxToggles != 3 || c.Flap.RedFactor != 2 || !c.Herd.Enabled || c.Herd.MaxBackOff != 30*time.Minute:
		t.Errorf("brakes: %+v %+v", c.Flap, c.Herd)
	}
}

// TestBrakes reads every key of the brakes, and refuses what contradicts itself.
func TestBrakes(t *testing.T) {
	const keys = `
confirm: {drops: false, marks: false, queue: false, controller: false, queue_delay_ms: 20, loss_percent: 2.5}
limits: {hold_down_seconds: 30, autorate_grace_seconds: 4, steered_max_hours: 1.5, cap: return}
flap_brake: {enabled: true, window_minutes: 10, max_toggles: 5, penalty_seconds: 60, red_factor: 3, margin_factor: 4}
herd_damping: {enabled: true, within_seconds: 20, backoff_minutes: 2, backoff_max_minutes: 8}
`
	c := mustParse(t, "steering.yaml", steeringText+keys, Options{}).Steering.Steer
	want := steer.Default()
	want.Confirm = steer.Confirm{QueueDelay: 20, Loss: 25_000}
	want.Limits = steer.Limits{HoldDown: 30 * time.Second, Grace: 4 * time.Second, SteeredMax: 90 * time.Minute, Cap: steer.CapReturn}
	want.Flap = steer.VoteFlap{Enabled: true, Window: 10 * time.Minute, MaxToggles: 5, PenaltyFor: time.Minute, RedFactor: 3, MarginFactor: 4}
	want.Herd = steer.Herd{Enabled: true, Within: 20 * time.Second, BackOff: 2 * time.Minute, MaxBackOff: 8 * time.Minute}
	if c.Confirm != want.Confirm || c.Limits != want.Limits || c.Flap != want.Flap || c.Herd != want.Herd {
		t.Errorf("got %+v %+v %+v %+v", c.Confirm, c.Limits, c.Flap, c.Herd)
	}
	for bad, says := range map[string]string{
		"vote: all\nconfirm: {queue: false}\n":                         "confirm.queue: vote: all demands it",
		"herd_damping: {backoff_minutes: 9, backoff_max_minutes: 2}\n": "backoff <= backoff_max",
		"limits: {cap: retrun}\n":                                      `did you mean "return"?`,
	} {
		if _, ds := Parse("steering.yaml", strings.NewReader(steeringText+bad), Options{}); !strings.Contains(ds.String(), says) {
			t.Errorf("%q: %v", bad, ds)
		}
	}
}
