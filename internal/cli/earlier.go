package cli

import (
	"fmt"
	"slices"

	"wanctl/internal/config"
	"wanctl/internal/install"
)

// beside says what speaks against starting these files beside processes of the earlier Python system: two controllers on one
// queue, or on one rule, undo each other's writes. A process that works on something else, or does not say on what, is warned
// of alone.
func beside(running []install.Process, files []*config.File, open func(string) (*config.File, error)) (warnings []string, refused error) {
	for _, p := range running {
		path := p.ConfigOf()
		theirs, err := open(path)
		if path == "" || err != nil {
			warnings = append(warnings, fmt.Sprintf("the earlier system runs on this host (process %d, %s), and what it works on cannot be told: "+
				"two controllers on one queue undo each other; wanctl deploy stops and archives it", p.PID, p.Line))
			continue
		}
		for _, f := range files {
			if what := shared(f, theirs); what != "" {
				return warnings, fmt.Errorf("%s: the earlier system works on %s (process %d, with %s): stop it first, or let wanctl deploy take over from it",
					f.Name, what, p.PID, path)
			}
		}
	}
	return warnings, nil
}

// shared is what two configurations would both write, "" for nothing.
func shared(a, b *config.File) string {
	switch {
	case a.WAN != nil && b.WAN != nil && a.WAN.Router.Host == b.WAN.Router.Host && a.WAN.Queues == b.WAN.Queues:
		return "the same queues"
	case a.Steering != nil && b.Steering != nil && a.Steering.Router.Host == b.Steering.Router.Host && slices.ContainsFunc(rules(a), func(r string) bool {
		return slices.Contains(rules(b), r)
	}):
		return "the same rule"
	}
	return ""
}

// rules are the comments of the rules that steering switches.
func rules(f *config.File) (out []string) {
	for _, a := range f.Steering.Alternates {
		if a.RuleComment != "" {
			out = append(out, a.RuleComment)
		}
	}
	return out
}

// alone refuses to start what the earlier system works on.
func (a *App) alone(files []*config.File, dry bool) error {
	running := install.EarlierRunning()
	if len(running) == 0 {
		return nil
	}
	warnings, refused := beside(running, files, func(path string) (*config.File, error) {
		f, ds := a.parseOne(path, "")
		if f == nil {
			return nil, ds.Err()
		}
		return f, nil
	})
	for _, w := range warnings {
		fmt.Fprintln(a.Stderr, "wanctl:", w)
	}
	if refused != nil && dry { // it writes nothing
		fmt.Fprintln(a.Stderr, "wanctl:", refused)
		return nil
	}
	return refused
}
