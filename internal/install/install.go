package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
)

// Options are what a deployment on this host works with.
type Options struct {
	// Program is the new version's binary, as it was uploaded.
	Program string
	// Units holds the units, by their names in the directory "systemd".
	Units fs.FS
	// Report takes every step as it happens.
	Report func(Event)
	// Now is the time of day.
	Now func() time.Time
}

// job is one deployment.
type job struct {
	place
	opt     Options
	b       Bundle
	id      string
	systemd bool
	// group is the number of ConfigGroup.
	group   int
	rec     *record
	earlier *Earlier
	// files are the parsed configurations in the bundle's order, names what their controllers are called.
	files []*config.File
	names []string
	// before are the controllers that ran.
	before []Running
}

func (j *job) now() time.Time { return j.opt.Now() }

func (j *job) say(step string, state State, format string, a ...any) {
	j.opt.Report(Event{step, state, fmt.Sprintf(format, a...)})
}

func (j *job) done(step, format string, a ...any) { j.say(step, Done, format, a...) }

// Install puts the bundle's version into force. It never leaves a host half-done: what goes wrong after the first change is
// undone, and a version that is not healthy in time is replaced by the one before.
func Install(ctx context.Context, b Bundle, opt Options) Result {
	j := &job{place: place{b.Root}, opt: opt, b: b, id: b.id()}
	refuse := func(err error, hint string) Result {
		return Result{Outcome: Refused, From: j.currentID(), Error: err.Error(), Hint: hint}
	}
	release, err := j.lock(b.By, "deployment of "+b.Version, j.now())
	if err != nil {
		return refuse(err, "")
	}
	defer release()
	j.systemd = j.hasSystemd()
	if now := j.currentID(); strings.HasPrefix(now, j.id+".") { // put into force anew
		j.id = now
	}
	if err := j.recover(ctx); err != nil {
		return Result{Outcome: Broken, From: j.currentID(), Error: err.Error(), Hint: "look at " + j.lib()}
	}
	if j.group, err = j.configGroup(ctx); err != nil {
		return refuse(err, "make it: groupadd --system "+ConfigGroup)
	}
	if err := j.unpack(); err != nil {
		return refuse(err, "nothing was changed")
	}
	if err := j.validate(ctx); err != nil {
		_ = os.RemoveAll(j.version(j.id)) // it was made just now, and never in force
		return refuse(err, "mend the configuration; the version before still runs")
	}
	if hint, err := j.survey(ctx); err != nil {
		return refuse(err, hint)
	}
	if j.same(ctx) {
		j.done("compare", "%s runs already, and is healthy", j.id)
		return Result{Outcome: Unchanged, From: j.id, To: j.id, Running: j.before}
	}
	if j.currentID() == j.id { // it is in force and not well
		j.rename()
		if err := j.unpack(); err != nil {
			return refuse(err, "nothing was changed")
		}
	}
	return j.switchOver(ctx)
}

