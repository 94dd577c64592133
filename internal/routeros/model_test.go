package routeros

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// model is as much of a router as API and REST need to be tried on: items in menus, exact queries, changes by id. It knows nothing
// of RouterOS beyond that; the emulator does.
type model struct {
	mu    sync.Mutex
	menus map[string][]row
	// heard are the commands in order, as "/menu/verb key=value …", and changes those that changed something.
	heard, changes []string
	// readOnly refuses changes. fail, where it is not nil, answers a command instead of the model: an error text and, for REST, a
	// status.
	readOnly bool
	fail     func(command string) (text string, status int)
	// after runs after each command, before its answer leaves.
	after func(command string)
}

func newModel() *model {
	queue := func(id, name, parent, limit string) row {
		return row{
			".id": id, "name": name, "parent": parent, "max-limit": limit, "bytes": "1000", "packets": "10", "dropped": "0",
			"queued-bytes": "1514", "queued-packets": "1", "queue": "cake",
		}
	}
	return &model{menus: map[string][]row{
		"/queue/tree": {
			queue("*1000001", "Other", "global", "1000000"),
			queue("*1000002", att.Down, "bridge", "95000000"),
			queue("*1000003", att.Up, "ether1", "18000000"),
		},
		"/queue/simple": {
			{
				".id": "*7", "name": cable.Simple, "target": "192.168.88.0/24,guests", "dst": "ether1", "max-limit": "18000000/95000000", "bytes": "1000/2000",
				"packets": "10/20", "dropped": "1/2", "queued-bytes": "1514/3028", "queued-packets": "1/2", "queue": "up/down",
			},
			{".id": "*8", "name": "kids", "target": "192.168.88.7/32", "max-limit": "1000000/2000000"},
		},
		"/interface":       {{".id": "*1", "name": "ether1", "rx-byte": "205 164 277", "tx-byte": "4000"}, {".id": "*2", "name": "bridge", "rx-byte": "1", "tx-byte": "2"}},
		"/system/resource": {{"uptime": "1w2d3h4m5s", "version": "7.22.3 (stable)", "cpu-load": "3"}},
		"/ip/firewall/mangle": {
			{".id": "*F", "comment": "STEER", "dynamic": "true", "disabled": "false", "invalid": "false", "chain": "prerouting", "action": "passthrough"},
			{
				".id": "*1A", "comment": "STEER", "dynamic": "false", "disabled": "true", "invalid": "false", "chain": "prerouting",
				"action": "mark-connection", "connection-state": "new", "new-connection-mark": "c-wan2",
			},
		},
		"/ip/firewall/address-list": {
			{".id": "*A0", "list": "wanctl-steer-ATT", "address": "0.0.0.0/1", "timeout": "5s"},
			{".id": "*A1", "list": "kids", "address": "192.168.88.70"},
			{".id": "*7A", "list": "wanctl-owner", "address": "240.1.2.3", "timeout": "9m57s", "comment": markComment},
		},
		"/ip/firewall/connection": {
			{".id": "*50", "protocol": "icmp", "src-address": "192.168.88.5", "dst-address": "1.1.1.1", "reply-dst-address": "203.0.113.2"},
			{".id": "*51", "protocol": "icmp", "src-address": "192.168.88.5:7", "dst-address": "8.8.8.8:7", "reply-dst-address": "203.0.113.2:7"},
			{".id": "*52", "protocol": "icmp", "src-address": "192.168.88.50", "dst-address": "9.9.9.9", "reply-dst-address": "203.0.113.2"},
			{".id": "*53", "protocol": "tcp", "src-address": "192.168.88.5", "dst-address": "9.9.9.9", "reply-dst-address": "203.0.113.2"},
		},
		"/ip/address": {
			{".id": "*1", "address": "192.168.88.1/24", "interface": "bridge|lan", "disabled": "false"},
			{".id": "*2", "address": "203.0.113.2/24", "interface": "ether1", "disabled": "false"},
			{".id": "*3", "address": "198.51.100.2/24", "interface": "ether9", "disabled": "true"},
		},
	}}
}

// edit changes the model as somebody else would; changed counts what was changed through the doors.
func (m *model) edit(by func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	by()
}

