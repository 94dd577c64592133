package report

import (
	"math"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// synth makes a realistic record without a kernel: a fluid model of a line with a byte FIFO, of a shaper in front of it
// and of TCP that fills whatever it is given.
type synth struct {
	controller string
	seed       uint64
	// step is the time between probes in ms.
	step int
	// steps replace the download's capacity; faults and loss are as they are.
	steps  []scenario.Step
	faults []scenario.Fault
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// story is a line of 40/8 Mbit/s whose download is halved from 8 to 14 s.
func (y synth) story() scenario.Scenario {
	steps := y.steps
	if steps == nil {
		steps = []scenario.Step{
			{Rate: 40 * unit.Mbps},
			{At: seconds(8), Rate: 20 * unit.Mbps},
			{At: seconds(14), Rate: 40 * unit.Mbps},
		}
	}
	return scenario.Scenario{
		Name: "drop <short>", About: "The download is halved for six seconds | and comes back.", Duration: seconds(20), Seed: 7,
		Links: []scenario.Link{{
			Name: "cable_1", Delay: seconds(0.020), ICMP: scenario.ICMPAlike,
			Down: scenario.Path{Nominal: 40 * unit.Mbps, FIFO: seconds(0.4), Steps: steps},
			Up:   scenario.Path{Nominal: 8 * unit.Mbps, FIFO: seconds(0.3), Steps: []scenario.Step{{Rate: 8 * unit.Mbps}}},
		}},
		Flows: []scenario.Flow{
			{Kind: scenario.Bulk, Count: 4, From: seconds(2), To: seconds(19), Congestion: "cubic"},
			{Kind: scenario.Call, Count: 1, From: seconds(2), To: seconds(19), Size: 160, Every: seconds(0.02)},
		},
		Phases: []scenario.Phase{
			{Name: "before", From: seconds(3), To: seconds(8)},
			{Name: "halved", From: seconds(8), To: seconds(14)},
			{Name: "after", From: seconds(14), To: seconds(19)},
		},
		Faults: y.faults,
	}
}

func capacityAt(steps []scenario.Step, t float64) float64 {
	r := 0.0
	for _, s := range steps {
		if s.At.Seconds() <= t+1e-9 {
			r = float64(s.Rate)
		}
	}
	return r
}

func (y synth) raw() *Raw {
	s := y.story()
	raw := &Raw{Meta: Meta{
		Schema: MetaSchema, Controller: y.controller, Scenario: s, Clock: "virtual", Kernel: "6.12.0-test", Version: "v0-test",
		WallS: 12.5, ControllerCPUS: -1,
	}}
	for _, d := range directions {
		for _, st := range s.Links[0].Path(d).Steps {
			raw.Capacity = append(raw.Capacity, Capacity{At: st.At.Seconds(), Dir: d, Rate: st.Rate, Lag: 0.1})
		}
	}
	const dt = 0.001
	fifo := float64((40 * unit.Mbps).Over(seconds(0.4))) * 8
	rnd := y.seed*2862933555777941757 + 3037000493
	chance := func() float64 {
		rnd ^= rnd << 13
		rnd ^= rnd >> 7
		rnd ^= rnd << 17
		return float64(rnd>>11) / (1 << 53)
	}
	rate, queue, left, dropped := 38e6, 0.0, 0.0, 0.0
	var state link.State
	saw := 0.0
	for i := range int(s.Duration.Seconds() / dt) {
		t := float64(i) * dt
		capacity := capacityAt(s.Links[0].Down.Steps, t)
		down := false
		for _, f := range y.faults {
			down = down || f.Kind == scenario.LinkDown && f.At.Seconds() <= t && t < (f.At+f.For).Seconds()
		}
		offered := 0.0
		if t >= 2 && t < 19 {
			offered = rate
			if y.controller == "none" {
				offered = capacity*1.02 + 1e6
			}
			offered *= min(1, (t-2)/1.5)
		}
		// TCP's saw against a full buffer.
		if saw = max(0, saw-dt); saw > 0 {
			offered *= 0.9
		}
		in := offered*dt + queue
		out := min(in, capacity*dt)
		if down {
			in, out = 0, 0
		}
		queue, left = in-out, left+out
		if queue > fifo {
			dropped += math.Ceil((queue - fifo) / 12000)
			queue, saw = fifo, 0.3
		}
		wait := 0.0
		switch {
		case capacity > 0:
			wait = queue / capacity * 1000
		case queue > 0:
			for u := t; capacityAt(s.Links[0].Down.Steps, u) == 0 && u < 60; u += dt {
				wait += 1000 * dt
			}
		}
		jitter := 0.0
		if offered > 0 && y.controller != "none" {
			jitter = 12e6 / rate * chance()
		}
		if i%y.step == 0 {
			lost := down || saw > 0.29 && chance() < 0.5
			raw.Probes = append(raw.Probes,
				Probe{At: t, Dir: link.Down, Delay: unit.Millis(10 + wait + jitter), Lost: lost},
				Probe{At: t, Dir: link.Up, Delay: unit.Millis(10 + jitter/4), Lost: down})
		}
		if i%50 == 0 {
			raw.Probes = append(raw.Probes, Probe{At: t, ICMP: true, Delay: unit.Millis(20 + wait + 1.25*jitter), Lost: down})
			bytes := unit.Bytes(left / 8)
			raw.Queues = append(raw.Queues,
				Queue{At: t, Dir: link.Down, Line: true, Queue: link.Queue{MaxLimit: unit.Rate(capacity), Bytes: bytes, Dropped: int64(dropped)}},
				Queue{At: t, Dir: link.Up, Line: true, Queue: link.Queue{MaxLimit: 8 * unit.Mbps, Bytes: bytes / 60}})
			if y.controller != "none" {
				raw.Queues = append(raw.Queues,
					Queue{At: t, Dir: link.Down, Queue: link.Queue{MaxLimit: unit.Rate(rate), Bytes: bytes, Dropped: int64(t * 20), Marked: int64(t * 3)}},
					Queue{At: t, Dir: link.Up, Queue: link.Queue{MaxLimit: 7_600_000, Bytes: bytes / 60}})
			}
			raw.Flows = append(raw.Flows,
				Flow{At: t, Bytes: bytes},
				Flow{At: t, Flow: 1, Dir: link.Down, Bytes: unit.Bytes(max(0, t-2) * 8000)},
				Flow{At: t, Flow: 1, Dir: link.Up, Bytes: unit.Bytes(max(0, t-2) * 8000)})
			if y.controller == "wanctl" {
				switch {
				case wait > 30:
					state, rate = link.Red, max(8e6, rate*0.85)
				case wait > 15:
					state, rate = link.SoftRed, min(rate, 24e6)
				case wait > 5:
					state = link.Yellow
				default:
					state, rate = link.Green, min(38e6, rate+0.25e6)
				}
				raw.States = append(raw.States, State{
					At: t, State: link.Pair[link.State]{Down: state}, RTT: unit.Millis(20 + wait), Baseline: 20,
					Rates: link.Rates{Down: unit.Rate(rate), Up: 7_600_000},
				})
			}
		}
	}
	return raw
}
