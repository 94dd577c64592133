package blueprint

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/flow"
	"wanctl/internal/link"
)

// The packet marks of a new connection's first packet, from when its class is known to when its line is decided; the last
// of wanctl's rules takes them off.
const (
	// latency is of a class, and may be steered; stays is of a class, and may not, because it is seen in its midst; bulky is
	// of a light class and of hosts that moved much; light is of a light class until that is known.
	latency = Prefix + "latency"
	stays   = Prefix + "stays"
	bulky   = Prefix + "bulky"
	light   = Prefix + "light"
)

// fresh is the chain that new connections go through.
const fresh = Prefix + "new"

// heavyList are the peers from which somebody fetched much of late.
const heavyList = Prefix + "heavy"

// peersOf is the list of the peers that somebody has a call with by a line, and keptOf of those of them that were noted just now.
func peersOf(line string) string { return Prefix + "peers-" + line }
func keptOf(line string) string  { return Prefix + "kept-" + line }

// marking are mangle rules in the making, in the order in which they shall stand.
type marking struct {
	p     *planner
	s     *Steering
	lines []*Line
	lan   string
	rules []item
	// light says that a class is light, calls that hosts of a call stay together.
	light, calls bool
}

// mangle asks for the rules that mark connections. Every packet of the LAN passes those in prerouting, new connections the
// chain wanctl-new as well:
//
//	prerouting:  a peer that is talked with stays noted; one that moved much is noted;
//	             a connection without a mark goes through wanctl-new;
//	             a connection's mark leads to its line's table.
//	wanctl-new:  what comes in by a line is pinned to it, and what comes from elsewhere left alone;
//	             what comes from an address that probes a line is pinned to it;
//	             what goes to networks that the main table reaches by other ways is left alone: the lines' tables know none of them;
//	             the first packet is marked by its class's rules;
//	             always: what a user said is pinned;
//	             together: what goes to a peer that is talked with joins that line;
//	             the rules that are switched pin to their alternates;
//	             every other connection is pinned to the primary, or where the primary is barred, to the first that is not;
//	             the peers of calls are noted;
//	             the mark of the first packet is taken off.
//
// What pins to a line that is barred for somebody jumps to a chain that returns for those.
func (p *planner) mangle(s *Steering, lines []*Line, lan string) {
	m := marking{p: p, s: s, lines: lines, lan: lan}
	m.light = slices.ContainsFunc(s.Policy.Classes, func(c flow.Class) bool { return c.Light })
	m.calls = s.Policy.Idle > 0 && len(s.Policy.Classes) > 0
	if len(s.Policy.Classes) == 0 {
		p.block("no traffic class is switched on, so steering would move nothing", "switch on at least one of traffic_classes in the steering file")
	}
	m.talking()
	m.rule("prerouting", "new connections", "a connection is decided by its first packet: the rules that do it see no other",
		[]Arg{{"connection-state", "new"}, {"connection-mark", "no-mark"}, {"action", "jump"}, {"jump-target", fresh}})
	m.inbound()
	m.probes()
	ways := m.elsewhere()
	m.classes(ways)
	m.always(ways)
	m.together()
	m.steered()
	m.rest()
	for _, l := range lines {
		m.rule("prerouting", "route of "+l.Name, "a permanent rule: a connection keeps its line for life, whatever is switched", []Arg{
			{"connection-mark", ConnectionMark(l.Name)},
			{"in-interface", lan},
			{"action", "mark-routing"},
			{"new-routing-mark", RoutingTable(l.Name)},
			{"passthrough", "yes"},
		})
	}
	m.barriers()
	p.ordered(m.rules)
	answers := m.answers()
	for _, it := range answers {
		p.need(it)
	}
	p.stale(Mangle, steeringNotes, append(m.rules, answers...))
}

// rule adds a rule that carries its note as a comment.
func (m *marking) rule(chain, note, why string, args []Arg) {
	m.rules = append(m.rules, ruleOf(chain, note, why, args))
}

