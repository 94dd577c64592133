package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"wanctl/internal/unit"
)

// The first lines of the series.
const (
	probesHeader   = "class,link,dir,t_s,delay_ms"
	queuesHeader   = "t_s,link,dir,place,rate_bps,bytes,packets,backlog_bytes,backlog_packets,drops,marks"
	capacityHeader = "t_s,link,dir,rate_bps,lag_ms"
	flowsHeader    = "t_s,flow,link,dir,bytes"
	statesHeader   = "t_s,link,state_down,state_up,rtt_ms,baseline_ms,rate_down_bps,rate_up_bps"
)

// flushAt is how many bytes a writer collects. Small enough that a machine that dies takes little with it.
const flushAt = 32 << 10

// Writer writes one series, row by row. Several goroutines may use it. It hands on whole lines only, so that several
// programs may append to one file, and a row costs no allocation.
type Writer[T any] struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	row func([]byte, T) []byte
	err error
}

// NewProbeWriter writes [ProbesFile]. Rows need not be in order: a lost probe is known late.
func NewProbeWriter(w io.Writer) *Writer[Probe] { return newWriter(w, probesHeader, appendProbe) }

// NewQueueWriter writes [QueuesFile].
func NewQueueWriter(w io.Writer) *Writer[Queue] { return newWriter(w, queuesHeader, appendQueue) }

// NewCapacityWriter writes [CapacityFile].
func NewCapacityWriter(w io.Writer) *Writer[Capacity] {
	return newWriter(w, capacityHeader, appendCapacity)
}

// NewFlowWriter writes [FlowsFile].
func NewFlowWriter(w io.Writer) *Writer[Flow] { return newWriter(w, flowsHeader, appendFlow) }

// NewStateWriter writes [StatesFile].
func NewStateWriter(w io.Writer) *Writer[State] { return newWriter(w, statesHeader, appendState) }

func newWriter[T any](w io.Writer, header string, row func([]byte, T) []byte) *Writer[T] {
	buf := make([]byte, 0, flushAt+1024)
	buf = append(buf, header...)
	return &Writer[T]{w: w, buf: append(buf, '\n'), row: row}
}

// Write adds a row. After a failed write to the file it fails for ever: a series with a hole is worse than a short one.
func (w *Writer[T]) Write(v T) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.buf = append(w.row(w.buf, v), '\n')
	if len(w.buf) < flushAt {
		return nil
	}
	return w.flush()
}

// Flush hands on what was collected.
func (w *Writer[T]) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.flush()
}

func (w *Writer[T]) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.w.Write(w.buf); err != nil {
		w.err = fmt.Errorf("write a series of the run: %w", err)
	}
	w.buf = w.buf[:0]
	return w.err
}

// Recorder writes all series of a run's directory.
type Recorder struct {
	Probes   *Writer[Probe]
	Queues   *Writer[Queue]
	Capacity *Writer[Capacity]
	Flows    *Writer[Flow]
	States   *Writer[State]
	files    []*os.File
}

// Create opens the series in dir. Files that are there are appended to: several recorders may share a directory.
func Create(dir string) (*Recorder, error) {
	r := &Recorder{}
	for _, name := range []string{ProbesFile, QueuesFile, CapacityFile, FlowsFile, StatesFile} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			for _, f := range r.files {
				f.Close()
			}
			return nil, fmt.Errorf("open the record of the run (is %s a directory with room?): %w", dir, err)
		}
		r.files = append(r.files, f)
	}
	r.Probes = NewProbeWriter(r.files[0])
	r.Queues = NewQueueWriter(r.files[1])
	r.Capacity = NewCapacityWriter(r.files[2])
	r.Flows = NewFlowWriter(r.files[3])
	r.States = NewStateWriter(r.files[4])
	return r, nil
}

// Flush hands on what was collected in all series.
func (r *Recorder) Flush() error {
	return errors.Join(r.Probes.Flush(), r.Queues.Flush(), r.Capacity.Flush(), r.Flows.Flush(), r.States.Flush())
}

// Close flushes and closes the files.
func (r *Recorder) Close() error {
	err := r.Flush()
	for _, f := range r.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// appendSeconds writes an instant to the microsecond: probes are 5 ms apart, commands some 100 µs.
func appendSeconds(b []byte, s float64) []byte { return strconv.AppendFloat(b, s, 'f', 6, 64) }

// appendMillis writes a delay to 0.1 µs.
func appendMillis(b []byte, m unit.Millis) []byte {
	return strconv.AppendFloat(b, float64(m), 'f', 4, 64)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(append(b, ','), n, 10) }

func appendProbe(b []byte, p Probe) []byte {
	if p.ICMP {
		b = appendInt(append(b, "icmp"...), int64(p.Link))
		b = append(b, ',')
	} else {
		b = appendInt(append(b, "udp"...), int64(p.Link))
		b = append(append(b, ','), p.Dir.String()...)
	}
	b = append(appendSeconds(append(b, ','), p.At), ',')
	if p.Lost {
		return b
	}
	return appendMillis(b, p.Delay)
}

func appendQueue(b []byte, q Queue) []byte {
	b = appendInt(appendSeconds(b, q.At), int64(q.Link))
	b = append(append(b, ','), q.Dir.String()...)
	if q.Line {
		b = append(b, ",line"...)
	} else {
		b = append(b, ",shaper"...)
	}
	b = appendInt(b, int64(q.MaxLimit))
	b = appendInt(b, int64(q.Bytes))
	b = appendInt(b, q.Packets)
	b = appendInt(b, int64(q.QueuedBytes))
	b = appendInt(b, q.QueuedPackets)
	b = appendInt(b, q.Dropped)
	return appendInt(b, q.Marked)
}

func appendCapacity(b []byte, c Capacity) []byte {
	b = appendInt(appendSeconds(b, c.At), int64(c.Link))
	b = append(append(b, ','), c.Dir.String()...)
	b = append(appendInt(b, int64(c.Rate)), ',')
	return appendMillis(b, c.Lag)
}

func appendFlow(b []byte, f Flow) []byte {
	b = appendInt(appendInt(appendSeconds(b, f.At), int64(f.Flow)), int64(f.Link))
	b = append(append(b, ','), f.Dir.String()...)
	return appendInt(b, int64(f.Bytes))
}

func appendState(b []byte, s State) []byte {
	b = appendInt(appendSeconds(b, s.At), int64(s.Link))
	b = append(append(b, ','), s.State.Down.String()...)
	b = append(append(b, ','), s.State.Up.String()...)
	b = appendMillis(append(b, ','), s.RTT)
	b = appendMillis(append(b, ','), s.Baseline)
	return appendInt(appendInt(b, int64(s.Rates.Down)), int64(s.Rates.Up))
}
