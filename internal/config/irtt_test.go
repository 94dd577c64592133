package config

import (
	"slices"
	"strings"
	"testing"
)

const trackingLine = `wan_name: line
router: {transport: linux}
interfaces: {download: ifb0, upload: eth0}
continuous_monitoring:
  policy: tracking
  ping_hosts: [192.0.2.1, 192.0.2.2]
`

// A server may be named with its port or without, and its host counts beside the reflectors.
func TestIRTT(t *testing.T) {
	for _, tt := range []struct {
		server, host string
		port         int
		name         string
	}{
		{"stamps.example", "stamps.example", 2112, "irtt://stamps.example:2112"},
		{"stamps.example:4000", "stamps.example", 4000, "irtt://stamps.example:4000"},
		{"192.0.2.9:1", "192.0.2.9", 1, "irtt://192.0.2.9:1"},
		{"2001:db8::9", "2001:db8::9", 2112, "irtt://[2001:db8::9]:2112"},
		{"[2001:db8::9]", "2001:db8::9", 2112, "irtt://[2001:db8::9]:2112"},
		{"[2001:db8::9]:65535", "2001:db8::9", 65535, "irtt://[2001:db8::9]:65535"},
	} {
		f, ds := Parse("line.yaml", strings.NewReader(trackingLine+"  irtt: {server: \""+tt.server+"\", hmac_key: \"${KEY}\"}\n"),
			Options{Env: func(string) (string, bool) { return "s3cret", true }})
		if err := ds.Err(); err != nil {
			t.Errorf("%s: %v", tt.server, err)
			continue
		}
		w := f.WAN
		key, err := w.IRTT.Key.Resolve()
		if w.IRTT.Host != tt.host || w.IRTT.Port != tt.port || err != nil || key != "s3cret" {
			t.Errorf("%s: %+v, %v", tt.server, w.IRTT, err)
		}
		if want := []string{"192.0.2.1", "192.0.2.2", tt.name}; !slices.Equal(w.Hosts(), want) || len(w.Reflectors()) != 2 || w.Tracking.Hosts != 3 {
			t.Errorf("%s: hosts %q, reflectors %q, %d voices", tt.server, w.Hosts(), w.Reflectors(), w.Tracking.Hosts)
		}
		if strings.Contains(w.Text, "KEY") || !strings.Contains(w.Text, "[secret]") {
			t.Errorf("%s: the text is\n%s", tt.server, w.Text)
		}
		if !w.TCPCheck || w.TCPPort != 443 {
			t.Errorf("TCP is checked: %v, on port %d", w.TCPCheck, w.TCPPort)
		}
	}
	f, ds := Parse("line.yaml", strings.NewReader(trackingLine+"  tcp_check: false\n  tcp_check_port: 853\n"), Options{})
	if w := f.WAN; ds.Err() != nil || w.TCPCheck || w.TCPPort != 853 || w.IRTT.Host != "" || w.IRTT.Key.IsSet() || len(w.Hosts()) != 2 {
		t.Errorf("%+v, %v", w, ds)
	}
}

func TestIRTTErrors(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"  irtt: {server: \"a.example:0\"}", `line.yaml:7:18: error: continuous_monitoring.irtt.server: "a.example:0" has no port that is one`},
		{"  irtt: {server: \"a.example:70000\"}", `"a.example:70000" has no port that is one`},
		{"  irtt: {server: \"a.example:\"}", `"a.example:" has no port that is one`},
		{"  irtt: {server: \"[2001:db8::9]:x\"}", `"[2001:db8::9]:x" has no port that is one`},
		{"  irtt: {server: \"http://a.example/\"}", `"http://a.example/" has no port that is one`},
		{"  irtt: {server: \"a b\"}", `"a b" is not a host`},
		{"  irtt: {hmac_key: \"${KEY}\"}", `line.yaml:7:3: error: continuous_monitoring.irtt.server: is required`},
		{"  irtt: {server: a.example, hmac_key: \"${no name}\"}", `irtt.hmac_key: ${…} does not hold the name`},
		{"  irtt: a.example", `found the text "a.example", want a section of keys`},
		{"  irtt: {serve: a.example}", `did you mean "server"?`},
		{"  tcp_check_port: 0", `0 is outside 1 to 65535`},
	} {
		_, ds := Parse("line.yaml", strings.NewReader(trackingLine+tt.yaml+"\n"), Options{})
		if err := ds.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n%v, want %q", tt.yaml, err, tt.want)
		}
	}
	// Under steps none of it means anything.
	steps := strings.Replace(trackingLine, "policy: tracking", "policy: steps", 1) +
		"  download: {floor_mbps: 1, ceiling_mbps: 2}\n  upload: {floor_mbps: 1, ceiling_mbps: 2}\n  thresholds: {target_bloat_ms: 15, warn_bloat_ms: 45}\n" +
		"  irtt: {server: a.example}\n  tcp_check: true\n"
	f, ds := Parse("line.yaml", strings.NewReader(steps), Options{})
	if ds.Err() != nil || f.WAN.IRTT.Host != "" || f.WAN.TCPCheck {
		t.Errorf("%+v, %v", f, ds)
	}
	for _, key := range []string{"irtt.server", "tcp_check"} {
		if !slices.ContainsFunc(ds.Warnings(), func(d Diagnostic) bool {
			return d.Key == "continuous_monitoring."+key && strings.Contains(d.Message, "no effect under policy steps")
		}) {
			t.Errorf("%s: no warning among %v", key, ds)
		}
	}
}
