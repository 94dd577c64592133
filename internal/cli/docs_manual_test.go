package cli

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var constantRow = regexp.MustCompile("(?m)^\\| `([a-z]+)\\.([A-Za-z]+)` \\| `([^`]+)` \\|")

// Each constant that docs/reference-manual.md states has that value in the source.
func TestConstantsOfTheManual(t *testing.T) {
	rows := constantRow.FindAllStringSubmatch(page(t, "docs/reference-manual.md"), -1)
	if len(rows) < 40 {
		t.Fatalf("the manual states %d constants", len(rows))
	}
	known := map[string]map[string]string{}
	for _, m := range rows {
		pkg, name, value := m[1], m[2], m[3]
		if known[pkg] == nil {
			known[pkg] = constants(t, filepath.Join(repository, "internal", pkg))
		}
		switch got, ok := known[pkg][name]; {
		case !ok:
			t.Errorf("there is no constant %s.%s", pkg, name)
		case got != value:
			t.Errorf("%s.%s is %s, the manual says %s", pkg, name, got, value)
		}
	}
}

// constants are those of a package, as its source has their values.
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files := token.NewFileSet()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/") {
			return err
		}
		f, err := parser.ParseFile(files, filepath.Join(dir, path), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, n := range v.Names {
					if i < len(v.Values) {
						var text bytes.Buffer
						if err := printer.Fprint(&text, files, v.Values[i]); err != nil {
							return err
						}
						all[n.Name] = text.String()
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
