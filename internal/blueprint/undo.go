package blueprint

import (
	"slices"
	"strings"
)

// owning are the menus that a plan adds to, in the order in which an undo empties them: what names another thing before
// the thing.
var owning = []string{Scheduler, Mangle, Mangle6, AddressList, Filter, Filter6, NAT, Route, Table, QueueTree, QueueSimple, QueueType, User, Group}

// Undo returns what takes everything away that plans added, and puts back what they set: changed are the changes that were
// made, newest last, as far as they are remembered. Values that somebody has changed since stay.
func Undo(inv Inventory, changed []Change) Plan {
	p := planner{inv: inv}
	for _, c := range slices.Backward(changed) {
		if c.Verb == Set {
			p.restore(c)
		}
	}
	for _, menu := range owning {
		for _, r := range inv[menu] {
			if Truth(r["dynamic"]) || !Owned(menu, r) && !switched(menu, r, changed) {
				continue
			}
			p.plan.Changes = append(p.plan.Changes, Change{
				Verb: Remove, Menu: menu, ID: r[".id"], Item: strings.TrimPrefix(menu, "/") + " " + describe(r), Why: "wanctl added it",
				Privileged: menu == User || menu == Group,
			})
		}
	}
	return p.plan
}

// switched says whether a row is one that a plan added under a comment that is not wanctl's own form: steering's rule.
func switched(menu string, r Row, changed []Change) bool {
	return slices.ContainsFunc(changed, func(c Change) bool {
		return c.Verb == Add && c.Menu == menu && r["comment"] != "" && slices.Contains(c.Args, Arg{"comment", r["comment"]})
	})
}

// restore puts back what a change found.
func (p *planner) restore(c Change) {
	i := slices.IndexFunc(p.inv[c.Menu], func(r Row) bool { return r[".id"] == c.ID })
	if i < 0 {
		return
	}
	r := p.inv[c.Menu][i]
	if Owned(c.Menu, r) {
		return // it goes away whole
	}
	back := Change{Verb: Set, Menu: c.Menu, ID: c.ID, Item: c.Item, Why: "as it was before wanctl set it", Privileged: c.Privileged}
	for k, a := range c.Args {
		switch {
		case same(a.Key, r[a.Key], a.Value):
			back.Args, back.Was = append(back.Args, c.Was[k]), append(back.Was, a)
		case !same(a.Key, r[a.Key], c.Was[k].Value):
			p.hint(c.Item+": "+a.Key+" is "+r[a.Key]+", which is neither what wanctl set nor what it found: it stays", "set it as you want it")
		}
	}
	if len(back.Args) > 0 {
		p.plan.Changes = append(p.plan.Changes, back)
	}
}
