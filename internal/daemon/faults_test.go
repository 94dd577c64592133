package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// someDialects differ in all that a fault's handling could depend on.
var someDialects = []string{"usual", "reflect", "silent", "zero-silent"}

func routerOf(dialect string) rosim.Options {
	o := rosim.DefaultOptions()
	o.Dialect = rosim.Dialects()[dialect]
	return o
}

// A fault of the router, at start or while the line is congested and a cut is due. While it lasts measuring goes on; when
// it is over the cut is on the router, and a stop leaves the base there.
func TestRouterFaults(t *testing.T) {
	t.Parallel()
	must := func(w *world, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		atStart bool // the fault is there before wanctl is
		timeout time.Duration
		begin   func(*world)
		end     func(*world)
		// doors are those that the fault can happen at; nil is all.
		doors []string
		// held are the rates while it lasts; 0 is any.
		held link.Rates
		says string
	}{
		{
			name: "unreachable at start", atStart: true, says: "unreachable", held: ceiling,
			begin: func(w *world) { w.router.Refuse() }, end: func(w *world) { must(w, w.router.Return()) },
		},
		{
			name: "unreachable later", says: "trying again", held: ceiling,
			begin: func(w *world) { w.router.Refuse() }, end: func(w *world) { must(w, w.router.Return()) },
		},
		{
			name: "queue missing at start", atStart: true, says: attDown, held: link.Rates{Up: floor.Up},
			begin: func(w *world) { must(w, w.router.RenameQueue(attDown, "other")) },
			end:   func(w *world) { must(w, w.router.RenameQueue("other", attDown)) },
		},
		{
			name: "queue renamed", says: attUp, held: link.Rates{Down: floor.Down},
			begin: func(w *world) { must(w, w.router.RenameQueue(attUp, "other")) },
			end:   func(w *world) { must(w, w.router.RenameQueue("other", attUp)) },
		},
		{
			name: "permission denied", says: "permission", held: ceiling,
			begin: func(w *world) { w.regroup(true) }, end: func(w *world) { w.regroup(false) },
		},
		{
			name: "reboot", says: "restarted",
			begin: func(w *world) { must(w, <-w.router.Reboot(0)) }, end: func(*world) {},
		},
		{
			name: "stall", says: "trying again", held: ceiling, timeout: 1500 * time.Millisecond,
			begin: func(w *world) { w.router.Stall() }, end: func(w *world) { w.router.Unstall() },
		},
		{
			name: "half open", says: "trying again", held: ceiling, timeout: 1500 * time.Millisecond,
			begin: func(w *world) { w.router.HalfOpen(true) }, end: func(w *world) { w.router.HalfOpen(false) },
		},
		{
			name: "no session free", says: "trying again", held: ceiling,
			begin: func(w *world) { w.router.Full(true); w.router.Disconnect() }, end: func(w *world) { w.router.Full(false) },
		},
		{
			name: "cut before it runs", says: "again",
			begin: func(w *world) { cutNext(w, rosim.CutBefore) }, end: func(*world) {},
		},
		{
			name: "cut after it ran", says: "again",
			begin: func(w *world) { cutNext(w, rosim.CutAfter) }, end: func(*world) {},
		},
		{
			name: "cut in the reply", says: "again",
			begin: func(w *world) { cutNext(w, rosim.CutReply) }, end: func(*world) {},
		},
		{
			name: "a page instead of an answer", says: "again",
			begin: func(w *world) { garbleNext(w, rosim.GarbleHTML) }, end: func(*world) {},
		},
		{
			name: "an answer of the wrong shape", says: "again",
			begin: func(w *world) { garbleNext(w, rosim.GarbleShape) }, end: func(*world) {},
		},
		{
			name: "bytes that mean nothing", says: "again", // a reserved length over the API, half a document over REST
			begin: func(w *world) { garbleNext(w, rosim.GarbleBytes) }, end: func(*world) {},
		},
		{
			name: "silence in the reply", says: "again", timeout: 1500 * time.Millisecond,
			begin: func(w *world) { cutNext(w, rosim.CutSilent) }, end: func(*world) {},
		},
		{
			name: "answers after the deadline", says: "trying again", timeout: time.Second,
			begin: func(w *world) { w.router.Slow(1500*time.Millisecond, 0) }, end: func(w *world) { w.router.Slow(0, 0) },
		},
		{
			name: "the service is switched off", says: "trying again", held: ceiling, doors: doors[1:],
			begin: func(w *world) { w.service("yes"); w.router.Disconnect() }, end: func(w *world) { w.service("no") },
		},
		{
			name: "REST is switched off", says: "rest-secure", held: ceiling, doors: doors[2:], // a status 403
			begin: func(w *world) { w.exec("/ip/service/webserver/set rest-secure=no") },
			end:   func(w *world) { w.exec("/ip/service/webserver/set rest-secure=yes") },
		},
		{
			name: "limit removed by somebody else", says: "something else writes it",
			begin: func(w *world) {
				w.pings.set(100)
				// Not before the controller knows that its write arrived: what is changed between the write and its reading
				// back is a write that was not taken, which is told in other words.
				w.confirmed(floor)
				must(w, w.router.ForeignSet(attDown, 0))
			}, end: func(*world) {},
		},
	} {
		for _, c := range doorCases {
			if tt.doors != nil && !slices.Contains(tt.doors, c.door) {
				continue
			}
			t.Run(tt.name+"/"+c.String(), func(t *testing.T) {
				t.Parallel()
				w := newWorldBy(t, routerOf(c.dialect), c.door)
				says, held := tt.says, tt.held
				if tt.timeout > 0 {
					w.timeout = tt.timeout
				}
				if tt.atStart {
					tt.begin(w)
				}
				run := start(t, w.autorate())
				if !tt.atStart {
					w.pings.until(t, "a first reading", func() bool { return w.log.has("The router answers") })
					if got := w.limits(); got != ceiling {
						t.Fatalf("an idle line has limits %v, want the ceiling", got)
					}
					if n := w.router.Writes(attDown); n != 0 {
						t.Errorf("%d writes of a rate that was there already", n)
					}
					tt.begin(w)
				}
				w.pings.set(100)
				w.pings.until(t, fmt.Sprintf("a line with %q; log:\n%s", says, w.log), func() bool { return w.log.has(says) })
				for _, d := range []link.Direction{link.Down, link.Up} {
					if want := held.Get(d); want != 0 && want != ceiling.Get(d) { // of the queue that works
						w.pings.until(t, "a cut of the "+d.String(), func() bool { return w.limits().Get(d) == want })
					}
				}
				w.measures(10)
				for _, d := range []link.Direction{link.Down, link.Up} {
					if want := held.Get(d); want != 0 && w.limits().Get(d) != want {
						t.Errorf("the %s is at %v during the fault, want %v", d, w.limits().Get(d), want)
					}
				}
				tt.end(w)
				w.untilLimits(floor)
				w.measures(5)
				run.mustEnd()
				if got := w.limits(); got != base {
					t.Errorf("a stop left %v, want the base %v\n%s", got, base, w.log)
				}
				w.sane()
			})
		}
	}
}

