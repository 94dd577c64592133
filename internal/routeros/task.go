package routeros

import (
	"errors"
	"fmt"
	"net/netip"
	"unicode"
	"unicode/utf8"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Queues names the queues of one line as the router's configuration has them.
type Queues struct {
	// Down and Up are the names of the two /queue/tree entries, compared exactly.
	Down, Up string
	// WAN is the interface whose byte counters are read along; empty: the upload queue's parent, when that is an interface.
	WAN string
}

// check refuses names that cannot be sent.
func (q Queues) check() error {
	if err := errors.Join(checkName("name of the download queue", q.Down), checkName("name of the upload queue", q.Up)); err != nil {
		return err
	}
	if q.Down == q.Up {
		return fmt.Errorf("download and upload are the same queue %q", q.Down)
	}
	if q.WAN != "" {
		return checkName("name of the WAN interface", q.WAN)
	}
	return nil
}

// name returns the queue of a direction.
func (q Queues) name(d link.Direction) string {
	if d == link.Up {
		return q.Up
	}
	return q.Down
}

// purpose is what a task is about.
type purpose uint8

const (
	bothQueues purpose = iota // read two queues, the WAN and the uptime, after setting rates that are not zero
	oneQueue                  // read one queue
	oneRule                   // read one mangle rule, after enabling or disabling it
	marking                   // read owner marks, or change ours
	echoPath                  // read the tracked echoes of an address, and the router's own addresses
)

// task is one thing to be done on the router, whatever the door.
type task struct {
	purpose purpose
	// op names it in errors.
	op string

	queues Queues
	want   *link.Rates // nil only reads
	order  [2]link.Direction
	queue  string
	// comment is the rule's; verb is enable, disable, or empty to read.
	comment, verb string
	source        netip.Addr
	// mark is what becomes of a mark: of that with an address, which may be made with the comment, or of that with an id.
	mark        markVerb
	address, id string
}

// writes says whether rates would be set.
func (t task) writes() bool { return t.want != nil && *t.want != (link.Rates{}) }

// names are the items that must match exactly one each, and what they are.
func (t task) names() (thing string, names []string) {
	switch t.purpose {
	case bothQueues:
		return queueThing, []string{t.queues.Down, t.queues.Up}
	case oneQueue:
		return queueThing, []string{t.queue}
	case oneRule:
		return ruleThing, []string{t.comment}
	case echoPath, marking:
	}
	return "", nil
}

// check refuses what no door could carry.
func (t task) check() error {
	switch t.purpose {
	case bothQueues:
		if err := t.queues.check(); err != nil {
			return err
		}
		return checkRates(t.want)
	case oneQueue:
		return checkName("name of the queue", t.queue)
	case oneRule:
		return checkName("comment of the mangle rule", t.comment)
	case echoPath:
		return checkSource(t.source)
	case marking:
		return t.checkMark()
	}
	return fmt.Errorf("unknown purpose %d", t.purpose)
}

// The things we look for, as messages call them.
const (
	queueThing = "queue tree entry"
	ruleThing  = "mangle rule"
)

// The menus we look into.
const (
	treeMenu       = "/queue/tree"
	interfaceMenu  = "/interface"
	mangleMenu     = "/ip/firewall/mangle"
	resourceMenu   = "/system/resource"
	connectionMenu = "/ip/firewall/connection"
	addressMenu    = "/ip/address"
	listMenu       = "/ip/firewall/address-list"
)

// maxName bounds the names and comments we look for, in bytes.
const maxName = 255

// checkName refuses names that RouterOS could not carry in one line: empty, too long, not UTF-8, or with control
// or line-breaking characters.
func checkName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the %s is empty", what)
	case len(s) > maxName:
		return fmt.Errorf("the %s is %d bytes long (at most %d)", what, len(s), maxName)
	case !utf8.ValidString(s):
		return fmt.Errorf("the %s %q is not UTF-8", what, clip(s))
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("the %s %q holds the control character %U", what, clip(s), r)
		}
	}
	return nil
}

// checkRates refuses rates that no queue can have. Zero would remove the limit: it means "leave this direction alone".
func checkRates(want *link.Rates) error {
	for d := link.Down; want != nil && d <= link.Up; d++ {
		if rate := want.Get(d); rate < 0 || rate > unit.MaxRate {
			return fmt.Errorf("%s rate of %d bit/s is outside 1 to %d", d, rate, unit.MaxRate)
		}
	}
	return nil
}

func checkSource(a netip.Addr) error {
	if !a.Is4() {
		return fmt.Errorf("%s is no IPv4 address", a)
	}
	return nil
}
