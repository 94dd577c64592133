package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Step is one change of the kernel's state.
type Step struct {
	// Command is what nft or ip would be told for the same; nothing is run.
	Command string `json:"command"`
	// Why is for people; may be empty.
	Why string `json:"why,omitempty"`
	// Table is the nftables table that the step makes; empty for any other.
	Table string `json:"table,omitempty"`

	do, undo func() error
}

// Plan is what has to be done.
type Plan struct {
	Steps []Step `json:"steps"`
	// Problems keep the plan from being carried out; each says what to do.
	Problems []string `json:"problems,omitempty"`
	// Notes are worth knowing.
	Notes []string `json:"notes,omitempty"`
}

// MarshalJSON keeps an empty plan an empty list.
func (p Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	if p.Steps == nil {
		p.Steps = []Step{}
	}
	return json.Marshal(plain(p))
}

func (p *Plan) problem(format string, a ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, a...))
}

func (p *Plan) note(format string, a ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, a...))
}

// found is what there is.
type found struct {
	tables []*told
	own    *told // nil where it is not there
	rules  []ipRule
	routes []route
	links  []link
	host   Host
}

func (o *Options) look() (f *found, err error) {
	f = &found{host: readHost(o.Lines)}
	if f.links, err = readLinks(); err != nil {
		return nil, err
	}
	if f.rules, err = readRules(); err != nil {
		return nil, err
	}
	tables := []uint32{mainTable}
	for _, l := range o.Lines {
		tables = append(tables, l.Table)
	}
	if f.routes, err = readRoutes(tables); err != nil {
		return nil, err
	}
	if f.tables, err = readTables(); err != nil {
		return nil, err
	}
	for _, t := range f.tables {
		if t.family == unix.NFPROTO_INET && t.name == o.Table() {
			f.own = t
		}
	}
	if f.own != nil {
		err = f.own.readSets()
	}
	return f, err
}

// numbers are those that the lines have in the table that is there.
func (t *told) numbers() map[string]int {
	out := map[string]int{}
	if t == nil {
		return out
	}
	for _, c := range t.chains {
		if id, ok := strings.CutPrefix(c.name, "line_"); ok {
			number, name, _ := strings.Cut(id, "_")
			if n, err := strconv.Atoi(number); err == nil && n > 0 {
				out[name] = n
			}
		}
	}
	return out
}

// Text is the nftables table of these options, as nft would take it.
func (o *Options) Text() string { return o.ruleset(numbered(o.Lines, nil)).String() }

// Plan returns the steps from what there is to what is wanted; none when it is so already. Nothing is changed.
func (o *Options) Plan() (p Plan, err error) {
	if err := o.Validate(); err != nil {
		return p, err
	}
	f, err := o.look()
	if err != nil {
		return p, fail("look at the kernel's state", err)
	}
	o.judge(&p, f)
	numbers := numbered(o.Lines, f.own.numbers())
	if slices.Max(numbers) > o.maxLines() {
		p.problem("the mask 0x%08x has no number left for a new line: `wanctl policy remove` and apply again, which unpins what runs", o.Mask)
		return p, nil
	}
	o.planTable(&p, f, numbers)
	o.planRoutes(&p, f)
	o.planRules(&p, f, numbers)
	return p, nil
}

func (o *Options) planTable(p *Plan, f *found, numbers []int) {
	want := o.ruleset(numbers)
	why := ""
	var changes []change
	undo := func() error { return commit([]change{dropTable(want.table)}) }
	before := ""
	if f.own != nil {
		if why = want.differs(f.own); why == "" {
			return
		}
		changes = append(changes, dropTable(want.table))
		before = "delete table inet " + want.table + "\n"
		undo = func() error { return nil } // the new one stands, and is the better one
	}
	p.Steps = append(p.Steps, Step{
		Command: "nft -f - <<'EOF'\n" + before + want.String() + "EOF", Why: why, Table: want.table, undo: undo,
		do: func() error {
			carried, err := carry(f.own, want)
			if err != nil {
				return err
			}
			if err := commit(append(changes, want.create(carried)...)); err != nil {
				return fail("make the nftables table", err)
			}
			return nil
		},
	})
}

