package journal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "write the golden file anew, which only a new version of the format may need")

var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b unit.Millis) bool { return math.Float64bits(float64(a)) == math.Float64bits(float64(b)) }),
	cmp.Comparer(func(a, b error) bool { return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error()) }),
}

// file encodes records, a block after every few.
func file(t testing.TB, every int, records ...Record) []byte {
	t.Helper()
	var e Encoder
	var b []byte
	for i, r := range records {
		if err := e.Append(r); err != nil {
			t.Fatal(err)
		}
		if i%every == 0 {
			b = e.Seal(b)
		}
	}
	return e.Seal(b)
}

// read returns the records of a file, and why reading ended early.
func read(t testing.TB, b []byte) (all []Record, torn error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, r.Header())
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, r.Torn()
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := rec.(*Call); ok {
			rec = clone(c)
		}
		all = append(all, rec)
	}
}

func clone(c *Call) *Call {
	k := *c
	k.Replies, k.Probes = append([]link.Reply(nil), c.Replies...), append([]link.Probe(nil), c.Probes...)
	k.Counters, k.Notes = append([]link.Counters(nil), c.Counters...), append([]link.Note(nil), c.Notes...)
	return &k
}

func aHeader() *Header {
	return &Header{
		Program: "1.0", WAN: "ATT", Source: FromAutorate, Boot: "b", Run: 5, Segment: 2, Lost: 7, Midway: true,
		Now: 1_000_000_000, Wall: time.Date(2026, 1, 7, 2, 35, 0, 0, time.UTC), Reflectors: []string{"192.0.2.1", "192.0.2.2"},
		Config: "wan_name: \"ATT\"\n", DryRun: true, Burst: 2, Daily: 5000, State: []byte("{}"),
	}
}

// story is a file with every kind of record and field.
func story() []Record {
	h := aHeader()
	ms := func(n int64) unit.Time { return h.Now.Add(time.Duration(n) * time.Millisecond) }
	tick := &Call{Kind: Tick, Now: ms(50), Replies: []link.Reply{
		{Host: 0, Sent: ms(10), Received: ms(34), RTT: 24},
		{Host: 1, Sent: ms(11), Received: ms(40), RTT: 28.75, OneWay: true, Delay: link.Pair[unit.Millis]{Down: -3, Up: 31.75}, Clock: 4},
	}}
	tick.Decision = link.Decision{
		Now: ms(50), Measured: true, RTT: 26.375, Load: unit.Millis(math.Pi), Baseline: 24, Delta: 2.375,
		State:  link.Pair[link.State]{Down: link.SoftRed, Up: link.Red},
		Rates:  link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps},
		Reason: link.Pair[link.Reason]{Down: link.Reason{Cause: link.CauseCut, From: 100 * unit.Mbps, To: 95 * unit.Mbps}},
	}
	tick.Decision.Reason.Up = link.Reason{Cause: link.CauseHold, From: 18 * unit.Mbps, To: 18 * unit.Mbps}
	tick.Wanted = link.Rates{Down: 94 * unit.Mbps, Up: 18 * unit.Mbps}
	tick.HasOp, tick.Op = true, actuate.Op{ID: 1, Write: true, Want: link.Rates{Down: 94 * unit.Mbps}}
	tick.Wake = ms(60)
	tick.Notes = []link.Note{{Level: link.Warning, Key: "k", Text: "a sentence."}}

	deliver := &Call{Kind: Deliver, Now: ms(55), Jitter: 0.25, Output: Output{Wanted: tick.Wanted}}
	rep := link.Report{At: ms(53), Uptime: time.Hour, HasWAN: true, WANRx: 1000, WANTx: 2000}
	rep.Down = link.Queue{MaxLimit: 94 * unit.Mbps, Bytes: 10, Packets: 2, Dropped: 3, Marked: 1, QueuedBytes: 9, QueuedPackets: 1, Parent: "global"}
	rep.Up = link.Queue{MaxLimit: 18 * unit.Mbps, Bytes: 5}
	rep.Up.Cake = link.Cake{Capacity: 1, MemoryUsed: 2, MemoryLimit: 3, Tins: link.Tins{N: 2}}
	rep.Up.Cake.Tins.Tin[1] = link.Tin{Threshold: 8, Bytes: 7, Packets: 1, AvgDelay: 1.5, BaseDelay: 0.001, Quantum: 300, WayCollisions: 1}
	deliver.Result = actuate.Result{Op: tick.Op, Report: rep}

	failed := &Call{Kind: Deliver, Now: ms(60), Jitter: 0.5, Output: Output{Wanted: tick.Wanted}}
	failed.Result = actuate.Result{
		Op: actuate.Op{ID: 2}, Err: errors.New("no way"), Class: actuate.Unknown, Sent: true,
		Read: link.Pair[bool]{Up: true}, Report: link.Report{Unwritten: true, At: ms(60), Uptime: time.Minute},
	}

	wake := &Call{
		Kind: Wake, Now: ms(70), Probes: []link.Probe{{Host: 1, Sent: ms(65)}},
		Counters: []link.Counters{{At: ms(66), Rx: 100, Tx: 200}, {At: ms(70), Rx: 50, Tx: 300}},
		Output: Output{
			Wanted: link.Rates{Down: 90 * unit.Mbps, Up: 18 * unit.Mbps},
			Law: Law{
				Capacity: link.Rates{Down: 91 * unit.Mbps}, Cause: link.Pair[link.Cause]{Down: link.CauseCapacity},
				Queue: link.Pair[bool]{Down: true},
			},
		},
	}
	return []Record{
		h, &Image{Layout: 1 << 63, Data: []byte{1, 2, 3}}, tick, deliver, failed, wake, &Reconfigure{Now: ms(80), Config: "x: 1\n", DryRun: true, Burst: 1, Daily: 2, Reflectors: []string{"a"}},
		&Probes{Now: ms(81)}, &Router{Now: ms(82)}, &Yield{On: true}, &Yield{}, &Call{Kind: Wake, Now: ms(90), Output: wake.Output},
		&End{Now: ms(91), More: true, Why: "the segment is full"},
	}
}

