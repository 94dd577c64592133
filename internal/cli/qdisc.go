package cli

import (
	"errors"
	"fmt"
	"slices"

	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
)

// qdiscCmd sets the queues up that controllers with transport linux drive.
type qdiscCmd struct {
	Plan   qdiscPlanCmd   `cmd:"" help:"Show what apply would do, as commands of tc and ip."`
	Apply  qdiscApplyCmd  `cmd:"" help:"Make the CAKE queues of lines that this host shapes itself."`
	Remove qdiscRemoveCmd `cmd:"" help:"Take away what apply made, and nothing else."`
}

// Help shows the way.
func (qdiscCmd) Help() string {
	return `For lines with "transport: linux": CAKE on the upload's interface, and for the download an ifb with CAKE through which
everything that comes in is redirected. Queues that somebody else made are named and never replaced. tc is not run.

Example:

    wanctl qdisc plan configs/linux.yaml`
}

type qdiscFiles struct {
	Files []string `arg:"" name:"file" help:"WAN configuration files with transport linux."`
}

type qdiscPlanCmd struct {
	qdiscFiles
	ReplaceMQ bool `name:"replace-mq" help:"Plan as apply --replace-mq would."`
	JSON      bool `help:"Print the plans as JSON."`
}

// Help teaches the output.
func (qdiscPlanCmd) Help() string {
	return `Prints the steps that are missing as the commands which would do the same, and what stands in the way. Nothing is
changed and no privilege is needed. The exit code is 1 when something stands in the way.

Example:

    wanctl qdisc plan configs/linux.yaml`
}

type qdiscApplyCmd struct {
	qdiscFiles
	ReplaceMQ bool `name:"replace-mq" help:"Put one CAKE in the place of the kernel's own multi-queue root (mq)."`
	DryRun    bool `help:"Print the steps and do nothing."`
}

// Help says what is touched.
func (qdiscApplyCmd) Help() string {
	return `Makes what is missing and changes what wanctl made with other options; a second call changes nothing. A queue begins
with base_mbps or the ceiling; the rate of one that is there stays. It needs CAP_NET_ADMIN, and the queues are gone after a
reboot: call it before the controller starts.

Example:

    wanctl qdisc apply /etc/wanctl/linux.yaml --dry-run`
}

type qdiscRemoveCmd struct {
	qdiscFiles
	DryRun bool `help:"Print the steps and do nothing."`
}

// Help says how it knows its own.
func (qdiscRemoveCmd) Help() string {
	return `Takes away what carries wanctl's marks: CAKE with the handle 7761:, the redirection with wanctl's cookie and the ingress
qdisc made for it, an ifb with the alias wanctl. The kernel then puts its own queues back.

Example:

    wanctl qdisc remove /etc/wanctl/linux.yaml`
}

// Queues is the kernel as far as this command needs it.
type Queues interface {
	Look(upload, download string) (cake.Found, error)
	Do(cake.Step) error
	Close() error
}

