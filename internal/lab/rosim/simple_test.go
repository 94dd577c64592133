package rosim

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// oneCable is a router whose line has a simple queue.
func oneCable(now *unit.Time, edit func(*Options)) Options {
	o := DefaultOptions()
	o.Now = func() unit.Time { return *now }
	o.Queues = nil
	o.SimpleQueues = []SimpleQueue{{
		Name: "WAN-Cable", Target: "bridge", Dst: "ether1", MaxLimit: "10M/100M", Type: "cake-upload/cake-download", WAN: "ether1",
		Offered: link.Rates{Down: 200 * unit.Mbps, Up: 8 * unit.Mbps},
	}}
	if edit != nil {
		edit(&o)
	}
	return o
}

func newRouter(t *testing.T, o Options) *Router {
	t.Helper()
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func typed(t *testing.T, r *Router, line string) string {
	t.Helper()
	out, failed := r.Exec(t.Context(), "admin", line)
	if failed {
		t.Fatalf("%s: %s", line, out)
	}
	return strings.TrimSpace(out)
}

// TestSimpleQueueCarries: each direction has its own limit, backlog and counters, and what passes crosses the line.
func TestSimpleQueueCarries(t *testing.T) {
	var now unit.Time
	r := newRouter(t, oneCable(&now, func(o *Options) { o.CountDrops = true }))
	now += unit.Time(10 * time.Second)
	down, _ := r.Queue("WAN-Cable/download")
	up, _ := r.Queue("WAN-Cable/upload")
	if down.Bytes != 125_000_000 || down.QueuedBytes != standingQueue || down.Dropped == 0 || down.MaxLimit != 100*unit.Mbps {
		t.Errorf("download %+v", down)
	}
	if up.Bytes != 10_000_000 || up.QueuedBytes != 0 || up.Dropped != 0 || up.MaxLimit != 10*unit.Mbps {
		t.Errorf("upload %+v", up)
	}
	if rx, tx, _ := r.Interface("ether1"); rx != down.Bytes || tx != up.Bytes {
		t.Errorf("ether1 has %d and %d", rx, tx)
	}
	if got := typed(t, r, `:put [/queue/simple get WAN-Cable bytes]`); got != "10000000/125000000" {
		t.Errorf("bytes=%s", got)
	}
	typed(t, r, `/queue/simple set WAN-Cable max-limit=5M/50M`)
	history := r.LimitHistory()
	want := []LimitChange{
		{Queue: "WAN-Cable/upload", From: 10 * unit.Mbps, To: 5 * unit.Mbps, By: "admin", At: now},
		{Queue: "WAN-Cable/download", From: 100 * unit.Mbps, To: 50 * unit.Mbps, By: "admin", At: now},
	}
	if d := cmp.Diff(want, history); d != "" {
		t.Error(d)
	}
	typed(t, r, `/queue/simple reset-counters WAN-Cable`)
	now += unit.Time(time.Second)
	if down, _ := r.Queue("WAN-Cable/download"); down.Bytes != 6_250_000 {
		t.Errorf("after a reset: %+v", down)
	}
	typed(t, r, `/queue/simple disable WAN-Cable`)
	before, _ := r.Queue("WAN-Cable/download")
	now += unit.Time(time.Second)
	if after, _ := r.Queue("WAN-Cable/download"); after.Bytes != before.Bytes {
		t.Error("a disabled queue counts")
	}
}

// TestSimpleBeforeTree: what a simple queue lets through is what the tree sees; the first that matches takes it.
func TestSimpleBeforeTree(t *testing.T) {
	for _, tt := range []struct {
		name  string
		queue SimpleQueue
		want  unit.Bytes // through the tree's download in 10 s, of 120 Mbit/s offered
	}{
		{"by its dst", SimpleQueue{Name: "s", Target: "bridge", Dst: "ether1", MaxLimit: "0/40M"}, 50_000_000},
		{"the line is its target", SimpleQueue{Name: "s", Target: "ether1", MaxLimit: "40M/0"}, 50_000_000},
		{"the whole house", SimpleQueue{Name: "s", Target: "bridge", MaxLimit: "0/40M"}, 45_454_545}, // both lines share it: 120 and 12 Mbit/s
		{"anything", SimpleQueue{Name: "s", Target: "0.0.0.0/0", MaxLimit: "0/40M"}, 45_454_545},
		{"another line", SimpleQueue{Name: "s", Target: "bridge", Dst: "ether2", MaxLimit: "0/40M"}, 150_000_000},
		{"one host", SimpleQueue{Name: "s", Target: "192.168.88.7/32", MaxLimit: "0/40M"}, 150_000_000},
		{"disabled", SimpleQueue{Name: "s", Target: "bridge", Dst: "ether1", MaxLimit: "0/40M", Disabled: true}, 150_000_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var now unit.Time
			o := DefaultOptions()
			o.Now = func() unit.Time { return now }
			o.SimpleQueues = []SimpleQueue{tt.queue, {Name: "later", Target: "bridge", MaxLimit: "1M/1M", Disabled: true}}
			r := newRouter(t, o)
			now += unit.Time(10 * time.Second)
			got, _ := r.Queue("WAN-Download-Spectrum")
			if diff := got.Bytes - tt.want; diff < -1000 || diff > 1000 {
				t.Errorf("%d bytes, want %d", got.Bytes, tt.want)
			}
		})
	}
}

