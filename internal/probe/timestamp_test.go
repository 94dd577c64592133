package probe

import (
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestFold(t *testing.T) {
	const h = time.Hour
	for _, tt := range []struct{ d, ref, want time.Duration }{
		{0, 0, 0},
		{5 * h, 0, 5 * h},
		{-5 * h, 0, -5 * h},
		{day - 1, 0, -1}, // sent just before midnight, received just after
		{1 - day, 0, 1},
		{12 * h, 0, -12 * h},
		{12*h - 1, 0, 12*h - 1},
		{-12 * h, 0, -12 * h},
		{3*day + 2*h, 0, 2 * h},
		{12 * h, 12*h - 1, 12 * h}, // no jump where the clocks are 12 h apart
		{-12*h + 1, 12*h - 1, 12*h + 1},
	} {
		if got := near(tt.d, tt.ref); got != tt.want {
			t.Errorf("%v near %v: %v, want %v", tt.d, tt.ref, got, tt.want)
		}
	}
}

// world is a line to a target with a clock of its own.
type world struct {
	sent     time.Duration // our time of day, which goes on after midnight
	up, down time.Duration // what the next packet takes
	offset   time.Duration // of the target's clock
	takes    time.Duration // the target's processing
}

// answer is what the pinger sees of one request in this world.
func (w *world) answer() sighting {
	theirs := func(t time.Duration) uint32 {
		d := (t + w.offset) % day
		if d < 0 {
			d += day
		}
		return uint32(d / time.Millisecond)
	}
	return sighting{
		sent: w.sent, rtt: w.up + w.takes + w.down,
		receive: theirs(w.sent + w.up), transmit: theirs(w.sent + w.up + w.takes),
	}
}

func at(d time.Duration) unit.Time { return unit.Time(d) }

// TestPropertyHonestClock: whatever the offset, the time of day and the queues, an honest clock is believed from the
// eighth answer on and never doubted, and the delays are the true ones but for one constant and a millisecond.
func TestPropertyHonestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k remoteClock
		draw := func(name string, least, most time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(least), int64(most)).Draw(t, name))
		}
		w := world{offset: draw("offset", -day, day), sent: draw("start", 0, day)}
		if rapid.Bool().Draw(t, "near midnight") {
			w.sent = day - draw("before midnight", 0, 2*time.Second)
			w.offset = draw("small offset", -time.Second, time.Second)
		}
		base := draw("base", 0, 200*time.Millisecond)
		var constant time.Duration
		for i := range 40 {
			w.sent += draw("gap", 50*time.Millisecond, time.Second)
			w.up = base + draw("upload queue", 0, 2*time.Second)
			w.down = base + draw("download queue", 0, 2*time.Second)
			w.takes = draw("processing", 0, 5*time.Millisecond)
			s := w.answer()
			d, ok := k.judge(s, at(w.sent))
			if ok != (i >= proofs-1) {
				t.Fatalf("answer %d believed: %v", i+1, ok)
			}
			if !ok {
				continue
			}
			up, down := d.Up.Duration()-w.up, w.down-d.Down.Duration()
			if i == proofs-1 {
				constant = up
			}
			const ms = time.Millisecond + time.Microsecond // and what floating point leaves
			if (up-constant).Abs() > ms || (down-constant).Abs() > ms {
				t.Fatalf("answer %d: up %v off by %v, down %v off by %v; both by %v before", i+1, d.Up, up, d.Down, down, constant)
			}
			if off := fold(constant - w.offset).Abs(); off > ms && off < day-ms {
				t.Fatalf("off by %v, and the clocks by %v", constant, w.offset)
			}
		}
		if k.generation != 1 {
			t.Fatalf("proven %d times", k.generation)
		}
	})
}

