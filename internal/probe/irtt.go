package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// IRTT names a server that speaks IRTT (Isochronous Round-Trip Tester, protocol version 1): it stamps each probe with its own
// clock, so that its replies tell both ways apart. Its host is the one after all targets. While it answers it has every
// second turn, at most ten a second; until it does, and whenever it does not, a session is asked for ever more rarely.
type IRTT struct {
	// Host is a name or an address; empty is no server.
	Host string
	// Port is its UDP port; 0 is [DefaultIRTTPort].
	Port int
	// Key returns the key of its HMACs, as irtt's own option has it: hexadecimal behind 0x, else as it stands; "" is none. It
	// is asked for whenever a socket is opened, and its error must not name the key. nil is no key.
	Key func() (string, error)
}

// DefaultIRTTPort is the port of an IRTT server that names none.
const DefaultIRTTPort = 2112

// String is the server's address with its port, as a person writes it.
func (s IRTT) String() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.port())) }

func (s IRTT) port() int {
	if s.Port == 0 {
		return DefaultIRTTPort
	}
	return s.Port
}

const (
	// irttSession is how long a session is asked for, and serverInterval between two of its probes.
	irttSession    = 24 * time.Hour
	serverInterval = 2 * minStep
	// longestInterval is the longest a server may want between two probes: replies that are rarer tell nothing in time.
	longestInterval = 10 * time.Second
	// deafProbes in a row without an answer, over deafFor at least, end the belief in a session.
	deafProbes = 6
	deafFor    = 3 * time.Second
	// openTries is how many requests for a session may stay without an answer before a person is told.
	openTries = 3
	// tendEvery is how often at least a session that needs nothing is looked at.
	tendEvery = 10 * time.Second
)

// server is our side of the sessions with an IRTT server, one at a time. But for sending it is guarded by the pinger's lock.
type server struct {
	host int // its index among the targets
	conn *conn
	addr netip.Addr // that conn is connected to
	to   unix.Sockaddr
	in   *mac // of the goroutine that reads conn

	known   bool // a session was granted and has not ended
	alive   bool // and it answers
	token   uint64
	stampAt int64
	since   unit.Time     // when it was granted
	lasts   time.Duration // for how long; 0 is for ever
	pause   time.Duration // the least time between two of its probes
	sent    uint32        // its probes
	table   table         // the newest of them, by the low half of their number

	deaf  int       // probes in a row without an answer
	mute  unit.Time // when the first of them left
	opens int       // requests for a session since one was granted, or the old one answered again

	signal chan struct{} // something has changed that tendServer must see

	sending sync.Mutex // guards out and buf, and sending on conn
	out     *mac
	buf     [irttMax]byte
}

// addServer makes the IRTT server of the options the last target.
func (p *Pinger) addServer() error {
	o := &p.o.IRTT
	if o.Port < 0 || o.Port > 65535 {
		return &Error{Kind: KindOptions, Op: "IRTT server", Thing: o.String(), Err: fmt.Errorf("%d is no port", o.Port), Hint: "1 to 65535"}
	}
	p.server = &server{host: len(p.targets), signal: make(chan struct{}, 1)}
	p.targets = append(p.targets, target{name: o.Host, port: o.port()})
	return p.aim(&p.targets[p.server.host], "IRTT server", o.String())
}

// poke has the server tended at once.
func (s *server) poke() {
	select {
	case s.signal <- struct{}{}:
	default: // an earlier signal has yet to be seen
	}
}

// send hands one packet to the kernel.
func (s *server) send(c *conn, to unix.Sockaddr, packet func(b []byte) []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	b := packet(s.buf[:])
	err := c.send(b, to)
	if errors.Is(err, unix.ECONNREFUSED) { // what became of an earlier packet; this one has not left
		err = c.send(b, to)
	}
	return err
}

