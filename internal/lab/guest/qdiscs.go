package guest

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// qdiscs reads the root queues of a namespace: one question and a few answers for all of them. It is the referee's own
// reader, apart from the one under test, and outside of the poller.
type qdiscs struct {
	ns   string
	fd   int
	seq  uint32
	name map[int32]string
	buf  []byte
	root map[string]link.Queue // by interface
}

func openQdiscs(ns string) (*qdiscs, error) {
	q := &qdiscs{ns: ns, name: map[int32]string{}, buf: make([]byte, 1<<18), root: map[string]link.Queue{}}
	err := within(ns, func() error {
		ifaces, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range ifaces {
			q.name[int32(i.Index)] = i.Name
		}
		q.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("queues of %s: %w", ns, err)
	}
	return q, nil
}

var native = binary.NativeEndian

const (
	nlmsgLen = 16 // struct nlmsghdr
	tcmsgLen = 20 // struct tcmsg
	attrMask = 0x3fff
	// Numbers of linux/rtnetlink.h, linux/gen_stats.h and linux/pkt_sched.h.
	tcaKind, tcaOptions, tcaStats2         = 1, 2, 7
	statsBasic, statsQueue, statsApp       = 1, 3, 4
	cakeRate, cakeTins, cakeTinMarked      = 2, 10, 8
	nlmsgError, nlmsgDone, rtmNewQdisc int = 2, 3, 36
	tcRoot                                 = 0xffffffff // TC_H_ROOT
)

// read asks for all qdiscs and keeps the roots.
func (q *qdiscs) read() error {
	q.seq++
	var req [nlmsgLen + tcmsgLen]byte
	native.PutUint32(req[0:], uint32(len(req)))
	native.PutUint16(req[4:], unix.RTM_GETQDISC)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	native.PutUint32(req[8:], q.seq)
	if err := unix.Sendto(q.fd, req[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask for the queues of %s: %w", q.ns, err)
	}
	clear(q.root)
	for {
		n, _, err := unix.Recvfrom(q.fd, q.buf, 0)
		if err != nil {
			return fmt.Errorf("read the queues of %s: %w", q.ns, err)
		}
		for b := q.buf[:n]; len(b) >= nlmsgLen; {
			size, typ := int(native.Uint32(b)), int(native.Uint16(b[4:]))
			if size < nlmsgLen || size > len(b) {
				return fmt.Errorf("read the queues of %s: a message of %d in %d bytes", q.ns, size, len(b))
			}
			switch body := b[nlmsgLen:size]; {
			case typ == nlmsgDone:
				return nil
			case typ == nlmsgError:
				return fmt.Errorf("read the queues of %s: the kernel refuses", q.ns)
			case typ == rtmNewQdisc && len(body) >= tcmsgLen && native.Uint32(body[12:]) == tcRoot:
				if name, ok := q.name[int32(native.Uint32(body[4:]))]; ok {
					q.root[name] = decodeQueue(body[tcmsgLen:])
				}
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// attributes calls f for each attribute; it stops at what cannot be one.
func attributes(b []byte, f func(typ int, v []byte)) {
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		f(int(native.Uint16(b[2:]))&attrMask, b[4:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}

func decodeQueue(b []byte) (out link.Queue) {
	cake := false
	attributes(b, func(typ int, v []byte) {
		switch typ {
		case tcaKind:
			cake = string(v) == "cake\x00"
		case tcaOptions:
			if !cake {
				return
			}
			attributes(v, func(typ int, v []byte) {
				if typ == cakeRate && len(v) >= 8 {
					out.MaxLimit = unit.Rate(native.Uint64(v)) * 8
				}
			})
		case tcaStats2:
			attributes(v, func(typ int, v []byte) {
				switch {
				case typ == statsBasic && len(v) >= 12:
					out.Bytes, out.Packets = unit.Bytes(native.Uint64(v)), int64(native.Uint32(v[8:]))
				case typ == statsQueue && len(v) >= 12:
					out.QueuedPackets, out.QueuedBytes = int64(native.Uint32(v)), unit.Bytes(native.Uint32(v[4:]))
					out.Dropped = int64(native.Uint32(v[8:]))
				case typ == statsApp && cake:
					out.Marked = marks(v)
				}
			})
		}
	})
	return out
}

// marks adds up what CAKE's tins marked.
func marks(b []byte) (n int64) {
	attributes(b, func(typ int, v []byte) {
		if typ != cakeTins {
			return
		}
		attributes(v, func(_ int, tin []byte) {
			attributes(tin, func(typ int, v []byte) {
				if typ == cakeTinMarked && len(v) >= 4 {
					n += int64(native.Uint32(v))
				}
			})
		})
	})
	return n
}
