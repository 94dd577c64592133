package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// earlierScripts are the earlier Python system's programs; the rest of its files are modules of theirs.
var (
	earlierScripts = []string{"autorate_continuous.py", "wan_steering_daemon.py", "adaptive_cake.py"}
	earlierModules = []string{"cake_stats.py", "congestion_assessment.py", "steering_confidence.py", "requirements.txt"}
)

// Earlier is what there is of the earlier system on a host. Paths are those of the host, with the root.
type Earlier struct {
	// Units are files of its services and timers, Names what systemctl calls them.
	Units, Names []string
	// Processes run it now.
	Processes []Process
	// Cron are the tables with lines that start it.
	Cron []string
	// Files are its programs, configurations, locks and state files.
	Files []string
	// States are its state files by wan_name.
	States map[string]string
	// Dir is where it lives, empty when no unit says so.
	Dir string
}

// Process is a process of the earlier system.
type Process struct {
	PID  int
	Line string
}

// Found says whether there is anything.
func (e *Earlier) Found() bool { return len(e.Units)+len(e.Processes)+len(e.Cron) > 0 }

// String lists it.
func (e *Earlier) String() string {
	all := slices.Clone(e.Names)
	for _, p := range e.Processes {
		all = append(all, fmt.Sprintf("process %d (%s)", p.PID, p.Line))
	}
	return strings.Join(append(all, e.Cron...), ", ")
}

var (
	unitPatterns = []string{"cake-*.service", "cake-*.timer", "wan-steering.service", "wan-steering.timer"}
	topLevel     = regexp.MustCompile(`(?m)^(wan_name|lock_file|state_file):[ \t]*["']?([^"'#\n]+?)["']?[ \t]*(?:#.*)?$`)
	steeredState = regexp.MustCompile(`(?m)^state:[ \t]*\n(?:[ \t]+.*\n)*?[ \t]+file:[ \t]*["']?([^"'#\n]+?)["']?[ \t]*(?:#.*)?$`)
)

// FindEarlier looks for the earlier system under root. Processes are looked for in proc, and under another root than "/"
// counted only when they run from it.
func FindEarlier(root, proc string) *Earlier {
	e := &Earlier{States: map[string]string{}}
	p := place{root}
	seen := map[string]bool{}
	for _, dir := range []string{"etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system"} {
		for _, pattern := range unitPatterns {
			paths, _ := filepath.Glob(p.at(dir, pattern)) // the patterns are good
			for _, path := range paths {
				name := filepath.Base(path)
				text, err := os.ReadFile(path)
				service := strings.TrimSuffix(name, filepath.Ext(name)) + ".service"
				switch {
				case err != nil:
					continue
				case strings.HasSuffix(name, ".timer") && !seen[service]:
					continue // ours, or a timer of something else
				case strings.HasSuffix(name, ".service") && !e.unit(p, string(text)):
					continue
				}
				seen[name] = true
				e.Units = append(e.Units, path)
				if !slices.Contains(e.Names, name) {
					e.Names = append(e.Names, name)
				}
			}
		}
	}
	e.cron(p)
	e.Processes = earlierProcesses(root, proc)
	return e
}

// unit takes in what a service's file says, if it is one of the earlier system.
func (e *Earlier) unit(p place, text string) bool {
	dir, words := "", []string(nil)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "WorkingDirectory":
			dir = value
		case "ExecStart":
			words = strings.Fields(value)
		}
	}
	script := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, ".py") })
	if script < 0 {
		return false
	}
	abs := func(w string) string {
		if !filepath.IsAbs(w) {
			w = filepath.Join(dir, w)
		}
		return p.at(w)
	}
	home := filepath.Dir(abs(words[script]))
	if e.Dir == "" {
		e.Dir = home
	}
	e.file(abs(words[script]))
	for _, m := range append(slices.Clone(earlierScripts), earlierModules...) {
		e.file(filepath.Join(home, m))
	}
	for i, w := range words[:max(len(words)-1, 0)] {
		if w == "--configs" || w == "--config" {
			e.config(p, abs(words[i+1]))
		}
	}
	return true
}

