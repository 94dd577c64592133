package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/score"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

func quietApp() *App {
	return &App{
		Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }, UID: 1000,
		Notify: func(chan<- os.Signal, ...os.Signal) func() { return func() {} },
	}
}

// show is the demo's evening without wanctl and with it.
func show(t *testing.T, seed uint64, change func(*sites)) (without, with score.Result) {
	t.Helper()
	without, with, _ = told(t, seed, change)
	return without, with
}

// sound is the evening of the shipped configurations with the first seed, played once for all who look at it.
var sound = sync.OnceValues(func() (evening, error) {
	return played(context.Background(), 1, nil)
})

type evening struct {
	without, with score.Result
	events        []event
}

// played is the demo's evening; change may cripple the sites first.
func played(ctx context.Context, seed uint64, change func(*sites)) (evening, error) {
	app := quietApp()
	site, err := app.sites("steps")
	if err != nil {
		return evening{}, err
	}
	if change != nil {
		change(site)
	}
	d := demo{app: app, site: site, quiet: true}
	without, with, err := d.play(ctx, seed, 0)
	return evening{without, with, d.events}, err
}

// seeds are those that an evening is played with: one here, since it takes half a minute under the race detector, and three where
// WANCTL_LONG is set.
func seeds() []uint64 {
	if os.Getenv("WANCTL_LONG") != "" {
		return []uint64{1, 2, 3}
	}
	return []uint64{1}
}

