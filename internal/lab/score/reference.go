package score

import (
	"math"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The reference model is the law by which the field's best-known bash program walks a shaper's rate, told anew from a
// description of what it does. It is what a policy has to beat. Left out is what has no part in the simulator: the pool
// of reflectors with its health checks and its ranking, logs, and the restart of pingers that fell silent.
const (
	// A baseline follows its reflector's delay up by a thousandth and down by nine tenths of the way, sample by sample,
	// from a first guess far above any line.
	refBaselineUp, refBaselineDown = 0.001, 0.9
	refBaselineFirst               = unit.Millis(100)
	// Clocks of reflectors jump at midnight: beyond this the baseline is the sample.
	refClockJump = unit.Millis(50 * 60 * 1000)
	// A reply older than this when it is looked at says nothing of now.
	refStale = 500 * time.Millisecond
	// Bloated is a direction of whose last refWindow deltas, whatever reflectors they came from, refBloated were late.
	refWindow, refBloated = 6, 3
	// A direction is highly loaded above this share of its shaper's rate, and idle below refActive.
	refHighLoad = 0.75
	refActive   = 2 * unit.Mbps
	// A bloated direction's rate is multiplied by refCutLeast to refCutMost, the more the later replies are on average; not
	// sooner than refCutRest after the last cut.
	refCutLeast, refCutMost = 0.99, 0.75
	refCutRest              = 300 * time.Millisecond
	// A highly loaded one's, without bloat, by up to 1+refGrowMost; once per fresh reading of the counters, and not sooner
	// than refCutRest after the last cut.
	refGrowMost = 0.04
	// An idle or little loaded one's walks towards the base by a hundredth; not sooner than refDecayRest after the last time.
	refDecayDown, refDecayUp = 0.99, 1.01
	refDecayRest             = time.Second
	// Counters are read this often, and not before refPackets of the largest packets can have gone round.
	refReadEvery = 200 * time.Millisecond
	refPackets   = 10
	// The line stalls when no reply came for refStallReplies times the distance of probes, while a direction carried less
	// than refStallRate; any reply ends it.
	refStallReplies = 5
	refStallRate    = 10 * unit.Kbps
	// It sleeps, and listens to no reply, when both directions were idle this long.
	refSleepAfter = time.Minute
	// refPacketBits is the largest packet on the wire: 1500 bytes and an Ethernet header.
	refPacketBits = 1514 * 8
	// refProbeEvery is the distance of probes, all reflectors in turn.
	refProbeEvery = 50 * time.Millisecond
)

// ReferenceLimits bound one direction's rate; Base is where it starts and rests.
type ReferenceLimits struct{ Min, Base, Max unit.Rate }

// ReferenceConfig is what a user of the reference model sets.
type ReferenceConfig struct {
	Limits link.Pair[ReferenceLimits]
	// Late is the delta above which a reply is late, Worst the average delta of the deepest cut, Grow the one up to which
	// a rate grows by the most.
	Late, Worst, Grow unit.Millis
	// OneWay takes each direction's delay by itself; otherwise each is half a round trip.
	OneWay bool
}

// ReferenceDefaults are the law's own: 30, 60 and 10 ms of delta, and half round trips.
func ReferenceDefaults() ReferenceConfig { return ReferenceConfig{Late: 30, Worst: 60, Grow: 10} }

// Reference is the law on one line. It decides on every reply.
type Reference struct {
	cfg   ReferenceConfig
	hosts []link.Pair[refBaseline]
	dirs  link.Pair[*refDirection]

	heard   unit.Time // last reply
	busy    unit.Time // when a direction was last not idle
	stalled bool
	asleep  bool

	bytes  link.Pair[unit.Bytes]
	readAt unit.Time
}

type refBaseline struct {
	value unit.Millis
	known bool
}

// follow takes a sample in and returns how far it lies over the baseline.
func (b *refBaseline) follow(sample unit.Millis) unit.Millis {
	alpha := refBaselineDown
	if sample > b.value {
		alpha = refBaselineUp
	}
	b.value += unit.Millis(alpha) * (sample - b.value)
	return sample - b.value
}

type refDirection struct {
	limits ReferenceLimits
	rate   unit.Rate
	// comp is how long the largest packet takes at the rate: what the thresholds are raised by.
	comp unit.Millis

	ring  [refWindow]unit.Millis
	late  [refWindow]bool
	next  int
	freed unit.Time // last cut
	eased unit.Time // last step towards the base

	achieved unit.Rate
	fresh    bool // the counters were read since the rate last grew
}

// NewReference starts the law at its base rates.
func NewReference(c ReferenceConfig, hosts int, now unit.Time) *Reference {
	r := &Reference{cfg: c, hosts: make([]link.Pair[refBaseline], hosts), heard: now, busy: now}
	for i := range r.hosts {
		r.hosts[i].Down.value, r.hosts[i].Up.value = refBaselineFirst, refBaselineFirst
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		x := &refDirection{limits: c.Limits.Get(d)}
		x.set(float64(x.limits.Base))
		r.dirs.Set(d, x)
	}
	return r
}

// Rates are the wished ones.
func (r *Reference) Rates() link.Rates { return link.Rates{Down: r.dirs.Down.rate, Up: r.dirs.Up.rate} }

// Stalled says that no reply comes and nothing moves.
func (r *Reference) Stalled() bool { return r.stalled }

// Asleep says that both directions were idle for so long that no reply is listened to.
func (r *Reference) Asleep() bool { return r.asleep }

// ReadEvery is the time from one reading of the counters to the next.
func (r *Reference) ReadEvery() time.Duration {
	return max(refReadEvery, refPackets*(r.dirs.Down.comp+r.dirs.Up.comp).Duration())
}

// Counters takes a reading of both directions' bytes behind their shapers.
func (r *Reference) Counters(now unit.Time, bytes link.Pair[unit.Bytes]) {
	idle := true
	for _, d := range []link.Direction{link.Down, link.Up} {
		x := r.dirs.Get(d)
		if r.readAt != 0 {
			x.achieved, x.fresh = (bytes.Get(d) - r.bytes.Get(d)).Per(now.Sub(r.readAt)), true
		}
		idle = idle && x.achieved < refActive
	}
	if !idle {
		r.busy, r.asleep = now, false
	}
	r.asleep = r.asleep || now.Sub(r.busy) > refSleepAfter
	r.bytes, r.readAt = bytes, now
}

// Tick notices that replies stay away.
func (r *Reference) Tick(now unit.Time) {
	quiet := r.dirs.Down.achieved < refStallRate || r.dirs.Up.achieved < refStallRate
	if now.Sub(r.heard) > refStallReplies*refProbeEvery && quiet {
		r.stalled = true
	}
}

// Reply decides both directions' rates.
func (r *Reference) Reply(now unit.Time, p link.Reply) {
	if now.Sub(p.Received) > refStale || r.asleep {
		return
	}
	r.heard, r.stalled = now, false
	sample := link.Pair[unit.Millis]{Down: p.RTT / 2, Up: p.RTT / 2}
	if r.cfg.OneWay && p.OneWay {
		sample = p.Delay
	}
	h := &r.hosts[p.Host]
	jump := math.Abs(float64(sample.Down-h.Down.value)) + math.Abs(float64(sample.Up-h.Up.value))
	if jump > float64(refClockJump) || (r.cfg.OneWay && !h.Down.known) {
		// By two clocks a delay is any number; the first one is as good a beginning as any.
		h.Down.value, h.Up.value = sample.Down, sample.Up
	}
	h.Down.known, h.Up.known = true, true
	r.dirs.Down.decide(now, &r.cfg, h.Down.follow(sample.Down))
	r.dirs.Up.decide(now, &r.cfg, h.Up.follow(sample.Up))
}

// decide moves one direction's rate after a delta.
func (x *refDirection) decide(now unit.Time, c *ReferenceConfig, delta unit.Millis) {
	x.ring[x.next], x.late[x.next] = delta, delta > c.Late+x.comp
	x.next = (x.next + 1) % refWindow
	sum, late := unit.Millis(0), 0
	for i, v := range x.ring {
		sum += v
		if x.late[i] {
			late++
		}
	}
	mean, rested := sum/refWindow, now.Sub(x.freed) > refCutRest
	switch {
	case late >= refBloated:
		if rested {
			x.set(float64(x.rate) * x.cut(c, mean))
			x.freed = now
		}
	case float64(x.achieved) > refHighLoad*float64(x.rate):
		if rested && x.fresh {
			x.set(float64(x.rate) * x.growth(c, mean))
			x.fresh = false
		}
	case now.Sub(x.eased) > refDecayRest:
		switch base := float64(x.limits.Base); {
		case x.rate > x.limits.Base:
			x.set(max(base, float64(x.rate)*refDecayDown))
		case x.rate < x.limits.Base:
			x.set(min(base, float64(x.rate)*refDecayUp))
		}
		x.eased = now
	}
}

// cut is the factor of a cut at a mean delta.
func (x *refDirection) cut(c *ReferenceConfig, mean unit.Millis) float64 {
	depth := float64((mean - c.Late - x.comp) / (c.Worst - c.Late))
	return refCutLeast - (refCutLeast-refCutMost)*min(max(depth, 0), 1)
}

// growth is the factor of a rise at a mean delta.
func (x *refDirection) growth(c *ReferenceConfig, mean unit.Millis) float64 {
	room := float64((c.Late + x.comp - mean) / (c.Late - c.Grow))
	return 1 + refGrowMost*min(max(room, 0), 1)
}

// set changes the rate, to whole kbit/s as it is written, within its limits.
func (x *refDirection) set(rate float64) {
	whole := unit.Rate(math.Floor(rate/float64(unit.Kbps))) * unit.Kbps
	x.rate = min(max(whole, x.limits.Min), x.limits.Max)
	x.comp = unit.Millis(refPacketBits / float64(x.rate) * 1e3)
}
