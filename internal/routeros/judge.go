package routeros

import (
	"errors"
	"fmt"
	"strings"
)

// read takes an answer apart and judges it: what the router reported as failed, what is missing, and which of the
// names matched nothing or too much. The reply is returned beside an error: parts of it may stand.
//
// Success needs all of it: no exit status but 0, nothing on stderr, no known error text, every mark up to the end. A
// router that sends no status at all is believed when its answer is complete: the marks are stronger evidence.
func (c *Client) read(op string, a answer, thing string, names ...string) (reply, *Error) {
	fail := func(kind Kind, err error, hint string) *Error {
		e := c.err(kind, op, err, hint)
		e.Reply = clip(a.out + a.errText)
		return e
	}
	r, bad := parseReply(a.out)
	text := strings.TrimSpace(r.text + "\n" + strings.TrimSpace(a.errText))
	kind, known := classify(text)
	switch {
	case known, strings.TrimSpace(a.errText) != "", a.status > 0 && text != "":
		e := fail(kind, errors.New("the router reported an error"), hintFor(kind, c.opt.User))
		e.Reply = clip(text)
		return r, e
	case a.status > 0:
		return r, fail(Reply, fmt.Errorf("the router ended the command with exit status %d", a.status), hintFor(Reply, c.opt.User))
	case a.status < 0 && !r.end:
		return r, fail(Reply, errors.New("the router ended the command early and without an exit status"), hintFor(Reply, c.opt.User))
	case bad != nil:
		return r, fail(Reply, bad, hintFor(Reply, c.opt.User))
	case !r.end:
		return r, fail(Reply, errors.New("the answer ends early"), hintFor(Reply, c.opt.User))
	case len(r.found) != len(names):
		return r, fail(Reply, errors.New("the answer is not the command's"), hintFor(Reply, c.opt.User))
	}
	if e := c.matches(op, r.found, thing, names); e != nil {
		return r, e
	}
	return r, nil
}

// matches says which names did not match exactly one item.
func (c *Client) matches(op string, found []int64, thing string, names []string) *Error {
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
		hint = "names are compared exactly; see the router's: /queue/tree/print"
	default:
		hint = "give each queue a name of its own: /queue/tree/print"
	}
	return c.err(kind, op, errors.New(strings.Join(wrong, ", and ")), hint)
}

// The things we look for, as messages call them.
const (
	queueThing = "queue tree entry"
	ruleThing  = "mangle rule"
)
