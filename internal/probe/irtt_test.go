package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// stampServer is an IRTT server of our own, which speaks the protocol from its description and not from our client.
type stampServer struct {
	t    testing.TB
	conn *net.UDPConn
	key  *mac
	wg   sync.WaitGroup

	mu       sync.Mutex
	sessions map[uint64]irttParams
	token    uint64
	begun    time.Time // of its clock that only counts on
	// grant changes what a session gets; nil grants all. answer turns an echo's reply into what is sent in its place, and
	// refuse has requests for sessions refused.
	grant  func(*irttParams)
	answer func(seq uint32, reply []byte) [][]byte
	refuse bool
	mute   bool
	// up and down are how long packets take before its stamps and after them.
	up, down      time.Duration
	opens, closes int
	gone          chan struct{} // a session was given back
	caught        chan struct{} // an empty packet came
}

func newStampServer(t testing.TB, addr, key string) *stampServer {
	t.Helper()
	c, err := listenUDP(addr)
	if err != nil {
		t.Fatal(err)
	}
	return serveStamps(t, c, key)
}

func listenUDP(addr string) (*net.UDPConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
}

// serveStamps has a server listen on a socket until the test ends.
func serveStamps(t testing.TB, c *net.UDPConn, key string) *stampServer {
	s := &stampServer{
		t: t, conn: c, key: keyed(t, key), sessions: map[uint64]irttParams{}, begun: time.Now().Add(-time.Hour), gone: make(chan struct{}, 16),
		caught: make(chan struct{}),
	}
	s.wg.Go(s.serve)
	t.Cleanup(func() { _ = c.Close(); s.wg.Wait() })
	return s
}

func (s *stampServer) port() int { return s.conn.LocalAddr().(*net.UDPAddr).Port }

func (s *stampServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// restart forgets all sessions, and its clock begins anew.
func (s *stampServer) restart() {
	s.set(func() { s.sessions, s.begun = map[uint64]irttParams{}, time.Now() })
}

// catchUp returns when all has been handled that was sent to the server before.
func (s *stampServer) catchUp() {
	s.t.Helper()
	if _, err := s.conn.WriteTo(nil, s.conn.LocalAddr()); err != nil {
		s.t.Fatal(err)
	}
	<-s.caught
}

func (s *stampServer) serve() {
	b := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if n == 0 {
			s.caught <- struct{}{}
			continue
		}
		s.mu.Lock()
		up := s.up
		s.mu.Unlock()
		hold(up)
		replies := s.handle(b[:n])
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		hold(down)
		for _, r := range replies {
			if _, err := s.conn.WriteToUDPAddrPort(r, from); err != nil && !errors.Is(err, net.ErrClosed) {
				s.t.Errorf("server: %v", err)
			}
		}
	}
}

// hold is a queue that a packet waits in.
func hold(d time.Duration) {
	if d > 0 {
		<-time.NewTimer(d).C
	}
}

func (s *stampServer) handle(b []byte) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	le := binary.LittleEndian
	head := 4
	if s.key != nil {
		head += irttMACLen
		if len(b) < head {
			return nil
		}
		was := string(b[4:head])
		clear(b[4:head])
		if string(s.key.of(b)) != was {
			return nil
		}
	}
	if len(b) < head || b[3]&irttReply != 0 || (b[3]&irttHMAC != 0) != (s.key != nil) || s.mute {
		return nil
	}
	flags, body := b[3]&^irttHMAC, b[head:]
	switch {
	case flags&irttOpen != 0:
		p, ok := parseParams(body)
		if !ok {
			return nil
		}
		s.opens++
		if s.refuse {
			return [][]byte{s.reply(irttOpen|irttClose, 0, p.append(nil))}
		}
		if s.grant != nil {
			s.grant(&p)
		}
		s.token++
		s.sessions[s.token] = p
		return [][]byte{s.reply(irttOpen, s.token, p.append(nil))}
	case len(body) < 8:
		return nil
	}
	token := le.Uint64(body)
	p, ok := s.sessions[token]
	if !ok {
		return nil
	}
	if flags&irttClose != 0 {
		s.closes++
		delete(s.sessions, token)
		s.gone <- struct{}{}
		return nil
	}
	if len(body) < 12 {
		return nil
	}
	rest := append([]byte(nil), body[8:12]...)
	wall, mono := uint64(time.Now().UnixNano()), uint64(time.Since(s.begun))
	switch p.stampAt {
	case stampBoth:
		rest = le.AppendUint64(le.AppendUint64(rest, wall), mono)
		fallthrough
	case stampSend, stampReceive, stampMidpoint:
		rest = le.AppendUint64(le.AppendUint64(rest, wall), mono)
	}
	r := s.reply(0, token, rest)
	if s.answer != nil {
		return s.answer(le.Uint32(body[8:]), r)
	}
	return [][]byte{r}
}

