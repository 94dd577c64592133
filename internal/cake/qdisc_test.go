package cake

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// message is the body of what f puts together after the netlink header.
func message(f func(*exchange)) []byte {
	x := newExchange(nil)
	x.begin(unix.RTM_NEWQDISC, 0)
	f(x)
	return x.out[nlHeader:]
}

// example is a CAKE qdisc with another value in each place.
func example() Cake {
	c := Cake{
		Qdisc: Qdisc{
			Index: 7, Handle: OurHandle, Parent: Root, Kind: kindCake, Offloaded: true, Bytes: 1 << 40, Packets: 1 << 33,
			Dropped: 3, Requeues: 4, Overlimits: 5, QueuedBytes: 6, QueuedPackets: 7,
		},
		Settings: Settings{
			Bandwidth: 38 * unit.Mbps, Diffserv: Precedence, Flow: DualSrcHost, Nat: true, RTT: 100_000, Target: 5000, Overhead: -4,
			Mpu: 64, Atm: PTM, Raw: true, Ingress: true, AckFilter: AggressiveAckFilter, SplitGSO: true, Wash: true, Autorate: true,
			Fwmark: 0xff00, Memory: 1 << 20,
		},
		Stats: Stats{
			Capacity: 40 * unit.Mbps, MemoryUsed: 11, MemoryLimit: 12, AvgOffset: 14, MinNet: 15, MaxNet: 16, MinAdjusted: 17, MaxAdjusted: 18,
			Tins: link.Tins{N: 2},
		},
	}
	for n := range c.Tins.N {
		f := int64(n+1) * 100
		c.Tins.Tin[n] = link.Tin{
			Threshold: unit.Rate(f) * unit.Mbps, Bytes: unit.Bytes(f + 1), Packets: f + 2, Dropped: f + 3, Marked: f + 4, AckDropped: f + 5,
			QueuedBytes: unit.Bytes(f + 6), Target: unit.Millis(f + 7), Interval: unit.Millis(f + 8), PeakDelay: unit.Millis(f + 9),
			AvgDelay: unit.Millis(f + 10), BaseDelay: unit.Millis(f + 11), SparseFlows: f + 12, BulkFlows: f + 13, UnresponsiveFlows: f + 14,
			WayHits: f + 15, WayMisses: f + 16, WayCollisions: f + 17, MaxPacket: unit.Bytes(f + 18), Quantum: unit.Bytes(f + 19),
		}
	}
	return c
}

// encode writes a qdisc as the kernel's cake_dump and cake_dump_stats do.
func encode(c Cake) []byte {
	return message(func(x *exchange) {
		x.tcmsg(c.Index, c.Handle, c.Parent, 2)
		x.settings(c.Settings, true)
		// What only the kernel writes, or what a set-up leaves to it, in a second list of options: both are read.
		n := x.open(tcaOptions)
		x.shut(n)
		x.bytes(tcaHWOffload, []byte{1})
		s := x.open(tcaStats2)
		app := x.open(statsApp)
		x.u64(statCapacity64, uint64(c.Capacity/8))
		for typ, v := range map[uint16]int64{
			statMemoryLimit: int64(c.MemoryLimit), statMemoryUsed: int64(c.MemoryUsed), statAvgNetoff: c.AvgOffset,
			statMinNetlen: c.MinNet, statMaxNetlen: c.MaxNet, statMinAdjlen: c.MinAdjusted, statMaxAdjlen: c.MaxAdjusted,
		} {
			x.u32(typ, uint32(v))
		}
		tins := x.open(statTins)
		for i, t := range c.Tins.Tin[:c.Tins.N] {
			tin := x.open(uint16(i + 1))
			x.u64(tinThreshold64, uint64(t.Threshold/8))
			x.u64(tinSentBytes64, uint64(t.Bytes))
			us := func(m unit.Millis) int64 { return int64(m * 1000) }
			for typ, v := range map[uint16]int64{
				tinSentPackets: t.Packets, tinDroppedPackets: t.Dropped, tinAckDropped: t.AckDropped, tinMarked: t.Marked,
				tinBacklogBytes: int64(t.QueuedBytes), tinTargetUS: us(t.Target), tinIntervalUS: us(t.Interval), tinPeakUS: us(t.PeakDelay),
				tinAvgUS: us(t.AvgDelay), tinBaseUS: us(t.BaseDelay), tinSparse: t.SparseFlows, tinBulk: t.BulkFlows,
				tinUnresponsive: t.UnresponsiveFlows, tinWayHits: t.WayHits, tinWayMisses: t.WayMisses, tinWayCollisions: t.WayCollisions,
				tinMaxLen: int64(t.MaxPacket), tinQuantum: int64(t.Quantum),
			} {
				x.u32(typ, uint32(v))
			}
			x.shut(tin)
		}
		x.shut(tins)
		x.shut(app)
		basic := make([]byte, 16)
		native.PutUint64(basic, uint64(c.Bytes))
		native.PutUint32(basic[8:], uint32(c.Packets))
		x.bytes(statsBasic, basic)
		x.u64(statsPkt64, uint64(c.Packets))
		queue := make([]byte, 20)
		for i, v := range []int64{c.QueuedPackets, int64(c.QueuedBytes), c.Dropped, c.Requeues, c.Overlimits} {
			native.PutUint32(queue[4*i:], uint32(v))
		}
		x.bytes(statsQueue, queue)
		x.shut(s)
	})
}

