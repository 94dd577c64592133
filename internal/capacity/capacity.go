// Package capacity loads a line through an endpoint that its user named, one direction at a time, and reads from the kernel
// what TCP really carried, while somebody else's probes measure the delay.
package capacity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Bounds and defaults of [Options].
const (
	// DefaultStreams is how many TCP connections load the line: one alone does not fill a long or lossy line, and with many
	// the start of each takes longer than the rest.
	DefaultStreams = 4
	MaxStreams     = 32
	// DefaultTime is how long each direction is loaded.
	DefaultTime = 15 * time.Second
	MinTime     = 2 * time.Second
	// MaxTime keeps the whole below the three minutes after which a mark on a router counts as left behind.
	MaxTime = 45 * time.Second
	// DefaultIdle is how long the delay is measured without load.
	DefaultIdle = 5 * time.Second
	MaxIdle     = 30 * time.Second
	// DefaultPort is iperf3's.
	DefaultPort = 5201
)

const (
	// sampleEvery is the time between two readings of what was carried.
	sampleEvery = 100 * time.Millisecond
	// settleTime lets what one direction has queued drain before the next is loaded.
	settleTime = 2 * time.Second
	// stallTime is how long nothing may arrive before the endpoint counts as dead: longer than the queue of any line worth
	// measuring, and than three retransmissions.
	stallTime = 5 * time.Second
	// answerTime bounds each answer of the endpoint outside the load itself.
	answerTime = 10 * time.Second
	// closeTime bounds the polite end with an endpoint that may have died.
	closeTime = 3 * time.Second
)

// Path is the line that the load has to take: the same as its probes.
type Path struct {
	// Source is the address to send from, Interface the one to leave by (SO_BINDTODEVICE), Mark the firewall mark (SO_MARK).
	Source    netip.Addr
	Interface string
	Mark      uint32
}

// Delays is what measures round trips meanwhile.
type Delays interface {
	// Collect returns the replies that came and the probes that left since the call before.
	Collect() ([]link.Reply, []link.Probe)
}

// Options say against whom, how and for how long.
type Options struct {
	// Iperf3 is HOST[:PORT] of an iperf3 server; without one, Download and Upload are URLs (http or https) that are read from
	// and posted to. A direction without a URL is not loaded.
	Iperf3           string
	Download, Upload string
	Path             Path
	// Streams, Time (for each direction) and Idle: 0 is the default.
	Streams    int
	Time, Idle time.Duration
	// Delays may be nil: no delay is then measured.
	Delays Delays
	// Now is the clock of the replies.
	Now func() unit.Time
	// Before is called before each part, on the caller's goroutine; an error of it ends the measurement. nil calls nothing.
	Before func(Part) error

	patience patience // for tests
}

// patience bounds the waits for an endpoint.
type patience struct{ stall, answer time.Duration }

// Part is what is being measured.
type Part uint8

// The parts, in their order.
const (
	Unloaded Part = iota
	LoadDown
	LoadUp
)

// String returns "unloaded", "download" or "upload".
func (p Part) String() string {
	switch p {
	case Unloaded:
		return "unloaded"
	case LoadDown:
		return "download"
	case LoadUp:
		return "upload"
	}
	return fmt.Sprintf("Part(%d)", uint8(p))
}

// Test is what a measurement found. Its counters are what all streams together carried: TCP's payload with the headers of each
// segment. Rx came in, Tx was acknowledged. Retransmissions are not in it.
type Test struct {
	Idle link.Span
	// Ways are the two directions, nil for one that was not measured.
	Ways link.Pair[*link.Span]
}

// Error is an endpoint that did not do its part.
type Error struct {
	Endpoint string
	// Part is when.
	Part Part
	Err  error
	// Hint is the way out, where there is one.
	Hint string
}

// Error says it in one sentence.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s (%s): %v", e.Endpoint, e.Part, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// endpoint loads one direction until its context ends; it then ends the test and returns nil. ready is called once data may
// flow.
type endpoint interface {
	String() string
	can(link.Direction) bool
	load(ctx context.Context, d link.Direction, m *meter, ready func()) error
}

func (o *Options) complete() (endpoint, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Streams == 0 {
		o.Streams = DefaultStreams
	}
	if o.Time == 0 {
		o.Time = DefaultTime
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Streams < 1 || o.Streams > MaxStreams {
		bad("%d streams: 1 to %d", o.Streams, MaxStreams)
	}
	if o.Time < MinTime || o.Time > MaxTime {
		bad("load each direction for %s: %s to %s", o.Time, MinTime, MaxTime)
	}
	if o.Idle < time.Second || o.Idle > MaxIdle {
		bad("measure %s without load: 1s to %s", o.Idle, MaxIdle)
	}
	if o.Now == nil {
		bad("capacity: no clock")
	}
	if o.patience == (patience{}) {
		o.patience = patience{stall: stallTime, answer: answerTime}
	}
	if o.Before == nil {
		o.Before = func(Part) error { return nil }
	}
	var e endpoint
	switch web := o.Download != "" || o.Upload != ""; {
	case o.Iperf3 != "" && web:
		bad("an iperf3 server and a URL: name one endpoint")
	case o.Iperf3 != "":
		host, port, err := ParseServer(o.Iperf3, DefaultPort)
		if err != nil {
			bad("iperf3 server %w", err)
		}
		e = &iperf3{address: net.JoinHostPort(host, strconv.Itoa(port)), streams: o.Streams, path: o.Path, time: o.Time, answer: o.patience.answer}
	case web:
		for _, d := range [...]link.Direction{link.Down, link.Up} {
			u := o.Download
			if d == link.Up {
				u = o.Upload
			}
			if err := checkURL(u); u != "" && err != nil {
				bad("the URL of the %s %w", d, err)
			}
		}
		e = newWeb(o)
	default:
		bad("no endpoint: name an iperf3 server or a URL")
	}
	return e, errors.Join(errs...)
}

// Check says what is wrong with the options, nil when nothing is. Nothing is sent.
func (o Options) Check() error {
	_, err := o.complete()
	return err
}

// ParseServer splits HOST[:PORT]; an IPv6 address with a port stands in brackets.
func ParseServer(s string, port int) (host string, _ int, err error) {
	host = s
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q: %q is no port", s, p)
		}
		host, port = h, int(n)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, ":/ \t@[]")) {
		return "", 0, fmt.Errorf("%q is not HOST[:PORT]", s)
	}
	return host, port, nil
}

