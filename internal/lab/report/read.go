package report

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Limits of what is read. An hour of probes at 5 ms on two links is 3 million rows.
const (
	maxRows     = 4_000_000
	maxLine     = 512
	maxMeta     = 64 << 20
	maxLinks    = 16
	maxFlows    = 256
	maxPhases   = 64
	maxDuration = 24 * 3600.0
	// maxCount bounds counters, so that sums of them stay exact.
	maxCount = 1 << 53
)

// Load reads a run's directory. Without a readable [MetaFile] it fails; so it does at a line that cannot be understood.
// What is merely missing is named in [Raw.Cut].
func Load(dir string) (*Raw, error) {
	raw := &Raw{}
	f, err := os.Open(filepath.Join(dir, MetaFile))
	if err != nil {
		return nil, fmt.Errorf("load the run in %s (want the directory that a laboratory run wrote): %w", dir, err)
	}
	defer f.Close()
	if raw.Meta, err = ReadMeta(f); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	err = errors.Join(
		load(raw, dir, ProbesFile, &raw.Probes, ReadProbes),
		load(raw, dir, QueuesFile, &raw.Queues, ReadQueues),
		load(raw, dir, CapacityFile, &raw.Capacity, ReadCapacity),
		load(raw, dir, FlowsFile, &raw.Flows, ReadFlows),
		load(raw, dir, StatesFile, &raw.States, ReadStates))
	if err != nil {
		return nil, err
	}
	return raw, nil
}

func load[T any](raw *Raw, dir, name string, rows *[]T, read func(io.Reader, *scenario.Scenario) ([]T, bool, error)) error {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		// A controller that is not ours says no states.
		if name != StatesFile {
			raw.Cut = append(raw.Cut, name+" is missing")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("load the run: %w", err)
	}
	defer f.Close()
	var cut bool
	if *rows, cut, err = read(f, &raw.Meta.Scenario); err != nil {
		return fmt.Errorf("%s:%w", f.Name(), err)
	}
	if cut {
		raw.Cut = append(raw.Cut, name+" ends within a line, which is left out")
	}
	return nil
}

// ReadMeta reads and checks a [MetaFile].
func ReadMeta(r io.Reader) (Meta, error) {
	var m Meta
	b, err := io.ReadAll(io.LimitReader(r, maxMeta+1))
	if err != nil {
		return m, err
	}
	if len(b) > maxMeta {
		return m, fmt.Errorf("longer than %d MiB; a run of this laboratory writes less", maxMeta>>20)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("want the run's description as JSON: %w", err)
	}
	return m, checkMeta(&m)
}

func checkMeta(m *Meta) error {
	s := &m.Scenario
	switch {
	case m.Schema != MetaSchema:
		return fmt.Errorf("schema is %d, this program reads %d; run the scenario again, or use the program that wrote it", m.Schema, MetaSchema)
	case m.Controller == "":
		return errors.New("controller is empty, want the name of what was under test")
	case !(s.Duration.Seconds() > 0 && s.Duration.Seconds() <= maxDuration):
		return fmt.Errorf("scenario.duration is %s, want more than 0 and at most 24h", s.Duration)
	case len(s.Links) == 0 || len(s.Links) > maxLinks:
		return fmt.Errorf("scenario.links has %d entries, want 1 to %d", len(s.Links), maxLinks)
	case len(s.Flows) > maxFlows:
		return fmt.Errorf("scenario.flows has %d entries, want at most %d", len(s.Flows), maxFlows)
	case len(s.Phases) > maxPhases:
		return fmt.Errorf("scenario.phases has %d entries, want at most %d", len(s.Phases), maxPhases)
	}
	for i, f := range s.Flows {
		if f.Link < 0 || f.Link >= len(s.Links) || f.Dir > link.Up {
			return fmt.Errorf("scenario.flows[%d] is on link %d, direction %d, which the scenario does not have", i, f.Link, f.Dir)
		}
	}
	for i, f := range s.Faults {
		if f.Link < 0 || f.Link >= len(s.Links) {
			return fmt.Errorf("scenario.faults[%d] is on link %d, which the scenario does not have", i, f.Link)
		}
	}
	for i, l := range s.Links {
		for _, d := range directions {
			p := l.Path(d)
			if p.Nominal < 0 || p.Nominal > unit.MaxRate || p.FIFO < 0 || p.FIFO.Seconds() > maxDuration {
				return fmt.Errorf("scenario.links[%d].%s: want a nominal rate and a buffer of at least 0", i, d)
			}
		}
	}
	return nil
}

