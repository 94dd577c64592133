package filter

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

func TestAlphaAt(t *testing.T) {
	for _, c := range []struct {
		alpha  float64
		period time.Duration
		want   float64
	}{
		{0.2, Reference, 0.2},
		{0.02, Reference, 0.02},
		{0.015, Reference, 0.015},
		{0.2, time.Second, 0.105572809},
		{0.2, 50 * time.Millisecond, 0.005563057},
		{0.99, 50 * time.Millisecond, 0.108749062},
		{0.2, 4 * time.Second, 0.36},
		{1, 50 * time.Millisecond, 1},
		{2, time.Second, 1},
		{0, time.Second, 0},
		{-1, time.Second, 0},
		{math.NaN(), time.Second, 0},
		{0.2, 0, 0},
		{0.2, -time.Second, 0},
	} {
		if got := AlphaAt(c.alpha, c.period); got != c.want {
			t.Errorf("AlphaAt(%v, %v) = %v, want %v", c.alpha, c.period, got, c.want)
		}
	}
}

func TestCycles(t *testing.T) {
	for _, c := range []struct {
		n      int
		period time.Duration
		want   int
	}{
		{3, 2 * time.Second, 3},
		{5, 2 * time.Second, 5},
		{3, 50 * time.Millisecond, 120},
		{5, 50 * time.Millisecond, 200},
		{3, 7 * time.Second, 1},
		{3, 4 * time.Second, 2},
		{5, 60 * time.Second, 1},
		{1, 3 * time.Millisecond, 667},
		{0, time.Second, 0},
		{-2, time.Second, 0},
		{4, 0, 4},
	} {
		if got := Cycles(c.n, c.period); got != c.want {
			t.Errorf("Cycles(%d, %v) = %d, want %d", c.n, c.period, got, c.want)
		}
	}
}

// The same constant heard at a fast period ends where the slow one does: that is what AlphaAt is for.
// Fast loops have 10 s, slow ones five of their cycles.
func TestGap(t *testing.T) {
	for period, want := range map[time.Duration]time.Duration{
		50 * time.Millisecond: 10 * time.Second, 2 * time.Second: 10 * time.Second, time.Minute: 5 * time.Minute,
	} {
		if got := Gap(period); got != want {
			t.Errorf("Gap(%v) = %v, want %v", period, got, want)
		}
	}
}

func TestPropertyAlphaMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alpha := rapid.Float64Range(0.001, 1).Draw(t, "alpha")
		split := rapid.IntRange(1, 40).Draw(t, "samples per reference period")
		slow, fast := NewEWMA(alpha), NewEWMA(AlphaAt(alpha, Reference/time.Duration(split)))
		slow.Add(10)
		fast.Add(10)
		for range 20 {
			a := slow.Add(50)
			var b float64
			for range split {
				b = fast.Add(50)
			}
			if math.Abs(a-b) > 1e-4 {
				t.Fatalf("alpha %v in %d parts: %v, want %v", alpha, split, b, a)
			}
		}
	})
}

func TestEWMA(t *testing.T) {
	e := NewEWMA(0.25)
	if _, ok := e.Value(); ok {
		t.Error("an average without samples claims a value")
	}
	for i, c := range []struct{ in, want float64 }{
		{math.NaN(), 0},
		{8, 8},
		{16, 10},
		{math.Inf(1), 10},
		{math.NaN(), 10},
		{10, 10},
	} {
		if got := e.Add(c.in); got != c.want {
			t.Errorf("step %d: Add(%v) = %v, want %v", i, c.in, got, c.want)
		}
	}
	e.Set(math.NaN())
	if v, ok := e.Value(); !ok || v != 10 {
		t.Errorf("Set(NaN) left %v, %v; want 10", v, ok)
	}
	e.Set(4)
	e.SetAlpha(0.5)
	if got := e.Add(8); got != 6 {
		t.Errorf("after Set and SetAlpha: %v, want 6", got)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 3}, 3},
		{[]float64{1, 9, 3, 5}, 4},
		{[]float64{math.NaN(), 1, 2}, 1},
		{[]float64{math.MaxFloat64, math.MaxFloat64}, math.MaxFloat64},
	} {
		if got := Median(c.in); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestPropertyMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 150).Draw(t, "xs")
		before := slices.Clone(xs)
		got := Median(xs)
		if !slices.Equal(xs, before) {
			t.Fatal("the input was reordered")
		}
		below, above := 0, 0
		for _, x := range xs {
			if x < got {
				below++
			}
			if x > got {
				above++
			}
		}
		if below > len(xs)/2 || above > len(xs)/2 {
			t.Fatalf("%v has %d below and %d above of %d", got, below, above, len(xs))
		}
	})
}

