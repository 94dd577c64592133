package cake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// patience bounds one question to the kernel, which answers within the call unless another holds its lock.
const patience = 5 * time.Second

// tries is how often a list is asked for anew that changed while it was told.
const tries = 4

const (
	opReadQdisc = "read qdisc"
	opReadLink  = "read interface"
	opSet       = "set rate of qdisc"
	opMake      = "carry out"
)

// iflaExtMask and skipStats leave the counters out of an answer (linux/rtnetlink.h).
const (
	iflaExtMask = unix.IFLA_EXT_MASK
	skipStats   = 1 << 3 // RTEXT_FILTER_SKIP_STATS
)

// ReadInterface reads an interface's index and byte counters into i. It allocates nothing.
func (c *Conn) ReadInterface(name string, i *Interface) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.patient(context.Background()); err != nil {
		return c.fail(opReadLink, name, err)
	}
	return c.readLink(name, i, true)
}

// ReadCake reads the CAKE qdisc of an interface into q. It allocates nothing.
func (c *Conn) ReadCake(dev string, q *Cake) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.patient(context.Background()); err != nil {
		return c.fail(opReadQdisc, "of "+dev, err)
	}
	i := &c.links[0]
	if err := c.readLink(dev, i, false); err != nil {
		return err
	}
	var found [2]seen
	if err := c.readCakes([2]int32{i.Index}, [2]*Cake{q}, &found); err != nil {
		return c.fail(opReadQdisc, "of "+dev, err)
	}
	return c.judge(dev, found[0], false)
}

// SetBandwidth sets the rate of an interface's CAKE and nothing else, so that flows, tins and what is queued stay as they
// are, and reads it back. r is at least [MinRate], and whole bytes per second of it are set.
func (c *Conn) SetBandwidth(dev string, r unit.Rate) (Cake, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var q Cake
	if r < MinRate || r > unit.MaxRate {
		return q, c.fail(opSet, "of "+dev, fmt.Errorf("%w: %d bit/s", errRate, r))
	}
	if err := c.patient(context.Background()); err != nil {
		return q, c.fail(opSet, "of "+dev, err)
	}
	i := &c.links[0]
	if err := c.readLink(dev, i, false); err != nil {
		return q, err
	}
	read := func() error {
		var found [2]seen
		if err := c.readCakes([2]int32{i.Index}, [2]*Cake{&q}, &found); err != nil {
			return c.fail(opReadQdisc, "of "+dev, err)
		}
		return c.judge(dev, found[0], false)
	}
	if err := read(); err != nil {
		return q, err
	}
	if q.Bandwidth == wireRate(r) {
		return q, nil
	}
	if err := c.setRate(i.Index, q.Handle, r); err != nil {
		return q, c.fail(opSet, "of "+dev, err)
	}
	if err := read(); err != nil {
		return q, err
	}
	if q.Bandwidth != wireRate(r) {
		return q, c.fail(opSet, "of "+dev, fmt.Errorf("%w: wanted %d bit/s, have %d", errReadBack, wireRate(r), q.Bandwidth))
	}
	return q, nil
}

// patient bounds what follows.
func (c *Conn) patient(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	until := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	return c.nl.SetDeadline(until)
}

// readLink asks for one interface by its name, so that one that was made anew is found under its new index.
func (c *Conn) readLink(name string, i *Interface, counters bool) error {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return c.fail(opReadLink, name, unix.ENODEV)
	}
	x := c.raw
	x.begin(unix.RTM_GETLINK, 0)
	x.ifinfo(0, 0, 0)
	x.text(unix.IFLA_IFNAME, name)
	if !counters {
		x.u32(iflaExtMask, skipStats)
	}
	if err := x.do(); err != nil {
		return c.fail(opReadLink, name, err)
	}
	found := false
	for x.next() {
		if x.typ != unix.RTM_NEWLINK || found {
			continue
		}
		if err := i.decode(x.body, name); err != nil {
			x.fail = err
			break
		}
		found = true
	}
	if err := x.finish(); err != nil {
		return c.fail(opReadLink, name, err)
	}
	if !found {
		return c.fail(opReadLink, name, unix.ENODEV)
	}
	return nil
}

// decode reads an answer about the interface of that name.
func (i *Interface) decode(b []byte, name string) error {
	if len(b) < ifinfoLen {
		return short("an interface", b)
	}
	*i = Interface{Index: int32(native.Uint32(b[4:]))}
	a := attrs{b: b[ifinfoLen:]}
	for a.next() {
		switch a.typ {
		case unix.IFLA_IFNAME:
			if same(a.text(), name) {
				i.Name = name
			}
		case unix.IFLA_STATS64: // struct rtnl_link_stats64: packets received and sent, then bytes
			if len(a.v) < 32 {
				return short("interface counters", a.v)
			}
			i.Rx, i.Tx = clampBytes(native.Uint64(a.v[16:])), clampBytes(native.Uint64(a.v[24:]))
		}
	}
	if err := a.err("an interface"); err != nil {
		return err
	}
	if i.Name == "" || i.Index <= 0 {
		return fmt.Errorf("%w: it tells of another interface", errReply)
	}
	return nil
}