func (m *model) changed() (n int) {
	m.edit(func() { n = len(m.changes) })
	return n
}

func (m *model) then(after func(string)) { m.edit(func() { m.after = after }) }

func (m *model) failing(fail func(string) (string, int)) { m.edit(func() { m.fail = fail }) }

func (m *model) get(menu, id, property string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.menus[menu] {
		if r[".id"] == id {
			return r[property]
		}
	}
	return ""
}

func (m *model) sent() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.heard)
}

// refusalOf is a command's failure.
type refusalOf struct {
	text   string
	status int
}

// do carries a command out.
func (m *model) do(command string, fields map[string]string, query []string) (rows []row, bad *refusalOf) {
	m.mu.Lock()
	defer m.mu.Unlock()
	line := command
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range fields {
			if !yield(k) {
				return
			}
		}
	}) {
		line += " " + k + "=" + fields[k]
	}
	for _, q := range query {
		line += " ?" + q
	}
	m.heard = append(m.heard, line)
	if m.after != nil {
		defer m.after(line)
	}
	if m.fail != nil {
		if text, status := m.fail(line); text != "" || status != 0 {
			return nil, &refusalOf{text, status}
		}
	}
	cut := strings.LastIndex(command, "/")
	menu, verb := command[:cut], command[cut+1:]
	items, ok := m.menus[menu]
	if !ok {
		return nil, &refusalOf{"no such command prefix", 400}
	}
	if verb == "print" {
		return m.print(items, fields[".proplist"], query), nil
	}
	if m.readOnly {
		return nil, &refusalOf{"not enough permissions (9)", 500}
	}
	if verb == "add" {
		r := maps.Clone(row(fields))
		r[".id"] = fmt.Sprintf("*B%X", len(m.heard))
		m.menus[menu] = append(items, r)
		m.changes = append(m.changes, line)
		return nil, nil
	}
	for i, r := range items {
		if r[".id"] != fields[".id"] {
			continue
		}
		switch verb {
		case "set":
			for _, k := range []string{"max-limit", "timeout"} {
				if v, given := fields[k]; given {
					r[k] = v
				}
			}
		case "remove":
			m.menus[menu] = slices.Delete(slices.Clone(items), i, i+1)
		case "enable", "disable":
			r["disabled"] = fmt.Sprint(verb == "disable")
		}
		m.changes = append(m.changes, line)
		return nil, nil
	}
	return nil, &refusalOf{"no such item", 404}
}

func (m *model) print(items []row, list string, query []string) (rows []row) {
	for _, r := range items {
		var stack []bool
		for _, q := range query {
			if q == "#|" {
				n := len(stack)
				stack = append(stack[:n-2], stack[n-2] || stack[n-1])
				continue
			}
			k, v, _ := strings.Cut(q, "=")
			stack = append(stack, r[k] == v)
		}
		if slices.Contains(stack, false) {
			continue
		}
		out := row{}
		if list == "" {
			out = maps.Clone(r)
		}
		for p := range strings.SplitSeq(list, ",") {
			if v, ok := r[p]; ok {
				out[p] = v
			}
		}
		rows = append(rows, out)
	}
	return rows
}

// api serves the model's binary API.
func (m *model) api(c net.Conn) {
	if t := talkOn(c); t.login() {
		m.apiOn(t)
	}
}

// apiOn serves what follows the login.
func (m *model) apiOn(t *talk) {
	for {
		words, tag := t.hear()
		if words == nil {
			return
		}
		if words[0] == "/cancel" {
			t.tell(tag, "!trap", "=message=unknown tag")
			t.tell(tag, "!done")
			continue
		}
		fields := map[string]string{}
		var query []string
		for _, w := range words[1:] {
			if q, ok := strings.CutPrefix(w, "?"); ok {
				query = append(query, q)
				continue
			}
			k, v, _ := strings.Cut(w[1:], "=")
			fields[k] = v
		}
		rows, bad := m.do(words[0], fields, query)
		if bad != nil {
			t.tell(tag, "!trap", "=category=4", "=message="+bad.text)
		}
		for _, r := range rows {
			out := []string{"!re"}
			for k, v := range r {
				out = append(out, "="+k+"="+v)
			}
			t.tell(tag, out...)
		}
		if len(rows) == 0 && bad == nil {
			t.tell(tag, "!empty")
		}
		t.tell(tag, "!done")
	}
}

