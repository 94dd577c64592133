package score

import (
	"fmt"
	"text/template"
)

// trackingPolicies are wanctl's policy that tracks capacity, in its profiles, by round trips and by one-way delays. Its
// limits are what anybody would write down: no less than 10 % and no more than 120 % of what the line is sold as.
func trackingPolicies() []Policy {
	made := func(name, about, profile string, oneWay, extra bool) Policy {
		return Policy{Name: name, About: about, Extra: extra, lines: func(s *stage) ([]Line, error) {
			lines, err := loops(trackingFile(profile))(s)
			for i := range lines {
				lines[i].OneWay = oneWay
			}
			return lines, err
		}}
	}
	return []Policy{
		made("tracking", "wanctl's policy that tracks capacity, by round trips", "balanced", false, false),
		made("tracking-owd", "the same by one-way delays", "balanced", true, false),
		made("tracking-latency", "its profile latency", "latency", false, true),
		made("tracking-throughput", "its profile throughput", "throughput", false, false),
		made("tracking-throughput-owd", "the same by one-way delays", "throughput", true, true),
	}
}

func trackingFile(profile string) *template.Template {
	return fileOf(fmt.Sprintf(`wan_name: {{.Name}}
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring:
  policy: tracking
  profile: %s
  interval_ms: 500
  download: {min_mbps: {{percent 10 .Down}}, max_mbps: {{percent 120 .Down}}}
  upload: {min_mbps: {{percent 10 .Up}}, max_mbps: {{percent 120 .Up}}}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5]
lock_file: /run/bench.lock
state_file: /run/bench_state.json
feed_file: /run/bench_feed.json
`, profile))
}
