package cli

import (
	"errors"
	"fmt"
	"net/netip"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/policy"
)

// policyCmd sets the rules up by which this host steers.
type policyCmd struct {
	Plan   policyPlanCmd   `cmd:"" help:"Show what apply would do, as commands of nft and ip."`
	Apply  policyApplyCmd  `cmd:"" help:"Make the nftables table, the rules and the routes by which this host steers."`
	Remove policyRemoveCmd `cmd:"" help:"Take away what apply and wanctl steer made, and nothing else."`
	Show   policyShowCmd   `cmd:"" help:"Print the rules of a configuration, and what the kernel counts."`
}

// Help shows the way.
func (policyCmd) Help() string {
	return `For a steering configuration with "transport: linux". wanctl steer makes the same by itself and mends it while it runs; it
leaves it when it stops, so that running connections keep their line. nft and ip are not run.

Example:

    wanctl policy plan configs/steering_linux.yaml`
}

type policyFile struct {
	File string `arg:"" help:"Steering configuration file with transport linux."`
}

type policyPlanCmd struct {
	policyFile
	JSON bool `help:"Print the plan as JSON."`
}

// Help teaches the output.
func (policyPlanCmd) Help() string {
	return `Prints the steps that are missing as the commands which would do the same, and what stands in the way. Nothing is
changed. The exit code is 1 when something stands in the way. Reading the rules of nftables needs CAP_NET_ADMIN.

Example:

    wanctl policy plan configs/steering_linux.yaml`
}

type policyApplyCmd struct {
	policyFile
	DryRun bool `help:"Print the steps and do nothing."`
}

// Help says what is touched.
func (policyApplyCmd) Help() string {
	return `Makes what is missing, reads it back, and takes back what it did where a step fails; a second call changes nothing. Where
something stands in the way nothing is changed at all. It needs CAP_NET_ADMIN.

Example:

    wanctl policy apply /etc/wanctl/steering_linux.yaml`
}

type policyRemoveCmd struct {
	policyFile
	DryRun bool `help:"Print the steps and do nothing."`
}

// Help says how it knows its own.
func (policyRemoveCmd) Help() string {
	return `Takes away the nftables table of the configuration and every rule and route with wanctl's routing protocol number (119).
Running connections then go where the main table sends them: those on another line than the primary break.

Example:

    wanctl policy remove /etc/wanctl/steering_linux.yaml`
}

type policyShowCmd struct{ policyFile }

// Help teaches the output.
func (policyShowCmd) Help() string {
	return `Prints the nftables table that the configuration means, and where the kernel has it: to which line new connections go now
and how many it has seen.

Example:

    wanctl policy show /etc/wanctl/steering_linux.yaml`
}

// Policies is the kernel's steering as far as this command needs it: policy.Options is it.
type Policies interface {
	Plan() (policy.Plan, error)
	Apply() (policy.Plan, error)
	PlanRemove() (policy.Plan, error)
	Remove() (policy.Plan, error)
	Text() string
	Steered() (string, error)
	Counts() (policy.Counts, error)
	Pair(client, peer netip.Addr) (policy.Pair, error)
}

// policies reads the file.
func (a *App) policies(file string) (Policies, *config.Steering, error) {
	f, ds := a.parse(file, "")
	fmt.Fprint(a.Stderr, ds.Errors())
	if f == nil {
		return nil, nil, exitCode(exitFailed)
	}
	if f.Steering == nil || f.Steering.Linux == nil {
		return nil, nil, fmt.Errorf("%s: is not the configuration of a host that steers by itself (router.transport: linux)", file)
	}
	return a.policiesOf(f.Steering), f.Steering, nil
}

func (a *App) policiesOf(s *config.Steering) Policies {
	if a.OpenPolicies != nil {
		return a.OpenPolicies(s)
	}
	return daemon.PolicyOptionsOf(s)
}

// Run prints the plan.
func (c policyPlanCmd) Run(app *App) error {
	k, _, err := app.policies(c.File)
	if err != nil {
		return err
	}
	p, err := k.Plan()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := app.printJSON("plan", p); err != nil {
			return err
		}
	} else {
		app.showPolicy(p, "would run")
	}
	if len(p.Problems) > 0 {
		return exitCode(exitFailed)
	}
	return nil
}

// Run makes what is missing.
func (c policyApplyCmd) Run(app *App) error {
	if c.DryRun {
		return policyPlanCmd{policyFile: c.policyFile}.Run(app)
	}
	k, _, err := app.policies(c.File)
	if err != nil {
		return err
	}
	p, err := k.Apply()
	app.showPolicy(p, "changed as these commands would have")
	if len(p.Problems) > 0 {
		return exitCode(exitFailed)
	}
	return err
}

// Run takes away what is ours.
func (c policyRemoveCmd) Run(app *App) error {
	k, s, err := app.policies(c.File)
	if err != nil {
		return err
	}
	running, _, _ := daemon.ReadStatus(app.dirs("").Run)
	for _, r := range running {
		if r.Name == daemon.SteeringID(s) && !c.DryRun {
			return errors.New("wanctl steer runs with this configuration and would make everything again: stop it first")
		}
	}
	do, did := k.Remove, "changed as these commands would have"
	if c.DryRun {
		do, did = k.PlanRemove, "would run"
	}
	p, err := do()
	app.showPolicy(p, did)
	return err
}

// Run prints the rules and the counters.
func (c policyShowCmd) Run(app *App) error {
	k, s, err := app.policies(c.File)
	if err != nil {
		return err
	}
	fmt.Fprint(app.Stdout, k.Text())
	to, err := k.Steered()
	if policy.IsMissing(err) {
		fmt.Fprintln(app.Stdout, "# the kernel does not have it: wanctl policy apply makes it")
		return nil
	}
	if err != nil {
		return err
	}
	if to == "" {
		to = s.Steer.Primary + ", as ever"
	}
	n, err := k.Counts()
	if err != nil {
		return err
	}
	fmt.Fprintf(app.Stdout, "# new connections of the classes go to %s; %d over IPv4 and %d over IPv6 were seen\n", to, n.New, n.New6)
	return nil
}

// showPolicy prints a plan for people.
func (a *App) showPolicy(p policy.Plan, did string) {
	if len(p.Steps) == 0 && len(p.Problems) == 0 {
		fmt.Fprintln(a.Stdout, "nothing to do")
	}
	if len(p.Steps) > 0 {
		fmt.Fprintln(a.Stdout, did)
	}
	for _, s := range p.Steps {
		if s.Why != "" {
			fmt.Fprintf(a.Stdout, "# because %s\n", s.Why)
		}
		fmt.Fprintln(a.Stdout, s.Command)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(a.Stdout, "note: %s\n", n)
	}
	for _, t := range p.Problems {
		fmt.Fprintf(a.Stderr, "error: %s\n", t)
	}
}
