package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/policy"
	"wanctl/internal/unit"
)

// Policies is the kernel's steering as far as a [Switch] needs it: policy.Options is it.
type Policies interface {
	Apply() (policy.Plan, error)
	Steered() (string, error)
	Steer(line string) (is string, err error)
	Counts() (policy.Counts, error)
}

// queueReader reads an interface's queue: cake.Conn is it.
type queueReader interface {
	ReadCake(dev string, q *cake.Cake) error
	Close() error
}

// linuxSwitch is steering's hand on this host. An alternate's rule is an element of a set that expires, so that a controller
// that dies gives the host its normal routing back: it lives by being tended.
type linuxSwitch struct {
	mu     sync.Mutex
	kernel Policies
	open   func() (queueReader, error)
	queues queueReader // nil until the first reading
	queue  string      // the interface of the primary's download
	lines  []string    // the alternates
	lasts  time.Duration
	now    func() unit.Time
	log    *Log // nil for a command

	// steered is where new connections shall go, empty for nowhere, and told when the kernel was last told so.
	steered string
	told    unit.Time
	// trouble is what keeps the rules from being made, as it was last said; noted are the notes that were.
	trouble string
	// laid says that the rules were as they should be once.
	laid  bool
	noted map[string]bool
}

// PolicyOptionsOf translates a configuration of a host that steers by itself.
func PolicyOptionsOf(c *config.Steering) *policy.Options {
	o := &policy.Options{
		Name: SteeringID(c), Mask: c.Linux.Mask, Priority: c.Linux.Priority, LAN: c.Linux.LAN, Policy: c.Policy, Hold: holdTime(c),
	}
	for _, l := range c.Linux.Lines {
		o.Lines = append(o.Lines, policy.Line{
			Name: l.Name, Interface: l.Interface, Gateway: l.Gateway, Gateway6: l.Gateway6, Table: l.Table, NAT: l.NAT, NAT6: l.NAT6,
		})
	}
	return o
}

func newLinuxSwitch(c *config.Steering, clock Clock, log *Log) *linuxSwitch {
	o := PolicyOptionsOf(c)
	return &linuxSwitch{
		kernel: o, queue: c.Queues.Download, lines: o.Policy.Alternates, lasts: o.Hold, now: clock.Now, log: log, noted: map[string]bool{},
		open: func() (queueReader, error) {
			conn, err := cake.Open(cake.Options{})
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
	}
}

// String names the router.
func (s *linuxSwitch) String() string { return "this host" }

// Close gives the kernel's socket back; what was made stays.
func (s *linuxSwitch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues == nil {
		return nil
	}
	return s.queues.Close()
}

// Queue reads the CAKE queue at the primary's download interface.
func (s *linuxSwitch) Queue(ctx context.Context) (link.Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return link.Queue{}, err
	}
	if s.queues == nil {
		q, err := s.open()
		if err != nil {
			return link.Queue{}, err
		}
		s.queues = q
	}
	var q cake.Cake
	if err := s.queues.ReadCake(s.queue, &q); err != nil {
		return link.Queue{}, err
	}
	return q.Queue(), nil
}

// Rule reads whether new connections go to the alternate. Where nothing was made yet they do not. What an earlier process
// left is tended from now on.
func (s *linuxSwitch) Rule(ctx context.Context, alternate int) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rule(ctx, s.lines[alternate])
}

func (s *linuxSwitch) rule(ctx context.Context, line string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	is, err := s.kernel.Steered()
	switch {
	case policy.IsMissing(err):
		return false, nil
	case err != nil:
		return false, err
	}
	if is == line && s.steered == "" {
		s.steered, s.told = is, 0
	}
	return is == line, nil
}

// SetRule lets new connections go to the alternate, or ends that.
func (s *linuxSwitch) SetRule(ctx context.Context, alternate int, enabled bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.lines[alternate]
	is, err := s.rule(ctx, line)
	switch {
	case err != nil:
		return false, err
	case !enabled:
		if s.steered == line {
			s.steered = ""
		}
		if !is {
			return false, nil
		}
		_, err := s.kernel.Steer("")
		return err != nil, err
	}
	if _, err := s.make(); err != nil {
		return is, err
	}
	at := s.now()
	now, err := s.kernel.Steer(line)
	if now == line {
		s.steered, s.told = line, at
	}
	return now == line, err
}

