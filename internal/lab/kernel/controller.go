package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"wanctl/internal/lab/guest"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The controllers that can be put to the test, besides "exec:COMMAND".
const (
	// None leaves the lines without a shaper of ours.
	None = "none"
	// Static is CAKE at 95 % of nominal for ever.
	Static = "static"
	// Fast is wanctl on Linux with its setting for lines that move.
	Fast = "wanctl"
	// Slow is wanctl on Linux with the setting of 2 s cycles.
	Slow = "wanctl-2s"
	// Tracking is wanctl on Linux with the policy that tracks capacity; TrackingOneWay the same with ICMP timestamps, and
	// TrackingThroughput its profile for throughput.
	Tracking           = "tracking"
	TrackingOneWay     = "tracking-owd"
	TrackingThroughput = "tracking-throughput"
	// TrackingRouterOS is the same through the emulated router.
	TrackingRouterOS = "tracking-routeros"
	// RouterOS is wanctl in the setting for lines that move, through the emulated router, whose queues are the CAKE.
	RouterOS = "wanctl-routeros"
	// Exec begins a command of the user's own.
	Exec = "exec:"
)

// Controllers lists the names with what they are.
func Controllers() []struct{ Name, About string } {
	return []struct{ Name, About string }{
		{None, "no shaper of ours"},
		{Static, "CAKE at 95 % of the nominal rate"},
		{Fast, "wanctl on Linux, 50 ms cycles (the setting for lines that move)"},
		{Slow, "wanctl on Linux, 2 s cycles"},
		{Tracking, "wanctl on Linux, policy tracking, by round trips"},
		{TrackingOneWay, "the same, by one-way delays from ICMP timestamps"},
		{TrackingThroughput, "the same by round trips, profile throughput"},
		{TrackingRouterOS, "wanctl, policy tracking, through an emulated RouterOS over SSH"},
		{RouterOS, "wanctl, 50 ms cycles, through an emulated RouterOS over SSH"},
		{Exec + "COMMAND", "any program: interfaces and limits are in its environment"},
	}
}

// startShare is where CAKE starts under any controller, and where a static one stays.
const startShare unit.PPM = 950_000

// guestDir is the run's directory inside the machine.
const guestDir = "/lab"

// plan says what runs in the machine, and writes the files that it needs below dir.
func plan(sc *scenario.Scenario, controller, version, dir string, realTime bool) (guest.Plan, error) {
	p := guest.Plan{Scenario: *sc, Controller: controller, Shaper: startShare, Virtual: !realTime, Version: version}
	switch {
	case controller == None:
		p.Shaper = 0
	case controller == Static:
	case controller == RouterOS || controller == TrackingRouterOS:
		proc, err := autorate(sc, dir, settings[controller], emulatorDir)
		if err != nil {
			return p, err
		}
		p.Processes = []guest.Process{emulator(sc), proc}
	case settings[controller] != setting{}:
		proc, err := autorate(sc, dir, settings[controller], "")
		if err != nil {
			return p, err
		}
		p.Processes = []guest.Process{proc}
	case strings.HasPrefix(controller, Exec) && len(controller) > len(Exec):
		p.Processes = []guest.Process{{
			Name: "controller", Role: guest.ControllerRole,
			Args: []string{"bash", "-c", strings.TrimPrefix(controller, Exec)}, Env: environment(sc),
		}}
	default:
		var names []string
		for _, c := range Controllers() {
			names = append(names, c.Name)
		}
		return p, fmt.Errorf("no controller %q; there are %s", controller, strings.Join(names, ", "))
	}
	return p, nil
}

// environment is what a foreign controller gets to know: LAB_WANS, and for each WAN n from 1 LAB_Wn_NAME, _UL_IF, _DL_IF
// (the interfaces with the CAKE), _ADDR (the source of its probes), _DL and _UL (nominal rates in kbit/s); LAB_REFLECTORS
// and LAB_OUT, a directory that is kept.
func environment(sc *scenario.Scenario) []string {
	var hosts []string
	for r := range sc.Reflectors {
		hosts = append(hosts, guest.ReflectorAddr(r))
	}
	env := []string{
		fmt.Sprintf("LAB_WANS=%d", len(sc.Links)), "LAB_REFLECTORS=" + strings.Join(hosts, " "), "LAB_OUT=" + guestDir + "/log",
	}
	for i, l := range sc.Links {
		w := fmt.Sprintf("LAB_W%d_", i+1)
		env = append(env, w+"NAME="+l.Name, w+"UL_IF="+guest.Device(i, link.Up), w+"DL_IF="+guest.Device(i, link.Down),
			w+"ADDR="+guest.RouterAddr(i), fmt.Sprintf("%sDL=%d", w, l.Down.Nominal/unit.Kbps), fmt.Sprintf("%sUL=%d", w, l.Up.Nominal/unit.Kbps))
	}
	return env
}

