package config

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"wanctl/internal/document"
	"wanctl/internal/flow"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Steering is a steering controller's validated settings.
type Steering struct {
	// Name is this controller's own; the lines' names are Steer.Primary and those of Alternates.
	Name   string
	Router Router
	// PrimaryWANConfig is the path of the primary's WAN config; empty when not named. See [Steering.Adopt].
	PrimaryWANConfig string
	// Source is the primary's feed or state file. CakeStateSources is all of cake_state_sources, by the file's names.
	Source           string
	CakeStateSources map[string]string
	// Alternates are the lines that connections may move to, in the order of the file: the first, topology.alternate_wan, is
	// always there; those of alternates follow. Steer.Alternates has the same order.
	Alternates []Alternate
	// AllowLegacyRule switches a rule of another form than the safe one.
	AllowLegacyRule bool
	// Linux is what is known of this host where it is the router; nil elsewhere.
	Linux *LinuxSteering
	// Policy is by which line a connection goes: the lines, classes, overrides, and the addresses that measure a line. Its
	// Elsewhere is the backend's, and its Lists lack those that a RouterOS router has of its own.
	Policy flow.Policy
	// Switch is how a rule of RouterOS is switched: SwitchRule or SwitchList.
	Switch string
	// PingHost is the reflector of steering's own probes, PingCount the replies whose median counts, 1 to 20.
	PingHost  string
	PingCount int
	// Probe is how those probes are sent through the primary.
	Probe Probe
	// Queues are the primary's. All may be empty until [Steering.Adopt].
	Queues   Queues
	Timeouts Timeouts
	Logging  Logging
	// LockFile and StateFile are empty when neither the config nor [Options.Dirs] says where.
	LockFile, StateFile string
	// Steer is the ready configuration of the decision; its Validate has passed.
	Steer steer.Config
}

// Adopt takes from the primary's WAN config what the steering config leaves open: its queues and how its probes are
// sent. It changes nothing that the steering config says.
func (s *Steering) Adopt(primary *WAN) {
	theirs := primary.Queues
	if primary.Router.Transport == TransportLinux { // its queues go by their interfaces
		theirs = Queues{Download: primary.Interfaces.Download, Upload: primary.Interfaces.Upload}
	}
	switch own := s.Queues; {
	case own.Simple != "": // one queue is all there is
	case own.Download == "" && own.Upload == "":
		s.Queues = theirs
	case own.Download == "":
		s.Queues.Download = theirs.Download
	case own.Upload == "":
		s.Queues.Upload = theirs.Upload
	}
	if !s.Probe.Bound() {
		s.Probe = primary.Probe
	}
	s.Policy.Sources = s.sources(s.Policy.Primary)
}

// steering judges a steering config whose values have passed their own checks.
func (p *parser) steering() *Steering {
	name := p.text("wan_name")
	if !strings.Contains(strings.ToLower(name), "steer") {
		name = suffixed(name, "_steering") // so that its files are not those of a line of the same name
	}
	s := &Steering{
		Name:             p.text("wan_name"),
		Router:           p.router(),
		PrimaryWANConfig: p.text("topology.primary_wan_config"),
		AllowLegacyRule:  p.flag("allow_legacy_rule"),
		PingHost:         p.text("measurement.ping_host"),
		PingCount:        int(p.num("measurement.ping_count")),
		Probe:            p.probe("measurement"),
		Timeouts:         p.timeouts(),
		Logging:          p.logging(),
		LockFile:         p.fileOr("lock_file", p.opt.Dirs.Run, suffixed(name, ".lock")),
		StateFile:        p.fileOr("state.file", p.opt.Dirs.State, suffixed(name, "_state.json")),
	}
	if !p.onLinux() {
		p.require("mangle_rule.comment")
	}
	p.require("measurement.interval_seconds", "measurement.ping_host", "measurement.ping_count")
	s.Alternates = p.alternates()
	s.Switch = p.text("mangle_rule.switch")
	primary := p.lines(s)
	s.Policy = p.policy(s, primary)
	p.alternatesDiffer(s, primary)
	s.Linux = p.linuxSteering(s, primary)
	s.Policy.Six = s.Linux != nil && s.Linux.Six
	p.queues(s, primary)
	p.alternatesUnmeasured(s)
	p.steeringOrder()
	p.steeringFiles(s)
	if p.errors > 0 {
		return nil
	}
	s.Steer = p.steer(primary, s.Alternates)
	if err := s.Steer.Validate(); err != nil {
		p.errorf(p.root, "", "", "%v", err)
		return nil
	}
	return s
}

