package daemon

import (
	"sync"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

const (
	// lossWindow is over how many of steering's own probes loss is counted.
	lossWindow = 20
	// lossPatience is how long a probe may be under way before it counts as lost, short of its reply: a line that is full is
	// slow, not deaf.
	lossPatience = 3 * time.Second
	// mostSent bounds the probes that are remembered: the window, and what leaves within the patience.
	mostSent = 4 * lossWindow
)

// sentProbes remembers the newest probes of the primary and which of them were answered. It is safe for concurrent use: probes
// leave on the pinger's goroutine.
type sentProbes struct {
	mu  sync.Mutex
	all []sentProbe // oldest first
}

type sentProbe struct {
	at       unit.Time
	answered bool
}

// sent notes a probe that left.
func (s *sentProbes) sent(p link.Probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == mostSent {
		s.all = append(s.all[:0], s.all[1:]...)
	}
	s.all = append(s.all, sentProbe{at: p.Sent})
}

// heard notes replies. They are matched by when their probes left.
func (s *sentProbes) heard(replies []link.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range replies {
		for i := range s.all {
			if s.all[i].at == r.Sent {
				s.all[i].answered = true
			}
		}
	}
}

// loss is what became of the newest probes that have had time to be answered.
func (s *sentProbes) loss(now unit.Time) (l steer.Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0 && l.Probes < lossWindow; i-- {
		p := s.all[i]
		if !p.answered && now.Sub(p.at) < lossPatience {
			continue
		}
		l.Probes++
		if !p.answered {
			l.Lost++
		}
	}
	l.Known = l.Probes == lossWindow
	return l
}

// heard is a prober whose replies are counted on their way.
type heard struct {
	Prober
	by *sentProbes
}

func (h heard) Drain(dst []link.Reply) []link.Reply {
	n := len(dst)
	dst = h.Prober.Drain(dst)
	h.by.heard(dst[n:])
	return dst
}
