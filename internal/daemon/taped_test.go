package daemon

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// newTapedPure is a pure WAN that is recorded onto a tape.
func newTapedPure(t *testing.T, text string, tape Tape) (*pure, *Taped) {
	t.Helper()
	p := newPure(t, text)
	f, _ := config.Parse("att.yaml", strings.NewReader(text), config.Options{})
	taped, err := NewTaped(WANOptionsOf(f.WAN, false), p, p.now, nil, Recording{
		Program: "test", Source: journal.FromAutorate, Boot: "boot", Config: f.WAN, Wall: func() time.Time { return time.Unix(1_770_000_000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.wan = taped.WAN
	taped.Record(tape, p.now)
	return p, taped
}

// tapedCycle is a cycle with its operations through the recorder.
func tapedCycle(p *pure, w *Taped) {
	p.now = p.now.Add(2 * time.Second)
	for o := w.Tick(p.now); o.Op != nil; {
		r := actuate.Result{Op: *o.Op, Sent: true, Report: link.Report{At: p.now, Uptime: time.Duration(p.now)}}
		for _, d := range bothWays {
			if want := o.Op.Want.Get(d); o.Op.Write && want > 0 {
				p.limit.Set(d, want)
			}
		}
		r.Report.Down.MaxLimit, r.Report.Up.MaxLimit = p.limit.Down, p.limit.Up
		o = w.Deliver(p.now, r)
	}
}

// records reads all of a file.
func records(t *testing.T, path string) (h *journal.Header, calls int, end *journal.End, torn error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := journal.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), calls, end, r.Torn()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch rec := rec.(type) {
		case *journal.Call:
			calls++
		case *journal.End:
			end = rec
		}
	}
}

var wallOf2026 = func() time.Time { return time.Date(2026, 1, 7, 2, 35, 0, 0, time.UTC) }

// The journal is a ring of files, each of which begins with a header and the loop's state, and is its owner's alone. Files
// of other lines stay.
func TestSegmentsAreARing(t *testing.T) { synctest.Test(t, segmentsAreARing) }

func segmentsAreARing(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "journal")
	log, _ := testLog(t)
	s, err := openSegments(config.Journal{Dir: dir, Segment: 20_000, Keep: 3}, "ATT", wallOf2026, log)
	if err != nil {
		t.Fatal(err)
	}
	others := []string{"ATT-2-20200101T000000.000Z-0000.journal", "ATTX-20200101T000000.000Z-0000.journal", "ATT-notes.txt", "ATT-20200101T000000.000Z-0000.journal.gz"}
	older := []string{"ATT-20200101T000000.000Z-0000.journal", "ATT-20300101T000000.000Z-0007.journal", "ATT-20200101T000000.000Z-0000.journal.new"}
	for _, f := range append(slices.Clone(others), older...) {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, w := newTapedPure(t, attText, s)
	for i := range 3000 {
		p.rtt = unit.Millis(28 + float64(i%7)/3)
		tapedCycle(p, w)
		synctest.Wait() // an hour and more in a moment: the disk keeps up
	}
	w.Stop(p.now, "stopped")
	s.close()
	files, err := segmentFiles(dir, "ATT")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, f := range files {
		path := filepath.Join(dir, f)
		h, calls, end, torn := records(t, path)
		last := i == len(files)-1
		if torn != nil || calls == 0 || end == nil || end.More == last || h.Lost != 0 || h.Midway || h.WAN != "ATT" || len(h.State) == 0 {
			t.Errorf("%s: %v, %d calls, end %+v, %d lost, segment %d", f, torn, calls, end, h.Lost, h.Segment)
		}
		if i > 0 && h.Segment < 2 {
			t.Errorf("%s is segment %d", f, h.Segment)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() > 20_000+2*blockSize {
			t.Errorf("%v, %v", info, err)
		}
	}
	for _, f := range others {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	for _, f := range older {
		if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
			t.Errorf("%s is still there", f)
		}
	}
}

// A directory that goes away costs the records of that time and nothing else: the loop goes on, one line says it, and the
// journal begins again.
func TestAJournalThatCannotBeWritten(t *testing.T) { synctest.Test(t, aJournalThatCannotBeWritten) }

func aJournalThatCannotBeWritten(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	log, buf := testLog(t)
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSegments(config.Journal{Dir: dir, Segment: 5000, Keep: 2}, "ATT", wallOf2026, log); err == nil || !strings.Contains(err.Error(), "journal.dir") {
		t.Errorf("a file in the directory's place: %v", err)
	}
	_ = os.Remove(dir)
	s, err := openSegments(config.Journal{Dir: dir, Segment: 5000, Keep: 2}, "ATT", wallOf2026, log)
	if err != nil {
		t.Fatal(err)
	}
	p, w := newTapedPure(t, attText, s)
	synctest.Wait() // the disk has nothing to do
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		tapedCycle(p, w)
		if s.failed.Load() {
			break
		}
		synctest.Wait()
	}
	if !s.failed.Load() || strings.Count(buf.String(), "[ERROR] journal:") != 1 {
		t.Fatalf("failed %v\n%s", s.failed.Load(), buf)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 40 { // 80 s
		tapedCycle(p, w)
	}
	synctest.Wait()
	s.close()
	files, err := segmentFiles(dir, "ATT")
	if err != nil || len(files) == 0 || !buf.has("it can be written again") {
		t.Fatalf("%v, %v\n%s", files, err, buf)
	}
	if h, _, _, torn := records(t, filepath.Join(dir, files[0])); h.Lost == 0 || torn != nil {
		t.Errorf("nothing is said of what was lost: %d, %v", h.Lost, torn)
	}
}

// A disk that does not answer delays nothing: what does not fit is counted, and the next file says it.
func TestASlowDisk(t *testing.T) { synctest.Test(t, aSlowDisk) }

func aSlowDisk(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	log, _ := testLog(t)
	s := &segments{
		dir: dir, name: "ATT", cfg: config.Journal{Dir: dir, Segment: 100_000_000, Keep: 9}, wall: wallOf2026, log: log,
		jobs: make(chan tapeJob, queuedBlocks), free: make(chan []byte, queuedBlocks), done: make(chan struct{}),
	}
	p, w := newTapedPure(t, attText, s) // nobody writes
	for range 40 * queuedBlocks {
		tapedCycle(p, w)
	}
	if s.lost == 0 || len(s.jobs) != queuedBlocks {
		t.Fatalf("%d lost, %d blocks wait", s.lost, len(s.jobs))
	}
	go s.run()
	synctest.Wait()
	for range 10 {
		tapedCycle(p, w)
	}
	w.Stop(p.now, "stopped")
	s.close()
	files, _ := segmentFiles(dir, "ATT")
	if len(files) != 2 {
		t.Fatalf("%v", files)
	}
	first, calls, end, torn := records(t, filepath.Join(dir, files[0]))
	if torn != nil || calls == 0 || end != nil || first.Lost != 0 {
		t.Errorf("the first: %v, %d calls, %+v, %d lost", torn, calls, end, first.Lost)
	}
	second, calls, end, torn := records(t, filepath.Join(dir, files[1]))
	if torn != nil || calls < 10 || end == nil || second.Lost != s.lost || second.Segment != 1 {
		t.Errorf("the second: %v, %d calls, %+v, segment %d, says %d of %d lost", torn, calls, end, second.Segment, second.Lost, s.lost)
	}
}

// A journal that is turned on while the loop runs says so, and has its state.
func TestARecordingThatBeginsMidway(t *testing.T) {
	p, w := newTapedPure(t, attText, nil)
	for range 5 {
		tapedCycle(p, w)
	}
	var b bytes.Buffer
	tape := NewWriterTape(&b)
	w.Record(tape, p.now)
	tapedCycle(p, w)
	p.rtt = 90
	w.SetProber(p.now, p)
	w.SetRouter(p.now)
	f, _ := config.Parse("att.yaml", strings.NewReader(strings.Replace(attText, "step_up_mbps: 2", "step_up_mbps: 3", 1)), config.Options{})
	if err := w.Reconfigure(p.now, WANOptionsOf(f.WAN, false), f.WAN); err != nil {
		t.Fatal(err)
	}
	bad := WANOptionsOf(f.WAN, false)
	bad.Shaper.Period = -1
	if err := w.Reconfigure(p.now, bad, f.WAN); err == nil {
		t.Error("a bad configuration was taken")
	}
	tapedCycle(p, w)
	w.Stop(p.now, "stopped")
	w.Record(nil, p.now)
	tapedCycle(p, w)
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := journal.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); !h.Midway || h.Segment != 0 || len(h.State) == 0 || h.Now != h.Run {
		t.Errorf("%+v", h)
	}
	var kinds []string
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		switch rec := rec.(type) {
		case *journal.Call:
			kinds = append(kinds, rec.Kind.String())
			if rec.Kind == journal.Tick && len(rec.Replies) != 3 {
				t.Errorf("%d replies", len(rec.Replies))
			}
		case *journal.Reconfigure:
			kinds = append(kinds, "reconfigure")
			if !strings.Contains(rec.Config, "step_up_mbps: 3") {
				t.Error(rec.Config)
			}
		case *journal.Probes:
			kinds = append(kinds, "probes")
		case *journal.Router:
			kinds = append(kinds, "router")
		case *journal.End:
			kinds = append(kinds, rec.Why)
		}
	}
	all := strings.Join(kinds, " ")
	if !strings.HasPrefix(all, "tick ") || !strings.Contains(all, "probes router reconfigure tick") || !strings.HasSuffix(all, "stopped") {
		t.Errorf("%s", all)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAWriterTapeThatFails(t *testing.T) {
	tape := NewWriterTape(fullDisk{})
	p, w := newTapedPure(t, attText, tape)
	tapedCycle(p, w)
	if err := tape.Close(); err == nil || !strings.Contains(err.Error(), "no space left") || tape.Err() == nil || tape.Full() {
		t.Errorf("%v", err)
	}
	if n, _ := tape.Size(); n != 0 {
		t.Errorf("%d bytes", n)
	}
}

// Recording a call costs no allocation.
func TestRecordingAllocatesNothing(t *testing.T) {
	text := strings.Replace(attText, "interval_ms: 2000", "interval_ms: 2000\n  policy: tracking", 1)
	measure := func(tape Tape) float64 {
		p, w := newTapedPure(t, text, tape)
		tapedCycle(p, w)
		wake := func() {
			p.now = p.now.Add(50 * time.Millisecond)
			_ = w.Wake(p.now)
		}
		for range 2000 {
			wake()
		}
		return testing.AllocsPerRun(5000, wake)
	}
	without, with := measure(nil), measure(NewWriterTape(io.Discard))
	if with > without {
		t.Errorf("%v allocations a call, %v without a tape", with, without)
	}
}

func BenchmarkTapedWake(b *testing.B) {
	for name, tape := range map[string]Tape{"without": nil, "with": NewWriterTape(io.Discard)} {
		b.Run(name, func(b *testing.B) {
			f, _ := config.Parse("att.yaml", strings.NewReader(strings.Replace(attText, "interval_ms: 2000", "interval_ms: 2000\n  policy: tracking", 1)), config.Options{})
			src := &repeating{}
			w, err := NewTaped(WANOptionsOf(f.WAN, false), src, 1, nil, Recording{Config: f.WAN})
			if err != nil {
				b.Fatal(err)
			}
			w.Record(tape, 1)
			b.ReportAllocs()
			now := unit.Time(time.Hour)
			for b.Loop() {
				now = now.Add(50 * time.Millisecond)
				src.now = now
				_ = w.Wake(now)
			}
		})
	}
}

// repeating answers each drain with one reply.
type repeating struct{ now unit.Time }

func (r *repeating) Drain(dst []link.Reply) []link.Reply {
	return append(dst, link.Reply{Sent: r.now.Add(-24 * time.Millisecond), Received: r.now, RTT: 24})
}
