package scenario

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"wanctl/internal/document"
)

// parser collects the findings of one file.
type parser struct {
	file  string
	opt   Options
	found Diagnostics
	more  int // findings not kept
	// phaseAt holds where each phase stands.
	phaseAt map[string]pos
	// steps counts those of all capacities.
	steps int
}

// section is a section of the file with the values that passed their own checks.
type section struct {
	path, pattern string
	at            pos
	vals          map[string]value
	// given holds the place of every known key, good or not.
	given map[string]pos
}

// value is one checked value with its place.
type value struct {
	at   pos
	num  float64 // numbers, bytes
	dur  time.Duration
	text string
	yes  bool
	sec  *section
	list []*section
	// spans are the phases.
	spans []Phase
}

// section checks the keys of one section, and of those below it.
func (p *parser) section(path, pattern string, n *yaml.Node) *section {
	s := &section{path: path, pattern: pattern, at: document.At(n), vals: map[string]value{}, given: map[string]pos{}}
	entries := yamlForm.Entries(n, path, p.tell)
	for _, e := range entries {
		k, ok := row(pattern, e.Key)
		name := e.Key
		if !ok {
			meant := p.unknown(path, pattern, e)
			if meant == "" || slices.ContainsFunc(entries, func(e document.Entry) bool { return e.Key == meant }) {
				continue
			}
			// Go on as if it were spelt right, so that one slip is one finding.
			name = meant
			k, _ = row(pattern, name)
		}
		s.given[name] = e.At
		if v, ok := p.value(k, join(path, name), e.Val); ok {
			s.vals[name] = v
		}
	}
	return s
}

// unknown reports a key that nothing has, with the one that was probably meant. It returns that one where it belongs
// into the same section, else "".
func (p *parser) unknown(path, pattern string, e document.Entry) string {
	siblings := children(pattern)
	if s, ok := document.Nearest(e.Key, siblings); ok {
		p.errorf(e.At, join(path, e.Key), "did you mean "+strconv.Quote(s)+"?", "unknown key")
		return s
	}
	hint := "known here: " + strings.Join(siblings, ", ")
	if places := elsewhere(e.Key); len(places) > 0 {
		hint = "it belongs under " + strings.Join(places, " or ")
	}
	p.errorf(e.At, join(path, e.Key), hint, "unknown key")
	return ""
}

// value checks one value by its row.
func (p *parser) value(k *key, path string, raw *yaml.Node) (value, bool) {
	n := document.Target(raw)
	v := value{at: document.At(raw)}
	before := len(p.found) + p.more
	wrong := func(hint string) {
		want := k.typ.want()
		switch {
		case k.typ == typeWord:
			want = "one of " + strings.Join(k.words, ", ")
		case k.unit != "":
			want += " in " + k.unit
		}
		p.errorf(v.at, path, hint, "found %s, want %s", document.Found(n), want)
	}
	switch {
	case document.Nothing(n):
		wrong("remove the key, or give it a value")
	case k.typ == typeList:
		if n.Kind != yaml.SequenceNode {
			wrong("begin each entry with \"- \"")
			break
		}
		v.list = p.list(k, path, n)
	case k.typ == typeSpans:
		if n.Kind != yaml.MappingNode {
			wrong("")
			break
		}
		v.spans = p.spans(k, path, n)
	case k.typ == typeSection || (k.typ == typeCapacity && n.Kind != yaml.ScalarNode):
		if n.Kind != yaml.MappingNode {
			wrong("")
			break
		}
		v.sec = p.section(path, k.path, n)
	case n.Kind != yaml.ScalarNode:
		wrong("")
	case k.typ == typeCapacity:
		// A bare number is the section's mbps.
		inner, _ := row(k.path, "mbps")
		num, ok := p.value(inner, path, raw)
		if ok {
			v.sec = &section{
				path: path, pattern: k.path, at: v.at,
				vals: map[string]value{"mbps": num}, given: map[string]pos{"mbps": v.at},
			}
		}
	default:
		p.scalar(k, path, n, &v, wrong)
	}
	// A section with a bad key still has good ones, which are worth a look.
	return v, v.sec != nil || v.list != nil || v.spans != nil || len(p.found)+p.more == before
}

