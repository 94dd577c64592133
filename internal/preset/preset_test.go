package preset

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// read parses all files of a house as "wanctl check" does.
func read(t interface{ Fatalf(string, ...any) }, h House) (files []*config.File, all config.Diagnostics) {
	for _, f := range h.Files() {
		c, ds := config.Parse(filepath.Join(h.Dir, f.Name), strings.NewReader(f.Text), config.Options{Dirs: config.Dirs{Run: h.Run, State: "/var/lib/wanctl"}})
		if ds.HasErrors() {
			t.Fatalf("%s%s", ds, f.Text)
		}
		all = append(all, ds...)
		files = append(files, c)
	}
	return files, append(all, config.CrossCheck(files...)...)
}

// drawn is a house of any sort.
func drawn(t *rapid.T) House {
	h := House{Dir: "/etc/wanctl", Run: "/run/wanctl"}
	if rapid.Bool().Draw(t, "RouterOS") {
		r := Router{Host: "192.168.88.1", Transport: rapid.SampledFrom([]string{"ssh", "api", "rest"}).Draw(t, "transport"), User: "wanctl", Rights: []string{"read", "write"}}
		if r.Transport == "ssh" {
			r.KnownHosts = "/etc/wanctl/ssh/known_hosts"
			r.KeyFile = rapid.SampledFrom([]string{"", "/etc/wanctl/ssh/router.key"}).Draw(t, "key")
		} else {
			r.Pin = "sha256:" + strings.Repeat("1f", 32)
		}
		if r.KeyFile == "" {
			r.PasswordFile = "/etc/wanctl/secrets/router.password"
		}
		h.Router = &r
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "lines") {
		suffix := string(rune('a' + i))
		l := Line{
			Name: rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{0,38}`).Draw(t, "name") + suffix, Technology: rapid.SampledFrom(Technologies()).Draw(t, "technology"),
			Policy: rapid.SampledFrom([]string{Tracking, Steps}).Draw(t, "policy"), Measured: rapid.Bool().Draw(t, "measured"),
			Interface: "wan" + suffix, Found: "default route by \u2028 10.0.0.1\n# x: y",
		}
		if l.Policy == Steps || rapid.Bool().Draw(t, "sold") {
			for _, d := range []link.Direction{link.Down, link.Up} {
				l.Sold.Set(d, unit.Rate(rapid.Int64Range(500_000, int64(unit.MaxRate)).Draw(t, d.String())))
			}
		}
		if h.Router != nil {
			l.Interface = rapid.StringMatching(`[ -~]{1,20}`).Filter(func(s string) bool { return strings.TrimSpace(s) == s }).Draw(t, "interface") + suffix
			if l.Queues = (Queues{Download: "1.5e3-" + suffix, Upload: "yes." + suffix}); rapid.Bool().Draw(t, "simple") {
				l.Queues = Queues{Simple: "-_" + suffix}
			}
		}
		if rapid.Bool().Draw(t, "source") {
			l.Source = netip.AddrFrom4([4]byte{192, 168, 88, byte(10 + i)})
		}
		if rapid.Bool().Draw(t, "idle") {
			l.Idle = Idle{RTT: float64(rapid.IntRange(1, 3_000_000).Draw(t, "RTT")) / 1000, How: "measured"}
		} else {
			l.Idle.How = "no reflector answers"
		}
		if rapid.Bool().Draw(t, "hosts") {
			l.Reflectors = []string{"192.0.2.1", "192.0.2.2", "reflector.example"}
		}
		h.Lines = append(h.Lines, l)
	}
	if len(h.Lines) > 1 && rapid.Bool().Draw(t, "steering") {
		h.Steering = &Steering{Primary: rapid.IntRange(0, len(h.Lines)-1).Draw(t, "primary"), LAN: []string{"br-lan"}, Reflector: "1.1.1.1"}
	}
	return h
}

// Whatever the answers are, the files are valid, and say what was answered.
func TestPropertyFilesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawn(t)
		files, all := read(t, h)
		if all.HasErrors() {
			t.Fatalf("%s", all)
		}
		for i := range h.Lines {
			l, c := &h.Lines[i], files[i].WAN
			switch {
			case c.Name != l.Name || c.Policy != l.Policy || c.Probe.Source != l.Source:
				t.Fatalf("%s is read as %s, %s, %s", l.Name, c.Name, c.Policy, c.Probe.Source)
			case h.Router != nil && (c.Interfaces.WAN != l.Interface || c.Queues.Download != l.Queues.Download || c.Queues.Simple != l.Queues.Simple):
				t.Fatalf("%+v is read as %+v, %+v", l, c.Interfaces, c.Queues)
			case h.Router == nil && (c.Interfaces.Upload != l.Interface || c.Probe.Interface != l.Interface):
				t.Fatalf("%s is read as %+v", l.Interface, c.Interfaces)
			case l.Idle.RTT >= 1 && l.Idle.RTT <= 500 && c.Shaper.BaselineInitial != unit.Millis(l.Idle.RTT):
				t.Fatalf("a round trip of %v is read as %v", l.Idle.RTT, c.Shaper.BaselineInitial)
			case l.Idle.RTT > 0 && (unit.Millis(l.Idle.RTT) < 2*c.Shaper.BaselineMin && l.Idle.RTT < 1 || unit.Millis(l.Idle.RTT)*2 > c.Shaper.BaselineMax && l.Idle.RTT > 500):
				t.Fatalf("a round trip of %v has no room between %v and %v", l.Idle.RTT, c.Shaper.BaselineMin, c.Shaper.BaselineMax)
			}
			for _, d := range []link.Direction{link.Down, link.Up} {
				ceiling := c.Shaper.Down.Ceiling
				if d == link.Up {
					ceiling = c.Shaper.Up.Ceiling
				}
				if sold := l.Sold.Get(d); l.Policy == Steps && (ceiling > sold+unit.Mbps/2 || ceiling < sold/2) {
					t.Fatalf("%v of %v: a ceiling of %v", d, sold, ceiling)
				}
			}
		}
		if s := h.Steering; s != nil {
			c := files[len(files)-1].Steering
			if c.Steer.Primary != h.Lines[s.Primary].Name || len(c.Alternates) != len(h.Lines)-1 {
				t.Fatalf("steering is read as from %s to %v", c.Steer.Primary, c.Alternates)
			}
			for i := range h.Lines {
				if rtt := unit.Millis(h.Lines[i].Idle.RTT); rtt > 0 && (rtt < c.Steer.BaselineMin || rtt > c.Steer.BaselineMax) {
					t.Fatalf("steering does not believe the round trip %v of %s", rtt, h.Lines[i].Name)
				}
			}
		}
	})
}

// A house as it is written, to be read by a person, and without a warning.
func TestHouse(t *testing.T) {
	cable, _ := Named("cable")
	lte, _ := Named("lte")
	vdsl, _ := Named("vdsl-pppoe")
	for name, h := range map[string]House{
		"routeros": {
			Dir: "/etc/wanctl", Run: "/run/wanctl",
			Router: &Router{
				Host: "192.168.88.1", Transport: "ssh", TransportWhy: "the first of api, rest and ssh that showed itself", User: "wanctl", Rights: []string{"read", "write", "ssh"},
				PasswordFile: "/etc/wanctl/secrets/router.password", KnownHosts: "/etc/wanctl/ssh/known_hosts",
			},
			Lines: []Line{
				{
					Name: "cable", Technology: cable, Policy: Tracking, Sold: link.Rates{Down: 450 * unit.Mbps, Up: 38 * unit.Mbps}, Interface: "ether1",
					Found: "default route by 10.10.110.1, distance 1", Queues: Queues{Download: "WAN-Download-cable", Upload: "WAN-Upload-cable"},
					Source: netip.MustParseAddr("192.168.88.5"), Idle: Idle{RTT: 24.3, How: "the least of a few echoes each, 1.1.1.1 24.3"},
				},
				{
					Name: "lte", Technology: lte, Policy: Tracking, Sold: link.Rates{Down: 150 * unit.Mbps, Up: 30 * unit.Mbps}, Interface: "lte1",
					Found: "default route, distance 2", Queues: Queues{Simple: "WAN-lte", There: true}, Source: netip.MustParseAddr("192.168.88.6"),
					Idle: Idle{How: "the router sends probes from 192.168.88.6 by another line until it is set up"},
				},
			},
			Steering: &Steering{Reflector: "1.1.1.1"},
		},
		"linux": {
			Dir: "/etc/wanctl", Run: "/run/wanctl",
			Lines: []Line{
				{
					Name: "dsl", Technology: vdsl, Policy: Steps, Sold: link.Rates{Down: 100 * unit.Mbps, Up: 40 * unit.Mbps}, Interface: "ppp0",
					Found: "default route, metric 0", Idle: Idle{RTT: 9, How: "the least of a few echoes each, 1.1.1.1 9"},
				},
				{Name: "cable", Technology: cable, Policy: Tracking, Interface: "wan2", Found: "default route by 192.0.2.1, metric 100", Source: netip.MustParseAddr("192.0.2.7")},
			},
			Steering: &Steering{Primary: 1, LAN: []string{"br-lan"}, Reflector: "1.1.1.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, all := read(t, h)
			for _, d := range all {
				t.Errorf("%v", d)
			}
			var b strings.Builder
			for _, f := range h.Files() {
				b.WriteString("--- " + f.Name + "\n" + f.Text)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What was measured is the ceiling itself only where a policy finds the rate below it by itself.
func TestCeilingOfWhatWasMeasured(t *testing.T) {
	cable, _ := Named("cable")
	for policy, want := range map[string]string{Steps: "ceiling_mbps: 190 # 95 % of what was measured", Tracking: "max_mbps: 200 # as measured"} {
		l := Line{Name: "cable", Technology: cable, Policy: policy, Measured: true, Sold: link.Rates{Down: 200 * unit.Mbps, Up: 20 * unit.Mbps}, Interface: "wan0"}
		text := strings.Join(strings.Fields(House{Dir: "/etc/wanctl", Run: "/run/wanctl", Lines: []Line{l}}.Files()[0].Text), " ")
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", policy, want, text)
		}
	}
}

// Every technology has its words, its order of thresholds and its shares.
func TestTechnologies(t *testing.T) {
	var seen []string
	for _, a := range Technologies() {
		switch {
		case slices.Contains(seen, a.Word):
			t.Errorf("%s is there twice", a.Word)
		case a.Title == "" || a.FramingWhy == "" || a.CeilingWhy == "" || a.FloorWhy == "" || a.ProfileWhy == "" || a.ThresholdsWhy == "":
			t.Errorf("%s lacks a reason", a.Word)
		case a.Target <= 0 || a.Target >= a.Warn || a.Warn >= a.Critical:
			t.Errorf("%s: thresholds %v, %v, %v", a.Word, a.Target, a.Warn, a.Critical)
		case a.Floor.Down >= a.Ceiling.Down || a.Floor.Up >= a.Ceiling.Up:
			t.Errorf("%s: floors %v, ceilings %v", a.Word, a.Floor, a.Ceiling)
		}
		seen = append(seen, a.Word)
		if b, ok := Named(a.Word); !ok || b.Title != a.Title {
			t.Errorf("%s is not found by its word", a.Word)
		}
	}
	if _, ok := Named("carrier-pigeon"); ok {
		t.Error("a technology that nobody knows")
	}
}
