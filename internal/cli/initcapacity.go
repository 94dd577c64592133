package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"wanctl/internal/calibrate"
	"wanctl/internal/capacity"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/preset"
)

// leastLoad is how long a direction has to be loaded at least: new connections fill a line after two seconds, and a median wants
// five slices of one.
const leastLoad = 8 * time.Second

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
	var test calibrate.Test
	for _, d := range []link.Direction{link.Down, link.Up} {
		if s := found.Ways.Get(d); s != nil {
			span := calibrate.Span(*s)
			test.Ways.Set(d, &span)
		}
	}
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
