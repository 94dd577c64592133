// Package document reads a YAML file into nodes: whatever is wrong with it is told with its place and a way out, and no
// file can be too large, too deep or unfold too far.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxDepth bounds the nesting of a file; the deepest key of any lies five levels down.
	maxDepth = 32
	// maxNodes bounds what a file's aliases may unfold to, in values.
	maxNodes = 50_000
)

// Pos is a place in the file. Both count from 1, columns in characters; the zero Pos is no place.
type Pos struct{ Line, Column int }

// At is a node's place.
func At(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

// Report takes one thing that is wrong. key is a path; it and hint may be empty.
type Report func(at Pos, key, hint, message string)

// Form is what files of one kind are like.
type Form struct {
	// Name is what such a file is called, in messages.
	Name string
	// MaxSize is the most bytes that it may have. A larger one is refused without being read to its end.
	MaxSize int64
	// TooLarge and Empty are the ways out of such files.
	TooLarge, Empty string
	// Merge lets a section take over keys of another (<<).
	Merge bool
	// Secret keeps the file's text out of messages about its syntax: it could be a part of a secret.
	Secret bool
}

// Root reads the text and returns its root section, or nil when there is none: report knows why.
func (f Form) Root(r io.Reader, report Report) *yaml.Node {
	text, err := io.ReadAll(io.LimitReader(r, f.MaxSize+1))
	switch {
	case err != nil:
		report(Pos{}, "", "", fmt.Sprintf("cannot be read: %v", err))
		return nil
	case int64(len(text)) > f.MaxSize:
		report(Pos{}, "", f.TooLarge, fmt.Sprintf("is larger than %d KiB, no %s is", f.MaxSize>>10, f.Name))
		return nil
	case !characters(text, report):
		return nil
	}
	doc := f.parse(text, report)
	if doc == nil {
		return nil
	}
	if len(doc.Content) == 0 || Nothing(doc.Content[0]) {
		report(Pos{1, 1}, "", f.Empty, "the file is empty")
		return nil
	}
	root := Target(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		report(At(root), "", "", fmt.Sprintf("found %s, want a section of \"key: value\" lines", Found(root)))
		return nil
	}
	if bomb(root, report) {
		return nil
	}
	return root
}

// characters checks the encoding and refuses control characters, with their places.
func characters(text []byte, report Report) bool {
	at := Pos{1, 1}
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			report(at, "", "save the file as UTF-8", fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]))
			return false
		}
		if (c < ' ' && c != '\n' && c != '\r' && c != '\t') || c == 0x7f {
			report(at, "", "remove it", fmt.Sprintf("control character 0x%02x", c))
			return false
		}
		i += n
		at.Column++
		if c == '\n' {
			at = Pos{at.Line + 1, 1}
		}
	}
	return true
}

// parse reads the only document of the text.
func (f Form) parse(text []byte, report Report) *yaml.Node {
	l, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithUniqueKeys(false),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		f.syntax(err, report)
		return nil
	}
	var doc, second yaml.Node
	if err := l.Load(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.DocumentNode, Line: 1, Column: 1}
	} else if err != nil {
		f.syntax(err, report)
		return nil
	}
	if err := l.Load(&second); err == nil {
		report(At(&second), "", "write one file per "+f.Name+", without a second ---", "a second document starts here")
		return nil
	} else if !errors.Is(err, io.EOF) {
		f.syntax(err, report)
		return nil
	}
	return &doc
}

// syntax translates the parser's error.
func (f Form) syntax(err error, report Report) {
	const unreadable = "cannot be read as YAML"
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		msg := unreadable
		if !f.Secret {
			msg += ": " + Printable(err.Error(), 200)
		}
		report(Pos{}, "", "", msg)
		return
	}
	msg, hint := le.Message, ""
	switch {
	case strings.Contains(msg, "unknown anchor"):
		msg, hint = "an alias (*name) refers to an anchor that does not exist", "quote the value if the * belongs to it"
	case strings.Contains(msg, "tab character"), strings.Contains(msg, "cannot start any token"):
		hint = "indent with spaces, not tabs, and quote values that start with a special character"
	case strings.Contains(msg, "mapping values are not allowed"):
		hint = "quote a value that holds \": \", and check the indentation of this line and the one above"
	case strings.Contains(msg, "did not find expected"), strings.Contains(msg, "could not find expected"):
		hint = "check the indentation of this line and the one above, and that every quote and bracket is closed"
	case strings.Contains(msg, "max depth"):
		msg = fmt.Sprintf("is nested deeper than %d levels", maxDepth)
	case f.Secret && strings.ContainsAny(msg, "'\"`") && !strings.Contains(msg, "','"):
		msg = unreadable
	}
	if le.ContextMsg != "" {
		msg = le.ContextMsg + ": " + msg
	}
	report(Pos{le.Mark.Line, le.Mark.Column}, "", hint, "not valid YAML: "+Printable(msg, 200))
}

