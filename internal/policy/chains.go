package policy

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"wanctl/internal/flow"
)

// The chains of the table, in the order in which a packet meets them.

// follow gives a packet the mark of its connection's line.
func (b *builder) follow(c *chain) {
	for _, v := range b.values {
		c.add(markIs(connectionMark, b.line, v), setMark(packetMark, b.mask, v), accept())
	}
}

func (b *builder) prerouting() {
	c := b.base(prerouting, "filter", "prerouting", unix.NF_INET_PRE_ROUTING, chosenPriority)
	if b.Policy.Six {
		b.follow(c)
	} else {
		for _, v := range b.values {
			c.add(v4.is(), markIs(connectionMark, b.line, v), setMark(packetMark, b.mask, v), accept())
		}
	}
	for i, l := range b.Lines {
		in := []piece{inBy(l.Interface), original(), setMark(connectionMark, b.mask, b.values[i]), setMark(packetMark, b.mask, b.values[i]), accept()}
		if !b.Policy.Six {
			in = append([]piece{v4.is()}, in...)
		}
		c.add(in...)
	}
	for _, dev := range b.LAN {
		c.add(inBy(dev), first(), jump(choose))
	}
}

// choose places a connection that the house begins.
func (b *builder) choose() {
	c := b.chain(choose)
	c.add(setMark(packetMark, b.mask, 0))
	for _, a := range b.sources() {
		if i := b.indexOf(b.Policy.Sources[a]); i >= 0 && slices.Contains(b.families(), familyOf(a)) {
			c.add(familyOf(a).addr(true, netip.PrefixFrom(a, a.BitLen())), leave(b.to(i)))
		}
	}
	c.add(jump(classify))
	for _, f := range []family{v4, v6} {
		c.add(f.is(), markHas(packetMark, b.flags()), counted(newCounter(f)))
	}
	if !b.Policy.Six {
		c.add(v6.is(), setMark(packetMark, b.mask, 0), accept())
	}
	for _, o := range b.Policy.Overrides {
		i := b.indexOf(o.Line)
		if o.Never || i < 0 {
			continue
		}
		for _, m := range b.about(o) {
			c.add(append(m, jump(b.try(i)))...)
		}
	}
	c.add(markIs(packetMark, b.flags(), b.light), leave(rest))
	for _, f := range b.families() {
		for i := range b.Lines {
			if b.together() {
				c.add(f.pairIn(groupSet(f, b.ids[i])), jump(b.try(i)))
			}
		}
	}
	c.add(pickup(), leave(rest))
	for i := range b.Lines[1:] {
		c.add(markHas(packetMark, b.class), familyIn(steerSet(b.ids[i+1])), jump(b.try(i+1)))
	}
	c.add(leave(rest))
	b.rest()
	b.classify()
	for i := range b.Lines {
		b.lineChains(i)
	}
}

func (b *builder) to(i int) string  { return "line_" + b.ids[i] }
func (b *builder) try(i int) string { return "try_" + b.ids[i] }

// about matches what an override is about: one row of pieces per family, none where it is about no host at all.
func (b *builder) about(o flow.Override) (out [][]piece) {
	for _, f := range b.families() {
		var m []piece
		switch {
		case o.Hosts.List != "":
			if len(rangesOf(b.Policy.Lists[o.Hosts.List], f)) == 0 {
				continue
			}
			m = append(m, f.source(listSet(slices.Index(b.lists(), o.Hosts.List), f)))
		case o.Hosts.Net.IsValid():
			if familyOf(o.Hosts.Net.Addr()) != f {
				continue
			}
			m = append(m, f.addr(true, o.Hosts.Net))
		default:
			continue
		}
		if o.To.IsValid() {
			if familyOf(o.To.Addr()) != f {
				continue
			}
			m = append(m, f.addr(false, o.To))
		}
		out = append(out, m)
	}
	return out
}

// barring are the matches of the nevers of a line.
func (b *builder) barring(line string) (out [][]piece) {
	for _, o := range b.Policy.Overrides {
		if o.Never && o.Line == line {
			out = append(out, b.about(o)...)
		}
	}
	return out
}

// rest is for what goes by the primary: the main table decides, unless the primary is barred.
func (b *builder) rest() {
	c := b.chain(rest)
	barring := b.barring(b.Policy.Primary)
	for _, m := range barring {
		c.add(append(m, leave(exile))...)
	}
	if len(barring) == 0 {
		return
	}
	c = b.chain(exile)
	for i := range b.Lines[1:] {
		c.add(jump(b.try(i + 1)))
	}
}

