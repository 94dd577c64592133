package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"wanctl/internal/config"
	"wanctl/internal/deploy"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/lab/scenario"
	"wanctl/internal/state"
)

var update = flag.Bool("update", false, "write docs/cli.md and the golden parts of the stories anew")

// documents are the pages people read, relative to the repository.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	reasons, err := filepath.Glob(filepath.Join(repository, "docs", "decisions", "*.md"))
	if err != nil || len(reasons) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	all := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/lab/README.md"}
	for _, path := range append(docs, reasons...) {
		name, err := filepath.Rel(repository, path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, name)
	}
	return all
}

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fence is a fenced block of a document.
type fence struct {
	where string // "README.md:12"
	info  string // "sh norun"
	lines []string
}

func fences(t *testing.T, name string) []fence {
	t.Helper()
	text := page(t, name)
	if strings.Count("\n"+text, "\n```")%2 != 0 {
		t.Errorf("%s: a fence is not closed", name)
	}
	return fencesOf(name, text)
}

func fencesOf(name, text string) []fence {
	var all []fence
	open := false
	for i, line := range strings.Split(text, "\n") {
		info, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !open:
			all = append(all, fence{where: fmt.Sprintf("%s:%d", name, i+1), info: info})
			open = true
		case isFence:
			open = false
		case open:
			f := &all[len(all)-1]
			f.lines = append(f.lines, line)
		}
	}
	return all
}

// Each example that can run does run; each that needs a router is at least a command line wanctl understands.
func TestExamplesOfDocumentsRun(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, name := range documents(t) {
		router := household(t)
		for _, f := range fences(t, name) {
			switch f.info {
			case "sh":
				for _, line := range f.lines {
					ran++
					runExample(t, f.where, line)
				}
			case "console":
				ran++
				dir := t.TempDir() // an example's $TMPDIR
				if err := session(f, func(line string) string {
					out, _ := process(t, strings.ReplaceAll(line, "$TMPDIR", dir)).CombinedOutput() // an example may show a failure: its text is what counts
					return string(out)
				}); err != nil {
					t.Error(err)
				}
			case "sh norun":
				for _, line := range f.lines {
					understood(t, f.where, line)
				}
			case "routeros":
				paste(t, router, f)
			case "yaml":
				if _, err := scenario.Parse(name, strings.NewReader(strings.Join(f.lines, "\n")), scenario.Options{}); err != nil {
					t.Errorf("%s: %v", f.where, err)
				}
			case "yaml config":
				if _, ds := config.Parse(f.where, strings.NewReader(strings.Join(f.lines, "\n")), config.Options{Dirs: config.Dirs{Run: "/run", State: "/state"}}); ds.Err() != nil {
					t.Errorf("%s: %v", f.where, ds.Err())
				}
			case "sh host", "console host", "routeros host": // TestPagesOnAHost
			case "text":
				for _, line := range f.lines {
					if shown.MatchString(line) {
						t.Errorf("%s: %q is a command, and nothing runs it: make the block sh, sh host or sh norun", f.where, line)
					}
				}
			case "routeros norun", "json lock", "json feed", "json handover":
			default:
				t.Errorf("%s: nothing checks a block of kind %q: make it sh, console, sh norun, routeros, yaml (a scenario), yaml config or text", f.where, f.info)
			}
		}
	}
	if ran == 0 {
		t.Error("no example ran")
	}
}

// shown is a line that a reader takes for a command to type.
var shown = regexp.MustCompile(`^(?:\$ |sudo |wanctl |make |systemctl |ssh )`)

// makes are the targets of the Makefile that a document may name, and what runs of each here; nothing for what would
// run this test in itself.
var makes = map[string]string{"demo": "wanctl demo --headless", "test": "", "build": "", "lab": ""}

func runExample(t *testing.T, where, line string) {
	t.Helper()
	if target, ok := strings.CutPrefix(line, "make "); ok {
		replacement, known := makes[target]
		if !known || !regexp.MustCompile(`(?m)^`+target+`:`).MatchString(page(t, "Makefile")) {
			t.Errorf("%s: %s: unknown target", where, line)
		}
		if line = replacement; line == "" {
			return
		}
	}
	if out, err := process(t, line).CombinedOutput(); err != nil {
		t.Errorf("%s: %s: %v\n%s", where, line, err, out)
	}
}

