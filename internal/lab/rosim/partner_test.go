package rosim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/go-routeros/routeros/v3"
	"github.com/go-routeros/routeros/v3/proto"
	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

// onLoopback serves the API, plain and over TLS, on real sockets.
func onLoopback(t *testing.T) (r *Router, plain, secure string) {
	t.Helper()
	o := DefaultOptions()
	o.Users[1].Password = "secret"
	o.HostKeys = fuzzKeys(t)
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var addrs []string
	done := make(chan error, 2)
	for _, serve := range []func(context.Context, net.Listener) error{r.ServeAPI, r.ServeAPITLS} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr().String())
		go func() { done <- serve(ctx, ln) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	if err := r.Await(t.Context(), func() bool { return r.APIAddr() != nil && r.APITLSAddr() != nil }); err != nil {
		t.Fatal(err)
	}
	return r, addrs[0], addrs[1]
}

// Somebody else's client, written from other people's knowledge of the protocol, understands the emulator.
func TestAnotherClientOfTheAPI(t *testing.T) {
	r, plainAddr, secure := onLoopback(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.Certificate())
	c, err := routeros.DialTLS(secure, DefaultUser, "secret", &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Run("/queue/tree/print", "=.proplist=.id,name,max-limit", "?parent=bridge")
	if err != nil || len(reply.Re) != 2 || reply.Re[1].Map["max-limit"] != "95000000" {
		t.Fatalf("%v %v", reply, err)
	}
	if reply, err = c.Run("/queue/tree/print", "?name=nobody"); err != nil || len(reply.Re) != 0 {
		t.Errorf("nothing: %v %v", reply, err)
	}
	if reply, err = c.Run("/queue/tree/add", "=parent=ether3"); err != nil || reply.Done.Map["ret"] != "*5" {
		t.Errorf("add: %v %v", reply, err)
	}
	var device *routeros.DeviceError
	if _, err = c.Run("/ip/address/add", "=address=192.168.88.1", "=interface=asdf"); !errors.As(err, &device) ||
		device.Sentence.Map["message"] != "input does not match any value of interface" || device.Sentence.Map["category"] != "1" {
		t.Errorf("trap: %v", err)
	}
	// Words of every length survive, the comment's among them.
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`(?s).{1,20}`).Draw(rt, "text")
		comment := strings.Repeat(text, rapid.SampledFrom([]int{1, 7, 200, 600}).Draw(rt, "times"))
		if _, err := c.Run("/queue/tree/set", "=.id=*4", "=comment="+comment); err != nil {
			rt.Fatal(err)
		}
		got, err := c.Run("/queue/tree/print", "=.proplist=comment", "?comment="+comment)
		if err != nil || len(got.Re) != 1 || got.Re[0].Map["comment"] != comment {
			rt.Errorf("%q became %v, %v", comment, got, err)
		}
	})
	if _, err := routeros.Dial(plainAddr, DefaultUser, "wrong"); !errors.As(err, &device) || !strings.Contains(err.Error(), "invalid user name or password (6)") {
		t.Errorf("a wrong password: %v", err)
	}

	// Its own client's asynchronous mode loses answers that come early, so a stream is read with its words alone.
	conn, err := net.Dial("tcp", plainAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w, rd := proto.NewWriter(conn), proto.NewReader(conn)
	say := func(words ...string) {
		t.Helper()
		w.BeginSentence()
		for _, x := range words {
			w.WriteWord(x)
		}
		if err := w.EndSentence(); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) {
		t.Helper()
		s, err := rd.ReadSentence()
		if err != nil {
			t.Fatal(err)
		}
		got := s.Word + " " + s.Tag
		for _, p := range s.List {
			got += " " + p.Key + "=" + p.Value
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	say("/login", "=name="+DefaultUser, "=password=secret", ".tag=l")
	hear("!done l")
	say("/queue/tree/listen", "=.proplist=name,max-limit", ".tag=2")
	if err := r.Await(t.Context(), r.listened); err != nil {
		t.Fatal(err)
	}
	if err := r.ForeignSet("WAN-Upload-ATT", 7*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	hear("!re 2 name=WAN-Upload-ATT max-limit=7000000")
	say("/cancel", "=tag=2", ".tag=7")
	hear("!trap 2 category=2 message=interrupted")
	hear("!done 7")
	hear("!done 2")
}

// listened says whether somebody listens to the queues.
func (r *Router) listened() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.feeds {
		if f.menu == r.queues() {
			return true
		}
	}
	return false
}
