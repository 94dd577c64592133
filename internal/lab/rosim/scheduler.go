package rosim

import (
	"context"
	"strings"
	"time"

	"wanctl/internal/unit"
)

const (
	schedulerPath = "/system/scheduler"
	scriptPath    = "/system/script"
	// byScheduler is who has made the changes that a scheduled script makes.
	byScheduler = "*scheduler"
	// longestPass bounds how far [Router.Pass] puts the clock ahead.
	longestPass = 31 * 24 * time.Hour
	// mostRuns bounds the scheduled runs of one pass.
	mostRuns = 100_000
)

// now is the router's clock.
func (r *Router) now() unit.Time { return r.opt.Now().Add(time.Duration(r.skipped.Load())) }

// scheduled is what an entry of /system/scheduler becomes beside what it stores: when it is due. The caller holds the lock.
func (r *Router) scheduled(it *item, vals map[string]value) {
	merged := func(name string) value {
		if v, given := vals[name]; given {
			return v
		}
		return it.vals[name]
	}
	every := leastInterval(merged("interval"))
	switch _, timed := vals["interval"]; {
	case every <= 0 || merged("disabled").num != 0:
		it.due = 0
	case it.due == 0 || timed:
		it.due = r.now().Add(every)
	}
	r.reschedule()
}

// leastInterval is a scheduler's interval, no less than a second unless it is none at all.
func leastInterval(v value) time.Duration {
	if v.num <= 0 {
		return 0
	}
	return max(time.Duration(v.num), time.Second)
}

// restarted lets what begins at startup begin again. The caller holds the lock.
func (r *Router) restarted() {
	for _, it := range r.root.at(schedulerPath).items {
		if it.due != 0 && it.text("start-time") == "startup" {
			it.due = r.now().Add(3 * time.Second)
		}
	}
	r.reschedule()
}

// reschedule wakes the clockwork. The caller holds the lock.
func (r *Router) reschedule() {
	close(r.rescheduled)
	r.rescheduled = make(chan struct{})
}

// soonest is the scheduled entry that is due first, nil for none. The caller holds the lock.
func (r *Router) soonest() *item {
	var first *item
	for _, it := range r.root.at(schedulerPath).items {
		if it.due != 0 && (first == nil || it.due < first.due) {
			first = it
		}
	}
	return first
}

// Pass puts the router's clock ahead by d, at most a month. What becomes due meanwhile happens at its time: entries of
// address lists go, and schedulers run their scripts.
func (r *Router) Pass(d time.Duration) {
	until := r.now().Add(min(max(d, 0), longestPass))
	for range mostRuns {
		r.mu.Lock()
		next := until
		if it := r.soonest(); it != nil {
			next = min(it.due, until)
		}
		r.skipped.Add(int64(max(next.Sub(r.now()), 0)))
		r.advance()
		r.mu.Unlock()
		if !r.runDue(context.Background()) && next >= until {
			break
		}
	}
	r.withLock(r.reschedule)
}

// clockwork runs what is scheduled until ctx ends. A clock that stands still ends it.
func (r *Router) clockwork(ctx context.Context) {
	for {
		r.mu.Lock()
		wake, it := r.rescheduled, r.soonest()
		var wait time.Duration
		if it != nil {
			wait = it.due.Sub(r.now())
		}
		r.mu.Unlock()
		if it == nil {
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		slept, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-wake:
				cancel()
			case <-slept.Done():
			}
		}()
		err := r.sleep(slept, wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !r.runDue(ctx):
			return
		}
	}
}

// runDue runs the entry that is due first, and says whether one was.
func (r *Router) runDue(ctx context.Context) bool {
	r.mu.Lock()
	it, now := r.soonest(), r.now()
	if it == nil || it.due > now {
		r.mu.Unlock()
		return false
	}
	every := leastInterval(it.vals["interval"])
	if it.due = it.due.Add(every); it.due <= now { // what was missed is not made up for
		it.due = now.Add(every - now.Sub(it.due)%every)
	}
	it.vals["run-count"] = num(it.vals["run-count"].num + 1)
	source, may := it.text("on-event"), allPolicies()
	if s := named(r.root.at(scriptPath), source); s != nil {
		source = s.text("source")
	}
	if p, given := it.vals["policy"]; given && !p.empty() {
		may = policySet(0).with(p)
	}
	r.advance()
	r.mu.Unlock()
	out, failed, _ := r.executeAs(ctx, byScheduler, may, source)
	if failed {
		r.withLock(func() { it.vals["last-failure"] = str(strings.TrimSpace(out)) })
	}
	return true
}

// ScheduleFailure is the error text of the newest failed run of a scheduled script; empty when none has failed.
func (r *Router) ScheduleFailure(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := named(r.root.at(schedulerPath), name)
	if it == nil {
		return ""
	}
	return it.text("last-failure")
}
