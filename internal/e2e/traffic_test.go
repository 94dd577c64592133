package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/link"
)

const (
	bulkFlows = 4
	downPort  = "5001"
	upPort    = "5002"
	truthPort = "7007"
	echoPort  = "7008"
	// truthEvery is the interval of the test's own probes.
	truthEvery = 20 * time.Millisecond
	// lost is what a probe that was never answered counts as.
	lost = 2 * time.Second
)

// serveBulk lets the server send to whoever connects to one port, and swallow what comes in on the other.
func serveBulk(t *testing.T, h *house) {
	t.Helper()
	listenTCP(t, h.server, ":"+downPort, cubic, func(c net.Conn) { send(c) })
	listenTCP(t, h.server, ":"+upPort, nil, func(c net.Conn) { _, _ = io.Copy(&h.received, c) })
}

func send(c net.Conn) {
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}

// bulk starts TCP flows in one direction, from or to the client's source address; they end with the test.
func bulk(t *testing.T, h *house, dir link.Direction, source string, flows int) {
	t.Helper()
	port := downPort
	if dir == link.Up {
		port = upPort
	}
	var conns []net.Conn
	var wg sync.WaitGroup
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		wg.Wait()
	})
	for range flows {
		c, err := dialTCP(h.client, source, net.JoinHostPort(reflectors[0], port), cubic)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		wg.Go(func() {
			if dir == link.Up {
				send(c)
			} else {
				_, _ = io.Copy(&h.received, c)
			}
		})
	}
}

// truth is the test's own sparse flow: what a call through the line feels.
type truth struct {
	mu   sync.Mutex
	sent []time.Time
	rtt  []time.Duration // 0: no answer
}

// probeTruth sends small UDP packets to an echo on the server until the test ends.
func probeTruth(t *testing.T, h *house) *truth {
	t.Helper()
	var server, client net.PacketConn
	for _, o := range []struct {
		ns, addr string
		pc       *net.PacketConn
	}{{h.server, reflectors[0] + ":" + truthPort, &server}, {h.client, sources[0] + ":0", &client}} {
		if err := within(o.ns, func() (err error) {
			*o.pc, err = net.ListenPacket("udp4", o.addr)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	tr := &truth{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(func() {
		close(stop)
		server.Close()
		client.Close()
		wg.Wait()
	})
	wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from)
		}
	})
	wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, _, err := client.ReadFrom(b)
			if err != nil {
				return
			}
			now := time.Now()
			if n < 8 {
				continue
			}
			seq := binary.BigEndian.Uint64(b)
			tr.mu.Lock()
			if seq < uint64(len(tr.sent)) {
				tr.rtt[seq] = now.Sub(tr.sent[seq])
			}
			tr.mu.Unlock()
		}
	})
	to := server.LocalAddr()
	wg.Go(func() {
		tick := time.NewTicker(truthEvery)
		defer tick.Stop()
		b := make([]byte, 64)
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			tr.mu.Lock()
			binary.BigEndian.PutUint64(b, uint64(len(tr.sent)))
			tr.sent, tr.rtt = append(tr.sent, time.Now()), append(tr.rtt, 0)
			tr.mu.Unlock()
			_, _ = client.WriteTo(b, to)
		}
	})
	return tr
}

// delays are the figures of the probes sent in a span of time.
type delays struct {
	n, lost  int
	p50, p95 float64 // ms, of those answered
	worst95  float64 // ms, the unanswered counted as [lost]
}

func (tr *truth) between(from, to time.Time) delays {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var all, answered []float64
	for i, s := range tr.sent {
		if s.Before(from) || !s.Before(to) {
			continue
		}
		if r := tr.rtt[i]; r > 0 {
			ms := float64(r) / 1e6
			all, answered = append(all, ms), append(answered, ms)
		} else {
			all = append(all, float64(lost)/1e6)
		}
	}
	return delays{
		n: len(all), lost: len(all) - len(answered),
		p50: quantile(answered, 0.50), p95: quantile(answered, 0.95), worst95: quantile(all, 0.95),
	}
}

func (d delays) String() string {
	return fmt.Sprintf("p50 %.1f ms, p95 %.1f ms, %d of %d lost", d.p50, d.p95, d.lost, d.n)
}

// quantile is the nearest-rank quantile; +Inf of nothing.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.Inf(1)
	}
	s := slices.Sorted(slices.Values(v))
	return s[min(len(s)-1, max(0, int(math.Ceil(q*float64(len(s))))-1))]
}

// chat writes n bytes to a connection every so often, and counts what comes back, until the test ends.
func chat(t *testing.T, c net.Conn, back io.Reader, n int, every time.Duration, echoed *atomic.Int64) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); c.Close(); wg.Wait() })
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := c.Write(make([]byte, n)); err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := back.Read(b)
			echoed.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
}
