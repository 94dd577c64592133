package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/checkup"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/health"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

type doctorCmd struct {
	Files       []string      `arg:"" name:"file" help:"WAN and steering configuration files of one router, or of this host."`
	User        string        `placeholder:"NAME" help:"Log in as this user instead of the files' one, with the password in WANCTL_ADMIN_PASSWORD or asked for."`
	Watch       time.Duration `default:"5s" help:"How long the byte counters are watched."`
	ProbeRouter bool          `help:"Also write rates: the same rate eight times to one queue, to see how many sectors of the router's flash a change writes."`
	JSON        bool          `help:"Print the findings as JSON."`
}

// Help teaches the output.
func (doctorCmd) Help() string {
	return `Checks everything a set-up rests on, and says for each thing that is not so why it matters and what puts it right. A failed
check explains those that rest on it, which are then not looked at. Nothing is changed, but by --probe-router. What could
not be looked at is said, too. The exit code is 0 when all is well (hints are no fault), 1 with a warning, 2 with a failure.

Example:

    wanctl doctor /etc/wanctl/cable.yaml /etc/wanctl/dsl.yaml /etc/wanctl/steering.yaml`
}

// exitBroken is a doctor that found something that does not work.
const exitBroken = 2

// Run examines and reports.
func (c doctorCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	facts, err := c.gather(ctx, app)
	if err != nil {
		return err
	}
	found := checkup.Run(facts)
	if c.JSON {
		err = app.printJSON("findings", struct {
			Worst    checkup.Status    `json:"worst"`
			Findings []checkup.Finding `json:"findings"`
		}{checkup.Worst(found), found})
	} else {
		app.showFindings(found)
	}
	switch worst := checkup.Worst(found); {
	case err != nil:
		return err
	case worst == checkup.Failed:
		return exitCode(exitBroken)
	case worst == checkup.Warned:
		return exitCode(exitFailed)
	}
	return nil
}

// showFindings prints findings for people: what is wrong first, with its way out; then what was not looked at; then how much
// is well.
func (a *App) showFindings(found []checkup.Finding) {
	well := 0
	for _, f := range found {
		if f.Status == checkup.Passed {
			well++
			continue
		}
		if f.Status == checkup.Skipped {
			continue
		}
		fmt.Fprintf(a.Stdout, "%-8s %s: %s\n", f.Status, f.ID, f.Text)
		fmt.Fprintf(a.Stdout, "           why: %s\n           fix: %s\n", f.Why, f.Fix)
	}
	for _, f := range found {
		switch {
		case f.Status != checkup.Skipped:
		case f.Because != "":
			fmt.Fprintf(a.Stdout, "%-8s %s: not looked at, because of %s\n", f.Status, f.ID, f.Because)
		default:
			fmt.Fprintf(a.Stdout, "%-8s %s: %s\n", "unknown", f.ID, f.Text)
		}
	}
	fmt.Fprintf(a.Stdout, "%d of %d checks passed\n", well, len(found))
}

// gather collects the facts.
func (c doctorCmd) gather(ctx context.Context, app *App) (*checkup.Facts, error) {
	files, whole := app.parseAll(c.Files, "")
	if !whole {
		return nil, exitCode(exitFailed)
	}
	wans, steering, linux, err := patients(files)
	if err != nil {
		return nil, err
	}
	f := &checkup.Facts{}
	var v *routerView
	if linux {
		f.Linux = linuxFacts()
	} else {
		s, err := app.siteOf(files, true)
		if err != nil {
			return nil, err
		}
		if v, err = c.router(ctx, app, s, f); err != nil {
			return nil, err
		}
		if v != nil {
			defer v.close()
		}
	}
	running, _, _ := daemon.ReadStatus(app.dirs("").Run)
	f.Lines = make([]checkup.Line, len(wans))
	var all sync.WaitGroup
	for i, w := range wans {
		all.Go(func() { f.Lines[i] = c.line(ctx, app, w, v, running) })
	}
	if steering != nil {
		f.Steering = c.steering(ctx, app, steering, v)
		if steering.Linux != nil {
			app.linuxSteering(ctx, steering, f.Steering)
		}
	}
	all.Wait()
	if c.ProbeRouter && v != nil {
		f.Router.Sectors, f.Router.HasSectors = sectors(ctx, v)
	}
	return f, ctx.Err()
}