// reply makes a packet.
func (s *stampServer) reply(flags byte, token uint64, rest []byte) []byte {
	b := binary.LittleEndian.AppendUint64(s.key.start(nil, flags|irttReply), token)
	return s.key.seal(append(b, rest...))
}

// handDriven is a pinger with a server, driven by hand.
type handDriven struct {
	*Pinger
	t     testing.TB
	clock *clock
	book  *notebook
	srv   *stampServer
}

func driven(t testing.TB, key string, change func(*Options)) *handDriven {
	t.Helper()
	needRoot(t)
	h := &handDriven{t: t, clock: newClock(), book: newNotebook(), srv: newStampServer(t, "127.0.0.1:0", key)}
	o := h.clock.options(Options{
		Targets: []string{"127.0.0.1"}, Timeout: MaxTimeout, Log: h.book.log,
		IRTT: IRTT{Host: "127.0.0.1", Port: h.srv.port(), Key: func() (string, error) { return key, nil }},
	})
	if change != nil {
		change(&o)
	}
	h.Pinger = open(t, o)
	_, end, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.leaveServer(); end() })
	return h
}

// granted asks for a session and waits for it.
func (h *handDriven) granted() {
	h.tendServer()
	h.until(func(s *server) bool { return s.alive })
}

// until waits for a state of the session.
func (h *handDriven) until(is func(*server) bool) {
	for !h.is(is) {
		<-h.server.signal
	}
}

// is says whether the session is in a state.
func (h *handDriven) is(state func(*server) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return state(h.server)
}

func (h *handDriven) alive() bool { return h.is(func(s *server) bool { return s.alive }) }

// exchange sends a probe and returns the newest reply.
func (h *handDriven) exchange() link.Reply {
	h.clock.advance(serverInterval)
	h.probeServer(false)
	var got []link.Reply
	for len(got) == 0 {
		<-h.arrived
		got = h.Drain(nil)
	}
	return got[len(got)-1]
}

// prove exchanges until the server's clock is believed.
func (h *handDriven) prove() link.Reply {
	h.t.Helper()
	for i := range proofs {
		if r := h.exchange(); r.OneWay != (i == proofs-1) {
			h.t.Fatalf("reply %d: %+v", i+1, r)
		}
	}
	return h.exchange()
}

func (h *handDriven) account() TargetStats { return h.Stats()[h.server.host] }

// TestIRTTDelays: the two ways are told apart, whatever the server's clock shows, with a key and without, by all stamps there are.
func TestIRTTDelays(t *testing.T) {
	for _, key := range []string{"", "s3cret", "0x0a0b"} {
		for _, stamps := range []int64{stampBoth, stampMidpoint, stampSend, stampReceive} {
			h := driven(t, key, nil)
			h.srv.set(func() { h.srv.grant = func(p *irttParams) { p.stampAt = stamps } })
			h.granted()
			base := h.prove()
			if base.Host != 1 || base.Clock != 1 {
				t.Fatalf("%+v", base)
			}
			const queue, room = 25 * time.Millisecond, 20
			for way, set := range map[link.Direction]func(){
				link.Up:   func() { h.srv.up, h.srv.down = queue, 0 },
				link.Down: func() { h.srv.up, h.srv.down = 0, queue },
			} {
				h.srv.set(set)
				r := h.exchange()
				more, same := r.Delay.Get(way)-base.Delay.Get(way), r.Delay.Get(1-way)-base.Delay.Get(1-way)
				if !r.OneWay || more < room || same > more-room/2 || r.RTT < room {
					t.Errorf("key %q, stamps %d, a queue on the %v: %+v after %+v", key, stamps, way, r, base)
				}
			}
		}
	}
}

