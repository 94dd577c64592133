package tracking

import (
	"math"
	"slices"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// plant is a line as a fluid, in steps of a millisecond: a greedy source, the provider's FIFO and our shaper in each
// direction, and reflectors behind it. It knows nothing of chance but what its seed gives, and its products are not fused
// with its sums: the transcripts are the same on every machine. Times are since its start.
type plant struct {
	t   testing.TB
	ctl *Controller

	// capacity is what each direction carries, in Mbit/s.
	capacity [2]func(at time.Duration) float64
	// loaded says whether the source of a direction sends; flood is what arrives in a direction whatever we do, in Mbit/s.
	loaded [2]func(at time.Duration) bool
	flood  [2]float64
	// floor is the delay in ms that an upload in use meets beyond every queue.
	floor float64
	// floorAt is the use, as a share of its capacity, from which on it meets all of it.
	floorAt float64
	// floorSteps says that below that use it meets none of it, instead of a part.
	floorSteps bool
	// buffer is how much the provider's FIFO holds, in ms of its capacity.
	buffer float64
	// further is what a reflector's path takes on top, in ms, by host and instant.
	further func(host int, at time.Duration) float64
	// hosts answer in turn, one probe each so many ms; 0 is 50.
	hosts  int
	every  int
	oneWay bool
	noise  unit.Millis
	lost   func(probe int) bool
	// readings is how far the readings of the counters are apart, and late how long they take; 0 is at each probe's ends.
	readings, late time.Duration
	// slow is how long a rate takes to come into force; one is under way at a time.
	slow time.Duration
	// reset is when the counters start again from nothing.
	reset time.Duration
	// outside is what the controller is told beside all that.
	outside link.Outside

	ways    [2]stream
	ms      int
	log     []moment
	tell    func(*plant, []link.Sample)
	force   link.Rates // the rates in force, and the command under way
	command struct {
		rates link.Rates
		at    int
	}
	out   Output
	notes []link.Note

	// What a sensor keeps: probes not yet overtaken, baselines of the round trip and of each way.
	open  []*probe
	sent  int
	bases [][3]float64
	read  []dated
	since link.Counters
	seed  uint64
}

// stream is one direction.
type stream struct {
	window, flight float64
	starting       bool
	queue          float64   // in our shaper
	fifo, small    float64   // in the provider's, and what of it are acknowledgements
	in, gone       float64   // what ever arrived at it and what left
	crossed        float64   // our counter
	arrive, acks   []float64 // bits due at the FIFO or at the sender, by ms
	ackIn          []float64 // bits whose acknowledgements are due at this direction's FIFO
	items          []item
}

// item is something small that waits in a FIFO.
type item struct {
	at    float64 // what has to have left before it
	acked float64 // bits that it acknowledges
	probe *probe
}

// probe is one under way, or answered.
type probe struct {
	n, host int
	sent    unit.Time
	due     float64 // when it comes to the next queue, or came back, in ms since the start
	up      float64 // how long it waited on the way up
	stage   int
}

// The stages of a probe.
const (
	queueUp = iota
	away
	queueDown
	back
)

// dated is a reading that the controller gets to see at an instant.
type dated struct {
	c  link.Counters
	at int
}

// moment is a millisecond of the record.
type moment struct {
	at               time.Duration
	capacity, wanted [2]float64 // Mbit/s
	delay            [2]float64 // of the provider's queue, in ms
	moved            [2]float64 // bits delivered
}

const (
	launch    = 100 * unit.Time(time.Second)
	ringOf    = 4096
	wayOf     = 10 // ms, each way
	ackShare  = 0.02
	ourBuffer = 30.0 // ms that our shaper's queue is allowed to reach
	startsAt  = 10 * packet
	eager     = 0.03 // growth of a window per window, once it has seen a loss
)

// newPlant returns a line of constant capacity, in Mbit/s, whose directions are both in use.
func newPlant(t testing.TB, cfg Config, down, up float64) *plant {
	t.Helper()
	p := &plant{t: t, hosts: 5, seed: 1, floorAt: 0.1, buffer: 500}
	if cfg.Hosts == 0 {
		cfg.Hosts = p.hosts
	}
	p.hosts = cfg.Hosts
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.ctl = c
	p.capacity = [2]func(time.Duration) float64{constant(down), constant(up)}
	p.loaded = [2]func(time.Duration) bool{always, always}
	p.further = func(host int, _ time.Duration) float64 { return float64(3 * host) }
	p.lost = func(int) bool { return false }
	for d := range p.ways {
		p.ways[d] = stream{window: startsAt, starting: true, arrive: make([]float64, ringOf), acks: make([]float64, ringOf), ackIn: make([]float64, ringOf)}
	}
	p.bases = make([][3]float64, p.hosts)
	for h := range p.bases {
		p.bases[h] = [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	}
	p.force = link.Rates{Down: c.Rate(link.Down), Up: c.Rate(link.Up)}
	return p
}

func constant(mbps float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return mbps }
}

// always is from the first second on: until then every reflector has been heard on a clear line.
func always(at time.Duration) bool { return at >= time.Second }
func never(time.Duration) bool     { return false }

// steps is a capacity that changes at once: {from, Mbit/s}, in order.
func steps(s ...[2]float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		now := s[0][1]
		for _, x := range s {
			if at.Seconds() >= x[0] {
				now = x[1]
			}
		}
		return now
	}
}

