// Package probe measures delay and loss to a line's reflectors with ICMP echoes and timestamp requests, to an IRTT server with
// its own protocol, and with TCP handshakes, all of which leave through that line.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Bounds and defaults of [Options].
const (
	// DefaultInterval is used when Interval is 0.
	DefaultInterval = time.Second
	// DefaultTimeout is used when Timeout is 0.
	DefaultTimeout = time.Second
	// MaxTimeout is the longest timeout: a longer round trip is no valid sample anyway.
	MaxTimeout = 10 * time.Second
	// MaxTargets is the most targets of one pinger; at 20 echoes/s each then has its turn every 3.2 s.
	MaxTargets = 64
)

// Options say whom to probe, how often, and through which line.
type Options struct {
	// Targets are reflectors: IP addresses (an IPv6 one may carry a zone) or host names. 1 to [MaxTargets].
	Targets []string
	// Source is the address probes leave from; the zero Addr leaves the choice to the kernel.
	Source netip.Addr
	// Interface is the interface probes leave through (SO_BINDTODEVICE); empty leaves the choice to the routes.
	Interface string
	// Mark is the firewall mark of the probes (SO_MARK) for routing rules; 0 sets none.
	Mark uint32
	// Interval is the time between two echoes to one host. It is stretched so that no host gets more than 5 echoes/s and
	// all together no more than 20. 0 is [DefaultInterval].
	Interval time.Duration
	// Timestamps asks IPv4 targets for ICMP timestamps (RFC 792), which split the round trip into its ways up and down.
	// It needs a raw socket, so CAP_NET_RAW; without it a note says so and all probes are echoes. A target gets echoes and
	// timestamp requests in turn until its clock has proved to run with ours, from then on timestamp requests only; one
	// that ignores them gets echoes. The target's stamps are whole milliseconds, so the way up is measured up to 1 ms too
	// short and the way down as much too long. Two clocks part by some ms in a minute when one of them is not disciplined,
	// and one that is set by less than a round trip is not noticed: as no way can grow by more than its round trip does,
	// whoever follows Delay bounds its growth by that of RTT.
	Timestamps bool
	// IRTT is a server that stamps probes with its own clock, beside the targets.
	IRTT IRTT
	// TCPPort is where [Pinger.ProbeTCP] connects to; 0 is [DefaultTCPPort].
	TCPPort int
	// OnSend is called after each probe that left, on the goroutine that sends, of which TCP has its own, so that counters
	// can be read at that instant; nil calls nothing. The next probe waits for it, and a quick reply may be booked before it.
	// No lock is held.
	OnSend func(link.Probe)
	// Timeout is how long a reply counts; a later one is only counted as late. At most [MaxTimeout]; 0 is [DefaultTimeout].
	Timeout time.Duration
	// Now is the clock of all times handed up; nil is the time since boot (CLOCK_BOOTTIME). Round trips do not depend on it.
	Now func() unit.Time
	// Log takes rare notes, those of a kind with growing pauses while it goes on; nil discards them. It may be called from any goroutine.
	Log func(link.Note)
	// Resolver looks up host names; nil is [net.DefaultResolver]. Addresses in Targets never reach it.
	Resolver Resolver

	kind socketKind // for tests: one sort of socket only
}

// binding is the part of the options that ties a socket to a line.
func (o *Options) binding() binding {
	return binding{source: o.Source, device: o.Interface, mark: o.Mark}
}

