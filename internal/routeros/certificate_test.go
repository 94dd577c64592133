package routeros

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"wanctl/internal/link"
)

// leaky keeps what a peer could read of the client: nothing of it may be a secret.
type leaky struct {
	net.Conn
	mu  *sync.Mutex
	all *bytes.Buffer
}

func (l leaky) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(p[:n])
	return n, err
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	good, other := goodIdentity(t), goodIdentity(t)
	expired, future := newIdentity(t, now.Add(-48*time.Hour)), newIdentity(t, now.Add(48*time.Hour))
	named := newIdentity(t, now.Add(-time.Hour), "router.lan")
	pinOf := func(i identity) string { return "sha256:" + hex.EncodeToString(i.pin[:]) }
	for name, tt := range map[string]struct {
		id     identity
		change func(*Options)
		says   []string // empty: accepted
	}{
		"verified":                  {good, func(*Options) {}, nil},
		"unknown authority":         {good, func(o *Options) { o.Roots = other.roots }, []string{"is not verified", "router.tls_pin: " + pinOf(good)}},
		"this host's authorities":   {good, func(o *Options) { o.Roots = nil }, []string{"is not verified"}},
		"expired":                   {expired, func(*Options) {}, []string{"expired", "router.tls_pin: " + pinOf(expired)}},
		"not yet":                   {future, func(*Options) {}, []string{"not yet valid"}},
		"another name":              {named, func(*Options) {}, []string{"127.0.0.1", pinOf(named)}},
		"pinned":                    {good, func(o *Options) { o.Pin, o.Roots = good.pin, nil }, nil},
		"pinned and expired":        {expired, func(o *Options) { o.Pin = expired.pin }, nil},
		"pinned and another's name": {named, func(o *Options) { o.Pin, o.Unverified = named.pin, true }, nil},
		"another than pinned": {
			good, func(o *Options) { o.Pin = other.pin },
			[]string{"not the pinned one", "it has " + pinOf(good), "pinned is " + pinOf(other), "somebody may be in between"},
		},
		"insecure does not outdo a pin": {good, func(o *Options) { o.Pin, o.Unverified, o.Insecure = other.pin, true, true }, []string{"not the pinned one"}},
		"insecure alone verifies":       {expired, func(o *Options) { o.Insecure = true }, []string{"expired"}},
		"unverified":                    {expired, func(o *Options) { o.Unverified, o.Insecure, o.Roots = true, true, nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range []Transport{API, REST} {
				m := newModel()
				script := m.api
				if d == REST {
					script = web(m.rest)
				}
				var mu sync.Mutex
				var all bytes.Buffer
				p := serve(t, &tt.id, func(c net.Conn) { script(leaky{c, &mu, &all}) })
				o := p.options(d)
				tt.change(&o)
				c := dialer(t, o)
				_, err := c.Exchange(t.Context(), att, nil)
				if tt.says == nil {
					if err != nil {
						t.Errorf("%s: %v", d, err)
					}
				} else if e := failure(t, err, Certificate, append(tt.says, "nothing secret was sent")...); e.Sent || c.Logins() != 0 {
					t.Errorf("%s: %#v", d, e)
				}
				mu.Lock()
				if tt.says != nil && all.Len() > 0 {
					t.Errorf("%s: the peer got %d bytes", d, all.Len())
				}
				mu.Unlock()
				if got, err := c.Fingerprint(t.Context()); err != nil || got != pinOf(tt.id) {
					t.Errorf("%s: fingerprint %q, %v", d, got, err)
				}
			}
		})
	}
}

// A certificate that changes while connected is noticed at the next connection, and the password is not asked for.
func TestChangedCertificate(t *testing.T) {
	id, other := goodIdentity(t), goodIdentity(t)
	m := newModel()
	p := serve(t, &id, m.api)
	o := p.options(API)
	asked := 0
	o.Pin, o.Password = id.pin, func() (string, error) { asked++; return secret, nil }
	c := dialer(t, o)
	if _, err := c.Exchange(t.Context(), att, nil); err != nil || asked != 1 {
		t.Fatal(err)
	}
	p.id.Store(&other)
	gone := c.line.ended()
	p.cut()
	<-gone
	_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
	failure(t, err, Certificate, hex.EncodeToString(id.pin[:]), hex.EncodeToString(other.pin[:]))
	if asked != 1 || m.changed() != 0 {
		t.Errorf("asked %d times, %d changes", asked, m.changed())
	}
}

