package rosim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// restShape is what a request's answer looks like.
type restShape uint8

const (
	restList   restShape = iota // every record
	restRecord                  // the one record of the path, or of a menu that has one
	restAdd                     // the record that was added
	restSet                     // the record that was changed
	restRemove                  // nothing
	restDo                      // what the command answers
	restScript                  // what a script prints
)

// restRequest is a request that was understood.
type restRequest struct {
	request
	shape  restShape
	menu   *menu
	id     string // an id or a name from the path
	masked string // the body without the secrets in it
	script string
}

var errBadJSON = errors.New("Failed to parse json") //nolint:staticcheck // the router's own words

// readREST finds out what a request asks for; the second result is the answer when that cannot be done.
func (r *Router) readREST(req *http.Request, body []byte) (restRequest, *response) {
	in := restRequest{}
	fields, err := readFields(body)
	in.masked = maskFields(fields)
	if err != nil {
		return in, badRequest(err.Error())
	}
	words := strings.Split(strings.Trim(strings.TrimPrefix(req.URL.EscapedPath(), restPrefix), "/"), "/")
	if req.Method == http.MethodPost {
		return r.readPost(in, words, fields)
	}
	m, rest := r.root, words
	for len(rest) > 0 && m.subNamed(rest[0]) != nil {
		m, rest = m.subNamed(rest[0]), rest[1:]
	}
	in.menu = m
	single := m.style == styleSingle
	switch {
	case len(rest) > 0 && (m.cmdNamed("print") == nil || single || len(rest) > 1):
		return in, badRequest("no such command or directory (" + rest[0] + ")")
	case m.cmdNamed("print") == nil:
		return in, badRequest("no such command")
	}
	if len(rest) == 1 {
		name, err := url.PathUnescape(rest[0])
		_, isID := parseID(rest[0])
		if err != nil || strings.HasPrefix(name, "*") && !isID {
			return in, badRequest("missing or invalid resource identifier")
		}
		in.id = name
	}
	return r.readMethod(in, req, fields)
}

func badRequest(detail string) *response {
	resp := failureStatus(http.StatusBadRequest, detail)
	return &resp
}

// readMethod makes a request of a method other than POST.
func (r *Router) readMethod(in restRequest, req *http.Request, fields []field) (restRequest, *response) {
	single := in.menu.style == styleSingle
	cmd := "print"
	switch req.Method {
	case http.MethodGet:
		in.shape = restList
		if in.id != "" || single {
			in.shape = restRecord
		}
		var words []string
		for _, p := range rawPairs(req.URL.RawQuery) {
			if p.name == ".proplist" {
				in.props = strings.Split(p.val, ",")
			} else {
				words = append(words, "="+p.name+"="+p.val)
			}
		}
		if in.props != nil && !slices.Contains(in.props, ".id") {
			in.props = append([]string{".id"}, in.props...)
		}
		q, err := parseQuery(words)
		if err != nil {
			return in, badRequest(err.Error())
		}
		in.query = q
	case http.MethodPut:
		if cmd, in.shape = "add", restAdd; in.id != "" {
			return in, badRequest("no such command")
		}
	case http.MethodPatch:
		cmd, in.shape = "set", restSet
	case http.MethodDelete:
		cmd, in.shape = "remove", restRemove
	default:
		return in, badRequest("no such command")
	}
	if in.id == "" && (in.shape == restSet || in.shape == restRemove) {
		return in, badRequest("missing or invalid resource identifier")
	}
	if in.menu.cmdNamed(cmd) == nil {
		return in, badRequest("no such command")
	}
	in.path = in.menu.path + "/" + cmd
	for _, f := range fields {
		p := in.menu.prop(f.name)
		switch {
		case f.list != nil:
			return in, badRequest(errBadJSON.Error())
		case in.shape == restSet && (f.null || f.val == "" && p != nil && !p.keep):
			in.unset = append(in.unset, f.name)
		default:
			in.args = append(in.args, pair{f.name, f.val})
		}
	}
	return in, nil
}

// readPost makes a request of a POST, which names its command.
func (r *Router) readPost(in restRequest, words []string, fields []field) (restRequest, *response) {
	in.shape = restDo
	in.path = "/" + strings.Join(words, "/")
	for _, f := range fields {
		switch {
		case f.name == ".proplist" && f.list != nil:
			in.props = f.list
		case f.name == ".proplist":
			in.props = strings.Split(f.val, ",")
		case f.name == ".query":
			q, err := parseQuery(f.list)
			if err != nil {
				return in, badRequest(err.Error())
			}
			in.query = q
		case f.list != nil:
			return in, badRequest(errBadJSON.Error())
		default:
			in.args = append(in.args, pair{f.name, f.val})
		}
	}
	switch words[len(words)-1] {
	case "execute":
		if len(words) == 1 {
			in.shape = restScript
			in.script, _ = in.arg("script")
			return in, nil
		}
	case "unset":
		return in, badRequest("missing or invalid resource identifier")
	}
	return in, nil
}

// rawPairs reads a URL's query, whose values may be any text.
func rawPairs(raw string) []pair {
	var out []pair
	for part := range strings.SplitSeq(raw, "&") {
		name, val, _ := strings.Cut(part, "=")
		n, err := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(val)
		if n != "" && err == nil && err2 == nil {
			out = append(out, pair{n, v})
		}
	}
	return out
}

