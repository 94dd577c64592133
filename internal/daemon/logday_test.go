package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// dayClock is a bubble's own time.
type dayClock struct{ began time.Time }

func (c dayClock) Now() unit.Time  { return unit.Time(time.Hour + time.Since(c.began)) }
func (c dayClock) Wall() time.Time { return time.Now() }

// tally counts what is written, by level.
type tally struct {
	Bytes, Lines, Loud int
	Loudest            []string
}

func (c *tally) Write(p []byte) (int, error) {
	c.Bytes += len(p)
	c.Lines++
	if !strings.Contains(string(p), "[INFO]") {
		c.Loud++
		c.Loudest = append(c.Loudest, string(p))
	}
	return len(p), nil
}

// errUnreachable is what a dead router's hand says.
var errUnreachable = errors.New("read queues on router wanctl@192.0.2.9:22: unreachable: dial tcp 192.0.2.9:22: connect: no route to host; check " +
	"address and port, that the router is up, that /ip/service has ssh enabled and that its address list and firewall let this host in")

// day runs a loop for a time in a bubble and counts what it logs.
func day[O, R any](d, period time.Duration, begin func(Clock, unit.Time) (core[O, R], func(unit.Time) []string), do func(Clock, O) R) (*tally, error) {
	var out tally
	log, err := OpenLog(LogOptions{Name: "ATT", Stderr: &out})
	if err != nil {
		return nil, err
	}
	clock := dayClock{time.Now()}
	c, why := begin(clock, clock.Now())
	l := newLoop(clock, period, c, log)
	l.do = func(_ context.Context, op O) R { return do(clock, op) }
	l.after = func(now unit.Time, _ Outcome[O], _ bool) {
		if why != nil {
			log.stands(now, why(now))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	l.run(ctx)
	return &out, log.Close()
}

// TestLogBytesOfADay measures what a controller logs in a day: of a healthy line, with its router dead, with no reflector that
// answers, with a router that comes and goes, and of steering. With WANCTL_LONG it plays whole days, else two hours, which
// have most of what a day says beyond its cycles.
func TestLogBytesOfADay(t *testing.T) {
	whole := 2 * time.Hour
	if os.Getenv("WANCTL_LONG") != "" {
		whole = 24 * time.Hour
	}
	for _, c := range []struct {
		name           string
		period         time.Duration
		silent         bool
		dead           func(at time.Duration) bool
		most, mostLoud int // bytes beyond the cycles' lines, and lines that are no INFO
	}{
		{"healthy", 2 * time.Second, false, nil, 1000, 0},
		{"healthy at 50 ms", 50 * time.Millisecond, false, nil, 1000, 0},
		{"the router is dead", 2 * time.Second, false, func(time.Duration) bool { return true }, 20_000, 40},
		{"the router is there every other minute", 2 * time.Second, false, func(at time.Duration) bool { return at/time.Minute%2 == 1 }, 40_000, 60},
		{"no reflector answers", 2 * time.Second, true, nil, 250_000, 1500},
	} {
		t.Run(c.name, func(t *testing.T) {
			length := whole
			if c.period < time.Second {
				length = min(length, time.Hour)
			}
			synctest.Test(t, func(t *testing.T) {
				text := attText
				if c.period < time.Second {
					text = strings.Replace(text, "interval_ms: 2000", "interval_ms: 50", 1)
				}
				f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
				if f == nil {
					t.Fatal(ds)
				}
				limits := ceiling
				cycles := 0
				out, err := day(length, c.period, func(clock Clock, now unit.Time) (core[actuate.Op, actuate.Result], func(unit.Time) []string) {
					pings := newScripted(clock, 28)
					if c.silent {
						pings.set(0)
					}
					w, err := NewWAN(WANOptionsOf(f.WAN, false), pings, now, nil)
					if err != nil {
						t.Fatal(err)
					}
					return w, func(at unit.Time) []string { cycles = int(w.seq); return w.why(at) }
				}, func(clock Clock, op actuate.Op) actuate.Result {
					if c.dead != nil && c.dead(time.Duration(clock.Now())) {
						time.Sleep(3 * time.Second)
						return actuate.Result{Op: op, Err: errUnreachable, Class: actuate.Transient}
					}
					time.Sleep(20 * time.Millisecond)
					for _, d := range bothWays {
						if v := op.Want.Get(d); op.Write && v > 0 {
							limits.Set(d, v)
						}
					}
					r := link.Report{At: clock.Now(), Uptime: time.Duration(clock.Now())}
					r.Down.MaxLimit, r.Up.MaxLimit = limits.Down, limits.Up
					return actuate.Result{Op: op, Sent: true, Report: r}
				})
				if err != nil {
					t.Fatal(err)
				}
				line := len("2026-01-02 15:04:05,000 [ATT] [INFO] ATT: [GREEN/GREEN] RTT=28.0ms, load_ewma=28.0ms, baseline=28.0ms, delta=0.0ms | DL=95M, UL=18M\n")
				if c.silent {
					cycles = 0
				}
				beyond := out.Bytes - cycles*line
				scale := float64(24*time.Hour) / float64(length)
				t.Logf("in %v: %.2f MB in %d lines, of which %d B and %d warnings or errors beyond the cycles'; %.2f MB of lines in a day",
					length, float64(out.Bytes)/1e6, out.Lines, beyond, out.Loud, scale*float64(cycles*line)/1e6)
				if beyond > c.most || out.Loud > c.mostLoud {
					t.Errorf("more than %d B or %d warnings and errors:\n%s", c.most, c.mostLoud, strings.Join(out.Loudest[:min(len(out.Loudest), 50)], ""))
				}
				if c.dead != nil && out.Loud < 3 || c.silent && out.Loud < 100 {
					t.Errorf("only %d warnings and errors", out.Loud)
				}
			})
		})
	}
}
