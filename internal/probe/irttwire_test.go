package probe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func keyed(t testing.TB, key string) *mac {
	t.Helper()
	m, err := newMAC(key)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestIRTTBytes: what irtt 0.9.1 puts on the wire is what we write and read. Its client asks by default for statistics, so
// that its packets have twelve bytes more than ours.
func TestIRTTBytes(t *testing.T) {
	three := irttParams{version: 1, duration: 3 * time.Second, interval: time.Second, stats: 3, stampAt: stampBoth, clock: clockBoth}
	two := three
	two.duration = 2 * time.Second
	for _, tt := range []struct {
		name, bytes string
		got         []byte
	}{
		{"open", "14a75b01 0102 0280f882ad16 0380a8d6b907 0506 0606 0706", keyed(t, "").openRequest(nil, three)},
		{"open with a key", "14a75b09 ff9016a7aa5378169ec3a2d554dc3036 0102 0280d0acf30e 0380a8d6b907 0506 0606 0706", keyed(t, "testkey").openRequest(nil, two)},
		{"close", "14a75b04 13527187abb69678", keyed(t, "").closeRequest(nil, 0x7896b6ab87715213)},
		{"close with a key", "14a75b0c f5cd0fa9de9d7d668d91a532480e42e0 59ca3f5debe98743", keyed(t, "testkey").closeRequest(nil, 0x4387e9eb5d3fca59)},
		{"the same key in hexadecimal", "14a75b0c f5cd0fa9de9d7d668d91a532480e42e0 59ca3f5debe98743", keyed(t, "0x746573746b6579").closeRequest(nil, 0x4387e9eb5d3fca59)},
		{"the shortest echo", "14a75b00 4e15615ca26f31a0 00000000", keyed(t, "").echoRequest(nil, 0xa0316fa25c61154e, 0, stampNone)},
	} {
		if want := unhex(t, tt.bytes); !bytes.Equal(tt.got, want) {
			t.Errorf("%s:\n%x, want\n%x", tt.name, tt.got, want)
		}
	}

	flags, body, v := keyed(t, "").parseIRTT(unhex(t, "14a75b03 13527187abb69678 0102 0280f882ad16 0380a8d6b907 0506 0606 0706"))
	token, p, ok := parseGrant(body)
	if v != accepted || flags != irttOpen|irttReply || !ok || token != 0x7896b6ab87715213 || p != three {
		t.Errorf("open reply: %v, flags %x, token %x, %+v", v, flags, token, p)
	}
	// With what is not ours (count and window) cut out.
	_, body, v = keyed(t, "").parseIRTT(unhex(t, "14a75b02 13527187abb69678 02000000 b81a330c866daa18 de26359500000000 804d330c866daa18 b257359500000000"))
	e, ok := parseEcho(body, stampBoth)
	want := irttEcho{token: 0x7896b6ab87715213, seq: 2, receive: 0x953526de, transmit: 0x953557b2, stamped: true}
	if d := cmp.Diff(want, e, cmp.AllowUnexported(irttEcho{})); v != accepted || !ok || d != "" {
		t.Errorf("echo reply: %v\n%s", v, d)
	}
	_, body, v = keyed(t, "").parseIRTT(unhex(t, "14a75b02 91a41e7af014f662 00000000 f70e2c93a26daa18 5a5f144703000000"))
	if e, ok := parseEcho(body, stampMidpoint); v != accepted || !ok || e.receive != 0x347145f5a || e.transmit != e.receive {
		t.Errorf("a single stamp: %v, %+v", v, e)
	}
}

// TestIRTTEnvelope: what no server of ours sends is none of its packets.
func TestIRTTEnvelope(t *testing.T) {
	good := append([]byte(irttMagic), irttReply, 1, 2, 3)
	m := keyed(t, "key")
	sealed := m.seal(append(m.start(nil, irttReply), 1, 2, 3))
	for _, tt := range []struct {
		name string
		key  string
		b    []byte
		want verdict
	}{
		{"good", "", good, accepted},
		{"good with a key", "key", sealed, accepted},
		{"another key", "cay", sealed, forged},
		{"a key and no HMAC", "key", good, forged},
		{"an HMAC and no key", "", sealed, forged},
		{"an HMAC cut short", "key", sealed[:12], forged},
		{"a bit turned", "key", append(sealed[:len(sealed)-1:len(sealed)-1], 4), forged},
		{"longer than it was", "key", append(sealed[:len(sealed):len(sealed)], 0), forged},
		{"empty", "", nil, stray},
		{"short", "", good[:3], stray},
		{"another magic", "", append([]byte("\x14\xa7\x5c"), good[3:]...), stray},
		{"no reply", "", append([]byte(irttMagic), irttOpen, 0), stray},
		{"an unknown flag", "", append([]byte(irttMagic), irttReply|0x10), stray},
	} {
		_, body, v := keyed(t, tt.key).parseIRTT(bytes.Clone(tt.b))
		if v != tt.want || v == accepted && !bytes.Equal(body, []byte{1, 2, 3}) {
			t.Errorf("%s: %v, want %v, body %x", tt.name, v, tt.want, body)
		}
	}
	for _, key := range []string{"0x", "0xz", "0x123"} {
		if _, err := newMAC(key); err == nil || strings.Contains(err.Error(), key[2:]) && len(key) > 2 {
			t.Errorf("the key %q: %v", key, err)
		}
	}
}

func TestIRTTParams(t *testing.T) {
	u, v := binary.AppendUvarint, binary.AppendVarint
	long := make([]byte, 0, 256)
	for range mostTags + 1 {
		long = v(u(long, 99), 1)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want irttParams
		bad  bool
	}{
		{"none", nil, irttParams{}, false},
		{"all of ours", irttAsked.append(nil), irttAsked, false},
		{"one that is not ours", v(u(v(u(nil, 77), -5), tagVersion), 1), irttParams{version: 1}, false},
		{"a fill", append(u(u(nil, tagFill), 4), "randD"...)[:6], irttParams{}, false},
		{"the last of two counts", v(u(v(u(nil, tagLength), 7), tagLength), 9), irttParams{length: 9}, false},
		{"a fill that is too long", append(u(u(nil, tagFill), mostFill+1), make([]byte, mostFill+1)...), irttParams{}, true},
		{"a fill that is cut short", append(u(u(nil, tagFill), 4), "abc"...), irttParams{}, true},
		{"a fill without a length", u(nil, tagFill), irttParams{}, true},
		{"a tag without a value", u(nil, tagClock), irttParams{}, true},
		{"half a tag", []byte{0x80}, irttParams{}, true},
		{"a value beyond 64 bits", append(u(nil, tagClock), bytes.Repeat([]byte{0xff}, 11)...), irttParams{}, true},
		{"too many", long, irttParams{}, true},
	} {
		p, ok := parseParams(tt.b)
		if ok == tt.bad || ok && p != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, p, ok)
		}
	}
}

