package policy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func nftType(msg int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg)
}

// nfgen is struct nfgenmsg.
func nfgen(family byte, res uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, res)
}

const genLen = 4

// change is one message of a transaction.
type change struct {
	msg   int
	flags netlink.HeaderFlags
	attrs []byte
}

// commit carries changes of inet tables out, all or none.
func commit(changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	limit := func(typ netlink.HeaderType) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: nfgen(0, unix.NFNL_SUBSYS_NFTABLES)}
	}
	msgs := []netlink.Message{limit(unix.NFNL_MSG_BATCH_BEGIN)}
	for i, ch := range changes {
		flags := ch.flags | netlink.Request
		if i == len(changes)-1 { // errors are told of all of them
			flags |= netlink.Acknowledge
		}
		msgs = append(msgs, netlink.Message{
			Header: netlink.Header{Type: nftType(ch.msg), Flags: flags}, Data: join(nfgen(unix.NFPROTO_INET, 0), ch.attrs),
		})
	}
	msgs = append(msgs, limit(unix.NFNL_MSG_BATCH_END))
	if _, err := c.SendMessages(msgs); err != nil {
		return err
	}
	_, err = c.Receive()
	return err
}

// create is the transaction that makes the table. What is carried over are elements of its sets, by their names.
func (r *ruleset) create(carried map[string][]element) []change {
	in := text(unix.NFTA_CHAIN_TABLE, r.table) // the same number for all of them
	changes := []change{{unix.NFT_MSG_NEWTABLE, netlink.Create | netlink.Excl, join(
		text(unix.NFTA_TABLE_NAME, r.table), be32(unix.NFTA_TABLE_FLAGS, 0))}}
	add := func(msg int, attrs ...[]byte) {
		changes = append(changes, change{msg, netlink.Create, join(attrs...)})
	}
	for _, c := range r.counters {
		add(unix.NFT_MSG_NEWOBJ, in, text(unix.NFTA_OBJ_NAME, c), be32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER),
			nest(unix.NFTA_OBJ_DATA, be64(unix.NFTA_COUNTER_BYTES, 0), be64(unix.NFTA_COUNTER_PACKETS, 0)))
	}
	for i, s := range r.sets {
		attrs := join(in, text(unix.NFTA_SET_NAME, s.name), be32(unix.NFTA_SET_FLAGS, s.flags), be32(unix.NFTA_SET_KEY_TYPE, s.keyType),
			be32(unix.NFTA_SET_KEY_LEN, s.keyLen), be32(unix.NFTA_SET_ID, uint32(i+1)))
		if s.timeout > 0 {
			attrs = append(attrs, be64(unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))...)
		}
		if s.size > 0 {
			attrs = append(attrs, nest(unix.NFTA_SET_DESC, be32(unix.NFTA_SET_DESC_SIZE, s.size))...)
		}
		add(unix.NFT_MSG_NEWSET, attrs)
		elements := s.elements
		if !s.fixed() {
			elements = carried[s.name]
		}
		changes = append(changes, elementChanges(unix.NFT_MSG_NEWSETELEM, netlink.Create, r.table, s.name, elements)...)
	}
	for _, c := range r.chains {
		attrs := join(in, text(unix.NFTA_CHAIN_NAME, c.name))
		if c.kind != "" {
			attrs = join(attrs, nest(unix.NFTA_CHAIN_HOOK, be32(unix.NFTA_HOOK_HOOKNUM, c.hook), be32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))),
				be32(unix.NFTA_CHAIN_POLICY, verdictAccept), text(unix.NFTA_CHAIN_TYPE, c.kind))
		}
		add(unix.NFT_MSG_NEWCHAIN, attrs)
	}
	for _, c := range r.chains {
		for _, rl := range c.rules {
			var exprs []byte
			for _, e := range rl.exprs() {
				exprs = append(exprs, e.bytes()...)
			}
			changes = append(changes, change{unix.NFT_MSG_NEWRULE, netlink.Create | netlink.Append, join(
				in, text(unix.NFTA_RULE_CHAIN, c.name), nest(unix.NFTA_RULE_EXPRESSIONS, exprs))})
		}
	}
	return changes
}

// elementsAtOnce bounds one message: an attribute holds less than 64 KiB.
const elementsAtOnce = 500

func elementChanges(msg int, flags netlink.HeaderFlags, table, set string, elements []element) (out []change) {
	for part := range slices.Chunk(elements, elementsAtOnce) {
		var list []byte
		for _, e := range part {
			attrs := value(unix.NFTA_SET_ELEM_KEY, e.key)
			if e.end {
				attrs = append(attrs, be32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)...)
			}
			if e.left > 0 {
				attrs = append(attrs, be64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(e.left.Milliseconds()))...)
			}
			list = append(list, nest(unix.NFTA_LIST_ELEM, attrs)...)
		}
		out = append(out, change{msg, flags, join(text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, set),
			nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list))})
	}
	return out
}

