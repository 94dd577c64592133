package rosim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// room is how many items the menu may hold.
func (m *menu) room() int {
	if m.most > 0 {
		return m.most
	}
	return maxItems
}

// copyFrom takes over what can be set; not the name, which stays unique.
func (it *item) copyFrom(from *item) {
	for i := range it.menu.props {
		if p := &it.menu.props[i]; p.set && p.name != "name" {
			if v, ok := from.vals[p.name]; ok {
				it.vals[p.name] = v
			}
		}
	}
}

// prepare is what a menu does beside storing, before an item is added or changed: it may alter vals. The caller holds the
// lock.
func (r *Router) prepare(it *item, vals map[string]value) error {
	switch it.menu.path {
	case queueTreePath:
		if it.traffic == nil {
			it.traffic = &traffic{}
		}
	case simplePath:
		it.addSimple()
	case queueTypePath:
		kind, given := vals["kind"]
		if !given {
			kind = it.vals["kind"]
		}
		fillKind(kind.str, it.vals, vals)
	case userPath:
		if it.user == nil {
			it.user = &User{}
		}
		if v, ok := vals["name"]; ok {
			it.user.Name = v.str
		}
		if v, ok := vals["password"]; ok {
			it.user.Password, it.user.Open = v.str, v.str == ""
			delete(vals, "password")
		}
	case keysPath:
		key, info, _, _, err := ssh.ParseAuthorizedKey([]byte(vals["key"].str))
		if err != nil {
			return &problem{text: wrongKey}
		}
		if _, ok := vals["user"]; !ok {
			return problemf("input does not match any value of user")
		}
		it.keep(key, info)
		vals["key"] = it.vals["key"]
	case groupPath:
		if v, ok := vals["policy"]; ok {
			vals["policy"] = policySet(0).with(it.vals["policy"]).with(v).words()
		} else if _, has := it.vals["policy"]; !has {
			vals["policy"] = policySet(0).words()
		}
	case addressPath:
		if v, ok := vals["address"]; ok {
			p, ok := parseSource(v.str)
			if !ok {
				return problemf("invalid value for argument address")
			}
			if !strings.Contains(v.str, "/") {
				vals["address"] = str(p.String())
			}
			vals["network"] = str(p.Masked().Addr().String())
		}
	case addressListPath, address6ListPath:
		return r.listed(it, vals)
	case scriptPath, schedulerPath:
		if _, has := it.vals["owner"]; !has {
			it.vals["owner"] = str("admin")
		}
		if it.menu.path == schedulerPath {
			r.scheduled(it, vals)
		}
	}
	return nil
}

// cakeDefaults are the settings that a queue type of the kind cake has when nobody says otherwise.
var cakeDefaults = map[string]value{
	"cake-ack-filter": str("none"), "cake-atm": str("none"), "cake-diffserv": str("diffserv3"), "cake-flowmode": str("triple-isolate"),
	"cake-rtt": span(100 * time.Millisecond), "cake-rtt-scheme": str("none"),
}

// fillKind puts the defaults of a queue type's kind into vals, as far as neither of the two has them.
func fillKind(kind string, have, vals map[string]value) {
	if kind != "cake" {
		return
	}
	for n, v := range cakeDefaults {
		_, old := have[n]
		if _, given := vals[n]; !old && !given {
			vals[n] = v
		}
	}
}

// renamed lets everything that refers to an item of a menu follow its new name. The caller holds the lock.
func (r *Router) renamed(m *menu, from string, to value) {
	if from == "" || from == to.str {
		return
	}
	r.root.walk(func(other *menu) {
		for i := range other.props {
			p := &other.props[i]
			if !slices.Contains(p.refs, m.path) {
				continue
			}
			for _, it := range other.items {
				if it.text(p.name) == from {
					it.vals[p.name] = to
				}
			}
		}
	})
}

// removable says why an item cannot be removed, if it cannot. The caller holds the lock.
func (r *Router) removable(it *item) error {
	switch {
	case it.menu.path == activePath && r.gateOf(it) == nil:
		return &problem{text: "action failed (6)"}
	case it.dynamic && it.lasting(), it.vals["builtin"].num != 0:
		return &problem{text: "failure: can not remove dynamic item"}
	}
	return nil
}

// removed is what goes with an item. The caller holds the lock.
func (r *Router) removed(it *item) {
	if g := r.gateOf(it); g != nil {
		_ = g.Close()
	}
	if it.menu.path == userPath {
		r.dropKeys(it.text("name"))
	}
	r.tell(it, true)
}

// gateOf is the connection that a row of /user/active stands for; nil for a row that a REST login left.
func (r *Router) gateOf(it *item) *gate {
	for _, d := range r.doors {
		for g := range d.conns {
			if g.active == it {
				return g
			}
		}
	}
	return nil
}

// birth is the usual Options.Calendar.
var birth = time.Date(2026, 3, 2, 9, 17, 5, 0, time.UTC)

// date is the router's calendar.
func (r *Router) date() time.Time { return r.opt.Calendar.Add(time.Duration(r.now())) }

