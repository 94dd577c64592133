package blueprint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// ConnectionMark is the mark of the connections that a line carries, and RoutingTable its table.
func ConnectionMark(line string) string { return Prefix + line }

// RoutingTable is the table, and the routing mark, of what takes a line.
func RoutingTable(line string) string { return Prefix + line }

// private are the networks that no line of the internet leads to, and multicast.
var private = []string{"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4"}

// Private are those networks: what goes there takes no line, whatever a policy says.
func Private() (all []netip.Prefix) {
	for _, n := range private {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

// mostWays bounds how many routes get a rule.
const mostWays = 32

// elsewhere are the networks that new connections reach by the main table, whatever is switched.
func (p *planner) elsewhere() []string {
	known := Private()
	more := 0
	for _, r := range p.inv[Route] {
		to, err := netip.ParsePrefix(r["dst-address"])
		table := r["routing-table"]
		if err != nil || !to.Addr().Is4() || to.Bits() == 0 || Truth(r["disabled"]) || table != "" && table != "main" ||
			slices.ContainsFunc(known, func(k netip.Prefix) bool { return k.Bits() <= to.Bits() && k.Contains(to.Addr()) }) {
			continue
		}
		if more++; more <= mostWays {
			known = append(known, to.Masked())
		}
	}
	if more > mostWays {
		p.hint(fmt.Sprintf("the main table has %d routes to networks of its own, and rules for the first %d keep connections there away from the lines", more, mostWays),
			"in front of wanctl's rules, accept what goes to the others")
	}
	var all []string
	for _, k := range known {
		all = append(all, k.String())
	}
	return all
}

func (p *planner) line(name string) *Line {
	for i := range p.want.Lines {
		if p.want.Lines[i].Name == name {
			return &p.want.Lines[i]
		}
	}
	return nil
}

// steering asks for what moves new connections to the other lines, and keeps every connection where it began.
func (p *planner) steering() {
	s := p.want.Steering
	if s == nil {
		return
	}
	var lines []*Line
	for _, name := range s.Policy.Lines() {
		l := p.line(name)
		if l == nil {
			p.block(fmt.Sprintf("steering from %s to %s: the plan needs the files of all these lines", s.Policy.Primary, strings.Join(s.Policy.Alternates, ", ")),
				"name them beside the steering file")
			return
		}
		lines = append(lines, l)
	}
	lan := p.lan(lines[0])
	if lan == "" || slices.ContainsFunc(lines, func(l *Line) bool { return l.WAN == "" }) {
		return // said already
	}
	for _, l := range slices.Backward(lines) {
		p.table(l)
	}
	for _, l := range lines {
		p.masquerade(l)
	}
	p.lists(s)
	p.mangle(s, lines, lan)
	if len(p.inv[Settings]) > 0 && p.inv[Settings][0]["rp-filter"] == "strict" {
		p.need(item{
			menu: Settings, name: "reverse path filter", is: func(Row) bool { return true }, args: []Arg{{"rp-filter", "loose"}},
			why: "strict drops what comes back on the other line than the main table would use",
		})
	}
	if p.sixth() {
		p.countSixth(s, lan)
		p.hint("connections over IPv6 are not steered: a host's address belongs to one provider, and leaves by the other only through NAT",
			"wanctl doctor counts how many they are; see docs/routeros.md, \"IPv6\"")
	}
}

// table asks for a line's routing table with its default route.
func (p *planner) table(l *Line) {
	name := RoutingTable(l.Name)
	p.need(item{
		menu: Table, name: "routing table " + name, is: named(name),
		args: []Arg{{"name", name}, {"fib", "yes"}, {"disabled", "no"}, comment("what takes " + l.Name)},
		why:  "a connection's routing mark names this table; it must be there before the mark is",
	})
	gateway, dynamic := p.gateway(l.WAN)
	if gateway == "" {
		p.block(fmt.Sprintf("%s: no default route leaves by %s, so its gateway is not known", l.Name, l.WAN),
			"bring the line up, or add its route, and plan again")
		return
	}
	c := comment("default route of " + l.Name)
	p.need(item{
		menu: Route, name: "default route of table " + name, is: commented(c.Value),
		args: []Arg{{"dst-address", "0.0.0.0/0"}, {"gateway", gateway}, {"routing-table", name}, {"check-gateway", "ping"}, {"disabled", "no"}, c},
		why:  "without it the lookup falls back to the main table, and steering moves nothing",
	})
	if dynamic {
		p.hint(fmt.Sprintf("%s: its gateway %s comes from DHCP, and the table's route does not follow when it changes", l.Name, gateway),
			"wanctl doctor tells when it has; then plan again")
	}
}

// gateway is that of an interface's default route, bound to the interface: two modems may have the same address, and a route
// whose gateway is found through others would not be found in another table.
func (p *planner) gateway(wan string) (gateway string, dynamic bool) {
	for r, hop := range p.inv.defaults(wan) {
		if hop != "" {
			return hop, hop != wan && Truth(r["dynamic"])
		}
	}
	for _, r := range p.inv[DHCPClient] {
		if r["interface"] == wan && r["gateway"] != "" && !Truth(r["disabled"]) {
			return r["gateway"] + "%" + wan, true
		}
	}
	return "", false
}

// masquerade asks for source NAT on a line, unless some rule does it.
func (p *planner) masquerade(l *Line) {
	c := comment("source NAT of " + l.Name)
	for _, r := range p.inv[NAT] {
		if r["comment"] == c.Value || r["chain"] != "srcnat" || r["action"] != "masquerade" && r["action"] != "src-nat" || !Enabled(r) || p.partial(r) {
			continue
		}
		out, list := r["out-interface"], r["out-interface-list"]
		if out == l.WAN || out == "" && list == "" || list != "" && p.listed(list, l.WAN) {
			return
		}
	}
	p.need(item{
		menu: NAT, name: "source NAT of " + l.Name, is: commented(c.Value),
		args: []Arg{{"chain", "srcnat"}, {"action", "masquerade"}, {"out-interface", l.WAN}, c},
		why:  "what takes this line has to come back to it",
	})
}

// partial says whether a rule takes a part of what leaves by its interface only: hairpin NAT, for one.
func (p *planner) partial(r Row) bool {
	return slices.ContainsFunc([]string{"dst-address", "dst-address-list", "dst-address-type", "protocol", "connection-mark", "packet-mark", "in-interface", "in-interface-list"},
		func(k string) bool { return r[k] != "" })
}

// listed says whether an interface is a member of a list; a list that is built of others is not looked into.
func (p *planner) listed(list, iface string) bool {
	return slices.ContainsFunc(p.inv[ListMember], func(r Row) bool {
		return r["list"] == list && r["interface"] == iface && !Truth(r["disabled"])
	})
}

// mostTold bounds how many foreign rules of one kind are named.
const mostTold = 3

// collisions tells of other people's rules that act on the same packets.
func (p *planner) collisions() {
	told := map[string]int{}
	tell := func(kind, what, way string) {
		if told[kind]++; told[kind] <= mostTold {
			p.hint(what, way)
		}
	}
	steered := p.want.Steering != nil
	behind := len(p.inv[Mangle]) // the last of wanctl's rules, or where they will be
	for i, r := range p.inv[Mangle] {
		if p.ours(r) {
			behind = i
		}
	}
	for i, r := range p.inv[Mangle] {
		if !Enabled(r) || Truth(r["dynamic"]) || p.ours(r) {
			continue
		}
		switch action := r["action"]; {
		case action == "mark-packet":
			tell("mark packets", fmt.Sprintf("mangle rule %s marks packets (%s): a queue takes those with its own mark alone, and these pass the lines' queues by",
				describe(r), r["new-packet-mark"]), "hang a queue for them under wanctl's, or switch the rule off; wanctl doctor measures how much passes by")
		case !steered:
		case action == "mark-connection":
			tell("mark connections", fmt.Sprintf("mangle rule %s marks connections (%s), and a connection has one mark: those it marks first are not steered, and "+
				"those that wanctl marks first do not get it", describe(r), r["new-connection-mark"]),
				"tell its traffic by an address list or DSCP instead, or mark packets; or accept that it is left out")
		case action == "mark-routing":
			tell("choose routes", fmt.Sprintf("mangle rule %s chooses routes (%s), too: the later of the two rules wins", describe(r), r["new-routing-mark"]),
				"disable it if it is of an earlier set-up")
		case action == "accept" && r["chain"] == "prerouting" && i < behind:
			tell("accept", fmt.Sprintf("mangle rule %s accepts packets before wanctl's rules see them: those are not steered", describe(r)),
				"move it behind them, if what it accepts may move")
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(told)) {
		if n := told[kind] - mostTold; n > 0 {
			p.hint(fmt.Sprintf("%d further mangle rules %s as well", n, kind), "wanctl router show lists them")
		}
	}
}

// ours says whether a mangle rule is a plan's, or the one that is switched.
func (p *planner) ours(r Row) bool {
	return strings.HasPrefix(r["comment"], Owner) || p.want.Steering != nil && slices.Contains(p.want.Steering.Comments, r["comment"])
}

// fastTrack keeps the lines' connections away from FastTrack, where marks or steering need to see their packets.
func (p *planner) fastTrack() {
	if !p.marked() && p.want.Steering == nil && !p.anySimple() {
		return
	}
	menus := []string{Filter}
	if (p.marked() || p.anySimple()) && p.sixth() {
		menus = append(menus, Filter6)
	}
	for _, menu := range menus {
		seen := map[string]bool{}
		for i, r := range p.inv[menu] {
			// The first in each chain; accept in a chain that another jumps to ends all of them.
			if r["action"] == "fasttrack-connection" && Enabled(r) && !Truth(r["dynamic"]) && !seen[r["chain"]] {
				seen[r["chain"]] = true
				p.exclude(menu, i)
			}
		}
		if len(seen) > 0 {
			p.hint("the lines' connections are no longer FastTracked, which costs the router CPU; LAN to LAN still is",
				"wanctl doctor says when the router cannot keep up")
		}
	}
}

// exclude accepts the lines' connections in front of a FastTrack rule.
func (p *planner) exclude(menu string, first int) {
	row := p.inv[menu][first]
	where := ""
	if row["chain"] != "forward" {
		where = " in " + row["chain"]
	}
	for i := range p.want.Lines {
		l := &p.want.Lines[i]
		if l.WAN == "" {
			continue
		}
		for _, way := range []struct{ key, word string }{{"in-interface", "in by "}, {"out-interface", "out by "}} {
			c := comment("no FastTrack " + way.word + l.Name + where)
			p.need(item{
				menu: menu, name: "FastTrack exclusion " + way.word + l.Name + where, is: commented(c.Value), before: row[".id"],
				args: []Arg{{"chain", row["chain"]}, {"action", "accept"}, {"connection-state", "established,related"}, {way.key, l.WAN}, c},
				why:  "FastTracked packets skip mangle and simple queues, and so the line's queue, and steering",
			})
			p.precedes(menu, c.Value, first)
		}
	}
}

// precedes moves a rule of ours in front of the row, where it is behind.
func (p *planner) precedes(menu, note string, row int) {
	i := slices.IndexFunc(p.inv[menu], commented(note))
	if i > row {
		p.plan.Changes = append(p.plan.Changes, Change{
			Verb: Move, Menu: menu, ID: p.inv[menu][i][".id"], Before: p.inv[menu][row][".id"], Item: strings.TrimPrefix(note, Owner),
			Why: "behind the FastTrack rule it does nothing",
		})
	}
}

// account asks for the least-privileged user.
func (p *planner) account() {
	a := p.want.Account
	if a == nil {
		return
	}
	rights := strings.Join(a.Policies, ",")
	why := "wanctl's user may do what it needs and no more; RouterOS knows no rights narrower than write"
	for _, r := range p.inv[User] {
		if r["name"] != a.Name {
			continue
		}
		if g := r["group"]; g != Prefix+"group" {
			p.hint(fmt.Sprintf("user %s is in the group %s, which wanctl did not make", a.Name, g),
				fmt.Sprintf("its rights should be %s: wanctl doctor compares them", rights))
			return
		}
	}
	group := comment("rights of wanctl's user")
	for _, r := range p.inv[Group] {
		if r["name"] == Prefix+"group" { // a set takes away only what it names
			for _, extra := range Rights(r["policy"]) {
				if !slices.Contains(a.Policies, extra) {
					rights += ",!" + extra
				}
			}
		}
	}
	p.need(item{
		menu: Group, name: "group " + Prefix + "group", is: named(Prefix + "group"), privileged: true, why: why,
		args: []Arg{{"name", Prefix + "group"}, {"policy", rights}, group},
	})
	args := []Arg{{"name", a.Name}, {"group", Prefix + "group"}}
	if a.Address != "" {
		args = append(args, Arg{"address", a.Address})
	}
	p.need(item{
		menu: User, name: "user " + a.Name, is: named(a.Name), privileged: true, why: why,
		args: append(args, comment("the controller")),
	})
}

// others tells of what else shapes or changes the same traffic.
func (p *planner) others() {
	for _, r := range p.inv[QueueSimple] {
		if Truth(r["disabled"]) || p.ofALine(r) || p.beneath(r) || !p.anyTree() {
			continue
		}
		p.plan.Problems = append(p.plan.Problems, Problem{
			Severity: Hint, Shapes: true, What: fmt.Sprintf("simple queue %s shapes %s a second time: simple queues come before queue trees", describe(r), r["target"]),
			Way: "disable it, unless it limits what does not pass the lines",
		})
	}
	ours := map[string]bool{}
	for i := range p.want.Lines {
		for _, d := range directions {
			ours[p.want.Lines[i].Queues.Get(d)] = true
		}
	}
	for _, r := range p.inv[QueueTree] {
		if ours[r["name"]] || !Enabled(r) || strings.HasPrefix(r["comment"], Owner) {
			continue
		}
		for i := range p.want.Lines {
			if l := &p.want.Lines[i]; r["parent"] == l.WAN && l.WAN != "" && !l.simple() {
				p.hint(fmt.Sprintf("queue %s hangs under %s, too: of two queues under one parent that take the same packets, which one gets them is "+
					"not defined", describe(r), l.WAN), "disable it, or hang it under wanctl's queue")
			}
		}
	}
}