// A router that is slow for less than the time-out: cycles go on being measured and decided, the limits wait, and when it
// answers the newest decision goes there, over the same connection and without a complaint.
func TestShortStall(t *testing.T) {
	t.Parallel()
	for _, c := range doorCases {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorldBy(t, routerOf(c.dialect), c.door)
			run := start(t, w.autorate())
			w.owned()
			w.router.Stall()
			w.pings.set(100)
			decided := "ATT: [RED/RED] RTT=100.0ms"
			w.pings.until(t, "a decision for the floor", func() bool {
				return w.log.has(decided) && w.log.has("| DL=25M, UL=6M\n")
			})
			w.measures(10)
			if f := w.feed(); f.Rates != floor || f.State.Down != link.Red {
				t.Errorf("during the stall the feed has %v, %v", f.State.Down, f.Rates)
			}
			if w.limits() != ceiling || len(w.router.LimitHistory()) != 0 {
				t.Errorf("during the stall the limits are %v", w.limits())
			}
			w.router.Unstall()
			w.untilLimits(floor)
			if n := w.router.Writes(attDown); n > 2 { // the one under way, and the newest
				t.Errorf("%d writes after the stall: %+v", n, w.router.LimitHistory())
			}
			w.measures(3)
			if w.router.Logins() != 1 || w.log.has("[WARNING] The router") || w.log.has("trying again") {
				t.Errorf("%d logins, and the log says\n%s", w.router.Logins(), w.log)
			}
			run.mustEnd()
			if w.limits() != base {
				t.Errorf("a stop left %v, want the base", w.limits())
			}
			w.sane()
		})
	}
}

