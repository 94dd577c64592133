package shaper

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestRestoreClamps(t *testing.T) {
	d := start(t, spectrum())
	d.Restore(Snapshot{
		Now: boot, Period: 2 * time.Second, Baseline: 900, Load: 950,
		Sides: link.Pair[Side]{Down: Side{Rate: 5 * unit.Gbps}, Up: Side{Rate: unit.Kbps}},
	})
	d.must(t, "rates", d.Rates(), link.Rates{Down: 940 * unit.Mbps, Up: 8 * unit.Mbps})
	d.must(t, "baseline", d.Snapshot().Baseline, unit.Millis(500))
	d.must(t, "load", d.Snapshot().Load, unit.Millis(950))
}

// What cannot be true is discarded, and the controller keeps what it has.
func TestRestoreDiscardsNonsense(t *testing.T) {
	nan, far := unit.Millis(math.NaN()), unit.Time(math.MaxInt64)
	bad := Snapshot{
		Now: boot, Period: -1, Baseline: nan, Load: 30, RTT: -1,
		Sides: link.Pair[Side]{
			Down: Side{State: 9, Rate: -1, Green: -5, SoftRed: -5, Rest: -1, LastCut: far},
			Up:   Side{State: link.Red, Rate: 0, Green: math.MaxInt, SoftRed: math.MaxInt, Rest: math.MaxInt64, LastCut: math.MinInt64},
		},
		Path: Path{
			Seen: far, High: true, HighFor: -1, LastDip: far,
			Open:   &Block{Start: 5, End: 1, Min: 3},
			Blocks: []Block{{Start: -1, End: boot, Min: 3}, {Start: 1, End: far, Min: 3}, {Start: 1, End: 2, Min: 3}, {Start: 1, End: boot, Min: nan}},
			Dip:    &Dip{Start: far, Level: 30, Delta: 3, Hosts: 1},
		},
	}
	d := start(t, spectrum())
	d.Restore(bad)
	s := d.Snapshot()
	want := Snapshot{
		Now: boot, Period: 2 * time.Second, Baseline: 24, Load: 24,
		Sides: link.Pair[Side]{
			Down: Side{Rate: 940 * unit.Mbps},
			Up:   Side{State: link.Red, Rate: 38 * unit.Mbps, Green: maxStreak, SoftRed: maxStreak, Rest: math.MaxInt64 % stepScale},
		},
		Path: Path{High: true},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	for _, dip := range []Dip{
		{Start: 0, Level: 30, Delta: 3, Hosts: 1},
		{Start: 5, End: 3, Level: 30, Delta: 3, Hosts: 1},
		{Start: 5, End: far, Level: 30, Delta: 3, Hosts: 1},
		{Start: 5, Level: nan, Delta: 3, Hosts: 1},
		{Start: 5, Level: 30, Hosts: 1},
		{Start: 5, Level: 30, Delta: 3},
		{Start: 5, Level: 30, Delta: 3, Hosts: dipHosts + 1},
	} {
		bad.Path.Dip = &dip
		d.Restore(bad)
		if d.path.dip.phase != noDip {
			t.Errorf("an impossible dip was restored: %+v", dip)
		}
	}
	bad.Now = -7
	d.Restore(bad)
	if got := d.feed(1, 24, 0, 0); !got.Measured {
		t.Errorf("no step after an impossible snapshot: %+v", got)
	}
}

// An empty snapshot is a fresh start.
func TestRestoreEmpty(t *testing.T) {
	d := start(t, spectrum())
	d.Restore(Snapshot{})
	d.must(t, "rates", d.Rates(), link.Rates{Down: 940 * unit.Mbps, Up: 38 * unit.Mbps})
	d.must(t, "state", d.feed(1, 24, 0, 0).State.Down, link.Green)
}

// More blocks than there is room for: the newest are kept.
func TestRestoreManyBlocks(t *testing.T) {
	var s Snapshot
	s.Now = 1e6 * unit.Time(time.Second)
	for i := range 3 * blockRoom {
		at := unit.Time(i) * 10 * unit.Time(time.Second)
		s.Path.Blocks = append(s.Path.Blocks, Block{Start: at, End: at.Add(blockLeast), Min: 40})
	}
	d := start(t, spectrum())
	d.Restore(s)
	got := d.Snapshot().Path.Blocks
	if len(got) != blockRoom || got[blockRoom-1] != s.Path.Blocks[3*blockRoom-1] {
		t.Errorf("%d blocks, the last %+v", len(got), got[len(got)-1])
	}
}

// After a reboot the clock starts again: the first step keeps every age instead of waiting for the old clock.
func TestRestoreOfAnotherBoot(t *testing.T) {
	c := instant(50 * time.Millisecond)
	d := start(t, c)
	d.at = boot + unit.Time(time.Hour)
	d.feed(10, 24, 1, 0.1)
	d.feed(1, 124, 1, 0.1)
	old := d.Snapshot()

	e := start(t, c)
	e.Restore(old)
	e.at = boot
	got := e.feed(1, 124, 1, 0.1)
	if !got.Measured || got.Now != boot {
		t.Fatalf("the step after the reboot was ignored: %+v", got)
	}
	e.must(t, "the last cut is as young as it was", got.Reason.Up.Cause, link.CauseCutWait)
	e.must(t, "two seconds later", e.feed(40, 124, 1, 0.1).Reason.Up.Cause, link.CauseCut)
}

func TestRebase(t *testing.T) {
	s := Snapshot{
		Now: 1000, Sides: link.Pair[Side]{Down: Side{LastCut: 800}},
		Path: Path{
			Seen: 950, LastDip: 10, Open: &Block{Start: 940, End: 950, Min: 4}, Blocks: []Block{{Start: 600, End: 700, Min: 4}},
			Dip: &Dip{Start: 700, End: 710},
		},
	}
	want := Snapshot{
		Now: 500, Sides: link.Pair[Side]{Down: Side{LastCut: 300}},
		Path: Path{
			Seen: 450, LastDip: 1, Open: &Block{Start: 440, End: 450, Min: 4}, Blocks: []Block{{Start: 100, End: 200, Min: 4}},
			Dip: &Dip{Start: 200, End: 210},
		},
	}
	if diff := cmp.Diff(want, s.Rebase(500)); diff != "" {
		t.Errorf("rebased (-want +got):\n%s", diff)
	}
	if s.Path.Blocks[0].Start != 600 || s.Path.Open.Start != 940 || s.Path.Dip.Start != 700 {
		t.Errorf("the original was changed: %+v", s)
	}
}
