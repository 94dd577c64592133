package netsim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// plain is one line without noise: 40/8 Mbit/s, 20 ms, FIFOs of 400 ms.
func plain(d time.Duration, flows ...Flow) Scenario {
	return Scenario{
		Name: "test", Duration: d, Seed: 1, Series: 100 * time.Millisecond,
		Links: []LinkSpec{{
			Name: "line",
			Down: PathSpec{Capacity: Constant(40 * unit.Mbps), Delay: 10 * time.Millisecond, Depth: 400 * time.Millisecond},
			Up:   PathSpec{Capacity: Constant(8 * unit.Mbps), Delay: 10 * time.Millisecond, Depth: 400 * time.Millisecond},
		}},
		Hosts: []Host{{Name: "near"}, {Name: "far", Offset: 30 * time.Millisecond}},
		Flows: flows,
	}
}

func start(t testing.TB, s Scenario) *Net {
	t.Helper()
	n, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func secs(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

func within(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s is %.4g, want %.4g to %.4g", what, got, low, high)
	}
}

// phase returns the delays of the series between two times.
func phase(n *Net, from, to time.Duration) *Histogram {
	h := &Histogram{}
	for _, p := range n.Series(0) {
		if p.At > Epoch.Add(from) && p.At <= Epoch.Add(to) {
			h.Add(p.Added.Duration(), 1)
		}
	}
	return h
}

func TestIdleRoundTripIsTheBaseExactly(t *testing.T) {
	n := start(t, plain(time.Minute))
	p, err := n.NewProber(ProberOptions{Hosts: []int{1, 0}, Interval: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n.Run(Epoch.Add(1100 * time.Millisecond))
	at := func(ms int, host, rtt int) link.Reply {
		sent := Epoch.Add(time.Duration(ms) * time.Millisecond)
		return link.Reply{
			Host: host, Sent: sent, Received: sent.Add(time.Duration(rtt) * time.Millisecond),
			RTT: unit.Millis(rtt),
		}
	}
	want := []link.Reply{at(0, 0, 50), at(250, 1, 20), at(500, 0, 50), at(750, 1, 20), at(1000, 0, 50)}
	if diff := cmp.Diff(want, p.Drain(nil)); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
	if got := p.Drain(nil); len(got) != 0 {
		t.Errorf("drained twice: %v", got)
	}
	n.Run(n.End())
	if worst := n.Truth(0).Line.Both.Max(); worst != 0 {
		t.Errorf("an idle line adds %v", worst)
	}
	if s := p.Stats(); s[0].Sent != 121 || s[0].Answered != 120 || s[1].Sent != 120 {
		t.Errorf("stats %+v", s)
	}
}

func TestBulkWithoutAShaperFillsTheFIFO(t *testing.T) {
	n := start(t, plain(time.Minute, Flow{Kind: Bulk, Count: 4}))
	n.Run(n.End())
	truth := n.Truth(0)
	within(t, "the worst delay", float64(truth.Line.Down.Max()), 390, 401)
	within(t, "the median after 20 s", float64(phase(n, 20*time.Second, time.Minute).Quantile(0.5)), 200, 400)
	within(t, "use", truth.Traffic.Down.Use(), 0.98, 1.0001)
	if truth.Traffic.Down.TailDropped == 0 || truth.Traffic.Down.FairDropped != 0 {
		t.Errorf("drops: %+v", truth.Traffic.Down)
	}
	if up := truth.Line.Up.Max(); up != 0 {
		t.Errorf("a download bloats the upload by %v", up)
	}
}

func TestAStaticShaperKeepsTheDelayLow(t *testing.T) {
	for _, dir := range []link.Direction{link.Down, link.Up} {
		t.Run(dir.String(), func(t *testing.T) {
			s := plain(time.Minute, Flow{Kind: Bulk, Dir: dir, Count: 4})
			n := start(t, s)
			n.SetShaper(0, dir, s.Links[0].path(dir).Capacity.Nominal().Scale(950_000))
			n.Run(n.End())
			truth := n.Truth(0)
			within(t, "p99", float64(truth.Line.Both.Quantile(0.99)), 0.01, 5)
			within(t, "use", truth.Traffic.Get(dir).Use(), 0.93, 0.951)
			if truth.Traffic.Get(dir).FairDropped == 0 || n.Counters(0).Get(dir).Dropped == 0 {
				t.Error("our shaper never told the senders to slow down")
			}
		})
	}
}

// The reference is the same experiment with Linux TCP, CAKE at 95 % and a byte FIFO in a virtual machine: while
// halved, p50/p95/p99 of 435/819/820 ms, 96 % of the capacity used over the run; without a shaper 742/819/820.
func TestHalvingTheCapacityLooksAsOnARealKernel(t *testing.T) {
	run := func(shaper unit.Rate) (halved *Histogram, use float64) {
		s := plain(time.Minute, Flow{Kind: Bulk, Count: 4, Start: 5 * time.Second, Stop: 59 * time.Second})
		s.Events = []Event{{Kind: CapacityShare, At: 20 * time.Second, For: 20 * time.Second, Share: unit.One / 2}}
		n := start(t, s)
		n.SetShaper(0, link.Down, shaper)
		n.Run(n.End())
		return phase(n, 20*time.Second, 40*time.Second), n.Truth(0).Traffic.Down.Use()
	}
	static, use := run(38 * unit.Mbps)
	within(t, "static: p50", float64(static.Quantile(0.5)), 350, 550)
	within(t, "static: p95", float64(static.Quantile(0.95)), 750, 830)
	within(t, "static: use", use, 0.93, 0.98)
	none, use := run(0)
	within(t, "none: p50", float64(none.Quantile(0.5)), 650, 800)
	within(t, "none: p95", float64(none.Quantile(0.95)), 750, 830)
	within(t, "none: use", use, 0.99, 1.0001)
}

func TestAShaperUnderTheReducedCapacityDrainsTheFIFO(t *testing.T) {
	s := plain(time.Minute, Flow{Kind: Bulk, Count: 4})
	s.Events = []Event{{Kind: CapacityShare, At: 20 * time.Second, Share: unit.One / 2}}
	n := start(t, s)
	n.SetShaper(0, link.Down, 38*unit.Mbps)
	n.World().At(Epoch.Add(30*time.Second), func() { n.SetShaper(0, link.Down, 18*unit.Mbps) })
	n.Run(n.End())
	within(t, "before the cut", float64(phase(n, 25*time.Second, 30*time.Second).Quantile(0.5)), 50, 800)
	within(t, "after the cut", float64(phase(n, 35*time.Second, time.Minute).Quantile(0.99)), 0, 5)
}

func TestSharesAreFair(t *testing.T) {
	s := plain(
		time.Minute,
		Flow{Kind: Bulk}, Flow{Kind: Bulk},
		Flow{Kind: Steady, Rate: 2 * unit.Mbps},
		Flow{Kind: Bulk, Count: 8},
	)
	n := start(t, s)
	n.SetShaper(0, link.Down, 38*unit.Mbps)
	n.Run(n.End())
	b := n.FlowBytes()
	within(t, "one flow against another", float64(b[0])/float64(b[1]), 0.85, 1.18)
	within(t, "one against eight", float64(b[3])/float64(b[0]), 6.5, 9.5)
	within(t, "the sparse flow's share of its wish", float64(b[2])/float64((2*unit.Mbps).Over(time.Minute)), 0.995, 1)
	if added := n.Truth(0).Line.Down.Quantile(0.95); added > 3 {
		t.Errorf("a sparse packet waits %v behind bulk", added)
	}
}

func TestConservationOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := plain(20 * time.Second)
		s.Seed = rapid.Uint64().Draw(t, "seed")
		dirs := rapid.SampledFrom([]link.Direction{link.Down, link.Up})
		kinds := rapid.SampledFrom([]Kind{Bulk, Video, Steady, Web})
		for range rapid.IntRange(1, 5).Draw(t, "flows") {
			f := Flow{
				Kind: kinds.Draw(t, "kind"), Dir: dirs.Draw(t, "dir"), Count: rapid.IntRange(1, 4).Draw(t, "count"),
				Start: secs(rapid.Float64Range(0, 5).Draw(t, "start")), Stop: secs(rapid.Float64Range(6, 25).Draw(t, "stop")),
				Rate: unit.Rate(rapid.IntRange(1, 60).Draw(t, "mbps")) * unit.Mbps, Period: time.Second, Size: 300_000,
			}
			if f.Kind == Bulk {
				f.Size = 0
			}
			s.Flows = append(s.Flows, f)
		}
		s.Links[0].Down.Loss = unit.PPM(rapid.IntRange(0, 20_000).Draw(t, "loss"))
		s.Events = []Event{
			{Kind: CapacityShare, At: 5 * time.Second, For: 5 * time.Second, Share: unit.PPM(rapid.IntRange(0, 2_000_000).Draw(t, "share"))},
			{Kind: Blackout, At: 12 * time.Second, For: 2 * time.Second},
		}
		n, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		var was link.Report
		for i := range 40 {
			n.Run(Epoch.Add(time.Duration(i) * 500 * time.Millisecond))
			if i%5 == 0 {
				n.SetShaper(0, dirs.Draw(t, "way"), unit.Rate(rapid.IntRange(0, 50).Draw(t, "shaper"))*unit.Mbps)
			}
			is := n.Counters(0)
			if is.Down.Bytes < was.Down.Bytes || is.Up.Bytes < was.Up.Bytes || is.WANRx < was.WANRx || is.WANTx < was.WANTx {
				t.Fatalf("a counter fell: %+v after %+v", is, was)
			}
			was = is
		}
		n.Run(n.End())
		var all unit.Bytes
		truth := n.Truth(0)
		for _, d := range []link.Direction{link.Down, link.Up} {
			x := truth.Traffic.Get(d)
			rest := x.Sent - x.Delivered - x.Queued - x.TailDropped - x.FairDropped - x.LineDropped
			if math.Abs(float64(rest)) > 8+1e-9*float64(x.Sent) {
				t.Errorf("%v: %d bytes are unaccounted for: %+v", d, rest, x)
			}
			all += x.Delivered
			if limit := n.lines[0].paths.Get(d).limit; n.lines[0].paths.Get(d).fifo > limit+1 {
				t.Errorf("%v: the FIFO holds more than %v", d, limit)
			}
		}
		for _, b := range n.FlowBytes() {
			all -= b
		}
		if math.Abs(float64(all)) > 8 {
			t.Errorf("flows and line differ by %d bytes", all)
		}
	})
}

