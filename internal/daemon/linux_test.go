package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/health"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

const linuxText = `wan_name: line
router: {transport: linux}
interfaces: {download: ifb4wan, upload: wan}
continuous_monitoring:
  interval_ms: 50
  ping_count: 1
  download: {floor_mbps: 25, ceiling_mbps: 95}
  upload: {floor_mbps: 6, ceiling_mbps: 18}
  thresholds: {target_bloat_ms: 3, warn_bloat_ms: 10}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]
  use_median_of_three: true
`

func linuxWAN(t *testing.T, change ...string) *config.WAN {
	t.Helper()
	f, ds := config.Parse("line.yaml", strings.NewReader(strings.NewReplacer(change...).Replace(linuxText)), config.Options{})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	return f.WAN
}

// The kernel's limits are not a router's.
func TestLinuxOptions(t *testing.T) {
	o := WANOptionsOf(linuxWAN(t), false)
	if a := o.Actuate; a.Burst != 20 || a.Daily != 0 || a.Quantum != 8 || !a.Reads || a.ReadEvery != 50*time.Millisecond || a.DryRun {
		t.Errorf("got %+v", a)
	}
	if o.Place != health.Linux {
		t.Errorf("the place is %d", o.Place)
	}
	if a := WANOptionsOf(linuxWAN(t, "interval_ms: 50", "interval_ms: 2000", "ping_count: 1", "ping_count: 4"), true).Actuate; a.ReadEvery != 500*time.Millisecond || !a.DryRun {
		t.Errorf("got %+v", a)
	}
}

func TestLinuxReloadKeepsInterfaces(t *testing.T) {
	old := linuxWAN(t)
	for change, with := range map[string]string{"ifb4wan": "ifb5wan", "upload: wan": "upload: eth9"} {
		if err := sameWAN(old, linuxWAN(t, change, with)); err == nil || !strings.Contains(err.Error(), "interfaces cannot change") {
			t.Errorf("%s: %v", with, err)
		}
	}
	other := linuxWAN(t)
	other.Router.Transport = config.TransportSSH
	if err := sameWAN(old, other); err == nil || !strings.Contains(err.Error(), "router.transport cannot change from linux to ssh") {
		t.Errorf("another transport: %v", err)
	}
	if err := sameWAN(old, linuxWAN(t, "ceiling_mbps: 95", "ceiling_mbps: 90")); err != nil {
		t.Errorf("another ceiling: %v", err)
	}
}

// What each hand's error means, in one table.
func TestClassify(t *testing.T) {
	read := link.Pair[bool]{Down: true}
	for _, c := range []struct {
		err      error
		class    actuate.ErrClass
		sent     bool
		answered bool
		kind     string
		read     link.Pair[bool]
	}{
		{err: nil, class: actuate.None, sent: true},
		{err: errors.New("anything"), class: actuate.Transient},
		{err: context.DeadlineExceeded, class: actuate.Transient},
		{err: &routeros.Error{Kind: routeros.Auth, Err: errors.New("no")}, class: actuate.Fatal, kind: "authentication failed"},
		{err: &routeros.Error{Kind: routeros.Lost, Sent: true, Err: errors.New("no")}, class: actuate.Unknown, sent: true, kind: "connection lost"},
		{err: &routeros.Error{Kind: routeros.NoSuchItem, Sent: true, Read: read, Err: errors.New("no")}, class: actuate.Misconfigured, sent: true, answered: true, kind: "no such item", read: read},
		{err: &cake.Error{Kind: cake.Permission, Sent: true, Read: read, Err: errors.New("no")}, class: actuate.Misconfigured, sent: true, answered: true, kind: "permission denied", read: read},
		{err: &cake.Error{Kind: cake.Gone, Read: read, Err: errors.New("no")}, class: actuate.Misconfigured, answered: true, kind: "CAKE is gone", read: read},
		{err: &cake.Error{Kind: cake.NotCake, Err: errors.New("no")}, class: actuate.Misconfigured, answered: true, kind: "not CAKE"},
		{err: &cake.Error{Kind: cake.NoSuchInterface, Err: errors.New("no")}, class: actuate.Misconfigured, answered: true, kind: "no such interface"},
		{err: &cake.Error{Kind: cake.Mismatch, Sent: true, Err: errors.New("no")}, class: actuate.Unknown, sent: true, answered: true, kind: "read-back differs"},
		{err: &cake.Error{Kind: cake.Other, Err: errors.New("no")}, class: actuate.Transient, kind: "kernel error"},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err)} {
			if c.err == nil {
				err = nil
			}
			class, sent := classify(err)
			if class != c.class || sent != c.sent || answered(err) != c.answered || kindOf(err) != c.kind || covers(err) != c.read {
				t.Errorf("%v (%s): class %s, sent %v, answered %v, kind %q, read %v", err, c.kind, class, sent, answered(err), kindOf(err), covers(err))
			}
		}
	}
}

// comesBack is a line whose queues are removed and come back.
type comesBack struct {
	Rates link.Rates
	Gone  bool
	now   func() unit.Time
}

func (c *comesBack) Exchange(_ context.Context, want *link.Rates) (link.Report, error) {
	if c.Gone {
		return link.Report{}, &cake.Error{Kind: cake.Gone, Op: "read qdisc", Thing: "of wan", Err: errors.New("its CAKE qdisc is gone")}
	}
	if want != nil {
		for _, d := range []link.Direction{link.Down, link.Up} {
			if w := want.Get(d); w > 0 {
				c.Rates.Set(d, w)
			}
		}
	}
	r := link.Report{At: c.now(), Uptime: time.Duration(c.now())}
	r.Down.MaxLimit, r.Up.MaxLimit = c.Rates.Down, c.Rates.Up
	return r, nil
}

func (c *comesBack) Close() error { return nil }

// Queues that come back with other rates get ours, within the pause that a waiting cut allows, and without a restart.
func TestQueuesComeBack(t *testing.T) {
	o := WANOptionsOf(linuxWAN(t), false)
	now := unit.Time(time.Hour)
	hand := &comesBack{Rates: link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, now: func() unit.Time { return now }}
	act := actuate.New(o.Actuate)
	want := link.Rates{Down: 50 * unit.Mbps, Up: 10 * unit.Mbps}
	run := func(d time.Duration) (out actuate.Output) {
		for end := now.Add(d); now < end; now = now.Add(50 * time.Millisecond) {
			out = act.Step(actuate.Input{Now: now, Want: want, Has: true, Jitter: 0.5})
			for range 4 {
				if out.Op == nil {
					break
				}
				r := Exchange(t.Context(), hand, *out.Op)
				out = act.Step(actuate.Input{Now: now, Want: want, Has: true, Result: &r, Jitter: 0.5})
			}
		}
		return out
	}
	if out := run(time.Second); out.Applied != want || out.Status.Reads < 10 {
		t.Fatalf("%+v, %d readings", out.Applied, out.Status.Reads)
	}
	hand.Gone = true
	if out := run(time.Minute); out.Status.Link != actuate.BackingOff || !strings.Contains(out.Status.LastError, "is gone") {
		t.Errorf("gone: %+v", out.Status)
	}
	hand.Gone, hand.Rates = false, link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}
	if out := run(time.Minute); out.Applied != want || hand.Rates != want || out.Status.Link != actuate.Connected {
		t.Errorf("back: %+v, %+v", out.Applied, out.Status)
	}
}