// rest answers one request of the model's REST.
func (m *model) rest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, body any) {
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_ = json.NewEncoder(w).Encode(body)
		}
	}
	if user, p, ok := r.BasicAuth(); !ok || user != "wanctl" || p != secret {
		answer(401, map[string]any{"error": 401, "message": "Unauthorized"})
		return
	}
	body, _ := io.ReadAll(r.Body)
	var in struct {
		ID    string   `json:".id"`
		List  []string `json:".proplist"`
		Query []string `json:".query"`
		Limit string   `json:"max-limit"`
		Lasts string   `json:"timeout"`
	}
	if r.Method == http.MethodGet && len(body) == 0 {
		r.URL.Path += "/print"
		rows, bad := m.do(strings.TrimPrefix(r.URL.Path, "/rest"), map[string]string{}, nil)
		switch {
		case bad != nil:
			answer(max(bad.status, 400), map[string]any{"error": bad.status, "message": http.StatusText(bad.status), "detail": bad.text})
		case len(rows) == 1:
			answer(200, rows[0])
		default:
			answer(200, rows)
		}
		return
	}
	if err := json.Unmarshal(body, &in); err != nil || r.Header.Get("Content-Type") != "application/json" {
		answer(400, map[string]any{"error": 400, "message": "Bad Request", "detail": "Failed to parse json"})
		return
	}
	command := strings.TrimPrefix(r.URL.EscapedPath(), "/rest")
	fields := map[string]string{".id": in.ID, ".proplist": strings.Join(in.List, ",")}
	if r.Method == http.MethodPatch {
		cut := strings.LastIndex(command, "/")
		fields[".id"] = command[cut+1:]
		for k, v := range map[string]string{"max-limit": in.Limit, "timeout": in.Lasts} {
			if v != "" {
				fields[k] = v
			}
		}
		command = command[:cut] + "/set"
	}
	if r.Method == http.MethodPut {
		fields, command = map[string]string{}, command+"/add"
		if err := json.Unmarshal(body, &fields); err != nil {
			answer(400, map[string]any{"error": 400, "message": "Bad Request"})
			return
		}
	}
	rows, bad := m.do(command, fields, in.Query)
	switch {
	case bad != nil:
		answer(max(bad.status, 400), map[string]any{"error": bad.status, "message": http.StatusText(bad.status), "detail": bad.text})
	case r.Method == http.MethodPut:
		answer(201, map[string]string{".id": "*B", "list": fields["list"]})
	case r.Method == http.MethodPatch:
		answer(200, map[string]string{".id": fields[".id"], "max-limit": in.Limit})
	default:
		answer(200, append([]row{}, rows...))
	}
}

// oneListener hands one connection to an HTTP server.
type oneListener struct {
	conn chan net.Conn
	addr net.Addr
	done chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return l.addr }

// web makes a script of an HTTP handler.
func web(handle http.HandlerFunc) func(net.Conn) {
	return func(c net.Conn) {
		l := &oneListener{make(chan net.Conn, 1), c.LocalAddr(), make(chan struct{})}
		l.conn <- c
		var once sync.Once
		s := http.Server{Handler: handle, ErrorLog: log.New(io.Discard, "", 0), ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				once.Do(func() { close(l.done) })
			}
		}}
		_ = s.Serve(l)
	}
}

// menuDoors are the two doors that speak of menus, with a model behind each.
func menuDoors(t *testing.T, run func(t *testing.T, m *model, p *peer, o Options)) {
	t.Helper()
	id := goodIdentity(t)
	for _, d := range []Transport{API, REST} {
		for _, tls := range []bool{true, false} {
			name := d.service(!tls)
			t.Run(name, func(t *testing.T) {
				m := newModel()
				script := m.api
				if d == REST {
					script = web(m.rest)
				}
				use := &id
				if !tls {
					use = nil
				}
				p := serve(t, use, script)
				run(t, m, p, p.options(d))
			})
		}
	}
}
