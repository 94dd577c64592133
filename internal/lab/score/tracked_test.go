package score

import (
	"fmt"
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What the policy that tracks capacity promises, on the simulated network: at most this delay, in ms at the 95th percentile,
// and at least this share, in percent. The figures themselves are in docs/measurements.md; the bounds leave them room.
func TestTrackingKeepsItsPromises(t *testing.T) {
	for _, c := range []struct {
		scenario, policy, link, dir string
		p95                         unit.Millis
		share                       float64
	}{
		{"drop", "tracking", "wan1", "download", 14, 94},
		{"drop", "tracking", "wan2", "upload", 15, 95},
		{"drop", "tracking-owd", "wan1", "download", 14, 94},
		{"drop", "tracking-owd", "wan2", "upload", 15, 95},
		{"drop30", "tracking", "wan1", "download", 15, 92},
		{"drop70", "tracking", "wan1", "download", 14, 95},
		{"square", "tracking", "wan1", "download", 18, 89},
		{"full", "tracking", "wan2", "download", 11, 86},
		{"full", "tracking", "wan2", "upload", 11, 94},
		{"full-drop", "tracking", "wan1", "download", 11, 92},
		{"full-drop", "tracking", "wan2", "download", 12, 88},
		{"full-drop", "tracking", "wan2", "upload", 13, 94},
		// 68 ms that no shaper takes away, and a path that becomes 40 ms longer under load.
		{"loaded-floor", "tracking", "wan1", "upload", 85, 90},
		{"path-change", "tracking", "wan1", "download", 15, 88},
		{"blackout", "tracking", "wan1", "download", 14, 88},
	} {
		b := bench(t, []string{c.scenario}, []string{c.policy}, BenchOptions{Delay: time.Millisecond})
		found := false
		for _, r := range b.Rows {
			if r.Link != c.link || r.Dir != c.dir {
				continue
			}
			found = true
			if r.P95 > c.p95 || 100*r.Share < c.share {
				t.Errorf("%s, %s %s under %s: p95 %.1f ms at %.1f %%, want at most %.0f ms at %.0f %%",
					c.scenario, c.link, c.dir, c.policy, r.P95, 100*r.Share, c.p95, c.share)
			}
		}
		if !found {
			t.Errorf("%s has no row for %s %s", c.scenario, c.link, c.dir)
		}
	}
}

// Without any limit the line starts unshaped, finds what it carries, and a stop leaves that.
func TestTrackingWithoutLimits(t *testing.T) {
	c, err := shipped("drop")
	if err != nil {
		t.Fatal(err)
	}
	story, err := Story(c.Scenario)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{lines: linesOf(c.Scenario)}
	lines, err := loops(fileOf(`wan_name: {{.Name}}
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring: {policy: tracking, ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5]}
lock_file: /run/bench.lock
state_file: /run/bench_state.json
feed_file: /run/bench_feed.json
`))(s)
	if err != nil {
		t.Fatal(err)
	}
	run, err := New(Setup{Scenario: story, Lines: lines, Latency: 2 * time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := run.lines[0].wan.ExitRates(); r != (link.Rates{}) {
		t.Errorf("a stop before anything is known leaves %v, want the queues left alone", r)
	}
	run.net.Run(netsim.Epoch.Add(19 * time.Second))
	for i, want := range []struct {
		dir      link.Direction
		capacity unit.Rate
	}{{link.Down, 40 * unit.Mbps}, {link.Up, 16 * unit.Mbps}} {
		r := run.lines[i].wan.ExitRates().Get(want.dir)
		if r < want.capacity.Scale(900_000) || r > want.capacity.Scale(1_100_000) {
			t.Errorf("%s: a stop leaves %v on a line of %v", fmt.Sprint(want.dir), r, want.capacity)
		}
	}
}
