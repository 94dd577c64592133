package blueprint

import (
	"fmt"
	"slices"
	"strings"

	"wanctl/internal/link"
)

// A line may have one simple queue in place of two queues of the tree. It tells the line's packets by target and dst, so it
// needs no marks; but FastTrack goes past it, and of several simple queues the first that matches takes a packet.

// pairKeys are the properties of a simple queue that are "upload/download"; elsewhere they are single.
var pairKeys = []string{"max-limit", "limit-at", "burst-limit", "burst-threshold", "burst-time", "bucket-size"}

// pair writes one value for both directions, and rates what differs.
func pair(v string) string { return v + "/" + v }

func rates(r link.Rates) string { return number(r.Up) + "/" + number(r.Down) }

// samePair compares two values that are "upload/download"; one that is single stands for both.
func samePair(key, is, want string) bool {
	split := func(s string) (up, down string) {
		up, down, ok := strings.Cut(s, "/")
		if !ok {
			return up, up
		}
		return up, down
	}
	u1, d1 := split(is)
	u2, d2 := split(want)
	return same(key, u1, u2) && same(key, d1, d2)
}

// simple says whether a line has a simple queue, and anySimple and anyTree whether one of them has one,
// or has queues of the tree.
func (l *Line) simple() bool { return l.Simple != "" }

func (p *planner) anySimple() bool {
	return slices.ContainsFunc(p.want.Lines, func(l Line) bool { return l.simple() })
}

func (p *planner) anyTree() bool {
	return slices.ContainsFunc(p.want.Lines, func(l Line) bool { return !l.simple() })
}

// ofALine says whether a simple queue is one of the lines'.
func (p *planner) ofALine(r Row) bool {
	return slices.ContainsFunc(p.want.Lines, func(l Line) bool { return l.simple() && l.Simple == r["name"] })
}

// beneath says whether a simple queue is a child of one of the lines'.
func (p *planner) beneath(r Row) bool {
	return slices.ContainsFunc(p.want.Lines, func(l Line) bool { return l.simple() && l.Simple == r["parent"] })
}

// front is the first simple queue that a line's has to stand before; -1 is none.
func (p *planner) front() int {
	return slices.IndexFunc(p.inv[QueueSimple], func(r Row) bool { return !Truth(r["dynamic"]) && !p.ofALine(r) && !p.beneath(r) })
}

// simpleQueue asks for a line's simple queue. One that is there keeps its limits, which are the controller's, and, where somebody
// else made it, its target, dst and place.
func (p *planner) simpleQueue(l *Line, lan string) {
	name, thing := l.Simple, "simple queue "+l.Simple
	shape := []Arg{
		{"queue", typeName(l, link.Up) + "/" + typeName(l, link.Down)},
		{"bucket-size", pair(bucket)},
		{"burst-limit", pair("0")},
		{"burst-threshold", pair("0")},
		{"burst-time", pair("0s")},
		{"total-max-limit", "0"},
		{"disabled", "no"},
	}
	which := []Arg{{"target", lan}, {"dst", l.WAN}}
	why := fmt.Sprintf("both directions of %s pass CAKE, with bursts of a hundredth of a second at most", l.Name)
	first := ""
	if i := p.front(); i >= 0 {
		first = p.inv[QueueSimple][i][".id"]
	}
	rows := p.inv[QueueSimple]
	i := slices.IndexFunc(rows, func(r Row) bool { return r["name"] == name && !Truth(r["dynamic"]) })
	switch {
	case i < 0 && (l.Limits.Down <= 0 || l.Limits.Up <= 0):
		p.block(fmt.Sprintf("%s: with which max-limit the new simple queue %s shall begin is not known", l.Name, name),
			"give ceiling_mbps of both directions (max_mbps under tracking)")
	case i < 0:
		args := append([]Arg{{"name", name}, which[0], which[1], {"max-limit", rates(l.Limits)}}, shape...)
		args = append(args, comment("both directions of "+l.Name))
		p.need(item{menu: QueueSimple, name: thing, is: named(name), args: args, why: why, before: first})
	case Owned(QueueSimple, rows[i]):
		p.need(item{menu: QueueSimple, name: thing, is: named(name), args: append(which, shape...), why: why})
		if first != "" && p.front() < i {
			p.plan.Changes = append(p.plan.Changes, Change{
				Verb: Move, Menu: QueueSimple, ID: rows[i][".id"], Before: first, Item: thing, Why: "the first simple queue that matches takes a packet, and this one comes too late",
			})
		}
	default:
		p.need(item{menu: QueueSimple, name: thing, is: named(name), args: shape, why: why})
		p.foreignSimple(l, lan, rows[i])
	}
}

