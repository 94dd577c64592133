package soak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace of its own, with a TUN device behind which every address answers echoes, late.
type space struct {
	todo chan func()
	tun  *os.File
	// extra is what every reply by the primary line waits on top, in ns.
	extra atomic.Int64
	done  chan struct{}
}

// newSpace needs root.
func newSpace() (*space, error) {
	s := &space{todo: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with the last process in it
		err := s.build()
		made <- err
		if err != nil {
			return
		}
		for f := range s.todo {
			f()
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	go s.answer()
	return s, nil
}

func (s *space) build() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq("line")
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(`link set lo up
addr add 10.10.0.2/32 dev line
addr add ` + attSource + `/32 dev line
link set line up
route add default dev line src 10.10.0.2
`)
	if b, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("set the TUN device up: %w: %s", err, b), unix.Close(fd))
	}
	s.tun = os.NewFile(uintptr(fd), "tun")
	return nil
}

// run has f called in the namespace: processes that f starts stay in it.
func (s *space) run(f func() error) error {
	done := make(chan error)
	s.todo <- func() { done <- f() }
	return <-done
}

func (s *space) close() {
	close(s.todo)
	_ = s.tun.Close()
	<-s.done
}

// What the lines are like: the delay of an idle round trip, its jitter, and the share of echoes that are lost.
const (
	spectrumDelay = 24 * time.Millisecond
	attDelay      = 28 * time.Millisecond
	jitter        = 2 * time.Millisecond
	lossShare     = 0.005
)

const (
	echoRequest, echoReply = 8, 0
	tcpSYN, tcpRST, tcpACK = 2, 4, 16
)

// refuse is the answer of a host that listens nowhere: a handshake ends with it, which measures as well. Addresses are still those of
// the packet; their order does not matter to a sum.
func refuse(p, syn []byte) []byte {
	const head, tcp = 20, 20
	out := append(append([]byte(nil), p[:head]...), make([]byte, tcp)...)
	out[0] = 0x45 // no options
	binary.BigEndian.PutUint16(out[2:], head+tcp)
	out[10], out[11] = 0, 0
	binary.BigEndian.PutUint16(out[10:], checksum(out[:head]))
	t := out[head:]
	copy(t[0:2], syn[2:4])
	copy(t[2:4], syn[0:2])
	binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(syn[4:])+1)
	t[12], t[13] = tcp/4<<4, tcpRST|tcpACK
	pseudo := append(append([]byte(nil), out[12:20]...), 0, unix.IPPROTO_TCP, 0, tcp)
	binary.BigEndian.PutUint16(t[16:], checksum(append(pseudo, t...)))
	return out
}

// answer plays all reflectors.
func (s *space) answer() {
	defer close(s.done)
	b := make([]byte, 2048)
	for {
		n, err := s.tun.Read(b)
		if err != nil {
			return
		}
		p := append([]byte(nil), b[:n]...)
		if len(p) < 28 || p[0]>>4 != 4 || len(p) < int(p[0]&15)*4+8 || rand.Float64() < lossShare {
			continue
		}
		payload := p[int(p[0]&15)*4:]
		switch {
		case p[9] == unix.IPPROTO_ICMP && payload[0] == echoRequest:
			payload[0], payload[2], payload[3] = echoReply, 0, 0
			binary.BigEndian.PutUint16(payload[2:], checksum(payload))
		case p[9] == unix.IPPROTO_TCP && len(payload) >= 20 && payload[13]&(tcpSYN|tcpACK) == tcpSYN:
			p = refuse(p, payload)
		default:
			continue
		}
		wait := spectrumDelay + time.Duration(s.extra.Load())
		if fmt.Sprintf("%d.%d.%d.%d", p[12], p[13], p[14], p[15]) == attSource {
			wait = attDelay
		}
		for i := range 4 { // the header's sum stays the same
			p[12+i], p[16+i] = p[16+i], p[12+i]
		}
		time.AfterFunc(wait+time.Duration(rand.Int64N(int64(jitter))), func() { _, _ = s.tun.Write(p) })
	}
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
