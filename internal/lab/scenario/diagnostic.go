package scenario

import (
	"fmt"
	"sort"
	"strings"

	"wanctl/internal/document"
)

// Diagnostic is one thing that is wrong with a scenario file.
type Diagnostic struct {
	// File is the name Parse was given.
	File string
	// Line and Column count from 1, columns in characters; both are 0 when the finding has no place in the file.
	Line, Column int
	// Key is the path of the key, "flows[1].link"; empty when the finding is about the file.
	Key string
	// Message says what is wrong, Hint the way out; Hint may be empty.
	Message, Hint string
}

// String prints the finding on one line: "file:line:column: key: message (hint)".
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
	}
	b.WriteString(": ")
	if d.Key != "" {
		b.WriteString(d.Key + ": ")
	}
	b.WriteString(d.Message)
	if d.Hint != "" {
		b.WriteString(" (" + d.Hint + ")")
	}
	return b.String()
}

// Diagnostics are all that is wrong with a file, ordered by place. As an error they print one finding a line.
type Diagnostics []Diagnostic

// Error prints one finding a line.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// maxDiagnostics bounds the findings of one file: beyond it a list helps nobody.
const maxDiagnostics = 50

// pos is a place in the file.
type pos = document.Pos

// tell notes what is wrong with the document itself.
func (p *parser) tell(at pos, key, hint, message string) { p.errorf(at, key, hint, "%s", message) }

// errorf notes a finding. hint may be empty.
func (p *parser) errorf(at pos, key, hint, format string, a ...any) {
	if len(p.found) >= maxDiagnostics {
		p.more++
		return
	}
	p.found = append(p.found, Diagnostic{
		File: p.file, Line: at.Line, Column: at.Column, Key: document.Printable(key, 80),
		Message: fmt.Sprintf(format, a...), Hint: hint,
	})
}

// err returns what was found, in order, with a last line for what did not fit; nil when nothing was.
func (p *parser) err() error {
	if len(p.found) == 0 {
		return nil
	}
	sort.SliceStable(p.found, func(i, j int) bool {
		a, b := p.found[i], p.found[j]
		return a.Line < b.Line || (a.Line == b.Line && a.Column < b.Column)
	})
	if p.more > 0 {
		p.found = append(p.found, Diagnostic{
			File: p.file, Message: fmt.Sprintf("%d more findings are not shown", p.more), Hint: "mend the ones above first",
		})
	}
	return p.found
}

func join(path, key string) string { return document.Join(path, key) }
