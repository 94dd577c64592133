package probe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var testNonce = nonce{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func TestBuildEcho(t *testing.T) {
	for _, tt := range []struct {
		f    family
		want string
	}{
		{v4, "0800" + "838b" + "1234" + "2a00" + "000102030405060708090a0b0c0d0e0f"},
		{v6, "8000" + "0000" + "1234" + "2a00" + "000102030405060708090a0b0c0d0e0f"},
	} {
		var b [echoLen]byte
		for i := range b {
			b[i] = 0xff // what an earlier echo left behind
		}
		got := hex.EncodeToString(buildEcho(&b, tt.f, 0x1234, 0x2a00, &testNonce))
		if got != tt.want {
			t.Errorf("%s echo\n got %s\nwant %s", tt.f, got, tt.want)
		}
	}
}

func TestBuildTimestamp(t *testing.T) {
	var b [echoLen]byte
	for i := range b {
		b[i] = 0xff
	}
	n := testNonce
	got := hex.EncodeToString(buildTimestamp(&b, 0x1234, 0x2a00, &n))
	if want := "0d00" + "34c7" + "1234" + "2a00" + "80010203" + "00000000" + "00000000"; got != want {
		t.Errorf("timestamp request\n got %s\nwant %s", got, want)
	}
	if n[0] != 0x80 {
		t.Error("the secret is not the one that was sent")
	}
}

func TestChecksum(t *testing.T) {
	for _, tt := range []struct {
		in   []byte
		want uint16
	}{
		{nil, 0xffff},
		// The example of RFC 1071 section 3: the sum is ddf2.
		{[]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{[]byte{0xff}, 0x00ff},
		{bytes.Repeat([]byte{0xff}, 1000), 0},
	} {
		if got := checksum(tt.in); got != tt.want {
			t.Errorf("checksum(%x) = %04x, want %04x", tt.in, got, tt.want)
		}
	}
}

// stampReply builds a timestamp reply to a probe with the test's nonce as a socket delivers it.
func stampReply(raw bool, id, seq uint16, receive, transmit uint32) []byte {
	payload := append([]byte(nil), testNonce[:secretLen]...)
	payload[0] |= nonStandard
	payload = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(payload, receive), transmit)
	b := reply(v4, raw, id, seq, payload)
	m := b[len(b)-timestampLen:]
	m[0], m[2], m[3] = typeTimestampReply4, 0, 0
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return b
}

// reply builds an echo reply as a socket delivers it.
func reply(f family, raw bool, id, seq uint16, payload []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(payload))
	b[0] = typeEchoReply4
	if f == v6 {
		b[0] = typeEchoReply6
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	b = append(b, payload...)
	if f == v4 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		if raw {
			h := make([]byte, 24) // with 4 bytes of options
			h[0], h[9] = 0x46, unix.IPPROTO_ICMP
			binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(b)))
			b = append(h, b...)
		}
	}
	return b
}

