package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
)

// Plot is one picture: a direction of a link over the whole run.
type Plot struct {
	// Name is a file's: "LINK-download.svg" with the link's index.
	Name string
	// Title is text, Alt describes the picture in a sentence.
	Title, Alt string
	// SVG is a complete document.
	SVG []byte
	// Link is an index in the scenario, Dir the direction that is drawn.
	Link int
	Dir  link.Direction
}

// Plots draws every direction of every link: capacity, shaper rate and throughput; added delay; the controller's state;
// on one time axis. The same record gives the same bytes.
func Plots(raw *Raw, res *Result) ([]Plot, error) {
	if err := checkMeta(&raw.Meta); err != nil {
		return nil, fmt.Errorf("draw a run: %w", err)
	}
	end := recordEnd(raw)
	var out []Plot
	for _, t := range newTracks(raw, end) {
		for _, d := range directions {
			p := Plot{Link: t.index, Dir: d, Name: fmt.Sprintf("link%d-%s.svg", t.index, d), Title: fmt.Sprintf("%s, %s", t.link.Name, d)}
			p.Alt = alt(&p, res, t.index, d)
			p.SVG = t.plot(&raw.Meta.Scenario, d, p.Title, p.Alt)
			out = append(out, p)
		}
	}
	return out, nil
}

func alt(p *Plot, res *Result, index int, d link.Direction) string {
	s := fmt.Sprintf("Capacity, shaper rate and throughput, added delay and controller's state of %s over %s s.",
		p.Title, number(res.DurationS))
	if index < len(res.Links) {
		if a := res.Links[index].Loaded.UDP.Get(d).Added; a != nil {
			s += fmt.Sprintf(" While loaded, small packets waited %s ms more than on the idle line (median), %s ms (p95), %s ms at most.",
				ms(a.P50), ms(a.P95), ms(a.Max))
		}
	}
	return s
}

func (t *track) plot(s *scenario.Scenario, d link.Direction, title, about string) []byte {
	c := &canvas{from: 0, to: s.Duration.Seconds()}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %d" role="img"><title>%s</title><desc>%s</desc><style>%s</style>`,
		plotWidth, plotHeight, html.EscapeString(title), html.EscapeString(about), svgStyle)
	l := &t.lanes[d]
	fmt.Fprintf(c, `<text class="name" x="%d" y="16">%s</text>`, plotLeft, html.EscapeString(title))
	// What is shaded is in no figure: the outage, and lighter what drains after it.
	for _, o := range l.dead {
		c.shade("drain", o)
	}
	for i, o := range l.out {
		c.shade("out", o)
		if i == 0 {
			c.text(c.x(o.from)+3, rateTop+12, "start", "line out")
		}
	}
	c.timeAxis(s)
	c.rates(l)
	t.delayPanel(c, l)
	t.statePanel(c, d)
	c.WriteString("</svg>\n")
	return []byte(c.String())
}

func (c *canvas) shade(class string, o span) {
	from, to := max(o.from, c.from), min(o.to, c.to)
	if from < to {
		c.rect(class, c.x(from), rateTop, max(1, c.x(to)-c.x(from)), stateTop+stateHigh-rateTop)
	}
}

func (c *canvas) timeAxis(s *scenario.Scenario) {
	for _, v := range ticks(c.to, 8) {
		if v > c.to {
			break
		}
		x := c.x(v)
		c.line("grid", x, rateTop, x, rateTop+rateHeight)
		c.line("grid", x, delayTop, x, delayTop+delayHigh)
		c.text(x, axisTop+12, "middle", number(v))
	}
	c.text(plotWidth-plotRight, axisTop+27, "end", "seconds")
	for _, p := range s.Phases {
		x := c.x(p.From.Seconds())
		if x >= plotLeft && x < plotWidth-plotRight {
			c.line("grid", x, axisTop+16, x, axisTop+30)
			c.text(x+3, axisTop+27, "start", p.Name)
		}
	}
}

func (c *canvas) rates(l *lane) {
	rates := held(&l.shaper.rates, c.to)
	capacity := held(&l.capacity, c.to)
	through := l.throughput(c.from, c.to)
	most := 0.0
	for _, p := range slices.Concat(capacity, through) {
		most = max(most, p.v)
	}
	if most == 0 {
		most = 1
	}
	// A shaper far above the line says "open", not how far: it must not flatten everything else.
	limit, clipped := most*1.05, false
	for _, p := range rates {
		clipped = clipped || p.v > most*1.5
		limit = max(limit, min(p.v, most*1.5))
	}
	marks := ticks(limit, 5)
	limit = marks[len(marks)-1]
	y := func(v float64) float64 { return rateTop + rateHeight - float64(rateHeight*min(max(v, 0)/limit, 1)) }
	for _, v := range marks {
		c.line("grid", plotLeft, y(v), plotWidth-plotRight, y(v))
		c.text(plotLeft-6, y(v)+4, "end", number(v))
	}
	c.key("Mbit/s", rateTop-8, []entry{{"cap", "capacity"}, {"rate", "shaper rate"}, {"thru", "throughput"}})
	if clipped {
		c.text(plotWidth-plotRight, rateTop-8, "end", "▲ shaper above the axis")
	}
	c.stairs("cap", capacity, y)
	c.path("thru", through, y)
	c.stairs("rate", rates, y)
}

// held is a value that holds, in Mbit/s, up to the end of the axis.
func held(s *steps, end float64) []point {
	var out []point
	for i, at := range s.at {
		out = append(out, point{t: max(at, 0), v: s.value[i] / 1e6})
	}
	if n := len(out); n > 0 && out[n-1].t < end {
		out = append(out, point{t: end, v: out[n-1].v})
	}
	return out
}

