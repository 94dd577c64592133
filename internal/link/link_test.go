package link

import (
	"testing"

	"wanctl/internal/unit"
)

func TestStatesRoundTrip(t *testing.T) {
	want := []string{"GREEN", "YELLOW", "SOFT_RED", "RED"}
	for s := Green; s <= Red; s++ {
		b, err := s.MarshalText()
		if err != nil || string(b) != want[s] {
			t.Errorf("state %d prints %q, %v, want %s", s, b, err, want[s])
		}
		var back State
		if err := back.UnmarshalText(b); err != nil || back != s {
			t.Errorf("%q reads as %v, %v", b, back, err)
		}
	}
	if len(want) != States {
		t.Errorf("States is %d", States)
	}
	var s State
	if s.UnmarshalText([]byte("green")) == nil {
		t.Error("a state in small letters passed")
	}
	if _, err := State(9).MarshalText(); err == nil || State(9).String() != "State(9)" {
		t.Errorf("state 9 prints %q", State(9))
	}
}

func TestCausesRoundTrip(t *testing.T) {
	for c := CauseStart; c <= CauseFollow; c++ {
		b, err := c.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Cause
		if err := back.UnmarshalText(b); err != nil || back != c {
			t.Errorf("%q reads as %v, %v, want %v", b, back, err, c)
		}
	}
	var c Cause
	if c.UnmarshalText([]byte("whim")) == nil || Cause(99).String() != "Cause(99)" {
		t.Error("an unknown cause passed")
	}
}

func TestPair(t *testing.T) {
	var r Rates
	r.Set(Down, 95*unit.Mbps)
	r.Set(Up, 18*unit.Mbps)
	if r.Get(Down) != 95*unit.Mbps || r.Get(Up) != 18*unit.Mbps || r.Down != 95*unit.Mbps || r.Up != 18*unit.Mbps {
		t.Errorf("the pair holds %v", r)
	}
}

func TestReportApplied(t *testing.T) {
	var r Report
	r.Down.MaxLimit, r.Up.MaxLimit = 95*unit.Mbps, 18*unit.Mbps
	if got := r.Applied(); got != (Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}) {
		t.Errorf("applied is %v", got)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Down.String(): "download", Up.String(): "upload", Direction(7).String(): "Direction(7)",
		Info.String(): "info", Warning.String(): "warning", Alert.String(): "alert", Level(7).String(): "Level(7)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
