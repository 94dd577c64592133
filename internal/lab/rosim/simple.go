package rosim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Simple queues: one item shapes both directions. What crosses a line meets them first, in their order, and the first that
// matches takes it; what it lets through goes on to the queues of the tree. A queue matches a line by its dst; one whose target
// is the line's own interface matches, too, the other way round: what the line sends is that target's upload.

var bothWays = [...]link.Direction{link.Down, link.Up}

// halfOf is the name a direction of a simple queue goes by where a queue has one direction: "WAN-Cable/upload".
func halfOf(name string, d link.Direction) string { return name + "/" + d.String() }

func (r *Router) simples() *menu { return r.root.at(simplePath) }

// queueNamed finds a queue of the tree by its name, or a direction of a simple queue by "NAME/download" and "NAME/upload". half is
// false for the tree. The caller holds the lock.
func (r *Router) queueNamed(name string) (it *item, d link.Direction, half bool) {
	if it := named(r.queues(), name); it != nil {
		return it, link.Down, false
	}
	for _, d := range bothWays {
		if base, ok := strings.CutSuffix(name, "/"+d.String()); ok {
			if it := named(r.simples(), base); it != nil {
				return it, d, true
			}
		}
	}
	return nil, link.Down, false
}

// pairOf reads "upload/download".
func pairOf(v value) link.Rates {
	up, down, _ := strings.Cut(v.str, "/")
	u, _ := parseRate(up)
	d, _ := parseRate(down)
	return link.Rates{Down: unit.Rate(d), Up: unit.Rate(u)}
}

func pairText[T ~int64](p link.Pair[T]) string { return fmt.Sprintf("%d/%d", p.Up, p.Down) }

// addSimple fills in what an item of /queue/simple has beside its properties.
func (it *item) addSimple() {
	if it.halves[link.Down] == nil {
		it.halves = [2]*traffic{{}, {}}
	}
}

// limitHalves makes a simple queue's new rates those of the network behind it, what falls first, and records what changes. The
// caller holds the lock.
func (r *Router) limitHalves(it *item, to link.Rates, by string) error {
	from := pairOf(it.vals["max-limit"])
	ways := bothWays
	if to.Up != 0 && (to.Up < from.Up || from.Up == 0) {
		slices.Reverse(ways[:])
	}
	for _, d := range ways {
		name := halfOf(it.text("name"), d)
		if r.opt.Applier != nil {
			if err := r.opt.Applier.Apply(name, to.Get(d)); err != nil {
				return problemf("failure: %v", err)
			}
		}
		r.limits = trimmed(append(r.limits, LimitChange{At: r.now(), Queue: name, From: from.Get(d), To: to.Get(d), By: by}))
	}
	return nil
}

// limitedHalves is what a change of rates does to counters and queues. The caller holds the lock.
func (r *Router) limitedHalves(it *item, from, to link.Rates) {
	for _, d := range bothWays {
		t := it.halves[d]
		if from.Get(d) == to.Get(d) || t == nil {
			continue
		}
		if r.dialect.ResetOnChange {
			t.zero()
		}
		if r.dialect.FlushOnChange {
			t.queued = 0
		}
	}
	r.publishSimple(it)
}

// publishSimple brings a simple queue's figures up to date. The caller holds the lock.
func (r *Router) publishSimple(it *item) {
	it.addSimple()
	down, up := it.halves[link.Down], it.halves[link.Up]
	set := func(name string, of func(*traffic) int64) {
		it.vals[name] = str(pairText(link.Pair[int64]{Down: of(down), Up: of(up)}))
	}
	set("bytes", func(t *traffic) int64 { return int64(t.bytes) })
	set("packets", func(t *traffic) int64 { return t.packets })
	set("queued-bytes", func(t *traffic) int64 { return int64(t.queued) })
	set("queued-packets", func(t *traffic) int64 { return (int64(t.queued) + packetSize - 1) / packetSize })
	set("dropped", func(t *traffic) int64 {
		if !r.dialect.CountDrops {
			return 0
		}
		return t.dropped
	})
	set("rate", func(t *traffic) int64 { return int64(t.rate) })
	set("packet-rate", func(t *traffic) int64 { return int64(t.rate) / 8 / packetSize })
}

// crossing is traffic that wants to cross a line in one direction: tree is the queue of the tree it would pass next, nil for
// what a simple queue's options offer.
type crossing struct {
	iface string
	down  bool
	in    unit.Bytes
	tree  *item
}