// TestIRTTGrants: a server may grant less than was asked and nothing else.
func TestIRTTGrants(t *testing.T) {
	for _, tt := range []struct {
		name  string
		grant func(p *irttParams)
		err   string
	}{
		{"as asked", func(*irttParams) {}, ""},
		{"a shorter session", func(p *irttParams) { p.duration = time.Minute }, ""},
		{"a slower pace", func(p *irttParams) { p.interval = time.Second }, ""},
		{"a single stamp", func(p *irttParams) { p.stampAt = stampMidpoint }, ""},
		{"no stamps", func(p *irttParams) { p.stampAt, p.clock = stampNone, 0 }, ""},
		{"another version", func(p *irttParams) { p.version = 2 }, "version 2"},
		{"a longer session", func(p *irttParams) { p.duration++ }, "a session of 24h0m0.000000001s"},
		{"a negative session", func(p *irttParams) { p.duration = -1 }, "a session of"},
		{"far too slow", func(p *irttParams) { p.interval = longestInterval + 1 }, "a probe every"},
		{"backwards", func(p *irttParams) { p.interval = -1 }, "a probe every"},
		{"longer packets", func(p *irttParams) { p.length = 1 }, "packets of 1 bytes"},
		{"statistics", func(p *irttParams) { p.stats = 3 }, "statistics 3"},
		{"an unknown stamp", func(p *irttParams) { p.stampAt = 5 }, "stamps 5"},
		{"another clock", func(p *irttParams) { p.clock = 1 }, "clocks 1"},
	} {
		p := irttAsked
		tt.grant(&p)
		if err := p.within(irttAsked); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// FuzzIRTT: no packet makes a reply that was not sealed, or that holds more than it may.
func FuzzIRTT(f *testing.F) {
	m, _ := newMAC("key")
	f.Add([]byte{}, true)
	f.Add(m.seal(append(m.start(nil, irttReply), make([]byte, 44)...)), true)
	f.Add(irttAsked.append(append([]byte(irttMagic), irttReply|irttOpen, 1, 2, 3, 4, 5, 6, 7, 8)), false)
	f.Add(append([]byte(irttMagic), append([]byte{irttReply}, make([]byte, 44)...)...), false)
	f.Fuzz(func(t *testing.T, b []byte, key bool) {
		var m *mac
		if key {
			m, _ = newMAC("key")
		}
		was := bytes.Clone(b)
		flags, body, v := m.parseIRTT(b)
		if v != accepted {
			return
		}
		if flags&irttReply == 0 || flags&^irttFlags != 0 || !bytes.HasPrefix(was, []byte(irttMagic)) {
			t.Fatalf("flags %x of %x", flags, was)
		}
		if key && !bytes.Equal(m.seal(append(m.start(nil, flags), body...)), was) {
			t.Fatalf("%x passed for sealed", was)
		}
		if _, p, ok := parseGrant(body); ok && p.within(irttAsked) == nil && (p.duration > irttSession || p.interval > longestInterval) {
			t.Fatalf("granted %+v", p)
		}
		for stampAt := range int64(stampMidpoint + 1) {
			e, ok := parseEcho(body, stampAt)
			if ok && len(body) != 12+stampsLenOf(stampAt) || e.stamped && (e.receive < 0 || e.transmit < 0 || e.transmit-e.receive == e.receive-e.transmit && e.transmit != e.receive) {
				t.Fatalf("%+v of %x", e, body)
			}
		}
	})
}