// chance is the next of a fixed row of numbers from 0 to 1.
func (p *plant) chance() float64 {
	p.seed = p.seed*6364136223846793005 + 1442695040888963407
	return float64(p.seed>>11) / (1 << 53)
}

// run lets the line live for so long.
func (p *plant) run(d time.Duration) *plant {
	for range d.Milliseconds() {
		p.millisecond()
	}
	return p
}

func (p *plant) at() time.Duration       { return time.Duration(p.ms) * time.Millisecond }
func (p *plant) now() unit.Time          { return launch.Add(p.at()) }
func (p *plant) slot(ms float64) int     { return (p.ms + max(1, int(math.Round(ms)))) % ringOf }
func take(ring []float64, i int) float64 { x := ring[i%ringOf]; ring[i%ringOf] = 0; return x }

func (p *plant) millisecond() {
	p.ms++
	rec := moment{at: p.at()}
	if p.command.at != 0 && p.ms >= p.command.at {
		p.force, p.command.at = p.command.rates, 0
	}
	for _, d := range both {
		w := &p.ways[d]
		capacity := p.capacity[d](p.at())
		rec.capacity[d] = capacity
		p.send(d)
		acks := take(w.ackIn, p.ms) * ackShare
		var data float64
		if d == link.Down {
			data, acks = p.provide(d, take(w.arrive, p.ms)+float64(p.flood[d]*1000), acks, capacity)
			data = p.shape(d, data, acks)
			p.ways[link.Up].ackIn[p.slot(1)] += data
		} else {
			now := min(acks, float64(p.force.Up)/1000) // they wait for the shaper, too
			w.ackIn[p.slot(1)] += float64((acks - now) / ackShare)
			data, acks = p.provide(d, p.shape(d, p.flood[d]*1000, now), now, capacity)
			p.ways[link.Down].ackIn[p.slot(2*wayOf+p.extra())] += data
		}
		rec.moved[d] = min(data+acks, capacity*1000)
		rec.delay[d] = w.fifo / max(capacity*1000, 1)
	}
	p.ask()
	rec.wanted = [2]float64{p.ctl.Rate(link.Down).Mbps(), p.ctl.Rate(link.Up).Mbps()}
	p.log = append(p.log, rec)
}

// extra is the delay that no shaper takes away: there while the upload is in use.
func (p *plant) extra() float64 {
	if p.floor == 0 || len(p.log) < 50 {
		return 0
	}
	sum := 0.0
	for _, r := range p.log[len(p.log)-50:] {
		sum += r.moved[link.Up]
	}
	share := sum / 50 / 1000 / p.log[len(p.log)-1].capacity[link.Up] / p.floorAt
	if p.floorSteps && share < 1 {
		return 0
	}
	return p.floor * min(1, share)
}

