package routeros

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/link"
)

// A rule can be switched by an address list that it matches: entries that last a while send new connections by it, and
// without anybody who renews them they go by themselves. Such entries live in the router's memory, not in its flash.

// halves are the entries that hold a list: all addresses of IPv4. One entry of all would do by the console's syntax
// (0.0.0.0/0), but what holds lists in Linux takes no prefix of length 0.
var halves = [...]string{"0.0.0.0/1", "128.0.0.0/1"}

// The least and the greatest time that a list can be held for.
const (
	leastHold = 10 * time.Second
	mostHold  = 999 * time.Second
)

// RuleByList reads the one rule with this comment, and whether a list has entries.
func (c *Client) RuleByList(ctx context.Context, comment, list string) (rule Rule, held bool, err error) {
	return c.byList(ctx, task{purpose: listedRule, op: "read mangle rule and list", comment: comment, list: list})
}

// Hold makes a list hold all addresses of IPv4 for a time, 10 to 999 s in whole seconds, and reads it and its rule back.
// Where there is not exactly one rule with the comment, nothing is changed.
func (c *Client) Hold(ctx context.Context, comment, list string, lasts time.Duration) (rule Rule, held bool, err error) {
	return c.byList(ctx, task{purpose: listedRule, op: "hold list", comment: comment, list: list, verb: "hold", lasts: lasts})
}

// Drop empties a list, whatever there is of its rule, and reads both back.
func (c *Client) Drop(ctx context.Context, comment, list string) (rule Rule, held bool, err error) {
	return c.byList(ctx, task{purpose: listedRule, op: "empty list", comment: comment, list: list, verb: "drop"})
}

func (c *Client) byList(ctx context.Context, t task) (rule Rule, held bool, err error) {
	err = c.do(ctx, t, func(r reply, err *Error, _ bool) *Error {
		if r.rule != nil {
			rule = *r.rule
			rule.Comment = t.comment
		}
		if r.entries != nil {
			held = *r.entries > 0
		}
		switch {
		case err != nil:
			return err
		case r.rule == nil || r.entries == nil:
			return c.incomplete(t.op)
		case t.verb == "hold" && *r.entries != int64(len(halves)), t.verb == "drop" && held:
			return c.err(Mismatch, t.op, fmt.Errorf("the list %s reads back with %d entries", t.list, *r.entries),
				"look for another writer of the list: /ip/firewall/address-list/print where list="+t.list)
		}
		return nil
	})
	return rule, held, err
}

// checkList refuses what is no list of ours.
func checkList(list string) error {
	name, ours := strings.CutPrefix(list, link.SteerLists)
	if !ours || name == "" || len(name) > 64 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
		return fmt.Errorf("%q is no list that switches a rule: want %sLINE", clip(list), link.SteerLists)
	}
	return nil
}

// timeout writes how long a list is held.
func (t task) timeout() (string, error) {
	if t.lasts < leastHold || t.lasts > mostHold || t.lasts%time.Second != 0 {
		return "", fmt.Errorf("a list is held for %v to %v in whole seconds, and not for %v", leastHold, mostHold, t.lasts)
	}
	return strconv.FormatInt(int64(t.lasts/time.Second), 10) + "s", nil
}

// holdLine builds the line that reads a rule and its list, after holding or emptying the list.
func holdLine(t task) (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	list := quote(t.list)
	find := "[" + listMenu + " find where list=" + list + "]"
	var s script
	s.add(":local r ["+mangleMenu+" find where comment="+quote(t.comment)+" dynamic=no]", ":local e "+find, put("found", length("r")))
	done := put("set|list")
	some := func(statements ...string) string {
		return ":if ([:len $e]>0) do={" + strings.Join(statements, ";") + "}"
	}
	switch t.verb {
	case "hold":
		lasts, err := t.timeout()
		if err != nil {
			return "", err
		}
		anew := []string{some(listMenu + " remove $e")}
		for _, half := range halves {
			anew = append(anew, listMenu+" add list="+list+" address="+half+" timeout="+lasts)
		}
		s.add(ifOne("r", ":if ([:len $e]="+strconv.Itoa(len(halves))+") do={"+listMenu+" set $e timeout="+lasts+"} else={"+strings.Join(anew, ";")+"}", done))
	case "drop":
		s.add(some(listMenu+" remove $e", done))
	}
	s.add(putRule(), put("list", "[:len "+find+"]"))
	return s.line(), nil
}

// byList does the same by asks.
func (p *sitting) byList(ctx context.Context) *Error {
	rows, failed := p.rules(ctx)
	if failed != nil {
		return failed
	}
	entries, failed := p.entries(ctx)
	if failed == nil && (p.task.verb == "drop" || p.task.verb == "hold" && len(rows) == 1) {
		if failed = p.switchList(ctx, entries); failed == nil {
			entries, failed = p.entries(ctx)
		}
	}
	if failed != nil {
		return failed
	}
	n := int64(len(entries))
	p.reply.entries = &n
	return p.takeRule(rows)
}

func (p *sitting) entries(ctx context.Context) ([]row, *Error) {
	rows, failed := p.ask(ctx, ask{menu: listMenu, verb: "print", list: []string{".id", "list"}, where: []string{"list=" + p.task.list}})
	return having(rows, "list", p.task.list), failed
}

// switchList holds or empties the list.
func (p *sitting) switchList(ctx context.Context, entries []row) *Error {
	lasts, err := p.task.timeout()
	hold := p.task.verb == "hold"
	if hold && err != nil {
		return p.unusable(err)
	}
	renew := hold && len(entries) == len(halves)
	for _, e := range entries {
		a := ask{menu: listMenu, verb: "remove"}
		if renew {
			a = ask{menu: listMenu, verb: "set", key: "timeout", value: lasts}
		}
		if failed := p.change(ctx, e, a); failed != nil {
			return failed
		}
	}
	for _, half := range halves {
		if !hold || renew {
			break
		}
		a := ask{menu: listMenu, verb: "add", add: []Arg{{Key: "list", Value: p.task.list}, {Key: "address", Value: half}, {Key: "timeout", Value: lasts}}}
		if _, failed := p.ask(ctx, a); failed != nil {
			return failed
		}
	}
	return nil
}
