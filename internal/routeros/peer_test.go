package routeros

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// identity is a certificate for 127.0.0.1, self-signed, and the ways to trust it.
type identity struct {
	cert  tls.Certificate
	pin   [sha256.Size]byte
	roots *x509.CertPool
}

// newIdentity makes one that is valid from begin for a day.
func newIdentity(t testing.TB, begin time.Time, names ...string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "router"}, NotBefore: begin, NotAfter: begin.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, DNSNames: names,
	}
	if len(names) == 0 {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	id := identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, sha256.Sum256(der), x509.NewCertPool()}
	id.roots.AddCert(c)
	return id
}

func goodIdentity(t testing.TB) identity {
	t.Helper()
	return newIdentity(t, time.Now().Add(-time.Hour))
}

// peer is a TCP server, or a TLS one, whose connections a script serves.
type peer struct {
	listener net.Listener
	// id is the certificate of new connections; nil is no TLS.
	id    atomic.Pointer[identity]
	conns atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// serve runs a script on every connection until the test ends.
func serve(t *testing.T, id *identity, script func(net.Conn)) *peer {
	t.Helper()
	p := &peer{open: map[net.Conn]struct{}{}}
	p.id.Store(id)
	var err error
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			raw, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.conns.Add(1)
			p.mu.Lock()
			p.open[raw] = struct{}{}
			p.mu.Unlock()
			running.Go(func() {
				defer func() { _ = raw.Close() }()
				conn := raw
				if id := p.id.Load(); id != nil {
					conn = tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{id.cert}})
				}
				script(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

// cut closes every connection.
func (p *peer) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

func (p *peer) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// options reach the peer through a door. The timeout never strikes in a test that does not want it to.
func (p *peer) options(t Transport) Options {
	o := Options{Transport: t, Host: "127.0.0.1", Port: p.port(), User: "wanctl", Password: password(secret), Timeout: time.Hour}
	if id := p.id.Load(); id != nil {
		o.Roots = id.roots
	} else {
		o.Plain = true
	}
	return o
}

// talk is the server's side of a connection of the binary API.
type talk struct {
	net.Conn
	r *bufio.Reader
}

func talkOn(c net.Conn) *talk { return &talk{c, bufio.NewReader(c)} }

// hear reads one sentence; nil is the end. The tag stands last and is taken off.
func (t *talk) hear() (words []string, tag string) {
	words, _, err := readSentence(t.r, maxWord)
	if err != nil {
		return nil, ""
	}
	if last := words[len(words)-1]; len(last) > 5 && last[:5] == ".tag=" {
		return words[:len(words)-1], last
	}
	return words, ""
}

// tell writes one sentence, tagged where there is a tag.
func (t *talk) tell(tag string, words ...string) {
	if tag != "" {
		words = append(words, tag)
	}
	_, _ = t.Write(appendSentence(nil, words...))
}

// login lets the client in.
func (t *talk) login() bool {
	words, tag := t.hear()
	if words == nil {
		return false
	}
	t.tell(tag, "!done")
	return true
}
