package steer

import (
	"fmt"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// alternateFresh is how recently the alternate must have been measured.
	alternateFresh = 5 * time.Second
	// minimumWindow is the time over which the minimum of own probes stands in for a baseline, minimumBucket the
	// grain in which it forgets.
	minimumWindow = 10 * time.Minute
	minimumBucket = 30 * time.Second
)

// Minimum is the smallest of the alternate's own probes in one bucket of time.
type Minimum struct {
	// From is the bucket's beginning.
	From unit.Time `json:"from"`
	// RTT is the smallest round trip in it, in milliseconds.
	RTT float64 `json:"rtt"`
}

// AlternateMemory is what is kept of the alternate between cycles.
type AlternateMemory struct {
	// Name is the line's; empty in files of the time when there was one alternate.
	Name string `json:"name,omitempty"`
	// At is when it answered last.
	At unit.Time `json:"at"`
	// Delta is the average of its delta; unset after a silence.
	Delta Average `json:"delta"`
	// Minima are the buckets of the last 10 min, oldest first.
	Minima []Minimum `json:"minima,omitempty"`
	// Herd is what came of connections that moved there.
	Herd HerdMemory `json:"herd,omitzero"`
}

// probe takes one own probe into the windowed minimum and forgets what is older than the window.
func (a *AlternateMemory) probe(rtt float64, now unit.Time) {
	old := 0
	for old < len(a.Minima) && a.Minima[old].From.Add(minimumBucket) <= now.Add(-minimumWindow) {
		old++
	}
	a.Minima = append(a.Minima[:0], a.Minima[old:]...)
	from := now - now%unit.Time(minimumBucket)
	if n := len(a.Minima); n > 0 && a.Minima[n-1].From == from {
		a.Minima[n-1].RTT = min(a.Minima[n-1].RTT, rtt)
		return
	}
	a.Minima = append(a.Minima, Minimum{From: from, RTT: rtt})
}

// minimum returns the smallest probe in the window, which is never empty after probe.
func (a *AlternateMemory) minimum() unit.Millis {
	low := a.Minima[0].RTT
	for _, b := range a.Minima[1:] {
		low = min(low, b.RTT)
	}
	return unit.Millis(low)
}

// alternate is another line as this cycle sees it.
type alternate struct {
	configured bool
	// answers says that it was measured in the last 5 s, silent that it was not although steering has run that long.
	answers, silent bool
	// red says that its delta's EWMA is over the RED mark.
	red  bool
	view View
}

// admits reports whether connections may be sent there.
func (a alternate) admits() bool { return a.view.Verdict == Better || a.view.Verdict == NotChecked }

// bears reports whether connections may stay there: measured and not RED, or not to be checked at all.
func (a alternate) bears() bool { return !a.configured || a.answers && !a.red }

// lost reports whether connections must not stay there: it is RED, or has fallen silent.
func (a alternate) lost() bool { return a.configured && (a.red || a.silent) }

// senseAlternates measures the other lines.
func (m *Machine) senseAlternates(in Input) []alternate {
	all := make([]alternate, len(m.cfg.Alternates))
	for i := range all {
		a, _ := in.at(i)
		all[i] = m.senseAlternate(i, a, in.Now)
	}
	return all
}

// senseAlternate measures one of them by own probes, or by its feed where those have no answer.
func (m *Machine) senseAlternate(i int, in Alternate, now unit.Time) alternate {
	c := m.cfg.Alternates[i]
	out := alternate{configured: c.Checked, view: View{Name: c.Name, Room: roomOf(in.Autorate)}}
	if !out.configured {
		out.view.Verdict = m.compare(i, out, now)
		return out
	}
	mem, a := &m.mem.Alternates[i], in.Autorate
	feedBase, feedOK := a.Feed.Baseline, a.Known && a.Fresh && m.cfg.accepted(a.Feed.Baseline)
	var rtt, base unit.Millis
	var based bool
	switch own := in.RTT; {
	case usable(own) && age(now, own.At) <= alternateFresh:
		mem.probe(float64(own.Value), now)
		mem.At, out.answers, rtt = min(own.At, now), true, own.Value
		if base, based = feedBase, feedOK; !based {
			base = mem.minimum()
			based = m.cfg.accepted(base)
		}
	case a.live() && a.Feed.Measured && positive(a.Feed.RTT) && age(now, a.Feed.AnsweredAt) <= alternateFresh:
		mem.At, out.answers, rtt = min(a.Feed.AnsweredAt, now), true, a.Feed.RTT
		base, based = feedBase, feedOK
	}
	switch {
	case !out.answers:
		mem.Delta = Average{}
		out.view.Verdict = Silent
		out.silent = now.Sub(max(mem.At, m.started)) > alternateFresh
		return out
	case !based:
		mem.Delta = Average{}
		out.view.Verdict = NoBaseline
		return out
	}
	mem.Delta.add(m.cfg.Thresholds.RTTAlpha, max(0, float64(rtt-base)))
	out.view.Measured, out.view.EWMA = true, unit.Millis(mem.Delta.Value)
	mark := m.cfg.Thresholds.RedRTT
	if !m.cfg.CakeAware {
		mark = m.cfg.RTTOnly.Bad
	}
	out.red = out.view.EWMA > mark
	out.view.Verdict = m.compare(i, out, now)
	return out
}