func dropTable(name string) change {
	return change{unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, name)}
}

// told is a table as the kernel tells it.
type told struct {
	family byte
	name   string
	sets   []set
	chains []toldChain
}

type toldChain struct {
	name, kind string
	hook       uint32
	priority   int32
	policy     uint32
	based      bool
	rules      [][]expr
}

func (t *told) chain(name string) *toldChain {
	for i := range t.chains {
		if t.chains[i].name == name {
			return &t.chains[i]
		}
	}
	return nil
}

type tableID struct {
	family byte
	name   string
}

// readTables reads all tables with their chains and rules, and the sets of those that ours says are wanctl's.
func readTables() (out []*told, err error) {
	at := map[tableID]*told{}
	msgs, err := dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETTABLE), nfgen(0, 0))
	if err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil // nf_tables is not loaded: then it holds nothing
		}
		return nil, fmt.Errorf("read the nftables: %w", reason(err))
	}
	for _, m := range msgs {
		id, _ := identified(m.Data, unix.NFTA_TABLE_NAME)
		t := &told{family: id.family, name: id.name}
		at[id] = t
		out = append(out, t)
	}
	if len(out) == 0 {
		return nil, nil
	}
	msgs, err = dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETCHAIN), nfgen(0, 0))
	if err != nil {
		return nil, fmt.Errorf("read the chains: %w", reason(err))
	}
	for _, m := range msgs {
		id, as := identified(m.Data, unix.NFTA_CHAIN_TABLE)
		if t := at[id]; t != nil {
			t.chains = append(t.chains, chainOf(as))
		}
	}
	msgs, err = dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETRULE), nfgen(0, 0))
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", reason(err))
	}
	for _, m := range msgs {
		id, as := identified(m.Data, unix.NFTA_RULE_TABLE)
		t := at[id]
		if t == nil {
			continue
		}
		if c := t.chain(getText(find(as, unix.NFTA_RULE_CHAIN))); c != nil {
			c.rules = append(c.rules, exprsOf(find(as, unix.NFTA_RULE_EXPRESSIONS)))
		}
	}
	return out, nil
}

func identified(b []byte, nameAttr uint16) (tableID, []attr) {
	if len(b) < genLen {
		return tableID{}, nil
	}
	as := split(b[genLen:])
	return tableID{b[0], getText(find(as, nameAttr))}, as
}

func chainOf(as []attr) toldChain {
	c := toldChain{
		name: getText(find(as, unix.NFTA_CHAIN_NAME)), kind: getText(find(as, unix.NFTA_CHAIN_TYPE)),
		policy: getBE32(find(as, unix.NFTA_CHAIN_POLICY)),
	}
	if h := find(as, unix.NFTA_CHAIN_HOOK); h != nil {
		c.based = true
		hook := split(h)
		c.hook, c.priority = getBE32(find(hook, unix.NFTA_HOOK_HOOKNUM)), int32(getBE32(find(hook, unix.NFTA_HOOK_PRIORITY)))
	}
	return c
}

func exprsOf(b []byte) (out []expr) {
	for _, e := range split(b) {
		as := split(e.data)
		out = append(out, expr{getText(find(as, unix.NFTA_EXPR_NAME)), split(find(as, unix.NFTA_EXPR_DATA))})
	}
	return out
}

