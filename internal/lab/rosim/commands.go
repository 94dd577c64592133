package rosim

import (
	"maps"
	"slices"
	"strings"

	"wanctl/internal/unit"
)

// snapshot brings the counters up to date and copies a menu's items, so that a condition can be judged without the
// lock.
func (r *run) snapshot(m *menu) ([]*item, error) {
	r.router.mu.Lock()
	r.router.advance()
	items := make([]*item, len(m.items))
	for i, it := range m.items {
		items[i] = it.clone()
	}
	r.router.mu.Unlock()
	return items, r.step(1 + len(items)/8)
}

// matching is the snapshot's items that meet the command's condition.
func (r *run) matching(c *call) ([]*item, error) {
	items, err := r.snapshot(c.menu)
	if err != nil || c.where == nil {
		return items, err
	}
	hits := items[:0]
	for _, it := range items {
		ok, err := c.where.holds(r, it)
		if err != nil {
			return nil, err
		}
		if ok {
			hits = append(hits, it)
		}
	}
	return hits, nil
}

// runFind answers with a list of ids; outside brackets it prints nothing.
func runFind(r *run, c *call) (value, error) {
	items, err := r.matching(c)
	if err != nil {
		return value{}, err
	}
	v := value{kind: kindArray}
	for _, it := range items {
		v.arr = append(v.arr, entry{val: id(it.id)})
	}
	return v, nil
}

// runGet answers with one property, or with all of them as a keyed array.
func runGet(r *run, c *call) (value, error) {
	name, err := c.arg(r, "value-name")
	if err != nil {
		return value{}, err
	}
	it, err := r.one(c)
	if err != nil {
		return value{}, err
	}
	if !c.has("value-name") {
		all := value{kind: kindArray}
		if c.menu.style != styleSingle {
			all.arr = append(all.arr, entry{".id", id(it.id)})
		}
		for i := range c.menu.props {
			p := &c.menu.props[i]
			if v, ok := it.vals[p.name]; ok {
				all.arr = append(all.arr, entry{p.name, r.router.dialect.present(p, v)})
			}
		}
		return all.sortKeys(), nil
	}
	p := c.menu.prop(name.spelling())
	if p == nil {
		return value{}, &problem{text: "input does not match any value of value-name"}
	}
	return r.router.dialect.present(p, it.vals[p.name]), nil
}

// present is a stored value as get hands it out.
func (d *Dialect) present(p *prop, v value) value {
	switch p.kind {
	case propRate:
		if d.LimitReadback == LimitSuffixed && v.kind == kindNumber {
			return str(compactRate(v.num))
		}
	case propDecimal:
		return str(spellThousandths(v.num))
	case propString, propNumber, propBool, propTime, propPercent, propSize, propList, propFlag, propSecret, propPolicy, propPair,
		propDSCP, propPrefix, propSources:
	}
	return v
}

// lookup counts the cost of finding the items that ref names, and of bringing the counters up to date.
func (r *run) lookup(m *menu, ref value) error {
	r.router.mu.Lock()
	n := len(m.items)*(1+len(ref.arr)+strings.Count(ref.str, ",")) + len(r.router.queues().items)
	r.router.mu.Unlock()
	return r.step(1 + n/64) // a rule among ten thousand can be found, read and switched by one line
}

// one returns a copy of the single item a get names.
func (r *run) one(c *call) (*item, error) {
	ref, err := c.arg(r, "number")
	if err != nil {
		return nil, err
	}
	if err := r.lookup(c.menu, ref); err != nil {
		return nil, err
	}
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.router.advance()
	if c.menu.style == styleSingle {
		return c.menu.items[0].clone(), nil
	}
	a, given := c.args["number"]
	if !given {
		return nil, at("expected item id", c.col)
	}
	items, err := r.router.targets(c.menu, ref, a.col)
	switch {
	case err != nil:
		return nil, err
	case len(items) == 0: // a silent dialect still has no value to hand out
		return nil, r.router.noSuchItem()
	case len(items) > 1:
		return nil, &problem{text: "invalid internal item number"}
	}
	return items[0].clone(), nil
}

// chosen evaluates the items a changing command names, and returns them under the lock that it leaves held.
func (r *run) chosen(c *call) ([]*item, error) {
	ref, err := c.arg(r, "numbers")
	if err != nil {
		return nil, err
	}
	if err := r.lookup(c.menu, ref); err != nil {
		return nil, err
	}
	r.router.mu.Lock()
	r.router.advance()
	if c.menu.style == styleSingle {
		return c.menu.items, nil
	}
	a, given := c.args["numbers"]
	if !given {
		r.router.mu.Unlock()
		return nil, problemf("missing value(s) of argument(s) numbers")
	}
	items, err := r.router.targets(c.menu, ref, a.col)
	if err != nil {
		r.router.mu.Unlock()
		return nil, err
	}
	return items, nil
}