// TestLyingClocks: none of these is ever believed, and each is given up.
func TestLyingClocks(t *testing.T) {
	for _, tt := range []struct {
		name string
		lie  func(s *sighting, n int)
	}{
		{"zero", func(s *sighting, _ int) { s.receive, s.transmit = 0, 0 }},
		{"stands still", func(s *sighting, _ int) { s.receive, s.transmit = 7, 7 }},
		{"non-standard", func(s *sighting, _ int) { s.receive |= 1 << 31; s.transmit |= 1 << 31 }},
		{"beyond a day", func(s *sighting, _ int) { s.receive += 86_400_000; s.transmit += 86_400_000 }},
		{"other end first", func(s *sighting, _ int) {
			s.receive = s.receive<<24 | s.receive>>24 | s.receive<<8&0xff0000 | s.receive>>8&0xff00
			s.transmit = s.receive
		}},
		{"leaves before it comes", func(s *sighting, _ int) { s.transmit = s.receive - 1 }},
		{"dawdles", func(s *sighting, _ int) { s.transmit += 21 }},
		{"takes longer than the round trip", func(s *sighting, _ int) { s.rtt = 5 * time.Millisecond; s.transmit += 8 }},
		{"seconds", func(s *sighting, _ int) { s.receive /= 1000; s.transmit /= 1000 }},
		{"at random", func(s *sighting, n int) { s.receive = uint32(n) * 2_654_435_761 % 86_400_000; s.transmit = s.receive }},
		{"twice as fast", func(s *sighting, _ int) { s.receive = s.receive * 2 % 86_400_000; s.transmit = s.receive }},
		{"two machines", func(s *sighting, n int) { s.receive += uint32(n%2) * 100; s.transmit = s.receive }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var k remoteClock
			w := world{sent: 9 * time.Hour, up: 10 * time.Millisecond, down: 20 * time.Millisecond}
			n := 0
			for k.retry == 0 {
				if n++; n > 60 {
					t.Fatal("not given up")
				}
				w.sent += 250 * time.Millisecond
				s := w.answer()
				tt.lie(&s, n)
				if d, ok := k.judge(s, at(w.sent)); ok {
					t.Fatalf("answer %d is believed: %+v", n, d)
				}
			}
			if until := at(w.sent).Add(retryTimestamps); k.retry != until {
				t.Errorf("given up until %v, want %v", k.retry, until)
			}
		})
	}
}

// TestClockSet: the target's clock is set while it is believed: what follows is another generation.
func TestClockSet(t *testing.T) {
	for _, step := range []time.Duration{time.Second, -time.Second, 5 * time.Hour, -40 * time.Millisecond} {
		var k remoteClock
		w := world{sent: 9 * time.Hour, up: 10 * time.Millisecond, down: 20 * time.Millisecond}
		run := func(n int) (believed int) {
			for range n {
				w.sent += 250 * time.Millisecond
				if _, ok := k.judge(w.answer(), at(w.sent)); ok {
					believed++
				}
			}
			return believed
		}
		if n := run(20); n != 20-proofs+1 || k.generation != 1 {
			t.Fatalf("before: %d believed, generation %d", n, k.generation)
		}
		w.offset += step
		if n := run(proofs - 1); n != 0 || k.proven {
			t.Errorf("set by %v: %d of the next answers are believed", step, n)
		}
		if n := run(5); n != 5 || k.generation != 2 {
			t.Errorf("set by %v: then %d believed, generation %d", step, n, k.generation)
		}
		if w.offset = 0; run(1) != 0 {
			t.Errorf("set back by %v: believed", step)
		}
	}
}

// TestClockDrifts: two clocks may part by as much as a kernel slews one.
func TestClockDrifts(t *testing.T) {
	var k remoteClock
	w := world{sent: 9 * time.Hour, up: 10 * time.Millisecond, down: 20 * time.Millisecond}
	for i := range 20_000 {
		w.sent += 250 * time.Millisecond
		w.offset -= 125 * time.Microsecond // 500 ppm
		if _, ok := k.judge(w.answer(), at(w.sent)); ok != (i >= proofs-1) {
			t.Fatalf("answer %d believed: %v", i, ok)
		}
	}
	for range 600 { // 1 %
		w.sent += 250 * time.Millisecond
		w.offset += 2500 * time.Microsecond
		k.judge(w.answer(), at(w.sent))
	}
	if k.generation < 2 {
		t.Error("a clock that runs a hundredth too fast is believed")
	}
}

