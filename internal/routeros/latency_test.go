package routeros_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
)

// How long a change of both rates takes, confirmed, through each door:
//
//	go test ./internal/routeros -run '^$' -bench RateChange -benchtime 300x
//
// The emulator takes 1 ms for a command, as was measured on a virtual router, and a relay in between takes the time of the way. Each line
// has the median and the 99th percentile of a change, the commands it has, and the median in round trips of the bare way (TCP, a byte
// there and back) and in single commands (one queue read, through the same door).

// relayed answers at an address of its own what a listener answers, with a delay on the way there and back.
func relayed(b *testing.B, to string, there time.Duration) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go carry(in, out, there)
			go carry(out, in, there)
		}
	}()
	return ln.Addr().String()
}

// parcel is what came at a time.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry copies, each byte a while after it came, however many are on the way.
func carry(from, to net.Conn, after time.Duration) {
	way := make(chan parcel, 1024)
	go func() {
		defer close(way)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				way <- parcel{buf[:n], time.Now().Add(after)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// echo answers each byte with itself.
func echo(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	return ln.Addr().String()
}

// bareTrip is the median time of a byte there and back.
func bareTrip(b *testing.B, there time.Duration) time.Duration {
	b.Helper()
	c, err := net.Dial("tcp", relayed(b, echo(b), there))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return slices.Sorted(slices.Values(times(b, 50, func(int) error {
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	})))[25]
}

// times are how long something took, each time.
func times(b *testing.B, n int, do func(i int) error) []time.Duration {
	b.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		begin := time.Now()
		if err := do(i); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(begin)
	}
	return took
}

// behind is a client of an emulated router that is some way off.
func (w way) behind(b *testing.B, o rosim.Options, there time.Duration, single bool) (*rosim.Router, *routeros.Client) {
	b.Helper()
	o.Users = []rosim.User{{Name: rosim.DefaultUser, Password: sesame}}
	r, err := rosim.NewRouter(o)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.serve(r, ctx, ln) }()
	<-r.Ready()
	addr := relayed(b, ln.Addr().String(), there)
	_, port, _ := net.SplitHostPort(addr)
	known := filepath.Join(b.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(r.KnownHosts(addr)), 0o600); err != nil {
		b.Fatal(err)
	}
	options := routeros.Options{
		Transport: w.transport, Plain: w.plain, Host: "127.0.0.1", User: rosim.DefaultUser, KnownHosts: known, Timeout: time.Hour,
		Password: func() (string, error) { return sesame, nil },
	}
	if _, err := fmt.Sscan(port, &options.Port); err != nil {
		b.Fatal(err)
	}
	if w.transport != routeros.SSH && !w.plain {
		options.Roots = x509.NewCertPool()
		options.Roots.AppendCertsFromPEM(r.Certificate())
	}
	if single {
		options.OneByOne()
	}
	client, err := routeros.New(options)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = client.Close()
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return r, client
}

// commandsOf is how many commands a router has had.
func commandsOf(r *rosim.Router) uint64 {
	all := r.Commands()
	return all[len(all)-1].Seq
}

func BenchmarkRateChange(b *testing.B) {
	tree := att
	tree.WAN = "ether2"
	kinds := []struct {
		name   string
		queues routeros.Queues
		rates  [2]link.Rates
		single bool
	}{
		{"both_fall_or_rise", tree, [2]link.Rates{{Down: 50 * m, Up: 5 * m}, {Down: 60 * m, Up: 6 * m}}, false},
		{"both_fall_or_rise_one_by_one", tree, [2]link.Rates{{Down: 50 * m, Up: 5 * m}, {Down: 60 * m, Up: 6 * m}}, true},
		{"one_falls_one_rises", tree, [2]link.Rates{{Down: 50 * m, Up: 6 * m}, {Down: 60 * m, Up: 5 * m}}, false},
		{"simple_queue", cable, [2]link.Rates{{Down: 50 * m, Up: 6 * m}, {Down: 60 * m, Up: 5 * m}}, false},
	}
	for _, there := range []time.Duration{0, 2500 * time.Microsecond} {
		for _, w := range ways() {
			for _, k := range kinds {
				if k.single && w.transport != routeros.API {
					continue // the others never ask several at once
				}
				b.Run(fmt.Sprintf("way=%v/%s/%s", 2*there, w.name, k.name), func(b *testing.B) {
					o := cableOptions()
					o.Latency = time.Millisecond // of rosim.Options.MeasuredTimes; its burst is another measurement
					r, c := w.behind(b, o, there, k.single)
					ctx := b.Context()
					if _, err := c.Exchange(ctx, k.queues, nil); err != nil {
						b.Fatal(err)
					}
					bare := bareTrip(b, there)
					command := slices.Sorted(slices.Values(times(b, 50, func(int) error { _, err := c.Queue(ctx, "WAN-Download-Spectrum"); return err })))[25]
					before := commandsOf(r)
					b.ResetTimer()
					took := times(b, b.N, func(i int) error {
						want := k.rates[i%2]
						got, err := c.Exchange(ctx, k.queues, &want)
						if err == nil && got.Applied() != want {
							err = fmt.Errorf("read back %v", got.Applied())
						}
						return err
					})
					b.StopTimer()
					slices.Sort(took)
					median := took[len(took)/2]
					b.ReportMetric(float64(median.Microseconds())/1000, "p50-ms")
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
					commands := float64(commandsOf(r)-before) / float64(b.N)
					b.ReportMetric(commands, "commands")
					b.ReportMetric(float64(median)/float64(bare), "trips")
					b.ReportMetric(float64(median)/float64(bare)/commands, "trips/command")
					b.ReportMetric(float64(median)/float64(command), "singles")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
