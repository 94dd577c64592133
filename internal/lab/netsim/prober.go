package netsim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// echoBytes is an ICMP echo of 56 bytes of payload with its Ethernet and IP headers.
const echoBytes = 98

// probe sends an echo to a host of the scenario through a link now. A lost one never reaches sink; an answered one
// does before its Received has come, with the instant at which the host answered.
// data says that it looks like data, which a provider that lets echoes pass its queue does not.
func (n *Net) probe(linkIndex, host int, data bool, chance *rand.Rand, sink func(r link.Reply, answered unit.Time)) {
	l := n.line(linkIndex)
	first := l.spec.EchoFirst && !data
	h := n.scenario.Hosts[host]
	sent := n.world.now
	// Chance is drawn whether needed or not, so that one probe's fate does not change the next one's.
	goes, comes, answers := chance.Float64(), chance.Float64(), chance.Float64()
	noise := math.Abs(chance.NormFloat64()*float64(l.spec.Jitter)) + math.Abs(chance.NormFloat64()*float64(h.Noise))
	l.sparse.Up += echoBytes
	extra, share := h.Offset, 1-h.Loss.Factor()
	for _, e := range l.active {
		if e.Host != host {
			continue
		}
		switch e.Kind {
		case HostDead:
			share = 0
		case HostSlow:
			extra += e.Delay
		case HostRateLimited:
			share *= 1 - e.Loss.Factor()
		case CapacityShare, ProviderCongestion, PathChange, LineLoss, Blackout, eventKinds:
		}
	}
	if l.black || goes >= l.paths.Up.passes() || answers >= share || !l.quotas[host].grant(sent, h.PerSecond) {
		return
	}
	up, lost := l.paths.Up.packet(l.t, first)
	if lost {
		return
	}
	far := sent.Add(max(up+extra+time.Duration(noise), 0))
	n.world.At(far, func() {
		n.line(linkIndex)
		if l.black || comes >= l.paths.Down.passes() {
			return
		}
		down, lost := l.paths.Down.packet(l.t, first)
		if lost {
			return
		}
		l.sparse.Down += echoBytes
		at := far.Add(down)
		// What the host itself adds is as far from us as it is from it.
		stamp := far.Add(-(extra + time.Duration(noise)) / 2)
		sink(link.Reply{Host: host, Sent: sent, Received: at, RTT: unit.ToMillis(at.Sub(sent))}, stamp)
	})
}

// quota is what a host has left to answer.
type quota struct {
	left float64
	at   unit.Time
}

// grant takes one answer, if there is one left.
func (q *quota) grant(now unit.Time, perSecond int) bool {
	if perSecond == 0 {
		return true
	}
	most := max(1, float64(perSecond/2))
	if q.at == 0 {
		q.left = most
	}
	q.left = min(most, q.left+float64(now.Sub(q.at).Seconds()*float64(perSecond)))
	q.at = now
	if q.left < 1 {
		return false
	}
	q.left--
	return true
}

// packet is a small packet's one-way delay; lost says that the line stands still. One that goes first does not wait in the
// provider's queue.
func (p *path) packet(t int64, first bool) (d time.Duration, lost bool) {
	wait := p.wait(t)
	lost = wait >= horizon
	if first {
		wait = 0
	}
	return time.Duration(p.prop + wait + p.sparse() + p.beyond()), lost
}

// Ping sends one echo now to a host of the scenario through a link; done runs when its reply arrives, and never when
// it is lost.
func (n *Net) Ping(linkIndex, host int, done func(link.Reply)) {
	n.probe(linkIndex, host, false, n.lines[linkIndex].chance, func(r link.Reply, _ unit.Time) {
		n.world.At(r.Received, func() { done(r) })
	})
}

// ProberOptions say whom a prober asks, through which link and how often.
type ProberOptions struct {
	Link int
	// Hosts are indices in Scenario.Hosts; a reply's Host is the position in this list.
	Hosts []int
	// Interval is the time between two echoes to one host; the hosts take turns within it.
	Interval time.Duration
	// Timeout is the age at which a reply is late, counted and not handed out; 0 is 10 s.
	Timeout time.Duration
	// OneWay lets the hosts tell their own clock, as ICMP timestamps do: in whole milliseconds, and each clock off by a
	// constant of its own.
	OneWay bool
	// Data makes the probes look like data, as TCP handshakes do: a link's EchoFirst is not for them.
	Data bool
	// OnSend and OnReply, when set, are called in virtual time at the instant at which an echo leaves and its reply
	// arrives; Drain hands the replies out all the same.
	OnSend  func(link.Probe)
	OnReply func(link.Reply)
}

// clockSpan is how far a host's clock may be off, either way.
const clockSpan = time.Hour

// clocks returns what each host's clock is off by.
func (n *Net) clocks() []time.Duration {
	chance := stream(n.scenario.Seed, 5, 0)
	off := make([]time.Duration, len(n.scenario.Hosts))
	for i := range off {
		off[i] = time.Duration((2*chance.Float64() - 1) * float64(clockSpan))
	}
	return off
}

// HostStats count a prober's echoes to one host.
type HostStats struct {
	Sent, Answered, Late uint64
}

// Prober sends echoes through one link at a steady pace, as the real pinger does.
type Prober struct {
	net     *Net
	options ProberOptions
	chance  *rand.Rand
	pending []link.Reply // ordered by Received
	stats   []HostStats
	stops   []func()
	sinks   []func(r link.Reply, answered unit.Time)
	used    []int // by their place in Hosts, in turn
	last    unit.Time
	lastOf  []unit.Time
}

