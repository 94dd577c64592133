package rosim

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/unit"
)

// apiClient is a plain API client: it sends a sentence and reads until the one that ends the answer.
type apiClient struct {
	net.Conn
	rd *bufio.Reader
}

// api connects to the binary API and logs in.
func (b *bench) api(user, password string) (*apiClient, error) {
	c, err := b.all["api:0"].Dial()
	if err != nil {
		return nil, err
	}
	w := &apiClient{c, bufio.NewReader(c)}
	got, err := w.ask("/login", "=name="+user, "=password="+password)
	if err == nil && got[0] != "!done" {
		err = errors.New(strings.Join(got, " "))
	}
	return w, err
}

func (w *apiClient) ask(words ...string) ([]string, error) {
	if _, err := w.Write(appendSentence(nil, words...)); err != nil {
		return nil, err
	}
	var all []string
	for {
		s, err := readSentence(w.rd, limitsAfter)
		if err != nil {
			return all, err
		}
		all = append(all, strings.Join(s, " "))
		if s[0] == "!done" || s[0] == "!fatal" {
			return all, nil
		}
	}
}

// web is an HTTP client of the REST door; over TLS it trusts what the router shows when it is made.
func (b *bench) web(secure bool) *http.Client {
	door := "www:0"
	if secure {
		door = "www-ssl:0"
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.Certificate())
	return &http.Client{Transport: &http.Transport{
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return b.all[door].Dial() },
		TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
}

func (b *bench) get(c *http.Client, scheme, user, path string) (status int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, scheme+"://localhost/rest"+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth(user, "secret")
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// One store stands behind all doors, and the log says which one each command came through.
func TestOneStoreBehindEveryDoor(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		s := b.login()
		defer s.Close()
		w, err := b.api(DefaultUser, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := run1(s, "/queue/tree/set WAN-Upload-ATT max-limit=11M"); err != nil {
			t.Fatal(err)
		}
		if got, err := w.ask("/queue/tree/print", "=.proplist=max-limit", "?name=WAN-Upload-ATT"); err != nil || got[0] != "!re =max-limit=11000000" {
			t.Errorf("%q %v", got, err)
		}
		if _, err := w.ask("/queue/tree/set", "=.id=*4", "=max-limit=12M"); err != nil {
			t.Fatal(err)
		}
		c := b.web(true)
		defer c.CloseIdleConnections()
		if status, body, err := b.get(c, "https", DefaultUser, "/queue/tree/*4?.proplist=max-limit"); status != 200 || body != `{".id":"*4","max-limit":"12000000"}` || err != nil {
			t.Errorf("%d %s %v", status, body, err)
		}
		var doors []string
		for _, c := range b.Commands() {
			doors = append(doors, c.Door)
		}
		if want := []string{"ssh", "api", "api", "www-ssl"}; !slices.Equal(doors, want) {
			t.Errorf("doors %v, want %v", doors, want)
		}
		if h := b.LimitHistory(); len(h) != 2 || h[1].By != DefaultUser || h[1].To != 12*unit.Mbps {
			t.Errorf("%+v", h)
		}
		if n := b.Sessions(); n != 3 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestTLSDoors(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		block, _ := pem.Decode(b.Certificate())
		if sum := sha256.Sum256(block.Bytes); hex.EncodeToString(sum[:]) != b.CertificateFingerprint() {
			t.Error("the fingerprint is not the certificate's")
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(b.Certificate())
		dial := func() (*tls.Conn, error) {
			raw, err := b.all["api-ssl:0"].Dial()
			if err != nil {
				return nil, err
			}
			c := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			if err := c.Handshake(); err != nil {
				_ = raw.Close()
				return nil, err
			}
			return c, nil
		}
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if v := c.ConnectionState().Version; v != tls.VersionTLS12 {
			t.Errorf("TLS version %x", v)
		}
		w := &apiClient{c, bufio.NewReader(c)}
		if got, err := w.ask("/login", "=name="+DefaultUser, "=password=secret"); err != nil || got[0] != "!done" {
			t.Errorf("%q %v", got, err)
		}
		_ = c.Close()
		var unknown x509.UnknownAuthorityError
		if err := b.Inject("wrong-certificate"); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(); !errors.As(err, &unknown) {
			t.Errorf("a changed certificate: %v", err)
		}
		if err := b.Inject("expired-certificate"); err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(b.Certificate())
		var invalid x509.CertificateInvalidError
		if _, err := dial(); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			t.Errorf("an expired certificate: %v", err)
		}
		if err := b.RotateCertificate(); err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(b.Certificate())
		if out, failed := b.Exec(t.Context(), DefaultUser, "/ip/service/set api-ssl tls-version=only-1.2"); failed {
			t.Fatal(out)
		}
		if c, err = dial(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if out, failed := b.Exec(t.Context(), DefaultUser, "/ip/service/set api-ssl certificate=none"); failed {
			t.Fatal(out)
		}
		if _, err := dial(); err == nil {
			t.Error("a handshake without a certificate")
		}
		synctest.Wait()
		if b.Rejected() < 3 {
			t.Errorf("%d rejected", b.Rejected())
		}
	})
}

// Each fault that is meant for the next command shows at the API and at REST as it does over SSH.
func TestFaultsAtTheOtherDoors(t *testing.T) {
	const set = "/queue/tree/set"
	for _, tc := range []struct {
		fault, api, rest string
		ran              bool
		outcome          Outcome
	}{
		{"cut=before", "EOF", "EOF", false, OutcomeCutBefore},
		{"cut=after", "EOF", "EOF", true, OutcomeCutAfter},
		{"cut=reply", "unexpected EOF", "unexpected EOF", true, OutcomeCutReply},
		{"fail=failure: flash is worn out", "!trap =category=4 =message=failure: flash is worn out", `"detail":"failure: flash is worn out"`, false, OutcomeInjected},
		{"garble=html", "unexpected EOF", "Sign in to continue", true, OutcomeGarbled},
		{"garble=shape", "!what", "42", true, OutcomeGarbled},
		{"garble=bytes", "reserved byte", `[{"`, true, OutcomeGarbled},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			served(t, nil, func(t *testing.T, b *bench) {
				w, err := b.api(DefaultUser, "secret")
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Inject(tc.fault); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(tc.fault, "garble=html") || strings.HasPrefix(tc.fault, "garble=shape") {
					time.AfterFunc(time.Second, func() { _ = w.Close() })
				}
				got, err := w.ask(set, "=.id=*4", "=max-limit=1M")
				text := strings.Join(got, " ")
				if err != nil {
					text += err.Error()
				}
				if !strings.Contains(text, tc.api) {
					t.Errorf("API: %q, want %q", text, tc.api)
				}
				_ = w.Close()
				b.check(t, tc.ran, tc.outcome)

				c := b.web(false)
				defer c.CloseIdleConnections()
				if err := b.Inject(tc.fault); err != nil {
					t.Fatal(err)
				}
				req, err := http.NewRequest(http.MethodPatch, "http://router/rest/queue/tree/*4", strings.NewReader(`{"max-limit":"1M"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth(DefaultUser, "secret")
				req.Header.Set("Content-Type", "application/json")
				text = ""
				resp, err := c.Do(req)
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					text = string(body)
					_ = resp.Body.Close()
				}
				if err != nil {
					text += err.Error()
				}
				if !strings.Contains(text, tc.rest) {
					t.Errorf("REST: %q, want %q", text, tc.rest)
				}
				b.check(t, tc.ran, tc.outcome)
			})
		})
	}
}

// check looks at the last command and at the limit, which it puts back.
func (b *bench) check(t *testing.T, ran bool, outcome Outcome) {
	t.Helper()
	if err := b.AwaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _ := b.MaxLimit("WAN-Upload-ATT")
	if (got == unit.Mbps) != ran {
		t.Errorf("limit %v, ran should be %v", got, ran)
	}
	if err := b.ForeignSet("WAN-Upload-ATT", 18*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	if cs := b.Commands(); cs[len(cs)-1].Outcome != outcome {
		t.Errorf("outcome %s, want %s", cs[len(cs)-1].Outcome, outcome)
	}
}

// Half a sentence comes, and then nothing more, while the connection stays.
func TestSilentInTheMiddleOfAReply(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		for _, door := range []string{"api:0", "www:0", "ssh:0"} {
			b.CutNext(CutSilent)
			c, err := b.all[door].Dial()
			if err != nil {
				t.Fatal(err)
			}
			e := listenTo(c)
			switch door {
			case "api:0":
				_, _ = c.Write(appendSentence(nil, "/login", "=name="+DefaultUser, "=password=secret"))
				e.heard()
				_, _ = c.Write(appendSentence(nil, "/queue/tree/print"))
			case "www:0":
				_, _ = c.Write(spellRequest(t, DefaultUser, "GET /rest/queue/tree"))
			case "ssh:0":
				_ = c.Close()
				e.heard()
				client := b.login()
				done := make(chan string)
				go func() {
					out, _ := run1(client, "/queue/tree/print")
					done <- out
				}()
				time.Sleep(time.Hour)
				select {
				case out := <-done:
					t.Errorf("ssh: a silent connection ended: %q", out)
				default:
				}
				_ = client.Close()
				<-done
				continue
			}
			got, closed := e.heard()
			time.Sleep(time.Hour)
			more, ended := e.heard()
			if len(got) == 0 || len(more) != 0 || closed || ended {
				t.Errorf("%s: %d bytes, then %d, closed %v", door, len(got), len(more), closed || ended)
			}
			_ = c.Close()
			e.heard()
		}
	})
}

// Stall, half-open, full, refuse and reboot hold for every door.
func TestStandingFaultsAtEveryDoor(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c := b.web(false)
		try := func() (api, rest error) {
			w, api := b.api(DefaultUser, "secret")
			if api == nil {
				_, api = w.ask("/system/identity/print")
				_ = w.Close()
			}
			_, _, rest = b.get(c, "http", DefaultUser, "/system/identity")
			c.CloseIdleConnections()
			synctest.Wait()
			return api, rest
		}
		if a, r := try(); a != nil || r != nil {
			t.Fatalf("%v %v", a, r)
		}
		b.Full(true)
		if a, r := try(); a == nil || r == nil {
			t.Errorf("full: %v %v", a, r)
		}
		b.Full(false)
		done := b.Reboot(30 * time.Second)
		if a, r := try(); a == nil || r == nil {
			t.Errorf("rebooting: %v %v", a, r)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if a, r := try(); a != nil || r != nil {
			t.Errorf("rebooted: %v %v", a, r)
		}
		b.Stall()
		var wg sync.WaitGroup
		wg.Go(func() {
			if a, r := try(); a != nil || r != nil {
				t.Errorf("stalled: %v %v", a, r)
			}
		})
		time.Sleep(10 * time.Minute)
		if b.InFlight() != 1 {
			t.Errorf("%d in flight", b.InFlight())
		}
		b.Unstall()
		wg.Wait()
		b.HalfOpen(true)
		raw, err := b.all["api-ssl:0"].Dial()
		if err != nil {
			t.Fatal(err)
		}
		e := listenTo(raw)
		_, _ = raw.Write([]byte("\x16\x03\x01"))
		time.Sleep(time.Minute)
		if got, closed := e.heard(); len(got) > 0 || closed {
			t.Errorf("half-open: %q %v", got, closed)
		}
		_ = raw.Close()
		e.heard()
	})
}

// Requests of one user from one address wait for each other; another user's do not, and who has given up still holds
// the others up.
func TestRESTServesAUserOneAtATime(t *testing.T) {
	served(t, func(o *Options) { o.Users = append(o.Users, User{Name: "other", Password: "secret"}) }, func(t *testing.T, b *bench) {
		c := b.web(false)
		defer c.CloseIdleConnections()
		start := time.Now()
		ctx, giveUp := context.WithTimeout(t.Context(), time.Second)
		defer giveUp()
		var wg sync.WaitGroup
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://r/rest/tool/ping", strings.NewReader(`{"address":"192.0.2.1","count":"11"}`))
			if err != nil {
				t.Error(err)
				return
			}
			req.SetBasicAuth(DefaultUser, "secret")
			req.Header.Set("Content-Type", "application/json")
			if _, err := c.Do(req); err == nil { //nolint:bodyclose // there is no answer
				t.Error("the long request was answered in a second")
			}
		})
		synctest.Wait()
		if status, _, err := b.get(c, "http", "other", "/system/identity"); status != 200 || err != nil || time.Since(start) != 0 {
			t.Errorf("another user: %d %v after %v", status, err, time.Since(start))
		}
		if status, _, err := b.get(c, "http", DefaultUser, "/system/identity"); status != 200 || err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("the same user: %d %v after %v", status, err, time.Since(start))
		}
		wg.Wait()
	})
}

func TestWordLengths(t *testing.T) {
	for _, n := range []int{0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1fffff, 0x200000, 0xfffffff, 0x10000000, 0xffffffff} {
		b := appendLength(nil, n)
		got, err := readLength(bufio.NewReader(strings.NewReader(string(b))))
		if got != n || err != nil {
			t.Errorf("%#x became %#x, %v", n, got, err)
		}
		if _, err := readLength(bufio.NewReader(strings.NewReader(string(b[:len(b)-1])))); err == nil {
			t.Errorf("%#x: half a length was read", n)
		}
	}
	for first := 0xf8; first <= 0xff; first++ {
		if _, err := readLength(bufio.NewReader(strings.NewReader(string([]byte{byte(first), 0, 0, 0, 0})))); !errors.Is(err, errReservedByte) {
			t.Errorf("%#x: %v", first, err)
		}
	}
	if _, err := readSentence(bufio.NewReader(strings.NewReader("\xf0\x7f\xff\xff\xff")), limitsAfter); !errors.Is(err, errTooLong) {
		t.Errorf("a word of 2 GB: %v", err)
	}
	long := appendSentence(nil, slices.Repeat([]string{"x"}, limitsBefore.words+1)...)
	if _, err := readSentence(bufio.NewReader(strings.NewReader(string(long))), limitsBefore); !errors.Is(err, errTooLong) {
		t.Errorf("too many words: %v", err)
	}
}

// The API's bounds end a connection, or refuse the command, before anything grows.
func TestAPIBounds(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		c, err := b.all["api:0"].Dial()
		if err != nil {
			t.Fatal(err)
		}
		e := listenTo(c)
		_, _ = c.Write(appendSentence(nil, "/login", "=name="+strings.Repeat("x", limitsBefore.word)))
		if got, closed := e.heard(); len(got) != 0 || !closed {
			t.Errorf("a long word before the login: %q %v", got, closed)
		}
		w, err := b.api(DefaultUser, "secret")
		if err != nil {
			t.Fatal(err)
		}
		for range maxPending {
			if _, err := w.Write(appendSentence(nil, "/queue/tree/listen", ".tag=l")); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := w.ask("/system/identity/print"); err != nil || !strings.Contains(got[0], "too many commands at once") {
			t.Errorf("%q %v", got, err)
		}
		_ = w.Close()
	})
}
