package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/state"
)

// rollBack undoes a deployment that did not come well, and says what runs now.
func (j *job) rollBack(ctx context.Context, res Result, why error) Result {
	ctx = context.WithoutCancel(ctx) // whoever is impatient now would leave a host without a controller
	now, err := j.undo(ctx, j.rec)
	res.Outcome, res.Error, res.Running = RolledBack, why.Error(), now
	res.Hint = "the version before runs again"
	if j.rec.From == "" {
		res.Hint = "wanctl was not there before, and nothing of it runs"
		if len(j.rec.Earlier) > 0 {
			res.Hint = "the earlier system runs again"
		}
	}
	if err != nil {
		res.Outcome, res.Hint = Broken, "look at the host: systemctl status 'wanctl*', journalctl -u 'wanctl*'"
		res.Error += "; and going back: " + err.Error()
		return res
	}
	if err := os.Remove(j.unfinished()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		res.Outcome, res.Error = Broken, res.Error+"; "+err.Error()
	}
	return res
}

// recover undoes a deployment whose process died in the middle.
func (j *job) recover(ctx context.Context) error {
	b, err := os.ReadFile(j.unfinished())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	id := strings.TrimSpace(string(b))
	rec, err := j.load(id)
	if err != nil {
		return fmt.Errorf("a deployment of %s was interrupted, and what an undo needs cannot be read: %w", id, err)
	}
	j.say("recover", Warning, "the deployment of %s was interrupted: it is undone first", id)
	if _, err := j.undo(ctx, rec); err != nil {
		return fmt.Errorf("undo the interrupted deployment of %s: %w", id, err)
	}
	return os.Remove(j.unfinished())
}

// undo puts everything back as a record has it. It goes on after a failure: the more is back, the better.
func (j *job) undo(ctx context.Context, rec *record) ([]Running, error) {
	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			j.say("roll back", Failed, "%s: %v", what, err)
		}
	}
	before := j.running()
	var again, names []string
	var over []service
	earlier := slices.ContainsFunc(rec.Earlier, func(s service) bool { return s.Active })
	for _, s := range rec.Services {
		if !s.Active {
			over = append(over, s)
		} else if !s.Alias {
			again, names = append(again, s.Name), append(names, s.Runs)
		}
		if s.Runs != "" && (s.Active || earlier) {
			j.handover([]string{s.Runs}) // somebody takes over; else the exit rates are right
		}
	}
	if j.systemd && len(over) > 0 {
		// The units are known to the manager only once it has read them.
		_ = j.systemctl(ctx, "daemon-reload")
		for _, s := range over {
			if j.inspect(ctx, s.Name).Active {
				try("stop "+s.Name, j.systemctl(ctx, "stop", s.Name))
			}
			if !s.Enabled {
				_ = j.systemctl(ctx, "disable", s.Name) // it may not have come so far
			}
		}
	}
	if rec.From == "" {
		err := os.Remove(j.current())
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		try("take the new version out of force", err)
	} else {
		try("switch back to "+rec.From, point(j.current(), "versions/"+rec.From))
	}
	for _, m := range slices.Backward(rec.Moved) {
		if _, err := os.Lstat(m.To); err == nil {
			try("put "+m.From+" back", move(m.To, m.From))
		}
	}
	if rec.Archive != "" {
		try("clear "+rec.Archive, emptied(rec.Archive))
	}
	for _, k := range slices.Backward(rec.Files) {
		try("put "+k.Path+" back", k.back())
	}
	if !j.systemd {
		return nil, errors.Join(errs...)
	}
	try("read the units", j.systemctl(ctx, "daemon-reload"))
	// A version that writes another format has to be stopped before its state is replaced.
	for _, k := range rec.States {
		if foreign(k) && len(again) > 0 {
			try("stop", j.systemctl(ctx, append([]string{"stop"}, again...)...))
			try("put the state "+k.Path+" back", k.back())
		}
	}
	for _, s := range rec.Services {
		if s.Active && strings.HasPrefix(s.Name, queueUnit) {
			try("set the queues up as they were", j.systemctl(ctx, "restart", s.Name))
		}
	}
	for _, s := range append(slices.Clone(rec.Timers), rec.Earlier...) {
		if s.Enabled {
			try("enable "+s.Name, j.systemctl(ctx, "enable", s.Name))
		}
		if s.Active {
			start := []string{"start", s.Name}
			if s.Starting {
				start = append(start, "--no-block")
			}
			try("start "+s.Name, j.systemctl(ctx, start...))
		}
	}
	for _, line := range rec.Ended {
		if len(rec.Earlier) == 0 {
			j.say("roll back", Warning, "start it again by hand: %s", line)
		}
	}
	if len(again) == 0 {
		return nil, errors.Join(errs...)
	}
	try("start", j.systemctl(ctx, append([]string{"restart"}, again...)...))
	now, err := j.healthy(ctx, names, before, undoPatience)
	if err != nil {
		// It may not have been well before: that it runs is what an undo can do.
		j.say("roll back", Warning, "%s is back, and %v", rec.From, err)
	}
	return now, errors.Join(errs...)
}

