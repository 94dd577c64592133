package routeros

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// A simple queue is one entry for both directions: every figure of it is a pair, "upload/download", as its target sees
// them. One set has both rates, so there is no moment between them and no order of writing; where one rate alone is wanted,
// the other half is taken from what the router has in that moment.

// simpleList are the properties of a simple queue we read.
var simpleList = []string{".id", "name", "max-limit", "bytes", "packets", "dropped", "queued-bytes", "queued-packets", "target", "dst"}

// checkSimple refuses names that cannot be sent.
func (q Queues) checkSimple() error {
	if q.Down != "" || q.Up != "" {
		return fmt.Errorf("the simple queue %q shapes both directions, and queues of the tree are named beside it", q.Simple)
	}
	if err := checkName("name of the simple queue", q.Simple); err != nil {
		return err
	}
	return q.checkWAN()
}

// half names a direction's part of what is read back; empty for queues that have one direction.
func (q Queues) half(d link.Direction) string {
	if q.Simple == "" {
		return ""
	}
	return " for the " + d.String()
}

// menuOf is the menu a queue is in.
func menuOf(thing string) string {
	if thing == simpleThing {
		return simpleMenu
	}
	return treeMenu
}

// pairOf writes two rates as the router has them.
func pairOf(r link.Rates) string {
	return strconv.FormatInt(int64(r.Up), 10) + "/" + strconv.FormatInt(int64(r.Down), 10)
}

// putSimple prints a simple queue's figures.
func putSimple() string {
	var fields []string
	for _, p := range []string{"max-limit", "bytes", "packets", "dropped", "queued-bytes", "queued-packets"} {
		fields = append(fields, get(simpleMenu, "q", p))
	}
	// target is a list: text is made of it first.
	return put("simple", append(fields, "[:tostr "+get(simpleMenu, "q", "target")+"]", get(simpleMenu, "q", "dst"))...)
}

// simpleLine builds the one line that sets the wanted rates of a simple queue and reads everything back.
func simpleLine(q Queues, want *link.Rates) (string, error) {
	if err := errors.Join(q.checkSimple(), checkRates(want)); err != nil {
		return "", err
	}
	var s script
	s.add(find("q", simpleMenu, "name", q.Simple), put("found", length("q")))
	const have = ":local m [:tostr [" + simpleMenu + " get $q max-limit]]"
	const set = simpleMenu + " set $q max-limit="
	switch {
	case want == nil || *want == link.Rates{}:
	case want.Down == 0:
		s.add(ifOne("q", have, set+`("`+strconv.FormatInt(int64(want.Up), 10)+`" . [:pick $m [:find $m "/"] [:len $m]])`, put("set|upload")))
	case want.Up == 0:
		s.add(ifOne("q", have, set+`([:pick $m 0 [:find $m "/"]] . "/`+strconv.FormatInt(int64(want.Down), 10)+`")`, put("set|download")))
	default:
		s.add(ifOne("q", set+pairOf(*want), put("set|both")))
	}
	s.add(ifOne("q", putSimple()))
	wan := ifOne("i", put("wan", get(interfaceMenu, "i", "rx-byte"), get(interfaceMenu, "i", "tx-byte")))
	if q.WAN != "" {
		s.add(find("i", interfaceMenu, "name", q.WAN), wan)
	} else {
		s.add(ifOne("q", ":local p "+get(simpleMenu, "q", "dst"), ":local i ["+interfaceMenu+" find where name=$p]", wan))
	}
	s.add(put("uptime", "["+resourceMenu+" get uptime]"))
	return s.line(), nil
}

// oneSimpleLine builds the line that reads one simple queue.
func oneSimpleLine(name string) (string, error) {
	if err := checkName("name of the simple queue", name); err != nil {
		return "", err
	}
	var s script
	s.add(find("q", simpleMenu, "name", name), put("found", length("q")), ifOne("q", putSimple()))
	return s.line(), nil
}

// simple enters the figures of a simple queue.
func (r *reply) simple(f []string) error {
	pair, err := parseSimple(f)
	if err != nil {
		return err
	}
	r.queues = link.Pair[*link.Queue]{Down: &pair.Down, Up: &pair.Up}
	r.target = targets(f[6])
	return nil
}

// targets are what a simple queue is for: addresses and interfaces. The command line parts them by semicolons, API and
// REST by commas.
func targets(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ';' })
}

// parseSimple reads the pairs max-limit, bytes, packets, dropped, queued-bytes and queued-packets. A simple queue hangs
// under no interface, so its Parent stays empty.
func parseSimple(f []string) (link.Pair[link.Queue], error) {
	var both link.Pair[link.Queue]
	names := simpleList[2:8]
	var halves link.Pair[[]string]
	for i, name := range names {
		up, down, ok := strings.Cut(f[i], "/")
		if !ok || strings.Contains(down, "/") {
			return both, fmt.Errorf("%s: %q is not upload/download", name, clip(f[i]))
		}
		halves.Up, halves.Down = append(halves.Up, up), append(halves.Down, down)
	}
	for d := link.Down; d <= link.Up; d++ {
		q, err := parseQueue(append(halves.Get(d), ""))
		if err != nil {
			return both, fmt.Errorf("%s: %w", d, err)
		}
		both.Set(d, *q)
	}
	return both, nil
}