// TestNoCertificate: what a router without one, of an old kind, or without TLS on that port says, and what is then to do.
func TestNoCertificate(t *testing.T) {
	alert := func(number byte) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 5))
			_, _ = c.Write([]byte{0x15, 3, 3, 0, 2, 2, number})
			_, _ = io.Copy(io.Discard, c)
		}
	}
	id := goodIdentity(t)
	for name, tt := range map[string]struct {
		script func(net.Conn)
		kind   Kind
		says   []string
	}{
		"anonymous suites alone": {alert(40), Certificate, []string{
			"handshake failure", "anonymous TLS", "/certificate/add name=wanctl-ca common-name=wanctl-ca key-usage=key-cert-sign,crl-sign",
			"subject-alt-name=IP:127.0.0.1", "/certificate/sign wanctl-tls ca=wanctl-ca", "/ip/service/set api-ssl certificate=wanctl-tls",
		}},
		"TLS 1.0": {func(c net.Conn) {
			_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{id.cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}).Handshake()
			_, _ = io.Copy(io.Discard, c)
		}, Certificate, []string{"/ip/service/set api-ssl tls-version=only-1.2"}},
		"no TLS":        {func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-ROSSSH\r\n")); _, _ = io.Copy(io.Discard, c) }, Unreachable, []string{"80 and 8728"}},
		"another alert": {alert(80), Unreachable, []string{"internal error"}},
	} {
		p := serve(t, nil, tt.script)
		o := p.options(API)
		o.Plain, o.Roots = false, id.roots
		c := dialer(t, o)
		_, err := c.Exchange(t.Context(), att, nil)
		e := failure(t, err, tt.kind, tt.says...)
		if e.Sent {
			t.Errorf("%s: sent", name)
		}
		_, err = c.Fingerprint(t.Context())
		failure(t, err, tt.kind)
	}
	if s := (site{opt: Options{Host: "router.lan"}}).makeCertificate("www-ssl"); !strings.Contains(s, "subject-alt-name=DNS:router.lan") {
		t.Error(s)
	}
	// Plain has none, and nobody answers.
	p := serve(t, nil, func(net.Conn) {})
	c := dialer(t, p.options(REST))
	_, err := c.Fingerprint(t.Context())
	failure(t, err, Certificate, "without TLS")
	o := p.options(REST)
	o.Plain = false
	_ = p.listener.Close()
	_, err = dialer(t, o).Fingerprint(t.Context())
	failure(t, err, Unreachable)
}

// A name that the options take for this machine, and that leads elsewhere, gets no password. There is no such name to be had
// here, so the check is called by itself.
func TestPlainElsewhere(t *testing.T) {
	p := serve(t, nil, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	s := siteOf(p.options(API))
	conn, finish, e := s.secure(t.Context(), "o")
	if e != nil {
		t.Fatal(e)
	}
	finish()
	if err := s.here(fakeAddress{conn}); err == nil || !strings.Contains(err.Error(), "in clear") {
		t.Errorf("192.0.2.1 passed: %v", err)
	}
	s.opt.Insecure = true
	if err := s.here(fakeAddress{conn}); err != nil {
		t.Error(err)
	}
	_ = conn.Close()
}

type fakeAddress struct{ net.Conn }

func (fakeAddress) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// TestChain: a certificate that an authority of the router's own signed is verified by that authority, also over one in between.
func TestChain(t *testing.T) {
	now := time.Now()
	sign := func(name string, ca bool, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			c.KeyUsage |= x509.KeyUsageCertSign
		} else {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	root, rootKey := sign("root", true, nil, nil)
	middle, middleKey := sign("middle", true, root, rootKey)
	leaf, leafKey := sign("leaf", false, middle, middleKey)
	id := identity{cert: tls.Certificate{Certificate: [][]byte{leaf.Raw, middle.Raw}, PrivateKey: leafKey}, roots: x509.NewCertPool()}
	id.roots.AddCert(root)
	p := serve(t, &id, newModel().api)
	c := dialer(t, p.options(API))
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Error(err)
	}
	if got, err := c.Fingerprint(t.Context()); err != nil || got != fingerprintOf(leaf.Raw) {
		t.Errorf("%s, %v", got, err)
	}
}