// ReadProbes reads the rows of a [ProbesFile] and says whether its last line broke off. So do the other readers.
func ReadProbes(r io.Reader, s *scenario.Scenario) ([]Probe, bool, error) {
	return readSeries(r, probesHeader, func(p Probe) float64 { return p.At }, func(f *fields) Probe {
		p := Probe{Link: f.index(1, len(s.Links)), At: f.seconds(3), ICMP: f.oneOf(0, "icmp", "udp") == 0}
		if p.ICMP {
			f.oneOf(2, "")
		} else {
			p.Dir = f.direction(2)
		}
		if p.Lost = len(f.cols[4]) == 0; !p.Lost {
			p.Delay = f.millis(4)
		}
		return p
	})
}

// ReadQueues reads the rows of a [QueuesFile].
func ReadQueues(r io.Reader, s *scenario.Scenario) ([]Queue, bool, error) {
	return readSeries(r, queuesHeader, func(q Queue) float64 { return q.At }, func(f *fields) Queue {
		return Queue{
			At: f.seconds(0), Link: f.index(1, len(s.Links)), Dir: f.direction(2), Line: f.oneOf(3, "line", "shaper") == 0,
			Queue: link.Queue{
				MaxLimit: f.rate(4), Bytes: unit.Bytes(f.count(5)), Packets: f.count(6), QueuedBytes: unit.Bytes(f.count(7)),
				QueuedPackets: f.count(8), Dropped: f.count(9), Marked: f.count(10),
			},
		}
	})
}

// ReadCapacity reads the rows of a [CapacityFile].
func ReadCapacity(r io.Reader, s *scenario.Scenario) ([]Capacity, bool, error) {
	return readSeries(r, capacityHeader, func(c Capacity) float64 { return c.At }, func(f *fields) Capacity {
		return Capacity{
			At: f.seconds(0), Link: f.index(1, len(s.Links)), Dir: f.direction(2), Rate: f.rate(3), Lag: f.millis(4),
		}
	})
}

// ReadFlows reads the rows of a [FlowsFile].
func ReadFlows(r io.Reader, s *scenario.Scenario) ([]Flow, bool, error) {
	return readSeries(r, flowsHeader, func(v Flow) float64 { return v.At }, func(f *fields) Flow {
		return Flow{
			At: f.seconds(0), Flow: f.index(1, len(s.Flows)), Link: f.index(2, len(s.Links)), Dir: f.direction(3),
			Bytes: unit.Bytes(f.count(4)),
		}
	})
}

// ReadStates reads the rows of a [StatesFile].
func ReadStates(r io.Reader, s *scenario.Scenario) ([]State, bool, error) {
	return readSeries(r, statesHeader, func(v State) float64 { return v.At }, func(f *fields) State {
		v := State{
			At: f.seconds(0), Link: f.index(1, len(s.Links)), RTT: f.millis(4), Baseline: f.millis(5),
			Rates: link.Rates{Down: f.rate(6), Up: f.rate(7)},
		}
		v.State.Down, v.State.Up = f.state(2), f.state(3)
		return v
	})
}

