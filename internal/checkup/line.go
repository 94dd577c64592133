package checkup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Figures of a line's checks.
const (
	// carryShare is the least part of the interface's bytes that must pass the queue, mostShare what is more than they can be
	// (headers counted otherwise), and leastCrossed how many must have
	// crossed, at least, in a second to tell.
	carryShare   = 0.9
	mostShare    = 1.25
	leastCrossed = 12_500 * unit.Bytes(1) // 100 kbit/s
	// fewReflectors is under how many that answer one that lies can move a state, and fewOperators under how many networks
	// of the size of a provider's they fail together.
	fewReflectors, fewOperators = 3, 2
	// operatorBits is the part of an address that is taken for an operator's.
	operatorBits = 16
	// farOff is how far the configured baseline may be from the measured one, as a factor.
	farOff = 2.0
)

func (l *Line) checks(f *Facts) []check {
	root := []string{read}
	if f.Router == nil {
		root = []string{linuxAdmin}
	}
	q := l.Name + queues
	return []check{
		{q, root, func() verdict { return l.queues(f) }},
		{l.Name + ".cake", []string{q}, func() verdict { return l.cake(f) }},
		{l.Name + ".carries", []string{q}, func() verdict { return l.carries(f) }},
		{l.Name + ".reflectors", nil, l.reflectors},
		{l.Name + ".operators", []string{l.Name + ".reflectors"}, l.operators},
		{l.Name + ".path", []string{l.Name + ".reflectors"}, l.path},
		{l.Name + ".baseline", []string{l.Name + ".reflectors"}, l.baseline},
		{l.Name + ".controller", nil, l.controller},
	}
}

var both = [...]link.Direction{link.Down, link.Up}

func (l *Line) queues(f *Facts) verdict {
	var lost []string
	for _, d := range both {
		if q := l.Queues.Get(d); !q.Found && !slices.Contains(lost, q.Name) {
			lost = append(lost, q.Name)
		}
	}
	for _, d := range both {
		if q := l.Queues.Get(d); q.Found && q.Off {
			return verdict{
				Failed, fmt.Sprintf("the queue %s is switched off, or invalid", q.Name), "what it should hold passes it by",
				l.menu() + "/enable [find name=" + quoted(q.Name) + "]; " + l.menu() + "/print detail says what is invalid",
			}
		}
	}
	if lost == nil && l.Simple {
		return pass("the simple queue is there, with %v down and %v up", l.Queues.Down.Limit, l.Queues.Up.Limit)
	}
	if lost == nil {
		return pass("both queues are there, with %v down and %v up", l.Queues.Down.Limit, l.Queues.Up.Limit)
	}
	fix := "wanctl router plan FILE shows what makes them; names are compared exactly"
	if f.Router == nil {
		fix = "wanctl qdisc plan FILE shows what makes them"
	}
	return verdict{Failed, "there is no queue " + strings.Join(lost, ", and no "), "there is nothing whose rate could be set", fix}
}

// menu is where the line's queues are on the router.
func (l *Line) menu() string {
	if l.Simple {
		return blueprint.QueueSimple
	}
	return blueprint.QueueTree
}

// queue is what [Line.called] says, with a word before it.
func (l *Line) queue(d link.Direction) string {
	if l.Simple {
		return l.called(d)
	}
	return "the queue " + l.called(d)
}

// called names a direction's queue to a person.
func (l *Line) called(d link.Direction) string {
	if l.Simple {
		return "the " + d.String() + " of " + l.Queues.Get(d).Name
	}
	return l.Queues.Get(d).Name
}

func (l *Line) cake(f *Facts) verdict {
	for _, d := range both {
		if q := l.Queues.Get(d); !q.Cake {
			fix := "wanctl router plan FILE shows a queue type for it"
			if f.Router == nil {
				fix = "wanctl qdisc plan FILE"
			}
			return verdict{
				Failed, fmt.Sprintf("%s is not CAKE", l.queue(d)), "any other queue lets one download stand in a call's way, whatever its rate",
				fix,
			}
		}
	}
	return pass("both queues are CAKE")
}

