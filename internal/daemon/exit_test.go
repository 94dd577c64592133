package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// An exit that reaches one queue only says so, saves so, and the next start knows its own write again.
func TestPartlyFailedExit(t *testing.T) {
	t.Parallel()
	for _, dialect := range someDialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, routerOf(dialect))
			run := start(t, w.autorate())
			w.pings.set(100)
			w.untilLimits(floor)
			if err := w.router.RenameQueue(attUp, "other"); err != nil {
				t.Fatal(err)
			}
			if err := run.end(); err == nil || !strings.Contains(err.Error(), attUp) {
				t.Errorf("a stop without the upload queue returned %v", err)
			}
			if got := w.limits().Down; got != base.Down {
				t.Fatalf("the download is at %v, want the base %v\n%s", got, base.Down, w.log)
			}
			if !w.log.has("the router has DL=60M (read back), UL=6M (when it was read last); set the queues to UL=12M by hand") {
				t.Errorf("the log does not say what the router has and lacks:\n%s", w.log)
			}
			if got, want := w.savedWAN().Applied, (link.Rates{Down: base.Down, Up: floor.Up}); got != want {
				t.Errorf("the state says that %v was left, want %v", got, want)
			}
			if err := w.router.RenameQueue("other", attUp); err != nil {
				t.Fatal(err)
			}
			run = start(t, w.autorate())
			w.untilLimits(floor)
			if w.log.has("was changed while we were away") {
				t.Errorf("the next start took our own write for somebody else's:\n%s", w.log)
			}
			run.mustEnd()
			w.sane()
		})
	}
}

// A stop and a release write what is not there yet, and nothing else: the router saves every write to flash.
func TestExitWritesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		mode    string
		base    string
		foreign bool // somebody else moves the download right before the stop
		writes  int
		left    link.Rates
	}{
		"all is there":      {"on_exit: ceiling", "60", false, 0, ceiling},
		"one is there":      {"on_exit: base", "95", false, 1, link.Rates{Down: ceiling.Down, Up: base.Up}},
		"not what was read": {"on_exit: ceiling", "60", true, 1, ceiling},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rosim.DefaultOptions())
			w.set("on_exit: base", tt.mode)
			w.set("base_mbps: 60", "base_mbps: "+tt.base)
			run := start(t, w.autorate())
			w.pings.until(t, "a first reading", func() bool { return w.log.has("The router answers") })
			w.router.Stall() // no reading of the loop's own tells of it
			if tt.foreign {
				if err := w.router.ForeignSet(attDown, 40*unit.Mbps); err != nil {
					t.Fatal(err)
				}
			}
			run.stop()
			w.router.Unstall()
			run.mustEnd()
			if n := ourWrites(w); n != tt.writes || w.limits() != tt.left {
				t.Errorf("the stop wrote %d times and left %v, want %d and %v: %+v", n, w.limits(), tt.writes, tt.left, w.router.LimitHistory())
			}
			f, _ := w.parse(w.text)
			rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
			if _, err := rel.Release(f); err != nil || ourWrites(w) != tt.writes || w.limits() != tt.left {
				t.Errorf("a release after it: %v, %d writes, limits %v", err, ourWrites(w), w.limits())
			}
		})
	}
}

// Where the last rates stay, an unlimited queue gets the base all the same, and only that one.
func TestReleaseLimitsWhatIsUnlimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rosim.DefaultOptions())
	w.set("on_exit: base", "on_exit: last")
	for queue, r := range map[string]unit.Rate{attDown: 40 * unit.Mbps, attUp: 0} {
		if err := w.router.ForeignSet(queue, r); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := w.parse(w.text)
	rel := Releaser{Clock: w.clock, Dirs: w.dirs(), Hands: w.hands}
	if _, err := rel.Release(f); err != nil || w.limits() != (link.Rates{Down: 40 * unit.Mbps, Up: base.Up}) || ourWrites(w) != 1 {
		t.Errorf("%v, %d writes, limits %v", err, ourWrites(w), w.limits())
	}
}

// ourWrites counts the writes of limits that were not somebody else's.
func ourWrites(w *world) (n int) {
	for _, c := range w.router.LimitHistory() {
		if c.By == rosim.DefaultUser {
			n++
		}
	}
	return n
}