// readSeries reads rows and orders them by time. A header may come again, where files were joined.
func readSeries[T any](r io.Reader, header string, at func(T) float64, row func(*fields) T) ([]T, bool, error) {
	var rows []T
	f := &fields{names: strings.Split(header, ",")}
	b := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := b.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			slices.SortStableFunc(rows, func(x, y T) int { return cmp.Compare(at(x), at(y)) })
			return rows, len(line) > 0, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, fmt.Errorf("%d: %w", n, err)
		case err != nil || len(line) > maxLine:
			return nil, false, fmt.Errorf("%d: longer than %d bytes, want %s", n, maxLine, header)
		}
		line = line[:len(line)-1]
		if string(line) == header {
			continue
		}
		if n == 1 {
			return nil, false, fmt.Errorf("1: begins with %s, want the header %s", quote(line), header)
		}
		if len(rows) == maxRows {
			return nil, false, fmt.Errorf("%d: more than %d rows; play a shorter scenario, or probe less often", n, maxRows)
		}
		f.cols = f.cols[:0]
		for c := range bytes.SplitSeq(line, []byte{','}) {
			f.cols = append(f.cols, c)
		}
		if len(f.cols) != len(f.names) {
			return nil, false, fmt.Errorf("%d: %d columns, want %d: %s", n, len(f.cols), len(f.names), header)
		}
		v := row(f)
		if f.err != nil {
			return nil, false, fmt.Errorf("%d: %w", n, f.err)
		}
		rows = append(rows, v)
	}
}

// quote shows a piece of a file: short, and harmless on a terminal.
func quote(b []byte) string {
	if len(b) > 40 {
		return strconv.Quote(string(b[:40])) + "…"
	}
	return strconv.Quote(string(b))
}

// fields are the columns of one line. The first that cannot be read is remembered.
type fields struct {
	names []string
	cols  [][]byte
	err   error
}

func (f *fields) fail(i int, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s is %s, want %s", f.names[i], quote(f.cols[i]), want)
	}
}

func (f *fields) float(i int, limit float64, want string) float64 {
	v, err := strconv.ParseFloat(string(f.cols[i]), 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > limit {
		f.fail(i, want)
		return 0
	}
	return v
}

func (f *fields) seconds(i int) float64 {
	return f.float(i, 2*maxDuration, "seconds from the scenario's start, such as 12.345000")
}

// millis is a delay. Clocks of two places may differ by a hair, so it may be a little negative.
func (f *fields) millis(i int) unit.Millis {
	return unit.Millis(f.float(i, 1000*maxDuration, "milliseconds, such as 20.0000"))
}

func (f *fields) integer(i int, limit int64, want string) int64 {
	v, err := strconv.ParseInt(string(f.cols[i]), 10, 64)
	if err != nil || v < 0 || v > limit {
		f.fail(i, want)
		return 0
	}
	return v
}

func (f *fields) count(i int) int64 {
	return f.integer(i, maxCount, "a whole number from 0 on")
}

func (f *fields) rate(i int) unit.Rate {
	return unit.Rate(f.integer(i, int64(unit.MaxRate), "bit/s as a whole number, at most 100 Gbit/s"))
}

func (f *fields) index(i, n int) int {
	v := f.integer(i, maxCount, "an index, counted from 0")
	if v >= int64(n) {
		f.fail(i, fmt.Sprintf("an index below %d, as many as the scenario has", n))
		return 0
	}
	return int(v)
}

func (f *fields) oneOf(i int, words ...string) int {
	for n, w := range words {
		if string(f.cols[i]) == w {
			return n
		}
	}
	if words[0] == "" {
		f.fail(i, "nothing")
	} else {
		f.fail(i, strings.Join(words, " or "))
	}
	return 0
}

func (f *fields) direction(i int) link.Direction {
	return directions[f.oneOf(i, link.Down.String(), link.Up.String())]
}

func (f *fields) state(i int) link.State {
	var s link.State
	if s.UnmarshalText(f.cols[i]) != nil {
		f.fail(i, "GREEN, YELLOW, SOFT_RED or RED")
	}
	return s
}

// directions are both, in the order of every table.
var directions = [...]link.Direction{link.Down, link.Up}
