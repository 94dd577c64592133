package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"wanctl/internal/calibrate"
	"wanctl/internal/capacity"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

type calibrateCmd struct {
	Config   string   `arg:"" help:"WAN configuration file."`
	Journals []string `arg:"" optional:"" name:"journal" help:"Recordings of this WAN (.gz too); without any, those in the file's journal.dir."`
	testFlags
	Lift   bool   `help:"Take the limits off the router while the test loads the line, and put them back."`
	JSON   bool   `help:"Print the findings as JSON."`
	YAML   bool   `name:"yaml" help:"Print only the recommended keys, as YAML."`
	RunDir string `name:"run-dir" placeholder:"DIR" help:"Run directory of the WAN's process."`
}

// testFlags say how a line is tested.
type testFlags struct {
	Iperf3     string        `name:"iperf3" placeholder:"HOST[:PORT]" help:"Load the line through an iperf3 server of yours."`
	HTTP       string        `name:"http" placeholder:"URL" help:"Load the download by reading this large file."`
	HTTPUpload string        `name:"http-upload" placeholder:"URL" help:"Load the upload by posting to this URL."`
	IRTT       string        `name:"irtt" placeholder:"HOST[:PORT]" help:"Measure the delay to this IRTT server, too."`
	Streams    int           `default:"4" help:"TCP connections that load the line, 1 to 32."`
	Time       time.Duration `default:"15s" help:"How long each direction is loaded, 2s to 45s."`
	Idle       time.Duration `default:"5s" help:"How long the delay is measured without load, 1s to 30s."`
}

func (f testFlags) wanted() bool { return f.Iperf3 != "" || f.HTTP != "" || f.HTTPUpload != "" }

// Help says what is read, loaded and written.
func (calibrateCmd) Help() string {
	return `Measures what a line carries and how it answers load, and recommends ceilings, floors and thresholds for its file, each with
its reason and how much evidence there is. Nothing is applied.

What it knows comes from the controller's recordings (the journal section of the WAN file): how often the line was full, at its
ceiling or its floor, and what it carried then. That costs nothing and has seen the evenings.

--iperf3, --http and --http-upload load the line through a server you name, from the address its probes leave by: first the
delay without load, then download and upload, one at a time. A test within the router's limits shows those; --lift takes
them off meanwhile, which needs the WAN's controller to be stopped, and puts them back whatever happens. Should it be killed,
the next calibrate, autorate or release of the file does. A test moves hundreds of megabytes.

Example:

    wanctl calibrate /etc/wanctl/att_config.yaml
    wanctl calibrate /etc/wanctl/att_config.yaml --iperf3 iperf.example.net --lift`
}

