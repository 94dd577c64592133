package probe

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// reopenEvery is the least time between two attempts to open a socket.
const reopenEvery = time.Second

// probe sends one echo, or one timestamp request, to a host, or one probe of the IRTT server's session. Only one goroutine
// may call it.
func (p *Pinger) probe(host int) {
	if p.server != nil && host == p.server.host {
		p.probeServer(false)
		return
	}
	t := &p.targets[host]
	p.mu.Lock()
	if !t.addr.IsValid() {
		t.sendErrors++
		p.mu.Unlock()
		return
	}
	f := familyOf(t.addr)
	c := p.conns[f]
	p.mu.Unlock()
	if c == nil || c.broken.Load() {
		var err error
		if c, err = p.reopen(f, c); c == nil {
			p.mu.Lock()
			t.sendErrors++
			if err != nil {
				t.lastErr = err
			}
			p.mu.Unlock()
			return
		}
	}

	p.mu.Lock()
	s := p.table.add(host, t.addr)
	seq, to := s.seq, t.to
	_, _ = rand.Read(s.nonce[:]) // never fails since Go 1.24
	var msg []byte
	now := p.o.Now()
	if s.timestamps = p.o.Timestamps && f == v4 && c.kind == rawKind && t.clock.ask(now); s.timestamps {
		msg = buildTimestamp(&p.echo, p.id, seq, &s.nonce)
	} else {
		msg = buildEcho(&p.echo, f, p.id, seq, &s.nonce)
	}
	s.at, s.stamp = now, time.Now()
	// The reply may be read before send returns, so the books are made up first.
	at := s.at
	t.sent++
	if t.unanswered == 0 {
		t.unanswered = at
	}
	p.mu.Unlock()

	if err := c.send(msg, to); err != nil {
		p.unsent(&p.table, host, seq, at, c, err)
		return
	}
	p.left(link.Probe{Host: host, Sent: at})
}

// left tells that a probe has left.
func (p *Pinger) left(x link.Probe) {
	p.o.OnSend(x)
	t := &p.targets[x.Host]
	p.mu.Lock()
	back := t.failing
	t.failing, t.lastErr = false, nil
	p.mu.Unlock()
	if back {
		p.note(link.Info, "probe_send_ok", t.name, func() string { return fmt.Sprintf("Echoes to %s leave again.", t.name) })
	}
}

// unsent takes back an echo that the kernel refused and decides whether the socket is at fault.
func (p *Pinger) unsent(sent *table, host int, seq uint16, at unit.Time, c *conn, err error) {
	t := &p.targets[host]
	e := &Error{Kind: KindSend, Op: "send echo to", Thing: t.name, Err: err, Hint: sendHint(err)}
	p.mu.Lock()
	if sent.drop(seq) {
		t.clock.unsent()
	}
	t.sent--
	t.sendErrors++
	if t.unanswered == at {
		t.unanswered = 0
	}
	t.lastErr, t.failing = e, true
	p.mu.Unlock()
	if errors.Is(err, os.ErrClosed) {
		return // the pinger is being closed
	}
	if p.stale(c, err) {
		c.broken.Store(true)
	}
	p.note(link.Warning, "probe_send", t.name, func() string {
		if cause := p.o.binding().prove(c.fam); cause != nil {
			return fmt.Sprintf("No echo to %s can be sent: %v. Probing goes on.", t.name, cause)
		}
		return fmt.Sprintf("No echo to %s can be sent: %v. Probing goes on.", t.name, e)
	})
}

// stale says whether an error means that the socket is bound to something that is gone. A new interface of the same
// name has another index, and a socket bound to the old one never works again.
func (p *Pinger) stale(c *conn, err error) bool {
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EBADF):
		return true
	case p.o.Interface != "":
		return interfaceIndex(p.o.Interface) != c.ifindex
	}
	return false
}

// reopen closes the old socket of a family, if any, and opens a new one, at most once per reopenEvery. It returns
// nil, nil when it is too early to try.
func (p *Pinger) reopen(f family, old *conn) (*conn, error) {
	now := p.o.Now()
	p.mu.Lock()
	if old != nil {
		_ = old.close()
		p.conns[f] = nil
	}
	if now < p.retryAt[f] {
		p.mu.Unlock()
		return nil, nil
	}
	p.retryAt[f] = now.Add(reopenEvery)
	p.mu.Unlock()

	c, err := p.openSocket(f)
	if err != nil {
		p.mu.Lock()
		p.down[f] = true
		p.mu.Unlock()
		p.note(link.Warning, "probe_socket", f.String(), func() string {
			return fmt.Sprintf("No probe can be sent over %s: %v. The socket is tried again every %v.", f, err, reopenEvery)
		})
		return nil, err
	}
	p.mu.Lock()
	p.conns[f] = c
	back := p.down[f] || old != nil
	p.down[f] = false
	if back {
		p.totals.Reopened++
	}
	for i := range p.targets {
		if t := &p.targets[i]; t.addr.IsLinkLocalUnicast() && t.literal && familyOf(t.addr) == f {
			p.point(t, netip.MustParseAddr(t.name).Unmap()) // the index of its interface may have changed
		}
	}
	p.wg.Go(func() { p.read(c) })
	p.mu.Unlock()
	if back {
		p.note(link.Info, "probe_socket_open", f.String(), func() string {
			return fmt.Sprintf("The %s probe socket is open again (%s).", f, c.kind)
		})
	}
	return c, nil
}

