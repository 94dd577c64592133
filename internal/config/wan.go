package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/shaper"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// Queues are the router's queues of a line, by exact name.
type Queues struct {
	// Download and Upload are entries of /queue/tree, both empty with Simple, the one entry of /queue/simple for both directions.
	Download, Upload, Simple string
}

// named is the queue that has the download.
func (q Queues) named() string {
	if q.Simple != "" {
		return q.Simple
	}
	return q.Download
}

// Interfaces are a line's interfaces; each may be empty.
type Interfaces struct {
	// Download and Upload are Linux interfaces (transport linux).
	Download, Upload string
	// WAN is the RouterOS interface the line is on; empty: the upload queue's parent. LAN is the one its download leaves by;
	// empty: the router's one bridge. `wanctl router plan` alone reads it.
	WAN, LAN string
}

// Journal is the flight recorder's place. An empty Dir is none.
type Journal struct {
	Dir string
	// Segment is the size of a file, and Keep how many are kept of a line.
	Segment unit.Bytes
	Keep    int
}

// OnExit is what a stop leaves on the router.
type OnExit uint8

// The choices.
const (
	// ExitBase leaves [WAN.Base].
	ExitBase OnExit = iota
	// ExitLast leaves the last rate.
	ExitLast
	// ExitCeiling leaves the ceiling.
	ExitCeiling
)

// String returns "base", "last" or "ceiling", the words the configuration uses.
func (e OnExit) String() string {
	switch e {
	case ExitBase:
		return "base"
	case ExitLast:
		return "last"
	case ExitCeiling:
		return "ceiling"
	}
	return fmt.Sprintf("OnExit(%d)", uint8(e))
}

// MarshalText writes the configuration's word.
func (e OnExit) MarshalText() ([]byte, error) {
	if e > ExitCeiling {
		return nil, fmt.Errorf("no exit rate %d", uint8(e))
	}
	return []byte(e.String()), nil
}

// UnmarshalText reads "base", "last" or "ceiling".
func (e *OnExit) UnmarshalText(b []byte) error {
	for v := ExitBase; v <= ExitCeiling; v++ {
		if v.String() == string(b) {
			*e = v
			return nil
		}
	}
	return fmt.Errorf("unknown exit rate %q (want base, last or ceiling)", b)
}

// WAN is one line's validated settings.
type WAN struct {
	// Name is in every line, file and status.
	Name       string
	Router     Router
	Queues     Queues
	Interfaces Interfaces
	// Qdisc is how the queues are made on Linux.
	Qdisc Qdisc
	// Enabled false: measure, decide and log, but never write to the router.
	Enabled bool
	// Policy is "steps" or "tracking"; Profile is tracking's.
	Policy, Profile string
	// Tracking is the ready configuration of the policy "tracking", nil under steps. Shaper then gives the states only.
	Tracking *tracking.Config
	// OneWay asks reflectors for one-way delays, under tracking.
	OneWay bool
	// IRTT is a server that is asked beside the reflectors, under tracking; without a host there is none.
	IRTT IRTT
	// TCPCheck compares ICMP with TCP handshakes on TCPPort of the reflectors, under tracking.
	TCPCheck bool
	TCPPort  int
	// Period is the controller's, 50 ms to 60 s.
	Period time.Duration
	OnExit OnExit
	// Base is what [ExitBase] leaves: base_mbps, or the ceiling where none is configured; 0, under tracking without either, is
	// what was measured last.
	Base link.Rates
	// PingHosts are the reflectors, 1 to 16, all different. Only the first is probed without MedianOfThree. Empty, under
	// tracking alone, leaves the choice to wanctl.
	PingHosts []string
	// MedianOfThree is use_median_of_three with three hosts or more; with fewer hosts it is false.
	MedianOfThree bool
	// PingCount is the number of newest replies of a host whose median is its value, 1 to 20.
	PingCount int
	Probe     Probe
	Timeouts  Timeouts
	Logging   Logging
	// LockFile, StateFile and FeedFile are empty when neither the config nor [Options.Dirs] says where.
	LockFile, StateFile, FeedFile string
	// Journal is where the flight recorder writes.
	Journal Journal
	// Text is the file's content as a configuration that reads the same, without comments, keys that are not used and
	// secrets.
	Text string
	// Shaper is the ready configuration of the controller; its Validate has passed.
	Shaper shaper.Config
}

