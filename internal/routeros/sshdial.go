package routeros

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// sshDoor is the router's command line.
type sshDoor struct{ site }

func (d sshDoor) say(t task) (string, error) { return sayLine(t) }

// sshLine is one authenticated connection.
type sshLine struct {
	site
	raw net.Conn
	ssh *ssh.Client
	// gone is closed when the connection has ended, whoever ended it; closed says that we did.
	gone   chan struct{}
	closed atomic.Bool
}

func (k *sshLine) close() {
	k.closed.Store(true)
	_ = k.raw.Close() // the answer to "did it close" interests nobody: it is never used again
}

func (k *sshLine) alive() bool {
	select {
	case <-k.gone:
		return false
	default:
		return !k.closed.Load()
	}
}

func (k *sshLine) ended() <-chan struct{} { return k.gone }

// enter connects and logs in, within ctx.
func (d sshDoor) enter(ctx context.Context, op string) (line, *Error) {
	fail := func(kind Kind, err error, hint string) (line, *Error) {
		return nil, d.err(kind, op, err, hint)
	}
	check, err := newHostCheck(d.addr, d.opt.KnownHosts)
	if err != nil {
		return fail(HostKey, fmt.Errorf("cannot use the known_hosts file: %w", err),
			"create it with the router's key: "+scan(d.opt.Host, d.opt.Port, d.opt.KnownHosts)+", and compare the fingerprint with the router's")
	}
	algorithms, err := check.algorithms()
	if err != nil {
		return fail(HostKey, err, "record the router's present key: "+scan(d.opt.Host, d.opt.Port, d.opt.KnownHosts))
	}
	secrets := &secrets{password: d.opt.Password}
	if d.opt.KeyFile != "" {
		signer, hint, err := loadKey(d.opt.KeyFile)
		if err != nil {
			return fail(Auth, err, hint)
		}
		secrets.key = signer
	}
	raw, finish, failed := d.reach(ctx, op)
	if failed != nil {
		return nil, failed
	}
	sc, chans, reqs, err := ssh.NewClientConn(raw, d.addr, &ssh.ClientConfig{
		Config:            transport,
		User:              d.opt.User,
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
		return nil, d.handshakeError(ctx, op, check, secrets, err)
	}
	k := &sshLine{site: d.site, raw: raw, ssh: ssh.NewClient(sc, chans, reqs), gone: make(chan struct{})}
	go func() {
		_ = k.ssh.Wait() // why it ended is said by the command that notices
		close(k.gone)
	}()
	return k, nil
}

// handshakeError says what a failed handshake means.
func (d sshDoor) handshakeError(ctx context.Context, op string, check *hostCheck, s *secrets, err error) *Error {
	var algorithms *ssh.AlgorithmNegotiationError
	sawKey := check.seen != nil && !check.passed
	switch {
	case sawKey && knownhosts.IsHostKeyChanged(err):
		return d.err(HostKey, op, fmt.Errorf("the router shows the key %s, but %s records another; nothing secret was sent",
			fingerprint(check.seen), check.file),
			fmt.Sprintf("if the router was replaced or reset: ssh-keygen -f %s -R '%s', then %s; if not, somebody may be in between",
				check.file, knownhosts.Normalize(d.addr), scan(d.opt.Host, d.opt.Port, check.file)))
	case sawKey && knownhosts.IsHostUnknown(err):
		return d.err(HostKey, op, fmt.Errorf("the router's key %s is not in %s; nothing secret was sent", fingerprint(check.seen), check.file),
			"compare this fingerprint with the router's own, then add it: "+scan(d.opt.Host, d.opt.Port, check.file))
	case sawKey:
		return d.err(HostKey, op, fmt.Errorf("the router's key %s is refused: %w", fingerprint(check.seen), err),
			"look at its lines in "+check.file)
	case errors.As(err, &algorithms) && strings.Contains(algorithms.What, "host key"):
		return d.err(HostKey, op, fmt.Errorf("%s records no key of a kind the router has now (recorded: %v, router: %v); nothing secret was sent",
			check.file, algorithms.SupportedAlgorithms, algorithms.RequestedAlgorithms),
			"if the router's host key was changed on purpose: "+scan(d.opt.Host, d.opt.Port, check.file))
	case errors.As(err, &algorithms):
		return d.err(Unreachable, op, err, "update RouterOS, or set /ip/ssh strong-crypto=yes: wanctl offers nothing that is built on SHA-1")
	case ctx.Err() != nil:
		return d.err(Timeout, op, fmt.Errorf("the login did not end: %w", context.Cause(ctx)), "the port answers but the SSH server does not: look at the router's load")
	case s.err != nil:
		return d.err(Auth, op, fmt.Errorf("cannot get the password: %w", s.err), "check router.password, its file or environment variable")
	case check.passed && isRefusal(err):
		return d.err(Auth, op, err, d.authHint())
	case check.passed:
		return d.err(Unreachable, op, fmt.Errorf("the router ended the login: %w", err),
			"it may have as many sessions as /ip/service ssh max-sessions allows (/user/active/print)")
	}
	return d.err(Unreachable, op, fmt.Errorf("no SSH handshake: %w", err), "check that the port is the router's SSH service and accepts this host")
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

func (d sshDoor) authHint() string {
	var ways []string
	if d.opt.KeyFile != "" {
		ways = append(ways, fmt.Sprintf("give the router the public half of %s (/user/ssh-keys/add user=%s key=\"…\")", d.opt.KeyFile, d.opt.User))
	}
	if d.opt.Password != nil {
		ways = append(ways, "check the password; a user with a key has password login off unless /ip/ssh password-authentication=yes")
	}
	return strings.Join(append(ways, fmt.Sprintf("user %q needs the ssh policy, and its address restriction must allow this host", d.opt.User)), "; ")
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
	p, err := usable(s.password())
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

// fingerprint names the host key the router shows: "ssh-ed25519 SHA256:…".
func (d sshDoor) fingerprint(ctx context.Context) (string, *Error) {
	key, failed := d.hostKey(ctx)
	if failed != nil {
		return "", failed
	}
	return fingerprint(key), nil
}

// hostKey is the key that the router shows now.
func (d sshDoor) hostKey(ctx context.Context) (ssh.PublicKey, *Error) {
	const op = "read host key"
	raw, finish, err := d.open(ctx)
	if err != nil {
		return nil, d.err(Unreachable, op, because(ctx, err), "check address and port")
	}
	defer func() { _ = raw.Close() }()
	defer finish()
	var seen ssh.PublicKey
	enough := errors.New("seen")
	algorithms := hostKeyAlgorithms
	if check, err := newHostCheck(d.addr, d.opt.KnownHosts); err == nil {
		if recorded, err := check.algorithms(); err == nil {
			algorithms = recorded
		}
	}
	_, _, _, err = ssh.NewClientConn(raw, d.addr, &ssh.ClientConfig{
		Config: transport, User: d.opt.User, HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-wanctl",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return enough
		},
	})
	if seen == nil {
		return nil, d.err(Unreachable, op, because(ctx, err), "check that the port is the router's SSH service")
	}
	return seen, nil
}

// record adds the router's key to known_hosts, if it still is the one that was seen. A key that is recorded already is never
// replaced.
func (d sshDoor) record(ctx context.Context, seen string) *Error {
	const op = "record host key"
	key, failed := d.hostKey(ctx)
	if failed != nil {
		return failed
	}
	if now := fingerprint(key); now != seen {
		return d.err(HostKey, op, fmt.Errorf("the router shows %s now, and showed %s before: nothing was recorded", now, seen), "somebody may be in between")
	}
	file := d.opt.KnownHosts
	if db, err := knownhosts.NewDB(file); err == nil && len(db.HostKeys(d.addr)) > 0 {
		for _, k := range db.HostKeys(d.addr) {
			if fingerprint(k.PublicKey) == seen {
				return nil
			}
		}
		return d.err(HostKey, op, fmt.Errorf("%s records another key for it: nothing was recorded", file),
			fmt.Sprintf("if the router was replaced or reset: ssh-keygen -f %s -R '%s', then again", file, knownhosts.Normalize(d.addr)))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.err(HostKey, op, fmt.Errorf("cannot use the known_hosts file: %w", err), "mend that line")
	}
	if err := appendHost(file, d.addr, key); err != nil {
		return d.err(HostKey, op, fmt.Errorf("cannot write the known_hosts file: %w", err), "make it writable, or name another in router.known_hosts")
	}
	return nil
}

func appendHost(file, addr string, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	var last [1]byte
	line := knownhosts.Line([]string{addr}, key) + "\n"
	if end, serr := f.Seek(0, io.SeekEnd); serr == nil && end > 0 {
		if _, rerr := f.ReadAt(last[:], end-1); rerr == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Sync(), f.Close())
}
