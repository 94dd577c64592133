package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/link"
)

// check holds a scenario to what the package promises about it.
func check(t *testing.T, s *Scenario) {
	t.Helper()
	if s.Duration < time.Second || s.Duration > time.Hour || len(s.Links) == 0 || len(s.Reflectors) == 0 {
		t.Errorf("incomplete: %+v", s)
	}
	for i := range s.Links {
		for _, d := range []link.Direction{link.Down, link.Up} {
			p := s.Links[i].Path(d)
			if p.Nominal <= 0 || p.FIFO <= 0 || len(p.Steps) == 0 || p.Steps[0].At != 0 || p.LoadedShare <= 0 {
				t.Fatalf("%s %s: incomplete: %+v", s.Links[i].Name, d, p)
			}
			for k, st := range p.Steps {
				if st.Rate < 0 || st.At >= s.Duration || (k > 0 && (st.At <= p.Steps[k-1].At || st.Rate == p.Steps[k-1].Rate)) {
					t.Fatalf("%s %s: step %d is %+v", s.Links[i].Name, d, k, st)
				}
			}
		}
	}
	for _, f := range s.Flows {
		if f.Link < 0 || f.Link >= len(s.Links) || f.Count < 1 || f.From < 0 || f.From >= f.To || f.To > s.Duration ||
			(f.Kind != Bulk && f.Size < 1) || (f.Kind == Steady) != (f.Rate > 0) {
			t.Errorf("flow %+v", f)
		}
	}
	for _, r := range s.Reflectors {
		for k, c := range r.Changes {
			if c.Extra < 0 || (k > 0 && c.At <= r.Changes[k-1].At) {
				t.Errorf("reflector %+v", r)
			}
		}
	}
	for k, f := range s.Faults {
		if f.Link < 0 || f.Link >= len(s.Links) || f.For <= 0 || (k > 0 && f.At < s.Faults[k-1].At) {
			t.Errorf("fault %+v", f)
		}
	}
	for _, p := range s.Phases {
		if p.From < 0 || p.From >= p.To || p.To > s.Duration {
			t.Errorf("phase %+v", p)
		}
	}
}

// FuzzParse: no panic; a complete scenario or findings in order and inside the text, never both or neither.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "files/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text, Options{})
		if (s == nil) != (err != nil) {
			t.Fatalf("scenario %v with %v", s, err)
		}
		if err == nil {
			check(t, s)
			return
		}
		var ds Diagnostics
		if !errors.As(err, &ds) || len(ds) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 2
		last := pos{}
		for _, d := range ds {
			if d.Message == "" || d.Line < 0 || d.Line > lines || strings.ContainsAny(d.String(), "\n\x1b") {
				t.Errorf("bad finding %q", d)
			}
			if d.Line > 0 && (d.Line < last.Line || (d.Line == last.Line && d.Column < last.Column)) {
				t.Errorf("out of order: %v", d)
			}
			last = pos{Line: d.Line, Column: d.Column}
		}
	})
}

// fuzzCut cuts whatever a reader accepts.
func fuzzCut(t *testing.T, rec recording) {
	t.Helper()
	if rec.length() <= 0 {
		t.Fatalf("length %d", rec.length())
	}
	for _, loop := range []bool{true, false} {
		tr := &trace{bin: 50 * time.Millisecond, smooth: 70 * time.Millisecond, loop: loop}
		steps, err := tr.cut(rec, min(3*time.Second, max(time.Duration(rec.length()), time.Duration(1))))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Rate < 0 {
				t.Fatalf("%+v", s)
			}
		}
	}
}

// FuzzMahimahi: no panic, and what is accepted can be cut.
func FuzzMahimahi(f *testing.F) {
	for _, s := range []string{"", "1\n", "0\n0\n7\n", "5\n4\n", " 12 \r\n13", "x", zipped("1\n2\n"), zipped("1\n2\n")[:20], "\x1f\x8b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if rec, err := readMahimahi(strings.NewReader(text)); err == nil {
			fuzzCut(t, rec)
		}
	})
}

// FuzzCSV: no panic, and what is accepted can be cut.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"", "t_s,mbps\n0,1\n0.5,2\n", "0,1\n0,2\n", "1e-12,3\n2e-12,3", "0,1e300\n", "0,,1\n", zipped("0,1\n1,1\n"), "86400,1\n0,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if rec, err := readCSV(strings.NewReader(text)); err == nil {
			fuzzCut(t, rec)
		}
	})
}
