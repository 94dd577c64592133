package rosim

import (
	"fmt"
	"strings"
)

// The parser's limits: a line longer or deeper than this is refused before anything runs.
const (
	maxLine  = 64 << 10
	maxDepth = 48
)

// parser reads one command line against a command tree. A line is read as a whole before any of it runs, so a
// mistake at its end changes nothing.
type parser struct {
	src     string
	i       int
	depth   int
	root    *menu
	cur     *menu
	version version
}

// problem is an error text as the console prints it.
type problem struct {
	text   string
	placed bool // it stands at col of the line, counted from 0
	col    int
}

func (p *problem) Error() string {
	if p.placed {
		return fmt.Sprintf("%s (line 1 column %d)", p.text, p.col+1)
	}
	return p.text
}

func problemf(format string, args ...any) error { return &problem{text: fmt.Sprintf(format, args...)} }

// at returns an error text with a position; col is a byte offset, printed from 1.
func at(text string, col int) error { return &problem{text: text, placed: true, col: col} }

func (p *parser) syntax() error { return at("syntax error", p.i) }

func parse(root *menu, line string, v version) (*block, error) {
	b, _, err := parseIn(root, root, line, v)
	return b, err
}

// parseIn reads a line that begins at the level cur, and returns the level it ends at.
func parseIn(root, cur *menu, line string, v version) (*block, *menu, error) {
	if len(line) > maxLine {
		return nil, cur, &problem{text: "contents too long"}
	}
	if i := strings.IndexAny(line, "\r\n"); i >= 0 {
		return nil, cur, at("syntax error", i)
	}
	p := &parser{src: line, root: root, cur: cur, version: v}
	b, err := p.block(0)
	return b, p.cur, err
}

func (p *parser) peek() byte {
	if p.i < len(p.src) {
		return p.src[p.i]
	}
	return 0
}

func (p *parser) end() bool { return p.i >= len(p.src) }

func (p *parser) space() {
	for p.i < len(p.src) && (p.src[p.i] == ' ' || p.src[p.i] == '\t') {
		p.i++
	}
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return &problem{text: "contents too long"}
	}
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isName(c byte) bool   { return isLetter(c) || isDigit(c) }
func isWord(c byte) bool   { return isName(c) || c == '-' || c == '_' }

// scan returns the run of bytes from here that satisfy ok, and moves past it.
func (p *parser) scan(ok func(byte) bool) string {
	from := p.i
	for p.i < len(p.src) && ok(p.src[p.i]) {
		p.i++
	}
	return p.src[from:p.i]
}

// stops says that a command ends here.
func (p *parser) stops() bool {
	switch p.peek() {
	case ';', ']', '}', ')':
		return true
	case 0:
		return p.end()
	}
	return false
}

// block reads statements up to the closing byte; 0 is the end of the line.
func (p *parser) block(closing byte) (*block, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if cur := p.cur; closing != 0 {
		defer func() { p.cur = cur }()
	}
	b := &block{}
	for {
		p.space()
		switch c := p.peek(); {
		case p.end():
			if closing != 0 {
				return nil, &problem{text: "missing closing brace"}
			}
			return b, nil
		case c == ';':
			p.i++
			continue
		case c == closing && closing != 0:
			p.i++
			return b, nil
		case c == '#':
			p.i = len(p.src)
			continue
		}
		n, err := p.statement()
		if err != nil {
			return nil, err
		}
		if n != nil {
			b.nodes = append(b.nodes, n)
		}
		p.space()
		if !p.stops() {
			return nil, p.syntax()
		}
		if c := p.peek(); c != ';' && c != closing && !p.end() {
			return nil, p.syntax()
		}
	}
}

func (p *parser) statement() (node, error) {
	switch c := p.peek(); {
	case c == '{':
		p.i++
		b, err := p.block('}')
		if err != nil {
			return nil, err
		}
		return &scopeNode{body: b}, nil
	case c == ':':
		p.i++
		from := p.i
		w := p.scan(isWord)
		if w == "" {
			return nil, at("expected command name", from)
		}
		if g := p.verb(w); g != nil {
			return p.args(nil, g, from)
		}
		p.i = from
		return p.path(p.root, false)
	case c == '/':
		p.i++
		p.space()
		return p.path(p.root, true)
	case isLetter(c):
		from := p.i
		w := p.scan(isWord)
		p.i = from
		if p.cur.cmd(w) == nil && p.cur.sub(w) == nil {
			if g := p.verb(w); g != nil {
				p.i += len(w)
				return p.args(nil, g, from)
			}
		}
		return p.path(p.cur, false)
	}
	return nil, at("expected command name", p.i)
}

