package rosim

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The binary API and REST carry commands as words, not as lines of the console. What is common to both is here; each
// spells requests and answers its own way.

// pair is a name with its value.
type pair struct{ name, val string }

// request is one command in words.
type request struct {
	path  string // menu and command, /queue/tree/print
	args  []pair // in the order given
	props []string
	query query
	// unset are properties to be taken away; REST only.
	unset []string
}

func (q *request) arg(name string) (string, bool) {
	for _, a := range q.args {
		if a.name == name {
			return a.val, true
		}
	}
	return "", false
}

// row is one record of an answer.
type row []pair

// errInterrupted ends a command that was cancelled.
var errInterrupted = &problem{text: "interrupted"}

func notPermitted() error { return &problem{text: "not enough permissions (9)"} }

// resolve finds a menu and a command by their full names.
func (r *Router) resolve(path string) (*menu, *command, error) {
	words := strings.Split(strings.TrimPrefix(path, "/"), "/")
	m, verb := r.root, words[len(words)-1]
	for _, w := range words[:len(words)-1] {
		if m = m.subNamed(w); m == nil {
			return nil, nil, &problem{text: "no such command prefix"}
		}
	}
	if c := m.cmdNamed(verb); c != nil && c.name != "export" {
		return m, c, nil
	}
	return nil, nil, &problem{text: "no such command"}
}

func (m *menu) subNamed(w string) *menu {
	i := slices.IndexFunc(m.subs, func(s *menu) bool { return s.name == w })
	if i < 0 {
		return nil
	}
	return m.subs[i]
}

func (m *menu) cmdNamed(w string) *command {
	i := slices.IndexFunc(m.cmds, func(c *command) bool { return c.name == w })
	if i < 0 {
		return nil
	}
	return m.cmds[i]
}

// streams says whether a request goes on until it is cancelled, or for long.
func (r *Router) streams(q *request) bool {
	_, once := q.arg("once")
	name := q.path[strings.LastIndexByte(q.path, '/')+1:]
	switch name {
	case "listen", "ping":
		return true
	case "monitor-traffic":
		return !once
	case "print":
		_, every := q.arg("interval")
		_, follow := q.arg("follow")
		_, only := q.arg("follow-only")
		return every || follow || only
	}
	return false
}

// performance is a request on its way: who asks, and where the records go.
type performance struct {
	*run
	request
	menu *menu
	cmd  *command
	// section counts the rounds of a stream.
	section int
	emit    func(row) error
}

// perform runs a request for a user with the rights he logged in with. Records go to emit as they come; ret is the single
// value that some commands answer with, nil for the others.
func (r *Router) perform(ctx context.Context, user string, may policySet, q request, emit func(row) error) (ret *string, wrote bool, err error) {
	p := &performance{run: &run{router: r, ctx: ctx, user: user, may: may, words: true, vars: &scope{vars: map[string]value{}}}, request: q, emit: emit}
	defer func() {
		wrote = p.wrote
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
	}()
	if strings.HasSuffix(q.path, "/listen") {
		return nil, false, p.listen()
	}
	if p.menu, p.cmd, err = r.resolve(q.path); err != nil {
		return nil, false, err
	}
	c, err := p.call()
	if err != nil {
		return nil, false, err
	}
	if err := p.permits(c); err != nil {
		return nil, false, err
	}
	switch p.cmd.name {
	case "print":
		return p.print(c)
	case "monitor-traffic":
		return nil, false, p.monitor(c)
	case "ping":
		return nil, false, p.ping(c)
	case "get":
		s, err := p.get(c)
		return &s, false, err
	case "find", "add":
		v, err := p.cmd.run(p.run, c)
		if err != nil {
			return nil, false, err
		}
		s := v.text(durationUnits)
		return &s, false, nil
	}
	if len(q.unset) > 0 {
		if err := p.unsetAll(c); err != nil || len(c.args) == 1 {
			return nil, false, err
		}
	}
	_, err = p.cmd.run(p.run, c)
	return nil, false, err
}