// send lets a source fill its window.
func (p *plant) send(d link.Direction) {
	w := &p.ways[d]
	acked := take(w.acks, p.ms)
	w.flight = max(w.flight-acked, 0)
	switch gain := eager; {
	case !p.loaded[d](p.at()):
		w.window, w.starting = startsAt, true
		return
	case w.starting:
		gain = 1
		fallthrough
	default:
		w.window += float64(acked * gain)
	}
	if w.flight < 1 && acked == 0 {
		w.flight = 0
	}
	x := max(w.window-w.flight, 0)
	w.flight += x
	if d == link.Down {
		w.arrive[p.slot(wayOf)] += x
	} else {
		w.queue += x
	}
}

// lose tells a source what did not get through.
func (w *stream) lose(x float64) {
	w.flight = max(w.flight-x, 0)
	w.window = max(w.window-x, startsAt/5)
	w.starting = false
}

// shape lets what came in and what waits through our shaper, beside acknowledgements that pass it first.
func (p *plant) shape(d link.Direction, came, acks float64) float64 {
	w := &p.ways[d]
	rate := float64(p.force.Get(d)) / 1000
	w.queue += came
	out := min(w.queue, max(rate-acks, 0))
	w.queue -= out
	if over := w.queue - float64(ourBuffer*rate); over > 0 {
		w.queue -= over
		w.lose(over)
	}
	return out
}

// provide lets data and acknowledgements through the provider's FIFO, with the probes that wait there.
func (p *plant) provide(d link.Direction, data, acks, mbps float64) (float64, float64) {
	w := &p.ways[d]
	if limit := p.buffer * mbps * 1000; mbps > 0 {
		if over := min(w.fifo+data+acks-max(limit, 40*packet), data); over > 0 {
			data -= over
			w.lose(over)
		}
	}
	w.fifo += data + acks
	w.small += acks
	w.in += data + acks
	if acks > 0 {
		w.items = append(w.items, item{at: w.in, acked: acks / ackShare})
	}
	before := w.gone
	out := min(w.fifo, mbps*1000)
	w.gone += out
	small := 0.0
	if w.fifo > 0 {
		small = w.small * out / w.fifo
	}
	w.fifo -= out
	w.small -= small
	if d == link.Down {
		w.crossed += out
	} else {
		w.crossed += data + acks
	}
	left := 0
	for _, it := range w.items {
		if it.at > w.gone+1e-3 || mbps == 0 {
			break
		}
		left++
		at := float64(p.ms-1) + min(max((it.at-before)/(mbps*1000), 0), 1)
		switch {
		case it.probe == nil:
			p.ways[1-d].acks[p.slot(wayOf)] += it.acked
		case d == link.Up:
			x := it.probe
			x.up = at - float64(x.sent.Sub(launch))/1e6
			x.stage, x.due = away, at+2*wayOf+p.extra()+p.further(x.host, p.at())
			x.up += p.extra()
		default:
			it.probe.stage, it.probe.due = back, at
		}
	}
	w.items = slices.Delete(w.items, 0, left)
	return out - small, small
}

// ask sends a probe when one is due, takes replies in and lets the controller decide.
func (p *plant) ask() {
	if p.ms%max(p.every, 50) == 0 {
		x := &probe{n: p.sent, host: p.sent % p.hosts, sent: p.now()}
		p.open = append(p.open, x)
		p.sent++
		if !p.lost(x.n) {
			p.ways[link.Up].items = append(p.ways[link.Up].items, item{at: p.ways[link.Up].in, probe: x})
		}
		if p.readings == 0 {
			p.count()
		}
	}
	if p.readings > 0 && p.ms%int(p.readings.Milliseconds()) == 0 {
		p.count()
	}
	var samples []link.Sample
	for i, x := range p.open {
		switch {
		case x.stage == away && x.due <= float64(p.ms):
			x.stage = queueDown
			p.ways[link.Down].items = append(p.ways[link.Down].items, item{at: p.ways[link.Down].in, probe: x})
		case x.stage == back && x.due <= float64(p.ms):
			samples = append(samples, p.sample(x))
			p.open[i] = nil
		}
	}
	if len(samples) > 0 {
		// What left before an answered probe has been overtaken.
		newest := samples[len(samples)-1].Sent
		p.open = slices.DeleteFunc(p.open, func(x *probe) bool { return x == nil || x.sent < newest && x.stage == queueUp })
		if p.readings == 0 {
			p.count()
		}
	}
	if len(samples) == 0 && (p.out.Wake == 0 || p.now() < p.out.Wake) && p.ms%500 != 0 {
		return
	}
	in := Input{Now: p.now(), Samples: samples, Silence: p.silence(), Applied: p.force, Outside: p.outside}
	for len(p.read) > 0 && p.read[0].at <= p.ms {
		in.Counters = append(in.Counters, p.read[0].c)
		p.read = p.read[1:]
	}
	p.out = p.ctl.Step(in)
	p.notes = append(p.notes, p.out.Notes...)
	if p.command.at == 0 && p.out.Rates != p.force {
		p.command.rates, p.command.at = p.out.Rates, p.ms+max(int(p.slow.Milliseconds()), 1)
	}
	if p.tell != nil {
		p.tell(p, samples)
	}
}