func TestParseReply(t *testing.T) {
	good4 := reply(v4, true, 7, 9, testNonce[:])
	edit := func(b []byte, f func([]byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		f    family
		raw  bool
		ok   bool
	}{
		{"raw v4", good4, v4, true, true},
		{"raw v4, padded by the link", append(bytes.Clone(good4), 0, 0, 0), v4, true, true},
		{"datagram v4", reply(v4, false, 7, 9, testNonce[:]), v4, false, true},
		{"v6", reply(v6, true, 7, 9, testNonce[:]), v6, true, true},
		{"datagram v6", reply(v6, false, 7, 9, testNonce[:]), v6, false, true},
		{"empty", nil, v4, true, false},
		{"empty v6", nil, v6, true, false},
		{"short header", good4[:19], v4, true, false},
		{"cut off", good4[:40], v4, true, false},
		{"bad checksum", edit(good4, func(b []byte) { b[40]++ }), v4, true, false},
		{"IP version 6", edit(good4, func(b []byte) { b[0] = 0x66 }), v4, true, false},
		{"header length 16", edit(good4, func(b []byte) { b[0] = 0x44 }), v4, true, false},
		{"total length below the header", edit(good4, func(b []byte) { b[3] = 23 }), v4, true, false},
		{"UDP", edit(good4, func(b []byte) { b[9] = 17 }), v4, true, false},
		{"echo request", edit(reply(v4, false, 7, 9, testNonce[:]), func(b []byte) { b[0] = typeEcho4 }), v4, false, false},
		{"code 1", edit(reply(v4, false, 7, 9, testNonce[:]), func(b []byte) { b[1] = 1 }), v4, false, false},
		{"v4 reply on v6", reply(v4, false, 7, 9, testNonce[:]), v6, false, false},
	} {
		r, ok := parseReply(tt.b, tt.f, tt.raw)
		if ok != tt.ok {
			t.Errorf("%s: parsed %v, want %v", tt.name, ok, tt.ok)
		}
		if ok && (r.id != 7 || r.seq != 9 || !bytes.Equal(r.payload, testNonce[:])) {
			t.Errorf("%s: got %+v", tt.name, r)
		}
	}
}

func TestParseTimestamp(t *testing.T) {
	r, ok := parseReply(stampReply(true, 7, 9, 86_399_999, 1), v4, true)
	if !ok || !r.timestamps || r.id != 7 || r.seq != 9 || !bytes.Equal(r.secret(), []byte{0x80, 1, 2, 3}) {
		t.Errorf("got %+v, %v", r, ok)
	}
	if receive, transmit := r.stamps(); receive != 86_399_999 || transmit != 1 {
		t.Errorf("got stamps %d and %d", receive, transmit)
	}
	good := stampReply(false, 7, 9, 1, 2)
	for name, b := range map[string][]byte{
		"cut off":  good[:timestampLen-1],
		"too long": append(bytes.Clone(good), 0),
		"request":  append([]byte{typeTimestamp4}, good[1:]...),
		"code 1":   append([]byte{typeTimestampReply4, 1}, good[2:]...),
	} {
		if r, ok := parseReply(b, v4, false); ok {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
	if r, ok := parseReply(good, v6, false); ok {
		t.Errorf("accepted in IPv6 as %+v", r)
	}
}

// FuzzTimestampRoundTrip: what a target makes of our request, by filling in its stamps, is understood.
func FuzzTimestampRoundTrip(f *testing.F) {
	f.Add(uint16(1), uint16(2), testNonce[:], uint32(3), uint32(4))
	f.Fuzz(func(t *testing.T, id, seq uint16, secret []byte, receive, transmit uint32) {
		var n nonce
		copy(n[:], secret)
		var b [echoLen]byte
		msg := buildTimestamp(&b, id, seq, &n)
		if len(msg) != timestampLen || checksum(msg) != 0 {
			t.Fatalf("request %x is malformed", msg)
		}
		msg[0] = typeTimestampReply4
		binary.BigEndian.PutUint32(msg[12:], receive)
		binary.BigEndian.PutUint32(msg[16:], transmit)
		r, ok := parseReply(msg, v4, false)
		if !ok || !r.timestamps || r.id != id || r.seq != seq || !bytes.Equal(r.secret(), n[:secretLen]) {
			t.Fatalf("request %x came back as %+v, %v", msg, r, ok)
		}
		if a, b := r.stamps(); a != receive || b != transmit {
			t.Fatalf("stamps %d, %d came back as %d, %d", receive, transmit, a, b)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add(stampReply(true, 1, 2, 3, 4), false, true)
	f.Add(stampReply(false, 1, 2, 3, 4), false, false)
	for _, fam := range []family{v4, v6} {
		for _, raw := range []bool{false, true} {
			f.Add(reply(fam, raw, 1, 2, testNonce[:]), fam == v6, raw)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, six, raw bool) {
		fam := v4
		if six {
			fam = v6
		}
		r, ok := parseReply(b, fam, raw)
		if !ok {
			return
		}
		// What was accepted must stand verbatim behind the IP header, if any, with a header of the right type.
		at := 0
		if fam == v4 && raw {
			at = int(b[0]&0xf) * 4
		}
		want := reply(fam, false, r.id, r.seq, r.payload)
		if r.timestamps {
			want[0] = typeTimestampReply4
			r.stamps() // must not panic
			if len(r.secret()) != secretLen || fam == v6 {
				t.Fatalf("accepted %x as %+v", b, r)
			}
		}
		if at+len(want) > len(b) || !bytes.Equal(b[at:at+2], want[:2]) || !bytes.Equal(b[at+4:at+len(want)], want[4:]) {
			t.Fatalf("accepted %x as %+v", b, r)
		}
	})
}

func FuzzEchoRoundTrip(f *testing.F) {
	f.Add(uint16(1), uint16(2), testNonce[:], true)
	f.Fuzz(func(t *testing.T, id, seq uint16, secret []byte, six bool) {
		fam, want := v4, byte(typeEchoReply4)
		if six {
			fam, want = v6, typeEchoReply6
		}
		var n nonce
		copy(n[:], secret)
		var b [echoLen]byte
		msg := buildEcho(&b, fam, id, seq, &n)
		if fam == v4 && checksum(msg) != 0 {
			t.Fatalf("echo %x has a wrong checksum", msg)
		}
		msg[0] = want // all that a reflector changes besides the checksum
		r, ok := parseReply(msg, fam, false)
		if !ok || r.id != id || r.seq != seq || !bytes.Equal(r.payload, n[:]) {
			t.Fatalf("echo %x came back as %+v, %v", msg, r, ok)
		}
	})
}

// cmsg builds a control message.
func cmsg(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	n := unix.CmsgLen(0)
	if n == 16 {
		binary.NativeEndian.PutUint64(b, uint64(n+len(data)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(n+len(data)))
	}
	binary.NativeEndian.PutUint32(b[n-8:], uint32(level))
	binary.NativeEndian.PutUint32(b[n-4:], uint32(kind))
	copy(b[n:], data)
	return b
}

func timespec64(sec, nsec int64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, uint64(sec)), uint64(nsec))
}

func timespec32(sec, nsec int32) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, uint32(sec)), uint32(nsec))
}

func TestParseStamp(t *testing.T) {
	other := cmsg(unix.SOL_SOCKET, unix.SCM_RIGHTS, []byte{1, 2, 3, 4})
	for _, tt := range []struct {
		name string
		oob  []byte
		want int64
		ok   bool
	}{
		{"none", nil, 0, false},
		{"other only", other, 0, false},
		{"new", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1700000000, 5)), 1700000000_000000005, true},
		{"old", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec64(1700000000, 5)), 1700000000_000000005, true},
		{"old, 32 bit", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec32(1700000000, 5)), 1700000000_000000005, true},
		{"behind another", append(bytes.Clone(other), cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1, 2))...), 1_000000002, true},
		{"another level", cmsg(unix.SOL_IP, unix.SO_TIMESTAMPNS_NEW, timespec64(1, 2)), 0, false},
		{"too short", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, []byte{1, 2, 3}), 0, false},
		{"cut off", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1, 2))[:20], 0, false},
		{"never", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(0, 2)), 0, false},
		{"far future", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(math.MaxInt64, 2)), 0, false},
		{"impossible nanoseconds", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1, 1e9)), 0, false},
		{"negative nanoseconds", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1, -1)), 0, false},
	} {
		got, ok := parseStamp(tt.oob)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %d, %v; want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	f.Add(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, timespec64(1700000000, 5)))
	f.Fuzz(func(t *testing.T, oob []byte) {
		if n, ok := parseStamp(oob); ok != (n > 0) {
			t.Fatalf("stamp %d, %v", n, ok)
		}
	})
}

