package unit

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRateString(t *testing.T) {
	for r, want := range map[Rate]string{
		95 * Mbps: "95M", 5_500_000: "5.5M", 6 * Mbps: "6M", 0: "0M", 940 * Mbps: "940M",
		10_500_000: "10M", 11_500_000: "12M", // half to even
		9_950_000: "10M", 9_940_000: "9.9M", 250_000: "0.2M", 11_924_801: "12M",
		9_000_001: "9M", 100 * Gbps: "100000M",
	} {
		if got := r.String(); got != want {
			t.Errorf("%d bit/s prints %q, want %q", int64(r), got, want)
		}
	}
}

func TestFromMbps(t *testing.T) {
	for f, want := range map[float64]Rate{0: 0, 0.5: 500_000, 38: 38 * Mbps, 100000: MaxRate, 0.0000004: 0} {
		if got, err := FromMbps(f); err != nil || got != want {
			t.Errorf("FromMbps(%v) = %d, %v, want %d", f, int64(got), err, int64(want))
		}
	}
	for _, f := range []float64{-1, math.NaN(), math.Inf(1), 100001} {
		if got, err := FromMbps(f); err == nil {
			t.Errorf("FromMbps(%v) = %d, want an error", f, int64(got))
		}
	}
}

// The worked vector's cuts: floor at each step.
func TestScaleIsTheFloor(t *testing.T) {
	r := 940 * Mbps
	for range 4 {
		r = r.Scale(850_000)
	}
	if r != 490_685_875 {
		t.Errorf("940M cut four times is %d, want 490685875", int64(r))
	}
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.Int64().Draw(t, "rate")
		p := rapid.Int64().Draw(t, "ppm")
		want := new(big.Int)
		if r > 0 && p > 0 {
			want.Mul(big.NewInt(r), big.NewInt(p))
			want.Quo(want, big.NewInt(int64(One)))
		}
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := Rate(r).Scale(PPM(p)); int64(got) != want.Int64() {
			t.Fatalf("%d × %d ppm = %d, want %v", r, p, int64(got), want)
		}
	})
}

func TestBytesAndRatesAgree(t *testing.T) {
	if got := (100 * Mbps).Over(2 * time.Second); got != 25_000_000 {
		t.Errorf("100 Mbit/s for 2 s is %d bytes", got)
	}
	if got := Bytes(25_000_000).Per(2 * time.Second); got != 100*Mbps {
		t.Errorf("25 MB in 2 s is %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := Rate(rapid.Int64Min(0).Draw(t, "rate"))
		d := time.Duration(rapid.Int64Min(0).Draw(t, "for"))
		want := new(big.Int).Mul(big.NewInt(int64(r)), big.NewInt(int64(d)))
		want.Quo(want, big.NewInt(8e9))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := r.Over(d); int64(got) != want.Int64() {
			t.Fatalf("%d bit/s over %d ns = %d bytes, want %v", int64(r), int64(d), got, want)
		}
		b := Bytes(rapid.Int64Min(0).Draw(t, "bytes"))
		want.SetInt64(0)
		if d > 0 {
			want.Mul(big.NewInt(int64(b)), big.NewInt(8e9))
			want.Quo(want, big.NewInt(int64(d)))
		}
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := b.Per(d); int64(got) != want.Int64() {
			t.Fatalf("%d bytes per %d ns = %d bit/s, want %v", int64(b), int64(d), int64(got), want)
		}
	})
	if (-Mbps).Over(time.Second) != 0 || Bytes(-1).Per(time.Second) != 0 {
		t.Error("what is negative moved something")
	}
}

func TestFactors(t *testing.T) {
	if p, err := FromFactor(0.85); err != nil || p != 850_000 || p.Factor() != 0.85 || p.String() != "85%" {
		t.Errorf("0.85 is %d, %v, %s", int64(p), err, p)
	}
	if s := PPM(2500).String(); s != "0.25%" {
		t.Errorf("2500 ppm prints %q", s)
	}
	for _, f := range []float64{math.NaN(), math.Inf(-1), 2e6} {
		if _, err := FromFactor(f); err == nil {
			t.Errorf("the factor %v passed", f)
		}
	}
}

func TestShareOf(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        PPM
	}{{1, 4, 250_000}, {0, 4, 0}, {1, 0, 0}, {-1, 4, 0}, {math.MaxInt64, math.MaxInt64, One}, {math.MaxInt64, 1, math.MaxInt64}} {
		if got := ShareOf(c.part, c.whole); got != c.want {
			t.Errorf("ShareOf(%d, %d) = %d, want %d", c.part, c.whole, got, c.want)
		}
	}
}

func TestTimeAndMillis(t *testing.T) {
	at := Time(1_500_000_000)
	if got := at.Add(time.Second).Sub(at); got != time.Second || at.String() != "1.500s" {
		t.Errorf("%s and a second later are %s apart", at, got)
	}
	if m := ToMillis(28 * time.Millisecond); m != 28 || m.Duration() != 28*time.Millisecond || m.String() != "28.0ms" {
		t.Errorf("28 ms became %v", float64(m))
	}
	if s := Millis(-0.04).String(); s != "0.0ms" {
		t.Errorf("-0.04 ms prints %q", s)
	}
	if s := Millis(-0.5).String(); s != "-0.5ms" {
		t.Errorf("-0.5 ms prints %q", s)
	}
}