// doorCase is a door and a dialect to try it with.
type doorCase struct{ door, dialect string }

func (c doorCase) String() string {
	if c.door == config.TransportSSH {
		return c.dialect
	}
	return c.door + "/" + c.dialect
}

// doorCases are those that differ in all that a fault's handling could depend on.
var doorCases = func() (all []doorCase) {
	for _, d := range someDialects {
		all = append(all, doorCase{config.TransportSSH, d})
	}
	return append(all, doorCase{config.TransportAPI, "reflect"}, doorCase{config.TransportREST, "reflect-expected"})
}()

// exec gives the router a command as its administrator.
func (w *world) exec(line string) {
	w.t.Helper()
	if out, bad := w.router.Exec(context.Background(), "admin", line); bad {
		w.t.Fatalf("%s: %s", line, out)
	}
}

// service switches the door's service off, or on.
func (w *world) service(disabled string) {
	w.t.Helper()
	w.exec("/ip/service/set " + map[string]string{config.TransportAPI: "api-ssl", config.TransportREST: "www-ssl"}[w.door] + " disabled=" + disabled)
}

// regroup takes the right to write from our user, or gives it back. Rights are fixed at login, and REST remembers one.
func (w *world) regroup(readOnly bool) {
	w.t.Helper()
	if err := w.router.SetReadOnly(rosim.DefaultUser, readOnly); err != nil {
		w.t.Fatal(err)
	}
	switch w.door {
	case config.TransportAPI:
		w.router.Disconnect()
	case config.TransportREST:
		w.router.Pass(11 * time.Minute)
	}
}

// garbleNext spoils the next three answers: reads and writes alternate, so a write's is among them.
func garbleNext(w *world, how rosim.Garble) {
	w.pings.set(100)
	for range 3 {
		w.router.GarbleNext(how)
	}
}

// cutNext cuts the next three commands: reads and writes alternate, so a write is among them.
func cutNext(w *world, where rosim.Cut) {
	w.pings.set(100)
	for range 3 {
		w.router.CutNext(where)
	}
}

// Credentials that are refused are not offered again until a reload.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w := operated(t, door, "another")
			a := w.autorate()
			run := start(t, a)
			w.pings.until(t, "an alert", func() bool { return w.log.has("not trying again until a reload or restart") })
			w.hungUp()
			rejected := w.router.Rejected()
			if rejected != 1 {
				t.Errorf("%d logins were refused: RouterOS ends a connection after five, and firewalls count them", rejected)
			}
			w.pings.set(100)
			w.measures(40) // 40 s on the loop's clock: a backoff would have tried
			if n := w.router.Rejected(); n != rejected {
				t.Errorf("%d further logins after the first was refused", n-rejected)
			}
			if w.limits() != ceiling {
				t.Errorf("limits are %v without a login", w.limits())
			}
			if w.log.has(secret) {
				t.Error("the password is in the log")
			}
			if err := w.router.SetPassword("operator", secret); err != nil {
				t.Fatal(err)
			}
			if err := a.Reload(context.Background()); err != nil {
				t.Fatal(err)
			}
			w.untilLimits(floor)
			run.mustEnd()
			if w.limits() != base {
				t.Errorf("a stop left %v", w.limits())
			}
		})
	}
}

// operated is a world whose user logs in with a password through every door.
func operated(t *testing.T, door, password string) *world {
	t.Helper()
	o := rosim.DefaultOptions()
	o.Users = []rosim.User{{Name: "operator", Password: password}}
	w := newWorldBy(t, o, door)
	w.set("user: wanctl", "user: operator")
	if door == config.TransportSSH {
		w.set("  ssh_key: "+w.path("id")+"\n", "  password: ${ROUTER_PASSWORD}\n")
	}
	return w
}

