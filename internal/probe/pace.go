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

// plan is whom to probe and how often.
type plan struct {
	hosts    []int         // in turn, by their index among the targets; never changed, only replaced
	interval time.Duration // between two echoes to one of them, before the bounds
	// server is the host that has a turn after each of theirs, no sooner than pause after its last one; without a pause there
	// is none. All turns together come as often as without it.
	server int
	pause  time.Duration
}

// legal returns the time in which each of the hosts has its turn, or half of them where a server has the other turns, within
// the bounds.
func (p plan) legal() time.Duration {
	return max(p.interval, p.least(), time.Duration(len(p.hosts))*minStep)
}

// least is the shortest that time may be for the hosts' sake.
func (p plan) least() time.Duration {
	if p.pause > 0 {
		return minInterval / 2
	}
	return minInterval
}

// everyone returns the hosts 0 to n-1.
func everyone(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// gait is the order of march: the hosts in turn, evenly spread over the interval.
type gait struct {
	plan
	turn      int           // whose turn is next, as a place in hosts
	served    bool          // the newest turn was the server's
	step, gap time.Duration // between two echoes: the plan, and the least ever
	due       time.Time
	last      time.Time             // the newest turn; zero before the first
	lastOf    [MaxTargets]time.Time // the newest turn of each host
}

// newGait starts at now with the first host.
func newGait(p plan, now time.Time) *gait {
	g := &gait{due: now}
	g.follow(p)
	return g
}

// follow takes over a plan for the turns to come.
func (g *gait) follow(p plan) {
	g.plan = p
	g.turn %= len(p.hosts)
	n := time.Duration(len(p.hosts))
	g.step = p.legal() / n
	g.gap = max(minStep, (p.least()+n-1)/n)
}

// onTime is how much earlier than its pause a server's turn may come, as a part of it: what the turn before it was late.
const onTime = 8

// serves says whether the turn at an instant is the server's.
func (g *gait) serves(at time.Time) bool {
	return g.pause > 0 && !g.served && at.Sub(g.lastOf[g.server]) >= g.pause-g.pause/onTime
}

// next returns the host whose turn it is at now and the instant of the following turn. A late turn is made up for by
// shorter gaps within the bounds; after a stop of more than one step the plan starts anew.
func (g *gait) next(now time.Time) (host int, then time.Time) {
	if g.served = g.serves(now); g.served {
		host = g.server
	} else {
		host = g.hosts[g.turn]
		g.turn = (g.turn + 1) % len(g.hosts)
	}
	if now.Sub(g.due) > g.step {
		g.due = now
	}
	g.due, g.last, g.lastOf[host] = g.due.Add(g.step), now, now
	return host, g.legal(g.due)
}

// change follows another plan from now on and returns the instant of the following turn: what is left of the new step
// since the newest turn, so that neither a change nor any number of them makes two turns come too close or puts one off
// for ever.
func (g *gait) change(p plan, now time.Time) (then time.Time) {
	g.follow(p)
	if g.last.IsZero() {
		return g.due // the first turn waits for nothing
	}
	if g.due = g.last.Add(g.step); g.due.Before(now) {
		g.due = now
	}
	return g.legal(g.due)
}

// legal returns when the following turn may be that is due at an instant.
func (g *gait) legal(due time.Time) time.Time {
	if least := g.last.Add(g.gap); due.Before(least) {
		due = least
	}
	if least := g.lastOf[g.hosts[g.turn]].Add(minInterval); due.Before(least) && !g.serves(due) {
		due = least
	}
	return due
}

// pace calls send for each host in turn until ctx ends or count turns were made (0: no end). A signal on changed ends
// the wait in progress and takes over the plan that asked returns. Send must not block.
func pace(ctx context.Context, g *gait, count int, changed <-chan struct{}, asked func() plan, send func(host int)) {
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
