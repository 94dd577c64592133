package daemon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
)

// Once runs a single cycle: a burst of probes, one decision, its write, and the record. It leaves the rates there, for
// the next run of a timer.
func (a *Autorate) Once(ctx context.Context) error {
	closeAll, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	warnUnproved(a.log, a.cfg.Router.Transport, a.cfg.Probe.Bound())
	replies, err := probeOnce(ctx, a.pinger, len(a.cfg.Reflectors()), a.cfg.PingCount, a.cfg.Timeouts.Ping)
	if err != nil {
		return err
	}
	now := a.Clock.Now()
	a.wan.SetProber(now, &gathered{replies})
	if a.owner != nil {
		a.wan.Yield(now, true)
	}
	o := a.wan.Tick(now)
	var failed error
	claimed := a.owner == nil
	for n := 0; ; n++ {
		logNotes(a.log, o.Notes)
		if o.Line != "" {
			a.log.Line(slog.LevelInfo, o.Line)
		}
		if !claimed && a.wan.out.Status.Link == actuate.Connected {
			claimed = true
			a.owner.settle(a.Clock.Now, a.log)
			a.wan.Yield(a.Clock.Now(), a.owner.withheld)
			if o.Op == nil { // a slow router may be due for another reading already
				o = a.wan.Wake(a.Clock.Now())
			}
		}
		if o.Op == nil || n == maxOnceOps || ctx.Err() != nil {
			break
		}
		r := a.do(ctx, *o.Op)
		failed = errors.Join(failed, r.Err)
		o = a.wan.Deliver(a.Clock.Now(), r)
	}
	a.writeFeed()
	err = saveState(a.cfg.StateFile, a.encodeState(a.Clock.Now()))
	if !a.wan.Decision().Measured {
		err = errors.Join(err, errors.New("no reflector answered; nothing was changed: is the line up, and does ping_source_ip leave through it?"))
	}
	return errors.Join(failed, err)
}

// probeOnce sends a single cycle's probes and waits for their replies as long as they may take.
func probeOnce(ctx context.Context, p Pinger, hosts, count int, patience time.Duration) ([]link.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, onceTime(hosts, count, patience))
	defer cancel()
	return p.Once(ctx, count)
}

// maxOnceOps bounds a single cycle: it reads, and again when the router is ours, writes and may re-read once.
const maxOnceOps = 5

// gathered hands up replies that are already there.
type gathered struct{ replies []link.Reply }

func (g *gathered) Drain(dst []link.Reply) []link.Reply {
	dst = append(dst, g.replies...)
	g.replies = nil
	return dst
}
