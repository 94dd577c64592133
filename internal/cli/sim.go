package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/score"
	"wanctl/internal/link"
)

type simCmd struct {
	Play  simPlayCmd  `cmd:"" default:"withargs" help:"Run a scenario of a household in virtual time and print its figures."`
	Bench simBenchCmd `cmd:"" help:"Compare policies over many scenarios and recorded lines in virtual time."`
}

// Help says what the simulator is.
func (simCmd) Help() string {
	return `A network in virtual time: lines with FIFOs that bloat, flows that back off, calls and reflectors. Needs no root and no
network, and the same seed gives the same figures to the byte. "play" may be left out.

Example:

    wanctl sim drop
    wanctl sim bench`
}

type simPlayCmd struct {
	Scenario string        `arg:"" optional:"" help:"Name of a built-in scenario; none lists them."`
	Seed     uint64        `default:"1" help:"Decides every chance; the same seed gives the same figures to the byte."`
	Control  string        `enum:"wanctl,static,none" default:"wanctl" help:"Who sets the rates: wanctl, static (the ceilings) or none."`
	Policy   string        `enum:"steps,tracking" default:"steps" help:"The policy of the shipped examples."`
	Configs  []string      `name:"configs" placeholder:"FILE" sep:"none" help:"WAN and steering files instead of the shipped examples; the primary's (cable) first."`
	Duration time.Duration `help:"Play only this much of it."`
	Latency  time.Duration `default:"150ms" help:"How long a router command takes, in virtual time."`
	Trace    string        `placeholder:"FILE" help:"Capacity of the first link's download, as a mahimahi trace."`
	Journal  string        `placeholder:"DIR" help:"Record each controller into DIR/WAN.journal, for wanctl replay and wanctl calibrate."`
	JSON     bool          `help:"Print the figures as JSON."`
	Verbose  bool          `short:"v" help:"Print every note of the loops with its virtual time."`
	Speed    bool          `help:"Also print how much faster than real time it ran."`
}

// Help says what is simulated and what is not.
func (simPlayCmd) Help() string {
	return `Runs the same loops as the daemon, in virtual time, on a simulated network: two lines (a cable line of 900/38 and a
VDSL line of 85/16 Mbit/s) with FIFOs that bloat, flows that back off, calls and reflectors. Only the router, the network and
the clock are simulated. A day takes seconds.

Example:

    wanctl sim play drop
    wanctl sim drop --control static
    wanctl sim day --seed 7 --speed`
}

// Run plays one scenario.
func (c simPlayCmd) Run(app *App) error {
	if c.Scenario == "" {
		return listScenarios(app)
	}
	s, err := netsim.Builtin(c.Scenario, c.Seed)
	if err != nil {
		return err
	}
	if c.Duration > 0 && c.Duration < s.Duration {
		s.Duration = c.Duration
	}
	if c.Trace != "" {
		if err := useTrace(&s, c.Trace); err != nil {
			return err
		}
	}
	site, err := app.simSites(c.Configs, c.Policy)
	if err != nil {
		return err
	}
	setup := siteSetup(s, site, c.Control, c.Latency)
	tapes, err := c.record(setup.Lines)
	if err != nil {
		return err
	}
	var note func(string, link.Note)
	var run *score.Run
	if c.Verbose {
		note = func(name string, n link.Note) {
			at := time.Duration(0)
			if run != nil {
				at = run.Net().Now().Sub(netsim.Epoch)
			}
			fmt.Fprintf(app.Stderr, "%9.1fs [%s] %s: %s\n", at.Seconds(), name, n.Level, n.Text)
		}
	}
	if run, err = score.New(setup, note); err != nil {
		return err
	}
	began := daemon.HostClock{}.Now()
	run.Advance(run.Net().End())
	took := daemon.HostClock{}.Now().Sub(began)
	res := run.Result()
	for _, t := range tapes {
		if err := t.Close(); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if c.JSON {
		return app.printJSON("figures", res)
	}
	if err := res.Text(app.Stdout); err != nil {
		return err
	}
	if c.Speed {
		fmt.Fprintf(app.Stdout, "\n%s of virtual time in %.2f s: %.0f times faster than real time\n",
			s.Duration, took.Seconds(), s.Duration.Seconds()/took.Seconds())
	}
	return nil
}

// record puts each controller on a tape of its own.
func (c simPlayCmd) record(lines []score.Line) (tapes []*daemon.WriterTape, err error) {
	if c.Journal == "" {
		return nil, nil
	}
	if err := os.MkdirAll(c.Journal, 0o755); err != nil {
		return nil, err
	}
	for i := range lines {
		l := &lines[i]
		if l.Control != score.Loop {
			continue
		}
		f, err := create(filepath.Join(c.Journal, l.Config.Name+".journal"))
		if err != nil {
			return nil, err
		}
		t := daemon.NewWriterTape(f)
		l.Tape, tapes = t, append(tapes, t)
	}
	return tapes, nil
}

func listScenarios(app *App) error {
	t := tabwriter.NewWriter(app.Stdout, 0, 0, 2, ' ', 0)
	for _, name := range netsim.Names() {
		s, err := netsim.Builtin(name, 1)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, s.Duration, s.About)
	}
	return t.Flush()
}

func useTrace(s *netsim.Scenario, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the trace: %w", err)
	}
	defer f.Close()
	t, err := netsim.LoadMahimahi(f)
	if err != nil {
		return fmt.Errorf("trace %s: %w", path, err)
	}
	s.Links[0].Down.Capacity = netsim.Recorded(t)
	return nil
}

// simSites takes the shipped examples, or the given files in their place.
func (a *App) simSites(paths []string, policy string) (*sites, error) {
	site, err := a.sites(policy)
	if err != nil || len(paths) == 0 {
		return site, err
	}
	var wans []*config.WAN
	var given sites
	for _, p := range paths {
		f, ds := a.parse(p, "")
		if err := ds.Err(); err != nil {
			return nil, err
		}
		if f.Steering != nil {
			if n := len(f.Steering.Alternates); n > 1 {
				return nil, fmt.Errorf("%s: steers to %d other lines, and the simulated house has one: leave alternates out", p, n)
			}
			given.steering = f.Steering
		} else {
			wans = append(wans, f.WAN)
		}
	}
	if len(wans) == 0 || len(wans) > 2 {
		return nil, errors.New("--configs needs one or two WAN files, and at most one for steering")
	}
	given.cable, given.vdsl = wans[0], site.vdsl
	if len(wans) == 2 {
		given.vdsl = wans[1]
	}
	return &given, nil
}

// siteSetup puts the sites' controllers on a scenario of the household: the cable line first.
func siteSetup(s netsim.Scenario, site *sites, control string, latency time.Duration) score.Setup {
	kind := map[string]score.Control{"none": score.None, "static": score.Static, "wanctl": score.Loop}[control]
	setup := score.Setup{Scenario: s, Latency: latency}
	for i := range s.Links {
		cfg := site.cable
		if i == netsim.VDSL {
			cfg = site.vdsl
		}
		setup.Lines = append(setup.Lines, score.Line{Control: kind, Config: cfg})
	}
	if kind == score.Loop && site.steering != nil && len(s.Links) > 1 {
		setup.Steering = &score.Steering{Config: site.steering, Primary: netsim.Cable, Alternate: netsim.VDSL}
	}
	return setup
}
