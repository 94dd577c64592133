package rosim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The bounds of an import.
const (
	maxImport      = 8 << 20
	maxImportLines = 100_000
)

// byImport marks what an import set.
const byImport = "import"

// spot is where a part of a logical line stands in the file: from byte from of the logical line on, at a line and a column
// counted from 1.
type spot struct{ from, line, col int }

// logical is a line with its continuations put together.
type logical struct {
	text  string
	spots []spot
}

// place is where a byte of the logical line stands in the file.
func (l *logical) place(at int) (line, col int) {
	s := l.spots[0]
	for _, x := range l.spots {
		if x.from <= at {
			s = x
		}
	}
	return s.line, s.col + at - s.from
}

// readLogical puts continued lines together: a backslash at a line's end goes on with the next line, whose leading blanks
// do not count.
func readLogical(src io.Reader, each func(*logical) error) error {
	sc := bufio.NewScanner(io.LimitReader(src, maxImport+1))
	sc.Buffer(nil, maxLine+2)
	size, n := 0, 0
	var cur *logical
	for sc.Scan() {
		n++
		if size += len(sc.Bytes()) + 1; size > maxImport || n > maxImportLines {
			return &placed{n, 1, "the file is too long"}
		}
		text := strings.TrimSuffix(sc.Text(), "\r")
		col := 1
		if cur == nil {
			cur = &logical{}
		} else {
			trimmed := strings.TrimLeft(text, " \t")
			col += len(text) - len(trimmed)
			text = trimmed
		}
		more := (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
		if more {
			text = text[:len(text)-1]
		}
		cur.spots = append(cur.spots, spot{len(cur.text), n, col})
		if cur.text += text; len(cur.text) > maxLine {
			return &placed{n, 1, "the line is too long"}
		}
		if more {
			continue
		}
		if err := each(cur); err != nil {
			return err
		}
		cur = nil
	}
	if err := sc.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return &placed{n + 1, 1, "the line is too long"}
		}
		return err
	}
	if cur != nil {
		return &placed{n, cur.spots[len(cur.spots)-1].col, "the file ends in the middle of a line"}
	}
	return nil
}

// placed is an error with its place in the file.
type placed struct {
	line, col int
	text      string
}

func (p *placed) Error() string { return fmt.Sprintf("%d:%d: %s", p.line, p.col, p.text) }

// importing is an import on its way.
type importing struct {
	router  *Router
	cur     *menu
	skipped string // the section that is not emulated, "" in one that is
	notes   []string
}

// Import carries out a file of console lines as /export prints them: sections such as /queue tree, add and set lines,
// continuations, remarks. name is the file's, for errors: they are of the form "router.rsc:12:7: …", and nothing after
// the faulty line is carried out. Sections of menus that are not emulated are left out; notes says which, a line for each.
// Interfaces that such sections make or rename are there afterwards.
func (r *Router) Import(name string, src io.Reader) (notes []string, err error) {
	in := &importing{router: r, cur: r.root}
	if err := readLogical(src, in.line); err != nil {
		return in.notes, fmt.Errorf("%s:%w", name, err)
	}
	for i, n := range in.notes {
		in.notes[i] = name + ":" + n
	}
	return in.notes, nil
}

func (in *importing) line(l *logical) error {
	text := strings.TrimSpace(l.text)
	if text == "" || text[0] == '#' {
		return nil
	}
	if text[0] == '/' {
		in.skipped = ""
		if section, rest, ok := in.unknownSection(text); ok {
			in.skipped = section
			if line, col := l.place(0); !slices.ContainsFunc(in.notes, func(n string) bool { return strings.HasSuffix(n, " "+section+" is not emulated") }) {
				in.notes = append(in.notes, fmt.Sprintf("%d:%d: %s is not emulated", line, col, section))
			}
			return in.absorb(rest)
		}
	}
	if in.skipped != "" {
		return in.absorb(text)
	}
	b, cur, err := parseIn(in.router.root, in.cur, l.text, in.router.version)
	if err == nil {
		in.cur = cur
		run := &run{router: in.router, ctx: context.Background(), user: byImport, may: ^policySet(0)}
		_, err = run.line(b)
	}
	if err == nil {
		return nil
	}
	at := len(l.text) - len(strings.TrimLeft(l.text, " \t"))
	p := &placed{text: err.Error()}
	var where *problem
	if errors.As(err, &where) && where.placed {
		at, p.text = where.col, where.text
	}
	p.line, p.col = l.place(at)
	return p
}

