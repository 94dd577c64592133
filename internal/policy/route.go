package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ipRule is one rule of `ip rule`.
type ipRule struct {
	family     family
	priority   uint32
	table      uint32
	mark, mask uint32
	from       netip.Addr
	// suppress keeps the table's default routes out of it.
	suppress bool
	protocol uint8
	// other says that it selects by something that ours never do.
	other bool
}

func (r ipRule) String() string {
	s := fmt.Sprintf("priority %d", r.priority)
	if r.from.IsValid() {
		s += " from " + r.from.String()
	}
	if r.mask != 0 {
		s += fmt.Sprintf(" fwmark 0x%x/0x%x", r.mark, r.mask)
	}
	s += " lookup " + tableName(r.table)
	if r.suppress {
		s += " suppress_prefixlength 0"
	}
	if r.protocol != 0 {
		s += fmt.Sprintf(" protocol %d", r.protocol)
	}
	return s
}

func tableName(t uint32) string {
	if t == mainTable {
		return "main"
	}
	return fmt.Sprint(t)
}

func (f family) flag() string { return map[family]string{v4: "-4", v6: "-6"}[f] }

func (f family) af() byte {
	if f {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

const (
	ruleLen  = 12 // struct fib_rule_hdr
	routeLen = 12 // struct rtmsg
	frToTBL  = 1  // FR_ACT_TO_TBL
	noPrefix = 1<<32 - 1
)

func (r ipRule) body() []byte {
	h := make([]byte, ruleLen)
	h[0], h[7] = r.family.af(), frToTBL
	attrs := join(ne32(unix.FRA_PRIORITY, r.priority), ne32(unix.FRA_TABLE, r.table), raw(unix.FRA_PROTOCOL, []byte{r.protocol}))
	if r.from.IsValid() {
		h[2] = uint8(r.from.BitLen())
		attrs = append(attrs, raw(unix.FRA_SRC, r.from.AsSlice())...)
	}
	if r.mask != 0 {
		attrs = join(attrs, ne32(unix.FRA_FWMARK, r.mark), ne32(unix.FRA_FWMASK, r.mask))
	}
	if r.suppress {
		attrs = append(attrs, ne32(unix.FRA_SUPPRESS_PREFIXLEN, 0)...)
	}
	return append(h, attrs...)
}

func ruleOf(b []byte) (r ipRule, ok bool) {
	if len(b) < ruleLen || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return r, false
	}
	r.family, r.table = b[0] == unix.AF_INET6, uint32(b[4])
	r.other = b[1] != 0 || b[3] != 0 || b[7] != frToTBL || native.Uint32(b[8:])&^uint32(unix.FIB_RULE_PERMANENT) != 0
	for _, a := range split(b[ruleLen:]) {
		switch a.typ {
		case unix.FRA_PRIORITY:
			r.priority = getNE32(a.data)
		case unix.FRA_TABLE:
			r.table = getNE32(a.data)
		case unix.FRA_FWMARK:
			r.mark = getNE32(a.data)
		case unix.FRA_FWMASK:
			r.mask = getNE32(a.data)
		case unix.FRA_SRC:
			r.from, _ = netip.AddrFromSlice(a.data)
			r.other = r.other || int(b[2]) != r.from.BitLen()
		case unix.FRA_SUPPRESS_PREFIXLEN:
			if v := getNE32(a.data); v != noPrefix {
				r.suppress, r.other = true, r.other || v != 0
			}
		case unix.FRA_PROTOCOL:
			if len(a.data) > 0 {
				r.protocol = a.data[0]
			}
		case unix.FRA_IIFNAME, unix.FRA_OIFNAME, unix.FRA_UID_RANGE, unix.FRA_DPORT_RANGE, unix.FRA_SPORT_RANGE, unix.FRA_IP_PROTO:
			r.other = true
		}
	}
	return r, true
}

func readRules() (out []ipRule, err error) {
	for _, f := range []family{v4, v6} {
		h := make([]byte, ruleLen)
		h[0] = f.af()
		msgs, err := dump(unix.NETLINK_ROUTE, unix.RTM_GETRULE, h)
		if err != nil {
			if f == v6 { // a kernel without IPv6
				continue
			}
			return nil, fmt.Errorf("read the rules of `ip rule`: %w", reason(err))
		}
		for _, m := range msgs {
			if r, ok := ruleOf(m.Data); ok && r.family == f {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// route is one route that leads out, or one hop of it.
type route struct {
	family   family
	table    uint32
	to       netip.Prefix // the zero prefix is the default
	dev      int32
	via      netip.Addr
	onlink   bool
	metric   uint32
	protocol uint8
}

// ours says that we made it.
func (r route) ours() bool { return r.protocol == Protocol }

const (
	nexthopLen  = 8 // struct rtnexthop
	flagOnlink  = unix.RTNH_F_ONLINK
	noScope     = unix.RT_SCOPE_UNIVERSE
	linkScope   = unix.RT_SCOPE_LINK
	metricOfOur = 1 // IPv6 would otherwise choose 1024
)

func (r route) body() []byte {
	h := make([]byte, routeLen)
	h[0], h[5], h[6], h[7] = r.family.af(), r.protocol, noScope, unix.RTN_UNICAST
	if !r.via.IsValid() && r.family == v4 {
		h[6] = linkScope
	}
	if r.onlink {
		native.PutUint32(h[8:], flagOnlink)
	}
	attrs := join(ne32(unix.RTA_TABLE, r.table), ne32(unix.RTA_OIF, uint32(r.dev)), ne32(unix.RTA_PRIORITY, r.metric))
	if r.to.IsValid() {
		h[1] = uint8(r.to.Bits())
		attrs = append(attrs, raw(unix.RTA_DST, r.to.Addr().AsSlice())...)
	}
	if r.via.IsValid() {
		attrs = append(attrs, raw(unix.RTA_GATEWAY, r.via.AsSlice())...)
	}
	return append(h, attrs...)
}

// routesOf are the hops of a route.
func routesOf(b []byte) (out []route) {
	if len(b) < routeLen || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 || b[7] != unix.RTN_UNICAST {
		return nil
	}
	r := route{family: b[0] == unix.AF_INET6, table: uint32(b[4]), protocol: b[5], onlink: native.Uint32(b[8:])&flagOnlink != 0}
	as := split(b[routeLen:])
	if v := find(as, unix.RTA_TABLE); v != nil {
		r.table = getNE32(v)
	}
	if d := find(as, unix.RTA_DST); d != nil {
		if a, ok := netip.AddrFromSlice(d); ok {
			r.to = netip.PrefixFrom(a, int(b[1]))
		}
	}
	r.metric = getNE32(find(as, unix.RTA_PRIORITY))
	hops := find(as, unix.RTA_MULTIPATH)
	if hops == nil {
		r.dev = int32(getNE32(find(as, unix.RTA_OIF)))
		r.via, _ = netip.AddrFromSlice(find(as, unix.RTA_GATEWAY))
		return []route{r}
	}
	for len(hops) >= nexthopLen {
		n := int(native.Uint16(hops))
		if n < nexthopLen || n > len(hops) {
			break
		}
		h := r
		h.dev, h.onlink = int32(native.Uint32(hops[4:])), hops[2]&flagOnlink != 0
		h.via, _ = netip.AddrFromSlice(find(split(hops[nexthopLen:n]), unix.RTA_GATEWAY))
		out = append(out, h)
		hops = hops[min(padded(n), len(hops)):]
	}
	return out
}

// readRoutes reads the routes of some tables, and ours of all others.
func readRoutes(tables []uint32) (out []route, err error) {
	read := func(f family, protocol uint8, attrs []byte, want func(route) bool) error {
		h := make([]byte, routeLen)
		h[0], h[5] = f.af(), protocol
		msgs, err := dump(unix.NETLINK_ROUTE, unix.RTM_GETROUTE, append(h, attrs...))
		if err != nil {
			if f == v6 || isNone(err) { // a kernel without IPv6, or a table that nobody has made
				return nil
			}
			return fmt.Errorf("read the routes: %w", reason(err))
		}
		for _, m := range msgs {
			for _, r := range routesOf(m.Data) {
				if r.family == f && want(r) {
					out = append(out, r)
				}
			}
		}
		return nil
	}
	for _, f := range []family{v4, v6} {
		for _, t := range tables {
			if err := read(f, 0, ne32(unix.RTA_TABLE, t), func(r route) bool { return r.table == t }); err != nil {
				return nil, err
			}
		}
		if err := read(f, Protocol, nil, func(r route) bool { return r.ours() && !slices.Contains(tables, r.table) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// link is an interface.
type link struct {
	name  string
	index int32
	up    bool
	// point says that it has one other end, so that a route needs no gateway.
	point bool
}

const ifinfoLen = 16 // struct ifinfomsg

func readLinks() (out []link, err error) {
	msgs, err := dump(unix.NETLINK_ROUTE, unix.RTM_GETLINK, make([]byte, ifinfoLen))
	if err != nil {
		return nil, fmt.Errorf("read the interfaces: %w", reason(err))
	}
	for _, m := range msgs {
		if len(m.Data) < ifinfoLen {
			continue
		}
		flags := native.Uint32(m.Data[8:])
		out = append(out, link{
			name: getText(find(split(m.Data[ifinfoLen:]), unix.IFLA_IFNAME)), index: int32(native.Uint32(m.Data[4:])),
			up: flags&unix.IFF_UP != 0, point: flags&unix.IFF_POINTOPOINT != 0,
		})
	}
	return out, nil
}

func linkNamed(links []link, name string) *link {
	if i := slices.IndexFunc(links, func(l link) bool { return l.name == name }); i >= 0 {
		return &links[i]
	}
	return nil
}

// words is a route as ip takes it.
func (r route) words(links []link) string {
	to := "default"
	if r.to.IsValid() && r.to.Bits() > 0 {
		to = r.to.String()
	}
	parts := []string{to}
	if r.via.IsValid() {
		parts = append(parts, "via", r.via.String())
	}
	dev := fmt.Sprint(r.dev)
	for _, l := range links {
		if l.index == r.dev {
			dev = l.name
		}
	}
	parts = append(parts, "dev", dev)
	if r.onlink {
		parts = append(parts, "onlink")
	}
	return strings.Join(append(parts, "table", tableName(r.table), "metric", fmt.Sprint(r.metric), "protocol", fmt.Sprint(r.protocol)), " ")
}

func (r ipRule) set(add bool) error {
	typ, flags := netlink.HeaderType(unix.RTM_DELRULE), netlink.HeaderFlags(0)
	if add {
		typ, flags = unix.RTM_NEWRULE, netlink.Create|netlink.Excl
	}
	_, err := one(unix.NETLINK_ROUTE, typ, flags, r.body())
	return err
}

func (r route) set(add bool) error {
	typ, flags := netlink.HeaderType(unix.RTM_DELROUTE), netlink.HeaderFlags(0)
	if add {
		typ, flags = unix.RTM_NEWROUTE, netlink.Create|netlink.Replace
	}
	_, err := one(unix.NETLINK_ROUTE, typ, flags, r.body())
	return err
}
