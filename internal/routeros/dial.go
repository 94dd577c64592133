package routeros

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// keepAlive finds a peer that vanished between two commands, so that the next one starts with a new connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// conn is one authenticated connection.
type conn struct {
	raw net.Conn
	ssh *ssh.Client
	// gone is closed when the connection has ended, whoever ended it.
	gone chan struct{}
}

func (c *conn) close() { _ = c.raw.Close() } // the answer to "did it close" interests nobody: it is never used again

func (c *conn) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// dial connects and logs in, within ctx.
func (c *Client) dial(ctx context.Context, op string) (*conn, *Error) {
	fail := func(kind Kind, err error, hint string) (*conn, *Error) {
		return nil, c.err(kind, op, err, hint)
	}
	check, err := newHostCheck(c.addr, c.opt.KnownHosts)
	if err != nil {
		return fail(HostKey, fmt.Errorf("cannot use the known_hosts file: %w", err),
			"create it with the router's key: "+scan(c.opt.Host, c.opt.Port, c.opt.KnownHosts)+", and compare the fingerprint with the router's")
	}
	algorithms, err := check.algorithms()
	if err != nil {
		return fail(HostKey, err, "record the router's present key: "+scan(c.opt.Host, c.opt.Port, c.opt.KnownHosts))
	}
	secrets := &secrets{password: c.opt.Password}
	if c.opt.KeyFile != "" {
		signer, hint, err := loadKey(c.opt.KeyFile)
		if err != nil {
			return fail(Auth, err, hint)
		}
		secrets.key = signer
	}
	raw, finish, err := c.open(ctx)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return fail(Timeout, fmt.Errorf("not connected: %w", context.Cause(ctx)), "the caller gave up")
	case err != nil:
		return fail(Unreachable, because(ctx, err), "check address and port, that the router is up, that /ip/service has ssh enabled "+
			"and that its address list and firewall let this host in")
	}
	sc, chans, reqs, err := ssh.NewClientConn(raw, c.addr, &ssh.ClientConfig{
		Config:            transport,
		User:              c.opt.User,
		Auth:              secrets.methods(),
		HostKeyCallback:   check.verify,
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-wanctl",
	})
	if inTime := finish(); err == nil && !inTime {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, c.handshakeError(ctx, op, check, secrets, err)
	}
	k := &conn{raw: raw, ssh: ssh.NewClient(sc, chans, reqs), gone: make(chan struct{})}
	go func() {
		_ = k.ssh.Wait() // why it ended is said by the command that notices
		close(k.gone)
	}()
	return k, nil
}

// open makes the TCP connection. Until finish is called it is closed when ctx ends; finish says whether it did not.
func (c *Client) open(ctx context.Context) (raw net.Conn, finish func() bool, err error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	raw, err = dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, nil, err
	}
	return raw, context.AfterFunc(ctx, func() { _ = raw.Close() }), nil
}

// because prefers the reason a context ended over the error that its end caused.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// handshakeError says what a failed handshake means.
func (c *Client) handshakeError(ctx context.Context, op string, check *hostCheck, s *secrets, err error) *Error {
	var algorithms *ssh.AlgorithmNegotiationError
	sawKey := check.seen != nil && !check.passed
	switch {
	case sawKey && knownhosts.IsHostKeyChanged(err):
		return c.err(HostKey, op, fmt.Errorf("the router shows the key %s, but %s records another; nothing secret was sent",
			fingerprint(check.seen), check.file),
			fmt.Sprintf("if the router was replaced or reset: ssh-keygen -f %s -R '%s', then %s; if not, somebody may be in between",
				check.file, knownhosts.Normalize(c.addr), scan(c.opt.Host, c.opt.Port, check.file)))
	case sawKey && knownhosts.IsHostUnknown(err):
		return c.err(HostKey, op, fmt.Errorf("the router's key %s is not in %s; nothing secret was sent", fingerprint(check.seen), check.file),
			"compare this fingerprint with the router's own, then add it: "+scan(c.opt.Host, c.opt.Port, check.file))
	case sawKey:
		return c.err(HostKey, op, fmt.Errorf("the router's key %s is refused: %w", fingerprint(check.seen), err),
			"look at its lines in "+check.file)
	case errors.As(err, &algorithms) && strings.Contains(algorithms.What, "host key"):
		return c.err(HostKey, op, fmt.Errorf("%s records no key of a kind the router has now (recorded: %v, router: %v); nothing secret was sent",
			check.file, algorithms.SupportedAlgorithms, algorithms.RequestedAlgorithms),
			"if the router's host key was changed on purpose: "+scan(c.opt.Host, c.opt.Port, check.file))
	case errors.As(err, &algorithms):
		return c.err(Unreachable, op, err, "update RouterOS, or set /ip/ssh strong-crypto=yes: wanctl offers nothing that is built on SHA-1")
	case ctx.Err() != nil:
		return c.err(Timeout, op, fmt.Errorf("the login did not end: %w", context.Cause(ctx)), "the port answers but the SSH server does not: look at the router's load")
	case s.err != nil:
		return c.err(Auth, op, fmt.Errorf("cannot get the password: %w", s.err), "check router.password, its file or environment variable")
	case check.passed && isRefusal(err):
		return c.err(Auth, op, err, c.authHint())
	case check.passed:
		return c.err(Unreachable, op, fmt.Errorf("the router ended the login: %w", err),
			"it may have as many sessions as /ip/service ssh max-sessions allows (/user/active/print)")
	}
	return c.err(Unreachable, op, fmt.Errorf("no SSH handshake: %w", err), "check that the port is the router's SSH service and accepts this host")
}

