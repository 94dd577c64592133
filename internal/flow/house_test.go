package flow_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/flow"
	"wanctl/internal/lab/flows"
	"wanctl/internal/unit"
)

// promises is a backend that watches a house: what it says of a connection must hold.
type promises struct {
	h      *flow.House
	p      flow.Policy
	now    unit.Time
	at     []flow.Placement
	target string
}

func (w *promises) Steer(alternate string) error {
	w.target = alternate
	w.h.Steer(alternate)
	return nil
}

func (w *promises) Wait(d time.Duration) error { w.now = w.now.Add(d); return nil }

func (w *promises) More(n int, k flow.Packet, moved int64) (string, error) {
	w.h.Seen(w.now, k, w.at[n], moved)
	return w.at[n].Line, nil
}

func (w *promises) Open(_ int, k flow.Packet) (string, error) {
	at := w.h.Place(w.now, k)
	w.at = append(w.at, at)
	return at.Line, w.check(k, at)
}

func (w *promises) check(k flow.Packet, at flow.Placement) error {
	bars := func(line string) bool {
		return slices.ContainsFunc(w.p.Overrides, func(o flow.Override) bool {
			on := o.Hosts.Net.IsValid() && o.Hosts.Net.Contains(k.From.Addr())
			for _, n := range w.p.Lists[o.Hosts.List] {
				on = on || n.Contains(k.From.Addr())
			}
			return o.Never && o.Line == line && on && (!o.To.IsValid() || o.To.Contains(k.To.Addr()))
		})
	}
	decided := at.Cause == flow.Inbound || at.Cause == flow.Probe || at.Line == ""
	class := w.p.Class(k)
	switch {
	case !decided && bars(at.Line) && !slices.ContainsFunc(w.p.Lines(), func(l string) bool { return !bars(l) }):
		// Whoever never takes any line takes the primary.
		if at.Line != w.p.Primary {
			return fmt.Errorf("all lines are barred, and %q is taken", at.Line)
		}
	case !decided && bars(at.Line):
		return fmt.Errorf("the barred line %q is taken (%v)", at.Line, at.Cause)
	case at.Cause == flow.Steered && (at.Line != w.target || class == nil || at.Class != class.Name || at.Heavy || k.Pickup):
		return fmt.Errorf("steered: %+v", at)
	case at.Cause == flow.Ordinary && at.Line != w.p.Primary:
		return fmt.Errorf("ordinary, and not on the primary: %+v", at)
	case at.Heavy && class != nil && !class.Light:
		return fmt.Errorf("heavy of the class %s", class.Name)
	case at.Cause == flow.Inbound && at.Line != k.In:
		return fmt.Errorf("in by %s, answered by %s", k.In, at.Line)
	case at.Cause == flow.Together && w.p.Idle == 0:
		return fmt.Errorf("together, and nothing is to be: %+v", at)
	}
	return nil
}

// Whatever happens in a house: no barred line is taken while another is not, only connections of a class that begin are
// steered, and the rest stays on the primary.
func TestPropertyAHouseKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := flows.Draw(t, flows.Options{})
		const begin = unit.Time(time.Hour)
		w := &promises{h: flow.NewHouse(s.Policy), p: s.Policy, now: begin}
		w.h.Hosts = rapid.Bool().Draw(t, "hosts")
		again := flow.NewHouse(s.Policy)
		again.Hosts = w.h.Hosts
		if err := flows.Play(s, again, w, begin); err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
	})
}
