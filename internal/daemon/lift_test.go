package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/tracking"
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

// lifts is a measurement that has lifted the limits.
func (w *world) lifts(t *testing.T) *Lifted {
	t.Helper()
	d := w.claimed(t)
	if err := d.Lift(); err != nil {
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
				w.foreign(before)
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
	w.killed(t)
	f, _ := w.parse(w.text)
	said, err := w.lifter().RestoreLeft(f.WAN)
	if err != nil || w.limits() != before || !strings.Contains(said, "was killed; its limits are back: DL=") {
		t.Errorf("%q, %v, limits %v, before %v", said, err, w.limits(), before)
	}
	if said, err := w.lifter().RestoreLeft(f.WAN); said != "" || err != nil {
		t.Errorf("again: %q, %v", said, err)
	}

	w.killed(t)
	w.foreign(link.Rates{Down: 33 * unit.Mbps, Up: 33 * unit.Mbps})
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
	d := w.lifts(t)
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

// killed is a measurement that is killed while the limits are lifted: the locks of a dead process are gone, and its mark stays.
func (w *world) killed(t *testing.T) {
	t.Helper()
	d := w.lifts(t)
	_ = d.router.Close()
	_ = d.unlock()
}

func (w *world) foreign(r link.Rates) {
	w.t.Helper()
	for queue, r := range map[string]unit.Rate{attDown: r.Down, attUp: r.Up} {
		if err := w.router.ForeignSet(queue, r); err != nil {
			w.t.Fatal(err)
		}
	}
}

// unbounded are the changes, old text and new by turns, that make of a file one of policy tracking which names no rate.
var unbounded = []string{
	"  on_exit: base\n", "  policy: tracking\n",
	"  download: {floor_mbps: 25, ceiling_mbps: 95, base_mbps: 60, step_up_mbps: 80, factor_down: 0.5}\n", "",
	"  upload: {floor_mbps: 6, ceiling_mbps: 18, base_mbps: 12, step_up_mbps: 80, factor_down: 0.5}\n", "",
	"  thresholds: {target_bloat_ms: 3, warn_bloat_ms: 10, alpha_load: 0.99}\n", "",
}

// A release puts back what a killed measurement left lifted where the file names no rate, and where the last rate stays. Its
// note goes when nothing is lifted any more, and not before; one that cannot be read is no way to leave a line without limits.
func TestReleaseOfLifted(t *testing.T) {
	t.Parallel()
	const m = unit.Mbps
	before := link.Rates{Down: 44 * m, Up: 7 * m}
	one := append(append([]string{}, unbounded[:2]...), "{floor_mbps: 25, ceiling_mbps: 95, base_mbps: 60, step_up_mbps: 80, factor_down: 0.5}", "{max_mbps: 95}")
	one = append(one, unbounded[4:]...)
	last := []string{"on_exit: base", "on_exit: last"}
	lastOfNone := append(append([]string{}, unbounded...), "policy: tracking", "policy: tracking\n  on_exit: last")
	for name, tt := range map[string]struct {
		file  []string
		note  bool       // it can be read
		since link.Rates // what somebody has set since, in either direction
		left  link.Rates
		fails string
	}{
		"no rate is named":                             {unbounded, true, link.Rates{}, before, ""},
		"one rate is named":                            {one, true, link.Rates{}, link.Rates{Down: 95 * m, Up: before.Up}, ""},
		"no rate, one set since":                       {unbounded, true, link.Rates{Down: 33 * m}, link.Rates{Down: 33 * m, Up: before.Up}, ""},
		"the last stays":                               {last, true, link.Rates{}, before, ""},
		"the last stays, set since":                    {last, true, link.Rates{Down: 33 * m, Up: 5 * m}, link.Rates{Down: 33 * m, Up: 5 * m}, ""},
		"the last stays, no rate is named":             {lastOfNone, true, link.Rates{}, before, ""},
		"unreadable":                                   {[]string{"", ""}, false, link.Rates{}, base, ""},
		"unreadable, the last stays":                   {last, false, link.Rates{}, base, ""},
		"unreadable, the last stays, set since":        {last, false, link.Rates{Down: 33 * m, Up: 5 * m}, link.Rates{Down: 33 * m, Up: 5 * m}, ""},
		"unreadable, no rate is named":                 {unbounded, false, link.Rates{}, lifted, "by hand"},
		"unreadable, no rate is named, set since":      {unbounded, false, before, before, ""},
		"unreadable, one rate is named":                {one, false, link.Rates{}, link.Rates{Down: 95 * m, Up: LiftedRate}, "Set the limit of UL by hand"},
		"unreadable, the last stays, no rate is named": {lastOfNone, false, link.Rates{Up: 5 * m}, link.Rates{Down: LiftedRate, Up: 5 * m}, "Set the limit of DL by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rosim.DefaultOptions())
			for i := 0; i < len(tt.file); i += 2 {
				w.set(tt.file[i], tt.file[i+1])
			}
			w.foreign(before)
			w.killed(t)
			if !tt.note {
				w.put("ATT.lifted", "{")
			}
			is := w.limits()
			for _, d := range bothWays {
				if r := tt.since.Get(d); r > 0 {
					is.Set(d, r)
				}
			}
			w.foreign(is)
			f, ds := w.parse(w.text)
			if f == nil {
				t.Fatal(ds)
			}
			rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
			said, err := rel.Release(f)
			if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) || w.limits() != tt.left {
				t.Errorf("%q, %v; the router has %v, want %v", said, err, w.limits(), tt.left)
			}
			_, there := os.Stat(liftPath(w.dirs().State, "ATT"))
			if (there == nil) != (tt.fails != "") {
				t.Errorf("the note: %v", there)
			}
			if tt.fails == "" {
				return
			}
			// What the error says to do helps.
			w.foreign(before)
			if _, err := rel.Release(f); err != nil {
				t.Error(err)
			}
			if said, err := w.lifter().RestoreLeft(f.WAN); said != "" || err != nil {
				t.Errorf("the next measurement: %q, %v", said, err)
			}
		})
	}
}

