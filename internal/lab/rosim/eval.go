package rosim

import (
	"bytes"
	"context"
	"errors"
	"math"
	"regexp"
	"regexp/syntax"
)

// The evaluator's limits per line. A script that passes one ends with "action timed out" or "contents too long".
const (
	maxSteps  = 20_000
	maxOutput = 1 << 20
	maxText   = 64 << 10
	maxArray  = 4096
	maxCalls  = 64
)

// node is one statement, expr one value.
type node interface {
	exec(*run) (value, error)
}

type expr interface {
	eval(*run) (value, error)
}

// block is a list of statements.
type block struct{ nodes []node }

// run is one line on its way through the evaluator.
type run struct {
	router *Router
	ctx    context.Context
	user   string
	may    policySet
	words  bool // the command came as words, not as a line of the console
	vars   *scope
	out    bytes.Buffer
	steps  int
	calls  int
	wrote  bool
	// patterns are the regular expressions the line has used.
	patterns map[string]compiled
	value    bool // the result of the command is wanted: it stands in brackets
}

// scope is a level of local variables.
type scope struct {
	vars  map[string]value
	outer *scope
}

func (s *scope) find(name string) *scope {
	for ; s != nil; s = s.outer {
		if _, ok := s.vars[name]; ok {
			return s
		}
	}
	return nil
}

// returned carries the value of :return up to the line's end.
type returned struct{ val value }

func (*returned) Error() string { return "returned" }

// fatal is an error that on-error must not catch: a limit was passed or the router went away.
type fatal struct{ text string }

func (f *fatal) Error() string { return f.text }

func (r *run) step(n int) error {
	r.steps += n
	if r.steps > maxSteps {
		return &fatal{text: "action timed out"}
	}
	if err := r.ctx.Err(); err != nil {
		return &fatal{text: "interrupted"}
	}
	return nil
}

func (r *run) put(s string) error {
	if r.out.Len()+len(s) > maxOutput {
		return &fatal{text: "contents too long"}
	}
	r.out.WriteString(s)
	r.out.WriteByte('\n')
	return nil
}

func (r *run) text(v value) string { return v.text(r.router.dialect.style()) }

// line runs a whole line and returns its value.
func (r *run) line(b *block) (value, error) {
	r.vars = &scope{vars: map[string]value{}}
	v, err := b.exec(r)
	var ret *returned
	if errors.As(err, &ret) {
		return ret.val, nil
	}
	return v, err
}

func (b *block) exec(r *run) (value, error) {
	if r.calls++; r.calls > maxCalls {
		return value{}, &fatal{text: "contents too long"}
	}
	defer func() { r.calls-- }()
	var last value
	for _, n := range b.nodes {
		if err := r.step(1); err != nil {
			return value{}, err
		}
		v, err := n.exec(r)
		if err != nil {
			return value{}, err
		}
		last = v
	}
	return last, nil
}

// inScope runs a block with its own local variables.
func (r *run) inScope(b *block, vars map[string]value) (value, error) {
	if vars == nil {
		vars = map[string]value{}
	}
	outer := r.vars
	r.vars = &scope{vars: vars, outer: outer}
	defer func() { r.vars = outer }()
	wanted := r.value
	r.value = false
	defer func() { r.value = wanted }()
	return b.exec(r)
}

type scopeNode struct{ body *block }

func (n *scopeNode) exec(r *run) (value, error) { return r.inScope(n.body, nil) }

// call is one command with its arguments.
type call struct {
	menu  *menu // nil for a verb such as :put
	cmd   *command
	col   int
	args  map[string]arg
	where condition
}

func (c *call) has(name string) bool { _, ok := c.args[name]; return ok }

func (c *call) exec(r *run) (value, error) {
	if err := r.step(1); err != nil {
		return value{}, err
	}
	if err := r.permits(c); err != nil {
		return value{}, err
	}
	return c.cmd.run(r, c)
}

