package scenario

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// tracesDir makes a directory with small recordings, good and broken.
func tracesDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var even strings.Builder // one packet per ms for 2 s: 12 Mbit/s, then one per 2 ms for 2 s
	for ms := range 2000 {
		fmt.Fprintln(&even, ms)
	}
	for ms := 2000; ms <= 4000; ms += 2 {
		fmt.Fprintln(&even, ms)
	}
	for name, text := range map[string]string{
		"even": even.String(), "even.gz": zipped(even.String()),
		"cut.gz": zipped(even.String())[:900], "garbage.gz": "\x1f\x8bnot gzip at all",
		"words": "10\n20\nthirty\n", "falls": "10\n5\n", "negative": "-1\n", "nothing": "\n\n", "zero": "0\n0\n",
		"long-line": "1\n" + strings.Repeat("1", 5000), "huge": "1\n99999999999\n",
		"a.csv": "t_s,mbps\n0.0,10\n0.5,20\n1.0,0\n1.5,40\n", "a.csv.gz": zipped("0,10\n0.5,20\n1,0\n1.5,40\n"),
		"bad.csv": "t_s,mbps\n0,10\n1;20\n", "back.csv": "1,10\n1,20\n", "one.csv": "t_s,mbps\n0,10\n", "nan.csv": "0,NaN\n1,2\n", "minus.csv": "0,1\n1,-2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// play parses a scenario whose download is the trace.
func play(dir, trace string) (*Scenario, error) {
	return parse("duration: 4s\nlinks:\n  - up: 8\n    down: {trace: {"+trace+"}, twin: {kind: lte, mean: 5}}\n", Options{TracesDir: dir})
}

func TestTraces(t *testing.T) {
	dir := tracesDir(t)
	for _, c := range []struct{ trace, want string }{
		{"file: even, bin: 1s", "0s 12M, 2s 6M, 3s 6M"},
		{"file: even.gz, bin: 1s", "0s 12M, 2s 6M, 3s 6M"},
		{"file: even, bin: 1s, offset: 1s, length: 2s", "0s 12M, 1s 6M, 2s 12M, 3s 6M"},
		{"file: even, bin: 1s, offset: 2s, min_mbps: 7", "0s 7M"},
		{"file: even, bin: 1s, smooth: 2s", "0s 12M, 1s 10M, 2s 7.5M, 3s 7.5M"},
		{"file: a.csv, bin: 500ms", "0s 10M, 500ms 20M, 1s 0M, 1.5s 40M, 2s 10M, 2.5s 20M, 3s 0M, 3.5s 40M"},
		{"file: a.csv.gz, bin: 1s", "0s 15M, 1s 20M, 2s 15M, 3s 20M"},
		{"file: a.csv, bin: 500ms, smooth: 1s", "0s 13M, 500ms 12M, 1s 15M, 1.5s 22M, 2s 20M, 2.5s 12M, 3s 15M, 3.5s 22M"},
	} {
		s, err := play(dir, c.trace)
		if err != nil {
			t.Errorf("%s: %v", c.trace, err)
			continue
		}
		if got := steps(s.Links[0].Down); got != c.want {
			t.Errorf("%s: %s, want %s", c.trace, got, c.want)
		}
	}
}

func TestBrokenTraces(t *testing.T) {
	dir := tracesDir(t)
	bomb := zipped(strings.Repeat(strings.Repeat(" ", 4000)+"\n", maxTraceBytes/4000))
	if err := os.WriteFile(filepath.Join(dir, "bomb.gz"), []byte(bomb), 0o600); err != nil {
		t.Fatal(err)
	}
	for trace, want := range map[string]string{
		"file: missing":                        "missing: there is no such trace; put it there, or leave --traces out to play its synthetic twin",
		"file: words":                          `words: line 3: "thirty" is not a whole number of milliseconds; a mahimahi trace has one millisecond per line`,
		"file: falls":                          "falls: line 2: 5 ms after 10 ms: the times must not fall",
		"file: negative":                       "line 1: -1 ms is outside",
		"file: nothing":                        "holds no time above 0 ms",
		"file: zero":                           "holds no time above 0 ms",
		"file: huge":                           "line 2: 99999999999 ms is outside",
		"file: long-line":                      "line 2: is longer than 4096 bytes",
		"file: cut.gz":                         "the gzip data is damaged or cut off",
		"file: garbage.gz":                     "the gzip data is damaged",
		"file: bomb.gz":                        "the trace is larger than 128 MiB",
		"file: bad.csv":                        `bad.csv: line 3: "1;20" is not t_s,mbps; a CSV trace has t_s,mbps per line`,
		"file: back.csv":                       "line 2: 1 s is not after the line before it",
		"file: one.csv":                        "has fewer than two lines of t_s,mbps",
		"file: nan.csv":                        "line 1: NaN Mbit/s is outside 0 to 100000",
		"file: minus.csv":                      "line 2: -2 Mbit/s is outside",
		"file: even, format: csv":              `line 1: "0" is not t_s,mbps`,
		"file: a.csv, format: mahimahi":        `line 1: "t_s,mbps" is not a whole number`,
		"file: sub":                            "sub: is not a regular file",
		"file: pipe":                           "pipe: is not a regular file",
		"file: out":                            "escapes",
		"file: /etc/passwd":                    "leads out of the directory",
		"file: even, offset: 5s":               "is 4s long, so nothing is left behind an offset of 5s",
		"file: even, offset: 1s, length: 5s":   "is 4s long, and 5s from 1s on are wanted",
		"file: even, length: 3s, loop: false":  "has 3s for a scenario of 4s; allow it to repeat",
		"file: a.csv, offset: 1s, length: 0.5": "with its unit",
	} {
		_, err := play(dir, trace)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "story.yaml:4:") {
			t.Errorf("%s: %v\nwant: %s", trace, err, want)
		}
	}
	if _, err := play(filepath.Join(dir, "nowhere"), "file: even"); err == nil || !strings.Contains(err.Error(), "the directory of the traces cannot be opened") {
		t.Errorf("%v", err)
	}
}

