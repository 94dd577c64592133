package preset

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/unit"
)

// line writes the file of a line.
func (h House) line(l *Line) string {
	var p page
	p.note(0, fmt.Sprintf("%s: %s%s. Written by \"wanctl init\"; every key is explained in docs/reference.yaml.", l.Name, l.Technology.Title, l.sold()))
	p.put(0, "wan_name", text(l.Name), "")
	p.gap()
	h.router(&p)
	if h.Router != nil {
		l.queues(&p)
	} else {
		p.gap()
		p.put(0, "interfaces", "", "")
		p.put(1, "upload", text(l.Interface), "the interface the line is on: "+l.Found)
		p.put(1, "download", text(link.Ifb(l.Interface)), "made by \"wanctl qdisc apply\"; what comes in is redirected through it")
	}
	l.framing(&p)
	l.control(&p)
	if h.Router == nil {
		p.gap()
		p.put(0, "ping_interface", text(l.Interface), "probes leave through the line they measure")
	}
	if l.Source.IsValid() {
		if h.Router != nil {
			p.gap()
		}
		p.put(0, "ping_source_ip", text(l.Source.String()), "this host's address whose packets take this line")
	}
	return p.String()
}

func (l *Line) sold() string {
	if l.Sold == (link.Rates{}) {
		return ""
	}
	how := "sold as"
	if l.Measured {
		how = "measured at"
	}
	return fmt.Sprintf(", %s %s/%s Mbit/s", how, decimal(l.Sold.Down.Mbps()), decimal(l.Sold.Up.Mbps()))
}

// router writes the router section.
func (h House) router(p *page) {
	p.put(0, "router", "", "")
	r := h.Router
	if r == nil {
		p.put(1, "transport", "linux", "this host shapes its own lines")
		return
	}
	p.put(1, "host", text(r.Host), "")
	p.put(1, "transport", r.Transport, r.TransportWhy)
	if r.Port != 0 {
		p.put(1, "port", strconv.Itoa(r.Port), "not the usual one")
	}
	rights := ""
	if len(r.Rights) > 0 {
		rights = "a user of its own, whose rights are " + strings.Join(r.Rights, ", ")
	}
	p.put(1, "user", text(r.User), rights)
	if r.KeyFile != "" {
		p.put(1, "ssh_key", text(r.KeyFile), "its public half belongs to the user on the router")
	}
	if r.PasswordFile != "" {
		p.put(1, "password", text("file:"+r.PasswordFile), "never here: the file is for root, or the service's user, alone")
	}
	if r.KnownHosts != "" {
		p.put(1, "known_hosts", text(r.KnownHosts), "the router's host key; another one stops all writing")
	}
	if r.Pin != "" {
		p.put(1, "tls_pin", text(r.Pin), "the router's certificate; another one stops all writing")
	}
}

func (l *Line) queues(p *page) {
	made := "the router has it"
	if !l.Queues.There {
		made = "made by \"wanctl router apply\""
	}
	p.gap()
	p.put(0, "queues", "", "exact names; wanctl sets their max-limit")
	if l.Queues.Simple != "" {
		p.put(1, "simple", text(l.Queues.Simple), "in /queue simple: "+made)
	} else {
		p.put(1, "download", text(l.Queues.Download), "in /queue tree: "+made)
		p.put(1, "upload", text(l.Queues.Upload), "in /queue tree: "+made)
	}
	p.gap()
	p.put(0, "interfaces", "", "")
	p.put(1, "wan", text(l.Interface), "the line is on it: "+l.Found)
	if l.LAN != "" {
		p.put(1, "lan", text(l.LAN), "the download leaves by it")
	}
}

// ackFilterFrom is the asymmetry above which acknowledgements can fill the upload; config refuses the filter below.
const ackFilterFrom = 10