// TestIRTTWithoutStamps: a server that grants none tells round trips.
func TestIRTTWithoutStamps(t *testing.T) {
	h := driven(t, "", nil)
	h.srv.set(func() { h.srv.grant = func(p *irttParams) { p.stampAt, p.clock = stampNone, 0 } })
	h.granted()
	for range proofs + 1 {
		if r := h.exchange(); r.OneWay || r.RTT <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if n := h.book.with("probe_irtt_open"); len(n) != 1 || !strings.Contains(n[0], "without stamps") {
		t.Errorf("notes %q", n)
	}
}

// TestIRTTPackets: what is lost, doubled, late, out of order or not the server's does no harm, and is counted.
func TestIRTTPackets(t *testing.T) {
	for _, key := range []string{"", "key"} {
		h := driven(t, key, nil)
		h.granted()
		h.prove()
		before := h.account()
		var kept [][]byte
		turn := func(b []byte, at int) []byte {
			c := append([]byte(nil), b...)
			c[at] ^= 1
			return c
		}
		token := irttHeader
		if key != "" {
			token += irttMACLen
		}
		resealed := func(b []byte) []byte {
			if b = append([]byte(nil), b...); h.srv.key != nil {
				clear(b[irttHeader:token])
			}
			return h.srv.key.seal(b)
		}
		h.srv.set(func() {
			n := 0
			h.srv.answer = func(seq uint32, r []byte) [][]byte {
				switch n++; n {
				case 1: // lost
					return nil
				case 2, 3: // late
					kept = append(kept, r)
					return nil
				}
				ahead := binary.LittleEndian.AppendUint32(append([]byte(nil), r[:token+8]...), seq+1)
				ahead = resealed(append(ahead, r[token+12:]...))
				return [][]byte{
					{}, []byte("\x14\xa7\x5b"), turn(r, 0), append([]byte(irttMagic), 0xff), // no packets of the protocol
					resealed(r[:len(r)-1]), resealed(append(r, 0)), // of another length
					resealed(turn(r, token)), // of another session
					ahead,                    // answers what was not sent
					kept[1], kept[0], r, r, kept[0],
				}
			}
		})
		for range 4 {
			h.clock.advance(serverInterval)
			h.probeServer(false)
		}
		var got []link.Reply
		for len(got) < 3 {
			<-h.arrived
			got = h.Drain(got)
		}
		h.srv.set(func() { h.srv.answer = nil })
		h.exchange() // all of the above has been read
		now, total := h.account(), h.Totals()
		if got[0].Sent <= got[1].Sent || got[2].Sent <= got[0].Sent {
			t.Errorf("key %q: replies %+v", key, got)
		}
		if now.Sent-before.Sent != 5 || now.Received-before.Received != 4 || now.Duplicates != 2 || now.Forged != 1 {
			t.Errorf("key %q: account %+v after %+v", key, now, before)
		}
		if total.Malformed != 6 || total.Stray != 1 {
			t.Errorf("key %q: totals %+v", key, total)
		}
		if now.Unanswered != 0 {
			t.Errorf("key %q: a reply to a later probe came, and %v is waited for", key, now.Unanswered)
		}
	}
}

// TestIRTTWrongKey: neither side answers the other, and a person is told what to look at.
func TestIRTTWrongKey(t *testing.T) {
	h := driven(t, "right", func(o *Options) { o.IRTT.Key = func() (string, error) { return "wrong-s3cret", nil } })
	for range openTries {
		h.tendServer()
	}
	if e := wantKind(t, h.account().Err, KindSend); !strings.Contains(e.Hint, "the same HMAC key") {
		t.Errorf("%v", e)
	}
	n := h.book.with("probe_irtt")
	if len(n) != 1 || strings.Contains(n[0], "s3cret") {
		t.Errorf("notes %q", n)
	}

	// A server without a key answers what it takes for none of its packets with nothing; one that forges an answer is caught.
	h = driven(t, "", func(o *Options) { o.IRTT.Key = func() (string, error) { return "key", nil } })
	h.tendServer()
	p, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	us := localPort(t, h.server.conn)
	for _, from := range []*net.UDPConn{p, h.srv.conn} {
		b := append(append([]byte(irttMagic), irttReply|irttOpen, 1, 0, 0, 0, 0, 0, 0, 0), irttAsked.append(nil)...)
		if _, err := from.WriteToUDPAddrPort(b, us); err != nil {
			t.Fatal(err)
		}
	}
	<-h.book.wrote
	if a := h.account(); a.Forged != 1 || h.alive() { // what came from another address never reached us
		t.Errorf("account %+v", a)
	}
}

// localPort is where a socket receives.
func localPort(t testing.TB, c *conn) netip.AddrPort {
	t.Helper()
	var a netip.AddrPort
	err := c.raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		if err != nil {
			t.Error(err)
			return
		}
		in := sa.(*unix.SockaddrInet4)
		a = netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestIRTTKeyUnreadable: a key that cannot be had is told, without it, and tried again.
func TestIRTTKeyUnreadable(t *testing.T) {
	key, fail := "", errors.New("no such file")
	h := driven(t, "key", func(o *Options) { o.IRTT.Key = func() (string, error) { return key, fail } })
	h.tendServer()
	if e := wantKind(t, h.account().Err, KindOptions); !errors.Is(e, fail) {
		t.Errorf("%v", e)
	}
	key, fail = "0xno", nil
	h.tendServer()
	if err := h.account().Err; err == nil || strings.Contains(err.Error(), "no even number of hexadecimal digits") == strings.Contains(err.Error(), "0xno") {
		t.Errorf("%v", err)
	}
	key = "key"
	h.granted()
	if err := h.account().Err; err != nil {
		t.Errorf("%v", err)
	}
}

// TestIRTTRestart: a server that was started anew knows no session of ours, and has another clock.
func TestIRTTRestart(t *testing.T) {
	h := driven(t, "", nil)
	h.granted()
	if r := h.prove(); r.Clock != 1 {
		t.Fatalf("%+v", r)
	}
	if h.plan().pause != serverInterval {
		t.Error("the server has no turns")
	}
	h.srv.restart()
	for range deafProbes {
		h.clock.advance(serverInterval)
		h.probeServer(false)
	}
	if h.tendServer(); !h.alive() {
		t.Error("given up too soon")
	}
	h.clock.advance(deafFor)
	h.probeServer(false)
	if a := h.account(); h.alive() || a.Sent != proofs+1+deafProbes || h.plan().pause != 0 {
		t.Errorf("account %+v, turns every %v", a, h.plan().pause)
	}
	if n := h.book.with("probe_irtt"); len(n) != 1 || !strings.Contains(n[0], "has not answered 6 probes in a row") {
		t.Errorf("notes %q", n)
	}
	h.granted()
	if r := h.prove(); r.Clock != 2 {
		t.Errorf("another clock has the generation %d", r.Clock)
	}
}

// TestIRTTOutage: it was the line that was mute. The session lives; what was asked for meanwhile is given back.
func TestIRTTOutage(t *testing.T) {
	h := driven(t, "", nil)
	h.granted()
	h.prove()
	h.srv.set(func() { h.srv.mute = true })
	for range deafProbes {
		h.clock.advance(deafFor)
		h.probeServer(false)
	}
	h.clock.advance(deafFor)
	h.probeServer(false)
	h.tendServer() // asks, and probes the old session
	if h.alive() || h.account().Sent != proofs+1+deafProbes+1 {
		t.Fatalf("account %+v", h.account())
	}
	h.srv.catchUp()
	h.srv.set(func() { h.srv.mute = false })
	h.tendServer() // the probe is answered, and then the request
	h.until(func(s *server) bool { return s.alive })
	<-h.srv.gone // what came too late was given back
	if r := h.exchange(); !r.OneWay || r.Clock != 1 {
		t.Errorf("%+v", r)
	}
	if n := h.book.with("probe_irtt_open"); len(n) != 2 || !strings.Contains(n[1], "answers again") {
		t.Errorf("notes %q", n)
	}
	if !h.is(func(s *server) bool { return s.alive && s.token == 1 }) {
		t.Error("the session was given up")
	}
}

func (h *handDriven) srvCloses() int {
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	return h.srv.closes
}

// TestIRTTServerCloses: a server ends a session with a reply. The next one is asked for at once.
func TestIRTTServerCloses(t *testing.T) {
	h := driven(t, "", nil)
	h.granted()
	h.prove()
	h.srv.set(func() {
		h.srv.answer = func(_ uint32, r []byte) [][]byte {
			h.srv.answer, h.srv.sessions = nil, map[uint64]irttParams{}
			r[3] |= irttClose
			return [][]byte{r}
		}
	})
	if r := h.exchange(); !r.OneWay {
		t.Errorf("the last reply counts: %+v", r)
	}
	if h.is(func(s *server) bool { return s.known }) || h.plan().pause != 0 {
		t.Error("the session goes on")
	}
	h.granted()
	h.prove()
}

// TestIRTTExpiry: a session that was granted for a while is replaced when that is over, and given back.
func TestIRTTExpiry(t *testing.T) {
	h := driven(t, "", nil)
	h.srv.set(func() { h.srv.grant = func(p *irttParams) { p.duration = time.Minute } })
	h.granted()
	h.prove()
	if wait := h.tendServer(); wait != tendEvery {
		t.Errorf("a young session is tended in %v", wait)
	}
	h.clock.advance(time.Minute)
	h.tendServer()
	h.until(func(s *server) bool { return s.token == 2 && s.since == h.clock.now() })
	<-h.srv.gone
	h.prove()
}

// TestIRTTRefused: what a server refuses, or grants beyond what was asked, is told, and tried again.
func TestIRTTRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		set    func(*stampServer)
		want   string
		closes int
	}{
		{"refuses", func(s *stampServer) { s.refuse = true }, "it refuses the session", 0},
		{"another version", func(s *stampServer) { s.grant = func(p *irttParams) { p.version = 7 } }, "it speaks version 7", 1},
		{"far too slow", func(s *stampServer) { s.grant = func(p *irttParams) { p.interval = time.Minute } }, "a probe every 1m0s", 1},
	} {
		h := driven(t, "", nil)
		h.srv.set(func() { tt.set(h.srv) })
		h.tendServer()
		<-h.book.wrote
		if n := h.book.with("probe_irtt"); len(n) != 1 || !strings.Contains(n[0], tt.want) || h.alive() {
			t.Errorf("%s: notes %q", tt.name, n)
		}
		if e := wantKind(t, h.account().Err, KindOptions); e.Hint == "" {
			t.Errorf("%s: %v", tt.name, e)
		}
		h.srv.set(func() { h.srv.refuse, h.srv.grant = false, nil })
		h.granted()
		if n := h.srvCloses(); n != tt.closes {
			t.Errorf("%s: %d sessions were given back", tt.name, n)
		}
	}
}

