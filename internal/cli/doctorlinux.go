package cli

import (
	"os"
	"strconv"
	"strings"

	"wanctl/internal/cake"
	"wanctl/internal/checkup"
	"wanctl/internal/config"
	"wanctl/internal/link"
)

// linuxQueues looks a line's queues up in the kernel.
func (a *App) linuxQueues(w *config.WAN, l *checkup.Line) {
	l.Queues = link.Pair[checkup.Queue]{Down: checkup.Queue{Name: w.Interfaces.Download}, Up: checkup.Queue{Name: w.Interfaces.Upload}}
	k, err := a.queues()
	if err != nil {
		return
	}
	defer func() { _ = k.Close() }()
	s := setupOf(w)
	found, err := k.Look(s.Upload, s.Download)
	if err != nil {
		return
	}
	if p := cake.PlanApply(s, found); len(p.Steps) == 0 && len(p.Problems) == 0 {
		l.Queues.Down.Found, l.Queues.Down.Cake, l.Queues.Up.Found, l.Queues.Up.Cake = true, true, true, true
	}
}

// linuxFacts are those of this host.
func linuxFacts() *checkup.Linux {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	return &checkup.Linux{NetAdmin: mayChangeQueues(), Forwarding: err == nil && strings.TrimSpace(string(b)) == "1"}
}

// capNetAdmin is CAP_NET_ADMIN's bit in the capability sets of /proc (linux/capability.h).
const capNetAdmin = 12

// mayChangeQueues says whether this process has CAP_NET_ADMIN.
func mayChangeQueues() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(l, "CapEff:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && n>>capNetAdmin&1 == 1
		}
	}
	return false
}
