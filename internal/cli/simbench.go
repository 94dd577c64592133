package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"wanctl/internal/daemon"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/lab/score"
)

type simBenchCmd struct {
	Scenario []string      `short:"s" placeholder:"NAME" sep:"," help:"A scenario of the lab, or a file of your own; may be repeated. Default: eleven of them; none leaves them out."`
	Policy   []string      `short:"p" placeholder:"NAME" sep:"," help:"Who sets the rates; may be repeated. Default: all but the further tunings; all is every one, list prints them."`
	Traces   string        `placeholder:"DIR" help:"Also play every recording below this directory, mahimahi or t_s,mbps, plain or .gz; and the scenarios with theirs."`
	Length   time.Duration `default:"2m" help:"How much of each recording is played."`
	Delay    time.Duration `name:"command-delay" default:"1ms" help:"How long until a new rate takes effect: 1ms is netlink, 25ms a router's API."`
	Jitter   time.Duration `help:"Standard deviation of noise on each probe's round trip."`
	Seed     uint64        `default:"1" help:"Decides every chance; the same seed gives the same figures."`
	JSON     bool          `help:"Print every figure as JSON."`
	Plot     string        `placeholder:"FILE" help:"Write the frontiers there, as SVG."`
}

// Help says what is compared and how to read it.
func (simBenchCmd) Help() string {
	return `Plays the lab's scenarios, and recordings of real lines, under each policy: the same stories as "wanctl lab", on a
simulated network instead of a kernel, in a minute instead of hours. A recording is played in each direction by itself, and
NAME.down with NAME.up both ways.

What counts is two figures that pull against each other: how much of the capacity was delivered, and the delay that a small
packet found in the bottleneck's queue. A policy marked * is on the frontier: no other delivers as much with as little
delay. Oracles, marked o, know the capacity beforehand or at once: what no controller can, and what knowing is worth. They
deliver less than all where senders need time to fill a line that suddenly got wider. Over several recordings the delivered
share is the mean and a delay the geometric mean. Time in which the line carried less than a packet in 100 ms counts
nowhere. The figures of commands are those of the whole line.

Example:

    wanctl sim bench
    wanctl sim bench --scenario drop,lte --policy steps,reference,clairvoyant
    wanctl sim bench --traces traces --policy all --json --plot frontier.svg`
}

// Run plays everything and prints it.
func (c simBenchCmd) Run(app *App) error {
	if len(c.Policy) == 1 && c.Policy[0] == "list" {
		for _, p := range score.Policies() {
			fmt.Fprintf(app.Stdout, "%-18s%s\n", p.Name, p.About)
		}
		return nil
	}
	policies, err := score.PolicyNamed(c.Policy)
	if err != nil {
		return err
	}
	cases, err := c.cases(app)
	if err != nil {
		return err
	}
	o := score.BenchOptions{Delay: c.Delay, Jitter: c.Jitter, Seed: c.Seed}
	if app.Terminal {
		o.OnRun = func(done, all int) { fmt.Fprintf(app.Stderr, "\r%d of %d runs ", done, all) }
	}
	ctx, cancel := app.context()
	defer cancel()
	began := daemon.HostClock{}.Now()
	b, err := score.RunBench(ctx, cases, policies, o)
	if app.Terminal {
		fmt.Fprintf(app.Stderr, "in %.1f s\n", daemon.HostClock{}.Now().Sub(began).Seconds())
	}
	if err != nil {
		return err
	}
	if c.Plot != "" {
		if err := os.WriteFile(c.Plot, b.SVG(), 0o644); err != nil {
			return fmt.Errorf("write the plot: %w", err)
		}
	}
	if c.JSON {
		return app.printJSON("figures", struct {
			*score.Bench
			Groups []score.Group `json:"groups"`
		}{b, b.Groups()})
	}
	return b.Text(app.Stdout)
}

// cases are the scenarios and recordings that were asked for.
func (c simBenchCmd) cases(app *App) ([]score.Case, error) {
	names := c.Scenario
	switch {
	case len(names) == 1 && names[0] == "none":
		names = nil
	case len(names) == 0:
		names = score.BenchScenarios()
	}
	var cases []score.Case
	for _, n := range names {
		s, err := app.scenario(n, scenario.Options{TracesDir: c.Traces})
		if err != nil {
			return nil, err
		}
		one, err := score.ScenarioCase(s)
		if err != nil {
			return nil, err
		}
		cases = append(cases, one)
	}
	if c.Traces == "" {
		return cases, nil
	}
	recorded, skipped, err := score.RecordingCases(c.Traces, c.Length)
	if err != nil {
		return nil, err
	}
	for _, s := range skipped {
		why, _, _ := strings.Cut(s.Error(), ";")
		fmt.Fprintln(app.Stderr, "skipped:", why)
	}
	return append(cases, recorded...), nil
}
