package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// statePath is where the configuration's state lies.
func (w *world) statePath() string {
	w.t.Helper()
	cfg, ds := w.loadWAN()
	if err := ds.Err(); err != nil {
		w.t.Fatal(err)
	}
	return cfg.StateFile
}

func (w *world) savedWAN() state.WAN {
	w.t.Helper()
	s, err := readWAN(w.statePath())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// stateOf makes a state file's content with a rate to know it by.
func stateOf(t *testing.T, rate unit.Rate) []byte {
	t.Helper()
	var b bytes.Buffer
	s := state.WAN{Name: "ATT", BootID: "b", At: 1}
	s.Controller.Sides.Down.Rate = rate
	if err := state.WriteWAN(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadState(t *testing.T) {
	good, older := stateOf(t, 40*unit.Mbps), stateOf(t, 50*unit.Mbps)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	for _, tt := range []struct {
		name         string
		main, backup []byte
		rate         unit.Rate // 0: defaults
		aside        []string
	}{
		{"none", nil, nil, 0, nil},
		{"good", good, older, 40 * unit.Mbps, nil},
		{"torn", good[:len(good)/2], older, 50 * unit.Mbps, []string{"s.corrupt"}},
		{"empty", []byte{}, older, 50 * unit.Mbps, []string{"s.corrupt"}},
		{"a flipped bit", flipped, older, 50 * unit.Mbps, []string{"s.corrupt"}},
		{"foreign", []byte(`{"hello": "world"}`), older, 50 * unit.Mbps, []string{"s.corrupt"}},
		{"both torn", good[:9], older[:9], 0, []string{"s.corrupt", "s.bak.corrupt"}},
		{"main lost", nil, older, 50 * unit.Mbps, nil},
		{"main torn, no backup", good[:9], nil, 0, []string{"s.corrupt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			for p, b := range map[string][]byte{path: tt.main, path + ".bak": tt.backup} {
				if b != nil {
					if err := os.WriteFile(p, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			var got state.WAN
			found, notes := loadState(path, func(r io.Reader) (err error) {
				got, err = state.ReadWAN(r, "ATT")
				return err
			}, nil)
			if found != (tt.rate != 0) || found && got.Controller.Sides.Down.Rate != tt.rate {
				t.Errorf("found %t, rate %v, want %v", found, got.Controller.Sides.Down.Rate, tt.rate)
			}
			for _, a := range tt.aside {
				if _, err := os.Stat(filepath.Join(filepath.Dir(path), a)); err != nil {
					t.Errorf("a bad file was not kept: %v", err)
				}
			}
			if (len(notes) > 0) != (tt.main == nil && tt.backup != nil || len(tt.aside) > 0) {
				t.Errorf("notes: %q", notes)
			}
			// The next save must not put a bad file into the backup's place.
			if err := saveState(path, func(w io.Writer) error { _, err := w.Write(good); return err }); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path + ".bak"); err == nil && !bytes.Equal(b, good) && !bytes.Equal(b, older) {
				t.Errorf("the backup is %q", b)
			}
		})
	}
}

// A later version's state, after a downgrade: what it learnt is kept, its file, too, and the version after that finds ours.
func TestStartFromALaterVersionsState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	run := start(t, w.autorate())
	w.pings.set(100)
	w.untilLimits(floor)
	run.mustEnd()
	path := w.statePath()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), `"schema": 1`, `"schema": 9`, 1)
	text = strings.Replace(text, `"controller": {`, `"controller": "of another kind", "was": {`, 1)
	text = regexp.MustCompile(`"baseline_rtt": [0-9.e+]+`).ReplaceAllString(text, `"baseline_rtt": 31.25`)
	later := sealed(text)
	for _, p := range []string{path, path + ".bak", path + ".newer", path + ".corrupt"} { // those that are aside are of earlier times
		if err := os.WriteFile(p, later, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.pings.set(0) // nothing is decided: what the controller starts from is what it says
	run = start(t, w.autorate())
	w.pings.cycles(t, 2)
	if got := w.feed(); got.Baseline != 31.25 || got.Rates != base { // a stop left them there
		t.Errorf("started from baseline %v and %v\n%s", got.Baseline, got.Rates, w.log)
	}
	for _, want := range []string{"of a later version: schema 9", "kept as " + path + ".newer", "are taken over"} {
		if !w.log.has(want) {
			t.Errorf("the log lacks %q:\n%s", want, w.log)
		}
	}
	for _, p := range []string{path + ".newer", path + ".bak.newer"} {
		if b, err := os.ReadFile(p); err != nil || !bytes.Equal(b, later) {
			t.Errorf("%s was not kept: %v", p, err)
		}
	}
	run.mustEnd()
	if got, err := readWAN(path); err != nil || got.EWMA.BaselineRTT != 31.25 {
		t.Errorf("this version then wrote %v, %v", got.EWMA, err)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) > 5 { // with .bak, .newer, .bak.newer and .corrupt
		t.Errorf("%d files: %q", len(names), names)
	}
}

// A later version's state that cannot be moved aside is learnt from where it lies, and nothing else is taken for it.
func TestALaterVersionsStateThatCannotBeMovedAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	later := sealed(strings.Replace(string(stateOf(t, 40*unit.Mbps)), `"schema": 1`, `"schema": 9`, 1))
	if err := os.WriteFile(path, later, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".newer", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	var decoded, learnt []byte
	into := func(b *[]byte, err error) func(io.Reader) error {
		return func(r io.Reader) error {
			var failed error
			*b, failed = io.ReadAll(r)
			return errors.Join(failed, err)
		}
	}
	found, notes := loadState(path, into(&decoded, state.ErrNewer), into(&learnt, nil))
	if !found || !bytes.Equal(decoded, later) || !bytes.Equal(learnt, later) {
		t.Errorf("found %t, learnt from %q", found, learnt)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "kept as "+path+" (it could not be moved aside: ") ||
		!strings.HasPrefix(notes[1], "the averages and rates of "+path+" are taken over") {
		t.Errorf("notes: %q", notes)
	}
}

func readWAN(path string) (s state.WAN, err error) {
	err = readFile(path, func(r io.Reader) (err error) {
		s, err = state.ReadWAN(r, "ATT")
		return err
	})
	return s, err
}

// sealed puts the right checksum on a state's text.
func sealed(text string) []byte {
	b := []byte(text)
	i := bytes.LastIndex(b, []byte(`"checksum": "`)) + len(`"checksum": "`)
	copy(b[i:], "00000000")
	copy(b[i:], fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
	return b
}

func TestSaveKeepsTheLastGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "s")
	for i := range 3 {
		if err := saveState(path, func(w io.Writer) error { _, err := fmt.Fprint(w, i); return err }); err != nil {
			t.Fatal(err)
		}
	}
	now, _ := os.ReadFile(path)
	last, _ := os.ReadFile(path + ".bak")
	if string(now) != "2" || string(last) != "1" {
		t.Errorf("the file is %q, its backup %q", now, last)
	}
	boom := errors.New("boom")
	if err := saveState(path, func(io.Writer) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if now, _ := os.ReadFile(path); string(now) != "2" {
		t.Errorf("a state that could not be encoded left %q", now)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "att.json")
	for _, n := range []string{".att.json12345", ".att.json1", "att.json", ".att.json", ".att.json.new", ".att2.json9"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sweep(path)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), ".att.json .att.json.new .att2.json9 att.json"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
	sweep(filepath.Join(dir, "nowhere", "x"))
}

// A start from each sort of damaged state ends in control, with the rates within their bounds.
func TestStartFromDamagedState(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"torn":    func(b []byte) []byte { return b[:len(b)/3] },
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"foreign": func([]byte) []byte { return []byte(`{"ewma":{"baseline_rtt":24}}`) },
	} {
		for _, backup := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, backup %t", name, backup), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, rosim.DefaultOptions())
				run := start(t, w.autorate())
				w.pings.set(100)
				w.untilLimits(floor)
				run.mustEnd()
				path := w.statePath()
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if backup {
					if err := os.WriteFile(path+".bak", b, 0o600); err != nil {
						t.Fatal(err)
					}
				} else if err := os.Remove(path + ".bak"); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(bytes.Clone(b)), 0o600); err != nil {
					t.Fatal(err)
				}
				w.pings.set(0) // nothing is decided: what the controller starts from is what it says
				run = start(t, w.autorate())
				w.pings.cycles(t, 2)
				want := ceiling
				if backup {
					want = floor
				}
				if got := w.feed().Rates; got != want {
					t.Errorf("started from %v, want %v\n%s", got, want, w.log)
				}
				if _, err := os.Stat(path + ".corrupt"); err != nil {
					t.Errorf("the damaged file was not kept: %v", err)
				}
				w.pings.set(100)
				w.untilLimits(floor)
				run.mustEnd()
				w.sane()
			})
		}
	}
}