// addInterface adds a network interface, and its row of /queue/interface. The caller holds the lock, or nobody else knows
// the router yet.
func (r *Router) addInterface(f Interface) *item {
	m := r.interfaces()
	it := newItem(m)
	it.vals["name"], it.vals["default-name"] = str(f.Name), str(f.Name)
	it.vals["mac-address"] = str(fmt.Sprintf("02:00:5E:10:%02X:%02X", it.id>>8&0xff, it.id&0xff))
	if f.Type != "" {
		it.vals["type"] = str(f.Type)
	}
	if f.Comment != "" {
		it.vals["comment"] = str(f.Comment)
	}
	it.traffic = &traffic{}
	m.items = append(m.items, it)
	q := newItem(r.root.at("/queue/interface"))
	q.vals["interface"] = str(f.Name)
	for _, n := range []string{"queue", "active-queue", "default-queue"} {
		q.vals[n] = str("only-hardware-queue")
	}
	q.initial = maps.Clone(q.vals)
	q.menu.items = append(q.menu.items, q)
	return it
}

// fillMenus puts what every router has into the menus that no option describes. The caller holds the lock, or nobody else
// knows the router yet.
func (r *Router) fillMenus() {
	var fresh []*item
	put := func(path string, kv ...string) *item {
		m := r.root.at(path)
		if m == nil {
			return &item{vals: map[string]value{}}
		}
		it := newItem(m)
		for i := 0; i+1 < len(kv); i += 2 {
			if p := m.prop(kv[i]); p != nil {
				it.vals[kv[i]], _ = p.read(literal(kv[i+1]))
			}
		}
		m.items = append(m.items, it)
		fresh = append(fresh, it)
		return it
	}
	for _, t := range [][2]string{
		{"default", "pfifo"},
		{"ethernet-default", "pfifo"},
		{"only-hardware-queue", "none"},
		{"multi-queue-ethernet-default", "mq-pfifo"},
		{"pcq-upload-default", "pcq"},
		{"pcq-download-default", "pcq"},
		{"synchronous-default", "red"},
		{"wireless-default", "sfq"},
	} {
		put(queueTypePath, "name", t[0], "kind", t[1], "default", "yes")
	}
	for _, n := range []string{"all", "none", "dynamic", "static"} {
		put(interfaceListPath, "name", n, "builtin", "yes")
	}
	main := put(routingTablePath, "name", "main", "fib", "yes")
	main.vals["dynamic"], main.dynamic = truth(true), true
	for _, s := range []struct {
		name, port string
		off, tls   bool
	}{
		{"ftp", "21", true, false},
		{doorSSH, "22", false, false},
		{"telnet", "23", true, false},
		{doorREST, "80", false, false},
		{doorRESTTLS, "443", false, true},
		{"winbox", "8291", true, false},
		{doorAPI, "8728", false, false},
		{doorAPITLS, "8729", false, true},
	} {
		it := put(servicePath, "name", s.name, "port", s.port, "disabled", map[bool]string{true: "yes", false: "no"}[s.off])
		if s.tls {
			it.vals["certificate"], it.vals["tls-version"] = str("emulator"), str("any")
		}
		if it.menu.prop("max-sessions") != nil {
			it.vals["max-sessions"] = num(int64(r.opt.MaxSessions))
		}
	}
	for _, path := range []string{settingsPath, clockPath, webserverPath} {
		put(path)
	}
	for _, it := range fresh {
		it.initial = maps.Clone(it.vals)
	}
	for _, rule := range r.mangle().items {
		if t := rule.text("new-routing-mark"); t != "" && named(r.root.at(routingTablePath), t) == nil {
			put(routingTablePath, "name", t, "fib", "yes")
		}
	}
}

// setClock brings the calendar up to date. The caller holds the lock.
func (r *Router) setClock() {
	if m := r.root.at(clockPath); m != nil && len(m.items) == 1 {
		now := r.date()
		m.items[0].vals["date"], m.items[0].vals["time"] = str(now.Format(time.DateOnly)), str(now.Format(time.TimeOnly))
	}
}

// feed is one listener's changes that it has not seen yet. Guarded by Router.mu.
type feed struct {
	menu    *menu
	changes []change
	lost    bool
	wake    chan struct{} // closed and replaced with each change
}

// change is an item as it was after a change, or that it is gone.
type change struct {
	it   *item
	dead bool
}

// maxChanges bounds what a listener may have waiting; one that falls behind further is ended.
const maxChanges = 1000

// subscribe begins to collect the changes of a menu.
func (r *Router) subscribe(m *menu) *feed {
	f := &feed{menu: m, wake: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feeds[f] = struct{}{}
	r.notify()
	return f
}

func (r *Router) unsubscribe(f *feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.feeds, f)
}

// tell hands a change to everybody who listens to its menu. The caller holds the lock.
func (r *Router) tell(it *item, dead bool) {
	for f := range r.feeds {
		switch {
		case f.menu != it.menu:
			continue
		case len(f.changes) >= maxChanges:
			f.lost = true
		default:
			f.changes = append(f.changes, change{it.clone(), dead})
		}
		close(f.wake)
		f.wake = make(chan struct{})
	}
}

// take returns what a feed has collected, and a channel that is closed when there is more.
func (r *Router) take(f *feed) (got []change, more <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, f.changes = f.changes, nil
	if f.lost {
		err = fmt.Errorf("failure: the listener fell behind")
	}
	return slices.Clip(got), f.wake, err
}
