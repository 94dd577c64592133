package rosim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/memnet"
	"wanctl/internal/unit"
)

// noSleep lets waits pass at once, and ends what waits for ever.
func noSleep() func(context.Context, time.Duration) error {
	n := 0
	return func(ctx context.Context, _ time.Duration) error {
		if n++; n > 1000 {
			return context.Canceled
		}
		return ctx.Err()
	}
}

func fuzzed(t *testing.T) *Router {
	t.Helper()
	o := DefaultOptions()
	o.Now = func() unit.Time { return unit.Time(time.Hour) }
	o.Sleep = noSleep()
	o.HostKeys = fuzzKeys(t)
	o.Users[1].Password = "secret"
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The decoder never sets aside more than its limits, and what it reads it spells again.
func FuzzSentence(f *testing.F) {
	f.Add(appendSentence(nil, "/login", "=name=a", "=password=b", ".tag=1"))
	f.Add([]byte{0, 0, 0x80, 1, 'x', 0})
	f.Add([]byte{0xf0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xf8})
	f.Fuzz(func(t *testing.T, data []byte) {
		rd := bufio.NewReader(bytes.NewReader(data))
		for {
			words, err := readSentence(rd, limitsAfter)
			if err != nil {
				return
			}
			again, err := readSentence(bufio.NewReader(bytes.NewReader(appendSentence(nil, words...))), limitsAfter)
			if err != nil || !slices.Equal(words, again) {
				t.Errorf("%q became %q, %v", words, again, err)
			}
		}
	})
}

// A connection that sends anything ends, and has answered in whole sentences.
func FuzzAPISession(f *testing.F) {
	for _, s := range []string{
		"/queue/tree/print\n=.proplist=.id\n?name=x", "/queue/tree/set\n=.id=*1\n=max-limit=1M", "/cancel\n=tag=1", "/queue/tree/listen\n.tag=1",
		"/interface/monitor-traffic\n=interface=ether1", "/tool/ping\n=address=192.0.2.1\n=count=3", "/queue/tree/add\n=parent=ether1",
		"/ip/firewall/mangle/move\n=numbers=*1\n=destination=*3", "/queue/tree/get\n=.id=*1\n=value-name=name", "/quit", "/login\n=name=x",
	} {
		f.Add(appendSentence(nil, strings.Split(s, "\n")...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := fuzzed(t)
		in, out := memnet.NewStream(), memnet.NewStream()
		if _, err := in.Write(append(appendSentence(nil, "/login", "=name="+DefaultUser, "=password=secret"), data...)); err != nil {
			t.Fatal(err)
		}
		in.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		g := &gate{Conn: memnet.Conn{In: in, Out: out}, door: r.doors[doorAPI], cancel: cancel}
		g.stream = g
		r.apiSession(ctx, g)
		// The session above ends with its last byte, often before a command could run: here each runs.
		s := &apiSession{router: r, gate: g, ctx: t.Context(), user: DefaultUser, may: r.rights(DefaultUser)}
		out.Close()
		all, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		in2 := bufio.NewReader(bytes.NewReader(data))
		for {
			words, err := readSentence(in2, limitsAfter)
			if err != nil {
				break
			}
			c := &apiCommand{sentence: readWords(words), ctx: t.Context()}
			if c.query, err = parseQuery(c.queries); err == nil && !r.streams(&c.request) {
				all = append(all, s.answer(t.Context(), c).wire...)
			}
		}
		rd := bufio.NewReader(bytes.NewReader(all))
		for {
			words, err := readSentence(rd, wordLimits{maxOutput * 2, 1000, maxOutput * 2})
			if err != nil {
				if err.Error() != "EOF" {
					t.Errorf("the answer ends in %v", err)
				}
				return
			}
			if !slices.Contains([]string{"!re", "!done", "!trap", "!fatal", "!empty"}, words[0]) {
				t.Errorf("answered %q", words)
			}
		}
	})
}

// A query never takes from an empty stack, whatever its words are.
func FuzzQuery(f *testing.F) {
	f.Add("name=x\n-comment\n#|!")
	f.Add("a\nb\n#01&0")
	f.Add("<max-limit=1M\n>rate=0\n#..&|")
	r, err := NewRouter(DefaultOptions())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parseQuery(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		for _, it := range r.queues().items {
			if _, err := q.holds(&run{router: r, ctx: t.Context()}, it); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever a body holds, the answer is one of REST's, and what claims to be JSON is.
func FuzzREST(f *testing.F) {
	f.Add("GET", "/queue/tree/*1?.proplist=name&disabled=no", "")
	f.Add("PUT", "/queue/tree", `{"name":"x","parent":"ether1","max-limit":5}`)
	f.Add("PATCH", "/queue/tree/*1", `{"max-limit":"1M","comment":null}`)
	f.Add("DELETE", "/ip/firewall/mangle/*1", "")
	f.Add("POST", "/queue/tree/print", `{".query":["name=x","#!"],".proplist":["name"]}`)
	f.Add("POST", "/queue/tree/listen", `{}`)
	f.Add("POST", "/execute", `{"script":":put 1"}`)
	f.Add("POST", "/tool/ping", `{"address":"192.0.2.1"}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI(restPrefix + path)
		if err != nil {
			return
		}
		r := fuzzed(t)
		resp, bad := response{}, (*response)(nil)
		in, bad := r.readREST(&http.Request{Method: method, URL: u}, []byte(body))
		if bad != nil {
			resp = *bad
		} else {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			resp, _ = r.answerREST(ctx, DefaultUser, r.rights(DefaultUser), in)
		}
		if !slices.Contains([]int{200, 201, 204, 400, 404, 500}, resp.status) {
			t.Errorf("status %d", resp.status)
		}
		if resp.content == jsonContent && !json.Valid([]byte(resp.body)) {
			t.Errorf("no JSON: %s", resp.body)
		}
	})
}