// TestAsk: which targets get timestamp requests when.
func TestAsk(t *testing.T) {
	const gap = 250 * time.Millisecond
	now := at(time.Hour)
	// turns makes n turns and returns them: t for a timestamp request, e for an echo, in capitals when answered.
	turns := func(k *remoteClock, n int, echoes, stamps bool) string {
		var b strings.Builder
		for range n {
			now = now.Add(gap)
			switch ask := k.ask(now); {
			case ask && stamps:
				k.answered(true)
				b.WriteByte('T')
			case ask:
				b.WriteByte('t')
			case echoes:
				k.answered(false)
				b.WriteByte('E')
			default:
				b.WriteByte('e')
			}
		}
		return b.String()
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	var k remoteClock
	want("ignores timestamps", turns(&k, 16, true, false), "EtEtEtEtEtEtEEEE")
	now = k.retry - at(gap)
	want("tried again after ten minutes", turns(&k, 16, true, false), "EtEtEtEtEtEtEEEE")

	k = remoteClock{}
	want("dead", turns(&k, 40, false, false), strings.Repeat("et", 20))
	want("and back", turns(&k, 6, true, true), "ETETET")

	k = remoteClock{proven: true, generation: 3}
	want("proven", turns(&k, 5, true, true), "TTTTT")
	want("outage", turns(&k, 30, false, false), strings.Repeat("t", 20)+"etetetetet")
	want("after it", turns(&k, 5, true, true), "ETTTT")
	want("stops to answer", turns(&k, 33, true, false), strings.Repeat("t", 20)+"EtEtEEEEEEEEE")
	if k.proven || k.generation != 3 {
		t.Errorf("after it was given up: %+v", k)
	}

	k = remoteClock{}
	for range 20 { // refused by the kernel
		if k.ask(now) {
			k.unsent()
		}
	}
	if k.silent != 0 {
		t.Errorf("%d requests count that never left", k.silent)
	}
}

// FuzzRemoteClock: no stamps, in whatever order, make delays that contradict their round trip.
func FuzzRemoteClock(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k remoteClock
		ours := 23 * time.Hour
		for len(b) >= 6 {
			ours += time.Duration(b[0]) * 7 * time.Millisecond
			s := sighting{sent: ours, rtt: time.Duration(b[1]) * 999 * time.Microsecond}
			if s.receive = uint32(ours/time.Millisecond)%86_400_000 + uint32(b[2]); b[3] < 8 {
				s.receive += uint32(b[3]) << 29
			}
			s.transmit = s.receive + uint32(b[4]) - uint32(b[5])
			b = b[6:]
			d, ok := k.judge(s, at(ours))
			if !ok {
				continue
			}
			c, _ := s.crossing()
			sum := float64(d.Up+d.Down) + float64(c.processing())/1e6
			if math.Abs(sum-float64(s.rtt)/1e6) > 1e-4 || math.Abs(float64(d.Up)) > 2*86_400_000 {
				t.Fatalf("%+v of %+v", d, s)
			}
		}
	})
}

// TestTimestampsOfThisHost: this host's kernel is the target. It has our clock, so the delays are true ones.
func TestTimestampsOfThisHost(t *testing.T) {
	needRoot(t)
	allowDatagram(t) // and yet the socket is raw
	p := open(t, Options{Targets: []string{"127.0.0.1", "::1"}, Timestamps: true})
	var got []link.Reply
	for !p.Stats()[0].OneWay { // its stamps must be seen to move
		p.probe(0)
		readReply(t, p, v4)
	}
	p.Drain(nil)
	for range 50 {
		p.probe(0)
		readReply(t, p, v4)
	}
	got = p.Drain(nil)
	for _, r := range got {
		// The kernel's own time of day lags by up to a tick (10 ms at most).
		if !r.OneWay || r.Clock != 1 || r.Delay.Up > 1+r.RTT || r.Delay.Up < -11 || r.Delay.Down > 11+r.RTT || r.Delay.Down < -1 {
			t.Errorf("%+v", r)
		}
		if sum := r.Delay.Up + r.Delay.Down; math.Abs(float64(sum-r.RTT)) > 1e-4 {
			t.Errorf("the ways take %v, the round trip %v", sum, r.RTT)
		}
	}
	for range 20 {
		p.probe(1)
		readReply(t, p, v6)
	}
	for _, r := range p.Drain(nil) {
		if r.OneWay || r.Clock != 0 {
			t.Errorf("IPv6 has no timestamps: %+v", r)
		}
	}
	if s := p.Stats(); len(got) != 50 || s[1].Received != 20 || s[1].OneWay {
		t.Errorf("%d replies, accounts %+v", len(got), s)
	}
}

// tunnel is a network behind a line of its own, 10.4.0.0/24, where the test answers everything.
type tunnel struct {
	t testing.TB
	f *os.File
}

func newTunnel(t testing.TB) *tunnel {
	t.Helper()
	needRoot(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs /dev/net/tun: %v", err)
	}
	req, err := unix.NewIfreq("far")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(req))); errno != 0 {
		t.Fatal(errno)
	}
	n := &tunnel{t: t, f: os.NewFile(uintptr(fd), "tun")}
	t.Cleanup(func() { _ = n.f.Close() })
	ip(t, "link set far up")
	ip(t, "address add 10.4.0.1/24 dev far")
	return n
}

