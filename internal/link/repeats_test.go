package link

import (
	"fmt"
	"testing"
	"time"

	"wanctl/internal/unit"
)

// What goes on for a day is said 28 times, and none is lost: what was held back is counted, at the next saying or at the end.
func TestRepeats(t *testing.T) {
	for _, every := range []time.Duration{50 * time.Millisecond, 2 * time.Second, time.Minute} {
		var r Repeats
		var told uint64
		var said []time.Duration
		now := unit.Time(0)
		came := uint64(0)
		for ; now < unit.Time(24*time.Hour); now = now.Add(every) {
			came++
			held, ok := r.Pass(now, "router_lost", fmt.Sprint(came))
			if ok {
				said = append(said, time.Duration(now))
				told += held + 1
			} else if held != 0 {
				t.Fatalf("%v: held back, yet %d are told of", time.Duration(now), held)
			}
			if over := r.Over(now); over != nil {
				t.Fatalf("%v: it goes on, and is over: %+v", time.Duration(now), over)
			}
		}
		if len(said) != 28 || said[0] != 0 || said[1] != max(time.Second, every) || said[len(said)-1]-said[len(said)-2] != time.Hour {
			t.Errorf("every %v: said %d times in a day: %v", every, len(said), said)
		}
		last := now.Add(-every)
		if over := r.Over(last.Add(quietAfter - 1)); over != nil {
			t.Errorf("every %v: over before its time: %+v", every, over)
		}
		over := r.Over(last.Add(quietAfter))
		if len(over) != 1 || over[0].Last != last || over[0].Text != fmt.Sprint(came) {
			t.Fatalf("every %v: at the end: %+v", every, over)
		}
		if told += over[0].Count; told != came {
			t.Errorf("every %v: %d of %d are accounted for", every, told, came)
		}
		if again := r.Over(last.Add(quietAfter)); again != nil {
			t.Errorf("every %v: told twice: %+v", every, again)
		}
		if _, ok := r.Pass(last.Add(forgetAfter-1), "router_lost", ""); !ok {
			t.Errorf("every %v: nothing for two hours, and not said", every)
		}
		if held, ok := r.Pass(last.Add(3*forgetAfter), "router_lost", ""); !ok || held != 0 {
			t.Errorf("every %v: a new row begins with %d, %t", every, held, ok)
		}
		if _, ok := r.Pass(last.Add(3*forgetAfter+pauses[0]), "router_lost", ""); !ok {
			t.Errorf("every %v: a new row has the pauses of the old", every)
		}
	}
}

// Kinds do not hold each other back, rows end in their order, and there are never too many.
func TestRepeatsOfSeveral(t *testing.T) {
	var r Repeats
	for i := range 3 * mostRepeats {
		kind := fmt.Sprint(i)
		if _, ok := r.Pass(unit.Time(i), kind, ""); !ok {
			t.Errorf("the first of kind %s is held back", kind)
		}
		if len(r.rows) > mostRepeats {
			t.Fatalf("%d rows", len(r.rows))
		}
	}
	now := unit.Time(3 * mostRepeats)
	for i := 3*mostRepeats - 1; i >= 2*mostRepeats; i-- { // the newest are remembered
		if _, ok := r.Pass(now, fmt.Sprint(i), fmt.Sprint(i)); ok {
			t.Errorf("kind %d was forgotten", i)
		}
		now++
	}
	over := r.Over(now.Add(quietAfter))
	if len(over) != mostRepeats || over[0].Text != fmt.Sprint(3*mostRepeats-1) || over[mostRepeats-1].Text != fmt.Sprint(2*mostRepeats) {
		t.Errorf("%d are over, in the wrong order", len(over))
	}
}