// scalar reads a value that is no section and no list.
func (p *parser) scalar(k *key, path string, n *yaml.Node, v *value, wrong func(hint string)) {
	tag := n.ShortTag()
	outside := func(got string) {
		p.errorf(v.at, path, "", "%s is outside %s", got, k.bounds())
	}
	inside := func(f float64) bool { return f >= k.min && f <= k.max }
	switch k.typ {
	case typeNumber, typeInteger:
		if tag != "!!int" && tag != "!!float" {
			hint := ""
			if _, err := strconv.ParseFloat(n.Value, 64); err == nil && tag == "!!str" {
				hint = "remove the quotes"
			}
			wrong(hint)
			return
		}
		if err := n.Decode(&v.num); err != nil {
			wrong("")
			return
		}
		switch {
		case math.IsNaN(v.num) || math.IsInf(v.num, 0):
			p.errorf(v.at, path, "", "%s is not a finite number", document.Printable(n.Value, 40))
		case k.typ == typeInteger && v.num != math.Trunc(v.num):
			wrong("")
		case !inside(v.num):
			outside(strings.TrimSpace(document.Printable(n.Value, 40) + " " + k.unit))
		}
	case typeBool:
		if tag != "!!bool" || n.Decode(&v.yes) != nil {
			wrong("")
		}
	case typeDuration:
		d, err := duration(n)
		switch {
		case err != nil && (tag == "!!int" || tag == "!!float"):
			wrong("with its unit: " + document.Printable(n.Value, 20) + "s or " + document.Printable(n.Value, 20) + "ms")
		case err != nil:
			wrong("")
		case d < 0:
			p.errorf(v.at, path, "times count from the start", "%s is negative", short(d))
		case !inside(d.Seconds()):
			outside(short(d))
		}
		v.dur = d
	case typeSize:
		f, ok := size(n.Value)
		switch {
		case !ok:
			wrong("")
		case !inside(f):
			outside(document.Printable(n.Value, 40))
		}
		v.num = math.Round(f)
	case typeWord:
		if v.text = n.Value; !slices.Contains(k.words, v.text) {
			hint := ""
			if w, near := document.Nearest(v.text, k.words); near {
				hint = "did you mean " + strconv.Quote(w) + "?"
			}
			wrong(hint)
		}
	case typeName:
		v.text = n.Value
		if !nameForm.MatchString(v.text) {
			p.errorf(v.at, path, "at most 32 letters, digits, _ . and -", "%q is not a name", document.Printable(v.text, 40))
		}
	case typeText:
		v.text = n.Value
		switch {
		case tag != "!!str" && tag != "!!timestamp":
			wrong("put it in quotes")
		case v.text == "":
			p.errorf(v.at, path, "remove the key, or give it a value", "is empty")
		case len(v.text) > 500:
			p.errorf(v.at, path, "", "is longer than 500 bytes")
		case strings.ContainsFunc(v.text, func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' }):
			p.errorf(v.at, path, "remove it", "holds a character that cannot be printed")
		}
	case typeSection, typeList, typeCapacity, typeSpans:
	}
}

// nameForm is what links and phases may be called: the names become parts of file and interface names.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)

// duration reads 20s, 400ms, 1m30s and 0.
func duration(n *yaml.Node) (time.Duration, error) {
	if n.Kind != yaml.ScalarNode {
		return 0, fmt.Errorf("not a time")
	}
	return time.ParseDuration(n.Value)
}

// sizeForm is a number with B, kB or MB.
var sizeForm = regexp.MustCompile(`^([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(B|kB|MB)$`)

// size reads 160B, 200kB, 2.5MB in bytes; k and M are 1000 and 1000000.
func size(s string) (float64, bool) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, false
	}
	return f * map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6}[m[2]], true
}

// list checks a list of sections.
func (p *parser) list(k *key, path string, n *yaml.Node) []*section {
	if c := float64(len(n.Content)); c < k.min || c > k.max {
		p.errorf(document.At(n), path, "", "has %d entries, want %s", len(n.Content), k.bounds())
		return nil
	}
	out := []*section{}
	for i, c := range n.Content {
		t := document.Target(c)
		if t.Kind != yaml.MappingNode {
			p.errorf(document.At(c), fmt.Sprintf("%s[%d]", path, i), "known here: "+strings.Join(children(k.path), ", "),
				"found %s, want %s", document.Found(t), typeSection.want())
			continue
		}
		out = append(out, p.section(fmt.Sprintf("%s[%d]", path, i), k.path, t))
	}
	return out
}

