package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

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
			Limits: c.Base, Raw: c.Qdisc.Raw, Overhead: c.Qdisc.Overhead, Mpu: c.Qdisc.Mpu, Cells: cells[c.Qdisc.Layer], AckFilter: c.Qdisc.AckFilter,
		}
		if l.WAN == "" { // where the upload's queue hangs, unless that is no interface
			l.WAN = v.parentOf(c.Queues.Upload)
		}
		w.Lines = append(w.Lines, l)
	}
	if s.steering != nil {
		st := &blueprint.Steering{Primary: s.steering.Steer.Primary, Alternate: s.steering.Steer.Alternate, Comment: s.steering.RuleComment}
		for _, c := range s.steering.Classes {
			class := blueprint.Class{Name: c.Name}
			for _, m := range c.Matches {
				to := ""
				if m.To.IsValid() {
					to = m.To.String()
				}
				class.Matches = append(class.Matches, blueprint.Match{Protocol: m.Protocol, Ports: m.Ports, DSCP: m.DSCP, To: to})
			}
			st.Classes = append(st.Classes, class)
		}
		w.Steering = st
	}
	w.Account = &blueprint.Account{Name: s.router.User, Policies: policies(s.router.Transport), Address: ownAddress(s.router)}
	return w
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

// ownAddress is the address that this host has on the way to the router; empty when there is none yet. Nothing is sent.
func ownAddress(r config.Router) string {
	c, err := net.Dial("udp", net.JoinHostPort(r.Host, "9"))
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
		err = app.printJSON(p)
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
		fmt.Fprintf(a.Stdout, "# %s: %s\n%s\n", c.Item, c.Why, v.command(c))
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

// Run carries the plan out.
func (c routerApplyCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	v, err := app.survey(ctx, c.routerFiles)
	if err != nil {
		return err
	}
	defer v.close()
	p := blueprint.New(v.inventory, v.wanted())
	if c.User == "" { // without the right to it, users and groups are left out
		n := len(p.Changes)
		p.Changes = slices.DeleteFunc(p.Changes, func(c blueprint.Change) bool { return c.Privileged })
		if len(p.Changes) < n {
			fmt.Fprintln(app.Stderr, "note: the user and its group are left out: they need the right \"policy\" (log in with --user as somebody who has it)")
		}
	}
	app.showRouterPlan(v, p)
	if p.Blocked() {
		return exitCode(exitFailed)
	}
	if len(p.Changes) == 0 {
		return nil
	}
	if err := app.consent(c.Yes, len(p.Changes), v); err != nil {
		return err
	}
	if err := app.carryOut(ctx, v, p); err != nil {
		return err
	}
	// What the router says now has to be what was wanted.
	if err := v.read(ctx, blueprint.Menus()); err != nil {
		return fmt.Errorf("all is done, and could not be verified: %w", err)
	}
	if left := blueprint.New(v.inventory, v.wanted()); len(left.Changes) > 0 && (c.User != "" || !left.Changes[0].Privileged) {
		return fmt.Errorf("all is done, and %d differences are left, %s first: wanctl router plan shows them", len(left.Changes), left.Changes[0].Item)
	}
	fmt.Fprintf(app.Stdout, "%d changes made on %s, and verified\n", len(p.Changes), v.admin)
	return nil
}

// consent asks, unless --yes was given.
func (a *App) consent(yes bool, n int, v *routerView) error {
	if yes {
		return nil
	}
	ok, err := a.ask(fmt.Sprintf("Make these %d changes on %s? [y/N] ", n, v.admin))
	if err != nil {
		return fmt.Errorf("%w (--yes)", err)
	}
	if !ok {
		return errors.New("nothing was changed")
	}
	return nil
}

// carryOut makes the changes one by one. What was there is saved before, and each change remembered as it is made; when one
// fails, those made by this call are undone.
func (a *App) carryOut(ctx context.Context, v *routerView, p blueprint.Plan) error {
	path := a.changesFile(v.site)
	before, err := remembered(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the state directory, for what an undo needs: %w", err)
	}
	backup := strings.TrimSuffix(path, "_changes.json") + "_" + time.Now().UTC().Format("20060102T150405Z") + ".json"
	if err := writeJSON(backup, v.inventory); err != nil {
		return fmt.Errorf("save what the router has now: %w; nothing was changed", err)
	}
	fmt.Fprintf(a.Stdout, "what the router had is saved in %s\n", backup)
	made := slices.Clone(before)
	for i, c := range p.Changes {
		c, err := a.carry(ctx, v, c)
		if c.ID != "" || err == nil {
			made = append(made, c)
			if werr := writeJSON(path, made); werr != nil && err == nil {
				err = fmt.Errorf("remember what was changed: %w", werr)
			}
		}
		if err == nil {
			fmt.Fprintf(a.Stdout, "%d/%d %s\n", i+1, len(p.Changes), c.Item)
			continue
		}
		fmt.Fprintf(a.Stderr, "error: %s: %v\n", c.Item, err)
		if uerr := a.takeBack(v, c, made[len(before):]); uerr != nil {
			return fmt.Errorf("%d changes were made and could not be undone: %w; mend that, then wanctl router undo", len(made)-len(before), uerr)
		}
		if werr := writeJSON(path, before); werr != nil {
			return werr
		}
		return fmt.Errorf("the %d changes before it were undone", i)
	}
	return nil
}

// carry makes one change and reads it back. The change comes back with the id of what it added.
func (a *App) carry(ctx context.Context, v *routerView, c blueprint.Change) (blueprint.Change, error) {
	e := edit(c)
	if c.Verb == blueprint.Add && c.Menu == blueprint.User {
		password, err := v.newPassword()
		if err != nil {
			return c, err
		}
		e.Args = append(e.Args, routeros.Arg{Key: "password", Value: password, Secret: true})
	}
	id, err := v.admin.Do(ctx, e)
	if err != nil {
		return c, err
	}
	if c.Verb == blueprint.Add {
		c.ID = id
	}
	row, err := v.readBack(ctx, c)
	switch {
	case err != nil:
		return c, fmt.Errorf("it was made, and could not be read back: %w", err)
	case c.Verb == blueprint.Remove && row != nil:
		return c, errors.New("it is still there")
	case c.Verb == blueprint.Remove:
		return c, nil
	case row == nil:
		return c, errors.New("it is not there after it was made")
	}
	if missing := blueprint.Missing(row, c.Args); len(missing) > 0 {
		m := missing[0]
		return c, fmt.Errorf("%s reads back as %s, not %s", m.Key, strconv.Quote(row[m.Key]), strconv.Quote(m.Value))
	}
	return c, nil
}

// readBack reads what a change was made on; nil is that it is not there.
func (v *routerView) readBack(ctx context.Context, c blueprint.Change) (map[string]string, error) {
	if c.ID != "" {
		return v.admin.Item(ctx, c.Menu, c.ID, blueprint.Menus()[c.Menu])
	}
	rows, err := v.admin.List(ctx, c.Menu, blueprint.Menus()[c.Menu])
	if err != nil || len(rows) != 1 {
		return nil, err
	}
	return rows[0], nil
}

// newPassword is that of the user which the plan adds: the file's own, or one that nobody knows where a key is used.
func (v *routerView) newPassword() (string, error) {
	if v.site.router.Password.IsSet() {
		return v.site.router.Password.Resolve()
	}
	return rand.Text(), nil
}

// takeBack undoes changes of this call, the newest first: what failed, where it may have happened all the same, then those
// that were made.
func (a *App) takeBack(v *routerView, failed blueprint.Change, made []blueprint.Change) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a call that was cancelled is undone all the same
	defer cancel()
	if failed.Verb == blueprint.Add && failed.ID == "" {
		if err := v.removeStray(ctx, failed, made); err != nil {
			return fmt.Errorf("%s, of which is not known whether it was added: %w", failed.Item, err)
		}
	}
	for _, c := range slices.Backward(made) {
		var back blueprint.Change
		switch c.Verb {
		case blueprint.Add:
			back = blueprint.Change{Verb: blueprint.Remove, Menu: c.Menu, ID: c.ID, Item: c.Item}
		case blueprint.Set:
			back = blueprint.Change{Verb: blueprint.Set, Menu: c.Menu, ID: c.ID, Item: c.Item, Args: c.Was}
		case blueprint.Move, blueprint.Remove:
			continue // an order does no harm
		}
		if _, err := v.admin.Do(ctx, edit(back)); err != nil {
			return fmt.Errorf("%s: %w", c.Item, err)
		}
	}
	return nil
}

