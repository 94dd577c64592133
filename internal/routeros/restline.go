package routeros

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// restDoor is RouterOS's REST.
type restDoor struct{ site }

// say returns the first request of a task.
func (d restDoor) say(t task) (string, error) {
	method, path, body := firstAsk(t).request()
	return method + " " + path + " " + body, guardRequest(method, path, body)
}

func (d restDoor) fingerprint(ctx context.Context) (string, *Error) { return d.certificate(ctx) }

// enter connects and makes one request, which proves the password: REST has no login of its own.
func (d restDoor) enter(ctx context.Context, op string) (line, *Error) {
	l := &restLine{site: d.site, gone: make(chan struct{})}
	if failed := l.connect(ctx, op); failed != nil {
		return nil, failed
	}
	password, failed := d.secret(op)
	if failed != nil {
		l.close()
		return nil, failed
	}
	l.proof = "Basic " + base64.StdEncoding.EncodeToString([]byte(d.opt.User+":"+password))
	rows, failed := l.ask(ctx, op, askUptime)
	if failed == nil && len(rows) == 1 {
		failed = d.oldest(op, rows[0]["version"])
	}
	if failed != nil {
		l.close()
		failed.Sent = false // nothing had been asked yet
		switch failed.Kind {
		case Lost, Reply:
			return nil, d.err(Unreachable, op, fmt.Errorf("the first request failed: %w", failed.Err), failed.Hint)
		case Unreachable, Auth, HostKey, Certificate, NoSuchItem, Ambiguous, Permission, Syntax, Timeout, Mismatch:
		}
		return nil, failed
	}
	return l, nil
}

// oldest refuses RouterOS before 7.12, whose REST lets users past their address restriction (CVE-2023-41570).
func (d restDoor) oldest(op, version string) *Error {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || major > 7 || major == 7 && minor >= 12 {
		return nil
	}
	return d.err(Syntax, op, fmt.Errorf("RouterOS %s is too old for REST", clip(version)), "update RouterOS to 7.12 or newer")
}

// restLine is one HTTP connection, one request at a time. It is no [http.Client]: that one repeats requests by itself, and
// hides which connection carried them.
type restLine struct {
	site
	proof string
	gone  chan struct{} // closed when the session has ended

	mu      sync.Mutex
	conn    net.Conn // nil after an announced end
	why     error
	waiting chan answered // of the request whose response is awaited
}

func (l *restLine) close() { l.end(net.ErrClosed) }

// end ends the session; the first reason counts.
func (l *restLine) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(why)
}

func (l *restLine) endLocked(why error) {
	if l.why != nil {
		return
	}
	l.why = why
	if l.conn != nil {
		hangUp(l.conn)
	}
	close(l.gone)
}

func (l *restLine) alive() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

func (l *restLine) ended() <-chan struct{} { return l.gone }

func (l *restLine) carry(ctx context.Context, t task) (reply, *Error) { return sit(ctx, l.site, l, t) }

// connect makes the connection and starts reading it.
func (l *restLine) connect(ctx context.Context, op string) *Error {
	conn, finish, failed := l.secure(ctx, op)
	if failed != nil {
		return failed
	}
	finish()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil { // closed meanwhile
		_ = conn.Close()
		return l.brokenBy(ctx, op, l.why, false)
	}
	l.conn = conn
	go l.listen(conn)
	return nil
}

// listen reads a connection until it ends. Without a request there is nothing to read: whatever comes then, be it the end
// of the stream, ends the session.
func (l *restLine) listen(conn net.Conn) {
	limit := &io.LimitedReader{R: conn}
	r := bufio.NewReaderSize(limit, 4<<10)
	for {
		limit.N = int64(l.room(maxAnswer) + maxHead)
		a, err := readResponse(r, l.room(maxAnswer))
		if limit.N <= 0 {
			err = errLong
		}
		if last := l.deliver(conn, a, err); last {
			return
		}
	}
}

// maxHead bounds the head of a response, in bytes.
const maxHead = 64 << 10

// readResponse reads one response whole. A "100 Continue" nobody asked for is passed over, a few times.
func readResponse(r *bufio.Reader, room int) (answered, error) {
	for range 4 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answered{}, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(room)+1))
		_ = resp.Body.Close()
		switch {
		case err != nil:
			return answered{}, err
		case len(body) > room:
			return answered{}, errLong
		case resp.StatusCode/100 == 1:
			continue
		}
		return answered{status: resp.StatusCode, body: body, to: resp.Header.Get("Location"), last: resp.Close}, nil
	}
	return answered{}, fmt.Errorf("%w: it never begins", errShape)
}