// call checks the arguments against the command's and puts them where the console's commands look for them.
func (p *performance) call() (*call, error) {
	c := &call{menu: p.menu, cmd: p.cmd, args: map[string]arg{}, where: p.query}
	if p.query == nil {
		c.where = nil
	}
	for _, a := range p.args {
		name := a.name
		if name == ".id" {
			for _, n := range []string{"numbers", "number"} {
				if _, ok := p.cmd.params[n]; ok {
					name = n
				}
			}
		}
		kind, ok := p.cmd.params[name]
		switch {
		case !ok:
			return nil, problemf("unknown parameter %s", a.name)
		case kind == paramCode:
			return nil, problemf("failure: the emulator runs no script from %s", name)
		case kind == paramFlag && (a.val == "no" || a.val == "false"):
			continue
		case kind == paramFlag && name != "fib":
			c.args[name] = arg{word: name}
		default:
			c.args[name] = arg{expr: &literalExpr{val: str(a.val)}}
		}
	}
	for _, n := range []string{"numbers", "number"} {
		if _, takes := p.cmd.params[n]; !takes {
			continue
		}
		a, given := c.args[n]
		switch {
		case !given:
			return nil, problemf("missing =.id=")
		case a.expr.(*literalExpr).val.str == "":
			return nil, p.router.noSuchItem()
		}
	}
	for _, n := range p.cmd.positional {
		if n == "address" || n == "interface" {
			if _, given := c.args[n]; !given {
				return nil, problemf("missing =%s=", n)
			}
		}
	}
	return c, nil
}

// get answers with one property.
func (p *performance) get(c *call) (string, error) {
	name, given := p.arg("value-name")
	switch {
	case !given:
		return "", problemf("missing =value-name=")
	case p.menu.prop(name) == nil:
		return "", (&prop{name: "value-name"}).mismatch()
	}
	it, err := p.one(c)
	if err != nil {
		return "", err
	}
	s, _ := it.apiValue(name)
	return s, nil
}

// unsetAll takes properties away from the items that are named.
func (p *performance) unsetAll(c *call) error {
	items, err := p.chosen(c)
	if err != nil {
		return err
	}
	defer p.router.mu.Unlock()
	for _, name := range p.unset {
		pr := c.menu.prop(name)
		if pr == nil || !pr.set {
			return problemf("unknown parameter %s", name)
		}
		for _, it := range items {
			if err := p.router.clear(it, pr, p.user); err != nil {
				return err
			}
			p.wrote = true
		}
	}
	return nil
}

// print answers with the records, again and again under interval, and with every change under follow.
func (p *performance) print(c *call) (ret *string, wrote bool, err error) {
	for _, n := range refusedPrint {
		if c.has(n) {
			return nil, false, problemf("failure: the emulator's print has no %s", n)
		}
	}
	if c.has("follow") || c.has("follow-only") {
		return nil, false, p.follow(c.has("follow"))
	}
	every, err := p.interval(c, 200*time.Millisecond)
	if err != nil {
		return nil, false, err
	}
	for {
		rows, err := p.rows(c)
		if err != nil {
			return nil, false, err
		}
		if c.has("count-only") {
			s := strconv.Itoa(len(rows))
			return &s, false, nil
		}
		for _, r := range rows {
			if err := p.emit(r); err != nil {
				return nil, false, err
			}
		}
		if every == 0 {
			return nil, false, nil
		}
		if err := p.pause(every); err != nil {
			return nil, false, err
		}
	}
}

// interval is the argument of that name; 0 when it was not given.
func (p *performance) interval(c *call, least time.Duration) (time.Duration, error) {
	if !c.has("interval") {
		return 0, nil
	}
	s, _ := p.arg("interval")
	v, err := (&prop{name: "interval", kind: propTime}).read(literal(s))
	if err != nil {
		return 0, err
	}
	if d := time.Duration(v.num); d >= least {
		return d, nil
	}
	return 0, problemf("value of interval out of range (%s..)", clockDuration(least))
}

// pause waits for a stream's next round, which may take as many steps as the first.
func (p *performance) pause(d time.Duration) error {
	p.steps = 0
	return p.delay(d)
}

