package config

import (
	"strings"
	"testing"
)

func TestCrossCheck(t *testing.T) {
	opt := Options{Dirs: Dirs{Run: "/run/w", State: "/lib/w"}}
	parse := func(file, text string) *File { return mustParse(t, file, text, opt) }
	cable := strings.Replace(legacy, "wan_name: line", "wan_name: cable", 1)
	dsl := strings.NewReplacer("wan_name: line", "wan_name: dsl", "download: Down, upload: Up", "download: D2, upload: U2").Replace(legacy)
	steering := strings.NewReplacer("primary_wan: Spectrum, alternate_wan: ATT", "primary_wan: Cable, alternate_wan: DSL",
		"/run/wanctl/spectrum_feed.json", "/run/w/cable_feed.json").Replace(steeringText)
	for _, c := range []struct {
		name  string
		files []*File
		want  []string
	}{
		{"fit", []*File{parse("c.yaml", cable), nil, parse("d.yaml", dsl), parse("s.yaml", steering)}, nil},
		{"steering alone", []*File{parse("s.yaml", steering)}, nil},
		{"twice", []*File{parse("a.yaml", cable), parse("b.yaml", cable)}, []string{
			"b.yaml: error: lock_file: the same file",
			"b.yaml: error: state_file: the same file",
			"b.yaml: error: feed_file: the same file",
			"b.yaml:1:1: error: wan_name: the same name is used in a.yaml",
			"b.yaml:3:10: error: queues.download: the same queue is used in a.yaml",
			"b.yaml:3:26: error: queues.upload: the same queue is used in a.yaml",
		}},
		{
			"swapped queue",
			[]*File{parse("c.yaml", cable), parse("d.yaml", strings.Replace(dsl, "download: D2", "download: Up", 1))},
			[]string{"d.yaml:3:10: error: queues.download: the same queue is used in c.yaml"},
		},
		{
			"shared state file",
			[]*File{parse("c.yaml", cable), parse("s.yaml", steering+"state: {file: /lib/w/cable_state.json}\n")},
			[]string{"s.yaml:8:9: error: state.file: the same file is used in c.yaml"},
		},
		{
			"other names",
			[]*File{parse("c.yaml", cable), parse("s.yaml", steeringText)},
			[]string{"s.yaml:1:12: warning: topology.primary_wan: no config given here is of a line called Spectrum"},
		},
		{
			"state file, other queue, foreign feed",
			[]*File{parse("c.yaml", cable), parse("d.yaml", dsl), parse("s.yaml", strings.NewReplacer(
				"/run/w/cable_feed.json", "/lib/w/cable_state.json", "primary_download: Down", "primary_download: Dawn",
				"{ping_source_ip: 192.168.88.3}", "{state_source: /elsewhere}").Replace(steering))},
			[]string{
				"s.yaml:4:1: warning: cake_state_sources: is the state file of cable",
				"s.yaml:5:13: warning: alternate.state_source: /elsewhere is not written by dsl (read /run/w/dsl_feed.json)",
				"s.yaml:7:15: warning: cake_queues.primary_download: is not the download queue of cable, Down",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ds := CrossCheck(c.files...)
			if len(ds) != len(c.want) {
				t.Fatalf("got %d findings, want %d:\n%v", len(ds), len(c.want), ds)
			}
			for i, d := range ds {
				if !strings.HasPrefix(d.String(), c.want[i]) {
					t.Errorf("got  %s\nwant %s", d, c.want[i])
				}
			}
		})
	}
}
