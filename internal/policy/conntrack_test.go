package policy

import (
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Connections as the kernel's own netlink tells them (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaOriginal, ctaReply, ctaMark = 1, 2, 8
	ctaIP, ctaProto                = 1, 2
	ctaSrc, ctaDst                 = 1, 2
	ctaNum, ctaSrcPort, ctaDstPort = 1, 2, 3
)

// forgetConnections deletes every entry, as `conntrack -F` does.
func forgetConnections() error {
	_, err := one(unix.NETLINK_NETFILTER, netlink.HeaderType(ctDelete), 0, nfgen(unix.AF_UNSPEC, 0))
	return err
}

// connection is an entry: its mark, and the address that it has outside.
type connection struct {
	mark    uint32
	outside netip.Addr
}

// connections are those of the router, by who talks with whom.
func (h *house) connections() map[string]connection {
	h.t.Helper()
	out := map[string]connection{}
	h.in(func() error {
		msgs, err := dump(unix.NETLINK_NETFILTER, netlink.HeaderType(ctGet), nfgen(unix.AF_INET, 0))
		if err != nil {
			return err
		}
		for _, m := range msgs {
			as := split(m.Data[genLen:])
			ends := func(tuple []byte) (src, dst netip.Addr, rest string) {
				t := split(tuple)
				ip, proto := split(find(t, ctaIP)), split(find(t, ctaProto))
				src, _ = netip.AddrFromSlice(find(ip, ctaSrc))
				dst, _ = netip.AddrFromSlice(find(ip, ctaDst))
				return src, dst, fmt.Sprintf("%v %x %x", find(proto, ctaNum), find(proto, ctaSrcPort), find(proto, ctaDstPort))
			}
			src, dst, rest := ends(find(as, ctaOriginal))
			_, outside, _ := ends(find(as, ctaReply))
			out[fmt.Sprintf("%v → %v %s", src, dst, rest)] = connection{getBE32(find(as, ctaMark)), outside}
		}
		return nil
	})
	return out
}