// Candidates returns the hosts that policy tracking chooses its reflectors from: PingHosts, each of an operator of its own
// for all that is known, or the well-known ones.
func (w *WAN) Candidates() []reflector.Candidate {
	if len(w.PingHosts) == 0 {
		return reflector.DefaultReflectors()
	}
	out := make([]reflector.Candidate, len(w.PingHosts))
	for i, h := range w.PingHosts {
		out[i] = reflector.Candidate{Name: h, Operator: h}
	}
	return out
}

// Hosts returns the reflectors and, where there is one, the IRTT server as the last.
func (w *WAN) Hosts() []string {
	hosts := slices.Clip(w.Reflectors())
	if w.IRTT.Host != "" {
		hosts = append(hosts, w.IRTT.String())
	}
	return hosts
}

// Reflectors returns the hosts that may be probed: under steps all with MedianOfThree, else the first; under tracking the
// candidates.
func (w *WAN) Reflectors() []string {
	if w.Tracking != nil {
		var out []string
		for _, c := range w.Candidates() {
			out = append(out, c.String())
		}
		return out
	}
	if w.MedianOfThree {
		return w.PingHosts
	}
	return w.PingHosts[:1]
}

// wan judges a WAN config whose values have passed their own checks.
func (p *parser) wan() *WAN {
	p.require("wan_name")
	w := &WAN{
		Name:       p.text("wan_name"),
		Router:     p.router(),
		Queues:     Queues{Download: p.text("queues.download"), Upload: p.text("queues.upload"), Simple: p.text("queues.simple")},
		Interfaces: Interfaces{Download: p.text("interfaces.download"), Upload: p.text("interfaces.upload"), WAN: p.text("interfaces.wan"), LAN: p.text("interfaces.lan")},
		Enabled:    p.flag(cm + ".enabled"),
		Policy:     p.text(cm + ".policy"),
		Profile:    p.text(cm + ".profile"),
		Period:     p.duration(cm+".interval_ms", time.Millisecond),
		PingHosts:  p.values[cm+".ping_hosts"].list,
		PingCount:  int(p.num(cm + ".ping_count")),
		Probe:      p.probe(""),
		Timeouts:   p.timeouts(),
		Logging:    p.logging(),
		LockFile:   p.fileOr("lock_file", p.opt.Dirs.Run, suffixed(p.text("wan_name"), ".lock")),
		StateFile:  p.fileOr("state_file", p.opt.Dirs.State, suffixed(p.text("wan_name"), "_state.json")),
		FeedFile:   p.fileOr("feed_file", p.opt.Dirs.Run, suffixed(p.text("wan_name"), "_feed.json")),
	}
	w.Journal = Journal{
		Dir: p.text("journal.dir"), Segment: unit.Bytes(p.num("journal.segment_mb")) * 1_000_000, Keep: int(p.num("journal.keep_segments")),
	}
	w.Text = p.plain()
	_ = w.OnExit.UnmarshalText([]byte(p.text(cm + ".on_exit"))) // one of the schema's words
	p.outlets(w)
	w.Qdisc = p.qdisc()
	p.reflectors(w)
	steps := w.Policy == "steps"
	p.control(steps)
	p.files(w.LockFile, w.StateFile, w.FeedFile)
	p.namedLike(w.Name)
	if p.errors > 0 {
		return nil
	}
	w.Shaper = p.shaper(w.Period)
	if !steps {
		w.OneWay, w.TCPCheck, w.TCPPort = p.flag(cm+".one_way"), p.flag(cm+".tcp_check"), int(p.num(cm+".tcp_check_port"))
		w.IRTT = p.irtt()
		w.Tracking = p.tracking(w)
	}
	for d, key := range map[link.Direction]string{link.Down: cm + ".download", link.Up: cm + ".upload"} {
		base := w.Shaper.Down.Ceiling
		if d == link.Up {
			base = w.Shaper.Up.Ceiling
		}
		switch {
		case p.has(key + ".base_mbps"):
			base = p.mbps(key + ".base_mbps")
		case w.Tracking != nil:
			base = w.Tracking.Max.Get(d) // without one, what was measured last
		}
		w.Base.Set(d, base)
	}
	p.heartbeat(w)
	err := w.Shaper.Validate()
	if w.Tracking != nil {
		err = errors.Join(err, w.Tracking.Validate())
	}
	if err != nil {
		p.errorf(p.at(cm), cm, "", "%v", err)
		return nil
	}
	return w
}

