// Package policy is Linux steering's hand: one nftables table that pins connections to lines, and the rules and routes
// that follow the pins.
package policy

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wanctl/internal/flow"
)

const (
	// DefaultMask is the field of marks where neither tc's examples, wg-quick, Kubernetes nor mwan3 put theirs.
	DefaultMask uint32 = 0x00ff0000
	// DefaultPriority is the first of the three priorities of our rules: "wa" in ASCII, before the kernel's main (32766).
	DefaultPriority uint32 = 0x7761
	// DefaultTable is the number of the first line's routing table; the others follow.
	DefaultTable uint32 = 0x7761
	// Protocol is the routing protocol number of our rules and routes: "w" in ASCII, which rt_protos gives nobody.
	Protocol uint8 = 0x77

	// SteerFor is how long new connections go to an alternate without being told so again, where [Options.Hold] says nothing else.
	SteerFor = time.Minute
	// SteerEvery is how often a controller that lives tells it.
	SteerEvery = 20 * time.Second

	priorities = 3
	maxIfName  = 15 // IFNAMSIZ less its zero
	flagBits   = 2
	minBits    = flagBits + 2
	mainTable  = 254 // RT_TABLE_MAIN
)

// Line is one WAN of this host.
type Line struct {
	Name, Interface string
	// Gateway and Gateway6 are the next hops; the zero address takes those of the main table's default routes.
	Gateway, Gateway6 netip.Addr
	// Table is the number of the routing table that is made for it.
	Table uint32
	// NAT translates the sources of what leaves by it to the interface's address; NAT6 the same for IPv6.
	NAT, NAT6 bool
}

// Options say what there shall be.
type Options struct {
	// Name tells the table from others: it is "wanctl_NAME".
	Name string
	// Mask is the field of connection and packet marks that is ours: at least 4 bits in a row.
	Mask uint32
	// Priority is the first of three priorities of `ip rule` that are ours.
	Priority uint32
	// LAN are the interfaces of the house.
	LAN []string
	// Lines are the primary and the alternates, in the order of the policy.
	Lines []Line
	// Policy is what the rules mean.
	Policy flow.Policy
	// Hold is how long new connections go to an alternate without being told so again; 0 is [SteerFor].
	Hold time.Duration
}

// Validate says what cannot be.
func (o *Options) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	n := bits.OnesCount32(o.Mask)
	switch {
	case n < minBits || o.Mask>>bits.TrailingZeros32(o.Mask) != 1<<n-1:
		bad("the mask 0x%08x is not at least %d bits in a row", o.Mask, minBits)
	case len(o.Lines) > o.maxLines():
		bad("%d lines are more than the %d that the mask 0x%08x tells apart: give it more bits", len(o.Lines), o.maxLines(), o.Mask)
	}
	if o.Priority == 0 || o.Priority > 32766-priorities {
		bad("the priority %d is not from 1 to %d", o.Priority, 32766-priorities)
	}
	if len(o.LAN) == 0 {
		bad("no interface of the LAN")
	}
	if len(o.Lines) < 2 {
		bad("steering needs two lines, there are %d", len(o.Lines))
	}
	var names []string
	devs, tables := slices.Clone(o.LAN), []uint32{}
	for _, l := range o.Lines {
		names, devs, tables = append(names, l.Name), append(devs, l.Interface), append(tables, l.Table)
		if l.Table == 0 || l.Table >= 253 && l.Table <= 255 {
			bad("%s: the table %d is one of the kernel's own", l.Name, l.Table)
		}
		if l.Gateway.IsValid() && !l.Gateway.Is4() || l.Gateway6.IsValid() && !l.Gateway6.Is6() {
			bad("%s: a gateway is of the other family", l.Name)
		}
		if o.Policy.Six && !l.NAT6 {
			bad("%s: IPv6 is steered only where every line translates it", l.Name)
		}
	}
	if want := o.Policy.Lines(); !slices.Equal(names, want) {
		bad("the lines are %s and those of the policy %s", strings.Join(names, ", "), strings.Join(want, ", "))
	}
	slices.Sort(devs)
	for i, d := range devs {
		if d == "" || len(d) > maxIfName {
			bad("%q is no name of an interface", d)
		}
		if i > 0 && devs[i-1] == d {
			bad("the interface %s is named twice", d)
		}
	}
	slices.Sort(tables)
	if len(slices.Compact(tables)) < len(o.Lines) {
		bad("two lines have the same table")
	}
	return errors.Join(errs...)
}

// maxLines is how many lines the mask tells apart.
func (o *Options) maxLines() int { return 1<<(bits.OnesCount32(o.Mask)-flagBits) - 1 }

// layout is how the field of a mark is divided: the line's number in the low bits, above it two flags.
type layout struct {
	mask uint32
	// line are the bits of the number, class and light the flags. class says that the connection is of a class, light that
	// it must not move much; light alone that it would be of a class whose hosts have moved too much.
	line, class, light uint32
}

func layoutOf(mask uint32) layout {
	light := uint32(1) << (bits.Len32(mask) - 1)
	class := light >> 1
	return layout{mask: mask, line: mask &^ (light | class), class: class, light: light}
}

func (l layout) flags() uint32 { return l.class | l.light }

// value is a line's number in the field.
func (l layout) value(number int) uint32 { return uint32(number) << bits.TrailingZeros32(l.mask) }

// ident makes a name that nftables takes everywhere.
func ident(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_') {
			return r
		}
		return '_'
	}, s)
}

const tablePrefix = "wanctl_"

// Table is the name of the nftables table.
func (o *Options) Table() string { return tablePrefix + ident(o.Name) }

// numbered gives the lines numbers from 1 on. A line that has one already keeps it: marks of running connections mean it.
func numbered(lines []Line, had map[string]int) []int {
	out, used := make([]int, len(lines)), map[int]bool{}
	for i, l := range lines {
		if n := had[ident(l.Name)]; n > 0 && !used[n] {
			out[i], used[n] = n, true
		}
	}
	for _, n := range had {
		used[n] = true
	}
	next := 1
	for i := range lines {
		if out[i] > 0 {
			continue
		}
		for used[next] {
			next++
		}
		out[i], used[next] = next, true
	}
	return out
}
