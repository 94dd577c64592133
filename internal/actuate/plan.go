package actuate

import (
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Hold is why the wanted rate of one direction is not on the router yet.
type Hold uint8

// The holds.
const (
	// HoldNone: the wanted rate is in force, or none is wanted.
	HoldNone Hold = iota
	// HoldFlight: an operation is in flight; the newest decision follows its result.
	HoldFlight
	// HoldRead: the rate in force is not known; a read comes first.
	HoldRead
	// HoldBackoff: the router does not answer; the next try is due at Status.RetryAt.
	HoldBackoff
	// HoldStopped: the router refused our credentials or showed another host key; a person must act.
	HoldStopped
	// HoldRefused: the router answers but does not take this direction's rate; it is tried again slowly.
	HoldRefused
	// HoldBand: the raise is smaller than the dead band; written after HeldAtMost at the latest.
	HoldBand
	// HoldBurst: the raise waits for the transport's writes per second.
	HoldBurst
	// HoldPace: the last raise of this direction is too young.
	HoldPace
	// HoldDaily: the day's budget is spent; one raise a minute.
	HoldDaily
	// HoldForeign: somebody else writes our queues; raises stop.
	HoldForeign
	// HoldDryRun: a dry run writes nothing.
	HoldDryRun
	// HoldOwner: another controller owns the queues, or it is not known yet that none does.
	HoldOwner
)

var holdNames = [...]string{
	HoldNone: "none", HoldFlight: "in_flight", HoldRead: "reading_first", HoldBackoff: "backing_off",
	HoldStopped: "stopped", HoldRefused: "refused", HoldBand: "dead_band", HoldBurst: "burst", HoldPace: "pace", HoldDaily: "daily_budget",
	HoldForeign: "foreign_writer", HoldDryRun: "dry_run", HoldOwner: "other_owner",
}

// String returns the hold's name in status and metrics.
func (h Hold) String() string {
	if int(h) < len(holdNames) {
		return holdNames[h]
	}
	return "invalid"
}

// MarshalText writes the hold's name.
func (h Hold) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// over says whether cur is above r; 0 in force is unlimited and above everything.
func over(cur, r unit.Rate) bool { return cur == 0 || cur > r }

// inForce is the rate that a decision is compared with.
func (a *Actuator) inForce(d link.Direction) unit.Rate {
	if a.cfg.DryRun && a.pretend.Get(d) > 0 {
		return a.pretend.Get(d)
	}
	return a.applied.Get(d)
}

// cutWaits says whether a decrease may be waiting for the router.
func (a *Actuator) cutWaits() bool {
	if a.yielded {
		return false
	}
	for _, d := range both {
		w := a.want.Get(d)
		switch {
		case w == 0:
		case !a.seen.Get(d): // the router may hold anything
			if top := a.cfg.Ceiling.Get(d); top == 0 || w < top {
				return true
			}
		case over(a.inForce(d), w) || a.maybe.Get(d) > w:
			return true
		}
	}
	return false
}

// holdAll marks the directions whose wanted rate is not in force with one reason.
func (a *Actuator) holdAll(h Hold) {
	for _, d := range both {
		if w := a.want.Get(d); w > 0 && (!a.known.Get(d) || w != a.inForce(d)) {
			a.hold.Set(d, h)
			a.keepHeld(d, w)
		}
	}
}

// keepHeld starts or ends the clock of a raise that waits.
func (a *Actuator) keepHeld(d link.Direction, w unit.Rate) {
	switch {
	case !a.known.Get(d):
	case w == a.inForce(d) || over(a.inForce(d), w):
		a.heldSince.Set(d, 0)
	case a.heldSince.Get(d) == 0:
		a.heldSince.Set(d, a.now)
	}
}

// plan returns the rates to write now: every cut, the raises that are due, and with them the raises that only the
// dead band holds, because they cost no further write. Zero rates are left alone.
func (a *Actuator) plan() link.Rates {
	var write, ride link.Rates
	if a.yielded {
		a.holdAll(HoldOwner)
		return write
	}
	for _, d := range both {
		w, cur := a.want.Get(d), a.inForce(d)
		if w == 0 || !a.known.Get(d) {
			continue
		}
		a.keepHeld(d, w)
		if w == cur {
			continue
		}
		cut := over(cur, w)
		if r := a.refused.Get(d); r.on() && (!cut || !r.readBack || w >= r.want) {
			if due := r.due(cut); a.now < due {
				a.hold.Set(d, HoldRefused)
				a.by(due)
				continue
			}
		}
		if due := a.writing.due(cut); a.writesFail() && a.now < due {
			a.hold.Set(d, HoldBackoff)
			a.by(due)
			continue
		}
		if cut {
			write.Set(d, w)
			continue
		}
		switch hold, until := a.raiseHold(d, w, cur); hold {
		case HoldNone:
			write.Set(d, w)
		case HoldBand:
			ride.Set(d, w)
			fallthrough
		default:
			a.hold.Set(d, hold)
			a.by(until)
		}
	}
	if write == (link.Rates{}) {
		return write
	}
	for _, d := range both {
		if w := ride.Get(d); w > 0 {
			write.Set(d, w)
		}
	}
	return write
}

// raiseHold says what holds a raise from cur to w back, and until when at the latest.
func (a *Actuator) raiseHold(d link.Direction, w, cur unit.Rate) (Hold, unit.Time) {
	if a.now < a.foreignUntil {
		return HoldForeign, a.foreignUntil
	}
	if until := a.budget.burstFree(); a.now < until {
		return HoldBurst, until
	}
	if until := a.budget.raiseFree(); a.now < until {
		return HoldDaily, until
	}
	if at := a.raisedAt.Get(d); a.cfg.RaiseEvery > 0 && at != 0 && a.now < at.Add(a.cfg.RaiseEvery) {
		return HoldPace, at.Add(a.cfg.RaiseEvery)
	}
	last := a.heldSince.Get(d).Add(HeldAtMost)
	// The ceiling is worth a write of its own: nothing more will follow it. Only a band that the day's writes have widened
	// holds it back.
	top := w == a.whole(a.cfg.Ceiling.Get(d)) && a.budget.band() == a.cfg.StaticDeadBand && a.cfg.StaticDeadBand > 0
	if !top && a.now < last && w-cur <= cur.Scale(a.budget.band()) {
		return HoldBand, last
	}
	return HoldNone, 0
}
