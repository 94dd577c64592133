package netsim

import (
	"math"
	"math/rand/v2"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// wobbleEvery is how often the provider's delay takes a new value during a congestion beyond our link.
const wobbleEvery = int64(500 * time.Millisecond)

// line is one WAN: two paths, its calls and what is measured on it.
type line struct {
	spec   LinkSpec
	step   int64
	t      int64 // integrated up to here, ns since Epoch; always on the grid
	before int64 // where the last step began
	paths  link.Pair[*path]
	chance *rand.Rand

	active   []*Event
	provider []*Event // the active congestions beyond the link
	wobble   int64    // when they next change
	black    bool
	calls    []*Call
	truth    Truth
	gauge    gauge
	quotas   []quota            // of the hosts
	sparse   link.Pair[float64] // bytes of probes and calls, for the counters
}

func newLine(spec LinkSpec, index int, s *Scenario) *line {
	l := &line{
		spec: spec, step: int64(s.Step), chance: stream(s.Seed, 1, uint64(index)),
		gauge: gauge{every: int64(s.Series), next: int64(s.Series)}, quotas: make([]quota, len(s.Hosts)),
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		ps := spec.path(d)
		l.paths.Set(d, &path{
			dir: d, supply: ps.Capacity.compile(), chance: stream(s.Seed, 2, uint64(index)<<1|uint64(d)),
			scale: 1, prop: int64(ps.Delay), loss: ps.Loss.Factor(), limit: float64(ps.depth()),
			radio: radio{most: int64(ps.LoadedDelay), share: ps.LoadedShare.Factor()},
		})
	}
	return l
}

// stream returns an independent source of chance for one purpose.
func stream(seed, purpose, index uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, purpose<<48|index))
}

// base is the line's idle round trip.
func (l *line) base() int64 { return l.paths.Down.prop + l.paths.Up.prop }

// advance integrates up to the last grid point at or before t.
func (l *line) advance(now unit.Time) {
	target := int64(now.Sub(Epoch))
	target -= target % l.step
	for l.t < target {
		dt := l.step
		if until := l.quietUntil(target); until > l.t+l.step {
			dt = until - l.t
		}
		l.before = l.t
		if dt > l.step {
			l.observe(dt)
			l.paths.Down.jump(dt)
			l.paths.Up.jump(dt)
		} else {
			l.integrate()
		}
		l.t += dt
		l.sparseTraffic(dt)
		if l.gauge.every > 0 && l.t >= l.gauge.next {
			l.point()
		}
		if len(l.provider) > 0 && l.t >= l.wobble {
			l.stir()
		}
	}
}

// quietUntil returns how far the line may jump, at most to target; l.t when it may not.
func (l *line) quietUntil(target int64) int64 {
	for _, p := range []*path{l.paths.Down, l.paths.Up} {
		if !p.idle() {
			return l.t
		}
		rate, until, ok := p.supply.steady(l.t)
		need := p.openRate()
		if !ok || rate*p.scale*0.95 < need || (p.rate > 0 && p.rate*0.95 < need) {
			return l.t
		}
		target = min(target, until)
	}
	if l.gauge.every > 0 {
		target = min(target, l.gauge.next)
	}
	if len(l.provider) > 0 {
		target = min(target, l.wobble)
	}
	return target - target%l.step
}

func (l *line) integrate() {
	down, up := l.paths.Down, l.paths.Up
	l.observe(l.step)
	base := l.base()
	toDown, toUp := up.wait(l.t)+up.sparse()+up.beyond(), down.wait(l.t)+down.sparse()+down.beyond()
	down.step(l.t, l.step, toDown, base)
	up.step(l.t, l.step, toUp, base)
}

// observe takes the truth at l.t for the dt that follow.
func (l *line) observe(dt int64) {
	down, up := l.paths.Down, l.paths.Up
	out := l.black || l.out(down) || l.out(up)
	addDown := time.Duration(down.wait(l.t) + down.sparse() + down.beyond())
	addUp := time.Duration(up.wait(l.t) + up.sparse() + up.beyond())
	lost := 1 - down.passes()*up.passes()
	if l.black {
		lost = 1
	}
	weight, step := dt/l.step, time.Duration(l.step)
	l.truth.Line.add(addDown, addUp, step, weight, out, lost)
	for _, c := range l.calls {
		c.Delays.add(addDown, addUp, step, weight, out, lost)
	}
	g := &l.gauge
	if g.every == 0 {
		return
	}
	g.steps += weight
	g.out = g.out || out
	if !out {
		g.delay += float64(addDown+addUp) * float64(weight)
		g.max = max(g.max, addDown+addUp)
	}
	g.capacity.Down += down.offer(l.t, dt)
	g.capacity.Up += up.offer(l.t, dt)
}

// offer is the capacity of dt from t, in bytes; a steady supply is asked once.
func (p *path) offer(t, dt int64) float64 { return p.supply.bytes(t, t+dt) * p.scale }

// passes is the share of small packets that arrive.
func (p *path) passes() float64 { return (1 - p.loss) * (1 - p.lossFar) * (1 - p.overflow) }

// out says that the path carries less than one packet per 100 ms.
func (l *line) out(p *path) bool {
	if rate, until, ok := p.supply.steady(l.t); ok && until-l.t >= outageWindow {
		return rate*p.scale*float64(outageWindow) < Packet
	}
	return p.offer(l.t, outageWindow) < Packet
}

