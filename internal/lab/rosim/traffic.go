package rosim

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Applier stands behind the router's queues: a simulated network, or a kernel. The router calls it with its own lock
// held, so an Applier must not call back into the Router.
type Applier interface {
	// Apply makes limit the rate of the named queue; 0 is unlimited. An error is shown to the client as a failure
	// and leaves the limit as it was.
	Apply(queue string, limit unit.Rate) error
	// Queue returns the counters of the named queue since the network began; false when there is no such queue.
	Queue(name string) (link.Queue, bool)
	// Interface returns the byte counters of the named interface since the network began; false when there is none.
	Interface(name string) (rx, tx unit.Bytes, ok bool)
}

// RuleApplier is an Applier that also carries out the mangle rules' being enabled and disabled.
type RuleApplier interface {
	// ApplyRule is called with the rule's comment before its state changes. An error is shown to the client as a failure
	// and leaves the rule as it was.
	ApplyRule(comment string, enabled bool) error
}

// The built-in traffic model.
const (
	// standingQueue is what a loaded CAKE leaf reports as queued-bytes on RouterOS: about 2 MB.
	standingQueue unit.Bytes = 2_000_000
	// packetSize is the mean size of the model's packets in bytes.
	packetSize = 1200
)

// traffic is the counters of a queue or an interface, as far as the model keeps them.
type traffic struct {
	offered unit.Rate // queues: what wants to pass
	iface   string    // queues: the WAN interface the traffic also crosses
	down    bool      // queues: the traffic arrives on that interface

	bytes, rx, tx  unit.Bytes
	packets        int64
	queued         unit.Bytes
	dropped        int64
	rate           unit.Rate
	base           link.Queue // applier's counters at the last reset
	baseRx, baseTx unit.Bytes
	fraction       unit.Bytes // bytes not yet counted as a packet
}

// advance brings every counter up to now. The caller holds the lock.
func (r *Router) advance() {
	now := r.now()
	dt := max(now.Sub(r.advanced), 0)
	r.advanced = now
	r.expire()
	if r.opt.Applier != nil {
		r.read()
	} else if dt > 0 {
		r.flow(dt)
	}
	for _, it := range r.queues().items {
		r.publish(it)
	}
	for _, it := range r.simples().items {
		r.publishSimple(it)
	}
	for _, it := range r.interfaces().items {
		t := it.traffic
		it.vals["rx-byte"], it.vals["tx-byte"] = num(int64(t.rx)), num(int64(t.tx))
		it.vals["rx-packet"], it.vals["tx-packet"] = num(int64(t.rx)/packetSize), num(int64(t.tx)/packetSize)
	}
	r.setClock()
	set := r.root.at(settingsPath).items[0]
	set.vals["ipv4-fasttrack-active"] = truth(r.fastTracked())
	set.vals["ipv4-fasttrack-bytes"], set.vals["ipv4-fasttrack-packets"] = num(int64(r.fastBytes)), num(int64(r.fastBytes)/packetSize)
	up := max(now.Sub(r.booted), 0).Truncate(time.Second)
	res := r.resource()
	res.vals["uptime"] = span(up)
	res.vals["write-sect-since-reboot"] = num(r.sectors)
	res.vals["write-sect-total"] = num(r.sectorsTotal)
}

// fastTracked says whether traffic bypasses the queues. The caller holds the lock.
func (r *Router) fastTracked() bool { return r.fastTrackedOn("") }

// fastTrackedOn says it of what crosses an interface: rules that accept both directions of it in front of FastTrack's keep it
// away. The caller holds the lock.
func (r *Router) fastTrackedOn(iface string) bool {
	if r.opt.FastTrack {
		return true
	}
	in, out := map[string]bool{}, map[string]bool{} // by chain
	for _, it := range r.root.at(filterPath).items {
		if it.vals["disabled"].num != 0 {
			continue
		}
		chain := it.text("chain")
		switch action := it.text("action"); {
		case action == "accept" && iface != "":
			in[chain] = in[chain] || it.text("in-interface") == iface
			out[chain] = out[chain] || it.text("out-interface") == iface
		case action == "fasttrack-connection" && it.vals["connection-mark"].empty() && (!in[chain] || !out[chain]):
			return true
		}
	}
	return false
}

func (r *Router) publish(it *item) {
	t := it.traffic
	if t == nil {
		return
	}
	it.vals["bytes"], it.vals["packets"] = num(int64(t.bytes)), num(t.packets)
	it.vals["queued-bytes"], it.vals["queued-packets"] = num(int64(t.queued)), num((int64(t.queued)+packetSize-1)/packetSize)
	it.vals["dropped"] = num(0)
	if r.dialect.CountDrops {
		it.vals["dropped"] = num(t.dropped)
	}
	it.vals["rate"], it.vals["packet-rate"] = num(int64(t.rate)), num(int64(t.rate)/8/packetSize)
}

