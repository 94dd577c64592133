package config

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"wanctl/internal/document"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Alternate is how the other line is measured.
type Alternate struct {
	// Source is the address whose packets the router sends through the alternate; the zero address: no own probes.
	Source netip.Addr
	// PingHost is the reflector of those probes: alternate.ping_host, else measurement.ping_host.
	PingHost string
	// Queue is the alternate's download queue; empty when not named.
	Queue string
	// StateSource is the alternate's feed or state file; empty when not named.
	StateSource string
}

// Steering is a steering controller's validated settings.
type Steering struct {
	// Name is this controller's own; the lines' names are Steer.Primary and Steer.Alternate.
	Name   string
	Router Router
	// PrimaryWANConfig is the path of the primary's WAN config; empty when not named. See [Steering.Adopt].
	PrimaryWANConfig string
	// Source is the primary's feed or state file. CakeStateSources is all of cake_state_sources, by the file's names.
	Source           string
	CakeStateSources map[string]string
	Alternate        Alternate
	// RuleComment is the exact comment of the one rule that is switched.
	RuleComment string
	// AllowLegacyRule switches a rule of another form than the safe one.
	AllowLegacyRule bool
	// Classes are what may move, in the order of their admission.
	Classes []Class
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
	switch own := s.Queues; {
	case own.Simple != "": // one queue is all there is
	case own.Download == "" && own.Upload == "":
		s.Queues = primary.Queues
	case own.Download == "":
		s.Queues.Download = primary.Queues.Download
	case own.Upload == "":
		s.Queues.Upload = primary.Queues.Upload
	}
	if !s.Probe.Bound() {
		s.Probe = primary.Probe
	}
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
		RuleComment:      p.text("mangle_rule.comment"),
		AllowLegacyRule:  p.flag("allow_legacy_rule"),
		PingHost:         p.text("measurement.ping_host"),
		PingCount:        int(p.num("measurement.ping_count")),
		Probe:            p.probe("measurement"),
		Timeouts:         p.timeouts(),
		Logging:          p.logging(),
		LockFile:         p.fileOr("lock_file", p.opt.Dirs.Run, suffixed(name, ".lock")),
		StateFile:        p.fileOr("state.file", p.opt.Dirs.State, suffixed(name, "_state.json")),
	}
	s.Alternate = Alternate{
		Source: p.addr("alternate.ping_source_ip"), PingHost: p.text("alternate.ping_host"),
		Queue: p.text("alternate.queue"), StateSource: p.text("alternate.state_source"),
	}
	if s.Alternate.PingHost == "" {
		s.Alternate.PingHost = s.PingHost
	}
	p.require("mangle_rule.comment", "measurement.interval_seconds", "measurement.ping_host", "measurement.ping_count")
	s.Classes = p.classes()
	primary, alternate := p.lines(s)
	p.queues(s, primary, alternate)
	p.alternate(s)
	p.steeringOrder()
	p.steeringFiles(s)
	if p.errors > 0 {
		return nil
	}
	s.Steer = p.steer(primary, alternate)
	s.Steer.AlternateCheck.Configured = s.Alternate.Source.IsValid() || s.Alternate.StateSource != ""
	if err := s.Steer.Validate(); err != nil {
		p.errorf(p.root, "", "", "%v", err)
		return nil
	}
	return s
}

const sources = "cake_state_sources"

