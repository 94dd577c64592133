package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
)

func TestExplain(t *testing.T) {
	well := Facts{RouterUp: true, Answering: 3, Hosts: 3}
	with := func(change func(*Facts)) Facts {
		f := well
		change(&f)
		return f
	}
	bypass := Finding{Direction: link.Down, Cause: FastTrack, Text: "It is bypassed."}
	cpu := Finding{Direction: link.Up, Cause: CPU, Text: "The CPU is the limit."}
	for _, c := range []struct {
		name  string
		facts Facts
		want  []string
		level link.Level
	}{
		{"all is well", well, nil, link.Info},
		{"a yellow line is well", with(func(f *Facts) { f.State.Down = link.Yellow }), nil, link.Info},
		{"a raise may wait a minute", with(func(f *Facts) { f.Waiting, f.WaitingFor = true, time.Minute }), nil, link.Info},
		{"one of three reflectors silent", with(func(f *Facts) { f.Answering = 2 }), nil, link.Info},
		{"congested", with(func(f *Facts) { f.State.Down, f.Delta = link.Red, 91.25 }), []string{"state: [RED/GREEN], 91.2ms of added delay"}, link.Warning},
		{"the router never answered", with(func(f *Facts) { f.RouterUp = false }), []string{"router link: no answer for 0s: it has not answered yet"}, link.Alert},
		{
			"a router that is away explains the writes and the state",
			with(func(f *Facts) {
				f.RouterUp, f.RouterError, f.RouterFor = false, "no route to host", 90*time.Second
				f.Waiting, f.WaitingFor, f.WaitingWhy = true, 80*time.Second, "backing_off"
				f.State.Up = link.Red
			}),
			[]string{
				"router link: no answer for 1m30s: no route to host",
				"writes: the decided rate has waited for 1m20s (backing_off) (because of: router link)",
				"state: [GREEN/RED], 0.0ms of added delay (because of: writes)",
			},
			link.Alert,
		},
		{
			"a bypassed queue explains the state",
			with(func(f *Facts) { f.Findings, f.State.Down = []Finding{bypass, cpu}, link.SoftRed }),
			[]string{
				"queues: It is bypassed. The CPU is the limit.",
				"state: [SOFT_RED/GREEN], 0.0ms of added delay (because of: queues)",
			},
			link.Alert,
		},
		{"a slow router alone is a warning", with(func(f *Facts) { f.Findings = []Finding{cpu} }), []string{"queues: The CPU is the limit."}, link.Warning},
		{"one of three reflectors answers", with(func(f *Facts) { f.Answering = 1 }), []string{"probes: only 1 of 3 reflectors answer: one of them alone can mislead"}, link.Warning},
		{
			"silence explains a state that stays red",
			with(func(f *Facts) { f.Answering, f.SilentFor, f.State.Down = 0, 130*time.Second, link.Red }),
			[]string{
				"probes: none of 3 reflectors has answered for 2m10s; rates stay as they are",
				"state: [RED/GREEN], 0.0ms of added delay (because of: probes)",
			},
			link.Alert,
		},
		{"one configured reflector that answers is no fault here", with(func(f *Facts) { f.Answering, f.Hosts = 1, 1 }), nil, link.Info},
	} {
		var got []string
		lines := Explain(c.facts)
		for _, l := range lines {
			got = append(got, l.String())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		if len(lines) > 0 && lines[0].Level != c.level {
			t.Errorf("%s: level %s, want %s", c.name, lines[0].Level, c.level)
		}
	}
}

// TestCausesComeFirst: the graph has no cycle and its order is from cause to effect, so an explanation always points
// to a line above.
func TestCausesComeFirst(t *testing.T) {
	for p := range parts {
		for _, n := range needs[p] {
			if n >= p {
				t.Errorf("%s needs %s, which comes after it", p, n)
			}
		}
	}
	f := Facts{Findings: []Finding{{Text: "x"}}, Waiting: true, Hosts: 3, State: link.Pair[link.State]{Down: link.Red}}
	lines := Explain(f)
	if len(lines) != int(parts) {
		t.Fatalf("%d lines when all %d parts fail", len(lines), parts)
	}
	roots := 0
	for i, l := range lines {
		if !l.Explained {
			roots++
			continue
		}
		if !strings.Contains(l.String(), "because of") || l.Because >= l.Part || lines[i].Part != Part(i) {
			t.Errorf("line %d: %s", i, l)
		}
	}
	if roots != 2 { // the router link and the probes
		t.Errorf("%d roots, want 2", roots)
	}
}
