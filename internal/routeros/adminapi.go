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

// fields are an edit as data, where nothing needs quoting.
func (e Edit) fields() (all []Arg) {
	if e.ID != "" {
		all = append(all, Arg{Key: e.idKey(), Value: e.ID})
	}
	for _, a := range e.Args {
		if slices.Contains(valueless, a.Key) {
			a.Value = ""
		}
		all = append(all, a)
	}
	if e.Before != "" {
		all = append(all, Arg{Key: e.beforeKey(), Value: e.Before})
	}
	return all
}

// newID is the id of what an edit added, as the router named it; an edit that adds nothing has none.
func (s site) newID(op string, e Edit, named string) (string, *Error) {
	if e.Verb != "add" {
		return "", nil
	}
	if !isID(named) {
		failed := s.err(Reply, op, errors.New("the router names no new item"), hintFor(Reply, s.opt))
		failed.Sent = true
		return "", failed
	}
	return named, nil
}

func (l *apiLine) edit(ctx context.Context, op string, e Edit) (string, *Error) {
	w := []string{e.Menu + "/" + e.Verb}
	for _, a := range e.fields() {
		w = append(w, "="+a.Key+"="+a.Value)
	}
	p, failed := l.said(ctx, op, w)
	if failed != nil {
		return "", failed
	}
	return l.newID(op, e, p.result["ret"])
}

// said sends a sentence that was checked, and returns its whole answer. It is not shown in an error: it may hold a secret.
func (l *apiLine) said(ctx context.Context, op string, words []string) (*pending, *Error) {
	p, failed := l.sendOne(ctx, op, words)
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
	for _, a := range e.fields() {
		fields[a.Key] = a.Value
	}
	rows, failed := l.told(ctx, op, "POST", "/rest"+e.Menu+"/"+e.Verb, fields)
	if failed != nil {
		return "", failed
	}
	named := ""
	if len(rows) == 1 {
		named = rows[0]["ret"]
	}
	return l.newID(op, e, named)
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