func suffixed(name, suffix string) string {
	if name == "" {
		return ""
	}
	return name + suffix
}

// outlets checks what the rates are written to.
func (p *parser) outlets(w *WAN) {
	if w.Router.Transport == TransportLinux {
		p.require("interfaces.download", "interfaces.upload")
		if w.Interfaces.Download != "" && w.Interfaces.Download == w.Interfaces.Upload {
			p.errorf(p.at("interfaces.download"), "interfaces.download", "name an ifb of its own, such as "+link.Ifb(w.Interfaces.Upload),
				"is the upload's interface, too, and one queue cannot shape both directions")
		}
		for _, k := range []string{"queues.download", "queues.upload", "queues.simple", "interfaces.wan", "interfaces.lan"} {
			if p.has(k) {
				p.warnf(p.at(k), k, "remove it", "has no effect on linux, whose interfaces are named under interfaces")
			}
		}
		return
	}
	if p.has("queues.simple") {
		for _, k := range []string{"queues.download", "queues.upload"} {
			if p.has(k) {
				p.errorf(p.at(k), k, "keep either queues.simple or the two queues of the tree",
					"is given beside queues.simple, whose one queue shapes both directions")
			}
		}
		if !p.lost("interfaces.wan") && !p.has("interfaces.wan") {
			p.errorf(p.at("queues.simple"), "interfaces.wan", "name the interface the line is on",
				"is required with queues.simple: without it nothing tells whether the queue's first rate is the upload's or the download's")
		}
	} else if !p.lost("queues.simple") {
		p.require("queues.download", "queues.upload")
	}
	if w.Queues.Download != "" && w.Queues.Download == w.Queues.Upload {
		p.errorf(p.at("queues.upload"), "queues.upload", "name the other one", "is the download's queue, too")
	}
	for _, k := range []string{"interfaces.download", "interfaces.upload"} {
		if p.has(k) {
			p.warnf(p.at(k), k, "remove it", "has no effect on RouterOS, whose queues are named under queues")
		}
	}
}

// reflectors checks the probes' targets and says what they cannot tell.
func (p *parser) reflectors(w *WAN) {
	if w.Policy == "tracking" {
		p.trackingReflectors(w)
		return
	}
	p.require(cm + ".ping_hosts")
	if !p.ok(cm + ".ping_hosts") {
		return
	}
	at, key := p.at(cm+".ping_hosts"), cm+".ping_hosts"
	median := p.flag(cm + ".use_median_of_three")
	w.MedianOfThree = median && len(w.PingHosts) >= 3
	switch n := len(w.PingHosts); {
	case median && n < 3:
		p.warnf(at, key, "name three hosts", "use_median_of_three needs three hosts and there are only %d: "+
			"the first alone is probed, and wanctl cannot tell the reflector from the line", n)
	case n == 1:
		p.warnf(at, key, "name three and set use_median_of_three: true",
			"with one host wanctl cannot tell the reflector from the line")
	case !median:
		p.warnf(at, key, "set use_median_of_three: true", "without the median the first of the %d hosts alone is probed, "+
			"and wanctl cannot tell the reflector from the line", n)
	}
}

