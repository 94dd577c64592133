package daemon

import (
	"strings"
	"testing"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Two lines and steering on one router have one router's budget between them; a line on another has all of that one's.
func TestBudgetsAreSharedPerRouter(t *testing.T) {
	wan := func(host string) *config.File {
		return &config.File{WAN: &config.WAN{Router: config.Router{Host: host}}}
	}
	steering := &config.File{Steering: &config.Steering{Router: config.Router{Host: "Router.lan"}}}
	s := SharingOf(wan("router.lan"), wan("router.LAN"), steering, wan("192.0.2.1"), nil)
	for _, tt := range []struct {
		host         string
		daily, burst int
	}{{"router.lan", 2400, 1}, {"192.0.2.1", 5000, 2}, {"unknown", 5000, 2}} {
		c := actuate.Config{Daily: flashBudget, Burst: sshBurst}
		s.share(config.Router{Host: tt.host}, &c)
		if c.Daily != tt.daily || c.Burst != tt.burst {
			t.Errorf("%s: %d a day, %d a second, want %d and %d", tt.host, c.Daily, c.Burst, tt.daily, tt.burst)
		}
	}
	c := actuate.Config{Burst: 20}
	s.share(config.Router{Host: "router.lan"}, &c)
	if c != (actuate.Config{Burst: 20}) {
		t.Errorf("what wears nothing is limited: %+v", c)
	}
}

// The share is in force in the controllers themselves: together two lines raise no more often than one router bears.
func TestSharedBudgetHoldsRaises(t *testing.T) {
	f := func() *config.File { return parseWAN(t, attText) }
	files := []*config.File{f(), f(), {Steering: &config.Steering{Router: f().WAN.Router}}}
	total := 0
	for _, file := range files[:2] {
		a := &Autorate{Common: Common{Sharing: SharingOf(files...)}, cfg: file.WAN}
		act := actuate.New(a.options(file.WAN).Actuate)
		now, want, applied := unit.Time(time.Hour), ceiling, ceiling
		var res *actuate.Result
		for range 10 * 3600 * 10 { // ten hours of a line that goes up and down
			out := act.Step(actuate.Input{Now: now, Want: want, Has: true, Result: res})
			res = nil
			if op := out.Op; op != nil {
				if op.Write {
					applied, total = op.Want, total+1
				}
				res = &actuate.Result{Op: *op}
				res.Report.Uptime = time.Duration(now)
				res.Report.Down.MaxLimit, res.Report.Up.MaxLimit = applied.Down, ceiling.Up
			}
			if want = ceiling; now%unit.Time(2*time.Second) == 0 {
				want = link.Rates{Down: floor.Down, Up: ceiling.Up}
			}
			now = now.Add(100 * time.Millisecond)
		}
	}
	// Past the budget a raise, and the cut it calls for, come once a minute per line.
	if most := flashBudget + 2*2*600; total > most {
		t.Errorf("%d writes in ten hours on one router, want at most %d", total, most)
	}
}

func parseWAN(t *testing.T, text string) *config.File {
	t.Helper()
	f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
	if f == nil {
		t.Fatal(ds)
	}
	return f
}
