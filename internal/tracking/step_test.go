package tracking

import (
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// reply returns the input of one reply under a queue, with the readings at both ends of its probe, on a line of 40 and 10
// Mbit/s: what a daemon gives twenty times a second.
func reply(in *Input, i int, oneWay bool) {
	at := launch.Add(time.Duration(i) * 50 * time.Millisecond)
	sent := at.Add(-20 * time.Millisecond)
	bytes := func(t unit.Time, mbps float64) unit.Bytes {
		return unit.Bytes(mbps * 1e6 / 8 * t.Sub(launch).Seconds())
	}
	delta := unit.Millis([]float64{0, 0, 0, 0, 12, 25, 40, 30, 20, 10, 5, 1}[i%12])
	in.Now = at
	in.Counters = append(in.Counters[:0],
		link.Counters{At: sent, Rx: bytes(sent, 40), Tx: bytes(sent, 10)}, link.Counters{At: at, Rx: bytes(at, 40), Tx: bytes(at, 10)})
	in.Samples = append(in.Samples[:0], link.Sample{
		Host: i % 5, Sent: sent, Received: at, Delta: delta, OneWay: oneWay, Way: link.Pair[unit.Millis]{Down: delta, Up: delta},
	})
	in.Silence = link.Silence{Sent: sent, Over: delta, Hosts: i % 3}
}

// What is done for each reply takes no memory: the loop runs for months on small routers.
func TestStepDoesNotAllocate(t *testing.T) {
	each(t, func(t *testing.T, oneWay bool) {
		c, err := New(Config{Hosts: 5, Max: link.Rates{Down: mbps(48), Up: mbps(12)}})
		if err != nil {
			t.Fatal(err)
		}
		var in Input
		i := 0
		cuts := 0
		step := func() {
			reply(&in, i, oneWay)
			if c.Step(in).Queue.Up {
				cuts++
			}
			i++
		}
		for range 2 * kept {
			step()
		}
		if n := testing.AllocsPerRun(1200, step); n != 0 {
			t.Errorf("a step allocates %v times", n)
		}
		if cuts == 0 {
			t.Error("nothing was ever drained: the steps above are not what a line gives")
		}
	})
}

func BenchmarkStep(b *testing.B) {
	c, err := New(Config{Hosts: 5, Max: link.Rates{Down: mbps(48), Up: mbps(12)}})
	if err != nil {
		b.Fatal(err)
	}
	in := Input{Counters: make([]link.Counters, 0, 2), Samples: make([]link.Sample, 0, 1)}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		reply(&in, i, false)
		c.Step(in)
		i++
	}
}
