package rosim

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/lab/memnet"
	"wanctl/internal/unit"
)

// bench is a served router and the means to talk to it, all in memory and in virtual time.
type bench struct {
	*Router
	t   *testing.T
	net *memnet.Network // the SSH door's
	key ssh.Signer
	all map[string]*memnet.Network
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// served runs a story against a served router inside a bubble: it fails when a goroutine outlives Serve.
func served(t *testing.T, change func(*Options), story func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, key: newKey(t), all: map[string]*memnet.Network{}}
		o := DefaultOptions()
		o.Users[1].Password = "secret"
		o.Listen = func(a net.Addr) (net.Listener, error) { return b.all[a.String()].Listen(a) }
		if change != nil {
			change(&o)
		}
		r, err := NewRouter(o)
		if err != nil {
			t.Fatal(err)
		}
		b.Router = r
		ctx, cancel := context.WithCancel(t.Context())
		doors := map[string]func(context.Context, net.Listener) error{
			doorSSH: r.Serve, doorAPI: r.ServeAPI, doorAPITLS: r.ServeAPITLS, doorREST: r.ServeREST, doorRESTTLS: r.ServeRESTTLS,
		}
		done := make(chan error, len(doors))
		for name, serve := range doors {
			n := &memnet.Network{From: "192.0.2.7:40000"}
			b.all[name+":0"] = n
			ln, _ := n.Listen(memnet.Addr(name + ":0"))
			go func() { done <- serve(ctx, ln) }()
		}
		b.net = b.all["ssh:0"]
		synctest.Wait()
		story(t, b)
		cancel()
		for range doors {
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
}

func (b *bench) config(auth ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: DefaultUser, Auth: auth, HostKeyCallback: ssh.FixedHostKey(b.HostKey())}
}

func (b *bench) dial(c *ssh.ClientConfig) (*ssh.Client, error) {
	conn, err := b.net.Dial()
	if err != nil {
		return nil, err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, "ssh:0", c)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(sc, chans, reqs), nil
}

// login connects with the password; the story ends when it cannot.
func (b *bench) login() *ssh.Client {
	b.t.Helper()
	c, err := b.dial(b.config(ssh.Password("secret")))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// run1 executes one line and returns stdout and the error of Wait.
func run1(c *ssh.Client, line string) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.Output(line)
	return string(out), err
}

const (
	putLimit = `:put [/queue/tree get WAN-Download-ATT max-limit]`
	setLimit = `/queue/tree/set WAN-Download-ATT max-limit=50M; ` + putLimit
)

func TestExecUnderEachDialect(t *testing.T) {
	for name, d := range Dialects() {
		t.Run(name, func(t *testing.T) {
			served(t, func(o *Options) { o.Dialect = d }, func(t *testing.T, b *bench) {
				c := b.login()
				defer c.Close()
				eol := "\r\n"
				if d.LF {
					eol = "\n"
				}
				limit := "50000000"
				if d.LimitReadback == LimitSuffixed {
					limit = "50M"
				}
				out, err := run1(c, setLimit)
				if out != limit+eol {
					t.Errorf("reply %q, want %q", out, limit+eol)
				}
				checkStatus(t, d, err, false)
				out, err = run1(c, "/nosuch")
				if out != "bad command name nosuch (line 1 column 2)"+eol {
					t.Errorf("reply %q", out)
				}
				checkStatus(t, d, err, true)
				out, err = run1(c, `/queue/tree/set [find name="none"] max-limit=1M`)
				want := map[EmptyFind]string{
					"": "expected item id (line 1 column 17)" + eol, EmptyFindNoSuchItem: "no such item" + eol, EmptyFindSilent: "",
				}[d.EmptyFind]
				if d.ErrorCodes {
					want = "no such item (4)" + eol
				}
				if out != want {
					t.Errorf("empty find: %q, want %q", out, want)
				}
				checkStatus(t, d, err, want != "")
				if n := len(b.Commands()); n != 3 || b.Logins() != 1 {
					t.Errorf("%d commands, %d logins", n, b.Logins())
				}
			})
		})
	}
}

func checkStatus(t *testing.T, d Dialect, err error, failed bool) {
	t.Helper()
	var missing *ssh.ExitMissingError
	var exit *ssh.ExitError
	switch {
	case d.ExitStatus == ExitMissing:
		if !errors.As(err, &missing) {
			t.Errorf("%v, want a missing exit status", err)
		}
	case d.ExitStatus == ExitReflect && failed:
		if !errors.As(err, &exit) || exit.ExitStatus() != 1 {
			t.Errorf("%v, want exit status 1", err)
		}
	case err != nil:
		t.Errorf("%v, want exit status 0", err)
	}
}

