package capacity

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Endpoints are waited for more than anything is computed, so more of the tests than processors go at once.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err) // there is always such a flag
	}
	os.Exit(m.Run())
}

func clock() func() unit.Time {
	began := time.Now()
	return func() unit.Time { return unit.Time(time.Since(began)) + 1 }
}

func quick() Options {
	return Options{Streams: 2, Time: MinTime, Idle: time.Second, Now: clock()}
}

// carried is the mean rate of a direction.
func carried(t *testing.T, test Test, d link.Direction) unit.Rate {
	t.Helper()
	s := test.Ways.Get(d)
	if s == nil || len(s.Counters) < 10 {
		t.Fatalf("%s: %+v", d, s)
	}
	a, b := s.Counters[0], s.Counters[len(s.Counters)-1]
	return (b.Of(d) - a.Of(d)).Per(b.At.Sub(a.At))
}

// serveIperf3 starts the real server on a port of its own, of an address that nothing else here takes ports of.
func serveIperf3(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("iperf3")
	if err != nil {
		t.Skip("needs iperf3: ", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	host, port, _ := net.SplitHostPort(address)
	ln.Close()
	cmd := exec.Command(bin, "-s", "-B", host, "-p", port, "--forceflush")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	b := make([]byte, 4096)
	for said := ""; !strings.Contains(said, "listening on"); {
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("iperf3 -s: %v after %q", err, said)
		}
		said += string(b[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return address
}

func TestRealIperf3(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Iperf3 = serveIperf3(t)
	var parts []Part
	o.Before = func(p Part) error { parts = append(parts, p); return nil }
	test, err := Measure(t.Context(), o) // the download is left so that the server takes the upload
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		if r := carried(t, test, d); r < 100*unit.Mbps {
			t.Errorf("%s over loopback: %s", d, r)
		}
	}
	if !slices.Equal(parts, []Part{Unloaded, LoadDown, LoadUp}) {
		t.Error(parts)
	}
}

func TestWebServer(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(http.Handler) *httptest.Server{"plain": httptest.NewServer, "encrypted": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.RemoteAddr, "127.0.0.5:") {
					t.Errorf("it came from %s", r.RemoteAddr)
				}
				for b := make([]byte, 1<<20); ; {
					if _, err := w.Write(b); err != nil {
						return
					}
				}
			})
			mux.HandleFunc("POST /sink", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			s := start(mux)
			defer s.Close()
			o := quick()
			o.Download, o.Upload, o.Path.Source = s.URL+"/file", s.URL+"/sink", netip.MustParseAddr("127.0.0.5")
			test, err := Measure(t.Context(), o)
			if name == "encrypted" { // by an authority that nobody knows
				if err == nil || !strings.Contains(err.Error(), "certificate") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []link.Direction{link.Down, link.Up} {
				if r := carried(t, test, d); r < 100*unit.Mbps {
					t.Errorf("%s over loopback: %s", d, r)
				}
			}
		})
	}
}

// listen serves each connection by f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// say answers with states at once, and then with nothing.
func say(states ...int8) func(net.Conn) {
	return func(c net.Conn) {
		for _, s := range states {
			_, _ = c.Write([]byte{byte(s)})
		}
		_, _ = io.Copy(io.Discard, c)
	}
}