func (l *Line) framing(p *page) {
	t := l.Technology
	p.gap()
	p.put(0, "qdisc", "", "how CAKE counts packets")
	p.put(1, "access", t.Framing, t.FramingWhy)
	if t.Overhead != 0 {
		p.put(1, "overhead", strconv.Itoa(t.Overhead), t.FramingWhy)
	}
	down, up := l.ceiling(link.Down), l.ceiling(link.Up)
	if down > ackFilterFrom*up && up > 0 {
		p.put(1, "ack_filter", "true", "acknowledgements of a full download would take up to half of such an upload")
	}
}

// ceiling is the highest rate of a direction as it will be read, in Mbit/s; 0 is none.
func (l *Line) ceiling(d link.Direction) float64 {
	if l.Sold.Get(d) <= 0 {
		return 0
	}
	f, _ := strconv.ParseFloat(share(l.Sold.Get(d), l.ceilingShare(d)), 64) // our own spelling
	return f
}

// stepsShare of what was measured leaves the line's own queue empty at the ceiling, under which the policy steps stays unless the delay
// rises: what "wanctl calibrate" recommends, too.
const stepsShare unit.PPM = 950_000

// ceilingShare is a technology's share of what is sold. Of what was measured tracking needs no share: it finds the rate itself.
func (l *Line) ceilingShare(d link.Direction) unit.PPM {
	switch {
	case l.Measured && l.Policy == Steps:
		return stepsShare
	case l.Measured:
		return unit.One
	}
	return l.Technology.Ceiling.Get(d)
}

// stepsReflectors is how many of the well-known reflectors the policy steps is given: its median needs three.
const stepsReflectors = 3

// control writes the controller's section.
func (l *Line) control(p *page) {
	t := l.Technology
	p.gap()
	p.put(0, "continuous_monitoring", "", "")
	if l.Policy == Steps {
		p.put(1, "policy", Steps, "four states with a floor each, every 2 s")
		p.put(1, "floor_lift", "green", "raise to a floor only once the delay is low again")
	} else {
		p.put(1, "policy", Tracking, "measures what the line carries, and keeps just under it: docs/control.md")
		p.put(1, "profile", t.Profile, t.ProfileWhy)
		p.put(1, "one_way", "true", "ask for one-way delays, which tell upload and download apart (CAP_NET_RAW)")
		p.put(1, "interval_ms", "500", "of the states, the log and the feed; the rates follow every reply")
	}
	l.idle(p)
	for _, d := range []link.Direction{link.Down, link.Up} {
		l.rates(p, d)
	}
	p.gap()
	p.put(1, "thresholds", "", "ms over the idle line: "+t.ThresholdsWhy)
	p.put(2, "target_bloat_ms", decimal(t.Target), "above: YELLOW")
	p.put(2, "warn_bloat_ms", decimal(t.Warn), "above, for 6 s: SOFT_RED (upload: RED at once)")
	p.put(2, "critical_bloat_ms", decimal(t.Critical), "above: RED at once")
	hosts, reason := l.Reflectors, "as you named them"
	switch {
	case len(hosts) > 0:
	case l.Policy == Steps:
		for _, c := range reflector.DefaultReflectors()[:stepsReflectors] {
			hosts = append(hosts, c.String())
		}
		reason = "of three operators: one that lies moves nothing"
	default:
		p.gap()
		p.note(1, fmt.Sprintf("ping_hosts is left out: wanctl tries well-known resolvers of different operators, and keeps to the %d that are near.", reflector.DefaultUse))
		return
	}
	p.gap()
	p.put(1, "ping_hosts", list(hosts), reason)
	if l.Policy == Steps {
		p.put(1, "use_median_of_three", strconv.FormatBool(len(hosts) >= stepsReflectors), "the median of the reflectors is believed")
	}
}

// A first guess of a baseline lies between these, in ms, which are the usual bounds of what is learnt, too.
const (
	leastInitial = 1
	mostInitial  = 500
)