// Without a directory nothing is opened: the twin is played whatever the recording is called.
func TestTwinWithoutTraces(t *testing.T) {
	s, err := play("", "file: missing")
	if err != nil || len(s.Links[0].Down.Steps) < 100 || len(s.Recordings) != 0 {
		t.Errorf("%v, %v", s, err)
	}
	s, err = play(tracesDir(t), "file: even")
	if err != nil || len(s.Recordings) != 1 || s.Recordings[0] != "even" {
		t.Errorf("%v, %v", s, err)
	}
}

// Cutting loses nothing: what the bins carry is what the recording carried, for bins that divide the part's length.
func TestCutKeepsTheAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		ms, n := int64(0), rapid.IntRange(1, 300).Draw(t, "packets")
		for range n {
			ms += rapid.Int64Range(0, 40).Draw(t, "gap")
			fmt.Fprintln(&text, ms)
		}
		ms += 20 - ms%20 // the end of the recording on a bin's edge
		fmt.Fprintln(&text, ms)
		rec, err := readMahimahi(strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		d := time.Duration(ms) * time.Millisecond
		tr := &trace{bin: 20 * time.Millisecond, smooth: 20 * time.Millisecond, loop: rapid.Bool().Draw(t, "loop")}
		rounds := 1
		if tr.loop {
			rounds = rapid.IntRange(1, 3).Draw(t, "rounds")
		}
		cut, err := tr.cut(rec, d*time.Duration(rounds))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, s := range cut {
			sum += float64(s.Rate) * tr.bin.Seconds()
		}
		if want := float64((n+1)*rounds) * packetBits; math.Abs(sum-want) > 1 {
			t.Fatalf("%.0f bits, want %.0f", sum, want)
		}
	})
}
