package daemon

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/steer"
)

// Releaser does on the router what a clean stop would have done.
type Releaser struct {
	Clock Clock
	Dirs  Dirs
	Hands Hands
	// IfNotHandedOver leaves alone what was announced to be restarted.
	IfNotHandedOver bool
}

// Release releases one configuration's part of the router and says what it did.
func (r Releaser) Release(f *config.File) (string, error) {
	name, lock := "", ""
	if f.WAN != nil {
		name, lock = f.WAN.Name, f.WAN.LockFile
	} else {
		name, lock = SteeringID(f.Steering), f.Steering.LockFile
	}
	boot, bootErr := BootSeen(r.Dirs.Run, name) // before the lock has our name in it
	unlock, _, err := takeLocks(r.Dirs.Run, lock, name, "wanctl release", r.Clock.Wall())
	var held *LockHeldError
	if errors.As(err, &held) {
		return "", fmt.Errorf("%s is run by %s, which would undo a release: stop it instead, it releases by itself", name, held.Holder)
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = unlock() }()
	aside := ""
	if r.IfNotHandedOver {
		// A note that cannot be read announces nothing: the router gets its rates back.
		err := bootErr
		if err == nil {
			var handed bool
			if handed, err = HandedOver(r.Dirs.Run, name, boot, r.Clock.Now()); handed {
				return name + ": handed over, nothing was changed", nil
			}
		}
		if err != nil {
			aside = " (no hand-over: " + err.Error() + ")"
		}
	}
	var said string
	if f.WAN != nil {
		said, err = r.wan(f.WAN)
	} else {
		said, err = r.steering(f.Steering)
	}
	return said + aside, err
}

func (r Releaser) wan(c *config.WAN) (string, error) {
	if !c.Enabled {
		return c.Name + ": continuous_monitoring.enabled is false: nothing was written", nil
	}
	router, err := r.Hands.shaper(c, r.Clock, nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.Name, err)
	}
	defer func() { _ = router.Close() }()
	self, _ := OwnerOf(r.Dirs, QueueThings(c)...)
	done, other := vacate(router, c.Timeouts.Router, self)
	if other != nil {
		return r.others(c.Name, other)
	}
	defer done()
	left, unknown := liftLeft(r.Dirs, c.Name)
	has, unread := readRates(router)
	if unread != nil && has.read == (link.Pair[bool]{}) {
		return "", fmt.Errorf("%s: %w; the router has %s", c.Name, unread, &has)
	}
	last := c.OnExit == config.ExitLast
	want := actuate.New(WANOptionsOf(c, false).Actuate).Exit(exitMode(c.OnExit), c.Base)
	var lifted link.Rates // what of it is still lifted, as it was before
	if left != nil {
		lifted = left.still(has)
	}
	for _, d := range bothWays {
		is, before := has.rates.Get(d), lifted.Get(d)
		switch {
		case before > 0 && (last || want.Get(d) == 0):
			want.Set(d, before)
		case before > 0 || unknown != nil && is == LiftedRate: // the exit's rate, if there is one
		case last && !has.read.Get(d): // which rate is to stay is not known
			want.Set(d, 0)
		case last && is > 0: // the last rate is the one on the router, unless that is none at all
			want.Set(d, is)
		}
	}
	changed := has.lacks(want) != link.Rates{}
	if changed {
		if has, err = setRates(router, want, has); err != nil {
			return "", fmt.Errorf("%s: %w; the router has %s", c.Name, err, &has)
		}
	}
	if unread != nil { // one queue has what it is to have, and of the other nothing is known
		return "", fmt.Errorf("%s: %w; the router has %s", c.Name, unread, &has)
	}
	if unknown != nil {
		var open []string
		for _, d := range bothWays {
			if has.rates.Get(d) == LiftedRate && want.Get(d) == 0 {
				open = append(open, directionText(d))
			}
		}
		if len(open) > 0 {
			return "", fmt.Errorf("%s: the router has %s, as a measurement that was killed leaves it, and what the limits were is not known (%s cannot be read). "+
				"Set the limit of %s by hand, or name base_mbps in the file; then `wanctl release` again", c.Name, &has, liftPath(r.Dirs.State, c.Name), strings.Join(open, " and "))
		}
	}
	said := LimitsText(has.rates) + " are on the router"
	if last && !changed {
		said = "on_exit is last: " + LimitsText(has.rates) + " stay on the router"
	}
	return c.Name + ": " + said, forgetLift(r.Dirs, c.Name)
}

func (r Releaser) steering(c *config.Steering) (string, error) {
	router, err := r.Hands.steering(c, r.Clock, nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", SteeringID(c), err)
	}
	defer func() { _ = router.Close() }()
	self, _ := OwnerOf(r.Dirs, RuleThings(c)...)
	done, other := vacate(router, c.Timeouts.Router, self)
	if other != nil {
		return r.others(SteeringID(c), other)
	}
	defer done()
	if err := disableRules(router, len(c.Alternates)); err != nil {
		return "", fmt.Errorf("%s: %w", SteeringID(c), err)
	}
	aside, err := r.forgetSteered(c)
	if err != nil {
		return "", fmt.Errorf("%s: the %s %s disabled, but the next start will enable what was again: %w", SteeringID(c), rulesText(c), areDisabled(c), err)
	}
	return fmt.Sprintf("%s: the %s %s disabled", SteeringID(c), rulesText(c), areDisabled(c)) + aside, nil
}

// others answers where another controller is at work: its router is not released behind its back.
func (r Releaser) others(name string, other *link.Owner) (string, error) {
	if r.IfNotHandedOver {
		return name + ": " + controlledBy(other), nil
	}
	return "", fmt.Errorf("%s: %s; stop that one, it releases by itself", name, controlledBy(other))
}

func areDisabled(c *config.Steering) string {
	if len(c.Alternates) == 1 {
		return "is"
	}
	return "are"
}

// forgetSteered stores that nothing is steered any more, because a start sets the rule to what is stored. What the history
// could not be told is said aside.
func (r Releaser) forgetSteered(c *config.Steering) (aside string, err error) {
	var saved state.Steering
	found, _ := loadState(c.StateFile, func(rd io.Reader) (err error) {
		saved, err = state.ReadSteering(rd, c.Steer.Primary)
		return err
	}, nil)
	if !found || saved.Machine.State == steer.Good {
		return "", nil
	}
	saved.Machine = movedTo(saved.Machine, steer.Good, "", "released")
	h := history{path: HistoryFile(c.StateFile), head: state.Event{BootID: saved.BootID, Name: SteeringID(c), Primary: c.Steer.Primary}}
	if err := h.tell(r.Clock.Wall(), steer.Account{Transition: saved.Machine.History[len(saved.Machine.History)-1]}); err != nil {
		aside = " (" + err.Error() + ")"
	}
	return aside, saveState(c.StateFile, func(w io.Writer) error { return state.WriteSteering(w, saved) })
}