// readSets adds a table's sets, and the elements of those that are asked for.
func (t *told) readSets() error {
	in := text(unix.NFTA_SET_TABLE, t.name)
	msgs, err := dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETSET), join(nfgen(t.family, 0), in))
	if err != nil {
		return fmt.Errorf("read the sets: %w", reason(err))
	}
	t.sets = nil
	for _, m := range msgs {
		if len(m.Data) < genLen {
			continue
		}
		as := split(m.Data[genLen:])
		s := set{
			name: getText(find(as, unix.NFTA_SET_NAME)), flags: getBE32(find(as, unix.NFTA_SET_FLAGS)),
			keyType: getBE32(find(as, unix.NFTA_SET_KEY_TYPE)), keyLen: getBE32(find(as, unix.NFTA_SET_KEY_LEN)),
			timeout: time.Duration(getBE64(find(as, unix.NFTA_SET_TIMEOUT))) * time.Millisecond,
			size:    getBE32(find(split(find(as, unix.NFTA_SET_DESC)), unix.NFTA_SET_DESC_SIZE)),
		}
		t.sets = append(t.sets, s)
	}
	for i := range t.sets {
		if s := &t.sets[i]; s.fixed() {
			if s.elements, err = readElements(t.name, s.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// readElements reads a set's; left is what is left of each one's time.
func readElements(table, set string) (out []element, err error) {
	msgs, err := dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETSETELEM), join(nfgen(unix.NFPROTO_INET, 0),
		text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, set)))
	if err != nil {
		return nil, fmt.Errorf("read the set %s: %w", set, reason(err))
	}
	for _, m := range msgs {
		if len(m.Data) < genLen {
			continue
		}
		for _, e := range split(find(split(m.Data[genLen:]), unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			as := split(e.data)
			out = append(out, element{
				key:  find(split(find(as, unix.NFTA_SET_ELEM_KEY)), unix.NFTA_DATA_VALUE),
				end:  getBE32(find(as, unix.NFTA_SET_ELEM_FLAGS))&unix.NFT_SET_ELEM_INTERVAL_END != 0,
				left: time.Duration(getBE64(find(as, unix.NFTA_SET_ELEM_EXPIRATION))) * time.Millisecond,
			})
		}
	}
	return out, nil
}

// differs says in what the table that is there is not the one that is wanted; empty when it is.
func (r *ruleset) differs(t *told) string {
	if len(t.chains) != len(r.chains) {
		return fmt.Sprintf("it has %d chains, not %d", len(t.chains), len(r.chains))
	}
	for i := range r.chains {
		w := &r.chains[i]
		is := t.chain(w.name)
		switch {
		case is == nil:
			return "the chain " + w.name + " is gone"
		case is.based != (w.kind != "") || is.kind != w.kind || is.hook != w.hook || is.priority != w.priority || is.based && is.policy != verdictAccept:
			return "the chain " + w.name + " hangs elsewhere"
		case len(is.rules) != len(w.rules):
			return fmt.Sprintf("the chain %s has %d rules, not %d", w.name, len(is.rules), len(w.rules))
		}
		for n, rl := range w.rules {
			if !sameExprs(rl.exprs(), is.rules[n]) {
				return fmt.Sprintf("rule %d of the chain %s is not %q", n+1, w.name, rl)
			}
		}
	}
	return r.setsDiffer(t)
}

func sameExprs(want, is []expr) bool {
	return slices.EqualFunc(want, is, func(w, i expr) bool { return w.same(i) })
}

// tick is by how much the kernel rounds times: a hundredth of a second where it counts slowest.
const tick = 10 * time.Millisecond

func (r *ruleset) setsDiffer(t *told) string {
	if len(t.sets) != len(r.sets) {
		return fmt.Sprintf("it has %d sets, not %d", len(t.sets), len(r.sets))
	}
	for _, w := range r.sets {
		i := slices.IndexFunc(t.sets, func(s set) bool { return s.name == w.name })
		switch {
		case i < 0:
			return "the set " + w.name + " is gone"
		case t.sets[i].flags != w.flags || t.sets[i].keyType != w.keyType || t.sets[i].keyLen != w.keyLen || t.sets[i].size != w.size,
			(t.sets[i].timeout - w.timeout).Abs() > tick:
			return "the set " + w.name + " is of another kind"
		case w.fixed() && !sameElements(w.elements, t.sets[i].elements):
			return "the set " + w.name + " holds something else"
		}
	}
	return ""
}

func sameElements(want, is []element) bool {
	order := func(a, b element) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return map[bool]int{true: 1}[a.end] - map[bool]int{true: 1}[b.end]
	}
	want, is = slices.Clone(want), slices.Clone(is)
	slices.SortFunc(want, order)
	slices.SortFunc(is, order)
	return slices.EqualFunc(want, is, func(a, b element) bool { return a.end == b.end && bytes.Equal(a.key, b.key) })
}

// readCounter reads a named counter's packets.
func readCounter(table, name string) (int64, error) {
	msgs, err := one(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETOBJ), 0, join(nfgen(unix.NFPROTO_INET, 0), text(unix.NFTA_OBJ_TABLE, table),
		text(unix.NFTA_OBJ_NAME, name), be32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)))
	if err != nil {
		return 0, fmt.Errorf("read the counter %s: %w", name, reason(err))
	}
	for _, m := range msgs {
		if len(m.Data) > genLen {
			return int64(getBE64(find(split(find(split(m.Data[genLen:]), unix.NFTA_OBJ_DATA)), unix.NFTA_COUNTER_PACKETS))), nil
		}
	}
	return 0, fmt.Errorf("read the counter %s: %w", name, os.ErrNotExist)
}
