// Package remote runs shell scripts on a Linux host over SSH: the host's key is verified, and no secret is ever part of a
// command line.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Kind says what sort of failure an [Error] is.
type Kind uint8

// The kinds.
const (
	// Unreachable is a host that does not answer, or not as an SSH server.
	Unreachable Kind = iota
	// HostKey is a key that is unknown or not the recorded one. Nothing secret was sent.
	HostKey
	// Auth is a login that is refused, or a key that cannot be used.
	Auth
	// Become is sudo that refuses.
	Become
	// Failed is a script that ended with an error of its own.
	Failed
	// Lost is a connection that ended before the script was known to.
	Lost
)

// String names the kind as a summary prints it.
func (k Kind) String() string {
	switch k {
	case Unreachable:
		return "unreachable"
	case HostKey:
		return "host key"
	case Auth:
		return "login"
	case Become:
		return "sudo"
	case Failed:
		return "failed"
	case Lost:
		return "connection lost"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is a failure with its way out. It never holds a secret.
type Error struct {
	Kind Kind
	// Host is the host's name, Op what was being done.
	Host, Op string
	Err      error
	// Hint is the way out; it may be empty.
	Hint string
}

// Error prints host, operation and cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Host, e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Options say how a host is reached.
type Options struct {
	// Name is what the host is called in messages.
	Name string
	// Address is a name or an address without port; Port is its SSH server's.
	Address string
	Port    int
	User    string
	// Key is a private key file, empty for the agent's keys and the usual files of ~/.ssh alone.
	Key string
	// KnownHosts records host keys; only those are accepted.
	KnownHosts string
	// Agent is the socket of a running ssh-agent, empty for none.
	Agent string
	// Sudo runs scripts as root.
	Sudo bool
	// Passphrase and Password are asked for the key's passphrase and for sudo's password, and only if there is need of them.
	// nil has none.
	Passphrase func(ctx context.Context, keyFile string) (string, error)
	Password   func(ctx context.Context) (string, error)
}

const (
	dialTimeout = 15 * time.Second
	// keepEvery is how often a silent connection is asked whether it lives, keepFor how long an answer may take.
	keepEvery, keepFor = 5 * time.Second, 20 * time.Second
)

// Host is an authenticated connection.
type Host struct {
	opt      Options
	conn     *ssh.Client
	password string
	// needs says that sudo asks for the password.
	needs bool
	done  chan struct{}
}

func (o Options) addr() string { return net.JoinHostPort(o.Address, strconv.Itoa(o.Port)) }

func (o Options) fail(kind Kind, op, hint string, err error) *Error {
	return &Error{Kind: kind, Host: o.Name, Op: op, Err: err, Hint: hint}
}

// Dial connects, verifies the host, logs in and finds out how sudo answers. Every error is an [*Error].
func Dial(ctx context.Context, o Options) (*Host, error) {
	const op = "connect"
	check, err := newHostCheck(o)
	if err != nil {
		return nil, o.fail(HostKey, op, "record the host's key first: "+o.scan()+", and compare the fingerprint with the host's own", err)
	}
	algorithms, err := check.algorithms()
	if err != nil {
		return nil, o.fail(HostKey, op, o.scan(), err)
	}
	creds, err := o.credentials(ctx)
	if err != nil {
		return nil, err
	}
	defer creds.close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.addr())
	if err != nil {
		return nil, o.fail(Unreachable, op, "check address and port, and that the host is up", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(raw, o.addr(), &ssh.ClientConfig{
		Config: transport, User: o.User, Auth: creds.methods(), HostKeyCallback: check.verify,
		HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-wanctl",
	})
	inTime := stop()
	if err != nil {
		_ = raw.Close()
		if !inTime && ctx.Err() != nil {
			return nil, o.fail(Unreachable, op, "the port answers but the login does not end: look at the host's load", ctx.Err())
		}
		return nil, o.handshake(check, creds, err)
	}
	h := &Host{opt: o, conn: ssh.NewClient(sc, chans, reqs), done: make(chan struct{})}
	go h.watch()
	if o.Sudo {
		if err := h.become(ctx); err != nil {
			h.Close()
			return nil, err
		}
	}
	return h, nil
}

// handshake says what a failed login means.
func (o Options) handshake(check *hostCheck, creds *credentials, err error) *Error {
	const op = "log in"
	if e := check.explain(err); e != nil {
		return e
	}
	if strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "Too many authentication failures") {
		hint := fmt.Sprintf("add the public half of %s to ~%s/.ssh/authorized_keys on the host", creds.tried(), o.User)
		if creds.tried() == "" {
			hint = "name a private key (key:), or load one into an ssh-agent"
		}
		return o.fail(Auth, op, hint, fmt.Errorf("%s does not let user %q in", o.addr(), o.User))
	}
	return o.fail(Unreachable, op, "check that the port is an SSH server that accepts this host", err)
}

// watch ends a connection that is silent for too long: a half-open one would hold a deployment for ever.
func (h *Host) watch() {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-h.done:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := h.conn.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		late := time.NewTimer(keepFor)
		select {
		case err := <-answered:
			late.Stop()
			if err == nil {
				continue
			}
		case <-late.C:
		case <-h.done:
			late.Stop()
			return
		}
		_ = h.conn.Close()
		return
	}
}

// Close ends the connection.
func (h *Host) Close() {
	select {
	case <-h.done:
	default:
		close(h.done)
	}
	h.password = ""
	_ = h.conn.Close() // the answer to "did it close" interests nobody: it is never used again
}

// Home expands a leading "~/" to the calling user's home directory.
func Home(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path
	}
	u, err := user.Current()
	if err != nil || u.HomeDir == "" {
		return path
	}
	return filepath.Join(u.HomeDir, rest)
}

// IsKind says whether an error is an [*Error] of that kind.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}
