package report

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/lab/scenario"
)

// reread holds a reader to its word: what it accepts, written and read again, is the same; what it refuses names a line.
func reread[T any](t *testing.T, in []byte, read func(io.Reader, *scenario.Scenario) ([]T, bool, error), writer func(io.Writer) *Writer[T]) []T {
	t.Helper()
	s := twoLinks()
	rows, _, err := read(bytes.NewReader(in), &s)
	if err != nil {
		if n, _, ok := strings.Cut(err.Error(), ":"); !ok || strings.Trim(n, "0123456789") != "" {
			t.Fatalf("the error names no line: %v", err)
		}
		return nil
	}
	var once, twice bytes.Buffer
	w := writer(&once)
	each(t, w, rows)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	text := once.String()
	again, cut, err := read(&once, &s)
	if err != nil || cut || len(again) != len(rows) {
		t.Fatalf("%d rows came back as %d (%v, cut %v)", len(rows), len(again), err, cut)
	}
	w = writer(&twice)
	each(t, w, again)
	if err := w.Flush(); err != nil || twice.String() != text {
		t.Fatalf("written again it differs (%v)\n%s", err, cmp.Diff(text, twice.String()))
	}
	return rows
}

// FuzzRun feeds all series with anything. What the readers accept is evaluated and drawn without a panic, into JSON
// that reads back and pictures that are well formed.
func FuzzRun(f *testing.F) {
	raw := aRun()
	var b [5]bytes.Buffer
	flush := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	p, q, c, l, s := NewProbeWriter(&b[0]), NewQueueWriter(&b[1]), NewCapacityWriter(&b[2]), NewFlowWriter(&b[3]), NewStateWriter(&b[4])
	each(f, p, raw.Probes)
	each(f, q, raw.Queues)
	each(f, c, raw.Capacity)
	each(f, l, raw.Flows)
	each(f, s, raw.States)
	flush(p.Flush())
	flush(q.Flush())
	flush(c.Flush())
	flush(l.Flush())
	flush(s.Flush())
	f.Add(b[0].Bytes(), b[1].Bytes(), b[2].Bytes(), b[3].Bytes(), b[4].Bytes())
	f.Add([]byte(probesHeader+"\nudp,0,download,1e5,1e8\nudp,0,upload,-1e5,-1e8\n"), []byte(queuesHeader+"\n"),
		[]byte(capacityHeader+"\n0,0,download,0,0\n0,0,download,1,0\n-5,0,download,100000000000,0\n"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, probes, queues, capacity, flows, states []byte) {
		raw := &Raw{Meta: aRun().Meta}
		raw.Meta.Scenario.Links[0].Down.FIFO = time.Second
		raw.Meta.Scenario.Links[0].Down.Nominal = 1e6
		raw.Meta.Scenario.Faults = []scenario.Fault{{Kind: scenario.LinkDown, At: time.Second, For: time.Second}}
		raw.Meta.Scenario.Phases = []scenario.Phase{{Name: "back", From: 5 * time.Second, To: time.Second}}
		raw.Probes = reread(t, probes, ReadProbes, NewProbeWriter)
		raw.Queues = reread(t, queues, ReadQueues, NewQueueWriter)
		raw.Capacity = reread(t, capacity, ReadCapacity, NewCapacityWriter)
		raw.Flows = reread(t, flows, ReadFlows, NewFlowWriter)
		raw.States = reread(t, states, ReadStates, NewStateWriter)
		res, err := Evaluate(raw)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := res.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadResult(&out); err != nil {
			t.Fatal(err)
		}
		plots, err := Plots(raw, res)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plots {
			wellFormed(t, p.Name, p.SVG)
			if bytes.Contains(p.SVG, []byte("NaN")) || bytes.Contains(p.SVG, []byte("Inf")) {
				t.Fatalf("%s draws what is not a number", p.Name)
			}
		}
	})
}

// FuzzMeta feeds the description with anything: what is accepted can be evaluated.
func FuzzMeta(f *testing.F) {
	b, err := json.Marshal(aRun().Meta)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema":1,"controller":"x","scenario":{"duration":1,"links":[{}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadMeta(bytes.NewReader(b))
		if err != nil {
			return
		}
		res, err := Evaluate(&Raw{Meta: m})
		if err != nil {
			t.Fatal(err)
		}
		if err := res.WriteJSON(io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := Plots(&Raw{Meta: m}, res); err != nil {
			t.Fatal(err)
		}
	})
}
