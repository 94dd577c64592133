package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/install"
	"wanctl/internal/remote"
)

// Outcomes that only the one who deploys knows of.
const (
	// Planned: --dry-run; the host is good, and nothing was changed.
	Planned install.Outcome = "planned"
	// Unreached: the host did not pass the checks; nothing was changed there.
	Unreached install.Outcome = "not reached"
	// Untouched: the host is good, and nothing was changed because another one was not.
	Untouched install.Outcome = "untouched"
	// Unknown: the connection was lost and did not come back. The host ends what was begun by itself.
	Unknown install.Outcome = "unknown"
)

// Options are one deployment.
type Options struct {
	Hosts    []Host
	Programs *Programs
	// By is who deploys, as user@machine; Run names the deployment.
	By, Run string
	// DryRun checks and changes nothing, Rollback goes back, KeepGoing goes on with the others when a host fails.
	DryRun, Rollback, KeepGoing bool
	// Healthy is how long a new version may take to be healthy, Return how long a lost connection is waited for.
	Healthy, Return time.Duration
	// Agent is the socket of an ssh-agent, empty for none.
	Agent string
	// Passphrase asks for a key's, Password for sudo's on a host. nil has nobody to ask.
	Passphrase func(ctx context.Context, keyFile string) (string, error)
	Password   func(ctx context.Context, h Host) (string, error)
	// Report takes each step as it happens.
	Report func(host string, e install.Event)
}

// HostResult is what became of one host.
type HostResult struct {
	Host    string `json:"host"`
	Address string `json:"address"`
	Arch    string `json:"arch,omitempty"`
	install.Result
}

// Summary is what became of all.
type Summary struct {
	// OK says that every host runs what it should.
	OK    bool         `json:"ok"`
	Run   string       `json:"run"`
	Hosts []HostResult `json:"hosts"`
	back  bool         // it was a way back
}

// Remains says that nothing failed, and that steps are left to somebody else.
func (s Summary) Remains() bool {
	for _, h := range s.Hosts {
		if h.Outcome == install.Remains {
			return !s.failed()
		}
	}
	return false
}

func (s Summary) failed() bool {
	for _, h := range s.Hosts {
		if bad(h.Outcome, s.back) {
			return true
		}
	}
	return false
}

// good says that a host runs what it should; back, that the version before is meant.
func good(o install.Outcome, back bool) bool {
	return o == install.Installed || o == install.Unchanged || o == Planned || back && o == install.RolledBack
}

// bad says that an outcome is a failure, and a reason not to go on to the next host.
func bad(o install.Outcome, back bool) bool { return !good(o, back) && o != install.Remains }

// deployment is one call of Deploy.
type deployment struct {
	opt     Options
	targets []*target
	results []HostResult
}

// Deploy brings the hosts to what the inventory says. It returns a result for each, in their order.
func Deploy(ctx context.Context, o Options) Summary {
	d := &deployment{opt: o, targets: make([]*target, len(o.Hosts)), results: make([]HostResult, len(o.Hosts))}
	defer func() {
		for _, t := range d.targets {
			if t != nil {
				t.conn.Close()
			}
		}
	}()
	for i, h := range o.Hosts {
		d.results[i] = HostResult{Host: h.Name, Address: fmt.Sprintf("%s:%d", h.Address, h.Port), Result: install.Result{Outcome: Untouched}}
	}
	whole := true
	for i := range o.Hosts {
		if err := d.check(ctx, i); err != nil {
			d.results[i].Result = failure(Unreached, err)
			d.say(i, "check", install.Failed, "%v", err)
			whole = false
		}
	}
	failed := !whole && !o.KeepGoing
	for i := range o.Hosts {
		switch {
		case d.targets[i] == nil:
		case failed:
			d.results[i].Error = "not touched, because another host failed"
			d.results[i].Hint = "mend that one, or deploy with --keep-going or --only " + o.Hosts[i].Name
		case o.DryRun:
			d.results[i].Result = d.plan(i)
		default:
			d.results[i].Result = d.one(ctx, i)
			failed = !o.KeepGoing && bad(d.results[i].Outcome, o.Rollback)
		}
	}
	s := Summary{Run: o.Run, Hosts: d.results, OK: true, back: o.Rollback}
	for _, r := range s.Hosts {
		s.OK = s.OK && good(r.Outcome, o.Rollback)
	}
	return s
}

func failure(o install.Outcome, err error) install.Result {
	r := install.Result{Outcome: o, Error: err.Error()}
	var e *remote.Error
	if errors.As(err, &e) {
		r.Hint = e.Hint
	}
	return r
}

func (d *deployment) say(i int, step string, state install.State, format string, a ...any) {
	d.opt.Report(d.opt.Hosts[i].Name, install.Event{Step: step, State: state, Text: fmt.Sprintf(format, a...)})
}

