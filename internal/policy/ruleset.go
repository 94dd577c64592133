package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/flow"
)

// The table. A connection's first packet is placed in prerouting, by a proposal in the packet's mark that the rules of
// `ip rule` follow. Where it then leaves, postrouting writes the line it took into the connection's mark, once: the mark is
// what happened, and every later packet's mark is derived from it.

const (
	chosenPriority = -140 // after what others do at mangle's -150, before dstnat's -100
	pinnedPriority = -140
	natPriority    = 100 // srcnat
	// pairs is how many pairs of hosts are remembered at once, of either kind.
	pairs = 65536

	prerouting, postrouting, output, nat = "prerouting", "postrouting", "output", "nat"
	choose, classify, light, rest, exile = "choose", "classify", "light", "rest", "exile"
)

type rule []piece

func (r rule) String() string {
	var words []string
	for _, p := range r {
		if p.words != "" {
			words = append(words, p.words)
		}
	}
	return strings.Join(words, " ")
}

func (r rule) exprs() (out []expr) {
	for _, p := range r {
		out = append(out, p.exprs...)
	}
	return out
}

type chain struct {
	name string
	// kind is empty for a chain that is only jumped to; hook and priority are then 0.
	kind, hookName string
	hook           uint32
	priority       int32
	rules          []rule
}

func (c *chain) add(parts ...piece) { c.rules = append(c.rules, parts) }

// element is one of a set: an address, with its end in a set of ranges.
type element struct {
	key []byte
	end bool // the first that is not in the range any more
	// left is how long it stays; 0 is for ever, or as long as the set's elements do.
	left time.Duration
}

type set struct {
	name, typeName, flagNames string
	keyType, keyLen, flags    uint32
	timeout                   time.Duration
	size                      uint32
	// elements are those of a set that nothing changes; words are the same for people.
	elements []element
	words    []string
}

// fixed says that the set's elements are part of what is wanted.
func (s *set) fixed() bool { return s.flags&unix.NFT_SET_TIMEOUT == 0 }

type ruleset struct {
	table    string
	counters []string
	sets     []set
	chains   []chain
}

// builder makes the ruleset of some options.
type builder struct {
	*Options
	layout
	ids    []string // of the lines: "1_Cable"
	values []uint32
	out    ruleset
}

func (o *Options) ruleset(numbers []int) *ruleset {
	b := &builder{Options: o, layout: layoutOf(o.Mask), out: ruleset{table: o.Table()}}
	for i, l := range o.Lines {
		b.ids = append(b.ids, fmt.Sprintf("%d_%s", numbers[i], ident(l.Name)))
		b.values = append(b.values, b.value(numbers[i]))
	}
	b.counters()
	b.sets()
	b.prerouting()
	b.choose()
	b.output()
	b.postrouting()
	b.nat()
	return &b.out
}

// families are those that are steered.
func (o *Options) families() []family {
	if o.Policy.Six {
		return []family{v4, v6}
	}
	return []family{v4}
}

// together says that hosts which talk are kept together at all: the kernel would keep what has no time for ever.
func (o *Options) together() bool { return o.Policy.Idle >= time.Millisecond }

// indexOf is a line's place by its name, -1 for none.
func (o *Options) indexOf(name string) int {
	return slices.IndexFunc(o.Lines, func(l Line) bool { return l.Name == name })
}

// sources are the addresses that measure lines, in order.
func (o *Options) sources() []netip.Addr {
	return slices.SortedFunc(maps.Keys(o.Policy.Sources), netip.Addr.Compare)
}

// chain adds a chain; the pointer holds until the next is added.
func (b *builder) chain(name string) *chain {
	b.out.chains = append(b.out.chains, chain{name: name})
	return &b.out.chains[len(b.out.chains)-1]
}

func (b *builder) base(name, kind, hookName string, hook uint32, priority int32) *chain {
	c := b.chain(name)
	c.kind, c.hookName, c.hook, c.priority = kind, hookName, hook, priority
	return c
}

func groupSet(f family, id string) string { return "together_" + f.String() + "_" + id }
func heavySet(f family) string            { return "heavy_" + f.String() }
func steerSet(id string) string           { return "steer_" + id }
func listSet(i int, f family) string      { return fmt.Sprintf("hosts_%d_%s", i+1, f) }
func newCounter(f family) string          { return "new_" + f.String() }
func toCounter(id string) string          { return "to_" + id }

