package routeros

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// DefaultTimeout bounds one call where [Options] are silent.
const DefaultTimeout = 15 * time.Second

// Transport is a door into the router.
type Transport uint8

// The doors.
const (
	// SSH is the command line: one line per call.
	SSH Transport = iota
	// API is the binary API, over TLS (api-ssl) unless [Options].Plain.
	API
	// REST is the same over HTTP, over TLS (www-ssl) unless [Options].Plain.
	REST
	// Auto is the best of API, REST (both over TLS) and SSH that lets us in.
	Auto
)

var transportNames = [...]string{SSH: "ssh", API: "api", REST: "rest", Auto: "auto"}

// String returns the transport as configurations spell it: "rest".
func (t Transport) String() string {
	if int(t) < len(transportNames) {
		return transportNames[t]
	}
	return fmt.Sprintf("Transport(%d)", uint8(t))
}

// Ports are the TCP ports of the doors [Auto] tries; 0 is the usual one.
type Ports struct{ API, REST, SSH int }

// autoOrder are the doors [Auto] tries, the best first.
var autoOrder = [...]Transport{API, REST, SSH}

// of is the port of one of them.
func (p *Ports) of(t Transport) *int {
	switch t {
	case API:
		return &p.API
	case REST:
		return &p.REST
	case SSH, Auto:
	}
	return &p.SSH
}

// Options say which router, through which door, and how to log in.
type Options struct {
	// Transport is the door; the zero value is SSH.
	Transport Transport
	// Host is a name or an address. Port 0 is the door's usual one: 22, 8729 and 443, or 8728 and 80 when Plain. With
	// Auto it must be 0, and Ports stand in its place.
	Host  string
	Port  int
	Ports Ports
	User  string
	// KeyFile is a private key without a passphrase, for SSH; Password is asked at each login, after the host key or the
	// certificate was verified. API and REST need the password, SSH one of the two; the key is tried first.
	KeyFile  string
	Password func() (string, error)
	// KnownHosts is the file that records the router's host key; empty: the user's ~/.ssh/known_hosts.
	KnownHosts string

	// Pin is the SHA-256 of the router's certificate (API and REST). Where it is not zero it alone decides: name, dates
	// and signer are not looked at.
	Pin [sha256.Size]byte
	// Roots verify a certificate that is not pinned; nil: the host's own.
	Roots *x509.CertPool
	// Unverified takes any certificate where there is no pin, and Plain speaks without TLS. Both send the password to
	// whoever answers, so both need Insecure; Plain to a loopback address does not.
	Unverified, Plain, Insecure bool

	// Timeout bounds each call as a whole: waiting for its turn, connecting, logging in and the command. 0 means [DefaultTimeout].
	Timeout time.Duration
	// Dial connects with an address, host:port; nil is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Now stamps the reports; nil leaves their At zero.
	Now func() unit.Time
	// single asks one command after the other, to measure what that costs.
	single bool
	// answer bounds an answer, in bytes; 0 is each door's own bound.
	answer int
	// Log takes the notes that Auto makes of the door it chose; nil discards them.
	Log func(link.Note)
}

// ports are the usual ports of a door, over TLS (or SSH) and without.
func (t Transport) port(plain bool) int {
	switch {
	case t == API && plain:
		return 8728
	case t == API:
		return 8729
	case t == REST && plain:
		return 80
	case t == REST:
		return 443
	case t == SSH:
		return 22
	}
	return 0
}

// fill checks the options and replaces zero values by the defaults.
func (o *Options) fill() error {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	switch {
	case int(o.Transport) >= len(transportNames):
		return fmt.Errorf("router transport %d is unknown", o.Transport)
	case o.Host == "" || strings.ContainsFunc(o.Host, odd):
		return fmt.Errorf("router host %q is empty or holds white space", o.Host)
	case o.User == "" || strings.ContainsFunc(o.User, odd):
		return fmt.Errorf("router user %q is empty or holds white space", o.User)
	case o.Timeout < 0:
		return fmt.Errorf("router timeout %v is negative", o.Timeout)
	}
	if err := o.fillPorts(); err != nil {
		return err
	}
	if err := o.trust(); err != nil {
		return err
	}
	if err := o.proof(); err != nil {
		return err
	}
	if o.KnownHosts == "" && (o.Transport == SSH || o.Transport == Auto) {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("router %s: no known_hosts file is named and there is no home directory: %w", o.Host, err)
		}
		o.KnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	return nil
}

func (o *Options) fillPorts() error {
	if o.Transport == Auto {
		if o.Port != 0 {
			return fmt.Errorf("router port %d: transport auto tries three services on their usual ports; name the transport whose port this is", o.Port)
		}
		for _, t := range autoOrder {
			p := o.Ports.of(t)
			if *p == 0 {
				*p = t.port(false)
			}
			if *p < 1 || *p > 65535 {
				return fmt.Errorf("router port %d (%s) is outside 1 to 65535", *p, t)
			}
		}
		return nil
	}
	if o.Port == 0 {
		o.Port = o.Transport.port(o.Plain)
	}
	if o.Port < 1 || o.Port > 65535 {
		return fmt.Errorf("router port %d is outside 1 to 65535", o.Port)
	}
	return nil
}

// trust refuses to give the password to whoever answers.
func (o *Options) trust() error {
	switch {
	case o.Plain && (o.Transport == SSH || o.Transport == Auto):
		return fmt.Errorf("router %s: transport %s is never plain", o.Host, o.Transport)
	case o.Plain && o.Pin != [sha256.Size]byte{}:
		return fmt.Errorf("router %s: a certificate is pinned, and there is none without TLS", o.Host)
	case o.Plain && !o.Insecure && !isLoopback(o.Host):
		return fmt.Errorf("router %s: %s without TLS would send the password in clear over the network; use its TLS service (port %d), or say insecure",
			o.Host, o.Transport, o.Transport.port(false))
	case o.Unverified && o.Pin == [sha256.Size]byte{} && !o.Insecure:
		return fmt.Errorf("router %s: a certificate that is neither verified nor pinned proves nothing; pin it, or say insecure", o.Host)
	}
	return nil
}

// proof refuses options that hold no way to log in.
func (o *Options) proof() error {
	switch o.Transport {
	case API, REST:
		if o.Password == nil {
			return fmt.Errorf("no way to log in to router %s: %s needs a password", o.Host, o.Transport)
		}
		if o.Transport == REST && strings.Contains(o.User, ":") {
			return fmt.Errorf("router user %q holds a colon, which ends the name in HTTP: use another user, or api", o.User)
		}
	case SSH, Auto:
		if o.KeyFile == "" && o.Password == nil {
			return fmt.Errorf("no way to log in to router %s: it needs a private key or a password", o.Host)
		}
	}
	return nil
}

// isLoopback says whether a host names this machine alone.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// errClosed is what every call gets after Close.
var errClosed = errors.New("the client is closed")