// carry reads the elements that a table's successor shall have, so that calls stay together and steering goes on.
func carry(own *told, want *ruleset) (map[string][]element, error) {
	out := map[string][]element{}
	if own == nil {
		return out, nil
	}
	for _, s := range want.sets {
		i := slices.IndexFunc(own.sets, func(h set) bool { return h.name == s.name && h.keyLen == s.keyLen })
		if s.fixed() || i < 0 || own.sets[i].fixed() {
			continue
		}
		elements, err := readElements(own.name, s.name)
		if err != nil {
			return nil, fail("read the nftables table", err)
		}
		out[s.name] = slices.DeleteFunc(elements, func(e element) bool { return e.left <= 0 })
	}
	return out, nil
}

// gateway is a line's next hop; kept, that it is the last that was known, and else why there is none.
func (o *Options) gateway(f *found, l Line, dev *link, fam family) (r route, kept bool, why string) {
	r = route{family: fam, table: l.Table, dev: dev.index, protocol: Protocol, metric: metricOfOur}
	r.via = l.Gateway
	if fam == v6 {
		r.via = l.Gateway6
	}
	if r.via.IsValid() {
		return r, false, ""
	}
	var best, last *route
	for i := range f.routes {
		h := &f.routes[i]
		if h.family != fam || h.dev != dev.index || h.to.IsValid() && h.to.Bits() > 0 {
			continue
		}
		switch {
		case h.table == mainTable && (best == nil || h.metric < best.metric):
			best = h
		case h.table == l.Table && h.ours():
			last = h
		}
	}
	switch {
	case best != nil:
		r.via, r.onlink = best.via, best.onlink
	case last != nil:
		r.via, r.onlink = last.via, last.onlink
		return r, true, ""
	case dev.point:
	default:
		key := map[family]string{v4: "gateway", v6: "gateway6"}[fam]
		return r, false, fmt.Sprintf("the main table has no default route by %s, so that its gateway is not known: write lines.%s.%s, or let the "+
			"network's own set-up make that route (a larger metric is enough)", l.Interface, l.Name, key)
	}
	return r, false, ""
}

func (o *Options) planRoutes(p *Plan, f *found) {
	var want []route
	for _, l := range o.Lines {
		dev := linkNamed(f.links, l.Interface)
		if dev == nil {
			continue // which is a problem already
		}
		for _, fam := range o.families() {
			r, kept, why := o.gateway(f, l, dev, fam)
			switch {
			case kept && !dev.up:
				continue
			case kept:
				p.note("the main table has no default route by %s any more: its last gateway stays in use", l.Interface)
			case why != "":
				p.problem("%s: %s", l.Name, why)
				continue
			}
			if !dev.up {
				p.note("%s is down: what is pinned to %s waits for it, or goes where the main table sends it", l.Interface, l.Name)
				continue
			}
			want = append(want, r)
		}
	}
	same := func(a, b route) bool {
		return a.family == b.family && a.table == b.table && a.dev == b.dev && a.via == b.via && a.onlink == b.onlink && a.metric == b.metric && !b.to.IsValid()
	}
	for _, r := range want {
		if slices.ContainsFunc(f.routes, func(h route) bool { return h.ours() && same(r, h) }) {
			continue
		}
		p.Steps = append(p.Steps, o.routeStep(f, r, true))
	}
	for _, h := range f.routes {
		if h.ours() && !slices.ContainsFunc(want, func(r route) bool { return r.family == h.family && r.table == h.table }) {
			p.Steps = append(p.Steps, o.routeStep(f, h, false))
		}
	}
}

func (o *Options) routeStep(f *found, r route, add bool) Step {
	verb, did := "replace", "add a route"
	if !add {
		verb, did = "del", "remove a route"
	}
	wrap := func(add bool) func() error {
		return func() error {
			if err := r.set(add); err != nil && (add || !isNone(err)) {
				return fail(did+" "+r.words(f.links), err)
			}
			return nil
		}
	}
	return Step{Command: fmt.Sprintf("ip %s route %s %s", r.family.flag(), verb, r.words(f.links)), do: wrap(add), undo: wrap(!add)}
}

