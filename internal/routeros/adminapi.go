package routeros

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// The admin's commands through the binary API and REST. There values are data: nothing in them is ever a command.

// listing are the words that print a menu.
func listing(menu string, properties []string, id string) []string {
	w := []string{menu + "/print"}
	if !desks[menu].single { // a menu of one item takes no list of properties
		w = append(w, "=.proplist="+strings.Join(properties, ","))
	}
	if id != "" {
		w = append(w, "?.id="+id)
	}
	return w
}

func (l *apiLine) list(ctx context.Context, op, menu string, properties []string, id string) ([]row, *Error) {
	p, failed := l.said(ctx, op, listing(menu, properties, id))
	if failed != nil {
		return nil, failed
	}
	return spelled(p.rows), nil
}

// spelled gives what has no value one.
func spelled(rows []row) []row {
	for _, r := range rows {
		for _, k := range valueless {
			if v, has := r[k]; has && v == "" {
				r[k] = "yes"
			}
		}
	}
	return rows
}

// data is the value as it is sent where nothing needs quoting.
func (a Arg) data() string {
	if slices.Contains(valueless, a.Key) {
		return ""
	}
	return a.Value
}

func (l *apiLine) edit(ctx context.Context, op string, e Edit) (string, *Error) {
	w := []string{e.Menu + "/" + e.Verb}
	switch {
	case e.Verb == "move":
		w = append(w, "=numbers="+e.ID)
	case e.ID != "":
		w = append(w, "=.id="+e.ID)
	}
	for _, a := range e.Args {
		w = append(w, "="+a.Key+"="+a.data())
	}
	if e.Before != "" {
		key := "place-before"
		if e.Verb == "move" {
			key = "destination"
		}
		w = append(w, "="+key+"="+e.Before)
	}
	p, failed := l.said(ctx, op, w)
	if failed != nil {
		return "", failed
	}
	id := p.result["ret"]
	if e.Verb == "add" && !isID(id) {
		e := l.err(Reply, op, errors.New("the router names no new item"), hintFor(Reply, l.opt))
		e.Sent = true
		return "", e
	}
	return id, nil
}

// said sends a sentence that was checked, and returns its whole answer. It is not shown in an error: it may hold a secret.
func (l *apiLine) said(ctx context.Context, op string, words []string) (*pending, *Error) {
	p, failed := l.send(ctx, op, words, nil, 0)
	if failed == nil && p.trap {
		failed = refused(l.site, op, p.text, p.kind)
	}
	if failed != nil {
		failed.Command = words[0]
		return nil, failed
	}
	return p, nil
}

func (l *restLine) list(ctx context.Context, op, menu string, properties []string, id string) ([]row, *Error) {
	if desks[menu].single {
		return l.told(ctx, op, "GET", "/rest"+menu, nil)
	}
	ask := map[string]any{".proplist": properties}
	if id != "" {
		ask[".query"] = []string{".id=" + id}
	}
	rows, failed := l.told(ctx, op, "POST", "/rest"+menu+"/print", ask)
	return spelled(rows), failed
}

func (l *restLine) edit(ctx context.Context, op string, e Edit) (string, *Error) {
	fields := map[string]any{}
	for _, a := range e.Args {
		fields[a.Key] = a.data()
	}
	switch {
	case e.Verb == "move":
		fields["numbers"] = e.ID
		if e.Before != "" {
			fields["destination"] = e.Before
		}
	case e.ID != "":
		fields[".id"] = e.ID
	}
	if e.Verb == "add" && e.Before != "" {
		fields["place-before"] = e.Before
	}
	rows, failed := l.told(ctx, op, "POST", "/rest"+e.Menu+"/"+e.Verb, fields)
	if failed != nil || e.Verb != "add" {
		return "", failed
	}
	if len(rows) != 1 || !isID(rows[0]["ret"]) {
		e := l.err(Reply, op, errors.New("the router names no new item"), hintFor(Reply, l.opt))
		e.Sent = true
		return "", e
	}
	return rows[0]["ret"], nil
}

// told makes a request that was checked, and returns the rows of its response.
func (l *restLine) told(ctx context.Context, op, method, path string, fields map[string]any) ([]row, *Error) {
	body := ""
	if fields != nil {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(fields) // texts and lists of texts: it cannot fail
		body = strings.TrimSuffix(b.String(), "\n")
	}
	rows, failed := l.rows(ctx, op, method, path, body, fields[".id"] != nil)
	if failed != nil {
		failed.Command = method + " " + path
	}
	return rows, failed
}
