package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the tests run without the race detector starts no goroutine, in the code or in its tests.
func TestSequentialPackagesStartNoGoroutine(t *testing.T) {
	out, err := exec.Command("../../scripts/sequential").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	for _, p := range pure {
		if !slices.Contains(packages, "./"+p) {
			t.Errorf("scripts/sequential does not know %s, which is judgement", p)
		}
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p, "./")
		files, err := filepath.Glob(filepath.Join("../..", name, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("scripts/sequential names %s, which is no package: %v", p, err)
		}
		for _, f := range files {
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, f, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine: take %s out of scripts/sequential", set.Position(n.Pos()), p)
				case *ast.SelectorExpr: // (*sync.WaitGroup).Go, (*errgroup.Group).Go, (*testing.T).Parallel
					if n.Sel.Name == "Go" || n.Sel.Name == "Parallel" {
						t.Errorf("%s: %s starts a goroutine: take %s out of scripts/sequential", set.Position(n.Pos()), n.Sel.Name, p)
					}
				}
				return true
			})
		}
	}
}
