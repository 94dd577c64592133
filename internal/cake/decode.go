package cake

import (
	"math"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// attrs walks attributes without allocating: struct nlattr of linux/netlink.h, each aligned to four bytes.
type attrs struct {
	b   []byte
	typ uint16
	v   []byte
	bad bool
}

const (
	nlaHeader = 4
	nlaType   = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// next moves to the next attribute. It ends at the first one that cannot be, which bad tells.
func (a *attrs) next() bool {
	if len(a.b) == 0 {
		return false
	}
	if len(a.b) < nlaHeader {
		a.bad = true
		return false
	}
	n := int(native.Uint16(a.b))
	if n < nlaHeader || n > len(a.b) {
		a.bad = true
		return false
	}
	a.typ, a.v = native.Uint16(a.b[2:])&nlaType, a.b[nlaHeader:n]
	a.b = a.b[min(align(n), len(a.b)):]
	return true
}

func align(n int) int { return (n + 3) &^ 3 }

// err is what ended the walk.
func (a *attrs) err(what string) error {
	if a.bad {
		return short(what, a.b)
	}
	return nil
}

func (a *attrs) u32() (uint32, bool) {
	if len(a.v) < 4 {
		return 0, false
	}
	return native.Uint32(a.v), true
}

func (a *attrs) u64() (uint64, bool) {
	if len(a.v) < 8 {
		return 0, false
	}
	return native.Uint64(a.v), true
}

// text is the value up to its first zero byte.
func (a *attrs) text() []byte {
	for i, c := range a.v {
		if c == 0 {
			return a.v[:i]
		}
	}
	return a.v
}

func intern(b []byte) string {
	if s, ok := kinds[string(b)]; ok { // the compiler makes no string for this look-up
		return s
	}
	return string(b)
}

// parts are a qdisc message's pieces.
type parts struct {
	kind            []byte
	options, stats2 []byte
}

// splitQdisc reads the head of a RTM_NEWQDISC message into q and finds its pieces.
func splitQdisc(b []byte, q *Qdisc) (p parts, err error) {
	if len(b) < tcmsgLen {
		return p, short("a qdisc", b)
	}
	*q = Qdisc{Index: int32(native.Uint32(b[4:])), Handle: Handle(native.Uint32(b[8:])), Parent: Handle(native.Uint32(b[12:]))}
	a := attrs{b: b[tcmsgLen:]}
	for a.next() {
		switch a.typ {
		case tcaKind:
			p.kind = a.text()
		case tcaOptions:
			p.options = a.v
		case tcaStats2:
			p.stats2 = a.v
		case tcaHWOffload:
			q.Offloaded = len(a.v) > 0 && a.v[0] != 0
		}
	}
	q.Kind = intern(p.kind)
	return p, a.err("a qdisc")
}

// decodeQdisc reads any qdisc's message.
func decodeQdisc(b []byte, q *Qdisc) error {
	p, err := splitQdisc(b, q)
	if err != nil {
		return err
	}
	return q.stats(p.stats2, nil)
}

// decodeCake reads a CAKE qdisc's message. c is overwritten whole, and nothing is allocated.
func decodeCake(b []byte, c *Cake) error {
	*c = Cake{}
	p, err := splitQdisc(b, &c.Qdisc)
	if err != nil {
		return err
	}
	if err := c.Settings.decode(p.options); err != nil {
		return err
	}
	return c.stats(p.stats2, &c.Stats)
}

// stats reads TCA_STATS2; app, when not nil, takes CAKE's own.
func (q *Qdisc) stats(b []byte, app *Stats) error {
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case statsBasic: // struct gnet_stats_basic
			if len(a.v) < 12 {
				return short("counters", a.v)
			}
			q.Bytes = clampBytes(native.Uint64(a.v))
			q.Packets = max(q.Packets, int64(native.Uint32(a.v[8:])))
		case statsPkt64:
			n, ok := a.u64()
			if !ok {
				return short("counters", a.v)
			}
			q.Packets = int64(clampBytes(n))
		case statsQueue: // struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
			if len(a.v) < 20 {
				return short("backlog", a.v)
			}
			q.QueuedPackets = int64(native.Uint32(a.v))
			q.QueuedBytes = unit.Bytes(native.Uint32(a.v[4:]))
			q.Dropped = int64(native.Uint32(a.v[8:]))
			q.Requeues = int64(native.Uint32(a.v[12:]))
			q.Overlimits = int64(native.Uint32(a.v[16:]))
		case statsApp:
			if app == nil {
				continue
			}
			if err := app.decode(a.v); err != nil {
				return err
			}
		}
	}
	return a.err("statistics")
}