// file notes a file that is there.
func (e *Earlier) file(path string) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && !slices.Contains(e.Files, path) {
		e.Files = append(e.Files, path)
	}
}

// config takes in where a configuration keeps lock and state.
func (e *Earlier) config(p place, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	e.file(path)
	values := map[string]string{}
	for _, m := range topLevel.FindAllSubmatch(text, -1) {
		values[string(m[1])] = string(m[2])
	}
	state := values["state_file"]
	if m := steeredState.FindSubmatch(text); m != nil { // steering's: what it knew is read from the router again
		e.file(p.at(string(m[1])))
	}
	if lock := values["lock_file"]; lock != "" {
		e.file(p.at(lock))
		if state == "" { // where it put it by itself
			state = strings.TrimSuffix(lock, filepath.Ext(lock)) + "_state.json"
		}
	}
	if state != "" && bytes.Contains(text, []byte("continuous_monitoring:")) {
		if _, err := os.Stat(p.at(state)); err == nil {
			e.file(p.at(state))
			e.States[values["wan_name"]] = p.at(state)
		}
	}
}

// starts says whether a line of a cron table starts the earlier system.
func starts(line string) bool {
	return !strings.HasPrefix(strings.TrimSpace(line), "#") && slices.ContainsFunc(earlierScripts, func(s string) bool { return strings.Contains(line, s) })
}

func (e *Earlier) cron(p place) {
	tables := []string{p.at("etc/crontab")}
	for _, pattern := range []string{"etc/cron.d/*", "var/spool/cron/crontabs/*", "var/spool/cron/*"} {
		more, _ := filepath.Glob(p.at(pattern)) // the patterns are good
		tables = append(tables, more...)
	}
	for _, t := range tables {
		text, err := os.ReadFile(t)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if starts(line) {
				e.Cron = append(e.Cron, t)
				break
			}
		}
	}
}

// withoutCron is a table in which the lines that start the earlier system are comments.
func withoutCron(table []byte, date string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(string(table)) {
		if starts(line) {
			b.WriteString("# disabled by wanctl deploy on " + date + ": ")
		}
		b.WriteString(line)
	}
	return b.Bytes()
}

// earlierProcesses are those whose command line runs one of its programs with an interpreter or by itself.
func earlierProcesses(root, proc string) []Process {
	lines, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline")) // the pattern is good
	var out []Process
	for _, path := range lines {
		b, err := os.ReadFile(path)
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || perr != nil || pid == os.Getpid() {
			continue // it has ended
		}
		words := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		// An editor or a grep that names the script is none: it stands first, or after the interpreter and its options.
		at := slices.IndexFunc(words, func(w string) bool { return slices.Contains(earlierScripts, filepath.Base(w)) })
		if at < 0 || slices.ContainsFunc(words[min(1, at):at], func(w string) bool { return !strings.HasPrefix(w, "-") }) ||
			at > 0 && !interpreter(words[0]) {
			continue
		}
		line := strings.Join(words, " ")
		if root != "/" {
			cwd, _ := os.Readlink(filepath.Join(filepath.Dir(path), "cwd")) // it may have ended
			if !strings.Contains(line, root) && !strings.HasPrefix(cwd, root) {
				continue
			}
		}
		out = append(out, Process{pid, line})
	}
	return out
}

func interpreter(word string) bool {
	name := filepath.Base(word)
	return strings.HasPrefix(name, "python") || slices.Contains([]string{"sh", "bash", "dash", "busybox"}, name)
}

// EarlierRunning are the processes of the earlier system that this process can see on this host.
func EarlierRunning() []Process { return earlierProcesses("/", "/proc") }

