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
	"wanctl/internal/state"
	"wanctl/internal/steer"
)

func adopting(t *testing.T) (*config.File, Dirs) {
	t.Helper()
	dir := t.TempDir()
	d := Dirs{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state")}
	b, err := os.ReadFile("../../configs/att_config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/run/wanctl", d.Run, "/var/lib/wanctl", d.State).Replace(string(b))
	f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{Dirs: config.Dirs{Run: d.Run, State: d.State}})
	if f == nil {
		t.Fatal(ds)
	}
	return f, d
}

const learntText = `{"download": {"current_rate": 64000000}, "ewma": {"baseline_rtt": 24}}`

// What another program learnt becomes the state of a line, and nothing that was there is lost.
func TestAdopt(t *testing.T) {
	f, d := adopting(t)
	if why := ReadableState(f); why != "" {
		t.Error("a state that is not there is foreign:", why)
	}
	if _, err := Adopt(f.WAN, d, strings.NewReader(learntText), false, HostClock{}); err != nil {
		t.Fatal(err)
	}
	if why := ReadableState(f); why != "" {
		t.Error(why)
	}
	if _, err := Adopt(f.WAN, d, strings.NewReader(learntText), false, HostClock{}); err == nil || !strings.Contains(err.Error(), "--force replaces it") {
		t.Error(err)
	}
	if err := os.WriteFile(f.WAN.StateFile, []byte(`{"schema": 9, "mine": 1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := ReadableState(f); !strings.Contains(why, "ATT_state.json: not a file this version") && !strings.Contains(why, "att_state.json: not a file this version") {
		t.Error(why)
	}
	if _, err := Adopt(f.WAN, d, strings.NewReader("{}"), false, HostClock{}); !errors.Is(err, state.ErrCorrupt) {
		t.Error(err)
	}
	l, err := Adopt(f.WAN, d, strings.NewReader(learntText), false, HostClock{})
	if err != nil || l.Baseline != 24 {
		t.Errorf("%+v %v", l, err)
	}
	if b, err := os.ReadFile(f.WAN.StateFile + aside); err != nil || string(b) != `{"schema": 9, "mine": 1}` {
		t.Errorf("what was there: %q %v", b, err)
	}
	// Not under a running controller.
	release, _, err := takeLocks(d.Run, f.WAN.LockFile, f.WAN.Name, "att.yaml", HostClock{}.Wall())
	if err != nil {
		t.Fatal(err)
	}
	var held *LockHeldError
	if _, err := Adopt(f.WAN, d, strings.NewReader(learntText), true, HostClock{}); !errors.As(err, &held) {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

// root imports for a controller that runs as another user, who has to be able to go on with it.
func TestAdoptForAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: no other user's directories can be made")
	}
	const user = 30123
	f, d := adopting(t)
	for _, dir := range []string{d.Run, d.State} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, user, user); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Adopt(f.WAN, d, strings.NewReader(learntText), false, HostClock{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{f.WAN.StateFile, f.WAN.LockFile} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != user {
			t.Errorf("%s belongs to %d", p, owner.Uid)
		}
	}
}

// What `wanctl release` writes first, as root, the service has to open and to append to.
func TestRootLeavesItsFilesToTheService(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: no other user's directories can be made")
	}
	const user = 30123
	d := Dirs{State: t.TempDir(), Run: t.TempDir()}
	if err := os.Chown(d.State, user, user); err != nil {
		t.Fatal(err)
	}
	if _, err := OwnerOf(d, "queue=x"); err != nil {
		t.Fatal(err)
	}
	h := history{path: filepath.Join(d.State, "s_history.jsonl"), head: state.Event{Name: "s", Primary: "Cable"}}
	if err := h.tell(time.Now(), steer.Account{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{filepath.Join(d.State, ownerFile), h.path} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != user {
			t.Errorf("%s belongs to %d", p, owner.Uid)
		}
	}
}

func TestReadableStateOfSteering(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("../../configs/steering_config_v2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, ds := config.Parse("s.yaml", strings.NewReader(strings.ReplaceAll(string(b), "/var/lib/wanctl", dir)), config.Options{})
	if f == nil {
		t.Fatal(ds)
	}
	if why := ReadableState(f); why != "" {
		t.Error(why)
	}
	if err := os.WriteFile(f.Steering.StateFile, []byte(`{"current_state": "SPECTRUM_GOOD"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := ReadableState(f); !strings.Contains(why, "steering_state.json: not a file this version") {
		t.Error(why)
	}
}
