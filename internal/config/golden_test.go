package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files and docs/reference.yaml")

// parseFile parses a file of the disk under one name for all.
func parseFile(t *testing.T, path string) (*File, Diagnostics) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return Parse("line.yaml", f, Options{})
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("differs from %s (-want +got):\n%s", path, d)
	}
}

// TestBad holds every finding of every bad file to its golden text.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("bad files: %d, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			f, ds := parseFile(t, path)
			if f != nil || !ds.HasErrors() {
				t.Fatalf("a bad file was accepted: %v", ds)
			}
			for _, d := range ds.Errors() {
				if d.Line == 0 && !strings.Contains(d.Message, "more findings") {
					t.Errorf("without a place: %v", d)
				}
			}
			for _, secret := range []string{"hunter2", "31337", "not a name", "router.pw"} {
				if strings.Contains(ds.String(), secret) {
					t.Errorf("tells the secret %q: %v", secret, ds)
				}
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", ds.String())
		})
	}
}

// TestGood holds every warning of every good file to its golden text.
func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("good files: %d, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			f, ds := parseFile(t, path)
			if f == nil || ds.HasErrors() {
				t.Fatalf("a good file was refused:\n%v", ds)
			}
			if (f.WAN == nil) == (f.Steering == nil) {
				t.Fatal("want exactly one of WAN and Steering")
			}
			if strings.Contains(ds.String(), "hunter2") {
				t.Errorf("tells the secret: %v", ds)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", ds.String())
		})
	}
}