// idle writes what the idle line was measured at.
func (l *Line) idle(p *page) {
	rtt := l.Idle.RTT
	switch {
	case rtt <= 0 && l.Idle.How != "":
		p.note(1, "The idle line's round trip is measured at start: "+l.Idle.How+".")
	case rtt >= leastInitial && rtt <= mostInitial:
		p.put(1, "baseline_rtt_initial", decimal(rtt), "ms, idle: "+l.Idle.How)
	}
	if b := bounds(rtt, rtt); b != "" {
		p.put(1, "baseline_rtt_bounds", b, fmt.Sprintf("ms; the idle line has %s (%s), which the usual bounds leave no room for", decimal(rtt), l.Idle.How))
	}
}

// bounds are those of a baseline where the usual ones leave no room for idle round trips in ms, 0 for none: a tenth of the least, for
// reflectors that are nearer, and twice the most. Empty is that they do.
func bounds(least, most float64) string {
	var parts []string
	if least > 0 && least < 2*leastInitial {
		parts = append(parts, "min: "+strconv.FormatFloat(least/10, 'g', 1, 64))
	}
	if most > mostInitial/2 {
		parts = append(parts, "max: "+decimal(math.Ceil(2*most)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// The growth per 2 s under the policy steps, as shares of the ceiling: those of the two lines in configs/.
const (
	stepDown = unit.One / 100
	stepUp   = unit.One * 26 / 1000
	// fastest is the rate above which steps grow no more: a configuration has at most 1000 Mbit/s for them.
	fastest = 38 * unit.Gbps
)

func (l *Line) rates(p *page, d link.Direction) {
	t, sold := l.Technology, l.Sold.Get(d)
	if sold <= 0 {
		if l.Policy == Tracking && d == link.Down {
			p.gap()
			p.note(1, "No limits: the line begins unshaped and finds its rate with the first queue. download: {max_mbps: …} and "+
				"upload: {max_mbps: …} bound what a mistake can do.")
		}
		return
	}
	ceilingWhy := t.CeilingWhy
	if l.Measured {
		ceilingWhy = "as measured"
		if l.Policy == Steps {
			ceilingWhy = "95 % of what was measured"
		}
	}
	ceiling := share(sold, l.ceilingShare(d))
	p.gap()
	p.put(1, d.String(), "", "Mbit/s")
	if l.Policy == Tracking {
		if !t.Radio {
			p.put(2, "min_mbps", share(sold, t.Floor.Get(d)), t.FloorWhy)
		} else if d == link.Down {
			p.note(2, "No min_mbps: "+t.FloorWhy+".")
		}
		p.put(2, "max_mbps", ceiling, ceilingWhy)
		return
	}
	step, cut := stepDown, "0.85"
	if d == link.Up {
		step, cut = stepUp, "0.90"
		p.put(2, "floor_mbps", share(sold, t.Floor.Get(d)), "never below; "+t.FloorWhy)
	} else {
		// Between the lowest floor and the ceiling, as in configs/spectrum_config.yaml: 200, 275, 350, 550 of 940.
		red := t.Floor.Get(d)
		of := func(part unit.PPM) unit.PPM {
			return red + unit.PPM(float64(unit.One*9/10-red)*float64(part)/float64(unit.One))
		}
		p.put(2, "floor_green_mbps", share(sold, of(unit.One/2)), "halfway up: nothing of the line's delay is ours then")
		p.put(2, "floor_yellow_mbps", share(sold, of(unit.One/5)), "a fifth of the way up")
		p.put(2, "floor_soft_red_mbps", share(sold, of(unit.One/10)), "a tenth: clamp here and hold, do not steer")
		p.put(2, "floor_red_mbps", share(sold, red), "never below; "+t.FloorWhy)
	}
	p.put(2, "ceiling_mbps", ceiling, ceilingWhy)
	p.put(2, "step_up_mbps", share(min(sold, fastest), step), "per 2 s, from the fifth GREEN cycle on")
	p.put(2, "factor_down", cut, "what a cut leaves of the rate")
}

// feed is where a line's controller writes its feed.
func (h House) feed(l *Line) string { return path.Join(h.Run, l.Name+"_feed.json") }
