package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const referencePath = "../../docs/reference.yaml"

const referenceHead = `# Every key of wanctl's two kinds of config file: meaning, unit, default and bounds.
#
# The two documents below are complete configs, one of each kind, and a test holds them to the program. In brackets
# stands what the program checks. A key that is commented out without a blank (#key) is optional or excludes another
# one; the rest is what a full config has. Keys marked "not used" are accepted for files of the earlier Python system,
# with a warning. configs/minimal.yaml is the least a line needs.
#
# Rates are in Mbit/s (1 Mbit is 1 000 000 bit). "wanctl check FILE" reports every error of a file at once.
`

var referenceTitles = [...]string{
	kindWAN:      "# One line: wanctl autorate FILE\n",
	kindSteering: "# Steering between two lines: wanctl steer FILE\n",
}

// reference prints the schema as the documentation has it.
func reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for kind, schema := range schemas {
		b.WriteString("\n---\n" + referenceTitles[kind])
		own := "spectrum"
		if kind == int(kindSteering) {
			own = "steering"
		}
		for i, k := range schema {
			depth := strings.Count(k.path, ".")
			indent := strings.Repeat("  ", depth)
			if depth == 0 || (k.typ == typeSection && k.ignored == "") || parent(k.path) != parent(schema[i-1].path) {
				b.WriteString("\n")
			}
			for _, line := range wrap(k.doc, 116-len(indent)) {
				b.WriteString(indent + "# " + line + "\n")
			}
			if f := facts(k); f != "" {
				b.WriteString(indent + "# [" + f + "]\n")
			}
			b.WriteString(indent)
			if k.off {
				b.WriteString("#")
			}
			line := "ATT"
			if strings.HasPrefix(k.path, further+".") {
				line = "LTE"
			}
			if parent(k.path) == listsKey {
				line = "kids"
			}
			b.WriteString(strings.ReplaceAll(leaf(k.path), "*", line) + ":")
			shown := k.example
			if shown == "" {
				shown = k.def
			}
			if k.ignored != "" {
				shown = "…"
			}
			if shown != "" {
				b.WriteString(" " + strings.ReplaceAll(shown, "%", own))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func readReference(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "\n---\n")
	if len(parts) != 3 {
		t.Fatalf("the reference has %d parts, want a head and two documents", len(parts))
	}
	return parts[1:]
}

// TestReferenceIsTheSchema holds meaning, unit, default and bounds of each key in the reference to the table that
// drives the parser.
func TestReferenceIsTheSchema(t *testing.T) {
	golden(t, referencePath, reference())
}

// TestReferenceIsComplete reads the reference as text, without the code that wrote it.
func TestReferenceIsComplete(t *testing.T) {
	line := regexp.MustCompile(`^( *)(#?)([A-Za-z0-9_]+):(?: (.*))?$`)
	for i, doc := range readReference(t) {
		seen := map[string]bool{}
		var path []string
		var comment string
		for _, l := range strings.Split(doc, "\n") {
			m := line.FindStringSubmatch(l)
			if m == nil {
				if s, ok := strings.CutPrefix(strings.TrimSpace(l), "# "); ok {
					comment += s + "\n"
				} else {
					comment = ""
				}
				continue
			}
			depth := len(m[1]) / 2
			if depth > len(path) {
				t.Fatalf("document %d: %q is indented too deep", i, l)
			}
			path = append(path[:depth], m[3])
			full := strings.Join(path, ".")
			k, ok := lookup(schemas[i], full)
			if !ok {
				t.Errorf("document %d: %s is no key of the program", i, full)
				continue
			}
			if seen[k.path] {
				t.Errorf("document %d: %s stands there twice", i, full)
			}
			seen[k.path] = true
			if comment == "" {
				t.Errorf("document %d: %s is not explained", i, full)
			}
			for _, want := range []string{k.def, k.bounds(), k.unit} {
				if !strings.Contains(comment, want) {
					t.Errorf("document %d: %s does not tell %q:\n%s", i, full, want, comment)
				}
			}
			comment = ""
		}
		for _, k := range schemas[i] {
			if !seen[k.path] {
				t.Errorf("document %d: %s is missing", i, k.path)
			}
		}
	}
}

// TestReferenceParses checks that both documents are configs without a finding, and that no key of them is unknown
// when everything that is commented out is there, too.
func TestReferenceParses(t *testing.T) {
	off := regexp.MustCompile(`(?m)^( *)#([A-Za-z0-9_]+:)`)
	for i, doc := range readReference(t) {
		f, ds := Parse("reference.yaml", strings.NewReader(doc), Options{})
		if f == nil || len(ds) > 0 {
			t.Errorf("document %d has findings:\n%v", i, ds)
		}
		_, ds = Parse("reference.yaml", strings.NewReader(off.ReplaceAllString(doc, "$1$2")), Options{})
		if len(ds) == 0 {
			t.Errorf("document %d: two forms of the floors together passed", i)
		}
		for _, d := range ds {
			if strings.Contains(d.Message, "unknown") || strings.Contains(d.Message, "YAML") || strings.Contains(d.Message, "found") {
				t.Errorf("document %d: %v", i, d)
			}
		}
	}
}

// TestSchema checks the table itself.
func TestSchema(t *testing.T) {
	for kind, schema := range schemas {
		for i, k := range schema {
			if slices.ContainsFunc(schema[:i], func(o key) bool { return o.path == k.path }) {
				t.Errorf("kind %d: %s stands there twice", kind, k.path)
			}
			if p := parent(k.path); p != "" {
				if s, ok := lookup(schema, p); !ok || s.typ != typeSection || s.ignored != "" {
					t.Errorf("kind %d: %s is in no section", kind, k.path)
				}
			}
			if k.ignored == "" && k.doc == "" {
				t.Errorf("kind %d: %s has no meaning", kind, k.path)
			}
			if k.ignored == "" && k.typ != typeSection && k.alias == "" && k.def == "" && k.defWords == "" && k.required == "" {
				t.Errorf("kind %d: %s has neither default nor requirement", kind, k.path)
			}
			if k.alias != "" {
				if a, ok := lookup(schema, k.alias); !ok || a.alias != "" || a.typ != k.typ || a.bounds() != k.bounds() {
					t.Errorf("kind %d: %s is no fitting name of %s", kind, k.path, k.alias)
				}
			}
			if k.typ == typeWord && !slices.Contains(k.words, k.def) {
				t.Errorf("kind %d: %s defaults to %q, which is none of its words", kind, k.path, k.def)
			}
			if (k.typ == typeNumber || k.typ == typeInteger) && k.bounds() == "" {
				t.Errorf("kind %d: %s has no bounds", kind, k.path)
			}
			p := &parser{schema: schema}
			if k.def != "" && (k.typ == typeNumber || k.typ == typeInteger) && !k.inside(p.num(k.path)) {
				t.Errorf("kind %d: %s defaults to %q, outside %s", kind, k.path, k.def, k.bounds())
			}
		}
	}
}