// TestSimpleBeforeTypedTree: a queue of the tree that somebody typed, or a script made, crosses the line that its parent or its mark
// names, and what a simple queue of that line lets through is what it sees.
func TestSimpleBeforeTypedTree(t *testing.T) {
	for _, tt := range []struct {
		name     string
		simple   string
		down, up unit.Bytes // through the tree's queues in 10 s, of 120 and 12 Mbit/s offered
	}{
		{"by its dst", "target=bridge dst=ether1", 50_000_000, 5_000_000},
		{"the line is its target", "target=ether2", 150_000_000, 15_000_000},
		{"another line", "target=bridge dst=ether2", 150_000_000, 15_000_000},
		{"anything", "target=0.0.0.0/0", 50_000_000, 5_000_000}, // but for what crosses no line that is known
	} {
		t.Run(tt.name, func(t *testing.T) {
			var now unit.Time
			o := DefaultOptions()
			o.Now = func() unit.Time { return now }
			o.Queues = nil
			r := newRouter(t, o)
			for _, line := range []string{
				"/ip/firewall/mangle add chain=forward action=mark-packet in-interface=ether1 new-packet-mark=in",
				"/queue/tree add name=down parent=bridge packet-mark=in",
				"/queue/tree add name=up parent=ether1",
				"/queue/tree add name=none parent=global",
				"/queue/simple add name=s max-limit=4M/40M " + tt.simple,
			} {
				typed(t, r, line)
			}
			for name, rate := range map[string]unit.Rate{"down": 120 * unit.Mbps, "up": 12 * unit.Mbps, "none": 8 * unit.Mbps} {
				if err := r.SetOffered(name, rate); err != nil {
					t.Fatal(err)
				}
			}
			now += unit.Time(10 * time.Second)
			for name, want := range map[string]unit.Bytes{"down": tt.down, "up": tt.up, "none": 10_000_000} {
				if got, _ := r.Queue(name); got.Bytes != want {
					t.Errorf("%s: %d bytes, want %d", name, got.Bytes, want)
				}
			}
			if rx, tx, _ := r.Interface("ether1"); rx != tt.down || tx != tt.up {
				t.Errorf("ether1 has %d and %d", rx, tx)
			}
		})
	}
}

// TestSimpleFastTracked: FastTrack goes past simple queues.
func TestSimpleFastTracked(t *testing.T) {
	var now unit.Time
	r := newRouter(t, oneCable(&now, func(o *Options) { o.FastTrack = true }))
	now += unit.Time(time.Second)
	if q, _ := r.Queue("WAN-Cable/download"); q.Bytes != 0 {
		t.Errorf("%+v", q)
	}
	if rx, _, _ := r.Interface("ether1"); rx != 25_000_000 {
		t.Errorf("%d bytes crossed", rx)
	}
}

// pairs is a network with one simple queue behind it.
type pairs struct {
	set   []string
	fail  bool
	count link.Pair[link.Queue]
}

func (p *pairs) Apply(queue string, limit unit.Rate) error {
	if p.fail {
		return errStopped
	}
	p.set = append(p.set, queue+"="+limit.String())
	return nil
}

func (p *pairs) Queue(name string) (link.Queue, bool) {
	switch name {
	case "WAN-Cable/download":
		return p.count.Down, true
	case "WAN-Cable/upload":
		return p.count.Up, true
	}
	return link.Queue{}, false
}

func (p *pairs) Interface(string) (rx, tx unit.Bytes, ok bool) { return 0, 0, false }