const sources = "cake_state_sources"

// lines finds the lines' names and their feeds, and returns the primary's name.
func (p *parser) lines(s *Steering) (primary string) {
	primary = p.text("topology.primary_wan")
	alternate := s.Alternates[0].Name
	if primary != "" && strings.EqualFold(primary, alternate) {
		p.errorf(p.at("topology.alternate_wan"), "topology.alternate_wan", "name the other line", "%q is the primary, too", alternate)
	}
	s.CakeStateSources = map[string]string{}
	mine, others := "", []string{}
	for _, k := range p.order {
		if parent(k) != sources {
			continue
		}
		n := leaf(k)
		if why, hint := checkName(n); why != "" {
			p.errorf(p.given[k], sources, hint, "%s", why)
			continue
		}
		s.CakeStateSources[n] = p.text(k)
		switch {
		case n == "primary" || (primary != "" && strings.EqualFold(n, primary)):
			if mine != "" {
				p.errorf(p.given[k], k, "keep one of them", "%s names the primary's source, too", mine)
			}
			mine = k
		default:
			others = append(others, k)
		}
	}
	if mine == "" && primary == "" {
		// Without a primary by name, the first that is not the alternate is it.
		for i, k := range others {
			if s.byName(leaf(k)) < 0 {
				mine, others = k, slices.Delete(others, i, i+1)
				break
			}
		}
		if mine != "" && len(others) > 0 && alternate == "" {
			p.warnf(p.given[mine], mine, "write topology.primary_wan", "is taken for the primary, being the first")
		}
	}
	if mine == "" && !p.lost(sources+".primary") {
		hint := "write primary: /run/wanctl/NAME_feed.json"
		if len(others) > 0 && primary != "" {
			hint = "none of its entries is called primary or " + primary
		}
		p.errorf(p.at(sources), sources+".primary", hint, "is required")
	}
	if mine == "" {
		return primary
	}
	s.Source = p.text(mine)
	if primary == "" {
		primary = leaf(mine)
	}
	p.otherSources(s, others)
	return primary
}

// otherSources takes the entries of cake_state_sources that are not the primary's as the alternates'.
func (p *parser) otherSources(s *Steering, others []string) {
	one := &s.Alternates[0]
	named := one.Name != ""
	for i, k := range others {
		to := s.byName(leaf(k))
		if to < 0 && !named { // the first alternate's name is that of its feed
			to = 0
		}
		switch {
		case to < 0 && len(s.Alternates) == 1:
			p.errorf(p.given[k], k, "name it in alternates, or remove it", "is neither the primary nor the alternate, %q", one.Name)
		case to < 0:
			p.errorf(p.given[k], k, "name it in alternates, or remove it", "is none of the lines")
		case !named && i > 0 && len(s.Alternates) == 1:
			p.errorf(p.given[k], k, "name it in alternates, or remove it", "is a third line")
		case s.Alternates[to].StateSource != "" && s.Alternates[to].StateSource != p.text(k):
			p.errorf(p.given[k], k, "keep one of them", "is another file than %s.state_source", s.placeOf(to))
		default:
			s.Alternates[to].StateSource = p.text(k)
			if to == 0 && one.Name == "" {
				one.Name = leaf(k)
			}
		}
	}
}

