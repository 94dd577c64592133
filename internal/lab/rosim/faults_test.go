package rosim

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/lab/memnet"
	"wanctl/internal/unit"
)

func TestCuts(t *testing.T) {
	for _, tc := range []struct {
		cut     Cut
		applied bool
		outcome Outcome
	}{
		{CutBefore, false, OutcomeCutBefore},
		{CutAfter, true, OutcomeCutAfter},
		{CutReply, true, OutcomeCutReply},
	} {
		t.Run(string(tc.outcome), func(t *testing.T) {
			served(t, nil, func(t *testing.T, b *bench) {
				c := b.login()
				b.CutNext(tc.cut)
				out, err := run1(c, setLimit)
				if err == nil {
					t.Error("the command succeeded")
				}
				if out == "50000000\r\n" {
					t.Error("the whole reply arrived")
				}
				_ = c.Close()
				if err := b.AwaitIdle(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got, _ := b.MaxLimit("WAN-Download-ATT"); (got == 50*unit.Mbps) != tc.applied {
					t.Errorf("limit %v, applied should be %v", got, tc.applied)
				}
				if got := b.Commands()[0].Outcome; got != tc.outcome {
					t.Errorf("outcome %s", got)
				}
				c = b.login()
				defer c.Close()
				if _, err := run1(c, putLimit); err != nil {
					t.Errorf("the next connection: %v", err)
				}
			})
		})
	}
}

func TestFailNext(t *testing.T) {
	served(t, func(o *Options) { o.ExitStatus = ExitReflect }, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		b.FailNext("failure: flash is worn out")
		out, err := run1(c, setLimit)
		var exit *ssh.ExitError
		if out != "failure: flash is worn out\r\n" || !errors.As(err, &exit) {
			t.Errorf("%q %v", out, err)
		}
		if got, _ := b.MaxLimit("WAN-Download-ATT"); got != 95*unit.Mbps || b.Commands()[0].Outcome != OutcomeInjected {
			t.Errorf("it ran: %v", got)
		}
	})
}

func TestSlow(t *testing.T) {
	served(t, func(o *Options) { o.Latency, o.Jitter, o.Seed = 200*time.Millisecond, 50*time.Millisecond, 7 }, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		seen := map[time.Duration]bool{}
		for range 5 {
			start := time.Now()
			if _, err := run1(c, putLimit); err != nil {
				t.Fatal(err)
			}
			d := time.Since(start)
			if d < 200*time.Millisecond || d > 250*time.Millisecond {
				t.Errorf("took %v", d)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Error("no jitter")
		}
		b.Slow(0, 0)
		start := time.Now()
		if _, err := run1(c, putLimit); err != nil || time.Since(start) != 0 {
			t.Errorf("still slow: %v %v", time.Since(start), err)
		}
	})
}

func TestClamp(t *testing.T) {
	served(t, func(o *Options) { o.ClampAfter = 3 }, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		took := func() time.Duration {
			start := time.Now()
			if _, err := run1(c, putLimit); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		for i := range 5 {
			if want := map[bool]time.Duration{true: 20 * time.Millisecond}[i >= 3]; took() != want {
				t.Errorf("command %d did not take %v", i, want)
			}
		}
		time.Sleep(6 * time.Second)
		if d := took(); d != 0 {
			t.Errorf("still clamped after a pause: %v", d)
		}
	})
}

func TestStall(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		b.Stall()
		c, gone := b.login(), b.login()
		var wg sync.WaitGroup
		wg.Go(func() {
			if out, err := run1(c, setLimit); out != "50000000\r\n" || err != nil {
				t.Errorf("held back: %q %v", out, err)
			}
		})
		wg.Go(func() {
			if _, err := run1(gone, `/queue/tree/set WAN-Upload-ATT max-limit=1M`); err == nil {
				t.Error("a closed connection was answered")
			}
		})
		if err := b.Await(t.Context(), func() bool { return b.InFlight() == 2 }); err != nil {
			t.Fatal(err)
		}
		_ = gone.Close()
		if err := b.Await(t.Context(), func() bool { return b.InFlight() == 1 }); err != nil {
			t.Fatal(err)
		}
		if got, _ := b.MaxLimit("WAN-Download-ATT"); got != 95*unit.Mbps {
			t.Errorf("a stalled command ran: %v", got)
		}
		b.Unstall()
		wg.Wait()
		if got, _ := b.MaxLimit("WAN-Upload-ATT"); got != 18*unit.Mbps {
			t.Errorf("a lost command ran: %v", got)
		}
		_ = c.Close()
	})
}

func TestStallEndsWithServe(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		b.Stall()
		c := b.login()
		go func() { _, _ = run1(c, putLimit) }()
		if err := b.Await(t.Context(), func() bool { return b.InFlight() == 1 }); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHalfOpen(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.login()
		b.HalfOpen(true)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := run1(c, setLimit); err == nil {
				t.Error("a silent connection answered")
			}
		})
		raw, err := b.net.Dial()
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan int, 1)
		go func() {
			n, _ := raw.Read(make([]byte, 1))
			got <- n
		}()
		time.Sleep(time.Minute)
		select {
		case n := <-got:
			t.Errorf("a new connection got %d bytes", n)
		default:
		}
		b.HalfOpen(false)
		fresh := b.login()
		if out, err := run1(fresh, putLimit); out != "95000000\r\n" || err != nil {
			t.Errorf("a new connection: %q %v", out, err)
		}
		_ = fresh.Close()
		_ = raw.Close()
		_ = c.Close()
		wg.Wait()
	})
}

