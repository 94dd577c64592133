package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/unit"
)

// foreignTrace is another program's recording of a line of 100/20 Mbit/s: idle, then a download of 2 s that queues 40 ms at
// full speed, then idle again. Three reflectors, whose clocks are off by hours and days.
func foreignTrace(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	seq := 0
	put := func(at float64, fields map[string]any) {
		fields["seq"], seq = seq, seq+1
		ns := int64(at * 1e9)
		fields["timestamp"] = map[string]any{"mono_ns": ns, "unix_us": 1_786_636_630_418_057 + ns/1000}
		if err := e.Encode(fields); err != nil {
			t.Fatal(err)
		}
	}
	put(0, map[string]any{
		"type": "header", "format": foreignFormat, "version": 1, "program_version": "0.4.1",
		"control": map[string]any{"tick_interval_secs": 0.5, "download_min_kbit": 20000.0, "upload_min_kbit": 4000.0},
	})
	put(0.4, map[string]any{"type": "controller_initialized"})
	put(0.5, map[string]any{"type": "requested_rates", "download_kbit": 150000, "upload_kbit": 19000})
	rx, tx := int64(1_000_000), int64(2_000_000)
	for i := 0; i < 1200; i++ {
		at := 1 + float64(i)*0.05
		full := at > 30 && at < 32
		queue := 0.0
		if full {
			queue = math.Min(40, (at-30)*100)
		}
		host := i % 3
		offset := []float64{0, 7_000_000, -40_000}[host]
		put(at, map[string]any{
			"type": "ping_reply", "reflector": fmt.Sprintf("192.0.2.%d", host+1), "down_time_ms": 9 + queue - offset, "up_time_ms": 11 + offset,
		})
		if full {
			rx += 100_000_000 / 8 / 20
		}
		rx, tx = rx+1000, tx+1000
		if i%2 == 0 {
			put(at+0.01, map[string]any{"type": "control_evaluation", "loop_mono_ns": int64((at + 0.009) * 1e9), "rx_bytes": rx, "tx_bytes": tx})
		}
	}
	return b.Bytes()
}

// Another program's recording becomes one of ours: the sensing finds the idle line's delays through the reflectors'
// clocks, and the law what the line carried while the queue stood.
func TestImport(t *testing.T) {
	trace := foreignTrace(t)
	trace = append(trace, `{"seq":9,"timestamp":{"mono`...) // cut off
	var out bytes.Buffer
	tape := daemon.NewWriterTape(&out)
	found, err := Import(bytes.NewReader(trace), tape)
	if err != nil {
		t.Fatal(err)
	}
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	if found.Replies != 1200 || found.Reflectors != 3 || found.Counters != 600 || found.Rates != 1 || found.Unread != 1 || found.Bad != 1 || found.LeftOut != 0 {
		t.Errorf("%+v", found)
	}
	r := replayed(t, nil, out.Bytes())
	if !r.Whole || r.First != nil || r.Source != string(journal.FromImport) || len(r.Ends) != 0 {
		t.Errorf("it does not replay: %v, %+v", r.First, r)
	}
	if b := r.Was.Baseline; b.P5 < 19.7 || b.P99 > 20.3 {
		t.Errorf("the baseline is %+v, the idle line takes 20 ms", b)
	}
	if d := r.Was.Delta; d.P50 > 0.5 || d.P99 < 39 || d.P99 > 41 {
		t.Errorf("the delta is %+v: nothing for most of the time, 40 ms in the queue", d)
	}
	down, up := r.Was.Ways.Down, r.Was.Ways.Up
	if down.Capacity < 95*unit.Mbps || down.Capacity > 105*unit.Mbps || down.Queued == 0 {
		t.Errorf("the download is taken for %s, it carried 100M", down.Capacity)
	}
	if up.Cuts != 0 || up.Queued != 0 {
		t.Errorf("the upload was cut %d times, and only the download queued", up.Cuts)
	}
	if !r.Began.Equal(foreignBegan(t, out.Bytes())) || r.Began.Year() != 2026 {
		t.Errorf("it began %s", r.Began)
	}
}

func foreignBegan(t *testing.T, b []byte) (began time.Time) {
	t.Helper()
	r, err := journal.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); !h.DryRun || h.Midway || len(h.Reflectors) != 3 || !strings.Contains(h.Config, "min_mbps: 20") {
		t.Errorf("the header is %+v", h)
	}
	return r.Header().Wall
}

func TestImportOfWhatIsNone(t *testing.T) {
	head := `{"type":"header","format":"` + foreignFormat + `"}` + "\n"
	for name, c := range map[string]struct{ in, want string }{
		"empty":          {"", "empty"},
		"text":           {"hello\n", "does not name the format"},
		"another format": {`{"format":"x"}`, "does not name the format"},
		"nothing in it":  {head, "no replies"},
		"years":          {head + `{"type":"ping_reply","reflector":"x"}` + "\n" + `{"type":"ping_reply","reflector":"x","timestamp":{"mono_ns":9000000000000000000}}`, "longer than"},
		"an endless line": {
			head + strings.Repeat("x", longestLine+1), "too long",
		},
	} {
		if _, err := Import(strings.NewReader(c.in), &ring{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Import(iotest.ErrReader(fmt.Errorf("disk on fire")), &ring{}); err == nil || !strings.Contains(err.Error(), "fire") {
		t.Errorf("a failing disk: %v", err)
	}
	// More reflectors than a line may have: those that answered most are taken.
	var many strings.Builder
	many.WriteString(head)
	for i := range 20 {
		for k := range 1 + i {
			fmt.Fprintf(&many, `{"type":"ping_reply","timestamp":{"mono_ns":%d},"reflector":"192.0.2.%d","down_time_ms":5,"up_time_ms":5}`+"\n", k*1_000_000_000, i)
		}
	}
	found, err := Import(strings.NewReader(many.String()), &ring{})
	if err != nil || found.Reflectors != 20 || found.LeftOut != 1+2+3+4 {
		t.Errorf("%+v, %v", found, err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"type":"header","format":"` + foreignFormat + `","control":{"tick_interval_secs":1e300,"download_min_kbit":-5}}
{"type":"ping_reply","timestamp":{"mono_ns":9223372036854775807},"reflector":"x","down_time_ms":1e308,"up_time_ms":-1e308}
{"type":"control_evaluation","loop_mono_ns":-5,"rx_bytes":-1}
{"type":"requested_rates","download_kbit":1e300,"timestamp":{"mono_ns":7}}
`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = convert(bytes.NewReader(b), &ring{}, time.Second)
	})
}
