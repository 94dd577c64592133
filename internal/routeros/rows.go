package routeros

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What a task is in the words of the binary API and REST, which are the same: print, set, enable, disable. Each is a few
// commands in one turn, each confirmed before the next: nobody promises the order of commands that are sent at once.

// queueList are the properties of a queue we read, ruleList those of a mangle rule.
var (
	queueList = []string{".id", "name", "max-limit", "bytes", "packets", "dropped", "queued-bytes", "queued-packets", "parent"}
	ruleList  = []string{
		".id", "comment", "dynamic", "disabled", "invalid", "chain", "action", "connection-state", "new-connection-mark", "new-routing-mark",
	}
)

// named asks for the items of a menu with one of these names.
func named(menu string, list []string, names ...string) ask {
	a := ask{menu: menu, verb: "print", list: list}
	for i, n := range names {
		a.where = append(a.where, "name="+n)
		if i > 0 {
			a.where = append(a.where, "#|")
		}
	}
	return a
}

// askUptime asks for all there is of the router itself: the menu has one item, and its print takes no list of properties.
var askUptime = ask{menu: resourceMenu, verb: "print"}

// firstAsk is the command a task begins with.
func firstAsk(t task) ask {
	switch t.purpose {
	case bothQueues:
		list := queueList
		if t.writes() {
			list = queueList[:2]
		}
		return named(treeMenu, list, t.queues.Down, t.queues.Up)
	case oneQueue:
		return named(treeMenu, queueList, t.queue)
	case oneRule:
		return ask{menu: mangleMenu, verb: "print", list: ruleList, where: []string{"comment=" + t.comment}}
	case marking:
		switch t.mark {
		case lookMarks, removeMark:
			return askMarks(t.id)
		case makeMark:
			return ask{menu: listMenu, verb: "add", set: []Arg{
				{Key: "list", Value: link.MarkList}, {Key: "address", Value: t.address}, {Key: "timeout", Value: markLife}, {Key: "comment", Value: t.comment},
			}}
		case refreshMark:
			return ask{menu: listMenu, verb: "set", id: t.id, key: "timeout", value: markLife}
		}
	case echoPath:
	}
	return askEchoes(t.source)
}

func askEchoes(source netip.Addr) ask {
	return ask{
		menu: connectionMenu, verb: "print", list: []string{".id", "protocol", "src-address", "dst-address", "reply-dst-address"},
		where: []string{"protocol=icmp"}, most: mostEchoes,
		// Queries have no patterns, and the address may have a port behind it.
		keep: func(r row) bool {
			a, err := parseAddress(r["src-address"])
			return err == nil && a == source
		},
	}
}

// sitting is one task on its way.
type sitting struct {
	site
	asker asker
	task  task
	reply reply
	// sent says that a command of this turn has left.
	sent bool
}

// sit carries a task by asks.
func sit(ctx context.Context, s site, a asker, t task) (reply, *Error) {
	p := sitting{site: s, asker: a, task: t}
	var err *Error
	switch t.purpose {
	case bothQueues:
		err = p.queues(ctx)
	case oneQueue:
		err = p.queue(ctx)
	case oneRule:
		err = p.rule(ctx)
	case echoPath:
		err = p.path(ctx)
	case marking:
		err = p.marks(ctx)
	}
	p.reply.end = err == nil
	return p.reply, err
}

// ask asks one command. Of a turn whose earlier commands had left, something was sent, whatever became of this one.
func (p *sitting) ask(ctx context.Context, a ask) ([]row, *Error) {
	rows, failed := p.asker.ask(ctx, p.task.op, a)
	if failed != nil {
		failed.Sent = failed.Sent || p.sent
		return nil, failed
	}
	p.sent = true
	return rows, nil
}

// unusable is an answer that cannot be what was asked for.
func (p *sitting) unusable(err error) *Error {
	e := p.err(Reply, p.task.op, err, hintFor(Reply, p.opt))
	e.Sent = true
	return e
}

