package score

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Schema is the version of [Result]'s JSON form.
const Schema = 1

// Delay is what a small packet waited on top of propagation, a round trip.
type Delay struct {
	P50 unit.Millis `json:"p50_ms"`
	P95 unit.Millis `json:"p95_ms"`
	P99 unit.Millis `json:"p99_ms"`
	Max unit.Millis `json:"max_ms"`
	// Above30 and Above100 are seconds above 30 and 100 ms, Outage those in which the line itself was out (which are in
	// no other figure), Lost those whose packets were lost.
	Above30  float64 `json:"above_30ms_s"`
	Above100 float64 `json:"above_100ms_s"`
	Outage   float64 `json:"outage_s"`
	Lost     float64 `json:"lost_s"`
	// Samples is 0 when there was nothing to measure.
	Samples uint64 `json:"samples"`
}

func delayOf(d *netsim.Delays) Delay {
	return Delay{
		P50: d.Both.Quantile(0.50), P95: d.Both.Quantile(0.95), P99: d.Both.Quantile(0.99), Max: d.Both.Max(),
		Above30: d.Above30.Seconds(), Above100: d.Above100.Seconds(), Outage: d.Outage.Seconds(), Lost: d.Lost.Seconds(),
		Samples: d.Both.Count(),
	}
}

// LineResult is one link.
type LineResult struct {
	Name    string `json:"name"`
	Control string `json:"control"`
	// Line is the delay on the line all the time, whether somebody calls or not.
	Line Delay `json:"line"`
	// Delivered is all that flows received, Use its share of the capacity while there was demand.
	Delivered link.Pair[unit.Bytes] `json:"delivered_bytes"`
	Use       link.Pair[unit.PPM]   `json:"use_ppm"`
	// States are the shares of time in GREEN, YELLOW, SOFT_RED and RED.
	States link.Pair[[link.States]unit.PPM] `json:"states_ppm"`
	Writes int                              `json:"router_writes"`
	// Final is the decided rate at the end.
	Final link.Rates `json:"final_bps"`
}

// SteeringResult is what steering did.
type SteeringResult struct {
	Actions     int                `json:"actions"`
	Writes      int                `json:"rule_writes"`
	SteeredPPM  unit.PPM           `json:"steered_ppm"`
	Transitions []steer.Transition `json:"transitions"`
}

// CallResult is one call or game.
type CallResult struct {
	// Line is the name of the link that carried it.
	Line   string  `json:"line"`
	StartS float64 `json:"start_s"`
	Delay  Delay   `json:"delay"`
}

// Result is one run's figures.
type Result struct {
	Schema    int             `json:"schema"`
	Scenario  string          `json:"scenario"`
	Seed      uint64          `json:"seed"`
	DurationS float64         `json:"duration_s"`
	Calls     Delay           `json:"calls"`
	CallCount int             `json:"call_count"`
	OnOther   int             `json:"calls_on_alternate"`
	Each      []CallResult    `json:"each_call,omitempty"`
	Lines     []LineResult    `json:"lines"`
	Steering  *SteeringResult `json:"steering,omitempty"`
}

// Result returns the figures so far.
func (r *Run) Result() Result {
	s := r.setup.Scenario
	elapsed := r.net.Now().Sub(netsim.Epoch)
	res := Result{
		Schema: Schema, Scenario: s.Name, Seed: s.Seed, DurationS: elapsed.Seconds(),
		Calls: delayOf(r.net.CallDelays()), CallCount: len(r.net.Calls()),
	}
	for _, c := range r.net.Calls() {
		res.Each = append(res.Each, CallResult{
			Line: s.Links[c.Link].Name, StartS: c.Start.Sub(netsim.Epoch).Seconds(), Delay: delayOf(&c.Delays),
		})
	}
	for i, l := range r.lines {
		t := r.net.Truth(i)
		lr := LineResult{
			Name: s.Links[i].Name, Control: r.setup.Lines[i].Control.String(), Line: delayOf(&t.Line), Writes: l.writes,
		}
		for _, d := range []link.Direction{link.Down, link.Up} {
			tr := t.Traffic.Get(d)
			lr.Delivered.Set(d, tr.Delivered)
			lr.Use.Set(d, unit.ShareOf(int64(tr.Used), int64(tr.Offered)))
		}
		if l.wan != nil {
			lr.States = l.wan.StateShares()
			lr.Final = l.wan.Decision().Rates
		}
		res.Lines = append(res.Lines, lr)
	}
	if r.steer != nil {
		for _, c := range r.net.Calls() {
			if c.Link == r.steer.cfg.Alternate {
				res.OnOther++
			}
		}
		res.Steering = &SteeringResult{
			Actions: len(r.steer.transitions), Writes: r.steer.writes, Transitions: r.steer.transitions,
			SteeredPPM: unit.ShareOf(int64(r.steer.degraded), int64(elapsed)),
		}
	}
	return res
}

// Text prints the figures of one run.
func (r Result) Text(w io.Writer) error {
	fmt.Fprintf(w, "scenario %s, seed %d, %s\n\n", r.Scenario, r.Seed, time.Duration(r.DurationS*float64(time.Second)).Round(time.Second))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "line\tcontrol\tadded p50\tp95\tp99\t>30 ms\t>100 ms\toutage\tuse DL\tuse UL\twrites")
	for _, l := range r.Lines {
		d := l.Line
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.1f s\t%.1f s\t%.1f s\t%s\t%s\t%d\n", l.Name, l.Control,
			d.P50, d.P95, d.P99, d.Above30, d.Above100, d.Outage, percent(l.Use.Down), percent(l.Use.Up), l.Writes)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nstates (DL/UL)\tGREEN\tYELLOW\tSOFT_RED\tRED")
	for _, l := range r.Lines {
		if l.Control != Loop.String() {
			continue
		}
		fmt.Fprintf(t, "%s", l.Name)
		for i := range link.States {
			fmt.Fprintf(t, "\t%s/%s", percent(l.States.Down[i]), percent(l.States.Up[i]))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.CallCount > 0 {
		fmt.Fprintf(w, "\n%d calls: added p50 %s, p95 %s, p99 %s\n", r.CallCount, r.Calls.P50, r.Calls.P95, r.Calls.P99)
	}
	if s := r.Steering; s != nil {
		fmt.Fprintf(w, "steering: %d changes, steered %s of the time, %d calls began on the alternate\n",
			s.Actions, percent(s.SteeredPPM), r.OnOther)
		for _, tr := range s.Transitions {
			fmt.Fprintf(w, "  at %s: %s → %s: %s\n", tr.At.Sub(netsim.Epoch).Round(time.Second), tr.From, tr.To, tr.Why)
		}
	}
	return nil
}

func percent(p unit.PPM) string { return fmt.Sprintf("%.1f%%", p.Factor()*100) }