func (p *performance) rows(c *call) ([]row, error) {
	var rows []row
	if c.menu.style == styleSingle {
		p.router.mu.Lock()
		p.router.advance()
		it := c.menu.items[0].clone()
		p.router.mu.Unlock()
		return append(rows, it.row(p.props, false)), nil
	}
	items, err := p.listed(c)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		rows = append(rows, it.row(p.props, true))
	}
	return rows, nil
}

// listen answers with every change to come.
func (p *performance) listen() error {
	m, _, err := p.router.resolve(strings.TrimSuffix(p.path, "/listen") + "/find")
	if err != nil {
		return err
	}
	for _, a := range p.args {
		return problemf("unknown parameter %s", a.name)
	}
	if p.menu = m; !p.may.has(policyRead) || m.path == connectionPath && p.router.dialect.Tracking == TrackingDenied {
		return notPermitted()
	}
	return p.follow(false)
}

// follow answers with what is there, if first, and then with every change.
func (p *performance) follow(first bool) error {
	f := p.router.subscribe(p.menu)
	defer p.router.unsubscribe(f)
	if first {
		items, err := p.snapshot(p.menu)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := p.changed(change{it: it}); err != nil {
				return err
			}
		}
	}
	for {
		got, more, err := p.router.take(f)
		if err != nil {
			return &problem{text: err.Error()}
		}
		p.steps = 0
		for _, c := range got {
			if err := p.changed(c); err != nil {
				return err
			}
		}
		if len(got) > 0 {
			continue
		}
		select {
		case <-more:
		case <-p.ctx.Done():
			return errInterrupted
		}
	}
}

func (p *performance) changed(c change) error {
	if c.dead {
		dead := "true"
		if p.router.dialect.DeadYes {
			dead = "yes"
		}
		return p.emit(row{{".id", c.it.apiID()}, {".dead", dead}})
	}
	ok, err := p.query.holds(p.run, c.it)
	if err != nil || !ok {
		return err
	}
	return p.emit(c.it.row(p.props, true))
}

func (it *item) apiID() string { return id(it.id).text(durationClock) }

// apiValue is a property as the API spells it; set is false when it is not set.
func (it *item) apiValue(name string) (s string, set bool) {
	if name == ".id" {
		return it.apiID(), it.menu.style != styleSingle
	}
	p := it.menu.prop(name)
	v, ok := it.vals[name]
	if p == nil || !ok || v.empty() && !p.keep || p.kind == propFlag && v.num == 0 {
		return "", false
	}
	return apiText(p, v), true
}

// row is an item as a record; props are those asked for, nil for all that are set.
func (it *item) row(props []string, withID bool) row {
	var out row
	if props != nil {
		for _, n := range props {
			if s, set := it.apiValue(n); set && (n != ".id" || withID) {
				out = append(out, pair{n, s})
			}
		}
		return out
	}
	if withID {
		out = append(out, pair{".id", it.apiID()})
	}
	for i := range it.menu.props {
		if s, set := it.apiValue(it.menu.props[i].name); set {
			out = append(out, pair{it.menu.props[i].name, s})
		}
	}
	return out
}

// apiText spells a stored value for the API: plain numbers, true and false, times with units, lists with commas.
func apiText(p *prop, v value) string {
	if p == nil {
		return v.text(durationUnits)
	}
	switch p.kind {
	case propDecimal:
		if v.kind == kindNumber {
			return spellThousandths(v.num)
		}
	case propList, propPolicy:
		return strings.ReplaceAll(v.text(durationUnits), ";", ",")
	case propFlag:
		return ""
	case propPair:
		up, down, ok := strings.Cut(v.str, "/")
		a, aok := parseRate(up)
		b, bok := parseRate(down)
		if ok && aok && bok {
			return strconv.FormatInt(a, 10) + "/" + strconv.FormatInt(b, 10)
		}
	case propString, propNumber, propRate, propBool, propTime, propPercent, propSize, propSecret, propDSCP, propPrefix, propSources:
	}
	return v.text(durationUnits)
}