// A router that shows another key or certificate than the recorded one is sent nothing: no password, no signature.
func TestAnotherRouter(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		door string
		do   func(*rosim.Router) error
		kind routeros.Kind
	}{
		"host key":                 {config.TransportSSH, func(r *rosim.Router) error { _, err := r.RotateHostKey(); return err }, routeros.HostKey},
		"certificate over the API": {config.TransportAPI, (*rosim.Router).RotateCertificate, routeros.Certificate},
		"certificate over REST":    {config.TransportREST, (*rosim.Router).RotateCertificate, routeros.Certificate},
		"expired over the API":     {config.TransportAPI, (*rosim.Router).ExpireCertificate, routeros.Certificate},
		"expired over REST":        {config.TransportREST, (*rosim.Router).ExpireCertificate, routeros.Certificate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := operated(t, change.door, secret)
			run := start(t, w.autorate())
			w.owned()
			asked, logins, commands := w.asked.Load(), w.router.Logins(), len(w.router.Commands())
			if asked == 0 || logins != 1 {
				t.Fatalf("the password was fetched %d times for %d logins", asked, logins)
			}
			if err := change.do(w.router); err != nil {
				t.Fatal(err)
			}
			w.router.Disconnect()
			w.pings.set(100)
			w.pings.until(t, "an alert", func() bool { return w.log.has("not trying again until a reload or restart") })
			w.measures(40)
			if n := w.asked.Load() - asked; n != 0 {
				t.Errorf("the password was fetched %d times for a router that is not ours", n)
			}
			if n := w.router.Logins() - logins; n != 0 {
				t.Errorf("%d logins at a router that is not ours", n)
			}
			if !w.log.has("nothing secret was sent") {
				t.Errorf("the log does not say that nothing was sent:\n%s", w.log)
			}
			err := run.end()
			var e *routeros.Error
			if !errors.As(err, &e) || e.Kind != change.kind {
				t.Errorf("a stop that could not give the router back returned %v", err)
			}
			if n := w.asked.Load() - asked; n != 0 {
				t.Errorf("the stop fetched the password %d times", n)
			}
			for _, c := range w.router.Commands()[commands:] {
				if c.Wrote {
					t.Errorf("a write after the change: %s", c.Line)
				}
			}
			w.sane()
		})
	}
}

// A router that is gone at the stop takes bounded time, and the state is saved and the failure returned all the same.
func TestUnreachableAtStop(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			unreachableAtStop(t, newWorldBy(t, rosim.DefaultOptions(), door))
		})
	}
}

func unreachableAtStop(t *testing.T, w *world) {
	t.Helper()
	run := start(t, w.autorate())
	w.pings.set(100)
	w.confirmed(floor)
	w.router.Refuse()
	err := run.end() // ends by itself: patience is the test binary's
	if err == nil {
		t.Error("a stop that left the router at its floor succeeded")
	}
	if w.limits() != floor {
		t.Errorf("limits are %v", w.limits())
	}
	saved := w.savedWAN()
	// What was sent into a connection that ended at that moment may have been carried out: then no rate is claimed.
	known := saved.Applied.Down == floor.Down || saved.Applied.Down == 0 && w.log.has("may have been carried out")
	if saved.Controller.Sides.Down.Rate != floor.Down || !known {
		t.Errorf("the state has the rate %v, last applied %v", saved.Controller.Sides.Down.Rate, saved.Applied.Down)
	}
	if !w.log.has("wanctl release") {
		t.Errorf("the log names no way out:\n%s", w.log)
	}
}

// A write that is under way when the stop comes is waited for, and the stop's own write comes after it.
func TestStopWithAWriteUnderWay(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			stopWithAWriteUnderWay(t, newWorldBy(t, rosim.DefaultOptions(), door))
		})
	}
}

func stopWithAWriteUnderWay(t *testing.T, w *world) {
	t.Helper()
	run := start(t, w.autorate())
	w.owned()
	w.router.Stall()
	w.pings.set(100)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.router.Await(ctx, func() bool { return w.router.InFlight() > 0 }); err != nil {
		t.Fatal(err)
	}
	w.pings.cycles(t, 3) // the core decided to cut; the router does not answer
	run.stop()
	w.router.Unstall()
	run.mustEnd()
	if w.limits() != base {
		t.Errorf("a stop left %v, want the base", w.limits())
	}
	if n := w.router.InFlight(); n != 0 {
		t.Errorf("%d commands are still under way", n)
	}
	w.sane()
}

func TestExitModes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]link.Rates{
		"on_exit: base": base, "on_exit: last": floor, "on_exit: ceiling": ceiling,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rosim.DefaultOptions())
			w.set("on_exit: base", mode)
			run := start(t, w.autorate())
			w.pings.set(100)
			w.untilLimits(floor)
			run.mustEnd()
			if w.limits() != want {
				t.Errorf("left %v, want %v", w.limits(), want)
			}
			if got := w.savedWAN().Applied; got != want {
				t.Errorf("the state says that %v was left", got)
			}
			w.sane()
		})
	}
}

