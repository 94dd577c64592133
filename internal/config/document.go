package config

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
	// maxDepth bounds the nesting of a file; the deepest key lies four levels down.
	maxDepth = 32
	// maxNodes bounds what a file's aliases may unfold to, in values.
	maxNodes = 50_000
)

// load reads the text and returns the root section, or nil when there is none.
func (p *parser) load(r io.Reader) *yaml.Node {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	switch {
	case err != nil:
		p.errorf(pos{}, "", "", "cannot be read: %v", err)
		return nil
	case len(text) > MaxSize:
		p.errorf(pos{}, "", "is it the right file?", "is larger than %d KiB, no config is", MaxSize>>10)
		return nil
	case !p.characters(text):
		return nil
	}
	doc := p.document(text)
	if doc == nil {
		return nil
	}
	if len(doc.Content) == 0 || (doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].ShortTag() == "!!null") {
		p.errorf(pos{1, 1}, "", "start from configs/minimal.yaml", "the file is empty")
		return nil
	}
	root := target(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		p.errorf(pos{root.Line, root.Column}, "", "", "found %s, want a section of \"key: value\" lines", found(root))
		return nil
	}
	if p.bomb(root) {
		return nil
	}
	return root
}

// characters checks the encoding and refuses control characters, with their places.
func (p *parser) characters(text []byte) bool {
	at := pos{1, 1}
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			p.errorf(at, "", "save the file as UTF-8", "byte 0x%02x is not UTF-8", text[i])
			return false
		}
		if (c < ' ' && c != '\n' && c != '\r' && c != '\t') || c == 0x7f {
			p.errorf(at, "", "remove it", "control character 0x%02x", c)
			return false
		}
		i += n
		at.col++
		if c == '\n' {
			at = pos{at.line + 1, 1}
		}
	}
	return true
}

// document parses the only document of the text.
func (p *parser) document(text []byte) *yaml.Node {
	l, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithUniqueKeys(false),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		p.errorf(pos{}, "", "", "cannot be read as YAML: %v", err)
		return nil
	}
	var doc, second yaml.Node
	if err := l.Load(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.DocumentNode, Line: 1, Column: 1}
	} else if err != nil {
		p.syntax(err)
		return nil
	}
	if err := l.Load(&second); err == nil {
		p.errorf(pos{second.Line, second.Column}, "", "write one file per config, without a second ---",
			"a second document starts here")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
		return nil
	}
	return &doc
}

// syntax translates the parser's error. Text from the file is left out: it could be a part of a secret.
func (p *parser) syntax(err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		p.errorf(pos{}, "", "", "cannot be read as YAML")
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
	case strings.ContainsAny(msg, "'\"`") && !strings.Contains(msg, "','"):
		msg = "cannot be read as YAML"
	}
	if le.ContextMsg != "" {
		msg = le.ContextMsg + ": " + msg
	}
	p.errorf(pos{le.Mark.Line, le.Mark.Column}, "", hint, "not valid YAML: %s", msg)
}

// bomb refuses a tree whose aliases unfold to more than maxNodes values, or into themselves.
func (p *parser) bomb(root *yaml.Node) bool {
	sizes := map[*yaml.Node]int{}
	const open = -1
	var size func(n *yaml.Node) int
	size = func(n *yaml.Node) int {
		if n.Kind == yaml.AliasNode {
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
	at := pos{root.Line, root.Column}
	if a := firstAlias(root); a != nil {
		at = pos{a.Line, a.Column}
	}
	p.errorf(at, "", "write the values out", "unfolds to more than %d values through its aliases", maxNodes)
	return true
}

// firstAlias finds the first alias in the text; nil when there is none.
func firstAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}
	for _, c := range n.Content {
		if a := firstAlias(c); a != nil {
			return a
		}
	}
	return nil
}

// target follows an alias to what it stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// entry is one "key: value" of a section.
type entry struct {
	key string
	at  pos
	val *yaml.Node
}

// entries lists a section's keys, those that come in through a merge (<<) last. Duplicates, and keys that are no
// plain text, are noted and left out.
func (p *parser) entries(n *yaml.Node, path string) []entry {
	var out []entry
	seen := map[string]pos{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := target(n.Content[i]), n.Content[i+1]
		at := pos{n.Content[i].Line, n.Content[i].Column}
		switch {
		case k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge":
			merges = append(merges, v)
		case k.Kind != yaml.ScalarNode:
			p.errorf(at, path, "", "found %s as a key, want a plain word", found(k))
		default:
			if first, ok := seen[k.Value]; ok {
				p.errorf(at, join(path, k.Value), "keep one of them", "is given twice, first in line %d", first.line)
				continue
			}
			seen[k.Value] = at
			out = append(out, entry{k.Value, at, v})
		}
	}
	for _, m := range merges {
		for _, e := range p.merged(m, path) {
			if _, ok := seen[e.key]; !ok {
				seen[e.key] = e.at
				out = append(out, e)
			}
		}
	}
	return out
}

// merged lists the keys of what a << stands for: a section, or a list of sections of which the first wins.
func (p *parser) merged(m *yaml.Node, path string) []entry {
	t := target(m)
	switch t.Kind {
	case yaml.MappingNode:
		return p.entries(t, path)
	case yaml.SequenceNode:
		var out []entry
		for _, c := range t.Content {
			if s := target(c); s.Kind == yaml.MappingNode {
				out = append(out, p.entries(s, path)...)
				continue
			}
			p.errorf(pos{c.Line, c.Column}, join(path, "<<"), "", "found %s, want a section to merge", found(target(c)))
		}
		return out
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode, yaml.StreamNode:
	}
	p.errorf(pos{m.Line, m.Column}, join(path, "<<"), "", "found %s, want a section to merge", found(t))
	return nil
}

// found names what a value is, for messages.
func found(n *yaml.Node) string {
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
			return "the number " + printable(n.Value, 40)
		case "!!bool":
			return printable(n.Value, 40)
		case "!!str":
			return `the text "` + printable(n.Value, 40) + `"`
		case "!!timestamp":
			return "the date " + printable(n.Value, 40)
		}
		return "a value with a tag"
	case yaml.DocumentNode, yaml.AliasNode, yaml.StreamNode:
	}
	return "something else"
}

// printable shortens s to n characters and replaces what a terminal should not see.
func printable(s string, n int) string {
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
