package daemon

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
)

// setsRate says whether a command sets a rate, as each door says it.
func setsRate(line string) bool {
	return strings.Contains(line, " set $d max-limit=") || strings.Contains(line, " set $u max-limit=") ||
		strings.Contains(line, "=max-limit=") || strings.HasPrefix(line, "PATCH /rest/queue/tree/")
}

// target is the item that a command sets, as far as the line tells; over SSH one line is for both.
func target(line string) string {
	i := strings.IndexByte(line, '*')
	if i < 0 {
		return ""
	}
	return strings.Fields(line[i:])[0]
}

// A write whose answer was lost may have been carried out: the router is read before it is written again, through every door.
func TestReadBeforeWritingAgain(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w := newWorldBy(t, rosim.DefaultOptions(), door)
			run := start(t, w.autorate())
			w.owned()
			w.router.CutWrites(3)
			w.pings.set(100)
			w.untilLimits(floor)
			w.confirmed(floor)
			run.mustEnd()
			open, n := map[string]bool{}, 0 // by what was to be set: both queues' writes may be under way at once
			for _, c := range w.router.Commands() {
				switch {
				case c.Outcome == rosim.OutcomeCutAfter && setsRate(c.Line):
					open[target(c.Line)] = true
					n++
				case setsRate(c.Line):
					if open[target(c.Line)] {
						t.Fatalf("written again unseen: %s", c.Line)
					}
				case strings.Contains(c.Line, "max-limit") && c.Outcome == rosim.OutcomeDone: // and no mere look-up
					clear(open)
				}
			}
			if n == 0 {
				t.Error("no write was cut: the test proves nothing")
			}
			w.sane()
		})
	}
}

// A router with odd names, comments and ten thousand rules is controlled as any other, and its rule is found and switched.
func TestOddRouter(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			o := routerOf("reflect") // which groups digits
			o.Identity = `R1 "west"; [x] $y | ünï \ {z}`
			for i := range o.Queues {
				o.Queues[i].Comment = fmt.Sprintf(`a "quoted"; comment | %d =.id=*1 $x`, i)
			}
			rules := make([]rosim.Rule, 0, 10_000+len(o.Rules))
			for i := range 10_000 {
				rules = append(rules, rosim.Rule{Chain: "forward", Action: "accept", Comment: fmt.Sprintf(`rule "%d"; | of [many]`, i)})
			}
			o.Rules = append(rules, o.Rules...)
			cert, err := rosim.NewCertificate("odd") // a name of that kind no certificate can hold
			if err != nil {
				t.Fatal(err)
			}
			o.Certificate = cert
			w := newWorldBy(t, o, door)
			run := start(t, w.autorate())
			w.owned()
			w.pings.set(100)
			w.untilLimits(floor)
			run.mustEnd()
			if w.limits() != base {
				t.Errorf("a stop left %v", w.limits())
			}
			if w.log.has("[WARNING] The") || w.log.has("trying again") {
				t.Errorf("the log complains:\n%s", w.log)
			}
			w.sane()
			w.text = w.steerText()
			steering, ds := w.loadSteer()
			if err := ds.Err(); err != nil {
				t.Fatal(err)
			}
			hand, err := DialSwitch(steering, w.clock)
			if err != nil {
				t.Fatal(err)
			}
			defer hand.Close()
			for _, on := range []bool{true, false} {
				if is, err := hand.SetRule(t.Context(), 0, on); err != nil || is != on {
					t.Fatalf("the rule among ten thousand: %t %v", is, err)
				}
			}
		})
	}
}

// front stands before a router's REST and answers in its place with a status, for as long as it is told to.
type front struct {
	status atomic.Int64
	body   atomic.Pointer[string]
	hits   atomic.Int64
}

