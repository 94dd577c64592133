package shaper

import (
	"fmt"
	"testing"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The worked example of the four states, to the bit.
func TestWorkedVector(t *testing.T) {
	type row struct {
		sample      int
		load, delta string
		state       string
		down, up    unit.Rate
	}
	rows := []row{
		{3, "24.000", "0.000", "GREEN/GREEN", 940000000, 38000000},
		{4, "79.200", "55.200", "YELLOW/RED", 940000000, 34200000},
		{5, "123.360", "99.360", "RED/RED", 799000000, 30780000},
		{8, "209.560", "185.560", "RED/RED", 490685875, 22438620},
		{11, "119.007", "95.007", "RED/RED", 301342462, 16357753},
		{12, "100.006", "76.006", "YELLOW/RED", 350000000, 14721977},
		{14, "72.644", "48.644", "SOFT_RED/RED", 350000000, 11924801},
		{15, "", "", "YELLOW/YELLOW", 350000000, 11924801},
		{19, "39.940", "15.940", "YELLOW/YELLOW", 350000000, 11924801},
		{20, "36.752", "12.752", "GREEN/GREEN", 550000000, 11924801},
		{24, "29.223", "5.223", "GREEN/GREEN", 560000000, 12924801},
		{32, "24.876", "0.876", "GREEN/GREEN", 640000000, 20924801},
	}
	for _, action := range []SoftRedAction{Hold, Clamp} {
		t.Run(action.String(), func(t *testing.T) {
			c := spectrum()
			c.SoftRed = action
			d := start(t, c)
			next := 0
			for sample := 1; sample <= 32; sample++ {
				rtt := unit.Millis(24)
				if sample >= 4 && sample <= 8 {
					rtt = 300
				}
				got := d.feed(1, rtt, 0, 0)
				if rows[next].sample != sample {
					continue
				}
				want := rows[next]
				next++
				if sample == 14 && action == Clamp {
					want.down = 275000000
				}
				seen := row{
					sample, fmt.Sprintf("%.3f", float64(got.Load)), fmt.Sprintf("%.3f", float64(got.Delta)),
					got.State.Down.String() + "/" + got.State.Up.String(), got.Rates.Down, got.Rates.Up,
				}
				if want.load == "" {
					seen.load, seen.delta = "", ""
				}
				if seen != want {
					t.Errorf("sample %d:\n got %v\nwant %v", sample, seen, want)
				}
			}
			if next != len(rows) {
				t.Errorf("only %d of %d rows compared", next, len(rows))
			}
		})
	}
}

// The clamp is the example's only difference between the two actions.
func TestWorkedVectorDifference(t *testing.T) {
	c := spectrum()
	clamp := start(t, c)
	c.SoftRed = Hold
	hold := start(t, c)
	for sample := 1; sample <= 60; sample++ {
		rtt := unit.Millis(24)
		if sample >= 4 && sample <= 8 {
			rtt = 300
		}
		a, b := clamp.feed(1, rtt, 0, 0), hold.feed(1, rtt, 0, 0)
		if (a.Rates != b.Rates) != (sample == 14) {
			t.Errorf("sample %d: clamp %v, hold %v", sample, a.Rates, b.Rates)
		}
		if sample == 14 && a.Reason.Down != (link.Reason{Cause: link.CauseClamp, From: 350 * unit.Mbps, To: 275 * unit.Mbps}) {
			t.Errorf("sample 14: reason %+v", a.Reason.Down)
		}
	}
}
