package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
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
	// drainEvery is how long arrivals may lie in their sockets.
	drainEvery = 500 * time.Millisecond
	// late is how long after the end an answer still counts: longer than any buffer of a scenario.
	late      = 3 * time.Second
	truthPort = 9000
	probeSize = 60
)

// truth is what a sparse flow feels: small packets each way on every link, stamped by the kernel that receives them.
// Both ends have the same clock.
type truth struct {
	start   int64 // of the scenario, on the wall clock
	until   time.Duration
	series  []*series
	failed  func(error)
	done    chan struct{}
	sending sync.WaitGroup
}

// series is one direction of one link, or its echoes.
type series struct {
	icmp  bool
	link  int
	dir   link.Direction
	out   *packets
	in    *packets
	to    *unix.SockaddrInet4
	every int     // ticks
	sent  []int64 // ns of the wall clock
	delay []int64 // ns; 0: no answer
}

func newTruth(links int, duration time.Duration, failed func(error)) (*truth, error) {
	t := &truth{until: duration, failed: failed, done: make(chan struct{})}
	server := netip.MustParseAddr(serverAddr)
	n := int(duration/udpEvery) + 1
	for i := range links {
		house := netip.MustParseAddr(clientAddr(i))
		a := netip.AddrPortFrom(house, uint16(truthPort+i))
		b := netip.AddrPortFrom(server, uint16(truthPort+i))
		c, err := openPackets(client, unix.SOCK_DGRAM, 0, a)
		if err != nil {
			return nil, err
		}
		s, err := openPackets(net0, unix.SOCK_DGRAM, 0, b)
		if err != nil {
			return nil, err
		}
		e, err := openPackets(client, unix.SOCK_RAW, unix.IPPROTO_ICMP, netip.AddrPortFrom(house, 0))
		if err != nil {
			return nil, err
		}
		ticks := int(icmpEvery / udpEvery)
		t.series = append(t.series,
			&series{link: i, dir: link.Up, out: c, in: s, to: addr4(b), every: 1, sent: make([]int64, 0, n), delay: make([]int64, n)},
			&series{link: i, dir: link.Down, out: s, in: c, to: addr4(a), every: 1, sent: make([]int64, 0, n), delay: make([]int64, n)},
			&series{icmp: true, link: i, out: e, in: e, to: addr4(netip.AddrPortFrom(server, 0)), every: ticks, sent: make([]int64, 0, n/ticks+1), delay: make([]int64, n/ticks+1)})
	}
	return t, nil
}

// run sends from now on for the scenario's duration, and fetches what arrived until close.
func (t *truth) run(ctx context.Context) {
	t.start = wallClock()
	t.sending.Go(func() {
		next, pause := monotonic(), udpEvery
		for n := 0; ; n++ {
			// One stamp for all: they leave in one go, and in virtual time that takes none.
			if now := wallClock(); ctx.Err() == nil && now-t.start < int64(t.until) {
				for _, s := range t.series {
					if n%s.every == 0 {
						s.send(now)
					}
				}
			} else {
				pause = drainEvery
			}
			if pause == drainEvery || n%int(drainEvery/udpEvery) == 0 {
				t.fetch()
			}
			select {
			case <-t.done:
				t.fetch()
				return
			default:
			}
			next = max(next+int64(pause), monotonic())
			sleepUntil(next)
		}
	})
}

func (s *series) send(now int64) {
	seq := len(s.sent)
	if seq == cap(s.sent) {
		return
	}
	s.sent = append(s.sent, now)
	if s.icmp {
		b, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: s.echoID(), Seq: seq & 0xffff, Data: make([]byte, 48)}}).Marshal(nil)
		if err == nil {
			_ = unix.Sendto(s.out.fd, b, unix.MSG_DONTWAIT, s.to) // what is not sent is lost
		}
		return
	}
	var b [probeSize]byte
	binary.NativeEndian.PutUint64(b[:], uint64(seq))
	_ = unix.Sendto(s.out.fd, b[:], unix.MSG_DONTWAIT, s.to) // what is not sent is lost
}

// echoID tells these echoes from those of others.
func (s *series) echoID() int { return 0x7700 + s.link }

func (t *truth) fetch() {
	for _, s := range t.series {
		if err := s.in.drain(s.arrived); err != nil {
			t.failed(fmt.Errorf("ground truth: %w", err))
		}
	}
}

func (s *series) arrived(b []byte, at int64) {
	seq := -1
	switch {
	case !s.icmp && len(b) >= 8:
		seq = int(binary.NativeEndian.Uint64(b))
	case s.icmp && len(b) >= ipv4.HeaderLen:
		head := int(b[0]&15) * 4
		if head > len(b) {
			return
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEcho.Protocol(), b[head:])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			return
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == s.echoID() {
			// The newest probe of that number: 65 536 of them take 54 minutes.
			seq = (len(s.sent)-1-e.Seq)/65536*65536 + e.Seq
		}
	}
	if seq >= 0 && seq < len(s.sent) && s.delay[seq] == 0 {
		s.delay[seq] = max(1, at-s.sent[seq])
	}
}

// close fetches what is left; the series do not change any more.
func (t *truth) close() {
	close(t.done)
	t.sending.Wait()
	for _, s := range t.series {
		s.in.close() // each socket is some series' way in
	}
}

// each calls f for every probe, series by series.
func (t *truth) each(f func(report.Probe) error) error {
	var errs []error
	for _, s := range t.series {
		for k, at := range s.sent {
			errs = append(errs, f(report.Probe{
				ICMP: s.icmp, Link: s.link, Dir: s.dir, At: float64(at-t.start) / 1e9,
				Delay: unit.Millis(float64(s.delay[k]) / 1e6), Lost: s.delay[k] == 0,
			}))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}
