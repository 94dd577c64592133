package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/flow"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/routeros"
)

// beside is a second installation before the same router: other directories, other probes, another log.
func (w *world) beside() *world {
	w.t.Helper()
	other := &world{
		t: w.t, router: w.router, dir: w.t.TempDir(), port: w.port, clock: w.clock, pings: newScripted(w.clock, 28), log: &shared{},
		timeout: w.timeout, door: w.door, text: w.text,
	}
	other.hands.Probe = func(o probe.Options) (Pinger, error) {
		other.pings.seen.Store(&o)
		return other.pings, nil
	}
	return other
}

// marks are the comments of the marks on the router.
func (w *world) marks() (all []string) {
	out, _ := w.router.Exec(context.Background(), "admin", `:foreach i in=[/ip/firewall/address-list/find list=wanctl-owner] do={:put [/ip/firewall/address-list/get $i comment]}`)
	for l := range strings.Lines(out) {
		all = append(all, strings.TrimSpace(l))
	}
	return all
}

// Two controllers of one router's queues: the second writes nothing and says whose they are, whatever its line does. When the
// first stops, it goes on; and what the first left is not touched meanwhile.
func TestTwoControllers(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			first := newWorldBy(t, rosim.DefaultOptions(), door)
			second := first.beside()
			one := start(t, first.autorate())
			first.owned()
			two := start(t, second.autorate())
			second.pings.until(t, "the second says who owns the router", func() bool { return second.log.has("The router is controlled by wanctl on") })
			second.pings.set(100) // it would cut to the floor
			second.measures(40)
			if n := len(first.router.LimitHistory()); n != 0 {
				t.Errorf("%d writes although only the second line is congested: %+v", n, first.router.LimitHistory())
			}
			st := second.task.status.Load()
			if st.Healthy || len(st.Why) == 0 || !strings.Contains(st.Why[0], "controlled by wanctl on") || st.WAN.Ours || st.WAN.Owner == "" {
				t.Errorf("the second's status is %+v %+v", st, st.WAN)
			}
			if len(first.marks()) != 1 {
				t.Errorf("marks %q", first.marks())
			}
			first.pings.set(100)
			first.untilLimits(floor)
			first.pings.set(28)
			one.mustEnd()
			second.untilLimits(floor)
			second.pings.until(t, "it took over", func() bool { return second.log.has("this one controls the router now") })
			if first.log.has("something else writes it") || second.log.has("something else writes it") {
				t.Errorf("they fought:\n%s\n%s", first.log, second.log)
			}
			two.mustEnd()
			if first.limits() != base || len(first.marks()) != 0 {
				t.Errorf("the second's stop left %v, and the marks %q", first.limits(), first.marks())
			}
			first.sane()
		})
	}
}

// One that is stopped as soon as its mark is on the router, before it has seen whether it is the oldest, takes it along.
func TestStoppedWhileItClaims(t *testing.T) {
	t.Parallel()
	for range 10 {
		w := newWorld(t, rosim.DefaultOptions())
		one := start(t, w.autorate())
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := w.router.Await(ctx, func() bool { return len(w.marks()) > 0 }); err != nil {
			t.Fatal(err)
		}
		cancel()
		one.mustEnd()
		if left := w.marks(); len(left) > 0 {
			t.Errorf("it left %q\n%s", left, w.log)
		}
	}
}

