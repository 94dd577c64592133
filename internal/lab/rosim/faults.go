package rosim

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// Cut is where in a command its connection is closed.
type Cut uint8

// The places.
const (
	CutNone   Cut = iota
	CutBefore     // the command arrived and does not run
	CutAfter      // it ran, nothing is answered
	CutReply      // it ran, half of the reply is sent, no exit status
	CutSilent     // it ran, half of the reply is sent, then nothing more: the connection stays open and silent
)

// Garble is what a reply is replaced by. The command ran.
type Garble string

// The replacements.
const (
	// GarbleHTML is a web page, as from a captive portal or a proxy.
	GarbleHTML Garble = "html"
	// GarbleShape is a well-formed reply of the wrong shape: over REST a bare number where an object or a list belongs,
	// over the API a sentence that is no reply; over SSH it is GarbleBytes.
	GarbleShape Garble = "shape"
	// GarbleBytes is what no decoder can read: half a JSON document, a reserved length byte, control characters.
	GarbleBytes Garble = "bytes"
)

const htmlPage = "<!DOCTYPE html>\r\n<html><head><title>Login</title></head><body><h1>Sign in to continue</h1></body></html>\r\n"

// byFault marks changes that no user made.
const byFault = "fault"

// faults is what is wrong with the router now. Guarded by Router.mu.
type faults struct {
	latency, jitter time.Duration
	stalled         bool
	clear           chan struct{} // closed and replaced when a stall ends
	halfOpen        bool
	full            bool
	refused         bool
	next            []plan
	// cutWrites is how many commands that changed something are still to lose their connections.
	cutWrites int
}

// plan is what happens to one command.
type plan struct {
	cut    Cut
	text   string
	garble Garble
	wait   time.Duration
}

func (f *faults) take() plan {
	if len(f.next) == 0 {
		return plan{}
	}
	p := f.next[0]
	f.next = f.next[1:]
	return p
}

func (r *Router) withLock(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.notify()
}

// Slow makes each command take fixed plus up to jitter from now on; zeros end it.
func (r *Router) Slow(fixed, jitter time.Duration) {
	r.withLock(func() { r.fault.latency, r.fault.jitter = max(fixed, 0), max(jitter, 0) })
}

// Stall holds back every command from now on: connections and logins work, nothing is answered.
func (r *Router) Stall() { r.withLock(func() { r.fault.stalled = true }) }

// Unstall lets the commands that were held back run, those whose connection is still there, and ends the stall.
func (r *Router) Unstall() {
	r.withLock(func() {
		r.fault.stalled = false
		close(r.fault.clear)
		r.fault.clear = make(chan struct{})
	})
}

