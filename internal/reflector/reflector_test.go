package reflector

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func ms(n int64) unit.Time { return unit.Time(n) * unit.Time(time.Millisecond) }

// got is a reply of host h with the given round trip, received at the given millisecond.
func got(h int, at int64, rtt unit.Millis) link.Reply {
	r := link.Reply{Host: h, Received: ms(at), RTT: rtt}
	r.Sent = r.Received
	if rtt > 0 && rtt <= MaxRTT {
		r.Sent = r.Received.Add(-rtt.Duration())
	}
	return r
}

func TestFuse(t *testing.T) {
	three := Config{Hosts: 3, Median: true, Count: 3, Period: 2 * time.Second}
	fast := Config{Hosts: 3, Median: true, Count: 1, Period: 50 * time.Millisecond}
	first := Config{Hosts: 3, Count: 3, Period: 2 * time.Second}
	for _, c := range []struct {
		name    string
		cfg     Config
		replies []link.Reply
		now     int64
		want    link.RTT
	}{
		{"nothing heard", three, nil, 10_000, link.RTT{}},
		{
			"median of the newest three, then of the hosts", three,
			[]link.Reply{
				got(0, 9000, 500), got(0, 9100, 20), got(0, 9200, 22), got(0, 9300, 90),
				got(1, 9150, 30), got(2, 9250, 40),
			},
			10_000,
			link.RTT{OK: true, Value: 30, At: ms(9300), Hosts: 3},
		},
		{
			"any order", three,
			[]link.Reply{got(0, 9300, 90), got(0, 9100, 20), got(0, 9200, 22), got(0, 9000, 500)},
			10_000,
			link.RTT{OK: true, Value: 22, At: ms(9300), Hosts: 1},
		},
		{
			"two replies: their mean", three,
			[]link.Reply{got(0, 9000, 20), got(0, 9500, 30)},
			10_000,
			link.RTT{OK: true, Value: 25, At: ms(9500), Hosts: 1},
		},
		{
			"two hosts: their mean", three,
			[]link.Reply{got(0, 9000, 20), got(2, 9500, 30)},
			10_000,
			link.RTT{OK: true, Value: 25, At: ms(9500), Hosts: 2},
		},
		{
			"six seconds at 2 s cycles: still in", three,
			[]link.Reply{got(0, 4000, 20)},
			10_000,
			link.RTT{OK: true, Value: 20, At: ms(4000), Hosts: 1},
		},
		{"a moment older: out", three, []link.Reply{got(0, 3999, 20)}, 10_000, link.RTT{}},
		{
			"two seconds at 50 ms cycles: still in", fast,
			[]link.Reply{got(1, 8000, 20)},
			10_000,
			link.RTT{OK: true, Value: 20, At: ms(8000), Hosts: 1},
		},
		{"a moment older at 50 ms: out", fast, []link.Reply{got(1, 7999, 20)}, 10_000, link.RTT{}},
		{
			"an old reply makes no place for itself", three,
			[]link.Reply{got(0, 9000, 20), got(0, 9001, 20), got(0, 9002, 20), got(0, 8000, 900)},
			10_000,
			link.RTT{OK: true, Value: 20, At: ms(9002), Hosts: 1},
		},
		{
			"without the median only the first host is believed", first,
			[]link.Reply{got(0, 9000, 20), got(1, 9500, 90), got(2, 9600, 95)},
			10_000,
			link.RTT{OK: true, Value: 20, At: ms(9000), Hosts: 1},
		},
		{"without the median the others do not stand in", first, []link.Reply{got(1, 9500, 90)}, 10_000, link.RTT{}},
		{
			"a reply from the future is not believed", three,
			[]link.Reply{got(0, 9000, 20), got(0, 10_001, 90)},
			10_000,
			link.RTT{OK: true, Value: 20, At: ms(9000), Hosts: 1},
		},
		{"no hosts at all", Config{}, []link.Reply{got(0, 9000, 20)}, 10_000, link.RTT{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := New(c.cfg)
			for _, r := range c.replies {
				w.Add(r)
			}
			if diff := cmp.Diff(c.want, w.Fuse(ms(c.now))); diff != "" {
				t.Errorf("fused figure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddDiscards(t *testing.T) {
	w := New(Config{Hosts: 2, Median: true, Count: 3})
	backwards := got(0, 1000, 20)
	backwards.Sent = backwards.Received + 1
	bad := []link.Reply{
		got(0, 1000, unit.Millis(math.NaN())), got(0, 1000, 0), got(0, 1000, -5), got(0, 1000, 10_000.1),
		got(0, 1000, unit.Millis(math.Inf(1))), got(-1, 1000, 20), got(2, 1000, 20), backwards,
	}
	for _, r := range bad {
		w.Add(r)
	}
	if w.Discarded() != uint64(len(bad)) {
		t.Errorf("%d discarded, want %d", w.Discarded(), len(bad))
	}
	if f := w.Fuse(ms(1000)); f.OK {
		t.Errorf("discarded replies made a figure: %+v", f)
	}
	w.Add(got(0, 11_000, 10_000))
	if f := w.Fuse(ms(11_000)); !f.OK || f.Value != 10_000 {
		t.Errorf("10 s exactly is still believable, got %+v", f)
	}
	w.Add(got(1, 99_000, 20))
	w.Fuse(ms(11_000))
	if w.Discarded() != uint64(len(bad))+1 {
		t.Errorf("a reply from the future was not counted: %d", w.Discarded())
	}
}

func TestHosts(t *testing.T) {
	w := New(Config{Hosts: 3, Count: 3, Period: time.Second})
	w.Add(got(0, 9000, 20))
	w.Add(got(0, 9900, 24))
	w.Add(got(2, 5000, 50))
	want := []HostState{{Host: 0, OK: true, RTT: 22, At: ms(9900), Replies: 2}, {Host: 1}, {Host: 2}}
	if diff := cmp.Diff(want, w.Hosts(ms(10_000))); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if w.MaxAge() != 3*time.Second {
		t.Errorf("MaxAge = %v, want 3s", w.MaxAge())
	}
}

func TestNewBounds(t *testing.T) {
	w := New(Config{Hosts: 1000, Count: 1000, Median: true, Period: -1})
	if len(w.used) != MaxHosts || w.cfg.Count != MaxCount || w.MaxAge() != 6*time.Second {
		t.Errorf("hosts %d, count %d, age %v", len(w.used), w.cfg.Count, w.MaxAge())
	}
	for h := range MaxHosts {
		for i := range int64(MaxCount + 5) {
			w.Add(got(h, 1000+i, 20))
		}
	}
	if f := w.Fuse(ms(2000)); f.Hosts != MaxHosts || f.Value != 20 {
		t.Errorf("a full window: %+v", f)
	}
}

// One liar among three hosts, whatever it says and whenever it answers, never moves the figure beyond the other two.
func TestPropertyOneLiarOfThree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 5).Draw(t, "ping_count")
		w := New(Config{Hosts: 3, Median: true, Count: count, Period: 2 * time.Second})
		liar := rapid.IntRange(0, 2).Draw(t, "liar")
		low, high := math.Inf(1), math.Inf(-1)
		now := int64(20_000)
		for range rapid.IntRange(10, 60).Draw(t, "replies") {
			h := rapid.IntRange(0, 2).Draw(t, "host")
			rtt := rapid.Float64Range(20, 60).Draw(t, "rtt")
			if h == liar {
				rtt = rapid.Float64Range(0.01, 9999).Draw(t, "lie")
			} else {
				low, high = min(low, rtt), max(high, rtt)
			}
			now += rapid.Int64Range(0, 300).Draw(t, "gap")
			w.Add(got(h, now, unit.Millis(rtt)))
		}
		f := w.Fuse(ms(now))
		if f.Hosts < 3 {
			t.Skip("a host is silent")
		}
		if v := float64(f.Value); v < low || v > high {
			t.Fatalf("the liar moved the figure to %v; the honest hosts said %v to %v", v, low, high)
		}
	})
}

// The order in which replies arrive does not matter.
func TestPropertyOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "replies")
		sorted := make([]link.Reply, n)
		for i := range sorted {
			sorted[i] = got(rapid.IntRange(0, 3).Draw(t, "host"), int64(10_000+100*i), unit.Millis(rapid.Float64Range(1, 500).Draw(t, "rtt")))
		}
		shuffled := rapid.Permutation(slices.Clone(sorted)).Draw(t, "order")
		c := Config{Hosts: 4, Median: true, Count: 3, Period: time.Second}
		a, b := New(c), New(c)
		for i := range sorted {
			a.Add(sorted[i])
			b.Add(shuffled[i])
		}
		now := ms(int64(10_000 + 100*n))
		if diff := cmp.Diff(a.Fuse(now), b.Fuse(now)); diff != "" {
			t.Fatalf("order changed the figure:\n%s", diff)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	w := New(Config{Hosts: 3, Median: true, Count: 3, Period: 2 * time.Second})
	at := int64(1000)
	if n := testing.AllocsPerRun(500, func() {
		at += 50
		for h := range 3 {
			w.Add(got(h, at, 24))
		}
		w.Fuse(ms(at))
		w.Hosts(ms(at))
	}); n != 0 {
		t.Errorf("%v allocations per cycle, want 0", n)
	}
}

func BenchmarkAddFuse(b *testing.B) {
	b.ReportAllocs()
	w := New(Config{Hosts: 3, Median: true, Count: 3, Period: 2 * time.Second})
	at := int64(1000)
	for b.Loop() {
		at += 50
		for h := range 3 {
			w.Add(got(h, at, 24))
		}
		w.Fuse(ms(at))
	}
}
