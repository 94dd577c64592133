package routeros

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLinesExistOnEveryVersion looks up every menu, command, argument and property of the lines we send in the command
// trees of the RouterOS versions we claim: nothing in them is made up.
func TestLinesExistOnEveryVersion(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "lines.golden"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "{") {
			rest, _, ok := strip(strings.TrimSpace(line))
			if !ok {
				t.Fatalf("cannot read %q", line)
			}
			lines = append(lines, rest)
		}
	}
	versions := schema(t)
	all := strings.Join(lines, "\n")
	commands := regexp.MustCompile(`/([a-z/-]+) ([a-z]+)`).FindAllStringSubmatch(all, -1)
	gets := regexp.MustCompile(`/([a-z/-]+) get (?:\$[a-z] )?([a-z-]+)`).FindAllStringSubmatch(all, -1)
	sets := regexp.MustCompile(`/([a-z/-]+) set (?:\$[a-z]|\*[0-9A-F]+) ([a-z-]+)=`).FindAllStringSubmatch(all, -1)
	wheres := regexp.MustCompile(`/([a-z/-]+) find where ([^\]]*)\]`).FindAllStringSubmatch(all, -1)
	verbs := regexp.MustCompile(`:([a-z]+)`).FindAllStringSubmatch(all, -1)
	for what, found := range map[string]int{"commands": len(commands), "gets": len(gets), "sets": len(sets), "wheres": len(wheres), "verbs": len(verbs)} {
		if found == 0 {
			t.Fatalf("no %s found in the lines: the test reads nothing", what)
		}
	}
	for version, tree := range versions {
		for _, c := range commands {
			if _, ok := tree[c[1]].Commands[c[2]]; !ok {
				t.Errorf("%s has no /%s %s", version, c[1], c[2])
			}
		}
		for _, s := range sets {
			if !slices.Contains(tree[s[1]].Commands["set"], s[2]) {
				t.Errorf("%s: /%s set has no %s", version, s[1], s[2])
			}
		}
		for _, v := range verbs {
			if _, ok := tree[""].Commands[v[1]]; !ok {
				t.Errorf("%s has no :%s", version, v[1])
			}
		}
		readable := func(menu, property string) {
			if r := tree[menu].Readable; r != nil && !slices.Contains(r, property) {
				t.Errorf("%s: /%s has no property %s", version, menu, property)
			}
		}
		for _, g := range gets {
			readable(g[1], g[2])
		}
		for _, w := range wheres {
			for condition := range strings.FieldsSeq(w[2]) {
				if p := condition[:max(strings.IndexAny(condition, "=~"), 0)]; p != ".id" { // which every item has
					readable(w[1], p)
				}
			}
		}
	}
}

// tree is one version's menus: their commands with arguments, and the properties that can be read, where they are known.
type tree map[string]struct {
	Commands map[string][]string
	Readable []string
}

// schema reads the command trees of the RouterOS versions we claim.
func schema(t *testing.T) map[string]tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var versions map[string]tree
	if err := json.Unmarshal(text, &versions); err != nil {
		t.Fatal(err)
	}
	if len(versions) != 8 {
		t.Errorf("%d versions", len(versions))
	}
	return versions
}

// TestAsksExistOnEveryVersion does the same for the API and REST: menu, command, each argument as the console calls it, and each
// property that is asked for or compared.
func TestAsksExistOnEveryVersion(t *testing.T) {
	seen := map[string]bool{}
	for version, tree := range schema(t) {
		for name, k := range tasks() {
			for _, a := range asked(t, k) {
				menu := strings.TrimPrefix(a.menu, "/")
				arguments, ok := tree[menu].Commands[a.verb]
				if !ok {
					t.Errorf("%s has no %s %s (%s)", version, a.menu, a.verb, name)
				}
				need := map[string]bool{"numbers": a.id != "", a.key: a.key != "", "proplist": len(a.list) > 0, "where": len(a.where) > 0}
				for _, p := range a.add {
					need[p.Key] = true
				}
				for argument, needed := range need {
					if seen[argument] = seen[argument] || needed; needed && !slices.Contains(arguments, argument) {
						t.Errorf("%s: %s %s has no %s", version, a.menu, a.verb, argument)
					}
				}
				properties := slices.Clone(a.list)
				for _, q := range a.where {
					if p, _, compares := strings.Cut(q, "="); compares {
						properties = append(properties, p)
					}
				}
				for _, p := range properties {
					if r := tree[menu].Readable; p != ".id" && r != nil && !slices.Contains(r, p) {
						t.Errorf("%s: %s has no property %s", version, a.menu, p)
					}
				}
			}
		}
	}
	for _, argument := range []string{"numbers", "max-limit", "proplist", "where"} {
		if !seen[argument] {
			t.Errorf("no command uses %s: the test reads nothing", argument)
		}
	}
}
