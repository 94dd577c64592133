package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-routeros/routeros/v3"
)

// saying is an output that others wait for.
type saying struct {
	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer
	over bool
}

func newSaying() *saying {
	s := &saying{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *saying) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.Broadcast()
	return s.text.Write(b)
}

func (s *saying) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.cond.Broadcast()
}

// await returns the first group of the pattern once it is there; "" when nothing more will come.
func (s *saying) await(pattern string) string {
	re := regexp.MustCompile(pattern)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if m := re.FindStringSubmatch(s.text.String()); m != nil {
			return m[1]
		}
		if s.over {
			return ""
		}
		s.cond.Wait()
	}
}

// emulated runs the emulator until the test has ended.
func emulated(t *testing.T, env map[string]string, args ...string) (out *saying, dir string) {
	t.Helper()
	dir = t.TempDir()
	out = newSaying()
	signals := make(chan chan<- os.Signal, 8)
	app := &App{
		Stdout: out, Stderr: out, Getenv: func(k string) string { return env[k] },
		Notify: func(c chan<- os.Signal, sig ...os.Signal) func() {
			if len(sig) == 1 && sig[0] == os.Interrupt {
				signals <- c
			}
			return func() {}
		},
	}
	done := make(chan int, 1)
	go func() {
		done <- Main(append([]string{"emulate", "--dir", dir, "--listen", "127.0.0.1:0"}, args...), app)
		out.end()
	}()
	t.Cleanup(func() {
		(<-signals) <- os.Interrupt
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d, it says\n%s", code, &out.text)
		}
	})
	return out, dir
}

// What the emulator prints is enough to connect to each of its doors.
func TestEmulateOpensEveryDoor(t *testing.T) {
	out, dir := emulated(t, nil, "--api", "127.0.0.1:0", "--api-tls", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--rest-tls", "127.0.0.1:0",
		"--profile", "7.24", "--policy", "read,write,api,rest-api")
	secure := out.await(`https://(\S+)/rest/`)
	if secure == "" {
		t.Fatalf("it says\n%s", &out.text)
	}
	plainAPI, tlsAPI, plainREST := out.await(`(?m)^API +(\S+)`), out.await(`(?m)^API over TLS +(\S+)`), out.await(`(?m)^REST +(\S+)`)
	b, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	password := strings.TrimSpace(string(b))
	if strings.Contains(out.await(`(?s)(.*)`), password) {
		t.Error("the password is printed")
	}
	pem, err := os.ReadFile(out.await(`(?m)^certificate +(\S+),`))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer web.CloseIdleConnections()
	for _, base := range []string{"http://" + plainREST, "https://" + secure} {
		req, err := http.NewRequest(http.MethodGet, base+"/rest/system/resource?.proplist=version", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("wanctl", password)
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || string(body) != `{"version":"7.24 (stable)"}` {
			t.Errorf("%s: %d %s", base, resp.StatusCode, body)
		}
	}
	for _, dial := range []func() (*routeros.Client, error){
		func() (*routeros.Client, error) { return routeros.Dial(plainAPI, "wanctl", password) },
		func() (*routeros.Client, error) {
			return routeros.DialTLS(tlsAPI, "wanctl", password, &tls.Config{RootCAs: pool})
		},
	} {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := c.Run("/queue/tree/print", "=.proplist=name"); err != nil || len(reply.Re) != 4 {
			t.Errorf("%v %v", reply, err)
		}
		if _, err := c.Run("/tool/ping", "=address=192.0.2.1", "=count=1"); err == nil || !strings.Contains(err.Error(), "not enough permissions") {
			t.Errorf("without the right to test: %v", err)
		}
		_ = c.Close()
	}
}

// The same password and certificate serve the next run; the environment's password is not written down.
func TestEmulatorKeepsWhatItMade(t *testing.T) {
	dir := t.TempDir()
	first, err := emulatorPassword(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := emulatorPassword(dir, "")
	if err != nil || again != first || len(first.value) < 20 {
		t.Errorf("%v then %v, %v", first, again, err)
	}
	c, err := emulatorCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	c2, err := emulatorCertificate(dir)
	if err != nil || !bytes.Equal(c.Certificate[0], c2.Certificate[0]) {
		t.Errorf("another certificate: %v", err)
	}
	other := t.TempDir()
	given, err := emulatorPassword(other, "from the environment")
	if err != nil || given.value != "from the environment" || strings.Contains(given.where+given.shell, given.value) {
		t.Errorf("%+v %v", given, err)
	}
	if files, _ := os.ReadDir(other); len(files) != 0 {
		t.Errorf("it wrote %v", files)
	}
	if err := os.WriteFile(filepath.Join(dir, "certificate.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := emulatorCertificate(dir); err == nil || !strings.Contains(err.Error(), "remove it to have a new one made") {
		t.Errorf("a spoilt certificate: %v", err)
	}
	if _, err := emulatorPassword(filepath.Join(dir, "certificate.pem"), ""); err == nil {
		t.Error("a directory that is none")
	}
	if _, err := emulatorCertificate(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory that is not there")
	}
}

func TestEmulateImports(t *testing.T) {
	config := filepath.Join(t.TempDir(), "house.rsc")
	if err := os.WriteFile(config, []byte("/ip dhcp-server\nadd name=x\n/queue tree\nadd name=Up parent=ether1 max-limit=20M\n/ip service set ssh disabled=yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := emulated(t, map[string]string{passwordVariable: "of the environment"}, "--import", config, "--rest", "127.0.0.1:0", "--measured-times")
	rest := out.await(`http://(\S+)/rest/`)
	if said := out.await(`(?s)(.*)`); strings.Contains(said, "of the environment") || !strings.Contains(said, "house.rsc:1:1: /ip/dhcp-server is not emulated: left out") ||
		!strings.Contains(said, "service ssh disabled: connections to --listen are closed") {
		t.Errorf("it says\n%s", said)
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+rest+"/rest/queue/tree?.proplist=name,max-limit", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("wanctl", "of the environment")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != `[{".id":"*1","name":"Up","max-limit":"20000000"}]` {
		t.Errorf("%s", body)
	}
}

func TestEmulateRefusesWhatItCannotServe(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.rsc")
	if err := os.WriteFile(bad, []byte("/queue tree\nadd colour=red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spoilt := t.TempDir()
	for _, name := range []string{"certificate.pem", "certificate_key"} {
		if err := os.WriteFile(filepath.Join(spoilt, name), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--import", bad}, bad + ":2:5: expected end of command"},
		{[]string{"--import", "nowhere.rsc"}, "--import: open nowhere.rsc"},
		{[]string{"--api", "256.0.0.1:1"}, "choose another with --api"},
		{[]string{"--rest", "127.0.0.1:0", "--rest-tls", "256.0.0.1:1"}, "choose another with --rest-tls"},
		{[]string{"--policy", "read,everything"}, `no policy "everything"`},
		{[]string{"--policy", "read", "--read-only"}, "leave one out"},
		{[]string{"--stall-every=-1"}, "at least 0"},
		{[]string{"--doors", "--dir", spoilt}, "remove it to have a new one made"},
	} {
		var said bytes.Buffer
		app := &App{Stdout: &said, Stderr: &said, Getenv: func(string) string { return "" }}
		args := append([]string{"emulate", "--listen", "127.0.0.1:0", "--dir", t.TempDir()}, tc.args...)
		if code := Main(args, app); code != exitFailed || !strings.Contains(said.String(), tc.want) {
			t.Errorf("%v: exit code %d, says %q", tc.args, code, said.String())
		}
	}
}
