package policy

import (
	"strings"

	"golang.org/x/sys/unix"
)

// judge says what stands in the way, and what is worth knowing.
func (o *Options) judge(p *Plan, f *found) {
	for _, dev := range o.LAN {
		if linkNamed(f.links, dev) == nil {
			p.problem("interfaces.lan: there is no interface %s (`ip link` lists those there are)", dev)
		}
	}
	for _, l := range o.Lines {
		if linkNamed(f.links, l.Interface) == nil {
			p.problem("lines.%s.interface: there is no interface %s (`ip link` lists those there are)", l.Name, l.Interface)
		}
	}
	if !f.host.Forward {
		p.problem("this host forwards nothing: `sysctl -w net.ipv4.ip_forward=1`, and a file in /etc/sysctl.d to keep it")
	}
	if o.Policy.Six && !f.host.Forward6 {
		p.problem("this host forwards no IPv6: `sysctl -w net.ipv6.conf.all.forwarding=1`, and a file in /etc/sysctl.d to keep it")
	}
	main := o.defaultDev(f)
	for _, dev := range f.host.Strict {
		if l := linkNamed(f.links, dev); l != nil && l.index != main {
			p.problem("%s drops answers to what was steered (rp_filter is strict): `sysctl -w net.ipv4.conf.%s.rp_filter=2`, and a file in "+
				"/etc/sysctl.d to keep it", dev, dev)
		}
	}
	if l := linkNamed(f.links, o.Lines[0].Interface); l != nil && main != 0 && main != l.index {
		p.note("the main table's default route does not lead by %s: what is not steered does not take %s", l.name, o.Lines[0].Name)
	}
	if t := f.host.Tracked; t.Full() {
		p.note("%d of %d connections are tracked: when the table is full, new connections are refused (`sysctl -w net.netfilter.nf_conntrack_max=%d`)",
			t.Count, t.Max, 2*t.Max)
	}
	if f.host.Legacy {
		p.note("there are rules of iptables-legacy in the table mangle, which cannot be read here: `iptables-legacy -t mangle -S` must set no mark of 0x%08x", o.Mask)
	}
	var others foreign
	for _, t := range f.tables {
		switch {
		case t == f.own:
		case t.family == unix.NFPROTO_INET && strings.HasPrefix(t.name, tablePrefix):
			p.problem("another wanctl steers this host (table inet %s): `wanctl policy remove` with its configuration, or `nft delete table inet %[1]s`", t.name)
		default:
			others.look(t, o.Mask)
		}
	}
	p.Problems, p.Notes = append(p.Problems, others.problems...), append(p.Notes, others.notes...)
	o.judgeRouting(p, f)
}

// defaultDev is the interface of the main table's best default route; 0 where it has none.
func (o *Options) defaultDev(f *found) int32 {
	var best *route
	for i := range f.routes {
		r := &f.routes[i]
		if r.family == v4 && r.table == mainTable && (!r.to.IsValid() || r.to.Bits() == 0) && (best == nil || r.metric < best.metric) {
			best = r
		}
	}
	if best == nil {
		return 0
	}
	return best.dev
}

func (o *Options) judgeRouting(p *Plan, f *found) {
	tables := map[uint32]string{}
	for _, l := range o.Lines {
		tables[l.Table] = l.Name
	}
	for _, r := range f.rules {
		if r.protocol == Protocol {
			continue
		}
		switch {
		case r.priority >= o.Priority && r.priority < o.Priority+priorities:
			p.problem("the priorities %d to %d are wanctl's, and there is `ip rule` %s: set policy.rule_priority to a free one",
				o.Priority, o.Priority+priorities-1, r)
		case tables[r.table] != "":
			p.problem("the table %d is that of %s, and there is `ip rule` %s: set lines.%s.table to a free one", r.table, tables[r.table], r, tables[r.table])
		case r.mask != 0 && r.mask != noPrefix && r.mask&o.Mask != 0:
			p.problem("`ip rule` %s asks for bits of wanctl's mask 0x%08x: set policy.mark_mask to bits that nobody uses", r, o.Mask)
		case r.mask == noPrefix:
			p.note("`ip rule` %s compares the whole mark: packets that wanctl marks, too, do not meet it; give it a mask (fwmark 0x%x/0x%x)", r, r.mark, ^o.Mask)
		}
	}
	for _, r := range f.routes {
		if name := tables[r.table]; name != "" && !r.ours() {
			p.problem("the table %d is that of %s, and somebody else has a route in it (%s): set lines.%s.table to a free one", r.table, name, r.words(f.links), name)
		}
	}
}