// patients are what the files are of: all of one router, or all of this host.
func patients(files []*config.File) (wans []*config.WAN, steering *config.Steering, linux bool, err error) {
	for _, f := range files {
		if f.WAN == nil {
			steering = f.Steering
			linux = linux || len(wans) == 0 && steering.Linux != nil
			continue
		}
		here := f.WAN.Router.Transport == config.TransportLinux
		if len(wans) > 0 && here != linux {
			return nil, nil, false, fmt.Errorf("%s: is of another kind of router than the files before it: examine them apart", f.Name)
		}
		wans, linux = append(wans, f.WAN), here
	}
	return wans, steering, linux, nil
}

// router logs in and reads. How far it got is a fact, not an error.
func (c doctorCmd) router(ctx context.Context, app *App, s *site, f *checkup.Facts) (*routerView, error) {
	r := &checkup.Router{Door: s.router.Transport, Needs: policies(s.router.Transport), Load: -1}
	r.Unproved, r.Near = unproved(s.router)
	f.Router = r
	o, err := app.options(ctx, s, c.User)
	if err != nil {
		return nil, err
	}
	admin, err := routeros.NewAdmin(o)
	if err != nil {
		r.Name, r.Stage, r.Err, r.Way = s.router.User+"@"+s.router.Host, checkup.NotAdmitted, err.Error(), "mend the router section of the file"
		return nil, nil //nolint:nilerr // how far we got is the finding
	}
	v := &routerView{site: s, admin: admin, load: -1}
	r.Name = admin.String()
	menus := blueprint.Menus()
	for menu, properties := range checkup.Menus() {
		menus[menu] = properties
	}
	if err := v.read(ctx, menus); err != nil {
		v.close()
		var e *routeros.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		r.Stage, r.Err, r.Way = stageOf(e.Kind), e.Error(), e.Hint
		return nil, nil
	}
	r.Name, r.Stage, r.Version, r.Model, r.Load = admin.String(), checkup.Open, v.version, v.model, v.load
	r.Inventory = v.inventory
	wanted := v.wanted()
	r.Plan = blueprint.New(v.inventory, wanted)
	r.Heartbeat = wanted.Heartbeats()
	r.User = s.router.User // with --user, too: it is the controller's rights that matter
	r.Group, r.Rights = v.rights(r.User)
	r.Skew, r.HasSkew = v.skew(ctx)
	return v, nil
}

// unproved says why nothing proves that a router is the one that is meant, empty where something does, and whether it is on
// this host.
func unproved(r config.Router) (why string, near bool) {
	switch {
	case r.Plain:
		why = "the connection is without TLS"
	case r.Transport != config.TransportSSH && !r.VerifySSL && r.TLSPin == [32]byte{}:
		why = "its certificate is not looked at (verify_ssl: false)"
	}
	a, err := netip.ParseAddr(r.Host)
	return why, r.Host == "localhost" || err == nil && a.IsLoopback()
}

// stageOf is how far a login got that failed so.
func stageOf(k routeros.Kind) checkup.Stage {
	switch k {
	case routeros.Unreachable, routeros.Timeout, routeros.Lost:
		return checkup.NotReached
	case routeros.HostKey, routeros.Certificate:
		return checkup.NotTrusted
	case routeros.Auth:
		return checkup.NotAdmitted
	case routeros.NoSuchItem, routeros.Ambiguous, routeros.Permission, routeros.Syntax, routeros.Mismatch, routeros.Reply:
	}
	return checkup.NotReadable
}

// rights are a user's group and what that may do; nil when that cannot be told.
func (v *routerView) rights(user string) (group string, rights []string) {
	for _, u := range v.inventory[blueprint.User] {
		if u["name"] != user {
			continue
		}
		for _, g := range v.inventory[blueprint.Group] {
			if g["name"] == u["group"] && g["policy"] != "" {
				return u["group"], blueprint.Rights(g["policy"])
			}
		}
	}
	return "", nil
}

// skew is how far the router's clock is ahead of ours, to the second.
func (v *routerView) skew(ctx context.Context) (time.Duration, bool) {
	rows, err := v.admin.List(ctx, "/system/clock", []string{"date", "time", "gmt-offset"})
	if err != nil || len(rows) != 1 {
		return 0, false
	}
	at, ok := clock(rows[0]["date"], rows[0]["time"], rows[0]["gmt-offset"])
	return time.Until(at), ok
}

