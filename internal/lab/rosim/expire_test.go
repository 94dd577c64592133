package rosim

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/lab/memnet"
	"wanctl/internal/unit"
)

// Who listens to an address list hears that an entry went by itself.
func TestListenersHearOfAnExpiredEntry(t *testing.T) {
	r, c := steady(t, nil)
	if out, failed := r.Exec(t.Context(), DefaultUser, "/ip/firewall/address-list/add list=l address=192.0.2.1 timeout=1m"); failed {
		t.Fatal(out)
	}
	f := r.subscribe(r.root.at(addressListPath))
	defer r.unsubscribe(f)
	c.advance(time.Minute)
	if _, ok := r.Queue("WAN-Download-ATT"); !ok {
		t.Fatal("no queue")
	}
	got, _, err := r.take(f)
	if err != nil || len(got) != 1 || !got[0].dead || got[0].it.text("address") != "192.0.2.1" {
		t.Errorf("%+v %v", got, err)
	}
}

// What a fault removes is gone for listeners, too.
func TestListenersHearOfWhatAFaultRemoved(t *testing.T) {
	r, _ := steady(t, nil)
	queues, rules := r.subscribe(r.queues()), r.subscribe(r.mangle())
	defer r.unsubscribe(queues)
	defer r.unsubscribe(rules)
	if err := errors.Join(r.RemoveQueue("WAN-Upload-ATT"), r.RemoveRules(SteeringComment)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*feed{queues, rules} {
		if got, _, err := r.take(f); err != nil || len(got) != 1 || !got[0].dead {
			t.Errorf("%s: %+v %v", f.menu.path, got, err)
		}
	}
}

// Whoever may not see connection tracking may not listen to it either.
func TestListeningToTrackingIsDenied(t *testing.T) {
	r, _ := steady(t, func(o *Options) { o.Tracking = TrackingDenied })
	q := request{path: connectionPath + "/listen"}
	if _, _, err := r.perform(t.Context(), DefaultUser, r.rights(DefaultUser), q, func(row) error { return nil }); err == nil || err.Error() != notPermitted().Error() {
		t.Errorf("%v", err)
	}
}

const deadMan = `/system/scheduler/add name=watch interval=1m start-time=startup policy=read,write on-event=":if ([/system/resource/get uptime]>10m && ` +
	`[:len [/ip/firewall/address-list/find where list=\"owner\" address=240.1.2.3]]=0) do={:foreach i in=[/queue/tree/find where ` +
	`name=\"WAN-Download-ATT\" max-limit!=80000000] do={/queue/tree/set \$i max-limit=80000000}}"`

// A scheduler runs its script in time, with its own rights, and nothing is written where nothing differs.
func TestScheduler(t *testing.T) {
	r, _ := steady(t, nil)
	exec := func(line string) string {
		t.Helper()
		out, failed := r.Exec(t.Context(), DefaultUser, line)
		if failed {
			t.Fatalf("%s: %s", line, out)
		}
		return strings.TrimSpace(out)
	}
	exec("/ip/firewall/address-list/add list=owner address=240.1.2.3 timeout=10m")
	exec(deadMan)
	const dl = "WAN-Download-ATT"
	r.Pass(9*time.Minute + 59*time.Second)
	if got, _ := r.MaxLimit(dl); got != 95*unit.Mbps {
		t.Fatalf("%v before the entry went", got)
	}
	r.Pass(time.Minute)
	if got, _ := r.MaxLimit(dl); got != 80*unit.Mbps {
		t.Fatalf("%v after it went: %q", got, r.ScheduleFailure("watch"))
	}
	r.Pass(24 * time.Hour)
	if h := r.LimitHistory(); len(h) != 1 || h[0].By != byScheduler {
		t.Errorf("it wrote %+v", h)
	}
	if n := exec(":put [/system/scheduler/get watch run-count]"); n != "1450" {
		t.Errorf("%s runs", n)
	}
	exec("/ip/firewall/address-list/add list=owner address=240.1.2.3")
	if err := r.ForeignSet(dl, 90*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	r.Pass(time.Hour)
	if got, _ := r.MaxLimit(dl); got != 90*unit.Mbps {
		t.Errorf("%v while the entry is there", got)
	}
	exec("/ip/firewall/address-list/remove [find list=owner]")
	exec("/system/scheduler/set watch disabled=yes")
	r.Pass(time.Hour)
	if got, _ := r.MaxLimit(dl); got != 90*unit.Mbps {
		t.Errorf("%v while it is disabled", got)
	}
	exec("/system/scheduler/set watch disabled=no policy=read")
	r.Pass(2 * time.Minute)
	if got, failure := r.ScheduleFailure("watch"), "not enough permissions (9)"; got != failure {
		t.Errorf("without the right to write it says %q", got)
	}
	if got := r.ScheduleFailure("other"); got != "" {
		t.Errorf("%q", got)
	}
	exec("/system/script/add name=mend source=\"/queue/tree/set WAN-Download-ATT max-limit=70M\"")
	exec("/system/scheduler/set watch on-event=mend policy=read,write interval=1s")
	r.Pass(time.Second)
	if got, _ := r.MaxLimit(dl); got != 70*unit.Mbps {
		t.Errorf("%v after the script of that name", got)
	}
	exec("/system/scheduler/set watch interval=0s")
	before := exec(":put [/system/scheduler/get watch run-count]")
	r.Pass(time.Hour)
	if after := exec(":put [/system/scheduler/get watch run-count]"); after != before {
		t.Errorf("%s runs became %s without an interval", before, after)
	}
}

// After a restart what begins at startup begins again, and a router that serves needs nobody to ask it.
func TestSchedulerRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r, _ := steady(t, func(o *Options) {
			o.Now = func() unit.Time { return unit.Time(time.Since(start)) + 1 }
			o.Uptime = time.Hour
		})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		door := &memnet.Network{}
		r.opt.Listen = door.Listen
		ln, err := door.Listen(memnet.Addr("ssh:0"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- r.Serve(ctx, ln) }()
		<-r.Ready()
		if out, failed := r.Exec(ctx, DefaultUser, deadMan); failed {
			t.Fatal(out)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got, _ := r.MaxLimit("WAN-Download-ATT"); got != 80*unit.Mbps {
			t.Errorf("%v: %q", got, r.ScheduleFailure("watch"))
		}
		if err := <-r.Reboot(0); err != nil {
			t.Fatal(err)
		}
		if err := r.Inject("pass=4s"); err != nil {
			t.Fatal(err)
		}
		if out, _ := r.Exec(ctx, DefaultUser, ":put [/system/scheduler/get watch run-count]"); strings.TrimSpace(out) != "2" {
			t.Errorf("%s runs", out)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestPassRefusesNonsense(t *testing.T) {
	r, _ := steady(t, nil)
	for _, f := range []string{"pass", "pass=x", "pass=0s", "pass=-1s", "pass=10000h"} {
		if err := r.Inject(f); err == nil {
			t.Errorf("%s was taken", f)
		}
	}
}
