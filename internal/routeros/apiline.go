package routeros

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// apiLine is one connection of the binary API. A goroutine reads it all the time, so that its end is noticed at once and
// rows that nobody needs are not kept.
type apiLine struct {
	site
	conn net.Conn
	gone chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	why     error // why it ended
	tags    uint64
	pending []*pending // what is awaited, each under a tag of its own
}

// pending is the command whose answer is awaited.
type pending struct {
	// tag is its own, cancel that of the /cancel which ends it early; empty for none.
	tag, cancel string
	keep        func(row) bool
	most        int

	rows []row
	size int
	// text and kind are of the first !trap.
	text string
	kind Kind
	trap bool
	// enough is closed when the rows that were wanted have come; done when the answer ended.
	enough, done chan struct{}
	full         bool
	// own and other say that the command's !done has come, and the /cancel's.
	own, other bool
	result     row // of !done
}

func newAPILine(s site, conn net.Conn) *apiLine {
	l := &apiLine{site: s, conn: conn, gone: make(chan struct{})}
	go l.listen()
	return l
}

func (l *apiLine) close() { l.end(net.ErrClosed) }

// end closes the connection; the first reason counts.
func (l *apiLine) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = why
		hangUp(l.conn)
		close(l.gone)
	}
}

func (l *apiLine) alive() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

func (l *apiLine) ended() <-chan struct{} { return l.gone }

func (l *apiLine) carry(ctx context.Context, t task) (reply, *Error) { return sit(ctx, l.site, l, t) }

// listen reads until the connection ends.
func (l *apiLine) listen() {
	r := bufio.NewReaderSize(l.conn, 4<<10)
	for {
		words, size, err := readSentence(r, maxFirst)
		if err == nil {
			err = l.take(words, size)
		}
		if err != nil {
			l.end(err)
			return
		}
	}
}

// errFatal is the router's own reason for ending a connection.
type errFatal struct{ reason string }

func (e errFatal) Error() string { return fmt.Sprintf("the router ended the connection: %q", e.reason) }

