package rosim

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// The bounds of REST: what RouterOS documents of a command's time, and what others measured of its logins.
const (
	restLimit   = 60 * time.Second
	restCached  = 10 * time.Minute
	maxHead     = 16 << 10
	maxBody     = 64 << 10
	maxGrants   = 1000
	restPrefix  = "/rest"
	jsonContent = "application/json"
)

var errSessionClosed = &problem{text: "Session closed"}

// restLogin is what a login is cached under.
type restLogin struct {
	user, source string
	password     [sha256.Size]byte
}

// restGrant is a cached login: what the user might do when it was made.
type restGrant struct {
	may policySet
	at  unit.Time
}

// restLane is where requests wait for each other: those of one user from one address.
type restLane struct{ user, source string }

// lane is held by the request that runs; waiting counts all that want it.
type lane struct {
	turn    chan struct{}
	waiting int
}

// restSession serves one HTTP connection until it ends.
func (r *Router) restSession(ctx context.Context, g *gate) {
	_ = g.SetReadDeadline(time.Now().Add(loginGrace))
	limited := &io.LimitedReader{R: g.stream}
	rd := bufio.NewReader(limited)
	for {
		limited.N = maxHead + maxBody
		req, err := http.ReadRequest(rd)
		if err != nil {
			if !errors.Is(err, io.EOF) && limited.N == 0 {
				_ = r.restSend(g, plainStatus(http.StatusRequestHeaderFieldsTooLarge).wire(true))
			}
			return
		}
		_ = g.SetReadDeadline(time.Time{})
		if !r.restTurn(ctx, g, req) {
			return
		}
	}
}

func (r *Router) restSend(g *gate, b []byte) error {
	_, err := g.stream.Write(b)
	return err
}

// restTurn answers one request; false ends the connection.
func (r *Router) restTurn(ctx context.Context, g *gate, req *http.Request) bool {
	if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		if r.restSend(g, []byte("HTTP/1.1 100 Continue\r\n\r\n")) != nil {
			return false
		}
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return false
	}
	if len(body) > maxBody {
		_ = r.restSend(g, plainStatus(http.StatusRequestEntityTooLarge).wire(true))
		return false
	}
	refused, may := r.restAdmit(g, req)
	v := restVoice{r, g, req.Close, req.Method == http.MethodHead}
	if refused != nil {
		return v.send(v.reply(*refused, false).wire) == nil && !req.Close
	}
	user, _, _ := req.BasicAuth()
	in, bad := r.readREST(req, body)
	leave, err := r.enterLane(ctx, restLane{user, g.source().String()})
	if err != nil {
		return false
	}
	defer leave()
	line := req.Method + " " + req.URL.RequestURI()
	if len(body) > 0 {
		line += " " + in.masked
	}
	_, sent := r.transact(ctx, g, user, line, v, func(ctx context.Context) reply {
		if bad != nil {
			return v.reply(*bad, false)
		}
		resp, wrote := r.answerREST(ctx, user, may, in)
		return v.reply(resp, wrote)
	})
	return sent && !req.Close || g.silent.Load() // a silent connection stays
}

// restAdmit lets a request in: nil and the user's rights, or the answer that refuses it.
func (r *Router) restAdmit(g *gate, req *http.Request) (*response, policySet) {
	refuse := func(resp response) (*response, policySet) { return &resp, 0 }
	path := req.URL.EscapedPath()
	if path != restPrefix && !strings.HasPrefix(path, restPrefix+"/") {
		return refuse(htmlStatus(http.StatusNotFound))
	}
	if !r.restSwitchedOn(g.door.name) {
		return refuse(htmlStatus(http.StatusForbidden))
	}
	if req.Method == http.MethodOptions {
		return refuse(plainStatus(http.StatusServiceUnavailable))
	}
	user, password, _ := req.BasicAuth()
	may, ok := r.restLogin(g, user, password)
	switch {
	case !ok:
		r.turnAway()
		return refuse(plainStatus(http.StatusUnauthorized))
	case !may.has(policyAPI), r.dialect.RESTNeedsWeb && !may.has(policyWeb):
		return refuse(failureStatus(http.StatusInternalServerError, "std failure: not allowed (9)"))
	case !r.contentTaken(req):
		return refuse(plainStatus(http.StatusUnsupportedMediaType))
	}
	return nil, may
}

// restSwitchedOn says whether /ip/service/webserver lets REST through this door; older versions have no such switch.
func (r *Router) restSwitchedOn(door string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.root.at(webserverPath)
	if m == nil {
		return true
	}
	name := map[string]string{doorREST: "rest-plain", doorRESTTLS: "rest-secure"}[door]
	return m.items[0].vals[name].num != 0
}

