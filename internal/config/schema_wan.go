package config

import "slices"

// cm is the section most of a WAN's keys live in.
const cm = "continuous_monitoring"

// wanKeys is the schema of a WAN config, in the order of the reference. Bounds and defaults are docs/reference.yaml's
// (section 3 of it); where it names none, they are what the controller can work with.
var wanKeys = slices.Concat(
	[]key{
		{
			path: "wan_name", typ: typeText, form: formName, required: "always",
			doc: "Name of the line: in log lines, files and status. Letters, digits, _ . - and at most 64 of them.", example: "Spectrum",
		},
		was("schema_version", "the format is known by its keys"),
	},
	routerKeys,
	[]key{
		section("queues", "The router's queues, by exact name. Their max-limit is the shaper rate."),
		queueKey("queues.download", "Queue of the traffic to the house, in /queue/tree.", "WAN-Download-Spectrum").when("for RouterOS, without queues.simple"),
		queueKey("queues.upload", "Queue of the traffic from the house, in /queue/tree.", "WAN-Upload-Spectrum").when("for RouterOS, without queues.simple"),
		queueKeyOff("queues.simple", "The one entry of /queue/simple that shapes both directions, in place of the two above. Its target is the house and its "+
			"dst the line; needs interfaces.wan.", "WAN-Spectrum"),
		section("interfaces", "Interfaces of the line.").commentedOut(),
		{
			path: "interfaces.wan", typ: typeText, form: formPlain, defWords: "the upload queue's parent", off: true,
			doc: "RouterOS: the interface the line is on, whose byte counters prove that the queues carry the traffic. " +
				"Needed where the upload queue's parent is another queue or \"global\", and with queues.simple.", example: "ether1",
		},
		{
			path: "interfaces.lan", typ: typeText, form: formPlain, defWords: "the router's one bridge", off: true,
			doc: "RouterOS: the interface the download leaves by, and the target of a new simple queue, for wanctl router plan.", example: "bridge",
		},
		{
			path: "interfaces.download", typ: typeText, form: formIface, required: "for transport linux", off: true,
			doc: "Linux: the interface whose CAKE shapes the download: an ifb (wanctl qdisc apply makes it where there is none), or " +
				"the one towards the house.", example: "ifb4wan",
		},
		{
			path: "interfaces.upload", typ: typeText, form: formIface, required: "for transport linux", off: true,
			doc: "Linux: the interface whose CAKE shapes the upload: the one the line is on.", example: "wan",
		},
	},
	qdiscKeys,
	[]key{
		section(cm, "The controller."),
		{
			path: cm + ".enabled", typ: typeBool, def: "true",
			doc: "false: measure, decide and log, but never write to the router.",
		},
		{
			path: cm + ".policy", typ: typeWord, def: "steps", words: []string{"steps", "tracking"},
			doc: "The law that moves the rates. tracking: measures what the line carries and keeps just under it. steps: four states with a floor each.",
		},
		{
			path: cm + ".interval_ms", typ: typeInteger, unit: "ms", def: "2000", min: 50, max: 60_000,
			doc: "Period of the controller. Everything stated per cycle keeps its meaning in real time.",
		},
		{
			path: cm + ".baseline_rtt_initial", typ: typeNumber, unit: "ms", min: 1, max: 500, defWords: "measured at start",
			doc: "Round-trip time of the idle line, as a first guess.", example: "24",
		},
		section(cm+".baseline_rtt_bounds", "Limits of the learnt baseline."),
		{path: cm + ".baseline_rtt_bounds.min", typ: typeNumber, unit: "ms", def: "1", max: 10_000, open: true, doc: "Lower limit."},
		{path: cm + ".baseline_rtt_bounds.max", typ: typeNumber, unit: "ms", def: "500", max: 10_000, open: true, doc: "Upper limit."},
		section(cm+".download", "Rates of the download. Order: red <= soft_red <= yellow <= green <= ceiling."),
	},
	directionKeys(cm+".download", true),
	[]key{section(cm+".upload", "Rates of the upload. It has three states; SOFT_RED is the download's alone.")},
	directionKeys(cm+".upload", false),
	[]key{
		section(cm+".thresholds", "Where the states begin, as delay over the baseline. Order: target < warn < critical."),
		bloatKey("target_bloat_ms", "Above it: YELLOW. At or below it: GREEN.", "15").when("under policy steps"),
		bloatKey("warn_bloat_ms", "Above it: SOFT_RED after 6 s (4 states), RED at once (3 states).", "45").when("under policy steps"),
		func() key {
			k := bloatKey("critical_bloat_ms", "Above it: RED at once (4 states).", "")
			k.def = "80"
			return k
		}(),
		bloatKey("hard_red_bloat_ms", "Earlier name of critical_bloat_ms.", "80").aliasOf(cm+".thresholds.critical_bloat_ms", false),
		{
			path: cm + ".thresholds.alpha_baseline", typ: typeNumber, def: "0.02", min: 0.001, max: 1,
			doc: "Weight of a new sample in the baseline, stated for a period of 2 s.",
		},
		{
			path: cm + ".thresholds.alpha_load", typ: typeNumber, def: "0.20", min: 0.01, max: 1,
			doc: "Weight of a new sample in the load average, stated for a period of 2 s.",
		},
		{
			path: cm + ".thresholds.baseline_update_threshold_ms", typ: typeNumber, unit: "ms", def: "3.0", max: 1000, open: true,
			doc: "The baseline learns only while load is less than this over it.",
		},
		section(cm+".thresholds.baseline_rtt_bounds", "Earlier place of baseline_rtt_bounds.").commentedOut(),
		key{
			path: cm + ".thresholds.baseline_rtt_bounds.min", typ: typeNumber, unit: "ms", max: 10_000, open: true,
			doc: "Lower limit.", example: "1",
		}.aliasOf(cm+".baseline_rtt_bounds.min", false),
		key{
			path: cm + ".thresholds.baseline_rtt_bounds.max", typ: typeNumber, unit: "ms", max: 10_000, open: true,
			doc: "Upper limit.", example: "500",
		}.aliasOf(cm+".baseline_rtt_bounds.max", false),
		was(cm+".thresholds.accel_threshold_ms", "RED already cuts at once above the last threshold"),
		was(cm+".thresholds.accel_confirm_cycles", "there is no accelerated cut to confirm"),
		was(cm+".thresholds.baseline_time_constant_sec", "write alpha_baseline instead: 1 - exp(-2/seconds); it is stated for 2 s whatever the period"),
		was(cm+".thresholds.load_time_constant_sec", "write alpha_load instead: 1 - exp(-2/seconds); it is stated for 2 s whatever the period"),
		was(cm+".thresholds.dwell_cycles", "YELLOW and RED begin at once, SOFT_RED after 6 s"),
		was(cm+".thresholds.deadband_ms", "states have no dead band; equality belongs to the milder state"),
		was(cm+".thresholds.suppression_alert_threshold", "nothing is suppressed"),
		{
			path: cm + ".profile", typ: typeWord, def: "balanced", words: []string{"latency", "balanced", "throughput"}, off: true,
			doc: "What policy tracking favours. No effect under steps.",
		},
		{
			path: cm + ".one_way", typ: typeBool, def: "true", off: true,
			doc: "Policy tracking: ask the reflectors for their clock (ICMP timestamps), which tells which way the delay is. Needs CAP_NET_RAW; round trips do without.",
		},
		section(cm+".irtt", "Policy tracking: a server of your own that speaks IRTT (irtt server), outside the line. It tells which way the delay "+
			"is to the microsecond, where reflectors do not, and is asked beside them.").commentedOut(),
		{
			path: cm + ".irtt.server", typ: typeText, form: formServer, required: "with irtt", off: true,
			doc: "Its name or address, and its UDP port where that is not 2112.", example: `"irtt.example.net:2112"`,
		},
		{
			path: cm + ".irtt.hmac_key", typ: typeSecret, defWords: "none", off: true,
			doc: "The key it was started with (--hmac; 0x for hexadecimal): from the environment (${NAME}) or from a file (file:/path). " +
				"The value itself works too, with a warning.",
			example: `"${IRTT_KEY}"`,
		},
		{
			path: cm + ".tcp_check", typ: typeBool, def: "true", off: true,
			doc: "Policy tracking: compare ICMP with TCP handshakes every few minutes while the line is loaded, where reflectors answer " +
				"them, and use those where the line treats ICMP unlike data.",
		},
		{
			path: cm + ".tcp_check_port", typ: typeInteger, min: 1, max: 65535, def: "443", off: true,
			doc: "TCP port of the reflectors that is asked. One that refuses answers, too.",
		},
		{
			path: cm + ".soft_red_action", typ: typeWord, def: "clamp", words: []string{"clamp", "hold"},
			doc: "Sustained SOFT_RED: clamp the rate to its floor and hold, or only hold, as the earlier system did.",
		},
		{
			path: cm + ".floor_lift", typ: typeWord, def: "state", words: []string{"state", "green"},
			doc: "When a floor lifts the rate: as soon as the state changes, or only in GREEN (better for new configs).",
		},
		{
			path: cm + ".cut_interval_ms", typ: typeInteger, unit: "ms", def: "2000", max: 60_000,
			doc: "Least time between two cuts in RED.",
		},
		{
			path: cm + ".rebaseline_after_s", typ: typeNumber, unit: "s", def: "120", min: 5, max: 600,
			doc: "A delay that stays high for so long while the line is idle is the path's: the baseline moves up to it.",
		},
		{
			path: cm + ".on_exit", typ: typeWord, def: "base", words: []string{"base", "last", "ceiling"},
			doc: "What a stop leaves on the router: base_mbps (the ceiling where none is given), the last rate, or the ceiling.",
		},
		{
			path: cm + ".ping_hosts", typ: typeList, form: formHost, required: "under policy steps",
			doc: "Reflectors, 1 to 16 names or addresses. With three or more and the median, one that lies moves nothing. Policy " +
				"tracking uses up to five at a time and replaces those that fail by the others; where none is named it chooses " +
				"from well-known public resolvers of ten operators.",
			example: "[1.1.1.1, 8.8.8.8, 9.9.9.9]",
		},
		{
			path: cm + ".use_median_of_three", typ: typeBool, def: "false", example: "true",
			doc: "Probe all hosts and take the median (three hosts or more). false: the first host alone is probed.",
		},
		{
			path: cm + ".ping_count", typ: typeInteger, def: "3", min: 1, max: 20,
			doc: "Newest replies of a host whose median is its value.",
		},
		key{
			path: cm + ".ping_source_ip", typ: typeText, form: formAddr, doc: "Other place of ping_source_ip.", example: "10.10.110.246",
		}.aliasOf("ping_source_ip", false),
		key{
			path: cm + ".ping_interface", typ: typeText, form: formIface, doc: "Other place of ping_interface.", example: "wan0",
		}.aliasOf("ping_interface", false),
		key{
			path: cm + ".ping_fwmark", typ: typeInteger, min: 1, max: 4_294_967_295, doc: "Other place of ping_fwmark.", example: "0x10",
		}.aliasOf("ping_fwmark", false),
		was(cm+".fallback_checks", "a line without replies is reported as such; nothing else is asked in their place"),
		was(cm+".warning_threshold_pct", "the loop never waits for the router, so a slow cycle needs no warning"),
		was(cm+".cake_stats_cadence_sec", "counters ride on the round trips to the router"),
	},
	probeKeys(""),
	[]key{
		section("timeouts", "Patience."),
		{
			path: "timeouts.ssh_command", typ: typeNumber, unit: "s", def: "15", min: 0.1, max: 300,
			doc: "For one round trip to the router.",
		},
		{
			path: "timeouts.ping", typ: typeNumber, unit: "s", def: "1", min: 0.05, max: 10,
			doc: "For one probe of a single cycle (--once). A running loop takes every reply up to 10 s: a line that bloats that far must not look silent.",
		},
	},
	loggingKeys,
	[]key{
		{
			path: "lock_file", typ: typeText, form: formPath, defWords: "in the run directory",
			doc: "One instance per line: the file that says so.", example: "/run/wanctl/%.lock",
		},
		was("lock_timeout", "locks have owners, not ages"),
		{
			path: "state_file", typ: typeText, form: formPath, defWords: "in the state directory",
			doc: "What survives a restart.", example: "/var/lib/wanctl/%_state.json",
		},
		{
			path: "feed_file", typ: typeText, form: formPath, defWords: "in the run directory",
			doc: "What steering reads, written every cycle: keep it on a memory file system.", example: "/run/wanctl/%_feed.json",
		},
	},
	journalKeys,
	reservedKeys,
	[]key{
		was("test", "no synthetic load is made"),
		was("bandwidth", "write floors and ceiling under continuous_monitoring"),
		was("tuning", "write thresholds under continuous_monitoring; nothing tunes itself"),
		was("k_factor", "factor_down does its work"),
		was("safety", "floors and ceiling do its work"),
		was("state", "write state_file"),
		was("passive_monitoring", "measuring is always passive"),
		was("measurement", "probes are our own, there is no ping program to choose"),
		was("cake_params", "the queue's type and its options stay as the router has them"),
		was("cake_optimization", "the queue's type and its options stay as the router has them"),
		was("cake_signal", "the delay alone moves the rates"),
		was("fusion", "the median of the reflectors does its work"),
		was("irtt", "write continuous_monitoring.irtt.server"),
		was("owd_asymmetry", "probes measure round trips"),
		was("reflector_quality", "the median ignores a bad reflector"),
		was("signal_processing", "the medians and averages of ping_count and thresholds do its work"),
		was("storage", "there is no database"),
	},
)

