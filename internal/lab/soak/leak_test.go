package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The simulated run sees each kind of leak, of one a day.
func TestSimulatedLeaksAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		over := make(chan struct{})
		var kept []any
		s := short()
		s.day = time.Minute
		s.seep = func(day int) {
			f, err := os.Create(w.path("state", fmt.Sprintf("seep-%d", day)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(make([]byte, 300_000)); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, f, make([]byte, 200_000))
			go func() { <-over }()
		}
		w.play(s)
		close(over)
		w.report.Judged()
		want := []string{"all heap after collection", "all goroutines", "all descriptors", "state files", "state bytes"}
		if got := w.report.Grew(); !slices.Equal(got, want) {
			var table strings.Builder
			w.report.Print(&table)
			t.Errorf("growing are %q, want %q\n%s", got, want, &table)
		}
		for _, k := range kept {
			if f, ok := k.(*os.File); ok {
				f.Close()
			}
		}
	})
}

// A real process that leaks is seen from outside.
func TestRealLeaksAreSeen(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asLeak+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var f figures
	for n := 0; n < 20; n++ {
		before, _, err := ReadTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		for files := before; files == before; time.Sleep(10 * time.Millisecond) { // until it has leaked once more
			if files, _, err = ReadTree(dir); err != nil {
				t.Fatal(err)
			}
		}
		p, err := ReadProcess(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		files, bytes, err := ReadTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		at := float64(n)
		f.add("leak", "resident", Bytes, realRSS, at, float64(p.Resident))
		f.add("leak", "descriptors", Count, realExact, at, float64(p.Descriptors))
		f.add("leak", "files", Count, realExact, at, float64(files))
		f.add("leak", "bytes", Bytes, logBytes, at, float64(bytes))
	}
	f.report.Judged()
	if got := f.report.Grew(); len(got) != len(f.report.Series) {
		t.Errorf("growing are %q, want all of %d", got, len(f.report.Series))
	}
}

// leak is a program that takes more and more of everything, ten times a second, for a minute at most.
func leak(dir string) {
	var kept []any // else a collection would close and free it
	for i := range 600 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("leak-%d", i)))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := f.Write(make([]byte, 50_000)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		b := make([]byte, 1<<20)
		for j := range b {
			b[j] = byte(j)
		}
		kept = append(kept, b, f)
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "leaked", len(kept))
	os.Exit(0)
}