// make makes what is missing of the tables, rules and routes.
func (s *linuxSwitch) make() (policy.Plan, error) {
	p, err := s.kernel.Apply()
	for _, n := range p.Notes {
		if !s.noted[n] && s.log != nil {
			s.log.Warn(n)
		}
	}
	s.noted = map[string]bool{} // what is over may be said again
	for _, n := range p.Notes {
		s.noted[n] = true
	}
	return p, err
}

// Tend mends what somebody changed, says so, and keeps new connections going where they shall. It is called once a cycle.
func (s *linuxSwitch) Tend(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	p, err := s.make()
	s.tell(p, err)
	s.laid = s.laid || err == nil
	if err != nil || s.steered == "" {
		return
	}
	is, err := s.kernel.Steered()
	if err == nil && is == s.steered && s.now().Sub(s.told) < policy.SteerEvery {
		return
	}
	if err == nil && is != s.steered && s.log != nil {
		s.log.Warn(fmt.Sprintf("new connections must go to %s and do not: somebody ended that, or nobody tended it for %v; they go there again",
			s.steered, s.lasts))
	}
	at := s.now()
	if _, err = s.kernel.Steer(s.steered); err == nil {
		s.told = at
	}
	s.tell(policy.Plan{}, err)
}

// tell says what was mended, and a trouble when it is another than the last.
func (s *linuxSwitch) tell(p policy.Plan, err error) {
	if s.log == nil {
		return
	}
	what := "set up"
	if s.laid {
		what = "mended"
	}
	for _, step := range p.Steps {
		s.log.Warn("steering's rules are " + what + ": " + summary(step))
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch text {
	case s.trouble:
	case "":
		s.log.Info("steering's rules are in place again")
	default:
		s.log.Error(text + "; nothing is steered until that is mended, and it is tried every cycle")
	}
	s.trouble = text
}

// summary is a step in one line.
func summary(s policy.Step) string {
	if s.Table != "" {
		if s.Why != "" {
			return "the nftables table " + s.Table + " is made anew, because " + s.Why
		}
		return "the nftables table " + s.Table + " is made"
	}
	return s.Command
}

// counts are connections by kind; false where they cannot be read.
func (s *linuxSwitch) counts() (policy.Counts, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.kernel.Counts()
	return c, err == nil
}

// tender is a Switch that has to be looked after beside its operations.
type tender interface{ Tend(ctx context.Context) }

// tending runs beside the loop and is woken by it once a cycle: a loop that stands still tends nothing.
type tending struct {
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// startTending begins to look after the hand; nil where it needs none, or must not be changed. A reload changes neither.
func (s *Steer) startTending() *tending {
	if _, needs := s.hand.Load().Switch.(tender); !needs || s.DryRun {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tending{wake: make(chan struct{}, 1), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.wake:
				s.tendNow(ctx)
			}
		}
	}()
	return t
}

// tendNow looks after the hand once.
func (s *Steer) tendNow(ctx context.Context) {
	if s.DryRun {
		return
	}
	h := s.hand.Load()
	if t, ok := h.Switch.(tender); ok {
		t.Tend(ctx)
	}
	if c, ok := h.Switch.(interface{ counts() (policy.Counts, bool) }); ok {
		if n, ok := c.counts(); ok {
			s.counted.Store(&n)
		}
	}
}

// again wakes it; one that is busy is not waited for.
func (t *tending) again() {
	if t == nil {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tending) end() {
	if t == nil {
		return
	}
	t.stop()
	<-t.done
}

// ConnectionsStatus is what the house has begun since steering's table was made.
type ConnectionsStatus struct {
	// New are connections of latency-sensitive classes over IPv4, New6 over IPv6.
	New  int64 `json:"new_ipv4"`
	New6 int64 `json:"new_ipv6"`
	// To are connections by the line they were sent to: steered, with others between the same hosts, or by an override.
	To []LineCount `json:"to"`
}

// LineCount is a line's share of them.
type LineCount struct {
	Line string `json:"line"`
	New  int64  `json:"new"`
}

func connectionsOf(c *policy.Counts) *ConnectionsStatus {
	if c == nil {
		return nil
	}
	out := &ConnectionsStatus{New: c.New, New6: c.New6}
	for line, n := range c.To {
		out.To = append(out.To, LineCount{line, n})
	}
	slices.SortFunc(out.To, func(a, b LineCount) int { return strings.Compare(a.Line, b.Line) })
	return out
}
