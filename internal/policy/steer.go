package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// steerID is the alternate's part in names, in the table that is there; empty where there is none.
func (o *Options) steerID(t *told, line string) string {
	if n := t.numbers()[ident(line)]; n > 0 {
		return fmt.Sprintf("%d_%s", n, ident(line))
	}
	return ""
}

// own reads the names of our table's chains: what numbers the lines have.
func (o *Options) own() (*told, error) {
	msgs, err := dump(unix.NETLINK_NETFILTER, nftType(unix.NFT_MSG_GETCHAIN), nfgen(unix.NFPROTO_INET, 0))
	if err != nil {
		return nil, err
	}
	t := &told{family: unix.NFPROTO_INET, name: o.Table()}
	for _, m := range msgs {
		if id, as := identified(m.Data, unix.NFTA_CHAIN_TABLE); id.name == t.name && id.family == t.family {
			t.chains = append(t.chains, chainOf(as))
		}
	}
	if len(t.chains) == 0 {
		return nil, errMissing
	}
	return t, nil
}

// Steered reads to which alternate new connections go; empty is to none. Where several do, it is the first.
func (o *Options) Steered() (string, error) {
	const op = "read where new connections go"
	t, err := o.own()
	if err != nil {
		return "", fail(op, err)
	}
	for _, l := range o.Lines[1:] {
		left, err := o.left(t, l.Name)
		if err != nil {
			return "", fail(op, err)
		}
		if left > 0 {
			return l.Name, nil
		}
	}
	return "", nil
}

// left is how long new connections of IPv4 still go to an alternate.
func (o *Options) left(t *told, line string) (time.Duration, error) {
	id := o.steerID(t, line)
	if id == "" {
		return 0, fmt.Errorf("%w: it has no line %s", errMissing, line)
	}
	return leftOf(t.name, steerSet(id), []byte{v4.proto()})
}

// leftOf is how long a key stays in a set; 0 where it is not there.
func leftOf(table, set string, key []byte) (time.Duration, error) {
	elements, err := readElements(table, set)
	if err != nil {
		return 0, err
	}
	for _, e := range elements {
		if slices.Equal(e.key, key) {
			return e.left, nil
		}
	}
	return 0, nil
}

// Steer lets new connections of the classes go to an alternate for [Options.Hold] from now, and to no other; "" ends it. One
// transaction does it, and it is read back.
func (o *Options) Steer(line string) (is string, err error) {
	op := "steer to " + line
	if line == "" {
		op = "end steering"
	}
	t, err := o.own()
	if err != nil {
		return "", fail(op, err)
	}
	if line != "" && o.indexOf(line) < 1 {
		return "", fail(op, fmt.Errorf("it is none of the alternates"))
	}
	var changes []change
	for _, l := range o.Lines[1:] {
		id := o.steerID(t, l.Name)
		if id == "" {
			return "", fail(op, fmt.Errorf("%w: it has no line %s", errMissing, l.Name))
		}
		// Without elements it is a flush.
		changes = append(changes, change{unix.NFT_MSG_DELSETELEM, 0, join(
			text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), text(unix.NFTA_SET_ELEM_LIST_SET, steerSet(id)))})
		if l.Name != line {
			continue
		}
		var families []element
		for _, f := range o.families() {
			families = append(families, element{key: []byte{f.proto()}, left: o.Hold})
		}
		changes = append(changes, elementChanges(unix.NFT_MSG_NEWSETELEM, netlink.Create, t.name, steerSet(id), families)...)
	}
	if err := commit(changes); err != nil {
		return "", fail(op, err)
	}
	is, err = o.Steered()
	if err == nil && is != line {
		err = fail(op, fmt.Errorf("%w: new connections go to %q", errReadBack, is))
	}
	return is, err
}

// Counts are connections that the house has begun since the table was made.
type Counts struct {
	// New are those of latency-sensitive classes over IPv4, and New6 over IPv6.
	New, New6 int64
	// To are those that were sent to a line, by its name: steered, together with others, or by a user's word.
	To map[string]int64
}

// ShareIPv6 is the share of IPv6; negative where nothing was counted.
func (c Counts) ShareIPv6() float64 {
	if c.New+c.New6 == 0 {
		return -1
	}
	return float64(c.New6) / float64(c.New+c.New6)
}

// Counts reads the counters.
func (o *Options) Counts() (c Counts, err error) {
	const op = "read the counters"
	t, err := o.own()
	if err != nil {
		return c, fail(op, err)
	}
	if c.New, err = readCounter(t.name, newCounter(v4)); err != nil {
		return c, fail(op, err)
	}
	if c.New6, err = readCounter(t.name, newCounter(v6)); err != nil {
		return c, fail(op, err)
	}
	c.To = map[string]int64{}
	for _, l := range o.Lines {
		if c.To[l.Name], err = readCounter(t.name, toCounter(o.steerID(t, l.Name))); err != nil {
			return c, fail(op, err)
		}
	}
	return c, nil
}

// ReadHost reads what the kernel is set to, for the lines of these options.
func (o *Options) ReadHost() Host { return readHost(o.Lines) }