func TestRoundTrip(t *testing.T) {
	const wall = int64(1700000000e9)
	for _, tt := range []struct {
		name        string
		elapsed     time.Duration
		stampAgo    time.Duration
		stamped     bool
		rtt, queued time.Duration
	}{
		{"no stamp", 30 * time.Millisecond, 5 * time.Millisecond, false, 30 * time.Millisecond, 0},
		{"waited 5 ms", 30 * time.Millisecond, 5 * time.Millisecond, true, 25 * time.Millisecond, 5 * time.Millisecond},
		{"not waited", 30 * time.Millisecond, 0, true, 30 * time.Millisecond, 0},
		{"clock set back", 30 * time.Millisecond, -time.Nanosecond, true, 30 * time.Millisecond, 0},
		{"waited exactly a second", 3 * time.Second, time.Second, true, 2 * time.Second, time.Second},
		{"clock set forward", 3 * time.Second, time.Second + 1, true, 3 * time.Second, 0},
		{"clock set forward a little", 30 * time.Millisecond, 30 * time.Millisecond, true, 30 * time.Millisecond, 0},
	} {
		rtt, queued := roundTrip(tt.elapsed, wall, wall-int64(tt.stampAgo), tt.stamped)
		if rtt != tt.rtt || queued != tt.queued {
			t.Errorf("%s: got %v, %v; want %v, %v", tt.name, rtt, queued, tt.rtt, tt.queued)
		}
	}
}

