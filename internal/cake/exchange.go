package cake

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// exchange speaks netlink in two buffers that are made once: reading a queue twenty times a second must not feed the
// garbage collector. One request is under way at a time, and its answer is walked with next.
type exchange struct {
	rc  syscall.RawConn
	seq uint32

	out, in    []byte
	got        []byte // what is still to be walked of in
	send, recv func(fd uintptr) bool
	n          int
	io         error

	// typ and body are the message that next found.
	typ  uint16
	body []byte
	// intr says that what was dumped changed meanwhile.
	intr bool
	done bool
	ack  bool // the request asked for one
	fail error
}

const (
	nlHeader  = 16 // struct nlmsghdr, linux/netlink.h
	nlErrorAt = 4  // struct nlmsgerr: the error before the header of what it is about

	flagMulti   = unix.NLM_F_MULTI
	flagIntr    = unix.NLM_F_DUMP_INTR
	flagCapped  = 0x100 // NLM_F_CAPPED, linux/netlink.h
	flagAckTLVs = 0x200 // NLM_F_ACK_TLVS
	errAttrMsg  = 1     // NLMSGERR_ATTR_MSG

	// receiveSize holds the largest part of a dump (32 KiB, netlink_dump in the kernel's af_netlink.c) and any single
	// answer.
	receiveSize = 64 << 10
	sendSize    = 4 << 10
)

func newExchange(rc syscall.RawConn) *exchange {
	x := &exchange{rc: rc, out: make([]byte, 0, sendSize), in: make([]byte, receiveSize)}
	x.send = func(fd uintptr) bool {
		x.n, x.io = unix.Write(int(fd), x.out)
		return x.io != unix.EAGAIN && x.io != unix.EINTR //nolint:errorlint // a bare number, and twenty times a second
	}
	x.recv = func(fd uintptr) bool {
		x.n, x.io = unix.Read(int(fd), x.in)
		return x.io != unix.EAGAIN && x.io != unix.EINTR //nolint:errorlint // a bare number, and twenty times a second
	}
	return x
}

