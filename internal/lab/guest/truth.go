package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"wanctl/internal/lab/report"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// udpEvery and icmpEvery are the distances of the ground truth's probes.
	udpEvery  = 5 * time.Millisecond
	icmpEvery = 50 * time.Millisecond
	// late is how long after the end an answer still counts: longer than any buffer of a scenario.
	late      = 3 * time.Second
	truthPort = 9000
	probeSize = 60
)

// truth is what a sparse flow feels: small packets each way on every link, timed by the kernel that receives them. Both
// ends have the same clock.
type truth struct {
	start time.Time // of the scenario
	until time.Duration
	paths []*truthPath
	pings []*pings
}

// truthPath is one direction of one link.
type truthPath struct {
	link    int
	dir     link.Direction
	out, in *net.UDPConn
	to      netip.AddrPort
	sent    []int64 // ns of the wall clock
	delay   []int64 // ns; 0: no answer (yet)
}

func newTruth(links int, duration time.Duration) (*truth, error) {
	t := &truth{until: duration}
	for i := range links {
		var ends [2]*net.UDPConn
		for k, at := range []struct{ ns, addr string }{{client, clientAddr(i)}, {net0, serverAddr}} {
			addr := netip.AddrPortFrom(netip.MustParseAddr(at.addr), uint16(truthPort+i))
			if err := within(at.ns, func() (err error) {
				ends[k], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
				return err
			}); err != nil {
				return nil, fmt.Errorf("ground truth of link %d: %w", i, err)
			}
			raw, err := ends[k].SyscallConn()
			if err != nil {
				return nil, fmt.Errorf("ground truth of link %d: %w", i, err)
			}
			var serr error
			if err := raw.Control(func(fd uintptr) {
				serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
			}); err != nil || serr != nil {
				return nil, fmt.Errorf("receive stamps: %w", errors.Join(err, serr))
			}
		}
		c, s := ends[0], ends[1]
		n := int(duration/udpEvery) + 1
		make_ := func(d link.Direction, out, in *net.UDPConn) *truthPath {
			return &truthPath{
				link: i, dir: d, out: out, in: in, to: in.LocalAddr().(*net.UDPAddr).AddrPort(),
				sent: make([]int64, 0, n), delay: make([]int64, n),
			}
		}
		t.paths = append(t.paths, make_(link.Up, c, s), make_(link.Down, s, c))
		p, err := newPings(i, duration)
		if err != nil {
			return nil, err
		}
		t.pings = append(t.pings, p)
	}
	return t, nil
}

// run sends from now on for the scenario's duration and reads until ctx ends.
func (t *truth) run(ctx context.Context) {
	t.start = time.Now()
	for _, p := range t.paths {
		go p.read()
	}
	for _, p := range t.pings {
		go p.read()
	}
	go func() {
		tick := time.NewTicker(udpEvery)
		defer tick.Stop()
		var b [probeSize]byte
		for n := 0; ; n++ {
			for _, p := range t.paths {
				if len(p.sent) == cap(p.sent) {
					continue
				}
				binary.NativeEndian.PutUint64(b[:], uint64(len(p.sent)))
				// The stamp is taken last, so that nothing of ours is in the delay.
				p.sent = append(p.sent, time.Now().UnixNano())
				binary.NativeEndian.PutUint64(b[8:], uint64(p.sent[len(p.sent)-1]))
				_, _ = p.out.WriteToUDPAddrPort(b[:], p.to) // what is not sent is lost
			}
			if n%int(icmpEvery/udpEvery) == 0 {
				for _, p := range t.pings {
					p.send()
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if time.Since(t.start) >= t.until {
				return
			}
		}
	}()
}

func (p *truthPath) read() {
	var b [2048]byte
	var oob [256]byte
	for {
		n, on, _, _, err := p.in.ReadMsgUDPAddrPort(b[:], oob[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 16 {
			continue
		}
		at, ok := stamp(oob[:on])
		seq := binary.NativeEndian.Uint64(b[:])
		if !ok || seq >= uint64(len(p.delay)) {
			continue
		}
		p.delay[seq] = max(1, at-int64(binary.NativeEndian.Uint64(b[8:])))
	}
}

// stamp is the kernel's receive time in the control messages.
func stamp(oob []byte) (int64, bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return int64(binary.NativeEndian.Uint64(m.Data))*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:])), true
		}
	}
	return 0, false
}

// pings are echoes from a client to the server.
type pings struct {
	link  int
	conn  *icmp.PacketConn
	sent  []time.Time
	delay []time.Duration
}

func newPings(i int, duration time.Duration) (*pings, error) {
	p := &pings{link: i, delay: make([]time.Duration, int(duration/icmpEvery)+2)}
	if err := within(client, func() (err error) {
		p.conn, err = icmp.ListenPacket("ip4:icmp", clientAddr(i))
		return err
	}); err != nil {
		return nil, fmt.Errorf("ground truth by echo of link %d: %w", i, err)
	}
	return p, nil
}

// echoID tells these echoes from those of a link's neighbours.
func (p *pings) echoID() int { return 0x7700 + p.link }

func (p *pings) send() {
	if len(p.sent) >= len(p.delay) {
		return
	}
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.echoID(), Seq: len(p.sent), Data: make([]byte, 48)}}
	b, err := m.Marshal(nil)
	if err != nil {
		return
	}
	p.sent = append(p.sent, time.Now())
	_, _ = p.conn.WriteTo(b, &net.IPAddr{IP: net.ParseIP(serverAddr)})
}

func (p *pings) read() {
	b := make([]byte, 2048)
	for {
		n, _, err := p.conn.ReadFrom(b)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEcho.Protocol(), b[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == p.echoID() && e.Seq < len(p.sent) && p.delay[e.Seq] == 0 {
			p.delay[e.Seq] = now.Sub(p.sent[e.Seq])
		}
	}
}

// close ends reading; the series do not change any more once it returned and the readers saw it.
func (t *truth) close() {
	for _, p := range t.paths {
		p.in.Close()
		p.out.Close()
	}
	for _, p := range t.pings {
		p.conn.Close()
	}
}

// each calls f for every probe, path by path.
func (t *truth) each(f func(report.Probe) error) error {
	for _, p := range t.paths {
		for k, at := range p.sent {
			pr := report.Probe{Link: p.link, Dir: p.dir, At: float64(at-t.start.UnixNano()) / 1e9, Lost: p.delay[k] == 0}
			pr.Delay = unit.Millis(float64(p.delay[k]) / 1e6)
			if err := f(pr); err != nil {
				return err
			}
		}
	}
	for _, p := range t.pings {
		for k, at := range p.sent {
			if err := f(report.Probe{
				ICMP: true, Link: p.link, At: at.Sub(t.start).Seconds(), Delay: unit.ToMillis(p.delay[k]), Lost: p.delay[k] == 0,
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
