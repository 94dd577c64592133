// Package reflector decides which hosts to probe and to believe, and fuses their replies into one round-trip time with its
// age and its quorum.
package reflector

import (
	"math"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Limits of a reply's round trip and of a window's size.
const (
	// MaxRTT is the longest believable round trip, in milliseconds (10 s).
	MaxRTT unit.Millis = 10_000
	// MaxCount is the most replies kept per host.
	MaxCount = 64
	// MaxHosts is the most hosts of one window.
	MaxHosts = 64
	// leastAge and agePeriods bound a reply's age: 3 periods or 2 s, whichever is longer.
	leastAge   = 2 * time.Second
	agePeriods = 3
)

// Config describes one line's window.
type Config struct {
	// Hosts is the number of probed hosts; replies name them 0 to Hosts-1. At most [MaxHosts].
	Hosts int
	// Median fuses all hosts; without it only host 0 is believed.
	Median bool
	// Count is how many of a host's newest replies make its value: 1 to [MaxCount], 1 where it is less.
	Count int
	// Period is the control period; it sets how old a reply may be. 2 s where it is not positive.
	Period time.Duration
}

// HostState is what one host says by itself.
type HostState struct {
	// Host is its index in the configured list.
	Host int
	// OK is false when it has no reply in its window; every field below is then zero.
	OK bool
	// RTT is the median of its newest replies.
	RTT unit.Millis
	// At is when the newest of them was received.
	At unit.Time
	// Replies is how many entered the median.
	Replies int
}

// Window holds the newest replies of every host of a line. It is not safe for concurrent use.
type Window struct {
	cfg       Config
	age       time.Duration
	replies   []entry // Count places per host, oldest first
	used      []int   // places in use per host
	states    []HostState
	discarded uint64
}

type entry struct {
	at  unit.Time
	rtt float64
}

// New returns an empty window. Figures outside their bounds are brought to the nearer bound.
func New(c Config) *Window {
	c.Hosts = min(max(c.Hosts, 0), MaxHosts)
	c.Count = min(max(c.Count, 1), MaxCount)
	if c.Period <= 0 {
		c.Period = filter.Reference
	}
	return &Window{
		cfg:     c,
		age:     max(agePeriods*c.Period, leastAge),
		replies: make([]entry, c.Hosts*c.Count),
		used:    make([]int, c.Hosts),
		states:  make([]HostState, c.Hosts),
	}
}

// Add takes in one reply, in any order. A reply with an impossible round trip (NaN, ≤ 0, over 10 s), with times that
// contradict each other or from an unknown host is discarded and counted.
func (w *Window) Add(r link.Reply) {
	if math.IsNaN(float64(r.RTT)) || r.RTT <= 0 || r.RTT > MaxRTT || r.Host < 0 || r.Host >= w.cfg.Hosts || r.Received < r.Sent {
		w.discarded++
		return
	}
	n := w.used[r.Host]
	place := w.host(r.Host)
	if n == len(place) {
		if r.Received < place[0].at {
			return // older than everything kept
		}
		copy(place, place[1:])
		n--
	}
	i := n
	for ; i > 0 && place[i-1].at > r.Received; i-- {
		place[i] = place[i-1]
	}
	place[i] = entry{at: r.Received, rtt: float64(r.RTT)}
	w.used[r.Host] = n + 1
}

// host returns the places of one host.
func (w *Window) host(h int) []entry { return w.replies[h*w.cfg.Count : (h+1)*w.cfg.Count] }

// Fuse returns the line's round-trip time at now: per host the median of its newest Count replies that are no older
// than 3 periods or 2 s, whichever is longer; over the hosts their median, which is the mean for two. With three
// hosts or more, one liar cannot move it beyond what the others say. Replies stamped later than now are not
// believed and are discarded.
func (w *Window) Fuse(now unit.Time) link.RTT {
	var values [MaxHosts]float64
	var out link.RTT
	believed := w.cfg.Hosts
	if !w.cfg.Median {
		believed = min(believed, 1)
	}
	for h := range believed {
		s := w.state(h, now)
		if !s.OK {
			continue
		}
		values[out.Hosts] = float64(s.RTT)
		out.Hosts++
		out.At = max(out.At, s.At)
	}
	if out.Hosts == 0 {
		return link.RTT{}
	}
	out.OK = true
	out.Value = unit.Millis(filter.Median(values[:out.Hosts]))
	return out
}

// Hosts returns what each host says at now, in the configured order, whether or not it is believed. The slice is
// valid until the next call.
func (w *Window) Hosts(now unit.Time) []HostState {
	for h := range w.states {
		w.states[h] = w.state(h, now)
	}
	return w.states
}

// Discarded returns how many replies were not believed since the window was made.
func (w *Window) Discarded() uint64 { return w.discarded }

// MaxAge returns how old a reply may be to count.
func (w *Window) MaxAge() time.Duration { return w.age }

// state judges one host at now and forgets its replies from the future.
func (w *Window) state(h int, now unit.Time) HostState {
	place := w.host(h)
	n := w.used[h]
	for n > 0 && place[n-1].at > now {
		n--
		w.discarded++
	}
	w.used[h] = n
	var rtts [MaxCount]float64
	s := HostState{Host: h}
	for i := n - 1; i >= 0 && now.Sub(place[i].at) <= w.age; i-- {
		rtts[s.Replies] = place[i].rtt
		s.Replies++
	}
	if s.Replies == 0 {
		return s
	}
	s.OK, s.At = true, place[n-1].at
	s.RTT = unit.Millis(filter.Median(rtts[:s.Replies]))
	return s
}