// settings evaluates the name=value arguments of set and add in the order of the menu's properties.
func (r *run) settings(c *call) (map[string]value, error) {
	out := map[string]value{}
	for i := range c.menu.props {
		p := &c.menu.props[i]
		if !p.set || !c.has(p.name) {
			continue
		}
		v, err := c.arg(r, p.name)
		if err != nil {
			return nil, err
		}
		if out[p.name], err = p.read(v); err != nil {
			if p.kind == propPair && !strings.Contains(v.spelling(), "/") {
				err = at(err.Error(), c.args[p.name].col+len(v.spelling()))
			}
			return nil, err
		}
	}
	return out, nil
}

func runSet(r *run, c *call) (value, error) {
	vals, err := r.settings(c)
	if err != nil {
		return value{}, err
	}
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	if err := r.router.refer(c.menu, vals); err != nil {
		return value{}, err
	}
	if name, ok := vals["name"]; ok && c.menu.style != styleSingle {
		if it := named(c.menu, name.str); it != nil && (len(items) != 1 || items[0] != it) {
			return value{}, alreadyHave(c.menu)
		}
	}
	for _, it := range items {
		if err := r.router.change(it, vals, r.user); err != nil {
			return value{}, err
		}
	}
	r.wrote = r.wrote || len(items) > 0
	return value{}, nil
}

// insist refuses an add that lacks an argument.
func (r *run) insist(c *call) error {
	var missing []string
	for _, n := range c.menu.required {
		if !c.has(n) {
			missing = append(missing, n)
		}
	}
	text := "Script Error: missing value(s) of argument(s) " + strings.Join(missing, " ")
	switch {
	case c.menu.path == groupPath && !c.has("name"):
		if text = "failure: invalid group name"; r.words {
			return &problem{text: text}
		}
	case c.menu.path == keysPath && !c.has("key"):
		if text = wrongKey; r.words {
			return &problem{text: text}
		}
	case len(missing) == 0:
		return nil
	case r.words:
		return problemf("missing =%s=", missing[0])
	}
	if r.router.version.atLeast(7, 22) {
		text += " (" + c.menu.path + "/add; line 1)"
	}
	return &problem{text: text}
}

func alreadyHave(m *menu) error {
	if m.singular != "" {
		return problemf("failure: already have %s with such name", m.singular)
	}
	return &problem{text: "failure: already have such entry"}
}

func runEnable(r *run, c *call) (value, error)  { return r.toggle(c, false) }
func runDisable(r *run, c *call) (value, error) { return r.toggle(c, true) }

func (r *run) toggle(c *call, disabled bool) (value, error) {
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	for _, it := range items {
		if err := r.router.change(it, map[string]value{"disabled": truth(disabled)}, r.user); err != nil {
			return value{}, err
		}
	}
	r.wrote = r.wrote || len(items) > 0
	return value{}, nil
}

func runResetCounters(r *run, c *call) (value, error) {
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	for _, it := range items {
		r.router.zero(it)
	}
	return value{}, nil
}

func runResetAll(r *run, c *call) (value, error) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.router.advance()
	for _, it := range c.menu.items {
		r.router.zero(it)
	}
	return value{}, nil
}

func runAdd(r *run, c *call) (value, error) {
	vals, err := r.settings(c)
	if err != nil {
		return value{}, err
	}
	before, err := c.arg(r, "place-before")
	if err != nil {
		return value{}, err
	}
	copied, err := c.arg(r, "copy-from")
	if err != nil {
		return value{}, err
	}
	if !c.has("copy-from") {
		if err := r.insist(c); err != nil {
			return value{}, err
		}
	}
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.advance()
	if name, ok := vals["name"]; ok && named(c.menu, name.str) != nil {
		return value{}, alreadyHave(c.menu)
	}
	if err := rt.refer(c.menu, vals); err != nil {
		return value{}, err
	}
	if len(c.menu.items) >= c.menu.room() {
		return value{}, &problem{text: "failure: too many items"}
	}
	place := len(c.menu.items)
	if a, ok := c.args["place-before"]; ok {
		ref, err := rt.targets(c.menu, before, a.col)
		if err != nil {
			return value{}, err
		}
		if len(ref) > 0 {
			place = slices.Index(c.menu.items, ref[0])
		}
	}
	var from []*item
	if a, ok := c.args["copy-from"]; ok {
		if from, err = rt.targets(c.menu, copied, a.col); err != nil {
			return value{}, err
		}
	}
	it := newItem(c.menu)
	if len(from) == 1 {
		it.copyFrom(from[0])
	}
	if err := rt.prepare(it, vals); err != nil {
		c.menu.lastID-- // the number was not seen by anybody
		return value{}, err
	}
	for k, v := range vals {
		it.vals[k] = v
	}
	if c.menu.prop("name") != nil && it.text("name") == "" && c.menu.defaultName != "" {
		it.vals["name"] = str(c.menu.defaultName + strings.TrimPrefix(id(it.id).text(durationClock), "*"))
	}
	c.menu.items = slices.Insert(c.menu.items, place, it)
	rt.configWritten(it, r.user)
	r.wrote = true
	return id(it.id), nil
}