func TestMinimum(t *testing.T) {
	at := func(d time.Duration) unit.Time { return unit.Time(0).Add(d) }
	m := NewMinimum(10*time.Second, 10)
	if _, ok := m.Min(at(0)); ok {
		t.Error("an empty window has a minimum")
	}
	m.Add(at(1*time.Second), 5)
	m.Add(at(3*time.Second), 9)
	m.Add(at(3500*time.Millisecond), 8)
	m.Add(at(2*time.Second), 7)
	m.Add(at(4*time.Second), math.NaN())
	m.Add(at(4*time.Second), math.Inf(-1))
	m.Add(-1, 1)
	for _, c := range []struct {
		now  time.Duration
		want float64
		ok   bool
	}{
		{500 * time.Millisecond, 0, false},
		{time.Second, 5, true},
		{4 * time.Second, 5, true},
		{11 * time.Second, 5, true},
		{12 * time.Second, 7, true},
		{13 * time.Second, 8, true},
		{14 * time.Second, 0, false},
	} {
		got, ok := m.Min(at(c.now))
		if got != c.want || ok != c.ok {
			t.Errorf("Min(%v) = %v, %v; want %v, %v", c.now, got, ok, c.want, c.ok)
		}
	}
	m.Add(at(40*time.Second), 6)
	m.Add(at(7*time.Second), 1) // shares the bucket of 40 s, 33 s before it
	if got, ok := m.Min(at(40 * time.Second)); !ok || got != 6 {
		t.Errorf("a sample from before the window entered it: %v, %v", got, ok)
	}
	m.Reset()
	if _, ok := m.Min(at(40 * time.Second)); ok {
		t.Error("Reset left a minimum")
	}
	NewMinimum(0, 0).Add(at(time.Hour), 1)
}

func TestPropertyMinimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window, bucketWidth = 600, 10 // seconds
		m := NewMinimum(window*time.Second, window/bucketWidth)
		var ats []int
		var xs []float64
		now := 0
		for range rapid.IntRange(1, 200).Draw(t, "samples") {
			now += rapid.IntRange(0, 60).Draw(t, "gap")
			x := rapid.Float64Range(0, 100).Draw(t, "x")
			m.Add(unit.Time(now)*unit.Time(time.Second), x)
			ats, xs = append(ats, now), append(xs, x)
			must, may := math.Inf(1), math.Inf(1) // inside the window; inside it or in its oldest bucket
			for i := range ats {
				if ats[i] > now-window {
					must = min(must, xs[i])
				}
				if ats[i] > now-window-bucketWidth {
					may = min(may, xs[i])
				}
			}
			got, ok := m.Min(unit.Time(now) * unit.Time(time.Second))
			if !ok || got > must || got < may {
				t.Fatalf("at %d s: %v, %v; want between %v and %v", now, got, ok, may, must)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	xs := []float64{5, 3, 9, 1, 7}
	e := NewEWMA(0.2)
	m := NewMinimum(10*time.Minute, 60)
	now := unit.Time(0)
	if n := testing.AllocsPerRun(200, func() {
		now = now.Add(time.Second)
		e.Add(Median(xs))
		m.Add(now, xs[0])
		m.Min(now)
	}); n != 0 {
		t.Errorf("%v allocations per sample, want 0", n)
	}
}

func BenchmarkMedian(b *testing.B) {
	b.ReportAllocs()
	xs := []float64{24.1, 28.3, 23.9}
	for b.Loop() {
		Median(xs)
	}
}

func BenchmarkEWMA(b *testing.B) {
	b.ReportAllocs()
	e := NewEWMA(0.2)
	for b.Loop() {
		e.Add(24)
	}
}

func BenchmarkMinimum(b *testing.B) {
	b.ReportAllocs()
	m := NewMinimum(10*time.Minute, 60)
	now := unit.Time(0)
	for b.Loop() {
		now = now.Add(50 * time.Millisecond)
		m.Add(now, 24)
		m.Min(now)
	}
}
