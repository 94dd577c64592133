package rosim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// A made certificate is valid from before any clock a test may have until after it.
var (
	distantPast   = time.Unix(0, 0)
	distantFuture = time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)
	// longAgo is the end of an expired certificate: before the clocks of synctest, too.
	longAgo = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
)

// NewCertificate makes a certificate as a router makes its own: it signs itself, names this host's loopback addresses and
// localhost beside name, and is valid for decades.
func NewCertificate(name string) (tls.Certificate, error) {
	return newCertificate(name, distantPast, distantFuture)
}

// newCertificate makes a certificate that signs itself, for this host's loopback addresses and names.
func newCertificate(name string, from, to time.Time) (tls.Certificate, error) {
	fail := func(err error) (tls.Certificate, error) {
		return tls.Certificate{}, fmt.Errorf("rosim: make a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fail(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
		DNSNames:    []string{"localhost", name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Certificate returns the certificate that the TLS doors show, in PEM: a trust anchor for it, when it was made here.
func (r *Router) Certificate() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.certificate.Certificate[0]})
}

// CertificateFingerprint returns the SHA-256 of that certificate in lower-case hex.
func (r *Router) CertificateFingerprint() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := sha256.Sum256(r.certificate.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// RotateCertificate replaces the certificate from the next connection on.
func (r *Router) RotateCertificate() error { return r.renew(distantFuture) }

// ExpireCertificate replaces the certificate by one that has expired, from the next connection on.
func (r *Router) ExpireCertificate() error { return r.renew(longAgo) }

func (r *Router) renew(to time.Time) error {
	c, err := newCertificate(r.opt.Identity, distantPast, to)
	if err != nil {
		return err
	}
	r.withLock(func() { r.certificate = c })
	return nil
}

// tlsConfig is made for each connection. RouterOS speaks TLS 1.0 to 1.2; without a certificate it offers only suites
// that prove nobody's identity, which Go has none of.
func (r *Router) tlsConfig(door string) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(door)
	if !s.certificate {
		return nil, errors.New("no certificate")
	}
	c := &tls.Config{Certificates: []tls.Certificate{r.certificate}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12}
	if s.only12 {
		c.MinVersion = tls.VersionTLS12
	}
	return c, nil
}

// overTLS serves a session inside TLS.
func (r *Router) overTLS(session func(context.Context, *gate)) func(context.Context, *gate) {
	return func(ctx context.Context, g *gate) {
		c := tls.Server(g, &tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.tlsConfig(g.door.name) },
			MinVersion:         tls.VersionTLS10,
		})
		_ = c.SetDeadline(time.Now().Add(loginGrace))
		if err := c.HandshakeContext(ctx); err != nil {
			r.turnAway()
			return
		}
		_ = c.SetDeadline(time.Time{})
		g.stream = c
		session(ctx, g)
	}
}
