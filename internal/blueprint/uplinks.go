package blueprint

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Uplink is an interface of the router that a line may be on.
type Uplink struct {
	// Name and Type are the interface's.
	Name, Type string
	Running    bool
	// Gateway is the next hop: that of a default route of the main table, or what DHCP gave; empty where it has none.
	Gateway string
	// Routed says that a default route leaves by it, and Distance is the nearest's.
	Routed   bool
	Distance int
}

// Line says whether the interface leads to the internet, as far as the router knows.
func (u Uplink) Line() bool { return u.Gateway != "" }

// Uplinks are the interfaces that lines may be on: those with a default route first, the nearest in front; then the others in
// the router's order. Bridges and the loopback come last, for completeness: no line ends there.
func Uplinks(inv Inventory) []Uplink {
	var all []Uplink
	p := planner{inv: inv}
	for _, r := range inv[Interface] {
		if Truth(r["disabled"]) {
			continue
		}
		u := Uplink{Name: r["name"], Type: r["type"], Running: Truth(r["running"])}
		u.Gateway, _ = p.gateway(u.Name)
		if via, _, bound := strings.Cut(u.Gateway, "%"); bound {
			u.Gateway = via
		}
		u.Distance, u.Routed = distance(inv, u.Name)
		all = append(all, u)
	}
	NearestFirst(all)
	return all
}

// NearestFirst sorts interfaces as [Uplinks] does, and leaves what is alike in its order.
func NearestFirst(all []Uplink) {
	inner := func(u Uplink) bool { return u.Type == "bridge" || u.Type == "loopback" }
	slices.SortStableFunc(all, func(a, b Uplink) int {
		return cmp.Or(before(a.Routed, b.Routed), before(a.Line(), b.Line()), cmp.Compare(a.Distance, b.Distance), -before(inner(a), inner(b)))
	})
}

// before orders what is so before what is not.
func before(a, b bool) int {
	switch {
	case a && !b:
		return -1
	case b && !a:
		return 1
	}
	return 0
}

// distance is that of an interface's nearest default route, RouterOS's default 1 where none is printed.
func distance(inv Inventory, iface string) (least int, routed bool) {
	for r := range inv.defaults(iface) {
		d, err := strconv.Atoi(r["distance"])
		if err != nil {
			d = 1
		}
		if !routed || d < least {
			least, routed = d, true
		}
	}
	return least, routed
}

// defaults are the default routes that leave by an interface, but for a plan's own, each with its next hop as the router writes
// it: bound to the interface, or the interface itself; empty where it has none.
func (inv Inventory) defaults(iface string) iter.Seq2[Row, string] {
	return func(yield func(Row, string) bool) {
		for _, r := range inv[Route] {
			if r["dst-address"] != "0.0.0.0/0" || Truth(r["disabled"]) || strings.HasPrefix(r["comment"], Owner) {
				continue
			}
			if hop, leaves := hopBy(r, iface); leaves && !yield(r, hop) {
				return
			}
		}
	}
}

// hopBy is a route's next hop, where it leaves by an interface.
func hopBy(r Row, iface string) (hop string, leaves bool) {
	if r["gateway"] == iface {
		return iface, true
	}
	for _, h := range []string{r["immediate-gw"], r["gateway"]} {
		switch addr, out, _ := strings.Cut(h, "%"); {
		case out != iface:
		case addr != "":
			return h, true
		default:
			leaves = true
		}
	}
	return "", leaves
}
