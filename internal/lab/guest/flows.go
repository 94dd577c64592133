package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	flowPort = 6000
	// request is what a page asks with, in bytes.
	request = 400
	// datagram is the payload of a camera's packets.
	datagram = 1200
)

// flow is one line of the scenario at work.
type flow struct {
	index int
	spec  scenario.Flow
	got   [2]atomic.Int64 // by direction: received payload
	// bulk receivers count in the kernel.
	mu       sync.Mutex
	counting []*net.TCPConn
	counted  int64 // of those that are closed
}

// dirs are the directions that a flow's receivers count in.
func (f *flow) dirs() []link.Direction {
	switch f.spec.Kind {
	case scenario.Call:
		return directions
	case scenario.Web:
		return []link.Direction{link.Down}
	case scenario.Bulk, scenario.Video, scenario.Steady:
	}
	return []link.Direction{f.spec.Dir}
}

// sample is what the flow's receivers have by now.
func (f *flow) sample(at float64, put func(report.Flow) error) error {
	for _, d := range f.dirs() {
		n := f.got[d].Load()
		if f.spec.Kind == scenario.Bulk {
			n = f.bulkBytes()
		}
		if err := put(report.Flow{At: at, Flow: f.index, Link: f.spec.Link, Dir: d, Bytes: unit.Bytes(n)}); err != nil {
			return err
		}
	}
	return nil
}

func (f *flow) bulkBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.counted
	for _, c := range f.counting {
		n += bytesReceived(c)
	}
	return n
}

// bytesReceived is what the kernel received on a connection: exact at any moment, and without waking the reader.
func bytesReceived(c *net.TCPConn) int64 {
	var n int64
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int64(info.Bytes_received)
		}
	})
	return n
}

// received takes a bulk receiver into account; the returned function takes it out at its end.
func (f *flow) received(c *net.TCPConn) func() {
	f.mu.Lock()
	f.counting = append(f.counting, c)
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range f.counting {
			if f.counting[i] == c {
				f.counted += bytesReceived(c)
				f.counting = append(f.counting[:i], f.counting[i+1:]...)
				return
			}
		}
	}
}

// listen opens the server's end, before the scenario starts.
func (f *flow) listen(ctx context.Context, failed func(error)) error {
	addr := &net.TCPAddr{IP: net.ParseIP(serverAddr), Port: flowPort + f.index}
	if f.spec.Kind == scenario.Call || f.spec.Kind == scenario.Steady {
		return nil // UDP: each pair has its sockets
	}
	var l *net.TCPListener
	if err := within(net0, func() (err error) {
		l, err = net.ListenTCP("tcp4", addr)
		return err
	}); err != nil {
		return fmt.Errorf("flow %d: %w", f.index, err)
	}
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() { f.end(f.serve(ctx, c), failed) }()
		}
	}()
	return nil
}

// end tells of an error that the scenario did not cause.
func (f *flow) end(err error, failed func(error)) {
	var ne net.Error
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.As(err, &ne) {
		return // a connection that breaks in a blackout is part of the story
	}
	failed(fmt.Errorf("flow %d (%s): %w", f.index, f.spec.Kind, err))
}

// start begins the flow's connections. They end with ctx.
func (f *flow) start(ctx context.Context, failed func(error)) {
	for n := range f.spec.Count {
		go func() {
			var err error
			switch f.spec.Kind {
			case scenario.Call, scenario.Steady:
				err = f.datagrams(ctx, n)
			case scenario.Bulk, scenario.Video, scenario.Web:
				err = f.connect(ctx)
			}
			f.end(err, failed)
		}()
	}
}

func (f *flow) connect(ctx context.Context) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddr(f.spec.Link))}, Timeout: 30 * time.Second}
	var c net.Conn
	// The socket is made on this thread; the dialer's own goroutines only wait.
	if err := within(client, func() (err error) {
		c, err = d.DialContext(ctx, "tcp4", fmt.Sprintf("%s:%d", serverAddr, flowPort+f.index))
		return err
	}); err != nil {
		return err
	}
	tc := c.(*net.TCPConn)
	defer abort(ctx, tc)()
	switch f.spec.Kind {
	case scenario.Web:
		return f.browse(ctx, tc)
	case scenario.Bulk, scenario.Video:
		return f.move(ctx, tc, f.spec.Dir == link.Up)
	case scenario.Call, scenario.Steady:
	}
	return nil
}

// serve is the server's end of a connection.
func (f *flow) serve(ctx context.Context, c *net.TCPConn) error {
	defer abort(ctx, c)()
	if f.spec.Kind == scenario.Web {
		b := make([]byte, request)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return err
			}
			if err := chunk(c, f.spec.Size); err != nil {
				return err
			}
		}
	}
	return f.move(ctx, c, f.spec.Dir == link.Down)
}

