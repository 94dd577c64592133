package routeros

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The admin's commands on the command line. A value comes with its length in front of it, so that whatever is in it, a line
// break or our own marks, is the value's.

// page bounds the properties that one command line reads, so that the router is done with each long before it stops a script
// that takes too long: a firewall of two thousand rules is read in pages.
const page = 256

// span are the items of a menu that a listing is of: the one with this id, or those from a place up to, not including,
// another.
type span struct {
	id       string
	from, to int
}

// listLine prints a menu, or a part of it: how many items there are, "wanctl|count|N|.", then for each item of the part a line
// "wanctl|item|ID|.", and for each property that is set "wanctl|KEY|LENGTH|VALUE|.".
func listLine(menu string, properties []string, part span) string {
	var s script
	get := "[" + menu + " get $i "
	if desks[menu].single {
		get = "[" + menu + " get "
	}
	var body script
	if desks[menu].single {
		body.add(put("item|"))
	} else {
		body.add(put("item", "[:tostr $i]"))
	}
	for _, p := range properties {
		if p == ".id" {
			continue
		}
		// A property that this kind of item does not have is an error on some versions and nothing on others.
		body.add(`:do {:local v [:tostr ` + get + p + `]];:if ([:len $v]>0) do={:put ("` + mark + p + `|" . [:len $v] . "|" . $v . "` + stop + `")}} on-error={}`)
	}
	do := " do={" + strings.Join(body.parts, ";") + "}"
	switch {
	case desks[menu].single:
		s.add(body.parts...)
	case part.id != "":
		s.add(":foreach i in=[" + menu + " find where .id=" + part.id + "]" + do)
	default:
		s.add(":local f ["+menu+" find]", put("count", "[:len $f]"), fmt.Sprintf(":foreach i in=[:pick $f %d %d]", part.from, part.to)+do)
	}
	return s.line()
}

// parseListing reads what listLine prints; count is -1 where that was not said.
func parseListing(out string) (rows []row, count int, err error) {
	const end = mark + "end" + stop
	out = strings.ReplaceAll(out, "\r\n", "\n")
	count = -1
	for out != "" {
		rest, ok := strings.CutPrefix(out, mark)
		if !ok {
			line, _, _ := strings.Cut(out, "\n")
			return rows, count, fmt.Errorf("the answer holds %q", clip(line))
		}
		if strings.TrimSpace(out) == end {
			return rows, count, nil
		}
		key, rest, ok := strings.Cut(rest, "|")
		if !ok {
			break
		}
		if key == "count" {
			number, after, ok := strings.Cut(rest, stop+"\n")
			if count, err = strconv.Atoi(number); !ok || err != nil || count < 0 || len(rows) > 0 {
				return rows, -1, fmt.Errorf("there are %q items", clip(number))
			}
			out = after
			continue
		}
		if key == "item" {
			id, after, ok := strings.Cut(rest, stop+"\n")
			if !ok || id != "" && !isID(id) {
				return rows, count, fmt.Errorf("an item is called %q", clip(id))
			}
			r := row{}
			if id != "" {
				r[".id"] = id
			}
			rows, out = append(rows, r), after
			continue
		}
		length, rest, ok := strings.Cut(rest, "|")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || n < 0 || n > len(rest) || len(rows) == 0 || !strings.HasPrefix(rest[n:], stop+"\n") {
			return rows, count, fmt.Errorf("the value of %q is not as long as it says", clip(key))
		}
		rows[len(rows)-1][key] = rest[:n]
		out = rest[n+len(stop)+1:]
	}
	return rows, count, errors.New("the answer ends early")
}

func (k *sshLine) list(ctx context.Context, op, menu string, properties []string, id string) ([]row, *Error) {
	step := max(page/max(len(properties), 1), 1)
	for part, all := (span{id, 0, step}), []row(nil); ; part.from, part.to = part.to, part.to+step {
		rows, count, failed := k.listed(ctx, op, listLine(menu, properties, part))
		all = append(all, rows...)
		switch {
		case failed != nil:
			return nil, failed
		case count < 0 || part.to >= count && len(all) == count:
			return all, nil
		case len(all) != min(part.to, count):
			return nil, k.err(Reply, op, fmt.Errorf("the menu changed while it was read: %d of %d items", len(all), count), "call it again")
		}
	}
}

// listed reads one page.
func (k *sshLine) listed(ctx context.Context, op, line string) ([]row, int, *Error) {
	a, failed := k.exchange(ctx, op, line)
	if failed != nil {
		return nil, 0, failed
	}
	rows, count, err := parseListing(a.out)
	if err != nil || strings.TrimSpace(a.errText) != "" || a.status > 0 {
		return nil, 0, k.said(op, a, err)
	}
	return rows, count, nil
}

// said is the error of a command whose answer is not what it prints.
func (k *sshLine) said(op string, a answer, err error) *Error {
	text := strings.TrimSpace(a.out + "\n" + a.errText)
	kind, _ := classify(text)
	if err == nil {
		err = errors.New("the router reported an error")
	}
	e := k.err(kind, op, err, hintFor(kind, k.opt))
	e.Reply, e.Sent = clip(text), true
	return e
}

// editLine is the command of an edit.
func editLine(e Edit) string {
	command := e.Menu + " " + e.Verb + e.tail(e.ID, e.Before, func(a Arg) string { return quote(a.Value) })
	var s script
	if e.Verb == "add" {
		s.add(":local n ["+command+"]", put("item", "[:tostr $n]"))
	} else {
		s.add(command)
	}
	return s.line()
}

func (k *sshLine) edit(ctx context.Context, op string, e Edit) (string, *Error) {
	rows, _, failed := k.listed(ctx, op, editLine(e))
	if failed != nil {
		return "", failed
	}
	named := ""
	if len(rows) == 1 {
		named = rows[0][".id"]
	}
	return k.newID(op, e, named)
}
