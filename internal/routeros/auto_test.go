package routeros

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wanctl/internal/link"
)

// house is a router with three doors for Auto, and what was tried at them.
type house struct {
	api, rest *peer
	ssh       *server
	model     *model
	opt       Options

	mu    sync.Mutex
	notes []link.Note
	// logins count the secrets shown at the API and REST.
	logins map[Transport]int
	// refuse lets a door refuse a login: an API trap, a REST status.
	apiTrap    string
	restStatus int
}

func newHouse(t *testing.T) *house {
	t.Helper()
	id := goodIdentity(t)
	h := &house{model: newModel(), logins: map[Transport]int{}}
	h.api = serve(t, &id, func(c net.Conn) {
		k := talkOn(c)
		words, _ := k.hear()
		if words == nil {
			return
		}
		h.mu.Lock()
		h.logins[API]++
		trap := h.apiTrap
		h.mu.Unlock()
		if trap != "" {
			k.tell("", "!trap", "=message="+trap)
			k.tell("", "!done")
			k.hear()
			return
		}
		k.tell("", "!done")
		h.model.apiOn(k)
	})
	h.rest = serve(t, &id, web(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.logins[REST]++
		status := h.restStatus
		h.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		h.model.rest(w, r)
	}))
	h.ssh = start(t, &server{password: secret, handle: say(figures(95_000_000, 18_000_000), 0)})
	h.opt = h.ssh.options(t)
	h.opt.Transport, h.opt.Port, h.opt.Ports = Auto, 0, Ports{h.api.port(), h.rest.port(), h.ssh.port()}
	h.opt.Roots = id.roots
	h.opt.Log = func(n link.Note) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.notes = append(h.notes, n)
	}
	return h
}

func (h *house) tried() (api, rest int, ssh int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logins[API], h.logins[REST], h.ssh.secrets.Load()
}

func TestAutoTakesTheBest(t *testing.T) {
	h := newHouse(t)
	c := dialer(t, h.opt)
	if c.String() != "wanctl@127.0.0.1" {
		t.Errorf("called %s", c)
	}
	for range 2 {
		if _, err := c.Exchange(t.Context(), att, nil); err != nil {
			t.Fatal(err)
		}
	}
	if api, rest, ssh := h.tried(); api != 1 || rest != 0 || ssh != 0 {
		t.Errorf("tried %d, %d, %d times", api, rest, ssh)
	}
	if len(h.notes) != 1 || h.notes[0].Level != link.Info || !contains(h.notes[0].Text, "by transport api, the best there is") || h.notes[0].Key != "router_door" {
		t.Errorf("notes %v", h.notes)
	}
	if c.String() != "wanctl@"+h.api.listener.Addr().String() {
		t.Errorf("called %s", c)
	}
}

// The command that records the router's key, as the hint spells it, names the port that was tried.
func TestAutoHintsAtThePort(t *testing.T) {
	h := newHouse(t)
	h.opt.Password = nil
	h.withKey(t, true)
	h.opt.KnownHosts = writeFile(t, "known_hosts", "", 0o600)
	_, err := dialer(t, h.opt).Exchange(t.Context(), att, nil)
	if e := failure(t, err, HostKey); !contains(e.Hint, "ssh-keyscan -p "+itoa(h.ssh.port())+" 127.0.0.1") {
		t.Errorf("hint %q", e.Hint)
	}
}

// Of several impossible ports the error names the first in the order of the doors.
func TestAutoNamesTheFirstBadPort(t *testing.T) {
	for range 20 {
		if _, err := New(Options{Transport: Auto, Host: "r", User: "u", KeyFile: "k", KnownHosts: "/dev/null", Ports: Ports{-1, -2, -3}}); err == nil || !contains(err.Error(), "port -1 (api)") {
			t.Fatal(err)
		}
	}
}

