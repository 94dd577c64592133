// Package rosim is a RouterOS emulator: one in-memory router behind a real SSH server, for wanctl's tests, its demo
// and for people who want to try wanctl without a router.
package rosim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"wanctl/internal/unit"
)

// maxRecords bounds the command log and both histories as they are handed out; the oldest entries go first.
const maxRecords = 20_000

// Router is one emulated router. All methods are safe for concurrent use.
type Router struct {
	opt     Options
	dialect Dialect
	version version

	ready chan struct{} // closed when Serve listens

	mu       sync.Mutex
	root     *menu
	globals  map[string]value
	hostKeys []ssh.Signer
	random   *rand.Rand

	// skipped is how far the clock has been put ahead.
	skipped               atomic.Int64
	booted, advanced      unit.Time
	sectors, sectorsTotal int64
	fastBytes             unit.Bytes // what bypassed the queues

	commands []Command
	seq      uint64
	limits   []LimitChange
	rules    []RuleChange
	writes   map[string]int
	logins   int
	rejected int
	inFlight int
	changed  chan struct{}
	// rescheduled is closed and replaced when something may be due earlier than before.
	rescheduled chan struct{}
	burst       int
	burstLast   unit.Time

	doors map[string]*door
	life  context.Context //nolint:containedctx // the lifetime of the door served first, which faults do not outlive
	wg    sync.WaitGroup  // what happens by itself: timed faults, reboots
	fault faults

	certificate tls.Certificate
	restLogins  map[restLogin]restGrant
	lanes       map[restLane]*lane
	feeds       map[*feed]struct{}
}

