package score

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// BenchSchema is the version of [Bench]'s JSON form.
const BenchSchema = 1

// Row is what one policy made of one loaded direction of one line. Times in which the line was out are in no figure but
// OutageS.
type Row struct {
	Case   string `json:"case"`
	Group  string `json:"group,omitempty"`
	Link   string `json:"link"`
	Dir    string `json:"direction"`
	Policy string `json:"policy"`
	Oracle bool   `json:"oracle,omitempty"`
	// Share is what was delivered, of what the line could have carried.
	Share float64 `json:"share"`
	// P50 to Max are what a small packet waited one way on top of propagation.
	P50 unit.Millis `json:"p50_ms"`
	P95 unit.Millis `json:"p95_ms"`
	P99 unit.Millis `json:"p99_ms"`
	Max unit.Millis `json:"max_ms"`
	// RoundTripP95 is the same of both directions together.
	RoundTripP95 unit.Millis `json:"round_trip_p95_ms"`
	// OverS is the time over 30 ms one way, of CountedS.
	OverS    float64 `json:"over_30ms_s"`
	CountedS float64 `json:"counted_s"`
	OutageS  float64 `json:"outage_s"`
	// Commands is how many the line got a second.
	Commands float64 `json:"commands_per_s"`
}

// Bench is a table of rows: cases in their order, and of each the policies in theirs.
type Bench struct {
	Schema int   `json:"schema"`
	Rows   []Row `json:"rows"`
}

// BenchOptions are the bench's conditions.
type BenchOptions struct {
	// Delay is the time from a wish to the shaper's new rate; 0 is at once.
	Delay time.Duration
	// Jitter is the standard deviation of what each probe's round trip gets on top.
	Jitter time.Duration
	// Workers are how many runs go on at once; 0 is one per processor.
	Workers int
	// OnRun, when set, is told how many of all runs are done. It is called from one goroutine at a time.
	OnRun func(done, all int)
}

