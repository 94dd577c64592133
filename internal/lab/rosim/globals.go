package rosim

import (
	"errors"
	"strings"
	"time"
)

// verb returns a language command such as :put; nil when this version has none of that name.
func (p *parser) verb(name string) *command {
	if name == "onerror" && !p.version.atLeast(7, 14) {
		return nil
	}
	return verbTable[name]
}

var verbTable = newVerbs()

func newVerbs() map[string]*command {
	one := func(f func(*run, value) (value, error)) func(*run, *call) (value, error) {
		return func(r *run, c *call) (value, error) {
			v, err := c.arg(r, "value")
			if err != nil {
				return value{}, err
			}
			return f(r, v)
		}
	}
	val := func(names ...string) map[string]paramKind {
		m := map[string]paramKind{}
		for _, n := range names {
			m[n] = paramValue
		}
		return m
	}
	with := func(m map[string]paramKind, k paramKind, names ...string) map[string]paramKind {
		for _, n := range names {
			m[n] = k
		}
		return m
	}
	table := []*command{
		{name: "put", positional: []string{"message"}, params: val("message"), run: runPut},
		{name: "local", positional: []string{"name", "value"}, params: with(val("value"), paramName, "name"), run: runLocal},
		{name: "global", positional: []string{"name", "value"}, params: with(val("value"), paramName, "name"), run: runGlobal},
		{name: "set", positional: []string{"name", "value"}, params: with(val("value"), paramName, "name"), run: runAssign},
		{
			name: "if", positional: []string{"condition"}, run: runIf,
			params: with(val("condition"), paramCode, "do", "else"),
		},
		{
			name: "foreach", positional: []string{"counter"}, run: runForeach,
			params: with(with(val("in"), paramName, "counter"), paramCode, "do"),
		},
		{
			name: "for", positional: []string{"counter"}, run: runFor,
			params: with(with(val("from", "to", "step"), paramName, "counter"), paramCode, "do"),
		},
		{name: "while", positional: []string{"condition"}, params: with(val("condition"), paramCode, "do"), run: runWhile},
		{
			name: "do", positional: []string{"command"}, run: runDo,
			params: with(val("while"), paramCode, "command", "on-error"),
		},
		{
			name: "onerror", positional: []string{"error"}, run: runOnError,
			params: with(with(map[string]paramKind{}, paramName, "error"), paramCode, "in", "do"),
		},
		{name: "error", positional: []string{"message"}, params: val("message"), run: runError},
		{name: "return", positional: []string{"value"}, params: val("value"), run: runReturn},
		{name: "delay", positional: []string{"delay-time"}, params: val("delay-time"), run: runDelay},
		{name: "pick", positional: []string{"counter", "begin", "end"}, params: val("counter", "begin", "end"), run: runPick},
		{name: "find", positional: []string{"in", "key", "from"}, params: val("in", "key", "from"), run: runIndexOf},
		{name: "len", run: one(func(_ *run, v value) (value, error) { return num(length(v)), nil })},
		{name: "typeof", run: one(func(_ *run, v value) (value, error) { return str(v.kind.String()), nil })},
		{name: "tostr", run: one(func(r *run, v value) (value, error) { return r.sized(str(r.text(v))) })},
		{name: "tonum", run: one(func(_ *run, v value) (value, error) { return toNum(v), nil })},
		{name: "totime", run: one(func(_ *run, v value) (value, error) { return toTime(v), nil })},
		{name: "toarray", run: one(toArray)},
	}
	verbs := map[string]*command{}
	for _, c := range table {
		if c.params == nil {
			c.positional, c.params = []string{"value"}, val("value")
		}
		verbs[c.name] = c
	}
	return verbs
}

// length is :len: characters of a string, elements of an array.
func length(v value) int64 {
	switch v.kind {
	case kindNothing:
		return 0
	case kindArray:
		return int64(len(v.arr))
	case kindString, kindNumber, kindBool, kindID, kindTime:
	}
	return int64(len(v.text(durationClock)))
}

func toNum(v value) value {
	if n, ok := v.number(); ok {
		if v.kind == kindTime {
			n /= int64(time.Second)
		}
		return num(n)
	}
	if v.kind == kindBool {
		return num(v.num)
	}
	return value{}
}

func toTime(v value) value {
	switch v.kind {
	case kindTime:
		return v
	case kindNumber:
		if v.num >= 0 && v.num < 1<<31 {
			return span(time.Duration(v.num) * time.Second)
		}
	case kindString:
		if d, ok := parseDuration(v.str); ok {
			return span(d)
		}
	case kindNothing, kindBool, kindID, kindArray:
	}
	return value{}
}

func toArray(r *run, v value) (value, error) {
	switch v.kind {
	case kindArray:
		return v, nil
	case kindNothing:
		return list(), nil
	case kindString:
		out := list()
		if v.str != "" {
			for w := range strings.SplitSeq(v.str, ",") {
				out.arr = append(out.arr, entry{val: literal(w)})
			}
		}
		return r.sized(out)
	case kindNumber, kindBool, kindID, kindTime:
	}
	return list(v), nil
}

