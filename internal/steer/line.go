package steer

import (
	"strconv"

	"wanctl/internal/unit"
)

// Line returns the cycle's log line: "[SPECTRUM_GOOD] rtt=0.0ms ewma=0.1ms drops=0 q=0 | congestion=GREEN". rtt is
// the delta over the baseline, drops those since the last reading, q the depth as read. A figure that could not be
// measured is "?", never 0. Where there are several alternates, " to=ATT" says to whom.
func Line(d Decision) string {
	millis := func(known bool, m unit.Millis) string {
		if !known {
			return "?"
		}
		return m.String()
	}
	count := func(n int64) string {
		if !d.QueueKnown {
			return "?"
		}
		return strconv.FormatInt(n, 10)
	}
	to := ""
	if d.To != "" {
		to = " to=" + d.To
	}
	return "[" + d.Name + "] rtt=" + millis(d.Measured, d.Delta) + " ewma=" + millis(d.Averaged, d.EWMA) +
		" drops=" + count(d.Drops) + " q=" + count(d.Queue) + " | congestion=" + d.Congestion.String() + to
}
