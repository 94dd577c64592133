package capacity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// meter adds up what a set of TCP connections carries, as the kernel counts it.
type meter struct {
	mu     sync.Mutex
	conns  map[*metered]struct{}
	rx, tx unit.Bytes // of those that are closed
	closed bool
}

func newMeter() *meter { return &meter{conns: map[*metered]struct{}{}} }

// metered is one connection of a meter.
type metered struct {
	*net.TCPConn
	m *meter
	// rx and tx are the newest that could be read.
	rx, tx unit.Bytes
}

var errMeterClosed = errors.New("the measurement is over")

// dial connects through the path and counts the connection from its first byte on.
func (m *meter) dial(ctx context.Context, p Path, network, address string) (net.Conn, error) {
	c, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	k := &metered{TCPConn: c, m: m}
	// What the test leaves unsent would still fill the line after it.
	_ = k.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 128<<10) })
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		c.Close()
		return nil, errMeterClosed
	}
	m.conns[k] = struct{}{}
	return k, nil
}

// read returns what all connections together have carried, in bytes of IP packets.
func (m *meter) read() (rx, tx unit.Bytes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rx, tx = m.rx, m.tx
	for c := range m.conns {
		c.look()
		rx, tx = rx+c.rx, tx+c.tx
	}
	return rx, tx
}

// close ends all connections at once, and those that would still be made.
func (m *meter) close() {
	m.mu.Lock()
	m.closed = true
	var open []*metered
	for c := range m.conns {
		open = append(open, c)
	}
	m.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// Close resets the connection: what it has queued on the line is not worth its time any more.
func (c *metered) Close() error {
	c.m.mu.Lock()
	if _, open := c.m.conns[c]; open {
		c.look()
		c.m.rx, c.m.tx = c.m.rx+c.rx, c.m.tx+c.tx
		delete(c.m.conns, c)
	}
	c.m.mu.Unlock()
	_ = c.SetLinger(0)
	return c.TCPConn.Close()
}

func (c *metered) control(f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// tcpOptTimestamps is TCPI_OPT_TIMESTAMPS of linux/tcp.h.
const tcpOptTimestamps = 1

// look reads what the connection has carried. What cannot be read stays what it was. The caller holds the meter's lock.
func (c *metered) look() {
	var info *unix.TCPInfo
	if err := c.control(func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	}); err != nil || info == nil {
		return
	}
	header := uint64(40) // IPv4 and TCP (RFC 791, RFC 9293)
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && a.IP.To4() == nil {
		header = 60 // IPv6 (RFC 8200)
	}
	if info.Options&tcpOptTimestamps != 0 {
		header += 12 // RFC 7323, with its padding
	}
	c.rx = max(c.rx, unit.Bytes(info.Bytes_received+uint64(info.Data_segs_in)*header))
	if mss := uint64(info.Snd_mss); mss > 0 {
		c.tx = max(c.tx, unit.Bytes(info.Bytes_acked+info.Bytes_acked/mss*header))
	}
}

// dial connects through a line.
func (p Path) dial(ctx context.Context, network, address string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: answerTime, Control: p.bind}
	if p.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.Source.AsSlice(), Zone: p.Source.Zone()}
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s is no TCP address", address)
	}
	return tcp, nil
}

// bind ties a socket to the line before it connects.
func (p Path) bind(_, _ string, raw syscall.RawConn) error {
	var err error
	cerr := raw.Control(func(fd uintptr) {
		if p.Interface != "" {
			if err = unix.BindToDevice(int(fd), p.Interface); err != nil {
				err = fmt.Errorf("bind to interface %s: %w", p.Interface, err)
				return
			}
		}
		if p.Mark != 0 {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
				err = fmt.Errorf("set the mark %#x (needs CAP_NET_ADMIN): %w", p.Mark, err)
			}
		}
	})
	return errors.Join(cerr, err)
}
