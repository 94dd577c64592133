package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/unit"
)

// What lies where our files belong must not hang us or lead us astray.
func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"fifo.lock", "state", "ATT.handover", "feed.new", "log"} {
		if err := syscall.Mkfifo(at(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	victim := at("victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link.lock", "linked.new"} {
		if err := os.Symlink(victim, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	lock := func(path string) error {
		_, _, err := takeLock(path, "ATT", "x", time.Now())
		return err
	}
	_, note := HandedOver(dir, "ATT", "boot", 1)
	_, logErr := openLog(at("log"), os.Stderr, config.Logging{})
	for what, err := range map[string]error{
		"a pipe as lock": lock(at("fifo.lock")), "a link as lock": lock(at("link.lock")),
		"a pipe as state": readFile(at("state"), nil), "a pipe as note": note, "a pipe as log": logErr,
		"a pipe before the feed": replaceFile(at("feed"), []byte("x"), false),
		"a link before the feed": replaceFile(at("linked"), []byte("x"), false),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if b, _ := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("a link led to %q", b)
	}
	if _, err := serveStatus(victim, answers{}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file as socket: %v", err)
	}
}

// Two configurations of one name are one WAN, whatever files they lock.
func TestOneNameOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, _, err := takeLocks(dir, filepath.Join(dir, "own.lock"), "ATT", "a.yaml", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = takeLocks(dir, filepath.Join(dir, "other.lock"), "ATT", "b.yaml", time.Now())
	var held *LockHeldError
	if !errors.As(err, &held) || !strings.Contains(err.Error(), "a.yaml") {
		t.Errorf("a second one of the name: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, _, err := takeLocks(dir, filepath.Join(dir, "other.lock"), "ATT", "b.yaml", time.Now()); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

// A loop that stands still is not well, and its figures grow old.
func TestAStatusGrowsOld(t *testing.T) {
	t.Parallel()
	p := newProgress(1, 2*time.Second)
	p.made(unit.Time(100 * time.Second))
	s := &Status{Healthy: true, at: unit.Time(100 * time.Second), WAN: &WANStatus{AgeS: 0.5, ReadAgeS: unknownAge}}
	if now := s.asOf(unit.Time(103*time.Second), p, nil); !now.Healthy || now.WAN.AgeS != 3.5 || now.WAN.ReadAgeS != unknownAge || now.UptimeS != 3 {
		t.Errorf("3 s later: %+v %+v", now, now.WAN)
	}
	st := &Status{at: s.at, Steer: &SteeringStatus{AgeS: 0.5, QueueAgeS: 1, RuleAgeS: unknownAge}}
	if now := st.asOf(unit.Time(103*time.Second), p, nil).Steer; now.AgeS != 3.5 || now.QueueAgeS != 4 || now.RuleAgeS != unknownAge {
		t.Errorf("steering 3 s later: %+v", now)
	}
	now := s.asOf(unit.Time(130*time.Second), p, nil)
	if now.Healthy || len(now.Why) != 1 || !strings.Contains(now.Why[0], "no cycle for 30s") {
		t.Errorf("30 s later: %+v", now)
	}
	if v := now.Vitals; v.Goroutines < 2 || v.Descriptors < 3 || v.HeapLiveBytes == 0 || v.ResidentBytes < v.HeapLiveBytes {
		t.Errorf("the process is said to have %+v", v)
	}
	if !s.Healthy || s.WAN.AgeS != 0.5 {
		t.Error("the published status was changed")
	}
}