// roomOf is what a line has left by its feed: the rate that was decided for it less what it carries.
func roomOf(a Autorate) Room {
	f := a.Feed
	if !a.live() || !f.Carried.Known || f.Rates.Down <= 0 || f.Rates.Up <= 0 || min(f.Carried.Down, f.Carried.Up) < 0 {
		return Room{}
	}
	share := func(d link.Direction) unit.PPM { return unit.ShareOf(int64(f.Carried.Get(d)), int64(f.Rates.Get(d))) }
	free := func(d link.Direction) unit.Rate { return max(0, f.Rates.Get(d)-f.Carried.Get(d)) }
	return Room{Known: true, Load: max(share(link.Down), share(link.Up)), Free: min(free(link.Down), free(link.Up))}
}

// compare says whether connections may move to the alternate: its rule can be switched, it is the better line by both margins,
// it has room, and is not left alone.
func (m *Machine) compare(i int, a alternate, now unit.Time) Verdict {
	c := m.cfg.Alternates[i]
	ms, share := m.margins(c, now)
	lead := m.mem.Delta.Value - float64(a.view.EWMA)
	room := a.view.Room
	switch {
	case m.rules.one[i].barred:
		return Barred
	case a.red:
		return Congested
	case a.configured && (lead < ms || lead < share*m.mem.Delta.Value):
		return NoMargin
	case room.Known && (c.MaxLoad > 0 && room.Load >= c.MaxLoad || room.Free < c.Room):
		return NoRoom
	case m.cfg.Herd.Enabled && now < m.mem.Alternates[i].Herd.Until:
		return BackOff
	case !a.configured:
		return NotChecked
	}
	return Better
}

// choose returns the best of the alternates that connections may move to, None when there is none: measured ones before
// those that nothing is known of, then the one with the lowest delay, then the one with the most room, then the first.
func choose(all []alternate) int {
	best := None
	for i, a := range all {
		if a.admits() && (best == None || a.before(all[best])) {
			best = i
		}
	}
	return best
}

// before says that a is the better place than b.
func (a alternate) before(b alternate) bool {
	switch {
	case a.view.Measured != b.view.Measured:
		return a.view.Measured
	case a.view.EWMA != b.view.EWMA:
		return a.view.EWMA < b.view.EWMA
	case a.view.Room.Known != b.view.Room.Known:
		return a.view.Room.Known
	}
	return a.view.Room.Free > b.view.Room.Free
}

// lacks says in words why an alternate was refused.
func (m *Machine) lacks(i int, a alternate, now unit.Time) string {
	name, c := m.alternateName(i), m.cfg.Alternates[i]
	ms, share := m.margins(c, now)
	switch a.view.Verdict {
	case Silent:
		return fmt.Sprintf("%s was not measured in the last %v", name, alternateFresh)
	case NoBaseline:
		return name + " answers, but has no acceptable baseline"
	case Congested:
		return fmt.Sprintf("%s is congested itself (delta %v)", name, a.view.EWMA)
	case NoMargin:
		part, _ := unit.FromFactor(share)
		return fmt.Sprintf("%s (delta %v) is not better than %s (delta %v) by %v and %v", name, a.view.EWMA, m.cfg.Primary,
			unit.Millis(m.mem.Delta.Value), unit.Millis(ms), part)
	case NoRoom:
		return fmt.Sprintf("%s has no room (%v loaded, %v free)", name, a.view.Room.Load, a.view.Room.Free)
	case BackOff:
		return fmt.Sprintf("%s is left alone for another %v, because connections that moved there slowed it down", name,
			m.mem.Alternates[i].Herd.Until.Sub(now).Round(time.Second))
	case Barred:
		return "the rule of " + name + " is not there, or must not be enabled as it is"
	case NotChecked, Better:
	}
	return name + " is usable"
}

// lacking says in words why no alternate can be used.
func (m *Machine) lacking(all []alternate, now unit.Time) string {
	var whys []string
	for i, a := range all {
		whys = append(whys, m.lacks(i, a, now))
	}
	return strings.Join(whys, "; ")
}

// alternateName is what the alternate is called in notes.
func (m *Machine) alternateName(i int) string {
	if i == None || m.cfg.Alternates[i].Name == "" {
		return "the alternate"
	}
	return m.cfg.Alternates[i].Name
}
