package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// routeDevice asks the kernel which interface a packet to a would leave through (rtnetlink RTM_GETROUTE, rtnetlink(7)).
func (b binding) routeDevice(a netip.Addr) (string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return "", fmt.Errorf("open netlink socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	limit := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return "", fmt.Errorf("limit netlink read: %w", err)
	}
	index := 0
	if b.device != "" {
		index = interfaceIndex(b.device)
	}
	if err := unix.Sendto(fd, routeRequest(b, a, index), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return "", fmt.Errorf("ask for the route: %w", err)
	}
	buf := make([]byte, 16<<10)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return "", fmt.Errorf("read the route: %w", err)
	}
	out, err := parseRoute(buf[:n])
	if err != nil {
		return "", err
	}
	i, err := net.InterfaceByIndex(out)
	if err != nil {
		return "", fmt.Errorf("interface %d: %w", out, err)
	}
	return i.Name, nil
}

// routeRequest builds the question: destination, and source, mark and interface where set.
func routeRequest(b binding, a netip.Addr, index int) []byte {
	ne := binary.NativeEndian
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg, 128)
	ne.PutUint16(msg[4:], unix.RTM_GETROUTE)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	rt := msg[unix.SizeofNlMsghdr:]
	rt[0] = unix.AF_INET
	if a.Is6() {
		rt[0] = unix.AF_INET6
	}
	rt[1] = uint8(a.BitLen())
	attr := func(kind uint16, v []byte) { // all values are multiples of 4 bytes: no padding
		msg = ne.AppendUint16(msg, uint16(unix.SizeofRtAttr+len(v)))
		msg = ne.AppendUint16(msg, kind)
		msg = append(msg, v...)
	}
	attr(unix.RTA_DST, a.AsSlice())
	if s := b.source; s.IsValid() && s.BitLen() == a.BitLen() {
		msg[unix.SizeofNlMsghdr+2] = uint8(s.BitLen())
		attr(unix.RTA_SRC, s.AsSlice())
	}
	if index != 0 {
		attr(unix.RTA_OIF, ne.AppendUint32(nil, uint32(index)))
	}
	if b.mark != 0 {
		attr(unix.RTA_MARK, ne.AppendUint32(nil, b.mark))
	}
	ne.PutUint32(msg, uint32(len(msg)))
	return msg
}

// parseRoute returns the index of the interface in the kernel's answer, or the error it answered with.
func parseRoute(b []byte) (int, error) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return 0, fmt.Errorf("parse the route: %w", err)
	}
	for i := range msgs {
		m := &msgs[i]
		switch {
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			if e := int32(binary.NativeEndian.Uint32(m.Data)); e != 0 {
				return 0, syscall.Errno(-e)
			}
		case m.Header.Type == unix.RTM_NEWROUTE && len(m.Data) >= unix.SizeofRtMsg:
			attrs, err := syscall.ParseNetlinkRouteAttr(m)
			if err != nil {
				return 0, fmt.Errorf("parse the route: %w", err)
			}
			for _, a := range attrs {
				if a.Attr.Type == unix.RTA_OIF && len(a.Value) == 4 {
					return int(binary.NativeEndian.Uint32(a.Value)), nil
				}
			}
		}
	}
	return 0, errors.New("the kernel's answer names no interface")
}
