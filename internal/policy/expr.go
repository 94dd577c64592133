package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"wanctl/internal/flow"
)

// piece is a part of a rule: the words that nft has for it, and the kernel's expressions.
type piece struct {
	words string
	exprs []expr
}

// expr is one expression of the kernel's.
type expr struct {
	kind  string
	attrs []attr
}

func ex(kind string, attrs ...[]byte) expr { return expr{kind, split(join(attrs...))} }

// bytes is the expression as a list's element.
func (e expr) bytes() []byte {
	var data []byte
	for _, a := range e.attrs {
		data = append(data, raw(a.typ, a.data)...)
	}
	return nest(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, e.kind), nest(unix.NFTA_EXPR_DATA, data))
}

// same says whether an expression that the kernel tells is this one: what the kernel adds must be zero.
func (e expr) same(told expr) bool {
	if e.kind != told.kind {
		return false
	}
	for _, a := range e.attrs {
		if b := find(told.attrs, a.typ); b == nil || string(b) != string(a.data) {
			return false
		}
	}
	for _, t := range told.attrs {
		if find(e.attrs, t.typ) == nil && strings.Trim(string(t.data), "\x00") != "" {
			return false
		}
	}
	return true
}

// reg is the register of a 32-bit word as the kernel tells it: whole 128-bit registers by their old numbers.
func reg(word int) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + uint32(word/4)
	}
	return unix.NFT_REG32_00 + uint32(word)
}

func value(typ uint16, v []byte) []byte { return nest(typ, raw(unix.NFTA_DATA_VALUE, v)) }

const (
	cmpEq = unix.NFT_CMP_EQ
	cmpNe = unix.NFT_CMP_NEQ
	cmpGt = unix.NFT_CMP_GT

	ctOriginal   = 0      // IP_CT_DIR_ORIGINAL
	ctConfirmed  = 1 << 3 // IPS_CONFIRMED
	dynsetDelete = 2      // NFT_DYNSET_OP_DELETE, Linux 5.4
)

func load(kind string, dreg, key uint16, word int, k uint32, more ...[]byte) expr {
	return ex(kind, append([][]byte{be32(dreg, reg(word)), be32(key, k)}, more...)...)
}

func meta(key uint32) expr { return load("meta", unix.NFTA_META_DREG, unix.NFTA_META_KEY, 0, key) }
func ct(key uint32) expr   { return load("ct", unix.NFTA_CT_DREG, unix.NFTA_CT_KEY, 0, key) }

func cmp(op uint32, v []byte) expr {
	return ex("cmp", be32(unix.NFTA_CMP_SREG, reg(0)), be32(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, v))
}

func bitwise(mask, xor []byte) expr {
	return ex("bitwise", be32(unix.NFTA_BITWISE_SREG, reg(0)), be32(unix.NFTA_BITWISE_DREG, reg(0)),
		be32(unix.NFTA_BITWISE_LEN, uint32(len(mask))), value(unix.NFTA_BITWISE_MASK, mask), value(unix.NFTA_BITWISE_XOR, xor))
}

func header(base, offset, length uint32) expr {
	return ex("payload", be32(unix.NFTA_PAYLOAD_DREG, reg(0)), be32(unix.NFTA_PAYLOAD_BASE, base),
		be32(unix.NFTA_PAYLOAD_OFFSET, offset), be32(unix.NFTA_PAYLOAD_LEN, length))
}

func host32(v uint32) []byte { return native.AppendUint32(nil, v) }

func ifname(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}

func inBy(dev string) piece {
	return piece{fmt.Sprintf("iifname %q", dev), []expr{meta(unix.NFT_META_IIFNAME), cmp(cmpEq, ifname(dev))}}
}

func outBy(dev string) piece {
	return piece{fmt.Sprintf("oifname %q", dev), []expr{meta(unix.NFT_META_OIFNAME), cmp(cmpEq, ifname(dev))}}
}

// family is IPv4 or IPv6.
type family bool

const (
	v4 family = false
	v6 family = true
)

// String returns "ipv4" or "ipv6".
func (f family) String() string {
	if f {
		return "ipv6"
	}
	return "ipv4"
}

