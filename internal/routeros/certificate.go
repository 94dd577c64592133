package routeros

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
)

// certificateCheck decides about one router's certificate. It runs inside the handshake, so a wrong one ends it with no
// secret sent.
type certificateCheck struct {
	opt Options
	// seen is the fingerprint of the certificate the router showed.
	seen string
	// err is why it is refused.
	err error
}

// errPin is a certificate that is not the pinned one.
var errPin = errors.New("the router's certificate is not the pinned one")

func fingerprintOf(leaf []byte) string {
	sum := sha256.Sum256(leaf)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// config is what we offer: RouterOS has TLS 1.2 and anonymous suites besides, which Go does not have.
func (c *certificateCheck) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: c.opt.Host,
		// Our own check takes its place: it can name the fingerprint, and a pin does without names and dates.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			c.err = c.verify(s)
			return c.err
		},
	}
}

func (c *certificateCheck) verify(s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0] // a client's handshake does not come this far without one
	c.seen = fingerprintOf(leaf.Raw)
	pin := c.opt.Pin
	switch {
	case pin != [sha256.Size]byte{}:
		if sum := sha256.Sum256(leaf.Raw); sum != pin {
			return fmt.Errorf("%w: it has %s, pinned is sha256:%s; nothing secret was sent", errPin, c.seen, hex.EncodeToString(pin[:]))
		}
		return nil
	case c.opt.Unverified && c.opt.Insecure:
		return nil
	}
	others := x509.NewCertPool()
	for _, o := range s.PeerCertificates[1:] {
		others.AddCert(o)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.opt.Roots, Intermediates: others, DNSName: c.opt.Host})
	if err != nil {
		return fmt.Errorf("the router's certificate %s is not verified: %w; nothing secret was sent", c.seen, err)
	}
	return nil
}

// secure connects and, unless the door is plain, makes TLS of it and decides about the certificate. Until finish is called
// the connection is closed when ctx ends.
func (s site) secure(ctx context.Context, op string) (conn net.Conn, finish func() bool, failed *Error) {
	raw, finish, failed := s.reach(ctx, op)
	if failed != nil {
		return nil, nil, failed
	}
	if s.opt.Plain {
		if err := s.here(raw); err != nil {
			finish()
			_ = raw.Close()
			return nil, nil, s.err(Unreachable, op, err, "use the TLS service")
		}
		return raw, finish, nil
	}
	check := &certificateCheck{opt: s.opt}
	conn, failed = s.handshake(ctx, op, raw, check)
	if failed != nil {
		finish()
		_ = raw.Close()
		return nil, nil, failed
	}
	return conn, finish, nil
}

// here refuses a connection without TLS that leaves this machine, whatever the host's name promised.
func (s site) here(conn net.Conn) error {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); s.opt.Insecure || ok && a.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is not this machine, and the password would be sent in clear", conn.RemoteAddr())
}

// handshake makes TLS of a connection.
func (s site) handshake(ctx context.Context, op string, raw net.Conn, check *certificateCheck) (net.Conn, *Error) {
	conn := tls.Client(raw, check.config())
	err := conn.HandshakeContext(ctx)
	var notTLS tls.RecordHeaderError
	service := s.opt.Transport.service(false)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(check.err, errPin):
		return nil, s.err(Certificate, op, check.err, "if the router was replaced or given another certificate: compare with its own "+
			"(/certificate/print detail, fingerprint) and set router.tls_pin: "+check.seen+"; if not, somebody may be in between")
	case check.err != nil:
		return nil, s.err(Certificate, op, check.err, "compare this fingerprint with the router's own (/certificate/print detail), then pin it: router.tls_pin: "+check.seen)
	case ctx.Err() != nil:
		return nil, s.err(Timeout, op, fmt.Errorf("no TLS handshake: %w", context.Cause(ctx)), "the port answers but its service does not: look at the router's load")
	case errors.As(err, &notTLS):
		return nil, s.err(Unreachable, op, fmt.Errorf("no TLS handshake: %w", err),
			"the port is not that of "+service+"; wanctl speaks without TLS only on the usual plain ports, 80 and 8728")
	case strings.Contains(err.Error(), "handshake failure"): // the alert has no exported type
		return nil, s.err(Certificate, op, fmt.Errorf("no TLS handshake: %w", err),
			"a service without a certificate offers only anonymous TLS, which proves nothing; make one: "+s.makeCertificate(service))
	case strings.Contains(err.Error(), "protocol version"):
		return nil, s.err(Certificate, op, fmt.Errorf("no TLS handshake: %w", err), "/ip/service/set "+service+" tls-version=only-1.2")
	}
	return nil, s.err(Unreachable, op, fmt.Errorf("no TLS handshake: %w", err),
		"the router hangs up on hosts that are not in the address list of /ip/service "+service+"; and that service needs a certificate")
}

// hangUp closes a connection at once: TLS would first write a farewell, and wait for room for it when the router reads no more.
func hangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}

// makeCertificate are the router's commands for a certificate of its own.
func (s site) makeCertificate(service string) string {
	kind := "DNS:"
	if net.ParseIP(s.opt.Host) != nil {
		kind = "IP:"
	}
	return "/certificate/add name=wanctl-ca common-name=wanctl-ca key-usage=key-cert-sign,crl-sign; /certificate/sign wanctl-ca; " +
		"/certificate/add name=wanctl-tls common-name=" + s.opt.Host + " subject-alt-name=" + kind + s.opt.Host + "; /certificate/sign wanctl-tls ca=wanctl-ca; " +
		"/ip/service/set " + service + " certificate=wanctl-tls tls-version=only-1.2 disabled=no"
}

// service is what /ip/service calls a door.
func (t Transport) service(plain bool) string {
	switch {
	case t == API && plain:
		return "api"
	case t == API:
		return "api-ssl"
	case t == REST && plain:
		return "www"
	case t == REST:
		return "www-ssl"
	}
	return "ssh"
}

// certificate connects without logging in and names the certificate.
func (s site) certificate(ctx context.Context) (string, *Error) {
	const op = "read certificate"
	if s.opt.Plain {
		return "", s.err(Certificate, op, errors.New("there is none without TLS"), "use the TLS service")
	}
	raw, finish, err := s.open(ctx)
	if err != nil {
		return "", s.err(Unreachable, op, because(ctx, err), "check address and port")
	}
	defer func() { _ = raw.Close() }()
	defer finish()
	check := &certificateCheck{opt: s.opt}
	if _, failed := s.handshake(ctx, op, raw, check); check.seen == "" {
		return "", failed
	}
	return check.seen, nil
}
