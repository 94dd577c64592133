package rosim

import (
	"maps"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// maxItems bounds a menu's list; add answers with a failure beyond it.
const maxItems = 128

// item is one record of a menu.
type item struct {
	id      uint64
	menu    *menu
	vals    map[string]value
	dynamic bool
	traffic *traffic // queues of the tree and interfaces only
	// halves are a simple queue's directions, by link.Direction.
	halves [2]*traffic
	user   *User         // users only: what logs in
	key    ssh.PublicKey // keys of users only
	// expires is when an entry of an address list goes by itself; 0 is never.
	expires unit.Time
	// due is when an entry of the scheduler runs next; 0 is never.
	due unit.Time
	// initial is what a new router has here; nil for what was added.
	initial map[string]value
}

func (it *item) prop(name string) value {
	if name == ".id" {
		return id(it.id)
	}
	return it.vals[name]
}

func (it *item) clone() *item {
	c := *it
	c.vals = maps.Clone(it.vals)
	return &c
}

func (it *item) text(name string) string { return it.vals[name].text(durationClock) }

// newItem makes a record with its menu's defaults; the caller holds the lock.
func newItem(m *menu) *item {
	m.lastID++
	it := &item{id: m.lastID, menu: m, vals: map[string]value{}}
	for i := range m.props {
		if d := m.props[i].def; d.kind != kindNothing {
			it.vals[m.props[i].name] = d
		}
	}
	return it
}

// named returns the first item of a menu with that name; nil when there is none. The caller holds the lock.
func named(m *menu, name string) *item {
	for _, it := range m.items {
		if it.text("name") == name {
			return it
		}
	}
	return nil
}

// commented returns the items with exactly that comment; the caller holds the lock.
func commented(m *menu, comment string) []*item {
	var hits []*item
	for _, it := range m.items {
		if it.text("comment") == comment {
			hits = append(hits, it)
		}
	}
	return hits
}

// read converts a value to what the property stores. The error is a runtime error's text.
func (p *prop) read(v value) (value, error) {
	bad := problemf("invalid value for argument %s", p.name)
	if p.kind == propList || p.kind == propPolicy {
		out := list()
		if v.kind != kindArray {
			for w := range strings.SplitSeq(v.spelling(), ",") {
				out.arr = append(out.arr, entry{val: str(w)})
			}
			return out, nil
		}
		for _, e := range v.arr {
			out.arr = append(out.arr, entry{val: str(e.val.spelling())})
		}
		return out, nil
	}
	if v.kind == kindArray {
		if len(v.arr) != 1 {
			if p.kind == propString {
				return str(v.text(durationUnits)), nil
			}
			return value{}, bad
		}
		v = v.arr[0].val
	}
	w := v.spelling()
	switch p.kind {
	case propString, propSecret:
		if p.enum != nil && !contains(p.enum, w) {
			return value{}, p.mismatch()
		}
		return str(w), nil
	case propFlag:
		b, ok := v.boolean()
		if !ok && w != "" {
			return value{}, bad
		}
		return truth(b || w == ""), nil
	case propPair:
		up, down, ok := strings.Cut(w, "/")
		if !ok {
			return value{}, problemf("expected value of download-%s", p.name)
		}
		for _, s := range []string{up, down} {
			n, ok := parseRate(s)
			switch {
			case !ok:
				return value{}, bad
			case p.name == "priority" && (n < 1 || n > 8):
				return value{}, problemf("value of %s out of range (1..8)", p.name)
			}
		}
		return str(w), nil
	case propDSCP:
		n, ok := parseNumber(strings.TrimPrefix(w, "!"))
		switch {
		case !ok:
			return value{}, bad
		case n < 0 || n > 63:
			return value{}, problemf("value of %s out of range (0..63)", p.name)
		}
		return str(w), nil
	case propPrefix:
		if _, ok := parseSource(w); !ok {
			return value{}, bad
		}
		return str(w), nil
	case propSources:
		for s := range strings.SplitSeq(w, ",") {
			if _, ok := parseSource(s); !ok && w != "" {
				return value{}, bad
			}
		}
		return str(w), nil
	case propNumber, propPercent, propSize:
		n, ok := v.number()
		if !ok || n < 0 {
			return value{}, bad
		}
		if p.name == "priority" && (n < 1 || n > 8) {
			return value{}, problemf("value of %s out of range (1..8)", p.name)
		}
		return num(n), nil
	case propRate:
		n, ok := parseRate(w)
		if v.kind == kindNumber {
			n, ok = v.num, v.num >= 0
		}
		if !ok {
			return value{}, bad
		}
		if n > maxRate {
			return value{}, problemf("value of %s out of range (0..%d)", p.name, int64(maxRate))
		}
		return num(n), nil
	case propBool:
		b, ok := v.boolean()
		if !ok || w == "" {
			return value{}, bad
		}
		return truth(b), nil
	case propTime:
		if v.kind == kindTime {
			return value{kind: kindTime, num: v.num}, nil
		}
		d, ok := parseDuration(w)
		if !ok {
			if n, isNum := v.number(); isNum && n >= 0 && n < 1<<31 {
				return value{kind: kindTime, num: n * 1_000_000_000}, nil
			}
			return value{}, bad
		}
		return span(d), nil
	case propDecimal:
		n, ok := parseThousandths(w)
		if !ok {
			return value{}, bad
		}
		return num(n), nil
	case propList, propPolicy:
	}
	return value{}, bad
}

func (p *prop) mismatch() error { return problemf("input does not match any value of %s", p.name) }

// refer checks that the values name what is there. The caller holds the lock.
func (r *Router) refer(m *menu, vals map[string]value) error {
	if m.path == simplePath {
		if err := r.referSimple(vals); err != nil {
			return err
		}
	}
	for i := range m.props {
		p := &m.props[i]
		v, given := vals[p.name]
		if !given {
			continue
		}
		if p.kind == propPolicy {
			for _, e := range v.arr {
				if e.val.str != "" && !contains(policyNames, strings.TrimPrefix(e.val.str, "!")) {
					return p.mismatch()
				}
			}
		}
		name := strings.TrimPrefix(v.text(durationUnits), "!")
		if p.refs == nil || name == "" || contains(p.also, name) {
			continue
		}
		found := false
		for _, path := range p.refs {
			found = found || named(r.root.at(path), name) != nil
		}
		if !found {
			return p.mismatch()
		}
	}
	return nil
}

// maxRate is the largest rate the store takes, 1 Tbit/s.
const maxRate = 1_000_000_000_000

func contains(all []string, w string) bool {
	for _, s := range all {
		if s == w {
			return true
		}
	}
	return false
}

func parseThousandths(w string) (int64, bool) {
	whole, frac, dotted := strings.Cut(w, ".")
	n, err := strconv.ParseInt(whole, 10, 32)
	if err != nil || n < 0 || len(frac) > 3 || dotted && frac == "" {
		return 0, false
	}
	f, err := strconv.ParseInt((frac + "000")[:3], 10, 32)
	if err != nil || f < 0 {
		return 0, false
	}
	return n*1000 + f, true
}

func spellThousandths(n int64) string {
	s := strconv.FormatInt(n%1000+1000, 10)[1:]
	s = strings.TrimRight(s, "0")
	if s == "" {
		return strconv.FormatInt(n/1000, 10)
	}
	return strconv.FormatInt(n/1000, 10) + "." + s
}

// targets resolves the items a command was given: ids, a list of them, names, or comma-separated names. The caller
// holds the lock. col is where the argument stands.
func (r *Router) targets(m *menu, v value, col int) ([]*item, error) {
	if v.empty() {
		switch r.dialect.EmptyFind {
		case EmptyFindExpected:
			return nil, at("expected item id", col)
		case EmptyFindNoSuchItem:
			return nil, r.noSuchItem()
		case EmptyFindSilent:
			return nil, nil
		}
	}
	words := []value{v}
	switch v.kind {
	case kindArray:
		words = words[:0]
		for _, e := range v.arr {
			words = append(words, e.val)
		}
	case kindString:
		words = words[:0]
		for w := range strings.SplitSeq(v.str, ",") {
			words = append(words, literal(w))
		}
	case kindNothing, kindNumber, kindBool, kindID, kindTime:
	}
	hits := make([]*item, 0, len(words))
	for _, w := range words {
		it := r.target(m, w)
		if it == nil {
			return nil, r.noSuchItem()
		}
		hits = append(hits, it)
	}
	return hits, nil
}

func (r *Router) target(m *menu, w value) *item {
	for _, it := range m.items {
		if w.kind == kindID && it.id == uint64(w.num) {
			return it
		}
		// Item numbers live in a session that has printed; an exec request never has, so they name nothing.
		if w.kind != kindID && m.prop(m.key()) != nil && it.text(m.key()) == w.spelling() {
			return it
		}
	}
	return nil
}

func (r *Router) noSuchItem() error {
	if r.dialect.ErrorCodes {
		return &problem{text: "no such item (4)"}
	}
	return &problem{text: "no such item"}
}