func (o *Settings) decode(b []byte) error {
	a := attrs{b: b}
	for a.next() {
		if a.typ == cakeBaseRate64 {
			n, ok := a.u64()
			if !ok {
				return short("a rate", a.v)
			}
			o.Bandwidth = rateOf(n)
			continue
		}
		if a.typ < cakeDiffservMode || a.typ > cakeFwmark { // padding, or of a kernel newer than this
			continue
		}
		n, ok := a.u32()
		if !ok {
			return short("an option", a.v)
		}
		switch a.typ {
		case cakeDiffservMode:
			o.Diffserv = Diffserv(n)
		case cakeAtm:
			o.Atm = Atm(n)
		case cakeFlowMode:
			o.Flow = FlowMode(n)
		case cakeOverhead:
			o.Overhead = int32(n)
		case cakeRTT:
			o.RTT = n
		case cakeTarget:
			o.Target = n
		case cakeAutorate:
			o.Autorate = n != 0
		case cakeMemory:
			o.Memory = n
		case cakeNat:
			o.Nat = n != 0
		case cakeRaw:
			o.Raw = true // its presence says it
		case cakeWash:
			o.Wash = n != 0
		case cakeMpu:
			o.Mpu = n
		case cakeIngress:
			o.Ingress = n != 0
		case cakeAckFilter:
			o.AckFilter = AckFilter(n)
		case cakeSplitGSO:
			o.SplitGSO = n != 0
		case cakeFwmark:
			o.Fwmark = n
		}
	}
	return a.err("options")
}

// rateOf turns the kernel's bytes per second into a rate, the largest there is where it would not fit.
func rateOf(bytes uint64) unit.Rate { return unit.Rate(min(bytes, math.MaxInt64/8)) * 8 }

func (s *Stats) decode(b []byte) error {
	a := attrs{b: b}
	for a.next() {
		switch {
		case a.typ == statCapacity64:
			n, ok := a.u64()
			if !ok {
				return short("a rate", a.v)
			}
			s.Capacity = rateOf(n)
		case a.typ == statTins:
			if err := decodeTins(a.v, &s.Tins); err != nil {
				return err
			}
		case a.typ >= statMemoryLimit && a.typ <= statMaxAdjlen:
			n, ok := a.u32()
			if !ok {
				return short("statistics", a.v)
			}
			switch a.typ {
			case statMemoryLimit:
				s.MemoryLimit = unit.Bytes(n)
			case statMemoryUsed:
				s.MemoryUsed = unit.Bytes(n)
			case statAvgNetoff:
				s.AvgOffset = int64(n)
			case statMinNetlen:
				s.MinNet = int64(n)
			case statMaxNetlen:
				s.MaxNet = int64(n)
			case statMinAdjlen:
				s.MinAdjusted = int64(n)
			case statMaxAdjlen:
				s.MaxAdjusted = int64(n)
			}
		}
	}
	return a.err("statistics")
}

// decodeTins reads the list of tins; their types count from 1, in the order tc prints them.
func decodeTins(b []byte, t *link.Tins) error {
	a := attrs{b: b}
	for a.next() {
		if a.typ < 1 || a.typ > link.MaxTins {
			continue
		}
		t.N = max(t.N, int(a.typ))
		if err := decodeTin(a.v, &t.Tin[a.typ-1]); err != nil {
			return err
		}
	}
	return a.err("tins")
}

func decodeTin(b []byte, t *link.Tin) error {
	a := attrs{b: b}
	for a.next() {
		if a.typ == tinThreshold64 || a.typ == tinSentBytes64 {
			n, ok := a.u64()
			if !ok {
				return short("a tin", a.v)
			}
			if a.typ == tinThreshold64 {
				t.Threshold = rateOf(n)
			} else {
				t.Bytes = clampBytes(n)
			}
			continue
		}
		n, ok := a.u32()
		if !ok {
			continue // padding
		}
		switch a.typ {
		case tinSentPackets:
			t.Packets = int64(n)
		case tinDroppedPackets:
			t.Dropped = int64(n)
		case tinAckDropped:
			t.AckDropped = int64(n)
		case tinMarked:
			t.Marked = int64(n)
		case tinBacklogBytes:
			t.QueuedBytes = unit.Bytes(n)
		case tinTargetUS:
			t.Target = micros(n)
		case tinIntervalUS:
			t.Interval = micros(n)
		case tinWayHits:
			t.WayHits = int64(n)
		case tinWayMisses:
			t.WayMisses = int64(n)
		case tinWayCollisions:
			t.WayCollisions = int64(n)
		case tinPeakUS:
			t.PeakDelay = micros(n)
		case tinAvgUS:
			t.AvgDelay = micros(n)
		case tinBaseUS:
			t.BaseDelay = micros(n)
		case tinSparse:
			t.SparseFlows = int64(n)
		case tinBulk:
			t.BulkFlows = int64(n)
		case tinUnresponsive:
			t.UnresponsiveFlows = int64(n)
		case tinMaxLen:
			t.MaxPacket = unit.Bytes(n)
		case tinQuantum:
			t.Quantum = unit.Bytes(n)
		}
	}
	return a.err("a tin")
}

func micros(n uint32) unit.Millis { return unit.Millis(float64(n) / 1000) }
