package cli

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"wanctl/internal/blueprint"
)

// kernelRoute is a default route of this host.
type kernelRoute struct {
	iface   string
	gateway netip.Addr // invalid for a route without one
	metric  int
}

// kernelRoutes are this host's default routes for IPv4, the best first.
func (a *App) kernelRoutes() []kernelRoute {
	b, err := a.ReadFile("/proc/net/route")
	if err != nil {
		return nil
	}
	return defaultRoutes(b)
}

// defaultRoutes reads /proc/net/route (proc_net_route(5)): interface, destination, gateway, flags, three more, metric and mask,
// addresses in hexadecimal in the machine's order of bytes.
func defaultRoutes(file []byte) (routes []kernelRoute) {
	const (
		up     = 1 // RTF_UP and RTF_REJECT of linux/route.h
		reject = 0x200
	)
	for line := range bytes.Lines(file) {
		f := strings.Fields(string(line))
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		if err != nil || flags&up == 0 || flags&reject != 0 {
			continue
		}
		r := kernelRoute{iface: f[0]}
		r.metric, _ = strconv.Atoi(f[6])
		if raw, err := hex.DecodeString(f[2]); err == nil && len(raw) == 4 && f[2] != "00000000" {
			var at [4]byte
			binary.NativeEndian.PutUint32(at[:], binary.BigEndian.Uint32(raw))
			r.gateway = netip.AddrFrom4(at)
		}
		routes = append(routes, r)
	}
	slices.SortStableFunc(routes, func(a, b kernelRoute) int { return cmp.Compare(a.metric, b.metric) })
	return routes
}

// kernelUplinks are this host's interfaces, those with a default route first.
func (a *App) kernelUplinks() (all []blueprint.Uplink) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	routes := a.kernelRoutes()
	for _, i := range ifaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		u := blueprint.Uplink{Name: i.Name, Type: "this host's", Running: i.Flags&net.FlagRunning != 0}
		for _, r := range routes {
			if r.iface == i.Name && u.Gateway == "" {
				u.Routed, u.Distance = true, r.metric
				if u.Gateway = i.Name; r.gateway.IsValid() {
					u.Gateway = r.gateway.String()
				}
			}
		}
		all = append(all, u)
	}
	blueprint.NearestFirst(all)
	return all
}

// addressesOf are an interface's unicast IPv4 addresses.
func addressesOf(i *net.Interface) (found []netip.Addr) {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	for _, x := range addrs {
		if n, ok := x.(*net.IPNet); ok {
			if at, ok := netip.AddrFromSlice(n.IP); ok && at.Unmap().Is4() && !at.Unmap().IsLinkLocalUnicast() {
				found = append(found, at.Unmap())
			}
		}
	}
	return found
}

// permanentAddress is an interface's first address that a file may name: neither leased by DHCP nor given by the other end of a PPP
// line; invalid where it has none.
func permanentAddress(iface string) netip.Addr {
	i, err := net.InterfaceByName(iface)
	if err != nil || i.Flags&net.FlagPointToPoint != 0 {
		return netip.Addr{}
	}
	b, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET)
	if err != nil {
		return netip.Addr{}
	}
	lasting := permanent(b, i.Index)
	for _, at := range addressesOf(i) {
		if slices.Contains(lasting, at) {
			return at
		}
	}
	return netip.Addr{}
}

// permanent reads the answer to RTM_GETADDR (rtnetlink(7)): the IPv4 addresses of an interface whose lifetime is unlimited, which the
// kernel says by IFA_F_PERMANENT. What a DHCP client adds has that of its lease.
func permanent(dump []byte, index int) (found []netip.Addr) {
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil
	}
	const (
		flagsAt, indexAt = 2, 4 // in struct ifaddrmsg
	)
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg ||
			m.Data[flagsAt]&syscall.IFA_F_PERMANENT == 0 || binary.NativeEndian.Uint32(m.Data[indexAt:]) != uint32(index) {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			continue
		}
		for _, a := range attrs {
			if at, ok := netip.AddrFromSlice(a.Value); ok && at.Is4() && a.Attr.Type == syscall.IFA_LOCAL {
				found = append(found, at)
			}
		}
	}
	return found
}

// ownAddresses are this host's addresses on the interface towards a host, the one it uses first.
func ownAddresses(host string) []netip.Addr {
	used, err := netip.ParseAddr(ownAddress(host))
	if err != nil {
		return nil
	}
	all := []netip.Addr{used}
	ifaces, err := net.Interfaces()
	if err != nil {
		return all
	}
	for i := range ifaces {
		if on := addressesOf(&ifaces[i]); slices.Contains(on, used) {
			for _, at := range on {
				if at != used {
					all = append(all, at)
				}
			}
		}
	}
	return all
}
