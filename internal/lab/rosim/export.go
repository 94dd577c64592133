package rosim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// exported are the menus that an export shows, in the order in which an import can take them: what is referred to comes
// first. Accounts are left out, as the router leaves them out.
var exported = []string{
	interfacePath, interfaceListPath, queueTypePath, "/queue/interface", simplePath, queueTreePath, routingTablePath, groupPath,
	"/interface/list/member", addressPath, "/ip/firewall/address-list", "/ip/firewall/filter", manglePath, "/ip/firewall/nat",
	"/ip/firewall/raw", "/ip/route", servicePath, webserverPath, settingsPath, "/ipv6/firewall/address-list",
	"/ipv6/firewall/filter", "/ipv6/firewall/mangle", "/ipv6/firewall/nat", "/ipv6/route", "/routing/rule", clockPath,
	"/system/identity", "/system/scheduler", "/system/script", "/tool/netwatch",
}

// exportWidth is where a line is broken.
const exportWidth = 79

// runExport prints what differs from a new router, as lines that an import takes.
func runExport(r *run, c *call) (value, error) {
	top := "/"
	if c.menu != nil {
		top = c.menu.path
	}
	r.router.mu.Lock()
	r.router.advance()
	lines := r.router.export(top, c.has("verbose"), c.has("terse"))
	r.router.mu.Unlock()
	for _, l := range lines {
		if err := r.step(1); err != nil {
			return value{}, err
		}
		if err := r.put(l); err != nil {
			return value{}, err
		}
	}
	return value{}, nil
}

// Export returns what differs from a new router, as [Router.Import] takes it: the form of /export.
func (r *Router) Export() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	return strings.Join(r.export("/", false, false), "\n") + "\n"
}

func (r *Router) export(top string, verbose, terse bool) []string {
	lines := []string{
		"# " + r.date().Format("2006-01-02 15:04:05") + " by RouterOS " + r.opt.Version,
		"# model = " + r.opt.Board,
	}
	for _, path := range exported {
		m := r.root.at(path)
		if m == nil || top != "/" && path != top && !strings.HasPrefix(path, top+"/") {
			continue
		}
		section := ""
		for _, it := range m.items {
			where, line := it.exportLine(verbose)
			if line == "" {
				continue
			}
			switch {
			case terse:
				lines = append(lines, where+" "+line)
				continue
			case where != section:
				lines = append(lines, where)
				section = where
			}
			lines = append(lines, wrapped(line)...)
		}
	}
	return lines
}

// exportLine is the command that makes an item, or makes it what it is, and the section it stands in; "" is none.
func (it *item) exportLine(verbose bool) (section, line string) {
	section = spaced(it.menu.path)
	base := map[string]value{}
	for i := range it.menu.props {
		base[it.menu.props[i].name] = it.menu.props[i].def
	}
	if it.menu.path == queueTypePath && it.text("kind") == "cake" {
		maps.Copy(base, cakeDefaults)
	}
	head := "add"
	switch {
	case it.dynamic, it.vals["builtin"].num != 0:
		return "", ""
	case it.menu.path == interfacePath && it.text("type") == "ether":
		section, head = spaced(interfacePath+"/ethernet"), "set [ find default-name="+word(it.text("default-name"))+" ]"
		base["name"] = it.vals["default-name"]
	case it.menu.path == interfacePath:
		section = spaced(interfacePath + "/" + it.text("type"))
	case it.menu.style == styleSingle:
		head, base = "set", it.initial
	case it.initial != nil:
		key := it.menu.key()
		head, base = "set [ find "+key+"="+word(it.text(key))+" ]", it.initial
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(it.vals)) {
		p, v := it.menu.prop(n), it.vals[n]
		same := equal(v, base[n]) && v.kind == base[n].kind || v.empty() && base[n].empty()
		if p == nil || !p.set || p.live || p.kind == propSecret || same && !verbose {
			continue
		}
		if p.kind == propFlag {
			if v.num != 0 {
				parts = append(parts, n)
			}
			continue
		}
		parts = append(parts, n+"="+word(shownValue(p, v)))
	}
	for _, n := range slices.Sorted(maps.Keys(it.initial)) { // what was taken away
		if _, still := it.vals[n]; !still && it.menu.prop(n).set && !it.initial[n].empty() {
			parts = append(parts, n+`=""`)
		}
	}
	if len(parts) == 0 && head != "add" {
		return "", ""
	}
	return section, strings.Join(append([]string{head}, parts...), " ")
}

// key is the property that a menu's items are told apart by.
func (m *menu) key() string {
	if m.prop("name") == nil && m.prop("interface") != nil {
		return "interface"
	}
	return "name"
}

func spaced(path string) string { return "/" + strings.ReplaceAll(path[1:], "/", " ") }

// word spells a value as an argument of the console.
func word(s string) string {
	if s != "" && plain(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '$':
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// wrapped breaks a line between its arguments.
func wrapped(line string) []string {
	var out []string
	cur := ""
	for i, w := range arguments(line) {
		switch {
		case i == 0:
			cur = w
		case len(cur)+1+len(w) > exportWidth-1:
			out = append(out, cur+` \`)
			cur = "    " + w
		default:
			cur += " " + w
		}
	}
	return append(out, cur)
}

// arguments cuts at blanks outside of quotes and brackets.
func arguments(line string) []string {
	var out []string
	from, depth := 0, 0
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ' ' && depth == 0:
			out = append(out, line[from:i])
			from = i + 1
		}
	}
	return append(out, line[from:])
}
