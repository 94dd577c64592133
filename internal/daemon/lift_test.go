package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func (w *world) lifter() Lifter { return Lifter{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands} }

func (w *world) claimed(t *testing.T) *Lifted {
	t.Helper()
	f, ds := w.parse(w.text)
	if f == nil {
		t.Fatal(ds)
	}
	d, err := w.lifter().Claim(f.WAN)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var lifted = link.Rates{Down: LiftedRate, Up: LiftedRate}

// The limits go away and come back as they were, one that was not there stays away, and nothing else is left.
func TestLift(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, routerOf(dialect))
			for _, before := range []link.Rates{{Down: 44 * unit.Mbps, Up: 7 * unit.Mbps}, {Down: 44 * unit.Mbps}, {}} {
				for queue, r := range map[string]unit.Rate{attDown: before.Down, attUp: before.Up} {
					if err := w.router.ForeignSet(queue, r); err != nil {
						t.Fatal(err)
					}
				}
				d := w.claimed(t)
				if w.limits() != before || len(w.marks()) != 1 {
					t.Fatalf("claiming changed %v to %v, or left no mark: %v", before, w.limits(), w.marks())
				}
				if err := d.Lift(); err != nil {
					t.Fatal(err)
				}
				want := lifted
				for _, dir := range bothWays {
					if before.Get(dir) == 0 {
						want.Set(dir, 0)
					}
				}
				if w.limits() != want || d.Before() != before {
					t.Fatalf("lifted from %v: %v", d.Before(), w.limits())
				}
				if err := d.Renew(); err != nil {
					t.Fatal(err)
				}
				if _, err := d.Restore(); err != nil || w.limits() != before {
					t.Fatalf("%v, the router has %v, it had %v", err, w.limits(), before)
				}
				if said, err := d.Restore(); said != "" || err != nil {
					t.Errorf("twice: %q, %v", said, err)
				}
				if len(w.marks()) > 0 {
					t.Errorf("a mark is left: %v", w.marks())
				}
				if note, err := liftLeft(w.dirs(), "ATT"); note != nil || err != nil {
					t.Errorf("a note is left: %+v, %v", note, err)
				}
			}
		})
	}
}

// A line that its controller has, one that must not be written to, and one whose limits cannot be written down: nothing is lifted.
func TestLiftRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	run := start(t, w.autorate())
	f, _ := w.parse(w.text)
	var held *LockHeldError
	if _, err := w.lifter().Claim(f.WAN); !errors.As(err, &held) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("beside its controller: %v", err)
	}
	if said, err := w.lifter().RestoreLeft(f.WAN); said != "" || err != nil {
		t.Errorf("nothing is left lifted: %q, %v", said, err)
	}
	run.mustEnd()
	was := w.limits()

	off := *f.WAN
	off.Enabled = false
	if _, err := w.lifter().Claim(&off); err == nil || !strings.Contains(err.Error(), "nothing may be written") {
		t.Errorf("not enabled: %v", err)
	}

	dirs := w.dirs()
	d := w.claimed(t)
	d.l.Dirs.State = filepath.Join(dirs.Run, "a-file", "below")
	if err := os.WriteFile(filepath.Join(dirs.Run, "a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Lift(); err == nil || !strings.Contains(err.Error(), "cannot be written down") || w.limits() != was {
		t.Errorf("without a note: %v, %v", err, w.limits())
	}
	if said, err := d.Restore(); err != nil || !strings.Contains(said, "not touched") {
		t.Errorf("%q, %v", said, err)
	}
}

// What a killed measurement left lifted is put back by the next one, once; what somebody has set since stays. A note that says
// nothing is said, and a release removes it.
func TestLeftLifted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	before := w.limits()
	killed := func() {
		t.Helper()
		d := w.claimed(t)
		if err := d.Lift(); err != nil {
			t.Fatal(err)
		}
		_ = d.router.Close() // the locks of a dead process are gone, and its mark stays
		_ = d.unlock()
	}
	killed()
	f, _ := w.parse(w.text)
	said, err := w.lifter().RestoreLeft(f.WAN)
	if err != nil || w.limits() != before || !strings.Contains(said, "was killed; its limits are back: DL=") {
		t.Errorf("%q, %v, limits %v, before %v", said, err, w.limits(), before)
	}
	if said, err := w.lifter().RestoreLeft(f.WAN); said != "" || err != nil {
		t.Errorf("again: %q, %v", said, err)
	}

	killed()
	for _, q := range []string{attDown, attUp} {
		if err := w.router.ForeignSet(q, 33*unit.Mbps); err != nil {
			t.Fatal(err)
		}
	}
	d := w.claimed(t) // another measurement looks first
	if got := w.limits(); got != (link.Rates{Down: 33 * unit.Mbps, Up: 33 * unit.Mbps}) {
		t.Errorf("what was set since is %v", got)
	}
	if _, err := d.Restore(); err != nil {
		t.Fatal(err)
	}

	note := liftPath(w.dirs().State, "ATT")
	for _, text := range []string{"", "{}", `{"wan":"other","lifted_bps":1}`, `{"wan":"ATT","lifted_bps":1,"before_bps":{"download":-1}}`, strings.Repeat("x", 2*maxNote)} {
		if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.lifter().RestoreLeft(f.WAN); err == nil || !strings.Contains(err.Error(), "wanctl release") {
			t.Errorf("a note %q: %v", text, err)
		}
	}
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
	if _, err := rel.Release(f); err != nil || w.limits() != base {
		t.Errorf("release: %v, %v", err, w.limits())
	}
	if _, err := os.Stat(note); err == nil {
		t.Error("the note that says nothing is still there")
	}
}

// A queue that is gone when its limit is to come back: the other one has its limit, and the error says what is known and what helps.
func TestPartlyFailedRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	before := w.limits()
	d := w.claimed(t)
	if err := d.Lift(); err != nil {
		t.Fatal(err)
	}
	if err := w.router.RenameQueue(attUp, "other"); err != nil {
		t.Fatal(err)
	}
	_, err := d.Restore()
	if err == nil || !strings.Contains(err.Error(), "could not be put back") || !strings.Contains(err.Error(), "wanctl release") {
		t.Errorf("%v", err)
	}
	if got := w.limits().Down; got != before.Down {
		t.Errorf("the download is at %v, it was at %v", got, before.Down)
	}
	if err := w.router.RenameQueue("other", attUp); err != nil {
		t.Fatal(err)
	}
	f, _ := w.parse(w.text)
	if _, err := w.lifter().RestoreLeft(f.WAN); err != nil || w.limits() != before {
		t.Errorf("later: %v, %v, want %v", err, w.limits(), before)
	}
}
