package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/reflector"
)

// Under policy tracking all named hosts are candidates, each of its own operator; without any, wanctl's own.
func TestCandidates(t *testing.T) {
	for _, tt := range []struct {
		hosts string
		want  []reflector.Candidate
		use   int
	}{
		{"", reflector.DefaultReflectors(), 5},
		{"ping_hosts: [192.0.2.1, 192.0.2.2]", []reflector.Candidate{
			{Name: "192.0.2.1", Operator: "192.0.2.1"}, {Name: "192.0.2.2", Operator: "192.0.2.2"},
		}, 2},
		{"ping_hosts: [a.example, b.example, c.example, d.example, e.example, f.example, g.example]", nil, 5},
	} {
		f, ds := Parse("line.yaml", strings.NewReader(`wan_name: line
router: {transport: linux}
interfaces: {download: ifb0, upload: eth0}
continuous_monitoring: {policy: tracking, `+tt.hosts+`}
`), Options{})
		if err := ds.Err(); err != nil {
			t.Fatal(err)
		}
		w := f.WAN
		if d := cmp.Diff(tt.want, w.Candidates(), cmp.Comparer(func(a, b reflector.Candidate) bool { return a == b })); tt.want != nil && d != "" {
			t.Errorf("%q (-want +got):\n%s", tt.hosts, d)
		}
		if w.Tracking.Hosts != tt.use || len(w.Reflectors()) != len(w.Candidates()) {
			t.Errorf("%q: %d in use, %d probed, %d candidates", tt.hosts, w.Tracking.Hosts, len(w.Reflectors()), len(w.Candidates()))
		}
		for i, name := range w.Reflectors() {
			if name != w.Candidates()[i].String() {
				t.Errorf("%q: %d is called %q and %q", tt.hosts, i, name, w.Candidates()[i])
			}
		}
	}
}