// awaitClear waits while the router is stalled.
func (r *Router) awaitClear(ctx context.Context) error {
	for {
		r.mu.Lock()
		stalled, over := r.fault.stalled, r.fault.clear
		r.mu.Unlock()
		if !stalled {
			return ctx.Err()
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// HalfOpen makes every connection silent, open ones and new ones: TCP is accepted, no byte is ever sent. Off, new
// connections work; those that were silent stay so until somebody closes them.
func (r *Router) HalfOpen(on bool) {
	r.withLock(func() {
		r.fault.halfOpen = on
		if on {
			for _, d := range r.doors {
				for g := range d.conns {
					g.silent.Store(true)
				}
			}
		}
	})
}

// CutNext closes the connection of the next command that arrives, at the given place. Repeated calls queue up.
func (r *Router) CutNext(where Cut) {
	r.withLock(func() { r.fault.next = append(r.fault.next, plan{cut: where}) })
}

// CutWrites closes the connections of the next n commands that change something, after they ran and before their replies.
func (r *Router) CutWrites(n int) { r.withLock(func() { r.fault.cutWrites = n }) }

// cutsWrite says whether a command that ran loses its connection for having changed something.
func (r *Router) cutsWrite(wrote bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !wrote || r.fault.cutWrites == 0 {
		return false
	}
	r.fault.cutWrites--
	return true
}

// FailNext answers the next command with an error text; the command does not run. Repeated calls queue up.
func (r *Router) FailNext(text string) {
	r.withLock(func() { r.fault.next = append(r.fault.next, plan{text: text}) })
}

// GarbleNext replaces the reply of the next command. Repeated calls queue up.
func (r *Router) GarbleNext(how Garble) {
	r.withLock(func() { r.fault.next = append(r.fault.next, plan{garble: how}) })
}

// Full turns away every new connection, as with max-sessions reached; open ones stay.
func (r *Router) Full(on bool) { r.withLock(func() { r.fault.full = on }) }

// Disconnect closes every open connection.
func (r *Router) Disconnect() {
	r.withLock(func() {
		for _, d := range r.doors {
			d.disconnect()
		}
	})
}

// RotateHostKey replaces the host keys by a new one of the same type as the first; it counts from the next
// connection on. It returns the new key.
func (r *Router) RotateHostKey() (ssh.PublicKey, error) {
	kind := "ed25519"
	if r.HostKey().Type() == ssh.KeyAlgoRSA {
		kind = "rsa"
	}
	k, err := newHostKey(kind)
	if err != nil {
		return nil, err
	}
	r.withLock(func() { r.hostKeys = []ssh.Signer{k} })
	return k.PublicKey(), nil
}

// SetPassword changes a user's password.
func (r *Router) SetPassword(user, password string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.account(user)
	if u == nil {
		return fmt.Errorf("rosim: no user %q", user)
	}
	u.Password = password
	return nil
}

// SetLocked refuses a user's password and keys, or accepts them again, from the next login on.
func (r *Router) SetLocked(user string, on bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.account(user)
	if u == nil {
		return fmt.Errorf("rosim: no user %q", user)
	}
	u.Locked = on
	return nil
}

// RevokeKeys takes all keys from a user.
func (r *Router) RevokeKeys(user string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.account(user) == nil {
		return fmt.Errorf("rosim: no user %q", user)
	}
	r.dropKeys(user)
	return nil
}

// RenameQueue gives a queue of the tree, or else a simple one, another name, as an administrator would.
func (r *Router) RenameQueue(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := named(r.queues(), from)
	if it == nil {
		it = named(r.simples(), from)
	}
	if it == nil {
		return fmt.Errorf("rosim: no queue %q", from)
	}
	if named(it.menu, to) != nil {
		return fmt.Errorf("rosim: there is a queue %q already", to)
	}
	r.renamed(it.menu, from, str(to))
	it.vals["name"] = str(to)
	r.configWritten(it, byFault)
	return nil
}

// RemoveQueue deletes a queue of the tree, or else a simple one.
func (r *Router) RemoveQueue(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range []*menu{r.queues(), r.simples()} {
		for i, it := range m.items {
			if it.text("name") == name {
				m.items = append(m.items[:i:i], m.items[i+1:]...)
				r.removed(it)
				r.configWritten(it, byFault)
				return nil
			}
		}
	}
	return fmt.Errorf("rosim: no queue %q", name)
}

// AddRule appends a mangle rule.
func (r *Router) AddRule(rule Rule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := newItem(r.mangle())
	for k, s := range ruleValues(rule) {
		p := it.menu.prop(k)
		if p == nil {
			return fmt.Errorf("rosim: a mangle rule has no property %q", k)
		}
		v, err := p.read(literal(s))
		if err != nil {
			return fmt.Errorf("rosim: mangle rule: %w", err)
		}
		if s != "" {
			it.vals[k] = v
		}
	}
	it.vals["disabled"] = truth(rule.Disabled)
	it.menu.items = append(it.menu.items, it)
	r.configWritten(it, byFault)
	return nil
}

// DuplicateRule adds a second rule like the one with that comment.
func (r *Router) DuplicateRule(comment string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	hits := commented(r.mangle(), comment)
	if len(hits) == 0 {
		return fmt.Errorf("rosim: no mangle rule with comment %q", comment)
	}
	it := hits[0].clone()
	it.menu.lastID++
	it.id = it.menu.lastID
	it.menu.items = append(it.menu.items, it)
	r.configWritten(it, byFault)
	return nil
}

// RemoveRules deletes every mangle rule with that comment.
func (r *Router) RemoveRules(comment string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.mangle()
	kept := make([]*item, 0, len(m.items))
	for _, it := range m.items {
		if it.text("comment") != comment {
			kept = append(kept, it)
		}
	}
	if len(kept) == len(m.items) {
		return fmt.Errorf("rosim: no mangle rule with comment %q", comment)
	}
	gone := m.items
	m.items = kept
	for _, it := range gone {
		if it.text("comment") == comment {
			r.removed(it)
		}
	}
	r.notify()
	return nil
}

// ResetCounters zeroes the counters of every queue and interface.
func (r *Router) ResetCounters() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetCounters()
	r.notify()
}

func (r *Router) resetCounters() {
	r.advance()
	for _, m := range []*menu{r.queues(), r.simples(), r.interfaces(), r.mangle()} {
		for _, it := range m.items {
			r.zero(it)
		}
	}
}

// ForeignSet changes a queue's max-limit as another program or person would. Names are those of [Router.MaxLimit].
func (r *Router) ForeignSet(queue string, limit unit.Rate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	it, d, half := r.queueNamed(queue)
	if it == nil {
		return fmt.Errorf("rosim: no queue %q", queue)
	}
	r.advance()
	to := num(int64(limit))
	if half {
		rates := pairOf(it.vals["max-limit"])
		rates.Set(d, limit)
		to = str(pairText(rates))
	}
	return r.change(it, map[string]value{"max-limit": to}, byFault)
}

// ForeignRule enables or disables every mangle rule with that comment as another program or person would.
func (r *Router) ForeignRule(comment string, enabled bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	hits := commented(r.mangle(), comment)
	if len(hits) == 0 {
		return fmt.Errorf("rosim: no mangle rule with comment %q", comment)
	}
	for _, it := range hits {
		if err := r.change(it, map[string]value{"disabled": truth(!enabled)}, byFault); err != nil {
			return err
		}
	}
	return nil
}

// SetOffered changes the traffic that wants to pass a queue, in the built-in model. Names are those of [Router.MaxLimit].
func (r *Router) SetOffered(queue string, rate unit.Rate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	it, d, half := r.queueNamed(queue)
	if it == nil {
		return fmt.Errorf("rosim: no queue %q", queue)
	}
	r.advance()
	t := it.traffic
	if half {
		t = it.halves[d]
	}
	t.offered = max(rate, 0)
	return nil
}

// Refuse closes every listener and every connection: new ones are refused until Return.
func (r *Router) Refuse() {
	r.withLock(func() {
		r.fault.refused = true
		for _, d := range r.doors {
			d.unlisten()
			d.disconnect()
		}
	})
}

// Return listens again on the same addresses after Refuse.
func (r *Router) Return() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault.refused = false
	if r.life != nil && r.life.Err() != nil {
		return errStopped
	}
	for _, d := range r.doors {
		if !d.serving || d.closed || d.listener != nil {
			continue
		}
		ln, err := r.opt.Listen(d.addr)
		if err != nil {
			r.fault.refused = true
			for _, other := range r.doors {
				other.unlisten()
			}
			return fmt.Errorf("rosim: listen on %v again: %w", d.addr, err)
		}
		d.listener = ln
	}
	r.notify()
	return nil
}

// Reboot restarts the router: connections close, uptime and counters start from zero, global variables are gone,
// limits and rules persist. Connections are refused for down. The channel carries the error of listening again, nil
// when all went well, and is then closed.
func (r *Router) Reboot(down time.Duration) <-chan error {
	done := make(chan error, 1)
	r.Refuse()
	r.withLock(func() {
		r.resetCounters()
		r.booted, r.sectors, r.globals = r.now(), 0, map[string]value{}
		r.restLogins = map[restLogin]restGrant{}
		r.forget()
		r.restarted()
		r.root.at(activePath).items = nil
	})
	back := func() {
		done <- r.Return()
		close(done)
	}
	r.mu.Lock()
	ctx := r.life
	if ctx != nil && ctx.Err() == nil && down > 0 {
		r.wg.Go(func() {
			if err := r.sleep(ctx, down); err != nil {
				done <- err
				close(done)
				return
			}
			r.withLock(func() { r.resetCounters(); r.booted = r.now(); r.restarted() })
			back()
		})
		r.mu.Unlock()
		return done
	}
	r.mu.Unlock()
	back()
	return done
}
