package rosim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/flow"
)

// Packet is one packet that the router forwards, as prerouting sees it.
type Packet struct {
	// In is the interface it came in by.
	In       string
	Protocol flow.Protocol
	// From and To are its ends; the ports are 0 where the protocol has none.
	From, To netip.AddrPort
	// DSCP is the code point, 0 to 63. Syn and Ack are TCP's flags.
	DSCP     int
	Syn, Ack bool
}

// Tracked is what connection tracking knows of a packet's connection. A walk sets its mark.
type Tracked struct {
	// Mark is the connection mark; empty is none.
	Mark string
	// Answered says that both ends have sent: the connection is established, and no longer new.
	Answered bool
	// Bytes is what it has moved, both ways together.
	Bytes int64
}

// Forwarded is what became of a packet.
type Forwarded struct {
	// RoutingMark and PacketMark are what prerouting left on it; empty is none.
	RoutingMark, PacketMark string
	// Out is the interface that its route leaves by; empty where there is none.
	Out string
	// Rules is how many rules were looked at.
	Rules int
}

// Forward lets a packet through prerouting's mangle rules, as MikroTik documents them, and looks its route up. What rules
// write into address lists is in the lists afterwards, and rules count what they match. It fails where a rule asks for
// something that is not modelled. Only marks, jumps, lists and counters act.
func (r *Router) Forward(p Packet, c *Tracked) (Forwarded, error) { return r.forward(p, c, true) }

// Peek is Forward without a trace: no list, counter or mark changes.
func (r *Router) Peek(p Packet, c Tracked) (Forwarded, error) { return r.forward(p, &c, false) }

func (r *Router) forward(p Packet, c *Tracked, acts bool) (Forwarded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	w := walk{r: r, p: p, c: c, acts: acts, menu: r.mangle(), lists: r.root.at(addressListPath)}
	if p.To.Addr().Is6() {
		w.menu, w.lists = r.root.at("/ipv6/firewall/mangle"), r.root.at(address6ListPath)
	}
	if _, err := w.chain("prerouting", 0); err != nil {
		return Forwarded{}, err
	}
	w.out.Out = r.route(p.To.Addr(), w.out.RoutingMark)
	return w.out, nil
}

// walk is one packet on its way through the rules.
type walk struct {
	r           *Router
	p           Packet
	c           *Tracked
	menu, lists *menu
	acts        bool
	out         Forwarded
}

// deepest is how many jumps may be under way.
const deepest = 16

// chain goes through one chain's rules; done says that the packet has no more to pass in this table.
func (w *walk) chain(name string, depth int) (done bool, err error) {
	if depth > deepest {
		return false, fmt.Errorf("rosim: more than %d jumps are under way in %s", deepest, name)
	}
	for _, it := range w.menu.items {
		if it.text("chain") != name || it.vals["disabled"].num != 0 || it.vals["invalid"].num != 0 {
			continue
		}
		w.out.Rules++
		hit, err := w.matches(it)
		if err != nil {
			return false, fmt.Errorf("rosim: rule %q: %w", it.text("comment"), err)
		}
		if !hit {
			continue
		}
		if w.acts {
			it.vals["packets"] = num(it.vals["packets"].num + 1)
		}
		switch action := it.text("action"); action {
		case "return":
			return false, nil
		case "jump":
			if done, err := w.chain(it.text("jump-target"), depth+1); done || err != nil {
				return done, err
			}
			continue
		case "accept":
			return true, nil
		default:
			if err := w.act(it, action); err != nil {
				return false, fmt.Errorf("rosim: rule %q: %w", it.text("comment"), err)
			}
		}
		if v, has := it.vals["passthrough"]; has && v.num == 0 && strings.HasPrefix(it.text("action"), "mark-") {
			return true, nil
		}
	}
	return false, nil
}