// Neither a dry run nor a disabled controller ever writes, not even at its end.
func TestNothingIsWritten(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"dry run", "disabled"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rosim.DefaultOptions())
			if w.dryRun = how == "dry run"; !w.dryRun {
				w.set("continuous_monitoring:", "continuous_monitoring:\n  enabled: false")
			}
			run := start(t, w.autorate())
			w.pings.set(100)
			w.pings.until(t, "a cut that would be", func() bool { return w.log.has("would set DL=25M") })
			w.measures(5)
			run.mustEnd()
			if n := len(w.router.LimitHistory()); n != 0 {
				t.Errorf("%d writes", n)
			}
			for _, c := range w.router.Commands() {
				if c.Wrote {
					t.Errorf("wrote: %s", c.Line)
				}
			}
		})
	}
}

// Silence of all reflectors leaves the router alone and the loop alive.
func TestProbesLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	a := w.autorate()
	run := start(t, a)
	w.pings.set(100)
	w.untilLimits(floor)
	w.pings.set(0)
	w.pings.until(t, "a warning", func() bool { return w.log.has("no reflector has answered") })
	writes := w.router.Writes(attDown)
	w.pings.cycles(t, 20)
	feed := w.feed()
	if feed.Measured || a.Clock.Now().Sub(feed.AnsweredAt) < outageAfter {
		t.Errorf("silence is published as measured %t, answered %v ago", feed.Measured, a.Clock.Now().Sub(feed.AnsweredAt))
	}
	if last, stale := a.Progress(); a.Clock.Now().Sub(last) > stale {
		t.Errorf("the loop made its last cycle %v ago", a.Clock.Now().Sub(last))
	}
	if n := w.router.Writes(attDown); n != writes {
		t.Errorf("%d writes without a measurement", n-writes)
	}
	w.pings.set(28)
	w.pings.until(t, "control again", func() bool { return w.log.has("control goes on") })
	w.measures(3)
	run.mustEnd()
	w.sane()
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	a := w.autorate()
	run := start(t, a)
	w.pings.set(100)
	w.untilLimits(floor)
	reload := func() error { return a.Reload(context.Background()) }

	good := w.text
	for name, bad := range map[string]string{
		"broken":        "wan_name: [",
		"another line":  "wan_name: Spectrum",
		"another state": "wan_name: ATT\nstate_file: /nowhere/else.json",
		"wrong order":   "",
	} {
		w.text = good
		if bad == "" {
			w.set("floor_mbps: 25", "floor_mbps: 250")
		} else {
			w.set("wan_name: ATT", bad)
		}
		if err := reload(); err == nil {
			t.Errorf("%s: taken over", name)
		}
		w.text = good
		w.measures(3)
		if w.limits() != floor {
			t.Errorf("%s: limits are %v", name, w.limits())
		}
	}

	// New bounds are in force at once, and the averages stay: no cycle is GREEN in between.
	w.set("floor_mbps: 25", "floor_mbps: 40")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	w.untilLimits(link.Rates{Down: 40 * unit.Mbps, Up: floor.Up})
	if got := w.feed(); got.State.Down != link.Red {
		t.Errorf("the state after a reload is %v", got.State.Down)
	}

	// Another period, other probes.
	w.set("interval_ms: 50", "interval_ms: 100")
	w.set("192.0.2.1", "192.0.2.2")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	w.pings.cycles(t, 3)
	if p := w.feed().Period; p != 100*time.Millisecond {
		t.Errorf("the period is %v", p)
	}
	if o := w.pings.seen.Load(); len(o.Targets) != 1 || o.Targets[0] != "192.0.2.2" {
		t.Errorf("probes go to %v", o.Targets)
	}
	if n := w.pings.runs.Load(); n != 1 {
		t.Errorf("%d pingers run", n)
	}

	// Other queues, or no control any more: the old ones would keep a floor for ever, so it is refused.
	whole := w.text
	for _, change := range [][2]string{
		{"WAN-Download-ATT", "WAN-Download-Spectrum"}, {"continuous_monitoring:", "continuous_monitoring:\n  enabled: false"},
	} {
		w.set(change[0], change[1])
		if err := reload(); err == nil || !strings.Contains(err.Error(), "start it again") {
			t.Errorf("%s: %v", change[1], err)
		}
		w.text = whole
	}
	run.mustEnd()
	if got := w.limits(); got != base {
		t.Errorf("the stop left %v, want %v", got, base)
	}
}
