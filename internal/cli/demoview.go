package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/score"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// view shows a run: repainted on a terminal, a line now and then elsewhere.
type view struct {
	d       *demo
	evening netsim.Scenario
	run     *score.Run
	lines   int // on the screen
	events  []event
	began   time.Time
	on      bool                    // the steering rule, as last shown
	states  []link.Pair[link.State] // per link, as last shown
}

func newView(d *demo, evening netsim.Scenario) *view {
	return &view{d: d, evening: evening, began: time.Now()}
}

// plainEvery is the virtual time between plain lines.
const plainEvery = 30 * time.Second

func (v *view) at() time.Duration {
	if v.run == nil {
		return 0
	}
	return v.run.Net().Now().Sub(netsim.Epoch).Round(time.Second)
}

// note takes a loop's note: the demo shows those that a person would want to see.
func (v *view) note(name string, n link.Note) {
	if n.Level == link.Info && v.run == nil {
		return
	}
	v.event(fmt.Sprintf("%s: %s", name, n.Text))
}

// event is something worth telling, and when it was.
type event struct {
	at   time.Duration
	text string
}

func (e event) String() string { return fmt.Sprintf("%8s  %s", e.at, e.text) }

func (v *view) event(text string) {
	e := event{v.at(), text}
	v.events = append(v.events, e)
	if !v.d.live && !v.d.quiet {
		fmt.Fprintln(v.d.app.Stdout, e)
	}
}

// frame shows the run after another second of virtual time, and waits as the speed asks.
func (v *view) frame(ctx context.Context) {
	if _, on := v.run.SteeringLine(); on != v.on {
		v.on = on
		if on {
			v.event("steering: the router's rule is enabled: new calls take " + v.evening.Links[netsim.VDSL].Name)
		} else {
			v.event("steering: the router's rule is disabled: new calls take " + v.evening.Links[netsim.Cable].Name)
		}
	}
	v.changes()
	switch {
	case v.d.quiet:
	case v.d.live:
		v.paint()
		due := v.began.Add(time.Duration(float64(v.run.Net().Now().Sub(netsim.Epoch)) / max(v.d.speed, 0.1)))
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	case v.at()%plainEvery == 0:
		for i := range v.evening.Links {
			if l := v.run.LogLine(i); l != "" {
				fmt.Fprintf(v.d.app.Stdout, "%8s  %s\n", v.at(), l)
			}
		}
		if l, _ := v.run.SteeringLine(); l != "" {
			fmt.Fprintf(v.d.app.Stdout, "%8s  %s\n", v.at(), l)
		}
	}
}

// changes tells when a download gets worse than YELLOW, and when it is well again.
func (v *view) changes() {
	if v.states == nil {
		v.states = make([]link.Pair[link.State], len(v.evening.Links))
	}
	for i, l := range v.evening.Links {
		d, ok := v.run.Decision(i)
		if !ok || !d.Measured {
			continue
		}
		was, is := v.states[i].Down, d.State.Down
		switch is {
		case was, link.Yellow:
			continue // on the way to something worth telling
		case link.Green:
			v.event(fmt.Sprintf("%s: the download is %s again, at %s", l.Name, is, d.Rates.Down))
		default:
			v.event(fmt.Sprintf("%s: the download is %s, %s of added delay, at %s", l.Name, is, d.Delta, d.Rates.Down))
		}
		v.states[i].Down = is
	}
}

// Colours of the states, as SGR codes.
var stateColour = [link.States]string{link.Green: "32", link.Yellow: "33", link.SoftRed: "35", link.Red: "31"}

func (v *view) colour(code, s string) string {
	if v.d.app.Getenv("NO_COLOR") != "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// shownEvents is how many of the newest events stay on the screen.
const shownEvents = 6

func (v *view) paint() {
	var b strings.Builder
	n := 0
	add := func(format string, a ...any) {
		fmt.Fprintf(&b, "\x1b[2K"+format+"\n", a...)
		n++
	}
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines)
	}
	add("wanctl demo: %s of %s, %.0f times as fast", v.at(), v.evening.Duration, v.d.speed)
	for i, l := range v.evening.Links {
		d, ok := v.run.Decision(i)
		if !ok {
			continue
		}
		now := v.run.Net().View(i)
		add("")
		add("%s  download %s  upload %s", v.colour("1", fmt.Sprintf("%-9s", l.Name)),
			v.colour(stateColour[d.State.Down], fmt.Sprintf("%-8s", d.State.Down)),
			v.colour(stateColour[d.State.Up], fmt.Sprintf("%-8s", d.State.Up)))
		add("  line      %6s / %-6s  our rate %6s / %-6s", now.Capacity.Down, now.Capacity.Up, d.Rates.Down, d.Rates.Up)
		add("%s", v.cut(fmt.Sprintf("  delay     RTT %-8s baseline %-8s delta %-8s a packet waits %s", d.RTT, d.Baseline, d.Delta, now.Down+now.Up)))
		add("%s", v.bar(d.Rates.Down, now.Capacity.Down, 950*unit.Mbps, i))
	}
	add("")
	text, _ := v.run.SteeringLine()
	add("%s", v.cut(text))
	recent := v.events[max(0, len(v.events)-shownEvents):]
	for i := range shownEvents {
		if i < len(recent) {
			add("%s", v.cut(recent[i].String()))
		} else {
			add("")
		}
	}
	v.lines = n
	fmt.Fprint(v.d.app.Stdout, b.String())
}