// throughput is what left the bottleneck, in Mbit/s, over pieces of a column's width but at least 0.2 s: below that a
// packet more or less looks like a change.
func (l *lane) throughput(from, to float64) []point {
	in := l.line.covered().intersect(spans{{from, to}})
	if len(in) == 0 {
		return nil
	}
	piece := max(0.2, (to-from)/plotInner)
	var out []point
	for at := in[0].from; at+piece <= in[0].to+1e-9; at += piece {
		out = append(out, point{t: at + piece/2, v: max(0, 8*l.line.over(spans{{at, at + piece}})/piece/1e6)})
	}
	return out
}

// Bounds of the delay axis, in ms. It is logarithmic: 5 and 5000 ms are both worth seeing.
const (
	delayLow  = 1.0
	delayMost = 10000.0
)

func (t *track) delayPanel(c *canvas, l *lane) {
	udp, lost, most := trace(l.udp)
	icmp, _, m := trace(t.icmp)
	limit := 100.0
	for limit < max(most, m) && limit < delayMost {
		limit *= 10
	}
	y := func(v float64) float64 {
		v = min(max(v, delayLow), limit)
		return delayTop + delayHigh - float64(delayHigh*math.Log10(v/delayLow)/math.Log10(limit/delayLow))
	}
	for v := delayLow; v <= limit; v *= 10 {
		c.line("grid", plotLeft, y(v), plotWidth-plotRight, y(v))
		label := number(v)
		if v == delayLow {
			label = "≤" + label
		}
		c.text(plotLeft-6, y(v)+4, "end", label)
	}
	c.line("limit", plotLeft, y(float64(OverMS)), plotWidth-plotRight, y(float64(OverMS)))
	c.text(plotLeft-6, y(float64(OverMS))+4, "end", number(float64(OverMS)))
	c.key("added delay, ms (logarithmic)", delayTop-8, []entry{{"udp", "UDP, one way"}, {"icmp", "ICMP, round trip"}, {"lost", "lost (top edge)"}})
	if max(most, m) > limit {
		c.text(plotWidth-plotRight, delayTop-8, "end", "▲ more than "+number(limit)+" ms")
	}
	c.path("icmp", icmp, y)
	c.path("udp", udp, y)
	if len(lost) > 0 {
		c.WriteString(`<path class="lost" d="`)
		for _, o := range c.columns(lost) {
			fmt.Fprintf(c, "M%d %dv6", o.x, delayTop)
		}
		c.WriteString(`"/>`)
	}
}

// trace is what probes draw: the answered ones as a line that breaks where some were lost, and the lost ones.
func trace(v []sample) (line, lost []point, most float64) {
	gap := false
	for _, p := range v {
		if p.lost {
			lost = append(lost, point{t: p.at})
			gap = true
			continue
		}
		line = append(line, point{t: p.at, v: p.added, gap: gap && len(line) > 0 && p.at-line[len(line)-1].t > StallS})
		most, gap = max(most, p.added), false
	}
	return line, lost, most
}

// statePanel is a band whose height and colour are the state.
func (t *track) statePanel(c *canvas, d link.Direction) {
	c.text(plotLeft, stateTop-8, "start", "state:")
	x := float64(plotLeft + 42)
	for s := link.Green; s <= link.Red; s++ {
		h := stateHeight(s) / 3
		c.rect(fmt.Sprintf("s%d", s), x, stateTop-8-h, 10, h)
		c.text(x+14, stateTop-8, "start", fmt.Sprintf("%s (%s)", s, [...]string{"lowest", "low", "high", "highest"}[s]))
		x += 128
	}
	c.line("grid", plotLeft, stateTop+stateHigh, plotWidth-plotRight, stateTop+stateHigh)
	if len(t.states) == 0 {
		c.text(plotLeft+6, stateTop+22, "start", "the controller says no states")
		return
	}
	var from, to int
	state, open := link.Green, false
	flush := func() {
		if open && to > from {
			c.rect(fmt.Sprintf("s%d", state), float64(from), stateTop+stateHigh-stateHeight(state), float64(to-from), stateHeight(state))
		}
		open = false
	}
	// Per column the worst state counts.
	var worst [plotInner + 1]int
	for i, s := range t.states {
		end := s.At + StateHoldS
		if i+1 < len(t.states) {
			end = min(end, t.states[i+1].At)
		}
		if s.At >= c.to || end <= c.from {
			continue
		}
		a, b := int(c.x(max(s.At, c.from)))-plotLeft, int(c.x(min(end, c.to)))-plotLeft
		for j := a; j <= min(max(a, b-1), plotInner-1); j++ {
			worst[j] = max(worst[j], int(s.State.Get(d))+1)
		}
	}
	for j, w := range worst {
		now := link.State(max(0, w-1))
		if w == 0 || !open || now != state {
			flush()
		}
		if w > 0 {
			if !open {
				from, state, open = plotLeft+j, now, true
			}
			to = plotLeft + j + 1
		}
	}
	flush()
}

func stateHeight(s link.State) float64 { return stateHigh * float64(s+1) / link.States }

type entry struct{ class, label string }

// key is a panel's caption: its unit and a piece of each line.
func (c *canvas) key(unit string, y float64, entries []entry) {
	c.text(plotLeft, y, "start", unit)
	x := float64(plotLeft + 14 + 7*len([]rune(unit)))
	for _, e := range entries {
		fmt.Fprintf(c, `<path class="%s" d="M%s %sh22"/>`, e.class, coord(x), coord(y-4))
		c.text(x+27, y, "start", e.label)
		x += 45 + float64(7*len([]rune(e.label)))
	}
}

// inline is a plot for an HTML page, whose own style covers all of them.
func (p *Plot) inline() string {
	return strings.Replace(string(p.SVG), "<style>"+svgStyle+"</style>", "", 1)
}