// answerREST runs a request and makes its answer.
func (r *Router) answerREST(ctx context.Context, user string, may policySet, in restRequest) (resp response, wrote bool) {
	switch in.shape {
	case restScript:
		out, failed, wrote := r.executeAs(ctx, user, may, in.script)
		if failed {
			return failureStatus(http.StatusBadRequest, strings.TrimSuffix(out, "\n")), wrote
		}
		return jsonStatus(http.StatusOK, jsonObject(row{{"ret", strings.TrimSuffix(out, "\n")}})), wrote
	case restSet, restRemove:
		if in.shape == restSet && !may.has(policyWrite) {
			return failureStatus(http.StatusBadRequest, "missing or invalid resource identifier"), false
		}
		id, ok := r.idOf(in.menu, in.id)
		if !ok {
			return plainStatus(http.StatusNotFound), false
		}
		in.id = id // a name may be among what changes
		in.args = append([]pair{{"numbers", in.id}}, in.args...)
	case restRecord, restList, restAdd, restDo:
	}
	var rows []row
	ret, wrote, err := r.perform(ctx, user, may, in.request, func(x row) error {
		if len(rows) >= maxArray {
			return &problem{text: "contents too long"}
		}
		rows = append(rows, x)
		return nil
	})
	if err != nil {
		return in.failed(err), wrote
	}
	switch in.shape {
	case restRecord:
		return r.record(in, rows, http.StatusOK), wrote
	case restSet:
		return r.wholeRecord(in, in.id, http.StatusOK), wrote
	case restRemove:
		if r.dialect.RESTStatus == RESTMeasured {
			return jsonStatus(http.StatusOK, "[]"), wrote
		}
		return response{status: http.StatusNoContent}, wrote
	case restAdd:
		if r.dialect.RESTStatus == RESTMeasured {
			return r.wholeRecord(in, *ret, http.StatusOK), wrote
		}
		resp = r.wholeRecord(in, *ret, http.StatusCreated)
		resp.location = restPrefix + in.menu.path + "/" + *ret
		return resp, wrote
	case restList, restDo, restScript:
	}
	if ret != nil {
		return jsonStatus(http.StatusOK, jsonObject(row{{"ret", *ret}})), wrote
	}
	return jsonStatus(http.StatusOK, jsonRows(rows)), wrote
}

// idOf is the id of an item that is given by id or name.
func (r *Router) idOf(m *menu, ref string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.target(m, literal(ref))
	if it == nil {
		return "", false
	}
	return it.apiID(), true
}

// record picks the one record of the path out of the menu's.
func (r *Router) record(in restRequest, rows []row, status int) response {
	if in.menu.style == styleSingle {
		return jsonStatus(status, jsonObject(rows[0]))
	}
	return r.wholeRecord(in, in.id, status)
}

// wholeRecord is an item by id or name, with the properties asked for.
func (r *Router) wholeRecord(in restRequest, ref string, status int) response {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	it := r.target(in.menu, literal(ref))
	if it == nil {
		return plainStatus(http.StatusNotFound)
	}
	return jsonStatus(status, jsonObject(it.row(in.props, true)))
}

// failed is the answer to a command that failed.
func (in *restRequest) failed(err error) response {
	text := plainText(err)
	switch {
	case strings.HasSuffix(text, "(9)"):
		return failureStatus(http.StatusInternalServerError, text)
	case strings.HasPrefix(text, "no such item") && in.shape != restDo:
		return plainStatus(http.StatusNotFound)
	}
	return failureStatus(http.StatusBadRequest, text)
}

func jsonStatus(status int, body string) response {
	return response{status: status, content: jsonContent, body: body}
}

// jsonString spells a text as JSON.
func jsonString(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string is always encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// jsonObject spells a record: every value is a string.
func jsonObject(r row) string {
	parts := make([]string, len(r))
	for i, p := range r {
		parts[i] = jsonString(p.name) + ":" + jsonString(p.val)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func jsonRows(rows []row) string {
	parts := make([]string, len(rows))
	for i, r := range rows {
		parts[i] = jsonObject(r)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// field is one member of a body's object.
type field struct {
	name, val string
	null      bool
	list      []string // a list of texts; nil when it is none
}

// readFields reads a body: an object of texts, numbers, truths, nulls and lists of texts, in the order in which they
// stand. No body is an empty object.
func readFields(body []byte) ([]field, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errBadJSON
	}
	var out []field
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, errBadJSON
		}
		var raw any
		if err := dec.Decode(&raw); err != nil {
			return nil, errBadJSON
		}
		f := field{}
		f.name, _ = name.(string)
		if !f.take(raw) || len(out) >= maxArray {
			return nil, errBadJSON
		}
		out = append(out, f)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errBadJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errBadJSON
	}
	return out, nil
}

// take stores a member's value; false when it is of a kind that the router does not take.
func (f *field) take(raw any) bool {
	if l, ok := raw.([]any); ok {
		f.list = []string{}
		for _, x := range l {
			s, ok := x.(string)
			if !ok {
				return false
			}
			f.list = append(f.list, s)
		}
		return true
	}
	switch x := raw.(type) {
	case string:
		f.val = x
	case json.Number:
		f.val = x.String()
	case bool:
		f.val = map[bool]string{true: "true", false: "false"}[x]
	case nil:
		f.null = true
	default:
		return false
	}
	return true
}

// maskFields spells a body for the log.
func maskFields(fields []field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		switch {
		case f.null:
			parts[i] = jsonString(f.name) + ":null"
		case f.list != nil:
			b, err := json.Marshal(f.list)
			if err != nil {
				b = []byte("[]") // texts are always encoded
			}
			parts[i] = jsonString(f.name) + ":" + string(b)
		default:
			parts[i] = jsonString(f.name) + ":" + jsonString(masked(pair{f.name, f.val}))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}
