package probe

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"
)

// The packets of IRTT, protocol version 1, as irtt 0.9 speaks it: a magic, flags, an HMAC where there is a key, a token in all
// but an open request, and what the kind of packet has beyond that, all of it little-endian.
const (
	irttMagic   = "\x14\xa7\x5b"
	irttHeader  = len(irttMagic) + 1
	irttMACLen  = md5.Size
	irttVersion = 1
	// irttMax is the longest packet we send: an open request with all parameters is shorter, and so is an echo.
	irttMax = 160
)

// Flags. No others may be set.
const (
	irttOpen  = 1 << iota // asks for a session, or grants one
	irttReply             // from the server
	irttClose             // ends the session, or refuses it
	irttHMAC              // an HMAC follows
	irttFlags = irttOpen | irttReply | irttClose | irttHMAC
)

// Tags of parameters: each is followed by a zigzag varint, but that of the fill by a length and so many bytes.
const (
	tagVersion  = 1
	tagDuration = 2
	tagInterval = 3
	tagLength   = 4
	tagStats    = 5
	tagStampAt  = 6
	tagClock    = 7
	tagFill     = 9
	// mostTags and mostFill bound what is read of a server's parameters.
	mostTags, mostFill = 64, 32
)

// When the server takes its stamps, and by which clocks.
const (
	stampNone = iota
	stampSend
	stampReceive
	stampBoth
	stampMidpoint

	clockBoth = 3 // the time of day and one that only counts on
)

// irttParams are what a session is asked for, or granted. A parameter that is 0 is not written.
type irttParams struct {
	version, length, stats, stampAt, clock int64
	duration, interval                     time.Duration
}

// irttAsked are the parameters of our sessions: the least that is sent back, with both stamps. Both clocks, as the order of a
// single one's is not what it should be in irtt 0.9.1 where the server allows but one stamp.
var irttAsked = irttParams{
	version: irttVersion, duration: irttSession, interval: serverInterval, stampAt: stampBoth, clock: clockBoth,
}

// append writes the parameters.
func (p irttParams) append(b []byte) []byte {
	for _, v := range [...]struct {
		tag   uint64
		value int64
	}{
		{tagVersion, p.version},
		{tagDuration, int64(p.duration)},
		{tagInterval, int64(p.interval)},
		{tagLength, p.length},
		{tagStats, p.stats},
		{tagStampAt, p.stampAt},
		{tagClock, p.clock},
	} {
		if v.value != 0 {
			b = binary.AppendVarint(binary.AppendUvarint(b, v.tag), v.value)
		}
	}
	return b
}

// parseParams reads parameters; false when they are malformed. Tags that are not ours are passed over.
func parseParams(b []byte) (p irttParams, ok bool) {
	for n := 0; len(b) > 0; n++ {
		tag, used := binary.Uvarint(b)
		if used <= 0 || n == mostTags {
			return p, false
		}
		b = b[used:]
		if tag == tagFill {
			size, used := binary.Uvarint(b)
			if used <= 0 || size > mostFill || size > uint64(len(b)-used) {
				return p, false
			}
			b = b[used+int(size):]
			continue
		}
		v, used := binary.Varint(b)
		if used <= 0 {
			return p, false
		}
		b = b[used:]
		switch tag {
		case tagVersion:
			p.version = v
		case tagDuration:
			p.duration = time.Duration(v)
		case tagInterval:
			p.interval = time.Duration(v)
		case tagLength:
			p.length = v
		case tagStats:
			p.stats = v
		case tagStampAt:
			p.stampAt = v
		case tagClock:
			p.clock = v
		}
	}
	return p, true
}

// within says what keeps granted parameters from being ours: a server may grant less than was asked, never more.
func (p irttParams) within(asked irttParams) error {
	switch {
	case p.version != asked.version:
		return fmt.Errorf("it speaks version %d of the protocol, not %d", p.version, asked.version)
	case p.duration < 0 || p.duration > asked.duration || p.interval < 0 || p.interval > longestInterval:
		return fmt.Errorf("it grants a session of %v with a probe every %v", p.duration, p.interval)
	case p.length < 0 || p.length > asked.length || p.stats != asked.stats:
		return fmt.Errorf("it grants packets of %d bytes with statistics %d, which were not asked for", p.length, p.stats)
	case p.stampAt < stampNone || p.stampAt > stampMidpoint || p.stampAt != stampNone && p.clock != asked.clock:
		return fmt.Errorf("it grants stamps %d by clocks %d, which were not asked for", p.stampAt, p.clock)
	}
	return nil
}

// stampsLenOf is how many bytes of stamps an echo has.
func stampsLenOf(stampAt int64) int {
	switch stampAt {
	case stampNone:
		return 0
	case stampBoth:
		return 2 * 2 * 8
	}
	return 2 * 8 // one, by two clocks
}

