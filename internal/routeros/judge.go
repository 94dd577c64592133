package routeros

import (
	"errors"
	"fmt"
	"strings"
)

// matches says which names did not match exactly one item.
func (c *Client) matches(t task, found []int64) *Error {
	thing, names := t.names()
	if len(found) != len(names) {
		return c.err(Reply, t.op, errors.New("the answer is not the command's"), hintFor(Reply, c.opt))
	}
	var wrong []string
	var kind Kind
	for i, n := range found {
		switch {
		case n == 0:
			kind = NoSuchItem
			wrong = append(wrong, fmt.Sprintf("no %s is called %q", thing, names[i]))
		case n != 1:
			if kind == 0 {
				kind = Ambiguous
			}
			wrong = append(wrong, fmt.Sprintf("%d of the kind %s are called %q", n, thing, names[i]))
		}
	}
	if wrong == nil {
		return nil
	}
	var hint string
	switch {
	case thing == ruleThing && kind == NoSuchItem:
		hint = "the comment is compared exactly; add the rule, disabled: /ip/firewall/mangle/add chain=prerouting action=mark-connection " +
			"connection-state=new new-connection-mark=c-wan2 disabled=yes comment=" + quote(names[0])
	case thing == ruleThing:
		hint = "give each rule a comment of its own: /ip/firewall/mangle/print where comment=" + quote(names[0])
	case kind == NoSuchItem:
		hint = "names are compared exactly; see the router's: " + menuOf(thing) + "/print"
	default:
		hint = "give each queue a name of its own: " + menuOf(thing) + "/print"
	}
	return c.err(kind, t.op, errors.New(strings.Join(wrong, ", and ")), hint)
}