func TestEveryRecordReadsAsWritten(t *testing.T) {
	for _, every := range []int{1, 3, 100} {
		want := story()
		got, torn := read(t, file(t, every, want...))
		if torn != nil {
			t.Fatal(torn)
		}
		if d := cmp.Diff(want, got, equal); d != "" {
			t.Errorf("a block every %d (-written +read):\n%s", every, d)
		}
	}
}

// The bytes of version 1 stay what they are: journals of users are to be read for years.
func TestGolden(t *testing.T) {
	const path = "testdata/version1.journal"
	b := file(t, 3, story()...)
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("version 1 is written as\n%q, the golden file has\n%q", b, golden)
	}
	got, torn := read(t, golden)
	if d := cmp.Diff(story(), got, equal); d != "" || torn != nil {
		t.Errorf("the golden file reads otherwise (%v):\n%s", torn, d)
	}
}

func anyCall(t *rapid.T, now unit.Time) *Call {
	i64 := func(name string) int64 { return rapid.Int64().Draw(t, name) }
	rate := func() unit.Rate { return unit.Rate(rapid.Int64Range(-1, 10_000_000_000).Draw(t, "rate")) }
	rates := func() link.Rates { return link.Rates{Down: rate(), Up: rate()} }
	ms := func() unit.Millis {
		if rapid.Bool().Draw(t, "whole") {
			return unit.ToMillis(time.Duration(rapid.Int64Range(-1e9, 1e12).Draw(t, "ns")))
		}
		return unit.Millis(rapid.Float64().Draw(t, "ms"))
	}
	cause := func() link.Cause { return link.Cause(rapid.IntRange(0, 255).Draw(t, "cause")) }
	at := func() unit.Time { return now.Add(time.Duration(rapid.Int64Range(-1e10, 1e10).Draw(t, "age"))) }
	c := &Call{Kind: CallKind(rapid.IntRange(0, 2).Draw(t, "kind")), Now: now}
	for range rapid.IntRange(0, 3).Draw(t, "replies") {
		r := link.Reply{Host: int(int32(i64("host"))), Sent: at(), Received: at(), RTT: ms(), OneWay: rapid.Bool().Draw(t, "one way")}
		if r.OneWay {
			r.Delay.Up, r.Delay.Down, r.Clock = ms(), ms(), uint32(i64("clock"))
		}
		c.Replies = append(c.Replies, r)
	}
	for range rapid.IntRange(0, 3).Draw(t, "probes") {
		c.Probes = append(c.Probes, link.Probe{Host: rapid.IntRange(0, 64).Draw(t, "host"), Sent: at()})
	}
	for range rapid.IntRange(0, 3).Draw(t, "counters") {
		c.Counters = append(c.Counters, link.Counters{At: at(), Rx: unit.Bytes(i64("rx")), Tx: unit.Bytes(i64("tx"))})
	}
	op := func() actuate.Op {
		o := actuate.Op{ID: rapid.Uint64Range(0, 1<<40).Draw(t, "id"), Write: rapid.Bool().Draw(t, "write")}
		if o.Write {
			o.Want = rates()
		}
		return o
	}
	if c.Kind == Deliver {
		queue := func() link.Queue {
			q := link.Queue{MaxLimit: rate(), Bytes: unit.Bytes(i64("bytes")), Packets: i64("packets"), Parent: rapid.StringN(0, 5, 20).Draw(t, "parent")}
			q.Cake.Tins.N = rapid.IntRange(0, link.MaxTins).Draw(t, "tins")
			for i := range q.Cake.Tins.N {
				q.Cake.Tins.Tin[i] = link.Tin{Bytes: unit.Bytes(i64("bytes")), AvgDelay: unit.ToMillis(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "ns")))}
			}
			return q
		}
		c.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		c.Result = actuate.Result{Op: op(), Sent: rapid.Bool().Draw(t, "sent"), Report: link.Report{
			At: at(), Uptime: time.Duration(i64("uptime")), Pair: link.Pair[link.Queue]{Down: queue(), Up: queue()},
			HasWAN: rapid.Bool().Draw(t, "wan"), Unwritten: rapid.Bool().Draw(t, "unwritten"),
		}}
		if c.Result.Report.HasWAN {
			c.Result.Report.WANRx, c.Result.Report.WANTx = unit.Bytes(i64("rx")), unit.Bytes(i64("tx"))
		}
		if rapid.Bool().Draw(t, "failed") {
			c.Result.Err, c.Result.Class = errors.New(rapid.String().Draw(t, "error")), actuate.ErrClass(rapid.IntRange(0, 4).Draw(t, "class"))
		}
	}
	if rapid.Bool().Draw(t, "outside") {
		c.Outside = link.Outside{Minute: rapid.IntRange(-1, 1440).Draw(t, "minute"), Blind: rapid.Bool().Draw(t, "blind")}
	}
	c.Wanted = rates()
	c.Law = Law{Capacity: rates(), Cause: link.Pair[link.Cause]{Down: cause(), Up: cause()}, Queue: link.Pair[bool]{Up: rapid.Bool().Draw(t, "queue")}}
	if c.Kind == Tick {
		c.Decision = link.Decision{
			Now: now, Measured: rapid.Bool().Draw(t, "measured"), RTT: ms(), Load: ms(), Baseline: ms(), Delta: ms(), Rates: rates(),
			State:  link.Pair[link.State]{Down: link.State(rapid.IntRange(0, 3).Draw(t, "state"))},
			Reason: link.Pair[link.Reason]{Down: link.Reason{Cause: cause(), From: rate(), To: rate()}},
		}
	}
	if c.HasOp = rapid.Bool().Draw(t, "op"); c.HasOp {
		c.Op = op()
	}
	if rapid.Bool().Draw(t, "wake") {
		c.Wake = at()
	}
	return c
}

