package replay

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Summary is a series of decisions in figures.
type Summary struct {
	// Measured are the cycles that had a round trip, Silent those that had none.
	Measured int `json:"measured"`
	Silent   int `json:"silent"`
	// RTT, Baseline and Delta are the cycles' figures.
	RTT      Spread `json:"rtt"`
	Baseline Spread `json:"baseline"`
	Delta    Spread `json:"delta"`
	// Ways are the two directions.
	Ways link.Pair[Way] `json:"ways"`
	// Writes are the operations that were to write, or would have been without a dry run.
	Writes int `json:"writes"`
	// Notes are how many there were.
	Notes int `json:"notes"`
}

// Spread are quantiles, in ms.
type Spread struct {
	P5  unit.Millis `json:"p5"`
	P50 unit.Millis `json:"p50"`
	P95 unit.Millis `json:"p95"`
	P99 unit.Millis `json:"p99"`
}

// Way is one direction of a [Summary].
type Way struct {
	// Shares are the parts of the measured cycles in each state: GREEN, YELLOW, SOFT_RED, RED.
	Shares [link.States]unit.PPM `json:"shares_ppm"`
	// Least, Mean and Most are the wanted rate over time.
	Least unit.Rate `json:"least"`
	Mean  unit.Rate `json:"mean"`
	Most  unit.Rate `json:"most"`
	// Cuts are how often it fell.
	Cuts int `json:"cuts"`
	// Capacity is what was last measured, under tracking; Queued is how long a queue was being drained.
	Capacity unit.Rate     `json:"capacity"`
	Queued   time.Duration `json:"queued_ns"`
	// Carried is what went through, by the counters; 0 without any.
	Carried unit.Rate `json:"carried"`
}

// series gathers a summary.
type series struct {
	sum                  Summary
	states               link.Pair[[link.States]int]
	rtt, baseline, delta netsim.Histogram
	seen                 bool
	at, since            unit.Time
	last                 journal.Output
	area                 link.Pair[float64]
	first, newest        link.Counters
}

// add takes a call's answer in; c tells when, and what the line had carried.
func (s *series) add(c *journal.Call, o *journal.Output) {
	if c.Kind == journal.Tick {
		s.cycle(&o.Decision)
	}
	for _, n := range o.Notes {
		if n.Key == daemon.WouldWrite {
			s.sum.Writes++
		} else {
			s.sum.Notes++
		}
	}
	if o.HasOp && o.Op.Write {
		s.sum.Writes++
	}
	for _, k := range c.Counters {
		s.count(k)
	}
	if r := &c.Result.Report; c.Kind == journal.Deliver && c.Result.Err == nil && r.HasWAN {
		s.count(link.Counters{At: r.At, Rx: r.WANRx, Tx: r.WANTx})
	}
	if !s.seen {
		s.since = c.Now
	}
	past := c.Now.Sub(s.at)
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		w := s.sum.Ways.Get(d)
		rate := o.Wanted.Get(d)
		w.Capacity = o.Law.Capacity.Get(d)
		if s.seen {
			s.area.Set(d, s.area.Get(d)+past.Seconds()*float64(s.last.Wanted.Get(d)))
			if s.last.Law.Queue.Get(d) {
				w.Queued += past
			}
			if rate < s.last.Wanted.Get(d) {
				w.Cuts++
			}
		}
		if rate > 0 && (w.Least == 0 || rate < w.Least) {
			w.Least = rate
		}
		w.Most = max(w.Most, rate)
		s.sum.Ways.Set(d, w)
	}
	s.seen, s.at, s.last.Wanted, s.last.Law = true, c.Now, o.Wanted, o.Law
}

func (s *series) cycle(d *link.Decision) {
	if !d.Measured {
		s.sum.Silent++
		return
	}
	s.sum.Measured++
	s.rtt.Add(d.RTT.Duration(), 1)
	s.baseline.Add(d.Baseline.Duration(), 1)
	s.delta.Add(max(d.Delta, 0).Duration(), 1)
	if d.State.Down <= link.Red && d.State.Up <= link.Red {
		s.states.Down[d.State.Down]++
		s.states.Up[d.State.Up]++
	}
}

// count keeps the first and the newest reading of counters that went on counting.
func (s *series) count(k link.Counters) {
	if s.first.At == 0 || k.Rx < s.newest.Rx || k.Tx < s.newest.Tx {
		s.first = k
	}
	s.newest = k
}

func spread(h *netsim.Histogram) Spread {
	q := func(p float64) unit.Millis { return h.Quantile(p) }
	return Spread{P5: q(0.05), P50: q(0.50), P95: q(0.95), P99: q(0.99)}
}