// setting is one way to run the controller.
type setting struct {
	Interval, Cut, PingCount int
	AlphaLoad                float64
	Target, Warn, Critical   float64
	FactorDown, FactorUp     float64
	// Profile, where not empty, is that of the policy that tracks capacity: then nothing but Interval counts of the above.
	Profile string
	// OneWay asks the reflectors for their clock.
	OneWay bool
}

var fastSetting = setting{Interval: 50, Cut: 100, PingCount: 1, AlphaLoad: 0.99, Target: 5, Warn: 15, Critical: 30, FactorDown: 0.85, FactorUp: 0.85}

var settings = map[string]setting{
	Tracking:           {Interval: trackingInterval, Profile: "balanced"},
	TrackingOneWay:     {Interval: trackingInterval, Profile: "balanced", OneWay: true},
	TrackingThroughput: {Interval: trackingInterval, Profile: "throughput"},
	TrackingRouterOS:   {Interval: trackingInterval, Profile: "balanced"},
	Fast:               fastSetting, RouterOS: fastSetting,
	Slow: {Interval: 2000, Cut: 2000, PingCount: 3, AlphaLoad: 0.20, Target: 15, Warn: 45, Critical: 80, FactorDown: 0.85, FactorUp: 0.90},
}

// trackingInterval is the time between two lines of the log and the feed, in ms; the law runs at every reply.
const trackingInterval = 100

const (
	emulatorDir  = "/run/emulator"
	emulatorPort = 2222
	runDir       = "/run/wanctl"
)

// wanFile is a WAN's configuration: floors at 50, 40, 30 and 20 % of nominal, the ceiling at 95 %, steps of 4 % in 2 s.
var wanFile = template.Must(template.New("").Funcs(template.FuncMap{
	"mbps": func(r unit.Rate, percent int) string {
		return fmt.Sprintf("%g", r.Scale(unit.PPM(percent*10_000)).Mbps())
	},
	"step": func(r unit.Rate) string { return fmt.Sprintf("%g", max(0.1, r.Scale(40_000).Mbps())) },
}).Parse(`wan_name: {{.Link.Name}}
{{- if .Emulator}}
router:
  host: 127.0.0.1
  port: {{.Port}}
  user: wanctl
  ssh_key: {{.Emulator}}/client_key
  known_hosts: {{.Emulator}}/known_hosts
queues:
  download: WAN-Download-{{.Link.Name}}
  upload: WAN-Upload-{{.Link.Name}}
interfaces:
  wan: {{.Ether}}
{{- else}}
router:
  transport: linux
interfaces:
  download: {{.Down}}
  upload: {{.Up}}
{{- end}}
continuous_monitoring:
  interval_ms: {{.S.Interval}}
{{- if .S.Profile}}
  policy: tracking
  profile: {{.S.Profile}}
  download: {min_mbps: {{mbps .Link.Down.Nominal 10}}, max_mbps: {{mbps .Link.Down.Nominal 120}}}
  upload: {min_mbps: {{mbps .Link.Up.Nominal 10}}, max_mbps: {{mbps .Link.Up.Nominal 120}}}
  one_way: {{.S.OneWay}}
{{- else}}
  cut_interval_ms: {{.S.Cut}}
  download:
    floor_green_mbps: {{mbps .Link.Down.Nominal 50}}
    floor_yellow_mbps: {{mbps .Link.Down.Nominal 40}}
    floor_soft_red_mbps: {{mbps .Link.Down.Nominal 30}}
    floor_red_mbps: {{mbps .Link.Down.Nominal 20}}
    ceiling_mbps: {{mbps .Link.Down.Nominal 95}}
    step_up_mbps: {{step .Link.Down.Nominal}}
    factor_down: {{.S.FactorDown}}
  upload:
    floor_green_mbps: {{mbps .Link.Up.Nominal 50}}
    floor_yellow_mbps: {{mbps .Link.Up.Nominal 40}}
    floor_soft_red_mbps: {{mbps .Link.Up.Nominal 30}}
    floor_red_mbps: {{mbps .Link.Up.Nominal 20}}
    ceiling_mbps: {{mbps .Link.Up.Nominal 95}}
    step_up_mbps: {{step .Link.Up.Nominal}}
    factor_down: {{.S.FactorUp}}
  thresholds:
    target_bloat_ms: {{.S.Target}}
    warn_bloat_ms: {{.S.Warn}}
    critical_bloat_ms: {{.S.Critical}}
    alpha_load: {{.S.AlphaLoad}}
{{- end}}
  ping_hosts: [{{range $i, $h := .Hosts}}{{if $i}}, {{end}}{{$h}}{{end}}]
{{- if not .S.Profile}}
  use_median_of_three: true
  ping_count: {{.S.PingCount}}
{{- end}}
ping_source_ip: {{.Addr}}
timeouts:
  ping: 2
logging:
  main_log: {{.Log}}
lock_file: {{.Run}}/{{.Link.Name}}.lock
state_file: {{.Run}}/{{.Link.Name}}_state.json
feed_file: {{.Run}}/{{.Link.Name}}_feed.json
`))