// sparseTraffic books the bytes of calls, which load nothing but show in the counters.
func (l *line) sparseTraffic(dt int64) {
	if n := len(l.calls); n > 0 && !l.black {
		b := float64(n) * float64(oneCallRate) / 8e9 * float64(dt)
		l.sparse.Down += b
		l.sparse.Up += b
	}
}

// point closes a point of the series.
func (l *line) point() {
	g := &l.gauge
	span := time.Duration(l.t - g.since)
	s := Sample{At: Epoch.Add(time.Duration(l.t)), Calls: len(l.calls), Outage: g.out, AddedMax: unit.ToMillis(g.max)}
	for _, d := range []link.Direction{link.Down, link.Up} {
		p := l.paths.Get(d)
		s.Capacity.Set(d, unit.Bytes(g.capacity.Get(d)).Per(span))
		s.Delivered.Set(d, unit.Bytes(p.sum.delivered-g.from.Get(d)).Per(span))
		s.Shaper.Set(d, p.shaperRate())
		g.from.Set(d, p.sum.delivered)
	}
	if g.steps > 0 {
		s.Added = unit.Millis(g.delay / float64(g.steps) / 1e6)
	}
	g.collected = append(g.collected, s)
	g.capacity, g.delay, g.steps, g.max, g.out, g.since = link.Pair[float64]{}, 0, 0, 0, false, l.t
	g.next += g.every
}

// stir gives the provider's congestion its next value.
func (l *line) stir() {
	l.wobble = l.t + wobbleEvery
	for _, d := range []link.Direction{link.Down, link.Up} {
		p := l.paths.Get(d)
		p.extra, p.lossFar = 0, 0
		pass := 1.0
		for _, e := range l.provider {
			if !e.Dir.has(d) {
				continue
			}
			swing := 1 + float64(e.Wobble.Factor()*(2*l.chance.Float64()-1))
			p.extra += int64(swing * float64(e.Delay))
			pass *= 1 - e.Loss.Factor()
		}
		p.lossFar = 1 - pass
	}
}

// shaperRate is the shaper's rate in bit/s, 0 for none.
func (p *path) shaperRate() unit.Rate { return unit.Rate(math.Round(p.rate * 8e9)) }

// read interpolates a counter one grid step back from now, so that a difference of two readings is a true rate.
func (l *line) read(now unit.Time, old, sum float64) float64 {
	span := float64(l.t - l.before)
	if span <= 0 {
		return sum
	}
	at := float64(int64(now.Sub(Epoch)) - l.step - l.before)
	return old + (sum-old)*min(max(at/span, 0), 1)
}

// queue is our shaper as its router reports it.
func (l *line) queue(now unit.Time, d link.Direction) link.Queue {
	p := l.paths.Get(d)
	moved := l.read(now, p.old.queue, p.sum.queue) + l.sparse.Get(d)
	return link.Queue{
		MaxLimit: p.shaperRate(),
		Bytes:    unit.Bytes(moved), Packets: int64(moved / Packet), Dropped: int64(p.sum.dropped),
		QueuedBytes: unit.Bytes(p.shaped), QueuedPackets: int64(math.Ceil(p.shaped / Packet)),
	}
}

// report is what the line's router would answer at now.
func (l *line) report(now unit.Time) link.Report {
	r := link.Report{At: now, Uptime: time.Duration(now), HasWAN: true}
	r.Down, r.Up = l.queue(now, link.Down), l.queue(now, link.Up)
	r.WANRx = unit.Bytes(l.read(now, l.paths.Down.old.wan, l.paths.Down.sum.wan) + l.sparse.Down)
	r.WANTx = unit.Bytes(l.read(now, l.paths.Up.old.wan, l.paths.Up.sum.wan) + l.sparse.Up)
	return r
}

func (l *line) view() View {
	v := View{Calls: len(l.calls)}
	for _, d := range []link.Direction{link.Down, link.Up} {
		p := l.paths.Get(d)
		v.Capacity.Set(d, unit.Bytes(p.offer(l.t, outageWindow)).Per(time.Duration(outageWindow)))
		v.Shaper.Set(d, p.shaperRate())
		v.FIFO.Set(d, unit.Bytes(p.fifo))
		v.Queue.Set(d, unit.Bytes(p.shaped))
	}
	v.Down = unit.ToMillis(time.Duration(l.paths.Down.wait(l.t) + l.paths.Down.sparse() + l.paths.Down.beyond()))
	v.Up = unit.ToMillis(time.Duration(l.paths.Up.wait(l.t) + l.paths.Up.sparse() + l.paths.Up.beyond()))
	return v
}

// traffic is the truth about a path's bytes.
func (p *path) traffic() Traffic {
	return Traffic{
		Sent: unit.Bytes(p.sum.sent), Delivered: unit.Bytes(p.sum.delivered), Queued: unit.Bytes(p.standing()),
		TailDropped: unit.Bytes(p.sum.tailDrops), FairDropped: unit.Bytes(p.sum.fairDrops),
		LineDropped: unit.Bytes(p.sum.lineDrops), Offered: unit.Bytes(p.sum.offered), Used: unit.Bytes(p.sum.used),
	}
}