// With a disk that takes nothing measuring and shaping go on, it is said once, and it heals by itself.
func TestStateCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	// A directory in the file's place can be neither replaced nor linked: it stands for a full or read-only disk
	// also for root.
	w.set("wan_name: ATT", "wan_name: ATT\nstate_file: "+w.path("full/state.json")+"\nfeed_file: "+w.path("fullfeed/feed.json"))
	for _, d := range []string{"full/state.json/x", "fullfeed/feed.json/x"} {
		if err := os.MkdirAll(w.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := start(t, w.autorate())
	w.pings.until(t, "a complaint about the state", func() bool {
		return w.log.has("state.json") && w.log.has("would start from older state")
	})
	w.pings.until(t, "a complaint about the feed", func() bool { return w.log.has("steering cannot see this WAN") })
	w.pings.set(100)
	w.untilLimits(floor)
	w.pings.cycles(t, 30) // several saves are due on the loop's clock
	if n := strings.Count(w.log.String(), "would start from older state"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if n := strings.Count(w.log.String(), "steering cannot see this WAN"); n != 1 {
		t.Errorf("the feed's failure was said %d times", n)
	}
	for _, d := range []string{"full/state.json", "fullfeed/feed.json"} {
		if err := os.RemoveAll(w.path(d)); err != nil {
			t.Fatal(err)
		}
	}
	w.pings.until(t, "the feed back", func() bool { return w.log.has("can be written again") })
	w.measures(3)
	run.mustEnd()
	if got := w.savedWAN().Controller.Sides.Down.Rate; got != floor.Down {
		t.Errorf("the state says %v after the disk healed", got)
	}
	if w.limits() != base {
		t.Errorf("left %v", w.limits())
	}
	w.sane()
}

// The real thing: a disk without room. It needs a mount of its own, so it runs in a process of its own.
func TestDiskFull(t *testing.T) {
	if os.Getenv("WANCTL_FULL_DISK") == "" {
		if os.Getuid() != 0 {
			t.Skip("NOT RUN: a full disk needs root, to mount a small one")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
		cmd.Env = append(os.Environ(), "WANCTL_FULL_DISK=1")
		cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(err.Error(), "operation not permitted") {
			t.Skipf("NOT RUN: no mount namespace may be made here: %v", err)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if bytes.Contains(out, []byte("--- SKIP")) {
			t.Skipf("NOT RUN: %s", out)
		}
		return
	}
	w := newWorld(t, rosim.DefaultOptions())
	disk := w.path("disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", disk, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Skipf("NOT RUN: no tmpfs may be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	w.set("wan_name: ATT", fmt.Sprintf("wan_name: ATT\nstate_file: %[1]s/state.json\nfeed_file: %[1]s/feed.json\nlock_file: %[1]s/lock", disk))
	fill(t, filepath.Join(disk, "filler"))
	run := start(t, w.autorate()) // the lock is held without its owner's name
	w.pings.until(t, "complaints", func() bool {
		return w.log.has("would start from older state") && w.log.has("steering cannot see this WAN")
	})
	w.pings.set(100)
	w.untilLimits(floor)
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	w.pings.until(t, "the feed back", func() bool { return w.log.has("can be written again") })
	w.measures(3)
	fill(t, filepath.Join(disk, "filler"))
	w.pings.cycles(t, 3)
	if got := w.feed(); got.Seq == 0 { // an old one, never half of one
		t.Errorf("the feed is %+v", got)
	}
	run.mustEnd()
	if w.limits() != base {
		t.Errorf("left %v", w.limits())
	}
	w.sane()
	logOnAFullDisk(t, disk)
}

// logOnAFullDisk fills a disk under a log: its lines go to stderr, said once, and into the file again when there is room; what is
// full is put aside all the same.
func logOnAFullDisk(t *testing.T, disk string) {
	t.Helper()
	filler, path := filepath.Join(disk, "filler"), filepath.Join(disk, "wan.log")
	var stderr shared
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	l := openedFile(t, path, &stderr, config.Logging{MaxBytes: 8192, Backups: 2})
	write := func(n int) {
		for range n {
			fmt.Fprintf(l, "%-99s\n", "line")
		}
	}
	write(60)
	fill(t, filler)
	write(100)
	if n := strings.Count(stderr.String(), "no space left"); n != 1 || strings.Count(stderr.String(), "line") < 50 {
		t.Errorf("on a full disk stderr has\n%s", &stderr)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	had := stderr.String()
	write(100)
	if b, err := os.ReadFile(path); err != nil || len(b) > 8192 || !strings.HasSuffix(string(b), "\n") || stderr.String() != had {
		t.Errorf("with room again: %d bytes, %v, stderr\n%s", len(b), err, &stderr)
	}
	if names, err := filepath.Glob(path + "*"); err != nil || len(names) != 3 {
		t.Errorf("%q, %v", names, err)
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []int{4096, 1} {
		for {
			if _, err := f.Write(make([]byte, n)); errors.Is(err, unix.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	run := start(t, w.autorate())
	err := w.autorate().Run(t.Context())
	var held *LockHeldError
	if !errors.As(err, &held) {
		t.Fatalf("a second controller of the line: %v", err)
	}
	for _, part := range []string{"ATT is already run by", fmt.Sprintf("process %d", os.Getpid()), "test.yaml", held.Path} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
	f, _ := w.parse(w.text)
	if _, err := rel.Release(f); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a release of a running line: %v", err)
	}
	w.measures(3)
	run.mustEnd()
	start(t, w.autorate()).mustEnd() // the lock went with its holder
}

func TestLockWithoutAName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, warn, err := takeLock(path, "ATT", "a.yaml", time.Time{})
	if err != nil || warn != nil {
		t.Fatal(err, warn)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := takeLock(path, "ATT", "b.yaml", time.Time{}); err == nil || !strings.Contains(err.Error(), "has not written its name") {
		t.Errorf("%v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := takeLock("/proc/nowhere/lock", "ATT", "", time.Time{}); err == nil {
		t.Error("a lock in /proc was taken")
	}
}

// What root makes in a directory of the service's user is that user's: a lock, a hand-over note, a state.
func TestFilesBelongToTheirDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make files for others")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	unlock, _, err := takeLock(filepath.Join(dir, "ATT.lock"), "ATT", "a.yaml", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	if err := WriteHandover(dir, "ATT", "boot", 1); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "ATT_state.json"), []byte("x"), true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ATT.lock", "ATT.handover", "ATT_state.json"} {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(dir, name), &st); err != nil || st.Uid != 1234 || st.Gid != 5678 {
			t.Errorf("%s is of %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
}

func TestDefaultDirs(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	for _, tt := range []struct {
		env  func(string) string
		uid  int
		want Dirs
	}{
		{env(), 0, Dirs{"/var/lib/wanctl", "/run/wanctl"}},
		{env("STATE_DIRECTORY", "/a:/b", "RUNTIME_DIRECTORY", "/c"), 7, Dirs{"/a", "/c"}},
		{env("HOME", "/home/u"), 7, Dirs{"/home/u/.local/state/wanctl", "/home/u/.local/state/wanctl/wanctl"}},
		{env("XDG_STATE_HOME", "/s", "XDG_RUNTIME_DIR", "/r"), 7, Dirs{"/s/wanctl", "/r/wanctl"}},
	} {
		if got := DefaultDirs(tt.env, tt.uid); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
}

// The saver's cadence, and that a slow disk delays nobody and only the newest content waits for it.
func TestSaver(t *testing.T) {
	s := &saver{}
	sec := func(n int) unit.Time { return unit.Time(1 + n*int(time.Second)) }
	for _, tt := range []struct {
		at      int
		changed bool
		due     bool
	}{
		{0, false, true},
		{1, true, false},
		{9, false, false},
		{10, false, true},
		{11, false, false},
		{25, true, true},
		{26, false, false},
		{324, false, false},
		{325, false, true},
		{326, true, false},
		{335, true, true},
	} {
		if got := s.due(sec(tt.at), tt.changed); got != tt.due {
			t.Errorf("at %d s (changed %t) due is %t", tt.at, tt.changed, got)
		}
	}
	// One that failed is tried again at the pace of changes, until it succeeds.
	s.failing.Store(true)
	for at, due := range map[int]bool{336: false, 344: false} {
		if got := s.due(sec(at), false); got != due {
			t.Errorf("at %d s, after a failure, due is %t", at, got)
		}
	}
	if !s.due(sec(345), false) {
		t.Error("a failed save is not tried again after 10 s")
	}
	s.failing.Store(false)
	if s.due(sec(400), false) {
		t.Error("a save that succeeded is made again")
	}

	log, buf := testLog(t)
	path := filepath.Join(t.TempDir(), "s")
	begun, release := make(chan struct{}), make(chan struct{})
	s = newSaver(path, log)
	s.save(func(w io.Writer) error { close(begun); <-release; _, err := io.WriteString(w, "1"); return err })
	<-begun
	for i := 2; i < 6; i++ { // none of these waits
		s.save(func(w io.Writer) error { _, err := fmt.Fprint(w, i); return err })
	}
	close(release)
	s.close(func(w io.Writer) error { _, err := io.WriteString(w, "last"); return err })
	if b, _ := os.ReadFile(path); string(b) != "last" {
		t.Errorf("the file holds %q\n%s", b, buf)
	}
}

func testLog(t *testing.T) (*Log, *shared) {
	t.Helper()
	var b shared
	return &Log{Logger: slog.New(NewTextHandler(&b, "ATT", slog.LevelInfo))}, &b
}

// A sink that blocks must not stop who logs: lines wait, and what does not fit is counted.
func TestALogThatBlocksStopsNobody(t *testing.T) {
	r, w := io.Pipe() // nobody reads yet
	l := opened(t, LogOptions{Name: "ATT", Stderr: w})
	for range queuedLines + 100 {
		l.Line(slog.LevelInfo, "line")
	}
	lines := 0
	lost := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(r); s.Scan(); {
			if strings.Contains(s.Text(), "log lines were lost") {
				lost = true
				continue
			}
			lines++
		}
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	_ = w.Close()
	<-done
	if lines < queuedLines || !lost {
		t.Errorf("%d of the %d queued lines were written; lost lines told: %v", lines, queuedLines, lost)
	}
}

// A log that cannot be opened is no reason not to control: its lines go to stderr, and after SIGHUP into the file.
func TestALogThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.put("logs", "a file where the directory of the logs must be")
	w.text += "logging: {main_log: " + w.path("logs/ATT.log") + "}\n"
	a := w.autorate()
	run := start(t, a)
	w.pings.set(100)
	w.untilLimits(floor)
	if !w.log.has("[ERROR]") || !w.log.has("send SIGHUP") || !w.log.has("ATT: [RED/RED]") {
		t.Errorf("stderr has\n%s", w.log)
	}
	if err := os.Remove(w.path("logs")); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pings.until(t, "lines in the file", func() bool {
		b, _ := os.ReadFile(w.path("logs/ATT.log"))
		return strings.Contains(string(b), "ATT: [RED/RED]")
	})
	run.mustEnd()
	if w.limits() != base {
		t.Errorf("a stop left %v", w.limits())
	}
}