// Run measures, and prints what follows.
func (c calibrateCmd) Run(app *App) error {
	cfg, err := app.wanFile(c.Config)
	if err != nil {
		return err
	}
	text, err := app.ReadFile(c.Config)
	if err != nil {
		return err
	}
	setting, err := settingOf(cfg, text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	if err := c.check(); err != nil {
		return err
	}
	past, err := c.history(cfg)
	if err != nil {
		return err
	}
	log.SetOutput(io.Discard) // net/http would print there what a server says out of turn
	// A reader of our output that went away must not kill us before the router has its limits.
	signal.Ignore(syscall.SIGPIPE)
	lifter := daemon.Lifter{Clock: daemon.HostClock{}, Dirs: app.dirs(c.RunDir), Say: func(s string) { fmt.Fprintln(app.Stderr, "wanctl:", s) }}
	if _, err := lifter.RestoreLeft(cfg); err != nil {
		var held *daemon.LockHeldError
		if !errors.As(err, &held) { // else a controller is at work, and sets them
			return err
		}
	}
	var active *calibrate.Active
	var failed error
	if c.wanted() {
		var test *calibrate.Test
		if test, failed = app.testLine(cfg, c.testFlags, c.Lift, lifter); test != nil {
			a := test.Judge()
			active = &a
		}
		if failed != nil && (active == nil || active.Ways.Down == nil && active.Ways.Up == nil) {
			return failed
		}
	}
	report := past.Report(cfg.Name, setting, active)
	report.Notes = append(report.Notes, past.notes...)
	fragment := fragmentOf(&report)
	switch {
	case c.JSON:
		err = app.printJSON("findings", struct {
			calibrate.Report
			Files []string `json:"files"`
			YAML  string   `json:"yaml"`
		}{report, past.files, fragment})
	case c.YAML:
		_, err = io.WriteString(app.Stdout, fragment)
	default:
		err = printCalibration(app.Stdout, &report, past.files, fragment)
	}
	return errors.Join(failed, err)
}

func (c calibrateCmd) check() error {
	switch {
	case c.Lift && !c.wanted():
		return errors.New("--lift is for a test: name a server with --iperf3, --http or --http-upload")
	case c.IRTT != "" && !c.wanted():
		return errors.New("--irtt measures the delay of a test: name a server that takes load with --iperf3, --http or --http-upload")
	case c.JSON && c.YAML:
		return errors.New("--json and --yaml: choose one")
	case !c.wanted():
		return nil
	}
	if c.IRTT != "" {
		if _, _, err := capacity.ParseServer(c.IRTT, 1); err != nil {
			return fmt.Errorf("IRTT server %w", err)
		}
	}
	return c.options(nil).Check()
}

// options are what the flags ask for, through a WAN's line.
func (f testFlags) options(cfg *config.WAN) capacity.Options {
	o := capacity.Options{
		Iperf3: f.Iperf3, Download: f.HTTP, Upload: f.HTTPUpload, Streams: f.Streams, Time: f.Time, Idle: f.Idle, Now: daemon.HostClock{}.Now,
	}
	if cfg != nil {
		o.Path = capacity.Path{Source: cfg.Probe.Source, Interface: cfg.Probe.Interface, Mark: cfg.Probe.Mark}
	}
	return o
}

// testLine loads a WAN's line as the flags say, from where its probes leave, and measures the delay meanwhile. With lift the
// limits are off the router while it is loaded; they are back when this returns or panics. What was measured before an error
// comes beside it; nil is nothing.
func (a *App) testLine(cfg *config.WAN, f testFlags, lift bool, lifter daemon.Lifter) (test *calibrate.Test, err error) {
	ctx, cancel := a.context()
	defer cancel()
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	defer a.onHangup(interrupt)()
	say := func(format string, v ...any) {
		fmt.Fprintf(a.Stderr, "%s: "+format+"\n", append([]any{cfg.Name}, v...)...)
	}

	test = &calibrate.Test{LimitShare: cfg.Qdisc.Share(fullPacket)}
	if !lift {
		if test.Limits, err = limitsOf(ctx, cfg); err != nil {
			say("the router's limits cannot be read, so a rate that they bound is not told from the line's: %v", err)
		}
	}
	var lifted *daemon.Lifted
	if lift {
		if lifted, err = lifter.Claim(cfg); err != nil {
			return nil, err
		}
	}
	off := false
	defer func() {
		said, again := lifted.Restore()
		if said != "" {
			fmt.Fprintln(a.Stderr, said)
		}
		err = errors.Join(err, again)
	}()
	delays, err := openDelays(ctx, cfg, f.IRTT, interrupt, func(text string) { say("%s", text) })
	if err != nil {
		return nil, err
	}
	defer delays.close()
	o := f.options(cfg)
	o.Delays = delays
	o.Before = func(p capacity.Part) (err error) {
		switch {
		case p == capacity.Unloaded:
			say("measuring the delay without load for %s", f.Idle)
			return nil
		case lift && !off:
			off = true
			if err := lifted.Lift(); err != nil {
				return err
			}
			say("the limits (%s) are off the router", daemon.LimitsText(lifted.Before()))
		case lift:
			if err := lifted.Renew(); err != nil {
				return err
			}
		}
		say("loading the %s for %s", p, f.Time)
		return nil
	}
	got, err := capacity.Measure(ctx, o)
	delays.rethrow()
	test.Idle, test.Ways = got.Idle, got.Ways
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return test, err
}

// fullPacket is an IP packet of a load that TCP fills, in bytes: Ethernet's usual MTU. The few that a PPPoE line has less change a
// share of it little.
const fullPacket = 1500

// onHangup interrupts when the terminal goes away, or somebody quits from it: both would else kill at once.
func (a *App) onHangup(interrupt func()) (stop func()) {
	c := make(chan os.Signal, 1)
	end := a.Notify(c, syscall.SIGHUP, syscall.SIGQUIT)
	over := make(chan struct{})
	go func() {
		select {
		case <-c:
			interrupt()
		case <-over:
		}
	}()
	return func() { end(); close(over) }
}

// limitsOf reads what limits the router has.
func limitsOf(ctx context.Context, cfg *config.WAN) (link.Rates, error) {
	router, err := daemon.DialShaper(cfg, daemon.HostClock{})
	if err != nil {
		return link.Rates{}, err
	}
	defer func() { _ = router.Close() }()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeouts.Router)
	defer cancel()
	rep, err := router.Exchange(ctx, nil)
	return rep.Applied(), err
}