// everything is what an outsider can learn of a run.
func everything(t testing.TB, s Scenario, peek time.Duration) map[string]any {
	n := start(t, s)
	out := map[string]any{}
	var replies []link.Reply
	var probers []*Prober
	for i := range s.Links {
		p, err := n.NewProber(ProberOptions{Link: i, Hosts: []int{0, 1, 2}, Interval: 660 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		probers = append(probers, p)
		n.SetShaper(i, link.Down, s.Links[i].Down.Capacity.Nominal().Scale(900_000))
	}
	if peek > 0 {
		n.World().Every(peek, 0, func() { n.View(0); n.Counters(1) })
	}
	for at := Epoch; at < n.End(); at = at.Add(2 * time.Second) {
		n.Run(at)
		for _, p := range probers {
			replies = p.Drain(replies)
		}
	}
	n.Run(n.End())
	out["replies"], out["flows"] = replies, n.FlowBytes()
	for i, l := range s.Links {
		out[l.Name], out[l.Name+" series"] = n.Truth(i), n.Series(i)
	}
	out["calls"] = n.Calls()
	return out
}

func TestEqualSeedsGiveEqualRuns(t *testing.T) {
	options := cmp.AllowUnexported(Histogram{})
	for _, name := range Names() {
		if name == "day" {
			continue
		}
		s, err := Builtin(name, 7)
		if err != nil {
			t.Fatal(err)
		}
		first := everything(t, s, 0)
		if diff := cmp.Diff(first, everything(t, s, 0), options); diff != "" {
			t.Errorf("%s: two runs differ:\n%s", name, diff)
		}
		// Who looks changes nothing but the rounding of sums.
		near := cmpopts.EquateApprox(1e-9, 2)
		bytes := cmp.Comparer(func(a, b unit.Bytes) bool { return a-b < 2 && b-a < 2 })
		rates := cmp.Comparer(func(a, b unit.Rate) bool { return a-b < 200 && b-a < 200 })
		looked := everything(t, s, 137*time.Millisecond)
		if diff := cmp.Diff(first, looked, options, near, bytes, rates); diff != "" {
			t.Errorf("%s: observing it changed it:\n%s", name, diff)
		}
		s.Seed++
		if cmp.Equal(first["replies"], everything(t, s, 0)["replies"]) {
			t.Errorf("%s: another seed changes nothing", name)
		}
	}
}

func TestCountersGiveTrueRates(t *testing.T) {
	n := start(t, plain(time.Minute, Flow{Kind: Bulk, Count: 4}, Flow{Kind: Steady, Dir: link.Up, Rate: 2 * unit.Mbps}))
	n.SetShaper(0, link.Down, 30*unit.Mbps)
	n.Run(Epoch.Add(10*time.Second + 3*time.Millisecond))
	a := n.Counters(0)
	n.Run(Epoch.Add(10*time.Second + 207*time.Millisecond))
	b := n.Counters(0)
	span := b.At.Sub(a.At)
	within(t, "queue", (b.Down.Bytes - a.Down.Bytes).Per(span).Mbps(), 29.5, 30.1)
	within(t, "received", (b.WANRx - a.WANRx).Per(span).Mbps(), 26, 40)
	within(t, "sent", (b.WANTx - a.WANTx).Per(span).Mbps(), 1.99, 2.01)
	if b.Down.MaxLimit != 30*unit.Mbps || b.Up.MaxLimit != 0 || !b.HasWAN {
		t.Errorf("report %+v", b)
	}
	if b.Uptime-a.Uptime != span || b.Down.QueuedBytes == 0 || b.Down.QueuedPackets == 0 || b.Down.Packets <= a.Down.Packets {
		t.Errorf("report %+v after %+v", b, a)
	}
	n.SetShaper(0, link.Down, 0)
	n.Run(n.End())
	if q := n.Counters(0).Down; q.QueuedBytes != 0 || q.MaxLimit != 0 {
		t.Errorf("without a shaper there is still a queue: %+v", q)
	}
}

func TestViewIsTheTruthNow(t *testing.T) {
	n := start(t, plain(time.Minute, Flow{Kind: Bulk, Count: 4}, Flow{Kind: Talk}))
	n.SetShaper(0, link.Up, 7*unit.Mbps)
	n.Run(Epoch.Add(30 * time.Second))
	v := n.View(0)
	if v.Capacity != (link.Rates{Down: 40 * unit.Mbps, Up: 8 * unit.Mbps}) || v.Shaper.Up != 7*unit.Mbps || v.Calls != 1 {
		t.Errorf("view %+v", v)
	}
	within(t, "delay over depth", float64(v.Down)/(float64(v.FIFO.Down)/5000), 0.999, 1.001)
}

func TestLoadsDeliverWhatTheyPromise(t *testing.T) {
	s := plain(
		2*time.Minute,
		Flow{Kind: Video, Rate: 8 * unit.Mbps, Period: 4 * time.Second, Limit: 25 * unit.Mbps},
		Flow{Kind: Bulk, Dir: link.Up, Size: 3_000_000},
		Flow{Kind: Bulk, Limit: 5 * unit.Mbps, Count: 2, Stop: time.Minute},
		Flow{Kind: Web, Size: 200_000, Arrive: &Arrivals{Every: 2 * time.Second, Spread: time.Second}},
	)
	n := start(t, s)
	n.Run(n.End())
	b := n.FlowBytes()
	within(t, "video", float64(b[0]), 0.96*120e6, 120.1e6)
	within(t, "a file", float64(b[1]), 3_000_000-1, 3_000_000+1)
	within(t, "two paced sources", float64(b[2]), 0.97*75e6, 75.1e6)
	within(t, "web bursts", float64(b[3]), 4e6, 24e6)
	if f := n.lines[0].paths.Up.flows; len(f) != 0 {
		t.Errorf("%d finished flows stay on the line", len(f))
	}
}

func TestPingAndItsHostsFaults(t *testing.T) {
	s := plain(10 * time.Second)
	s.Events = []Event{
		{Kind: HostSlow, At: time.Second, For: time.Second, Link: AnyLink, Host: 0, Delay: 60 * time.Millisecond},
		{Kind: HostDead, At: 3 * time.Second, For: time.Second, Link: AnyLink, Host: 0},
		{Kind: HostSlow, At: 5 * time.Second, For: time.Second, Host: 1, Delay: -15 * time.Millisecond},
		{Kind: PathChange, At: 7 * time.Second, For: time.Second, Delay: 5 * time.Millisecond, Dir: UpOnly},
		{Kind: Blackout, At: 9 * time.Second, For: 500 * time.Millisecond},
		{Kind: ProviderCongestion, At: 8 * time.Second, For: 900 * time.Millisecond, Dir: DownOnly, Delay: 70 * time.Millisecond},
	}
	n := start(t, s)
	got := map[string]unit.Millis{}
	ask := func(name string, at time.Duration, host int) {
		n.World().At(Epoch.Add(at), func() {
			n.Ping(0, host, func(r link.Reply) {
				if r.Received != n.Now() {
					t.Errorf("%s: the reply of %v came at %v", name, r.Received, n.Now())
				}
				got[name] = r.RTT
			})
		})
	}
	ask("healthy", 0, 0)
	ask("slow", secs(1.5), 0)
	ask("the other while one is slow", secs(1.5), 1)
	ask("dead", secs(3.5), 0)
	ask("elsewhere", secs(5.5), 1)
	ask("longer path", secs(7.5), 0)
	ask("provider", secs(8.5), 0)
	ask("blackout", secs(9.2), 0)
	ask("begun before the blackout", secs(8.995), 0)
	ask("after", secs(9.6), 0)
	n.Run(n.End())
	want := map[string]unit.Millis{
		"healthy": 20, "slow": 80, "the other while one is slow": 50, "elsewhere": 35, "longer path": 25, "provider": 90, "after": 20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round trips (-want +got):\n%s", diff)
	}
}

func TestLossAndLateReplies(t *testing.T) {
	s := plain(200*time.Second, Flow{Kind: Bulk, Dir: link.Up, Count: 4, Start: 100 * time.Second})
	s.Hosts[1].Loss = 200_000
	s.Events = []Event{
		{Kind: HostRateLimited, Link: AnyLink, Host: 0, Loss: unit.One / 2},
		{Kind: LineLoss, Dir: DownOnly, Loss: 100_000},
	}
	n := start(t, s)
	p, err := n.NewProber(ProberOptions{Hosts: []int{0, 1}, Interval: 50 * time.Millisecond, Timeout: 250 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n.Run(Epoch.Add(100 * time.Second))
	s0 := p.Stats()
	within(t, "answers of the limited host", float64(s0[0].Answered)/float64(s0[0].Sent), 0.41, 0.49)
	within(t, "answers of the lossy host", float64(s0[1].Answered)/float64(s0[1].Sent), 0.67, 0.77)
	if s0[0].Late != 0 {
		t.Errorf("late on an idle line: %+v", s0)
	}
	n.Run(n.End())
	if late := p.Stats()[0].Late; late == 0 {
		t.Error("nothing is late behind a bloated upload")
	}
	if got := len(p.Drain(nil)); got > 2*maxPending {
		t.Errorf("%d replies were kept for nobody", got)
	}
	p.Stop()
	was := p.Stats()[0].Sent
	n.Run(n.End().Add(time.Minute))
	if is := p.Stats()[0].Sent; is != was {
		t.Errorf("a stopped prober goes on: %d echoes after %d", is, was)
	}
}

func TestNewProberRefuses(t *testing.T) {
	n := start(t, plain(time.Second))
	for want, o := range map[string]ProberOptions{
		"link 1":   {Link: 1, Hosts: []int{0}, Interval: time.Second},
		"no hosts": {Interval: time.Second},
		"host 9":   {Hosts: []int{9}, Interval: time.Second},
		"under":    {Hosts: []int{0}},
	} {
		if _, err := n.NewProber(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestBlackoutIsAnOutageAndFlowsComeBack(t *testing.T) {
	s := plain(time.Minute, Flow{Kind: Bulk, Count: 2}, Flow{Kind: Talk})
	s.Events = []Event{{Kind: Blackout, At: 20 * time.Second, For: 10 * time.Second}}
	n := start(t, s)
	n.SetShaper(0, link.Down, 38*unit.Mbps)
	n.Run(n.End())
	truth := n.Truth(0)
	within(t, "outage", truth.Calls.Outage.Seconds(), 9.9, 10.1)
	within(t, "lost", truth.Calls.Lost.Seconds(), 9.9, 10.6)
	within(t, "time without delay figures", 60-float64(truth.Calls.Both.Count())/100, 9.9, 10.1)
	var before, during, after unit.Rate
	for _, p := range n.Series(0) {
		switch at := p.At.Sub(Epoch); {
		case at > 15*time.Second && at <= 20*time.Second:
			before += p.Delivered.Down / 50
		case at > 21*time.Second && at <= 30*time.Second:
			during += p.Delivered.Down
			if !p.Outage || p.Capacity.Down != 0 {
				t.Errorf("point %v is no outage: %+v", at, p)
			}
		case at > 45*time.Second:
			after += p.Delivered.Down / 150
		}
	}
	within(t, "before", before.Mbps(), 34, 38.1)
	within(t, "during", during.Mbps(), 0, 0)
	within(t, "after", after.Mbps(), 34, 38.1)
}

func TestProvidersCongestionIgnoresOurRate(t *testing.T) {
	for _, r := range []unit.Rate{0, 20 * unit.Mbps, 5 * unit.Mbps} {
		s := plain(30*time.Second, Flow{Kind: Steady, Rate: 2 * unit.Mbps})
		s.Events = []Event{{Kind: ProviderCongestion, Dir: DownOnly, Delay: 100 * time.Millisecond, Wobble: 100_000, Loss: 50_000}}
		n := start(t, s)
		n.SetShaper(0, link.Down, r)
		n.Run(n.End())
		d := n.Truth(0).Line
		within(t, "least", float64(d.Both.Quantile(0)), 88, 100)
		within(t, "median", float64(d.Both.Quantile(0.5)), 95, 105)
		within(t, "most", float64(d.Both.Max()), 100, 110.1)
		within(t, "lost", d.Lost.Seconds(), 1.49, 1.51)
		if q := n.View(0); q.FIFO.Down != 0 || q.Queue.Down != 0 || d.Above30 < 29*time.Second {
			t.Errorf("at %v: %+v, above 30 ms for %v", r, q, d.Above30)
		}
	}
}

func TestLossFarAwaySlowsTheSender(t *testing.T) {
	run := func(loss unit.PPM) unit.Bytes {
		s := plain(30*time.Second, Flow{Kind: Bulk})
		s.Events = []Event{{Kind: ProviderCongestion, Delay: 40 * time.Millisecond, Loss: loss}}
		n := start(t, s)
		n.Run(n.End())
		return n.FlowBytes()[0]
	}
	if clean, lossy := run(0), run(10_000); lossy > clean/2 {
		t.Errorf("1 %% of loss over 60 ms lets %d bytes through, none %d", lossy, clean)
	}
}

func TestBuildFails(t *testing.T) {
	s := plain(time.Second)
	s.Links = nil
	if n, err := New(s); err == nil || n != nil {
		t.Error("a scenario without links was built")
	}
	if _, err := Builtin("nowhere", 1); err == nil || !strings.Contains(err.Error(), "evening") {
		t.Errorf("no list of scenarios in %v", err)
	}
}

func TestAProberTellsOfEchoesAndRepliesAsTheyHappen(t *testing.T) {
	n := start(t, plain(10*time.Second, Flow{Kind: Bulk, Dir: link.Up, Start: time.Second}))
	var told []string
	var heard []link.Reply
	p, err := n.NewProber(ProberOptions{
		Hosts: []int{1, 0}, Interval: 100 * time.Millisecond,
		OnSend: func(e link.Probe) {
			if e.Sent != n.Now() {
				t.Errorf("an echo of %v is told at %v", e.Sent, n.Now())
			}
			told = append(told, fmt.Sprintf("%v >%d", n.Now().Sub(Epoch), e.Host))
		},
		OnReply: func(r link.Reply) {
			if r.Received != n.Now() {
				t.Errorf("a reply of %v is told at %v", r.Received, n.Now())
			}
			told = append(told, fmt.Sprintf("%v <%d", n.Now().Sub(Epoch), r.Host))
			heard = append(heard, r)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Run(Epoch.Add(72 * time.Millisecond))
	if diff := cmp.Diff([]string{"0s >0", "50ms >1", "50ms <0", "70ms <1"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	n.Run(n.End())
	if diff := cmp.Diff(p.Drain(nil), heard); diff != "" {
		t.Errorf("drained, told:\n%s", diff)
	}
}

// A clock that is off by a constant tells every change of a one-way delay, to the millisecond of its stamps.
func TestOneWayDelaysTellWhichDirectionIsBusy(t *testing.T) {
	for _, busy := range []link.Direction{link.Down, link.Up} {
		t.Run(busy.String(), func(t *testing.T) {
			n := start(t, plain(20*time.Second, Flow{Kind: Bulk, Dir: busy, Count: 4, Start: 5 * time.Second}))
			p, err := n.NewProber(ProberOptions{Hosts: []int{0, 1}, Interval: 100 * time.Millisecond, OneWay: true})
			if err != nil {
				t.Fatal(err)
			}
			n.Run(n.End())
			first := map[int]link.Reply{}
			worst := link.Pair[unit.Millis]{}
			for _, r := range p.Drain(nil) {
				if !r.OneWay || math.Abs(float64(r.Delay.Down+r.Delay.Up-r.RTT)) > 1e-6 {
					t.Fatalf("the two ways of %+v are not its round trip", r)
				}
				if _, ok := first[r.Host]; !ok {
					first[r.Host] = r
				}
				for _, d := range []link.Direction{link.Down, link.Up} {
					worst.Set(d, max(worst.Get(d), r.Delay.Get(d)-first[r.Host].Delay.Get(d)))
				}
			}
			idle := link.Down + link.Up - busy
			within(t, "the busy way", float64(worst.Get(busy)), 350, 402)
			within(t, "the idle way", float64(worst.Get(idle)), 0, 1)
			if first[0].Delay.Up == first[1].Delay.Up-15 {
				t.Error("two hosts have one clock")
			}
		})
	}
}