func (f family) proto() byte {
	if f {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// ip is nft's word for the family's header.
func (f family) ip() string {
	if f {
		return "ip6"
	}
	return "ip"
}

func familyOf(a netip.Addr) family { return family(a.Is6()) }

// is matches packets of the family.
func (f family) is() piece {
	return piece{"meta nfproto " + f.String(), []expr{meta(unix.NFT_META_NFPROTO), cmp(cmpEq, []byte{f.proto()})}}
}

// quiet is the same where nft adds it by itself.
func (f family) quiet() piece { return piece{"", f.is().exprs} }

// addr matches an end's address: the source's or the destination's.
func (f family) addr(source bool, p netip.Prefix) piece {
	offset, word := uint32(16), "daddr"
	if f == v6 {
		offset = 24
	}
	if source {
		word, offset = "saddr", 12
		if f == v6 {
			offset = 8
		}
	}
	p = p.Masked()
	name := p.String()
	if p.IsSingleIP() {
		name = p.Addr().String()
	}
	out := f.quiet()
	out.words = f.ip() + " " + word + " " + name
	a := p.Addr().AsSlice()
	out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, uint32(len(a))))
	if !p.IsSingleIP() {
		mask := make([]byte, len(a))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		out.exprs = append(out.exprs, bitwise(mask, make([]byte, len(a))))
	}
	out.exprs = append(out.exprs, cmp(cmpEq, a))
	return out
}

// source matches packets from a named set of addresses.
func (f family) source(set string) piece {
	offset, length := uint32(12), uint32(4)
	if f == v6 {
		offset, length = 8, 16
	}
	out := f.quiet()
	out.words = f.ip() + " saddr @" + set
	out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length), lookup(set))
	return out
}

func (f family) dscp(code int) piece {
	out := f.quiet()
	out.words = fmt.Sprintf("%s dscp 0x%02x", f.ip(), code)
	if f == v6 {
		out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_NETWORK_HEADER, 0, 2), bitwise([]byte{0x0f, 0xc0}, []byte{0, 0}),
			cmp(cmpEq, binary.BigEndian.AppendUint16(nil, uint16(code)<<6)))
		return out
	}
	out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_NETWORK_HEADER, 1, 1), bitwise([]byte{0xfc}, []byte{0}), cmp(cmpEq, []byte{byte(code) << 2}))
	return out
}

// pair is a connection's client and peer: the two ends as its first packet had them.
func (f family) pair() (words string, exprs []expr) {
	src, dst, second := uint32(unix.NFT_CT_SRC_IP), uint32(unix.NFT_CT_DST_IP), 1
	if f == v6 {
		src, dst, second = unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6, 4
	}
	way := raw(unix.NFTA_CT_DIRECTION, []byte{ctOriginal})
	return fmt.Sprintf("ct original %s saddr . ct original %[1]s daddr", f.ip()), []expr{
		load("ct", unix.NFTA_CT_DREG, unix.NFTA_CT_KEY, 0, src, way),
		load("ct", unix.NFTA_CT_DREG, unix.NFTA_CT_KEY, second, dst, way),
	}
}

func lookup(set string) expr {
	return ex("lookup", text(unix.NFTA_LOOKUP_SET, set), be32(unix.NFTA_LOOKUP_SREG, reg(0)))
}

// pairIn matches connections whose pair is in a set.
func (f family) pairIn(set string) piece {
	words, exprs := f.pair()
	return piece{words + " @" + set, append(append(f.is().exprs, exprs...), lookup(set))}
}

// note puts the pair into a set, or takes it out.
func (f family) note(op uint32, set string) piece {
	words, exprs := f.pair()
	verb := map[uint32]string{unix.NFT_DYNSET_OP_UPDATE: "update", dynsetDelete: "delete"}[op]
	return piece{fmt.Sprintf("%s @%s { %s }", verb, set, words), append(append(f.is().exprs, exprs...), ex("dynset",
		text(unix.NFTA_DYNSET_SET_NAME, set), be32(unix.NFTA_DYNSET_OP, op), be32(unix.NFTA_DYNSET_SREG_KEY, reg(0))))}
}

func (f family) remember(set string) piece { return f.note(unix.NFT_DYNSET_OP_UPDATE, set) }
func (f family) forget(set string) piece   { return f.note(dynsetDelete, set) }

// familyIn matches packets whose family is in a set.
func familyIn(set string) piece {
	return piece{"meta nfproto @" + set, []expr{meta(unix.NFT_META_NFPROTO), lookup(set)}}
}

func protocol(p flow.Protocol) piece {
	return piece{"meta l4proto " + p.String(), []expr{meta(unix.NFT_META_L4PROTO), cmp(cmpEq, []byte{byte(p)})}}
}

// port matches a destination port, or some in a row.
func port(p flow.Protocol, r flow.PortRange) piece {
	out := piece{fmt.Sprintf("%s dport %s", p, flow.Ports{r}), protocol(p).exprs}
	out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2))
	be := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	if r.First == r.Last {
		out.exprs = append(out.exprs, cmp(cmpEq, be(r.First)))
		return out
	}
	out.exprs = append(out.exprs, ex("range", be32(unix.NFTA_RANGE_SREG, reg(0)), be32(unix.NFTA_RANGE_OP, unix.NFT_RANGE_EQ),
		value(unix.NFTA_RANGE_FROM_DATA, be(r.First)), value(unix.NFTA_RANGE_TO_DATA, be(r.Last))))
	return out
}

