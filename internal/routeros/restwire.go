package routeros

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// errShape is an answer that is not what RouterOS's REST sends.
var errShape = errors.New("the answer is not RouterOS's")

// parseRows reads what a command answers: a list of objects, one object, or nothing. Every value is a string there; it refuses
// any other, two values of one property, and whatever comes after the end.
func parseRows(body []byte) ([]row, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, nil
	}
	if isPage(body) {
		return nil, fmt.Errorf("%w: it is a page, not JSON", errShape)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	rows, err := readRows(d)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("it goes on after its end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errShape, err)
	}
	return rows, nil
}

// isPage says whether a body is HTML.
func isPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }

func readRows(d *json.Decoder) ([]row, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		r, err := readRow(d)
		return []row{r}, err
	case json.Delim('['):
	default:
		return nil, fmt.Errorf("it is neither a list nor an object")
	}
	var rows []row
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		if t != json.Delim('{') || len(rows) == maxRows {
			return nil, fmt.Errorf("item %d of the list is no object, or one too many", len(rows)+1)
		}
		r, err := readRow(d)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	_, err = d.Token()
	return rows, err
}

// readRow reads an object whose first brace is read.
func readRow(d *json.Decoder) (row, error) {
	r := row{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("a property has no name")
		}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("the value of %q is no string", clip(name))
		}
		if old, twice := r[name]; twice && old != text {
			return nil, fmt.Errorf("there are two values of %q", clip(name))
		}
		r[name] = text
	}
	_, err := d.Token()
	return r, err
}

// answered is one HTTP response.
type answered struct {
	status int
	body   []byte
	// to is where a redirect points; last says that the server will close the connection.
	to   string
	last bool
}

func (a answered) ok() bool {
	return a.status == http.StatusOK || a.status == http.StatusCreated || a.status == http.StatusNoContent
}

// text is what an error answer says: detail or message of RouterOS's error object, or what the body looks like.
func (a answered) text() string {
	var e struct{ Message, Detail string }
	switch err := json.Unmarshal(a.body, &e); {
	case err == nil && e.Detail != "":
		return e.Detail
	case err == nil && e.Message != "":
		return e.Message
	case isPage(a.body):
		return http.StatusText(a.status) + " (a page, not JSON)"
	}
	return strings.TrimSpace(http.StatusText(a.status) + " " + string(a.body))
}

// refusal says what a status other than success means, and the way out. changed says that the command was to change an
// item that had been read a moment before.
func (s site) refusal(op string, a answered, changed bool) *Error {
	text := a.text()
	e := refused(s, op, text, Reply)
	e.Err = fmt.Errorf("the router answered with HTTP status %d", a.status)
	low := strings.ToLower(text)
	switch {
	case a.status/100 == 3:
		e.Kind, e.Err = Syntax, fmt.Errorf("%w, a redirect to %s, which wanctl does not follow", e.Err, clip(a.to))
		e.Hint = "name the router's www-ssl service itself in router.host and router.port"
	case a.status == http.StatusUnauthorized:
		e.Kind, e.Err = Auth, fmt.Errorf("%w: %w", e.Err, errPassword)
		e.Hint = s.authHint() + "; REST remembers a login for about 10 minutes, so a change may take that long"
	case a.status == http.StatusForbidden:
		e.Kind, e.Hint = Permission, "REST may be switched off: /ip/service/webserver/set rest-secure=yes (rest-plain for www)"
	case strings.Contains(low, "session closed"):
		e.Kind, e.Hint = Lost, "RouterOS ends every REST command after 60 s; look at the router's load"
	case changed && (a.status == http.StatusNotFound || strings.Contains(low, "missing or invalid resource identifier")):
		// The item was there a moment ago. A user without the right to write is answered like this.
		e.Kind, e.Hint, e.gone = Permission, hintFor(Permission, s.opt)+"; or the item vanished while the command ran", true
	case a.status == http.StatusNotFound:
		e.Kind, e.Hint = Syntax, "there is no REST here: wanctl needs RouterOS 7.12 or newer"
	case a.status == http.StatusNotAcceptable, a.status == http.StatusUnsupportedMediaType:
		e.Kind, e.Hint = Syntax, hintFor(Syntax, s.opt)
	case strings.Contains(low, "not allowed"):
		e.Kind, e.Hint = Permission, hintFor(Permission, s.opt)+"; some versions want the policy web too"
	}
	return e
}
