package rosim

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/lab/memnet"
	"wanctl/internal/unit"
)

// The bounds of HTTP hold before anything is stored.
func TestRESTBounds(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			send string
			want []string
		}{
			{"GET /rest/x HTTP/1.1\r\nHost: r\r\nX: " + strings.Repeat("x", maxHead+maxBody), []string{"> 431 Request Header Fields Too Large"}},
			{"POST /rest/x HTTP/1.1\r\nHost: r\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("x", 70000), []string{"> 413 Request Entity Too Large"}},
			{"nonsense\r\n\r\n", []string{"> (closed)"}},
			{"POST /rest/x HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n\r\nxx", nil},
			{
				"POST /rest/system/identity/print HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n" +
					"Authorization: Basic d2FuY3RsOnNlY3JldA==\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
				[]string{"> 100 Continue", "> 200 OK; application/json", "> (closed)", `> [{"name":"rb5009"}]`},
			},
			{
				"POST /rest/system/identity/print HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" +
					"Authorization: Basic d2FuY3RsOnNlY3JldA==\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
				[]string{"> 200 OK; application/json", `> [{"name":"rb5009"}]`},
			},
		} {
			c, err := b.all["www:0"].Dial()
			if err != nil {
				t.Fatal(err)
			}
			e := listenTo(c)
			_, _ = io.WriteString(c, tc.send)
			raw, closed := e.heard()
			got := spellHTTP(raw)
			if len(raw) == 0 {
				got = ""
			}
			if closed {
				got += "> (closed)\n"
			}
			for _, w := range tc.want {
				if !strings.Contains(got, w) {
					t.Errorf("%.60q: %q, want %q", tc.send, got, w)
				}
			}
			_ = c.Close()
			e.heard()
		}
	})
}

// A garbled reply over SSH is a page, or nothing a terminal would show.
func TestGarbledOverSSH(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		b.GarbleNext(GarbleHTML)
		if out, _ := run1(c, putLimit); !strings.Contains(out, "<title>Login</title>") {
			t.Errorf("%q", out)
		}
		b.GarbleNext(GarbleBytes)
		if out, _ := run1(c, setLimit); !strings.Contains(out, "\x00") {
			t.Errorf("%q", out)
		}
		if got, _ := b.MaxLimit("WAN-Download-ATT"); got != 50*unit.Mbps {
			t.Errorf("it did not run: %v", got)
		}
		for _, bad := range []string{"garble", "garble=soup", "group=wanctl", "group=wanctl=nobody", "group=nobody=read", "wrong-certificate=x"} {
			if err := b.Inject(bad); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
		if err := b.Inject("group=" + DefaultUser + "=read"); err != nil {
			t.Fatal(err)
		}
		if out, _ := run1(c, setLimit); !strings.Contains(out, "not enough permissions (9)") {
			t.Errorf("over SSH a change of rights counts at once: %q", out)
		}
	})
}

// Who does not have the right to use SSH, or comes from elsewhere, is not let in.
func TestSSHAsksForItsRight(t *testing.T) {
	served(t, func(o *Options) {
		o.Groups = []Group{{"noshell", []string{"read", "write", "api"}}}
		o.Users[1].Group = "noshell"
	}, func(t *testing.T, b *bench) {
		b.AuthorizeKey(DefaultUser, b.key.PublicKey())
		try := func() error {
			c, err := b.dial(b.config(sshKey(b)))
			if err == nil {
				_ = c.Close()
			}
			return err
		}
		if try() == nil {
			t.Error("a login without the right to use SSH")
		}
		if err := b.SetGroup(DefaultUser, "write"); err != nil {
			t.Fatal(err)
		}
		if err := try(); err != nil {
			t.Error(err)
		}
	})
}

// On a real socket a source that the service does not want is reset.
func TestResetOnARealSocket(t *testing.T) {
	o := DefaultOptions()
	o.HostKeys = fuzzKeys(t)
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.ServeREST(ctx, ln) }()
	<-r.Ready()
	if r.RESTAddr().String() != ln.Addr().String() || r.RESTTLSAddr() != nil {
		t.Errorf("addresses %v and %v", r.RESTAddr(), r.RESTTLSAddr())
	}
	if out, failed := r.Exec(t.Context(), DefaultUser, "/ip/service/set www address=192.0.2.0/24"); failed {
		t.Fatal(out)
	}
	c, err := net.Dial("tcp", ln.Addr().String()) // the reset may come that early
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Return(); !errors.Is(err, errStopped) {
		t.Errorf("after the end: %v", err)
	}
}