// NewRouter builds a router from its options; it does not listen yet. It fails on options that no router could have:
// names that occur twice, an unknown dialect setting, a malformed version.
func NewRouter(o Options) (*Router, error) {
	v, err := o.fill()
	if err := errors.Join(err, o.Dialect.fill()); err != nil {
		return nil, err
	}
	root, err := newTree(v)
	if err != nil {
		return nil, err
	}
	r := &Router{
		opt: o, dialect: o.Dialect, version: v, root: root, globals: map[string]value{},
		hostKeys: o.HostKeys, random: rand.New(rand.NewPCG(o.Seed, 0x726f73)), writes: map[string]int{},
		changed: make(chan struct{}), ready: make(chan struct{}), rescheduled: make(chan struct{}),
		restLogins: map[restLogin]restGrant{}, lanes: map[restLane]*lane{}, feeds: map[*feed]struct{}{}, certificate: o.Certificate,
	}
	r.doors = r.newDoors()
	if len(r.certificate.Certificate) == 0 {
		c, err := NewCertificate(o.Identity)
		if err != nil {
			return nil, err
		}
		r.certificate = c
	}
	if o.Tracking == TrackingAbsent {
		firewall := r.root.at("/ip/firewall")
		firewall.subs = slices.DeleteFunc(firewall.subs, func(m *menu) bool { return m.path == connectionPath })
	}
	if len(r.hostKeys) == 0 {
		k, err := newHostKey(o.HostKeyType)
		if err != nil {
			return nil, err
		}
		r.hostKeys = []ssh.Signer{k}
	}
	r.fault = faults{latency: o.Latency, jitter: o.Jitter, clear: make(chan struct{})}
	r.advanced = r.now()
	r.booted = r.advanced.Add(-o.Uptime)
	if err := r.populate(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Router) queues() *menu     { return r.root.at(queueTreePath) }
func (r *Router) interfaces() *menu { return r.root.at(interfacePath) }
func (r *Router) mangle() *menu     { return r.root.at(manglePath) }
func (r *Router) resource() *item   { return r.root.at(resourcePath).items[0] }

// populate fills the store from the options.
func (r *Router) populate() error {
	var errs []error
	add := func(m *menu, vals map[string]string) *item {
		it := newItem(m)
		for k, s := range vals {
			p := m.prop(k)
			if p == nil {
				errs = append(errs, fmt.Errorf("rosim: %s has no property %q", m.path, k))
				continue
			}
			if s == "" && !p.keep {
				continue
			}
			v, err := p.read(literal(s))
			if err != nil {
				errs = append(errs, fmt.Errorf("rosim: %s %s=%q: %w", m.path, k, s, err))
			}
			it.vals[k] = v
		}
		m.items = append(m.items, it)
		return it
	}
	for _, f := range r.opt.Interfaces {
		r.addInterface(f)
	}
	for _, a := range r.opt.Addresses {
		p, err := netip.ParsePrefix(a.Address)
		if err != nil {
			errs = append(errs, fmt.Errorf("rosim: address %q: %w", a.Address, err))
			continue
		}
		add(r.root.at(addressPath), map[string]string{"address": a.Address, "network": p.Masked().Addr().String(), "interface": a.Interface})
	}
	types := r.root.at(queueTypePath)
	small := add(types, map[string]string{"name": "default-small", "kind": "pfifo", "default": "yes"})
	small.initial = maps.Clone(small.vals)
	for _, t := range r.opt.QueueTypes {
		vals := map[string]string{"name": t.Name, "kind": t.Kind}
		for k, v := range t.Settings {
			vals[k] = v
		}
		it := add(types, vals)
		fillKind(t.Kind, nil, it.vals)
	}
	for _, q := range r.opt.Queues {
		it := add(r.queues(), map[string]string{
			"name": q.Name, "parent": q.Parent, "packet-mark": q.PacketMark, "queue": q.Type, "comment": q.Comment,
			"max-limit": fmt.Sprint(int64(q.MaxLimit)),
		})
		it.vals["disabled"] = truth(q.Disabled)
		it.traffic = &traffic{offered: q.Offered, iface: q.WAN, down: q.Down}
	}
	for _, q := range r.opt.SimpleQueues {
		vals := map[string]string{"name": q.Name, "target": q.Target, "dst": q.Dst, "comment": q.Comment}
		for k, v := range map[string]string{"max-limit": q.MaxLimit, "queue": q.Type} {
			if v != "" {
				vals[k] = v
			}
		}
		it := add(r.simples(), vals)
		it.vals["disabled"] = truth(q.Disabled)
		it.halves = [2]*traffic{{offered: q.Offered.Down, iface: q.WAN, down: true}, {offered: q.Offered.Up, iface: q.WAN}}
	}
	if r.opt.DummyRule {
		it := add(r.mangle(), map[string]string{
			"chain": "prerouting", "action": "passthrough", "comment": "special dummy rule to show fasttrack counters",
		})
		it.vals["dynamic"], it.dynamic = truth(true), true
	}
	for _, rule := range r.opt.Rules {
		add(r.mangle(), ruleValues(rule)).vals["disabled"] = truth(rule.Disabled)
	}
	add(r.root.at("/system/identity"), map[string]string{"name": r.opt.Identity}).initial = map[string]value{"name": str("MikroTik")}
	add(r.root.at(resourcePath), map[string]string{
		"version": r.opt.Version + " (stable)", "board-name": r.opt.Board, "platform": "MikroTik",
		"build-time": "2026-03-02 09:17:05", "cpu": "ARM64", "cpu-count": "4", "cpu-load": "7", "architecture-name": "arm64",
		"free-memory": "731906048", "total-memory": "1073741824", "uptime": "0s",
		"write-sect-since-reboot": "0", "write-sect-total": "0",
	})
	r.sectorsTotal = 41_000
	r.fillMenus()
	for _, g := range append(defaultGroups(), r.opt.Groups...) {
		it := add(r.root.at(groupPath), map[string]string{"name": g.Name})
		p := policySet(0).with(list())
		for _, n := range g.Policy {
			if !slices.Contains(policyNames, n) {
				errs = append(errs, fmt.Errorf("rosim: group %q: no policy %q (want one of %s)", g.Name, n, strings.Join(policyNames, ", ")))
			}
			p = p.with(list(str(n)))
		}
		it.vals["policy"] = p.words()
		it.initial = maps.Clone(it.vals)
	}
	for _, u := range r.opt.Users {
		switch {
		case u.ReadOnly:
			u.Group = "read"
		case u.Group == "":
			u.Group = "write"
		}
		if named(r.root.at(groupPath), u.Group) == nil {
			errs = append(errs, fmt.Errorf("rosim: user %q: no group %q", u.Name, u.Group))
		}
		it := add(r.root.at(userPath), map[string]string{"name": u.Name, "group": u.Group, "address": u.Address})
		it.user = &u
		for _, k := range u.Keys {
			r.addKey(u.Name, k)
		}
	}
	return errors.Join(errs...)
}

func ruleValues(rule Rule) map[string]string {
	vals := map[string]string{"chain": rule.Chain, "action": rule.Action, "comment": rule.Comment}
	for k, v := range rule.Matchers {
		vals[k] = v
	}
	return vals
}

// Exec runs one command line as a user would over SSH, without a connection, and returns what it prints, lines
// ending in LF. failed says that the last line is an error.
func (r *Router) Exec(ctx context.Context, user, line string) (reply string, failed bool) {
	out, failed, _ := r.execute(ctx, user, line)
	return out, failed
}

func (r *Router) execute(ctx context.Context, user, line string) (reply string, failed, wrote bool) {
	return r.executeAs(ctx, user, r.rights(user), line)
}

// executeAs runs a command line for a user with given rights.
func (r *Router) executeAs(ctx context.Context, user string, may policySet, line string) (reply string, failed, wrote bool) {
	run := &run{router: r, ctx: ctx, user: user, may: may}
	b, err := parse(r.root, strings.TrimRight(line, "\r\n"), r.version)
	if err == nil {
		_, err = run.line(b)
	}
	if err != nil {
		run.out.WriteString(err.Error())
		run.out.WriteByte('\n')
	}
	return run.out.String(), err != nil, run.wrote
}

func (r *Router) global(name string) value {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.globals[name]
}

func (r *Router) setGlobal(name string, v value) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.globals[name]; !ok && len(r.globals) >= maxItems {
		return &problem{text: "failure: too many global variables"}
	}
	r.globals[name] = v
	return nil
}