// The stop of one that writes nothing leaves the other's rates alone, and so do the commands of a person.
func TestTheSecondLeavesNothing(t *testing.T) {
	t.Parallel()
	first := newWorld(t, rosim.DefaultOptions())
	second := first.beside()
	one := start(t, first.autorate())
	first.pings.set(100)
	first.untilLimits(floor)
	two := start(t, second.autorate())
	second.pings.until(t, "the second stands back", func() bool { return second.log.has("The router is controlled by") })
	two.mustEnd()
	if first.limits() != floor || !second.log.has("exit: the router is controlled by") {
		t.Errorf("its stop left %v\n%s", first.limits(), second.log)
	}
	file, ds := second.parse(second.text)
	if file == nil {
		t.Fatal(ds)
	}
	r := Releaser{Clock: second.clock, Dirs: second.dirs(), Hands: second.hands}
	if _, err := r.Release(file); err == nil || !strings.Contains(err.Error(), "controlled by wanctl on") {
		t.Errorf("a release: %v", err)
	}
	r.IfNotHandedOver = true
	if said, err := r.Release(file); err != nil || !strings.Contains(said, "controlled by wanctl on") {
		t.Errorf("a unit's release: %q, %v", said, err)
	}
	if err := second.autorate().Once(t.Context()); err != nil {
		t.Errorf("a single cycle: %v", err)
	}
	if first.limits() != floor {
		t.Errorf("limits are %v", first.limits())
	}
	hand, err := DialShaper(file.WAN, second.clock)
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	if who := OtherOwner(t.Context(), hand, second.dirs(), patience, QueueThings(file.WAN)...); !strings.Contains(who, "which is this host") {
		t.Errorf("the doctor is told %q", who)
	}
	if who := OtherOwner(t.Context(), hand, first.dirs(), patience, QueueThings(file.WAN)...); who != "" {
		t.Errorf("of its own controller it is told %q", who)
	}
	one.mustEnd()
	if first.limits() != base {
		t.Errorf("the first's stop left %v", first.limits())
	}
	// Nobody is there any more: a single cycle controls, and a release gives back.
	second.pings.set(100)
	if err := second.autorate().Once(t.Context()); err != nil {
		t.Error(err)
	}
	if first.limits() == base || len(first.marks()) != 1 {
		t.Errorf("after a single cycle of the second alone: %v, marks %q\n%s", first.limits(), first.marks(), second.log)
	}
	r.IfNotHandedOver = false
	if _, err := r.Release(file); err != nil || first.limits() != base || len(first.marks()) != 0 {
		t.Errorf("a release: %v, limits %v, marks %q", err, first.limits(), first.marks())
	}
}

// A router that lets nobody leave a mark is shaped all the same, and that is said once.
func TestWithoutAMark(t *testing.T) {
	t.Parallel()
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w := newWorldBy(t, rosim.DefaultOptions(), door)
			// There is no room for another entry.
			for i := range 1024 {
				if out, bad := w.router.Exec(t.Context(), "admin", fmt.Sprintf("/ip/firewall/address-list/add list=full address=10.0.%d.%d", i/256, i%256)); bad {
					t.Fatal(out)
				}
			}
			run := start(t, w.autorate())
			w.pings.set(100)
			w.untilLimits(floor)
			if n := strings.Count(w.log.String(), "cannot leave its mark"); n != 1 {
				t.Errorf("said %d times:\n%s", n, w.log)
			}
			run.mustEnd()
			if w.limits() != base {
				t.Errorf("a stop left %v", w.limits())
			}
		})
	}
}

