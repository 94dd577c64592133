package life

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const repository = "../.."

// scratch is removed when all tests are over.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wanctl-life")
		if err != nil {
			panic(err) // nothing can be tested
		}
		defer os.RemoveAll(dir)
		scratch = dir
		return m.Run()
	}())
}

// need returns the path of a program of the machine, or skips and says so; in CI nothing is skipped.
func need(t *testing.T, program, debian string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s here (Debian package %s)", program, debian)
	}
	return p
}

func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: packages are installed in a root of their own")
	}
}

// output runs a program and fails the test where that fails.
func output(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// build makes the packages of a version once; it returns their directory.
var build = func() func(t *testing.T, version string, arch ...string) string {
	var mu sync.Mutex
	done := map[string]bool{}
	return func(t *testing.T, version string, arch ...string) string {
		t.Helper()
		nfpm := strings.TrimSpace(output(t, nil, "make", "-s", "-C", repository, "nfpm-path"))
		if _, err := os.Stat(nfpm); err != nil {
			t.Skip("nfpm is not built yet: make nfpm")
		}
		mu.Lock()
		defer mu.Unlock()
		out := filepath.Join(scratch, "packages")
		for _, a := range arch {
			if done[version+a] {
				continue
			}
			output(t, []string{"VERSION=v" + version, "SOURCE_DATE_EPOCH=1780000000"}, filepath.Join(repository, "scripts/packages"), out, nfpm, a)
			done[version+a] = true
		}
		return out
	}
}()

// debian is the tar of a Debian root and the kernel it boots with, made once and kept.
func debian(t *testing.T) (tar, kernel string) {
	t.Helper()
	root(t)
	need(t, "mmdebstrap", "mmdebstrap")
	if runtime.GOARCH != "amd64" {
		t.Skip("the machine that is booted is an amd64 one")
	}
	cache := os.Getenv("WANCTL_PACKAGING_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("where to keep the Debian root? set WANCTL_PACKAGING_CACHE: %v", err)
		}
		cache = filepath.Join(base, "wanctl", "packaging")
	}
	for line := range strings.Lines(output(t, nil, "testdata/root.sh", "build", cache)) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k {
		case "ROOT":
			tar = v
		case "KERNEL":
			kernel = v
		}
	}
	return tar, kernel
}

// unpacked is a Debian root of the test's own.
func unpacked(t *testing.T) string {
	t.Helper()
	tar, _ := debian(t)
	dir := t.TempDir()
	output(t, nil, "tar", "-C", dir, "--exclude=./dev/*", "-xf", tar)
	return dir
}

// chroot runs a program in a root and returns what it says.
func chroot(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return output(t, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}, "chroot", append([]string{dir}, args...)...)
}

// files are all paths below a root, but for what the package manager notes for itself.
func files(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, dir)
		if strings.HasPrefix(rel, "/var/lib/dpkg/") || strings.HasPrefix(rel, "/var/lib/rpm/") || rel == "/var/log/dpkg.log" {
			return nil
		}
		all[rel] = true
		return err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return all
}

// put writes a file of a root.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

func slurp(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
