package scenario

import (
	"slices"
	"strings"
	"testing"
)

func TestShipped(t *testing.T) {
	if n := len(Names()); n < 24 {
		t.Errorf("%d scenarios", n)
	}
	for _, name := range Names() {
		s, err := Builtin(name, Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		check(t, s)
		if s.Name != name || !strings.HasSuffix(s.About, ".") || len(s.Phases) == 0 {
			t.Errorf("%s: name %q, about %q, %d phases", name, s.Name, s.About, len(s.Phases))
		}
	}
}

func TestBuiltinNames(t *testing.T) {
	for was, is := range formerly {
		if !slices.Contains(Names(), is) || slices.Contains(Names(), was) {
			t.Errorf("%s is to be called %s", was, is)
		}
	}
	_, err := Builtin("starlnik", Options{})
	if err == nil || !strings.Contains(err.Error(), "did you mean starlink?") {
		t.Errorf("%v", err)
	}
	if _, err := Builtin("../builtin", Options{}); err == nil {
		t.Error("a path was accepted")
	}
}
