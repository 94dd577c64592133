package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writers are the functions that make or rename files, and why what they make cannot grow for a year: one file that is replaced,
// a bound of its own, or a command that a person gives. docs/files.md tells the bounds of those that controllers and
// deployments keep; a word of its table is given for them.
var writers = map[string]struct{ why, documented string }{
	"daemon.replaceFile":     {"one file of its name, replaced whole", "_feed.json"},
	"daemon.writeOwn":        {"replaceFile's temporary file, of one name", ""},
	"daemon.saveState":       {"the state and its backup, each replaced", ".bak"},
	"daemon.loadState":       {"each is put aside over the last one that was", ".newer"},
	"daemon.Adopt":           {"the same", ".before"},
	"daemon.takeLock":        {"one line, written in place", ".lock"},
	"cli.App.surveyAlone":    {"empty, one a router", ".lock"},
	"daemon.makeOnce":        {"made once", "STATE/owner"},
	"daemon.history.tell":    {"put aside at historyMax, over the one before", "_history.jsonl"},
	"daemon.segments.create": {"journal.segment_mb each, journal.keep_segments of them", ".journal"},
	"daemon.logFile.open":    {"logging.max_bytes; see putAside", "main_log"},
	"daemon.putAside":        {"logging.backup_count of them, or one", ".1"},
	"install.writeFor":       {"replaced whole", ""},
	"install.place.lock":     {"one line, written in place", "deploy.lock"},
	"install.Detached":       {"keepLogs of them", "log/RUN.jsonl"},
	"install.copyFile":       {"in a version or an undo record, of which keepVersions and two more stay", "versions/ID/"},
	"install.move":           {"what the earlier system left, once", ""},
	"install.job.unpack":     {"versions, of which keepVersions and two more stay", "versions/ID/"},
	"routeros.appendHost":    {"a person trusts a router's key", ""},
	"cli.writeJSON":          {"one file per router that a person changes, replaced whole, and keepInventories of what it had", "router_HOST_changes.json"},
	"cli.App.record":         {"a directory that goes with the command", ""},
	"cli.wizard.trust":       {"a directory that goes with the command", ""},
	"cli.wizard.put":         {"one file of its name each, replaced whole, as a person says", "router.password"},
	"cli.newBench":           {"the demo's directory, which goes with it", ""},
	"cli.create":             {"a person's recording", ""},
	"cli.emulateCmd.Run":     {"a person's experiment", ""},
	"cli.keyAt":              {"its key", ""},
	"cli.putFile":            {"its files, of one name each", ""},
	"cli.simBenchCmd.Run":    {"a person's picture", ""},
	"cli.writePage":          {"a page of the lab", ""},
}

// making are the calls that make, rename or append to files.
var making = map[string][]string{
	"os":       {"Create", "CreateTemp", "MkdirTemp", "WriteFile", "OpenFile", "Rename", "Link"},
	"renameio": {"WriteFile", "TempFile", "NewPendingFile"},
	"flock":    {"New"},
}

// TestEveryFileIsBounded finds who makes files, so that a new one has to say why it cannot fill a disk.
func TestEveryFileIsBounded(t *testing.T) {
	found := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "lab" || d.Name() == "archtest" || d.Name() == "e2e" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && makes(f) {
				found[file.Name.Name+"."+nameOf(f)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range found {
		if _, ok := writers[name]; !ok {
			t.Errorf("%s makes files: enter it here with what bounds them", name)
		}
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "files.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range writers {
		if !found[name] {
			t.Errorf("%s makes no files any more", name)
		}
		if w.why == "" || !strings.Contains(string(page), w.documented) {
			t.Errorf("%s: docs/files.md does not speak of %q", name, w.documented)
		}
	}
}

// makes says that a function calls one of [making]; opening to read alone does not count.
func makes(f *ast.FuncDecl) (does bool) {
	eachCall(f, func(call *ast.CallExpr, pkg, name string) {
		does = does || slices.Contains(making[pkg], name) && (name != "OpenFile" || mentions(call, "O_CREATE"))
	})
	return does
}

// eachCall finds the calls of pkg.name in a piece of code.
func eachCall(in ast.Node, found func(call *ast.CallExpr, pkg, name string)) {
	ast.Inspect(in, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok {
					found(call, pkg.Name, sel.Sel.Name)
				}
			}
		}
		return true
	})
}

func mentions(n ast.Node, name string) (does bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		does = does || ok && id.Name == name
		return !does
	})
	return does
}

// nameOf is a function's name, with its receiver's type.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}
