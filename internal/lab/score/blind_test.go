package score

import (
	"testing"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/unit"
)

// blindly plays a shipped scenario whose provider lets echoes pass its queues.
func blindly(t *testing.T, name string, data, blind bool) (rows []Row) {
	t.Helper()
	c, err := shipped(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Scenario.Links {
		c.Scenario.Links[i].ICMP = scenario.ICMPFirst
	}
	p := Policy{Name: "tracking", lines: func(s *stage) ([]Line, error) {
		lines, err := loops(trackingFile("balanced"))(s)
		for i := range lines {
			lines[i].Data, lines[i].Blind = data, blind
		}
		return lines, err
	}}
	rows, err = runCase(&c, &p, &BenchOptions{Seed: 1, Delay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// A provider that lets echoes pass its queues: told by echoes alone, seconds of queue stand and nothing is seen of them. Told
// that they are blind, and given three probes a second that look like data, the law holds the queue as it does elsewhere.
func TestEchoesThatPassTheQueue(t *testing.T) {
	for _, c := range []struct {
		name, link, dir string
		p95             unit.Millis
		share           float64
	}{
		{"drop", "wan1", "download", 35, 90},
		{"drop", "wan2", "upload", 60, 83},
		{"square", "wan1", "download", 40, 86},
		{"full", "wan1", "download", 15, 80},
		{"full", "wan2", "upload", 25, 88},
		{"full-drop", "wan1", "download", 15, 92},
	} {
		for _, told := range []bool{false, true} {
			for _, r := range blindly(t, c.name, told, told) {
				if r.Link != c.link || r.Dir != c.dir {
					continue
				}
				t.Logf("%s, %s %s, told %v: p95 %.1f ms at %.1f %%", c.name, r.Link, r.Dir, told, r.P95, 100*r.Share)
				switch held := r.P95 <= c.p95 && 100*r.Share >= c.share; {
				case told && !held:
					t.Errorf("%s, %s %s: p95 %.1f ms at %.1f %%, want at most %.0f ms at %.0f %%", c.name, r.Link, r.Dir, r.P95, 100*r.Share, c.p95, c.share)
				case !told && held:
					t.Errorf("%s, %s %s: it is held without being told (p95 %.1f ms at %.1f %%): this proves nothing", c.name, r.Link, r.Dir, r.P95, 100*r.Share)
				}
			}
		}
	}
}
