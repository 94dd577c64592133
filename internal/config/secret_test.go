package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

func lend(env, files map[string]string) Options {
	return Options{
		Env: func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		ReadFile: func(n string) ([]byte, error) {
			if v, ok := files[n]; ok {
				return []byte(v), nil
			}
			return nil, fs.ErrNotExist
		},
	}
}

// password parses a config with the given router.password.
func password(t *testing.T, value string, opt Options) Secret {
	t.Helper()
	text := strings.Replace(legacy, "ssh_key: /etc/wanctl/router.key", "password: "+value, 1)
	return mustParse(t, "line.yaml", text, opt).WAN.Router.Password
}

func TestSecretResolve(t *testing.T) {
	opt := lend(
		map[string]string{"PW": "from env", "EMPTY": ""},
		map[string]string{"/pw": "from file\r\n", "/empty": "\n", "/big": strings.Repeat("x", MaxSecret+1), "/two": "a\nb\n"},
	)
	for _, c := range []struct{ value, want, source, fails string }{
		{`"${PW}"`, "from env", "environment variable PW", ""},
		{`file:/pw`, "from file", "file /pw", ""},
		{`file:/two`, "a\nb", "file /two", ""},
		{`plain words`, "plain words", "the config file", ""},
		{`"${EMPTY}"`, "", "environment variable EMPTY", "not set or empty"},
		{`"${MISSING}"`, "", "environment variable MISSING", "not set or empty"},
		{`file:/missing`, "", "file /missing", "file does not exist"},
		{`file:/empty`, "", "file /empty", "is empty"},
		{`file:/big`, "", "file /big", "more than 65536"},
	} {
		s := password(t, c.value, opt)
		got, err := s.Resolve()
		if got != c.want || s.Source() != c.source || !s.IsSet() {
			t.Errorf("%s: got %q from %s, want %q from %s", c.value, got, s.Source(), c.want, c.source)
		}
		if (err == nil) != (c.fails == "") || (err != nil && !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: error %v, want %q", c.value, err, c.fails)
		}
	}
}

// TestSecretIsLate resolves when asked, not when parsed: a password may change under a running service.
func TestSecretIsLate(t *testing.T) {
	env := map[string]string{}
	s := password(t, `"${PW}"`, lend(env, nil))
	if _, err := s.Resolve(); err == nil {
		t.Fatal("resolved what is not there")
	}
	env["PW"] = "later"
	if v, err := s.Resolve(); v != "later" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestSecretWithoutLender(t *testing.T) {
	for _, value := range []string{`"${PW}"`, "file:/pw"} {
		if _, err := password(t, value, Options{}).Resolve(); err == nil {
			t.Errorf("%s: resolved from nowhere", value)
		}
	}
	var zero Secret
	if _, err := zero.Resolve(); err == nil || zero.IsSet() || zero.Source() != "not set" {
		t.Error("the zero secret is set")
	}
	odd := Secret{kind: 99}
	if _, err := odd.Resolve(); err == nil || odd.Source() != "unknown" {
		t.Error("a secret of no kind resolved")
	}
}

// TestSecretHides tries every way a value could be printed by.
func TestSecretHides(t *testing.T) {
	s := password(t, "hunter2", Options{})
	if !s.Literal() || s.File() != "" {
		t.Error("want a literal")
	}
	w := &WAN{Router: Router{Password: s}}
	j, err := json.Marshal(map[string]any{"s": s, "w": w, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", w.Router, w.Router, w.Router), fmt.Sprintf("%+v", []Secret{s}), string(j), string(text),
		fmt.Errorf("with %v: %w", s, errors.New("x")).Error(),
	} {
		if strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) || !strings.Contains(got, hidden) {
			t.Errorf("printed %q", got)
		}
	}
}

func TestSecretEqual(t *testing.T) {
	a, b := password(t, "file:/a", Options{}), password(t, "file:/a", Options{})
	if !a.Equal(b) || a.Equal(password(t, "file:/b", Options{})) || a.Equal(Secret{}) || a.File() != "/a" {
		t.Error("equality is by place")
	}
}

func TestNewSecretRefuses(t *testing.T) {
	for _, s := range []string{"", "${", "${}", "${1A}", "${A B}", "${A", "file:", "file:a"} {
		if _, err := newSecret(s, nil); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// The service manager's copies are read in the place of the files a config names.
func TestCredentials(t *testing.T) {
	opt := lend(nil, map[string]string{"/run/credentials/pw": "s3cret"})
	opt.Credential = func(path string) string { return "/run/credentials/" + path[strings.LastIndex(path, "/")+1:] }
	s := password(t, "file:/etc/wanctl/secrets/pw", opt)
	if got, err := s.Resolve(); got != "s3cret" || err != nil {
		t.Errorf("the password is %q, %v", got, err)
	}
	if got := mustParse(t, "line.yaml", legacy, opt).WAN.Router.KeyFile; got != "/run/credentials/router.key" {
		t.Errorf("the key is %s", got)
	}
	text := strings.Replace(legacy, "ssh_key: /etc/wanctl/router.key", "ssh_key: /etc/wanctl/router.key, known_hosts: /etc/wanctl/known_hosts", 1)
	if got := mustParse(t, "line.yaml", text, opt).WAN.Router.KnownHosts; got != "/run/credentials/known_hosts" {
		t.Errorf("the hosts' keys are %s", got)
	}
	opt = lend(nil, nil)
	opt.Credential = func(path string) string { t.Errorf("asked for %q", path); return path }
	password(t, `"${PW}"`, opt)
}
