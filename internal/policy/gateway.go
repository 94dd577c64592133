package policy

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Gateway is a line's next hop.
type Gateway struct {
	Line, Interface string
	// Addr is invalid where the line needs none, or has none.
	Addr netip.Addr
	// Known says that the kernel has asked for it of late, Answers that it answered.
	Known, Answers bool
}

const (
	ndmsgLen = 12 // struct ndmsg
	silent   = unix.NUD_INCOMPLETE | unix.NUD_FAILED
)

// Gateways are those in use, with what the kernel knows of them.
func (o *Options) Gateways() (out []Gateway, err error) {
	f, err := o.look()
	if err != nil {
		return nil, fail("look at the kernel's state", err)
	}
	near, err := readNeighbours()
	if err != nil {
		return nil, fail("look for the gateways", err)
	}
	for _, l := range o.Lines {
		dev := linkNamed(f.links, l.Interface)
		if dev == nil {
			continue
		}
		r, _, _ := o.gateway(f, l, dev, v4)
		g := Gateway{Line: l.Name, Interface: l.Interface, Addr: r.via}
		for _, n := range near {
			if n.dev == dev.index && n.addr == r.via {
				g.Known, g.Answers = n.state != unix.NUD_NONE, n.state&silent == 0
			}
		}
		out = append(out, g)
	}
	return out, nil
}

type neighbour struct {
	dev   int32
	addr  netip.Addr
	state uint16
}

func readNeighbours() (out []neighbour, err error) {
	h := make([]byte, ndmsgLen)
	h[0] = unix.AF_INET
	msgs, err := dump(unix.NETLINK_ROUTE, unix.RTM_GETNEIGH, h)
	if err != nil {
		return nil, fmt.Errorf("read the neighbours: %w", reason(err))
	}
	for _, m := range msgs {
		if n, ok := neighbourOf(m.Data); ok {
			out = append(out, n)
		}
	}
	return out, nil
}

func neighbourOf(b []byte) (n neighbour, ok bool) {
	if len(b) < ndmsgLen {
		return n, false
	}
	n.dev, n.state = int32(native.Uint32(b[4:])), native.Uint16(b[8:])
	n.addr, ok = netip.AddrFromSlice(find(split(b[ndmsgLen:]), unix.NDA_DST))
	return n, ok
}
