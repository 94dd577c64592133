package policy

import (
	"net/netip"
	"slices"
	"time"
)

// Pair is what the kernel remembers of a client of the house and its peer.
type Pair struct {
	// Line is that of their call; empty where they have none. Left is how long that holds without another packet.
	Line string
	Left time.Duration
	// Heavy is how long they have moved too much for a light class; 0 where they have not.
	Heavy time.Duration
}

// Pair reads it.
func (o *Options) Pair(client, peer netip.Addr) (p Pair, err error) {
	const op = "read who talks with whom"
	t, err := o.own()
	if err != nil {
		return p, fail(op, err)
	}
	f := familyOf(client)
	if !slices.Contains(o.families(), f) {
		return p, nil
	}
	key := slices.Concat(client.AsSlice(), peer.AsSlice())
	left := func(set string) time.Duration {
		d, rerr := leftOf(t.name, set, key)
		if rerr != nil {
			err = fail(op, rerr)
		}
		return d
	}
	p.Heavy = left(heavySet(f))
	for _, l := range o.Lines {
		if id := o.steerID(t, l.Name); id != "" && p.Line == "" && o.together() {
			if p.Left = left(groupSet(f, id)); p.Left > 0 {
				p.Line = l.Name
			}
		}
	}
	return p, err
}
