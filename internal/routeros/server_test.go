package routeros

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// call is one command the scripted server received.
type call struct {
	line string
	ch   ssh.Channel
	conn ssh.Conn
}

// end closes the command with an exit status.
func (c *call) end(status uint32) {
	_, _ = c.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	_ = c.ch.Close()
}

// say is a handler that prints and ends.
func say(out string, status uint32) func(*call) {
	return func(c *call) {
		_, _ = c.ch.Write([]byte(out))
		c.end(status)
	}
}

// server is an SSH server that answers each command by a script: it knows nothing of RouterOS.
type server struct {
	t        *testing.T
	listener net.Listener
	key      ssh.Signer
	// handle answers a command; refuse refuses channels, noExec refuses commands.
	handle         func(*call)
	refuse, noExec bool
	// what the server accepts.
	password    string
	interactive []string // questions; the answer must be the password
	echo        bool
	user        ssh.PublicKey

	secrets atomic.Int64 // attempts to authenticate with anything
	logins  atomic.Int64

	mu    sync.Mutex
	lines []string
	conns []ssh.Conn
	keep  bool
	raws  []net.Conn
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start serves until the test ends; change s's fields before the first connection.
func start(t *testing.T, s *server) *server {
	t.Helper()
	s.t = t
	if s.key == nil {
		s.key = newKey(t)
	}
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			raw, err := s.listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(raw) })
		}
	})
	t.Cleanup(func() {
		_ = s.listener.Close()
		s.cut()
		running.Wait()
	})
	return s
}

func (s *server) config() *ssh.ServerConfig {
	denied := errors.New("denied")
	c := &ssh.ServerConfig{MaxAuthTries: 6}
	if s.password != "" {
		c.PasswordCallback = func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			s.secrets.Add(1)
			if string(p) == s.password && s.interactive == nil {
				return nil, nil
			}
			return nil, denied
		}
	}
	if s.interactive != nil {
		c.PasswordCallback = nil
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			echoes := make([]bool, len(s.interactive))
			for i := range echoes {
				echoes[i] = s.echo
			}
			answers, err := ask("", "", s.interactive, echoes)
			if err == nil && len(answers) > 0 {
				s.secrets.Add(1)
			}
			if err == nil && (len(answers) == 0 || answers[0] == s.password) {
				return nil, nil
			}
			return nil, denied
		}
	}
	if s.user != nil {
		c.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			s.secrets.Add(1)
			if string(k.Marshal()) == string(s.user.Marshal()) {
				return nil, nil
			}
			return nil, denied
		}
	}
	c.AddHostKey(s.key)
	return c
}

func (s *server) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }()
	s.mu.Lock()
	if s.keep {
		s.raws = append(s.raws, raw)
	}
	s.mu.Unlock()
	conn, chans, reqs, err := ssh.NewServerConn(raw, s.config())
	if err != nil {
		return
	}
	s.logins.Add(1)
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	go ssh.DiscardRequests(reqs)
	for n := range chans {
		if s.refuse {
			_ = n.Reject(ssh.ResourceShortage, "no more channels")
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" || s.noExec {
					_ = r.Reply(false, nil)
					continue
				}
				var body struct{ Line string }
				if err := ssh.Unmarshal(r.Payload, &body); err != nil {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				s.mu.Lock()
				s.lines = append(s.lines, body.Line)
				s.mu.Unlock()
				s.handle(&call{body.Line, ch, conn})
			}
		}()
	}
}

// cut closes every connection.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *server) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *server) addr() string { return s.listener.Addr().String() }

// trust writes a known_hosts file that records the keys for the server.
func (s *server) trust(t *testing.T, keys ...ssh.PublicKey) string {
	t.Helper()
	var text string
	for _, k := range keys {
		text += knownhosts.Line([]string{s.addr()}, k) + "\n"
	}
	return writeFile(t, "known_hosts", text, 0o600)
}

func writeFile(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// keyFile writes a private key; its public half is returned beside it.
func keyFile(t *testing.T, private any, passphrase string, mode os.FileMode) (string, ssh.PublicKey) {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "id", string(pem.EncodeToMemory(block)), mode), s.PublicKey()
}

func newEd25519(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

const secret = "correct horse battery"

func password(p string) func() (string, error) { return func() (string, error) { return p, nil } }

// options trust the server and log in with the password; the timeout never strikes in a test that does not want it to.
func (s *server) options(t *testing.T) Options {
	t.Helper()
	return Options{
		Host: "127.0.0.1", Port: s.port(), User: "wanctl", Password: password(secret),
		KnownHosts: s.trust(t, s.key.PublicKey()), Timeout: time.Hour,
	}
}

func dialer(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// scripted starts a server with one handler and a client that may log in.
func scripted(t *testing.T, handle func(*call)) (*server, *Client) {
	t.Helper()
	s := start(t, &server{password: secret, handle: handle})
	return s, dialer(t, s.options(t))
}

// figures answers an Exchange for both queues.
func figures(down, up unit.Rate) string {
	return "wanctl|found|1|1|.\r\n" +
		"wanctl|queue|download|" + strconv.FormatInt(int64(down), 10) + "|1000|10|0|1514|1|bridge|.\r\n" +
		"wanctl|queue|upload|" + strconv.FormatInt(int64(up), 10) + "|2000|20|0|0|0|ether1|.\r\n" +
		"wanctl|wan|3000|4000|.\r\nwanctl|uptime|1d02:03:04|.\r\nwanctl|end|.\r\n"
}

// failure asserts that err is an Error of this kind that says all of this, and returns it.
func failure(t *testing.T, err error, kind Kind, says ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an Error of kind %v", err, err, kind)
	}
	if e.Kind != kind {
		t.Fatalf("got kind %v (%v), want %v", e.Kind, err, kind)
	}
	for _, s := range says {
		if !contains(e.Error(), s) {
			t.Errorf("%q does not say %q", e.Error(), s)
		}
	}
	if contains(e.Error(), secret) || contains(e.Command, secret) || contains(e.Reply, secret) {
		t.Errorf("a secret in %q", e.Error())
	}
	if e.Err == nil || e.Op == "" || e.Router == "" {
		t.Errorf("an error without cause, operation or router: %#v", e)
	}
	return e
}

// dssLine is a host key of a kind that went out of use; its numbers mean nothing.
const dssLine = "ssh-dss AAAAB3NzaC1kc3MAAACBANHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dEBAAAAFQDDw8PDw8PDw8PDw8PDw8PDw8PDAQAAAAECAAAAAQQ="

func itoa(n int) string { return strconv.Itoa(n) }

// keepRaw makes the server remember its TCP connections, and hangUp close them.
func (s *server) keepRaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = true
}

func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.raws {
		_ = c.Close()
	}
}
