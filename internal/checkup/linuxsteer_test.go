package checkup

import (
	"strings"
	"testing"
)

func TestSteeringOnThisHost(t *testing.T) {
	well := func() *SteeringHost {
		return &SteeringHost{
			Accounting: true, Tracked: 10, TrackedMax: 100,
			Gateways: []Gateway{{"Cable", "192.0.2.1", true, true}},
		}
	}
	for name, c := range map[string]struct {
		change func(*SteeringHost)
		id     string
		want   Status
		text   string
	}{
		"well":          {func(*SteeringHost) {}, steeringRules, Passed, "in place"},
		"in the way":    {func(h *SteeringHost) { h.Problems = []string{"no forwarding"} }, steeringWay, Failed, "no forwarding"},
		"explained":     {func(h *SteeringHost) { h.Problems, h.Missing = []string{"no forwarding"}, []string{"x"} }, steeringRules, Skipped, "not looked at"},
		"missing":       {func(h *SteeringHost) { h.Missing = []string{"ip rule add\nx", "y"} }, steeringRules, Failed, `2 steps are missing, the first is "ip rule add"`},
		"noted":         {func(h *SteeringHost) { h.Notes = []string{"offloaded"} }, "steering.notes", Warned, "offloaded"},
		"full":          {func(h *SteeringHost) { h.Tracked = 90 }, "steering.connections", Warned, "90 of 100"},
		"not full":      {func(h *SteeringHost) { h.Tracked = 89 }, "steering.connections", Passed, "89 of 100"},
		"not known":     {func(h *SteeringHost) { h.TrackedMax = 0 }, "steering.connections", Skipped, "cannot be read"},
		"no accounting": {func(h *SteeringHost) { h.Accounting = false }, "steering.accounting", Warned, "not counted"},
		"accounting":    {func(*SteeringHost) {}, "steering.accounting", Passed, "are counted"},
		"gateway":       {func(*SteeringHost) {}, "Cable.gateway", Passed, "192.0.2.1"},
		"silent":        {func(h *SteeringHost) { h.Gateways[0].Answers = false }, "Cable.gateway", Failed, "does not answer"},
		"not asked":     {func(h *SteeringHost) { h.Gateways[0].Known = false }, "Cable.gateway", Skipped, "nobody has asked"},
	} {
		h := well()
		c.change(h)
		found := Run(&Facts{Steering: &Steering{Primary: "Cable", Alternate: "DSL", Host: h, Light: true}})
		ok := false
		for _, f := range found {
			if f.ID == c.id {
				ok = f.Status == c.want && strings.Contains(f.Text, c.text)
			}
			if f.ID == "steering.rule" {
				t.Errorf("%s: a rule of a router was looked for", name)
			}
		}
		if !ok {
			t.Errorf("%s: %+v", name, found)
		}
	}
	for _, f := range Run(&Facts{Steering: &Steering{Host: well()}}) {
		if f.ID == "steering.accounting" {
			t.Error("bytes matter to no class")
		}
	}
}