// NewProber starts a prober now. It fails for a link or host that does not exist and for an interval below 1 ms.
func (n *Net) NewProber(o ProberOptions) (*Prober, error) {
	switch {
	case o.Link < 0 || o.Link >= len(n.lines):
		return nil, fmt.Errorf("prober: link %d does not exist; the scenario has %d", o.Link, len(n.lines))
	case len(o.Hosts) == 0:
		return nil, errors.New("prober: it has no hosts")
	case o.Interval < time.Millisecond:
		return nil, fmt.Errorf("prober: interval %v is under 1ms", o.Interval)
	}
	for _, h := range o.Hosts {
		if h < 0 || h >= len(n.scenario.Hosts) {
			return nil, fmt.Errorf("prober: host %d does not exist; the scenario has %d", h, len(n.scenario.Hosts))
		}
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	n.probers++
	p := &Prober{
		net: n, options: o, chance: stream(n.scenario.Seed, 3, n.probers), stats: make([]HostStats, len(o.Hosts)),
		lastOf: make([]unit.Time, len(o.Hosts)),
	}
	clocks := n.clocks()
	for i, h := range o.Hosts {
		p.sinks = append(p.sinks, func(r link.Reply, answered unit.Time) {
			if o.OneWay {
				stamp := unit.Time(time.Duration(answered.Add(clocks[h])).Truncate(time.Millisecond))
				r.OneWay = true
				r.Delay.Up, r.Delay.Down = unit.ToMillis(stamp.Sub(r.Sent)), unit.ToMillis(r.Received.Sub(stamp))
			}
			p.take(i, r)
		})
		p.used = append(p.used, i)
	}
	p.start(0, 0)
	return p, nil
}

// start begins the pace after so long, with the host at that place of those in use.
func (p *Prober) start(first int, after time.Duration) {
	for _, stop := range p.stops {
		stop()
	}
	p.stops = p.stops[:0]
	n := len(p.used)
	for turn := range n {
		i := p.used[(first+turn)%n]
		phase := p.options.Interval * time.Duration(turn) / time.Duration(n)
		p.stops = append(p.stops, p.net.world.Every(p.options.Interval, after+phase, func() { p.send(i) }))
	}
}

// send probes one host now.
func (p *Prober) send(i int) {
	now := p.net.world.now
	p.last, p.lastOf[i] = now, now
	p.stats[i].Sent++
	if p.options.OnSend != nil {
		p.options.OnSend(link.Probe{Host: i, Sent: now})
	}
	p.net.probe(p.options.Link, p.options.Hosts[i], p.options.Data, p.chance, p.sinks[i])
}

// SetInterval changes the time between two echoes to one host, at once: the next one leaves when the new interval's part
// has passed since the last one. Below 1 ms nothing changes.
func (p *Prober) SetInterval(d time.Duration) {
	if d < time.Millisecond || d == p.options.Interval {
		return
	}
	p.options.Interval = d
	p.resume()
}

// Use has only some of the hosts probed, by their place in the options, in turn. It fails when there is none, or one that
// does not exist or is named twice.
func (p *Prober) Use(hosts []int) error {
	seen := make([]bool, len(p.options.Hosts))
	for _, h := range hosts {
		if h < 0 || h >= len(seen) || seen[h] {
			return fmt.Errorf("prober: host %d is named twice, or there is none", h)
		}
		seen[h] = true
	}
	if len(hosts) == 0 {
		return errors.New("prober: it has no hosts")
	}
	if slices.Equal(hosts, p.used) {
		return nil
	}
	p.used = slices.Clone(hosts)
	p.resume()
	return nil
}

// resume goes on in another pace, or with other hosts: with the one whose turn was longest ago.
func (p *Prober) resume() {
	first := 0
	for turn, i := range p.used {
		if p.lastOf[i] < p.lastOf[p.used[first]] {
			first = turn
		}
	}
	step := p.options.Interval / time.Duration(len(p.used))
	p.start(first, max(p.last.Add(step).Sub(p.net.world.now), 0))
}

// take files a reply that will arrive.
func (p *Prober) take(host int, r link.Reply) {
	r.Host = host
	if r.Received.Sub(r.Sent) > p.options.Timeout {
		p.stats[host].Late++
		return
	}
	p.stats[host].Answered++
	if hear := p.options.OnReply; hear != nil {
		p.net.world.At(r.Received, func() { hear(r) })
	}
	at := len(p.pending)
	for at > 0 && p.pending[at-1].Received > r.Received {
		at--
	}
	p.pending = append(p.pending, link.Reply{})
	copy(p.pending[at+1:], p.pending[at:])
	p.pending[at] = r
	if len(p.pending) > 2*maxPending {
		p.pending = p.pending[:copy(p.pending, p.pending[maxPending:])]
	}
}

// maxPending is the number of newest replies that are kept when nobody drains.
const maxPending = 4096

// Drain appends the replies that have arrived since the last call to dst, in the order of their arrival.
func (p *Prober) Drain(dst []link.Reply) []link.Reply {
	k := 0
	for k < len(p.pending) && p.pending[k].Received <= p.net.world.now {
		k++
	}
	dst = append(dst, p.pending[:k]...)
	p.pending = p.pending[:copy(p.pending, p.pending[k:])]
	return dst
}

// Stats returns the counts of each host so far.
func (p *Prober) Stats() []HostStats { return append([]HostStats(nil), p.stats...) }

// Stop ends the pace; echoes under way still arrive.
func (p *Prober) Stop() {
	for _, stop := range p.stops {
		stop()
	}
}