// control checks everything the controller's law depends on.
func (p *parser) control(steps bool) {
	const th = cm + ".thresholds."
	down, up := cm+".download", cm+".upload"
	if steps {
		p.floors(down, true)
		p.floors(up, false)
		p.require(down+".ceiling_mbps", up+".ceiling_mbps", th+"target_bloat_ms", th+"warn_bloat_ms")
		for _, k := range []string{cm + ".profile", cm + ".one_way", cm + ".irtt.server", cm + ".irtt.hmac_key", cm + ".tcp_check", cm + ".tcp_check_port"} {
			if p.has(k) {
				p.warnf(p.at(k), k, "remove it", "has no effect under policy steps")
			}
		}
	}
	for _, d := range []string{down, up} {
		if p.ok(d+".base_mbps", d+".ceiling_mbps") && p.num(d+".base_mbps") > p.num(d+".ceiling_mbps") {
			p.errorf(p.at(d+".base_mbps"), d+".base_mbps", "", "%s is above %s", p.shown(d+".base_mbps"), p.shown(d+".ceiling_mbps"))
		}
		for _, floor := range []string{d + ".floor_red_mbps", d + ".floor_mbps"} {
			if p.ok(d+".base_mbps", floor) && p.num(d+".base_mbps") < p.num(floor) {
				p.warnf(p.at(d+".base_mbps"), d+".base_mbps", "", "%s is below the lowest floor, %s",
					p.shown(d+".base_mbps"), p.shown(floor))
			}
		}
	}
	const order = "target < warn < critical"
	if p.fourState() || p.has(th+"critical_bloat_ms") {
		p.ordered(true, order, th+"target_bloat_ms", th+"warn_bloat_ms", th+"critical_bloat_ms")
	} else {
		p.ordered(true, order, th+"target_bloat_ms", th+"warn_bloat_ms")
	}
	target, warn := p.own(up, "target_bloat_ms"), p.own(up, "warn_bloat_ms")
	if p.has(up+".target_bloat_ms") || p.has(up+".warn_bloat_ms") {
		p.ordered(true, "target < warn", target, warn)
	}
	lo, hi, first := cm+".baseline_rtt_bounds.min", cm+".baseline_rtt_bounds.max", cm+".baseline_rtt_initial"
	p.ordered(true, "min < max", lo, hi)
	if p.ok(first, lo, hi) && p.num(lo) < p.num(hi) && (p.num(first) < p.num(lo) || p.num(first) > p.num(hi)) {
		p.errorf(p.at(first), first, "", "%s is outside baseline_rtt_bounds, %v to %v ms", p.shown(first), p.num(lo), p.num(hi))
	}
}

// own returns the direction's own threshold where it has one, else the common one.
func (p *parser) own(direction, name string) string {
	if k := direction + "." + name; p.has(k) {
		return k
	}
	return cm + ".thresholds." + name
}

// fourState reports whether the download has a floor per state.
func (p *parser) fourState() bool { return p.has(cm + ".download.floor_green_mbps") }

// floors checks the two forms a direction's floors may have.
func (p *parser) floors(d string, down bool) {
	one, green, yellow := d+".floor_mbps", d+".floor_green_mbps", d+".floor_yellow_mbps"
	soft, red, ceiling := d+".floor_soft_red_mbps", d+".floor_red_mbps", d+".ceiling_mbps"
	const keep = "give floor_mbps, or floor_green_mbps, floor_yellow_mbps and floor_red_mbps"
	perState := ""
	for _, k := range []string{green, yellow, soft, red} {
		if p.has(k) && perState == "" {
			perState = k
		}
		if alias := d + ".min_mbps"; k == red && p.has(alias) {
			p.errorf(p.at(alias), alias, "write floor_red_mbps or floor_mbps", "is a key of policy tracking")
			return
		}
	}
	if alias := d + ".max_mbps"; p.has(alias) {
		p.errorf(p.at(alias), alias, "write ceiling_mbps", "is a key of policy tracking")
	}
	switch {
	case p.has(one) && perState != "":
		p.errorf(p.at(one), d, keep, "floor_mbps and %s are two forms of the same", leaf(perState))
	case p.has(one):
		p.ordered(false, "floor <= ceiling", one, ceiling)
	case p.has(green):
		p.require(yellow, red)
		p.ordered(false, "red <= soft_red <= yellow <= green <= ceiling", red, soft, yellow, green, ceiling)
		if !down && p.has(soft) {
			p.warnf(p.at(soft), soft, "remove it", "has no effect: the upload has no SOFT_RED state")
		}
	case perState != "":
		p.errorf(p.at(perState), d, keep, "%s without floor_green_mbps (and no floor_mbps)", leaf(perState))
	case !p.lost(one):
		p.errorf(p.at(d), d, keep, "has neither floor_mbps nor floor_green_mbps")
	}
}

