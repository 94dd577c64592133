package actuate

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// LinkState is how the way to the router is.
type LinkState uint8

// The states of the way to the router.
const (
	// Starting: the router has not answered yet.
	Starting LinkState = iota
	// Connected: the last operation was answered.
	Connected
	// BackingOff: the last operation failed; the next try is due at Status.RetryAt.
	BackingOff
	// Stopped: not trying until a reload or restart.
	Stopped
)

// String returns "starting", "up", "backing_off" or "stopped".
func (s LinkState) String() string {
	switch s {
	case Starting:
		return "starting"
	case Connected:
		return "up"
	case BackingOff:
		return "backing_off"
	case Stopped:
		return "stopped"
	}
	return "invalid"
}

// MarshalText writes the state's name.
func (s LinkState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

type counts struct {
	reads, writes, errors, reboots, differences uint64

	lastError string
	lastClass ErrClass
	lastAt    unit.Time
}

// Status is the actuator's state for people and metrics.
type Status struct {
	// Link is the way to the router, Since when that began, RetryAt the next try while backing off, Failures how many
	// failed in a row.
	Link     LinkState
	Since    unit.Time
	RetryAt  unit.Time
	Failures int
	// InFlight says that an operation runs.
	InFlight bool
	// LastError is the newest failure, kept after it was overcome; LastErrorAt tells its age.
	LastError      string
	LastErrorClass ErrClass
	LastErrorAt    unit.Time
	// Want is the newest decision within the ceiling; Hold says per direction why it is not in force, HeldSince since
	// when a raise waits (0: none).
	Want      link.Rates
	Hold      link.Pair[Hold]
	HeldSince link.Pair[unit.Time]
	// Writes24h counts the last 24 hours in whole hours; Budget is the target for it, 0 none; DeadBand the band for
	// raises now.
	Writes24h int
	Budget    int
	DeadBand  unit.PPM
	// ForeignUntil is until when raises stop because of a foreign writer, 0 if there is none.
	ForeignUntil unit.Time
	DryRun       bool
	// Reads, Writes, Errors, Reboots and Differences count since the start of this process. Reads counts every answered
	// operation: writes read back.
	Reads, Writes, Errors, Reboots, Differences uint64
}

// OverBudget says that more was written in 24 hours than the budget.
func (s Status) OverBudget() bool { return s.Budget > 0 && s.Writes24h > s.Budget }

func (a *Actuator) status() Status {
	s := Status{
		Link: Connected, Since: a.path.upSince, Failures: a.path.fails, InFlight: a.op != nil,
		LastError: a.counts.lastError, LastErrorClass: a.counts.lastClass, LastErrorAt: a.counts.lastAt,
		Want: a.want, Hold: a.hold, HeldSince: a.heldSince,
		Writes24h: a.budget.used(), Budget: a.cfg.Daily, DeadBand: a.budget.band(),
		ForeignUntil: a.foreignUntil, DryRun: a.cfg.DryRun,
		Reads: a.counts.reads, Writes: a.counts.writes, Errors: a.counts.errors, Reboots: a.counts.reboots,
		Differences: a.counts.differences,
	}
	switch {
	case a.path.stopped:
		s.Link, s.Since = Stopped, a.path.since
	case a.path.fails > 0:
		s.Link, s.Since, s.RetryAt = BackingOff, a.path.since, a.path.due(a.cutWaits())
	case a.writesFail():
		s.Link, s.Failures, s.RetryAt = BackingOff, a.writing.fails, a.writing.due(a.cutWaits())
	case a.path.upSince == 0:
		s.Link = Starting
	}
	return s
}

// Snapshot is what a restart must not forget: the rates we left on the router, and the day's writes, because the
// router's flash does not forget them either.
type Snapshot struct {
	Applied link.Rates `json:"applied"`
	// Hour numbers the newest entry of Writes in hours of monotonic time; Writes is newest first.
	Hour      int64     `json:"hour"`
	Writes    []int     `json:"writes_per_hour"`
	LastRaise unit.Time `json:"last_raise_ns"`
	Alerted   unit.Time `json:"budget_alert_ns"`
}

// Snapshot returns the state to keep.
func (a *Actuator) Snapshot() Snapshot {
	b := a.budget
	return Snapshot{
		Applied: a.applied, Hour: b.hour, Writes: append([]int(nil), b.hours[:]...), LastRaise: b.lastRaise, Alerted: b.alertedAt,
	}
}

// Restore takes a snapshot over, before the first Step. Numbers that cannot be are dropped. The rates in force are
// read from the router all the same: if they are the wanted ones nothing is written.
func (a *Actuator) Restore(s Snapshot) {
	b := &a.budget
	b.hour = max(s.Hour, 0)
	for i, n := range s.Writes {
		if i < hoursKept {
			b.hours[i] = min(max(n, 0), mostWrites)
		}
	}
	b.lastRaise, b.alertedAt = max(s.LastRaise, 0), max(s.Alerted, 0)
	for _, d := range both {
		if r := s.Applied.Get(d); r > 0 && r <= unit.MaxRate {
			a.applied.Set(d, r)
			a.seen.Set(d, true)
		}
	}
}

// ExitMode is what a stop leaves on the router.
type ExitMode uint8

// The modes, as on_exit names them.
const (
	// ExitBase leaves the configured base, or the ceiling where none is configured.
	ExitBase ExitMode = iota
	// ExitLast leaves the newest decision.
	ExitLast
	// ExitCeiling leaves the ceiling.
	ExitCeiling
)

// String returns "base", "last" or "ceiling".
func (m ExitMode) String() string {
	switch m {
	case ExitBase:
		return "base"
	case ExitLast:
		return "last"
	case ExitCeiling:
		return "ceiling"
	}
	return "invalid"
}

// Exit returns the rates a stop leaves on the router: never above the ceiling and never 0, which would be unlimited.
// A direction is 0 only when nothing at all is known of it; it is then to be left alone. Without base and ceiling
// (policy tracking) the base is the newest decision.
func (a *Actuator) Exit(mode ExitMode, base link.Rates) link.Rates {
	var out link.Rates
	for _, d := range both {
		last := a.want.Get(d)
		if last <= 0 {
			last = a.applied.Get(d)
		}
		order := [...]unit.Rate{base.Get(d), a.cfg.Ceiling.Get(d), last}
		switch mode {
		case ExitBase:
		case ExitLast:
			order = [...]unit.Rate{last, base.Get(d), a.cfg.Ceiling.Get(d)}
		case ExitCeiling:
			order = [...]unit.Rate{a.cfg.Ceiling.Get(d), base.Get(d), last}
		}
		for _, r := range order {
			if r > 0 {
				out.Set(d, a.clamp(d, r))
				break
			}
		}
	}
	return out
}

// age is a duration for people, in whole seconds.
func age(d time.Duration) time.Duration { return d.Round(time.Second) }
