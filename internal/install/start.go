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

	"wanctl/internal/daemon"
)

// start brings the new version up in the place of what ran, and waits until it is healthy.
func (j *job) start(ctx context.Context) ([]Running, error) {
	if err := j.systemctl(ctx, "daemon-reload"); err != nil {
		return nil, err
	}
	if err := errors.Join(lay(j.state()), lay(j.run())); err != nil {
		return nil, err
	}
	var units []string
	for _, c := range j.b.configs() {
		units = append(units, unitOf(c))
	}
	if err := j.stopTimers(ctx); err != nil {
		return nil, err
	}
	for _, q := range j.queues() {
		if err := j.systemctl(ctx, "restart", q); err != nil { // they may be somebody else's, which the controller works with as they are
			j.say("start", Warning, "the queues are not as the configuration has them: see wanctl qdisc plan, or journalctl -u %s: %v", q, err)
		}
	}
	j.handover(j.names)
	if j.foreignStates() {
		// What is stopped writes its state once more, and only then it can be converted.
		if err := j.systemctl(ctx, append([]string{"stop"}, units...)...); err != nil {
			return nil, err
		}
		j.importStates()
	}
	if err := j.systemctl(ctx, append([]string{"enable"}, units...)...); err != nil {
		return nil, err
	}
	if err := j.systemctl(ctx, append([]string{"restart"}, units...)...); err != nil {
		return nil, err
	}
	for _, a := range j.aliases() { // they follow what runs; nobody is without a line for the want of a name
		if err := errors.Join(j.systemctl(ctx, "enable", a), j.systemctl(ctx, "start", a)); err != nil {
			j.say("start", Warning, "the earlier system's name %s does not lead to its unit: %v", a, err)
		}
	}
	j.done("start", "%s", strings.Join(units, ", "))
	now, err := j.healthy(ctx, j.names, j.before, j.b.within())
	if err == nil {
		j.done("health", "%s healthy", strings.Join(j.names, ", "))
	}
	return now, err
}

// stopTimers stops what would run a process per cycle, and waits for the last of these.
func (j *job) stopTimers(ctx context.Context) error {
	if len(j.rec.Timers) == 0 {
		return nil
	}
	for _, s := range j.rec.Timers {
		if err := j.systemctl(ctx, "disable", "--now", s.Name); err != nil {
			return err
		}
		j.say("start", Note, "%s is stopped and disabled: a service takes its place", s.Name)
	}
	var once []string
	for _, c := range j.b.configs() {
		once = append(once, onceOf(c)+".service")
	}
	return j.systemctl(ctx, append([]string{"stop"}, once...)...)
}

// foreignStates says whether a state has to be imported before the start.
func (j *job) foreignStates() bool {
	for _, f := range j.files {
		if daemon.ReadableState(f) != "" {
			return true
		}
	}
	return len(j.earlier.States) > 0
}

// lay makes a directory that the units' StateDirectory= or RuntimeDirectory= names, where it is missing, in the place that it has for a user
// who is lent. One that root made at the name itself is moved there by the first service, and of two that start at once one fails.
func lay(dir string) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, name := filepath.Split(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	private := filepath.Join(parent, "private")
	if err := os.Mkdir(private, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Join(private, name), 0o750); err != nil {
		return err
	}
	return os.Symlink(filepath.Join("private", name), dir)
}

// importStates takes over what other programs and versions have learnt. A line whose state cannot be read learns anew.
func (j *job) importStates() {
	for _, f := range j.files {
		if f.WAN == nil {
			continue
		}
		path := j.earlier.States[f.WAN.Name] // it ran last, whatever of ours may lie there
		if path == "" && daemon.ReadableState(f) != "" {
			path = f.WAN.StateFile
		}
		if path == "" {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			j.say("import", Warning, "%s learns anew: %v", f.WAN.Name, err)
			continue
		}
		learnt, err := daemon.Adopt(f.WAN, daemon.Dirs{Run: j.run(), State: j.state()}, file, true, daemon.HostClock{})
		_ = file.Close()
		if err != nil {
			j.say("import", Warning, "%s learns anew: %s: %v", f.WAN.Name, path, err)
			continue
		}
		j.done("import", "%s: baseline %s, rates %s/%s, of %s", f.WAN.Name, learnt.Baseline, learnt.Rates.Down, learnt.Rates.Up, learnt.From)
	}
}

// doctor asks for everything the set-up rests on. What it finds is told, and is no reason to go back.
func (j *job) doctor(ctx context.Context) json.RawMessage {
	args := []string{"doctor", "--json"}
	for _, c := range j.b.configs() {
		args = append(args, j.config(c.Name))
	}
	out, _, _ := j.self(ctx, j.program(), args...) // its exit code repeats what the findings say
	var found struct {
		Worst    string `json:"worst"`
		Findings []struct {
			ID, Status, Text, Fix string
		} `json:"findings"`
	}
	if json.Unmarshal([]byte(out), &found) != nil {
		j.say("doctor", Warning, "gave no answer")
		return nil
	}
	for _, f := range found.Findings {
		if f.Status == "failed" || f.Status == "warning" {
			j.say("doctor", Warning, "%s: %s (%s)", f.ID, f.Text, f.Fix)
		}
	}
	j.done("doctor", "%d checks, the worst: %s", len(found.Findings), found.Worst)
	return json.RawMessage(out)
}

// byHand is how to start without systemd.
func (j *job) byHand() []string {
	var files []string
	for _, c := range j.b.configs() {
		files = append(files, j.config(c.Name))
	}
	all := strings.Join(files, " ")
	var steps []string
	if len(j.before) > 0 {
		steps = append(steps, j.program()+" handover "+all)
		for _, pid := range pids(j.before) {
			steps = append(steps, fmt.Sprintf("kill %d", pid))
		}
	}
	return append(steps, j.program()+" run "+all)
}

func pids(all []Running) []int {
	var out []int
	for _, r := range all {
		if !slices.Contains(out, r.PID) {
			out = append(out, r.PID)
		}
	}
	return out
}
