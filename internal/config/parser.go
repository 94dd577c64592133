package config

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"wanctl/internal/document"
)

// parser collects the values and findings of one file.
type parser struct {
	file   string
	opt    *Options
	kind   kind
	schema []key
	root   pos
	found  Diagnostics
	errors int // all of them, found or not kept
	more   int // findings not kept
	// given holds the place of every known key and section in the file, valid or not.
	given map[string]pos
	// values holds the values that passed their own checks.
	values map[string]value
	// order lists the given keys as the file does, for keys with patterns.
	order []string
	// broken holds the prefixes of sections that are none: what is missing in them is not worth a word.
	broken []string
}

// value is one checked value with its place.
type value struct {
	at     pos
	path   string // as the file has it, for messages about an alias
	text   string
	num    float64
	yes    bool
	list   []string
	secret Secret
}

// The keys that tell the kinds of file apart.
var (
	wanMarks      = []string{cm}
	steeringMarks = []string{"topology", "mangle_rule", "cake_state_sources"}
)

// detect tells the kind of file by its keys; a misspelt one counts where no other does.
func (p *parser) detect(entries []document.Entry, root *yaml.Node) (kind, bool) {
	has := func(marks []string, similar bool) string {
		for _, e := range entries {
			if slices.Contains(marks, e.Key) {
				return e.Key
			}
			if _, ok := document.Nearest(e.Key, marks); ok && similar {
				return e.Key
			}
		}
		return ""
	}
	at := document.At(root)
	w, s := has(wanMarks, false), has(steeringMarks, false)
	if w == "" && s == "" {
		// An earlier system's WAN files could have a measurement section, too: it counts last.
		w, s = has(wanMarks, true), has(append(steeringMarks, "measurement"), true)
	}
	switch {
	case w != "" && s != "":
		p.errorf(at, "", "write one file for each",
			"is a WAN config by %q and a steering config by %q", document.Printable(w, 40), document.Printable(s, 40))
	case w != "":
		return kindWAN, true
	case s != "":
		return kindSteering, true
	default:
		p.errorf(at, "", "see configs/minimal.yaml", "is neither a WAN config (no section %q) nor a steering config "+
			"(no section \"topology\", \"mangle_rule\" or \"measurement\")", cm)
	}
	return 0, false
}

// section checks the keys of one section, and of those below it.
func (p *parser) section(path string, entries []document.Entry) {
	var here []string
	for _, e := range entries {
		here = append(here, e.Key)
	}
	for _, e := range entries {
		child := join(path, e.Key)
		k, ok := lookup(p.schema, child)
		if !ok {
			meant := p.unknown(child, path, e)
			if meant == "" || slices.Contains(here, leaf(meant)) {
				continue
			}
			// Go on as if it were spelt right, so that one slip is one error.
			child = meant
			k, _ = lookup(p.schema, child)
		}
		switch {
		case k.ignored != "":
			p.warnf(e.At, child, "remove it", "is not used: %s", k.ignored)
		case k.typ == typeSection:
			p.given[child] = e.At
			n := document.Target(e.Val)
			switch {
			case n.Kind == yaml.MappingNode:
				p.section(child, yamlForm.Entries(n, child, p.tell))
			case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
				p.warnf(e.At, child, "indent its keys below it", "is an empty section")
			default:
				p.broken = append(p.broken, child+".")
				p.errorf(document.At(e.Val), child, "", "found %s, want a section of keys", document.Found(n))
			}
		default:
			p.given[child] = e.At
			p.order = append(p.order, child)
			p.scalar(k, child, e)
		}
	}
}

