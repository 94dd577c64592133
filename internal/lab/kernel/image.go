// Package kernel plays scenarios on a real Linux kernel with the real sch_cake and TCP, in virtual time: a user-mode
// kernel, built from Debian packages, that needs neither root nor KVM.
package kernel

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed image
var recipe embed.FS

// Image is a kernel and its root file system.
type Image struct {
	Kernel, Initrd string
}

// ErrNoImage says that the image has to be built first.
var ErrNoImage = errors.New("the lab's machine is not built yet: build it with `wanctl lab image` (about 7 minutes, once)")

// CacheDir is where images are kept: $WANCTL_LAB_CACHE, or wanctl/lab in the user's cache.
func CacheDir(getenv func(string) string) (string, error) {
	if dir := getenv("WANCTL_LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base := getenv("XDG_CACHE_HOME")
	if base == "" {
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("where to keep the lab's image? set WANCTL_LAB_CACHE, or HOME")
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Abs(filepath.Join(base, "wanctl", "lab"))
}

// Find returns the image that this program's recipe builds with these further Debian packages, or [ErrNoImage].
func Find(ctx context.Context, cache string, packages ...string) (Image, error) {
	return script(ctx, io.Discard, "find", cache, packages)
}

// Build makes what is missing of it. What it does is told to progress.
func Build(ctx context.Context, cache string, progress io.Writer, packages ...string) (Image, error) {
	return script(ctx, progress, "build", cache, packages)
}

// missing is the exit status of the recipe's find when there is no image.
const missing = 3

func script(ctx context.Context, progress io.Writer, verb, cache string, packages []string) (Image, error) {
	dir, err := os.MkdirTemp("", "wanctl-lab")
	if err != nil {
		return Image{}, fmt.Errorf("unpack the lab's recipe: %w", err)
	}
	defer os.RemoveAll(dir)
	sub, err := fs.Sub(recipe, "image")
	if err != nil {
		return Image{}, fmt.Errorf("unpack the lab's recipe: %w", err)
	}
	if err := os.CopyFS(dir, sub); err != nil {
		return Image{}, fmt.Errorf("unpack the lab's recipe: %w", err)
	}
	cmd := exec.CommandContext(ctx, "bash", append([]string{filepath.Join(dir, "build.sh"), verb, cache}, packages...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, progress
	group(cmd)
	err = cmd.Run()
	var exit *exec.ExitError
	if verb == "find" && errors.As(err, &exit) && exit.ExitCode() == missing {
		return Image{}, ErrNoImage
	}
	if err != nil {
		return Image{}, fmt.Errorf("%s the lab's machine in %s: %w", verb, cache, err)
	}
	img := Image{}
	for s := bufio.NewScanner(&out); s.Scan(); {
		switch k, v, _ := strings.Cut(s.Text(), "="); k {
		case "KERNEL":
			img.Kernel = v
		case "INITRD":
			img.Initrd = v
		}
	}
	if img.Kernel == "" || img.Initrd == "" {
		return Image{}, fmt.Errorf("%s the lab's machine: the recipe named no image", verb)
	}
	return img, nil
}
