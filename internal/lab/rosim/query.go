package rosim

import "strings"

// The bounds of a query: words, and values on its stack.
const (
	maxQuery = 64
	maxStack = 64
)

// query is a condition of the API: words that push truths onto a stack or combine what is there. It holds when all that
// remains is true.
type query []queryWord

// queryWord is one word: a test of a property, or operations on the stack.
type queryWord struct {
	op   byte // '=', '<', '>', '?' is set, '-' is not set, '#' operations
	name string
	val  string
	ops  []stackOp
}

// stackOp is one operation on the stack: '&', '|', '!', '.' copies the top, 'i' copies the value at index n, 'r' replaces
// the stack by the value at index n.
type stackOp struct {
	op byte
	n  int
}

func badQuery(word string) error { return problemf("invalid query word %q", word) }

// parseQuery reads query words without the ? that begins each on the wire. A query that would take from an empty stack
// is refused here, before it runs.
func parseQuery(words []string) (query, error) {
	if len(words) > maxQuery {
		return nil, problemf("query is too long")
	}
	var q query
	depth := 0
	for _, w := range words {
		if w == "" {
			return nil, badQuery(w)
		}
		qw := queryWord{op: '?'}
		rest := w
		switch w[0] {
		case '#':
			ops, after, ok := parseStackOps(w[1:], depth)
			if !ok {
				return nil, badQuery(w)
			}
			depth = after
			q = append(q, queryWord{op: '#', ops: ops})
			continue
		case '-', '<', '>', '=':
			qw.op, rest = w[0], w[1:]
		}
		name, val, valued := strings.Cut(rest, "=")
		switch {
		case name == "", qw.op == '-' && valued, (qw.op == '<' || qw.op == '>' || qw.op == '=') && !valued:
			return nil, badQuery(w)
		case qw.op == '?' && valued:
			qw.op = '='
		}
		qw.name, qw.val = name, val
		if depth++; depth > maxStack {
			return nil, badQuery(w)
		}
		q = append(q, qw)
	}
	return q, nil
}

// parseStackOps reads what follows #: operations from left to right. A number before another character copies the
// value at that index, at the end of the word it replaces the whole stack; the index counts from the top.
func parseStackOps(s string, depth int) (ops []stackOp, after int, ok bool) {
	for i := 0; i < len(s); {
		if isDigit(s[i]) {
			n := 0
			for i < len(s) && isDigit(s[i]) {
				if n = n*10 + int(s[i]-'0'); n > maxStack {
					return nil, 0, false
				}
				i++
			}
			if n >= depth {
				return nil, 0, false
			}
			if i == len(s) {
				return append(ops, stackOp{'r', n}), 1, true
			}
			ops = append(ops, stackOp{'i', n})
			depth++
			if s[i] == '.' { // a point behind a number does nothing
				i++
			}
		} else {
			switch s[i] {
			case '&', '|':
				depth--
				if depth < 1 {
					return nil, 0, false
				}
			case '!':
				if depth < 1 {
					return nil, 0, false
				}
			case '.':
				if depth < 1 {
					return nil, 0, false
				}
				depth++
			default:
				return nil, 0, false
			}
			ops = append(ops, stackOp{op: s[i]})
			i++
		}
		if depth > maxStack {
			return nil, 0, false
		}
	}
	return ops, depth, true
}

// holds runs the query over one item.
func (q query) holds(r *run, it *item) (bool, error) {
	if err := r.step(1 + len(q)/4); err != nil {
		return false, err
	}
	stack := make([]bool, 0, len(q))
	for _, w := range q {
		if w.op == '#' {
			stack = w.operate(stack)
			continue
		}
		stack = append(stack, w.test(it))
	}
	for _, b := range stack {
		if !b {
			return false, nil
		}
	}
	return true, nil
}

func (w *queryWord) operate(stack []bool) []bool {
	for _, o := range w.ops {
		top := len(stack) - 1
		switch o.op {
		case '&':
			stack[top-1] = stack[top-1] && stack[top]
			stack = stack[:top]
		case '|':
			stack[top-1] = stack[top-1] || stack[top]
			stack = stack[:top]
		case '!':
			stack[top] = !stack[top]
		case '.':
			stack = append(stack, stack[top])
		case 'i':
			stack = append(stack, stack[top-o.n])
		case 'r':
			stack = append(stack[:0], stack[top-o.n])
		}
	}
	return stack
}

// test compares one property. A property that is not set equals nothing and is neither less nor more than anything.
func (w *queryWord) test(it *item) bool {
	have, set := it.apiValue(w.name)
	switch w.op {
	case '?':
		return set
	case '-':
		return !set
	case '=':
		return set && (have == w.val || it.same(w.name, w.val))
	}
	if !set {
		return false
	}
	c := strings.Compare(have, w.val)
	if a, ok := it.figure(w.name, have); ok {
		if b, ok := it.figure(w.name, w.val); ok {
			c = 0
			if a < b {
				c = -1
			} else if a > b {
				c = 1
			}
		}
	}
	return w.op == '<' && c < 0 || w.op == '>' && c > 0
}

// same says whether a spelling means the value that the property has: yes and true, 48M and 48000000.
func (it *item) same(name, spelling string) bool {
	p := it.menu.prop(name)
	if p == nil {
		return false
	}
	v, err := p.read(str(spelling))
	return err == nil && p.kind != propString && equal(it.vals[name], v)
}

// figure is a spelling as the number that the property orders by.
func (it *item) figure(name, spelling string) (int64, bool) {
	if p := it.menu.prop(name); p != nil {
		if v, err := p.read(str(spelling)); err == nil {
			return v.number()
		}
	}
	return parseNumber(spelling)
}
