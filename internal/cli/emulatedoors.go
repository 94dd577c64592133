package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"wanctl/internal/lab/rosim"
)

// emulatorDoors are the emulator's doors beside SSH.
type emulatorDoors struct {
	Doors   bool   `help:"Open every door on 127.0.0.1: --api 127.0.0.1:8728 --api-tls 127.0.0.1:8729 --rest 127.0.0.1:8080 --rest-tls 127.0.0.1:8443."`
	API     string `name:"api" placeholder:"ADDRESS" help:"Serve the binary API in clear there."`
	APITLS  string `name:"api-tls" placeholder:"ADDRESS" help:"Serve the binary API over TLS there."`
	REST    string `name:"rest" placeholder:"ADDRESS" help:"Serve REST over HTTP there."`
	RESTTLS string `name:"rest-tls" placeholder:"ADDRESS" help:"Serve REST over HTTPS there."`
}

// openDoor is a door with its listener.
type openDoor struct {
	name, say string
	service   string // in /ip/service
	tls       bool
	ln        net.Listener
	serve     func(context.Context, net.Listener) error
}

// open listens at every door that is asked for. Who opened them closes them.
func (d emulatorDoors) open(r *rosim.Router) ([]openDoor, error) {
	var opened []openDoor
	for _, door := range []struct {
		openDoor
		addr, usual string
	}{
		{openDoor{"--api", "API", "api", false, nil, r.ServeAPI}, d.API, "127.0.0.1:8728"},
		{openDoor{"--api-tls", "API over TLS", "api-ssl", true, nil, r.ServeAPITLS}, d.APITLS, "127.0.0.1:8729"},
		{openDoor{"--rest", "REST", "www", false, nil, r.ServeREST}, d.REST, "127.0.0.1:8080"},
		{openDoor{"--rest-tls", "REST over TLS", "www-ssl", true, nil, r.ServeRESTTLS}, d.RESTTLS, "127.0.0.1:8443"},
	} {
		if door.addr == "" && d.Doors {
			door.addr = door.usual
		}
		if door.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", door.addr)
		if err != nil {
			closeDoors(opened)
			return nil, fmt.Errorf("listen: %w (choose another with %s)", err, door.name)
		}
		door.ln = ln
		opened = append(opened, door.openDoor)
	}
	return opened, nil
}

func closeDoors(doors []openDoor) {
	for _, d := range doors {
		_ = d.ln.Close()
	}
}

// warnClosed names the doors that an imported configuration has switched off.
func warnClosed(app *App, r *rosim.Router, doors []openDoor) {
	for _, d := range append(doors, openDoor{name: "--listen", service: "ssh"}) {
		if r.Disabled(d.service) {
			fmt.Fprintf(app.Stderr, "wanctl: the configuration has the service %s disabled: connections to %s are closed as they come\n", d.service, d.name)
		}
	}
}

// any says whether a door beside SSH is asked for.
func (d emulatorDoors) any() bool {
	return d.Doors || d.API+d.APITLS+d.REST+d.RESTTLS != ""
}

// doorsText says how to connect.
func doorsText(doors []openDoor, user string, password emulatorSecret, certificate, fingerprint string) string {
	if len(doors) == 0 {
		return ""
	}
	var b strings.Builder
	secure := false
	for _, d := range doors {
		fmt.Fprintf(&b, "%-14s %s\n", d.say, d.ln.Addr())
		secure = secure || d.tls
	}
	fmt.Fprintf(&b, "user           %s\npassword       %s\n", user, password.where)
	if secure {
		fmt.Fprintf(&b, "certificate    %s, SHA-256 %s\n", certificate, fingerprint)
	}
	for _, d := range doors {
		switch d.name {
		case "--rest":
			fmt.Fprintf(&b, "\n    curl -u \"%s:%s\" http://%s/rest/queue/tree\n", user, password.shell, d.ln.Addr())
		case "--rest-tls":
			fmt.Fprintf(&b, "\n    curl --cacert %s -u \"%s:%s\" https://%s/rest/queue/tree\n", certificate, user, password.shell, d.ln.Addr())
		}
	}
	return "\n" + b.String()
}

// emulatorSecret is the account's password: where a person finds it, and how a shell does.
type emulatorSecret struct{ value, where, shell string }

// passwordVariable is the environment's name for the account's password.
const passwordVariable = "WANCTL_EMULATE_PASSWORD"

// emulatorPassword is the one of the environment, or the one that is kept in the directory, made there at first.
func emulatorPassword(dir, given string) (emulatorSecret, error) {
	if given != "" {
		return emulatorSecret{given, "that of " + passwordVariable, "$" + passwordVariable}, nil
	}
	path := filepath.Join(dir, "password")
	s := emulatorSecret{where: "in " + path, shell: "$(cat " + path + ")"}
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) > 1:
		s.value = strings.TrimSuffix(string(b), "\n")
		return s, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return s, fmt.Errorf("password of the emulator: %w", err)
	}
	s.value = rand.Text()
	return s, putFile(path, s.value+"\n")
}

// emulatorCertificate reads, or makes, what the TLS doors show.
func emulatorCertificate(dir string) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "certificate_key")
	c, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, fmt.Errorf("certificate %s: %w (remove it to have a new one made)", certPath, err)
	}
	if c, err = rosim.NewCertificate("wanctl-emulator"); err != nil {
		return tls.Certificate{}, err
	}
	key, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return tls.Certificate{}, fmt.Errorf("certificate of the emulator: a key of type %T", c.PrivateKey)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("encode the certificate's key: %w", err)
	}
	for path, block := range map[string]*pem.Block{
		keyPath: {Type: "EC PRIVATE KEY", Bytes: der}, certPath: {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
	} {
		if err := putFile(path, string(pem.EncodeToMemory(block))); err != nil {
			return tls.Certificate{}, err
		}
	}
	return c, nil
}

// serveDoors serves SSH and the other doors until ctx ends.
func serveDoors(ctx context.Context, r *rosim.Router, ssh net.Listener, doors []openDoor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, len(doors)+1)
	serve := func(f func(context.Context, net.Listener) error, ln net.Listener) {
		err := f(ctx, ln)
		cancel() // a router with a broken door is broken
		done <- err
	}
	go serve(r.Serve, ssh)
	for _, d := range doors {
		go serve(d.serve, d.ln)
	}
	var errs []error
	for range len(doors) + 1 {
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// importFiles reads configurations into the router, and says which sections were left out.
func importFiles(app *App, r *rosim.Router, files []string) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("--import: %w", err)
		}
		notes, err := r.Import(name, f)
		_ = f.Close()
		for _, n := range notes {
			fmt.Fprintf(app.Stderr, "wanctl: %s: left out\n", n)
		}
		if err != nil {
			return fmt.Errorf("--import: %w", err)
		}
	}
	return nil
}