// qdiscKeys are what `wanctl qdisc` makes CAKE queues from.
var qdiscKeys = []key{
	section("qdisc", "How wanctl qdisc apply (Linux) and wanctl router apply (RouterOS) make the CAKE queues. Running controllers change their rates alone.").commentedOut(),
	{
		path: "qdisc.access", typ: typeWord, def: "none", words: accessWords(), off: true,
		doc: "How the line frames packets, so that CAKE counts them as the line does. conservative suits every line and costs " +
			"up to a seventh of it; none counts packets as Linux has them.", example: "docsis",
	},
	{
		path: "qdisc.overhead", typ: typeInteger, unit: "bytes", min: -64, max: 256, defWords: "by access", off: true,
		doc: "Bytes that the line adds to each packet, instead of access's own.", example: "44",
	},
	{
		path: "qdisc.mpu", typ: typeInteger, unit: "bytes", min: 0, max: 256, defWords: "by access", off: true,
		doc: "Least size of a packet on the line with its overhead, instead of access's own.", example: "84",
	},
	{
		path: "qdisc.link_layer", typ: typeWord, def: "auto", words: []string{"auto", "noatm", "atm", "ptm"}, off: true,
		doc: "Cells of the line, instead of access's own (auto): atm for ADSL, ptm for VDSL2, noatm for none.",
	},
	{
		path: "qdisc.ack_filter", typ: typeBool, def: "false", off: true,
		doc: "Drop superfluous TCP acknowledgements on the upload. Only where the download's ceiling is more than ten times the upload's.",
	},
}

