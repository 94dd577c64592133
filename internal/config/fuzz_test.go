package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/shaper"
	"wanctl/internal/steer"
)

// FuzzParse holds every input to the promises of Parse: no panic; a file or errors, never both or neither; findings
// in order and inside the text; what is accepted is what the judgement accepts, and no rate is 0 (unlimited).
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "../../configs/*.yaml", "../../docs/reference.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, ds := Parse("fuzz.yaml", strings.NewReader(text), Options{})
		if (file == nil) != ds.HasErrors() {
			t.Fatalf("file %v with findings:\n%v", file, ds)
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
		if file == nil {
			return
		}
		if w := file.WAN; w != nil {
			if _, err := shaper.New(w.Shaper); err != nil {
				t.Error(err)
			}
			if w.Tracking == nil && (w.Base.Down <= 0 || w.Base.Up <= 0) || len(w.Reflectors()) == 0 || w.Name == "" ||
				(w.Router.Transport == TransportSSH && w.Router.Host == "") || (w.Router.Transport == TransportLinux && w.Interfaces.Upload == "") {
				t.Errorf("incomplete: %+v", w)
			}
		}
		if s := file.Steering; s != nil {
			if _, err := steer.New(s.Steer); err != nil {
				t.Error(err)
			}
			if s.Alternates[0].RuleComment == "" || s.Source == "" || s.PingHost == "" {
				t.Errorf("incomplete: %+v", s)
			}
		}
	})
}