// TestIRTTMalformedGrant: a reply that is none of a session's is counted and nothing else.
func TestIRTTMalformedGrant(t *testing.T) {
	h := driven(t, "", nil)
	h.granted()
	us := localPort(t, h.server.conn)
	h.mu.Lock()
	h.server.opens = 1 // another one was asked for
	h.mu.Unlock()
	for _, b := range [][]byte{{irttReply | irttOpen, 1, 2}, {irttReply | irttOpen, 1, 0, 0, 0, 0, 0, 0, 0, 0x80}} {
		if _, err := h.srv.conn.WriteToUDPAddrPort(append([]byte(irttMagic), b...), us); err != nil {
			t.Fatal(err)
		}
	}
	h.exchange()
	if n := h.Totals().Malformed; n != 2 {
		t.Errorf("%d malformed packets", n)
	}
}

// TestIRTTNobodyListens: the kernel says so; the server comes later.
func TestIRTTNobodyListens(t *testing.T) {
	h := driven(t, "", nil)
	addr := h.srv.conn.LocalAddr().String()
	_ = h.srv.conn.Close()
	h.srv.wg.Wait()
	for range openTries + 1 {
		h.tendServer()
	}
	wantKind(t, h.account().Err, KindSend)
	h.srv = newStampServer(t, addr, "")
	h.granted()
	h.exchange()
}