func bloatKey(name, doc, example string) key {
	return key{
		path: cm + ".thresholds." + name, typ: typeNumber, unit: "ms", min: 0.5, max: 1000, doc: doc, example: example,
	}
}

func queueKey(path, doc, example string) key {
	return key{path: path, typ: typeText, form: formName, doc: doc, example: example}
}

// directionKeys are the keys of one direction. The reference shows the four floors for the download, one for the
// upload, and the other form commented out.
func directionKeys(at string, down bool) []key {
	pick := func(d, u string) string {
		if down {
			return d
		}
		return u
	}
	one := mbpsKey(at+".floor_mbps", "One floor for all states; not together with the per-state floors.", pick("25", "8")).
		when("unless floor_green_mbps is given, under policy steps")
	four := []key{
		mbpsKey(at+".floor_green_mbps", "Floor in GREEN; with it, each state has its own.", pick("550", "20")).
			when("unless floor_mbps is given, under policy steps"),
		mbpsKey(at+".floor_yellow_mbps", "Floor in YELLOW.", pick("350", "12")).when("with floor_green_mbps"),
		mbpsKey(at+".floor_soft_red_mbps", "Floor in SOFT_RED"+pick(".", "; the upload has no such state."), pick("275", "10")),
		mbpsKey(at+".floor_red_mbps", "Floor in RED: the lowest rate there is.", pick("200", "8")).when("with floor_green_mbps"),
	}
	four[2].defWords = "floor_yellow_mbps"
	if down {
		one = one.commentedOut()
	} else {
		for i := range four {
			four[i] = four[i].commentedOut()
		}
	}
	base := mbpsKey(at+".base_mbps", "What a stop leaves on the router (on_exit).", pick("900", "35")).commentedOut()
	base.defWords = "the ceiling"
	keys := slices.Concat([]key{one}, four, []key{
		mbpsKey(at+".ceiling_mbps", "The highest rate: a little under what the line carries.", pick("940", "38")).when("under policy steps"),
		base,
		{
			path: at + ".step_up_mbps", typ: typeNumber, unit: "Mbit/s", def: pick("10", "1"), min: 0.1, max: 1000,
			doc: "Growth per 2 s, from the fifth GREEN cycle on. Where step_up_mbps / alpha_load, at the ms of delay that 1 Mbit/s too much " +
				"costs this line, is more than warn_bloat_ms - target_bloat_ms, the rate can climb, be cut and climb again for ever: take a smaller step.",
		},
		{
			path: at + ".factor_down", typ: typeNumber, def: pick("0.85", "0.90"), min: 0.1, max: 1,
			doc: "What a cut leaves of the rate.",
		},
		{
			path: at + ".factor_down_yellow", typ: typeNumber, def: "1.0", min: 0.1, max: 1,
			doc: "What 2 s of YELLOW leave of the rate; 1.0 holds it.",
		},
		mbpsKey(at+".min_mbps", "Policy tracking's name of the red floor.", pick("200", "8")).aliasOf(at+".floor_red_mbps", true),
		mbpsKey(at+".max_mbps", "Policy tracking's name of the ceiling.", pick("940", "38")).aliasOf(at+".ceiling_mbps", true),
	})
	if !down {
		for _, n := range []string{"target_bloat_ms", "warn_bloat_ms"} {
			k := bloatKey(n, "The upload's own threshold.", pick("", map[bool]string{true: "15", false: "45"}[n[0] == 't']))
			k.path, k.defWords, k.off = at+"."+n, "that of thresholds", true
			keys = append(keys, k)
		}
		for _, n := range []string{
			"setpoint_mbps", "docsis_mode", "anti_windup_cycles", "consecutive_yellow_decay_clamp", "red_decay_step_pct",
			"red_decay_delta_max_pct", "integral_threshold_ms_s", "integral_window_seconds",
			"cake_backlog_low_threshold_bytes", "cake_delay_delta_low_threshold_us",
		} {
			keys = append(keys, was(at+"."+n, "the states alone move the upload"))
		}
	}
	return append(keys, was(at+".green_required", "growth begins with the fifth GREEN cycle (10 s)"))
}

