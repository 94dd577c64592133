package soak

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What grows and what does not, of 100 samples each.
func TestJudge(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	limit := Limit{Growth: 10}
	bounded := Limit{Growth: 10, Bound: 500}
	for name, c := range map[string]struct {
		limit Limit
		at    func(i int) float64
		grows bool
	}{
		"constant":               {limit, func(int) float64 { return 100 }, false},
		"noise":                  {limit, func(int) float64 { return 100 + 20*chance.NormFloat64() }, false},
		"a slope in noise":       {limit, func(i int) float64 { return 100 + float64(i) + 5*chance.NormFloat64() }, true},
		"below the limit":        {limit, func(i int) float64 { return 100 + 0.1*float64(i) }, false},
		"a warm-up":              {limit, func(i int) float64 { return 100 + 5*min(float64(i), 20) }, false},
		"falls":                  {limit, func(i int) float64 { return 1000 - 5*float64(i) }, false},
		"a few outliers":         {limit, func(i int) float64 { return 100 + 1e6*float64(i/95) }, false},
		"a saw":                  {limit, func(i int) float64 { return float64(i % 10 * 100) }, false},
		"steps":                  {limit, func(i int) float64 { return float64(i / 10 * 5) }, true},
		"a buffer that fills":    {bounded, func(i int) float64 { return 4 * float64(i) }, false},
		"a buffer over its edge": {bounded, func(i int) float64 { return 6 * float64(i) }, true},
	} {
		s := Series{Limit: c.limit}
		for i := range 100 {
			s.Add(float64(i)/10, c.at(i))
		}
		if v := s.Judge(); v.Grows != c.grows {
			t.Errorf("%s: %+v", name, v)
		}
	}
	short := Series{Limit: limit}
	for i := range 7 {
		short.Add(float64(i), 1)
		if v := short.Judge(); v.Grows != (v.Samples < leastSamples) {
			t.Errorf("%d samples: %+v", i+1, v)
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{What: "a test", Hours: 720, RealTime: 0.2, Happened: map[string]int{"reload": 3, "disconnect": 2}}
	for _, name := range []string{"leaks", "rests"} {
		s := &Series{Of: "x", Name: name, Unit: Bytes, Limit: Limit{Growth: 1e3}}
		for i := range 40 {
			v := 5e6
			if name == "leaks" {
				v += 1e5 * float64(i)
			}
			s.Add(float64(i), v)
		}
		r.Series = append(r.Series, s)
	}
	r.Judged()
	var b strings.Builder
	r.Print(&b)
	for _, want := range []string{"a test: 30 days in 12.0 min", "disconnect 2, reload 3", "GROWS", "flat", "2.90 MB", "1.0 kB"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if g := r.Grew(); len(g) != 1 || g[0] != "x leaks" {
		t.Errorf("%q", g)
	}
}

func TestReadTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "a/y", "a/b/z"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if files, bytes, err := ReadTree(dir); files != 4 || bytes != 30 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	if files, bytes, err := ReadTree(filepath.Join(dir, "none")); files+int(bytes) != 0 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	if _, err := ReadProcess(1 << 30); err == nil {
		t.Error("a process that is not there was read")
	}
}
