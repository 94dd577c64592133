// Package mutant proves that a property test can fail: it breaks one line of the package under test, in a build
// overlay and never on disk, and demands that the named test notices.
//
// A mutant is a small text file, kept beside the tests (testdata/mutants/*.mutant):
//
//	# why this mistake is worth a test
//	file: steps.go
//	test: TestPropertyWithinBounds
//	--- old
//		if rate > d.Ceiling {
//	--- new
//		if rate > 2*d.Ceiling {
//	--- end
//
// The old text must occur exactly once in the file, so a mutant that the code has outgrown fails instead of passing
// by accident.
package mutant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Mutant is one deliberate mistake and the test that must notice it.
type Mutant struct {
	// Name is the spec file's base name without its suffix.
	Name string
	// Why is the comment at the head of the spec file.
	Why string
	// File is the source file to change, relative to the package directory.
	File string
	// Test is the name of the one test function that must fail.
	Test string
	// Old is replaced by New. Both are kept with their newlines; Old occurs exactly once in File.
	Old, New string
}

// Verdict is what a mutant's test run showed.
type Verdict uint8

// The verdicts. Only Killed is a success.
const (
	// Broken means that the test did not run: the mutant does not compile, the test does not exist or it hung.
	Broken Verdict = iota
	// Survived means that the test passed although the code was wrong.
	Survived
	// Killed means that the test failed, as it must.
	Killed
)

// String returns "broken", "survived" or "killed".
func (v Verdict) String() string {
	switch v {
	case Broken:
		return "broken"
	case Survived:
		return "survived"
	case Killed:
		return "killed"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// suffix ends the name of every spec file.
const suffix = ".mutant"

// limit bounds one mutant's build and test run: far above the few seconds one takes, far below the suite's patience.
const limit = 3 * time.Minute

var testName = regexp.MustCompile(`^Test[A-Za-z0-9_]+$`)

// Parse reads one spec file. The name is used in messages only.
func Parse(name string, text []byte) (Mutant, error) {
	m := Mutant{Name: name}
	var why []string
	section := ""
	parts := map[string]*strings.Builder{"old": {}, "new": {}}
	closed := false
	for i, l := range strings.SplitAfter(string(text), "\n") {
		bare := strings.TrimRight(l, "\r\n")
		if closed && strings.TrimSpace(bare) != "" {
			return m, fmt.Errorf("mutant %s: line %d: text after %q; remove it", name, i+1, "--- end")
		}
		switch {
		case bare == "--- old" || bare == "--- new":
			section = strings.TrimPrefix(bare, "--- ")
		case bare == "--- end":
			section, closed = "", true
		case section != "":
			parts[section].WriteString(l)
		case strings.HasPrefix(bare, "#"):
			why = append(why, strings.TrimSpace(bare[1:]))
		case strings.HasPrefix(bare, "file:"):
			m.File = strings.TrimSpace(strings.TrimPrefix(bare, "file:"))
		case strings.HasPrefix(bare, "test:"):
			m.Test = strings.TrimSpace(strings.TrimPrefix(bare, "test:"))
		case strings.TrimSpace(bare) != "":
			return m, fmt.Errorf("mutant %s: line %d: %q is none of \"# …\", \"file:\", \"test:\", \"--- old\", \"--- new\", \"--- end\"", name, i+1, bare)
		}
	}
	m.Why, m.Old, m.New = strings.Join(why, " "), parts["old"].String(), parts["new"].String()
	switch {
	case m.Why == "":
		return m, fmt.Errorf("mutant %s: no \"# …\" line says why this mistake matters", name)
	case m.File == "" || !filepath.IsLocal(m.File):
		return m, fmt.Errorf("mutant %s: file: %q is not a file of the package; name one, such as steps.go", name, m.File)
	case !testName.MatchString(m.Test):
		return m, fmt.Errorf("mutant %s: test: %q is not the name of a test function, such as TestPropertyBounds", name, m.Test)
	case !closed || m.Old == "" || m.Old == m.New:
		return m, fmt.Errorf("mutant %s: needs \"--- old\", \"--- new\" and \"--- end\" with two different texts", name)
	}
	return m, nil
}

// Load reads every *.mutant file of dir, in order of name. An empty directory is an error: a test over nothing
// proves nothing.
func Load(dir string) ([]Mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("list mutants in %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no *%s file in %s; add one per property", suffix, dir)
	}
	slices.Sort(files)
	var ms []Mutant
	var errs []error
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("read mutant: %w", err))
			continue
		}
		m, err := Parse(strings.TrimSuffix(filepath.Base(f), suffix), text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ms = append(ms, m)
	}
	return ms, errors.Join(errs...)
}

