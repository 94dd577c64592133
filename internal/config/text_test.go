package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/configs"
)

// The text of a configuration reads as the configuration did, and holds no secret and nothing that is not used.
func TestTextReadsTheSame(t *testing.T) {
	const own = `# the old password was hunter3
wan_name: Spectrum
router: {host: 10.0.0.1, user: wanctl, password: hunter2, known_hosts: "/etc/a \"b\": c"}
queues: {download: D-1, upload: U}
alerting: {webhook_url: https://example.com/hunter4}
continuous_monitoring:
  baseline_rtt_initial: 24.125
  policy: tracking
  one_way: off
  download: {min_mbps: 0.3, max_mbps: 940}
  thresholds: {hard_red_bloat_ms: 90, accel_threshold_ms: 120}
  profile: latency
  ping_hosts: [1.1.1.1, "2001:db8::1", dns.example.com]
ping_fwmark: 0x10
journal: {dir: /var/lib/wanctl/journal, keep_segments: 3}
`
	texts := map[string]string{"own.yaml": own}
	entries, err := configs.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if b, err := configs.Files.ReadFile(e.Name()); err == nil && strings.HasSuffix(e.Name(), ".yaml") {
			texts[e.Name()] = string(b)
		}
	}
	seen := 0
	for name, text := range texts {
		f, ds := Parse(name, strings.NewReader(text), Options{})
		if err := ds.Err(); err != nil {
			t.Fatal(err)
		}
		if f.WAN == nil {
			continue
		}
		seen++
		again, ds := Parse(name, strings.NewReader(f.WAN.Text), Options{})
		if err := ds.Err(); err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, f.WAN.Text)
		}
		same := cmp.Options{cmpopts.IgnoreFields(Router{}, "Password"), cmpopts.EquateComparable(f.WAN.Probe.Source)}
		if d := cmp.Diff(f.WAN, again.WAN, same); d != "" {
			t.Errorf("%s (-file +text):\n%s", name, d)
		}
		for _, bad := range []string{"hunter", "alerting", "accel", "#"} {
			if strings.Contains(f.WAN.Text, bad) {
				t.Errorf("%s: the text holds %q:\n%s", name, bad, f.WAN.Text)
			}
		}
	}
	if seen < 3 {
		t.Errorf("only %d files were read", seen)
	}
	f, _ := Parse("own.yaml", strings.NewReader(own), Options{})
	if want := (Journal{Dir: "/var/lib/wanctl/journal", Segment: 8_000_000, Keep: 3}); f.WAN.Journal != want {
		t.Errorf("the journal is %+v, want %+v", f.WAN.Journal, want)
	}
}