// path walks down the tree from m to a command; a path without one moves the current level.
func (p *parser) path(m *menu, rooted bool) (node, error) {
	for {
		from := p.i
		w := p.scan(isWord)
		if w == "" {
			if rooted && m == p.root && p.stops() {
				p.cur = m
				return nil, nil
			}
			return nil, at("expected command name", from)
		}
		if s := m.sub(w); s != nil {
			m = s
			before := p.i
			p.space()
			switch {
			case p.stops():
				p.cur = m
				return nil, nil
			case p.peek() == '/':
				p.i++
			case before == p.i:
				return nil, p.syntax()
			}
			continue
		}
		c := m.cmd(w)
		if c == nil {
			return nil, at("bad command name "+w, from)
		}
		return p.args(m, c, from)
	}
}

// arg is one argument with the place it stands at.
type arg struct {
	col  int
	expr expr   // nil for a flag or a block
	body *block // a block in braces
	word string // a flag's or a variable's name
}

func (p *parser) args(m *menu, c *command, col int) (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if m != nil {
		cur := p.cur
		p.cur = m
		defer func() { p.cur = cur }()
	}
	n := &call{menu: m, cmd: c, col: col, args: map[string]arg{}}
	pos := 0
	for {
		before := p.i
		p.space()
		if p.stops() {
			return n, nil
		}
		if before == p.i && !strings.ContainsRune("[({\"$", rune(p.peek())) {
			return nil, p.syntax()
		}
		from := p.i
		word := ""
		if isLetter(p.peek()) {
			word = p.scan(isWord)
		}
		switch {
		case word != "" && p.peek() == '=' && !c.bareWhere:
			if err := p.named(n, word, from); err != nil {
				return nil, err
			}
			continue
		case word == "where" && c.where:
			p.space()
			if p.stops() {
				return nil, &problem{text: "missing value for where"}
			}
			w, err := p.where(m)
			n.where = w
			return n, err
		case word != "" && hasFlag(c, word) && !isWordEdge(p.peek()):
			n.args[word] = arg{col: from, word: word}
			continue
		}
		p.i = from
		if c.bareWhere {
			w, err := p.where(m)
			n.where = w
			return n, err
		}
		for pos < len(c.positional) && n.has(c.positional[pos]) {
			pos++
		}
		if pos == len(c.positional) {
			return nil, p.unknown(word, from)
		}
		name := c.positional[pos]
		pos++
		a, err := p.argument(c.params[name])
		if err != nil {
			return nil, err
		}
		a.col = from
		n.args[name] = a
	}
}

func isWordEdge(c byte) bool { return c == '=' || c == '.' || c == ':' || c == ',' }

func hasFlag(c *command, word string) bool {
	k, ok := c.params[word]
	return ok && k == paramFlag
}

// unknown is the answer to an argument the command does not have; 7.23 and later name it.
func (p *parser) unknown(word string, col int) error {
	if p.version.atLeast(7, 23) && word != "" {
		return at("bad parameter "+word, col)
	}
	return at("expected end of command", col)
}

func (p *parser) named(n *call, word string, col int) error {
	k, ok := n.cmd.params[word]
	if !ok || k == paramFlag {
		return p.unknown(word, col)
	}
	p.i++ // '='
	if c := p.peek(); c == ' ' || c == '\t' || p.stops() {
		at := p.i
		p.space()
		if !p.stops() {
			p.i = at
			return p.syntax()
		}
		n.args[word] = arg{col: at, expr: &literalExpr{val: str("")}}
		return nil
	}
	a, err := p.argument(k)
	if err != nil {
		return err
	}
	a.col = col + len(word) + 1
	n.args[word] = a
	return nil
}

// argument reads the value of one argument.
func (p *parser) argument(k paramKind) (arg, error) {
	switch k {
	case paramCode:
		if p.peek() != '{' {
			return arg{}, p.syntax()
		}
		p.i++
		b, err := p.block('}')
		return arg{body: b}, err
	case paramName:
		if p.peek() == '"' {
			e, err := p.quoted()
			if err != nil {
				return arg{}, err
			}
			l, ok := e.(*literalExpr)
			if !ok {
				return arg{}, p.syntax()
			}
			return arg{word: l.val.str}, nil
		}
		w := p.scan(func(c byte) bool { return isName(c) || c == ',' })
		if w == "" {
			return arg{}, p.syntax()
		}
		return arg{word: w}, nil
	case paramValue, paramFlag:
	}
	e, err := p.value()
	return arg{expr: e}, err
}

