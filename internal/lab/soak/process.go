package soak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is what the kernel says of a process.
type Process struct {
	// Resident is its memory in RAM, and Anonymous what of it belongs to no file, in bytes: the program's own pages come to RAM
	// when they are first used, for hours after its start.
	Resident    int64
	Anonymous   int64
	Threads     int
	Descriptors int
}

// ReadProcess looks at a running process. It fails for one that has ended or is another user's.
func ReadProcess(pid int) (p Process, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "VmRSS", "RssAnon":
			var kB int64
			if _, err := fmt.Sscanf(value, "%d kB", &kB); err != nil {
				return p, fmt.Errorf("process %d: %s %q: %w", pid, key, value, err)
			}
			if key == "VmRSS" {
				p.Resident = kB << 10
			} else {
				p.Anonymous = kB << 10
			}
		case "Threads":
			if p.Threads, err = strconv.Atoi(value); err != nil {
				return p, fmt.Errorf("process %d: %w", pid, err)
			}
		}
	}
	if p.Resident == 0 || p.Threads == 0 {
		return p, fmt.Errorf("process %d: it has ended", pid)
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	p.Descriptors = len(fds)
	return p, nil
}

// ReadTree counts the files under a directory and their bytes. A directory that is not there has none.
func ReadTree(dir string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it was replaced meanwhile
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return err
	})
	return files, bytes, err
}