// complete checks the options and fills in defaults. All errors are reported at once.
func (o *Options) complete() error {
	var errs []error
	bad := func(thing, hint, format string, args ...any) {
		errs = append(errs, &Error{Kind: KindOptions, Op: "probe options:", Thing: thing, Err: fmt.Errorf(format, args...), Hint: hint})
	}
	most := MaxTargets
	if o.IRTT.Host != "" {
		most--
	}
	switch n := len(o.Targets); {
	case n == 0:
		bad("targets", "name at least one reflector", "there is none")
	case n > most:
		bad("targets", fmt.Sprintf("at most %d", most), "%d are too many", n)
	}
	if o.Source.IsValid() {
		if o.Source = o.Source.Unmap(); !usable(o.Source) {
			bad("source "+o.Source.String(), "use an address of the line's interface", "not a unicast address")
		}
	}
	if len(o.Interface) >= unix.IFNAMSIZ || strings.ContainsAny(o.Interface, "/ \x00") {
		bad("interface "+fmt.Sprintf("%q", o.Interface), "at most 15 characters, no slash, no space", "not an interface name")
	}
	if o.TCPPort < 0 || o.TCPPort > 65535 {
		bad("TCP port", "1 to 65535", "%d is no port", o.TCPPort)
	}
	if o.Interval < 0 {
		bad("interval", "", "%v is negative", o.Interval)
	}
	if o.Timeout < 0 || o.Timeout > MaxTimeout {
		bad("timeout", "", "%v is outside 0 to %v", o.Timeout, MaxTimeout)
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = bootTime
	}
	if o.Log == nil {
		o.Log = func(link.Note) {}
	}
	if o.OnSend == nil {
		o.OnSend = func(link.Probe) {}
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	return errors.Join(errs...)
}

// usable says whether a can be probed or probed from: unicast and not "any".
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// bootTime reads CLOCK_BOOTTIME.
func bootTime() unit.Time {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail: the clock exists since Linux 2.6.39
	return unit.Time(ts.Nano())
}

// target is one reflector and its account.
type target struct {
	name    string
	port    int // of the IRTT server, 0 for what has none
	literal bool
	addr    netip.Addr // invalid until the name is resolved
	to      unix.Sockaddr
	failing bool
	idle    bool // not in use: not waited for
	clock   remoteClock

	sent, received, late, forged, wrongSource, duplicates, sendErrors uint64
	tcpSent, tcpReceived                                              uint64

	lastReply      unit.Time
	answered       unit.Time // when the newest answered probe was sent
	unanswered     unit.Time
	lastErr, dnsEr error
}

// TargetStats is one target's account since the pinger was opened.
type TargetStats struct {
	// Target is as configured; Addr is what it resolved to, invalid while unknown.
	Target string
	Addr   netip.Addr
	// OneWay says that the target's clock is believed: its replies carry the delay of each way.
	OneWay bool
	// Sent counts probes that left, Received those answered in time.
	Sent, Received uint64
	// Late counts answers after the timeout, Duplicates further answers to the same probe.
	Late, Duplicates uint64
	// Forged counts replies without the probe's secret, WrongSource those with it but from another address.
	Forged, WrongSource uint64
	// SendErrors counts probes that were due but could not leave, for want of an address or a socket too.
	SendErrors uint64
	// TCPSent counts handshakes that were begun, TCPReceived those answered in time. Nothing else here counts them.
	TCPSent, TCPReceived uint64
	// LastReply is when the newest valid reply reached the kernel; 0 is never.
	LastReply unit.Time
	// Unanswered is when the oldest probe left that is younger than the newest answered one; 0 when there is none, and
	// for a target that is not in use.
	// Now minus Unanswered is how long the target has been silent.
	Unanswered unit.Time
	// Err is the last failure to send or to resolve since the last success; nil when all is well.
	Err error
}

// Totals is the account of the pinger as a whole.
type Totals struct {
	// Stray counts replies to nothing we remember: older than the table, or never sent.
	Stray uint64
	// Malformed counts packets that are no reply of a sort that we ask for.
	Malformed uint64
	// Dropped counts replies lost because Drain was not called in time.
	Dropped uint64
	// Reopened counts sockets opened anew after a failure, ReadErrors failed reads.
	Reopened, ReadErrors uint64
	// Unstamped counts replies without a kernel receive stamp: their round trip includes our own wait to read them.
	Unstamped uint64
}

// Pinger probes a line's reflectors in the background. Its methods may be called from any goroutine.
type Pinger struct {
	o     Options
	id    uint16
	quiet quiet

	mu      sync.Mutex
	targets []target
	server  *server // nil where none is configured
	tcp     tcpPlan
	table   table
	buffer  buffer
	totals  Totals
	conns   [families]*conn
	retryAt [families]unit.Time
	asked   plan
	down    [families]bool // noted as failed, not yet as open again
	running bool
	closed  bool
	cancel  context.CancelFunc

	wg sync.WaitGroup
	// Our time of day when the pinger was opened. It is the only look at the wall clock: from there the monotonic clock
	// counts on, so that setting the wall clock moves no one-way delay.
	opened time.Time
	ofDay  time.Duration

	echo    [echoLen]byte // of the sending goroutine
	arrived chan struct{} // a reply was accepted
	changed chan struct{} // asked has changed
	// tcp has changed.
	tcpChanged chan struct{}
}

// Open checks the options and opens the sockets. It fails when the options are wrong, when neither sort of ICMP socket
// may be opened, or when the mark may not be set; every error is, or wraps, an [*Error]. An interface or address that
// does not exist (yet) is no failure: Run keeps trying and notes it, and Check reports it. No name is looked up here.
func Open(o Options) (*Pinger, error) {
	err := o.complete()
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	now := time.Now()
	p := &Pinger{
		opened: now, ofDay: time.Duration(now.UnixNano()) % day,
		o: o, id: binary.BigEndian.Uint16(id[:]), asked: plan{hosts: everyone(len(o.Targets)), interval: o.Interval},
		arrived: make(chan struct{}, 1), changed: make(chan struct{}, 1), tcpChanged: make(chan struct{}, 1),
	}
	p.quiet.log = p.o.Log
	p.targets = make([]target, len(o.Targets), len(o.Targets)+1)
	for i, name := range o.Targets {
		p.targets[i].name = name
		err = errors.Join(err, p.aim(&p.targets[i], "probe target", name))
	}
	if o.IRTT.Host != "" {
		err = errors.Join(err, p.addServer())
	}
	if err != nil {
		return nil, err
	}
	if err := p.openAll(); err != nil {
		return nil, err
	}
	return p, nil
}

// openAll opens the sockets of the families in use. Only failures that cannot heal are returned.
func (p *Pinger) openAll() error {
	for _, f := range p.families() {
		c, err := p.openSocket(f)
		if err == nil {
			p.conns[f] = c
			continue
		}
		if !heals(err) {
			_ = p.closeConns()
			return err
		}
	}
	return nil
}

// noTimestamps is the finding, and the note, that there will be no one-way delays, and what that costs.
const noTimestamps = "One-way delays are not measured: ICMP timestamps need a raw socket, and the program lacks CAP_NET_RAW. " +
	"Only round trips tell upload and download delay apart, later and not always rightly; give it CAP_NET_RAW, or ask for no timestamps."

// openSocket opens a family's socket and notes when it cannot ask for timestamps as wanted.
func (p *Pinger) openSocket(f family) (*conn, error) {
	c, err := p.openAsAsked(f)
	if err == nil && p.lacksTimestamps(f, c) {
		p.note(link.Info, "probe_no_timestamps", f.String(), func() string { return noTimestamps })
	}
	return c, err
}

// openAsAsked opens a family's socket: a raw one where timestamps are wanted and that is allowed.
func (p *Pinger) openAsAsked(f family) (*conn, error) {
	if p.o.Timestamps && f == v4 && p.o.kind == anyKind {
		if c, err := openConn(p.o.binding(), f, rawKind, p.id); err == nil || kindOf(err) != KindPermission {
			return c, err
		}
	}
	return openConn(p.o.binding(), f, p.o.kind, p.id)
}

// lacksTimestamps says that an open socket cannot ask for the timestamps that are wanted.
func (p *Pinger) lacksTimestamps(f family, c *conn) bool {
	return p.o.Timestamps && f == v4 && c.kind != rawKind
}

// timeOfDay returns our time of day at t, which may exceed a day.
func (p *Pinger) timeOfDay(t time.Time) time.Duration { return p.ofDay + t.Sub(p.opened) }

// families returns the families of the known addresses; before any name is resolved, that of the source, or IPv4.
func (p *Pinger) families() []family {
	var used [families]bool
	for i := range p.o.Targets { // the IRTT server has a socket of its own
		if a := p.targets[i].addr; a.IsValid() {
			used[familyOf(a)] = true
		}
	}
	if !used[v4] && !used[v6] {
		f := v4
		if p.o.Source.IsValid() {
			f = familyOf(p.o.Source)
		}
		used[f] = true
	}
	var out []family
	for f, u := range used {
		if u {
			out = append(out, family(f))
		}
	}
	return out
}

// aim points a target at its address; a name is left to Run, which looks it up. It fails, at what op says of thing, when the
// target is neither, or when nothing can be sent there.
func (p *Pinger) aim(t *target, op, thing string) error {
	a, _ := netip.ParseAddr(t.name) // invalid where it is a name
	switch a = a.Unmap(); {
	case !a.IsValid() && !plausibleName(t.name):
		return &Error{Kind: KindOptions, Op: op, Thing: strconv.Quote(thing), Err: errors.New("neither an IP address nor a host name")}
	case !a.IsValid():
	case !usable(a):
		return &Error{Kind: KindOptions, Op: op, Thing: thing, Err: errors.New("not a unicast address")}
	case !p.o.binding().allows(familyOf(a)):
		return &Error{
			Kind: KindFamily, Op: op, Thing: thing, Err: fmt.Errorf("cannot be probed from %v, an address of the other IP version", p.o.Source),
			Hint: "use an address of the source's IP version, or bind by interface or mark too",
		}
	default:
		t.literal = true
		p.point(t, a)
	}
	return nil
}

// point sets a target's address. The caller holds the lock once the pinger is shared.
func (p *Pinger) point(t *target, a netip.Addr) {
	t.to = sockaddr(a, p.o.Interface, t.port)
	t.addr = a.WithZone("")
}

// Interval returns the time between two echoes to one host after the bounds were applied. While an IRTT server answers it is
// twice as long, as every second turn is the server's.
func (p *Pinger) Interval() time.Duration {
	asked := p.plan()
	d := asked.legal()
	if asked.pause > 0 {
		d *= 2
	}
	return d
}

// plan returns what was asked for.
func (p *Pinger) plan() plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// SetInterval changes the time between two echoes to one host, within the bounds of [Options.Interval]; 0 and less is
// [DefaultInterval]. Run takes it over at once, also in the middle of a long wait: the next echo leaves when the new
// interval has passed since the last one.
func (p *Pinger) SetInterval(d time.Duration) {
	if d <= 0 {
		d = DefaultInterval
	}
	p.mu.Lock()
	same := p.asked.interval == d
	p.asked.interval = d
	p.mu.Unlock()
	if !same {
		p.wake()
	}
}

// Use has only some of the targets probed, by their index, in turn; at first all are. Run takes it over at once, within
// the same bounds. The others keep their accounts and are not waited for. It fails when there is none, when one does not
// exist or is named twice.
func (p *Pinger) Use(hosts []int) error {
	if err := p.chosen(hosts, "use probe target"); err != nil {
		return err
	}
	if len(hosts) == 0 {
		return &Error{Kind: KindOptions, Op: "use probe targets", Err: errors.New("there is none"), Hint: "name at least one; Close ends probing"}
	}
	p.mu.Lock()
	same := slices.Equal(p.asked.hosts, hosts)
	p.asked.hosts = slices.Clone(hosts)
	for i := range p.o.Targets {
		if t, idle := &p.targets[i], !slices.Contains(hosts, i); t.idle != idle {
			t.idle, t.unanswered = idle, 0
		}
	}
	p.mu.Unlock()
	if !same {
		p.wake()
	}
	return nil
}

// chosen fails, at what op says, when one of some targets does not exist or is named twice.
func (p *Pinger) chosen(hosts []int, op string) error {
	for i, h := range hosts {
		if h < 0 || h >= len(p.o.Targets) || slices.Contains(hosts[:i], h) {
			return &Error{
				Kind: KindOptions, Op: op, Thing: strconv.Itoa(h), Err: errors.New("named twice, or there is none"),
				Hint: fmt.Sprintf("name each of 0 to %d at most once", len(p.o.Targets)-1),
			}
		}
	}
	return nil
}

// wake tells the pacer that the plan has changed.
func (p *Pinger) wake() {
	select {
	case p.changed <- struct{}{}:
	default: // the pacer has yet to see an earlier change and will find this one
	}
}

// Arrived returns a channel that is signalled when a reply was accepted: Drain has something to hand over. One signal may
// stand for many replies, and one may be left over from replies drained already. There is one channel, so one listener.
func (p *Pinger) Arrived() <-chan struct{} { return p.arrived }

// Run probes until ctx ends or Close is called, and then returns nil. It fails at once with [ErrClosed] or [ErrRunning].
// Failures to send, to read or to resolve are counted, noted and survived. The sockets are closed when it returns.
func (p *Pinger) Run(ctx context.Context) error {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for i := range p.targets {
		if !p.targets[i].literal {
			p.wg.Go(func() { p.resolveLoop(ctx, i) })
		}
	}
	if p.server != nil {
		p.wg.Go(func() { p.keepServer(ctx) })
	}
	p.wg.Go(func() { p.paceTCP(ctx) })
	pace(ctx, newGait(p.plan(), time.Now()), 0, p.changed, p.plan, p.probe)
	return nil
}

// begin marks the pinger as running and starts to read. The caller calls end when done.
func (p *Pinger) begin(parent context.Context) (ctx context.Context, end func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, nil, ErrClosed
	case p.running:
		return nil, nil, ErrRunning
	}
	ctx, p.cancel = context.WithCancel(parent)
	p.running = true
	for _, c := range p.conns {
		if c != nil {
			p.wg.Go(func() { p.read(c) })
		}
	}
	return ctx, p.end, nil
}