// TestIRTTMoves: the server's name gets another address, and its session with it.
func TestIRTTMoves(t *testing.T) {
	dns := &fakeDNS{Answers: addrs("127.0.0.1")}
	h := driven(t, "", func(o *Options) { o.IRTT.Host, o.Resolver = "stamps.example", dns })
	if wait := h.tendServer(); wait < retryFirst*3/4 || h.is(func(s *server) bool { return s.conn != nil }) {
		t.Errorf("asked without an address, again in %v", wait)
	}
	if err := h.resolve(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	h.granted()
	h.prove()
	other := newStampServer(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(h.srv.port())).String(), "")
	dns.Answers = addrs("127.0.0.2")
	if err := h.resolve(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	h.granted()
	other.set(func() {
		if other.opens != 1 {
			t.Error("the session is not with the new address")
		}
	})
	if r := h.prove(); r.Clock != 2 {
		t.Errorf("%+v", r)
	}
}

// TestIRTTSocketGone: the address that the session was bound to goes, and comes back.
func TestIRTTSocketGone(t *testing.T) {
	h := driven(t, "", func(o *Options) { o.Source = netip.MustParseAddr("127.0.0.1") })
	h.granted()
	h.server.conn.broken.Store(true)
	h.granted()
	h.exchange()
	if err := h.server.conn.file.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	h.until(func(s *server) bool { return s.conn.broken.Load() }) // its reader has ended
	if h.Totals().ReadErrors != 1 {
		t.Errorf("totals %+v", h.Totals())
	}
	h.granted()
	h.exchange()
}

// TestIRTTInterfaceGone: a session's interface is deleted under it. Once it is back another session begins.
func TestIRTTInterfaceGone(t *testing.T) {
	needRoot(t)
	n := newFar(t)
	n.line("ppp0", "10.3.0", "2001:db8:3")
	var socket *net.UDPConn
	n.run(func() (err error) {
		socket, err = listenUDP("0.0.0.0:0")
		return err
	})
	srv := serveStamps(t, socket, "")
	h := &handDriven{t: t, clock: newClock(), srv: srv, book: newNotebook()}
	h.Pinger = open(t, h.clock.options(Options{
		Targets: []string{"10.3.0.2"}, Interface: "ppp0", Timeout: MaxTimeout, Log: h.book.log, IRTT: IRTT{Host: "10.3.0.2", Port: srv.port()},
	}))
	_, end, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.leaveServer(); end() })
	h.granted()
	h.exchange()

	ip(t, "link delete ppp0")
	h.clock.advance(serverInterval)
	h.probeServer(false)
	if a := h.account(); a.Sent != 1 || a.SendErrors != 1 || a.Err == nil || h.is(func(s *server) bool { return s.deaf != 0 }) {
		t.Errorf("account %+v", a)
	}
	h.tendServer()
	if e := wantKind(t, h.account().Err, KindInterface); h.alive() {
		t.Errorf("%v", e)
	}
	if n := h.book.with("probe_irtt"); len(n) != 1 || !strings.Contains(n[0], "there is no such interface") {
		t.Errorf("notes %q", n)
	}

	n.line("ppp0", "10.3.0", "2001:db8:3")
	h.granted()
	h.exchange()
	if a := h.account(); a.Received != 2 || a.Err != nil {
		t.Errorf("account %+v", a)
	}
}

