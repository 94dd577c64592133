package blueprint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/link"
)

var directions = [...]link.Direction{link.Down, link.Up}

// bucket is the bucket-size of our queues, in seconds of max-limit. RouterOS's default of 0.1 lets bursts of 100 ms
// through, which is the delay that the queue is there to take away.
const bucket = "0.01"

// typeName is the queue type of a line's direction.
func typeName(l *Line, d link.Direction) string { return Prefix + l.Name + "-" + d.String() }

// MarkOf is the packet mark of what a line's download brings.
func MarkOf(line string) string { return Prefix + line + "-download" }

// queueTypes asks for a CAKE per line and direction.
func (p *planner) queueTypes() {
	for i := range p.want.Lines {
		l := &p.want.Lines[i]
		for _, d := range directions {
			args := []Arg{{"name", typeName(l, d)}, {"kind", "cake"}}
			// max-limit is the only shaper: under HTB cake-bandwidth either does nothing or shapes a second time.
			args = append(args, Arg{"cake-bandwidth", "0"}, Arg{"cake-autorate-ingress", "no"}, Arg{"cake-diffserv", "diffserv3"})
			if d == link.Down {
				// Addresses towards the LAN are the hosts' own already; looking them up as well has been measured to do harm.
				args = append(args, Arg{"cake-flowmode", "dual-dsthost"}, Arg{"cake-nat", "no"}, Arg{"cake-wash", "yes"})
			} else {
				ack := "none"
				if l.AckFilter {
					ack = "filter"
				}
				args = append(args, Arg{"cake-flowmode", "dual-srchost"}, Arg{"cake-nat", "yes"}, Arg{"cake-ack-filter", ack})
			}
			if !l.Raw {
				args = append(args, Arg{"cake-overhead", strconv.Itoa(l.Overhead)}, Arg{"cake-mpu", strconv.Itoa(l.Mpu)}, Arg{"cake-atm", l.Cells})
			}
			p.need(item{
				menu: QueueType, name: "queue type " + typeName(l, d), is: named(typeName(l, d)), args: args,
				why: fmt.Sprintf("CAKE for the %v of %s: fair between hosts and flows, and it counts packets as the line does", d, l.Name),
			})
		}
	}
}

// lan is the interface that a line's download leaves by; empty when it cannot be told.
func (p *planner) lan(l *Line) string {
	if l.LAN != "" {
		return l.LAN
	}
	found := ""
	for _, r := range p.inv[Interface] {
		if r["type"] == "bridge" && !Truth(r["disabled"]) {
			if found != "" {
				return ""
			}
			found = r["name"]
		}
	}
	return found
}

// queues asks for a line's two queues.
func (p *planner) queues(l *Line) {
	lan := p.lan(l)
	if l.WAN == "" {
		p.block(fmt.Sprintf("%s: which interface the line is on is not said", l.Name), "give interfaces.wan in its file")
		return
	}
	for _, name := range []string{l.WAN, lan} {
		if name != "" && !p.hasInterface(name) {
			p.block(fmt.Sprintf("%s: the router has no interface %q", l.Name, name), "/interface/print names those there are")
			return
		}
	}
	if lan == "" {
		p.block(fmt.Sprintf("%s: by which interface the download leaves cannot be told, since the router has not exactly one bridge", l.Name),
			"give interfaces.lan in its file")
		return
	}
	if other := p.stranger(lan); other != "" {
		p.block(fmt.Sprintf("%s: the router has the queue %s of another line, too, and their downloads are told apart by marks", l.Name, other),
			"give the files of all lines of the router at once")
		return
	}
	if l.simple() {
		p.simpleQueue(l, lan)
		return
	}
	for _, d := range directions {
		parent, mark := lan, "no-mark"
		if d == link.Up {
			parent = l.WAN
		} else if p.marked() {
			mark = MarkOf(l.Name)
		}
		name := l.Queues.Get(d)
		p.queue(l, d, name, parent, mark)
	}
	if !p.marked() {
		p.hint(fmt.Sprintf("%s: everything that leaves by %s counts as the line's download, what is routed from another part of the LAN, too",
			l.Name, lan), "give the files of all lines at once where there are several, and shape where only the line's traffic passes")
	}
}

// stranger is a download's queue that a plan of another line made under an interface; empty is none. Only the files of a
// single line do not name all.
func (p *planner) stranger(lan string) string {
	if p.marked() {
		return ""
	}
	l := &p.want.Lines[0]
	if slices.ContainsFunc(p.inv[QueueTree], func(r Row) bool { return r["name"] == l.Queues.Down && r["packet-mark"] == MarkOf(l.Name) }) {
		return "" // they were there when its marks were made
	}
	for _, r := range p.inv[QueueTree] {
		if Owned(QueueTree, r) && r["parent"] == lan && r["name"] != l.Queues.Down && strings.HasPrefix(r["comment"], Owner+link.Down.String()+" of ") {
			return r["name"]
		}
	}
	return ""
}

