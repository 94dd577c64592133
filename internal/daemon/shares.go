package daemon

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// minutes is how far back shares are kept: 24 hours.
const minutes = 24 * 60

// shares counts the time spent in each state: since start, and by the minute for a day. Its size is fixed.
type shares struct {
	total link.Pair[[link.States]time.Duration]
	ring  [minutes]minuteShare
	last  unit.Time
}

type minuteShare struct {
	minute int64 // since boot; tells a slot of this day from one of yesterday
	ms     link.Pair[[link.States]uint16]
}

// longest is the longest time between two cycles that counts: the longest period with some lateness, and what a
// minuteShare can hold. Nobody measured in a longer gap.
const longest = 65 * time.Second

// add counts the time since the last call for the states that held during it.
func (s *shares) add(now unit.Time, st link.Pair[link.State]) {
	d := now.Sub(s.last)
	first := s.last == 0
	s.last = now
	if first || d <= 0 || d > longest {
		return
	}
	minute := int64(now) / int64(time.Minute)
	slot := &s.ring[minute%minutes]
	if slot.minute != minute {
		*slot = minuteShare{minute: minute}
	}
	ms := uint16(d.Milliseconds())
	s.total.Down[st.Down] += d
	s.total.Up[st.Up] += d
	slot.ms.Down[st.Down] = addCapped(slot.ms.Down[st.Down], ms)
	slot.ms.Up[st.Up] = addCapped(slot.ms.Up[st.Up], ms)
}

func addCapped(a, b uint16) uint16 {
	if a+b < a {
		return ^uint16(0)
	}
	return a + b
}

// since returns the shares of the last `window` (at most 24 h) as parts per million per state.
func (s *shares) since(now unit.Time, window time.Duration) link.Pair[[link.States]unit.PPM] {
	from := (int64(now) - int64(window)) / int64(time.Minute)
	var sum link.Pair[[link.States]time.Duration]
	for i := range s.ring {
		slot := &s.ring[i]
		if slot.minute <= from {
			continue
		}
		for st := range link.States {
			sum.Down[st] += time.Duration(slot.ms.Down[st]) * time.Millisecond
			sum.Up[st] += time.Duration(slot.ms.Up[st]) * time.Millisecond
		}
	}
	return sharesOf(sum)
}

// sharesOf turns times into shares of their sum.
func sharesOf(t link.Pair[[link.States]time.Duration]) link.Pair[[link.States]unit.PPM] {
	var out link.Pair[[link.States]unit.PPM]
	for _, d := range []link.Direction{link.Down, link.Up} {
		times, share := t.Get(d), out.Get(d)
		var sum time.Duration
		for _, v := range times {
			sum += v
		}
		for i, v := range times {
			share[i] = unit.ShareOf(int64(v), int64(sum))
		}
		out.Set(d, share)
	}
	return out
}