// next returns the next ICMP request with its IP header.
func (n *tunnel) next() []byte {
	n.t.Helper()
	if err := n.f.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		l, err := n.f.Read(buf)
		if err != nil {
			n.t.Fatal(err)
		}
		if b := buf[:l]; l > 28 && b[0] == 0x45 && b[9] == unix.IPPROTO_ICMP {
			return b
		}
	}
}

// answer sends a request back as a reply, changed by edit.
func (n *tunnel) answer(request []byte, edit func(icmp []byte)) {
	n.t.Helper()
	b := append([]byte(nil), request...)
	copy(b[12:16], request[16:20])
	copy(b[16:20], request[12:16])
	icmp := b[20:]
	icmp[0] = map[byte]byte{typeEcho4: typeEchoReply4, typeTimestamp4: typeTimestampReply4}[icmp[0]]
	if edit != nil {
		edit(icmp)
	}
	icmp[2], icmp[3] = 0, 0
	sum := checksum(icmp)
	icmp[2], icmp[3] = byte(sum>>8), byte(sum)
	if _, err := n.f.Write(b); err != nil {
		n.t.Fatal(err)
	}
}

// TestTimestampsOverALine drives a pinger probe by probe against a target that answers for a midnight of its own.
func TestTimestampsOverALine(t *testing.T) {
	n := newTunnel(t)
	c := newClock()
	p := open(t, c.options(Options{Targets: []string{"10.4.0.2"}, Timestamps: true, Interface: "far"}))
	start, theirs := time.Now(), day-20*250*time.Millisecond
	stamp := func(icmp []byte) {
		if icmp[0] == typeTimestampReply4 {
			ms := uint32((theirs + time.Since(start)) % day / time.Millisecond)
			putStamps((*[timestampLen]byte)(icmp), ms, ms)
		}
	}
	// The target's clock goes on by a quarter of a second and ours is told to have done the same.
	step := func() {
		theirs += 250 * time.Millisecond
		p.opened = p.opened.Add(-250 * time.Millisecond)
		c.advance(250 * time.Millisecond)
	}
	var kinds []byte
	for range 24 {
		step()
		p.probe(0)
		r := n.next()
		kinds = append(kinds, r[20])
		n.answer(r, stamp)
		readReply(t, p, v4)
	}
	want := strings.Repeat("\x08\x0d", proofs) + strings.Repeat("\x0d", 24-2*proofs)
	if string(kinds) != want {
		t.Errorf("sent %v, want %v", kinds, []byte(want))
	}
	replies := p.Drain(nil)
	if len(replies) != 24 {
		t.Fatalf("%d replies", len(replies))
	}
	first := replies[2*proofs-1]
	for i, r := range replies {
		if r.OneWay != (i >= 2*proofs-1) {
			t.Errorf("reply %d is %+v", i, r)
		}
		// No jump at their midnight, which comes at reply 20.
		if d := r.Delay.Up - first.Delay.Up; r.OneWay && math.Abs(float64(d)) > float64(max(r.RTT, first.RTT)+2) {
			t.Errorf("reply %d: the way up changed by %v", i, d)
		}
	}

	// Forged: the secret in the originate stamp cannot be guessed, and an answer of the other sort is none.
	step()
	p.probe(0)
	r := n.next()
	n.answer(r, func(icmp []byte) { stamp(icmp); icmp[headerLen+3] ^= 1 })
	readReply(t, p, v4)
	n.answer(r, func(icmp []byte) { icmp[0] = typeEchoReply4 })
	readReply(t, p, v4)
	if s := p.Stats()[0]; s.Forged != 2 || s.Received != 24 {
		t.Errorf("after two forgeries: %+v", s)
	}
	n.answer(r, stamp)
	readReply(t, p, v4)
	n.answer(r, stamp)
	readReply(t, p, v4)
	if s := p.Stats()[0]; s.Duplicates != 1 || s.Received != 25 || !s.OneWay {
		t.Errorf("after the answer, twice: %+v", s)
	}

	// It stops to answer timestamp requests and goes on with echoes: these alone are sent from then on.
	for range 40 {
		step()
		p.probe(0)
		if r := n.next(); r[20] == typeEcho4 {
			n.answer(r, nil)
			readReply(t, p, v4)
		}
	}
	for range 3 {
		p.probe(0)
		if r := n.next(); r[20] != typeEcho4 {
			t.Error("asked for timestamps although they are ignored")
		}
	}
	if s := p.Stats()[0]; s.OneWay {
		t.Errorf("account %+v", s)
	}
}

