package blueprint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"wanctl/internal/flow"
)

// lists asks for the lists of hosts that the configuration defines.
func (p *planner) lists(s *Steering) {
	asked := map[string]bool{}
	for _, o := range s.Policy.Overrides {
		name := o.Hosts.List
		hosts, defined := s.Policy.Lists[name]
		if name == "" || asked[name] {
			continue
		}
		asked[name] = true
		if !defined {
			if !slices.ContainsFunc(p.inv[AddressList], func(r Row) bool { return r["list"] == name && Enabled(r) }) {
				p.hint(fmt.Sprintf("override %s: neither the files nor the router have a list %q", o, name), "write it under traffic_classes.lists, or fill the router's")
			}
			continue
		}
		for _, n := range hosts {
			address := flow.Hosts{Net: n}.String()
			p.need(item{
				menu: AddressList, name: address + " in list " + name, why: "your configuration names this list",
				is:   func(r Row) bool { return r["list"] == name && strings.TrimSuffix(r["address"], "/32") == address },
				args: []Arg{{"list", name}, {"address", address}, comment("list " + name)},
			})
		}
	}
	for _, r := range p.inv[AddressList] {
		if !Owned(AddressList, r) || Truth(r["dynamic"]) {
			continue
		}
		n, err := netip.ParsePrefix(r["address"])
		if a, err2 := netip.ParseAddr(r["address"]); err2 == nil {
			n, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || !asked[r["list"]] || !slices.Contains(s.Policy.Lists[r["list"]], n) {
			p.plan.Changes = append(p.plan.Changes, Change{
				Verb: Remove, Menu: AddressList, ID: r[".id"], Item: r["address"] + " in list " + r["list"], Why: "the files no longer ask for it",
			})
		}
	}
}