// classify writes the flags of a packet's class into its mark.
func (b *builder) classify() {
	c := b.chain(classify)
	anyLight := false
	for _, class := range b.Policy.Classes {
		for _, m := range class.Matches {
			for _, r := range matches(m) {
				if class.Light {
					anyLight = true
					r = append(r, leave(light))
				} else {
					r = append(r, setMark(packetMark, b.flags(), b.class), back())
				}
				c.add(r...)
			}
		}
	}
	if !anyLight {
		return
	}
	c = b.chain(light)
	for _, f := range b.families() {
		c.add(f.pairIn(heavySet(f)), setMark(packetMark, b.flags(), b.light), back())
	}
	c.add(setMark(packetMark, b.flags(), b.flags()))
}

// matches are the rows of pieces that together select what a match does.
func matches(m flow.Match) (out [][]piece) {
	families := []family{v4, v6}
	if m.To.IsValid() {
		families = []family{familyOf(m.To.Addr())}
	}
	protocols := []flow.Protocol{m.Protocol}
	if m.Protocol == flow.Any && len(m.Ports) > 0 {
		protocols = []flow.Protocol{flow.TCP, flow.UDP}
	}
	var heads [][]piece // without the ports
	for _, f := range families {
		var h []piece
		if m.To.IsValid() {
			h = append(h, f.addr(false, m.To))
		}
		if m.DSCP >= 0 {
			h = append(h, f.dscp(m.DSCP))
		}
		heads = append(heads, h)
		if len(h) == 0 { // not a matter of the family
			break
		}
	}
	for _, h := range heads {
		for _, p := range protocols {
			if len(m.Ports) == 0 {
				row := slices.Clone(h)
				if p != flow.Any {
					row = append(row, protocol(p))
				}
				out = append(out, row)
			}
			for _, r := range m.Ports {
				out = append(out, append(slices.Clone(h), port(p, r)))
			}
		}
	}
	return out
}

// lineChains are the ways to one line: to asks nobody, try returns where an override bars it.
func (b *builder) lineChains(i int) {
	c := b.chain(b.try(i))
	for _, m := range b.barring(b.Lines[i].Name) {
		c.add(append(m, back())...)
	}
	c.add(leave(b.to(i)))
	c = b.chain(b.to(i))
	c.add(setMark(packetMark, b.line, b.values[i]), counted(toCounter(b.ids[i])), accept())
}

// output lets the host's own answers follow their connection. A packet that somebody has marked for another way is left
// alone: a tunnel's own packets would otherwise end in the tunnel.
func (b *builder) output() {
	c := b.base(output, "route", "output", unix.NF_INET_LOCAL_OUT, chosenPriority)
	if !b.Policy.Six {
		c.add(v6.is(), accept())
	}
	c.add(markHas(packetMark, ^b.mask), accept())
	b.follow(c)
}

// postrouting writes down by which line a connection leaves, and follows those of a class.
func (b *builder) postrouting() {
	c := b.base(postrouting, "filter", "postrouting", unix.NF_INET_POST_ROUTING, pinnedPriority)
	if !b.Policy.Six {
		c.add(v6.is(), accept())
	}
	for i, l := range b.Lines {
		c.add(outBy(l.Interface), markIs(connectionMark, b.line, 0), original(), jump("pin_"+b.ids[i]))
	}
	for i, v := range b.values {
		if b.together() {
			c.add(markIs(connectionMark, b.line|b.class, v|b.class), jump("seen_"+b.ids[i]))
		}
	}
	c.add(markIs(connectionMark, b.flags(), b.flags()), moved(flow.HeavyBytes), jump("heavy"))
	for i, v := range b.values {
		c := b.chain("pin_" + b.ids[i])
		c.add(setMark(connectionMark, b.mask, v))
		c.add(markIs(packetMark, b.flags(), b.class), setMark(connectionMark, b.flags(), b.class))
		c.add(markIs(packetMark, b.flags(), b.flags()), setMark(connectionMark, b.flags(), b.flags()))
	}
	for i := range b.values {
		if !b.together() {
			break
		}
		c := b.chain("seen_" + b.ids[i])
		for _, f := range b.families() {
			for j := range b.values {
				if j != i {
					c.add(f.forget(groupSet(f, b.ids[j])))
				}
			}
			c.add(f.remember(groupSet(f, b.ids[i])))
		}
	}
	c = b.chain("heavy")
	for _, f := range b.families() {
		c.add(f.remember(heavySet(f)))
	}
}

func (b *builder) nat() {
	c := b.base(nat, "nat", "postrouting", unix.NF_INET_POST_ROUTING, natPriority)
	for _, l := range b.Lines {
		switch {
		case l.NAT && l.NAT6:
			c.add(outBy(l.Interface), masquerade())
		case l.NAT:
			c.add(v4.is(), outBy(l.Interface), masquerade())
		case l.NAT6:
			c.add(v6.is(), outBy(l.Interface), masquerade())
		}
	}
}