// deliver hands a response to the request that waits for it, and says whether the connection has no more.
func (l *restLine) deliver(conn net.Conn, a answered, err error) (last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.waiting == nil {
		err = fmt.Errorf("%w: nobody asked", errShape)
	}
	if err != nil {
		l.endLocked(err)
		return true
	}
	if a.last {
		// An announced end is no loss: the next request makes a new connection, and nobody else could log in as us meanwhile
		// who could not before.
		hangUp(conn)
		l.conn = nil
	}
	l.waiting <- a // has room for it
	l.waiting = nil
	return a.last
}

// ask sends one request and waits for its response. When ctx ends, the session does.
func (l *restLine) ask(ctx context.Context, op string, a ask) ([]row, *Error) {
	method, path, body := a.request()
	text := method + " " + path + " " + body
	fail := func(e *Error) ([]row, *Error) {
		e.Command = text
		return nil, e
	}
	if err := guardRequest(method, path, body); err != nil {
		return fail(l.err(Syntax, op, err, ourFault))
	}
	rows, failed := l.rows(ctx, op, method, path, body, a.id != "")
	if failed != nil {
		return fail(failed)
	}
	if a.keep != nil {
		kept := rows[:0]
		for _, r := range rows {
			if a.keep(r) && (a.most == 0 || len(kept) < a.most) {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	return rows, nil
}

// rows sends one request and reads the items of its response. changed says that it changes an item.
func (l *restLine) rows(ctx context.Context, op, method, path, body string, changed bool) ([]row, *Error) {
	got, failed := l.send(ctx, op, method, path, body)
	if failed != nil {
		return nil, failed
	}
	if !got.ok() {
		failed := l.refusal(op, got, changed)
		if failed.Kind == Auth { // the session has a password that counts no more: the next one asks for it anew
			l.end(failed)
		}
		return nil, failed
	}
	rows, err := parseRows(got.body)
	if err != nil {
		e := l.err(Reply, op, err, "is this port really the router's "+l.opt.Transport.service(l.opt.Plain)+" service?")
		e.Reply, e.Sent = clip(string(got.body[:min(len(got.body), 2*maxQuoted)])), true
		return nil, e
	}
	return rows, nil
}

// send writes one request and waits for its response.
func (l *restLine) send(ctx context.Context, op, method, path, body string) (answered, *Error) {
	release := context.AfterFunc(ctx, l.close)
	defer release()
	l.mu.Lock()
	conn, why := l.conn, l.why
	l.mu.Unlock()
	if conn == nil && why == nil {
		if failed := l.connect(ctx, op); failed != nil {
			l.end(failed)
			return answered{}, failed
		}
	}
	waiting := make(chan answered, 1)
	l.mu.Lock()
	conn, why = l.conn, l.why
	l.waiting = waiting
	l.mu.Unlock()
	if why != nil {
		return answered{}, l.broken(ctx, op, false)
	}
	if err := l.request(method, path, body).Write(conn); err != nil {
		l.end(err)
		return answered{}, l.broken(ctx, op, true)
	}
	select {
	case a := <-waiting:
		return a, nil
	case <-l.gone:
		select {
		case a := <-waiting: // the connection ended right after the response
			return a, nil
		default:
			return answered{}, l.broken(ctx, op, true)
		}
	}
}

// request builds the head. The path stands as it is: RouterOS does not understand an escaped star.
func (l *restLine) request(method, path, body string) *http.Request {
	r := &http.Request{
		Method: method, URL: &url.URL{Path: path, RawPath: path}, Host: l.addr, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Authorization": {l.proof}, "Accept": {"application/json"}, "User-Agent": {"wanctl"},
		},
		Body: http.NoBody,
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	return r
}

// broken says how a session ended under a request.
func (l *restLine) broken(ctx context.Context, op string, sent bool) *Error {
	l.mu.Lock()
	l.waiting = nil
	why := l.why
	l.mu.Unlock()
	if why != nil && strings.Contains(why.Error(), "malformed HTTP") {
		why = fmt.Errorf("%w: %w", errShape, why)
	}
	return l.brokenBy(ctx, op, why, sent)
}