// fits says whether a text without colours stays on one row of the screen.
func (v *view) fits(s string) bool {
	return v.d.app.Width <= 1 || utf8.RuneCountInString(s) < v.d.app.Width
}

// cut keeps a line on one row of the screen.
func (v *view) cut(s string) string {
	if v.fits(s) {
		return s
	}
	return string([]rune(s)[:max(v.d.app.Width-2, 0)]) + "…"
}

// bar shows the rate against what the line carries.
func (v *view) bar(rate, capacity, full unit.Rate, i int) string {
	if i == netsim.VDSL {
		full = 100 * unit.Mbps
	}
	const width = 60
	at := func(r unit.Rate) int { return min(int(int64(r)*width/int64(full)), width-1) }
	cells := []rune(strings.Repeat("·", width))
	for k := range at(rate) + 1 {
		cells[k] = '━'
	}
	cells[at(capacity)] = '┃'
	text := "  [" + string(cells) + "]"
	if legend := "  ━ our rate  ┃ what the line carries"; v.fits(text + legend) {
		text += legend
	}
	return v.cut(text)
}

func (v *view) end() {
	if v.d.live {
		v.paint()
	}
}

// compare prints the two runs side by side.
func compare(w io.Writer, without, with score.Result) error {
	fmt.Fprintf(w, "\nThe same %s with the same seed (%d): queues fixed at their ceilings, and wanctl.\n\n",
		time.Duration(with.DurationS*float64(time.Second)).Round(time.Second), with.Seed)
	var werr error
	row := func(name, a, b string) {
		line := strings.TrimRight(fmt.Sprintf("%-38s %16s %16s", name, a, b), " ")
		if _, err := fmt.Fprintln(w, line); err != nil {
			werr = err
		}
	}
	seconds := func(r score.Result) time.Duration { return time.Duration(r.DurationS * float64(time.Second)) }
	row("", "without wanctl", "with wanctl")
	row("delay added to a call, median", without.Calls.P50.String(), with.Calls.P50.String())
	row("  95th percentile", without.Calls.P95.String(), with.Calls.P95.String())
	row("  99th percentile", without.Calls.P99.String(), with.Calls.P99.String())
	row("  call seconds above 100 ms", fmt.Sprintf("%.0f", without.Calls.Above100), fmt.Sprintf("%.0f", with.Calls.Above100))
	if s := with.Steering; s != nil {
		row("steering actions", "–", fmt.Sprint(s.Actions))
		row("calls that began on the other line", "0", fmt.Sprintf("%d of %d", with.OnOther, with.CallCount))
		if a, b := worst(without, with); b.Samples > 0 {
			row("  the worst of them, 95th percentile", a.P95.String(), b.P95.String())
		}
	}
	for i, l := range with.Lines {
		o := without.Lines[i]
		both := func(p link.Pair[unit.Bytes], r score.Result) string {
			return p.Down.Per(seconds(r)).String() + "/" + p.Up.Per(seconds(r)).String()
		}
		row(l.Name+" (download/upload)", "", "")
		row("  throughput", both(o.Delivered, without), both(l.Delivered, with))
		row("  capacity used while there was demand", use(o), use(l))
		for s := link.Green; s <= link.Red; s++ {
			row("  time in "+s.String(), "–", fmt.Sprintf("%.1f%%/%.1f%%", l.States.Down[s].Factor()*100, l.States.Up[s].Factor()*100))
		}
		row("  router writes", "0", fmt.Sprint(l.Writes))
	}
	return werr
}

// worst is the worst delay of the calls that began on the other line with wanctl, and of the same calls without.
func worst(without, with score.Result) (a, b score.Delay) {
	for i, c := range with.Each {
		if c.Line == with.Lines[netsim.Cable].Name {
			continue
		}
		if b.Samples == 0 || c.Delay.P95 > b.P95 {
			b = c.Delay
		}
		if i < len(without.Each) && without.Each[i].StartS == c.StartS && (a.Samples == 0 || without.Each[i].Delay.P95 > a.P95) {
			a = without.Each[i].Delay
		}
	}
	return a, b
}

// use is the share of the capacity that was used while somebody wanted it.
func use(l score.LineResult) string {
	share := func(p unit.PPM) string {
		if p == 0 {
			return "–"
		}
		return fmt.Sprintf("%.0f%%", p.Factor()*100)
	}
	return share(l.Use.Down) + "/" + share(l.Use.Up)
}
