package steer

import (
	"fmt"
	"time"

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
	// At is when it answered last.
	At unit.Time `json:"at"`
	// Delta is the average of its delta; unset after a silence.
	Delta Average `json:"delta"`
	// Minima are the buckets of the last 10 min, oldest first.
	Minima []Minimum `json:"minima,omitempty"`
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

// alternate is the other line as this cycle sees it.
type alternate struct {
	configured bool
	// answers says that it was measured in the last 5 s, silent that it was not although steering has run that long.
	answers, silent bool
	// red says that its delta's EWMA is over the RED mark.
	red     bool
	verdict Verdict
	ewma    unit.Millis
}

// admits reports whether connections may be sent there.
func (a alternate) admits() bool { return a.verdict == Better || a.verdict == NotChecked }

// bears reports whether connections may stay there: measured and not RED, or not to be checked at all.
func (a alternate) bears() bool { return !a.configured || a.answers && !a.red }

// senseAlternate measures the other line by own probes, or by its feed where those have no answer.
func (m *Machine) senseAlternate(in Input) alternate {
	out := alternate{configured: m.cfg.AlternateCheck.Configured || in.Alternate.Configured}
	if !out.configured {
		return out
	}
	mem, a := &m.mem.Alternate, in.Alternate.Autorate
	feedBase, feedOK := a.Feed.Baseline, a.Known && a.Fresh && m.cfg.accepted(a.Feed.Baseline)
	var rtt, base unit.Millis
	var based bool
	switch own := in.Alternate.RTT; {
	case usable(own) && age(in.Now, own.At) <= alternateFresh:
		mem.probe(float64(own.Value), in.Now)
		mem.At, out.answers, rtt = min(own.At, in.Now), true, own.Value
		if base, based = feedBase, feedOK; !based {
			base = mem.minimum()
			based = m.cfg.accepted(base)
		}
	case a.live() && a.Feed.Measured && positive(a.Feed.RTT) && age(in.Now, a.Feed.AnsweredAt) <= alternateFresh:
		mem.At, out.answers, rtt = min(a.Feed.AnsweredAt, in.Now), true, a.Feed.RTT
		base, based = feedBase, feedOK
	}
	switch {
	case !out.answers:
		mem.Delta = Average{}
		out.verdict = Silent
		out.silent = in.Now.Sub(max(mem.At, m.started)) > alternateFresh
		return out
	case !based:
		mem.Delta = Average{}
		out.verdict = NoBaseline
		return out
	}
	mem.Delta.add(m.cfg.Thresholds.RTTAlpha, max(0, float64(rtt-base)))
	out.ewma = unit.Millis(mem.Delta.Value)
	mark := m.cfg.Thresholds.RedRTT
	if !m.cfg.CakeAware {
		mark = m.cfg.RTTOnly.Bad
	}
	out.red = out.ewma > mark
	out.verdict = m.compare(out)
	return out
}

// compare says whether the alternate is the better line by both margins.
func (m *Machine) compare(a alternate) Verdict {
	if a.red {
		return Congested
	}
	lead := m.mem.Delta.Value - float64(a.ewma)
	share := m.cfg.AlternateCheck.MarginShare.Factor() * m.mem.Delta.Value
	if lead < float64(m.cfg.AlternateCheck.MarginMS) || lead < share {
		return NoMargin
	}
	return Better
}

// lacks says in words why the alternate was refused.
func (m *Machine) lacks(a alternate) string {
	name := m.alternateName()
	switch a.verdict {
	case Silent:
		return fmt.Sprintf("%s was not measured in the last %v", name, alternateFresh)
	case NoBaseline:
		return name + " answers, but has no acceptable baseline"
	case Congested:
		return fmt.Sprintf("%s is congested itself (delta %v)", name, a.ewma)
	case NoMargin:
		return fmt.Sprintf("%s (delta %v) is not better than %s (delta %v) by %v and %v", name, a.ewma, m.cfg.Primary,
			unit.Millis(m.mem.Delta.Value), m.cfg.AlternateCheck.MarginMS, m.cfg.AlternateCheck.MarginShare)
	case NotChecked, Better:
	}
	return name + " is usable"
}

func (m *Machine) alternateName() string {
	if m.cfg.Alternate == "" {
		return "the alternate"
	}
	return m.cfg.Alternate
}