func (b *builder) counters() {
	b.out.counters = []string{newCounter(v4), newCounter(v6)}
	for _, id := range b.ids {
		b.out.counters = append(b.out.counters, toCounter(id))
	}
}

const (
	typeNFProto = 2 // nft's own numbers of types, which only its listing needs
	typeIPv4    = 7
	typeIPv6    = 8
	typeBits    = 6 // of each type in a concatenation's number
)

func (b *builder) sets() {
	for _, f := range b.families() {
		key, length, name := uint32(typeIPv4), uint32(4), "ipv4_addr"
		if f == v6 {
			key, length, name = typeIPv6, 16, "ipv6_addr"
		}
		dynamic := set{
			typeName: name + " . " + name, flagNames: "dynamic,timeout", keyType: key<<typeBits | key, keyLen: 2 * length,
			flags: unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL, size: pairs,
		}
		for _, id := range b.ids {
			if !b.together() {
				break
			}
			s := dynamic
			s.name, s.timeout = groupSet(f, id), b.Policy.Idle
			b.out.sets = append(b.out.sets, s)
		}
		s := dynamic
		s.name, s.timeout = heavySet(f), flow.HeavyFor
		b.out.sets = append(b.out.sets, s)
		for i, list := range b.lists() {
			ranges := rangesOf(b.Policy.Lists[list], f)
			if len(ranges) == 0 {
				continue
			}
			s := set{name: listSet(i, f), typeName: name, flagNames: "interval", keyType: key, keyLen: length, flags: unix.NFT_SET_INTERVAL}
			for _, r := range ranges {
				s.words = append(s.words, r.String())
				s.elements = append(s.elements, element{key: r.first.AsSlice()})
				if next := r.last.Next(); next.IsValid() {
					s.elements = append(s.elements, element{key: next.AsSlice(), end: true})
				}
			}
			b.out.sets = append(b.out.sets, s)
		}
	}
	for i := range b.Lines[1:] {
		b.out.sets = append(b.out.sets, set{
			name: steerSet(b.ids[i+1]), typeName: "nf_proto", flagNames: "timeout", keyType: typeNFProto, keyLen: 1,
			flags: unix.NFT_SET_TIMEOUT, timeout: SteerFor,
		})
	}
}

// lists are the names of the lists that overrides use, sorted.
func (b *builder) lists() (out []string) {
	for _, o := range b.Policy.Overrides {
		if o.Hosts.List != "" {
			out = append(out, o.Hosts.List)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type addrRange struct{ first, last netip.Addr }

func (r addrRange) String() string {
	if r.first == r.last {
		return r.first.String()
	}
	return r.first.String() + "-" + r.last.String()
}

// rangesOf are prefixes of one family as ranges that do not touch.
func rangesOf(prefixes []netip.Prefix, f family) (out []addrRange) {
	var all []addrRange
	for _, p := range prefixes {
		if familyOf(p.Addr()) == f {
			all = append(all, addrRange{p.Masked().Addr(), lastOf(p)})
		}
	}
	slices.SortFunc(all, func(a, b addrRange) int { return a.first.Compare(b.first) })
	for _, r := range all {
		if n := len(out); n > 0 && (!out[n-1].last.Next().IsValid() || r.first.Compare(out[n-1].last.Next()) <= 0) {
			if out[n-1].last.Less(r.last) {
				out[n-1].last = r.last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(a)*8; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(a)
	return last
}

// String is the ruleset as nft would take it.
func (r *ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.table)
	for _, c := range r.counters {
		fmt.Fprintf(&b, "\tcounter %s { }\n", c)
	}
	for _, s := range r.sets {
		fmt.Fprintf(&b, "\tset %s { type %s; flags %s;", s.name, s.typeName, s.flagNames)
		if s.timeout > 0 {
			fmt.Fprintf(&b, " timeout %ds;", int(s.timeout.Seconds()))
		}
		if s.size > 0 {
			fmt.Fprintf(&b, " size %d;", s.size)
		}
		if len(s.words) > 0 {
			fmt.Fprintf(&b, " elements = { %s };", strings.Join(s.words, ", "))
		}
		b.WriteString(" }\n")
	}
	for _, c := range r.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.kind != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.kind, c.hookName, c.priority)
		}
		for _, rl := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rl)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
