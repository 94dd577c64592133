package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"wanctl/internal/blueprint"
	"wanctl/internal/routeros"
)

// Run carries the plan out.
func (c routerApplyCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	v, err := app.surveyAlone(ctx, c.routerFiles)
	if err != nil {
		return err
	}
	defer v.close()
	p := blueprint.New(v.inventory, v.wanted())
	if n := len(p.Changes); c.User == "" { // without the right to it, users and groups are left out
		if p.Changes = permitted(p.Changes, c.User); len(p.Changes) < n {
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
	if err := app.consent(ctx, c.Yes, len(p.Changes), v); err != nil {
		return err
	}
	if err := app.carryOut(ctx, v, p); err != nil {
		return err
	}
	// What the router says now has to be what was wanted.
	if err := v.read(ctx, blueprint.Menus()); err != nil {
		return fmt.Errorf("all is done, and could not be verified: %w", err)
	}
	if left := permitted(blueprint.New(v.inventory, v.wanted()).Changes, c.User); len(left) > 0 {
		return fmt.Errorf("all is done, and %d differences are left, %s first: wanctl router plan shows them", len(left), left[0].Item)
	}
	fmt.Fprintf(app.Stdout, "%d changes made on %s, and verified\n", len(p.Changes), v.admin)
	return nil
}

// permitted are the changes that a login may make: users and groups need one of their own.
func permitted(all []blueprint.Change, user string) []blueprint.Change {
	if user != "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(c blueprint.Change) bool { return c.Privileged })
}

// consent asks, unless --yes was given.
func (a *App) consent(ctx context.Context, yes bool, n int, v *routerView) error {
	if yes {
		return nil
	}
	ok, err := a.ask(ctx, fmt.Sprintf("Make these %d changes on %s? [y/N] ", n, v.admin))
	if err != nil {
		return fmt.Errorf("%w (--yes)", err)
	}
	if !ok {
		return errors.New("nothing was changed")
	}
	return nil
}

// keepInventories is how many savings of what a router had are kept.
const keepInventories = 20

// inventoryTime is what follows the stem in the name of one.
var inventoryTime = regexp.MustCompile(`^\d{8}T\d{6}Z\.json$`)

// keepNewest removes the oldest files named by their time after a stem, beyond so many.
func keepNewest(stem string, most int) {
	entries, err := os.ReadDir(filepath.Dir(stem)) // in the order of their names, which is that of their times
	if err != nil {
		return // there are not too many of what cannot be listed
	}
	var files []string
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), filepath.Base(stem)); ok && inventoryTime.MatchString(rest) {
			files = append(files, filepath.Join(filepath.Dir(stem), e.Name()))
		}
	}
	for _, f := range files[:max(len(files)-most, 0)] {
		_ = os.Remove(f)
	}
}

// carryOut makes the changes one by one. What was there is saved before, and each change remembered as it is made; when one
// fails, those made by this call are undone.
func (a *App) carryOut(ctx context.Context, v *routerView, p blueprint.Plan) error {
	path := a.changesFile(v.site)
	before, err := remembered(path)
	if err != nil {
		return err
	}
	stem := strings.TrimSuffix(path, "_changes.json") + "_"
	backup := stem + time.Now().UTC().Format("20060102T150405Z") + ".json"
	if err := writeJSON(backup, v.inventory); err != nil {
		return fmt.Errorf("save what the router has now: %w; nothing was changed", err)
	}
	keepNewest(stem, keepInventories)
	fmt.Fprintf(a.Stdout, "what the router had is saved in %s\n", backup)
	made := slices.Clone(before)
	for i, c := range p.Changes {
		// It is remembered before it is made: whatever ends this process, an undo knows of it.
		err := writeJSON(path, append(slices.Clone(made), c))
		if err != nil {
			err = fmt.Errorf("remember what is about to be changed: %w", err)
		} else if c, err = a.carry(ctx, v, c); c.ID != "" || err == nil {
			made = append(made, c)
		}
		if err == nil {
			fmt.Fprintf(a.Stdout, "%d/%d %s\n", i+1, len(p.Changes), c.Item)
			continue
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintf(a.Stderr, "error: %s: %v\n", c.Item, err)
		if uerr := a.takeBack(v, c, made[len(before):]); uerr != nil {
			return fmt.Errorf("%d changes were made and could not be undone: %w; mend that, then wanctl router undo", len(made)-len(before), uerr)
		}
		if werr := forget(path, before); werr != nil {
			return fmt.Errorf("the %d changes before it were undone, and %w", i, werr)
		}
		if i == 0 {
			return errors.New("nothing was changed")
		}
		return fmt.Errorf("the %d changes before it were undone", i)
	}
	return writeJSON(path, made)
}

// forget writes the file of changes as it was before this call.
func forget(path string, before []blueprint.Change) error {
	err := error(nil)
	if len(before) > 0 {
		err = writeJSON(path, before)
	} else if err = os.Remove(path); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("the file that remembers them could not be put back: %w", err)
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
	ctx, cancel := context.WithTimeout(context.Background(), patience) // a call that was cancelled is undone all the same
	defer cancel()
	if failed.Verb == blueprint.Add && failed.ID == "" {
		if err := a.insist(ctx, func() error { return v.removeStray(ctx, failed, made) }); err != nil {
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
		if err := a.insist(ctx, func() error { _, err := v.admin.Do(ctx, edit(back)); return err }); err != nil && !gone(back, err) {
			return fmt.Errorf("%s: %w", c.Item, err)
		}
	}
	return nil
}

// patience is how long an apply that failed waits for a router that is gone, and knock how long between two tries: one that
// restarts is back after a minute or two.
const (
	patience = 4 * time.Minute
	knock    = time.Second
)

// insist tries again while the router cannot be reached.
func (a *App) insist(ctx context.Context, do func() error) error {
	for told := false; ; told = true {
		err := do()
		var e *routeros.Error
		if !errors.As(err, &e) || ctx.Err() != nil || e.Kind != routeros.Unreachable && e.Kind != routeros.Timeout && e.Kind != routeros.Lost {
			return err
		}
		if !told {
			fmt.Fprintf(a.Stderr, "note: the router is gone; waiting up to %v for it, to undo what was made\n", patience)
		}
		pause(ctx, knock)
	}
}

// gone says whether a removal failed because the item is not there any more: its first try arrived, and the answer did not.
func gone(c blueprint.Change, err error) bool {
	var e *routeros.Error
	return c.Verb == blueprint.Remove && errors.As(err, &e) && e.Kind == routeros.NoSuchItem
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
	v, err := app.surveyAlone(ctx, c.routerFiles)
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
		n := len(p.Changes)
		if p.Changes = permitted(p.Changes, c.User); len(p.Changes) < n {
			fmt.Fprintln(app.Stderr, "note: the user and its group stay: they need the right \"policy\" (log in with --user as somebody who has it)")
		}
	}
	app.showRouterPlan(v, p)
	if len(p.Changes) == 0 {
		return nil
	}
	if err := app.consent(ctx, c.Yes, len(p.Changes), v); err != nil {
		return err
	}
	for i, c := range p.Changes {
		if _, err := app.carry(ctx, v, c); err != nil && !gone(c, err) {
			if ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			return fmt.Errorf("%s: %w; %d of %d changes are undone: mend that and call it again", c.Item, err, i, len(p.Changes))
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fmt.Fprintf(app.Stdout, "%d changes of %s are undone\n", len(p.Changes), v.admin)
	return nil
}