// halfRouter answers as its script says, one entry an exchange; the last one stays.
type halfRouter struct {
	Script []func(is *link.Rates, want *link.Rates) (link.Report, error)
	Is     link.Rates
	Asked  []link.Rates
}

func (h *halfRouter) Exchange(_ context.Context, want *link.Rates) (link.Report, error) {
	asked := link.Rates{}
	if want != nil {
		asked = *want
	}
	h.Asked = append(h.Asked, asked)
	f := h.Script[0]
	if len(h.Script) > 1 {
		h.Script = h.Script[1:]
	}
	return f(&h.Is, want)
}

func (h *halfRouter) Close() error { return nil }

func report(r link.Rates) link.Report {
	return link.Report{Pair: link.Pair[link.Queue]{Down: link.Queue{MaxLimit: r.Down}, Up: link.Queue{MaxLimit: r.Up}}}
}

func obey(is, want *link.Rates) (link.Report, error) {
	if want != nil {
		for _, d := range bothWays {
			if w := want.Get(d); w > 0 {
				is.Set(d, w)
			}
		}
	}
	return report(*is), nil
}

func TestSetRates(t *testing.T) {
	t.Parallel()
	lost := &routeros.Error{Kind: routeros.Lost, Sent: true, Err: errors.New("cut")}
	missing := &routeros.Error{Kind: routeros.NoSuchItem, Sent: true, Err: errors.New("no upload"), Read: link.Pair[bool]{Down: true}}
	gone := &routeros.Error{Kind: routeros.HostKey, Err: errors.New("another key")}
	bothKnown := link.Pair[bool]{Down: true, Up: true}
	type script = []func(is, want *link.Rates) (link.Report, error)
	fail := func(err error) func(is, want *link.Rates) (link.Report, error) {
		return func(is, want *link.Rates) (link.Report, error) {
			if errors.Is(err, missing) && want != nil && want.Down > 0 {
				is.Down = want.Down
			}
			return report(link.Rates{Down: is.Down}), err
		}
	}
	for name, tt := range map[string]struct {
		script script
		has    remains
		asked  []link.Rates
		says   string
		ends   bool
	}{
		"nothing known": {
			script{obey}, remains{}, []link.Rates{{}, base}, "DL=60M (read back), UL=12M (read back)", true,
		},
		"known": {
			script{obey}, remains{rates: floor, known: bothKnown}, []link.Rates{base}, "DL=60M (read back), UL=12M (read back)", true,
		},
		"one queue is missing": {
			script{fail(missing)}, remains{}, []link.Rates{{}, {Down: base.Down}}, "DL=60M (read back), UL unknown (never read)", false,
		},
		"the answer is lost, then nobody is there": {
			script{fail(lost), fail(gone)},
			remains{rates: floor, known: bothKnown},
			[]link.Rates{base, {}},
			"DL unknown (a write that was not answered may have been carried out), UL unknown (a write that was not answered may have been carried out)", false,
		},
		"nobody is there": {
			script{fail(gone)}, remains{rates: floor}, []link.Rates{{}}, "DL=25M (when it was read last), UL=6M (when it was read last)", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			router := &halfRouter{Script: tt.script, Is: floor}
			has, err := setRates(router, base, tt.has)
			if (err == nil) != tt.ends || has.String() != tt.says {
				t.Errorf("%v; the router has %s; want %s", err, &has, tt.says)
			}
			if len(router.Asked) != len(tt.asked) {
				t.Fatalf("asked %v, want %v", router.Asked, tt.asked)
			}
			for i, want := range tt.asked {
				if router.Asked[i] != want {
					t.Errorf("exchange %d asked %v, want %v", i, router.Asked[i], want)
				}
			}
		})
	}
}

// A write whose outcome is open is no reason to accuse anybody at the next start.
func TestStateForgetsWhatIsOpen(t *testing.T) {
	p := newPure(t, attText)
	p.cycle()
	p.wan.Left(remains{rates: base, read: link.Pair[bool]{Down: true}, open: link.Pair[bool]{Up: true}})
	if s := p.wan.State(p.now, "b", time.Unix(1, 0)); s.Applied != (link.Rates{Down: base.Down}) || s.Actuator.Applied != s.Applied {
		t.Errorf("the state says %v and %v", s.Applied, s.Actuator.Applied)
	}
}