// notify wakes everybody in Await. The caller holds the lock.
func (r *Router) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// configWritten counts a change of configuration. The caller holds the lock.
func (r *Router) configWritten(it *item, by string) {
	if it.lasting() {
		r.sectors += r.opt.SectorsPerWrite
		r.sectorsTotal += r.opt.SectorsPerWrite
	}
	if r.account(by) != nil {
		key := it.text("name")
		if it.menu == r.mangle() {
			key = it.text("comment")
		}
		r.writes[key]++
	}
	if slices.Contains(it.menu.items, it) {
		r.tell(it, false)
	}
	r.notify()
}

func (r *Router) recordLimit(it *item, to unit.Rate, by string) {
	r.limits = trimmed(append(r.limits, LimitChange{
		At: r.now(), Queue: it.text("name"), From: unit.Rate(it.vals["max-limit"].num), To: to, By: by,
	}))
}

func (r *Router) recordRule(it *item, enabled bool, by string) {
	r.rules = trimmed(append(r.rules, RuleChange{
		At: r.now(), Comment: it.text("comment"), From: it.vals["disabled"].num == 0, To: enabled, By: by,
	}))
}

// trimmed drops the oldest records in one go when there are twice as many as are kept.
func trimmed[T any](s []T) []T {
	if len(s) >= 2*maxRecords {
		return append(make([]T, 0, 2*maxRecords), s[len(s)-maxRecords:]...)
	}
	return s
}

// newest is a copy of the records that are kept.
func newest[T any](s []T) []T {
	return append([]T(nil), s[max(len(s)-maxRecords, 0):]...)
}

// Ready is closed once the first door listens.
func (r *Router) Ready() <-chan struct{} { return r.ready }

// HostKey returns the first SSH host key.
func (r *Router) HostKey() ssh.PublicKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hostKeys[0].PublicKey()
}

// KnownHosts returns known_hosts lines that trust the router's keys under an address such as 127.0.0.1:2222.
func (r *Router) KnownHosts(addr string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, k := range r.hostKeys {
		b.WriteString(knownhosts.Line([]string{knownhosts.Normalize(addr)}, k.PublicKey()))
		b.WriteByte('\n')
	}
	return b.String()
}

// HostKeyFingerprint returns what the SSH server's key is known by, as "ssh-ed25519 SHA256:…".
func (r *Router) HostKeyFingerprint() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.hostKeys[0].PublicKey()
	return k.Type() + " " + ssh.FingerprintSHA256(k)
}

// AuthorizeKey lets a key log in as user, who is created when missing.
func (r *Router) AuthorizeKey(user string, key ssh.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.account(user)
	if u == nil {
		u = &User{Name: user}
		m := r.root.at(userPath)
		it := newItem(m)
		it.vals["name"], it.vals["group"], it.user = str(user), str("write"), u
		m.items = append(m.items, it)
	}
	r.addKey(user, key)
}

// sleep waits by the injected clock.
func (r *Router) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	return r.opt.Sleep(ctx, d)
}
