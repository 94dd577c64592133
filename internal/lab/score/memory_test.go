package score

import (
	"testing"
	"time"

	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// burst is what becomes of a download that begins after an idle time: how much of the capacity its first second was
// delivered, in percent, and the longest queue.
type burst struct {
	rate  unit.Rate // at its beginning
	share float64
	queue unit.Millis
}

// burstAfter plays a line of 40 Mbit/s that is in use for four minutes, sinks to 12 while the load ends, and is loaded
// again after an idle time, when it carries now.
func burstAfter(t *testing.T, profile string, idle time.Duration, now unit.Rate, timeless bool) burst {
	t.Helper()
	const trained = 240 * time.Second
	begin := trained + idle
	path := func(r unit.Rate, more ...scenario.Step) scenario.Path {
		return scenario.Path{Nominal: r, FIFO: 400 * time.Millisecond, Steps: append([]scenario.Step{{Rate: r}}, more...)}
	}
	sc := &scenario.Scenario{Name: "idle-burst", Duration: begin + 5*time.Second, Links: []scenario.Link{{
		Name: "wan1", Delay: 20 * time.Millisecond, ICMP: scenario.ICMPAlike, Up: path(10 * unit.Mbps),
		Down: path(40*unit.Mbps, scenario.Step{At: trained - 5*time.Second, Rate: 12 * unit.Mbps}, scenario.Step{At: trained + time.Second, Rate: now}),
	}}}
	for _, from := range []time.Duration{5 * time.Second, begin} {
		f := scenario.Flow{Kind: scenario.Bulk, Count: 4, From: from, To: trained, Congestion: "cubic"}
		if from == begin {
			f.To = sc.Duration
		}
		sc.Flows = append(sc.Flows, f)
	}
	for _, ms := range []int{0, 2, 5, 10, 15} {
		sc.Reflectors = append(sc.Reflectors, scenario.Reflector{Extra: time.Duration(ms) * time.Millisecond})
	}
	story, err := Story(sc)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := loops(trackingFile(profile))(&stage{lines: linesOf(sc)})
	if err != nil {
		t.Fatal(err)
	}
	run, err := New(Setup{Scenario: story, Lines: lines, Latency: 2 * time.Millisecond, Timeless: timeless}, nil)
	if err != nil {
		t.Fatal(err)
	}
	run.net.Run(netsim.Epoch.Add(begin))
	b := burst{rate: run.lines[0].wan.Decision().Rates.Down}
	before := run.net.Traffic(0).Down.Delivered
	for i := range 200 {
		run.net.Run(netsim.Epoch.Add(begin + time.Duration(5*(i+1))*time.Millisecond))
		b.queue = max(b.queue, run.net.View(0).Down)
	}
	moved := (run.net.Traffic(0).Down.Delivered - before).Per(time.Second)
	b.share = 100 * float64(moved) / float64(run.net.Capacity(0, link.Down, netsim.Epoch.Add(begin), netsim.Epoch.Add(begin+time.Second)))
	return b
}

// What a line carries at this time of day is where a burst begins after an idle time, whatever was measured last. Without
// that memory its first second is lost to growing.
func TestIdleBurst(t *testing.T) {
	for _, c := range []struct {
		idle     time.Duration
		now      unit.Rate
		timeless bool
		rate     [2]unit.Rate // within
		share    [2]float64
		queue    unit.Millis
	}{
		{time.Minute, 40 * unit.Mbps, false, [2]unit.Rate{27 * unit.Mbps, 34 * unit.Mbps}, [2]float64{85, 100}, 15},
		{10 * time.Minute, 40 * unit.Mbps, false, [2]unit.Rate{37 * unit.Mbps, 40 * unit.Mbps}, [2]float64{90, 100}, 15},
		{10 * time.Minute, 40 * unit.Mbps, true, [2]unit.Rate{11 * unit.Mbps, 13 * unit.Mbps}, [2]float64{30, 50}, 15},
		// Three times as much as it ever was, and no more than it was last: what the memory costs then.
		{10 * time.Minute, 120 * unit.Mbps, false, [2]unit.Rate{37 * unit.Mbps, 40 * unit.Mbps}, [2]float64{30, 100}, 15},
		{10 * time.Minute, 12 * unit.Mbps, false, [2]unit.Rate{37 * unit.Mbps, 40 * unit.Mbps}, [2]float64{80, 100}, 60},
		{10 * time.Minute, 12 * unit.Mbps, true, [2]unit.Rate{11 * unit.Mbps, 13 * unit.Mbps}, [2]float64{80, 100}, 60},
	} {
		b := burstAfter(t, "balanced", c.idle, c.now, c.timeless)
		t.Logf("after %v at %v, timeless %v: from %v, %.0f %%, %v", c.idle, c.now, c.timeless, b.rate, b.share, b.queue)
		if b.rate < c.rate[0] || b.rate > c.rate[1] || b.share < c.share[0] || b.share > c.share[1] || b.queue > c.queue {
			t.Errorf("after %v at %v, timeless %v: begins at %v, %.0f %% in the first second, a queue of %v; want %v, %v, at most %v",
				c.idle, c.now, c.timeless, b.rate, b.share, b.queue, c.rate, c.share, c.queue)
		}
	}
}