// unknown reports a key nobody has, with the one that was probably meant. It returns that one's path where it belongs
// in the same section, else "".
func (p *parser) unknown(path, section string, e document.Entry) string {
	if len(p.found) >= maxDiagnostics { // nobody will read what is suggested
		p.errorf(e.At, path, "", "unknown key")
		return ""
	}
	if _, ok := lookup(p.schema, join(section, "x")); ok && strings.Contains(e.Key, ".") { // a name of the user's own
		p.broken = append(p.broken, path+".")
		p.errorf(e.At, path, "call it otherwise, here and wherever it is named", "%q has a dot, which separates keys", e.Key)
		return ""
	}
	siblings := children(p.schema, section)
	s, ok := document.Nearest(e.Key, siblings)
	if i := slices.IndexFunc(siblings, func(s string) bool { return strings.HasPrefix(s, e.Key+"_") }); !ok && i >= 0 {
		s, ok = siblings[i], true
	}
	if ok {
		p.errorf(e.At, path, "did you mean "+strconv.Quote(s)+"?", "unknown key")
		return join(section, s)
	}
	if places := elsewhere(p.schema, e.Key); len(places) > 0 {
		p.errorf(e.At, path, "it belongs under "+strings.Join(parents(places), " or "), "unknown key here")
		return ""
	}
	var all []string
	for _, k := range p.schema {
		if !strings.Contains(k.path, "*") && k.ignored == "" {
			all = append(all, leaf(k.path))
		}
	}
	hint := "see docs/reference.yaml"
	if s, ok := document.Nearest(e.Key, all); ok {
		hint = "did you mean " + strings.Join(elsewhere(p.schema, s), " or ") + "?"
	} else if len(siblings) > 0 && len(siblings) <= 6 {
		hint = "known here: " + strings.Join(siblings, ", ")
	}
	p.errorf(e.At, path, hint, "unknown key")
	return ""
}

// parents names the sections of paths.
func parents(paths []string) []string {
	var out []string
	for _, s := range paths {
		s = parent(s)
		if s == "" {
			s = "no section"
		}
		out = append(out, s)
	}
	return out
}

// scalar checks one value by its row and keeps it when it is good.
func (p *parser) scalar(k key, path string, e document.Entry) {
	n := document.Target(e.Val)
	v := value{at: document.At(e.Val), path: path}
	wrong := func(hint string) {
		what := document.Found(n)
		if k.typ == typeSecret && n.Kind == yaml.ScalarNode {
			what = "no text"
		}
		want := k.typ.want()
		if k.unit != "" {
			want += " in " + k.unit
		}
		if k.typ == typeWord {
			want = "one of " + strings.Join(k.words, ", ")
		}
		p.errorf(v.at, path, hint, "found %s, want %s", what, want)
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		wrong("remove the key, or give it a value")
		return
	}
	if n.Kind != yaml.ScalarNode && k.typ != typeList {
		wrong("")
		return
	}
	ok := false
	switch k.typ {
	case typeSection:
	case typeNumber, typeInteger:
		ok = p.number(k, n, &v, wrong)
	case typeBool:
		v.yes, ok = boolean(n)
		if !ok {
			wrong("")
		}
	case typeWord:
		if v.text, ok = n.Value, slices.Contains(k.words, n.Value); !ok {
			hint := ""
			if w, near := document.Nearest(n.Value, k.words); near {
				hint = "did you mean " + strconv.Quote(w) + "?"
			}
			wrong(hint)
		}
	case typeSecret:
		ok = p.secret(path, n, &v, wrong)
	case typeText:
		if v.text, ok = textual(n); !ok {
			wrong("put it in quotes")
		} else if why, hint := k.form.check(v.text); why != "" {
			p.errorf(v.at, path, hint, "%s", why)
			ok = false
		} else if k.form == formPath && !strings.HasPrefix(v.text, "/") {
			p.warnf(v.at, path, "write the full path", "%q depends on the directory wanctl is started in", v.text)
		}
	case typeList:
		ok = p.list(k, path, n, &v, wrong)
	}
	if ok {
		p.values[path] = v
	}
}

// number reads a finite number within the row's bounds.
func (p *parser) number(k key, n *yaml.Node, v *value, wrong func(string)) bool {
	if t := n.ShortTag(); t != "!!int" && t != "!!float" {
		hint := ""
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil && t == "!!str" {
			hint = "remove the quotes"
		}
		wrong(hint)
		return false
	}
	if err := n.Decode(&v.num); err != nil {
		wrong("")
		return false
	}
	unit := ""
	if k.unit != "" {
		unit = " " + k.unit
	}
	switch {
	case math.IsNaN(v.num) || math.IsInf(v.num, 0):
		p.errorf(v.at, v.path, "", "%s is not a finite number", document.Printable(n.Value, 40))
	case k.typ == typeInteger && v.num != math.Trunc(v.num):
		wrong("")
	case !k.inside(v.num):
		p.errorf(v.at, v.path, "", "%s%s is outside %s", document.Printable(n.Value, 40), unit, k.bounds())
	case k.unit == "Mbit/s" && v.num != 0 && math.Round(v.num*1e6) == 0: // 0 itself is outside where a rate is meant
		p.errorf(v.at, v.path, "", "%s Mbit/s is less than one bit/s", document.Printable(n.Value, 40))
	default:
		return true
	}
	return false
}

