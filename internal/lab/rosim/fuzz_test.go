package rosim

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// FuzzExec feeds the evaluator anything: it must end within its limits and without a panic, and a line that could not
// be read must change nothing.
func FuzzExec(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.transcript")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			if cmd, ok := strings.CutPrefix(line, "> "); ok {
				f.Add(cmd)
			}
		}
	}
	f.Add(strings.Repeat("(", 1000))
	f.Add(strings.Repeat("[", 1000))
	f.Add(strings.Repeat("{", 1000))
	f.Add(":put " + strings.Repeat("!", 1000))
	f.Add(`:put "` + strings.Repeat("$[", 500))
	f.Fuzz(func(t *testing.T, line string) {
		o := DefaultOptions()
		o.Now = func() unit.Time { return unit.Time(time.Hour) }
		o.Sleep = func(context.Context, time.Duration) error { return nil }
		o.HostKeys = fuzzKeys(t)
		r, err := NewRouter(o)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := r.Exec(t.Context(), "admin", "/queue/tree/print; /ip/firewall/mangle/print; /interface/print")
		out, failed := r.Exec(t.Context(), DefaultUser, line)
		if len(out) > maxOutput+maxText {
			t.Errorf("printed %d bytes", len(out))
		}
		_, err = parse(r.root, strings.TrimRight(line, "\r\n"), r.version)
		if err != nil && !failed {
			t.Errorf("a line that cannot be read succeeded: %q", out)
		}
		if err != nil {
			if after, _ := r.Exec(t.Context(), "admin", "/queue/tree/print; /ip/firewall/mangle/print; /interface/print"); after != before {
				t.Error("a line that cannot be read changed the router")
			}
		}
	})
}

var fuzzKey ssh.Signer

// fuzzKeys makes one host key for all runs: making one takes longer than the run.
func fuzzKeys(t *testing.T) []ssh.Signer {
	t.Helper()
	if fuzzKey == nil {
		k, err := newHostKey("ed25519")
		if err != nil {
			t.Fatal(err)
		}
		fuzzKey = k
	}
	return []ssh.Signer{fuzzKey}
}
