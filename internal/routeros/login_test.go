package routeros

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/link"
)

func TestNewRefuses(t *testing.T) {
	good := Options{Host: "192.168.88.1", User: "wanctl", Password: password("x"), KnownHosts: "/dev/null"}
	if c, err := New(good); err != nil || c.String() != "wanctl@192.168.88.1:22" || c.opt.Timeout != DefaultTimeout {
		t.Errorf("the good one: %v, %v", c, err)
	}
	v6 := good
	v6.Host, v6.Port = "fe80::1", 2222
	if c, err := New(v6); err != nil || c.String() != "wanctl@[fe80::1]:2222" {
		t.Errorf("IPv6: %v, %v", c, err)
	}
	for name, change := range map[string]func(*Options){
		"no host":          func(o *Options) { o.Host = "" },
		"host with space":  func(o *Options) { o.Host = "a b" },
		"port":             func(o *Options) { o.Port = 70000 },
		"negative port":    func(o *Options) { o.Port = -1 },
		"no user":          func(o *Options) { o.User = "" },
		"user with escape": func(o *Options) { o.User = "a\x1b" },
		"timeout":          func(o *Options) { o.Timeout = -1 },
		"nothing to show":  func(o *Options) { o.Password = nil },
		"missing key":      func(o *Options) { o.KeyFile = filepath.Join(t.TempDir(), "none") },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	t.Setenv("HOME", "/home/u")
	home := good
	home.KnownHosts = ""
	if c, err := New(home); err != nil || c.opt.KnownHosts != "/home/u/.ssh/known_hosts" {
		t.Errorf("the user's known_hosts: %v", err)
	}
	t.Setenv("HOME", "")
	if _, err := New(home); err == nil {
		t.Error("no home directory and no file, and yet accepted")
	}
}

func TestKeyFiles(t *testing.T) {
	good, _ := keyFile(t, newEd25519(t), "", 0o600)
	if _, _, err := loadKey(good); err != nil {
		t.Error(err)
	}
	locked, _ := keyFile(t, newEd25519(t), "sesame", 0o600)
	readable, _ := keyFile(t, newEd25519(t), "", 0o640)
	for file, says := range map[string]string{
		locked:   "passphrase",
		readable: "open to other users (mode 0640)",
		writeFile(t, "id", "-----BEGIN nonsense", 0o600):       "private key",
		writeFile(t, "id", strings.Repeat("x", 70<<10), 0o600): "larger than",
		t.TempDir():                        "not a file",
		filepath.Join(t.TempDir(), "none"): "no such file",
	} {
		_, hint, err := loadKey(file)
		if err == nil || hint == "" || !contains(err.Error(), says) {
			t.Errorf("%s: %v (hint %q), want %q", file, err, hint, says)
		}
		if err != nil && contains(err.Error(), "nonsense") {
			t.Errorf("the error quotes the file: %v", err)
		}
		o := Options{Host: "h", User: "u", KeyFile: file}
		_, err = New(o)
		failure(t, err, Auth, says, hint)
	}
}

func TestWaysToLogIn(t *testing.T) {
	ed, edPublic := keyFile(t, newEd25519(t), "", 0o600)
	rsaFile, rsaPublic := keyFile(t, newRSA(t), "", 0o600)
	for _, tt := range []struct {
		name   string
		server *server
		key    string
		word   string
		kind   Kind // 0: succeeds
		says   string
	}{
		{"password", &server{password: secret}, "", secret, 0, ""},
		{"wrong password", &server{password: secret}, "", "wrong", Auth, "check the password"},
		{"asked for it", &server{password: secret, interactive: []string{"Password:"}}, "", secret, 0, ""},
		{"asked for nothing", &server{password: secret, interactive: []string{}}, "", secret, 0, ""},
		{"asked and wrong", &server{password: secret, interactive: []string{"Password:"}}, "", "wrong", Auth, ""},
		{"asked for two things", &server{password: secret, interactive: []string{"Password:", "New password:"}}, "", secret, Auth, ""},
		{"asked in the open", &server{password: secret, interactive: []string{"Password:"}, echo: true}, "", secret, Auth, ""},
		{"ed25519 key", &server{user: edPublic}, ed, "", 0, ""},
		{"rsa key", &server{user: rsaPublic}, rsaFile, "", 0, ""},
		{"unknown key", &server{user: rsaPublic}, ed, "", Auth, "/user/ssh-keys/add user=wanctl"},
		{"key refused, then password", &server{user: rsaPublic, password: secret}, ed, secret, 0, ""},
		{"empty password", &server{password: secret}, "", "", Auth, "empty"},
		{"long password", &server{password: secret}, "", strings.Repeat("x", 1025), Auth, "longer than 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.handle = say(figures(1, 1), 0)
			s := start(t, tt.server)
			o := s.options(t)
			o.KeyFile = tt.key
			o.Password = password(tt.word)
			if tt.key != "" && tt.word == "" {
				o.Password = nil
			}
			c := dialer(t, o)
			_, err := c.Exchange(t.Context(), att, nil)
			if tt.kind == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := failure(t, err, tt.kind, tt.says); e.Sent || e.Hint == "" {
				t.Errorf("%#v", e)
			}
			if s.logins.Load() != 0 || c.Logins() != 0 {
				t.Error("logged in")
			}
		})
	}
}

