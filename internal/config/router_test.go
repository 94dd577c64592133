package config

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// routed puts a router section into a config that is otherwise right.
func routed(section string) string {
	return strings.Replace(legacy, "router: {host: 192.168.88.1, user: wanctl, ssh_key: /etc/wanctl/router.key}", "router: {"+section+"}", 1)
}

const login = `user: wanctl, password: "${P}", `

var somePin = [32]byte{0: 0xab, 15: 0xcd, 31: 0xef}

func TestTransports(t *testing.T) {
	pinHex := "sha256:" + hex.EncodeToString(somePin[:])
	for name, c := range map[string]struct {
		section string
		want    Router
		warns   []string
	}{
		"rest":         {"host: 192.168.88.1, " + login + "transport: rest", Router{Transport: "rest", Port: 443, VerifySSL: true}, nil},
		"api":          {"host: 192.168.88.1, " + login + "transport: api", Router{Transport: "api", Port: 8729, VerifySSL: true}, nil},
		"another port": {"host: 192.168.88.1, " + login + "transport: rest, port: 8080", Router{Transport: "rest", Port: 8080, VerifySSL: true}, nil},
		"pinned": {
			"host: 192.168.88.1, " + login + "transport: api, verify_ssl: false, tls_pin: '" + pinHex + "'",
			Router{Transport: "api", Port: 8729, TLSPin: somePin},
			nil,
		},
		"auto": {
			"host: 192.168.88.1, " + login + "transport: auto, ssh_key: /k", Router{Transport: "auto", VerifySSL: true, KeyFile: "/k"}, nil,
		},
		"auto with a key alone": {
			"host: 192.168.88.1, user: wanctl, ssh_key: /k, transport: auto",
			Router{Transport: "auto", VerifySSL: true, KeyFile: "/k"},
			[]string{"auto without a password can use ssh alone"},
		},
		"plain here": {"host: 127.0.0.1, " + login + "transport: api, port: 8728", Router{Host: "127.0.0.1", Transport: "api", Port: 8728, VerifySSL: true, Plain: true}, nil},
		"plain there": {
			"host: 192.168.88.1, " + login + "transport: rest, port: 80, insecure: true",
			Router{Transport: "rest", Port: 80, VerifySSL: true, Plain: true, Insecure: true},
			[]string{"80 is rest without TLS"},
		},
		"unverified": {
			"host: 192.168.88.1, " + login + "transport: rest, verify_ssl: false, insecure: true",
			Router{Transport: "rest", Port: 443, Insecure: true},
			[]string{"the password goes to whoever answers"},
		},
		"insecure for nothing": {
			"host: 192.168.88.1, " + login + "transport: api, insecure: true",
			Router{Transport: "api", Port: 8729, VerifySSL: true, Insecure: true},
			[]string{"router.insecure: has no effect: the certificate is verified or pinned all the same"},
		},
		"rest on api's port": {
			"host: 192.168.88.1, " + login + "transport: rest, port: 8728",
			Router{Transport: "rest", Port: 8728, VerifySSL: true},
			[]string{"8728 is the port of another service of the router, rest usually has 443"},
		},
		"api on ssh's port, with ssh's keys": {
			"host: 192.168.88.1, " + login + "transport: api, port: 22, ssh_key: /k, known_hosts: /h",
			Router{Transport: "api", Port: 22, VerifySSL: true, KeyFile: "/k", KnownHosts: "/h"},
			[]string{"22 is the port of another service", "router.ssh_key: has no effect on api", "router.known_hosts: has no effect on api"},
		},
		"ssh with a pin": {
			"host: 192.168.88.1, user: wanctl, ssh_key: /k, tls_pin: '" + pinHex + "'",
			Router{Transport: "ssh", Port: 22, VerifySSL: true, KeyFile: "/k", TLSPin: somePin},
			[]string{"router.tls_pin: has no effect on ssh"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, ds := Parse("line.yaml", strings.NewReader(routed(c.section)), Options{})
			if f == nil {
				t.Fatalf("refused:\n%v", ds)
			}
			got := f.WAN.Router
			if c.want.User = "wanctl"; c.want.Host == "" {
				c.want.Host = "192.168.88.1"
			}
			got.Password = Secret{}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if len(ds) != len(c.warns) {
				t.Errorf("%d findings:\n%v", len(ds), ds)
			}
			for _, w := range c.warns {
				if !strings.Contains(ds.String(), w) {
					t.Errorf("it does not say %q:\n%v", w, ds)
				}
			}
		})
	}
}

