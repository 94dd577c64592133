package probe

import (
	"context"
	"time"
)

// The bounds on what one pinger may send, whatever its options ask: 20 echoes/s in all and 5/s to one host. They keep
// us a polite guest at public reflectors, which limit or block noisy ones.
const (
	minStep     = time.Second / 20
	minInterval = time.Second / 5
)

// legalInterval returns the time between two echoes to one host that keeps within the bounds.
func legalInterval(hosts int, asked time.Duration) time.Duration {
	return max(asked, minInterval, time.Duration(hosts)*minStep)
}

// gait is the order of march: the hosts in turn, evenly spread over the interval.
type gait struct {
	hosts, host int
	step, gap   time.Duration // between two echoes: the plan, and the least ever
	due         time.Time
	last        time.Time // the newest turn; zero before the first
}

// newGait starts at now with the first host.
func newGait(hosts int, interval time.Duration, now time.Time) *gait {
	n := time.Duration(hosts)
	return &gait{
		hosts: hosts,
		step:  legalInterval(hosts, interval) / n,
		gap:   max(minStep, (minInterval+n-1)/n),
		due:   now,
	}
}

// next returns the host whose turn it is at now and the instant of the following turn. A late turn is made up for by
// shorter gaps within the bounds; after a stop of more than one step the plan starts anew.
func (g *gait) next(now time.Time) (host int, then time.Time) {
	host = g.host
	g.host = (g.host + 1) % g.hosts
	if now.Sub(g.due) > g.step {
		g.due = now
	}
	g.due, g.last = g.due.Add(g.step), now
	then = g.due
	if least := now.Add(g.gap); then.Before(least) {
		then = least
	}
	return host, then
}

// change sets another interval at now and returns the instant of the following turn: what is left of the new step since
// the newest turn, so that neither a change nor any number of them makes two turns come too close or puts one off for ever.
func (g *gait) change(interval time.Duration, now time.Time) (then time.Time) {
	g.step = legalInterval(g.hosts, interval) / time.Duration(g.hosts)
	if g.last.IsZero() {
		return g.due // the first turn waits for nothing
	}
	if g.due = g.last.Add(max(g.step, g.gap)); g.due.Before(now) {
		g.due = now
	}
	return g.due
}

// pace calls send for each host in turn until ctx ends or count turns were made (0: no end). A signal on changed ends
// the wait in progress and takes over the interval that asked returns. Send must not block.
func pace(ctx context.Context, g *gait, count int, changed <-chan struct{}, asked func() time.Duration, send func(host int)) {
	timer := time.NewTimer(time.Until(g.due))
	defer timer.Stop()
	for i := 1; ; i++ {
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				timer.Reset(time.Until(g.change(asked(), time.Now())))
			case <-timer.C:
				waiting = false
			}
		}
		if ctx.Err() != nil {
			return
		}
		host, then := g.next(time.Now())
		send(host)
		if i == count {
			return
		}
		timer.Reset(time.Until(then))
	}
}