// probeKeys are the three ways to send probes through the right line.
func probeKeys(section string) []key {
	return []key{
		{
			path: join(section, "ping_source_ip"), typ: typeText, form: formAddr, defWords: "the route's", off: true,
			doc: "Source address of the probes: the router must send it through this line.", example: "10.10.110.246",
		},
		{
			path: join(section, "ping_interface"), typ: typeText, form: formIface, defWords: "the route's", off: true,
			doc: "Interface the probes leave by.", example: "wan0",
		},
		{
			path: join(section, "ping_fwmark"), typ: typeInteger, min: 1, max: 4_294_967_295, defWords: "none", off: true,
			doc: "Firewall mark of the probes, for policy routing on this host (needs CAP_NET_ADMIN).", example: "0x10",
		},
	}
}

// journalKeys are the flight recorder's.
var journalKeys = []key{
	section("journal", "The flight recorder: every sample, counter, decision and write, for wanctl replay. See docs/journal.md.").commentedOut(),
	{
		path: "journal.dir", typ: typeText, form: formPath, defWords: "nothing is recorded", off: true,
		doc: "Directory of the recordings. Lines may share one.", example: "/var/lib/wanctl/journal",
	},
	{
		path: "journal.segment_mb", typ: typeInteger, unit: "MB", def: "8", min: 1, max: 1024, off: true,
		doc: "Size at which the next file begins.",
	},
	{
		path: "journal.keep_segments", typ: typeInteger, def: "8", min: 2, max: 1000, off: true,
		doc: "Files kept of a line; the oldest goes when another begins.",
	},
}
