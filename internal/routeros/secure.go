package routeros

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// What we offer a router: RouterOS 7 has rsa or ed25519 host keys and, with strong-crypto=no (its default), SHA-1 and CBC
// besides these. Nothing built on SHA-1 is offered, and a router set to strong-crypto=yes still finds a match.
var (
	hostKeyAlgorithms = []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	}
	certificateAlgorithms = []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
		ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	}
	signatureAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	transport           = ssh.Config{
		KeyExchanges: []string{
			ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521,
			ssh.KeyExchangeDH16SHA512, ssh.KeyExchangeDH14SHA256,
		},
		Ciphers: []string{
			ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
			ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
		},
		MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA512},
	}
)

// hostCheck decides about one router's host key. It runs before any authentication, so a wrong key ends the handshake
// with no secret sent.
type hostCheck struct {
	addr, file string
	db         *knownhosts.HostKeyDB
	// seen is the key the router showed; passed says that it is the recorded one.
	seen   ssh.PublicKey
	passed bool
}

func newHostCheck(addr, file string) (*hostCheck, error) {
	db, err := knownhosts.NewDB(file)
	if err != nil {
		return nil, err
	}
	return &hostCheck{addr: addr, file: file, db: db}, nil
}

// algorithms are the host key algorithms to ask for: those of the recorded keys, since a router with two keys would
// else show one that is not recorded. An unknown host is asked for any, to be able to name its fingerprint.
func (h *hostCheck) algorithms() ([]string, error) {
	recorded := h.db.HostKeyAlgorithms(h.addr)
	if len(recorded) == 0 {
		return hostKeyAlgorithms, nil
	}
	var wanted []string
	for _, a := range recorded {
		if slices.Contains(hostKeyAlgorithms, a) || slices.Contains(certificateAlgorithms, a) {
			wanted = append(wanted, a)
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("%s records only a key of an outdated kind (%v) for it", h.file, recorded)
	}
	return wanted, nil
}

func (h *hostCheck) verify(hostname string, remote net.Addr, key ssh.PublicKey) error {
	h.seen = key
	if err := h.db.HostKeyCallback()(hostname, remote, key); err != nil {
		return err
	}
	h.passed = true
	return nil
}

// fingerprint names a host key as ssh-keygen -l does: "ssh-ed25519 SHA256:…".
func fingerprint(key ssh.PublicKey) string {
	if key == nil {
		return "no key"
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// scan is the command that fetches a router's host keys.
func scan(host string, port int, file string) string {
	return fmt.Sprintf("ssh-keyscan -p %d %s >> %s", port, host, file)
}

// loadKey reads a private key. As ssh does, it refuses a key of our own that others may read; a key that belongs to
// another user (a mounted secret) is that user's business.
func loadKey(file string) (ssh.Signer, string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, "name an existing private key in router.ssh_key", fmt.Errorf("private key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, "name an existing private key in router.ssh_key", fmt.Errorf("private key %s is not a file", file)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0 {
		return nil, "chmod 600 " + file, fmt.Errorf("private key %s is open to other users (mode %04o)", file, info.Mode().Perm())
	}
	const maxKey = 64 << 10 // an RSA key of 16384 bits is 13 kB
	if info.Size() > maxKey {
		return nil, "name the private key itself in router.ssh_key", fmt.Errorf("private key %s is larger than %d bytes", file, maxKey)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		hint := "name an existing private key in router.ssh_key"
		if errors.Is(err, fs.ErrPermission) {
			hint = "make it readable for the user wanctl runs as"
		}
		return nil, hint, fmt.Errorf("private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, "nobody can type it for a daemon: give wanctl a key of its own without one (ssh-keygen -t ed25519 -N '' -f FILE), " +
			"and import its public half on the router", fmt.Errorf("private key %s is protected by a passphrase", file)
	case err != nil:
		// The parser's text says nothing of the key's content.
		return nil, "make one with: ssh-keygen -t ed25519 -N '' -f FILE", fmt.Errorf("private key %s: %w", file, err)
	}
	if signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		many, ok := signer.(ssh.AlgorithmSigner)
		if !ok {
			return nil, "use an Ed25519 key", fmt.Errorf("private key %s cannot sign with SHA-2", file)
		}
		if signer, err = ssh.NewSignerWithAlgorithms(many, signatureAlgorithms); err != nil {
			return nil, "use an Ed25519 key", fmt.Errorf("private key %s: %w", file, err)
		}
	}
	return signer, "", nil
}
