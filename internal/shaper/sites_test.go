package shaper

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata/stories")

func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := flag.Set("rewrite", "true"); err != nil { // the transcript reader's own switch
			fmt.Fprintln(os.Stderr, "the transcripts cannot be rewritten:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// one returns a floor for every state.
func one(r unit.Rate) [link.States]unit.Rate { return [link.States]unit.Rate{r, r, r, r} }

// spectrum is the cable line of the worked example: four states down, one floor up.
func spectrum() Config {
	return Config{
		Period:          2 * time.Second,
		BaselineInitial: 24, BaselineMin: 1, BaselineMax: 500,
		AlphaBaseline: 0.02, AlphaLoad: 0.20,
		BaselineUpdate: 3, CutInterval: 2 * time.Second, RebaselineAfter: 2 * time.Minute,
		Down: Direction{
			FourState: true,
			Floor: [link.States]unit.Rate{
				link.Green: 550 * unit.Mbps, link.Yellow: 350 * unit.Mbps, link.SoftRed: 275 * unit.Mbps, link.Red: 200 * unit.Mbps,
			},
			Ceiling: 940 * unit.Mbps, StepUp: 10 * unit.Mbps, FactorDown: 850_000, FactorDownYellow: unit.One,
			Target: 15, Warn: 45, Critical: 80,
		},
		Up: Direction{
			Floor: one(8 * unit.Mbps), Ceiling: 38 * unit.Mbps, StepUp: unit.Mbps, FactorDown: 900_000, FactorDownYellow: unit.One,
			Target: 15, Warn: 45,
		},
	}
}

// att is the VDSL line: three states and one floor in both directions.
func att() Config {
	c := spectrum()
	c.BaselineInitial, c.AlphaBaseline = 28, 0.015
	c.Down = Direction{
		Floor: one(25 * unit.Mbps), Ceiling: 95 * unit.Mbps, StepUp: 2 * unit.Mbps, FactorDown: 900_000, FactorDownYellow: unit.One,
		Target: 3, Warn: 10,
	}
	c.Up = Direction{
		Floor: one(6 * unit.Mbps), Ceiling: 18 * unit.Mbps, StepUp: 500 * unit.Kbps, FactorDown: 950_000, FactorDownYellow: unit.One,
		Target: 3, Warn: 10,
	}
	return c
}

// drive steps a controller as a daemon would: one Step per period from boot second 100 on.
type drive struct {
	*Controller
	at   unit.Time
	last link.Decision
}

const boot = 100 * unit.Time(time.Second)

func start(t failer, c Config) *drive {
	t.Helper()
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &drive{Controller: k, at: boot}
}

// load is a fresh reading of the throughput in Mbit/s at the drive's next instant.
func (d *drive) load(down, up float64) link.Load {
	return link.Load{Known: true, At: d.at, Rates: link.Rates{Down: unit.Rate(down * 1e6), Up: unit.Rate(up * 1e6)}}
}

// feed steps n times with the same round trip (0: no reply) and load.
func (d *drive) feed(n int, rtt unit.Millis, down, up float64) link.Decision {
	for range n {
		d.one(rtt, d.load(down, up), nil)
	}
	return d.last
}

func (d *drive) one(rtt unit.Millis, l link.Load, replies []link.Reply) link.Decision {
	in := Input{Now: d.at, Load: l, Replies: replies}
	if rtt != 0 {
		in.RTT = link.RTT{OK: true, Value: rtt, At: d.at, Hosts: 3}
	}
	d.last = d.Step(in)
	d.at = d.at.Add(d.cfg.Period)
	return d.last
}

// cycles returns how many steps last d.
func (d *drive) cycles(t time.Duration) int { return int(t / d.cfg.Period) }

func (d *drive) must(t testing.TB, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v (at %v, delta %.3f)", what, got, want, d.last.Now, float64(d.last.Delta))
	}
}

// failer is what a test and a property have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
}
