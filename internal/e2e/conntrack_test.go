package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

const (
	steerTable, toggledChain = "steer", "toggled"
	// steerMark is the connection mark of what was begun while the rule was enabled.
	steerMark = 2
)

// nft is nftables in a namespace; what it is given becomes real with its Flush.
func nft(t *testing.T, ns string) *nftables.Conn {
	t.Helper()
	f, err := os.Open(filepath.Join("/run/netns", ns))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(f.Fd())), nftables.AsLasting())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseLasting() })
	return c
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// via matches packets that came in or leave by an interface.
func via(key expr.MetaKey, dev string) []expr.Any {
	name := make([]byte, 16) // IFNAMSIZ
	copy(name, dev)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

// track makes the router of a house with two WANs one that steers as docs/routeros.md asks for: connections are tracked
// and masqueraded, a rule that comes and goes marks new ones, and a permanent one derives the route of every packet from
// its connection's mark. The client has one address for all of it. The chain of the rule that comes and goes is empty: the
// emulated router fills it.
func (h *house) track() {
	h.t.Helper()
	c := nft(h.t, h.router)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: steerTable})
	toggled := c.AddChain(&nftables.Chain{Name: toggledChain, Table: table})
	hook := func(name string, kind nftables.ChainType, at *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: at, Priority: prio})
	}
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		r := &nftables.Rule{Table: table, Chain: chain}
		for _, p := range parts {
			r.Exprs = append(r.Exprs, p...)
		}
		c.AddRule(r)
	}
	lan := via(expr.MetaKeyIIFNAME, "lan")
	pre := hook("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	rule(pre, lan, []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: toggled.Name}})
	rule(pre, lan, []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: number(steerMark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	})
	// The download queues were told apart by the client's addresses; now by the line that a packet came in by.
	forward := hook("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle)
	rule(forward, via(expr.MetaKeyIIFNAME, "wan1"), []expr.Any{
		&expr.Immediate{Register: 1, Data: number(1<<16 | 2)}, // class 1:2
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1},
	})
	post := hook("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for w := range h.isps {
		rule(post, via(expr.MetaKeyOIFNAME, fmt.Sprintf("wan%d", w)), []expr.Any{&expr.Masq{}})
	}
	routes := make([]string, 0, len(h.isps))
	for w := range h.isps {
		routes = append(routes, fmt.Sprintf("route add 10.%d.0.0/24 via 10.%d.1.1", w+1, w+1))
	}
	for _, err := range []error{
		c.Flush(),
		batch("ip", h.router, fmt.Sprintf("rule add fwmark %d lookup 101", steerMark)),
		batch("ip", h.server, routes...),
		batch("tc", h.router, classFilterLines("lan", 2)...),
	} {
		if err != nil {
			h.t.Fatalf("needs root: with nf_tables, connection tracking and masquerading: %v", err)
		}
	}
	h.rulePlace = fmt.Sprintf("table:%s,chain:%s,mark:%d,netns:%s", steerTable, toggledChain, steerMark, h.router)
}
