package cli

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"wanctl/internal/blueprint"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
)

type routerPlanCmd struct {
	routerFiles
	RSC  bool `name:"rsc" help:"Print the commands alone, as a script to paste or import."`
	JSON bool `help:"Print the plan as JSON."`
}

// Help teaches the output.
func (routerPlanCmd) Help() string {
	return `Reads the router and prints what is missing (+), differs (~), stands in the wrong order (>), and why, each with its command;
then what a plan does not change by itself. Nothing is changed. Give the files of all lines of the router at once, and the
steering file with them. The exit code is 1 when something stands in the way.

Example:

    wanctl router plan /etc/wanctl/cable.yaml /etc/wanctl/dsl.yaml /etc/wanctl/steering.yaml
    wanctl router plan /etc/wanctl/cable.yaml --rsc`
}

type routerApplyCmd struct {
	routerFiles
	Yes bool `help:"Do not ask."`
}

// Help says what is safe about it.
func (routerApplyCmd) Help() string {
	return `Prints the plan, asks, saves what the router has now into the state directory, and carries the changes out one by one, each
read back. When one fails, those before it are undone. A second call changes nothing. Users and groups need the right
"policy", which wanctl's own user shall not have: log in as another with --user, once.

Example:

    wanctl router apply /etc/wanctl/cable.yaml /etc/wanctl/dsl.yaml /etc/wanctl/steering.yaml --user admin`
}

type routerUndoCmd struct {
	routerFiles
	Yes bool `help:"Do not ask."`
}

// Help says what it takes away.
func (routerUndoCmd) Help() string {
	return `Takes away what carries wanctl's marks (comments that begin with "wanctl: ", names that begin with "wanctl-") and the rule
that steering switches, if apply added it; puts back what apply set on things that were there. Values that somebody changed
since stay, and are named.

Example:

    wanctl router undo /etc/wanctl/cable.yaml /etc/wanctl/steering.yaml`
}

// wanted is what the site's files ask for.
func (v *routerView) wanted() blueprint.Wanted {
	s := v.site
	var w blueprint.Wanted
	cells := map[config.LinkLayer]string{config.PlainFrames: "none", config.AtmCells: "atm", config.PtmBlocks: "ptm"}
	for _, c := range s.wans {
		l := blueprint.Line{
			Name: c.Name, WAN: c.Interfaces.WAN, LAN: c.Interfaces.LAN, Queues: link.Pair[string]{Down: c.Queues.Download, Up: c.Queues.Upload},
			Simple: c.Queues.Simple,
			Limits: c.Base, Raw: c.Qdisc.Raw, Overhead: c.Qdisc.Overhead, Mpu: c.Qdisc.Mpu, Cells: cells[c.Qdisc.Layer], AckFilter: c.Qdisc.AckFilter,
			Heartbeat: c.Router.Heartbeat,
		}
		if l.WAN == "" { // where the upload's queue hangs, unless that is no interface
			l.WAN = v.parentOf(c.Queues.Upload)
		}
		l.Sources = s.sources(c)
		w.Lines = append(w.Lines, l)
	}
	if s.steering != nil {
		st := &blueprint.Steering{Policy: s.steering.Policy, ByList: s.steering.Switch == config.SwitchList, Heartbeat: s.steering.Router.Heartbeat}
		for _, a := range s.steering.Alternates {
			st.Comments = append(st.Comments, a.RuleComment)
		}
		w.Steering = st
	}
	w.Account = &blueprint.Account{Name: s.router.User, Policies: policies(s.router.Transport), Address: ownAddress(s.router.Host)}
	return w
}

// sources are the addresses that a line is probed from, by its controller and by steering.
func (s *site) sources(w *config.WAN) (from []string) {
	all := []netip.Addr{w.Probe.Source}
	if st := s.steering; st != nil && st.Policy.Primary == w.Name {
		all = append(all, st.Probe.Source)
	}
	if st := s.steering; st != nil {
		for _, a := range st.Alternates {
			if a.Name == w.Name {
				all = append(all, a.Source)
			}
		}
	}
	for _, a := range all {
		if a.Is4() && !slices.Contains(from, a.String()) {
			from = append(from, a.String())
		}
	}
	return from
}

// policies are the rights that a door needs.
func policies(transport string) []string {
	switch transport {
	case config.TransportAPI:
		return []string{"read", "write", "api"}
	case config.TransportREST:
		return []string{"read", "write", "api", "rest-api"}
	case config.TransportAuto:
		return []string{"read", "write", "ssh", "api", "rest-api"}
	}
	return []string{"read", "write", "ssh"}
}

