package health

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PathVerdict is what is known of the way that a line's probes take behind this host.
type PathVerdict uint8

// The verdicts.
const (
	// PathUnproved: nothing can be said.
	PathUnproved PathVerdict = iota
	// PathProved: the router sends them out through their WAN.
	PathProved
	// PathElsewhere: it sends them out through another interface, so another line is measured.
	PathElsewhere
)

// String returns "unproved", "proved" or "elsewhere".
func (v PathVerdict) String() string {
	switch v {
	case PathUnproved:
		return "unproved"
	case PathProved:
		return "proved"
	case PathElsewhere:
		return "elsewhere"
	}
	return "invalid"
}

// PathFacts are what the verdict rests on.
type PathFacts struct {
	// Source is the probes' source address, Targets are their reflectors' addresses.
	Source  netip.Addr
	Targets []netip.Addr
	// WAN is the interface they are meant to leave the router through; empty when it is not known.
	WAN string
	// Echoes are the router's tracked ICMP connections from Source, Own its addresses.
	Echoes []Echo
	Own    []OwnAddress
}

// Echo is one tracked ICMP connection: where it goes, and the address it left with, which replies come back to.
type Echo struct{ To, As netip.Addr }

// OwnAddress is one of the router's addresses and the interface it is on.
type OwnAddress struct {
	Addr      netip.Addr
	Interface string
}

// JudgePath says whether probes leave the router through their WAN, in a verdict and a sentence. A router that
// masquerades gives what it sends out an address of the interface it leaves through, and its connection tracking says
// which: that is the proof, for the reflectors whose echoes are there. One that left as another interface's disproves
// it. A router that does not translate leaves nothing to tell by.
func JudgePath(f PathFacts) (PathVerdict, string) {
	unproved := func(format string, args ...any) (PathVerdict, string) {
		return PathUnproved, fmt.Sprintf("That the router sends the probes of %s out through their WAN is not proved: ", f.Source) +
			fmt.Sprintf(format, args...) + "; pull the other line and see that the measuring goes on."
	}
	var through, elsewhere, blind []string
	for _, to := range f.Targets {
		tracked := false
		for _, e := range f.Echoes {
			if e.To != to {
				continue
			}
			var on []string
			for _, a := range f.Own {
				if a.Addr == e.As {
					on = append(on, a.Interface)
				}
			}
			switch {
			case slices.Contains(on, f.WAN):
				through = append(through, to.String())
			case e.As == f.Source || len(on) == 0:
				blind = append(blind, fmt.Sprintf("%s left as %s, which tells no interface", to, e.As))
			default:
				elsewhere = append(elsewhere, fmt.Sprintf("%s through %s (as %s)", to, strings.Join(on, " or "), e.As))
			}
			tracked = true
		}
		if !tracked {
			blind = append(blind, fmt.Sprintf("its connection tracking has no echo to %s", to))
		}
	}
	switch {
	case f.WAN == "":
		return unproved("no interface is known as that WAN's; name it in interfaces.wan")
	case len(elsewhere) > 0:
		return PathElsewhere, fmt.Sprintf("The router does not send the probes of %[1]s out through %[2]s: it reaches %[3]s, so another line is measured. "+
			"Route that address through %[2]s, with a routing mark for src-address=%[1]s, and restart wanctl.",
			f.Source, f.WAN, strings.Join(elsewhere, ", "))
	case len(through) > 0:
		return PathProved, fmt.Sprintf("The router sends the probes of %s out through %s, as its connection tracking shows for %s.",
			f.Source, f.WAN, strings.Join(through, ", "))
	case len(f.Targets) == 0:
		return unproved("no reflector has an address")
	}
	return unproved("%s", strings.Join(blind, ", "))
}
