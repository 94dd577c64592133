package daemon

import (
	"strings"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
)

// Sharing counts, by router host, the controllers of this process that write there. The flash that wears and the commands
// a second that it bears are the router's, not a line's.
type Sharing map[string]struct{ WANs, Steerings int }

// ruleBudget is what a steering is taken to write of a router's daily budget. Its rule changes a few times a day; nothing
// holds it back.
const ruleBudget = 200

// SharingOf counts the controllers of these files.
func SharingOf(files ...*config.File) Sharing {
	s := Sharing{}
	for _, f := range files {
		switch {
		case f == nil:
		case f.WAN != nil:
			n := s[routerHost(f.WAN.Router)]
			n.WANs++
			s[routerHost(f.WAN.Router)] = n
		case f.Steering != nil:
			n := s[routerHost(f.Steering.Router)]
			n.Steerings++
			s[routerHost(f.Steering.Router)] = n
		}
	}
	return s
}

func routerHost(r config.Router) string { return strings.ToLower(r.Host) }

// share leaves a line its part of its router's budgets. One without a daily budget shares nothing.
func (s Sharing) share(r config.Router, c *actuate.Config) {
	n := s[routerHost(r)]
	if c.Daily == 0 || n.WANs == 0 {
		return
	}
	c.Daily = max((c.Daily-ruleBudget*n.Steerings)/n.WANs, 1)
	c.Burst = max(c.Burst/n.WANs, 1)
}

// options are those of this process's controller of cfg.
func (a *Autorate) options(cfg *config.WAN) WANOptions {
	o := WANOptionsOf(cfg, a.DryRun)
	a.Sharing.share(cfg.Router, &o.Actuate)
	return o
}