func ruleOf(chain, note, why string, args []Arg) item {
	c := comment(note)
	return item{
		menu: Mangle, name: note, why: why, args: append(append([]Arg{{"chain", chain}}, args...), c),
		is: func(r Row) bool { return r["comment"] == c.Value && r["chain"] == chain },
	}
}

// free is a connection that no rule has decided about.
var free = Arg{"connection-mark", "no-mark"}

// pin pins what some matchers select to a line, but for those for whom the line is barred.
func (m *marking) pin(chain, note, why, line string, match ...Arg) {
	args := append([]Arg{free}, match...)
	if m.barred(line) {
		m.rule(chain, note, why, append(args, Arg{"action", "jump"}, Arg{"jump-target", toLine(line)}))
		return
	}
	m.rule(chain, note, why, append(args, pinned(line)...))
}

func pinned(line string) []Arg {
	return []Arg{{"action", "mark-connection"}, {"new-connection-mark", ConnectionMark(line)}, {"passthrough", "yes"}}
}

// toLine is the chain that pins to a line those for whom it is not barred, steerTo the one that a switched rule stands in.
func toLine(line string) string  { return Prefix + "to-" + line }
func steerTo(line string) string { return Prefix + "steer-" + line }

// never are the overrides that bar a line.
func (m *marking) never(line string) (bars []flow.Override) {
	for _, o := range m.s.Policy.Overrides {
		if o.Never && o.Line == line {
			bars = append(bars, o)
		}
	}
	return bars
}

func (m *marking) barred(line string) bool { return len(m.never(line)) > 0 }

// marked sets the packet mark.
func marked(mark string, match ...Arg) []Arg {
	return append(match, Arg{"action", "mark-packet"}, Arg{"new-packet-mark", mark}, Arg{"passthrough", "yes"})
}

func packetMark(mark string) Arg { return Arg{"packet-mark", mark} }

// noted adds the destination to a list.
func noted(list string, d time.Duration, match ...Arg) []Arg {
	return append(match, Arg{"action", "add-dst-to-address-list"}, Arg{"address-list", list}, Arg{"address-list-timeout", strconv.Itoa(int(d/time.Second)) + "s"})
}

// talking keeps peers noted that are talked with. A packet costs a look into a list; one in half a minute, of each peer,
// writes one.
func (m *marking) talking() {
	from := Arg{"in-interface", m.lan}
	if m.calls {
		for _, l := range m.lines {
			chain := Prefix + "keep-" + l.Name
			why := "the halves of a call stay on one line: whoever talks with a peer goes on to be together with it"
			m.rule("prerouting", "calls on "+l.Name, why, []Arg{
				{"connection-mark", ConnectionMark(l.Name)}, from, {"dst-address-list", peersOf(l.Name)}, {"action", "jump"}, {"jump-target", chain},
			})
			m.rule(chain, "calls on "+l.Name+": noted just now", "once in half a minute is enough", []Arg{
				{"dst-address-list", keptOf(l.Name)}, {"action", "return"},
			})
			m.rule(chain, "calls on "+l.Name+": peer", why, noted(peersOf(l.Name), m.s.Policy.Idle))
			m.rule(chain, "calls on "+l.Name+": note", "once in half a minute is enough", noted(keptOf(l.Name), flow.KeptFor))
		}
	}
	for _, c := range m.s.Policy.Classes {
		if !c.Light {
			continue
		}
		for i, match := range c.Matches {
			m.rule("prerouting", "much of "+classNote(c, i), "hosts that fetch much are no light traffic: what they fetch next stays",
				noted(heavyList, flow.HeavyFor, append([]Arg{from, {"connection-bytes", strconv.Itoa(flow.HeavyBytes+1) + "-0"}, {"dst-address-list", "!" + heavyList}}, matchArgs(match)...)...))
		}
	}
}

// inbound pins what comes in by a line to it, and lets go what is not the LAN's.
func (m *marking) inbound() {
	for _, l := range m.lines {
		m.rule(fresh, "inbound on "+l.Name, "a connection from outside is answered by the line it came in by",
			append([]Arg{free, {"in-interface", l.WAN}}, pinned(l.Name)...))
	}
	m.rule(fresh, "not from the LAN", "what other networks open takes the way it took before", []Arg{{"in-interface", "!" + m.lan}, {"action", "return"}})
	m.rule(fresh, "to the router", "what is for the router itself takes no line", []Arg{{"dst-address-type", "local"}, {"action", "return"}})
}