// verbs are the commands that lines of an export begin with.
var verbs = []string{"add", "set", "remove", "enable", "disable", "move", "print", "unset", "comment"}

// unknownSection says whether a line goes to a menu that is not emulated; rest is what follows the menu.
func (in *importing) unknownSection(text string) (section, rest string, ok bool) {
	m := in.router.root
	words := strings.FieldsFunc(strings.SplitN(text, "=", 2)[0], func(c rune) bool { return c == ' ' || c == '/' || c == '\t' })
	for i, w := range words {
		if s := m.sub(w); s != nil {
			m = s
			continue
		}
		if slices.Contains(verbs, w) || m.cmd(w) != nil || strings.ContainsAny(w, `["`) {
			return "", "", false
		}
		// A word that is neither menu nor command: a menu of its own when a verb follows it, or nothing does.
		for j := i + 1; j <= len(words); j++ {
			if j == len(words) || slices.Contains(verbs, words[j]) || strings.ContainsAny(words[j], `["`) {
				if j == len(words) && strings.Contains(text, "=") {
					return "", "", false
				}
				section = "/" + strings.Join(words[:j], "/")
				if j < len(words) {
					rest = text[strings.Index(text, words[j]):]
				}
				return section, rest, true
			}
		}
	}
	return "", "", false
}

// absorb takes from a line of a section that is not emulated what others refer to: the interface that it makes or
// renames.
func (in *importing) absorb(text string) error {
	kind, ok := strings.CutPrefix(in.skipped, interfacePath+"/")
	if !ok || strings.Contains(kind, "/") {
		return nil
	}
	vals := map[string]string{}
	for _, a := range arguments(text) {
		if inner, ok := strings.CutPrefix(a, "["); ok {
			for w := range strings.FieldsSeq(strings.TrimSuffix(inner, "]")) {
				if n, ok := strings.CutPrefix(w, "default-name="); ok && plain(unquoted(n)) {
					vals["default-name"] = unquoted(n) // the name of a port, which no one chooses
				}
			}
			continue
		}
		if n, v, ok := strings.Cut(a, "="); ok {
			vals[n] = unquoted(v)
		}
	}
	if kind == "ethernet" && vals["default-name"] == "" {
		return nil // ports are there or are not
	}
	r := in.router
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.interfaces()
	var it *item
	for _, x := range m.items {
		if vals["default-name"] != "" && x.text("default-name") == vals["default-name"] {
			it = x
		}
	}
	if it == nil {
		if vals["name"] == "" && vals["default-name"] == "" || named(m, vals["name"]) != nil || len(m.items) >= m.room() {
			return nil
		}
		if kind == "ethernet" {
			kind = "ether"
		}
		it = r.addInterface(Interface{Name: vals["name"], Type: kind})
		if vals["default-name"] != "" {
			it.vals["default-name"] = str(vals["default-name"])
			if vals["name"] == "" {
				it.vals["name"] = it.vals["default-name"]
			}
		}
	}
	for _, n := range []string{"name", "comment", "disabled", "mtu", "l2mtu"} {
		if s, given := vals[n]; given && s != "" {
			if v, err := m.prop(n).read(str(s)); err == nil {
				if n == "name" {
					r.renamed(m, it.text("name"), v)
				}
				it.vals[n] = v
			}
		}
	}
	return nil
}

// unquoted is an argument's value without its quotes.
func unquoted(v string) string {
	p := &parser{src: v}
	if p.peek() != '"' {
		return v
	}
	if e, err := p.quoted(); err == nil {
		if l, ok := e.(*literalExpr); ok {
			return l.val.str
		}
	}
	return ""
}