// having returns the rows whose property has exactly this value.
func having(rows []row, property, value string) []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r[property] != value })
}

// queues sets the rates of the queues that exist once, and reads everything back.
func (p *sitting) queues(ctx context.Context) *Error {
	q := p.task.queues
	before := [2]int{1, 1}
	if p.task.writes() {
		rows, err := p.ask(ctx, firstAsk(p.task))
		if err != nil {
			return err
		}
		for d := link.Down; d <= link.Up; d++ {
			before[d] = len(having(rows, "name", q.name(d)))
		}
		for _, d := range p.task.order {
			if rate := p.task.want.Get(d); rate > 0 && before[d] == 1 {
				if err := p.set(ctx, having(rows, "name", q.name(d))[0], rate); err != nil {
					return err
				}
			}
		}
	}
	begin := p.now()
	rows, err := p.ask(ctx, named(treeMenu, queueList, q.Down, q.Up))
	if err != nil {
		return err
	}
	p.reply.at = begin + (p.now()-begin)/2
	p.reply.found = make([]int64, 2)
	for d := link.Down; d <= link.Up; d++ {
		mine := having(rows, "name", q.name(d))
		// A queue that was not there once when it was to be set is not confirmed by one that is there now.
		p.reply.found[d] = int64(len(mine))
		if before[d] != 1 {
			p.reply.found[d] = int64(before[d])
		}
		if p.reply.found[d] != 1 {
			continue
		}
		read, err := queueOf(mine[0])
		if err != nil {
			return p.unusable(fmt.Errorf("queue %q: %w", q.name(d), err))
		}
		p.reply.queues.Set(d, read)
	}
	if err := p.wan(ctx); err != nil {
		return err
	}
	p.reply.at = begin + (p.now()-begin)/2 // the interface's counters were read along
	return p.uptime(ctx)
}

// set sets one queue's rate.
func (p *sitting) set(ctx context.Context, item row, rate unit.Rate) *Error {
	return p.change(ctx, item, ask{menu: treeMenu, verb: "set", key: "max-limit", value: strconv.FormatInt(int64(rate), 10)})
}

// change asks for something to be done to an item.
func (p *sitting) change(ctx context.Context, item row, a ask) *Error {
	if a.id = item[".id"]; !isID(a.id) {
		return p.unusable(fmt.Errorf("%q is not an item id", clip(a.id)))
	}
	_, err := p.ask(ctx, a)
	return err
}

// wan reads the counters of the WAN interface, where there is one.
func (p *sitting) wan(ctx context.Context) *Error {
	name := p.task.queues.WAN
	if name == "" && p.reply.queues.Up != nil {
		name = p.reply.queues.Up.Parent
	}
	if bad := checkName("parent", name); bad != nil { // there is none, or none we could ask for
		return nil //nolint:nilerr // a missing interface is no error
	}
	rows, failed := p.ask(ctx, named(interfaceMenu, []string{".id", "name", "rx-byte", "tx-byte"}, name))
	if failed != nil {
		return failed
	}
	if rows = having(rows, "name", name); len(rows) != 1 {
		return nil
	}
	rx, err := rows[0].count("rx-byte")
	if err != nil {
		return p.unusable(fmt.Errorf("interface %q: %w", name, err))
	}
	tx, err := rows[0].count("tx-byte")
	if err != nil {
		return p.unusable(fmt.Errorf("interface %q: %w", name, err))
	}
	p.reply.wan = &[2]unit.Bytes{unit.Bytes(rx), unit.Bytes(tx)}
	return nil
}

func (p *sitting) uptime(ctx context.Context) *Error {
	rows, failed := p.ask(ctx, askUptime)
	if failed != nil {
		return failed
	}
	if len(rows) != 1 {
		return p.unusable(fmt.Errorf("%s has %d entries", resourceMenu, len(rows)))
	}
	up, err := parseDuration(rows[0]["uptime"])
	if err != nil {
		return p.unusable(fmt.Errorf("uptime: %w", err))
	}
	p.reply.uptime = &up
	return nil
}

