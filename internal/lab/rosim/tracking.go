package rosim

import (
	"fmt"
	"net/netip"
)

const connectionPath = "/ip/firewall/connection"

// Track makes connection tracking show the echoes from one address to another, as they left through an interface: with
// that interface's own address in place of the sender's. An empty interface leaves the sender's. It replaces what was
// shown of the two before, and does nothing where the dialect shows no connections.
func (r *Router) Track(from, to, through string) error {
	for _, s := range []string{from, to} {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("rosim: track: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	replyTo := from
	if through != "" {
		replyTo = ""
		for _, it := range r.root.at("/ip/address").items {
			if it.text("interface") != through {
				continue
			}
			p, err := netip.ParsePrefix(it.text("address"))
			if err != nil {
				return fmt.Errorf("rosim: track: %w", err)
			}
			replyTo = p.Addr().String()
		}
		if replyTo == "" {
			return fmt.Errorf("rosim: track: no address on an interface %q", through)
		}
	}
	m := r.root.at(connectionPath)
	if m == nil || r.dialect.Tracking == TrackingOff {
		return nil
	}
	var it *item
	for _, old := range m.items {
		if old.text("src-address") == from && old.text("dst-address") == to {
			it = old
		}
	}
	if it == nil {
		if len(m.items) >= maxItems {
			return fmt.Errorf("rosim: track: too many connections")
		}
		it = newItem(m)
		m.items = append(m.items, it)
	}
	for k, v := range map[string]string{
		"protocol": "icmp", "src-address": from, "dst-address": to, "reply-src-address": to, "reply-dst-address": replyTo,
	} {
		it.vals[k] = str(v)
	}
	for k, v := range map[string]bool{"seen-reply": true, "confirmed": true, "srcnat": replyTo != from} {
		it.vals[k] = truth(v)
	}
	r.notify()
	return nil
}