// putStamps fills in a reply's receive and transmit stamps.
func putStamps(b *[timestampLen]byte, receive, transmit uint32) {
	for i := range 4 {
		b[12+i], b[16+i] = byte(receive>>(24-8*i)), byte(transmit>>(24-8*i))
	}
}

// TestNoTimestamps: without CAP_NET_RAW all probes are echoes, and it is said why.
func TestNoTimestamps(t *testing.T) {
	needRoot(t)
	allowDatagram(t)
	book := newNotebook()
	without(t, func() {
		p := open(t, Options{Targets: []string{"127.0.0.1"}, Timestamps: true, Log: book.log})
		for range 10 {
			p.probe(0)
			readReply(t, p, v4)
		}
		for _, r := range p.Drain(nil) {
			if r.OneWay {
				t.Errorf("%+v", r)
			}
		}
		if s := p.Stats()[0]; s.Received != 10 {
			t.Errorf("account %+v", s)
		}
		found := strings.Join(levels(p.Check(t.Context()), link.Info), "\n")
		if !strings.Contains(found, "CAP_NET_RAW") {
			t.Errorf("findings %s", found)
		}
	}, unix.CAP_NET_RAW)
	if n := book.with("probe_no_timestamps"); len(n) != 1 || !strings.Contains(n[0], "CAP_NET_RAW") {
		t.Errorf("notes %q", n)
	}
	p := open(t, Options{Targets: []string{"127.0.0.1"}, Timestamps: true, Log: book.log})
	if n := book.with("probe_no_timestamps"); len(n) != 1 {
		t.Errorf("with the capability: notes %q", n)
	}
	if found := strings.Join(levels(p.Check(t.Context()), link.Info), "\n"); strings.Contains(found, "CAP_NET_RAW") {
		t.Errorf("with the capability: findings %s", found)
	}
}

func TestNoAllocationsOfTimestamps(t *testing.T) {
	needRoot(t)
	p := open(t, Options{Targets: []string{"127.0.0.1"}, Timestamps: true})
	for !p.Stats()[0].OneWay {
		exchange(t, p, v4)
	}
	dst := make([]link.Reply, 0, 8)
	if n := testing.AllocsPerRun(200, func() {
		exchange(t, p, v4)
		dst = p.Drain(dst[:0])
	}); n != 0 {
		t.Errorf("%v allocations per timestamp request and reply", n)
	}
	if !dst[0].OneWay {
		t.Errorf("no timestamps were measured: %+v", dst)
	}
}

func BenchmarkTimestamp(b *testing.B) {
	needRoot(b)
	p := open(b, Options{Targets: []string{"127.0.0.1"}, Timestamps: true})
	for !p.Stats()[0].OneWay {
		exchange(b, p, v4)
	}
	dst := make([]link.Reply, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, p, v4)
		dst = p.Drain(dst[:0])
	}
}

// BenchmarkTimestampReply is the cost of one reply alone, without the kernel's.
func BenchmarkTimestampReply(b *testing.B) {
	now := time.Now()
	p := &Pinger{o: Options{Timeout: time.Second}, targets: make([]target, 1), arrived: make(chan struct{}, 1), opened: now, ofDay: time.Hour}
	from := netip.MustParseAddr("192.0.2.1")
	p.targets[0].addr = from
	k := &p.targets[0].clock
	w := world{sent: time.Hour, up: 10 * time.Millisecond, down: 20 * time.Millisecond}
	for range proofs {
		w.sent += 5 * time.Millisecond
		k.judge(w.answer(), 1)
	}
	c := &conn{fam: v4, kind: datagram}
	s := w.answer()
	packet := stampReply(false, 0, 0, s.receive, s.transmit)
	b.ReportAllocs()
	for b.Loop() {
		p.table.next = 0
		e := p.table.add(0, from)
		e.nonce, e.at, e.stamp, e.timestamps = testNonce, 1, now.Add(40*time.Millisecond), true
		e.nonce[0] |= nonStandard
		p.take(c, packet, from, arrival{read: now.Add(70 * time.Millisecond), now: 2})
		p.buffer.size = 0
	}
	if p.targets[0].received == 0 || !p.targets[0].clock.proven {
		b.Fatal("no reply was accepted")
	}
}