// table prints aligned columns.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

func spreadText(r calibrate.Rates) string {
	if r.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s to %s, n=%d)", r.P50, r.P10, r.P90, r.N)
}

func delayText(q calibrate.Quantiles) string {
	if q.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f / %.1f / %.1f", float64(q.P50), float64(q.P95), float64(q.P99))
}

func lossText(p unit.PPM, known bool) string {
	if !known {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", float64(p)/1e4)
}

// printCalibration prints the findings for people.
func printCalibration(w io.Writer, r *calibrate.Report, files []string, fragment string) error {
	say := func(format string, v ...any) { fmt.Fprintf(w, format, v...) }
	var errs []error
	if r.Cycles > 0 {
		say("%s: %.1f h of history in %d files, %d cycles; idle for %s, loaded for %s\n\n", r.WAN, r.Hours, len(files), r.Cycles,
			r.Idle.Round(time.Second), r.Loaded.Round(time.Second))
		rows := [][]string{{"", "download", "upload"}}
		both := func(name string, f func(calibrate.WayReport) string) {
			rows = append(rows, []string{name, f(r.Ways.Down), f(r.Ways.Up)})
		}
		both("full, it carried", func(w calibrate.WayReport) string { return spreadText(w.Line) })
		both("loaded, it carried", func(w calibrate.WayReport) string { return spreadText(w.Carried) })
		both("loaded, the limit was", func(w calibrate.WayReport) string { return spreadText(w.Shaped) })
		both("limits from, to", func(w calibrate.WayReport) string { return fmt.Sprintf("%s, %s", w.Least, w.Most) })
		both("at the ceiling without a queue, with one", func(w calibrate.WayReport) string {
			return fmt.Sprintf("%s, %s", w.Clipped.Round(time.Second), w.Over.Round(time.Second))
		})
		both("at the floor with a queue", func(w calibrate.WayReport) string {
			return fmt.Sprintf("%s in %d rows", w.Floored.Round(time.Second), w.FlooredRows)
		})
		errs = append(errs, table(w, rows))
		say("\n")
		rows = [][]string{
			{"ms", "p50 / p95 / p99", "samples"},
			{"baseline, idle", delayText(r.Baseline), fmt.Sprint(r.Baseline.N)},
			{"average over it, idle", delayText(r.IdleDelta), fmt.Sprint(r.IdleDelta.N)},
			{"over it, loaded", delayText(r.LoadedQueue), fmt.Sprint(r.LoadedQueue.N)},
		}
		errs = append(errs, table(w, rows))
		if len(r.ByHour) > 0 {
			rows = [][]string{{"hour", "cycles", "RTT idle, ms", "over baseline loaded, ms", "full download", "full upload"}}
			for _, h := range r.ByHour {
				rows = append(rows, []string{fmt.Sprintf("%02d", h.Hour), fmt.Sprint(h.Cycles), delayText(h.RTT), delayText(h.Queue), spreadText(h.Line.Down), spreadText(h.Line.Up)})
			}
			say("\n")
			errs = append(errs, table(w, rows))
		}
		if len(r.Reflectors) > 0 {
			rows = [][]string{{"reflector", "RTT idle, ms", "answers", "lost"}}
			for _, f := range r.Reflectors {
				rows = append(rows, []string{f.Name, delayText(f.RTT), fmt.Sprint(f.Heard), lossText(f.Lost, f.Sent > 0)})
			}
			say("\n")
			errs = append(errs, table(w, rows))
		}
		say("\n")
	} else {
		say("%s: no history\n\n", r.WAN)
	}
	if t := r.Active; t != nil {
		rows := [][]string{
			{"test", "carried", "over the idle RTT, ms p50 / p95 / p99", "probes lost", "limit"},
			{"unloaded", "", "RTT " + delayText(t.RTT), "", ""},
		}
		for _, d := range [...]link.Direction{link.Down, link.Up} {
			if v := t.Ways.Get(d); v != nil {
				limit := "off or none"
				if v.Limit > 0 {
					limit = v.Limit.String()
				}
				if v.Limited {
					limit += ", reached"
				}
				rows = append(rows, []string{d.String(), spreadText(v.Rates), delayText(v.Delay), lossText(v.Lost, v.Sent > 0), limit})
			}
		}
		errs = append(errs, table(w, rows))
		say("\n")
	}
	rows := [][]string{{"key", "now", "advice", "evidence", "reason"}}
	for _, a := range r.Advice {
		advice := a.Value
		if a.Verdict != calibrate.Change {
			advice = string(a.Verdict)
		}
		rows = append(rows, []string{strings.TrimPrefix(a.Key, "continuous_monitoring."), orDash(a.Now), advice, evidenceText(a), a.Reason})
	}
	errs = append(errs, table(w, rows))
	for _, n := range r.Notes {
		say("\n%s\n", n)
	}
	say("\n%s", fragment)
	return errors.Join(errs...)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func evidenceText(a calibrate.Advice) string {
	if a.Samples == 0 {
		return "none"
	}
	return fmt.Sprintf("%d in %.2g h", a.Samples, a.Hours)
}

// fragmentOf is the part of a WAN file that is recommended to change, with the reasons as comments.
func fragmentOf(r *calibrate.Report) string {
	var b strings.Builder
	changes := r.Changes()
	if len(changes) == 0 {
		fmt.Fprintf(&b, "# %s: the figures recommend no change.\n", r.WAN)
		return b.String()
	}
	fmt.Fprintf(&b, "# %s: recommended by wanctl calibrate; nothing was applied.\n", r.WAN)
	slices.SortStableFunc(changes, func(x, y calibrate.Advice) int { return strings.Compare(parent(x.Key), parent(y.Key)) })
	var open []string
	for _, a := range changes {
		path := strings.Split(a.Key, ".")
		leaf, sections := path[len(path)-1], path[:len(path)-1]
		same := 0
		for same < len(open) && same < len(sections) && open[same] == sections[same] {
			same++
		}
		for i := same; i < len(sections); i++ {
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), sections[i])
		}
		open = sections
		in := strings.Repeat("  ", len(sections))
		was := ""
		if a.Now != "" {
			was = ", was " + a.Now
		}
		fmt.Fprintf(&b, "%s# %s%s\n%s%s: %s\n", in, a.Reason, was, in, leaf, a.Value)
	}
	return b.String()
}

// parent is what lies before the last part of a dotted path.
func parent(key string) string { return key[:max(0, strings.LastIndexByte(key, '.'))] }