func (p *sitting) queue(ctx context.Context) *Error {
	rows, failed := p.ask(ctx, firstAsk(p.task))
	if failed != nil {
		return failed
	}
	rows = having(rows, "name", p.task.queue)
	p.reply.found = []int64{int64(len(rows))}
	if len(rows) != 1 {
		return nil
	}
	read, err := queueOf(rows[0])
	if err != nil {
		return p.unusable(fmt.Errorf("queue %q: %w", p.task.queue, err))
	}
	p.reply.queues.Down = read
	return nil
}

// rule switches the one rule, or not, and reads it.
func (p *sitting) rule(ctx context.Context) *Error {
	rows, failed := p.rules(ctx)
	if failed == nil && p.task.verb != "" && len(rows) == 1 {
		if failed = p.change(ctx, rows[0], ask{menu: mangleMenu, verb: p.task.verb}); failed == nil {
			rows, failed = p.rules(ctx)
		}
	}
	if failed != nil {
		return failed
	}
	p.reply.found = []int64{int64(len(rows))}
	if len(rows) != 1 {
		return nil
	}
	r := rows[0]
	rule, err := parseRule([]string{
		r[".id"], r["disabled"], r["invalid"], r["chain"], r["action"], r["connection-state"], r["new-connection-mark"], r["new-routing-mark"],
	})
	if err != nil {
		return p.unusable(fmt.Errorf("rule %q: %w", p.task.comment, err))
	}
	p.reply.rule = rule
	return nil
}

// rules reads the rules that carry the comment and are not the router's own.
func (p *sitting) rules(ctx context.Context) ([]row, *Error) {
	rows, failed := p.ask(ctx, firstAsk(p.task))
	if failed != nil {
		return nil, failed
	}
	rows = having(rows, "comment", p.task.comment)
	return slices.DeleteFunc(rows, func(r row) bool { own, err := parseBool(r["dynamic"]); return err == nil && own }), nil
}

func (p *sitting) path(ctx context.Context) *Error {
	rows, failed := p.ask(ctx, askEchoes(p.task.source))
	if failed != nil {
		return failed
	}
	for _, r := range rows {
		e, err := parseEcho([]string{r["dst-address"], r["reply-dst-address"]})
		if err != nil {
			return p.unusable(fmt.Errorf("connection %s: %w", clip(r[".id"]), err))
		}
		p.reply.path.Echoes = append(p.reply.path.Echoes, e)
	}
	rows, failed = p.ask(ctx, ask{menu: addressMenu, verb: "print", list: []string{".id", "address", "interface", "disabled"}})
	if failed != nil {
		return failed
	}
	for _, r := range rows {
		if off, err := parseBool(r["disabled"]); err == nil && off {
			continue
		}
		a, err := parseOwn([]string{r["address"], r["interface"]})
		if err != nil {
			return p.unusable(fmt.Errorf("address %s: %w", clip(r[".id"]), err))
		}
		p.reply.path.Addresses = append(p.reply.path.Addresses, a)
	}
	return nil
}

// queueOf reads a queue's queueList from its row.
func queueOf(r row) (*link.Queue, error) {
	f := make([]string, 0, len(queueList)-2)
	for _, name := range queueList[2:] {
		v, ok := r[name]
		if !ok {
			return nil, fmt.Errorf("the answer has no %s", name)
		}
		f = append(f, v)
	}
	return parseQueue(f)
}

// count reads one counter of a row.
func (r row) count(name string) (int64, error) {
	v, ok := r[name]
	if !ok {
		return 0, fmt.Errorf("the answer has no %s", name)
	}
	n, err := parseCount(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// refused is a command that the router answered with an error of its own; fallback is the kind of a text nobody knows.
func refused(s site, op, text string, fallback Kind) *Error {
	kind, known := classify(text)
	if !known {
		kind = fallback
	}
	e := s.err(kind, op, errors.New("the router reported an error"), hintFor(kind, s.opt))
	e.Reply, e.Sent = clip(strings.TrimSpace(text)), true
	return e
}