func TestTransportsRefused(t *testing.T) {
	pin := "sha256:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct{ section, want string }{
		"no password":          {"host: h, user: u, ssh_key: /k, transport: rest", "router.password: is required for rest, which has no keys"},
		"nothing for auto":     {"host: h, user: u, transport: auto", "router.ssh_key: is required for ssh without a password"},
		"no host":              {login + "transport: api", "router.host: is required"},
		"port of auto":         {"host: h, " + login + "transport: auto, port: 443", "router.port: has no meaning with transport auto"},
		"plain over the net":   {"host: h, " + login + "transport: api, port: 8728", "the password would cross the network in clear (remove the key"},
		"unverified":           {"host: h, " + login + "transport: api, verify_ssl: false", "the password would go to whoever answers (pin the router's certificate (tls_pin), or set insecure: true"},
		"auto unverified":      {"host: h, " + login + "transport: auto, verify_ssl: false", "false takes any certificate"},
		"pin of a plain port":  {"host: h, " + login + "transport: rest, port: 80, insecure: true, tls_pin: '" + pin + "'", "pins a certificate, and port 80 has none"},
		"colon":                {`host: h, user: "a:b", password: "${P}", transport: rest`, "router.user: holds a colon"},
		"pin without a prefix": {"host: h, " + login + "transport: rest, tls_pin: '" + pin[7:] + "'", "router.tls_pin: does not begin with sha256 and a colon"},
		"short pin":            {"host: h, " + login + "transport: rest, tls_pin: 'sha256:abcd'", "is not a SHA-256 in hexadecimal or base64"},
	} {
		f, ds := Parse("line.yaml", strings.NewReader(routed(c.section)), Options{})
		if f != nil || !strings.Contains(ds.String(), c.want) {
			t.Errorf("%s: accepted %t, the findings do not tell %q:\n%v", name, f != nil, c.want, ds)
		}
	}
}

func TestPins(t *testing.T) {
	plain := hex.EncodeToString(somePin[:])
	var colons []string
	for _, b := range somePin {
		colons = append(colons, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	for _, s := range []string{
		plain, strings.ToUpper(plain), strings.Join(colons, ":"),
		base64.StdEncoding.EncodeToString(somePin[:]), base64.RawStdEncoding.EncodeToString(somePin[:]),
	} {
		if got, err := parsePin("sha256:" + s); err != nil || got != somePin {
			t.Errorf("%s: %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "sha256:", "sha1:" + plain, "sha256:" + plain + "00", "sha256:" + plain[2:], "sha256:" + strings.Repeat("00", 32), "sha256://" + plain} {
		if _, err := parsePin(s); err == nil {
			t.Errorf("%q passed for a pin", s)
		}
	}
}

// A heartbeat has to know what the router shall go back to.
func TestHeartbeat(t *testing.T) {
	const here = "host: 192.168.88.1, user: wanctl, ssh_key: /k, heartbeat: true"
	f, ds := Parse("line.yaml", strings.NewReader(routed(here)), Options{})
	if f == nil || !f.WAN.Router.Heartbeat || strings.Contains(ds.String(), "heartbeat") {
		t.Errorf("%v", ds)
	}
	for text, want := range map[string]string{
		strings.Replace(routed(here), "continuous_monitoring:", "continuous_monitoring:\n  on_exit: last", 1):                    "whatever on_exit says",
		"wan_name: Cable\nrouter: {" + here + "}\nqueues: {download: D, upload: U}\ncontinuous_monitoring: {policy: tracking}\n": "give base_mbps",
	} {
		if _, ds := Parse("line.yaml", strings.NewReader(text), Options{}); !strings.Contains(ds.String(), want) {
			t.Errorf("it does not say %q: %v", want, ds)
		}
	}
}