// ownAddress is the address that this host has on the way to a host; empty when there is none yet. Nothing is sent.
func ownAddress(to string) string {
	c, err := net.Dial("udp", net.JoinHostPort(to, "9"))
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	host, _, _ := net.SplitHostPort(c.LocalAddr().String())
	return host
}

// parentOf is the interface under which a queue hangs.
func (v *routerView) parentOf(queue string) string {
	for _, r := range v.inventory[blueprint.QueueTree] {
		if r["name"] != queue {
			continue
		}
		for _, i := range v.inventory[blueprint.Interface] {
			if i["name"] == r["parent"] {
				return r["parent"]
			}
		}
	}
	return ""
}

// edit is a change as the router's hand takes it.
func edit(c blueprint.Change) routeros.Edit {
	e := routeros.Edit{Verb: c.Verb.String(), Menu: c.Menu, ID: c.ID, Before: c.Before}
	for _, a := range c.Args {
		e.Args = append(e.Args, routeros.Arg{Key: a.Key, Value: a.Value})
	}
	return e
}

// finder selects an item by what lasts longer than its id.
func (v *routerView) finder(menu, id string) routeros.Arg {
	for _, r := range v.inventory[menu] {
		if r[".id"] != id {
			continue
		}
		for _, k := range []string{"name", "comment", "action"} {
			same := 0
			for _, o := range v.inventory[menu] {
				if o[k] == r[k] {
					same++
				}
			}
			if r[k] != "" && same == 1 {
				return routeros.Arg{Key: k, Value: r[k]}
			}
		}
	}
	return routeros.Arg{Key: ".id", Value: id}
}

func (v *routerView) command(c blueprint.Change) string {
	e := edit(c)
	if c.Verb == blueprint.Add && c.Menu == blueprint.User {
		e.Args = append(e.Args, routeros.Arg{Key: "password", Secret: true})
	}
	return e.Command(v.finder(c.Menu, c.ID), v.finder(c.Menu, c.Before))
}

// Run prints the plan.
func (c routerPlanCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	v, err := app.survey(ctx, c.routerFiles)
	if err != nil {
		return err
	}
	defer v.close()
	p := blueprint.New(v.inventory, v.wanted())
	switch {
	case c.JSON:
		err = app.printJSON("plan", p)
	case c.RSC:
		app.showScript(v, p)
	default:
		app.showRouterPlan(v, p)
	}
	if err == nil && p.Blocked() {
		return exitCode(exitFailed)
	}
	return err
}

// showScript prints the commands alone.
func (a *App) showScript(v *routerView, p blueprint.Plan) {
	fmt.Fprintf(a.Stdout, "# wanctl: what %s lacks\n", v.admin)
	for _, c := range p.Changes {
		hold := ""
		if c.Verb == blueprint.Add && c.Menu == blueprint.User { // pasted as it is, everybody would know the password
			hold = "# put a password in, then take this mark away: "
		}
		fmt.Fprintf(a.Stdout, "# %s: %s\n%s%s\n", c.Item, c.Why, hold, v.command(c))
	}
	a.showProblems(p)
}

var signs = map[blueprint.Verb]string{blueprint.Add: "+", blueprint.Set: "~", blueprint.Move: ">", blueprint.Remove: "-"}

// showRouterPlan prints a plan for people.
func (a *App) showRouterPlan(v *routerView, p blueprint.Plan) {
	if len(p.Changes) == 0 {
		fmt.Fprintf(a.Stdout, "%s: nothing to do\n", v.admin)
	}
	for _, c := range p.Changes {
		fmt.Fprintf(a.Stdout, "%s %s: %s\n", signs[c.Verb], c.Item, c.Why)
		if c.Verb == blueprint.Set {
			for i, arg := range c.Args {
				fmt.Fprintf(a.Stdout, "    %s: %s → %s\n", arg.Key, orDefault(c.Was[i].Value), orDefault(arg.Value))
			}
		}
		fmt.Fprintf(a.Stdout, "    %s\n", v.command(c))
	}
	a.showProblems(p)
}

func orDefault(s string) string {
	if s == "" {
		return "(default)"
	}
	return s
}

func (a *App) showProblems(p blueprint.Plan) {
	for _, q := range p.Problems {
		word := "note"
		if q.Severity == blueprint.Blocker {
			word = "error"
		}
		fmt.Fprintf(a.Stderr, "%s: %s (%s)\n", word, q.What, q.Way)
	}
}