// abort closes a connection at once when ctx ends: what is in its buffers is not sent any more.
func abort(ctx context.Context, c *net.TCPConn) (done func()) {
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetLinger(0)
		c.Close()
	})
	return func() {
		stop()
		c.Close()
	}
}

func (f *flow) move(ctx context.Context, c *net.TCPConn, sender bool) error {
	if !sender {
		if f.spec.Kind == scenario.Bulk {
			defer f.received(c)()
			return drain(c)
		}
		_, err := io.Copy(countTo{&f.got[f.spec.Dir]}, onlyReader{c})
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, f.spec.Congestion)
	}); err != nil || serr != nil {
		return fmt.Errorf("congestion control %s: %w", f.spec.Congestion, errors.Join(err, serr))
	}
	if f.spec.Kind == scenario.Bulk {
		for {
			if _, err := c.Write(block); err != nil {
				return err
			}
		}
	}
	tick := time.NewTicker(f.spec.Every)
	defer tick.Stop()
	for {
		if err := chunk(c, f.spec.Size); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// block is what senders send: nobody looks at it.
var block = make([]byte, 256<<10)

func chunk(w io.Writer, n unit.Bytes) error {
	for n > 0 {
		k, err := w.Write(block[:min(n, unit.Bytes(len(block)))])
		if err != nil {
			return err
		}
		n -= unit.Bytes(k)
	}
	return nil
}

// countTo counts what is written to it.
type countTo struct{ n *atomic.Int64 }

func (c countTo) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// onlyReader hides what would let io.Copy splice.
type onlyReader struct{ io.Reader }

// lowWater is how many bytes a bulk receiver lets come together before it wakes: a user-mode kernel pays dearly for each
// call.
const lowWater = 128 << 10

// drain throws away what comes, in the kernel.
func drain(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		// SO_RCVLOWAT also clamps the receive window to its value, and only ever raises it: first Linux' default
		// maximum, then the wake-up threshold.
		serr = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 6<<20),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, lowWater))
	}); err != nil || serr != nil {
		return errors.Join(err, serr)
	}
	b := make([]byte, 1<<20)
	for {
		var n int
		err := raw.Read(func(fd uintptr) bool {
			n, _, serr = unix.Recvfrom(int(fd), b, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			return !errors.Is(serr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return err
		case errors.Is(serr, unix.ECONNRESET):
			return io.EOF
		case serr != nil && !errors.Is(serr, unix.EINTR):
			return serr
		case serr == nil && n == 0:
			return io.EOF
		}
	}
}

// browse asks for a page, reads it, and waits.
func (f *flow) browse(ctx context.Context, c *net.TCPConn) error {
	tick := time.NewTicker(f.spec.Every)
	defer tick.Stop()
	for {
		if _, err := c.Write(block[:request]); err != nil {
			return err
		}
		if _, err := io.CopyN(countTo{&f.got[link.Down]}, onlyReader{c}, int64(f.spec.Size)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// datagrams are a call or a camera: connection n of the flow.
func (f *flow) datagrams(ctx context.Context, n int) error {
	var ends [2]*net.UDPConn // client, server
	port := flowPort + 1000 + f.index*64 + n
	for k, at := range []struct{ ns, addr string }{{client, clientAddr(f.spec.Link)}, {net0, serverAddr}} {
		if err := within(at.ns, func() (err error) {
			ends[k], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(at.addr), Port: port})
			return err
		}); err != nil {
			return err
		}
		defer ends[k].Close()
	}
	var wg sync.WaitGroup
	for _, d := range f.dirs() {
		out, in := ends[0], ends[1]
		if d == link.Down {
			out, in = in, out
		}
		to := in.LocalAddr().(*net.UDPAddr).AddrPort()
		wg.Go(func() {
			b := make([]byte, 2048)
			for {
				k, _, err := in.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				f.got[d].Add(int64(k))
			}
		})
		wg.Go(func() {
			size, every := f.spec.Size, f.spec.Every
			if f.spec.Kind == scenario.Steady {
				size, every = datagram, 2*time.Millisecond
			}
			tick := time.NewTicker(every)
			defer tick.Stop()
			began, sent := time.Now(), int64(0)
			for {
				due := sent + int64(size)
				if f.spec.Kind == scenario.Steady {
					due = int64(f.spec.Rate.Over(time.Since(began)))
				}
				for sent+int64(size) <= due {
					_, _ = out.WriteToUDPAddrPort(block[:size], to) // what is not sent is lost
					sent += int64(size)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	<-ctx.Done()
	for _, c := range ends {
		c.Close()
	}
	wg.Wait()
	return nil
}