// takes is the direction in which a simple queue takes what crosses a line; false when it does not.
func (r *Router) takes(it *item, iface string, down bool) (link.Direction, bool) {
	if named(r.interfaces(), iface) == nil || it.vals["disabled"].num != 0 {
		return link.Down, false
	}
	d := link.Up
	if down {
		d = link.Down
	}
	target := strings.Split(it.text("target"), ",")
	switch dst := it.text("dst"); {
	case slices.Contains(target, iface):
		return 1 - d, true
	case dst == iface, dst == "0.0.0.0/0":
		return d, true
	case dst != "":
		return d, false
	}
	for _, t := range target { // the whole house, or anything
		if t == "0.0.0.0/0" {
			return d, true
		}
		if f := named(r.interfaces(), t); f != nil && f.text("type") == "bridge" {
			return d, true
		}
	}
	return d, false
}

// flowSimple lets what is offered pass the simple queues for dt. It returns what goes on to each queue of the tree. The caller holds
// the lock.
func (r *Router) flowSimple(dt time.Duration, fast func(iface string) bool) map[*item]unit.Bytes {
	var streams []crossing
	for _, it := range r.queues().items {
		if t := it.traffic; t != nil {
			iface, down := r.lineOf(it)
			streams = append(streams, crossing{iface, down, t.offered.Over(dt), it})
		}
	}
	for _, it := range r.simples().items {
		it.addSimple()
		for _, d := range bothWays {
			t := it.halves[d]
			t.rate = 0
			iface := t.iface
			if dst := it.text("dst"); iface == "" && named(r.interfaces(), dst) != nil {
				iface = dst
			}
			streams = append(streams, crossing{iface, d == link.Down, t.offered.Over(dt), nil})
		}
	}
	next := map[*item]unit.Bytes{}
	pass := func(s crossing, out unit.Bytes) {
		if s.tree != nil {
			next[s.tree] += out
			return
		}
		if fast(s.iface) {
			r.fastBytes += out
		}
		r.cross(s.iface, s.down, out)
	}
	taken := make([]bool, len(streams))
	for _, it := range r.simples().items {
		for _, d := range bothWays {
			var mine []int
			var in unit.Bytes
			for i, s := range streams {
				if way, takes := r.takes(it, s.iface, s.down); takes && way == d && !taken[i] && !fast(s.iface) {
					mine, taken[i], in = append(mine, i), true, in+s.in
				}
			}
			if len(mine) == 0 {
				continue
			}
			t := it.halves[d]
			out := t.through(in, pairOf(it.vals["max-limit"]).Get(d), dt)
			t.count(out)
			if t.rate = rateOf(in, dt); t.queued > 0 {
				t.rate = pairOf(it.vals["max-limit"]).Get(d)
			}
			rest := out
			for n, i := range mine {
				share := rest
				if n < len(mine)-1 && in > 0 {
					share = min(rest, unit.Bytes(float64(out)*(float64(streams[i].in)/float64(in))))
				}
				rest -= share
				pass(streams[i], share)
			}
		}
	}
	for i, s := range streams {
		if !taken[i] {
			pass(s, s.in)
		}
	}
	return next
}

// rateOf is the rate at which bytes come in dt; 0 for no time.
func rateOf(n unit.Bytes, dt time.Duration) unit.Rate {
	if dt <= 0 {
		return 0
	}
	return unit.Rate(float64(n) * 8 / dt.Seconds())
}

// readSimple takes a simple queue's counters from the network behind the router. The caller holds the lock.
func (r *Router) readSimple(it *item, fast bool) {
	it.addSimple()
	for _, d := range bothWays {
		if q, ok := r.opt.Applier.Queue(halfOf(it.text("name"), d)); ok {
			it.halves[d].read(q, fast)
		}
	}
}

// referSimple checks what a simple queue names: two queue types, and addresses or interfaces. The caller holds the lock.
func (r *Router) referSimple(vals map[string]value) error {
	if v, ok := vals["queue"]; ok {
		up, down, pair := strings.Cut(v.str, "/")
		if !pair {
			return problemf("expected value of download-queue")
		}
		for _, n := range []string{up, down} {
			if named(r.root.at(queueTypePath), n) == nil {
				return problemf("input does not match any value of queue")
			}
		}
	}
	for _, name := range []string{"target", "dst"} {
		for w := range strings.SplitSeq(vals[name].str, ",") {
			if _, address := parseSource(w); w != "" && !address && named(r.interfaces(), w) == nil {
				return problemf("input does not match any value of %s", name)
			}
		}
	}
	return nil
}