// check connects to a host and looks whether it can be deployed to.
func (d *deployment) check(ctx context.Context, i int) error {
	h := d.opt.Hosts[i]
	var files []install.Config
	if !d.opt.Rollback {
		var err error
		if files, err = configs(h); err != nil {
			return err
		}
	}
	conn, err := d.dial(ctx, h)
	if err != nil {
		return err
	}
	t := &target{host: h, configs: files, conn: conn}
	programs := d.opt.Programs
	if d.opt.Rollback {
		programs = nil // what is there already is what goes back
	}
	if err := t.look(ctx, programs); err != nil {
		conn.Close()
		return err
	}
	d.targets[i], d.results[i].Arch = t, t.facts.Arch
	d.say(i, "check", install.Done, "%s", t.facts)
	return nil
}

func (d *deployment) dial(ctx context.Context, h Host) (*remote.Host, error) {
	o := remote.Options{
		Name: h.Name, Address: h.Address, Port: h.Port, User: h.User, Key: h.Key, KnownHosts: h.KnownHosts, Agent: d.opt.Agent,
		Sudo: h.Sudo, Passphrase: d.opt.Passphrase,
	}
	if d.opt.Password != nil {
		o.Password = func(ctx context.Context) (string, error) { return d.opt.Password(ctx, h) }
	}
	return remote.Dial(ctx, o)
}

// plan says what a deployment would do.
func (d *deployment) plan(i int) install.Result {
	t, h := d.targets[i], d.opt.Hosts[i]
	r := install.Result{Outcome: Planned, From: t.facts.Current}
	say := func(format string, a ...any) { d.say(i, "would", install.Note, format, a...) }
	if d.opt.Rollback {
		say("go back to the version before %s", t.facts.Current)
		return r
	}
	p, err := d.opt.Programs.For(t.facts.Arch)
	if err != nil {
		return failure(Unreached, err)
	}
	say("send %s (%d MiB) to %s", p.Path, p.Size>>20, t.rooms()[0])
	for _, w := range h.WANs {
		say("install %s as %s", w, filepath.Join(h.Root, "etc/wanctl", Unit(w)+".yaml"))
	}
	if h.Steering != "" {
		say("install %s as %s", h.Steering, filepath.Join(h.Root, "etc/wanctl/steering.yaml"))
	}
	if len(t.facts.Earlier) > 0 {
		say("stop, disable and archive the earlier system: %s", strings.Join(t.facts.Earlier, " "))
	}
	switch {
	case !t.facts.Writable:
		say("print the step that root has to take")
	case !t.facts.Systemd:
		say("print how to start it without systemd")
	default:
		say("start it, and go back if it is not healthy within %s", d.opt.Healthy)
	}
	return r
}

