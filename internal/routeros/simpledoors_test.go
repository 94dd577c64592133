package routeros_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// The conformance of a line with one simple queue, through every door.

var cable = routeros.Queues{Simple: "WAN-Cable", WAN: "ether1"}

func cableOptions() rosim.Options {
	o := rosim.DefaultOptions()
	o.SimpleQueues = []rosim.SimpleQueue{
		{Name: "WAN-Cable", Target: "bridge", Dst: "ether1", MaxLimit: "18M/95M", Type: "cake-upload/cake-download", WAN: "ether1", Offered: link.Rates{Down: 12 * m, Up: 2 * m}},
		{Name: "kids", Target: "192.168.88.7/32", MaxLimit: "1M/2M"},
	}
	return o
}

// limits are the rates the router really has on its simple queue.
func simpleLimits(t *testing.T, r *rosim.Router) link.Rates {
	t.Helper()
	down, ok := r.MaxLimit("WAN-Cable/download")
	up, ok2 := r.MaxLimit("WAN-Cable/upload")
	if !ok || !ok2 {
		t.Fatal("the router has no simple queue WAN-Cable")
	}
	return link.Rates{Down: down, Up: up}
}

func TestSimpleQueueOnEveryRouter(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		options := map[string]rosim.Options{}
		for name, dialect := range rosim.Dialects() {
			o := cableOptions()
			o.Dialect = dialect
			options[name] = o
		}
		for _, version := range []string{"7.12.2", "7.14.3", "7.16.2", "7.18.2", "7.20.8", "7.21.5", "7.22.3", "7.24"} {
			o := cableOptions()
			o.Version = version
			options[version] = o
		}
		for name, o := range options {
			t.Run(name, func(t *testing.T) {
				b := w.router(t, o)
				ctx := t.Context()
				before, err := b.client.Exchange(ctx, cable, nil)
				if err != nil {
					t.Fatal(err)
				}
				if before.Applied() != (link.Rates{Down: 95 * m, Up: 18 * m}) || before.Up.Parent != "" || !before.HasWAN || before.Uptime < o.Uptime {
					t.Errorf("read %+v", before)
				}
				want := link.Rates{Down: 95_500_001, Up: 12_345_678}
				after, err := b.client.Exchange(ctx, cable, &want)
				if err != nil || after.Applied() != want || simpleLimits(t, b.router) != want {
					t.Fatalf("wrote %v: read back %v, the router has %v: %v", want, after.Applied(), simpleLimits(t, b.router), err)
				}
				if b.router.Writes(cable.Simple) != 1 {
					t.Errorf("%d writes for one change", b.router.Writes(cable.Simple))
				}
				// One direction: the other keeps what the router has, also where somebody else set it a moment ago.
				if err := b.router.ForeignSet("WAN-Cable/upload", 3*m); err != nil {
					t.Fatal(err)
				}
				after, err = b.client.Exchange(ctx, cable, &link.Rates{Down: 40 * m})
				if want := (link.Rates{Down: 40 * m, Up: 3 * m}); err != nil || after.Applied() != want || simpleLimits(t, b.router) != want {
					t.Errorf("%v, read back %v, the router has %v", err, after.Applied(), simpleLimits(t, b.router))
				}
				after, err = b.client.Exchange(ctx, routeros.Queues{Simple: "WAN-Cable"}, &link.Rates{Up: 9 * m})
				if want := (link.Rates{Down: 40 * m, Up: 9 * m}); err != nil || after.Applied() != want || simpleLimits(t, b.router) != want || !after.HasWAN {
					t.Errorf("%v, %+v, the router has %v", err, after, simpleLimits(t, b.router))
				}
				queue, err := b.client.SimpleQueue(ctx, "kids")
				if err != nil || queue.Down.MaxLimit != 2*m || queue.Up.MaxLimit != m {
					t.Errorf("%+v, %v", queue, err)
				}
				if err := b.router.RenameQueue("WAN-Cable", "renamed"); err != nil {
					t.Fatal(err)
				}
				_, err = b.client.Exchange(ctx, cable, &link.Rates{Down: 50 * m, Up: 5 * m})
				if e := failed(t, err, routeros.NoSuchItem); !strings.Contains(e.Error(), "WAN-Cable") || e.Read != (link.Pair[bool]{}) {
					t.Errorf("%#v", e)
				}
				if up, _ := b.router.MaxLimit("renamed/upload"); up != 9*m {
					t.Errorf("a renamed queue was set to %v", up)
				}
				if b.router.Logins() != 1 {
					t.Errorf("%d logins", b.router.Logins())
				}
			})
		}
	})
}