// need reports the arguments of a verb that were not given.
func (c *call) need(names ...string) error {
	var missing []string
	for _, n := range names {
		if !c.has(n) {
			missing = append(missing, n)
		}
	}
	if missing == nil {
		return nil
	}
	return problemf("missing value(s) of argument(s) %s", strings.Join(missing, " "))
}

func runPut(r *run, c *call) (value, error) {
	if err := c.need("message"); err != nil {
		return value{}, err
	}
	v, err := c.arg(r, "message")
	if err != nil {
		return value{}, err
	}
	s := r.text(v)
	if err := r.step(1 + len(s)/1024); err != nil {
		return value{}, err
	}
	return value{}, r.put(s)
}

func runLocal(r *run, c *call) (value, error) {
	if err := c.need("name"); err != nil {
		return value{}, err
	}
	v, err := c.arg(r, "value")
	if err != nil {
		return value{}, err
	}
	r.vars.vars[c.args["name"].word] = v
	return value{}, nil
}

func runGlobal(r *run, c *call) (value, error) {
	if err := c.need("name"); err != nil {
		return value{}, err
	}
	name := c.args["name"].word
	if !c.has("value") {
		return value{}, nil
	}
	v, err := c.arg(r, "value")
	if err != nil {
		return value{}, err
	}
	return value{}, r.router.setGlobal(name, v)
}

// runAssign is :set: it changes a variable that exists.
func runAssign(r *run, c *call) (value, error) {
	if err := c.need("name"); err != nil {
		return value{}, err
	}
	v, err := c.arg(r, "value")
	if err != nil {
		return value{}, err
	}
	name := c.args["name"].word
	if s := r.vars.find(name); s != nil {
		s.vars[name] = v
		return value{}, nil
	}
	if r.router.global(name).kind != kindNothing {
		return value{}, r.router.setGlobal(name, v)
	}
	return value{}, at("syntax error", c.args["name"].col)
}

func (c *call) body(name string) *block {
	if b := c.args[name].body; b != nil {
		return b
	}
	return &block{}
}

func runIf(r *run, c *call) (value, error) {
	if err := c.need("condition", "do"); err != nil {
		return value{}, err
	}
	ok, err := r.condition(c, "condition")
	if err != nil {
		return value{}, err
	}
	if ok {
		return r.inScope(c.body("do"), nil)
	}
	return r.inScope(c.body("else"), nil)
}

func (r *run) condition(c *call, name string) (bool, error) {
	v, err := c.arg(r, name)
	if err != nil {
		return false, err
	}
	b, ok := v.boolean()
	if !ok {
		return false, &problem{text: "conditional not boolean"}
	}
	return b, nil
}

func runForeach(r *run, c *call) (value, error) {
	if err := c.need("counter", "in", "do"); err != nil {
		return value{}, err
	}
	in, err := c.arg(r, "in")
	if err != nil {
		return value{}, err
	}
	if in.kind != kindArray {
		if in.empty() {
			return value{}, nil
		}
		in = list(in)
	}
	key, val, both := strings.Cut(c.args["counter"].word, ",")
	for i, e := range in.arr {
		vars := map[string]value{key: e.val}
		if both {
			vars = map[string]value{val: e.val, key: str(e.key)}
			if e.key == "" {
				vars[key] = num(int64(i))
			}
		}
		if err := r.step(1); err != nil {
			return value{}, err
		}
		if _, err := r.inScope(c.body("do"), vars); err != nil {
			return value{}, err
		}
	}
	return value{}, nil
}

func runFor(r *run, c *call) (value, error) {
	if err := c.need("counter", "from", "to", "do"); err != nil {
		return value{}, err
	}
	var n [3]int64
	for i, name := range []string{"from", "to", "step"} {
		v, err := c.arg(r, name)
		if err != nil {
			return value{}, err
		}
		x, ok := v.number()
		if c.has(name) && !ok {
			return value{}, problemf("invalid value for argument %s", name)
		}
		n[i] = x
	}
	if !c.has("step") {
		n[2] = 1
		if n[1] < n[0] {
			n[2] = -1
		}
	}
	if n[2] == 0 {
		return value{}, &problem{text: "invalid value for argument step"}
	}
	for i := n[0]; n[2] > 0 && i <= n[1] || n[2] < 0 && i >= n[1]; i += n[2] {
		if err := r.step(1); err != nil {
			return value{}, err
		}
		if _, err := r.inScope(c.body("do"), map[string]value{c.args["counter"].word: num(i)}); err != nil {
			return value{}, err
		}
	}
	return value{}, nil
}