// arg evaluates one argument; nothing when it was not given.
func (c *call) arg(r *run, name string) (value, error) {
	a, ok := c.args[name]
	if !ok || a.expr == nil {
		return value{}, nil
	}
	outer := r.value
	r.value = true
	defer func() { r.value = outer }()
	return a.expr.eval(r)
}

type literalExpr struct {
	val  value
	bare bool // unquoted
}

func (e *literalExpr) eval(r *run) (value, error) { return e.val, r.step(1) }

type variableExpr struct{ name string }

func (e *variableExpr) eval(r *run) (value, error) {
	if s := r.vars.find(e.name); s != nil {
		return s.vars[e.name], r.step(1)
	}
	return r.router.global(e.name), r.step(1)
}

type stringExpr struct{ parts []expr }

func (e *stringExpr) eval(r *run) (value, error) {
	var b bytes.Buffer
	for _, p := range e.parts {
		v, err := p.eval(r)
		if err != nil {
			return value{}, err
		}
		b.WriteString(r.text(v))
		if b.Len() > maxText {
			return value{}, &fatal{text: "contents too long"}
		}
	}
	return str(b.String()), r.step(1 + b.Len()/1024)
}

type commandExpr struct{ body *block }

func (e *commandExpr) eval(r *run) (value, error) {
	outer := r.value
	r.value = true
	defer func() { r.value = outer }()
	return e.body.exec(r)
}

type arrayItem struct{ key, val expr }

type arrayExpr struct{ items []arrayItem }

func (e *arrayExpr) eval(r *run) (value, error) {
	v := value{kind: kindArray}
	for _, it := range e.items {
		x, err := it.val.eval(r)
		if err != nil {
			return value{}, err
		}
		en := entry{val: x}
		if it.key != nil {
			k, err := it.key.eval(r)
			if err != nil {
				return value{}, err
			}
			en.key = r.text(k)
		}
		v.arr = append(v.arr, en)
	}
	return r.sized(v)
}

// sized refuses values that outgrow the limits; every step of growth passes through it.
func (r *run) sized(v value) (value, error) {
	if v.kind == kindArray {
		n := weigh(v, 0)
		if n > maxArray || len(v.text(durationClock)) > maxText {
			return value{}, &fatal{text: "contents too long"}
		}
		return v, r.step(1 + n/16)
	}
	if len(v.str) > maxText {
		return value{}, &fatal{text: "contents too long"}
	}
	return v, r.step(1 + len(v.str)/1024)
}

// weigh counts an array's elements, nested ones too, and gives up past the limit.
func weigh(v value, depth int) int {
	if depth > maxDepth {
		return maxArray + 1
	}
	n := len(v.arr)
	for _, e := range v.arr {
		if n > maxArray {
			return n
		}
		n += weigh(e.val, depth+1)
	}
	return n
}

type unaryExpr struct {
	op byte
	of expr
}

func (e *unaryExpr) eval(r *run) (value, error) {
	v, err := e.of.eval(r)
	if err != nil {
		return value{}, err
	}
	switch e.op {
	case '!':
		b, ok := v.boolean()
		if !ok {
			return value{}, problemf("cannot negate %s", v.kind)
		}
		return truth(!b), r.step(1)
	case '-':
		n, ok := v.number()
		if !ok {
			return value{}, problemf("cannot change sign of %s", v.kind)
		}
		v.kind, v.num = numeric(v), -n
		return v, r.step(1)
	}
	n, ok := v.number()
	if !ok {
		return value{}, problemf("cannot invert %s", v.kind)
	}
	return num(^n), r.step(1)
}

// numeric is the kind an arithmetic result of v has.
func numeric(v value) kind {
	if v.kind == kindTime {
		return kindTime
	}
	return kindNumber
}

type binaryExpr struct {
	op          string
	left, right expr
}