// isRefusal says whether a handshake that got past the host key ended because the router would not have us.
func isRefusal(err error) bool {
	if errors.Is(err, errQuestion) {
		return true
	}
	// The SSH package has no error type for these.
	for _, text := range []string{"unable to authenticate", "Too many authentication failures", "no common public key signature algorithm"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

func (c *Client) authHint() string {
	var ways []string
	if c.opt.KeyFile != "" {
		ways = append(ways, fmt.Sprintf("import the public half of %s on the router (/user/ssh-keys/import user=%s public-key-file=…)", c.opt.KeyFile, c.opt.User))
	}
	if c.opt.Password != nil {
		ways = append(ways, "check the password; a user with a key has password login off unless /ip/ssh password-authentication=yes")
	}
	return strings.Join(append(ways, fmt.Sprintf("user %q needs the ssh policy, and its address restriction must allow this host", c.opt.User)), "; ")
}

// secrets are asked for only after the host key was found good.
type secrets struct {
	key      ssh.Signer
	password func() (string, error)
	// err is why the password could not be had.
	err error
}

// methods are the ways to log in, in the order they are tried.
func (s *secrets) methods() []ssh.AuthMethod {
	var m []ssh.AuthMethod
	if s.key != nil {
		m = append(m, ssh.PublicKeys(s.key))
	}
	if s.password != nil {
		m = append(m, ssh.PasswordCallback(s.get), ssh.KeyboardInteractive(s.answer))
	}
	return m
}

func (s *secrets) get() (string, error) {
	p, err := s.password()
	if err == nil && p == "" {
		err = errors.New("it is empty")
	}
	s.err = err
	return p, err
}

// errQuestion refuses to give the password to anything but a hidden password prompt.
var errQuestion = errors.New("the router asks something else than a password, or would show it")

// answer gives the password to a single question that is not echoed: the one a router asks.
func (s *secrets) answer(_, _ string, questions []string, echoes []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	if len(questions) != 1 || echoes[0] {
		return nil, errQuestion
	}
	p, err := s.get()
	return []string{p}, err
}

// Fingerprint connects without logging in and returns the host key the router shows, "ssh-ed25519 SHA256:…", whether
// it is recorded or not.
func (c *Client) Fingerprint(ctx context.Context) (string, error) {
	const op = "read host key"
	ctx, cancel := c.bound(ctx)
	defer cancel()
	raw, finish, err := c.open(ctx)
	if err != nil {
		return "", c.err(Unreachable, op, because(ctx, err), "check address and port")
	}
	defer func() { _ = raw.Close() }()
	defer finish()
	var seen ssh.PublicKey
	enough := errors.New("seen")
	algorithms := hostKeyAlgorithms
	if check, err := newHostCheck(c.addr, c.opt.KnownHosts); err == nil {
		if recorded, err := check.algorithms(); err == nil {
			algorithms = recorded
		}
	}
	_, _, _, err = ssh.NewClientConn(raw, c.addr, &ssh.ClientConfig{
		Config: transport, User: c.opt.User, HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-wanctl",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return enough
		},
	})
	if seen == nil {
		return "", c.err(Unreachable, op, because(ctx, err), "check that the port is the router's SSH service")
	}
	return fingerprint(seen), nil
}