// bomb refuses a tree whose aliases unfold to more than maxNodes values, or into themselves.
func bomb(root *yaml.Node, report Report) bool {
	const open = -1
	sizes := map[*yaml.Node]int{}
	at := At(root)
	var size func(n *yaml.Node) int
	size = func(n *yaml.Node) int {
		if n.Kind == yaml.AliasNode {
			if at == At(root) {
				at = At(n) // the first one
			}
			n = n.Alias
		}
		switch s, ok := sizes[n]; {
		case ok && s == open:
			return maxNodes + 1
		case ok:
			return s
		}
		sizes[n] = open
		sum := 1
		for _, c := range n.Content {
			sum = min(sum+size(c), maxNodes+1)
		}
		sizes[n] = sum
		return sum
	}
	if size(root) <= maxNodes {
		return false
	}
	report(at, "", "write the values out", fmt.Sprintf("unfolds to more than %d values through its aliases", maxNodes))
	return true
}

// Target follows an alias to what it stands for.
func Target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// Nothing reports an empty value.
func Nothing(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Entry is one "key: value" of a section.
type Entry struct {
	Key string
	At  Pos
	Val *yaml.Node
}

// Entries lists the keys of the section at path, those that come in through a merge last. Duplicates, and keys that are
// no plain word, are reported and left out.
func (f Form) Entries(n *yaml.Node, path string, report Report) []Entry {
	var out []Entry
	seen := map[string]Pos{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := Target(n.Content[i]), n.Content[i+1]
		at := At(n.Content[i])
		switch {
		case k.Kind != yaml.ScalarNode:
			report(at, path, "", fmt.Sprintf("found %s as a key, want a plain word", Found(k)))
		case k.ShortTag() == "!!merge" && f.Merge:
			merges = append(merges, v)
		case k.ShortTag() == "!!merge":
			report(at, Join(path, "<<"), "write the keys out, or give the whole section an alias", "sections are not merged here")
		default:
			if first, ok := seen[k.Value]; ok {
				report(at, Join(path, k.Value), "keep one of them", fmt.Sprintf("is given twice, first in line %d", first.Line))
				continue
			}
			seen[k.Value] = at
			out = append(out, Entry{k.Value, at, v})
		}
	}
	for _, m := range merges {
		for _, e := range f.merged(m, path, report) {
			if _, ok := seen[e.Key]; !ok {
				seen[e.Key] = e.At
				out = append(out, e)
			}
		}
	}
	return out
}

// merged lists the keys of what a << stands for: a section, or a list of sections of which the first wins.
func (f Form) merged(m *yaml.Node, path string, report Report) []Entry {
	wrong := func(n *yaml.Node) {
		report(At(n), Join(path, "<<"), "", fmt.Sprintf("found %s, want a section to merge", Found(Target(n))))
	}
	t := Target(m)
	switch t.Kind {
	case yaml.MappingNode:
		return f.Entries(t, path, report)
	case yaml.SequenceNode:
		var out []Entry
		for _, c := range t.Content {
			if s := Target(c); s.Kind == yaml.MappingNode {
				out = append(out, f.Entries(s, path, report)...)
				continue
			}
			wrong(c)
		}
		return out
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode, yaml.StreamNode:
	}
	wrong(m)
	return nil
}

// Join appends a key to a dotted path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Found names what a value is, for messages.
func Found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "the number " + Printable(n.Value, 40)
		case "!!bool":
			return Printable(n.Value, 40)
		case "!!str":
			return `the text "` + Printable(n.Value, 40) + `"`
		case "!!timestamp":
			return "the date " + Printable(n.Value, 40)
		}
		return "a value with a tag"
	case yaml.DocumentNode, yaml.AliasNode, yaml.StreamNode:
	}
	return "something else"
}

// Printable shortens s to n characters and replaces what a terminal should not see.
func Printable(s string, n int) string {
	var b strings.Builder
	for _, c := range s {
		if n--; n < 0 {
			return b.String() + "…"
		}
		if !unicode.IsPrint(c) {
			c = '?'
		}
		b.WriteRune(c)
	}
	return b.String()
}