func TestAutoGoesDown(t *testing.T) {
	for name, tt := range map[string]struct {
		change          func(*house)
		chosen          Transport
		why             []string
		api, rest, sshs int
	}{
		"no API": {func(h *house) { _ = h.api.listener.Close() }, REST, []string{"api: unreachable"}, 0, 4, 0},
		"neither": {func(h *house) {
			_ = h.api.listener.Close()
			_ = h.rest.listener.Close()
		}, SSH, []string{"api: unreachable", "rest: unreachable"}, 0, 0, 1},
		"no certificate we trust": {func(h *house) { h.opt.Roots = nil }, SSH, []string{"api: certificate", "rest: certificate"}, 0, 0, 1},
		"API's policy missing":    {func(h *house) { h.apiTrap = "std failure: not allowed (9)" }, SSH, []string{"may not use this service"}, 1, 0, 1},
		"REST switched off": {func(h *house) {
			_ = h.api.listener.Close()
			h.restStatus = 403
		}, SSH, []string{"rest: permission denied"}, 0, 1, 1},
		"no password":         {func(h *house) { h.opt.Password = nil; h.withKey(h.ssh.t, true) }, SSH, nil, 0, 0, 1},
		"a colon in the user": {func(h *house) { h.opt.User = "a:b"; _ = h.api.listener.Close() }, SSH, []string{"api: unreachable"}, 0, 0, 1},
		"password unreadable": {func(h *house) {
			h.withKey(h.ssh.t, true)
			h.opt.Password = func() (string, error) { return "", errors.New("no file") }
		}, SSH, []string{"cannot get the password"}, 0, 0, 1},
		"password wrong there": {func(h *house) { h.withKey(h.ssh.t, true); h.apiTrap = "invalid user name or password (6)" }, SSH, []string{"refused the user name"}, 1, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			tt.change(h)
			c := dialer(t, h.opt)
			r, err := c.Exchange(t.Context(), att, nil)
			if err != nil {
				t.Fatal(err)
			}
			api, rest, ssh := h.tried()
			if api != tt.api || rest != tt.rest || (ssh > 0) != (tt.sshs > 0) || r.Down.MaxLimit != 95_000_000 {
				t.Errorf("tried %d, %d, %d times", api, rest, ssh)
			}
			if len(h.notes) != 1 || !contains(h.notes[0].Text, "transport "+tt.chosen.String()) {
				t.Fatalf("notes %v", h.notes)
			}
			for _, w := range tt.why {
				if !contains(h.notes[0].Text, w) || h.notes[0].Level != link.Warning {
					t.Errorf("%v does not say %q", h.notes[0], w)
				}
			}
			if contains(h.notes[0].Text, secret) {
				t.Error("the password is in the note")
			}
		})
	}
}

// withKey gives the house an SSH server that takes a key and no password: ours, or another's.
func (h *house) withKey(t *testing.T, ours bool) {
	t.Helper()
	file, public := keyFile(t, newEd25519(t), "", 0o600)
	if !ours {
		public = newKey(t).PublicKey()
	}
	h.ssh = start(t, &server{user: public, handle: say(figures(95_000_000, 18_000_000), 0)})
	h.opt.KeyFile, h.opt.KnownHosts, h.opt.Ports.SSH = file, h.ssh.trust(t, h.ssh.key.PublicKey()), h.ssh.port()
}

