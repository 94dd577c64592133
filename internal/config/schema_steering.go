package config

import "slices"

// steeringKeys is the schema of a steering config, in the order of the reference.
var steeringKeys = slices.Concat(
	[]key{
		{
			path: "wan_name", typ: typeText, form: formName, def: "steering",
			doc: "Name of this controller, for its files. Letters, digits, _ . - and at most 64 of them.",
		},
		was("schema_version", "the format is known by its keys"),
		section("topology", "The two lines."),
		{
			path: "topology.primary_wan", typ: typeText, form: formName, defWords: "the name cake_state_sources gives it",
			doc: "The line that normally carries everything. Its name, in capitals, is in the states.", example: "Spectrum",
		},
		{
			path: "topology.primary_wan_config", typ: typeText, form: formPath, defWords: "none",
			doc:     "The primary's WAN config. What this file does not say (queues, source of probes) is taken from it.",
			example: "/etc/wanctl/spectrum_config.yaml",
		},
		{
			path: "topology.alternate_wan", typ: typeText, form: formName, defWords: "the second name of cake_state_sources",
			doc: "The line that new latency-sensitive connections move to.", example: "ATT",
		},
	},
	routerKeys,
	[]key{
		section("mangle_rule", "The rule that is switched on and off."),
		{
			path: "mangle_rule.comment", typ: typeText, form: formPlain, required: "unless transport is linux",
			doc:     "Exact comment of exactly one mangle rule, which marks new connections.",
			example: `"ADAPTIVE: Steer latency-sensitive to ATT"`,
		},
		{
			path: "mangle_rule.switch", typ: typeWord, def: SwitchRule, words: []string{SwitchRule, SwitchList},
			doc: "rule: the rule is enabled and disabled, and stays as it is when nobody is left to disable it. list: the rule is always enabled and " +
				"takes what is on an address list, wanctl-steer-LINE, whose entries last 60 s unless they are renewed: no write to flash, and " +
				"normal routing by itself.",
		},
		{
			path: "allow_legacy_rule", typ: typeBool, def: "false",
			doc: "Switch a rule of another form, too: one that marks only the first packet breaks connections.",
		},
	},
	linuxSteerKeys(),
	classKeys(),
	overrideKeys(),
	[]key{
		section("cake_state_sources", "The feed (or state file) of each line's controller, by line; an entry that is not the primary's is an alternate's."),
		{
			path: "cake_state_sources.primary", typ: typeText, form: formPath, required: "unless an entry has the primary's name",
			doc: "The primary's feed. With its state file instead, only the baseline is known.", example: "/run/wanctl/Spectrum_feed.json",
		},
		{
			path: "cake_state_sources.*", typ: typeText, form: formPath, defWords: "none", off: true,
			doc: "The same under the line's own name, for the primary or an alternate.", example: "/run/wanctl/ATT_feed.json",
		},
		section("alternate", "How the other line is measured. Without it nothing checks that it is the better one."),
	},
	alternateKeys(first),
	furtherKeys(),
	[]key{
		section("measurement", "Steering's own probes of the primary."),
		{
			path: "measurement.interval_seconds", typ: typeNumber, unit: "s", min: 0.5, max: 60, required: "always",
			doc: "Period of the assessment.", example: "2",
		},
		{
			path: "measurement.ping_host", typ: typeText, form: formHost, required: "always",
			doc: "Reflector.", example: "1.1.1.1",
		},
		{
			path: "measurement.ping_count", typ: typeInteger, min: 1, max: 20, required: "always",
			doc: "Newest replies whose median is the measurement.", example: "3",
		},
	},
	probeKeys("measurement"),
	[]key{
		was("measurement.backend", "probes are our own, there is no ping program to choose"),
		section("cake_queues", "The primary's queues on the router."),
		{
			path: "cake_queues.primary_download", typ: typeText, form: formName, defWords: "that of topology.primary_wan_config",
			doc: "The queue whose drops and depth confirm a congestion.", example: "WAN-Download-Spectrum",
		},
		{
			path: "cake_queues.primary_upload", typ: typeText, form: formName, defWords: "that of topology.primary_wan_config",
			doc: "The upload's queue; checked, and not read yet.", example: "WAN-Upload-Spectrum",
		},
		queueKeyOff("cake_queues.primary_simple", "In place of both: the primary's one entry of /queue/simple.", "WAN-Spectrum"),
		queueKeyOff("cake_queues.*_download", "The same under the line's own name.", "WAN-Download-ATT"),
		queueKeyOff("cake_queues.*_upload", "The same under the line's own name.", "WAN-Upload-ATT"),
		queueKeyOff("cake_queues.*_simple", "The same under the line's own name.", "WAN-ATT"),
		section("mode", "How congestion is assessed."),
		{
			path: "mode.cake_aware", typ: typeBool, def: "true",
			doc: "Delay must be confirmed by drops, queue or the rate controller. false: delay alone decides.",
		},
		was("mode.reset_counters", "counters are never reset on the router, their deltas are read"),
		was("mode.enable_yellow_state", "YELLOW is always told apart"),
		was("mode.use_confidence_scoring", "write steering_v3.enabled"),
		was("confidence", "write steering_v3.confidence"),
		{
			path: "vote", typ: typeWord, def: "any", words: []string{"any", "all"},
			doc: "One confirmation is enough, or delay, drops and queue must agree (RouterOS does not count CAKE's drops: never).",
		},
	},
	confirmKeys(),
	[]key{
		section("thresholds", "Of the delay over the baseline and of the queue. Order: green <= yellow <= red."),
		msKey("thresholds.green_rtt_ms", "5", "Only checked for order."),
		msKey("thresholds.yellow_rtt_ms", "15", "Above it: YELLOW."),
		msKey("thresholds.red_rtt_ms", "15", "Above it, and confirmed: RED."),
		{
			path: "thresholds.min_drops_red", typ: typeNumber, unit: "per 1000 packets", def: "1", max: 1000, open: true,
			doc: "Drops and marks that confirm RED.",
		},
		{
			path: "thresholds.min_queue_yellow", typ: typeNumber, unit: "packets", def: "10", max: 1_000_000, open: true,
			doc: "Average queue that means YELLOW.",
		},
		{
			path: "thresholds.min_queue_red", typ: typeNumber, unit: "packets", def: "50", max: 1_000_000, open: true,
			doc: "Average queue that confirms RED.",
		},
		{
			path: "thresholds.rtt_ewma_alpha", typ: typeNumber, def: "0.3", max: 1, open: true,
			doc: "Weight of a new sample in the average delay.",
		},
		{
			path: "thresholds.queue_ewma_alpha", typ: typeNumber, def: "0.4", max: 1, open: true,
			doc: "Weight of a new sample in the average queue.",
		},
		countKey("thresholds.red_samples_required", "2", "Consecutive RED cycles before new connections move."),
		countKey("thresholds.green_samples_required", "15", "Consecutive GREEN cycles before they move back."),
		section("thresholds.baseline_rtt_bounds", "A baseline outside is not believed."),
		{path: "thresholds.baseline_rtt_bounds.min", typ: typeNumber, unit: "ms", def: "1", max: 10_000, open: true, doc: "Lower limit."},
		{path: "thresholds.baseline_rtt_bounds.max", typ: typeNumber, unit: "ms", def: "500", max: 10_000, open: true, doc: "Upper limit."},
		msKey("thresholds.bad_threshold_ms", "25", "With cake_aware: false: above it, RED."),
		msKey("thresholds.recovery_threshold_ms", "12", "With cake_aware: false: at or below it, GREEN."),
		countKey("thresholds.bad_samples", "8", "With cake_aware: false: RED cycles before new connections move."),
		countKey("thresholds.good_samples", "15", "With cake_aware: false: GREEN cycles before they move back."),
	},
	brakeKeys(),
	[]key{
		section("state", "What survives a restart."),
		{
			path: "state.file", typ: typeText, form: formPath, defWords: "in the state directory",
			doc: "The file.", example: "/var/lib/wanctl/steering_state.json",
		},
		{
			path: "state.history_size", typ: typeInteger, def: "50", min: 1, max: 10_000,
			doc: "Changes of state that are remembered; a state file keeps 1000 of them, and the history beside it (wanctl steer history) tells more.",
		},
		section("steering_v3", "A second way to decide: a score from 0 to 100 that must last."),
		{path: "steering_v3.enabled", typ: typeBool, def: "false", doc: "Compute the score."},
		section("steering_v3.confidence", "The score."),
		scoreKey("steering_v3.confidence.steer_threshold", "70", 1, "Score from which new connections may move."),
		scoreKey("steering_v3.confidence.recovery_threshold", "20", 0, "Score up to which they may move back; below steer_threshold."),
		secondsKey("steering_v3.confidence.sustain_duration_sec", "20", "How long the first must hold."),
		secondsKey("steering_v3.confidence.recovery_sustain_sec", "60", "How long the second must hold."),
		section("steering_v3.timers", "Patience."),
		secondsKey("steering_v3.timers.hold_down_duration_sec", "600", "Least time away from the primary."),
		section("steering_v3.flap_detection", "A brake for a line that comes and goes."),
		{path: "steering_v3.flap_detection.enabled", typ: typeBool, def: "true", doc: "Use the brake."},
		{
			path: "steering_v3.flap_detection.window_minutes", typ: typeNumber, unit: "min", def: "30", max: 1440, open: true,
			doc: "Time over which changes are counted.",
		},
		countKey("steering_v3.flap_detection.max_toggles", "3", "Changes that are still fine."),
		scoreKey("steering_v3.flap_detection.penalty_threshold_add", "20", 0, "Added to steer_threshold after one too many."),
		secondsKey("steering_v3.flap_detection.penalty_duration_sec", "1800", "For how long."),
		section("steering_v3.dry_run", "A trial."),
		{
			path: "steering_v3.dry_run.enabled", typ: typeBool, def: "true",
			doc: "The vote stays in charge, and the log says what the score would have done.",
		},
		section("timeouts", "Patience."),
		{
			path: "timeouts.ssh_command", typ: typeNumber, unit: "s", def: "30", min: 0.1, max: 300,
			doc: "For one round trip to the router.",
		},
		{
			path: "timeouts.ping", typ: typeNumber, unit: "s", def: "2", min: 0.05, max: 10,
			doc: "For one probe of a single cycle (--once). A running loop takes every reply up to 10 s: a line that bloats that far must not look silent.",
		},
		{
			path: "timeouts.ping_total", typ: typeNumber, unit: "s", def: "10", min: 0.1, max: 60,
			doc: "For all probes of a single cycle (--once).",
		},
	},
	loggingKeys,
	[]key{
		was("logging.log_cake_stats", "the line of each cycle has them"),
		{
			path: "lock_file", typ: typeText, form: formPath, defWords: "in the run directory",
			doc: "One instance: the file that says so.", example: "/run/wanctl/steering.lock",
		},
		was("lock_timeout", "locks have owners, not ages"),
	},
	reservedKeys,
	[]key{
		was("route_management", "routes are never edited; the router's own failover acts"),
		was("wan_state", "the rate controller's state has its place in the vote and in steering_v3"),
		was("capacity_protection", "only small, latency-sensitive connections move"),
		was("tuning", "nothing tunes itself"),
		was("storage", "there is no database"),
	},
)

func queueKeyOff(path, doc, example string) key {
	k := queueKey(path, doc, example)
	k.defWords, k.off = "none", true
	return k
}

func msKey(path, def, doc string) key {
	return key{path: path, typ: typeNumber, unit: "ms", def: def, max: 10_000, open: true, doc: doc}
}

func countKey(path, def, doc string) key {
	return key{path: path, typ: typeInteger, def: def, min: 1, max: 1000, doc: doc}
}

func scoreKey(path, def string, low float64, doc string) key {
	return key{path: path, typ: typeInteger, def: def, min: low, max: 100, doc: doc}
}

func secondsKey(path, def, doc string) key {
	return key{path: path, typ: typeNumber, unit: "s", def: def, max: 86_400, doc: doc}
}