func (s *series) summary() Summary {
	out := s.sum
	out.RTT, out.Baseline, out.Delta = spread(&s.rtt), spread(&s.baseline), spread(&s.delta)
	whole, counted := s.at.Sub(s.since).Seconds(), s.newest.At.Sub(s.first.At).Seconds()
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		w := out.Ways.Get(d)
		for i, n := range s.states.Get(d) {
			w.Shares[i] = unit.ShareOf(int64(n), int64(max(out.Measured, 1)))
		}
		if whole > 0 {
			w.Mean = unit.Rate(s.area.Get(d) / whole)
		}
		if bytes := s.newest.Rx - s.first.Rx; counted > 0 {
			if d == link.Up {
				bytes = s.newest.Tx - s.first.Tx
			}
			w.Carried = unit.Rate(float64(bytes) * 8 / counted)
		}
		out.Ways.Set(d, w)
	}
	return out
}

// Text prints what a replay found, for people.
func (r *Result) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	began := "in virtual time"
	if !r.Began.IsZero() {
		began = r.Began.Format(time.RFC3339)
	}
	fmt.Fprintf(t, "recording\t%s of %s, %s, by %s\n", r.Source, r.WAN, began, r.Program)
	fmt.Fprintf(t, "read\t%d files, %d records, %d calls, %d cycles, %s\n", r.Files, r.Records, r.Calls, r.Cycles, r.Span.Round(time.Millisecond))
	if r.Skipped > 0 {
		fmt.Fprintf(t, "skipped\t%d records of kinds that this version does not know\n", r.Skipped)
	}
	for _, e := range r.Ends {
		fmt.Fprintf(t, "end\t%s\n", e)
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(t, "gap\t%s\n", g)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(t, "fitted\t%s\n", n)
	}
	switch {
	case r.Against:
		fmt.Fprintf(t, "against\tanother configuration decided on the same inputs, for %d of %d cycles otherwise. The line would have answered other "+
			"rates with other delays: this shows what was decided, and not what would have come of it\n", r.DifferentCycles, r.Cycles)
	case !r.Whole:
		fmt.Fprintf(t, "partial\t%s: the loop's whole state is not known, so answers may differ; %d of %d cycles do\n", r.Partial, r.DifferentCycles, r.Cycles)
	case r.First == nil:
		fmt.Fprintf(t, "replay\tidentical: all %d answers are the recorded ones to the bit\n", r.Calls)
	default:
		fmt.Fprintf(t, "replay\tDIFFERENT in %d of %d answers, %d of %d cycles\n", r.Different, r.Calls, r.DifferentCycles, r.Cycles)
	}
	if r.First != nil {
		fmt.Fprintf(t, "first\t%s\n", r.First)
	}
	was, is := column(&r.Was), column(&r.Is)
	if r.Different == 0 {
		fmt.Fprintf(t, "\n\trecorded\n")
	} else {
		fmt.Fprintf(t, "\n\trecorded\treplayed\n")
	}
	for i, row := range was {
		if r.Different == 0 {
			fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
		} else {
			fmt.Fprintf(t, "%s\t%s\t%s\n", row[0], row[1], is[i][1])
		}
	}
	return t.Flush()
}

func column(s *Summary) (rows [][2]string) {
	put := func(name, format string, a ...any) { rows = append(rows, [2]string{name, fmt.Sprintf(format, a...)}) }
	put("cycles measured, silent", "%d, %d", s.Measured, s.Silent)
	for _, f := range []struct {
		name string
		is   *Spread
	}{{"RTT", &s.RTT}, {"baseline", &s.Baseline}, {"delta", &s.Delta}} {
		put(f.name+" p5/p50/p95/p99", "%s / %s / %s / %s", f.is.P5, f.is.P50, f.is.P95, f.is.P99)
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		w := s.Ways.Get(d)
		put(d.String()+" GREEN/YELLOW/SOFT_RED/RED", "%s / %s / %s / %s", w.Shares[0], w.Shares[1], w.Shares[2], w.Shares[3])
		put(d.String()+" rate least/mean/most", "%s / %s / %s", w.Least, w.Mean, w.Most)
		put(d.String()+" cuts", "%d", w.Cuts)
		if w.Capacity > 0 || w.Queued > 0 {
			put(d.String()+" capacity, queue drained for", "%s, %s", w.Capacity, w.Queued.Round(time.Millisecond))
		} else {
			put(d.String()+" capacity, queue drained for", "–")
		}
		put(d.String()+" carried on average", "%s", w.Carried)
	}
	put("router writes wanted", "%d", s.Writes)
	put("notes", "%d", s.Notes)
	return rows
}
