package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// MaxSize bounds a scenario file, in bytes. A larger one is refused without being read to its end.
	MaxSize = 1 << 18
	// maxDepth bounds the nesting of a file; the deepest key lies five levels down.
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
		p.errorf(pos{}, "", "is it the right file? A recording belongs into a trace", "is larger than %d KiB, no scenario is", MaxSize>>10)
		return nil
	case !p.characters(text):
		return nil
	}
	doc := p.document(text)
	if doc == nil {
		return nil
	}
	if len(doc.Content) == 0 || nothing(doc.Content[0]) {
		p.errorf(pos{1, 1}, "", "start from the five lines in docs/scenarios.md", "the file is empty")
		return nil
	}
	root := target(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		p.errorf(at(root), "", "", "found %s, want \"key: value\" lines", found(root))
		return nil
	}
	if p.bomb(root) {
		return nil
	}
	return root
}

// characters checks the encoding and refuses control characters, with their places.
func (p *parser) characters(text []byte) bool {
	here := pos{1, 1}
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			p.errorf(here, "", "save the file as UTF-8", "byte 0x%02x is not UTF-8", text[i])
			return false
		}
		if (c < ' ' && c != '\n' && c != '\r' && c != '\t') || c == 0x7f {
			p.errorf(here, "", "remove it", "control character 0x%02x", c)
			return false
		}
		i += n
		here.col++
		if c == '\n' {
			here = pos{here.line + 1, 1}
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
		p.errorf(at(&second), "", "write one file per scenario, without a second ---", "a second document starts here")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
		return nil
	}
	return &doc
}

// syntax translates the parser's error.
func (p *parser) syntax(err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		p.errorf(pos{}, "", "", "cannot be read as YAML: %s", printable(err.Error(), 200))
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
	}
	if le.ContextMsg != "" {
		msg = le.ContextMsg + ": " + msg
	}
	p.errorf(pos{le.Mark.Line, le.Mark.Column}, "", hint, "not valid YAML: %s", printable(msg, 200))
}

// bomb refuses a tree whose aliases unfold to more than maxNodes values, or into themselves.
func (p *parser) bomb(root *yaml.Node) bool {
	const open = -1
	sizes := map[*yaml.Node]int{}
	var first *yaml.Node
	var size func(n *yaml.Node) int
	size = func(n *yaml.Node) int {
		if n.Kind == yaml.AliasNode {
			if first == nil {
				first = n
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
	here := at(root)
	if first != nil {
		here = at(first)
	}
	p.errorf(here, "", "write the values out", "unfolds to more than %d values", maxNodes)
	return true
}

// at is a node's place.
func at(n *yaml.Node) pos { return pos{n.Line, n.Column} }

// target follows an alias to what it stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// nothing reports an empty value.
func nothing(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// entry is one "key: value" of a section.
type entry struct {
	key string
	at  pos
	val *yaml.Node
}

// entries lists a section's keys. Duplicates, and keys that are no plain word, are noted and left out.
func (p *parser) entries(n *yaml.Node, path string) []entry {
	var out []entry
	seen := map[string]pos{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := target(n.Content[i]), n.Content[i+1]
		here := at(n.Content[i])
		if k.Kind != yaml.ScalarNode {
			p.errorf(here, path, "", "found %s as a key, want a plain word", found(k))
			continue
		}
		if k.ShortTag() == "!!merge" {
			p.errorf(here, join(path, "<<"), "write the keys out, or give the whole section an alias", "sections are not merged here")
			continue
		}
		if first, ok := seen[k.Value]; ok {
			p.errorf(here, join(path, k.Value), "keep one of them", "is given twice, first in line %d", first.line)
			continue
		}
		seen[k.Value] = here
		out = append(out, entry{k.Value, here, v})
	}
	return out
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
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
