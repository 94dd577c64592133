package journal

import (
	"errors"
	"math"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What a call's first field says beside its kind.
const (
	callKind     = 3 // the two lowest bits
	callReplies  = 1 << 2
	callProbes   = 1 << 3
	callCounters = 1 << 4
	callOp       = 1 << 5
	callWake     = 1 << 6
	callNotes    = 1 << 7
	callLaw      = 1 << 8
	callWanted   = 1 << 9
	callOutside  = 1 << 10
)

func (w *writer) call(c *Call, m *memory) {
	law := c.Law != m.out.Law
	wanted := c.Wanted != m.out.Wanted
	flags := uint64(c.Kind)&callKind | flagsOf(len(c.Replies) > 0, len(c.Probes) > 0, len(c.Counters) > 0, c.HasOp,
		c.Wake != 0, len(c.Notes) > 0, law, wanted, c.Outside != m.outside)<<2
	w.uint(flags)
	w.int(int64(c.Now - m.now))
	m.now = c.Now
	if flags&callReplies != 0 {
		w.replies(c.Replies, c.Now)
	}
	if flags&callProbes != 0 {
		w.uint(uint64(len(c.Probes)))
		for _, p := range c.Probes {
			w.int(int64(p.Host))
			w.int(int64(c.Now - p.Sent))
		}
	}
	if flags&callCounters != 0 {
		w.uint(uint64(len(c.Counters)))
		for _, k := range c.Counters {
			w.int(int64(c.Now - k.At))
			w.int(int64(k.Rx - m.counters.Rx))
			w.int(int64(k.Tx - m.counters.Tx))
			m.counters = k
		}
	}
	if c.Kind == Deliver {
		w.result(&c.Result, c.Now, m)
		w.float(c.Jitter)
	}
	if flags&callWanted != 0 {
		w.int(int64(c.Wanted.Down - m.out.Wanted.Down))
		w.int(int64(c.Wanted.Up - m.out.Wanted.Up))
	}
	if flags&callLaw != 0 {
		w.law(&c.Law, &m.out.Law)
	}
	if c.Kind == Tick {
		w.decision(&c.Decision, &m.out.Decision, c.Wanted)
		m.out.Decision = c.Decision
		m.out.Decision.Notes = nil
	}
	m.out.Wanted, m.out.Law = c.Wanted, c.Law
	if flags&callOp != 0 {
		w.op(&c.Op, m)
	}
	if flags&callWake != 0 {
		w.int(int64(c.Wake - c.Now))
	}
	if flags&callNotes != 0 {
		n := min(len(c.Notes), maxNotes)
		w.uint(uint64(n))
		for _, note := range c.Notes[:n] {
			w.byte(byte(note.Level))
			w.text(cut(note.Key))
			w.text(cut(note.Text))
		}
	}
	if flags&callOutside != 0 { // behind all else: readers from before it ignore it
		w.outside(c.Outside)
		m.outside = c.Outside
	}
}

func (r *reader) call(c *Call, m *memory) {
	*c = Call{
		Replies: c.Replies[:0], Probes: c.Probes[:0], Counters: c.Counters[:0], Output: Output{Notes: c.Notes[:0]},
	}
	flags := r.uint()
	c.Kind = CallKind(flags & callKind)
	if c.Kind > Wake {
		r.fail()
		return
	}
	c.Now = m.now + unit.Time(r.int())
	m.now = c.Now
	if flags&callReplies != 0 {
		c.Replies = r.replies(c.Replies, c.Now)
	}
	if flags&callProbes != 0 {
		for range r.count() {
			p := link.Probe{Host: int(r.int())}
			p.Sent = c.Now - unit.Time(r.int())
			c.Probes = append(c.Probes, p)
		}
	}
	if flags&callCounters != 0 {
		for range r.count() {
			k := link.Counters{At: c.Now - unit.Time(r.int())}
			k.Rx = m.counters.Rx + unit.Bytes(r.int())
			k.Tx = m.counters.Tx + unit.Bytes(r.int())
			m.counters = k
			c.Counters = append(c.Counters, k)
		}
	}
	if c.Kind == Deliver {
		c.Result = r.result(c.Now, m)
		c.Jitter = r.float()
	}
	c.Wanted, c.Law = m.out.Wanted, m.out.Law
	if flags&callWanted != 0 {
		c.Wanted.Down += unit.Rate(r.int())
		c.Wanted.Up += unit.Rate(r.int())
	}
	if flags&callLaw != 0 {
		c.Law = r.law(c.Law)
	}
	m.out.Wanted, m.out.Law = c.Wanted, c.Law
	if c.Kind == Tick {
		c.Decision = r.decision(&m.out.Decision, c.Now, c.Wanted)
		m.out.Decision = c.Decision
	}
	if c.HasOp = flags&callOp != 0; c.HasOp {
		c.Op = r.op(m)
	}
	if flags&callWake != 0 {
		c.Wake = c.Now + unit.Time(r.int())
	}
	if flags&callNotes != 0 {
		for range min(r.count(), maxNotes) {
			c.Notes = append(c.Notes, link.Note{Level: link.Level(r.byte()), Key: r.text(), Text: r.text()})
		}
	}
	if flags&callOutside != 0 {
		m.outside = r.outside()
	}
	c.Outside = m.outside
}

func (w *writer) outside(o link.Outside) {
	w.uint(flagsOf(o.Blind))
	w.int(int64(o.Minute))
}

func (r *reader) outside() link.Outside {
	return link.Outside{Blind: r.uint()&1 != 0, Minute: int(r.int())}
}

// What a reply's first field says beside its host.
const (
	replyOneWay = 1 << iota
	replyPlain  // its round trip is the time between its two instants
	replyHost   // the host stands above
)

func (w *writer) replies(rs []link.Reply, now unit.Time) {
	w.uint(uint64(len(rs)))
	for i := range rs {
		r := &rs[i]
		f := uint64(uint32(r.Host)) * replyHost
		if r.OneWay {
			f |= replyOneWay
		}
		took := unit.ToMillis(r.Received.Sub(r.Sent))
		if r.RTT == took {
			f |= replyPlain
		}
		w.uint(f)
		w.int(int64(now - r.Received))
		w.int(int64(r.Received - r.Sent))
		if f&replyPlain == 0 {
			w.millis(r.RTT, took)
		}
		if r.OneWay {
			w.millis(r.Delay.Up, 0)
			w.millis(r.Delay.Down, r.RTT-r.Delay.Up)
			w.uint(uint64(r.Clock))
		}
	}
}

func (r *reader) replies(to []link.Reply, now unit.Time) []link.Reply {
	for range r.count() {
		f := r.uint()
		p := link.Reply{Host: int(int32(f / replyHost)), OneWay: f&replyOneWay != 0}
		p.Received = now - unit.Time(r.int())
		p.Sent = p.Received - unit.Time(r.int())
		p.RTT = unit.ToMillis(p.Received.Sub(p.Sent))
		if f&replyPlain == 0 {
			p.RTT = r.millis(p.RTT)
		}
		if p.OneWay {
			p.Delay.Up = r.millis(0)
			p.Delay.Down = r.millis(p.RTT - p.Delay.Up)
			p.Clock = uint32(r.uint())
		}
		to = append(to, p)
	}
	return to
}

func (w *writer) op(o *actuate.Op, m *memory) {
	d := int64(o.ID - m.op)
	m.op = o.ID
	f := uint64(d<<1^d>>63) << 1
	if o.Write {
		f |= 1
	}
	w.uint(f)
	if o.Write {
		w.int(int64(o.Want.Down - m.out.Wanted.Down))
		w.int(int64(o.Want.Up - m.out.Wanted.Up))
	}
}

func (r *reader) op(m *memory) actuate.Op {
	f := r.uint()
	d := f >> 1
	o := actuate.Op{ID: m.op + uint64(int64(d>>1)^-int64(d&1)), Write: f&1 == 1}
	m.op = o.ID
	if o.Write {
		o.Want.Down = m.out.Wanted.Down + unit.Rate(r.int())
		o.Want.Up = m.out.Wanted.Up + unit.Rate(r.int())
	}
	return o
}

// What a result's first field says.
const (
	resultSent = 1 << iota
	resultErr
	resultDown
	resultUp
	resultWAN
	resultUnwritten
)

func (w *writer) result(r *actuate.Result, now unit.Time, m *memory) {
	f := flagsOf(r.Sent, r.Err != nil, r.Read.Down, r.Read.Up, r.Report.HasWAN, r.Report.Unwritten)
	w.uint(f)
	last := m.op
	w.op(&r.Op, m)
	m.op = last // the next operation counts from the last one asked for
	if r.Err != nil {
		w.byte(byte(r.Class))
		w.text(cut(r.Err.Error()))
	}
	rep := &r.Report
	w.int(int64(now - rep.At))
	w.int(int64(rep.Uptime) - m.uptime)
	m.uptime = int64(rep.Uptime)
	w.queue(&rep.Down, &m.report.Down, &m.cakes[0])
	w.queue(&rep.Up, &m.report.Up, &m.cakes[1])
	m.report = *rep
	if rep.HasWAN {
		w.int(int64(rep.WANRx) - m.wan[0])
		w.int(int64(rep.WANTx) - m.wan[1])
		m.wan = [2]int64{int64(rep.WANRx), int64(rep.WANTx)}
	}
}

func flagsOf(bits ...bool) (f uint64) {
	for i, on := range bits {
		if on {
			f |= 1 << i
		}
	}
	return f
}

func (r *reader) result(now unit.Time, m *memory) actuate.Result {
	f := r.uint()
	last := m.op
	out := actuate.Result{Op: r.op(m), Sent: f&resultSent != 0}
	m.op = last
	out.Read.Down, out.Read.Up = f&resultDown != 0, f&resultUp != 0
	if f&resultErr != 0 {
		out.Class = actuate.ErrClass(r.byte())
		out.Err = errors.New(r.text())
	}
	rep := &out.Report
	rep.At = now - unit.Time(r.int())
	m.uptime += r.int()
	rep.Uptime = time.Duration(m.uptime)
	rep.Down = r.queue(&m.report.Down, &m.cakes[0])
	rep.Up = r.queue(&m.report.Up, &m.cakes[1])
	rep.HasWAN, rep.Unwritten = f&resultWAN != 0, f&resultUnwritten != 0
	if rep.HasWAN {
		m.wan[0] += r.int()
		m.wan[1] += r.int()
		rep.WANRx, rep.WANTx = unit.Bytes(m.wan[0]), unit.Bytes(m.wan[1])
	}
	m.report = *rep
	return out
}

func (w *writer) law(l, was *Law) {
	w.uint(flagsOf(l.Queue.Down, l.Queue.Up))
	w.uint(uint64(l.Cause.Down))
	w.uint(uint64(l.Cause.Up))
	w.int(int64(l.Capacity.Down - was.Capacity.Down))
	w.int(int64(l.Capacity.Up - was.Capacity.Up))
}

func (r *reader) law(was Law) Law {
	f := r.uint()
	l := Law{Queue: link.Pair[bool]{Down: f&1 != 0, Up: f&2 != 0}}
	l.Cause.Down, l.Cause.Up = cause(r.uint()), cause(r.uint())
	l.Capacity.Down = was.Capacity.Down + unit.Rate(r.int())
	l.Capacity.Up = was.Capacity.Up + unit.Rate(r.int())
	return l
}

func cause(v uint64) link.Cause { return link.Cause(min(v, math.MaxUint8)) }

// decision writes a cycle's decision: its rates beside those wanted, its figures beside the last ones.
func (w *writer) decision(d, was *link.Decision, wanted link.Rates) {
	f := uint64(d.State.Down)<<1 | uint64(d.State.Up)<<5
	if d.Measured {
		f |= 1
	}
	w.uint(f)
	w.millis(d.RTT, was.RTT)
	w.millis(d.Load, was.Load)
	w.millis(d.Baseline, was.Baseline)
	w.millis(d.Delta, was.Delta)
	w.int(int64(d.Rates.Down - wanted.Down))
	w.int(int64(d.Rates.Up - wanted.Up))
	for _, dir := range [...]link.Direction{link.Down, link.Up} {
		why := d.Reason.Get(dir)
		w.uint(uint64(why.Cause))
		w.int(int64(why.From - was.Rates.Get(dir)))
		w.int(int64(why.To - d.Rates.Get(dir)))
	}
}

func (r *reader) decision(was *link.Decision, now unit.Time, wanted link.Rates) link.Decision {
	f := r.uint()
	d := link.Decision{Now: now, Measured: f&1 != 0}
	d.State.Down, d.State.Up = link.State(f>>1&15), link.State(f>>5&15)
	d.RTT = r.millis(was.RTT)
	d.Load = r.millis(was.Load)
	d.Baseline = r.millis(was.Baseline)
	d.Delta = r.millis(was.Delta)
	d.Rates.Down = wanted.Down + unit.Rate(r.int())
	d.Rates.Up = wanted.Up + unit.Rate(r.int())
	for _, dir := range [...]link.Direction{link.Down, link.Up} {
		why := link.Reason{Cause: cause(r.uint())}
		why.From = was.Rates.Get(dir) + unit.Rate(r.int())
		why.To = d.Rates.Get(dir) + unit.Rate(r.int())
		d.Reason.Set(dir, why)
	}
	return d
}
