package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// LiftedRate is what a lifted limit is set to: more than any line has that this program is for, so that no queue forms under
// it, and a limit all the same, which tells a lifted queue from one that somebody made unlimited. It is no round figure, so that
// nobody else writes it: policy tracking starts with 10 Gbit/s ([tracking.Unlimited]), and people write that too.
const LiftedRate = 9_990 * unit.Mbps

// restoreTime is how long giving the limits back is tried while the router does not answer: a person waits for it.
const restoreTime = time.Minute

// Lifter takes the limits of a line out of the way of a measurement.
type Lifter struct {
	Clock Clock
	Dirs  Dirs
	Hands Hands
	// Say tells a person what takes long or goes wrong; nil discards it.
	Say func(string)
}

// liftNote is what is left for whoever comes after a process that was killed while the limits were lifted.
type liftNote struct {
	WAN    string     `json:"wan"`
	Lifted unit.Rate  `json:"lifted_bps"`
	Before link.Rates `json:"before_bps"`
	At     time.Time  `json:"at"`
}

func liftPath(state, name string) string { return filepath.Join(state, name+".lifted") }

// Lifted is a line whose limits can be lifted, until Restore.
type Lifted struct {
	l       Lifter
	c       *config.WAN
	router  Shaper
	owner   *ownership
	log     *Log
	unlock  func() error
	note    liftNote
	over    bool
	written bool
}

// Claim makes this process the only one that may lift a line's limits: under the same locks and the same mark on the router
// as its controller, so it fails where one is at work, here or elsewhere. Restore gives all of it back.
func (l Lifter) Claim(c *config.WAN) (*Lifted, error) {
	if !c.Enabled {
		return nil, fmt.Errorf("%s: continuous_monitoring.enabled is false: nothing may be written to the router; measure without lifting the limits", c.Name)
	}
	d, err := l.open(c, "wanctl calibrate --lift")
	if err != nil {
		return nil, err
	}
	if _, err = d.restoreLeft(); err == nil {
		err = d.Renew()
	}
	if err != nil {
		_, again := d.Restore()
		return nil, errors.Join(err, again)
	}
	return d, nil
}

// Lift takes the limits away. What they are is first written down, for the case that this process is killed: see
// [Lifter.RestoreLeft]. Whatever comes of it, Restore puts back what was changed.
func (d *Lifted) Lift() error {
	has, err := readRates(d.router)
	if err != nil {
		return fmt.Errorf("%s: read the limits: %w", d.c.Name, err)
	}
	d.note = liftNote{WAN: d.c.Name, Lifted: LiftedRate, Before: has.rates, At: d.l.Clock.Wall().UTC().Truncate(time.Second)}
	want := link.Rates{}
	for _, dir := range bothWays {
		if r := d.note.Before.Get(dir); r > 0 && r < LiftedRate { // what is unlimited stays so
			want.Set(dir, LiftedRate)
		}
	}
	if want == (link.Rates{}) {
		return nil
	}
	if err := d.keep(); err != nil {
		return fmt.Errorf("%s: the limits are not lifted, because it cannot be written down what they are: %w", d.c.Name, err)
	}
	d.written = true
	if _, err = setRates(d.router, want, has); err != nil {
		return fmt.Errorf("%s: lift the limits: %w", d.c.Name, err)
	}
	return nil
}

// busyError is a line that its controller has.
type busyError struct{ held *LockHeldError }

func (e *busyError) Error() string {
	return fmt.Sprintf("%s is run by %s, which sets the limits: stop it first (it leaves its exit rates), or measure within its limits, without --lift",
		e.held.Name, e.held.Holder)
}

func (e *busyError) Unwrap() error { return e.held }

// open takes what a line's controller would take: locks, router and mark.
func (l Lifter) open(c *config.WAN, who string) (*Lifted, error) {
	if l.Say == nil {
		l.Say = func(string) {}
	}
	unlock, _, err := takeLocks(l.Dirs.Run, c.LockFile, c.Name, who, l.Clock.Wall())
	var held *LockHeldError
	if errors.As(err, &held) {
		return nil, &busyError{held}
	}
	if err != nil {
		return nil, err
	}
	d := &Lifted{l: l, c: c, unlock: unlock, log: &Log{Logger: slog.New(slog.DiscardHandler)}}
	if d.router, err = l.Hands.shaper(c, l.Clock, d.log); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.Name, err), unlock())
	}
	d.owner = own(d.router, c.Timeouts.Router, l.Dirs, d.log, "the next controller", QueueThings(c)...)
	return d, nil
}

