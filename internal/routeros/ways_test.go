package routeros_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

const m = unit.Mbps

var att = routeros.Queues{Down: "WAN-Download-ATT", Up: "WAN-Upload-ATT"}

// way is one door of the emulated router, as the suite goes through it.
type way struct {
	name      string
	transport routeros.Transport
	plain     bool
	serve     func(*rosim.Router, context.Context, net.Listener) error
}

var (
	overSSH  = way{"ssh", routeros.SSH, false, (*rosim.Router).Serve}
	overREST = way{"www-ssl", routeros.REST, false, (*rosim.Router).ServeRESTTLS}
)

// ways are all doors the emulator has.
func ways() []way {
	return []way{
		overSSH,
		{"api-ssl", routeros.API, false, (*rosim.Router).ServeAPITLS},
		{"api", routeros.API, true, (*rosim.Router).ServeAPI},
		overREST,
		{"www", routeros.REST, true, (*rosim.Router).ServeREST},
	}
}

// everyWay runs one case of the suite through every door. Meaning the same, the doors must do the same.
func everyWay(t *testing.T, run func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) { run(t, w) })
	}
}

// sesame is the password of the emulated router's user, where one is needed.
const sesame = "open sesame"

// bench is an emulated router and a client that trusts it and logs in: with a key over SSH, else with a password.
type bench struct {
	router *rosim.Router
	client *routeros.Client
	way    way
	asked  *atomic.Int64 // how often a password was asked for
	known  string
	// options are the client's.
	options routeros.Options
}

// router starts an emulated router and connects a client to it; the client's timeout never strikes.
func (w way) router(t *testing.T, o rosim.Options) *bench {
	t.Helper()
	return w.routerWith(t, o, time.Hour, w.transport == routeros.SSH)
}

func (w way) routerWith(t *testing.T, o rosim.Options, timeout time.Duration, withKey bool) *bench {
	t.Helper()
	if !withKey {
		o.Users = slices.Clone(o.Users)
		for i := range o.Users {
			if o.Users[i].Name == rosim.DefaultUser && o.Users[i].Password == "" {
				o.Users[i].Password = sesame
			}
		}
	}
	r, err := rosim.NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.serve(r, ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	<-r.Ready()
	b := &bench{router: r, way: w, asked: new(atomic.Int64)}
	b.known = filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(b.known, []byte(r.KnownHosts(listener.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	options := routeros.Options{
		Transport: w.transport, Plain: w.plain, Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: rosim.DefaultUser,
		KnownHosts: b.known, Timeout: timeout,
	}
	if w.transport != routeros.SSH && !w.plain {
		options.Roots = x509.NewCertPool()
		options.Roots.AppendCertsFromPEM(r.Certificate())
	}
	if withKey {
		options.KeyFile = authorize(t, r)
	} else {
		options.Password = func() (string, error) { b.asked.Add(1); return sesame, nil }
	}
	b.options = options
	if b.client, err = routeros.New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.client.Close() })
	return b
}

// authorize gives the router's user a key and returns its file.
func authorize(t *testing.T, r *rosim.Router) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	r.AuthorizeKey(rosim.DefaultUser, key)
	return file
}

// policies are the rights the user of a door needs.
func (w way) policies() string {
	return map[routeros.Transport]string{routeros.SSH: "read,write,ssh", routeros.API: "read,write,api", routeros.REST: "read,write,api,rest-api"}[w.transport]
}

// atTheWrite lets a fault meet the command that sets a rate or switches a rule: over SSH that is the only one, elsewhere the one
// after the look-up. A cut of no kind passes a command over.
func (b *bench) atTheWrite(fault func()) {
	if b.way.transport != routeros.SSH {
		b.router.CutNext(0)
	}
	fault()
}

// limits are the rates the router really has.
func (b *bench) limits(t *testing.T) link.Rates {
	t.Helper()
	var rates link.Rates
	for d, name := range map[link.Direction]string{link.Down: att.Down, link.Up: att.Up} {
		limit, ok := b.router.MaxLimit(name)
		if !ok {
			t.Fatalf("the router has no queue %s", name)
		}
		rates.Set(d, limit)
	}
	return rates
}

func failed(t *testing.T, err error, kind routeros.Kind) *routeros.Error {
	t.Helper()
	var e *routeros.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want kind %v", err, kind)
	}
	return e
}