func runRemove(r *run, c *call) (value, error) {
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	for _, it := range items {
		if err := r.router.removable(it); err != nil {
			return value{}, err
		}
	}
	for _, it := range items {
		r.router.removed(it)
		c.menu.items = slices.DeleteFunc(c.menu.items, func(x *item) bool { return x == it })
		r.router.configWritten(it, r.user)
		r.wrote = true
	}
	return value{}, nil
}

func runMove(r *run, c *call) (value, error) {
	dest, err := c.arg(r, "destination")
	if err != nil {
		return value{}, err
	}
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	var anchor *item
	if a, ok := c.args["destination"]; ok {
		to, err := r.router.targets(c.menu, dest, a.col)
		if err != nil {
			return value{}, err
		}
		if len(to) > 0 {
			anchor = to[0]
		}
	}
	if anchor != nil && slices.Contains(items, anchor) {
		return value{}, nil
	}
	for _, it := range items {
		if it.dynamic {
			return value{}, &problem{text: "failure: can not move dynamic item"}
		}
	}
	for _, it := range items {
		c.menu.items = slices.DeleteFunc(c.menu.items, func(x *item) bool { return x == it })
	}
	place := len(c.menu.items)
	if anchor != nil {
		place = slices.Index(c.menu.items, anchor)
	}
	c.menu.items = slices.Insert(c.menu.items, place, items...)
	for _, it := range items {
		r.router.configWritten(it, r.user)
		r.wrote = true
	}
	return value{}, nil
}

func runUnset(r *run, c *call) (value, error) {
	name, err := c.arg(r, "value-name")
	if err != nil {
		return value{}, err
	}
	p := c.menu.prop(name.spelling())
	if p == nil || !p.set {
		return value{}, &problem{text: "input does not match any value of value-name"}
	}
	items, err := r.chosen(c)
	if err != nil {
		return value{}, err
	}
	defer r.router.mu.Unlock()
	for _, it := range items {
		if err := r.router.clear(it, p, r.user); err != nil {
			return value{}, err
		}
		r.wrote = true
	}
	return value{}, nil
}

// clear takes a property away, or puts its default back. The caller holds the lock.
func (r *Router) clear(it *item, p *prop, by string) error {
	if it.dynamic {
		return &problem{text: "failure: can not change dynamic item"}
	}
	delete(it.vals, p.name)
	if p.def.kind != kindNothing {
		it.vals[p.name] = p.def
	}
	r.configWritten(it, by)
	return nil
}

// change applies settings to one item: the one place where configuration is written. The caller holds the lock.
func (r *Router) change(it *item, vals map[string]value, by string) error {
	if it.dynamic && it.lasting() {
		return &problem{text: "failure: can not change dynamic item"}
	}
	if it.vals["builtin"].num != 0 {
		return &problem{text: "failure: can not change builtin item"}
	}
	vals = maps.Clone(vals) // each item makes of them what it needs
	if err := r.prepare(it, vals); err != nil {
		return err
	}
	limit, limited := vals["max-limit"]
	limited = limited && it.menu.path == queueTreePath
	if limited {
		if r.opt.Applier != nil {
			if err := r.opt.Applier.Apply(it.text("name"), unit.Rate(limit.num)); err != nil {
				return problemf("failure: %v", err)
			}
		}
		r.recordLimit(it, unit.Rate(limit.num), by)
	}
	_, halves := vals["max-limit"]
	if halves = halves && it.menu.path == simplePath; halves {
		if err := r.limitHalves(it, pairOf(limit), by); err != nil {
			return err
		}
	}
	if dis, ok := vals["disabled"]; ok && it.menu.path == manglePath {
		if a, ok := r.opt.Applier.(RuleApplier); ok {
			if err := a.ApplyRule(it.text("comment"), dis.num == 0); err != nil {
				return problemf("failure: %v", err)
			}
		}
		r.recordRule(it, dis.num == 0, by)
	}
	old := it.vals["max-limit"]
	if v, ok := vals["name"]; ok {
		r.renamed(it.menu, it.text("name"), v)
	}
	for k, v := range vals {
		it.vals[k] = v
	}
	if limited && old.num != limit.num {
		if r.dialect.ResetOnChange {
			r.zero(it)
		}
		if r.dialect.FlushOnChange && it.traffic != nil {
			it.traffic.queued = 0
		}
	}
	if halves {
		r.limitedHalves(it, pairOf(old), pairOf(limit))
	}
	r.configWritten(it, by)
	return nil
}