// contentTaken says whether the body's type is one the router reads; old versions do not know parameters behind it.
func (r *Router) contentTaken(req *http.Request) bool {
	if req.Method == http.MethodGet || req.Method == http.MethodDelete || req.ContentLength == 0 {
		return true
	}
	given := req.Header.Get("Content-Type")
	if !r.version.atLeast(7, 18) {
		return given == jsonContent
	}
	kind, _, err := mime.ParseMediaType(given)
	return err == nil && kind == jsonContent
}

// restLogin checks name and password, or finds them in the cache: for ten minutes after a login neither a change of the
// password nor of the rights is seen.
func (r *Router) restLogin(g *gate, user, password string) (policySet, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := restLogin{user, g.source().String(), sha256.Sum256([]byte(password))}
	now := r.now()
	if have, ok := r.restLogins[key]; ok {
		if now.Sub(have.at) < restCached {
			return have.may, true
		}
		delete(r.restLogins, key)
	}
	u := r.account(user)
	if u == nil || !r.admits(u, user, g, policyREST) || !u.knows([]byte(password)) {
		return 0, false
	}
	may := r.policies(user)
	if len(r.restLogins) < maxGrants {
		r.restLogins[key] = restGrant{may, now}
	}
	r.logins++
	// A login shows as two sessions, which nothing ever ends.
	for _, via := range []string{"rest-api", "api"} {
		r.showActive(g, user, via)
	}
	r.notify()
	return may, true
}

// enterLane waits for a request's turn.
func (r *Router) enterLane(ctx context.Context, key restLane) (leave func(), err error) {
	r.mu.Lock()
	l := r.lanes[key]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		r.lanes[key] = l
	}
	l.waiting++
	r.mu.Unlock()
	drop := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.waiting--; l.waiting == 0 {
			delete(r.lanes, key)
		}
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	}
}

// response is an HTTP answer.
type response struct {
	status   int
	content  string // "" is no body
	body     string
	location string
	detail   string // of a failure, for the log
}

func (resp response) wire(closing bool) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", resp.status, http.StatusText(resp.status))
	if resp.status == http.StatusUnauthorized {
		b.WriteString("WWW-Authenticate: Basic realm=\"RouterOS REST API\"\r\n")
	}
	if resp.content != "" {
		b.WriteString("Content-Type: " + resp.content + "\r\n")
	}
	if resp.location != "" {
		b.WriteString("Location: " + resp.location + "\r\n")
	}
	if closing {
		b.WriteString("Connection: close\r\n")
	}
	if resp.status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(resp.body))
	}
	b.WriteString("\r\n" + resp.body)
	return []byte(b.String())
}

// plainStatus is a failure that says nothing beside its status.
func plainStatus(status int) response {
	return response{
		status: status, content: jsonContent, detail: http.StatusText(status),
		body: fmt.Sprintf(`{"error":%d,"message":%s}`, status, jsonString(http.StatusText(status))),
	}
}

// failureStatus is a failure with its text.
func failureStatus(status int, detail string) response {
	return response{
		status: status, content: jsonContent, detail: detail,
		body: fmt.Sprintf(`{"error":%d,"message":%s,"detail":%s}`, status, jsonString(http.StatusText(status)), jsonString(detail)),
	}
}

// htmlStatus is a failure of the web server, which knows nothing of JSON.
func htmlStatus(status int) response {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return response{
		status: status, content: "text/html", detail: text,
		body: "<html>\r\n<head><title>" + text + "</title></head>\r\n<body><h1>" + text + "</h1></body>\r\n</html>\r\n",
	}
}

// restVoice answers one request.
type restVoice struct {
	router  *Router
	gate    *gate
	closing bool
	head    bool // the client wants no body
}

func (v restVoice) reply(resp response, wrote bool) reply {
	log := fmt.Sprintf("%d", resp.status)
	if resp.body != "" {
		log += " " + resp.body
	}
	wire := resp.wire(v.closing)
	if v.head {
		wire = wire[:len(wire)-len(resp.body)]
	}
	return reply{log: log + "\n", wire: wire, failed: resp.status >= 400, wrote: wrote}
}

func (v restVoice) failure(text string) reply {
	return v.reply(failureStatus(http.StatusBadRequest, text), false)
}

func (v restVoice) send(b []byte) error { return v.router.restSend(v.gate, b) }

func (v restVoice) spoil(how Garble, instead reply) []byte {
	resp := response{status: http.StatusOK, content: jsonContent, body: "42"}
	switch how {
	case GarbleHTML:
		resp.content, resp.body = "text/html", htmlPage
	case GarbleBytes:
		_, body, _ := strings.Cut(string(instead.wire), "\r\n\r\n")
		resp.body = "[{\"" + body[:len(body)/2]
	case GarbleShape:
	}
	return resp.wire(v.closing)
}
