package rosim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// refusedPrint are arguments of print that the schema has and the emulator does not carry out.
var refusedPrint = []string{"append", "bytes", "file", "group-by", "oid", "on-event", "order-by", "packets", "rate", "value-list"}

// listed is what print was told to show: the items that meet its condition, those that from names, of a chain, and made
// by the router or by people.
func (r *run) listed(c *call) ([]*item, error) {
	items, err := r.matching(c)
	if err == nil && c.has("from") {
		items, err = r.from(c, items)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(items, func(it *item) bool {
		a, named := c.args["chain"]
		if named {
			l, ok := a.expr.(*literalExpr)
			named = !ok || it.text("chain") != l.val.spelling()
		}
		return named || c.has("dynamic") && !it.dynamic || c.has("static") && it.dynamic
	}), nil
}

// runPrint is print in all its forms. as-value has a result and prints nothing; every other form prints.
func runPrint(r *run, c *call) (value, error) {
	props, err := r.proplist(c)
	if err != nil {
		return value{}, err
	}
	for _, n := range append(refusedPrint, "follow", "follow-only", "follow-strict", "interval") {
		if c.has(n) {
			return value{}, problemf("failure: the emulator's print has no %s over SSH", n)
		}
	}
	if c.menu.style == styleSingle {
		return r.printSingle(c)
	}
	items, err := r.listed(c)
	if err != nil {
		return value{}, err
	}
	switch {
	case c.has("count-only"):
		n := num(int64(len(items)))
		if r.value {
			return n, nil
		}
		return value{}, r.put(r.text(n))
	case c.has("as-value"):
		return r.records(c, items, props)
	}
	p := &printer{run: r, menu: c.menu, items: items, props: props, ids: c.has("show-ids")}
	stats := c.has("stats") || c.has("stats-detail")
	var lines []string
	switch {
	case c.has("terse"):
		lines = p.terse(stats)
	case c.has("detail") || c.has("stats-detail"):
		lines = p.pairs(stats)
	case c.menu.style == styleTable || stats && c.menu.group:
		lines = p.table(stats)
	default:
		lines = p.pairs(stats)
	}
	for _, l := range lines {
		if err := r.put(l); err != nil {
			return value{}, err
		}
		if err := r.step(1); err != nil {
			return value{}, err
		}
	}
	return value{}, nil
}

// proplist is the properties asked for, nil for all.
func (r *run) proplist(c *call) ([]string, error) {
	v, err := c.arg(r, "proplist")
	if err != nil || !c.has("proplist") {
		return nil, err
	}
	if v.kind == kindArray {
		v = str(strings.ReplaceAll(r.text(v), ";", ","))
	}
	names := strings.Split(v.spelling(), ",")
	for _, n := range names {
		if c.menu.prop(n) == nil && n != ".id" {
			return nil, &problem{text: "input does not match any value of proplist"}
		}
	}
	return names, nil
}

func (r *run) from(c *call, items []*item) ([]*item, error) {
	ref, err := c.arg(r, "from")
	if err != nil {
		return nil, err
	}
	r.router.mu.Lock()
	want, err := r.router.targets(c.menu, ref, c.args["from"].col)
	r.router.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var hits []*item
	for _, it := range items {
		for _, w := range want {
			if w.id == it.id {
				hits = append(hits, it)
				break
			}
		}
	}
	return hits, nil
}

// records is print as-value: with stats the counters and the name, without it the configuration; each record starts
// at its id.
func (r *run) records(c *call, items []*item, props []string) (value, error) {
	all := value{kind: kindArray}
	stats := c.has("stats") || c.has("stats-detail")
	for _, it := range items {
		rec := value{kind: kindArray, arr: []entry{{".id", id(it.id)}}}
		for i := range c.menu.props {
			p := &c.menu.props[i]
			v, ok := it.vals[p.name]
			switch {
			case !ok:
				continue
			case props != nil:
				if !contains(props, p.name) {
					continue
				}
			case p.stat != stats && (!stats || p.name != "name"):
				continue
			}
			rec.arr = append(rec.arr, entry{p.name, v})
		}
		all.arr = append(all.arr, entry{val: rec})
	}
	return r.sized(all)
}

func (r *run) printSingle(c *call) (value, error) {
	r.router.mu.Lock()
	r.router.advance()
	it := c.menu.items[0].clone()
	r.router.mu.Unlock()
	if c.has("as-value") {
		rec := value{kind: kindArray}
		for i := range c.menu.props {
			if v, ok := it.vals[c.menu.props[i].name]; ok {
				rec.arr = append(rec.arr, entry{c.menu.props[i].name, v})
			}
		}
		return rec, nil
	}
	width := 0
	for i := range c.menu.props {
		width = max(width, len(c.menu.props[i].name))
	}
	for i := range c.menu.props {
		p := &c.menu.props[i]
		if _, ok := it.vals[p.name]; !ok {
			continue
		}
		if err := r.put(fmt.Sprintf("  %*s: %s", width, p.name, r.shown(p, it.vals[p.name], false))); err != nil {
			return value{}, err
		}
	}
	return value{}, nil
}

// shown is a stored value as the printers spell it.
func (r *run) shown(p *prop, v value, group bool) string {
	if group && p.stat && p.kind == propNumber {
		return grouped(v.num)
	}
	return shownValue(p, v)
}

func shownValue(p *prop, v value) string {
	switch p.kind {
	case propRate:
		return compactRate(v.num)
	case propPair:
		up, down, ok := strings.Cut(v.str, "/")
		a, aok := parseRate(up)
		b, bok := parseRate(down)
		if ok && aok && bok {
			return compactRate(a) + "/" + compactRate(b)
		}
	case propDecimal:
		return spellThousandths(v.num)
	case propBool:
		if v.num != 0 {
			return "yes"
		}
		return "no"
	case propTime:
		return v.text(durationUnits)
	case propPercent:
		return strconv.FormatInt(v.num, 10) + "%"
	case propSize:
		return fmt.Sprintf("%.1fMiB", float64(v.num)/(1<<20))
	case propList:
		return strings.ReplaceAll(v.text(durationUnits), ";", ",")
	case propPolicy:
		return strings.ReplaceAll(v.text(durationUnits), ";", ",")
	case propString, propNumber, propFlag, propSecret, propDSCP, propPrefix, propSources:
	}
	return v.text(durationUnits)
}

// printer lays out a list.
type printer struct {
	run   *run
	menu  *menu
	items []*item
	props []string
	ids   bool
}

// letters is an item's flag letters, one column for each group.
func (p *printer) letters(it *item) string {
	var b strings.Builder
	for _, group := range p.menu.flags {
		c := byte(' ')
		for _, l := range group {
			if it.vals[l.prop].num != 0 {
				c = l.c
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// wanted lists the properties of a key=value form, in print order.
func (p *printer) wanted(stats bool) []*prop {
	var out []*prop
	add := func(n string) {
		if pr := p.menu.prop(n); pr != nil && (p.props == nil || contains(p.props, n)) {
			out = append(out, pr)
		}
	}
	if stats {
		for _, n := range p.menu.stats {
			add(n)
		}
		return out
	}
	for i := range p.menu.props {
		if pr := &p.menu.props[i]; !pr.flag && !pr.stat && pr.name != "comment" {
			add(pr.name)
		}
	}
	return out
}

// pair is name=value with quotes where the console puts them; ok is false for a property that is not set.
func (p *printer) pair(pr *prop, it *item, stats bool) (text string, ok bool) {
	v, has := it.vals[pr.name]
	if !has || v.empty() && !pr.keep {
		return "", false
	}
	if pr.kind == propFlag {
		return pr.name, v.num != 0
	}
	s := p.run.shown(pr, v, stats && (p.menu.group || p.run.router.dialect.GroupDigits))
	if pr.quoted || s == "" || pr.kind == propString && !plain(s) {
		s = quote(s)
	}
	return pr.name + "=" + s, true
}

// plain says that a string needs no quotes in key=value output.
func plain(s string) bool {
	for i := range len(s) {
		if !isWord(s[i]) && strings.IndexByte("./:,*!", s[i]) < 0 {
			return false
		}
	}
	return true
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// figure says that the property's values stand to the right of their column.
func (p *prop) figure() bool {
	switch p.kind {
	case propNumber, propRate, propTime, propDecimal, propPercent, propSize:
		return true
	case propString, propBool, propList, propFlag, propSecret, propPolicy, propPair, propDSCP, propPrefix, propSources:
	}
	return false
}

// pairs is the form of print detail, and of print where a menu has no table: a number, flags, then key=value.
func (p *printer) pairs(stats bool) []string {
	var lines []string
	if p.menu.legend != legendNone {
		lines = append(lines, p.menu.legend)
	}
	props := p.wanted(stats)
	for i, it := range p.items {
		head := p.head(i, it)
		indent := strings.Repeat(" ", len(head))
		if c := it.text("comment"); c != "" {
			lines = append(lines, head+";;; "+c)
			head = indent
		}
		var b strings.Builder
		b.WriteString(head)
		for _, pr := range props {
			if s, ok := p.pair(pr, it, stats); ok {
				b.WriteString(s)
				b.WriteByte(' ')
			}
		}
		lines = append(lines, b.String())
		if i < len(p.items)-1 {
			lines = append(lines, "")
		}
	}
	return lines
}

func (p *printer) head(i int, it *item) string {
	n := strconv.Itoa(i)
	if p.ids {
		n = id(it.id).text(durationClock)
	}
	return fmt.Sprintf("%2s %s ", n, p.letters(it))
}

// terse is one line for each record, values without quotes.
func (p *printer) terse(stats bool) []string {
	var lines []string
	props := p.wanted(stats)
	for i, it := range p.items {
		var b strings.Builder
		b.WriteString(p.head(i, it))
		if c := it.text("comment"); c != "" {
			b.WriteString("comment=" + c + " ")
		}
		for _, pr := range props {
			if v, ok := it.vals[pr.name]; ok && (!v.empty() || pr.keep) {
				b.WriteString(pr.name + "=" + p.run.shown(pr, v, false) + " ")
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}

// table is columns under a header, padded with blanks to the end.
func (p *printer) table(stats bool) []string {
	names := p.menu.brief
	if stats {
		names = p.menu.stats
	}
	if p.props != nil {
		names = p.props
	}
	type column struct {
		prop  *prop
		title string
		width int
	}
	var cols []column
	for _, n := range names {
		if pr := p.menu.prop(n); pr != nil && !pr.flag {
			cols = append(cols, column{pr, strings.ToUpper(n), len(n)})
		}
	}
	cells := make([][]string, len(p.items))
	for i, it := range p.items {
		for j := range cols {
			s := p.run.shown(cols[j].prop, it.vals[cols[j].prop.name], stats)
			cells[i] = append(cells[i], s)
			cols[j].width = max(cols[j].width, utf8.RuneCountInString(s))
		}
	}
	titles := make([]string, len(cols))
	for j := range cols {
		titles[j] = cols[j].title
	}
	lines := []string{"Columns: " + strings.Join(titles, ", ")}
	if p.menu.legend != legendNone {
		lines = slices.Insert(lines, 0, p.menu.legend)
	}
	digits := len(strconv.Itoa(max(len(p.items)-1, 0)))
	row := func(head, flags string, cell func(int) string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%*s %-*s", digits, head, len(p.menu.flags), flags)
		for j := range cols {
			s := cell(j)
			pad := strings.Repeat(" ", cols[j].width-utf8.RuneCountInString(s))
			if !cols[j].prop.figure() {
				b.WriteString("  " + s + pad)
			} else {
				b.WriteString("  " + pad + s)
			}
		}
		return b.String()
	}
	lines = append(lines, row("#", "", func(j int) string { return titles[j] }))
	for i, it := range p.items {
		if c := it.text("comment"); c != "" {
			lines = append(lines, ";;; "+c)
		}
		lines = append(lines, row(strconv.Itoa(i), p.letters(it), func(j int) string { return cells[i][j] }))
	}
	return lines
}