// queue asks for one queue. One that is there keeps its limit, which is the controller's, and, where somebody else made it,
// its parent and mark.
func (p *planner) queue(l *Line, d link.Direction, name, parent, mark string) {
	shape := []Arg{
		{"queue", typeName(l, d)}, {"bucket-size", bucket}, {"burst-limit", "0"}, {"burst-threshold", "0"}, {"burst-time", "0s"}, {"disabled", "no"},
	}
	why := fmt.Sprintf("the %v of %s passes CAKE, with bursts of a hundredth of a second at most", d, l.Name)
	for _, r := range p.inv[QueueTree] {
		if r["name"] != name {
			continue
		}
		if Owned(QueueTree, r) {
			args := append([]Arg{{"parent", parent}}, shape...)
			if p.marked() { // the files of one line alone do not say that there are no others
				args = append(args, Arg{"packet-mark", mark})
			}
			p.need(item{menu: QueueTree, name: "queue " + name, is: named(name), args: args, why: why})
			return
		}
		p.need(item{menu: QueueTree, name: "queue " + name, is: named(name), args: shape, why: why})
		switch {
		case r["parent"] == "global":
			p.hint(fmt.Sprintf("queue %s hangs under global: FastTracked connections never meet it", name),
				"hang it under "+parent+" with packet-mark="+mark+", or keep FastTrack away from this line")
		case r["parent"] != parent:
			p.hint(fmt.Sprintf("queue %s hangs under %s, and not under %s, by which this direction leaves", name, r["parent"], parent),
				"whether it carries the traffic is proved by counters: wanctl doctor")
		}
		switch is := r["packet-mark"]; {
		case !p.marked() || d == link.Up || is == mark:
		case is == "":
			p.hint(fmt.Sprintf("queue %s has no packet mark: it takes what the other lines bring as well", name), "packet-mark="+mark)
		case is == "no-mark":
			p.hint(fmt.Sprintf("queue %s takes packets without a mark, and the line's have one", name), "packet-mark="+mark)
		default:
			p.hint(fmt.Sprintf("queue %s keeps its packet mark %s, so the rules that set it stay yours", name, is), "it has to be on all that comes in by "+l.WAN)
		}
		return
	}
	limit := l.Limits.Get(d)
	if limit <= 0 {
		p.block(fmt.Sprintf("%s: with which max-limit the new queue %s shall begin is not known", l.Name, name),
			fmt.Sprintf("give the %v's ceiling_mbps (max_mbps under tracking)", d))
		return
	}
	args := append([]Arg{{"name", name}, {"parent", parent}, {"packet-mark", mark}, {"max-limit", number(limit)}}, shape...)
	args = append(args, comment(fmt.Sprintf("%v of %s", d, l.Name)))
	p.need(item{menu: QueueTree, name: "queue " + name, is: named(name), args: args, why: why})
}

func (p *planner) hasInterface(name string) bool {
	for _, r := range p.inv[Interface] {
		if r["name"] == name {
			return true
		}
	}
	return false
}

// own says whether somebody else's queue takes the line's download by a mark of its own.
func (p *planner) own(l *Line) bool {
	return slices.ContainsFunc(p.inv[QueueTree], func(r Row) bool {
		mark := r["packet-mark"]
		return r["name"] == l.Queues.Down && !Owned(QueueTree, r) && mark != "" && mark != "no-mark" && mark != MarkOf(l.Name)
	})
}

// marks tells the lines' downloads apart, in both protocols.
func (p *planner) marks() {
	if !p.marked() {
		return
	}
	menus := []string{Mangle}
	if p.sixth() {
		menus = append(menus, Mangle6)
	}
	for _, menu := range menus {
		for i := range p.want.Lines {
			l := &p.want.Lines[i]
			if l.WAN == "" || l.simple() || p.own(l) {
				continue
			}
			c := comment("download of " + l.Name)
			p.need(item{
				menu: menu, name: "packets of " + l.Name, is: commented(c.Value),
				args: []Arg{
					{"chain", "forward"}, {"in-interface", l.WAN}, {"action", "mark-packet"}, {"new-packet-mark", MarkOf(l.Name)}, {"passthrough", "yes"}, c,
				},
				why: "all lines' downloads leave by the LAN: the mark leads each to its own queue",
			})
		}
	}
}

// sixth says whether the router has addresses of IPv6 that are routed.
func (p *planner) sixth() bool {
	for _, r := range p.inv[Address6] {
		if !Truth(r["disabled"]) && !Truth(r["link-local"]) {
			return true
		}
	}
	return false
}