func TestParseSockaddr(t *testing.T) {
	inet := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(inet, unix.AF_INET)
	copy(inet[4:], []byte{192, 0, 2, 1})
	inet6 := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(inet6, unix.AF_INET6)
	a := netip.MustParseAddr("2001:db8::1").As16()
	copy(inet6[8:], a[:])
	for _, tt := range []struct {
		b    []byte
		want string
	}{
		{inet, "192.0.2.1"},
		{inet6, "2001:db8::1"},
		{inet[:7], "invalid IP"},
		{inet6[:23], "invalid IP"},
		{inet[:1], "invalid IP"},
		{[]byte{1, 0, 0, 0, 0, 0, 0, 0}, "invalid IP"},
	} {
		if got := parseSockaddr(tt.b).String(); got != tt.want {
			t.Errorf("parseSockaddr(%x) = %s, want %s", tt.b, got, tt.want)
		}
	}
}

func TestFilterProgram(t *testing.T) {
	for _, f := range []family{v4, v6} {
		vm, err := bpf.NewVM(filterProgram(f, 7))
		if err != nil {
			t.Fatal(err)
		}
		request := reply(f, true, 7, 1, testNonce[:])
		request[len(request)-echoLen] = typeEcho4
		if f == v6 {
			request[0] = typeEcho6
		}
		for _, tt := range []struct {
			name string
			b    []byte
			pass bool
		}{
			{"our reply", reply(f, true, 7, 1, testNonce[:]), true},
			{"another's reply", reply(f, true, 8, 1, testNonce[:]), false},
			{"request", request, false},
			{"our timestamps", stampReply(f == v4, 7, 1, 2, 3), f == v4},
			{"another's timestamps", stampReply(f == v4, 8, 1, 2, 3), false},
			{"runt", []byte{0x45}, false},
		} {
			n, err := vm.Run(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 != tt.pass || tt.pass && n < len(tt.b) {
				t.Errorf("%s filter keeps %d bytes of %s", f, n, tt.name)
			}
		}
	}
}

func TestSockaddrZone(t *testing.T) {
	lo := uint32(interfaceIndex("lo"))
	for _, tt := range []struct {
		a, device string
		want      uint32
	}{
		{"2001:db8::1", "lo", 0},
		{"fe80::1", "", 0},
		{"fe80::1", "lo", lo},
		{"fe80::1%lo", "", lo},
		{"fe80::1%7", "lo", 7},
		{"fe80::1%nothere", "", 0},
	} {
		s := sockaddr(netip.MustParseAddr(tt.a), tt.device, 0).(*unix.SockaddrInet6)
		if s.ZoneId != tt.want {
			t.Errorf("%s on %q: zone %d, want %d", tt.a, tt.device, s.ZoneId, tt.want)
		}
	}
}
