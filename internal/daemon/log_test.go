package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/unit"
)

// opened is a log, for its test to close.
func opened(t *testing.T, o LogOptions) *Log {
	t.Helper()
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// openedFile is a log's file, until the test ends.
func openedFile(t *testing.T, path string, stderr io.Writer, files config.Logging) *logFile {
	t.Helper()
	l, err := openLog(path, stderr, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// kept are all lines of a log and of what was put aside of it, oldest first, with each file's size checked.
func kept(t *testing.T, path string, files config.Logging) []string {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) > 1+files.Backups {
		t.Errorf("%d files: %q", len(names), names)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) + strings.Compare(b, a) })
	var lines []string
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		// Each of several writers may find room for a line at the same time.
		if unit.Bytes(len(b)) > files.MaxBytes+200 {
			t.Errorf("%s has %d bytes, more than %d", n, len(b), files.MaxBytes)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return lines
}

// Several writers to one file, as two processes are: no file outgrows its bound, nothing is lost that should be kept, and the
// number of files is bounded, too.
func TestLogsRotate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wan.log")
	files := config.Logging{MaxBytes: 4096, Backups: 3}
	if err := os.WriteFile(path+".4", []byte("of a time when more were kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 75 // of 50 bytes: they fit into four files
	var stderr shared
	var g errgroup.Group
	for w := range writers {
		l := openedFile(t, path, &stderr, files)
		g.Go(func() error {
			for n := range each {
				if _, err := fmt.Fprintf(l, "%-49s\n", fmt.Sprintf("writer %d line %d", w, n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || stderr.String() != "" {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	lines := kept(t, path, files)
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l] {
			t.Errorf("%q is there twice", l)
		}
		seen[l] = true
	}
	if len(seen) != writers*each {
		t.Errorf("%d of %d lines are there", len(seen), writers*each)
	}
	// Much more than fits: the newest lines are kept.
	l := openedFile(t, path, &stderr, files)
	for n := range 1000 {
		fmt.Fprintf(l, "%-49s\n", fmt.Sprintf("last %d", n))
	}
	lines = kept(t, path, files)
	if got := strings.TrimSpace(lines[len(lines)-1]); got != "last 999" || len(lines) < 3*75 {
		t.Errorf("%d lines, the last is %q", len(lines), got)
	}
	// A smaller bound after a reload, and none kept.
	l.limit(config.Logging{MaxBytes: 1000})
	for n := range 100 {
		fmt.Fprintf(l, "%-49s\n", fmt.Sprintf("after %d", n))
	}
	if lines = kept(t, path, config.Logging{MaxBytes: 4096, Backups: 3}); !strings.HasPrefix(lines[len(lines)-1], "after 99") {
		t.Errorf("after a reload: %q", lines)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
		t.Errorf("after a reload: %v, %v", info, err)
	}
}

// Somebody else's rotation goes on working beside ours, and what is no file of its own is left alone.
func TestLogsThatOthersRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "wan.log")
	var stderr shared
	l := openedFile(t, path, &stderr, config.Logging{MaxBytes: 1000, Backups: 1})
	put := func(text string) { fmt.Fprintf(l, "%s\n", text) }
	has := func(name, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, want %q (%v)", name, b, want, err)
		}
	}
	put("one")
	if err := os.Rename(path, path+"-20260101"); err != nil { // logrotate renames, and then sends SIGHUP
		t.Fatal(err)
	}
	put("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	put("three")
	has("wan.log-20260101", "one\ntwo\n")
	has("wan.log", "three\n")
	if err := os.Truncate(path, 0); err != nil { // its copytruncate
		t.Fatal(err)
	}
	put("four")
	has("wan.log", "four\n")
	if err := os.Rename(path, path+"-20260102"); err != nil { // without a signal, until the file is full
		t.Fatal(err)
	}
	for range 30 {
		put(strings.Repeat("x", 49))
	}
	if info, err := os.Stat(path + "-20260102"); err != nil || info.Size() > 1000 {
		t.Errorf("somebody's file grows: %v, %v", info, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	// A link is kept, and its target rotated.
	target := filepath.Join(dir, "elsewhere")
	link := filepath.Join(dir, "link.log")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	linked := openedFile(t, link, &stderr, config.Logging{MaxBytes: 1000, Backups: 1})
	for range 30 {
		fmt.Fprintf(linked, "%s\n", strings.Repeat("x", 49))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info, err)
	}
	if _, err := os.Stat(target + ".1"); err != nil {
		t.Error(err)
	}
	null := openedFile(t, os.DevNull, &stderr, config.Logging{MaxBytes: 1})
	fmt.Fprintln(null, "nothing")
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() || stderr.String() != "" {
		t.Errorf("%v, %v, %s", info, err, &stderr)
	}
}

// A file that cannot be put aside does not grow: its lines go to stderr, said once, and into the file again when it can be.
func TestALogThatCannotBePutAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "wan.log")
		var stderr shared
		l := openedFile(t, path, &stderr, config.Logging{MaxBytes: 1000, Backups: 1})
		if err := os.MkdirAll(path+".1/in the way", 0o700); err != nil { // as a directory without rights is for others than root
			t.Fatal(err)
		}
		for range 40 {
			fmt.Fprintf(l, "%s\n", strings.Repeat("x", 49))
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() > 1000 {
			t.Errorf("%v, %v", info, err)
		}
		if n := strings.Count(stderr.String(), "put the full log aside"); n != 1 || strings.Count(stderr.String(), "\n") != 1+20 {
			t.Errorf("stderr has\n%s", &stderr)
		}
		if err := os.RemoveAll(path + ".1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryRotation)
		fmt.Fprintln(l, "again")
		if b, err := os.ReadFile(path); err != nil || string(b) != "again\n" {
			t.Errorf("%q, %v", b, err)
		}
		if info, err := os.Stat(path + ".1"); err != nil || info.Size() != 1000 {
			t.Errorf("%v, %v", info, err)
		}
	})
}

// A warning that comes every cycle for a day is said 28 times, whatever figures are in it, and nothing that came is left out
// of the account; what is told of each cycle is said each time.
func TestLogsHoldRepeatsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		l := opened(t, LogOptions{Name: "ATT", Stderr: &out})
		const cycles = 24 * 3600 / 2
		for n := range cycles {
			l.Line(slog.LevelInfo, "ATT: [GREEN/GREEN]")
			l.Warn(fmt.Sprintf("10.0.0.1:22: read tcp 10.0.0.2:%d->10.0.0.1:22: no route (after %dms)", 40000+n%999, n))
			l.Warn(fmt.Sprintf("10.0.0.%d is slow by 12.%d ms", 1+n%2, n%10))
			synctest.Wait()
			time.Sleep(2 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		l.Line(slog.LevelInfo, "ATT: [GREEN/GREEN]")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var lines, lost, slow, more int
		for _, s := range strings.Split(out.String(), "\n") {
			var n int
			if at := strings.LastIndex(s, " ("); at > 0 && strings.Contains(s, "more") {
				_, _ = fmt.Sscanf(s[at:], " (%d more", &n)
			}
			switch {
			case strings.Contains(s, "GREEN"):
				lines++
			case strings.Contains(s, "no route"):
				lost++
				more += n
				if strings.Contains(s, "none since") != strings.Contains(s, "[INFO]") {
					t.Error(s)
				}
			case strings.Contains(s, "is slow"):
				slow++
			}
		}
		if lines != cycles+1 || lost != 28+1 || more+28 != cycles || slow != 2*(28+1) {
			t.Errorf("%d lines, %d of the lost router with %d more, %d of slow reflectors", lines, lost, more, slow)
		}
	})
	for text, want := range map[string]string{
		"12 of 13":                              "# of #",
		"8.8.8.8 and 2001:db8::1, fe80::1%eth0": "8.8.8.8 and 2001:db8::1, fe80::1%eth0",
		"at 8.8.8.8: no (took 1m3.5s)":          "at 8.8.8.8: no (took #)",
		"queue WAN-2 at 95M, want=18.5M":        "queue WAN-2 at #, want=#",
		"dial tcp 10.0.0.1:8728: x":             "dial tcp 10.0.0.1:# x",
		"up by +3 ms [17]":                      "up by +# ms [#]",
	} {
		if got := kindOfText(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// What stays wrong is said again, every hour, and when nothing is wrong any more.
func TestStandingTrouble(t *testing.T) {
	log, out := testLog(t)
	wrong := func(at time.Duration) []string {
		if at < 5*time.Hour {
			return []string{"the router has not answered for " + at.String()}
		}
		return nil
	}
	for at := time.Duration(0); at < 24*time.Hour; at += 2 * time.Second {
		why := wrong(at)
		if at%time.Hour < 5*time.Minute { // what comes and goes is no standing trouble
			why = append(why, "a reflector is silent")
		}
		if at >= 5*time.Hour {
			why = nil
		}
		log.stands(unit.Time(at), why)
	}
	text := out.String()
	if n := strings.Count(text, "[WARNING] still so, after "); n < 5 || n > 6 || strings.Contains(text, "reflector") ||
		!strings.Contains(text, "[INFO] all is well again, after 4h59m58s") || strings.Count(text, "\n") != n+1 {
		t.Errorf("the log has\n%s", text)
	}
}

// A file of details that nobody reads from, as a pipe may be, keeps no SIGHUP waiting, also after details have ended.
func TestReopenOfDetailsThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		l := opened(t, LogOptions{Name: "ATT", Stderr: &out, Files: config.Logging{Debug: filepath.Join(t.TempDir(), "debug.log")}})
		for _, d := range []time.Duration{time.Minute, 0} {
			if err := l.debugFor(d); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		l.details.file.mu.Lock() // as a line does that is being written
		if err := l.Reopen(); err == nil || !strings.Contains(err.Error(), "nobody takes it") {
			t.Errorf("%v", err)
		}
		l.details.file.mu.Unlock()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Details can be had from a running controller, through its socket: into their file, for a time, and not too many of them.
func TestDebugAtRunTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.text += "logging: {main_log: " + w.path("main.log") + ", debug_log: " + w.path("debug.log") + "}\n"
	run := start(t, w.autorate())
	read := func(name string) string {
		b, _ := os.ReadFile(w.path(name))
		return string(b)
	}
	if _, err := os.Stat(w.path("debug.log")); err == nil {
		t.Error("a log of details is made before anybody asked")
	}
	got, err := SetDebug(w.dir, "ATT", time.Minute)
	if err != nil || got == nil || got.Into != w.path("debug.log") || !(got.LeftS > 0 && got.LeftS <= 60) {
		t.Fatalf("%+v, %v", got, err)
	}
	w.pings.until(t, "details", func() bool { return strings.Contains(read("debug.log"), "[DEBUG] host 0 ") })
	w.pings.until(t, "the cycles among them", func() bool { return strings.Contains(read("debug.log"), "[INFO] ATT: [") })
	all, _, err := ReadStatus(w.dir)
	if err != nil || len(all) != 1 || all[0].Debug == nil || all[0].Debug.Into != got.Into {
		t.Errorf("%+v, %v", all, err)
	}
	if got, err = SetDebug(w.dir, "ATT", 0); err != nil || got != nil {
		t.Errorf("switched off: %+v, %v", got, err)
	}
	w.pings.until(t, "their end", func() bool { return strings.Contains(read("main.log"), "details are logged no more") })
	if strings.Contains(read("main.log"), "DEBUG") || !strings.Contains(read("main.log"), "details are logged for 1m0s into ") {
		t.Errorf("the main log has\n%s", read("main.log"))
	}
	if _, err := SetDebug(w.dir, "ATT", MaxDebug+time.Second); err == nil || !strings.Contains(err.Error(), "24h") {
		t.Errorf("a day and a second: %v", err)
	}
	for in, want := range map[string]string{`{}`: `does not know`, `{"debug_s": -1}`: "at most", `[`: "", "x": "", strings.Repeat(" ", mostRequest+1) + "{}": ""} {
		if got := askRaw(t, w.dir, in); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%.20q is answered with %q", in, got)
		}
	}
	run.mustEnd()
	if _, err := SetDebug(w.dir, "ATT", time.Minute); !NobodyThere(err) {
		t.Errorf("after the end: %v", err)
	}
}

// askRaw sends a text to a controller's socket and returns what follows its status.
func askRaw(t *testing.T, dir, text string) string {
	t.Helper()
	c, err := net.Dial("unix", socketPath(dir, "ATT"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(c)
	var s Status
	if err := in.Decode(&s); err != nil || s.Name != "ATT" {
		t.Errorf("%+v, %v", s, err)
	}
	var b bytes.Buffer
	var raw json.RawMessage
	for in.Decode(&raw) == nil {
		b.Write(raw)
	}
	return b.String()
}

// Details end by themselves, are bounded per second, and begin anew when they are asked for again.
func TestDetailsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		l := opened(t, LogOptions{Name: "ATT", Stderr: &out})
		if err := l.debugFor(time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for range 1000 {
			l.Debug("much")
		}
		time.Sleep(time.Second)
		l.Debug("more")
		if err := l.debugFor(time.Minute); err != nil { // anew
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if d := l.debugging(); d == nil || d.LeftS != 1 || d.Into != "standard error" {
			t.Errorf("%+v", d)
		}
		time.Sleep(2 * time.Second)
		l.Debug("late")
		if d := l.debugging(); d != nil {
			t.Errorf("%+v", d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.Count(text, "much") != mostDetails || !strings.Contains(text, "more (900 details before it were left out") ||
			strings.Contains(text, "late") || !strings.Contains(text, "details are logged no more: their time is over") {
			t.Errorf("the log has\n%s", text)
		}
		// --debug has no end, but one can be made.
		v := opened(t, LogOptions{Name: "ATT", Stderr: &out, Verbose: true})
		if d := v.debugging(); d == nil || d.LeftS != -1 {
			t.Errorf("%+v", d)
		}
		if err := v.debugFor(0); err != nil || v.debugging() != nil {
			t.Errorf("%v, %+v", err, v.debugging())
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if err := (&Log{}).debugFor(time.Minute); err == nil {
			t.Error("a log without details has some")
		}
	})
}