// read takes replies from a socket until it is closed or fails.
func (p *Pinger) read(c *conn) {
	for {
		err := p.readOne(c)
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrClosed):
			return
		}
		p.mu.Lock()
		p.totals.ReadErrors++
		p.mu.Unlock()
		c.broken.Store(true)
		p.note(link.Warning, "probe_read", c.fam.String(), func() string {
			return fmt.Sprintf("Reading %s replies failed: %v. The socket is opened anew.", c.fam, err)
		})
		return
	}
}

// readOne waits for one packet and books it.
func (p *Pinger) readOne(c *conn) error {
	packet, oob, from, err := c.recv()
	read, now := time.Now(), p.o.Now()
	if err != nil {
		return err
	}
	stamp, stamped := parseStamp(oob)
	p.take(c, packet, from, arrival{read: read, now: now, stamp: stamp, stamped: stamped})
	return nil
}

// arrival is when a packet was read, on both clocks, and the kernel's stamp of when it came.
type arrival struct {
	read    time.Time
	now     unit.Time
	stamp   int64
	stamped bool
}

// take judges one packet and books it.
func (p *Pinger) take(c *conn, packet []byte, from netip.Addr, a arrival) {
	r, ok := parseReply(packet, c.fam, c.kind == rawKind)
	p.mu.Lock()
	if !ok {
		p.totals.Malformed++
		p.mu.Unlock()
		return
	}
	if c.kind == rawKind && r.id != p.id {
		p.totals.Stray++
		p.mu.Unlock()
		return
	}
	s, v := p.table.find(r, from)
	if v == stray {
		p.totals.Stray++
		p.mu.Unlock()
		return
	}
	t := &p.targets[s.host]
	name := t.name
	switch v {
	case stray, late: // stray was handled above; find never says late
	case forged:
		t.forged++
	case wrongSource:
		t.wrongSource++
	case duplicate:
		t.duplicates++
	case accepted:
		p.accept(t, s, r, a)
	}
	p.mu.Unlock()
	switch v {
	case forged:
		p.note(link.Warning, "probe_forged", name, func() string {
			return fmt.Sprintf("A reply from %v claims to answer our echo to %s but does not carry its secret; it is ignored. "+
				"Somebody forges replies, or the reflector changes them.", from, name)
		})
	case wrongSource:
		p.note(link.Warning, "probe_wrong_source", name, func() string {
			return fmt.Sprintf("Our echo to %s is answered by %v; such replies are ignored. "+
				"Choose a reflector that answers from its own address.", name, from)
		})
	case stray, duplicate, late, accepted:
	}
}

// accept books a genuine first reply. The caller holds the lock.
func (p *Pinger) accept(t *target, s *sentProbe, r icmpReply, a arrival) {
	if s.to == t.addr {
		t.clock.answered(r.timestamps)
	}
	reply, rtt, ok := p.book(t, &p.table, s, a)
	if !ok {
		return
	}
	if r.timestamps && s.to == t.addr {
		receive, transmit := r.stamps()
		reply.Delay, reply.OneWay = t.clock.judge(
			sighting{sent: p.timeOfDay(s.stamp), rtt: rtt, receive: receive, transmit: transmit}, a.now)
		if reply.OneWay {
			reply.Clock = t.clock.generation
		}
	}
	p.hand(reply)
}

// book enters a genuine first reply to one of the remembered probes into its target's account; false when it came too late
// to count. The caller holds the lock.
func (p *Pinger) book(t *target, sent *table, s *sentProbe, a arrival) (reply link.Reply, rtt time.Duration, ok bool) {
	s.answered = true
	rtt, queued := roundTrip(a.read.Sub(s.stamp), a.read.UnixNano(), a.stamp, a.stamped)
	if !a.stamped {
		p.totals.Unstamped++
	}
	received := a.now.Add(-queued)
	if s.at >= t.answered && s.to == t.addr {
		t.answered = s.at
		t.unanswered = sent.unansweredAfter(s.seq, s.host)
	}
	if rtt > p.o.Timeout || received.Sub(s.at) > p.o.Timeout {
		t.late++
		return reply, rtt, false
	}
	t.received++
	t.lastReply = max(t.lastReply, received)
	return link.Reply{Host: s.host, Sent: s.at, Received: received, RTT: unit.ToMillis(rtt)}, rtt, true
}

// hand puts a reply where Drain finds it. The caller holds the lock.
func (p *Pinger) hand(r link.Reply) {
	p.buffer.push(r)
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// quiet passes on the notes that may be said.
type quiet struct {
	log  func(link.Note)
	mu   sync.Mutex
	rows link.Repeats
}

// pass says whether a note of a key about a thing may be passed on now, and how many were held back before it.
func (q *quiet) pass(key, thing string, now unit.Time) (held uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rows.Pass(now, key+" "+thing, "")
}

// note passes on a note about a thing, a target or a family, with growing pauses while that goes on ([link.Repeats]).
// The caller holds no lock.
func (p *Pinger) note(level link.Level, key, thing string, text func() string) {
	held, ok := p.quiet.pass(key, thing, p.o.Now())
	if !ok {
		return
	}
	p.quiet.log(link.Note{Level: level, Key: key, Text: text() + link.More(held)})
}
