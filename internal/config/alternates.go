package config

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"wanctl/internal/unit"
)

// Alternate is a line that connections may move to, how it is measured, and what must be known of it first.
type Alternate struct {
	// Name is the line's; empty where the config names neither it nor its feed.
	Name string
	// RuleComment is the exact comment of the one mangle rule that sends new connections there: mangle_rule.comment for the
	// first alternate.
	RuleComment string
	// Source is the address whose packets the router sends through the alternate; the zero address: no own probes.
	Source netip.Addr
	// PingHost is the reflector of those probes: its own ping_host, else measurement.ping_host.
	PingHost string
	// Queue is the alternate's download queue; empty when not named.
	Queue string
	// StateSource is the alternate's feed or state file; empty when not named.
	StateSource string
	// MarginMS and MarginShare are by how much its delay must lie below the primary's; both must hold.
	MarginMS    unit.Millis
	MarginShare unit.PPM
	// MaxLoad is the share of its rate that it may carry in either direction, 0 for any; Room is what must be free in each, 0
	// for nothing.
	MaxLoad unit.PPM
	Room    unit.Rate
}

// Checked says that the config names a way to measure the line.
func (a Alternate) Checked() bool { return a.Source.IsValid() || a.StateSource != "" }

const (
	// first is the section of the first alternate, further that of the others, by name.
	first   = "alternate"
	further = "alternates"
	// maxAlternates bounds the lines that connections may move to: each has its own probes and rule.
	maxAlternates = 8
)

// alternateKeys are the rows of one alternate's section; at is its path.
func alternateKeys(at string) []key {
	rows := []key{
		{
			path: "ping_source_ip", typ: typeText, form: formAddr, defWords: "no probes of our own",
			doc: "Source address that the router sends through the alternate.", example: "10.10.110.248",
		},
		{
			path: "ping_host", typ: typeText, form: formHost, defWords: "measurement.ping_host",
			doc: "Reflector for those probes.", example: "1.1.1.1",
		},
		queueKeyOff("queue", "The alternate's download queue; checked, and not read yet.", "WAN-Download-ATT"),
		{
			path: "state_source", typ: typeText, form: formPath, defWords: "none", off: true,
			doc: "The alternate's feed, where its controller runs on this host.", example: "/run/wanctl/ATT_feed.json",
		},
		{
			path: "margin_ms", typ: typeNumber, unit: "ms", def: "10", max: 10_000,
			doc: "By how much the alternate's delay must be the lower one.",
		},
		{
			path: "margin_share", typ: typeNumber, def: "0.2", max: 1,
			doc: "The same as a share of the primary's delay. Both must hold.",
		},
		{
			path: "max_load", typ: typeNumber, def: "0", max: 1,
			doc: "Share of its rate that the alternate may carry, in either direction, when connections move there. 0: any. By its feed, which " +
				"tells rate and load; a load that is not known is no obstacle, and is said. 0.8 is a good figure.",
		},
		{
			path: "room_mbps", typ: typeNumber, unit: "Mbit/s", def: "0", max: 100_000,
			doc: "What must be free on the alternate, in each direction, when connections move there. 0: nothing.",
		},
	}
	for i := range rows {
		rows[i].path = at + "." + rows[i].path
	}
	return rows
}

// furtherKeys are the rows of the alternates beside the first.
func furtherKeys() []key {
	keys := []key{
		section(further, "Further lines that connections may move to, by name, with the keys of alternate. New connections go to the best "+
			"one that is usable; the first alternate is topology.alternate_wan.").commentedOut(),
		section(further+".*", "The line of this name.").commentedOut(),
		{
			path: further + ".*.comment", typ: typeText, form: formPlain, required: "unless transport is linux", off: true,
			doc: "Exact comment of the mangle rule that is switched for this line, as mangle_rule.comment is for the first.", example: `"ADAPTIVE: Steer latency-sensitive to LTE"`,
		},
	}
	for _, k := range alternateKeys(further + ".*") {
		k.off = true
		k.example = strings.NewReplacer("ATT", "LTE", "110", "120").Replace(k.example)
		keys = append(keys, k)
	}
	return keys
}