func TestHostileEndpoints(t *testing.T) {
	t.Parallel()
	answer := func(h http.HandlerFunc) func(*testing.T) Options {
		return func(t *testing.T) Options {
			s := httptest.NewServer(h)
			t.Cleanup(s.CloseClientConnections)
			t.Cleanup(s.Close)
			return Options{Download: s.URL}
		}
	}
	// takes answers an upload of which it takes so much, and lets nothing more go: one that hung up would take its answer back.
	takes := func(n int64, answer string) func(*testing.T) Options {
		return func(t *testing.T) Options {
			return Options{Upload: "http://" + listen(t, func(c net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, err = io.CopyN(io.Discard, r.Body, n)
				}
				if err == nil {
					_, _ = c.Write([]byte("HTTP/1.1 " + answer + "\r\nContent-Length: 0\r\n\r\n"))
				}
				<-t.Context().Done()
			})}
		}
	}
	iperf := func(f func(net.Conn)) func(*testing.T) Options {
		return func(t *testing.T) Options { return Options{Iperf3: listen(t, f)} }
	}
	// within bounds the waits where the endpoint lets wait, and only there: the others have answers to come to.
	within := func(p patience, options func(*testing.T) Options) func(*testing.T) Options {
		return func(t *testing.T) Options {
			o := options(t)
			o.patience = p
			return o
		}
	}
	noAnswer, noLoad := patience{stall: stallTime, answer: time.Second}, patience{stall: time.Second, answer: answerTime}
	for name, c := range map[string]struct {
		options func(*testing.T) Options
		want    string
	}{
		"nobody there": {func(t *testing.T) Options {
			c, err := net.Dial("tcp", listen(t, say()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return Options{Iperf3: c.LocalAddr().String()} // a port that is taken, and not listened at
		}, "is `iperf3 -s` running there"},
		"hangs up": {iperf(func(net.Conn) {}), ""},
		"garbage": {iperf(func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_, _ = io.Copy(io.Discard, c)
		}), "answers 72 where 9 is due"},
		"never answers": {within(noAnswer, iperf(say())), "says nothing for 1s"},
		"busy":          {iperf(say(-1)), "busy with another test"},
		"its own error": {iperf(say(9, -2, 0, 0, 0, 7, 0, 0, 0, 0)), "its error 7"},
		"stopped":       {iperf(say(9, 10, 11)), "the server was stopped"},
		"carries none":  {within(noLoad, iperf(say(9, 10, 1, 2))), "nothing was carried for 1s"},
		"ends early":    {iperf(say(9, 10, 1, 2, 13)), "before its time"},
		"web: refuses in colours": {func(t *testing.T) Options {
			return Options{Download: "http://" + listen(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = c.Write([]byte("HTTP/1.1 403 \x1b[31mno\r\n\r\n"))
				}
			})}
		}, "403 Forbidden"},
		"web: refuses":         {answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }), "403 Forbidden"},
		"web: empty":           {answer(func(http.ResponseWriter, *http.Request) {}), "name a larger file"},
		"web: takes no upload": {takes(0, "204 No Content"), "it answers 204 before it has taken the upload (name a URL that takes uploads (POST) of any size)"},
		"web: takes a part":    {takes(1<<20, "200 OK"), "it answers 200 before it has taken the upload"},
		"web: dies in the middle": {answer(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 1<<20))
			panic(http.ErrAbortHandler)
		}), "EOF"},
		"web: goes silent": {within(noLoad, answer(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 1<<20))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})), "nothing was carried for 1s"},
		"web: headers without end": {func(t *testing.T) Options {
			return Options{Download: "http://" + listen(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
				for {
					if _, err := c.Write([]byte("X-Header: " + strings.Repeat("x", 1000) + "\r\n")); err != nil {
						return
					}
				}
			})}
		}, "header"},
		"web: no HTTP": {func(t *testing.T) Options {
			return Options{Download: "http://" + listen(t, func(c net.Conn) { _, _ = c.Write([]byte("\x00\x01\x02\n\n\n")) })}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.options(t)
			q := quick()
			o.Streams, o.Time, o.Idle, o.Now = q.Streams, 10*time.Second, q.Idle, q.Now
			_, err := Measure(t.Context(), o)
			part := LoadDown
			if o.Upload != "" {
				part = LoadUp
			}
			var own *Error
			if !errors.As(err, &own) || !strings.Contains(err.Error(), c.want) || own.Part != part || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%v, want an error of the endpoint with %q", err, c.want)
			}
		})
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Time = MaxTime
	begun := make(chan struct{}, 64)
	var connections atomic.Int32
	o.Iperf3 = listen(t, func(c net.Conn) {
		if connections.Add(1) == 1 { // the one for talk: it says nothing more, and hangs up when the test ends
			_, _ = c.Write([]byte{9, 10, 1, 2})
			_, _ = bufio.NewReader(c).ReadBytes(byte(stateTestEnd))
			return
		}
		b := make([]byte, block)
		for {
			select {
			case begun <- struct{}{}:
			default:
			}
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	o.Before = func(p Part) error {
		if p == LoadDown {
			go func() { <-begun; cancel() }()
		}
		return nil
	}
	if _, err := Measure(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A panic of a stream comes out at the caller, whose deferred calls give the router back.
func TestPanicsComeOutAtTheCaller(t *testing.T) {
	t.Parallel()
	defer func() {
		if r := recover(); r != "boom" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = all(3, func() {}, func(i int) error {
		if i == 1 {
			panic("boom")
		}
		return nil
	})
	t.Error("it went on")
}

// A line that is not there carries nothing, rather than another one.
func TestPathThatIsNotThere(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Path{
		"bind to interface wanctl-none": {Interface: "wanctl-none"},
		"cannot assign requested":       {Source: netip.MustParseAddr("192.0.2.1")},
	} {
		o := quick()
		o.Iperf3, o.Path = listen(t, say()), p
		if _, err := Measure(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"no endpoint":        {},
		"name one endpoint":  {Iperf3: "a", Download: "http://b"},
		"is no port":         {Iperf3: "a:x"},
		"is not HOST[:PORT]": {Iperf3: "a b"},
		"the URL of the download is none that begins with http://": {Download: "ftp://a"},
		"the URL of the upload holds a password":                   {Upload: "http://u:secret@a"},
		"the URL of the download is none":                          {Download: "ftp://u:secret@a"},
		"the URL of the upload is none":                            {Upload: "http://u:secret@a b"},
		"is none that begins":                                      {Download: "http://a:secret"},
		"https:// and a host":                                      {Upload: "u:secret@a/file"},
		"33 streams: 1 to 32":                                      {Iperf3: "a", Streams: 33},
		"load each direction for":                                  {Iperf3: "a", Time: time.Hour},
		"without load":                                             {Iperf3: "a", Idle: time.Hour},
	} {
		o.Now = clock()
		err := o.Check()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for in, want := range map[string]string{"a": "a 5201", "a:1": "a 1", "::1": "::1 5201", "[::1]": "::1 5201", "[::1]:7": "::1 7", "192.0.2.1:7": "192.0.2.1 7"} {
		if h, p, err := ParseServer(in, DefaultPort); err != nil || fmt.Sprint(h, " ", p) != want {
			t.Errorf("%q: %s %d, %v", in, h, p, err)
		}
	}
}