// count reads the counters, which start again at reset.
func (p *plant) count() {
	c := link.Counters{At: p.now(), Rx: unit.Bytes(p.ways[link.Down].crossed / 8), Tx: unit.Bytes(p.ways[link.Up].crossed / 8)}
	if p.reset != 0 && p.at() >= p.reset {
		if p.since.At == 0 {
			p.since = c
		}
		c.Rx, c.Tx = c.Rx-p.since.Rx, c.Tx-p.since.Tx
	}
	p.read = append(p.read, dated{c, p.ms + int(p.late.Milliseconds())})
}

// sample is what a reply tells.
func (p *plant) sample(x *probe) link.Sample {
	sent := float64(x.sent.Sub(launch)) / 1e6
	rtt := x.due - sent
	took := [3]float64{link.Down: rtt - x.up, link.Up: x.up, 2: rtt}
	for i := range took {
		p.bases[x.host][i] = min(p.bases[x.host][i], took[i])
		took[i] -= p.bases[x.host][i]
	}
	s := link.Sample{Host: x.host, Sent: x.sent, Received: launch.Add(millis(x.due)), Delta: unit.Millis(took[2]), Noise: p.noise}
	if s.OneWay = p.oneWay; s.OneWay {
		s.Way = link.Pair[unit.Millis]{Down: unit.Millis(took[link.Down]), Up: unit.Millis(took[link.Up])}
	}
	return s
}

// silence is what the unanswered probes tell.
func (p *plant) silence() (q link.Silence) {
	for _, x := range p.open {
		over := float64(p.ms) - float64(x.sent.Sub(launch))/1e6 - p.bases[x.host][2]
		switch {
		case over < 5 || math.IsInf(over, 0):
			return q
		case q.Hosts == 0:
			q.Sent, q.Over = x.sent, unit.Millis(over)
		}
		q.Hosts++
	}
	return q
}

// Figures of a record, between two instants.

func (p *plant) between(from, to time.Duration) []moment {
	return p.log[from.Milliseconds():min(int(to.Milliseconds()), len(p.log))]
}

// used is what share of the capacity was carried, in percent.
func (p *plant) used(d link.Direction, from, to time.Duration) float64 {
	moved, could := 0.0, 0.0
	for _, r := range p.between(from, to) {
		moved, could = moved+r.moved[d], could+float64(r.capacity[d]*1000)
	}
	return 100 * moved / could
}

// queued is a quantile of the provider's queue, in ms.
func (p *plant) queued(d link.Direction, from, to time.Duration, q float64) float64 {
	var all []float64
	for _, r := range p.between(from, to) {
		all = append(all, r.delay[d])
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// wanted is the least and the greatest rate that the controller wanted, in Mbit/s.
func (p *plant) wanted(d link.Direction, from, to time.Duration) (least, most float64) {
	least = math.Inf(1)
	for _, r := range p.between(from, to) {
		least, most = min(least, r.wanted[d]), max(most, r.wanted[d])
	}
	return least, most
}

// after is how long after an instant the record first says so, in seconds; -1 is never.
func (p *plant) after(from time.Duration, so func(moment) bool) float64 {
	for _, r := range p.log[from.Milliseconds():] {
		if so(r) {
			return (r.at - from).Seconds()
		}
	}
	return -1
}

// says reports whether there was a note of that key.
func (p *plant) says(key string) bool {
	return slices.ContainsFunc(p.notes, func(n link.Note) bool { return n.Key == key })
}
