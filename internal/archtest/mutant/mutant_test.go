package mutant

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `# doubling must double
# (second line)
file: twice.go
test: TestTwice
--- old
	return 2 * n
--- new
	return 3 * n
--- end
`

// module writes a package of its own, with a test that checks it, and returns its directory.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":   "module example\n\ngo 1.26\n",
		"twice.go": "package example\n\nfunc twice(n int) int {\n\treturn 2 * n\n}\n",
		"twice_test.go": "package example\n\nimport \"testing\"\n\n" +
			"func TestTwice(t *testing.T) {\n\tif twice(4) != 8 {\n\t\tt.Fatal(\"not doubled\")\n\t}\n}\n\n" +
			"func TestOther(t *testing.T) {\n\tif twice(0) != 0 {\n\t\tt.Fatal(\"not zero\")\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTryVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the go tool is NOT run; nothing shows that a verdict is right")
	}
	dir := module(t)
	before, err := os.ReadFile(filepath.Join(dir, "twice.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, test, replacement string
		want                    Verdict
	}{
		{"killed", "TestTwice", "\treturn 3 * n\n", Killed},
		{"survived", "TestOther", "\treturn 3 * n\n", Survived},
		{"does not compile", "TestTwice", "\treturn n n\n", Broken},
		{"no such test", "TestNowhere", "\treturn 3 * n\n", Broken},
		{"exits instead of failing", "TestTwice", "\tpanic(\"gone\")\n", Killed},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Mutant{Name: "m", Why: "test", File: "twice.go", Test: c.test, Old: "\treturn 2 * n\n", New: c.replacement}
			got, out, err := m.Try(dir, t.TempDir())
			if err != nil || got != c.want {
				t.Errorf("Try = %v, %v; want %v\n%s", got, err, c.want, out)
			}
		})
	}
	after, err := os.ReadFile(filepath.Join(dir, "twice.go"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the source file was touched (%v):\n%s", err, after)
	}
}

func TestTryRefuses(t *testing.T) {
	dir := module(t)
	m := Mutant{Name: "m", Why: "w", File: "twice.go", Test: "TestTwice", Old: "\treturn 7 * n\n", New: "x"}
	if _, _, err := m.Try(dir, t.TempDir()); err == nil || !strings.Contains(err.Error(), "occurs 0 times") {
		t.Errorf("stale old text: %v", err)
	}
	m.File = "absent.go"
	if _, _, err := m.Try(dir, t.TempDir()); err == nil || !strings.Contains(err.Error(), "absent.go") {
		t.Errorf("absent file: %v", err)
	}
	m.File, m.Old = "twice.go", "\treturn 2 * n\n"
	if _, _, err := m.Try(dir, filepath.Join(dir, "nowhere")); err == nil || !strings.Contains(err.Error(), "overlay") {
		t.Errorf("unwritable scratch: %v", err)
	}
	t.Setenv("PATH", "")
	if v, _, err := m.Try(dir, t.TempDir()); err == nil || v != Broken {
		t.Errorf("no go tool: %v, %v", v, err)
	}
}

func TestParse(t *testing.T) {
	m, err := Parse("twice", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := Mutant{
		Name: "twice", Why: "doubling must double (second line)", File: "twice.go", Test: "TestTwice",
		Old: "\treturn 2 * n\n", New: "\treturn 3 * n\n",
	}
	if m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	for _, c := range []struct{ name, from, to, says string }{
		{"no reason", "# doubling must double\n# (second line)\n", "", "says why"},
		{"outside", "twice.go", "../twice.go", "not a file of the package"},
		{"no file", "file: twice.go\n", "", "not a file of the package"},
		{"pattern", "TestTwice", "Test.*", "not the name of a test"},
		{"same", "3 * n", "2 * n", "two different texts"},
		{"open", "--- end\n", "", "two different texts"},
		{"noise", "file:", "flie:", "none of"},
		{"tail", "--- end\n", "--- end\nmore\n", "text after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.name, []byte(strings.Replace(good, c.from, c.to, 1)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one with %q", err, c.says)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "add one") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Load("[" + dir); err == nil {
		t.Error("bad pattern: no error")
	}
	for _, f := range []string{"b.mutant", "a.mutant"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ms, err := Load(dir)
	if err != nil || len(ms) != 2 || ms[0].Name != "a" || ms[1].Name != "b" {
		t.Errorf("Load = %+v, %v", ms, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c.mutant"), []byte("junk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.mutant"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "mutant c") || !strings.Contains(err.Error(), "d.mutant") {
		t.Errorf("want both bad files named, got %v", err)
	}
}

func TestRun(t *testing.T) {
	dir := module(t)
	if err := os.Mkdir(filepath.Join(dir, "mutants"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mutants", "triple.mutant"), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	ran := t.Run("over the example", func(t *testing.T) { Run(t, "mutants") })
	if !ran {
		t.Error("Run failed over a mutant that is killed")
	}
}

func TestRapidArgs(t *testing.T) {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	if got := rapidArgs(flags); got != nil {
		t.Errorf("without rapid: %q", got)
	}
	flags.Bool("rapid.nofailfile", false, "")
	if got := rapidArgs(flags); len(got) == 0 {
		t.Error("with rapid: no flags")
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[Verdict]string{Broken: "broken", Survived: "survived", Killed: "killed", 9: "Verdict(9)"} {
		if v.String() != want {
			t.Errorf("%d: %q, want %q", v, v.String(), want)
		}
	}
}