// boolean reads true and false, and YAML 1.1's other words for them, as the earlier system's parser did.
func boolean(n *yaml.Node) (yes, ok bool) {
	if t := n.ShortTag(); (t != "!!bool" && t != "!!str") || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// textual reads a text; a date counts as one.
func textual(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		return "", false
	}
	t := n.ShortTag()
	return n.Value, t == "!!str" || t == "!!timestamp"
}

// secret reads where a secret comes from, and never prints what is there.
func (p *parser) secret(path string, n *yaml.Node, v *value, wrong func(string)) bool {
	s, ok := textual(n)
	if !ok {
		wrong("put it in quotes, or better write ${NAME} or file:/path")
		return false
	}
	var err error
	if v.secret, err = newSecret(s, p.opt); err != nil {
		p.errorf(v.at, path, "write ${NAME} or file:/path", "%v", err)
		return false
	}
	if v.secret.Literal() {
		if p.opt.Public {
			p.warnf(v.at, path, "write ${NAME} or file:/path, and a new secret; or close the file: chmod o-r", "the secret itself stands in the file, which every user of this host may read")
		} else {
			p.warnf(v.at, path, "write ${NAME} or file:/path", "the secret itself stands in the file")
		}
	}
	return true
}

// maxHosts bounds the reflectors of a line: they share 20 echoes a second.
const maxHosts = 16

// list reads a list of texts, all different.
func (p *parser) list(k key, path string, n *yaml.Node, v *value, wrong func(string)) bool {
	if n.Kind != yaml.SequenceNode {
		wrong("write it in brackets: [a, b]")
		return false
	}
	ok := true
	fail := func(c *yaml.Node, hint, format string, a ...any) {
		p.errorf(document.At(c), path, hint, format, a...)
		ok = false
	}
	for i, c := range n.Content {
		if i == maxHosts {
			fail(c, "", "has more than %d entries", maxHosts)
			break
		}
		s, isText := textual(document.Target(c))
		if !isText {
			fail(c, "put it in quotes", "found %s, want text", document.Found(document.Target(c)))
			continue
		}
		if why, hint := k.form.check(s); why != "" {
			fail(c, hint, "%s", why)
			continue
		}
		if slices.Contains(v.list, s) {
			fail(c, "remove one of them", "%q is given twice", s)
			continue
		}
		v.list = append(v.list, s)
	}
	if len(n.Content) == 0 {
		p.errorf(v.at, path, "", "is empty, want at least one entry")
		ok = false
	}
	return ok
}

// check returns what is wrong with a text of the form, and a way out; both are empty when nothing is.
func (f form) check(s string) (why, hint string) {
	if s == "" {
		return "is empty", "remove the key, or give it a value"
	}
	for _, c := range s {
		if c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0) {
			return "holds a control character", "remove it"
		}
	}
	if len(s) > 1024 {
		return "is longer than 1024 bytes", ""
	}
	switch f {
	case formAny, formPlain:
		if len(s) > 255 {
			return "is longer than 255 bytes", ""
		}
	case formName:
		return checkName(s)
	case formHost:
		return checkHost(s)
	case formServer:
		return checkServer(s)
	case formAddr:
		if a, err := netip.ParseAddr(s); err != nil || a.IsUnspecified() {
			return strconv.Quote(document.Printable(s, 60)) + " is not the address of an interface", "for example 192.168.1.2"
		}
	case formPath:
		if strings.HasPrefix(s, "~") {
			return strconv.Quote(document.Printable(s, 60)) + " begins with ~, which only a shell knows", "write the full path"
		}
	case formIface:
		if len(s) > 15 || strings.ContainsAny(s, "/ \t") || s == "." || s == ".." {
			return strconv.Quote(document.Printable(s, 60)) + " is not an interface name", "at most 15 characters, no blank, no /"
		}
	}
	return "", ""
}

// plain reports whether c is an ASCII letter or digit.
func plain(c rune) bool {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
}

