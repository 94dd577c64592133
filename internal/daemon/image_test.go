package daemon

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/unit"
)

const trackingText = `wan_name: ATT
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring:
  policy: tracking
  download: {max_mbps: 95}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]
`

// used is a loop that has seen something.
func used(t testing.TB, text string, cycles int) *WAN {
	t.Helper()
	f, ds := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
	if f == nil {
		t.Fatal(ds)
	}
	src := &repeating{}
	w, err := NewWAN(WANOptionsOf(f.WAN, false), src, unit.Time(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := unit.Time(time.Hour)
	for range cycles {
		now = now.Add(50 * time.Millisecond)
		src.now = now
		_ = w.Wake(now)
		_ = w.Tick(now)
	}
	return w
}

// A loop that takes an image knows what the other knew, all of it; half an image is refused.
func TestImage(t *testing.T) {
	for _, text := range []string{attText, trackingText} {
		was := used(t, text, 200)
		layout, data := was.Image()
		is := used(t, text, 0)
		if err := is.SetImage(layout, data); err != nil {
			t.Fatal(err)
		}
		if _, again := is.Image(); !bytes.Equal(data, again) {
			t.Error("the image of the image is another one")
		}
		if d := is.Decision(); !d.Measured || d.RTT != was.Decision().RTT || d.Rates != was.Decision().Rates {
			t.Errorf("the decision is %+v", d)
		}
		if err := is.SetImage(layout+1, data); !errors.Is(err, ErrLayout) {
			t.Errorf("another layout: %v", err)
		}
		for n := 0; n < len(data); n += 1 + len(data)/500 {
			if err := used(t, text, 0).SetImage(layout, data[:n]); err == nil {
				t.Fatalf("%d of %d bytes were taken", n, len(data))
			}
		}
		if err := used(t, text, 0).SetImage(layout, append(bytes.Clone(data), 0)); err == nil {
			t.Error("a byte too many was taken")
		}
		other := attText
		if text == attText {
			other = trackingText
		}
		if err := used(t, other, 0).SetImage(layout, data); err == nil && other == attText {
			t.Error("an image of another policy was taken")
		}
		t.Logf("%d bytes", len(data))
	}
}

// What no image can hold does not get into the loop unseen.
func TestLayoutRefuses(t *testing.T) {
	type itself struct{ Next *itself }
	for _, bad := range []reflect.Type{reflect.TypeFor[struct{ M map[int]int }](), reflect.TypeFor[struct{ F func() }](), reflect.TypeFor[itself]()} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", bad)
				}
			}()
			layoutOf(bad)
		}()
	}
	if layoutOf(reflect.TypeFor[struct{ A, B int }]()) == layoutOf(reflect.TypeFor[struct{ A, C int }]()) {
		t.Error("two types have one layout")
	}
}

func FuzzImage(f *testing.F) {
	was := used(f, trackingText, 100)
	layout, data := was.Image()
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) { _ = used(t, trackingText, 0).SetImage(layout, b) })
}

func BenchmarkImage(b *testing.B) {
	w := used(b, trackingText, 1000)
	size := 0
	for b.Loop() {
		_, data := w.Image()
		size = len(data)
	}
	b.ReportMetric(float64(size), "bytes")
}
