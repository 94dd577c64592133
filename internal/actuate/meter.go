package actuate

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Shortest and longest time between two readings that still give a load: below 0.2 s the router's own clock and the
// round trip's jitter weigh too much, above 10 s a mean no longer says what the line carries now.
const (
	shortest = 200 * time.Millisecond
	longest  = 10 * time.Second
)

// longestInterval leaves room for counters that are read less often on purpose.
func longestInterval(cfg Config) time.Duration {
	if !cfg.Reads {
		return longest
	}
	return max(longest, 2*cfg.ReadEvery)
}

// meter turns cumulative byte counters into the rate carried. It takes the WAN interface's counters where both
// readings have them, because they also see what bypasses the queues, and the queues' otherwise.
type meter struct {
	longest time.Duration
	last    link.Report
	have    bool
	uptime  time.Duration // of the newest report, complete or not
	load    link.Load
}

// rebooted says whether the router's uptime went down since it was last asked. After that the load begins anew. A report
// that was cut before the uptime says nothing of it.
func (m *meter) rebooted(r link.Report) bool {
	if r.Uptime <= 0 {
		return false
	}
	down := r.Uptime < m.uptime
	m.uptime = r.Uptime
	m.have = m.have && !down
	return down
}

// add takes a reading. A counter that went down was reset: the load is unknown until the next reading.
func (m *meter) add(r link.Report) {
	if !m.have {
		m.load = link.Load{At: r.At}
		m.last, m.have = r, true
		return
	}
	d := r.At.Sub(m.last.At)
	if d < shortest {
		return // keep the older reading as the base
	}
	was, is := carried(m.last, r)
	m.last = r
	m.load = link.Load{At: r.At}
	if d > m.longest || is.Down < was.Down || is.Up < was.Up {
		return
	}
	m.load.Known = true
	m.load.Rates = link.Rates{Down: (is.Down - was.Down).Per(d), Up: (is.Up - was.Up).Per(d)}
}

func carried(a, b link.Report) (was, is link.Pair[unit.Bytes]) {
	if a.HasWAN && b.HasWAN {
		return link.Pair[unit.Bytes]{Down: a.WANRx, Up: a.WANTx}, link.Pair[unit.Bytes]{Down: b.WANRx, Up: b.WANTx}
	}
	return link.Pair[unit.Bytes]{Down: a.Down.Bytes, Up: a.Up.Bytes}, link.Pair[unit.Bytes]{Down: b.Down.Bytes, Up: b.Up.Bytes}
}
