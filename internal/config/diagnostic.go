package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"wanctl/internal/document"
)

// Severity says whether a file with the finding can be used.
type Severity uint8

// The severities.
const (
	// Warning marks a file that works, though perhaps not as its author thinks.
	Warning Severity = iota
	// Error marks a file that is refused.
	Error
)

// String returns "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) {
	if s > Error {
		return nil, fmt.Errorf("no severity %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads a severity's name.
func (s *Severity) UnmarshalText(b []byte) error {
	switch string(b) {
	case "warning":
		*s = Warning
	case "error":
		*s = Error
	default:
		return fmt.Errorf("unknown severity %q (want warning or error)", b)
	}
	return nil
}

// Diagnostic is one finding in a config file. It never carries a secret.
type Diagnostic struct {
	// File is the name Parse was given.
	File string `json:"file"`
	// Line and Column count from 1, columns in characters; both are 0 when the finding has no place in the file.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Key is the dotted path of the key; empty when the finding is about the file.
	Key string `json:"key,omitempty"`
	// Severity tells errors from warnings.
	Severity Severity `json:"severity"`
	// Message says what is wrong, Hint the way out; Hint may be empty.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String prints the finding on one line: "file:line:column: error: key: message (hint)".
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
	}
	fmt.Fprintf(&b, ": %s: ", d.Severity)
	if d.Key != "" {
		b.WriteString(d.Key + ": ")
	}
	b.WriteString(d.Message)
	if d.Hint != "" {
		b.WriteString(" (" + d.Hint + ")")
	}
	return b.String()
}

// Diagnostics are findings sorted by position.
type Diagnostics []Diagnostic

// HasErrors reports whether any finding is an error.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Errors returns the errors alone.
func (ds Diagnostics) Errors() Diagnostics { return ds.only(Error) }

// Warnings returns the warnings alone.
func (ds Diagnostics) Warnings() Diagnostics { return ds.only(Warning) }

func (ds Diagnostics) only(s Severity) Diagnostics {
	var out Diagnostics
	for _, d := range ds {
		if d.Severity == s {
			out = append(out, d)
		}
	}
	return out
}

// String prints one finding a line.
func (ds Diagnostics) String() string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

// Err returns nil when there is no error among the findings, else one error that prints all errors, one a line.
func (ds Diagnostics) Err() error {
	e := ds.Errors()
	if len(e) == 0 {
		return nil
	}
	return errors.New(strings.TrimSuffix(e.String(), "\n"))
}

// sorted orders by position, file for file; findings at one place stay in the order they were made.
func (ds Diagnostics) sorted() Diagnostics {
	sort.SliceStable(ds, func(i, j int) bool {
		a, b := ds[i], ds[j]
		switch {
		case a.File != b.File:
			return a.File < b.File
		case a.Line != b.Line:
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return ds
}

// maxDiagnostics bounds the findings of one file: beyond it a list helps nobody.
const maxDiagnostics = 100

// pos is a place in the file.
type pos = document.Pos

// tell notes what is wrong with the document itself.
func (p *parser) tell(at pos, key, hint, message string) { p.errorf(at, key, hint, "%s", message) }

// errorf notes an error. hint may be empty.
func (p *parser) errorf(at pos, key, hint, format string, a ...any) {
	p.note(Error, at, key, hint, format, a...)
}

// warnf notes a warning. hint may be empty.
func (p *parser) warnf(at pos, key, hint, format string, a ...any) {
	p.note(Warning, at, key, hint, format, a...)
}

func (p *parser) note(s Severity, at pos, key, hint, format string, a ...any) {
	if s == Error {
		p.errors++
	}
	if len(p.found) >= maxDiagnostics {
		p.more++
		return
	}
	p.found = append(p.found, Diagnostic{
		File: p.file, Line: at.Line, Column: at.Column, Key: document.Printable(key, 80), Severity: s,
		Message: fmt.Sprintf(format, a...), Hint: hint,
	})
}

// diagnostics returns what was found, sorted, with a last line for what did not fit.
func (p *parser) diagnostics() Diagnostics {
	ds := p.found.sorted()
	if p.more > 0 {
		s := Warning
		if p.errors > len(ds.Errors()) {
			s = Error
		}
		ds = append(ds, Diagnostic{
			File: p.file, Severity: s,
			Message: fmt.Sprintf("%d more findings are not shown", p.more), Hint: "mend the ones above first",
		})
	}
	return ds
}