func TestPasswordThatCannotBeHad(t *testing.T) {
	s := start(t, &server{password: secret})
	o := s.options(t)
	broken := errors.New("no such variable: ROUTER_PASSWORD")
	o.Password = func() (string, error) { return "", broken }
	_, err := dialer(t, o).Queue(t.Context(), "q")
	failure(t, err, Auth, "ROUTER_PASSWORD")
	if !errors.Is(err, broken) || s.secrets.Load() != 0 {
		t.Errorf("%v, %d attempts", err, s.secrets.Load())
	}
}

// TestHostKeys: whatever is wrong with the host key, no secret leaves.
func TestHostKeys(t *testing.T) {
	rsaKey := newRSA(t)
	rsaSigner, err := ssh.NewSignerFromKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t)
	for _, tt := range []struct {
		name  string
		key   ssh.Signer
		known func(t *testing.T, s *server) string
		kind  Kind // 0: trusted
		says  []string
	}{
		{"recorded", newKey(t), func(t *testing.T, s *server) string { return s.trust(t, s.key.PublicKey()) }, 0, nil},
		{"recorded rsa", rsaSigner, func(t *testing.T, s *server) string { return s.trust(t, s.key.PublicKey()) }, 0, nil},
		{"recorded beside another kind", rsaSigner, func(t *testing.T, s *server) string {
			return s.trust(t, other.PublicKey(), s.key.PublicKey())
		}, 0, nil},
		{
			"unknown", newKey(t), func(t *testing.T, _ *server) string { return writeFile(t, "known_hosts", "", 0o600) }, HostKey,
			[]string{"is not in", "SHA256:", "ssh-keyscan -p", "compare this fingerprint", "nothing secret was sent"},
		},
		{
			"changed", newKey(t), func(t *testing.T, s *server) string { return s.trust(t, other.PublicKey()) }, HostKey,
			[]string{"records another", "SHA256:", "ssh-keygen -f", "-R '[127.0.0.1]:", "somebody may be in between"},
		},
		{
			"changed kind", newKey(t), func(t *testing.T, s *server) string { return s.trust(t, rsaSigner.PublicKey()) }, HostKey,
			[]string{"no key of a kind the router has now", "ssh-keyscan"},
		},
		{"revoked", newKey(t), func(t *testing.T, s *server) string {
			text, err := os.ReadFile(s.trust(t, s.key.PublicKey()))
			if err != nil {
				t.Fatal(err)
			}
			return writeFile(t, "known_hosts", string(text)+"@revoked "+string(text), 0o600)
		}, HostKey, []string{"is refused", "look at its lines"}},
		{"outdated kind", newKey(t), func(t *testing.T, s *server) string {
			return writeFile(t, "known_hosts", "[127.0.0.1]:"+itoa(s.port())+" "+dssLine+"\n", 0o600)
		}, HostKey, []string{"outdated kind"}},
		{
			"no file", newKey(t), func(t *testing.T, _ *server) string { return filepath.Join(t.TempDir(), "none") }, HostKey,
			[]string{"known_hosts", "ssh-keyscan"},
		},
		{
			"broken file", newKey(t), func(t *testing.T, _ *server) string { return writeFile(t, "known_hosts", "h ssh-rsa !!!\n", 0o600) }, HostKey,
			[]string{"known_hosts"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, &server{key: tt.key, password: secret, handle: say(figures(1, 1), 0)})
			o := s.options(t)
			asked := 0
			o.Password = func() (string, error) { asked++; return secret, nil }
			o.KnownHosts = tt.known(t, s)
			c := dialer(t, o)
			_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1, Up: 1})
			if tt.kind == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := failure(t, err, tt.kind, tt.says...)
			if s.secrets.Load() != 0 || asked != 0 || e.Sent || e.Hint == "" {
				t.Errorf("%d attempts, asked %d times, %#v", s.secrets.Load(), asked, e)
			}
		})
	}
}