// takeSimple enters a simple queue's row into the reply.
func (p *sitting) takeSimple(r row) *Error {
	f := make([]string, 0, len(simpleList)-3)
	for _, name := range simpleList[2:8] {
		v, ok := r[name]
		if !ok {
			return p.unusable(fmt.Errorf("simple queue %q: the answer has no %s", r["name"], name))
		}
		f = append(f, v)
	}
	if err := p.reply.simple(append(f, r["target"])); err != nil {
		return p.unusable(fmt.Errorf("simple queue %q: %w", r["name"], err))
	}
	p.reply.way = r["dst"]
	return nil
}

// reversed says that the queue's target is the line itself. Its "upload" is then what comes from the line, the house's
// download: each rate would be set on the other direction.
func (c *Client) reversed(op string, q Queues, r reply) *Error {
	if q.Simple == "" || q.WAN == "" || r.queues.Down == nil {
		return nil
	}
	if c.aims[q.Simple] = !slices.Contains(r.target, q.WAN); c.aims[q.Simple] {
		return nil
	}
	return c.err(Syntax, op, fmt.Errorf("the simple queue %q has the line's own interface %s as its target, so its first rate is the download's", q.Simple, q.WAN),
		"its target has to be the house and its dst the line: /queue/simple/set [find where name="+quote(q.Simple)+"] target=LAN dst="+q.WAN)
}

// aimed says whether the rates of a line's queues are known to be the right way round, as those of the tree always are.
func (c *Client) aimed(q Queues) bool { return q.Simple == "" || q.WAN == "" || c.aims[q.Simple] }

// SimpleQueue reads one simple queue by its exact name.
func (c *Client) SimpleQueue(ctx context.Context, name string) (link.Pair[link.Queue], error) {
	t := task{purpose: oneSimple, op: "read queue", queue: name}
	var both link.Pair[link.Queue]
	err := c.do(ctx, t, func(r reply, err *Error, _ bool) *Error {
		if err == nil && (r.queues.Down == nil || r.queues.Up == nil) {
			err = c.incomplete(t.op)
		}
		if err == nil {
			both = link.Pair[link.Queue]{Down: *r.queues.Down, Up: *r.queues.Up}
		}
		return err
	})
	return both, err
}

// askSimple asks for a simple queue: for all we read of it, or for what a set needs.
func askSimple(name string, whole bool) ask {
	if whole {
		return named(simpleMenu, simpleList, name)
	}
	return named(simpleMenu, simpleList[:3], name)
}

// simple sets the rates of a simple queue that exists once, and reads everything back.
func (p *sitting) simple(ctx context.Context) *Error {
	name := p.task.queues.Simple
	before := 1
	if p.task.writes() {
		rows, err := p.ask(ctx, firstAsk(p.task))
		if err != nil {
			return err
		}
		rows = having(rows, "name", name)
		if before = len(rows); before == 1 {
			if err := p.setSimple(ctx, rows[0]); err != nil {
				return err
			}
		}
	}
	return p.readings(ctx, askSimple(name, true), func(rows []row) *Error {
		mine := having(rows, "name", name)
		found := len(mine)
		if before != 1 { // see queues
			found = before
		}
		p.reply.found = []int64{int64(found)}
		if found != 1 {
			return nil
		}
		return p.takeSimple(mine[0])
	})
}

// setSimple sets the wanted rates, and keeps what the router has where none is wanted.
func (p *sitting) setSimple(ctx context.Context, item row) *Error {
	rates := *p.task.want
	if rates.Down == 0 || rates.Up == 0 {
		up, down, ok := strings.Cut(item["max-limit"], "/")
		if !ok {
			return p.unusable(fmt.Errorf("simple queue %q: max-limit: %q is not upload/download", p.task.queues.Simple, clip(item["max-limit"])))
		}
		has := link.Pair[string]{Down: down, Up: up}
		for d := link.Down; d <= link.Up; d++ {
			kept, err := parseRate(has.Get(d))
			switch {
			case err != nil:
				return p.unusable(fmt.Errorf("simple queue %q: max-limit: %w", p.task.queues.Simple, err))
			case rates.Get(d) == 0 && kept > unit.MaxRate:
				return p.unusable(fmt.Errorf("simple queue %q: the %v of %d bit/s is beyond any line", p.task.queues.Simple, d, kept))
			case rates.Get(d) == 0:
				rates.Set(d, kept)
			}
		}
	}
	return p.change(ctx, item, ask{menu: simpleMenu, verb: "set", key: "max-limit", value: pairOf(rates)})
}

// oneSimple reads one simple queue.
func (p *sitting) oneSimple(ctx context.Context) *Error {
	found, failed := p.one(ctx)
	if found == nil {
		return failed
	}
	return p.takeSimple(found)
}