// mac makes and proves the HMACs of one key. It is not safe for concurrent use; nil is no key.
type mac struct {
	h   hash.Hash
	sum [irttMACLen]byte
	was [irttMACLen]byte
}

// newMAC reads a key as irtt does: as hexadecimal digits behind 0x, or as it stands. The empty key is none.
func newMAC(key string) (*mac, error) {
	if key == "" {
		return nil, nil
	}
	raw := []byte(key)
	if digits, ok := strings.CutPrefix(key, "0x"); ok {
		var err error
		if raw, err = hex.DecodeString(digits); err != nil || len(raw) == 0 {
			return nil, errors.New("behind 0x it is no even number of hexadecimal digits") // which they are stays untold
		}
	}
	return &mac{h: hmac.New(md5.New, raw)}, nil
}

// of computes the HMAC of a packet, whose own field is empty.
func (m *mac) of(b []byte) []byte {
	m.h.Reset()
	_, _ = m.h.Write(b) // a hash never fails
	return m.h.Sum(m.sum[:0])
}

// start begins a packet.
func (m *mac) start(b []byte, flags byte) []byte {
	b = append(b[:0], irttMagic...)
	if m == nil {
		return append(b, flags)
	}
	b = append(b, flags|irttHMAC)
	return append(b, make([]byte, irttMACLen)...)
}

// seal ends a packet.
func (m *mac) seal(b []byte) []byte {
	if m != nil {
		copy(b[irttHeader:], m.of(b))
	}
	return b
}

// The requests. Each is written over b.

func (m *mac) openRequest(b []byte, p irttParams) []byte {
	return m.seal(p.append(m.start(b, irttOpen)))
}

// echoRequest is as long as its reply, so that both ways carry the same.
func (m *mac) echoRequest(b []byte, token uint64, seq uint32, stampAt int64) []byte {
	b = binary.LittleEndian.AppendUint64(m.start(b, 0), token)
	b = binary.LittleEndian.AppendUint32(b, seq)
	return m.seal(append(b, make([]byte, stampsLenOf(stampAt))...))
}

func (m *mac) closeRequest(b []byte, token uint64) []byte {
	return m.seal(binary.LittleEndian.AppendUint64(m.start(b, irttClose), token))
}

// parseIRTT checks what every reply has and returns its flags and what follows. accepted is all well, forged lacks the HMAC
// of our key, or has one where there is none; stray is all else that no server sends.
func (m *mac) parseIRTT(b []byte) (flags byte, body []byte, v verdict) {
	if len(b) < irttHeader || string(b[:len(irttMagic)]) != irttMagic {
		return 0, nil, stray
	}
	flags, body = b[len(irttMagic)], b[irttHeader:]
	switch {
	case flags&^irttFlags != 0 || flags&irttReply == 0:
		return 0, nil, stray
	case (flags&irttHMAC != 0) != (m != nil):
		return 0, nil, forged
	case m == nil:
		return flags, body, accepted
	case len(body) < irttMACLen:
		return 0, nil, forged
	}
	copy(m.was[:], body)
	clear(body[:irttMACLen])
	if !hmac.Equal(m.of(b), m.was[:]) {
		return 0, nil, forged
	}
	return flags, body[irttMACLen:], accepted
}

// parseGrant reads the reply to an open request.
func parseGrant(body []byte) (token uint64, p irttParams, ok bool) {
	if len(body) < 8 {
		return 0, p, false
	}
	p, ok = parseParams(body[8:])
	return binary.LittleEndian.Uint64(body), p, ok
}

// irttEcho is the reply to an echo request.
type irttEcho struct {
	token uint64
	seq   uint32
	// receive and transmit are when the server had the request and answered it, on its clock that only counts on; without
	// stamped it did not say.
	receive, transmit time.Duration
	stamped           bool
}

// latestStamp bounds a stamp: 146 years. The difference of two such is a time.Duration.
const latestStamp = 1 << 62

// parseEcho reads the reply to an echo request of a session with such stamps; false when it has another length.
func parseEcho(body []byte, stampAt int64) (e irttEcho, ok bool) {
	le := binary.LittleEndian
	if len(body) != 8+4+stampsLenOf(stampAt) {
		return e, false
	}
	e.token, e.seq = le.Uint64(body), le.Uint32(body[8:])
	if stampAt == stampNone {
		return e, true
	}
	stamps := body[12:] // each by the time of day, then by the clock that only counts on
	first, last := le.Uint64(stamps[8:]), le.Uint64(stamps[len(stamps)-8:])
	e.receive, e.transmit = time.Duration(first), time.Duration(last)
	e.stamped = first < latestStamp && last < latestStamp
	return e, true
}
