package probe

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// family is the IP version of a socket. The pinger has one socket for each.
type family uint8

const (
	v4 family = iota
	v6
	families
)

// familyOf returns the socket family that reaches a.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return v4
	}
	return v6
}

// domain is the family's in calls of the kernel.
func (f family) domain() int {
	if f == v4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// String returns "IPv4" or "IPv6".
func (f family) String() string {
	if f == v4 {
		return "IPv4"
	}
	return "IPv6"
}

// ICMP message types: RFC 792 (8, 0, 13, 14) and RFC 4443 section 4 (128, 129). IPv6 has no timestamp messages.
const (
	typeEcho4           = 8
	typeEchoReply4      = 0
	typeTimestamp4      = 13
	typeTimestampReply4 = 14
	typeEcho6           = 128
	typeEchoReply6      = 129
)

const (
	headerLen = 8 // type, code, checksum, identifier, sequence number
	// nonceLen is the payload: random bytes that only the target of this very probe has seen.
	nonceLen = 16
	echoLen  = headerLen + nonceLen
	// secretLen is the originate stamp of a timestamp request, which has no payload: the target sends it back unchanged,
	// so it carries the beginning of the nonce instead of a time that we know anyway.
	secretLen    = 4
	stampsLen    = 3 * 4 // originate, receive, transmit
	timestampLen = headerLen + stampsLen
	nonStandard  = 0x80 // of the first byte of a stamp: not milliseconds since midnight UT (RFC 792)
	// packetMax is the read buffer: the longest IPv4 header (60 bytes) and an echo with room to spare. What is longer
	// is cut off by the kernel and, having the wrong length, taken for a forgery.
	packetMax = 256
)

// nonce is one probe's secret: a reply without it was not caused by the probe.
type nonce [nonceLen]byte

// buildEcho writes an echo request into b and returns its length. The IPv4 checksum is filled in; the kernel
// computes the one of ICMPv6, which covers the IP addresses too.
func buildEcho(b *[echoLen]byte, f family, id, seq uint16, n *nonce) []byte {
	b[0], b[1], b[2], b[3] = typeEcho4, 0, 0, 0
	if f == v6 {
		b[0] = typeEcho6
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[headerLen:], n[:])
	if f == v4 {
		binary.BigEndian.PutUint16(b[2:], checksum(b[:]))
	}
	return b[:]
}

// buildTimestamp writes an IPv4 timestamp request into b and returns it. The nonce is marked as no time of day.
func buildTimestamp(b *[echoLen]byte, id, seq uint16, n *nonce) []byte {
	n[0] |= nonStandard
	b[0], b[1], b[2], b[3] = typeTimestamp4, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[headerLen:], n[:secretLen])
	clear(b[headerLen+secretLen : timestampLen])
	binary.BigEndian.PutUint16(b[2:], checksum(b[:timestampLen]))
	return b[:timestampLen]
}

// checksum is the Internet checksum of RFC 1071. Over a message with a correct checksum field it is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// icmpReply is a parsed answer. The payload points into the packet.
type icmpReply struct {
	timestamps bool // it answers a timestamp request: the payload is its three stamps
	id, seq    uint16
	payload    []byte
}

// secret is what only the target of the probe can know.
func (r icmpReply) secret() []byte {
	if r.timestamps {
		return r.payload[:secretLen]
	}
	return r.payload
}

// stamps returns when the target says that the request came and the reply left. Only a timestamp reply has them.
func (r icmpReply) stamps() (receive, transmit uint32) {
	return binary.BigEndian.Uint32(r.payload[4:]), binary.BigEndian.Uint32(r.payload[8:])
}

// parseReply reads what a socket of the family delivered; raw IPv4 sockets deliver the IP header too. It returns
// false for everything that is not a well-formed echo reply or, in IPv4, timestamp reply.
func parseReply(b []byte, f family, raw bool) (icmpReply, bool) {
	if f == v4 && raw {
		var ok bool
		if b, ok = stripIPv4(b); !ok || checksum(b) != 0 {
			return icmpReply{}, false
		}
	}
	want := byte(typeEchoReply4)
	if f == v6 {
		want = typeEchoReply6
	}
	timestamps := f == v4 && len(b) == timestampLen && b[0] == typeTimestampReply4
	if len(b) < headerLen || b[0] != want && !timestamps || b[1] != 0 {
		return icmpReply{}, false
	}
	return icmpReply{
		timestamps: timestamps,
		id:         binary.BigEndian.Uint16(b[4:]),
		seq:        binary.BigEndian.Uint16(b[6:]),
		payload:    b[headerLen:],
	}, true
}

// stripIPv4 returns the ICMP message behind an IPv4 header (RFC 791).
func stripIPv4(b []byte) ([]byte, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_ICMP {
		return nil, false
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) {
		return nil, false
	}
	return b[header:total], true
}

// parseStamp finds the kernel's receive stamp in the control messages of one packet: nanoseconds of real time, or
// false. Both layouts of the stamp are read, the 64-bit one and that of 32-bit kernels before 5.1.
func parseStamp(oob []byte) (int64, bool) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0, false
		}
		if h.Level == unix.SOL_SOCKET && (h.Type == unix.SO_TIMESTAMPNS_NEW || h.Type == unix.SO_TIMESTAMPNS) {
			return stampNanos(data)
		}
		oob = rest
	}
	return 0, false
}

// stampNanos converts a struct timespec of 64-bit or 32-bit fields.
func stampNanos(b []byte) (int64, bool) {
	var sec, nsec int64
	switch {
	case len(b) >= 16:
		sec, nsec = int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
	case len(b) >= 8:
		sec, nsec = int64(int32(binary.NativeEndian.Uint32(b))), int64(int32(binary.NativeEndian.Uint32(b[4:])))
	default:
		return 0, false
	}
	const lastSecond = math.MaxInt64/int64(time.Second) - 1
	if sec <= 0 || sec > lastSecond || nsec < 0 || nsec >= int64(time.Second) {
		return 0, false
	}
	return sec*int64(time.Second) + nsec, true
}

// maxQueued bounds the time a reply may have waited between the kernel and our read: a longer one, like a negative
// one, means that the wall clock was set in between, so the figure is worthless.
const maxQueued = time.Second

// roundTrip returns the time from sent to the reply's arrival in the kernel, and how long the reply then waited to
// be read. Elapsed is monotonic; only the wait is taken from the wall clock, and 0 is taken when it cannot be true.
func roundTrip(elapsed time.Duration, readWall, stampWall int64, stamped bool) (rtt, queued time.Duration) {
	if !stamped {
		return elapsed, 0
	}
	queued = time.Duration(readWall - stampWall)
	if queued < 0 || queued > maxQueued || queued >= elapsed {
		return elapsed, 0
	}
	return elapsed - queued, queued
}

// sockaddrLen holds the longer of sockaddr_in and sockaddr_in6.
const sockaddrLen = unix.SizeofSockaddrInet6

// parseSockaddr returns the address in a socket address as the kernel wrote it, without its zone.
func parseSockaddr(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	switch fam := binary.NativeEndian.Uint16(b); {
	case fam == unix.AF_INET && len(b) >= 8:
		return netip.AddrFrom4([4]byte(b[4:8]))
	case fam == unix.AF_INET6 && len(b) >= 24:
		return netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	}
	return netip.Addr{}
}