// take enters a sentence into the answer that is awaited.
func (l *apiLine) take(words []string, size int) error {
	s, err := parseSaid(words)
	if err != nil {
		return err
	}
	if s.kind == "!fatal" {
		if s.reason == "" {
			s.reason = s.item["message"]
		}
		return errFatal{clip(s.reason)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.awaited(s.tag)
	if p == nil {
		return fmt.Errorf("%w: an answer that was not asked for", errWire)
	}
	if p.size += size; p.size > l.room(maxAnswer) {
		return errLong
	}
	if s.tag != p.tag { // the answer to our own /cancel, which says no more than the cancelled command's
		p.other = p.other || s.kind == "!done"
		l.settle(p)
		return nil
	}
	switch s.kind {
	case "!re":
		if p.row(s.item); len(p.rows) > maxRows {
			return errLong
		}
	case "!trap":
		if !p.trap {
			p.trap = true
			p.text, p.kind = s.trap()
		}
	case "!done":
		p.own, p.result = true, s.item
		l.settle(p)
	}
	return nil
}

// awaited is what is awaited under a tag; nil is nothing.
func (l *apiLine) awaited(tag string) *pending {
	for _, p := range l.pending {
		if tag == p.tag || tag == p.cancel && p.cancel != "" {
			return p
		}
	}
	return nil
}

// settle ends the wait for an answer when all of it has come.
func (l *apiLine) settle(p *pending) {
	if p.own && (p.cancel == "" || p.other) {
		l.pending = slices.DeleteFunc(l.pending, func(x *pending) bool { return x == p })
		close(p.done)
	}
}

// row keeps a row that is wanted.
func (p *pending) row(r row) {
	if p.full || p.keep != nil && !p.keep(r) {
		return
	}
	p.rows = append(p.rows, r)
	if len(p.rows) == p.most {
		p.full = true
		close(p.enough)
	}
}

// errLong ends an answer without end.
var errLong = fmt.Errorf("the answer is longer than %d bytes or %d items", maxAnswer, maxRows)

// ask sends one command and waits for its answer. When ctx ends, the connection does.
func (l *apiLine) ask(ctx context.Context, op string, a ask) ([]row, *Error) {
	answers, failed := l.asks(ctx, op, []ask{a})
	if failed != nil {
		return nil, failed
	}
	return answers[0], nil
}

// asks sends several commands at once and waits for all their answers. When ctx ends, the connection does.
func (l *apiLine) asks(ctx context.Context, op string, all []ask) (answers [][]row, failed *Error) {
	sent := make([]*pending, len(all))
	sentences := make([][]string, len(all))
	for i, a := range all {
		sent[i], sentences[i] = newPending(a.keep, a.most), a.words()
		if err := guardWords(sentences[i]); err != nil {
			e := l.err(Syntax, op, err, ourFault)
			e.Command = strings.Join(sentences[i], " ")
			return nil, e
		}
	}
	broken := l.send(ctx, op, sentences, sent)
	for i, p := range sent {
		failed = nil
		switch {
		case !p.ended():
			failed = broken
		case p.trap:
			failed = refused(l.site, op, p.text, p.kind)
			if p.full && failed.Kind == Lost { // "interrupted" is how what we cancelled ends
				failed = nil
			}
		}
		if failed != nil {
			failed.Command = strings.Join(sentences[i], " ")
			return answers, failed
		}
		answers = append(answers, p.rows)
	}
	return answers, nil
}

func newPending(keep func(row) bool, most int) *pending {
	return &pending{keep: keep, most: most, enough: make(chan struct{}), done: make(chan struct{})}
}

// ended says whether all of an answer has come.
func (p *pending) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// sendOne sends one sentence and waits for the end of its answer.
func (l *apiLine) sendOne(ctx context.Context, op string, words []string) (*pending, *Error) {
	p := newPending(nil, 0)
	if failed := l.send(ctx, op, [][]string{words}, []*pending{p}); failed != nil {
		return nil, failed
	}
	return p, nil
}

// send writes sentences and waits for the end of all their answers. Beside an error those that have come stand.
func (l *apiLine) send(ctx context.Context, op string, sentences [][]string, sent []*pending) *Error {
	release := context.AfterFunc(ctx, l.close)
	defer release()
	var out []byte
	l.mu.Lock()
	for i, p := range sent {
		words := slices.Clip(sentences[i])
		if l.tags > 0 {
			p.tag = strconv.FormatUint(l.tags, 10)
			words = append(words, ".tag="+p.tag)
		}
		l.tags += 2 // the odd one after it is for a /cancel
		out = appendSentence(out, words...)
	}
	l.pending = slices.Clone(sent)
	why := l.why
	l.mu.Unlock()
	if why != nil {
		return l.broken(ctx, op, false)
	}
	if _, err := l.conn.Write(out); err != nil {
		l.end(err)
		return l.broken(ctx, op, true)
	}
	for _, p := range sent {
		select {
		case <-p.enough:
			if err := l.cancel(p); err != nil {
				l.end(err)
			}
		case <-p.done:
		case <-l.gone:
		}
		select {
		case <-p.done:
		case <-l.gone:
			if !p.ended() { // else the connection ended right after the answer
				return l.broken(ctx, op, true)
			}
		}
	}
	return nil
}

// cancel tells the router that the rest of an answer is not wanted, unless it has come.
func (l *apiLine) cancel(p *pending) error {
	l.mu.Lock()
	tag, err := strconv.ParseUint(p.tag, 10, 64)
	if p.own {
		l.mu.Unlock()
		return nil
	}
	p.cancel = strconv.FormatUint(tag+1, 10)
	l.mu.Unlock()
	words := []string{"/cancel", "=tag=" + p.tag}
	if err = errors.Join(err, guardWords(words)); err != nil {
		return err
	}
	_, err = l.conn.Write(appendSentence(nil, append(words, ".tag="+p.cancel)...))
	return err
}

// broken says how a connection ended under a command.
func (l *apiLine) broken(ctx context.Context, op string, sent bool) *Error {
	l.end(net.ErrClosed)
	l.mu.Lock()
	why := l.why
	l.pending = nil
	l.mu.Unlock()
	e := l.brokenBy(ctx, op, why, sent)
	var fatal errFatal
	if errors.As(why, &fatal) {
		e.Reply = fatal.reason
	}
	return e
}

// brokenBy says what it means that a connection ended under a command, for API and REST.
func (s site) brokenBy(ctx context.Context, op string, why error, sent bool) *Error {
	e := s.err(Unreachable, op, why, "the kept connection had ended; the next command makes a new one")
	e.Sent = sent
	switch {
	case errors.Is(why, errWire), errors.Is(why, errLong), errors.Is(why, errShape):
		e.Kind, e.Hint = Reply, "is this port really the router's "+s.opt.Transport.service(s.opt.Plain)+" service?"
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errClosed):
		if e.Err, e.Hint = errClosed, ""; sent {
			e.Kind = Lost
		}
	case ctx.Err() != nil:
		e.Kind, e.Err = Timeout, context.Cause(ctx)
		e.Hint = "the router is overloaded, the way to it is broken, or another program of the same user keeps it busy; the connection was closed"
	case sent:
		e.Kind, e.Hint = Lost, "whether the router carried the command out is not known; the next command makes a new connection"
	}
	return e
}