// Whatever a loop takes in and gives out reads as it was written, to the bit.
func TestPropertyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := aHeader()
		want := []Record{h}
		var e Encoder
		if err := e.Append(h); err != nil {
			t.Fatal(err)
		}
		var b []byte
		now := h.Now
		for range rapid.IntRange(0, 8).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "gap")))
			c := anyCall(t, now)
			want = append(want, c)
			if err := e.Append(c); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "seal") {
				b = e.Seal(b)
			}
		}
		b = e.Seal(b)
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		got := []Record{r.Header()}
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, clone(rec.(*Call)))
		}
		if d := cmp.Diff(want, got, equal); d != "" || r.Torn() != nil {
			t.Fatalf("%v (-written +read):\n%s", r.Torn(), d)
		}
	})
}

// A file that is cut anywhere, or damaged anywhere, gives the records before that place and says that it is torn.
func TestTornAndDamagedFiles(t *testing.T) {
	want := story()
	whole := file(t, 1, want...)
	for n := range len(whole) {
		r, err := NewReader(bytes.NewReader(whole[:n]))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("cut after %d bytes: %v", n, err)
			}
			continue
		}
		got := 1
		for {
			if _, err := r.Next(); err != nil {
				break
			}
			got++
		}
		if got == len(want) {
			t.Fatalf("cut after %d of %d bytes: it has all its records", n, len(whole))
		}
		bent := bytes.Clone(whole)
		bent[n] ^= 0x40
		if r, err = NewReader(bytes.NewReader(bent)); err != nil {
			t.Fatalf("byte %d of %d, behind the header, changed: %v", n, len(whole), err)
		}
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, io.EOF) || r.Torn() == nil {
			t.Fatalf("byte %d changed: %v, torn %v", n, err, r.Torn())
		}
	}
}