// read takes the counters from the network behind the router.
func (r *Router) read() {
	fast := r.fastTracked()
	for _, it := range r.queues().items {
		q, ok := r.opt.Applier.Queue(it.text("name"))
		if !ok || it.traffic == nil {
			continue
		}
		it.traffic.read(q, fast)
	}
	for _, it := range r.simples().items {
		r.readSimple(it, fast)
	}
	for _, it := range r.interfaces().items {
		rx, tx, ok := r.opt.Applier.Interface(it.text("name"))
		if !ok {
			continue
		}
		t := it.traffic
		if rx < t.baseRx || tx < t.baseTx {
			t.baseRx, t.baseTx = 0, 0
		}
		t.rx, t.tx = rx-t.baseRx, tx-t.baseTx
	}
}

// read takes counters from the network behind a queue.
func (t *traffic) read(q link.Queue, fast bool) {
	if q.Bytes < t.base.Bytes || q.Packets < t.base.Packets || q.Dropped < t.base.Dropped {
		t.base = link.Queue{}
	}
	t.bytes, t.packets, t.dropped = q.Bytes-t.base.Bytes, q.Packets-t.base.Packets, q.Dropped-t.base.Dropped
	t.queued = q.QueuedBytes
	if fast {
		t.bytes, t.packets, t.queued = 0, 0, 0
	}
}

// through is what a queue lets pass of what comes in for dt; a limit of 0 is none.
func (t *traffic) through(in unit.Bytes, limit unit.Rate, dt time.Duration) (out unit.Bytes) {
	if limit <= 0 {
		out, t.queued = in+t.queued, 0
		return out
	}
	have := in + t.queued
	out = min(have, limit.Over(dt))
	rest := have - out
	t.queued = min(rest, standingQueue)
	t.dropped += int64(rest-t.queued) / packetSize
	return out
}

// count counts what left a queue.
func (t *traffic) count(out unit.Bytes) {
	t.bytes += out
	t.fraction += out
	t.packets += int64(t.fraction) / packetSize
	t.fraction %= packetSize
}

// zero starts a queue's counters from zero.
func (t *traffic) zero() {
	t.base.Bytes, t.base.Packets, t.base.Dropped = t.base.Bytes+t.bytes, t.base.Packets+t.packets, t.base.Dropped+t.dropped
	t.baseRx, t.baseTx = t.baseRx+t.rx, t.baseTx+t.tx
	t.bytes, t.packets, t.dropped, t.rx, t.tx, t.fraction = 0, 0, 0, 0, 0, 0
}

// cross counts bytes on a line's interface.
func (r *Router) cross(iface string, down bool, n unit.Bytes) {
	if f := named(r.interfaces(), iface); f != nil {
		if down {
			f.traffic.rx += n
		} else {
			f.traffic.tx += n
		}
	}
}

// lineOf is the interface that a queue's traffic also crosses: the one it was given, else what the router's own configuration
// says: a queue on an interface holds what leaves by it, and one of a mark what came in where the mark is set. The caller holds the
// lock.
func (r *Router) lineOf(it *item) (iface string, down bool) {
	if t := it.traffic; t.iface != "" {
		return t.iface, t.down
	}
	if mark := it.text("packet-mark"); mark != "" && mark != "no-mark" {
		for _, rule := range r.root.at(manglePath).items {
			if in := rule.text("in-interface"); in != "" && rule.text("new-packet-mark") == mark && rule.vals["disabled"].num == 0 {
				return in, true
			}
		}
		return "", false
	}
	return it.text("parent"), false
}

// flow lets the fixed offered rates pass for dt: at most the limit goes through, the rest stands in the queue up to
// standingQueue and is dropped beyond it.
func (r *Router) flow(dt time.Duration) {
	lines := map[string]bool{}
	fastOn := func(iface string) bool {
		fast, known := lines[iface]
		if !known {
			fast = r.fastTrackedOn(iface)
			lines[iface] = fast
		}
		return fast
	}
	next := r.flowSimple(dt, fastOn)
	for _, it := range r.queues().items {
		t := it.traffic
		if t == nil {
			continue
		}
		iface, down := r.lineOf(it)
		fast := fastOn(iface)
		limit := unit.Rate(it.vals["max-limit"].num)
		shaped := limit > 0 && it.vals["disabled"].num == 0 && !fast
		in := next[it]
		if t.rate = t.offered; in < t.offered.Over(dt) { // a simple queue holds the rest back
			t.rate = rateOf(in, dt)
		}
		if !shaped {
			limit = 0
		}
		out := t.through(in, limit, dt)
		if t.queued > 0 {
			t.rate = limit
		}
		if !fast && it.vals["disabled"].num == 0 {
			t.count(out)
		} else {
			t.rate = 0
		}
		if fast {
			r.fastBytes += out
		}
		r.cross(iface, down, out)
	}
}

// zero resets one item's counters. The caller holds the lock and has called advance.
func (r *Router) zero(it *item) {
	if it.halves[link.Down] != nil {
		for _, t := range it.halves {
			t.zero()
		}
		r.publishSimple(it)
		return
	}
	if it.traffic != nil {
		it.traffic.zero()
		if it.menu == r.queues() {
			r.publish(it)
		}
		return
	}
	for i := range it.menu.props {
		if p := &it.menu.props[i]; p.stat {
			it.vals[p.name] = p.def
		}
	}
}
