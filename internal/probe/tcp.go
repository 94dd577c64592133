package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// DefaultTCPPort is the port that targets are connected to where none is named: HTTPS, which public resolvers serve.
	DefaultTCPPort = 443
	// tcpTimeout is how long a handshake counts: the first retransmission of a SYN leaves after a second (RFC 6298), and what
	// is answered later may answer that one.
	tcpTimeout = time.Second
)

// tcpPlan is whom to connect to, in turn, and the time between two connections, 0 for none.
type tcpPlan struct {
	hosts []int
	every time.Duration
	// begins says that there were none before: the first is due at once.
	begins bool
}

// ProbeTCP has TCP handshakes with some of the targets, by their index, in turn, every so often beside the other probes: at
// most five in a second, so no target gets more of them either. every 0 ends it; at first there are none. Run takes it over
// at once. A target answers by accepting the connection, which is reset at once, or by refusing it. The replies are those of
// the hosts after all targets and the IRTT server where there is one: of host [Pinger.Hosts] + i for target i.
// It fails like [Pinger.Use], but for no host at all where every is 0.
func (p *Pinger) ProbeTCP(hosts []int, every time.Duration) error {
	if err := p.chosen(hosts, "probe TCP of target"); err != nil {
		return err
	}
	if every > 0 {
		if len(hosts) == 0 {
			return &Error{Kind: KindOptions, Op: "probe TCP of targets", Err: errors.New("there is none"), Hint: "name at least one, or no time"}
		}
		every = max(every, minInterval)
	}
	p.mu.Lock()
	p.tcp = tcpPlan{hosts: slices.Clone(hosts), every: max(every, 0), begins: every > 0 && (p.tcp.every == 0 || p.tcp.begins)}
	p.mu.Unlock()
	select {
	case p.tcpChanged <- struct{}{}:
	default: // an earlier change has yet to be seen
	}
	return nil
}

// Hosts is how many hosts there are that replies name: the targets, and the IRTT server where there is one.
func (p *Pinger) Hosts() int { return len(p.targets) }

// paceTCP connects as asked until ctx ends.
func (p *Pinger) paceTCP(ctx context.Context) {
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	var last time.Time
	turn := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.tcpChanged:
		case <-timer.C:
			p.mu.Lock()
			asked := p.tcp
			p.tcp.begins = false
			p.mu.Unlock()
			if asked.every > 0 {
				last = time.Now()
				p.connectTCP(ctx, asked.hosts[turn%len(asked.hosts)])
				turn++
			}
		}
		p.mu.Lock()
		every, begins := p.tcp.every, p.tcp.begins
		p.mu.Unlock()
		if begins {
			every = minInterval
		}
		if timer.Stop(); every > 0 {
			timer.Reset(time.Until(last.Add(every)))
		}
	}
}

// connectTCP begins a handshake with a target. Its end is awaited beside.
func (p *Pinger) connectTCP(ctx context.Context, host int) {
	t := &p.targets[host]
	p.mu.Lock()
	a := t.addr
	p.mu.Unlock()
	if !a.IsValid() {
		return // that its name cannot be resolved is told elsewhere
	}
	fd, err := p.tcpSocket(familyOf(a))
	if err != nil {
		p.note(link.Warning, "probe_tcp", t.name, func() string { return fmt.Sprintf("TCP of %s cannot be probed: %v.", t.name, err) })
		return
	}
	sent, stamp := p.o.Now(), time.Now()
	for {
		if err = unix.Connect(fd, sockaddr(a, p.o.Interface, p.tcpPort())); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	file := os.NewFile(uintptr(fd), "tcp")
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.ECONNREFUSED) {
		_ = file.Close()
		e := &Error{Kind: KindSend, Op: "connect to", Thing: t.name, Err: err, Hint: sendHint(err)}
		p.note(link.Warning, "probe_tcp", t.name, func() string { return fmt.Sprintf("TCP of %s cannot be probed: %v.", t.name, e) })
		return
	}
	probe := link.Probe{Host: p.Hosts() + host, Sent: sent}
	p.o.OnSend(probe)
	p.mu.Lock()
	t.tcpSent++
	p.wg.Go(func() {
		defer file.Close()
		if errors.Is(err, unix.EINPROGRESS) {
			err = awaitTCP(ctx, file, stamp.Add(tcpTimeout))
		}
		p.tookTCP(t, probe, time.Since(stamp), err)
	})
	p.mu.Unlock()
}

// tookTCP books the end of a handshake.
func (p *Pinger) tookTCP(t *target, probe link.Probe, rtt time.Duration, err error) {
	if err != nil && !errors.Is(err, unix.ECONNREFUSED) || rtt > tcpTimeout {
		return
	}
	received := p.o.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	t.tcpReceived++
	p.hand(link.Reply{Host: probe.Host, Sent: probe.Sent, Received: max(received, probe.Sent), RTT: unit.ToMillis(rtt)})
}

func (p *Pinger) tcpPort() int {
	if p.o.TCPPort == 0 {
		return DefaultTCPPort
	}
	return p.o.TCPPort
}

// tcpSocket opens a TCP socket that is tied to the line and is reset when it is closed.
func (p *Pinger) tcpSocket(f family) (int, error) {
	fd, err := unix.Socket(f.domain(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, &Error{Kind: KindFamily, Op: "open socket", Thing: f.String(), Err: err}
	}
	if err = p.o.binding().apply(fd, f); err == nil {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// awaitTCP waits until a handshake has ended and returns what it ended with.
func awaitTCP(ctx context.Context, file *os.File, until time.Time) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetWriteDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	ended := 0
	err = raw.Write(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 0); n <= 0 || err != nil {
			return false
		}
		ended, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return true
	})
	if err == nil && ended != 0 {
		err = unix.Errno(ended)
	}
	return err
}