// end stops what begin and Run started.
func (p *Pinger) end() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	_ = p.closeConns()
	p.wg.Wait()
	p.mu.Lock()
	p.running = false
	p.mu.Unlock()
}

// Close ends Run and closes the sockets. Stats and Drain keep working. It may be called more than once.
func (p *Pinger) Close() error {
	p.mu.Lock()
	p.closed = true
	running := p.running
	if running {
		p.cancel()
	}
	p.mu.Unlock()
	if running {
		return nil // Run closes the sockets on its way out
	}
	return p.closeConns()
}

// closeConns closes the open sockets.
func (p *Pinger) closeConns() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for f, c := range p.conns {
		if c != nil {
			errs = append(errs, c.close())
			p.conns[f] = nil
		}
	}
	return errors.Join(errs...)
}

// Drain appends the replies since the last call to dst, oldest first. When it is not called for long, the oldest
// replies are dropped and counted.
func (p *Pinger) Drain(dst []link.Reply) []link.Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buffer.drain(dst)
}

// Stats returns the account of each target, in the order of the options.
func (p *Pinger) Stats() []TargetStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]TargetStats, len(p.targets))
	for i := range p.targets {
		t := &p.targets[i]
		out[i] = TargetStats{
			Target: t.name, Addr: t.addr, OneWay: t.clock.proven, Sent: t.sent, Received: t.received, Late: t.late, Duplicates: t.duplicates,
			TCPSent: t.tcpSent, TCPReceived: t.tcpReceived, Forged: t.forged, WrongSource: t.wrongSource, SendErrors: t.sendErrors,
			LastReply: t.lastReply, Unanswered: t.unanswered, Err: errors.Join(t.lastErr, t.dnsEr),
		}
		if t.idle {
			out[i].Unanswered = 0 // its last probe may have left as it was taken out of use
		}
	}
	return out
}

// Totals returns the account of the pinger as a whole.
func (p *Pinger) Totals() Totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.totals
	t.Dropped = p.buffer.dropped
	return t
}
