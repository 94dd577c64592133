//go:build lab

package cake

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// These tests need a kernel with CAKE and iproute2, and run as root in a machine of their own: the lab's. There each of
// them makes the namespaces it works in, a house's router and the provider's end of its line.

var recordTo = flag.String("record", "", "directory to write this kernel's answers to, for testdata")

const (
	router   = "wanctl-r"
	provider = "wanctl-p"
)

// tool runs a program of iproute2 and returns what it prints.
func tool(t testing.TB, line string) string {
	t.Helper()
	words := strings.Fields(line)
	b, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, b)
	}
	return string(b)
}

// site makes a line: wan in the router's namespace, isp at the other end, both with addresses that need no neighbour
// discovery.
func site(t testing.TB) {
	t.Helper()
	for _, l := range []string{
		"ip netns add " + router, "ip netns add " + provider,
		"ip -n " + router + " link add wan address 02:00:00:00:00:01 type veth peer name isp address 02:00:00:00:00:02 netns " + provider,
		"ip -n " + router + " addr add 192.0.2.1/24 dev wan",
		"ip -n " + router + " addr add 2001:db8::1/64 dev wan nodad",
		"ip -n " + provider + " addr add 192.0.2.2/24 dev isp",
		"ip -n " + provider + " addr add 2001:db8::2/64 dev isp nodad",
		"ip -n " + router + " link set wan up", "ip -n " + provider + " link set isp up",
		"ip -n " + router + " neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan",
		"ip -n " + provider + " neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev isp",
		"ip -n " + router + " neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev wan",
		"ip -n " + provider + " neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev isp",
	} {
		tool(t, l)
	}
	t.Cleanup(func() {
		tool(t, "ip netns del "+router)
		tool(t, "ip netns del "+provider)
	})
	// The kernel looks at a link's carrier when it comes to it, in this machine's time.
	for range 100 {
		if strings.Contains(tool(t, "ip -n "+router+" -o link show wan"), " state UP ") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the link does not come up")
}

func lab(t testing.TB) *Conn {
	t.Helper()
	c, err := Open(Options{NetNS: router})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inside runs f on a thread in a namespace.
func inside(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			h, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer h.Close()
			if err := unix.Setns(int(h.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// send sends n datagrams of size bytes to an address, from a namespace.
func send(t testing.TB, ns, to string, n, size int) {
	t.Helper()
	inside(t, ns, func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, size)
		for sent := 0; sent < n; {
			switch _, err := c.Write(b); {
			case err == nil, errors.Is(err, unix.ENOBUFS): // a queue that is full drops
				sent++
			case errors.Is(err, unix.ECONNREFUSED): // of an earlier one: nobody listens there
			default:
				return err
			}
		}
		return nil
	})
}

func read(t testing.TB, c *Conn, dev string) Cake {
	t.Helper()
	var q Cake
	if err := c.ReadCake(dev, &q); err != nil {
		t.Fatal(err)
	}
	return q
}

// tcQdisc is what tc tells of a CAKE qdisc.
type tcQdisc struct {
	Kind    string         `json:"kind"`
	Handle  string         `json:"handle"`
	Options map[string]any `json:"options"`
	Rest    map[string]any
	Tins    []map[string]any `json:"tins"`
}

func tcShow(t testing.TB, dev string) tcQdisc {
	t.Helper()
	text := tool(t, "tc -n "+router+" -s -j qdisc show dev "+dev+" root")
	var all []tcQdisc
	var rest []map[string]any
	if err := errors.Join(json.Unmarshal([]byte(text), &all), json.Unmarshal([]byte(text), &rest)); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	all[0].Rest = rest[0]
	return all[0]
}

// asTC is a qdisc of ours in tc's words and units.
func asTC(c Cake) tcQdisc {
	n := func(v int64) any { return float64(v) }
	rate := func(r unit.Rate) any {
		if r == 0 {
			return "unlimited"
		}
		return n(int64(r / 8))
	}
	o := map[string]any{
		"bandwidth": rate(c.Bandwidth), "diffserv": c.Diffserv.String(), "flowmode": c.Flow.String(), "nat": c.Nat, "wash": c.Wash,
		"ingress": c.Ingress, "split_gso": c.SplitGSO, "rtt": n(int64(c.RTT)), "raw": c.Raw, "overhead": n(int64(c.Overhead)),
		"fwmark": fmt.Sprintf("%x", c.Fwmark),
	}
	o["ack-filter"] = map[AckFilter]string{NoAckFilter: "disabled", FilterAcks: "enabled", AggressiveAckFilter: "aggressive"}[c.AckFilter]
	if c.Autorate {
		o["autorate"] = "autorate-ingress"
	}
	if c.Atm != NoAtm {
		o["atm"] = c.Atm.String()
	} else if !c.Raw {
		o["atm"] = "noatm"
	}
	if c.Mpu != 0 {
		o["mpu"] = n(int64(c.Mpu))
	}
	if c.Memory != 0 {
		o["memlimit"] = n(int64(c.Memory))
	}
	if c.Fwmark != 0 {
		o["fwmark"] = fmt.Sprintf("0x%x", c.Fwmark)
	}
	q := tcQdisc{Kind: c.Kind, Handle: c.Handle.String(), Options: o, Rest: map[string]any{
		"bytes": n(int64(c.Bytes)), "packets": n(c.Packets), "drops": n(c.Dropped), "overlimits": n(c.Overlimits),
		"requeues": n(c.Requeues), "backlog": n(int64(c.QueuedBytes)), "qlen": n(c.QueuedPackets), "memory_used": n(int64(c.MemoryUsed)),
		"memory_limit": n(int64(c.MemoryLimit)), "capacity_estimate": n(int64(c.Capacity / 8)), "min_network_size": n(c.MinNet),
		"max_network_size": n(c.MaxNet), "min_adj_size": n(c.MinAdjusted), "max_adj_size": n(c.MaxAdjusted), "avg_hdr_offset": n(c.AvgOffset),
	}}
	us := func(m unit.Millis) any { return n(int64(float64(m)*1000 + 0.5)) }
	for _, t := range c.Tins.Tin[:c.Tins.N] {
		q.Tins = append(q.Tins, map[string]any{
			"threshold_rate": n(int64(t.Threshold / 8)), "sent_bytes": n(int64(t.Bytes)), "backlog_bytes": n(int64(t.QueuedBytes)),
			"target_us": us(t.Target), "interval_us": us(t.Interval), "peak_delay_us": us(t.PeakDelay), "avg_delay_us": us(t.AvgDelay),
			"base_delay_us": us(t.BaseDelay), "sent_packets": n(t.Packets), "way_indirect_hits": n(t.WayHits), "way_misses": n(t.WayMisses),
			"way_collisions": n(t.WayCollisions), "drops": n(t.Dropped), "ecn_mark": n(t.Marked), "ack_drops": n(t.AckDropped),
			"sparse_flows": n(t.SparseFlows), "bulk_flows": n(t.BulkFlows), "unresponsive_flows": n(t.UnresponsiveFlows),
			"max_pkt_len": n(int64(t.MaxPacket)), "flow_quantum": n(int64(t.Quantum)),
		})
	}
	return q
}

// differences compares everything tc tells with ours, and reports what one of them has alone.
func differences(ours, tcs tcQdisc) (out []string) {
	maps := func(where string, a, b map[string]any, skip ...string) {
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		for k := range keys {
			if !slices.Contains(skip, k) && !reflect.DeepEqual(a[k], b[k]) {
				out = append(out, fmt.Sprintf("%s.%s: ours %v, tc's %v", where, k, a[k], b[k]))
			}
		}
	}
	if ours.Kind != tcs.Kind || ours.Handle != tcs.Handle || len(ours.Tins) != len(tcs.Tins) {
		return []string{fmt.Sprintf("ours %s %s with %d tins, tc's %s %s with %d", ours.Kind, ours.Handle, len(ours.Tins), tcs.Kind, tcs.Handle, len(tcs.Tins))}
	}
	maps("options", ours.Options, tcs.Options)
	maps("", ours.Rest, tcs.Rest, "kind", "handle", "root", "refcnt", "options", "tins")
	for n := range ours.Tins {
		maps(fmt.Sprintf("tin %d", n), ours.Tins[n], tcs.Tins[n])
	}
	return out
}

// Every field of every kind of set-up is what tc tells, with a queue that stands and has dropped.
func TestLabAgreesWithTC(t *testing.T) {
	site(t)
	c := lab(t)
	for n, options := range []string{
		"bandwidth 2mbit",
		"bandwidth 2mbit besteffort dual-srchost nat overhead 18 mpu 64 noatm ack-filter",
		"bandwidth 2mbit diffserv4 dual-dsthost nat wash ingress no-split-gso rtt 50ms",
		"bandwidth 2mbit diffserv8 flows pppoe-ptm ack-filter-aggressive memlimit 60000",
		"bandwidth 2mbit precedence hosts conservative fwmark 0xff",
		"bandwidth 2mbit srchost raw overhead -4",
		"bandwidth 2mbit autorate-ingress dsthost",
		"unlimited flowblind triple-isolate",
	} {
		tool(t, "tc -n "+router+" qdisc replace dev wan root cake "+options)
		send(t, router, "192.0.2.2:9", 400, 1200)
		send(t, router, "[2001:db8::2]:9", 40, 200)
		var diff []string
		for range 20 { // packets leave between the two readings
			ours := asTC(read(t, c, "wan"))
			if diff = differences(ours, tcShow(t, "wan")); len(diff) == 0 {
				break
			}
		}
		for _, d := range diff {
			t.Errorf("%s: %s", options, d)
		}
		q := read(t, c, "wan")
		if q.Packets == 0 || (q.Bandwidth > 0 && q.QueuedPackets == 0) {
			t.Errorf("%s: nothing was sent or queued: %+v", options, q.Qdisc)
		}
		if *recordTo != "" && n < 4 {
			recordCake(t, c, fmt.Sprintf("cake-%d.hex", n+1))
		}
		tool(t, "tc -n "+router+" qdisc del dev wan root")
	}
}

// recordCake writes the kernel's own bytes of the qdisc at wan.
func recordCake(t *testing.T, c *Conn, name string) {
	t.Helper()
	var i Interface
	if err := c.ReadInterface("wan", &i); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.raw
	x.begin(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	x.tcmsg(0, 0, 0, 0)
	if err := x.do(); err != nil {
		t.Fatal(err)
	}
	for x.next() {
		if int32(native.Uint32(x.body[4:])) != i.Index || Handle(native.Uint32(x.body[12:])) != Root {
			continue
		}
		if err := os.WriteFile(filepath.Join(*recordTo, name), []byte(hex.EncodeToString(x.body)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if x.fail != nil {
		t.Fatal(x.fail)
	}
}

// A change of the rate keeps what is queued, the flows, the tins and every other option, and reads back.
func TestLabRateUnderTraffic(t *testing.T) {
	site(t)
	c := lab(t)
	tool(t, "tc -n "+router+" qdisc replace dev wan root handle 5: cake bandwidth 2mbit diffserv4 dual-srchost nat overhead 18 mpu 64")
	send(t, router, "192.0.2.2:9", 600, 1200)
	before := read(t, c, "wan")
	if before.QueuedPackets < 50 || before.Tins.N != 4 {
		t.Fatalf("no queue stands: %+v", before.Qdisc)
	}
	for n, r := range []unit.Rate{unit.Mbps, 8 * unit.Gbps / 1000, 3_000_001, 3 * unit.Mbps} {
		got, err := c.SetBandwidth("wan", r)
		if err != nil {
			t.Fatal(err)
		}
		want := before.Settings
		want.Bandwidth = wireRate(r)
		if got.Settings != want {
			t.Errorf("step %d: options are %+v, want %+v", n, got.Settings, want)
		}
		if got.Handle != before.Handle || got.Packets < before.Packets || got.QueuedPackets == 0 || got.Tins.N != 4 {
			t.Errorf("step %d: the queue began anew: %+v", n, got.Qdisc)
		}
		for i := range got.Tins.N {
			was, is := before.Tins.Tin[i], got.Tins.Tin[i]
			if is.Packets < was.Packets || is.WayMisses < was.WayMisses || (was.BulkFlows > 0 && is.BulkFlows+is.SparseFlows == 0) {
				t.Errorf("step %d: tin %d began anew: %+v after %+v", n, i, is, was)
			}
		}
		before = got
	}
	for _, r := range []unit.Rate{0, -1, unit.MaxRate + 8} {
		if _, err := c.SetBandwidth("wan", r); kindOfError(err) != Range {
			t.Errorf("%d bit/s: %v", r, err)
		}
	}
}

// What is at the root instead of CAKE is named, and nothing is put in its place.
func TestLabNotCake(t *testing.T) {
	site(t)
	c := lab(t)
	for _, k := range []struct{ set, want string }{
		{"", "not CAKE but the kernel's own noqueue"},
		{"htb", "not CAKE but somebody's htb (handle 7:)"},
		{"fq_codel", "not CAKE but somebody's fq_codel (handle 7:)"},
	} {
		if k.set != "" {
			tool(t, "tc -n "+router+" qdisc replace dev wan root handle 7: "+k.set)
		}
		var q Cake
		err := c.ReadCake("wan", &q)
		if kindOfError(err) != NotCake || !strings.Contains(err.Error(), k.want) || !strings.Contains(err.Error(), "wanctl qdisc plan") {
			t.Errorf("%s: %v", k.set, err)
		}
		if _, err := c.SetBandwidth("wan", unit.Mbps); kindOfError(err) != NotCake {
			t.Errorf("%s: %v", k.set, err)
		}
		// Even when it is replaced between reading and writing.
		var i Interface
		if err := c.ReadInterface("wan", &i); err != nil {
			t.Fatal(err)
		}
		if err := c.setRate(i.Index, 0x80010000, unit.Mbps); err == nil {
			t.Errorf("%s: a change of a handle that is gone went through", k.set)
		}
		if k.set != "" && !strings.Contains(tool(t, "tc -n "+router+" qdisc show dev wan"), k.set) {
			t.Errorf("%s was replaced", k.set)
		}
		if k.set != "" {
			tool(t, "tc -n "+router+" qdisc del dev wan root")
		}
	}
	var q Cake
	if err := c.ReadCake("nosuch", &q); kindOfError(err) != NoSuchInterface {
		t.Error(err)
	}
}

func labLine(t testing.TB) *Line {
	t.Helper()
	l, err := OpenLine(LineOptions{Options: Options{NetNS: router}, Download: "ifb4wan", Upload: "wan"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

var labSetup = Setup{
	Upload: "wan", Download: "ifb4wan", Rates: link.Rates{Down: 40 * unit.Mbps, Up: 8 * unit.Mbps},
	Framing: Framing{Overhead: 18, Mpu: 64},
}

// apply plans and carries out, and returns the plan.
func apply(t testing.TB, c *Conn, plan func(Setup, Found) Plan) Plan {
	t.Helper()
	f, err := c.Look(labSetup.Upload, labSetup.Download)
	if err != nil {
		t.Fatal(err)
	}
	p := plan(labSetup, f)
	if len(p.Problems) > 0 {
		t.Fatalf("problems: %v", p.Problems)
	}
	for _, s := range p.Steps {
		if err := c.Do(s); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A line is set and read in one exchange. One queue that is removed is told while the other goes on, and it is found again
// when it is back.
func TestLabExchange(t *testing.T) {
	site(t)
	c := lab(t)
	apply(t, c, PlanApply)
	l := labLine(t)
	ctx := context.Background()
	r, err := l.Exchange(ctx, nil)
	if err != nil || r.Applied() != labSetup.Rates || !r.HasWAN || r.Uptime <= 0 || r.At <= 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	want := link.Rates{Down: 20 * unit.Mbps, Up: 9 * unit.Mbps}
	if r, err = l.Exchange(ctx, &want); err != nil || r.Applied() != want {
		t.Fatalf("%+v, %v", r.Applied(), err)
	}
	want = link.Rates{Up: 4 * unit.Mbps}
	if r, err = l.Exchange(ctx, &want); err != nil || r.Applied() != (link.Rates{Down: 20 * unit.Mbps, Up: 4 * unit.Mbps}) {
		t.Fatalf("%+v, %v", r.Applied(), err)
	}
	send(t, provider, "192.0.2.1:9", 50, 1000)
	send(t, router, "192.0.2.2:9", 50, 1000)
	r2, err := l.Exchange(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r2.Down.Packets+r2.Down.QueuedPackets < 50 || r2.WANRx-r.WANRx < 50_000 || r2.WANTx == 0 || r2.Up.Packets+r2.Up.QueuedPackets < 50 {
		t.Errorf("counters did not move: down %d, up %d packets, interface %d and %d bytes", r2.Down.Packets, r2.Up.Packets, r2.WANRx, r2.WANTx)
	}
	if r2.Down.Cake.Tins.N != 3 || r2.At <= r.At {
		t.Errorf("got %+v", r2.Down.Cake)
	}

	tool(t, "tc -n "+router+" qdisc del dev wan root")
	want = link.Rates{Down: 10 * unit.Mbps, Up: 5 * unit.Mbps}
	r, err = l.Exchange(ctx, &want)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Gone || e.Read != (link.Pair[bool]{Down: true}) || r.Down.MaxLimit != want.Down {
		t.Errorf("removed: %v, %+v", err, r.Applied())
	}
	tool(t, "ip -n "+router+" link del dev ifb4wan")
	if _, err = l.Exchange(ctx, nil); !errors.As(err, &e) || e.Read != (link.Pair[bool]{}) || !strings.Contains(err.Error(), "ifb4wan") {
		t.Errorf("both gone: %v", err)
	}
	apply(t, c, PlanApply)
	if r, err = l.Exchange(ctx, &want); err != nil || r.Applied() != want {
		t.Errorf("back again: %+v, %v", r.Applied(), err)
	}
}

// A process without the capability is told its name, reads all the same, and changes nothing.
func TestLabWithoutTheCapability(t *testing.T) {
	site(t)
	apply(t, lab(t), PlanApply)
	got := make(chan error, 3)
	var applied link.Rates
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: its capabilities are gone
		l, err := OpenLine(LineOptions{Options: Options{NetNS: router}, Download: "ifb4wan", Upload: "wan"})
		if err != nil {
			got <- err
			return
		}
		defer l.Close()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			got <- err
			return
		}
		r, err := l.Exchange(context.Background(), nil)
		got <- err
		applied = r.Applied()
		_, err = l.Exchange(context.Background(), &link.Rates{Down: unit.Mbps, Up: unit.Mbps})
		got <- err
		got <- l.conn.Do(Step{Op: DelCake, Dev: "wan"})
	}()
	<-done
	if err := <-got; err != nil || applied != labSetup.Rates {
		t.Fatalf("reading: %v, %+v", err, applied)
	}
	for range 2 {
		if err := <-got; kindOfError(err) != Permission || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("changing: %v", err)
		}
	}
}

// The whole reading, through the kernel and back, allocates nothing.
func TestLabReadingAllocatesNothing(t *testing.T) {
	site(t)
	c := lab(t)
	apply(t, c, PlanApply)
	l := labLine(t)
	ctx := context.Background()
	var q Cake
	var i Interface
	for name, f := range map[string]func() error{
		"ReadCake":      func() error { return c.ReadCake("wan", &q) },
		"ReadInterface": func() error { return c.ReadInterface("wan", &i) },
		"Exchange":      func() error { _, err := l.Exchange(ctx, nil); return err },
	} {
		if n := testing.AllocsPerRun(500, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkLabExchange(b *testing.B) {
	site(b)
	apply(b, lab(b), PlanApply)
	l := labLine(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Exchange(context.Background(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// A question is bounded by its caller's time.
func TestLabPatience(t *testing.T) {
	site(t)
	l := labLine(t)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := l.Exchange(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