// spans checks the phases.
func (p *parser) spans(k *key, path string, n *yaml.Node) []Phase {
	entries := yamlForm.Entries(n, path, p.tell)
	if float64(len(entries)) > k.max {
		p.errorf(document.At(n), path, "", "has %d entries, want %s", len(entries), k.bounds())
		return nil
	}
	out := []Phase{}
	for _, e := range entries {
		name := join(path, e.Key)
		t := document.Target(e.Val)
		here := document.At(e.Val)
		if !nameForm.MatchString(e.Key) {
			p.errorf(e.At, name, "at most 32 letters, digits, _ . and -", "%q is not a name", document.Printable(e.Key, 40))
			continue
		}
		// A dash of any length separates: people write both.
		from, to, ok := strings.Cut(strings.ReplaceAll(t.Value, "–", "-"), "-")
		a, errA := time.ParseDuration(strings.TrimSpace(from))
		b, errB := time.ParseDuration(strings.TrimSpace(to))
		switch {
		case t.Kind != yaml.ScalarNode || !ok || errA != nil || errB != nil:
			p.errorf(here, name, "", "found %s, want a span such as 20s-40s", document.Found(t))
		case a < 0 || b <= a:
			p.errorf(here, name, "write the earlier time first", "ends at %s, which is not after its start at %s", short(b), short(a))
		default:
			out = append(out, Phase{Name: e.Key, From: a, To: b})
			p.phaseAt[e.Key] = here
		}
	}
	return out
}

// has reports whether the file gives the key with a good value.
func (s *section) has(name string) bool { _, ok := s.vals[name]; return ok }

// mentions reports whether the file gives the key, with a good value or not.
func (s *section) mentions(name string) bool { _, ok := s.given[name]; return ok }

// bad reports whether the file gives the key with a bad value: nothing should be concluded from its default.
func (s *section) bad(name string) bool { return s.mentions(name) && !s.has(name) }

// place is where a key's value stands, else the section.
func (s *section) place(name string) pos {
	if v, ok := s.vals[name]; ok {
		return v.at
	}
	if at, ok := s.given[name]; ok {
		return at
	}
	return s.at
}

// def is the row's default as a file would write it.
func (s *section) def(name string) string {
	k, _ := row(s.pattern, name)
	return k.def
}

// dur returns a time: the file's, else the row's default, else 0.
func (s *section) dur(name string) time.Duration {
	if v, ok := s.vals[name]; ok {
		return v.dur
	}
	d, err := time.ParseDuration(s.def(name))
	if err != nil {
		return 0
	}
	return d
}

// durOr returns a time whose default the row cannot know.
func (s *section) durOr(name string, def time.Duration) time.Duration {
	if s.has(name) {
		return s.dur(name)
	}
	return def
}

// num returns a number: the file's, else the row's default, else 0.
func (s *section) num(name string) float64 {
	if v, ok := s.vals[name]; ok {
		return v.num
	}
	f, err := strconv.ParseFloat(s.def(name), 64)
	if err != nil {
		return 0
	}
	return f
}

// text returns a text: the file's, else the row's default.
func (s *section) text(name string) string {
	if v, ok := s.vals[name]; ok {
		return v.text
	}
	return s.def(name)
}

// flag returns a boolean: the file's, else the row's default.
func (s *section) flag(name string) bool {
	if v, ok := s.vals[name]; ok {
		return v.yes
	}
	return s.def(name) == "true"
}

// sections returns a list's entries.
func (s *section) sections(name string) []*section { return s.vals[name].list }

// require reports keys that are missing, and returns whether all are there and good.
func (p *parser) require(s *section, names ...string) bool {
	ok := true
	for _, name := range names {
		if !s.mentions(name) {
			p.errorf(s.at, join(s.path, name), "", "is required")
		}
		ok = ok && s.has(name)
	}
	return ok
}