func runWhile(r *run, c *call) (value, error) {
	if err := c.need("condition", "do"); err != nil {
		return value{}, err
	}
	for {
		ok, err := r.condition(c, "condition")
		if err != nil || !ok {
			return value{}, err
		}
		if err := r.step(1); err != nil {
			return value{}, err
		}
		if _, err := r.inScope(c.body("do"), nil); err != nil {
			return value{}, err
		}
	}
}

func runDo(r *run, c *call) (value, error) {
	if err := c.need("command"); err != nil {
		return value{}, err
	}
	for {
		v, err := r.inScope(c.body("command"), nil)
		var p *problem
		if errors.As(err, &p) && c.has("on-error") {
			v, err = r.inScope(c.body("on-error"), nil)
		}
		if err != nil || !c.has("while") {
			return v, err
		}
		if err := r.step(1); err != nil {
			return value{}, err
		}
		if again, err := r.condition(c, "while"); err != nil || !again {
			return v, err
		}
	}
}

// runOnError is :onerror e in={…} do={…}: the error's text is in the variable.
func runOnError(r *run, c *call) (value, error) {
	if err := c.need("error", "in", "do"); err != nil {
		return value{}, err
	}
	_, err := r.inScope(c.body("in"), nil)
	var p *problem
	if errors.As(err, &p) {
		vars := map[string]value{c.args["error"].word: str(p.text)}
		if _, err := r.inScope(c.body("do"), vars); err != nil {
			return value{}, err
		}
		return truth(true), nil
	}
	return truth(false), err
}

func runError(r *run, c *call) (value, error) {
	v, err := c.arg(r, "message")
	if err != nil {
		return value{}, err
	}
	return value{}, &problem{text: r.text(v)}
}

func runReturn(r *run, c *call) (value, error) {
	v, err := c.arg(r, "value")
	if err != nil {
		return value{}, err
	}
	return value{}, &returned{val: v}
}

func runDelay(r *run, c *call) (value, error) {
	v, err := c.arg(r, "delay-time")
	if err != nil {
		return value{}, err
	}
	d := time.Second
	if c.has("delay-time") {
		t := toTime(v)
		if t.kind != kindTime {
			return value{}, &problem{text: "invalid value for argument delay-time"}
		}
		d = time.Duration(t.num)
	}
	if err := r.step(100); err != nil {
		return value{}, err
	}
	return value{}, r.delay(d)
}

// runPick is :pick value begin end: the part from begin up to, not including, end.
func runPick(r *run, c *call) (value, error) {
	if err := c.need("counter", "begin"); err != nil {
		return value{}, err
	}
	var v [3]value
	for i, n := range []string{"counter", "begin", "end"} {
		x, err := c.arg(r, n)
		if err != nil {
			return value{}, err
		}
		v[i] = x
	}
	begin, ok := v[1].number()
	end, endOK := v[2].number()
	if !ok || c.has("end") && !endOK && !v[2].empty() {
		return value{}, &problem{text: "invalid value for argument begin"}
	}
	if !endOK {
		if begin > 1<<32 {
			return value{}, nil
		}
		end = begin + 1
	}
	if v[0].kind == kindArray {
		begin, end = clamp(begin, end, len(v[0].arr))
		if !endOK {
			if begin == end {
				return value{}, nil
			}
			return v[0].arr[begin].val, nil
		}
		return value{kind: kindArray, arr: v[0].arr[begin:end:end]}, nil
	}
	s := r.text(v[0])
	begin, end = clamp(begin, end, len(s))
	return str(s[begin:end]), nil
}

func clamp(begin, end int64, n int) (from, to int64) {
	from = min(max(begin, 0), int64(n))
	to = min(max(end, from), int64(n))
	return from, to
}

// runIndexOf is :find in key from: the position of key, nothing when it is not there.
func runIndexOf(r *run, c *call) (value, error) {
	if err := c.need("in", "key"); err != nil {
		return value{}, err
	}
	in, err := c.arg(r, "in")
	if err != nil {
		return value{}, err
	}
	key, err := c.arg(r, "key")
	if err != nil {
		return value{}, err
	}
	after, err := c.arg(r, "from")
	if err != nil {
		return value{}, err
	}
	from := int64(0)
	if n, ok := after.number(); ok {
		from = n + 1
	}
	if in.kind == kindArray {
		for i, e := range in.arr {
			if int64(i) >= from && equal(e.val, key) {
				return num(int64(i)), r.step(1 + i/16)
			}
		}
		return value{}, r.step(1 + len(in.arr)/16)
	}
	s := r.text(in)
	from, _ = clamp(from, from, len(s))
	if i := strings.Index(s[from:], r.text(key)); i >= 0 {
		return num(from + int64(i)), r.step(1 + len(s)/1024)
	}
	return value{}, r.step(1 + len(s)/1024)
}

// delay is :delay: the injected sleep, cut short when the router goes away.
func (r *run) delay(d time.Duration) error {
	if err := r.router.sleep(r.ctx, d); err != nil {
		return &fatal{text: "interrupted"}
	}
	return nil
}
