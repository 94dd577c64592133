package rosim

import (
	"io"
	"net"
	"sync"
	"time"
)

// stream is one direction of a buffered in-memory connection. Unlike net.Pipe it buffers, as TCP does: both sides of
// SSH begin by writing.
type stream struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	closed bool
}

func newStream() *stream {
	s := &stream{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == 0 {
		if s.closed {
			return 0, io.EOF
		}
		s.cond.Wait()
	}
	n := copy(b, s.buf)
	s.buf = s.buf[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	s.buf = append(s.buf, b...)
	s.cond.Broadcast()
	return len(b), nil
}

func (s *stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
}

type pipeConn struct {
	in, out *stream
	addr    pipeAddr
}

func (c pipeConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c pipeConn) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c pipeConn) Close() error {
	c.in.Close()
	c.out.Close()
	return nil
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

func (c pipeConn) LocalAddr() net.Addr            { return c.addr }
func (c pipeConn) RemoteAddr() net.Addr           { return c.addr }
func (pipeConn) SetDeadline(time.Time) error      { return nil }
func (pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (pipeConn) SetWriteDeadline(time.Time) error { return nil }

// network is a listener and its dialler in memory; one address. from is where its connections seem to come from.
type network struct {
	mu   sync.Mutex
	ln   *pipeListener
	from pipeAddr
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func (n *network) Listen(a net.Addr) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ln = &pipeListener{addr: a, conns: make(chan net.Conn, 64), done: make(chan struct{})}
	return n.ln, nil
}

func (n *network) Dial() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.ln.done:
		return nil, net.ErrClosed
	default:
	}
	up, down := newStream(), newStream()
	n.ln.conns <- pipeConn{in: up, out: down, addr: n.from}
	return pipeConn{in: down, out: up, addr: n.from}, nil
}

func (l *pipeListener) Accept() (net.Conn, error) {
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

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }
