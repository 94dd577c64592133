package scenario

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"

	"wanctl/internal/document"
	"wanctl/internal/unit"
)

// The formats of recordings.
const (
	// formatMahimahi is one whole millisecond per line: an opportunity to deliver one packet of 1500 bytes.
	formatMahimahi = "mahimahi"
	// formatCSV is t_s,mbps per line: from that second on, this rate.
	formatCSV = "csv"
)

const (
	// maxTraceLines bounds a recording: 100 Mbit/s for 20 minutes in mahimahi's form.
	maxTraceLines = 10_000_000
	// maxTraceBytes bounds a recording after decompression: ten million lines of mahimahi are smaller.
	maxTraceBytes = 128 << 20
	// maxTraceSeconds bounds a recording's length: a day.
	maxTraceSeconds = 24 * hour
	// packetBits is what one line of mahimahi stands for.
	packetBits = 1500 * 8
)

// trace is a part of a recording and how it becomes steps.
type trace struct {
	file, format                string
	bin, smooth, offset, length time.Duration
	loop                        bool
	min                         unit.Rate
}

// trace reads the section of a trace; nil when there is none or it is bad.
func (p *parser) trace(sec *section) *trace {
	if sec == nil || !p.require(sec, "file") {
		return nil
	}
	t := &trace{
		file: sec.text("file"), format: sec.text("format"), bin: sec.dur("bin"), offset: sec.dur("offset"),
		length: sec.dur("length"), loop: sec.flag("loop"), min: mbps(sec.num("min_mbps")),
	}
	t.smooth = sec.durOr("smooth", t.bin)
	if t.format == "" {
		t.format = formatMahimahi
		if IsCSV(t.file) {
			t.format = formatCSV
		}
	}
	if !filepath.IsLocal(t.file) {
		p.errorf(sec.place("file"), join(sec.path, "file"), "name it relative to the directory of the traces",
			"%q leads out of the directory of the traces", t.file)
		return nil
	}
	return t
}

// steps reads the recording below dir and cuts it into bins for a scenario of this duration.
func (t *trace) steps(dir string, duration time.Duration) ([]Step, error) {
	name := filepath.Join(dir, t.file)
	if duration/t.bin > maxSteps {
		return nil, fmt.Errorf("%s: bins of %s are more than %d steps; make the bin larger", name, short(t.bin), maxSteps)
	}
	rec, err := t.read(dir)
	if err != nil {
		return nil, err
	}
	c, err := t.cut(rec, duration)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// read reads the whole recording below dir.
func (t *trace) read(dir string) (rec recording, err error) {
	r, err := open(dir, t.file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if t.format == formatCSV {
		rec, err = readCSV(r)
	} else {
		rec, err = readMahimahi(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, t.file), err)
	}
	return rec, nil
}

// open opens a regular file below dir; no link leads out of it.
func open(dir, file string) (io.ReadCloser, error) {
	name := filepath.Join(dir, file)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the directory of the traces cannot be opened: %w; without --traces the synthetic twins are played", err)
	}
	defer root.Close()
	st, err := root.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no such trace; put it there, or leave --traces out to play its synthetic twin", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %w; without --traces the synthetic twin is played", name, err)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file; name the trace itself", name)
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; without --traces the synthetic twin is played", name, err)
	}
	return f, nil
}

// recording is a capacity over time.
type recording interface {
	// bits is what could be sent before t, which lies between 0 and the length.
	bits(t int64) float64
	// length is how long it is, in nanoseconds.
	length() int64
}

// cut averages the recording's part over a window around each bin's middle.
func (t *trace) cut(rec recording, duration time.Duration) ([]Step, error) {
	long := time.Duration(rec.length())
	if t.offset >= long {
		return nil, fmt.Errorf("is %s long, so nothing is left behind an offset of %s; choose a smaller offset", short(long), short(t.offset))
	}
	part := long - t.offset
	if t.length > 0 {
		if t.length > part {
			return nil, fmt.Errorf("is %s long, and %s from %s on are wanted; choose a smaller offset or length", short(long), short(t.length), short(t.offset))
		}
		part = t.length
	}
	if !t.loop && part < duration {
		return nil, fmt.Errorf("has %s for a scenario of %s; allow it to repeat (loop: true), or make the scenario shorter", short(part), short(duration))
	}
	first := rec.bits(int64(t.offset))
	round := rec.bits(int64(t.offset+part)) - first
	// before is what the part, repeated for ever, could send before x.
	before := func(x time.Duration) float64 {
		rounds := x / part
		return float64(float64(rounds)*round) + rec.bits(int64(t.offset+x%part)) - first
	}
	end := time.Duration(math.MaxInt64)
	if !t.loop {
		end = part
	}
	var out []Step
	for at := time.Duration(0); at < duration; at += t.bin {
		mid := at + t.bin/2
		from, to := max(0, mid-t.smooth/2), min(end, mid+t.smooth/2)
		rate := unit.Rate(math.Round((before(to) - before(from)) / (to - from).Seconds()))
		out = append(out, Step{at, min(max(rate, t.min), unit.MaxRate)})
	}
	return out, nil
}

// packets is a recording of mahimahi: the millisecond of each packet, never falling.
type packets []int32

func (p packets) length() int64 { return int64(p[len(p)-1]) * int64(time.Millisecond) }

func (p packets) bits(t int64) float64 {
	if t >= p.length() {
		return float64(len(p)) * packetBits // the last millisecond's packets end the round
	}
	n := sort.Search(len(p), func(i int) bool { return int64(p[i])*int64(time.Millisecond) >= t })
	return float64(n) * packetBits
}

// readMahimahi reads a recording of mahimahi, plain or compressed by gzip. Errors name the line and what is expected.
func readMahimahi(r io.Reader) (packets, error) {
	var out packets
	last := int64(0)
	err := lines(r, func(text []byte) error {
		ms, err := strconv.ParseInt(string(text), 10, 64)
		switch {
		case err != nil:
			return fmt.Errorf("%q is not a whole number of milliseconds", document.Printable(string(text), 40))
		case ms < 0 || ms > maxTraceSeconds*1000:
			return fmt.Errorf("%d ms is outside 0 to %d", ms, maxTraceSeconds*1000)
		case ms < last:
			return fmt.Errorf("%d ms after %d ms: the times must not fall", ms, last)
		}
		last = ms
		out = append(out, int32(ms))
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w; a mahimahi trace has one millisecond per line, for one packet of 1500 bytes each", err)
	case last == 0:
		return nil, errors.New("holds no time above 0 ms; a mahimahi trace has one millisecond per line, for one packet of 1500 bytes each")
	}
	return out, nil
}

// rates is a recording of CSV: from each instant on, a rate.
type rates struct {
	at   []int64   // ns
	rate []float64 // bit/s
	sum  []float64 // bits before at
	end  int64
}

func (r *rates) length() int64 { return r.end }

func (r *rates) bits(t int64) float64 {
	i := max(0, sort.Search(len(r.at), func(i int) bool { return r.at[i] > t })-1)
	return r.sum[i] + float64(r.rate[i]*(float64(t-r.at[i])/1e9))
}

// readCSV reads lines of t_s,mbps, plain or compressed by gzip; a first line of words is skipped. Times count from the
// first line; the last rate holds as long as the one before it. Errors name the line and what is expected.
func readCSV(r io.Reader) (*rates, error) {
	out := &rates{}
	first, start := true, 0.0
	err := lines(r, func(text []byte) error {
		head := first
		first = false
		a, b, ok := bytes.Cut(text, []byte{','})
		t, errT := strconv.ParseFloat(string(bytes.TrimSpace(a)), 64)
		m, errM := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64)
		switch {
		case head && ok && errT != nil && errM != nil:
			return nil //nolint:nilerr // a first line of words names the columns
		case !ok || errT != nil || errM != nil:
			return fmt.Errorf("%q is not t_s,mbps", document.Printable(string(text), 40))
		case math.IsNaN(t) || t < 0 || t > maxTraceSeconds:
			return fmt.Errorf("%v s is outside 0 to %d", t, maxTraceSeconds)
		case math.IsNaN(m) || m < 0 || m > float64(unit.MaxRate/unit.Mbps):
			return fmt.Errorf("%v Mbit/s is outside 0 to %d", m, unit.MaxRate/unit.Mbps)
		}
		n := len(out.at)
		if n == 0 {
			start = t
		}
		at := int64(math.Round((t - start) * 1e9))
		sum := 0.0
		if n > 0 {
			width := at - out.at[n-1]
			if width <= 0 {
				return fmt.Errorf("%v s is not after the line before it: the times must rise", t)
			}
			sum = out.sum[n-1] + float64(out.rate[n-1]*(float64(width)/1e9))
		}
		out.at, out.rate, out.sum = append(out.at, at), append(out.rate, m*1e6), append(out.sum, sum)
		return nil
	})
	n := len(out.at)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w; a CSV trace has t_s,mbps per line: from that second on, this rate", err)
	case n < 2:
		return nil, errors.New("has fewer than two lines of t_s,mbps: from that second on, this rate")
	}
	out.end = out.at[n-1] + out.at[n-1] - out.at[n-2]
	return out, nil
}

// lines hands the lines that are not blank to each. Errors name the line. It undoes gzip, which it knows by its first
// two bytes, and stops at the limits of a recording.
func lines(r io.Reader, each func(text []byte) error) error {
	in := bufio.NewReaderSize(r, 1<<16)
	var src io.Reader = in
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("the gzip data is damaged (%w), copy the file again", err)
		}
		src = z
	}
	noted := &notingReader{r: src}
	limited := &io.LimitedReader{R: noted, N: maxTraceBytes + 1}
	sc := bufio.NewScanner(limited)
	sc.Buffer(make([]byte, 0, 4096), 4096)
	line, kept := 0, 0
	for sc.Scan() {
		line++
		text := bytes.TrimSpace(sc.Bytes())
		if len(text) == 0 {
			continue
		}
		if kept++; kept > maxTraceLines {
			return fmt.Errorf("line %d: more than %d lines; cut the trace", line, maxTraceLines)
		}
		if err := each(text); err != nil {
			if noted.err != nil {
				break // what looks wrong is half a line
			}
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
	err := sc.Err()
	if noted.err != nil {
		err = noted.err
	}
	switch {
	case limited.N <= 0:
		return fmt.Errorf("line %d: the trace is larger than %d MiB; cut it", line, maxTraceBytes>>20)
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: is longer than 4096 bytes", line+1)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, new(flate.CorruptInputError)):
		return fmt.Errorf("line %d: the gzip data is damaged or cut off (%w), copy the file again", max(line, 1), err)
	case err != nil:
		return fmt.Errorf("line %d: %w", max(line, 1), err)
	}
	return nil
}

// notingReader remembers why reading failed: a scanner hands out what came before as if it were a line.
type notingReader struct {
	r   io.Reader
	err error
}

func (n *notingReader) Read(b []byte) (int, error) {
	k, err := n.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return k, err
}