// keepServer keeps a session with the IRTT server until ctx ends.
func (p *Pinger) keepServer(ctx context.Context) {
	for {
		timer := time.NewTimer(p.tendServer())
		select {
		case <-ctx.Done():
			timer.Stop()
			p.leaveServer()
			return
		case <-p.server.signal:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// tendServer does what the session needs now, and returns when to look again.
func (p *Pinger) tendServer() time.Duration {
	s, t, now := p.server, &p.targets[p.server.host], p.o.Now()
	p.mu.Lock()
	expired := s.lasts > 0 && now.Sub(s.since) >= s.lasts
	if s.conn != nil && (s.conn.broken.Load() || s.addr != t.addr) {
		p.hangUp()
	}
	c, to, reachable, known, alive := s.conn, t.to, t.addr.IsValid(), s.known, s.alive
	if alive && !expired {
		p.mu.Unlock()
		return tendEvery
	}
	s.opens++
	tries := s.opens
	p.mu.Unlock()
	wait := backoff(tries, rand.Float64()) // spreads requests, hides nothing
	if !reachable {
		return wait // until its name is resolved
	}
	if c == nil {
		var err error
		if c, err = p.dialServer(); err != nil {
			p.mu.Lock()
			t.lastErr = err
			p.mu.Unlock()
			p.note(link.Warning, "probe_irtt", "socket", func() string {
				return fmt.Sprintf("The IRTT server %v cannot be asked: %v. It is tried again.", p.o.IRTT, err)
			})
			return wait
		}
	} else if known && !alive {
		p.probeServer(true) // it may have been the line that was mute
	}
	err := s.send(c, to, func(b []byte) []byte { return s.out.openRequest(b, irttAsked) })
	if err != nil && p.stale(c, err) {
		c.broken.Store(true)
	}
	if tries < openTries {
		return wait
	}
	e := &Error{
		Kind: KindSend, Op: "open an IRTT session with", Thing: p.o.IRTT.String(), Err: errors.New("no answer"),
		Hint: "is irtt server running there, is its UDP port open, and has it the same HMAC key?",
	}
	p.mu.Lock()
	if s.opens > 0 { // not granted meanwhile
		t.lastErr = e
	}
	p.mu.Unlock()
	if tries == openTries {
		p.note(link.Warning, "probe_irtt", "open", func() string {
			return fmt.Sprintf("There are no one-way delays from the IRTT server: %v. It is tried again; ICMP goes on.", e)
		})
	}
	return wait
}

// dialServer opens the socket of a session. It is connected, so that the kernel lets only the server's packets through.
func (p *Pinger) dialServer() (*conn, error) {
	s, t := p.server, &p.targets[p.server.host]
	var out, in *mac
	if p.o.IRTT.Key != nil {
		key, err := p.o.IRTT.Key()
		if err == nil {
			out, err = newMAC(key)
		}
		if err != nil {
			return nil, &Error{Kind: KindOptions, Op: "read the HMAC key of", Thing: p.o.IRTT.String(), Err: err}
		}
		in, _ = newMAC(key) // as good as the other
	}
	p.mu.Lock()
	addr, to := t.addr, t.to
	p.mu.Unlock()
	c, err := openConn(p.o.binding(), familyOf(addr), udpKind, 0)
	if err != nil {
		return nil, err
	}
	if err := c.connect(to); err != nil {
		_ = c.close()
		return nil, &Error{Kind: KindRoute, Op: "find a route to", Thing: p.o.IRTT.String(), Err: err, Hint: sendHint(err)}
	}
	s.sending.Lock()
	s.out = out
	s.sending.Unlock()
	p.mu.Lock()
	s.conn, s.addr, s.to, s.in = c, addr, to, in
	p.wg.Go(func() { p.readServer(c) })
	p.mu.Unlock()
	return c, nil
}

// hangUp ends what is known of the session, with its socket. The caller holds the lock.
func (p *Pinger) hangUp() {
	s := p.server
	_ = s.conn.close()
	s.conn, s.known, s.alive, s.opens = nil, false, false, 0
	p.serve()
}

// leaveServer tells the server that its session is over and closes the socket.
func (p *Pinger) leaveServer() {
	s := p.server
	p.mu.Lock()
	c, known, token := s.conn, s.known, s.token
	p.mu.Unlock()
	if c == nil {
		return
	}
	if known {
		p.endSession(c, token)
	}
	p.mu.Lock()
	p.hangUp()
	p.mu.Unlock()
}

// endSession gives a session back, as nothing else would free it on the server before its time. There is no answer.
func (p *Pinger) endSession(c *conn, token uint64) {
	s := p.server
	p.mu.Lock()
	to := s.to
	p.mu.Unlock()
	_ = s.send(c, to, func(b []byte) []byte { return s.out.closeRequest(b, token) })
}

// serve has the server's turns begin or end. The caller holds the lock.
func (p *Pinger) serve() {
	s := p.server
	pause := time.Duration(0)
	if s.alive {
		pause = s.pause
	}
	if p.asked.pause != pause {
		p.asked.server, p.asked.pause = s.host, pause
		p.wake()
	}
}

// probeServer sends one probe of the session; without anyway only while the server answers.
func (p *Pinger) probeServer(anyway bool) {
	s, t := p.server, &p.targets[p.server.host]
	now := p.o.Now()
	p.mu.Lock()
	c := s.conn
	if c == nil || !s.known || !s.alive && !anyway {
		p.mu.Unlock()
		return
	}
	if s.alive && s.deaf >= deafProbes && now.Sub(s.mute) >= deafFor {
		s.alive, s.opens = false, 0
		p.serve()
		p.mu.Unlock()
		s.poke()
		p.note(link.Warning, "probe_irtt", "silent", func() string {
			return fmt.Sprintf("The IRTT server %v has not answered %d probes in a row. Another session is asked for; ICMP goes on.", p.o.IRTT, deafProbes)
		})
		return
	}
	if s.deaf++; s.deaf == 1 {
		s.mute = now
	}
	t.clock.again(now)
	e := s.table.add(s.host, t.addr)
	slot, seq, token, stampAt, to := e.seq, s.sent, s.token, s.stampAt, t.to
	s.sent++
	e.at, e.stamp = now, time.Now()
	t.sent++
	if t.unanswered == 0 {
		t.unanswered = now
	}
	p.mu.Unlock()

	err := s.send(c, to, func(b []byte) []byte { return s.out.echoRequest(b, token, seq, stampAt) })
	if err != nil {
		p.mu.Lock()
		s.deaf = max(s.deaf-1, 0)
		p.mu.Unlock()
		p.unsent(&s.table, s.host, slot, now, c, err)
		if c.broken.Load() {
			s.poke()
		}
		return
	}
	p.left(link.Probe{Host: s.host, Sent: now})
}

// readServer takes the server's packets from a socket until it is closed or fails.
func (p *Pinger) readServer(c *conn) {
	for {
		packet, oob, _, err := c.recv()
		read, now := time.Now(), p.o.Now()
		switch {
		case err == nil:
			stamp, stamped := parseStamp(oob)
			p.takeServer(c, packet, arrival{read: read, now: now, stamp: stamp, stamped: stamped})
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ECONNREFUSED):
			// Nobody listens there now. The probes stay unanswered, which is told.
		default:
			p.mu.Lock()
			p.totals.ReadErrors++
			p.mu.Unlock()
			c.broken.Store(true)
			p.server.poke()
			return
		}
	}
}

// takeServer judges one packet and books it.
func (p *Pinger) takeServer(c *conn, packet []byte, a arrival) {
	s, t := p.server, &p.targets[p.server.host]
	p.mu.Lock()
	if c != s.conn {
		p.mu.Unlock()
		return
	}
	flags, body, v := s.in.parseIRTT(packet)
	var notes func()
	switch {
	case v == stray:
		p.totals.Malformed++
	case v == forged:
		t.forged++
		notes = func() {
			p.note(link.Warning, "probe_forged", t.name, func() string {
				return fmt.Sprintf("A packet that claims to come from the IRTT server %v has not our HMAC; it is ignored. "+
					"Has the server another key, or does somebody forge replies?", p.o.IRTT)
			})
		}
	case flags&irttOpen != 0:
		notes = p.granted(c, flags, body, a.now)
	default:
		notes = p.echoed(flags, body, a)
	}
	p.mu.Unlock()
	if notes != nil {
		notes()
	}
}

// granted takes in the reply to a request for a session. The caller holds the lock, and calls what is returned without it.
func (p *Pinger) granted(c *conn, flags byte, body []byte, now unit.Time) func() {
	s, t := p.server, &p.targets[p.server.host]
	token, params, ok := parseGrant(body)
	switch {
	case !ok:
		p.totals.Malformed++
		return nil
	case s.opens == 0: // that of an earlier request
		p.totals.Stray++
		if token == 0 || s.known && token == s.token {
			return nil
		}
		return func() { p.endSession(c, token) }
	}
	err := params.within(irttAsked)
	if flags&irttClose != 0 || token == 0 {
		err = errors.New("it refuses the session")
	}
	if err != nil {
		t.lastErr = &Error{Kind: KindOptions, Op: "open an IRTT session with", Thing: p.o.IRTT.String(), Err: err, Hint: "look at the options that irtt server was started with"}
		said := t.lastErr
		return func() {
			if token != 0 {
				p.endSession(c, token)
			}
			p.note(link.Warning, "probe_irtt", "refused", func() string {
				return fmt.Sprintf("There are no one-way delays from the IRTT server: %v. It is tried again; ICMP goes on.", said)
			})
		}
	}
	old, had := s.token, s.known
	s.known, s.alive, s.token, s.stampAt = true, true, token, params.stampAt
	s.since, s.lasts, s.pause = now, params.duration, max(params.interval, serverInterval)
	s.sent, s.table, s.deaf, s.opens = 0, table{}, 0, 0
	t.clock.reset(0) // the server may have been started anew, and its clock with it
	t.unanswered, t.lastErr, t.failing = 0, nil, false
	p.serve()
	s.poke()
	return func() {
		if had {
			p.endSession(c, old)
		}
		p.note(link.Info, "probe_irtt_open", "grant", func() string {
			if params.stampAt == stampNone {
				return fmt.Sprintf("The IRTT server %v grants a session without stamps: it tells round trips, and no one-way delays.", p.o.IRTT)
			}
			return fmt.Sprintf("The IRTT server %v grants a session: one-way delays come from there.", p.o.IRTT)
		})
	}
}

// echoed takes in the reply to a probe. The caller holds the lock, and calls what is returned without it.
func (p *Pinger) echoed(flags byte, body []byte, a arrival) func() {
	s, t := p.server, &p.targets[p.server.host]
	r, ok := parseEcho(body, s.stampAt)
	if !ok || !s.known {
		p.totals.Malformed++
		return nil
	}
	if r.token != s.token {
		t.forged++
		return nil // most likely of the session before
	}
	e := &s.table.slots[r.seq%tableSize]
	switch {
	case r.seq >= s.sent || s.sent-r.seq > tableSize || !e.used || e.seq != uint16(r.seq):
		p.totals.Stray++
		return nil
	case e.answered:
		t.duplicates++
	default:
		p.acceptEcho(t, e, r, a)
	}
	s.deaf = 0
	var again bool
	switch {
	case flags&irttClose != 0: // for good, and with this reply: its time is over
		s.known, s.alive, s.opens = false, false, 0
		p.serve()
		s.poke()
	case !s.alive:
		again = true
		s.alive, s.opens, t.lastErr = true, 0, nil
		p.serve()
		s.poke()
	}
	if !again {
		return nil
	}
	return func() {
		p.note(link.Info, "probe_irtt_open", "again", func() string { return fmt.Sprintf("The IRTT server %v answers again.", p.o.IRTT) })
	}
}

// acceptEcho books a genuine first reply. The caller holds the lock.
func (p *Pinger) acceptEcho(t *target, e *sentProbe, r irttEcho, a arrival) {
	reply, rtt, ok := p.book(t, &p.server.table, e, a)
	if !ok {
		return
	}
	if p.server.stampAt != stampNone {
		sent := p.timeOfDay(e.stamp)
		reply.Delay, reply.OneWay = t.clock.weigh(crossing{sent: sent, came: sent + rtt, receive: r.receive, transmit: r.transmit}, r.stamped, a.now)
		if reply.OneWay {
			reply.Clock = t.clock.generation
		}
	}
	p.hand(reply)
}
