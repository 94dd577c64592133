package preset

import (
	"cmp"
	"path"

	"wanctl/internal/link"
)

// RuleComment is the exact comment of the rule that sends new connections to a line.
func RuleComment(line string) string { return "ADAPTIVE: Steer latency-sensitive to " + line }

// steering writes the file of steering.
func (h House) steering() string {
	s := h.Steering
	primary := &h.Lines[s.Primary]
	var others []*Line
	for i := range h.Lines {
		if i != s.Primary {
			others = append(others, &h.Lines[i])
		}
	}
	var p page
	p.note(0, "Steering: new latency-sensitive connections leave by another line while "+primary.Name+" is congested. Written by \"wanctl init\"; every key is "+
		"explained in docs/reference.yaml, the choice in docs/steering.md.")
	p.put(0, "wan_name", "steering", "")
	p.gap()
	p.put(0, "topology", "", "")
	p.put(1, "primary_wan", text(primary.Name), "what is not steered goes by it")
	p.put(1, "primary_wan_config", text(path.Join(h.Dir, primary.Name+".yaml")), "its queues, and how it is probed")
	p.put(1, "alternate_wan", text(others[0].Name), "")
	p.gap()
	h.router(&p)
	if h.Router == nil {
		p.gap()
		p.put(0, "interfaces", "", "")
		p.put(1, "lan", list(s.LAN), "where the house comes in")
		p.gap()
		p.put(0, "lines", "", "the gateway is that of the main table's default route by the interface")
		for i := range h.Lines {
			p.put(1, text(h.Lines[i].Name), "{interface: "+text(h.Lines[i].Interface)+"}", "")
		}
	} else {
		p.gap()
		p.put(0, "mangle_rule", "", "exactly one rule has exactly this comment; it marks new connections")
		p.put(1, "comment", text(RuleComment(others[0].Name)), "")
	}
	p.gap()
	p.put(0, "cake_state_sources", "", "written every cycle by the lines' controllers on this host")
	p.put(1, "primary", text(h.feed(primary)), "")
	for _, l := range others {
		p.put(1, text(l.Name), text(h.feed(l)), "")
	}
	p.gap()
	p.put(0, "alternate", "", "move only to a line that is measurably the better one")
	h.alternate(&p, 1, others[0])
	if len(others) > 1 {
		p.gap()
		p.put(0, "alternates", "", "the best one that has room is taken")
		for _, l := range others[1:] {
			p.put(1, text(l.Name), "", "")
			if h.Router != nil {
				p.put(2, "comment", text(RuleComment(l.Name)), "")
			}
			h.alternate(&p, 2, l)
		}
	}
	p.gap()
	p.put(0, "measurement", "", "steering's own probes of "+primary.Name)
	p.put(1, "interval_seconds", "2", "")
	p.put(1, "ping_host", text(s.Reflector), "")
	p.put(1, "ping_count", "3", "the median of the newest three counts")
	if h.Router == nil {
		p.gap()
		p.put(0, "cake_queues", "", "")
		p.put(1, "primary_download", text(link.Ifb(primary.Interface)), "its drops, marks and depth confirm a congestion")
	}
	least, most := 0.0, 0.0
	for i := range h.Lines {
		if rtt := h.Lines[i].Idle.RTT; rtt > 0 {
			least, most = min(rtt, cmp.Or(least, rtt)), max(rtt, most)
		}
	}
	if b := bounds(least, most); b != "" {
		p.gap()
		p.put(0, "thresholds", "", "")
		p.put(1, "baseline_rtt_bounds", b, "ms; the usual bounds leave no room for what the idle lines have")
	}
	p.gap()
	p.put(0, "confirm", "", "")
	p.put(1, "loss_percent", "5", "a delay with lost probes is a congestion, too")
	p.gap()
	p.put(0, "limits", "", "")
	p.put(1, "hold_down_seconds", "60", "what was moved stays a minute at least")
	p.put(1, "autorate_grace_seconds", "6", "the line's own controller acts first")
	p.gap()
	p.put(0, "flap_brake", "", "after more than three changes in half an hour, moving takes more")
	p.put(1, "enabled", "true", "")
	p.gap()
	p.put(0, "herd_damping", "", "a line that our own connections fill is left alone, longer each time")
	p.put(1, "enabled", "true", "")
	return p.String()
}

// meteredMargin is by how many ms a radio has to be the better line: it costs more, and its delay moves more.
const meteredMargin = "30"

// alternate writes how a line is measured that connections may move to.
func (h House) alternate(p *page, depth int, l *Line) {
	if l.Source.IsValid() {
		p.put(depth, "ping_source_ip", text(l.Source.String()), "this host's address whose packets leave by "+l.Name)
	} else {
		p.note(depth, "ping_source_ip is missing: "+l.Name+" is judged by its controller's feed alone.")
	}
	if l.Technology.Radio {
		p.put(depth, "margin_ms", meteredMargin, "a radio: only when it is much better")
	}
	p.put(depth, "max_load", "0.8", "not when it carries more than this share of its rate")
}