// unpack makes the version's directory from what was uploaded. It is complete under its name or not there.
func (j *job) unpack() error {
	sum, err := Sum(j.opt.Program)
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	if sum != j.b.Binary {
		return fmt.Errorf("the program %s is not the one that was sent: its SHA-256 is %s, want %s", j.opt.Program, sum, j.b.Binary)
	}
	if j.currentID() == j.id && !j.whole() {
		j.rename()
	}
	if j.whole() {
		return nil
	}
	tmp := j.version(".new-" + j.id)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	fail := func(err error) error {
		_ = os.RemoveAll(tmp)
		return fmt.Errorf("unpack the new version: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(tmp, "etc"), 0o755); err != nil {
		return fail(err)
	}
	if err := copyFile(j.opt.Program, filepath.Join(tmp, "wanctl"), 0o755); err != nil {
		return fail(err)
	}
	for _, c := range j.b.configs() {
		// A configuration may hold a password: it is for root and the group that the units are in.
		if err := writeFor(filepath.Join(tmp, "etc", c.Name), []byte(c.Text), 0o640, os.Geteuid(), j.group); err != nil {
			return fail(err)
		}
	}
	text, err := json.MarshalIndent(j.b, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := write(filepath.Join(tmp, "bundle.json"), append(text, '\n'), 0o600); err != nil {
		return fail(err)
	}
	if err := os.RemoveAll(j.version(j.id)); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, j.version(j.id)); err != nil {
		return fail(err)
	}
	return nil
}

// rename gives the version a name that is free: one in force is never written to, and its record is the way back.
func (j *job) rename() {
	for n := 2; ; n++ {
		j.id = fmt.Sprintf("%s.%d", j.b.id(), n)
		if _, err := os.Lstat(j.version(j.id)); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// whole says that the version's directory holds what was sent.
func (j *job) whole() bool {
	sum, err := Sum(filepath.Join(j.version(j.id), "wanctl"))
	if err != nil || sum != j.b.Binary {
		return false
	}
	for _, c := range j.b.configs() {
		b, err := os.ReadFile(filepath.Join(j.version(j.id), "etc", c.Name))
		if err != nil || string(b) != c.Text {
			return false
		}
	}
	return true
}

// validate lets the new program judge the new configurations, on the host they are for.
func (j *job) validate(ctx context.Context) error {
	args := []string{"check"}
	for _, c := range j.b.configs() {
		args = append(args, filepath.Join(j.version(j.id), "etc", c.Name))
	}
	_, said, err := j.self(ctx, filepath.Join(j.version(j.id), "wanctl"), args...)
	said = strings.TrimSpace(strings.ReplaceAll(said, filepath.Join(j.version(j.id), "etc")+"/", ""))
	if err != nil {
		if said == "" {
			said = err.Error()
		}
		return fmt.Errorf("wanctl check refuses the configurations on this host:\n%s", said)
	}
	if said != "" {
		j.say("check", Warning, "%s", said)
	}
	for _, c := range j.b.configs() {
		f, ds := config.Parse(c.Name, strings.NewReader(c.Text), config.Options{Dirs: config.Dirs{Run: j.run(), State: j.state()}})
		switch {
		case f == nil:
			return fmt.Errorf("%s cannot be read: %w", c.Name, ds.Err())
		case (f.Steering != nil) != (c.Unit == SteeringUnit):
			return fmt.Errorf("%s is in the wrong place of the inventory: WAN configurations belong under wans, that of steering under steering", c.Name)
		case f.WAN != nil:
			j.names = append(j.names, f.WAN.Name)
		default:
			j.names = append(j.names, daemon.SteeringID(f.Steering))
		}
		j.files = append(j.files, f)
	}
	j.done("check", "%d configurations are good for this host", len(j.files))
	return nil
}

// survey looks at what is there, and refuses what cannot be taken over.
func (j *job) survey(ctx context.Context) (hint string, err error) {
	if kind, remove := j.packaged(); kind != "" {
		return "upgrade with the package, or remove it first: " + remove, fmt.Errorf("the %s wanctl is installed on this host", kind)
	}
	j.before = j.running()
	if j.systemd {
		for i, c := range j.b.configs() {
			runs := slices.ContainsFunc(j.before, func(r Running) bool { return r.Name == j.names[i] })
			if runs && !j.inspect(ctx, unitOf(c)).Active {
				return "stop it first: wanctl handover and SIGTERM to the process in wanctl status",
					fmt.Errorf("%s is run by a process that %s did not start", j.names[i], unitOf(c))
			}
		}
	}
	j.edited()
	if _, err := os.Lstat(j.at("usr/local/bin/wanctl")); err == nil {
		j.say("compare", Warning, "%s is another program of this name, and comes first in most PATHs: remove it", j.at("usr/local/bin/wanctl"))
	}
	j.earlier = FindEarlier(j.root, "/proc")
	if j.earlier.Found() {
		j.say("earlier system", Note, "found: %s", j.earlier)
	}
	return "", nil
}

// edited warns of configurations that somebody changed on the host since they were deployed.
func (j *job) edited() {
	text, err := os.ReadFile(filepath.Join(j.version(j.currentID()), "bundle.json"))
	var was Bundle
	if j.currentID() == "" || err != nil || json.Unmarshal(text, &was) != nil {
		return
	}
	for _, c := range was.configs() {
		for _, name := range []string{c.Name, c.Unit + ".yaml"} { // an editor may have put a file in the link's place
			if now, err := os.ReadFile(j.config(name)); err == nil && string(now) != c.Text {
				j.say("compare", Warning, "%s was edited on the host; the edit is not carried over, and --rollback brings it back", j.config(name))
				break
			}
		}
	}
}

// same says that this very version is in force and well.
func (j *job) same(ctx context.Context) bool {
	if j.currentID() != j.id || j.earlier.Found() || missing(j.names, nil, j.before) != "" {
		return false
	}
	for _, c := range j.b.configs() {
		if j.systemd && !j.inspect(ctx, unitOf(c)).Active {
			return false
		}
	}
	for name, text := range j.unitFiles() {
		if now, err := os.ReadFile(filepath.Join(j.units(), name)); err != nil || string(now) != text {
			return false
		}
	}
	return true
}

// keep notes in the record how a path is now.
func (j *job) keep(path string) error {
	if slices.ContainsFunc(j.rec.Files, func(k kept) bool { return k.Path == path }) {
		return nil
	}
	k, err := keep(path, filepath.Join(j.version(j.rec.To), "undo"), len(j.rec.Files))
	if err != nil {
		return err
	}
	j.rec.Files = append(j.rec.Files, k)
	return nil
}

// switchOver is the change itself.
func (j *job) switchOver(ctx context.Context) Result {
	j.rec = &record{Run: j.b.Run, From: j.currentID(), To: j.id, Begun: j.now()}
	res := Result{From: j.rec.From, To: j.id}
	err := j.prepare(ctx)
	if err != nil {
		_ = os.Remove(j.unfinished())
		res.Outcome, res.Error, res.Hint = Refused, err.Error(), "nothing was changed"
		return res
	}
	if err = j.put(ctx); err == nil && j.systemd {
		res.Running, err = j.start(ctx)
	}
	if err != nil {
		j.say("health", Failed, "%v", err)
		return j.rollBack(ctx, res, err)
	}
	if j.earlier.Found() {
		if err := j.archive(); err != nil {
			j.say("archive", Warning, "%v; the earlier system is stopped and disabled all the same", err)
		}
	}
	if err := os.Remove(j.unfinished()); err != nil {
		return j.rollBack(ctx, res, err)
	}
	res.Outcome = Installed
	if !j.systemd {
		res.Outcome, res.Remaining = Remains, j.byHand()
	} else {
		res.Doctor = j.doctor(ctx)
	}
	j.prune()
	return res
}

// prepare writes down what an undo needs. Nothing that runs is touched.
func (j *job) prepare(ctx context.Context) error {
	if err := os.RemoveAll(filepath.Join(j.version(j.id), "undo")); err != nil {
		return err
	}
	for i, c := range j.b.configs() {
		s := j.inspect(ctx, unitOf(c))
		s.Runs = j.names[i]
		j.rec.Services = append(j.rec.Services, s)
	}
	for _, q := range j.queues() {
		s := j.inspect(ctx, q)
		s.Alias = true
		j.rec.Services = append(j.rec.Services, s)
	}
	for _, n := range j.timers() {
		if s := j.inspect(ctx, n); s.Active || s.Enabled {
			j.rec.Timers = append(j.rec.Timers, s)
		}
	}
	for _, a := range j.aliases() {
		s := service{Name: a, Alias: true}
		if !slices.Contains(j.earlier.Names, a) { // else it is the earlier system's own
			s = j.inspect(ctx, a)
			s.Alias = true
		}
		j.rec.Services = append(j.rec.Services, s)
	}
	paths := []string{j.program()}
	for _, c := range j.b.configs() {
		paths = append(paths, j.config(c.Name), j.config(c.Unit+".yaml"))
	}
	for name := range j.unitFiles() {
		paths = append(paths, filepath.Join(j.units(), name))
	}
	slices.Sort(paths)
	for _, p := range paths {
		if err := j.keep(p); err != nil {
			return fmt.Errorf("keep what is at %s: %w", p, err)
		}
	}
	for i, f := range j.files {
		path := stateOf(f)
		k, err := keep(path, filepath.Join(j.version(j.id), "undo", "state"), i)
		if err != nil {
			return fmt.Errorf("keep the state %s: %w", path, err)
		}
		j.rec.States = append(j.rec.States, k)
	}
	if err := j.save(j.rec); err != nil {
		return fmt.Errorf("write what an undo needs: %w", err)
	}
	return write(j.unfinished(), []byte(j.id+"\n"), 0o600)
}

func stateOf(f *config.File) string {
	if f.WAN != nil {
		return f.WAN.StateFile
	}
	return f.Steering.StateFile
}

// put places links and units, and makes the new version the current one by one rename.
func (j *job) put(ctx context.Context) error {
	if j.earlier.Found() {
		if err := j.stopEarlier(ctx); err != nil {
			return err
		}
	}
	for name, text := range j.unitFiles() {
		path := filepath.Join(j.units(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := write(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("install the unit %s: %w", name, err)
		}
	}
	for _, dir := range []string{"ssh", "secrets"} { // the units hand them over as credentials
		if err := os.MkdirAll(j.config(dir), 0o700); err != nil {
			return err
		}
	}
	for _, c := range j.b.configs() {
		target := filepath.Join(j.current(), "etc", c.Name)
		for _, name := range []string{c.Name, c.Unit + ".yaml"} {
			if err := pointInside(j.config(name), target); err != nil {
				return fmt.Errorf("install the configuration %s: %w", name, err)
			}
		}
	}
	if err := point(j.current(), "versions/"+j.id); err != nil {
		return fmt.Errorf("switch to the new version: %w", err)
	}
	if err := pointInside(j.program(), filepath.Join(j.current(), "wanctl")); err != nil {
		return fmt.Errorf("install the program: %w", err)
	}
	j.done("switch", "%s is in place%s", j.id, andKept(j.rec.From))
	return nil
}

func andKept(from string) string {
	if from == "" {
		return ""
	}
	return ", " + from + " is kept"
}

// keepVersions is how many versions stay on a host, besides the one in force and the one before.
const keepVersions = 2

// keepLogs is how many deployments' logs stay.
const keepLogs = 50

// prune removes versions that nobody can go back to, and what uploads left.
func (j *job) prune() {
	entries, err := os.ReadDir(filepath.Dir(j.version("x")))
	if err != nil {
		return
	}
	type old struct {
		path string
		at   time.Time
	}
	var all []old
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == j.rec.To || e.Name() == j.rec.From {
			continue
		}
		all = append(all, old{j.version(e.Name()), info.ModTime()})
	}
	slices.SortFunc(all, func(a, b old) int { return b.at.Compare(a.at) })
	for _, o := range all[min(keepVersions, len(all)):] {
		_ = os.RemoveAll(o.path)
	}
	logs, _ := filepath.Glob(filepath.Join(j.lib(), "log", "*.jsonl")) // the pattern is good, and names begin with their time
	for _, l := range logs[:max(len(logs)-keepLogs, 0)] {
		_ = os.Remove(l)
	}
	uploads, _ := filepath.Glob(filepath.Join(j.lib(), "staging", "*")) // the pattern is good
	for _, u := range uploads {
		if info, err := os.Stat(u); err == nil && j.now().Sub(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(u)
		}
	}
}
