package score

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestAStoryIsTheScenarios(t *testing.T) {
	s, err := scenario.Builtin("drop", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := Story(s)
	if err != nil {
		t.Fatal(err)
	}
	want := netsim.LinkSpec{
		Name: "wan2",
		Down: netsim.PathSpec{Capacity: netsim.Constant(85 * unit.Mbps), Delay: 14 * time.Millisecond, FIFO: 2_125_000},
		Up: netsim.PathSpec{
			Capacity: netsim.Steps(0, netsim.Point{Rate: 16 * unit.Mbps}, netsim.Point{At: 20 * time.Second, Rate: 8 * unit.Mbps},
				netsim.Point{At: 40 * time.Second, Rate: 16 * unit.Mbps}),
			Delay: 14 * time.Millisecond, FIFO: 400_000,
		},
	}
	if diff := cmp.Diff(want, n.Links[1], cmp.AllowUnexported(netsim.Capacity{})); diff != "" {
		t.Errorf("line 2 (-want +got):\n%s", diff)
	}
	flow := netsim.Flow{Kind: netsim.Bulk, Link: 1, Dir: link.Up, Count: 4, Start: 5 * time.Second, Stop: 59 * time.Second}
	if diff := cmp.Diff(flow, n.Flows[1]); diff != "" {
		t.Errorf("flow 2 (-want +got):\n%s", diff)
	}
	if len(n.Hosts) != 5 || n.Hosts[4].Offset != 15*time.Millisecond {
		t.Errorf("reflectors are %+v", n.Hosts)
	}
}

// What cannot be told is refused, not left out.
func TestAStoryRefusesWhatTheSimulatorLacks(t *testing.T) {
	told, refused := 0, map[string]string{
		"loaded-floor": "loaded radio", "router-reboot": "router-reboot", "controller-killed": "kill-controller",
		"qdisc-gone": "qdisc-gone", "reflector-lies": "counts what it answers",
	}
	for _, name := range scenario.Names() {
		s, err := scenario.Builtin(name, scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Story(s)
		switch want, ok := refused[name]; {
		case ok && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		case !ok && err != nil:
			t.Error(err)
		case !ok:
			told++
		}
	}
	if told < 15 {
		t.Errorf("only %d scenarios can be told", told)
	}
}

func TestAReflectorsChangesAreEvents(t *testing.T) {
	s, err := scenario.Parse("x", strings.NewReader(`
links: [{name: a, down: 20, up: 5}]
flows: [{dir: down, from: 1s, to: 9s}]
duration: 10s
reflectors:
  - {extra: 4ms, changes: [{at: 2s, extra: 30ms}, {at: 4s, dead: true}, {at: 6s, dead: false, extra: 4ms}]}
faults: [{at: 7s, kind: link-down, for: 1s}]
`), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := Story(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []netsim.Event{
		{Kind: netsim.HostSlow, At: 2 * time.Second, For: 2 * time.Second, Link: netsim.AnyLink, Delay: 26 * time.Millisecond},
		{Kind: netsim.HostDead, At: 4 * time.Second, For: 2 * time.Second, Link: netsim.AnyLink},
		{Kind: netsim.HostSlow, At: 6 * time.Second, Link: netsim.AnyLink},
		{Kind: netsim.Blackout, At: 7 * time.Second, For: time.Second},
	}
	if diff := cmp.Diff(want, n.Events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