// act carries out what a rule does beside leading on.
func (w *walk) act(it *item, action string) error {
	set := func(to *string, mark string) {
		if mark == "no-mark" {
			mark = ""
		}
		*to = mark
	}
	switch action {
	case "mark-connection":
		set(&w.c.Mark, it.text("new-connection-mark"))
	case "mark-packet":
		set(&w.out.PacketMark, it.text("new-packet-mark"))
	case "mark-routing":
		set(&w.out.RoutingMark, it.text("new-routing-mark"))
	case "add-dst-to-address-list":
		return w.note(w.p.To.Addr(), it)
	case "add-src-to-address-list":
		return w.note(w.p.From.Addr(), it)
	case "passthrough", "log", "change-dscp", "change-mss", "change-ttl", "clear-df", "set-priority", "sniff-pc", "sniff-tzsp", "strip-ipv4-options":
	default:
		return fmt.Errorf("action=%s is not modelled", action)
	}
	return nil
}

// note puts an address on a list for a time, or renews the time of one that a rule put there.
func (w *walk) note(a netip.Addr, it *item) error {
	if !w.acts {
		return nil
	}
	list, lasts := it.text("address-list"), time.Duration(0)
	if t := it.text("address-list-timeout"); t != "" && t != "none-dynamic" {
		d, ok := parseDuration(t)
		if !ok {
			return fmt.Errorf("address-list-timeout=%s is not modelled", t)
		}
		lasts = d
	}
	var entry *item
	for _, e := range w.lists.items {
		if e.text("list") == list && e.text("address") == a.String() {
			entry = e
		}
	}
	switch {
	case entry != nil && !entry.dynamic:
		return nil
	case entry == nil && len(w.lists.items) >= w.lists.room():
		return fmt.Errorf("list %s is full", list)
	case entry == nil:
		entry = newItem(w.lists)
		w.lists.items = append(w.lists.items, entry)
		entry.vals["list"], entry.vals["address"] = str(list), str(a.String())
		entry.vals["dynamic"], entry.dynamic = truth(true), true
	}
	if lasts > 0 {
		entry.expires, entry.vals["timeout"] = w.r.now().Add(lasts), span(lasts)
	}
	return nil
}

// settings are the properties of a rule that select nothing.
var settings = []string{
	"chain", "action", "comment", "disabled", "invalid", "dynamic", "bytes", "packets", "log", "log-prefix", "passthrough", "jump-target",
	"new-connection-mark", "new-packet-mark", "new-routing-mark", "new-dscp", "address-list", "address-list-timeout",
}

// matches says whether a rule selects the packet.
func (w *walk) matches(it *item) (bool, error) {
	for _, k := range slices.Sorted(maps.Keys(it.vals)) {
		text := it.text(k)
		if slices.Contains(settings, k) || text == "" {
			continue
		}
		want, not := strings.CutPrefix(text, "!")
		hit, err := w.selects(k, want)
		if err != nil || hit == not {
			return false, err
		}
	}
	return true, nil
}

// selects judges one matcher without its negation.
func (w *walk) selects(key, want string) (bool, error) {
	marked := func(mark string) (bool, error) { return mark == want || mark == "" && want == "no-mark", nil }
	switch key {
	case "connection-state":
		state := "new"
		if w.c.Answered {
			state = "established"
		}
		return slices.Contains(listed(want), state), nil
	case "connection-mark":
		return marked(w.c.Mark)
	case "packet-mark":
		return marked(w.out.PacketMark)
	case "routing-mark":
		return marked(w.out.RoutingMark)
	case "in-interface":
		return w.p.In == want, nil
	case "in-interface-list":
		return w.r.member(want, w.p.In), nil
	case "protocol":
		return w.p.Protocol.String() == want || strconv.Itoa(int(w.p.Protocol)) == want, nil
	case "src-address":
		return inNetwork(want, w.p.From.Addr())
	case "dst-address":
		return inNetwork(want, w.p.To.Addr())
	case "src-address-list":
		return w.listed(want, w.p.From.Addr()), nil
	case "dst-address-list":
		return w.listed(want, w.p.To.Addr()), nil
	case "dst-address-type":
		if want != "local" {
			return false, fmt.Errorf("dst-address-type=%s is not modelled", want)
		}
		return w.r.local(w.p.To.Addr()), nil
	case "src-port":
		return w.port(want, w.p.From.Port())
	case "dst-port":
		return w.port(want, w.p.To.Port())
	case "dscp":
		return strconv.Itoa(w.p.DSCP) == want, nil
	case "tcp-flags":
		return w.flags(want)
	case "connection-bytes":
		low, high, _ := strings.Cut(want, "-")
		least, err1 := strconv.ParseInt(low, 10, 64)
		most, err2 := strconv.ParseInt(high, 10, 64)
		if err1 != nil || err2 != nil {
			return false, fmt.Errorf("connection-bytes=%s is not modelled", want)
		}
		return w.c.Bytes >= least && (most == 0 || w.c.Bytes <= most), nil
	}
	return false, fmt.Errorf("%s=%s is not modelled", key, want)
}

