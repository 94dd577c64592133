package cli

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/checkup"
	"wanctl/internal/daemon"
	"wanctl/internal/preset"
	"wanctl/internal/probe"
	"wanctl/internal/reflector"
	"wanctl/internal/routeros"
)

// idleEchoes is how many echoes each reflector gets: the least of them is the idle line's, and others may use the line.
const idleEchoes = 6

// measure takes each line's round trip while, it is hoped, nobody uses it.
func (w *wizard) measure() error {
	for i := range w.house.Lines {
		l := &w.house.Lines[i]
		switch {
		case l.Idle.RTT > 0:
			continue
		case w.NoMeasure:
			l.Idle.How = "--no-measure was given"
			continue
		}
		w.tell(l)
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// tell measures a line and says what came of it.
func (w *wizard) tell(l *preset.Line) {
	fmt.Fprintf(w.app.Stdout, "Measuring %s, which should be idle … ", l.Name)
	if l.Idle = w.idle(l); l.Idle.RTT > 0 {
		fmt.Fprintf(w.app.Stdout, "%v ms (%s)\n", l.Idle.RTT, l.Idle.How)
	} else {
		fmt.Fprintf(w.app.Stdout, "not now: %s\n", l.Idle.How)
	}
}

// idle measures a line, if it can be told that the probes take it.
func (w *wizard) idle(l *preset.Line) preset.Idle {
	hosts := w.PingHosts
	if len(hosts) == 0 {
		for _, c := range reflector.DefaultReflectors()[:reflector.DefaultUse] {
			hosts = append(hosts, c.String())
		}
	}
	o := probe.Options{Targets: hosts, Interval: 100 * time.Millisecond, Timeout: 2 * time.Second, Now: daemon.HostClock{}.Now}
	o.Source, o.Interface = w.way(l)
	found := echoed(w.ctx, o, idleEchoes)
	if why := w.elsewhere(l, found); why != "" {
		return preset.Idle{How: why}
	}
	return idleOf(found)
}

// again measures the lines that could not be measured before the router sent their probes through them, and writes the files
// anew. A line that is still not measured is so by its controller.
func (w *wizard) again() error {
	measured := false
	for i := range w.house.Lines {
		l := &w.house.Lines[i]
		if w.Linux || w.NoMeasure || l.Idle.RTT > 0 || !l.Source.IsValid() || w.house.Steering == nil {
			continue // only with steering there are rules that send a line's probes by it
		}
		w.ruled = true
		w.tell(l)
		measured = measured || l.Idle.RTT > 0
	}
	if !measured {
		return nil
	}
	out := w.configs()
	if err := w.check(out); err != nil {
		return err
	}
	return w.replace(out)
}

// replace writes those files anew that still hold what this run gave them. Of the others it says that they stay.
func (w *wizard) replace(out []outFile) error {
	if _, err := there(out); err != nil {
		return err
	}
	var ours []outFile
	for _, f := range out {
		if was, ok := w.written[f.path]; ok && f.was != nil && bytes.Equal(f.was, was) {
			ours = append(ours, f) // put passes over those with nothing new
		} else if !f.stays() {
			fmt.Fprintf(w.app.Stdout, "%s was changed meanwhile and stays as it is: what was measured is not in it\n", f.path)
		}
	}
	return w.put(ours)
}

// way is what ties a measurement to a line: the address that the router sends by it, or this host's interface.
func (w *wizard) way(l *preset.Line) (source netip.Addr, iface string) {
	if w.Linux {
		return netip.Addr{}, l.Interface
	}
	return l.Source, ""
}

// idleOf is the median of the reflectors' least round trips.
func idleOf(found []checkup.Reflector) preset.Idle {
	var least []float64
	var with []string
	for _, r := range found {
		if r.Answered > 0 {
			ms := float64(r.Least)
			least = append(least, ms)
			with = append(with, fmt.Sprintf("%s %.3g", r.Host, ms))
		}
	}
	if len(least) == 0 {
		return preset.Idle{How: "no reflector answers"}
	}
	slices.Sort(least)
	median := (least[(len(least)-1)/2] + least[len(least)/2]) / 2
	digits := 1
	if median < 1 {
		digits = 3
	}
	rtt, _ := strconv.ParseFloat(strconv.FormatFloat(max(median, 0.001), 'f', digits, 64), 64)
	return preset.Idle{RTT: rtt, How: "the least of a few echoes each, " + strings.Join(with, ", ")}
}

// elsewhere says why it is not known that the probes of a line took it; empty is that they did.
func (w *wizard) elsewhere(l *preset.Line, found []checkup.Reflector) string {
	if w.Linux {
		return ""
	}
	if l.Source.IsValid() {
		cl, err := routeros.New(w.door)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = cl.Close() }()
		switch verdict, _ := pathOf(w.ctx, cl, l.Source, l.Interface, found); verdict {
		case "proved":
			return ""
		case "wrong":
			return "the router sends probes from " + l.Source.String() + " by another line until it is set up"
		}
		if w.ruled {
			return ""
		}
	}
	switch nearest := w.nearest(); {
	case nearest == "":
		return "the router has no default route"
	case nearest != l.Interface:
		return "it is not proved that probes take it, and the router's default route leaves by " + nearest
	}
	return ""
}