// keep writes down what the limits are.
func (d *Lifted) keep() error {
	b, err := json.Marshal(d.note)
	if err != nil {
		return err
	}
	return replaceFile(liftPath(d.l.Dirs.State, d.c.Name), append(b, '\n'), true)
}

// Before are the limits that were found; 0 is unlimited.
func (d *Lifted) Before() link.Rates { return d.note.Before }

// Renew keeps the mark on the router alive, and fails where another controller has taken the router over. Call it about once
// a minute.
func (d *Lifted) Renew() error {
	d.owner.settle(d.l.Clock.Now, d.log)
	switch {
	case d.owner == nil || !d.owner.withheld:
		return nil
	case d.owner.holder != nil:
		return fmt.Errorf("%s: %s", d.c.Name, controlledBy(d.owner.holder))
	}
	return fmt.Errorf("%s: the router does not tell whether another controller has it (does it answer? `wanctl doctor` looks)", d.c.Name)
}

// Restore puts back the limits that are still lifted and reads them back, removes the mark and ends the locks. It says what is
// on the router: what somebody has set since stays. Where another controller has taken the router over, or where that fails for a
// minute, the note stays, and the answer says what is known and what puts the limits back later. It may be called again, and does
// nothing then.
func (d *Lifted) Restore() (said string, err error) {
	if d == nil || d.over {
		return "", nil
	}
	d.over = true
	defer func() {
		d.owner.stop(true)
		err = errors.Join(err, d.router.Close(), d.unlock())
	}()
	if !d.written {
		return d.c.Name + ": the limits were not touched", nil
	}
	if other := d.owner.elsewhere(); other != nil {
		return fmt.Sprintf("%s: %s, in the meantime; what it leaves lifted, `wanctl calibrate`, `wanctl autorate` or `wanctl release` "+
			"with this file puts back later", d.c.Name, controlledBy(other)), nil
	}
	has, err := d.insist()
	if err != nil {
		return "", fmt.Errorf("%s: the limits could not be put back: %w; the router has %s, and had %s before. Once it answers, "+
			"`wanctl calibrate`, `wanctl autorate` or `wanctl release` with this file puts limits back", d.c.Name, err, &has, ratesText(d.note.Before))
	}
	return d.c.Name + ": " + d.note.text(has.rates), forgetLift(d.l.Dirs, d.c.Name)
}

// text says which of the limits that a router has are those from before.
func (n *liftNote) text(has link.Rates) string {
	var back, others []string
	for _, d := range bothWays {
		text := directionText(d) + "=" + limitText(has.Get(d))
		if has.Get(d) == n.Before.Get(d) {
			back = append(back, text)
		} else {
			others = append(others, text)
		}
	}
	var parts []string
	if len(back) > 0 {
		parts = append(parts, "the limits are back: "+strings.Join(back, ", "))
	}
	if len(others) > 0 {
		parts = append(parts, "somebody has set "+strings.Join(others, ", ")+" since: it stays")
	}
	return strings.Join(parts, "; ")
}

// insist puts back what is still lifted, and tries longer than a stop does.
func (d *Lifted) insist() (remains, error) {
	ends := d.l.Clock.Now().Add(restoreTime)
	for said := false; ; said = true {
		_, has, err := d.note.putBack(d.router)
		class, _ := classify(err)
		if err == nil || class == actuate.Fatal || class == actuate.Misconfigured || d.l.Clock.Now() >= ends {
			return has, err
		}
		if !said {
			d.l.Say(fmt.Sprintf("%s: the router does not take its limits back (%v); trying for %s", d.c.Name, err, restoreTime))
		}
	}
}

