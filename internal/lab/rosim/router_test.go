package rosim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestTraffic(t *testing.T) {
	const dl = "WAN-Download-ATT"
	r, c := steady(t, nil)
	c.advance(10 * time.Second)
	q, ok := r.Queue(dl)
	rx, _, _ := r.Interface("ether2")
	// 12 Mbit/s for 10 s through a 95 Mbit/s queue.
	if !ok || q.Bytes != 15_000_000 || q.Packets != 12_500 || q.QueuedBytes != 0 || q.Dropped != 0 || rx != 15_000_000 || q.Parent != "bridge" {
		t.Errorf("light load: %+v, rx %d", q, rx)
	}
	if err := r.SetOffered(dl, 200*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	c.advance(10 * time.Second)
	q, _ = r.Queue(dl)
	// 95 Mbit/s for 10 s pass; the rest stands at 2 MB and the drops stay uncounted.
	if q.Bytes != 15_000_000+118_750_000 || q.QueuedBytes != 2_000_000 || q.Dropped != 0 || q.QueuedPackets != 1667 {
		t.Errorf("bulk load: %+v", q)
	}
	if err := r.SetOffered(dl, 0); err != nil {
		t.Fatal(err)
	}
	c.advance(10 * time.Second)
	if q, _ = r.Queue(dl); q.QueuedBytes != 0 || q.Bytes != 135_750_000 {
		t.Errorf("drained: %+v", q)
	}
	r.ResetCounters()
	if q, _ = r.Queue(dl); q.Bytes != 0 || q.Packets != 0 {
		t.Errorf("reset: %+v", q)
	}
	if rx, tx, _ := r.Interface("ether2"); rx != 0 || tx != 0 {
		t.Errorf("reset: rx %d tx %d", rx, tx)
	}
	if _, _, ok := r.Interface("nope"); ok {
		t.Error("an interface that is not there")
	}
	if _, ok := r.Queue("nope"); ok {
		t.Error("a queue that is not there")
	}
}

func TestFastTrackBypassesQueues(t *testing.T) {
	r, c := steady(t, func(o *Options) { o.FastTrack = true })
	c.advance(10 * time.Second)
	q, _ := r.Queue("WAN-Download-ATT")
	rx, _, _ := r.Interface("ether2")
	if q.Bytes != 0 || rx != 15_000_000 {
		t.Errorf("queue %d bytes, interface %d", q.Bytes, rx)
	}
}

func TestDisabledQueueDoesNotShape(t *testing.T) {
	r, c := steady(t, nil)
	_ = r.SetOffered("WAN-Upload-ATT", 100*unit.Mbps)
	if out, failed := r.Exec(t.Context(), DefaultUser, "/queue/tree/disable WAN-Upload-ATT"); failed {
		t.Fatal(out)
	}
	c.advance(time.Second)
	if _, tx, _ := r.Interface("ether2"); tx != 12_500_000 {
		t.Errorf("tx %d", tx)
	}
	if q, _ := r.Queue("WAN-Upload-ATT"); q.Bytes != 0 {
		t.Errorf("%+v", q)
	}
}

// plant is an Applier that records what it was told and shows the counters it was given.
type plant struct {
	limits map[string]unit.Rate
	queues map[string]link.Queue
	rules  map[string]bool
	rx, tx unit.Bytes
	fail   error
}

func (p *plant) ApplyRule(comment string, enabled bool) error {
	if p.fail == nil && p.rules != nil {
		p.rules[comment] = enabled
	}
	return p.fail
}

func (p *plant) Apply(queue string, limit unit.Rate) error {
	if p.fail == nil {
		p.limits[queue] = limit
	}
	return p.fail
}

func (p *plant) Queue(name string) (link.Queue, bool) { q, ok := p.queues[name]; return q, ok }

func (p *plant) Interface(name string) (rx, tx unit.Bytes, ok bool) {
	return p.rx, p.tx, name == "ether2"
}

// What stands behind the router carries the rule out before the router says it is set, and may refuse.
func TestRuleApplier(t *testing.T) {
	p := &plant{limits: map[string]unit.Rate{}, rules: map[string]bool{}}
	r, _ := steady(t, func(o *Options) { o.Applier = p })
	if err := r.ForeignRule(SteeringComment, true); err != nil || !p.rules[SteeringComment] {
		t.Errorf("enabled: %v, carried out %t", err, p.rules[SteeringComment])
	}
	p.fail = errors.New("no such chain")
	if err := r.ForeignRule(SteeringComment, false); err == nil || !strings.Contains(err.Error(), "no such chain") {
		t.Errorf("a refusal: %v", err)
	}
	if on, _ := r.RuleEnabled(SteeringComment); !on || !p.rules[SteeringComment] {
		t.Errorf("after the refusal the rule is %t, carried out %t", on, p.rules[SteeringComment])
	}
}

func TestApplier(t *testing.T) {
	const dl = "WAN-Download-ATT"
	p := &plant{limits: map[string]unit.Rate{}, queues: map[string]link.Queue{}}
	r, c := steady(t, func(o *Options) { o.Applier, o.CountDrops = p, true })
	set := func(limit string) (string, bool) {
		return r.Exec(t.Context(), DefaultUser, "/queue/tree/set "+dl+" max-limit="+limit)
	}
	if out, failed := set("40M"); failed || p.limits[dl] != 40*unit.Mbps {
		t.Errorf("%q %v", out, p.limits)
	}
	p.fail = errors.New("tc: no such device")
	if out, failed := set("30M"); !failed || out != "failure: tc: no such device\n" {
		t.Errorf("%q", out)
	}
	if got, _ := r.MaxLimit(dl); got != 40*unit.Mbps {
		t.Errorf("a limit that could not be applied is stored: %v", got)
	}
	p.fail = nil
	p.queues[dl] = link.Queue{Bytes: 1000, Packets: 10, Dropped: 3, QueuedBytes: 2400}
	p.rx, p.tx = 5000, 700
	c.advance(time.Second)
	q, _ := r.Queue(dl)
	rx, tx, _ := r.Interface("ether2")
	if q.Bytes != 1000 || q.Packets != 10 || q.Dropped != 3 || q.QueuedBytes != 2400 || q.QueuedPackets != 2 || rx != 5000 || tx != 700 {
		t.Errorf("%+v rx %d tx %d", q, rx, tx)
	}
	r.ResetCounters()
	p.queues[dl] = link.Queue{Bytes: 1500, Packets: 14, Dropped: 4}
	p.rx = 6000
	q, _ = r.Queue(dl)
	if rx, _, _ = r.Interface("ether2"); q.Bytes != 500 || q.Packets != 4 || q.Dropped != 1 || rx != 1000 {
		t.Errorf("after a reset %+v rx %d", q, rx)
	}
	p.queues[dl], p.rx, p.tx = link.Queue{Bytes: 7, Packets: 1}, 9, 1
	q, _ = r.Queue(dl)
	if rx, _, _ = r.Interface("ether2"); q.Bytes != 7 || rx != 9 {
		t.Errorf("after the network restarted %+v rx %d", q, rx)
	}
}

func TestApplierUnderFastTrack(t *testing.T) {
	p := &plant{queues: map[string]link.Queue{"WAN-Download-ATT": {Bytes: 1000}}}
	r, _ := steady(t, func(o *Options) { o.Applier, o.FastTrack = p, true })
	if q, _ := r.Queue("WAN-Download-ATT"); q.Bytes != 0 {
		t.Errorf("%+v", q)
	}
}

func TestSectors(t *testing.T) {
	r, _ := steady(t, func(o *Options) { o.SectorsPerWrite = 3 })
	for i := range 5 {
		r.Exec(t.Context(), DefaultUser, fmt.Sprintf("/queue/tree/set WAN-Upload-ATT max-limit=%dM", i+1))
	}
	if out, _ := r.Exec(t.Context(), DefaultUser, ":put [/system/resource get write-sect-since-reboot]"); out != "15\n" {
		t.Errorf("sectors %q", out)
	}
}

func TestIDsAreNotReused(t *testing.T) {
	r, _ := steady(t, nil)
	ids := map[string]bool{}
	for range 5 {
		out, failed := r.Exec(t.Context(), DefaultUser, ":put [/queue/tree add name=x parent=ether1]; /queue/tree/remove x")
		if failed || ids[out] {
			t.Errorf("id %q again", out)
		}
		ids[out] = true
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"dialect":         {func(o *Options) { o.ExitStatus = "sometimes" }, `unknown setting "sometimes"`},
		"readback":        {func(o *Options) { o.LimitReadback = "roman" }, `unknown setting "roman"`},
		"two queues":      {func(o *Options) { o.Queues[1].Name = o.Queues[0].Name }, "occurs twice"},
		"two users":       {func(o *Options) { o.Users = append(o.Users, User{Name: "admin"}) }, "occurs twice"},
		"nameless":        {func(o *Options) { o.Interfaces[0].Name = "" }, "empty"},
		"version":         {func(o *Options) { o.Version = "seven" }, "not of the form"},
		"odd version":     {func(o *Options) { o.Version = "7-1.2" }, "not of the form"},
		"empty version":   {func(o *Options) { o.Version = "x.y" }, "not of the form"},
		"key type":        {func(o *Options) { o.HostKeyType = "dsa" }, "want ed25519 or rsa"},
		"negative limit":  {func(o *Options) { o.MaxSessions = -1 }, "negative"},
		"rule action":     {func(o *Options) { o.Rules[0].Action = "teleport" }, "action"},
		"rule matcher":    {func(o *Options) { o.Rules[0].Matchers["colour"] = "red" }, "colour"},
		"queue type":      {func(o *Options) { o.QueueTypes[0].Settings["cake-nat"] = "perhaps" }, "cake-nat"},
		"queue type kind": {func(o *Options) { o.QueueTypes[0].Kind = "pie" }, "kind"},
	} {
		o := DefaultOptions()
		tc.change(&o)
		if _, err := NewRouter(o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for _, v := range []string{"7.24", "7.23rc1", "7.25beta3", "7.18.2"} {
		o := DefaultOptions()
		o.Version = v
		if _, err := NewRouter(o); err != nil {
			t.Errorf("version %s: %v", v, err)
		}
	}
}

func TestEmptyRouter(t *testing.T) {
	r, err := NewRouter(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"/queue/tree/print", "/interface/print stats", "/ip/firewall/mangle/print", "/user print", "/queue simple print stats"} {
		if out, failed := r.Exec(t.Context(), "", l); failed {
			t.Errorf("%s: %s", l, out)
		}
	}
	if r.Addr() != nil {
		t.Error("an address before Serve")
	}
}

func TestSimpleQueues(t *testing.T) {
	r, _ := steady(t, func(o *Options) {
		o.SimpleQueues = []SimpleQueue{{Name: "guests", Target: "192.168.9.0/24", MaxLimit: "5M/20M"}}
	})
	for _, tc := range [][2]string{
		{`:put [/queue/simple get guests max-limit]`, "5M/20M\n"},
		{`/queue/simple/set guests max-limit=1M/2M; :put [/queue/simple get guests max-limit]`, "1M/2M\n"},
		{`:put [/queue simple print count-only where target="192.168.9.0/24"]`, "1\n"},
		{`/queue/simple/disable guests; :put [/queue simple get [find name=guests] disabled]`, "true\n"},
		{`/queue/simple/reset-counters guests; :put [/queue/simple get guests bytes]`, "0/0\n"},
		{`:put ([/queue simple print stats as-value where name=guests]->0->"queued-bytes")`, "0/0\n"},
		{`/queue/simple/set guests name=visitors; :put [/queue/simple get [find] name]`, "visitors\n"},
		{`/queue/simple/comment visitors comment="x=1;y"; :put [/queue/simple get [find] comment]`, "x=1;y\n"},
	} {
		if out, _ := r.Exec(t.Context(), DefaultUser, tc[0]); out != tc[1] {
			t.Errorf("%s: %q, want %q", tc[0], out, tc[1])
		}
	}
}

func TestInject(t *testing.T) {
	r, c := steady(t, nil)
	for _, f := range []string{
		"slow=1ms+1ms", "slow=0s", "stall", "unstall", "half-open", "half-open=off", "full=on", "full=off", "refuse", "return",
		"disconnect", "cut=before", "cut=after", "cut=reply", "fail=no such item", "wrong-key", "read-only=wanctl",
		"read-write=wanctl", "rename=WAN-Upload-ATT=Up", "remove=Up", "second-rule=" + SteeringComment,
		"rule-on=" + SteeringComment, "rule-off=" + SteeringComment, "no-rule=" + SteeringComment, "reset-counters",
		"foreign=WAN-Download-ATT=5M", "offer=WAN-Download-ATT=1G", "reboot=0s",
	} {
		if err := r.Inject(f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if got, _ := r.MaxLimit("WAN-Download-ATT"); got != 5*unit.Mbps {
		t.Errorf("foreign writer: %v", got)
	}
	if _, ok := r.MaxLimit("Up"); ok {
		t.Error("a removed queue is there")
	}
	if _, ok := r.RuleEnabled(SteeringComment); ok {
		t.Error("a removed rule is there")
	}
	if h := r.RuleHistory(); len(h) != 4 || h[0].By != "fault" {
		t.Errorf("rule history %+v", h)
	}
	c.advance(time.Second)
	for _, f := range []string{
		"", "meteor", "slow", "slow=-1s", "slow=1s+x", "reboot=soon", "stall=1", "return=1", "wrong-key=x", "half-open=maybe",
		"cut", "cut=middle", "fail", "read-only", "read-only=nobody", "read-write=nobody", "rename=x", "rename=x=y",
		"rename=WAN-Download-ATT=WAN-Upload-Spectrum", "remove=x", "second-rule=x", "no-rule=x", "rule-on=x", "foreign=x=1M",
		"foreign=WAN-Download-ATT", "foreign=WAN-Download-ATT=fast", "offer=x=1M",
	} {
		if err := r.Inject(f); err == nil {
			t.Errorf("%q was taken", f)
		}
	}
	for _, f := range []string{"60s", "soon:stall", "-1s:stall", "60s:meteor"} {
		if _, err := ParseTimedFault(f); err == nil {
			t.Errorf("%q was taken", f)
		}
	}
	if len(FaultNames()) != len(faultTable) {
		t.Error("a fault is undocumented")
	}
	if r.SetPassword("nobody", "x") == nil || r.RevokeKeys("nobody") == nil {
		t.Error("an account that is not there was changed")
	}
}

func TestAddRule(t *testing.T) {
	r, _ := steady(t, nil)
	if err := r.AddRule(Rule{Chain: "prerouting", Action: "mark-routing", Comment: "legacy", Matchers: map[string]string{"connection-state": "new", "new-routing-mark": "x"}}); err != nil {
		t.Fatal(err)
	}
	if on, ok := r.RuleEnabled("legacy"); !on || !ok {
		t.Error("the rule is not there")
	}
	for _, bad := range []Rule{{Chain: "x", Action: "y"}, {Chain: "x", Action: "accept", Matchers: map[string]string{"colour": "red"}}} {
		if err := r.AddRule(bad); err == nil {
			t.Errorf("%+v was added", bad)
		}
	}
	r.AuthorizeKey("fresh", r.HostKey())
	if out, failed := r.Exec(t.Context(), "fresh", "/ip/firewall/mangle/disable [find comment=legacy]; :put [/user get fresh group]"); failed || out != "write\n" {
		t.Errorf("a new account cannot write: %q", out)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	r, _ := steady(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	// What comes until the end counts: a change and the end may be there at once.
	if err := r.Await(ctx, func() bool { cancel(); asked++; return asked > 1 }); err != nil {
		t.Error(err)
	}
	if err := r.Await(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	r, _ := steady(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, failed := r.Exec(ctx, DefaultUser, ":delay 1h; :put never"); !failed || out != "interrupted\n" {
		t.Errorf("%q", out)
	}
}

func TestDialectsCoverEverySwitch(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Dialects() {
		if err := d.fill(); err != nil {
			t.Error(err)
		}
		for k, v := range map[string]any{
			"exit": d.ExitStatus, "find": d.EmptyFind, "limit": d.LimitReadback, "time": d.TimeStyle, "codes": d.ErrorCodes,
			"group": d.GroupDigits, "lf": d.LF, "reset": d.ResetOnChange, "flush": d.FlushOnChange, "drops": d.CountDrops,
			"password": d.AllowPasswordWithKey, "tracking": d.Tracking,
		} {
			seen[fmt.Sprint(k, v)] = true
		}
	}
	if len(seen) != 3+3+2+2+4+7*2 {
		t.Errorf("%d of %d settings are covered: %v", len(seen), 3+3+2+2+4+7*2, seen)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	var s []int
	for i := range 3 * maxRecords {
		s = trimmed(append(s, i))
	}
	if len(s) >= 2*maxRecords {
		t.Errorf("%d records are held", len(s))
	}
	if got := newest(s); len(got) != maxRecords || got[maxRecords-1] != 3*maxRecords-1 {
		t.Errorf("%d records are handed out, the last is %d", len(got), got[len(got)-1])
	}
}