func (a *App) queues() (Queues, error) {
	if a.OpenQueues != nil {
		return a.OpenQueues()
	}
	c, err := cake.Open(cake.Options{})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// linePlan is one file's plan.
type linePlan struct {
	Name string `json:"wan"`
	cake.Plan
}

// Run prints the plans.
func (c qdiscPlanCmd) Run(app *App) error {
	plans, err := app.qdiscs(c.Files, func(k Queues, w *config.WAN) (cake.Plan, error) { return app.planApply(k, w, c.ReplaceMQ) })
	if err != nil {
		return err
	}
	if c.JSON {
		if err := app.printJSON("plans", plans); err != nil {
			return err
		}
	}
	stuck := false
	for _, p := range plans {
		if !c.JSON {
			app.showPlan(p, "would run")
		}
		stuck = stuck || len(p.Problems) > 0
	}
	if stuck {
		return exitCode(exitFailed)
	}
	return nil
}

// Run makes what is missing.
func (c qdiscApplyCmd) Run(app *App) error {
	return app.change(c.Files, c.DryRun, func(k Queues, w *config.WAN) (cake.Plan, error) { return app.planApply(k, w, c.ReplaceMQ) })
}

// Run takes away what is ours.
func (c qdiscRemoveCmd) Run(app *App) error {
	return app.change(c.Files, c.DryRun, func(k Queues, w *config.WAN) (cake.Plan, error) {
		s := setupOf(w)
		f, err := k.Look(s.Upload, s.Download)
		if err != nil {
			return cake.Plan{}, err
		}
		p := cake.PlanRemove(s, f)
		if running, _, _ := daemon.ReadStatus(app.dirs("").Run); len(p.Steps) > 0 &&
			slices.ContainsFunc(running, func(s daemon.Status) bool { return s.Name == w.Name }) {
			p.Notes = append(p.Notes, "a controller of this line runs and will miss its queues: stop it")
		}
		return p, nil
	})
}

// change carries plans out.
func (a *App) change(files []string, dry bool, plan func(Queues, *config.WAN) (cake.Plan, error)) error {
	stuck := false
	plans, err := a.qdiscs(files, func(k Queues, w *config.WAN) (cake.Plan, error) {
		p, err := plan(k, w)
		if err != nil || dry || len(p.Problems) > 0 {
			return p, err
		}
		for n, s := range p.Steps {
			if err := k.Do(s); err != nil {
				return p, fmt.Errorf("%w; %d of %d steps are done: mend that and call it again", err, n, len(p.Steps))
			}
		}
		return p, nil
	})
	did := "changed as these commands would have"
	if dry {
		did = "would run"
	}
	for _, p := range plans {
		a.showPlan(p, did)
		stuck = stuck || len(p.Problems) > 0
	}
	if err == nil && stuck {
		return exitCode(exitFailed)
	}
	return err
}

func (a *App) planApply(k Queues, w *config.WAN, replaceMQ bool) (cake.Plan, error) {
	s := setupOf(w)
	s.ReplaceMQ = replaceMQ
	f, err := k.Look(s.Upload, s.Download)
	if err != nil {
		return cake.Plan{}, err
	}
	return cake.PlanApply(s, f), nil
}

func setupOf(w *config.WAN) cake.Setup {
	atm := map[config.LinkLayer]cake.Atm{config.PlainFrames: cake.NoAtm, config.AtmCells: cake.ATM, config.PtmBlocks: cake.PTM}
	q := w.Qdisc
	return cake.Setup{
		Upload: w.Interfaces.Upload, Download: w.Interfaces.Download, Rates: w.Base, AckFilter: q.AckFilter,
		Framing: cake.Framing{Raw: q.Raw, Overhead: int32(q.Overhead), Mpu: uint32(q.Mpu), Atm: atm[q.Layer]},
	}
}

// qdiscs reads all files first and then plans for each. What was planned before an error is returned with it.
func (a *App) qdiscs(files []string, plan func(Queues, *config.WAN) (cake.Plan, error)) ([]linePlan, error) {
	parsed, whole := a.parseAll(files, "")
	for _, f := range parsed {
		if f.WAN == nil || f.WAN.Router.Transport != config.TransportLinux {
			whole = false
			fmt.Fprintf(a.Stderr, "%s: error: is not the configuration of a line that this host shapes (router.transport: linux)\n", f.Name)
		}
	}
	cross := config.CrossCheck(parsed...)
	fmt.Fprint(a.Stderr, cross.Errors())
	if !whole || cross.HasErrors() {
		return nil, exitCode(exitFailed)
	}
	k, err := a.queues()
	if err != nil {
		return nil, err
	}
	defer func() { _ = k.Close() }()
	plans := []linePlan{}
	var errs []error
	for _, f := range parsed {
		p, err := plan(k, f.WAN)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.WAN.Name, err))
			continue
		}
		plans = append(plans, linePlan{f.WAN.Name, p})
	}
	return plans, errors.Join(errs...)
}

// showPlan prints a plan for people.
func (a *App) showPlan(p linePlan, did string) {
	if len(p.Steps) == 0 && len(p.Problems) == 0 {
		fmt.Fprintf(a.Stdout, "%s: nothing to do\n", p.Name)
	}
	if len(p.Steps) > 0 {
		fmt.Fprintf(a.Stdout, "%s: %s\n", p.Name, did)
	}
	for _, s := range p.Steps {
		why := ""
		if s.Why != "" {
			why = "  # " + s.Why
		}
		fmt.Fprintf(a.Stdout, "  %s%s\n", s, why)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(a.Stdout, "  note: %s\n", n)
	}
	for _, t := range p.Problems {
		fmt.Fprintf(a.Stderr, "%s: error: %s\n", p.Name, t)
	}
}