// configs reads a host's configurations and refuses what no host could run.
func configs(h Host) ([]install.Config, error) {
	var out []install.Config
	paths := h.WANs
	if h.Steering != "" {
		paths = append(append([]string(nil), paths...), h.Steering)
	}
	var bad []string
	for i, path := range paths {
		unit := install.SteeringUnit
		if i < len(h.WANs) {
			unit = Unit(path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			bad = append(bad, fmt.Sprintf("configuration: %v", err))
			continue
		}
		f, ds := config.Parse(path, strings.NewReader(string(text)), config.Options{Dirs: config.Dirs{Run: "/run/wanctl", State: "/var/lib/wanctl"}})
		switch {
		case f == nil:
			bad = append(bad, strings.TrimSpace(ds.Errors().String()))
			continue
		case (f.Steering != nil) != (unit == install.SteeringUnit):
			bad = append(bad, path+" is in the wrong place: WAN configurations belong under wans, that of steering under steering")
		}
		out = append(out, install.Config{Name: filepath.Base(path), Unit: unit, Text: string(text)})
	}
	if len(bad) > 0 {
		return nil, errors.New(strings.Join(bad, "\n"))
	}
	return out, nil
}

// bundle is what one host gets.
func (d *deployment) bundle(t *target, p Program, version string) ([]byte, error) {
	h, all := t.host, t.configs
	b := install.Bundle{
		Format: install.Format, Run: d.opt.Run, Host: h.Name, By: d.opt.By, Root: h.Root, Version: version, Binary: p.Sum,
		WANs: all[:len(h.WANs)], HealthyS: d.opt.Healthy.Seconds(),
	}
	if h.Steering != "" {
		b.Steering = &all[len(all)-1]
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	return json.MarshalIndent(b, "", "  ")
}

// one deploys to a host.
func (d *deployment) one(ctx context.Context, i int) install.Result {
	t, h := d.targets[i], d.opt.Hosts[i]
	if d.opt.Rollback {
		if !t.facts.Writable {
			return install.Result{Outcome: install.Remains, From: t.facts.Current, Remaining: []string{
				fmt.Sprintf("%s/current/wanctl install --rollback --root %s", install.Lib(h.Root), remote.Quote(h.Root)),
			}}
		}
		if t.facts.Current == "" {
			return install.Result{Outcome: install.Refused, Error: "no version that was deployed is in force there"}
		}
		return d.attend(ctx, i, `exec "$1/current/wanctl" install --rollback --root "$2" --by "$3" --run "$4" --json`,
			[]string{install.Lib(h.Root), h.Root, d.opt.By, d.opt.Run})
	}
	p, err := d.opt.Programs.For(t.facts.Arch)
	if err != nil {
		return failure(install.Refused, err)
	}
	err = t.upload(ctx, p, func(version string) ([]byte, error) { return d.bundle(t, p, version) })
	if err != nil {
		d.say(i, "send", install.Failed, "%v", err)
		t.clear(ctx)
		r := failure(install.Refused, err)
		r.From = t.facts.Current
		if r.Hint == "" || remote.IsKind(err, remote.Lost) {
			r.Hint = "nothing was changed; what ran still runs"
		}
		return r
	}
	d.say(i, "send", install.Done, "%s, %d MiB and %d configurations", filepath.Base(p.Path), p.Size>>20, len(h.WANs)+min(len(h.Steering), 1))
	if !t.facts.Writable {
		step := fmt.Sprintf("%s install %s", remote.Quote(t.room+"/wanctl"), remote.Quote(t.room+"/bundle.json"))
		d.say(i, "install", install.Note, "this user may not: as root on %s, run: %s", h.Name, step)
		return install.Result{Outcome: install.Remains, From: t.facts.Current, Remaining: []string{step}}
	}
	r := d.attend(ctx, i, `exec "$1/wanctl" install "$1/bundle.json" --json`, []string{t.room})
	if r.Outcome != Unknown {
		t.clear(ctx)
	}
	return r
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// attend runs a deployment on its host and hands on what it says. When the connection is lost it comes back and asks: the
// host goes on by itself.
func (d *deployment) attend(ctx context.Context, i int, text string, args []string) install.Result {
	t, h := d.targets[i], d.opt.Hosts[i]
	l := &lines{each: func(e install.Event) { d.opt.Report(h.Name, e) }}
	_, err := t.conn.Run(ctx, remote.Script{Op: "install", Text: text, Args: args, Stdout: l})
	if l.result != nil {
		return *l.result
	}
	if err == nil {
		err = errors.New("it ended without a result")
	}
	if !remote.IsKind(err, remote.Lost) || ctx.Err() != nil {
		d.say(i, "install", install.Failed, "%v", err)
		r := failure(install.Broken, err)
		r.Hint = "look at the host; the next deployment undoes what this one left: " + install.LogOf(h.Root, d.opt.Run)
		if ctx.Err() != nil {
			r.Outcome = Unknown
			r.Hint = "the host ends what was begun by itself: " + install.LogOf(h.Root, d.opt.Run)
		}
		return r
	}
	d.say(i, "install", install.Warning, "the connection is lost; the host goes on by itself, and is asked again")
	return d.comeBack(ctx, i, l, err)
}

// mostNone is how often a host may say, a second apart, that nothing was begun, before it is believed.
const mostNone = 4

// comeBack connects again until the host knows the result.
func (d *deployment) comeBack(ctx context.Context, i int, l *lines, lost error) install.Result {
	t, h := d.targets[i], d.opt.Hosts[i]
	ctx, cancel := context.WithTimeout(ctx, d.opt.Return)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	none := 0 // answers that nothing was begun
	for {
		conn, err := d.dial(ctx, h)
		if err == nil {
			t.conn.Close()
			t.conn = conn
			for err == nil {
				l.again()
				_, err = conn.Run(ctx, remote.Script{Op: "ask for the result", Text: logScript, Args: []string{install.LogOf(h.Root, d.opt.Run)}, Stdout: l})
				if l.result != nil {
					return *l.result
				}
				if remote.IsKind(err, remote.Failed) {
					if none++; none == mostNone {
						r := failure(install.Refused, fmt.Errorf("%w, before anything was begun", lost))
						r.From, r.Hint = t.facts.Current, "nothing was changed; what ran still runs"
						return r
					}
					err = nil // it may be about to begin
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r := failure(Unknown, fmt.Errorf("%w; and it did not come back within %s", lost, d.opt.Return))
			r.From = t.facts.Current
			r.Hint = "the host ends what was begun by itself, with the new or the old version: " + install.LogOf(h.Root, d.opt.Run)
			return r
		}
	}
}