// medianHosts is how many reflectors the `steps` policy asks: the median of three.
const medianHosts = 3

// autorate is wanctl itself; with an emulator's directory it goes through that.
func autorate(sc *scenario.Scenario, dir string, s setting, emulator string) (guest.Process, error) {
	p := guest.Process{
		Name: "wanctl", Role: guest.ControllerRole,
		Args: []string{guestDir + "/" + binaryFile, "autorate", "--run-dir", runDir, "--configs"},
		Env:  []string{"TZ=UTC"},
	}
	for i, l := range sc.Links {
		var hosts []string
		most := medianHosts
		if s.Profile != "" {
			most = len(sc.Reflectors)
		}
		for r := range min(most, len(sc.Reflectors)) {
			hosts = append(hosts, guest.ReflectorAddr(r))
		}
		log := "log/" + l.Name + ".log"
		var b bytes.Buffer
		if err := wanFile.Execute(&b, map[string]any{
			"Link": l, "S": s, "Emulator": emulator, "Port": emulatorPort, "Hosts": hosts, "Addr": guest.RouterAddr(i),
			"Ether": etherOf(i), "Down": guest.Device(i, link.Down), "Up": guest.Device(i, link.Up), "Log": guestDir + "/" + log, "Run": runDir,
		}); err != nil {
			return p, fmt.Errorf("configuration of %s: %w", l.Name, err)
		}
		name := "etc/" + l.Name + ".yaml"
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return p, fmt.Errorf("configuration of %s: %w", l.Name, err)
		}
		p.Args = append(p.Args, guestDir+"/"+name)
		p.Lines = append(p.Lines, guestDir+"/"+log)
	}
	return p, nil
}

// etherOf is the emulated router's interface of a link.
func etherOf(i int) string { return fmt.Sprintf("ether%d", i+1) }

// emulator is the router in front of the CAKE.
func emulator(sc *scenario.Scenario) guest.Process {
	p := guest.Process{
		Name: "router", Role: guest.RouterRole, Ready: "known_hosts:",
		Args: []string{
			guestDir + "/" + binaryFile, "emulate", "--listen", fmt.Sprintf("127.0.0.1:%d", emulatorPort), "--dir", emulatorDir,
			"--latency", sc.CommandDelay.String(),
		},
	}
	for i, l := range sc.Links {
		// The router's interface of the line counts what the machine's does.
		p.Args = append(p.Args, "--apply-iface", fmt.Sprintf("%s=dev:%s", etherOf(i), guest.Device(i, link.Up)))
		for _, d := range []link.Direction{link.Down, link.Up} {
			name := map[link.Direction]string{link.Down: "WAN-Download-", link.Up: "WAN-Upload-"}[d] + l.Name
			p.Args = append(p.Args,
				"--queue", fmt.Sprintf("%s=%g", name, l.Path(d).Nominal.Scale(startShare).Mbps()),
				"--apply", fmt.Sprintf("%s=dev:%s,cake", name, guest.Device(i, d)))
		}
	}
	return p
}