// foreignSimple tells what keeps a simple queue that somebody else made from taking the line's packets, and no others.
func (p *planner) foreignSimple(l *Line, lan string, r Row) {
	name := r["name"]
	set := "/queue/simple/set [find where name=\"" + name + "\"] target=" + lan + " dst=" + l.WAN
	dst := r["dst"]
	switch {
	case slices.Contains(Members(r["target"]), l.WAN):
		p.block(fmt.Sprintf("simple queue %s has the line's own interface %s as its target: its first rate is the download's then, and wanctl would set each rate on the other direction",
			name, l.WAN), set+", and turn its max-limit and queue round")
	case dst == "" || dst == "0.0.0.0/0":
		p.hint(fmt.Sprintf("simple queue %s has no dst: it takes what passes between the house's own networks, and what the other lines carry, too", name), set)
	case dst != l.WAN:
		p.hint(fmt.Sprintf("simple queue %s has %s as its dst, and not %s, which the line is on", name, dst, l.WAN), "whether it carries the traffic is proved by counters: wanctl doctor")
	}
	if marks := r["packet-marks"]; marks != "" {
		p.hint(fmt.Sprintf("simple queue %s takes packets with the mark %s alone", name, marks), `packet-marks=""`)
	}
	if over := Over(r); over != "" {
		p.hint(fmt.Sprintf("simple queue %s hangs under %s, whose limit holds as well", name, over), "parent=none")
	}
	if r["time"] != "" {
		p.hint(fmt.Sprintf("simple queue %s works at some times only (%s)", name, r["time"]), "take its time away: /queue/simple/unset")
	}
}

// Over is the queue that a simple queue hangs under; empty is none, which RouterOS has a word for.
func Over(r Row) string {
	if r["parent"] == "none" {
		return ""
	}
	return r["parent"]
}

// Members are the words of a list in the router's order; the command line joins them by semicolons, the API by commas.
func Members(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ';' })
}

// beside tells of other simple queues, as far as a line with a simple queue is concerned, and of queues of the tree that shape what
// has passed it.
func (p *planner) beside() {
	if !p.anySimple() {
		return
	}
	rows := p.inv[QueueSimple]
	for i := range p.want.Lines {
		l := &p.want.Lines[i]
		if !l.simple() {
			continue
		}
		at := slices.IndexFunc(rows, func(r Row) bool { return r["name"] == l.Simple && !Truth(r["dynamic"]) })
		stays := at >= 0 && !Owned(QueueSimple, rows[at])
		for k, r := range rows {
			if !Enabled(r) || p.ofALine(r) || r["parent"] == l.Simple {
				continue
			}
			if k < at && (stays || Truth(r["dynamic"])) {
				p.plan.Problems = append(p.plan.Problems, Problem{
					Severity: Hint, Shapes: true, What: fmt.Sprintf("simple queue %s stands before %s and takes what it matches (%s): that is not in the line's queue", describe(r), l.Simple, r["target"]),
					Way: "move it behind, or make it a child: parent=" + l.Simple,
				})
				continue
			}
			p.hint(fmt.Sprintf("simple queue %s stands behind %s, which takes all that crosses %s: its limits hold for nothing of that", describe(r), l.Simple, l.WAN),
				"make it a child, to keep its limits: parent="+l.Simple)
		}
		for _, r := range p.inv[QueueTree] {
			if Enabled(r) && (r["parent"] == l.WAN && l.WAN != "" || r["parent"] == "global") {
				p.plan.Problems = append(p.plan.Problems, Problem{
					Severity: Hint, Shapes: true, What: fmt.Sprintf("queue %s under %s shapes what %s let pass a second time: queue trees come behind simple queues", describe(r), r["parent"], l.Simple),
					Way: "disable it, unless it takes other packets",
				})
			}
		}
	}
}
