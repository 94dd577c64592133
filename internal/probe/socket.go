package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socketKind is how ICMP is reached.
type socketKind uint8

const (
	// anyKind tries datagram, then raw.
	anyKind socketKind = iota
	// datagram sockets need no capability; the kernel chooses the echo identifier and delivers only its replies.
	datagram
	// rawKind sockets need CAP_NET_RAW and see every ICMP message of the host; a filter leaves our replies.
	rawKind
	// udpKind sockets are no ICMP: they carry an IRTT server's session.
	udpKind
)

// String returns "datagram" or "raw".
func (k socketKind) String() string {
	switch k {
	case anyKind:
		return "any"
	case datagram:
		return "datagram"
	case rawKind:
		return "raw"
	case udpKind:
		return "UDP"
	}
	return fmt.Sprintf("socketKind(%d)", uint8(k))
}

const permissionHint = `allow unprivileged echo with "sysctl -w net.ipv4.ping_group_range='0 2147483647'" (it covers IPv6 too) ` +
	`or give the program CAP_NET_RAW`

// binding ties a socket to a line.
type binding struct {
	source netip.Addr
	device string
	mark   uint32
}

// conn is one socket for probes. One goroutine may send and one receive at a time.
type conn struct {
	fam     family
	kind    socketKind
	id      uint16 // echo identifier; datagram sockets: unused, the kernel puts its own
	ifindex int    // of the binding's device when the socket was opened, 0 without one
	broken  atomic.Bool
	closed  atomic.Bool

	file *os.File
	raw  syscall.RawConn

	// Sending.
	writeFn func(uintptr) bool
	outTo   unix.Sockaddr
	out     []byte
	outErr  error

	// Receiving.
	readFn func(uintptr) bool
	msg    unix.Msghdr
	iov    unix.Iovec
	name   [sockaddrLen]byte
	in     [packetMax]byte
	oob    [128]byte
	inN    int
	inErr  unix.Errno
}

// openConn opens an ICMP socket of the family, tied to the line. Errors are of type [*Error].
func openConn(b binding, f family, kind socketKind, id uint16) (*conn, error) {
	open := icmpSocket
	if kind == udpKind {
		open = datagramSocket
	}
	fd, kind, err := open(f, kind)
	if err != nil {
		return nil, err
	}
	c := &conn{fam: f, kind: kind, id: id}
	if err := c.prepare(fd, b); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	c.file = os.NewFile(uintptr(fd), "icmp")
	if c.raw, err = c.file.SyscallConn(); err != nil {
		_ = c.file.Close()
		return nil, &Error{Kind: KindSocket, Op: "open ICMP socket", Thing: f.String(), Err: err}
	}
	c.iov.Base, c.msg.Name, c.msg.Control = &c.in[0], &c.name[0], &c.oob[0]
	c.iov.SetLen(len(c.in))
	c.msg.Iov = &c.iov
	c.msg.SetIovlen(1)
	c.readFn, c.writeFn = c.read, c.write
	return c, nil
}

// icmpSocket opens a datagram ICMP socket where allowed, else a raw one.
func icmpSocket(f family, kind socketKind) (int, socketKind, error) {
	domain, proto := f.domain(), unix.IPPROTO_ICMP
	if f == v6 {
		proto = unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	var fd int
	err := error(unix.EACCES)
	if kind != rawKind {
		if fd, err = unix.Socket(domain, unix.SOCK_DGRAM|flags, proto); err == nil {
			return fd, datagram, nil
		}
	}
	if kind != datagram {
		if fd, err = unix.Socket(domain, unix.SOCK_RAW|flags, proto); err == nil {
			return fd, rawKind, nil
		}
	}
	e := &Error{Kind: KindSocket, Op: "open ICMP socket", Thing: f.String(), Err: err}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind, e.Hint = KindPermission, permissionHint
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		e.Kind, e.Hint = KindFamily, "the kernel has no "+f.String()+"; remove such targets"
	}
	return -1, kind, e
}

// datagramSocket opens a UDP socket.
func datagramSocket(f family, kind socketKind) (int, socketKind, error) {
	fd, err := unix.Socket(f.domain(), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, kind, &Error{Kind: KindFamily, Op: "open socket", Thing: f.String(), Err: err}
	}
	return fd, kind, nil
}

// prepare sets what must be set before the first packet.
func (c *conn) prepare(fd int, b binding) error {
	if c.kind == rawKind {
		if err := attachFilter(fd, c.fam, c.id); err != nil {
			return &Error{Kind: KindSocket, Op: "filter ICMP socket", Thing: c.fam.String(), Err: err}
		}
	}
	// The stamp with 64-bit fields exists from Linux 5.1 on. Without any stamp a round trip includes our own wait.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if b.device != "" {
		c.ifindex = interfaceIndex(b.device)
	}
	return b.apply(fd, c.fam)
}