// lines finds the two lines' names and their feeds.
func (p *parser) lines(s *Steering) (primary, alternate string) {
	primary, alternate = p.text("topology.primary_wan"), p.text("topology.alternate_wan")
	if primary != "" && strings.EqualFold(primary, alternate) {
		p.errorf(p.at("topology.alternate_wan"), "topology.alternate_wan", "name the other line", "%q is the primary, too", alternate)
	}
	if same(p.addr("measurement.ping_source_ip"), p.addr("alternate.ping_source_ip")) {
		p.errorf(p.at("alternate.ping_source_ip"), "alternate.ping_source_ip", "give each line its own address",
			"is the source of the primary's probes, too")
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
			if !strings.EqualFold(leaf(k), alternate) && leaf(k) != "alternate" {
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
		return primary, alternate
	}
	s.Source = p.text(mine)
	if primary == "" {
		primary = leaf(mine)
	}
	return primary, p.otherSource(s, others, alternate)
}

// otherSource takes the entry of cake_state_sources that is not the primary's as the alternate's.
func (p *parser) otherSource(s *Steering, others []string, alternate string) string {
	for i, k := range others {
		named := alternate != "" && (strings.EqualFold(leaf(k), alternate) || leaf(k) == "alternate")
		switch {
		case alternate != "" && !named:
			p.errorf(p.given[k], k, "steering is between two lines", "is neither the primary nor the alternate, %q", alternate)
		case i > 0:
			p.errorf(p.given[k], k, "steering is between two lines", "is a third line")
		case s.Alternate.StateSource != "" && s.Alternate.StateSource != p.text(k):
			p.errorf(p.given[k], k, "keep one of them", "is another file than alternate.state_source")
		default:
			s.Alternate.StateSource = p.text(k)
			if alternate == "" {
				alternate = leaf(k)
			}
		}
	}
	return alternate
}

// same reports whether both addresses are given and equal.
func same(a, b netip.Addr) bool { return a.IsValid() && a == b }

// queues finds the primary's queues, by "primary" or the line's name.
func (p *parser) queues(s *Steering, primary, alternate string) {
	put := func(at pos, key string, to *string) {
		if *to != "" && *to != p.text(key) {
			p.errorf(at, key, "keep one of them", "names another queue than an earlier key for the same")
			return
		}
		*to = p.text(key)
	}
	ignored := ""
	for _, k := range p.order {
		if parent(k) != "cake_queues" {
			continue
		}
		line, way, _ := cutLast(leaf(k), '_')
		mine := line == "primary" || strings.EqualFold(line, primary)
		other := line == "alternate" || (alternate != "" && strings.EqualFold(line, alternate))
		switch {
		case mine && way == "download":
			put(p.given[k], k, &s.Queues.Download)
		case mine && way == "simple":
			put(p.given[k], k, &s.Queues.Simple)
		case mine:
			put(p.given[k], k, &s.Queues.Upload)
		case other && way == "download":
			put(p.given[k], k, &s.Alternate.Queue)
		case other:
			put(p.given[k], k, &ignored) // nobody reads the alternate's upload queue
		default:
			hint := "write primary_" + way
			if n, ok := document.Nearest(line, []string{"primary", "alternate", strings.ToLower(primary), strings.ToLower(alternate)}); ok {
				hint = "did you mean " + n + "_" + way + "?"
			}
			p.errorf(p.given[k], k, hint, "%q is none of the two lines", line)
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

// alternate says what cannot be known about the other line.
func (p *parser) alternate(s *Steering) {
	if p.has("alternate.ping_host") && !p.has("alternate.ping_source_ip") {
		p.warnf(p.at("alternate.ping_host"), "alternate.ping_host", "give alternate.ping_source_ip",
			"has no effect: without a source address a probe cannot leave through the alternate")
	}
	if !p.has("alternate.ping_source_ip") && s.Alternate.StateSource == "" {
		at := p.root
		if p.has("alternate") {
			at = p.at("alternate")
		}
		p.warnf(at, "alternate", "give alternate.ping_source_ip or alternate.state_source",
			"the other line is not measured: nothing checks that it is the better one before connections move to it")
	}
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
		{"alternate.state_source", s.Alternate.StateSource},
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
func (p *parser) steer(primary, alternate string) steer.Config {
	const th, v3 = "thresholds.", "steering_v3."
	ms := func(k string) unit.Millis { return unit.Millis(p.num(k)) }
	n := func(k string) int { return int(p.num(k)) }
	share, _ := unit.FromFactor(p.num("alternate.margin_share")) // bounded by the schema
	c := steer.Config{
		Primary: primary, Alternate: alternate,
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
		AlternateCheck: steer.AlternateCheck{MarginMS: ms("alternate.margin_ms"), MarginShare: share},
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
