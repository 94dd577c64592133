package routeros

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Admin reads a router's menus and changes its configuration: what a person asks for with `wanctl router`, and what a
// controller must not be able to do. It has guards of its own, that let the tables in desks.go pass and nothing else.
type Admin struct{ c *Client }

// NewAdmin checks the options and returns an admin that has not connected yet.
func NewAdmin(o Options) (*Admin, error) {
	o.answer = adminAnswer
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	return &Admin{c}, nil
}

// adminAnswer bounds an answer to an admin, in bytes: a firewall of ten thousand rules has 5 MB.
const adminAnswer = 32 << 20

// Close ends the connection.
func (a *Admin) Close() error { return a.c.Close() }

// String returns user@host:port.
func (a *Admin) String() string { return a.c.String() }

// Arg is one property and its value.
type Arg struct {
	Key, Value string
	// Secret values are never printed.
	Secret bool
}

// Edit is one change of the configuration.
type Edit struct {
	// Verb is add, set, move or remove.
	Verb, Menu string
	// ID is the item, "*5"; empty for add, and for the set of a menu that has one item.
	ID string
	// Before is the id of the item that an add or a move puts it in front of; empty is the end.
	Before string
	Args   []Arg
}

// List reads a menu: its items in the router's order, dynamic ones too, each with its ".id" and the properties asked for
// as far as they are set. A menu that this version of RouterOS does not have is an empty one.
func (a *Admin) List(ctx context.Context, menu string, properties []string) ([]map[string]string, error) {
	return a.list(ctx, "read "+menu, menu, properties, "")
}

// Item reads one item of a menu that has several; nil is that it is not there.
func (a *Admin) Item(ctx context.Context, menu, id string, properties []string) (map[string]string, error) {
	op := "read an item of " + menu
	if !isID(id) {
		return nil, a.c.err(Syntax, op, fmt.Errorf("%q is no item's id", id), ourFault)
	}
	rows, err := a.list(ctx, op, menu, properties, id)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

func (a *Admin) list(ctx context.Context, op, menu string, properties []string, id string) ([]map[string]string, error) {
	if err := checkDesk(menu, properties); err != nil {
		return nil, a.c.err(Syntax, op, err, ourFault)
	}
	var rows []row
	err := a.with(ctx, op, func(ctx context.Context, l line) (failed *Error) {
		rows, failed = l.(clerk).list(ctx, op, menu, properties, id)
		return failed
	})
	var e *Error
	if errors.As(err, &e) && e.Kind == Syntax && e.Sent && absent(e.Reply) {
		return nil, nil
	}
	out := make([]map[string]string, len(rows))
	for i, r := range rows {
		out[i] = r
	}
	return out, err
}

// absent says whether an error text means that there is no such menu.
func absent(reply string) bool {
	return strings.Contains(reply, "no such command") || strings.Contains(reply, "bad command name") || strings.Contains(reply, "expected end of command")
}

// Do carries a change out and returns the id of an item that was added.
func (a *Admin) Do(ctx context.Context, e Edit) (id string, err error) {
	op := e.Verb + " in " + e.Menu
	if err := e.check(); err != nil {
		return "", a.c.err(Syntax, op, err, "correct the name or value in the configuration; nothing was sent")
	}
	err = a.with(ctx, op, func(ctx context.Context, l line) (failed *Error) {
		id, failed = l.(clerk).edit(ctx, op, e)
		return failed
	})
	return id, err
}

// clerk is a line that lists menus and edits them.
type clerk interface {
	list(ctx context.Context, op, menu string, properties []string, id string) ([]row, *Error)
	edit(ctx context.Context, op string, e Edit) (id string, failed *Error)
}

// with runs one call over the kept connection.
func (a *Admin) with(ctx context.Context, op string, call func(context.Context, line) *Error) error {
	ctx, done, err := a.c.enter(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	l, _, failed := a.c.connection(ctx, op)
	if failed == nil {
		failed = call(ctx, l)
		if !l.alive() {
			a.c.drop()
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// check refuses what is not on a desk, and values that no door could carry.
func (e Edit) check() error {
	d, ok := desks[e.Menu]
	if !ok || d.writable == nil {
		return fmt.Errorf("%s is no menu that wanctl changes", e.Menu)
	}
	needs := map[string]bool{"add": false, "set": !d.single, "move": true, "remove": true}
	needID, known := needs[e.Verb]
	switch {
	case !known || d.single && e.Verb != "set":
		return fmt.Errorf("%s %s is nothing that wanctl does", e.Menu, e.Verb)
	case needID && !isID(e.ID), !needID && e.ID != "", e.Before != "" && !isID(e.Before):
		return fmt.Errorf("%s %s: %q and %q are no items' ids", e.Menu, e.Verb, e.ID, e.Before)
	case (e.Verb == "add" || e.Verb == "set") != (len(e.Args) > 0):
		return fmt.Errorf("%s %s with %d values", e.Menu, e.Verb, len(e.Args))
	case e.Before != "" && (!d.ordered || e.Verb == "set" || e.Verb == "remove"), e.Verb == "move" && !d.ordered:
		return fmt.Errorf("%s has no order", e.Menu)
	}
	for i, a := range e.Args {
		switch {
		case !slices.Contains(d.writable, a.Key):
			return fmt.Errorf("%s: %s is no property that wanctl sets", e.Menu, a.Key)
		case slices.ContainsFunc(e.Args[:i], func(b Arg) bool { return b.Key == a.Key }):
			return fmt.Errorf("%s: %s is given twice", e.Menu, a.Key)
		case a.Value == "":
			continue
		}
		if err := checkName("value of "+a.Key, a.Value); err != nil {
			if a.Secret {
				return fmt.Errorf("the value of %s is too long, or holds characters that cannot be sent", a.Key)
			}
			return err
		}
	}
	return nil
}

// Command writes an edit as a line of the router's command line, for a person to read or paste. item selects the item of a
// set, move or remove by a property, and before that in front of which it goes, since ids do not last; secrets are left out.
func (e Edit) Command(item, before Arg) string {
	find := func(a Arg) string { return "[find where " + a.Key + "=" + quote(a.Value) + "]" }
	return e.Menu + "/" + e.Verb + e.tail(find(item), find(before), func(a Arg) string {
		if a.Secret {
			return `"…"`
		}
		return quoteIfNeeded(a.Value)
	})
}

// tail is what follows the verb on a command line: the item, the values, each as value writes it, and in front of what it goes.
func (e Edit) tail(item, before string, value func(Arg) string) string {
	var b strings.Builder
	if e.ID != "" {
		b.WriteString(" " + item)
	}
	for _, a := range e.Args {
		b.WriteString(" " + a.Key)
		if !slices.Contains(valueless, a.Key) {
			b.WriteString("=" + value(a))
		}
	}
	if e.Before != "" {
		b.WriteString(" " + e.beforeKey() + "=" + before)
	}
	return b.String()
}

// beforeKey is the property that says in front of what an item goes.
func (e Edit) beforeKey() string {
	if e.Verb == "move" {
		return "destination"
	}
	return "place-before"
}

// idKey is the property that says which item is meant.
func (e Edit) idKey() string {
	if e.Verb == "move" {
		return "numbers"
	}
	return ".id"
}

// quoteIfNeeded quotes what is not of the characters that need it not.
func quoteIfNeeded(s string) string {
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-,!") == "" {
		return s
	}
	return quote(s)
}
