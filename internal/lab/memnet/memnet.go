// Package memnet is connections in memory. A goroutine that waits on one waits as on a channel: unlike a socket's, such a wait
// lets a bubble's time go on (testing/synctest). Unlike net.Pipe a connection buffers, as TCP does: both sides of SSH begin
// by writing.
package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Stream is one direction of a connection: it keeps what is written until it is read.
type Stream struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	closed bool
	// reading ends at this instant; zero is never. alarm wakes who waits by then.
	reading time.Time
	alarm   *time.Timer
}

// NewStream returns an open, empty one.
func NewStream() *Stream {
	s := &Stream{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// Read waits for something to read. What was written before the stream was closed is still read.
func (s *Stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == 0 {
		switch {
		case s.closed:
			return 0, io.EOF
		case !s.reading.IsZero() && !time.Now().Before(s.reading):
			return 0, os.ErrDeadlineExceeded
		}
		s.cond.Wait()
	}
	n := copy(b, s.buf)
	if s.buf = s.buf[n:]; len(s.buf) == 0 {
		s.buf = nil // and not a window that creeps through ever new memory
	}
	return n, nil
}

// Write never waits.
func (s *Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	s.buf = append(s.buf, b...)
	s.cond.Broadcast()
	return len(b), nil
}

// Close ends the stream for both sides.
func (s *Stream) Close() {
	s.setDeadline(time.Time{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
}

func (s *Stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alarm != nil {
		s.alarm.Stop()
		s.alarm = nil
	}
	if s.reading = t; !t.IsZero() && !s.closed {
		s.alarm = time.AfterFunc(time.Until(t), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cond.Broadcast()
		})
	}
	s.cond.Broadcast()
}

// Conn is one end of a connection.
type Conn struct {
	In, Out *Stream
	// Addr is what both of its addresses say.
	Addr Addr
}

// Read is part of [net.Conn].
func (c Conn) Read(b []byte) (int, error) { return c.In.Read(b) }

// Write is part of [net.Conn].
func (c Conn) Write(b []byte) (int, error) { return c.Out.Write(b) }

// Close closes both directions: the other side reads what is under way and then the end.
func (c Conn) Close() error {
	c.In.Close()
	c.Out.Close()
	return nil
}

// LocalAddr is part of [net.Conn].
func (c Conn) LocalAddr() net.Addr { return c.Addr }

// RemoteAddr is part of [net.Conn].
func (c Conn) RemoteAddr() net.Addr { return c.Addr }

// SetDeadline bounds reading.
func (c Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline is part of [net.Conn].
func (c Conn) SetReadDeadline(t time.Time) error {
	c.In.setDeadline(t)
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (Conn) SetWriteDeadline(time.Time) error { return nil }

// Addr is the address of a connection in memory, host:port.
type Addr string

// Network is part of [net.Addr].
func (Addr) Network() string { return "pipe" }

// String is part of [net.Addr].
func (a Addr) String() string { return string(a) }

// Network is a listener and its dialler; one address. From is where its connections seem to come from.
type Network struct {
	From Addr

	mu sync.Mutex
	ln *listener
}

type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

// Listen takes the place of the listener before.
func (n *Network) Listen(a net.Addr) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ln = &listener{addr: a, conns: make(chan net.Conn, 64), done: make(chan struct{})}
	return n.ln, nil
}

// Dial connects with the newest listener; it fails when that one is closed.
func (n *Network) Dial() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ln == nil {
		return nil, net.ErrClosed
	}
	select {
	case <-n.ln.done:
		return nil, net.ErrClosed
	default:
	}
	up, down := NewStream(), NewStream()
	n.ln.conns <- Conn{In: up, Out: down, Addr: n.From}
	return Conn{In: down, Out: up, Addr: n.From}, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