func (e *binaryExpr) eval(r *run) (value, error) {
	a, err := e.left.eval(r)
	if err != nil {
		return value{}, err
	}
	if e.op == "&&" || e.op == "and" || e.op == "||" || e.op == "or" {
		return e.logic(r, a)
	}
	b, err := e.right.eval(r)
	if err != nil {
		return value{}, err
	}
	if err := r.step(1); err != nil {
		return value{}, err
	}
	switch e.op {
	case "->":
		return a.index(b), nil
	case ".":
		return r.join(a, b)
	case ",":
		v := value{kind: kindArray}
		for _, x := range []value{a, b} {
			if x.kind == kindArray {
				v.arr = append(v.arr, x.arr...)
			} else {
				v.arr = append(v.arr, entry{val: x})
			}
		}
		return r.sized(v)
	case "=":
		return truth(equal(a, b)), nil
	case "!=":
		return truth(!equal(a, b)), nil
	case "<", ">", "<=", ">=":
		c, ok := order(a, b)
		if !ok {
			return value{}, problemf("cannot compare if %s is less than %s", a.kind, b.kind)
		}
		return truth(e.op == "<" && c < 0 || e.op == ">" && c > 0 || e.op == "<=" && c <= 0 || e.op == ">=" && c >= 0), nil
	case "~":
		ok, err := match(r, r.text(a), r.text(b))
		return truth(ok), err
	case "in":
		for _, x := range b.arr {
			if equal(a, x.val) {
				return truth(true), nil
			}
		}
		return truth(false), nil
	}
	return arithmetic(e.op, a, b)
}

// join is the operator `.`: two texts become one; with an array each element is joined, so nothing comes of an empty
// one.
func (r *run) join(a, b value) (value, error) {
	side, arr := b, a
	if a.kind != kindArray {
		side, arr = a, b
	}
	if arr.kind != kindArray {
		return r.sized(str(r.text(a) + r.text(b)))
	}
	out := value{kind: kindArray}
	grown := 0
	for _, e := range arr.arr {
		s := r.text(e.val) + r.text(side)
		if a.kind != kindArray {
			s = r.text(side) + r.text(e.val)
		}
		if grown += len(s); grown > maxText {
			return value{}, &fatal{text: "contents too long"}
		}
		out.arr = append(out.arr, entry{e.key, str(s)})
	}
	return r.sized(out)
}

func (e *binaryExpr) logic(r *run, a value) (value, error) {
	or := e.op == "||" || e.op == "or"
	x, ok := a.boolean()
	if !ok {
		return value{}, problemf("cannot logically combine %s", a.kind)
	}
	if x == or {
		return truth(or), r.step(1)
	}
	b, err := e.right.eval(r)
	if err != nil {
		return value{}, err
	}
	y, ok := b.boolean()
	if !ok {
		return value{}, problemf("cannot logically combine %s", b.kind)
	}
	return truth(y), r.step(1)
}

func arithmetic(op string, a, b value) (value, error) {
	verbs := map[string]string{
		"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "divide",
		"&": "combine", "|": "combine", "^": "combine", "<<": "shift", ">>": "shift",
	}
	x, aok := a.number()
	y, bok := b.number()
	if !aok || !bok || a.kind == kindString || b.kind == kindString {
		return value{}, problemf("cannot %s %s to %s", verbs[op], a.kind, b.kind)
	}
	out := value{kind: kindNumber}
	if a.kind == kindTime || b.kind == kindTime {
		out.kind = kindTime
	}
	switch op {
	case "+":
		out.num = x + y
	case "-":
		out.num = x - y
	case "*":
		out.num = x * y
	case "/", "%":
		if y == 0 {
			return value{}, &problem{text: "division by zero"}
		}
		if x == math.MinInt64 && y == -1 {
			return value{}, &problem{text: "value out of range"}
		}
		if op == "/" {
			out.num = x / y
			if a.kind == kindTime && b.kind == kindTime {
				out.kind = kindNumber
			}
		} else {
			out.num = x % y
		}
	case "&":
		out.num = x & y
	case "|":
		out.num = x | y
	case "^":
		out.num = x ^ y
	case "<<", ">>":
		if y < 0 || y > 63 {
			return value{}, &problem{text: "value out of range"}
		}
		if op == "<<" {
			out.num = x << uint(y)
		} else {
			out.num = x >> uint(y)
		}
	}
	return out, nil
}