func (o *Options) wantedRules(numbers []int) (out []ipRule) {
	lay := layoutOf(o.Mask)
	for _, fam := range o.families() {
		rule := func(step uint32, table uint32) ipRule {
			return ipRule{family: fam, priority: o.Priority + step, table: table, protocol: Protocol}
		}
		sources := slices.DeleteFunc(o.sources(), func(a netip.Addr) bool { return familyOf(a) != fam })
		// First what the main table knows better than by a default route, and only for what is ours to route.
		for _, a := range sources {
			r := rule(0, mainTable)
			r.from, r.suppress = a, true
			out = append(out, r)
		}
		for _, n := range numbers {
			r := rule(0, mainTable)
			r.mark, r.mask, r.suppress = lay.value(n), lay.line, true
			out = append(out, r)
		}
		// An answer of a probe's address follows its connection, too.
		for i, n := range numbers {
			r := rule(1, o.Lines[i].Table)
			r.mark, r.mask = lay.value(n), lay.line
			out = append(out, r)
		}
		for _, a := range sources {
			if i := o.indexOf(o.Policy.Sources[a]); i >= 0 {
				r := rule(2, o.Lines[i].Table)
				r.from = a
				out = append(out, r)
			}
		}
	}
	return out
}

func (o *Options) planRules(p *Plan, f *found, numbers []int) {
	want := o.wantedRules(numbers)
	for _, r := range want {
		if !slices.Contains(f.rules, r) {
			p.Steps = append(p.Steps, ruleStep(r, true))
		}
	}
	for _, h := range f.rules {
		if h.protocol == Protocol && !slices.Contains(want, h) {
			p.Steps = append(p.Steps, ruleStep(h, false))
		}
	}
}

func ruleStep(r ipRule, add bool) Step {
	verb := "add"
	if !add {
		verb = "del"
	}
	wrap := func(add bool) func() error {
		return func() error {
			err := r.set(add)
			if err != nil && (add && !errors.Is(err, unix.EEXIST) || !add && !isNone(err)) {
				return fail("change the rule "+r.String(), err)
			}
			return nil
		}
	}
	return Step{Command: fmt.Sprintf("ip %s rule %s %s", r.family.flag(), verb, r), do: wrap(add), undo: wrap(!add)}
}

// applyTries is how often a plan is made anew when what it found changed meanwhile.
const applyTries = 3

// Apply carries the plan out and reads it back. Where something stands in the way nothing is changed; where a step fails,
// those before it are taken back. It returns what it did.
func (o *Options) Apply() (Plan, error) {
	var did Plan
	for range applyTries {
		p, err := o.Plan()
		if err != nil {
			return did, err
		}
		did.Notes, did.Problems = p.Notes, p.Problems
		if len(p.Problems) > 0 {
			return did, blocked(p.Problems)
		}
		if len(p.Steps) == 0 {
			return did, nil
		}
		if err := carryOut(p.Steps); err != nil {
			return did, err
		}
		did.Steps = append(did.Steps, p.Steps...)
	}
	p, err := o.Plan()
	if err == nil && len(p.Steps) > 0 {
		err = fail("apply", fmt.Errorf("%w: still to do is %s", errReadBack, p.Steps[0].Command))
	}
	return did, err
}

func carryOut(steps []Step) error {
	for n, s := range steps {
		err := s.do()
		if err == nil {
			continue
		}
		for _, done := range slices.Backward(steps[:n]) {
			err = errors.Join(err, done.undo())
		}
		return err
	}
	return nil
}

// PlanRemove returns the steps that take away what is ours, and nothing else. Running connections lose their pins.
func (o *Options) PlanRemove() (p Plan, err error) {
	f, err := o.look()
	if err != nil {
		return p, fail("look at the kernel's state", err)
	}
	if f.own != nil {
		name := f.own.name
		p.Steps = append(p.Steps, Step{Command: "nft delete table inet " + name, do: func() error {
			if err := commit([]change{dropTable(name)}); err != nil && !isNone(err) {
				return fail("remove the nftables table", err)
			}
			return nil
		}, undo: func() error { return nil }})
	}
	for _, r := range f.rules {
		if r.protocol == Protocol {
			p.Steps = append(p.Steps, ruleStep(r, false))
		}
	}
	for _, r := range f.routes {
		if r.ours() {
			p.Steps = append(p.Steps, o.routeStep(f, r, false))
		}
	}
	return p, nil
}

// Remove takes away what is ours, and looks whether it is gone. It returns what it did.
func (o *Options) Remove() (Plan, error) {
	p, err := o.PlanRemove()
	if err != nil {
		return p, err
	}
	for _, s := range p.Steps {
		err = errors.Join(err, s.do())
	}
	if err != nil {
		return p, err
	}
	left, err := o.PlanRemove()
	if err == nil && len(left.Steps) > 0 {
		err = fail("remove", fmt.Errorf("%w: there still is %s", errReadBack, left.Steps[0].Command))
	}
	return p, err
}
