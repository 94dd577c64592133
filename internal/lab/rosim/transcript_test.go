package rosim

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// clock is a router's clock that a test moves by hand.
type clock struct{ now unit.Time }

func (c *clock) Now() unit.Time { return c.now }

func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

// steady is a default router under a clock that stands still.
func steady(t *testing.T, change func(*Options)) (*Router, *clock) {
	t.Helper()
	c := &clock{now: unit.Time(time.Hour)}
	o := DefaultOptions()
	o.Now = c.Now
	if change != nil {
		change(&o)
	}
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// A transcript is a story: "> command" lines, each followed by what the router prints. Lines "# …" are remarks;
// "@dialect NAME", "@version V", "@wait 10s", "@user NAME", "@dummy" and "@fault …" set the stage.
func TestTranscripts(t *testing.T) { replay(t, ".transcript", retell) }

// replay plays every file with an extension again and compares it with what comes of it, which -update writes.
func replay(t *testing.T, ext string, play func(t *testing.T, text string) string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*" + ext)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s files: %v", ext, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ext), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(data))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(data), got); d != "" {
				t.Errorf("%s (-want +got; -update writes it anew):\n%s", f, d)
			}
		})
	}
}

func retell(t *testing.T, story string) string {
	t.Helper()
	var b strings.Builder
	var r *Router
	var c *clock
	user := DefaultUser
	var setup []func(*Options)
	start := func() {
		if r == nil {
			r, c = steady(t, func(o *Options) {
				for _, f := range setup {
					f(o)
				}
			})
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(story, "\n"), "\n") {
		directive := strings.HasPrefix(line, "@") || strings.HasPrefix(line, "-- ")
		cmd, isCommand := strings.CutPrefix(line, "> ")
		if !directive && !isCommand {
			continue
		}
		b.WriteString(line + "\n")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "@dialect":
			d, ok := Dialects()[rest]
			if !ok {
				t.Fatalf("no dialect %q", rest)
			}
			setup = append(setup, func(o *Options) { o.Dialect = d })
		case "@version":
			setup = append(setup, func(o *Options) { o.Version = rest })
		case "@dummy":
			setup = append(setup, func(o *Options) { o.DummyRule = true })
		case "@user":
			user = rest
		case "@wait":
			start()
			d, err := time.ParseDuration(rest)
			if err != nil {
				t.Fatal(err)
			}
			c.advance(d)
		case "@fault":
			start()
			if err := r.Inject(rest); err != nil {
				t.Fatal(err)
			}
		}
		if !isCommand {
			continue
		}
		start()
		out, failed := r.Exec(t.Context(), user, cmd)
		b.WriteString(out)
		if failed {
			b.WriteString("! failed\n")
		}
	}
	return b.String()
}

// TestTree shows the whole surface that is emulated, so that a new path or argument is seen in review.
func TestTree(t *testing.T) {
	var b strings.Builder
	root, err := newTree(version{7, 24})
	if err != nil {
		t.Fatal(err)
	}
	root.walk(func(m *menu) {
		b.WriteString(m.path + ":")
		for _, c := range m.cmds {
			b.WriteString(" " + c.name)
		}
		if len(m.props) > 0 {
			b.WriteString("\n ")
			for i := range m.props {
				b.WriteString(" " + m.props[i].name)
			}
		}
		b.WriteString("\n\n")
	})
	for _, n := range sortedKeys(verbTable) {
		b.WriteString(":" + n + ": " + strings.Join(sortedKeys(verbTable[n].params), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(FaultNames(), "\n") + "\n")
	const f = "testdata/tree.golden"
	if *update {
		if err := os.WriteFile(f, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", f, d)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	for i := range out {
		for j := i + 1; j < len(out); j++ {
			if out[j] < out[i] {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}