// process is a line that begins with wanctl, to be run in the repository as a process of its own.
func process(t *testing.T, line string) *exec.Cmd {
	t.Helper()
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "wanctl" {
		t.Fatalf("%q: only wanctl's own commands can run here; tag the block `sh norun`", line)
	}
	if err := program(); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "wanctl", words[1:]...)
	c.Dir = repository
	c.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir(), "RUNTIME_DIRECTORY="+t.TempDir())
	return c
}

// session types the lines after "$ " and compares what they print; a line "…" stands for any number of lines.
func session(f fence, typed func(line string) string) error {
	var problems []error
	for i := 0; i < len(f.lines); {
		line, ok := strings.CutPrefix(f.lines[i], "$ ")
		if !ok {
			return fmt.Errorf("%s: %q: a console block begins with \"$ \"", f.where, f.lines[i])
		}
		i++
		var want []string
		for ; i < len(f.lines) && !strings.HasPrefix(f.lines[i], "$ "); i++ {
			want = append(want, f.lines[i])
		}
		out := typed(line)
		expr := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(want, "\n")), "…", `(?s:.*)`)
		if !regexp.MustCompile(`\A` + expr + `\s*\z`).MatchString(out) {
			problems = append(problems, fmt.Errorf("%s: %s prints\n%s\nwant\n%s", f.where, line, out, strings.Join(want, "\n")))
		}
	}
	return errors.Join(problems...)
}

var wanctlCall = regexp.MustCompile(`(?:^|&& |sudo |Examples?: )wanctl (.*)`)

// understanding is the command line, made once: each Parse forgets the one before.
var understanding = sync.OnceValues(func() (*kong.Kong, error) {
	return newParser(&App{Stdout: io.Discard, Stderr: io.Discard}, func(int) {})
})

// understood parses the wanctl commands of a line without running them.
func understood(t *testing.T, where, line string) {
	t.Helper()
	m := wanctlCall.FindStringSubmatch(line)
	if m == nil {
		return
	}
	parser, err := understanding()
	if err != nil {
		t.Fatal(err)
	}
	call, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(m[1]), "&"), " && ")
	if _, err := parser.Parse(strings.Fields(call)); err != nil {
		t.Errorf("%s: wanctl %s: %v", where, call, err)
	}
}

