package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// What is offered: nothing that is built on SHA-1, and no cipher without authentication.
var (
	hostKeyAlgorithms = []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	certificateAlgorithms = []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
	transport = ssh.Config{
		KeyExchanges: []string{
			ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384,
			ssh.KeyExchangeECDHP521, ssh.KeyExchangeDH16SHA512,
		},
		Ciphers: []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305},
	}
)

// hostCheck decides about the host's key, before anything secret is sent.
type hostCheck struct {
	opt    Options
	db     *knownhosts.HostKeyDB
	seen   ssh.PublicKey
	passed bool
}

func newHostCheck(o Options) (*hostCheck, error) {
	db, err := knownhosts.NewDB(o.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("cannot use the known_hosts file: %w", err)
	}
	return &hostCheck{opt: o, db: db}, nil
}

// algorithms are those of the recorded keys, since a host with several keys would else show one that is not recorded. An
// unknown host is asked for any, to be able to name its fingerprint.
func (c *hostCheck) algorithms() ([]string, error) {
	recorded := c.db.HostKeyAlgorithms(c.opt.addr())
	if len(recorded) == 0 {
		return hostKeyAlgorithms, nil
	}
	wanted := slices.DeleteFunc(slices.Clone(recorded), func(a string) bool {
		return !slices.Contains(hostKeyAlgorithms, a) && !slices.Contains(certificateAlgorithms, a)
	})
	if len(wanted) == 0 {
		return nil, fmt.Errorf("%s records only a key of an outdated kind (%v) for it", c.opt.KnownHosts, recorded)
	}
	return wanted, nil
}

func (c *hostCheck) verify(hostname string, remote net.Addr, key ssh.PublicKey) error {
	c.seen = key
	if err := c.db.HostKeyCallback()(hostname, remote, key); err != nil {
		return err
	}
	c.passed = true
	return nil
}

// explain says what was wrong with the host's key, nil when that was not it.
func (c *hostCheck) explain(err error) *Error {
	const op = "verify the host key"
	var none *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &none) && strings.Contains(none.What, "host key"):
		return c.opt.fail(HostKey, op, "if the host's keys were changed on purpose: "+c.opt.scan(),
			fmt.Errorf("%s records no key of a kind the host has now; nothing secret was sent", c.opt.KnownHosts))
	case c.seen == nil || c.passed:
		return nil
	case knownhosts.IsHostKeyChanged(err):
		return c.opt.fail(HostKey, op, fmt.Sprintf("if the host was set up anew: ssh-keygen -f %s -R '%s', then %s; if not, somebody may be in between",
			c.opt.KnownHosts, knownhosts.Normalize(c.opt.addr()), c.opt.scan()),
			fmt.Errorf("the host shows the key %s, but %s records another; nothing secret was sent", c.fingerprint(), c.opt.KnownHosts))
	case knownhosts.IsHostUnknown(err):
		return c.opt.fail(HostKey, op, "compare this fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "+c.opt.scan(),
			fmt.Errorf("the host's key %s is not in %s; nothing secret was sent", c.fingerprint(), c.opt.KnownHosts))
	}
	return c.opt.fail(HostKey, op, "look at its lines in "+c.opt.KnownHosts, fmt.Errorf("the host's key %s is refused: %w", c.fingerprint(), err))
}

func (c *hostCheck) fingerprint() string { return c.seen.Type() + " " + ssh.FingerprintSHA256(c.seen) }

// scan is the command that records the host's keys.
func (o Options) scan() string {
	return fmt.Sprintf("ssh-keyscan -p %d %s >> %s", o.Port, o.Address, o.KnownHosts)
}

// credentials are what may log in, each loaded before anything is sent.
type credentials struct {
	signers []ssh.Signer
	agent   net.Conn
	files   []string
}

// credentials loads the named key; without one the agent's keys and those ssh would take by itself.
func (o Options) credentials(ctx context.Context) (*credentials, error) {
	c := &credentials{}
	files, named := []string{o.Key}, o.Key != ""
	if !named {
		files = nil
		for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			files = append(files, Home("~/.ssh/"+n))
		}
		if o.Agent != "" {
			conn, err := net.Dial("unix", o.Agent)
			if err != nil {
				return nil, o.fail(Auth, "ask the ssh-agent", "start one, unset SSH_AUTH_SOCK, or name a private key (key:)", err)
			}
			c.agent = conn
			if c.signers, err = agent.NewClient(conn).Signers(); err != nil {
				c.close()
				return nil, o.fail(Auth, "ask the ssh-agent", "unset SSH_AUTH_SOCK, or name a private key (key:)", err)
			}
		}
		if len(c.signers) > 0 {
			c.files = []string{"a key of the ssh-agent"}
			return c, nil
		}
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil && !named {
			continue
		}
		signer, err := o.load(ctx, f)
		if err != nil {
			c.close()
			return nil, err
		}
		c.signers, c.files = append(c.signers, signer), append(c.files, f)
	}
	return c, nil
}

func (c *credentials) close() {
	if c.agent != nil {
		_ = c.agent.Close()
	}
}

func (c *credentials) methods() []ssh.AuthMethod {
	return []ssh.AuthMethod{ssh.PublicKeys(c.signers...)}
}

func (c *credentials) tried() string { return strings.Join(c.files, " or ") }

// maxKey bounds a private key's file: one of RSA with 16384 bits has 13 kB.
const maxKey = 64 << 10

// load reads a private key, and asks for its passphrase where it has one.
func (o Options) load(ctx context.Context, file string) (ssh.Signer, error) {
	fail := func(hint string, err error) (ssh.Signer, error) {
		return nil, o.fail(Auth, "read the private key "+file, hint, err)
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return fail("name an existing private key (key:)", err)
	case !info.Mode().IsRegular() || info.Size() > maxKey:
		return fail("name the private key itself (key:)", errors.New("is not a private key's file"))
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0 {
		return fail("chmod 600 "+file, fmt.Errorf("is open to other users (mode %04o)", info.Mode().Perm()))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fail("make it readable", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			return fail("make one with: ssh-keygen -t ed25519 -f "+file, err)
		}
		return signer, nil
	}
	if o.Passphrase == nil {
		return fail("load it into an ssh-agent, and leave key: out", errors.New("has a passphrase, and there is nobody to ask for it"))
	}
	phrase, err := o.Passphrase(ctx, file)
	if err != nil {
		return fail("load it into an ssh-agent, and leave key: out", err)
	}
	if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(phrase)); err != nil {
		return fail("check the passphrase with: ssh-keygen -y -f "+filepath.Clean(file), errors.New("the passphrase is not its own"))
	}
	return signer, nil
}