// clock reads the router's time: the date as "2026-11-26" or "nov/26/2026", the offset as "+01:00" or in seconds.
func clock(date, of, offset string) (time.Time, bool) {
	shift := 0
	if n, err := strconv.Atoi(offset); err == nil {
		shift = n
	} else if t, err := time.Parse("-07:00", offset); err == nil {
		_, shift = t.Zone()
	} else if offset != "" {
		return time.Time{}, false
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "Jan/02/2006 15:04:05"} {
		if t, err := time.ParseInLocation(layout, date+" "+of, time.FixedZone("", shift)); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// line gathers what there is of a line.
func (c doctorCmd) line(ctx context.Context, app *App, w *config.WAN, v *routerView, running []daemon.Status) checkup.Line {
	l := checkup.Line{
		Name: w.Name, Interface: w.Interfaces.WAN, Baseline: w.Shaper.BaselineInitial, BaselineMin: w.Shaper.BaselineMin, BaselineMax: w.Shaper.BaselineMax,
	}
	for _, s := range running {
		if s.Name == w.Name && s.WAN != nil {
			l.Running, l.Findings = true, s.WAN.Findings
		}
	}
	onLinux := w.Router.Transport == config.TransportLinux
	if onLinux {
		l.Interface = w.Interfaces.Upload
		app.linuxQueues(w, &l)
	} else {
		v.queues(w, &l)
	}
	var hand daemon.Shaper
	err := errors.New("the router cannot be read")
	if onLinux || v != nil {
		hand, err = daemon.DialShaper(w, daemon.HostClock{})
	}
	if err != nil {
		l.Reflectors = reflectors(ctx, w)
		return l
	}
	defer func() { _ = hand.Close() }()
	l.Holder = daemon.OtherOwner(ctx, hand, app.dirs(""), w.Timeouts.Router, daemon.QueueThings(w)...)
	before, err1 := hand.Exchange(ctx, nil)
	began := time.Now()
	l.Reflectors = reflectors(ctx, w)
	l.Path, l.PathText = path(ctx, hand, w, l)
	pause(ctx, c.Watch-time.Since(began))
	after, err2 := hand.Exchange(ctx, nil)
	if err1 == nil && err2 == nil {
		l.Watched = after.At.Sub(before.At)
		for _, d := range []link.Direction{link.Down, link.Up} {
			q := l.Queues.Get(d)
			q.Limit, q.Passed = after.Get(d).MaxLimit, max(after.Get(d).Bytes-before.Get(d).Bytes, 0)
			l.Queues.Set(d, q)
		}
		if l.HasCrossed = before.HasWAN && after.HasWAN; l.HasCrossed {
			l.Crossed = link.Pair[unit.Bytes]{Down: max(after.WANRx-before.WANRx, 0), Up: max(after.WANTx-before.WANTx, 0)}
		}
		if l.Interface == "" {
			l.Interface = after.Up.Parent
		}
	}
	return l
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// queues looks a line's queues up in the router's menus.
func (v *routerView) queues(w *config.WAN, l *checkup.Line) {
	if l.Simple = w.Queues.Simple != ""; l.Simple {
		v.simpleQueue(w.Queues.Simple, l)
		return
	}
	for d, name := range map[link.Direction]string{link.Down: w.Queues.Download, link.Up: w.Queues.Upload} {
		q := checkup.Queue{Name: name}
		if v != nil {
			for _, r := range v.inventory[blueprint.QueueTree] {
				if r["name"] == name {
					q.Found, q.Cake, q.Off = true, v.isCake(r["queue"]), !blueprint.Enabled(r)
				}
			}
		}
		l.Queues.Set(d, q)
	}
}

// simpleQueue looks a line's simple queue up, which is one item for both directions.
func (v *routerView) simpleQueue(name string, l *checkup.Line) {
	l.Queues = link.Pair[checkup.Queue]{Down: checkup.Queue{Name: name}, Up: checkup.Queue{Name: name}}
	if v == nil {
		return
	}
	for _, r := range v.inventory[blueprint.QueueSimple] {
		if r["name"] != name || blueprint.Truth(r["dynamic"]) {
			continue
		}
		up, down, _ := strings.Cut(r["queue"], "/")
		for d, typ := range map[link.Direction]string{link.Down: down, link.Up: up} {
			l.Queues.Set(d, checkup.Queue{Name: name, Found: true, Cake: v.isCake(typ), Off: !blueprint.Enabled(r)})
		}
	}
}

func (v *routerView) isCake(typ string) bool {
	return slices.ContainsFunc(v.inventory[blueprint.QueueType], func(r blueprint.Row) bool { return r["name"] == typ && r["kind"] == "cake" })
}

// perReflector is how many echoes the doctor sends to each.
const perReflector = 3

// reflectors probes a line's reflectors, a few times each.
func reflectors(ctx context.Context, w *config.WAN) []checkup.Reflector {
	o := daemon.ProbeOptions(w)
	o.Timeout = 2 * time.Second
	return probed(ctx, o)
}

// probed sends a few echoes to each of some hosts.
func probed(ctx context.Context, o probe.Options) []checkup.Reflector {
	return echoed(ctx, o, perReflector)
}

func echoed(ctx context.Context, o probe.Options, count int) []checkup.Reflector {
	p, err := probe.Open(o)
	if err != nil {
		return nil
	}
	defer func() { _ = p.Close() }()
	replies, err := p.Once(ctx, count)
	if err != nil {
		return nil
	}
	out := make([]checkup.Reflector, len(o.Targets))
	for i, s := range p.Stats() {
		out[i] = checkup.Reflector{Host: o.Targets[i], Addr: s.Addr, Sent: int(s.Sent)}
	}
	for _, r := range replies {
		h := &out[r.Host]
		h.Answered++
		if h.Least == 0 || r.RTT < h.Least {
			h.Least = r.RTT
		}
	}
	return out
}

// path asks the router by which line the probes left.
func path(ctx context.Context, hand daemon.Shaper, w *config.WAN, l checkup.Line) (verdict, text string) {
	return pathOf(ctx, hand, w.Probe.Source, l.Interface, l.Reflectors)
}

// pathOf asks a router whether what was probed from an address just now left by an interface.
func pathOf(ctx context.Context, router any, source netip.Addr, iface string, probed []checkup.Reflector) (verdict, text string) {
	facts := health.PathFacts{Source: source, WAN: iface}
	for _, r := range probed {
		if r.Addr.IsValid() {
			facts.Targets = append(facts.Targets, r.Addr)
		}
	}
	v, text := daemon.ProvePath(ctx, router, facts)
	switch v {
	case health.PathProved:
		return "proved", text
	case health.PathElsewhere:
		return "wrong", text
	case health.PathUnproved:
	}
	return "", text
}

// steering gathers what there is of the dual-WAN set-up.
func (c doctorCmd) steering(ctx context.Context, app *App, s *config.Steering, v *routerView) *checkup.Steering {
	out := &checkup.Steering{Primary: s.Steer.Primary, Alternate: s.Alternates[0].Name, ShareIPv6: -1}
	if v != nil {
		out.Rule, out.HasRule = v.rulesOf(s), true
		out.ShareIPv6 = v.shareIPv6(ctx)
		if hand, err := daemon.DialSwitch(s, daemon.HostClock{}); err == nil {
			out.Holder = daemon.OtherOwner(ctx, hand, app.dirs(""), s.Timeouts.Router, daemon.RuleThings(s)...)
			_ = hand.Close()
		}
	}
	if s.Alternates[0].Source.IsValid() {
		out.Sent = perReflector // one that cannot leave is not answered either
		for _, r := range probed(ctx, probe.Options{
			Targets: []string{s.Alternates[0].PingHost}, Source: s.Alternates[0].Source, Interval: time.Second, Timeout: 2 * time.Second, Now: daemon.HostClock{}.Now,
		}) {
			out.Answered, out.Least = r.Answered, r.Least
		}
	}
	return out
}

// sectors measures how many flash sectors a change of a rate writes: the rate that is there already, eight times.
func sectors(ctx context.Context, v *routerView) (float64, bool) {
	const times = 8
	read := func() (int64, bool) {
		rows, err := v.admin.List(ctx, "/system/resource", []string{"write-sect-total"})
		if err != nil || len(rows) != 1 {
			return 0, false
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(rows[0]["write-sect-total"], " ", ""), 10, 64)
		return n, err == nil
	}
	if len(v.site.wans) == 0 {
		return 0, false
	}
	menu, name := blueprint.QueueTree, v.site.wans[0].Queues.Upload
	if simple := v.site.wans[0].Queues.Simple; simple != "" {
		menu, name = blueprint.QueueSimple, simple
	}
	for _, q := range v.inventory[menu] {
		if q["name"] != name || q["max-limit"] == "" {
			continue
		}
		before, ok1 := read()
		for range times {
			if _, err := v.admin.Do(ctx, routeros.Edit{
				Verb: "set", Menu: menu, ID: q[".id"], Args: []routeros.Arg{{Key: "max-limit", Value: q["max-limit"]}},
			}); err != nil {
				return 0, false
			}
		}
		after, ok2 := read()
		return float64(after-before) / times, ok1 && ok2 && after >= before
	}
	return 0, false
}