func TestFull(t *testing.T) {
	served(t, func(o *Options) { o.MaxSessions = 3 }, func(t *testing.T, b *bench) {
		var open []*ssh.Client
		for range 3 {
			open = append(open, b.login())
		}
		if _, err := b.dial(b.config(ssh.Password("secret"))); err == nil {
			t.Error("a fourth session was let in")
		}
		_ = open[0].Close()
		if err := b.Await(t.Context(), func() bool { return b.Sessions() == 2 }); err != nil {
			t.Fatal(err)
		}
		b.Full(true)
		if _, err := b.dial(b.config(ssh.Password("secret"))); err == nil {
			t.Error("a full router let a session in")
		}
		b.Full(false)
		open = append(open, b.login())
		b.Disconnect()
		for _, c := range open[1:] {
			_ = c.Wait()
		}
		if b.Rejected() != 2 {
			t.Errorf("%d rejected", b.Rejected())
		}
	})
}

func TestRefuseAndReturn(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.login()
		b.Refuse()
		_ = c.Wait()
		if _, err := b.net.Dial(); err == nil {
			t.Error("something still listens")
		}
		if err := b.Return(); err != nil {
			t.Fatal(err)
		}
		if err := b.Return(); err != nil {
			t.Errorf("returning twice: %v", err)
		}
		c = b.login()
		if _, err := run1(c, putLimit); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	})
}

func TestReboot(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.login()
		time.Sleep(10 * time.Second)
		if _, err := run1(c, setLimit+`; :global g 1; /ip/firewall/mangle/enable [find comment="`+SteeringComment+`"]`); err != nil {
			t.Fatal(err)
		}
		before := b.Uptime()
		q, _ := b.Queue("WAN-Download-ATT")
		if q.Bytes == 0 || before < 26*time.Hour {
			t.Errorf("before: %v, %+v", before, q)
		}
		back := b.Reboot(30 * time.Second)
		_ = c.Wait()
		time.Sleep(29 * time.Second)
		if _, err := b.net.Dial(); err == nil {
			t.Error("it listens while it boots")
		}
		if err := <-back; err != nil {
			t.Fatal(err)
		}
		c = b.login()
		defer c.Close()
		out, err := run1(c, `:put ([/queue/tree get WAN-Download-ATT max-limit] . "|" . [/queue/tree get WAN-Download-ATT bytes] . "|" . `+
			`[/interface get ether2 rx-byte] . "|" . [/system/resource get uptime] . "|" . $g . "|" . [/system/resource get write-sect-since-reboot])`)
		if out != "50000000|0|0|00:00:00||0\r\n" || err != nil {
			t.Errorf("after the reboot: %q %v", out, err)
		}
		if on, _ := b.RuleEnabled(SteeringComment); !on {
			t.Error("the rule did not survive the reboot")
		}
	})
}

func TestRebootAtOnceAndShutdownDuringReboot(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		if err := <-b.Reboot(0); err != nil {
			t.Fatal(err)
		}
		c := b.login()
		_ = c.Close()
		b.Reboot(time.Hour)
	})
}

func TestTimedFaults(t *testing.T) {
	served(t, func(o *Options) {
		f, err := ParseTimedFault("60s:foreign=WAN-Upload-ATT=1M")
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = []TimedFault{f, {After: time.Hour, Fault: "stall"}}
	}, func(t *testing.T, b *bench) {
		time.Sleep(59 * time.Second)
		if got, _ := b.MaxLimit("WAN-Upload-ATT"); got != 18*unit.Mbps {
			t.Errorf("too early: %v", got)
		}
		if err := b.Await(t.Context(), func() bool { got, _ := b.MaxLimit("WAN-Upload-ATT"); return got == unit.Mbps }); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConcurrent(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				c := b.login()
				defer c.Close()
				for j := range 20 {
					limit := (i*20 + j + 1) * 100_000
					out, err := run1(c, fmt.Sprintf(`/queue/tree/set WAN-Upload-ATT max-limit=%d; :put [/queue/tree get WAN-Upload-ATT name]`, limit))
					if err != nil || out != "WAN-Upload-ATT\r\n" {
						t.Errorf("%q %v", out, err)
					}
				}
			})
		}
		wg.Wait()
		if n := b.Writes("WAN-Upload-ATT"); n != 80 || len(b.LimitHistory()) != 80 {
			t.Errorf("%d writes", n)
		}
	})
}

func TestServeOnceOnly(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		ln, _ := (&memnet.Network{}).Listen(nil)
		if err := b.Serve(t.Context(), ln); err == nil {
			t.Error("a router served twice")
		}
	})
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("no more sockets") }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return memnet.Addr("ssh:0") }

func TestServeReportsABrokenListener(t *testing.T) {
	r, err := NewRouter(DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(t.Context(), brokenListener{}); err == nil || !strings.Contains(err.Error(), "no more sockets") {
		t.Errorf("Serve: %v", err)
	}
	if err := r.Return(); err == nil {
		t.Error("a router that has ended listens again")
	}
	if err := <-r.Reboot(time.Hour); err == nil {
		t.Error("a router that has ended boots again")
	}
}

// An address that somebody still holds for a moment is waited for; one that stays taken is an error in bounded time.
func TestListenAgain(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenAgain(held.Addr()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken address: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = held.Close() })
	ln, err := listenAgain(held.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
}