// told is show with the events.
func told(t *testing.T, seed uint64, change func(*sites)) (without, with score.Result, events []event) {
	t.Helper()
	var e evening
	var err error
	if seed == 1 && change == nil {
		e, err = sound()
	} else {
		e, err = played(t.Context(), seed, change)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e.without, e.with, e.events
}

// The evening's story: wanctl lowers the delay of calls, steers under confirmed congestion and comes back, and does not
// steer because of delay alone.
func TestDemoTellsItsStory(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds() {
		without, with, events := told(t, seed, nil)
		// The evening's plan: the cable degrades from 1:00 and from 4:30, delay alone from 3:10, congestion at the provider
		// from 6:30 to 8:10.
		within := func(from, to time.Duration, text string) bool {
			for _, e := range events {
				if e.at >= from && e.at <= to && strings.Contains(e.text, text) {
					return true
				}
			}
			return false
		}
		for _, want := range []struct {
			from, to time.Duration
			text     string
			happens  bool
		}{
			{60 * time.Second, 105 * time.Second, "Spectrum: the download is RED", true},
			{190 * time.Second, 235 * time.Second, "Spectrum: the download is SOFT_RED", true},
			{185 * time.Second, 265 * time.Second, "rule is enabled", false},
			{270 * time.Second, 330 * time.Second, "Spectrum: the download is", true},
			{390 * time.Second, 490 * time.Second, "rule is enabled: new calls take ATT", true},
			{490 * time.Second, 600 * time.Second, "rule is disabled: new calls take Spectrum", true},
		} {
			if within(want.from, want.to, want.text) != want.happens {
				t.Errorf("seed %d: %q between %s and %s must be %v:\n%v", seed, want.text, want.from, want.to, want.happens, events)
			}
		}
		if with.Calls.P95*10 > without.Calls.P95*8 {
			t.Errorf("seed %d: a call's p95 is %s with wanctl and %s without: not visibly better", seed, with.Calls.P95, without.Calls.P95)
		}
		if with.Calls.Above100*9 > without.Calls.Above100*5 {
			t.Errorf("seed %d: calls stood above 100 ms for %.0f s with wanctl, %.0f s without", seed, with.Calls.Above100, without.Calls.Above100)
		}
		cable := with.Lines[netsim.Cable]
		if cable.States.Down[2] == 0 {
			t.Errorf("seed %d: the download never was SOFT_RED", seed)
		}
		if cable.Writes == 0 || with.OnOther == 0 {
			t.Errorf("seed %d: %d router writes, %d calls on the other line", seed, cable.Writes, with.OnOther)
		}
		tr := with.Steering.Transitions
		if len(tr) < 2 || tr[len(tr)-1].To != steer.Good {
			t.Errorf("seed %d: the evening must steer and come back: %v", seed, tr)
		}
		for _, x := range tr {
			at := x.At.Sub(netsim.Epoch)
			if x.To == steer.Degraded && at > 190*time.Second && at < 260*time.Second {
				t.Errorf("seed %d: steered at %s, in the episode of delay alone", seed, at)
			}
		}
	}
}

// What the demo shows unless asked otherwise: what the line carries is used, and a call that begins while the provider is
// congested is as good as on an idle line. Those that ran before keep their line, whatever it is like.
func TestTheTrackedEvening(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds() {
		without, with := show(t, seed, func(s *sites) {
			tracked, err := quietApp().sites("tracking")
			if err != nil {
				t.Fatal(err)
			}
			*s = *tracked
		})
		cable := with.Lines[netsim.Cable]
		if cable.Use.Down < 850_000 || cable.Use.Up < 850_000 {
			t.Errorf("seed %d: %s of the cable were used", seed, use(cable))
		}
		if with.Calls.Above100*2 > without.Calls.Above100 {
			t.Errorf("seed %d: calls stood above 100 ms for %.0f s with wanctl, %.0f s without", seed, with.Calls.Above100, without.Calls.Above100)
		}
		a, b := worst(without, with)
		if a.P95 < 50 || b.Samples == 0 || b.P95 > 20 {
			t.Errorf("seed %d: the worst of the calls that took the other line stood at %s without wanctl, and at %s of %d samples with it",
				seed, a.P95, b.P95, b.Samples)
		}
	}
}

// The column comes from a run: a controller that does not cut makes it worse.
func TestACrippledControllerShows(t *testing.T) {
	t.Parallel()
	_, good := show(t, 1, nil)
	_, lame := show(t, 1, func(s *sites) {
		for _, c := range []*shaperConfig{&s.cable.Shaper, &s.vdsl.Shaper} {
			c.Down.FactorDown, c.Up.FactorDown = unit.One, unit.One
		}
	})
	if lame.Calls.P95*10 < good.Calls.P95*13 || lame.Calls.Above100*10 < good.Calls.Above100*15 {
		t.Errorf("with factor_down 1.0 a call's p95 is %s and %.0f s stand above 100 ms; with the shipped one %s and %.0f s: no visible difference",
			lame.Calls.P95, lame.Calls.Above100, good.Calls.P95, good.Calls.Above100)
	}
	if lame.Lines[netsim.Cable].Line.P95*10 < good.Lines[netsim.Cable].Line.P95*13 {
		t.Errorf("with factor_down 1.0 the line's p95 is %s, with the shipped one %s: no visible difference",
			lame.Lines[netsim.Cable].Line.P95, good.Lines[netsim.Cable].Line.P95)
	}
}

// Real SSH lies between controller and network, and yet the same seed gives the same figures.
func TestTheDemoCanBeRepeated(t *testing.T) {
	t.Parallel()
	a0, a1 := show(t, 1, nil)
	b0, b1 := show(t, 1, func(*sites) {}) // played anew
	x, _ := json.Marshal([]score.Result{a0, a1})
	y, _ := json.Marshal([]score.Result{b0, b1})
	if !bytes.Equal(x, y) {
		t.Errorf("two runs of one seed differ:\n%s\n%s", x, y)
	}
}

func TestDemoPrintsTheTable(t *testing.T) {
	app := quietApp()
	var out bytes.Buffer
	app.Stdout = &out
	app.Notify = System().Notify
	if err := (demoCmd{Headless: true, Duration: 2 * time.Minute, Seed: 1, Speed: 20}).Run(app); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"without wanctl", "with wanctl", "99th percentile", "router writes", "steering actions", "Spectrum: [GREEN/GREEN]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo's output lacks %q:\n%s", want, out.String())
		}
	}
}
