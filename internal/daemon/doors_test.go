package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
)

// routedWAN is a line whose router section is this.
func routedWAN(t *testing.T, section string) *config.WAN {
	t.Helper()
	return linuxWAN(t, "router: {transport: linux}", "router: {"+section+"}", "interfaces: {download: ifb4wan, upload: wan}", "queues: {download: D, upload: U}")
}

// Each door has its own raises per second, and the client gets what the configuration says of trust.
func TestDoors(t *testing.T) {
	const pin = "tls_pin: 'sha256:0100000000000000000000000000000000000000000000000000000000000000'"
	for name, tt := range map[string]struct {
		section string
		burst   int
		want    routeros.Options
	}{
		"ssh":   {"host: h, user: u, ssh_key: /k, known_hosts: /n", 2, routeros.Options{Port: 22, KeyFile: "/k", KnownHosts: "/n"}},
		"api":   {"host: h, user: u, password: p, transport: api, " + pin, 5, routeros.Options{Transport: routeros.API, Port: 8729, Pin: [32]byte{1}}},
		"rest":  {"host: h, user: u, password: p, transport: rest, verify_ssl: false, insecure: true", 5, routeros.Options{Transport: routeros.REST, Port: 443, Unverified: true, Insecure: true}},
		"plain": {"host: 127.0.0.1, user: u, password: p, transport: api, port: 8728", 5, routeros.Options{Transport: routeros.API, Host: "127.0.0.1", Port: 8728, Plain: true}},
		"auto":  {"host: h, user: u, password: p, transport: auto", 2, routeros.Options{Transport: routeros.Auto}}, // it may end at ssh
	} {
		t.Run(name, func(t *testing.T) {
			c := routedWAN(t, tt.section)
			if a := WANOptionsOf(c, false).Actuate; a.Burst != tt.burst || a.Daily != flashBudget {
				t.Errorf("%d a second, %d a day", a.Burst, a.Daily)
			}
			var out bytes.Buffer
			log := &Log{Logger: slog.New(slog.NewTextHandler(&out, nil))}
			got := clientOptions(c.Router, c.Timeouts, HostClock{}, log)
			got.Log(link.Note{Level: link.Warning, Key: "router_door", Text: "by another door"})
			if !strings.Contains(out.String(), "by another door") {
				t.Errorf("the log says %q", &out)
			}
			if (got.Password != nil) != (name != "ssh") || got.Now == nil || got.Timeout != c.Timeouts.Router || got.User != "u" {
				t.Errorf("%+v", got)
			}
			if tt.want.Host == "" {
				tt.want.Host = "h"
			}
			tt.want.User, tt.want.Timeout = "u", c.Timeouts.Router
			got.Password, got.Now, got.Log = nil, nil, nil
			if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", tt.want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
			if name == "ssh" {
				return // there is no such key
			}
			hand, err := DialShaper(c, HostClock{})
			if err != nil {
				t.Fatal(err)
			}
			_ = hand.Close()
		})
	}
}

// A certificate is a router's identity as a host key is: nobody tries again until a person has looked.
func TestARefusedCertificateIsFinal(t *testing.T) {
	for _, k := range []routeros.Kind{routeros.Certificate, routeros.HostKey, routeros.Auth} {
		e := &routeros.Error{Kind: k, Err: fmt.Errorf("moo")}
		if class, sent := classify(e); class != actuate.Fatal || sent || answered(e) {
			t.Errorf("%v is %v, sent %t", k, class, sent)
		}
	}
}
