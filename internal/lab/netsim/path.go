package netsim

import (
	"math/rand/v2"

	"wanctl/internal/link"
)

// path is one direction of a line: flows, our shaper and the ISP's FIFO. For uploads the shaper comes first, for
// downloads the FIFO. Times are ns since the scenario's start, rates bytes per ns.
type path struct {
	dir    link.Direction
	supply supply
	chance *rand.Rand

	// What the scenario's events set.
	scale   float64 // share of the supply; 0 in a blackout
	prop    int64   // one-way propagation
	extra   int64   // the provider's delay beyond our link, now
	radio   radio   // what the line itself adds while it is loaded
	lossFar float64 // share lost beyond our link
	loss    float64 // share lost on the line itself
	limit   float64 // FIFO depth, bytes

	rate  float64 // shaper; 0 is none
	flows []*flow

	fifo, shaped float64 // bytes standing in the FIFO and in the shaper
	overflow     float64 // share of the arrivals that the last step tail-dropped
	hungry       bool    // bulk demand in the last step

	sum tally
	old tally // before the last step: counters are read one step late, interpolated
}

// maxHeard bounds the queueing delay that a sender reckons with.
const maxHeard = int64(2e9)

// tally are a path's cumulative counters in bytes.
type tally struct {
	sent, delivered      float64
	tailDrops, fairDrops float64 // by the FIFO, by the shaper
	lineDrops            float64 // random loss
	wan, queue           float64 // through the WAN interface, out of our shaper's queue
	dropped              float64 // packets dropped by the shaper
	offered, used        float64 // capacity and delivery while there was demand
}

// wait is how long a byte that enters the FIFO at t would stand there.
func (p *path) wait(t int64) int64 {
	if p.fifo == 0 {
		if _, _, ok := p.supply.steady(t); ok {
			return 0
		}
	}
	return p.supply.after(t, p.fifo, p.scale) - t
}

// sparse is how long a packet of a sparse flow stands in the shaper: it goes before all bulk, but half a packet is on
// the wire on average.
func (p *path) sparse() int64 {
	if p.rate == 0 || p.shaped < 1 {
		return 0
	}
	return int64(Packet / 2 / p.rate)
}

// beyond is what is added to propagation whatever stands in queues.
func (p *path) beyond() int64 { return p.extra + p.radio.added }

// idle says that the path stays as it is until somebody changes it.
func (p *path) idle() bool {
	if p.fifo != 0 || p.shaped != 0 || p.radio.added != 0 {
		return false
	}
	if p.radio.most > 0 && p.openRate() > 0 {
		return false
	}
	for _, f := range p.flows {
		if !f.quiet() || f.finished() {
			return false
		}
	}
	return true
}

// openRate is what constant-rate flows send.
func (p *path) openRate() float64 {
	sum := 0.0
	for _, f := range p.flows {
		if f.open && !f.closing {
			sum += f.rate
		}
	}
	return sum
}

// jump moves an idle path by dt at once.
func (p *path) jump(dt int64) {
	p.old = p.sum
	p.overflow, p.hungry = 0, false
	lost := 1 - p.loss
	for _, f := range p.flows {
		if !f.open {
			f.pipe = 0
			continue
		}
		b := float64(f.rate * float64(dt))
		p.sum.sent += b
		p.sum.queue += b
		p.sum.wan += b
		p.sum.lineDrops += float64(b * p.loss)
		*f.total += b * lost
		p.sum.delivered += b * lost
	}
}

// step integrates [now, now+dt). rev is the other direction's delay for acknowledgements, base the line's round trip.
func (p *path) step(now, dt, rev, base int64) {
	p.old = p.sum
	p.overflow = 0
	if len(p.flows) == 0 && p.fifo == 0 && p.shaped == 0 {
		p.hungry = false
		p.radio.meter(now, dt, p.sum.delivered, p.supply, p.scale)
		return
	}
	// A sender learns of no queue longer than this: it has timed out by then.
	stand := min(p.wait(now), maxHeard)
	ack := base + p.beyond() + min(rev, maxHeard)
	demand := false
	for _, f := range p.flows {
		queue := stand
		if p.rate > 0 && f.shaper > 0 {
			queue += int64(min(f.shaper/max(f.served/float64(dt), p.rate/float64(8*len(p.flows))), float64(maxHeard)))
		}
		f.send(now, dt, ack, queue)
		p.sum.sent += f.x
		demand = demand || (f.bulk && f.limited)
	}
	// A loss in the FIFO is heard of a round trip after the data behind it; one at our own shaper needs, on a
	// download, only the way back.
	far := now + stand + ack
	before := p.sum.delivered
	capacity := float64(p.supply.bytes(now, now+dt) * p.scale)
	if p.dir == link.Up {
		p.shape(now, dt, far)
		p.count(&p.sum.wan)
		p.queueing(capacity, far)
	} else {
		p.queueing(capacity, far)
		p.count(&p.sum.wan)
		p.shape(now, dt, now+ack/2)
	}
	p.deliver(far)
	p.radio.meter(now, dt, p.sum.delivered, p.supply, p.scale)
	p.hungry = demand || p.fifo > Packet || p.shaped > Packet
	if p.hungry {
		p.sum.offered += capacity
		p.sum.used += p.sum.delivered - before
	}
	p.sweep()
}

func (p *path) count(into *float64) {
	for _, f := range p.flows {
		*into += f.x
	}
}

