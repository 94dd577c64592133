package policy

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
)

// forgetConnections deletes every entry, as `conntrack -F` does.
func forgetConnections() error {
	_, err := one(unix.NETLINK_NETFILTER, netlink.HeaderType(ctDelete), 0, nfgen(unix.AF_UNSPEC, 0))
	return err
}
