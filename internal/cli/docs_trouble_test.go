package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wanctl/internal/checkup"
)

var (
	namedCheck  = regexp.MustCompile("`((?:router|host|steering|LINE)\\.[a-z0-9]+)`")
	inlineCall  = regexp.MustCompile("`(wanctl [^`]+)`")
	joinedLines = regexp.MustCompile(`["` + "`" + `] ?\+\s*["` + "`" + `]`)
)

// Each entry of docs/TROUBLESHOOTING.md names checks that there are, and something to run; each check is named; and what is
// quoted is what the program says.
func TestTroubleshooting(t *testing.T) {
	const name = "docs/TROUBLESHOOTING.md"
	parser, err := understanding()
	if err != nil {
		t.Fatal(err)
	}
	names := commandNames(parser.Model.Node)
	there, named := checkup.IDs(), map[string]bool{}
	entries := strings.Split(page(t, name), "\n### ")[1:]
	for _, e := range entries {
		title, body, _ := strings.Cut(e, "\n")
		ids := namedCheck.FindAllStringSubmatch(body, -1)
		for _, m := range ids {
			if named[m[1]] = true; !slices.Contains(there, m[1]) {
				t.Errorf("%q: the doctor has no check %s", title, m[1])
			}
		}
		if ids == nil {
			t.Errorf("%q names no check of the doctor", title)
		}
		calls := inlineCall.FindAllStringSubmatch(body, -1)
		for _, m := range calls {
			if !names[strings.TrimPrefix(m[1], "wanctl ")] { // else a command that is only spoken of
				understood(t, name+": "+title, m[1])
			}
		}
		if calls == nil && !strings.Contains(body, "\n```sh") && !strings.Contains(body, "\n```console") {
			t.Errorf("%q names nothing to run", title)
		}
	}
	for _, id := range there {
		if !named[id] {
			t.Errorf("no entry names the check %s", id)
		}
	}
	said := sayings(t)
	for _, f := range fences(t, name) {
		if f.info != "text" {
			continue
		}
		for _, line := range f.lines {
			for _, piece := range strings.Split(line, "…") {
				if piece = strings.TrimSpace(piece); !strings.Contains(said, piece) {
					t.Errorf("%s: the program never says %q", f.where, piece)
				}
			}
		}
	}
}

// sayings is the program's own text, in which what a format puts in is left out, and texts that go over lines are whole.
func sayings(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(repository, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/lab/") {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return joinedLines.ReplaceAllString(all.String(), "")
}