func TestLog(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		_, _ = run1(c, setLimit)
		_, _ = run1(c, "/nosuch")
		_, _ = run1(c, `/ip/firewall/mangle/enable [find comment="`+SteeringComment+`"]`)
		log := b.Commands()
		if log[0].Outcome != OutcomeDone || !log[0].Wrote || log[0].User != DefaultUser || log[0].Reply != "50000000\n" {
			t.Errorf("first command %+v", log[0])
		}
		if log[1].Outcome != OutcomeFailed || log[1].Wrote {
			t.Errorf("second command %+v", log[1])
		}
		h := b.LimitHistory()
		if len(h) != 1 || h[0].From != 95*unit.Mbps || h[0].To != 50*unit.Mbps || h[0].By != DefaultUser || h[0].Queue != "WAN-Download-ATT" {
			t.Errorf("limits %+v", h)
		}
		rules := b.RuleHistory()
		if len(rules) != 1 || rules[0].From || !rules[0].To || rules[0].Comment != SteeringComment {
			t.Errorf("rules %+v", rules)
		}
		if on, ok := b.RuleEnabled(SteeringComment); !on || !ok {
			t.Error("the rule is not enabled")
		}
		if b.Writes("WAN-Download-ATT") != 1 || b.Writes(SteeringComment) != 1 || b.Writes("WAN-Upload-ATT") != 0 {
			t.Error("writes are miscounted")
		}
		if err := b.ForeignSet("WAN-Download-ATT", 7*unit.Mbps); err != nil {
			t.Fatal(err)
		}
		if h := b.LimitHistory(); len(h) != 2 || h[1].By != "fault" || b.Writes("WAN-Download-ATT") != 1 {
			t.Errorf("a foreign write is not told apart: %+v", h)
		}
	})
}

// A key that is added to a user logs in, from then on; one that is removed, or whose user is, does not.
func TestKeysOfUsers(t *testing.T) {
	served(t, func(o *Options) { o.Users = append(o.Users, User{Name: "root", Group: "full"}, User{Name: "other"}) }, func(t *testing.T, b *bench) {
		admits := func(user string) bool {
			config := b.config(ssh.PublicKeys(b.key))
			config.User = user
			c, err := b.dial(config)
			if err != nil {
				return false
			}
			return c.Close() == nil
		}
		tell := func(as, line, want string) {
			t.Helper()
			if out, _ := b.Exec(t.Context(), as, line); out != want {
				t.Errorf("%s: %q, want %q", line, out, want)
			}
		}
		add := `/user/ssh-keys/add user=other key="` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(b.key.PublicKey()))) + ` of the host"`
		tell(DefaultUser, add, "not enough permissions (9)\n")
		tell("root", `/user/ssh-keys/add user=other key="ssh-ed25519 AAAA"`, wrongKey+"\n")
		tell("root", strings.Replace(add, "user=other ", "", 1), "input does not match any value of user\n")
		if admits("other") {
			t.Error("a refused key logs in")
		}
		tell("root", add, "")
		tell("root", "/user/set other name=renamed", "")
		tell("root", ":put [/user/ssh-keys/get [find user=renamed] info]", "of the host\n")
		tell("root", ":put [/user/ssh-keys/get [find user=renamed] key]", string(ssh.MarshalAuthorizedKey(b.key.PublicKey())))
		if !admits("renamed") || admits(DefaultUser) {
			t.Error("a key logs in as its own user alone")
		}
		tell("root", "/user/ssh-keys/remove [find user=renamed]", "")
		if admits("renamed") {
			t.Error("a key that was removed logs in")
		}
		tell("root", strings.Replace(add, "other", "renamed", 1), "")
		tell("root", "/user/remove renamed", "")
		tell("root", ":put [:len [/user/ssh-keys/find]]", "0\n")
	})
}