// Without a reading of the router nothing is known to be put back: the note stays, and the release fails.
func TestReleaseOfLiftedUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	for i := 0; i < len(unbounded); i += 2 {
		w.set(unbounded[i], unbounded[i+1])
	}
	before := w.limits()
	w.killed(t)
	if err := w.router.RenameQueue(attUp, "other"); err != nil {
		t.Fatal(err)
	}
	f, _ := w.parse(w.text)
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
	for _, mode := range []config.OnExit{config.ExitBase, config.ExitLast} {
		f.WAN.OnExit = mode
		if said, err := rel.Release(f); err == nil || !strings.Contains(err.Error(), attUp) {
			t.Errorf("%v: %q, %v", mode, said, err)
		}
		if note, err := liftLeft(w.dirs(), "ATT"); note == nil || err != nil {
			t.Errorf("%v: the note is gone: %v", mode, err)
		}
	}
	if err := w.router.RenameQueue("other", attUp); err != nil {
		t.Fatal(err)
	}
	if _, err := rel.Release(f); err != nil || w.limits() != before {
		t.Errorf("later: %v, %v, want %v", err, w.limits(), before)
	}
}

// What somebody sets during the test stays, and that is said; what another controller does is left to it, with the note for
// whoever comes next.
func TestRestoreLeavesWhatIsNotLifted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	before := w.limits()
	d := w.lifts(t)
	if err := w.router.ForeignSet(attDown, 33*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	said, err := d.Restore()
	if err != nil || w.limits() != (link.Rates{Down: 33 * unit.Mbps, Up: before.Up}) || !strings.Contains(said, "somebody has set DL=33M since: it stays") {
		t.Errorf("%q, %v; the router has %v", said, err, w.limits())
	}
	if note, err := liftLeft(w.dirs(), "ATT"); note != nil || err != nil {
		t.Errorf("a note is left: %+v, %v", note, err)
	}

	before = w.limits()
	d = w.lifts(t)
	d.owner.withheld, d.owner.holder = true, &link.Owner{Host: "elsewhere"}
	if said, err := d.Restore(); err != nil || !strings.Contains(said, "controlled by") || w.limits() != lifted {
		t.Errorf("%q, %v; the router has %v", said, err, w.limits())
	}
	f, _ := w.parse(w.text)
	if _, err := w.lifter().RestoreLeft(f.WAN); err != nil || w.limits() != before {
		t.Errorf("the next one: %v; the router has %v, want %v", err, w.limits(), before)
	}
}

// A limit that policy tracking starts with where it knows none is not taken for a lifted one.
func TestTrackingsStartIsNotLifted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.killed(t)
	start := link.Rates{Down: tracking.Unlimited, Up: tracking.Unlimited}
	w.foreign(start)
	f, _ := w.parse(w.text)
	if _, err := w.lifter().RestoreLeft(f.WAN); err != nil || w.limits() != start {
		t.Errorf("%v; the router has %v", err, w.limits())
	}
}
