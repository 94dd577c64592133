package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/archtest/mutant"
)

// Every property of the words and the judgement has a mutant that shows it can fail, and somebody tries it.
func TestEveryPropertyHasAMutant(t *testing.T) {
	properties := 0
	for _, name := range pure {
		dir := filepath.Join("../..", name)
		tried := map[string]bool{}
		specs := filepath.Join(dir, "testdata", "mutants")
		if _, err := os.Stat(specs); err == nil {
			ms, err := mutant.Load(specs)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				tried[m.Test] = true
			}
		}
		tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		runs, wants := false, false
		for _, path := range tests {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
					continue
				}
				runs = runs || calls(f, "mutant", "Run")
				if !calls(f, "rapid", "Check") {
					continue
				}
				properties++
				wants = true
				if !tried[f.Name.Name] {
					t.Errorf("%s: %s has no mutant in testdata/mutants: nothing shows that it can fail", name, f.Name.Name)
				}
			}
		}
		if wants && !runs {
			t.Errorf("%s: no test calls mutant.Run: its mutants are not tried", name)
		}
	}
	if properties < 20 {
		t.Errorf("%d properties were found: this test looks past them", properties)
	}
}

// calls says whether a function calls pkg.name somewhere.
func calls(f *ast.FuncDecl, pkg, name string) (found bool) {
	eachCall(f, func(_ *ast.CallExpr, p, n string) { found = found || p == pkg && n == name })
	return found
}
