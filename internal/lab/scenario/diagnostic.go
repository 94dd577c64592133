package scenario

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
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
type pos struct{ line, col int }

// errorf notes a finding. hint may be empty.
func (p *parser) errorf(at pos, key, hint, format string, a ...any) {
	if len(p.found) >= maxDiagnostics {
		p.more++
		return
	}
	p.found = append(p.found, Diagnostic{
		File: p.file, Line: at.line, Column: at.col, Key: printable(key, 80),
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

// nearest returns the candidate closest to s by edit distance, and false when none is close enough to be meant. Case
// and the choice between - and _ do not count. Earlier candidates win ties.
func nearest(s string, candidates []string) (string, bool) {
	normal := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, bestAt := "", 0
	n := normal(s)
	if len(n) > 64 {
		return "", false
	}
	for _, c := range candidates {
		d := distance(n, normal(c))
		if d > max(1, min(len(n), len(c))/3) {
			continue
		}
		if best == "" || d < bestAt {
			best, bestAt = c, d
		}
	}
	return best, best != ""
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