func listed(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' })
}

// port judges ports, which only some protocols have.
func (w *walk) port(want string, is uint16) (bool, error) {
	ports, err := flow.ParsePorts(want)
	if err != nil {
		return false, err
	}
	return (w.p.Protocol == flow.TCP || w.p.Protocol == flow.UDP) && ports.Contain(is), nil
}

func (w *walk) flags(want string) (bool, error) {
	for _, f := range listed(want) {
		name, not := strings.CutPrefix(f, "!")
		is := map[string]bool{"syn": w.p.Syn, "ack": w.p.Ack}
		v, known := is[name]
		if !known {
			return false, fmt.Errorf("tcp-flags=%s is not modelled", want)
		}
		if v == not {
			return false, nil
		}
	}
	return w.p.Protocol == flow.TCP, nil
}

func inNetwork(s string, a netip.Addr) (bool, error) {
	n, ok := parseSource(s)
	if !ok {
		return false, fmt.Errorf("the network %s is not modelled", s)
	}
	return n.Contains(a), nil
}

// listed says whether an address is on a list.
func (w *walk) listed(list string, a netip.Addr) bool {
	return slices.ContainsFunc(w.lists.items, func(e *item) bool {
		n, ok := parseSource(e.text("address"))
		return ok && e.text("list") == list && e.vals["disabled"].num == 0 && n.Contains(a)
	})
}

// member says whether an interface is in an interface list.
func (r *Router) member(list, iface string) bool {
	m := r.root.at("/interface/list/member")
	return m != nil && slices.ContainsFunc(m.items, func(e *item) bool {
		return e.text("list") == list && e.text("interface") == iface && e.vals["disabled"].num == 0
	})
}

// local says whether an address is the router's own.
func (r *Router) local(a netip.Addr) bool {
	return slices.ContainsFunc(r.root.at(addressPath).items, func(e *item) bool {
		n, ok := parseSource(e.text("address"))
		return ok && e.vals["disabled"].num == 0 && n.Addr() == a
	})
}

// route is the interface by which a packet with a routing mark leaves: by the mark's table, or the main one where that knows
// no way.
func (r *Router) route(to netip.Addr, mark string) string {
	for _, table := range []string{mark, "main"} {
		best, out := -1, ""
		for _, it := range r.root.at("/ip/route").items {
			n, ok := parseSource(it.text("dst-address"))
			if !ok || table == "" || it.text("routing-table") != table || it.vals["disabled"].num != 0 || !n.Contains(to) || n.Bits() <= best {
				continue
			}
			if by := r.leaves(it.text("gateway")); by != "" {
				best, out = n.Bits(), by
			}
		}
		if table == "main" { // what the router is connected to
			for _, it := range r.root.at(addressPath).items {
				if n, ok := parseSource(it.text("address")); ok && it.vals["disabled"].num == 0 && n.Contains(to) && n.Bits() > best {
					best, out = n.Bits(), it.text("interface")
				}
			}
		}
		if out != "" {
			return out
		}
	}
	return ""
}

// leaves is the interface that a gateway is reached by.
func (r *Router) leaves(gateway string) string {
	if _, iface, scoped := strings.Cut(gateway, "%"); scoped {
		return iface
	}
	if named(r.interfaces(), gateway) != nil {
		return gateway
	}
	a, err := netip.ParseAddr(gateway)
	if err != nil {
		return ""
	}
	for _, it := range r.root.at(addressPath).items {
		if n, ok := parseSource(it.text("address")); ok && n.Contains(a) {
			return it.text("interface")
		}
	}
	return ""
}
