package replay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/lab/score"
	"wanctl/internal/link"
)

const steps = `wan_name: line
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring:
  interval_ms: 50
  cut_interval_ms: 100
  ping_count: 1
  download: {floor_green_mbps: 450, floor_yellow_mbps: 350, floor_red_mbps: 200, ceiling_mbps: 850}
  upload: {floor_mbps: 8, ceiling_mbps: 36}
  thresholds: {target_bloat_ms: 5, warn_bloat_ms: 15, critical_bloat_ms: 30, alpha_load: 0.99}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]
  use_median_of_three: true
`

const tracks = `wan_name: line
router: {transport: linux}
interfaces: {download: d0, upload: u0}
continuous_monitoring:
  policy: tracking
  interval_ms: 500
  download: {min_mbps: 90, max_mbps: 1000}
  upload: {min_mbps: 4, max_mbps: 45}
  ping_hosts: [192.0.2.1, 192.0.2.2, 192.0.2.3]
`

func parse(t testing.TB, text string) *config.WAN {
	t.Helper()
	f, ds := config.Parse("line.yaml", strings.NewReader(text), config.Options{})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	return f.WAN
}

// simulated records a line of the household in virtual time.
func simulated(t testing.TB, cfg *config.WAN, tape daemon.Tape, oneWay bool, length time.Duration) *score.Run {
	t.Helper()
	s, err := netsim.Builtin("drop", 3)
	if err != nil {
		t.Fatal(err)
	}
	s.Duration = min(s.Duration, length)
	latency := 50 * time.Millisecond
	if cfg.Tracking != nil {
		latency = time.Millisecond
	}
	run, err := score.New(score.Setup{Scenario: s, Latency: latency, Lines: []score.Line{
		{Control: score.Loop, Config: cfg, Tape: tape, OneWay: oneWay}, {Control: score.None},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	run.Advance(run.Net().End())
	return run
}

func recorded(t testing.TB, text string, oneWay bool, length time.Duration) []byte {
	t.Helper()
	var b bytes.Buffer
	tape := daemon.NewWriterTape(&b)
	simulated(t, parse(t, text), tape, oneWay, length)
	tape.Put(&journal.End{})
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func replayed(t testing.TB, against *config.WAN, files ...[]byte) Result {
	t.Helper()
	var all []File
	for i, b := range files {
		all = append(all, File{Name: fmt.Sprintf("file%d", i), R: bytes.NewReader(b)})
	}
	r, err := Run(all, against)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A simulated run, in which the line's capacity falls under a full load, replays to the bit: every decision, operation,
// wake and note.
func TestAReplayIsIdentical(t *testing.T) {
	for _, c := range []struct {
		name, text string
		oneWay     bool
	}{{"steps", steps, false}, {"tracking", tracks, false}, {"tracking by one-way delays", tracks, true}} {
		t.Run(c.name, func(t *testing.T) {
			b := recorded(t, c.text, c.oneWay, time.Minute)
			r := replayed(t, nil, b)
			if r.First != nil || !r.Whole || r.Different != 0 {
				t.Errorf("whole %v (%s), %d of %d calls differ, the first: %v", r.Whole, r.Partial, r.Different, r.Calls, r.First)
			}
			if r.Was.Ways.Down.Cuts == 0 || r.Was.Writes == 0 || r.Was.Measured < 50 || r.Was.Ways.Down.Carried == 0 {
				t.Errorf("nothing happened in it: %+v", r.Was)
			}
			var text bytes.Buffer
			if err := r.Text(&text); err != nil || !strings.Contains(text.String(), "identical") {
				t.Errorf("%v\n%s", err, &text)
			}
			t.Logf("%d calls, %d bytes in %s: %.0f bytes/s, %.1f bytes a call\n%s", r.Calls, len(b), r.Span,
				float64(len(b))/r.Span.Seconds(), float64(len(b))/float64(r.Calls), &text)
		})
	}
}

// What a loop was told from outside is told again: another answer to it is another decision.
func TestWhatWasToldFromOutside(t *testing.T) {
	b := recorded(t, tracks, false, 20*time.Second)
	minutes := map[int]bool{}
	rewritten(t, b, func(r journal.Record) {
		if c, ok := r.(*journal.Call); ok {
			minutes[c.Outside.Minute] = true
		}
	})
	if len(minutes) != 1 || !minutes[1] {
		t.Errorf("the minutes %v were recorded, want that after midnight", minutes)
	}
	r := replayed(t, nil, rewritten(t, b, func(r journal.Record) {
		if c, ok := r.(*journal.Call); ok {
			c.Outside.Blind = c.Now > netsim.Epoch.Add(15*time.Second)
		}
	}))
	if r.First == nil || r.First.At < 15*time.Second {
		t.Errorf("with blind probes the first difference is %v", r.First)
	}
}

// A constant that is not what it was shows at the first call it decides.
func TestAChangedConstantIsFound(t *testing.T) {
	for _, c := range []struct{ name, text, was, is, what string }{
		{"an average's weight", steps, "alpha_load: 0.99", "alpha_load: 0.98", "load"},
		{"a floor", steps, "floor_yellow_mbps: 350", "floor_yellow_mbps: 360", "rate"},
		{"a profile", tracks, "policy: tracking", "policy: tracking\n  profile: latency", "rate"},
		{"a bound", tracks, "max_mbps: 1000", "max_mbps: 950", "rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := recorded(t, c.text, false, 40*time.Second)
			other := parse(t, strings.Replace(c.text, c.was, c.is, 1))
			r := replayed(t, nil, edited(t, b, func(h *journal.Header) { h.Config = other.Text }))
			if r.First == nil || !strings.Contains(r.First.What, c.what) || r.First.Recorded == r.First.Replayed || r.First.Record < 2 {
				t.Fatalf("the first difference is %v", r.First)
			}
			if !r.Whole || r.Different == 0 {
				t.Errorf("%+v", r)
			}
			t.Log(r.First)
		})
	}
}

// edited is a recording with another header.
func edited(t testing.TB, b []byte, edit func(*journal.Header)) []byte {
	t.Helper()
	return rewritten(t, b, func(r journal.Record) {
		if h, ok := r.(*journal.Header); ok {
			edit(h)
		}
	})
}

// rewritten is a recording with other records.
func rewritten(t testing.TB, b []byte, edit func(journal.Record)) []byte {
	t.Helper()
	r, err := journal.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var e journal.Encoder
	var out []byte
	put := func(rec journal.Record) {
		edit(rec)
		if err := e.Append(rec); err != nil {
			t.Fatal(err)
		}
		if n, _ := e.Waiting(); n > 4096 {
			out = e.Seal(out)
		}
	}
	h := *r.Header()
	put(&h)
	for {
		rec, err := r.Next()
		if err != nil {
			return e.Seal(out)
		}
		put(rec)
	}
}

// ring keeps the files of a recording in memory, each of a few hundred records.
type ring struct {
	files   [][]byte
	enc     journal.Encoder
	records int
}

func (r *ring) Full() bool { return r.records >= 400 }

func (r *ring) Put(rec journal.Record) {
	if h, ok := rec.(*journal.Header); ok {
		if len(r.files) > 0 {
			_ = r.enc.Append(&journal.End{Now: h.Now, More: true})
			r.seal()
		}
		r.files, r.records = append(r.files, nil), 0
	}
	r.records++
	_ = r.enc.Append(rec)
	if n, _ := r.enc.Waiting(); n > 4096 {
		r.seal()
	}
}

func (r *ring) seal() {
	i := len(r.files) - 1
	r.files[i] = r.enc.Seal(r.files[i])
}

// noImages is a recording as a version with other types would have made it.
func noImages(t testing.TB, b []byte) []byte {
	t.Helper()
	return rewritten(t, b, func(r journal.Record) {
		if i, ok := r.(*journal.Image); ok {
			i.Layout++
		}
	})
}

// Segments replay together as one file does, and each by itself, from the image of the loop that it begins with: to the
// bit, too. Where the image is of another version, the replay says that it cannot know everything.
func TestSegments(t *testing.T) {
	for _, text := range []string{steps, tracks} {
		var tape ring
		simulated(t, parse(t, text), &tape, false, 40*time.Second)
		tape.seal()
		files := tape.files
		n := len(files)
		if n < 3 {
			t.Fatalf("only %d segments", n)
		}
		same := func(name string, r Result, gaps int) {
			t.Helper()
			if !r.Whole || r.First != nil || len(r.Gaps) != gaps {
				t.Errorf("%s: %q, %q, %v", name, r.Partial, r.Gaps, r.First)
			}
		}
		same("all", replayed(t, nil, files...), 0)
		for i := range files {
			same(fmt.Sprintf("segment %d alone", i), replayed(t, nil, files[i]), 0)
		}
		same("without the first", replayed(t, nil, files[1:]...), 0)
		same("with one missing", replayed(t, nil, files[0], files[2]), 1)
		lost := edited(t, files[1], func(h *journal.Header) { h.Lost = 9 })
		same("lost records", replayed(t, nil, files[0], lost), 1)
		torn := files[0][:len(files[0])-20]
		r := replayed(t, nil, torn, files[1])
		same("a torn one", r, 1)
		if len(r.Ends) != 1 || !strings.Contains(r.Ends[0], "cut off") || !strings.Contains(r.Gaps[0], "follows a file that is cut off") {
			t.Errorf("a torn one: %q %q", r.Gaps, r.Ends)
		}

		for want, old := range map[string][][]byte{
			"begins with segment 1":  {files[1], files[2]},
			"segment 1 is missing":   {files[0], files[2]},
			"9 records":              {files[0], lost},
			"a file that is cut off": {torn, files[1]},
		} {
			for i := range old {
				old[i] = noImages(t, old[i])
			}
			if want == "a file that is cut off" {
				old[0] = torn
			}
			r := replayed(t, nil, old...)
			if r.Whole || !strings.Contains(r.Partial, want) || !strings.Contains(r.Partial, "another version of wanctl") {
				t.Errorf("%s: %q", want, r.Partial)
			}
			if text == steps && r.DifferentCycles > r.Cycles/50 {
				t.Errorf("policy steps is told by its state: %d of %d cycles differ", r.DifferentCycles, r.Cycles)
			}
			var b bytes.Buffer
			if err := r.Text(&b); err != nil || !strings.Contains(b.String(), want) {
				t.Errorf("%v\n%s", err, &b)
			}
		}

		if _, err := Run([]File{{"b", bytes.NewReader(files[1])}, {"a", bytes.NewReader(files[0])}}, nil); err == nil || !strings.Contains(err.Error(), "order") {
			t.Errorf("the wrong order: %v", err)
		}
		other := edited(t, files[1], func(h *journal.Header) { h.Run++ })
		if _, err := Run([]File{{"a", bytes.NewReader(files[0])}, {"b", bytes.NewReader(other)}}, nil); err == nil || !strings.Contains(err.Error(), "another recording") {
			t.Errorf("two recordings: %v", err)
		}
		bad := rewritten(t, files[1], func(r journal.Record) {
			if i, ok := r.(*journal.Image); ok {
				i.Data = i.Data[:len(i.Data)/2]
			}
		})
		if _, err := Run([]File{{"a", bytes.NewReader(bad)}}, nil); err == nil || !strings.Contains(err.Error(), "image is damaged") {
			t.Errorf("half an image: %v", err)
		}
	}
}

// Another configuration decides on the same inputs, and the text says what that does not show.
func TestAgainst(t *testing.T) {
	b := recorded(t, steps, false, 40*time.Second)
	r := replayed(t, parse(t, tracks), b)
	var text bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if !r.Against || r.DifferentCycles == 0 || !strings.Contains(text.String(), "would have answered") || len(r.Notes) != 1 {
		t.Errorf("%+v\n%s", r, &text)
	}
	t.Log(text.String())
	b = recorded(t, tracks, true, 40*time.Second)
	r = replayed(t, parse(t, strings.Replace(tracks, "192.0.2.3]", "192.0.2.3, 192.0.2.4]", 1)), b)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "3 reflectors, the configuration 4") {
		t.Errorf("%q", r.Notes)
	}
	if r = replayed(t, parse(t, steps), b); r.Is.Measured == 0 || r.Is.Ways.Down.Shares[link.Yellow] == 0 {
		t.Errorf("steps on what tracking recorded: %+v", r.Is)
	}
}

func TestRecordingsThatCannotBeReplayed(t *testing.T) {
	b := recorded(t, steps, false, 2*time.Second)
	for name, c := range map[string]struct {
		edit func(*journal.Header)
		want string
	}{
		"no configuration": {func(h *journal.Header) { h.Config = "x: 1" }, "the recorded configuration is none"},
		"a bad state":      {func(h *journal.Header) { h.State = []byte("{}") }, "the state in its header"},
	} {
		if _, err := Run([]File{{"a", bytes.NewReader(edited(t, b, c.edit))}}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Run([]File{{"a", strings.NewReader("hello")}}, nil); err == nil {
		t.Error("a text was replayed")
	}
	if _, err := Run(nil, nil); err == nil {
		t.Error("nothing was replayed")
	}
}

// What differs is named, whatever it is.
func TestCompare(t *testing.T) {
	base := journal.Output{}
	for want, edit := range map[string]func(*journal.Output){
		"that the cycle was measured":      func(o *journal.Output) { o.Decision.Measured = true },
		"RTT":                              func(o *journal.Output) { o.Decision.RTT = 1 },
		"baseline":                         func(o *journal.Output) { o.Decision.Baseline = 1 },
		"delta":                            func(o *journal.Output) { o.Decision.Delta = 1 },
		"the upload state":                 func(o *journal.Output) { o.Decision.State.Up = link.Red },
		"the decided download rate":        func(o *journal.Output) { o.Decision.Rates.Down = 1 },
		"the upload's reason":              func(o *journal.Output) { o.Decision.Reason.Up.From = 1 },
		"the wanted upload rate":           func(o *journal.Output) { o.Wanted.Up = 1 },
		"the download's measured capacity": func(o *journal.Output) { o.Law.Capacity.Down = 1 },
		"the upload law's cause":           func(o *journal.Output) { o.Law.Cause.Up = 1 },
		"that a download queue is drained": func(o *journal.Output) { o.Law.Queue.Down = true },
		"the router operation":             func(o *journal.Output) { o.HasOp = true; o.Op.Write = true },
		"the next wake":                    func(o *journal.Output) { o.Wake = 1 },
		"a note":                           func(o *journal.Output) { o.Notes = []link.Note{{Text: "x"}} },
	} {
		o := base
		edit(&o)
		what, was, is := compare(journal.Tick, &base, &o)
		if what != want || was == is {
			t.Errorf("%q (%s, %s), want %q", what, was, is, want)
		}
	}
}
