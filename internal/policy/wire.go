package policy

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Netlink's attributes. nfnetlink's numbers are big-endian and rtnetlink's are this host's.

const (
	attrHead = 4
	attrMask = 1<<14 - 1 // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

var native = binary.NativeEndian

func padded(n int) int { return (n + 3) &^ 3 }

// raw is one attribute.
func raw(typ uint16, v []byte) []byte {
	b := make([]byte, attrHead, attrHead+padded(len(v)))
	native.PutUint16(b, uint16(attrHead+len(v)))
	native.PutUint16(b[2:], typ)
	b = append(b, v...)
	return append(b, make([]byte, padded(len(b))-len(b))...)
}

func text(typ uint16, s string) []byte { return raw(typ, append([]byte(s), 0)) }
func be32(typ uint16, v uint32) []byte { return raw(typ, binary.BigEndian.AppendUint32(nil, v)) }
func be64(typ uint16, v uint64) []byte { return raw(typ, binary.BigEndian.AppendUint64(nil, v)) }
func ne32(typ uint16, v uint32) []byte { return raw(typ, native.AppendUint32(nil, v)) }

// join is attributes in a row.
func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// nest is an attribute of attributes. nf_tables dumps its own without NLA_F_NESTED and takes them so.
func nest(typ uint16, parts ...[]byte) []byte { return raw(typ, join(parts...)) }

type attr struct {
	typ  uint16
	data []byte
}

// split reads attributes; what is left after the last whole one is not looked at.
func split(b []byte) (out []attr) {
	for len(b) >= attrHead {
		n := int(native.Uint16(b))
		if n < attrHead || n > len(b) {
			return out
		}
		out = append(out, attr{native.Uint16(b[2:]) & attrMask, b[attrHead:n]})
		b = b[min(padded(n), len(b)):]
	}
	return out
}

// find is the attribute's content; nil where there is none.
func find(as []attr, typ uint16) []byte {
	for _, a := range as {
		if a.typ == typ {
			return a.data
		}
	}
	return nil
}

func getBE32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func getBE64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func getNE32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

// getText is a string without its zero.
func getText(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// dial opens a connection to one of the kernel's families in the thread's network namespace.
func dial(family int) (*netlink.Conn, error) {
	c, err := netlink.Dial(family, nil)
	if err != nil {
		return nil, err
	}
	// Older kernels explain less and filter not; what they answer is filtered here once more.
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	if family == unix.NETLINK_ROUTE {
		_ = c.SetOption(netlink.GetStrictCheck, true)
	}
	return c, nil
}

// dumpTries is how often a dump is repeated that was torn by a change.
const dumpTries = 5

// dump asks for all there is of something.
func dump(family int, typ netlink.HeaderType, body []byte) ([]netlink.Message, error) {
	c, err := dial(family)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	for range dumpTries {
		msgs, err := c.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump}, Data: body})
		if err != nil {
			return nil, err
		}
		torn := false
		for _, m := range msgs {
			torn = torn || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
		}
		if !torn {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("what was read changed %d times meanwhile", dumpTries)
}

// one asks for one thing, or changes it.
func one(family int, typ netlink.HeaderType, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	c, err := dial(family)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: flags | netlink.Request | netlink.Acknowledge}, Data: body})
}

// reason is what the kernel says of an error, without the library's words around it.
func reason(err error) error {
	var op *netlink.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w: the kernel says %q", op.Err, op.Message)
	}
	return op.Err
}
