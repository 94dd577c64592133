package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call costs a user-mode kernel some 50 µs of the host's time, and each wake-up of the Go scheduler half a dozen of
// them, most to read the clock. So what comes thousands of times is not waited for: its sockets are outside of the
// runtime's poller, the kernel stamps and keeps what arrives, and it is fetched in batches.

// batchLen is how many packets one call moves.
const batchLen = 64

// packets is a socket outside of the poller with room for a batch.
type packets struct {
	fd   int
	msgs [batchLen]mmsghdr
	iov  [batchLen]unix.Iovec
	data [batchLen][96]byte
	ctrl [batchLen][64]byte
	from [batchLen]unix.RawSockaddrInet4
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// rcvbuf is room for some seconds of packets.
const rcvbuf = 16 << 20

// openPackets makes a datagram or raw socket in a namespace, bound to an address.
func openPackets(ns string, kind, proto int, at netip.AddrPort) (*packets, error) {
	p := &packets{}
	err := within(ns, func() (err error) {
		p.fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, proto)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket in %s: %w", ns, err)
	}
	err = errors.Join(
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf),
		unix.Bind(p.fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}))
	if err != nil {
		unix.Close(p.fd)
		return nil, fmt.Errorf("socket at %v in %s: %w", at, ns, err)
	}
	for i := range p.msgs {
		p.iov[i].Base = &p.data[i][0]
		h := &p.msgs[i].hdr
		h.Iov, h.Iovlen = &p.iov[i], 1
		h.Name = (*byte)(unsafe.Pointer(&p.from[i]))
	}
	return p, nil
}

// drain hands on every packet that is there, with the kernel's stamp of its arrival.
func (p *packets) drain(got func(data []byte, at int64)) error {
	for {
		for i := range p.msgs {
			h := &p.msgs[i].hdr
			p.iov[i].SetLen(len(p.data[i]))
			h.Control = &p.ctrl[i][0]
			h.SetControllen(len(p.ctrl[i]))
			h.Namelen = unix.SizeofSockaddrInet4
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.msgs[0])), batchLen, unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errors.Is(errno, unix.EAGAIN):
			return nil
		case errors.Is(errno, unix.EINTR):
			continue
		case errno != 0:
			return fmt.Errorf("receive: %w", errno)
		}
		for i := range int(n) {
			if at, ok := stamp(p.ctrl[i][:p.msgs[i].hdr.Controllen]); ok {
				got(p.data[i][:min(int(p.msgs[i].n), len(p.data[i]))], at)
			}
		}
		if n < batchLen {
			return nil
		}
	}
}

// stamp is the kernel's receive time in the control messages, in ns of the wall clock.
func stamp(oob []byte) (int64, bool) {
	for len(oob) >= unix.SizeofCmsghdr+16 {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS {
			b := oob[unix.SizeofCmsghdr:]
			return int64(binary.NativeEndian.Uint64(b))*int64(time.Second) + int64(binary.NativeEndian.Uint64(b[8:])), true
		}
		step := (int(h.Len) + 7) &^ 7
		if step <= 0 || step > len(oob) {
			break
		}
		oob = oob[step:]
	}
	return 0, false
}

// monotonic is the clock that [sleepUntil] waits by.
func monotonic() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

// sleepUntil waits in one call: a timer of the runtime's takes two wake-ups of the poller, as it waits in whole
// milliseconds, and each of them reads the clock many times and wakes the monitor. The runtime is not told that this
// thread waits, so it needs a processor of its own: see [Play].
func sleepUntil(at int64) {
	const absolute = 1 // TIMER_ABSTIME
	ts := unix.NsecToTimespec(at)
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, absolute, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if !errors.Is(errno, unix.EINTR) {
			return
		}
	}
}

// wallClock is the time of the stamps.
func wallClock() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

// addr4 is an address and port for a call.
func addr4(ap netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}

func (p *packets) close() { unix.Close(p.fd) }
