package state

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The earlier system's state as it lay on its hosts.
const earlierState = `{
  "download": {"green_streak": 7, "soft_red_streak": 2, "red_streak": 0, "current_rate": 640000000},
  "upload": {"green_streak": 9, "soft_red_streak": 4, "red_streak": 0, "current_rate": 20000000.0},
  "ewma": {"baseline_rtt": 24.25, "load_rtt": 25.5},
  "last_applied": {"dl_rate": 640000000, "ul_rate": 20000000},
  "timestamp": "2026-01-07T02:35:00.123456"
}`

func TestLearnt(t *testing.T) {
	got, err := ReadLearnt(strings.NewReader(earlierState))
	if err != nil {
		t.Fatal(err)
	}
	rates := link.Rates{Down: 640 * unit.Mbps, Up: 20 * unit.Mbps}
	want := Learnt{
		From: "the earlier system", Baseline: 24.25, Load: 25.5, Rates: rates, Applied: rates,
		Green: link.Pair[int]{Down: 7, Up: 9}, SoftRed: link.Pair[int]{Down: 2}, // an upload has no such state
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	w := got.WAN("Spectrum")
	var b bytes.Buffer
	if err := WriteWAN(&b, w); err != nil {
		t.Fatal(err)
	}
	back, err := ReadWAN(&b, "Spectrum")
	if err != nil {
		t.Fatal(err)
	}
	c := back.Controller
	if c.Baseline != 24.25 || c.Load != 25.5 || c.Sides.Down.Rate != rates.Down || c.Sides.Up.Green != 9 || c.Sides.Down.SoftRed != 2 || c.Period != learntPeriod {
		t.Errorf("%+v", c)
	}
	if back.Applied != rates || back.Actuator.Applied != rates || back.EWMA.BaselineRTT != 24.25 {
		t.Errorf("%+v", back)
	}
}

// What another version of wanctl kept is read by the places that never change, and what cannot be is left out or refused.
func TestLearntOfOthers(t *testing.T) {
	mine := aWAN()
	var b bytes.Buffer
	if err := WriteWAN(&b, mine); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(b.String(), `"schema": 1`, `"schema": 7`, 1)
	got, err := ReadLearnt(strings.NewReader(other))
	if err != nil || got.From != "wanctl, schema 7" || got.Baseline != mine.EWMA.BaselineRTT || got.Rates != mine.Applied {
		t.Errorf("%+v %v", got, err)
	}
	if n := SchemaOf([]byte(other)); n != 7 {
		t.Error(n)
	}
	for in, want := range map[string]int{"": 0, "{}": 0, `{"schema": -1}`: 0, `{"schema": "x"}`: 0, earlierState: 0} {
		if n := SchemaOf([]byte(in)); n != want {
			t.Errorf("%q: %d", in, n)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "a list": "[]", "no baseline": "{}", "a bad baseline": `{"ewma": {"baseline_rtt": -1}}`,
		"unknown": `{"ewma": {"baseline_rtt": NaN, "load_rtt": 3}}`, "huge": `{"ewma": {"baseline_rtt": 1e9}}`,
		"large": strings.Repeat(" ", MaxSize+1),
	} {
		if got, err := ReadLearnt(strings.NewReader(in)); !errors.Is(err, ErrCorrupt) || got != (Learnt{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if _, err := ReadLearnt(iotest.ErrReader(errors.New("disk on fire"))); err == nil || errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	got, err = ReadLearnt(strings.NewReader(`{"ewma": {"baseline_rtt": 20, "load_rtt": Infinity}, "download": {"current_rate": 1e30, "green_streak": -3}}`))
	if err != nil || got.Load != 20 || got.Rates.Down != 0 || got.Green.Down != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func FuzzReadLearnt(f *testing.F) {
	f.Add(earlierState)
	f.Add(`{"schema": 2, "ewma": {"baseline_rtt": 20}}`)
	f.Fuzz(func(t *testing.T, in string) {
		l, err := ReadLearnt(strings.NewReader(in))
		if err != nil {
			return
		}
		if !(l.Baseline > 0 && l.Load > 0) || l.Rates.Down < 0 || l.Rates.Up > unit.MaxRate {
			t.Errorf("%+v", l)
		}
		if err := WriteWAN(&bytes.Buffer{}, l.WAN("x")); err != nil {
			t.Error(err)
		}
	})
}