// same reports whether both addresses are given and equal.
func same(a, b netip.Addr) bool { return a.IsValid() && a == b }

// queues finds the primary's queues, by "primary" or the line's name.
func (p *parser) queues(s *Steering, primary string) {
	put := func(at pos, key string, to *string) {
		if *to != "" && *to != p.text(key) {
			p.errorf(at, key, "keep one of them", "names another queue than an earlier key for the same")
			return
		}
		*to = p.text(key)
	}
	ignored := map[int]*string{}
	for _, k := range p.order {
		if parent(k) != "cake_queues" {
			continue
		}
		line, way, _ := cutLast(leaf(k), '_')
		mine := line == "primary" || strings.EqualFold(line, primary)
		other := s.byName(line)
		switch {
		case mine && way == "download":
			put(p.given[k], k, &s.Queues.Download)
		case mine && way == "simple":
			put(p.given[k], k, &s.Queues.Simple)
		case mine:
			put(p.given[k], k, &s.Queues.Upload)
		case other >= 0 && way == "download":
			put(p.given[k], k, &s.Alternates[other].Queue)
		case other >= 0:
			if ignored[other] == nil {
				ignored[other] = new(string)
			}
			put(p.given[k], k, ignored[other]) // nobody reads an alternate's upload queue
		default:
			lines := []string{"primary", first, strings.ToLower(primary)}
			for _, a := range s.Alternates {
				lines = append(lines, strings.ToLower(a.Name))
			}
			hint := "write primary_" + way
			if n, ok := document.Nearest(line, lines); ok {
				hint = "did you mean " + n + "_" + way + "?"
			}
			none := "two"
			if len(s.Alternates) > 1 {
				none = "configured"
			}
			p.errorf(p.given[k], k, hint, "%q is none of the %s lines", line, none)
		}
	}
	if s.Queues.Simple != "" && (s.Queues.Download != "" || s.Queues.Upload != "") {
		p.errorf(p.at("cake_queues"), "cake_queues", "keep either the simple queue or the two of the tree",
			"names queues of the tree beside the simple queue %s, which has both directions", s.Queues.Simple)
	}
	if s.Queues.Download == "" && s.Queues.Simple == "" && p.flag("mode.cake_aware") && s.PrimaryWANConfig == "" &&
		!p.has("cake_queues.primary_download") && !p.lost("cake_queues.primary_download") && !p.lost("cake_queues.primary_simple") {
		without := "is not given: the vote works without the queue's drops and depth, so only the rate controller confirms a congestion"
		if p.text("vote") == steer.VoteAll.String() {
			without = "is not given, and vote: all needs the queue's drops and depth: it never finds a congestion"
		}
		p.warnf(p.at("cake_queues"), "cake_queues.primary_download",
			"give it, or name topology.primary_wan_config, or set mode.cake_aware: false", "%s", without)
	}
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// steeringOrder checks values against each other.
func (p *parser) steeringOrder() {
	const th, conf = "thresholds.", "steering_v3.confidence."
	p.ordered(false, "green <= yellow <= red", th+"green_rtt_ms", th+"yellow_rtt_ms", th+"red_rtt_ms")
	p.ordered(false, "yellow <= red", th+"min_queue_yellow", th+"min_queue_red")
	p.ordered(false, "recovery <= bad", th+"recovery_threshold_ms", th+"bad_threshold_ms")
	p.ordered(true, "min < max", th+"baseline_rtt_bounds.min", th+"baseline_rtt_bounds.max")
	p.ordered(true, "recovery < steer", conf+"recovery_threshold", conf+"steer_threshold")
	p.ordered(false, "ping <= ping_total", "timeouts.ping", "timeouts.ping_total")
	p.ordered(false, "backoff <= backoff_max", "herd_damping.backoff_minutes", "herd_damping.backoff_max_minutes")
	if p.text("vote") == steer.VoteAll.String() && p.flag("mode.cake_aware") {
		for _, k := range []string{"confirm.drops", "confirm.queue"} {
			if !p.flag(k) {
				p.errorf(p.at(k), k, "remove the key, or write vote: any", "vote: all demands it")
			}
		}
	}
}

// steeringFiles checks that no two of the config's files are the same.
func (p *parser) steeringFiles(s *Steering) {
	type file struct{ key, path string }
	files := []file{
		{"lock_file", s.LockFile},
		{"state.file", s.StateFile},
		{"logging.main_log", s.Logging.Main},
		{"logging.debug_log", s.Logging.Debug},
		{sources, s.Source},
	}
	for i, a := range s.Alternates {
		files = append(files, file{s.placeOf(i) + ".state_source", a.StateSource})
	}
	for i, f := range files {
		for _, o := range files[:i] {
			if f.path != "" && o.path != "" && path.Clean(f.path) == path.Clean(o.path) {
				p.errorf(p.at(f.key), f.key, "give each its own file", "is the same file as %s", o.key)
				break
			}
		}
	}
}

// steer assembles the decision's configuration from checked values.
func (p *parser) steer(primary string, alternates []Alternate) steer.Config {
	const th, v3 = "thresholds.", "steering_v3."
	ms := func(k string) unit.Millis { return unit.Millis(p.num(k)) }
	n := func(k string) int { return int(p.num(k)) }
	c := steer.Config{
		Primary: primary, Alternates: candidates(alternates),
		Interval:    p.seconds("measurement.interval_seconds"),
		CakeAware:   p.flag("mode.cake_aware"),
		BaselineMin: ms(th + "baseline_rtt_bounds.min"), BaselineMax: ms(th + "baseline_rtt_bounds.max"),
		Thresholds: steer.Thresholds{
			GreenRTT: ms(th + "green_rtt_ms"), YellowRTT: ms(th + "yellow_rtt_ms"), RedRTT: ms(th + "red_rtt_ms"),
			MinDropsRed:    p.num(th + "min_drops_red"),
			MinQueueYellow: p.num(th + "min_queue_yellow"), MinQueueRed: p.num(th + "min_queue_red"),
			RTTAlpha: p.num(th + "rtt_ewma_alpha"), QueueAlpha: p.num(th + "queue_ewma_alpha"),
			RedSamples: n(th + "red_samples_required"), GreenSamples: n(th + "green_samples_required"),
		},
		RTTOnly: steer.RTTOnly{
			Bad: ms(th + "bad_threshold_ms"), Recovery: ms(th + "recovery_threshold_ms"),
			BadSamples: n(th + "bad_samples"), GoodSamples: n(th + "good_samples"),
		},
		Confirm: p.confirm(), Limits: p.limits(), Flap: p.flapBrake(), Herd: p.herd(),
		V3: steer.V3{
			Enabled:        p.flag(v3 + "enabled"),
			SteerThreshold: n(v3 + "confidence.steer_threshold"), RecoveryThreshold: n(v3 + "confidence.recovery_threshold"),
			Sustain: p.seconds(v3 + "confidence.sustain_duration_sec"), RecoverySustain: p.seconds(v3 + "confidence.recovery_sustain_sec"),
			HoldDown: p.seconds(v3 + "timers.hold_down_duration_sec"),
			Flap: steer.Flap{
				Enabled: p.flag(v3 + "flap_detection.enabled"), Window: p.duration(v3+"flap_detection.window_minutes", time.Minute),
				MaxToggles: n(v3 + "flap_detection.max_toggles"), PenaltyAdd: n(v3 + "flap_detection.penalty_threshold_add"),
				PenaltyFor: p.seconds(v3 + "flap_detection.penalty_duration_sec"),
			},
			DryRun: p.flag(v3 + "dry_run.enabled"),
		},
		HistorySize: n("state.history_size"),
	}
	_ = c.Vote.UnmarshalText([]byte(p.text("vote"))) // one of the schema's words
	return c
}