// Apply returns src with the mistake in it. It fails unless the old text occurs exactly once.
func (m Mutant) Apply(src []byte) ([]byte, error) {
	if n := bytes.Count(src, []byte(m.Old)); n != 1 {
		return nil, fmt.Errorf("mutant %s: the old text occurs %d times in %s, want once; bring the spec file up to date with the code", m.Name, n, m.File)
	}
	return bytes.Replace(src, []byte(m.Old), []byte(m.New), 1), nil
}

// Try runs the mutant's test against the package in dir with the mistake overlaid, and returns the verdict with the
// output of go test. Scratch receives the overlay; args are passed on to the test binary.
func (m Mutant) Try(dir, scratch string, args ...string) (Verdict, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Broken, "", fmt.Errorf("mutant %s: find the package: %w", m.Name, err)
	}
	orig := filepath.Join(dir, m.File)
	src, err := os.ReadFile(orig)
	if err != nil {
		return Broken, "", fmt.Errorf("mutant %s: read the file to change: %w", m.Name, err)
	}
	changed, err := m.Apply(src)
	if err != nil {
		return Broken, "", err
	}
	copied := filepath.Join(scratch, m.Name+".go")
	overlay := filepath.Join(scratch, m.Name+".json")
	plan, err := json.Marshal(map[string]map[string]string{"Replace": {orig: copied}})
	if err != nil {
		return Broken, "", fmt.Errorf("mutant %s: write the overlay: %w", m.Name, err)
	}
	if err := errors.Join(os.WriteFile(copied, changed, 0o600), os.WriteFile(overlay, plan, 0o600)); err != nil {
		return Broken, "", fmt.Errorf("mutant %s: write the overlay: %w", m.Name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	argv := append([]string{"test", "-overlay", overlay, "-vet=off", "-count=1", "-v", "-run", "^" + m.Test + "$", "."}, args...)
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	text := string(out)
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return Broken, text, fmt.Errorf("mutant %s: run go test: %w", m.Name, err)
	case strings.Contains(text, "--- FAIL: "+m.Test+" "):
		return Killed, text, nil
	case err == nil && strings.Contains(text, "--- PASS: "+m.Test+" "):
		return Survived, text, nil
	}
	return Broken, text, nil
}

// Run tries every mutant of dir against the package under test (the working directory of a Go test) as a subtest
// of its own, and fails for each that is not killed. Under -short it is skipped, loudly.
func Run(t *testing.T, dir string) {
	t.Helper()
	ms, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		t.Skipf("-short: %d mutants in %s NOT tried; nothing shows that the property tests can fail", len(ms), dir)
	}
	args := rapidArgs(flag.CommandLine)
	for _, m := range ms {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			verdict, out, err := m.Try(".", t.TempDir(), args...)
			if err != nil {
				t.Fatal(err)
			}
			if verdict != Killed {
				t.Errorf("mutant %s: %s %s (%s); want it killed\n%s", m.Name, verdict, m.Test, m.Why, out)
			}
		})
	}
}

// rapidArgs makes a child's property tests repeatable, quick to give up shrinking and silent on disk, when the
// calling test binary is built with pgregory.net/rapid and therefore has its flags.
func rapidArgs(flags *flag.FlagSet) []string {
	if flags.Lookup("rapid.nofailfile") == nil {
		return nil
	}
	return []string{"-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime=1ms"}
}
