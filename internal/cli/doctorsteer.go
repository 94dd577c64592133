package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"wanctl/internal/blueprint"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
)

// rulesOf says what is wrong with the rules that are switched, the first alternate's first.
func (v *routerView) rulesOf(s *config.Steering) string {
	for _, a := range s.Alternates {
		if wrong := v.ruleOf(s, a); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (v *routerView) ruleOf(s *config.Steering, a config.Alternate) string {
	var found []blueprint.Row
	for _, r := range v.inventory[blueprint.Mangle] {
		if r["comment"] == a.RuleComment && r["dynamic"] != "true" {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return fmt.Sprintf("%d mangle rules have the comment %q, want exactly one", len(found), a.RuleComment)
	}
	r := found[0]
	rule := routeros.Rule{
		Comment: a.RuleComment, Chain: r["chain"], Action: r["action"], ConnectionState: r["connection-state"], NewConnectionMark: r["new-connection-mark"],
		NewRoutingMark: r["new-routing-mark"], SrcAddressList: r["src-address-list"], Invalid: blueprint.Truth(r["invalid"]), Enabled: !blueprint.Truth(r["disabled"]),
	}
	var err error
	if s.Switch == config.SwitchList {
		err = rule.SteerableBy(link.SteerList(a.Name))
	} else if !s.AllowLegacyRule {
		err = rule.Steerable()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// fewestCounted is how many new connections say something about how many use IPv6.
const fewestCounted = 20

// shareIPv6 is the share of new connections of the classes that use IPv6, since the router counts: by the rules that mark them
// over IPv4, and those that do nothing but count over IPv6. Negative is not known.
func (v *routerView) shareIPv6(ctx context.Context) float64 {
	count := map[bool]map[string]int64{false: {}, true: {}}
	for _, menu := range []string{blueprint.Mangle, blueprint.Mangle6} {
		rows, err := v.admin.List(ctx, menu, []string{"comment", "disabled", "packets"})
		if err != nil {
			return -1
		}
		for _, r := range rows {
			class, sixth, is := blueprint.CountsClass(blueprint.Row(r))
			n, err := strconv.ParseInt(strings.ReplaceAll(r["packets"], " ", ""), 10, 64)
			if is && err == nil && sixth == (menu == blueprint.Mangle6) {
				count[sixth][class] += n
			}
		}
	}
	var all, six int64
	for class, n := range count[true] { // what is not counted over both protocols says nothing
		if four, both := count[false][class]; both {
			six, all = six+n, all+n+four
		}
	}
	if all < fewestCounted {
		return -1
	}
	return float64(six) / float64(all)
}