// emptied removes an archive whose files are back. What somebody else put there stays.
func emptied(archive string) error {
	if err := os.RemoveAll(filepath.Join(archive, "units")); err != nil { // copies; the units themselves are put back
		return err
	}
	var dirs []string
	err := filepath.WalkDir(archive, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d) // one that is not empty stays
	}
	return err
}

// undoPatience is how long the version before may take to be healthy.
const undoPatience = time.Minute

// foreign says that a state file has another format than the one that was kept.
func foreign(k kept) bool {
	if k.Was != "file" {
		return false
	}
	now, err := os.ReadFile(k.Path)
	was, werr := os.ReadFile(k.Copy)
	return werr == nil && (err != nil || state.SchemaOf(now) != state.SchemaOf(was))
}

// Rollback puts the version before into force.
func Rollback(ctx context.Context, root, by string, opt Options) Result {
	j := &job{place: place{root}, opt: opt}
	id := j.currentID()
	res := Result{Outcome: Refused, From: id}
	release, err := j.lock(by, "going back", j.now())
	if err != nil {
		res.Error = err.Error()
		return res
	}
	defer release()
	j.systemd = j.hasSystemd()
	if err := j.recover(ctx); err != nil {
		res.Outcome, res.Error = Broken, err.Error()
		return res
	}
	if id == "" {
		res.Error, res.Hint = "no version that was deployed is in force here", "look at "+filepath.Join(j.lib(), "versions")
		return res
	}
	rec, err := j.load(id)
	if err != nil {
		res.Error, res.Hint = fmt.Sprintf("nobody knows what was before %s: %v", id, err), "deploy the version that you want"
		return res
	}
	if _, err := os.Stat(j.version(rec.From)); rec.From != "" && err != nil {
		res.Error, res.Hint = fmt.Sprintf("%s is not kept any more", rec.From), "deploy the version that you want"
		return res
	}
	if err := write(j.unfinished(), []byte(id+"\n"), 0o600); err != nil {
		res.Error, res.Hint = err.Error(), "nothing was changed"
		return res
	}
	j.rec = rec
	now, err := j.undo(ctx, rec)
	res.Outcome, res.To, res.Running = RolledBack, rec.From, now
	if err == nil {
		err = os.Remove(j.unfinished())
	}
	if err != nil {
		res.Outcome, res.Error, res.Hint = Broken, err.Error(), "call it again; it goes on where it was"
		return res
	}
	j.done("roll back", "%s", backTo(rec))
	if !j.systemd {
		res.Remaining = j.byHandBack(rec)
	}
	return res
}

func backTo(rec *record) string {
	switch {
	case rec.From != "":
		return rec.From + " is in force"
	case len(rec.Earlier) > 0:
		return "the earlier system is back"
	}
	return "wanctl is not in force any more; " + rec.To + " is kept"
}

// byHandBack is what an undo without systemd leaves to do.
func (j *job) byHandBack(rec *record) []string {
	var steps []string
	for _, pid := range pids(j.running()) {
		steps = append(steps, fmt.Sprintf("kill %d", pid))
	}
	if rec.From != "" {
		steps = append(steps, j.program()+" run "+j.config("*.yaml"))
	}
	return append(steps, rec.Ended...)
}