// checkURL says what is wrong with a URL, without a word of it: where the password is in one that is wrong, nobody knows.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("is none that begins with http:// or https:// and a host")
	case u.User != nil:
		return errors.New("holds a password or a name: name one that needs none")
	}
	return nil
}

// Measure measures the delay without load, then loads download and upload, one at a time. It ends early with ctx, and when the
// endpoint fails, with what was found until then beside the error. A failure of an endpoint is an [*Error].
func Measure(ctx context.Context, o Options) (Test, error) {
	e, err := o.complete()
	if err != nil {
		return Test{}, err
	}
	var t Test
	if err := o.Before(Unloaded); err != nil {
		return t, err
	}
	o.collect(nil) // what was before
	t.Idle.From = o.Now()
	if !wait(ctx, o.Idle) {
		return t, ctx.Err()
	}
	o.collect(&t.Idle)
	t.Idle.To = o.Now()
	loaded := false
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		if !e.can(d) {
			continue
		}
		if loaded && !wait(ctx, settleTime) {
			return t, ctx.Err()
		}
		loaded = true
		part := map[link.Direction]Part{link.Down: LoadDown, link.Up: LoadUp}[d]
		if err := o.Before(part); err != nil {
			return t, err
		}
		span := &link.Span{}
		if err := o.load(ctx, e, d, span); err != nil {
			if ctx.Err() != nil {
				return t, ctx.Err()
			}
			var own *Error
			if !errors.As(err, &own) {
				own = &Error{Err: err}
			}
			own.Endpoint, own.Part = e.String(), part
			return t, own
		}
		t.Ways.Set(d, span)
	}
	return t, nil
}

func (o *Options) collect(s *link.Span) {
	if o.Delays == nil {
		return
	}
	replies, probes := o.Delays.Collect()
	if s != nil {
		s.Replies, s.Probes = append(s.Replies, replies...), append(s.Probes, probes...)
	}
}

// load loads one direction and reads what it carries until its time is over.
func (o *Options) load(ctx context.Context, e endpoint, d link.Direction, s *link.Span) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newMeter()
	defer m.close()
	ready := make(chan struct{})
	var once bool
	over := run(func() error {
		return e.load(ctx, d, m, func() {
			if !once {
				once = true
				close(ready)
			}
		})
	})
	most := 2 * o.patience.answer
	start := time.NewTimer(most)
	defer start.Stop()
	select {
	case <-ready:
	case r := <-over:
		return r.result()
	case <-start.C:
		m.close()
		cancel()
		if err := (<-over).result(); err != nil {
			return err
		}
		return fmt.Errorf("did not begin within %s", most)
	}
	o.collect(nil) // of the time in which it was asked
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	s.From = o.Now()
	read := func() link.Counters {
		rx, tx := m.read()
		return link.Counters{At: o.Now(), Rx: rx, Tx: tx}
	}
	s.Counters = append(s.Counters, read())
	moved := s.Counters[0]
	for {
		select {
		case r := <-over:
			if err := r.result(); err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			return errors.New("ended before its time")
		case <-tick.C:
		}
		c := read()
		s.Counters = append(s.Counters, c)
		if c.Of(d) > moved.Of(d) {
			moved = c
		}
		if c.At.Sub(moved.At) >= o.patience.stall {
			m.close()
			cancel()
			(<-over).rethrow()
			return &Error{
				Err:  fmt.Errorf("nothing was carried for %s", o.patience.stall),
				Hint: "the endpoint or the line died in the middle",
			}
		}
		if c.At.Sub(s.From) >= o.Time {
			o.collect(s)
			s.To = c.At
			cancel()
			// What it says now is about the polite end, and the figures are in already.
			(<-over).rethrow()
			return nil
		}
	}
}

// outcome is how a goroutine ended.
type outcome struct {
	err      error
	panicked any
}

// rethrow lets a panic go on where the caller's deferred calls put things right.
func (r outcome) rethrow() {
	if r.panicked != nil {
		panic(r.panicked)
	}
}

func (r outcome) result() error {
	r.rethrow()
	return r.err
}

// run runs f beside its caller. A panic in it comes out at the caller, who may have a router to give back.
func run(f func() error) <-chan outcome {
	done := make(chan outcome, 1)
	runTo(done, f)
	return done
}

// runTo runs f beside its caller and hands its outcome to done, which has room for it.
func runTo(done chan<- outcome, f func() error) {
	go func() {
		var r outcome
		defer func() { done <- r }()
		defer func() { r.panicked = recover() }()
		r.err = f()
	}()
}

// all runs f n times at once and returns the first that failed, after all have ended. The first failure calls stop.
func all(n int, stop func(), f func(i int) error) error {
	results := make(chan outcome, n)
	for i := range n {
		runTo(results, func() error { return f(i) })
	}
	var first *outcome
	for range n {
		if r := <-results; (r.err != nil || r.panicked != nil) && first == nil {
			first = &r
			stop()
		}
	}
	if first == nil {
		return nil
	}
	return first.result()
}

// wait pauses; false is that ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