// apply ties a socket of the family to the line.
func (b binding) apply(fd int, f family) error {
	if b.device != "" {
		if err := unix.BindToDevice(fd, b.device); err != nil {
			e := &Error{Kind: KindInterface, Op: "bind to interface", Thing: b.device, Err: err}
			switch {
			case errors.Is(err, unix.ENODEV):
				e.Hint = `there is no such interface; "ip link" lists them`
			case errors.Is(err, unix.EPERM):
				e.Kind, e.Hint = KindPermission, "binding to an interface needs CAP_NET_RAW on this kernel"
			}
			return e
		}
	}
	if b.mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(b.mark)); err != nil {
			return &Error{
				Kind: KindMark, Op: "set firewall mark", Thing: fmt.Sprintf("%#x", b.mark), Err: err,
				Hint: "marks need CAP_NET_ADMIN; give it to the program or use a source address or an interface instead",
			}
		}
	}
	if !b.source.IsValid() || familyOf(b.source) != f {
		return nil
	}
	if err := unix.Bind(fd, sockaddr(b.source, b.device, 0)); err != nil {
		e := &Error{Kind: KindSource, Op: "bind to source address", Thing: b.source.String(), Err: err}
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			e.Hint = `no interface of this host has that address; "ip address" lists them`
		}
		return e
	}
	return nil
}

// allows says whether a target of the family can be probed through the binding: a source address of the other family
// ties nothing, so without an interface or a mark the echo could leave through any line.
func (b binding) allows(f family) bool {
	return !b.source.IsValid() || familyOf(b.source) == f || b.device != "" || b.mark != 0
}

// bound says whether anything ties probes to a line.
func (b binding) bound() bool { return b.source.IsValid() || b.device != "" || b.mark != 0 }

// interfaceIndex returns the index of an interface, 0 when it does not exist.
func interfaceIndex(name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

// sockaddr converts an address. A link-local one without a zone is taken to be on device.
func sockaddr(a netip.Addr, device string, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	s := &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	zone := a.Zone()
	if zone == "" && a.IsLinkLocalUnicast() {
		zone = device
	}
	if zone != "" {
		if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			s.ZoneId = uint32(n)
		} else {
			s.ZoneId = uint32(interfaceIndex(zone))
		}
	}
	return s
}

// attachFilter lets a raw socket see only replies with the identifier.
func attachFilter(fd int, f family, id uint16) error {
	prog, err := bpf.Assemble(filterProgram(f, id))
	if err != nil {
		return fmt.Errorf("assemble: %w", err)
	}
	ins := make([]unix.SockFilter, len(prog))
	for i, r := range prog {
		ins[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(ins)), Filter: &ins[0]})
}

// filterProgram accepts echo replies, and in IPv4 timestamp replies, with the identifier. A raw IPv4 socket's filter
// sees the IP header, a raw IPv6 socket's does not.
func filterProgram(f family, id uint16) []bpf.Instruction {
	kind, other, at := uint32(typeEchoReply6), uint32(typeEchoReply6), bpf.Instruction(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	if f == v4 {
		kind, other, at = typeEchoReply4, typeTimestampReply4, bpf.LoadMemShift{Off: 0} // X = length of the IP header
	}
	return []bpf.Instruction{
		at,
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: other, SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(id), SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

// connect lets only packets from one address in, and the errors that its host answers with.
func (c *conn) connect(to unix.Sockaddr) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = unix.Connect(int(fd), to) }); cerr != nil {
		return c.ended(cerr)
	}
	return err
}

// send hands one message to the kernel without waiting.
func (c *conn) send(b []byte, to unix.Sockaddr) error {
	c.out, c.outTo, c.outErr = b, to, nil
	if err := c.raw.Write(c.writeFn); err != nil {
		return c.ended(err)
	}
	return c.outErr
}

// write is the body of send. A full socket buffer is an error like others: a probe that waits measures nothing.
func (c *conn) write(fd uintptr) bool {
	for {
		if c.outErr = unix.Sendto(int(fd), c.out, unix.MSG_DONTWAIT, c.outTo); !errors.Is(c.outErr, unix.EINTR) {
			return true
		}
	}
}

// recv waits for one message. The slices are valid until the next call.
func (c *conn) recv() (packet, oob []byte, from netip.Addr, err error) {
	if err := c.raw.Read(c.readFn); err != nil {
		return nil, nil, netip.Addr{}, c.ended(err)
	}
	if c.inErr != 0 {
		return nil, nil, netip.Addr{}, c.inErr
	}
	return c.in[:c.inN], c.oob[:c.msg.Controllen], parseSockaddr(c.name[:min(int(c.msg.Namelen), len(c.name))]), nil
}

// read is the body of recv: recvmsg by hand, because every wrapper in the standard library and x/sys allocates the
// sender's address anew for each packet.
func (c *conn) read(fd uintptr) bool {
	for {
		c.msg.Namelen = sockaddrLen
		c.msg.SetControllen(len(c.oob))
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.msg)), unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			return false
		}
		c.inN, c.inErr = int(n), errno
		return true
	}
}

// ended returns os.ErrClosed when the socket was closed, which the raw connection itself reports as an error without a
// public name, else err.
func (c *conn) ended(err error) error {
	if c.closed.Load() {
		return os.ErrClosed
	}
	return err
}

// close ends a recv in progress.
func (c *conn) close() error {
	c.closed.Store(true)
	return c.file.Close()
}
