package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/lab/guest"
	"wanctl/internal/lab/kernel"
	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
)

type labCmd struct {
	Image   labImageCmd   `cmd:"" help:"Build the lab's machine: a user-mode kernel from Debian packages, once."`
	List    labListCmd    `cmd:"" help:"List the scenarios and the controllers."`
	Show    labShowCmd    `cmd:"" help:"Print a shipped scenario's file, to start your own from."`
	Run     labRunCmd     `cmd:"" help:"Play scenarios under controllers, and report what the flows felt."`
	Compare labCompareCmd `cmd:"" help:"Print the figures of earlier runs side by side."`
	Ward    labWardCmd    `cmd:"" hidden:"" help:"Run a machine for as long as standard input is open."`
}

// Help says what the lab is.
func (labCmd) Help() string {
	return `The lab plays scenarios on a real Linux kernel, with the real sch_cake and TCP, in virtual time: exact and repeatable
on any machine, without root. Build its machine once, then play.

Example:

    wanctl lab image
    wanctl lab run drop --controller static --controller wanctl
    wanctl lab compare lab-results/drop.static.1 lab-results/drop.wanctl.1`
}

type labImageFlags struct {
	Packages []string `name:"package" placeholder:"NAME" sep:"none" help:"Another Debian package for the machine, for a controller that needs it; may be repeated."`
}

type labImageCmd struct {
	labImageFlags
	Check bool `help:"Build nothing; exit with 1 when it is not built."`
}

// Help says what it takes.
func (labImageCmd) Help() string {
	return `Needs a Debian with gcc, make and its package sources; no root, and nothing is installed. It takes about 7 minutes on
two cores and is kept in $WANCTL_LAB_CACHE (or wanctl/lab in the user's cache directory) until the recipe changes.

Example:

    wanctl lab image`
}