// TestSimpleApplied: a network behind the router gets both rates, what falls first, and its counters are the queue's.
func TestSimpleApplied(t *testing.T) {
	var now unit.Time
	p := &pairs{count: link.Pair[link.Queue]{Down: link.Queue{Bytes: 700, Packets: 7, QueuedBytes: 9}, Up: link.Queue{Bytes: 300, Packets: 3}}}
	r := newRouter(t, oneCable(&now, func(o *Options) { o.Applier = p }))
	typed(t, r, `/queue/simple set WAN-Cable max-limit=5M/200M`)
	if d := cmp.Diff([]string{"WAN-Cable/upload=5M", "WAN-Cable/download=200M"}, p.set); d != "" {
		t.Error(d)
	}
	if got := typed(t, r, `:put [/queue/simple get WAN-Cable bytes]`); got != "300/700" {
		t.Errorf("bytes=%s", got)
	}
	typed(t, r, `/queue/simple reset-counters WAN-Cable`)
	p.count.Down.Bytes += 50
	if got := typed(t, r, `:put [/queue/simple get WAN-Cable bytes]`); got != "0/50" {
		t.Errorf("bytes=%s", got)
	}
	p.count.Up = link.Queue{} // made anew
	if got := typed(t, r, `:put [/queue/simple get WAN-Cable packets]`); got != "0/0" {
		t.Errorf("packets=%s", got)
	}
	p.fail = true
	if out, failed := r.Exec(t.Context(), "admin", `/queue/simple set WAN-Cable max-limit=1M/1M`); !failed {
		t.Error(out)
	}
	if got, _ := r.MaxLimit("WAN-Cable/upload"); got != 5*unit.Mbps {
		t.Errorf("after a failure: %v", got)
	}
}

// TestSimpleByOthers: the faults that other people make reach simple queues, a direction by its name.
func TestSimpleByOthers(t *testing.T) {
	var now unit.Time
	r := newRouter(t, oneCable(&now, func(o *Options) { o.FlushOnChange, o.ResetOnChange = true, true }))
	for _, fault := range []string{"foreign=WAN-Cable/upload=7M", "offer=WAN-Cable/download=50M"} {
		if err := r.Inject(fault); err != nil {
			t.Fatal(err)
		}
	}
	now += unit.Time(8 * time.Second)
	if got := typed(t, r, `:put [/queue/simple get WAN-Cable max-limit]`); got != "7000000/100000000" {
		t.Errorf("max-limit=%s", got)
	}
	if q, _ := r.Queue("WAN-Cable/download"); q.Bytes != 50_000_000 {
		t.Errorf("%+v", q)
	}
	if err := r.ForeignSet("WAN-Cable/upload", 6*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	if q, _ := r.Queue("WAN-Cable/upload"); q.Bytes != 0 || q.QueuedBytes != 0 {
		t.Errorf("a change that resets: %+v", q)
	}
	if q, _ := r.Queue("WAN-Cable/download"); q.Bytes == 0 {
		t.Error("the direction that did not change was reset, too")
	}
	r.ResetCounters()
	if q, _ := r.Queue("WAN-Cable/download"); q.Bytes != 0 {
		t.Errorf("%+v", q)
	}
	if err := r.RenameQueue("WAN-Cable", "other"); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.MaxLimit("WAN-Cable/upload"); ok {
		t.Error("it still has its old name")
	}
	if err := r.RemoveQueue("other"); err != nil {
		t.Fatal(err)
	}
	if r.RemoveQueue("other") == nil || r.RenameQueue("other", "x") == nil || r.ForeignSet("other/upload", 1) == nil || r.SetOffered("other/upload", 1) == nil {
		t.Error("what is gone is still there")
	}
}

// TestSimpleRefers: a simple queue names queue types, addresses and interfaces that are there.
func TestSimpleRefers(t *testing.T) {
	var now unit.Time
	r := newRouter(t, oneCable(&now, nil))
	for line, want := range map[string]string{
		`/queue/simple add name=x target=nowhere`:                              "input does not match any value of target",
		`/queue/simple add name=x target=bridge dst=nowhere`:                   "input does not match any value of dst",
		`/queue/simple add name=x target=bridge queue=cake-upload/none-such`:   "input does not match any value of queue",
		`/queue/simple add name=x target=bridge queue=cake-upload`:             "expected value of download-queue",
		`/queue/simple set WAN-Cable target=bridge,nowhere`:                    "input does not match any value of target",
		`/queue/simple add name=x target=192.168.88.0/24,bridge max-limit=5M/`: "invalid value for argument max-limit",
	} {
		if out, failed := r.Exec(t.Context(), "admin", line); !failed || !strings.Contains(out, want) {
			t.Errorf("%s: %s", line, out)
		}
	}
	typed(t, r, `/queue/simple add name=x target=192.168.88.0/24,bridge dst=198.51.100.0/24 max-limit=5M/6M place-before=WAN-Cable`)
	if got := typed(t, r, `:put [/queue/simple get [find where name=x] max-limit]`); got != "5M/6M" && got != "5000000/6000000" {
		t.Error(got)
	}
	o := oneCable(&now, nil)
	o.SimpleQueues = append(o.SimpleQueues, o.SimpleQueues[0])
	if _, err := NewRouter(o); err == nil {
		t.Error("one name twice")
	}
	if rateOf(1, 0) != 0 {
		t.Error("bytes in no time")
	}
}
