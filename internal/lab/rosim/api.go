package rosim

import (
	"bufio"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of one API connection.
const (
	maxLogins  = 5  // the fifth attempt that fails ends the connection
	maxPending = 64 // commands that wait or run
)

// sentence is one command as it came: its word, attributes, API attributes and query words.
type sentence struct {
	command string
	tag     string
	tagged  bool
	request
	queries []string
}

// readWords sorts the words of a sentence. What is none of the known kinds is left out, as the router does.
func readWords(words []string) sentence {
	s := sentence{command: words[0]}
	s.path = words[0]
	for _, w := range words[1:] {
		switch {
		case strings.HasPrefix(w, ".tag="):
			s.tag, s.tagged = w[len(".tag="):], true
		case strings.HasPrefix(w, "?"):
			s.queries = append(s.queries, w[1:])
		case strings.HasPrefix(w, "="):
			name, val, _ := strings.Cut(w[1:], "=")
			switch {
			case name == ".proplist":
				s.props = strings.Split(val, ",")
			case name != "":
				s.args = append(s.args, pair{name, val})
			}
		}
	}
	return s
}

// line is the sentence for the log, without the secrets in it.
func (s *sentence) line() string {
	var b strings.Builder
	b.WriteString(s.command)
	for _, a := range s.args {
		b.WriteString(" =" + a.name + "=" + masked(a))
	}
	if s.props != nil {
		b.WriteString(" =.proplist=" + strings.Join(s.props, ","))
	}
	for _, q := range s.queries {
		b.WriteString(" ?" + q)
	}
	if s.tagged {
		b.WriteString(" .tag=" + s.tag)
	}
	return b.String()
}

func masked(a pair) string {
	if a.name == "password" && a.val != "" {
		return "***"
	}
	return a.val
}

// apiSession is one API connection.
type apiSession struct {
	router *Router
	gate   *gate
	ctx    context.Context //nolint:containedctx // the connection's lifetime
	user   string
	may    policySet // as of the login: it stays so while the connection does
	failed int

	mu      sync.Mutex
	running []*apiCommand // in the order in which they came
	wg      sync.WaitGroup
}

// apiCommand is a command that waits or runs.
type apiCommand struct {
	sentence
	ctx     context.Context //nolint:containedctx // ends with /cancel
	cancel  context.CancelFunc
	started bool // guarded by apiSession.mu
	// ended is closed once the last word is out, trapped once a cancelled command has said that it was interrupted; it then
	// waits for mayEnd, so that the answers come in the documented order.
	ended, trapped, mayEnd chan struct{}
	release                sync.Once
}

// apiSession serves one API connection until it ends. Commands run one after the other, except those that go on until
// they are cancelled.
func (r *Router) apiSession(ctx context.Context, g *gate) {
	s := &apiSession{router: r, gate: g, ctx: ctx}
	_ = g.SetDeadline(time.Now().Add(loginGrace))
	rd := bufio.NewReader(g.stream)
	queue := make(chan *apiCommand, maxPending)
	s.wg.Go(func() {
		for c := range queue {
			s.serve(c)
		}
	})
	for {
		limits := limitsBefore
		if s.user != "" {
			limits = limitsAfter
		}
		words, err := readSentence(rd, limits)
		if err != nil || !s.take(readWords(words), queue) {
			if s.user == "" && err == nil {
				r.turnAway()
			}
			break
		}
	}
	_ = g.Close() // who waits for a client that does not read waits no longer
	close(queue)
	s.wg.Wait()
}

// take deals with one sentence; false ends the connection.
func (s *apiSession) take(in sentence, queue chan<- *apiCommand) bool {
	switch {
	case in.command == "/login":
		return s.login(in)
	case s.user == "":
		s.fatal("not logged in")
		return false
	case in.command == "/quit":
		s.fatal("session terminated on request")
		return false
	case in.command == "/cancel":
		s.cancel(in)
		return true
	}
	q, err := parseQuery(in.queries)
	if err != nil {
		return s.send(s.trap(in, err)) == nil
	}
	in.query = q
	ctx, cancel := context.WithCancel(s.ctx)
	c := &apiCommand{sentence: in, ctx: ctx, cancel: cancel, ended: make(chan struct{}), trapped: make(chan struct{}), mayEnd: make(chan struct{})}
	s.mu.Lock()
	full := len(s.running) >= maxPending
	if !full {
		s.running = append(s.running, c)
	}
	s.mu.Unlock()
	if full {
		cancel()
		return s.send(s.trap(in, &problem{text: "failure: too many commands at once"})) == nil
	}
	queue <- c
	return true
}

func (s *apiSession) send(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.gate.stream.Write(b)
	return err
}

func (s *apiSession) fatal(reason string) {
	_ = s.send(appendSentence(nil, "!fatal", reason))
}

// tagOf is the words that end each sentence of an answer.
func (s *sentence) tagOf() []string {
	if s.tagged {
		return []string{".tag=" + s.tag}
	}
	return nil
}

func (s *sentence) say(b []byte, words ...string) []byte {
	return appendSentence(b, append(words, s.tagOf()...)...)
}

// trap is the answer of a command that failed.
func (s *apiSession) trap(in sentence, err error) []byte {
	return in.say(in.say(nil, trapWords(err)...), "!done")
}

func trapWords(err error) []string {
	text := plainText(err)
	words := []string{"!trap"}
	if c := category(text); c != "" {
		words = append(words, "=category="+c)
	}
	return append(words, "=message="+text)
}

// plainText is an error without the place in a line that only the console knows.
func plainText(err error) string {
	var p *problem
	if errors.As(err, &p) && p.placed {
		return p.text
	}
	return err.Error()
}

// category is the number that goes with an error's text; "" where the router gives none.
func category(text string) string {
	for _, c := range []struct{ prefix, number string }{
		{"no such", "0"},
		{"missing =", "0"},
		{"input does not match", "1"},
		{"invalid value", "1"},
		{"ambiguous value", "1"},
		{"value of", "1"},
		{"expected value", "1"},
		{"interrupted", "2"},
		{"action timed out", "2"},
		{"Script Error", "3"},
		{"failure:", "4"},
		{"action failed", "4"},
		{"invalid query", "5"},
		{"query is too", "5"},
	} {
		if strings.HasPrefix(text, c.prefix) {
			return c.number
		}
	}
	return ""
}

// login checks name and password; the fifth attempt on one connection is the last.
func (s *apiSession) login(in sentence) bool {
	name, _ := in.arg("name")
	password, _ := in.arg("password")
	r := s.router
	r.mu.Lock()
	u := r.account(name)
	known := u != nil && r.admits(u, name, s.gate, 0) && u.knows([]byte(password))
	may := r.policies(name)
	r.mu.Unlock()
	if known && may.has(policyAPI) {
		_ = s.gate.SetDeadline(time.Time{})
		r.loggedIn(s.gate, name)
		s.user, s.may = name, may
		return s.send(in.say(nil, "!done")) == nil
	}
	r.turnAway()
	if s.failed++; s.failed >= maxLogins {
		s.fatal("too many commands before login")
		return false
	}
	reason := "invalid user name or password (6)"
	if known {
		reason = "std failure: not allowed (9)"
	}
	return s.send(in.say(in.say(nil, "!trap", "=message="+reason), "!done")) == nil
}

// cancel interrupts the commands with a tag, all of them without one: first each says that it was interrupted, then
// the cancel is done, then each is.
func (s *apiSession) cancel(in sentence) {
	tag, one := in.arg("tag")
	s.mu.Lock()
	var hit []*apiCommand
	for _, c := range s.running {
		if !one || c.tagged && c.tag == tag {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	var waiting []*apiCommand
	for _, c := range hit {
		c.cancel()
		if s.begin(c) { // it still waited for its turn: it is answered here
			waiting = append(waiting, c)
			_ = s.send(c.say(nil, trapWords(errInterrupted)...))
			continue
		}
		select {
		case <-c.trapped:
		case <-c.ended:
		case <-s.ctx.Done():
		}
	}
	_ = s.send(in.say(nil, "!done"))
	for _, c := range hit {
		if slices.Contains(waiting, c) {
			_ = s.send(c.say(nil, "!done"))
			s.end(c)
			continue
		}
		c.release.Do(func() { close(c.mayEnd) })
		<-c.ended
	}
}

// begin says whether nobody has begun with the command yet.
func (s *apiSession) begin(c *apiCommand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !c.started
	c.started = true
	return first
}

func (s *apiSession) end(c *apiCommand) {
	c.cancel()
	s.mu.Lock()
	s.running = slices.DeleteFunc(s.running, func(x *apiCommand) bool { return x == c })
	s.mu.Unlock()
	close(c.ended)
}

// serve runs a command, or sends it on its way when it goes on until it is cancelled.
func (s *apiSession) serve(c *apiCommand) {
	if !s.begin(c) {
		return
	}
	if s.router.streams(&c.request) {
		s.wg.Go(func() { s.run(c, true) })
		return
	}
	s.run(c, false)
}

// run takes a command through the faults and answers it. A stream's records go out as they come; other answers go out as
// a whole.
func (s *apiSession) run(c *apiCommand, stream bool) {
	defer s.end(c)
	v := apiVoice{s, c}
	if !stream {
		s.router.transact(c.ctx, s.gate, s.user, c.line(), v, func(ctx context.Context) reply { return s.answer(ctx, c) })
	} else {
		started := false
		_, sent := s.router.transact(c.ctx, s.gate, s.user, c.line(), v, func(context.Context) reply {
			started = true
			return reply{}
		})
		if started && sent {
			_, err := s.perform(c.ctx, c, func(r row) error { return s.send(c.say(nil, r.words()...)) })
			if c.ctx.Err() == nil {
				_ = s.send(s.finish(c, nil, nil, true, err))
			}
		}
	}
	if c.ctx.Err() != nil {
		s.interrupted(c)
	}
}

// interrupted answers a command that was cancelled; one whose connection has gone needs no answer.
func (s *apiSession) interrupted(c *apiCommand) {
	if s.ctx.Err() != nil {
		return
	}
	_ = s.send(c.say(nil, trapWords(errInterrupted)...))
	close(c.trapped)
	select {
	case <-c.mayEnd:
		_ = s.send(c.say(nil, "!done"))
	case <-s.ctx.Done():
	}
}

func (r row) words() []string {
	out := []string{"!re"}
	for _, p := range r {
		out = append(out, "="+p.name+"="+p.val)
	}
	return out
}

func (s *apiSession) perform(ctx context.Context, c *apiCommand, emit func(row) error) (ret *string, err error) {
	ret, _, err = s.router.perform(ctx, s.user, s.may, c.request, emit)
	return ret, err
}

// answer runs a command and puts its whole answer together.
func (s *apiSession) answer(ctx context.Context, c *apiCommand) reply {
	var wire []byte
	rows := 0
	ret, wrote, err := s.router.perform(ctx, s.user, s.may, c.request, func(r row) error {
		if len(wire) > maxOutput {
			return &problem{text: "contents too long"}
		}
		rows++
		wire = c.say(wire, r.words()...)
		return nil
	})
	a := reply{wire: s.finish(c, wire, ret, rows > 0, err), failed: err != nil, wrote: wrote}
	a.log = shown(a.wire)
	return a
}

// finish appends the end of an answer.
func (s *apiSession) finish(c *apiCommand, wire []byte, ret *string, rows bool, err error) []byte {
	switch {
	case err != nil:
		return append(wire, s.trap(c.sentence, err)...)
	case ret != nil:
		return c.say(wire, "!done", "=ret="+*ret)
	case !rows && s.router.version.atLeast(7, 18):
		wire = c.say(wire, "!empty")
	}
	return c.say(wire, "!done")
}

// shown is an answer for the log: a sentence on each line.
func shown(wire []byte) string {
	var b strings.Builder
	rd := bufio.NewReader(strings.NewReader(string(wire)))
	for {
		words, err := readSentence(rd, limitsAfter)
		if err != nil {
			return b.String()
		}
		b.WriteString(strings.Join(words, " ") + "\n")
	}
}

// apiVoice answers one command of the API.
type apiVoice struct {
	session *apiSession
	command *apiCommand
}

func (v apiVoice) failure(text string) reply {
	return reply{log: text + "\n", wire: v.session.trap(v.command.sentence, &problem{text: text}), failed: true}
}

func (v apiVoice) send(b []byte) error {
	if len(b) == 0 || v.command.ctx.Err() != nil && v.session.ctx.Err() == nil {
		return nil // a stream has no answer of its own yet; a cancelled command has another
	}
	return v.session.send(b)
}

func (v apiVoice) spoil(how Garble, _ reply) []byte {
	switch how {
	case GarbleHTML:
		return []byte(htmlPage)
	case GarbleShape:
		return v.command.say(nil, "!what", "=message=nobody asked")
	case GarbleBytes:
	}
	return []byte{0xff, 0xff, 0xff}
}
