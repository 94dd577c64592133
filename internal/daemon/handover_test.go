package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/unit"
)

func TestHandoverNote(t *testing.T) {
	dir := t.TempDir()
	at := unit.Time(time.Hour)
	if ok, err := HandedOver(dir, "ATT", "b", at); ok || err != nil {
		t.Errorf("without a note: %t, %v", ok, err)
	}
	if err := WriteHandover(dir, "ATT", "b", at); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, boot string
		after      time.Duration
		want       bool
	}{
		{"at once", "b", 0, true},
		{"at its end", "b", HandoverValid, true},
		{"too late", "b", HandoverValid + 1, false},
		{"of another boot", "c", time.Second, false},
		{"from the future", "b", -1, false},
	} {
		if got, err := HandedOver(dir, "ATT", tt.boot, at.Add(tt.after)); got != tt.want || err != nil {
			t.Errorf("%s: %t, %v", tt.name, got, err)
		}
	}
	if ok, _ := HandedOver(dir, "Spectrum", "b", at); ok {
		t.Error("another line's note counted")
	}
	if err := takeHandover(dir, "ATT"); err != nil {
		t.Fatal(err)
	}
	if err := takeHandover(dir, "ATT"); err != nil {
		t.Errorf("taking what is not there: %v", err)
	}
	if err := os.WriteFile(handoverPath(dir, "ATT"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := HandedOver(dir, "ATT", "b", at); ok || err == nil || !strings.Contains(err.Error(), "ATT") {
		t.Errorf("a torn note: %t, %v", ok, err)
	}
}

// A restart that was announced changes nothing on the router: the old process leaves its rates, release leaves them too,
// and the new one goes on from them without a write.
func TestHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	a := w.autorate()
	run := start(t, a)
	w.pings.set(100)
	w.untilLimits(floor)
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteHandover(w.dir, a.String(), boot, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	run.mustEnd()
	writes := len(w.router.LimitHistory())
	f, ds := w.parse(w.text)
	if f == nil {
		t.Fatal(ds)
	}
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands, IfNotHandedOver: true}
	if said, err := rel.Release(f); err != nil || !strings.Contains(said, "handed over") {
		t.Errorf("release: %q, %v", said, err)
	}
	run = start(t, w.autorate())
	w.measures(20)
	if n := len(w.router.LimitHistory()); n != writes {
		t.Errorf("the hand-over cost %d writes: %v", n-writes, w.router.LimitHistory()[writes:])
	}
	if w.limits() != floor || !w.log.has("taking over from the last process") {
		t.Errorf("limits are %v\n%s", w.limits(), w.log)
	}
	if _, err := os.Stat(handoverPath(w.dir, "ATT")); err == nil {
		t.Error("the note is still there: the next stop would leave the rates, too")
	}
	run.mustEnd()
	if w.limits() != base {
		t.Errorf("a stop without a note left %v", w.limits())
	}
	w.sane()
}

// A successor that cannot come up has used the note up: a release after it gives the router back.
func TestAFailedSuccessorDoesNotKeepTheNote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteHandover(w.dir, "ATT", boot, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.hands.Probe = func(probe.Options) (Pinger, error) { return nil, errors.New("no socket today") }
	if err := w.autorate().Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no socket today") {
		t.Fatalf("a successor without a socket: %v", err)
	}
	f, _ := w.parse(w.text)
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands, IfNotHandedOver: true}
	if _, err := rel.Release(f); err != nil {
		t.Fatal(err)
	}
	if w.limits() != base {
		t.Errorf("the release left %v", w.limits())
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, routerOf(dialect))
			run := start(t, w.autorate())
			w.pings.set(100)
			w.untilLimits(floor)
			run.mustEnd()
			for _, tt := range []struct {
				mode string
				want link.Rates
			}{
				{"on_exit: base", base}, {"on_exit: ceiling", ceiling}, {"on_exit: last", floor}, // what is on the router stays
			} {
				for queue, r := range map[string]unit.Rate{attDown: floor.Down, attUp: floor.Up} {
					if err := w.router.ForeignSet(queue, r); err != nil { // as a killed process leaves it
						t.Fatal(err)
					}
				}
				text := strings.Replace(w.text, "on_exit: base", tt.mode, 1)
				f, ds := w.parse(text)
				if f == nil {
					t.Fatal(ds)
				}
				rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands, IfNotHandedOver: true}
				if _, err := rel.Release(f); err != nil {
					t.Fatalf("%s: %v", tt.mode, err)
				}
				if w.limits() != tt.want {
					t.Errorf("%s left %v, want %v", tt.mode, w.limits(), tt.want)
				}
			}
			w.sane()
			f, _ := w.parse(strings.Replace(w.text, "continuous_monitoring:", "continuous_monitoring:\n  enabled: false", 1))
			n := len(w.router.Commands())
			if said, err := (Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}).Release(f); err != nil || !strings.Contains(said, "false") {
				t.Errorf("a line that is not controlled: %q, %v", said, err)
			}
			if len(w.router.Commands()) != n {
				t.Error("the router was asked for a line that is not controlled")
			}
		})
	}
}

// Root around a container's service may see another name of the boot than the service itself: the service's counts.
func TestBootSeenByTheHolder(t *testing.T) {
	run := t.TempDir()
	own, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := BootSeen(run, "ATT"); got != own || err != nil {
		t.Errorf("without a lock: %s, %v", got, err)
	}
	lock := filepath.Join(run, "ATT.lock")
	for text, want := range map[string]string{`{"pid":1,"boot_id":"theirs"}`: "theirs", `{"pid":1}`: own, "": own, "torn {": own} {
		if err := os.WriteFile(lock, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := BootSeen(run, "ATT"); got != want || err != nil {
			t.Errorf("lock %q: %s, %v, want %s", text, got, err, want)
		}
	}
	unlock, _, err := takeLock(lock, "ATT", "a.yaml", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	if got, err := BootSeen(run, "ATT"); got != own || err != nil {
		t.Errorf("our own lock: %s, %v", got, err)
	}
}