// ConfigOf is the configuration file that a process of the earlier system was given, by a full path; "" when it was not.
func (p Process) ConfigOf() string {
	words := strings.Fields(p.Line)
	for i, w := range words[:max(len(words)-1, 0)] {
		if w == "--configs" || w == "--config" {
			if filepath.IsAbs(words[i+1]) {
				return words[i+1]
			}
			cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID))
			if err != nil {
				return ""
			}
			return filepath.Join(cwd, words[i+1])
		}
	}
	return ""
}

// endPatience is how long a process of the earlier system may take to end.
const endPatience = 10 * time.Second

// stopEarlier stops and disables the earlier system. What it did is in the record, for an undo.
func (j *job) stopEarlier(ctx context.Context) error {
	e := j.earlier
	slices.SortFunc(e.Names, func(a, b string) int { // timers first: they start the services
		return strings.Compare(filepath.Ext(b), filepath.Ext(a))
	})
	for _, n := range e.Names {
		j.rec.Earlier = append(j.rec.Earlier, j.inspect(ctx, n))
	}
	date := j.now().Format("20060102")
	for _, table := range e.Cron {
		if err := j.keep(table); err != nil {
			return fmt.Errorf("keep %s: %w", table, err)
		}
	}
	for _, path := range e.Units {
		if err := j.keep(path); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
	}
	for _, p := range e.Processes {
		j.rec.Ended = append(j.rec.Ended, p.Line)
	}
	if err := j.save(j.rec); err != nil {
		return fmt.Errorf("write what an undo needs: %w", err)
	}
	for _, table := range e.Cron {
		text, err := os.ReadFile(table)
		if err != nil {
			return err
		}
		info, err := os.Stat(table)
		if err != nil {
			return err
		}
		if err := write(table, withoutCron(text, date), info.Mode().Perm()); err != nil {
			return fmt.Errorf("disable the lines of %s: %w", table, err)
		}
	}
	if j.systemd {
		for _, n := range e.Names {
			if err := j.systemctl(ctx, "disable", "--now", n); err != nil {
				return err
			}
		}
	}
	if err := j.end(ctx); err != nil {
		return err
	}
	for _, path := range e.Units {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	j.done("earlier system", "stopped and disabled: %s", e)
	return nil
}

// end asks the processes that are left to end, and waits until they have.
func (j *job) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	asked := map[int]bool{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		left := earlierProcesses(j.root, "/proc")
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			if asked[p.PID] {
				continue
			}
			asked[p.PID] = true
			if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop process %d (%s) of the earlier system: %w", p.PID, p.Line, err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d (%s) of the earlier system does not end", left[0].PID, left[0].Line)
		}
	}
}

// archive moves the earlier system's files into a directory beside them.
func (j *job) archive() error {
	e := j.earlier
	dir := e.Dir
	if dir == "" {
		dir = j.lib()
	}
	base := filepath.Join(dir, ".obsolete_"+j.now().Format("20060102"))
	for n := 2; ; n++ {
		if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
			break
		}
		base = filepath.Join(dir, fmt.Sprintf(".obsolete_%s_%d", j.now().Format("20060102"), n))
	}
	for _, f := range e.Files {
		rel, err := filepath.Rel(dir, f)
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = strings.TrimPrefix(strings.TrimPrefix(f, j.root), "/")
		}
		j.rec.Moved = append(j.rec.Moved, moved{f, filepath.Join(base, rel)})
	}
	j.rec.Archive = base
	if err := j.save(j.rec); err != nil {
		return err
	}
	for _, m := range j.rec.Moved {
		if err := move(m.From, m.To); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("archive %s: %w", m.From, err)
		}
	}
	// The units have gone their way already; people look for them here, too.
	for _, k := range j.rec.Files {
		if k.Was == "file" && slices.Contains(e.Units, k.Path) {
			if err := copyFile(k.Copy, filepath.Join(base, "units", filepath.Base(k.Path)), 0o644); err != nil {
				return fmt.Errorf("archive %s: %w", k.Path, err)
			}
		}
	}
	j.done("archive", "the earlier system's files are in %s", base)
	return nil
}
