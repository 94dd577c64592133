package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wanctl/internal/document"
	"wanctl/internal/flow"
)

const (
	alwaysKey = trafficClasses + ".always"
	neverKey  = trafficClasses + ".never"
	listsKey  = trafficClasses + ".lists"
	idleKey   = trafficClasses + ".together_minutes"
)

// How a rule of RouterOS is switched: by its being enabled, or by an address list that it matches.
const (
	SwitchRule = "rule"
	SwitchList = "list"
)

const overrideForm = `write "192.168.1.50 LINE", "@LIST LINE", or either with "to NETWORK" in front of the line`

func overrideKeys() []key {
	return []key{
		{
			path: alwaysKey, typ: typeList, form: formPlain, defWords: "none", off: true,
			doc: "Hosts that take a line whatever they do, each HOSTS LINE, or HOSTS to NETWORK LINE, where HOSTS is an address, a network, or @LIST. " +
				"The first that matches counts.",
			example: `["192.168.1.50 ATT", "@kids to 203.0.113.0/24 ATT"]`,
		},
		{
			path: neverKey, typ: typeList, form: formPlain, defWords: "none", off: true,
			doc:     "Hosts that never take a line, in the same words. It counts for more than always.",
			example: `["@kids ATT"]`,
		},
		{
			path: idleKey, typ: typeNumber, unit: "min", def: "5", max: 120,
			doc: "How long connections of one host with one peer stay on one line after a packet of a call of theirs: what belongs to a call is not torn " +
				"apart. At least 1; 0: not at all.",
		},
		section(listsKey, "Lists of hosts for always and never, by name. On RouterOS the router's own address lists can be named without standing here.").commentedOut(),
		{
			path: listsKey + ".*", typ: typeList, form: formPlain, defWords: "none", off: true,
			doc: "Addresses and networks of this list.", example: "[192.168.1.70, 192.168.1.96/28]",
		},
	}
}

// sources are the addresses that measure the lines.
func (s *Steering) sources(primary string) map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, a := range s.Alternates {
		if a.Source.IsValid() {
			all[a.Source] = a.Name
		}
	}
	if s.Probe.Source.IsValid() {
		all[s.Probe.Source] = primary
	}
	return all
}

// policy is what the section says, and what the rest of the file adds to it: the lines, and the addresses that measure them.
func (p *parser) policy(s *Steering, primary string) flow.Policy {
	f := flow.Policy{Primary: primary, Classes: p.classes(), Lists: map[string][]netip.Prefix{}, Sources: s.sources(primary)}
	for _, a := range s.Alternates {
		f.Alternates = append(f.Alternates, a.Name)
	}
	if s.Switch == SwitchList && slices.Contains(f.Alternates, "") {
		p.errorf(p.at("mangle_rule.switch"), "mangle_rule.switch", "write topology.alternate_wan", "the list is called after the line, and the alternate has no name")
	}
	f.Idle = time.Duration(p.num(idleKey) * float64(time.Minute))
	if f.Idle > 0 && f.Idle < time.Minute {
		p.errorf(p.at(idleKey), idleKey, "write 1 or more, or 0", "%v is shorter than the pauses of a call", f.Idle)
	}
	p.hostLists(f.Lists)
	for _, k := range []string{neverKey, alwaysKey} {
		for _, text := range p.values[k].list {
			o, err := parseOverride(text)
			if err != nil {
				p.errorf(p.at(k), k, overrideForm, "%q: %v", text, err)
				continue
			}
			o.Never = k == neverKey
			if p.overrideStands(k, text, &o, &f, s.Router.Transport == TransportLinux) {
				f.Overrides = append(f.Overrides, o)
			}
		}
	}
	p.noLineLeft(&f)
	p.ownWay(s, &f)
	return f
}

// noLineLeft warns of hosts for whom every line is barred.
func (p *parser) noLineLeft(f *flow.Policy) {
	for i, o := range f.Overrides {
		same := func(other flow.Override) bool { return other.Never && other.Hosts == o.Hosts && other.To == o.To }
		if !o.Never || slices.IndexFunc(f.Overrides, same) < i {
			continue // said of the first
		}
		left := slices.DeleteFunc(f.Lines(), func(l string) bool {
			return slices.ContainsFunc(f.Overrides, func(other flow.Override) bool { return same(other) && other.Line == l })
		})
		if len(left) == 0 {
			who := o
			who.Line = "any line"
			p.warnf(p.at(neverKey), neverKey, "leave it one", "%q bars every line, so that %s takes the primary all the same", who, o.Hosts)
		}
	}
}

// hostLists reads the lists.
func (p *parser) hostLists(lists map[string][]netip.Prefix) {
	for _, k := range p.order {
		if parent(k) != listsKey {
			continue
		}
		name := leaf(k)
		if why, hint := checkName(name); why != "" {
			p.errorf(p.given[k], k, hint, "%s", why)
			continue
		}
		lists[name] = []netip.Prefix{}
		for _, text := range p.values[k].list {
			n, err := parseNet(text)
			switch {
			case err != nil:
				p.errorf(p.at(k), k, "write addresses and networks of the LAN", "%v", err)
			case slices.Contains(lists[name], n):
				p.errorf(p.at(k), k, "write each once", "%q is there twice", text)
			default:
				lists[name] = append(lists[name], n)
			}
		}
	}
}

