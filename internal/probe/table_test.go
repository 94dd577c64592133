package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestTableFind(t *testing.T) {
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var tb table
	s := tb.add(3, here)
	s.nonce = testNonce
	bad := testNonce
	bad[15]++
	for _, tt := range []struct {
		name    string
		seq     uint16
		payload []byte
		from    netip.Addr
		want    verdict
	}{
		{"never sent", 1, testNonce[:], here, stray},
		{"alias in the ring", tableSize, testNonce[:], here, stray},
		{"wrong nonce", 0, bad[:], here, forged},
		{"no payload", 0, nil, here, forged},
		{"cut payload", 0, testNonce[:15], here, forged},
		{"longer payload", 0, append(testNonce[:], 0), here, forged},
		{"wrong nonce from elsewhere", 0, bad[:], there, forged},
		{"from elsewhere", 0, testNonce[:], there, wrongSource},
		{"genuine", 0, testNonce[:], here, accepted},
	} {
		if _, got := tb.find(icmpReply{seq: tt.seq, payload: tt.payload}, tt.from); got != tt.want {
			t.Errorf("%s: got verdict %d, want %d", tt.name, got, tt.want)
		}
	}
	// An answer of the other sort is none, whatever secret it carries.
	twelve := append(testNonce[:secretLen:secretLen], 0, 0, 0, 1, 0, 0, 0, 1)
	if _, got := tb.find(icmpReply{timestamps: true, seq: 0, payload: twelve}, here); got != forged {
		t.Errorf("timestamps to an echo: got verdict %d, want forged", got)
	}
	s.timestamps = true
	if _, got := tb.find(icmpReply{seq: 0, payload: testNonce[:secretLen]}, here); got != forged {
		t.Errorf("an echo to a timestamp request: got verdict %d, want forged", got)
	}
	if _, got := tb.find(icmpReply{timestamps: true, seq: 0, payload: twelve}, here); got != accepted {
		t.Errorf("timestamps: got verdict %d, want accepted", got)
	}
	s.timestamps = false
	s.answered = true
	if _, got := tb.find(icmpReply{seq: 0, payload: testNonce[:]}, here); got != duplicate {
		t.Errorf("second answer: got verdict %d, want duplicate", got)
	}
	tb.drop(0)
	if _, got := tb.find(icmpReply{seq: 0, payload: testNonce[:]}, here); got != stray {
		t.Errorf("after drop: got verdict %d, want stray", got)
	}
}

// TestTableModel compares the table with a map that never forgets.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tb table
		tb.next = rapid.Uint16().Draw(t, "first")
		type known struct {
			host     int
			age      int // probes sent since
			answered bool
		}
		sent := map[uint16]*known{}
		host := func() int { return rapid.IntRange(0, 3).Draw(t, "host") }
		at := unit.Time(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "send") {
				for range rapid.IntRange(1, 40).Draw(t, "burst") {
					h := host()
					at++
					for _, k := range sent {
						k.age++
					}
					seq := tb.next
					s := tb.add(h, netip.Addr{})
					s.at = at
					sent[seq] = &known{host: h}
				}
				continue
			}
			seq := tb.next - uint16(rapid.IntRange(-3, tableSize+20).Draw(t, "back"))
			s, v := tb.find(icmpReply{seq: seq, payload: make([]byte, nonceLen)}, netip.Addr{})
			k := sent[seq]
			want := accepted
			switch {
			case k == nil || k.age >= tableSize:
				want = stray
			case k.answered:
				want = duplicate
			}
			if v != want {
				t.Fatalf("seq %d: got verdict %d, want %d", seq, v, want)
			}
			if v != accepted {
				continue
			}
			if s.host != k.host {
				t.Fatalf("seq %d: got host %d, want %d", seq, s.host, k.host)
			}
			s.answered, k.answered = true, true
			var oldest unit.Time
			for d := 0; d < tableSize; d++ { // from the newest back
				q := tb.next - 1 - uint16(d)
				if q == seq {
					break
				}
				if x := sent[q]; x != nil && x.host == k.host && !x.answered {
					oldest = at - unit.Time(d)
				}
			}
			if got := tb.unansweredAfter(seq, k.host); got != oldest {
				t.Fatalf("unansweredAfter(%d) = %d, want %d", seq, got, oldest)
			}
		}
	})
}

func TestBuffer(t *testing.T) {
	b := new(buffer)
	push := func(from, to int) {
		for i := from; i < to; i++ {
			b.push(link.Reply{Host: i})
		}
	}
	hosts := func() (out []int) {
		for _, r := range b.drain(nil) {
			out = append(out, r.Host)
		}
		return out
	}
	push(0, 3)
	if d := cmp.Diff([]int{0, 1, 2}, hosts()); d != "" {
		t.Error(d)
	}
	push(0, bufferSize+5)
	got := hosts()
	if len(got) != bufferSize || got[0] != 5 || got[bufferSize-1] != bufferSize+4 || b.dropped != 5 {
		t.Errorf("an overfull buffer kept %d replies from %d to %d and counted %d", len(got), got[0], got[len(got)-1], b.dropped)
	}
	if got := hosts(); got != nil {
		t.Errorf("drained twice: %v", got)
	}
}

// TestAccounts books echoes and replies without a socket.
func TestAccounts(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	c := newClock()
	p, _ := unopened(t, c.options(Options{}))
	p.targets[0].addr = addr
	k := &conn{fam: v4, kind: datagram}
	send := func() uint16 {
		s := p.table.add(0, addr)
		s.nonce, s.at, s.stamp = testNonce, c.now(), time.Unix(1000, 0)
		if p.targets[0].unanswered == 0 {
			p.targets[0].unanswered = s.at
		}
		p.targets[0].sent++
		c.advance(time.Millisecond)
		return s.seq
	}
	answer := func(seq uint16) {
		read := time.Unix(1000, 0).Add(30 * time.Millisecond)
		p.take(k, reply(v4, false, 0, seq, testNonce[:]), addr, arrival{
			read: read, now: c.now(), stamp: read.Add(-5 * time.Millisecond).UnixNano(), stamped: true,
		})
	}
	start := c.now()
	first, _, third := send(), send(), send()
	c.advance(27 * time.Millisecond)
	answer(third)
	answer(first) // out of order: the second is lost, but the host has answered since
	if s := p.Stats()[0]; s.Unanswered != 0 || s.Received != 2 {
		t.Errorf("after answers out of order: %+v", s)
	}
	// The reply waited 5 ms to be read: that belongs neither to the round trip nor to its arrival.
	want := []link.Reply{
		{Sent: start.Add(2 * time.Millisecond), Received: start.Add(25 * time.Millisecond), RTT: 25},
		{Sent: start, Received: start.Add(25 * time.Millisecond), RTT: 25},
	}
	if d := cmp.Diff(want, p.Drain(nil)); d != "" {
		t.Error(d)
	}

	// An echo that the kernel refused was never sent: it is not waited for.
	fourth := send()
	at := c.now()
	p.unsent(&p.table, 0, send(), at, k, unix.ENOBUFS)
	answer(fourth)
	if s := p.Stats()[0]; s.Unanswered != 0 || s.Sent != 4 || s.SendErrors != 1 || s.Received != 3 {
		t.Errorf("after a refused echo: %+v", s)
	}
}
