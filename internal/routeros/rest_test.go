package routeros

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestParseRows(t *testing.T) {
	for in, want := range map[string][]row{
		"":                                nil,
		" \r\n":                           nil,
		"[]":                              nil,
		`{}`:                              {{}},
		`[{}]`:                            {{}},
		`[{".id":"*1","a":"b"},{"c":""}]`: {{".id": "*1", "a": "b"}, {"c": ""}},
		`{"a":"\u00fc\"\\"}`:              {{"a": `ü"\`}},
		`[{"a":"1","a":"1"}]`:             {{"a": "1"}},
	} {
		got, err := parseRows([]byte(in))
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", in, err, d)
		}
	}
	for _, in := range []string{
		"moo", "[", "{", `"a"`, "1", "null", "true", `[1]`, `["a"]`, `[[]]`, `[null]`, `[{"a":1}]`, `[{"a":null}]`, `[{"a":true}]`, `[{"a":{}}]`, `[{"a":["b"]}]`,
		`[{"a":"1","a":"2"}]`, `[{}]x`, `{} {}`, `[{}`, `[{"a"`, `[{"a":`, `[{"a":"b"`, `[{"a":"b"},`, `{"a":"b",}`, "<html>", "\n <!doctype html>",
		"[" + strings.Repeat("{},", maxRows) + "{}]",
	} {
		if got, err := parseRows([]byte(in)); !errors.Is(err, errShape) {
			t.Errorf("%.60s passed: %d rows, %v", in, len(got), err)
		}
	}
}

// FuzzRows: whatever is taken for an answer is one, and reads back.
func FuzzRows(f *testing.F) {
	for _, s := range []string{`[{".id":"*1","name":"WAN"}]`, `{"ret":"*2"}`, `[]`, `{"error":400,"message":"Bad Request","detail":"no such item"}`, "<html>", `[{"a":"1","a":"2"}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		rows, err := parseRows(in)
		if err != nil {
			return
		}
		out, err := json.Marshal(append([]row{}, rows...))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRows(out)
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%q reads back as %v, %v", in, again, err)
		}
		_ = answered{status: 400, body: in}.text()
	})
}

// restPeer serves requests after the one that proves the password.
func restPeer(t *testing.T, handle http.HandlerFunc) (*peer, *Client) {
	t.Helper()
	m := newModel()
	p := serve(t, nil, web(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/system/resource") {
			m.rest(w, r)
			return
		}
		handle(w, r)
	}))
	return p, dialer(t, p.options(REST))
}

// TestRESTRefusals: every status RouterOS is known to answer with, at a reading and at a change.
func TestRESTRefusals(t *testing.T) {
	object := func(status int, detail string) string {
		return fmt.Sprintf(`{"error":%d,"message":%q,"detail":%q}`, status, http.StatusText(status), detail)
	}
	for _, tt := range []struct {
		status     int
		body       string
		read, set  Kind
		says, hint string
	}{
		{400, object(400, "no such command"), Syntax, Syntax, "no such command", "7.12"},
		{400, object(400, "no such command or directory (queue)"), Syntax, Syntax, "no such command", "7.12"},
		{400, object(400, "missing or invalid resource identifier"), Reply, Permission, "resource identifier", ""},
		{400, object(400, "input does not match any value of max-limit"), Syntax, Syntax, "input does not match", ""},
		{400, object(400, "Failed to parse json"), Reply, Reply, "parse json", ""},
		{400, object(400, "Session closed"), Lost, Lost, "Session closed", "60 s"},
		{400, `{"error":400,"message":"Bad Request"}`, Reply, Reply, "Bad Request", ""},
		{401, `{"error":401,"message":"Unauthorized"}`, Auth, Auth, "refused the user name or the password", "10 minutes"},
		{403, "<html><body>Forbidden</body></html>", Permission, Permission, "a page, not JSON", "/ip/service/webserver"},
		{404, `{"error":404,"message":"Not Found"}`, Syntax, Permission, "Not Found", ""},
		{406, object(406, "no such command or directory (remove)"), Syntax, Syntax, "status 406", ""},
		{415, "", Syntax, Syntax, "status 415", ""},
		{500, object(500, "std failure: not allowed (9)"), Permission, Permission, "not allowed (9)", "policy web too"},
		{500, object(500, "not enough permissions (9)"), Permission, Permission, "permissions (9)", "read,write,api,rest-api"},
		{500, object(500, "failure: x"), Reply, Reply, "failure: x", ""},
		{503, "", Reply, Reply, "Service Unavailable", ""},
		{302, "", Syntax, Syntax, "redirect to https://elsewhere/", "www-ssl"},
	} {
		for _, changing := range []bool{false, true} {
			_, c := restPeer(t, func(w http.ResponseWriter, r *http.Request) {
				if changing && r.Method != http.MethodPatch {
					_, _ = io.WriteString(w, `[{".id":"*1","name":"`+att.Down+`"},{".id":"*2","name":"`+att.Up+`"}]`)
					return
				}
				if tt.status == 302 {
					w.Header().Set("Location", "https://elsewhere/")
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			var want *link.Rates
			kind := tt.read
			if changing {
				want, kind = &link.Rates{Down: unit.Mbps}, tt.set
			}
			_, err := c.Exchange(t.Context(), att, want)
			e := failure(t, err, kind, tt.says, tt.hint)
			stays := tt.status != http.StatusUnauthorized // then the next command asks for the password anew
			if !e.Sent || e.Reply == "" || c.Connected() != stays || e.Command == "" || e.Hint == "" {
				t.Errorf("%d: %#v, connected %t", tt.status, e, c.Connected())
			}
		}
	}
}

// TestRESTUnusable: a success whose body is none, and servers of another kind.
func TestRESTUnusable(t *testing.T) {
	for name, tt := range map[string]struct {
		body, says string
	}{
		"a page":           {"<html>Webfig</html>", "it is a page, not JSON"},
		"a number":         {`[{"name":5}]`, `the value of "name" is no string`},
		"cut":              {`[{"name":"q"`, "not RouterOS's"},
		"another protocol": {"moo", "not RouterOS's"},
		"endless":          {"[" + strings.Repeat(" ", maxAnswer+maxHead) + "]", "longer than"},
		"long":             {"[" + strings.Repeat(" ", maxAnswer) + "]", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := restPeer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, tt.body) })
			_, err := c.Queue(t.Context(), "q")
			if e := failure(t, err, Reply, tt.says, "really the router's"); !e.Sent || len(e.Error()) > 1500 {
				t.Errorf("%#v", e)
			}
		})
	}
}

// rawREST serves bytes in answer to every request.
func rawREST(t *testing.T, answer func(n int, r *http.Request) string) (*peer, *Client) {
	t.Helper()
	p := serve(t, nil, func(c net.Conn) {
		in := bufio.NewReader(c)
		for n := 0; ; n++ {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			text := answer(n, r)
			if _, err := io.WriteString(c, text); err != nil || strings.Contains(text, "onnection: close") || strings.HasSuffix(text, "CUT") {
				return
			}
		}
	})
	return p, dialer(t, p.options(REST))
}

func httpOK(head, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", len(body), head, body)
}

const upOK = `{"uptime":"1h","version":"7.12"}`

// TestRESTWire: what a request looks like, byte for byte where it matters.
func TestRESTWire(t *testing.T) {
	var seen []*http.Request
	var bodies []string
	done := make(chan struct{}, 99)
	p := serve(t, nil, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			b, _ := io.ReadAll(r.Body)
			seen, bodies = append(seen, r), append(bodies, string(b))
			done <- struct{}{}
			switch {
			case strings.Contains(r.RequestURI, "resource"):
				_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"+httpOK("", upOK))
			case strings.Contains(r.RequestURI, "mangle/print"):
				rest := `.id":"*1F","comment":"S\"T","disabled":"true","chain":"c","action":"a","dynamic":"no"}]`
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[{\"\r\n%x\r\n%s\r\n0\r\n\r\n", len(rest), rest)
			default:
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		}
	})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	c := dialer(t, p.options(REST))
	_, err := c.SetRule(t.Context(), `S"T`, true)
	failure(t, err, Mismatch)
	want := []string{
		`GET /rest/system/resource `,
		`POST /rest/ip/firewall/mangle/print {".proplist":[".id","comment","dynamic","disabled","invalid","chain","action","connection-state",` +
			`"new-connection-mark","new-routing-mark","src-address-list"],".query":["comment=S\"T"]}`,
		`POST /rest/ip/firewall/mangle/enable {".id":"*1F"}`,
	}
	want = append(want, want[1])
	var got []string
	for i := range want {
		<-done
		got = append(got, seen[i].Method+" "+seen[i].RequestURI+" "+bodies[i])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	h := seen[1].Header
	user, pass, ok := seen[0].BasicAuth()
	if !ok || user != "wanctl" || pass != secret || h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "wanctl" ||
		h.Get("Accept-Encoding") != "" || seen[0].Host != p.listener.Addr().String() {
		t.Errorf("head %v, host %s", h, seen[0].Host)
	}
	a := ask{menu: treeMenu, verb: "set", id: "*1F", key: "max-limit", value: "5"}
	method, path, body := a.request()
	r := (&restLine{}).request(method, path, body)
	if r.URL.RequestURI() != "/rest/queue/tree/*1F" || method != "PATCH" || body != `{"max-limit":"5"}` {
		t.Errorf("%s %s %s", method, r.URL.RequestURI(), body)
	}
}

// An end that the server announces costs neither a login in the count nor a write: nothing was lost.
func TestRESTAnnouncedEnd(t *testing.T) {
	limit, stop := "95000000", false
	var p *peer
	var c *Client
	p, c = rawREST(t, func(_ int, r *http.Request) string {
		switch {
		case strings.Contains(r.URL.Path, "resource"):
			return httpOK("Connection: close\r\n", upOK)
		case r.Method == http.MethodPatch:
			if limit = "50000000"; stop {
				_ = p.listener.Close()
			}
			return httpOK("Connection: close\r\n", "{}")
		case strings.Contains(r.URL.Path, "interface"):
			return httpOK("Connection: close\r\n", "[]")
		}
		row := `{".id":"*%d","name":%q,"max-limit":"` + limit + `","bytes":"1","packets":"1","dropped":"0","queued-bytes":"0","queued-packets":"0","parent":"p"}`
		return httpOK("Connection: close\r\n", "["+fmt.Sprintf(row, 1, att.Down)+","+fmt.Sprintf(row, 2, att.Up)+"]")
	})
	for range 2 {
		r, err := c.Exchange(t.Context(), att, &link.Rates{Down: 50 * unit.Mbps})
		if err != nil || r.Unwritten || r.Down.MaxLimit != 50*unit.Mbps || !c.Connected() {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if c.Logins() != 1 || p.conns.Load() != 11 {
		t.Errorf("%d logins over %d connections", c.Logins(), p.conns.Load())
	}
	// The next connection cannot be made, after the rate was set: nobody read it back, so what the router has is not known.
	stop = true
	_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 40 * unit.Mbps})
	if e := failure(t, err, Unreachable); !e.Sent || c.Connected() || !contains(e.Command, "print") {
		t.Errorf("%#v", e)
	}
}

func TestRESTNobodyListensAgain(t *testing.T) {
	p, c := rawREST(t, func(int, *http.Request) string { return httpOK("Connection: close\r\n", upOK) })
	if err := c.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = p.listener.Close()
	_, err := c.Queue(t.Context(), "q")
	if e := failure(t, err, Unreachable); e.Sent || c.Connected() {
		t.Errorf("%#v", e)
	}
}

// afterLogin lets a login succeed and answers every later request with the same.
func afterLogin(answer string) func(int, *http.Request) string {
	return func(n int, _ *http.Request) string {
		if n == 0 {
			return httpOK("", upOK)
		}
		return answer
	}
}

func TestRESTWireFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		kind   Kind
		says   string
	}{
		"cut in the head":          {"HTTP/1.1 200 OK\r\nContent-LengthCUT", Lost, "not known"},
		"cut in the body":          {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[{CUT", Lost, "not known"},
		"another protocol":         {"SSH-2.0-ROSSSH\r\n\r\n", Reply, "really the router's"},
		"a head without end":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", (maxAnswer+maxHead)/6+1), Reply, "longer than"},
		"nothing but continues":    {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9), Reply, "never begins"},
		"a body of the wrong size": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n[]", Lost, "Content-Length"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := rawREST(t, afterLogin(tt.answer))
			_, err := c.Queue(t.Context(), "q")
			if e := failure(t, err, tt.kind, tt.says); !e.Sent || c.Connected() {
				t.Errorf("%#v, connected %t", e, c.Connected())
			}
		})
	}
	// More than one answer to one request.
	_, c := rawREST(t, afterLogin(httpOK("", "[]")+httpOK("", `[{"name":"q"}]`)))
	if err := c.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := c.line
	if _, err := c.Queue(t.Context(), "q"); err == nil {
		t.Error("found")
	}
	<-l.ended()
	if _, e := l.carry(t.Context(), task{purpose: oneQueue, op: "o", queue: "q"}); e == nil || e.Sent || e.Kind != Reply && e.Kind != Unreachable {
		t.Errorf("%#v", e)
	}
}

// TestRESTLogin: the first request proves the password; when it fails there is no connection.
func TestRESTLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		kind   Kind
		says   string
	}{
		"wrong password":   {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Auth, "needs the policies read,write,api,rest-api"},
		"REST off":         {"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n<html>", Permission, "rest-secure=yes"},
		"no REST":          {"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", Syntax, "no REST here"},
		"another server":   {httpOK("", "<html>"), Unreachable, "first request failed"},
		"hung up":          {"CUT", Unreachable, "first request failed"},
		"no HTTP":          {"SSH-2.0-ROSSSH\r\n\r\n", Unreachable, "first request failed"},
		"too old":          {httpOK("", `{"uptime":"1h","version":"7.11.2 (stable)"}`), Syntax, "RouterOS 7.11.2 (stable) is too old for REST"},
		"a redirect":       {"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n", Syntax, "does not follow"},
		"fails for itself": {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Unreachable, "status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			p, c := rawREST(t, func(int, *http.Request) string { return tt.answer })
			_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
			if e := failure(t, err, tt.kind, tt.says); e.Sent || c.Connected() || c.Logins() != 0 || p.conns.Load() != 1 {
				t.Errorf("%#v, %d connections", e, p.conns.Load())
			}
		})
	}
	for _, v := range []string{"7.12", "7.24.1 (stable)", "8.1", "moo", ""} {
		if e := (restDoor{}).oldest("", v); e != nil {
			t.Errorf("%q: %v", v, e)
		}
	}
	if (restDoor{}).oldest("", "6.49.10") == nil {
		t.Error("RouterOS 6 passed")
	}
}
