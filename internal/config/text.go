package config

import (
	"slices"
	"strconv"
	"strings"
)

// plain prints what the file gives as a configuration of its own that reads the same: without comments, without keys that
// are not used, and with "[secret]" in the place of each secret.
func (p *parser) plain() string {
	var b strings.Builder
	p.plainSection(&b, "", p.order)
	return b.String()
}

// plainSection prints the keys below a section.
func (p *parser) plainSection(b *strings.Builder, section string, keys []string) {
	var done []string
	for _, path := range keys {
		rest, inside := path, true
		if section != "" {
			rest, inside = strings.CutPrefix(path, section+".")
		}
		name, _, deeper := strings.Cut(rest, ".")
		if !inside || slices.Contains(done, name) {
			continue
		}
		done = append(done, name)
		here := join(section, name)
		b.WriteString(strings.Repeat("  ", strings.Count(here, ".")) + name + ":")
		if deeper {
			b.WriteString("\n")
			p.plainSection(b, here, keys)
			continue
		}
		b.WriteString(" " + p.plainValue(path) + "\n")
	}
}

func (p *parser) plainValue(path string) string {
	k, _ := lookup(p.schema, path)
	v := p.values[path]
	switch k.typ {
	case typeNumber, typeInteger:
		return strconv.FormatFloat(v.num, 'f', -1, 64)
	case typeBool:
		return strconv.FormatBool(v.yes)
	case typeList:
		quoted := make([]string, len(v.list))
		for i, s := range v.list {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case typeSecret:
		return strconv.Quote(hidden)
	case typeSection, typeText, typeWord:
	}
	return strconv.Quote(v.text)
}