// alternates reads the sections of all alternates; the first one's name may still have to be found.
func (p *parser) alternates() []Alternate {
	one := func(at, name, comment string) Alternate {
		share, _ := unit.FromFactor(p.num(at + ".margin_share")) // bounded by the schema, as the next
		load, _ := unit.FromFactor(p.num(at + ".max_load"))
		a := Alternate{
			Name: name, RuleComment: p.text(comment), Source: p.addr(at + ".ping_source_ip"), PingHost: p.text(at + ".ping_host"),
			Queue: p.text(at + ".queue"), StateSource: p.text(at + ".state_source"),
			MarginMS: unit.Millis(p.num(at + ".margin_ms")), MarginShare: share, MaxLoad: load, Room: p.mbps(at + ".room_mbps"),
		}
		if a.PingHost == "" {
			a.PingHost = p.text("measurement.ping_host")
		}
		return a
	}
	all := []Alternate{one(first, p.text("topology.alternate_wan"), "mangle_rule.comment")}
	for _, at := range p.furtherLines() {
		if why, hint := checkName(leaf(at)); why != "" {
			p.errorf(p.given[at], at, hint, "%s", why)
			continue
		}
		if !p.onLinux() {
			p.require(at + ".comment")
		}
		all = append(all, one(at, leaf(at), at+".comment"))
	}
	return all
}

// furtherLines are the sections of the alternates beside the first, as the file has them.
func (p *parser) furtherLines() []string {
	var lines []string
	for _, at := range slices.Sorted(maps.Keys(p.given)) {
		if parent(at) == further {
			lines = append(lines, at)
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		if d := p.given[a].Line - p.given[b].Line; d != 0 {
			return d
		}
		return p.given[a].Column - p.given[b].Column
	})
	return lines
}

// placeOf is the section an alternate was read from.
func (s *Steering) placeOf(i int) string {
	if i == 0 {
		return first
	}
	return further + "." + s.Alternates[i].Name
}

// byName finds an alternate by what a key calls it; "alternate" is the first. It returns -1 for none.
func (s *Steering) byName(name string) int {
	if name == first {
		return 0
	}
	return slices.IndexFunc(s.Alternates, func(a Alternate) bool { return a.Name != "" && strings.EqualFold(a.Name, name) })
}

// alternatesDiffer checks the alternates against the primary and each other.
func (p *parser) alternatesDiffer(s *Steering, primary string) {
	if n := len(s.Alternates); n > maxAlternates {
		p.errorf(p.at(further), further, "", "names %d lines beside the first, at most %d can be", n-1, maxAlternates-1)
	}
	for i, a := range s.Alternates {
		at := s.placeOf(i)
		if i > 0 && strings.EqualFold(a.Name, primary) {
			p.errorf(p.given[at], at, "name another line", "is the primary")
		}
		if same(p.addr("measurement.ping_source_ip"), a.Source) {
			p.errorf(p.at(at+".ping_source_ip"), at+".ping_source_ip", "give each line its own address",
				"is the source of the primary's probes, too")
		}
		for j, b := range s.Alternates[:i] {
			was := s.placeOf(j)
			if strings.EqualFold(a.Name, b.Name) {
				p.errorf(p.given[at], at, "name each line once", "is the line of %s, too", was)
			}
			if same(a.Source, b.Source) {
				p.errorf(p.at(at+".ping_source_ip"), at+".ping_source_ip", "give each line its own address", "is that of %s, too", was)
			}
			if a.RuleComment != "" && a.RuleComment == b.RuleComment {
				p.errorf(p.at(at+".comment"), at+".comment", "give each line its own rule", "is the rule of %s, too", was)
			}
		}
	}
}

// alternatesUnmeasured says what cannot be known about the other lines.
func (p *parser) alternatesUnmeasured(s *Steering) {
	for i, a := range s.Alternates {
		at, line := s.placeOf(i), "the other line"
		if i > 0 {
			line = a.Name
		}
		if p.has(at+".ping_host") && !p.has(at+".ping_source_ip") {
			p.warnf(p.at(at+".ping_host"), at+".ping_host", "give "+at+".ping_source_ip",
				"has no effect: without a source address a probe cannot leave through the alternate")
		}
		if a.StateSource == "" && (a.MaxLoad > 0 || a.Room > 0) {
			p.warnf(p.at(at), at, "give "+at+".state_source", "%s has no feed that tells its load: max_load and room_mbps have no effect", line)
		}
		if p.has(at+".ping_source_ip") || a.StateSource != "" {
			continue
		}
		where := p.root
		if p.has(at) {
			where = p.at(at)
		}
		p.warnf(where, at, "give "+at+".ping_source_ip or "+at+".state_source",
			"%s is not measured: nothing checks that it is the better one before connections move to it", line)
	}
}