// TestAutoDoesNotHammer: a refused password is shown once, at one door, in all calls together.
func TestAutoDoesNotHammer(t *testing.T) {
	for _, refusing := range []string{"api", "rest"} {
		h := newHouse(t)
		if h.apiTrap = "invalid user name or password (6)"; refusing == "rest" {
			_ = h.api.listener.Close()
			h.restStatus = 401
		}
		c := dialer(t, h.opt)
		_, err := c.Exchange(t.Context(), att, nil)
		failure(t, err, Auth, "refused the user name or the password")
		_, err = c.Exchange(t.Context(), att, nil)
		failure(t, err, Auth, "not shown again", "router.password")
		if api, rest, ssh := h.tried(); api+rest != 1 || ssh != 0 || len(h.notes) != 0 {
			t.Errorf("tried %d, %d, %d times; %v", api, rest, ssh, h.notes)
		}
	}
	// With a key, SSH is tried, and the password stays unshown even when the key is refused and the door is lost.
	h := newHouse(t)
	h.apiTrap = "invalid user name or password (6)"
	h.withKey(t, false)
	c := dialer(t, h.opt)
	for range 3 {
		_, err := c.Exchange(t.Context(), att, nil)
		failure(t, err, Auth)
	}
	if api, rest, _ := h.tried(); api != 1 || rest != 0 {
		t.Errorf("tried %d, %d times", api, rest)
	}
	// Without a readable password and without a key nothing is shown anywhere.
	h = newHouse(t)
	h.opt.Password = func() (string, error) { return "", errors.New("no file") }
	_, err := dialer(t, h.opt).Exchange(t.Context(), att, nil)
	failure(t, err, Auth, "no file")
	if api, rest, ssh := h.tried(); api+rest != 0 || ssh != 0 {
		t.Errorf("tried %d, %d, %d times", api, rest, ssh)
	}
}

// A certificate that is not the pinned one ends the search: it is not walked around.
func TestAutoStopsAtAChangedPin(t *testing.T) {
	h := newHouse(t)
	h.opt.Pin = goodIdentity(t).pin
	c := dialer(t, h.opt)
	_, err := c.Exchange(t.Context(), att, nil)
	failure(t, err, Certificate, "not the pinned one")
	if api, rest, ssh := h.tried(); api+rest != 0 || ssh != 0 {
		t.Errorf("tried %d, %d, %d times", api, rest, ssh)
	}
	if got, err := c.Fingerprint(t.Context()); err != nil || !strings.HasPrefix(got, "sha256:") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAutoSticks: the chosen door is kept until it is lost for good; then the search begins anew.
func TestAutoSticks(t *testing.T) {
	h := newHouse(t)
	_ = h.api.listener.Close()
	c := dialer(t, h.opt)
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Fatal(err)
	}
	lose := func() {
		gone := c.line.ended()
		h.rest.cut()
		<-gone
	}
	// The better door opens, and the chosen one is lost once: it is kept.
	lose()
	if _, err := c.Exchange(t.Context(), att, nil); err != nil || len(h.notes) != 1 {
		t.Errorf("%v, notes %v", err, h.notes)
	}
	// Lost for good.
	lose()
	_ = h.rest.listener.Close()
	for range lostForGood - 1 {
		_, err := c.Exchange(t.Context(), att, nil)
		failure(t, err, Unreachable)
		if len(h.notes) != 1 {
			t.Errorf("notes %v", h.notes)
		}
	}
	r, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
	if err != nil || !r.Unwritten || len(h.notes) != 2 || !contains(h.notes[1].Text, "transport ssh") {
		t.Errorf("%+v, %v, notes %v", r, err, h.notes)
	}
	// A refusal at the chosen door is no reason to leave it.
	d := c.door.(*autoDoor)
	for _, k := range []Kind{Auth, HostKey, Certificate} {
		for range 2 * lostForGood {
			if !d.keeps(&Error{Kind: k}) {
				t.Errorf("%v was walked around", k)
			}
		}
	}
}

// TestAutoNobodyOpens: the error is the last door's and tells of the others.
func TestAutoNobodyOpens(t *testing.T) {
	h := newHouse(t)
	_ = h.api.listener.Close()
	_ = h.rest.listener.Close()
	_ = h.ssh.listener.Close()
	c := dialer(t, h.opt)
	_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
	e := failure(t, err, Unreachable, "no door of the router opened (api: unreachable", "; rest: unreachable", "router wanctl@127.0.0.1:")
	if e.Sent || e.Command == "" {
		t.Errorf("%#v", e)
	}
}

