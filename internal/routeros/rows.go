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
// commands in one turn. What must come after something else waits for its answer, since nobody promises the order of commands
// that are sent at once; what may come in any order is sent at once where the door takes that.

// queueList are the properties of a queue we read, ruleList those of a mangle rule.
var (
	queueList = []string{".id", "name", "max-limit", "bytes", "packets", "dropped", "queued-bytes", "queued-packets", "parent"}
	ruleList  = []string{
		".id", "comment", "dynamic", "disabled", "invalid", "chain", "action", "connection-state", "new-connection-mark", "new-routing-mark",
		"src-address-list",
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
		if t.queues.Simple != "" {
			return askSimple(t.queues.Simple, !t.writes())
		}
		list := queueList
		if t.writes() {
			list = queueList[:2]
		}
		return named(treeMenu, list, t.queues.Down, t.queues.Up)
	case oneQueue:
		return named(treeMenu, queueList, t.queue)
	case oneSimple:
		return askSimple(t.queue, true)
	case oneRule, listedRule:
		return ask{menu: mangleMenu, verb: "print", list: ruleList, where: []string{"comment=" + t.comment}}
	case marking:
		switch t.mark {
		case lookMarks, removeMark:
			return askMarks(t.id)
		case makeMark:
			return ask{menu: listMenu, verb: "add", add: []Arg{
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
		if t.queues.Simple != "" {
			err = p.simple(ctx)
			break
		}
		err = p.queues(ctx)
	case oneQueue:
		err = p.queue(ctx)
	case oneSimple:
		err = p.oneSimple(ctx)
	case oneRule:
		err = p.rule(ctx)
	case listedRule:
		err = p.byList(ctx)
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

// crowd is an asker that can have several asks under way at once.
type crowd interface {
	// asks asks several commands, whose order does not matter, and waits for all their answers. Beside an error it returns
	// the answers, in the order of the asks, before the first that failed.
	asks(ctx context.Context, op string, all []ask) ([][]row, *Error)
}

// all asks several commands whose order does not matter: at once where the connection takes that, else one by one.
func (p *sitting) all(ctx context.Context, asks ...ask) (answers [][]row, failed *Error) {
	if c, ok := p.asker.(crowd); ok && len(asks) > 1 && !p.opt.single {
		if answers, failed = c.asks(ctx, p.task.op, asks); failed != nil {
			failed.Sent = failed.Sent || p.sent
		}
		p.sent = p.sent || len(answers) > 0
		return answers, failed
	}
	for _, a := range asks {
		rows, failed := p.ask(ctx, a)
		if failed != nil {
			return answers, failed
		}
		answers = append(answers, rows)
	}
	return answers, nil
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
		if err := p.setAll(ctx, rows, before); err != nil {
			return err
		}
	}
	return p.readings(ctx, named(treeMenu, queueList, q.Down, q.Up), func(rows []row) *Error {
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
		if up := p.reply.queues.Up; up != nil {
			p.reply.way = up.Parent
		}
		return nil
	})
}

// setAll sets the wanted rates of the queues that are there once: at once where both fall or both rise, else the one that
// falls before the other.
func (p *sitting) setAll(ctx context.Context, rows []row, there [2]int) *Error {
	var sets []ask
	for _, d := range p.task.order {
		rate := p.task.want.Get(d)
		if rate <= 0 || there[d] != 1 {
			continue
		}
		a, err := p.changing(having(rows, "name", p.task.queues.name(d))[0],
			ask{menu: treeMenu, verb: "set", key: "max-limit", value: strconv.FormatInt(int64(rate), 10)})
		if err != nil {
			return err
		}
		sets = append(sets, a)
	}
	if p.task.same {
		_, err := p.all(ctx, sets...)
		return err
	}
	for _, a := range sets {
		if _, err := p.ask(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// readings reads, at once where the door takes that, the queues, the WAN's counters where it is known which interface that
// is, and the uptime. take enters the queues.
func (p *sitting) readings(ctx context.Context, queues ask, take func([]row) *Error) *Error {
	wan := p.task.queues.WAN
	if wan == "" {
		wan = p.task.parent
	}
	asks := []ask{queues}
	asked := checkName("parent", wan) == nil
	if asked {
		asks = append(asks, askWAN(wan))
	}
	begin := p.now()
	answers, failed := p.all(ctx, append(asks, askUptime)...)
	p.reply.at = begin + (p.now()-begin)/2
	if len(answers) > 0 {
		if err := take(answers[0]); err != nil {
			return err
		}
	}
	if p.task.queues.WAN != "" {
		p.reply.way = ""
	} else if way := p.reply.way; failed == nil && way != wan {
		// The queue tells which interface it is, and it is another than was thought.
		if asked = checkName("parent", way) == nil; asked { // else there is none, or none we could ask for
			rows, err := p.ask(ctx, askWAN(way))
			if err != nil {
				return err
			}
			p.reply.at = begin + (p.now()-begin)/2
			answers = [][]row{answers[0], rows, answers[len(answers)-1]}
		}
		wan = way
	}
	if asked && len(answers) > 1 {
		if err := p.wan(wan, answers[1]); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return p.uptime(answers[len(answers)-1])
}

// changing is a command that does something to an item.
func (p *sitting) changing(item row, a ask) (ask, *Error) {
	if a.id = item[".id"]; !isID(a.id) {
		return a, p.unusable(fmt.Errorf("%q is not an item id", clip(a.id)))
	}
	return a, nil
}

// change asks for something to be done to an item.
func (p *sitting) change(ctx context.Context, item row, a ask) *Error {
	a, err := p.changing(item, a)
	if err == nil {
		_, err = p.ask(ctx, a)
	}
	return err
}

// askWAN asks for the counters of an interface.
func askWAN(name string) ask {
	return named(interfaceMenu, []string{".id", "name", "rx-byte", "tx-byte"}, name)
}

// wan reads the counters of the WAN interface, where there is one.
func (p *sitting) wan(name string, rows []row) *Error {
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

func (p *sitting) uptime(rows []row) *Error {
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

// one asks for the task's queue; nil where not exactly one has its name.
func (p *sitting) one(ctx context.Context) (row, *Error) {
	rows, failed := p.ask(ctx, firstAsk(p.task))
	if failed != nil {
		return nil, failed
	}
	rows = having(rows, "name", p.task.queue)
	p.reply.found = []int64{int64(len(rows))}
	if len(rows) != 1 {
		return nil, nil
	}
	return rows[0], nil
}

func (p *sitting) queue(ctx context.Context) *Error {
	found, failed := p.one(ctx)
	if found == nil {
		return failed
	}
	read, err := queueOf(found)
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
	return p.takeRule(rows)
}

// takeRule enters the rule that was looked for into the reply.
func (p *sitting) takeRule(rows []row) *Error {
	p.reply.found = []int64{int64(len(rows))}
	if len(rows) != 1 {
		return nil
	}
	r := rows[0]
	rule, err := parseRule([]string{
		r[".id"], r["disabled"], r["invalid"], r["chain"], r["action"], r["connection-state"], r["new-connection-mark"], r["new-routing-mark"],
		r["src-address-list"],
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
