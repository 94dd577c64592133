package routeros

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The admin's commands on the command line. A value comes with its length in front of it, so that whatever is in it, a line
// break or our own marks, is the value's.

// listLine prints a menu: for each item a line "wanctl|item|ID|.", and for each property that is set
// "wanctl|KEY|LENGTH|VALUE|.".
func listLine(menu string, properties []string) string {
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
	if desks[menu].single {
		s.add(body.parts...)
	} else {
		s.add(":foreach i in=[" + menu + " find] do={" + strings.Join(body.parts, ";") + "}")
	}
	return s.line()
}

// parseListing reads what listLine prints.
func parseListing(out string) ([]row, error) {
	const end = mark + "end" + stop
	out = strings.ReplaceAll(out, "\r\n", "\n")
	var rows []row
	for out != "" {
		rest, ok := strings.CutPrefix(out, mark)
		if !ok {
			line, _, _ := strings.Cut(out, "\n")
			return rows, fmt.Errorf("the answer holds %q", clip(line))
		}
		if strings.TrimSpace(out) == end {
			return rows, nil
		}
		key, rest, ok := strings.Cut(rest, "|")
		if !ok {
			break
		}
		if key == "item" {
			id, after, ok := strings.Cut(rest, stop+"\n")
			if !ok || id != "" && !isID(id) {
				return rows, fmt.Errorf("an item is called %q", clip(id))
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
			return rows, fmt.Errorf("the value of %q is not as long as it says", clip(key))
		}
		rows[len(rows)-1][key] = rest[:n]
		out = rest[n+len(stop)+1:]
	}
	return rows, errors.New("the answer ends early")
}

func (k *sshLine) list(ctx context.Context, op, menu string, properties []string) ([]row, *Error) {
	a, failed := k.exchange(ctx, op, listLine(menu, properties))
	if failed != nil {
		return nil, failed
	}
	rows, err := parseListing(a.out)
	if err != nil || strings.TrimSpace(a.errText) != "" || a.status > 0 {
		return nil, k.said(op, a, err)
	}
	return rows, nil
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
	var b strings.Builder
	b.WriteString(e.Menu + " " + e.Verb)
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	for _, a := range e.Args {
		b.WriteString(" " + a.Key)
		if !slices.Contains(valueless, a.Key) {
			b.WriteString("=" + quote(a.Value))
		}
	}
	if e.Before != "" {
		key := "place-before"
		if e.Verb == "move" {
			key = "destination"
		}
		b.WriteString(" " + key + "=" + e.Before)
	}
	var s script
	if e.Verb == "add" {
		s.add(":local n ["+b.String()+"]", put("item", "[:tostr $n]"))
	} else {
		s.add(b.String())
	}
	return s.line()
}

func (k *sshLine) edit(ctx context.Context, op string, e Edit) (string, *Error) {
	a, failed := k.exchange(ctx, op, editLine(e))
	if failed != nil {
		return "", failed
	}
	rows, err := parseListing(a.out)
	if err != nil || strings.TrimSpace(a.errText) != "" || a.status > 0 {
		return "", k.said(op, a, err)
	}
	if e.Verb != "add" {
		return "", nil
	}
	if len(rows) != 1 || rows[0][".id"] == "" {
		return "", k.said(op, a, errors.New("the router names no new item"))
	}
	return rows[0][".id"], nil
}