func TestTrustIsReadAgain(t *testing.T) {
	s := start(t, &server{password: secret, handle: say(figures(1, 1), 0)})
	o := s.options(t)
	good, err := os.ReadFile(o.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	o.KnownHosts = writeFile(t, "known_hosts", "", 0o600)
	c := dialer(t, o)
	_, err = c.Exchange(t.Context(), att, nil)
	failure(t, err, HostKey)
	if err := os.WriteFile(o.KnownHosts, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Errorf("the file was put right, and yet: %v", err)
	}
}

// silent listens, hands each connection over and never says a word.
func silent(t *testing.T) (port int, accepted <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan net.Conn, 9)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			ch <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		close(ch)
		for c := range ch {
			_ = c.Close()
		}
	})
	return l.Addr().(*net.TCPAddr).Port, ch
}

func bare(t *testing.T, port int) Options {
	t.Helper()
	return Options{
		Host: "127.0.0.1", Port: port, User: "wanctl", Password: password(secret), Timeout: time.Hour,
		KnownHosts: writeFile(t, "known_hosts", "", 0o600),
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := dialer(t, bare(t, port))
	for range 2 { // the second failure is the first one again: nothing is left behind
		_, err = c.Exchange(t.Context(), att, &link.Rates{Down: 1})
		if e := failure(t, err, Unreachable, "refused", "/ip/service"); e.Sent {
			t.Error("sent")
		}
	}
	_, err = c.Fingerprint(t.Context())
	failure(t, err, Unreachable, "refused")
}

func TestHandshakeThatStalls(t *testing.T) {
	port, accepted := silent(t)
	c := dialer(t, bare(t, port))
	for name, run := range map[string]func(ctx context.Context) error{
		"exchange":    func(ctx context.Context) error { _, err := c.Exchange(ctx, att, &link.Rates{Down: 1}); return err },
		"fingerprint": func(ctx context.Context) error { _, err := c.Fingerprint(ctx); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			conn := <-accepted
			cancel()
			_ = conn.Close()
		}()
		err := run(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "exchange" {
			if e := failure(t, err, Timeout); e.Sent {
				t.Error("sent")
			}
		}
	}
}

func TestPortThatHangsUp(t *testing.T) {
	port, accepted := silent(t)
	go func() {
		for c := range accepted {
			_ = c.Close()
		}
	}()
	c := dialer(t, bare(t, port))
	_, err := c.Exchange(t.Context(), att, nil)
	failure(t, err, Unreachable, "SSH")
	_, err = c.Fingerprint(t.Context())
	failure(t, err, Unreachable, "SSH service")
}

func TestLoginThatIsHungUpOn(t *testing.T) {
	s := &server{password: secret}
	s = start(t, s)
	o := s.options(t)
	// The router ends the connection at the moment it would have to look at the password: as with too many sessions.
	o.Password = func() (string, error) {
		s.hangUp()
		return secret, nil
	}
	s.keepRaw()
	_, err := dialer(t, o).Exchange(t.Context(), att, nil)
	if e := failure(t, err, Unreachable, "max-sessions"); e.Sent {
		t.Error("sent")
	}
}

func TestFingerprint(t *testing.T) {
	s := start(t, &server{password: secret})
	want := fingerprint(s.key.PublicKey())
	for _, file := range []string{s.trust(t, s.key.PublicKey()), writeFile(t, "known_hosts", "", 0o600), filepath.Join(t.TempDir(), "none")} {
		o := s.options(t)
		o.KnownHosts = file
		got, err := dialer(t, o).Fingerprint(t.Context())
		if err != nil || got != want || !strings.HasPrefix(got, "ssh-ed25519 SHA256:") {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if s.secrets.Load() != 0 {
		t.Error("tried to log in")
	}
	if fingerprint(nil) != "no key" {
		t.Error("a key that is none has a fingerprint")
	}
}