// TestIRTTBinding: sessions leave through the line that probes are bound to.
func TestIRTTBinding(t *testing.T) {
	n := twoLines(t)
	for _, d := range []string{"cable", "dsl"} {
		sysctl(t, "net.ipv6.conf."+d+".disable_ipv6", "1") // its own chatter would move the counters
	}
	var socket *net.UDPConn
	n.run(func() (err error) {
		socket, err = listenUDP("198.51.100.1:0")
		return err
	})
	srv := serveStamps(t, socket, "")
	for _, o := range []Options{{Interface: "dsl", Mark: 7}, {Mark: 7}} {
		o.Targets, o.IRTT, o.Timeout = []string{"198.51.100.1"}, IRTT{Host: "198.51.100.1", Port: srv.port()}, MaxTimeout
		p := open(t, o)
		_, end, err := p.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cable, dsl := carried(t, "cable"), carried(t, "dsl")
		h := &handDriven{Pinger: p, t: t, clock: newClock()}
		h.granted()
		h.exchange()
		if carried(t, "dsl") < dsl+2 || carried(t, "cable") != cable {
			t.Errorf("%+v: nothing went over the line", o)
		}
		if bad := levels(p.Check(t.Context()), link.Warning); len(bad) != 0 {
			t.Errorf("findings %q", bad)
		}
		p.leaveServer()
		end()
	}
}