// Ports that swallow everything cost a share of the time each, and the last door is tried within the call.
func TestAutoShares(t *testing.T) {
	h := newHouse(t)
	silent := serve(t, nil, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	h.opt.Ports.API, h.opt.Ports.REST = silent.port(), silent.port()
	c := dialer(t, h.opt)
	c.door.(*autoDoor).share = 10 * time.Millisecond
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Fatal(err)
	}
	if s := h.notes[0].Text; !contains(s, "api: timeout") || !contains(s, "rest: timeout") || !contains(s, "transport ssh") {
		t.Errorf("notes %v", h.notes)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Transport: API, Host: "192.168.88.1", User: "wanctl", Password: password("x")}
	for name, tt := range map[string]struct {
		change func(*Options)
		says   string // empty: accepted
		addr   string
	}{
		"api":                {func(*Options) {}, "", "wanctl@192.168.88.1:8729"},
		"rest":               {func(o *Options) { o.Transport = REST }, "", "wanctl@192.168.88.1:443"},
		"plain api here":     {func(o *Options) { o.Plain, o.Host = true, "localhost" }, "", "wanctl@localhost:8728"},
		"plain rest here":    {func(o *Options) { o.Transport, o.Plain, o.Host = REST, true, "::1" }, "", "wanctl@[::1]:80"},
		"plain and insecure": {func(o *Options) { o.Plain, o.Insecure = true, true }, "", "wanctl@192.168.88.1:8728"},
		"auto":               {func(o *Options) { o.Transport, o.KnownHosts = Auto, "/dev/null" }, "", "wanctl@192.168.88.1"},
		"another port":       {func(o *Options) { o.Port = 1234 }, "", "wanctl@192.168.88.1:1234"},
		"unknown":            {func(o *Options) { o.Transport = 9 }, "transport 9 is unknown", ""},
		"plain there":        {func(o *Options) { o.Plain = true }, "in clear over the network; use its TLS service (port 8729)", ""},
		"plain rest there":   {func(o *Options) { o.Transport, o.Plain = REST, true }, "(port 443)", ""},
		"plain ssh":          {func(o *Options) { o.Transport, o.Plain = SSH, true }, "never plain", ""},
		"plain auto":         {func(o *Options) { o.Transport, o.Plain = Auto, true }, "never plain", ""},
		"plain with a pin":   {func(o *Options) { o.Plain, o.Insecure, o.Pin = true, true, [32]byte{1} }, "none without TLS", ""},
		"unverified":         {func(o *Options) { o.Unverified = true }, "pin it, or say insecure", ""},
		"no password":        {func(o *Options) { o.Password, o.KeyFile = nil, "/k" }, "api needs a password", ""},
		"colon":              {func(o *Options) { o.Transport, o.User = REST, "a:b" }, "colon", ""},
		"auto without":       {func(o *Options) { o.Transport, o.Password = Auto, nil }, "private key or a password", ""},
		"auto with a port":   {func(o *Options) { o.Transport, o.Port = Auto, 22 }, "name the transport whose port this is", ""},
		"auto's bad port":    {func(o *Options) { o.Transport, o.Ports.REST = Auto, 70000 }, "(rest) is outside", ""},
		"bad key":            {func(o *Options) { o.Transport, o.KeyFile = Auto, filepath.Join(t.TempDir(), "no") }, "prepare login on router wanctl@192.168.88.1", ""},
	} {
		o := good
		tt.change(&o)
		c, err := New(o)
		switch {
		case tt.says == "" && (err != nil || c.String() != tt.addr):
			t.Errorf("%s: %v, %v", name, c, err)
		case tt.says != "" && (err == nil || !contains(err.Error(), tt.says)):
			t.Errorf("%s: %v does not say %q", name, err, tt.says)
		}
	}
	for tr, want := range map[Transport]string{SSH: "ssh", API: "api", REST: "rest", Auto: "auto", 9: "Transport(9)"} {
		if tr.String() != want {
			t.Errorf("%d is called %s", tr, tr)
		}
	}
	if Auto.port(false) != 0 || SSH.service(false) != "ssh" || Auto.policies() != "read,write,ssh" {
		t.Error("a door without a service has one")
	}
}