// carries looks whether the queues pass what crosses the interface.
func (l *Line) carries(f *Facts) verdict {
	if !l.HasCrossed || l.Watched <= 0 {
		return unknown("the interface's counters were not watched")
	}
	worst, seen := pass(""), false
	for _, d := range both {
		crossed, passed := l.Crossed.Get(d), l.Queues.Get(d).Passed
		if float64(crossed) < float64(leastCrossed)*l.Watched.Seconds() {
			continue
		}
		seen = true
		share := float64(passed) / float64(crossed)
		switch {
		case share > mostShare && worst.status < Warned:
			worst = verdict{
				Warned, fmt.Sprintf("%s passes %.0f %% of what crosses %s in %v", l.called(d), 100*share, l.Interface, l.Watched.Round(time.Second)),
				"what is not the line's is held to the line's rate, and takes it away", "let the queue take the line's packets alone: docs/routeros.md, \"Queues\"",
			}
		case share >= carryShare:
			if worst.text == "" {
				worst.text = fmt.Sprintf("%s passes %.0f %% of what crosses %s", l.called(d), 100*share, l.Interface)
			}
		case worst.status < Failed:
			cause := "FastTrack, a wrong parent or a wrong packet mark"
			if l.Simple {
				cause = "FastTrack, a simple queue that stands before it, or a wrong target or dst"
			}
			if f.Router == nil {
				cause = "a missing redirect to the ifb, or a wrong interface"
			}
			worst = verdict{
				Failed, fmt.Sprintf("%s passes %.0f %% of what crosses %s in %v", l.called(d), 100*share, l.Interface, l.Watched.Round(time.Second)),
				"what passes the queue by is not shaped, so its rate does nothing", "it is " + cause + ": docs/routeros.md, \"Queues\"",
			}
		}
	}
	if !seen {
		return unknown("too little crossed %s in %v to tell; run it again while something is downloaded and uploaded", l.Interface, l.Watched.Round(time.Second))
	}
	return worst
}

func (l *Line) reflectors() verdict {
	if len(l.Reflectors) == 0 {
		return unknown("no reflector was probed")
	}
	var silent []string
	for _, r := range l.Reflectors {
		if r.Answered == 0 {
			silent = append(silent, r.Host)
		}
	}
	n := len(l.Reflectors) - len(silent)
	const fix = "name others in ping_hosts; anycast resolvers answer well"
	switch {
	case n == 0:
		return verdict{Failed, fmt.Sprintf("none of %d reflectors answers", len(l.Reflectors)), "nothing is measured, so no rate is ever changed", "is ICMP let out, and is the line up? " + fix}
	case n < fewReflectors:
		return verdict{Warned, fmt.Sprintf("%d of %d reflectors answer", n, len(l.Reflectors)), "with fewer than three one that is slow by itself moves the rate", fix}
	case silent != nil:
		return verdict{Hint, "no answer from " + strings.Join(silent, ", "), "the others are enough", fix}
	}
	return pass("all %d reflectors answer", len(l.Reflectors))
}

// operators looks whether the reflectors can fail together.
func (l *Line) operators() verdict {
	nets := map[netip.Prefix]bool{}
	for _, r := range l.Reflectors {
		if r.Answered > 0 && r.Addr.IsValid() {
			if p, err := r.Addr.Prefix(operatorBits); err == nil {
				nets[p] = true
			}
		}
	}
	if len(nets) < fewOperators {
		return verdict{
			Warned, "all reflectors that answer are in one network", "when its operator has trouble, the line seems to",
			"name reflectors of at least two operators, better three",
		}
	}
	return pass("the reflectors are in %d networks", len(nets))
}

func (l *Line) path() verdict {
	switch l.Path {
	case "proved":
		return pass("%s", l.PathText)
	case "wrong":
		return verdict{Failed, l.PathText, "the other line is measured, and this one's rate set by it", "route ping_source_ip through this line on the router: docs/routeros.md, \"The way of probes\""}
	}
	if l.PathText == "" {
		return unknown("by which line the probes leave is not proved: the router was not asked")
	}
	return unknown("%s", l.PathText)
}

func (l *Line) baseline() verdict {
	least := unit.Millis(0)
	for _, r := range l.Reflectors {
		if r.Answered > 0 && (least == 0 || r.Least < least) {
			least = r.Least
		}
	}
	switch {
	case least <= 0:
		return unknown("no round trip was measured")
	case l.BaselineMax > 0 && (least < l.BaselineMin || least > l.BaselineMax):
		return verdict{
			Failed, fmt.Sprintf("the line's round trip is %v, outside baseline_rtt_bounds (%v to %v)", least, l.BaselineMin, l.BaselineMax),
			"the baseline is held inside its bounds, so every delta is wrong", "widen baseline_rtt_bounds",
		}
	case l.Baseline > 0 && (float64(least) > farOff*float64(l.Baseline) || farOff*float64(least) < float64(l.Baseline)):
		return verdict{
			Hint, fmt.Sprintf("the line's round trip is %v, and baseline_rtt_initial %v", least, l.Baseline), "the first minutes after a start go by the configured one",
			fmt.Sprintf("baseline_rtt_initial: %.0f", float64(least)),
		}
	}
	return pass("the line's round trip is %v", least)
}

func (l *Line) controller() verdict {
	switch {
	case !l.Running:
		return unknown("its controller does not run on this host")
	case len(l.Findings) > 0:
		return verdict{Warned, strings.Join(l.Findings, "; "), "the running controller measured it", "wanctl status"}
	}
	return pass("its controller runs, and has nothing to say")
}
