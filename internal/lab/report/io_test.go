package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func twoLinks() scenario.Scenario {
	return scenario.Scenario{
		Name: "two", Duration: 10 * time.Second,
		Links: []scenario.Link{{Name: "a", Delay: 20 * time.Millisecond}, {Name: "b"}},
		Flows: []scenario.Flow{{Kind: scenario.Bulk, Count: 1, To: 9 * time.Second}},
	}
}

func aRun() *Raw {
	return &Raw{
		Meta: Meta{Schema: MetaSchema, Controller: "none", Clock: "virtual", Scenario: twoLinks(), ControllerCPUS: -1},
		Probes: []Probe{
			{At: -1, Link: 1, Dir: link.Up, Delay: 10.25},
			{At: 0.005, ICMP: true, Delay: 20.5},
			{At: 0.0055, Lost: true},
		},
		Queues: []Queue{{At: 1, Link: 1, Dir: link.Up, Line: true, Queue: link.Queue{
			MaxLimit: unit.Mbps, Bytes: 2, Packets: 3, QueuedBytes: 4, QueuedPackets: 5, Dropped: 6, Marked: 7,
		}}, {At: 2}},
		Capacity: []Capacity{{At: 0, Rate: 40 * unit.Mbps, Lag: 0.0625}},
		Flows:    []Flow{{At: 0.5, Dir: link.Up, Link: 1, Bytes: 1 << 40}},
		States: []State{{
			At: 3, State: link.Pair[link.State]{Down: link.SoftRed, Up: link.Red}, RTT: 33, Baseline: 20,
			Rates: link.Rates{Down: unit.Mbps, Up: 7},
		}},
	}
}

// save writes a run's raw files the way the machine does.
func save(t testing.TB, dir string, raw *Raw) {
	t.Helper()
	r, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	each(t, r.Probes, raw.Probes)
	each(t, r.Queues, raw.Queues)
	each(t, r.Capacity, raw.Capacity)
	each(t, r.Flows, raw.Flows)
	each(t, r.States, raw.States)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(raw.Meta)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, MetaFile), b)
}

