package netsim

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/unit"
)

const (
	// maxTraceLines bounds a trace: 12 Mbit/s are a million lines in 1000 s, so this is 100 Mbit/s for 1200 s.
	maxTraceLines = 10_000_000
	// maxTraceMillis bounds a trace's length: a day.
	maxTraceMillis = 24 * 60 * 60 * 1000
)

// Trace is a recorded capacity in mahimahi's form: the milliseconds at which the link could deliver one 1500-byte
// packet. It repeats after its last timestamp.
type Trace struct {
	at     []int32
	period int64 // ms
}

// LoadMahimahi reads a mahimahi trace: one integer millisecond per line, never falling, several equal ones for several
// packets in that millisecond. Blank lines are skipped. Errors name the line.
func LoadMahimahi(r io.Reader) (*Trace, error) {
	t := &Trace{}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), 4096)
	line, last := 0, int64(0)
	for in.Scan() {
		line++
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return nil, fmt.Errorf("mahimahi trace, line %d: %.40q is not a whole number of milliseconds", line, text)
		case ms < 0 || ms > maxTraceMillis:
			return nil, fmt.Errorf("mahimahi trace, line %d: %d ms is outside 0 to %d", line, ms, maxTraceMillis)
		case ms < last:
			return nil, fmt.Errorf("mahimahi trace, line %d: %d ms after %d ms; timestamps must not fall", line, ms, last)
		case len(t.at) == maxTraceLines:
			return nil, fmt.Errorf("mahimahi trace, line %d: more than %d packets; cut the trace", line, maxTraceLines)
		}
		last = ms
		t.at = append(t.at, int32(ms))
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("mahimahi trace, line %d: %w", line+1, err)
	}
	if last == 0 {
		return nil, fmt.Errorf("mahimahi trace, line %d: no timestamp above 0 ms, so it has no length", max(line, 1))
	}
	t.period = last
	return t, nil
}

// Len returns the time after which the trace repeats.
func (t *Trace) Len() time.Duration { return time.Duration(t.period) * time.Millisecond }

// Mean returns the trace's mean rate.
func (t *Trace) Mean() unit.Rate { return (unit.Bytes(len(t.at)) * Packet).Per(t.Len()) }

// opportunities is the supply of a trace.
type opportunities struct{ trace *Trace }

// count returns how many packets could have left up to and including t.
func (o *opportunities) count(t int64) int64 {
	ms := t / int64(time.Millisecond)
	rounds, rest := ms/o.trace.period, int32(ms%o.trace.period)
	n := sort.Search(len(o.trace.at), func(i int) bool { return o.trace.at[i] > rest })
	return rounds*int64(len(o.trace.at)) + int64(n)
}

func (o *opportunities) bytes(from, to int64) float64 {
	return float64(Packet * (o.count(to) - o.count(from)))
}

// after waits for whole delivery opportunities; even a packet that meets an empty queue waits for its own.
func (o *opportunities) after(t int64, b, scale float64) int64 {
	if scale <= 0 {
		return t + horizon
	}
	need := int64(math.Ceil(max(b, 1) / Packet / scale))
	k := o.count(t) + need - 1
	n := int64(len(o.trace.at))
	ms := k/n*o.trace.period + int64(o.trace.at[k%n])
	return max(t, min(ms*int64(time.Millisecond), t+horizon))
}

func (o *opportunities) steady(int64) (rate float64, until int64, ok bool) { return 0, 0, false }
