package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/daemon"
)

// systemctlPatience bounds one call: a unit may take a minute to start.
const systemctlPatience = 2 * time.Minute

// hasSystemd says whether the host under root is run by systemd.
func (p place) hasSystemd() bool {
	info, err := os.Stat(p.at("run/systemd/system"))
	if err != nil || !info.IsDir() {
		return false
	}
	_, err = exec.LookPath("systemctl")
	return err == nil
}

// ConfigGroup may read the configurations that a deployment puts in place: the units' user, which is lent, is in it.
const ConfigGroup = "wanctl-config"

// configGroup is the number of ConfigGroup, which is made where it is missing and units need it; without systemd and the group, root's.
func (j *job) configGroup(ctx context.Context) (int, error) {
	if gid, ok := j.groupID(); ok || !j.systemd {
		return gid, nil
	}
	text, err := fs.ReadFile(j.opt.Units, "systemd/sysusers/wanctl.conf")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemd-sysusers", "--root="+j.root, "-")
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	gid, ok := j.groupID()
	if !ok && err == nil {
		err = errors.New("it is not there afterwards")
	}
	if err != nil {
		return 0, fmt.Errorf("make the group %s: systemd-sysusers: %w: %s", ConfigGroup, err, strings.TrimSpace(string(out)))
	}
	return gid, nil
}

// ConfigGroupID is the number of [ConfigGroup] on this host, where it has one.
func ConfigGroupID() (int, bool) { return place{"/"}.groupID() }

// groupID looks ConfigGroup up in the host's own table.
func (p place) groupID() (int, bool) {
	text, err := os.ReadFile(p.at("etc/group"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Split(strings.TrimSpace(line), ":"); len(words) == 4 && words[0] == ConfigGroup {
			gid, err := strconv.Atoi(words[2])
			return gid, err == nil
		}
	}
	return 0, false
}

// packaged says which kind of package owns the program, and how it is removed; "" for none.
func (p place) packaged() (kind, remove string) {
	if _, err := os.Stat(p.at("var/lib/dpkg/info/wanctl.list")); err == nil {
		return "Debian package", "apt-get remove wanctl"
	}
	if text, err := os.ReadFile(p.at("lib/apk/db/installed")); err == nil && strings.Contains("\n"+string(text), "\nP:wanctl\n") {
		return "apk package", "apk del wanctl"
	}
	if _, err := os.Stat(p.at("usr/lib/systemd/system/wanctl@.service")); err == nil { // a deployment's units are in /etc
		return "rpm package", "rpm -e wanctl"
	}
	return "", ""
}

// systemctl runs one command. Its text is in the error.
func (j *job) systemctl(ctx context.Context, args ...string) error {
	_, err := j.ask(ctx, args...)
	return err
}

// ask does the same and returns what it printed to standard output, in one line: it warns of this and that beside it.
func (j *job) ask(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, systemctlPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	text := strings.Join(strings.Fields(out.String()), " ")
	if err != nil {
		said := strings.Join(strings.Fields(errs.String()), " ")
		return text, fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, said[:min(len(said), 300)])
	}
	return text, nil
}

// inspect says how a unit is now.
func (j *job) inspect(ctx context.Context, name string) service {
	s := service{Name: name}
	if j.systemd {
		// The words tell more than the exit codes: a unit that is started again and again is to go on so, and one that is
		// static cannot be enabled.
		active, _ := j.ask(ctx, "is-active", name)
		enabled, _ := j.ask(ctx, "is-enabled", name)
		s.Starting = active == "activating"
		s.Active = active == "active" || s.Starting || active == "reloading"
		s.Enabled = enabled == "enabled" || enabled == "enabled-runtime"
	}
	return s
}

// running asks the controllers that are there.
func (j *job) running() []Running {
	all, _, _ := daemon.ReadStatus(j.run()) // one that does not answer is not healthy, and not in the list
	var out []Running
	for _, s := range all {
		out = append(out, Running{Name: s.Name, Version: s.Version, PID: s.PID, Healthy: s.Healthy && proved(s), Why: why(s)})
	}
	return out
}

// graceS is how long a controller calls itself well with nothing to show for it, in seconds, and a little more.
const graceS = 12

// proved says that a controller has seen what it works with, or would have said by now that it has not.
func proved(s daemon.Status) bool {
	switch {
	case s.UptimeS > graceS:
		return true
	case s.WAN != nil:
		return s.WAN.AgeS >= 0 && s.WAN.ReadBack.Down > 0 && s.WAN.ReadBack.Up > 0 && s.WAN.ReadAgeS >= 0 && s.WAN.LastErr == ""
	}
	return s.Steer == nil || s.Steer.RuleAgeS >= 0 && s.Steer.LastErr == ""
}

func why(s daemon.Status) []string {
	switch {
	case !s.Healthy || proved(s):
		return s.Why
	case s.WAN != nil && s.WAN.LastErr != "":
		return []string{s.WAN.LastErr}
	case s.Steer != nil && s.Steer.LastErr != "":
		return []string{s.Steer.LastErr}
	}
	return []string{"has no reply to its probes, or has not read the router, yet"}
}

// handover lets processes that are about to stop leave the router as it is.
func (j *job) handover(names []string) {
	for _, n := range names {
		boot, err := daemon.BootSeen(j.run(), n)
		if err == nil {
			err = daemon.WriteHandover(j.run(), n, boot, daemon.HostClock{}.Now())
		}
		if err != nil {
			j.say("hand over", Warning, "the stop of %s will put the exit rates on the router: %v", n, err)
		}
	}
}

// steady is how long all have to be healthy without a break before they are believed.
const steady = 2 * time.Second

// healthy waits until every name answers as healthy by another process than before, for some time. The error says what is
// missing.
func (j *job) healthy(ctx context.Context, names []string, before []Running, within time.Duration) ([]Running, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	old := map[string]int{}
	for _, r := range before {
		old[r.Name] = r.PID
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var since time.Time
	for {
		now := j.running()
		why := missing(names, old, now)
		switch {
		case why != "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= steady:
			return now, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if why == "" {
				why = "not for " + steady.String() + " yet"
			}
			return now, fmt.Errorf("not healthy within %s: %s", within, why)
		}
	}
}

// missing says what is not as it should be, "" when all is.
func missing(names []string, old map[string]int, now []Running) string {
	var bad []string
	for _, n := range names {
		why := "does not answer"
		for _, r := range now {
			switch {
			case r.Name != n:
			case r.PID == old[n]:
				why = fmt.Sprintf("is still process %d of before", r.PID)
			case !r.Healthy:
				why = strings.Join(r.Why, ", ")
			default:
				why = ""
			}
		}
		if why != "" {
			bad = append(bad, n+" "+why)
		}
	}
	return strings.Join(bad, "; ")
}

// self runs a command of a version of wanctl on this host, and returns what it printed.
func (j *job) self(ctx context.Context, program string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+j.run(), "STATE_DIRECTORY="+j.state())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