func TestLaterVersions(t *testing.T) {
	whole := file(t, 100, story()...)
	later := bytes.Replace(whole, []byte("journal 1\n"), []byte("journal 2\n"), 1)
	if _, err := NewReader(bytes.NewReader(later)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "version 2, this wanctl reads up to 1: use a newer wanctl") {
		t.Errorf("version 2: %v", err)
	}
	for name, in := range map[string]string{
		"empty": "", "another": "hello\n", "no number": "wanctl journal x\n", "no header": "wanctl journal 1\n", "endless": strings.Repeat("x", 100),
	} {
		if _, err := NewReader(strings.NewReader(in)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(iotest.ErrReader(errors.New("disk on fire"))); err == nil || errors.Is(err, ErrFormat) {
		t.Errorf("a failing disk: %v", err)
	}
}

// unknown is a record of a version to come.
type unknown struct{ Probes }

func (*unknown) kind() recordKind { return 99 }

func TestUnknownRecordsAreSkipped(t *testing.T) {
	h := aHeader()
	b := file(t, 100, h, &unknown{}, &End{Now: h.Now})
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Next(); err != nil || rec.kind() != kindEnd || r.Skipped() != 1 {
		t.Errorf("%v, %v, %d skipped", rec, err, r.Skipped())
	}
}

func TestLimits(t *testing.T) {
	var e Encoder
	h := aHeader()
	h.State = make([]byte, MaxBlock)
	if err := e.Append(h); err == nil {
		t.Error("a header larger than a block was taken")
	}
	if b := e.Seal(nil); len(b) != 0 {
		t.Errorf("%d bytes of nothing", len(b))
	}
	if err := e.Append(aHeader()); err != nil {
		t.Fatal(err)
	}
	if err := e.Append(aHeader()); err == nil {
		t.Error("a header in the middle of a block was taken")
	}
	long := &Call{Kind: Wake, Output: Output{Notes: []link.Note{{Text: strings.Repeat("x", 2*MaxText)}}}}
	for range 100 {
		long.Notes = append(long.Notes, link.Note{})
	}
	if err := e.Append(long); err != nil {
		t.Fatal(err)
	}
	all, torn := read(t, e.Seal(nil))
	if c := all[1].(*Call); torn != nil || len(c.Notes) != maxNotes || len(c.Notes[0].Text) != MaxText {
		t.Errorf("%v, %d notes", torn, len(c.Notes))
	}
	if fmt.Sprint(Tick, Deliver, Wake, CallKind(3)) != "tick deliver wake CallKind(3)" {
		t.Error("the calls have other names")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(file(f, 3, story()...))
	f.Add(file(f, 100, story()...))
	f.Add([]byte("wanctl journal 1\n\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for n := 0; ; n++ {
			if _, err := r.Next(); err != nil {
				return
			}
			if n > len(b) {
				t.Fatal("more records than bytes")
			}
		}
	})
}

// FuzzCall goes behind the checksum, where a fuzzer cannot get by itself.
func FuzzCall(f *testing.F) {
	for _, r := range story() {
		var e Encoder
		_ = e.Append(r)
		f.Add(e.record.b[1:])
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		for kind := range recordKind(8) {
			j := &Reader{}
			_, _ = j.decode(kind, b)
			_, _ = j.decode(kind, b)
		}
	})
}

// busy is a reply's wake on a busy line, with the counters beside it.
func busy(c *Call, i int) {
	now := unit.Time(i) * 50_000_000
	*c = Call{
		Kind: Wake, Now: now,
		Replies:  append(c.Replies[:0], link.Reply{Host: i % 5, Sent: now - 24_123_456, Received: now - 123_456, RTT: 24, OneWay: true, Delay: link.Pair[unit.Millis]{Down: 11.5, Up: 12.5}, Clock: 1}),
		Probes:   append(c.Probes[:0], link.Probe{Host: i % 5, Sent: now - 1_000_000}),
		Counters: append(c.Counters[:0], link.Counters{At: now - 1_000_000, Rx: unit.Bytes(i) * 500_000, Tx: unit.Bytes(i) * 30_000}),
		Output:   Output{Wanted: link.Rates{Down: unit.Rate(90_000_000 + i*1000), Up: 18_000_000}, Wake: now + 60_000_000},
	}
}

func TestNoAllocations(t *testing.T) {
	var e Encoder
	if err := e.Append(aHeader()); err != nil {
		t.Fatal(err)
	}
	var c Call
	var b []byte
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		busy(&c, i)
		_ = e.Append(&c)
		if i++; i%64 == 0 {
			b = e.Seal(b[:0])
		}
	}); n != 0 {
		t.Errorf("%v allocations per record, want 0", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	var e Encoder
	_ = e.Append(aHeader())
	var c Call
	var block []byte
	i, size := 0, 0
	for b.Loop() {
		busy(&c, i)
		_ = e.Append(&c)
		if i++; i%64 == 0 {
			block = e.Seal(block[:0])
			size += len(block)
		}
	}
	b.ReportMetric(float64(size)/float64(i), "bytes/record")
}
