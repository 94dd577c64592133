package config

import (
	"time"

	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// confirmKeys are the rows of the confirmations. Their defaults are the vote as it was first described.
func confirmKeys() []key {
	flag := func(name, def, doc string) key {
		return key{path: "confirm." + name, typ: typeBool, def: def, doc: doc}
	}
	return []key{
		section("confirm", "What confirms a delay over red_rtt_ms, with vote: any. A signal that cannot be read counts neither way."),
		flag("drops", "true", "Drops of at least min_drops_red."),
		flag("marks", "true", "Count packets that the queue marked (ECN) with those it dropped. RouterOS tells of none."),
		flag("queue", "true", "An average queue of at least min_queue_red; min_queue_yellow goes with it."),
		flag("controller", "true", "The rate controller has been at its floor, or has cut in vain, for 10 s."),
		{
			path: "confirm.queue_delay_ms", typ: typeNumber, unit: "ms", def: "0", max: 10_000,
			doc: "The queue itself adds at least that much, by CAKE's own figure. 0: not asked. Only queues of a Linux kernel tell it. 20 is a good figure.",
		},
		{
			path: "confirm.loss_percent", typ: typeNumber, unit: "%", def: "0", max: 100,
			doc: "That share of the newest 20 of steering's own probes has no answer after 3 s. 0: not asked. 5 is a good figure.",
		},
	}
}

// brakeKeys are the rows of what bounds steering beyond the vote. All of it is off by default.
func brakeKeys() []key {
	const window = "Time over which changes of state are counted."
	return []key{
		section("limits", "Bounds of a steering in time."),
		secondsKey("limits.hold_down_seconds", "0", "Least time that the vote leaves connections on the alternate. An alternate that turns RED or falls silent ends it before. "+
			"steering_v3 has its own."),
		secondsKey("limits.autorate_grace_seconds", "0", "How long RED must last before the vote steers, so that the rate controller can act first, while it is alive and "+
			"neither on its floor nor cutting in vain. With 0, red_samples_required alone counts."),
		{
			path: "limits.steered_max_hours", typ: typeNumber, unit: "h", def: "0", max: 672,
			doc: "Longest time that connections should stay on the alternate; then cap. 0: any.",
		},
		{
			path: "limits.cap", typ: typeWord, def: "alert", words: []string{"alert", "return"},
			doc: "After the longest time: only say so, or bring connections home too and steer again only after the primary was well.",
		},
		section("flap_brake", "The vote's brake for a line that comes and goes."),
		{path: "flap_brake.enabled", typ: typeBool, def: "false", doc: "Use the brake."},
		{path: "flap_brake.window_minutes", typ: typeNumber, unit: "min", def: "30", max: 1440, open: true, doc: window},
		countKey("flap_brake.max_toggles", "3", "Changes that are still fine."),
		secondsKey("flap_brake.penalty_seconds", "1800", "How long the one that was too many is felt."),
		{path: "flap_brake.red_factor", typ: typeInteger, def: "2", min: 1, max: 100, doc: "Meanwhile moving takes so many times red_samples_required"},
		{path: "flap_brake.margin_factor", typ: typeInteger, def: "2", min: 1, max: 100, doc: "and so many times the margins."},
		section("herd_damping", "What is done about an alternate that slows down because connections moved there."),
		{path: "herd_damping.enabled", typ: typeBool, def: "false", doc: "Bring them home, and leave the line alone for a while."},
		secondsKey("herd_damping.within_seconds", "60", "How soon after the move its delay must go over yellow_rtt_ms, and it was not over before, to be our doing."),
		{
			path: "herd_damping.backoff_minutes", typ: typeNumber, unit: "min", def: "1", max: 1440, open: true,
			doc: "How long it is left alone the first time; twice as long each further time in a row.",
		},
		{path: "herd_damping.backoff_max_minutes", typ: typeNumber, unit: "min", def: "30", max: 1440, open: true, doc: "At most."},
	}
}

// candidates are the alternates as the decision knows them.
func candidates(all []Alternate) (out []steer.Candidate) {
	for _, a := range all {
		out = append(out, steer.Candidate{
			Name: a.Name, Checked: a.Checked(), MarginMS: a.MarginMS, MarginShare: a.MarginShare, MaxLoad: a.MaxLoad, Room: a.Room,
		})
	}
	return out
}

// confirm reads the section.
func (p *parser) confirm() steer.Confirm {
	const at = "confirm."
	loss, _ := unit.FromFactor(p.num(at+"loss_percent") / 100) // bounded by the schema
	return steer.Confirm{
		Drops: p.flag(at + "drops"), Marks: p.flag(at + "marks"), Queue: p.flag(at + "queue"), Controller: p.flag(at + "controller"),
		QueueDelay: unit.Millis(p.num(at + "queue_delay_ms")), Loss: loss,
	}
}

// limits, flapBrake and herd read their sections.
func (p *parser) limits() steer.Limits {
	l := steer.Limits{
		HoldDown: p.seconds("limits.hold_down_seconds"), Grace: p.seconds("limits.autorate_grace_seconds"),
		SteeredMax: p.duration("limits.steered_max_hours", time.Hour),
	}
	_ = l.Cap.UnmarshalText([]byte(p.text("limits.cap"))) // one of the schema's words
	return l
}

func (p *parser) flapBrake() steer.VoteFlap {
	const at = "flap_brake."
	return steer.VoteFlap{
		Enabled: p.flag(at + "enabled"), Window: p.duration(at+"window_minutes", time.Minute), MaxToggles: int(p.num(at + "max_toggles")),
		PenaltyFor: p.seconds(at + "penalty_seconds"), RedFactor: int(p.num(at + "red_factor")), MarginFactor: int(p.num(at + "margin_factor")),
	}
}

func (p *parser) herd() steer.Herd {
	const at = "herd_damping."
	return steer.Herd{
		Enabled: p.flag(at + "enabled"), Within: p.seconds(at + "within_seconds"),
		BackOff: p.duration(at+"backoff_minutes", time.Minute), MaxBackOff: p.duration(at+"backoff_max_minutes", time.Minute),
	}
}
