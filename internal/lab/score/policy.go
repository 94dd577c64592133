package score

import (
	"bytes"
	"fmt"
	"text/template"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Policy is one way to set the rates of a scenario's lines.
type Policy struct {
	Name, About string
	// Oracle marks what knows more than any controller can: a bound, and no rival.
	Oracle bool
	// Extra policies are played when they are asked for by name, or with all.
	Extra bool

	// lines configures the daemon's own loop for each line; nil leaves them to drive.
	lines func(*stage) ([]Line, error)
	// drive does the rest; nil does nothing.
	drive func(*stage) error
}

// Policies returns what the bench compares, in the order of its tables.
func Policies() []Policy {
	return append(trackingPolicies(), []Policy{
		{Name: "none", About: "no shaper"},
		{
			Name: "static", About: "a rate that never changes, chosen by who knew the whole story: 95 % of the 25th percentile of the capacity's seconds",
			drive: static(func(l *benchLine, d link.Direction) unit.Rate { return l.quartile.Get(d).Scale(staticShare) }),
		},
		{
			Name: "nominal", About: "95 % of what the line is sold as, for ever", Extra: true,
			drive: static(func(l *benchLine, d link.Direction) unit.Rate { return l.nominal.Get(d).Scale(staticShare) }),
		},
		{Name: "steps", About: "wanctl's policy of four states, every 50 ms", lines: loops(stepsFile)},
		{Name: "reference", About: "reference model: a rate that walks, by half round trips", drive: reference(ReferenceDefaults())},
		{Name: "reference-owd", About: "reference model, by one-way delays", drive: reference(tuned(30, true))},
		{Name: "reference-15", About: "reference model, late above 15 ms", drive: reference(tuned(15, false))},
		{Name: "reference-60", About: "reference model, late above 60 ms", drive: reference(tuned(60, false))},
		{Name: "reference-15-owd", About: "reference model, late above 15 ms, by one-way delays", Extra: true, drive: reference(tuned(15, true))},
		{Name: "reference-60-owd", About: "reference model, late above 60 ms, by one-way delays", Extra: true, drive: reference(tuned(60, true))},
		{Name: "reference-110", About: "reference model, late above 110 ms", Extra: true, drive: reference(tuned(110, false))},
		{
			Name: "clairvoyant", About: "oracle: knows the capacity of the next 200 ms", Oracle: true,
			drive: oracle(0, 200*time.Millisecond),
		},
		{
			Name: "sensor", About: "oracle: a perfect sensor, 50 ms of the past, 60 ms late", Oracle: true,
			drive: oracle(-110*time.Millisecond, -60*time.Millisecond),
		},
	}...)
}

const (
	// staticShare is what people leave free: with a shaper at the line's rate the queue stands on the wrong side of it.
	staticShare unit.PPM = 950_000
	// oracleShare is the same of who cannot be wrong about the capacity: enough for what stands to drain.
	oracleShare unit.PPM = 980_000
	// oracleEvery is how often an oracle sets its rate.
	oracleEvery = 10 * time.Millisecond
)

// stage is one run under way, as a policy sees it.
type stage struct {
	run   *Run
	net   *netsim.Net
	lines []benchLine
	// delay is the time from a wish to its effect.
	delay time.Duration
}

// benchLine is what is known of a line beforehand.
type benchLine struct {
	name string
	// nominal is what the line is sold as, quartile the 25th percentile of the capacity's seconds.
	nominal, quartile link.Rates
	commands          int
}

// set carries a wish out after the command's delay.
func (s *stage) set(i int, want link.Rates) {
	s.lines[i].commands++
	s.net.World().At(s.net.Now().Add(s.delay), func() {
		s.net.SetShaper(i, link.Down, want.Down)
		s.net.SetShaper(i, link.Up, want.Up)
	})
}

func static(rate func(*benchLine, link.Direction) unit.Rate) func(*stage) error {
	return func(s *stage) error {
		for i := range s.lines {
			l := &s.lines[i]
			s.net.SetShaper(i, link.Down, rate(l, link.Down))
			s.net.SetShaper(i, link.Up, rate(l, link.Up))
		}
		return nil
	}
}

// oracle sets the rate to the mean capacity of a window that lies from … to away from now, as soon as it is due.
func oracle(from, to time.Duration) func(*stage) error {
	return func(s *stage) error {
		for i := range s.lines {
			var was link.Rates
			s.net.World().Every(oracleEvery, 0, func() {
				now := s.net.Now()
				rates := was
				for _, d := range []link.Direction{link.Down, link.Up} {
					begin, end := max(now.Add(from), netsim.Epoch), max(now.Add(to), netsim.Epoch.Add(oracleEvery))
					// No rate is no shaper, which is not what an outage asks for.
					rates.Set(d, max(s.net.Capacity(i, d, begin, end).Scale(oracleShare), unit.Kbps))
				}
				if rates == was {
					return
				}
				was = rates
				s.lines[i].commands++
				s.net.SetShaper(i, link.Down, rates.Down)
				s.net.SetShaper(i, link.Up, rates.Up)
			})
		}
		return nil
	}
}

// tuned is the reference model with another idea of what is late; the other thresholds keep their proportions.
func tuned(late unit.Millis, oneWay bool) ReferenceConfig {
	return ReferenceConfig{Late: late, Worst: 2 * late, Grow: late / 3, OneWay: oneWay}
}

// The limits that the reference model gets, as a share of nominal: those it had on the real kernel.
const refMinShare, refBaseShare, refMaxShare unit.PPM = 200_000, 800_000, 1_000_000

func reference(c ReferenceConfig) func(*stage) error {
	return func(s *stage) error {
		for i := range s.lines {
			c := c
			for _, d := range []link.Direction{link.Down, link.Up} {
				n := s.lines[i].nominal.Get(d)
				c.Limits.Set(d, ReferenceLimits{Min: n.Scale(refMinShare), Base: n.Scale(refBaseShare), Max: n.Scale(refMaxShare)})
			}
			if err := driveReference(s, i, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// driveReference connects the reference model with a line: a probe each refProbeEvery to all reflectors in turn, the
// counters behind both shapers, and a command whenever a rate changes.
func driveReference(s *stage, i int, c ReferenceConfig) error {
	hosts := len(s.net.Scenario().Hosts)
	ref := NewReference(c, hosts, s.net.Now())
	was := ref.Rates()
	s.net.SetShaper(i, link.Down, was.Down)
	s.net.SetShaper(i, link.Up, was.Up)
	o := netsim.ProberOptions{
		Link: i, Interval: time.Duration(hosts) * refProbeEvery, OneWay: c.OneWay,
		OnReply: func(r link.Reply) {
			ref.Reply(s.net.Now(), r)
			if now := ref.Rates(); now != was {
				was = now
				s.set(i, now)
			}
		},
	}
	for h := range hosts {
		o.Hosts = append(o.Hosts, h)
	}
	if _, err := s.net.NewProber(o); err != nil {
		return fmt.Errorf("reference model on %s: %w", s.lines[i].name, err)
	}
	world := s.net.World()
	world.Every(refProbeEvery, 0, func() { ref.Tick(s.net.Now()) })
	var read func()
	read = func() {
		q := s.net.Counters(i)
		ref.Counters(s.net.Now(), link.Pair[unit.Bytes]{Down: q.Down.Bytes, Up: q.WANTx})
		world.At(s.net.Now().Add(ref.ReadEvery()), read)
	}
	read()
	return nil
}

// loops puts the daemon's own loop on every line, with a configuration file written for it.
func loops(file *template.Template) func(*stage) ([]Line, error) {
	return func(s *stage) ([]Line, error) {
		var out []Line
		for i := range s.lines {
			l := &s.lines[i]
			var b bytes.Buffer
			if err := file.Execute(&b, map[string]any{"Name": l.name, "Down": l.nominal.Down, "Up": l.nominal.Up}); err != nil {
				return nil, fmt.Errorf("configuration of %s: %w", l.name, err)
			}
			f, found := config.Parse(l.name+".yaml", &b, config.Options{})
			if err := found.Err(); err != nil {
				return nil, fmt.Errorf("configuration of %s: %w", l.name, err)
			}
			out = append(out, Line{Control: Loop, Config: f.WAN})
		}
		return out, nil
	}
}

// fileOf makes a configuration file's template. percent takes a share of a rate.
func fileOf(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"percent": func(p int, r unit.Rate) string {
			return fmt.Sprintf("%g", max(0.1, r.Scale(unit.PPM(p)*10_000).Mbps()))
		},
	}).Parse(text))
}

// stepsFile is the fast setting that the kernel's laboratory plays, too: floors at 50, 40, 30 and 20 % of nominal, the
// ceiling at 95 %, steps of 4 % in 2 s.
var stepsFile = fileOf(`wan_name: {{.Name}}
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring:
  interval_ms: 50
  cut_interval_ms: 100
  download:
    floor_green_mbps: {{percent 50 .Down}}
    floor_yellow_mbps: {{percent 40 .Down}}
    floor_soft_red_mbps: {{percent 30 .Down}}
    floor_red_mbps: {{percent 20 .Down}}
    ceiling_mbps: {{percent 95 .Down}}
    step_up_mbps: {{percent 4 .Down}}
    factor_down: 0.85
  upload:
    floor_green_mbps: {{percent 50 .Up}}
    floor_yellow_mbps: {{percent 40 .Up}}
    floor_soft_red_mbps: {{percent 30 .Up}}
    floor_red_mbps: {{percent 20 .Up}}
    ceiling_mbps: {{percent 95 .Up}}
    step_up_mbps: {{percent 4 .Up}}
    factor_down: 0.85
  thresholds: {target_bloat_ms: 5, warn_bloat_ms: 15, critical_bloat_ms: 30, alpha_load: 0.99}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]
  use_median_of_three: true
  ping_count: 1
lock_file: /run/bench.lock
state_file: /run/bench_state.json
feed_file: /run/bench_feed.json
`)

// linesOf is what is known of a scenario's lines.
func linesOf(s *scenario.Scenario) []benchLine {
	var out []benchLine
	for i := range s.Links {
		l := benchLine{name: s.Links[i].Name}
		for _, d := range []link.Direction{link.Down, link.Up} {
			p := s.Links[i].Path(d)
			l.nominal.Set(d, p.Nominal)
			l.quartile.Set(d, quartile(p.Steps, s.Duration))
		}
		out = append(out, l)
	}
	return out
}