// seen is what hangs at an interface's root.
type seen struct {
	cake, root bool
	kind       string
	handle     Handle
}

// readCakes fills each cake from the root qdisc of the interface with its index; an index of 0 is left out. The kernel
// cannot be asked for one interface alone without telling everybody who listens for changes of queues (RTM_GETQDISC
// with NLM_F_ECHO), so all are asked for and the others are passed over: a few microseconds each.
func (c *Conn) readCakes(index [2]int32, cakes [2]*Cake, found *[2]seen) error {
	x := c.raw
	var err error
	for range tries {
		*found = [2]seen{}
		x.begin(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		x.tcmsg(0, 0, 0, 0)
		if err = x.do(); err != nil {
			return err
		}
		for x.next() {
			if x.typ != unix.RTM_NEWQDISC || len(x.body) < tcmsgLen || Handle(native.Uint32(x.body[12:])) != Root {
				continue
			}
			at := int32(native.Uint32(x.body[4:]))
			for n := range index {
				if index[n] != at || at == 0 {
					continue
				}
				if err := c.takeRoot(x.body, cakes[n], &found[n]); err != nil && x.fail == nil {
					_ = x.finish()
					return err
				}
			}
		}
		if err = x.fail; err != nil || !x.intr {
			return err
		}
	}
	return fmt.Errorf("%w: the list of qdiscs changed %d times while it was told", errReply, tries)
}

// takeRoot reads one root qdisc.
func (c *Conn) takeRoot(b []byte, q *Cake, s *seen) error {
	var head Qdisc
	p, err := splitQdisc(b, &head)
	if err != nil {
		return err
	}
	*s = seen{root: true, kind: head.Kind, handle: head.Handle, cake: same(p.kind, kindCake)}
	if !s.cake {
		return nil
	}
	return decodeCake(b, q)
}

// judge says what is wrong with what hangs at an interface's root. had says that CAKE was there before.
func (c *Conn) judge(dev string, s seen, had bool) error {
	switch {
	case s.cake:
		return nil
	case had && (!s.root || s.handle == 0):
		return c.fail(opReadQdisc, "of "+dev, errGone)
	case !s.root:
		return c.fail(opReadQdisc, "of "+dev, fmt.Errorf("%w: there is none", errNotCake))
	case s.handle == 0:
		return c.fail(opReadQdisc, "of "+dev, fmt.Errorf("%w but the kernel's own %s", errNotCake, s.kind))
	}
	return c.fail(opReadQdisc, "of "+dev, fmt.Errorf("%w but somebody's %s (handle %s)", errNotCake, s.kind, s.handle))
}

// setRate changes only the rate of the qdisc with that handle. Without the handle, and without NLM_F_CREATE, the kernel
// would put a new CAKE in the place of whatever took its place meanwhile.
func (c *Conn) setRate(index int32, h Handle, r unit.Rate) error {
	c.raw.rateRequest(index, h, r)
	if err := c.raw.do(); err != nil {
		return err
	}
	return c.raw.finish()
}

func (x *exchange) rateRequest(index int32, h Handle, r unit.Rate) {
	x.begin(unix.RTM_NEWQDISC, unix.NLM_F_ACK)
	x.tcmsg(index, h, Root, 0)
	x.text(tcaKind, kindCake)
	at := x.open(tcaOptions)
	x.u64(cakeBaseRate64, uint64(wireRate(r)/8))
	x.shut(at)
}

// Line is one WAN's two CAKE queues: that of the upload's interface, and that of the download's, an ifb as a rule.
type Line struct {
	conn          *Conn
	download, upl string
	now           func() unit.Time
	had           [2]bool // CAKE was there at the last reading
}

// LineOptions name a line's interfaces.
type LineOptions struct {
	Options
	// Download and Upload are the interfaces whose root qdiscs are CAKE. The upload's counts what the line carried.
	Download, Upload string
	// Now is the clock that reports are stamped by; nil is the host's time since boot.
	Now func() unit.Time
}

// OpenLine connects to the kernel. Whether the qdiscs are there is seen by the first Exchange.
func OpenLine(o LineOptions) (*Line, error) {
	c, err := Open(o.Options)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = sinceBoot
	}
	return &Line{conn: c, download: o.Download, upl: o.Upload, now: o.Now}, nil
}

func sinceBoot() unit.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return unit.Time(ts.Nano())
}

// String names the line's queues in messages.
func (l *Line) String() string { return "this host (" + l.download + ", " + l.upl + ")" }

// Close ends the connection to the kernel. The qdiscs stay as they are.
func (l *Line) Close() error { return l.conn.Close() }

func (l *Line) dev(d link.Direction) string {
	if d == link.Up {
		return l.upl
	}
	return l.download
}