// pickup matches TCP packets that open no connection.
func pickup() piece {
	out := piece{"tcp flags and (fin | syn | rst | ack) != syn", protocol(flow.TCP).exprs}
	out.exprs = append(out.exprs, header(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1), bitwise([]byte{0x17}, []byte{0}), cmp(cmpNe, []byte{0x02}))
	return out
}

// markIs matches a field of the packet's mark, or of the connection's.
func markIs(of string, field, v uint32) piece { return mark(of, field, cmpEq, v, "==") }

// markHas matches where some bit of the field is set.
func markHas(of string, field uint32) piece { return mark(of, field, cmpNe, 0, "!=") }

const (
	packetMark     = "meta"
	connectionMark = "ct"
)

func loadMark(of string) expr {
	if of == connectionMark {
		return ct(unix.NFT_CT_MARK)
	}
	return meta(unix.NFT_META_MARK)
}

func mark(of string, field, op, v uint32, sign string) piece {
	return piece{
		fmt.Sprintf("%s mark and 0x%08x %s 0x%08x", of, field, sign, v),
		[]expr{loadMark(of), bitwise(host32(field), host32(0)), cmp(op, host32(v))},
	}
}

// setMark writes a field of a mark and leaves the other bits.
func setMark(of string, field, v uint32) piece {
	store := ex("meta", be32(unix.NFTA_META_KEY, unix.NFT_META_MARK), be32(unix.NFTA_META_SREG, reg(0)))
	if of == connectionMark {
		store = ex("ct", be32(unix.NFTA_CT_KEY, unix.NFT_CT_MARK), be32(unix.NFTA_CT_SREG, reg(0)))
	}
	return piece{
		fmt.Sprintf("%s mark set %[1]s mark and 0x%08x or 0x%08x", of, ^field, v),
		[]expr{loadMark(of), bitwise(host32(^field), host32(v)), store},
	}
}

// original matches packets in the direction of the first one.
func original() piece {
	return piece{"ct direction original", []expr{ct(unix.NFT_CT_DIRECTION), cmp(cmpEq, []byte{ctOriginal})}}
}

// first matches the first packet of a connection: tracking has not confirmed it yet. A connection that is not answered is
// new for longer than that.
func first() piece {
	return piece{"ct status and confirmed == 0", []expr{
		ct(unix.NFT_CT_STATUS), bitwise(host32(ctConfirmed), host32(0)), cmp(cmpEq, host32(0)),
	}}
}

// moved matches connections that have moved more than some bytes, both ways together.
func moved(n uint64) piece {
	return piece{fmt.Sprintf("ct bytes > %d", n), []expr{
		ct(unix.NFT_CT_BYTES),
		ex("byteorder", be32(unix.NFTA_BYTEORDER_SREG, reg(0)), be32(unix.NFTA_BYTEORDER_DREG, reg(0)),
			be32(unix.NFTA_BYTEORDER_OP, unix.NFT_BYTEORDER_HTON), be32(unix.NFTA_BYTEORDER_LEN, 8), be32(unix.NFTA_BYTEORDER_SIZE, 8)),
		cmp(cmpGt, binary.BigEndian.AppendUint64(nil, n)),
	}}
}

// counted counts with a named counter.
func counted(name string) piece {
	return piece{"counter name " + name, []expr{ex("objref",
		be32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER), text(unix.NFTA_OBJREF_IMM_NAME, name))}}
}

func masquerade() piece { return piece{"masquerade", []expr{ex("masq")}} }

const (
	verdictAccept = 1         // NF_ACCEPT
	verdictReturn = 1<<32 - 5 // NFT_RETURN
	verdictGoto   = 1<<32 - 4 // NFT_GOTO
	verdictJump   = 1<<32 - 3 // NFT_JUMP
	verdictReg    = unix.NFT_REG_VERDICT
)

func verdict(code uint32, word, chain string) piece {
	parts := [][]byte{be32(unix.NFTA_VERDICT_CODE, code)}
	if chain != "" {
		parts = append(parts, text(unix.NFTA_VERDICT_CHAIN, chain))
		word += " " + chain
	}
	return piece{word, []expr{ex("immediate", be32(unix.NFTA_IMMEDIATE_DREG, verdictReg),
		nest(unix.NFTA_IMMEDIATE_DATA, nest(unix.NFTA_DATA_VERDICT, parts...)))}}
}

func accept() piece            { return verdict(verdictAccept, "accept", "") }
func back() piece              { return verdict(verdictReturn, "return", "") }
func jump(chain string) piece  { return verdict(verdictJump, "jump", chain) }
func leave(chain string) piece { return verdict(verdictGoto, "goto", chain) }
