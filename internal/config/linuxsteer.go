package config

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// LinuxLine is a line of a host that steers by itself.
type LinuxLine struct {
	Name, Interface string
	// Gateway and Gateway6 are the next hops; the zero address leaves them to the main table's default routes.
	Gateway, Gateway6 netip.Addr
	// Table is the number of the routing table that is made for the line.
	Table uint32
	// NAT translates the sources of what leaves by the line, NAT6 those of IPv6.
	NAT, NAT6 bool
}

// LinuxSteering is what steering needs to know of this host where it is the router.
type LinuxSteering struct {
	// LAN are the interfaces of the house.
	LAN []string
	// Lines are the primary and the alternates, in their order.
	Lines []LinuxLine
	// Mask is the field of marks that is ours, Priority the first of three of `ip rule`.
	Mask, Priority uint32
	// Six says that IPv6 is steered, too.
	Six bool
}

const (
	lanKey      = "interfaces.lan"
	linesKey    = "lines"
	maskKey     = "policy.mark_mask"
	priorityKey = "policy.rule_priority"
	sixKey      = "policy.ipv6"
	// maskBits is how many bits the mask needs: two flags and the lines' numbers.
	maskBits = 4
	maskFlag = 2
	// firstTable is the first line's routing table where none is named: "wa" in ASCII, as internal/policy has it.
	firstTable = 0x7761
)

// linuxSteerKeys are the keys of steering that only a host has that is the router.
func linuxSteerKeys() []key {
	keys := []key{
		section("interfaces", "With transport linux: this host's interfaces.").commentedOut(),
		{
			path: lanKey, typ: typeList, form: formIface, required: "with transport linux", off: true,
			doc: "Interfaces of the house; what comes in there may be steered.", example: "[br-lan]",
		},
		section(linesKey, "With transport linux: the primary and the alternates, by name. See docs/linux.md.").commentedOut(),
		section(linesKey+".*", "The line of this name.").commentedOut(),
		{
			path: linesKey + ".*.interface", typ: typeText, form: formIface, required: "with transport linux", off: true,
			doc: "The interface it is on.", example: "wan1",
		},
		{
			path: linesKey + ".*.gateway", typ: typeText, form: formAddr, defWords: "that of the main table's default route by the interface", off: true,
			doc: "Its next hop.", example: "192.0.2.1",
		},
		{
			path: linesKey + ".*.gateway6", typ: typeText, form: formAddr, defWords: "the same", off: true,
			doc: "Its next hop for IPv6.", example: "fe80::1",
		},
		{
			path: linesKey + ".*.table", typ: typeInteger, min: 1, max: math32, defWords: "30561 for the primary, and on from there", off: true,
			doc: "Number of the routing table that is made for it.", example: "30561",
		},
		{
			path: linesKey + ".*.nat", typ: typeBool, def: "true", off: true,
			doc: "Translate the sources of what leaves by it to the interface's address, in wanctl's own table. false: somebody else does.",
		},
		{
			path: linesKey + ".*.nat6", typ: typeBool, def: "false", off: true,
			doc: "The same for IPv6, which policy.ipv6 needs.",
		},
		section("policy", "With transport linux: what is marked, and how.").commentedOut(),
		{
			path: maskKey, typ: typeText, form: formPlain, def: `"0x00ff0000"`, off: true,
			doc: "The bits of connection and packet marks that are wanctl's: at least 4 in a row. All others stay untouched.",
		},
		{
			path: priorityKey, typ: typeInteger, min: 1, max: 32763, def: "30561", off: true,
			doc: "The first of three priorities of `ip rule`.",
		},
		{
			path: sixKey, typ: typeBool, def: "false", off: true,
			doc: "Steer IPv6, too. Every line then needs nat6, because a host's address belongs to one provider.",
		},
	}
	return keys
}

const math32 = 1<<32 - 1

func (p *parser) onLinux() bool { return p.text("router.transport") == TransportLinux }

