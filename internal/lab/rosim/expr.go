package rosim

import "strings"

// operators by binding strength, loosest first; longer spellings before their prefixes.
var operators = [][]string{
	{","},
	{"||", "or"},
	{"&&", "and"},
	{"|", "^", "&"},
	{"!=", "<=", ">=", "=", "<", ">", "~", "in"},
	{"<<", ">>"},
	{"."},
	{"+", "-"},
	{"*", "/", "%"},
	{"->"},
}

// operator reads one operator of a level, "" when none stands here.
func (p *parser) operator(level int) string {
	rest := p.src[p.i:]
	for _, op := range operators[level] {
		if !strings.HasPrefix(rest, op) {
			continue
		}
		after := byte(0)
		if len(rest) > len(op) {
			after = rest[len(op)]
		}
		switch op {
		case "or", "and", "in":
			if isWord(after) {
				continue
			}
		case "|", "&":
			if after == op[0] {
				continue
			}
		case "<", ">":
			if after == op[0] {
				continue
			}
		case "-":
			if after == '>' {
				continue
			}
		}
		p.i += len(op)
		return op
	}
	return ""
}

// expression reads what stands in parentheses, from the given level of operators up.
func (p *parser) expression(level int) (expr, error) {
	if level == len(operators) {
		return p.unary()
	}
	if level == 0 {
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
	}
	left, err := p.expression(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		p.space()
		op := p.operator(level)
		if op == "" {
			return left, nil
		}
		p.space()
		right, err := p.expression(level + 1)
		if err != nil {
			return nil, err
		}
		left = &binaryExpr{op: op, left: left, right: right}
	}
}

func (p *parser) unary() (expr, error) {
	p.space()
	switch c := p.peek(); c {
	case '!', '-', '~':
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		p.i++
		e, err := p.expression(len(operators) - 1)
		if err != nil {
			return nil, err
		}
		return &unaryExpr{op: c, of: e}, nil
	case '"':
		return p.quoted()
	case '[':
		return p.substitution()
	case '(':
		return p.parenthesis()
	case '$':
		return p.variable()
	case '{':
		return p.array()
	case '*':
		from := p.i
		p.i++
		p.scan(isName)
		v := literal(p.src[from:p.i])
		if v.kind != kindID {
			p.i = from
			return nil, p.syntax()
		}
		return &literalExpr{val: v}, nil
	}
	if isDigit(p.peek()) {
		from := p.i
		for p.i < len(p.src) {
			c := p.src[p.i]
			dotted := c == '.' && p.i+1 < len(p.src) && isDigit(p.src[p.i+1])
			if !isName(c) && c != ':' && !dotted {
				break
			}
			p.i++
		}
		v := literal(p.src[from:p.i])
		if v.kind == kindString && strings.Trim(v.str, "0123456789.") != "" {
			p.i = from
			return nil, p.syntax()
		}
		return &literalExpr{val: v}, nil
	}
	from := p.i
	w := p.scan(isName)
	if b, ok := parseBool(w); ok {
		return &literalExpr{val: truth(b)}, nil
	}
	p.i = from
	return nil, p.syntax()
}

// condition is a where clause over one item.
type condition interface {
	holds(*run, *item) (bool, error)
}

// where reads a condition up to the end of the command; conditions side by side must all hold.
func (p *parser) where(m *menu) (condition, error) {
	w, err := p.anyOf(m)
	if err != nil {
		return nil, err
	}
	p.space()
	if !p.stops() {
		return nil, p.syntax()
	}
	return w, nil
}

// keyword moves past one of the given words or signs when it stands here.
func (p *parser) keyword(words ...string) bool {
	rest := p.src[p.i:]
	for _, w := range words {
		if strings.HasPrefix(rest, w) && (!isLetter(w[0]) || len(rest) == len(w) || !isWord(rest[len(w)])) {
			p.i += len(w)
			return true
		}
	}
	return false
}

func (p *parser) anyOf(m *menu) (condition, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.allOf(m)
	for err == nil {
		p.space()
		if !p.keyword("||", "or") {
			break
		}
		var right condition
		right, err = p.allOf(m)
		left = &eitherWhere{left, right}
	}
	return left, err
}

func (p *parser) allOf(m *menu) (condition, error) {
	left, err := p.one(m)
	for err == nil {
		p.space()
		if !p.keyword("&&", "and") && (p.stops() || strings.HasPrefix(p.src[p.i:], "||") || p.wordIs("or")) {
			break
		}
		var right condition
		right, err = p.one(m)
		left = &bothWhere{left, right}
	}
	return left, err
}

func (p *parser) wordIs(w string) bool {
	from := p.i
	ok := p.keyword(w)
	p.i = from
	return ok
}

func (p *parser) one(m *menu) (condition, error) {
	p.space()
	switch c := p.peek(); c {
	case '!':
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		p.i++
		w, err := p.one(m)
		return &notWhere{w}, err
	case '(':
		p.i++
		w, err := p.anyOf(m)
		if err != nil {
			return nil, err
		}
		p.space()
		if p.end() {
			return nil, &problem{text: "missing closing brace"}
		}
		if p.peek() != ')' {
			return nil, p.syntax()
		}
		p.i++
		return w, nil
	}
	from := p.i
	if p.peek() == '.' {
		p.i++
	}
	name := p.src[from:p.i] + p.scan(isWord)
	if name == "" {
		return nil, p.syntax()
	}
	pr := m.prop(name)
	if pr == nil && name != ".id" {
		return nil, p.unknown(name, from)
	}
	w := &propWhere{prop: pr, name: name}
	before := p.i
	p.space()
	switch {
	case p.keyword("!=", "<=", ">=", "=", "<", ">", "~"):
		w.op = strings.TrimSpace(p.src[before:p.i])
	default:
		p.i = before
		return w, nil
	}
	p.space()
	col := p.i
	var err error
	switch c := p.peek(); {
	case c == '"':
		w.val, err = p.quoted()
	case c == '[':
		w.val, err = p.substitution()
	case c == '(':
		w.val, err = p.parenthesis()
	case c == '$':
		w.val, err = p.variable()
	case c == '*' || isWord(c) || c == '.':
		if c == '*' {
			p.i++
		}
		p.scan(func(c byte) bool { return isWord(c) || c == '.' })
		w.val = &literalExpr{val: literal(p.src[col:p.i]), bare: true}
	default:
		return nil, p.syntax()
	}
	if err != nil {
		return nil, err
	}
	// An unquoted value ends at the first byte outside the safe alphabet: 192.168.1.1/24 must be quoted.
	if c := p.peek(); c != 0 && c != ' ' && c != '\t' && !p.stops() && !strings.ContainsRune("|&", rune(c)) {
		return nil, p.syntax()
	}
	return w, nil
}
