package rosim

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A story is a conversation with the binary API or REST: lines that begin with < are sent, those with > are what came
// back until the router had nothing more to say. "@wait 10s" lets time pass, "@fault …" breaks something, "@run …"
// is a console command of somebody else, "@dialect", "@version", "@group" and "@user" set the stage, "@connect"
// begins a new connection.
func TestStories(t *testing.T) { replay(t, ".story", tell) }

// ear collects what comes back on a connection.
type ear struct {
	net.Conn
	in chan []byte
}

func listenTo(c net.Conn) *ear {
	e := &ear{c, make(chan []byte, 1000)}
	go func() {
		defer close(e.in)
		for {
			b := make([]byte, 4096)
			n, err := c.Read(b)
			if n > 0 {
				e.in <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return e
}

// heard is everything that has come so far; closed says that nothing more will.
func (e *ear) heard() (all []byte, closed bool) {
	synctest.Wait()
	for {
		select {
		case b, ok := <-e.in:
			if !ok {
				return all, true
			}
			all = append(all, b...)
		default:
			return all, false
		}
	}
}

func tell(t *testing.T, story string) string {
	t.Helper()
	var out strings.Builder
	var setup []func(*Options)
	lines := strings.Split(strings.TrimSuffix(story, "\n"), "\n")
	for _, l := range lines {
		word, rest, _ := strings.Cut(l, " ")
		setup = append(setup, func(o *Options) {
			switch word {
			case "@dialect":
				o.Dialect = Dialects()[rest]
			case "@version":
				o.Version = rest
			case "@group":
				name, policy, _ := strings.Cut(rest, "=")
				o.Groups = append(o.Groups, Group{name, strings.Split(policy, ",")})
			case "@user":
				name, group, _ := strings.Cut(rest, "=")
				o.Users = append(o.Users, User{Name: name, Password: "secret", Group: group})
			}
		})
	}
	served(t, func(o *Options) {
		o.MaxSessions = 100
		for _, f := range setup {
			f(o)
		}
	}, func(t *testing.T, b *bench) {
		var e *ear
		door := "api"
		user := DefaultUser
		connect := func() {
			if e != nil {
				_ = e.Close()
				e.heard()
			}
			c, err := b.all[door+":0"].Dial()
			if err != nil {
				out.WriteString("> (refused)\n")
				e = nil
				return
			}
			e = listenTo(c)
		}
		hear := func() {
			if e == nil {
				return
			}
			raw, closed := e.heard()
			if door == "api" {
				out.WriteString(spellSentences(raw))
			} else {
				out.WriteString(spellHTTP(raw))
			}
			if closed {
				out.WriteString("> (closed)\n")
				e = nil
			}
		}
		for _, l := range lines {
			word, rest, _ := strings.Cut(l, " ")
			if word == ">" {
				continue
			}
			out.WriteString(l + "\n")
			switch word {
			case "@door":
				door = rest
			case "@as":
				user = rest
			case "@connect":
				connect()
			case "@wait":
				d, err := time.ParseDuration(rest)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(d)
				hear()
			case "@fault":
				if err := b.Inject(rest); err != nil {
					t.Fatal(err)
				}
				hear()
			case "@run":
				if got, failed := b.Exec(t.Context(), "root", rest); failed {
					out.WriteString("! " + got)
				}
				hear()
			case "<":
				if e == nil {
					connect()
				}
				if e == nil {
					continue
				}
				if door == "api" {
					_, _ = e.Write(appendSentence(nil, splitWords(t, rest)...))
				} else {
					_, _ = e.Write(spellRequest(t, user, rest))
				}
				hear()
			}
		}
		if e != nil {
			_ = e.Close()
			e.heard()
		}
	})
	return out.String()
}

// splitWords cuts at blanks; a word in quotes is one Go string.
func splitWords(t *testing.T, s string) []string {
	t.Helper()
	var out []string
	for s != "" {
		var w string
		if s[0] == '"' {
			q, err := strconv.QuotedPrefix(s)
			if err != nil {
				t.Fatal(err)
			}
			s = strings.TrimPrefix(s[len(q):], " ")
			if w, err = strconv.Unquote(q); err != nil {
				t.Fatal(err)
			}
		} else {
			w, s, _ = strings.Cut(s, " ")
		}
		out = append(out, w)
	}
	return out
}

func spellSentences(raw []byte) string {
	var b strings.Builder
	rd := bufio.NewReader(bytes.NewReader(raw))
	for {
		words, err := readSentence(rd, limitsAfter)
		if err != nil {
			if err != io.EOF { //nolint:errorlint // the end between two sentences
				fmt.Fprintf(&b, "> (%v)\n", err)
			}
			return b.String()
		}
		b.WriteString("> " + strings.Join(words, " ") + "\n")
	}
}

// spellRequest makes an HTTP request of "METHOD /path {body}"; "METHOD /path (type) body" has another content type.
func spellRequest(t *testing.T, user, s string) []byte {
	t.Helper()
	method, rest, _ := strings.Cut(s, " ")
	path, body, _ := strings.Cut(rest, " ")
	kind := "application/json"
	if strings.HasPrefix(body, "(") {
		kind, body, _ = strings.Cut(body[1:], ") ")
	}
	req, err := http.NewRequest(method, "http://router"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", kind)
	}
	if name, password, ok := strings.Cut(user, ":"); ok {
		req.SetBasicAuth(name, password)
	} else if user != "-" {
		req.SetBasicAuth(user, "secret")
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func spellHTTP(raw []byte) string {
	var b strings.Builder
	rd := bufio.NewReader(bytes.NewReader(raw))
	for rd.Buffered() > 0 || b.Len() == 0 {
		resp, err := http.ReadResponse(rd, nil)
		if err != nil {
			if len(raw) > 0 {
				fmt.Fprintf(&b, "> (%v)\n", err)
			}
			return b.String()
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Fprintf(&b, "> %s", resp.Status)
		for _, h := range []string{"Content-Type", "Location", "Www-Authenticate", "Connection"} {
			if v := resp.Header.Get(h); v != "" {
				b.WriteString("; " + v)
			}
		}
		b.WriteString("\n")
		for l := range strings.Lines(string(body)) {
			b.WriteString("> " + strings.TrimRight(l, "\r\n") + "\n")
		}
		if err != nil {
			fmt.Fprintf(&b, "> (%v)\n", err)
		}
	}
	return b.String()
}