// linuxSteering reads what a host needs that is the router itself; nil on another.
func (p *parser) linuxSteering(s *Steering, primary string) *LinuxSteering {
	if !p.onLinux() {
		for _, k := range []string{"interfaces", linesKey, "policy"} {
			if p.has(k) {
				p.warnf(p.at(k), k, "remove it", "has no effect but with transport linux")
			}
		}
		return nil
	}
	for _, k := range []string{"mangle_rule.comment", "mangle_rule.switch", "allow_legacy_rule"} {
		if p.has(k) {
			p.warnf(p.at(k), k, "remove it", "has no effect with transport linux, where wanctl makes its own rules")
		}
	}
	p.require(lanKey)
	l := &LinuxSteering{LAN: p.values[lanKey].list, Priority: uint32(p.num(priorityKey)), Six: p.flag(sixKey)}
	names := []string{primary}
	for i := range s.Alternates {
		a := &s.Alternates[i]
		names = append(names, a.Name)
		a.RuleComment = "steer_" + a.Name
	}
	l.Mask = p.markMask(len(names))
	for i, name := range names {
		l.Lines = append(l.Lines, p.linuxLine(name, uint32(i), l.Six))
	}
	for _, at := range p.order {
		parts := strings.SplitN(at, ".", 3)
		if parts[0] == linesKey && len(parts) == 3 && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, parts[1]) }) {
			p.errorf(p.given[at], linesKey+"."+parts[1], "name the primary or an alternate: "+strings.Join(names, ", "), "is none of the lines")
		}
	}
	p.linuxLinesDiffer(l)
	return l
}

// linuxLine reads one line's section, whose name may differ in case.
func (p *parser) linuxLine(name string, n uint32, six bool) LinuxLine {
	at := linesKey + "." + name
	for _, k := range p.order {
		if parts := strings.SplitN(k, ".", 3); parts[0] == linesKey && len(parts) == 3 && strings.EqualFold(parts[1], name) {
			at = linesKey + "." + parts[1]
		}
	}
	l := LinuxLine{
		Name: name, Interface: p.text(at + ".interface"), Gateway: p.addr(at + ".gateway"), Gateway6: p.addr(at + ".gateway6"),
		Table: uint32(p.num(at + ".table")), NAT: p.flag(at + ".nat"), NAT6: p.flag(at + ".nat6"),
	}
	if l.Table == 0 {
		l.Table = firstTable + n
	}
	p.require(at + ".interface")
	if l.Table >= 253 && l.Table <= 255 {
		p.errorf(p.at(at+".table"), at+".table", "choose another", "%d is one of the kernel's own tables", l.Table)
	}
	if l.Gateway.IsValid() && !l.Gateway.Is4() {
		p.errorf(p.at(at+".gateway"), at+".gateway", "name it as gateway6", "%s is an IPv6 address", l.Gateway)
	}
	if l.Gateway6.IsValid() && !l.Gateway6.Is6() {
		p.errorf(p.at(at+".gateway6"), at+".gateway6", "name it as gateway", "%s is an IPv4 address", l.Gateway6)
	}
	if six && !l.NAT6 {
		p.errorf(p.at(sixKey), sixKey, "write "+at+".nat6: true, or leave policy.ipv6 out",
			"needs nat6 on every line, because a host's IPv6 address belongs to one provider")
	}
	return l
}

// markMask reads the mask, which must tell that many lines apart.
func (p *parser) markMask(lines int) uint32 {
	s := strings.Trim(p.text(maskKey), `"`)
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32)
	mask, n := uint32(v), bits.OnesCount64(v)
	switch {
	case err != nil || !strings.HasPrefix(s, "0x"):
		p.errorf(p.at(maskKey), maskKey, `write "0x00ff0000"`, "%q is no hexadecimal number of 32 bits", s)
	case n < maskBits || mask>>bits.TrailingZeros32(mask) != 1<<n-1:
		p.errorf(p.at(maskKey), maskKey, `write "0x00ff0000"`, "%s is not at least %d bits in a row", s, maskBits)
	case lines >= 1<<(n-maskFlag):
		p.errorf(p.at(maskKey), maskKey, "add bits", "%s tells %d lines apart, and there are %d", s, 1<<(n-maskFlag)-1, lines)
	}
	return mask
}

// linuxLinesDiffer checks that no two lines share an interface or a table.
func (p *parser) linuxLinesDiffer(l *LinuxSteering) {
	seen := map[string]string{}
	once := func(id, what string) {
		if id == "" {
			return
		}
		if other, ok := seen[id]; ok {
			p.errorf(p.at(linesKey), linesKey, "give each its own", "%s has the same %s as %s", what, id, other)
		}
		seen[id] = what
	}
	for _, dev := range l.LAN {
		once("interface "+dev, lanKey)
	}
	for _, line := range l.Lines {
		if line.Interface != "" {
			once("interface "+line.Interface, line.Name)
		}
		once(fmt.Sprintf("table %d", line.Table), line.Name)
	}
}
