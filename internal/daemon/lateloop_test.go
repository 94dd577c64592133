package daemon

import (
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// given hands up the same replies at each cycle, as if they had come in a moment ago.
type given struct {
	clock unit.Time
	rtts  []unit.Millis
}

func (g *given) Drain(dst []link.Reply) []link.Reply {
	for h, r := range g.rtts {
		dst = append(dst, link.Reply{Host: h, Sent: g.clock.Add(-r.Duration()), Received: g.clock, RTT: r})
	}
	return dst
}

// A cycle whose instant was taken long before its replies were fetched believes all of them, not only the slowest.
func TestALateCycleBelievesAllReflectors(t *testing.T) {
	t.Parallel()
	w, _ := newHostsWorld(t, someDialects[0])
	f, ds := w.parse(w.text)
	if f == nil {
		t.Fatal(ds)
	}
	at := unit.Time(time.Hour)
	g := &given{clock: at.Add(100 * time.Millisecond), rtts: []unit.Millis{28, 3000, 28}}
	wan, err := NewWAN(WANOptionsOf(f.WAN, false), g, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	wan.Tick(at)
	if d := wan.Decision(); d.State.Down != link.Green || d.RTT != 28 {
		t.Errorf("the decision is %+v, want GREEN at 28 ms", d)
	}
}
