package tracking

import (
	"testing"
	"time"

	"wanctl/internal/link"
)

// blindfold makes a plant's probes blind from an instant on, and lets nobody answer the ones that look like data.
func (p *plant) blindfold(from time.Duration) {
	p.lost = func(int) bool { return p.at() >= from }
	p.tell = func(p *plant, _ []link.Sample) { p.outside.Blind = p.at() >= from }
}

// Where nobody tells of a queue, the rate keeps to what is delivered: without that it stays where it was, a line's width
// above one that has shrunk.
func TestBlindFollowsWhatIsDelivered(t *testing.T) {
	for _, d := range both {
		p := alone(t, sold(40, 10), d, 40, 10)
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{9, full / 4}, [2]float64{20, full})
		p.buffer = 200
		p.blindfold(6 * s)
		p.run(19 * s)
		p.within(d, 13*s, 19*s, full/4, 1.2*full/4)
		if !p.out.Blind || !p.says("probes_blind") || p.out.Reason.Get(d).Cause == link.CauseRaise {
			t.Errorf("%v: blind is %v, and nobody is told, or it grows (%v)", d, p.out.Blind, p.out.Reason.Get(d).Cause)
		}
		p.within(1-d, 6*s, 19*s, [2]float64{48, 12}[1-d], [2]float64{48, 12}[1-d]) // what is not used tells nothing
		p.tell = func(p *plant, _ []link.Sample) { p.outside.Blind = false }
		p.lost = func(int) bool { return false }
		p.run(9 * s)
		p.carries(d, 25*s, 28*s, 88)
		if p.out.Blind || !p.says("probes_see") {
			t.Errorf("%v: still blind, or nobody is told that it is over", d)
		}
	}
}

// What the line usually carries bounds the rate where that is less: then no queue stands, although nobody tells of it.
func TestBlindKeepsToWhatIsUsual(t *testing.T) {
	for _, d := range both {
		full := [2]float64{40, 10}[d]
		p := newPlant(t, sold(40, 10), 40, 10)
		p.loaded[1-d] = never
		p.loaded[d] = func(at time.Duration) bool { return at >= 4*s }
		var m Memory
		for range enough {
			m.Down[slots/2] = append(m.Down[slots/2], mbps(40))
			m.Up[slots/2] = append(m.Up[slots/2], mbps(10))
		}
		p.ctl.Remember(m)
		p.outside.Minute = noon
		p.blindfold(2 * s)
		p.run(12 * s)
		p.within(d, 4*s, 12*s, 0.9*full, 0.981*full)
		if d == link.Up { // the plant's senders fill the queue before the download's shaper whatever it lets through
			p.queues(d, 5*s, 12*s, 0.95, 5)
		}
		p.carries(d, 5*s, 12*s, 90)
	}
}

// While probes that look like data are answered, few as they are, the law goes on as ever.
func TestBlindWithSamples(t *testing.T) {
	eachAlone(t, func(t *testing.T, p *plant, d link.Direction) {
		p.every, p.outside.Blind = 300, true
		full := [2]float64{40, 10}[d]
		p.capacity[d] = steps([2]float64{0, full}, [2]float64{8, full / 2})
		p.run(16 * s)
		p.carries(d, 5*s, 8*s, 80)
		p.carries(d, 10*s, 16*s, 80)
		p.queues(d, 10*s, 16*s, 0.95, 60)
		if p.out.Delay.Get(d) == 0 && p.out.Delay.Get(1-d) == 0 {
			t.Errorf("%v: no delay is told", d)
		}
	})
}