// household is the router that a document's commands are given to.
func household(t *testing.T) *rosim.Router {
	t.Helper()
	r, err := rosim.NewRouter(rosim.Options{
		Users:      []rosim.User{{Name: "admin", Group: "full"}},
		Interfaces: []rosim.Interface{{Name: "ether1"}, {Name: "bridge", Type: "bridge"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if reply, failed := r.Exec(t.Context(), "admin", "/ip/firewall/filter/add chain=forward action=fasttrack-connection"); failed {
		t.Fatal(reply)
	}
	return r
}

// paste gives RouterOS commands to an emulated router, which refuses what no RouterOS has.
func paste(t *testing.T, r *rosim.Router, f fence) {
	t.Helper()
	for _, line := range f.lines {
		if reply, failed := r.Exec(t.Context(), "admin", line); failed || reply != "" {
			t.Errorf("%s: %s: the router says %q", f.where, line, reply)
		}
	}
}

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Every relative link leads somewhere, to the heading too.
func TestLinksOfDocuments(t *testing.T) {
	for _, name := range documents(t) {
		for _, m := range mdLink.FindAllStringSubmatch(page(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s: dead link %s", name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(page(t, target)), anchor) {
				t.Errorf("%s: %s has no heading %q", name, target, anchor)
			}
		}
	}
}

func anchors(text string) []string {
	var all []string
	for _, m := range mdHeading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(regexp.MustCompile("[^a-z0-9 -]").ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// docs/cli.md is what the command line says of itself.
func TestCommandPageIsCurrent(t *testing.T) {
	parser, err := understanding()
	if err != nil {
		t.Fatal(err)
	}
	got := commandPage(parser.Model.Node)
	if *update {
		if err := os.WriteFile(filepath.Join(repository, "docs", "cli.md"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(page(t, "docs/cli.md"), got); diff != "" {
		t.Errorf("docs/cli.md is not what wanctl says (go test ./internal/cli -run CommandPage -update writes it anew):\n%s", diff)
	}
}

// docs/config.md is what the program's own tables say of its files.
func TestConfigPageIsCurrent(t *testing.T) {
	got := configPage()
	if *update {
		if err := os.WriteFile(filepath.Join(repository, "docs", "config.md"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(page(t, "docs/config.md"), got); diff != "" {
		t.Errorf("docs/config.md is not what wanctl says (go test ./internal/cli -run ConfigPage -update writes it anew):\n%s", diff)
	}
}

func configPage() string {
	wan, steering := config.Keys()
	var b strings.Builder
	b.WriteString(`# Configuration files

Written from the tables that drive the parser, by ` + "`go test ./internal/cli -run ConfigPage -update`" + `.

Three kinds of file, all YAML: one per line (WAN), one for steering, and the inventory of ` + "`wanctl deploy`" + `. What a file is for is known by its
keys. Keys of a section are written with a dot here; a ` + "`*`" + ` stands for a name that is yours, mostly a line's. Rates are in Mbit/s: 1 Mbit is
1 000 000 bit. ` + "`wanctl check FILE`" + ` reports all errors of a file at once, each with line, column and a way out; a key that nobody knows is
one. Complete files with every key are [reference.yaml](reference.yaml) and [inventory.yaml](inventory.yaml), short ones are in
[configs](../configs/).

A secret is named, not written: ` + "`${NAME}`" + ` is a variable of the environment, ` + "`file:/path`" + ` the first line of a file.
`)
	for _, kind := range []struct {
		title, about string
		keys         []config.KeyDoc
	}{
		{"A line", "`wanctl autorate FILE`. [minimal.yaml](../configs/minimal.yaml) is the least.", wan},
		{"Steering", "`wanctl steer FILE`. What it does: [steering.md](steering.md).", steering},
		{"Inventory", "`wanctl deploy FILE`: a list `hosts` with these keys for each, and a section `defaults` for all. What it does: [DEPLOYMENT.md](DEPLOYMENT.md).", deploy.Keys()},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", kind.title, kind.about)
		sections := []config.KeyDoc{{Section: true}}
		var unused []config.KeyDoc
		for _, k := range kind.keys {
			switch {
			case k.Section:
				sections = append(sections, k)
			case k.Ignored != "":
				unused = append(unused, k)
			}
		}
		for _, s := range sections {
			var rows []string
			for _, k := range kind.keys {
				if parent(k.Path) == s.Path && !k.Section && k.Ignored == "" {
					rows = append(rows, configRow(k))
				}
			}
			if s.Path != "" {
				fmt.Fprintf(&b, "\n### %s\n\n%s\n", s.Path, s.Doc)
			}
			if rows != nil {
				fmt.Fprintf(&b, "\n| key | value | without it | meaning |\n|---|---|---|---|\n%s", strings.Join(rows, ""))
			}
		}
		if unused == nil {
			continue
		}
		fmt.Fprintf(&b, "\n### %s: keys that are not used\n\nAccepted for files of the earlier Python system, with a warning.\n\n| key | why |\n|---|---|\n", kind.title)
		for _, k := range unused {
			fmt.Fprintf(&b, "| `%s` | %s |\n", k.Path, cell(k.Ignored))
		}
	}
	return b.String()
}

func configRow(k config.KeyDoc) string {
	name := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
	without := k.Default
	if k.Required != "" {
		without = strings.TrimSuffix(k.Required, " always")
		if k.Default != "" {
			without += "; " + k.Default
		}
	}
	doc := k.Doc
	if k.Alias != "" {
		doc += " Another name of `" + k.Alias + "`."
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, cell(k.Value), cell(without), cell(doc))
}

func commandPage(root *kong.Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Commands\n\nWritten from the program's own help by `go test ./internal/cli -run CommandPage -update`.\n\n")
	fmt.Fprintf(&b, "| exit code | meaning |\n|---|---|\n| %d | done; `status`: all healthy |\n| %d | failed; `check`: a file has errors; "+
		"`replay`: an answer differs; `status`: at least one controller is not well |\n| %d | `status`: none is running; `deploy`, `install`: steps remain for somebody else |\n| %d | the command line makes no sense |\n\n",
		exitOK, exitFailed, exitNotRunning, exitUsage)
	fmt.Fprintf(&b, "| environment | meaning |\n|---|---|\n")
	for _, e := range environment {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(e.name, ", ", "`, `"), e.meaning)
	}
	b.WriteString("\n")
	for _, n := range commands(root) {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", n.FullPath(), n.Help)
		if n.Detail != "" {
			fmt.Fprintf(&b, "%s\n\n", indented(n.Detail))
		}
		if len(n.Positional)+len(n.Flags) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| | |\n|---|---|\n")
		for _, p := range n.Positional {
			fmt.Fprintf(&b, "| `%s` | %s%s |\n", p.Summary(), cell(p.Help), need(p.Required))
		}
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue
			}
			def := ""
			if f.HasDefault && !f.IsBool() {
				def = fmt.Sprintf(" Default: `%s`.", f.Default)
			}
			name := "--" + f.Name
			switch {
			case f.IsBool() && f.Negated:
				name = "--[no-]" + f.Name
			case !f.IsBool() && f.PlaceHolder != "":
				name += "=" + f.PlaceHolder
			case !f.IsBool():
				name += "=" + strings.ToUpper(f.Name)
			}
			fmt.Fprintf(&b, "| `%s` | %s%s%s |\n", name, cell(f.Help), def, need(f.Required))
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func need(required bool) string {
	if required {
		return " Required."
	}
	return ""
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// indented makes fences of the indented lines of a help text, which are command lines.
func indented(help string) string {
	var out []string
	in := false
	for _, line := range strings.Split(help, "\n") {
		code, is := strings.CutPrefix(line, "    ")
		switch {
		case is && !in:
			out = append(out, "```sh norun")
		case !is && in:
			out = append(out, "```")
		}
		in = is
		if is {
			line = code
		}
		out = append(out, line)
	}
	if in {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

// The help of each command has an example, and the example is one wanctl understands.
func TestHelpHasExamples(t *testing.T) {
	parser, err := understanding()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range commands(parser.Model.Node) {
		name := n.FullPath()
		if !strings.Contains(n.Detail, "Example") || !strings.Contains(n.Detail, name) {
			t.Errorf("%s --help has no example:\n%s", name, n.Detail)
		}
		for _, line := range strings.Split(n.Detail, "\n") {
			understood(t, name+" --help", strings.TrimSpace(line))
		}
		var out bytes.Buffer
		args := append(strings.Fields(name)[1:], "--help")
		if code := Main(args, &App{Stdout: &out, Stderr: &out}); code != exitOK {
			t.Errorf("%s --help ends with %d", name, code)
		}
		if !strings.Contains(out.String(), "Usage: "+name) {
			t.Errorf("%s --help prints %q", name, out.String())
		}
	}
}

// The formats in docs/files.md are those of the program.
func TestFilesPage(t *testing.T) {
	found := map[string]bool{}
	for _, f := range fences(t, "docs/files.md") {
		kind, ok := strings.CutPrefix(f.info, "json ")
		if !ok {
			continue
		}
		found[kind] = true
		text := strings.Join(f.lines, "\n")
		switch kind {
		case "feed":
			feed, boot, err := state.ReadFeed(strings.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", f.where, err)
			}
			wall := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
			var again, want bytes.Buffer
			if err := state.WriteFeed(&again, feed, boot, wall); err != nil {
				t.Fatal(err)
			}
			if err := json.Compact(&want, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), strings.TrimSpace(again.String())); diff != "" {
				t.Errorf("%s: the example is not what wanctl writes:\n%s", f.where, diff)
			}
		case "lock", "handover":
			if !json.Valid([]byte(text)) {
				t.Errorf("%s: is no JSON", f.where)
			}
		}
	}
	for _, kind := range []string{"feed", "lock", "handover"} {
		if !found[kind] {
			t.Errorf("docs/files.md has no example of a %s", kind)
		}
	}
	text := page(t, "docs/files.md")
	for title, v := range map[string]any{"key of a line's state": state.WAN{}, "key of steering's state": state.Steering{}} {
		_, table, ok := strings.Cut(text, "| "+title+" |")
		if !ok {
			t.Fatalf("docs/files.md has no table %q", title)
		}
		table, _, _ = strings.Cut(table, "\n\n")
		var documented []string
		for _, row := range strings.Split(table, "\n")[2:] {
			first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
				documented = append(documented, m[1])
			}
		}
		if diff := cmp.Diff(jsonKeys(v), documented); diff != "" {
			t.Errorf("%s: %s", title, diff)
		}
	}
}

// jsonKeys are the keys a struct is written with, in order.
func jsonKeys(v any) []string {
	var keys []string
	typ := reflect.TypeOf(v)
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		keys = append(keys, name)
	}
	return keys
}