// shaper assembles the controller's configuration from checked values.
func (p *parser) shaper(period time.Duration) shaper.Config {
	const th = cm + ".thresholds."
	c := shaper.Config{
		Period:          period,
		BaselineInitial: unit.Millis(p.num(cm + ".baseline_rtt_initial")),
		BaselineMin:     unit.Millis(p.num(cm + ".baseline_rtt_bounds.min")),
		BaselineMax:     unit.Millis(p.num(cm + ".baseline_rtt_bounds.max")),
		AlphaBaseline:   p.num(th + "alpha_baseline"),
		AlphaLoad:       p.num(th + "alpha_load"),
		BaselineUpdate:  unit.Millis(p.num(th + "baseline_update_threshold_ms")),
		SoftRed:         shaper.Clamp,
		Lift:            shaper.LiftState,
		CutInterval:     p.duration(cm+".cut_interval_ms", time.Millisecond),
		RebaselineAfter: p.seconds(cm + ".rebaseline_after_s"),
		Down:            p.direction(cm+".download", p.fourState()),
		Up:              p.direction(cm+".upload", false),
	}
	if p.text(cm+".soft_red_action") == "hold" {
		c.SoftRed = shaper.Hold
	}
	if p.text(cm+".floor_lift") == "green" {
		c.Lift = shaper.LiftGreen
	}
	return c
}

func (p *parser) direction(d string, fourState bool) shaper.Direction {
	down, _ := unit.FromFactor(p.num(d + ".factor_down"))          // bounded by the schema
	yellow, _ := unit.FromFactor(p.num(d + ".factor_down_yellow")) // bounded by the schema
	s := shaper.Direction{
		FourState: fourState, Ceiling: p.mbps(d + ".ceiling_mbps"), StepUp: p.mbps(d + ".step_up_mbps"),
		FactorDown: down, FactorDownYellow: yellow,
		Target:   unit.Millis(p.num(p.own(d, "target_bloat_ms"))),
		Warn:     unit.Millis(p.num(p.own(d, "warn_bloat_ms"))),
		Critical: unit.Millis(p.num(cm + ".thresholds.critical_bloat_ms")),
	}
	s.Floor[link.Green] = p.mbps(d + ".floor_green_mbps")
	s.Floor[link.Yellow] = p.mbps(d + ".floor_yellow_mbps")
	s.Floor[link.Red] = p.mbps(d + ".floor_red_mbps")
	s.Floor[link.SoftRed] = s.Floor[link.Yellow]
	if p.has(d + ".floor_soft_red_mbps") {
		s.Floor[link.SoftRed] = p.mbps(d + ".floor_soft_red_mbps")
	}
	if p.has(d + ".floor_mbps") {
		for i := range s.Floor {
			s.Floor[i] = p.mbps(d + ".floor_mbps")
		}
	}
	return s
}

// files checks that no two of a config's own files are the same.
func (p *parser) files(lock, state, feed string) {
	keys := []string{"lock_file", "state_file", "feed_file", "logging.main_log", "logging.debug_log"}
	values := []string{lock, state, feed, p.text("logging.main_log"), p.text("logging.debug_log")}
	for i := range keys {
		for j := range i {
			if values[i] != "" && path.Clean(values[i]) == path.Clean(values[j]) {
				p.errorf(p.at(keys[i]), keys[i], "give each its own file", "is the same file as %s", keys[j])
				break
			}
		}
	}
}

// namedLike warns when the file's name speaks of something else than the line: a config picked by mistake once left
// a line without control for days.
func (p *parser) namedLike(name string) {
	stem := strings.ToLower(path.Base(p.file))
	for _, cut := range []string{".yaml", ".yml", ".example"} {
		stem = strings.TrimSuffix(stem, cut)
	}
	words := strings.FieldsFunc(stem, func(c rune) bool { return strings.ContainsRune("_-. 0123456789", c) })
	plain := strings.ToLower(name)
	telling := false
	for _, w := range words {
		if strings.Contains(plain, w) || strings.Contains(w, plain) {
			return
		}
		switch w {
		case "config", "wan", "wanctl", "minimal", "example", "test", "autorate", "primary", "alternate", "reference", "v":
		default:
			telling = true
		}
	}
	if name != "" && telling {
		p.warnf(p.at("wan_name"), "wan_name", "is it the right file?", "is %q in a file called %q", name, path.Base(p.file))
	}
}