// bare is a byte of an unquoted argument value.
func bare(c byte) bool {
	return isWord(c) || strings.IndexByte("./:,*+!@%~<>|&", c) >= 0 || c >= 0x80
}

// value reads one value of an argument.
func (p *parser) value() (expr, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.quoted()
	case c == '[':
		return p.substitution()
	case c == '(':
		return p.parenthesis()
	case c == '$':
		return p.variable()
	case c == '{':
		return p.array()
	case bare(c):
		return &literalExpr{val: literal(p.scan(bare)), bare: true}, nil
	}
	return nil, p.syntax()
}

func (p *parser) substitution() (expr, error) {
	p.i++
	b, err := p.block(']')
	if err != nil {
		return nil, err
	}
	return &commandExpr{body: b}, nil
}

func (p *parser) parenthesis() (expr, error) {
	p.i++
	e, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.peek() != ')' {
		if p.end() {
			return nil, &problem{text: "missing closing brace"}
		}
		return nil, p.syntax()
	}
	p.i++
	return e, nil
}

func (p *parser) variable() (expr, error) {
	p.i++
	if p.peek() == '"' {
		e, err := p.quoted()
		if err != nil {
			return nil, err
		}
		if l, ok := e.(*literalExpr); ok && l.val.str != "" {
			return &variableExpr{name: l.val.str}, nil
		}
		return nil, p.syntax()
	}
	w := p.scan(isName)
	if w == "" {
		return nil, p.syntax()
	}
	return &variableExpr{name: w}, nil
}

// array reads {1;2;"k"=v}.
func (p *parser) array() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	p.i++
	a := &arrayExpr{}
	for {
		p.space()
		switch {
		case p.end():
			return nil, &problem{text: "missing closing brace"}
		case p.peek() == '}':
			p.i++
			return a, nil
		case p.peek() == ';':
			p.i++
			continue
		}
		it := arrayItem{}
		e, err := p.element()
		if err != nil {
			return nil, err
		}
		if p.peek() == '=' {
			p.i++
			it.key = e
			if e, err = p.element(); err != nil {
				return nil, err
			}
		}
		it.val = e
		a.items = append(a.items, it)
		p.space()
		if c := p.peek(); c != ';' && c != '}' && !p.end() {
			return nil, p.syntax()
		}
	}
}

func (p *parser) element() (expr, error) {
	if c := p.peek(); bare(c) {
		return &literalExpr{val: literal(p.scan(bare)), bare: true}, nil
	}
	return p.value()
}

// quoted reads a string in double quotes: escapes, and $name, $(…) and $[…] in it.
func (p *parser) quoted() (expr, error) {
	p.i++
	var parts []expr
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, &literalExpr{val: str(b.String())})
			b.Reset()
		}
	}
	for {
		if p.end() {
			return nil, p.syntax()
		}
		switch c := p.peek(); c {
		case '"':
			p.i++
			if parts == nil {
				return &literalExpr{val: str(b.String())}, nil
			}
			flush()
			return &stringExpr{parts: parts}, nil
		case '\\':
			if err := p.escape(&b); err != nil {
				return nil, err
			}
		case '$':
			flush()
			e, err := p.interpolation()
			if err != nil {
				return nil, err
			}
			parts = append(parts, e)
		default:
			b.WriteByte(c)
			p.i++
		}
	}
}

func (p *parser) interpolation() (expr, error) {
	if p.i+1 < len(p.src) {
		switch p.src[p.i+1] {
		case '(':
			p.i++
			return p.parenthesis()
		case '[':
			p.i++
			return p.substitution()
		}
	}
	return p.variable()
}

func (p *parser) escape(b *strings.Builder) error {
	if p.i+1 >= len(p.src) {
		return p.syntax()
	}
	c := p.src[p.i+1]
	if i := strings.IndexByte(`"\$?_abfnrtv`, c); i >= 0 {
		b.WriteByte("\"\\$? \a\b\f\n\r\t\v"[i])
		p.i += 2
		return nil
	}
	if p.i+2 < len(p.src) {
		hi, lo := upperHex(c), upperHex(p.src[p.i+2])
		if hi >= 0 && lo >= 0 {
			b.WriteByte(byte(hi<<4 | lo))
			p.i += 3
			return nil
		}
	}
	return p.syntax()
}

func upperHex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
