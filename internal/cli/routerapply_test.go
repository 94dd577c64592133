package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Of what a router had before each change the newest are kept, and nothing else is touched.
func TestInventoriesAreBounded(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		"router_10.0.0.1_20260101T000000Z.json", "router_10.0.0.1_20260102T000000Z.json", "router_10.0.0.1_20260103T000000Z.json",
		"router_10.0.0.1_changes.json", "router_10.0.0.1_notes_20250101T000000Z.json", "router_10.0.0.2_20250101T000000Z.json",
	}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keepNewest(filepath.Join(dir, "router_10.0.0.1_"), 2)
	keepNewest(filepath.Join(dir, "nowhere", "router_"), 2)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, names[1:]) {
		t.Errorf("left are %q", left)
	}
}