// A controller that is killed with its host: ten minutes later the router has put the base on its queues and disabled the rule,
// and writes nothing more.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.set("{floor_mbps: 25, ", "{floor_green_mbps: 90, floor_yellow_mbps: 50, floor_red_mbps: 25, ")
	w.set("warn_bloat_ms: 10,", "warn_bloat_ms: 10, critical_bloat_ms: 20,")
	w.set("alpha_load: 0.99", "alpha_load: 1")
	w.put("victim.yaml", w.text)
	file, ds := w.parse(w.text)
	if file == nil {
		t.Fatal(ds)
	}
	plan := blueprint.New(blueprint.Inventory{}, blueprint.Wanted{
		Lines: []blueprint.Line{{
			Name: "ATT", Queues: link.Pair[string]{Down: attDown, Up: attUp}, Limits: file.WAN.Base, Heartbeat: true,
		}},
		Steering: &blueprint.Steering{Policy: flow.Policy{Primary: "ATT"}, Comments: []string{rosim.SteeringComment}, Heartbeat: true},
	})
	changes, _ := plan.Heartbeats()
	if len(changes) != 2 {
		t.Fatalf("%+v", plan)
	}
	for _, c := range changes {
		e := routeros.Edit{Verb: c.Verb.String(), Menu: c.Menu}
		for _, a := range c.Args {
			e.Args = append(e.Args, routeros.Arg{Key: a.Key, Value: a.Value})
		}
		w.exec(e.Command(routeros.Arg{}, routeros.Arg{}))
	}
	// Steering is alive, and has the rule enabled, by hand here.
	steering, err := OwnerOf(w.dirs(), link.RuleThing(rosim.SteeringComment))
	if err != nil {
		t.Fatal(err)
	}
	w.exec("/ip/firewall/address-list/add list=wanctl-owner timeout=10m address=" + link.MarkAddress(steering.Controls...) + " comment=\"" + steering.Comment() + "\"")
	if err := w.router.ForeignRule(rosim.SteeringComment, true); err != nil {
		t.Fatal(err)
	}

	cmd, stderr := child(t, w.dir, "the controller")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// While it lives the router leaves its rates alone, however much time passes.
	if err := w.router.Await(ctx, func() bool { return len(w.router.LimitHistory()) > 4 && len(w.marks()) == 2 }); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if err := cmd.Process.Kill(); err != nil { // SIGKILL
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := w.router.AwaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	w.hungUp()
	if err := w.router.ForeignSet(attDown, floor.Down); err != nil { // where the kill may have left it
		t.Fatal(err)
	}
	writes := len(w.router.LimitHistory())
	w.router.Pass(8 * time.Minute)
	if on, _ := w.router.RuleEnabled(rosim.SteeringComment); !on || w.limits().Down != floor.Down || len(w.router.LimitHistory()) != writes {
		t.Fatalf("eight minutes later the rule is %t, limits %v", on, w.limits())
	}
	w.router.Pass(3 * time.Minute)
	if w.limits() != base {
		t.Errorf("eleven minutes later the limits are %v, want %v: %q", w.limits(), base, w.router.ScheduleFailure("wanctl-heartbeat-ATT"))
	}
	if on, _ := w.router.RuleEnabled(rosim.SteeringComment); on {
		t.Errorf("the rule is still enabled: %q", w.router.ScheduleFailure("wanctl-heartbeat-steering ATT"))
	}
	writes, sectors := len(w.router.LimitHistory()), w.router.FlashSectors()
	w.router.Pass(24 * time.Hour)
	if n := len(w.router.LimitHistory()); n != writes || w.router.FlashSectors() != sectors {
		t.Errorf("%d further writes in a day, %d sectors", n-writes, w.router.FlashSectors()-sectors)
	}
}

// The id of an installation is made once, survives, and is another elsewhere.
func TestOwnerOf(t *testing.T) {
	t.Parallel()
	d := Dirs{State: filepath.Join(t.TempDir(), "state"), Run: "/run/a"}
	one, err := OwnerOf(d, "queue=a")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := OwnerOf(d, "queue=b"); err != nil || again.ID != one.ID || !slices.Equal(again.Controls, []string{"queue=b"}) {
		t.Errorf("%+v %v", again, err)
	}
	elsewhere := d
	elsewhere.Run = "/run/b"
	if other, err := OwnerOf(elsewhere); err != nil || other.ID == one.ID {
		t.Errorf("with another run directory: %+v %v", other, err)
	}
	if other, err := OwnerOf(Dirs{State: t.TempDir(), Run: d.Run}); err != nil || other.ID == one.ID {
		t.Errorf("with another state directory: %+v %v", other, err)
	}
	path := filepath.Join(d.State, ownerFile)
	if err := os.WriteFile(path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	mended, err := OwnerOf(d)
	if again, err2 := OwnerOf(d); err != nil || err2 != nil || again.ID != mended.ID {
		t.Errorf("after damage: %v %v", err, err2)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if who, err := OwnerOf(d); err == nil || len(who.ID) != link.OwnerIDLength {
		t.Errorf("a directory in its place: %+v %v", who, err)
	}
	if who, err := OwnerOf(Dirs{State: "/proc/no such", Run: "/run"}); err == nil || len(who.ID) != link.OwnerIDLength {
		t.Errorf("a state directory that cannot be made: %+v %v", who, err)
	}
}
