package flows

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/flow"
	"wanctl/internal/unit"
)

// house is a backend that follows the rules by their meaning; its fields make it err.
type house struct {
	*flow.House
	now      unit.Time
	at       []flow.Placement
	moves    bool // a connection's later packets take the primary
	deaf     bool // steering is not heard of
	broken   bool
	connects int
}

func (h *house) Steer(alternate string) error {
	if !h.deaf {
		h.House.Steer(alternate)
	}
	return nil
}

func (h *house) Open(n int, k flow.Packet) (string, error) {
	if h.broken || n != h.connects {
		return "", errors.New("broken")
	}
	h.connects++
	h.at = append(h.at, h.Place(h.now, k))
	return h.at[n].Line, nil
}

func (h *house) More(n int, k flow.Packet, moved int64) (string, error) {
	h.Seen(h.now, k, h.at[n], moved)
	if h.moves {
		return Lines[0], nil
	}
	return h.at[n].Line, nil
}

func (h *house) Wait(d time.Duration) error { h.now = h.now.Add(d); return nil }

func play(s Story, hosts bool, change func(*house)) error {
	const begin = unit.Time(time.Hour)
	h := &house{House: flow.NewHouse(s.Policy), now: begin}
	h.Hosts = hosts
	change(h)
	want := flow.NewHouse(s.Policy)
	want.Hosts = hosts
	return Play(s, want, h, begin)
}

// A house agrees with itself, and what differs is found.
func TestPropertyWhatDiffersIsFound(t *testing.T) {
	found := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := Draw(t, Options{})
		for _, hosts := range []bool{false, true} {
			if err := play(s, hosts, func(*house) {}); err != nil {
				t.Fatalf("%v\n%s", err, s)
			}
		}
		for name, change := range map[string]func(*house){
			"moves": func(h *house) { h.moves = true }, "deaf": func(h *house) { h.deaf = true }, "broken": func(h *house) { h.broken = true },
		} {
			if play(s, false, change) != nil {
				found[name]++
			}
		}
	})
	for _, name := range []string{"moves", "deaf", "broken"} {
		if found[name] == 0 {
			t.Errorf("no story finds the backend that is %s", name)
		}
	}
}

// Each part of the rules decides now and then.
func TestStoriesReachEveryRule(t *testing.T) {
	seen := map[string]int{}
	for _, o := range []Options{{}, {NoInbound: true, NoPickups: true, NoHeavy: true, Waits: []time.Duration{time.Second}, Idle: []time.Duration{time.Minute}, Steps: 10}} {
		rapid.Check(t, func(t *rapid.T) {
			s := Draw(t, o)
			h, now := flow.NewHouse(s.Policy), unit.Time(time.Hour)
			var at []flow.Placement
			var packets []flow.Packet
			for _, st := range s.Steps {
				switch {
				case st.Wait > 0:
					now = now.Add(st.Wait)
				case st.Toggle:
					h.Steer(st.Target)
				case st.Again:
					h.Seen(now, packets[st.Connection], at[st.Connection], st.Moved)
				default:
					p := h.Place(now, st.Packet)
					at, packets = append(at, p), append(packets, st.Packet)
					seen[fmt.Sprintf("%s heavy=%t", p.Cause, p.Heavy)]++
				}
			}
		})
	}
	for _, want := range []string{
		"inbound heavy=false", "probe heavy=false", "other way heavy=false", "always heavy=false", "together heavy=false",
		"steered heavy=false", "barred heavy=false", "ordinary heavy=false", "ordinary heavy=true",
	} {
		if seen[want] == 0 {
			t.Errorf("never %s: %v", want, seen)
		}
	}
}

func TestAStoryIsTold(t *testing.T) {
	s := Story{
		Policy: flow.Policy{
			Primary: Lines[0], Alternates: Lines[1:2], Idle: time.Minute, Classes: []flow.Class{{Name: "voip", Light: true}},
			Overrides: []flow.Override{{Hosts: flow.Hosts{List: "kids"}, Line: Lines[1], Never: true}},
		},
		Steps: []Step{
			{Wait: time.Second},
			{Toggle: true, Target: Lines[1]},
			{Toggle: true},
			{Again: true, Connection: 3, Moved: 5},
			{Packet: flow.Packet{Protocol: flow.TCP, DSCP: 46, In: Lines[0], Pickup: true}},
		},
	}
	for _, want := range []string{
		"lines [Cable DSL], idle 1m0s", "class voip light=true", "override @kids never DSL", "  0 wait 1s", "  1 steer to DSL", "  2 steer no more",
		"  3 packet of connection 3 after 5 bytes", "  4 open tcp invalid AddrPort → invalid AddrPort dscp 46 in by Cable picked up",
	} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("%q is not in\n%s", want, s)
		}
	}
}
