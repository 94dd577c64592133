package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/cake"
	"wanctl/internal/calibrate"
	"wanctl/internal/capacity"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/preset"
)

// leastLoad is how long a direction has to be loaded at least: new connections fill a line after two seconds, and a median wants
// five slices of one.
const leastLoad = 8 * time.Second

// bounded names a queue that limits what a load from this host can carry over an interface; empty is none that is known.
func (w *wizard) bounded(wan string) string {
	if !w.Linux {
		return boundingQueue(w.view.inventory, wan)
	}
	k, err := w.app.queues()
	if err != nil {
		return fmt.Sprintf("a queue of this host, which cannot be read (%v),", err)
	}
	defer func() { _ = k.Close() }()
	found, err := k.Look(wan, link.Ifb(wan))
	if err != nil {
		return fmt.Sprintf("a queue of this host, which cannot be read (%v),", err)
	}
	for _, p := range []*cake.Place{&found.Upload, &found.Download} {
		if p.HasRoot && shapes(&p.Root) {
			return fmt.Sprintf("the qdisc %s of %s", p.Root.Kind, p.Name)
		}
	}
	return ""
}

// shapes says that a qdisc has a rate of its own, or may have.
func shapes(q *cake.Cake) bool {
	return q.Kind == "cake" && q.Bandwidth > 0 || slices.Contains([]string{"htb", "hfsc", "tbf", "cbq", "netem"}, q.Kind)
}

// boundingQueue names a queue of the router that is enabled and takes what crosses an interface: one that names it, and one of the
// house as a whole, which no mark and no other interface keeps from it.
func boundingQueue(inv blueprint.Inventory, wan string) string {
	for _, r := range inv[blueprint.QueueSimple] {
		everywhere := (r["dst"] == "" || r["dst"] == "0.0.0.0/0") && r["packet-marks"] == "" && blueprint.Over(r) == ""
		if blueprint.Enabled(r) && (r["dst"] == wan || everywhere || slices.Contains(blueprint.Members(r["target"]), wan)) {
			return "the simple queue " + r["name"]
		}
	}
	for _, r := range inv[blueprint.QueueTree] {
		unmarked := r["packet-mark"] == "" || r["packet-mark"] == "no-mark"
		if blueprint.Enabled(r) && (r["parent"] == wan || r["parent"] == "global" && unmarked) {
			return "the queue " + r["name"] + " of the tree"
		}
	}
	return ""
}

// carries loads a line and returns what it carried, as rates are answered. It does so only where the load is known to take the
// line, and no queue that is there bounds it.
func (w *wizard) carries(l *preset.Line) (string, error) {
	o := capacity.Options{Iperf3: w.CapacityFrom, Time: w.CapacityTime, Idle: time.Second, Now: daemon.HostClock{}.Now}
	o.Path.Source, o.Path.Interface = w.way(l)
	if err := o.Check(); err != nil {
		return "", fmt.Errorf("--capacity-from: %w", err)
	}
	if w.CapacityTime < leastLoad {
		return "", fmt.Errorf("--capacity-time %v: at least %v are needed", w.CapacityTime, leastLoad)
	}
	if l.Queues.There {
		return "", errors.New("its queues bound what could be measured (wanctl calibrate --lift does it later)")
	}
	if why := w.bounded(l.Interface); why != "" {
		return "", fmt.Errorf("%s bounds what could be measured: take it off meanwhile, or say what the line is sold as", why)
	}
	idle := w.idle(l) // the same echoes tell whether they took the line
	if idle.RTT == 0 {
		return "", errors.New(idle.How)
	}
	if l.Idle.RTT == 0 {
		l.Idle = idle
	}
	o.Before = func(p capacity.Part) error {
		if p != capacity.Unloaded {
			fmt.Fprintf(w.app.Stdout, "Loading the %s of %s through %s for %s …\n", p, l.Name, w.CapacityFrom, w.CapacityTime)
		}
		return nil
	}
	found, err := capacity.Measure(w.ctx, o)
	if err != nil {
		return "", err
	}
	test := calibrate.Test{Ways: found.Ways}
	judged := test.Judge()
	word := func(d link.Direction) string {
		way := judged.Ways.Get(d)
		if way == nil || !way.Enough {
			err = fmt.Errorf("the %v did not carry enough for a figure", d)
			return ""
		}
		return strconv.FormatFloat(way.P50.Mbps(), 'f', 1, 64)
	}
	rates := word(link.Down) + "/" + word(link.Up)
	if err == nil {
		fmt.Fprintf(w.app.Stdout, "%s carries %s Mbit/s, the median of the test.\n", l.Name, rates)
	}
	return rates, err
}