// Exchange sets the rates that are not zero, decreases first, and reads both queues, the upload interface's counters and
// the host's uptime back. A nil want only reads, and allocates nothing. An error says in Read which directions of the
// report stand all the same.
func (l *Line) Exchange(ctx context.Context, want *link.Rates) (link.Report, error) {
	c := l.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.patient(ctx); err != nil {
		return link.Report{}, c.fail(opReadQdisc, l.String(), err)
	}
	began := l.now()
	var failed [2]error
	index := l.indexes(&failed)
	var found [2]seen
	if err := l.read(index, &found, &failed); err != nil {
		return link.Report{}, err
	}
	sent := false
	if want != nil {
		sent = l.write(index, *want, &failed)
		again := [2]error{}
		if err := l.read(index, &found, &again); err != nil {
			return link.Report{}, withSent(err)
		}
		for n := range failed {
			if failed[n] == nil {
				failed[n] = again[n]
			}
		}
	}
	ended := l.now()
	r := link.Report{At: began + (ended-began)/2, Uptime: time.Duration(sinceBoot())}
	read := link.Pair[bool]{}
	for n, d := range directions {
		if found[n].cake {
			r.Set(d, c.cakes[n].Queue())
			read.Set(d, true)
		}
	}
	if index[link.Up] != 0 {
		r.HasWAN, r.WANRx, r.WANTx = true, c.links[link.Up].Rx, c.links[link.Up].Tx
	}
	if want != nil {
		for n, d := range directions {
			w := want.Get(d)
			if got := c.cakes[n].Bandwidth; w > 0 && failed[n] == nil && got != wireRate(w) {
				failed[n] = c.fail(opSet, "of "+l.dev(d), fmt.Errorf("%w: wanted %d bit/s, have %d", errReadBack, wireRate(w), got))
			}
		}
	}
	return r, both(failed, read, sent)
}

// Counters reads what the line carried: what came in on the upload's interface, before the download's queue, and what left
// on it. It allocates nothing and may be called from any goroutine.
func (l *Line) Counters() (link.Counters, error) {
	c := l.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.patient(context.Background()); err != nil {
		return link.Counters{}, c.fail(opReadLink, l.upl, err)
	}
	began := l.now()
	i := &c.counted
	if err := c.readLink(l.upl, i, true); err != nil {
		return link.Counters{}, err
	}
	ended := l.now()
	return link.Counters{At: began + (ended-began)/2, Rx: i.Rx, Tx: i.Tx}, nil
}

var directions = [2]link.Direction{link.Down, link.Up}

// indexes finds both interfaces.
func (l *Line) indexes(failed *[2]error) (index [2]int32) {
	for n, d := range directions {
		i := &l.conn.links[n]
		if err := l.conn.readLink(l.dev(d), i, d == link.Up); err != nil {
			failed[n] = err
			continue
		}
		index[n] = i.Index
	}
	return index
}

// read fills both cakes, and says which is not there.
func (l *Line) read(index [2]int32, found *[2]seen, failed *[2]error) error {
	c := l.conn
	if err := c.readCakes(index, [2]*Cake{&c.cakes[0], &c.cakes[1]}, found); err != nil {
		return c.fail(opReadQdisc, "of "+l.download+" and "+l.upl, err)
	}
	for n, d := range directions {
		if index[n] == 0 {
			continue // told already
		}
		if err := c.judge(l.dev(d), found[n], l.had[n]); err != nil {
			failed[n] = err
		}
		l.had[n] = l.had[n] || found[n].cake
	}
	return nil
}

// write sets what differs, decreases first: both directions may share a path, and a cut is the urgent one.
func (l *Line) write(index [2]int32, want link.Rates, failed *[2]error) (sent bool) {
	c := l.conn
	for _, cuts := range [...]bool{true, false} {
		for n, d := range directions {
			w, cur := want.Get(d), c.cakes[n].Bandwidth
			if w == 0 || failed[n] != nil || cur == wireRate(w) || cuts != (cur == 0 || cur > w) {
				continue
			}
			if w < MinRate || w > unit.MaxRate {
				failed[n] = c.fail(opSet, "of "+l.dev(d), fmt.Errorf("%w: %d bit/s", errRate, w))
				continue
			}
			sent = true
			if err := c.setRate(index[n], c.cakes[n].Handle, w); err != nil {
				failed[n] = c.fail(opSet, "of "+l.dev(d), err)
			}
		}
	}
	return sent
}

// both makes one error of those of both directions.
func both(failed [2]error, read link.Pair[bool], sent bool) error {
	if failed[0] == nil && failed[1] == nil {
		return nil
	}
	var e *Error
	first, second := failed[0], failed[1]
	if first == nil {
		first, second = second, nil
	}
	if !errors.As(first, &e) {
		return first
	}
	out := *e
	out.Read, out.Sent = read, sent
	if second != nil {
		var also *Error
		if errors.As(second, &also) && also.Hint == e.Hint { // said once
			bare := *also
			bare.Hint, second = "", &bare
		}
		out.Err = fmt.Errorf("%w; and %s", e.Err, second.Error())
	}
	return &out
}

func withSent(err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Sent = true
	}
	return err
}