// restoreLeft puts back what a process that was killed had lifted. said is empty where there is nothing.
func (d *Lifted) restoreLeft() (said string, err error) {
	note, err := liftLeft(d.l.Dirs, d.c.Name)
	if err != nil || note == nil {
		return "", err
	}
	if err := d.Renew(); err != nil {
		return "", err
	}
	found, err := note.undo(d.l.Dirs, d.router)
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.c.Name, err)
	}
	said = d.c.Name + ": an earlier measurement was killed; " + found
	d.l.Say(said)
	return said, nil
}

// RestoreLeft puts back the limits of a line that a process left lifted because it was killed, and says so; it is empty
// where there is nothing to put back. A limit that somebody has set since stays.
func (l Lifter) RestoreLeft(c *config.WAN) (said string, err error) {
	if note, err := liftLeft(l.Dirs, c.Name); err != nil || note == nil {
		return "", err
	}
	d, err := l.open(c, "wanctl calibrate")
	if err != nil {
		return "", err
	}
	defer func() {
		_, again := d.Restore()
		err = errors.Join(err, again)
	}()
	return d.restoreLeft()
}

// liftLeft reads the note of a line, nil for none.
func liftLeft(d Dirs, name string) (*liftNote, error) {
	var n liftNote
	path := liftPath(d.State, name)
	err := readFile(path, func(r io.Reader) error { return json.NewDecoder(io.LimitReader(r, maxNote)).Decode(&n) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && (n.WAN != name || n.Lifted <= 0 || n.Before.Down < 0 || n.Before.Up < 0):
		err = errors.New("it does not say what the limits were")
	}
	if err != nil {
		return nil, fmt.Errorf("the note of lifted limits %s: %w; set the limits with `wanctl release`, which then removes it", path, err)
	}
	return &n, nil
}

func forgetLift(d Dirs, name string) error {
	if err := os.Remove(liftPath(d.State, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the note of lifted limits: %w", err)
	}
	return nil
}

// undo puts back what is still lifted, says what it found, and removes the note, whose work that was.
func (n *liftNote) undo(dirs Dirs, router Shaper) (found string, err error) {
	want, has, err := n.putBack(router)
	if err != nil {
		return "", fmt.Errorf("put back the limits that a measurement may have left lifted: %w; the router has %s", err, &has)
	}
	found = "its limits have been set since"
	if want != (link.Rates{}) {
		found = "its limits are back: " + ratesText(want)
	}
	return found, forgetLift(dirs, n.WAN)
}

// putBack sets what is still lifted to what it was. Without an error both directions have been read, and neither is lifted; with
// one, the direction that could be read has its limit all the same. want is what was to be set.
func (n *liftNote) putBack(router Shaper) (want link.Rates, has remains, err error) {
	has, unread := readRates(router)
	want = n.still(has)
	if want != (link.Rates{}) {
		if has, err = setRates(router, want, has); err != nil {
			return want, has, err
		}
	}
	return want, has, unread
}

// still are the limits to put back where this has been read from the router.
func (n *liftNote) still(has remains) (want link.Rates) {
	for _, d := range bothWays {
		if has.read.Get(d) && has.rates.Get(d) == n.Lifted && n.Before.Get(d) != n.Lifted {
			want.Set(d, n.Before.Get(d))
		}
	}
	return want
}

// unlift puts back, at a controller's start, what a measurement that was killed has left lifted: a line that has first to
// be measured again would be without a limit until then. It keeps nobody from controlling.
func (a *Autorate) unlift() {
	note, err := liftLeft(a.Dirs, a.cfg.Name)
	if note == nil {
		if err != nil {
			a.log.Warn(err.Error())
		}
		return
	}
	self, _ := OwnerOf(a.Dirs, QueueThings(a.cfg)...)
	if holder, err := ownedElsewhere(context.Background(), a.router, a.cfg.Timeouts.Router, self); err == nil && holder != nil {
		return
	}
	found, err := note.undo(a.Dirs, a.router)
	if err != nil { // the note stays: the next one tries again
		a.log.Warn(err.Error())
		return
	}
	a.log.Warn("a measurement (`wanctl calibrate --lift`) was killed; " + found)
}
