package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wanctl/internal/link"
)

// Resolver looks up the addresses of a host; *[net.Resolver] is one. The network is "ip".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	lookupTimeout = 5 * time.Second
	retryFirst    = time.Second
	retryLast     = time.Minute
	// refreshEvery is how often a resolved name is looked up again: reflectors move rarely.
	refreshEvery = 10 * time.Minute
)

// plausibleName says whether s can be a host name: RFC 1123's characters and the underscore, at most 253 of them. A
// name of digits and dots alone is a mistyped address.
func plausibleName(s string) bool {
	if s == "" || len(s) > 253 || strings.Trim(s, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// backoff returns the wait after the n-th failure in a row (from 1): doubled each time up to a minute, with up to a
// quarter less, so that many targets do not ask at once. Luck is in [0, 1).
func backoff(n int, luck float64) time.Duration {
	d := retryLast
	if n < 7 {
		d = min(retryLast, retryFirst<<(n-1))
	}
	return d - time.Duration(luck*float64(d)/4)
}

// resolveLoop keeps a name's address known until ctx ends.
func (p *Pinger) resolveLoop(ctx context.Context, host int) {
	failures := 0
	for {
		wait := refreshEvery
		if err := p.resolve(ctx, host); err != nil {
			failures++
			wait = backoff(failures, rand.Float64()) // spreads queries, hides nothing
		} else {
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// resolve looks one name up, now. The old address stays when the lookup fails.
func (p *Pinger) resolve(ctx context.Context, host int) error {
	t := &p.targets[host]
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := p.o.Resolver.LookupNetIP(ctx, "ip", t.name)
	p.mu.Lock()
	old := t.addr
	p.mu.Unlock()
	var a netip.Addr
	if err == nil {
		if a = p.o.binding().choose(addrs, old); !a.IsValid() {
			err = errors.New("no address that can be probed through this line")
		}
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return err
		}
		e := &Error{Kind: KindResolve, Op: "look up", Thing: t.name, Err: err, Hint: "an IP address as target needs no DNS"}
		p.mu.Lock()
		t.dnsEr = e
		p.mu.Unlock()
		p.note(link.Warning, "probe_resolve", t.name, func() string {
			if old.IsValid() {
				return fmt.Sprintf("Target %s keeps its address %v: %v.", t.name, old, e)
			}
			return fmt.Sprintf("Target %s is not probed yet: %v. It is tried again.", t.name, e)
		})
		return e
	}
	p.mu.Lock()
	t.dnsEr = nil
	if a.WithZone("") != old {
		p.point(t, a)
		t.answered, t.unanswered = 0, 0
		t.clock.reset(0)
	}
	p.mu.Unlock()
	if a != old {
		p.note(link.Info, "probe_resolved", t.name, func() string { return fmt.Sprintf("Target %s is %v.", t.name, a) })
	}
	return nil
}

// choose picks the address to probe: the old one while it is still listed, else one of the source's IP version, else
// IPv4 before IPv6. The zero Addr means that none is usable.
func (b binding) choose(addrs []netip.Addr, old netip.Addr) netip.Addr {
	var fit []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); usable(a) && b.allows(familyOf(a)) {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}
	}
	first := v4
	if b.source.IsValid() {
		first = familyOf(b.source)
	}
	if slices.Contains(fit, old) {
		return old
	}
	for _, a := range fit {
		if familyOf(a) == first {
			return a
		}
	}
	return fit[0]
}