func TestLogin(t *testing.T) {
	challenge := func(pass string) ssh.AuthMethod {
		return ssh.KeyboardInteractive(func(_, _ string, q []string, _ []bool) ([]string, error) {
			out := make([]string, len(q))
			for i := range out {
				out[i] = pass
			}
			return out, nil
		})
	}
	type setup func(b *bench)
	key := func(b *bench) { b.AuthorizeKey(DefaultUser, b.key.PublicKey()) }
	for _, tc := range []struct {
		name    string
		options func(*Options)
		setup   setup
		auth    func(b *bench) []ssh.AuthMethod
		ok      bool
	}{
		{"password", nil, nil, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("secret")} }, true},
		{"wrong password", nil, nil, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("guess")} }, false},
		{"empty password", nil, nil, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("")} }, false},
		{"keyboard", nil, nil, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{challenge("secret")} }, true},
		{"wrong keyboard", nil, nil, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{challenge("no")} }, false},
		{"key", nil, key, func(b *bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.PublicKeys(b.key)} }, true},
		{"other key", nil, nil, func(b *bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.PublicKeys(b.key)} }, false},
		{"password after a key", nil, key, func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("secret")} }, false},
		{
			"password after a key, allowed", func(o *Options) { o.AllowPasswordWithKey = true }, key,
			func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("secret")} }, true,
		},
		{
			"revoked key", nil, func(b *bench) { key(b); _ = b.RevokeKeys(DefaultUser) },
			func(b *bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.PublicKeys(b.key)} }, false,
		},
		{
			"changed password", nil, func(b *bench) { _ = b.SetPassword(DefaultUser, "new") },
			func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("secret"), challenge("secret")} }, false,
		},
		{"none", nil, nil, func(*bench) []ssh.AuthMethod { return nil }, false},
		{"none on an open account", func(o *Options) { o.Users[1].Open = true }, nil, func(*bench) []ssh.AuthMethod { return nil }, true},
		{
			"no such user", func(o *Options) { o.Users = nil }, nil,
			func(*bench) []ssh.AuthMethod { return []ssh.AuthMethod{ssh.Password("secret")} }, false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			served(t, func(o *Options) {
				if tc.options != nil {
					tc.options(o)
				}
			}, func(t *testing.T, b *bench) {
				if tc.setup != nil {
					tc.setup(b)
				}
				c, err := b.dial(b.config(tc.auth(b)...))
				if (err == nil) != tc.ok {
					t.Errorf("login: %v, want ok %v", err, tc.ok)
				}
				if c != nil {
					_ = c.Close()
				}
				if err := b.Await(t.Context(), func() bool { return b.Sessions() == 0 }); err != nil {
					t.Fatal(err)
				}
				if got := b.Logins(); got != map[bool]int{true: 1}[tc.ok] || b.Rejected() != 1-got {
					t.Errorf("%d logins, %d rejected", got, b.Rejected())
				}
			})
		})
	}
}

func TestHostKeys(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			served(t, func(o *Options) { o.HostKeyType = kind }, func(t *testing.T, b *bench) {
				c := b.login()
				trusted := b.HostKey()
				if got := trusted.Type(); got != "ssh-"+kind {
					t.Errorf("host key %s", got)
				}
				if want := fmt.Sprintf("[127.0.0.1]:2222 ssh-%s ", kind); !strings.HasPrefix(b.KnownHosts("127.0.0.1:2222"), want) {
					t.Errorf("known_hosts %q", b.KnownHosts("127.0.0.1:2222"))
				}
				fresh, err := b.RotateHostKey()
				if err != nil || fresh.Type() != trusted.Type() || string(fresh.Marshal()) == string(trusted.Marshal()) {
					t.Fatalf("rotated to %v: %v", fresh, err)
				}
				if _, err := run1(c, putLimit); err != nil {
					t.Errorf("an open connection noticed the new key: %v", err)
				}
				_ = c.Close()
				cfg := b.config(ssh.Password("secret"))
				cfg.HostKeyCallback = ssh.FixedHostKey(trusted)
				if _, err := b.dial(cfg); err == nil {
					t.Error("the old key is still offered")
				}
				if b.Logins() != 1 {
					t.Errorf("%d logins, want only the one before", b.Logins())
				}
			})
		})
	}
}

func TestOnlyExec(t *testing.T) {
	served(t, func(o *Options) { o.MaxChannels = 2 }, func(t *testing.T, b *bench) {
		c := b.login()
		defer c.Close()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 24, 80, nil); err == nil {
			t.Error("a terminal was granted")
		}
		if err := s.Setenv("LANG", "C"); err == nil {
			t.Error("an environment variable was taken")
		}
		if out, err := s.Output(putLimit); string(out) != "95000000\r\n" || err != nil {
			t.Errorf("exec after a refused terminal: %q %v", out, err)
		}
		s, _ = c.NewSession()
		msg, _ := s.StderrPipe()
		if err := s.Shell(); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(msg)
		if err := s.Wait(); err == nil || !strings.Contains(string(text), "one command line per exec request") {
			t.Errorf("shell: %v, %q", err, text)
		}
		if out, _ := run1(c, "/ip/firewall\nmangle/print"); !strings.HasPrefix(out, "syntax error (line 1 column 13)") {
			t.Errorf("several lines: %q", out)
		}
		if out, _ := run1(c, putLimit+"\n"); out != "95000000\r\n" {
			t.Errorf("a trailing newline: %q", out)
		}
		if _, _, err := c.OpenChannel("direct-tcpip", nil); err == nil {
			t.Error("a tunnel was opened")
		}
		synctest.Wait() // until the router has let go of the channels that were closed
		var open []*ssh.Session
		for range 2 {
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, s)
		}
		if _, err := c.NewSession(); err == nil {
			t.Error("a third channel was opened")
		}
		for _, s := range open {
			_ = s.Close()
		}
	})
}

func sshKey(b *bench) ssh.AuthMethod { return ssh.PublicKeys(b.key) }