// queueing passes f.x of every flow through the ISP's FIFO, where the flows mix, and drops what does not fit.
func (p *path) queueing(capacity float64, far int64) {
	in := 0.0
	for _, f := range p.flows {
		in += f.x
	}
	total := p.fifo + in
	if total == 0 {
		return
	}
	served := min(total, capacity)
	if over := total - served - p.limit; over > 0 && in > 0 {
		p.overflow = min(over/in, 1)
	}
	total = 0
	for _, f := range p.flows {
		if drop := f.x * p.overflow; drop > 0 {
			f.x -= drop
			f.miss(drop)
			p.sum.tailDrops += drop
			p.maybeLose(f, drop/Packet, far)
		}
		f.fifo += f.x
		total += f.fifo
	}
	share := 1.0
	if served < total {
		share = served / total
	}
	p.fifo = 0
	for _, f := range p.flows {
		f.x = f.fifo * share
		f.fifo -= f.x
		if f.fifo < 1e-6 {
			f.x += f.fifo
			f.fifo = 0
		}
		p.fifo += f.fifo
	}
}

// maybeLose signals a loss when at least one of n packets (n may be a fraction) was lost.
func (p *path) maybeLose(f *flow, n float64, due int64) {
	if f.lossDue == 0 && (n >= 1 || p.chance.Float64() < n) {
		f.lose(due)
	}
}

// shape passes f.x of every flow through our shaper: an equal share each, what one does not need goes to the
// others, and CoDel on each queue.
func (p *path) shape(now, dt, due int64) {
	if p.rate == 0 {
		for _, f := range p.flows {
			f.x += f.shaper
			f.shaper, f.served = 0, f.x
			p.sum.queue += f.x
		}
		p.shaped = 0
		return
	}
	left, waiting := float64(p.rate*float64(dt)), 0
	for _, f := range p.flows {
		f.shaper += f.x
		f.x, f.served = 0, 0
		if f.shaper > 0 {
			waiting++
		}
	}
	for waiting > 0 && left > 1e-9 {
		share, content := left/float64(waiting), 0
		for _, f := range p.flows {
			if f.shaper > 0 && f.shaper <= share {
				left -= f.shaper
				f.served += f.shaper
				f.shaper = 0
				content++
			}
		}
		waiting -= content
		if content > 0 {
			continue
		}
		for _, f := range p.flows {
			if f.shaper > 0 {
				f.shaper -= share
				f.served += share
				if f.shaper < 1e-6 {
					f.served += f.shaper
					f.shaper = 0
				}
			}
		}
		left = 0
	}
	// CAKE raises its target where one packet alone takes longer (sch_cake: 1.5 packet times).
	target := max(codelTarget, int64(1.5*Packet/p.rate))
	p.shaped = 0
	for _, f := range p.flows {
		f.x = f.served
		p.sum.queue += f.x
		if f.shaper > 0 {
			sojourn := int64(f.shaper / max(f.served/float64(dt), 1e-9))
			if n := f.codel.drops(now, sojourn, target, f.shaper); n > 0 {
				p.fairDrop(f, float64(n*Packet), due)
			}
			p.shaped += f.shaper
		} else {
			f.codel.drops(now, 0, target, 0)
		}
	}
	p.bound(due)
}

// bound keeps the shaper's memory: four intervals of the rate, at least 4 MB (sch_cake); the fattest queue pays.
func (p *path) bound(due int64) {
	for limit := max(4e6, p.rate*float64(4*codelInterval)); p.shaped > limit; {
		fat := p.flows[0]
		for _, f := range p.flows {
			if f.shaper > fat.shaper {
				fat = f
			}
		}
		// An excess below a packet still costs a whole one, so that the loop ends.
		drop := min(fat.shaper, max(min(p.shaped-limit, fat.shaper/2), Packet))
		p.fairDrop(fat, drop, due)
		p.shaped -= drop
	}
}

func (p *path) fairDrop(f *flow, b float64, due int64) {
	b = min(b, f.shaper)
	f.shaper -= b
	f.miss(b)
	p.sum.fairDrops += b
	p.sum.dropped += b / Packet
	f.lose(due)
}

// deliver hands f.x to the receivers, except what is lost on the way.
func (p *path) deliver(due int64) {
	for _, f := range p.flows {
		if f.x == 0 {
			continue
		}
		packets := f.x / Packet
		if p.loss > 0 {
			lost := f.x * p.loss
			f.x -= lost
			f.miss(lost)
			p.sum.lineDrops += lost
			p.maybeLose(f, packets*p.loss, due)
		}
		if p.lossFar > 0 {
			// Lost beyond the link and sent again: the line carries the second copy, the sender slows down.
			p.maybeLose(f, packets*p.lossFar, due)
		}
		*f.total += f.x
		p.sum.delivered += f.x
		if !f.open {
			f.pipe += f.x
			f.echo.pending += float64(f.x * ackShare)
		}
	}
}

// sweep removes the flows that are done.
func (p *path) sweep() {
	keep := p.flows[:0]
	for _, f := range p.flows {
		if !f.finished() {
			keep = append(keep, f)
		} else if f.echo != nil {
			f.echo.closing = true
		}
	}
	clear(p.flows[len(keep):])
	p.flows = keep
}

// standing is what stands in both queues, in bytes.
func (p *path) standing() float64 { return p.fifo + p.shaped }
