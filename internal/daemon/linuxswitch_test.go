package daemon

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/actuate"
	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/flow"
	"wanctl/internal/policy"
	"wanctl/internal/unit"
)

const linuxSteeringText = `topology: {primary_wan: Cable, alternate_wan: DSL}
router: {transport: linux}
interfaces: {lan: [br-lan]}
lines:
  Cable: {interface: wan1}
  DSL: {interface: wan2, nat: false}
traffic_classes: {gaming: false, remote: false, push: false, wireguard: false, web: true}
cake_state_sources: {primary: /run/wanctl/Cable_feed.json, DSL: /run/wanctl/DSL_feed.json}
alternate: {ping_source_ip: 192.0.2.2}
measurement: {interval_seconds: 2, ping_host: 198.51.100.1, ping_count: 3, ping_source_ip: 192.0.2.1}
cake_queues: {primary_download: ifb4wan}
`

func linuxSteeringConfig(t *testing.T, change ...string) *config.Steering {
	t.Helper()
	f, ds := config.Parse("steering.yaml", strings.NewReader(strings.NewReplacer(change...).Replace(linuxSteeringText)), config.Options{})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	return f.Steering
}

func TestThisHostsSteeringIsTranslated(t *testing.T) {
	o := PolicyOptionsOf(linuxSteeringConfig(t))
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	want := policy.Options{
		Name: "steering", Mask: policy.DefaultMask, Priority: policy.DefaultPriority, LAN: []string{"br-lan"}, Hold: policy.SteerFor,
		Lines: []policy.Line{
			{Name: "Cable", Interface: "wan1", Table: policy.DefaultTable, NAT: true}, {Name: "DSL", Interface: "wan2", Table: policy.DefaultTable + 1},
		},
	}
	if d := cmp.Diff(want, *o, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(policy.Options{}, "Policy")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	slow := linuxSteeringConfig(t)
	if slow.Steer.Interval = 40 * time.Second; PolicyOptionsOf(slow).Hold != 2*time.Minute {
		t.Errorf("with cycles of 40 s it lasts %v", PolicyOptionsOf(slow).Hold)
	}
	p := o.Policy
	if p.Primary != "Cable" || len(p.Alternates) != 1 || p.Sources[addr("192.0.2.1")] != "Cable" || p.Sources[addr("192.0.2.2")] != "DSL" || p.Six ||
		p.Idle != flow.DefaultIdle {
		t.Errorf("%+v", p)
	}
	web := flow.Packet{Protocol: flow.TCP, From: netip.MustParseAddrPort("192.168.1.2:1"), To: netip.MustParseAddrPort("198.51.100.7:443")}
	if c := p.Class(web); c == nil || c.Name != "web" || !c.Light {
		t.Errorf("web is %+v", c)
	}
	if s := SteeringOptionsOf(linuxSteeringConfig(t), false).Steer; s.V3.CakeTarget != 5 {
		t.Errorf("CAKE's target is %v", s.V3.CakeTarget)
	}
}

// fakePolicies is a kernel that remembers what it was told.
type fakePolicies struct {
	To    string
	Plan  policy.Plan
	Err   error // of Apply
	Fails error // of the rest
	Told  []string
	Made  int
	Gone  bool          // the table is not there
	Asked chan struct{} // closed by a question for the counters
}

func (f *fakePolicies) Apply() (policy.Plan, error) {
	f.Made++
	if f.Err == nil {
		f.Gone = false
	}
	return f.Plan, f.Err
}

func (f *fakePolicies) Steered() (string, error) {
	if f.Gone {
		return "", &policy.Error{Kind: policy.Missing, Op: "read", Err: errors.New("gone")}
	}
	return f.To, f.Fails
}

func (f *fakePolicies) Steer(line string) (string, error) {
	f.Told = append(f.Told, line)
	if f.Fails == nil {
		f.To = line
	}
	return f.To, f.Fails
}

func (f *fakePolicies) Counts() (policy.Counts, error) {
	if f.Asked != nil {
		close(f.Asked)
		f.Asked = nil
	}
	return policy.Counts{New: 3, New6: 1, To: map[string]int64{"DSL": 2, "Cable": 1}}, f.Fails
}

type fakeQueue struct {
	Err    error
	Closed bool
}

func (f *fakeQueue) ReadCake(dev string, _ *cake.Cake) error {
	if dev != "ifb4wan" {
		return errors.New("another interface: " + dev)
	}
	return f.Err
}

func (f *fakeQueue) Close() error { f.Closed = true; return nil }

func fakeSwitch(t *testing.T, k *fakePolicies) (s *linuxSwitch, now *unit.Time, said *bytes.Buffer) {
	t.Helper()
	s = newLinuxSwitch(linuxSteeringConfig(t), HostClock{}, nil)
	said, now = &bytes.Buffer{}, new(unit.Time)
	*now = unit.Time(time.Hour)
	s.kernel, s.now, s.log = k, func() unit.Time { return *now }, &Log{Logger: NewLogger(said, "steering", false)}
	return s, now, said
}

func TestThisHostIsSwitched(t *testing.T) {
	k := &fakePolicies{Gone: true}
	s, _, _ := fakeSwitch(t, k)
	ctx := t.Context()
	if is, err := s.Rule(ctx, 0); is || err != nil || k.Made != 0 {
		t.Errorf("before anything was made: %t, %v", is, err)
	}
	if is, err := s.SetRule(ctx, 0, false); is || err != nil || k.Made != 0 || k.Told != nil {
		t.Errorf("ended before anything was made: %t, %v, %+v", is, err, k)
	}
	if is, err := s.SetRule(ctx, 0, true); !is || err != nil || k.Made != 1 || k.To != "DSL" {
		t.Errorf("steered: %t, %v, %+v", is, err, k)
	}
	if is, err := s.Rule(ctx, 0); !is || err != nil {
		t.Errorf("read back: %t, %v", is, err)
	}
	if is, err := s.SetRule(ctx, 0, false); is || err != nil || k.To != "" {
		t.Errorf("ended: %t, %v, %+v", is, err, k)
	}
	k.Err = &policy.Error{Kind: policy.Refused, Op: "apply", Err: errors.New("no forwarding")}
	if is, err := s.SetRule(ctx, 0, true); is || err == nil || k.To != "" {
		t.Errorf("in the way: %t, %v, %+v", is, err, k)
	} else if class, _ := classify(err); class != actuate.Misconfigured || kindOf(err) != "in the way" || !answered(err) {
		t.Errorf("%v is %v", err, class)
	}
	k.Fails = errors.New("no")
	if _, err := s.Rule(ctx, 0); err == nil {
		t.Error("a failure is not told")
	}
	if _, err := s.SetRule(ctx, 0, false); err == nil {
		t.Error("a failure is not told")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Rule(gone, 0); err == nil {
		t.Error("it works without time")
	}
	if _, err := s.Queue(gone); err == nil {
		t.Error("it works without time")
	}
	if s.String() != "this host" {
		t.Error(s.String())
	}
	if class := classifyPolicy(&policy.Error{Kind: policy.Mismatch}); class != actuate.Transient {
		t.Errorf("a read-back that differs is %v", class)
	}
}

func TestThisHostIsTended(t *testing.T) {
	k := &fakePolicies{Plan: policy.Plan{Notes: []string{"a note"}}}
	s, now, said := fakeSwitch(t, k)
	ctx := t.Context()
	s.Tend(ctx)
	s.Tend(ctx)
	if n := strings.Count(said.String(), "a note"); n != 1 || k.Told != nil {
		t.Errorf("said %d times, told %v:\n%s", n, k.Told, said)
	}
	if _, err := s.SetRule(ctx, 0, true); err != nil {
		t.Fatal(err)
	}
	told := len(k.Told)
	for range 9 { // 18 s: not yet
		*now = now.Add(2 * time.Second)
		s.Tend(ctx)
	}
	if len(k.Told) != told {
		t.Errorf("told %d times in 18 s", len(k.Told)-told)
	}
	*now = now.Add(2 * time.Second)
	s.Tend(ctx)
	if len(k.Told) != told+1 {
		t.Errorf("told %d times in 20 s", len(k.Told)-told)
	}
	// Somebody ends it: within a cycle it goes on, and that is said.
	k.To = ""
	*now = now.Add(2 * time.Second)
	s.Tend(ctx)
	if k.To != "DSL" || !strings.Contains(said.String(), "new connections must go to DSL and do not") {
		t.Errorf("to %q:\n%s", k.To, said)
	}
	// Somebody flushes the rules.
	said.Reset()
	k.Plan = policy.Plan{Steps: []policy.Step{{Command: "nft -f", Table: "wanctl_steering", Why: "the chain choose is gone"}, {Command: "ip rule add x"}, {Table: "y"}}}
	s.Tend(ctx)
	for _, want := range []string{"the nftables table wanctl_steering is made anew, because the chain choose is gone", "ip rule add x", "the nftables table y is made"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	// Something is in the way, for a while: said once, and when it is over.
	said.Reset()
	k.Plan, k.Err = policy.Plan{}, errors.New("no forwarding")
	s.Tend(ctx)
	s.Tend(ctx)
	k.Err = nil
	s.Tend(ctx)
	if strings.Count(said.String(), "no forwarding") != 1 || strings.Count(said.String(), "in place again") != 1 {
		t.Errorf("said:\n%s", said)
	}
	// What an earlier process left is tended from its first reading on.
	s, _, _ = fakeSwitch(t, k)
	if is, err := s.Rule(ctx, 0); !is || err != nil {
		t.Fatal(is, err)
	}
	told = len(k.Told)
	s.Tend(ctx)
	if len(k.Told) != told+1 {
		t.Error("what an earlier process left is not tended")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	made := k.Made
	s.Tend(gone)
	if k.Made != made {
		t.Error("it works without time")
	}
	if _, ok := s.counts(); !ok {
		t.Error("no counts")
	}
	s.log = nil // as for a command
	k.Plan, k.Err = policy.Plan{Notes: []string{"another"}}, errors.New("no")
	s.Tend(ctx)
}

func TestThisHostsQueueIsRead(t *testing.T) {
	s, _, _ := fakeSwitch(t, &fakePolicies{})
	q := &fakeQueue{}
	s.open = func() (queueReader, error) { return nil, errors.New("no socket") }
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Queue(t.Context()); err == nil {
		t.Error("read without a socket")
	}
	s.open = func() (queueReader, error) { return q, nil }
	if _, err := s.Queue(t.Context()); err != nil {
		t.Error(err)
	}
	q.Err = errors.New("not CAKE")
	if _, err := s.Queue(t.Context()); err == nil {
		t.Error("read what is not CAKE")
	}
	if err := s.Close(); err != nil || !q.Closed {
		t.Error(err, q.Closed)
	}
}

func TestSteeringIsTendedOnceACycle(t *testing.T) {
	k := &fakePolicies{}
	sw, _, _ := fakeSwitch(t, k)
	s := &Steer{}
	s.hand.Store(&switchHand{Switch: sw})
	tend := s.startTending()
	asked := make(chan struct{})
	k.Asked = asked
	tend.again()
	<-asked
	tend.end()
	(*tending)(nil).again()
	got := connectionsOf(s.counted.Load())
	if d := cmp.Diff(&ConnectionsStatus{New: 3, New6: 1, To: []LineCount{{"Cable", 1}, {"DSL", 2}}}, got); d != "" {
		t.Error(d)
	}
	made := k.Made
	s.DryRun = true
	s.tendNow(t.Context())
	if k.Made != made {
		t.Error("a dry run makes rules")
	}
	if connectionsOf(nil) != nil {
		t.Error("nothing is counted, and something is told")
	}
}

func TestLinuxSteeringReload(t *testing.T) {
	old := linuxSteeringConfig(t)
	for name, c := range map[string]struct{ old, text, want string }{
		"mask":      {"interfaces:", "policy: {mark_mask: \"0xff00\"}\ninterfaces:", "policy.mark_mask and policy.rule_priority cannot change"},
		"priority":  {"interfaces:", "policy: {rule_priority: 100}\ninterfaces:", "policy.mark_mask and policy.rule_priority cannot change"},
		"transport": {"{transport: linux}", "{host: 192.0.2.9, user: w, ssh_key: /k}\nmangle_rule: {comment: x}", "router.transport cannot change to or from linux"},
	} {
		if err := sameSteering(old, linuxSteeringConfig(t, c.old, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if steerRouterDiffers(old, linuxSteeringConfig(t)) {
		t.Error("the same is another")
	}
	if !steerRouterDiffers(old, linuxSteeringConfig(t, "web: true", "web: false")) {
		t.Error("other classes are the same")
	}
}