// newFront makes one, with the router's own certificate, and lets the world's configuration go through it.
func newFront(t *testing.T, w *world, cert tls.Certificate) *front {
	t.Helper()
	f := &front{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := &url.URL{Scheme: "https", Host: fmt.Sprint("127.0.0.1:", w.port)}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // to the emulator on loopback
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		code := int(f.status.Load())
		if code == 0 {
			proxy.ServeHTTP(rw, r)
			return
		}
		f.hits.Add(1)
		if code == http.StatusFound {
			rw.Header().Set("Location", "https://192.0.2.1/")
		}
		rw.WriteHeader(code)
		_, _ = rw.Write([]byte(*f.body.Load()))
	}))
	_ = s.Listener.Close()
	s.Listener = ln
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} //nolint:gosec // the emulator's own certificate
	s.StartTLS()
	t.Cleanup(s.Close)
	w.set(fmt.Sprintf("port: %d", w.port), fmt.Sprintf("port: %d", ln.Addr().(*net.TCPAddr).Port))
	return f
}

// Whatever status REST answers with, measuring goes on, nothing is taken for a reading, and control is back when it is.
func TestRESTStatuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     int
		body, says string
	}{
		{http.StatusFound, "", "redirect"},
		{http.StatusForbidden, `{"error":403,"message":"Forbidden"}`, "permission"},
		{http.StatusNotFound, `{"error":404,"message":"Not Found"}`, "404"},
		{http.StatusNotAcceptable, `{"error":406,"message":"Not Acceptable"}`, "406"},
		{http.StatusUnsupportedMediaType, `{"error":415,"message":"Unsupported Media Type"}`, "415"},
		{http.StatusInternalServerError, `{"error":500,"message":"Internal Server Error","detail":"Session closed"}`, "500"},
		{http.StatusServiceUnavailable, "<html><body>busy</body></html>", "503"},
		{http.StatusOK, "17", "neither a list nor an object"},
		{http.StatusOK, `[{".id":"*1","name":["WAN-Download-ATT"]}]`, "no string"},
		{http.StatusOK, `[]`, "has 0 entries"},
		{http.StatusOK, `[{".id":"*1"`, "not RouterOS's"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.says), func(t *testing.T) {
			t.Parallel()
			cert, err := rosim.NewCertificate("front")
			if err != nil {
				t.Fatal(err)
			}
			o := rosim.DefaultOptions()
			o.Certificate = cert
			w := newWorldBy(t, o, config.TransportREST)
			f := newFront(t, w, cert)
			run := start(t, w.autorate())
			w.owned()
			f.body.Store(&c.body)
			f.status.Store(int64(c.status))
			w.pings.set(100)
			w.pings.until(t, fmt.Sprintf("a line with %q; log:\n%s", c.says, w.log), func() bool { return w.log.has(c.says) })
			w.measures(10)
			if w.limits() != ceiling || f.hits.Load() == 0 {
				t.Errorf("limits are %v after %d requests that were answered so", w.limits(), f.hits.Load())
			}
			f.status.Store(0)
			w.untilLimits(floor)
			run.mustEnd()
			if w.limits() != base {
				t.Errorf("a stop left %v", w.limits())
			}
			w.sane()
		})
	}
	// A status 401 is a refused login: it is not tried again until a reload.
	t.Run("401", func(t *testing.T) {
		t.Parallel()
		cert, err := rosim.NewCertificate("front")
		if err != nil {
			t.Fatal(err)
		}
		o := rosim.DefaultOptions()
		o.Certificate = cert
		w := newWorldBy(t, o, config.TransportREST)
		f := newFront(t, w, cert)
		a := w.autorate()
		run := start(t, a)
		w.owned()
		body := `{"error":401,"message":"Unauthorized"}`
		f.body.Store(&body)
		f.status.Store(http.StatusUnauthorized)
		w.pings.set(100)
		w.pings.until(t, "an alert", func() bool { return w.log.has("not trying again until a reload or restart") })
		w.measures(20)
		if n := f.hits.Load(); n != 1 {
			t.Errorf("%d requests with a password that was refused", n)
		}
		f.status.Store(0)
		if err := a.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.untilLimits(floor)
		run.mustEnd()
	})
}