func each[T any](t testing.TB, w *Writer[T], rows []T) {
	t.Helper()
	for _, v := range rows {
		if err := w.Write(v); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	dir, want := t.TempDir(), aRun()
	save(t, dir, want)
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestRowsAreOrderedByTimeAndFilesMayBeJoined(t *testing.T) {
	dir, raw := t.TempDir(), aRun()
	save(t, dir, raw)
	earlier := Probe{At: -2, Delay: 10}
	save(t, dir, &Raw{Meta: raw.Meta, Probes: []Probe{earlier}})
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append([]Probe{earlier}, raw.Probes...), got.Probes); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestARunThatWasCutShortLoadsAndSaysSo(t *testing.T) {
	dir, raw := t.TempDir(), aRun()
	save(t, dir, raw)
	b, err := os.ReadFile(filepath.Join(dir, QueuesFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, QueuesFile), b[:len(b)-1])
	for _, name := range []string{CapacityFile, StatesFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"queues.csv ends within a line, which is left out", "capacity.csv is missing"}
	if d := cmp.Diff(want, got.Cut); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if len(got.Queues) != 1 || len(got.Probes) != 3 {
		t.Errorf("%d queues and %d probes were read, want 1 and 3", len(got.Queues), len(got.Probes))
	}
}

func TestErrorsNameFileLineAndWhatIsExpected(t *testing.T) {
	many := strings.Repeat("x", 2*maxLine)
	for _, c := range []struct{ file, text, want string }{
		{ProbesFile, "time,delay\n", `probes.csv:1: begins with "time,delay", want the header class,link,dir,t_s,delay_ms`},
		{ProbesFile, probesHeader + "\nudp,0,download,1\n", "probes.csv:2: 4 columns, want 5: class,link,dir,t_s,delay_ms"},
		{ProbesFile, probesHeader + "\n\n", "probes.csv:2: 1 columns, want 5"},
		{ProbesFile, probesHeader + "\ntcp,0,download,1,1\n", `probes.csv:2: class is "tcp", want icmp or udp`},
		{ProbesFile, probesHeader + "\nicmp,0,download,1,1\n", `probes.csv:2: dir is "download", want nothing`},
		{ProbesFile, probesHeader + "\nudp,0,,1,1\n", `probes.csv:2: dir is "", want download or upload`},
		{ProbesFile, probesHeader + "\nudp,2,upload,1,1\n", `probes.csv:2: link is "2", want an index below 2`},
		{ProbesFile, probesHeader + "\nudp,0,upload,NaN,1\n", `probes.csv:2: t_s is "NaN", want seconds from the scenario's start`},
		{ProbesFile, probesHeader + "\nudp,0,upload,1,Inf\n", `probes.csv:2: delay_ms is "Inf", want milliseconds`},
		{ProbesFile, probesHeader + "\n" + many + "\n", "probes.csv:2: longer than 512 bytes"},
		{QueuesFile, queuesHeader + "\n1,0,upload,cake,1,1,1,1,1,1,1\n", `place is "cake", want line or shaper`},
		{QueuesFile, queuesHeader + "\n1,0,upload,line,-1,1,1,1,1,1,1\n", `rate_bps is "-1", want bit/s as a whole number`},
		{QueuesFile, queuesHeader + "\n1,0,upload,line,1,1,1,1,1,1.5,1\n", `drops is "1.5", want a whole number`},
		{CapacityFile, capacityHeader + "\n1,0,upload,4e7,1\n", `rate_bps is "4e7"`},
		{FlowsFile, flowsHeader + "\n1,1,0,upload,1\n", `flows.csv:2: flow is "1", want an index below 1`},
		{StatesFile, statesHeader + "\n1,0,GREEN,BLUE,1,1,1,1\n", `state_up is "BLUE", want GREEN, YELLOW, SOFT_RED or RED`},
		{MetaFile, "{", "want the run's description as JSON"},
		{MetaFile, `{"schema":9}`, "schema is 9, this program reads 1; run the scenario again"},
		{MetaFile, `{"schema":1}`, "controller is empty"},
		{MetaFile, `{"schema":1,"controller":"x"}`, "scenario.duration is 0s"},
		{MetaFile, `{"schema":1,"controller":"x","scenario":{"duration":1}}`, "scenario.links has 0 entries"},
		{MetaFile, `{"schema":1,"controller":"x","scenario":{"duration":1,"links":[{}],"flows":[{"link":1}]}}`, "scenario.flows[0] is on link 1"},
		{MetaFile, `{"schema":1,"controller":"x","scenario":{"duration":1,"links":[{}],"faults":[{"link":-1}]}}`, "scenario.faults[0] is on link -1"},
		{MetaFile, `{"schema":1,"controller":"x","scenario":{"duration":1,"links":[{"up":{"fifo":-1}}]}}`, "scenario.links[0].upload"},
	} {
		dir := t.TempDir()
		save(t, dir, aRun())
		write(t, filepath.Join(dir, c.file), []byte(c.text))
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.60q: error %v, want %q in it", c.file, c.text, err, c.want)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "want the directory that a laboratory run wrote") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestARowCostsNoAllocation(t *testing.T) {
	p, q := NewProbeWriter(io.Discard), NewQueueWriter(io.Discard)
	if n := testing.AllocsPerRun(5000, func() {
		_ = p.Write(Probe{At: 1.5, Delay: 20})
		_ = q.Write(Queue{At: 1.5, Line: true})
	}); n != 0 {
		t.Errorf("%v allocations per row", n)
	}
}

type brokenDisk struct{ writes int }

func (d *brokenDisk) Write([]byte) (int, error) {
	d.writes++
	return 0, errors.New("no space left on device")
}

func TestAFullDiskIsSaidAndStaysSaid(t *testing.T) {
	d := &brokenDisk{}
	w := NewFlowWriter(d)
	if err := w.Write(Flow{}); err != nil {
		t.Errorf("a row that was only collected failed: %v", err)
	}
	for range 2 {
		if err := w.Flush(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("flush said %v", err)
		}
	}
	if err := w.Write(Flow{}); err == nil || d.writes != 1 {
		t.Errorf("after the failure: error %v, %d writes, want an error and 1", err, d.writes)
	}
}

// Only whole lines leave a writer: two that append to one file never mix within a line.
func TestWritersHandOnWholeLines(t *testing.T) {
	var parts wholeLines
	w := NewProbeWriter(&parts)
	for i := range 5000 {
		if err := w.Write(Probe{At: float64(i) / 200, Delay: 20}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil || parts.n < 4 || parts.broken > 0 {
		t.Errorf("error %v, %d parts, %d of them end within a line", err, parts.n, parts.broken)
	}
}

type wholeLines struct{ n, broken int }

func (l *wholeLines) Write(b []byte) (int, error) {
	l.n++
	if !bytes.HasSuffix(b, []byte("\n")) {
		l.broken++
	}
	return len(b), nil
}
