package scenario

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const docPath = "../../../docs/scenarios.md"

func doc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tableRow is a key's row in the docs up to its meaning.
func (k *key) tableRow() string {
	def := k.defWords
	if k.def != "" {
		def = "`" + k.def + "`"
	}
	kind, _, _ := strings.Cut(k.typ.want(), " such as")
	if k.typ == typeWord {
		kind = "one of"
	}
	bounds := k.bounds()
	if bounds != "" {
		bounds = " (" + bounds + ")"
	}
	if k.typ == typeBool {
		bounds = ""
	}
	if k.typ == typeWord {
		bounds = " " + k.bounds()
	}
	return fmt.Sprintf("| `%s` | %s%s | %s | ", k.path, kind, bounds, def)
}

// Every key is in the docs with the type, bounds and default that the parser goes by, and with a meaning.
func TestTheDocsNameEveryKey(t *testing.T) {
	rows := map[string]string{}
	_, keys, _ := strings.Cut(doc(t), "## Keys\n")
	keys, _, _ = strings.Cut(keys, "\n## ")
	for line := range strings.Lines(keys) {
		line = strings.TrimSpace(line)
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			rows[cell] = line
		}
	}
	for i := range schema {
		k := &schema[i]
		want := k.tableRow()
		if meaning, ok := strings.CutPrefix(rows[k.path], want); !ok || len(strings.Trim(meaning, " |")) < 5 {
			t.Errorf("docs/scenarios.md: want the row\n%sits meaning |\nfound\n%s", want, rows[k.path])
		}
		delete(rows, k.path)
	}
	for name := range rows {
		t.Errorf("docs/scenarios.md has a row for %s, which is no key", name)
	}
}

// The list of shipped scenarios is the one that ships, in its words.
func TestTheDocsListTheShippedScenarios(t *testing.T) {
	text := doc(t)
	_, list, ok := strings.Cut(text, "## Shipped scenarios\n")
	if !ok {
		t.Fatal("docs/scenarios.md has no section \"Shipped scenarios\"")
	}
	list, _, _ = strings.Cut(list, "\n## ")
	var want strings.Builder
	for _, name := range Names() {
		s, err := Builtin(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		mark := ""
		if s.Untuned {
			mark = "untuned"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", name, short(s.Duration), mark, s.About)
	}
	if !strings.Contains(list, want.String()) {
		t.Errorf("docs/scenarios.md lists other scenarios than these:\n%s", want.String())
	}
	for was, is := range formerly {
		if !strings.Contains(list, "`"+was+"` is `"+is+"`") {
			t.Errorf("docs/scenarios.md does not say that `%s` is `%s`", was, is)
		}
	}
}

// Every example in the docs is a scenario, and the first has the promised five lines.
func TestTheDocsExamplesWork(t *testing.T) {
	text, first := doc(t), true
	for {
		_, rest, ok := strings.Cut(text, "```yaml\n")
		if !ok {
			break
		}
		var example string
		example, text, _ = strings.Cut(rest, "```")
		s, err := parse(example, Options{})
		if err != nil {
			t.Errorf("%v\n%s", err, example)
			continue
		}
		check(t, s)
		if first && strings.Count(example, "\n") != 5 {
			t.Errorf("the first example has %d lines", strings.Count(example, "\n"))
		}
		first = false
	}
	if first {
		t.Error("docs/scenarios.md has no example")
	}
}
