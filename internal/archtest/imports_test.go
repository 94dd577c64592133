package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "wanctl/"

// floors says for each package what of the module it may import. A new package has to be entered here: where does it
// stand? Prefixes end in "/".
var (
	words     = []string{"internal/unit", "internal/link", "internal/flow"}
	judgement = append(slices.Clone(words), "internal/filter")
	paper     = append(slices.Clone(judgement), "internal/reflector", "internal/shaper", "internal/steer",
		"internal/health", "internal/actuate", "internal/tracking")
	hands    = words
	assembly = append(slices.Clone(paper), "internal/config", "internal/state", "internal/journal", "internal/probe",
		"internal/routeros", "internal/cake", "internal/policy", "internal/systemd")

	floors = map[string][]string{
		"internal/unit": {},
		"internal/link": {"internal/unit"},
		"internal/flow": {"internal/unit"},

		"internal/filter":    words,
		"internal/reflector": judgement,
		"internal/shaper":    judgement,
		"internal/tracking":  judgement,
		"internal/steer":     judgement,
		"internal/actuate":   judgement,
		"internal/health":    judgement,
		"internal/blueprint": judgement,
		"internal/calibrate": judgement,
		"internal/checkup":   append(slices.Clone(judgement), "internal/blueprint"),

		"internal/document": {},
		"internal/config":   append(slices.Clone(paper), "internal/document"),
		"internal/state":    paper,
		"internal/journal":  paper,

		"internal/probe":    hands,
		"internal/routeros": hands,
		"internal/cake":     hands,
		"internal/policy":   hands,
		"internal/systemd":  hands,
		"internal/remote":   hands,
		"internal/capacity": hands,

		"internal/daemon":  assembly,
		"internal/install": {"internal/config", "internal/state", "internal/daemon"},
		"internal/deploy":  {"internal/document", "internal/config", "internal/install", "internal/remote"},

		"internal/lab/flows":    words,
		"internal/lab/memnet":   {},
		"internal/lab/soak":     {},
		"internal/lab/netsim":   words,
		"internal/lab/rosim":    words,
		"internal/lab/scenario": append(slices.Clone(words), "internal/document"),
		"internal/lab/report":   append(slices.Clone(words), "internal/lab/scenario"),
		"internal/lab/guest":    append(slices.Clone(words), "internal/lab/scenario", "internal/lab/report"),
		"internal/lab/kernel":   append(slices.Clone(words), "internal/lab/guest", "internal/lab/scenario", "internal/lab/report"),
		"internal/lab/score": append(slices.Clone(paper), "internal/config", "internal/state", "internal/journal",
			"internal/probe", "internal/daemon", "internal/lab/"),
		"internal/lab/replay": append(slices.Clone(paper), "internal/config", "internal/state", "internal/journal",
			"internal/probe", "internal/daemon", "internal/lab/"),

		"internal/cli":             {"internal/", "configs", "packaging"},
		"cmd/wanctl":               {"internal/cli"},
		"configs":                  {},
		"packaging":                {},
		"packaging/image":          {},
		"packaging/life":           {},
		"internal/archtest":        {},
		"internal/archtest/mutant": {},
		"internal/e2e":             {"internal/"},
	}

	// pure packages get time, chance and the outside world as data.
	pure = []string{
		"internal/unit", "internal/link", "internal/flow", "internal/filter", "internal/reflector", "internal/shaper",
		"internal/tracking", "internal/steer", "internal/actuate", "internal/health", "internal/blueprint", "internal/checkup",
		"internal/calibrate",
	}
	impure = []string{"os", "net", "log", "log/slog", "os/exec", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "sync"}

	// bare packages use the standard library and the module alone.
	bare = append(slices.Clone(pure), "internal/lab/netsim")
)

type goPackage struct {
	ImportPath string
	Dir, Doc   string
	Imports    []string
	GoFiles    []string
	Standard   bool
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Doc,Imports,GoFiles,Standard"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func allowed(path string, by []string) bool {
	for _, a := range by {
		if path == a || (strings.HasSuffix(a, "/") && strings.HasPrefix(path, a)) {
			return true
		}
	}
	return false
}

func TestCodeOnlyGoesDownTheStairs(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, ok := floors[name]
		if !ok {
			t.Errorf("%s stands on no floor: enter it into floors, and into docs/architecture.md", name)
			continue
		}
		for _, imp := range p.Imports {
			own, isOwn := strings.CutPrefix(imp, module)
			switch {
			case isOwn && !allowed(own, may):
				t.Errorf("%s imports %s, which its floor does not allow", name, own)
			case slices.Contains(pure, name) && slices.Contains(impure, imp):
				t.Errorf("%s is judgement and imports %s: hand it in as data", name, imp)
			case slices.Contains(bare, name) && !isOwn && strings.Contains(strings.Split(imp, "/")[0], "."):
				t.Errorf("%s imports %s from outside the standard library", name, imp)
			}
		}
	}
}

// The program must not carry a second emulator or simulator into the daemon, not even through a third package.
func TestTheDaemonDoesNotReachTheLaboratory(t *testing.T) {
	for _, p := range list(t, "-deps", "./internal/daemon") {
		if strings.HasPrefix(p.ImportPath, module+"internal/lab/") {
			t.Errorf("internal/daemon depends on %s", p.ImportPath)
		}
	}
}

func TestEveryPackageSaysItsDuty(t *testing.T) {
	for _, p := range list(t, "./...") {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// maxLines is where a file is two files.
const maxLines = 600

func TestNothingOutgrowsItsRoom(t *testing.T) {
	banned := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}
	for _, p := range list(t, "./...") {
		if slices.Contains(banned, filepath.Base(p.ImportPath)) {
			t.Errorf("%s: its name says nothing about its duty", p.ImportPath)
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b, []byte("\n")); n > maxLines {
				t.Errorf("%s/%s has %d lines; above %d it is two files", p.ImportPath, f, n, maxLines)
			}
			if slices.Contains(banned, strings.TrimSuffix(f, ".go")) {
				t.Errorf("%s/%s: its name says nothing about its duty", p.ImportPath, f)
			}
		}
	}
}

// The tables of the architecture page name every package, and no package that is gone.
func TestTheArchitecturePageIsComplete(t *testing.T) {
	b, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			named[cell] = true
		}
	}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")
		if !named[name] {
			t.Errorf("docs/architecture.md has no row for `%s`", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("docs/architecture.md has a row for `%s`, which is not there", name)
	}
}