// match is the operator ~: a regular expression. Its cost counts as steps, by the size of the compiled program.
func match(r *run, s, pattern string) (bool, error) {
	p, ok := r.patterns[pattern]
	if !ok {
		if len(pattern) > 256 || len(r.patterns) >= 16 {
			return false, &fatal{text: "contents too long"}
		}
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return false, &problem{text: "invalid regexp"}
		}
		prog, err := syntax.Compile(tree.Simplify())
		if err != nil {
			return false, &problem{text: "invalid regexp"}
		}
		p.size = len(prog.Inst)
		if p.re, err = regexp.Compile(pattern); err != nil {
			return false, &problem{text: "invalid regexp"}
		}
		if r.patterns == nil {
			r.patterns = map[string]compiled{}
		}
		r.patterns[pattern] = p
		if err := r.step(p.size); err != nil {
			return false, err
		}
	}
	if err := r.step(1 + len(s)*p.size/512); err != nil {
		return false, err
	}
	return p.re.MatchString(s), nil
}

// compiled is a regular expression and the size of its program.
type compiled struct {
	re   *regexp.Regexp
	size int
}

type (
	eitherWhere struct{ a, b condition }
	bothWhere   struct{ a, b condition }
	notWhere    struct{ of condition }
	propWhere   struct {
		prop *prop // nil for .id
		name string
		op   string // "" asks whether the property is set, or true
		val  expr
	}
)

func (w *eitherWhere) holds(r *run, it *item) (bool, error) {
	if ok, err := w.a.holds(r, it); ok || err != nil {
		return ok, err
	}
	return w.b.holds(r, it)
}

func (w *bothWhere) holds(r *run, it *item) (bool, error) {
	if ok, err := w.a.holds(r, it); !ok || err != nil {
		return ok, err
	}
	return w.b.holds(r, it)
}

func (w *notWhere) holds(r *run, it *item) (bool, error) {
	ok, err := w.of.holds(r, it)
	return !ok, err
}

func (w *propWhere) holds(r *run, it *item) (bool, error) {
	if err := r.step(1); err != nil {
		return false, err
	}
	have := it.prop(w.name)
	if w.op == "" {
		if have.kind == kindBool {
			return have.num != 0, nil
		}
		return !have.empty(), nil
	}
	var want value
	var err error
	if v, ok := w.val.(*variableExpr); ok && it.menu.prop(v.name) != nil {
		// Inside a condition a variable that has a property's name is the property, as on the real console.
		want = it.prop(v.name)
	} else if l, ok := w.val.(*literalExpr); ok { // nothing to work out for each item
		want = l.val
	} else {
		outer := r.value
		r.value = true
		want, err = w.val.eval(r)
		r.value = outer
	}
	if err != nil {
		return false, err
	}
	if w.op == "~" {
		return match(r, r.text(have), r.text(want))
	}
	if w.prop != nil && want.kind == kindString && want.str != "" {
		if v, err := w.prop.read(want); err == nil {
			want = v
		}
	}
	if have.kind == kindString && want.kind != kindArray && want.kind != kindString && want.kind != kindNothing {
		want = str(want.spelling())
	}
	switch w.op {
	case "=":
		return equal(have, want), nil
	case "!=":
		return !equal(have, want), nil
	}
	c, ok := order(have, want)
	if !ok {
		return false, nil
	}
	return w.op == "<" && c < 0 || w.op == ">" && c > 0 || w.op == "<=" && c <= 0 || w.op == ">=" && c >= 0, nil
}