// RunBench plays every case under every policy. The rows do not depend on the number of workers.
func RunBench(ctx context.Context, cases []Case, policies []Policy, o BenchOptions) (*Bench, error) {
	if len(cases) == 0 || len(policies) == 0 {
		return nil, errors.New("the bench needs a case and a policy")
	}
	all := len(cases) * len(policies)
	rows, errs := make([][]Row, all), make([]error, all)
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	next, done := 0, 0
	for range min(workers, all) {
		wait.Go(func() {
			for {
				mu.Lock()
				k := next
				next++
				mu.Unlock()
				if k >= all || ctx.Err() != nil {
					return
				}
				rows[k], errs[k] = runCase(&cases[k/len(policies)], &policies[k%len(policies)], &o)
				mu.Lock()
				if done++; o.OnRun != nil {
					o.OnRun(done, all)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	b := &Bench{Schema: BenchSchema}
	for c := range cases {
		of := rows[c*len(policies) : (c+1)*len(policies)]
		// Policies side by side for each direction, instead of directions for each policy.
		for i := range of[0] {
			for _, r := range of {
				b.Rows = append(b.Rows, r[i])
			}
		}
	}
	return b, nil
}

// runCase plays one case under one policy.
func runCase(c *Case, p *Policy, o *BenchOptions) ([]Row, error) {
	story, err := Story(c.Scenario)
	if err != nil {
		return nil, err
	}
	for i := range story.Links {
		story.Links[i].Jitter = o.Jitter
	}
	s := &stage{lines: linesOf(c.Scenario), delay: o.Delay}
	// A loop's command takes effect half-way through its round trip.
	setup := Setup{Scenario: story, Lines: make([]Line, len(story.Links)), Latency: 2 * o.Delay}
	if p.lines != nil {
		if setup.Lines, err = p.lines(s); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.Name, p.Name, err)
		}
	}
	if s.run, err = New(setup, nil); err != nil {
		return nil, fmt.Errorf("%s, %s: %w", c.Name, p.Name, err)
	}
	s.net = s.run.Net()
	if p.drive != nil {
		if err := p.drive(s); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.Name, p.Name, err)
		}
	}
	var meters []*meter
	for i := range s.lines {
		if m := newMeter(s, c.Scenario, i); m != nil {
			meters = append(meters, m)
		}
	}
	s.net.Run(s.net.End())
	var rows []Row
	for _, m := range meters {
		for _, r := range m.rows() {
			r.Case, r.Group, r.Policy, r.Oracle = c.Name, c.Group, p.Name, p.Oracle
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// sampleEvery is the distance of the meter's samples: as the probes' of the kernel's laboratory.
const sampleEvery = 5 * time.Millisecond

// meter takes one line's truth while it is loaded.
type meter struct {
	stage *stage
	line  int
	lanes link.Pair[*lane]
	both  netsim.Histogram
	// span is the loaded time: from the first flow's start and TCP's own on.
	span stretch
	last time.Duration
}

// lane is one direction of a meter.
type lane struct {
	loaded             bool
	dark               *dark
	added              netsim.Histogram
	over, counted      time.Duration
	moved, got, offers float64
}

// newMeter watches a line; nil when nothing ever fills it.
func newMeter(s *stage, sc *scenario.Scenario, line int) *meter {
	m := &meter{stage: s, line: line, span: stretch{from: sc.Duration}}
	for _, d := range []link.Direction{link.Down, link.Up} {
		m.lanes.Set(d, &lane{dark: darkOf(sc, line, d)})
	}
	any := false
	for _, f := range sc.Flows {
		if f.Link != line {
			continue
		}
		m.span = stretch{min(m.span.from, f.From), max(m.span.to, f.To)}
		switch f.Kind {
		case scenario.Call:
			continue
		case scenario.Web:
			m.lanes.Down.loaded = true
		default:
			m.lanes.Get(f.Dir).loaded = true
		}
		any = true
	}
	if !any {
		return nil
	}
	m.span.from += time.Duration(report.RampS * float64(time.Second))
	m.span.to = min(m.span.to, sc.Duration)
	m.last = m.span.from
	s.net.World().Every(sampleEvery, m.span.from, m.sample)
	return m
}

func (m *meter) sample() {
	at := m.stage.net.Now().Sub(netsim.Epoch)
	if at > m.span.to {
		return
	}
	was, now := netsim.Epoch.Add(m.last), m.stage.net.Now()
	traffic, view := m.stage.net.Traffic(m.line), m.stage.net.View(m.line)
	dead, both := false, time.Duration(0)
	for _, d := range []link.Direction{link.Down, link.Up} {
		l := m.lanes.Get(d)
		moved := float64(traffic.Get(d).Delivered)
		got := moved - l.moved
		l.moved = moved
		wait := view.Down
		if d == link.Up {
			wait = view.Up
		}
		added := l.dark.without(at, wait.Duration())
		both += added
		if l.dark.has(at) {
			dead = true
			continue
		}
		l.added.Add(added, 1)
		if at == m.span.from {
			continue // nothing lies behind the first sample
		}
		l.got += got
		l.offers += float64(m.stage.net.Capacity(m.line, d, was, now).Over(at - m.last))
		l.counted += at - m.last
		if added > report.OverMS.Duration() {
			l.over += at - m.last
		}
	}
	if !dead {
		m.both.Add(both, 1)
	}
	m.last = at
}

func (m *meter) rows() []Row {
	var out []Row
	line := &m.stage.lines[m.line]
	commands := line.commands + m.stage.run.lines[m.line].writes
	for _, d := range []link.Direction{link.Down, link.Up} {
		l := m.lanes.Get(d)
		if !l.loaded {
			continue
		}
		r := Row{
			Link: line.name, Dir: d.String(), RoundTripP95: m.both.Quantile(0.95),
			P50: l.added.Quantile(0.50), P95: l.added.Quantile(0.95), P99: l.added.Quantile(0.99), Max: l.added.Max(),
			OverS: l.over.Seconds(), CountedS: l.counted.Seconds(), OutageS: l.dark.length(m.span).Seconds(),
			Commands: float64(commands) / m.stage.net.End().Sub(netsim.Epoch).Seconds(),
		}
		if l.offers > 0 {
			r.Share = l.got / l.offers
		}
		out = append(out, r)
	}
	return out
}

// PolicyNamed returns the policies of these names; "all" is every one, none are those that are played unasked.
func PolicyNamed(names []string) ([]Policy, error) {
	all := Policies()
	var known []string
	for _, p := range all {
		known = append(known, p.Name)
	}
	for _, n := range names {
		if n != "all" && !slices.Contains(known, n) {
			return nil, fmt.Errorf("no policy %q; there are %s, and all", n, strings.Join(known, ", "))
		}
	}
	var out []Policy
	for _, p := range all {
		if slices.Contains(names, p.Name) || slices.Contains(names, "all") || (len(names) == 0 && !p.Extra) {
			out = append(out, p)
		}
	}
	return out, nil
}
