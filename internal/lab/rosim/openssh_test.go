package rosim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// openSSH is a router on loopback and the command line of a real ssh client for it.
type openSSH struct {
	*Router
	args       []string
	knownHosts string
}

func newOpenSSH(t *testing.T, change func(*Options)) *openSSH {
	t.Helper()
	client, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("SKIPPED: no ssh client on this machine, so the emulator is NOT tested against OpenSSH")
	}
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(dir, "id")
	if err := os.WriteFile(identity, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	if change != nil {
		change(&o)
	}
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	r.AuthorizeKey(DefaultUser, key)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, ln) }()
	<-r.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte(r.KnownHosts(r.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return &openSSH{Router: r, knownHosts: known, args: []string{
		client, "-F", "/dev/null", "-p", port, "-i", identity, "-l", DefaultUser, "-o", "IdentitiesOnly=yes",
		"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + known,
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
	}}
}

func (s *openSSH) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	all := append(append([]string{}, s.args...), "127.0.0.1")
	all = append(all, args...)
	cmd := exec.CommandContext(t.Context(), all[0], all[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), status
}

func TestOpenSSH(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			s := newOpenSSH(t, func(o *Options) { o.HostKeyType = kind })
			for _, tc := range []struct{ line, want string }{
				{`:put 1`, "1\r\n"},
				{`:put [/queue/tree get [find name="WAN-Download-ATT"] max-limit]`, "95000000\r\n"},
				{`/queue/tree/set [find name="WAN-Download-ATT"] max-limit=48000000`, ""},
				{`:put [/queue/tree get [find name="WAN-Download-ATT"] max-limit]`, "48000000\r\n"},
				{`/queue/tree/set [find name="none"] max-limit=1M`, "expected item id (line 1 column 17)\r\n"},
				{`/nosuch`, "bad command name nosuch (line 1 column 2)\r\n"},
				{`:put "a\$b \"q\""`, "a$b \"q\"\r\n"},
				{`/queue/tree print as-value`, ""},
				{"/ip address \n add address=1.1.1.1/24", "syntax error (line 1 column 13)\r\n"},
			} {
				out, errs, status := s.run(t, tc.line)
				if out != tc.want || errs != "" || status != 0 {
					t.Errorf("%s: %q, stderr %q, status %d; want %q", tc.line, out, errs, status, tc.want)
				}
			}
			if got, _ := s.MaxLimit("WAN-Download-ATT"); got != 48*unit.Mbps {
				t.Errorf("limit %v", got)
			}
			if n := len(s.Commands()); n != 9 || s.Logins() != 9 {
				t.Errorf("%d commands, %d logins", n, s.Logins())
			}
		})
	}
}

func TestOpenSSHStatus(t *testing.T) {
	for mode, want := range map[ExitStatus]int{ExitZero: 0, ExitReflect: 1, ExitMissing: 255} {
		t.Run(string(mode), func(t *testing.T) {
			s := newOpenSSH(t, func(o *Options) { o.ExitStatus = mode })
			out, _, status := s.run(t, "/nosuch")
			if out != "bad command name nosuch (line 1 column 2)\r\n" || status != want {
				t.Errorf("%q, status %d, want %d", out, status, want)
			}
		})
	}
}

func TestOpenSSHRefusals(t *testing.T) {
	s := newOpenSSH(t, nil)
	if _, errs, status := s.run(t); status != 1 || !strings.Contains(errs, "one command line per exec request") {
		t.Errorf("shell: status %d, %q", status, errs)
	}
	if err := s.SetReadOnly(DefaultUser, true); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := s.run(t, "/queue/tree/set WAN-Upload-ATT max-limit=1M"); out != "not enough permissions (9)\r\n" {
		t.Errorf("read-only: %q", out)
	}
	s.CutNext(CutAfter)
	if _, _, status := s.run(t, ":put 1"); status != 255 {
		t.Errorf("cut: status %d", status)
	}
	s.Full(true)
	if _, _, status := s.run(t, ":put 1"); status != 255 {
		t.Errorf("full: status %d", status)
	}
	s.Full(false)
	s.Refuse()
	if _, errs, status := s.run(t, ":put 1"); status != 255 || !strings.Contains(errs, "refused") {
		t.Errorf("refused: status %d, %q", status, errs)
	}
	if err := s.Return(); err != nil {
		t.Fatal(err)
	}
	if out, errs, _ := s.run(t, ":put 1"); out != "1\r\n" {
		t.Errorf("after returning: %q %q", out, errs)
	}
	before := s.Logins()
	if _, err := s.RotateHostKey(); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := s.run(t, ":put 1"); status != 255 || !strings.Contains(errs, "HOST IDENTIFICATION HAS CHANGED") || s.Logins() != before {
		t.Errorf("wrong key: status %d, %q, %d logins", status, errs, s.Logins()-before)
	}
}