// A door serves once, and a broken one says which it was.
func TestDoorsOnceEach(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		ln, _ := (&memnet.Network{}).Listen(memnet.Addr("again:0"))
		if err := b.ServeAPI(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "serves api already") {
			t.Errorf("%v", err)
		}
	})
}

// A listener that does not take what it is sent is ended, not kept.
func TestSlowListenerIsEnded(t *testing.T) {
	r, _ := steady(t, nil)
	f := r.subscribe(r.queues())
	for i := range maxChanges + 2 {
		if err := r.ForeignSet("WAN-Upload-ATT", unit.Rate(i)*unit.Kbps); err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := r.take(f)
	if len(got) != maxChanges || err == nil {
		t.Errorf("%d changes, %v", len(got), err)
	}
	r.unsubscribe(f)
	if len(r.feeds) != 0 {
		t.Error("it is still fed")
	}
}

// The rights of a group and the words of its list.
func TestPolicies(t *testing.T) {
	s := policySet(0).with(list(str("read"), str("api"), str("!read"), str("nonsense")))
	if s != policyAPI || !s.has(policyAPI) || s.has(policyRead) {
		t.Errorf("%b", s)
	}
	if w := s.words(); len(w.arr) != len(policyNames) || w.arr[0].val.str != "api" || w.arr[1].val.str != "!local" {
		t.Errorf("%v", w)
	}
	o := DefaultOptions()
	o.Users[0].Group = "nosuch"
	o.Groups = []Group{{"x", []string{"fly"}}}
	if _, err := NewRouter(o); err == nil || !strings.Contains(err.Error(), `no group "nosuch"`) || !strings.Contains(err.Error(), `no policy "fly"`) {
		t.Errorf("%v", err)
	}
	r, _ := steady(t, nil)
	if r.policies("nobody") != 0 || r.rights("nobody") != policyRead {
		t.Error("rights of nobody")
	}
	named(r.root.at(userPath), DefaultUser).vals["group"] = str("gone")
	if r.policies(DefaultUser) != 0 {
		t.Error("rights of a group that is gone")
	}
}

// The cache of REST logins and the rows of sessions are bounded.
func TestRESTLoginsAreBounded(t *testing.T) {
	r, _ := steady(t, nil)
	g := &gate{Conn: memnet.Conn{Addr: "192.0.2.7:1"}, door: r.doors[doorREST]}
	for range maxGrants + 5 {
		r.restLogins[restLogin{user: "x" + strings.Repeat("y", len(r.restLogins))}] = restGrant{}
	}
	r.account(DefaultUser).Password = "secret"
	for range maxItems {
		if _, ok := r.restLogin(g, DefaultUser, "secret"); !ok {
			t.Fatal("refused")
		}
	}
	if n := len(r.restLogins); n > maxGrants+5 {
		t.Errorf("%d logins", n)
	}
	if n := len(r.root.at(activePath).items); n > maxItems {
		t.Errorf("%d rows", n)
	}
}

func TestTrack(t *testing.T) {
	for _, tc := range []struct {
		tracking Tracking
		want     string
	}{
		{"", "192.168.88.6 198.51.100.2\n"},
		{TrackingOff, " \n"},
		{TrackingAbsent, "bad command name connection (line 1 column 24)\n"},
		{TrackingDenied, "not enough permissions (9)\n"},
	} {
		r, _ := steady(t, func(o *Options) { o.Tracking = tc.tracking })
		for range 2 {
			if err := r.Track("192.168.88.6", "192.0.2.1", "ether1"); err != nil {
				t.Fatal(err)
			}
		}
		out, _ := r.Exec(t.Context(), DefaultUser, `:local c [/ip/firewall/connection/print as-value]; :put (($c->0->"src-address") . " " . ($c->0->"reply-dst-address"))`)
		if out != tc.want {
			t.Errorf("%q: %q", tc.tracking, out)
		}
		if tc.tracking == TrackingDenied {
			if _, _, err := r.perform(t.Context(), DefaultUser, ^policySet(0), request{path: connectionPath + "/print"}, nil); err == nil {
				t.Error("shown over the API")
			}
		}
	}
	r, _ := steady(t, nil)
	for _, bad := range [][3]string{{"x", "192.0.2.1", ""}, {"192.0.2.1", "y", ""}, {"192.0.2.1", "192.0.2.2", "ether9"}} {
		if err := r.Track(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	for i := range maxItems + 1 {
		err := r.Track("192.168.88.6", "10.0.0."+num(int64(i%250)).text(durationClock), "")
		if (err == nil) != (i < maxItems) {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// An address that does not answer shows as a timeout, and loss is counted.
func TestPingTimeout(t *testing.T) {
	n := 0
	r, _ := steady(t, func(o *Options) {
		o.Sleep = noSleep()
		o.Echo = echoes(&n)
	})
	var rows []string
	q := request{path: "/tool/ping", args: []pair{{"address", "192.0.2.1"}, {"count", "3"}, {"interval", "10ms"}}}
	if _, _, err := r.perform(t.Context(), DefaultUser, ^policySet(0), q, func(x row) error {
		rows = append(rows, strings.Join(x.words(), " "))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || !strings.Contains(rows[0], "=status=timeout =sent=1 =received=0 =packet-loss=100") || !strings.Contains(rows[2], "=packet-loss=66 =min-rtt=1ms") {
		t.Errorf("%q", rows)
	}
	if _, _, err := r.perform(t.Context(), DefaultUser, ^policySet(0), q, func(row) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("nobody listens any more: %v", err)
	}
}

// What a browser sends before a login is answered without one.
func TestWebWithoutALogin(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.web(false)
		defer c.CloseIdleConnections()
		for path, want := range map[string]int{"/": http.StatusNotFound, "/restful": http.StatusNotFound, "/rest": http.StatusUnauthorized, "/rest/x": http.StatusUnauthorized} {
			resp, err := c.Get("http://router" + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
			}
		}
	})
}

// A command whose connection has gone, and one that a stop interrupts, leave nothing behind.
func TestAPIStopsInTheMiddle(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		w, err := b.api(DefaultUser, "secret")
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range [][]string{{"/queue/tree/listen", ".tag=1"}, {"/tool/ping", "=address=192.0.2.1", ".tag=2"}} {
			_, _ = w.Write(appendSentence(nil, words...))
		}
		b.Slow(time.Minute, 0)
		_, _ = w.Write(appendSentence(nil, "/queue/tree/set", "=.id=*1", "=max-limit=1M"))
		synctest.Wait()
		_ = w.Close()
		if err := b.AwaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := b.MaxLimit("WAN-Download-Spectrum"); got != 940*unit.Mbps {
			t.Errorf("a lost command ran: %v", got)
		}
		b.Slow(0, 0)
		if w, err = b.api(DefaultUser, "secret"); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(appendSentence(nil, "/queue/tree/listen"))
		synctest.Wait() // the story ends, and Serve with it
	})
}

func TestShownIsReadable(t *testing.T) {
	if got := shown(appendSentence(appendSentence(nil, "!re", "=a=b"), "!done")); got != "!re =a=b\n!done\n" {
		t.Errorf("%q", got)
	}
	if _, err := readSentence(bufio.NewReader(strings.NewReader("\x03!re")), limitsAfter); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	s := readWords([]string{"/user/set", "=password=hush", "?name=x", "=.proplist=a,b", ".tag=1", "junk", "=", ".other=1"})
	if got := s.line(); got != "/user/set =password=*** =.proplist=a,b ?name=x .tag=1" {
		t.Errorf("%q", got)
	}
	fields, err := readFields([]byte(`{"password":"hush","a":null,".query":["x"],"n":1.5,"b":true}`))
	if err != nil || maskFields(fields) != `{"password":"***","a":null,".query":["x"],"n":"1.5","b":"true"}` {
		t.Errorf("%s %v", maskFields(fields), err)
	}
}

// echoes answers the third echo and later ones.
func echoes(n *int) func(netip.Addr) (time.Duration, bool) {
	return func(netip.Addr) (time.Duration, bool) {
		*n++
		return time.Millisecond, *n >= 3
	}
}
