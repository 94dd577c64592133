package checkup

import (
	"fmt"
	"strings"
)

// SteeringHost is steering where this host is the router.
type SteeringHost struct {
	// Problems keep the rules from being made; Missing is what of them is not in place, as commands; Notes are worth knowing.
	Problems, Missing, Notes []string
	// Accounting says that connections' bytes are counted.
	Accounting bool
	// Tracked connections there are, and TrackedMax there may be; 0 where that is not known.
	Tracked, TrackedMax int64
	Gateways            []Gateway
}

// Gateway is a line's next hop.
type Gateway struct {
	Line, Addr string
	// Known says that it was asked, Answers that it answered.
	Known, Answers bool
}

const (
	steeringWay   = "steering.way"
	steeringRules = "steering.rules"
	// muchTracked is how full the table of connections is, in percent, when it is said.
	muchTracked = 90
	policyPlan  = "wanctl policy plan FILE shows all of it"
)

func (h *SteeringHost) checks(light bool) []check {
	all := []check{
		{steeringWay, nil, func() verdict {
			if len(h.Problems) > 0 {
				return verdict{Failed, strings.Join(h.Problems, "; "), "wanctl changes nothing before that is mended", policyPlan}
			}
			return pass("nothing stands in the way of steering's rules")
		}},
		{steeringRules, []string{steeringWay}, func() verdict {
			if n := len(h.Missing); n > 0 {
				return verdict{
					Failed, fmt.Sprintf("steering's rules are not in place: %d steps are missing, the first is %q", n, firstLine(h.Missing[0])),
					"new connections cannot be steered, and running ones are not pinned", "wanctl policy apply FILE, or a running wanctl steer, makes them",
				}
			}
			return pass("steering's rules are in place")
		}},
		{"steering.notes", []string{steeringWay}, func() verdict {
			if len(h.Notes) > 0 {
				return verdict{Warned, strings.Join(h.Notes, "; "), "steering works, and something beside it may not", policyPlan}
			}
			return pass("nothing else on this host disturbs steering")
		}},
		{"steering.connections", nil, func() verdict {
			switch {
			case h.TrackedMax == 0:
				return unknown("how many connections are tracked cannot be read")
			case h.Tracked*100 >= h.TrackedMax*muchTracked:
				return verdict{
					Warned, fmt.Sprintf("%d of %d connections are tracked", h.Tracked, h.TrackedMax), "when the table is full, new connections are refused",
					fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*h.TrackedMax),
				}
			}
			return pass("%d of %d connections are tracked", h.Tracked, h.TrackedMax)
		}},
	}
	if light {
		all = append(all, check{"steering.accounting", []string{steeringRules}, func() verdict {
			if !h.Accounting {
				return verdict{
					Warned, "connections' bytes are not counted", "a download is not seen as one, so that what follows it moves, too",
					"sysctl -w net.netfilter.nf_conntrack_acct=1",
				}
			}
			return pass("connections' bytes are counted")
		}})
	}
	for _, g := range h.Gateways {
		all = append(all, check{g.Line + ".gateway", nil, func() verdict {
			switch {
			case !g.Known:
				return unknown("nobody has asked for the gateway %s of %s", g.Addr, g.Line)
			case !g.Answers:
				return verdict{
					Failed, fmt.Sprintf("the gateway %s of %s does not answer", g.Addr, g.Line), "nothing can leave by that line",
					"is the line up, and is lines." + g.Line + ".gateway right?",
				}
			}
			return pass("the gateway %s of %s answers", g.Addr, g.Line)
		}})
	}
	return all
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}