func checkName(s string) (why, hint string) {
	if len(s) > 64 {
		return "has more than 64 characters", ""
	}
	for _, c := range s {
		if !plain(c) && !strings.ContainsRune("_.-", c) {
			return strconv.Quote(s) + " holds " + strconv.QuoteRune(c), "letters, digits, _ . and - are allowed"
		}
	}
	if strings.Trim(s, ".") == "" {
		return strconv.Quote(s) + " is no name", "letters, digits, _ . and - are allowed"
	}
	return "", ""
}

func checkHost(s string) (why, hint string) {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return "", ""
	}
	q := strconv.Quote(document.Printable(s, 60))
	if host, port, ok := strings.Cut(s, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil && host != "" {
			return q + " holds a port", "write the host alone"
		}
		return q + " is not a host", "write a name or an address, no URL"
	}
	for _, part := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if part == "" || len(part) > 63 || part[0] == '-' {
			return q + " is not a host", "write a name or an address"
		}
		for _, c := range part {
			if !plain(c) && c != '-' && c != '_' {
				return q + " is not a host", "write a name or an address"
			}
		}
	}
	if last := s[strings.LastIndexByte(strings.TrimSuffix(s, "."), '.')+1:]; len(s) > 253 || strings.Trim(last, "0123456789.") == "" {
		return q + " is not a host", "an IPv4 address has four numbers up to 255"
	}
	return "", ""
}

// aliases moves the values of other names to the keys they stand for.
func (p *parser) aliases() {
	for _, k := range p.schema {
		if k.alias == "" {
			continue
		}
		at, here := p.given[k.path]
		if !here {
			continue
		}
		_, there := p.given[k.alias]
		a, okA := p.values[k.path]
		b, okB := p.values[k.alias]
		switch {
		case there && k.strict:
			p.errorf(at, k.path, "keep one of them", "is another name of %s, and both are given", k.alias)
		case there && okA && okB && (a.text != b.text || a.num != b.num):
			p.errorf(a.at, k.path, "keep one of them", "is another name of %s, which has another value", k.alias)
		case !there:
			p.given[k.alias] = at
			if okA {
				p.values[k.alias] = a
			}
		}
	}
}

// has reports whether the file gives the key, with a good value or not.
func (p *parser) has(path string) bool {
	_, ok := p.given[path]
	return ok
}

// ok reports whether all keys may be used in further checks: none is given with a bad value, and those without a
// default are given.
func (p *parser) ok(paths ...string) bool {
	for _, path := range paths {
		_, good := p.values[path]
		if good {
			continue
		}
		k, _ := lookup(p.schema, path)
		if p.has(path) || k.def == "" {
			return false
		}
	}
	return true
}

// at returns the place of a key's value, else that of the nearest section around it.
func (p *parser) at(path string) pos {
	if v, ok := p.values[path]; ok {
		return v.at
	}
	for ; path != ""; path = parent(path) {
		if at, ok := p.given[path]; ok {
			return at
		}
	}
	return p.root
}

// name returns the path the file gives a key's value by: that of an alias, if it used one.
func (p *parser) name(path string) string {
	if v, ok := p.values[path]; ok {
		return v.path
	}
	return path
}

// def returns the row's default.
func (p *parser) def(path string) string {
	k, _ := lookup(p.schema, path)
	return k.def
}

// num returns a number: the file's, else the default, else 0.
func (p *parser) num(path string) float64 {
	if v, ok := p.values[path]; ok {
		return v.num
	}
	f, err := strconv.ParseFloat(p.def(path), 64)
	if err != nil {
		return 0
	}
	return f
}

// text returns a text: the file's, else the default, else "".
func (p *parser) text(path string) string {
	if v, ok := p.values[path]; ok {
		return v.text
	}
	return p.def(path)
}

// flag returns a boolean: the file's, else the default.
func (p *parser) flag(path string) bool {
	if v, ok := p.values[path]; ok {
		return v.yes
	}
	return p.def(path) == "true"
}

// addr returns an address that was checked, else the zero address.
func (p *parser) addr(path string) netip.Addr {
	a, err := netip.ParseAddr(p.text(path))
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// lost reports whether a key's section is in the file, but is no section.
func (p *parser) lost(path string) bool {
	return slices.ContainsFunc(p.broken, func(s string) bool { return strings.HasPrefix(path, s) })
}

// require reports keys that are missing, at the section they should be in.
func (p *parser) require(paths ...string) {
	for _, path := range paths {
		if !p.has(path) && !p.lost(path) {
			p.errorf(p.at(parent(path)), path, "", "is required")
		}
	}
}