// probes pins what measures a line to it.
func (m *marking) probes() {
	some := false
	for _, l := range m.lines {
		for _, source := range l.Sources {
			shared := slices.ContainsFunc(m.lines, func(o *Line) bool { return o != l && slices.Contains(o.Sources, source) })
			if shared {
				m.p.hint(fmt.Sprintf("%s: another line is probed from %s, too, so no rule sends its probes by the line", l.Name, source),
					"give each line a ping_source_ip of its own, or routes to the reflectors; wanctl doctor looks by which line probes leave")
				continue
			}
			some = true
			m.rule(fresh, "probes of "+l.Name+" from "+source, "a line is measured by what goes through it",
				append([]Arg{free, {"src-address", source}}, pinned(l.Name)...))
		}
	}
	if some {
		m.rule(fresh, "probes are decided", "nothing else has a word on what measures a line", []Arg{{"connection-mark", "!no-mark"}, {"action", "return"}})
	}
}

// elsewhere leaves alone what the main table reaches by other ways.
func (m *marking) elsewhere() []string {
	ways := m.p.elsewhere()
	for _, network := range ways {
		m.rule(fresh, "elsewhere: "+network, "the main table knows the way there, and the lines' tables do not: other LANs, tunnels, modems",
			[]Arg{{"dst-address", network}, {"action", "return"}})
	}
	return ways
}

func classNote(c flow.Class, i int) string {
	note := "class " + c.Name
	if len(c.Matches) > 1 {
		note += " " + strconv.Itoa(i+1)
	}
	return note
}

// classes marks the first packet by the first class it is of.
func (m *marking) classes(ways []string) {
	for k, c := range m.s.Policy.Classes {
		mark, other := latency, light
		if c.Light {
			mark, other = light, latency
		}
		// A class of the other kind was admitted before.
		mixed := slices.ContainsFunc(m.s.Policy.Classes[:k], func(o flow.Class) bool { return o.Light != c.Light })
		for i, match := range c.Matches {
			if n := within(match.To, ways); n != "" {
				m.p.hint(fmt.Sprintf("class %s: what goes to %s never moves, because the main table knows the way to %s", c.Name, flow.Hosts{Net: match.To}, n),
					"leave it out of the class")
			}
			args := matchArgs(match)
			if mixed {
				args = append(args, packetMark("!"+other))
			}
			m.rule(fresh, classNote(c, i), "new connections of this class may move", marked(mark, args...))
		}
	}
	if m.light {
		m.rule(fresh, "light: moved much", "hosts that fetch much are no light traffic", marked(bulky, packetMark(light), Arg{"dst-address-list", heavyList}))
		m.rule(fresh, "light", "the others are what steering is for", marked(latency, packetMark(light)))
	}
}

// within is the first of some networks that a destination lies in; empty is none of them.
func within(to netip.Prefix, networks []string) string {
	for _, n := range networks {
		if k := netip.MustParsePrefix(n); to.IsValid() && k.Bits() <= to.Bits() && k.Contains(to.Addr()) {
			return n
		}
	}
	return ""
}

func matchArgs(m flow.Match) (args []Arg) {
	if m.Protocol != flow.Any {
		args = append(args, Arg{"protocol", m.Protocol.String()})
	}
	if len(m.Ports) > 0 {
		args = append(args, Arg{"dst-port", m.Ports.String()})
	}
	if m.To.IsValid() {
		args = append(args, Arg{"dst-address", flow.Hosts{Net: m.To}.String()})
	}
	if m.DSCP >= 0 {
		args = append(args, Arg{"dscp", strconv.Itoa(m.DSCP)})
	}
	return args
}