// begin starts a request; the attributes follow with the put methods, and send with do.
func (x *exchange) begin(typ, flags uint16) {
	x.seq++
	x.out = x.out[:nlHeader]
	clear(x.out)
	native.PutUint16(x.out[4:], typ)
	native.PutUint16(x.out[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(x.out[8:], x.seq)
	x.ack = flags&unix.NLM_F_ACK != 0
}

// tcmsg appends struct tcmsg.
func (x *exchange) tcmsg(index int32, handle, parent Handle, info uint32) {
	at := len(x.out)
	x.zero(tcmsgLen)
	native.PutUint32(x.out[at+4:], uint32(index))
	native.PutUint32(x.out[at+8:], uint32(handle))
	native.PutUint32(x.out[at+12:], uint32(parent))
	native.PutUint32(x.out[at+16:], info)
}

// ifinfo appends struct ifinfomsg.
func (x *exchange) ifinfo(index int32, flags, change uint32) {
	at := len(x.out)
	x.zero(ifinfoLen)
	native.PutUint32(x.out[at+4:], uint32(index))
	native.PutUint32(x.out[at+8:], flags)
	native.PutUint32(x.out[at+12:], change)
}

func (x *exchange) zero(n int) {
	for range n {
		x.out = append(x.out, 0)
	}
}

func (x *exchange) head(typ uint16, n int) {
	at := len(x.out)
	x.zero(nlaHeader)
	native.PutUint16(x.out[at:], uint16(nlaHeader+n))
	native.PutUint16(x.out[at+2:], typ)
}

func (x *exchange) pad() { x.zero(align(len(x.out)) - len(x.out)) }

func (x *exchange) u32(typ uint16, v uint32) {
	x.head(typ, 4)
	at := len(x.out)
	x.zero(4)
	native.PutUint32(x.out[at:], v)
}

func (x *exchange) u64(typ uint16, v uint64) {
	x.head(typ, 8)
	at := len(x.out)
	x.zero(8)
	native.PutUint64(x.out[at:], v)
}

func (x *exchange) bytes(typ uint16, v []byte) {
	x.head(typ, len(v))
	x.out = append(x.out, v...)
	x.pad()
}

func (x *exchange) text(typ uint16, s string) {
	x.head(typ, len(s)+1)
	x.out = append(x.out, s...)
	x.zero(1)
	x.pad()
}

// open starts a nested attribute and shut ends it.
func (x *exchange) open(typ uint16) int {
	at := len(x.out)
	x.head(typ, 0)
	return at
}

func (x *exchange) shut(at int) { native.PutUint16(x.out[at:], uint16(len(x.out)-at)) }

// do sends the request.
func (x *exchange) do() error {
	native.PutUint32(x.out, uint32(len(x.out)))
	x.got, x.done, x.intr, x.fail = nil, false, false, nil
	if err := x.rc.Write(x.send); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if x.io != nil {
		return fmt.Errorf("ask: %w", x.io)
	}
	return nil
}

// next moves to the next message of the answer. After the last one it is false, and fail says how it ended.
func (x *exchange) next() bool {
	for !x.done {
		if len(x.got) == 0 && !x.more() {
			return false
		}
		m, ok := x.message()
		if !ok {
			return false
		}
		if m == nil {
			continue
		}
		x.body = m
		return true
	}
	return false
}

// more receives.
func (x *exchange) more() bool {
	if err := x.rc.Read(x.recv); err != nil {
		x.fail = fmt.Errorf("listen: %w", err)
	} else if x.io != nil {
		x.fail = fmt.Errorf("listen: %w", x.io)
	}
	if x.fail != nil {
		x.done = true
		return false
	}
	x.got = x.in[:x.n]
	return true
}

// message takes the next one from the buffer; nil for one that is not for the caller.
func (x *exchange) message() (body []byte, ok bool) {
	if len(x.got) < nlHeader {
		return nil, x.broken("a message", x.got)
	}
	n := int(native.Uint32(x.got))
	if n < nlHeader || n > len(x.got) {
		return nil, x.broken("a message", x.got)
	}
	m := x.got[:n]
	x.got = x.got[min(align(n), len(x.got)):]
	if native.Uint32(m[8:]) != x.seq { // a late answer to an older request
		return nil, true
	}
	flags := native.Uint16(m[6:])
	x.typ = native.Uint16(m[4:])
	x.intr = x.intr || flags&flagIntr != 0
	body = m[nlHeader:]
	switch x.typ {
	case unix.NLMSG_NOOP:
		return nil, true
	case unix.NLMSG_DONE:
		x.done = true
		// A dump that fails on its way ends with a number.
		if len(body) >= 4 {
			if e := int32(native.Uint32(body)); e < 0 {
				x.fail = unix.Errno(-e)
			}
		}
		return nil, true
	case unix.NLMSG_ERROR:
		x.done = true
		if len(body) < nlErrorAt {
			return nil, x.broken("an error", body)
		}
		if e := int32(native.Uint32(body)); e < 0 {
			x.fail = reason(unix.Errno(-e), body, flags)
		}
		return nil, true
	}
	if flags&flagMulti == 0 && !x.ack { // the only one
		x.done = true
	}
	return body, true
}

func (x *exchange) broken(what string, b []byte) bool {
	x.done, x.got, x.fail = true, nil, short(what, b)
	return false
}

// reason is the kernel's own text for an error, where it has one.
func reason(e unix.Errno, body []byte, flags uint16) error {
	at := nlErrorAt + nlHeader
	if flags&flagAckTLVs == 0 || len(body) < at {
		return e
	}
	if flags&flagCapped == 0 {
		at = align(nlErrorAt + int(min(native.Uint32(body[nlErrorAt:]), uint32(len(body)))))
	}
	if at > len(body) {
		return e
	}
	a := attrs{b: body[at:]}
	for a.next() {
		if a.typ == errAttrMsg && len(a.text()) > 0 {
			return fmt.Errorf("%w: the kernel says %q", e, a.text())
		}
	}
	return e
}

// finish walks what is left and returns how it ended.
func (x *exchange) finish() error {
	for x.next() {
	}
	return x.fail
}

// same compares without making a string.
func same(b []byte, s string) bool {
	return string(b) == s // the compiler makes none for a comparison
}
