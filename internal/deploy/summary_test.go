package deploy

import (
	"testing"

	"wanctl/internal/install"
)

func TestWhatASummarySays(t *testing.T) {
	for _, c := range []struct {
		outcomes []install.Outcome
		back     bool
		remains  bool
	}{
		{[]install.Outcome{install.Installed}, false, false},
		{[]install.Outcome{install.Installed, install.Remains}, false, true},
		{[]install.Outcome{install.RolledBack, install.Remains}, false, false},
		{[]install.Outcome{install.RolledBack, install.Remains}, true, true},
		{[]install.Outcome{install.Broken, install.Remains}, true, false},
	} {
		s := Summary{back: c.back}
		for _, o := range c.outcomes {
			s.Hosts = append(s.Hosts, HostResult{Result: install.Result{Outcome: o}})
		}
		if got := s.Remains(); got != c.remains {
			t.Errorf("%v, back %t: steps remain %t, want %t", c.outcomes, c.back, got, c.remains)
		}
	}
}