// overrideArgs are the matchers of an override.
func overrideArgs(o flow.Override) (args []Arg) {
	if o.Hosts.List != "" {
		args = append(args, Arg{"src-address-list", o.Hosts.List})
	} else {
		args = append(args, Arg{"src-address", o.Hosts.String()})
	}
	if o.To.IsValid() {
		args = append(args, Arg{"dst-address", flow.Hosts{Net: o.To}.String()})
	}
	return args
}

// always pins what a user said.
func (m *marking) always(ways []string) {
	for _, o := range m.s.Policy.Overrides {
		if n := within(o.To, ways); n != "" {
			m.p.hint(fmt.Sprintf("override %s: what goes there takes no line, because the main table knows the way to %s", o, n), "remove it")
		}
		if !o.Never {
			m.pin(fresh, "override: "+o.String(), "your configuration says so", o.Line, overrideArgs(o)...)
		}
	}
}

// together joins new connections to the line by which their peer is talked with.
func (m *marking) together() {
	if !m.calls {
		return
	}
	for _, l := range m.lines {
		match := []Arg{{"dst-address-list", peersOf(l.Name)}}
		if m.light {
			match = append(match, packetMark("!"+bulky))
		}
		m.pin(fresh, "together on "+l.Name, "what belongs to a call takes the call's line", l.Name, match...)
	}
}

// steered are the rules that are switched, and what keeps TCP away from them that is not being opened.
func (m *marking) steered() {
	tcp := slices.ContainsFunc(m.s.Policy.Classes, func(c flow.Class) bool {
		return slices.ContainsFunc(c.Matches, func(f flow.Match) bool { return f.Protocol == flow.Any || f.Protocol == flow.TCP })
	})
	if tcp {
		m.rule(fresh, "TCP in its midst", "a connection that tracking has forgotten goes on where it was",
			marked(stays, Arg{"protocol", "tcp"}, packetMark(latency)))
		m.rule(fresh, "TCP that opens", "a connection begins with SYN alone",
			marked(latency, Arg{"protocol", "tcp"}, Arg{"tcp-flags", "syn,!ack"}, packetMark(stays)))
	}
	for i, name := range m.s.Policy.Alternates {
		chain := fresh
		if m.barred(name) {
			chain = steerTo(name)
			m.rule(fresh, "steered to "+name, "the rule that is switched, but for those who never take this line",
				[]Arg{free, packetMark(latency), {"action", "jump"}, {"jump-target", chain}})
			m.bars(chain, name)
		}
		m.rules = append(m.rules, m.toggle(i, chain))
	}
	if tcp {
		m.rule(fresh, "TCP is decided", "whatever of a class stays is of the class all the same", marked(latency, packetMark(stays)))
	}
}

// toggle is a rule that steering switches. It begins disabled; whether it is enabled is steering's, never a plan's. Where
// lists switch it, it is always enabled.
func (m *marking) toggle(i int, chain string) item {
	name, note := m.s.Policy.Alternates[i], m.s.Comments[i]
	args := append([]Arg{{"chain", chain}, {"connection-state", "new"}, free, packetMark(latency)}, pinned(name)...)
	there := slices.IndexFunc(m.p.inv[Mangle], func(r Row) bool { return commented(note)(r) && !Truth(r["dynamic"]) })
	switch list := (Arg{"src-address-list", link.SteerList(name)}); {
	case m.s.ByList:
		args = append(args, list, Arg{"disabled", "no"})
	case there >= 0 && m.p.inv[Mangle][there][list.Key] == list.Value:
		args = append(args, Arg{list.Key, ""}, Arg{"disabled", "yes"}) // enabled it was for the list's sake
	case there < 0:
		args = append(args, Arg{"disabled", "yes"})
	}
	if there < 0 {
		args = append(args, Arg{"comment", note})
	}
	which := "the rule that is switched"
	if len(m.s.Comments) > 1 {
		which += " for " + name
	}
	return item{
		menu: Mangle, name: which, is: commented(note), args: args,
		why: "it marks connections, new ones only: those that run keep their line, and disabling it moves none back",
	}
}