// Run builds the image.
func (c labImageCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	cache, err := kernel.CacheDir(app.Getenv)
	if err != nil {
		return err
	}
	var img kernel.Image
	if c.Check {
		img, err = kernel.Find(ctx, cache, c.Packages...)
	} else {
		img, err = kernel.Build(ctx, cache, app.Stderr, c.Packages...)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(app.Stdout, "kernel %s\nroot file system %s\n", img.Kernel, img.Initrd)
	return err
}

type labListCmd struct{}

// Help says what the names are for.
func (labListCmd) Help() string {
	return `Names for "wanctl lab run".

Example:

    wanctl lab list`
}

// Run lists what there is to play.
func (labListCmd) Run(app *App) error {
	t := tabwriter.NewWriter(app.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tABOUT")
	for _, n := range scenario.Names() {
		s, err := scenario.Builtin(n, scenario.Options{})
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\n", n, s.About)
	}
	fmt.Fprintln(t, "\t\nCONTROLLER\tWHAT IT IS")
	for _, c := range kernel.Controllers() {
		fmt.Fprintf(t, "%s\t%s\n", c.Name, c.About)
	}
	return t.Flush()
}

type labShowCmd struct {
	Scenario string `arg:"" help:"Name of a shipped scenario."`
}

// Help says how to begin with a scenario of one's own.
func (labShowCmd) Help() string {
	return `Every key is explained in docs/scenarios.md.

Example:

    wanctl lab show drop`
}

// Run prints the file.
func (c labShowCmd) Run(app *App) error {
	b, err := scenario.Source(c.Scenario)
	if err != nil {
		return err
	}
	_, err = app.Stdout.Write(b)
	return err
}

type labRunCmd struct {
	labImageFlags
	Scenarios   []string      `arg:"" name:"scenario" help:"Names of shipped scenarios, files, or \"all\"."`
	Controllers []string      `name:"controller" short:"c" sep:"none" default:"none,static,wanctl" placeholder:"NAME" help:"Who sets the rates; may be repeated. \"wanctl lab list\" lists them."`
	Out         string        `short:"o" default:"lab-results" placeholder:"DIR" help:"Where the runs' directories and the report go."`
	Traces      string        `placeholder:"DIR" help:"Recordings of real links; without them, scenarios play synthetic twins."`
	Seed        uint64        `help:"Decides what the scenario draws; 0 is the file's own."`
	Runs        int           `default:"1" help:"How often each is played; the report has the median."`
	Jobs        int           `short:"j" help:"How many are played at once; 0 is one per processor, and one with --real-time. They do not disturb each other in virtual time."`
	Timeout     time.Duration `default:"20m" help:"How long one may take outside."`
	RealTime    bool          `name:"real-time" help:"Let the machine's clock run with this host's: CPU time is counted, and figures depend on the host."`
	Files       string        `placeholder:"DIR" help:"A foreign controller's files; the machine has them in /lab/files."`
	JSON        bool          `help:"Print the figures as JSON."`
}

// Help says how to compare a program of one's own.
func (labRunCmd) Help() string {
	return `Each run leaves a directory with its series, result.json and a report with plots. A controller of your own is named
exec:COMMAND; it runs in the router's namespace, and its environment says what it needs: LAB_WANS, LAB_REFLECTORS, LAB_OUT,
and for each WAN n LAB_Wn_UL_IF, LAB_Wn_DL_IF, LAB_Wn_ADDR, LAB_Wn_UL and LAB_Wn_DL (kbit/s). SIGTERM ends it.

Example:

    wanctl lab run drop square -c none -c static -c wanctl
    wanctl lab run all --traces traces -o results
    wanctl lab run drop -c 'exec:/lab/files/mine.sh' --files ./mine`
}

// job is one run to do.
type job struct {
	scenario   *scenario.Scenario
	controller string
	run        int
	dir        string
}

// Run plays them all.
func (c labRunCmd) Run(app *App) error {
	if c.Runs < 1 || c.Runs > 99 {
		return fmt.Errorf("--runs %d is outside 1 to 99", c.Runs)
	}
	if len(c.Controllers) == 1 {
		c.Controllers = splitControllers(c.Controllers[0])
	}
	scenarios, err := app.scenarios(c.Scenarios, scenario.Options{TracesDir: c.Traces, Seed: c.Seed})
	if err != nil {
		return err
	}
	ctx, cancel := app.context()
	defer cancel()
	lab, err := app.lab(ctx, c.Packages)
	if err != nil {
		return err
	}
	lab.Files, lab.RealTime, lab.Timeout = c.Files, c.RealTime, c.Timeout
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	for flag, dir := range map[string]string{"--traces": c.Traces, "--files": c.Files} {
		if i, err := os.Stat(dir); dir != "" && (err != nil || !i.IsDir()) {
			return fmt.Errorf("%s %s is not a directory", flag, dir)
		}
	}
	var jobs []job
	for _, s := range scenarios {
		for _, name := range c.Controllers {
			for r := range c.Runs {
				jobs = append(jobs, job{s, name, r + 1, filepath.Join(c.Out, kernel.DirName(s, name, r+1))})
			}
		}
	}
	if c.Jobs <= 0 {
		c.Jobs = runtime.NumCPU()
		if c.RealTime { // there they do disturb each other
			c.Jobs = 1
		}
	}
	results, err := app.play(ctx, lab, jobs, c.Jobs)
	if len(results) == 0 {
		return err
	}
	return errors.Join(err, writeComparison(c.Out, results), printSet(app, results, c.JSON))
}

// splitControllers takes the default apart, which is several; a command may hold commas.
func splitControllers(s string) []string {
	if strings.HasPrefix(s, kernel.Exec) {
		return []string{s}
	}
	return strings.Split(s, ",")
}

// scenarios reads names and files.
func (a *App) scenarios(names []string, o scenario.Options) ([]*scenario.Scenario, error) {
	if slices.Contains(names, "all") {
		names = scenario.Names()
	}
	var out []*scenario.Scenario
	var errs []error
	for _, n := range names {
		s, err := a.scenario(n, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}

func (a *App) scenario(name string, o scenario.Options) (*scenario.Scenario, error) {
	if !strings.ContainsAny(name, "/.") {
		return scenario.Builtin(name, o)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w (the shipped ones are named without a path: `wanctl lab list`)", err)
	}
	defer f.Close()
	return scenario.Parse(name, f, o)
}

// lab is a session that lacks only its story.
func (a *App) lab(ctx context.Context, packages []string) (kernel.Session, error) {
	cache, err := kernel.CacheDir(a.Getenv)
	if err != nil {
		return kernel.Session{}, err
	}
	img, err := kernel.Find(ctx, cache, packages...)
	if err != nil {
		return kernel.Session{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return kernel.Session{}, fmt.Errorf("this program's own file: %w", err)
	}
	return kernel.Session{
		Image: img, Binary: self, Warden: []string{self, "lab", "ward"}, Version: version(), Now: time.Now,
	}, nil
}

// play does the jobs, some at once, and tells of each. What fails is told and does not keep the others from running.
func (a *App) play(ctx context.Context, lab kernel.Session, jobs []job, at int) ([]*report.Result, error) {
	results := make([]*report.Result, len(jobs))
	errs := make([]error, len(jobs))
	next := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range min(at, len(jobs)) {
		wg.Go(func() {
			for i := range next {
				j := jobs[i]
				s := lab
				s.Scenario, s.Controller, s.Dir = j.scenario, j.controller, j.dir
				r, err := playOne(ctx, s)
				mu.Lock()
				done++
				head := fmt.Sprintf("[%d/%d] %s %s", done, len(jobs), j.scenario.Name, j.controller)
				switch {
				case err != nil:
					fmt.Fprintf(a.Stderr, "%s: failed\n", head)
				case !r.Valid:
					fmt.Fprintf(a.Stderr, "%s: %.0f s, not valid: %s\n", head, r.WallS, strings.Join(r.Invalid, "; "))
				default:
					fmt.Fprintf(a.Stderr, "%s: %.0f s\n", head, r.WallS)
				}
				results[i], errs[i] = r, err
				mu.Unlock()
			}
		})
	}
	for i := range jobs {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		errs = append(errs, errors.New("ended by a signal; what was finished is reported"))
	}
	return slices.DeleteFunc(results, func(r *report.Result) bool { return r == nil }), errors.Join(errs...)
}

// playOne plays one run and leaves its report beside its series.
func playOne(ctx context.Context, s kernel.Session) (*report.Result, error) {
	raw, err := s.Run(ctx)
	if err != nil {
		return nil, err
	}
	r, err := report.Evaluate(raw)
	if err != nil {
		return nil, fmt.Errorf("figures of %s: %w", s.Dir, err)
	}
	return r, report.Save(s.Dir, raw, r)
}

// labWardCmd is a process of its own, so that a machine never outlives the command that started it.
type labWardCmd struct {
	Args []string `arg:"" passthrough:"" help:"The machine's command."`
}

// Run runs the machine.
func (c labWardCmd) Run(*App) error {
	// Only the end of standard input ends it: a terminal's Ctrl-C goes to the one that asked, which then decides.
	_, _ = unix.Setsid()
	return kernel.Ward(c.Args, os.Stdin, os.Stdout)
}

type labGuestCmd struct {
	Plan string `arg:"" help:"The plan's file."`
}

// Run plays a plan. It is the only command that runs inside the machine.
func (c labGuestCmd) Run(app *App) error {
	b, err := os.ReadFile(c.Plan)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	var p guest.Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("the plan %s: %w", c.Plan, err)
	}
	if os.Getpid() == 1 || unix.Getuid() != 0 {
		return errors.New("this command plays inside the lab's machine alone: use `wanctl lab run`")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("the kernel's name: %w", err)
	}
	if _, err := os.Stat("/lab/" + filepath.Base(c.Plan)); err != nil {
		return errors.New("this command changes the machine that it runs on: it plays inside the lab's machine alone, see `wanctl lab run`")
	}
	return guest.Play(context.Background(), p, filepath.Dir(c.Plan), unix.ByteSliceToString(u.Release[:]), app.Stdout)
}

type labCompareCmd struct {
	Runs []string `arg:"" name:"run" help:"Directories of runs, or their result.json."`
	Docs string   `placeholder:"DIR" help:"Write a page with the table and plots there, and print nothing."`
	JSON bool     `help:"Print JSON."`
}

// Help says what is compared.
func (labCompareCmd) Help() string {
	return `Prints one table: a row for each scenario, link and direction, a column for each controller.

Example:

    wanctl lab compare lab-results/drop.none.1 lab-results/drop.static.1 lab-results/drop.wanctl.1`
}

// Run prints the table.
func (c labCompareCmd) Run(app *App) error {
	var results []*report.Result
	var errs []error
	for _, path := range c.Runs {
		r, err := readResult(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		results = append(results, r)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if c.Docs != "" {
		return writeLabPage(c.Docs, c.Runs, results)
	}
	return printSet(app, results, c.JSON)
}

func readResult(path string) (*report.Result, error) {
	if i, err := os.Stat(path); err == nil && i.IsDir() {
		path = filepath.Join(path, report.ResultFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("result of a run: %w", err)
	}
	defer f.Close()
	r, err := report.ReadResult(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// printSet prints the figures side by side.
func printSet(app *App, results []*report.Result, asJSON bool) error {
	c := report.Compare(results)
	if asJSON {
		return c.WriteJSON(app.Stdout)
	}
	return c.WriteText(app.Stdout)
}
