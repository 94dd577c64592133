package routeros

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf8"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Queues names the queues of one line as the router's configuration has them.
type Queues struct {
	// Down and Up are the names of the two /queue/tree entries, compared exactly. Both are empty where Simple is given.
	Down, Up string
	// Simple is the name of the one /queue/simple entry that shapes both directions.
	Simple string
	// WAN is the interface whose byte counters are read along; empty: the upload queue's parent, or the simple queue's dst,
	// when that is an interface.
	WAN string
}

// check refuses names that cannot be sent.
func (q Queues) check() error {
	if q.Simple != "" {
		return q.checkSimple()
	}
	if err := errors.Join(checkName("name of the download queue", q.Down), checkName("name of the upload queue", q.Up)); err != nil {
		return err
	}
	if q.Down == q.Up {
		return fmt.Errorf("download and upload are the same queue %q", q.Down)
	}
	return q.checkWAN()
}

func (q Queues) checkWAN() error {
	if q.WAN == "" {
		return nil
	}
	return checkName("name of the WAN interface", q.WAN)
}

// name returns the queue of a direction.
func (q Queues) name(d link.Direction) string {
	if q.Simple != "" {
		return q.Simple
	}
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
	oneSimple                 // read one simple queue
	oneRule                   // read one mangle rule, after enabling or disabling it
	marking                   // read owner marks, or change ours
	listedRule                // read one mangle rule and the list that switches it, after holding or emptying the list
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
	// same says that the rates of both directions are known to fall, or both to rise: their order then means nothing.
	same  bool
	queue string
	// parent is the interface that was the WAN when queues that do not name it were last read; empty is not known.
	parent string
	// comment is the rule's; verb is enable, disable, or empty to read. Of a rule that a list switches it is hold, drop, or
	// empty.
	comment, verb string
	list          string
	lasts         time.Duration
	source        netip.Addr
	// mark is what becomes of a mark: a new one has the address and the comment, others are told by their id.
	mark        markVerb
	address, id string
}

// writes says whether rates would be set.
func (t task) writes() bool { return t.want != nil && *t.want != (link.Rates{}) }

// names are the items that must match exactly one each, and what they are.
func (t task) names() (thing string, names []string) {
	switch t.purpose {
	case bothQueues:
		if t.queues.Simple != "" {
			return simpleThing, []string{t.queues.Simple}
		}
		return queueThing, []string{t.queues.Down, t.queues.Up}
	case oneQueue:
		return queueThing, []string{t.queue}
	case oneSimple:
		return simpleThing, []string{t.queue}
	case oneRule, listedRule:
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
	case oneQueue, oneSimple:
		return checkName("name of the queue", t.queue)
	case oneRule:
		return checkName("comment of the mangle rule", t.comment)
	case listedRule:
		return errors.Join(checkName("comment of the mangle rule", t.comment), checkList(t.list))
	case echoPath:
		return checkSource(t.source)
	case marking:
		return t.checkMark()
	}
	return fmt.Errorf("unknown purpose %d", t.purpose)
}

// The things we look for, as messages call them.
const (
	queueThing  = "queue tree entry"
	simpleThing = "simple queue"
	ruleThing   = "mangle rule"
)

// The menus we look into.
const (
	treeMenu       = "/queue/tree"
	simpleMenu     = "/queue/simple"
	interfaceMenu  = "/interface"
	mangleMenu     = "/ip/firewall/mangle"
	resourceMenu   = "/system/resource"
	connectionMenu = "/ip/firewall/connection"
	listMenu       = "/ip/firewall/address-list"
	addressMenu    = "/ip/address"
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