func TestDecodeCake(t *testing.T) {
	want := example()
	// settings leaves these to the kernel.
	want.Target, want.Autorate, want.Fwmark, want.Memory = 0, false, 0, 0
	var got Cake
	if err := decodeCake(encode(want), &got); err != nil {
		t.Fatal(err)
	}
	want.Settings = got.Settings
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got = Cake{}
	if err := decodeCake(message(func(x *exchange) {
		x.tcmsg(7, OurHandle, Root, 0)
		x.text(tcaKind, kindCake)
		n := x.open(tcaOptions)
		for typ := uint16(cakeDiffservMode); typ <= cakeFwmark; typ++ {
			x.u32(typ, 1)
		}
		x.u64(cakeBaseRate64, 1000)
		x.u32(cakeFwmark+1, 9) // of a kernel newer than this
		x.shut(n)
	}), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Settings{
		Bandwidth: 8000, Diffserv: Diffserv4, Flow: SrcHost, Nat: true, RTT: 1, Target: 1, Overhead: 1, Mpu: 1, Atm: ATM, Raw: true,
		Ingress: true, AckFilter: FilterAcks, SplitGSO: true, Wash: true, Autorate: true, Fwmark: 1, Memory: 1,
	}, got.Settings); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What is cut off anywhere is an error or a shorter truth, never a panic.
func TestDecodeCutOff(t *testing.T) {
	whole := encode(example())
	for n := range whole {
		var c Cake
		if err := decodeCake(whole[:n], &c); err != nil && !errors.Is(err, errReply) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	var c Cake
	if err := decodeCake(whole[:tcmsgLen-1], &c); !errors.Is(err, errReply) {
		t.Errorf("a head that is too short: %v", err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	b := encode(example())
	var c Cake
	var i Interface
	l := message(func(x *exchange) {
		x.ifinfo(3, 0, 0)
		x.text(unix.IFLA_IFNAME, "wan0")
		x.bytes(unix.IFLA_STATS64, make([]byte, 192))
	})
	if n := testing.AllocsPerRun(100, func() {
		if err := decodeCake(b, &c); err != nil {
			t.Fatal(err)
		}
		if err := i.decode(l, "wan0"); err != nil {
			t.Fatal(err)
		}
		_ = c.Queue()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecodeCake(b *testing.B) {
	m := encode(example())
	var c Cake
	b.ReportAllocs()
	for b.Loop() {
		if err := decodeCake(m, &c); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeCake(f *testing.F) {
	f.Add(encode(example()))
	f.Add(message(func(x *exchange) {
		x.tcmsg(2, matchallHandle, filterParent, OurPref<<16|protocolAll)
		x.redirect(3, ingressCookie)
	}))
	f.Add(message(func(x *exchange) { x.ifinfo(3, 0, 0); x.text(unix.IFLA_IFNAME, "wan0") }))
	files, _ := filepath.Glob("testdata/cake-*.hex")
	for _, name := range files {
		for _, m := range golden(f, filepath.Base(name)) {
			f.Add(m)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Cake
		if err := decodeCake(b, &c); err != nil && !errors.Is(err, errReply) {
			t.Errorf("cake: %v", err)
		}
		if c.Tins.N < 0 || c.Tins.N > link.MaxTins || c.Bandwidth < 0 || c.Bytes < 0 || c.Packets < 0 || c.Marked() < 0 {
			t.Errorf("impossible: %+v", c)
		}
		_ = c.String()
		if _, err := json.Marshal(c.Queue()); err != nil {
			t.Error(err)
		}
		var q Qdisc
		if err := decodeQdisc(b, &q); err != nil && !errors.Is(err, errReply) {
			t.Errorf("qdisc: %v", err)
		}
		if _, _, err := decodeFilter(b); err != nil && !errors.Is(err, errReply) {
			t.Errorf("filter: %v", err)
		}
		var i Interface
		if err := i.decode(b, "wan0"); err != nil && !errors.Is(err, errReply) {
			t.Errorf("interface: %v", err)
		}
		// The same bytes as a whole answer: it ends, whatever they are.
		x := exchange{seq: 1, got: b}
		for len(x.got) > 0 && !x.done {
			if _, ok := x.message(); !ok {
				break
			}
		}
	})
}

// A request that sets the rate, byte by byte: nothing but the rate is in it, and the handle keeps it from making a new one.
func TestSetRateBytes(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine")
	}
	x := newExchange(nil)
	x.rateRequest(5, OurHandle, 38*unit.Mbps)
	native.PutUint32(x.out, uint32(len(x.out)))
	want := "" +
		"40000000" + "2400" + "0500" + "01000000" + "00000000" + // length, RTM_NEWQDISC, REQUEST|ACK, sequence, port
		"00000000" + "05000000" + "00006177" + "ffffffff" + "00000000" + // struct tcmsg
		"0900" + "0100" + "63616b6500000000" + // TCA_KIND "cake"
		"1000" + "0200" + "0c00" + "0200" + "b07a480000000000" // TCA_OPTIONS { TCA_CAKE_BASE_RATE64: 4750000 }
	if got := hexOf(x.out); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// One recorded answer of each kind, as a kernel (6.12) gave it, decoded to what tc said beside it. The lab's test records
// them (see lab_test.go).
func TestDecodeCakeAsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/cake-*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, name := range files {
		var got Cake
		if err := decodeCake(golden(t, filepath.Base(name))[0], &got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(name, ".hex") + ".json"
		if *update {
			if err := os.WriteFile(want, append(text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(b), string(text)+"\n"); d != "" {
			t.Errorf("%s (-want +got):\n%s", want, d)
		}
	}
}