// parseOverride reads HOSTS LINE or HOSTS to NETWORK LINE.
func parseOverride(s string) (o flow.Override, err error) {
	words := strings.Fields(s)
	if len(words) != 2 && (len(words) != 4 || words[1] != "to") {
		return o, notSoManyWords(len(words))
	}
	o.Line = words[len(words)-1]
	if list, is := strings.CutPrefix(words[0], "@"); is {
		o.Hosts.List = list
		if why, _ := checkName(list); why != "" {
			return o, fmt.Errorf("the list's name %s", why)
		}
	} else if o.Hosts.Net, err = parseNet(words[0]); err != nil {
		return o, err
	}
	if len(words) == 4 {
		o.To, err = parseNet(words[2])
	}
	return o, err
}

// overrideStands checks an override against the lines, the lists and those before it, and writes its line as the file's
// other sections do.
func (p *parser) overrideStands(k, text string, o *flow.Override, f *flow.Policy, linux bool) bool {
	lines := slices.DeleteFunc(f.Lines(), func(l string) bool { return l == "" })
	i := slices.IndexFunc(lines, func(l string) bool { return strings.EqualFold(l, o.Line) })
	if i < 0 {
		hint := "the lines are " + strings.Join(lines, ", ")
		if n, ok := document.Nearest(o.Line, lines); ok {
			hint = "did you mean " + n + "?"
		}
		p.errorf(p.at(k), k, hint, "%q: there is no line %q", text, o.Line)
		return false
	}
	o.Line = lines[i]
	if _, defined := f.Lists[o.Hosts.List]; o.Hosts.List != "" && !defined && linux {
		names := make([]string, 0, len(f.Lists))
		for n := range f.Lists {
			names = append(names, n)
		}
		slices.Sort(names)
		hint := "write it under " + listsKey
		if n, ok := document.Nearest(o.Hosts.List, names); ok {
			hint = "did you mean @" + n + "?"
		}
		p.errorf(p.at(k), k, hint, "%q: there is no list %q", text, o.Hosts.List)
		return false
	}
	for _, other := range f.Overrides {
		if other.Hosts != o.Hosts || other.To != o.To {
			continue
		}
		switch {
		case other.Line == o.Line && other.Never == o.Never:
			p.errorf(p.at(k), k, "write it once", "%q is there twice", text)
			return false
		case other.Line == o.Line:
			p.errorf(p.at(k), k, "keep one of them", "%q is under never, too", text)
			return false
		case !other.Never && !o.Never:
			p.errorf(p.at(k), k, "keep one of them", "%q never counts, because the same hosts take %s before it", text, other.Line)
			return false
		}
	}
	return true
}

// ownWay keeps classes and overrides away from the controller's own traffic: its commands to the router, and the probes of
// the primary where they have no address of their own.
func (p *parser) ownWay(s *Steering, f *flow.Policy) {
	router, err := netip.ParseAddr(s.Router.Host)
	if err == nil && router.Is4() && s.Router.Transport != TransportLinux {
		p.keepsOff(f, flow.TCP, netip.AddrPortFrom(router, uint16(s.Router.Port)), !private(router), //nolint:gosec // the schema bounds it
			fmt.Sprintf("the controller's own %s to the router", s.Router.Transport), "reach the router by its address in the LAN")
	}
	if ping, err := netip.ParseAddr(s.PingHost); err == nil && ping.Is4() && !s.Probe.Bound() {
		inLAN := func(h flow.Hosts) bool {
			return h.Net.IsValid() && !h.Net.IsSingleIP() && router.IsValid() && h.Net.Contains(router)
		}
		for _, o := range f.Overrides {
			if !o.Never && o.Line != f.Primary && (inLAN(o.Hosts) && !o.To.IsValid() || o.To.IsValid() && o.To.Contains(ping)) {
				p.errorf(p.at(alwaysKey), alwaysKey, "give the primary's probes an address of their own: measurement.ping_source_ip",
					"%q takes the probes of %s to %s, too, which then measure %s", o, f.Primary, ping, o.Line)
			}
		}
	}
}

// keepsOff finds what would take packets of the controller's; open says that they go by a line even where nothing names
// their destination.
func (p *parser) keepsOff(f *flow.Policy, protocol flow.Protocol, to netip.AddrPort, open bool, what, hint string) {
	for _, c := range f.Classes {
		for _, m := range c.Matches {
			if (m.To.IsValid() || open) && m.Selects(flow.Packet{Protocol: protocol, To: to}) {
				at := trafficClasses + "." + c.Name
				if c.Name == "dns" {
					at = dnsResolvers
				}
				note := p.errorf
				if !p.has(at) { // nobody asked for the class: an earlier file stays one that works
					note = p.warnf
				}
				note(p.at(at), at, hint, "the class %s (%s) takes %s (%s), too", c.Name, m, what, to)
			}
		}
	}
	for _, o := range f.Overrides {
		named := o.To.IsValid() && o.To.Contains(to.Addr())
		whole := open && !o.To.IsValid() && o.Hosts.Net.IsValid() && !o.Hosts.Net.IsSingleIP()
		if o.Never || !named && !whole {
			continue
		}
		p.errorf(p.at(alwaysKey), alwaysKey, hint, "%q takes %s (%s), too", o, what, to)
	}
}

// private says that no line leads to an address, whatever the rules say.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}
