package journal

import (
	"encoding/binary"
	"math"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// memory is what both sides remember of a file, so that little has to be written: times and counters go in as
// differences to the record before.
type memory struct {
	now      unit.Time
	counters link.Counters
	op       uint64
	out      Output
	outside  link.Outside
	uptime   int64
	report   link.Report
	wan      [2]int64
	cakes    [2]link.Cake
}

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) byte(v byte)   { w.b = append(w.b, v) }
func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) float(f float64) {
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(f))
}

// whole gives a delay in nanoseconds; ok is false for one that is no whole number of them.
func whole(x unit.Millis) (ns int64, ok bool) {
	if !(x > -1e6 && x < 1e6) {
		return 0, false
	}
	ns = int64(math.Round(float64(x) * 1e6))
	return ns, math.Float64bits(float64(ns)/1e6) == math.Float64bits(float64(x))
}

// millis writes a delay exactly: as the difference in nanoseconds to another where both are whole, else as it is.
func (w *writer) millis(x, to unit.Millis) {
	ns, ok := whole(x)
	if !ok {
		w.uint(1)
		w.float(float64(x))
		return
	}
	base, _ := whole(to)
	d := ns - base
	w.uint(uint64(d<<1^d>>63) << 1)
}

// reader takes fields. After the first that is not there, bad stays set and every field is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

func (r *reader) millis(to unit.Millis) unit.Millis {
	v := r.uint()
	if v&1 == 1 {
		return unit.Millis(r.float())
	}
	v >>= 1
	base, _ := whole(to)
	ns := base + (int64(v>>1) ^ -int64(v&1))
	return unit.Millis(float64(ns) / 1e6)
}

// count reads how many items follow, each of at least one byte.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Queues and CAKE's classes as rows of numbers, of which only those that changed are written.

const (
	queueFields = 7
	tinFields   = 20
	// queueParent and queueCake follow the fields in a queue's mask.
	queueParent, queueCake = 1 << queueFields, 1 << (queueFields + 1)
)

func queueRow(q *link.Queue) [queueFields]int64 {
	return [...]int64{
		int64(q.MaxLimit), int64(q.Bytes), q.Packets, q.Dropped, q.Marked, int64(q.QueuedBytes), q.QueuedPackets,
	}
}

func (q queueOf) set(f [queueFields]int64) {
	q.MaxLimit, q.Bytes, q.Packets, q.Dropped = unit.Rate(f[0]), unit.Bytes(f[1]), f[2], f[3]
	q.Marked, q.QueuedBytes, q.QueuedPackets = f[4], unit.Bytes(f[5]), f[6]
}

type queueOf struct{ *link.Queue }

func ns(x unit.Millis) int64 { return int64(x.Duration()) }

func tinRow(t *link.Tin) [tinFields]int64 {
	return [...]int64{
		int64(t.Threshold), int64(t.Bytes), t.Packets, t.Dropped, t.Marked, t.AckDropped, int64(t.QueuedBytes),
		ns(t.Target), ns(t.Interval), ns(t.PeakDelay), ns(t.AvgDelay), ns(t.BaseDelay),
		t.SparseFlows, t.BulkFlows, t.UnresponsiveFlows, t.WayHits, t.WayMisses, t.WayCollisions,
		int64(t.MaxPacket), int64(t.Quantum),
	}
}

func tinOf(f [tinFields]int64) link.Tin {
	ms := func(ns int64) unit.Millis { return unit.Millis(float64(ns) / 1e6) }
	return link.Tin{
		Threshold: unit.Rate(f[0]), Bytes: unit.Bytes(f[1]), Packets: f[2], Dropped: f[3], Marked: f[4], AckDropped: f[5],
		QueuedBytes: unit.Bytes(f[6]), Target: ms(f[7]), Interval: ms(f[8]), PeakDelay: ms(f[9]), AvgDelay: ms(f[10]),
		BaseDelay: ms(f[11]), SparseFlows: f[12], BulkFlows: f[13], UnresponsiveFlows: f[14], WayHits: f[15],
		WayMisses: f[16], WayCollisions: f[17], MaxPacket: unit.Bytes(f[18]), Quantum: unit.Bytes(f[19]),
	}
}

// mask says which numbers changed.
func mask(now, was []int64) (m uint64) {
	for i := range now {
		if now[i] != was[i] {
			m |= 1 << i
		}
	}
	return m
}

// row writes the numbers that a mask names.
func (w *writer) row(m uint64, now, was []int64) {
	for i := range now {
		if m>>i&1 == 1 {
			w.int(now[i] - was[i])
		}
	}
}

func (r *reader) row(m uint64, to []int64) {
	for i := range to {
		if m>>i&1 == 1 {
			to[i] += r.int()
		}
	}
}

func (w *writer) queue(q, was *link.Queue, cake *link.Cake) {
	now, old := queueRow(q), queueRow(was)
	m := mask(now[:], old[:])
	if q.Parent != was.Parent {
		m |= queueParent
	}
	if q.Cake != (link.Cake{}) {
		m |= queueCake
	}
	w.uint(m)
	w.row(m, now[:], old[:])
	if m&queueParent != 0 {
		w.text(cut(q.Parent))
	}
	if m&queueCake != 0 {
		w.cake(&q.Cake, cake)
		*cake = q.Cake
	}
}

func (r *reader) queue(was *link.Queue, cake *link.Cake) link.Queue {
	q := *was
	q.Cake = link.Cake{}
	m := r.uint()
	f := queueRow(was)
	r.row(m, f[:])
	queueOf{&q}.set(f)
	if m&queueParent != 0 {
		q.Parent = r.text()
	}
	if m&queueCake != 0 {
		q.Cake = r.cake(cake)
		*cake = q.Cake
	}
	return q
}

func cakeRow(c *link.Cake) [4]int64 {
	return [...]int64{int64(c.Capacity), int64(c.MemoryUsed), int64(c.MemoryLimit), int64(c.Tins.N)}
}

func (w *writer) cake(c, was *link.Cake) {
	now, old := cakeRow(c), cakeRow(was)
	m := mask(now[:], old[:])
	w.uint(m)
	w.row(m, now[:], old[:])
	for i := range min(max(c.Tins.N, 0), link.MaxTins) {
		now, old := tinRow(&c.Tins.Tin[i]), tinRow(&was.Tins.Tin[i])
		m := mask(now[:], old[:])
		w.uint(m)
		w.row(m, now[:], old[:])
	}
}

func (r *reader) cake(was *link.Cake) link.Cake {
	f := cakeRow(was)
	r.row(r.uint(), f[:])
	c := link.Cake{Capacity: unit.Rate(f[0]), MemoryUsed: unit.Bytes(f[1]), MemoryLimit: unit.Bytes(f[2])}
	if f[3] < 0 || f[3] > link.MaxTins {
		r.fail()
		return c
	}
	c.Tins.N = int(f[3])
	for i := range c.Tins.N {
		f := tinRow(&was.Tins.Tin[i])
		r.row(r.uint(), f[:])
		c.Tins.Tin[i] = tinOf(f)
	}
	return c
}

// cut bounds a text.
func cut(s string) string { return s[:min(len(s), MaxText)] }