// rest pins what is left to the primary, notes the peers of calls, and takes the packet's mark off.
func (m *marking) rest() {
	primary := m.s.Policy.Primary
	for i, o := range m.never(primary) {
		m.rule(fresh, "override: "+o.String(), "your configuration says so", append(append([]Arg{free}, overrideArgs(o)...),
			Arg{"action", "jump"}, Arg{"jump-target", Prefix + "off-" + primary}))
		if i > 0 {
			continue
		}
		for _, name := range m.s.Policy.Alternates {
			m.pin(Prefix+"off-"+primary, "off "+primary+": "+name, "whoever never takes "+primary+" takes the next line", name)
		}
	}
	m.rule(fresh, "new on "+primary, "every connection is pinned by its first packet: one that is answered late would move otherwise",
		append([]Arg{free}, pinned(primary)...))
	if m.calls {
		for _, l := range m.lines {
			m.rule(fresh, "new call on "+l.Name, "the halves of a call stay on one line",
				noted(peersOf(l.Name), m.s.Policy.Idle, Arg{"connection-mark", ConnectionMark(l.Name)}, packetMark(latency)))
		}
	}
	why := "the first packet goes on unmarked, to the queue it belongs to"
	m.rule(fresh, "end of classes", why, marked("no-mark", packetMark(latency)))
	if m.light {
		m.rule(fresh, "end of light classes", why, marked("no-mark", packetMark(bulky)))
	}
}

// bars returns from a chain for those for whom a line is barred.
func (m *marking) bars(chain, line string) {
	for _, o := range m.never(line) {
		note := "override: " + o.String()
		if chain == steerTo(line) {
			note = "steering, " + note
		}
		m.rule(chain, note, "your configuration says so", append(overrideArgs(o), Arg{"action", "return"}))
	}
}

// barriers are the chains that pin to lines which are barred for some.
func (m *marking) barriers() {
	for _, l := range m.lines {
		jumps := func(it item) bool { return slices.Contains(it.args, Arg{"jump-target", toLine(l.Name)}) }
		if slices.ContainsFunc(m.rules, jumps) {
			m.bars(toLine(l.Name), l.Name)
			m.rule(toLine(l.Name), "to "+l.Name, "the others take the line", append([]Arg{free}, pinned(l.Name)...))
		}
	}
}

// answers are the rules by which the router's own answers leave by the line they were asked by.
func (m *marking) answers() (rules []item) {
	for _, l := range m.lines {
		for _, other := range m.lines {
			if other == l {
				continue
			}
			note := "answers by " + l.Name
			if len(m.lines) > 2 {
				note += " instead of " + other.Name
			}
			// What would leave by the LAN is the router's own word on a forwarded connection, "fragmentation needed" for one.
			rules = append(rules, ruleOf("output", note, "what the router itself answers leaves by the line it was asked by", []Arg{
				{"connection-mark", ConnectionMark(l.Name)},
				{"out-interface", other.WAN},
				{"action", "mark-routing"},
				{"new-routing-mark", RoutingTable(l.Name)},
				{"passthrough", "yes"},
			}))
		}
	}
	return rules
}

// steeringNotes are how the comments of steering's rules begin, those of earlier versions among them.
var steeringNotes = []string{
	"inbound on ", "probes ", "way to ", "elsewhere: ", "class ", "much of class ", "end of ", "new on ", "new call on ", "new connections", "route of ",
	"answers by ", "calls on ", "not from the LAN", "to ", "light", "override: ", "steering, override: ", "together on ", "TCP ", "steered to ", "off ",
}

// stale takes rules of steering's away that nothing asks for any more: those whose notes begin as one of notes.
func (p *planner) stale(menu string, notes []string, asked []item) {
	for _, r := range p.inv[menu] {
		note, ours := strings.CutPrefix(r["comment"], Owner)
		if !ours || Truth(r["dynamic"]) || !slices.ContainsFunc(notes, func(s string) bool { return strings.HasPrefix(note, s) }) ||
			slices.ContainsFunc(asked, func(it item) bool { return it.is(r) }) {
			continue
		}
		p.plan.Changes = append(p.plan.Changes, Change{Verb: Remove, Menu: menu, ID: r[".id"], Item: note, Why: "the files no longer ask for it"})
	}
}