func TestSimpleQueueTrouble(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, cableOptions())
		if err := b.router.SetReadOnly(rosim.DefaultUser, true); err != nil {
			t.Fatal(err)
		}
		if _, err := b.client.Exchange(t.Context(), cable, nil); err != nil {
			t.Fatal(err)
		}
		_, err := b.client.Exchange(t.Context(), cable, &link.Rates{Down: 50 * m})
		failed(t, err, routeros.Permission)
		if simpleLimits(t, b.router) != (link.Rates{Down: 95 * m, Up: 18 * m}) {
			t.Error("a read-only user changed something")
		}
	})
	everyWay(t, func(t *testing.T, w way) {
		old, want := link.Rates{Down: 95 * m, Up: 18 * m}, link.Rates{Down: 50 * m, Up: 18 * m}
		for cut, is := range map[rosim.Cut]link.Rates{rosim.CutBefore: old, rosim.CutAfter: want, rosim.CutReply: want} {
			b := w.router(t, cableOptions())
			if _, err := b.client.Exchange(t.Context(), cable, nil); err != nil {
				t.Fatal(err)
			}
			b.atTheWrite(func() { b.router.CutNext(cut) })
			_, err := b.client.Exchange(t.Context(), cable, &link.Rates{Down: 50 * m})
			if e := failed(t, err, routeros.Lost); !e.Sent {
				t.Errorf("cut %d counts as not sent", cut)
			}
			report, err := b.client.Exchange(t.Context(), cable, &link.Rates{Down: 30 * m})
			if err != nil || !report.Unwritten || report.Applied() != is || simpleLimits(t, b.router) != is {
				t.Errorf("cut %d: read %v (%v), the router has %v", cut, report.Applied(), err, simpleLimits(t, b.router))
			}
		}
	})
}

// TestSimpleCountersThatRestart: each direction's counters restart by themselves.
func TestSimpleCountersThatRestart(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		o := cableOptions()
		var now atomic.Int64
		o.Now = func() unit.Time { return unit.Time(now.Load()) }
		o.ResetOnChange = true
		b := w.router(t, o)
		now.Add(int64(time.Minute))
		first, err := b.client.Exchange(t.Context(), cable, nil)
		if err != nil || first.Down.Bytes == 0 || first.Up.Bytes == 0 || first.WANRx == 0 {
			t.Fatalf("%+v, %v", first, err)
		}
		second, err := b.client.Exchange(t.Context(), cable, &link.Rates{Down: 90 * m})
		if err != nil || second.Down.Bytes >= first.Down.Bytes || second.Up.Bytes < first.Up.Bytes || second.WANRx < first.WANRx {
			t.Errorf("after a reset on change: %+v, %v", second, err)
		}
	})
}

// TestSimpleTargetIsTheLine: a queue whose two rates are the wrong way round is never set.
func TestSimpleTargetIsTheLine(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		o := cableOptions()
		o.SimpleQueues[0].Target, o.SimpleQueues[0].Dst = "ether1", ""
		b := w.router(t, o)
		_, err := b.client.Exchange(t.Context(), cable, nil)
		if e := failed(t, err, routeros.Syntax); !strings.Contains(e.Hint, "dst=ether1") {
			t.Errorf("%v", e)
		}
		_, err = b.client.Exchange(t.Context(), cable, &link.Rates{Down: 50 * m, Up: 5 * m})
		failed(t, err, routeros.Syntax)
		if b.router.Writes("WAN-Cable") != 0 || simpleLimits(t, b.router) != (link.Rates{Down: 95 * m, Up: 18 * m}) {
			t.Errorf("the router has %v", simpleLimits(t, b.router))
		}
		// Somebody turns it: the first exchange reads, the next one sets.
		if out, bad := b.router.Exec(t.Context(), "admin", "/queue/simple set WAN-Cable target=bridge dst=ether1"); bad {
			t.Fatal(out)
		}
		for i, unwritten := range []bool{true, false} {
			got, err := b.client.Exchange(t.Context(), cable, &link.Rates{Down: 50 * m})
			if err != nil || got.Unwritten != unwritten {
				t.Errorf("%d: %+v, %v", i, got, err)
			}
		}
		if got := simpleLimits(t, b.router).Down; got != 50*m {
			t.Errorf("the router has %v", got)
		}
	})
}
