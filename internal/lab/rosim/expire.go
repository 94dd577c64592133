package rosim

import (
	"slices"
	"time"
)

const (
	addressListPath  = "/ip/firewall/address-list"
	address6ListPath = "/ipv6/firewall/address-list"
)

var addressLists = []string{addressListPath, address6ListPath}

// listed is what an entry of an address list becomes beside what it stores: one with a timeout is dynamic, lives in RAM
// alone and goes by itself. The caller holds the lock.
func (r *Router) listed(it *item, vals map[string]value) error {
	merged := func(name string) string {
		if v, given := vals[name]; given {
			return v.text(durationUnits)
		}
		return it.text(name)
	}
	for _, other := range it.menu.items {
		if other != it && other.text("list") == merged("list") && other.text("address") == merged("address") {
			return alreadyHave(it.menu)
		}
	}
	left, given := vals["timeout"]
	switch {
	case given && left.num > 0:
		it.expires = r.now().Add(time.Duration(left.num))
		vals["dynamic"], it.dynamic = truth(true), true
	case given:
		delete(vals, "timeout")
		delete(it.vals, "timeout")
		it.expires = 0
		vals["dynamic"], it.dynamic = truth(false), false
	}
	if v, given := vals["dynamic"]; given {
		it.dynamic = v.num != 0
	}
	return nil
}

// lasting says that an item is configuration, kept in flash. Others live in RAM, and may be changed and removed although
// they are dynamic.
func (it *item) lasting() bool { return !it.dynamic || !slices.Contains(addressLists, it.menu.path) }

// expire takes the entries away whose time is over, and says of the others how much they have left. The caller holds the
// lock.
func (r *Router) expire() {
	now := r.now()
	r.dropEntries(func(it *item) bool {
		if it.expires == 0 {
			return false
		}
		left := it.expires.Sub(now)
		// What is shown is a whole number of seconds, and never none while the entry is there.
		it.vals["timeout"] = span(max((left + time.Second - 1).Truncate(time.Second), 0))
		return left <= 0
	})
}

// forget is what a restart does to entries that live in RAM. The caller holds the lock.
func (r *Router) forget() { r.dropEntries(func(it *item) bool { return it.dynamic }) }

func (r *Router) dropEntries(gone func(*item) bool) {
	for _, path := range addressLists {
		m := r.root.at(path)
		if m == nil || !slices.ContainsFunc(m.items, gone) {
			continue
		}
		kept := make([]*item, 0, len(m.items))
		for _, it := range m.items {
			if gone(it) {
				r.tell(it, true)
				continue
			}
			kept = append(kept, it)
		}
		m.items = kept
		r.notify()
	}
}