// removeStray removes the item that a change would have added, if it is there: the answer may have been lost. It is one that
// was not there before, that no change of this call made, and that is as the change wanted it.
func (v *routerView) removeStray(ctx context.Context, c blueprint.Change, made []blueprint.Change) error {
	rows, err := v.admin.List(ctx, c.Menu, blueprint.Menus()[c.Menu])
	if err != nil {
		return err
	}
	for _, r := range rows {
		id := r[".id"]
		was := slices.ContainsFunc(v.inventory[c.Menu], func(o blueprint.Row) bool { return o[".id"] == id })
		ours := slices.ContainsFunc(made, func(m blueprint.Change) bool { return m.Menu == c.Menu && m.ID == id })
		if was || ours || len(blueprint.Missing(r, c.Args)) > 0 {
			continue
		}
		if _, err := v.admin.Do(ctx, routeros.Edit{Verb: "remove", Menu: c.Menu, ID: id}); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON writes a file whole, for its owner alone.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o600)
}

// Run takes everything away.
func (c routerUndoCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	v, err := app.survey(ctx, c.routerFiles)
	if err != nil {
		return err
	}
	defer v.close()
	path := app.changesFile(v.site)
	made, err := remembered(path)
	if err != nil {
		return err
	}
	p := blueprint.Undo(v.inventory, made)
	if c.User == "" {
		p.Changes = slices.DeleteFunc(p.Changes, func(c blueprint.Change) bool { return c.Privileged })
	}
	app.showRouterPlan(v, p)
	if len(p.Changes) == 0 {
		return nil
	}
	if err := app.consent(c.Yes, len(p.Changes), v); err != nil {
		return err
	}
	for i, c := range p.Changes {
		if _, err := app.carry(ctx, v, c); err != nil {
			return fmt.Errorf("%s: %w; %d of %d changes are undone: mend that and call it again", c.Item, err, i, len(p.Changes))
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fmt.Fprintf(app.Stdout, "%d changes of %s are undone\n", len(p.Changes), v.admin)
	return nil
}
