package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The linter knows the same floors, so that an editor shows a wrong import before the tests do.
func TestTheLinterKnowsTheFloors(t *testing.T) {
	b, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						Files []string
						Mode  string `yaml:"list-mode"`
						Allow []string
						Deny  []struct{ Pkg, Desc string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	rules := file.Linters.Settings.Depguard.Rules
	for name, may := range floors {
		if len(may) == 0 && !slices.Contains(pure, name) || slices.Contains(may, "internal/") {
			continue // it imports nothing of ours, or everything
		}
		var of []string
		for rule, r := range rules {
			if slices.Contains(r.Files, "**/"+name+"/*.go") {
				of = append(of, rule)
			}
		}
		if len(of) != 1 {
			t.Errorf("%s stands in %d rules of depguard: enter it into one, with what floors allows", name, len(of))
			continue
		}
		r := rules[of[0]]
		var got, denied []string
		for _, a := range r.Allow {
			if own, ok := strings.CutPrefix(a, module); ok {
				got = append(got, own)
			}
		}
		for _, d := range r.Deny {
			denied = append(denied, d.Pkg)
		}
		want := slices.Clone(may)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("depguard's rule %s lets %s import %v, floors %v", of[0], name, got, want)
		}
		if strict := r.Mode == "strict"; strict != slices.Contains(bare, name) || !strict && !slices.Contains(denied, strings.TrimSuffix(module, "/")) {
			t.Errorf("depguard's rule %s is in mode %q for %s, and denies %v", of[0], r.Mode, name, denied)
		}
		for _, p := range impure {
			if slices.Contains(pure, name) && !slices.Contains(denied, p) {
				t.Errorf("depguard's rule %s lets %s import %s, which is judgement", of[0], name, p)
			}
		}
	}
}