// TestIRTTRuns: with its own pace the pinger opens the session, shares its turns between the server and the target, and
// gives the session back at its end.
func TestIRTTRuns(t *testing.T) {
	needRoot(t)
	srv := newStampServer(t, "127.0.0.1:0", "")
	var mu sync.Mutex
	sent := map[int][]unit.Time{}
	p := open(t, Options{
		Targets: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, Interval: 1, IRTT: IRTT{Host: "127.0.0.1", Port: srv.port()},
		OnSend: func(l link.Probe) {
			mu.Lock()
			defer mu.Unlock()
			sent[l.Host] = append(sent[l.Host], l.Sent)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	var replies []link.Reply
	oneWay := 0
	for oneWay < 5 {
		<-p.Arrived()
		replies = p.Drain(replies[:0])
		for _, r := range replies {
			if r.OneWay && r.Host == 3 {
				oneWay++
			}
		}
	}
	if got := p.Interval(); got != 2*minInterval*3/4 {
		t.Errorf("each target has its turn every %v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := len(sent[3]); n < proofs+4 || n > len(sent[0])+len(sent[1])+len(sent[2])+1 {
		t.Errorf("%d probes to the server, %d, %d and %d to the targets", n, len(sent[0]), len(sent[1]), len(sent[2]))
	}
	<-srv.gone
	srv.set(func() {
		if n := len(srv.sessions); n != 0 {
			t.Errorf("%d sessions are left open", n)
		}
	})
}

func TestIRTTOptions(t *testing.T) {
	base := Options{Targets: []string{"127.0.0.1"}}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"a negative port", func(o *Options) { o.IRTT = IRTT{Host: "a.example", Port: -1} }, "IRTT server a.example:-1: -1 is no port"},
		{"a port beyond all", func(o *Options) { o.IRTT = IRTT{Host: "a.example", Port: 65536} }, "65536 is no port"},
		{"no host", func(o *Options) { o.IRTT.Host = "a b" }, "neither an IP address nor a host name"},
		{"every host", func(o *Options) { o.IRTT.Host = "0.0.0.0" }, "not a unicast address"},
		{"the other IP version", func(o *Options) { o.IRTT.Host, o.Source = "2001:db8::1", netip.MustParseAddr("127.0.0.1") }, "[2001:db8::1]:2112: cannot be probed from 127.0.0.1"},
		{"too many in all", func(o *Options) {
			o.IRTT.Host = "a.example"
			for range MaxTargets {
				o.Targets = append(o.Targets, "127.0.0.1")
			}
		}, "(at most 63)"},
	} {
		o := base
		tt.change(&o)
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
