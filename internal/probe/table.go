package probe

import (
	"crypto/subtle"
	"net/netip"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// tableSize is how many probes are remembered: a power of two, and at 20 echoes/s more than 25 s of them, so every
// reply within the longest timeout (10 s) still finds its probe and a late one is still known as late.
const tableSize = 512

// sentProbe is one slot of the table.
type sentProbe struct {
	used, answered bool
	timestamps     bool // it asked for timestamps
	seq            uint16
	host           int
	to             netip.Addr
	nonce          nonce
	at             unit.Time // on the clock handed up
	stamp          time.Time // monotonic, for the round trip
}

// table remembers the newest probes by sequence number. An older probe in the same slot is forgotten.
type table struct {
	slots [tableSize]sentProbe
	next  uint16
}

// add takes the next sequence number and returns its slot, emptied, to be filled in by the caller.
func (t *table) add(host int, to netip.Addr) *sentProbe {
	s := &t.slots[t.next%tableSize]
	*s = sentProbe{used: true, seq: t.next, host: host, to: to}
	t.next++
	return s
}

// drop forgets a probe that never left and says whether it asked for timestamps.
func (t *table) drop(seq uint16) (timestamps bool) {
	s := &t.slots[seq%tableSize]
	if s.seq != seq {
		return false
	}
	s.used = false
	return s.timestamps
}

// verdict is what a reply turned out to be.
type verdict uint8

const (
	// stray answers nothing we remember.
	stray verdict = iota
	// forged has a probe's number but not its nonce.
	forged
	// wrongSource has the nonce but comes from another address than the one probed.
	wrongSource
	// duplicate answers a probe that was answered before.
	duplicate
	// late arrived after the timeout.
	late
	// accepted is a measurement.
	accepted
)

// find judges a reply's claim without its time: which probe it answers, and stray, forged, wrongSource, duplicate or,
// when all is well, accepted. Nothing but an accepted reply may mark a probe as answered.
func (t *table) find(r icmpReply, from netip.Addr) (*sentProbe, verdict) {
	s := &t.slots[r.seq%tableSize]
	want := s.nonce[:]
	if s.timestamps {
		want = want[:secretLen]
	}
	switch {
	case !s.used || s.seq != r.seq:
		return nil, stray
	case r.timestamps != s.timestamps || subtle.ConstantTimeCompare(r.secret(), want) != 1:
		return s, forged
	case from != s.to:
		return s, wrongSource
	case s.answered:
		return s, duplicate
	}
	return s, accepted
}

// unansweredAfter returns when the oldest unanswered probe to the host that was sent after number seq left; 0 when
// there is none.
func (t *table) unansweredAfter(seq uint16, host int) unit.Time {
	for q := seq + 1; q != t.next && q-seq < tableSize; q++ {
		if s := &t.slots[q%tableSize]; s.used && s.seq == q && s.host == host && !s.answered {
			return s.at
		}
	}
	return 0
}

// bufferSize is how many replies wait for Drain: more than 50 s of them at 20 echoes/s.
const bufferSize = 1024

// buffer is a ring of replies that drops the oldest when full.
type buffer struct {
	ring        [bufferSize]link.Reply
	first, size int
	dropped     uint64
}

// push appends a reply.
func (b *buffer) push(r link.Reply) {
	if b.size == bufferSize {
		b.first = (b.first + 1) % bufferSize
		b.size--
		b.dropped++
	}
	b.ring[(b.first+b.size)%bufferSize] = r
	b.size++
}

// drain moves all replies to dst, oldest first.
func (b *buffer) drain(dst []link.Reply) []link.Reply {
	for ; b.size > 0; b.size-- {
		dst = append(dst, b.ring[b.first])
		b.first = (b.first + 1) % bufferSize
	}
	return dst
}
