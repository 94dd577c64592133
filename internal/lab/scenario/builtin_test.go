package scenario

import (
	"testing"
)

func TestShipped(t *testing.T) {
	for _, name := range Names() {
		s, err := Builtin(name, Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		t.Log(name, s.Duration, s.Untuned, len(s.Links[0].Down.Steps), s.Links[0].Down.Nominal)
	}
}
